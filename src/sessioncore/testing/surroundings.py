"""
Stand-ins for what surrounds a service: its clock, its entropy, its event sink.
"""

from __future__ import annotations

import random
import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from sessioncore.events import Event

START: Final = datetime(2030, 1, 1, 12, tzinfo=UTC)
"""When a :class:`ManualClock` starts, unless told otherwise."""


class ManualClock:
    """
    A :class:`~sessioncore.ports.Clock` that stands still until it is moved.
    """

    def __init__(self, start: datetime = START) -> None:
        if start.tzinfo is None:
            raise ValueError("a clock starts at an aware instant")
        self._now = start
        self._lock = threading.Lock()

    def now(self) -> datetime:
        """
        Return the instant to which the clock was last moved.
        """
        return self._now

    def advance(self, duration: timedelta) -> datetime:
        """
        Move the clock, backwards if *duration* is negative, and return the new present.
        """
        with self._lock:
            self._now += duration
            return self._now


class SeededEntropy:
    """
    A :class:`~sessioncore.ports.Entropy` that draws the same bytes for the same seed.
    """

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)  # noqa: S311 - repeatable is what it is for
        self._lock = threading.Lock()

    def draw(self, size: int, /) -> bytes:
        """
        Return the next *size* bytes. Nobody may rely on them for security.
        """
        with self._lock:
            return self._random.randbytes(size)


class RecordingEvents:
    """
    An :class:`~sessioncore.ports.EventSink` that keeps what it was told, in order.
    """

    def __init__(self) -> None:
        self.events: list[Event] = []

    def emit(self, event: Event, /) -> None:
        """
        Keep *event*.
        """
        self.events.append(event)
