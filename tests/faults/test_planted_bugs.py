"""
Each checker finds the bugs that are planted for it, on real histories; without them there is
nothing to find.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from faults import leaks
from faults.arenas.redis import OneRedis
from faults.bugs import BUGS, FAST
from faults.campaign import Plan, Result, run
from faults.promises import CHECKERS

FAULTS = tuple(
    dict.fromkeys(fault for bug in BUGS.values() for fault in bug.faults if bug.near is None)
)

PATIENCE = 30.0
"""Seconds after which a bug counts as missed. Most show themselves in the first one."""


def in_short(folder: Path, plan: Plan) -> Result:
    with OneRedis() as arena:
        return run(arena, plan, folder)


@pytest.mark.parametrize("name", BUGS)
def test_a_planted_bug_is_found_by_the_checker_it_is_meant_for(name: str, tmp_path: Path) -> None:
    bug = BUGS[name]
    plan = Plan(
        seconds=0.3,
        at_most=PATIENCE,
        until_broken=bug.promise,
        seed="planted",
        clients=2,
        workers=4,
        pace=bug.pace,
        rest=bug.rest,
        times=bug.times,
        near=bug.near is not None,
        faults=bug.faults,
        bug=name,
        sweep=False,
    )
    found = {violation.promise for violation in in_short(tmp_path, plan).violations}
    assert bug.promise in found


def test_every_checker_has_a_bug_to_find() -> None:
    assert {bug.promise for bug in BUGS.values()} == {*CHECKERS, leaks.PROMISE}


@pytest.mark.parametrize("pace", sorted({bug.pace for bug in BUGS.values() if bug.near is None}))
def test_the_same_run_without_a_bug_is_clean(pace: float, tmp_path: Path) -> None:
    plan = Plan(
        seconds=1.5,
        at_most=PATIENCE,
        at_least={"login": 20, "authenticate": 200, "increment": 20, "logout": 2},
        seed="clean",
        clients=2,
        workers=4,
        pace=pace,
        rest=0.2,
        times=FAST,
        near=False,
        faults=FAULTS,
    )
    result = in_short(tmp_path, plan)
    assert not result.violations, "\n".join(map(str, result.violations))
    assert result.faults
