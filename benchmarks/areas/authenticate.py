"""
The hot path: an authenticated request that only reads, beside the bare read of the same bytes.

With threads, with tasks of one event loop, and in memory; then what such requests
cost their server, counted there, and how often being seen is written down.
"""

from __future__ import annotations

import asyncio
import gc
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from benchmarks.measure import Calls, Figure, Tasks, Threads, in_turns
from benchmarks.sessions import POLICY, signed_in, signed_in_async
from benchmarks.stores import (
    BYTES_FROM_SERVER,
    BYTES_TO_SERVER,
    ROUND_TRIPS,
    WRITES,
    servers,
    spent,
)
from sessioncore import Active, AsyncAuthService, AuthService
from sessioncore.testing import ManualClock
from sessioncore_memory import AsyncMemorySessionStore, MemorySessionStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractAsyncContextManager

    from benchmarks.measure import Case, Plan
    from benchmarks.stores import Backend
    from sessioncore import Policy
    from sessioncore.ports import SessionStore

T = TypeVar("T")

_THREADS: Final = (1, 4)
_TASKS: Final = (1, 16, 64)

# Being seen is never due: what is measured is the request that only reads.
_READ_ONLY: Final = replace(POLICY, touch_interval=timedelta(hours=1))

_WITHOUT_RENEWAL: Final = replace(POLICY, renewal_interval=None)
_SPAN: Final = timedelta(hours=1)
_BETWEEN_REQUESTS: Final = timedelta(seconds=20)


def measure(plan: Plan) -> Iterator[Figure]:
    """
    Measure each kind of store, one after the other.
    """
    # Else every round begins with a look at all that was ever imported.
    gc.freeze()
    for backend in servers():
        with backend:
            yield from _with_threads(plan, backend)
            yield from _bare_otherwise(plan, backend)
            yield from _with_tasks(plan, backend)
            if backend.name == "redis":
                yield from _in_memory(plan, backend)
            if backend.name != "redis-unix":
                yield from _counted(backend, 20 * plan.trials)


def _with_threads(plan: Plan, backend: Backend) -> Iterator[Figure]:
    with ExitStack() as opened:
        stores = {
            way: opened.enter_context(backend.store(**options))
            for way, options in backend.ways.items()
        }
        auths = {way: AuthService(sessions=stores[way], policy=_READ_ONLY) for way in stores}
        cookie, session = signed_in(auths[""])
        for threads in _THREADS:
            bare = opened.enter_context(backend.bare(session, threads))
            against = f"authenticate/{backend.name}/bare/threads-{threads}"
            cases = {against: _by(threads, bare)}
            for way, auth in auths.items():
                name = _path("authenticate", backend.name, f"threads-{threads}", way)
                cases[name] = _by(threads, partial(auth.authenticate, cookie))
            yield from in_turns(plan, cases, against=against)


def _path(*parts: str) -> str:
    return "/".join(filter(None, parts))


def _by(threads: int, call: Callable[[], object]) -> Case:
    return Calls(call) if threads == 1 else Threads(call, threads)


def _bare_otherwise(plan: Plan, backend: Backend) -> Iterator[Figure]:
    with ExitStack() as opened:
        auth = AuthService(sessions=opened.enter_context(backend.store()), policy=_READ_ONLY)
        _, session = signed_in(auth)
        usual = f"authenticate/{backend.name}/bare/threads-1"
        others = opened.enter_context(backend.bare_otherwise(session))
        cases = {usual: Calls(opened.enter_context(backend.bare(session, 1)))}
        cases |= {f"{usual}/{how}": Calls(read) for how, read in others.items()}
        if others:
            yield from in_turns(plan, cases, against=usual)[1:]


def _with_tasks(plan: Plan, backend: Backend) -> Iterator[Figure]:
    with asyncio.Runner() as runner, ExitStack() as opened:

        def enter(manager: AbstractAsyncContextManager[T]) -> T:
            opened.callback(lambda: runner.run(_left(manager)))
            return runner.run(_entered(manager))

        stores = {
            way: enter(backend.async_store(**options)) for way, options in backend.ways.items()
        }
        auths = {way: AsyncAuthService(sessions=stores[way], policy=_READ_ONLY) for way in stores}
        cookie, session = runner.run(signed_in_async(auths[""]))
        bare = enter(backend.async_bare(session))
        for tasks in _TASKS:
            against = f"authenticate/{backend.name}/bare/tasks-{tasks}"
            cases = {against: Tasks(runner, bare, tasks)}
            for way, auth in auths.items():
                name = _path("authenticate", backend.name, f"tasks-{tasks}", way)
                cases[name] = Tasks(runner, partial(auth.authenticate, cookie), tasks)
            yield from in_turns(plan, cases, against=against)


async def _entered(manager: AbstractAsyncContextManager[T]) -> T:
    return await manager.__aenter__()


async def _left(manager: AbstractAsyncContextManager[object]) -> None:
    await manager.__aexit__(None, None, None)


def _in_memory(plan: Plan, redis: Backend) -> Iterator[Figure]:
    # Beside Redis once more: only what takes turns with it can be compared with it.
    beside, alone = f"authenticate/{redis.name}/threads-1", "authenticate/memory/threads-1"
    auth = AuthService(sessions=MemorySessionStore(), policy=_READ_ONLY)
    cookie, _ = signed_in(auth)
    ours = partial(auth.authenticate, cookie)
    with redis.store() as store:
        on_redis = AuthService(sessions=store, policy=_READ_ONLY)
        theirs, _ = signed_in(on_redis)
        cases = {beside: Calls(partial(on_redis.authenticate, theirs)), alone: Calls(ours)}
        yield from in_turns(plan, cases, against=beside)[1:]
    crowded: dict[str, Case] = {
        alone: Calls(ours),
        "authenticate/memory/threads-4": Threads(ours, 4),
    }
    yield from in_turns(plan, crowded, against=alone)[1:]
    with asyncio.Runner() as runner:
        twin = AsyncAuthService(sessions=AsyncMemorySessionStore(), policy=_READ_ONLY)
        cookie, _ = runner.run(signed_in_async(twin))
        yield from in_turns(
            plan,
            {
                f"authenticate/memory/tasks-{tasks}": Tasks(
                    runner, partial(twin.authenticate, cookie), tasks
                )
                for tasks in _TASKS
            },
        )


def _counted(backend: Backend, requests: int) -> Iterator[Figure]:
    name = f"authenticate/{backend.name}"
    with backend.counted() as (store, counts):
        auth = AuthService(sessions=store, policy=_READ_ONLY)
        cookie, _ = signed_in(auth)
        auth.authenticate(cookie)

        def read() -> None:
            for _ in range(requests):
                auth.authenticate(cookie)

        cost = spent(counts, read)
        yield Figure(f"{name}/round-trips-per-request", cost.pop(ROUND_TRIPS) / requests, "")
        for what in (BYTES_TO_SERVER, BYTES_FROM_SERVER):
            if what in cost:
                slug = what.replace(" ", "-")
                yield Figure(f"{name}/{slug}-per-request", cost.pop(what) / requests, "bytes")
        yield Figure(f"{name}/commands-per-request", cost.total() / requests, "")
        for policy, slug in ((_WITHOUT_RENEWAL, ""), (POLICY, "/with-renewal")):
            cost = spent(counts, _busy_session(store, policy))
            writes = sum(cost[write] for write in WRITES)
            intervals = _SPAN / policy.touch_interval
            yield Figure(f"{name}/writes-per-touch-interval{slug}", writes / intervals, "")


def _busy_session(store: SessionStore, policy: Policy) -> Callable[[], None]:
    clock = ManualClock()
    auth = AuthService(sessions=store, policy=policy, clock=clock)
    cookie, _ = signed_in(auth)
    # What is sent only once, such as the text of a script, comes before.
    clock.advance(policy.touch_interval)
    auth.authenticate(cookie)

    def requests() -> None:
        presented = cookie
        for _ in range(_SPAN // _BETWEEN_REQUESTS):
            clock.advance(_BETWEEN_REQUESTS)
            outcome = auth.authenticate(presented)
            assert isinstance(outcome, Active)  # noqa: S101 - else nothing is measured
            if outcome.renewed is not None:
                presented = outcome.renewed.reveal()

    return requests
