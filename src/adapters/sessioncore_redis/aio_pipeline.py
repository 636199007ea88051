"""
One connection for all tasks: what is asked at the same moment goes out together.

redis-py's pool, and its way of reading one reply, cost several times what the server
takes. So questions are lined up here, sent in one write each time the event loop
comes round, and answered in that order, which is the order of Redis. Connecting,
signing in, packing and parsing stay redis-py's.

Each question keeps what it would have on a connection of its own. It ends with its
own operation, and if it was not sent by then it never is. Whoever gives up leaves a
gap, into which the reply falls that nobody waits for any more. A connection over
which a reply is late gets no more questions, and goes when those that were sent are
over. If it breaks, they all are, and their writes are of unknown outcome; what was
not sent goes over the next one.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Any

from redis.exceptions import ConnectionError as LostConnection
from redis.exceptions import ReadOnlyError

from sessioncore_redis.failures import CLOSED_BY_ANOTHER, is_refusal
from sessioncore_redis.trips import KEPT_SECONDS

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from sessioncore_redis.trips import Question, Trip


class Pipeline:
    """
    The connection that all tasks share, and its successors.

    It is back in its pool after a second without break, or when nobody has asked
    for the time of an operation. There it is looked after as any other is.

    Args:
        pool: Of a client for asyncio.
    """

    __slots__ = (
        *("_alarm", "_alarm_at", "_asked", "_chores", "_connecting"),
        *("_is_due", "_line", "_lines", "_loop", "_pid", "_pool"),
    )

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pid = 0
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._asked: list[_Asked] = []
        """What was not sent yet."""
        self._is_due = False
        self._line: _Line | None = None
        self._lines: set[_Line] = set()
        """It, and those before it over which replies are to come."""
        self._connecting = False
        self._chores: set[asyncio.Task[None]] = set()
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = 0.0

    async def ask(self, question: Question, trip: Trip) -> Any:
        """
        Ask, and return the reply; raise it if it is an error.
        """
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._move_to(loop)
        trip.require_time()
        asked = _Asked(question, trip, loop.create_future())
        self._asked.append(asked)
        if self._alarm is None or trip.ends_at < self._alarm_at:
            self._set_alarm(loop, trip.ends_at)
        if not self._is_due:
            self._is_due = True
            loop.call_soon(self._send)
        return await asked.reply

    def _send(self) -> None:
        self._is_due = False
        if self._connecting:
            return
        now = monotonic()
        if self._line is not None and self._line.is_fit(now):
            asked, self._asked = self._asked, []
            self._line.send(asked, now)
            return
        if self._line is not None:
            self._line.end()
            self._line = None
        self._connecting = True
        self.begin(self._connect())

    async def _connect(self) -> None:
        try:
            while self._asked:
                # Who asks while this attempt is under way may have more time, and gets another.
                first = len(self._asked)
                ends_at = max(asked.trip.ends_at for asked in self._asked)
                try:
                    async with asyncio.timeout(ends_at - monotonic()):
                        connection = await self._connected()
                except BaseException as error:
                    failed, self._asked = self._asked[:first], self._asked[first:]
                    for asked in failed:
                        asked.fail(error if isinstance(error, Exception) else lost(error))
                    if not isinstance(error, Exception):
                        raise
                else:
                    self._line = _Line(self, connection)
                    self._lines.add(self._line)
                    connected, self._asked = self._asked, []
                    self._line.send(connected, monotonic())
        finally:
            self._connecting = False

    async def _connected(self) -> Any:
        try:
            connection = await self._pool.get_connection()
        except CLOSED_BY_ANOTHER as error:
            raise lost(error) from error
        try:
            if was_reset(connection):
                await connection.disconnect(nowait=True)
                await connection.connect()
            await connection.check_health()
        except BaseException:
            await connection.disconnect(nowait=True)
            await self._pool.release(connection)
            raise
        return connection

    def _set_alarm(self, loop: asyncio.AbstractEventLoop, at: float) -> None:
        # One for all: nearly nobody's time is ever over.
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_at = at
        self._alarm = loop.call_later(at - monotonic(), self._look_for_late_ones)

    def _look_for_late_ones(self) -> None:
        self._alarm = None
        now = monotonic()
        for asked in self._asked:
            asked.end_if_late(now)
        for line in self._lines:
            line.end_late_ones(now)
        # A reply may be late for one who has given up, and then the line is no good either.
        ends = [asked.trip.ends_at for line in self._lines for asked in line.waiting]
        ends += [asked.trip.ends_at for asked in self._asked if not asked.reply.done()]
        to_come = [end for end in ends if end > now]
        if to_come:
            self._set_alarm(asyncio.get_running_loop(), min(to_come))
        elif self._line is not None:
            # Others may want it.
            self._line.end()
            self._line = None

    async def let_go(self, line: _Line, *, spoilt: bool) -> None:
        """
        Give the connection of *line* back to its pool.
        """
        if line in self._lines:
            self._lines.discard(line)
            await self._give_back(line.connection, spoilt=spoilt)

    def begin(self, chore: Coroutine[Any, Any, None]) -> None:
        """
        Have something done by a task of its own.
        """
        task = asyncio.create_task(chore)
        self._chores.add(task)
        task.add_done_callback(self._chores.discard)

    def _move_to(self, loop: asyncio.AbstractEventLoop) -> None:
        # What belongs to another process, or to a loop that may still run, is not touched.
        old = self._loop if self._pid == os.getpid() else None
        if old is not None and old.is_running():
            raise RuntimeError("the store is in use on another event loop")
        lines = self._lines if old is not None and old.is_closed() else ()
        self._begin_anew()
        self._loop, self._pid = loop, os.getpid()
        for line in lines:
            self.begin(self._give_back(line.connection, spoilt=True))

    async def _give_back(self, connection: Any, *, spoilt: bool) -> None:
        if spoilt:
            # They may say that their loop is closed, and do it all the same.
            if (writer := connection._writer) is not None:  # noqa: SLF001
                with suppress(RuntimeError):
                    # Else what was not taken in yet would be kept, and sent when it is.
                    writer.transport.abort()
            with suppress(RuntimeError):
                await connection.disconnect(nowait=True)
        await self._pool.release(connection)


class _Line:
    """
    A connection, and who waits for replies that come over it, the first one first.
    """

    __slots__ = ("_is_over", "_pipeline", "_reading", "_spoilt", "_until", "connection", "waiting")

    def __init__(self, pipeline: Pipeline, connection: Any) -> None:
        self._pipeline = pipeline
        self._reading: asyncio.Task[None] | None = None
        self._until = monotonic() + KEPT_SECONDS
        self._is_over = False
        """Whether nothing is to be sent over it any more."""
        self._spoilt = False
        """Whether it may be used by nobody else."""
        self.connection = connection
        self.waiting: deque[_Asked] = deque()

    def is_fit(self, now: float) -> bool:
        """
        Tell whether more may be sent over it.
        """
        if self._is_over or now > self._until:
            return False
        reader, writer = self.connection._reader, self.connection._writer  # noqa: SLF001
        return writer is not None and not writer.is_closing() and not reader.at_eof()

    def send(self, questions: list[_Asked], now: float) -> None:
        """
        Send what is still wanted.
        """
        packed: list[bytes] = []
        for asked in questions:
            if not asked.end_if_late(now) and not asked.reply.done():
                try:
                    packed += asked.question.packed_by(self.connection)
                except Exception as error:  # noqa: BLE001 - it is raised where that was asked
                    asked.fail(error)
                else:
                    asked.trip.may_have_written = asked.question.writes
                    self.waiting.append(asked)
        if packed:
            self.connection._writer.write(b"".join(packed))  # noqa: SLF001
            if self._reading is None:
                self._reading = asyncio.create_task(self._read())

    def end(self) -> None:
        """
        Send nothing more, and let go of the connection when every reply has come.
        """
        self._is_over = True
        if self._reading is None:
            self._pipeline.begin(self._pipeline.let_go(self, spoilt=self._spoilt))

    def end_late_ones(self, now: float) -> None:
        """
        Give up on replies that are late, and then on the connection.
        """
        # Every one of them, and not any() of them.
        if sum([asked.end_if_late(now) for asked in self.waiting]):
            self._is_over = True
            if self._reading is not None and all(asked.reply.done() for asked in self.waiting):
                self._reading.cancel()

    async def _read(self) -> None:
        read = self.connection._parser.read_response  # noqa: SLF001
        try:
            while self.waiting:
                try:
                    reply = await read()
                except LostConnection as error:
                    # Some of what a server says is raised as if it had hung up.
                    if not is_refusal(error):
                        raise
                    reply = error
                if isinstance(reply, ReadOnlyError):
                    # No longer a primary: whoever asks next should look for the new one.
                    self._is_over = self._spoilt = True
                self.waiting.popleft().answer(reply)
        except BaseException as error:
            self._is_over = self._spoilt = True
            while self.waiting:
                self.waiting.popleft().fail(lost(error))
            if not isinstance(error, Exception):
                raise
        finally:
            self._reading = None
            if self._is_over:
                await self._pipeline.let_go(self, spoilt=self._spoilt)


class _Asked:
    """
    A question, and whoever waits for the reply.
    """

    __slots__ = ("question", "reply", "trip")

    def __init__(self, question: Question, trip: Trip, reply: asyncio.Future[Any]) -> None:
        self.question = question
        self.trip = trip
        self.reply = reply

    def answer(self, reply: Any) -> None:
        """
        Hand over the reply, unless nobody waits for it any more.
        """
        if self.reply.done():
            # What is late does not make an unknown outcome a known one.
            return
        if isinstance(reply, Exception):
            self.trip.may_have_written &= not is_refusal(reply)
            self.reply.set_exception(reply)
        else:
            self.trip.may_have_written = False
            self.reply.set_result(reply)

    def fail(self, error: Exception) -> None:
        """
        Say that no reply will come.
        """
        if not self.reply.done():
            self.reply.set_exception(error)

    def end_if_late(self, now: float) -> bool:
        """
        Tell whether the time is over, and if so, say that to whoever still waits.
        """
        if now < self.trip.ends_at:
            return False
        self.fail(TimeoutError("the time for this operation is over"))
        return True


def lost(error: BaseException) -> LostConnection:
    """
    Say that *error* means a lost connection.
    """
    made = LostConnection("the connection was lost")
    made.__cause__ = error
    return made


def was_reset(connection: Any) -> bool:
    """
    Tell whether the connection was reset, for redis-py looks for one that was closed.
    """
    writer = getattr(connection, "_writer", None)
    return writer is not None and writer.is_closing()
