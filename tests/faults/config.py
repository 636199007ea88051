"""
What a client process is told when it is started, and the policies of all runs.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic_ns
from typing import Any, Final

from faults.history import MILLISECOND, SECOND, Rules
from sessioncore.policy import OnLimit, Policies, Policy
from sessioncore.throttle import GuessLimit

THREADS: Final = "threads"
ASYNCIO: Final = "asyncio"

USERS: Final = ("alice", "bob", "carol", "dora", "emil")
DEFAULT: Final = "default"
STRICT: Final = "strict"

PACE: Final = 0.3

_EPOCH: Final = datetime(2026, 1, 1, tzinfo=UTC)

GUESS_LIMIT: Final = GuessLimit(
    free=8,
    first_delay=timedelta(milliseconds=40),
    longest_delay=timedelta(milliseconds=160),
    cap=1_000_000,
)


@dataclass(frozen=True, slots=True)
class Times:
    """
    The figures of a run's policies, in milliseconds: short, so that all of them matter.
    """

    idle: int = 2_500
    absolute: int = 7_000
    touch: int = 150
    renewal: int = 700
    grace: int = 300


USUAL: Final = Times()
LONGER: Final = Times(touch=700, renewal=1_500)
"""Where copies answer: they do so only while nothing is due, and have to grow stale first."""


@dataclass(frozen=True, slots=True)
class Config:
    """
    One client process.
    """

    name: str
    """Such as ``c1``; ``c1+2`` after it was started again twice."""

    seed: str
    flavour: str
    """For threads or for asyncio."""

    store: dict[str, Any]
    """What :mod:`faults.stores` opens."""

    histories: str
    private: str
    workers: int = 3
    skew: int = 0
    """How many milliseconds this client's clock is ahead."""

    times: Times = USUAL
    pace: float = PACE
    """See :class:`faults.worker.Worker`."""

    bug: str | None = None
    """Which planted bug this client has."""

    sweep: bool = False
    """Instead of working, look once at everything that was ever issued."""

    def save(self, path: Path) -> None:
        """
        Write this to *path*.
        """
        path.write_text(json.dumps(asdict(self)))

    @classmethod
    def load(cls, path: Path) -> Config:
        """
        Read back what :meth:`save` wrote.
        """
        told: dict[str, Any] = json.loads(path.read_text())
        return cls(times=Times(**told.pop("times")), **told)


class SharedClock:
    """
    The machine's monotonic clock as a clock of the domain, the same in all processes.

    Args:
        skew: By how many milliseconds this one is ahead.
    """

    def __init__(self, skew: int = 0) -> None:
        self._ahead = skew * MILLISECOND

    def now(self) -> datetime:
        """
        See :meth:`sessioncore.ports.Clock.now`.
        """
        return _EPOCH + timedelta(microseconds=(monotonic_ns() + self._ahead) / 1_000)


def policies(times: Times) -> Policies:
    """
    Return two policies: one that evicts and one that turns away.
    """

    def policy(name: str, limit: int, on_limit: OnLimit) -> Policy:
        return Policy(
            name=name,
            idle_timeout=timedelta(milliseconds=times.idle),
            absolute_timeout=timedelta(milliseconds=times.absolute),
            touch_interval=timedelta(milliseconds=times.touch),
            renewal_interval=timedelta(milliseconds=times.renewal),
            grace=timedelta(milliseconds=times.grace),
            clock_tolerance=timedelta(milliseconds=times.grace // 3),
            reauthentication_age=timedelta(seconds=1),
            session_limit=limit,
            on_limit=on_limit,
        )

    return Policies(
        policy(DEFAULT, 3, OnLimit.EVICT_LEAST_RECENTLY_SEEN), policy(STRICT, 2, OnLimit.REJECT)
    )


def rules(times: Times, skews: dict[str, int], staleness: float = 0.0) -> Rules:
    """
    Return the same for checkers.

    Args:
        times: The figures of the policies.

        skews: By how many milliseconds the clock of each client is ahead.

        staleness: The bound of near caches, in seconds.
    """
    by_name = policies(times)
    delays = [GUESS_LIMIT.delay_after(GUESS_LIMIT.free + number) for number in range(8)]
    return Rules(
        idle=times.idle * MILLISECOND,
        absolute=times.absolute * MILLISECOND,
        touch=times.touch * MILLISECOND,
        grace=times.grace * MILLISECOND,
        limits={name: by_name.require(name).session_limit for name in (DEFAULT, STRICT)},
        skews={name: skew * MILLISECOND for name, skew in skews.items()},
        free_guesses=GUESS_LIMIT.free,
        guess_delays=tuple(delay // timedelta(microseconds=1) * 1_000 for delay in delays),
        staleness=round(staleness * SECOND),
    )
