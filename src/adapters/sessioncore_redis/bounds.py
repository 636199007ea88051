"""
Connections for threads whose every wait ends with the operation that waits.

A socket's time limit is one for each piece that arrives. A server that sends one
byte a second keeps it satisfied for ever. asyncio needs none of this: there a
whole conversation can be given up.
"""

from __future__ import annotations

import select
import ssl
import threading
from time import monotonic
from typing import TYPE_CHECKING, Any

from redis.connection import Connection, ConnectionPool

if TYPE_CHECKING:
    from collections.abc import Callable, Sized

    from sessioncore_redis.trips import Trip


class _Bound(threading.local):
    ends_at: float | None = None


_bound = _Bound()


class bounded_by:  # noqa: N801 - it reads as a function, at a third of the cost
    """
    Let every wait of this thread end with *trip*, on connections that can.
    """

    __slots__ = ("_trip",)

    def __init__(self, trip: Trip) -> None:
        self._trip = trip

    def __enter__(self) -> None:
        # For connections that cannot, at least nothing is begun that is too late.
        self._trip.require_time()
        _bound.ends_at = self._trip.ends_at

    def __exit__(self, *_: object) -> None:
        _bound.ends_at = None


def _seconds(limit: float | None) -> float | None:
    if _bound.ends_at is None:
        return limit
    left = _bound.ends_at - monotonic()
    if left <= 0:
        raise TimeoutError("the time for this operation is over")
    return left if limit is None else min(limit, left)


class BoundedPool(ConnectionPool):
    """
    A pool of connections that keep within :func:`bounded_by`.
    """

    def __init__(self, connection_class: type[Any] = Connection, **settings: Any) -> None:
        bounded = _bounded(connection_class)
        super().__init__(connection_class=bounded, **settings)  # pyright: ignore[reportUnknownMemberType]


def _bounded(connection_class: Any) -> Any:
    return type(f"Bounded{connection_class.__name__}", (_BoundedConnection, connection_class), {})


class _BoundedConnection:
    socket_connect_timeout: float | None

    def connect(self) -> None:
        connection: Any = super()
        try:
            connection.connect()
        except BaseException:
            # Not only after its own errors: a reply to the greeting may be outstanding.
            connection.disconnect()
            raise

    def _connect(self) -> _BoundedSocket:
        configured = self.socket_connect_timeout
        self.socket_connect_timeout = _seconds(configured)
        try:
            # The name is not public, but every kind of connection overrides it.
            connected: Any = super()._connect()  # type: ignore[misc]
        finally:
            self.socket_connect_timeout = configured
        # What TLS has decrypted already, no poll can see.
        if isinstance(connected, ssl.SSLSocket) or not hasattr(select, "poll"):
            return _BoundedSocket(connected)
        return _PolledSocket(connected)


class _BoundedSocket:
    __slots__ = ("_limit", "_socket")

    def __init__(self, wrapped: Any) -> None:
        self._socket = wrapped
        self._limit: float | None = wrapped.gettimeout()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)

    def settimeout(self, limit: float | None) -> None:
        self._limit = limit
        self._socket.settimeout(limit)

    def recv(self, *arguments: Any) -> Any:
        self._socket.settimeout(_seconds(self._limit))
        return self._socket.recv(*arguments)

    def recv_into(self, *arguments: Any) -> Any:
        self._socket.settimeout(_seconds(self._limit))
        return self._socket.recv_into(*arguments)

    def sendall(self, data: Any) -> None:
        self._socket.settimeout(_seconds(self._limit))
        self._socket.sendall(data)


class _PolledSocket(_BoundedSocket):
    """
    The same in fewer system calls: Python's own time limit takes one to set and one to use.
    """

    __slots__ = ("_poll", "_recv_into", "_send")

    def __init__(self, wrapped: Any) -> None:
        super().__init__(wrapped)
        wrapped.settimeout(0)
        readable = select.poll()
        readable.register(wrapped, select.POLLIN)
        self._poll = readable.poll
        self._recv_into = wrapped.recv_into
        self._send = wrapped.send

    def settimeout(self, limit: float | None) -> None:
        self._limit = limit

    def recv(self, *arguments: Any) -> Any:
        self._await(self._poll)
        return self._socket.recv(*arguments)

    def recv_into(self, *arguments: Any) -> Any:
        self._await(self._poll)
        return self._recv_into(*arguments)

    def sendall(self, data: Any) -> None:
        sent = self._taken_of(data)
        if sent < len(data):
            writable = select.poll()
            writable.register(self._socket, select.POLLOUT)
            rest = memoryview(data)[sent:]
            while rest:
                self._await(writable.poll)
                rest = rest[self._taken_of(rest) :]

    def _taken_of(self, data: Any) -> int:
        try:
            taken: int = self._send(data)
        except BlockingIOError:
            return 0
        return taken

    def _await(self, poll: Callable[[float | None], Sized]) -> None:
        seconds = _seconds(self._limit)
        if not poll(None if seconds is None else seconds * 1000):
            raise TimeoutError("nothing came in time")
