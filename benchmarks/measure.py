"""
How things are timed: in turns, in one process, on one core.

Machines are noisy, and a machine of one's own is noisier than it looks: a halted
core takes long to wake, so that the same question to the same server takes 20 or
60 microseconds. So client and server share *one* core (:func:`pin`), whatever is
compared takes turns within each of several rounds (:func:`in_turns`), and what
is told is the median of the rounds and the median of the quotients of a round.
What comes out is the time that client and server work, together; not how much
several cores could do.
"""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from statistics import median, quantiles
from time import perf_counter
from typing import Any, Final, Protocol

_WARM_UP_CALLS: Final = 20


@dataclass(frozen=True)
class Plan:
    """
    How thoroughly to measure.

    Attributes:
        rounds: How often each case takes its turn.
        seconds: How long one turn takes, at least.
        sizes: How many sessions a store holds where that is what matters.
        trials: How often to do what cannot be repeated thousands of times.
    """

    rounds: int
    seconds: float
    sizes: tuple[int, ...]
    trials: int


FULL: Final = Plan(rounds=15, seconds=0.1, sizes=(1_000, 10_000, 100_000, 1_000_000), trials=50)
"""What the documents show."""

QUICK: Final = Plan(rounds=3, seconds=0.01, sizes=(100, 1_000), trials=3)
"""Enough to see that the benchmark works; its figures mean nothing."""


@dataclass(frozen=True)
class Figure:
    """
    One thing that was measured.

    Attributes:
        name: What, as a path: ``authenticate/redis/sync``. Unique within a run.
        value: The median of the rounds.
        unit: Of the value, such as ``us`` or ``bytes``.
        low: The first quartile of the rounds.
        high: The third quartile.
        against: The name of what it is compared with.
        ratio: How many times as fast as that, as the median of the quotients of
            each round: below 1 is slower.
    """

    name: str
    value: float
    unit: str = "us"
    low: float | None = None
    high: float | None = None
    against: str | None = None
    ratio: float | None = None

    def as_json(self) -> dict[str, Any]:
        """
        Return the attributes.
        """
        return asdict(self)


class Case(Protocol):
    """
    What can take turns.
    """

    def times(self, seconds: float) -> float:
        """
        Work for about that long, and return how many seconds one call took.
        """
        ...


class Calls:
    """
    Calls of a function, one after the other.
    """

    def __init__(self, call: Callable[[], object]) -> None:
        self._call = call
        self._at_once = 0

    def times(self, seconds: float) -> float:
        """
        See :meth:`Case.times`.
        """
        call = self._call
        if not self._at_once:
            self._at_once = _that_many(_timed(call, _WARM_UP_CALLS), seconds)
        return _timed(call, self._at_once)


class Threads:
    """
    The same by several threads at once. What is told is the time of one call of all of them.
    """

    def __init__(self, call: Callable[[], object], threads: int) -> None:
        self._call = call
        self._threads = threads
        self._at_once = 0

    def times(self, seconds: float) -> float:
        """
        See :meth:`Case.times`.
        """
        if not self._at_once:
            self._at_once = _that_many(_timed(self._call, _WARM_UP_CALLS), seconds)
        each = max(1, self._at_once // self._threads)
        starting = threading.Barrier(self._threads + 1)

        def work() -> None:
            starting.wait()
            _timed(self._call, each)

        workers = [threading.Thread(target=work) for _ in range(self._threads)]
        for worker in workers:
            worker.start()
        starting.wait()
        started = perf_counter()
        for worker in workers:
            worker.join()
        return (perf_counter() - started) / (each * self._threads)


class Tasks:
    """
    The same by several tasks of one event loop at once.
    """

    def __init__(
        self, runner: asyncio.Runner, call: Callable[[], Awaitable[object]], tasks: int = 1
    ) -> None:
        self._runner = runner
        self._call = call
        self._tasks = tasks
        self._at_once = 0

    def times(self, seconds: float) -> float:
        """
        See :meth:`Case.times`.
        """
        if not self._at_once:
            # Once for nothing: the first of each task may have to connect.
            self._runner.run(self._all(1))
            warm = self._runner.run(self._all(max(1, _WARM_UP_CALLS // self._tasks)))
            self._at_once = max(1, _that_many(warm, seconds) // self._tasks)
        return self._runner.run(self._all(self._at_once))

    async def _all(self, each: int) -> float:
        started = perf_counter()
        await asyncio.gather(*[self._work(each) for _ in range(self._tasks)])
        return (perf_counter() - started) / (each * self._tasks)

    async def _work(self, times: int) -> None:
        call = self._call
        for _ in range(times):
            await call()


def pin() -> None:
    """
    Keep this process, and whatever it starts from now on, on one core.
    """
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def in_turns(
    plan: Plan, cases: Mapping[str, Case], *, against: str | None = None, unit: str = "us"
) -> list[Figure]:
    """
    Let the cases take turns, and tell what each of them took.

    Args:
        plan: How thoroughly.

        cases: By the names that their figures get.

        against: The name of the case that the others are compared with.

        unit: ``us`` or ``ms``.
    """
    factor = {"us": 1e6, "ms": 1e3}[unit]
    rounds: dict[str, list[float]] = {name: [] for name in cases}
    for case in cases.values():
        case.times(plan.seconds)
    for _ in range(plan.rounds):
        for name, case in cases.items():
            gc.collect()
            rounds[name].append(case.times(plan.seconds) * factor)
    return [
        figure(name, took, unit=unit, against=against, rounds=rounds)
        for name, took in rounds.items()
    ]


def figure(
    name: str,
    samples: list[float],
    *,
    unit: str = "us",
    against: str | None = None,
    rounds: Mapping[str, list[float]] | None = None,
) -> Figure:
    """
    Sum up the samples of one case, and compare them with those of another of the same rounds.
    """
    ratio = None
    if against is not None and rounds is not None:
        ratio = median(there / here for there, here in zip(rounds[against], samples, strict=True))
    low, _, high = quantiles(samples, n=4) if len(samples) > 1 else (samples[0],) * 3
    return Figure(name, median(samples), unit, low, high, against, ratio)


def _timed(call: Callable[[], object], times: int) -> float:
    started = perf_counter()
    for _ in range(times):
        call()
    return (perf_counter() - started) / times


def _that_many(took: float, seconds: float) -> int:
    return max(1, int(seconds / took))
