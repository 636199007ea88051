"""
How a client process puts a near cache before its store, if its configuration says so.

``{"near": {"staleness": seconds}}`` with one of these for the feed: ``{"redis": url}``,
``{"sql": url}``, or ``{"sentinels": [...], "name": ..., "through": [[port, port], ...]}``,
where *through* names the proxy before each server.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from datetime import timedelta
from typing import Any

import redis
import redis.sentinel
from redis.backoff import NoBackoff
from redis.retry import Retry

from sessioncore.ports import AsyncSessionStore, InvalidationFeed, SessionStore
from sessioncore_near_cache import AsyncNearCache, NearCache
from sessioncore_redis.feed import RedisInvalidationFeed
from sessioncore_sql import new_engine
from sessioncore_sql._feed import PostgresInvalidationFeed

Maker = Callable[[SessionStore, InvalidationFeed, timedelta], NearCache]
"""Makes a near cache for threads."""


def usual(store: SessionStore, feed: InvalidationFeed, staleness: timedelta) -> NearCache:
    """
    Make a near cache without a bug.
    """
    return NearCache(store, feed, max_staleness=staleness)


def before(
    store: SessionStore, told: dict[str, Any], stack: ExitStack, maker: Maker = usual
) -> SessionStore:
    """
    Return *store* with a near cache before it, or as it is.
    """
    near = told.get("near")
    if near is None:
        return store
    feed = stack.enter_context(_feed(near, told["deadline"]))
    return stack.enter_context(maker(store, feed, timedelta(seconds=near["staleness"])))


async def before_async(
    store: AsyncSessionStore, told: dict[str, Any], stack: AsyncExitStack
) -> AsyncSessionStore:
    """
    Return *store* with a near cache before it, or as it is.
    """
    near = told.get("near")
    if near is None:
        return store
    feed = stack.enter_context(_feed(near, told["deadline"]))
    staleness = timedelta(seconds=near["staleness"])
    return await stack.enter_async_context(AsyncNearCache(store, feed, max_staleness=staleness))


@contextmanager
def _feed(told: dict[str, Any], deadline: float) -> Generator[InvalidationFeed]:
    limits: dict[str, Any] = {
        "socket_timeout": deadline,
        "socket_connect_timeout": deadline,
        "retry": Retry(NoBackoff(), 0),
    }
    untyped_redis: Any = redis.Redis
    if "sql" in told:
        engine = new_engine(told["sql"], deadline=timedelta(seconds=deadline))
        try:
            yield PostgresInvalidationFeed(engine)
        finally:
            engine.dispose()
        return
    if "sentinels" in told:
        addresses = [tuple(address) for address in told["sentinels"]]
        sentinels = _Detour(addresses, sentinel_kwargs=limits, **limits)
        sentinels.through = dict(told["through"])
        client = sentinels.master_for(told["name"])
    else:
        client = untyped_redis.from_url(told["redis"], **limits)
    try:
        yield RedisInvalidationFeed(client)
    finally:
        client.close()


_untyped_sentinel: Any = redis.sentinel.Sentinel


class _Detour(_untyped_sentinel):  # type: ignore[misc]  # as redis-py has no types for it
    """
    Sentinels that name the proxy before a server in place of the server.
    """

    through: dict[int, int]

    def discover_master(self, service_name: str) -> tuple[str, int]:
        host, port = _untyped_sentinel.discover_master(self, service_name)
        return host, self.through[port]
