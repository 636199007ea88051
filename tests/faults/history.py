"""
What happened in one run: operations, by call and return, and the faults meanwhile.

Each process appends lines of JSON to a file of its own: a ``call`` before it calls
and a ``back`` after it has returned, so that a process that is killed leaves a call
without a return. Instants are ``time.monotonic_ns()``, one clock for all processes
of a machine. The call is stamped before and the return after, so whatever an
operation did, it did between its two instants, if it returned and its fate is known.

Session ids never appear, only names of three things, each cut from a SHA-256:

-   *id*: one bearer secret. Renewal and rotation give another.
-   *life*: one session from sign-in to end, by its family, which renewal, rotation
    and restart keep.
-   *place*: where the session is kept, by its handle. A restart gives another.
"""

from __future__ import annotations

import enum
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from sessioncore.session import SessionId

NAME_LENGTH = 12

SECOND = 1_000_000_000
MILLISECOND = 1_000_000


class Verdict(enum.Enum):
    """
    How an operation came back.
    """

    OK = "ok"
    REFUSED = "refused"
    """An expected answer, other than what was asked for. It certainly did not happen."""

    UNAVAILABLE = "unavailable"
    """``StoreUnavailable``: it certainly did not happen."""

    UNKNOWN = "unknown"
    """``OutcomeUnknown``, or cancelled: it may have happened, or happen later."""

    CRASHED = "crashed"
    """An exception that no caller is told to expect."""

    PENDING = "pending"
    """It never came back: its process was killed."""


class Named(NamedTuple):
    """
    A session id, by the names of what it stands for.
    """

    id: str
    life: str
    place: str


def named(session_id: SessionId) -> Named:
    """
    Return the names for *session_id*, from which nobody gets back to it.
    """
    return Named(
        sha256(session_id.reveal().encode()).hexdigest()[:NAME_LENGTH],
        session_id.family_digest.hex()[:NAME_LENGTH],
        session_id.locator.handle[:NAME_LENGTH],
    )


@dataclass(frozen=True, slots=True, eq=False)
class Operation:
    """
    One call of a use case by one worker.
    """

    worker: str
    """Such as ``c1.0``. A process that is started again has another name."""

    name: str
    """The use case."""

    call: int
    back: int | None
    verdict: Verdict

    given: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """The arguments."""

    got: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What came back, and what was noted on the way; see :mod:`faults.record`."""

    @property
    def client(self) -> str:
        """
        Which process called.
        """
        return self.worker.partition(".")[0]

    @property
    def end(self) -> float:
        """
        When it was over; never, if it did not come back.
        """
        return math.inf if self.back is None else self.back

    @property
    def ok(self) -> bool:
        """
        Whether it returned what was asked for.
        """
        return self.verdict is Verdict.OK

    @property
    def is_open(self) -> bool:
        """
        Whether it may have happened, or may still happen, unseen.
        """
        return self.verdict in {Verdict.UNKNOWN, Verdict.PENDING, Verdict.CRASHED}

    @property
    def is_copy(self) -> bool:
        """
        Whether it was answered from a copy that a near cache held.
        """
        return bool(self.got.get("copy"))

    @property
    def reason(self) -> str:
        """
        Why it was not ok.
        """
        return str(self.got.get("reason", ""))

    @property
    def presented(self) -> Named | None:
        """
        The id that was presented, if one was.
        """
        return as_named(self.given.get("id"))

    @property
    def issued(self) -> Named | None:
        """
        The id that was issued, if one was: for a new session, or in place of the presented.
        """
        return as_named(self.got.get("id")) or as_named(self.got.get("kept"))

    @property
    def renewed(self) -> Named | None:
        """
        The successor that an authentication answered, if it did.
        """
        return as_named(self.got.get("renewed"))

    @property
    def user(self) -> str | None:
        """
        Whom it concerns, as far as was known.
        """
        return self.given.get("user") or self.got.get("user")

    @property
    def events(self) -> tuple[tuple[Any, ...], ...]:
        """
        What the service told its event sink meanwhile; see :mod:`faults.record`.
        """
        return tuple(tuple(event) for event in self.got.get("events", ()))

    @property
    def lost(self) -> tuple[str, ...]:
        """
        Which writes of the store had an unknown outcome within this operation.
        """
        return tuple(self.got.get("lost", ()))

    def __str__(self) -> str:
        back = "..." if self.back is None else f"{self.back / SECOND:.6f}"
        told = {**self.given, **self.got}
        said = " ".join(f"{key}={json.dumps(value)}" for key, value in told.items())
        return (
            f"{self.call / SECOND:.6f} to {back} {self.worker} {self.name}"
            f" {self.verdict.value} {said}"
        )


def as_named(value: object) -> Named | None:
    """
    Read back a :class:`Named` from JSON.
    """
    if not isinstance(value, list | tuple):
        return None
    id_, life, place = map(str, value)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    return Named(id_, life, place)


@dataclass(frozen=True, slots=True)
class Fault:
    """
    Something that the nemesis did, from one instant to another.
    """

    kind: str
    start: int
    stop: int

    down: bool = False
    """Whether no client could have had any answer of the store between the two."""

    deaf: bool = False
    """Whether no near cache could have heard of the store through its feed."""


@dataclass(frozen=True, slots=True)
class Rules:
    """
    The figures of the run that checkers need: policies, clocks and guess limits.
    """

    idle: int
    """Nanoseconds, as all durations here."""

    absolute: int
    touch: int
    grace: int

    limits: Mapping[str, int]
    """How many sessions a user may have, by the policy's name."""

    skews: Mapping[str, int]
    """How far each client's clock goes ahead of the true one."""

    free_guesses: int
    guess_delays: tuple[int, ...]
    """How long to wait after the last free guess, after the next, and so on."""

    staleness: int = 0
    """How old an answer from a copy may be."""

    def skew(self, operation: Operation) -> int:
        """
        How far ahead the clock was by which *operation* was judged.
        """
        return self.skews.get(operation.client.partition("+")[0], 0)

    def since(self, operation: Operation) -> int:
        """
        From when on that may have been so which *operation* saw.
        """
        return operation.call - (self.staleness if operation.is_copy else 0)

    @property
    def most_ahead(self) -> int:
        """
        The skew of the clock that is most ahead.
        """
        return max(self.skews.values(), default=0)

    @property
    def most_behind(self) -> int:
        """
        The skew of the clock that is most behind.
        """
        return min(self.skews.values(), default=0)

    def to_json(self) -> dict[str, Any]:
        """
        Return the same in JSON.
        """
        return {
            "idle": self.idle,
            "absolute": self.absolute,
            "touch": self.touch,
            "grace": self.grace,
            "limits": dict(self.limits),
            "skews": dict(self.skews),
            "free_guesses": self.free_guesses,
            "guess_delays": list(self.guess_delays),
            "staleness": self.staleness,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Rules:
        """
        Read back what :meth:`to_json` returned.
        """
        figures: dict[str, Any] = dict(value)
        return cls(guess_delays=tuple(figures.pop("guess_delays")), **figures)


@dataclass(frozen=True, slots=True)
class History:
    """
    All that is known of one run.
    """

    rules: Rules
    operations: tuple[Operation, ...]
    """In the order of their calls."""

    faults: tuple[Fault, ...] = ()

    def of(self, *names: str) -> Iterator[Operation]:
        """
        Return the operations of these names, in the order of their calls.
        """
        return (operation for operation in self.operations if operation.name in names)


def until(history: History, instant: int) -> History:
    """
    Return what was known at *instant*: who had not returned by then is still under way.
    """
    return replace(
        history,
        operations=tuple(
            operation
            if operation.end <= instant
            else replace(operation, back=None, verdict=Verdict.PENDING, got={})
            for operation in history.operations
            if operation.call <= instant
        ),
    )


class Journal:
    """
    Appends to one history file. Safe to use from many threads.

    Every line is one ``write`` to a file that is open for appending, so that lines
    neither mix nor come in parts, however the process ends.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def write(self, **line: Any) -> None:
        """
        Append one line.
        """
        os.write(self._file, (json.dumps(line, separators=(",", ":")) + "\n").encode())

    def close(self) -> None:
        """
        Close the file.
        """
        os.close(self._file)


def read(folder: Path) -> History:
    """
    Merge the histories in *folder*.

    Raises:
        ValueError: A line is neither a call, nor a return, nor a fault, or nobody
            wrote the rules of the run.
    """
    rules: Rules | None = None
    faults: list[Fault] = []
    operations: list[Operation] = []
    for path in sorted(folder.glob("*.jsonl")):
        with path.open() as file:
            calls: dict[tuple[str, int], dict[str, Any]] = {}
            for line in _lines(file):
                match line["line"]:
                    case "call":
                        calls[line["worker"], line["number"]] = line
                    case "back":
                        called = calls.pop((line["worker"], line["number"]))
                        operations.append(_operation(called, line))
                    case "fault":
                        faults.append(
                            Fault(
                                line["kind"],
                                line["start"],
                                line["stop"],
                                down=line["down"],
                                deaf=line.get("deaf", False),
                            )
                        )
                    case "rules":
                        rules = Rules.from_json(line["rules"])
                    case other:
                        raise ValueError(f"no line of a history: {other}")
            operations += (_operation(called, None) for called in calls.values())
    if rules is None:
        raise ValueError(f"no rules of a run in {folder}")
    operations.sort(key=lambda operation: operation.call)
    return History(rules, tuple(operations), tuple(sorted(faults, key=lambda fault: fault.start)))


def _lines(file: TextIO) -> Iterable[dict[str, Any]]:
    for line in file:
        if line.endswith("\n"):  # else the process was killed while it wrote
            yield json.loads(line)


def _operation(call: dict[str, Any], back: dict[str, Any] | None) -> Operation:
    return Operation(
        worker=call["worker"],
        name=call["name"],
        call=call["at"],
        back=back["at"] if back else None,
        verdict=Verdict(back["verdict"]) if back else Verdict.PENDING,
        given=call["given"],
        got=back["got"] if back else {},
    )
