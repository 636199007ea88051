"""
Engines: which ones a store takes, and how one is made.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final, TypeVar

import attrs
from sqlalchemy import URL, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, InvalidRequestError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import SingletonThreadPool, StaticPool

from ._transaction import SQLITE

SUPPORTED: Final = ("sqlite", "postgresql", "mysql", "mariadb")

E = TypeVar("E", Engine, AsyncEngine)

_FIVE_SECONDS: Final = timedelta(seconds=5)


def new_engine(url: str | URL, /, *, busy_timeout: timedelta = _FIVE_SECONDS) -> Engine:
    """
    Make an engine with the settings that the stores are tested with.

    On SQLite that is write-ahead logging, so that readers and the writer do not
    wait for each other, and ``synchronous=FULL``, so that an acknowledged logout
    survives a power failure (https://www.sqlite.org/wal.html; not over network
    file systems). On servers it is READ COMMITTED, and a test of each connection
    that was idle. Everywhere, statement parameters stay out of logs and errors.

    Args:
        url: Such as ``sqlite:////var/lib/app/sessions.db``.

        busy_timeout: How long a write waits for SQLite's one write lock.

    Raises:
        ValueError: Not the URL of a database that is supported.
    """
    return _made(url, busy_timeout, create_engine, lambda engine: engine)


def new_async_engine(url: str | URL, /, *, busy_timeout: timedelta = _FIVE_SECONDS) -> AsyncEngine:
    """
    See :func:`new_engine`; the URL names an asyncio driver, as ``sqlite+aiosqlite:///...`` does.
    """
    return _made(url, busy_timeout, create_async_engine, lambda engine: engine.sync_engine)


def _made(
    url: str | URL,
    busy_timeout: timedelta,
    create: Callable[..., E],
    sync_engine_of: Callable[[E], Engine],
) -> E:
    try:
        parsed = make_url(url)
        on_sqlite = parsed.get_backend_name() == SQLITE
        if on_sqlite:
            seconds = busy_timeout / timedelta(seconds=1)
            engine = create(parsed, hide_parameters=True, connect_args={"timeout": seconds})
        else:
            engine = create(
                parsed, hide_parameters=True, isolation_level="READ COMMITTED", pool_pre_ping=True
            )
    except (ArgumentError, InvalidRequestError) as error:
        # The class alone: the message may quote the URL, with its password.
        refusal = type(error).__name__
    else:
        if on_sqlite:
            event.listen(sync_engine_of(engine), "connect", _prepare_sqlite)
        return engine
    raise ValueError(f"not the URL of a database for this kind of store ({refusal})")


def _prepare_sqlite(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()


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
    _check(name, engine.sync_engine)


def _check(name: str, engine: Engine) -> None:
    dialect = engine.dialect.name
    if dialect not in SUPPORTED:
        raise ValueError(f"{name} runs on {', '.join(SUPPORTED)}, not on {dialect}")
    if dialect == SQLITE and _is_in_memory(engine.url):
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
    database = url.database or ""
    return database in {"", "file:"} or ":memory:" in database or url.query.get("mode") == "memory"
