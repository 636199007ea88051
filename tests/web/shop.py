"""
A service with everything around it, for applications of both kinds.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from types import TracebackType
from typing import Final, Self

from fakes import Journal, JournalledSessionStore, expect, fails, goes_through

from sessioncore import AsyncAuthService, AuthService, Policies, Policy, StoreUnavailable
from sessioncore.testing import ManualClock, RecordingEvents
from sessioncore_argon2 import Argon2Parameters, Argon2PasswordHasher, AsyncArgon2PasswordHasher
from sessioncore_memory import (
    AsyncMemoryCredentialStore,
    AsyncMemorySessionStore,
    MemoryCredentialStore,
)

USER_ID: Final = "u-1"
USERNAME: Final = "alice"
PASSWORD: Final = "correct horse battery staple"

SECOND: Final = timedelta(seconds=1)
MINUTE: Final = timedelta(minutes=1)

POLICY: Final = Policy(
    idle_timeout=30 * MINUTE,
    absolute_timeout=timedelta(hours=12),
    renewal_interval=15 * MINUTE,
    grace=30 * SECOND,
    reauthentication_age=15 * MINUTE,
)
REMEMBERED: Final = replace(Policy.remembered(), reauthentication_age=15 * MINUTE)

CHEAP: Final = Argon2Parameters(memory_kib=8, passes=1, weaker_because="tests")
STORE_CALLS: Final = (
    "open_epoch",
    "find",
    "find_with_data",
    "replace",
    "roster",
    "admit",
    "restart",
    "delete",
    "delete_user",
    "read_data",
    "write_data",
    "purge",
)


class Shop:
    """
    One user, memory stores, a clock that stands still, and two services over them.
    """

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.events = RecordingEvents()
        self.journal = Journal()
        """Every call of the session store."""

        self.sessions = JournalledSessionStore(self.journal)
        self.credentials = MemoryCredentialStore()
        self._passwords = Argon2PasswordHasher(CHEAP)
        self._async_passwords = AsyncArgon2PasswordHasher(CHEAP)
        self.add_user(USER_ID, USERNAME)
        policies = Policies(POLICY, REMEMBERED)
        self.auth = AuthService(
            sessions=self.sessions,
            credentials=self.credentials,
            passwords=self._passwords,
            policy=policies,
            events=self.events,
            clock=self.clock,
        )
        self.async_auth = AsyncAuthService(
            sessions=AsyncMemorySessionStore(self.sessions),
            credentials=AsyncMemoryCredentialStore(self.credentials),
            passwords=self._async_passwords,
            policy=policies,
            events=self.events,
            clock=self.clock,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        asyncio.run(self._async_passwords.close())

    def add_user(self, user_id: str, username: str) -> None:
        """
        Add a user, with the password of all users.
        """
        self.credentials.add_user(user_id, username, expect(str, self._passwords.hash(PASSWORD)))

    def wait(self, duration: timedelta) -> None:
        """
        Let time pass.
        """
        self.clock.advance(duration)

    def take_store_down(self) -> None:
        """
        Let every call of the session store fail from now on.
        """
        for name in STORE_CALLS:
            self.journal.always(name, fails(StoreUnavailable("down, for a test")))

    def bring_store_up(self) -> None:
        """
        Let the session store answer again.
        """
        for name in STORE_CALLS:
            self.journal.always(name, goes_through)
