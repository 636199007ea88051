"""
Measure, print each figure beside its goal, and write the raw results.

    make bench                     everything, which takes a while
    make bench-quick               all of it in short, to see that it works
    make bench ARGS="--only core --only peers"

The last writes no results, for those are of one run. Each area is measured in a process of
its own, pinned to one core with the servers that it starts.
"""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.areas import AREAS
from benchmarks.measure import FULL, QUICK, Figure, Plan, pin


def main() -> int:
    """
    Run what was asked for.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("--quick", action="store_true", help="in short, to see that it works")
    parser.add_argument("--only", action="append", choices=AREAS, help="an area; repeatable")
    parser.add_argument("--json", type=Path, help="where the raw results go")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only and options.json and not options.inside:
        parser.error("--json is for whole runs: figures of one file are of one run")
    plan = QUICK if options.quick else FULL
    if options.inside:
        figures = _measured_here(options.only[0], plan)
        options.json.write_text(json.dumps([each.as_json() for each in figures]))
        return 0
    found: list[Figure] = []
    for area in options.only or AREAS:
        found += _measured_beside(area, quick=options.quick)
    print(report.goals(found))
    if options.json:
        options.json.write_text(report.as_json(found, quick=options.quick))
    return 0


def _measured_here(area: str, plan: Plan) -> list[Figure]:
    pin()
    module: Any = import_module(f"benchmarks.areas.{area}")
    # What was imported is no garbage: to look through it again for each turn takes long.
    gc.collect()
    gc.freeze()
    found: list[Figure] = []
    for each in module.measure(plan):
        print(report.line(each), flush=True)
        found.append(each)
    return found


def _measured_beside(area: str, *, quick: bool) -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="sessioncore-bench-") as folder:
        results = Path(folder, "results.json")
        command = [sys.executable, "-m", "benchmarks", "--inside", "--only", area]
        command += ["--json", str(results), *(["--quick"] if quick else [])]
        print(f"\n== {area}", flush=True)
        subprocess.run(command, check=True)  # noqa: S603 - this very program
        return [Figure(**each) for each in json.loads(results.read_text())]


if __name__ == "__main__":
    sys.exit(main())
