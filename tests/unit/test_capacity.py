"""
The calculator of capacity: its arithmetic, its table of figures, and what the document shows.
"""

from __future__ import annotations

import json
import math
import re
import shlex
from dataclasses import fields, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from sessioncore_capacity import (
    MEASURED,
    Demand,
    Hardware,
    ImpossibleDemand,
    MissingFigure,
    estimate_mariadb,
    estimate_memory,
    estimate_postgresql,
    estimate_redis,
    estimate_sqlite,
)
from sessioncore_capacity.__main__ import CALCULATED, NOT_CALCULATED, main
from sessioncore_capacity.estimates import (
    CHECKPOINT_SECONDS,
    PAGES_PER_WRITE,
    POSTGRES_PAGE_BYTES,
)

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "capacity.md"
RESULTS = ROOT / "benchmarks" / "results.json"

SHOWN = re.compile(r"^    python -m sessioncore_capacity (.+)\n\n((?:\|.*\n|\n)+)", re.MULTILINE)

USUAL = Demand(users=1_000_000, sessions_per_user=2, requests_per_second=5_000)
HARDWARE = Hardware()


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(arguments) == CALCULATED
    return capsys.readouterr().out


@pytest.mark.parametrize(
    "impossible",
    [
        {"users": 0},
        {"sessions_per_user": 0.5},
        {"sessions_per_user": 101},
        {"sessions_per_user": math.nan},
        {"requests_per_second": -1},
        {"requests_per_second": math.inf},
        {"active_share": 1.1},
        {"touch_interval": timedelta(0)},
        {"renewal_interval": timedelta(0)},
        {"lifetime": -timedelta(hours=1)},
    ],
)
def test_a_demand_that_cannot_be_is_refused(impossible: dict[str, Any]) -> None:
    with pytest.raises(ImpossibleDemand):
        replace(USUAL, **impossible)


@pytest.mark.parametrize(
    "impossible",
    [
        {"redis_gigabytes": 0},
        {"postgres_cores": 0},
        {"postgres_gigabytes": -1},
        {"round_trip_seconds": 0},
        {"replicas": -1},
        {"headroom": -0.1},
        {"busy": 0},
        {"busy": 1.1},
    ],
)
def test_hardware_that_cannot_be_is_refused(impossible: dict[str, Any]) -> None:
    with pytest.raises(ImpossibleDemand):
        replace(HARDWARE, **impossible)


def test_an_active_session_is_touched_once_in_an_interval() -> None:
    demand = replace(USUAL, touch_interval=timedelta(seconds=60), active_share=0.1)
    assert demand.rates.touches == 2_000_000 * 0.1 / 60


def test_there_are_never_more_touches_than_requests() -> None:
    demand = replace(USUAL, requests_per_second=10, active_share=1)
    assert demand.rates.touches == 10


def test_a_renewal_is_two_writes() -> None:
    demand = replace(USUAL, renewal_interval=timedelta(seconds=1000), active_share=0.1)
    assert demand.rates.renewals == 2 * 200_000 / 1000


def test_without_renewal_nothing_is_written_for_it() -> None:
    assert replace(USUAL, renewal_interval=None).rates.renewals == 0


def test_as_many_sessions_begin_as_end() -> None:
    rates = replace(USUAL, lifetime=timedelta(seconds=20_000)).rates
    assert rates.logins == rates.endings == 100


def test_each_request_reads_once() -> None:
    rates = USUAL.rates
    assert rates.reads == 5_000 + rates.logins


@pytest.mark.parametrize("per_user", [1, 3])
def test_what_was_measured_comes_out_again(per_user: int) -> None:
    demand = Demand(users=1_000_000, sessions_per_user=per_user)
    each = estimate_redis(demand, HARDWARE).gigabytes * 1e9 / demand.sessions
    assert each == pytest.approx(MEASURED[f"size/redis/{per_user}-per-user/100000"])


def test_sessions_without_devices_take_less_everywhere() -> None:
    bare = replace(USUAL, with_device=False)
    for estimate in (estimate_mariadb, estimate_sqlite, estimate_memory):
        assert estimate(bare).gigabytes < estimate(USUAL).gigabytes
    for on_servers in (estimate_redis, estimate_postgresql):
        assert on_servers(bare, HARDWARE).gigabytes < on_servers(USUAL, HARDWARE).gigabytes


def test_there_are_enough_nodes_for_the_memory_and_its_headroom() -> None:
    demand = replace(USUAL, users=100_000_000, requests_per_second=0)
    estimate = estimate_redis(demand, replace(HARDWARE, redis_gigabytes=10, headroom=0.5))
    assert estimate.nodes == math.ceil(estimate.gigabytes * 1.5 / 10)


def test_there_are_enough_nodes_for_the_work() -> None:
    demand = replace(USUAL, requests_per_second=1_000_000)
    estimate = estimate_redis(demand, replace(HARDWARE, busy=0.25))
    assert estimate.nodes == math.ceil(estimate.cores / 0.25) > 1


def test_a_server_of_postgresql_works_on_all_its_cores() -> None:
    demand = replace(USUAL, requests_per_second=1_000_000)
    estimate = estimate_postgresql(demand, replace(HARDWARE, postgres_cores=16))
    assert estimate.nodes == math.ceil(estimate.cores / HARDWARE.busy / 16) > 1


@pytest.mark.parametrize("estimate", [estimate_redis, estimate_postgresql])
def test_each_node_has_its_replicas(estimate: Any) -> None:
    found = estimate(USUAL, replace(HARDWARE, replicas=2))
    assert found.servers == found.nodes * 3


@pytest.mark.parametrize("estimate", [estimate_redis, estimate_postgresql])
def test_connections_are_in_use_as_long_as_calls_take(estimate: Any) -> None:
    rates = USUAL.rates
    found = estimate(USUAL, replace(HARDWARE, round_trip_seconds=0.01))
    assert found.connections == pytest.approx((rates.reads + rates.writes) * 0.01)


def whole_pages_logged(demand: Demand) -> float:
    """
    Per second, in bytes, beside the records themselves.
    """
    rates = demand.rates
    records = (
        rates.touches * MEASURED["load/postgresql/touch/log"]
        + rates.renewals * MEASURED["load/postgresql/touch/log"]
        + rates.logins * MEASURED["load/postgresql/login/log"]
        + rates.endings * MEASURED["load/postgresql/logout/log"]
    )
    return estimate_postgresql(demand, HARDWARE).log_megabytes * 1e6 - records


def test_rare_writes_log_every_page_that_they_change() -> None:
    still = replace(USUAL, requests_per_second=0, lifetime=timedelta(days=1000))
    pages = still.rates.writes * PAGES_PER_WRITE * POSTGRES_PAGE_BYTES
    assert whole_pages_logged(still) == pytest.approx(pages, rel=0.05)


def test_frequent_writes_log_each_page_once_between_checkpoints() -> None:
    busy = replace(USUAL, requests_per_second=100_000, active_share=1)
    pages = estimate_postgresql(busy, HARDWARE).gigabytes * 1e9
    assert whole_pages_logged(busy) == pytest.approx(pages / CHECKPOINT_SECONDS, rel=0.05)


def test_shorter_touch_intervals_write_more_and_vacuum_more_often() -> None:
    often = estimate_postgresql(replace(USUAL, touch_interval=timedelta(seconds=30)), HARDWARE)
    seldom = estimate_postgresql(replace(USUAL, touch_interval=timedelta(minutes=10)), HARDWARE)
    assert often.log_megabytes > seldom.log_megabytes
    assert often.seconds_between_vacuums < seldom.seconds_between_vacuums
    assert often.hours_between_freezes < seldom.hours_between_freezes


def test_the_one_writer_of_sqlite_may_have_too_much_to_do() -> None:
    busy = estimate_sqlite(replace(USUAL, active_share=1)).writer_busy
    assert busy is not None
    assert busy > 1


def test_a_figure_that_is_missing_is_named() -> None:
    figures = {name: value for name, value in MEASURED.items() if name != "load/redis/touch/server"}
    with pytest.raises(MissingFigure, match="load/redis/touch/server"):
        estimate_redis(USUAL, HARDWARE, figures)


def test_every_figure_in_the_table_is_used() -> None:
    asked: set[str] = set()

    class Asked(dict[str, float]):
        def __getitem__(self, name: str) -> float:
            asked.add(name)
            return super().__getitem__(name)

    figures = Asked(MEASURED)
    for demand in (USUAL, replace(USUAL, with_device=False)):
        estimate_redis(demand, HARDWARE, figures)
        estimate_postgresql(demand, HARDWARE, figures)
        estimate_mariadb(demand, figures)
        estimate_sqlite(demand, figures)
        estimate_memory(demand, figures)
    assert asked == MEASURED.keys()


def test_the_calculator_prints_tables(capsys: pytest.CaptureFixture[str]) -> None:
    page = shown(capsys, "--users", "1000000", "--requests-per-second", "5000")
    for title in ("load", "Redis", "PostgreSQL", "others"):
        assert f"| {title} | |\n|---|--:|\n" in page
    assert "| live sessions | 1,000,000 |" in page


def test_the_calculator_prints_json(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--users", "10", "--sessions-per-user", "2", "--requests-per-second", "1"]
    found = json.loads(shown(capsys, *arguments, "--json"))
    assert found["sessions"] == 20
    demand = Demand(users=10, sessions_per_user=2, requests_per_second=1)
    estimate = estimate_redis(demand, HARDWARE)
    assert found["redis"] == {each.name: getattr(estimate, each.name) for each in fields(estimate)}


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--users", "0", "--requests-per-second", "1"], "users: at least 1"),
        (["--users", "1", "--requests-per-second", "-1"], "requests per second: 0 or more"),
        (["--users", "1", "--requests-per-second", "1", "--lifetime", "nan"], "a duration"),
        (["--users", "1", "--requests-per-second", "1", "--headroom", "-1"], "headroom"),
        (["--users", "1", "--requests-per-second", "1", "--figures", "none.json"], "none.json"),
    ],
)
def test_the_calculator_says_what_is_wrong(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == NOT_CALCULATED
    assert complaint in capsys.readouterr().err


def test_the_calculator_takes_figures_of_another_machine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "load/redis/authenticate/server"
    results = tmp_path / "results.json"
    results.write_text(json.dumps({"figures": [{"name": name, "value": MEASURED[name] * 10}]}))
    arguments = ["--users", "1", "--requests-per-second", "1000", "--json"]
    here = json.loads(shown(capsys, *arguments))
    there = json.loads(shown(capsys, *arguments, "--figures", str(results)))
    assert there["redis"]["cores"] > 5 * here["redis"]["cores"]
    assert there["postgresql"] == here["postgresql"]


def test_a_file_that_holds_no_results_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.json"
    other.write_text('{"users": 1}')
    arguments = ["--users", "1", "--requests-per-second", "1", "--figures", str(other)]
    assert main(arguments) == NOT_CALCULATED
    assert "not results of the benchmarks" in capsys.readouterr().err


def test_the_document_shows_what_the_calculator_prints(
    capsys: pytest.CaptureFixture[str],
) -> None:
    examples = SHOWN.findall(DOCUMENT.read_text("utf-8"))
    assert len(examples) >= 3
    for command, table in examples:
        assert shown(capsys, *shlex.split(command)).strip() == table.strip()


def test_the_table_agrees_with_the_results_of_the_benchmarks() -> None:
    results = json.loads(RESULTS.read_text("utf-8"))
    found = {each["name"]: (each["value"], each["unit"]) for each in results["figures"]}
    differing: list[str] = []
    for name, expected in MEASURED.items():
        value, unit = found[name]
        # Bytes are the same on every machine, nearly. Times are not.
        close = (
            value == pytest.approx(expected, rel=0.1, abs=10)
            if unit == "bytes"
            else expected / 2 <= value <= expected * 2
        )
        if not close:
            differing.append(f'"{name}": {value:.4g},  # not {expected:g}')
    assert differing == []
