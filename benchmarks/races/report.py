"""
The comparison in words: tables, what the races ask, and what was compared.
"""

from __future__ import annotations

import importlib.metadata
import platform
import sqlite3
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.races.entrants import PACKAGES
from benchmarks.races.races import RACES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from benchmarks.races.races import Result

PYPROJECT: Final = Path(__file__).parents[2] / "pyproject.toml"


def header() -> list[str]:
    """
    Return the first two lines of a table in Markdown.
    """
    return [_row("", [race.key for race in RACES]), "|---" * (1 + len(RACES)) + "|"]


def row(name: str, results: Mapping[str, Result]) -> str:
    """
    Return a row: the results of one entrant, by the keys of the races.
    """
    return _row(name, [str(results[race.key]) for race in RACES])


def _row(name: str, cells: list[str]) -> str:
    return "| " + " | ".join([name, *cells]) + " |"


def legend() -> Iterator[str]:
    """
    Say what each race asks.
    """
    for race in RACES:
        yield f"{race.key:>3}  {race.title}: {race.question}"


def versions(server: str) -> str:
    """
    Say what was compared, and on what.

    Args:
        server: The version of the redis-server.
    """
    project = tomllib.loads(PYPROJECT.read_text())["project"]
    parts = [f"sessioncore {project['version']}"]
    parts += [f"{package} {importlib.metadata.version(package)}" for package in PACKAGES]
    parts += [
        f"redis-py {importlib.metadata.version('redis')}",
        f"Redis {server}",
        f"SQLite {sqlite3.sqlite_version}",
        f"Python {platform.python_version()}",
    ]
    return ", ".join(parts)
