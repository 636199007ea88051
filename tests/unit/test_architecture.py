"""
What the domain may import and call, read from its syntax (ADR-0003, ADR-0005).

The layers and the adapters' independence are import-linter's, in pyproject.toml.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

DOMAIN = Path(__file__).parents[2] / "src" / "sessioncore"
SOURCES = [
    path
    for path in sorted(DOMAIN.rglob("*.py"))
    if path.relative_to(DOMAIN).parts[0] != "testing"  # needs pytest, by an extra
]
ALLOWED = sys.stdlib_module_names | {"sessioncore"}


def imported_by(source: str) -> Iterator[str]:
    """
    Return the top-level names that *source* imports, wherever in it, for types too.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "sessioncore" if node.level else (node.module or "").partition(".")[0]


def clocks_read_by(source: str) -> Iterator[str]:
    """
    Return the calls that ask Python's own classes for the time.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and node.attr in {"now", "utcnow", "today"}:
            owner = ast.unparse(node.value).rpartition(".")[2]
            if owner in {"datetime", "date"}:
                yield ast.unparse(node)


def test_the_domain_has_modules() -> None:
    assert {"decisions.py", "service.py", "system.py"} <= {path.name for path in SOURCES}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_the_domain_imports_the_standard_library_and_itself(path: Path) -> None:
    assert set(imported_by(path.read_text())) <= ALLOWED


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_only_the_system_module_reads_a_clock(path: Path) -> None:
    assert path.name == "system.py" or not list(clocks_read_by(path.read_text()))


@pytest.mark.parametrize(
    "source",
    [
        "import attrs",
        "import os, attrs.validators",
        "from attrs.validators import ge",
        "def late():\n    from attrs import frozen",
        "if TYPE_CHECKING:\n    import attrs",
        "try:\n    import attrs\nexcept ImportError:\n    attrs = None",
    ],
)
def test_an_import_is_found_wherever_it_hides(source: str) -> None:
    assert not set(imported_by(source)) <= ALLOWED


@pytest.mark.parametrize(
    "source",
    ["datetime.now(UTC)", "datetime.datetime.utcnow()", "date.today()", "f = datetime.now"],
)
def test_a_clock_is_found_however_it_is_read(source: str) -> None:
    assert list(clocks_read_by(source))


def test_an_injected_clock_is_no_offence() -> None:
    assert not list(clocks_read_by("self._clock.now()"))
