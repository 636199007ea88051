"""
Bring the calculator's table, and the tables in docs/capacity.md, up to a run's results.

    python -m benchmarks.capacity benchmarks/results.json
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Final

from sessioncore_capacity import MEASURED, figures

_DOCUMENT: Final = Path(__file__).parents[1] / "docs" / "capacity.md"
_TABLE: Final = re.compile(
    r"(?<=^MEASURED: Final\[Mapping\[str, float\]\] = \{\n)[^}]*", re.MULTILINE
)
_SHOWN: Final = re.compile(
    r"^(    python -m sessioncore_capacity (.+)\n\n)(?:\|.*\n|\n(?=\|))+", re.MULTILINE
)


def main() -> int:
    """
    Rewrite both files.
    """
    (results,) = map(Path, sys.argv[1:])
    found = figures.read_figures(results)
    table = "".join(f'    "{name}": {_rounded(found[name]):g},\n' for name in MEASURED)
    source = Path(figures.__file__)
    source.write_text(_TABLE.sub(table, source.read_text("utf-8")))
    _DOCUMENT.write_text(_SHOWN.sub(_calculated, _DOCUMENT.read_text("utf-8")))
    return 0


def _rounded(value: float) -> float:
    return round(value) if value >= 20 else round(value, 1)


def _calculated(shown: re.Match[str]) -> str:
    # By a process of its own, which knows the new table.
    command = [sys.executable, "-m", "sessioncore_capacity", *shlex.split(shown[2])]
    page = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
    return shown[1] + page.stdout


if __name__ == "__main__":
    sys.exit(main())
