"""
Calls that really happen at once.
"""

from __future__ import annotations

import concurrent.futures
import sys
import threading
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from typing import Final, TypeVar, cast

T = TypeVar("T")
First = TypeVar("First")
Second = TypeVar("Second")

PATIENCE_SECONDS: Final = 60.0
"""After which a call that has not returned is taken for stuck."""


def race(calls: Iterable[Callable[[], T]]) -> list[T]:
    """
    Make all calls at once, each from a thread of its own, and return their answers in order.

    If calls raise, the first such exception is raised when all have come back.
    """
    racing = list(calls)
    start = threading.Barrier(len(racing))
    answers: list[concurrent.futures.Future[T]] = [concurrent.futures.Future() for _ in racing]

    def run(call: Callable[[], T], answer: concurrent.futures.Future[T]) -> None:
        try:
            start.wait(PATIENCE_SECONDS)
            answer.set_result(call())
        except BaseException as error:  # noqa: BLE001 - raised again where the answer is read
            answer.set_exception(error)

    with _frequent_switches():
        for call, answer in zip(racing, answers, strict=True):
            # A daemon, so that a stuck call fails one test and not the end of the run.
            threading.Thread(target=run, args=(call, answer), daemon=True).start()
        stuck = concurrent.futures.wait(answers, PATIENCE_SECONDS).not_done
    assert not stuck, f"{len(stuck)} of {len(racing)} calls made at once never returned"
    return [answer.result() for answer in answers]


def race_of_two(first: Callable[[], First], second: Callable[[], Second]) -> tuple[First, Second]:
    """
    Make two calls at once, and return both answers.
    """
    calls: list[Callable[[], First | Second]] = [first, second]
    one, other = race(calls)
    return cast("First", one), cast("Second", other)


@contextmanager
def _frequent_switches() -> Generator[None]:
    # At the default of 5 ms one call is often over before another begins.
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        yield
    finally:
        sys.setswitchinterval(usual)
