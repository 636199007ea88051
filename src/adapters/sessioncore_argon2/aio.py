"""
The password hasher for asyncio.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import TracebackType
from typing import Self, TypeVar

import attrs

from sessioncore.outcomes import Busy
from sessioncore.ports import PasswordCheck
from sessioncore_argon2._hashing import Hashing, acceptable

T = TypeVar("T")


def _workers_of(hashing: Hashing) -> ThreadPoolExecutor:
    # Not the loop's default pool: name look-ups must not queue behind hashes.
    return ThreadPoolExecutor(hashing.parallel, thread_name_prefix="argon2")


@attrs.frozen(eq=False)
class AsyncArgon2PasswordHasher(Hashing):
    """
    :class:`Argon2PasswordHasher` for asyncio: the same settings, laws and bounds.

    The work is done by ``parallel`` threads of its own, which start when they are
    first needed. A cancelled call keeps its place until its work has ended: the
    machine is still busy with it. End it with :meth:`close`, or use it as an
    asynchronous context manager.
    """

    _workers: ThreadPoolExecutor = attrs.field(
        init=False, repr=False, default=attrs.Factory(_workers_of, takes_self=True)
    )

    async def verify(self, encoded: str | None, password: str, /) -> PasswordCheck:
        """
        See :meth:`Argon2PasswordHasher.verify`.
        """
        checked = await self._run(partial(self._check, encoded, password))
        return PasswordCheck.BUSY if isinstance(checked, Busy) else checked

    async def hash(self, password: str, /) -> str | Busy:
        """
        See :meth:`Argon2PasswordHasher.hash`.
        """
        return await self._run(partial(self._make, acceptable(password)))

    async def close(self) -> None:
        """
        Take no more work, and return when what was taken is done. Idempotent.

        Calls made after that raise :exc:`RuntimeError`.
        """
        await asyncio.to_thread(self._workers.shutdown)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def _run(self, work: Callable[[], T]) -> T | Busy:
        if not self._places.acquire(blocking=False):
            return Busy()
        try:
            task = self._workers.submit(work)
        except RuntimeError:
            self._places.release()
            raise
        # Called once, whether the work ends or is cancelled before it starts; not
        # when the caller stops waiting for it.
        task.add_done_callback(lambda _: self._places.release())
        return await asyncio.wrap_future(task)
