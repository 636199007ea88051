"""
Each operation of the session store as one program over a connection.

The synchronous store calls these; the asynchronous one runs the same functions
through ``AsyncConnection.run_sync``. So there is one program, and every order of
statements that matters is written once:

1.  The *epoch row* is the lock of a user's roster. ``admit`` starts with the
    conditional ``UPDATE`` of it, ``restart`` and ``delete_user`` lock it before
    they look at anything and change it before any session. So an admission is
    either seen by "sign out everywhere" or finds its epoch gone.
2.  The *session row* is the lock of a session's data. ``write_data`` locks it
    first, a deletion deletes it first and its data afterwards. So data of a dead
    session cannot come back.
3.  Rows are locked in the order epoch, session, data; sessions in key order.
    What deadlocks in spite of that is repeated.
4.  An epoch is purged only if its time is over *and* it has no sessions, by a
    statement that runs while its row is locked.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    and_,
    bindparam,
    case,
    exists,
    func,
    insert,
    literal_column,
    select,
    update,
)
from sqlalchemy import (
    delete as delete_from,
)
from sqlalchemy.dialects import mysql, postgresql, sqlite

from sessioncore.errors import CorruptRecord, OutcomeUnknown, StoreUnavailable
from sessioncore.ports import Admission, DataWrite, Purged
from sessioncore.session import (
    EPOCH_BYTES,
    STAMP_BYTES,
    DataChange,
    Datum,
    Epoch,
    Locator,
    Roster,
    Session,
    Subject,
)

from ._codec import (
    SESSION_COLUMNS,
    Values,
    decode_datum,
    decode_session,
    digest,
    encode_session,
    exactly,
    milliseconds,
)
from ._transaction import autocommit, write
from .tables import data, epochs, sessions

# Statements are built once: SQLAlchemy then finds their compiled form at once.
# Parameters in conditions are named its_..., for SQLAlchemy keeps the columns'
# own names for the values that are written.

_THE_SUBJECT: Final = and_(
    epochs.c.subject_key_hash == bindparam("its_subject_key_hash"),
    epochs.c.subject_key == bindparam("its_subject_key"),
)
_THE_SESSION: Final = and_(
    sessions.c.epoch == bindparam("its_epoch"), sessions.c.slot == bindparam("its_slot")
)
_ITS_DATA: Final = and_(
    data.c.epoch == bindparam("its_epoch"), data.c.slot == bindparam("its_slot")
)
_EPOCH_IS_CURRENT: Final = exists(
    select(epochs.c.epoch).where(epochs.c.epoch == sessions.c.epoch).correlate(sessions)
)


def _at_least(column: ColumnElement[int], least: ColumnElement[int]) -> ColumnElement[int]:
    # Not max() or greatest(): each database has only one of the two.
    return case((column < least, least), else_=column)


_OPEN_LONGER: Final = _at_least(epochs.c.open_until, bindparam("its_open_until", type_=BigInteger))

# One statement that leaves the row there, locked. On MySQL this and not INSERT
# IGNORE, which deadlocks behind a delete_user.
_sqlite: Final = sqlite.insert(epochs)
_postgresql: Final = postgresql.insert(epochs)
_mysql: Final = mysql.insert(epochs)
_OPEN_ON_MYSQL: Final = _mysql.on_duplicate_key_update(
    open_until=_at_least(epochs.c.open_until, _mysql.inserted.open_until)
)
_OPEN: Final = {
    "sqlite": _sqlite.on_conflict_do_update(
        index_elements=["subject_key_hash"],
        set_={"open_until": _at_least(epochs.c.open_until, _sqlite.excluded.open_until)},
    ),
    "postgresql": _postgresql.on_conflict_do_update(
        index_elements=["subject_key_hash"],
        set_={"open_until": _at_least(epochs.c.open_until, _postgresql.excluded.open_until)},
    ),
    "mysql": _OPEN_ON_MYSQL,
    "mariadb": _OPEN_ON_MYSQL,
}
_EPOCH: Final = select(epochs.c.epoch, epochs.c.subject_key).where(
    epochs.c.subject_key_hash == bindparam("its_subject_key_hash")
)
_LOCK_EPOCH: Final = _EPOCH.with_for_update()

_ADMIT: Final = (
    update(epochs)
    .where(_THE_SUBJECT, epochs.c.epoch == bindparam("its_epoch"))
    .values(version=bindparam("new_version"), open_until=_OPEN_LONGER)
)
_ADMIT_AT_VERSION: Final = _ADMIT.where(epochs.c.version == bindparam("its_version"))
_IS_CURRENT: Final = select(epochs.c.epoch).where(
    _THE_SUBJECT, epochs.c.epoch == bindparam("its_epoch")
)
_RESTART: Final = (
    update(epochs)
    .where(_THE_SUBJECT)
    .values(epoch=bindparam("new_epoch"), version=bindparam("new_version"), open_until=_OPEN_LONGER)
)
_END_EPOCH: Final = delete_from(epochs).where(
    epochs.c.subject_key_hash == bindparam("its_subject_key_hash")
)

FIND: Final = (
    select(*SESSION_COLUMNS)
    .join_from(sessions, epochs, epochs.c.epoch == sessions.c.epoch)
    .where(_THE_SESSION)
)
_ROSTER: Final = (
    select(epochs.c.version, *SESSION_COLUMNS)
    .join_from(epochs, sessions, sessions.c.epoch == epochs.c.epoch, isouter=True)
    .where(epochs.c.subject_key_hash == bindparam("its_subject_key_hash"))
)
_STAMP: Final = select(sessions.c.stamp).where(_THE_SESSION, _EPOCH_IS_CURRENT)
_LOCK_SESSION: Final = _STAMP.with_for_update()
_INSERT: Final = insert(sessions)
_REPLACE: Final = update(sessions).where(
    _THE_SESSION, sessions.c.stamp == bindparam("its_stamp"), _EPOCH_IS_CURRENT
)
# Its row and not only its values, with whatever columns a later version has added.
_MOVE: Final = (
    update(sessions)
    .where(_THE_SESSION)
    .values(epoch=bindparam("new_epoch"), slot=bindparam("new_slot"))
)
_DELETE: Final = delete_from(sessions).where(_THE_SESSION)
_DELETE_EXPECTED: Final = _DELETE.where(sessions.c.stamp == bindparam("its_stamp"))
_DELETE_ALL: Final = delete_from(sessions).where(sessions.c.epoch == bindparam("its_epoch"))

_WITH_DATA: Final = sessions.join(epochs, epochs.c.epoch == sessions.c.epoch).outerjoin(
    data, and_(data.c.epoch == sessions.c.epoch, data.c.slot == sessions.c.slot)
)
_DATUM: Final = (data.c.name, data.c.value, data.c.stamp.label("datum_stamp"))
_READ_DATA: Final = select(*_DATUM).select_from(_WITH_DATA).where(_THE_SESSION)
FIND_WITH_DATA: Final = (
    select(*_DATUM, *SESSION_COLUMNS).select_from(_WITH_DATA).where(_THE_SESSION)
)
# Of a binary column, length() counts bytes in all these databases.
_DATA_SIZES: Final = select(
    data.c.name, data.c.stamp, func.length(data.c.name) + func.length(data.c.value)
).where(_ITS_DATA)
_PUT: Final = insert(data)
_REMOVE: Final = delete_from(data).where(_ITS_DATA, data.c.name == bindparam("its_name"))
_DELETE_DATA: Final = delete_from(data).where(_ITS_DATA)
_DELETE_ALL_DATA: Final = delete_from(data).where(data.c.epoch == bindparam("its_epoch"))
_MOVE_DATA: Final = (
    update(data).where(_ITS_DATA).values(epoch=bindparam("new_epoch"), slot=bindparam("new_slot"))
)

_DUE_SESSIONS: Final = (
    select(sessions.c.epoch, sessions.c.slot)
    .where(sessions.c.keep_until < bindparam("before"))
    .order_by(sessions.c.keep_until)
    .limit(bindparam("limit"))
    .with_for_update(skip_locked=True)
)
# Not NOT EXISTS: PostgreSQL makes a join of that, which may read all sessions.
_ANY_SESSION: Final = (
    select(sessions.c.slot)
    .where(sessions.c.epoch == epochs.c.epoch)
    .limit(literal_column("1"))
    .correlate(epochs)
    .scalar_subquery()
)
_EPOCH_IS_DUE: Final = and_(epochs.c.open_until < bindparam("before"), _ANY_SESSION.is_(None))
_DUE_EPOCHS: Final = (
    select(epochs.c.subject_key_hash)
    .where(_EPOCH_IS_DUE)
    .order_by(epochs.c.open_until)
    .limit(bindparam("limit"))
    .with_for_update(skip_locked=True)
)
_END_DUE_EPOCH: Final = _END_EPOCH.where(_EPOCH_IS_DUE)


class _SlotTakenError(Exception):
    """
    Undoes an admission that had already moved the roster's version.
    """


def open_epoch(
    connection: Connection, subject: Subject, at: datetime, lives_for: timedelta
) -> Epoch:
    """
    See :meth:`SessionStore.open_epoch`.
    """
    row: Values = {
        "subject_key_hash": digest(subject.key),
        "subject_key": subject.key,
        "user_id": subject.user_id,
        "epoch": secrets.token_bytes(EPOCH_BYTES),
        "version": secrets.token_bytes(STAMP_BYTES),
        "open_until": milliseconds(at + lives_for),
    }

    def work(connection: Connection) -> Epoch:
        connection.execute(_OPEN[connection.dialect.name], row)
        stored = connection.execute(_EPOCH, _of_subject(subject)).one()
        return _checked_epoch(stored.epoch, stored.subject_key, subject)

    try:
        return write(connection, work)
    except OutcomeUnknown:
        pass
    raise StoreUnavailable("an epoch may have been opened, which is harmless")


def find(connection: Connection, locator: Locator) -> Session | None:
    """
    See :meth:`SessionStore.find`.
    """
    return found(autocommit(connection).execute(FIND, key_of(locator)).all())


def found(rows: Sequence[Sequence[Any]]) -> Session | None:
    """
    Read the answer to :data:`FIND`.

    Raises:
        CorruptRecord: It is not a session, or one of a version to come.
    """
    return decode_session(rows[0]) if rows else None


def replace(connection: Connection, old: Session, new: Session) -> bool:
    """
    See :meth:`SessionStore.replace`.
    """
    its = key_of(old.locator)
    values = encode_session(new)

    def work(connection: Connection) -> bool:
        swapped = connection.execute(_REPLACE, {**its, "its_stamp": old.stamp, **values})
        return swapped.rowcount > 0 or connection.execute(_STAMP, its).first() == (new.stamp,)

    return write(connection, work)


def roster(connection: Connection, subject: Subject) -> Roster:
    """
    See :meth:`SessionStore.roster`.
    """
    rows = autocommit(connection).execute(_ROSTER, _of_subject(subject)).all()
    if not rows:
        return Roster(sessions=(), version=b"")
    readable: list[Session] = []
    unreadable: list[Locator] = []
    for _, *row in rows:
        epoch = _checked_epoch(row[0], row[2], subject)
        slot = row[3]
        # None: the outer join found no sessions. Other types: no locator can name it.
        if not isinstance(slot, bytes):
            continue
        try:
            readable.append(decode_session(row))
        except CorruptRecord:
            unreadable.append(Locator(epoch, slot))
    return Roster(
        sessions=tuple(readable),
        version=_bytes_of_epoch(rows[0].version, STAMP_BYTES),
        unreadable=tuple(unreadable),
    )


def admit(
    connection: Connection,
    session: Session,
    evicted: tuple[Locator, ...],
    version: bytes | None,
) -> Admission:
    """
    See :meth:`SessionStore.admit`.
    """
    locator = session.locator
    its_epoch: Values = {**_of_subject(session.subject), "its_epoch": locator.epoch}
    changes: Values = {
        "its_open_until": milliseconds(session.keep_until),
        "new_version": session.stamp,
    }
    row = _row(session)
    doomed = [key_of(each) for each in sorted(evicted, key=lambda it: (it.epoch, it.slot))]

    def work(connection: Connection) -> Admission:
        if version is None:
            moved = connection.execute(_ADMIT, {**its_epoch, **changes})
        else:
            expected = {**its_epoch, **changes, "its_version": version}
            moved = connection.execute(_ADMIT_AT_VERSION, expected)
        if moved.rowcount == 0:
            current = version is not None and connection.execute(_IS_CURRENT, its_epoch).first()
            return Admission.CONFLICT if current else Admission.STALE
        if connection.execute(_STAMP, key_of(locator)).first() is not None:
            raise _SlotTakenError
        if doomed:
            connection.execute(_DELETE, doomed)
            connection.execute(_DELETE_DATA, doomed)
        connection.execute(_INSERT, row)
        return Admission.ADMITTED

    try:
        return write(connection, work)
    except _SlotTakenError:
        return Admission.CONFLICT


def restart(connection: Connection, old: Session, new: Session) -> Locator | None:
    """
    See :meth:`SessionStore.restart`.
    """
    ended = old.locator
    fresh = Locator(Epoch(secrets.token_bytes(EPOCH_BYTES)), new.locator.slot)
    changes: Values = {
        **_of_subject(old.subject),
        "its_open_until": milliseconds(new.keep_until),
        "new_version": new.stamp,
        "new_epoch": fresh.epoch,
    }
    move: Values = {**key_of(ended), "new_epoch": fresh.epoch, "new_slot": fresh.slot}
    values = encode_session(new)

    def work(connection: Connection) -> Locator | None:
        current = connection.execute(_LOCK_EPOCH, _of_subject(old.subject)).first()
        if current is None or current.subject_key != old.subject.key:
            return None
        if current.epoch != ended.epoch:
            # Over already; by an earlier call of this very restart?
            kept = Locator(current.epoch, new.locator.slot)
            stored = connection.execute(_STAMP, key_of(kept)).first()
            return kept if stored == (new.stamp,) else None
        if connection.execute(_LOCK_SESSION, key_of(ended)).first() != (old.stamp,):
            return None
        connection.execute(_RESTART, changes)
        connection.execute(_MOVE, {**move, **values})
        connection.execute(_DELETE_ALL, {"its_epoch": ended.epoch})
        connection.execute(_MOVE_DATA, move)
        connection.execute(_DELETE_ALL_DATA, {"its_epoch": ended.epoch})
        return fresh

    return write(connection, work)


def delete(connection: Connection, locator: Locator, expected: Session | None) -> bool:
    """
    See :meth:`SessionStore.delete`.
    """
    its = key_of(locator)

    def work(connection: Connection) -> bool:
        if expected is None:
            deleted = connection.execute(_DELETE, its)
        else:
            deleted = connection.execute(_DELETE_EXPECTED, {**its, "its_stamp": expected.stamp})
        if deleted.rowcount == 0:
            return False
        connection.execute(_DELETE_DATA, its)
        return True

    return write(connection, work)


def delete_user(connection: Connection, subject: Subject) -> int:
    """
    See :meth:`SessionStore.delete_user`.
    """

    def work(connection: Connection) -> int:
        current = connection.execute(_LOCK_EPOCH, _of_subject(subject)).first()
        if current is None:
            return 0
        epoch = {"its_epoch": _checked_epoch(current.epoch, current.subject_key, subject)}
        connection.execute(_END_EPOCH, _of_subject(subject))
        deleted = connection.execute(_DELETE_ALL, epoch).rowcount
        connection.execute(_DELETE_ALL_DATA, epoch)
        return deleted

    return write(connection, work)


def read_data(connection: Connection, locator: Locator) -> Mapping[str, Datum] | None:
    """
    See :meth:`SessionStore.read_data`.
    """
    rows = autocommit(connection).execute(_READ_DATA, key_of(locator)).all()
    if not rows:
        return None
    # The outer join makes one row without a name for a session without data.
    return dict(decode_datum(*row) for row in rows if row.name is not None)


def find_with_data(
    connection: Connection, locator: Locator
) -> tuple[Session, Mapping[str, Datum]] | None:
    """
    See :meth:`SessionStore.find_with_data`.
    """
    return found_with_data(autocommit(connection).execute(FIND_WITH_DATA, key_of(locator)).all())


def found_with_data(rows: Sequence[Sequence[Any]]) -> tuple[Session, Mapping[str, Datum]] | None:
    """
    Read the answer to :data:`FIND_WITH_DATA`.

    Raises:
        CorruptRecord: It is not a session with its data, or one of a version to come.
    """
    if not rows:
        return None
    session = decode_session(rows[0][len(_DATUM) :])
    # The outer join makes one row without a name for a session without data.
    data = (row[: len(_DATUM)] for row in rows if row[0] is not None)
    return session, dict(decode_datum(*datum) for datum in data)


def write_data(connection: Connection, locator: Locator, change: DataChange) -> DataWrite:
    """
    See :meth:`SessionStore.write_data`.
    """
    its = key_of(locator)
    put = {name.encode(): value for name, value in change.put.items()}
    expect = {name.encode(): stamp for name, stamp in change.expect.items()}
    dropped = sorted(put.keys() | {name.encode() for name in change.remove})
    drops: list[Values] = [{**its, "its_name": name} for name in dropped]
    puts: list[Values] = [
        {
            "epoch": locator.epoch,
            "slot": locator.slot,
            "name": name,
            "value": value,
            "stamp": change.stamp,
        }
        for name, value in sorted(put.items())
    ]

    def work(connection: Connection) -> DataWrite:
        if connection.execute(_LOCK_SESSION, its).first() is None:
            return DataWrite.GONE
        stamps: dict[bytes, bytes] = {}
        taken: dict[bytes, int] = {}
        for name, stamp, size in connection.execute(_DATA_SIZES, its):
            stamps[name] = stamp
            taken[name] = size
        if put and all(stamps.get(name) == change.stamp for name in put):
            return DataWrite.WRITTEN
        if any(stamps.get(name) != stamp for name, stamp in expect.items()):
            return DataWrite.CONFLICT
        before = sum(taken.values())
        after = (
            before
            - sum(taken.get(name, 0) for name in dropped)
            + sum(len(name) + len(value) for name, value in put.items())
        )
        if after > max(change.capacity, before):
            return DataWrite.FULL
        if drops:
            connection.execute(_REMOVE, drops)
        if puts:
            connection.execute(_PUT, puts)
        return DataWrite.WRITTEN

    return write(connection, work)


def purge(connection: Connection, before: datetime, limit: int) -> Purged:
    """
    See :meth:`SessionStore.purge`.
    """
    if limit < 0:  # SQLite would take it for no limit at all
        raise ValueError("a limit is not negative")
    due: Values = {"before": milliseconds(before)}

    def work(connection: Connection) -> Purged:
        found = connection.execute(_DUE_SESSIONS, {**due, "limit": limit}).all()
        doomed: list[Values] = [{"its_epoch": row.epoch, "its_slot": row.slot} for row in found]
        if doomed:
            connection.execute(_DELETE, doomed)
            connection.execute(_DELETE_DATA, doomed)
        rest = limit - len(doomed)
        if rest == 0:
            return Purged(sessions=limit, epochs=0, more=True)
        idle = connection.execute(_DUE_EPOCHS, {**due, "limit": rest}).all()
        ended = 0
        for row in idle:
            its: Values = {"its_subject_key_hash": row.subject_key_hash, **due}
            ended += connection.execute(_END_DUE_EPOCH, its).rowcount
        return Purged(sessions=len(doomed), epochs=ended, more=len(idle) == rest)

    return write(connection, work)


def _row(session: Session) -> Values:
    return {
        "epoch": session.locator.epoch,
        "slot": session.locator.slot,
        **encode_session(session),
    }


def key_of(locator: Locator) -> Values:
    """
    Make the parameters by which statements name a session.
    """
    return {"its_epoch": locator.epoch, "its_slot": locator.slot}


def _of_subject(subject: Subject) -> Values:
    return {"its_subject_key_hash": digest(subject.key), "its_subject_key": subject.key}


def _checked_epoch(epoch: object, subject_key: object, subject: Subject) -> Epoch:
    if subject_key != subject.key:
        raise CorruptRecord("another subject is stored in this one's place")
    return Epoch(_bytes_of_epoch(epoch, EPOCH_BYTES))


def _bytes_of_epoch(value: object, size: int) -> bytes:
    try:
        return exactly(value, size)
    except ValueError:
        pass
    raise CorruptRecord("the row of an epoch cannot be read by this version")
