"""
Engines: which ones a store takes, and how one is made.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import timedelta
from importlib import import_module
from typing import Any, Final, TypeVar

import attrs
from sqlalchemy import URL, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, InvalidRequestError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import SingletonThreadPool, StaticPool

from ._deadline import follow, keep_alive
from ._transaction import MYSQL, SQLITE, note_the_end

SUPPORTED: Final = (SQLITE, "postgresql", *sorted(MYSQL))

DEADLINE: Final = timedelta(seconds=5)

POOL_SIZE: Final = 5

PATIENCE: Final = timedelta(minutes=5)
"""How long a store waits at least for its tables to be made."""

# Locks are given up first, for that costs no connection.
_PATIENCE_WITH_LOCKS: Final = 0.8

E = TypeVar("E", Engine, AsyncEngine)


def new_engine(
    url: str | URL, /, *, deadline: timedelta = DEADLINE, pool_size: int = POOL_SIZE
) -> Engine:
    """
    Make an engine with the settings that the stores are tested with.

    It is for the stores alone: its connections are in autocommit, so that
    recognising a session takes one round trip. Statement parameters stay out
    of logs and errors. Nothing is tested before it is used: the stores replace a
    connection that turns out to be dead.

    On SQLite it sets write-ahead logging, so that readers and the writer do not
    wait for each other, and ``synchronous=FULL``, so that an acknowledged logout
    survives a power failure (https://www.sqlite.org/wal.html; not over network
    file systems). On PostgreSQL ``lock_timeout`` and
    ``idle_in_transaction_session_timeout``, on MariaDB
    ``innodb_lock_wait_timeout`` and ``idle_transaction_timeout`` follow from the
    deadline: a client that is stopped while it holds a lock loses it.

    Args:
        url: Such as ``sqlite:////var/lib/app/sessions.db``.

        deadline: That of the stores. For so long a call waits for a free
            connection or for a new one, and on servers a little less for a lock.

        pool_size: How many connections are kept. When all are busy, up to ten more
            are opened and closed again, which takes longer than a request: so as
            many as there are usually calls at the same time.

    Raises:
        ValueError: Not the URL of a database that is supported, or no deadline.
    """
    return _made(url, deadline, pool_size, create_engine, lambda engine: engine)


def new_async_engine(
    url: str | URL, /, *, deadline: timedelta = DEADLINE, pool_size: int = POOL_SIZE
) -> AsyncEngine:
    """
    See :func:`new_engine`; the URL names an asyncio driver, as ``sqlite+aiosqlite:///...`` does.
    """
    return _made(url, deadline, pool_size, create_async_engine, lambda engine: engine.sync_engine)


def _made(
    url: str | URL,
    deadline: timedelta,
    pool_size: int,
    create: Callable[..., E],
    sync_engine_of: Callable[[E], Engine],
) -> E:
    check_deadline(None, None, deadline)
    seconds = deadline.total_seconds()
    try:
        parsed = make_url(url)
        backend = parsed.get_backend_name()
        engine = create(
            parsed,
            hide_parameters=True,
            connect_args=_connect_args(parsed, seconds),
            isolation_level="AUTOCOMMIT",
            # Otherwise MySQL's drivers send a ROLLBACK after every statement.
            skip_autocommit_rollback=True,
            # One in memory has no pool that could wait; the stores refuse it.
            **({} if _is_in_memory(parsed) else _pool(pool_size, seconds)),
        )
    except (ArgumentError, InvalidRequestError, ValueError) as error:
        # The class alone: the message may quote the URL, with its password.
        refusal = type(error).__name__
    else:
        pool = sync_engine_of(engine)
        # Before SQLAlchemy asks the first connection what it is like.
        if backend == SQLITE:
            event.listen(pool, "connect", _prepare_sqlite)
        else:
            event.listen(pool, "connect", _keep_alive, insert=True)
        if backend in MYSQL:
            event.listen(pool, "connect", _mysql_preparation(seconds), insert=True)
        return engine
    raise ValueError(f"not the URL of a database for this kind of store ({refusal})")


def _pool(size: int, seconds: float) -> dict[str, Any]:
    # Last in, first out: the server's process that was busy last has all at hand.
    return {"pool_size": size, "pool_timeout": seconds, "pool_use_lifo": True}


def _connect_args(url: URL, seconds: float) -> dict[str, Any]:
    whole_seconds = math.ceil(seconds)
    limits = {
        "lock_timeout": _milliseconds(seconds * _PATIENCE_WITH_LOCKS),
        "idle_in_transaction_session_timeout": _milliseconds(seconds),
    }
    match url.get_backend_name(), url.get_driver_name():
        case "sqlite", _:
            return {"timeout": seconds}
        case "postgresql", "asyncpg":
            return {"timeout": seconds, "server_settings": limits}
        case "postgresql", "psycopg" | "psycopg2":
            options = [f"-c {name}={value}" for name, value in limits.items()]
            theirs = url.query.get("options", ())
            options += [theirs] if isinstance(theirs, str) else theirs
            return {"connect_timeout": whole_seconds, "options": " ".join(options)}
        case _, "pymysql" | "mysqldb" | "asyncmy" | "aiomysql":
            return {"connect_timeout": whole_seconds}
        case _:
            return {}


def _milliseconds(seconds: float) -> str:
    return str(max(round(seconds * 1000), 1))


def _prepare_sqlite(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()


def _mysql_preparation(seconds: float) -> Callable[[Any, object], None]:
    lock_wait = max(int(seconds * _PATIENCE_WITH_LOCKS), 1)
    # MariaDB reads what is in /*M! */, and of /*! */ nothing that MySQL made in 5.7
    # or later; MySQL the other way round.
    statement = (
        f"SET SESSION innodb_lock_wait_timeout = {lock_wait}"
        " /*!50720 , transaction_isolation = 'READ-COMMITTED' */"
        " /*M!100300 , tx_isolation = 'READ-COMMITTED'"
        f", idle_transaction_timeout = {math.ceil(seconds)} */"
    )

    def prepare(connection: Any, _record: object) -> None:
        cursor = connection.cursor()
        cursor.execute(statement)
        cursor.close()

    return prepare


def _keep_alive(_connection: object, record: Any) -> None:
    keep_alive(record.driver_connection)


def check_deadline(_store: object, _attribute: object, deadline: timedelta) -> None:
    """
    Refuse what is not a length of time.
    """
    if not isinstance(deadline, timedelta):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"a deadline is a timedelta, not {type(deadline).__name__}")
    if deadline <= timedelta(0):
        raise ValueError("a deadline is longer than nothing")


def check_engine(store: object, _attribute: attrs.Attribute[Any], engine: object) -> None:
    """
    Refuse an engine with which a synchronous store could not keep its promises.
    """
    name = type(store).__name__
    if not isinstance(engine, Engine):
        raise TypeError(f"{name} takes a sqlalchemy.Engine, not {type(engine).__name__}")
    if engine.dialect.is_async:
        raise ValueError(f"{name} cannot use an asyncio driver; Async{name} can")
    _check(name, engine)


def check_async_engine(store: object, _attribute: attrs.Attribute[Any], engine: object) -> None:
    """
    Refuse an engine with which an asynchronous store could not keep its promises.
    """
    name = type(store).__name__
    if not isinstance(engine, AsyncEngine):
        raise TypeError(
            f"{name} takes a sqlalchemy.ext.asyncio.AsyncEngine, not {type(engine).__name__}"
        )
    if engine.driver == "aiomysql" and not _aiomysql_works():
        raise ValueError(
            "this aiomysql cannot send bytes with this PyMySQL (PyMySQL/PyMySQL#1274): "
            "take asyncmy, or PyMySQL before 1.2"
        )
    _check(name, engine.sync_engine)


def _aiomysql_works() -> bool:
    # aiomysql 0.3 calls what PyMySQL 1.2 has replaced by a text that warns of it.
    return callable(getattr(import_module("aiomysql.connection"), "escape_bytes_prefixed", str))


def _check(name: str, engine: Engine) -> None:
    dialect = engine.dialect.name
    if dialect not in SUPPORTED:
        raise ValueError(f"{name} runs on {', '.join(SUPPORTED)}, not on {dialect}")
    if _is_in_memory(engine.url):
        raise ValueError(
            f"{name} needs a database file: one in memory belongs to a single connection "
            "(for tests and single processes there is sessioncore_memory)"
        )
    if isinstance(engine.pool, StaticPool | SingletonThreadPool):
        raise ValueError(  # noqa: TRY004 - it is an engine, with the wrong pool
            f"{name} needs a connection of its own for each call, so that it never joins a "
            f"transaction of its caller; {type(engine.pool).__name__} shares one"
        )


def _is_in_memory(url: URL) -> bool:
    if url.get_backend_name() != SQLITE:
        return False
    database = url.database or ""
    return database in {"", "file:"} or ":memory:" in database or url.query.get("mode") == "memory"


def prepare_engine(engine: Engine) -> None:
    """
    Learn of the engine's connections, so that calls over them keep their deadlines.
    """
    if engine.dialect.name != SQLITE:
        follow(engine)
        if not event.contains(engine, "handle_error", note_the_end):
            event.listen(engine, "handle_error", note_the_end)
