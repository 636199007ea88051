"""
Empty databases of one's own, on each of the three that the SQL stores know.

The fixtures are in ``conftest.py``. A test that takes ``database`` runs three times.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, inspect
from sqlalchemy.pool import NullPool

from servers import MariaDbServer, PostgresServer

GOLDEN = Path(__file__).parents[1] / "golden" / "sql"


@dataclass
class Database:
    """
    An empty database, and what an administrator does with it.
    """

    name: str
    """``sqlite``, ``postgresql`` or ``mariadb``."""

    url: str
    async_url: str
    server: PostgresServer | MariaDbServer | None = field(default=None, repr=False)

    def engine(self, **settings: Any) -> Engine:
        """
        An engine as an app may have it: none of our settings, and parameters in errors.
        """
        return create_engine(self.url, poolclass=NullPool, **settings)

    def execute(self, script: str) -> None:
        """
        Run statements that each end with their line.
        """
        if self.server is None:
            with closing(sqlite3.connect(self.path)) as connection:
                connection.executescript(script)
            return
        statements = [each.strip() for each in f"{script}\n".split(";\n")]
        self.server.execute(*filter(None, statements), database=self.database)

    def fill(self, version: int) -> None:
        """
        Make the tables as *version* made them, with some rows.
        """
        suffix = "" if self.name == "sqlite" else f"-{self.name}"
        self.execute((GOLDEN / f"version-{version}{suffix}.sql").read_text("utf-8"))

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """
        Return the rows of one statement.
        """
        if self.server is None:
            with closing(sqlite3.connect(self.path)) as connection:
                return connection.execute(statement).fetchall()
        return self.server.execute(statement, database=self.database)

    @property
    def path(self) -> str:
        """
        Where the file is, on SQLite.
        """
        return self.url.removeprefix("sqlite:///")

    @property
    def database(self) -> str:
        """
        What the server calls it.
        """
        return self.url.rpartition("/")[2]


def description(database: Database) -> dict[str, Any]:
    """
    Everything that can be found out about a database's tables, for comparing.
    """
    with database.engine().connect() as connection:
        return {
            name: _described(connection, name) for name in inspect(connection).get_table_names()
        }


def _described(connection: Connection, table: str) -> dict[str, Any]:
    inspector = inspect(connection)
    with_comments = connection.dialect.supports_comments

    def sorted_by_name(found: list[Any]) -> list[Any]:
        return sorted(found, key=lambda each: str(each["name"]))

    return {
        "columns": [{**each, "type": repr(each["type"])} for each in inspector.get_columns(table)],
        "primary key": inspector.get_pk_constraint(table),
        "unique": sorted_by_name(list(inspector.get_unique_constraints(table))),
        "indexes": sorted_by_name(list(inspector.get_indexes(table))),
        "comment": inspector.get_table_comment(table) if with_comments else None,
        "options": inspector.get_table_options(table),
    }
