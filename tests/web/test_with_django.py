"""
The example for Django.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from wsgiref.types import WSGIApplication
from wsgiref.validate import validator

import django_project  # noqa: F401  # pyright: ignore[reportUnusedImport]  # configures Django
import pytest
from django.core.asgi import get_asgi_application
from django.test import override_settings

from browser.sites import AsgiApplication, Site
from examples.with_django.app import create_app, settings_of
from sessioncore import AuthService
from web.scenario import Scenario, WsgiScenario
from web.shop import Shop


class TestDjangoExample(WsgiScenario):
    @pytest.fixture(autouse=True)
    def _settings(self) -> Iterator[None]:
        with ExitStack() as self._overridden:
            yield

    def create_app(self, auth: AuthService, origin: str) -> WSGIApplication:
        self._overridden.enter_context(override_settings(**settings_of(auth, origin)))
        return validator(create_app(auth, origin))


class TestDjangoExampleOverAsgi(Scenario):
    """
    The same project, of views that block, on a server that does not.
    """

    @pytest.fixture(autouse=True)
    def _settings(self) -> Iterator[None]:
        with ExitStack() as self._overridden:
            yield

    def _serve(self, site: Site, shop: Shop) -> None:
        self._overridden.enter_context(override_settings(**settings_of(shop.auth, site.origin)))
        application: AsgiApplication = get_asgi_application()
        site.serve_asgi(application)
