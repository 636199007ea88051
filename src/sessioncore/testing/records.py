"""
The records that a domain hands to its store, made up for a test.
"""

from __future__ import annotations

import dataclasses
import secrets
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from sessioncore.ports import Admission
from sessioncore.session import (
    FAMILY_BYTES,
    SLOT_BYTES,
    STAMP_BYTES,
    DataChange,
    Locator,
    Session,
    Subject,
)
from sessioncore.testing.laws import session_law
from sessioncore.testing.surroundings import START

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from sessioncore.ports import SessionStore
    from sessioncore.session import Epoch

NOW: Final = START
MILLISECOND: Final = timedelta(milliseconds=1)

LOGIN_WINDOW: Final = timedelta(minutes=10)
"""For how long the clauses open an epoch, unless it matters."""

LIFETIME: Final = timedelta(hours=12)
"""For how long the clauses' sessions must be kept, unless it matters."""

DIGEST_BYTES: Final = 32
CAPACITY: Final = 1 << 20


def new_stamp() -> bytes:
    """
    A stamp that no other write bears.
    """
    return secrets.token_bytes(STAMP_BYTES)


def a_user() -> Subject:
    """
    A user whom no store has met.
    """
    return Subject.user(f"user-{secrets.token_hex(8)}")


def a_session(subject: Subject, epoch: Epoch, **fields: Any) -> Session:
    """
    A session of *subject* in *epoch* as a sign-in makes it, but for *fields*.
    """
    made = Session(
        locator=Locator(epoch, secrets.token_bytes(SLOT_BYTES)),
        subject=subject,
        policy="default",
        methods=("pwd",),
        created_at=NOW,
        authenticated_at=NOW,
        changed_at=NOW,
        last_seen_at=NOW,
        keep_until=NOW + LIFETIME,
        family=secrets.token_bytes(FAMILY_BYTES),
        current=secrets.token_bytes(DIGEST_BYTES),
        stamp=new_stamp(),
    )
    return dataclasses.replace(made, **fields)


def successor(session: Session, **fields: Any) -> Session:
    """
    The same session after one more write, which changed *fields*.
    """
    return dataclasses.replace(session, **{"stamp": new_stamp(), **fields})


def restarted(session: Session, **fields: Any) -> Session:
    """
    What :meth:`SessionStore.restart` is asked to leave of the subject's sessions.
    """
    slot = secrets.token_bytes(SLOT_BYTES)
    return successor(session, locator=Locator(session.locator.epoch, slot), **fields)


def open_epoch(store: SessionStore, subject: Subject) -> Epoch:
    """
    Open the subject's epoch for the login window.
    """
    return store.open_epoch(subject, NOW, LOGIN_WINDOW)


def sign_in(store: SessionStore, subject: Subject, **fields: Any) -> Session:
    """
    Admit one session of *subject* and return it.
    """
    session = a_session(subject, open_epoch(store, subject), **fields)
    admission = store.admit(session, (), None, NOW)
    assert admission is Admission.ADMITTED, session_law("admit", "Insert one session")
    return session


def a_change(put: Mapping[str, bytes] | None = None, **fields: Any) -> DataChange:
    """
    A change of session data, with a stamp of its own and ample capacity.
    """
    made = DataChange(put=put or {}, stamp=new_stamp(), capacity=CAPACITY)
    return dataclasses.replace(made, **fields)


def values(store: SessionStore, session: Session) -> dict[str, bytes] | None:
    """
    The values of the session's data, or ``None`` if it is not there.
    """
    data = store.read_data(session.locator)
    return None if data is None else {key: datum.value for key, datum in data.items()}


def purge_all(store: SessionStore, before: datetime, limit: int) -> int:
    """
    Purge until there is no more, and return how many sessions that deleted.
    """
    sessions = 0
    # No clause stores nearly as much.
    for _ in range(1000):
        purged = store.purge(before, limit)
        assert purged.sessions + purged.epochs <= limit, session_law(
            "purge", "How many records to delete at most in this call"
        )
        sessions += purged.sessions
        if not purged.more:
            return sessions
    raise AssertionError(session_law("purge", "whether calling again may delete more"))
