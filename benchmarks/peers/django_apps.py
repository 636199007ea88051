"""
Django: without sessions, with its own on three engines, and with sessioncore.

Its connections to the database live on, as they do where somebody cares for speed; by
default Django makes a new one for every request.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import django
from django.conf import settings
from django.core.cache import caches
from django.core.handlers.wsgi import WSGIHandler
from django.core.management import call_command
from django.db import connections
from django.http import HttpRequest, HttpResponse
from django.test import override_settings
from django.urls import path
from django.utils.module_loading import import_string

from benchmarks.peers.contender import HOME, KEY, ORIGIN, SIGN_IN, USER, Contender
from sessioncore_django import session_of
from sessioncore_http import Edge

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from servers import PostgresServer, RedisServer
    from sessioncore import AuthService


_EDGE: Final = Edge(origins=[ORIGIN])
_DJANGOS_OWN: Final = "django.contrib.sessions.middleware.SessionMiddleware"


def _home(request: HttpRequest) -> HttpResponse:
    # One page for all, so that all are as far to find.
    if hasattr(request, "sessioncore"):
        user = session_of(request).user_id() or ""
    elif hasattr(request, "session"):
        user = request.session.get(KEY, "")
    else:
        user = USER
    return HttpResponse(user, content_type="text/plain")


def _sign_in(request: HttpRequest) -> HttpResponse:
    request.session[KEY] = USER
    return HttpResponse(USER, content_type="text/plain")


def configure(redis: RedisServer, postgres: PostgresServer) -> None:
    """
    Set Django up, which a process can do once.
    """
    settings.configure(
        ALLOWED_HOSTS=["*"],
        CACHES={
            "default": {
                "BACKEND": "django.core.cache.backends.redis.RedisCache",
                "LOCATION": redis.url,
            }
        },
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.postgresql",
                "HOST": "127.0.0.1",
                "PORT": postgres.port,
                "USER": "postgres",
                "NAME": "postgres",
                "CONN_MAX_AGE": None,
            }
        },
        INSTALLED_APPS=["django.contrib.sessions", "sessioncore_django"],
        MIDDLEWARE=[],
        ROOT_URLCONF=(
            path(HOME.lstrip("/"), _home),
            path(SIGN_IN.lstrip("/"), _sign_in),
        ),
        SECRET_KEY="peers",  # noqa: S106 - of apps that live for a minute
        SESSION_COOKIE_NAME=_EDGE.cookie.name,
    )
    django.setup()
    call_command("migrate", verbosity=0)


def close() -> None:
    """
    Close what Django keeps open.
    """
    caches.close_all()
    connections.close_all()


def bare() -> Contender:
    """
    Make the app that knows of no sessions.
    """
    return Contender("bare", WSGIHandler())


def with_engine(engine: str, name: str) -> Contender:
    """
    Make the app with Django's sessions, on one of its engines.
    """
    module = f"django.contrib.sessions.backends.{engine}"

    def load(session_id: str) -> Callable[[], object]:
        store = import_string(f"{module}.SessionStore")
        return lambda: store(session_id).load()

    with override_settings(MIDDLEWARE=[_DJANGOS_OWN], SESSION_ENGINE=module):
        return Contender(name, WSGIHandler(), load=load)


@contextmanager
def sessioncore(name: str, auth: AuthService, cookie: str) -> Generator[Contender, None, None]:
    """
    Make the app with sessioncore, of which there can be one at a time.
    """
    with override_settings(
        MIDDLEWARE=["sessioncore_django.middleware.SessionMiddleware"],
        SESSION_ENGINE="sessioncore_django.engine",
        SESSIONCORE={"AUTH": auth, "EDGE": _EDGE},
    ):
        cookie = f"{_EDGE.cookie.name}={cookie}"
        yield Contender(name, WSGIHandler(), cookie=cookie)
