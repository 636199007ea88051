"""
Planted bugs: what the checkers have to find.

Each stands for a way in which real libraries go wrong, and each names the promise
whose checker is meant to find it. Clients for threads can be told to have one. A bug
of a store is a wrapper around the real one; a bug of the service is a subclass.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from faults import leaks, near
from faults.config import DEFAULT, STRICT, Times
from faults.history import SECOND
from faults.promises import (
    copies,
    data,
    deaths,
    everywhere,
    guesses,
    limit,
    outages,
    outcomes,
    resurrection,
    revocation,
    successors,
    timeouts,
)
from sessioncore import AuthService
from sessioncore.errors import OutcomeUnknown, StoreError, StoreUnavailable
from sessioncore.outcomes import DataChanged, LoggedOut, SessionGone, Throttled
from sessioncore.policy import Policies
from sessioncore.ports import (
    Admission,
    InvalidationFeed,
    InvalidationListener,
    Reservation,
    SessionStore,
    ThrottleKey,
)
from sessioncore.session import DataChange, Locator, Session, Subject
from sessioncore_near_cache import NearCache

FAST: Final = Times(idle=700, absolute=1_800, touch=60, renewal=240, grace=90)
"""Where much happens at a time."""

CALM: Final = Times(idle=20_000, absolute=40_000, touch=5_000, renewal=10_000)
"""Where little is written, so that copies are there for long."""

Parts = dict[str, Any]
"""The arguments of a service."""


class _Wrapped:
    """
    A store of which a subclass changes something.
    """

    def __init__(self, store: Any) -> None:
        self.store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)


# -- Bugs of stores ------------------------------------------------------------------


class _UpsertingReplace(_Wrapped):
    """
    A touch that comes late puts the session back.
    """

    def replace(self, old: Session, new: Session) -> bool:
        if self.store.replace(old, new):
            return True
        if self.store.find(old.locator) is None:
            return bool(self.store.admit(new, (), None, new.last_seen_at) is Admission.ADMITTED)
        return False


class _IdleDelete(_Wrapped):
    """
    A deletion that is reported and not made.
    """

    def delete(self, locator: Locator, expected: Session | None = None) -> bool:
        if expected is not None:
            return bool(self.store.delete(locator, expected))
        return self.store.find(locator) is not None


class _EpochThatStays(_Wrapped):
    """
    "Sign out everywhere" deletes the sessions that there are, and leaves the epoch.
    """

    def delete_user(self, subject: Subject) -> int:
        roster = self.store.roster(subject)
        return sum(self.store.delete(session.locator) for session in roster.sessions)


class _RosterIgnored(_Wrapped):
    """
    Counts, and then inserts whatever happened in between.
    """

    def admit(
        self,
        session: Session,
        evicted: tuple[Locator, ...],
        version: bytes | None,
        at: datetime,
    ) -> Admission:
        admission: Admission = self.store.admit(session, evicted, None, at)
        return admission


class _AcknowledgedTooSoon(_Wrapped):
    """
    Every other sign-in is acknowledged and not kept.
    """

    def admit(
        self,
        session: Session,
        evicted: tuple[Locator, ...],
        version: bytes | None,
        at: datetime,
    ) -> Admission:
        admission: Admission = self.store.admit(session, evicted, version, at)
        if admission is Admission.ADMITTED and session.stamp[0] & 1:
            self.store.delete(session.locator)
        return admission


class _ForgetfulFind(_Wrapped):
    """
    Does not see that a successor was drawn, so that another one is.
    """

    def find(self, locator: Locator) -> Session | None:
        found: Session | None = self.store.find(locator)
        return found and replace(found, pending=None)


class _EndlessGrace(_Wrapped):
    """
    An id goes on after its successor was used.
    """

    def find(self, locator: Locator) -> Session | None:
        found: Session | None = self.store.find(locator)
        if found is None or found.previous is None:
            return found
        return replace(found, changed_at=found.last_seen_at)


class _CachingFind(_Wrapped):
    """
    Answers from memory when the store does not.
    """

    def __init__(self, store: Any) -> None:
        super().__init__(store)
        self._cache: dict[Locator, Session | None] = {}

    def find(self, locator: Locator) -> Session | None:
        try:
            self._cache[locator] = self.store.find(locator)
        except StoreUnavailable:
            if locator not in self._cache:
                raise
        return self._cache[locator]


class _OptimisticErrors(_Wrapped):
    """
    Reports every time-out as "nothing was written".
    """

    def __getattr__(self, name: str) -> Any:
        operation = getattr(self.store, name)

        def call(*arguments: Any) -> Any:
            try:
                return operation(*arguments)
            except OutcomeUnknown:
                raise StoreUnavailable("no answer") from None

        return call


class _UnguardedWrites(_Wrapped):
    """
    The last writer wins.
    """

    def write_data(self, locator: Locator, change: DataChange) -> Any:
        return self.store.write_data(locator, replace(change, expect={}))


class _CachedHash(_Wrapped):
    """
    A cache before the table of passwords.
    """

    def __init__(self, store: Any) -> None:
        super().__init__(store)
        self._cache: dict[str, tuple[float, str | None]] = {}

    def read_hash(self, user_id: str) -> str | None:
        read_at, encoded = self._cache.get(user_id, (0.0, None))
        # The probe, behind this, is asked all the same: it knows when.
        now: str | None = self.store.read_hash(user_id)
        if time.monotonic() - read_at > 1.0:
            self._cache[user_id] = time.monotonic(), now
            return now
        return encoded


class _BlindPasswordChange(_Wrapped):
    """
    Reports that a password was changed, every other time without changing it.
    """

    def replace_hash(self, user_id: str, verified: str, new: str) -> bool:
        if new.startswith("today") and int(new.split("$")[1], 16) & 1:
            return True
        return bool(self.store.replace_hash(user_id, verified, new))


# -- Bugs of the service ---------------------------------------------------------------


class _RetryingIncrement(AuthService):
    """
    Repeats an increment whose fate is unknown.
    """

    def increment(self, session: Session, key: str, by: int = 1) -> DataChanged | SessionGone:
        try:
            return super().increment(session, key, by)
        except OutcomeUnknown:
            return super().increment(session, key, by)


class _HopefulLogout(AuthService):
    """
    Says "signed out" whatever the store says.
    """

    def logout(self, cookie: str | None) -> LoggedOut:
        try:
            return super().logout(cookie)
        except StoreError:
            return LoggedOut(ended=True)


class _TalkativeService(AuthService):
    """
    Logs what it was asked.
    """

    def authenticate(self, cookie: str | None, **named: Any) -> Any:
        if hash(cookie) % 50 == 0:
            print(f"authenticating {cookie}", file=sys.stderr)
        return super().authenticate(cookie, **named)


class _LateThrottle:
    """
    Counts an attempt a second late: certainly after it was verified.
    """

    def __init__(self, throttle: Any) -> None:
        self._throttle = throttle
        self._uncounted: deque[tuple[int, ThrottleKey, datetime]] = deque()
        self._lock = threading.Lock()

    def reserve(self, key: ThrottleKey, at: datetime) -> Reservation | Throttled:
        with self._lock:
            while self._uncounted and self._uncounted[0][0] < time.monotonic_ns():
                self._throttle.reserve(*self._uncounted.popleft()[1:])
            reservation: Reservation | Throttled = self._throttle.reserve(key, at)
            if isinstance(reservation, Reservation):
                self._throttle.give_back(reservation)
                self._uncounted.append((time.monotonic_ns() + SECOND, key, at))
            return reservation

    def give_back(self, reservation: Reservation) -> None:
        pass

    def reset(self, reservation: Reservation) -> None:
        self._throttle.reset(reservation)


# -- Bugs of near caches ---------------------------------------------------------------


class _Feed:
    """
    A feed of which a subclass changes something.
    """

    def __init__(self, feed: InvalidationFeed) -> None:
        self.feed = feed

    def topic(self, locator: Locator, /) -> bytes:
        return self.feed.topic(locator)

    def follow(self, listener: InvalidationListener, /) -> None:
        self.feed.follow(listener)


class _HushedFeed(_Feed):
    """
    Listens again when the channel has broken, and tells nobody that it had.
    """

    def follow(self, listener: InvalidationListener) -> None:
        while not listener.has_enough:
            with suppress(StoreUnavailable):
                self.feed.follow(listener)


class _FeedByArrival(_Feed):
    """
    Takes whatever it hears, however late, for a proof that it has heard everything.
    """

    def follow(self, listener: InvalidationListener) -> None:
        self.feed.follow(_ByArrival(listener))


class _ByArrival:
    def __init__(self, listener: InvalidationListener) -> None:
        self._listener = listener
        self.heartbeat = listener.heartbeat
        self.patience = 20 * listener.patience
        self.now = listener.now
        self.doubtful = listener.doubtful

    @property
    def has_enough(self) -> bool:
        return self._listener.has_enough

    def changed(self, topic: bytes) -> None:
        self._listener.changed(topic)
        self.complete(self._listener.now())

    def complete(self, until: float) -> None:
        self._listener.complete(max(until, self._listener.now()))


class _Unmarked(NearCache):
    """
    Keeps what it read, whatever was told meanwhile.
    """

    def find(self, locator: Locator, /) -> Session | None:
        session = self.store.find(locator)
        time.sleep(0.03)
        self._following.copies.end(self._following.begin(locator), session)
        return session


class _Unforgetful(NearCache):
    """
    Leaves it to the feed to tell of what this process itself ended.
    """

    def delete(self, locator: Locator, expected: Session | None = None, /) -> bool:
        return self.store.delete(locator, expected)

    def delete_user(self, subject: Subject, /) -> int:
        return self.store.delete_user(subject)

    def restart(self, old: Session, new: Session, /) -> Locator | None:
        return self.store.restart(old, new)


class _CopiesFirst(AuthService):
    """
    Asks copies also for whom they are not good enough.
    """

    def authenticate(self, cookie: str | None, **named: Any) -> Any:
        named["from_store"] = False
        return super().authenticate(cookie, **named)


def _without_bound(store: SessionStore, feed: InvalidationFeed, staleness: timedelta) -> NearCache:
    return NearCache(store, feed, max_staleness=6 * staleness)


def _fed_by(kind: Callable[[InvalidationFeed], InvalidationFeed]) -> near.Maker:
    return lambda store, feed, staleness: near.usual(store, kind(feed), staleness)


def _kind(kind: type[NearCache]) -> near.Maker:
    return lambda store, feed, staleness: kind(store, feed, max_staleness=staleness)


# -- The list --------------------------------------------------------------------------


def _with(name: str, wrap: Callable[[Any], Any]) -> Callable[[Parts], AuthService]:
    def plant(parts: Parts) -> AuthService:
        wrapped: Parts = {**parts, name: wrap(parts[name])}
        return AuthService(**wrapped)

    return plant


def _unchanged(parts: Parts) -> AuthService:
    return AuthService(**parts)


def _sessions(wrapper: Callable[[Any], Any]) -> Callable[[Parts], AuthService]:
    return _with("sessions", wrapper)


def _credentials(wrapper: Callable[[Any], Any]) -> Callable[[Parts], AuthService]:
    return _with("credentials", wrapper)


def _service(service: Callable[..., AuthService]) -> Callable[[Parts], AuthService]:
    return lambda parts: service(**parts)


def _patient(known: Policies) -> Policies:
    hour = timedelta(hours=1)
    names = (DEFAULT, STRICT)
    return Policies(
        *(
            replace(known.require(name), idle_timeout=hour, absolute_timeout=2 * hour)
            for name in names
        )
    )


@dataclass(frozen=True, slots=True)
class Bug:
    """
    A planted bug.
    """

    plant: Callable[[Parts], AuthService]
    """Makes a service that has it."""

    promise: str
    """The one that it breaks."""

    faults: tuple[str, ...] = ()
    """What it needs to show itself."""

    pace: float = 0.02
    """How fast sessions have to come and go."""

    near: near.Maker | None = None
    """Makes the near cache that it is in, or before."""

    times: Times = FAST
    rest: float = 0.2
    """See :class:`faults.campaign.Plan`."""


def _near(
    faults: tuple[str, ...],
    maker: near.Maker,
    *,
    plant: Callable[[Parts], AuthService] = _unchanged,
) -> Bug:
    return Bug(plant, copies.PROMISE, faults, pace=0.4, near=maker, times=CALM, rest=0.4)


LOST: Final = ("replies", "more replies")

BUGS: Final[Mapping[str, Bug]] = {
    "replace that upserts": Bug(_sessions(_UpsertingReplace), resurrection.PROMISE, ("hold",)),
    "delete that does nothing": Bug(_sessions(_IdleDelete), revocation.PROMISE),
    "epoch that stays": Bug(_sessions(_EpochThatStays), everywhere.PROMISE),
    "password cache": Bug(_credentials(_CachedHash), everywhere.PROMISE),
    "roster ignored": Bug(_sessions(_RosterIgnored), limit.PROMISE),
    "successor forgotten": Bug(_sessions(_ForgetfulFind), successors.PROMISE, pace=0.3),
    "endless grace": Bug(_sessions(_EndlessGrace), successors.PROMISE, pace=0.3),
    "expiry ignored": Bug(_with("policy", _patient), timeouts.PROMISE, pace=0.3),
    "data unguarded": Bug(_sessions(_UnguardedWrites), data.PROMISE),
    "increment repeated": Bug(_service(_RetryingIncrement), data.PROMISE, LOST),
    "time-out called a refusal": Bug(_sessions(_OptimisticErrors), outcomes.PROMISE, LOST),
    "password change not made": Bug(_credentials(_BlindPasswordChange), outcomes.PROMISE),
    "sign-in not kept": Bug(_sessions(_AcknowledgedTooSoon), deaths.PROMISE),
    "sign-out hoped for": Bug(_service(_HopefulLogout), revocation.PROMISE, ("refusing",)),
    "answers from a cache": Bug(_sessions(_CachingFind), outages.PROMISE, ("refusing",)),
    "guesses counted late": Bug(_with("throttle", _LateThrottle), guesses.PROMISE),
    "ids in the log": Bug(_service(_TalkativeService), leaks.PROMISE),
    "doubt hushed up": _near(("feed refusing",), _fed_by(_HushedFeed)),
    "complete by arrival": _near(("feed slow",), _fed_by(_FeedByArrival)),
    "bound ignored": _near(("feed black hole",), _without_bound),
    "reads not marked": _near((), _kind(_Unmarked)),
    "own endings not forgotten": _near(("feed slow",), _kind(_Unforgetful)),
    "copies in place of the store": _near((), near.usual, plant=_service(_CopiesFirst)),
}


def planted(bug: str | None, parts: Parts) -> AuthService:
    """
    Make a service for threads, with a bug or without.
    """
    return AuthService(**parts) if bug is None else BUGS[bug].plant(parts)


def near_cache_with(bug: str | None) -> near.Maker:
    """
    Tell how near caches are made for threads, with a bug or without.
    """
    return (None if bug is None else BUGS[bug].near) or near.usual
