"""
A near cache keeps the contract of the store that it wraps: ``find`` reads the store.
"""

from __future__ import annotations

import pickle
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from datetime import timedelta
from typing import cast

import pytest
from near_caches import HandFeed

from sessioncore.ports import AsyncSessionStore, SessionStore
from sessioncore.testing import AsyncSessionStoreContract, SessionStoreContract
from sessioncore_memory import AsyncMemorySessionStore, MemorySessionStore
from sessioncore_near_cache import AsyncNearCache, NearCache

# Copies are held for as long as a clause runs.
LONG = timedelta(minutes=1)


@pytest.mark.store("memory, near cache", "-")
class TestNearCache(SessionStoreContract):
    def new_store(self) -> AbstractContextManager[SessionStore]:
        return NearCache(MemorySessionStore(), HandFeed(), max_staleness=LONG)

    def dump(self, store: NearCache) -> bytes:
        return everything_in(store.store)


@pytest.mark.store("memory, near cache", "-")
class TestAsyncNearCache(AsyncSessionStoreContract):
    def new_store(self) -> AbstractAsyncContextManager[AsyncSessionStore]:
        return AsyncNearCache(AsyncMemorySessionStore(), HandFeed(), max_staleness=LONG)

    async def dump(self, store: AsyncNearCache) -> bytes:
        return everything_in(cast("AsyncMemorySessionStore", store.store)._store)


def everything_in(store: SessionStore) -> bytes:
    memory = cast("MemorySessionStore", store)
    return pickle.dumps(
        (memory._of_subject, memory._of_epoch, memory._sessions_due, memory._epochs_due)
    )
