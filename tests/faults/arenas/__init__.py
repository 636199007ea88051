"""
The stores on which the campaign runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from faults.arenas.arena import Arena
from faults.arenas.databases import MariaDb, PostgreSql
from faults.arenas.redis import ClusteredRedis, FailingOverRedis, OneRedis, SwitchedRedis
from faults.arenas.sqlite import SqliteFile

ARENAS: Final[Mapping[str, type[Arena]]] = {
    arena.name: arena
    for arena in (
        OneRedis,
        SwitchedRedis,
        FailingOverRedis,
        ClusteredRedis,
        SqliteFile,
        PostgreSql,
        MariaDb,
    )
}
"""All of them, by name."""

__all__ = ["ARENAS", "Arena"]
