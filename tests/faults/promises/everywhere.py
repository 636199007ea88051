"""
"Sign out everywhere" and a password change are final for everything that began before.

*Rooted* is when the epoch of a session's sign-in had certainly been opened: when the
last hash was read in a login, when ``begin`` returned for an establishment. Once one
of the two use cases has returned ok,

1.  no operation that is called later sees a session that was rooted before the call,
    but the one that was kept;
2.  nor a session at a place where one was known to be before the call;
3.  after a password change, nor a session that was opened with the password before,
    even if that was being verified meanwhile, but the one that was kept;
4.  and the password before proves nothing any more.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from faults.history import History, Operation
from faults.promises.sightings import SIGN_INS, Sighting, Sightings, kept_life
from faults.promises.violation import Violation

PROMISE = "sign out everywhere is final"


class _Endings:
    """
    The "sign out everywhere" calls of one user that returned ok, ready to be asked.
    """

    def __init__(self, operations: Sequence[Operation]) -> None:
        self._by_call = sorted(operations, key=lambda operation: operation.call)
        self._calls = [operation.call for operation in self._by_call]
        # The two that returned first, of those called at or after each: one of
        # them may have spared the session that is asked for.
        self._soonest: list[tuple[Operation, ...]] = []
        soonest: tuple[Operation, ...] = ()
        for operation in reversed(self._by_call):
            soonest = _first_two((operation, *soonest))
            self._soonest.append(soonest)
        self._soonest.reverse()

    def between(self, known: float, seen: int, life: str | None) -> Operation | None:
        """
        Return one called after *known* that returned before *seen*, unless it spared *life*.
        """
        index = bisect_right(self._calls, known)
        if index == len(self._by_call):
            return None
        for operation in self._soonest[index]:
            if operation.end < seen and (life is None or kept_life(operation) != life):
                return operation
        return None


def _first_two(operations: tuple[Operation, ...]) -> tuple[Operation, ...]:
    # Two that spare different lives: whichever is asked for, one of them counts.
    first = min(operations, key=lambda operation: operation.end)
    rest = [each for each in operations if kept_life(each) != kept_life(first)]
    return (first, *sorted(rest, key=lambda operation: operation.end)[:1])


def check(history: History) -> Iterator[Violation]:
    """
    Find sessions and passwords that survived.
    """
    sightings = Sightings(history)
    by_user: dict[str, list[Operation]] = defaultdict(list)
    for operation in history.of("logout_everywhere", "change_password"):
        if operation.ok and operation.user is not None:
            by_user[operation.user].append(operation)
    endings = {user: _Endings(operations) for user, operations in by_user.items()}
    yield from _survivors(sightings, endings)
    yield from _old_passwords(sightings)


def _survivors(sightings: Sightings, endings: Mapping[str, _Endings]) -> Iterator[Violation]:
    attempts = _attempts(sightings.history)
    roots = {life: _rooted(birth, attempts) for life, birth in sightings.births.items()}
    for sighting in sightings.alive:
        user = sightings.users.get(sighting.life)
        if user is None or user not in endings:
            continue
        seen = sighting.since
        root = roots.get(sighting.life, sightings.known[sighting.place])
        ending = endings[user].between(root, seen, sighting.life) or endings[user].between(
            sightings.known[sighting.place], seen, None
        )
        if ending is not None:
            yield Violation(
                PROMISE,
                f"the session {sighting.life} began before it and is still there",
                (
                    *filter(None, (sightings.births.get(sighting.life),)),
                    ending,
                    sighting.operation,
                ),
            )


def _attempts(history: History) -> Mapping[str, Operation]:
    return {
        str(operation.got["attempt"]): operation
        for operation in history.of("begin")
        if operation.ok
    }


def _rooted(birth: Operation, attempts: Mapping[str, Operation]) -> float:
    if birth.name == "establish":
        begun = attempts.get(str(birth.given["attempt"]))
        return begun.end if begun else birth.end
    read = birth.got.get("read")
    return birth.end if read is None else float(read)


def _old_passwords(sightings: Sightings) -> Iterator[Violation]:
    retired: dict[str, Operation] = {}
    for change in sightings.history.of("change_password"):
        if change.ok:
            retired[str(change.given["password"])] = change
    for operation in sightings.history.of("login", "reauthenticate", "change_password"):
        gone = retired.get(str(operation.given["password"]))
        if gone is not None and operation.ok and gone.end < operation.call:
            yield Violation(
                PROMISE, "a password was accepted after it was changed", (gone, operation)
            )
    for sighting in sightings.alive:
        found = _opened_with_retired(sighting, sightings, retired)
        if found is not None:
            birth, change = found
            yield Violation(
                PROMISE,
                f"the session {sighting.life} was opened with the password before, and is there",
                (birth, change, sighting.operation),
            )


def _opened_with_retired(
    sighting: Sighting, sightings: Sightings, retired: Mapping[str, Operation]
) -> tuple[Operation, Operation] | None:
    birth = sightings.births.get(sighting.life)
    if birth is None or birth.name not in SIGN_INS or "password" not in birth.given:
        return None
    change = retired.get(str(birth.given["password"]))
    if change is None or change.end >= sighting.since or kept_life(change) == sighting.life:
        return None
    return birth, change
