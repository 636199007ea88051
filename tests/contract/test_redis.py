"""
The contract on one server, behind Sentinels, and on a cluster.
"""

from __future__ import annotations

import heapq
import shutil
from contextlib import asynccontextmanager, closing, contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
import redis.asyncio.sentinel
import redis.sentinel
from hypothesis import settings
from redis.backoff import NoBackoff
from redis.retry import Retry

from servers import RedisCluster, RedisServer, Watched
from sessioncore.testing import AsyncSessionStoreContract, SessionStoreContract
from sessioncore_redis import AsyncRedisSessionStore, RedisSessionStore

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Iterator
    from contextlib import AbstractAsyncContextManager, AbstractContextManager

TAG_KEY = b"a key for the tests of this page"
VALKEY = shutil.which("valkey-server")

# So busy may a machine be that runs tests.
PATIENT: dict[str, Any] = {"deadline": timedelta(seconds=10)}
# redis-py gives most methods of its clients no types.
untyped_sentinel: Any = redis.sentinel.Sentinel
untyped_async_sentinel: Any = redis.asyncio.sentinel.Sentinel
NO_RETRIES: dict[str, Any] = {"socket_timeout": 10, "retry": Retry(NoBackoff(), 0)}


class Installation:
    """
    Some servers, and how a store is connected to them.
    """

    admin: ClassVar[Any]
    unused: ClassVar[list[str]] = [f"test-{number}" for number in range(10, 99)]

    @classmethod
    @contextmanager
    def started(cls) -> Generator[Any, None, None]:
        """
        Start the servers; gives a client for looking behind the store's back.
        """
        raise NotImplementedError
        yield

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def running(cls) -> Iterator[None]:
        with cls.started() as cls.admin:
            yield

    def connect(self, prefix: str) -> AbstractContextManager[RedisSessionStore]:
        raise NotImplementedError

    def aconnect(self, prefix: str) -> AbstractAsyncContextManager[AsyncRedisSessionStore]:
        raise NotImplementedError

    def new_prefix(self) -> str:
        # Keys have the same names when Hypothesis replays a history, so that a
        # purge comes across them in the same order.
        prefix = heapq.heappop(self.unused)
        self.admin.set(f"{prefix}:tag-key", TAG_KEY)
        return prefix

    def bytes_under(self, prefix: str) -> bytes:
        dumped = bytearray()
        for key in self.admin.scan_iter(f"{prefix}:*"):
            dumped += key
            if self.admin.type(key) == b"hash":
                for name, value in self.admin.hgetall(key).items():
                    dumped += name + value
            else:
                dumped += self.admin.get(key)
        return bytes(dumped)

    def clear(self, prefix: str) -> None:
        for key in self.admin.scan_iter(f"{prefix}:*"):
            self.admin.delete(key)
        heapq.heappush(self.unused, prefix)


class Threads(Installation, SessionStoreContract):
    @contextmanager
    def new_store(self) -> Generator[RedisSessionStore, None, None]:
        prefix = self.new_prefix()
        with self.connect(prefix) as store:
            yield store
        self.clear(prefix)

    def open_again(self, store: RedisSessionStore) -> AbstractContextManager[RedisSessionStore]:
        return self.connect(store.prefix)

    def dump(self, store: RedisSessionStore) -> bytes:
        return self.bytes_under(store.prefix)


class Tasks(Installation, AsyncSessionStoreContract):
    @asynccontextmanager
    async def new_store(self) -> AsyncGenerator[AsyncRedisSessionStore, None]:
        prefix = self.new_prefix()
        async with self.aconnect(prefix) as store:
            yield store
        self.clear(prefix)

    def open_again(
        self, store: AsyncRedisSessionStore
    ) -> AbstractAsyncContextManager[AsyncRedisSessionStore]:
        return self.aconnect(store.prefix)

    async def dump(self, store: AsyncRedisSessionStore) -> bytes:
        return self.bytes_under(store.prefix)


class OneServer(Installation):
    server: ClassVar[RedisServer]

    @classmethod
    @contextmanager
    def started(cls) -> Generator[Any, None, None]:
        with RedisServer() as cls.server, cls.server.client() as client:
            yield client

    def connect(self, prefix: str) -> AbstractContextManager[RedisSessionStore]:
        return RedisSessionStore.connect(self.server.url, prefix=prefix, **PATIENT)

    def aconnect(self, prefix: str) -> AbstractAsyncContextManager[AsyncRedisSessionStore]:
        return AsyncRedisSessionStore.connect(self.server.url, prefix=prefix, **PATIENT)


@pytest.mark.store("Redis", "redis")
class TestRedisSessionStore(OneServer, Threads):
    pass


@pytest.mark.store("Redis", "redis")
class TestAsyncRedisSessionStore(OneServer, Tasks):
    pass


fewer = settings(SessionStoreContract.properties, max_examples=20)


class OneCluster(Installation):
    cluster: ClassVar[RedisCluster]

    @classmethod
    @contextmanager
    def started(cls) -> Generator[Any, None, None]:
        with RedisCluster() as cls.cluster, cls.cluster.client() as client:
            yield client

    def connect(self, prefix: str) -> AbstractContextManager[RedisSessionStore]:
        url = self.cluster.url
        return RedisSessionStore.connect(url, cluster=True, prefix=prefix, **PATIENT)

    def aconnect(self, prefix: str) -> AbstractAsyncContextManager[AsyncRedisSessionStore]:
        url = self.cluster.url
        return AsyncRedisSessionStore.connect(url, cluster=True, prefix=prefix, **PATIENT)


@pytest.mark.store("Redis Cluster", "redis")
class TestOnACluster(OneCluster, Threads):
    properties = fewer
    race_rounds = 10


@pytest.mark.store("Redis Cluster", "redis")
class TestAsyncOnACluster(OneCluster, Tasks):
    properties = fewer
    race_rounds = 10


# A primary is a server like any other; what Sentinels add is tested elsewhere.
few = settings(SessionStoreContract.properties, max_examples=10)


class BehindSentinels(Installation):
    watched: ClassVar[Watched]

    @classmethod
    @contextmanager
    def started(cls) -> Generator[Any, None, None]:
        with Watched() as cls.watched, cls.watched.primary.client() as client:
            yield client

    @contextmanager
    def connect(self, prefix: str) -> Generator[RedisSessionStore, None, None]:
        sentinel = untyped_sentinel(self.watched.addresses, **NO_RETRIES)
        with closing(sentinel), closing(sentinel.master_for(Watched.NAME)) as client:
            yield RedisSessionStore(client, prefix=prefix, **PATIENT)

    @asynccontextmanager
    async def aconnect(self, prefix: str) -> AsyncGenerator[AsyncRedisSessionStore, None]:
        sentinel = untyped_async_sentinel(self.watched.addresses, socket_timeout=10)
        try:
            async with sentinel.master_for(Watched.NAME) as client:
                yield AsyncRedisSessionStore(client, prefix=prefix, **PATIENT)
        finally:
            for watcher in sentinel.sentinels:
                await watcher.aclose()


@pytest.mark.store("Redis, Sentinel", "redis")
class TestBehindSentinels(BehindSentinels, Threads):
    properties = few
    race_rounds = 5


@pytest.mark.store("Redis, Sentinel", "redis")
class TestAsyncBehindSentinels(BehindSentinels, Tasks):
    properties = few
    race_rounds = 5


# The project installs no Valkey. Where there is one, it has to be as good; where
# there is none, the table that this folder's conftest prints says so.


class Valkey(OneServer):
    __test__ = VALKEY is not None

    @classmethod
    @contextmanager
    def started(cls) -> Generator[Any, None, None]:
        with RedisServer(program="valkey-server") as cls.server, cls.server.client() as client:
            assert "valkey_version" in client.info("server")
            yield client


@pytest.mark.store("Valkey", "redis")
class TestOnValkey(Valkey, Threads):
    pass


@pytest.mark.store("Valkey", "redis")
class TestAsyncOnValkey(Valkey, Tasks):
    pass


class ValkeyCluster(OneCluster):
    __test__ = VALKEY is not None

    @classmethod
    @contextmanager
    def started(cls) -> Generator[Any, None, None]:
        with (
            RedisCluster(program="valkey-server", replicas=0) as cls.cluster,
            cls.cluster.client() as client,
        ):
            yield client


@pytest.mark.store("Valkey Cluster", "redis")
class TestOnAValkeyCluster(ValkeyCluster, Threads):
    pass


@pytest.mark.store("Valkey Cluster", "redis")
class TestAsyncOnAValkeyCluster(ValkeyCluster, Tasks):
    pass
