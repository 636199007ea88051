"""
Which version of the tables is there, how they are made, and how they are brought up to date.

Each function is a program over a connection, as in ``_sessions.py``. Whatever
changes tables does so alone: on SQLite under the database's write lock, on
PostgreSQL under an advisory lock of the transaction, on MySQL under a named lock
of the connection, since there every definition commits by itself.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from functools import partial
from types import NoneType
from typing import Any, Final, TypeAlias, TypeVar, cast

import attrs
from sqlalchemy import (
    BigInteger,
    Connection,
    Executable,
    Table,
    func,
    insert,
    inspect,
    literal,
    null,
    select,
    update,
)
from sqlalchemy.engine.mock import MockConnection
from sqlalchemy.schema import ExecutableDDLElement

from sessioncore.errors import CorruptRecord, StoreUnavailable

from ._migrations import (
    FIRST_VERSION,
    MIGRATIONS,
    Component,
    Migration,
    Plan,
    newest,
    schema_of,
    works_with,
)
from ._transaction import DUPLICATE, MYSQL, REPEATABLE, autocommit, write
from .tables import credentials, data, epochs, metadata, schema, sessions

__all__ = [
    "Component",
    "SchemaMismatch",
    "SchemaState",
    "Standing",
    "check",
    "create",
    "migrate",
    "statements",
]

T = TypeVar("T")

COMMAND: Final = "python -m sessioncore_sql migrate"

_TABLES: Final = {
    Component.SESSIONS: (epochs, sessions, data),
    Component.CREDENTIALS: (credentials,),
}

# Both are per database: PostgreSQL's by its nature, MySQL's by its name.
_LOCK_ON_POSTGRESQL: Final = select(
    func.pg_advisory_xact_lock(literal(0x73657373_636F7265, BigInteger))
)
_LOCK_NAME: Final = func.concat("sessioncore_sql ", func.sha1(func.database()))
_LOCK_ON_MYSQL: Final = select(func.get_lock(_LOCK_NAME, 1))
_UNLOCK_ON_MYSQL: Final = select(func.release_lock(_LOCK_NAME))
_SECONDS_TO_WAIT: Final = 600
"""Of MySQL, for the lock. Usually the deadline of the call is over before."""

# Whoever waits to change a table has everybody else wait behind. So it gives up
# before their deadlines are over, lets them through, and tries again.
_SECONDS_FOR_A_TABLE: Final = 2


class Standing(enum.Enum):
    """
    How the tables in a database stand to those that this library expects.
    """

    CURRENT = "current"
    AHEAD = "ahead"
    """They are newer, and made so that this library works with them."""

    ABSENT = "absent"
    BEHIND = "behind"
    UNRECORDED = "unrecorded"
    """They are there, but not their version: somebody else made them."""

    INCOMPLETE = "incomplete"
    """The version is right, the tables are not: somebody else changed them."""

    TOO_NEW = "too new"
    """They are newer, and this library cannot work with them."""


@attrs.frozen
class SchemaState:
    """
    What :func:`~sessioncore_sql.check_schema` found out about one component's tables.

    As text it says so in words, and what to do.
    """

    component: Component

    standing: Standing

    version: int | None
    """Of the tables that are there; ``None`` if it is not recorded."""

    works_with: int | None
    """The oldest version whose code works with them; ``None`` if only their own does."""

    expected: int
    """The version that this library makes."""

    missing_tables: tuple[str, ...]
    missing_columns: tuple[str, ...]
    """What this library uses and does not find, as ``table.column``."""

    @property
    def can_be_made(self) -> bool:
        """
        Whether whole tables are missing, or all, and this library makes them like the others.
        """
        ours = self.version is None or self.version == self.expected
        return ours and not self.missing_columns

    @property
    def is_usable(self) -> bool:
        """
        Whether this library works with the tables.
        """
        return self.standing in {Standing.CURRENT, Standing.AHEAD}

    def __str__(self) -> str:
        return f"{self.component.value}: {self._words()}"

    def _words(self) -> str:
        lacking = ", ".join((*self.missing_tables, *self.missing_columns))
        missing = f"; missing: {lacking}" if lacking else ""
        match self.standing:
            case Standing.CURRENT:
                return f"up to date, at version {self.version}"
            case Standing.AHEAD:
                return (
                    f"at version {self.version}, newer than this library's {self.expected},"
                    " which works with them"
                )
            case Standing.ABSENT:
                return f"there are no such tables; run: {COMMAND}"
            case Standing.BEHIND:
                return (
                    f"at version {self.version}, and this library needs version"
                    f" {self.expected}{missing}; run: {COMMAND}"
                )
            case Standing.UNRECORDED:
                return (
                    "the tables are there, but not which version they have, as when another"
                    f" tool made them{missing}; run: {COMMAND}"
                )
            case Standing.INCOMPLETE if self.can_be_made:
                return f"at version {self.version}{missing}; run: {COMMAND}"
            case Standing.INCOMPLETE:
                return (
                    f"at version {self.version}, but somebody has changed the tables{missing};"
                    " put back what is missing: sessioncore_sql.tables describes it"
                )
            case Standing.TOO_NEW:
                oldest = self.version if self.works_with is None else self.works_with
                return (
                    f"at version {self.version}, which needs a library that knows version"
                    f" {oldest}, and this one knows {self.expected}; update sessioncore"
                )


class SchemaMismatch(StoreUnavailable):
    """
    The tables have a version with which this library does not work; nothing was written.

    Its text says what is missing and what to run.
    """

    def __init__(self, state: SchemaState) -> None:
        super().__init__(state)
        self.state = state

    def __str__(self) -> str:
        return f"the tables do not fit this library: {self.state}"


States: TypeAlias = Mapping[Component, SchemaState]


def check(
    connection: Connection, components: Iterable[Component] = (), plan: Plan = MIGRATIONS
) -> tuple[SchemaState, ...]:
    """
    Say how the tables that are there stand, and those of *components*.

    Raises:
        CorruptRecord: The version cannot be read.
    """
    states = _look_first(connection, plan)
    return tuple(states[component] for component in _concerned(states, components))


def create(connection: Connection, component: Component, plan: Plan = MIGRATIONS) -> None:
    """
    Make the tables of *component* where they are missing. Changes none that is there.

    Raises:
        SchemaMismatch: They are there in a version that does not fit.

        CorruptRecord: The version cannot be read.
    """
    if not _look_first(connection, plan)[component].is_usable:
        _alone(connection, partial(_make, component=component, plan=plan))


def migrate(
    connection: Connection, components: Iterable[Component] = (), plan: Plan = MIGRATIONS
) -> tuple[str, ...]:
    """
    Bring all tables that are there up to date, and make those of *components*.

    Returns:
        What was done, a sentence for each step.

    Raises:
        SchemaMismatch: There are tables that this library does not know, or that
            somebody has changed.

        CorruptRecord: The version cannot be read.
    """
    wanted = tuple(components)
    done: list[str] = []
    states = _look_first(connection, plan)
    for state in states.values():
        if state.standing is Standing.TOO_NEW:
            raise SchemaMismatch(state)
    for migration in plan:
        if not _due(states, migration):
            continue
        moved = _alone(connection, partial(_carry_out, migration=migration, plan=plan))
        if moved:
            names = " and ".join(component.value for component in moved)
            done.append(f"{names}: migration {migration.number}, which {migration.why}")
    states = _look_first(connection, plan)
    for component in _concerned(states, wanted):
        if states[component].is_usable:
            continue
        if _alone(connection, partial(_make, component=component, plan=plan)):
            version = newest(component, plan)
            done.append(f"{component.value}: the tables, made at version {version}")
    return tuple(done)


def statements(
    connection: Connection, components: Iterable[Component] = (), plan: Plan = MIGRATIONS
) -> tuple[str, ...]:
    """
    Return what :func:`migrate` would execute now, as SQL.
    """
    dialect = connection.dialect
    written: list[str] = []
    made: set[Table] = set()

    def write_down(statement: Any, *_: object, **__: object) -> None:
        literally = {} if isinstance(statement, ExecutableDDLElement) else {"literal_binds": True}
        compiled = statement.compile(dialect=dialect, compile_kwargs=literally)
        written.append(str(compiled).strip())

    def make(state: SchemaState) -> None:
        # The table of versions is a part of every component.
        absent = [table for table in _missing_tables(state) if table not in made]
        made.update(absent)
        metadata.create_all(MockConnection(dialect, write_down), tables=absent, checkfirst=False)

    states = _look_first(connection, plan)
    for migration in plan:
        due = _due(states, migration)
        for state in due:
            if state.standing is Standing.UNRECORDED:
                make(state)
        if due:
            for statement in migration.statements(connection):
                write_down(statement)
        for state in due:
            write_down(_record(state, migration.number, migration.works_with))
            recorded = attrs.evolve(state, version=migration.number, standing=Standing.BEHIND)
            states = {**states, state.component: recorded}
    for component in _concerned(states, components):
        state = states[component]
        if state.version is None:
            make(state)
            write_down(_record(state, newest(component, plan), works_with(component, plan)))
    return tuple(written)


def _make(connection: Connection, component: Component, plan: Plan) -> bool:
    state = _look(connection, plan)[component]
    if state.is_usable:
        return False  # somebody else was at it
    if not state.can_be_made:
        raise SchemaMismatch(state)
    metadata.create_all(connection, tables=_missing_tables(state))
    if state.version is None:
        newly = _record(state, newest(component, plan), works_with(component, plan))
        connection.execute(newly)
    return True


def _carry_out(connection: Connection, migration: Migration, plan: Plan) -> list[Component]:
    due = _due(_look(connection, plan), migration)
    if not due:
        return []
    for state in due:
        if state.standing is Standing.UNRECORDED:
            metadata.create_all(connection, tables=_missing_tables(state))
    for statement in migration.statements(connection):
        connection.execute(statement)
    for state in due:
        connection.execute(_record(state, migration.number, migration.works_with))
    return [state.component for state in due]


def _due(states: States, migration: Migration) -> list[SchemaState]:
    # Tables of no known version are taken for the oldest: what they have already
    # is left alone.
    return [
        state
        for state in states.values()
        if state.component in migration.components
        and state.standing is not Standing.ABSENT
        and (state.version or FIRST_VERSION) < migration.number
    ]


def _record(state: SchemaState, version: int, oldest: int) -> Executable:
    values = {"version": version, "works_with": oldest}
    name = state.component.value
    if state.version is None:
        return insert(schema).values(component=name, **values)
    return update(schema).where(schema.c.component == name).values(**values)


def _concerned(states: States, components: Iterable[Component]) -> list[Component]:
    wanted = set(components)
    return [
        component
        for component, state in states.items()
        if component in wanted or state.standing is not Standing.ABSENT
    ] or [Component.SESSIONS]


def _missing_tables(state: SchemaState) -> list[Table]:
    return [table for table in _tables_of(state.component) if table.name in state.missing_tables]


def _tables_of(component: Component) -> tuple[Table, ...]:
    return (schema, *_TABLES[component])


def _look_first(connection: Connection, plan: Plan) -> States:
    states = _look(autocommit(connection), plan)
    connection.rollback()  # SQLAlchemy takes reading for the start of a transaction
    return states


def _look(connection: Connection, plan: Plan) -> States:
    place = schema_of(connection)
    names = [table.name for table in metadata.sorted_tables]
    found = inspect(connection).get_multi_columns(schema=place, filter_names=names)
    columns = {
        table: {column["name"] for column in its_columns}
        for (_, table), its_columns in found.items()
    }
    versions = _recorded_versions(connection, columns.get(schema.name, set()))
    return {
        component: _state(component, columns, versions.get(component.value), plan)
        for component in Component
    }


def _recorded_versions(
    connection: Connection, columns: set[str]
) -> dict[str, tuple[int, int | None]]:
    if not columns >= {"component", "version"}:
        return {}
    # Version 1 of the tables has no such column.
    oldest = schema.c.works_with if "works_with" in columns else null()
    selected = select(schema.c.component, schema.c.version, oldest)
    rows = cast("list[tuple[str, object, object]]", connection.execute(selected).all())
    recorded: dict[str, tuple[int, int | None]] = {}
    for name, version, works_since in rows:
        if not (isinstance(version, int) and isinstance(works_since, int | NoneType)):
            raise CorruptRecord("the version of the tables cannot be read")
        recorded[name] = (version, works_since)
    return recorded


def _state(
    component: Component,
    columns: Mapping[str, set[str]],
    recorded: tuple[int, int | None] | None,
    plan: Plan,
) -> SchemaState:
    version, oldest = recorded or (None, None)
    tables = _tables_of(component)
    missing_columns = tuple(
        f"{table.name}.{column.name}"
        for table in tables
        for column in table.columns
        if table.name in columns and column.name not in columns[table.name]
    )
    missing_tables = tuple(table.name for table in tables if table.name not in columns)
    expected = newest(component, plan)
    is_there = any(table.name in columns for table in _TABLES[component])
    if version is None:
        standing = Standing.UNRECORDED if is_there else Standing.ABSENT
    elif version < expected:
        standing = Standing.BEHIND
    elif version > expected and (oldest is None or oldest > expected):
        standing = Standing.TOO_NEW
    elif missing_tables or missing_columns:
        standing = Standing.INCOMPLETE
    else:
        standing = Standing.CURRENT if version == expected else Standing.AHEAD
    return SchemaState(
        component=component,
        standing=standing,
        version=version,
        works_with=oldest,
        expected=expected,
        missing_tables=missing_tables,
        missing_columns=missing_columns,
    )


def _alone(connection: Connection, work: Callable[[Connection], T]) -> T:
    """
    Run *work* as one transaction while no other process changes tables.
    """
    # Version 1 of this library made tables without a lock.
    repeat_after = REPEATABLE | DUPLICATE

    def locked(connection: Connection) -> T:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("SET LOCAL lock_timeout = 0")
            connection.execute(_LOCK_ON_POSTGRESQL)
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{_SECONDS_FOR_A_TABLE}s'")
        return work(connection)

    if connection.dialect.name not in MYSQL:
        return write(connection, locked, repeat_after)
    with _named_lock(connection):
        return write(connection, work, repeat_after)


@contextmanager
def _named_lock(connection: Connection) -> Generator[None]:
    # Not the lock of a row: MySQL would let go of it at the first definition.
    for _ in range(_SECONDS_TO_WAIT):
        if connection.execute(_LOCK_ON_MYSQL).scalar():
            break
    else:
        raise StoreUnavailable("another process has been changing the tables for too long")
    # Lock and setting belong to the connection, which goes back to a pool.
    try:
        before = connection.exec_driver_sql("SELECT @@SESSION.lock_wait_timeout").scalar()
        connection.exec_driver_sql(f"SET SESSION lock_wait_timeout = {_SECONDS_FOR_A_TABLE}")
        connection.rollback()
        yield
        connection.exec_driver_sql(f"SET SESSION lock_wait_timeout = {before}")
        connection.execute(_UNLOCK_ON_MYSQL)
        connection.rollback()
    except BaseException:
        connection.invalidate()
        raise
