"""
Gates: how a request is stopped at a chosen point, so that another one overtakes it.

No race here is left to chance and none waits for a clock: a request runs in a
thread of its own up to its gate and stands there until the race opens it.
"""

from __future__ import annotations

import enum
import itertools
import threading
from concurrent.futures import Future
from contextvars import ContextVar
from typing import TYPE_CHECKING, ClassVar, Final, Generic, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

PATIENCE_SECONDS: Final = 30.0
"""After which a request that does not move is taken for stuck."""


class Where(enum.Enum):
    """
    The point at which a request is stopped.
    """

    VIEW = "view"
    """In the app's code: the session was read, and nothing was changed yet."""

    WRITE = "write"
    """After the app's code, immediately before the first write to the store."""


class Gate:
    """
    Holds one request, once.
    """

    _numbers: ClassVar = itertools.count(1)
    _by_number: ClassVar[dict[int, Gate]] = {}

    def __init__(self, where: Where) -> None:
        self.where: Final = where
        self.number: Final = next(self._numbers)
        """By which a request names its gate in a query string."""
        self._by_number[self.number] = self
        self._settled = threading.Event()
        self._opened = threading.Event()
        self.was_reached = False

    @classmethod
    def find(cls, number: int) -> Gate | None:
        """
        Return the gate with that number; ``None`` for 0.
        """
        return cls._by_number[number] if number else None

    def hold(self) -> None:
        """
        Stand here until the gate is opened. Without effect the second time.
        """
        if self.was_reached:
            return
        self.was_reached = True
        self._settled.set()
        if not self._opened.wait(PATIENCE_SECONDS):
            raise RuntimeError("nobody opened the gate")

    def open(self) -> None:
        """
        Let the request go on.
        """
        self._opened.set()

    def settle(self) -> None:
        """
        Say that the request is over, whether it came by or not.
        """
        self._settled.set()
        self._by_number.pop(self.number, None)

    def wait_until_settled(self) -> None:
        """
        Wait until the request stands at the gate, or is over.
        """
        if not self._settled.wait(PATIENCE_SECONDS):
            raise RuntimeError("the request neither reached its gate nor ended")


class Held(Generic[T]):
    """
    A request that has got as far as its gate, and stands there.

    Args:
        where: Where it is to be stopped.

        call: Makes the request; gets the gate.

    Raises:
        RuntimeError: It ended without coming by the gate, so that the race
            would not be what it is said to be.
    """

    def __init__(self, where: Where, call: Callable[[Gate], T]) -> None:
        self._gate = Gate(where)
        self._answer: Future[T] = Future()
        threading.Thread(target=self._run, args=(call,), daemon=True).start()
        self._gate.wait_until_settled()
        if not self._gate.was_reached:
            self._answer.result()
            raise RuntimeError("the request ended without reaching its gate")

    def _run(self, call: Callable[[Gate], T]) -> None:
        try:
            self._answer.set_result(call(self._gate))
        except BaseException as error:  # noqa: BLE001 - raised again where the answer is read
            self._answer.set_exception(error)
        finally:
            self._gate.settle()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        # However the race ends, nothing is left standing.
        self._gate.open()

    def finish(self) -> T:
        """
        Open the gate, and return the request's answer.
        """
        self._gate.open()
        return self._answer.result(PATIENCE_SECONDS)


_before_write: ContextVar[Gate | None] = ContextVar("_before_write", default=None)


def arm(gate: Gate | None) -> None:
    """
    From now on in this request, hold *gate* before the next write; with ``None``, none.
    """
    _before_write.set(gate)


def armed() -> Gate | None:
    """
    Return the gate that the next write has to pass, and disarm it.
    """
    gate = _before_write.get()
    if gate is not None:
        _before_write.set(None)
    return gate
