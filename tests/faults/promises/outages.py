"""
A store that is down answers nobody, and a full one still signs out.

1.  No operation that was called after the store had certainly gone, and returned before
    it could come back, has an answer that only the store can give: neither "this is
    Alice", nor "nobody is signed in", nor "signed out". A copy may say the first, also
    where the store is out of reach, for as long as the feed of its near cache is not;
    and if that is out of reach as well, until the bound is over.
2.  While the store's memory is full, and nothing else is wrong, what only deletes is
    done.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator

from faults.history import Fault, History, Operation, Verdict
from faults.promises.violation import Violation

PROMISE = "an outage is an outage"

FULL = "memory full"
"""What the nemesis calls that fault."""

_WITHOUT_THE_STORE = {"throttled", "busy"}
_DELETIONS = {"logout", "revoke"}


def check(history: History) -> Iterator[Violation]:
    """
    Find answers that nobody can have given, and deletions refused for want of memory.
    """
    outages = _Spans([fault for fault in history.faults if fault.down])
    silences = _Spans([fault for fault in history.faults if fault.down and fault.deaf])
    squeezes = _Spans([fault for fault in history.faults if fault.kind == FULL])
    for operation in history.operations:
        answered = operation.verdict in {Verdict.OK, Verdict.REFUSED}
        if answered and _needs_the_store(operation):
            spans = silences if operation.is_copy else outages
            outage = spans.around(operation, history.rules.since(operation))
            if outage is not None:
                yield Violation(
                    PROMISE, f"an answer during an outage ({outage.kind})", (operation,)
                )
        if not answered and _only_deletes(operation) and squeezes.around(operation, operation.call):
            yield Violation(PROMISE, "a full memory kept a session from ending", (operation,))


def _needs_the_store(operation: Operation) -> bool:
    # An attempt that has waited for too long is refused by the clock alone.
    by_the_clock = operation.name == "establish" and operation.reason == "refused"
    return not by_the_clock and operation.reason not in _WITHOUT_THE_STORE


def _only_deletes(operation: Operation) -> bool:
    return operation.name in _DELETIONS or (
        operation.name == "logout_everywhere" and operation.presented is None
    )


class _Spans:
    """
    Faults of one kind, which do not overlap, ready to be asked.
    """

    def __init__(self, faults: list[Fault]) -> None:
        self._faults = sorted(faults, key=lambda fault: fault.start)
        self._starts = [fault.start for fault in self._faults]

    def around(self, operation: Operation, since: int) -> Fault | None:
        """
        Return the fault that had begun before *since* and ended after the operation.
        """
        index = bisect_right(self._starts, since - 1) - 1
        if index < 0 or operation.end >= self._faults[index].stop:
            return None
        return self._faults[index]
