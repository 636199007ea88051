"""
How a client process opens the stores that its configuration names.

``{"redis": url, "cluster": bool, "wait_replicas": n}`` or ``{"sentinels": [...],
"name": ...}`` or ``{"sql": url, "async": url}`` for sessions; credentials are always
``{"credentials": url, "async credentials": url}``. ``deadline`` is in seconds. What
``near`` says is in :mod:`faults.near`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from datetime import timedelta
from typing import Any

import redis.asyncio.sentinel
import redis.sentinel
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

from faults import near
from sessioncore.ports import (
    AsyncCredentialStore,
    AsyncSessionStore,
    CredentialStore,
    SessionStore,
)
from sessioncore_redis import AsyncRedisSessionStore, RedisSessionStore
from sessioncore_sql import (
    AsyncSqlCredentialStore,
    AsyncSqlSessionStore,
    SqlCredentialStore,
    SqlSessionStore,
    new_async_engine,
    new_engine,
)


@contextmanager
def for_threads(
    told: dict[str, Any], near_cache: near.Maker = near.usual
) -> Generator[tuple[SessionStore, CredentialStore]]:
    """
    Open the stores for threads.

    Args:
        told: What the configuration says.

        near_cache: Makes the near cache, if there is to be one.
    """
    deadline = timedelta(seconds=told["deadline"])
    with ExitStack() as stack:
        sessions: SessionStore
        if "redis" in told:
            sessions = stack.enter_context(
                RedisSessionStore.connect(
                    told["redis"],
                    cluster=told.get("cluster", False),
                    deadline=deadline,
                    wait_replicas=told.get("wait_replicas", 0),
                )
            )
        elif "sentinels" in told:
            sessions = RedisSessionStore(
                _of_sentinels(redis.sentinel.Sentinel, Retry, told),
                deadline=deadline,
                wait_replicas=told.get("wait_replicas", 0),
            )
        else:
            engine = new_engine(told["sql"], deadline=deadline)
            stack.callback(engine.dispose)
            sessions = SqlSessionStore(engine, deadline=deadline)
        engine = new_engine(told["credentials"], deadline=deadline)
        stack.callback(engine.dispose)
        yield (
            near.before(sessions, told, stack, near_cache),
            SqlCredentialStore(engine, deadline=deadline),
        )


@asynccontextmanager
async def for_asyncio(
    told: dict[str, Any],
) -> AsyncGenerator[tuple[AsyncSessionStore, AsyncCredentialStore]]:
    """
    Open the stores for asyncio.
    """
    deadline = timedelta(seconds=told["deadline"])
    async with AsyncExitStack() as stack:
        sessions: AsyncSessionStore
        if "redis" in told:
            sessions = await stack.enter_async_context(
                AsyncRedisSessionStore.connect(
                    told["redis"],
                    cluster=told.get("cluster", False),
                    deadline=deadline,
                    wait_replicas=told.get("wait_replicas", 0),
                )
            )
        elif "sentinels" in told:
            sessions = AsyncRedisSessionStore(
                _of_sentinels(redis.asyncio.sentinel.Sentinel, AsyncRetry, told),
                deadline=deadline,
                wait_replicas=told.get("wait_replicas", 0),
            )
        else:
            engine = new_async_engine(told["async"], deadline=deadline)
            stack.push_async_callback(engine.dispose)
            sessions = AsyncSqlSessionStore(engine, deadline=deadline)
        engine = new_async_engine(told["async credentials"], deadline=deadline)
        stack.push_async_callback(engine.dispose)
        yield (
            await near.before_async(sessions, told, stack),
            AsyncSqlCredentialStore(engine, deadline=deadline),
        )


def _of_sentinels(sentinel_class: Any, retry_class: Any, told: dict[str, Any]) -> Any:
    limits = {
        "socket_timeout": told["deadline"],
        "socket_connect_timeout": told["deadline"],
        "retry": retry_class(NoBackoff(), 0),
    }
    addresses = [tuple(address) for address in told["sentinels"]]
    sentinels = sentinel_class(addresses, sentinel_kwargs=limits, **limits)
    return sentinels.master_for(told["name"])
