"""
The near cache for threads. :mod:`sessioncore_near_cache.aio` is the same program with ``await``.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Self

import attrs

from sessioncore_near_cache.following import (
    Following,
    check_bound,
    check_feed,
    store_for_threads,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from types import TracebackType

    from sessioncore.ports import Admission, DataWrite, InvalidationFeed, Purged, SessionStore
    from sessioncore.session import DataChange, Datum, Epoch, Locator, Roster, Session, Subject
    from sessioncore_near_cache.copies import Statistics


@attrs.frozen(eq=False)
class NearCache:
    """
    A session store that also holds copies in this process.

    It keeps every law of the store that it wraps: reads ask it, and writes go to it. The
    copies are for :meth:`~sessioncore.service.AuthService.authenticate` alone, which makes
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

    store: SessionStore = attrs.field(repr=False, validator=store_for_threads)
    feed: InvalidationFeed = attrs.field(repr=False, validator=check_feed)
    max_staleness: timedelta = attrs.field(
        default=timedelta(seconds=1), kw_only=True, validator=check_bound
    )
    capacity: int = attrs.field(default=10_000, kw_only=True, validator=attrs.validators.ge(1))

    _following: Following = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        following = Following(self.feed, self.max_staleness, self.capacity)
        object.__setattr__(self, "_following", following)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """
        Stop listening. From then on the store answers everything, and stays yours to close.
        """
        self._following.close()

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

    def open_epoch(self, subject: Subject, at: datetime, lives_for: timedelta, /) -> Epoch:
        """
        See :meth:`sessioncore.ports.SessionStore.open_epoch`.
        """
        return self.store.open_epoch(subject, at, lives_for)

    def find(self, locator: Locator, /) -> Session | None:
        """
        See :meth:`sessioncore.ports.SessionStore.find`. What it reads is held.
        """
        reading = self._following.begin(locator)
        session = None
        try:
            session = self.store.find(locator)
        finally:
            self._following.copies.end(reading, session)
        return session

    def replace(self, old: Session, new: Session, /) -> bool:
        """
        See :meth:`sessioncore.ports.SessionStore.replace`.
        """
        try:
            return self.store.replace(old, new)
        finally:
            self._following.copies.forget(old.locator)

    def roster(self, subject: Subject, /) -> Roster:
        """
        See :meth:`sessioncore.ports.SessionStore.roster`.
        """
        return self.store.roster(subject)

    def admit(
        self,
        session: Session,
        evicted: tuple[Locator, ...],
        version: bytes | None,
        at: datetime,
        /,
    ) -> Admission:
        """
        See :meth:`sessioncore.ports.SessionStore.admit`.
        """
        try:
            return self.store.admit(session, evicted, version, at)
        finally:
            for locator in evicted:
                self._following.copies.forget(locator)

    def restart(self, old: Session, new: Session, /) -> Locator | None:
        """
        See :meth:`sessioncore.ports.SessionStore.restart`.
        """
        try:
            return self.store.restart(old, new)
        finally:
            self._following.copies.forget_user(old.subject)

    def delete(self, locator: Locator, expected: Session | None = None, /) -> bool:
        """
        See :meth:`sessioncore.ports.SessionStore.delete`.
        """
        try:
            return self.store.delete(locator, expected)
        finally:
            self._following.copies.forget(locator)

    def delete_user(self, subject: Subject, /) -> int:
        """
        See :meth:`sessioncore.ports.SessionStore.delete_user`.
        """
        try:
            return self.store.delete_user(subject)
        finally:
            self._following.copies.forget_user(subject)

    def read_data(self, locator: Locator, /) -> Mapping[str, Datum] | None:
        """
        See :meth:`sessioncore.ports.SessionStore.read_data`.
        """
        return self.store.read_data(locator)

    def find_with_data(self, locator: Locator, /) -> tuple[Session, Mapping[str, Datum]] | None:
        """
        See :meth:`sessioncore.ports.SessionStore.find_with_data`.
        """
        return self.store.find_with_data(locator)

    def write_data(self, locator: Locator, change: DataChange, /) -> DataWrite:
        """
        See :meth:`sessioncore.ports.SessionStore.write_data`.
        """
        return self.store.write_data(locator, change)

    def purge(self, before: datetime, limit: int, /) -> Purged:
        """
        See :meth:`sessioncore.ports.SessionStore.purge`. What is purged has expired, which
        is judged from a copy as well.
        """
        return self.store.purge(before, limit)
