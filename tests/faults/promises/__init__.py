"""
One checker for each promise: a pure function from a history to what breaks the promise.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Final

from faults.history import History
from faults.promises import (
    copies,
    data,
    deaths,
    everywhere,
    guesses,
    limit,
    outages,
    outcomes,
    resurrection,
    revocation,
    successors,
    timeouts,
)
from faults.promises.violation import Violation

CHECKERS: Final[dict[str, Callable[[History], Iterator[Violation]]]] = {
    module.PROMISE: module.check
    for module in (
        resurrection,
        revocation,
        everywhere,
        successors,
        limit,
        timeouts,
        data,
        outcomes,
        deaths,
        outages,
        guesses,
        copies,
    )
}
"""All that judge a history. Secrets in files are searched by :mod:`faults.leaks`."""


def broken(history: History, excused: Collection[str] = ()) -> list[Violation]:
    """
    Return everything that any checker finds, but those for the promises that are *excused*.
    """
    return [
        violation
        for promise, check in CHECKERS.items()
        if promise not in excused
        for violation in check(history)
    ]


__all__ = ["CHECKERS", "Violation", "broken"]
