"""
Guess limits hold under parallel attack.

The shipped throttle counts per process (ADR-0017), so what is checked is this: between
two successes, one process verifies no more wrong passwords of one account than the
limit lets through in the time that has passed.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator
from itertools import accumulate

from faults.history import History, Operation, Rules
from faults.promises.violation import Violation

PROMISE = "guess limits hold"

PROVING = frozenset({"login", "reauthenticate", "change_password"})
"""The use cases that verify a password."""


def check(history: History) -> Iterator[Violation]:
    """
    Find accounts on which more passwords were tried than the limit allows.
    """
    guesses: dict[tuple[str, str], list[tuple[int, Operation]]] = defaultdict(list)
    resets: dict[tuple[str, str], list[Operation]] = defaultdict(list)
    # Whoever did not come back may have proven the password of anybody.
    lost: dict[str, list[Operation]] = defaultdict(list)
    for operation in history.operations:
        if operation.back is None and operation.name in PROVING:
            lost[operation.client].append(operation)
        for at, matched in operation.got.get("guesses", ()):
            target = operation.client, str(operation.user)
            if matched:
                resets[target].append(operation)
            else:
                guesses[target].append((at, operation))
    for (client, user), made in guesses.items():
        made.sort(key=lambda guess: guess[0])
        for run in _runs(made, resets[client, user] + lost[client]):
            allowed = _allowed(history.rules, run[-1][0] - min(op.call for _at, op in run))
            if len(run) > allowed:
                yield Violation(
                    PROMISE,
                    f"{client} verified {len(run)} wrong passwords of {user}, not {allowed}",
                    tuple(operation for _at, operation in run[:10]),
                )
                break


def _runs(
    guesses: list[tuple[int, Operation]], resets: list[Operation]
) -> Iterator[list[tuple[int, Operation]]]:
    # A success resets the count at some instant of its operation, so only what
    # neither overlaps with one nor has one in between is a run for sure.
    starts: list[int] = []
    ends: list[float] = []
    for reset in sorted(resets, key=lambda operation: operation.call):
        starts.append(reset.call)
        end = math.inf if reset.is_open else reset.end
        ends.append(max(end, ends[-1] if ends else end))
    runs: dict[int, list[tuple[int, Operation]]] = defaultdict(list)
    for at, operation in guesses:
        before = bisect_right(starts, at)
        if before == 0 or ends[before - 1] < operation.call:
            runs[before].append((at, operation))
    yield from runs.values()


def _allowed(rules: Rules, passed: int) -> int:
    # One more after each delay; the last of the delays is the longest.
    opened = sum(1 for opens in accumulate(rules.guess_delays) if opens <= passed)
    later = max(passed - sum(rules.guess_delays), 0) // rules.guess_delays[-1]
    return rules.free_guesses + opened + later
