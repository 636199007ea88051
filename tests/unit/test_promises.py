"""
Every promise names what proves it, and that exists.
"""

from __future__ import annotations

import re
from pathlib import Path

from test_adrs import exists

ROOT = Path(__file__).parents[2]
PROMISES = ROOT / "docs" / "promises.md"
REFERENCE = re.compile(r"`([\w/]+\.py::[\w:]+)`")


def sections() -> dict[str, str]:
    promised, _, _ = PROMISES.read_text().partition("\n# What cannot be promised")
    _, *parts = re.split(r"^## ", promised, flags=re.MULTILINE)
    return dict(part.split("\n", maxsplit=1) for part in parts)


def test_the_promises_are_numbered() -> None:
    numbers = [int(title.split(".")[0]) for title in sections()]
    assert numbers == list(range(1, len(numbers) + 1))
    assert numbers


def test_every_promise_names_what_proves_it() -> None:
    assert [title for title, text in sections().items() if not REFERENCE.search(text)] == []


def test_what_proves_a_promise_exists() -> None:
    named = REFERENCE.findall(PROMISES.read_text())
    assert [reference for reference in named if not exists(reference, ROOT)] == []


def test_no_promise_is_without_its_limits() -> None:
    _, _, limits = PROMISES.read_text().partition("\n# What cannot be promised\n")
    rows = [line for line in limits.splitlines() if line.startswith("| ")][1:]
    assert rows
    for row in rows:
        assert len([cell for cell in row.strip("|").split("|") if cell.strip()]) == 3, row
