"""
The stores for threads. :mod:`sessioncore_sql.aio` has the same for asyncio.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import ClassVar, Concatenate, ParamSpec, Self, TypeVar

import attrs
from sqlalchemy import URL, Connection, Engine
from sqlalchemy.exc import DBAPIError

from sessioncore.ports import Account, Admission, DataWrite, Purged
from sessioncore.session import DataChange, Datum, Epoch, Locator, Roster, Session, Subject

from . import _credentials, _sessions
from ._deadline import Call, checked_out, over_its_line, watching
from ._engine import DEADLINE, PATIENCE, check_deadline, check_engine, new_engine, prepare_engine
from ._feed import PostgresInvalidationFeed
from ._schema import Component, create
from ._shortcut import DETOUR, Shortcut
from ._transaction import faults, is_lost, unavailable

P = ParamSpec("P")
T = TypeVar("T")


@attrs.frozen(eq=False)
class _OnEngine:
    """
    What the stores share: an engine, and one call of an operation on it.
    """

    _component: ClassVar[Component]

    engine: Engine = attrs.field(validator=check_engine, repr=False)
    deadline: timedelta = attrs.field(default=DEADLINE, validator=check_deadline, kw_only=True)

    def __attrs_post_init__(self) -> None:
        prepare_engine(self.engine)

    def _run(
        self,
        operation: Callable[Concatenate[Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        call = Call(self.deadline)
        with watching(call):
            return self._carried_out(call, operation, *args, **kwargs)

    def _carried_out(
        self,
        call: Call,
        operation: Callable[Concatenate[Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        try:
            try:
                return self._call(call, operation, *args, **kwargs)
            except DBAPIError as error:
                if call.is_over or not is_lost(error):
                    raise
            # Nothing was written, and the pool has noticed.
            return self._call(call, operation, *args, **kwargs)
        except faults(self.engine.dialect) as error:
            fault = unavailable(error, call)
        raise fault

    def _call(
        self,
        call: Call,
        operation: Callable[Concatenate[Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        engine = self.engine
        with checked_out(engine, call, engine.connect, Connection.close) as connection:
            return over_its_line(connection, call, operation, *args, **kwargs)

    @classmethod
    @contextmanager
    def connect(cls, url: str | URL, /, *, deadline: timedelta = DEADLINE) -> Generator[Self]:
        """
        Make the store with an engine of its own, and its tables if they are missing.

        For scripts and first steps. An app that has an engine, or wants both
        stores on one, hands it in: see :func:`sessioncore_sql.new_engine`.

        Args:
            url: Such as ``sqlite:///sessions.db``.

            deadline: How long one operation may take before it fails; making the
                tables may take up to five minutes.

        Returns:
            A context manager, which closes the engine in the end.

        Raises:
            ValueError: Not the URL of a database that the store can use.

            StoreUnavailable: The tables could not be made.

            OutcomeUnknown: They may or may not have been made.

            CorruptRecord: Their recorded version cannot be read.

            SchemaMismatch: They are there in a version that does not fit; see
                :func:`~sessioncore_sql.migrate`.
        """
        engine = new_engine(url, deadline=deadline)
        try:
            store = cls(engine, deadline=deadline)
            store.create_schema()
            yield store
        finally:
            engine.dispose()

    def create_schema(self) -> None:
        """
        Make the store's tables where they are missing. Changes none that is there.

        Repeating is safe, and so is starting several processes at once. It may
        take up to five minutes, or the deadline if that is longer: others may be
        at it.

        Raises:
            StoreUnavailable: The database did not answer; nothing was made, or on
                MySQL and MariaDB a part. Repeating makes the rest.

            OutcomeUnknown: They may or may not have been made.

            CorruptRecord: Their recorded version cannot be read.

            SchemaMismatch: They are there in a version that does not fit; see
                :func:`~sessioncore_sql.migrate`.
        """
        # To make tables takes longer than to use them, and others may be at it.
        patient = attrs.evolve(self, deadline=max(self.deadline, PATIENCE))
        patient._run(create, self._component)  # noqa: SLF001 - it is of our kind


@attrs.frozen(eq=False)
class SqlSessionStore(_OnEngine):
    """
    Sessions in a database: SQLite for one machine, PostgreSQL or MySQL for many.

    Any number of threads may share one store, and any number of processes one
    database. Each call takes a connection of its own from the engine's pool and
    never joins a transaction of the caller; on SQLite, a caller who calls while
    holding the database's write lock waits for itself, until the busy timeout.
    A connection that turns out to be dead is replaced without a word.

    The engine stays the caller's: the store never disposes of it and changes
    none of its settings. :func:`~sessioncore_sql.new_engine` makes one with the
    settings that matter. For others, whatever their isolation level:

    - SQLite: a file, in WAL mode and with ``synchronous=FULL``, and a busy timeout
      (``connect_args={"timeout": ...}``) no longer than the deadline.
    - Servers: no routing to replicas. ``pool_pre_ping`` is not needed, and costs a
      round trip. A ``pool_timeout`` no longer than the deadline.
    - PostgreSQL: ``idle_in_transaction_session_timeout`` and ``lock_timeout``, so
      that a client that is stopped does not keep its locks.
    - MariaDB and MySQL: ``idle_transaction_timeout`` (MariaDB only) and
      ``innodb_lock_wait_timeout``, for the same; and ``isolation_level="AUTOCOMMIT"``
      with ``skip_autocommit_rollback=True``, without which each call ends with a
      ``ROLLBACK``, which is a round trip.
    - For speed: ``isolation_level="AUTOCOMMIT"`` with psycopg and on MySQL; no
      ``pool_pre_ping``; and nobody who listens to the engine's statements or logs
      them, or to its pool's ``checkout`` and ``reset``. Then recognising a session
      does without most of SQLAlchemy, and takes a fraction of the time.

    Args:
        engine: With a database and a pool that can keep the promises.

        deadline: How long one operation may take before it fails, all waiting
            included. On SQLite the busy timeout decides, and on drivers that show
            no socket their own settings.

    Raises:
        TypeError: *engine* is none, or one for asyncio.

        ValueError: Its database or its pool could not keep the promises, or the
            deadline is not longer than nothing.
    """

    _component: ClassVar = Component.SESSIONS

    _to_find: Shortcut = attrs.field(init=False, repr=False)
    _to_find_with_data: Shortcut = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        # As attrs itself does it in a frozen class; not a default, for those come
        # before the engine is checked.
        object.__setattr__(self, "_to_find", Shortcut(self.engine, _sessions.FIND))
        with_data = Shortcut(self.engine, _sessions.FIND_WITH_DATA)
        object.__setattr__(self, "_to_find_with_data", with_data)

    def invalidation_feed(self) -> PostgresInvalidationFeed:
        """
        Make the feed of this store, for a near cache: of its engine.

        Raises:
            ValueError: The engine is not one of PostgreSQL, by psycopg.
        """
        return PostgresInvalidationFeed(self.engine)

    def open_epoch(self, subject: Subject, at: datetime, lives_for: timedelta, /) -> Epoch:
        """
        See :meth:`SessionStore.open_epoch`.
        """
        return self._run(_sessions.open_epoch, subject, at, lives_for)

    def find(self, locator: Locator, /) -> Session | None:
        """
        See :meth:`SessionStore.find`.
        """
        call = Call(self.deadline)
        with watching(call):
            rows = self._to_find.rows(call, _sessions.key_of(locator))
            if rows is DETOUR:
                return self._carried_out(call, _sessions.find, locator)
        return _sessions.found(rows)

    def replace(self, old: Session, new: Session, /) -> bool:
        """
        See :meth:`SessionStore.replace`.
        """
        return self._run(_sessions.replace, old, new)

    def roster(self, subject: Subject, /) -> Roster:
        """
        See :meth:`SessionStore.roster`.
        """
        return self._run(_sessions.roster, subject)

    def admit(
        self,
        session: Session,
        evicted: tuple[Locator, ...],
        version: bytes | None,
        at: datetime,  # noqa: ARG002 - purge finds what has expired by its index
        /,
    ) -> Admission:
        """
        See :meth:`SessionStore.admit`.
        """
        return self._run(_sessions.admit, session, evicted, version)

    def restart(self, old: Session, new: Session, /) -> Locator | None:
        """
        See :meth:`SessionStore.restart`.
        """
        return self._run(_sessions.restart, old, new)

    def delete(self, locator: Locator, expected: Session | None = None, /) -> bool:
        """
        See :meth:`SessionStore.delete`.
        """
        return self._run(_sessions.delete, locator, expected)

    def delete_user(self, subject: Subject, /) -> int:
        """
        See :meth:`SessionStore.delete_user`.
        """
        return self._run(_sessions.delete_user, subject)

    def read_data(self, locator: Locator, /) -> Mapping[str, Datum] | None:
        """
        See :meth:`SessionStore.read_data`.
        """
        return self._run(_sessions.read_data, locator)

    def find_with_data(self, locator: Locator, /) -> tuple[Session, Mapping[str, Datum]] | None:
        """
        See :meth:`SessionStore.find_with_data`.
        """
        call = Call(self.deadline)
        with watching(call):
            rows = self._to_find_with_data.rows(call, _sessions.key_of(locator))
            if rows is DETOUR:
                return self._carried_out(call, _sessions.find_with_data, locator)
        return _sessions.found_with_data(rows)

    def write_data(self, locator: Locator, change: DataChange, /) -> DataWrite:
        """
        See :meth:`SessionStore.write_data`.
        """
        return self._run(_sessions.write_data, locator, change)

    def purge(self, before: datetime, limit: int, /) -> Purged:
        """
        See :meth:`SessionStore.purge`. On SQLite other writes wait for the batch.
        """
        return self._run(_sessions.purge, before, limit)


@attrs.frozen(eq=False)
class SqlCredentialStore(_OnEngine):
    """
    Users and password hashes in a small table of this library.

    A reference, and enough for an app without users of its own. Usernames are
    matched exactly, byte by byte: ``alice`` and ``Alice`` are two users. An app
    with other rules of spelling, or with a users table, brings its own store.

    Threads, processes, transactions and the engine: as :class:`SqlSessionStore`.

    Args:
        engine: With a database and a pool that can keep the promises.

        deadline: How long one operation may take before it fails.

    Raises:
        TypeError: *engine* is none, or one for asyncio.

        ValueError: Its database or its pool could not keep the promises, or the
            deadline is not longer than nothing.
    """

    _component: ClassVar = Component.CREDENTIALS

    def find_user(self, username: str, /) -> Account | None:
        """
        See :meth:`CredentialStore.find_user`.
        """
        return self._run(_credentials.find_user, username)

    def read_hash(self, user_id: str, /) -> str | None:
        """
        See :meth:`CredentialStore.read_hash`.
        """
        return self._run(_credentials.read_hash, user_id)

    def replace_hash(self, user_id: str, verified: str, new: str, /) -> bool:
        """
        See :meth:`CredentialStore.replace_hash`.
        """
        return self._run(_credentials.replace_hash, user_id, verified, new)

    def add_user(
        self, user_id: str, username: str, password_hash: str | None, role: str | None = None
    ) -> bool:
        """
        Add a user.

        Args:
            user_id: The name of the user in sessions; it never changes.

            username: What the user types at sign-in: 1 to 255 printable characters.

            password_hash: As the app's ``PasswordHasher`` made it; ``None`` for a user without.

            role: For choosing a policy.

        Returns:
            Whether the user was added; ``False`` if either name is taken.

        Raises:
            ValueError: The user id or the username is not acceptable.

            StoreUnavailable: The database did not answer; nothing was written.

            OutcomeUnknown: The user may or may not have been added.
        """
        return self._run(_credentials.add_user, user_id, username, password_hash, role)

    def set_hash(self, user_id: str, password_hash: str | None) -> bool:
        """
        Replace the user's hash whatever it was: a reset by an administrator.

        It ends no session: call ``logout_everywhere(user_id)`` when it returned.

        Returns:
            Whether there is such a user.

        Raises:
            StoreUnavailable: The database did not answer; nothing was written.

            OutcomeUnknown: The hash may or may not have been replaced.
        """
        return self._run(_credentials.set_hash, user_id, password_hash)

    def remove_user(self, user_id: str) -> bool:
        """
        Remove a user. Idempotent.

        It ends no session: call ``logout_everywhere(user_id)`` when it returned.

        Returns:
            Whether this call removed the user.

        Raises:
            StoreUnavailable: The database did not answer; nothing was removed.

            OutcomeUnknown: The user may or may not have been removed.
        """
        return self._run(_credentials.remove_user, user_id)
