"""
What is reported is true.

1.  No exception comes out of a use case that its callers are not told to expect.
2.  Who raises ``StoreUnavailable`` has left nothing in doubt: no write of unknown fate.
3.  The right password is refused only if it may have been changed, and a password that
    was never set, because changing to it failed, opens nothing.
4.  A list of a user's sessions names none that nobody was given: each belongs to a
    sign-in that returned it, or to one of unknown fate.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping

from faults.history import History, Operation, Verdict
from faults.promises.sightings import SIGN_INS, Sightings
from faults.promises.violation import Violation

PROMISE = "what is reported is true"

WRONG = "wrong"
"""What workers call a password that nobody ever had."""

_MOST_TRIES = 32
"""How many admissions of unknown fate one sign-in may leave behind."""


def check(history: History) -> Iterator[Violation]:
    """
    Find reports that were not true.
    """
    yield from _crashes(history)
    yield from _doubts(history)
    yield from _passwords(history)
    yield from _strangers(Sightings(history))


def _crashes(history: History) -> Iterator[Violation]:
    for operation in history.operations:
        if operation.verdict is Verdict.CRASHED:
            yield Violation(PROMISE, f"{operation.reason} came out", (operation,))


def _doubts(history: History) -> Iterator[Violation]:
    for operation in history.operations:
        if operation.verdict is Verdict.UNAVAILABLE:
            doubtful = set(operation.lost) - _harmless(operation)
            if doubtful:
                lost = ", ".join(sorted(doubtful))
                yield Violation(
                    PROMISE,
                    f'"nothing was written", but the fate of {lost} is unknown',
                    (operation,),
                )


def _harmless(operation: Operation) -> set[str]:
    harmless = set[str]()
    if operation.name == "login":
        harmless.add("replace_hash")  # a rehash, which changes no password
    if any(event[0] == "reused" and event[2] is None for event in operation.events):
        harmless.add("delete")  # of a reused session, which is told as such
    return harmless


def _passwords(history: History) -> Iterator[Violation]:
    changes = [
        change
        for change in history.of("change_password")
        if change.ok or change.is_open or "replace_hash" in change.lost
    ]
    away = defaultdict[str, list[Operation]](list)
    for change in changes:
        away[str(change.given["password"])].append(change)
    to = {str(change.given["new"]): change for change in changes}
    given_up = {str(change.given["new"]) for change in history.of("change_password")} - to.keys()
    for operation in history.of("login", "reauthenticate", "change_password"):
        password = str(operation.given["password"])
        origin = to.get(password)
        if operation.ok and (
            password in given_up or (origin is not None and origin.call >= operation.end)
        ):
            yield Violation(PROMISE, "a password opens that was never set", (operation,))
        if operation.reason == "refused" and password not in {WRONG, *given_up}:
            established = origin is None or (origin.ok and origin.end < operation.call)
            if established and not any(each.call < operation.end for each in away[password]):
                yield Violation(
                    PROMISE, "the right password was refused", (*filter(None, (origin,)), operation)
                )


def _strangers(sightings: Sightings) -> Iterator[Violation]:
    doubtful: dict[str, list[Operation]] = defaultdict(list)
    for operation in sightings.history.of(*SIGN_INS):
        if operation.user is not None and (not operation.ok or operation.lost):
            doubtful[str(operation.user)].append(operation)
    strangers: dict[str, dict[str, Operation]] = defaultdict(dict)
    for listing in sightings.history.of("sessions_of"):
        for _place, life, _policy in listing.got.get("places", ()) if listing.ok else ():
            if life not in sightings.births and listing.user is not None:
                strangers[listing.user].setdefault(life, listing)
    for user, lives in strangers.items():
        yield from _unexplained(user, lives, doubtful[user])


def _unexplained(
    user: str, lives: Mapping[str, Operation], doubtful: list[Operation]
) -> Iterator[Violation]:
    for seen, listing in enumerate(sorted(lives.values(), key=lambda each: each.end), 1):
        explained = sum(_may_have_left(each, listing) for each in doubtful)
        if seen > explained:
            yield Violation(
                PROMISE, f"{user} has a session that nobody was given", (*doubtful[-5:], listing)
            )
            return


def _may_have_left(sign_in: Operation, listing: Operation) -> int:
    if sign_in.call >= listing.end:
        return 0
    if sign_in.verdict in {Verdict.PENDING, Verdict.CRASHED} or (
        sign_in.verdict is Verdict.UNKNOWN and sign_in.reason == "cancelled"
    ):
        return _MOST_TRIES
    left = Counter(sign_in.lost)["admit"]
    # A sign-in that fails while it carries data over removes what it has admitted.
    carries = bool(sign_in.given.get("held")) and sign_in.is_open | (
        sign_in.verdict is Verdict.UNAVAILABLE
    )
    return left + carries
