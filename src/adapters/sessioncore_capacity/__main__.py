"""
The calculator: ``python -m sessioncore_capacity``. It prints tables in Markdown, or JSON.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from .demand import Demand, ImpossibleDemand
from .estimates import (
    Hardware,
    estimate_mariadb,
    estimate_memory,
    estimate_postgresql,
    estimate_redis,
    estimate_sqlite,
)
from .figures import MEASURED, MissingFigure, read_figures

CALCULATED: Final = 0
NOT_CALCULATED: Final = 2
"""Also what argparse exits with when it is called wrongly."""

_DESCRIPTION: Final = "Says what it takes to keep so many sessions."

_EPILOG: Final = """\
It multiplies what the benchmarks measured on one machine: an estimate to plan with,
and no replacement for a trial with your own traffic. docs/capacity.md has the formulas.
"""

_Rows = list[tuple[str, str]]


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Calculate, print, and return the exit code.
    """
    options = _parser().parse_args(arguments)
    try:
        demand = _demand(options)
        hardware = Hardware(
            redis_gigabytes=options.redis_gigabytes,
            postgres_cores=options.postgres_cores,
            postgres_gigabytes=options.postgres_gigabytes,
            replicas=options.replicas,
            headroom=options.headroom,
        )
        figures = MEASURED if options.figures is None else read_figures(options.figures)
        shown = _as_json if options.json else _as_tables
        print(shown(demand, hardware, figures))  # noqa: T201
    except (ImpossibleDemand, MissingFigure, OSError, ValueError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)  # noqa: T201
        return NOT_CALCULATED
    return CALCULATED


def _demand(options: argparse.Namespace) -> Demand:
    renewal = options.renewal_interval
    return Demand(
        users=options.users,
        sessions_per_user=options.sessions_per_user,
        requests_per_second=options.requests_per_second,
        touch_interval=_seconds(options.touch_interval),
        renewal_interval=_seconds(renewal) if renewal else None,
        active_share=options.active_share,
        lifetime=_seconds(options.lifetime * 3600),
        with_device=not options.without_device,
    )


def _seconds(number: float) -> timedelta:
    try:
        return timedelta(seconds=number)
    except (OverflowError, ValueError):
        raise ImpossibleDemand("a duration: a number of seconds or hours") from None


def _as_json(demand: Demand, hardware: Hardware, figures: Mapping[str, float]) -> str:
    estimates: dict[str, Any] = {
        "sessions": demand.sessions,
        "rates": asdict(demand.rates),
        "redis": asdict(estimate_redis(demand, hardware, figures)),
        "postgresql": asdict(estimate_postgresql(demand, hardware, figures)),
        "mariadb": asdict(estimate_mariadb(demand, figures)),
        "sqlite": asdict(estimate_sqlite(demand, figures)),
        "memory": asdict(estimate_memory(demand, figures)),
    }
    return json.dumps(estimates, indent=1, allow_nan=False)


def _as_tables(demand: Demand, hardware: Hardware, figures: Mapping[str, float]) -> str:
    rates = demand.rates
    redis = estimate_redis(demand, hardware, figures)
    postgres = estimate_postgresql(demand, hardware, figures)
    sqlite = estimate_sqlite(demand, figures)
    load: _Rows = [
        ("live sessions", _number(demand.sessions)),
        ("reads per second", _number(rates.reads)),
        ("writes per second", _number(rates.writes)),
        ("of these, touches", _number(rates.touches)),
        ("of these, renewals", _number(rates.renewals)),
        ("sign-ins per second", _number(rates.logins)),
    ]
    on_redis: _Rows = [
        ("memory, without headroom", _gigabytes(redis.gigabytes)),
        ("nodes, and servers with replicas", f"{_number(redis.nodes)}, {_number(redis.servers)}"),
        ("busy cores", _number(redis.cores)),
        ("connections in use", _number(redis.connections)),
        ("log, and traffic to each replica", _megabytes(redis.log_megabytes)),
        ("traffic with applications", _megabytes(redis.traffic_megabytes)),
    ]
    on_postgres: _Rows = [
        ("disk, and memory that spares reading it", _gigabytes(postgres.gigabytes)),
        (
            "nodes, and servers with replicas",
            f"{_number(postgres.nodes)}, {_number(postgres.servers)}",
        ),
        ("busy cores", _number(postgres.cores)),
        ("connections in use", _number(postgres.connections)),
        ("log, and traffic to each replica", _megabytes(postgres.log_megabytes)),
        ("traffic with applications", _megabytes(postgres.traffic_megabytes)),
        ("between vacuums of the sessions", _time(postgres.seconds_between_vacuums)),
        ("between vacuums that freeze", _time(postgres.hours_between_freezes * 3600)),
    ]
    others: _Rows = [
        ("MariaDB: disk", _gigabytes(estimate_mariadb(demand, figures).gigabytes)),
        ("SQLite: disk", _gigabytes(sqlite.gigabytes)),
        ("SQLite: the writer is busy", f"{_number((sqlite.writer_busy or 0) * 100)} %"),
        ("memory: of the process", _gigabytes(estimate_memory(demand, figures).gigabytes)),
    ]
    return "\n\n".join(
        (
            _table("load", load),
            _table("Redis", on_redis),
            _table("PostgreSQL", on_postgres),
            _table("others", others),
        )
    )


def _table(title: str, rows: _Rows) -> str:
    return "\n".join([f"| {title} | |", "|---|--:|", *(f"| {a} | {b} |" for a, b in rows)])


def _number(number: float) -> str:
    # Two significant digits are more than an estimate is good for; counts stay exact.
    if number >= 100 or number == int(number):
        return f"{_rounded(number):,.0f}"
    return f"{number:.2g}"


def _rounded(number: float) -> float:
    if isinstance(number, int) or number < 1000:
        return number
    return round(number, 2 - math.floor(math.log10(number)))


def _gigabytes(number: float) -> str:
    return f"{_number(number)} GB"


def _megabytes(number: float) -> str:
    return f"{_number(number)} MB/s"


def _time(seconds: float) -> str:
    for unit, size in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{_number(seconds / size)} {unit}"
    return f"{_number(seconds)} seconds"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sessioncore_capacity",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    usual, machines = Demand(users=1), Hardware()
    add = parser.add_argument
    add("--users", type=int, required=True, help="how many are signed in")
    add(
        "--sessions-per-user",
        type=float,
        default=usual.sessions_per_user,
        metavar="N",
        help="live ones, on average; default: %(default)g",
    )
    add(
        "--requests-per-second",
        type=float,
        required=True,
        metavar="N",
        help="with a session, of all users",
    )
    add(
        "--touch-interval",
        type=float,
        default=usual.touch_interval.total_seconds(),
        metavar="SECONDS",
        help="the policy's; default: %(default)g",
    )
    add(
        "--renewal-interval",
        type=float,
        default=900.0,
        metavar="SECONDS",
        help="the policy's; 0: never; default: %(default)g",
    )
    add(
        "--active-share",
        type=float,
        default=usual.active_share,
        metavar="SHARE",
        help="which part of the sessions sends requests at the moment; default: %(default)g",
    )
    add(
        "--lifetime",
        type=float,
        default=12.0,
        metavar="HOURS",
        help="of a session, on average; default: %(default)g",
    )
    add("--without-device", action="store_true", help="keep no addresses and user agents")
    add(
        "--redis-gigabytes",
        type=float,
        default=machines.redis_gigabytes,
        metavar="N",
        help="the most that a node should hold; default: %(default)g",
    )
    add(
        "--postgres-cores",
        type=int,
        default=machines.postgres_cores,
        metavar="N",
        help="of a server; default: %(default)d",
    )
    add(
        "--postgres-gigabytes",
        type=float,
        default=machines.postgres_gigabytes,
        metavar="N",
        help="the most that a server should hold; default: %(default)g",
    )
    add(
        "--replicas",
        type=int,
        default=machines.replicas,
        metavar="N",
        help="of each node; default: %(default)d",
    )
    add(
        "--headroom",
        type=float,
        default=machines.headroom,
        metavar="SHARE",
        help="of memory and disk that stays free; default: %(default)g",
    )
    add(
        "--figures",
        type=Path,
        metavar="FILE",
        help="results of the benchmarks on another machine, as JSON",
    )
    add("--json", action="store_true", help="print JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
