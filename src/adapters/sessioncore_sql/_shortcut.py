"""
The one read that every request makes, without what SQLAlchemy adds to it.

To run a statement by SQLAlchemy takes longer than the database takes to answer
it, and with asyncio several times as long; so does half of what its pool does
around a connection. So the engine's pool lends a connection, and the compiled text
goes straight to the driver. It is a shortcut beside the way that all other
operations go, and the rules are:

1.  It is taken only where nobody can tell the difference: by drivers that are
    known, over connections that are in no transaction and begin none, on engines
    without options, and while nobody listens to statements, logs them, or wants to
    see a connection before or after it is used.
2.  If anything goes wrong, the long way is gone, from its start, within the same call:
    so what ``_transaction.py`` and ``_deadline.py`` promise is kept there, and whoever
    listens to errors hears of it. Unless the server had answered that it refuses, the
    connection is thrown away first.
3.  It leaves a connection as it found it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from operator import itemgetter
from typing import Any, Final, TypeAlias, cast

import sqlalchemy.pool
from sqlalchemy import Engine, Select
from sqlalchemy.pool import AsyncAdaptedQueuePool, ConnectionPoolEntry
from sqlalchemy.util import greenlet_spawn

from ._deadline import Call, asks_first, checked_out, line_of
from ._transaction import MYSQL, SQLITE, faults, is_refusal, reads_what_is_committed, unavailable

Values: TypeAlias = Mapping[str, object]
Parameters: TypeAlias = Values | tuple[object, ...]

DETOUR: Final = object()
"""Go the long way."""

_CURSOR: Final = "sessioncore_sql.cursor"

# SQLAlchemy begins the transactions of asyncpg itself, when it first uses a connection.
_ASYNCPG: Final = "asyncpg"

_PSYCOPG: Final = "psycopg"

_POOLS_ARE_KNOWN: Final = all(
    hasattr(getattr(sqlalchemy.pool, kind, None), name)
    for kind, name in (
        ("Pool", "_do_get"),
        ("_ConnectionRecord", "get_connection"),
        ("_ConnectionRecord", "checkin"),
        ("_ConnectionRecord", "_is_hard_or_soft_invalidated"),
    )
)
"""SQLAlchemy promises none of these. Without them the long way is gone."""

_CLOSED_AT_ONCE: Final = frozenset({_ASYNCPG, "asyncmy"})
"""Drivers for asyncio that can drop a connection without waiting for the server."""


def _by_psycopg(connection: ConnectionPoolEntry, text: str, parameters: Parameters) -> Any:
    # In text, a third of the time would go into hexadecimal digits and numbers; and
    # a cursor takes as long to make as to use.
    cursor = connection.info.get(_CURSOR)
    if cursor is None:
        driver: Any = connection.dbapi_connection
        cursor = connection.info[_CURSOR] = driver.cursor(binary=True)
    return cursor.execute(text, parameters).fetchall()


def _by_any(connection: ConnectionPoolEntry, text: str, parameters: Parameters) -> Any:
    driver: Any = connection.dbapi_connection
    cursor = driver.cursor()
    try:
        cursor.execute(text, parameters)
        return cursor.fetchall()
    finally:
        cursor.close()


_FETCH: Final[Mapping[str, Callable[[ConnectionPoolEntry, str, Parameters], Any]]] = {
    _PSYCOPG: _by_psycopg,
    "pymysql": _by_any,
    "pysqlite": _by_any,
}


async def _by_asyncpg(driver: Any, text: str, parameters: Parameters) -> Any:
    return await driver.fetch(text, *parameters)


async def _by_asyncmy(driver: Any, text: str, parameters: Parameters) -> Any:
    async with driver.cursor() as cursor:
        await cursor.execute(text, parameters)
        return await cursor.fetchall()


async def _by_async_psycopg(driver: Any, text: str, parameters: Parameters) -> Any:
    cursor = driver.cursor(binary=True)
    return await (await cursor.execute(text, parameters)).fetchall()


async def _by_aiosqlite(driver: Any, text: str, parameters: Parameters) -> Any:
    # In one step of its thread; a cursor would take three.
    return await driver.execute_fetchall(text, parameters)


_FETCH_ASYNC: Final[Mapping[str, Callable[[Any, str, Parameters], Awaitable[Any]]]] = {
    _ASYNCPG: _by_asyncpg,
    "asyncmy": _by_asyncmy,
    _PSYCOPG: _by_async_psycopg,
    "aiosqlite": _by_aiosqlite,
}


class _Shortcut:
    """
    What the two kinds have in common: whether they may be taken, and what is asked.
    """

    def __init__(self, engine: Engine, statement: Select[*tuple[Any, ...]]) -> None:
        self._engine = engine
        self._dialect: Any = engine.dialect
        self._statement = statement
        self._text = ""
        self._in_order: Callable[[Values], Parameters] = dict

    def _is_open(self) -> bool:
        engine, pool = self._engine, self._engine.pool
        return _POOLS_ARE_KNOWN and not (
            # Not public, and not known to be absent: then each list is looked at.
            (getattr(engine, "_has_events", True) and _listened_to(engine))
            or self._dialect.dispatch.do_execute
            or pool.dispatch.checkout
            or pool.dispatch.reset
            or asks_first(pool)
            or engine.get_execution_options()
            or engine.logger.isEnabledFor(logging.INFO)
        )

    def _take(self) -> ConnectionPoolEntry:
        # What pool.connect() does, but for the proxy, which takes longer than all of
        # that: there is nothing to undo, and nobody else who could forget to return it.
        pool: Any = self._engine.pool
        return self._made_ready(pool._do_get())  # noqa: SLF001 - what every kind of pool implements

    def _made_ready(self, entry: Any) -> ConnectionPoolEntry:
        try:
            entry.get_connection()
        except BaseException:
            entry.invalidate()
            _give_back(entry)
            raise
        return cast("ConnectionPoolEntry", entry)

    def _may_read(self, connection: ConnectionPoolEntry) -> bool:
        dialect = self._dialect
        driver: Any = connection.driver_connection
        if dialect.driver == _ASYNCPG:
            return not driver.is_in_transaction()
        if dialect.name == SQLITE:
            return not getattr(driver, "in_transaction", True)
        if dialect.driver == _PSYCOPG and _binds_itself(driver):
            return False
        return bool(dialect.detect_autocommit_setting(connection.dbapi_connection)) and (
            dialect.name not in MYSQL or reads_what_is_committed(dialect)
        )

    def _compile(self) -> None:
        # Not before there is a connection: the dialect has to know the server.
        compiled = self._statement.compile(dialect=self._dialect)
        if compiled.positiontup is not None:
            self._in_order = itemgetter(*compiled.positiontup)
        self._text = str(compiled)

    def _is_sound(self, error: Exception, connection: ConnectionPoolEntry) -> bool:
        return is_refusal(error) and not self._dialect.is_disconnect(
            error, connection.dbapi_connection, None
        )


def _binds_itself(driver: Any) -> bool:
    # Cursors that write the parameters into the text have no binary results.
    return hasattr(driver.cursor_factory, "mogrify")


def _is_ready(pool: Any, entry: Any) -> bool:
    # Whether the pool would hand it out as it is, and not connect first.
    if entry._is_hard_or_soft_invalidated():  # noqa: SLF001
        return False
    lasts = getattr(pool, "_recycle", 0)
    return bool(lasts < 0 or time.time() - entry.last_connect_time <= lasts)


def _give_back(connection: Any) -> None:
    connection.checkin(False)  # noqa: FBT003 - so says SQLAlchemy where there was no proxy


def _listened_to(engine: Engine) -> bool:
    told = engine.dispatch
    return bool(
        told.engine_connect
        or told.begin
        or told.rollback
        or told.before_execute
        or told.after_execute
        or told.before_cursor_execute
        or told.after_cursor_execute
    )


class Shortcut(_Shortcut):
    """
    Reads, for threads.

    Args:
        engine: Whose pool to use.

        statement: What to read.
    """

    def rows(self, call: Call, values: Values) -> Any:
        """
        Return all rows, or :data:`DETOUR`.

        Args:
            call: Which the connection belongs to meanwhile.

            values: Of the statement's parameters.

        Raises:
            StoreUnavailable: There is no connection, or the call is over.
        """
        fetch = _FETCH.get(self._dialect.driver)
        if fetch is None or not self._is_open():
            return DETOUR
        try:
            connection = checked_out(self._engine, call, self._take, _give_back)
            try:
                if not self._may_read(connection):
                    return DETOUR
                if not self._text:
                    self._compile()
                line = line_of(connection)
                if line is not None:
                    call.use(line)
                return fetch(connection, self._text, self._in_order(values))
            except faults(self._dialect) as error:
                if not self._is_sound(error, connection):
                    connection.invalidate()
                if not call.is_over:
                    return DETOUR
                fault = unavailable(error, call)
            except BaseException:
                connection.invalidate()
                raise
            finally:
                _give_back(connection)
        except faults(self._dialect) as error:
            fault = unavailable(error, call)
        raise fault


class AsyncShortcut(_Shortcut):
    """
    The same for asyncio, where it also spares SQLAlchemy's greenlets.
    """

    async def rows(self, call: Call, values: Values) -> Any:
        """
        See :meth:`Shortcut.rows`.
        """
        fetch = _FETCH_ASYNC.get(self._dialect.driver)
        if fetch is None or not self._is_open():
            return DETOUR
        try:
            connection = await self._taken(call)
            try:
                if not self._may_read(connection):
                    return DETOUR
                if not self._text:
                    self._compile()
                call.use(line_of(connection))
                return await fetch(connection.driver_connection, self._text, self._in_order(values))
            except faults(self._dialect) as error:
                if not self._is_sound(error, connection):
                    await self._thrown_away(connection)
                if not call.is_over:
                    return DETOUR
                fault = unavailable(error, call)
            except BaseException:
                await self._thrown_away(connection)
                raise
            finally:
                await self._given_back(connection)
        except faults(self._dialect) as error:
            fault = unavailable(error, call)
        raise fault

    # Wherever SQLAlchemy may have to wait it needs a greenlet, and that costs as much
    # as all the rest. Here it is known not to wait: for a connection that lies ready in
    # the pool, or for room to put it back.

    async def _taken(self, call: Call) -> ConnectionPoolEntry:
        pool = self._engine.pool
        # Not by _do_get(), which may wait.
        queue: Any = getattr(pool, "_pool", None)
        take = self._take
        if queue and isinstance(pool, AsyncAdaptedQueuePool) and pool.checkedin() > 0:
            entry: Any = queue.get_nowait()
            if _is_ready(pool, entry):
                return cast("ConnectionPoolEntry", entry)
            take = partial(self._made_ready, entry)
        async with asyncio.timeout(max(call.remaining, 0)):
            return await greenlet_spawn(take)

    async def _given_back(self, connection: ConnectionPoolEntry) -> None:
        pool = self._engine.pool
        if (
            isinstance(pool, AsyncAdaptedQueuePool)
            and pool.checkedin() < pool.size()
            and len(pool.dispatch.checkin) <= (self._dialect.name != SQLITE)  # our own
        ):
            _give_back(connection)
        else:
            await greenlet_spawn(_give_back, connection)

    async def _thrown_away(self, connection: ConnectionPoolEntry) -> None:
        if self._dialect.driver in _CLOSED_AT_ONCE:
            connection.invalidate()
        else:
            await greenlet_spawn(connection.invalidate)
