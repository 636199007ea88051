"""
``python -m faults``: run the campaign on some stores, or check a saved history again.
"""

from __future__ import annotations

import argparse
import json
import secrets
import shutil
import sys
import tempfile
from pathlib import Path

from faults import report
from faults.arenas import ARENAS
from faults.campaign import HISTORIES, Plan, Result, run
from faults.history import read
from faults.promises import broken

_SAVED = Path(".faults")


def main() -> int:
    """
    Do what the command line says, and return the exit code: 1 if a promise was broken.
    """
    arguments = _parser().parse_args()
    if arguments.command == "check":
        return _check(arguments.folder)
    stores: list[str] = arguments.stores or list(ARENAS)
    results: list[Result] = []
    for name in stores:
        plan = Plan(
            seconds=arguments.seconds / len(stores),
            seed=arguments.seed,
            clients=arguments.clients,
            faults=tuple(arguments.faults) if arguments.faults else None,
        )
        print(f"{name}: {plan.seconds:.0f} s, seed {plan.seed}", flush=True)
        results.append(_run(name, plan))
    for page in (report.table, report.faults, report.uses):
        print(f"\n{page(results)}")
    return int(any(result.violations for result in results))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="faults", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    running = commands.add_parser("run", help="start servers and clients, and break things")
    running.add_argument(
        "--seconds", type=float, default=60.0 * len(ARENAS), help="in all, shared by the stores"
    )
    running.add_argument("--stores", nargs="+", choices=list(ARENAS), help="by default all")
    running.add_argument("--seed", default=secrets.token_hex(4), help="by default a new one")
    running.add_argument("--clients", type=int, default=4, help="how many processes")
    running.add_argument("--faults", nargs="+", help="only these, by the arena's names for them")
    checking = commands.add_parser("check", help="judge a history that was saved")
    checking.add_argument("folder", type=Path)
    return parser


def _run(name: str, plan: Plan) -> Result:
    folder = Path(tempfile.mkdtemp(prefix="faults-"))
    try:
        with ARENAS[name]() as arena:
            result = run(arena, plan, folder)
        if result.violations:
            _save(folder, result)
        return result
    finally:
        shutil.rmtree(folder)


def _save(folder: Path, result: Result) -> None:
    kept = _SAVED / f"{result.arena}-{result.plan.seed}"
    shutil.rmtree(kept, ignore_errors=True)
    shutil.copytree(folder, kept)
    told = {"store": result.arena, "seed": result.plan.seed, "seconds": result.plan.seconds}
    (kept / "plan.json").write_text(json.dumps(told))
    (kept / "violations.txt").write_text("\n".join(map(str, result.violations)) + "\n")
    print(report.violations(result))
    print(f"saved; to judge it again: python -m faults check {kept}", flush=True)


def _check(folder: Path) -> int:
    history = read(folder / HISTORIES)
    found = broken(history)
    for violation in found:
        print(violation)
    print(f"{len(history.operations):,} operations, {len(found):,} violations")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
