"""
What changed in the tables from version to version, and how a database follows.

Rules for whoever adds a migration (ADR-0024):

1.  It goes at the end of :data:`MIGRATIONS`, under the next number. One that was
    released is never edited: its columns are written out here, not taken from
    :mod:`sessioncore_sql.tables`.
2.  It looks at what is there and does what is missing. MySQL commits after every
    statement that defines something, so a crash leaves half a migration, and the
    other half is done when it is repeated.
3.  What it adds can be left out by servers that do not know it: a column may be
    null or has a server's default, a table may stay empty. It is the last column
    in :mod:`sessioncore_sql.tables` too, since databases add columns at the end.
4.  It leaves behind what :meth:`create_schema` makes, comments included.
5.  ``works_with`` says from which version on a server's code works with the
    result. Raise it one release after the last server that needed the old state.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

import attrs
from sqlalchemy import Column, Connection, Executable, Integer, MetaData, Table, inspect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import ExecutableDDLElement, SetColumnComment
from sqlalchemy.sql.compiler import DDLCompiler

FIRST_VERSION: Final = 1


class Component(enum.Enum):
    """
    What an app may have, each by itself: sessions, and users with their password hashes.
    """

    SESSIONS = "sessions"
    CREDENTIALS = "credentials"


@attrs.frozen
class Migration:
    """
    One step from a version of the tables to a newer one.
    """

    number: int
    """The version of its components' tables after it."""

    components: frozenset[Component]
    """Whose tables it changes."""

    why: str
    """Why, in words that continue "migration 2 ..."."""

    works_with: int
    """The oldest version whose code works with the tables after it."""

    statements: Callable[[Connection], Iterator[Executable]] = attrs.field(repr=False)
    """Looks at what is there, and yields what is still to do."""


class _AddColumn(ExecutableDDLElement):
    """
    ``ALTER TABLE ... ADD COLUMN``, which SQLAlchemy leaves to others.
    """

    def __init__(self, column: Column[Any]) -> None:
        self.column = column


@compiles(_AddColumn)
def _add_column(element: _AddColumn, compiler: DDLCompiler, **_options: Any) -> str:
    table = compiler.preparer.format_table(element.column.table)
    return f"ALTER TABLE {table} ADD COLUMN {compiler.get_column_specification(element.column)}"


def schema_of(connection: Connection) -> str | None:
    """
    Where the tables are, for an engine whose ``schema_translate_map`` says so.
    """
    options: Mapping[str, Any] = connection.get_execution_options()
    renamed: Mapping[str | None, str | None] = options.get("schema_translate_map") or {}
    return renamed.get(None)


def add_column(connection: Connection, table: str, column: Column[Any]) -> Iterator[Executable]:
    """
    Add *column* to the table of that name, unless it has it.

    A table that is not there is nobody's to change: it is made as it is today.
    """
    inspector, place = inspect(connection), schema_of(connection)
    if not inspector.has_table(table, schema=place):
        return
    there = inspector.get_columns(table, schema=place)
    Table(table, MetaData(), column)
    if column.name not in {each["name"] for each in there}:
        yield _AddColumn(column)
    dialect = connection.dialect
    if column.comment and dialect.supports_comments and not dialect.inline_comments:
        yield SetColumnComment(column)


def _say_what_works(connection: Connection) -> Iterator[Executable]:
    comment = "the oldest version whose code works; none: this one"
    column = Column("works_with", Integer, comment=comment)
    return add_column(connection, "sessioncore_schema", column)


Plan: TypeAlias = Sequence[Migration]
"""All migrations, in order. Functions take it, so that tests can have a longer one."""

MIGRATIONS: Final[Plan] = (
    Migration(
        number=2,
        components=frozenset(Component),
        why="records which older servers go on working with newer tables",
        works_with=1,
        statements=_say_what_works,
    ),
)


def newest(component: Component, plan: Plan = MIGRATIONS) -> int:
    """
    Return the version of *component* that this library makes.
    """
    numbers = (step.number for step in plan if component in step.components)
    return max(numbers, default=FIRST_VERSION)


def works_with(component: Component, plan: Plan = MIGRATIONS) -> int:
    """
    Return the oldest version whose code works with :func:`newest`.
    """
    oldest = (step.works_with for step in plan if component in step.components)
    return max(oldest, default=FIRST_VERSION)
