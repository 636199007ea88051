"""
The page about the near cache: it runs, and leaves nothing out.
"""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import attrs
from databases import Database
from test_readme import run_page

from servers import RedisServer
from sessioncore_near_cache import AsyncNearCache, NearCache, Statistics

PAGE = Path(__file__).parents[2] / "docs" / "near-cache.md"


def rows_of(page: str) -> set[str]:
    """
    What stands in backticks in the first column of a table.
    """
    firsts = re.findall(r"^\| ([^|]+) \|", page, re.MULTILINE)
    return {name for first in firsts for name in re.findall(r"`([^`]+)`", first)}


def test_the_code_on_the_page_runs(on_postgresql: Database) -> None:
    page = PAGE.read_text()
    for shown in ('"localhost"', '"postgresql+psycopg://localhost/app"'):
        assert shown in page
    with RedisServer() as server:
        here = page.replace('host="localhost"', f'host="127.0.0.1", port={server.port}').replace(
            "postgresql+psycopg://localhost/app", on_postgresql.url
        )
        run_page(here, str(PAGE))


def test_every_setting_and_every_statistic_is_in_a_table() -> None:
    settings = {field.name for field in attrs.fields(NearCache) if field.init and field.kw_only}
    assert settings == {
        field.name for field in attrs.fields(AsyncNearCache) if field.init and field.kw_only
    }
    assert settings | {field.name for field in fields(Statistics)} <= rows_of(PAGE.read_text())
