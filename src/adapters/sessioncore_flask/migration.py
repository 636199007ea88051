"""
Sessions that Flask-Session wrote, moved over when their browsers come back.

Flask-Session 0.7 and later writes MessagePack or JSON, by msgspec. Earlier versions
pickled; those records are refused and never unpickled, and a session that was last used
under such a version has to be signed in anew. Run 0.8 for a while before the switch: it
rewrites what it reads. What cachelib, the file system and Memcached hold is not read at
all: the first two pickle, and nobody can list the last.

:mod:`sessioncore_http.legacy` says how the edge uses this, docs/migration.md how you do.
It needs ``msgspec``, which Flask-Session 0.7 has brought along. The records are in
:mod:`sessioncore_flask.migration_redis` or :mod:`sessioncore_flask.migration_sql`.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Protocol

import attrs
import msgspec
from flask.json.tag import TaggedJSONSerializer
from itsdangerous import BadSignature, Signer

from sessioncore.system import SystemClock
from sessioncore_http.legacy import (
    MOVED_FOR,
    LegacyMoved,
    LegacyRefusal,
    LegacySession,
    LegacyStoreRefused,
    LoggedOnce,
    acceptable,
    is_user_id,
    refusal_of,
)

if TYPE_CHECKING:
    from flask import Flask

    from sessioncore.ports import Clock
    from sessioncore_http.legacy import LegacyFinding, LegacyNotices

# Version 0.5 drew UUIDs, later ones URL-safe text. Nothing else is ever looked up, so that
# a cookie cannot name other keys that begin with the prefix.
_SESSION_KEY: Final = re.compile(r"[A-Za-z0-9_-]{1,200}", re.ASCII)
_SIGNED: Final = re.compile(r"[A-Za-z0-9_.-]{1,400}", re.ASCII)

_MARK: Final = "_sessioncore_moved"
_OWN_KEYS: Final = frozenset({"_permanent"})
_MILLISECOND: Final = timedelta(milliseconds=1)
_START: Final = datetime(1970, 1, 1, tzinfo=UTC)

# In the order of Flask-Session, and without its third way, which is to unpickle.
_DECODERS: Final = (
    msgspec.msgpack.Decoder(dict[object, object]),
    msgspec.json.Decoder(dict[object, object]),
)

_REFUSED_TYPES: Final = {
    "filesystem": "it pickles; unpickling runs whatever code a file asks for",
    "cachelib": "it pickles; unpickling runs whatever code an entry asks for",
    "memcached": "nobody can list what is in it, so no user could be signed out everywhere",
}


class FlaskSessionRecords(Protocol):
    """
    Where Flask-Session kept its records: what the migration needs of a store.

    For MongoDB or DynamoDB, write these four. All keys begin with the prefix already.
    """

    def read(self, key: str, /) -> bytes | None:
        """
        Return a record, ``None`` if there is none or it has expired.
        """
        ...

    def swap(self, key: str, old: bytes, new: bytes, keep_for: timedelta, /) -> bool:
        """
        Put *new* in the place of *old*, if *old* is what is there.

        Returns:
            Whether *new* is there now. *new* is unique, so repeating is safe.
        """
        ...

    def delete(self, keys: Collection[str], /) -> int:
        """
        Delete records whatever they hold, and return how many there were.
        """
        ...

    def pages(self, prefix: str, /) -> Iterator[Mapping[str, bytes]]:
        """
        Yield all live records whose keys begin with *prefix*, in portions.

        What is there from the first portion to the last is in one of them. Records
        of earlier portions may be deleted meanwhile.
        """
        ...


@attrs.define(eq=False, kw_only=True)
class FlaskSessions:
    """
    Flask-Session's sessions, as :class:`sessioncore_http.legacy.LegacySessions`.

    Args:
        records: Where they are: ``RedisFlaskSessionRecords``,
            ``SqlFlaskSessionRecords``, or an implementation of your own.

        user_id: Says whose session it is, from its data: the user id that you sign in
            with now, as text, or ``None`` if nobody is signed in. With Flask-Login:
            ``lambda data: data.get("_user_id")``. May ask whether the user is still
            welcome.

        carry: The keys to carry over; by default all but Flask's own ``_permanent``.
            Values are tagged as Flask's sessions tag them, so bytes and aware instants
            come back as what they were.

        key_prefix: ``SESSION_KEY_PREFIX``.

        signed_with: The secret key, if ``SESSION_USE_SIGNER`` was set.

        cookie_name: ``SESSION_COOKIE_NAME`` of the old configuration.

        cookie_path: ``SESSION_COOKIE_PATH``, else ``APPLICATION_ROOT``.

        cookie_domain: ``SESSION_COOKIE_DOMAIN``.

        moved_for: How long it is remembered that a session was moved.

        notices: Told of what is refused or left out.

        clock: What *moved_for* is judged by.
    """

    records: FlaskSessionRecords = attrs.field(repr=False)
    user_id: Callable[[Mapping[str, Any]], str | None]
    carry: Collection[str] | None = None
    key_prefix: str = "session:"
    signed_with: str | bytes | None = attrs.field(default=None, repr=False)
    cookie_name: str = "session"
    cookie_path: str = "/"
    cookie_domain: str | None = None
    moved_for: timedelta = MOVED_FOR
    notices: LegacyNotices = attrs.field(factory=LoggedOnce, repr=False)
    clock: Clock = attrs.field(factory=SystemClock, repr=False)

    def __attrs_post_init__(self) -> None:
        if isinstance(self.carry, str):
            raise TypeError("carry: several keys, and not one str")
        if self.moved_for <= timedelta(0):
            raise ValueError("moved_for: longer than nothing")

    @classmethod
    def of_app(
        cls,
        app: Flask,
        *,
        records: FlaskSessionRecords,
        user_id: Callable[[Mapping[str, Any]], str | None],
        carry: Collection[str] | None = None,
    ) -> FlaskSessions:
        """
        Take everything from the configuration that Flask-Session had.

        Args:
            app: With the old configuration: call this before you change it.

            records: See :class:`FlaskSessions`.

            user_id: See :class:`FlaskSessions`.

            carry: See :class:`FlaskSessions`.

        Raises:
            LegacyStoreRefused: Sessions cannot be moved from such a store.
        """
        config: Any = app.config
        kind = str(config.get("SESSION_TYPE", "")).lower()
        if kind in _REFUSED_TYPES:
            raise LegacyStoreRefused(f"SESSION_TYPE {kind!r}: {_REFUSED_TYPES[kind]}")
        return cls(
            records=records,
            user_id=user_id,
            carry=carry,
            key_prefix=config.get("SESSION_KEY_PREFIX", "session:"),
            signed_with=app.secret_key if config.get("SESSION_USE_SIGNER") else None,
            cookie_name=config["SESSION_COOKIE_NAME"],
            cookie_path=config["SESSION_COOKIE_PATH"] or config["APPLICATION_ROOT"],
            cookie_domain=config["SESSION_COOKIE_DOMAIN"] or None,
        )

    def find(self, cookie: str, /) -> LegacyFinding:
        """
        See :meth:`sessioncore_http.legacy.LegacySessions.find`.
        """
        session_key = self._session_key(cookie)
        if session_key is None:
            return None
        key = self.key_prefix + session_key
        record = self.records.read(key)
        if record is None:
            return None
        data = _decoded(record)
        if data is None:
            self.notices(refusal_of(record))
            return None
        if _MARK in data:
            return LegacyMoved() if self._is_recent(data[_MARK]) else None
        user_id = self._user_id(data)
        if user_id is not None and not is_user_id(user_id):
            self.notices(LegacyRefusal.USER_ID_UNUSABLE)
            return None
        carried = {key: value for key, value in data.items() if self._is_carried(key)}
        tagged = acceptable(carried, self.notices, TaggedJSONSerializer().tag)
        return LegacySession(user_id=user_id, data=tagged, key=key, as_read=record)

    def take(self, legacy: LegacySession, /) -> bool:
        """
        See :meth:`sessioncore_http.legacy.LegacySessions.take`.

        A mark takes the record's place. To an old server it is a session in which
        nobody is signed in.
        """
        mark = {"at": self._milliseconds(), "by": secrets.token_hex(16)}
        record = msgspec.msgpack.encode({_MARK: mark})
        return self.records.swap(legacy.key, legacy.as_read, record, self.moved_for)

    def end_user(self, user_id: str, /) -> int:
        """
        See :meth:`sessioncore_http.legacy.LegacySessions.end_user`.
        """
        ended = 0
        for page in self.records.pages(self.key_prefix):
            ended += self.records.delete(
                [key for key, record in page.items() if self._is_of(user_id, record)]
            )
        return ended

    def _session_key(self, cookie: str) -> str | None:
        if self.signed_with is None:
            return cookie if _SESSION_KEY.fullmatch(cookie) else None
        if not _SIGNED.fullmatch(cookie):
            return None
        signer = Signer(self.signed_with, salt="flask-session", key_derivation="hmac")
        try:
            session_key = signer.unsign(cookie).decode()
        except BadSignature:
            self.notices(LegacyRefusal.UNVERIFIABLE)
            return None
        return session_key if _SESSION_KEY.fullmatch(session_key) else None

    def _user_id(self, data: Mapping[str, Any]) -> str | None:
        return _checked_user_id(self.user_id(data))

    def _is_of(self, user_id: str, record: bytes) -> bool:
        data = _decoded(record)
        return data is not None and _MARK not in data and self._user_id(data) == user_id

    def _is_carried(self, key: object) -> bool:
        return key not in _OWN_KEYS if self.carry is None else key in self.carry

    def _is_recent(self, mark: object) -> bool:
        match mark:
            case {"at": int(at)}:
                return self._milliseconds() < at + self.moved_for // _MILLISECOND
            case _:
                return False

    def _milliseconds(self) -> int:
        return (self.clock.now() - _START) // _MILLISECOND


def _checked_user_id(found: object) -> str | None:
    if found is None or isinstance(found, str):
        return found
    raise TypeError(f"user_id: returns text or None, and not {type(found).__name__}")


def _decoded(record: bytes) -> Mapping[Any, Any] | None:
    for decoder in _DECODERS:
        # msgspec's own errors are ValueErrors; keys that cannot be keys are TypeErrors.
        with suppress(ValueError, TypeError, RecursionError):
            return decoder.decode(record)
    return None
