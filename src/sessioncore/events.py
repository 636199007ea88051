"""
What happened, for audit: typed, and without secrets.

An event names a session by its handle and a user by the user id. It never holds
a session id, a digest, a password, or a name as it was typed (people type
passwords into name fields). Emitted once by whoever won the write; at least
once if a write was repeated, with :attr:`Event.stamp` as the event's id.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from sessioncore.outcomes import InactiveReason
    from sessioncore.session import Device


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """
    The root of all events.
    """

    at: datetime
    """When, by the service's clock."""

    stamp: str
    """The event's id: 16 hexadecimal digits."""

    user_id: str | None = None
    """Whom it concerns, if that is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionStarted(Event):
    """
    A session was opened.
    """

    handle: str
    policy: str
    methods: tuple[str, ...]
    device: Device


class EndReason(enum.Enum):
    """
    Why a session ended.
    """

    LOGOUT = "logout"
    REVOKED = "revoked"
    EVICTED = "evicted"
    """The session limit made room for another."""

    REPLACED = "replaced"
    """The same browser signed in anew, or upgraded from an anonymous session."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionEnded(Event):
    """
    One session was ended.
    """

    handle: str
    reason: EndReason


@dataclass(frozen=True, slots=True, kw_only=True)
class AllSessionsEnded(Event):
    """
    All sessions of a user were ended, but possibly one, which has a new handle.
    """

    kept: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRenewed(Event):
    """
    A successor id was confirmed by its first use.
    """

    handle: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRotated(Event):
    """
    The id was replaced at a change of privilege.
    """

    handle: str
    methods: tuple[str, ...]
    """What was proven on this occasion; empty if nothing was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionIdReused(Event):
    """
    A retired id was presented: a copied id, or a client restored from an older state.
    """

    handle: str

    ended: bool | None
    """Whether the session was ended; ``None`` if that is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginRefused(Event):
    """
    A proof of identity was refused.
    """

    source: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginThrottled(Event):
    """
    An attempt was turned away before anything was verified.
    """

    source: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionLimitReached(Event):
    """
    A proof of identity was accepted, but the policy allows the user no further session.
    """

    limit: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PasswordReplaced(Event):
    """
    A user changed the password.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionsLeftLive(Event):
    """
    A password was, or may have been, replaced, and the sessions could not be ended.

    ``logout_everywhere`` is the repair.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionUnusable(Event):
    """
    A stored session cannot be used: unreadable, or its policy is unknown.
    """

    handle: str
    reason: InactiveReason


@dataclass(frozen=True, slots=True, kw_only=True)
class AmbiguousCookie(Event):
    """
    A request brought two different cookies of the session's name, and was nobody's.

    A browser keeps one. A second may have been planted, or a proxy merged two requests.
    """

    source: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossOriginRefused(Event):
    """
    A request that could change something came from another site's page, and was refused.
    """

    source: str | None = None

    rule: str
    """Which rule of the cross-origin guard refused it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpkeepSkipped(Event):
    """
    A live session was answered, but touch or renewal could not be stored.
    """

    handle: str
