"""
Redis in other shapes than one server that is well: clusters, Sentinels, replicas, faults.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Self

import pytest
import redis.asyncio
import redis.asyncio.sentinel
import redis.sentinel
from redis.backoff import NoBackoff
from redis.cluster import LoadBalancingStrategy
from redis.crc import key_slot
from redis.retry import Retry
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

from servers import Certificates, Proxy, RedisCluster, RedisServer, Watched, Weather
from sessioncore.errors import OutcomeUnknown, RevocationUnconfirmed, StoreError, StoreUnavailable
from sessioncore.ports import Admission, DataWrite, SessionStore
from sessioncore.session import Datum, Session, Subject
from sessioncore.testing.async_stores import LoopThread, SessionStoreOnLoop
from sessioncore_redis import AsyncRedisSessionStore, RedisSessionStore
from sessioncore_redis.layout import Layout

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

TAG_KEY = b"a key for the tests of this page"
PATIENCE_SECONDS = 20.0
DEADLINE = timedelta(seconds=1)
SLACK_SECONDS = 3.0
"""How late an answer may be on a machine that is busy."""

USERS = [Subject.user(f"user-{number}") for number in range(3)]
LAYOUT = Layout("sessioncore", TAG_KEY)

untyped_redis: Any = redis.Redis
untyped_cluster: Any = redis.RedisCluster

both = pytest.mark.parametrize("kind", ["threads", "asyncio"])


@contextmanager
def connected(kind: str, url: str, **settings: Any) -> Generator[SessionStore, None, None]:
    """
    A store for threads or for asyncio, the latter driven from threads too.
    """
    settings = {"tag_key": TAG_KEY, "deadline": timedelta(seconds=10), **settings}
    if kind == "threads":
        with RedisSessionStore.connect(url, **settings) as store:
            yield store
    else:
        with (
            LoopThread() as loop,
            loop.entered(AsyncRedisSessionStore.connect(url, **settings)) as store,
        ):
            yield SessionStoreOnLoop(store, loop)


@contextmanager
def behind_sentinels(
    kind: str, watched: Watched, **settings: Any
) -> Generator[SessionStore, None, None]:
    """
    A store on the client of a Sentinel's primary.
    """
    settings = {"tag_key": TAG_KEY, "deadline": DEADLINE, **settings}
    limits: dict[str, Any] = {"socket_timeout": 0.5, "socket_connect_timeout": 0.5}
    if kind == "threads":
        sentinel: Any = redis.sentinel.Sentinel(watched.addresses, **limits)  # type: ignore[no-untyped-call]
        client = sentinel.master_for(Watched.NAME, retry=Retry(NoBackoff(), 0))
        with ExitStack() as stack:
            for each in (client, *sentinel.sentinels):
                stack.enter_context(closing(each))
            yield RedisSessionStore(client, **settings)
    else:
        with LoopThread() as loop:

            async def connect() -> tuple[list[Any], AsyncRedisSessionStore]:
                kind: Any = redis.asyncio.sentinel.Sentinel
                sentinel = kind(watched.addresses, **limits)
                client = sentinel.master_for(Watched.NAME)
                # A copy: when tasks ask for the primary at once, redis-py swaps the
                # Sentinels in its list in a way that may drop one.
                return [client, *sentinel.sentinels], AsyncRedisSessionStore(client, **settings)

            async def disconnect() -> None:
                for client in clients:
                    await client.aclose()

            clients, store = loop.call(connect())
            try:
                yield SessionStoreOnLoop(store, loop)
            finally:
                loop.call(disconnect())


def eventually(condition: Callable[[], bool]) -> None:
    """
    Wait until *condition* holds. It waits for a server itself, or is asked again soon.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def answers(store: SessionStore) -> bool:
    """
    Whether the store works again.
    """
    try:
        every_operation(store, BOB)
    except StoreError:
        with suppress(StoreError):
            store.delete_user(BOB)
        return False
    return True


class Forgotten(Exception):
    """
    What was acknowledged is not there, as a failover may have it.
    """


class Load:
    """
    Users who sign in and out in threads of their own, while a test does something else.

    Each call is answered rightly, or raises a named error in time.

    Args:
        forgets: Whether servers may lose what they have acknowledged.
    """

    def __init__(
        self,
        store: SessionStore,
        *,
        within: timedelta,
        forgets: bool = False,
    ) -> None:
        self._store = store
        self._within = within.total_seconds() + SLACK_SECONDS
        self._forgets = forgets
        self._over = threading.Event()
        self._pool = ThreadPoolExecutor(len(USERS))
        self._working: list[Any] = []
        self._rounds = 0
        self.errors: list[StoreError] = []

    def __enter__(self) -> Self:
        self._working = [self._pool.submit(self._work, user) for user in USERS]
        self.wait_for_rounds(5)
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        try:
            for working in self._working:
                working.result(PATIENCE_SECONDS)
        finally:
            self._pool.shutdown()

    def wait_for_rounds(self, count: int) -> None:
        """
        Wait until users were served *count* more times.
        """
        wanted = self._rounds + count

        def served() -> bool:
            for working in self._working:
                if working.done():
                    working.result()
            return self._rounds >= wanted

        eventually(served)

    def _work(self, user: Subject) -> None:
        while not self._over.is_set():
            try:
                self._in_time(lambda: self._store.delete_user(user))
                self._one_user(user)
                self._rounds += 1
            except StoreError as error:
                # Known or unknown; what this user had is begun anew.
                self.errors.append(error)
                self._over.wait(0.02)
            except Forgotten:
                assert self._forgets

    def _in_time(self, call: Callable[[], Any]) -> Any:
        started = time.monotonic()
        try:
            return call()
        finally:
            assert time.monotonic() - started < self._within

    def _expect(self, expected: object, call: Callable[[], Any]) -> None:
        if self._in_time(call) != expected:
            raise Forgotten

    def _one_user(self, user: Subject) -> None:
        store, expect = self._store, self._expect
        session = a_session(user, self._in_time(lambda: store.open_epoch(user, NOW, WINDOW)))
        expect(Admission.ADMITTED, lambda: store.admit(session, (), None, NOW))
        expect(session, lambda: store.find(session.locator))
        newer = touched(session)
        expect(True, lambda: store.replace(session, newer))
        change = a_change(colour=b'"red"')
        expect(DataWrite.WRITTEN, lambda: store.write_data(newer.locator, change))
        data = {"colour": Datum(b'"red"', change.stamp)}
        expect(data, lambda: store.read_data(newer.locator))
        expect((newer,), lambda: store.roster(user).sessions)
        new = moved(newer)
        locator = self._in_time(lambda: store.restart(newer, new))
        if locator is None:
            raise Forgotten
        expect(None, lambda: store.find(newer.locator))
        expect(new.moved_to(locator), lambda: store.find(locator))
        expect(data, lambda: store.read_data(locator))
        expect(True, lambda: store.delete(locator))
        expect(None, lambda: store.find(locator))


# Clusters


@pytest.fixture(scope="module")
def cluster() -> Iterator[RedisCluster]:
    with RedisCluster(spare=1) as cluster:
        yield cluster


@pytest.fixture
def clean(cluster: RedisCluster) -> RedisCluster:
    with cluster.client() as client:
        client.flushall()
    return cluster


def keys_in(cluster: RedisCluster) -> list[int]:
    """
    How many keys there are on each primary.
    """
    counts: list[int] = []
    for server in cluster.primaries():
        with server.client() as client:
            counts.append(client.dbsize())
    return counts


def slot_of(subject: Subject) -> int:
    return key_slot(LAYOUT.keys(LAYOUT.tag(subject))[0])


@both
def test_slots_move_under_load_and_every_call_is_answered(clean: RedisCluster, kind: str) -> None:
    with connected(kind, clean.url, cluster=True) as store:
        with Load(store, within=timedelta(seconds=10)) as load:
            for _ in range(3):
                for user in USERS:
                    # To a node that has no slot and is on no map, and back.
                    home = clean.primary_of(slot_of(user))
                    for target in (clean.nodes[-1], home):
                        clean.move(slot_of(user), target, step=lambda: load.wait_for_rounds(1))
            load.wait_for_rounds(10)
        assert load.errors == []


@contextmanager
def half_moved(cluster: RedisCluster, slot: int) -> Generator[None, None, None]:
    """
    Begin to move a slot, and call it off in the end.
    """
    source = cluster.primary_of(slot)
    target = next(node for node in cluster.primaries() if node is not source)
    with source.client() as giver, target.client() as taker:
        ids = [client.execute_command("CLUSTER MYID").decode() for client in (giver, taker)]
        taker.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", ids[0])
        giver.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", ids[1])
        try:
            yield
        finally:
            for client in (giver, taker):
                client.execute_command("CLUSTER SETSLOT", slot, "STABLE")


@both
def test_a_restart_is_whole_while_its_slot_is_moved(clean: RedisCluster, kind: str) -> None:
    with connected(kind, clean.url, cluster=True) as store:
        session = sign_in(store)
        store.write_data(session.locator, a_change(colour=b'"red"'))
        with half_moved(clean, slot_of(ALICE)):
            locator = store.restart(session, moved(session))
            assert locator is not None
            assert store.find(locator) is not None
            assert store.read_data(locator)


@both
def test_a_slot_that_stays_half_moved_is_unavailable_within_the_deadline(
    clean: RedisCluster, kind: str
) -> None:
    with connected(kind, clean.url, cluster=True, deadline=DEADLINE) as store:
        session = sign_in(store)
        with half_moved(clean, slot_of(ALICE)):
            # One key is here and the other, which holds data, nowhere.
            for call in (
                lambda: store.delete(session.locator),
                lambda: store.read_data(session.locator),
            ):
                with pytest.raises(StoreUnavailable):
                    call()
            assert store.find(session.locator) == session
        assert store.delete(session.locator)


@both
def test_every_node_is_sent_the_scripts_that_it_does_not_know(
    clean: RedisCluster, kind: str
) -> None:
    users = [Subject.user(f"user-{number}") for number in range(6)]
    with connected(kind, clean.url, cluster=True) as store:
        for _ in range(2):
            with clean.client() as client:
                client.script_flush()
            for user in users:
                every_operation(store, user)


@both
def test_a_purge_goes_over_every_primary(clean: RedisCluster, kind: str) -> None:
    late = NOW + 2 * LIFETIME
    with connected(kind, clean.url, cluster=True) as store:
        for number in range(30):
            sign_in(store, Subject.user(f"user-{number}"))
        assert sum(count > 0 for count in keys_in(clean)) == 3
        purged = 0
        while (batch := store.purge(late, 7)).more:
            purged += batch.sessions
        assert purged + batch.sessions == 30
        assert sum(keys_in(clean)) == 0


@both
def test_a_purge_finds_in_its_next_walk_what_moved_behind_its_back(
    clean: RedisCluster, kind: str
) -> None:
    users = [Subject.user(f"user-{number}") for number in range(30)]
    late = NOW + 2 * LIFETIME
    homes = {slot_of(user): clean.primary_of(slot_of(user)) for user in users}
    with connected(kind, clean.url, cluster=True) as store:
        for user in users:
            sign_in(store, user)
        purged = store.purge(late, 3).sessions
        for slot in homes:
            clean.move(slot, clean.nodes[-1], step=lambda: None)
        try:
            deadline = time.monotonic() + PATIENCE_SECONDS
            while sum(keys_in(clean)):
                purged += store.purge(late, 3).sessions
                assert time.monotonic() < deadline
            assert purged == 30
        finally:
            for slot, home in homes.items():
                clean.move(slot, home, step=lambda: None)


def test_check_asks_every_primary(clean: RedisCluster) -> None:
    with RedisSessionStore.connect(clean.url, cluster=True) as store:
        findings = [weakness.finding for weakness in store.check()]
    (found,) = (finding for finding in findings if "append-only" in finding)
    assert all(str(server.port) in found for server in clean.nodes[:3])
    (replicated,) = (finding for finding in findings if "is replicated" in finding)
    assert str(clean.nodes[-1].port) not in replicated


@pytest.mark.parametrize(
    "settings",
    [{"load_balancing_strategy": LoadBalancingStrategy.ROUND_ROBIN}, {"decode_responses": True}],
)
def test_a_client_of_a_cluster_that_would_break_a_promise_is_refused(
    clean: RedisCluster, settings: dict[str, Any]
) -> None:
    port = clean.nodes[0].port
    with (
        closing(untyped_cluster(host="127.0.0.1", port=port, **settings)) as client,
        pytest.raises(ValueError, match="client: "),
    ):
        RedisSessionStore(client)
    kind: Any = redis.asyncio.RedisCluster
    with pytest.raises(ValueError, match="client: "):
        AsyncRedisSessionStore(kind(host="127.0.0.1", port=port, **settings))


def test_a_client_of_a_cluster_that_repeats_by_itself_is_not_let(clean: RedisCluster) -> None:
    # It would repeat ten times, with pauses of its own.
    with closing(untyped_cluster.from_url(clean.url)) as client:
        store = RedisSessionStore(client, tag_key=TAG_KEY)
        every_operation(store)
        client.execute_command = None
        every_operation(store)


@both
def test_a_cluster_that_loses_a_primary_is_served_by_its_replica(kind: str) -> None:
    with (
        RedisCluster(node_timeout=500) as cluster,
        connected(kind, cluster.url, cluster=True, deadline=DEADLINE) as store,
    ):
        lost = cluster.primary_of(slot_of(ALICE))
        kept = sign_in(store)
        confirmed(lost)
        with Load(store, within=DEADLINE, forgets=True) as load:
            lost.kill()
            eventually(lambda: answers_for(store, ALICE))
            load.wait_for_rounds(10)
        assert all(isinstance(error, (StoreUnavailable, OutcomeUnknown)) for error in load.errors)
        assert cluster.primary_of(slot_of(ALICE)) is not lost
        assert store.find(kept.locator) == kept
        lost.start()
        cluster.wait_until_healthy()
        every_operation(store, BOB)


def answers_for(store: SessionStore, subject: Subject) -> bool:
    try:
        store.roster(subject)
    except StoreUnavailable:
        return False
    return True


def confirmed(server: RedisServer) -> None:
    """
    Wait until the replica of *server* has everything that was written so far.
    """
    with server.client() as client:
        eventually(lambda: caught_up(client))


def caught_up(client: Any) -> bool:
    told = client.info("replication")
    copies = [told[f"slave{n}"] for n in range(9) if f"slave{n}" in told]
    return bool(copies) and all(
        copy["state"] == "online" and copy["offset"] == told["master_repl_offset"]
        for copy in copies
    )


# Sentinels


@pytest.fixture(scope="module")
def watched() -> Iterator[Watched]:
    with Watched() as watched:
        yield watched


@both
def test_a_failover_by_sentinels_under_load(watched: Watched, kind: str) -> None:
    with behind_sentinels(kind, watched) as store:
        every_operation(store)
        with Load(store, within=DEADLINE, forgets=True) as load:
            watched.fail_over()
            load.wait_for_rounds(10)
        assert all(isinstance(error, (StoreUnavailable, OutcomeUnknown)) for error in load.errors)
        every_operation(store)


@both
def test_a_primary_that_dies_under_load_is_replaced(watched: Watched, kind: str) -> None:
    with behind_sentinels(kind, watched) as store:
        with Load(store, within=DEADLINE, forgets=True) as load:
            lost = watched.primary
            lost.kill()
            watched.wait_for_another_primary(lost)
            load.wait_for_rounds(10)
        assert all(isinstance(error, (StoreUnavailable, OutcomeUnknown)) for error in load.errors)
        every_operation(store)
    lost.start()


@both
def test_a_demoted_primary_refuses_and_nothing_was_written(kind: str) -> None:
    # The Sentinels are asked for the primary before each connection only.
    with (
        Watched(replicas=1, sentinels=1) as watched,
        behind_sentinels(kind, watched) as store,
        watched.primary.client() as client,
    ):
        session = sign_in(store)
        client.replicaof("127.0.0.1", "1")
        for call in (
            lambda: store.delete(session.locator),
            lambda: store.replace(session, touched(session)),
            lambda: store.open_epoch(BOB, NOW, WINDOW),
        ):
            with pytest.raises(StoreUnavailable):
                call()
        client.replicaof("NO", "ONE")
        assert store.find(session.locator) == session


# Ways to a server


@both
def test_every_operation_works_on_a_unix_socket(kind: str) -> None:
    with (
        RedisServer(unix_socket=True) as server,
        connected(kind, server.url) as store,
    ):
        every_operation(store)


@both
def test_every_operation_works_over_tls(tmp_path: Any, kind: str) -> None:
    tls = Certificates(tmp_path)
    with RedisServer(tls=tls) as server:
        with connected(kind, server.url) as store:
            every_operation(store)
        stranger = server.url.partition("?")[0]
        with connected(kind, stranger) as store, pytest.raises(StoreUnavailable):
            store.find(a_session(ALICE, LAYOUT.epoch(b"0123456789", bytes(6))).locator)


@pytest.fixture(scope="module")
def tls_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    tls = Certificates(tmp_path_factory.mktemp("certificates"))
    with RedisCluster(primaries=1, replicas=0, tls=tls, tls_cluster="yes") as cluster:
        yield cluster


@both
def test_every_operation_works_in_a_cluster_over_tls(tls_cluster: RedisCluster, kind: str) -> None:
    with connected(kind, tls_cluster.url, cluster=True) as store:
        every_operation(store)


def follow(replica: RedisServer, server: RedisServer) -> None:
    """
    Let *replica* copy *server*, and wait until it confirms what it is sent.
    """
    with replica.client() as client:
        client.replicaof("127.0.0.1", server.port)
    with server.client() as client:
        client.set("something", "to confirm")
        eventually(lambda: client.wait(1, 100) == 1)


# Rights

# What docs/redis.md says.
RIGHTS = frozenset(
    {
        *("evalsha", "eval", "hmget", "hgetall", "scan"),
        *("hget", "hset", "hdel", "hkeys", "hexists", "hrandfield"),
        *("exists", "pexpire", "pttl", "unlink"),
    }
)
RIGHTS_FOR_THE_TAG_KEY = frozenset({"get", "set"})
RIGHTS_TO_WAIT = frozenset({"wait"})
RIGHTS_IN_A_CLUSTER = frozenset({"cluster|slots", "command"})
RIGHTS_TO_CHECK = frozenset({"info", "config|get"})


def grant(server: RedisServer, rights: frozenset[str], keys: str = "sessioncore:*") -> None:
    with server.client() as client:
        client.flushall()
        client.script_flush()
        client.execute_command(
            *("ACL SETUSER", "store", "reset", "on", ">sesame", f"~{keys}"),
            *sorted(f"+{right}" for right in rights),
        )


def everything(store: SessionStore) -> None:
    every_operation(store)
    sign_in(store, BOB)
    assert store.purge(NOW + 2 * LIFETIME, 10).sessions == 1


def as_store(url: str) -> str:
    return url.replace("://", "://store:sesame@")


@both
def test_the_rights_that_are_documented_suffice_and_none_is_too_many(kind: str) -> None:
    rights = RIGHTS | RIGHTS_FOR_THE_TAG_KEY | RIGHTS_TO_WAIT
    with RedisServer(repl_diskless_sync_delay="0") as server, RedisServer() as replica:
        follow(replica, server)

        def try_out(rights: frozenset[str], keys: str = "sessioncore:*") -> None:
            grant(server, rights, keys)
            settings = {"tag_key": None, "wait_replicas": 1}
            with connected(kind, as_store(server.url), **settings) as store:
                everything(store)

        try_out(rights)
        for right in rights:
            with pytest.raises(StoreError):
                try_out(rights - {right})
        with pytest.raises(StoreError):
            try_out(rights, keys="other:*")
        grant(server, RIGHTS)
        with connected(kind, as_store(server.url)) as store:
            everything(store)


@both
def test_the_rights_that_are_documented_suffice_in_a_cluster(
    small_cluster: RedisCluster, kind: str
) -> None:
    rights = RIGHTS | RIGHTS_FOR_THE_TAG_KEY | RIGHTS_IN_A_CLUSTER

    def try_out(rights: frozenset[str]) -> None:
        grant(small_cluster.nodes[0], rights)
        url = as_store(small_cluster.url)
        with connected(kind, url, cluster=True, tag_key=None) as store:
            everything(store)

    try_out(rights)
    for right in RIGHTS_IN_A_CLUSTER:
        with pytest.raises(StoreError):
            try_out(rights - {right})


def test_check_needs_rights_of_its_own() -> None:
    with RedisServer() as server:
        for rights, told in ((RIGHTS, False), (RIGHTS | RIGHTS_TO_CHECK, True)):
            grant(server, rights)
            with RedisSessionStore.connect(as_store(server.url), tag_key=TAG_KEY) as store:
                findings = " ".join(weakness.finding for weakness in store.check())
            assert ("append-only" in findings) is told


# Replicas that confirm


@pytest.fixture(scope="module")
def small_cluster() -> Iterator[RedisCluster]:
    with RedisCluster(primaries=1) as cluster:
        yield cluster


@pytest.fixture(params=["one server", "cluster", "valkey"], scope="module")
def copied(request: pytest.FixtureRequest) -> Iterator[tuple[str, bool, RedisServer]]:
    """
    A server with one replica: its URL, whether it is a cluster, and the replica.
    """
    if request.param == "cluster":
        cluster: RedisCluster = request.getfixturevalue("small_cluster")
        yield cluster.url, True, cluster.nodes[1]
    else:
        program = "valkey-server" if request.param == "valkey" else "redis-server"
        if shutil.which(program) is None and request.param == "valkey":
            pytest.skip("no valkey-server on the PATH: nothing is said of Valkey by this run")
        with (
            RedisServer(program=program, repl_diskless_sync_delay="0") as server,
            RedisServer(program=program) as replica,
        ):
            follow(replica, server)
            yield server.url, False, replica


@both
def test_a_revocation_that_no_replica_confirms_says_so_also_when_it_is_repeated(
    copied: tuple[str, bool, RedisServer], kind: str
) -> None:
    url, cluster, replica = copied
    with closing(untyped_redis.from_url(url)) as client:
        client.flushall()
    with connected(kind, url, cluster=cluster, deadline=DEADLINE, wait_replicas=1) as store:
        assert store.delete(sign_in(store).locator)
        one, other, third = sign_in(store), sign_in(store, BOB), sign_in(store)
        with replica.stopped():
            for _ in range(2):
                with pytest.raises(RevocationUnconfirmed, match="0 of 1"):
                    store.delete(one.locator)
                assert store.find(one.locator) is None
            # Nor does a process confirm it that had no part in it.
            settings = {"cluster": cluster, "deadline": DEADLINE, "wait_replicas": 1}
            with (
                connected(kind, url, **settings) as another,
                pytest.raises(RevocationUnconfirmed),
            ):
                another.delete(one.locator)
            with pytest.raises(RevocationUnconfirmed):
                store.delete_user(BOB)
            assert store.find(other.locator) is None
            with pytest.raises(RevocationUnconfirmed):
                store.restart(third, moved(third))
            assert store.find(third.locator) is None
            # What ends nothing does not wait.
            assert store.open_epoch(BOB, NOW, WINDOW)
        eventually(lambda: is_confirmed(lambda: store.delete(one.locator)))
        assert store.delete_user(ALICE) == 1


def is_confirmed(call: Callable[[], Any]) -> bool:
    try:
        return call() is False
    except RevocationUnconfirmed:
        return False


@both
def test_a_revocation_on_a_full_server_is_confirmed(
    copied: tuple[str, bool, RedisServer], kind: str
) -> None:
    url, cluster, _ = copied
    with connected(kind, url, cluster=cluster, wait_replicas=1) as store:
        session = sign_in(store)
        with closing(untyped_redis.from_url(url)) as client:
            client.config_set("maxmemory", "1")
            assert store.delete(session.locator)
            assert not store.delete(session.locator)
            client.config_set("maxmemory", "0")


def test_check_says_when_there_are_too_few_replicas() -> None:
    with (
        RedisServer() as server,
        RedisSessionStore.connect(server.url, wait_replicas=2) as store,
    ):
        assert any("has 0 replicas, and 2" in weakness.finding for weakness in store.check())


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"wait_replicas": -1}, ValueError),
        ({"wait_replicas": True}, TypeError),
        ({"deadline": 2}, TypeError),
        ({"deadline": timedelta(0)}, ValueError),
    ],
)
def test_unfit_settings_are_refused(settings: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        RedisSessionStore(redis.Redis(), **settings)


# Deadlines

READS: dict[str, Callable[[SessionStore, Session], object]] = {
    "open_epoch": lambda store, _: store.open_epoch(ALICE, NOW, WINDOW),
    "find": lambda store, session: store.find(session.locator),
    "roster": lambda store, _: store.roster(ALICE),
    "read_data": lambda store, session: store.read_data(session.locator),
}
WRITES: dict[str, Callable[[SessionStore, Session], object]] = {
    "replace": lambda store, session: store.replace(session, touched(session)),
    "admit": lambda store, session: store.admit(
        a_session(ALICE, session.locator.epoch), (), None, NOW
    ),
    "restart": lambda store, session: store.restart(session, moved(session)),
    "delete": lambda store, session: store.delete(session.locator),
    "delete_user": lambda store, _: store.delete_user(ALICE),
    "write_data": lambda store, session: store.write_data(session.locator, a_change(a=b"1")),
    "purge": lambda store, _: store.purge(NOW, 10),
}


class Site:
    """
    A server behind a network that can fail.
    """

    def __init__(self, server: RedisServer, proxy: Proxy, *, cluster: bool) -> None:
        self.server = server
        self.proxy = proxy
        self.cluster = cluster
        self.url = f"redis://127.0.0.1:{proxy.port}"

    def announce(self) -> None:
        """
        Have a node of a cluster tell clients to come by way of the network.
        """
        if self.cluster:
            with self.server.client() as client:
                client.config_set("cluster-announce-port", self.proxy.port)

    @contextmanager
    def fault(self, name: str) -> Generator[None, None, None]:
        """
        Let something fail for a while.
        """
        if name == "stopped":
            with self.server.stopped():
                yield
        elif name == "killed":
            self.server.kill()
            yield
            self.server.start()
            self.announce()
        else:
            self.proxy.become(Weather[name])
            yield
            self.proxy.become(Weather.FAIR)


@pytest.fixture
def site(running_site: Site) -> Site:
    with running_site.server.client() as client:
        client.flushall()
    return running_site


@pytest.fixture(params=["one server", "cluster"], scope="module")
def running_site(request: pytest.FixtureRequest) -> Iterator[Site]:
    if request.param == "cluster":
        with (
            RedisCluster(primaries=1, replicas=0) as cluster,
            Proxy(cluster.nodes[0].port) as proxy,
        ):
            site = Site(cluster.nodes[0], proxy, cluster=True)
            site.announce()
            yield site
    else:
        with RedisServer() as server, Proxy(server.port) as proxy:
            yield Site(server, proxy, cluster=False)


@both
@pytest.mark.parametrize("fault", ["stopped", "killed", "BLACK_HOLE", "CUT", "DRIP"])
def test_every_operation_ends_within_its_deadline_and_recovers(
    site: Site, kind: str, fault: str
) -> None:
    deadline = timedelta(seconds=0.5)
    operations = READS | WRITES
    with connected(kind, site.url, cluster=site.cluster, deadline=deadline) as store:
        eventually(lambda: answers(store))
        session = sign_in(store)

        def run(name: str) -> tuple[BaseException | None, float]:
            started = time.monotonic()
            try:
                operations[name](store, session)
            except StoreError as error:
                return error, time.monotonic() - started
            return None, time.monotonic() - started

        with site.fault(fault), ThreadPoolExecutor(len(operations)) as pool:
            outcomes = dict(zip(operations, pool.map(run, operations), strict=True))
        for name, (error, seconds) in outcomes.items():
            assert seconds < deadline.total_seconds() + SLACK_SECONDS, name
            named = StoreUnavailable if name in READS else (StoreUnavailable, OutcomeUnknown)
            assert isinstance(error, named), name
        eventually(lambda: answers(store))


@both
def test_a_write_whose_reply_is_lost_is_unknown_and_a_read_is_asked_again(
    site: Site, kind: str
) -> None:
    with connected(kind, site.url, cluster=site.cluster) as store:
        session, other = sign_in(store), sign_in(store)
        store.delete(other.locator)
        store.read_data(session.locator)
        for read in READS.values():
            lost = site.proxy.lose_next_reply()
            assert read(store, session) is not None
            assert lost.is_set()
        for _ in range(9):
            # So that no connection of the pool is still to be made.
            assert store.find(session.locator) == session
        lost = site.proxy.lose_next_reply()
        with pytest.raises(OutcomeUnknown):
            store.delete(session.locator)
        assert lost.is_set()
        assert store.find(session.locator) is None


@both
def test_connections_that_were_cut_while_they_rested_are_no_failure(site: Site, kind: str) -> None:
    with connected(kind, site.url, cluster=site.cluster) as store:
        for _ in range(3):
            every_operation(store)
            site.proxy.cut()


@both
def test_a_server_that_was_restarted_needs_no_help(kind: str) -> None:
    with RedisServer() as server, connected(kind, server.url) as store:
        for _ in range(3):
            every_operation(store)
            server.restart()


def test_a_client_of_the_callers_begins_nothing_after_the_deadline() -> None:
    with (
        RedisServer() as server,
        server.client(socket_timeout=0.4, socket_connect_timeout=0.4) as client,
    ):
        store = RedisSessionStore(client, deadline=timedelta(seconds=0.1))
        with server.stopped():
            started = time.monotonic()
            # The tag key and the epoch are two questions, and the second is not asked.
            with pytest.raises(StoreUnavailable):
                store.open_epoch(ALICE, NOW, WINDOW)
            assert time.monotonic() - started < 0.4 + SLACK_SECONDS
        findings = " ".join(weakness.finding for weakness in store.check())
        assert "time limit for reading is 0.4 seconds: that is too long" in findings
