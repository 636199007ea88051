"""
Records of Flask-Session in Redis.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import attrs
import redis
from redis.exceptions import RedisError, ResponseError

from sessioncore.errors import OutcomeUnknown, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

_MILLISECOND: Final = timedelta(milliseconds=1)
_PAGE: Final = 1_000

# Its own new record is what a repetition finds if the first reply was lost.
_SWAP: Final = """
local stored = redis.call('GET', KEYS[1])
if stored == ARGV[2] then return 1 end
if stored ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
"""


def _check_client(_records: object, _field: attrs.Attribute[Any], client: object) -> None:
    if not isinstance(client, redis.Redis):
        raise TypeError("client: a redis.Redis; Flask-Session works with no other")
    driver: Any = client
    if driver.connection_pool.connection_kwargs.get("decode_responses"):
        raise ValueError("client: decode_responses must be off, records are not text")


@attrs.define(eq=False)
class RedisFlaskSessionRecords:
    """
    Records in one Redis, as ``SESSION_TYPE = "redis"`` has them.

    Args:
        client: The one of ``SESSION_REDIS``, or another of the primary.

    Raises:
        TypeError: *client* is no client for threads, or one of a cluster.

        ValueError: *client* decodes what it reads.
    """

    client: redis.Redis = attrs.field(repr=False, validator=_check_client)

    def read(self, key: str, /) -> bytes | None:
        """
        See :meth:`sessioncore_flask.migration.FlaskSessionRecords.read`.
        """
        # Unlike GET, it takes what is no string for absent.
        found: list[bytes | None] = self._asked(lambda client: client.mget([key]))
        return found[0]

    def swap(self, key: str, old: bytes, new: bytes, keep_for: timedelta, /) -> bool:
        """
        See :meth:`sessioncore_flask.migration.FlaskSessionRecords.swap`.
        """
        milliseconds = max(1, keep_for // _MILLISECOND)
        return bool(self._told(lambda client: client.eval(_SWAP, 1, key, old, new, milliseconds)))

    def delete(self, keys: Collection[str], /) -> int:
        """
        See :meth:`sessioncore_flask.migration.FlaskSessionRecords.delete`.
        """
        return int(self._told(lambda client: client.delete(*keys))) if keys else 0

    def pages(self, prefix: str, /) -> Iterator[Mapping[str, bytes]]:
        """
        See :meth:`sessioncore_flask.migration.FlaskSessionRecords.pages`.

        It walks over all keys of the database, whoever's they are.
        """
        pattern = re.sub(r"([*?\[\]\\])", r"\\\1", prefix) + "*"
        cursor = 0
        while True:
            cursor, page = self._portion(cursor, pattern)
            yield page
            if cursor == 0:
                return

    def _portion(self, cursor: int, pattern: str) -> tuple[int, Mapping[str, bytes]]:
        following, keys = self._asked(
            lambda client: client.scan(cursor, match=pattern, count=_PAGE, _type="string")
        )
        records: list[bytes | None] = []
        if keys:
            records = self._asked(lambda client: client.mget(keys))
        return following, {
            key.decode("utf-8", "replace"): record
            for key, record in zip(keys, records, strict=True)
            if record is not None
        }

    def _asked(self, ask: Callable[[Any], Any]) -> Any:
        try:
            return ask(self.client)
        except (RedisError, OSError) as error:
            kind = type(error).__name__
        # Not as its cause: what Redis says may quote the key.
        raise StoreUnavailable(f"the Redis of the old sessions did not answer ({kind})")

    def _told(self, tell: Callable[[Any], Any]) -> Any:
        may_have_written = False
        kind = ""
        for _ in range(2):
            try:
                return tell(self.client)
            except ResponseError as error:  # a refusal, before anything was written
                kind = type(error).__name__
                break
            except (RedisError, OSError) as error:
                kind = type(error).__name__
                may_have_written = True
        if may_have_written:
            raise OutcomeUnknown(f"Redis did not say whether it took the call ({kind})")
        raise StoreUnavailable(f"the Redis of the old sessions refused the call ({kind})")
