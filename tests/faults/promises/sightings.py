"""
What operations saw of sessions: that one is there, or that one is gone.

Several checkers reason over these. A sighting is known to be true at *some* instant
between the call and the return of its operation, and a checker has to hold for
whichever it was.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from faults.history import History, Named, Operation, as_named

DATA = ("read_data", "change_data", "update_data", "increment", "take_data")
"""The use cases on a session's data."""

SIGN_INS = ("login", "establish")
"""Those that admit a session of a user."""

PROOFS = ("rotate", "reauthenticate", "change_password", "logout_everywhere")
"""Those that give a session another id at once."""

_RECOGNISED_THOUGH_REFUSED = {"refused", "throttled", "busy", "anonymous"}


@dataclass(frozen=True, slots=True)
class Sighting:
    """
    A session that was seen to be there.
    """

    operation: Operation
    place: str
    life: str

    since: int
    """From when on it may have been there: before the call, if a copy answered."""

    id: str | None = None
    """The id that was accepted, if one was."""


@dataclass(frozen=True, slots=True)
class Gone:
    """
    A session that was seen to be gone from its place.
    """

    operation: Operation
    place: str


class Sightings:
    """
    All sightings in a history, and what follows from them.
    """

    def __init__(self, history: History) -> None:
        self.history = history

    @cached_property
    def alive(self) -> tuple[Sighting, ...]:
        """
        Every session that was seen to be there, in the order of the calls.
        """
        return tuple(
            sighting
            for operation in self.history.operations
            for sighting in _alive(operation, self.history.rules.since(operation))
        )

    @cached_property
    def gone(self) -> tuple[Gone, ...]:
        """
        Every session that was seen to be gone for good, in the order of the calls.
        """
        return tuple(gone for operation in self.history.operations for gone in _gone(operation))

    @cached_property
    def by_life(self) -> Mapping[str, tuple[Sighting, ...]]:
        """
        The sightings of each life.
        """
        grouped: dict[str, list[Sighting]] = defaultdict(list)
        for sighting in self.alive:
            grouped[sighting.life].append(sighting)
        return {life: tuple(sightings) for life, sightings in grouped.items()}

    @cached_property
    def signs_of_life(self) -> Mapping[str, tuple[Operation, ...]]:
        """
        The operations that may have recorded each life as seen, beside its birth.
        """
        grouped: dict[str, list[Operation]] = defaultdict(list)
        for operation in self.history.operations:
            if (
                operation.presented is not None
                and is_sign_of_life(operation)
                and (operation.ok or operation.is_open)
            ):
                grouped[operation.presented.life].append(operation)
        return {life: tuple(operations) for life, operations in grouped.items()}

    @cached_property
    def births(self) -> Mapping[str, Operation]:
        """
        The operation that opened each life: a sign-in, or the start of an anonymous session.
        """
        return {
            operation.issued.life: operation
            for operation in self.history.of(*SIGN_INS, "start_anonymous")
            if operation.ok and operation.issued
        }

    @cached_property
    def users(self) -> Mapping[str, str]:
        """
        Whose each life is; anonymous ones are nobody's.
        """
        return {
            life: birth.user
            for life, birth in self.births.items()
            if birth.user is not None and birth.name in SIGN_INS
        }

    @cached_property
    def life_at(self) -> Mapping[str, str]:
        """
        Which life was kept at each place.
        """
        return {sighting.place: sighting.life for sighting in self.alive}

    @cached_property
    def known(self) -> Mapping[str, float]:
        """
        When it was first certain that there was a session at each place.
        """
        known: dict[str, float] = {}
        for sighting in self.alive:
            end = sighting.operation.end
            known[sighting.place] = min(end, known.get(sighting.place, end))
        return known

    @cached_property
    def revealed(self) -> Mapping[str, float]:
        """
        When each id was first certain to be issued.
        """
        revealed: dict[str, float] = {}
        for operation in self.history.operations:
            for name in (operation.issued, operation.renewed, operation.presented):
                if name is not None:
                    revealed[name.id] = min(operation.end, revealed.get(name.id, operation.end))
        return revealed


def _alive(operation: Operation, since: int) -> Iterator[Sighting]:
    presented, issued = operation.presented, operation.issued
    recognised = operation.name in {"authenticate", *PROOFS} and (
        operation.ok or operation.reason in _RECOGNISED_THOUGH_REFUSED
    )
    if operation.name == "logout_everywhere":
        # If nothing was kept, nothing was recognised either.
        recognised = recognised and issued is not None
    if operation.name == "change_password" and operation.ok and issued is None:
        recognised = True  # at first; the session ended meanwhile
    if presented is not None and (recognised or (operation.name in DATA and _was_there(operation))):
        yield Sighting(
            operation,
            presented.place,
            presented.life,
            since,
            presented.id if recognised else None,
        )
    if operation.ok and issued is not None:
        yield Sighting(operation, issued.place, issued.life, since)
    if operation.name == "sessions_of" and operation.ok:
        for place, life, _policy in operation.got["places"]:
            yield Sighting(operation, place, life, since)


def _was_there(operation: Operation) -> bool:
    return operation.ok or operation.reason == "nothing to take"


def _gone(operation: Operation) -> Iterator[Gone]:
    presented = operation.presented
    if presented is not None and (
        operation.reason == "unknown"
        # A session that had expired by what the caller held of it is no news.
        or (operation.reason == "gone" and not operation.got.get("stale"))
    ):
        yield Gone(operation, presented.place)
    for event in operation.events:
        match event:
            case ("ended", str(place), *_) | ("reused", str(place), True):
                yield Gone(operation, place)
            case _:
                pass


def kept_life(operation: Operation) -> str | None:
    """
    Return the life that a "sign out everywhere" or a password change spared.
    """
    kept = as_named(operation.got.get("kept"))
    return kept.life if kept else None


def presented_in(operation: Operation) -> Iterator[Named]:
    """
    Return every id that was presented, also as the session that a browser held before.
    """
    for value in (operation.given.get("id"), operation.given.get("held")):
        name = as_named(value)
        if name is not None:
            yield name


def is_sign_of_life(operation: Operation) -> bool:
    """
    Tell whether the operation records its session as seen, if it recognises it.
    """
    if operation.name == "authenticate":
        # A copy answers only while there is nothing to record.
        return not operation.given.get("passive") and not operation.is_copy
    return operation.name in PROOFS
