"""
The near cache for asyncio. :mod:`sessioncore_near_cache.store` is the same without ``await``.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Self

import attrs

from sessioncore_near_cache.following import (
    Following,
    check_bound,
    check_feed,
    store_for_tasks,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from types import TracebackType

    from sessioncore.ports import Admission, AsyncSessionStore, DataWrite, InvalidationFeed, Purged
    from sessioncore.session import DataChange, Datum, Epoch, Locator, Roster, Session, Subject
    from sessioncore_near_cache.copies import Statistics


@attrs.frozen(eq=False)
class AsyncNearCache:
    """
    A session store that also holds copies in this process.

    It keeps every law of the store that it wraps: reads ask it, and writes go to it. The
    copies are for :meth:`~sessioncore.aio.AsyncAuthService.authenticate` alone, which makes
    of them what rule 15 of :mod:`sessioncore.decisions` allows. Any number of threads, or
    the tasks of one event loop, share it, and after a fork each process has copies of its own.

    Whatever this process itself ends is forgotten before the call returns. What others end
    is forgotten when the feed tells of it, which takes as long as a message, and at the
    latest when the bound is over.

    Args:
        store: Where sessions live.

        feed: Tells what changes there, such as ``RedisInvalidationFeed``.

        max_staleness: How old an answer may be, from 50 milliseconds to one minute. The
            feed proves four times within it that nothing is missing.

        capacity: How many copies are held.

    Raises:
        TypeError: Something is not of its type.

        ValueError: A bound or a capacity that makes no sense.
    """

    store: AsyncSessionStore = attrs.field(repr=False, validator=store_for_tasks)
    feed: InvalidationFeed = attrs.field(repr=False, validator=check_feed)
    max_staleness: timedelta = attrs.field(
        default=timedelta(seconds=1), kw_only=True, validator=check_bound
    )
    capacity: int = attrs.field(default=10_000, kw_only=True, validator=attrs.validators.ge(1))

    _following: Following = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        following = Following(self.feed, self.max_staleness, self.capacity)
        object.__setattr__(self, "_following", following)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """
        Stop listening. From then on the store answers everything, and stays yours to close.
        """
        await asyncio.to_thread(self._following.close)

    def statistics(self) -> Statistics:
        """
        Say what was done so far, for metrics.
        """
        return self._following.copies.statistics()

    def recall(self, locator: Locator, /) -> Session | None:
        """
        See :meth:`sessioncore.ports.RecallsSessions.recall`.
        """
        return self._following.copies.recall(locator)

    async def open_epoch(self, subject: Subject, at: datetime, lives_for: timedelta, /) -> Epoch:
        """
        See :meth:`sessioncore.ports.AsyncSessionStore.open_epoch`.
        """
        return await self.store.open_epoch(subject, at, lives_for)

    async def find(self, locator: Locator, /) -> Session | None:
        """
        See :meth:`sessioncore.ports.AsyncSessionStore.find`. What it reads is held.
        """
        reading = self._following.begin(locator)
        session = None
        try:
            session = await self.store.find(locator)
        finally:
            self._following.copies.end(reading, session)
        return session

    async def replace(self, old: Session, new: Session, /) -> bool:
        """
        See :meth:`sessioncore.ports.AsyncSessionStore.replace`.
        """
        try:
            return await self.store.replace(old, new)
        finally:
            self._following.copies.forget(old.locator)

    async def roster(self, subject: Subject, /) -> Roster:
        """
        See :meth:`sessioncore.ports.AsyncSessionStore.roster`.
        """
        return await self.store.roster(subject)

    async def admit(
        self,
        session: Session,
        evicted: tuple[Locator, ...],
        version: bytes | None,
        at: datetime,
        /,
    ) -> Admission:
        """
        See :meth:`sessioncore.ports.AsyncSessionStore.admit`.
        """
        try:
            return await self.store.admit(session, evicted, version, at)
        finally:
            for locator in evicted:
                self._following.copies.forget(locator)

    async def restart(self, old: Session, new: Session, /) -> Locator | None:
        """
        See :meth:`sessioncore.ports.AsyncSessionStore.restart`.
        """
        try:
            return await self.store.restart(old, new)
        finally:
            self._following.copies.forget_user(old.subject)

    async def delete(self, locator: Locator, expected: Session | None = None, /) -> bool:
        """
        See :meth:`sessioncore.ports.AsyncSessionStore.delete`.
        """
        try:
            return await self.store.delete(locator, expected)
        finally:
            self._following.copies.forget(locator)

    async def delete_user(self, subject: Subject, /) -> int:
        """
        See :meth:`sessioncore.ports.AsyncSessionStore.delete_user`.
        """
        try:
            return await self.store.delete_user(subject)
        finally:
            self._following.copies.forget_user(subject)

    async def read_data(self, locator: Locator, /) -> Mapping[str, Datum] | None:
        """
        See :meth:`sessioncore.ports.AsyncSessionStore.read_data`.
        """
        return await self.store.read_data(locator)

    async def find_with_data(
        self, locator: Locator, /
    ) -> tuple[Session, Mapping[str, Datum]] | None:
        """
        See :meth:`sessioncore.ports.AsyncSessionStore.find_with_data`.
        """
        return await self.store.find_with_data(locator)

    async def write_data(self, locator: Locator, change: DataChange, /) -> DataWrite:
        """
        See :meth:`sessioncore.ports.AsyncSessionStore.write_data`.
        """
        return await self.store.write_data(locator, change)

    async def purge(self, before: datetime, limit: int, /) -> Purged:
        """
        See :meth:`sessioncore.ports.AsyncSessionStore.purge`. What is purged has expired, which
        is judged from a copy as well.
        """
        return await self.store.purge(before, limit)
