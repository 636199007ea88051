"""
Settings of the whole test run, and databases for whoever asks for one.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from databases import Database
from hypothesis import settings

from servers import MariaDbServer, PostgresServer

# How long one example takes is the machine's business, not the code's. Everything
# else stays Hypothesis' own: in CI it repeats the same examples in every run.
settings.register_profile("sessioncore", deadline=None)
settings.register_profile("fuzz", deadline=None, max_examples=5_000)
settings.load_profile("sessioncore")

_numbers = itertools.count()


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        yield server


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDbServer]:
    with MariaDbServer() as server:
        yield server


@pytest.fixture
def on_sqlite(tmp_path: Path) -> Database:
    file = tmp_path / f"{next(_numbers)}.db"
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
