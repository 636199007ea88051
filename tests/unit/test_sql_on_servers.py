"""
The SQL stores meet real PostgreSQL and MariaDB servers, and networks that fail.
"""

from __future__ import annotations

import itertools
import re
import signal
import threading
import time
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import psycopg
import pytest
from sqlalchemy import Connection, Engine, create_engine, event, make_url, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from servers import MariaDbServer, PostgresServer, Proxy, Weather
from sessioncore.errors import OutcomeUnknown, StoreError, StoreUnavailable
from sessioncore.ports import Admission, DataWrite, SessionStore
from sessioncore.session import DataChange, Device, Epoch, Locator, Session, Subject
from sessioncore.testing.async_stores import LoopThread, SessionStoreOnLoop
from sessioncore.testing.race import race
from sessioncore_sql import (
    AsyncSqlSessionStore,
    SqlSessionStore,
    _transaction,
    new_async_engine,
    new_engine,
    tables,
)
from sessioncore_sql._codec import encode_session, milliseconds
from sessioncore_sql._deadline import Call
from sessioncore_sql._sessions import FIND, FIND_WITH_DATA, found, found_with_data, key_of
from sessioncore_sql._shortcut import AsyncShortcut, Shortcut

ALICE = Subject.user("alice")
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
LOGIN_WINDOW = timedelta(minutes=10)
MARKER = "marker-that-must-not-leak"

DEADLINE = timedelta(seconds=0.5)
SOON = 4.0
"""Seconds after which a call has certainly missed its deadline."""

NO_HURRY = timedelta(seconds=15)

LIMIT = 20.0
"""Seconds after which whoever is waited for is taken for stuck."""


@dataclass(frozen=True)
class Driver:
    backend: str
    name: str
    by_tasks: bool = False

    def __str__(self) -> str:
        return f"{self.backend}-{'async-' if self.by_tasks else ''}{self.name}"


PSYCOPG = Driver("postgresql", "psycopg")
PYMYSQL = Driver("mariadb", "pymysql")
DRIVERS = [
    PSYCOPG,
    Driver("postgresql", "psycopg", by_tasks=True),
    Driver("postgresql", "asyncpg", by_tasks=True),
    PYMYSQL,
    Driver("mariadb", "asyncmy", by_tasks=True),
]
THREADED = [PSYCOPG, PYMYSQL]


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    settings = {"log_statement": "all", "log_min_messages": "log"}
    with PostgresServer(**settings, deadlock_timeout="20ms") as server:
        server.execute("CREATE DATABASE test")
        yield server


@pytest.fixture(scope="module")
def mariadb() -> Iterator[MariaDbServer]:
    settings = {"general_log": "1", "general_log_file": "statements"}
    with MariaDbServer(**settings, max_allowed_packet="1M") as server:
        yield server


Server = PostgresServer | MariaDbServer


class Database:
    """
    A store on a real server, by one driver, over a network that can fail.
    """

    def __init__(self, server: Server, driver: Driver, proxy: Proxy, stack: ExitStack) -> None:
        self.server = server
        self.driver = driver
        self.proxy = proxy
        self._stack = stack
        self._loop: LoopThread | None = None
        self.admin = new_engine(server.url(DRIVER_OF[driver.backend], "test"))
        stack.callback(self.admin.dispose)
        self.behind = SqlSessionStore(self.admin, deadline=NO_HURRY)
        """The same data, past the network."""
        self.behind.create_schema()
        with self.admin.begin() as connection:
            for table in (tables.epochs, tables.sessions, tables.data):
                connection.execute(table.delete())

    def store(
        self,
        make: Callable[..., Any] | None = None,
        *,
        deadline: timedelta = DEADLINE,
        **settings: Any,
    ) -> SessionStore:
        """
        A store that goes over the network, with an engine that *make* makes of a URL.
        """
        url = self.server.url(self.driver.name, "test", self.proxy.port)
        if not self.driver.by_tasks:
            engine: Engine = (make or partial(new_engine, deadline=deadline))(url, **settings)
            self._stack.callback(engine.dispose)
            self.engine = engine
            return SqlSessionStore(engine, deadline=deadline)
        if self._loop is None:
            self._loop = self._stack.enter_context(LoopThread())
        pool: AsyncEngine = (make or partial(new_async_engine, deadline=deadline))(url, **settings)
        self._stack.callback(lambda: self.loop.call(pool.dispose()))
        self.pool = pool
        self.engine = pool.sync_engine
        return SessionStoreOnLoop(AsyncSqlSessionStore(pool, deadline=deadline), self._loop)

    @property
    def loop(self) -> LoopThread:
        assert self._loop is not None
        return self._loop

    @contextmanager
    def occupied(self) -> Generator[None, None, None]:
        """
        One connection of the store's pool in use by somebody else.
        """
        if self.driver.by_tasks:
            connection = self.loop.call(started(self.pool.connect()))
            yield
            self.loop.call(connection.close())
        else:
            with self.engine.connect():
                yield

    @contextmanager
    def locked(self) -> Generator[None, None, None]:
        """
        Alice's epoch locked by somebody else, past the network.
        """
        with self.admin.connect() as connection:
            hold_alice(connection)
            yield
            connection.exec_driver_sql("ROLLBACK")

    def end_transactions(self) -> None:
        """
        Have the administrator end every connection that is in a transaction.
        """
        if isinstance(self.server, PostgresServer):
            self.server.execute(
                "SELECT pg_terminate_backend(pid, 1000) FROM pg_stat_activity"
                " WHERE state LIKE 'idle in transaction%'"
            )
        else:
            for (thread,) in self.server.execute(
                "SELECT trx_mysql_thread_id FROM information_schema.innodb_trx"
                " JOIN information_schema.processlist ON id = trx_mysql_thread_id"
            ):
                self.server.execute(f"KILL {thread}")

    def statements(self) -> list[str]:
        """
        What clients have sent to the server, as it has logged it.
        """
        if isinstance(self.server, PostgresServer):
            return re.findall(r"LOG:  (?:statement|execute [^:]*): (.*)", self.server.log)
        log = (self.server.folder / "data" / "statements").read_text("utf-8", "replace")
        return re.findall(r" (?:Query|Execute|Prepare|Ping)\t(.*)", log)


async def started(connecting: AsyncConnection) -> AsyncConnection:
    return await connecting


def hold_alice(connection: Connection) -> None:
    connection.exec_driver_sql("START TRANSACTION")
    connection.execute(select(tables.epochs).with_for_update()).all()


DRIVER_OF = {"postgresql": "psycopg", "mariadb": "pymysql"}


@pytest.fixture
def database(request: pytest.FixtureRequest, driver: Driver) -> Iterator[Database]:
    name = "postgres" if driver.backend == "postgresql" else "mariadb"
    server = cast("Server", request.getfixturevalue(name))
    with ExitStack() as stack:
        proxy = stack.enter_context(Proxy(server.port))
        yield Database(server, driver, proxy, stack)


every_driver = pytest.mark.parametrize("driver", DRIVERS, ids=str)
one_driver_each = pytest.mark.parametrize("driver", THREADED, ids=str)


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
        device=Device("192.0.2.1", f"Browser {MARKER}"),
        stamp=stamp,
    )


def admitted(store: SessionStore) -> Session:
    session = session_in(store.open_epoch(ALICE, NOW, LOGIN_WINDOW))
    assert store.admit(session, (), None, NOW) is Admission.ADMITTED
    return session


READS: list[Callable[[SessionStore, Session], object]] = [
    lambda store, session: store.find(session.locator),
    lambda store, session: store.roster(ALICE),
    lambda store, session: store.read_data(session.locator),
]

WRITES: list[Callable[[SessionStore, Session], object]] = [
    lambda store, session: store.open_epoch(ALICE, NOW, LOGIN_WINDOW),
    lambda store, session: store.admit(replace(session, stamp=b"stamp--3"), (), None, NOW),
    lambda store, session: store.replace(session, replace(session, stamp=b"stamp--2")),
    lambda store, session: store.restart(session, replace(session, stamp=b"stamp--2")),
    lambda store, session: store.delete(session.locator),
    lambda store, session: store.delete_user(ALICE),
    lambda store, session: store.write_data(session.locator, a_change(b"1")),
    lambda store, session: store.purge(NOW, 10),
]


def a_change(value: bytes) -> DataChange:
    return DataChange(put={"key": value}, stamp=b"stamp-d1", capacity=1 << 30)


def shortly(database: Database, session: Session, statement: Any = FIND) -> Any:
    """
    What the shortcut says over the engine of the database's store.
    """
    call, key = Call(NO_HURRY), key_of(session.locator)
    if database.driver.by_tasks:
        return database.loop.call(AsyncShortcut(database.engine, statement).rows(call, key))
    return Shortcut(database.engine, statement).rows(call, key)


@dataclass
class Answer:
    """
    What became of a call, and how long it took.
    """

    value: object = None
    error: BaseException | None = None
    seconds: float = 0.0
    started: float = field(default_factory=time.monotonic)


def answer(call: Callable[[], object]) -> Answer:
    given = Answer()
    try:
        given.value = call()
    except StoreError as error:
        given.error = error
    given.seconds = time.monotonic() - given.started
    return given


def at_once(calls: Iterable[Callable[[], object]]) -> list[Answer]:
    """
    Make all calls at once, each from a thread of its own.
    """
    racing = list(calls)
    with ThreadPoolExecutor(len(racing)) as threads:
        return list(threads.map(answer, racing))


def assert_it_says_nothing(error: BaseException | None) -> None:
    assert error is not None
    shown = "".join(traceback.format_exception(error))
    assert MARKER not in shown
    assert "digest-of-32" not in shown
    assert "alice" not in shown


Disaster = Callable[[Database], Callable[[], None]]


def stopped(database: Database) -> Callable[[], None]:
    database.server.stop()
    return database.server.cont


def killed(database: Database) -> Callable[[], None]:
    database.server.kill()
    return database.server.start


def weather(kind: Weather) -> Disaster:
    def turn(database: Database) -> Callable[[], None]:
        database.proxy.become(kind)
        return lambda: database.proxy.become(Weather.FAIR)

    return turn


DISASTERS = {
    "stopped": stopped,
    "killed": killed,
    "black hole": weather(Weather.BLACK_HOLE),
    "replies lost": weather(Weather.REPLIES_LOST),
    "cut": weather(Weather.CUT),
    "drip": weather(Weather.DRIP),
}


def assert_all_fail_in_time(store: SessionStore, session: Session) -> None:
    answers = at_once(partial(call, store, session) for call in (*READS, *WRITES))
    for number, given in enumerate(answers):
        assert given.seconds < SOON
        assert_it_says_nothing(given.error)
        if number < len(READS):
            assert isinstance(given.error, StoreUnavailable)


class TestDeadlines:
    @pytest.mark.parametrize("disaster", DISASTERS.values(), ids=DISASTERS.keys())
    @every_driver
    def test_every_operation_fails_in_time_and_recovers_by_itself(
        self, database: Database, disaster: Disaster
    ) -> None:
        store = database.store()
        session = admitted(database.behind)
        # Some of the calls find a connection in the pool, and some do not.
        at_once([partial(store.find, session.locator)] * 4)
        repair = disaster(database)
        try:
            assert_all_fail_in_time(store, session)
        finally:
            repair()
        eventually(lambda: store.roster(ALICE))
        database.behind.delete_user(ALICE)
        session = admitted(database.behind)
        assert eventually(lambda: store.find(session.locator)) == session

    @every_driver
    def test_a_pool_without_a_free_connection_is_unavailable_in_time(
        self, database: Database
    ) -> None:
        make = create_async_engine if database.driver.by_tasks else create_engine
        # It would wait for 30 seconds.
        store = database.store(make, pool_size=1, max_overflow=0)
        session = admitted(database.behind)
        with database.occupied():
            given = answer(lambda: store.find(session.locator))
        assert isinstance(given.error, StoreUnavailable)
        assert given.seconds < SOON
        assert eventually(lambda: store.find(session.locator)) == session

    @pytest.mark.parametrize("driver", [Driver("postgresql", "asyncpg", by_tasks=True)], ids=str)
    def test_nobody_waits_for_a_connection_to_close(self, database: Database) -> None:
        store = database.store(create_async_engine, poolclass=NullPool)
        session = admitted(database.behind)

        def vanish(*_: object) -> None:
            database.proxy.become(Weather.BLACK_HOLE)

        event.listen(database.engine, "checkin", vanish)
        assert store.find(session.locator) == session


def eventually(call: Callable[[], object]) -> object:
    """
    The first answer to *call*, which is repeated while the store is unavailable.
    """
    until = time.monotonic() + LIMIT
    while True:
        try:
            return call()
        except StoreError:
            if time.monotonic() > until:
                raise


class Interrupted(Exception):
    """
    What a signal's handler raises, as time limits of task queues do.
    """


@contextmanager
def interrupted_soon() -> Generator[None, None, None]:
    """
    Have what is done meanwhile interrupted by a signal.
    """

    def interrupt(*_: object) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        with pytest.raises(Interrupted):
            yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class TestInterruptions:
    @one_driver_each
    def test_who_is_interrupted_while_waiting_for_an_answer_is_told(
        self, database: Database
    ) -> None:
        store = database.store(deadline=NO_HURRY, pool_size=1)
        session = admitted(database.behind)
        assert store.find(session.locator) == session
        database.proxy.become(Weather.BLACK_HOLE)
        with interrupted_soon():
            store.find(session.locator)
        database.proxy.become(Weather.FAIR)
        assert database.engine.pool.status().endswith("Checked out connections: 0")
        assert store.find(session.locator) == session

    @one_driver_each
    def test_who_is_interrupted_while_waiting_for_the_pool_takes_nothing_out_of_it(
        self, database: Database
    ) -> None:
        settings = {"isolation_level": "AUTOCOMMIT", "pool_size": 1, "max_overflow": 0}
        store = database.store(create_engine, deadline=NO_HURRY, **settings)
        session = admitted(database.behind)
        assert store.find(session.locator) == session
        with database.occupied(), interrupted_soon():
            store.find(session.locator)
        assert store.find(session.locator) == session


class TestCallersEngines:
    """
    Engines as an app has them, with none of our settings.
    """

    @pytest.mark.parametrize("disaster", [stopped, weather(Weather.BLACK_HOLE)])
    @pytest.mark.parametrize("settings", [{}, {"pool_pre_ping": True}], ids=str)
    @every_driver
    def test_every_operation_keeps_its_deadline(
        self, database: Database, disaster: Disaster, settings: dict[str, Any]
    ) -> None:
        make = create_async_engine if database.driver.by_tasks else create_engine
        store = database.store(make, **settings)
        session = admitted(database.behind)
        repair = disaster(database)
        try:
            assert_all_fail_in_time(store, session)
        finally:
            repair()
        eventually(lambda: store.roster(ALICE))

    @pytest.mark.parametrize("level", ["READ UNCOMMITTED", "SERIALIZABLE"])
    @one_driver_each
    def test_a_reader_sees_what_is_committed_and_waits_for_nobody(
        self, database: Database, level: Any
    ) -> None:
        store = database.store(create_engine, deadline=NO_HURRY, isolation_level=level)
        session = admitted(database.behind)
        with database.admin.connect() as connection:
            hold_alice(connection)
            connection.execute(tables.sessions.delete())
            assert store.find(session.locator) == session
            connection.exec_driver_sql("ROLLBACK")

    @one_driver_each
    def test_the_engine_s_other_users_find_its_connections_as_they_were(
        self, database: Database
    ) -> None:
        store = database.store(create_engine, deadline=NO_HURRY, pool_size=1, max_overflow=0)
        level = f"SELECT {LEVEL[database.driver.backend]}"
        with database.engine.connect() as connection:
            before = connection.exec_driver_sql(level).scalar()
        session = admitted(database.behind)
        store.find(session.locator)
        with database.engine.connect() as connection:
            assert connection.exec_driver_sql(level).scalar() == before
            connection.execute(tables.sessions.delete())
        assert store.find(session.locator) == session  # for that was not in autocommit

    @pytest.mark.parametrize("driver", [Driver("postgresql", "asyncpg", by_tasks=True)], ids=str)
    def test_a_transaction_that_somebody_left_open_hides_no_sign_out(
        self, database: Database
    ) -> None:
        store = database.store(
            create_async_engine,
            deadline=NO_HURRY,
            isolation_level="REPEATABLE READ",
            pool_size=1,
            pool_reset_on_return=None,
        )
        session = admitted(database.behind)

        def leave_it_open(connection: Connection) -> None:
            connection.execute(select(tables.sessions)).all()
            connection.connection.close()

        async def read() -> None:
            connection = await database.pool.connect()
            await connection.run_sync(leave_it_open)

        database.loop.call(read())
        database.behind.delete_user(ALICE)
        assert store.find(session.locator) is None

    @every_driver
    def test_whoever_adds_a_token_when_the_engine_connects_is_asked(
        self, database: Database
    ) -> None:
        make = create_async_engine if database.driver.by_tasks else create_engine
        store = database.store(make, deadline=NO_HURRY)
        session = admitted(database.behind)
        told: list[object] = []

        def add(_dialect: object, _record: object, _arguments: object, settings: Any) -> None:
            told.append(settings)

        event.listen(database.engine, "do_connect", add)
        assert store.find(session.locator) == session
        assert len(told) == 1

    @one_driver_each
    def test_so_is_whoever_connects_himself(self, database: Database) -> None:
        store = database.store(create_engine, deadline=NO_HURRY)
        session = admitted(database.behind)
        made: list[object] = []

        def connect(dialect: Any, _record: object, arguments: Any, settings: Any) -> Any:
            made.append(dialect.connect(*arguments, **settings))
            return made[-1]

        event.listen(database.engine, "do_connect", connect)
        assert store.find(session.locator) == session
        with database.engine.connect() as connection:
            assert connection.connection.dbapi_connection is made[0]

    @pytest.mark.parametrize("driver", [PSYCOPG], ids=str)
    def test_cursors_that_bind_their_parameters_themselves_cost_no_connection(
        self, database: Database
    ) -> None:
        store = database.store(
            create_engine,
            deadline=NO_HURRY,
            isolation_level="AUTOCOMMIT",
            connect_args={"cursor_factory": psycopg.ClientCursor},
        )
        session = admitted(database.behind)
        made: list[object] = []
        event.listen(database.engine, "connect", lambda *made_one: made.append(made_one))
        assert [store.find(session.locator) for _ in range(3)] == [session] * 3
        assert len(made) == 1

    @every_driver
    def test_whoever_listens_to_errors_hears_of_each(self, database: Database) -> None:
        store = database.store(deadline=NO_HURRY)
        session = admitted(database.behind)
        assert store.find(session.locator) == session
        told: list[object] = []
        event.listen(database.engine, "handle_error", told.append)
        try:
            database.server.execute("ALTER TABLE sessioncore_epochs RENAME TO e", database="test")
            with pytest.raises(StoreUnavailable, match="are its tables there"):
                store.find(session.locator)
        finally:
            database.server.execute("ALTER TABLE e RENAME TO sessioncore_epochs", database="test")
        assert len(told) == 1

    @pytest.mark.parametrize("driver", [each for each in DRIVERS if each.by_tasks], ids=str)
    def test_a_way_to_connect_of_one_s_own_makes_what_takes_the_place_of_the_lost(
        self, database: Database
    ) -> None:
        def make(url: str, **settings: Any) -> AsyncEngine:
            dialect = create_async_engine(url).dialect
            _, parameters = dialect.create_connect_args(make_url(url))
            parameters.pop("client_flag", None)
            module: Any = import_module(dialect.driver)

            async def connected() -> Any:
                if module is psycopg:
                    return await psycopg.AsyncConnection.connect(**parameters)
                return await module.connect(**parameters)

            return create_async_engine(
                url, async_creator=connected, isolation_level="AUTOCOMMIT", **settings
            )

        store = database.store(make, deadline=NO_HURRY, pool_size=2, max_overflow=0)
        session = admitted(database.behind)
        at_once([partial(store.find, session.locator)] * 4)
        database.server.restart()
        assert [store.find(session.locator) for _ in range(3)] == [session] * 3
        for _ in range(2):
            database.loop.call(invalidated(database.pool))
            assert store.find(session.locator) == session


async def invalidated(pool: AsyncEngine) -> None:
    """
    Have the connection that the pool would lend next made anew by whoever is next.
    """
    async with pool.connect() as connection:
        await connection.invalidate()


LEVEL = {
    "postgresql": "current_setting('transaction_isolation')",
    "mariadb": "@@tx_isolation",
}


def at_commit(database: Database, do: Callable[[], object]) -> None:
    """
    Do something once, when the store is about to send ``COMMIT``.
    """
    done: list[object] = []

    def once() -> None:
        if not done:
            done.append(None)
            done.append(do())

    def before(_c: object, _cursor: object, statement: str, *_rest: object) -> None:
        if statement == "COMMIT":
            once()

    def by_driver(_connection: Connection) -> None:
        once()

    event.listen(database.engine, "before_cursor_execute", before)
    if database.driver.backend == "mariadb":  # whose drivers send it themselves
        event.listen(database.engine, "commit", by_driver)


def at_statement(database: Database, verb: str, do: Callable[[], object], *, sent: bool) -> None:
    """
    Do something once, before or after the store has sent a statement that begins with *verb*.
    """
    done: list[object] = []

    def look(_c: object, _cursor: object, statement: str, *_rest: object) -> None:
        if statement.startswith(verb) and not done:
            done.append(None)
            done.append(do())

    event.listen(database.engine, "after_cursor_execute" if sent else "before_cursor_execute", look)


class TestOutcomes:
    @every_driver
    def test_a_lost_acknowledgement_of_a_commit_is_unknown(self, database: Database) -> None:
        store = database.store(deadline=NO_HURRY)
        session = admitted(store)
        at_commit(database, database.proxy.lose_next_reply)
        with pytest.raises(OutcomeUnknown) as failure:
            store.delete(session.locator)
        assert_it_says_nothing(failure.value)
        assert failure.value.__context__ is None
        # The server had done it.
        assert database.behind.find(session.locator) is None
        assert not store.delete(session.locator)

    @every_driver
    def test_a_commit_that_does_not_arrive_is_unknown(self, database: Database) -> None:
        store = database.store()
        session = admitted(database.behind)
        eventually(lambda: store.find(session.locator))  # so that it is connected
        at_commit(database, partial(database.proxy.become, Weather.BLACK_HOLE))
        given = answer(partial(store.delete, session.locator))
        assert isinstance(given.error, OutcomeUnknown)
        assert given.seconds < SOON
        database.proxy.become(Weather.FAIR)
        assert eventually(lambda: store.find(session.locator)) == session

    @every_driver
    def test_a_reply_that_is_lost_before_the_commit_costs_another_connection(
        self, database: Database
    ) -> None:
        store = database.store(deadline=NO_HURRY)
        session = admitted(store)
        at_statement(database, "UPDATE", database.proxy.lose_next_reply, sent=False)
        new = replace(session, stamp=b"stamp--2")
        assert store.replace(session, new)
        assert database.behind.find(session.locator) == new

    @every_driver
    def test_a_connection_that_is_lost_for_good_before_the_commit_wrote_nothing(
        self, database: Database
    ) -> None:
        store = database.store(deadline=NO_HURRY)
        session = admitted(store)
        at_statement(database, "UPDATE", partial(database.proxy.become, Weather.CUT), sent=True)
        another = session_in(session.locator.epoch, b"slot-2", b"stamp--2")
        with pytest.raises(StoreUnavailable) as failure:
            store.admit(another, (session.locator,), None, NOW)
        assert_it_says_nothing(failure.value)
        assert database.behind.roster(ALICE).sessions == (session,)

    @every_driver
    def test_a_connection_that_the_administrator_ends_is_replaced(self, database: Database) -> None:
        store = database.store(deadline=NO_HURRY)
        session = admitted(store)
        at_statement(database, "UPDATE", database.end_transactions, sent=True)
        another = session_in(session.locator.epoch, b"slot-2", b"stamp--2")
        assert store.admit(another, (session.locator,), None, NOW) is Admission.ADMITTED
        assert database.behind.roster(ALICE).sessions == (another,)

    @every_driver
    def test_a_restarted_server_needs_no_help(self, database: Database) -> None:
        store = database.store(deadline=NO_HURRY)
        session = admitted(store)
        at_once([partial(store.find, session.locator)] * 4)
        database.server.restart()
        assert store.find(session.locator) == session
        database.server.restart()
        assert store.delete(session.locator)

    @pytest.mark.parametrize("driver", DRIVERS[:3], ids=str)
    def test_what_a_driver_has_prepared_may_go_out_of_date(self, database: Database) -> None:
        of_policy = "ALTER TABLE sessioncore_sessions ALTER COLUMN policy TYPE"
        store = database.store(deadline=NO_HURRY)
        session = admitted(database.behind)
        for _ in range(8):  # until the drivers have prepared what they prepare
            at_once([partial(store.find, session.locator), partial(store.roster, ALICE)] * 2)
        try:
            database.server.execute(f"{of_policy} varchar(99)", database="test")
            for _ in range(4):
                assert store.roster(ALICE).sessions == (session,)
                assert store.find(session.locator) == session
        finally:
            database.server.execute(f"{of_policy} text", database="test")

    @pytest.mark.parametrize("driver", DRIVERS[:3], ids=str)
    def test_so_may_it_be_forgotten_by_the_server(self, database: Database) -> None:
        store = database.store(deadline=NO_HURRY)
        session = admitted(database.behind)
        for _ in range(8):
            assert store.find(session.locator) == session
        forget = "DO $$ BEGIN EXECUTE 'DEALLOCATE ALL'; END $$"

        async def forget_by_task() -> None:
            async with database.pool.connect() as connection:
                await connection.exec_driver_sql(forget)

        if database.driver.by_tasks:
            database.loop.call(forget_by_task())
        else:
            with database.engine.connect() as connection:
                connection.exec_driver_sql(forget)
        assert store.find(session.locator) == session
        assert store.find(session.locator) == session

    @one_driver_each
    def test_a_deadlock_repeats_one_of_the_transactions(self, database: Database) -> None:
        database.store(deadline=NO_HURRY)
        users = [Subject.user("first"), Subject.user("second")]
        for user in users:
            database.behind.open_epoch(user, NOW, LOGIN_WINDOW)
        keys = [tables.epochs.c.user_id == user.user_id for user in users]
        both = threading.Barrier(2)
        begun = itertools.count()

        def lock(first: int) -> str:
            def work(connection: Connection) -> str:
                for number, key in enumerate((keys[first], keys[1 - first])):
                    connection.execute(
                        tables.epochs.update()
                        .where(key)
                        .values(open_until=tables.epochs.c.open_until + 1)
                    )
                    if number == 0 and next(begun) < 2:
                        both.wait(LIMIT)
                return "done"

            with database.admin.connect() as connection:
                return _transaction.write(connection, work)

        assert race([partial(lock, 0), partial(lock, 1)]) == ["done", "done"]
        assert next(begun) >= 3

    @pytest.mark.parametrize("driver", [d for d in DRIVERS if d.backend == "mariadb"], ids=str)
    def test_a_value_larger_than_a_packet_is_unavailable(self, database: Database) -> None:
        store = database.store(deadline=NO_HURRY)
        session = admitted(store)
        with pytest.raises(StoreUnavailable):
            store.write_data(session.locator, a_change(bytes(1 << 21)))
        assert store.read_data(session.locator) == {}
        assert store.write_data(session.locator, a_change(b"1")) is DataWrite.WRITTEN


class TestLocks:
    @every_driver
    def test_whoever_waits_too_long_for_a_lock_wrote_nothing(self, database: Database) -> None:
        store = database.store()
        session = admitted(database.behind)
        with database.locked():
            given = answer(lambda: store.delete_user(ALICE))
            assert isinstance(given.error, StoreUnavailable)
            assert given.seconds < SOON
            assert eventually(lambda: store.find(session.locator)) == session
        assert database.behind.delete_user(ALICE) == 1

    @one_driver_each
    def test_a_client_that_is_stopped_loses_its_locks(self, database: Database) -> None:
        seconds = timedelta(seconds=2)
        url = database.server.url(database.driver.name, "test")
        stopped, going_on = (new_engine(url, deadline=each) for each in (seconds, NO_HURRY))
        store = SqlSessionStore(going_on, deadline=NO_HURRY)
        session = admitted(store)
        with stopped.connect() as connection:
            hold_alice(connection)
            assert store.delete_user(ALICE) == 1
            connection.invalidate()
        assert store.find(session.locator) is None
        for engine in (stopped, going_on):
            engine.dispose()

    @one_driver_each
    def test_two_purges_at_once_do_not_wait_and_delete_everything_once(
        self, database: Database
    ) -> None:
        slow = database.store(deadline=NO_HURRY)
        epoch = slow.open_epoch(ALICE, NOW, LOGIN_WINDOW)
        for number in range(6):
            session = session_in(epoch, f"slot-{number}".encode(), f"stamp--{number}".encode())
            assert slow.admit(session, (), None, NOW) is Admission.ADMITTED
        later = NOW + timedelta(days=1)
        answers: list[object] = []
        # While the one has deleted its batch and not committed, the other deletes its own.
        at_commit(database, lambda: answers.append(database.behind.purge(later, 3)))
        first = slow.purge(later, 3)
        assert [first.sessions, first.more] == [3, True]
        assert answers == [first]
        rest = slow.purge(later, 3)
        assert [rest.sessions, rest.epochs, rest.more] == [0, 1, False]
        assert database.behind.roster(ALICE).version == b""


class TestStatements:
    @every_driver
    def test_recognising_a_session_is_one_statement(self, database: Database) -> None:
        store = database.store(deadline=NO_HURRY)
        session = admitted(store)
        for _ in range(8):  # until the drivers have prepared what they prepare
            store.find(session.locator)
        before = len(database.statements())
        assert store.find(session.locator) == session
        sent = database.statements()[before:]
        assert len(sent) == 1
        assert sent[0].startswith("SELECT")

    @every_driver
    def test_it_is_asked_of_the_driver_itself(self, database: Database) -> None:
        database.store(deadline=NO_HURRY)
        session = admitted(database.behind)
        assert found(shortly(database, session)) == session  # over a new connection
        assert found(shortly(database, session)) == session  # over one from the pool
        unknown = replace(session, locator=replace(session.locator, slot=b"slot-9"))
        assert list(shortly(database, unknown)) == []

    @every_driver
    def test_so_is_a_session_with_its_data_and_in_one_statement(self, database: Database) -> None:
        store = database.store(deadline=NO_HURRY)
        session = admitted(store)
        store.write_data(session.locator, a_change(b"1"))
        both = (session, store.read_data(session.locator))
        asked = shortly(database, session, FIND_WITH_DATA)
        assert found_with_data(asked) == both
        for _ in range(8):
            store.find_with_data(session.locator)
        before = len(database.statements())
        assert store.find_with_data(session.locator) == both
        assert len(database.statements()) == before + 1

    @pytest.mark.parametrize(
        "settings",
        [
            {},
            {"isolation_level": "SERIALIZABLE"},
            {"pool_pre_ping": True},
            {"pool_recycle": 0},
            {"pool_reset_on_return": "commit"},
            {"pool_size": 1, "max_overflow": 0},
            {"poolclass": NullPool},
        ],
        ids=str,
    )
    @every_driver
    def test_every_engine_finds_the_same(
        self, database: Database, settings: dict[str, Any]
    ) -> None:
        make = create_async_engine if database.driver.by_tasks else create_engine
        store = database.store(make, deadline=NO_HURRY, **settings)
        session = admitted(database.behind)
        assert [store.find(session.locator) for _ in range(3)] == [session] * 3
        given = at_once([partial(store.find, session.locator)] * 8)
        assert [each.value for each in given] == [session] * 8

    @every_driver
    def test_so_it_is_over_an_engine_in_autocommit(self, database: Database) -> None:
        make = create_async_engine if database.driver.by_tasks else create_engine
        store = database.store(
            make, deadline=NO_HURRY, isolation_level="AUTOCOMMIT", skip_autocommit_rollback=True
        )
        session = admitted(store)
        for _ in range(8):
            store.find(session.locator)
        before = len(database.statements())
        assert store.find(session.locator) == session
        assert len(database.statements()) == before + 1

    @every_driver
    def test_a_replacement_is_a_transaction_of_one_statement(self, database: Database) -> None:
        store = database.store(deadline=NO_HURRY)
        session = admitted(store)
        before = len(database.statements())
        assert store.replace(session, replace(session, stamp=b"stamp--2"))
        verbs = [statement.split()[0] for statement in database.statements()[before:]]
        assert verbs in (["BEGIN", "UPDATE", "COMMIT"], ["START", "UPDATE", "COMMIT"])


class TestIndexes:
    @pytest.mark.parametrize("backend", ["sqlite", "postgresql", "mariadb"])
    def test_no_statement_reads_a_whole_table(
        self, backend: str, request: pytest.FixtureRequest, tmp_path: Path
    ) -> None:
        with ExitStack() as stack:
            engine = new_engine(
                f"sqlite:///{tmp_path}/sessions.db"
                if backend == "sqlite"
                else new_database(request, stack, backend)
            )
            stack.callback(engine.dispose)
            store = SqlSessionStore(engine)
            store.create_schema()
            fill(engine)
            sent: list[tuple[str, Any]] = []

            def note(
                _c: object, _cursor: object, statement: str, parameters: Any, _x: object, many: bool
            ) -> None:
                if statement.startswith(("SELECT", "UPDATE", "DELETE")):
                    sent.append((statement, parameters[0] if many else parameters))

            event.listen(engine, "before_cursor_execute", note)
            session = admitted(store)
            assert store.replace(session, replace(session, stamp=b"stamp--2"))
            for call in (*READS, *WRITES):
                call(store, session)
            assert store.purge(NOW, 10).sessions == 10
            assert store.purge(NOW, 1000).epochs > 10
            event.remove(engine, "before_cursor_execute", note)
            assert len(sent) > 30
            with engine.connect() as connection:
                for statement, parameters in sent:
                    assert not whole_table(connection, statement, parameters), statement


def new_database(request: pytest.FixtureRequest, stack: ExitStack, backend: str) -> str:
    name = "postgres" if backend == "postgresql" else "mariadb"
    server = cast("Server", request.getfixturevalue(name))
    server.execute("CREATE DATABASE indexed")
    stack.callback(server.execute, "DROP DATABASE indexed")
    return server.url(DRIVER_OF[backend], "indexed")


def fill(engine: Engine) -> None:
    """
    Write as many rows as it takes for a database to prefer its indexes.
    """
    epochs: list[dict[str, object]] = []
    sessions: list[dict[str, object]] = []
    for number in range(3000):
        session = session_in(Epoch(number.to_bytes(16)))
        due = number % 100 == 0
        until = NOW + timedelta(days=-1 if due else 1)
        epochs.append(
            {
                "subject_key_hash": number.to_bytes(32),
                "subject_key": b"key",
                "epoch": session.locator.epoch,
                "version": bytes(8),
                "open_until": milliseconds(until),
            }
        )
        sessions.append(
            {
                "epoch": session.locator.epoch,
                "slot": session.locator.slot,
                **encode_session(replace(session, keep_until=until)),
            }
        )
    with engine.begin() as connection:
        connection.execute(tables.epochs.insert(), epochs)
        connection.execute(tables.sessions.insert(), sessions)
        names = ", ".join(table.name for table in (tables.epochs, tables.sessions, tables.data))
        for command in {"sqlite": ["ANALYZE"], "postgresql": [f"ANALYZE {names}"]}.get(
            engine.dialect.name, [f"ANALYZE TABLE {names}"]
        ):
            connection.exec_driver_sql(command).close()


def whole_table(connection: Connection, statement: str, parameters: Any) -> bool:
    """
    Whether the database would read all of a table that has many rows.
    """
    if connection.dialect.name == "sqlite":
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
        return any(re.match(r"SCAN (?!CONSTANT)", row.detail) for row in plan)
    plan = connection.exec_driver_sql(f"EXPLAIN {statement}", parameters).all()
    if connection.dialect.name == "postgresql":
        # Of the table of data, which is all but empty, it may read the one page.
        lines = [line for (line,) in plan if "Seq Scan" in line]
        return any(tables.data.name not in line for line in lines)
    return any(row.type in {"ALL", "index"} and row.table != tables.data.name for row in plan)


@pytest.mark.parametrize("driver", [Driver("postgresql", "asyncpg", by_tasks=True)], ids=str)
def test_what_asyncpg_raises_while_it_connects_is_an_outage(database: Database) -> None:
    # SQLAlchemy wraps nothing of it. So does a server that hangs up just then.
    def hang_up(*_: object) -> None:
        raise driver.InterfaceError("connection is closed")

    store = database.store()
    driver: Any = getattr(database.engine.dialect.loaded_dbapi, "asyncpg")  # noqa: B009 - untyped
    event.listen(database.engine, "connect", hang_up)
    with pytest.raises(StoreUnavailable):
        store.find(Locator(Epoch(bytes(16)), bytes(6)))
