"""
Purging in the background: in rounds, at random intervals, with a clean end.
"""

from __future__ import annotations

import asyncio
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, cast

import pytest

from sessioncore import (
    AsyncAuthService,
    AsyncPurger,
    AuthService,
    Policy,
    Purged,
    Purger,
    StoreUnavailable,
)
from sessioncore.purger import pause
from sessioncore.testing import ManualClock, SeededEntropy
from sessioncore_memory import AsyncMemorySessionStore, MemorySessionStore

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE = 20.0
SOON = timedelta(milliseconds=1)
NEVER = timedelta(days=1_000)
NOW = datetime(2026, 1, 1, tzinfo=UTC)
POLICY = Policy(idle_timeout=timedelta(minutes=30), absolute_timeout=timedelta(hours=12))


class Script:
    """
    An ``AuthService`` as far as a purger goes: does what it is told at each call.
    """

    def __init__(self, *steps: Callable[[], Purged]) -> None:
        self._steps = list(steps)
        self.limits: list[int] = []
        self.exhausted = threading.Event()

    def purge(self, limit: int) -> Purged:
        self.limits.append(limit)
        if not self._steps:
            self.exhausted.set()
            return nothing()
        return self._steps.pop(0)()

    def for_threads(self) -> AuthService:
        return cast("AuthService", self)

    def for_asyncio(self) -> AsyncAuthService:
        script = self

        class Awaited:
            async def purge(self, limit: int) -> Purged:
                await asyncio.sleep(0)
                return script.purge(limit)

        return cast("AsyncAuthService", Awaited())


def nothing() -> Purged:
    return Purged(sessions=0, epochs=0, more=False)


def a_full_batch() -> Purged:
    return Purged(sessions=1, epochs=0, more=True)


def an_outage() -> Purged:
    raise StoreUnavailable("down")


async def until(happened: threading.Event) -> None:
    assert await asyncio.to_thread(happened.wait, PATIENCE)


def test_what_has_expired_is_deleted_in_the_background() -> None:
    clock = ManualClock(NOW)
    store = MemorySessionStore()
    auth = AuthService(sessions=store, policy=POLICY, clock=clock)
    locator = auth.start_anonymous().session.locator
    clock.advance(timedelta(days=30))
    assert store.find(locator)
    with Purger(auth, every=SOON):
        give_up = time.monotonic() + PATIENCE
        while store.find(locator) and time.monotonic() < give_up:
            time.sleep(0.001)
    assert store.find(locator) is None


def test_a_round_is_as_many_batches_as_it_takes() -> None:
    script = Script(a_full_batch, a_full_batch, nothing)
    with Purger(script.for_threads(), every=SOON, limit=7):
        assert script.exhausted.wait(PATIENCE)
    assert set(script.limits) == {7}


def test_a_round_that_fails_is_told_and_made_up_for() -> None:
    told: list[Exception] = []
    script = Script(a_full_batch, an_outage, an_outage, nothing)
    with Purger(script.for_threads(), every=SOON, on_error=told.append):
        assert script.exhausted.wait(PATIENCE)
    assert [type(error) for error in told] == [StoreUnavailable, StoreUnavailable]


def test_a_failure_that_nobody_wants_to_know_of_ends_nothing() -> None:
    script = Script(an_outage)
    with Purger(script.for_threads(), every=SOON):
        assert script.exhausted.wait(PATIENCE)


def test_stopping_interrupts_the_pause() -> None:
    purger = Purger(Script().for_threads(), every=NEVER)
    purger.start()
    purger.stop()
    assert not running()


def test_stopping_waits_for_the_batch_under_way_and_begins_no_other() -> None:
    begun, may_end = threading.Event(), threading.Event()

    def a_slow_batch() -> Purged:
        begun.set()
        assert may_end.wait(PATIENCE)
        return a_full_batch()

    script = Script(a_slow_batch)
    purger = Purger(script.for_threads(), every=SOON)
    purger.start()
    assert begun.wait(PATIENCE)
    stopping = threading.Thread(target=purger.stop)
    stopping.start()
    stopping.join(0.05)
    assert stopping.is_alive()
    may_end.set()
    stopping.join(PATIENCE)
    assert not stopping.is_alive()
    assert len(script.limits) == 1


def test_a_purger_can_be_started_twice_stopped_twice_and_started_again() -> None:
    script = Script()
    purger = Purger(script.for_threads(), every=SOON)
    purger.stop()
    purger.start()
    purger.start()
    assert running() == 1
    purger.stop()
    purger.stop()
    with purger:
        assert script.exhausted.wait(PATIENCE)
    assert not running()


def running() -> int:
    return sum(thread.name == "sessioncore-purger" for thread in threading.enumerate())


def test_for_asyncio_what_has_expired_is_deleted_in_the_background() -> None:
    async def run() -> None:
        clock = ManualClock(NOW)
        store = AsyncMemorySessionStore()
        auth = AsyncAuthService(sessions=store, policy=POLICY, clock=clock)
        locator = (await auth.start_anonymous()).session.locator
        clock.advance(timedelta(days=30))
        assert await store.find(locator)
        done = asyncio.Event()

        class Watched:
            async def purge(self, limit: int) -> Purged:
                purged = await auth.purge(limit)
                if purged.sessions:
                    done.set()
                return purged

        async with AsyncPurger(cast("AsyncAuthService", Watched()), every=SOON):
            await asyncio.wait_for(done.wait(), PATIENCE)
        assert await store.find(locator) is None

    asyncio.run(run())


def test_for_asyncio_a_round_that_fails_is_told_and_made_up_for() -> None:
    async def run() -> None:
        told: list[Exception] = []
        script = Script(a_full_batch, an_outage, an_outage, nothing)
        async with AsyncPurger(script.for_asyncio(), every=SOON, limit=7, on_error=told.append):
            await until(script.exhausted)
        assert [type(error) for error in told] == [StoreUnavailable, StoreUnavailable]
        assert set(script.limits) == {7}

    asyncio.run(run())


def test_for_asyncio_a_failure_that_nobody_wants_to_know_of_ends_nothing() -> None:
    async def run() -> None:
        script = Script(an_outage)
        async with AsyncPurger(script.for_asyncio(), every=SOON):
            await until(script.exhausted)

    asyncio.run(run())


def test_for_asyncio_stopping_interrupts_the_pause_and_waits_for_a_batch() -> None:
    async def run() -> None:
        async with AsyncPurger(Script().for_asyncio(), every=NEVER):
            pass

        begun, may_end = asyncio.Event(), asyncio.Event()
        batches = 0

        class Slow:
            async def purge(self, limit: int) -> Purged:
                nonlocal batches
                batches += 1
                begun.set()
                await may_end.wait()
                return a_full_batch()

        purger = AsyncPurger(cast("AsyncAuthService", Slow()), every=SOON)
        purger.start()
        purger.start()
        await begun.wait()
        stopping = asyncio.ensure_future(purger.stop())
        await asyncio.sleep(0)
        assert not stopping.done()
        may_end.set()
        await stopping
        await purger.stop()
        assert batches == 1

    asyncio.run(asyncio.wait_for(run(), PATIENCE))


def test_pauses_are_spread_evenly_around_what_was_asked_for() -> None:
    entropy = SeededEntropy(1)
    every = timedelta(minutes=10)
    pauses = sorted(pause(every, entropy) for _ in range(1_000))
    assert every / 2 <= pauses[0] < every * 0.51
    assert every * 1.49 < pauses[-1] < every * 1.5
    assert every * 0.95 < pauses[500] < every * 1.05


@pytest.mark.parametrize("every", [timedelta(0), timedelta(seconds=-1)])
def test_a_pause_of_no_length_is_refused(every: timedelta) -> None:
    with pytest.raises(ValueError, match="every"):
        Purger(Script().for_threads(), every=every)
    with pytest.raises(ValueError, match="every"):
        AsyncPurger(Script().for_asyncio(), every=every)


def test_a_batch_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="limit"):
        Purger(Script().for_threads(), limit=0)
