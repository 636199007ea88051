"""
What tests of the near cache share: a feed that a test holds in its hand.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from sessioncore.ports import InvalidationListener
from sessioncore.session import Epoch, Locator, Session, Subject

PATIENCE = 20.0
AT = datetime(2030, 1, 1, 12, tzinfo=UTC)


class HandFeed:
    """
    A feed that is complete as soon as it is followed, and tells what a test tells it.
    """

    def __init__(self) -> None:
        self.start_anew()

    def start_anew(self) -> None:
        self._followed = threading.Event()
        self._break = threading.Event()
        self._failure: Exception | None = None
        self._ended = False

    def topic(self, locator: Locator, /) -> bytes:
        return locator.epoch

    def follow(self, listener: InvalidationListener, /) -> None:
        listener.complete(listener.now())
        self._followed.set()
        while not (listener.has_enough or self._ended):
            if self._break.wait(0.01):
                self._break.clear()
                if self._failure is not None:
                    raise self._failure

    def wait_until_followed(self) -> None:
        """
        Wait until somebody listens, anew since it broke.
        """
        assert self._followed.wait(PATIENCE)

    def break_off(self, failure: Exception) -> None:
        """
        Fail once, whoever listens.
        """
        self._followed.clear()
        self._failure = failure
        self._break.set()

    def end(self) -> None:
        """
        Let nobody wait for more.
        """
        self._ended = True
        self._break.set()


def epoch_of(number: int) -> Epoch:
    """
    Make an epoch.
    """
    return Epoch(bytes([number]) * 16)


def stored_session(locator: Locator, subject: Subject, stamp: bytes = b"the-stmp") -> Session:
    """
    Make a session as a store holds it.
    """
    return Session(
        locator=locator,
        subject=subject,
        policy="default",
        methods=("pwd",),
        created_at=AT,
        authenticated_at=AT,
        changed_at=AT,
        last_seen_at=AT,
        keep_until=AT + timedelta(hours=1),
        family=b"family-8",
        current=bytes(32),
        stamp=stamp,
    )


def is_soon(condition: Callable[[], bool]) -> None:
    """
    Wait until *condition* holds, which it must before long.
    """
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.001)
