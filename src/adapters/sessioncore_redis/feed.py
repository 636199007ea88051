"""
What changes in Redis, told by Redis: for a near cache.

A connection of its own asks the server to name every key under the prefix as soon as
anybody changes it (``CLIENT TRACKING ON BCAST``; Redis 6, Valkey). Writers do nothing for
it, and it notices as well what operators, expiry and eviction do. The proof that nothing is
missing is a question on the same connection, ``WAIT 0 0``: a server tells of a change before
it answers whatever it reads after it. (Of one that it carried out after the question had
arrived it may tell after the answer; that one is later than ``until``.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from sessioncore.errors import StoreUnavailable
from sessioncore_redis import clients
from sessioncore_redis.failures import DRIVER_ERRORS, failure
from sessioncore_redis.layout import Layout

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sessioncore.ports import InvalidationListener
    from sessioncore.session import Locator


def _check_client(store: object, field: attrs.Attribute[Any], client: object) -> None:
    if isinstance(client, redis.RedisCluster):
        raise TypeError(f"{field.name}: of one server, because a cluster is not followed")
    clients.check_sync_client(store, field, client)


@attrs.frozen(eq=False)
class RedisInvalidationFeed:
    """
    Tells what changes under a prefix of one Redis server, or of a Sentinel's primary.

    For stores for threads and for asyncio alike: it is listened to in a thread. It opens one
    connection beside the client's pool and asks with every heartbeat. The server
    tells it of every write under the prefix, those that merely record that a session was
    seen included. Sentinel is asked with every heartbeat which server is the primary. A
    cluster is not followed.

    Args:
        client: A client for threads: the store's own, if it is one. It stays yours to close.

        prefix: That of the store.

    Raises:
        TypeError: The client is none for one server.

        ValueError: The prefix is not acceptable.
    """

    client: redis.Redis = attrs.field(repr=False, validator=_check_client)
    prefix: str = attrs.field(default="sessioncore", kw_only=True, validator=clients.check_prefix)

    _layout: Layout = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        # The names of keys do not depend on the tag key, which only locators do.
        object.__setattr__(self, "_layout", Layout(self.prefix, bytes(16)))

    def topic(self, locator: Locator, /) -> bytes:
        """
        See :meth:`sessioncore.ports.InvalidationFeed.topic`. All sessions of a user have one.
        """
        return self._layout.keys_of(locator.epoch)[0]

    def follow(self, listener: InvalidationListener, /) -> None:
        """
        See :meth:`sessioncore.ports.InvalidationFeed.follow`.
        """
        try:
            _Channel(self.client.connection_pool, listener).follow(self._layout.pattern[:-2])
        except DRIVER_ERRORS as error:
            raise failure(error, may_have_written=False) from error


class _Channel:
    def __init__(self, pool: Any, listener: InvalidationListener) -> None:
        self._listener = listener
        self._pool = pool
        settings = {
            **pool.connection_kwargs,
            "protocol": 3,
            "decode_responses": False,
            "socket_timeout": listener.patience,
            "socket_connect_timeout": listener.patience,
            "health_check_interval": 0,
            "retry": Retry(NoBackoff(), 0),
        }
        self._connection: Any = pool.connection_class(**settings)

    def follow(self, start: bytes) -> None:
        connection = self._connection
        try:
            connection.connect()
            # Not public, but what redis-py's own cache uses; without it, messages are replies.
            parser = connection._parser  # noqa: SLF001
            if hasattr(parser, "set_invalidation_push_handler"):
                parser.set_invalidation_push_handler(self._tell)
            self._ask("CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", start)
            while not self._listener.has_enough:
                self._beat()
        finally:
            connection.disconnect()

    def _beat(self) -> None:
        listener, connection = self._listener, self._connection
        since = listener.now()
        # For no replica. A primary answers at once, and a replica, which it may have become,
        # refuses: there nobody writes, so that nothing would ever be told.
        self._ask("WAIT", 0, 0)
        self._require_the_primary()
        listener.complete(since)
        while (left := since + listener.heartbeat - listener.now()) > 0:
            if connection.can_read(timeout=left):
                self._tell_or_return(connection.read_response(push_request=True))

    def _ask(self, *command: Any) -> Any:
        # A reply may come after any number of messages, and all within one patience.
        listener, connection = self._listener, self._connection
        late = listener.now() + listener.patience
        connection.send_command(*command, check_health=False)
        while listener.now() < late:
            if not connection.can_read(timeout=max(late - listener.now(), 0)):
                break
            reply = self._tell_or_return(connection.read_response(push_request=True))
            if reply is not _TOLD:
                return reply
        raise StoreUnavailable("Redis did not answer in time")

    def _tell_or_return(self, reply: Any) -> Any:
        # No command of ours is answered with a list.
        if isinstance(reply, list):
            return self._tell(reply)  # pyright: ignore[reportUnknownArgumentType]
        return reply

    def _tell(self, message: Sequence[Any]) -> object:
        keys = message[1]
        if keys is None:  # all of them: somebody flushed the database
            self._listener.doubtful()
        else:
            for key in keys:
                self._listener.changed(key)
        return _TOLD

    def _require_the_primary(self) -> None:
        # Else the store would read elsewhere, and nobody would tell what changes there. The
        # question also closes what a store with the same client has open to the old one.
        named = getattr(self._pool, "get_master_address", None)
        if named is not None and named() != (self._connection.host, self._connection.port):
            raise StoreUnavailable("Sentinel names another primary")


_TOLD: Final = object()
