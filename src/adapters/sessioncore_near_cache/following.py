"""
The thread that listens to a feed, for both shells.
"""

from __future__ import annotations

import inspect
import os
import threading
import weakref
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import attrs

from sessioncore_near_cache.copies import Copies

if TYPE_CHECKING:
    from sessioncore.ports import InvalidationFeed
    from sessioncore.session import Locator
    from sessioncore_near_cache.copies import Reading

_LONGEST_PAUSE_BOUNDS: Final = 4
"""After how many bounds, at most, a feed that broke is tried again."""


def check_bound(_instance: object, attribute: attrs.Attribute[Any], bound: object) -> None:
    """
    Refuse a bound that is nothing, or so long that nobody meant it.
    """
    if not isinstance(bound, timedelta):
        raise TypeError(f"{attribute.name}: a timedelta, not {type(bound).__name__}")
    if not 0.05 <= bound.total_seconds() <= 60:
        raise ValueError(f"{attribute.name}: from 50 milliseconds to one minute")


def check_feed(_instance: object, attribute: attrs.Attribute[Any], feed: object) -> None:
    """
    Refuse what tells of nothing.
    """
    if not callable(getattr(feed, "follow", None)):
        raise TypeError(f"{attribute.name}: an InvalidationFeed, not {type(feed).__name__}")


def store_for_threads(_instance: object, attribute: attrs.Attribute[Any], store: object) -> None:
    """
    Refuse what is no store for threads.
    """
    find = getattr(store, "find", None)
    if find is None or inspect.iscoroutinefunction(find):
        raise TypeError(f"{attribute.name}: a SessionStore, not {type(store).__name__}")


def store_for_tasks(_instance: object, attribute: attrs.Attribute[Any], store: object) -> None:
    """
    Refuse what is no store for asyncio.
    """
    if not inspect.iscoroutinefunction(getattr(store, "find", None)):
        raise TypeError(f"{attribute.name}: an AsyncSessionStore, not {type(store).__name__}")


class Following:
    """
    Copies, and the thread that keeps them true.

    The thread starts with the first use, so that a server which forks its workers after it
    has loaded the app has one in each of them.

    Args:
        feed: What to listen to.

        bound: How old an answer may be.

        capacity: How many copies are held.
    """

    def __init__(self, feed: InvalidationFeed, bound: timedelta, capacity: int) -> None:
        self._feed = feed
        self._bound = bound.total_seconds()
        self._capacity = capacity
        self._is_closed = False
        self.start_anew()
        _followings.add(self)

    def start_anew(self) -> None:
        """
        Have no copies and no thread. A fork brings no thread along, and a lock may be held.
        """
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()
        self.copies = Copies(self._feed, self._bound, self._capacity)

    def begin(self, locator: Locator) -> Reading | None:
        """
        See :meth:`Copies.begin`. Whoever reads first starts the thread.
        """
        if self._thread is None and not self._is_closed:
            self._start()
        return self.copies.begin(locator)

    def close(self) -> None:
        """
        Stop listening for good, and wait for the thread. Repeating is safe.
        """
        with self._lock:
            self._is_closed = True
            thread = self._thread
        self.copies.has_enough = True
        self.copies.doubtful()
        self._closing.set()
        if thread is not None:
            thread.join(self._bound)

    def _start(self) -> None:
        with self._lock:
            if self._thread is not None or self._is_closed:
                return
            thread = threading.Thread(
                target=_follow,
                args=(self._feed, self.copies, self._closing, self._bound),
                name="sessioncore near cache",
                daemon=True,
            )
            try:
                thread.start()
            except RuntimeError as failure:
                # There can be no more threads. Nobody's request fails for that.
                self.copies.doubtful(failure)
                return
            self._thread = thread
            weakref.finalize(self, _leave, self.copies)


def _leave(copies: Copies) -> None:
    # Takes no lock: whoever collects garbage may hold it, and in a forked process it may be
    # held for ever.
    copies.has_enough = True


def _follow(feed: InvalidationFeed, copies: Copies, closing: threading.Event, bound: float) -> None:
    failures = 0
    while not copies.has_enough:
        doubts = copies.statistics().doubts
        failure = None
        try:
            feed.follow(copies)
        except BaseException as error:  # noqa: BLE001 - whatever it was, nothing is complete any more
            failure = error
        copies.doubtful(failure)
        # Tried again soon if it had worked, and then more and more seldom.
        failures = 0 if copies.statistics().doubts > doubts else failures + 1
        closing.wait(min(max(bound * failures, copies.heartbeat), bound * _LONGEST_PAUSE_BOUNDS))


_followings: weakref.WeakSet[Following] = weakref.WeakSet()


def _after_fork() -> None:
    for each in tuple(_followings):
        each.start_anew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
