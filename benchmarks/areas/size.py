"""
What sessions take of a server: memory or disk while they live, and its time when they are used.

Everything included, indexes and users' keys too: Redis by ``used_memory`` at its
default configuration, PostgreSQL by ``pg_total_relation_size``, MariaDB and SQLite
by the size of their files, memory by the resident set of a process of its own.
What an empty store takes is subtracted. Then, for each operation, the time that
the server works for it, what goes over the wire, and what it writes to its log.

Sessions are as a sign-in makes them. After a renewal or a long life one has some
bytes more, which now and then cost it the next larger size of an allocator.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import socket
import struct
import tempfile
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import redis

from benchmarks.areas.growth import ROOMY_POSTGRESQL, filled_sql, operations
from benchmarks.filling import Crowd, Filled, in_memory, in_redis
from benchmarks.measure import Figure
from servers import MariaDbServer, PostgresServer, RedisServer
from sessioncore_memory import MemorySessionStore
from sessioncore_sql import SqlSessionStore

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from benchmarks.measure import Plan

_FEWEST: Final = 10_000
"""With fewer sessions, what a server allocates at once blurs the figure."""

_ENOUGH: Final = 100_000
"""So many are enough to see what less usual sessions take, where filling takes long."""

_CROWDS: Final = {
    "1-per-user": Crowd(),
    "3-per-user": Crowd(per_user=3),
    "1-per-user-without-device": Crowd(with_device=False),
    "3-per-user-without-device": Crowd(per_user=3, with_device=False),
}
_USUAL: Final = "1-per-user"

_AT_ONCE: Final = 25
_BATCHES_PER_TRIAL: Final = 2

_TCP_INFO_BYTES: Final = struct.Struct("=120xQQ")
"""Acknowledged and received, in Linux's ``struct tcp_info``."""


class Opened(NamedTuple):
    """
    An empty store that is going to be filled, and how much it takes at the moment.
    """

    filled: Filled
    taken: Callable[[], int]


def measure(plan: Plan) -> Iterator[Figure]:
    """
    Measure each kind of store.
    """
    sizes = [size for size in plan.sizes if size >= _FEWEST] or [max(plan.sizes)]
    # Servers take seconds to start, which is long for figures that mean nothing.
    crowds = _CROWDS if max(sizes) >= _FEWEST else {_USUAL: _CROWDS[_USUAL]}
    for name, opened in _KINDS.items():
        for which, crowd in crowds.items():
            quick = name == "redis" or which == _USUAL
            steps = [size for size in sizes if quick or size <= _ENOUGH]
            with opened(crowd) as (filled, taken):
                yield from _sizes(f"size/{name}/{which}", filled, taken, steps)
    yield from _sizes_in_memory(crowds, sizes)
    sessions = min(sizes[0], _FEWEST)
    yield from _load_on_redis(sessions, plan)
    yield from _load_on_postgresql(sessions, plan)


def _sizes(
    name: str, filled: Filled, taken: Callable[[], int], sizes: Sequence[int]
) -> Iterator[Figure]:
    empty = taken()
    for size in sizes:
        filled.grow(size)
        sessions = filled.users * filled.crowd.per_user
        yield Figure(f"{name}/{size}", (taken() - empty) / sessions, "bytes")


@contextmanager
def _redis(crowd: Crowd) -> Generator[Opened, None, None]:
    with RedisServer() as server, redis.Redis(port=server.port) as client:
        untyped: Any = client
        yield Opened(in_redis(client, crowd), lambda: int(untyped.info("memory")["used_memory"]))


@contextmanager
def _postgresql(crowd: Crowd) -> Generator[Opened, None, None]:
    with (
        PostgresServer(**ROOMY_POSTGRESQL) as server,
        filled_sql(server.url("psycopg"), crowd) as filled,
    ):
        yield Opened(filled, lambda: _number(server.execute(_RELATIONS)))


@contextmanager
def _mariadb(crowd: Crowd) -> Generator[Opened, None, None]:
    with (
        MariaDbServer(innodb_buffer_pool_size="2G", innodb_log_file_size="1G") as server,
        filled_sql(server.url("pymysql"), crowd) as filled,
    ):
        files = server.folder / "data" / "test"
        yield Opened(filled, lambda: sum(file.stat().st_size for file in files.glob("*.ibd")))


@contextmanager
def _sqlite(crowd: Crowd) -> Generator[Opened, None, None]:
    with tempfile.TemporaryDirectory(prefix="sessioncore-bench-") as folder:
        file = Path(folder, "sessions.db")
        with filled_sql(f"sqlite:///{file}", crowd) as filled:
            yield Opened(filled, lambda: file.stat().st_size)


_KINDS: Final[dict[str, Callable[[Crowd], AbstractContextManager[Opened]]]] = {
    "redis": _redis,
    "postgresql": _postgresql,
    "mariadb": _mariadb,
    "sqlite": _sqlite,
}

_RELATIONS: Final = (
    "SELECT sum(pg_total_relation_size(oid)) FROM pg_class"
    " WHERE relkind = 'r' AND relname LIKE 'sessioncore_%'"
)


def _number(rows: list[tuple[Any, ...]]) -> int:
    return int(rows[0][0])


def _sizes_in_memory(crowds: Mapping[str, Crowd], sizes: Sequence[int]) -> Iterator[Figure]:
    # Each in a process of its own: what one gives back, another would get again.
    spawning = multiprocessing.get_context("spawn")
    for which, crowd in crowds.items():
        steps = [size for size in sizes if which == _USUAL or size <= _ENOUGH]
        with ProcessPoolExecutor(1, mp_context=spawning) as process:
            yield from process.submit(_sizes_here, f"size/memory/{which}", crowd, steps).result()


def _sizes_here(name: str, crowd: Crowd, sizes: Sequence[int]) -> list[Figure]:
    filled = in_memory(MemorySessionStore(), crowd)
    return list(_sizes(name, filled, _resident, sizes))


def _resident() -> int:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _load_on_redis(sessions: int, plan: Plan) -> Iterator[Figure]:
    # As docs/redis.md recommends it. What it appends to its file, it sends to replicas.
    with RedisServer(appendonly="yes") as server, redis.Redis(port=server.port) as client:
        untyped: Any = client
        filled = in_redis(client, Crowd())
        filled.grow(sessions)

        def counted() -> dict[str, float]:
            traffic, log = untyped.info("stats"), untyped.info("persistence")
            return {
                "in": traffic["total_net_input_bytes"],
                "out": traffic["total_net_output_bytes"],
                "log": log["aof_current_size"],
                "server": _worked([server.process.pid]),
            }

        yield from _loads("redis", filled, counted, plan)


def _load_on_postgresql(sessions: int, plan: Plan) -> Iterator[Figure]:
    # Whole pages, which are written once after each checkpoint, are not in it.
    settings = ROOMY_POSTGRESQL | {"full_page_writes": "off"}
    with (
        PostgresServer(**settings) as server,
        filled_sql(server.url("psycopg"), Crowd()) as filled,
    ):
        filled.grow(sessions)
        assert isinstance(filled.store, SqlSessionStore)  # noqa: S101 - by how it was opened
        engine = filled.store.engine

        def counted() -> dict[str, float]:
            with engine.connect() as connection:
                driver: Any = connection.connection.driver_connection
                sent, received = _traffic(driver.fileno())
                backend = driver.info.backend_pid
            position = server.execute("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn")
            return {
                "in": sent,
                "out": received,
                "log": _number(position),
                "server": _worked([backend]),
            }

        yield from _loads("postgresql", filled, counted, plan)


def _loads(
    name: str, filled: Filled, counted: Callable[[], dict[str, float]], plan: Plan
) -> Iterator[Figure]:
    batches = max(1, plan.trials * _BATCHES_PER_TRIAL)
    for which, operation in operations(filled).items():
        spent: dict[str, float] = {}
        for _ in range(batches):
            prepared = operation.prepare(_AT_ONCE)
            before = counted()
            # Counting costs something, too.
            nothing = {kind: now - before[kind] for kind, now in counted().items()}
            before = counted()
            done = [operation.call(each) for each in prepared]
            for kind, now in counted().items():
                taken = now - before[kind] - nothing[kind]
                spent[kind] = spent.get(kind, 0) + taken / (batches * _AT_ONCE)
            operation.restore(done)
        for kind, each in spent.items():
            unit = "us" if kind == "server" else "bytes"
            yield Figure(f"load/{name}/{which}/{kind}", each, unit)


def _worked(processes: Iterable[int]) -> float:
    # Microseconds on a processor; the kernel counts them exactly.
    statistics = (Path(f"/proc/{each}/schedstat").read_text() for each in processes)
    return sum(int(each.split()[0]) for each in statistics) / 1e3


def _traffic(file: int) -> tuple[int, int]:
    with socket.socket(fileno=os.dup(file)) as connection:
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES.size)
    sent, received = _TCP_INFO_BYTES.unpack(info)
    return sent, received
