"""
The memory stores keep the contract.
"""

from __future__ import annotations

import pickle
from contextlib import AbstractAsyncContextManager, AbstractContextManager, nullcontext

import pytest

from sessioncore.ports import (
    AsyncCredentialStore,
    AsyncSessionStore,
    CredentialStore,
    SessionStore,
)
from sessioncore.testing import (
    AsyncCredentialStoreContract,
    AsyncSessionStoreContract,
    CredentialStoreContract,
    SessionStoreContract,
)
from sessioncore_memory import (
    AsyncMemoryCredentialStore,
    AsyncMemorySessionStore,
    MemoryCredentialStore,
    MemorySessionStore,
)


@pytest.mark.store("memory", "-")
class TestMemorySessionStore(SessionStoreContract):
    def new_store(self) -> AbstractContextManager[SessionStore]:
        return nullcontext(MemorySessionStore())

    def dump(self, store: MemorySessionStore) -> bytes:
        return everything_in(store)


@pytest.mark.store("memory", "-")
class TestAsyncMemorySessionStore(AsyncSessionStoreContract):
    def new_store(self) -> AbstractAsyncContextManager[AsyncSessionStore]:
        return nullcontext(AsyncMemorySessionStore())

    async def dump(self, store: AsyncMemorySessionStore) -> bytes:
        return everything_in(store._store)


@pytest.mark.store("memory", "-")
class TestMemoryCredentialStore(CredentialStoreContract):
    def new_store(self) -> AbstractContextManager[CredentialStore]:
        return nullcontext(MemoryCredentialStore())

    def add_user(
        self,
        store: MemoryCredentialStore,
        user_id: str,
        username: str,
        password_hash: str | None,
    ) -> None:
        store.add_user(user_id, username, password_hash)


@pytest.mark.store("memory", "-")
class TestAsyncMemoryCredentialStore(AsyncCredentialStoreContract):
    def new_store(self) -> AbstractAsyncContextManager[AsyncCredentialStore]:
        return nullcontext(AsyncMemoryCredentialStore())

    async def add_user(
        self,
        store: AsyncMemoryCredentialStore,
        user_id: str,
        username: str,
        password_hash: str | None,
    ) -> None:
        await store.add_user(user_id, username, password_hash)


def everything_in(store: MemorySessionStore) -> bytes:
    return pickle.dumps(
        (store._of_subject, store._of_epoch, store._sessions_due, store._epochs_due)
    )
