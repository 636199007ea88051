"""
Bring the documents up to a run's results: tables, plots, and the calculator's figures.

    python -m benchmarks.document benchmarks/results.json
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks import capacity, plots, report
from benchmarks.measure import Figure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

_DOCS: Final = Path(__file__).parents[1] / "docs"
DOCUMENT: Final = _DOCS / "benchmarks.md"
_PLOTS: Final = _DOCS / "benchmarks"
_BLOCK: Final = re.compile(r"(<!-- ([a-z ]+) -->\n).*?(<!-- end -->)", re.DOTALL)

_STORES: Final = {
    "redis": "Redis",
    "redis-unix": "Redis, unix socket",
    "postgresql": "PostgreSQL",
    "mariadb": "MariaDB",
    "sqlite": "SQLite",
    "memory": "memory",
}
_OPERATIONS: Final = {
    "authenticate": "authenticate",
    "touch": "authenticate, and record being seen",
    "renewal-drawn": "authenticate, and draw a new id",
    "renewal-confirmed": "authenticate by it for the first time",
    "login-without-hashing": "sign-in",
    "logout": "sign-out",
    "logout-everywhere-1": "sign out everywhere, 1 session",
    "logout-everywhere-10": "10 sessions",
    "logout-everywhere-1000": "1,000 sessions",
    "sessions-of-1": "list 1 session",
    "sessions-of-10": "list 10",
    "sessions-of-100": "list 100",
    "read-data": "read data",
    "change-data": "change data",
}
_GROWN: Final = ("authenticate", "touch", "login", "logout", "everywhere", "listing")
_FRAMEWORKS: Final = {
    "flask": "Flask on Redis",
    "wsgi": "WSGI on Redis",
    "django-redis": "Django on Redis",
    "django-postgresql": "Django on PostgreSQL",
    "starlette": "Starlette on Redis",
    "litestar": "Litestar on Redis",
}
_SIZES: Final = {
    "1-per-user": "one session per user",
    "3-per-user": "three",
    "1-per-user-without-device": "one, no device",
    "3-per-user-without-device": "three, no device",
}

Figures = dict[str, Figure]


def main() -> int:
    """
    Rewrite everything that shows what was measured.
    """
    (results,) = map(Path, sys.argv[1:])
    DOCUMENT.write_text(with_tables(DOCUMENT.read_text("utf-8"), results))
    plots.main([str(results), str(_PLOTS)])
    return capacity.main()


def with_tables(text: str, results: Path) -> str:
    """
    Return the text of the document with the tables of these results.
    """
    read: dict[str, Any] = json.loads(results.read_text("utf-8"))
    figures = {each["name"]: Figure(**each) for each in read["figures"]}
    tables: Mapping[str, Callable[[], str]] = {
        "machine": lambda: _machine(read),
        "goals": lambda: report.goals(figures.values()).strip() + "\n",
        "authenticate": lambda: _authenticate(figures),
        "operations": lambda: _operations(figures),
        "peers": lambda: _peers(figures),
        "size": lambda: _size(figures),
        "growth": lambda: _growth(figures),
        "near cache": lambda: _near_cache(figures),
    }
    return _BLOCK.sub(lambda block: f"{block[1]}{tables[block[2]]()}{block[3]}", text)


def _machine(read: Mapping[str, Any]) -> str:
    libraries = ", ".join(f"{name} {version}" for name, version in read["libraries"].items())
    where = f"Python {read['python']}, {read['system']}, {read['cores']} cores"
    return f"Measured with {where}; {libraries}.\n"


def _authenticate(figures: Figures) -> str:
    columns = {"threads-1": "1 thread", "threads-4": "4", "tasks-1": "1 task"}
    columns |= {"tasks-16": "16", "tasks-64": "64"}
    rows: list[list[str]] = []
    for store, name in _STORES.items():
        for kind, suffix in ((name, ""), (f"{name}, `keep_connections`", "/own-connection")):
            cells = [
                _with_ratio(figures.get(f"authenticate/{store}/{column}{suffix}"), store)
                for column in columns
            ]
            if any(cells):
                rows.append([kind, *cells])
    return _table(["store", *columns.values()], rows)


def _with_ratio(found: Figure | None, store: str) -> str:
    if found is None:
        return ""
    # In memory there is no client to compare with.
    bare = found.ratio is not None and store != "memory"
    return f"{found.value:.3g} ({found.ratio:.2f})" if bare else f"{found.value:.3g}"


def _operations(figures: Figures) -> str:
    stores = [store for store in _STORES if f"operations/{store}/touch" in figures]
    rows = [
        [name, *[_value(figures.get(f"operations/{store}/{operation}")) for store in stores]]
        for operation, name in _OPERATIONS.items()
    ]
    purges = [_value(figures.get(f"operations/{store}/purge-per-1000")) for store in stores]
    rows.append(["purge 1,000 sessions, milliseconds", *purges])
    return _table(["", *[_STORES[store] for store in stores]], rows)


def _peers(figures: Figures) -> str:
    rows: list[list[str]] = []
    for group, title in _FRAMEWORKS.items():
        for entrant in _entrants(group, figures):
            start = f"peers/{group}/{entrant}"
            cells = [start, f"{start}/above-bare", f"{start}/commands", f"{start}/writes"]
            rows.append([title, entrant, *[_value(figures.get(each)) for each in cells]])
    heads = ["", "", "microseconds", "above bare", "commands", "writes"]
    return _table(heads, rows)


def _entrants(group: str, figures: Figures) -> list[str]:
    start = f"peers/{group}/"
    names = [name.removeprefix(start) for name in figures if name.startswith(start)]
    return [name for name in names if "/" not in name]


def _size(figures: Figures) -> str:
    rows: list[list[str]] = []
    for store, name in _STORES.items():
        for kind, title in _SIZES.items():
            sizes = [figures.get(f"size/{store}/{kind}/{size}") for size in _sizes_of(figures)]
            if any(sizes):
                rows.append([name, title, *map(_value, sizes)])
    return _table(["store", "", *[f"{size:,}" for size in _sizes_of(figures)]], rows)


def _sizes_of(figures: Figures) -> list[int]:
    return sorted({int(name.split("/")[-1]) for name in figures if name.startswith("size/")})


def _growth(figures: Figures) -> str:
    rows: list[list[str]] = []
    for store, name in _STORES.items():
        found = [figures.get(f"growth/{store}/{operation}/1000000") for operation in _GROWN]
        if any(found):
            rows.append([name, *[_share(each) for each in found]])
    return _table(["", *_GROWN], rows)


def _share(found: Figure | None) -> str:
    return "" if found is None or not found.ratio else f"{1 / found.ratio:.2f}"


def _near_cache(figures: Figures) -> str:
    rows: list[list[str]] = []
    for name, found in figures.items():
        if name.startswith("near_cache/"):
            times = "" if found.ratio is None else f"{found.ratio:.2f}"
            what = name.removeprefix("near_cache/").replace("/", ", ")
            rows.append([what, f"{_value(found)} {found.unit}", times])
    return _table(["", "", "times as fast as a bare GET"], rows)


def _value(found: Figure | None) -> str:
    return "" if found is None else report.number(found.value)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---", *["--:"] * (len(heads) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
