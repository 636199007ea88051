"""
Purging in the background: in a thread, or in a task.

No promise rests on purging, for what has expired is dead before it is deleted.
It keeps a store small. So a purger may run on every machine or on one, and a
round that fails is made up for by the next.

Rounds come at random intervals, half as long as was asked for to one and a half
times, the first one included: machines that were started together would
otherwise ask the store for the same work at the same moment, for ever.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from threading import Event, Thread
from typing import TYPE_CHECKING, Final, Self

from sessioncore.errors import StoreError
from sessioncore.system import SystemEntropy

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from sessioncore.aio import AsyncAuthService
    from sessioncore.ports import Entropy
    from sessioncore.service import AuthService

EVERY: Final = timedelta(minutes=5)
BATCH: Final = 1_000

_DRAWN_BYTES: Final = 4


class Purger:
    """
    Calls ``auth.purge`` in a thread of its own, now and then, until it is stopped.

    A context manager, or :meth:`start` and :meth:`stop`. Start it in the process
    that serves, after a fork and not before: threads do not survive one.

    Args:
        auth: Whose store to purge.

        every: How long to pause between rounds, on average.

        limit: How many records one batch deletes at most. A round is as many
            batches as it takes.

        on_error: Told of a round that failed, in the purger's thread. By default
            nobody is. It must not raise: that would end the purger.

        entropy: Where chance comes from; the system's by default.

    Raises:
        ValueError: *every* is not positive, or *limit* is less than 1.
    """

    def __init__(
        self,
        auth: AuthService,
        *,
        every: timedelta = EVERY,
        limit: int = BATCH,
        on_error: Callable[[StoreError], None] | None = None,
        entropy: Entropy | None = None,
    ) -> None:
        _check(every, limit)
        self._auth = auth
        self._every = every
        self._limit = limit
        self._on_error = on_error
        self._entropy = entropy or SystemEntropy()
        self._stopping = Event()
        self._thread: Thread | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """
        Begin, unless it has begun.
        """
        if self._thread is None:
            self._stopping.clear()
            # A daemon: a purger that nobody stopped keeps no program from ending.
            self._thread = Thread(target=self._run, name="sessioncore-purger", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """
        Let the batch that is under way come to its end, and begin no other.

        Returns when the thread has ended. Idempotent.
        """
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        while not self._stopping.wait(pause(self._every, self._entropy).total_seconds()):
            self._round()

    def _round(self) -> None:
        try:
            more = True
            while more and not self._stopping.is_set():
                more = self._auth.purge(self._limit).more
        except StoreError as error:
            if self._on_error is not None:
                self._on_error(error)


class AsyncPurger:
    """
    :class:`Purger` for asyncio: ``async with AsyncPurger(auth): ...``.

    Args:
        auth: Whose store to purge.

        every: How long to pause between rounds, on average.

        limit: How many records one batch deletes at most. A round is as many
            batches as it takes.

        on_error: Told of a round that failed, in the purger's task. By default
            nobody is. It must not raise: that would end the purger.

        entropy: Where chance comes from; the system's by default.

    Raises:
        ValueError: *every* is not positive, or *limit* is less than 1.
    """

    def __init__(
        self,
        auth: AsyncAuthService,
        *,
        every: timedelta = EVERY,
        limit: int = BATCH,
        on_error: Callable[[StoreError], None] | None = None,
        entropy: Entropy | None = None,
    ) -> None:
        _check(every, limit)
        self._auth = auth
        self._every = every
        self._limit = limit
        self._on_error = on_error
        self._entropy = entropy or SystemEntropy()
        self._stopping: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    def start(self) -> None:
        """
        Begin, unless it has begun. To be called where the event loop runs.
        """
        if self._task is None:
            loop = asyncio.get_running_loop()
            self._stopping = loop.create_future()
            self._task = loop.create_task(self._run(self._stopping), name="sessioncore-purger")

    async def stop(self) -> None:
        """
        Let the batch that is under way come to its end, and begin no other.

        Returns when the task has ended. Idempotent.
        """
        if self._stopping is not None and not self._stopping.done():
            self._stopping.set_result(None)
        if self._task is not None:
            await self._task
            self._task = None

    async def _run(self, stopping: asyncio.Future[None]) -> None:
        while True:
            await asyncio.wait(
                (stopping,), timeout=pause(self._every, self._entropy).total_seconds()
            )
            if stopping.done():
                return
            await self._round(stopping)

    async def _round(self, stopping: asyncio.Future[None]) -> None:
        try:
            more = True
            while more and not stopping.done():
                more = (await self._auth.purge(self._limit)).more
        except StoreError as error:
            if self._on_error is not None:
                self._on_error(error)


def pause(every: timedelta, entropy: Entropy) -> timedelta:
    """
    Draw how long to wait: from half of *every* to one and a half times, evenly.
    """
    drawn = int.from_bytes(entropy.draw(_DRAWN_BYTES), "big")
    return every / 2 + every * (drawn / (1 << 8 * _DRAWN_BYTES))


def _check(every: timedelta, limit: int) -> None:
    if every <= timedelta(0):
        raise ValueError("every: longer than nothing")
    if limit < 1:
        raise ValueError("limit: at least 1")
