"""
What ``manage.py check`` says of the settings.

=========  =====================================================================
E001       ``SESSIONCORE`` is missing or is something else
E002       ``SESSION_ENGINE`` is not ours
E003       ``SESSION_COOKIE_NAME`` is not the edge's: Django's test client needs it
E004       ``SESSION_SERIALIZER`` does not write JSON
E005       Django's session middleware runs beside ours
E006       A middleware that asks for the session comes before ours
E007       The old session cookie has the name of ours
W001       Ours is not in ``MIDDLEWARE``: no renewal, no cross-origin protection
W002       Old sessions are moved where ``ATOMIC_REQUESTS`` is set
W003       ``AttemptBackend`` is not the first of the backends, or is missing
W004       ``DEFAULT_EXCEPTION_REPORTER_FILTER`` is not ours: reports may show ids
=========  =====================================================================
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib import import_module
from typing import Final

from django.apps import apps
from django.conf import settings
from django.core import signing
from django.core.checks import CheckMessage, Error
from django.core.checks import Warning as Doubt
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.utils.module_loading import import_string

from sessioncore_django.configuration import configuration
from sessioncore_django.engine import SessionStore
from sessioncore_django.reports import ExceptionReporterFilter

_OURS: Final = "sessioncore_django.middleware.SessionMiddleware"
_DJANGOS: Final = "django.contrib.sessions.middleware.SessionMiddleware"
_BACKEND: Final = "sessioncore_django.auth.AttemptBackend"
_FILTER: Final = "sessioncore_django.reports.ExceptionReporterFilter"
_NEED_A_SESSION: Final = (
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
)


def check_settings(**_: object) -> Iterable[CheckMessage]:
    """
    Check what would weaken or break sessions.
    """
    try:
        configured = configuration()
    except ImproperlyConfigured as error:
        yield Error(str(error), id="sessioncore.E001")
        return
    yield from _check_engine()
    name = configured.edge.cookie.name
    if name != settings.SESSION_COOKIE_NAME:
        yield Error(
            f"SESSION_COOKIE_NAME is {settings.SESSION_COOKIE_NAME!r}, and the edge's is {name!r}",
            hint=f"SESSION_COOKIE_NAME = {name!r}; its attributes stand in the edge.",
            id="sessioncore.E003",
        )
    if not _derives(import_string(settings.SESSION_SERIALIZER), signing.JSONSerializer):
        yield Error("SESSION_SERIALIZER is not known to be JSON", id="sessioncore.E004")
    yield from _check_middleware()
    if configured.legacy is not None:
        if configured.legacy.cookie_name == name:
            yield Error(
                "the old session cookie has the name of ours",
                hint='DjangoSessions(cookie_name="sessionid"): what it was before.',
                id="sessioncore.E007",
            )
        if any(one["ATOMIC_REQUESTS"] for one in connections.settings.values()):
            yield Doubt(
                "old sessions are moved, and ATOMIC_REQUESTS is set",
                hint="Views that sign out everywhere need @transaction.non_atomic_requests.",
                id="sessioncore.W002",
            )
    if apps.is_installed("django.contrib.auth"):
        backends = list(settings.AUTHENTICATION_BACKENDS)
        if backends[:1] != [_BACKEND]:
            yield Doubt(
                "a sign-in that is under way survives a sign-out everywhere",
                hint=f"Put {_BACKEND!r} first into AUTHENTICATION_BACKENDS.",
                id="sessioncore.W003",
            )
    if not _derives(
        import_string(settings.DEFAULT_EXCEPTION_REPORTER_FILTER), ExceptionReporterFilter
    ):
        yield Doubt(
            "error reports may show session ids and passwords",
            hint=f"DEFAULT_EXCEPTION_REPORTER_FILTER = {_FILTER!r}",
            id="sessioncore.W004",
        )


def _check_engine() -> Iterator[CheckMessage]:
    engine = getattr(import_module(settings.SESSION_ENGINE), "SessionStore", None)
    if not _derives(engine, SessionStore):
        yield Error(
            "SESSION_ENGINE is not sessioncore_django.engine, or one like it",
            id="sessioncore.E002",
        )


def _check_middleware() -> Iterator[CheckMessage]:
    ours = import_string(_OURS)
    listed = [(path, import_string(path)) for path in settings.MIDDLEWARE]
    places = [place for place, (_, each) in enumerate(listed) if _derives(each, ours)]
    if any(path == _DJANGOS for path, _ in listed) and places:
        yield Error(f"{_DJANGOS} runs beside {_OURS}", id="sessioncore.E005")
    if not places:
        yield Doubt(
            f"{_OURS} is not in MIDDLEWARE: session ids are not renewed, and requests that"
            " other sites' pages cause are not refused",
            hint=f"Put it in the place of {_DJANGOS}.",
            id="sessioncore.W001",
        )
        return
    early = [
        path for path, each in listed[: places[0]] if any(_derives(each, base) for base in _bases())
    ]
    for path in early:
        yield Error(f"{path} comes before {_OURS}", id="sessioncore.E006")


def _bases() -> Iterator[type]:
    if apps.is_installed("django.contrib.auth"):
        yield import_string(_NEED_A_SESSION[0])
    if apps.is_installed("django.contrib.messages"):
        yield import_string(_NEED_A_SESSION[1])


def _derives(found: object, base: type) -> bool:
    return isinstance(found, type) and issubclass(found, base)
