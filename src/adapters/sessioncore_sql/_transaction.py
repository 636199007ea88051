"""
How a unit of work meets the database: begun, committed, repeated, or explained.

The rules:

1.  A store uses a connection of its own for each call, never the caller's.
2.  A read is one statement outside of any transaction: it sees what is
    committed, and joins nothing. That of a session by its locator is also made
    without SQLAlchemy, where that makes no difference (``_shortcut.py``).
3.  A write is one transaction that starts by taking its lock. Its connection is
    in autocommit, and ``BEGIN`` and ``COMMIT`` are sent as statements, so that
    it is known which was sent, and the engine's own isolation level is not
    touched. On SQLite that is ``BEGIN IMMEDIATE``; a deferred transaction that
    read first fails at once with ``SQLITE_BUSY_SNAPSHOT``, whatever the busy
    timeout. Elsewhere it is READ COMMITTED, where each statement sees what was
    committed before it, also after it waited for a lock.
4.  Deadlocks, serialization failures and lock time-outs repeat the whole
    transaction: up to five attempts, while the call's time lasts (``_deadline.py``).
5.  Until ``COMMIT`` is sent nothing has been written, so a failure up to there
    is :class:`StoreUnavailable`; one after that is :class:`OutcomeUnknown`. A
    connection that breaks before is replaced once, reading or writing: those in
    a pool are dead after the server was restarted. (Twice, after a shortcut.)
6.  What a driver says is never passed on as an exception's text, cause or
    context: SQLAlchemy appends the statement's parameters, PostgreSQL and MySQL
    quote the row.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, Dialect
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from sessioncore.errors import OutcomeUnknown, StoreUnavailable

from ._deadline import Call, current_call

T = TypeVar("T")

SQLITE: Final = "sqlite"
MYSQL: Final = frozenset({"mysql", "mariadb"})

ATTEMPTS: Final = 5

REPEATABLE: Final[frozenset[object]] = frozenset(
    {
        "40001",  # serialization failure
        "40P01",  # PostgreSQL: deadlock
        1213,  # MySQL: deadlock
        1205,  # MySQL: lock wait time-out; it ends the statement, not the transaction
        "55P03",  # PostgreSQL: lock wait time-out
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

# The server has ended the connection, before it read what was sent last. A driver
# that sees the message before the end takes the connection for a sound one.
_ENDED: Final[frozenset[object]] = frozenset(
    {
        "25P03",  # PostgreSQL: idle in a transaction for too long
        "57P01",  # PostgreSQL: terminated by an administrator
        "57P02",  # PostgreSQL: another process crashed
        "57P03",  # PostgreSQL: starting up or shutting down
        1053,  # MySQL: shutting down
        1927,  # MariaDB: killed
        4031,  # MySQL: idle for too long
    }
)

# The server has forgotten a statement that the driver had prepared, as behind a pooler
# or after DISCARD, or prepared it for other columns. A driver goes on asking for it.
_OUTDATED: Final[frozenset[object]] = frozenset({"26000", "0A000"})

_OF_NO_USE: Final = _ENDED | _OUTDATED

# Answers to COMMIT that leave nothing written. SQLITE_BUSY is not repeated:
# SQLite has already waited for as long as its busy timeout allows. Of those that
# end a connection only the first cannot arrive after the commit.
_NOT_COMMITTED: Final = REPEATABLE | {"SQLITE_BUSY", "25P03"}

_READ_COMMITTED: Final = "READ COMMITTED"

# Of MySQL, at which a statement by itself sees what is committed, without waiting.
_GOOD_FOR_READING: Final = frozenset({_READ_COMMITTED, "REPEATABLE READ"})
_READ_COMMITTED_NEXT: Final = f"SET TRANSACTION ISOLATION LEVEL {_READ_COMMITTED}"

# A table or a column is missing, for which SQLite has no code of its own.
_OTHER_TABLES: Final[frozenset[object]] = frozenset({"SQLITE_ERROR", "42P01", "42703", 1146, 1054})

_ARE_TABLES_THERE: Final = (
    "; are its tables there, and in this library's version? See create_schema(), or run:"
    " python -m sessioncore_sql check"
)


def autocommit(connection: Connection) -> Connection:
    """
    Prepare a connection for one statement that reads.
    """
    _leave_transactions_alone(connection)
    if _is_mysql(connection) and not reads_what_is_committed(connection.dialect):
        connection.exec_driver_sql(_READ_COMMITTED_NEXT)
    return connection


def reads_what_is_committed(dialect: Dialect) -> bool:
    """
    Whether one statement by itself does so on MySQL, without waiting for anybody.
    """
    return dialect.default_isolation_level in _GOOD_FOR_READING


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
    call = current_call()
    attempts = ATTEMPTS
    while True:
        attempts -= 1
        try:
            _begin(connection)
            answer = work(connection)
            _commit(connection, call)
        except BaseException as error:
            _undo(connection)
            late = call is not None and call.is_over
            if attempts == 0 or late or not _codes(error) & repeat_after:
                raise
        else:
            return answer


def faults(dialect: Dialect) -> tuple[type[Exception], ...]:
    """
    What may come out of a database call: not every dialect wraps all that its driver raises.
    """
    module = dialect.loaded_dbapi
    # asyncpg's own, which SQLAlchemy lets through while a connection is being set up; the
    # last of them at any time, when the server ends a connection as a statement is sent.
    driver = getattr(module, "asyncpg", None)
    names = ("PostgresError", "InterfaceError", "InternalClientError")
    own = () if driver is None else tuple(getattr(driver, name) for name in names)
    return (SQLAlchemyError, OSError, EOFError, module.Error, *own)


def is_lost(error: Exception) -> bool:
    """
    Whether *error* says that the connection ended, so that another one may do better.
    """
    return isinstance(error, DBAPIError) and error.connection_invalidated


def note_the_end(context: ExceptionContext) -> None:
    """
    Have SQLAlchemy throw a connection away of which the server says that it is of no use.
    """
    call = current_call()
    if call is not None and _codes(context.original_exception) & _OF_NO_USE:
        context.is_disconnect = True


def is_refusal(error: Exception) -> bool:
    """
    Whether *error* is an answer of the server's, after which the connection goes on.
    """
    codes = _codes(error)
    return bool(codes) and not codes & _OF_NO_USE


def unavailable(error: Exception, call: Call | None = None) -> StoreUnavailable:
    """
    Say that *error* happened before anything was written, in *call*.

    Raise the answer outside of the ``except`` clause: as cause or context,
    *error* would show the statement's parameters in tracebacks.
    """
    if call is not None and call.is_over:
        return StoreUnavailable(
            f"the database did not answer within {call.deadline:g} s: {_described(error)}"
        )
    hint = _ARE_TABLES_THERE if _codes(error) & _OTHER_TABLES else ""
    return StoreUnavailable(f"the database refused: {_described(error)}{hint}")


def _is_sqlite(connection: Connection) -> bool:
    return connection.dialect.name == SQLITE


def _is_mysql(connection: Connection) -> bool:
    return connection.dialect.name in MYSQL


def _leave_transactions_alone(connection: Connection) -> None:
    # MySQL needs none of it: one statement is as good as a transaction of one,
    # and START TRANSACTION works in both modes. To change the mode and back
    # takes five statements there, and none elsewhere.
    if not (
        _is_mysql(connection)
        or connection.dialect.detect_autocommit_setting(_dbapi_connection(connection))
    ):
        connection.execution_options(isolation_level="AUTOCOMMIT")


def _dbapi_connection(connection: Connection) -> Any:
    return connection.connection.dbapi_connection


def _begin(connection: Connection) -> None:
    _leave_transactions_alone(connection)
    connection.begin()
    if _is_sqlite(connection):
        # Engines may have the listener that SQLAlchemy's manual gives for sqlite3,
        # which begins a (deferred) transaction. Nothing was read in it yet.
        if getattr(connection.connection.driver_connection, "in_transaction", False):
            connection.exec_driver_sql("ROLLBACK")
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    elif _is_mysql(connection):
        if connection.default_isolation_level != _READ_COMMITTED:
            connection.exec_driver_sql(_READ_COMMITTED_NEXT)
        connection.exec_driver_sql("START TRANSACTION")
    else:
        connection.exec_driver_sql(f"BEGIN ISOLATION LEVEL {_READ_COMMITTED}")


def _commit(connection: Connection, call: Call | None) -> None:
    if call is not None:
        call.begin_commit()
    try:
        # MySQL's drivers send it themselves, also in autocommit.
        if not _is_mysql(connection):
            connection.exec_driver_sql("COMMIT")
        connection.commit()
    except faults(connection.dialect) as error:
        if _codes(error) & _NOT_COMMITTED:
            if call is not None:
                call.commit_was_refused()
            raise
        unknown = OutcomeUnknown(f"the commit was not acknowledged: {_described(error)}")
    else:
        return
    raise unknown


def _undo(connection: Connection) -> None:
    undone = False
    try:
        if not connection.invalidated:
            connection.exec_driver_sql("ROLLBACK")
        connection.rollback()
        undone = True
    except faults(connection.dialect):
        pass
    finally:
        # Nobody may get it from the pool with half a transaction in it.
        if not undone:
            connection.invalidate()


def _driver_error(error: BaseException) -> BaseException:
    original = error.orig if isinstance(error, DBAPIError) else None
    return error if original is None else original


def _codes(error: BaseException) -> frozenset[object]:
    # sqlstate: psycopg, asyncpg. pgcode: psycopg2. A number as first argument:
    # the MySQL drivers. SQLAlchemy raises one of asyncpg's anew, without its code.
    source = _driver_error(error)
    named = (
        getattr(each, name, None)
        for each in (source, source.__cause__)
        for name in ("sqlite_errorname", "sqlstate", "pgcode")
    )
    numbers = (argument for argument in source.args[:1] if isinstance(argument, int))
    return frozenset({*named, *numbers} - {None})


def _described(error: Exception) -> str:
    source = _driver_error(error)
    codes = " ".join(sorted(map(str, _codes(error))))
    return f"{type(source).__name__} {codes}".rstrip()
