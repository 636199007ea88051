"""
What the documents show is what the benchmark measured.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from benchmarks.document import DOCUMENT, with_tables
from benchmarks.goals import GOALS

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results.json"


def test_the_tables_are_those_of_the_results() -> None:
    text = DOCUMENT.read_text("utf-8")
    assert with_tables(text, RESULTS) == text


def test_the_results_are_of_a_whole_and_thorough_run() -> None:
    results = json.loads(RESULTS.read_text("utf-8"))
    names = {each["name"] for each in results["figures"]}
    assert not results["quick"]
    assert [goal.figure for goal in GOALS if goal.figure not in names] == []


def test_every_picture_is_there_and_shown() -> None:
    shown = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", DOCUMENT.read_text("utf-8"))
    pictures = sorted((DOCUMENT.parent / "benchmarks").glob("*.svg"))
    assert sorted(DOCUMENT.parent / each for each in shown) == pictures
    assert all(each.with_suffix(".png").exists() for each in pictures)
