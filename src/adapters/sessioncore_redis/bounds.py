"""
Connections for threads whose every wait ends with the operation that waits.

A socket's time limit is one for each piece that arrives. A server that sends one
byte a second keeps it satisfied for ever. asyncio needs none of this: there a
whole conversation can be given up.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Any

from redis.connection import Connection, ConnectionPool

if TYPE_CHECKING:
    from collections.abc import Generator

    from sessioncore_redis.trips import Trip


class _Bound(threading.local):
    ends_at: float | None = None


_bound = _Bound()


@contextmanager
def bounded_by(trip: Trip) -> Generator[None, None, None]:
    """
    Let every wait of this thread end with *trip*, on connections that can.
    """
    _bound.ends_at = trip.ends_at
    try:
        # For connections that cannot, at least nothing is begun that is too late.
        _seconds(None)
        yield
    finally:
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

    def _connect(self) -> _BoundedSocket:
        configured = self.socket_connect_timeout
        self.socket_connect_timeout = _seconds(configured)
        try:
            # The name is not public, but every kind of connection overrides it.
            return _BoundedSocket(super()._connect())  # type: ignore[misc]
        finally:
            self.socket_connect_timeout = configured


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
