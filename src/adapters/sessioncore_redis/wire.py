"""
How a store for threads reaches its servers. :mod:`sessioncore_redis.aio_wire` is its twin.

redis-py finds servers, connects and speaks their protocol. What it would do by
itself with a command, which is to repeat it whatever it is, and to follow a
cluster's redirections in its own time, is done here: within the deadline of the
operation, and with the knowledge of what may be repeated.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

import redis
from redis.cluster import ClusterNode
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

from sessioncore_redis.bounds import bounded_by
from sessioncore_redis.failures import CLOSED_BY_ANOTHER, DRIVER_ERRORS, is_refusal
from sessioncore_redis.trips import (
    KEPT_SECONDS,
    REFRESH_SECONDS,
    Question,
    Trip,
    may_be_repeated,
    tells_of_change,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_cluster_node: Any = ClusterNode


class Server:
    """
    The way to one server, or to the primary that Sentinel names.
    """

    __slots__ = ("_pool",)

    def __init__(self, client: redis.Redis, *, keep_connections: bool) -> None:
        pool: Any = client.connection_pool
        # Who waits for a connection of the pool's would wait for ever for one that is kept.
        keeps = keep_connections and not isinstance(pool, redis.BlockingConnectionPool)
        self._pool = KeptConnections(pool) if keeps else _Passing(pool)

    def nodes(self, _trip: Trip) -> tuple[str, ...]:
        """
        Return the names of all primaries.
        """
        return ("",)

    def ask(self, question: Question, trip: Trip) -> Any:
        """
        Ask, and return the reply; raise it if it is an error.
        """
        try:
            with bounded_by(trip):
                return _ask_over(self._pool, question, trip, checked=question.writes)
        except DRIVER_ERRORS as error:
            if question.writes or not may_be_repeated(error):
                raise
        with bounded_by(trip):
            return _ask_over(self._pool, question, trip, checked=True)


class _Passing:
    """
    The connections of a client, each taken for one question.
    """

    __slots__ = ("_pool", "put_back")

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        self.put_back: Callable[[Any], None] = pool.release

    def take(self, trip: Trip, *, checked: bool) -> Any:  # noqa: ARG002 - a pool always looks
        return _taken_from(self._pool)


class KeptConnections:
    """
    Connections that stay with the store between questions, while all goes well.

    To take one from redis-py's pool and put it back costs half as much as to ask
    over it. So it is asked only now and then. What the pool knows and does (which
    server is the primary now, fresh credentials, which connections are dead) is
    at most that much late; and nothing is written over a connection that the pool
    has not just looked at, for what goes wrong then would be of unknown outcome.
    """

    __slots__ = ("_kept", "_pid", "_pool", "_until")

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        self._kept: deque[Any] = deque()
        self._until = 0.0
        self._pid = os.getpid()

    def take(self, trip: Trip, *, checked: bool) -> Any:
        """
        Return a connection for one question.

        Args:
            trip: The operation under way.

            checked: The pool has looked whether it is alive.
        """
        if self._pid != os.getpid():
            # Those belong to the process that this one was forked from.
            self._kept = deque()
            self._pid = os.getpid()
        if trip.starts_at > self._until:
            self._until = trip.starts_at + KEPT_SECONDS
            self._give_back()
        try:
            connection = self._kept.pop()
        except IndexError:
            return _taken_from(self._pool)
        if checked or not _is_connected(connection):
            self._pool.release(connection)
            return _taken_from(self._pool)
        return connection

    def put_back(self, connection: Any) -> None:
        """
        Take *connection* back, which :meth:`take` returned.
        """
        if _is_connected(connection):
            self._kept.append(connection)
        else:
            self._pool.release(connection)

    def _give_back(self) -> None:
        while self._kept:
            try:
                self._pool.release(self._kept.pop())
            except IndexError:
                return


class Cluster:
    """
    The ways to the primaries of a cluster.

    Replicas are never asked. What a node refuses because of a slot was not
    carried out, so it is asked again where the slot is now, within the deadline.
    """

    __slots__ = ("_client", "_drawn_at", "_lock", "_outdated")

    def __init__(self, client: redis.RedisCluster) -> None:
        self._client: Any = client
        self._lock = threading.Lock()
        self._outdated = False
        self._drawn_at = monotonic()

    def nodes(self, trip: Trip) -> tuple[str, ...]:
        """
        Return the names of all primaries.
        """
        with bounded_by(trip):
            self._draw_map(trip)
        return tuple(node.name for node in self._client.get_primaries())

    def ask(self, question: Question, trip: Trip) -> Any:
        """
        Ask, and return the reply; raise it if it is an error.
        """
        with bounded_by(trip):
            return self._ask(question, trip)

    def _ask(self, question: Question, trip: Trip) -> Any:
        if self._outdated:
            self._draw_map(trip)
        node, asking, lost = self._node_for(question), False, False
        while True:
            try:
                pool = _Passing(self._pool_of(node))
                return _ask_over(pool, question, trip, checked=True, asking=asking)
            except (MovedError, AskError, TryAgainError) as refusal:
                if (pause := trip.pause_before(refusal)) is None:
                    raise
                sleep(pause)
                asking = isinstance(refusal, AskError) and not isinstance(refusal, MovedError)
                if asking:
                    node = self._node_at(refusal, node)
                elif isinstance(refusal, MovedError):
                    node = self._new_home(refusal, node, trip)
                else:
                    node = self._node_for(question)
            except DRIVER_ERRORS as error:
                self._outdated = self._outdated or tells_of_change(error)
                if lost or trip.may_have_written or not may_be_repeated(error):
                    raise
                # Nothing was written: once more, where a fresh map says.
                lost = True
                self._draw_map(trip)
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

    def _new_home(self, moved: Any, answered: Any, trip: Trip) -> Any:
        if monotonic() - self._drawn_at > REFRESH_SECONDS:
            self._draw_map(trip)
        return self._node_at(moved, answered)

    def _node_at(self, redirection: Any, answered: Any) -> Any:
        # No host means that of whoever answered.
        host, port = self._client.nodes_manager.remap_host_port(
            redirection.host or answered.host, redirection.port
        )
        # A node whose first slot is being moved in is on no map yet.
        return self._client.get_node(host=host, port=port) or _cluster_node(host, port)

    def _pool_of(self, node: Any) -> Any:
        return self._client.get_redis_connection(node).connection_pool

    def _draw_map(self, trip: Trip) -> None:
        drawn_at = self._drawn_at
        # A lock ends with no socket: whoever draws may have more time than this call.
        if not self._lock.acquire(timeout=max(trip.seconds_left, 0)):
            raise TimeoutError("the time for this operation is over")
        try:
            # Unless another thread has just done it.
            if drawn_at == self._drawn_at:
                self._outdated = False
                try:
                    self._client.nodes_manager.initialize()
                except BaseException:
                    self._outdated = True
                    raise
                self._drawn_at = monotonic()
        finally:
            self._lock.release()


def _ask_over(
    connections: _Passing | KeptConnections,
    question: Question,
    trip: Trip,
    *,
    checked: bool,
    asking: bool = False,
) -> Any:
    connection = connections.take(trip, checked=checked)
    try:
        return _converse(connection, question, trip, asking=asking)
    except ReadOnlyError:
        # No longer a primary: whoever asks next should look for the new one.
        connection.disconnect()
        raise
    except ResponseError:
        raise
    except BaseException:
        # A reply may be outstanding, which nobody must take for theirs.
        connection.disconnect()
        raise
    finally:
        connections.put_back(connection)


def _converse(connection: Any, question: Question, trip: Trip, *, asking: bool) -> Any:
    connection.check_health()
    packed = question.packed_by(connection)
    if asking:
        packed = [*connection.pack_command("ASKING"), *packed]
    trip.require_time()
    trip.may_have_written = question.writes
    try:
        connection.send_packed_command(packed, check_health=False)
        if asking:
            _reply_on(connection)
        reply = connection.read_response()
    except ResponseError as error:
        trip.may_have_written &= not is_refusal(error)
        raise
    except CLOSED_BY_ANOTHER as error:
        raise LostConnection("the connection was closed meanwhile") from error
    if question.replicas:
        # Until it is confirmed, whatever goes wrong goes wrong after a write.
        milliseconds = trip.milliseconds_to_wait(connection.socket_timeout)
        packed = connection.pack_commands(question.confirmation(milliseconds))
        try:
            trip.note_confirmation(_exchange(connection, packed, 2))
        except DRIVER_ERRORS:
            connection.disconnect()
    trip.may_have_written = False
    return reply


def _taken_from(pool: Any) -> Any:
    try:
        return pool.get_connection()
    except CLOSED_BY_ANOTHER as error:
        raise LostConnection("the connection was closed meanwhile") from error


def _exchange(connection: Any, packed: Sequence[bytes], count: int) -> list[Any]:
    try:
        connection.send_packed_command(packed, check_health=False)
        return [_reply_on(connection) for _ in range(count)]
    except CLOSED_BY_ANOTHER as error:
        raise LostConnection("the connection was closed meanwhile") from error


def _reply_on(connection: Any) -> Any:
    try:
        return connection.read_response()
    except ResponseError as error:
        return error


def _is_connected(connection: Any) -> bool:
    # Only redis-py 8 has a public name for it.
    return getattr(connection, "_sock", None) is not None


def way_to(client: redis.Redis | redis.RedisCluster, *, keep_connections: bool) -> Server | Cluster:
    """
    Return the way to what *client* is connected to.
    """
    if isinstance(client, redis.RedisCluster):
        return Cluster(client)
    return Server(client, keep_connections=keep_connections)
