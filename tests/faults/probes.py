"""
What stands between a service and its stores in a client: eyes, and a brake.

The wrappers note which writes had an unknown outcome, when a hash had been read, and
what was verified; and they wait before a write when they are told to, so that
whatever was read before is old by then.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from typing import Any, Final, cast

from faults.record import notes
from sessioncore.errors import OutcomeUnknown
from sessioncore.ports import (
    AsyncCredentialStore,
    AsyncSessionStore,
    CredentialStore,
    RecallsSessions,
    SessionStore,
)
from sessioncore.session import Locator, Session

WRITES: Final = frozenset(
    {
        "replace",
        "admit",
        "restart",
        "delete",
        "delete_user",
        "write_data",
        "replace_hash",
    }
)


class Brake:
    """
    Holds up the next writes, when it is told to. Thread-safe.
    """

    def __init__(self) -> None:
        self._pauses: deque[float] = deque()
        self._lock = threading.Lock()

    def hold(self, seconds: float, writes: int) -> None:
        """
        Hold up each of the next *writes* for as long.
        """
        with self._lock:
            self._pauses.extend([seconds] * writes)

    def next_pause(self, operation: str) -> float:
        """
        Return for how long *operation* is to be held up.
        """
        if operation not in WRITES:
            return 0.0
        with self._lock:
            return self._pauses.popleft() if self._pauses else 0.0


class _Probe:
    """
    Passes every operation on to a store for threads.
    """

    def __init__(self, store: object, brake: Brake) -> None:
        self._store = store
        self._brake = brake

    def __getattr__(self, name: str) -> Any:
        operation = getattr(self._store, name)

        def call(*arguments: Any) -> Any:
            if pause := self._brake.next_pause(name):
                time.sleep(pause)
            try:
                answer = operation(*arguments)
            except OutcomeUnknown:
                _lost(name)
                raise
            _answered(name)
            return answer

        return call


class _AsyncProbe:
    """
    Passes every operation on to a store for asyncio.
    """

    def __init__(self, store: object, brake: Brake) -> None:
        self._store = store
        self._brake = brake

    def __getattr__(self, name: str) -> Any:
        operation = getattr(self._store, name)

        async def call(*arguments: Any) -> Any:
            if pause := self._brake.next_pause(name):
                await asyncio.sleep(pause)
            try:
                answer = await operation(*arguments)
            except OutcomeUnknown:
                _lost(name)
                raise
            _answered(name)
            return answer

        return call


class _RecallingProbe(_Probe):
    """
    Passes on what copies say as well.
    """

    def recall(self, locator: Locator) -> Session | None:
        return cast("RecallsSessions", self._store).recall(locator)


class _AsyncRecallingProbe(_AsyncProbe):
    """
    Passes on what copies say as well, which nobody waits for.
    """

    def recall(self, locator: Locator) -> Session | None:
        return cast("RecallsSessions", self._store).recall(locator)


def _lost(name: str) -> None:
    if name in WRITES:
        notes.get().lost.append(name)


def _answered(name: str) -> None:
    if name == "read_hash":
        notes.get().read = time.monotonic_ns()


def probed_sessions(store: SessionStore, brake: Brake) -> SessionStore:
    """
    Return *store* behind a probe.
    """
    kind = _RecallingProbe if isinstance(store, RecallsSessions) else _Probe
    return cast("SessionStore", kind(store, brake))


def probed_credentials(store: CredentialStore, brake: Brake) -> CredentialStore:
    """
    Return *store* behind a probe.
    """
    return cast("CredentialStore", _Probe(store, brake))


def probed_async_sessions(store: AsyncSessionStore, brake: Brake) -> AsyncSessionStore:
    """
    Return *store* behind a probe.
    """
    kind = _AsyncRecallingProbe if isinstance(store, RecallsSessions) else _AsyncProbe
    return cast("AsyncSessionStore", kind(store, brake))


def probed_async_credentials(store: AsyncCredentialStore, brake: Brake) -> AsyncCredentialStore:
    """
    Return *store* behind a probe.
    """
    return cast("AsyncCredentialStore", _AsyncProbe(store, brake))
