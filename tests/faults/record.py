"""
Writes down what a worker calls and what comes back.

Beside the outcome itself an operation's return says, where there is something to say:

``events``
    what the event sink was told: ``["ended", place, why]``, ``["all ended", user]``,
    ``["reused", place, ended]`` or ``["upkeep skipped", place]``;
``lost``
    the writes of the stores that raised ``OutcomeUnknown`` within it;
``read``
    when the last password hash had been read;
``guesses``
    the passwords that were verified: ``[instant, matched]``.
"""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from itertools import count
from typing import Any, cast

from faults.history import NAME_LENGTH, Journal, Verdict, named
from sessioncore.attempt import Attempt
from sessioncore.errors import (
    OutcomeUnknown,
    PasswordChangedButSessionsLive,
    StoreUnavailable,
)
from sessioncore.events import (
    AllSessionsEnded,
    Event,
    SessionEnded,
    SessionIdReused,
    UpkeepSkipped,
)
from sessioncore.outcomes import (
    Active,
    Busy,
    DataChanged,
    DataRead,
    DataTaken,
    Inactive,
    LimitReached,
    LoggedIn,
    LoggedOut,
    LoggedOutEverywhere,
    NothingToTake,
    PasswordChanged,
    Refused,
    Revoked,
    Rotated,
    SessionGone,
    Throttled,
)
from sessioncore.ports import Purged
from sessioncore.session import Session


@dataclass(slots=True)
class Notes:
    """
    What is learned on the way of one operation.
    """

    events: list[tuple[Any, ...]] = field(default_factory=list[tuple[Any, ...]])
    lost: list[str] = field(default_factory=list[str])
    read: int | None = None
    guesses: list[tuple[int, bool]] = field(default_factory=list[tuple[int, bool]])

    def to_json(self) -> dict[str, Any]:
        """
        Return what there is to say.
        """
        said = {"events": self.events, "lost": self.lost, "guesses": self.guesses}
        told: dict[str, Any] = {key: value for key, value in said.items() if value}
        if self.read is not None:
            told["read"] = self.read
        return told


notes: ContextVar[Notes] = ContextVar("notes")
"""Of the operation that the current thread or task is in."""


class Audit:
    """
    An event sink that puts down what checkers ask for.
    """

    def emit(self, event: Event, /) -> None:
        """
        See :meth:`sessioncore.ports.EventSink.emit`.
        """
        told = _told(event)
        if told is not None:
            notes.get().events.append(told)


def _told(event: Event) -> tuple[Any, ...] | None:
    match event:
        case SessionEnded(handle=handle, reason=reason):
            return "ended", handle[:NAME_LENGTH], reason.value
        case AllSessionsEnded(user_id=user_id):
            return "all ended", user_id
        case SessionIdReused(handle=handle, ended=ended):
            return "reused", handle[:NAME_LENGTH], ended
        case UpkeepSkipped(handle=handle):
            return "upkeep skipped", handle[:NAME_LENGTH]
        case _:
            return None


class Recorder:
    """
    Writes the operations of one worker, one after the other.

    Args:
        journal: Where to.

        worker: Whose.
    """

    def __init__(self, journal: Journal, worker: str) -> None:
        self._journal = journal
        self._worker = worker
        self._numbers = count()

    async def perform(
        self,
        name: str,
        given: dict[str, Any],
        call: Callable[[], Awaitable[object]],
        *,
        patience: float | None = None,
        more: Callable[[object], dict[str, Any]] | None = None,
    ) -> object:
        """
        Call, and write down the call and what became of it.

        Args:
            name: The use case.

            given: Its arguments, as the history names them.

            call: Does it.

            patience: After how many seconds to cancel it, as if a client had
                gone away; only where calls can be cancelled.

            more: What else to write down of what came back.

        Returns:
            What came back, or ``None`` if it raised.
        """
        number = next(self._numbers)
        mine = Notes()
        notes.set(mine)
        line = {"worker": self._worker, "number": number}
        self._journal.write(line="call", **line, at=time.monotonic_ns(), name=name, given=given)
        outcome: object = None
        try:
            if patience is None:
                outcome = await call()
            else:
                outcome = await asyncio.wait_for(_awaited(call), patience)
        except Exception as error:  # noqa: BLE001 - what may come out is what is judged
            verdict, got = _raised(error)
            got["causes"] = _causes(error)
        else:
            verdict, got = described(outcome)
            if more is not None:
                got |= more(outcome)
        at = time.monotonic_ns()
        self._journal.write(
            line="back", **line, at=at, verdict=verdict.value, got=got | mine.to_json()
        )
        return outcome


async def _awaited(call: Callable[[], Awaitable[object]]) -> object:
    return await call()


def _raised(error: Exception) -> tuple[Verdict, dict[str, Any]]:
    reason = type(error).__name__
    match error:
        case StoreUnavailable():
            return Verdict.UNAVAILABLE, {"reason": reason}
        case OutcomeUnknown() | PasswordChangedButSessionsLive():
            return Verdict.UNKNOWN, {"reason": reason}
        case TimeoutError():
            return Verdict.UNKNOWN, {"reason": "cancelled"}
        case _:
            # Files of the run are searched for secrets, and so is this.
            traceback.print_exception(error)
            return Verdict.CRASHED, {"reason": reason}


def _causes(error: BaseException) -> list[str]:
    # Names only: what drivers say may quote what was sent.
    causes: list[str] = []
    cause = error.__cause__ or error.__context__
    while cause is not None:
        causes.append(type(cause).__name__)
        cause = cause.__cause__ or cause.__context__
    return causes


def described(outcome: object) -> tuple[Verdict, dict[str, Any]]:
    """
    Return how the history tells an outcome.

    Raises:
        TypeError: No use case returns this.
    """
    match outcome:
        case LoggedIn(session_id=session_id, session=session):
            return Verdict.OK, {
                "id": named(session_id),
                "user": session.user_id,
                "policy": session.policy,
            }
        case Active(session=session, renewed=renewed, is_copy=is_copy):
            renewal = {} if renewed is None else {"renewed": named(renewed)}
            copied = {"copy": True} if is_copy else {}
            return Verdict.OK, {"user": session.user_id, **renewal, **copied}
        case Rotated(session_id=session_id, session=session):
            return Verdict.OK, {"id": named(session_id), "user": session.user_id}
        case PasswordChanged(kept=kept) | LoggedOutEverywhere(kept=kept):
            return Verdict.OK, {"kept": None if kept is None else named(kept.session_id)}
        case LoggedOut(ended=ended) | Revoked(ended=ended):
            return Verdict.OK, {"ended": ended}
        case Attempt():
            return Verdict.OK, {}
        case DataRead(values=values):
            return Verdict.OK, {"values": dict(values)}
        case DataChanged(values=values):
            return Verdict.OK, {"value": next(iter(values.values()), None)}
        case DataTaken(value=value):
            return Verdict.OK, {"value": value}
        case Purged(sessions=sessions, epochs=epochs):
            return Verdict.OK, {"sessions": sessions, "epochs": epochs}
        case tuple():
            return _listed(cast("tuple[Session, ...]", outcome))
        case _:
            return _refused(outcome)


def _listed(sessions: tuple[Session, ...]) -> tuple[Verdict, dict[str, Any]]:
    places = [_place(session) for session in sessions]
    return Verdict.OK, {"places": places}


def _place(session: Session) -> tuple[str, str, str]:
    return session.handle[:NAME_LENGTH], session.family.hex()[:NAME_LENGTH], session.policy


_REFUSALS: dict[type[object], str] = {
    Refused: "refused",
    Throttled: "throttled",
    Busy: "busy",
    LimitReached: "limit reached",
    SessionGone: "gone",
    NothingToTake: "nothing to take",
}


def _refused(outcome: object) -> tuple[Verdict, dict[str, Any]]:
    if isinstance(outcome, Inactive):
        return Verdict.REFUSED, {"reason": outcome.reason.value}
    reason = _REFUSALS.get(type(outcome))
    if reason is None:
        raise TypeError(f"no outcome of a use case: {type(outcome).__name__}")
    return Verdict.REFUSED, {"reason": reason}
