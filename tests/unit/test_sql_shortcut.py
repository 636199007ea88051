"""
The shortcut below SQLAlchemy: when it is taken, and that nobody can tell the difference.

What it does on servers, in their tests: ``test_sql_on_servers.py``.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from sessioncore.errors import StoreUnavailable
from sessioncore.ports import Admission
from sessioncore.session import Locator, Session, Subject
from sessioncore_sql import AsyncSqlSessionStore, SqlSessionStore, new_async_engine, new_engine
from sessioncore_sql._deadline import Call
from sessioncore_sql._sessions import found, key_of
from sessioncore_sql._shortcut import DETOUR

ALICE = Subject.user("alice")
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.fixture
def file(quick_folder: Path) -> Path:
    return quick_folder / "sessions.db"


@pytest.fixture
def session(file: Path) -> Session:
    """
    A session that is in the file.
    """
    engine = new_engine(f"sqlite:///{file}")
    store = SqlSessionStore(engine)
    store.create_schema()
    session = Session(
        locator=Locator(store.open_epoch(ALICE, NOW, timedelta(minutes=10)), b"slot-1"),
        subject=ALICE,
        policy="default",
        methods=("pwd",),
        created_at=NOW,
        authenticated_at=NOW,
        changed_at=NOW,
        last_seen_at=NOW,
        keep_until=NOW + timedelta(hours=1),
        family=b"family--",
        current=b"current-digest-of-32-bytes------",
        stamp=b"stamp--1",
    )
    assert store.admit(session, (), None, NOW) is Admission.ADMITTED
    engine.dispose()
    return session


@pytest.fixture
def engine(file: Path) -> Iterator[Engine]:
    engine = create_engine(f"sqlite:///{file}")
    yield engine
    engine.dispose()


def short(engine: Engine, session: Session) -> Any:
    """
    What the shortcut says.
    """
    call = Call(timedelta(seconds=5))
    return SqlSessionStore(engine)._to_find.rows(call, key_of(session.locator))


class TestWhenItIsTaken:
    def test_it_is_taken_on_an_engine_as_it_comes(self, engine: Engine, session: Session) -> None:
        assert found(short(engine, session)) == session

    def test_so_it_is_with_a_pool_that_keeps_nothing(self, file: Path, session: Session) -> None:
        engine = create_engine(f"sqlite:///{file}", poolclass=NullPool)
        assert found(short(engine, session)) == session

    @pytest.mark.parametrize("make", [create_async_engine, new_async_engine])
    def test_so_it_is_by_asyncio(
        self, file: Path, session: Session, make: Callable[..., Any]
    ) -> None:
        async def find() -> Any:
            engine = make(f"sqlite+aiosqlite:///{file}")
            shortcut = AsyncSqlSessionStore(engine)._to_find
            rows = [
                await shortcut.rows(Call(timedelta(seconds=5)), key_of(session.locator))
                for _ in range(2)
            ]
            await engine.dispose()
            return rows

        assert [found(row) for row in asyncio.run(find())] == [session, session]

    @pytest.mark.parametrize(
        "name",
        [
            "engine_connect",
            "begin",
            "rollback",
            "before_execute",
            "after_execute",
            "before_cursor_execute",
            "after_cursor_execute",
            "do_execute",
        ],
    )
    def test_it_is_not_while_somebody_listens(
        self, engine: Engine, session: Session, name: str
    ) -> None:
        told: list[object] = []

        def listen(*arguments: Any) -> None:
            told.append(arguments)

        assert short(engine, session) is not DETOUR
        event.listen(engine, name, listen)
        assert short(engine, session) is DETOUR
        assert SqlSessionStore(engine).find(session.locator) == session
        assert told

    def test_it_is_not_while_statements_are_logged(
        self, engine: Engine, session: Session, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.INFO, logger="sqlalchemy.engine.Engine"):
            assert SqlSessionStore(engine).find(session.locator) == session
        assert "SELECT" in caplog.text

    def test_an_engine_s_options_hold(self, file: Path, session: Session) -> None:
        engine = create_engine("sqlite:///" + str(file.with_name("another.db")))

        def attach(connection: Any, _record: object) -> None:
            connection.execute("ATTACH DATABASE ? AS elsewhere", (str(file),))

        event.listen(engine, "connect", attach)
        translated = engine.execution_options(schema_translate_map={None: "elsewhere"})
        assert SqlSessionStore(translated).find(session.locator) == session
        engine.dispose()

    def test_it_is_not_over_a_connection_that_is_in_a_transaction(
        self, engine: Engine, session: Session
    ) -> None:
        def begin(connection: Any, *_: object) -> None:
            connection.execute("BEGIN")

        event.listen(engine, "checkout", begin)
        assert short(engine, session) is DETOUR


class Interrupted(sqlite3.Connection):
    """
    A connection that is interrupted before it reads.
    """

    def cursor(self, *_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt


class Broken(sqlite3.Connection):
    """
    A connection by which nothing can be read.
    """

    def cursor(self, *_: Any, **__: Any) -> Any:
        raise sqlite3.ProgrammingError("Cannot operate on a closed database.")


def only_at_first(engine: Engine, kind: type[sqlite3.Connection]) -> list[object]:
    """
    Let the first connection that the engine makes from now on be of *kind*; return those closed.
    """
    made: list[object] = []
    closed: list[object] = []

    def connect(_dialect: object, _record: object, arguments: Any, settings: Any) -> Any:
        if made:
            return None
        made.append(sqlite3.connect(*arguments, factory=kind, **settings))
        return made[0]

    def note(connection: object, _record: object) -> None:
        closed.append(connection)

    event.listen(engine, "do_connect", connect)
    event.listen(engine, "close", note)
    return closed


class TestWhatGoesWrong:
    def test_a_connection_that_turns_out_to_be_lost_is_replaced(
        self, engine: Engine, session: Session
    ) -> None:
        store = SqlSessionStore(engine)
        with engine.connect():  # SQLAlchemy asks the first one what the server is like
            closed = only_at_first(engine, Broken)
            assert store.find(session.locator) == session
            assert [type(each) for each in closed] == [Broken]

    def test_a_connection_that_was_interrupted_is_not_used_again(
        self, engine: Engine, session: Session
    ) -> None:
        store = SqlSessionStore(engine)
        with engine.connect():
            closed = only_at_first(engine, Interrupted)
            with pytest.raises(KeyboardInterrupt):
                store.find(session.locator)
            assert [type(each) for each in closed] == [Interrupted]
            assert store.find(session.locator) == session

    def test_what_the_database_refuses_costs_no_connection(
        self, engine: Engine, session: Session
    ) -> None:
        store = SqlSessionStore(engine)
        assert store.find(session.locator) == session
        with engine.begin() as connection:
            connection.exec_driver_sql("DROP TABLE sessioncore_sessions")
        closed = only_at_first(engine, sqlite3.Connection)
        with pytest.raises(StoreUnavailable, match="are its tables there") as failure:
            store.find(session.locator)
        assert failure.value.__context__ is None
        assert not closed

    def test_a_connection_that_cannot_be_made_is_unavailable(
        self, tmp_path: Path, session: Session
    ) -> None:
        engine = create_engine(f"sqlite:///{tmp_path}/no/such/folder.db")
        with pytest.raises(StoreUnavailable):
            short(engine, session)

    def test_the_connection_is_back_in_the_pool_afterwards(
        self, engine: Engine, session: Session
    ) -> None:
        short(engine, session)
        short(engine, session)
        assert engine.pool.status().startswith("Pool size: 5  Connections in pool: 1")
