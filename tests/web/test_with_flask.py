"""
The example for Flask.
"""

from __future__ import annotations

from wsgiref.types import WSGIApplication

from examples.with_flask.app import create_app
from sessioncore import AuthService
from web.scenario import WsgiScenario


class TestFlaskExample(WsgiScenario):
    def create_app(self, auth: AuthService, origin: str) -> WSGIApplication:
        return create_app(auth, origin)
