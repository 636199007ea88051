"""
One run: an arena, clients, a nemesis, and then the verdict.
"""

from __future__ import annotations

import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from faults import leaks
from faults.arenas import Arena
from faults.clients import ClientProcess, Clients
from faults.config import ASYNCIO, PACE, THREADS, Config, Times, rules
from faults.history import SECOND, History, Journal, Verdict, read, until
from faults.nemesis import Nemesis
from faults.promises import CHECKERS, Violation, broken
from faults.world import World, secrets_in

HISTORIES: Final = "histories"
OUTPUT: Final = "output"
"""The folders of a run."""

CLIENTS_THAT_FAIL: Final = "clients come to their end"
COPIES_ANSWER: Final = "copies answer"

COPIES: Final = "from a copy"
"""What authentications that were answered from one are counted under."""

COPIES_IN_TROUBLE: Final = "from a copy in trouble"
"""The same, while stores or feeds were out of reach."""

_NEAR: Final = 2
"""How many clients have a near cache, where there is a feed: one of each flavour."""

_WRITTEN_BY_NOW: Final = SECOND // 10

_SKEWED: Final = 2
_SKEW: Final = 400
"""Milliseconds that the clock of one client is ahead: more than the grace."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """
    What is to be run.
    """

    seconds: float
    """How long it lasts at least, from when all clients work."""

    seed: str
    at_most: float = 0.0
    """How long it may last in seconds, if what follows takes longer."""

    at_least: Mapping[str, int] = field(default_factory=dict[str, int])
    """How often each use case has to come back ok, so that the run has shown something."""

    until_broken: str | None = None
    """A promise: the run is over as soon as it is known to be broken."""

    clients: int = 3
    workers: int = 3
    rest: float = 0.8
    """Seconds between two faults, at most."""

    times: Times | None = None
    """By default those of the arena."""

    near: bool = True
    """Whether some clients have near caches, where there is a feed."""

    faults: tuple[str, ...] | None = None
    """Which of the arena's; all by default."""

    pace: float = PACE
    sweep: bool = True
    """Whether to look once at everything that was ever issued, in the end."""

    bug: str | None = None
    """Which planted bug the clients have; all of them are for threads then."""


@dataclass(frozen=True, slots=True)
class Result:
    """
    What a run has shown.
    """

    arena: str
    plan: Plan
    history: History
    violations: list[Violation]

    @property
    def operations(self) -> Counter[str]:
        """
        How many operations came back how.
        """
        return Counter(operation.verdict.value for operation in self.history.operations)

    @property
    def by_name(self) -> Counter[tuple[str, str]]:
        """
        The same for each use case.
        """
        return _counted(self.history)

    @property
    def faults(self) -> Counter[str]:
        """
        How many faults of each kind there were.
        """
        return Counter(fault.kind for fault in self.history.faults)


def _counted(history: History) -> Counter[tuple[str, str]]:
    counted = Counter((operation.name, operation.verdict.value) for operation in history.operations)
    troubles = [fault for fault in history.faults if fault.down or fault.deaf]
    for operation in history.operations:
        if operation.is_copy:
            counted[COPIES, Verdict.OK.value] += 1
            counted[COPIES_IN_TROUBLE, Verdict.OK.value] += any(
                fault.start < operation.call and operation.end < fault.stop for fault in troubles
            )
    return counted


def run(arena: Arena, plan: Plan, folder: Path) -> Result:
    """
    Run once.

    Args:
        arena: Where; it has been entered.

        plan: What.

        folder: An empty one, for the histories and the output of all clients.
    """
    (folder / HISTORIES).mkdir()
    (folder / OUTPUT).mkdir()
    private = Path(tempfile.mkdtemp(prefix="private-"))
    try:
        return _run(arena, plan, folder, private / "world")
    finally:
        shutil.rmtree(private, ignore_errors=True)


def _run(arena: Arena, plan: Plan, folder: Path, secret: Path) -> Result:
    histories, output = folder / HISTORIES, folder / OUTPUT
    configs = [_config(number, arena, plan, histories, secret) for number in range(plan.clients)]
    journal = Journal(histories / "nemesis.jsonl")
    skews = {config.name: config.skew for config in configs}
    told = rules(plan.times or arena.times, skews, arena.store.get("near", {}).get("staleness", 0))
    journal.write(line="rules", rules=told.to_json())
    world = World(secret)
    arena.add_users(world)
    world.close()
    chance = random.Random(f"{plan.seed}/nemesis")
    with Clients(configs, output) as clients:
        troubles = arena.troubles
        if plan.faults is not None:
            troubles = {name: troubles[name] for name in plan.faults}
        clients.wait_until_they_work(histories)
        over = _Over(plan, histories, lambda: _leaks(arena, folder, secret))
        Nemesis(journal, clients, chance).rage(troubles, plan.rest, over)
        ends = clients.finish()
    if plan.sweep:
        ends.append(_sweep(arena, plan, histories, output, secret))
    journal.close()
    history = read(histories)
    violations = [
        *broken(history, arena.excused),
        *_leaks(arena, folder, secret),
        *(
            Violation(CLIENTS_THAT_FAIL, f"client {number} ended with {end}")
            for number, end in enumerate(ends)
            if end != 0
        ),
        *_idle_copies(plan, arena, history),
    ]
    return Result(arena.name, plan, history, violations)


def _idle_copies(plan: Plan, arena: Arena, history: History) -> Iterator[Violation]:
    expected = plan.near and "near" in arena.store
    if expected and not any(operation.is_copy for operation in history.operations):
        yield Violation(COPIES_ANSWER, "no near cache answered anything")


def _leaks(arena: Arena, folder: Path, secret: Path) -> list[Violation]:
    ids, passwords = secrets_in(secret)
    return list(leaks.check([*arena.scanned, folder], ids, passwords))


class _Over:
    """
    Tells whether a run is over.
    """

    def __init__(
        self,
        plan: Plan,
        histories: Path,
        leaked: Callable[[], list[Violation]],
    ) -> None:
        self._plan = plan
        self._histories = histories
        self._leaked = leaked
        self._start = time.monotonic()

    def __call__(self) -> bool:
        passed = time.monotonic() - self._start
        if passed < self._plan.seconds:
            return False
        if passed >= max(self._plan.seconds, self._plan.at_most):
            return True
        if self._plan.until_broken == leaks.PROMISE:
            return bool(self._leaked())
        if self._plan.until_broken is not None:
            return any(CHECKERS[self._plan.until_broken](self._history()))
        return self._has_shown_something()

    def _history(self) -> History:
        # One file is read after the other, and all are being written.
        now = time.monotonic_ns()
        return until(read(self._histories), now - _WRITTEN_BY_NOW)

    def _has_shown_something(self) -> bool:
        if not self._plan.at_least:
            return True
        done = _counted(self._history())
        least = self._plan.at_least.items()
        return all(done[name, Verdict.OK.value] >= number for name, number in least)


def _config(number: int, arena: Arena, plan: Plan, histories: Path, secret: Path) -> Config:
    by_threads = plan.bug is not None or number % 2 == 0
    return Config(
        name=f"c{number}",
        seed=plan.seed,
        flavour=THREADS if by_threads else ASYNCIO,
        store=arena.store if plan.near and number < _NEAR else _far(arena),
        histories=str(histories),
        private=str(secret),
        workers=plan.workers,
        skew=_SKEW if number == _SKEWED else 0,
        times=plan.times or arena.times,
        pace=plan.pace,
        bug=plan.bug,
    )


def _far(arena: Arena) -> dict[str, Any]:
    return {name: value for name, value in arena.store.items() if name != "near"}


def _sweep(arena: Arena, plan: Plan, histories: Path, output: Path, secret: Path) -> int | None:
    sweeper = ClientProcess(
        Config(
            name="sweep",
            seed=plan.seed,
            flavour=THREADS,
            store=_far(arena),
            histories=str(histories),
            private=str(secret),
            times=plan.times or arena.times,
            sweep=True,
        ),
        output,
    )
    sweeper.start()
    sweeper.tell_to_end()
    return sweeper.wait()
