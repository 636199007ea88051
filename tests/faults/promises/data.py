"""
Session data is what was written, once.

A life has a counter, a register that is only overwritten, a log that is only appended
to, and a slip that is put and taken. All values that are put are different.

1.  No two increments of one counter return the same number; no read returns less than
    the increments that had returned, nor more than those that had been called.
2.  A register that is read holds what somebody put, and not what had certainly been
    overwritten, nor nothing once something was put.
3.  Every entry that was appended, while the log was not full, is in every later reading
    of it, once, and in one order.
4.  A slip is taken at most once, and by nobody if putting it was refused.

What raised ``OutcomeUnknown`` may have happened; what raised ``StoreUnavailable`` or was
refused has not.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from faults.history import History, Operation
from faults.promises.violation import Violation

PROMISE = "data is what was written"

FULL_LOG = 40
"""Entries, after which workers append no more."""


def check(history: History) -> Iterator[Violation]:
    """
    Find values that were lost, counted twice, handed out twice, or never put.
    """
    lives: dict[str, _Data] = defaultdict(_Data)
    for operation in history.operations:
        if operation.presented is not None:
            lives[operation.presented.life].add(operation)
    for data in lives.values():
        yield from data.check_counter()
        yield from data.check_register()
        yield from data.check_log()
        yield from data.check_slips()


class _Data:
    """
    What was done with the data of one life.
    """

    def __init__(self) -> None:
        self.increments: list[Operation] = []
        self.appends: list[Operation] = []
        self.puts: dict[str, list[Operation]] = defaultdict(list)
        self.reads: list[Operation] = []
        self.takes: list[Operation] = []

    def add(self, operation: Operation) -> None:
        match operation.name:
            case "increment":
                self.increments.append(operation)
            case "update_data":
                self.appends.append(operation)
            case "change_data":
                self.puts[str(operation.given["key"])].append(operation)
            case "read_data" if operation.ok:
                self.reads.append(operation)
            case "take_data" if operation.ok:
                self.takes.append(operation)
            case _:
                pass

    def check_counter(self) -> Iterator[Violation]:
        returned: dict[int, Operation] = {}
        for operation in self.increments:
            if operation.ok:
                other = returned.setdefault(operation.got["value"], operation)
                if other is not operation:
                    yield Violation(
                        PROMISE, "two increments returned the same number", (other, operation)
                    )
        counted = [operation for operation in self.increments if operation.ok or operation.is_open]
        for seen, number in self._numbers():
            done = sum(1 for each in counted if each.ok and each.end < seen.call)
            called = sum(1 for each in counted if each.call < seen.end)
            if not done <= number <= called:
                yield Violation(
                    PROMISE,
                    f"the counter is {number}, but {done} to {called} increments took place",
                    (*counted[:8], seen),
                )
                return

    def _numbers(self) -> Iterator[tuple[Operation, int]]:
        for operation in self.reads:
            yield operation, operation.got["values"].get("count", 0)
        for operation in self.increments:
            if operation.ok:
                yield operation, operation.got["value"]

    def check_register(self) -> Iterator[Violation]:
        puts = {operation.given["value"]: operation for operation in self.puts["note"]}
        done = [operation for operation in puts.values() if operation.ok]
        for read in self.reads:
            value = read.got["values"].get("note")
            overwriting = [each for each in done if each.end < read.call]
            if value is None:
                if overwriting:
                    yield Violation(PROMISE, "what was put is not there", (overwriting[-1], read))
                continue
            put = puts.get(value)
            if put is None or not _may_have_happened(put, read):
                yield Violation(
                    PROMISE, "a value was read that nobody put", (*filter(None, (put,)), read)
                )
                continue
            later = max(overwriting, key=lambda each: each.call, default=None)
            # What is of unknown fate may have come after it.
            if later is not None and put.ok and later.call > put.end:
                yield Violation(PROMISE, "an overwritten value was read", (put, later, read))

    def check_log(self) -> Iterator[Violation]:
        appends = {operation.given["value"]: operation for operation in self.appends}
        longest: list[Any] = []
        for seen, log in self._logs():
            if len(set(log)) != len(log):
                yield Violation(PROMISE, "an entry is in the log twice", (seen,))
            for entry in log:
                append = appends.get(entry)
                if append is None or not _may_have_happened(append, seen):
                    yield Violation(PROMISE, "an entry is in the log that nobody appended", (seen,))
            for append in appends.values():
                if (
                    append.ok
                    and append.end < seen.call
                    and append.given["value"] not in log
                    and (append.given["value"] in append.got["value"] or len(log) < FULL_LOG)
                ):
                    yield Violation(PROMISE, "an entry is missing in the log", (append, seen))
            shorter, longer = sorted((longest, log), key=len)
            if longer[: len(shorter)] != shorter:
                yield Violation(PROMISE, "the log was rewritten", (seen,))
            longest = longer

    def _logs(self) -> Sequence[tuple[Operation, list[Any]]]:
        return [
            *((read, read.got["values"].get("log", [])) for read in self.reads),
            *((append, append.got["value"]) for append in self.appends if append.ok),
        ]

    def check_slips(self) -> Iterator[Violation]:
        puts = {operation.given["value"]: operation for operation in self.puts["slip"]}
        taken: dict[Any, Operation] = {}
        for take in self.takes:
            slip = take.got["value"]
            other = taken.setdefault(slip, take)
            if other is not take:
                yield Violation(PROMISE, "a slip was taken twice", (other, take))
            put = puts.get(slip)
            if put is None or not _may_have_happened(put, take):
                yield Violation(
                    PROMISE, "a slip was taken that nobody put", (*filter(None, (put,)), take)
                )
        for read in self.reads:
            slip = read.got["values"].get("slip")
            take_before = taken.get(slip)
            if take_before is not None and take_before.end < read.call:
                yield Violation(PROMISE, "a slip is there after it was taken", (take_before, read))


def _may_have_happened(write: Operation, seen: Operation) -> bool:
    return (write.ok or write.is_open) and write.call < seen.end
