"""
How a session is written in Redis: a string of bytes, cut into pieces.

Redis keeps a small hash in one compact block as long as no value has more than
64 bytes, at default settings. So a record is cut into pieces of 64, of which an
ordinary session needs one, or three with its device. The last of six takes
whatever is left, however much: then the hash grows, and everything works.

===========  ==========================================================
bytes        what
===========  ==========================================================
1            format
8            stamp
6            keep until, milliseconds since 1970
8            family
32           digest of the current id
1            flags
1 to 7 each  how long before "keep until" it was last seen, how long
             before that it was created, and how long after its creation
             its id changed and (flag) its user was authenticated
text each    policy and methods
48           pending digest and salt (flag)
32           previous digest (flag)
4, 16, text  address (flags)
text         user agent (flag)
===========  ==========================================================

Format, stamp and "keep until" have these places in every format, because
scripts read them. A number is in groups of seven bits, the lowest first; a text
is its length, or the place of a word in ``_WORDS``, and then the text.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from sessioncore.errors import CorruptRecord
from sessioncore.session import (
    SALT_BYTES,
    Locator,
    Pending,
    Session,
    Subject,
    make_device,
    make_session,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

PIECE_BYTES: Final = 64
MOST_PIECES: Final = 6

_FORMAT: Final = 1
_FIXED: Final = struct.Struct(">B8sHI8s32sB")
_DIGEST_BYTES: Final = 32

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_GROUP_SHIFTS: Final = range(7, 64, 7)

_PENDING: Final = 0x01
_PREVIOUS: Final = 0x02
_AUTHENTICATED: Final = 0x04
_AGENT: Final = 0x08
_ADDRESS: Final = 0x30
_NO_ADDRESS: Final = 0x00
_IPV4: Final = 0x10
_IPV6: Final = 0x20
_OTHER_ADDRESS: Final = 0x30
_METHODS_SHIFT: Final = 6
_MANY_METHODS: Final = 3

# What nearly every record holds takes one byte. Only ever add at the end.
_WORDS: Final = (
    "default",
    # RFC 8176, the more frequent first.
    *("pwd", "otp", "mfa", "hwk", "swk", "sms", "pin", "fpt", "face", "tel"),
    *("kba", "user", "sc", "geo", "rba", "mca", "iris", "retina", "vbm", "wia"),
)
_WORD_NUMBERS: Final = {word: number for number, word in enumerate(_WORDS)}


def milliseconds(instant: datetime) -> int:
    """
    Return *instant* as whole milliseconds since 1970.
    """
    return (instant - _EPOCH) // _MILLISECOND


def encode(session: Session) -> list[bytes]:
    """
    Write *session* as one to six pieces. Its locator and subject are not in them.

    Raises:
        ValueError: ``keep_until`` lies before 1970.
    """
    keep_until = milliseconds(session.keep_until)
    if keep_until < 0:
        raise ValueError("keep_until lies before 1970")
    address_kind, address = _encode_address(session.device.address)
    few_methods = min(len(session.methods), _MANY_METHODS)
    flags = few_methods << _METHODS_SHIFT | address_kind
    variable = bytearray()
    _put_signed(variable, (session.keep_until - session.last_seen_at) // _MILLISECOND)
    _put_signed(variable, (session.last_seen_at - session.created_at) // _MILLISECOND)
    _put_signed(variable, (session.changed_at - session.created_at) // _MILLISECOND)
    if session.authenticated_at is not None:
        flags |= _AUTHENTICATED
        _put_signed(variable, (session.authenticated_at - session.created_at) // _MILLISECOND)
    _put_text(variable, session.policy)
    if few_methods == _MANY_METHODS:
        _put_number(variable, len(session.methods))
    for method in session.methods:
        _put_text(variable, method)
    if session.pending is not None:
        flags |= _PENDING
        variable += session.pending.digest + session.pending.salt
    if session.previous is not None:
        flags |= _PREVIOUS
        variable += session.previous
    variable += address
    if session.device.user_agent is not None:
        flags |= _AGENT
        _put_text(variable, session.device.user_agent)
    fixed = _FIXED.pack(
        _FORMAT,
        session.stamp,
        *divmod(keep_until, 1 << 32),
        session.family,
        session.current,
        flags,
    )
    return _cut(fixed + variable)


def decode(locator: Locator, subject: Subject, pieces: Sequence[bytes | None]) -> Session:
    """
    Read a session from its pieces, the absent ones as ``None``.

    Raises:
        CorruptRecord: These are not the pieces of a record, or of a newer one.
    """
    try:
        session = _decode(locator, subject, b"".join(filter(None, pieces)))
    except (struct.error, IndexError, ValueError, OverflowError):
        session = None
    # Raised here, because what went wrong above may quote the record.
    if session is None:
        raise CorruptRecord("the record of a session cannot be read")
    return session


def _decode(locator: Locator, subject: Subject, record: bytes) -> Session | None:
    form, stamp, high, low, family, current, flags = _FIXED.unpack_from(record)
    if form != _FORMAT:
        return None
    at = _FIXED.size
    keep_until = _EPOCH + _MILLISECOND * (high << 32 | low)
    last_seen_at, at = _take_instant(record, at, keep_until, -1)
    created_at, at = _take_instant(record, at, last_seen_at, -1)
    changed_at, at = _take_instant(record, at, created_at)
    authenticated_at = None
    if flags & _AUTHENTICATED:
        authenticated_at, at = _take_instant(record, at, created_at)

    policy, at = _take_text(record, at)
    count = flags >> _METHODS_SHIFT
    if count == _MANY_METHODS:
        count, at = _take_number(record, at)
    methods: tuple[str, ...] = ()
    for _ in range(count):
        method, at = _take_text(record, at)
        methods += (method,)

    pending = previous = None
    if flags & _PENDING:
        salt_at, start, at = at + _DIGEST_BYTES, at, at + _DIGEST_BYTES + SALT_BYTES
        pending = Pending(record[start:salt_at], record[salt_at:at])
    if flags & _PREVIOUS:
        start, at = at, at + _DIGEST_BYTES
        previous = record[start:at]

    address = agent = None
    if kind := flags & _ADDRESS:
        address, at = _take_address(record, at, kind)
    if flags & _AGENT:
        agent, at = _take_text(record, at)
    if at != len(record):
        return None
    return make_session(
        locator=locator,
        subject=subject,
        policy=policy,
        methods=methods,
        created_at=created_at,
        authenticated_at=authenticated_at,
        changed_at=changed_at,
        last_seen_at=last_seen_at,
        keep_until=keep_until,
        family=family,
        current=current,
        pending=pending,
        previous=previous,
        device=make_device(address, agent),
        stamp=stamp,
    )


def _cut(record: bytes) -> list[bytes]:
    last = PIECE_BYTES * (MOST_PIECES - 1)
    pieces = [record[at : at + PIECE_BYTES] for at in range(0, min(len(record), last), PIECE_BYTES)]
    if len(record) > last:
        pieces.append(record[last:])
    return pieces


def _put_number(record: bytearray, number: int) -> None:
    while number > 0x7F:
        record.append(number & 0x7F | 0x80)
        number >>= 7
    record.append(number)


def _take_number(record: bytes, at: int) -> tuple[int, int]:
    number = record[at]
    at += 1
    if number <= 0x7F:
        return number, at
    for shift in _GROUP_SHIFTS:
        group = record[at]
        at += 1
        # Less one, which is the bit by which the group before said that this one follows.
        number += (group - 1) << shift
        if group <= 0x7F:
            return number, at
    raise ValueError("an endless number")


def _put_signed(record: bytearray, number: int) -> None:
    _put_number(record, number << 1 if number >= 0 else ~(number << 1))


def _take_instant(
    record: bytes, at: int, base: datetime, direction: int = 1
) -> tuple[datetime, int]:
    if not record[at]:  # the most frequent: it is the very same
        return base, at + 1
    number, at = _take_number(record, at)
    return base + _MILLISECOND * (direction * ((number >> 1) ^ -(number & 1))), at


def _put_text(record: bytearray, text: str) -> None:
    word = _WORD_NUMBERS.get(text)
    if word is not None:
        _put_number(record, word << 1)
    else:
        octets = text.encode()
        _put_number(record, len(octets) << 1 | 1)
        record += octets


def _take_text(record: bytes, at: int) -> tuple[str, int]:
    number = record[at]
    if not number & 0x81:
        return _WORDS[number >> 1], at + 1
    number, at = _take_number(record, at)
    if not number & 1:
        return _WORDS[number >> 1], at
    end = at + (number >> 1)
    if end > len(record):
        raise ValueError("a text is cut off")
    return record[at:end].decode(), end


def _encode_address(address: str | None) -> tuple[int, bytes]:
    if address is None:
        return _NO_ADDRESS, b""
    try:
        packed = ipaddress.ip_address(address).packed
    except ValueError:
        packed = b""
    # Only a canonical spelling comes back as it was.
    if packed and str(ipaddress.ip_address(packed)) == address:
        return (_IPV4 if len(packed) == 4 else _IPV6), packed
    text = bytearray()
    _put_text(text, address)
    return _OTHER_ADDRESS, bytes(text)


def _take_address(record: bytes, at: int, kind: int) -> tuple[str, int]:
    if kind == _OTHER_ADDRESS:
        return _take_text(record, at)
    if kind == _IPV4:
        return socket.inet_ntop(socket.AF_INET, record[at : at + 4]), at + 4
    packed = record[at : at + 16]
    address = socket.inet_ntop(socket.AF_INET6, packed)
    # As ipaddress writes it, in a tenth of the time, unless an IPv4 address is within.
    return (str(ipaddress.IPv6Address(packed)) if "." in address else address), at + 16
