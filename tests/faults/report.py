"""
What a campaign prints.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from faults.campaign import Result
from faults.history import Verdict

_SHOWN = 5
"""How many violations are printed in full."""


def table(results: Sequence[Result]) -> str:
    """
    Return one line for each store: operations by verdict, faults, violations.
    """
    verdicts = [verdict.value for verdict in Verdict]
    head = ["store", "operations", *verdicts, "faults", "violations"]
    rows = [
        [
            result.arena,
            f"{len(result.history.operations):,}",
            *(f"{result.operations[verdict]:,}" for verdict in verdicts),
            f"{len(result.history.faults):,}",
            f"{len(result.violations):,}",
        ]
        for result in results
    ]
    return "\n".join(_aligned([head, *rows]))


def faults(results: Sequence[Result]) -> str:
    """
    Return one line for each kind of fault: how many there were on each store.
    """
    kinds = sorted({kind for result in results for kind in result.faults})
    head = ["fault", *(result.arena for result in results)]
    rows = [[kind, *(f"{result.faults[kind]:,}" for result in results)] for kind in kinds]
    return "\n".join(_aligned([head, *rows]))


def uses(results: Sequence[Result]) -> str:
    """
    Return one line for each use case: how many came back ok, of how many, on each store.
    """
    names = sorted({name for result in results for name, _verdict in result.by_name})
    head = ["use case", *(result.arena for result in results)]
    rows = [
        [
            name,
            *(
                f"{result.by_name[name, Verdict.OK.value]:,} of "
                f"{sum(n for (each, _), n in result.by_name.items() if each == name):,}"
                for result in results
            ),
        ]
        for name in names
    ]
    return "\n".join(_aligned([head, *rows]))


def violations(result: Result) -> str:
    """
    Return what was found in one run, at length.
    """
    shown = [str(violation) for violation in result.violations[:_SHOWN]]
    more = len(result.violations) - len(shown)
    return "\n".join([*shown, *([f"and {more} more"] if more else [])])


def _aligned(rows: list[list[str]]) -> Iterator[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for number, row in enumerate(rows):
        first, *others = (
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield "  ".join([first, *others]).rstrip()
        if number == 0:
            yield "  ".join("-" * width for width in widths)
