"""
A near cache keeps its word.

1.  No answer from a copy is older than the bound: for it, the promises about ends, about
    retired ids and about successors hold from one bound before the call on.
2.  A client that itself ended a session, and was told so, has no copy of it any more:
    neither by a logout or a revocation, nor by a "sign out everywhere" or a password
    change, nor by a sign-in that made it go.
3.  Who asks for what is stored is not answered from a copy.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace

from faults.history import History, Operation
from faults.promises import everywhere, resurrection, revocation, successors
from faults.promises.sightings import Sightings
from faults.promises.violation import Violation

PROMISE = "a near cache keeps its word"

_EVERYWHERE = ("logout_everywhere", "change_password")


def check(history: History) -> Iterator[Violation]:
    """
    Find copies that answered where they must not.
    """
    for operation in history.of("authenticate"):
        if operation.is_copy and operation.given.get("from_store"):
            yield Violation(PROMISE, "a copy answered in place of the store", (operation,))
    yield from _not_forgotten(Sightings(history))
    for promise in (revocation, everywhere, resurrection, successors):
        for violation in promise.check(history):
            if violation.evidence[-1].is_copy:
                yield replace(violation, promise=PROMISE)


def _not_forgotten(sightings: Sightings) -> Iterator[Violation]:
    endings: dict[tuple[str, str], list[Operation]] = defaultdict(list)
    for operation in sightings.history.operations:
        # What is repeated, because its fate was unknown, may take effect after it was forgotten.
        if operation.ok and not operation.lost:
            for whom in _ended_by(operation):
                endings[operation.client, whom].append(operation)
    for sighting in sightings.alive:
        looked = sighting.operation
        if not looked.is_copy:
            continue
        user = sightings.users.get(sighting.life, "")
        for ending in (
            *endings.get((looked.client, sighting.place), ()),
            *endings.get((looked.client, user), ()),
        ):
            if sightings.known[sighting.place] < ending.call and ending.end < looked.call:
                yield Violation(
                    PROMISE,
                    f"{looked.client} had a copy of what it had ended: {sighting.life}",
                    (ending, looked),
                )
                break


def _ended_by(operation: Operation) -> Iterator[str]:
    if operation.name in _EVERYWHERE and operation.user is not None:
        yield operation.user
    for event in operation.events:
        match event:
            case ("ended", str(place), *_) | ("reused", str(place), True):
                yield place
            case _:
                pass
