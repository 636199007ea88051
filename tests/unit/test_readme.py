"""
The README's code runs, from its first line to its last.

Every fenced block of Python is run, in order and in one namespace. Blocks inside
an HTML comment, which a reader of the page does not see, run as well: that is
where the preparation goes.
"""

import re
import subprocess
import sys
from pathlib import Path
from types import CodeType
from typing import NamedTuple

import pytest

README = Path(__file__).parents[2] / "README.md"

FENCE = re.compile(r"^```python[ \t]*\n(.*?)^```[ \t]*$", re.MULTILINE | re.DOTALL)
COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)


class Block(NamedTuple):
    line: int
    code: str
    hidden: bool

    def compiled(self, filename: str) -> CodeType:
        # Padded, so that a traceback shows the line of the page.
        return compile("\n" * (self.line - 1) + self.code, filename, "exec")


def blocks_of(page: str) -> list[Block]:
    comments = [comment.span() for comment in COMMENT.finditer(page)]
    return [
        Block(
            line=page.count("\n", 0, found.start(1)) + 1,
            code=found[1],
            hidden=any(start < found.start() < end for start, end in comments),
        )
        for found in FENCE.finditer(page)
    ]


def run_page(page: str, filename: str) -> dict[str, object]:
    blocks = blocks_of(page)
    assert any(not block.hidden for block in blocks), f"{filename} shows no Python"
    namespace: dict[str, object] = {"__name__": "readme"}
    for block in blocks:
        exec(block.compiled(filename), namespace)
    return namespace


def test_the_code_in_the_readme_runs() -> None:
    run_page(README.read_text(), str(README))


def test_the_code_in_the_readme_passes_a_strict_type_checker(tmp_path: Path) -> None:
    code = "".join(block.code for block in blocks_of(README.read_text()))
    page = tmp_path / "first_lines.py"
    page.write_text(code)
    # Where pyproject.toml is, which says --strict and where the packages are.
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--cache-dir", str(tmp_path / "cache"), str(page)],
        cwd=README.parent,
        check=False,
        capture_output=True,
        text=True,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_blocks_run_in_order_in_one_namespace_hidden_ones_too() -> None:
    page = "# T\n<!--\n```python\na = 1\n```\n-->\n```python\nb = a + 1\n```\n```text\n!\n```\n"
    assert [(block.line, block.hidden) for block in blocks_of(page)] == [(4, True), (8, False)]
    assert run_page(page, "page.md")["b"] == 2


@pytest.mark.parametrize("page", ["", "# T\n", "<!--\n```python\na = 1\n```\n-->\n"])
def test_a_page_that_shows_no_code_is_a_failure(page: str) -> None:
    with pytest.raises(AssertionError, match="shows no Python"):
        run_page(page, "page.md")


def test_a_failure_names_the_line_of_the_page() -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        run_page("# T\n\n```python\n1 / 0\n```\n", "page.md")
    last = caught.traceback[-1]
    assert (str(last.path).endswith("page.md"), last.lineno + 1) == (True, 4)
