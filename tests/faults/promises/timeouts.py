"""
Nothing outlives its timeouts, by the clock of whoever judges.

1.  No id is accepted once the absolute timeout has passed since the session was opened,
    whatever happened to it since.
2.  No id is accepted once the idle timeout has passed since the last operation that may
    have recorded the session as seen.

Clocks differ by what the run says. An instant of a process is the true one plus its skew.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence

from faults.history import MILLISECOND, History, Operation, Rules
from faults.promises.sightings import Sighting, Sightings
from faults.promises.violation import Violation

PROMISE = "timeouts hold"

# Instants in records are cut to whole milliseconds.
_CUT = MILLISECOND


def check(history: History) -> Iterator[Violation]:
    """
    Find sessions that were accepted after their time.
    """
    sightings = Sightings(history)
    for life, seen in sightings.by_life.items():
        birth = sightings.births.get(life)
        if birth is None:
            continue
        yield from _too_old(birth, seen, history.rules)
        yield from _idle(life, birth, sightings)


def _too_old(birth: Operation, seen: Sequence[Sighting], rules: Rules) -> Iterator[Violation]:
    born = birth.end + rules.skew(birth)
    for sighting in seen:
        judged = sighting.operation.call + rules.skew(sighting.operation)
        if sighting.id is not None and judged - born >= rules.absolute + _CUT:
            yield Violation(
                PROMISE,
                f"the session {sighting.life} was accepted after its absolute timeout",
                (birth, sighting.operation),
            )


def _idle(life: str, birth: Operation, sightings: Sightings) -> Iterator[Violation]:
    rules = sightings.history.rules
    signs = _Signs((birth, *sightings.signs_of_life.get(life, ())), rules)
    for sighting in sightings.by_life[life]:
        operation = sighting.operation
        if sighting.id is None:
            continue
        last = signs.last_before(operation)
        judged = operation.call + rules.skew(operation)
        if judged - (last.end + rules.skew(last)) >= rules.idle + _CUT:
            yield Violation(
                PROMISE,
                f"the session {life} was accepted after its idle timeout",
                (last, operation),
            )


class _Signs:
    """
    The operations that may have recorded one session as seen, ready to be asked.
    """

    def __init__(self, signs: Sequence[Operation], rules: Rules) -> None:
        # Whoever records a sign of life records the present at most.
        by_call = sorted(signs, key=lambda sign: sign.call)
        self._calls = [sign.call for sign in by_call]
        self._latest: list[tuple[Operation, ...]] = []
        latest: tuple[Operation, ...] = ()
        for sign in by_call:
            ranked = sorted((*latest, sign), key=lambda each: each.end + rules.skew(each))
            latest = tuple(ranked[-2:])
            self._latest.append(latest)

    def last_before(self, operation: Operation) -> Operation:
        """
        Return which of those that *operation* may have read recorded the latest instant.

        It does not recognise the session by its own sign of life.
        """
        index = bisect_right(self._calls, operation.end) - 1
        *_, last = (sign for sign in self._latest[index] if sign is not operation)
        return last
