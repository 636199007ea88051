"""
What the clauses need from a contract: stores to try, and how hard to try.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import ClassVar

from hypothesis import HealthCheck, settings

from sessioncore.ports import CredentialStore, SessionStore


class SessionHarness:
    """
    Gives the clauses about session stores a store, whatever it is made of.
    """

    properties: ClassVar[settings] = settings(
        max_examples=50,
        stateful_step_count=40,
        deadline=None,
        print_blob=True,
        report_multiple_bugs=False,
        # A store may be slow; that is not what is examined here.
        suppress_health_check=[HealthCheck.too_slow],
    )
    """
    How hard a property clause tries. For a thorough run, override it with
    ``settings(SessionStoreContract.properties, max_examples=1000)``.
    """

    race_rounds: ClassVar[int] = 20
    """How often a race is run at most."""

    race_seconds: ClassVar[float] = 2.0
    """After which no further round is started."""

    racers: ClassVar[int] = 6
    """How many calls are made at once."""

    def fresh_store(self) -> AbstractContextManager[SessionStore]:
        """
        A new, empty store.
        """
        raise NotImplementedError

    def second_client(self, store: SessionStore) -> AbstractContextManager[SessionStore]:
        """
        Another client of the same data.
        """
        raise NotImplementedError

    def everything_in(self, store: SessionStore) -> bytes | None:
        """
        All bytes that the store holds, or ``None`` if it cannot tell.
        """
        raise NotImplementedError

    def rounds(self) -> Iterator[int]:
        """
        Number the rounds of a race, as many as time allows and at least one.
        """
        return _rounds(self.race_rounds, self.race_seconds)


class CredentialHarness:
    """
    Gives the clauses about credential stores a store, whatever it is made of.
    """

    race_rounds: ClassVar[int] = 20
    """How often a race is run at most."""

    race_seconds: ClassVar[float] = 2.0
    """After which no further round is started."""

    racers: ClassVar[int] = 6
    """How many calls are made at once."""

    def fresh_store(self) -> AbstractContextManager[CredentialStore]:
        """
        A new store without users.
        """
        raise NotImplementedError

    def second_client(self, store: CredentialStore) -> AbstractContextManager[CredentialStore]:
        """
        Another client of the same data.
        """
        raise NotImplementedError

    def with_user(
        self, store: CredentialStore, user_id: str, username: str, password_hash: str | None
    ) -> None:
        """
        Make a user known to the store.
        """
        raise NotImplementedError

    def rounds(self) -> Iterator[int]:
        """
        Number the rounds of a race, as many as time allows and at least one.
        """
        return _rounds(self.race_rounds, self.race_seconds)


def _rounds(most: int, seconds: float) -> Iterator[int]:
    enough = time.monotonic() + seconds
    for number in range(most):
        if number and time.monotonic() > enough:
            return
        yield number
