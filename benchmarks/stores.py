"""
The stores that are measured, each on a server of its own, and beside each its bare client.

The bare client reads the same bytes as the store does, in the least that its library
needs: the string with a session's record from Redis, the row with a session's columns
from a database, over a connection that is held, or from the library's own pool where
it has one. What databases acknowledge is on the disk, as it is by default.
"""

from __future__ import annotations

import re
import sqlite3
import tempfile
from collections import Counter, deque
from contextlib import asynccontextmanager, closing, contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, Self

import psycopg
from sqlalchemy import event, make_url
from sqlalchemy.ext.asyncio import create_async_engine

from servers import MariaDbServer, PostgresServer, RedisServer
from sessioncore_redis import AsyncRedisSessionStore, RedisSessionStore
from sessioncore_sql import AsyncSqlSessionStore, SqlSessionStore, new_engine, tables

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping
    from contextlib import AbstractAsyncContextManager, AbstractContextManager
    from types import TracebackType

    from sessioncore.ports import AsyncSessionStore, SessionStore
    from sessioncore.session import Session

CONNECTIONS: Final = 16
"""How many connections a pool for asyncio has, the store's as well as the bare one."""

ROUND_TRIPS: Final = "round trips"
BYTES_TO_SERVER: Final = "bytes to the server"
BYTES_FROM_SERVER: Final = "bytes from the server"

WRITES: Final = ("evalsha", "eval", "insert", "update", "delete")
"""The names of what changes something: scripts and statements."""

ATOMIC_STEPS: Final = ("evalsha", "eval", "commit")
"""The names of what makes a change that others see all of or nothing of."""

_ONE_WAY: Final[Mapping[str, Mapping[str, Any]]] = {"": {}}
_TWO_WAYS: Final[Mapping[str, Mapping[str, Any]]] = {
    "": {},
    "own-connection": {"keep_connections": True},
}

# These have no types, or not all.
_redis: Any = import_module("redis")
_redis_asyncio: Any = import_module("redis.asyncio")
_asyncpg: Any = import_module("asyncpg")
_asyncmy: Any = import_module("asyncmy")
_aiosqlite: Any = import_module("aiosqlite")
_pymysql: Any = import_module("pymysql")


class Backend(Protocol):
    """
    One kind of store, with its server. A context manager, which starts and ends that.
    """

    @property
    def name(self) -> str:
        """
        What figures call it.
        """
        ...

    @property
    def ways(self) -> Mapping[str, Mapping[str, Any]]:
        """
        With what options its stores are measured; with none by a way that has no name.
        """
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None: ...

    def store(self, **options: Any) -> AbstractContextManager[SessionStore]:
        """
        Open a store for threads.
        """
        ...

    def async_store(self, **options: Any) -> AbstractAsyncContextManager[AsyncSessionStore]:
        """
        Open a store for asyncio, on the same sessions.
        """
        ...

    def bare(
        self, session: Session, connections: int
    ) -> AbstractContextManager[Callable[[], object]]:
        """
        Open connections of the bare client, and return what reads the session by them.
        """
        ...

    def bare_otherwise(
        self, session: Session
    ) -> AbstractContextManager[Mapping[str, Callable[[], object]]]:
        """
        Return other ways for one thread to read the same, by what is said of them.
        """
        ...

    def async_bare(
        self, session: Session
    ) -> AbstractAsyncContextManager[Callable[[], Awaitable[object]]]:
        """
        The same as :meth:`bare` for asyncio.
        """
        ...

    def counted(
        self,
    ) -> AbstractContextManager[tuple[SessionStore, Callable[[], Counter[str]]]]:
        """
        Open a store whose commands the server counts, and return it with the counts so far.

        They are by the names of commands, or the first words of statements, in lower
        case; and :data:`ROUND_TRIPS`. To ask may count as well: see :func:`spent`.
        """
        ...


class OnRedis:
    """
    Redis, over TCP or a unix socket.

    Args:
        unix_socket: Whether it is the socket.
    """

    ways = _TWO_WAYS

    def __init__(self, *, unix_socket: bool = False) -> None:
        self.name = "redis-unix" if unix_socket else "redis"
        self._server = RedisServer(unix_socket=unix_socket)

    def __enter__(self) -> Self:
        self._server.__enter__()
        return self

    def __exit__(self, *_error: object) -> None:
        self._server.__exit__(None, None, None)

    @contextmanager
    def store(self, **options: Any) -> Generator[RedisSessionStore]:
        """
        See :meth:`Backend.store`.
        """
        with _redis.Redis.from_url(self._server.url) as client:
            yield RedisSessionStore(client, **options)

    @asynccontextmanager
    async def async_store(self, **options: Any) -> AsyncGenerator[AsyncRedisSessionStore]:
        """
        See :meth:`Backend.async_store`.
        """
        async with _redis_asyncio.Redis.from_url(self._server.url) as client:
            yield AsyncRedisSessionStore(client, **options)

    @contextmanager
    def bare(self, session: Session, connections: int) -> Generator[Callable[[], object]]:
        """
        See :meth:`Backend.bare`. The pool makes connections as it needs them.
        """
        del connections
        with _redis.Redis.from_url(self._server.url) as client:
            client.set("record", self._record_of(session))
            yield partial(client.get, "record")

    @contextmanager
    def bare_otherwise(self, session: Session) -> Generator[Mapping[str, Callable[[], object]]]:
        """
        See :meth:`Backend.bare_otherwise`: with a connection that no two threads may use.
        """
        with _redis.Redis.from_url(self._server.url, single_connection_client=True) as client:
            client.set("record", self._record_of(session))
            yield {"without-pool": partial(client.get, "record")}

    @asynccontextmanager
    async def async_bare(self, session: Session) -> AsyncGenerator[Callable[[], Awaitable[object]]]:
        """
        See :meth:`Backend.async_bare`.
        """
        async with _redis_asyncio.Redis.from_url(self._server.url) as client:
            await client.set("record", self._record_of(session))
            yield partial(client.get, "record")

    @contextmanager
    def counted(self) -> Generator[tuple[RedisSessionStore, Callable[[], Counter[str]]]]:
        """
        See :meth:`Backend.counted`. What a script calls is counted beside the script.
        """
        with self.store() as store, self._server.client() as observer:

            def counts() -> Counter[str]:
                stats, commands = observer.info("stats"), observer.info("commandstats")
                counted = Counter(
                    {name.removeprefix("cmdstat_"): of["calls"] for name, of in commands.items()}
                )
                # The server reads a command, or what is sent in one go, at once.
                counted[ROUND_TRIPS] = stats["total_reads_processed"]
                counted[BYTES_TO_SERVER] = stats["total_net_input_bytes"]
                counted[BYTES_FROM_SERVER] = stats["total_net_output_bytes"]
                return counted

            yield store, counts

    def _record_of(self, session: Session) -> bytes:
        # The one hash that is not of data and has a field with the session's slot.
        with self._server.client() as client:
            for key in client.scan_iter(match="sessioncore:{*}"):
                if client.hexists(key, session.locator.slot):
                    return b"".join(client.hvals(key))
        raise LookupError("the session is not there")


def _columns(placeholder: str) -> str:
    of_session = ", ".join(f"s.{each.name}" for each in tables.sessions.c if each.name != "epoch")
    return (
        f"SELECT e.epoch, e.subject_key_hash, e.subject_key, {of_session}"  # noqa: S608 - names
        f" FROM {tables.sessions.name} s JOIN {tables.epochs.name} e ON e.epoch = s.epoch"
        f" WHERE s.epoch = {placeholder} AND s.slot = {placeholder}"
    )


def _key(session: Session) -> tuple[bytes, bytes]:
    return session.locator.epoch, session.locator.slot


@contextmanager
def _held(
    connect: Callable[[], Any], read: Callable[[Any], object], connections: int
) -> Generator[Callable[[], object]]:
    held = [connect() for _ in range(connections)]
    free = deque(held)

    def by_any() -> object:
        # Nobody waits: there is one for each thread.
        connection = free.pop()
        row = read(connection)
        free.append(connection)
        return row

    try:
        yield partial(read, held[0]) if connections == 1 else by_any
    finally:
        for connection in held:
            connection.close()


# What new_async_engine sets, which takes no size of a pool.
_ON_SERVERS: Final[dict[str, Any]] = {
    "isolation_level": "AUTOCOMMIT",
    "skip_autocommit_rollback": True,
}


@asynccontextmanager
async def _store_for_asyncio(url: str, **options: Any) -> AsyncGenerator[AsyncSqlSessionStore]:
    engine = create_async_engine(
        url,
        pool_size=CONNECTIONS,
        max_overflow=0,
        hide_parameters=True,
        **_ON_SERVERS if not url.startswith("sqlite") else {},
    )
    try:
        yield AsyncSqlSessionStore(engine, **options)
    finally:
        await engine.dispose()


class OnPostgres:
    """
    PostgreSQL, by psycopg for threads and asyncpg for asyncio.
    """

    name = "postgresql"
    ways = _ONE_WAY

    def __init__(self) -> None:
        self._server = PostgresServer(fsync="on", full_page_writes="on")

    def __enter__(self) -> Self:
        self._server.__enter__()
        return self

    def __exit__(self, *_error: object) -> None:
        self._server.__exit__(None, None, None)

    def store(self, **options: Any) -> AbstractContextManager[SqlSessionStore]:
        """
        See :meth:`Backend.store`.
        """
        return SqlSessionStore.connect(self._server.url("psycopg"), **options)

    def async_store(self, **options: Any) -> AbstractAsyncContextManager[AsyncSqlSessionStore]:
        """
        See :meth:`Backend.async_store`.
        """
        return _store_for_asyncio(self._server.url("asyncpg"), **options)

    def bare(
        self, session: Session, connections: int
    ) -> AbstractContextManager[Callable[[], object]]:
        """
        See :meth:`Backend.bare`. A prepared statement, with rows in binary.
        """
        return self._bare(session, connections, binary=True)

    @contextmanager
    def bare_otherwise(self, session: Session) -> Generator[Mapping[str, Callable[[], object]]]:
        """
        See :meth:`Backend.bare_otherwise`: with rows as text, which is psycopg's default.
        """
        with self._bare(session, 1, binary=False) as read:
            yield {"rows-as-text": read}

    def _bare(
        self, session: Session, connections: int, *, binary: bool
    ) -> AbstractContextManager[Callable[[], object]]:
        query, key = _columns("%s").encode(), _key(session)

        def read(connection: psycopg.Connection) -> object:
            return connection.execute(query, key, prepare=True, binary=binary).fetchone()

        return _held(partial(psycopg.connect, self._url, autocommit=True), read, connections)

    @property
    def _url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self._server.port}/postgres"

    @asynccontextmanager
    async def async_bare(self, session: Session) -> AsyncGenerator[Callable[[], Awaitable[object]]]:
        """
        See :meth:`Backend.async_bare`. It prepares statements by itself.
        """
        query = _columns("%s").replace("%s", "$1", 1).replace("%s", "$2", 1)
        sizes = {"min_size": CONNECTIONS, "max_size": CONNECTIONS}
        async with _asyncpg.create_pool(self._url, **sizes) as pool:
            yield partial(pool.fetchrow, query, *_key(session))

    @contextmanager
    def counted(self) -> Generator[tuple[SqlSessionStore, Callable[[], Counter[str]]]]:
        """
        See :meth:`Backend.counted`. The server writes down every statement.
        """
        logging = "-c log_statement=all -c log_min_messages=log"
        url = make_url(self._server.url("psycopg")).update_query_dict({"options": logging})

        def counts() -> Counter[str]:
            said = re.findall(r"LOG:  (?:statement|execute [^:]*): (\w+)", self._server.log)
            counted = Counter(map(str.lower, said))
            counted[ROUND_TRIPS] = len(said)
            return counted

        with SqlSessionStore.connect(url) as store:
            yield store, counts


class OnMariaDb:
    """
    MariaDB, by PyMySQL for threads and asyncmy for asyncio.
    """

    name = "mariadb"
    ways = _ONE_WAY

    def __init__(self) -> None:
        self._server = MariaDbServer(
            innodb_flush_log_at_trx_commit="1", innodb_flush_method="fsync"
        )

    def __enter__(self) -> Self:
        self._server.__enter__()
        return self

    def __exit__(self, *_error: object) -> None:
        self._server.__exit__(None, None, None)

    def store(self, **options: Any) -> AbstractContextManager[SqlSessionStore]:
        """
        See :meth:`Backend.store`.
        """
        return SqlSessionStore.connect(self._server.url("pymysql"), **options)

    def async_store(self, **options: Any) -> AbstractAsyncContextManager[AsyncSqlSessionStore]:
        """
        See :meth:`Backend.async_store`.
        """
        return _store_for_asyncio(self._server.url("asyncmy"), **options)

    def bare(
        self, session: Session, connections: int
    ) -> AbstractContextManager[Callable[[], object]]:
        """
        See :meth:`Backend.bare`. It prepares no statements.
        """
        query, key = _columns("%s"), _key(session)

        def read(connection: Any) -> object:
            with connection.cursor() as cursor:
                cursor.execute(query, key)
                return cursor.fetchone()

        return _held(self._connect, read, connections)

    @contextmanager
    def bare_otherwise(self, session: Session) -> Generator[Mapping[str, Callable[[], object]]]:
        """
        See :meth:`Backend.bare_otherwise`.
        """
        del session
        yield {}

    @asynccontextmanager
    async def async_bare(self, session: Session) -> AsyncGenerator[Callable[[], Awaitable[object]]]:
        """
        See :meth:`Backend.async_bare`.
        """
        query, key = _columns("%s"), _key(session)
        sizes = {"minsize": CONNECTIONS, "maxsize": CONNECTIONS}
        async with _asyncmy.create_pool(**sizes, **self._address, autocommit=True) as pool:

            async def read() -> object:
                async with pool.acquire() as connection, connection.cursor() as cursor:
                    await cursor.execute(query, key)
                    return await cursor.fetchone()

            yield read

    @contextmanager
    def counted(self) -> Generator[tuple[SqlSessionStore, Callable[[], Counter[str]]]]:
        """
        See :meth:`Backend.counted`.
        """
        with self.store() as store, closing(self._connect()) as observer:

            def counts() -> Counter[str]:
                with observer.cursor() as cursor:
                    cursor.execute("SHOW GLOBAL STATUS")
                    status = dict(cursor.fetchall())
                kinds = {
                    name.removeprefix("Com_"): int(number)
                    for name, number in status.items()
                    if name.startswith("Com_") and number.isdigit()
                }
                counted = Counter(kinds)
                counted[ROUND_TRIPS] = int(status["Questions"])
                return counted

            yield store, counts

    @property
    def _address(self) -> dict[str, Any]:
        where = {"host": "127.0.0.1", "port": self._server.port}
        return {**where, "user": "root", "database": "test"}

    def _connect(self) -> Any:
        return _pymysql.connect(**self._address, autocommit=True)


class OnSqlite:
    """
    SQLite in a file with write-ahead logging, by aiosqlite for asyncio.
    """

    name = "sqlite"
    ways = _ONE_WAY

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory(prefix="sessioncore-bench-")
        self._file = str(Path(self._folder.name, "sessions.db"))
        return self

    def __exit__(self, *_error: object) -> None:
        self._folder.cleanup()

    def store(self, **options: Any) -> AbstractContextManager[SqlSessionStore]:
        """
        See :meth:`Backend.store`.
        """
        return SqlSessionStore.connect(f"sqlite:///{self._file}", **options)

    def async_store(self, **options: Any) -> AbstractAsyncContextManager[AsyncSqlSessionStore]:
        """
        See :meth:`Backend.async_store`. Write-ahead logging is a property of the file.
        """
        return _store_for_asyncio(f"sqlite+aiosqlite:///{self._file}", **options)

    def bare(
        self, session: Session, connections: int
    ) -> AbstractContextManager[Callable[[], object]]:
        """
        See :meth:`Backend.bare`. It prepares statements by itself.
        """
        query, key = _columns("?"), _key(session)
        connect = partial(
            sqlite3.connect, self._file, isolation_level=None, check_same_thread=False
        )

        def read(connection: sqlite3.Connection) -> object:
            return connection.execute(query, key).fetchone()

        return _held(connect, read, connections)

    @contextmanager
    def bare_otherwise(self, session: Session) -> Generator[Mapping[str, Callable[[], object]]]:
        """
        See :meth:`Backend.bare_otherwise`.
        """
        del session
        yield {}

    @asynccontextmanager
    async def async_bare(self, session: Session) -> AsyncGenerator[Callable[[], Awaitable[object]]]:
        """
        See :meth:`Backend.async_bare`. One connection, which is one thread, for all tasks.
        """
        async with _aiosqlite.connect(self._file, isolation_level=None) as connection:
            yield partial(connection.execute_fetchall, _columns("?"), _key(session))

    @contextmanager
    def counted(self) -> Generator[tuple[SqlSessionStore, Callable[[], Counter[str]]]]:
        """
        See :meth:`Backend.counted`. There are no round trips, so statements count as such.
        """
        engine = new_engine(f"sqlite:///{self._file}")
        counted: Counter[str] = Counter()

        def count(statement: str) -> None:
            counted[statement.split(maxsplit=1)[0].lower()] += 1
            counted[ROUND_TRIPS] += 1

        def trace(connection: sqlite3.Connection, _record: object) -> None:
            connection.set_trace_callback(count)

        event.listen(engine, "connect", trace)
        try:
            store = SqlSessionStore(engine)
            store.create_schema()
            yield store, counted.copy
        finally:
            engine.dispose()


def servers() -> tuple[Backend, ...]:
    """
    Return every kind of store that other processes could share, none of them started.
    """
    return OnRedis(), OnRedis(unix_socket=True), OnPostgres(), OnMariaDb(), OnSqlite()


def spent(counts: Callable[[], Counter[str]], call: Callable[[], object]) -> Counter[str]:
    """
    Return what *call* costs its server, less what it costs to ask that.
    """
    before, asked = counts(), counts()
    call()
    return (counts() - asked) - (asked - before)
