"""
What changes in Redis is told, and nothing is called complete that is not: real servers.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
import redis
import redis.asyncio
import redis.sentinel
from feeds import (
    BRIEFLY,
    CHANGES,
    NO_HURRY,
    SLACK,
    Ear,
    followed,
    hammering,
    is_recalled,
    tells,
    topic_of,
    was_never_complete_too_soon,
)
from near_caches import is_soon
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis_sessions import ALICE, BOB, sign_in

from servers import Proxy, RedisServer, Watched, Weather
from sessioncore.errors import StoreUnavailable
from sessioncore_near_cache import NearCache
from sessioncore_redis import AsyncRedisSessionStore, RedisSessionStore
from sessioncore_redis.feed import RedisInvalidationFeed

TAG_KEY = b"a key for the tests of this page"
MARKER = "marker-that-must-not-leak"

untyped_redis: Any = redis.Redis


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def operator(server: RedisServer) -> Iterator[Any]:
    with server.client() as client:
        client.flushall()
        yield client


@contextmanager
def connected(port: int, **settings: Any) -> Generator[Any]:
    client = untyped_redis.from_url(
        f"redis://127.0.0.1:{port}", **{"retry": Retry(NoBackoff(), 0), **settings}
    )
    try:
        yield client
    finally:
        client.close()


def store_on(client: Any, **settings: Any) -> RedisSessionStore:
    return RedisSessionStore(client, tag_key=TAG_KEY, deadline=NO_HURRY, **settings)


@pytest.fixture
def store(operator: Any) -> RedisSessionStore:
    return store_on(operator)


@pytest.fixture
def feed(operator: Any) -> RedisInvalidationFeed:
    return RedisInvalidationFeed(operator)


def listeners(operator: Any) -> int:
    """
    How many connections of the server are told what changes.
    """
    return sum("t" in each["flags"] for each in operator.client_list())


# -- What is told ----------------------------------------------------------------------


@pytest.mark.parametrize("change", CHANGES)
def test_what_another_changes_is_told_before_the_feed_is_complete_again(
    change: str, feed: RedisInvalidationFeed, store: RedisSessionStore
) -> None:
    tells(feed, store, CHANGES[change])


def test_so_is_what_an_operator_deletes(
    feed: RedisInvalidationFeed, store: RedisSessionStore, operator: Any
) -> None:
    tells(feed, store, lambda _store, session: operator.delete(topic_of(feed, session)))


def test_so_is_what_an_operator_renames(
    feed: RedisInvalidationFeed, store: RedisSessionStore, operator: Any
) -> None:
    tells(feed, store, lambda _store, session: operator.rename(topic_of(feed, session), "away"))


def test_so_is_what_expires(
    feed: RedisInvalidationFeed, store: RedisSessionStore, operator: Any
) -> None:
    session = sign_in(store)
    key = topic_of(feed, session)
    with followed(feed) as ear:
        operator.pexpire(key, 30)
        ear.wait_until_complete()
        told = ear.topics.count(key)
        ear.wait_until(lambda: ear.topics.count(key) > told)
        assert store.find(session.locator) is None


def test_so_is_what_the_server_evicts(
    feed: RedisInvalidationFeed, store: RedisSessionStore, operator: Any
) -> None:
    session = sign_in(store)
    with followed(feed) as ear:
        operator.config_set("maxmemory-policy", "allkeys-random")
        operator.config_set("maxmemory", "1mb")
        try:
            ear.wait_until(lambda: topic_of(feed, session) in ear.topics)
        finally:
            operator.config_set("maxmemory", "0")
            operator.config_set("maxmemory-policy", "noeviction")


@pytest.mark.parametrize("flush", ["FLUSHALL", "FLUSHDB", "FLUSHALL ASYNC"])
def test_a_flush_puts_everything_in_doubt(
    feed: RedisInvalidationFeed, store: RedisSessionStore, operator: Any, flush: str
) -> None:
    sign_in(store)
    with followed(feed) as ear:
        operator.execute_command(*flush.split())
        ear.wait_until_complete()
        assert None in ear.told


def test_all_sessions_of_a_user_have_one_topic_and_nobody_else_has_it(
    feed: RedisInvalidationFeed, store: RedisSessionStore
) -> None:
    first, second, other = sign_in(store, ALICE), sign_in(store, ALICE), sign_in(store, BOB)
    assert topic_of(feed, first) == topic_of(feed, second) != topic_of(feed, other)


def test_what_happens_under_other_prefixes_is_not_told(
    feed: RedisInvalidationFeed, store: RedisSessionStore, operator: Any
) -> None:
    with followed(feed) as ear:
        sign_in(store_on(operator, prefix="sessioncore2"))
        operator.set("session", "of another library")
        operator.set("sessioncore", "or of none")
        ear.wait_until_complete()
        assert ear.topics == []


def test_a_feed_has_the_prefix_of_its_store(operator: Any) -> None:
    feed = RedisInvalidationFeed(operator, prefix="app-2")
    tells(feed, store_on(operator, prefix="app-2"), CHANGES["delete"])


@pytest.mark.parametrize("protocol", [2, 3])
def test_it_does_not_matter_which_protocol_the_client_speaks(
    server: RedisServer, store: RedisSessionStore, protocol: int
) -> None:
    with connected(server.port, protocol=protocol) as client:
        tells(RedisInvalidationFeed(client), store, CHANGES["delete"])


def test_nothing_is_complete_before_what_was_written_by_then_is_told(
    server: RedisServer, feed: RedisInvalidationFeed
) -> None:
    hammer = """
import select, sys, time
import redis
client = redis.Redis(port=int(sys.argv[1]))
said = []
print("begun", flush=True)
number = 0
while not select.select([sys.stdin], [], [], 0)[0]:
    number += 1
    key = b"sessioncore:{%d}" % number
    client.set(key, b"x")
    said.append(f"{key.hex()} {time.monotonic()!r}")
print("\\n".join(said))
"""
    with followed(feed, heartbeat=0.001) as ear, hammering(hammer, str(server.port)) as written:
        ear.wait_until(lambda: len(ear.topics) > 500)
        writes = written()
        ear.wait_until_complete()
        assert was_never_complete_too_soon(ear, writes)


# -- What is refused -------------------------------------------------------------------


class ACluster(redis.RedisCluster):
    def __init__(self) -> None:
        pass

    def __del__(self) -> None:
        pass


def test_a_cluster_is_not_followed() -> None:
    with pytest.raises(TypeError, match="cluster"):
        RedisInvalidationFeed(ACluster())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def test_a_client_for_asyncio_is_refused() -> None:
    untyped_client: Any = redis.asyncio.Redis()
    with pytest.raises(TypeError, match="redis"):
        RedisInvalidationFeed(untyped_client)


def test_a_client_whose_answers_are_text_is_refused(server: RedisServer) -> None:
    with (
        connected(server.port, decode_responses=True) as client,
        pytest.raises(ValueError, match="decode_responses"),
    ):
        RedisInvalidationFeed(client)


def test_a_prefix_that_no_store_takes_is_refused(operator: Any) -> None:
    with pytest.raises(ValueError, match="prefix"):
        RedisInvalidationFeed(operator, prefix="*")


def test_who_may_not_be_told_is_unavailable_and_nothing_secret_is_said(
    server: RedisServer, operator: Any
) -> None:
    operator.acl_setuser(
        "web",
        enabled=True,
        passwords=[f"+{MARKER}"],
        keys=["*"],
        channels=["*"],
        commands=["+@all", "-client|tracking"],
    )
    with connected(server.port, username="web", password=MARKER) as client:
        feed = RedisInvalidationFeed(client)
        with NearCache(store_on(client), feed, max_staleness=timedelta(seconds=1)) as near:
            session = sign_in(near)
            near.find(session.locator)
            is_soon(lambda: near.statistics().failure is not None)
            # The store answers everything, as without a near cache.
            assert near.find(session.locator) == session
            assert near.recall(session.locator) is None
            assert MARKER not in repr((feed, near, near.statistics()))


def test_a_server_that_is_not_there_is_unavailable() -> None:
    with RedisServer() as gone:
        port = gone.port
    with (
        connected(port, password=MARKER) as client,
        pytest.raises(StoreUnavailable) as raised,
    ):
        RedisInvalidationFeed(client).follow(Ear())
    assert MARKER not in str(raised.value)


# -- What breaks -----------------------------------------------------------------------


@pytest.fixture
def proxy(server: RedisServer) -> Iterator[Proxy]:
    with Proxy(server.port) as proxy:
        yield proxy


@pytest.fixture
def far_feed(proxy: Proxy) -> Iterator[RedisInvalidationFeed]:
    with connected(proxy.port) as client:
        yield RedisInvalidationFeed(client)


def test_a_connection_that_is_cut_breaks_it_at_once(
    far_feed: RedisInvalidationFeed, proxy: Proxy
) -> None:
    with followed(far_feed) as ear:
        proxy.cut()
        ear.breaks(SLACK)


@pytest.mark.parametrize("weather", [Weather.BLACK_HOLE, Weather.REPLIES_LOST, Weather.DRIP])
def test_silence_breaks_it_when_its_patience_is_over(
    far_feed: RedisInvalidationFeed, proxy: Proxy, weather: Weather
) -> None:
    with followed(far_feed, patience=BRIEFLY) as ear:
        proxy.become(weather)
        began = ear.now()
        ear.breaks(BRIEFLY + SLACK)
        # What was on its way then is a proof until then and no longer.
        assert all(until <= began for until in ear.instants[:-1])


def test_a_server_that_is_frozen_breaks_it_when_its_patience_is_over() -> None:
    with (
        RedisServer() as server,
        connected(server.port) as client,
        followed(RedisInvalidationFeed(client), patience=BRIEFLY) as ear,
        server.stopped(),
    ):
        frozen = ear.now()
        ear.breaks(BRIEFLY + SLACK)
        assert max(ear.instants) <= frozen


def test_no_connection_is_no_reason_to_wait_for_long(
    far_feed: RedisInvalidationFeed, proxy: Proxy
) -> None:
    proxy.become(Weather.BLACK_HOLE)
    ear = Ear(patience=BRIEFLY)
    began = ear.now()
    with pytest.raises(StoreUnavailable):
        far_feed.follow(ear)
    assert ear.now() - began < 2 * BRIEFLY + SLACK
    assert ear.told == []


def test_a_near_cache_drops_all_when_the_server_is_killed_and_goes_on_when_it_is_back() -> None:
    with RedisServer(appendonly="yes") as server, connected(server.port) as client:
        feed, store = RedisInvalidationFeed(client), store_on(client)
        with NearCache(store, feed, max_staleness=timedelta(seconds=1)) as near:
            session = sign_in(near)
            is_soon(lambda: is_recalled(near, session))
            server.kill()
            is_soon(lambda: near.statistics().doubts == 1)
            assert near.recall(session.locator) is None
            assert near.statistics().copies == 0
            server.start()
            is_soon(lambda: is_recalled(near, session))


def test_a_primary_that_becomes_a_replica_is_followed_no_longer() -> None:
    with (
        RedisServer() as server,
        connected(server.port) as client,
        followed(RedisInvalidationFeed(client), patience=BRIEFLY) as ear,
    ):
        # Of nobody, as when the network between the two is gone.
        client.replicaof("127.0.0.1", 1)
        ear.breaks(4 * BRIEFLY)


# -- What is left ----------------------------------------------------------------------


def test_who_has_heard_enough_leaves_no_connection(
    feed: RedisInvalidationFeed, operator: Any
) -> None:
    with followed(feed):
        assert listeners(operator) == 1
    is_soon(lambda: listeners(operator) == 0)


def test_one_that_broke_leaves_no_connection(
    far_feed: RedisInvalidationFeed, proxy: Proxy, operator: Any
) -> None:
    with followed(far_feed, patience=BRIEFLY) as ear:
        proxy.become(Weather.REPLIES_LOST)
        ear.breaks(BRIEFLY + SLACK)
        proxy.become(Weather.FAIR)
        is_soon(lambda: listeners(operator) == 0)


def test_closing_a_near_cache_leaves_neither_a_connection_nor_a_thread(
    feed: RedisInvalidationFeed, store: RedisSessionStore, operator: Any
) -> None:
    before = threading.active_count()
    with NearCache(store, feed, max_staleness=timedelta(seconds=1)) as near:
        session = sign_in(near)
        is_soon(lambda: is_recalled(near, session))
        assert listeners(operator) == 1
        assert threading.active_count() == before + 1
    is_soon(lambda: listeners(operator) == 0)
    assert threading.active_count() == before


def test_a_forked_process_listens_for_itself(server: RedisServer, operator: Any) -> None:
    with connected(server.port) as client:
        store = store_on(client)
        near = NearCache(store, RedisInvalidationFeed(client), max_staleness=timedelta(seconds=1))
        session = sign_in(near)
        is_soon(lambda: is_recalled(near, session))
        told, tell = os.pipe()
        pid = os.fork()
        if pid == 0:
            # Whatever happens here, no test of the parent's must go on in the child.
            try:
                fine = near.recall(session.locator) is None
                is_soon(lambda: is_recalled(near, session))
                os.write(tell, b"+")
                is_soon(lambda: near.recall(session.locator) is None)
                os._exit(0 if fine else 1)
            finally:
                os._exit(2)
        assert os.read(told, 1) == b"+"
        assert listeners(operator) == 2
        store_on(operator).delete(session.locator)
        is_soon(lambda: near.recall(session.locator) is None)
        _, status = os.waitpid(pid, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        near.close()
        for pipe in (told, tell):
            os.close(pipe)
    is_soon(lambda: listeners(operator) == 0)


# -- Sentinels -------------------------------------------------------------------------


def test_a_failover_breaks_it_and_the_new_primary_is_followed() -> None:
    limits: dict[str, Any] = {"socket_timeout": 1.0, "socket_connect_timeout": 1.0}
    with Watched(replicas=1, sentinels=1) as watched:
        sentinels: Any = redis.sentinel.Sentinel(  # type: ignore[no-untyped-call]
            watched.addresses, sentinel_kwargs=limits, **limits
        )
        client = sentinels.master_for(Watched.NAME, retry=Retry(NoBackoff(), 0))
        feed, store = RedisInvalidationFeed(client), store_on(client)
        try:
            tells(feed, store, CHANGES["delete"])
            with followed(feed) as ear:
                watched.fail_over()
                ear.breaks()
            tells(feed, store, CHANGES["delete"])
        finally:
            for each in (client, *sentinels.sentinels):
                each.close()


# -- The store's own feed --------------------------------------------------------


def test_a_store_makes_the_feed_of_its_own_client_and_prefix(server: RedisServer) -> None:
    with connected(server.port) as client:
        store = store_on(client, prefix="shop")
        feed = store.invalidation_feed()
        assert feed.client is client
        session = sign_in(store, ALICE)
        with followed(feed) as ear:
            ear.wait_until_complete()
            store.delete(session.locator)
            ear.wait_until_complete()
        assert feed.topic(session.locator) in ear.told


def test_a_store_for_asyncio_makes_the_feed_of_its_prefix(server: RedisServer) -> None:
    made = redis.asyncio.Redis(host="127.0.0.1", port=server.port)
    store = AsyncRedisSessionStore(made, prefix="shop")
    with connected(server.port) as client:
        feed = store.invalidation_feed(client)
    assert (feed.client, feed.prefix) == (client, "shop")


@pytest.mark.parametrize(
    "elsewhere", [{"port": 1}, {"db": 5}, {"host": "other.example"}], ids=["port", "db", "host"]
)
def test_a_client_of_another_place_makes_no_feed(elsewhere: dict[str, Any]) -> None:
    store = AsyncRedisSessionStore(redis.asyncio.Redis(host="127.0.0.1", port=6379))
    client = untyped_redis(**{"host": "127.0.0.1", "port": 6379, **elsewhere})
    with pytest.raises(ValueError, match="client"):
        store.invalidation_feed(client)


def test_what_is_no_client_of_one_server_makes_no_feed(server: RedisServer) -> None:
    store = AsyncRedisSessionStore(redis.asyncio.Redis())
    no_client: Any = "redis://localhost"
    with pytest.raises(TypeError, match="client"):
        store.invalidation_feed(no_client)
