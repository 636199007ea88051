"""
The tables of the SQL stores have versions, on every database.
"""

from __future__ import annotations

import asyncio
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import pytest
from alembic.autogenerate import compare_metadata, produce_migrations
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.operations.ops import OpContainer
from databases import Database, description
from sqlalchemy import (
    Column,
    Connection,
    Engine,
    Executable,
    Integer,
    MetaData,
    String,
    Table,
    create_engine,
    event,
    text,
)
from sqlalchemy.ext.asyncio import create_async_engine

from sessioncore.errors import CorruptRecord, StoreUnavailable
from sessioncore.session import Epoch, Locator, Subject
from sessioncore_sql import (
    AsyncSqlSessionStore,
    Component,
    SchemaMismatch,
    SchemaState,
    SqlCredentialStore,
    SqlSessionStore,
    Standing,
    __main__,
    _migrations,
    _schema,
    async_check_schema,
    async_migrate,
    check_schema,
    migrate,
    new_engine,
    tables,
)
from sessioncore_sql._migrations import MIGRATIONS, Migration, Plan, add_column
from sessioncore_sql.tables import metadata

ALICE = Subject.user("alice")
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
GOLDEN_LOCATOR = Locator(Epoch(b"epoch-of-16bytes"), b"slot-1")
EVERYTHING = tuple(Component)
NEWEST = 2
SECOND = "migration 2, which records which older servers go on working with newer tables"
LIMIT_SECONDS = 30.0


def migration(
    number: int,
    column: str,
    *,
    works_with: int = NEWEST,
    components: frozenset[Component] = frozenset({Component.SESSIONS}),
    table: str = "sessioncore_sessions",
) -> Migration:
    def statements(connection: Connection) -> Iterator[Executable]:
        return add_column(connection, table, Column(column, Integer))

    return Migration(number, components, f"adds {column}", works_with, statements)


def carry_out(engine: Engine, plan: Plan) -> tuple[str, ...]:
    with engine.connect() as connection:
        return _schema.migrate(connection, (), plan)


def versions(database: Database) -> dict[str, tuple[int, int | None]]:
    rows = database.query("SELECT component, version, works_with FROM sessioncore_schema")
    return {component: (version, works_with) for component, version, works_with in rows}


def columns(database: Database, table: str = "sessioncore_sessions") -> list[str]:
    return [column["name"] for column in description(database)[table]["columns"]]


def standings(engine: Engine, *components: Component) -> dict[str, Standing]:
    states = check_schema(engine, *components)
    return {state.component.value: state.standing for state in states}


def record(database: Database, version: int, works_with: str = "NULL") -> None:
    database.execute(
        f"UPDATE sessioncore_schema SET version = {version}, works_with = {works_with};"
    )


class TestThePlan:
    def test_migrations_are_numbered_in_order(self) -> None:
        numbers = [step.number for step in MIGRATIONS]
        assert numbers == list(range(2, 2 + len(MIGRATIONS)))

    def test_no_migration_takes_back_which_older_versions_work(self) -> None:
        oldest = [step.works_with for step in MIGRATIONS]
        assert oldest == sorted(oldest)
        assert all(step.works_with <= step.number for step in MIGRATIONS)

    def test_every_migration_says_why(self) -> None:
        assert all(step.why for step in MIGRATIONS)
        assert all(step.components for step in MIGRATIONS)

    def test_a_component_has_the_version_of_its_last_migration(self) -> None:
        plan = [*MIGRATIONS, migration(3, "risk", works_with=2)]
        assert _migrations.newest(Component.SESSIONS, plan) == 3
        assert _migrations.newest(Component.CREDENTIALS, plan) == NEWEST
        assert _migrations.works_with(Component.SESSIONS, plan) == 2
        assert _migrations.newest(Component.SESSIONS, ()) == 1


class TestMaking:
    def test_an_empty_database_is_made_at_the_newest_version(self, database: Database) -> None:
        assert migrate(database.engine(), *EVERYTHING) == (
            "sessions: the tables, made at version 2",
            "credentials: the tables, made at version 2",
        )
        assert versions(database) == {"sessions": (2, 1), "credentials": (2, 1)}
        SqlSessionStore(database.engine()).open_epoch(ALICE, NOW, timedelta(minutes=10))

    def test_stores_make_what_is_missing(self, database: Database) -> None:
        SqlSessionStore(database.engine()).create_schema()
        assert versions(database) == {"sessions": (2, 1)}
        SqlCredentialStore(database.engine()).create_schema()
        assert versions(database) == {"sessions": (2, 1), "credentials": (2, 1)}

    def test_a_single_table_that_is_missing_is_made_again(self, database: Database) -> None:
        store = SqlSessionStore(database.engine())
        store.create_schema()
        before = description(database)
        database.execute("DROP TABLE sessioncore_data;")
        (state,) = check_schema(store.engine)
        assert state.standing is Standing.INCOMPLETE
        assert "at version 2; missing: sessioncore_data; run:" in str(state)
        store.create_schema()
        assert description(database) == before

    def test_today_s_golden_file_has_today_s_tables(self, database: Database) -> None:
        database.fill(NEWEST)
        golden, recorded = description(database), versions(database)
        with database.engine().begin() as connection:
            metadata.drop_all(connection)
        migrate(database.engine(), *EVERYTHING)
        assert golden == description(database)
        assert recorded == versions(database)

    def test_where_the_tables_are_there_no_right_to_define_any_is_needed(
        self, on_postgresql: Database
    ) -> None:
        migrate(on_postgresql.engine())
        on_postgresql.execute("""
            CREATE ROLE app LOGIN;
            GRANT USAGE ON SCHEMA public TO app;
            GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO app;
        """)
        engine = create_engine(on_postgresql.url.replace("postgres@", "app@"))
        store = SqlSessionStore(engine)
        store.create_schema()
        store.open_epoch(ALICE, NOW, timedelta(minutes=10))
        assert migrate(engine) == ()
        with pytest.raises(StoreUnavailable, match="42501"):
            SqlCredentialStore(engine).create_schema()
        engine.dispose()
        on_postgresql.execute("DROP OWNED BY app;\nDROP ROLE app;")

    def test_tables_may_be_in_a_schema_of_their_own(self, on_postgresql: Database) -> None:
        on_postgresql.execute("CREATE SCHEMA auth;")
        options = {"schema_translate_map": {None: "auth"}}
        engine = on_postgresql.engine(execution_options=options)
        assert standings(engine) == {"sessions": Standing.ABSENT}
        migrate(engine)
        on_postgresql.execute("""
            ALTER TABLE auth.sessioncore_schema DROP COLUMN works_with;
            UPDATE auth.sessioncore_schema SET version = 1;
        """)
        assert standings(engine) == {"sessions": Standing.BEHIND}
        migrate(engine)
        assert standings(engine) == {"sessions": Standing.CURRENT}
        SqlSessionStore(engine).open_epoch(ALICE, NOW, timedelta(minutes=10))
        on_postgresql.execute("DROP SCHEMA auth CASCADE;")


class TestMigrating:
    def test_what_a_database_of_the_first_version_holds_survives(self, database: Database) -> None:
        database.fill(1)
        assert migrate(database.engine()) == (f"sessions and credentials: {SECOND}",)
        assert versions(database) == {"sessions": (2, 1), "credentials": (2, 1)}
        store = SqlSessionStore(database.engine())
        store.create_schema()
        session = store.find(GOLDEN_LOCATOR)
        assert session is not None
        assert session.device.user_agent == "Browser marker-that-must-not-leak"
        assert store.roster(ALICE).sessions == (session,)
        data = store.read_data(GOLDEN_LOCATOR)
        assert data is not None
        assert data["carré"].value == b'{"n":1}'
        users = SqlCredentialStore(database.engine())
        users.create_schema()
        assert users.read_hash("alice") == "$argon2id$golden"

    def test_migrating_leaves_what_making_makes(self, database: Database) -> None:
        database.fill(1)
        migrate(database.engine())
        migrated = description(database)
        with database.engine().begin() as connection:
            metadata.drop_all(connection)
        migrate(database.engine(), *EVERYTHING)
        assert migrated == description(database)

    def test_migrating_again_does_nothing(self, database: Database) -> None:
        database.fill(1)
        migrate(database.engine())
        before = description(database)
        assert migrate(database.engine()) == ()
        assert description(database) == before

    def test_what_is_missing_is_made_beside_what_is_migrated(self, database: Database) -> None:
        database.fill(1)
        database.execute("""
            DROP TABLE sessioncore_credentials;
            DELETE FROM sessioncore_schema WHERE component = 'credentials';
        """)
        with pytest.raises(SchemaMismatch):
            SqlCredentialStore(database.engine()).create_schema()
        assert len(migrate(database.engine(), Component.CREDENTIALS)) == 2
        assert standings(database.engine()) == {
            "sessions": Standing.CURRENT,
            "credentials": Standing.CURRENT,
        }

    def test_each_migration_is_recorded_as_it_is_done(self, database: Database) -> None:
        database.fill(1)
        ever = (*MIGRATIONS, migration(3, "risk"), migration(4, "trust", works_with=3))

        def fail(_connection: Connection) -> Iterator[Executable]:
            yield text("SELECT no_such_column FROM sessioncore_schema")

        broken = attrs.evolve(ever[-1], statements=fail)
        with pytest.raises(Exception, match="no_such_column"):
            carry_out(database.engine(), (*ever[:-1], broken))
        assert versions(database) == {"sessions": (3, 2), "credentials": (2, 1)}
        assert carry_out(database.engine(), ever) == ("sessions: migration 4, which adds trust",)
        assert versions(database) == {"sessions": (4, 3), "credentials": (2, 1)}
        assert columns(database)[-2:] == ["risk", "trust"]

    def test_a_crash_in_the_middle_of_a_migration_is_made_good_by_repeating(
        self, database: Database
    ) -> None:
        database.fill(NEWEST)
        crashes = [Crash()]

        def statements(connection: Connection) -> Iterator[Executable]:
            yield from add_column(connection, "sessioncore_sessions", Column("one", Integer))
            if crashes:
                raise crashes.pop()
            yield from add_column(connection, "sessioncore_sessions", Column("two", Integer))

        plan = (*MIGRATIONS, attrs.evolve(migration(3, ""), statements=statements))
        pooled = create_engine(database.url)
        with pytest.raises(Crash):
            carry_out(pooled, plan)
        assert versions(database)["sessions"] == (2, 1)
        # MySQL commits each definition; the others undo what a crash leaves.
        assert ("one" in columns(database)) == (database.name == "mariadb")
        if database.name == "mariadb":
            # The connection waits in its pool. It must not keep the lock.
            name = f"CONCAT('sessioncore_sql ', SHA1('{database.database}'))"
            assert database.query(f"SELECT IS_FREE_LOCK({name})") == [(1,)]
        assert carry_out(database.engine(), plan) != ()
        pooled.dispose()
        assert versions(database)["sessions"] == (3, 2)
        assert columns(database)[-2:] == ["one", "two"]

    def test_of_many_who_migrate_at_once_one_does_the_work(self, database: Database) -> None:
        database.fill(1)
        at_once = 4
        start = threading.Barrier(at_once)
        alone = threading.Lock()

        def statements(connection: Connection) -> Iterator[Executable]:
            assert alone.acquire(blocking=False), "somebody else is migrating"
            yield from add_column(connection, "sessioncore_sessions", Column("one", Integer))
            alone.release()

        plan = (*MIGRATIONS, attrs.evolve(migration(3, ""), statements=statements))

        def run(_number: int) -> tuple[str, ...]:
            engine = new_engine(database.url)
            start.wait(LIMIT_SECONDS)
            try:
                return carry_out(engine, plan)
            finally:
                engine.dispose()

        with ThreadPoolExecutor(at_once) as threads:
            done = [step for steps in threads.map(run, range(at_once)) for step in steps]
        assert len(done) == len(plan)
        assert versions(database) == {"sessions": (3, 2), "credentials": (2, 1)}

    def test_processes_that_migrate_at_once_agree(self, on_sqlite: Database) -> None:
        on_sqlite.fill(1)
        command = [sys.executable, "-m", "sessioncore_sql", "migrate", on_sqlite.url]
        processes = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(3)]
        said = [process.communicate(timeout=LIMIT_SECONDS)[0] for process in processes]
        assert [process.returncode for process in processes] == [0, 0, 0]
        assert sorted(b"migration 2" in each for each in said) == [False, False, True]

    @pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
    def test_who_waits_to_change_a_table_lets_the_stores_through(
        self, request: pytest.FixtureRequest, kind: str
    ) -> None:
        database: Database = request.getfixturevalue(f"on_{kind}")
        database.fill(NEWEST)
        store = SqlSessionStore(new_engine(database.url))
        long = database.engine().connect()
        long.execute(text("SELECT * FROM sessioncore_sessions")).all()
        plan = (*MIGRATIONS, migration(3, "risk"))
        with ThreadPoolExecutor(1) as threads:
            migrating = threads.submit(carry_out, database.engine(), plan)
            while not is_waiting_for_a_table(database):
                assert not migrating.done()
            # Behind the migration, which is behind the transaction. It gets through
            # all the same: otherwise it would be unavailable.
            assert store.find(GOLDEN_LOCATOR) is not None
            assert not migrating.done()
            long.close()
            assert migrating.result(LIMIT_SECONDS) != ()
        store.engine.dispose()

    def test_asyncio_has_the_same(self, database: Database) -> None:
        database.fill(1)

        async def run() -> tuple[SchemaState, ...]:
            engine = create_async_engine(database.async_url, hide_parameters=True)
            (before, _) = await async_check_schema(engine)
            assert before.standing is Standing.BEHIND
            with pytest.raises(SchemaMismatch):
                await AsyncSqlSessionStore(engine).create_schema()
            assert len(await async_migrate(engine)) == 1
            await AsyncSqlSessionStore(engine).create_schema()
            states = await async_check_schema(engine)
            await engine.dispose()
            return states

        assert asyncio.run(run()) == check_schema(database.engine())


def is_waiting_for_a_table(database: Database) -> bool:
    waiting = {
        "postgresql": "SELECT 1 FROM pg_locks WHERE NOT granted AND locktype = 'relation'",
        "mariadb": (
            "SELECT 1 FROM information_schema.processlist"
            " WHERE state = 'Waiting for table metadata lock' AND info LIKE 'ALTER%'"
        ),
    }
    return database.query(waiting[database.name]) != []


class Crash(Exception):
    pass


class TestChecking:
    def test_tables_that_are_not_there_are_absent(self, database: Database) -> None:
        (state,) = check_schema(database.engine())
        assert state.standing is Standing.ABSENT
        assert not state.is_usable
        assert str(state) == (
            "sessions: there are no such tables; run: python -m sessioncore_sql migrate"
        )
        assert standings(database.engine(), Component.CREDENTIALS) == {
            "credentials": Standing.ABSENT
        }

    def test_older_tables_are_behind_and_creating_does_not_migrate_them(
        self, database: Database
    ) -> None:
        database.fill(1)
        before = description(database)
        (state, _) = check_schema(database.engine())
        assert str(state) == (
            "sessions: at version 1, and this library needs version 2;"
            " missing: sessioncore_schema.works_with; run: python -m sessioncore_sql migrate"
        )
        with pytest.raises(SchemaMismatch, match="run: python -m sessioncore_sql migrate") as told:
            SqlSessionStore(database.engine()).create_schema()
        assert told.value.state == state
        assert str(pickle.loads(pickle.dumps(told.value))) == str(told.value)
        with (
            pytest.raises(SchemaMismatch, match="at version 1"),
            SqlSessionStore.connect(database.url),
        ):
            pass
        assert description(database) == before

    def test_newer_tables_that_work_with_this_library_are_used_and_left_alone(
        self, database: Database
    ) -> None:
        database.fill(NEWEST)
        carry_out(database.engine(), (*MIGRATIONS, migration(3, "risk", works_with=2)))
        before = description(database), versions(database)
        (state, _) = check_schema(database.engine())
        assert state.standing is Standing.AHEAD
        assert str(state) == (
            "sessions: at version 3, newer than this library's 2, which works with them"
        )
        store = SqlSessionStore(database.engine())
        store.create_schema()
        assert store.find(GOLDEN_LOCATOR) is not None
        assert migrate(database.engine(), *EVERYTHING) == ()
        assert (description(database), versions(database)) == before

    @pytest.mark.parametrize("works_with", ["3", "NULL"])
    def test_newer_tables_that_do_not_are_refused_and_left_alone(
        self, on_sqlite: Database, works_with: str
    ) -> None:
        on_sqlite.fill(NEWEST)
        record(on_sqlite, 4, works_with)
        before = versions(on_sqlite)
        engine = on_sqlite.engine()
        (state, _) = check_schema(engine)
        oldest = "3" if works_with == "3" else "4"
        assert str(state) == (
            f"sessions: at version 4, which needs a library that knows version {oldest},"
            " and this one knows 2; update sessioncore"
        )
        for refused in (
            SqlSessionStore(engine).create_schema,
            SqlCredentialStore(engine).create_schema,
            lambda: migrate(engine),
        ):
            with pytest.raises(SchemaMismatch, match="update sessioncore"):
                refused()
        assert versions(on_sqlite) == before

    def test_nothing_is_migrated_beside_tables_that_are_too_new(self, on_sqlite: Database) -> None:
        on_sqlite.fill(1)
        on_sqlite.execute("UPDATE sessioncore_schema SET version = 9 WHERE component = 'sessions';")
        before = description(on_sqlite)
        with pytest.raises(SchemaMismatch):
            migrate(on_sqlite.engine())
        assert description(on_sqlite) == before

    def test_a_column_that_somebody_has_dropped_is_named(self, database: Database) -> None:
        database.fill(NEWEST)
        database.execute("ALTER TABLE sessioncore_sessions DROP COLUMN user_agent;")
        (state, _) = check_schema(database.engine())
        assert state.standing is Standing.INCOMPLETE
        assert state.missing_columns == ("sessioncore_sessions.user_agent",)
        for refused in (
            SqlSessionStore(database.engine()).create_schema,
            lambda: migrate(database.engine()),
        ):
            with pytest.raises(SchemaMismatch, match=r"sessioncore_sessions\.user_agent"):
                refused()

    @pytest.mark.parametrize("garbage", ["'two'", "2.5", "x'02'"])
    @pytest.mark.parametrize("column", ["version", "works_with"])
    def test_a_version_that_cannot_be_read_is_corrupt(
        self, on_sqlite: Database, column: str, garbage: str
    ) -> None:
        on_sqlite.fill(NEWEST)
        on_sqlite.execute(f"UPDATE sessioncore_schema SET {column} = {garbage};")
        with pytest.raises(CorruptRecord):
            check_schema(on_sqlite.engine())
        with pytest.raises(CorruptRecord):
            migrate(on_sqlite.engine())

    def test_a_store_that_meets_older_tables_says_where_to_look(self, database: Database) -> None:
        database.fill(NEWEST)
        store = SqlSessionStore(database.engine())
        database.execute("ALTER TABLE sessioncore_sessions DROP COLUMN user_agent;")
        with pytest.raises(StoreUnavailable, match="python -m sessioncore_sql check") as failure:
            store.find(GOLDEN_LOCATOR)
        assert failure.value.__context__ is None
        database.execute("DROP TABLE sessioncore_sessions;")
        with pytest.raises(StoreUnavailable, match="create_schema"):
            store.find(GOLDEN_LOCATOR)


class TestAlembic:
    """
    An app may manage the tables with Alembic. What they hold is still the library's.
    """

    def test_all_tables_are_proposed_for_an_empty_database(self, database: Database) -> None:
        proposed = {each[1].name for each in differences(database) if each[0] == "add_table"}
        assert proposed == {table.name for table in metadata.sorted_tables}

    @pytest.mark.parametrize("version", [1, NEWEST])
    def test_nothing_is_proposed_for_tables_that_are_up_to_date(
        self, database: Database, version: int
    ) -> None:
        database.fill(version)
        migrate(database.engine())
        assert differences(database) == []

    def test_the_tables_can_be_part_of_an_app_s_metadata(self, database: Database) -> None:
        SqlSessionStore(database.engine()).create_schema()
        apps = MetaData()
        Table("app_notes", apps, Column("id", Integer, primary_key=True), Column("t", String(9)))
        for table in (tables.schema, tables.epochs, tables.sessions, tables.data):
            table.to_metadata(apps)
        ((kind, table),) = differences(database, apps)
        assert (kind, table.name) == ("add_table", "app_notes")

    def test_tables_that_alembic_made_are_taken_on(self, database: Database) -> None:
        apply_autogenerated(database)
        assert database.query("SELECT * FROM sessioncore_schema") == []
        engine = database.engine()
        assert standings(engine) == dict.fromkeys(("sessions", "credentials"), Standing.UNRECORDED)
        before = description(database)
        SqlSessionStore(engine).create_schema()
        assert standings(engine) == {
            "sessions": Standing.CURRENT,
            "credentials": Standing.UNRECORDED,
        }
        assert migrate(engine) == (f"credentials: {SECOND}",)
        assert versions(database) == {"sessions": (2, 1), "credentials": (2, 1)}
        assert description(database) == before

    def test_tables_that_alembic_has_brought_up_to_date_only_need_their_version(
        self, database: Database
    ) -> None:
        database.fill(1)
        ((kind, _, table, column),) = differences(database)
        assert (kind, table, column.name) == ("add_column", "sessioncore_schema", "works_with")
        apply_autogenerated(database)
        before = description(database)
        engine = database.engine()
        statements: list[str] = []

        def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
            statements.append(statement)

        event.listen(engine, "before_cursor_execute", note)
        assert len(migrate(engine)) == 1
        assert not [each for each in statements if each.startswith("ALTER")]
        assert standings(engine)["sessions"] is Standing.CURRENT
        assert (description(database), differences(database)) == (before, [])

    def test_tables_without_their_version_are_migrated_from_the_first(
        self, database: Database
    ) -> None:
        database.fill(1)
        database.execute("DELETE FROM sessioncore_schema;")
        with pytest.raises(SchemaMismatch, match="which version they have"):
            SqlSessionStore(database.engine()).create_schema()
        assert len(migrate(database.engine())) == 1
        assert versions(database) == {"sessions": (2, 1), "credentials": (2, 1)}

    def test_tables_without_the_table_of_versions_are_taken_on(self, database: Database) -> None:
        database.fill(1)
        database.execute("DROP TABLE sessioncore_schema;\nDROP TABLE sessioncore_data;")
        assert len(migrate(database.engine())) == 1
        assert standings(database.engine()) == dict.fromkeys(
            ("sessions", "credentials"), Standing.CURRENT
        )
        assert differences(database) == []

    def test_an_app_that_leaves_them_to_the_command_keeps_alembic_away_by_name(
        self, on_sqlite: Database
    ) -> None:
        on_sqlite.fill(NEWEST)
        assert {each[0] for each in differences(on_sqlite, MetaData())} >= {"remove_table"}

        def is_ours(name: str | None, kind: str, _parents: object) -> bool:
            return not (kind == "table" and str(name).startswith("sessioncore_"))

        assert differences(on_sqlite, MetaData(), include_name=is_ours) == []


def differences(
    database: Database, target: MetaData = metadata, **options: Any
) -> list[tuple[Any, ...]]:
    with database.engine().connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={"compare_type": True, "compare_server_default": True, **options},
        )
        found: list[tuple[Any, ...]] = compare_metadata(context, target)
        return found


def apply_autogenerated(database: Database) -> None:
    with database.engine().begin() as connection:
        context = MigrationContext.configure(connection)
        script = produce_migrations(context, metadata)
        operations = Operations(context)
        waiting: list[Any] = [script.upgrade_ops]
        while waiting:
            step = waiting.pop(0)
            if isinstance(step, OpContainer):
                waiting[:0] = step.ops
            else:
                operations.invoke(step)


class TestTheCommand:
    def run(self, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
        try:
            code = __main__.main(arguments)
        except SystemExit as exit_:
            code = int(exit_.code or 0)
        said = capsys.readouterr()
        return code, said.out, said.err

    def test_check_says_whether_the_tables_fit(
        self, database: Database, capsys: pytest.CaptureFixture[str]
    ) -> None:
        code, said, _ = self.run(capsys, "check", database.url)
        assert code == 1
        assert "there are no such tables" in said
        database.fill(1)
        code, said, _ = self.run(capsys, "check", database.url)
        assert code == 1
        assert said.count("at version 1, and this library needs version 2") == 2
        assert self.run(capsys, "migrate", database.url)[0] == 0
        code, said, _ = self.run(capsys, "check", database.url)
        assert code == 0
        assert said == (
            "sessions: up to date, at version 2\ncredentials: up to date, at version 2\n"
        )

    def test_migrate_says_what_it_did(
        self, on_sqlite: Database, capsys: pytest.CaptureFixture[str]
    ) -> None:
        arguments = ("migrate", on_sqlite.url, "--component", "credentials")
        assert self.run(capsys, *arguments) == (
            0,
            "credentials: the tables, made at version 2\n",
            "",
        )
        assert self.run(capsys, *arguments) == (0, "there was nothing to do\n", "")

    def test_an_app_s_own_url_for_asyncio_will_do(
        self, database: Database, capsys: pytest.CaptureFixture[str]
    ) -> None:
        database.fill(1)
        assert self.run(capsys, "check", database.async_url)[0] == 1
        _, statements, _ = self.run(capsys, "sql", database.async_url)
        assert "ALTER TABLE" in statements
        assert self.run(capsys, "migrate", database.async_url)[0] == 0
        assert self.run(capsys, "check", database.async_url)[0] == 0

    @pytest.mark.parametrize("version", [0, 1])
    def test_sql_is_what_an_administrator_can_execute_instead(
        self, database: Database, capsys: pytest.CaptureFixture[str], version: int
    ) -> None:
        if version:
            database.fill(version)
        before = description(database)
        code, statements, _ = self.run(capsys, "sql", database.url)
        assert code == 0
        assert description(database) == before
        database.execute(statements)
        assert set(standings(database.engine()).values()) == {Standing.CURRENT}
        assert self.run(capsys, "sql", database.url) == (0, "", "")

    def test_sql_knows_of_tables_without_their_version(
        self, database: Database, capsys: pytest.CaptureFixture[str]
    ) -> None:
        database.fill(1)
        database.execute("DROP TABLE sessioncore_schema;\nDROP TABLE sessioncore_data;")
        _, statements, _ = self.run(capsys, "sql", database.url)
        database.execute(statements)
        assert set(standings(database.engine()).values()) == {Standing.CURRENT}
        assert differences(database) == []

    def test_tables_that_are_too_new_do_not_fit(
        self, on_sqlite: Database, capsys: pytest.CaptureFixture[str]
    ) -> None:
        on_sqlite.fill(NEWEST)
        record(on_sqlite, 4)
        assert self.run(capsys, "check", on_sqlite.url)[0] == 1
        code, said, complaint = self.run(capsys, "migrate", on_sqlite.url)
        assert (code, said) == (1, "")
        assert "update sessioncore" in complaint

    @pytest.mark.parametrize(
        "url",
        [
            "not a url, but open-sesame",
            "nosuchdatabase://me:open-sesame@127.0.0.1/app",
            "postgresql+nosuchdriver://me:open-sesame@127.0.0.1/app",
            "postgresql+psycopg://me:open-sesame@127.0.0.1:1/app?password=open-sesame",
            "postgresql+asyncpg://me:open-sesame@127.0.0.1:1/app",
            "mariadb+pymysql://me:open-sesame@127.0.0.1:1/app",
            "mariadb+pymysql://me:open-sesame@127.0.0.1:port/app",
            "oracle+oracledb://me:open-sesame@127.0.0.1/app",
            "sqlite:////no/such/folder/open-sesame.db",
            "sqlite://",
        ],
    )
    @pytest.mark.parametrize("command", ["check", "migrate", "sql"])
    def test_what_could_not_be_found_out_is_neither_and_shows_no_password(
        self, capsys: pytest.CaptureFixture[str], command: str, url: str
    ) -> None:
        code, said, complaint = self.run(capsys, command, url)
        assert (code, said) == (2, "")
        assert complaint
        assert "open-sesame" not in complaint

    @pytest.mark.parametrize(
        "arguments",
        [
            (),
            ("check",),
            ("destroy", "sqlite:///x.db"),
            ("check", "sqlite:///x.db", "--component", "x"),
            ("check", "sqlite:///x.db", "--deadline", "0"),
        ],
    )
    def test_a_call_that_makes_no_sense_is_refused(
        self, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
    ) -> None:
        assert self.run(capsys, *arguments)[0] == 2

    def test_the_url_may_come_from_the_environment(self, on_sqlite: Database) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "sessioncore_sql", "migrate"],
            env={"SESSIONCORE_SQL_URL": on_sqlite.url},
            capture_output=True,
            timeout=LIMIT_SECONDS,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, b"")
        assert done.stdout == b"sessions: the tables, made at version 2\n"
