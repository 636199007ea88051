"""
The stores for asyncio: the same programs as in :mod:`sessioncore_sql.stores`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any, ClassVar, Concatenate, Final, ParamSpec, Self, TypeVar

import attrs
from sqlalchemy import URL, Connection, Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from sessioncore.errors import OutcomeUnknown, StoreUnavailable
from sessioncore.ports import Account, Admission, DataWrite, Purged
from sessioncore.session import DataChange, Datum, Epoch, Locator, Roster, Session, Subject

from . import _credentials, _sessions
from ._deadline import Call, entered, over_its_line
from ._engine import (
    DEADLINE,
    PATIENCE,
    check_async_engine,
    check_deadline,
    new_async_engine,
    prepare_engine,
)
from ._feed import PostgresInvalidationFeed
from ._schema import Component, create
from ._shortcut import DETOUR, AsyncShortcut
from ._transaction import faults, is_lost, unavailable

P = ParamSpec("P")
T = TypeVar("T")

# The event loop keeps only weak references to its tasks.
_under_way: set[asyncio.Task[Any]] = set()

# For a call that is over to come back by itself and say what it knows.
_ALLOWANCE_SECONDS: Final = 0.5


def _is_over(task: asyncio.Task[Any]) -> None:
    _under_way.discard(task)
    # If its caller was cancelled, nobody else asks, and asyncio complains of that.
    if not task.cancelled():
        task.exception()


class watching(entered):  # noqa: N801 - it reads as a function
    """
    Make *call* the current one, and end it by force if it is over its deadline. For tasks.
    """

    __slots__ = ("_end",)

    def __enter__(self) -> None:
        call = self._call
        self._end = asyncio.get_running_loop().call_later(call.remaining, call.expire)
        super().__enter__()

    def __exit__(self, *exception: object) -> None:
        super().__exit__(*exception)
        self._end.cancel()


@attrs.frozen(eq=False)
class _OnAsyncEngine:
    """
    What the stores share: an engine, and one call of an operation on it.
    """

    _component: ClassVar[Component]

    engine: AsyncEngine = attrs.field(validator=check_async_engine, repr=False)
    deadline: timedelta = attrs.field(default=DEADLINE, validator=check_deadline, kw_only=True)

    def __attrs_post_init__(self) -> None:
        prepare_engine(self.engine.sync_engine)

    async def _run(
        self,
        operation: Callable[Concatenate[Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        call = Call(self.deadline)
        return await self._ended(call, self._in_time(call, operation, *args, **kwargs))

    async def _ended(self, call: Call, work: Coroutine[Any, Any, T]) -> T:
        # Its caller may be cancelled; it is not. A driver that is stopped between
        # BEGIN and COMMIT loses its connection, and with aiosqlite the lock on the
        # database goes on being held by a thread that nobody can reach.
        loop = asyncio.get_running_loop()
        task = loop.create_task(work)
        news: asyncio.Future[None] = loop.create_future()

        def tell(*_: object) -> None:
            if not news.done():
                news.set_result(None)

        _under_way.add(task)
        task.add_done_callback(_is_over)
        task.add_done_callback(tell)
        # asyncio.wait() does no more, and takes a third longer.
        patience = loop.call_later(call.remaining + _ALLOWANCE_SECONDS, tell)
        try:
            await news
        finally:
            patience.cancel()
        if task.done():
            return task.result()
        # It can neither answer nor give up, but it does not begin to commit any more.
        call.expire()
        if call.may_be_committed:
            raise OutcomeUnknown(f"the commit was not acknowledged within {call.deadline:g} s")
        raise StoreUnavailable(f"the database did not answer within {call.deadline:g} s")

    async def _in_time(
        self,
        call: Call,
        operation: Callable[Concatenate[Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        with watching(call):
            return await self._carried_out(call, operation, *args, **kwargs)

    async def _carried_out(
        self,
        call: Call,
        operation: Callable[Concatenate[Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        try:
            try:
                return await self._call(call, operation, *args, **kwargs)
            except DBAPIError as error:
                if call.is_over or not is_lost(error):
                    raise
            # Nothing was written, and the pool has noticed.
            return await self._call(call, operation, *args, **kwargs)
        except faults(self.engine.dialect) as error:
            fault = unavailable(error, call)
        raise fault

    async def _call(
        self,
        call: Call,
        operation: Callable[Concatenate[Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        # Nothing can be written before there is a connection, so waiting for one
        # is cancelled; waiting for an answer is not.
        async with asyncio.timeout(max(call.remaining, 0)):
            connection = await self.engine.connect()
        try:
            return await connection.run_sync(over_its_line, call, operation, *args, **kwargs)
        finally:
            await connection.close()

    @classmethod
    @asynccontextmanager
    async def connect(
        cls, url: str | URL, /, *, deadline: timedelta = DEADLINE
    ) -> AsyncGenerator[Self]:
        """
        Make the store with an engine of its own, and its tables if they are missing.

        For scripts and first steps. An app that has an engine, or wants both
        stores on one, hands it in: see :func:`sessioncore_sql.new_async_engine`.

        Args:
            url: Such as ``sqlite+aiosqlite:///sessions.db``.

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
        engine = new_async_engine(url, deadline=deadline)
        try:
            store = cls(engine, deadline=deadline)
            await store.create_schema()
            yield store
        finally:
            await engine.dispose()

    async def create_schema(self) -> None:
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
        await patient._run(create, self._component)  # noqa: SLF001 - it is of our kind


@attrs.frozen(eq=False)
class AsyncSqlSessionStore(_OnAsyncEngine):
    """
    :class:`~sessioncore_sql.SqlSessionStore` for asyncio: the same promises, tables and programs.

    Any number of tasks of one event loop may share one store. A call that is
    cancelled has an unknown outcome; its connection is rolled back or thrown
    away before anyone gets it again.

    Args:
        engine: With a database and a pool that can keep the promises.

        deadline: How long one operation may take before it fails.

    Raises:
        TypeError: *engine* is none, or not one for asyncio.

        ValueError: Its database, its driver or its pool could not keep the
            promises, or the deadline is not longer than nothing.
    """

    _component: ClassVar = Component.SESSIONS

    _to_find: AsyncShortcut = attrs.field(init=False, repr=False)
    _to_find_with_data: AsyncShortcut = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        # As attrs itself does it in a frozen class; not a default, for those come
        # before the engine is checked.
        engine = self.engine.sync_engine
        object.__setattr__(self, "_to_find", AsyncShortcut(engine, _sessions.FIND))
        with_data = AsyncShortcut(engine, _sessions.FIND_WITH_DATA)
        object.__setattr__(self, "_to_find_with_data", with_data)

    def invalidation_feed(self, engine: Engine) -> PostgresInvalidationFeed:
        """
        Make the feed of this store, for a near cache.

        Args:
            engine: For threads, because the feed is listened to in one, with psycopg, and of
                the same database. It stays yours to dispose of.

        Raises:
            TypeError: *engine* is none, or one for asyncio.

            ValueError: It is of another database, or by another driver.
        """
        feed = PostgresInvalidationFeed(engine)
        here, there = self.engine.url, engine.url
        if (here.host, here.port, here.database) != (there.host, there.port, there.database):
            raise ValueError("engine: of the database that the store has")
        return feed

    async def open_epoch(self, subject: Subject, at: datetime, lives_for: timedelta, /) -> Epoch:
        """
        See :meth:`AsyncSessionStore.open_epoch`.
        """
        return await self._run(_sessions.open_epoch, subject, at, lives_for)

    async def find(self, locator: Locator, /) -> Session | None:
        """
        See :meth:`AsyncSessionStore.find`.
        """
        call = Call(self.deadline)
        return await self._ended(call, self._find(call, locator))

    async def _find(self, call: Call, locator: Locator) -> Session | None:
        with watching(call):
            rows = await self._to_find.rows(call, _sessions.key_of(locator))
            if rows is DETOUR:
                return await self._carried_out(call, _sessions.find, locator)
        return _sessions.found(rows)

    async def replace(self, old: Session, new: Session, /) -> bool:
        """
        See :meth:`AsyncSessionStore.replace`.
        """
        return await self._run(_sessions.replace, old, new)

    async def roster(self, subject: Subject, /) -> Roster:
        """
        See :meth:`AsyncSessionStore.roster`.
        """
        return await self._run(_sessions.roster, subject)

    async def admit(
        self,
        session: Session,
        evicted: tuple[Locator, ...],
        version: bytes | None,
        at: datetime,  # noqa: ARG002 - purge finds what has expired by its index
        /,
    ) -> Admission:
        """
        See :meth:`AsyncSessionStore.admit`.
        """
        return await self._run(_sessions.admit, session, evicted, version)

    async def restart(self, old: Session, new: Session, /) -> Locator | None:
        """
        See :meth:`AsyncSessionStore.restart`.
        """
        return await self._run(_sessions.restart, old, new)

    async def delete(self, locator: Locator, expected: Session | None = None, /) -> bool:
        """
        See :meth:`AsyncSessionStore.delete`.
        """
        return await self._run(_sessions.delete, locator, expected)

    async def delete_user(self, subject: Subject, /) -> int:
        """
        See :meth:`AsyncSessionStore.delete_user`.
        """
        return await self._run(_sessions.delete_user, subject)

    async def read_data(self, locator: Locator, /) -> Mapping[str, Datum] | None:
        """
        See :meth:`AsyncSessionStore.read_data`.
        """
        return await self._run(_sessions.read_data, locator)

    async def find_with_data(
        self, locator: Locator, /
    ) -> tuple[Session, Mapping[str, Datum]] | None:
        """
        See :meth:`AsyncSessionStore.find_with_data`.
        """
        call = Call(self.deadline)
        return await self._ended(call, self._find_with_data(call, locator))

    async def _find_with_data(
        self, call: Call, locator: Locator
    ) -> tuple[Session, Mapping[str, Datum]] | None:
        with watching(call):
            rows = await self._to_find_with_data.rows(call, _sessions.key_of(locator))
            if rows is DETOUR:
                return await self._carried_out(call, _sessions.find_with_data, locator)
        return _sessions.found_with_data(rows)

    async def write_data(self, locator: Locator, change: DataChange, /) -> DataWrite:
        """
        See :meth:`AsyncSessionStore.write_data`.
        """
        return await self._run(_sessions.write_data, locator, change)

    async def purge(self, before: datetime, limit: int, /) -> Purged:
        """
        See :meth:`AsyncSessionStore.purge`. On SQLite other writes wait for the batch.
        """
        return await self._run(_sessions.purge, before, limit)


@attrs.frozen(eq=False)
class AsyncSqlCredentialStore(_OnAsyncEngine):
    """
    :class:`~sessioncore_sql.SqlCredentialStore` for asyncio: the same promises, table and programs.

    Args:
        engine: With a database and a pool that can keep the promises.

        deadline: How long one operation may take before it fails.

    Raises:
        TypeError: *engine* is none, or not one for asyncio.

        ValueError: Its database, its driver or its pool could not keep the
            promises, or the deadline is not longer than nothing.
    """

    _component: ClassVar = Component.CREDENTIALS

    async def find_user(self, username: str, /) -> Account | None:
        """
        See :meth:`AsyncCredentialStore.find_user`.
        """
        return await self._run(_credentials.find_user, username)

    async def read_hash(self, user_id: str, /) -> str | None:
        """
        See :meth:`AsyncCredentialStore.read_hash`.
        """
        return await self._run(_credentials.read_hash, user_id)

    async def replace_hash(self, user_id: str, verified: str, new: str, /) -> bool:
        """
        See :meth:`AsyncCredentialStore.replace_hash`.
        """
        return await self._run(_credentials.replace_hash, user_id, verified, new)

    async def add_user(
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
        return await self._run(_credentials.add_user, user_id, username, password_hash, role)

    async def set_hash(self, user_id: str, password_hash: str | None) -> bool:
        """
        Replace the user's hash whatever it was: a reset by an administrator.

        It ends no session: call ``logout_everywhere(user_id)`` when it returned.

        Returns:
            Whether there is such a user.

        Raises:
            StoreUnavailable: The database did not answer; nothing was written.

            OutcomeUnknown: The hash may or may not have been replaced.
        """
        return await self._run(_credentials.set_hash, user_id, password_hash)

    async def remove_user(self, user_id: str) -> bool:
        """
        Remove a user. Idempotent.

        It ends no session: call ``logout_everywhere(user_id)`` when it returned.

        Returns:
            Whether this call removed the user.

        Raises:
            StoreUnavailable: The database did not answer; nothing was removed.

            OutcomeUnknown: The user may or may not have been removed.
        """
        return await self._run(_credentials.remove_user, user_id)
