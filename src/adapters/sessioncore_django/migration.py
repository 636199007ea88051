"""
Sessions of Django's own engines, moved over when their browsers come back.

Read are the rows of ``django.contrib.sessions.backends.db``, and those of ``cached_db``
past its cache, by Django's own classes: signed with ``SECRET_KEY`` or one of
``SECRET_KEY_FALLBACKS``, serialized as JSON. The user is verified as
:func:`django.contrib.auth.get_user` does it, hash of the password included, so a password
that was changed before the switch counts. Other engines are refused when this is
configured, with the reason.

:mod:`sessioncore_http.legacy` says how the edge uses this, docs/migration.md how you do.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Generator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import attrs
from django.conf import settings
from django.contrib.auth import SESSION_KEY, get_user
from django.contrib.sessions.backends.base import SessionBase
from django.contrib.sessions.backends.cached_db import SessionStore as CachedDbSessionStore
from django.contrib.sessions.backends.db import SessionStore as DbSessionStore
from django.core import signing
from django.core.cache import caches
from django.core.exceptions import ValidationError
from django.db import Error as DatabaseFault
from django.db import connections, router, transaction
from django.http import HttpRequest
from django.utils import timezone
from django.utils.module_loading import import_string

from sessioncore.errors import OutcomeUnknown, StoreUnavailable
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
    from django.contrib.sessions.base_session import AbstractBaseSession
    from django.db.models import QuerySet

    from sessioncore.ports import Clock
    from sessioncore_http.legacy import LegacyFinding, LegacyNotices

T = TypeVar("T")

# Django draws 32 of these. Nothing else is ever looked up.
_SESSION_KEY: Final = re.compile(r"[A-Za-z0-9]{8,40}", re.ASCII)
_LONGEST_KEY: Final = 40

_MARK: Final = "_sessioncore_moved"
_PAGE: Final = 500

_REFUSED_ENGINES: Final = {
    "django.contrib.sessions.backends.cache": (
        "caches pickle; unpickling runs whatever code an entry asks for. Switch to"
        " cached_db first, and to sessioncore when its rows have taken over"
    ),
    "django.contrib.sessions.backends.signed_cookies": (
        "such a session lives in the cookie alone, so the server cannot end it: every copy"
        " of it could be moved again and again"
    ),
    "django.contrib.sessions.backends.file": (
        "files cannot be taken by one of several requests for sure"
    ),
}


class _Bytes:
    """
    A serializer that leaves to the caller what the signed bytes mean.
    """

    def dumps(self, obj: bytes) -> bytes:
        return obj

    def loads(self, data: bytes) -> bytes:
        return data


class _AsRead(SessionBase):
    """
    What a session held when it was read. Django's rules may change it; nothing is stored.
    """

    def __init__(self, data: dict[str, Any]) -> None:
        super().__init__()
        self.update(data)

    def flush(self) -> None:
        """
        Forget everything: what Django does when the user does not verify.
        """
        self.clear()

    def cycle_key(self) -> None:
        """
        Do nothing: the session gets another id anyway.
        """


@attrs.define(eq=False, kw_only=True)
class DjangoSessions:
    """
    Django's sessions, as :class:`sessioncore_http.legacy.LegacySessions`.

    The user id is the text of the user's primary key, as Django's own sessions have it.

    Args:
        engine: What ``SESSION_ENGINE`` was, ``...backends.db`` or ``...backends.cached_db``,
            or a module whose ``SessionStore`` derives from one of them.

        serializer: What ``SESSION_SERIALIZER`` was.

        carry: The keys to carry over; by default all, those of
            ``django.contrib.auth`` included.

        cookie_name: What ``SESSION_COOKIE_NAME`` was. By default this and the next two
            are what the settings say now.

        cookie_path: What ``SESSION_COOKIE_PATH`` was.

        cookie_domain: What ``SESSION_COOKIE_DOMAIN`` was.

        moved_for: How long it is remembered that a session was moved.

        notices: Told of what is refused or left out.

        clock: What expiry is judged by.

    Raises:
        LegacyStoreRefused: Sessions of this engine or serializer cannot be moved.
    """

    engine: str = "django.contrib.sessions.backends.db"
    serializer: str = "django.contrib.sessions.serializers.JSONSerializer"
    carry: Collection[str] | None = None
    cookie_name: str = attrs.field(factory=lambda: settings.SESSION_COOKIE_NAME)
    cookie_path: str = attrs.field(factory=lambda: settings.SESSION_COOKIE_PATH)
    cookie_domain: str | None = attrs.field(factory=lambda: settings.SESSION_COOKIE_DOMAIN)
    moved_for: timedelta = MOVED_FOR
    notices: LegacyNotices = attrs.field(factory=LoggedOnce, repr=False)
    clock: Clock = attrs.field(factory=SystemClock, repr=False)

    _store_class: type[DbSessionStore[AbstractBaseSession]] = attrs.field(init=False, repr=False)
    _serializer_class: type[signing.JSONSerializer] = attrs.field(init=False, repr=False)
    _salt: str = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        if isinstance(self.carry, str):
            raise TypeError("carry: several keys, and not one str")
        if self.moved_for <= timedelta(0):
            raise ValueError("moved_for: longer than nothing")
        self._store_class = _checked_engine(self.engine)
        self._salt = self._store_class().key_salt
        self._serializer_class = _checked_serializer(self.serializer)

    def find(self, cookie: str, /) -> LegacyFinding:
        """
        See :meth:`sessioncore_http.legacy.LegacySessions.find`.
        """
        if not _SESSION_KEY.fullmatch(cookie):
            return None
        mark_key = _mark_key(cookie)
        rows = self._read(self._live().filter(session_key__in=(cookie, mark_key)))
        # By its exact key: some databases compare without regard to case.
        record = rows.get(cookie)
        if record is None:
            return LegacyMoved() if self._is_mark(rows.get(mark_key)) else None
        data = self._unpacked(record)
        if isinstance(data, LegacyRefusal):
            self.notices(data)
            return None
        session = _AsRead(data)
        user_id = self._verified_user_id(session)
        if user_id is None and SESSION_KEY in data:
            return None
        if user_id is not None and not is_user_id(user_id):
            self.notices(LegacyRefusal.USER_ID_UNUSABLE)
            return None
        carried = {key: value for key, value in session.items() if self._is_carried(key)}
        return LegacySession(
            user_id=user_id,
            data=acceptable(carried, self.notices),
            key=cookie,
            as_read=record.encode(),
        )

    def take(self, legacy: LegacySession, /) -> bool:
        """
        See :meth:`sessioncore_http.legacy.LegacySessions.take`.

        The row goes, and a mark comes under a key of its own: a server that still runs
        the old code then fails to write the session back, as Django intends.

        Raises:
            RuntimeError: It is called within a transaction, which could undo it
                afterwards (``ATOMIC_REQUESTS``?).
        """
        record = legacy.as_read.decode()
        data = self._unpacked(record)
        # Whoever opened an epoch for this user did so before now: what is true here is
        # in the place of a password that was just verified.
        if isinstance(data, LegacyRefusal) or self._verified_user_id(_AsRead(data)) != (
            legacy.user_id
        ):
            return False
        taken = self._write(lambda: self._swap(legacy.key, record))
        if taken:
            # An old server may look there. Nothing is lost if it cannot be done.
            with suppress(StoreUnavailable):
                self._forget_cached((legacy.key,))
        return taken

    def end_user(self, user_id: str, /) -> int:
        """
        See :meth:`sessioncore_http.legacy.LegacySessions.end_user`.

        Raises:
            RuntimeError: It is called within a transaction: nobody else would see yet
                that the sessions have ended.
        """
        ended = 0
        rows = self._read(self._live().order_by("session_key")[:_PAGE])
        while True:
            keys = [key for key, record in rows.items() if self._names(user_id, record)]
            ended += self._write(partial(self._delete, keys))
            self._forget_cached(keys)
            if not rows:
                return ended
            later = self._live().filter(session_key__gt=list(rows)[-1])
            rows = self._read(later.order_by("session_key")[:_PAGE])

    def _swap(self, key: str, record: str) -> bool:
        taken, _ = self._rows().filter(session_key=key, session_data=record).delete()
        if taken:
            store = self._store_class(_mark_key(key))
            store.clear()  # else it would be looked up
            mark = store.create_model_instance({_MARK: True})
            mark.expire_date = self._instant(self.clock.now() + self.moved_for)
            mark.save(using=self._database)
        return bool(taken)

    def _delete(self, keys: Collection[str]) -> int:
        deleted, _ = self._rows().filter(session_key__in=keys).delete() if keys else (0, {})
        return deleted

    def _verified_user_id(self, session: SessionBase) -> str | None:
        # Django's own rules, and what they change stays in *session*.
        if SESSION_KEY not in session:
            return None
        request = HttpRequest()
        request.session = session
        try:
            with _translated():
                user = get_user(request)
        except ValidationError:  # such as text where users have numbers by now
            return None
        # Verified now, so what stands there is the text of that user's key.
        return str(session[SESSION_KEY]) if user.is_authenticated else None

    def _names(self, user_id: str, record: str) -> bool:
        data = self._unpacked(record)
        return not isinstance(data, LegacyRefusal) and str(data.get(SESSION_KEY)) == user_id

    def _is_carried(self, key: str) -> bool:
        return self.carry is None or key in self.carry

    def _is_mark(self, record: str | None) -> bool:
        data = None if record is None else self._unpacked(record)
        return isinstance(data, dict) and _MARK in data

    def _unpacked(self, record: str) -> dict[str, Any] | LegacyRefusal:
        try:
            packed: bytes = signing.loads(record, salt=self._salt, serializer=_Bytes)
        except signing.BadSignature:
            return LegacyRefusal.UNVERIFIABLE
        try:
            data: object = self._serializer_class().loads(packed)
        except (ValueError, RecursionError):
            return refusal_of(packed)
        if not isinstance(data, dict):
            return LegacyRefusal.UNREADABLE
        return cast("dict[str, Any]", data)  # JSON's keys are text

    # -- The database ----------------------------------------------------------

    @property
    def _database(self) -> str:
        # Also for reading: a replica lags behind.
        return router.db_for_write(self._store_class.get_model_class())

    def _rows(self) -> QuerySet[AbstractBaseSession]:
        return self._store_class.get_model_class().objects.using(self._database)

    def _live(self) -> QuerySet[AbstractBaseSession]:
        return self._rows().filter(expire_date__gt=self._instant(self.clock.now()))

    @staticmethod
    def _instant(instant: datetime) -> datetime:
        return instant if settings.USE_TZ else timezone.make_naive(instant)

    @staticmethod
    def _read(query: QuerySet[AbstractBaseSession]) -> dict[str, str]:
        with _translated():
            return dict(query.values_list("session_key", "session_data"))

    def _write(self, work: Callable[[], T]) -> T:
        using = self._database
        with _translated():
            connections[using].ensure_connection()
        kind = ""
        try:
            with transaction.atomic(using=using, durable=True):
                return work()
        except DatabaseFault as error:
            kind = type(error).__name__
        # Not as its cause: errors of a database may quote the row.
        raise OutcomeUnknown(f"the database did not say whether it committed ({kind})")

    def _forget_cached(self, keys: Collection[str]) -> None:
        if not issubclass(self._store_class, CachedDbSessionStore):
            return
        prefix = self._store_class.cache_key_prefix
        kind = ""
        try:
            caches[settings.SESSION_CACHE_ALIAS].delete_many([prefix + key for key in keys])
        except Exception as error:  # noqa: BLE001  a cache raises whatever its client raises
            kind = type(error).__name__
        if kind:
            raise StoreUnavailable(f"the cache of the old sessions did not answer ({kind})")


@contextmanager
def _translated() -> Generator[None, None, None]:
    kind = ""
    try:
        yield
    except DatabaseFault as error:
        kind = type(error).__name__
    if kind:
        # Not as its cause: errors of a database may quote the row.
        raise StoreUnavailable(f"the database of the old sessions did not answer ({kind})")


def _mark_key(key: str) -> str:
    return hashlib.sha256(b"sessioncore moved " + key.encode()).hexdigest()[:_LONGEST_KEY]


def _checked_engine(engine: str) -> type[DbSessionStore[AbstractBaseSession]]:
    if engine in _REFUSED_ENGINES:
        raise LegacyStoreRefused(f"{engine}: {_REFUSED_ENGINES[engine]}")
    found: Any = getattr(import_module(engine), "SessionStore", None)
    if not _derives(found, DbSessionStore):
        raise LegacyStoreRefused(f"{engine}: its sessions are not rows, as far as can be known")
    store_class: type[DbSessionStore[AbstractBaseSession]] = found
    return store_class


def _checked_serializer(serializer: str) -> type[signing.JSONSerializer]:
    found: Any = import_string(serializer)
    if not _derives(found, signing.JSONSerializer):
        raise LegacyStoreRefused(
            f"{serializer}: not known to be JSON. If it pickles: unpickling runs whatever code"
            " a record asks for, so a leaked SECRET_KEY would be enough to take over the server"
        )
    serializer_class: type[signing.JSONSerializer] = found
    return serializer_class


def _derives(found: object, base: type) -> bool:
    return isinstance(found, type) and issubclass(found, base)
