"""
The classes that a store's author subclasses.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    contextmanager,
    nullcontext,
)
from typing import Any, cast

from sessioncore.ports import (
    AsyncCredentialStore,
    AsyncSessionStore,
    CredentialStore,
    SessionStore,
)
from sessioncore.testing.async_laws import AsyncSessionLaws
from sessioncore.testing.async_stores import (
    CredentialStoreOnLoop,
    LoopThread,
    SessionStoreOnLoop,
)
from sessioncore.testing.credential_laws import CredentialLaws
from sessioncore.testing.session_laws import SessionLaws
from sessioncore.testing.session_properties import SessionProperties
from sessioncore.testing.session_races import SessionRaces


class SessionStoreContract(SessionLaws, SessionProperties, SessionRaces):
    """
    What every :class:`~sessioncore.ports.SessionStore` owes, clause by clause.

    A subclass whose name starts with ``Test`` implements :meth:`new_store`, and
    may give :meth:`open_again` and :meth:`dump`, each of which lets clauses see
    more.
    """

    def new_store(self) -> AbstractContextManager[SessionStore]:
        """
        Return a context manager that gives a fresh store with nothing in it.

        Called at least once per clause, and for every history that a property
        clause tries; so it should be quick.
        """
        raise NotImplementedError("give new_store(): a context manager with an empty store")

    def open_again(self, store: Any) -> AbstractContextManager[SessionStore]:
        """
        Return a context manager that gives a second client of the same data.

        As another process would have it: with a connection of its own. By
        default it is *store* itself.
        """
        return nullcontext(store)

    def dump(self, store: Any) -> bytes | None:  # noqa: ARG002
        """
        Return every byte that *store* holds, as a thief of its disk would see it.

        With ``None``, the default, what is at rest is not examined.
        """
        return None

    def fresh_store(self) -> AbstractContextManager[SessionStore]:
        return self.new_store()

    def second_client(self, store: SessionStore) -> AbstractContextManager[SessionStore]:
        return self.open_again(store)

    def everything_in(self, store: SessionStore) -> bytes | None:
        return self.dump(store)


class AsyncSessionStoreContract(SessionLaws, SessionProperties, SessionRaces, AsyncSessionLaws):
    """
    What every :class:`~sessioncore.ports.AsyncSessionStore` owes: the same, and more.

    The clauses of :class:`SessionStoreContract`, and one about calls that are
    cancelled. The hooks are the same too; all run on one event loop.
    """

    def new_store(self) -> AbstractAsyncContextManager[AsyncSessionStore]:
        """
        See :meth:`SessionStoreContract.new_store`.
        """
        raise NotImplementedError(
            "give new_store(): an asynchronous context manager with an empty store"
        )

    def open_again(self, store: Any) -> AbstractAsyncContextManager[AsyncSessionStore]:
        """
        See :meth:`SessionStoreContract.open_again`.
        """
        return nullcontext(store)

    async def dump(self, store: Any) -> bytes | None:  # noqa: ARG002
        """
        See :meth:`SessionStoreContract.dump`.
        """
        return None

    @contextmanager
    def fresh_store(self) -> Generator[SessionStore]:
        with LoopThread() as loop, loop.entered(self.new_store()) as store:
            yield SessionStoreOnLoop(store, loop)

    @contextmanager
    def second_client(self, store: SessionStore) -> Generator[SessionStore]:
        first = cast("SessionStoreOnLoop", store)
        with first.loop.entered(self.open_again(first.store)) as second:
            yield SessionStoreOnLoop(second, first.loop)

    def everything_in(self, store: SessionStore) -> bytes | None:
        on_loop = cast("SessionStoreOnLoop", store)
        return on_loop.loop.call(self.dump(on_loop.store))


class CredentialStoreContract(CredentialLaws):
    """
    What every :class:`~sessioncore.ports.CredentialStore` owes, clause by clause.

    A subclass whose name starts with ``Test`` implements :meth:`new_store` and
    :meth:`add_user`, and may give :meth:`open_again`.
    """

    def new_store(self) -> AbstractContextManager[CredentialStore]:
        """
        Return a context manager that gives a fresh store without users.
        """
        raise NotImplementedError("give new_store(): a context manager with an empty store")

    def add_user(self, store: Any, user_id: str, username: str, password_hash: str | None) -> None:
        """
        Add a user, as the application would; without a password if the hash is ``None``.
        """
        raise NotImplementedError("give add_user(): how to add a user to the store")

    def open_again(self, store: Any) -> AbstractContextManager[CredentialStore]:
        """
        Return a context manager that gives a second client of the same data.

        As another process would have it: with a connection of its own. By
        default it is *store* itself.
        """
        return nullcontext(store)

    def fresh_store(self) -> AbstractContextManager[CredentialStore]:
        return self.new_store()

    def second_client(self, store: CredentialStore) -> AbstractContextManager[CredentialStore]:
        return self.open_again(store)

    def with_user(
        self, store: CredentialStore, user_id: str, username: str, password_hash: str | None
    ) -> None:
        self.add_user(store, user_id, username, password_hash)


class AsyncCredentialStoreContract(CredentialLaws):
    """
    What every :class:`~sessioncore.ports.AsyncCredentialStore` owes: the very same clauses.

    The hooks are those of :class:`CredentialStoreContract`, run on one event loop.
    """

    def new_store(self) -> AbstractAsyncContextManager[AsyncCredentialStore]:
        """
        See :meth:`CredentialStoreContract.new_store`.
        """
        raise NotImplementedError(
            "give new_store(): an asynchronous context manager with an empty store"
        )

    async def add_user(
        self, store: Any, user_id: str, username: str, password_hash: str | None
    ) -> None:
        """
        See :meth:`CredentialStoreContract.add_user`.
        """
        raise NotImplementedError("give add_user(): how to add a user to the store")

    def open_again(self, store: Any) -> AbstractAsyncContextManager[AsyncCredentialStore]:
        """
        See :meth:`CredentialStoreContract.open_again`.
        """
        return nullcontext(store)

    @contextmanager
    def fresh_store(self) -> Generator[CredentialStore]:
        with LoopThread() as loop, loop.entered(self.new_store()) as store:
            yield CredentialStoreOnLoop(store, loop)

    @contextmanager
    def second_client(self, store: CredentialStore) -> Generator[CredentialStore]:
        first = cast("CredentialStoreOnLoop", store)
        with first.loop.entered(self.open_again(first.store)) as second:
            yield CredentialStoreOnLoop(second, first.loop)

    def with_user(
        self, store: CredentialStore, user_id: str, username: str, password_hash: str | None
    ) -> None:
        on_loop = cast("CredentialStoreOnLoop", store)
        on_loop.loop.call(self.add_user(on_loop.store, user_id, username, password_hash))
