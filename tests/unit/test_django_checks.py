"""
What ``manage.py check`` says of a project on sessioncore.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping
from typing import Any

import django_project  # noqa: F401  # pyright: ignore[reportUnusedImport]  # configures Django
import pytest
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.test import override_settings
from fakes import POLICY

from sessioncore import AsyncAuthService, AuthService
from sessioncore_django.configuration import configuration
from sessioncore_django.middleware import SessionMiddleware
from sessioncore_django.migration import DjangoSessions
from sessioncore_http import Edge
from sessioncore_memory import AsyncMemorySessionStore, MemorySessionStore

auth = AuthService(sessions=MemorySessionStore(), policy=POLICY)
async_auth = AsyncAuthService(sessions=AsyncMemorySessionStore(), policy=POLICY)
edge = Edge(origins=["https://shop.test"])
legacy = DjangoSessions(cookie_name="sessionid")

OURS = "sessioncore_django.middleware.SessionMiddleware"
DJANGOS = "django.contrib.sessions.middleware.SessionMiddleware"
AUTHENTICATION = "django.contrib.auth.middleware.AuthenticationMiddleware"
MESSAGES = "django.contrib.messages.middleware.MessageMiddleware"
CONFIGURED: Mapping[str, Any] = {"AUTH": f"{__name__}.auth", "EDGE": f"{__name__}.edge"}


class Pickles:
    """
    A serializer that is not JSON.
    """

    def dumps(self, obj: Any) -> bytes:
        return pickle.dumps(obj)


class Derived(SessionMiddleware):
    """
    A project's own, which is ours.
    """


@pytest.fixture(autouse=True)
def _project() -> Iterator[None]:
    with override_settings(
        AUTHENTICATION_BACKENDS=[
            "sessioncore_django.auth.AttemptBackend",
            "django.contrib.auth.backends.ModelBackend",
        ],
        DEFAULT_EXCEPTION_REPORTER_FILTER="sessioncore_django.reports.ExceptionReporterFilter",
        MIDDLEWARE=[OURS, AUTHENTICATION, MESSAGES],
        SESSIONCORE=CONFIGURED,
        SESSION_COOKIE_NAME="__Host-session",
        SESSION_ENGINE="sessioncore_django.engine",
    ):
        yield


def found() -> list[str]:
    messages = [str(message.id) for message in run_checks()]
    return [each.removeprefix("sessioncore.") for each in messages if "sessioncore" in each]


def test_a_good_project_hears_nothing() -> None:
    assert found() == []


def test_nor_does_one_whose_middleware_derives_from_ours() -> None:
    with override_settings(MIDDLEWARE=[f"{__name__}.Derived", AUTHENTICATION, MESSAGES]):
        assert found() == []


@pytest.mark.parametrize(
    ("settings", "ids"),
    [
        ({"SESSIONCORE": None}, ["E001"]),
        ({"SESSIONCORE": {"AUTH": auth}}, ["E001"]),
        ({"SESSION_ENGINE": "django.contrib.sessions.backends.db"}, ["E002"]),
        ({"SESSION_COOKIE_NAME": "sessionid"}, ["E003"]),
        ({"SESSION_SERIALIZER": f"{__name__}.Pickles"}, ["E004"]),
        ({"MIDDLEWARE": [DJANGOS, OURS, AUTHENTICATION]}, ["E005"]),
        ({"MIDDLEWARE": [AUTHENTICATION, MESSAGES, OURS]}, ["E006", "E006"]),
        ({"SESSIONCORE": {**CONFIGURED, "LEGACY": f"{__name__}.legacy"}}, []),
        ({"MIDDLEWARE": [DJANGOS, AUTHENTICATION]}, ["W001"]),
        ({"AUTHENTICATION_BACKENDS": ["django.contrib.auth.backends.ModelBackend"]}, ["W003"]),
    ],
)
def test_each_mistake_has_an_id(settings: dict[str, Any], ids: list[str]) -> None:
    with override_settings(**settings):
        assert found() == ids


def test_an_old_cookie_of_our_name_is_a_mistake() -> None:
    same = DjangoSessions(cookie_name="__Host-session")
    with override_settings(SESSIONCORE={**CONFIGURED, "LEGACY": same}):
        assert found() == ["E007"]


def test_moving_sessions_where_requests_are_atomic_needs_care() -> None:
    connections.settings["default"]["ATOMIC_REQUESTS"] = True
    try:
        with override_settings(SESSIONCORE={**CONFIGURED, "LEGACY": legacy}):
            assert found() == ["W002"]
    finally:
        connections.settings["default"]["ATOMIC_REQUESTS"] = False


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ({}, "AUTH is an AuthService"),
        ({"AUTH": "no.such.module", "EDGE": edge}, "AUTH: No module"),
        ({"AUTH": async_auth, "EDGE": edge}, "calls are made in threads"),
        ({"AUTH": auth, "EDGE": "https://shop.test"}, "EDGE:"),
        ({"AUTH": auth, "EDGE": auth}, "EDGE is an Edge"),
        ({"AUTH": auth, "EDGE": edge, "LEGCY": legacy}, "LEGCY is not known"),
        ("shop.sessions", "a dict with AUTH and EDGE"),
    ],
)
def test_what_cannot_be_used_is_refused_with_the_reason(setting: Any, reason: str) -> None:
    with (
        override_settings(SESSIONCORE=setting),
        pytest.raises(ImproperlyConfigured, match=reason),
    ):
        configuration()


def test_objects_do_as_well_as_their_import_paths() -> None:
    with override_settings(SESSIONCORE={"AUTH": auth, "EDGE": edge, "LEGACY": legacy}):
        configured = configuration()
    assert (configured.auth, configured.edge, configured.legacy) == (auth, edge, legacy)


def test_error_reports_that_show_ids_are_a_doubt() -> None:
    djangos = "django.views.debug.SafeExceptionReporterFilter"
    with override_settings(DEFAULT_EXCEPTION_REPORTER_FILTER=djangos):
        assert found() == ["W004"]
