"""
Histories made by hand, for the tests of checkers. Instants are seconds.
"""

from __future__ import annotations

from typing import Any

from faults.history import SECOND, Fault, History, Named, Operation, Rules, Verdict

RULES = Rules(
    idle=10 * SECOND,
    absolute=60 * SECOND,
    touch=1 * SECOND,
    grace=2 * SECOND,
    limits={"default": 2},
    skews={"fast": 5 * SECOND},
    free_guesses=3,
    guess_delays=(SECOND, 2 * SECOND),
    staleness=1 * SECOND,
)


def an_id(number: int, life: str = "life", place: str = "") -> Named:
    """
    An id of a life, which is at one place as long as nothing else is said.
    """
    return Named(f"{life}-id{number}", life, place or f"place of {life}")


FIRST = an_id(1)
SECOND_ID = an_id(2)
MOVED = an_id(3, place="elsewhere")


def done(
    name: str,
    call: float,
    back: float | None,
    verdict: Verdict = Verdict.OK,
    *,
    worker: str = "c0.0",
    reason: str = "",
    given: dict[str, Any] | None = None,
    **got: Any,
) -> Operation:
    """
    One operation.
    """
    if reason:
        got["reason"] = reason
    return Operation(
        worker=worker,
        name=name,
        call=round(call * SECOND),
        back=None if back is None else round(back * SECOND),
        verdict=verdict if not reason or verdict is not Verdict.OK else Verdict.REFUSED,
        given=given or {},
        got=got,
    )


def history(*operations: Operation, faults: tuple[Fault, ...] = ()) -> History:
    """
    The history of some operations.
    """
    return History(RULES, tuple(sorted(operations, key=lambda each: each.call)), faults)


def login(call: float, back: float | None, issued: Named | None = FIRST, **more: Any) -> Operation:
    """
    A sign-in of Alice.
    """
    given = {"user": "alice", "password": "p0", "policy": "default", **more.pop("given", {})}
    if issued is not None:
        more |= {"id": issued, "user": "alice", "policy": "default"}
    return done("login", call, back, given=given, **more)


def seen(call: float, back: float, presented: Named = FIRST, **more: Any) -> Operation:
    """
    An authentication.
    """
    return done("authenticate", call, back, given={"id": presented}, **more)


def copied(call: float, back: float, presented: Named = FIRST, **more: Any) -> Operation:
    """
    An authentication that was answered from a copy, by another client than usual.
    """
    return seen(call, back, presented, copy=True, **{"worker": "c1.0", **more})


def gone(call: float, back: float, presented: Named = FIRST, reason: str = "unknown") -> Operation:
    """
    An authentication that found nothing, or nothing good.
    """
    return seen(call, back, presented, reason=reason)


def data(name: str, call: float, back: float | None, value: Any = None, **more: Any) -> Operation:
    """
    A use of session data.
    """
    given = {"id": FIRST, **more.pop("given", {})}
    if value is not None:
        more["value"] = value
    return done(name, call, back, given=given, **more)
