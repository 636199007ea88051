"""
The example for FastAPI.
"""

from __future__ import annotations

from browser.sites import AsgiApplication
from examples.with_fastapi.app import create_app
from sessioncore import AsyncAuthService
from web.conversations import SOON, ConversationScenario


class TestFastApiExample(ConversationScenario):
    def create_app(self, auth: AsyncAuthService, origin: str) -> AsgiApplication:
        return create_app(auth, origin, recheck_every=SOON)
