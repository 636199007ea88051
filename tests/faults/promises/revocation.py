"""
Revocation is final.

1.  A logout or a revocation that returned ``ended=True`` ended the session's life: no
    operation that is called after it sees the session, under any id or at any place.
2.  One that returned ``ended=False`` found nothing left to end at that place: no
    operation that is called after it sees a session there.
"""

from __future__ import annotations

from collections.abc import Iterator

from faults.history import History, Operation
from faults.promises.sightings import Sightings
from faults.promises.violation import Violation

PROMISE = "revocation is final"


def check(history: History) -> Iterator[Violation]:
    """
    Find sessions that were seen after they were revoked.
    """
    sightings = Sightings(history)
    lives: dict[str, Operation] = {}
    places: dict[str, Operation] = {}
    for operation in history.of("logout", "revoke"):
        if not operation.ok:
            continue
        presented = operation.presented
        place = presented.place if presented else str(operation.given["place"])
        _keep_first(places, place, operation)
        life = presented.life if presented else sightings.life_at.get(place)
        if operation.got["ended"] and life is not None:
            _keep_first(lives, life, operation)
    for sighting in sightings.alive:
        for ending in (lives.get(sighting.life), places.get(sighting.place)):
            if ending is not None and ending.end < sighting.since:
                yield Violation(
                    PROMISE,
                    f"the session {sighting.life} was signed out and is there again",
                    (ending, sighting.operation),
                )
                break


def _keep_first(kept: dict[str, Operation], key: str, operation: Operation) -> None:
    if key not in kept or operation.end < kept[key].end:
        kept[key] = operation
