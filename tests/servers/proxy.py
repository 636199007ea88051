"""
A network that fails on demand: a TCP proxy between a client and a server.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import socket
import struct
import threading
from typing import TYPE_CHECKING, Any, Self

from servers.local import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from types import TracebackType

_CHUNK_BYTES = 65_536
_DRIP_SECONDS = 0.4
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER, no time to linger: closing sends RST


class Weather(enum.Enum):
    """
    What becomes of the bytes, in connections that are open and in new ones.
    """

    FAIR = "forwarded both ways"
    REPLIES_LOST = "requests are forwarded, replies are swallowed"
    BLACK_HOLE = "nothing is forwarded, and nobody is told"
    CUT = "every connection is reset, and so is every new one"
    DRIP = "requests are forwarded, replies come one byte at a time, and slowly"


class Proxy:
    """
    Forwards connections to a server on the loopback, until told otherwise.

    Bytes that were swallowed never arrive, also after the weather has improved:
    a connection that lost any stays useless, as one that lost a segment for good
    would. Thread-safe.

    Args:
        port: Where the server listens.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self._weather = Weather.FAIR
        self._replies_to_lose = 0
        self._lost = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._server: asyncio.Server | None = None
        self._streams: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self.port = 0
        """Where clients find it."""

    def __enter__(self) -> Self:
        self._thread.start()
        self._wait(self._listen())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._wait(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE_SECONDS)
        self._loop.close()

    def become(self, weather: Weather) -> None:
        """
        Change the weather. It holds for every byte that comes after this returns.
        """
        self._wait(self._become(weather))

    def lose_next_reply(self) -> threading.Event:
        """
        Swallow the next reply that a server sends, and cut its connection then.

        Returns:
            Set when that has happened.
        """
        lost: threading.Event = self._wait(self._arm())
        return lost

    def cut(self) -> None:
        """
        Reset every connection there is. New ones are served.
        """
        self._wait(self._cut())

    def lead_to(self, port: int) -> None:
        """
        Forward to another server from now on. Every connection there is is reset.
        """
        self._wait(self._lead_to(port))

    def _wait(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE_SECONDS)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
        await self._cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        # What was aborted is closed by the loop when it comes round next.
        await self._cut()
        await asyncio.sleep(0)

    async def _become(self, weather: Weather) -> None:
        self._weather = weather
        if weather is Weather.CUT:
            await self._cut()

    async def _arm(self) -> threading.Event:
        self._replies_to_lose += 1
        self._lost = threading.Event()
        return self._lost

    async def _cut(self) -> None:
        for stream in tuple(self._streams):
            self._reset(stream)

    async def _lead_to(self, port: int) -> None:
        self._target = port
        await self._cut()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._streams.add(writer)
        if self._weather is Weather.CUT:
            self._reset(writer)
            return
        self._take_on(asyncio.current_task())
        try:
            to_server = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            self._reset(writer)
            return
        self._streams.add(to_server[1])
        self._take_on(
            self._loop.create_task(self._pump(reader, to_server[1], writer, replies=False)),
            self._loop.create_task(self._pump(to_server[0], writer, to_server[1], replies=True)),
        )

    def _take_on(self, *tasks: asyncio.Task[Any] | None) -> None:
        for task in filter(None, tasks):
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pump(
        self,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        back: asyncio.StreamWriter,
        *,
        replies: bool,
    ) -> None:
        lost = False
        try:
            while chunk := await source.read(_CHUNK_BYTES):
                # As TCP has it: nothing comes after what never came.
                lost = lost or self._swallows(replies=replies)
                if lost:
                    continue
                if replies and self._replies_to_lose:
                    self._replies_to_lose -= 1
                    self._reset(sink)
                    self._reset(back)
                    self._lost.set()
                elif replies and self._weather is Weather.DRIP:
                    await self._drip(chunk, sink)
                else:
                    sink.write(chunk)
                    await sink.drain()
        except OSError:
            pass
        finally:
            # One side is gone; in a black hole the other is not told.
            if not self._swallows(replies=replies):
                for stream in (sink, back):
                    self._streams.discard(stream)
                    with contextlib.suppress(OSError):
                        stream.close()

    async def _drip(self, chunk: bytes, sink: asyncio.StreamWriter) -> None:
        for at in range(len(chunk)):
            if self._weather is Weather.DRIP and at:
                await asyncio.sleep(_DRIP_SECONDS)
            sink.write(chunk[at : at + 1])
            await sink.drain()

    def _swallows(self, *, replies: bool) -> bool:
        return self._weather is Weather.BLACK_HOLE or (
            replies and self._weather is Weather.REPLIES_LOST
        )

    def _reset(self, stream: asyncio.StreamWriter) -> None:
        self._streams.discard(stream)
        sock = stream.get_extra_info("socket")
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        stream.transport.abort()
