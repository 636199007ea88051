"""
Nobody is signed out without a cause.

Whoever acknowledged a sign-in has to keep it. An operation may find a session

1.  *gone*, if something told that it ended it, or something of unknown fate may have:
    a logout, a revocation, a "sign out everywhere", a password change, a sign-in of
    the same user that may have evicted it, a sign-in that found it expired, or an
    operation with an id that may have been replaced, whose client died before it told;
2.  *idle* or *too old*, if enough time has passed by some clock of the run;
3.  *superseded* or *reused* under an id, if that may have been replaced: its successor
    was used, or the session was rotated.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Sequence

from faults.history import History, Operation
from faults.promises.sightings import DATA, PROOFS, SIGN_INS, Sightings, presented_in
from faults.promises.violation import Violation

PROMISE = "no death without a cause"

_EVERYWHERE = ("logout_everywhere", "change_password")


def check(history: History) -> Iterator[Violation]:
    """
    Find sessions that ended for no reason.
    """
    causes = _Causes(Sightings(history))
    for operation in history.operations:
        presented = operation.presented
        if presented is None or operation.name not in {"authenticate", *PROOFS, *DATA}:
            continue
        match operation.reason:
            case "unknown" if causes.of_absence(operation) is None:
                what = "is gone"
            case "gone" if not operation.got.get("stale") and causes.of_absence(operation) is None:
                what = "is gone"
            case "idle" if not causes.has_idled_out(operation):
                what = "was idle for too short"
            case "too old" if not causes.is_too_old(operation):
                what = "was not that old"
            case "superseded" | "reused" if not causes.of_retirement(operation):
                what = f"was refused its only id {presented.id}"
            case _:
                continue
        birth = causes.sightings.births.get(presented.life)
        if birth is not None:
            yield Violation(
                PROMISE,
                f"the session {presented.life} {what}",
                (birth, *causes.signs_before(presented.life, operation)[-1:], operation),
            )


class _Causes:
    """
    What may have ended sessions in one history.
    """

    def __init__(self, sightings: Sightings) -> None:
        self.sightings = sightings
        self._rules = sightings.history.rules
        self._told: dict[str, int] = {}
        self._all_ended: dict[str, int] = {}
        self._in_doubt: dict[str, int] = {}
        self._sign_ins: dict[str, list[Operation]] = defaultdict(list)
        self._untold: dict[str, list[Operation]] = defaultdict(list)
        self._rotations: dict[str, int] = {}
        self._uses: dict[str, int] = {}
        self._successors: dict[str, str] = {}
        for operation in sightings.history.operations:
            self._note(operation)
        self._signs = {
            life: sorted((sign for sign in signs if _is_recorded(sign)), key=lambda sign: sign.end)
            for life, signs in sightings.signs_of_life.items()
        }
        self._ends = {life: [sign.end for sign in signs] for life, signs in self._signs.items()}

    def _note(self, operation: Operation) -> None:
        user, call = operation.user, operation.call
        for event in operation.events:
            match event:
                case ("ended", str(place), *_) | ("reused", str(place), True | None):
                    self._told.setdefault(place, call)
                case _:
                    pass
        in_doubt = operation.is_open or operation.lost
        if operation.is_open and operation.presented is not None:
            self._untold[operation.presented.life].append(operation)
        if operation.name in _EVERYWHERE and user is not None and (operation.ok or in_doubt):
            self._all_ended.setdefault(user, call)
        if operation.name in SIGN_INS and user is not None:
            self._sign_ins[user].append(operation)
            if in_doubt:
                self._in_doubt.setdefault(user, call)
        if in_doubt:
            for named in presented_in(operation):
                if operation.name not in {"authenticate", *DATA}:
                    self._in_doubt.setdefault(named.life, call)
        if operation.name == "revoke" and in_doubt:
            self._told.setdefault(str(operation.given["place"]), call)
        presented = operation.presented
        if presented is not None:
            self._uses.setdefault(presented.id, call)
            if operation.name in PROOFS and (operation.ok or in_doubt):
                self._rotations.setdefault(presented.place, call)
            if operation.renewed is not None:
                self._successors[presented.id] = operation.renewed.id

    def of_absence(self, operation: Operation) -> str | None:
        """
        Return what may have ended the session that *operation* did not find.
        """
        presented = operation.presented
        assert presented is not None
        user = self.sightings.users.get(presented.life)
        for cause, began in (
            ("told", self._told.get(presented.place)),
            ("in doubt", self._in_doubt.get(presented.life)),
            ("all ended", self._all_ended.get(user or "")),
            ("evicted by a sign-in of unknown fate", self._in_doubt.get(user or "")),
        ):
            if began is not None and began < operation.end:
                return cause
        for sign_in in self._sign_ins.get(user or "", ()):
            if sign_in.call < operation.end and (
                self.has_idled_out(sign_in, presented.life)
                or self.is_too_old(sign_in, presented.life)
            ):
                return "expired"
        for look in self._untold.get(presented.life, ()):
            if look.call < operation.end and self.of_retirement(look):
                return "reused, and whoever noticed never told"
        return None

    def of_retirement(self, operation: Operation) -> bool:
        """
        Tell whether the id that *operation* presented may have been replaced.
        """
        presented = operation.presented
        assert presented is not None
        began = (
            self._rotations.get(presented.place),
            self._uses.get(self._successors.get(presented.id, "")),
        )
        return any(call is not None and call < operation.end for call in began)

    def has_idled_out(self, operation: Operation, life: str | None = None) -> bool:
        """
        Tell whether, by the clock of *operation*, the session may have been idle for too long.
        """
        if life is None:
            assert operation.presented is not None
            life = operation.presented.life
        birth = self.sightings.births.get(life)
        if birth is None:
            return True
        seen = birth.call + self._rules.skew(birth)
        # The touches of the last signs are the latest: clocks differ by little.
        for sign in self.signs_before(life, operation)[-8:]:
            spared = self._rules.touch if sign.name == "authenticate" else 0
            seen = max(seen, sign.call + self._rules.skew(sign) - spared)
        return operation.end + self._rules.skew(operation) - seen >= self._rules.idle

    def is_too_old(self, operation: Operation, life: str | None = None) -> bool:
        """
        Tell whether, by the clock of *operation*, the session may have been too old.
        """
        if life is None:
            assert operation.presented is not None
            life = operation.presented.life
        birth = self.sightings.births.get(life)
        if birth is None:
            return True
        born = birth.call + self._rules.skew(birth)
        return operation.end + self._rules.skew(operation) - born >= self._rules.absolute

    def signs_before(self, life: str, operation: Operation) -> Sequence[Operation]:
        """
        Return the signs of life that were certainly recorded before *operation* began.
        """
        signs = self._signs.get(life, [])
        return signs[: bisect_left(self._ends.get(life, []), operation.call)]


def _is_recorded(sign: Operation) -> bool:
    skipped = any(event[0] == "upkeep skipped" for event in sign.events)
    return sign.ok and not skipped and not sign.lost
