"""
What a store asks of the client that it is given.
"""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING, Any, Final

import redis
import redis.asyncio

from sessioncore.errors import CorruptRecord
from sessioncore_redis.layout import TAG_KEY_BYTES, Layout

if TYPE_CHECKING:
    from attrs import Attribute

TAG_KEY_SIZES: Final = range(16, 65)
"""How long a tag key may be: at least 128 bits, at most what BLAKE2b takes."""

SOCKET_TIMEOUT: Final = 2.0
"""Seconds that a connection of ``connect`` waits for the server."""

# None of these characters means anything in a pattern or a cluster key.
_PREFIX: Final = re.compile(r"[A-Za-z0-9_.:/-]{1,64}")

AnyClient = redis.Redis | redis.asyncio.Redis


def check_sync_client(_store: object, _field: Attribute[Any], client: object) -> None:
    """
    Refuse what is no client for threads, or one that would break a promise.
    """
    if not isinstance(client, redis.Redis):
        raise TypeError(f"client: a redis.Redis, not {_named(client)}")
    if getattr(client.connection_pool, "cache", None) is not None:
        raise ValueError("client: its cache_config would answer for the server; leave it out")
    _check_settings(client)


def check_async_client(_store: object, _field: Attribute[Any], client: object) -> None:
    """
    Refuse what is no client for asyncio, or one that would break a promise.
    """
    if not isinstance(client, redis.asyncio.Redis):
        raise TypeError(f"client: a redis.asyncio.Redis, not {_named(client)}")
    _check_settings(client)


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


def untyped(driver: Any) -> Any:
    """
    Return *driver* itself, where redis-py's types stop short.
    """
    return driver


def specimen_of(client: AnyClient) -> Any:
    """
    Return a connection as the client makes them, not connected to anything.

    What it does by default differs between versions of redis-py, and between
    clients made from arguments and from a URL. A connection knows.
    """
    pool: Any = client.connection_pool
    return pool.connection_class(**pool.connection_kwargs)


def retries_of(client: AnyClient) -> int:
    """
    Return how often the client repeats a command by itself; negative for without end.
    """
    return int(specimen_of(client).retry.get_retries())


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


def _check_settings(client: AnyClient) -> None:
    pool: Any = client.connection_pool
    if pool.connection_kwargs.get("decode_responses"):
        raise ValueError("client: decode_responses must be off, records are not text")


def _named(value: object) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"
