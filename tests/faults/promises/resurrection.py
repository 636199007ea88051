"""
Dead stays dead.

1.  Once a completed operation has seen that a session is gone from its place, no
    operation that is called later sees it there. (A session that a "sign out
    everywhere" keeps moves to another place.)
2.  Once a completed operation has judged a session idle, no operation that is called
    later, and judges by a clock that is not behind, recognises it: unless another
    was in flight that may have recorded a sign of life from before the verdict.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator

from faults.history import History, Operation
from faults.promises.sightings import Gone, Sightings
from faults.promises.violation import Violation

PROMISE = "no resurrection"


def check(history: History) -> Iterator[Violation]:
    """
    Find sessions that came back.
    """
    sightings = Sightings(history)
    yield from _come_back(sightings)
    yield from _awoken(sightings)


def _come_back(sightings: Sightings) -> Iterator[Violation]:
    first_gone: dict[str, Gone] = {}
    for gone in sightings.gone:
        before = first_gone.get(gone.place)
        if before is None or gone.operation.end < before.operation.end:
            first_gone[gone.place] = gone
    for sighting in sightings.alive:
        known = first_gone.get(sighting.place)
        if known is not None and known.operation.end < sighting.since:
            yield Violation(
                PROMISE,
                f"the session at {sighting.place} was gone and is there again",
                (known.operation, sighting.operation),
            )


def _awoken(sightings: Sightings) -> Iterator[Violation]:
    idle: dict[str, list[Operation]] = defaultdict(list)
    for operation in sightings.history.operations:
        if operation.reason == "idle" and operation.presented is not None:
            idle[operation.presented.life].append(operation)
    for life, verdicts in idle.items():
        for verdict in verdicts:
            yield from _awoken_after(verdict, life, sightings)


def _awoken_after(verdict: Operation, life: str, sightings: Sightings) -> Iterator[Violation]:
    rules = sightings.history.rules
    for sighting in sightings.by_life.get(life, ()):
        operation = sighting.operation
        if (
            sighting.id is None
            or operation.call <= verdict.end
            or operation.call + rules.skew(operation) < verdict.end + rules.skew(verdict)
        ):
            continue
        if not any(
            sign is not operation
            and sign.call < operation.end
            and _last_effect(sign) >= verdict.call
            for sign in sightings.signs_of_life.get(life, ())
        ):
            yield Violation(
                PROMISE,
                f"the session {life} was idle for too long and lives again",
                (verdict, operation),
            )
        return


def _last_effect(operation: Operation) -> float:
    # A touch of unknown fate may be stored at any later time.
    return math.inf if operation.lost else operation.end
