"""
The laws that only an asynchronous session store can break.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Final, cast

from sessioncore.errors import StoreError
from sessioncore.ports import AsyncSessionStore, DataWrite
from sessioncore.session import DataChange, Session
from sessioncore.testing.async_stores import SessionStoreOnLoop
from sessioncore.testing.harness import SessionHarness
from sessioncore.testing.laws import async_session_law as law
from sessioncore.testing.records import a_change, a_user, sign_in, successor, values

_TURNS: Final = (0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144)
"""After how many turns of the loop a call is cancelled."""

_Call = Callable[[AsyncSessionStore, Session, Session, DataChange], Coroutine[Any, Any, object]]

_CALLS: Final[tuple[_Call, ...]] = (
    lambda store, old, _new, _change: store.find(old.locator),
    lambda store, old, _new, _change: store.roster(old.subject),
    lambda store, old, new, _change: store.replace(old, new),
    lambda store, old, _new, change: store.write_data(old.locator, change),
)


class AsyncSessionLaws(SessionHarness):
    """
    Clauses about calls that are cancelled.
    """

    def test_a_cancelled_call_leaves_a_store_that_answers_truly(self) -> None:
        broken = law(
            "A call that is cancelled has an unknown outcome, like one whose reply is lost."
        )
        with self.fresh_store() as store:
            on_loop = cast("SessionStoreOnLoop", store)
            for turns in _TURNS:
                for call in _CALLS:
                    old = sign_in(store, a_user())
                    new, change = successor(old), a_change({"key": b"1"})
                    cancelled = call(on_loop.store, old, new, change)
                    on_loop.loop.call(_cancel(cancelled, turns))
                    bystander = sign_in(store, a_user())
                    assert store.find(bystander.locator) == bystander, broken
                    assert store.roster(bystander.subject).sessions == (bystander,), broken
                    assert store.find(old.locator) in (old, new), broken
                    # Whether or not it took effect, it can be repeated.
                    assert store.replace(old, new) is True, broken
                    assert store.write_data(old.locator, change) is DataWrite.WRITTEN, broken
                    assert store.find(old.locator) == new, broken
                    assert values(store, new) == {"key": b"1"}, broken


async def _cancel(call: Coroutine[Any, Any, object], turns: int) -> None:
    task = asyncio.ensure_future(call)
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    with suppress(asyncio.CancelledError, StoreError):
        await task
