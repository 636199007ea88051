"""
What is asked of a store, and what follows from it in calls per second.

1.  A request reads its session, once.
2.  An active session is written once in a ``touch_interval``, however many
    requests it sends; and never more often than there are requests.
3.  A renewal is two further writes: the successor is drawn, and then confirmed.
4.  As many sessions begin as end, so each begins once in its lifetime. A sign-in
    reads the user's sessions and writes twice: the epoch and the session.
5.  A session ends by a sign-out or by a purge, and either is one write.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta

_ZERO = timedelta(0)


class ImpossibleDemand(ValueError):
    """
    Figures that cannot be those of an application.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """
    What an application asks of its store of sessions.

    Raises:
        ImpossibleDemand: A figure is out of its range.
    """

    users: int
    """Who is signed in."""

    sessions_per_user: float = 1.0
    """How many live sessions each of them has, on average. At most 100, the usual limit."""

    requests_per_second: float = 0.0
    """Requests with a session, of all users."""

    touch_interval: timedelta = timedelta(minutes=1)
    """The policy's."""

    renewal_interval: timedelta | None = timedelta(minutes=15)
    """The policy's; ``None`` for never."""

    active_share: float = 0.1
    """Which part of the live sessions sends requests at the moment, from 0 to 1."""

    lifetime: timedelta = timedelta(hours=12)
    """How long a session lives, on average."""

    with_device: bool = True
    """Whether address and user agent are kept."""

    def __post_init__(self) -> None:
        if self.users < 1:
            raise ImpossibleDemand("users: at least 1")
        if not 1 <= self.sessions_per_user <= 100:
            raise ImpossibleDemand("sessions per user: from 1 to 100")
        if not 0 <= self.requests_per_second < math.inf:
            raise ImpossibleDemand("requests per second: 0 or more")
        if not 0 <= self.active_share <= 1:
            raise ImpossibleDemand("active share: from 0 to 1")
        if self.touch_interval <= _ZERO or self.lifetime <= _ZERO:
            raise ImpossibleDemand("touch interval and lifetime: longer than nothing")
        if self.renewal_interval is not None and self.renewal_interval <= _ZERO:
            raise ImpossibleDemand("renewal interval: longer than nothing")

    @property
    def sessions(self) -> float:
        """
        How many sessions are live.
        """
        return self.users * self.sessions_per_user

    @property
    def active(self) -> float:
        """
        How many of them send requests at the moment.
        """
        return self.sessions * self.active_share

    @property
    def rates(self) -> Rates:
        """
        What that is in a second.
        """
        requests = self.requests_per_second
        renewal = self.renewal_interval
        drawn = 0.0 if renewal is None else self.active / renewal.total_seconds()
        begun = self.sessions / self.lifetime.total_seconds()
        return Rates(
            authentications=requests,
            touches=min(requests, self.active / self.touch_interval.total_seconds()),
            renewals=min(requests, 2 * drawn),
            logins=begun,
            endings=begun,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """
    How often what happens, per second.
    """

    authentications: float
    touches: float
    """Sightings that are written."""

    renewals: float
    """Writes of renewals: two for each."""

    logins: float
    endings: float
    """Sign-outs, and sessions that are purged."""

    @property
    def reads(self) -> float:
        """
        Calls that only read: one for each request, one for each sign-in.
        """
        return self.authentications + self.logins

    @property
    def writes(self) -> float:
        """
        Calls that write.
        """
        return self.touches + self.renewals + 2 * self.logins + self.endings
