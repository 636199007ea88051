"""
Redis clients whose requests can be held before their first write.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, closing, contextmanager
from typing import TYPE_CHECKING, Any, Final

import redis
import redis.asyncio

from benchmarks.races.gates import armed

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator

    from benchmarks.races.server import Server

WRITES: Final = frozenset({"SET", "SETEX", "PSETEX", "DEL", "UNLINK", "EXPIRE"})
"""The commands with which the peers write sessions."""


class HeldConnection(redis.Connection):
    """
    A connection that holds the request's armed gate before it sends a write.
    """

    def send_command(self, *args: Any, **kwargs: Any) -> None:
        """
        Send one command.
        """
        if args[0] in WRITES and (gate := armed()) is not None:
            gate.hold()
        parent: Any = super()
        parent.send_command(*args, **kwargs)


class AsyncHeldConnection(redis.asyncio.Connection):
    """
    :class:`HeldConnection` for asyncio.
    """

    async def send_command(self, *args: Any, **kwargs: Any) -> None:
        """
        Send one command.
        """
        if args[0] in WRITES and (gate := armed()) is not None:
            await asyncio.to_thread(gate.hold)
        await super().send_command(*args, **kwargs)


@contextmanager
def client_of(server: Server) -> Generator[Any, None, None]:
    """
    Make a client, which is closed in the end.
    """
    pool = redis.ConnectionPool(connection_class=HeldConnection, host="127.0.0.1", port=server.port)
    with closing(pool):
        yield redis.Redis(connection_pool=pool)


@asynccontextmanager
async def async_client_of(server: Server) -> AsyncGenerator[Any, None]:
    """
    Make a client for the running loop, which is closed in the end.
    """
    pool = redis.asyncio.ConnectionPool(
        connection_class=AsyncHeldConnection, host="127.0.0.1", port=server.port
    )
    try:
        yield redis.asyncio.Redis(connection_pool=pool)
    finally:
        await pool.disconnect()
