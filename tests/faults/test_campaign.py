"""
A short campaign on each store: no promise is broken, and the run was not idle.

``make faults`` runs the same for as long as one asks. What is asserted here beside the
verdict is that there was something to judge: operations of each kind that came back
ok, and faults of each kind.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest

from faults.arenas import ARENAS
from faults.arenas.redis import OneRedis
from faults.campaign import COPIES, COPIES_IN_TROUBLE, Plan, Result, run
from faults.clients import wait_until_stopped
from faults.config import Times
from faults.history import Verdict
from faults.nemesis import Nemesis, Trouble

AT_LEAST: Final = {
    "authenticate": 200,
    "login": 15,
    "establish": 4,
    "logout": 3,
    "logout_everywhere": 1,
    "change_password": 1,
    "rotate": 3,
    "reauthenticate": 2,
    "sessions_of": 30,
    "revoke": 1,
    "start_anonymous": 2,
    "increment": 10,
    "update_data": 10,
    "change_data": 10,
    "take_data": 2,
    "read_data": 10,
    "purge": 1,
}

AT_LEAST_WITH_COPIES: Final = {COPIES: 20, COPIES_IN_TROUBLE: 2}

SECONDS: Final = {"redis": 10.0, "postgresql": 10.0, "mariadb": 10.0, "sqlite": 7.0}
"""The others are run by ``make faults``, and here for as short as they take to say anything."""

WITH_FEEDS: Final = {"redis", "redis-sentinel", "postgresql"}

SHORTLY: Final = 4.0
PATIENCE: Final = 60.0


def judged(result: Result) -> str:
    return "\n".join(map(str, result.violations[:5]))


@pytest.mark.parametrize("store", ARENAS)
def test_all_promises_hold_while_everything_fails(store: str, tmp_path: Path) -> None:
    plan = Plan(
        seconds=SECONDS.get(store, SHORTLY),
        at_most=PATIENCE,
        at_least=(AT_LEAST if store in SECONDS else {"authenticate": 50, "login": 5})
        | (AT_LEAST_WITH_COPIES if store in WITH_FEEDS else {}),
        seed="short",
        clients=3,
        rest=0.5,
    )
    with ARENAS[store]() as arena:
        result = run(arena, plan, tmp_path)
    assert not result.violations, judged(result)
    done = {name: result.by_name[name, Verdict.OK.value] for name in plan.at_least}
    assert all(done[name] >= least for name, least in plan.at_least.items()), done
    assert result.faults.total() >= 3
    if store in SECONDS:
        assert len(result.faults) >= 4


class StoppedForALittleTooLong(OneRedis):
    """
    A server that stops for a little longer than its clients wait, again and again.

    Whatever was under way is of unknown fate then, and is carried out all the same
    when the server goes on: an admission, too, which may evict a session that its
    user was using. An earlier, simpler harness took that for a session that was lost.
    """

    @property
    def troubles(self) -> Mapping[str, Trouble]:
        return {"stop": self._stop_for_a_little_too_long}

    def _stop_for_a_little_too_long(self, nemesis: Nemesis) -> None:
        with self.server.stopped():
            wait_until_stopped(self.server.process.pid)
            with nemesis.writes_down("server stopped", down=True):
                nemesis.pause(1.15 * self.deadline)


def test_no_session_is_lost_to_a_server_that_stops_for_a_little_too_long(tmp_path: Path) -> None:
    plan = Plan(
        seconds=5.0,
        at_most=PATIENCE,
        at_least={"login": 30, "logout": 5, "change_password": 1},
        seed="stop",
        clients=3,
        workers=4,
        pace=0.02,
        rest=0.3,
        times=Times(idle=30_000, absolute=60_000),
    )
    with StoppedForALittleTooLong() as arena:
        result = run(arena, plan, tmp_path)
    assert not result.violations, judged(result)
    assert any("admit" in operation.lost for operation in result.history.operations)
    assert result.faults["server stopped"] >= 3
