"""
One successor, and an end to what came before it.

1.  All answers that renew one id name the same successor.
2.  One id is rotated at most once.
3.  An id whose successor has been used is accepted for the grace, and no longer.
4.  After a rotation no other id of that place is accepted that was known before it,
    and no successor of such an id.
5.  Where a successor was answered, no copy from after that answers for the id before.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from faults.history import History, Operation
from faults.promises.sightings import PROOFS, Sighting, Sightings
from faults.promises.violation import Violation

PROMISE = "one successor"


def check(history: History) -> Iterator[Violation]:
    """
    Find ids with two successors, and ids that were accepted after their time.
    """
    sightings = Sightings(history)
    yield from _second_successors(history)
    yield from _second_rotations(history)
    yield from _beyond_grace(sightings)
    yield from _after_rotation(sightings)
    yield from _while_pending(sightings)


def _second_successors(history: History) -> Iterator[Violation]:
    first: dict[str, Operation] = {}
    for operation in history.of("authenticate"):
        if operation.presented is None or operation.renewed is None:
            continue
        other = first.setdefault(operation.presented.id, operation)
        if other.renewed is not None and other.renewed.id != operation.renewed.id:
            yield Violation(
                PROMISE, f"{operation.presented.id} has two successors", (other, operation)
            )


def _second_rotations(history: History) -> Iterator[Violation]:
    first: dict[str, Operation] = {}
    for operation in history.of(*PROOFS):
        if operation.presented is None or not operation.ok or operation.issued is None:
            continue
        other = first.setdefault(operation.presented.id, operation)
        if other is not operation:
            yield Violation(
                PROMISE, f"{operation.presented.id} was rotated twice", (other, operation)
            )


def _beyond_grace(sightings: Sightings) -> Iterator[Violation]:
    rules = sightings.history.rules
    predecessors = {
        operation.renewed.id: operation.presented.id
        for operation in sightings.history.of("authenticate")
        if operation.presented is not None and operation.renewed is not None
    }
    confirmed: dict[str, Operation] = {}
    for sighting in sightings.alive:
        operation = sighting.operation
        if sighting.id is None or not _is_recorded(operation):
            continue
        before = predecessors.get(sighting.id)
        if before is not None and (
            before not in confirmed or operation.end < confirmed[before].end
        ):
            confirmed[before] = operation
    for sighting in sightings.alive:
        first_use = confirmed.get(sighting.id or "")
        if first_use is None or sighting.since <= first_use.end:
            continue
        # Another may have used it first, by a clock that is ahead.
        late = (sighting.since + rules.skew(sighting.operation)) - (
            first_use.end + rules.most_ahead
        )
        if late >= rules.grace:
            yield Violation(
                PROMISE,
                f"{sighting.id} was accepted after the grace",
                (first_use, sighting.operation),
            )


def _is_recorded(operation: Operation) -> bool:
    # What authenticates is answered even if the first use could not be stored.
    return (
        operation.name == "authenticate"
        and not operation.lost
        and all(event[0] != "upkeep skipped" for event in operation.events)
    )


def _while_pending(sightings: Sightings) -> Iterator[Violation]:
    renewed: dict[str, Operation] = {}
    for operation in sightings.history.of("authenticate"):
        if operation.presented is not None and operation.renewed is not None:
            first = renewed.setdefault(operation.presented.id, operation)
            if operation.end < first.end:
                renewed[operation.presented.id] = operation
    for sighting in sightings.alive:
        renewal = renewed.get(sighting.id or "")
        if renewal is not None and sighting.operation.is_copy and renewal.end < sighting.since:
            yield Violation(
                PROMISE,
                f"a copy answered for {sighting.id}, whose successor was known",
                (renewal, sighting.operation),
            )


def _after_rotation(sightings: Sightings) -> Iterator[Violation]:
    rotations: dict[str, list[Operation]] = defaultdict(list)
    for operation in sightings.history.of("rotate", "reauthenticate"):
        if operation.ok and operation.presented is not None:
            rotations[operation.presented.place].append(operation)
    drawn_from = {
        operation.renewed.id: operation.presented.id
        for operation in sightings.history.of("authenticate")
        if operation.presented is not None and operation.renewed is not None
    }
    for sighting in sightings.alive:
        for rotation in rotations.get(sighting.place, ()):
            if rotation.end < sighting.since and _was_before(
                sighting, rotation, sightings, drawn_from
            ):
                yield Violation(
                    PROMISE,
                    f"{sighting.id} was accepted after a rotation",
                    (rotation, sighting.operation),
                )
                break


def _was_before(
    sighting: Sighting,
    rotation: Operation,
    sightings: Sightings,
    drawn_from: dict[str, str],
) -> bool:
    id_ = sighting.id
    if id_ is None or (rotation.issued is not None and rotation.issued.id == id_):
        return False
    if sightings.revealed[id_] < rotation.call:
        return True
    parent = drawn_from.get(id_)
    if parent is None or (rotation.issued is not None and rotation.issued.id == parent):
        return False
    return sightings.revealed[parent] < rotation.call
