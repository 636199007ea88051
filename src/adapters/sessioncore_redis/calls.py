"""
What each operation asks of Redis, and what the answer means.

Pure, and shared by both stores: all that they do themselves is to send.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import timedelta
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from sessioncore.errors import CorruptRecord
from sessioncore.ports import Admission, DataWrite, Purged
from sessioncore.session import SLOT_BYTES, STAMP_BYTES, Datum, Epoch, Locator, Roster, Subject
from sessioncore_redis.layout import (
    HEAD,
    RECORD_SUFFIXES,
    SUBJECT_FIELDS,
    Head,
    Layout,
    generation_and_subject,
)
from sessioncore_redis.records import decode, encode, milliseconds
from sessioncore_redis.trips import Question

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from sessioncore.session import DataChange, Session

Answer = TypeVar("Answer")

_MILLISECOND: Final = timedelta(milliseconds=1)
_LAST_INSTANT: Final = (1 << 48) - 1
_OTHER_SUBJECT: Final = -1
_FIRST_PIECE: Final = 1 + len(SUBJECT_FIELDS)


def _packed(*parts: bytes) -> bytes:
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(p), p) for p in parts)


# A key of any length, and six times a slot. None of the names has a percent sign.
_KEY_HERE: Final = b"<key>"
_SLOT_HERE: Final = b"<slot>"
_PACKED_FIND: Final = (
    _packed(b"HMGET", _KEY_HERE, HEAD, *SUBJECT_FIELDS, *(_SLOT_HERE + s for s in RECORD_SUFFIXES))
    .replace(b"$%d\r\n%b" % (len(_KEY_HERE), _KEY_HERE), b"$%d\r\n%b")
    .replace(_SLOT_HERE, b"%b")
)

# In the order of the numbers that the scripts return.
_ADMISSIONS: Final = (Admission.ADMITTED, Admission.CONFLICT, Admission.STALE)
_DATA_WRITES: Final = (DataWrite.WRITTEN, DataWrite.CONFLICT, DataWrite.FULL, DataWrite.GONE)


class Script:
    """
    One of the scripts beside this module.
    """

    __slots__ = ("sha", "text")

    def __init__(self, name: str) -> None:
        folder = files("sessioncore_redis")
        parts = ("prelude", name)
        self.text: Final = "\n".join((folder / f"{part}.lua").read_text("utf-8") for part in parts)
        # Redis names a script by its SHA-1; nothing relies on that being secure.
        self.sha: Final = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()


OPEN_EPOCH: Final = Script("open_epoch")
REPLACE: Final = Script("replace")
ADMIT: Final = Script("admit")
RESTART: Final = Script("restart")
DELETE: Final = Script("delete")
DELETE_USER: Final = Script("delete_user")
READ_DATA: Final = Script("read_data")
FIND_WITH_DATA: Final = Script("find_with_data")

# Two keys of any length; generation and slot are of one.
_PACKED_FIND_WITH_DATA: Final = (
    _packed(
        b"EVALSHA", FIND_WITH_DATA.sha.encode(), b"2", _KEY_HERE, _KEY_HERE, _SLOT_HERE, _SLOT_HERE
    )
    .replace(b"$%d\r\n%b" % (len(_KEY_HERE), _KEY_HERE), b"$%d\r\n%b")
    .replace(_SLOT_HERE, b"%b")
)
WRITE_DATA: Final = Script("write_data")
PURGE: Final = Script("purge")


@dataclass(frozen=True, slots=True)
class Call(Generic[Answer]):
    """
    A script to run once, and how to read its reply.
    """

    script: Script
    keys: tuple[bytes, bytes]
    arguments: tuple[bytes | int, ...] = field(repr=False)
    read: Callable[[Any], Answer]

    writes: bool = True
    """Whether it matters if it took effect when its reply is lost."""

    packed: bytes | None = field(default=None, repr=False)
    """What :meth:`by_sha` returns, as it goes over the wire, if that is known."""

    def by_sha(self) -> tuple[Any, ...] | bytes:
        """
        Return the command that runs a script which the server knows.
        """
        return self.packed or (
            "EVALSHA",
            self.script.sha,
            len(self.keys),
            *self.keys,
            *self.arguments,
        )

    def by_text(self) -> tuple[Any, ...]:
        """
        Return the command that runs it anywhere, and makes it known.
        """
        return ("EVAL", self.script.text, len(self.keys), *self.keys, *self.arguments)


def open_epoch(
    layout: Layout, subject: Subject, at: datetime, lives_for: timedelta, generation: bytes
) -> Call[Epoch]:
    """
    Open the subject's epoch, with *generation* if it is a new one.
    """
    tag = layout.tag(subject)
    open_until = min(milliseconds(at) + _duration(lives_for), _LAST_INSTANT)

    def read(reply: bytes | None) -> Epoch:
        if reply is None:
            raise _other_subject()
        return layout.epoch(tag, reply)

    return Call(
        OPEN_EPOCH,
        layout.keys(tag),
        (subject.key, generation, open_until.to_bytes(6, "big"), _duration(lives_for)),
        read,
        # An epoch without sessions that nobody asked for does no harm.
        writes=False,
    )


def find(layout: Layout, locator: Locator) -> tuple[Any, ...]:
    """
    Return the command whose reply :func:`found` reads. It is not a script.
    """
    slot = locator.slot
    return (
        "HMGET",
        layout.keys_of(locator.epoch)[0],
        HEAD,
        *SUBJECT_FIELDS,
        *[slot + suffix for suffix in RECORD_SUFFIXES],
    )


def packed_find(layout: Layout, locator: Locator) -> Question:
    """
    Ask :func:`find`, packed in a fifth of the time that any packer takes.
    """
    key = layout.sessions_key_of(locator.epoch)
    slot = locator.slot
    packed = _PACKED_FIND % (len(key), key, slot, slot, slot, slot, slot, slot)
    return Question(packed, key=key)


def found(layout: Layout, locator: Locator, reply: Sequence[bytes | None]) -> Session | None:
    """
    Read the session that :func:`find` asked for.
    """
    head = reply[0]
    if head is None or reply[_FIRST_PIECE] is None:
        return None
    generation, subject = generation_and_subject(head, reply[1:_FIRST_PIECE])
    if generation != layout.generation(locator.epoch):
        return None
    return decode(locator, _subject(subject), reply[_FIRST_PIECE:])


def replace(layout: Layout, old: Session, new: Session) -> Call[bool]:
    """
    Swap *old* for *new*.
    """
    return Call(
        REPLACE,
        layout.keys_of(old.locator.epoch),
        (
            layout.generation(old.locator.epoch),
            old.locator.slot,
            old.stamp,
            new.stamp,
            _duration(new.lives_for),
            *encode(new),
        ),
        bool,
    )


def roster(layout: Layout, subject: Subject) -> tuple[Any, ...]:
    """
    Return the command whose reply :func:`enrolled` reads. It is not a script.
    """
    return ("HGETALL", layout.keys(layout.tag(subject))[0])


def enrolled(layout: Layout, subject: Subject, fields: Mapping[bytes, bytes]) -> Roster:
    """
    Read the roster that :func:`roster` asked for.
    """
    if HEAD not in fields:
        return Roster((), b"")
    head = Head.read(fields[HEAD], map(fields.get, SUBJECT_FIELDS))
    if head.subject != subject.key:
        raise _other_subject()
    epoch = layout.epoch(layout.tag(subject), head.generation)
    sessions: list[Session] = []
    unreadable: list[Locator] = []
    for slot in fields:
        if len(slot) == SLOT_BYTES:
            locator = Locator(epoch, slot)
            pieces = [fields.get(slot + suffix) for suffix in RECORD_SUFFIXES]
            try:
                sessions.append(decode(locator, subject, pieces))
            except CorruptRecord:
                unreadable.append(locator)
    return Roster(tuple(sessions), head.version, tuple(unreadable))


def admit(
    layout: Layout,
    session: Session,
    evicted: tuple[Locator, ...],
    version: bytes | None,
    at: datetime,
) -> Call[Admission]:
    """
    Insert *session* and delete the evicted.
    """
    epoch = session.locator.epoch
    slots = [locator.slot for locator in evicted if locator.epoch == epoch]
    return Call(
        ADMIT,
        layout.keys_of(epoch),
        (
            session.subject.key,
            layout.generation(epoch),
            session.locator.slot,
            session.stamp,
            b"" if version is None else b"=" + version,
            milliseconds(at),
            _duration(session.lives_for),
            len(slots),
            *slots,
            *encode(session),
        ),
        _ADMISSIONS.__getitem__,
    )


def restart(layout: Layout, old: Session, new: Session, generation: bytes) -> Call[Locator | None]:
    """
    End *old*'s epoch and store *new* under *generation*.
    """
    tag = layout.tag(old.subject)

    def read(reply: bytes | int | None) -> Locator | None:
        if isinstance(reply, bytes):
            return Locator(layout.epoch(tag, reply), new.locator.slot)
        if reply == _OTHER_SUBJECT:
            raise _other_subject()
        return None

    return Call(
        RESTART,
        layout.keys(tag),
        (
            old.subject.key,
            layout.generation(old.locator.epoch),
            old.locator.slot,
            old.stamp,
            generation,
            new.locator.slot,
            new.stamp,
            _duration(new.lives_for),
            *encode(new),
        ),
        read,
    )


def delete(layout: Layout, locator: Locator, expected: Session | None) -> Call[bool]:
    """
    Delete one session.
    """
    return Call(
        DELETE,
        layout.keys_of(locator.epoch),
        (
            layout.generation(locator.epoch),
            locator.slot,
            b"" if expected is None else expected.stamp,
        ),
        bool,
    )


def delete_user(layout: Layout, subject: Subject) -> Call[int]:
    """
    Delete everything of *subject*.
    """

    def read(reply: int) -> int:
        if reply == _OTHER_SUBJECT:
            raise _other_subject()
        return reply

    return Call(DELETE_USER, layout.keys(layout.tag(subject)), (subject.key,), read)


def read_data(layout: Layout, locator: Locator) -> Call[Mapping[str, Datum] | None]:
    """
    Read the data of one session.
    """
    return Call(
        READ_DATA,
        layout.keys_of(locator.epoch),
        (layout.generation(locator.epoch), locator.slot),
        _data,
        writes=False,
    )


def find_with_data(
    layout: Layout, locator: Locator
) -> Call[tuple[Session, Mapping[str, Datum]] | None]:
    """
    Read one session and its data.
    """

    def read(
        reply: tuple[Sequence[bytes | None], Sequence[bytes]] | None,
    ) -> tuple[Session, Mapping[str, Datum]] | None:
        if reply is None:
            return None
        record, pairs = reply
        session = found(layout, locator, record)
        data = _data(pairs)
        return None if session is None or data is None else (session, data)

    keys, slot = layout.keys_of(locator.epoch), locator.slot
    generation = layout.generation(locator.epoch)
    sessions, data = keys
    named = (len(sessions), sessions, len(data), data)
    packed = _PACKED_FIND_WITH_DATA % (*named, generation, slot)
    return Call(FIND_WITH_DATA, keys, (generation, slot), read, writes=False, packed=packed)


def write_data(layout: Layout, locator: Locator, change: DataChange) -> Call[DataWrite]:
    """
    Change the data of one session.
    """
    arguments: list[bytes | int] = [
        layout.generation(locator.epoch),
        locator.slot,
        change.stamp,
        change.capacity,
    ]
    arguments.append(len(change.expect))
    for name, stamp in change.expect.items():
        arguments += (name.encode(), b"" if stamp is None else stamp)
    arguments.append(len(change.remove))
    arguments += (name.encode() for name in change.remove)
    arguments.append(len(change.put))
    for name, value in change.put.items():
        arguments += (name.encode(), value)
    return Call(
        WRITE_DATA, layout.keys_of(locator.epoch), tuple(arguments), _DATA_WRITES.__getitem__
    )


def purge(keys: tuple[bytes, bytes], before: datetime, limit: int) -> Call[Purged]:
    """
    Delete what is due of one subject.
    """

    def read(reply: list[int]) -> Purged:
        sessions, epochs = reply
        return Purged(sessions, epochs, more=sessions + epochs == limit)

    return Call(PURGE, keys, (milliseconds(before), limit), read)


def _duration(duration: timedelta) -> int:
    # Rounded up, and never so short that Redis would delete the key at once.
    return min(max(1, -(-duration // _MILLISECOND)), _LAST_INSTANT)


def _subject(key: bytes) -> Subject:
    try:
        return Subject.of_key(key)
    except ValueError:
        pass
    # Raised here, because what went wrong above may quote the record.
    raise CorruptRecord("the subject of an epoch cannot be read")


def _data(reply: Sequence[bytes] | None) -> Mapping[str, Datum] | None:
    if reply is None:
        return None
    pairs = zip(reply[::2], reply[1::2], strict=True)
    try:
        return {
            name.decode(): Datum(value=_text(value), stamp=value[:STAMP_BYTES])
            for name, value in pairs
        }
    except ValueError:
        pass
    raise CorruptRecord("a value of session data cannot be read")


def _text(value: bytes) -> bytes:
    if len(value) < STAMP_BYTES:
        raise ValueError("no room for a stamp")
    return value[STAMP_BYTES:]


def _other_subject() -> CorruptRecord:
    return CorruptRecord("another subject is stored in this one's place")
