"""
Sessions that the real Flask-Session wrote, read through and moved.

Its interface for SQLAlchemy needs Flask-SQLAlchemy, which is not installed: there the rows
are written by Flask-Session's own serializer into a table as Flask-Session defines it.
"""

from __future__ import annotations

import logging
import pickle
import threading
import traceback
import uuid
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import redis
import sqlalchemy as sql
from databases import Database
from flask import Flask, session
from flask.json.tag import TaggedJSONSerializer
from legacy_moves import Move, a_service, found, orders, perform
from redis.backoff import NoBackoff
from redis.retry import Retry
from sqlalchemy import event

from servers import PostgresServer, Proxy, RedisServer
from servers.local import free_port
from sessioncore import DataRead, LoggedIn, OutcomeUnknown, SessionCoreError, StoreUnavailable
from sessioncore.testing import ManualClock
from sessioncore.testing.race import race
from sessioncore_flask.migration import FlaskSessionRecords, FlaskSessions
from sessioncore_flask.migration_redis import RedisFlaskSessionRecords
from sessioncore_flask.migration_sql import SqlFlaskSessionRecords
from sessioncore_http.legacy import (
    LegacyMoved,
    LegacyRefusal,
    LegacySession,
    LegacySessions,
    LegacyStoreRefused,
    LoggedOnce,
)

# It comes without types.
flask_session: Any = import_module("flask_session")
MsgSpecSerializer: Any = import_module("flask_session.base").MsgSpecSerializer

SECRET_KEY = "a secret key"


def user_id_of(data: Mapping[str, Any]) -> str | None:
    """
    Flask-Login's key.
    """
    user_id: str | None = data.get("_user_id")
    return user_id


class OldRedisApp:
    """
    An app with the real Flask-Session, on Redis.
    """

    def __init__(self, server: RedisServer, client: Any, **config: Any) -> None:
        self.server = server
        self.client = client
        self.records = RedisFlaskSessionRecords(client)
        self.app = Flask("old")
        self.app.add_url_rule("/who", view_func=lambda: session.get("_user_id", "nobody"))
        self.app.add_url_rule("/remember", view_func=self._remember)
        self._to_remember: dict[str, Any] = {}
        configured: Any = self.app.config
        configured.update(
            SECRET_KEY=SECRET_KEY, SESSION_TYPE="redis", SESSION_REDIS=client, **config
        )
        self._cookie_name = str(configured["SESSION_COOKIE_NAME"])
        flask_session.Session(self.app)

    def _remember(self) -> str:
        for key, value in self._to_remember.items():
            session[key] = value
        return "remembered"

    def sign_in(self, user_id: str | None = "alice", **data: Any) -> str:
        """
        Have the app remember something, and return the cookie.
        """
        self._to_remember = data if user_id is None else {"_user_id": user_id, **data}
        browser = self.app.test_client()
        assert browser.get("/remember").text == "remembered"
        cookie = browser.get_cookie(self._cookie_name)
        assert cookie is not None
        return cookie.decoded_value

    def who(self, cookie: str) -> str:
        """
        Ask the old app who is signed in.
        """
        browser = self.app.test_client()
        browser.set_cookie(self._cookie_name, cookie)
        return browser.get("/who").text

    def put(self, cookie: str, record: bytes) -> None:
        self.client.set(f"session:{cookie}", record)

    def put_many(self, records: Mapping[str, bytes]) -> None:
        self.client.mset({f"session:{cookie}": record for cookie, record in records.items()})

    def drop(self, cookie: str) -> None:
        self.client.delete(f"session:{cookie}")

    @property
    def size(self) -> int:
        return int(self.client.dbsize())


class OldSqlTable:
    """
    A table as Flask-Session 0.8 makes it.
    """

    def __init__(self, engine: sql.Engine) -> None:
        self.engine = engine
        self.clock = ManualClock()
        self.records = SqlFlaskSessionRecords(self.engine, clock=self.clock)
        self.serializer = MsgSpecSerializer(Flask("old"), "msgpack")
        self.table = sql.Table(
            "sessions",
            sql.MetaData(),
            sql.Column("id", sql.Integer, primary_key=True),
            sql.Column("session_id", sql.String(255), unique=True),
            sql.Column("data", sql.LargeBinary),
            sql.Column("expiry", sql.DateTime),
        )
        self.table.metadata.create_all(self.engine)

    def sign_in(self, user_id: str | None = "alice", **data: Any) -> str:
        values = data if user_id is None else {"_user_id": user_id, **data}
        cookie = uuid.uuid4().hex
        self.put(cookie, self.serializer.encode({"_permanent": True, **values}))
        return cookie

    def put(self, cookie: str, record: bytes) -> None:
        self.drop(cookie)
        self.put_many({cookie: record})

    def put_many(self, records: Mapping[str, bytes]) -> None:
        expiry = self.clock.now().replace(tzinfo=None) + timedelta(days=31)
        with self.engine.begin() as connection:
            connection.execute(
                self.table.insert(),
                [
                    {"session_id": f"session:{cookie}", "data": record, "expiry": expiry}
                    for cookie, record in records.items()
                ],
            )

    def drop(self, cookie: str) -> None:
        with self.engine.begin() as connection:
            connection.execute(
                self.table.delete().where(self.table.c.session_id == f"session:{cookie}")
            )

    @property
    def size(self) -> int:
        with self.engine.connect() as connection:
            return connection.scalar(sql.select(sql.func.count()).select_from(self.table)) or 0


def an_impatient_client(port: int) -> Any:
    client_class: Any = redis.Redis  # redis-py gives most of its methods no types
    return client_class(port=port, retry=Retry(NoBackoff(), 0))


OldApp = OldRedisApp | OldSqlTable


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer() as running:
        yield running


@pytest.fixture
def on_redis(server: RedisServer) -> Iterator[OldRedisApp]:
    with server.client() as client:
        client.flushall()
        yield OldRedisApp(server, client)


@pytest.fixture
def on_sql(tmp_path: Path) -> Iterator[OldSqlTable]:
    file = tmp_path / "old.sqlite3"
    engine = sql.create_engine(f"sqlite:///{file}", connect_args={"timeout": 20})
    yield OldSqlTable(engine)
    engine.dispose()


@pytest.fixture(params=["on_postgresql", "on_mariadb"])
def on_a_server(request: pytest.FixtureRequest) -> OldSqlTable:
    database: Database = request.getfixturevalue(request.param)
    return OldSqlTable(database.engine())


@pytest.fixture(params=["on_redis", "on_sql"])
def old(request: pytest.FixtureRequest) -> OldApp:
    made: OldApp = request.getfixturevalue(request.param)
    return made


@pytest.fixture
def notices() -> LoggedOnce:
    return LoggedOnce()


def sessions(old: OldApp, **settings: Any) -> FlaskSessions:
    chosen: dict[str, Any] = {"records": old.records, "user_id": user_id_of, **settings}
    return FlaskSessions(**chosen)


# -- Reading -------------------------------------------------------------------


def test_a_session_names_its_user_and_brings_its_data(old: OldApp) -> None:
    cookie = old.sign_in("alice", cart=["tea", 2])
    session = found(sessions(old), cookie)
    assert session.user_id == "alice"
    assert session.data == {"_user_id": "alice", "cart": ["tea", 2]}


def test_a_session_of_a_visitor_names_nobody_and_brings_its_data(old: OldApp) -> None:
    session = found(sessions(old), old.sign_in(None, cart=["tea"]))
    assert session.user_id is None
    assert session.data == {"cart": ["tea"]}


def test_json_records_are_read_as_well(server: RedisServer, on_redis: OldRedisApp) -> None:
    app = OldRedisApp(server, on_redis.client, SESSION_SERIALIZATION_FORMAT="json")
    cookie = app.sign_in("alice", cart=["tea"])
    assert on_redis.client.get(f"session:{cookie}").startswith(b"{")
    assert found(sessions(app), cookie).data == {"_user_id": "alice", "cart": ["tea"]}


def test_values_come_back_as_what_flask_made_of_them(old: OldApp) -> None:
    values = {"bytes": b"\x00\xff", "at": datetime(2026, 11, 21, 12, tzinfo=UTC), "odd": {" b": 1}}
    session = found(sessions(old), old.sign_in("alice", **values))
    serializer = TaggedJSONSerializer()
    back = {key: serializer.loads(serializer.dumps(value)) for key, value in values.items()}
    read = {key: serializer._untag_scan(value) for key, value in session.data.items()}
    assert back == values
    assert read == {"_user_id": "alice", **values}


def test_a_value_that_session_data_cannot_hold_is_left_behind(
    old: OldApp, notices: LoggedOnce
) -> None:
    cookie = old.sign_in("alice", good=1, bad={1: 2}, infinite=float("inf"), **{"k" * 129: 3})
    session = found(sessions(old, notices=notices), cookie)
    assert session.data == {"_user_id": "alice", "good": 1}
    assert notices.counts == {LegacyRefusal.VALUE_LEFT_OUT: 3}


def test_only_the_keys_that_are_asked_for_are_carried(old: OldApp) -> None:
    cookie = old.sign_in("alice", cart=["tea"], colour="red")
    assert found(sessions(old, carry={"cart"}), cookie).data == {"cart": ["tea"]}
    assert found(sessions(old, carry=()), cookie).data == {}


def test_a_key_of_the_first_versions_is_read(old: OldApp) -> None:
    cookie = str(uuid.uuid4())  # Flask-Session 0.5
    old.put(cookie, b"\x81\xa8_user_id\xa5alice")
    assert found(sessions(old), cookie).user_id == "alice"


def test_what_is_not_there_is_nobody(old: OldApp) -> None:
    assert sessions(old).find(uuid.uuid4().hex) is None


def test_an_expired_row_is_nobody(on_sql: OldSqlTable) -> None:
    cookie = on_sql.sign_in()
    on_sql.clock.advance(timedelta(days=31))
    assert sessions(on_sql).find(cookie) is None


@pytest.mark.parametrize(
    "cookie",
    [
        "",
        "a" * 201,
        "a" * 31 + " ",
        "a" * 31 + "*",
        "a" * 31 + "\n",
        "é" * 32,
        "\udcff" * 32,
    ],
)
def test_what_cannot_be_a_key_is_not_looked_up(cookie: str) -> None:
    # Whoever looks something up there is told that nobody answers.
    with an_impatient_client(free_port()) as nobody:
        legacy = FlaskSessions(records=RedisFlaskSessionRecords(nobody), user_id=user_id_of)
        assert legacy.find(cookie) is None


def test_a_key_of_something_else_is_nobody(on_redis: OldRedisApp) -> None:
    on_redis.client.sadd("session:everybody-who-is-online", "alice")
    assert sessions(on_redis).find("everybody-who-is-online") is None


# -- Signed cookies ------------------------------------------------------------


@pytest.fixture
def signing(server: RedisServer, on_redis: OldRedisApp) -> OldRedisApp:
    with pytest.warns(DeprecationWarning, match="use_signer"):
        return OldRedisApp(server, on_redis.client, SESSION_USE_SIGNER=True)


def test_a_signed_cookie_is_verified(signing: OldRedisApp) -> None:
    cookie = signing.sign_in("alice")
    assert "." in cookie
    assert found(sessions(signing, signed_with=SECRET_KEY), cookie).user_id == "alice"


def with_another_signature(cookie: str) -> str:
    return cookie + "A"


def without_signature(cookie: str) -> str:
    return cookie.partition(".")[0]


@pytest.mark.parametrize("change", [with_another_signature, without_signature])
def test_a_cookie_with_another_signature_or_none_is_nobody(
    signing: OldRedisApp, notices: LoggedOnce, change: Callable[[str], str]
) -> None:
    cookie = change(signing.sign_in("alice"))
    assert sessions(signing, signed_with=SECRET_KEY, notices=notices).find(cookie) is None
    assert notices.counts == {LegacyRefusal.UNVERIFIABLE: 1}


def test_a_cookie_signed_with_another_key_is_nobody(signing: OldRedisApp) -> None:
    assert sessions(signing, signed_with="another").find(signing.sign_in("alice")) is None


# -- What is refused -----------------------------------------------------------


class Armed:
    """
    Touches a file when it is unpickled.
    """

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.file,))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickled_session_is_refused_and_not_unpickled(
    old: OldApp, notices: LoggedOnce, tmp_path: Path, protocol: int
) -> None:
    file = tmp_path / "touched"
    record = pickle.dumps({"_user_id": "alice", "armed": Armed(file)}, protocol)
    old.put("an-old-cookie-of-alice", record)
    legacy = sessions(old, notices=notices)
    assert legacy.find("an-old-cookie-of-alice") is None
    assert legacy.end_user("alice") == 0
    assert not file.exists()
    assert notices.counts == {LegacyRefusal.PICKLED: 1}
    serializer = MsgSpecSerializer(Flask("old"), "msgpack")
    serializer.decode(record)  # what Flask-Session does with it
    assert file.exists()


@pytest.mark.parametrize("record", [b"", b"{", b"\x91\x01", b"[1]", b"null", b"\x81", b"\xff" * 9])
def test_a_record_that_is_neither_json_nor_msgpack_is_refused(
    old: OldApp, notices: LoggedOnce, record: bytes
) -> None:
    old.put("an-old-cookie-of-alice", record)
    assert sessions(old, notices=notices).find("an-old-cookie-of-alice") is None
    assert notices.counts == {LegacyRefusal.UNREADABLE: 1}


def test_a_record_that_is_nested_without_end_is_refused(old: OldApp, notices: LoggedOnce) -> None:
    old.put("an-old-cookie-of-alice", b"\x81\xa1a" + b"\x91" * 50_000 + b"\xc0")
    assert sessions(old, notices=notices).find("an-old-cookie-of-alice") is None
    assert notices.counts == {LegacyRefusal.UNREADABLE: 1}


@pytest.mark.parametrize("user_id", ["", "a\nb", "a" * 256])
def test_a_user_id_that_cannot_be_ours_is_refused(
    old: OldApp, notices: LoggedOnce, user_id: str
) -> None:
    assert sessions(old, notices=notices).find(old.sign_in(user_id)) is None
    assert notices.counts == {LegacyRefusal.USER_ID_UNUSABLE: 1}


def test_a_user_id_that_is_not_text_is_a_mistake_in_the_configuration(old: OldApp) -> None:
    def number_of(data: Mapping[str, Any]) -> Any:
        return data.get("number")

    legacy = sessions(old, user_id=number_of)
    with pytest.raises(TypeError, match="text or None, and not int"):
        legacy.find(old.sign_in(None, number=7))


def test_each_kind_of_refusal_is_logged_once_without_a_secret(
    old: OldApp, notices: LoggedOnce, caplog: pytest.LogCaptureFixture
) -> None:
    legacy = sessions(old, notices=notices)
    for number in range(3):
        old.put(f"an-old-cookie-{number}", pickle.dumps({"_user_id": "alice", "n": number}))
        with caplog.at_level(logging.WARNING):
            assert legacy.find(f"an-old-cookie-{number}") is None
    [logged] = caplog.records
    assert logged.name == "sessioncore_http.legacy"
    assert "pickled session was refused" in logged.getMessage()
    assert "old-cookie" not in logged.getMessage()
    assert "alice" not in logged.getMessage()
    assert notices.counts == {LegacyRefusal.PICKLED: 3}


# -- Taking --------------------------------------------------------------------


def test_a_session_is_taken_once(old: OldApp) -> None:
    legacy = sessions(old)
    session = found(legacy, old.sign_in())
    assert legacy.take(session)
    assert not legacy.take(session)


def test_of_parallel_callers_exactly_one_takes_it(old: OldApp) -> None:
    legacy = sessions(old)
    for _ in range(5):
        session = found(legacy, old.sign_in())
        assert sorted(race([partial(legacy.take, session)] * 8)) == [False] * 7 + [True]


def test_a_session_that_was_just_moved_is_known_as_such_for_a_little_while(old: OldApp) -> None:
    clock = ManualClock()
    legacy = sessions(old, clock=clock, moved_for=timedelta(seconds=30))
    cookie = old.sign_in()
    assert legacy.take(found(legacy, cookie))
    clock.advance(timedelta(seconds=29, milliseconds=999))
    assert legacy.find(cookie) == LegacyMoved()
    clock.advance(timedelta(milliseconds=1))
    assert legacy.find(cookie) is None


def test_what_was_changed_since_it_was_found_is_not_taken(old: OldApp) -> None:
    legacy = sessions(old)
    cookie = old.sign_in(cart=["tea"])
    session = found(legacy, cookie)
    old.put(cookie, b'{"_user_id":"alice","cart":["tea","milk"]}')
    assert not legacy.take(session)
    again = found(legacy, cookie)
    assert again.data["cart"] == ["tea", "milk"]
    assert legacy.take(again)


def test_what_has_ended_since_it_was_found_is_not_taken(old: OldApp) -> None:
    legacy = sessions(old)
    cookie = old.sign_in()
    session = found(legacy, cookie)
    old.drop(cookie)
    assert not legacy.take(session)
    assert legacy.find(cookie) is None


def test_in_the_old_app_nobody_is_signed_in_any_more(on_redis: OldRedisApp) -> None:
    legacy = sessions(on_redis)
    cookie = on_redis.sign_in("alice")
    assert on_redis.who(cookie) == "alice"
    assert legacy.take(found(legacy, cookie))
    assert on_redis.who(cookie) == "nobody"


def test_the_mark_goes_by_itself_in_redis(on_redis: OldRedisApp) -> None:
    legacy = sessions(on_redis, moved_for=timedelta(seconds=30))
    cookie = on_redis.sign_in("alice")
    assert legacy.take(found(legacy, cookie))
    assert 0 < on_redis.client.pttl(f"session:{cookie}") <= 30_000


def test_of_parallel_callers_of_a_database_server_exactly_one_takes_it(
    on_a_server: OldSqlTable,
) -> None:
    legacy = sessions(on_a_server)
    cookie = on_a_server.sign_in(note=b"\x00\xff'\\")
    session = found(legacy, cookie)
    assert sorted(race([partial(legacy.take, session)] * 6)) == [False] * 5 + [True]
    assert legacy.find(cookie) == LegacyMoved()


def test_a_database_server_takes_only_what_was_not_changed(on_a_server: OldSqlTable) -> None:
    legacy = sessions(on_a_server)
    cookie = on_a_server.sign_in(cart=["tea"])
    session = found(legacy, cookie)
    on_a_server.put(cookie, b'{"_user_id":"alice","cart":["tea","milk"]}')
    assert not legacy.take(session)
    assert found(legacy, cookie).data["cart"] == ["tea", "milk"]


def test_a_database_server_ends_all_sessions_of_a_user(on_a_server: OldSqlTable) -> None:
    legacy = sessions(on_a_server)
    on_a_server.put_many({uuid.uuid4().hex: b"\x81\xa8_user_id\xa5alice" for _ in range(1_100)})
    cookie = on_a_server.sign_in("bob")
    assert legacy.end_user("alice") == 1_100
    assert found(legacy, cookie).user_id == "bob"


# -- Moving --------------------------------------------------------------------


def test_six_requests_at_once_end_with_one_session_and_no_sign_in_page(old: OldApp) -> None:
    auth = a_service()
    legacy = sessions(old)
    cookie = old.sign_in("alice", cart=["tea"])
    moves = [Move(auth, legacy, cookie) for _ in range(6)]
    assert sorted(race([move.run for move in moves])) == ["signed in"] + ["try again"] * 5
    [outcome] = [move.outcome for move in moves if isinstance(move.outcome, LoggedIn)]
    read = auth.read_data(outcome.session)
    assert read == DataRead({"_user_id": "alice", "cart": ["tea"]})
    assert [listed.handle for listed in auth.sessions_of("alice")] == [outcome.session.handle]


def everywhere(auth: Any, legacy: LegacySessions) -> tuple[Callable[[], object], ...]:
    return (lambda: legacy.end_user("alice"), lambda: auth.logout_everywhere("alice"))


def survivors(old: OldApp, order: tuple[int, ...], *, reverse: bool) -> int:
    auth, legacy = a_service(), sessions(old)
    move = Move(auth, legacy, old.sign_in("alice"))
    steps = everywhere(auth, legacy)
    perform(move.steps, steps[::-1] if reverse else steps, order)
    return len(auth.sessions_of("alice"))


def test_no_move_survives_a_sign_out_everywhere_in_whatever_order_they_happen(old: OldApp) -> None:
    steps = Move(a_service(), sessions(old), "").steps
    ways = list(orders(steps, everywhere(a_service(), sessions(old))))
    assert len(ways) == 15
    for order in ways:
        assert survivors(old, order, reverse=False) == 0, order


def test_ending_the_new_sessions_first_would_let_a_move_survive(old: OldApp) -> None:
    steps = Move(a_service(), sessions(old), "").steps
    ways = list(orders(steps, everywhere(a_service(), sessions(old))))
    # Begun and taken between the two.
    assert any(survivors(old, order, reverse=True) for order in ways)


# -- Sign out everywhere -------------------------------------------------------


def test_signing_out_everywhere_ends_the_old_sessions_of_that_user_alone(old: OldApp) -> None:
    legacy = sessions(old)
    of_alice = [old.sign_in("alice") for _ in range(3)]
    of_others = [old.sign_in("bob"), old.sign_in("alice2"), old.sign_in(None, cart=[])]
    assert legacy.end_user("alice") == 3
    assert [legacy.find(cookie) for cookie in of_alice] == [None] * 3
    assert all(isinstance(legacy.find(cookie), LegacySession) for cookie in of_others)
    assert legacy.end_user("alice") == 0


def test_signing_out_everywhere_reads_more_than_one_portion(old: OldApp) -> None:
    record = b"\x81\xa8_user_id\xa5alice"
    old.put_many({uuid.uuid4().hex: record for _ in range(2_500)})
    cookie = old.sign_in("bob")
    legacy = sessions(old)
    assert legacy.end_user("alice") == 2_500
    assert old.size == 1
    assert found(legacy, cookie).user_id == "bob"


def test_a_session_that_was_moved_is_nobodys_when_its_user_signs_out(old: OldApp) -> None:
    legacy = sessions(old)
    assert legacy.take(found(legacy, old.sign_in("alice")))
    assert legacy.end_user("alice") == 0


@pytest.mark.parametrize("prefix", ["app[1]:", "a*c?:", "100%_:", "back\\slash:"])
def test_a_prefix_is_taken_literally(old: OldApp, prefix: str) -> None:
    def key(start: str) -> str:
        return start + uuid.uuid4().hex

    near = "".join("x" if each in "[]*?%_\\" else each for each in prefix)
    record = b"\x81\xa8_user_id\xa5alice"
    ours, theirs = key(prefix), key(near)
    if isinstance(old, OldRedisApp):
        old.client.mset({ours: record, theirs: record})
    else:
        expiry = old.clock.now().replace(tzinfo=None) + timedelta(days=1)
        with old.engine.begin() as connection:
            rows = [
                {"session_id": each, "data": record, "expiry": expiry} for each in (ours, theirs)
            ]
            connection.execute(old.table.insert(), rows)
    assert sessions(old, key_prefix=prefix).end_user("alice") == 1
    assert old.records.read(ours) is None
    assert old.records.read(theirs) == record


# -- Outages -------------------------------------------------------------------


def test_a_reply_that_is_lost_on_the_way_does_not_lose_the_session(
    server: RedisServer, on_redis: OldRedisApp
) -> None:
    cookie = on_redis.sign_in("alice")
    with Proxy(server.port) as proxy, an_impatient_client(proxy.port) as client:
        legacy = sessions(on_redis, records=RedisFlaskSessionRecords(client))
        session = found(legacy, cookie)
        lost = proxy.lose_next_reply()
        assert legacy.take(session)
        assert lost.is_set()
    assert sessions(on_redis).find(cookie) == LegacyMoved()


def test_a_lost_acknowledgement_of_a_commit_does_not_lose_the_session(
    on_postgresql: Database,
) -> None:
    old = OldSqlTable(on_postgresql.engine())
    cookie = old.sign_in("alice")
    server = on_postgresql.server
    assert isinstance(server, PostgresServer)
    with Proxy(server.port) as proxy:
        url = server.url("psycopg", on_postgresql.database, proxy.port)
        engine = sql.create_engine(url, poolclass=sql.NullPool)
        lost: list[threading.Event] = []

        def lose_one_reply(_: sql.Connection) -> None:
            if not lost:
                lost.append(proxy.lose_next_reply())

        event.listen(engine, "commit", lose_one_reply)
        legacy = sessions(old, records=SqlFlaskSessionRecords(engine, clock=old.clock))
        assert legacy.take(found(legacy, cookie))
        assert lost[0].is_set()


def test_an_outage_is_not_a_sign_out(server: RedisServer, on_redis: OldRedisApp) -> None:
    with an_impatient_client(free_port()) as nobody:
        legacy = sessions(on_redis, records=RedisFlaskSessionRecords(nobody))
        with pytest.raises(StoreUnavailable):
            legacy.find(uuid.uuid4().hex)
        with pytest.raises(StoreUnavailable):
            legacy.end_user("alice")
        with pytest.raises(OutcomeUnknown):
            legacy.take(found(sessions(on_redis), on_redis.sign_in("alice")))


def test_an_outage_of_the_database_is_not_a_sign_out(on_sql: OldSqlTable) -> None:
    legacy = sessions(on_sql)
    session = found(legacy, on_sql.sign_in("alice"))
    on_sql.table.drop(on_sql.engine)
    for call in (
        lambda: legacy.find(uuid.uuid4().hex),
        lambda: legacy.take(session),
        lambda: legacy.end_user("alice"),
    ):
        with pytest.raises(StoreUnavailable):
            call()


def test_a_failure_shows_no_secret(on_sql: OldSqlTable) -> None:
    legacy = sessions(on_sql)
    cookie = on_sql.sign_in("alice", note="for her eyes only")
    session = found(legacy, cookie)
    on_sql.table.drop(on_sql.engine)
    for call in (lambda: legacy.find(cookie), lambda: legacy.take(session)):
        with pytest.raises(SessionCoreError) as raised:
            call()
        shown = "".join(traceback.format_exception(raised.value))
        assert cookie not in shown
        assert "her eyes" not in shown


def test_nothing_shows_a_secret(old: OldApp) -> None:
    legacy = sessions(old, signed_with="a secret key")
    unsigned = sessions(old)
    cookie = old.sign_in("alice", note="for her eyes only")
    shown = f"{found(unsigned, cookie)!r} {legacy!r}"
    assert "alice" in shown
    assert cookie not in shown
    assert "her eyes" not in shown
    assert "secret key" not in shown


# -- Configuring ---------------------------------------------------------------


def test_the_old_configuration_is_taken_over(server: RedisServer, on_redis: OldRedisApp) -> None:
    app = OldRedisApp(
        server,
        on_redis.client,
        SESSION_KEY_PREFIX="mine:",
        SESSION_COOKIE_NAME="sid",
        SESSION_COOKIE_PATH="/app",
        SESSION_COOKIE_DOMAIN="example.com",
    )
    legacy = FlaskSessions.of_app(app.app, records=app.records, user_id=user_id_of)
    assert (legacy.cookie_name, legacy.cookie_path) == ("sid", "/app")
    assert legacy.cookie_domain == "example.com"
    assert (legacy.key_prefix, legacy.signed_with) == ("mine:", None)


def test_a_signer_in_the_old_configuration_is_taken_over(signing: OldRedisApp) -> None:
    legacy = FlaskSessions.of_app(signing.app, records=signing.records, user_id=user_id_of)
    assert (legacy.cookie_name, legacy.cookie_path) == ("session", "/")
    assert legacy.cookie_domain is None
    assert found(legacy, signing.sign_in("alice")).user_id == "alice"


@pytest.mark.parametrize(
    ("kind", "reason"),
    [("filesystem", "pickles"), ("cachelib", "pickles"), ("memcached", "nobody can list")],
)
def test_stores_from_which_nothing_can_be_moved_are_refused_with_the_reason(
    on_sql: OldSqlTable, kind: str, reason: str
) -> None:
    app = Flask("old")
    app.config["SESSION_TYPE"] = kind
    with pytest.raises(LegacyStoreRefused, match=reason):
        FlaskSessions.of_app(app, records=on_sql.records, user_id=user_id_of)


def test_a_client_that_decodes_is_refused(server: RedisServer) -> None:
    with server.client(decode_responses=True) as client, pytest.raises(ValueError, match="decode"):
        RedisFlaskSessionRecords(client)


def test_what_is_no_client_of_one_redis_is_refused() -> None:
    anything: Any = object()
    with pytest.raises(TypeError, match=r"redis\.Redis"):
        RedisFlaskSessionRecords(anything)


def test_one_key_instead_of_several_is_refused(on_sql: OldSqlTable) -> None:
    with pytest.raises(TypeError, match="several keys"):
        sessions(on_sql, carry="cart")


def test_a_move_that_is_forgotten_at_once_is_refused(on_sql: OldSqlTable) -> None:
    with pytest.raises(ValueError, match="moved_for"):
        sessions(on_sql, moved_for=timedelta(0))


def test_the_types_fit_the_ports(old: OldApp) -> None:
    records: FlaskSessionRecords = old.records
    legacy: LegacySessions = sessions(old)
    assert records.read("session:none") is None
    assert legacy.find("") is None
