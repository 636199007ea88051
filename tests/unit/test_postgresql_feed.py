"""
What changes in PostgreSQL is told, and nothing is called complete that is not: a real server.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from feeds import (
    BRIEFLY,
    CHANGES,
    NO_HURRY,
    PATIENCE,
    SLACK,
    Ear,
    Followed,
    followed,
    hammering,
    is_recalled,
    tells,
    topic_of,
    was_never_complete_too_soon,
)
from near_caches import is_soon
from redis_sessions import ALICE, NOW, WINDOW, a_change, sign_in, touched
from sqlalchemy import Engine, create_engine

from servers import PostgresServer, Proxy, Weather
from sessioncore.errors import StoreUnavailable
from sessioncore.ports import SessionStore
from sessioncore.testing.race import race
from sessioncore_near_cache import NearCache
from sessioncore_sql import (
    AsyncSqlSessionStore,
    SqlSessionStore,
    new_async_engine,
    new_engine,
)
from sessioncore_sql._feed import PostgresInvalidationFeed

MARKER = "marker-that-must-not-leak"

Operator = Callable[..., list[tuple[Any, ...]]]
"""Runs statements as the administrator of the database."""


@contextmanager
def connected(url: str) -> Generator[Engine]:
    engine = new_engine(url, deadline=NO_HURRY)
    try:
        yield engine
    finally:
        engine.dispose()


@pytest.fixture(scope="module")
def server(postgresql: PostgresServer) -> PostgresServer:
    postgresql.execute("DROP DATABASE IF EXISTS feeds", "CREATE DATABASE feeds")
    return postgresql


@pytest.fixture
def operator(server: PostgresServer) -> Operator:
    return lambda *statements: server.execute(*statements, database="feeds")


@pytest.fixture(scope="module")
def engine(server: PostgresServer) -> Iterator[Engine]:
    with connected(server.url("psycopg", "feeds")) as engine:
        SqlSessionStore(engine, deadline=NO_HURRY).create_schema()
        PostgresInvalidationFeed(engine).install()
        yield engine


@pytest.fixture
def store(engine: Engine, operator: Operator) -> SessionStore:
    operator("DELETE FROM sessioncore_sessions", "DELETE FROM sessioncore_epochs")
    return SqlSessionStore(engine, deadline=NO_HURRY)


@pytest.fixture
def feed(engine: Engine) -> PostgresInvalidationFeed:
    return PostgresInvalidationFeed(engine)


def listeners(operator: Operator) -> object:
    """
    How many connections of the server are told what changes.
    """
    ((count,),) = operator(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = 'feeds' AND query LIKE 'SELECT pg_notify(''sessioncore_%'"
    )
    return count


# -- What is told ----------------------------------------------------------------------


@pytest.mark.parametrize("change", CHANGES)
def test_what_another_changes_is_told_before_the_feed_is_complete_again(
    change: str, feed: PostgresInvalidationFeed, store: SessionStore
) -> None:
    tells(feed, store, CHANGES[change])


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM sessioncore_sessions",
        "DELETE FROM sessioncore_epochs",
        "UPDATE sessioncore_sessions SET current_digest = sha256(current_digest)",
        "UPDATE sessioncore_sessions SET policy = 'strict'",
        "UPDATE sessioncore_epochs SET epoch = decode(md5(random()::text), 'hex')",
    ],
)
def test_so_is_what_an_operator_does(
    statement: str, feed: PostgresInvalidationFeed, store: SessionStore, operator: Operator
) -> None:
    tells(feed, store, lambda _store, _session: operator(statement))


@pytest.mark.parametrize("table", ["sessioncore_sessions", "sessioncore_epochs"])
def test_emptying_a_table_at_once_puts_everything_in_doubt(
    table: str, feed: PostgresInvalidationFeed, store: SessionStore, operator: Operator
) -> None:
    sign_in(store)
    with followed(feed) as ear:
        operator(f"TRUNCATE {table}")
        ear.wait_until_complete()
        assert None in ear.told


def test_being_seen_is_not_told(feed: PostgresInvalidationFeed, store: SessionStore) -> None:
    session = sign_in(store)
    with followed(feed) as ear:
        later = NOW + timedelta(minutes=5)
        assert store.replace(session, touched(session, last_seen_at=later, keep_until=later))
        ear.wait_until_complete()
        assert ear.topics == []


def test_neither_are_a_sign_in_and_session_data(
    feed: PostgresInvalidationFeed, store: SessionStore
) -> None:
    with followed(feed) as ear:
        session = sign_in(store)
        store.write_data(session.locator, a_change(colour=b'"red"'))
        ear.wait_until_complete()
        assert ear.topics == []


def test_nothing_is_complete_before_what_was_written_by_then_is_told(
    server: PostgresServer,
    feed: PostgresInvalidationFeed,
    store: SessionStore,
    operator: Operator,
) -> None:
    hammer = """
import select, sys, time
import psycopg
said = []
with psycopg.connect(sys.argv[1], autocommit=True) as connection:
    print("begun", flush=True)
    for (epoch,) in connection.execute("SELECT epoch FROM sessioncore_epochs").fetchall():
        if select.select([sys.stdin], [], [], 0)[0]:
            break
        connection.execute("DELETE FROM sessioncore_epochs WHERE epoch = %s", [epoch])
        said.append(f"{epoch.hex()} {time.monotonic()!r}")
print("\\n".join(said))
"""
    store.open_epoch(ALICE, NOW, WINDOW)
    operator(
        "CREATE TEMP TABLE many AS SELECT * FROM sessioncore_epochs, generate_series(1, 500) n",
        "UPDATE many SET epoch = decode(md5(n::text), 'hex'),"
        " subject_key_hash = sha256(n::text::bytea)",
        "ALTER TABLE many DROP COLUMN n",
        "INSERT INTO sessioncore_epochs SELECT * FROM many",
    )
    url = server.url("psycopg", "feeds").replace("+psycopg", "")
    with followed(feed, heartbeat=0.001) as ear, hammering(hammer, url) as written:
        ear.wait_until(lambda: len(ear.topics) > 400)
        writes = written()
        ear.wait_until_complete()
        assert was_never_complete_too_soon(ear, writes)


# -- Triggers --------------------------------------------------------------------------


def test_installing_again_tells_no_more_often(
    feed: PostgresInvalidationFeed, store: SessionStore
) -> None:
    feed.install()
    feed.install()
    session = sign_in(store)
    with followed(feed) as ear:
        store.delete(session.locator)
        ear.wait_until_complete()
        assert ear.topics == [topic_of(feed, session)]


def test_without_tables_nothing_is_installed(server: PostgresServer) -> None:
    # The default database has none.
    with (
        connected(server.url("psycopg", "template1")) as engine,
        pytest.raises(StoreUnavailable, match="triggers"),
    ):
        PostgresInvalidationFeed(engine).install()


def test_who_may_not_install_learns_nothing_secret(
    server: PostgresServer, engine: Engine, operator: Operator
) -> None:
    operator("DROP ROLE IF EXISTS web", f"CREATE ROLE web LOGIN PASSWORD '{MARKER}'")
    url = server.url("psycopg", "feeds").replace("postgres@", f"web:{MARKER}@")
    with connected(url) as theirs, pytest.raises(StoreUnavailable) as raised:
        PostgresInvalidationFeed(theirs).install()
    told = "".join(traceback.format_exception(raised.value))
    assert MARKER not in told


@pytest.mark.parametrize(
    "mischief",
    [
        "DROP TRIGGER sessioncore_session_ended ON sessioncore_sessions",
        "ALTER TABLE sessioncore_sessions DISABLE TRIGGER ALL",
        "DROP FUNCTION sessioncore_tell CASCADE",
    ],
)
def test_without_triggers_nothing_is_complete(
    mischief: str, feed: PostgresInvalidationFeed, store: SessionStore, operator: Operator
) -> None:
    operator(mischief)
    ear = Followed(feed, heartbeat=0.02, patience=BRIEFLY)
    try:
        is_soon(lambda: ear.is_over or bool(ear.told))
        assert ear.told == []
    finally:
        ear.has_enough = True
        ear.wait_for_the_end(PATIENCE)
        operator("ALTER TABLE sessioncore_sessions ENABLE TRIGGER ALL")
        feed.install()


def test_when_the_tables_are_made_anew_nothing_is_complete(
    feed: PostgresInvalidationFeed, store: SessionStore, operator: Operator, engine: Engine
) -> None:
    with followed(feed, patience=BRIEFLY) as ear:
        operator("DROP TABLE sessioncore_sessions")
        try:
            ear.wait_for_the_end(4 * BRIEFLY)
        finally:
            SqlSessionStore(engine, deadline=NO_HURRY).create_schema()
            feed.install()


def test_triggers_that_were_away_for_a_while_prove_nothing(
    feed: PostgresInvalidationFeed, store: SessionStore, operator: Operator
) -> None:
    session = sign_in(store)
    try:
        with followed(feed, heartbeat=0.5) as ear:
            before = len(ear.told)
            operator("ALTER TABLE sessioncore_sessions DISABLE TRIGGER ALL")
            store.delete(session.locator)
            operator(
                "ALTER TABLE sessioncore_sessions ENABLE TRIGGER ALL",
                *(
                    f"ALTER TABLE sessioncore_sessions ENABLE ALWAYS TRIGGER sessioncore_{name}"
                    for name in ("session_changed", "session_ended", "sessions_ended")
                ),
            )
            ear.breaks(SLACK)
            assert ear.told[before:] == []
    finally:
        feed.install()


def test_who_has_switched_triggers_off_for_himself_is_told_of_as_well(
    feed: PostgresInvalidationFeed, store: SessionStore, operator: Operator
) -> None:
    # As replication does, and whoever copies many rows.
    tells(
        feed,
        store,
        lambda _store, _session: operator(
            "SET session_replication_role = replica", "DELETE FROM sessioncore_sessions"
        ),
    )


def test_any_number_may_install_at_once(engine: Engine) -> None:
    race([PostgresInvalidationFeed(engine).install] * 6)


def test_installing_waits_for_writers_and_readers_do_not_wait_for_it(
    feed: PostgresInvalidationFeed, store: SessionStore, engine: Engine, operator: Operator
) -> None:
    session = sign_in(store)
    installing = threading.Thread(target=feed.install)
    with engine.connect() as writer:
        writer.exec_driver_sql("BEGIN")
        # In the order in which the stores write.
        writer.exec_driver_sql("UPDATE sessioncore_epochs SET version = version")
        installing.start()
        is_soon(lambda: operator("SELECT count(*) FROM pg_locks WHERE NOT granted") != [(0,)])
        assert store.find(session.locator) == session
        writer.exec_driver_sql("UPDATE sessioncore_sessions SET stamp = stamp")
        assert installing.is_alive()
        writer.exec_driver_sql("COMMIT")
    installing.join(PATIENCE)
    assert not installing.is_alive()


# -- What is refused -------------------------------------------------------------------


def test_an_engine_for_asyncio_is_refused() -> None:
    untyped_engine: Any = new_async_engine("postgresql+asyncpg://nobody@127.0.0.1/none")
    with pytest.raises(TypeError, match="Engine"):
        PostgresInvalidationFeed(untyped_engine)


@pytest.mark.parametrize(
    "url",
    ["sqlite://", "mysql+pymysql://nobody@127.0.0.1/none", "postgresql+asyncpg://nobody@/none"],
)
def test_an_engine_of_something_else_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="PostgreSQL"):
        PostgresInvalidationFeed(create_engine(url))


# -- What breaks -----------------------------------------------------------------------


@pytest.fixture
def proxy(server: PostgresServer) -> Iterator[Proxy]:
    with Proxy(server.port) as proxy:
        yield proxy


@pytest.fixture
def far_feed(
    server: PostgresServer, proxy: Proxy, store: SessionStore
) -> Iterator[PostgresInvalidationFeed]:
    with connected(server.url("psycopg", "feeds", proxy.port)) as engine:
        yield PostgresInvalidationFeed(engine)


def test_a_server_that_is_not_there_is_unavailable(
    proxy: Proxy, far_feed: PostgresInvalidationFeed
) -> None:
    proxy.become(Weather.CUT)
    ear = Ear()
    with pytest.raises(StoreUnavailable):
        far_feed.follow(ear)
    assert ear.told == []


def test_a_connection_that_is_cut_breaks_it_at_once(
    far_feed: PostgresInvalidationFeed, proxy: Proxy
) -> None:
    with followed(far_feed) as ear:
        proxy.cut()
        ear.breaks(SLACK)


def test_so_does_one_that_the_administrator_ends(
    feed: PostgresInvalidationFeed, operator: Operator
) -> None:
    with followed(feed) as ear:
        operator(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = 'feeds' AND pid <> pg_backend_pid()"
        )
        ear.breaks(SLACK)


@pytest.mark.parametrize("weather", [Weather.BLACK_HOLE, Weather.REPLIES_LOST, Weather.DRIP])
def test_silence_breaks_it_when_its_patience_is_over(
    far_feed: PostgresInvalidationFeed, proxy: Proxy, weather: Weather
) -> None:
    with followed(far_feed, patience=BRIEFLY) as ear:
        proxy.become(weather)
        began = ear.now()
        ear.breaks(BRIEFLY + SLACK)
        # What was on its way then is a proof until then and no longer.
        assert all(until <= began for until in ear.instants[:-1])


def test_a_server_that_is_frozen_breaks_it_when_its_patience_is_over(
    server: PostgresServer, feed: PostgresInvalidationFeed
) -> None:
    with followed(feed, patience=BRIEFLY) as ear:
        server.stop()
        try:
            frozen = ear.now()
            ear.breaks(BRIEFLY + SLACK)
        finally:
            server.cont()
        assert max(ear.instants) <= frozen


def test_a_near_cache_drops_all_when_the_server_is_killed_and_goes_on_when_it_is_back(
    server: PostgresServer, feed: PostgresInvalidationFeed, store: SessionStore
) -> None:
    with NearCache(store, feed, max_staleness=timedelta(seconds=1)) as near:
        session = sign_in(near)
        is_soon(lambda: is_recalled(near, session))
        server.kill()
        try:
            is_soon(lambda: near.statistics().doubts == 1)
            assert near.recall(session.locator) is None
            assert near.statistics().copies == 0
        finally:
            server.start()
        is_soon(lambda: is_recalled(near, session))


class Picky(Proxy):
    """
    Forwards some of the messages of a server, and swallows the others.
    """

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self._unread = b""
        self._weather = Weather.DRIP

    def passes(self, message: bytes) -> bool:
        raise NotImplementedError

    async def _drip(self, chunk: bytes, sink: asyncio.StreamWriter) -> None:
        heard = b""
        self._unread += chunk
        while len(self._unread) > 4:
            size = 1 + int.from_bytes(self._unread[1:5], "big")
            if len(self._unread) < size:
                break
            message, self._unread = self._unread[:size], self._unread[size:]
            if self.passes(message):
                heard += message
        sink.write(heard)


class Pooler(Picky):
    """
    What a pooler that shares connections between transactions is for its clients: statements
    are answered, and notifications go to whoever has the connection by then.
    """

    def passes(self, message: bytes) -> bool:
        return message[:1] != b"A"


class Interrupted(Picky):
    """
    A network that fails in the middle of the answer to LISTEN.
    """

    halted = False

    def passes(self, message: bytes) -> bool:
        passes = not self.halted
        self.halted = self.halted or message[5:] == b"LISTEN\0"
        return passes


def test_behind_a_pooler_nothing_is_ever_complete(
    server: PostgresServer, store: SessionStore
) -> None:
    ear = Ear(patience=BRIEFLY)
    with Pooler(server.port) as pooler:
        url = server.url("psycopg", "feeds", pooler.port)
        with (
            connected(f"{url}?sslmode=disable&gssencmode=disable") as engine,
            pytest.raises(StoreUnavailable, match="in time"),
        ):
            PostgresInvalidationFeed(engine).follow(ear)
    assert ear.told == []


def test_half_an_answer_holds_nobody_up(server: PostgresServer, store: SessionStore) -> None:
    # In a process of its own: where libpq waits, no thread of its process goes on.
    following = """
import sys
from datetime import timedelta
from feeds import BRIEFLY, NO_HURRY, Ear
from sessioncore.errors import StoreUnavailable
from sessioncore_sql import new_engine
from sessioncore_sql._feed import PostgresInvalidationFeed
feed = PostgresInvalidationFeed(new_engine(sys.argv[1], deadline=NO_HURRY))
print("begun", flush=True)
try:
    feed.follow(Ear(patience=BRIEFLY))
except StoreUnavailable:
    print("unavailable")
"""
    with Interrupted(server.port) as network:
        url = server.url("psycopg", "feeds", network.port)
        command = [sys.executable, "-c", following, f"{url}?sslmode=disable&gssencmode=disable"]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env=environment
        ) as process:
            try:
                assert process.stdout is not None
                assert process.stdout.readline() == "begun\n"
                said, _ = process.communicate(timeout=BRIEFLY + SLACK)
            finally:
                process.kill()
    assert said == "unavailable\n"


# -- What is left ----------------------------------------------------------------------


def test_who_has_heard_enough_leaves_no_connection(
    feed: PostgresInvalidationFeed, operator: Operator
) -> None:
    with followed(feed):
        assert listeners(operator) == 1
    is_soon(lambda: listeners(operator) == 0)


def test_one_that_broke_leaves_no_connection(
    far_feed: PostgresInvalidationFeed, proxy: Proxy, operator: Operator
) -> None:
    with followed(far_feed, patience=BRIEFLY) as ear:
        proxy.become(Weather.REPLIES_LOST)
        ear.breaks(BRIEFLY + SLACK)
        proxy.become(Weather.FAIR)
        is_soon(lambda: listeners(operator) == 0)


def test_closing_a_near_cache_leaves_neither_a_connection_nor_a_thread(
    feed: PostgresInvalidationFeed, store: SessionStore, operator: Operator
) -> None:
    before = threading.active_count()
    with NearCache(store, feed, max_staleness=timedelta(seconds=1)) as near:
        session = sign_in(near)
        is_soon(lambda: is_recalled(near, session))
        assert listeners(operator) == 1
        assert threading.active_count() == before + 1
    is_soon(lambda: listeners(operator) == 0)
    assert threading.active_count() == before


def test_it_takes_no_connection_from_the_pool(server: PostgresServer, store: SessionStore) -> None:
    url = server.url("psycopg", "feeds")
    engine = create_engine(url, pool_size=1, max_overflow=0)
    try:
        with followed(PostgresInvalidationFeed(engine)), engine.connect() as connection:
            assert connection.exec_driver_sql("SELECT 1").scalar() == 1
    finally:
        engine.dispose()


def test_a_forked_process_listens_for_itself(
    server: PostgresServer, operator: Operator, store: SessionStore
) -> None:
    with connected(server.url("psycopg", "feeds")) as engine:
        feed = PostgresInvalidationFeed(engine)
        mine = SqlSessionStore(engine, deadline=NO_HURRY)
        near = NearCache(mine, feed, max_staleness=timedelta(seconds=1))
        session = sign_in(near)
        is_soon(lambda: is_recalled(near, session))
        told, tell = os.pipe()
        pid = os.fork()
        if pid == 0:
            # Whatever happens here, no test of the parent's must go on in the child.
            try:
                engine.dispose(close=False)
                fine = near.recall(session.locator) is None
                is_soon(lambda: is_recalled(near, session))
                os.write(tell, b"+")
                is_soon(lambda: near.recall(session.locator) is None)
                os._exit(0 if fine else 1)
            finally:
                os._exit(2)
        assert os.read(told, 1) == b"+"
        assert listeners(operator) == 2
        store.delete(session.locator)
        is_soon(lambda: near.recall(session.locator) is None)
        _, status = os.waitpid(pid, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        near.close()
        for pipe in (told, tell):
            os.close(pipe)
    is_soon(lambda: listeners(operator) == 0)


# -- The store's own feed --------------------------------------------------------


def test_a_store_makes_the_feed_of_its_own_engine(engine: Engine) -> None:
    assert SqlSessionStore(engine).invalidation_feed().engine is engine


def test_a_store_for_asyncio_makes_the_feed_of_an_engine_of_the_same_database(
    engine: Engine,
) -> None:
    store = AsyncSqlSessionStore(new_async_engine(engine.url.set(drivername="postgresql+asyncpg")))
    assert store.invalidation_feed(engine).engine is engine
    elsewhere = new_engine(engine.url.set(database="another"))
    with pytest.raises(ValueError, match="engine"):
        store.invalidation_feed(elsewhere)


def test_a_store_on_sqlite_makes_no_feed(tmp_path: Path) -> None:
    store = SqlSessionStore(new_engine(f"sqlite:///{tmp_path / 'sessions.db'}"))
    with pytest.raises(ValueError, match="engine"):
        store.invalidation_feed()
