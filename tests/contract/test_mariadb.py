"""
The SQL stores keep the contracts on MariaDB, by its drivers.
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
from servers import MariaDbServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine
    from sqlalchemy.ext.asyncio import AsyncEngine

# By aiomysql they keep them too, beside a PyMySQL before 1.2; with a later one it
# cannot send bytes (PyMySQL/PyMySQL#1274), and the stores refuse the pair.

FEWER = settings(SessionsByThreads.properties, max_examples=5)


@pytest.fixture(scope="session")
def server() -> Iterator[MariaDbServer]:
    with MariaDbServer() as server:
        yield server


@pytest.mark.store("MariaDB", "pymysql")
class TestSessionsByPyMySql(SessionsByThreads):
    driver: ClassVar = "pymysql"


@pytest.mark.store("MariaDB", "asyncmy")
class TestSessionsByAsyncmy(SessionsByTasks):
    driver: ClassVar = "asyncmy"


@pytest.mark.store("MariaDB", "pymysql")
class TestCredentialsByPyMySql(CredentialsByThreads):
    driver: ClassVar = "pymysql"


@pytest.mark.store("MariaDB", "asyncmy")
class TestCredentialsByAsyncmy(CredentialsByTasks):
    driver: ClassVar = "asyncmy"


@pytest.mark.store("MariaDB, REPEATABLE READ", "pymysql")
class TestSessionsOnAnEngineWithRepeatableReads(SessionsByThreads):
    """
    An engine as an app has it: the server's own level, and addressed as MySQL.
    """

    properties: ClassVar = FEWER
    race_rounds: ClassVar = 8
    driver: ClassVar = "pymysql"

    @classmethod
    def url_of(cls, database: str) -> str:
        return super().url_of(database).replace("mariadb", "mysql", 1)

    @classmethod
    def new_engine(cls) -> Engine:
        return create_engine(cls.url)


@pytest.mark.store("MariaDB, SERIALIZABLE", "asyncmy")
class TestSessionsOnAnAsyncEngineThatIsSerializable(SessionsByTasks):
    properties: ClassVar = FEWER
    race_rounds: ClassVar = 8
    driver: ClassVar = "asyncmy"

    @classmethod
    def new_async_engine(cls) -> AsyncEngine:
        return create_async_engine(cls.url, isolation_level="SERIALIZABLE")
