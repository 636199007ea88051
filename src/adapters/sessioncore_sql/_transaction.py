"""
How a unit of work meets the database: begun, committed, repeated, or explained.

The rules:

1.  A store uses a connection of its own for each call, never the caller's.
2.  A read is one statement in autocommit: it sees what is committed, and joins
    nothing.
3.  A write is one transaction that starts by taking its lock. On SQLite that is
    ``BEGIN IMMEDIATE``; a deferred transaction that read first fails at once
    with ``SQLITE_BUSY_SNAPSHOT``, whatever the busy timeout. Elsewhere it is
    READ COMMITTED, where each statement sees what was committed before it, also
    after it waited for a lock.
4.  Deadlocks and serialization failures repeat the whole transaction.
5.  Until ``COMMIT`` is sent nothing has been written, so a failure up to there
    is :class:`StoreUnavailable`; one after that is :class:`OutcomeUnknown`.
6.  What a driver says is never passed on as an exception's text, cause or
    context: SQLAlchemy appends the statement's parameters, PostgreSQL and MySQL
    quote the row.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal, TypeVar

from sqlalchemy import Connection, Dialect
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from sessioncore.errors import OutcomeUnknown, StoreUnavailable

T = TypeVar("T")

SQLITE: Final = "sqlite"

ATTEMPTS: Final = 5

REPEATABLE: Final[frozenset[object]] = frozenset(
    {
        "40001",  # serialization failure
        "40P01",  # PostgreSQL: deadlock
        1213,  # MySQL: deadlock
        1205,  # MySQL: lock wait time-out; it ends the statement, not the transaction
    }
)

# What whoever comes second in a race to make something is told. SQLite tells
# nobody: there a transaction holds the one write lock from its start.
DUPLICATE: Final[frozenset[object]] = frozenset(
    {
        "42P07",  # PostgreSQL: table exists
        "23505",  # PostgreSQL: unique violation, also in its own catalogue
        1050,  # MySQL: table exists
        1062,  # MySQL: duplicate entry
    }
)

# Answers to COMMIT that leave nothing written. SQLITE_BUSY is not repeated:
# SQLite has already waited for as long as its busy timeout allows.
_NOT_COMMITTED: Final = REPEATABLE | {"SQLITE_BUSY"}

# SQLite has no code of its own for a table that is missing.
_NO_TABLE: Final[frozenset[object]] = frozenset({"SQLITE_ERROR", "42P01", 1146})


def autocommit(connection: Connection) -> Connection:
    """
    Prepare a connection for one statement that reads.
    """
    return connection.execution_options(isolation_level="AUTOCOMMIT")


def write(
    connection: Connection,
    work: Callable[[Connection], T],
    repeat_after: frozenset[object] = REPEATABLE,
) -> T:
    """
    Run *work* as one transaction, again from the start where the database asks for it.

    Args:
        connection: Fresh from the pool.

        work: Whatever it raises undoes the transaction.

        repeat_after: The codes by which the database asks.

    Raises:
        OutcomeUnknown: ``COMMIT`` was sent and not acknowledged.

        sqlalchemy.exc.SQLAlchemyError: Nothing was written.
    """
    connection.execution_options(
        isolation_level="AUTOCOMMIT" if _is_sqlite(connection) else "READ COMMITTED"
    )
    attempts = ATTEMPTS
    while True:
        attempts -= 1
        try:
            _begin(connection)
            answer = work(connection)
            _commit(connection)
        except BaseException as error:
            _undo(connection)
            if attempts == 0 or not _codes(error) & repeat_after:
                raise
        else:
            return answer


def faults(dialect: Dialect) -> tuple[type[Exception], ...]:
    """
    What may come out of a database call: not every dialect wraps all that its driver raises.
    """
    return (SQLAlchemyError, OSError, dialect.loaded_dbapi.Error)


def unavailable(error: Exception) -> StoreUnavailable:
    """
    Say that *error* happened before anything was written.

    Raise the answer outside of the ``except`` clause: as cause or context,
    *error* would show the statement's parameters in tracebacks.
    """
    hint = "; are its tables there? See create_schema()" if _codes(error) & _NO_TABLE else ""
    return StoreUnavailable(f"the database refused: {_described(error)}{hint}")


def _is_sqlite(connection: Connection) -> bool:
    return connection.dialect.name == SQLITE


def _begin(connection: Connection) -> None:
    connection.begin()
    if not _is_sqlite(connection):
        return
    # Engines may have the listener that SQLAlchemy's manual gives for sqlite3,
    # which begins a (deferred) transaction. Nothing was read in it yet.
    if getattr(connection.connection.driver_connection, "in_transaction", False):
        connection.exec_driver_sql("ROLLBACK")
    # In the driver's autocommit mode, so that neither sqlite3's own idea of
    # transactions nor the engine's listeners need changing.
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _commit(connection: Connection) -> None:
    try:
        _end(connection, "COMMIT")
    except faults(connection.dialect) as error:
        if _codes(error) & _NOT_COMMITTED:
            raise
        unknown = OutcomeUnknown(f"the commit was not acknowledged: {_described(error)}")
    else:
        return
    raise unknown


def _undo(connection: Connection) -> None:
    undone = False
    try:
        _end(connection, "ROLLBACK")
        undone = True
    except faults(connection.dialect):
        pass
    finally:
        # Nobody may get it from the pool with half a transaction in it.
        if not undone:
            connection.invalidate()


def _end(connection: Connection, how: Literal["COMMIT", "ROLLBACK"]) -> None:
    if _is_sqlite(connection):
        connection.exec_driver_sql(how)
    if how == "COMMIT":
        connection.commit()
    else:
        connection.rollback()


def _driver_error(error: BaseException) -> BaseException:
    original = error.orig if isinstance(error, DBAPIError) else None
    return error if original is None else original


def _codes(error: BaseException) -> frozenset[object]:
    # sqlstate: psycopg, asyncpg. pgcode: psycopg2. A number as first argument:
    # the MySQL drivers.
    source = _driver_error(error)
    named = (getattr(source, name, None) for name in ("sqlite_errorname", "sqlstate", "pgcode"))
    numbers = (argument for argument in source.args[:1] if isinstance(argument, int))
    return frozenset({*named, *numbers} - {None})


def _described(error: Exception) -> str:
    source = _driver_error(error)
    codes = " ".join(sorted(map(str, _codes(error))))
    return f"{type(source).__name__} {codes}".rstrip()
