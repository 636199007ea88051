"""
Moving an old session, step by step, in the order that sessioncore_http.legacy asks for.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence

from fakes import POLICY

from sessioncore import Attempt, AuthService, LoggedIn, Refused
from sessioncore_http.legacy import (
    METHOD,
    LegacyFinding,
    LegacyMoved,
    LegacySession,
    LegacySessions,
)
from sessioncore_memory import MemorySessionStore

Step = Callable[[], object]


def a_service() -> AuthService:
    return AuthService(sessions=MemorySessionStore(), policy=POLICY)


def found(legacy: LegacySessions, cookie: str) -> LegacySession:
    """
    Return the session of *cookie*, which must be there.
    """
    finding = legacy.find(cookie)
    assert isinstance(finding, LegacySession), finding
    return finding


class Move:
    """
    One request that comes with an old cookie. Each step is a method, in :attr:`steps`.
    """

    def __init__(self, auth: AuthService, legacy: LegacySessions, cookie: str) -> None:
        self._auth = auth
        self._legacy = legacy
        self._cookie = cookie
        self._attempt: Attempt | None = None
        self._taken = False
        self.finding: LegacyFinding = None
        self.outcome: object = None
        self.steps: tuple[Step, ...] = (self.find, self.begin, self.take, self.establish)

    def find(self) -> None:
        self.finding = self._legacy.find(self._cookie)

    def begin(self) -> None:
        if isinstance(self.finding, LegacySession) and self.finding.user_id is not None:
            self._attempt = self._auth.begin(self.finding.user_id)

    def take(self) -> None:
        if self._attempt is not None and isinstance(self.finding, LegacySession):
            self._taken = self._legacy.take(self.finding)

    def establish(self) -> None:
        if self._attempt is not None and self._taken:
            self.outcome = self._auth.establish(self._attempt, methods=(METHOD,))
            if isinstance(self.outcome, LoggedIn) and isinstance(self.finding, LegacySession):
                self._auth.change_data(self.outcome.session, put=dict(self.finding.data))

    def run(self) -> str:
        """
        Do it all, and say what the browser would be told.
        """
        for step in self.steps:
            step()
        match self.outcome:
            case LoggedIn():
                return "signed in"
            case Refused():
                return "signed out"
            case _:
                was_there = isinstance(self.finding, (LegacySession, LegacyMoved))
                return "try again" if was_there else "nobody"


def orders(first: Sequence[Step], second: Sequence[Step]) -> Iterator[tuple[int, ...]]:
    """
    All ways in which two sequences of steps can happen: at which places the second's are.
    """
    return itertools.combinations(range(len(first) + len(second)), len(second))


def perform(first: Sequence[Step], second: Sequence[Step], order: tuple[int, ...]) -> None:
    """
    Perform two sequences of steps in one of the :func:`orders`.
    """
    firsts, seconds = iter(first), iter(second)
    for place in range(len(first) + len(second)):
        next(seconds if place in order else firsts)()
