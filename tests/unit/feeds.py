"""
What tests of the feeds share: an ear for what they tell, and what others may do to a session.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

from redis_sessions import ALICE, LIFETIME, NOW, moved, sign_in, touched, unique

from sessioncore.errors import StoreUnavailable
from sessioncore.ports import Admission, InvalidationFeed, SessionStore
from sessioncore.session import Pending, Session
from sessioncore_near_cache import NearCache

PATIENCE: Final = 20.0

NO_HURRY: Final = timedelta(seconds=15)

BRIEFLY: Final = 0.3
"""Seconds that a feed is given to prove that nothing is missing, where it cannot."""

SLACK: Final = 3.0
"""Seconds by which something may be late on a machine that is busy."""


class Ear:
    """
    A listener that keeps in mind what it was told, in order.
    """

    def __init__(self, heartbeat: float = 0.02, patience: float = PATIENCE) -> None:
        self.heartbeat = heartbeat
        self.patience = patience
        self.has_enough = False
        self.told: list[bytes | float | None] = []
        """Topics, instants until when everything was told, and ``None`` for a doubt."""
        self._news = threading.Condition()

    def now(self) -> float:
        return time.monotonic()

    def changed(self, topic: bytes, /) -> None:
        self._hear(topic)

    def complete(self, until: float, /) -> None:
        self._hear(until)

    def doubtful(self) -> None:
        self._hear(None)

    def _hear(self, news: bytes | float | None) -> None:
        with self._news:
            self.told.append(news)
            self._news.notify_all()

    @property
    def topics(self) -> list[bytes]:
        """
        What changed, in order.
        """
        return [each for each in self.told if isinstance(each, bytes)]

    @property
    def instants(self) -> list[float]:
        """
        Until when everything was told, in order.
        """
        return [each for each in self.told if isinstance(each, float)]

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """
        Wait until *condition* holds of what was told.
        """
        with self._news:
            assert self._news.wait_for(condition, PATIENCE), self.told

    def wait_until_complete(self) -> None:
        """
        Wait until everything from before this call is told.
        """
        asked = self.now()
        self.wait_until(lambda: self.instants[-1:] > [asked])


class Followed(Ear):
    """
    An ear with a thread that listens.
    """

    def __init__(self, feed: InvalidationFeed, heartbeat: float, patience: float) -> None:
        super().__init__(heartbeat, patience)
        self._feed = feed
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._follow)
        self._thread.start()

    def _follow(self) -> None:
        try:
            self._feed.follow(self)
        except Exception as error:  # noqa: BLE001 - whatever it was is what a test asks for
            self._failure = error

    @property
    def is_over(self) -> bool:
        """
        Whether the feed gave up.
        """
        return not self._thread.is_alive()

    def breaks(self, within: float = PATIENCE) -> StoreUnavailable:
        """
        Wait until the feed gives up, and return what it raised.
        """
        self.wait_for_the_end(within)
        assert isinstance(self._failure, StoreUnavailable)
        return self._failure

    def wait_for_the_end(self, within: float) -> None:
        """
        Wait until the thread has ended, which it must within so many seconds.
        """
        self._thread.join(within)
        assert not self._thread.is_alive(), "the feed is stuck"


@contextmanager
def followed(
    feed: InvalidationFeed, heartbeat: float = 0.02, patience: float = PATIENCE
) -> Generator[Followed]:
    """
    Follow a feed, from when it is complete.
    """
    ear = Followed(feed, heartbeat, patience)
    try:
        ear.wait_until_complete()
        yield ear
    finally:
        ear.has_enough = True
        ear.wait_for_the_end(PATIENCE)


# -- What others do ------------------------------------------------------------------


def _rotate(store: SessionStore, session: Session) -> None:
    assert store.replace(session, touched(session, current=unique(32), changed_at=NOW + LIFETIME))


def _renew(store: SessionStore, session: Session) -> None:
    assert store.replace(session, touched(session, pending=Pending(unique(32), unique(16))))


def _forget_the_previous(store: SessionStore, session: Session) -> None:
    confirmed = touched(session, current=unique(32), previous=session.current)
    assert store.replace(session, confirmed)
    assert store.replace(confirmed, touched(confirmed, previous=None))


def _delete(store: SessionStore, session: Session) -> None:
    assert store.delete(session.locator)


def _delete_as_it_was(store: SessionStore, session: Session) -> None:
    assert store.delete(session.locator, session)


def _delete_user(store: SessionStore, session: Session) -> None:
    assert store.delete_user(session.subject) == 1


def _restart(store: SessionStore, session: Session) -> None:
    assert store.restart(session, moved(session)) is not None


def _evict(store: SessionStore, session: Session) -> None:
    other = replace(moved(session), family=unique(8), current=unique(32))
    assert store.admit(other, (session.locator,), None, NOW) is Admission.ADMITTED


def _purge(store: SessionStore, session: Session) -> None:
    assert store.purge(session.keep_until + LIFETIME, 10).sessions == 1


CHANGES: Final[dict[str, Callable[[SessionStore, Session], None]]] = {
    "rotation": _rotate,
    "renewal": _renew,
    "end of the grace": _forget_the_previous,
    "delete": _delete,
    "conditional delete": _delete_as_it_was,
    "delete_user": _delete_user,
    "restart": _restart,
    "eviction": _evict,
    "purge": _purge,
}
"""Everything that changes what an id stands for, or ends a session."""


def topic_of(feed: InvalidationFeed, session: Session) -> bytes:
    """
    Return the topic of *session*.
    """
    return feed.topic(session.locator)


def tells(
    feed: InvalidationFeed, store: SessionStore, change: Callable[[SessionStore, Session], object]
) -> None:
    """
    Check that whoever listens is told of a change by another, before the feed is complete again.
    """
    session = sign_in(store, ALICE)
    with followed(feed) as ear:
        change(store, session)
        ear.wait_until_complete()
        assert topic_of(feed, session) in ear.topics


def is_recalled(near: NearCache, session: Session) -> bool:
    """
    Read a session, and tell whether a copy of it answers from now on.
    """
    return near.find(session.locator) is not None and near.recall(session.locator) == session


@contextmanager
def hammering(program: str, *arguments: str) -> Generator[Callable[[], list[tuple[bytes, float]]]]:
    """
    Run a process that writes to a store as fast as it can, one topic after the other.

    Yields:
        Ends it, and returns which topic's write was acknowledged when.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def written() -> list[tuple[bytes, float]]:
        said, _ = process.communicate(timeout=PATIENCE)
        lines = [line.split() for line in said.splitlines()[1:]]
        return [(bytes.fromhex(topic), float(at)) for topic, at in lines]

    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        yield written
    finally:
        process.kill()
        process.wait(PATIENCE)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


def was_never_complete_too_soon(ear: Ear, written: list[tuple[bytes, float]]) -> bool:
    """
    Tell whether whatever was acknowledged before an instant had been told by the time that
    the feed was complete until then.
    """
    due = sorted(written, key=lambda write: write[1])
    told = set[Any]()
    at = 0
    for news in ear.told:
        if isinstance(news, bytes):
            told.add(news)
        elif news is not None:
            while at < len(due) and due[at][1] < news:
                if due[at][0] not in told:
                    return False
                at += 1
    return at > 0
