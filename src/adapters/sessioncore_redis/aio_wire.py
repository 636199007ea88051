"""
How a store for asyncio reaches its servers. :mod:`sessioncore_redis.wire` is its twin.

redis-py finds servers, connects and speaks their protocol. What it would do by
itself with a command, which is to repeat it whatever it is, and to follow a
cluster's redirections in its own time, is done here: within the deadline of the
operation, and with the knowledge of what may be repeated.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from time import monotonic
from typing import TYPE_CHECKING, Any

import redis.asyncio
from redis.asyncio.cluster import ClusterNode
from redis.crc import key_slot
from redis.exceptions import (
    AskError,
    MovedError,
    ReadOnlyError,
    ResponseError,
    SlotNotCoveredError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as LostConnection

from sessioncore_redis.aio_pipeline import Pipeline, was_reset
from sessioncore_redis.failures import CLOSED_BY_ANOTHER, DRIVER_ERRORS, is_refusal
from sessioncore_redis.trips import (
    CONFIRMATION_SHARE,
    REFRESH_SECONDS,
    Question,
    Trip,
    may_be_repeated,
    tells_of_change,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence


class Server:
    """
    The way to one server, or to the primary that Sentinel names.
    """

    __slots__ = ("_pipeline", "_pool")

    def __init__(self, client: redis.asyncio.Redis, *, keep_connections: bool) -> None:
        self._pool: Any = client.connection_pool
        self._pipeline = Pipeline(self._pool) if keep_connections else None

    async def nodes(self, _trip: Trip) -> tuple[str, ...]:
        """
        Return the names of all primaries.
        """
        return ("",)

    async def ask(self, question: Question, trip: Trip) -> Any:
        """
        Ask, and return the reply; raise it if it is an error.
        """
        try:
            return await self._ask_once(question, trip)
        except DRIVER_ERRORS as error:
            if question.writes or not may_be_repeated(error):
                raise
        return await self._ask_once(question, trip)

    async def _ask_once(self, question: Question, trip: Trip) -> Any:
        # To wait for replicas holds up whatever is asked over the same connection.
        if self._pipeline is not None and not question.replicas:
            return await self._pipeline.ask(question, trip)
        async with _connection_of(self._pool, trip) as connection:
            return await _converse(connection, question, trip, asking=False)


class Cluster:
    """
    The ways to the primaries of a cluster.

    Replicas are never asked. What a node refuses because of a slot was not
    carried out, so it is asked again where the slot is now, within the deadline.
    """

    __slots__ = ("_client", "_drawn_at", "_lock", "_outdated")

    def __init__(self, client: redis.asyncio.RedisCluster) -> None:
        self._client: Any = client
        self._lock = asyncio.Lock()
        self._outdated = False
        self._drawn_at = monotonic()

    async def nodes(self, trip: Trip) -> tuple[str, ...]:
        """
        Return the names of all primaries.
        """
        async with asyncio.timeout(trip.seconds_left):
            await self._client.initialize()
            await self._draw_map()
        return tuple(node.name for node in self._client.get_primaries())

    async def ask(self, question: Question, trip: Trip) -> Any:
        """
        Ask, and return the reply; raise it if it is an error.
        """
        async with asyncio.timeout(trip.seconds_left):
            await self._client.initialize()
            if self._outdated:
                await self._draw_map()
        node, asking, lost = self._node_for(question), False, False
        while True:
            try:
                async with _connection_of(_NodePool(node, fresh=lost), trip) as connection:
                    return await _converse(connection, question, trip, asking=asking)
            except (MovedError, AskError, TryAgainError) as refusal:
                if (pause := trip.pause_before(refusal)) is None:
                    raise
                await asyncio.sleep(pause)
                asking = isinstance(refusal, AskError) and not isinstance(refusal, MovedError)
                if asking:
                    node = self._node_at(refusal, node)
                elif isinstance(refusal, MovedError):
                    node = await self._new_home(refusal, node, trip)
                else:
                    node = self._node_for(question)
            except DRIVER_ERRORS as error:
                self._outdated = self._outdated or tells_of_change(error)
                if lost or trip.may_have_written or not may_be_repeated(error):
                    raise
                # Nothing was written: once more, where a fresh map says.
                lost = True
                async with asyncio.timeout(trip.seconds_left):
                    await self._draw_map()
                node, asking = self._node_for(question), False

    def _node_for(self, question: Question) -> Any:
        if question.node is not None:
            node = self._client.get_node(node_name=question.node)
            if node is None:
                raise LostConnection("a node has left the cluster")
            return node
        try:
            return self._client.nodes_manager.get_node_from_slot(key_slot(question.key))
        except SlotNotCoveredError:
            self._outdated = True
            raise

    async def _new_home(self, moved: Any, answered: Any, trip: Trip) -> Any:
        if monotonic() - self._drawn_at > REFRESH_SECONDS:
            async with asyncio.timeout(trip.seconds_left):
                await self._draw_map()
        return self._node_at(moved, answered)

    def _node_at(self, redirection: Any, answered: Any) -> Any:
        # No host means that of whoever answered.
        host, port = self._client.nodes_manager.remap_host_port(
            redirection.host or answered.host, redirection.port
        )
        # A node whose first slot is being moved in is on no map yet.
        return self._client.get_node(host=host, port=port) or _Guest(
            host, port, **self._client.get_connection_kwargs()
        )

    async def _draw_map(self) -> None:
        drawn_at = self._drawn_at
        async with self._lock:
            # Unless another task has just done it.
            if drawn_at == self._drawn_at:
                self._outdated = False
                try:
                    await self._client.nodes_manager.initialize()
                except BaseException:
                    self._outdated = True
                    raise
                self._drawn_at = monotonic()


class _Guest(ClusterNode):
    """
    A node that is on no map. Nobody would close its connections.
    """

    __slots__ = ()


class _NodePool:
    """
    The connections to a node of a cluster, with the methods of a pool.

    Args:
        node: Whose.

        fresh: Take none that has rested: one of them was dead, and so may be others.
    """

    __slots__ = ("_fresh", "_node")

    def __init__(self, node: Any, *, fresh: bool) -> None:
        self._node: Any = node
        self._fresh = fresh

    async def get_connection(self) -> Any:
        connection = self._node.acquire_connection()
        try:
            if self._fresh:
                await connection.disconnect(nowait=True)
            await connection.connect()
            # Nobody else looks whether it has died while it rested.
            if await _is_spent(connection):
                await connection.disconnect(nowait=True)
                await connection.connect()
        except BaseException:
            await connection.disconnect(nowait=True)
            await self.release(connection)
            raise
        return connection

    async def release(self, connection: Any) -> None:
        if isinstance(self._node, _Guest):
            await connection.disconnect(nowait=True)
        # redis-py 6.0 has no method for it.
        give_back = getattr(self._node, "release", None)
        (give_back or getattr(self._node, "_free").append)(connection)  # noqa: B009


async def _is_spent(connection: Any) -> bool:
    # The method has another name since redis-py 8.
    can_read = getattr(connection, "can_read", None) or connection.can_read_destructive
    try:
        return bool(await can_read())
    except DRIVER_ERRORS:
        return True


@asynccontextmanager
async def _connection_of(pool: Any, trip: Trip) -> AsyncGenerator[Any, None]:
    async with asyncio.timeout(trip.seconds_left):
        connection = await _taken_from(pool)
    try:
        if was_reset(connection):
            await connection.disconnect(nowait=True)
            async with asyncio.timeout(trip.seconds_left):
                await connection.connect()
        async with asyncio.timeout(trip.seconds_left):
            yield connection
    except ReadOnlyError:
        # No longer a primary: whoever asks next should look for the new one.
        await connection.disconnect(nowait=True)
        raise
    except ResponseError:
        raise
    except BaseException:
        # A reply may be outstanding, which nobody must take for theirs.
        await connection.disconnect(nowait=True)
        raise
    finally:
        await pool.release(connection)


async def _converse(connection: Any, question: Question, trip: Trip, *, asking: bool) -> Any:
    await connection.check_health()
    packed = question.packed_by(connection)
    if asking:
        packed = [*connection.pack_command("ASKING"), *packed]
    trip.require_time()
    trip.may_have_written = question.writes
    reply = (await _exchange(connection, packed, 1 + asking))[-1]
    if isinstance(reply, ResponseError):
        trip.may_have_written &= not is_refusal(reply)
        raise reply
    # Until it is confirmed, whatever goes wrong goes wrong after a write.
    trip.may_have_written = question.writes and question.replicas > 0
    if question.replicas:
        milliseconds = trip.milliseconds_to_wait(connection.socket_timeout)
        packed = connection.pack_commands(question.confirmation(milliseconds))
        try:
            # Less than is left, so that what was written is not mistaken for a failure.
            async with asyncio.timeout(trip.seconds_left * CONFIRMATION_SHARE):
                trip.note_confirmation(await _exchange(connection, packed, 2))
        except DRIVER_ERRORS:
            await connection.disconnect(nowait=True)
    trip.may_have_written = False
    return reply


async def _taken_from(pool: Any) -> Any:
    try:
        return await pool.get_connection()
    except CLOSED_BY_ANOTHER as error:
        raise LostConnection("the connection was closed meanwhile") from error


async def _exchange(connection: Any, packed: Sequence[bytes], count: int) -> list[Any]:
    try:
        await connection.send_packed_command(packed, check_health=False)
        return [await _reply_on(connection) for _ in range(count)]
    except CLOSED_BY_ANOTHER as error:
        raise LostConnection("the connection was closed meanwhile") from error


async def _reply_on(connection: Any) -> Any:
    try:
        return await connection.read_response()
    except ResponseError as error:
        return error


def way_to(
    client: redis.asyncio.Redis | redis.asyncio.RedisCluster, *, keep_connections: bool
) -> Server | Cluster:
    """
    Return the way to what *client* is connected to.
    """
    if isinstance(client, redis.asyncio.RedisCluster):
        return Cluster(client)
    return Server(client, keep_connections=keep_connections)
