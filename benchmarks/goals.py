"""
What is to be reached, each as a quotient of two things measured in one run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks.measure import Figure


@dataclass(frozen=True)
class Goal:
    """
    One bound on one figure.

    Attributes:
        measure: In words, with the unit of the bound.
        figure: The name of the figure.
        bound: What it should be.
        at_most: Whether the bound is an upper one.
        of: Its ``ratio`` (how many times as fast as what it is compared with), its
            ``share`` (how much of that one's time it takes) or its ``value``.
    """

    measure: str
    figure: str
    bound: float
    at_most: bool = False
    of: str = "ratio"

    def measured(self, figures: Mapping[str, Figure]) -> float | None:
        """
        Return what was measured, or ``None`` if it was not.
        """
        found = figures.get(self.figure)
        if found is None:
            return None
        if self.of == "value":
            return found.value
        if found.ratio is None:
            raise ValueError(f"{found.name} is compared with nothing")
        return 1 / found.ratio if self.of == "share" else found.ratio

    def is_met(self, measured: float) -> bool:
        """
        Tell whether that is good enough.
        """
        return measured <= self.bound if self.at_most else measured >= self.bound


_USUAL_STORES: Final = {
    "redis": "Redis",
    "postgresql": "PostgreSQL",
    "mariadb": "MariaDB",
    "sqlite": "SQLite",
}


def _at_most(measure: str, figure: str, bound: float, of: str = "value") -> Goal:
    return Goal(measure, figure, bound, at_most=True, of=of)


_CORE: Final = (
    _at_most("core alone, Redis codec: share of a bare GET", "core/redis", 0.15, "share"),
    _at_most("core alone, SQL codec: share of a bare GET", "core/sql", 0.15, "share"),
)

_AUTHENTICATE: Final = (
    Goal("authenticate, Redis, threads", "authenticate/redis/threads-1", 0.85),
    Goal(
        "authenticate, Redis, threads, `keep_connections`",
        "authenticate/redis/threads-1/own-connection",
        1.0,
    ),
    Goal("authenticate, Redis, asyncio, one at a time", "authenticate/redis/tasks-1", 0.85),
    Goal(
        "authenticate, Redis, asyncio, one at a time, `keep_connections`",
        "authenticate/redis/tasks-1/own-connection",
        0.85,
    ),
    Goal(
        "authenticate, Redis, asyncio, 64 at once, `keep_connections`",
        "authenticate/redis/tasks-64/own-connection",
        2.0,
    ),
    Goal("authenticate, PostgreSQL, psycopg", "authenticate/postgresql/threads-1", 0.6),
    Goal("authenticate, PostgreSQL, asyncpg, 16 at once", "authenticate/postgresql/tasks-16", 0.9),
    Goal("authenticate, SQLite", "authenticate/sqlite/threads-1", 0.35),
    Goal(
        "authenticate in memory: times as fast as on Redis", "authenticate/memory/threads-1", 10.0
    ),
    # The same without any lock comes out at 0.99: what is not 1 is the switching.
    Goal("authenticate in memory, 4 threads beside 1", "authenticate/memory/threads-4", 0.95),
    *(
        _at_most(
            f"reads per authenticated request, {name}",
            f"authenticate/{store}/commands-per-request",
            1,
        )
        for store, name in _USUAL_STORES.items()
    ),
    *(
        _at_most(
            f"writes per touch interval, without renewal, {name}",
            f"authenticate/{store}/writes-per-touch-interval",
            1,
        )
        for store, name in _USUAL_STORES.items()
    ),
    _at_most(
        "writes per touch interval, with renewal, Redis",
        "authenticate/redis/writes-per-touch-interval/with-renewal",
        1,
    ),
)

_OPERATIONS: Final = tuple(
    _at_most(
        f"sign out everywhere, {sessions:,} sessions, {name}: atomic writes",
        f"operations/{store}/logout-everywhere-{sessions}/atomic-steps",
        1,
    )
    for store, name in _USUAL_STORES.items()
    for sessions in (1, 10, 1_000)
)

_SIZE: Final = tuple(
    _at_most(f"Redis, bytes per session, {what}", f"size/redis/{kind}/1000000", bound)
    for what, kind, bound in (
        ("one per user", "1-per-user", 460),
        ("three per user", "3-per-user", 310),
        ("one per user, no device", "1-per-user-without-device", 265),
        ("three per user, no device", "3-per-user-without-device", 160),
    )
)

_GROWTH: Final = (
    *(
        _at_most(
            f"{operation}, {store}: time at 10^6 sessions beside 10^3",
            f"growth/{store}/{operation}/1000000",
            1.2,
            "share",
        )
        for store in ("redis", "postgresql", "sqlite", "memory")
        for operation in ("authenticate", "touch", "login", "logout", "everywhere", "listing")
    ),
    *(
        _at_most(
            f"purge, {store}: ten times as many, in tenths of the time",
            f"growth/{store}/purge-proportion/1000000",
            1.2,
        )
        for store in ("postgresql", "sqlite", "memory")
    ),
    _at_most("purge, Redis: longest step, ms", "growth/redis/purge/longest-step/1000000", 5),
)

_PEERS: Final = tuple(
    Goal(
        f"whole request, {where}: times as fast as {peer}", f"peers/{figure}/ahead", 1.0, of="value"
    )
    for where, peer, figure in (
        ("Flask on Redis", "Flask-Session", "flask/sessioncore-redis"),
        ("WSGI on Redis", "Beaker", "wsgi/sessioncore-redis"),
        ("Django on Redis", "its fastest engine", "django-redis/sessioncore-redis"),
        ("Django on PostgreSQL", "its db engine", "django-postgresql/sessioncore-postgresql"),
        ("Starlette on Redis", "starsessions", "starlette/sessioncore-redis"),
        ("Litestar on Redis", "its own sessions", "litestar/sessioncore-redis"),
    )
)

_NEAR_CACHE: Final = (
    Goal("near cache, a hit: times as fast as a bare GET", "near_cache/hit", 8.0),
)

GOALS: Final = (
    *_CORE,
    *_AUTHENTICATE,
    *_OPERATIONS,
    *_SIZE,
    *_GROWTH,
    *_PEERS,
    *_NEAR_CACHE,
)
