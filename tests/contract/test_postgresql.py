"""
The SQL stores keep the contracts on PostgreSQL, by every driver.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import pytest
from hypothesis import settings
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import create_async_engine

from contract.sql_databases import (
    CredentialsByTasks,
    CredentialsByThreads,
    SessionsByTasks,
    SessionsByThreads,
)
from servers import PostgresServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine
    from sqlalchemy.ext.asyncio import AsyncEngine

FEWER = settings(SessionsByThreads.properties, max_examples=5)


@pytest.fixture(scope="session")
def server() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        yield server


@pytest.mark.store("PostgreSQL", "psycopg")
class TestSessionsByPsycopg(SessionsByThreads):
    driver: ClassVar = "psycopg"


@pytest.mark.store("PostgreSQL", "psycopg")
class TestSessionsByAsyncPsycopg(SessionsByTasks):
    driver: ClassVar = "psycopg"


@pytest.mark.store("PostgreSQL", "asyncpg")
class TestSessionsByAsyncpg(SessionsByTasks):
    driver: ClassVar = "asyncpg"


@pytest.mark.store("PostgreSQL", "psycopg")
class TestCredentialsByPsycopg(CredentialsByThreads):
    driver: ClassVar = "psycopg"


@pytest.mark.store("PostgreSQL", "psycopg")
class TestCredentialsByAsyncPsycopg(CredentialsByTasks):
    driver: ClassVar = "psycopg"


@pytest.mark.store("PostgreSQL", "asyncpg")
class TestCredentialsByAsyncpg(CredentialsByTasks):
    driver: ClassVar = "asyncpg"


@pytest.mark.store("PostgreSQL, SERIALIZABLE", "psycopg")
class TestSessionsOnAnEngineThatIsSerializable(SessionsByThreads):
    properties: ClassVar = FEWER
    race_rounds: ClassVar = 8
    driver: ClassVar = "psycopg"

    @classmethod
    def new_engine(cls) -> Engine:
        return create_engine(cls.url, isolation_level="SERIALIZABLE")


@pytest.mark.store("PostgreSQL, REPEATABLE READ", "asyncpg")
class TestSessionsOnAnAsyncEngineWithRepeatableReads(SessionsByTasks):
    properties: ClassVar = FEWER
    race_rounds: ClassVar = 8
    driver: ClassVar = "asyncpg"

    @classmethod
    def new_async_engine(cls) -> AsyncEngine:
        return create_async_engine(cls.url, isolation_level="REPEATABLE READ")
