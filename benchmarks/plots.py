"""
Pictures of what was measured, from the results of a run.

    python -m benchmarks.plots benchmarks/results.json docs/benchmarks/

As PNG and SVG, and the same bytes whenever the same results are drawn with the
same matplotlib.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Mapping, Sequence

# Its types are so exact that a style of one's own does not fit them.
mpl: Any = import_module("matplotlib")
mpl.use("agg")
plt: Any = import_module("matplotlib.pyplot")
ticker: Any = import_module("matplotlib.ticker")

Figures = dict[str, float]

_STYLE: Final[dict[str, Any]] = {
    "svg.hashsalt": "sessioncore",
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "axes.edgecolor": "#888888",
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "figure.dpi": 100,
    "savefig.dpi": 150,
}

# Okabe and Ito's, which people with any kind of colour vision tell apart.
_COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X")
_OURS: Final = _COLOURS[0]
_THEIRS: Final = "#b5b5b5"

_STORES: Final = {
    "redis": "Redis",
    "postgresql": "PostgreSQL",
    "mariadb": "MariaDB",
    "sqlite": "SQLite",
    "memory": "memory",
}
_OPERATIONS: Final = {
    "authenticate": "recognise",
    "touch": "touch",
    "login": "sign in",
    "logout": "sign out",
    "everywhere": "sign out everywhere",
    "listing": "list sessions",
}
_FRAMEWORKS: Final = {
    "flask": "Flask, on Redis",
    "wsgi": "WSGI, on Redis",
    "django-redis": "Django, on Redis",
    "django-postgresql": "Django, on PostgreSQL",
    "starlette": "Starlette, on Redis",
    "litestar": "Litestar, on Redis",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Draw what the results have figures for, and say which files were written.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.plots")
    parser.add_argument("results", type=Path, help="what python -m benchmarks --json has written")
    parser.add_argument("folder", type=Path, help="where the pictures go")
    options = parser.parse_args(arguments)
    results = json.loads(options.results.read_text("utf-8"))
    figures: Figures = {each["name"]: each["value"] for each in results["figures"]}
    options.folder.mkdir(parents=True, exist_ok=True)
    for draw in (growth, size, peers):
        for file in draw(figures, options.folder):
            print(file)
    return 0


def growth(figures: Figures, folder: Path) -> Iterable[Path]:
    """
    Draw how long each operation takes beside ever more sessions, one panel for each store.
    """
    stores = {name: lines for name in _STORES if (lines := _lines_of(f"growth/{name}", figures))}
    if not stores:
        return
    with _drawn(
        "growth", folder, _panels(len(stores)), height=3.4 * math.ceil(len(stores) / 2)
    ) as (files, axes):
        for axis, (name, lines) in zip(axes, stores.items(), strict=False):
            for style, (operation, points) in enumerate(lines.items()):
                axis.plot(
                    list(points),
                    list(points.values()),
                    color=_COLOURS[style],
                    marker=_MARKERS[style],
                    markersize=4,
                    linewidth=1.4,
                    label=_OPERATIONS[operation],
                )
            axis.set(title=_STORES[name], xscale="log", yscale="log")
            axis.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
            axis.yaxis.set_major_formatter(_plain)
            axis.yaxis.set_minor_formatter("")
            axis.margins(y=0.15)
            axis.set_xlabel("sessions in the store")
            axis.set_ylabel("microseconds")
        handles, labels = axes[0].get_legend_handles_labels()
        axes[0].figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    yield from files


def size(figures: Figures, folder: Path) -> Iterable[Path]:
    """
    Draw what a session takes in each store, with everything that belongs to it.
    """
    kinds = {
        "1-per-user": "one session per user",
        "3-per-user": "three",
        "1-per-user-without-device": "one, no device details",
        "3-per-user-without-device": "three, no device details",
    }
    found = {
        name: {label: _points_of(f"size/{name}/{kind}", figures) for kind, label in kinds.items()}
        for name in _STORES
    }
    # As many sessions in each, for they share what does not grow with their number.
    all_points = [points for each in found.values() for points in each.values()]
    common = [number for number in all_points[0] if all(number in points for points in all_points)]
    if not common:
        return
    sessions = max(common)
    bars = {
        _STORES[name]: {label: points[sessions] for label, points in each.items()}
        for name, each in found.items()
    }
    height = 0.9 + 0.26 * sum(len(each) + 1 for each in bars.values())
    with _drawn("size", folder, (1, 1), height=height) as (files, axes):
        (axis,) = axes
        _grouped(axis, bars, {label: _COLOURS[n] for n, label in enumerate(kinds.values())})
        axis.set(title="What a session takes, indexes and users' keys included")
        axis.set_xlabel(f"bytes, with {sessions:,} sessions in the store")
        axis.figure.legend(loc="outside lower center", ncols=2, frameon=False)
    yield from files


def peers(figures: Figures, folder: Path) -> Iterable[Path]:
    """
    Draw what each library adds to the time of a request, above the bare application.
    """
    bars: dict[str, dict[str, float]] = {}
    for name, value in figures.items():
        match name.split("/"):
            case ["peers", framework, entrant, "above-bare"]:
                bars.setdefault(_FRAMEWORKS.get(framework, framework), {})[entrant] = value
            case _:
                pass
    if not bars:
        return
    bars = {
        framework: dict(sorted(each.items(), key=lambda item: item[1]))
        for framework, each in bars.items()
    }
    height = 0.9 + 0.28 * sum(len(each) + 1 for each in bars.values())
    with _drawn("peers", folder, (1, 1), height=height) as (files, axes):
        (axis,) = axes
        entrants = {entrant for each in bars.values() for entrant in each}
        colours = {name: _OURS if name.startswith("sessioncore") else _THEIRS for name in entrants}
        _grouped(axis, bars, colours, named=True)
        axis.set(title="What recognising a user adds to a request")
        axis.set_xlabel("microseconds above the bare application")
    yield from files


def _grouped(
    axis: Any,
    bars: Mapping[str, Mapping[str, float]],
    colours: Mapping[str, str],
    *,
    named: bool = False,
) -> None:
    # Groups of bars from top to bottom, each with its figure at its end.
    longest = max(max(each.values()) for each in bars.values())
    at = 0.0
    ticks: dict[float, str] = {}
    shown: set[str] = set()
    for group, each in bars.items():
        if named:
            axis.text(0, at, group, fontweight="bold", va="center")
            at += 1
        else:
            ticks[at + (len(each) - 1) / 2] = group
        for label, value in each.items():
            known = {} if named or label in shown else {"label": label}
            shown.add(label)
            axis.barh(at, value, height=0.78, color=colours[label], **known)
            axis.text(max(value, 0) + longest * 0.01, at, f"{value:,.0f}", va="center", fontsize=9)
            if named:
                ticks[at] = label
            at += 1
        at += 0.6
    axis.set_yticks(list(ticks), list(ticks.values()))
    axis.tick_params(axis="y", length=0)
    axis.grid(visible=False, axis="y")
    axis.set_xlim(right=longest * 1.1)
    axis.set_ylim(at - 0.6, -0.8)


def _lines_of(start: str, figures: Figures) -> dict[str, dict[int, float]]:
    found = {operation: _points_of(f"{start}/{operation}", figures) for operation in _OPERATIONS}
    return {operation: points for operation, points in found.items() if points}


def _points_of(start: str, figures: Figures) -> dict[int, float]:
    found = {
        int(name.removeprefix(f"{start}/")): value
        for name, value in figures.items()
        if name.startswith(f"{start}/") and name.removeprefix(f"{start}/").isdecimal()
    }
    return dict(sorted(found.items()))


def _panels(count: int) -> tuple[int, int]:
    return math.ceil(count / 2), min(count, 2)


def _plain(value: float, _position: object) -> str:
    return f"{value:,g}"


@contextmanager
def _drawn(
    name: str, folder: Path, panels: tuple[int, int], *, height: float
) -> Generator[tuple[list[Path], list[Any]], None, None]:
    files = [folder / f"{name}.svg", folder / f"{name}.png"]
    with mpl.rc_context(_STYLE):
        drawing, axes = plt.subplots(
            *panels, figsize=(8, height), layout="constrained", squeeze=False
        )
        try:
            yield files, list(axes.flat)
            # Without the date and the program, so that equal results give equal files.
            drawing.savefig(files[0], metadata={"Date": None, "Creator": None})
            drawing.savefig(files[1], metadata={"Software": None})
        finally:
            plt.close(drawing)


if __name__ == "__main__":
    sys.exit(main())
