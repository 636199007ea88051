"""
What a session is, and the secret that stands for it.

The bearer secret lives in :class:`SessionId` and nowhere else. Everything else
in this module may be stored, and says nothing that would let its reader sign in
(ADR-0007, ADR-0008).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ipaddress
import re
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, NewType, NoReturn

from sessioncore.values import maker

if TYPE_CHECKING:
    from collections.abc import Mapping

Epoch = NewType("Epoch", bytes)
"""What all sessions of one subject share until "sign out everywhere" ends it."""

EPOCH_BYTES: Final = 16
SLOT_BYTES: Final = 6
FAMILY_BYTES: Final = 8
SECRET_BYTES: Final = 24
"""192 bits, above OWASP's 64 and ASVS 5 7.2.3's 128."""

SALT_BYTES: Final = 16
STAMP_BYTES: Final = 8
ANONYMOUS_BYTES: Final = 16

_LOCATOR_BYTES: Final = EPOCH_BYTES + SLOT_BYTES
_ID_BYTES: Final = _LOCATOR_BYTES + FAMILY_BYTES + SECRET_BYTES

# 54 bytes fill exactly 72 characters: there are no spare bits, so every id has
# one spelling.
_ID_CHARACTERS: Final = 72
# What is not in the URL-safe alphabet becomes what is in no alphabet: base64 has two.
_TO_STANDARD_BASE64: Final = bytes.maketrans(b"-_+/", b"+/!!")

USER_ID_BYTES: Final = 255
_FORBIDDEN_IN_USER_ID: Final = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")

USER_AGENT_CHARACTERS: Final = 200


@dataclass(frozen=True, slots=True)
class Locator:
    """
    Where a store keeps a session: its epoch and its slot within the epoch.

    Not a credential, and still never logged: :attr:`handle` is for that.
    """

    epoch: Epoch
    slot: bytes

    def __repr__(self) -> str:
        return "Locator(<redacted>)"

    @property
    def handle(self) -> str:
        """
        The session's public name, for lists, logs and "revoke this device".

        It survives renewals, cannot be turned back into a locator and is never
        accepted as a session id.
        """
        return hashlib.sha256(b"handle" + self.epoch + self.slot).hexdigest()[:32]


make_locator: Final = maker(Locator)
"""Make a :class:`Locator`, quickly."""


class SessionId:
    """
    The bearer secret in the cookie: ``epoch (16) | slot (6) | family (8) | secret (24)``.

    A plain guarded class rather than a dataclass: ``asdict``, ``copy``, pickle
    and the comparison output of test runners would all show the secret.
    :meth:`reveal` is the only way out. Equality takes constant time.
    """

    __slots__ = ("_octets",)

    _octets: bytes

    def __init__(self, epoch: Epoch, slot: bytes, family: bytes, secret: bytes) -> None:
        if (len(epoch), len(slot), len(family), len(secret)) != (
            EPOCH_BYTES,
            SLOT_BYTES,
            FAMILY_BYTES,
            SECRET_BYTES,
        ):
            raise ValueError("a part of the session id has the wrong length")
        object.__setattr__(self, "_octets", bytes(epoch + slot + family + secret))

    @classmethod
    def parse(cls, text: str | None) -> SessionId | None:
        """
        Read an id from the text of a cookie.

        Args:
            text: Whatever the client sent.

        Returns:
            The id, or ``None`` unless *text* is exactly 72 URL-safe base64
            characters. Whether the id was ever issued is another question.
        """
        if not isinstance(text, str) or len(text) != _ID_CHARACTERS:
            return None
        try:
            octets = binascii.a2b_base64(
                text.encode("ascii").translate(_TO_STANDARD_BASE64), strict_mode=True
            )
        except ValueError:
            return None
        # Padding is base64, too, but of fewer bytes.
        return cls._from_octets(octets) if len(octets) == _ID_BYTES else None

    @classmethod
    def _from_octets(cls, octets: bytes) -> SessionId:
        made = object.__new__(cls)
        object.__setattr__(made, "_octets", octets)
        return made

    def reveal(self) -> str:
        """
        Return the text that goes into the cookie, and nowhere else.
        """
        return base64.urlsafe_b64encode(self._octets).decode("ascii")

    @property
    def locator(self) -> Locator:
        """
        Where the store keeps the session that this id claims.
        """
        octets = self._octets
        return make_locator(Epoch(octets[:EPOCH_BYTES]), octets[EPOCH_BYTES:_LOCATOR_BYTES])

    @property
    def family_digest(self) -> bytes:
        """
        Eight bytes that all ids of one session share, as the store keeps them.

        They tell an id that was issued once from a guess.
        """
        family = self._octets[_LOCATOR_BYTES : _LOCATOR_BYTES + FAMILY_BYTES]
        return hashlib.sha256(family).digest()[:FAMILY_BYTES]

    @property
    def digest(self) -> bytes:
        """
        The SHA-256 digest by which the store recognises this very id.

        A fast hash suffices: the input is 256 random bits, not a password.
        """
        return hashlib.sha256(self._octets[_LOCATOR_BYTES:]).digest()

    def successor(self, salt: bytes) -> SessionId:
        """
        Compute the id that follows this one when it is renewed with *salt*.

        Whoever holds this id gets the same successor, however often and in
        parallel; who holds only the stored salt gets nothing (ADR-0012).
        """
        secret = hmac.digest(self._octets[_LOCATOR_BYTES:], salt, "sha256")[:SECRET_BYTES]
        return self._from_octets(self._octets[: _LOCATOR_BYTES + FAMILY_BYTES] + secret)

    def derived(self, purpose: bytes) -> bytes:
        """
        Derive 32 bytes for *purpose* that only holders of this session's ids can know.

        The same for every id that renewal or rotation makes of this one; other
        after a sign-in, and after a "sign out everywhere" that kept the session.
        Whoever has the store cannot compute them: the family is not stored.
        """
        key = self._octets[: _LOCATOR_BYTES + FAMILY_BYTES]
        return hmac.digest(key, b"sessioncore:" + purpose, "sha256")

    def rotated(self, secret: bytes) -> SessionId:
        """
        The id of the same session and family with another secret of 24 bytes.
        """
        family = self._octets[_LOCATOR_BYTES : _LOCATOR_BYTES + FAMILY_BYTES]
        locator = self.locator
        return SessionId(locator.epoch, locator.slot, family, secret)

    def moved_to(self, locator: Locator) -> SessionId:
        """
        The id with the same family and secret under another locator.
        """
        return self._from_octets(locator.epoch + locator.slot + self._octets[_LOCATOR_BYTES:])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SessionId):
            return NotImplemented
        return hmac.compare_digest(self._octets, other._octets)

    def __hash__(self) -> int:
        return hash(self._octets)

    def __repr__(self) -> str:
        return "SessionId(<redacted>)"

    __str__ = __repr__

    def __format__(self, spec: str, /) -> str:
        return repr(self)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("a SessionId cannot be changed")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError("a SessionId cannot be changed")

    def __reduce_ex__(self, protocol: object, /) -> NoReturn:
        raise TypeError("a SessionId is a secret and cannot be copied or pickled; see reveal()")

    def __getstate__(self) -> NoReturn:
        raise TypeError("a SessionId is a secret and cannot be copied or pickled; see reveal()")


@dataclass(frozen=True, slots=True)
class Subject:
    """
    To whom sessions belong: a user, one anonymous visitor, or a decoy.

    The first byte of :attr:`key` is the kind, so that no user id can ever equal
    an anonymous visitor or a decoy. Keys are compared byte by byte and never
    normalised.
    """

    key: bytes

    _USER = b"u"
    _ANONYMOUS = b"a"
    _DECOY = b"d"

    @classmethod
    def user(cls, user_id: str) -> Subject:
        """
        The user *user_id*: 1 to 255 bytes of UTF-8.

        Raises:
            ValueError: Empty, too long, or with a control character, NUL or
                lone surrogate, over which databases disagree.
        """
        # What can be printed has none of them, and is told in no time.
        if not user_id.isprintable() and _FORBIDDEN_IN_USER_ID.search(user_id):
            raise ValueError("a user id has no control characters and no surrogates")
        text = user_id.encode()
        if not 1 <= len(text) <= USER_ID_BYTES:
            raise ValueError(f"a user id has 1 to {USER_ID_BYTES} bytes of UTF-8")
        return cls(cls._USER + text)

    @classmethod
    def anonymous(cls, token: bytes) -> Subject:
        """
        One visitor who has not signed in, named by 16 random bytes.
        """
        if len(token) != ANONYMOUS_BYTES:
            raise ValueError(f"an anonymous subject is named by {ANONYMOUS_BYTES} bytes")
        return cls(cls._ANONYMOUS + token)

    @classmethod
    def decoy(cls, number: int) -> Subject:
        """
        One of 256 subjects whose epochs are opened for names nobody has.

        Without them a sign-in under an invented name would either cost less
        work than a real one or leave something in the store (ADR-0017).
        """
        return cls(cls._DECOY + number.to_bytes(1, "big"))

    @classmethod
    def of_key(cls, key: bytes) -> Subject:
        """
        Read back a :attr:`key` that a store kept.

        Raises:
            ValueError: *key* is not the key of any subject.
        """
        kind, name = key[:1], key[1:]
        if kind == cls._USER:
            if 1 <= len(name) <= USER_ID_BYTES and name.decode().isprintable():
                return cls(key)
            return cls.user(name.decode())
        if kind == cls._ANONYMOUS:
            return cls.anonymous(name)
        if kind == cls._DECOY and len(name) == 1:
            return cls(key)
        raise ValueError("not the key of a subject")

    @property
    def user_id(self) -> str | None:
        """
        The user's id, or ``None`` if this is not a user.
        """
        return self.key[1:].decode() if self.key[:1] == self._USER else None

    @property
    def is_anonymous(self) -> bool:
        """
        Whether this is a visitor who has not signed in.
        """
        return self.key[:1] == self._ANONYMOUS

    def __repr__(self) -> str:
        if (user_id := self.user_id) is not None:
            return f"Subject.user({user_id!r})"
        return "Subject(anonymous)" if self.is_anonymous else "Subject(decoy)"


@dataclass(frozen=True, slots=True)
class Device:
    """
    What a session list shows about the client. Never evidence for a decision.
    """

    address: str | None = None
    user_agent: str | None = None

    def cleaned(self) -> Device:
        """
        Make this safe to keep and to print: both parts come from the network.

        An address that is none is dropped, an IP address gets its canonical
        spelling, a user agent loses what cannot be printed and is cut to 200
        characters.
        """
        address: str | None = None
        if self.address is not None:
            try:
                parsed = ipaddress.ip_address(self.address.strip())
            except ValueError:
                address = None
            else:
                # A zone index names an interface of this machine, not a client.
                address = str(parsed).partition("%")[0]
        agent: str | None = None
        if self.user_agent is not None:
            agent = "".join(
                character
                for character in self.user_agent[:USER_AGENT_CHARACTERS]
                if character.isprintable()
            )
        return Device(address=address, user_agent=agent or None)


make_device: Final = maker(Device)
"""Make a :class:`Device`, quickly."""


@dataclass(frozen=True, slots=True)
class Pending:
    """
    A successor that was drawn and has not been presented yet.
    """

    digest: bytes = field(repr=False)
    salt: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """
    What the server remembers of one signed-in, or anonymous, client.

    A record of instants and of the *name* of a policy, never of deadlines:
    whether a session is live is decided on every read from today's policy. All
    instants are aware, in UTC and whole milliseconds.
    """

    locator: Locator = field(repr=False)
    """Where the store keeps it."""

    subject: Subject
    """Whose it is."""

    policy: str
    """The name of the policy under which it was opened."""

    methods: tuple[str, ...] = ()
    """How its user proved identity, first proof first; RFC 8176 names such as ``pwd``."""

    created_at: datetime
    """When it was opened. The absolute timeout counts from here, for ever."""

    authenticated_at: datetime | None = None
    """When identity was last proven in it; ``None`` if that never happened: it is anonymous,
    or was established with ``fresh=False``."""

    changed_at: datetime
    """When its id was last confirmed or rotated. Grace and renewal count from here."""

    last_seen_at: datetime
    """When it was last seen, at most ``touch_interval`` behind; never moves backwards."""

    keep_until: datetime
    """Until when a store must keep it. For garbage collection only: nothing judges by it."""

    family: bytes = field(repr=False)
    """Eight bytes of a digest, by which an id issued once is told from a guess."""

    current: bytes = field(repr=False)
    """The digest of the current id."""

    pending: Pending | None = None
    """The successor that waits to be presented, if one was drawn."""

    previous: bytes | None = field(default=None, repr=False)
    """The digest of the id before the current one, accepted during the grace."""

    device: Device = Device()
    """What a session list shows of the client."""

    stamp: bytes = field(repr=False)
    """Eight random bytes that name the write that stored this record."""

    @property
    def user_id(self) -> str | None:
        """
        The signed-in user, or ``None`` if the session is anonymous.
        """
        return self.subject.user_id

    @property
    def is_anonymous(self) -> bool:
        """
        Whether nobody has signed in in this session.
        """
        return self.subject.is_anonymous

    @property
    def handle(self) -> str:
        """
        Its public name; see :attr:`Locator.handle`.
        """
        return self.locator.handle

    @property
    def lives_for(self) -> timedelta:
        """
        How long after being written the record must be kept, as a duration.

        For stores that collect garbage by a time to live: a duration is immune
        to a store whose clock differs from the application's.
        """
        return self.keep_until - self.last_seen_at

    def is_fresh(self, max_age: timedelta, now: datetime) -> bool:
        """
        Tell whether identity was proven no longer than *max_age* before *now*.
        """
        return self.authenticated_at is not None and now - self.authenticated_at <= max_age

    def moved_to(self, locator: Locator) -> Session:
        """
        The same record under another locator, as :meth:`SessionStore.restart` stores it.
        """
        return replace(self, locator=locator)


make_session: Final = maker(Session)
"""Make a :class:`Session`, quickly: on every request, a store makes one of what it read."""


@dataclass(frozen=True, slots=True)
class Roster:
    """
    All stored sessions of one subject's current epoch, and the roster's version.
    """

    sessions: tuple[Session, ...]
    """In no particular order."""

    version: bytes = field(repr=False)
    """Changes with every admission. Opaque; empty if the subject has no epoch."""

    unreadable: tuple[Locator, ...] = ()
    """Slots whose record this version of the store cannot read. Not live."""


@dataclass(frozen=True, slots=True)
class Datum:
    """
    One value of a session's data as a store keeps it: JSON text and its stamp.
    """

    value: bytes = field(repr=False)
    stamp: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class DataChange:
    """
    One atomic change of a session's data.
    """

    put: Mapping[str, bytes] = field(repr=False)
    """JSON text by key."""

    remove: frozenset[str] = frozenset()
    """Keys to remove; none of them is in *put*."""

    expect: Mapping[str, bytes | None] = field(
        default_factory=dict[str, "bytes | None"], repr=False
    )
    """Guards: the stamp that a key must bear, or ``None`` for a key that must be absent."""

    stamp: bytes = field(repr=False)
    """The stamp that every put key will bear."""

    capacity: int
    """Bytes that the session's keys (UTF-8) and values may take together."""
