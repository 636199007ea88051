"""
The example for Litestar.
"""

from __future__ import annotations

from browser.sites import AsgiApplication
from examples.with_litestar.app import create_app
from sessioncore import AsyncAuthService
from web.conversations import SOON, ConversationScenario


class TestLitestarExample(ConversationScenario):
    def create_app(self, auth: AsyncAuthService, origin: str) -> AsgiApplication:
        return create_app(auth, origin, recheck_every=SOON)
