"""
Keeps sessions in Redis.
"""

from sessioncore_redis.aio import AsyncRedisSessionStore
from sessioncore_redis.feed import RedisInvalidationFeed
from sessioncore_redis.health import Weakness
from sessioncore_redis.store import RedisSessionStore

__all__ = [
    "AsyncRedisSessionStore",
    "RedisInvalidationFeed",
    "RedisSessionStore",
    "Weakness",
]
