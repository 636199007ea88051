"""
While a new version is deployed, servers with the old one and the new one share sessions.

The version to come, N+1, is made up here: it knows one fact more about a session, how
risky its sign-in was. On SQL that is a column, which a migration adds; in Redis it is
the addition beside a record. Version N is the one that this repository holds. Every
test has both on one store, and the old one must leave in place what it does not know.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import random
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, Protocol

import pytest
from databases import Database
from fakes import MINUTE, PASSWORD, POLICY, FakePasswordHasher, expect
from sqlalchemy import Column, Connection, Engine, Executable, Integer, create_engine, text
from sqlalchemy.ext.asyncio import create_async_engine

from servers import IN_MEMORY, MariaDbServer, PostgresServer, RedisServer
from sessioncore import (
    Active,
    AuthService,
    CorruptRecord,
    DataChanged,
    DataRead,
    Inactive,
    InactiveReason,
    LoggedIn,
    PasswordChanged,
    Rotated,
)
from sessioncore.ports import Admission, DataWrite, Purged
from sessioncore.session import DataChange, Datum, Epoch, Locator, Roster, Session, Subject
from sessioncore.testing import ManualClock, RecordingEvents, SeededEntropy
from sessioncore.testing.records import (
    LIFETIME,
    LOGIN_WINDOW,
    NOW,
    a_change,
    a_session,
    a_user,
    purge_all,
    restarted,
    sign_in,
    successor,
    values,
)
from sessioncore_memory import MemoryCredentialStore
from sessioncore_redis import RedisSessionStore, layout, records
from sessioncore_sql import AsyncSqlSessionStore, Component, SqlSessionStore, _schema
from sessioncore_sql._migrations import MIGRATIONS, Migration, Plan, add_column, newest

TAG_KEY = b"a key for the tests of this page"
RISK = 7
"""What version N+1 finds out about every sign-in at it."""

_numbers = itertools.count()


@dataclass(frozen=True, slots=True, kw_only=True)
class RiskySession(Session):
    """
    A session as version N+1 knows it.
    """

    risk: int | None = None
    """``None`` if the sign-in was at version N."""


class Additions(Protocol):
    """
    Where version N+1 keeps what it has added to the records.
    """

    def read(self, locator: Locator, /) -> int | None: ...
    def write(self, locator: Locator, risk: int | None, /) -> None: ...
    def count(self) -> int: ...


class NextVersion:
    """
    The session store of version N+1, sessions and additions.

    It writes one after the other, which is enough for a test in which calls follow each
    other. What is under test is version N.
    """

    def __init__(self, records: RedisSessionStore | SqlSessionStore, added: Additions) -> None:
        self._records = records
        self._added = added

    def open_epoch(self, subject: Subject, at: datetime, lives_for: timedelta, /) -> Epoch:
        return self._records.open_epoch(subject, at, lives_for)

    def find(self, locator: Locator, /) -> Session | None:
        session = self._records.find(locator)
        return None if session is None else self._with_risk(session)

    def replace(self, old: Session, new: Session, /) -> bool:
        replaced = self._records.replace(old, new)
        if replaced:
            self._added.write(new.locator, risk_of(new))
        return replaced

    def roster(self, subject: Subject, /) -> Roster:
        roster = self._records.roster(subject)
        return dataclasses.replace(roster, sessions=tuple(map(self._with_risk, roster.sessions)))

    def admit(
        self,
        session: Session,
        evicted: tuple[Locator, ...],
        version: bytes | None,
        at: datetime,
        /,
    ) -> Admission:
        admission = self._records.admit(session, evicted, version, at)
        if admission is Admission.ADMITTED:
            self._added.write(session.locator, RISK)
        return admission

    def restart(self, old: Session, new: Session, /) -> Locator | None:
        locator = self._records.restart(old, new)
        if locator is not None:
            self._added.write(locator, risk_of(new))
        return locator

    def delete(self, locator: Locator, expected: Session | None = None, /) -> bool:
        return self._records.delete(locator, expected)

    def delete_user(self, subject: Subject, /) -> int:
        return self._records.delete_user(subject)

    def read_data(self, locator: Locator, /) -> Mapping[str, Datum] | None:
        return self._records.read_data(locator)

    def find_with_data(self, locator: Locator, /) -> tuple[Session, Mapping[str, Datum]] | None:
        return self._records.find_with_data(locator)

    def write_data(self, locator: Locator, change: DataChange, /) -> DataWrite:
        return self._records.write_data(locator, change)

    def purge(self, before: datetime, limit: int, /) -> Purged:
        return self._records.purge(before, limit)

    def _with_risk(self, session: Session) -> Session:
        return risky(session, self._added.read(session.locator))


def risk_of(session: Session) -> int | None:
    return session.risk if isinstance(session, RiskySession) else None


def risky(session: Session, risk: int | None) -> RiskySession:
    """
    A session with what version N+1 knows of it.
    """
    known = {each.name: getattr(session, each.name) for each in dataclasses.fields(Session)}
    return RiskySession(**known, risk=risk)


def plain(session: Session | None) -> Session | None:
    """
    What version N knows of a session.
    """
    if session is None:
        return None
    return Session(
        **{each.name: getattr(session, each.name) for each in dataclasses.fields(Session)}
    )


# -- Both versions on each store --------------------------------------------------


def _add_risk(connection: Connection) -> Iterator[Executable]:
    return add_column(connection, "sessioncore_sessions", Column("risk", Integer))


N = newest(Component.SESSIONS)
NEXT_PLAN: Plan = (
    *MIGRATIONS,
    Migration(
        N + 1, frozenset({Component.SESSIONS}), "knows how risky a sign-in was", N, _add_risk
    ),
)


def migrate_to_next(engine: Engine) -> None:
    with engine.connect() as connection:
        assert len(_schema.migrate(connection, (), NEXT_PLAN)) == 1


class SqlAdditions:
    _THE_SESSION: ClassVar = "WHERE epoch = :epoch AND slot = :slot"

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def read(self, locator: Locator, /) -> int | None:
        query = f"SELECT risk FROM sessioncore_sessions {self._THE_SESSION}"
        ((risk,),) = self._rows(query, locator)
        return None if risk is None else int(risk)

    def write(self, locator: Locator, risk: int | None, /) -> None:
        statement = f"UPDATE sessioncore_sessions SET risk = :risk {self._THE_SESSION}"
        values = {"epoch": locator.epoch, "slot": locator.slot, "risk": risk}
        with self._engine.begin() as connection:
            assert connection.execute(text(statement), values).rowcount == 1

    def count(self) -> int:
        ((count,),) = self._rows("SELECT count(risk) FROM sessioncore_sessions")
        return int(count)

    def delete_all(self) -> None:
        with self._engine.begin() as connection:
            for table in ("data", "sessions", "epochs"):
                connection.execute(text(f"DELETE FROM sessioncore_{table}"))

    def _rows(self, query: str, locator: Locator | None = None) -> list[tuple[Any, ...]]:
        key = {} if locator is None else {"epoch": locator.epoch, "slot": locator.slot}
        with self._engine.begin() as connection:
            return [tuple(row) for row in connection.execute(text(query), key)]


class RedisAdditions:
    # Whoever takes it for a record finds it long due.
    _LIKE_A_RECORD: ClassVar = bytes(32)

    def __init__(self, client: Any, prefix: str) -> None:
        self._client = client
        self._prefix = prefix
        self._layout = layout.Layout(prefix, TAG_KEY)

    def read(self, locator: Locator, /) -> int | None:
        value = self._client.hget(*self._place(locator))
        return None if value is None else int(value.removeprefix(self._LIKE_A_RECORD))

    def write(self, locator: Locator, risk: int | None, /) -> None:
        key, field = self._place(locator)
        assert self._client.hexists(key, locator.slot)
        if risk is None:
            self._client.hdel(key, field)
        else:
            self._client.hset(key, field, self._LIKE_A_RECORD + b"%d" % risk)

    def count(self) -> int:
        keys = self._client.keys(f"{self._prefix}:{{*}}")
        names = [name for key in keys for name in self._client.hkeys(key)]
        return sum(len(name) == 7 and name.endswith(layout.ADDITION_SUFFIX) for name in names)

    def _place(self, locator: Locator) -> tuple[bytes, bytes]:
        key, _ = self._layout.keys_of(locator.epoch)
        return key, locator.slot + layout.ADDITION_SUFFIX


@dataclass
class Deployment:
    """
    Servers of both versions on one store.
    """

    n: RedisSessionStore | SqlSessionStore
    n_plus_1: NextVersion
    added: Additions

    @property
    def both(self) -> tuple[Any, Any]:
        return self.n, self.n_plus_1


@contextmanager
def deployed_on(url: str) -> Generator[Deployment]:
    engine = create_engine(url)
    store = SqlSessionStore(engine)
    store.create_schema()
    migrate_to_next(engine)
    store.create_schema()
    added = SqlAdditions(engine)
    yield Deployment(store, NextVersion(store, added), added)
    engine.dispose()


# Servers keep theirs for all tests, since to make tables takes longer than to use them.


@pytest.fixture(scope="module")
def deployed_on_sqlite() -> Iterator[Deployment]:
    with (
        TemporaryDirectory(dir=IN_MEMORY) as folder,
        deployed_on(f"sqlite:///{folder}/sessions.db") as deployment,
    ):
        yield deployment


@pytest.fixture(scope="module")
def deployed_on_postgresql(postgresql: PostgresServer) -> Iterator[Deployment]:
    postgresql.execute("CREATE DATABASE rolling")
    with deployed_on(postgresql.url("psycopg", "rolling")) as deployment:
        yield deployment
    postgresql.execute("DROP DATABASE rolling")


@pytest.fixture(scope="module")
def deployed_on_mariadb(mariadb: MariaDbServer) -> Iterator[Deployment]:
    mariadb.execute("CREATE DATABASE rolling CHARACTER SET utf8mb4")
    with deployed_on(mariadb.url("pymysql", "rolling")) as deployment:
        yield deployment
    mariadb.execute("DROP DATABASE rolling")


@pytest.fixture(scope="module")
def redis_server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[Any]:
    with redis_server.client() as client:
        yield client


@pytest.fixture
def on_redis(redis_server: RedisServer, client: Any) -> Iterator[Deployment]:
    prefix = f"rolling-{next(_numbers)}"
    with RedisSessionStore.connect(redis_server.url, prefix=prefix, tag_key=TAG_KEY) as store:
        added = RedisAdditions(client, prefix)
        yield Deployment(store, NextVersion(store, added), added)


@pytest.fixture(params=["redis", "sqlite", "postgresql", "mariadb"])
def deployment(request: pytest.FixtureRequest) -> Deployment:
    if request.param == "redis":
        on_redis: Deployment = request.getfixturevalue("on_redis")
        return on_redis
    deployed: Deployment = request.getfixturevalue(f"deployed_on_{request.param}")
    assert isinstance(deployed.added, SqlAdditions)
    deployed.added.delete_all()
    return deployed


# -- Operation by operation -------------------------------------------------------


def test_either_finds_what_the_other_admitted(deployment: Deployment) -> None:
    alice = a_user()
    old = sign_in(deployment.n, alice)
    new = sign_in(deployment.n_plus_1, alice)
    assert deployment.n.find(old.locator) == old
    assert deployment.n.find(new.locator) == new
    assert risk_of(expect(Session, deployment.n_plus_1.find(old.locator))) is None
    found = expect(RiskySession, deployment.n_plus_1.find(new.locator))
    assert (plain(found), found.risk) == (new, RISK)


def test_both_list_the_same_sessions(deployment: Deployment) -> None:
    alice = a_user()
    old, new = sign_in(deployment.n, alice), sign_in(deployment.n_plus_1, alice)
    for store in deployment.both:
        roster = store.roster(alice)
        assert roster.unreadable == ()
        assert {plain(each) for each in roster.sessions} == {old, new}
    risks = {each.locator: risk_of(each) for each in deployment.n_plus_1.roster(alice).sessions}
    assert risks == {old.locator: None, new.locator: RISK}


def test_what_the_old_version_replaces_keeps_what_the_new_one_added(
    deployment: Deployment,
) -> None:
    session = sign_in(deployment.n_plus_1, a_user())
    newer = successor(session, last_seen_at=NOW + MINUTE)
    assert deployment.n.replace(session, newer)
    assert not deployment.n_plus_1.replace(session, successor(session))
    found = expect(RiskySession, deployment.n_plus_1.find(session.locator))
    assert (plain(found), found.risk) == (newer, RISK)


def test_what_the_new_version_adds_to_an_old_session_is_kept_by_the_old_one(
    deployment: Deployment,
) -> None:
    session = sign_in(deployment.n, a_user())
    found = expect(RiskySession, deployment.n_plus_1.find(session.locator))
    assessed = risky(successor(found), 2)
    assert deployment.n_plus_1.replace(found, assessed)
    again = expect(Session, deployment.n.find(session.locator))
    assert deployment.n.replace(again, successor(again))
    assert deployment.added.read(session.locator) == 2


def test_what_the_old_version_restarts_keeps_what_the_new_one_added(
    deployment: Deployment,
) -> None:
    alice = a_user()
    session, other = (sign_in(deployment.n_plus_1, alice) for _ in range(2))
    for each in (session, other):
        change = a_change({"colour": b'"red"'})
        assert deployment.n_plus_1.write_data(each.locator, change) is DataWrite.WRITTEN
    new = restarted(session)
    locator = expect(Locator, deployment.n.restart(session, new))
    found = expect(RiskySession, deployment.n_plus_1.find(locator))
    assert (plain(found), found.risk) == (new.moved_to(locator), RISK)
    assert values(deployment.n_plus_1, found) == {"colour": b'"red"'}
    # Repeating moves nothing twice, and the others are gone with what was theirs.
    assert deployment.n.restart(session, new) == locator
    assert deployment.added.count() == 1
    assert deployment.n.find(other.locator) is None
    assert deployment.n_plus_1.roster(alice).sessions == (found,)


def test_what_the_new_version_restarts_is_found_by_the_old_one(deployment: Deployment) -> None:
    session = sign_in(deployment.n, a_user())
    new = restarted(session)
    locator = expect(Locator, deployment.n_plus_1.restart(session, new))
    assert deployment.n.find(locator) == new.moved_to(locator)
    assert deployment.n.find(session.locator) is None


def test_session_data_are_common_to_both(deployment: Deployment) -> None:
    session = sign_in(deployment.n_plus_1, a_user())
    assert deployment.n.write_data(session.locator, a_change({"a": b"1"})) is DataWrite.WRITTEN
    change = a_change({"b": b"2"}, remove=frozenset({"a"}))
    assert deployment.n_plus_1.write_data(session.locator, change) is DataWrite.WRITTEN
    assert values(deployment.n, session) == {"b": b"2"}
    assert deployment.added.read(session.locator) == RISK


def delete_one(store: Any, session: Session) -> None:
    assert store.delete(session.locator)
    assert not store.delete(session.locator)


def delete_expected(store: Any, session: Session) -> None:
    assert not store.delete(session.locator, successor(session))
    assert store.delete(session.locator, session)


def delete_all(store: Any, session: Session) -> None:
    assert store.delete_user(session.subject) == 1


def evict(store: Any, session: Session) -> None:
    newcomer = a_session(session.subject, session.locator.epoch)
    version = store.roster(session.subject).version
    assert store.admit(newcomer, (session.locator,), version, NOW) is Admission.ADMITTED
    assert store.delete(newcomer.locator)


def purge(store: Any, session: Session) -> None:
    assert purge_all(store, session.keep_until + MINUTE, 10) == 1


def restart_another(store: Any, session: Session) -> None:
    other = sign_in(store, session.subject)
    locator = store.restart(other, restarted(other))
    assert store.delete(locator)


@pytest.mark.parametrize(
    "end", [delete_one, delete_expected, delete_all, evict, purge, restart_another]
)
@pytest.mark.parametrize("who", ["n", "n_plus_1"])
def test_a_session_that_either_ends_leaves_nothing_behind(
    deployment: Deployment, who: str, end: Callable[[Any, Session], None]
) -> None:
    session = sign_in(deployment.n_plus_1, a_user())
    assert deployment.added.count() == 1
    end(getattr(deployment, who), session)
    assert deployment.added.count() == 0
    for store in deployment.both:
        assert store.find(session.locator) is None
        assert store.roster(session.subject).sessions == ()


def test_what_was_added_counts_for_no_session(deployment: Deployment) -> None:
    alice, bob = a_user(), a_user()
    for subject in (alice, bob):
        for _ in range(3):
            sign_in(deployment.n_plus_1, subject)
    assert deployment.n.delete_user(alice) == 3
    assert deployment.n.purge(NOW + 2 * LIFETIME, 2).sessions == 2
    assert deployment.added.count() == 1
    assert purge_all(deployment.n, NOW + 2 * LIFETIME, 10) == 1
    assert deployment.added.count() == 0


# -- Histories --------------------------------------------------------------------


class History:
    """
    Two servers and two users, whose every step is compared with a model.
    """

    STEPS: ClassVar = 120

    def __init__(self, deployment: Deployment, seed: int) -> None:
        self.deployment = deployment
        self.draw = random.Random(seed)
        self.users = (a_user(), a_user())
        self.now = NOW
        self.sessions: dict[Locator, tuple[Session, int | None]] = {}
        self.data: dict[Locator, dict[str, bytes]] = {}

    def run(self) -> None:
        for _ in range(self.STEPS):
            step = self.draw.choice(
                [
                    *(self.sign_in, self.sign_in, self.sign_in),
                    *(self.replace, self.replace, self.replace, self.write_data),
                    *(self.restart, self.delete, self.evict, self.end_all, self.purge),
                ]
            )
            new = self.draw.random() < 0.5
            step(self.deployment.n_plus_1 if new else self.deployment.n, new=new)
            self.compare()

    def compare(self) -> None:
        for user in self.users:
            expected = {
                locator: known
                for locator, known in self.sessions.items()
                if known[0].subject == user
            }
            roster = self.deployment.n.roster(user)
            assert roster.unreadable == ()
            assert set(roster.sessions) == {session for session, _ in expected.values()}
            theirs = self.deployment.n_plus_1.roster(user).sessions
            found = {each.locator: (plain(each), risk_of(each)) for each in theirs}
            assert found == expected
        with_risk = [risk for _, risk in self.sessions.values() if risk is not None]
        assert self.deployment.added.count() == len(with_risk)

    def any_session(self) -> Session | None:
        known = list(self.sessions.values())
        return self.draw.choice(known)[0] if known else None

    def sign_in(self, store: Any, *, new: bool) -> None:
        keep_until = self.now + timedelta(minutes=self.draw.randrange(1, 60))
        session = sign_in(store, self.draw.choice(self.users), keep_until=keep_until)
        self.sessions[session.locator] = (session, RISK if new else None)
        self.data[session.locator] = {}

    def changed(self, session: Session, *, new: bool) -> tuple[Session, int | None]:
        risk = self.sessions[session.locator][1]
        later = successor(session, last_seen_at=self.now)
        if not new:
            return later, risk
        risk = self.draw.choice([risk, self.draw.randrange(10), None])
        return risky(later, risk), risk

    def replace(self, store: Any, *, new: bool) -> None:
        session = self.any_session()
        if session is not None:
            later, risk = self.changed(session, new=new)
            assert store.replace(session, later)
            self.sessions[session.locator] = (expect(Session, plain(later)), risk)

    def restart(self, store: Any, *, new: bool) -> None:
        session = self.any_session()
        if session is None:
            return
        later, risk = self.changed(session, new=new)
        moved = restarted(later)
        locator = expect(Locator, store.restart(session, moved))
        data = self.data[session.locator]
        self.forget(each for each in self.sessions if each.epoch == session.locator.epoch)
        self.sessions[locator] = (expect(Session, plain(moved.moved_to(locator))), risk)
        self.data[locator] = data
        assert values(store, self.sessions[locator][0]) == data

    def write_data(self, store: Any, *, new: bool) -> None:
        session = self.any_session()
        if session is not None:
            put = {self.draw.choice("abc"): b"%d" % self.draw.randrange(100)}
            assert store.write_data(session.locator, a_change(put)) is DataWrite.WRITTEN
            self.data[session.locator].update(put)
            assert values(store, session) == self.data[session.locator]

    def delete(self, store: Any, *, new: bool) -> None:
        session = self.any_session()
        if session is not None:
            expected = self.draw.choice([None, session])
            assert store.delete(session.locator, expected)
            self.forget([session.locator])

    def evict(self, store: Any, *, new: bool) -> None:
        session = self.any_session()
        if session is not None:
            version = store.roster(session.subject).version
            newcomer = a_session(session.subject, session.locator.epoch)
            admission = store.admit(newcomer, (session.locator,), version, NOW)
            assert admission is Admission.ADMITTED
            self.forget([session.locator])
            self.sessions[newcomer.locator] = (newcomer, RISK if new else None)
            self.data[newcomer.locator] = {}

    def end_all(self, store: Any, *, new: bool) -> None:
        user = self.draw.choice(self.users)
        gone = [each for each, (session, _) in self.sessions.items() if session.subject == user]
        assert store.delete_user(user) == len(gone)
        self.forget(gone)

    def purge(self, store: Any, *, new: bool) -> None:
        self.now += timedelta(minutes=10)
        due = [
            each for each, (session, _) in self.sessions.items() if session.keep_until < self.now
        ]
        assert purge_all(store, self.now, 100) == len(due)
        self.forget(due)

    def forget(self, locators: Any) -> None:
        for locator in list(locators):
            del self.sessions[locator], self.data[locator]


@pytest.mark.parametrize("seed", [1, 2])
def test_no_history_of_both_versions_loses_anything(deployment: Deployment, seed: int) -> None:
    History(deployment, seed).run()


# -- Use cases, with the whole service at both ends -------------------------------


class Site:
    """
    A server of each version behind one site, and the user alice.
    """

    def __init__(self, deployment: Deployment) -> None:
        self.clock = ManualClock()
        self.events = RecordingEvents()
        self.credentials = MemoryCredentialStore()
        self.passwords = FakePasswordHasher()
        self.entropy = SeededEntropy()
        encoded = expect(str, self.passwords.hash(PASSWORD))
        self.credentials.add_user("id-of-alice", "alice", encoded)
        self.old = self.server(deployment.n)
        self.new = self.server(deployment.n_plus_1)
        self.added = deployment.added

    def server(self, sessions: Any) -> AuthService:
        return AuthService(
            sessions=sessions,
            policy=POLICY,
            credentials=self.credentials,
            passwords=self.passwords,
            events=self.events,
            clock=self.clock,
            entropy=self.entropy,
        )

    def login(self, server: AuthService) -> str:
        self.clock.advance(timedelta(seconds=1))
        return expect(LoggedIn, server.login("alice", PASSWORD)).session_id.reveal()

    def risk(self, cookie: str) -> int | None:
        """
        What version N+1 knows about the session, which must be live at both.
        """
        expect(Active, self.old.authenticate(cookie, passive=True))
        return risk_of(expect(Active, self.new.authenticate(cookie, passive=True)).session)


@pytest.fixture
def site(deployment: Deployment) -> Site:
    return Site(deployment)


def test_a_browser_may_be_sent_to_either_version(site: Site) -> None:
    cookie = site.login(site.new)
    assert site.risk(cookie) == RISK
    # Being seen, and both halves of a renewal, at the old one.
    site.clock.advance(10 * MINUTE)
    assert expect(Active, site.old.authenticate(cookie)).session.last_seen_at == site.clock.now()
    site.clock.advance(10 * MINUTE)
    renewed = expect(Active, site.old.authenticate(cookie)).renewed
    assert renewed is not None
    assert site.risk(renewed.reveal()) == RISK
    expect(Active, site.old.authenticate(renewed.reveal()))
    # The other way round.
    site.clock.advance(20 * MINUTE)
    again = expect(Active, site.new.authenticate(renewed.reveal())).renewed
    assert again is not None
    expect(Active, site.old.authenticate(again.reveal()))
    # A step-up at the old one.
    stepped_up = expect(Rotated, site.old.reauthenticate(again.reveal(), PASSWORD))
    cookie = stepped_up.session_id.reveal()
    assert site.risk(cookie) == RISK
    expect(DataChanged, site.old.change_data(stepped_up.session, {"colour": "red"}))
    # And everything ends but this one: the session moves.
    other = site.login(site.new)
    changed = expect(PasswordChanged, site.old.change_password(cookie, PASSWORD, "battery staple"))
    assert changed.kept is not None
    kept = changed.kept.session_id.reveal()
    assert site.risk(kept) == RISK
    assert site.added.count() == 1
    assert expect(Inactive, site.new.authenticate(other)).reason is InactiveReason.UNKNOWN
    session = expect(Active, site.new.authenticate(kept)).session
    assert expect(DataRead, site.new.read_data(session)).values == {"colour": "red"}
    assert site.new.logout(kept).ended
    assert site.added.count() == 0
    assert isinstance(site.old.authenticate(kept), Inactive)


def test_a_session_of_the_old_version_has_no_risk_until_the_new_one_gives_it_one(
    site: Site,
) -> None:
    cookie = site.login(site.old)
    assert site.risk(cookie) is None
    site.clock.advance(10 * MINUTE)
    expect(Active, site.new.authenticate(cookie))
    assert site.risk(cookie) is None
    kept = site.new.logout_everywhere("id-of-alice", keep=cookie).kept
    assert site.risk(expect(Rotated, kept).session_id.reveal()) is None


def test_a_sign_in_at_the_old_version_evicts_no_session_of_the_new_one(site: Site) -> None:
    first, second = site.login(site.new), site.login(site.old)
    assert (site.risk(first), site.risk(second)) == (RISK, None)
    # The third is the last that the policy allows; the fourth evicts the oldest.
    third, fourth = site.login(site.new), site.login(site.old)
    assert [site.risk(cookie) for cookie in (second, third, fourth)] == [None, RISK, None]
    assert isinstance(site.new.authenticate(first), Inactive)
    assert site.added.count() == 1


def test_sessions_are_listed_and_revoked_at_either_version(site: Site) -> None:
    cookies = [site.login(site.new), site.login(site.old)]
    for server, cookie in zip((site.old, site.new), cookies, strict=True):
        assert len(server.sessions_of("id-of-alice")) == 2 - cookies.index(cookie)
        handle = expect(Active, server.authenticate(cookie)).session.handle
        assert server.revoke("id-of-alice", handle).ended
        for either in (site.old, site.new):
            assert isinstance(either.authenticate(cookie), Inactive)
    assert site.added.count() == 0


# -- What each technology has of its own ------------------------------------------


def test_an_addition_leaves_the_hash_in_its_compact_encoding(
    on_redis: Deployment, client: Any
) -> None:
    alice = a_user()
    session = sign_in(on_redis.n, alice)
    names = layout.Layout(on_redis.n.prefix, TAG_KEY)  # type: ignore[union-attr]
    key, _ = names.keys_of(session.locator.epoch)
    client.hset(key, session.locator.slot + layout.ADDITION_SUFFIX, b"x" * records.PIECE_BYTES)
    newer = successor(session)
    assert on_redis.n.replace(session, newer)
    assert client.object("encoding", key) == b"listpack"
    assert on_redis.n.restart(newer, restarted(newer)) is not None
    assert client.object("encoding", key) == b"listpack"
    assert on_redis.n.delete_user(alice) == 1


def test_an_addition_of_any_length_is_kept(on_redis: Deployment, client: Any) -> None:
    session = sign_in(on_redis.n, a_user())
    names = layout.Layout(on_redis.n.prefix, TAG_KEY)  # type: ignore[union-attr]
    key, _ = names.keys_of(session.locator.epoch)
    addition = bytes(range(256)) * 40
    client.hset(key, session.locator.slot + layout.ADDITION_SUFFIX, addition)
    new = restarted(session)
    assert on_redis.n.restart(session, new) is not None
    assert client.hget(key, new.locator.slot + layout.ADDITION_SUFFIX) == addition


def test_an_addition_does_not_change_how_long_a_key_lives(
    on_redis: Deployment, client: Any
) -> None:
    session = sign_in(on_redis.n_plus_1, a_user())
    names = layout.Layout(on_redis.n.prefix, TAG_KEY)  # type: ignore[union-attr]
    key, _ = names.keys_of(session.locator.epoch)
    longest = session.lives_for / timedelta(milliseconds=1)
    before = client.pttl(key)
    assert 0 < before <= longest
    newer = successor(session)
    assert on_redis.n.replace(session, newer)
    assert 0 < client.pttl(key) <= longest
    assert on_redis.n.restart(newer, restarted(newer)) is not None
    assert 0 < client.pttl(key) <= longest


def test_servers_of_the_old_version_work_while_the_tables_change_under_them(
    database: Database,
) -> None:
    engine = create_engine(database.url)
    store = SqlSessionStore(engine)
    store.create_schema()
    session = sign_in(store, a_user())
    migrate_to_next(database.engine())
    newer = successor(session)
    assert store.find(session.locator) == session
    assert store.replace(session, newer)
    assert sign_in(store, session.subject) in store.roster(session.subject).sessions
    assert store.restart(newer, restarted(newer)) is not None
    store.create_schema()
    engine.dispose()


def test_asyncio_servers_of_the_old_version_do_too(database: Database) -> None:
    async def run() -> None:
        engine = create_async_engine(database.async_url)
        store = AsyncSqlSessionStore(engine)
        await store.create_schema()
        alice = a_user()
        epoch = await store.open_epoch(alice, NOW, LOGIN_WINDOW)
        session = a_session(alice, epoch)
        # Twice, so that drivers have prepared their statements.
        for each in (session, a_session(alice, epoch)):
            assert await store.admit(each, (), None, NOW) is Admission.ADMITTED
            assert await store.find(each.locator) == each
        await asyncio.to_thread(migrate_to_next, database.engine())
        newer = successor(session)
        assert await store.find(session.locator) == session
        assert len((await store.roster(alice)).sessions) == 2
        assert await store.replace(session, newer)
        assert await store.restart(newer, restarted(newer)) is not None
        await store.create_schema()
        await engine.dispose()

    asyncio.run(run())


# -- Changes that the old version cannot follow -----------------------------------


@pytest.fixture(params=["redis", "sqlite", "postgresql", "mariadb"])
def incompatible(request: pytest.FixtureRequest) -> Iterator[tuple[Any, Callable[[], None]]]:
    """
    A store, and what turns all records in it into ones of a format to come.
    """
    if request.param == "redis":
        deployment: Deployment = request.getfixturevalue("on_redis")
        client: Any = request.getfixturevalue("client")

        def rewrite() -> None:
            for key in client.keys(f"{deployment.n.prefix}:{{*}}"):  # type: ignore[union-attr]
                for name, value in client.hgetall(key).items():
                    if len(name) == 6:
                        client.hset(key, name, b"\x02" + value[1:])

        yield deployment.n, rewrite
        return
    database: Database = request.getfixturevalue(f"on_{request.param}")
    engine = create_engine(database.url)
    store = SqlSessionStore(engine)
    store.create_schema()
    yield store, lambda: database.execute("UPDATE sessioncore_sessions SET record = 2;")
    engine.dispose()


def test_a_record_of_a_format_to_come_is_never_live_and_can_be_ended(
    incompatible: tuple[Any, Callable[[], None]],
) -> None:
    store, rewrite = incompatible
    site = Site(Deployment(store, store, None))  # type: ignore[arg-type]
    cookie = site.login(site.old)
    session = expect(Active, site.old.authenticate(cookie)).session
    rewrite()
    outcome = expect(Inactive, site.old.authenticate(cookie))
    assert outcome.reason is InactiveReason.UNREADABLE
    with pytest.raises(CorruptRecord):
        store.find(session.locator)
    assert site.old.sessions_of("id-of-alice") == ()
    assert store.roster(session.subject).unreadable == (session.locator,)
    assert site.old.logout(cookie).ended
    assert store.roster(session.subject).unreadable == ()
    # A sign-in evicts it. This is the price of not keeping to the order of deployment.
    cookie = site.login(site.old)
    rewrite()
    expect(Active, site.old.authenticate(site.login(site.old)))
    assert store.roster(session.subject).unreadable == ()
    assert expect(Inactive, site.old.authenticate(cookie)).reason is InactiveReason.UNKNOWN
