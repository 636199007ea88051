"""
What was measured, by the names that the figures have in the benchmarks.

A test compares this table with ``benchmarks/results.json``. Who has run the
benchmarks on other machines, calculates with what they found there:
:func:`read_figures`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final


class MissingFigure(LookupError):
    """
    What an estimate is computed from was not measured.
    """

    def __str__(self) -> str:
        return f"there is no figure called {self.args[0]}"


MEASURED: Final[Mapping[str, float]] = {
    "size/redis/1-per-user/100000": 389,
    "size/redis/3-per-user/100000": 309,
    "size/redis/1-per-user-without-device/100000": 261,
    "size/redis/3-per-user-without-device/100000": 160,
    "size/postgresql/1-per-user/100000": 612,
    "size/postgresql/3-per-user/100000": 448,
    "size/postgresql/1-per-user-without-device/100000": 490,
    "size/postgresql/3-per-user-without-device/100000": 326,
    "size/mariadb/1-per-user/100000": 1047,
    "size/mariadb/3-per-user/100000": 1005,
    "size/mariadb/1-per-user-without-device/100000": 879,
    "size/mariadb/3-per-user-without-device/100000": 753,
    "size/sqlite/1-per-user/100000": 490,
    "size/sqlite/3-per-user/100000": 369,
    "size/sqlite/1-per-user-without-device/100000": 375,
    "size/sqlite/3-per-user-without-device/100000": 254,
    "size/memory/1-per-user/100000": 1808,
    "size/memory/3-per-user/100000": 1368,
    "size/memory/1-per-user-without-device/100000": 1585,
    "size/memory/3-per-user-without-device/100000": 1136,
    "load/redis/authenticate/server": 13.1,
    "load/redis/authenticate/in": 163,
    "load/redis/authenticate/out": 253,
    "load/redis/authenticate/log": 0,
    "load/redis/touch/server": 44,
    "load/redis/touch/in": 568,
    "load/redis/touch/out": 257,
    "load/redis/touch/log": 482,
    "load/redis/login/server": 78,
    "load/redis/login/in": 688,
    "load/redis/login/out": 292,
    "load/redis/login/log": 571,
    "load/redis/logout/server": 39,
    "load/redis/logout/in": 336,
    "load/redis/logout/out": 257,
    "load/redis/logout/log": 214,
    "load/postgresql/authenticate/server": 37,
    "load/postgresql/authenticate/in": 77,
    "load/postgresql/authenticate/out": 973,
    "load/postgresql/authenticate/log": 0,
    "load/postgresql/touch/server": 138,
    "load/postgresql/touch/in": 565,
    "load/postgresql/touch/out": 1058,
    "load/postgresql/touch/log": 419,
    "load/postgresql/login/server": 318,
    "load/postgresql/login/in": 1118,
    "load/postgresql/login/out": 1580,
    "load/postgresql/login/log": 939,
    "load/postgresql/logout/server": 122,
    "load/postgresql/logout/in": 319,
    "load/postgresql/logout/out": 1088,
    "load/postgresql/logout/log": 159,
    "growth/sqlite/logout/1000000": 402,
    "growth/sqlite/login/1000000": 1079,
    "growth/sqlite/touch/1000000": 771,
}
"""Bytes for ``size/``; for ``load/`` microseconds of the ``server``, else bytes; for
``growth/`` microseconds."""


def measured(figures: Mapping[str, float], name: str) -> float:
    """
    Return one figure.

    Raises:
        MissingFigure: It is not there.
    """
    try:
        return figures[name]
    except KeyError:
        raise MissingFigure(name) from None


def read_figures(path: Path) -> dict[str, float]:
    """
    Read what ``python -m benchmarks --json`` has written; what is not in it is as measured here.

    Raises:
        OSError: The file cannot be read.

        ValueError: It holds something else.
    """
    try:
        results: Any = json.loads(path.read_text("utf-8"))
        found = {str(each["name"]): float(each["value"]) for each in results["figures"]}
    except (LookupError, TypeError) as error:
        raise ValueError("these are not results of the benchmarks") from error
    return {**MEASURED, **found}
