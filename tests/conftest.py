"""
Settings of the whole test run, and databases for whoever asks for one.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import pytest
from databases import Database
from hypothesis import settings

from servers import IN_MEMORY, MariaDbServer, PostgresServer

# How long one example takes is the machine's business, not the code's. Everything
# else stays Hypothesis' own: in CI it repeats the same examples in every run.
settings.register_profile("sessioncore", deadline=None)
settings.register_profile("fuzz", deadline=None, max_examples=5_000)
settings.load_profile("sessioncore")

TRACED: Final = {
    "test_answers_from_copies",
    "test_async_service",
    "test_attempt",
    "test_cancellation",
    "test_context",
    "test_data",
    "test_decisions",
    "test_events",
    "test_policy",
    "test_purger",
    "test_service",
    "test_session",
    "test_throttle",
    "test_values",
}
"""
The modules that reach every line and every branch of the domain by themselves.

Coverage looks at no others: to trace a search or a store's clauses takes as long again as
to run them, and shows nothing more.
"""

_numbers = itertools.count()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.stem not in TRACED:
            item.add_marker(pytest.mark.no_cover)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        yield server


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDbServer]:
    with MariaDbServer() as server:
        yield server


@pytest.fixture
def quick_folder() -> Iterator[Path]:
    with TemporaryDirectory(dir=IN_MEMORY) as folder:
        yield Path(folder)


@pytest.fixture
def on_sqlite(quick_folder: Path) -> Database:
    file = quick_folder / f"{next(_numbers)}.db"
    return Database("sqlite", f"sqlite:///{file}", f"sqlite+aiosqlite:///{file}")


@pytest.fixture
def on_postgresql(postgresql: PostgresServer) -> Database:
    # To make a database takes ten times as long as to empty one.
    postgresql.execute(
        """
        SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid()
        """,
        "DROP SCHEMA public CASCADE",
        "CREATE SCHEMA public",
    )
    return Database(
        "postgresql",
        postgresql.url("psycopg", "postgres"),
        postgresql.url("asyncpg", "postgres"),
        postgresql,
    )


@pytest.fixture
def on_mariadb(mariadb: MariaDbServer) -> Iterator[Database]:
    name = f"database_{next(_numbers)}"
    mariadb.execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
    yield Database("mariadb", mariadb.url("pymysql", name), mariadb.url("asyncmy", name), mariadb)
    mariadb.execute(f"DROP DATABASE {name}")


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def database(request: pytest.FixtureRequest) -> Database:
    found: Database = request.getfixturevalue(f"on_{request.param}")
    return found
