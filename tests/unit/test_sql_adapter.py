"""
What the contract cannot know about the SQL stores: engines, errors, rows, files.
"""

from __future__ import annotations

import asyncio
import inspect
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Delete, Engine, Select, Update, create_engine, event, select
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import QueuePool, SingletonThreadPool, StaticPool
from sqlalchemy.schema import CreateTable

from sessioncore.errors import CorruptRecord, OutcomeUnknown, StoreUnavailable
from sessioncore.ports import Admission, DataWrite
from sessioncore.session import (
    DataChange,
    Device,
    Epoch,
    Locator,
    Pending,
    Session,
    Subject,
)
from sessioncore_sql import (
    AsyncSqlCredentialStore,
    AsyncSqlSessionStore,
    SqlCredentialStore,
    SqlSessionStore,
    _credentials,
    _deadline,
    _schema,
    _sessions,
    _transaction,
    aio,
    migrate,
    new_async_engine,
    new_engine,
    tables,
)

ALICE = Subject.user("alice")
NOW = datetime(2026, 11, 21, 12, 0, 0, 123000, tzinfo=UTC)
LOGIN_WINDOW = timedelta(minutes=10)
MARKER = "marker-that-must-not-leak"
GOLDEN = Path(__file__).parents[1] / "golden" / "sql"


def session_in(epoch: Epoch, slot: bytes = b"slot-1", stamp: bytes = b"stamp--1") -> Session:
    return Session(
        locator=Locator(epoch, slot),
        subject=ALICE,
        policy="standard",
        methods=("pwd", "otp"),
        created_at=NOW,
        authenticated_at=NOW,
        changed_at=NOW,
        last_seen_at=NOW,
        keep_until=NOW + timedelta(hours=1),
        family=b"family--",
        current=b"current-digest-of-32-bytes------",
        pending=Pending(b"pending-digest-of-32-bytes------", b"salt-of-16-bytes"),
        previous=b"previous-digest-of-32-bytes-----",
        device=Device("192.0.2.1", f"Browser {MARKER}"),
        stamp=stamp,
    )


def admitted(store: SqlSessionStore) -> Session:
    session = session_in(store.open_epoch(ALICE, NOW, LOGIN_WINDOW))
    assert store.admit(session, (), None, NOW) is Admission.ADMITTED
    return session


def change_of(name: str, value: bytes) -> DataChange:
    return DataChange(put={name: value}, stamp=b"stamp-d1", capacity=1000)


@pytest.fixture
def file(quick_folder: Path) -> Path:
    return quick_folder / "sessions.db"


@pytest.fixture
def engine(file: Path) -> Iterator[Engine]:
    """
    An engine as an app may have it: none of our settings, and parameters in errors.
    """
    engine = create_engine(f"sqlite:///{file}", connect_args={"timeout": 0.05})
    yield engine
    engine.dispose()


@pytest.fixture
def store(engine: Engine) -> SqlSessionStore:
    store = SqlSessionStore(engine)
    store.create_schema()
    return store


@pytest.fixture
def raw(file: Path, store: SqlSessionStore) -> Iterator[sqlite3.Connection]:
    """
    The operator's own connection to the store's file.
    """
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        yield connection


class TestConstruction:
    @pytest.mark.parametrize("kind", [SqlSessionStore, SqlCredentialStore])
    @pytest.mark.parametrize("engine", [None, "sqlite:///x.db"])
    def test_a_store_refuses_what_is_no_engine(self, kind: Any, engine: Any) -> None:
        with pytest.raises(TypeError, match=r"sqlalchemy\.Engine, not"):
            kind(engine)

    def test_a_synchronous_store_refuses_an_engine_for_asyncio(self, file: Path) -> None:
        engine: Any = create_async_engine(f"sqlite+aiosqlite:///{file}")
        with pytest.raises(TypeError, match="not AsyncEngine"):
            SqlSessionStore(engine)
        with pytest.raises(ValueError, match="AsyncSqlSessionStore can"):
            SqlSessionStore(engine.sync_engine)

    @pytest.mark.parametrize("kind", [AsyncSqlSessionStore, AsyncSqlCredentialStore])
    def test_an_asynchronous_store_refuses_an_engine_for_threads(
        self, kind: Any, engine: Engine
    ) -> None:
        with pytest.raises(TypeError, match="AsyncEngine, not Engine"):
            kind(engine)

    @pytest.mark.parametrize(
        "url",
        [
            "sqlite://",
            "sqlite:///:memory:",
            "sqlite:///file::memory:?cache=shared&uri=true",
            "sqlite:///file:name?mode=memory&cache=shared&uri=true",
        ],
    )
    def test_a_store_refuses_a_database_in_memory(self, url: str) -> None:
        with pytest.raises(ValueError, match="needs a database file"):
            SqlSessionStore(create_engine(url, poolclass=QueuePool))

    @pytest.mark.parametrize("pool", [StaticPool, SingletonThreadPool])
    def test_a_store_refuses_a_pool_that_shares_a_connection(self, file: Path, pool: Any) -> None:
        with pytest.raises(ValueError, match="a connection of its own"):
            SqlSessionStore(create_engine(f"sqlite:///{file}", poolclass=pool))

    def test_a_store_refuses_a_database_it_does_not_know(self) -> None:
        elsewhere = create_engine("mssql+pymssql://db.example/app", module=sqlite3)
        with pytest.raises(ValueError, match="not on mssql"):
            SqlSessionStore(elsewhere)

    @pytest.mark.parametrize(
        "url",
        [
            "no url",
            "nosuchdatabase://me:secret@db.example/app",
            "postgresql+psycopg://me:pa@ss:secret@db.example/app",
        ],
    )
    def test_what_is_no_url_is_refused_without_repeating_it(self, url: str) -> None:
        with pytest.raises(ValueError, match="not the URL of a database") as refusal:
            new_engine(url)
        shown = "".join(traceback.format_exception(refusal.value))
        assert url not in shown
        assert "secret" not in shown

    def test_an_asyncio_engine_needs_an_asyncio_driver(self, file: Path) -> None:
        with pytest.raises(ValueError, match="for this kind of store"):
            new_async_engine(f"sqlite:///{file}")

    def test_aiomysql_is_refused_beside_a_pymysql_with_which_it_cannot_send_bytes(self) -> None:
        engine = create_async_engine("mariadb+aiomysql://db.example/app")
        if callable(import_module("aiomysql.connection").escape_bytes_prefixed):
            AsyncSqlSessionStore(engine)
        else:
            with pytest.raises(ValueError, match=r"asyncmy, or PyMySQL before 1\.2"):
                AsyncSqlSessionStore(engine)

    def test_the_repr_of_a_store_does_not_show_the_engine(self, store: SqlSessionStore) -> None:
        assert repr(store) == "SqlSessionStore(deadline=datetime.timedelta(seconds=5))"

    def test_the_twins_have_the_same_methods_with_the_same_parameters(self) -> None:
        for kind, twin in (
            (SqlSessionStore, AsyncSqlSessionStore),
            (SqlCredentialStore, AsyncSqlCredentialStore),
        ):
            names = {name for name in vars(kind) if not name.startswith("_")}
            assert names == {name for name in vars(twin) if not name.startswith("_")}
            # A feed is followed in a thread: by asyncio it takes an engine of its own.
            for name in names - {"engine", "invalidation_feed"}:
                assert inspect.signature(getattr(kind, name)) == inspect.signature(
                    getattr(twin, name)
                )


class TestEngines:
    def test_an_engine_that_was_handed_in_is_never_disposed(
        self, engine: Engine, store: SqlSessionStore
    ) -> None:
        disposals: list[Engine] = []
        event.listen(engine, "engine_disposed", disposals.append)
        admitted(store)
        del store
        assert disposals == []

    def test_connect_disposes_of_its_own_engine(self, file: Path) -> None:
        disposals: list[Engine] = []
        with SqlSessionStore.connect(f"sqlite:///{file}") as store:
            event.listen(store.engine, "engine_disposed", disposals.append)
        assert len(disposals) == 1

    def test_connect_refuses_a_database_in_memory(self) -> None:
        with (
            pytest.raises(ValueError, match="needs a database file"),
            SqlSessionStore.connect("sqlite://"),
        ):
            pass

    def test_an_engine_of_our_own_writes_ahead_and_synchronises_fully(self, file: Path) -> None:
        engine = new_engine(f"sqlite:///{file}", deadline=timedelta(seconds=3))
        with engine.connect() as connection:
            settings = [
                connection.exec_driver_sql(f"PRAGMA {name}").scalar()
                for name in ("journal_mode", "synchronous", "busy_timeout")
            ]
        engine.dispose()
        assert settings == ["wal", 2, 3000]

    def test_the_engine_s_other_users_find_its_connections_as_they_were(
        self, engine: Engine, store: SqlSessionStore
    ) -> None:
        admitted(store)
        with engine.connect() as connection:
            driver: Any = connection.connection.driver_connection
            assert driver.isolation_level == ""
            assert not driver.in_transaction

    def test_a_store_never_joins_its_caller_s_transaction(
        self, engine: Engine, store: SqlSessionStore, raw: sqlite3.Connection
    ) -> None:
        raw.execute("PRAGMA journal_mode=WAL")
        session = admitted(store)
        with engine.connect() as callers:
            callers.exec_driver_sql("BEGIN")
            assert callers.execute(select(tables.sessions.c.slot)).all()
            store.delete_user(ALICE)
            assert callers.execute(select(tables.sessions.c.slot)).all()
            assert store.find(session.locator) is None

    def test_the_listeners_of_sqlalchemy_s_manual_do_not_disturb(self, file: Path) -> None:
        # https://docs.sqlalchemy.org/en/20/dialects/sqlite.html#pysqlite-serializable
        engine = create_engine(f"sqlite:///{file}")

        def take_over(connection: Any, _record: object) -> None:
            connection.isolation_level = None

        def begin(connection: Connection) -> None:
            connection.exec_driver_sql("BEGIN")

        event.listen(engine, "connect", take_over)
        event.listen(engine, "begin", begin)
        store = SqlSessionStore(engine)
        store.create_schema()
        session = admitted(store)
        assert store.find(session.locator) == session
        assert store.delete_user(ALICE) == 1
        engine.dispose()

    def test_finding_a_session_is_one_statement(
        self, engine: Engine, store: SqlSessionStore
    ) -> None:
        session = admitted(store)
        statements: list[str] = []

        def count(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
            statements.append(statement)

        event.listen(engine, "before_cursor_execute", count)
        assert store.find(session.locator) == session
        assert len(statements) == 1
        assert statements[0].startswith("SELECT")

    @pytest.mark.parametrize("dialect", [sqlite, postgresql, mysql])
    def test_every_statement_compiles_for_every_database(self, dialect: Any) -> None:
        spoken = dialect.dialect()
        statements: list[Any] = [
            statement
            for module in (_sessions, _credentials, _schema)
            for statement in vars(module).values()
            if isinstance(statement, Select | Update | Delete)
        ]
        assert len(statements) > 20
        for statement in (
            *statements,
            _sessions._OPEN[spoken.name],
            *(CreateTable(table) for table in tables.metadata.sorted_tables),
        ):
            assert str(statement.compile(dialect=spoken))


Call = Callable[[SqlSessionStore, Session], object]

CALLS: list[Call] = [
    lambda store, session: store.admit(session, (), None, NOW),
    lambda store, session: store.replace(session, session),
    lambda store, session: store.restart(session, session),
    lambda store, session: store.delete(session.locator, session),
    lambda store, session: store.find(session.locator),
    lambda store, session: store.roster(ALICE),
    lambda store, session: store.delete_user(ALICE),
    lambda store, session: store.open_epoch(ALICE, NOW, LOGIN_WINDOW),
    lambda store, session: store.read_data(session.locator),
    lambda store, session: store.write_data(session.locator, change_of("k", b'"v"')),
    lambda store, session: store.purge(NOW, 10),
]


def assert_it_says_nothing(error: BaseException) -> None:
    shown = "".join(traceback.format_exception(error))
    assert MARKER not in shown
    assert "digest-of-32" not in shown
    assert "alice" not in shown
    assert error.__cause__ is None
    assert error.__context__ is None


class TestFailures:
    def test_a_locked_database_is_unavailable_within_the_busy_timeout(
        self, store: SqlSessionStore, raw: sqlite3.Connection
    ) -> None:
        raw.execute("PRAGMA journal_mode=WAL")
        session = admitted(store)
        raw.execute("BEGIN IMMEDIATE")
        started = time.monotonic()
        with pytest.raises(StoreUnavailable, match="SQLITE_BUSY") as failure:
            store.replace(session, replace(session, stamp=b"stamp--2"))
        assert time.monotonic() - started < 2
        assert_it_says_nothing(failure.value)
        assert store.find(session.locator) == session
        raw.execute("ROLLBACK")
        assert store.delete(session.locator, session)

    def test_a_database_that_cannot_be_opened_is_unavailable(self, tmp_path: Path) -> None:
        engine = create_engine(f"sqlite:///{tmp_path}/missing/sessions.db")
        with pytest.raises(StoreUnavailable, match="SQLITE_CANTOPEN"):
            SqlSessionStore(engine).find(Locator(Epoch(bytes(16)), bytes(6)))

    def test_a_database_that_cannot_be_opened_is_unavailable_to_asyncio(
        self, tmp_path: Path
    ) -> None:
        async def find() -> None:
            before = set(threading.enumerate())
            engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/missing/sessions.db")
            try:
                await AsyncSqlSessionStore(engine).find(Locator(Epoch(bytes(16)), bytes(6)))
            finally:
                # aiosqlite's thread still has a word for the loop after it failed.
                for thread in set(threading.enumerate()) - before:
                    await asyncio.to_thread(thread.join)

        with pytest.raises(StoreUnavailable, match="SQLITE_CANTOPEN"):
            asyncio.run(find())

    def test_a_file_that_is_no_database_is_unavailable(self, file: Path) -> None:
        file.write_bytes(b"not a database, but long enough to be looked at" * 100)
        engine = create_engine(f"sqlite:///{file}")
        with pytest.raises(StoreUnavailable, match="SQLITE_NOTADB"):
            SqlSessionStore(engine).find(Locator(Epoch(bytes(16)), bytes(6)))
        engine.dispose()

    def test_an_exhausted_pool_is_unavailable(self, file: Path) -> None:
        engine = create_engine(f"sqlite:///{file}", pool_size=1, max_overflow=0, pool_timeout=0.01)
        with engine.connect(), pytest.raises(StoreUnavailable, match="TimeoutError"):
            SqlSessionStore(engine).roster(ALICE)
        engine.dispose()

    @pytest.mark.parametrize("call", CALLS)
    def test_no_failure_shows_a_byte_of_a_record(self, engine: Engine, call: Call) -> None:
        without_tables = SqlSessionStore(engine)
        session = session_in(Epoch(b"epoch-of-16bytes"))
        with pytest.raises(StoreUnavailable, match="create_schema") as failure:
            call(without_tables, session)
        assert_it_says_nothing(failure.value)

    def test_a_commit_that_fails_is_unknown_and_its_connection_is_clean(
        self, file: Path, raw: sqlite3.Connection
    ) -> None:
        # A deferred foreign key is the one thing that SQLite checks at COMMIT.
        raw.executescript("""
            CREATE TABLE parents (id INTEGER PRIMARY KEY);
            CREATE TABLE children (id REFERENCES parents DEFERRABLE INITIALLY DEFERRED);
            CREATE TRIGGER orphan AFTER INSERT ON sessioncore_sessions
                BEGIN INSERT INTO children VALUES (1); END;
        """)
        engine = create_engine(f"sqlite:///{file}")

        def enforce(connection: Any, _record: object) -> None:
            connection.execute("PRAGMA foreign_keys=ON")

        event.listen(engine, "connect", enforce)
        store = SqlSessionStore(engine)
        session = session_in(store.open_epoch(ALICE, NOW, LOGIN_WINDOW))
        with pytest.raises(OutcomeUnknown) as failure:
            store.admit(session, (), None, NOW)
        assert_it_says_nothing(failure.value)
        assert store.find(session.locator) is None
        raw.execute("DROP TRIGGER orphan")
        assert store.admit(session, (), None, NOW) is Admission.ADMITTED
        engine.dispose()

    def test_opening_an_epoch_is_never_unknown(self, file: Path, raw: sqlite3.Connection) -> None:
        raw.executescript("""
            CREATE TABLE parents (id INTEGER PRIMARY KEY);
            CREATE TABLE children (id REFERENCES parents DEFERRABLE INITIALLY DEFERRED);
            CREATE TRIGGER orphan AFTER INSERT ON sessioncore_epochs
                BEGIN INSERT INTO children VALUES (1); END;
        """)
        engine = create_engine(f"sqlite:///{file}")

        def enforce(connection: Any, _record: object) -> None:
            connection.execute("PRAGMA foreign_keys=ON")

        event.listen(engine, "connect", enforce)
        with pytest.raises(StoreUnavailable) as failure:
            SqlSessionStore(engine).open_epoch(ALICE, NOW, LOGIN_WINDOW)
        assert_it_says_nothing(failure.value)
        engine.dispose()

    def test_a_deadlock_repeats_the_whole_transaction(
        self, engine: Engine, store: SqlSessionStore
    ) -> None:
        tries: list[int] = []

        def work(connection: Connection) -> str:
            tries.append(len(tries))
            connection.execute(
                tables.schema.insert(), {"component": f"try {len(tries)}", "version": 1}
            )
            if len(tries) < 3:
                raise DBAPIError("UPDATE", {}, DeadlockDetected())
            return "done"

        with engine.connect() as connection:
            assert _transaction.write(connection, work) == "done"
        with engine.connect() as connection:
            names = connection.scalars(select(tables.schema.c.component)).all()
        assert sorted(names) == ["sessions", "try 3"]

    def test_deadlocks_without_end_are_given_up(self, engine: Engine) -> None:
        tries: list[int] = []

        def work(connection: Connection) -> None:
            tries.append(len(tries))
            raise DBAPIError("UPDATE", {}, DeadlockDetected())

        with engine.connect() as connection, pytest.raises(DBAPIError):
            _transaction.write(connection, work)
        assert len(tries) == _transaction.ATTEMPTS

    def test_a_cancelled_write_leaves_no_transaction_behind(
        self, file: Path, raw: sqlite3.Connection
    ) -> None:
        async def cancel_while_it_waits() -> None:
            engine = new_async_engine(f"sqlite+aiosqlite:///{file}")
            store = AsyncSqlSessionStore(engine)
            waiting = asyncio.Event()

            def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
                if statement == "BEGIN IMMEDIATE":
                    waiting.set()

            event.listen(engine.sync_engine, "before_cursor_execute", note)
            await store.find(Locator(Epoch(bytes(16)), bytes(6)))
            raw.execute("BEGIN IMMEDIATE")
            writing = asyncio.create_task(store.open_epoch(ALICE, NOW, LOGIN_WINDOW))
            await waiting.wait()
            writing.cancel()
            raw.execute("ROLLBACK")
            with pytest.raises(asyncio.CancelledError):
                await writing
            # It runs to its end though nobody waits for it, and then nobody holds
            # the lock.
            await asyncio.gather(*aio._under_way)
            raw.execute("BEGIN IMMEDIATE")
            raw.execute("ROLLBACK")
            await store.open_epoch(ALICE, NOW, LOGIN_WINDOW)
            await engine.dispose()

        asyncio.run(cancel_while_it_waits())


class TestDeadlines:
    def test_what_was_committed_is_never_said_to_have_failed(self, tmp_path: Path) -> None:
        # The event loop is held up between the commit and the return of the call.
        async def add() -> None:
            url = f"sqlite+aiosqlite:///{tmp_path}/users.db"
            limit = timedelta(seconds=0.3)
            async with AsyncSqlCredentialStore.connect(url, deadline=limit) as store:
                await store.find_user("alice")
                loop = asyncio.get_running_loop()

                def hold_up(*arguments: Any) -> None:
                    if arguments[2] == "COMMIT":
                        loop.call_soon(time.sleep, 1.0)

                event.listen(store.engine.sync_engine, "after_cursor_execute", hold_up)
                with pytest.raises(OutcomeUnknown):
                    await store.add_user("u-1", "alice", None)
                event.remove(store.engine.sync_engine, "after_cursor_execute", hold_up)
                assert await store.find_user("alice") is not None

        asyncio.run(add())

    @pytest.mark.parametrize("kind", [SqlSessionStore, SqlCredentialStore])
    def test_a_deadline_is_a_length_of_time(self, engine: Engine, kind: Any) -> None:
        with pytest.raises(TypeError, match="not float"):
            kind(engine, deadline=1.5)
        for none in (timedelta(0), timedelta(seconds=-1)):
            with pytest.raises(ValueError, match="longer than nothing"):
                kind(engine, deadline=none)
            with pytest.raises(ValueError, match="longer than nothing"):
                new_engine(engine.url, deadline=none)

    def test_the_line_of_a_call_that_takes_too_long_is_cut(self) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs, closing(_deadline.Line(ours.fileno())) as line:
            call = _deadline.Call(timedelta(seconds=0.01))
            with _deadline.watching(call):
                call.use(line)
                assert ours.recv(1) == b""  # until then it waits
            assert call.is_over

    def test_a_line_that_a_call_takes_up_too_late_is_cut(self) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs, closing(_deadline.Line(ours.fileno())) as line:
            call = _deadline.Call(timedelta(hours=1))
            call.expire()
            call.use(line)
            assert theirs.recv(1) == b""

    def test_a_line_that_a_call_has_given_back_is_left_alone(self) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs, closing(_deadline.Line(ours.fileno())) as line:
            call = _deadline.Call(timedelta(hours=1))
            call.use(line)
            call.use(None)
            call.expire()
            theirs.sendall(b"still here")
            assert ours.recv(10) == b"still here"

    def test_a_line_that_was_closed_cuts_nothing(self) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            line = _deadline.Line(ours.fileno())
            line.close()
            line.close()
            line.cut()
            theirs.sendall(b"still here")
            assert ours.recv(10) == b"still here"

    def test_a_forked_process_watches_its_own_calls(self) -> None:
        subprocess.run([sys.executable, "-c", WATCH_AND_FORK], check=True, timeout=60)

    def test_what_is_made_too_late_is_dropped(self) -> None:
        go_on, dropped = threading.Event(), threading.Event()

        def make() -> str:
            go_on.wait(60)
            return "late"

        call = _deadline.Call(timedelta(seconds=0.01))
        with pytest.raises(TimeoutError):
            _deadline.in_time(make, lambda _late: dropped.set(), call)
        go_on.set()
        assert dropped.wait(60)

    def test_what_is_made_in_time_is_returned_and_what_fails_is_raised(self) -> None:
        def fail() -> None:
            raise TimeoutError("of its own")

        call = _deadline.Call(timedelta(hours=1))
        assert _deadline.in_time(lambda: "made", print, call) == "made"
        with pytest.raises(TimeoutError, match="of its own"):
            _deadline.in_time(fail, print, call)

    def test_a_call_that_is_over_does_not_begin_to_commit(
        self, engine: Engine, raw: sqlite3.Connection
    ) -> None:
        store = SqlSessionStore(engine, deadline=timedelta(seconds=0.01))

        def take_too_long(*_: object) -> None:
            call = _deadline.current_call()
            while call is not None and not call.is_over:
                pass

        event.listen(engine, "before_cursor_execute", take_too_long)
        with pytest.raises(StoreUnavailable, match=r"did not answer within 0\.01 s") as failure:
            store.open_epoch(ALICE, NOW, LOGIN_WINDOW)
        assert_it_says_nothing(failure.value)
        assert raw.execute("SELECT count(*) FROM sessioncore_epochs").fetchone() == (0,)

    def test_a_task_that_cannot_give_up_is_left_behind_and_writes_nothing(
        self, file: Path, raw: sqlite3.Connection
    ) -> None:
        async def give_up() -> None:
            # It would wait for the lock for a minute.
            engine = create_async_engine(
                f"sqlite+aiosqlite:///{file}", connect_args={"timeout": 60}
            )
            store = AsyncSqlSessionStore(engine, deadline=timedelta(seconds=0.05))
            raw.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreUnavailable, match=r"did not answer within 0\.05 s"):
                await store.open_epoch(ALICE, NOW, LOGIN_WINDOW)
            raw.execute("ROLLBACK")
            await asyncio.gather(*aio._under_way, return_exceptions=True)
            await engine.dispose()

        asyncio.run(give_up())
        assert raw.execute("SELECT count(*) FROM sessioncore_epochs").fetchone() == (0,)


WATCH_AND_FORK = """
import os, socket
from datetime import timedelta
from sessioncore_sql import _deadline

def watch():
    ours, theirs = socket.socketpair()
    call = _deadline.Call(timedelta(seconds=0.01))
    with _deadline.watching(call):
        call.use(_deadline.Line(ours.fileno()))
        assert ours.recv(1) == b""

watch()
child = os.fork()
if child == 0:
    watch()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""


class DeadlockDetected(Exception):
    sqlstate = "40P01"


class TestRecords:
    @pytest.mark.parametrize(
        ("column", "garbage"),
        [
            ("record", "2"),
            ("record", "'one'"),
            ("stamp", "x''"),
            ("stamp", "'text----'"),
            ("policy", "CAST(x'ff' AS TEXT)"),
            ("methods", "'{}'"),
            ("methods", "'[1]'"),
            ("methods", "'['"),
            ("methods", "replace(hex(zeroblob(50000)), '0', '[')"),
            ("created_at", "'soon'"),
            ("changed_at", "4611686018427387904"),
            ("last_seen_at", "-4611686018427387904"),
            ("authenticated_at", "1.5"),
            ("family_digest", "x'00'"),
            ("current_digest", "'not bytes, and 32 of them; text-'"),
            ("pending_digest", "NULL"),
            ("pending_salt", "x'00'"),
            ("previous_digest", "x''"),
            ("device_address", "CAST(x'ff' AS TEXT)"),
            ("user_agent", "CAST(x'c328' AS TEXT)"),
        ],
    )
    def test_garbage_is_neither_live_nor_in_the_way(
        self, store: SqlSessionStore, raw: sqlite3.Connection, column: str, garbage: str
    ) -> None:
        broken = admitted(store)
        raw.execute(f"UPDATE sessioncore_sessions SET {column} = {garbage}")
        sound = session_in(broken.locator.epoch, b"slot-2", b"stamp--2")
        assert store.admit(sound, (), None, NOW) is Admission.ADMITTED

        with pytest.raises(CorruptRecord) as failure:
            store.find(broken.locator)
        assert_it_says_nothing(failure.value)
        roster = store.roster(ALICE)
        assert roster.sessions == (sound,)
        assert roster.unreadable == (broken.locator,)
        assert store.write_data(broken.locator, change_of("k", b"1")) is DataWrite.WRITTEN
        assert store.delete(broken.locator)
        assert store.roster(ALICE).unreadable == ()

    def test_sign_out_everywhere_and_purge_remove_what_cannot_be_read(
        self, store: SqlSessionStore, raw: sqlite3.Connection
    ) -> None:
        admitted(store)
        raw.execute("UPDATE sessioncore_sessions SET record = 99")
        assert store.purge(NOW + timedelta(days=1), 10).sessions == 1
        admitted(store)
        raw.execute("UPDATE sessioncore_sessions SET record = 99")
        assert store.delete_user(ALICE) == 1

    @pytest.mark.parametrize("key", [b"ubob", b"ualice\xff", b"", b"x"])
    def test_a_session_under_another_subject_s_hash_is_corrupt(
        self, store: SqlSessionStore, raw: sqlite3.Connection, key: bytes
    ) -> None:
        session = admitted(store)
        raw.execute("UPDATE sessioncore_epochs SET subject_key = ?", (key,))
        for call in (
            lambda: store.find(session.locator),
            lambda: store.roster(ALICE),
            lambda: store.open_epoch(ALICE, NOW, LOGIN_WINDOW),
            lambda: store.delete_user(ALICE),
        ):
            with pytest.raises(CorruptRecord) as failure:
                call()
            assert_it_says_nothing(failure.value)
        assert store.admit(session, (), None, NOW) is Admission.STALE
        assert store.restart(session, session) is None

    @pytest.mark.parametrize("column", ["epoch", "version"])
    def test_a_broken_row_of_an_epoch_is_corrupt(
        self, store: SqlSessionStore, raw: sqlite3.Connection, column: str
    ) -> None:
        admitted(store)
        raw.execute(f"UPDATE sessioncore_epochs SET {column} = x'00'")
        with pytest.raises(CorruptRecord):
            store.roster(ALICE)

    @pytest.mark.parametrize(
        ("column", "garbage"), [("name", "x'ff'"), ("value", "1"), ("stamp", "x'00'")]
    )
    def test_a_value_that_cannot_be_read_is_corrupt(
        self, store: SqlSessionStore, raw: sqlite3.Connection, column: str, garbage: str
    ) -> None:
        session = admitted(store)
        store.write_data(session.locator, change_of("k", b'"v"'))
        raw.execute(f"UPDATE sessioncore_data SET {column} = {garbage}")
        with pytest.raises(CorruptRecord) as failure:
            store.read_data(session.locator)
        assert_it_says_nothing(failure.value)

    def test_a_database_written_by_the_first_version_stays_readable(self, file: Path) -> None:
        with closing(sqlite3.connect(file)) as connection:
            connection.executescript((GOLDEN / "version-1.sql").read_text("utf-8"))
        expected = session_in(Epoch(b"epoch-of-16bytes"))
        engine = new_engine(f"sqlite:///{file}")
        migrate(engine)
        engine.dispose()
        with SqlSessionStore.connect(f"sqlite:///{file}") as store:
            assert store.find(expected.locator) == expected
            roster = store.roster(ALICE)
            assert (roster.sessions, roster.version) == ((expected,), b"stamp--1")
            data = store.read_data(expected.locator)
            assert data is not None
            assert data["carré"].value == b'{"n":1}'
            assert store.replace(expected, replace(expected, stamp=b"stamp--2"))
        with SqlCredentialStore.connect(f"sqlite:///{file}") as credentials:
            account = credentials.find_user("alice@example.org")
            assert account is not None
            assert (account.user_id, account.role) == ("alice", "admin")
            assert credentials.read_hash("alice") == "$argon2id$golden"

    def test_operators_can_query_the_columns(
        self, store: SqlSessionStore, raw: sqlite3.Connection
    ) -> None:
        admitted(store)
        assert raw.execute("""
            SELECT e.user_id, s.policy, s.methods, s.device_address, s.user_agent,
                   datetime(s.created_at / 1000, 'unixepoch')
            FROM sessioncore_sessions s JOIN sessioncore_epochs e ON e.epoch = s.epoch
            WHERE e.user_id = 'alice'
        """).fetchall() == [
            (
                "alice",
                "standard",
                '["pwd","otp"]',
                "192.0.2.1",
                f"Browser {MARKER}",
                "2026-11-21 12:00:00",
            )
        ]

    def test_an_operator_who_deletes_the_epoch_ends_the_user_s_sessions(
        self, store: SqlSessionStore, raw: sqlite3.Connection
    ) -> None:
        session = admitted(store)
        store.write_data(session.locator, change_of("k", b"1"))
        raw.execute("DELETE FROM sessioncore_epochs WHERE user_id = 'alice'")
        assert store.find(session.locator) is None
        assert store.read_data(session.locator) is None
        assert store.write_data(session.locator, change_of("k", b"1")) is DataWrite.GONE
        assert not store.replace(session, replace(session, stamp=b"stamp--2"))
        assert store.purge(NOW + timedelta(days=1), 10).sessions == 1

    def test_a_limit_below_nothing_is_refused(self, store: SqlSessionStore) -> None:
        with pytest.raises(ValueError, match="limit"):
            store.purge(NOW, -1)


class TestSchema:
    def test_creating_the_schema_twice_is_a_no_op(
        self, store: SqlSessionStore, raw: sqlite3.Connection
    ) -> None:
        session = admitted(store)
        query = "SELECT * FROM sessioncore_schema"
        before = raw.execute(query).fetchall()
        store.create_schema()
        assert store.find(session.locator) == session
        assert raw.execute(query).fetchall() == before

    def test_processes_that_start_at_once_share_one_file(self, file: Path) -> None:
        processes = [
            subprocess.Popen([sys.executable, "-c", ADMIT_TEN, str(file), str(number)])
            for number in range(3)
        ]
        assert [process.wait(timeout=60) for process in processes] == [0, 0, 0]
        with SqlSessionStore.connect(f"sqlite:///{file}") as store:
            assert len(store.roster(ALICE).sessions) == 30


ADMIT_TEN = """
import sys
from datetime import UTC, datetime, timedelta
from sessioncore.ports import Admission
from sessioncore.session import Locator, Session, Subject
from sessioncore_sql import SqlSessionStore

now = datetime(2026, 11, 21, tzinfo=UTC)
alice = Subject.user("alice")
with SqlSessionStore.connect(f"sqlite:///{sys.argv[1]}") as store:
    epoch = store.open_epoch(alice, now, timedelta(minutes=10))
    for number in range(10):
        name = f"{sys.argv[2]}-{number:04}".encode()
        session = Session(
            locator=Locator(epoch, name), subject=alice, policy="p", created_at=now,
            changed_at=now, last_seen_at=now, keep_until=now, family=bytes(8),
            current=bytes(32), stamp=name + b"--",
        )
        while store.admit(session, (), store.roster(alice).version, now) is not Admission.ADMITTED:
            pass
"""


class TestCredentials:
    @pytest.fixture
    def users(self, engine: Engine) -> SqlCredentialStore:
        users = SqlCredentialStore(engine)
        users.create_schema()
        return users

    def test_a_name_can_be_had_once(self, users: SqlCredentialStore) -> None:
        assert users.add_user("u1", "alice", "hash", role="admin")
        assert not users.add_user("u2", "alice", "hash")
        assert not users.add_user("u1", "bob", "hash")
        assert users.find_user("bob") is None

    def test_usernames_are_matched_byte_by_byte(self, users: SqlCredentialStore) -> None:
        for number, name in enumerate(("é", "e\u0301", "E\u0301", "e")):
            assert users.add_user(f"u{number}", name, "hash")

    @pytest.mark.parametrize("username", ["", "a\n", "\x00", "\ud800", "x" * 256])
    def test_unprintable_names_are_refused(self, users: SqlCredentialStore, username: str) -> None:
        with pytest.raises(ValueError, match="username"):
            users.add_user("u1", username, "hash")
        assert users.find_user(username) is None

    def test_a_reset_needs_no_old_hash(self, users: SqlCredentialStore) -> None:
        users.add_user("u1", "alice", None)
        assert users.read_hash("u1") is None
        assert users.set_hash("u1", "new")
        assert users.read_hash("u1") == "new"
        assert not users.set_hash("u2", "new")

    def test_removing_a_user_twice_is_a_no_op(self, users: SqlCredentialStore) -> None:
        users.add_user("u1", "alice", "hash")
        assert users.remove_user("u1")
        assert not users.remove_user("u1")
        assert users.find_user("alice") is None

    def test_a_broken_row_is_corrupt(
        self, users: SqlCredentialStore, raw: sqlite3.Connection
    ) -> None:
        users.add_user("u1", "alice", "hash")
        raw.execute(
            "UPDATE sessioncore_credentials"
            " SET user_id = CAST(x'ff' AS TEXT), password_hash = CAST(x'ff' AS TEXT)"
        )
        with pytest.raises(CorruptRecord):
            users.find_user("alice")
        with pytest.raises(CorruptRecord):
            users.read_hash("u1")
