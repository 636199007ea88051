"""
What was measured, in words and as JSON.
"""

from __future__ import annotations

import json
import os
import platform
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from benchmarks.goals import GOALS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from benchmarks.measure import Figure

_LIBRARIES: Final = ("redis", "hiredis", "sqlalchemy", "psycopg", "asyncpg", "pymysql", "asyncmy")


def line(figure: Figure) -> str:
    """
    Say one figure in one line.
    """
    quartiles = "" if figure.low is None else f"  ({number(figure.low)} to {number(figure.high)})"
    compared = "" if figure.ratio is None else f"  x{figure.ratio:.2f} of {figure.against}"
    return f"{figure.name:58} {number(figure.value):>9} {figure.unit}{quartiles}{compared}"


def goals(figures: Iterable[Figure]) -> str:
    """
    Make the table of goals, in Markdown.
    """
    found = {each.name: each for each in figures}
    rows = ["", "| measure | goal | measured | met |", "|---|---|---|---|"]
    for goal in GOALS:
        measured = goal.measured(found)
        bound = f"{'at most' if goal.at_most else 'at least'} {goal.bound:g}"
        if measured is None:
            rows.append(f"| {goal.measure} | {bound} | not measured | |")
        else:
            met = "yes" if goal.is_met(measured) else "**no**"
            rows.append(f"| {goal.measure} | {bound} | {number(measured)} | {met} |")
    return "\n".join(rows)


def as_json(figures: Sequence[Figure], *, quick: bool) -> str:
    """
    Make the raw results, with what they were measured on.
    """
    return json.dumps(
        {
            "quick": quick,
            "python": platform.python_version(),
            "system": f"{platform.system()} {platform.machine()}",
            "cores": os.cpu_count(),
            "libraries": {name: version(name) for name in _LIBRARIES},
            "figures": [each.as_json() for each in figures],
        },
        indent=1,
    )


def number(value: float | None) -> str:
    """
    Write a figure with as many digits as it deserves.
    """
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
