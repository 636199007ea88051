"""
The benchmark, as far as it can be checked without timing anything.

How rounds become figures, figures are held against goals, and both become tables;
and that what is counted on a server is what a client asked of it.
"""

from __future__ import annotations

import asyncio
import gc
import json
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks import report
from benchmarks.areas.operations import Batch
from benchmarks.goals import GOALS, Goal
from benchmarks.measure import QUICK, Calls, Figure, Tasks, Threads, figure, in_turns
from benchmarks.sessions import POLICY, signed_in
from benchmarks.stores import ROUND_TRIPS, WRITES, OnRedis, OnSqlite, spent
from sessioncore import AuthService
from sessioncore.testing import ManualClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.stores import Backend

PLAN = replace(QUICK, rounds=3, seconds=0.001)
FIGURE = Figure("redis/ours", 50.0, "us", 48.0, 52.0, "redis/bare", 0.8)


@pytest.fixture(autouse=True, scope="module")
def little_garbage() -> Iterator[None]:
    # Every round begins with a collection, which would look at all that pytest has loaded.
    gc.freeze()
    yield
    gc.unfreeze()


class Clockwork:
    """
    A case whose rounds took what one says; its first turn only warms up.
    """

    def __init__(self, *microseconds: float) -> None:
        self._seconds = iter([0.0, *(each / 1e6 for each in microseconds)])

    def times(self, seconds: float) -> float:
        return next(self._seconds)


def figures_of(**rounds: tuple[float, ...]) -> dict[str, Figure]:
    cases = {name: Clockwork(*took) for name, took in rounds.items()}
    return {each.name: each for each in in_turns(PLAN, cases, against="bare")}


# -- Figures -------------------------------------------------------------------


def test_a_figure_is_the_median_of_its_rounds() -> None:
    assert figure("ours", [5.0, 1.0, 3.0]).value == 3.0


def test_a_figure_has_the_quartiles_of_its_rounds() -> None:
    found = figure("ours", [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0])
    assert (found.low, found.high) == (2.0, 6.0)


def test_the_quartiles_of_a_single_round_are_that_round() -> None:
    found = figure("ours", [4.0])
    assert (found.low, found.value, found.high) == (4.0, 4.0, 4.0)


def test_a_figure_that_is_compared_with_nothing_has_no_ratio() -> None:
    assert figure("ours", [1.0, 2.0]).ratio is None


def test_a_ratio_says_how_many_times_as_fast_as_the_other() -> None:
    found = figures_of(bare=(10.0, 10.0, 10.0), ours=(40.0, 40.0, 40.0))["ours"]
    assert found.against == "bare"
    assert found.ratio == pytest.approx(0.25)


def test_what_others_are_compared_with_is_as_fast_as_itself() -> None:
    assert figures_of(bare=(10.0, 11.0, 12.0))["bare"].ratio == pytest.approx(1)


def test_a_ratio_is_the_median_of_quotients_within_a_round() -> None:
    # The machine was slow for both in the last round: the quotient of medians would be 0.25.
    found = figures_of(bare=(10.0, 20.0, 90.0), ours=(20.0, 40.0, 180.0))["ours"]
    assert found.ratio == pytest.approx(0.5)


def test_a_round_that_went_wrong_for_one_of_them_does_not_move_the_ratio() -> None:
    found = figures_of(bare=(10.0, 10.0, 10.0), ours=(20.0, 900.0, 20.0))["ours"]
    assert found.ratio == pytest.approx(0.5)


def test_cases_take_turns_within_each_round() -> None:
    turns: list[str] = []

    class Noted:
        def __init__(self, name: str) -> None:
            self._name = name

        def times(self, seconds: float) -> float:
            turns.append(self._name)
            return 1.0

    in_turns(PLAN, {"a": Noted("a"), "b": Noted("b")})
    assert turns == ["a", "b"] * (1 + PLAN.rounds)


def test_figures_can_be_in_milliseconds() -> None:
    (found,) = in_turns(PLAN, {"slow": Clockwork(2_000, 2_000, 2_000)}, unit="ms")
    assert found.value == pytest.approx(2)
    assert found.unit == "ms"


def test_a_figure_survives_a_trip_through_json() -> None:
    assert Figure(**json.loads(json.dumps(FIGURE.as_json()))) == FIGURE


# -- Cases ---------------------------------------------------------------------


def test_a_turn_is_at_least_one_call() -> None:
    called: list[None] = []
    case = Calls(lambda: called.append(None))
    case.times(0)
    before = len(called)
    case.times(0)
    assert len(called) - before == 1


def test_every_thread_calls() -> None:
    called: list[None] = []
    case = Threads(lambda: called.append(None), 4)
    case.times(0)
    before = len(called)
    case.times(0)
    assert len(called) - before == 4


def test_every_task_calls() -> None:
    called: list[None] = []

    async def call() -> None:
        called.append(None)

    with asyncio.Runner() as runner:
        case = Tasks(runner, call, 16)
        case.times(0)
        before = len(called)
        case.times(0)
    assert len(called) - before == 16


def test_a_batch_uses_each_thing_that_was_prepared_once() -> None:
    prepared: list[int] = []
    used: list[int] = []

    def prepare(times: int) -> list[int]:
        made = list(range(len(prepared), len(prepared) + times))
        prepared.extend(made)
        return made

    Batch(prepare, used.append, 5).times(1)
    assert used == prepared


def test_a_batch_prepares_no_more_than_it_may() -> None:
    asked: list[int] = []

    def prepare(times: int) -> list[int]:
        asked.append(times)
        return [0] * times

    Batch(prepare, abs, 5).times(1)
    assert asked == [1, 5]


# -- Counts --------------------------------------------------------------------


def a_server(*, asking_costs: int) -> tuple[Counter[str], Callable[[], Counter[str]]]:
    counted: Counter[str] = Counter()

    def counts() -> Counter[str]:
        counted["info"] += asking_costs
        return counted.copy()

    return counted, counts


def test_what_is_spent_is_what_the_call_was_counted_for() -> None:
    counted, counts = a_server(asking_costs=0)
    counted["get"] = 7
    assert spent(counts, lambda: counted.update(get=2)) == {"get": 2}


def test_what_is_spent_leaves_out_what_asking_costs() -> None:
    counted, counts = a_server(asking_costs=3)
    assert spent(counts, lambda: counted.update(get=1)) == {"get": 1}


@pytest.mark.parametrize("backend", [OnRedis(), OnSqlite()], ids=lambda each: each.name)
def test_a_request_that_only_reads_is_counted_as_one_command(backend: Backend) -> None:
    with backend, backend.counted() as (store, counts):
        auth = AuthService(sessions=store, policy=POLICY, clock=ManualClock())
        cookie, _ = signed_in(auth)
        auth.authenticate(cookie)
        cost = spent(counts, lambda: auth.authenticate(cookie))
        assert cost[ROUND_TRIPS] == 1
        assert not [write for write in WRITES if cost[write]]


@pytest.mark.parametrize("backend", [OnRedis(), OnSqlite()], ids=lambda each: each.name)
def test_the_bare_client_reads_what_the_store_has_written(backend: Backend) -> None:
    with backend, backend.store() as store:
        _, session = signed_in(AuthService(sessions=store, policy=POLICY))
        with backend.bare(session, 1) as read:
            found: Any = read()
        assert session.current in found


# -- Goals ---------------------------------------------------------------------


def test_a_goal_is_about_the_ratio_unless_it_says_otherwise() -> None:
    assert Goal("ours", FIGURE.name, 0.85).measured({FIGURE.name: FIGURE}) == 0.8


def test_a_goal_about_the_share_turns_the_ratio_round() -> None:
    goal = Goal("ours", FIGURE.name, 1.5, at_most=True, of="share")
    assert goal.measured({FIGURE.name: FIGURE}) == pytest.approx(1.25)


def test_a_goal_about_the_value_needs_no_ratio() -> None:
    counted = Figure("commands", 1.0, "")
    assert Goal("commands", "commands", 1, at_most=True, of="value").measured(
        {"commands": counted}
    ) == pytest.approx(1)


def test_a_goal_whose_figure_is_missing_was_not_measured() -> None:
    assert Goal("ours", "another", 1).measured({FIGURE.name: FIGURE}) is None


def test_a_goal_about_a_ratio_that_is_not_there_is_a_mistake() -> None:
    alone = Figure("alone", 1.0)
    with pytest.raises(ValueError, match="alone is compared with nothing"):
        Goal("alone", "alone", 1).measured({"alone": alone})


@pytest.mark.parametrize(("measured", "is_met"), [(0.9, True), (0.85, True), (0.8, False)])
def test_a_lower_bound_is_met_from_there_on(measured: float, is_met: bool) -> None:
    assert Goal("ours", "ours", 0.85).is_met(measured) is is_met


@pytest.mark.parametrize(("measured", "is_met"), [(0.1, True), (0.15, True), (0.2, False)])
def test_an_upper_bound_is_met_up_to_there(measured: float, is_met: bool) -> None:
    assert Goal("core", "core", 0.15, at_most=True).is_met(measured) is is_met


def test_no_two_goals_are_called_alike() -> None:
    assert not [
        name for name, times in Counter(each.measure for each in GOALS).items() if times > 1
    ]


def test_goals_are_about_something_that_is_measured_so() -> None:
    assert {each.of for each in GOALS} <= {"ratio", "share", "value"}


# -- Reports -------------------------------------------------------------------


def test_a_line_says_what_was_measured_and_beside_what() -> None:
    said = report.line(FIGURE)
    assert said.split() == [
        "redis/ours",
        "50",
        "us",
        "(48",
        "to",
        "52)",
        "x0.80",
        "of",
        "redis/bare",
    ]


def test_a_line_of_a_count_is_its_name_and_its_value() -> None:
    assert report.line(Figure("commands", 1.0, "")).split() == ["commands", "1"]


def test_the_table_has_a_row_for_every_goal() -> None:
    rows = report.goals([]).splitlines()[3:]
    assert [row.split(" | ")[0].removeprefix("| ") for row in rows] == [
        goal.measure for goal in GOALS
    ]


def test_the_table_says_which_goals_were_not_measured() -> None:
    rows = report.goals([]).splitlines()[3:]
    assert all("not measured" in row for row in rows)


@pytest.mark.parametrize(("times_the_bound", "met"), [(0.5, "yes"), (2, "**no**")])
def test_the_table_says_whether_a_goal_was_met(times_the_bound: float, met: str) -> None:
    goal = next(each for each in GOALS if each.of == "share")
    measured = Figure(goal.figure, 1.0, ratio=1 / (goal.bound * times_the_bound))
    (row,) = [row for row in report.goals([measured]).splitlines() if goal.measure in row]
    assert row.endswith(f" | {met} |")


def test_the_raw_results_hold_every_figure_and_what_they_were_measured_on() -> None:
    raw = json.loads(report.as_json([FIGURE], quick=True))
    assert raw["figures"] == [FIGURE.as_json()]
    assert raw["quick"] is True
    assert {"redis", "sqlalchemy", "psycopg"} <= raw["libraries"].keys()
