from __future__ import annotations

import ast
import asyncio
import contextlib
import json
import signal
import threading
import time
import traceback
from dataclasses import replace
from datetime import datetime, timedelta
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import redis
import redis.asyncio
import redis.asyncio.sentinel
import redis.sentinel
from hypothesis import given
from hypothesis import strategies as st
from redis.exceptions import (
    AskError,
    ClusterDownError,
    MovedError,
    NoPermissionError,
    ResponseError,
    TryAgainError,
)
from redis_sessions import (
    ALICE,
    BOB,
    LIFETIME,
    NOW,
    WINDOW,
    a_change,
    a_session,
    every_operation,
    moved,
    sign_in,
    touched,
)

from servers import RedisServer
from sessioncore.errors import CorruptRecord, OutcomeUnknown, StoreUnavailable
from sessioncore.ports import Admission, DataWrite, Purged
from sessioncore.session import (
    DataChange,
    Device,
    Epoch,
    Locator,
    Pending,
    Session,
    Subject,
)
from sessioncore.testing.strategies import locators, sessions, subjects
from sessioncore_redis import AsyncRedisSessionStore, RedisSessionStore, calls, records
from sessioncore_redis.failures import failure
from sessioncore_redis.layout import Layout
from sessioncore_redis.walk import PAGES

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
GOLDEN = HERE.parent / "golden" / "redis"
PACKAGE = Path(calls.__file__).parent

TAG_KEY = b"a key for the tests of this page"
DEADLINE_SECONDS = 10.0

untyped_sentinel: Any = redis.sentinel.Sentinel
untyped_async_sentinel: Any = redis.asyncio.sentinel.Sentinel


@pytest.fixture(scope="module")
def shared() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def client(shared: RedisServer) -> Iterator[Any]:
    with shared.client() as client:
        client.flushall()
        yield client


@pytest.fixture
def store(client: Any) -> RedisSessionStore:
    return RedisSessionStore(client, tag_key=TAG_KEY)


# redis-py gives most methods of its clients no types.
untyped_redis: Any = redis.Redis


def main_key(client: Any) -> bytes:
    key: bytes
    (key,) = client.keys("sessioncore:{*}")
    return key


# Construction


def test_an_asynchronous_client_is_refused_by_the_store_for_threads() -> None:
    with pytest.raises(TypeError, match=r"RedisCluster, not redis\.asyncio\.client\.Redis"):
        RedisSessionStore(redis.asyncio.Redis())  # type: ignore[arg-type]


def test_a_client_for_threads_is_refused_by_the_asynchronous_store() -> None:
    with pytest.raises(TypeError, match=r"asyncio\.RedisCluster, not redis\.client\.Redis"):
        AsyncRedisSessionStore(redis.Redis())  # type: ignore[arg-type]


def test_a_client_that_decodes_is_refused() -> None:
    with pytest.raises(ValueError, match="decode_responses"):
        RedisSessionStore(redis.Redis(decode_responses=True))
    with pytest.raises(ValueError, match="decode_responses"):
        AsyncRedisSessionStore(redis.asyncio.Redis(decode_responses=True))


def test_a_client_that_reads_from_a_replica_is_refused() -> None:
    with pytest.raises(ValueError, match="replica"):
        RedisSessionStore(untyped_sentinel([]).slave_for("sessions"))
    with pytest.raises(ValueError, match="replica"):
        AsyncRedisSessionStore(untyped_async_sentinel([]).slave_for("sessions"))


@pytest.mark.parametrize("cluster", [False, True])
@pytest.mark.parametrize("url", ["redis://:sEcret/more@host/0", "redis://user:sEc#ret@host/0", "x"])
def test_what_is_no_url_is_refused_without_repeating_it(url: str, cluster: bool) -> None:
    async def connect() -> None:
        async with AsyncRedisSessionStore.connect(url, cluster=cluster):
            pass

    for refused in (
        lambda: RedisSessionStore.connect(url, cluster=cluster).__enter__(),
        lambda: asyncio.run(connect()),
    ):
        with pytest.raises(ValueError, match="not the URL") as refusal:
            refused()
        assert "sEc" not in "".join(texts(refusal.value))


@pytest.mark.parametrize("prefix", ["", "a{b", "a}b", "sessión", "a*", "a b", "x" * 65])
def test_an_unfit_prefix_is_refused(prefix: str) -> None:
    with pytest.raises(ValueError, match="prefix"):
        RedisSessionStore(redis.Redis(), prefix=prefix)


@pytest.mark.parametrize("tag_key", [b"", b"short", bytes(15), bytes(65)])
def test_a_tag_key_that_is_too_short_or_too_long_is_refused(tag_key: bytes) -> None:
    with pytest.raises(ValueError, match="tag_key"):
        RedisSessionStore(redis.Redis(), tag_key=tag_key)


def test_a_tag_key_that_is_text_is_refused() -> None:
    with pytest.raises(TypeError, match="tag_key"):
        RedisSessionStore(redis.Redis(), tag_key="x" * 32)  # type: ignore[arg-type]


def test_the_tag_key_and_the_client_are_not_shown() -> None:
    shown = repr(RedisSessionStore(redis.Redis(password="open sesame"), tag_key=TAG_KEY))
    assert shown == (
        "RedisSessionStore(prefix='sessioncore', deadline=datetime.timedelta(seconds=2),"
        " wait_replicas=0, keep_connections=False)"
    )


def test_a_client_that_was_handed_in_stays_open(client: Any) -> None:
    every_operation(RedisSessionStore(client))
    assert client.ping()


def test_a_connected_store_has_a_client_that_repeats_nothing(shared: RedisServer) -> None:
    with RedisSessionStore.connect(shared.url) as store:
        every_operation(store)
        assert {weakness.promise for weakness in store.check()} == {
            "An ended session stays ended, whatever happens to the server."
        }


# Two shells, one program


MAKES_FEED = "invalidation_feed"


def test_both_stores_are_the_same_program() -> None:
    def program(file: str) -> str:
        text = (PACKAGE / file).read_text()
        for new, old in {
            "AsyncRedisSessionStore": "RedisSessionStore",
            "AsyncSessionStore": "SessionStore",
            "asynccontextmanager": "contextmanager",
            "AsyncGenerator[RedisSessionStore, None]": "Generator[RedisSessionStore, None, None]",
            "AsyncGenerator": "Generator",
            "redis.asyncio": "redis",
            "check_async_client": "check_sync_client",
            "new_async_client": "new_sync_client",
            "aclose": "close",
            "async def": "def",
            "await ": "",
        }.items():
            text = text.replace(new, old)
        tree = ast.parse(text)
        imports = (ast.Import, ast.ImportFrom)
        tree.body = [node for node in tree.body[1:] if not isinstance(node, imports)]
        store = next(node for node in tree.body if isinstance(node, ast.ClassDef))
        # A feed is for threads: only the store for asyncio has to be given a client for it.
        store.body = [node for node in store.body[1:] if getattr(node, "name", "") != MAKES_FEED]
        return ast.dump(tree)

    assert program("aio.py") == program("store.py")


# Records


@given(sessions(), subjects())
def test_a_record_says_what_was_written(session: Session, subject: Subject) -> None:
    session = replace(session, subject=subject)
    pieces = records.encode(session)
    assert records.decode(session.locator, subject, pieces) == session
    assert all(0 < len(piece) <= 64 for piece in pieces[:5])


@given(
    st.ip_addresses() | st.ip_addresses(network="::ffff:0:0/96") | st.ip_addresses(network="::/96")
)
def test_an_address_comes_back_as_it_was_spelt(address: IPv4Address | IPv6Address) -> None:
    session = a_session(ALICE, Epoch(bytes(16)), device=Device(str(address)).cleaned())
    assert records.decode(session.locator, ALICE, records.encode(session)) == session


@given(locators(), st.lists(st.none() | st.binary(max_size=70), max_size=8))
def test_whatever_is_stored_is_a_session_or_corrupt(
    locator: Locator, pieces: list[bytes | None]
) -> None:
    with contextlib.suppress(CorruptRecord):
        assert isinstance(records.decode(locator, ALICE, pieces), Session)


@given(sessions(), st.data())
def test_a_damaged_record_is_a_session_or_corrupt(session: Session, data: st.DataObject) -> None:
    record = bytearray(b"".join(records.encode(session)))
    for _ in range(data.draw(st.integers(1, 3))):
        record[data.draw(st.integers(0, len(record) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(CorruptRecord):
        assert isinstance(records.decode(session.locator, ALICE, [bytes(record)]), Session)


@given(sessions(), st.data())
def test_a_record_that_is_cut_off_or_continued_is_corrupt(
    session: Session, data: st.DataObject
) -> None:
    record = b"".join(records.encode(session))
    cut = record[: data.draw(st.integers(0, len(record) - 1))]
    for damaged in (cut, record + b"\0"):
        with pytest.raises(CorruptRecord):
            records.decode(session.locator, session.subject, [damaged])


def test_what_is_corrupt_is_not_quoted() -> None:
    session = a_session(ALICE, Epoch(bytes(16)), policy="\N{ROCKET}secret")
    pieces = [b"".join(records.encode(session)).replace("\N{ROCKET}".encode(), b"\xff\xff\xff\xff")]
    with pytest.raises(CorruptRecord) as caught:
        records.decode(session.locator, ALICE, pieces)
    assert caught.value.__cause__ is caught.value.__context__ is None


def session_of(written: dict[str, Any], locator: Locator, subject: Subject) -> Session:
    def octets(name: str) -> bytes:
        return bytes.fromhex(str(written[name]))

    def instant(name: str) -> datetime:
        return datetime.fromisoformat(str(written[name]))

    return Session(
        locator=locator,
        subject=subject,
        policy=str(written["policy"]),
        methods=tuple(written["methods"]),
        created_at=instant("created_at"),
        authenticated_at=instant("authenticated_at") if written["authenticated_at"] else None,
        changed_at=instant("changed_at"),
        last_seen_at=instant("last_seen_at"),
        keep_until=instant("keep_until"),
        family=octets("family"),
        current=octets("current"),
        pending=Pending(octets("pending")[:32], octets("pending")[32:])
        if written["pending"]
        else None,
        previous=octets("previous") if written["previous"] else None,
        device=Device(*written["device"]),
        stamp=octets("stamp"),
    )


def test_golden_records_stay_readable_and_are_what_is_written_today() -> None:
    golden = json.loads((GOLDEN / "records-format-1.json").read_text())
    locator = Locator(Epoch(bytes(16)), bytes(6))
    for case in golden:
        pieces = [bytes.fromhex(piece) for piece in case["pieces"]]
        session = session_of(case["session"], locator, ALICE)
        assert records.decode(locator, ALICE, pieces) == session, case["what"]
        assert records.encode(session) == pieces, case["what"]


def test_a_golden_epoch_stays_readable(client: Any) -> None:
    golden = json.loads((GOLDEN / "epoch-1.json").read_text())
    for key, fields in golden["keys"].items():
        for name, value in fields.items():
            client.hset(key, bytes.fromhex(name), bytes.fromhex(value))
    store = RedisSessionStore(client, tag_key=bytes.fromhex(golden["tag_key"]))
    subject = Subject.of_key(golden["subject"].encode())
    locator = Locator(Epoch(bytes.fromhex(golden["epoch"])), bytes.fromhex(golden["slot"]))
    session = store.find(locator)
    assert session is not None
    assert session.policy == "golden"
    assert store.roster(subject).sessions == (session,)
    assert store.open_epoch(subject, NOW, WINDOW) == locator.epoch
    data = store.read_data(locator)
    assert data is not None
    assert {name: datum.value for name, datum in data.items()} == {"colour": b'"red"'}


def test_a_record_of_a_newer_version_is_corrupt_and_can_be_ended(
    store: RedisSessionStore, client: Any
) -> None:
    session = sign_in(store)
    key = main_key(client)
    record = client.hget(key, session.locator.slot)
    client.hset(key, session.locator.slot, b"\x02" + record[1:])
    with pytest.raises(CorruptRecord):
        store.find(session.locator)
    assert store.roster(ALICE).unreadable == (session.locator,)
    assert store.roster(ALICE).sessions == ()
    assert store.delete(session.locator)
    assert store.find(session.locator) is None


@pytest.mark.parametrize("garbage", [b"", b"x", b"\xff" * 14, b"\xff" * 64, b"\x01" * 700])
def test_garbage_in_place_of_a_record_is_corrupt_and_can_be_ended(
    store: RedisSessionStore, client: Any, garbage: bytes
) -> None:
    session = sign_in(store)
    client.hset(main_key(client), session.locator.slot, garbage)
    with pytest.raises(CorruptRecord):
        store.find(session.locator)
    assert not store.replace(session, touched(session))
    assert store.restart(session, moved(session)) is None
    assert not store.delete(session.locator, session)
    store.purge(NOW, 10)
    sign_in(store)
    assert store.delete_user(ALICE) >= 1


@pytest.mark.parametrize("garbage", [b"", b"x", b"\xff" * 20, b"\xff" * 64])
def test_garbage_in_place_of_the_head_leaves_nothing_live(
    store: RedisSessionStore, client: Any, garbage: bytes
) -> None:
    session = sign_in(store)
    client.hset(main_key(client), "e", garbage)
    assert store.find(session.locator) is None
    assert store.admit(a_session(ALICE, session.locator.epoch), (), None, NOW) is Admission.STALE
    assert not store.replace(session, touched(session))
    assert store.read_data(session.locator) is None
    store.purge(NOW, 10)
    with pytest.raises(CorruptRecord):
        store.open_epoch(ALICE, NOW, WINDOW)
    with pytest.raises(CorruptRecord):
        store.roster(ALICE)


def test_another_subject_in_ones_place_is_corrupt_and_left_alone(
    store: RedisSessionStore, client: Any
) -> None:
    session = sign_in(store, ALICE)
    layout = Layout("sessioncore", TAG_KEY)
    client.rename(main_key(client), layout.keys(layout.tag(BOB))[0])
    bobs = touched(
        session, subject=BOB, locator=Locator(Epoch(layout.tag(BOB) + bytes(6)), b"slot01")
    )
    for call in (
        lambda: store.open_epoch(BOB, NOW, WINDOW),
        lambda: store.roster(BOB),
        lambda: store.delete_user(BOB),
        lambda: store.restart(bobs, moved(bobs)),
    ):
        with pytest.raises(CorruptRecord):
            call()
    assert client.hexists(main_key(client), session.locator.slot)


def test_something_else_under_a_key_is_corrupt_and_left_alone(
    store: RedisSessionStore, client: Any
) -> None:
    session = sign_in(store)
    key = main_key(client)
    client.set(key, "something else")
    for call in (
        lambda: store.find(session.locator),
        lambda: store.delete(session.locator),
        lambda: store.delete_user(ALICE),
        lambda: store.roster(ALICE),
    ):
        with pytest.raises(CorruptRecord):
            call()
    assert store.purge(NOW + 2 * LIFETIME, 10) == Purged(0, 0, more=False)
    assert client.get(key) == b"something else"


@pytest.mark.parametrize("count", [99, 100, 101, 9_000])
def test_data_of_many_keys_are_read_with_and_without_the_session(
    store: RedisSessionStore, count: int
) -> None:
    session = sign_in(store)
    put = {f"{number:x}": b"%d" % number for number in range(count)}
    store.write_data(session.locator, DataChange(put=put, stamp=b"a-stamp!", capacity=1 << 20))
    data = store.read_data(session.locator)
    assert data is not None
    assert {key: datum.value for key, datum in data.items()} == put
    assert store.find_with_data(session.locator) == (session, data)


def test_a_value_of_session_data_that_cannot_be_read_is_corrupt(
    store: RedisSessionStore, client: Any
) -> None:
    session = sign_in(store)
    store.write_data(session.locator, a_change(colour=b'"red"'))
    client.hset(main_key(client) + b":d", session.locator.slot + b"colour", b"short")
    with pytest.raises(CorruptRecord):
        store.read_data(session.locator)
    assert store.delete(session.locator)


# Layout


def test_an_ordinary_hash_stays_in_its_compact_encoding(
    store: RedisSessionStore, client: Any
) -> None:
    subject = Subject.user("u" * 255)
    for _ in range(10):
        sign_in(
            store,
            subject,
            policy="p" * 64,
            methods=("pwd", "otp", "hwk"),
            device=Device("2001:db8::1", "x" * 190),
        )
    assert client.object("encoding", main_key(client)) == b"listpack"


def test_a_record_of_any_length_is_kept(store: RedisSessionStore) -> None:
    session = sign_in(
        store,
        policy="p" * 500,
        methods=tuple(f"method-{n}" for n in range(200)),
        device=Device("not an address", "\N{ROCKET}" * 200),
        pending=Pending(b"p" * 32, b"s" * 16),
        previous=b"q" * 32,
    )
    assert store.find(session.locator) == session
    shorter = touched(session, methods=(), device=Device(), policy="p", pending=None)
    assert store.replace(session, shorter)
    assert store.find(session.locator) == shorter


def test_a_session_leaves_nothing_behind(store: RedisSessionStore, client: Any) -> None:
    kept = sign_in(store)
    before = client.hgetall(main_key(client)).keys()
    session = sign_in(store, device=Device("192.0.2.1", "x" * 200))
    store.write_data(session.locator, a_change(colour=b'"red"'))
    assert store.delete(session.locator)
    assert client.hgetall(main_key(client)).keys() == before
    assert not client.exists(main_key(client) + b":d")
    assert store.find(kept.locator) == kept


def test_find_is_one_command(store: RedisSessionStore, client: Any) -> None:
    session = sign_in(
        store, Subject.user("u" * 255), device=Device("192.0.2.1", "\N{ROCKET}" * 200)
    )
    client.config_resetstat()
    for _ in range(5):
        assert store.find(session.locator) == session
    stats = client.info("commandstats")
    assert stats.pop("cmdstat_hmget")["calls"] == 5
    assert set(stats) <= {"cmdstat_config|resetstat", "cmdstat_info"}


def test_no_key_is_ever_without_a_time_to_live(store: RedisSessionStore, client: Any) -> None:
    def longest() -> int:
        times = [client.pttl(key) for key in client.scan_iter()]
        assert min(times, default=1) > 0
        return max(times, default=0)

    def milliseconds(duration: timedelta) -> int:
        return duration // timedelta(milliseconds=1)

    session = a_session(ALICE, store.open_epoch(ALICE, NOW, WINDOW))
    assert milliseconds(WINDOW) - 5000 < longest() <= milliseconds(WINDOW)
    store.admit(session, (), None, NOW)
    assert milliseconds(LIFETIME) - 5000 < longest() <= milliseconds(LIFETIME)
    store.write_data(session.locator, a_change(colour=b'"red"'))
    longest()
    newer = touched(session, keep_until=NOW + 2 * LIFETIME)
    store.replace(session, newer)
    assert longest() > milliseconds(2 * LIFETIME) - 5000
    assert client.pttl(main_key(client) + b":d") > milliseconds(2 * LIFETIME) - 5000
    store.replace(newer, touched(newer, keep_until=NOW + WINDOW))
    assert longest() > milliseconds(2 * LIFETIME) - 5000
    client.persist(main_key(client))
    store.open_epoch(ALICE, NOW, WINDOW)
    longest()
    survivor = sign_in(store)
    assert store.restart(survivor, moved(survivor)) is not None
    longest()


def test_a_session_whose_life_is_over_does_not_take_the_others_along(
    store: RedisSessionStore,
) -> None:
    kept = sign_in(store)
    sign_in(store, keep_until=NOW - LIFETIME)
    assert store.find(kept.locator) == kept


def test_an_admission_removes_some_of_what_has_expired(
    store: RedisSessionStore, client: Any
) -> None:
    expired = sign_in(store, keep_until=NOW + timedelta(minutes=1))
    store.write_data(expired.locator, a_change(colour=b'"red"'))
    late = NOW + timedelta(minutes=2)
    admitted = a_session(ALICE, store.open_epoch(ALICE, late, WINDOW))
    assert store.admit(admitted, (), None, late) is Admission.ADMITTED
    assert store.roster(ALICE).sessions == (admitted,)
    assert not client.exists(main_key(client) + b":d")


def test_an_admission_repeated_after_its_session_was_ended_does_not_bring_it_back(
    store: RedisSessionStore,
) -> None:
    session = sign_in(store)
    assert store.delete(session.locator)
    assert store.admit(session, (), None, NOW) is Admission.CONFLICT
    assert store.find(session.locator) is None


# Keys of tags


def test_processes_agree_on_one_tag_key(shared: RedisServer, client: Any) -> None:
    epochs: list[Epoch] = []
    ready = threading.Barrier(8)

    def start() -> None:
        with shared.client() as own:
            ready.wait(DEADLINE_SECONDS)
            epochs.append(RedisSessionStore(own).open_epoch(ALICE, NOW, WINDOW))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_SECONDS)
    assert len(epochs) == 8
    assert len(set(epochs)) == 1


def test_a_tag_key_that_could_not_be_read_is_asked_for_again() -> None:
    with RedisServer() as server, RedisSessionStore.connect(server.url) as store:
        server.kill()
        with pytest.raises(StoreUnavailable):
            store.find(Locator(Epoch(bytes(16)), bytes(6)))
        server.start()
        every_operation(store)


def test_a_stored_tag_key_that_is_none_is_corrupt(client: Any) -> None:
    client.set("sessioncore:tag-key", b"short")
    with pytest.raises(CorruptRecord):
        RedisSessionStore(client).open_epoch(ALICE, NOW, WINDOW)


def test_another_tag_key_ends_every_session(client: Any) -> None:
    before = RedisSessionStore(client, tag_key=TAG_KEY)
    after = RedisSessionStore(client, tag_key=TAG_KEY[::-1])
    session = sign_in(before)
    before.write_data(session.locator, a_change(colour=b'"red"'))
    assert after.find(session.locator) is None
    assert after.read_data(session.locator) is None
    assert after.write_data(session.locator, a_change(colour=b"1")) is DataWrite.GONE
    assert not after.replace(session, touched(session))
    assert after.restart(session, moved(session)) is None
    assert after.roster(ALICE).sessions == ()
    assert after.admit(moved(session), (), None, NOW) is Admission.STALE
    assert before.find(session.locator) == session


def test_after_a_loss_of_the_tag_key_a_known_one_is_shared_again(client: Any) -> None:
    store = RedisSessionStore(client)
    session = sign_in(store)
    client.delete("sessioncore:tag-key")
    store.roster(ALICE)
    assert RedisSessionStore(client).find(session.locator) == session


def test_a_process_adopts_a_tag_key_that_others_agreed_on_meanwhile(client: Any) -> None:
    old = RedisSessionStore(client)
    old.open_epoch(BOB, NOW, WINDOW)
    client.flushall()
    new = RedisSessionStore(client)
    session = sign_in(new)
    assert old.delete_user(ALICE) == 1
    assert new.find(session.locator) is None


# Scripts


def test_scripts_are_sent_again_when_the_server_has_forgotten_them(
    store: RedisSessionStore, client: Any
) -> None:
    every_operation(store)
    client.script_flush()
    every_operation(store)


def test_every_operation_touches_declared_keys_of_one_slot_only() -> None:
    with RedisServer(cluster_enabled="yes") as server, server.client() as client:
        client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        deadline = time.monotonic() + DEADLINE_SECONDS
        while client.cluster("INFO")["cluster_state"] != "ok":
            assert time.monotonic() < deadline
            time.sleep(0.01)
        # A key that is not declared, or is in another slot, is an error in this mode.
        store = RedisSessionStore(client, tag_key=TAG_KEY)
        every_operation(store)
        key, data = Layout("sessioncore", TAG_KEY).keys(b"0123456789")
        assert client.cluster("KEYSLOT", key) == client.cluster("KEYSLOT", data)


def test_every_operation_may_be_confined_to_the_keys_of_its_prefix(
    shared: RedisServer, client: Any
) -> None:
    client.acl_setuser(
        "store", enabled=True, nopass=True, keys=["sessioncore:*"], categories=["+@all"], reset=True
    )
    with shared.client(username="store", password="any") as confined:
        every_operation(RedisSessionStore(confined))


# Purging


def test_a_purge_does_a_bounded_part_and_goes_on_where_it_was(client: Any) -> None:
    store = RedisSessionStore(client, tag_key=TAG_KEY)
    others = {f"other:{n}": "x" for n in range(3000)}
    client.mset(others)
    expired = [sign_in(store, Subject.user(f"user-{n}")) for n in range(30)]
    late = NOW + 2 * LIFETIME
    client.config_resetstat()
    purged = [store.purge(late, 1000)]
    assert client.info("commandstats")["cmdstat_scan"]["calls"] <= PAGES
    while purged[-1].more:
        purged.append(store.purge(late, 1000))
    assert len(purged) > 2
    assert sum(batch.sessions for batch in purged) == 30
    assert sum(batch.epochs for batch in purged) == 30
    assert all(store.find(session.locator) is None for session in expired)
    assert client.dbsize() == len(others)


def test_a_purge_deletes_no_more_than_its_limit(store: RedisSessionStore) -> None:
    for _ in range(5):
        sign_in(store)
    sign_in(store, BOB)
    late = NOW + 2 * LIFETIME
    batches = [store.purge(late, 2) for _ in range(4)]
    assert [batch.sessions + batch.epochs for batch in batches] == [2, 2, 2, 2]
    assert batches[-1].more
    assert store.purge(late, 2) == Purged(0, 0, more=False)


def test_a_purge_that_passed_a_session_before_it_was_due_says_that_there_is_more(
    store: RedisSessionStore,
) -> None:
    for n in range(20):
        sign_in(store, Subject.user(f"user-{n}"), keep_until=NOW + timedelta(minutes=n))
    soon = store.purge(NOW + timedelta(minutes=5), 2)
    assert soon.more
    late = NOW + timedelta(days=1)
    found = soon.sessions
    while (batch := store.purge(late, 5)).more:
        found += batch.sessions
    assert found + batch.sessions == 20


def test_a_purge_survives_keys_that_vanish(store: RedisSessionStore, client: Any) -> None:
    for n in range(10):
        sign_in(store, Subject.user(f"user-{n}"))
    late = NOW + 2 * LIFETIME
    assert store.purge(late, 1).more
    client.flushall()
    assert store.purge(late, 100) == Purged(0, 0, more=False)


def test_a_session_is_not_missed_behind_a_purge_that_was_given_up(
    store: RedisSessionStore,
) -> None:
    late = NOW + 2 * LIFETIME
    for n in range(5):
        sign_in(store, Subject.user(f"user-{n}"))
    assert store.purge(late, 1).more
    session = sign_in(store)
    while store.purge(late, 3).more:
        pass
    assert store.find(session.locator) is None


def test_two_purges_at_once_delete_everything_once(client: Any) -> None:
    store = RedisSessionStore(client, tag_key=TAG_KEY)
    for n in range(300):
        sign_in(store, Subject.user(f"user-{n}"))
    late = NOW + 2 * LIFETIME
    counts: list[int] = []

    def sweep() -> None:
        while (batch := store.purge(late, 7)).more:
            counts.append(batch.sessions)
        counts.append(batch.sessions)

    threads = [threading.Thread(target=sweep) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_SECONDS)
    assert sum(counts) == 300
    assert client.dbsize() == 0


# Failures


def texts(error: BaseException | None) -> Iterator[str]:
    while error is not None:
        yield "".join(traceback.format_exception_only(error))
        error = error.__cause__ or error.__context__


def test_a_server_that_is_gone_is_unavailable_and_soon() -> None:
    with RedisServer() as server, RedisSessionStore.connect(server.url) as store:
        session = sign_in(store)
        server.kill()
        started = time.monotonic()
        for call in (
            lambda: store.find(session.locator),
            lambda: store.replace(session, touched(session)),
            lambda: store.delete(session.locator),
            lambda: store.delete_user(ALICE),
            lambda: store.write_data(session.locator, a_change(a=b"1")),
            lambda: store.read_data(session.locator),
            lambda: store.purge(NOW, 1),
            store.check,
        ):
            with pytest.raises(StoreUnavailable) as caught:
                call()
            assert isinstance(caught.value.__cause__, redis.RedisError)
            assert not any(session.locator.slot.hex() in text for text in texts(caught.value))
        assert time.monotonic() - started < DEADLINE_SECONDS
        server.start()
        every_operation(store)


def test_a_write_whose_reply_does_not_come_has_an_unknown_outcome() -> None:
    with (
        RedisServer() as server,
        server.client(socket_timeout=0.2) as client,
        server.client() as other,
    ):
        store = RedisSessionStore(client, tag_key=TAG_KEY)
        session, kept = sign_in(store), sign_in(store)
        # So that the server knows the script, and its text need not be sent.
        store.delete(sign_in(store).locator)
        server.process.send_signal(signal.SIGSTOP)
        try:
            with pytest.raises(OutcomeUnknown):
                store.delete(session.locator)
            with pytest.raises(StoreUnavailable):
                store.find(session.locator)
        finally:
            server.process.send_signal(signal.SIGCONT)
        # It did happen, and nobody took the answer of another call for theirs.
        after = RedisSessionStore(other, tag_key=TAG_KEY)
        deadline = time.monotonic() + DEADLINE_SECONDS
        while after.find(session.locator) is not None:
            assert time.monotonic() < deadline
        assert store.find(kept.locator) == kept


def test_a_write_on_a_connection_that_cannot_be_made_was_not_written() -> None:
    with RedisServer() as server, server.client(socket_timeout=0.2) as client:
        store = RedisSessionStore(client, tag_key=TAG_KEY)
        server.process.send_signal(signal.SIGSTOP)
        try:
            with pytest.raises(StoreUnavailable):
                store.delete_user(ALICE)
        finally:
            server.process.send_signal(signal.SIGCONT)


def test_a_write_for_which_no_connection_is_left_was_not_written(shared: RedisServer) -> None:
    with shared.client(max_connections=1) as client:
        store = RedisSessionStore(client, tag_key=TAG_KEY)
        taken = client.connection_pool.get_connection()
        try:
            with pytest.raises(StoreUnavailable):
                store.delete_user(ALICE)
        finally:
            client.connection_pool.release(taken)
        assert store.delete_user(ALICE) == 0


def test_a_client_without_credentials_has_written_nothing() -> None:
    with (
        RedisServer(requirepass="sesame") as server,
        untyped_redis.from_url(server.url) as client,
    ):
        store = RedisSessionStore(client, tag_key=TAG_KEY)
        with pytest.raises(StoreUnavailable):
            store.delete_user(ALICE)


def test_a_replica_refuses_to_write_and_nothing_was_written(
    store: RedisSessionStore, client: Any
) -> None:
    session = sign_in(store)
    client.replicaof("127.0.0.1", "1")
    try:
        for call in (
            lambda: store.delete(session.locator),
            lambda: store.replace(session, touched(session)),
            lambda: store.open_epoch(BOB, NOW, WINDOW),
        ):
            with pytest.raises(StoreUnavailable):
                call()
        findings = " ".join(weakness.finding for weakness in store.check())
        assert "is a replica" in findings
    finally:
        client.replicaof("NO", "ONE")
    assert store.find(session.locator) == session


def test_a_server_that_is_busy_with_a_script_has_written_nothing() -> None:
    with (
        RedisServer(busy_reply_threshold="1") as server,
        server.client() as client,
        server.client() as other,
    ):
        store = RedisSessionStore(client, tag_key=TAG_KEY)
        session = sign_in(store)

        def loop() -> None:
            with contextlib.suppress(ResponseError):
                other.eval("while true do end", 0)

        endless = threading.Thread(target=loop)
        endless.start()
        try:
            deadline = time.monotonic() + DEADLINE_SECONDS
            with pytest.raises(StoreUnavailable):
                while time.monotonic() < deadline:
                    store.delete(session.locator, touched(session))
        finally:
            client.script_kill()
            endless.join(DEADLINE_SECONDS)
        assert store.find(session.locator) == session


def test_a_refusal_has_written_nothing_and_what_is_not_understood_is_unknown() -> None:
    def meaning(error: Exception) -> type:
        return type(failure(error, may_have_written=True))

    demoted = redis.ConnectionError("The previous master is now a slave")
    demoted.__context__ = redis.ReadOnlyError("READONLY You can't write against a replica.")
    for refusal in (
        ResponseError("BUSY Redis is busy running a script."),
        redis.OutOfMemoryError("command not allowed"),
        redis.BusyLoadingError("Redis is loading the dataset in memory"),
        NoPermissionError("this user has no permissions to run the 'evalsha' command"),
        ResponseError("NOREPLICAS Not enough good replicas to write."),
        MovedError("1 127.0.0.1:7001"),
        AskError("1 127.0.0.1:7001"),
        TryAgainError("Multiple keys request during rehashing of slot"),
        ClusterDownError("CLUSTERDOWN The cluster is down"),
        demoted,
    ):
        assert meaning(refusal) is StoreUnavailable, refusal
    for other in (
        ResponseError("ERR something new"),
        ResponseError("ERR The user executing the script can't run this command"),
        NoPermissionError("no permissions script: 0, on @user_script:7."),
        redis.ConnectionError("Connection closed by server."),
        redis.TimeoutError("Timeout reading from socket"),
        TimeoutError(),
    ):
        assert meaning(other) is OutcomeUnknown, other


def test_arguments_that_a_server_quotes_are_not_passed_on() -> None:
    error = ResponseError("unknown command 'EVALSHA', with args beginning with: 'secret'")
    translated = failure(error, may_have_written=True)
    translated.__cause__ = error
    assert not any("secret" in text for text in texts(translated))


@pytest.fixture
def full(store: RedisSessionStore, client: Any) -> Iterator[Session]:
    session = sign_in(store)
    store.write_data(session.locator, a_change(colour=b'"red"'))
    client.config_set("maxmemory-policy", "noeviction")
    client.config_set("maxmemory", "1")
    yield session
    client.config_set("maxmemory", "0")


def test_a_full_server_refuses_what_would_fill_it_further(
    full: Session, store: RedisSessionStore, client: Any
) -> None:
    before = client.hgetall(main_key(client))
    for call in (
        lambda: store.replace(full, touched(full)),
        lambda: store.admit(a_session(ALICE, full.locator.epoch), (), None, NOW),
        lambda: store.open_epoch(BOB, NOW, WINDOW),
        lambda: store.open_epoch(ALICE, NOW + WINDOW, WINDOW),
        lambda: store.write_data(full.locator, a_change(size=b"1")),
    ):
        with pytest.raises(StoreUnavailable):
            call()
    assert client.hgetall(main_key(client)) == before
    assert client.dbsize() == 2


def test_a_session_can_be_ended_on_a_full_server(full: Session, store: RedisSessionStore) -> None:
    assert store.find(full.locator) == full
    assert store.delete(full.locator)
    assert store.find(full.locator) is None


def test_a_user_can_be_signed_out_everywhere_on_a_full_server(
    full: Session, store: RedisSessionStore, client: Any
) -> None:
    assert store.delete_user(ALICE) == 1
    assert client.dbsize() == 0


def test_an_epoch_can_be_restarted_on_a_full_server(
    full: Session, store: RedisSessionStore
) -> None:
    new = moved(full)
    data = store.read_data(full.locator)
    assert data
    locator = store.restart(full, new)
    assert locator is not None
    assert store.find(full.locator) is None
    assert store.find(locator) == new.moved_to(locator)
    assert store.read_data(locator) == data
    assert store.restart(full, new) == locator


def test_a_session_can_take_the_place_of_another_on_a_full_server(
    full: Session, store: RedisSessionStore
) -> None:
    session = a_session(ALICE, full.locator.epoch)
    assert store.admit(session, (full.locator,), None, NOW) is Admission.ADMITTED
    assert store.roster(ALICE).sessions == (session,)


def test_a_full_server_can_be_purged(full: Session, store: RedisSessionStore) -> None:
    assert store.purge(NOW + 2 * LIFETIME, 10) == Purged(1, 1, more=False)


def test_a_cancelled_call_does_not_leave_its_answer_to_the_next(shared: RedisServer) -> None:
    async def run() -> None:
        async with AsyncRedisSessionStore.connect(server.url, tag_key=TAG_KEY) as store:
            epoch = await store.open_epoch(ALICE, NOW, WINDOW)
            one, other = a_session(ALICE, epoch), a_session(ALICE, epoch)
            for session in (one, other):
                assert await store.admit(session, (), None, NOW) is Admission.ADMITTED
            server.process.send_signal(signal.SIGSTOP)
            try:
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.1):
                        await store.find(one.locator)
            finally:
                server.process.send_signal(signal.SIGCONT)
            for _ in range(3):
                assert await store.find(other.locator) == other

    with RedisServer() as server:
        asyncio.run(run())


def test_the_asynchronous_store_is_unavailable_when_its_server_is_gone() -> None:
    async def run(server: RedisServer) -> None:
        async with AsyncRedisSessionStore.connect(server.url, tag_key=TAG_KEY) as store:
            epoch = await store.open_epoch(ALICE, NOW, WINDOW)
            session = a_session(ALICE, epoch)
            server.kill()
            with pytest.raises(StoreUnavailable):
                await store.find(session.locator)
            with pytest.raises(StoreUnavailable):
                await store.delete(session.locator)
            server.start()
            # Its memory is lost, and with it the epoch.
            assert await store.admit(session, (), None, NOW) is Admission.STALE
            assert await store.purge(NOW, 1) == Purged(0, 0, more=False)

    with RedisServer() as server:
        asyncio.run(run(server))


# Health


def test_check_names_what_weakens_the_promises() -> None:
    with (
        RedisServer(maxmemory_policy="allkeys-lru", appendonly="yes") as server,
        redis.Redis(port=server.port, socket_timeout=None) as client,
    ):
        findings = [weakness.finding for weakness in RedisSessionStore(client).check()]
    for expected in (
        "repeats attempts to connect",
        "no time limit for reading",
        "allkeys-lru",
        "tag key is kept in Redis",
        "appendfsync is everysec",
    ):
        assert any(expected in finding for finding in findings), expected


def test_check_finds_nothing_on_a_server_that_is_set_up_well() -> None:
    with (
        RedisServer(appendonly="yes", appendfsync="always") as server,
        RedisSessionStore.connect(server.url, tag_key=TAG_KEY) as store,
    ):
        assert store.check() == ()


def test_check_does_without_what_it_may_not_ask(shared: RedisServer, client: Any) -> None:
    client.acl_setuser(
        "curious",
        enabled=True,
        nopass=True,
        keys=["*"],
        categories=["+@all"],
        commands=["-info", "-config"],
        reset=True,
    )
    with shared.client(
        username="curious", password="any", socket_timeout=1, socket_connect_timeout=1
    ) as confined:
        store = RedisSessionStore(confined, tag_key=TAG_KEY)
        (weakness,) = store.check()
    assert "INFO" in weakness.finding


def test_a_revocation_that_was_carried_out_is_never_said_to_have_failed(
    shared: RedisServer, client: Any
) -> None:
    # The loop is held up while replicas are waited for, and both of the call's time
    # limits pass in one turn of it.
    async def revoke() -> None:
        settings: dict[str, Any] = {"deadline": timedelta(seconds=0.5), "wait_replicas": 1}
        async with AsyncRedisSessionStore.connect(shared.url, **settings) as store:
            await store.open_epoch(ALICE, NOW, WINDOW)
            asyncio.get_running_loop().call_later(0.1, time.sleep, 0.6)
            with pytest.raises(OutcomeUnknown):
                await store.delete_user(ALICE)

    asyncio.run(revoke())
    assert RedisSessionStore(client).roster(ALICE).version == b""
