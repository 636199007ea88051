"""
The near cache: how fast it answers, how often, and how long after a sign-out elsewhere.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any

import redis

from benchmarks.measure import Calls, Figure, Tasks, figure, in_turns
from benchmarks.sessions import POLICY, signed_in
from servers import PostgresServer, RedisServer
from sessioncore import Active, AsyncAuthService, AuthService, Policy
from sessioncore.testing import ManualClock
from sessioncore_near_cache import AsyncNearCache, NearCache
from sessioncore_redis import AsyncRedisSessionStore, RedisInvalidationFeed, RedisSessionStore
from sessioncore_sql import PostgresInvalidationFeed, SqlSessionStore, new_engine

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from multiprocessing.connection import Connection

    from benchmarks.measure import Plan
    from sessioncore.ports import SessionStore

PATIENCE_SECONDS = 20.0
USERS = 200
SIMULATED = timedelta(hours=1)


def measure(plan: Plan) -> Iterator[Figure]:
    """
    Measure hits, the share of them, and staleness.
    """
    with RedisServer() as server:
        url = f"redis://127.0.0.1:{server.port}"
        yield from _hits(plan, url)
        for every in (2, 10, 30):
            yield _hit_rate(plan, url, timedelta(seconds=every))
        yield from _staleness("redis", _on_redis, url, plan)
    with PostgresServer() as server:
        url = server.url("psycopg")
        with _on_postgresql(url) as (store, feed):
            store.create_schema()
            feed.install()
        yield from _staleness("postgresql", _on_postgresql, url, plan)


def _hits(plan: Plan, url: str) -> Iterator[Figure]:
    with ExitStack() as stack:
        runner = stack.enter_context(asyncio.Runner())
        near = stack.enter_context(_near(_on_redis, url))
        auth = AuthService(sessions=near, policy=POLICY)
        cookie, _ = signed_in(auth)
        _wait_for_a_hit(lambda: auth.authenticate(cookie))
        opened = AsyncRedisSessionStore.connect(url)
        store = runner.run(opened.__aenter__())
        beside = AsyncNearCache(store, near.feed)
        asynchronous = AsyncAuthService(sessions=beside, policy=POLICY)
        _wait_for_a_hit(lambda: runner.run(asynchronous.authenticate(cookie)))
        client: Any = stack.enter_context(redis.Redis.from_url(url))  # pyright: ignore[reportUnknownMemberType]
        client.set("record", bytes(200))
        yield from in_turns(
            plan,
            {
                "near_cache/bare GET": Calls(partial(client.get, "record")),
                "near_cache/hit": Calls(partial(auth.authenticate, cookie)),
                "near_cache/hit/asyncio": Tasks(runner, partial(asynchronous.authenticate, cookie)),
            },
            against="near_cache/bare GET",
        )
        runner.run(beside.close())
        runner.run(opened.__aexit__(None, None, None))


def _hit_rate(plan: Plan, url: str, every: timedelta) -> Figure:
    # An hour of users who come every so often, on a clock that needs no hour.
    clock = ManualClock()
    policy = Policy(idle_timeout=timedelta(minutes=30), absolute_timeout=timedelta(hours=12))
    chance = Random(1)  # noqa: S311 - repeatable, and no secret
    users = USERS if plan.trials > 10 else 5
    with _near(_on_redis, url) as near:
        auth = AuthService(sessions=near, policy=policy, clock=clock)
        cookies = [signed_in(auth, f"user-{number}")[0] for number in range(users)]
        _wait_for_a_hit(lambda: auth.authenticate(cookies[0]))
        answers = copies = 0
        passed = timedelta(0)
        while passed < SIMULATED:
            step = chance.expovariate(1.0) * every / users
            passed += step
            clock.advance(step)
            which = chance.randrange(users)
            outcome = auth.authenticate(cookies[which])
            assert isinstance(outcome, Active)  # noqa: S101 - else nothing is measured
            if outcome.renewed is not None:
                cookies[which] = outcome.renewed.reveal()
            answers += 1
            copies += outcome.is_copy
    name = f"near_cache/hit rate/a request every {every.total_seconds():.0f} s"
    return Figure(name, 100 * copies / answers, "%")


def _staleness(name: str, opened: Callable[[str], Any], url: str, plan: Plan) -> Iterator[Figure]:
    # Counted from when the sign-out returned elsewhere to the start of the last answer that
    # had not heard of it.
    here, there = multiprocessing.Pipe()
    spawn = multiprocessing.get_context("spawn")
    other = spawn.Process(target=_sign_out_elsewhere, args=(opened, url, there), daemon=True)
    other.start()
    try:
        with _near(opened, url) as near:
            auth = AuthService(sessions=near, policy=POLICY)
            stale = [_one_sign_out(auth, here) for _ in range(10 * plan.trials)]
    finally:
        here.send(None)
        other.join(PATIENCE_SECONDS)
    summed = figure(f"near_cache/stale after a sign-out elsewhere/{name}", stale, unit="ms")
    yield summed
    yield Figure(f"{summed.name}/longest", max(stale), "ms")


def _one_sign_out(auth: AuthService, other: Connection) -> float:
    cookie, _ = signed_in(auth)
    _wait_for_a_hit(lambda: auth.authenticate(cookie))
    other.send(cookie)
    ended = last = 0.0
    while True:
        began = time.monotonic()
        alive = isinstance(auth.authenticate(cookie), Active)
        if alive:
            last = began
        if not ended and other.poll():
            ended = other.recv()
        if ended and not alive:
            return max(0.0, last - ended) * 1e3


def _sign_out_elsewhere(opened: Callable[[str], Any], url: str, here: Connection) -> None:
    with opened(url) as (store, _):
        auth = AuthService(sessions=store, policy=POLICY)
        while (cookie := here.recv()) is not None:
            auth.logout(cookie)
            here.send(time.monotonic())


@contextmanager
def _near(opened: Callable[[str], Any], url: str) -> Generator[NearCache]:
    with opened(url) as (store, feed), NearCache(store, feed) as near:
        yield near


@contextmanager
def _on_redis(url: str) -> Generator[tuple[SessionStore, Any]]:
    with RedisSessionStore.connect(url) as store:
        assert isinstance(store.client, redis.Redis)  # noqa: S101 - and not a cluster
        yield store, RedisInvalidationFeed(store.client)


@contextmanager
def _on_postgresql(url: str) -> Generator[tuple[SqlSessionStore, PostgresInvalidationFeed]]:
    engine = new_engine(url)
    try:
        yield SqlSessionStore(engine), PostgresInvalidationFeed(engine)
    finally:
        engine.dispose()


def _wait_for_a_hit(ask: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        answer = ask()
        if isinstance(answer, Active) and answer.is_copy:
            return
    raise SystemExit("the near cache never answers")
