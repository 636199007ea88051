"""
The page for those who embed sessioncore over HTTP: it runs, and leaves nothing out.
"""

from __future__ import annotations

import re
from pathlib import Path

import attrs
import pytest
from test_readme import run_page

from sessioncore_http import Edge, SessionCookie
from sessioncore_http import problems as said

PAGE = Path(__file__).parents[2] / "docs" / "http.md"


def rows_of(page: str) -> set[str]:
    """
    What stands in backticks in the first column of a table.
    """
    firsts = re.findall(r"^\| ([^|]+) \|", page, re.MULTILINE)
    return {name for first in firsts for name in re.findall(r"`([^`]+)`", first)}


def test_the_code_on_the_page_runs() -> None:
    run_page(PAGE.read_text(), str(PAGE))


@pytest.mark.parametrize("configured", [Edge, SessionCookie])
def test_every_setting_is_in_a_table(configured: type[attrs.AttrsInstance]) -> None:
    settings = {field.name for field in attrs.fields(configured) if field.init}
    assert settings <= rows_of(PAGE.read_text())


def test_every_code_is_in_a_table() -> None:
    codes = re.findall(r'code="([a-z-]+)"', Path(said.__file__).read_text())
    assert codes
    assert set(codes) <= rows_of(PAGE.read_text())
