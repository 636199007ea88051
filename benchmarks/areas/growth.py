"""
What an operation on one user's sessions costs beside those of very many others.

The same operation takes turns on a small store and on ever larger ones of the
same kind, for users drawn at random. Before each batch of calls the caches of the
processor are filled with something else, as an application does between requests:
else a small store would be measured in them, and a large one could not be.
Databases have the memory that their size asks for.

Then purges, of the same number of expired sessions among ever more living ones.
"""

from __future__ import annotations

import gc
import itertools
import random
import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, Generic, TypeAlias, TypeVar

import redis

from benchmarks.filling import (
    POLICY,
    START,
    Crowd,
    Filled,
    SetClock,
    in_memory,
    in_redis,
    in_sql,
)
from benchmarks.measure import Figure, in_turns
from benchmarks.sessions import DEVICE
from servers import PostgresServer, RedisServer
from sessioncore import AuthService, LoggedIn
from sessioncore_memory import MemorySessionStore
from sessioncore_redis import RedisSessionStore
from sessioncore_sql import SqlSessionStore, new_engine

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from benchmarks.measure import Plan

    _Opened: TypeAlias = Callable[[Sequence[int]], AbstractContextManager[Mapping[int, Filled]]]

In = TypeVar("In")
Out = TypeVar("Out")

LARGEST_BATCH: Final = 50
"""So many users at a time, all different."""

_MOST_BATCHES: Final = 10

_SOMETHING_ELSE: Final = b"1" * (64 << 20)
"""More than a processor keeps by itself, for one core."""

EXPIRED: Final = 1_000
"""How many sessions a purge deletes, where there are as many."""

_LONG_AGO: Final = START - timedelta(days=1)
_PURGES: Final = 5
_LOGGED_MICROSECONDS: Final = 50
_LOGGED_STEPS: Final = 10_000

ROOMY_POSTGRESQL: Final = {"shared_buffers": "2GB", "full_page_writes": "on"}
"""Settings with which all that is measured fits into its memory."""


@dataclass(frozen=True)
class Operation(Generic[In, Out]):
    """
    Something that is done for one user.
    """

    prepare: Callable[[int], Sequence[In]]
    """Make what so many calls need; not timed."""

    call: Callable[[In], Out]

    restore: Callable[[Sequence[Out]], object] = len
    """Undo what the calls have done; not timed."""


class Batches:
    """
    Calls of an operation, a batch at a time; see :class:`benchmarks.measure.Case`.
    """

    def __init__(self, operation: Operation[Any, Any], at_once: int) -> None:
        self._operation = operation
        self._at_once = at_once

    def times(self, seconds: float) -> float:
        """
        See :meth:`benchmarks.measure.Case.times`.
        """
        took, calls = 0.0, 0
        for _ in range(_MOST_BATCHES):
            took += self.run()
            calls += self._at_once
            if took >= seconds:
                break
        return took / calls

    def run(self) -> float:
        """
        Make one batch of calls, and return how many seconds they took.
        """
        call = self._operation.call
        batch = self._operation.prepare(self._at_once)
        _SOMETHING_ELSE.find(b"2")
        started = perf_counter()
        done = [call(each) for each in batch]
        took = perf_counter() - started
        self._operation.restore(done)
        return took


def measure(plan: Plan) -> Iterator[Figure]:
    """
    Measure each kind of store.
    """
    for name, opened in _KINDS.items():
        yield from _measured(name, opened, plan)


def operations(filled: Filled) -> dict[str, Operation[Any, Any]]:
    """
    Make the operations that an application does for one user, on that store.
    """
    store, crowd = filled.store, filled.crowd
    clock = SetClock()
    auth = AuthService(sessions=store, policy=POLICY, clock=SetClock())
    later = AuthService(sessions=store, policy=POLICY, clock=clock)
    newcomers = itertools.count(filled.users)

    def users(count: int) -> list[int]:
        return random.sample(range(filled.users), count)

    def cookies(count: int) -> list[str]:
        return [filled.cookie(user) for user in users(count)]

    def user_ids(count: int) -> list[str]:
        return [crowd.user_id(user) for user in users(count)]

    def cookies_not_seen_lately(count: int) -> list[str]:
        clock.at += POLICY.touch_interval
        return cookies(count)

    def login(user_id: str) -> LoggedIn:
        outcome = auth.establish(auth.begin(user_id), methods=("pwd",), device=DEVICE)
        if not isinstance(outcome, LoggedIn):
            raise TypeError("nobody was signed in")
        return outcome

    def forget(outcomes: Sequence[LoggedIn]) -> None:
        for outcome in outcomes:
            store.delete(outcome.session.locator)

    def further_cookies(count: int) -> list[str]:
        return [login(user_id).session_id.reveal() for user_id in user_ids(count)]

    def signed_in(count: int) -> list[str]:
        new = [crowd.user_id(user) for user in itertools.islice(newcomers, count)]
        return [login(user_id).session.subject.key[1:].decode() for user_id in new]

    return {
        "authenticate": Operation(cookies, auth.authenticate),
        "touch": Operation(cookies_not_seen_lately, later.authenticate),
        "login": Operation(user_ids, login, forget),
        "logout": Operation(further_cookies, auth.logout),
        "everywhere": Operation(signed_in, auth.logout_everywhere),
        "listing": Operation(user_ids, auth.sessions_of),
    }


def _measured(name: str, opened: _Opened, plan: Plan) -> Iterator[Figure]:
    smallest = min(plan.sizes)
    # Preparing takes longer than what is measured.
    shorter = replace(plan, rounds=max(1, plan.rounds // 2), seconds=plan.seconds / 3)
    with opened(plan.sizes) as stores:
        for size, filled in stores.items():
            filled.grow(size)
        # What is there now stays: to look through it before each turn would take
        # longer than the turn.
        gc.collect()
        gc.freeze()
        at_once = min(LARGEST_BATCH, smallest // 4)
        of_each = {size: operations(filled) for size, filled in stores.items()}
        for operation in of_each[smallest]:
            names = {size: f"growth/{name}/{operation}/{size}" for size in plan.sizes}
            yield from in_turns(
                shorter,
                {names[size]: Batches(of_each[size][operation], at_once) for size in plan.sizes},
                against=names[smallest],
            )
        yield from _purges(name, stores, plan)
        gc.unfreeze()


def _purges(name: str, stores: Mapping[int, Filled], plan: Plan) -> Iterator[Figure]:
    smallest, largest = min(stores), max(stores)
    expired = min(EXPIRED, smallest)
    purges = {size: _Purge(filled, expired) for size, filled in stores.items()}
    if name == "redis":
        yield from _walks(stores, purges)
        return
    fewer = replace(plan, rounds=min(plan.rounds, _PURGES))
    of_all = in_turns(
        fewer,
        {f"growth/{name}/purge/{size}": purge for size, purge in purges.items()},
        against=f"growth/{name}/purge/{smallest}",
        unit="ms",
    )
    tenth = _Purge(stores[largest], expired // 10)
    of_a_tenth = in_turns(fewer, {f"growth/{name}/purge-of-a-tenth/{largest}": tenth}, unit="ms")
    yield from of_all
    yield from of_a_tenth
    proportion = of_all[-1].value / of_a_tenth[0].value / 10
    yield Figure(f"growth/{name}/purge-proportion/{largest}", proportion, "times")


def _walks(stores: Mapping[int, Filled], purges: Mapping[int, _Purge]) -> Iterator[Figure]:
    # Redis has no index by time: a purge looks at every key. So it takes the longer
    # the more there are, and what counts is that no step of it holds up others. The
    # server tells how long a step took by the clock: whatever else ran meanwhile on
    # its core is in it.
    for size, purge in purges.items():
        store = stores[size].store
        assert isinstance(store, RedisSessionStore)  # noqa: S101 - by how it was opened
        client: Any = store.client
        client.config_set("slowlog-log-slower-than", _LOGGED_MICROSECONDS)
        client.config_set("slowlog-max-len", _LOGGED_STEPS)
        purge.prepare()
        client.slowlog_reset()
        took = purge.run()
        steps = [step["duration"] for step in client.slowlog_get(_LOGGED_STEPS)]
        client.config_set("slowlog-log-slower-than", -1)
        yield Figure(f"growth/redis/purge/{size}", took * 1e3, "ms")
        yield Figure(f"growth/redis/purge/longest-step/{size}", max(steps, default=0) / 1e3, "ms")


class _Purge:
    """
    A purge of some expired sessions; see :class:`benchmarks.measure.Case`.
    """

    def __init__(self, filled: Filled, expired: int) -> None:
        self._filled = filled
        self._expired = expired
        self._auth = AuthService(sessions=filled.store, policy=POLICY, clock=SetClock())
        self._before = AuthService(sessions=filled.store, policy=POLICY, clock=SetClock(_LONG_AGO))

    def times(self, seconds: float) -> float:  # noqa: ARG002 - as long as it takes
        """
        See :meth:`benchmarks.measure.Case.times`.
        """
        self.prepare()
        return self.run()

    def prepare(self) -> None:
        """
        Sign in users whose sessions have expired since.
        """
        first = self._filled.users
        for user in range(first, first + self._expired):
            attempt = self._before.begin(self._filled.crowd.user_id(user))
            self._before.establish(attempt, methods=("pwd",), device=DEVICE)

    def run(self) -> float:
        """
        Purge until there is no more, and return how many seconds it took.
        """
        sessions = 0
        started = perf_counter()
        while (purged := self._auth.purge()).more:
            sessions += purged.sessions
        took = perf_counter() - started
        if sessions + purged.sessions != self._expired:
            raise RuntimeError("other sessions were purged than had expired")
        return took


@contextmanager
def _on_redis(sizes: Sequence[int]) -> Generator[dict[int, Filled], None, None]:
    with ExitStack() as stack:
        servers = {size: stack.enter_context(RedisServer()) for size in sizes}
        yield {
            size: in_redis(stack.enter_context(redis.Redis(port=server.port)), Crowd())
            for size, server in servers.items()
        }


@contextmanager
def _on_postgresql(sizes: Sequence[int]) -> Generator[dict[int, Filled], None, None]:
    with PostgresServer(**ROOMY_POSTGRESQL) as server, ExitStack() as stack:
        for size in sizes:
            server.execute(f"CREATE DATABASE of_{size}")
        yield {
            size: stack.enter_context(filled_sql(server.url("psycopg", f"of_{size}"), Crowd()))
            for size in sizes
        }


@contextmanager
def _on_sqlite(sizes: Sequence[int]) -> Generator[dict[int, Filled], None, None]:
    with tempfile.TemporaryDirectory(prefix="sessioncore-bench-") as folder, ExitStack() as stack:
        yield {
            size: stack.enter_context(filled_sql(f"sqlite:///{folder}/of_{size}.db", Crowd()))
            for size in sizes
        }


@contextmanager
def _in_memory(sizes: Sequence[int]) -> Generator[dict[int, Filled], None, None]:
    yield {size: in_memory(MemorySessionStore(), Crowd()) for size in sizes}


@contextmanager
def filled_sql(url: str, crowd: Crowd) -> Generator[Filled, None, None]:
    """
    Make the tables in an empty database, and get ready to fill them.
    """
    engine = new_engine(url)
    try:
        SqlSessionStore(engine).create_schema()
        yield in_sql(engine, crowd)
    finally:
        engine.dispose()


_KINDS: Final[dict[str, _Opened]] = {
    "redis": _on_redis,
    "postgresql": _on_postgresql,
    "sqlite": _on_sqlite,
    "memory": _in_memory,
}
