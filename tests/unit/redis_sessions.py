"""
What the tests of the Redis stores share: sessions, and a walk through all operations.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from sessioncore.ports import Admission, DataWrite, SessionStore
from sessioncore.session import DataChange, Device, Epoch, Locator, Session, Subject

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
WINDOW = timedelta(minutes=10)
LIFETIME = timedelta(hours=1)

ALICE = Subject.user("alice")
BOB = Subject.user("bob")
AGENT = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/140.0.0.0 Safari/537.36"

_count = iter(range(1, 1 << 40))


def unique(size: int) -> bytes:
    return next(_count).to_bytes(size, "big")


def a_session(subject: Subject, epoch: Epoch, **fields: Any) -> Session:
    made = Session(
        locator=Locator(epoch, unique(6)),
        subject=subject,
        policy="default",
        methods=("pwd",),
        created_at=NOW,
        authenticated_at=NOW,
        changed_at=NOW,
        last_seen_at=NOW,
        keep_until=NOW + LIFETIME,
        family=unique(8),
        current=unique(32),
        stamp=unique(8),
    )
    return replace(made, **fields)


def sign_in(store: SessionStore, subject: Subject = ALICE, **fields: Any) -> Session:
    session = a_session(subject, store.open_epoch(subject, NOW, WINDOW), **fields)
    assert store.admit(session, (), None, NOW) is Admission.ADMITTED
    return session


def touched(session: Session, **fields: Any) -> Session:
    return replace(session, stamp=unique(8), **fields)


def moved(session: Session) -> Session:
    return touched(session, locator=Locator(session.locator.epoch, unique(6)))


def a_change(**put: bytes) -> DataChange:
    return DataChange(put=put, stamp=unique(8), capacity=1000)


def every_operation(store: SessionStore, subject: Subject = ALICE) -> None:
    session = sign_in(store, subject, methods=("pwd", "otp"), device=Device("192.0.2.1", AGENT))
    other = sign_in(store, subject)
    assert store.find(session.locator) == session
    newer = touched(session)
    assert store.replace(session, newer)
    assert len(store.roster(subject).sessions) == 2
    assert store.write_data(newer.locator, a_change(colour=b'"red"')) is DataWrite.WRITTEN
    assert store.read_data(newer.locator) is not None
    assert store.delete(other.locator)
    assert store.restart(newer, moved(newer)) is not None
    assert store.purge(NOW, 10).sessions == 0
    assert store.delete_user(subject) == 1
