from __future__ import annotations

import itertools
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from servers import RedisServer
from sessioncore.testing import AsyncSessionStoreContract, SessionStoreContract
from sessioncore_redis import AsyncRedisSessionStore, RedisSessionStore

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Iterator


class OneServer:
    server: ClassVar[RedisServer]
    admin: ClassVar[Any]
    numbers = itertools.count()

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def running(cls) -> Iterator[None]:
        with RedisServer() as cls.server, cls.server.client() as cls.admin:
            yield

    def new_prefix(self) -> str:
        return f"test-{next(self.numbers)}"

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


class TestRedisSessionStore(OneServer, SessionStoreContract):
    @contextmanager
    def new_store(self) -> Generator[RedisSessionStore, None, None]:
        prefix = self.new_prefix()
        with RedisSessionStore.connect(self.server.url, prefix=prefix) as store:
            yield store
        self.clear(prefix)

    @contextmanager
    def open_again(self, store: RedisSessionStore) -> Generator[RedisSessionStore, None, None]:
        with RedisSessionStore.connect(self.server.url, prefix=store.prefix) as again:
            yield again

    def dump(self, store: RedisSessionStore) -> bytes:
        return self.bytes_under(store.prefix)


class TestAsyncRedisSessionStore(OneServer, AsyncSessionStoreContract):
    @asynccontextmanager
    async def new_store(self) -> AsyncGenerator[AsyncRedisSessionStore, None]:
        prefix = self.new_prefix()
        async with AsyncRedisSessionStore.connect(self.server.url, prefix=prefix) as store:
            yield store
        self.clear(prefix)

    @asynccontextmanager
    async def open_again(
        self, store: AsyncRedisSessionStore
    ) -> AsyncGenerator[AsyncRedisSessionStore, None]:
        async with AsyncRedisSessionStore.connect(self.server.url, prefix=store.prefix) as again:
            yield again

    async def dump(self, store: AsyncRedisSessionStore) -> bytes:
        return self.bytes_under(store.prefix)
