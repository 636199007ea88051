"""
Events: typed, immutable, and named in a way that an audit trail may rely on.
"""

import dataclasses
import inspect
from datetime import UTC, datetime
from typing import Any

import pytest

from sessioncore import events
from sessioncore.events import EndReason, Event, LoginRefused, SessionEnded, SessionIdReused

AT = datetime(2030, 1, 1, tzinfo=UTC)


def kinds() -> list[type[Event]]:
    return [
        kind
        for _, kind in inspect.getmembers(events, inspect.isclass)
        if issubclass(kind, Event) and kind is not Event
    ]


@pytest.mark.parametrize("kind", kinds())
def test_every_event_says_when_and_which_it_is_and_whom_it_concerns(kind: type[Event]) -> None:
    names = [field.name for field in dataclasses.fields(kind)]
    assert names[:3] == ["at", "stamp", "user_id"]


@pytest.mark.parametrize("kind", kinds())
def test_no_event_has_room_for_a_secret(kind: type[Event]) -> None:
    names = {field.name for field in dataclasses.fields(kind)}
    assert names <= {
        "at",
        "stamp",
        "user_id",
        "handle",
        "policy",
        "methods",
        "device",
        "reason",
        "kept",
        "limit",
        "ended",
        "rule",
        "source",
    }


def test_an_event_cannot_be_changed() -> None:
    changeable: Any = LoginRefused(at=AT, stamp="0" * 16)
    with pytest.raises(dataclasses.FrozenInstanceError):
        changeable.source = "elsewhere"


def test_equal_events_are_equal() -> None:
    one = SessionEnded(at=AT, stamp="0" * 16, handle="h", reason=EndReason.LOGOUT)
    assert one == SessionEnded(at=AT, stamp="0" * 16, handle="h", reason=EndReason.LOGOUT)
    assert one != dataclasses.replace(one, reason=EndReason.REVOKED)


def test_whether_a_reused_session_was_ended_may_be_unknown() -> None:
    event = SessionIdReused(at=AT, stamp="0" * 16, handle="h", ended=None)
    assert event.ended is None


def test_an_audit_trail_may_keep_the_reasons_by_these_words() -> None:
    assert [reason.value for reason in EndReason] == ["logout", "revoked", "evicted", "replaced"]
