"""
The SQL stores keep the contracts, on SQLite files.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
)
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar

import pytest
from hypothesis import settings
from sqlalchemy import Engine

from servers import IN_MEMORY
from sessioncore.testing import (
    AsyncCredentialStoreContract,
    AsyncSessionStoreContract,
    CredentialStoreContract,
    SessionStoreContract,
)
from sessioncore_sql import (
    AsyncSqlCredentialStore,
    AsyncSqlSessionStore,
    SqlCredentialStore,
    SqlSessionStore,
)


def files_of(engine: Engine) -> bytes:
    folder = Path(engine.url.database or "").parent
    return b"".join(file.read_bytes() for file in folder.iterdir())


@pytest.mark.store("SQLite", "sqlite3")
class TestSqlSessionStore(SessionStoreContract):
    @contextmanager
    def new_store(self) -> Generator[SqlSessionStore]:
        with (
            TemporaryDirectory(dir=IN_MEMORY) as folder,
            SqlSessionStore.connect(f"sqlite:///{folder}/sessions.db") as store,
        ):
            yield store

    def open_again(self, store: SqlSessionStore) -> AbstractContextManager[SqlSessionStore]:
        return SqlSessionStore.connect(store.engine.url)

    def dump(self, store: SqlSessionStore) -> bytes:
        return files_of(store.engine)


@pytest.mark.store("SQLite", "aiosqlite")
class TestAsyncSqlSessionStore(AsyncSessionStoreContract):
    # The statements are those of the other store, which is quicker to try.
    properties: ClassVar = settings(AsyncSessionStoreContract.properties, max_examples=12)

    @asynccontextmanager
    async def new_store(self) -> AsyncGenerator[AsyncSqlSessionStore]:
        with TemporaryDirectory(dir=IN_MEMORY) as folder:
            url = f"sqlite+aiosqlite:///{folder}/sessions.db"
            async with AsyncSqlSessionStore.connect(url) as store:
                yield store

    def open_again(
        self, store: AsyncSqlSessionStore
    ) -> AbstractAsyncContextManager[AsyncSqlSessionStore]:
        return AsyncSqlSessionStore.connect(store.engine.url)

    async def dump(self, store: AsyncSqlSessionStore) -> bytes:
        return files_of(store.engine.sync_engine)


@pytest.mark.store("SQLite", "sqlite3")
class TestSqlCredentialStore(CredentialStoreContract):
    @contextmanager
    def new_store(self) -> Generator[SqlCredentialStore]:
        with (
            TemporaryDirectory(dir=IN_MEMORY) as folder,
            SqlCredentialStore.connect(f"sqlite:///{folder}/users.db") as store,
        ):
            yield store

    def add_user(
        self, store: SqlCredentialStore, user_id: str, username: str, password_hash: str | None
    ) -> None:
        store.add_user(user_id, username, password_hash)

    def open_again(self, store: SqlCredentialStore) -> AbstractContextManager[SqlCredentialStore]:
        return SqlCredentialStore.connect(store.engine.url)


@pytest.mark.store("SQLite", "aiosqlite")
class TestAsyncSqlCredentialStore(AsyncCredentialStoreContract):
    @asynccontextmanager
    async def new_store(self) -> AsyncGenerator[AsyncSqlCredentialStore]:
        with TemporaryDirectory(dir=IN_MEMORY) as folder:
            url = f"sqlite+aiosqlite:///{folder}/users.db"
            async with AsyncSqlCredentialStore.connect(url) as store:
                yield store

    async def add_user(
        self,
        store: AsyncSqlCredentialStore,
        user_id: str,
        username: str,
        password_hash: str | None,
    ) -> None:
        await store.add_user(user_id, username, password_hash)

    def open_again(
        self, store: AsyncSqlCredentialStore
    ) -> AbstractAsyncContextManager[AsyncSqlCredentialStore]:
        return AsyncSqlCredentialStore.connect(store.engine.url)
