"""
What each store needs for a demand. Pure arithmetic; docs/capacity.md has it in words.

Bytes per session were measured for users with one session and with three; what
a user takes, and what each session adds, follows from the two (:func:`_bytes_of`).
Times of servers were measured one call at a time, on one core. A busy server
does several at once with less.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from .demand import Demand, ImpossibleDemand, Rates
from .figures import MEASURED, measured

GIGABYTE: Final = 1e9

HEADERS_BYTES: Final = 78
"""Ethernet with its gap, IP and TCP, of each packet; a call is one in each direction."""

POSTGRES_PAGE_BYTES: Final = 8192
PAGES_PER_WRITE: Final = 3
"""The row's old page and its new one, and the leaf of its key. The leaf of its
``keep_until`` is one that many share which are written at the same time."""

CHECKPOINT_SECONDS: Final = 300
"""PostgreSQL's default."""

DEAD_SHARE: Final = 0.2
"""Of a table's rows, before PostgreSQL's autovacuum removes them, by default."""

FREEZE_AGE: Final = 200_000_000
"""Transactions, after which PostgreSQL reads whole tables through, by default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """
    What is there, and how much of it may be used.

    Raises:
        ImpossibleDemand: A figure is out of its range.
    """

    redis_gigabytes: float = 25.0
    """The most that one Redis node should hold: it takes that long to copy."""

    postgres_cores: int = 32
    postgres_gigabytes: float = 2_000.0
    """The most that one PostgreSQL server should hold."""

    replicas: int = 1
    """Of each node."""

    headroom: float = 0.3
    """What is left free of memory and disk, beside what sessions take."""

    busy: float = 0.5
    """Which part of its time a processor may work."""

    round_trip_seconds: float = 0.001
    """How long a call takes from an application's server, with the network."""

    def __post_init__(self) -> None:
        sizes = (self.redis_gigabytes, self.postgres_gigabytes, self.round_trip_seconds)
        if min(*sizes, self.postgres_cores) <= 0:
            raise ImpossibleDemand("hardware: more than nothing")
        if self.replicas < 0 or self.headroom < 0:
            raise ImpossibleDemand("replicas and headroom: 0 or more")
        if not 0 < self.busy <= 1:
            raise ImpossibleDemand("busy: more than 0, at most 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisEstimate:
    """
    Redis, or a cluster of it. Rates are per second and of all nodes.
    """

    gigabytes: float
    """Of sessions, without headroom."""

    nodes: int
    """Primaries."""

    servers: int
    """With their replicas."""

    cores: float
    """Busy ones."""

    connections: float
    """In use at the same moment, on average."""

    log_megabytes: float
    """Appended to files, and sent to each replica."""

    traffic_megabytes: float
    """Between applications and primaries, both directions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresEstimate:
    """
    PostgreSQL. Rates are per second and of all servers.
    """

    gigabytes: float
    """Tables and indexes, with the dead rows that wait for a vacuum."""

    nodes: int
    """Primaries among which users are divided."""

    servers: int
    """With their replicas."""

    cores: float
    """Busy ones."""

    connections: float
    """In use at the same moment, on average."""

    log_megabytes: float
    """Write-ahead log, with the whole pages after checkpoints."""

    traffic_megabytes: float
    """Between applications and primaries, both directions."""

    seconds_between_vacuums: float
    """How long it takes until a table has enough dead rows for one."""

    hours_between_freezes: float
    """How long it takes until old rows must be frozen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileEstimate:
    """
    A database of which only the size was measured, or the writer's time too.
    """

    gigabytes: float

    writer_busy: float | None = None
    """Which part of its time the one writer works; above 1 there are more writes than
    it can do. ``None``: not measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessEstimate:
    """
    The memory of the one process that has them all.
    """

    gigabytes: float


def estimate_redis(
    demand: Demand, hardware: Hardware, figures: Mapping[str, float] = MEASURED
) -> RedisEstimate:
    """
    Say what Redis needs.
    """
    held = _bytes_of("redis", demand, figures) / GIGABYTE
    cores = _cores("redis", demand.rates, figures)
    # One node works on one core.
    by_memory = held * (1 + hardware.headroom) / hardware.redis_gigabytes
    nodes = max(1, math.ceil(max(by_memory, cores / hardware.busy)))
    return RedisEstimate(
        gigabytes=held,
        nodes=nodes,
        servers=nodes * (1 + hardware.replicas),
        cores=cores,
        connections=_under_way(demand.rates, hardware),
        log_megabytes=_per_second("redis", "log", demand.rates, figures) / 1e6,
        traffic_megabytes=_traffic("redis", demand.rates, figures) / 1e6,
    )


def estimate_postgresql(
    demand: Demand, hardware: Hardware, figures: Mapping[str, float] = MEASURED
) -> PostgresEstimate:
    """
    Say what PostgreSQL needs.
    """
    rates = demand.rates
    held = _bytes_of("postgresql", demand, figures) * (1 + DEAD_SHARE)
    cores = _cores("postgresql", rates, figures)
    by_size = held / GIGABYTE * (1 + hardware.headroom) / hardware.postgres_gigabytes
    by_cores = cores / hardware.busy / hardware.postgres_cores
    nodes = max(1, math.ceil(max(by_size, by_cores)))
    records = _per_second("postgresql", "log", rates, figures)
    dying = rates.touches + rates.renewals + rates.endings
    return PostgresEstimate(
        gigabytes=held / GIGABYTE,
        nodes=nodes,
        servers=nodes * (1 + hardware.replicas),
        cores=cores,
        connections=_under_way(rates, hardware),
        log_megabytes=(records + _whole_pages(held, rates.writes)) / 1e6,
        traffic_megabytes=_traffic("postgresql", rates, figures) / 1e6,
        seconds_between_vacuums=DEAD_SHARE * demand.sessions / dying,
        hours_between_freezes=FREEZE_AGE * nodes / rates.writes / 3600,
    )


def estimate_mariadb(demand: Demand, figures: Mapping[str, float] = MEASURED) -> FileEstimate:
    """
    Say how much disk MariaDB needs.
    """
    return FileEstimate(gigabytes=_bytes_of("mariadb", demand, figures) / GIGABYTE)


def estimate_sqlite(demand: Demand, figures: Mapping[str, float] = MEASURED) -> FileEstimate:
    """
    Say how much disk SQLite needs, and whether one writer at a time suffices.
    """
    rates = demand.rates
    seconds = (
        (rates.touches + rates.renewals) * measured(figures, "growth/sqlite/touch/1000000")
        + rates.logins * measured(figures, "growth/sqlite/login/1000000")
        + rates.endings * measured(figures, "growth/sqlite/logout/1000000")
    ) / 1e6
    return FileEstimate(
        gigabytes=_bytes_of("sqlite", demand, figures) / GIGABYTE, writer_busy=seconds
    )


def estimate_memory(demand: Demand, figures: Mapping[str, float] = MEASURED) -> ProcessEstimate:
    """
    Say how much memory the process needs.
    """
    return ProcessEstimate(gigabytes=_bytes_of("memory", demand, figures) / GIGABYTE)


def _bytes_of(store: str, demand: Demand, figures: Mapping[str, float]) -> float:
    # A user with n sessions takes a + b * n. Known are a + b, and (a + 3 b) / 3.
    which = "" if demand.with_device else "-without-device"
    of_one = measured(figures, f"size/{store}/1-per-user{which}/100000")
    of_three = measured(figures, f"size/{store}/3-per-user{which}/100000")
    of_session = (3 * of_three - of_one) / 2
    return demand.users * (of_one - of_session + of_session * demand.sessions_per_user)


def _per_second(store: str, what: str, rates: Rates, figures: Mapping[str, float]) -> float:
    each = {
        "authenticate": rates.authentications - rates.touches - rates.renewals,
        # Whatever is written of a session is written in the same way.
        "touch": rates.touches + rates.renewals,
        "login": rates.logins,
        "logout": rates.endings,
    }
    return sum(
        # Requests that do not write are what is left; there may be fewer of them.
        max(0.0, rate) * measured(figures, f"load/{store}/{operation}/{what}")
        for operation, rate in each.items()
    )


def _cores(store: str, rates: Rates, figures: Mapping[str, float]) -> float:
    return _per_second(store, "server", rates, figures) / 1e6


def _traffic(store: str, rates: Rates, figures: Mapping[str, float]) -> float:
    payload = _per_second(store, "in", rates, figures) + _per_second(store, "out", rates, figures)
    return payload + (rates.reads + rates.writes) * 2 * HEADERS_BYTES


def _under_way(rates: Rates, hardware: Hardware) -> float:
    # Little's law.
    return (rates.reads + rates.writes) * hardware.round_trip_seconds


def _whole_pages(held: float, writes: float) -> float:
    # After a checkpoint, the first change of a page logs all of it. So many
    # different pages are met by so many changes that fall on them by chance.
    pages = held / POSTGRES_PAGE_BYTES
    changes = writes * PAGES_PER_WRITE * CHECKPOINT_SECONDS
    met = pages * -math.expm1(-changes / pages)
    return met * POSTGRES_PAGE_BYTES / CHECKPOINT_SECONDS
