"""
The credential stores: users, and the hashes of their passwords.
"""

from __future__ import annotations

import threading

import attrs

from sessioncore.ports import Account


@attrs.define(eq=False)
class _User:
    account: Account
    username: str
    password_hash: str | None = attrs.field(repr=False)


@attrs.define(eq=False)
class MemoryCredentialStore:
    """
    A :class:`~sessioncore.ports.CredentialStore` for the threads of one process.

    Names are compared exactly as typed.
    """

    _by_id: dict[str, _User] = attrs.field(factory=dict[str, _User], init=False, repr=False)
    _by_name: dict[str, _User] = attrs.field(factory=dict[str, _User], init=False, repr=False)
    _lock: threading.Lock = attrs.field(factory=threading.Lock, init=False, repr=False)

    def add_user(
        self, user_id: str, username: str, password_hash: str | None, role: str | None = None
    ) -> bool:
        """
        Add a user, without a password if *password_hash* is ``None``.

        Returns:
            Whether the user was added; ``False`` if the id or the name is taken.
        """
        with self._lock:
            if user_id in self._by_id or username in self._by_name:
                return False
            user = _User(Account(user_id, role), username, password_hash)
            self._by_id[user_id] = self._by_name[username] = user
            return True

    def set_hash(self, user_id: str, password_hash: str | None) -> bool:
        """
        Set a user's password hash whatever it was, as a password reset does.

        End the user's sessions after it, with ``logout_everywhere``.

        Returns:
            Whether there is such a user.
        """
        with self._lock:
            user = self._by_id.get(user_id)
            if user is None:
                return False
            user.password_hash = password_hash
            return True

    def remove_user(self, user_id: str) -> bool:
        """
        Remove a user. Idempotent.

        Returns:
            Whether this call removed one.
        """
        with self._lock:
            user = self._by_id.pop(user_id, None)
            if user is None:
                return False
            del self._by_name[user.username]
            return True

    def find_user(self, username: str, /) -> Account | None:
        """
        See :meth:`sessioncore.ports.CredentialStore.find_user`.
        """
        with self._lock:
            user = self._by_name.get(username)
            return None if user is None else user.account

    def read_hash(self, user_id: str, /) -> str | None:
        """
        See :meth:`sessioncore.ports.CredentialStore.read_hash`.
        """
        with self._lock:
            user = self._by_id.get(user_id)
            return None if user is None else user.password_hash

    def replace_hash(self, user_id: str, verified: str, new: str, /) -> bool:
        """
        See :meth:`sessioncore.ports.CredentialStore.replace_hash`.
        """
        with self._lock:
            user = self._by_id.get(user_id)
            if user is None:
                return False
            if user.password_hash == verified:
                user.password_hash = new
            return user.password_hash == new


@attrs.define(eq=False)
class AsyncMemoryCredentialStore:
    """
    The same for the tasks of an event loop; threads may share *store* with it.
    """

    _store: MemoryCredentialStore = attrs.field(factory=MemoryCredentialStore, repr=False)

    async def add_user(
        self, user_id: str, username: str, password_hash: str | None, role: str | None = None
    ) -> bool:
        """
        See :meth:`MemoryCredentialStore.add_user`.
        """
        return self._store.add_user(user_id, username, password_hash, role)

    async def set_hash(self, user_id: str, password_hash: str | None) -> bool:
        """
        See :meth:`MemoryCredentialStore.set_hash`.
        """
        return self._store.set_hash(user_id, password_hash)

    async def remove_user(self, user_id: str) -> bool:
        """
        See :meth:`MemoryCredentialStore.remove_user`.
        """
        return self._store.remove_user(user_id)

    async def find_user(self, username: str, /) -> Account | None:
        """
        See :meth:`sessioncore.ports.CredentialStore.find_user`.
        """
        return self._store.find_user(username)

    async def read_hash(self, user_id: str, /) -> str | None:
        """
        See :meth:`sessioncore.ports.CredentialStore.read_hash`.
        """
        return self._store.read_hash(user_id)

    async def replace_hash(self, user_id: str, verified: str, new: str, /) -> bool:
        """
        See :meth:`sessioncore.ports.CredentialStore.replace_hash`.
        """
        return self._store.replace_hash(user_id, verified, new)
