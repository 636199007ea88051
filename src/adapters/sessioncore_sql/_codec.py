"""
Sessions to rows and back. Pure; the synchronous and the asynchronous store share it.

Whatever a row holds, reading it gives a session or :class:`CorruptRecord`:
SQLite stores any type in any column, and people edit tables.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final, TypeAlias, cast

from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from sessioncore.errors import CorruptRecord
from sessioncore.session import (
    EPOCH_BYTES,
    FAMILY_BYTES,
    SALT_BYTES,
    SLOT_BYTES,
    STAMP_BYTES,
    Datum,
    Epoch,
    Pending,
    Session,
    Subject,
    make_device,
    make_locator,
    make_session,
)

from .tables import DIGEST_BYTES, epochs, sessions

RECORD_VERSION: Final = 1
"""A store reads this version and refuses others: an older one was never released."""

Values: TypeAlias = dict[str, Any]
"""What a statement's parameters are bound to, by column or parameter name."""

_UNIX_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)


class as_stored(FunctionElement[Any]):  # noqa: N801 - it reads as a function
    """
    A text column as bytes where the driver would choke on bytes that are no text.

    ``sqlite3`` fails in the middle of a result when a ``TEXT`` value is not
    UTF-8, with the value in the message: one broken row would hide all others.
    """

    inherit_cache = True


@compiles(as_stored)
def _text(element: as_stored, compiler: SQLCompiler, **options: Any) -> str:
    return compiler.process(element.clauses, **options)


@compiles(as_stored, "sqlite")
def _octets(element: as_stored, compiler: SQLCompiler, **options: Any) -> str:
    return f"CAST({compiler.process(element.clauses, **options)} AS BLOB)"


# The order is that of the assignment in decode_session.
SESSION_COLUMNS: Final = (
    epochs.c.epoch,
    epochs.c.subject_key_hash,
    epochs.c.subject_key,
    sessions.c.slot,
    sessions.c.record,
    sessions.c.stamp,
    as_stored(sessions.c.policy),
    as_stored(sessions.c.methods),
    sessions.c.created_at,
    sessions.c.authenticated_at,
    sessions.c.changed_at,
    sessions.c.last_seen_at,
    sessions.c.keep_until,
    sessions.c.family_digest,
    sessions.c.current_digest,
    sessions.c.pending_digest,
    sessions.c.pending_salt,
    sessions.c.previous_digest,
    as_stored(sessions.c.device_address),
    as_stored(sessions.c.user_agent),
)


def encode_session(session: Session) -> Values:
    """
    Make the columns of a session, its key excepted.
    """
    pending = session.pending
    return {
        "record": RECORD_VERSION,
        "stamp": session.stamp,
        "policy": session.policy,
        "methods": json.dumps(session.methods, separators=(",", ":")),
        "created_at": milliseconds(session.created_at),
        "authenticated_at": (
            None if session.authenticated_at is None else milliseconds(session.authenticated_at)
        ),
        "changed_at": milliseconds(session.changed_at),
        "last_seen_at": milliseconds(session.last_seen_at),
        "keep_until": milliseconds(session.keep_until),
        "family_digest": session.family,
        "current_digest": session.current,
        "pending_digest": None if pending is None else pending.digest,
        "pending_salt": None if pending is None else pending.salt,
        "previous_digest": session.previous,
        "device_address": session.device.address,
        "user_agent": session.device.user_agent,
    }


def decode_session(row: Sequence[Any]) -> Session:
    """
    Read a row of :data:`SESSION_COLUMNS`.

    Raises:
        CorruptRecord: It is not a session, or one of a version to come.
    """
    try:
        return _decoded_session(row)
    except (ValueError, OverflowError, RecursionError):
        pass
    # Raised here and not above: what went wrong may quote the row.
    raise CorruptRecord("a session's row cannot be read by this version")


def _decoded_session(row: Sequence[Any]) -> Session:
    (
        epoch,
        subject_key_hash,
        subject_key,
        slot,
        record,
        stamp,
        policy,
        methods,
        created_at,
        authenticated_at,
        changed_at,
        last_seen_at,
        keep_until,
        family,
        current,
        pending_digest,
        pending_salt,
        previous,
        address,
        user_agent,
    ) = row
    if record != RECORD_VERSION:
        raise ValueError("another version")
    if (pending_digest is None) is not (pending_salt is None):
        raise ValueError("half a successor")
    return make_session(
        locator=make_locator(Epoch(exactly(epoch, EPOCH_BYTES)), exactly(slot, SLOT_BYTES)),
        subject=_decoded_subject(subject_key, subject_key_hash),
        policy=text(policy),
        methods=_decoded_methods(text(methods)),
        created_at=_instant(created_at),
        authenticated_at=None if authenticated_at is None else _instant(authenticated_at),
        changed_at=_instant(changed_at),
        last_seen_at=_instant(last_seen_at),
        keep_until=_instant(keep_until),
        family=exactly(family, FAMILY_BYTES),
        current=exactly(current, DIGEST_BYTES),
        pending=(
            None
            if pending_digest is None
            else Pending(exactly(pending_digest, DIGEST_BYTES), exactly(pending_salt, SALT_BYTES))
        ),
        previous=None if previous is None else exactly(previous, DIGEST_BYTES),
        device=make_device(
            address=None if address is None else text(address),
            user_agent=None if user_agent is None else text(user_agent),
        ),
        stamp=exactly(stamp, STAMP_BYTES),
    )


def _decoded_subject(key: object, key_hash: object) -> Subject:
    # A session whose subject does not lead back to its row could not be ended
    # with the subject's others, so it is not taken for a live one.
    if not isinstance(key, bytes) or digest(key) != key_hash:
        raise ValueError("not the subject of this row")
    return Subject.of_key(key)


# Few combinations are in use, and reading JSON takes as long as all instants do.
@lru_cache(maxsize=128)
def _decoded_methods(value: str) -> tuple[str, ...]:
    methods: object = json.loads(value)
    if not isinstance(methods, list):
        raise ValueError("not an array")  # noqa: TRY004 - a bad row, not a bad argument
    names = cast("list[object]", methods)
    return tuple(text(name) for name in names)


def decode_datum(name: object, value: object, stamp: object) -> tuple[str, Datum]:
    """
    Read one row of session data.

    Raises:
        CorruptRecord: It is not one.
    """
    if isinstance(name, bytes) and isinstance(value, bytes):
        try:
            return name.decode(), Datum(value=value, stamp=exactly(stamp, STAMP_BYTES))
        except ValueError:
            pass
    raise CorruptRecord("a row of session data cannot be read by this version")


def milliseconds(instant: datetime) -> int:
    """
    Count the whole milliseconds since 1970, in integers: floats would round.
    """
    return (instant - _UNIX_EPOCH) // _MILLISECOND


def _instant(value: object) -> datetime:
    if type(value) is not int:
        raise ValueError("not an instant")
    return _UNIX_EPOCH + _MILLISECOND * value


def digest(octets: bytes) -> bytes:
    """
    Make the key under which a subject or a name is found.
    """
    return hashlib.sha256(octets).digest()


def exactly(value: object, size: int) -> bytes:
    """
    Check that *value* is *size* bytes.

    Raises:
        ValueError: It is not.
    """
    if not isinstance(value, bytes) or len(value) != size:
        raise ValueError("not the bytes that belong there")
    return value


def text(value: object) -> str:
    """
    Read what :class:`as_stored` selected.

    Raises:
        ValueError: It is no text.
    """
    if isinstance(value, bytes):
        return value.decode()
    if not isinstance(value, str):
        raise ValueError("not text")  # noqa: TRY004 - a bad row, not a bad argument
    return value
