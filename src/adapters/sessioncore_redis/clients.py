"""
What a store asks of the client that it is given, and of its settings.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import redis
import redis.asyncio
import redis.asyncio.retry
from redis.backoff import NoBackoff
from redis.retry import Retry

from sessioncore.errors import CorruptRecord, StoreUnavailable
from sessioncore_redis.bounds import BoundedPool, bounded_by
from sessioncore_redis.failures import DRIVER_ERRORS
from sessioncore_redis.layout import TAG_KEY_BYTES, Layout
from sessioncore_redis.trips import Trip

if TYPE_CHECKING:
    from collections.abc import Callable

    from attrs import Attribute

TAG_KEY_SIZES: Final = range(16, 65)
"""How long a tag key may be: at least 128 bits, at most what BLAKE2b takes."""

DEADLINE: Final = timedelta(seconds=2)
"""How long one operation may take, unless told otherwise."""

# None of these characters means anything in a pattern or a cluster key.
_PREFIX: Final = re.compile(r"[A-Za-z0-9_.:/-]{1,64}")

AnyClient = redis.Redis | redis.RedisCluster | redis.asyncio.Redis | redis.asyncio.RedisCluster


def check_sync_client(_store: object, _field: Attribute[Any], client: object) -> None:
    """
    Refuse what is no client for threads, or one that would break a promise.
    """
    if not isinstance(client, (redis.Redis, redis.RedisCluster)):
        raise TypeError(f"client: a redis.Redis or redis.RedisCluster, not {_named(client)}")
    _check_settings(client)


def check_async_client(_store: object, _field: Attribute[Any], client: object) -> None:
    """
    Refuse what is no client for asyncio, or one that would break a promise.
    """
    if not isinstance(client, (redis.asyncio.Redis, redis.asyncio.RedisCluster)):
        raise TypeError(
            f"client: a redis.asyncio.Redis or redis.asyncio.RedisCluster, not {_named(client)}"
        )
    _check_settings(client)


_PLACE: Final = ("host", "port", "path", "db", "service_name")


def check_same_place(one: Any, other: object) -> None:
    """
    Refuse two clients of which one would not hear of what the other changes.
    """
    if not isinstance(other, redis.Redis) or isinstance(one, redis.asyncio.RedisCluster):
        raise TypeError("client: a redis.Redis, for threads; and a cluster is not followed")
    if _place_of(one) != _place_of(other):
        raise ValueError("client: of the server and the database that the store has")


def _place_of(client: Any) -> list[object]:
    pool = client.connection_pool
    # Sentinel names server and port; its pools know the name of the service.
    settings = {**pool.connection_kwargs, "service_name": getattr(pool, "service_name", None)}
    usual = {"host": "localhost", "port": 6379, "db": 0}
    return [settings.get(name) or usual.get(name) for name in _PLACE]


def check_prefix(_store: object, _field: Attribute[Any], prefix: object) -> None:
    """
    Refuse a prefix that would not be plain text in keys and patterns.
    """
    if not isinstance(prefix, str):
        raise TypeError(f"prefix: text, not {_named(prefix)}")
    if _PREFIX.fullmatch(prefix) is None:
        raise ValueError("prefix: 1 to 64 of the characters A-Z a-z 0-9 _ . : / -")


def check_tag_key(_store: object, _field: Attribute[Any], tag_key: object) -> None:
    """
    Refuse a tag key that could be guessed.
    """
    if tag_key is None:
        return
    if not isinstance(tag_key, bytes):
        raise TypeError(f"tag_key: bytes, not {_named(tag_key)}")
    if len(tag_key) not in TAG_KEY_SIZES:
        raise ValueError(
            f"tag_key: {TAG_KEY_SIZES.start} to {TAG_KEY_SIZES.stop - 1} secret random bytes"
        )


def check_deadline(_store: object, _field: Attribute[Any], deadline: object) -> None:
    """
    Refuse a deadline that is over before anything began.
    """
    if not isinstance(deadline, timedelta):
        raise TypeError(f"deadline: a timedelta, not {_named(deadline)}")
    if deadline <= timedelta(0):
        raise ValueError("deadline: longer than nothing")


def check_wait_replicas(_store: object, _field: Attribute[Any], replicas: object) -> None:
    """
    Refuse what is no number of replicas.
    """
    if not isinstance(replicas, int) or isinstance(replicas, bool):
        raise TypeError(f"wait_replicas: a number, not {_named(replicas)}")
    if replicas < 0:
        raise ValueError("wait_replicas: 0 or more")


def check_keep_connections(_store: object, _field: Attribute[Any], keep: object) -> None:
    """
    Refuse what is neither yes nor no.
    """
    if not isinstance(keep, bool):
        raise TypeError(f"keep_connections: True or False, not {_named(keep)}")


def new_sync_client(url: str, deadline: timedelta, *, cluster: bool) -> Any:
    """
    Make a client for threads that keeps to *deadline*.

    Raises:
        ValueError: *url* is not the URL of a Redis server.

        StoreUnavailable: No node of the cluster answered. Other clients connect
            when they are first used.
    """
    settings = {**_limits(deadline, cluster=cluster), "retry": Retry(NoBackoff(), 0)}
    if not cluster:
        pool = _made(lambda: untyped(BoundedPool).from_url(url, **settings))
        return untyped(redis.Redis).from_pool(pool)

    def connected() -> Any:
        with bounded_by(Trip(deadline)):
            return untyped(redis.RedisCluster).from_url(
                url, connection_pool_class=BoundedPool, **settings
            )

    try:
        return _made(connected)
    except DRIVER_ERRORS as error:
        raise StoreUnavailable("the cluster did not answer") from error


def new_async_client(url: str, deadline: timedelta, *, cluster: bool) -> Any:
    """
    Make a client for asyncio that keeps to *deadline*.

    Raises:
        ValueError: *url* is not the URL of a Redis server.
    """
    kind = untyped(redis.asyncio.RedisCluster if cluster else redis.asyncio.Redis)
    retry = redis.asyncio.retry.Retry(NoBackoff(), 0)
    return _made(lambda: kind.from_url(url, retry=retry, **_limits(deadline, cluster=cluster)))


def _made(make: Callable[[], Any]) -> Any:
    try:
        return make()
    except ValueError:
        # A password that is not escaped is taken for a port, and quoted.
        pass
    raise ValueError("not the URL of a Redis server")


def untyped(driver: Any) -> Any:
    """
    Return *driver* itself, where redis-py's types stop short.
    """
    return driver


@dataclass(frozen=True, slots=True)
class Settings:
    """
    What a client does by itself.
    """

    connect_timeout: float | None
    read_timeout: float | None
    connects_again: bool
    """Whether it repeats an attempt to connect by itself."""

    waits_for_connection: float | None
    """For how many seconds it waits for a connection when all are in use; ``None`` for ever."""

    asks_before: float | None
    """For how many seconds it may ask Sentinels in turn where to connect; ``None`` for ever."""

    for_threads: bool


def settings_of(client: AnyClient) -> Settings:
    """
    Find out how *client* is set up.

    What is so by default differs between versions of redis-py, and between
    clients made from arguments and from a URL. A connection knows.
    """
    pool = _pool_of(client)
    specimen = _specimen_of(pool)
    return Settings(
        connect_timeout=specimen.socket_connect_timeout,
        read_timeout=specimen.socket_timeout,
        connects_again=specimen.retry.get_retries() != 0 and not _is_cluster(client),
        waits_for_connection=getattr(pool, "timeout", 0),
        asks_before=_patience_with_sentinels(pool),
        for_threads=isinstance(client, (redis.Redis, redis.RedisCluster)),
    )


def proposed_tag_key(known: Layout | None) -> bytes:
    """
    Return the tag key to share if none is: the one in use, or a new one.
    """
    return secrets.token_bytes(TAG_KEY_BYTES) if known is None else known.tag_key


def layout_of(prefix: str, stored: bytes | None) -> Layout:
    """
    Return the layout under the tag key that processes share.
    """
    if stored is None or len(stored) not in TAG_KEY_SIZES:
        raise CorruptRecord("the stored tag key is none")
    return Layout(prefix, stored)


def _limits(deadline: timedelta, *, cluster: bool) -> dict[str, float]:
    # Half of it for one of two addresses, or for a node in whose place another
    # one may answer.
    seconds = deadline.total_seconds()
    return {
        "socket_timeout": seconds / 2 if cluster else seconds,
        "socket_connect_timeout": seconds / 2,
    }


def _check_settings(client: AnyClient) -> None:
    if _is_cluster(client):
        cluster = untyped(client)
        if cluster.read_from_replicas or cluster.load_balancing_strategy:
            raise ValueError("client: it reads from replicas, which lag behind; let it not")
        decodes = cluster.encoder.decode_responses
    else:
        if getattr(_pool_of(client), "is_master", True) is False:
            raise ValueError("client: it reads from a replica, which lags behind: master_for()")
        decodes = _pool_of(client).connection_kwargs.get("decode_responses")
    if decodes:
        raise ValueError("client: decode_responses must be off, records are not text")
    if getattr(_pool_of(client), "cache", None) is not None:
        raise ValueError("client: its cache_config would answer for the server; leave it out")


def _is_cluster(client: AnyClient) -> bool:
    return isinstance(client, (redis.RedisCluster, redis.asyncio.RedisCluster))


def _pool_of(client: AnyClient) -> Any:
    driver = untyped(client)
    if isinstance(client, redis.RedisCluster):
        return driver.get_redis_connection(driver.get_default_node()).connection_pool
    if isinstance(client, redis.asyncio.RedisCluster):
        # Not yet connected to anything, it knows where to begin; a node is a pool.
        return next(iter(driver.nodes_manager.startup_nodes.values()))
    return driver.connection_pool


def _patience_with_sentinels(pool: Any) -> float | None:
    sentinels = getattr(getattr(pool, "sentinel_manager", None), "sentinels", ())
    limits = [_specimen_of(sentinel.connection_pool).socket_timeout for sentinel in sentinels]
    return None if None in limits else sum(limits)


def _specimen_of(pool: Any) -> Any:
    return pool.connection_class(**pool.connection_kwargs)


def _named(value: object) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"
