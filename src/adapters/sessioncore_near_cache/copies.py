"""
What is held, and for how long it may answer.

The rules:

1.  A copy answers only if it is known to have been what was stored at some moment no
    longer ago than the bound: either it was read no longer ago than that, or the feed has
    since told everything that was written up to such a moment.
2.  What is held was read after the feed had become complete, and nothing was told about it
    since the reading began. So a reading leaves a mark before it asks the store, and what
    it brought is kept only if the mark is still there.
3.  The moment the feed is in doubt, everything is dropped, marks included.
4.  Time is that of a clock which also goes on while the machine sleeps.

An answer reads first *until when* the feed was complete and then the copy. The other way
round it could take a copy, be paused while the feed drops it and is complete again, and
take that for a proof.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from sessioncore.ports import InvalidationFeed
    from sessioncore.session import Locator, Session, Subject

HEARTBEATS: Final = 4
"""How often within the bound a feed proves that nothing is missing."""

now: Final[Callable[[], float]] = (
    partial(time.clock_gettime, time.CLOCK_BOOTTIME)
    if hasattr(time, "CLOCK_BOOTTIME")
    else time.monotonic
)
"""Tells the seconds since the machine was started; those that it slept included, where it can."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """
    What a near cache has done so far. Counted without locks, so a few may be missing.
    """

    hits: int
    """How often a copy was offered. Not every one was enough (rule 15 of the decisions)."""

    misses: int
    """How often there was none, or none that was recent enough."""

    doubts: int
    """How often everything was dropped because the feed was in doubt."""

    copies: int
    """How many are held."""

    is_complete: bool
    """Whether the feed has proven, within the bound, that nothing is missing."""

    failure: str | None
    """The kind of error with which the feed broke last."""


class _Copy:
    __slots__ = ("read_at", "session", "topic")

    def __init__(self, session: Session, topic: bytes, read_at: float) -> None:
        self.session: Final = session
        self.topic: Final = topic
        self.read_at: Final = read_at


class Reading:
    """
    The mark of a read under way (rule 2).
    """

    __slots__ = ("began_at", "topic")

    def __init__(self, topic: bytes, began_at: float) -> None:
        self.topic: Final = topic
        self.began_at: Final = began_at


class Copies:
    """
    The copies of one process. Thread-safe; an :class:`~sessioncore.ports.InvalidationListener`.

    Args:
        feed: Tells what changes, and under which topic.

        bound: How many seconds an answer may be old.

        capacity: How many copies are held; the one that was kept first makes room.

        clock: Tells the time in seconds.
    """

    def __init__(
        self,
        feed: InvalidationFeed,
        bound: float,
        capacity: int,
        clock: Callable[[], float] = now,
    ) -> None:
        self.heartbeat = bound / HEARTBEATS
        self.patience = bound
        self.has_enough = False
        self._feed = feed
        self._bound = bound
        self._capacity = capacity
        self._clock = clock
        self._lock = Lock()
        self._complete_until: float | None = None
        self._copies: dict[bytes, _Copy] = {}
        self._by_topic: dict[bytes, set[bytes]] = {}
        self._by_subject: dict[bytes, set[bytes]] = {}
        self._readings: dict[bytes, set[Reading]] = {}
        self._hits = self._misses = self._doubts = 0
        self._failure: str | None = None

    # -- Answering -------------------------------------------------------------

    def recall(self, locator: Locator) -> Session | None:
        """
        Return a copy that may answer (rule 1).
        """
        complete_until = self._complete_until
        if complete_until is None:
            self._misses += 1
            return None
        copy = self._copies.get(locator.epoch + locator.slot)
        if copy is None:
            self._misses += 1
            return None
        known_at = max(copy.read_at, complete_until)
        if self._clock() - known_at > self._bound:
            self._misses += 1
            return None
        self._hits += 1
        return copy.session

    def statistics(self) -> Statistics:
        """
        Say what was done so far.
        """
        until = self._complete_until
        return Statistics(
            hits=self._hits,
            misses=self._misses,
            doubts=self._doubts,
            copies=len(self._copies),
            is_complete=until is not None and self._clock() - until <= self._bound,
            failure=self._failure,
        )

    # -- Reading ---------------------------------------------------------------

    def begin(self, locator: Locator) -> Reading | None:
        """
        Mark a reading before the store is asked; ``None`` if nothing may be kept of it.
        """
        topic = self._feed.topic(locator)
        with self._lock:
            if self._complete_until is None:
                return None
            reading = Reading(topic, self._clock())
            self._readings.setdefault(topic, set()).add(reading)
            return reading

    def end(self, reading: Reading | None, session: Session | None = None) -> None:
        """
        Take the mark away, and keep what was read if nothing was told meanwhile.
        """
        if reading is None:
            return
        with self._lock:
            marks = self._readings.get(reading.topic)
            if marks is None or reading not in marks:
                return
            marks.discard(reading)
            if not marks:
                del self._readings[reading.topic]
            if session is not None:
                self._keep(session, reading)

    def _keep(self, session: Session, reading: Reading) -> None:
        key = session.locator.epoch + session.locator.slot
        self._drop(key)
        while len(self._copies) >= self._capacity:
            self._drop(next(iter(self._copies)))
        self._copies[key] = _Copy(session, reading.topic, reading.began_at)
        self._by_topic.setdefault(reading.topic, set()).add(key)
        self._by_subject.setdefault(session.subject.key, set()).add(key)

    def _drop(self, key: bytes) -> None:
        copy = self._copies.pop(key, None)
        if copy is None:
            return
        for index, name in (
            (self._by_topic, copy.topic),
            (self._by_subject, copy.session.subject.key),
        ):
            index[name].discard(key)
            if not index[name]:
                del index[name]

    # -- Forgetting what this process changes itself -----------------------------

    def forget(self, locator: Locator) -> None:
        """
        Drop one session, and whatever is being read of its topic.
        """
        topic = self._feed.topic(locator)
        with self._lock:
            self._readings.pop(topic, None)
            self._drop(locator.epoch + locator.slot)

    def forget_user(self, subject: Subject) -> None:
        """
        Drop all sessions of *subject*, and whatever is being read.
        """
        with self._lock:
            # Whose they are is known only when they were read.
            self._readings.clear()
            for key in tuple(self._by_subject.get(subject.key, ())):
                self._drop(key)

    # -- What the feed tells -----------------------------------------------------

    def now(self) -> float:
        """
        See :meth:`InvalidationListener.now`.
        """
        return self._clock()

    def changed(self, topic: bytes, /) -> None:
        """
        See :meth:`InvalidationListener.changed`.
        """
        with self._lock:
            self._readings.pop(topic, None)
            for key in tuple(self._by_topic.get(topic, ())):
                self._drop(key)

    def complete(self, until: float, /) -> None:
        """
        See :meth:`InvalidationListener.complete`. Nothing is known of what is to come.
        """
        with self._lock:
            if not self.has_enough:
                self._complete_until = min(until, self._clock())

    def doubtful(self, failure: BaseException | None = None) -> None:
        """
        See :meth:`InvalidationListener.doubtful`.
        """
        with self._lock:
            if failure is not None:
                # What it was about may be in its text, and in those of its causes.
                self._failure = type(failure.__cause__ or failure).__name__
            if self._complete_until is not None:
                self._doubts += 1
            self._complete_until = None
            self._readings.clear()
            self._copies.clear()
            self._by_topic.clear()
            self._by_subject.clear()
