"""
The example for plain WSGI.
"""

from __future__ import annotations

from wsgiref.types import WSGIApplication
from wsgiref.validate import validator

from examples.with_wsgi.app import create_app
from sessioncore import AuthService
from web.scenario import WsgiScenario


class TestWsgiExample(WsgiScenario):
    def create_app(self, auth: AuthService, origin: str) -> WSGIApplication:
        return validator(create_app(auth, origin))
