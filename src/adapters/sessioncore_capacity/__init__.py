"""
What it takes to keep so many sessions: memory, disk, processors, traffic.

Arithmetic on what the benchmarks have measured, and no measurement itself. See
docs/capacity.md for what it says, and ``python -m sessioncore_capacity --help``.
"""

from .demand import Demand, ImpossibleDemand, Rates
from .estimates import (
    FileEstimate,
    Hardware,
    PostgresEstimate,
    ProcessEstimate,
    RedisEstimate,
    estimate_mariadb,
    estimate_memory,
    estimate_postgresql,
    estimate_redis,
    estimate_sqlite,
)
from .figures import MEASURED, MissingFigure

__all__ = [
    "MEASURED",
    "Demand",
    "FileEstimate",
    "Hardware",
    "ImpossibleDemand",
    "MissingFigure",
    "PostgresEstimate",
    "ProcessEstimate",
    "Rates",
    "RedisEstimate",
    "estimate_mariadb",
    "estimate_memory",
    "estimate_postgresql",
    "estimate_redis",
    "estimate_sqlite",
]
