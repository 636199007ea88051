"""
The contracts of the SQL stores, for classes that say on which database and by which driver.
"""

from __future__ import annotations

import asyncio
import itertools
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from hypothesis import settings
from sqlalchemy import Connection, select

from sessioncore.testing import (
    AsyncCredentialStoreContract,
    AsyncSessionStoreContract,
    CredentialStoreContract,
    SessionStoreContract,
)
from sessioncore_sql import (
    AsyncSqlCredentialStore,
    AsyncSqlSessionStore,
    SqlCredentialStore,
    SqlSessionStore,
    new_async_engine,
    new_engine,
    tables,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Iterator

    from sqlalchemy import Engine
    from sqlalchemy.ext.asyncio import AsyncEngine

    from servers import MariaDbServer, PostgresServer

_numbers = itertools.count()


class OneDatabase:
    """
    A database for each class, emptied for each store: making tables takes longer than a clause.
    """

    driver: ClassVar[str]
    server: ClassVar[PostgresServer | MariaDbServer]
    url: ClassVar[str]

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def database(cls, server: PostgresServer | MariaDbServer) -> Iterator[None]:
        cls.server = server
        name = f"contract_{next(_numbers)}"
        server.execute(f"CREATE DATABASE {name}")
        cls.url = cls.url_of(name)
        cls.make_tables()
        yield
        server.execute(f"DROP DATABASE {name}")

    @classmethod
    def make_tables(cls) -> None:
        raise NotImplementedError

    @classmethod
    def url_of(cls, database: str) -> str:
        return cls.server.url(cls.driver, database)

    @classmethod
    def new_engine(cls) -> Engine:
        return new_engine(cls.url)

    @classmethod
    def new_async_engine(cls) -> AsyncEngine:
        return new_async_engine(cls.url)


def empty(connection: Connection) -> None:
    """
    Delete all rows that stores have written.
    """
    for table in tables.metadata.sorted_tables:
        if table is not tables.schema:
            connection.execute(table.delete())
    connection.commit()


def all_bytes(connection: Connection) -> bytes:
    """
    Return every value in every table, one after the other.
    """
    stored = bytearray()
    for table in tables.metadata.sorted_tables:
        for row in connection.execute(select(table)):
            for value in row:
                stored += value if isinstance(value, bytes) else str(value).encode()
    return bytes(stored)


class ByThreads(OneDatabase):
    engine: ClassVar[Engine]

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def pool(cls, database: None) -> Iterator[None]:
        yield
        cls.engine.dispose()

    @classmethod
    def make_tables(cls) -> None:
        cls.engine = cls.new_engine()
        SqlSessionStore(cls.engine).create_schema()
        SqlCredentialStore(cls.engine).create_schema()

    @classmethod
    def emptied(cls) -> Engine:
        with cls.engine.connect() as connection:
            empty(connection)
        return cls.engine


class SessionsByThreads(ByThreads, SessionStoreContract):
    properties: ClassVar = settings(SessionStoreContract.properties, max_examples=12)

    @contextmanager
    def new_store(self) -> Generator[SqlSessionStore, None, None]:
        yield SqlSessionStore(self.emptied())

    @contextmanager
    def open_again(self, store: SqlSessionStore) -> Generator[SqlSessionStore, None, None]:
        engine = self.new_engine()
        yield SqlSessionStore(engine)
        engine.dispose()

    def dump(self, store: SqlSessionStore) -> bytes:
        with store.engine.connect() as connection:
            return all_bytes(connection)


class CredentialsByThreads(ByThreads, CredentialStoreContract):
    @contextmanager
    def new_store(self) -> Generator[SqlCredentialStore, None, None]:
        yield SqlCredentialStore(self.emptied())

    @contextmanager
    def open_again(self, store: SqlCredentialStore) -> Generator[SqlCredentialStore, None, None]:
        engine = self.new_engine()
        yield SqlCredentialStore(engine)
        engine.dispose()

    def add_user(self, store: Any, user_id: str, username: str, password_hash: str | None) -> None:
        store.add_user(user_id, username, password_hash)


class ByTasks(OneDatabase):
    """
    With an engine for each store, since each has an event loop of its own.
    """

    @classmethod
    def make_tables(cls) -> None:
        async def make() -> None:
            async with cls.engine() as engine:
                await AsyncSqlSessionStore(engine).create_schema()
                await AsyncSqlCredentialStore(engine).create_schema()

        asyncio.run(make())

    @classmethod
    @asynccontextmanager
    async def engine(cls, *, emptied: bool = False) -> AsyncGenerator[AsyncEngine, None]:
        engine = cls.new_async_engine()
        try:
            if emptied:
                async with engine.connect() as connection:
                    await connection.run_sync(empty)
            yield engine
        finally:
            await engine.dispose()


class SessionsByTasks(ByTasks, AsyncSessionStoreContract):
    properties: ClassVar = settings(AsyncSessionStoreContract.properties, max_examples=12)

    @asynccontextmanager
    async def new_store(self) -> AsyncGenerator[AsyncSqlSessionStore, None]:
        async with self.engine(emptied=True) as engine:
            yield AsyncSqlSessionStore(engine)

    @asynccontextmanager
    async def open_again(
        self, store: AsyncSqlSessionStore
    ) -> AsyncGenerator[AsyncSqlSessionStore, None]:
        async with self.engine() as engine:
            yield AsyncSqlSessionStore(engine)

    async def dump(self, store: AsyncSqlSessionStore) -> bytes:
        async with store.engine.connect() as connection:
            return await connection.run_sync(all_bytes)


class CredentialsByTasks(ByTasks, AsyncCredentialStoreContract):
    @asynccontextmanager
    async def new_store(self) -> AsyncGenerator[AsyncSqlCredentialStore, None]:
        async with self.engine(emptied=True) as engine:
            yield AsyncSqlCredentialStore(engine)

    @asynccontextmanager
    async def open_again(
        self, store: AsyncSqlCredentialStore
    ) -> AsyncGenerator[AsyncSqlCredentialStore, None]:
        async with self.engine() as engine:
            yield AsyncSqlCredentialStore(engine)

    async def add_user(
        self, store: Any, user_id: str, username: str, password_hash: str | None
    ) -> None:
        await store.add_user(user_id, username, password_hash)
