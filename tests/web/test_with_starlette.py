"""
The example for Starlette.
"""

from __future__ import annotations

from browser.sites import AsgiApplication
from examples.with_starlette.app import create_app
from sessioncore import AsyncAuthService
from web.conversations import SOON, ConversationScenario


class TestStarletteExample(ConversationScenario):
    def create_app(self, auth: AsyncAuthService, origin: str) -> AsgiApplication:
        return create_app(auth, origin, recheck_every=SOON)
