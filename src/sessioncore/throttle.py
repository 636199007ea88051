"""
The default login throttle: counts in this process's memory.

Enough for one process; several processes each count for themselves, so that an
attacker gets as many budgets as there are processes. The port
(:class:`~sessioncore.ports.LoginThrottle`) is there for a shared one.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Lock
from typing import Final

from sessioncore.outcomes import Throttled
from sessioncore.ports import Reservation, ThrottleKey, ThrottleScope

_SOURCE_CHARACTERS: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class GuessLimit:
    """
    How many attempts in a row are let through, and how fast.

    The first few are free, then each waits twice as long as the one before, up
    to a ceiling, so that guessing becomes pointless. An attempt that is turned
    away is not counted, so whoever knocks while waiting waits no longer. What
    no count can prevent: an attacker who is first at each opening keeps the
    account's owner waiting as long as the attack goes on (ASVS 5 6.3.1). The
    sessions that the owner has are not affected.
    """

    free: int = 5
    """Attempts without any delay."""

    first_delay: timedelta = timedelta(seconds=1)
    longest_delay: timedelta = timedelta(minutes=15)

    cap: int = 100
    """Attempts in a row, after which there is only one in *closed_for*. NIST
    SP 800-63B-4, section 3.2.2 allows no more than 100."""

    closed_for: timedelta = timedelta(hours=24)

    forget_after: timedelta = timedelta(days=7)
    """A key that was left alone for this long starts anew. More than *closed_for*."""

    def __post_init__(self) -> None:
        if not 1 <= self.free <= self.cap:
            raise ValueError("free: from 1 to cap")
        if not timedelta(0) < self.first_delay <= self.longest_delay <= self.closed_for:
            raise ValueError("delays: positive, and first_delay <= longest_delay <= closed_for")
        if self.forget_after <= self.closed_for:
            raise ValueError("forget_after: more than closed_for")

    def delay_after(self, count: int) -> timedelta:
        """
        Return how long to wait after the attempt number *count*.
        """
        if count >= self.cap:
            return self.closed_for
        if count < self.free:
            return timedelta(0)
        # The exponent is bounded first: timedelta overflows long before int does.
        doublings = min(count - self.free, 40)
        return min(self.first_delay * (1 << doublings), self.longest_delay)


_PER_ACCOUNT: Final = GuessLimit()
_PER_SOURCE: Final = GuessLimit(free=50)  # a whole office may share one address


@dataclass(slots=True)
class _Tally:
    count: int
    last_at: datetime
    before_at: datetime
    """When the attempt before the last one was, in case the last one is given back."""


class InProcessLoginThrottle:
    """
    Counts attempts in this process. Safe to use from many threads.

    Each scope has a bounded table that forgets whatever was left alone longest.
    Names that nobody has are counted apart from accounts, so that inventing
    names cannot push an account's count out.

    Args:
        account: The limit per account, and per name that nobody has.

        source: The limit per source.

        entries: How many keys each scope remembers at most.
    """

    def __init__(
        self,
        account: GuessLimit = _PER_ACCOUNT,
        source: GuessLimit = _PER_SOURCE,
        entries: int = 100_000,
    ) -> None:
        if entries < 1:
            raise ValueError("entries: at least 1")
        self._limits = {
            ThrottleScope.ACCOUNT: account,
            ThrottleScope.NAME: account,
            ThrottleScope.SOURCE: source,
        }
        self._entries = entries
        self._tallies: dict[ThrottleScope, OrderedDict[str, _Tally]] = {
            scope: OrderedDict() for scope in ThrottleScope
        }
        self._lock = Lock()

    def reserve(self, key: ThrottleKey, at: datetime, /) -> Reservation | Throttled:
        """
        See :meth:`sessioncore.ports.LoginThrottle.reserve`.
        """
        limit = self._limits[key.scope]
        tallies = self._tallies[key.scope]
        with self._lock:
            tally = tallies.get(key.value)
            if tally is None or at - tally.last_at >= limit.forget_after:
                tally = tallies[key.value] = _Tally(0, at, at)
            delay = limit.delay_after(tally.count)
            # Threads may take the lock in another order than they read the clock.
            if delay and (wait := tally.last_at + delay - at) > timedelta(0):
                return Throttled(wait)
            tally.count += 1
            tally.before_at, tally.last_at = tally.last_at, max(tally.last_at, at)
            tallies.move_to_end(key.value)
            if len(tallies) > self._entries:
                tallies.popitem(last=False)
            return Reservation(key, at)

    def give_back(self, reservation: Reservation, /) -> None:
        """
        See :meth:`sessioncore.ports.LoginThrottle.give_back`.
        """
        tallies = self._tallies[reservation.key.scope]
        with self._lock:
            tally = tallies.get(reservation.key.value)
            if tally is not None:
                tally.count -= 1
                if tally.last_at == reservation.at:
                    tally.last_at = tally.before_at
                if tally.count <= 0:
                    del tallies[reservation.key.value]

    def reset(self, reservation: Reservation, /) -> None:
        """
        See :meth:`sessioncore.ports.LoginThrottle.reset`.
        """
        with self._lock:
            self._tallies[reservation.key.scope].pop(reservation.key.value, None)


class AsyncInProcessLoginThrottle:
    """
    :class:`InProcessLoginThrottle` for asyncio. It never waits.

    Args:
        throttle: The counts to use; by default its own.
    """

    def __init__(self, throttle: InProcessLoginThrottle | None = None) -> None:
        self._throttle = throttle or InProcessLoginThrottle()

    async def reserve(self, key: ThrottleKey, at: datetime, /) -> Reservation | Throttled:
        """
        See :meth:`sessioncore.ports.LoginThrottle.reserve`.
        """
        return self._throttle.reserve(key, at)

    async def give_back(self, reservation: Reservation, /) -> None:
        """
        See :meth:`sessioncore.ports.LoginThrottle.give_back`.
        """
        self._throttle.give_back(reservation)

    async def reset(self, reservation: Reservation, /) -> None:
        """
        See :meth:`sessioncore.ports.LoginThrottle.reset`.
        """
        self._throttle.reset(reservation)


def source_key(source: str) -> ThrottleKey:
    """
    Return what attempts from *source* are counted by.

    An IP address counts in its canonical spelling, and an IPv6 address by its
    /64, which is what one customer gets (OWASP, Authentication Cheat Sheet).

    >>> source_key("2001:DB8:0:0:1::1") == source_key("2001:db8::2")
    True
    """
    try:
        address = ipaddress.ip_address(source.partition("%")[0].strip())
    except ValueError:
        return ThrottleKey(ThrottleScope.SOURCE, source[:_SOURCE_CHARACTERS])
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return ThrottleKey(ThrottleScope.SOURCE, str(address.ipv4_mapped))
        return ThrottleKey(
            ThrottleScope.SOURCE, str(ipaddress.ip_network((address, 64), strict=False))
        )
    return ThrottleKey(ThrottleScope.SOURCE, str(address))
