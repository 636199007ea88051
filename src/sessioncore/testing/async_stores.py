"""
Asynchronous stores, driven by clauses that know nothing of it.

The store lives on an event loop in a thread of its own; a call from the clause,
or from one of its racing threads, becomes a task there and is waited for. So
racing calls overlap on the loop just as those of an application do.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Coroutine, Generator, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager
from datetime import datetime, timedelta
from typing import Any, Generic, Self, TypeVar

from sessioncore.ports import (
    Account,
    Admission,
    AsyncCredentialStore,
    AsyncSessionStore,
    DataWrite,
    Purged,
)
from sessioncore.session import DataChange, Datum, Epoch, Locator, Roster, Session, Subject
from sessioncore.testing.race import PATIENCE_SECONDS

T = TypeVar("T")
StoreT = TypeVar("StoreT")


class LoopThread:
    """
    An event loop that runs in a thread of its own.
    """

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE_SECONDS)

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """
        Run *coroutine* as a task on the loop and return its result.
        """
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(PATIENCE_SECONDS)

    @contextmanager
    def entered(self, manager: AbstractAsyncContextManager[T]) -> Generator[T]:
        """
        Enter *manager* on the loop, and leave it there, in one and the same task.
        """
        value: concurrent.futures.Future[T] = concurrent.futures.Future()
        leave = asyncio.Event()

        async def hold() -> None:
            try:
                async with manager as entered:
                    value.set_result(entered)
                    await leave.wait()
            except BaseException as error:
                if not value.done():
                    value.set_exception(error)
                raise

        holding = asyncio.run_coroutine_threadsafe(hold(), self._loop)
        try:
            yield value.result(PATIENCE_SECONDS)
        finally:
            self._loop.call_soon_threadsafe(leave.set)
            holding.result(PATIENCE_SECONDS)

    def _run(self) -> None:
        # A Runner cleans up as asyncio.run does: what is left over is cancelled.
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.get_loop().run_forever()


class _OnLoop(Generic[StoreT]):
    def __init__(self, store: StoreT, loop: LoopThread) -> None:
        self.store = store
        self.loop = loop


class SessionStoreOnLoop(_OnLoop[AsyncSessionStore]):
    """
    A :class:`~sessioncore.ports.SessionStore` that asks an asynchronous one.
    """

    def open_epoch(self, subject: Subject, at: datetime, lives_for: timedelta, /) -> Epoch:
        return self.loop.call(self.store.open_epoch(subject, at, lives_for))

    def find(self, locator: Locator, /) -> Session | None:
        return self.loop.call(self.store.find(locator))

    def replace(self, old: Session, new: Session, /) -> bool:
        return self.loop.call(self.store.replace(old, new))

    def roster(self, subject: Subject, /) -> Roster:
        return self.loop.call(self.store.roster(subject))

    def admit(
        self,
        session: Session,
        evicted: tuple[Locator, ...],
        version: bytes | None,
        at: datetime,
        /,
    ) -> Admission:
        return self.loop.call(self.store.admit(session, evicted, version, at))

    def restart(self, old: Session, new: Session, /) -> Locator | None:
        return self.loop.call(self.store.restart(old, new))

    def delete(self, locator: Locator, expected: Session | None = None, /) -> bool:
        return self.loop.call(self.store.delete(locator, expected))

    def delete_user(self, subject: Subject, /) -> int:
        return self.loop.call(self.store.delete_user(subject))

    def read_data(self, locator: Locator, /) -> Mapping[str, Datum] | None:
        return self.loop.call(self.store.read_data(locator))

    def find_with_data(self, locator: Locator, /) -> tuple[Session, Mapping[str, Datum]] | None:
        return self.loop.call(self.store.find_with_data(locator))

    def write_data(self, locator: Locator, change: DataChange, /) -> DataWrite:
        return self.loop.call(self.store.write_data(locator, change))

    def purge(self, before: datetime, limit: int, /) -> Purged:
        return self.loop.call(self.store.purge(before, limit))


class CredentialStoreOnLoop(_OnLoop[AsyncCredentialStore]):
    """
    A :class:`~sessioncore.ports.CredentialStore` that asks an asynchronous one.
    """

    def find_user(self, username: str, /) -> Account | None:
        return self.loop.call(self.store.find_user(username))

    def read_hash(self, user_id: str, /) -> str | None:
        return self.loop.call(self.store.read_hash(user_id))

    def replace_hash(self, user_id: str, verified: str, new: str, /) -> bool:
        return self.loop.call(self.store.replace_hash(user_id, verified, new))
