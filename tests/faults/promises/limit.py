"""
The session limit holds at every instant.

1.  A session was certainly there from the return of its sign-in to the last call of an
    operation that saw it, or to one bound before it if a copy did. Of one user and one
    policy, no more such spans overlap than the policy allows.
2.  No list of a user's sessions names more of one policy than that.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

from faults.history import History, Operation
from faults.promises.sightings import SIGN_INS, Sightings
from faults.promises.violation import Violation

PROMISE = "the session limit holds"


def check(history: History) -> Iterator[Violation]:
    """
    Find users who had more sessions at a time than their policy allows.
    """
    yield from _crowds(Sightings(history))
    for operation in history.of("sessions_of"):
        if operation.ok:
            counted = Counter(policy for _place, _life, policy in operation.got["places"])
            for policy, number in counted.items():
                if number > history.rules.limits[policy]:
                    yield Violation(PROMISE, f"{number} sessions are listed", (operation,))


def _crowds(sightings: Sightings) -> Iterator[Violation]:
    rules = sightings.history.rules
    # Of what begins and ends at one instant, the end counts first: better a
    # crowd unnoticed than one that never was.
    edges: dict[tuple[str, str], list[tuple[int, int, str]]] = defaultdict(list)
    last_seen: dict[str, int] = {}
    for sighting in sightings.alive:
        since = sighting.since
        last_seen[sighting.life] = max(since, last_seen.get(sighting.life, since))
    for life, birth in sightings.births.items():
        if birth.name in SIGN_INS and birth.user is not None and birth.back is not None:
            key = (birth.user, str(birth.got["policy"]))
            if last_seen[life] > birth.back:
                edges[key] += [(birth.back, 1, life), (last_seen[life], 0, life)]
    for (user, policy), instants in edges.items():
        present: set[str] = set()
        for _at, begins, life in sorted(instants):
            if not begins:
                present.discard(life)
                continue
            present.add(life)
            if len(present) > rules.limits[policy]:
                evidence: tuple[Operation, ...] = tuple(sightings.births[each] for each in present)
                yield Violation(
                    PROMISE,
                    f"{user} had {len(present)} sessions under the policy {policy!r}",
                    evidence,
                )
                break
