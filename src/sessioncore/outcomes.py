"""
Outcomes: the expected answers, as closed unions of frozen values.

Match on them and close the match with :func:`typing.assert_never`; a new
outcome is then a type error in your code and not a surprise (ADR-0015).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias

from sessioncore.values import maker

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime, timedelta

    from sessioncore.session import Session, SessionId

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
"""A value of session data: what JSON can say, and nothing else."""


class InactiveReason(enum.Enum):
    """
    Why an id does not stand for a live session. For logs; users need none of it.
    """

    ABSENT = "absent"
    """No cookie was sent."""

    MALFORMED = "malformed"
    """Not the text of any session id; no store was asked."""

    AMBIGUOUS = "ambiguous"
    """Two cookies of the session's name, with different values: nobody can say which is
    meant. Said by the HTTP edge; no store was asked."""

    UNKNOWN = "unknown"
    """No such session, or a guess at one."""

    IDLE = "idle"
    """Not seen for longer than the idle timeout."""

    TOO_OLD = "too old"
    """Past the absolute timeout."""

    SUPERSEDED = "superseded"
    """A retired id that arrived late. Nothing is wrong, and the browser has a newer one: let
    it try again, and do not send it to the sign-in page."""

    REUSED = "reused"
    """A retired id presented after that: a copied id, or a client restored from an older state."""

    ANONYMOUS = "anonymous"
    """Live, but nobody has signed in, so there is nobody to prove identity."""

    POLICY_UNKNOWN = "policy unknown"
    """Opened under a policy that no longer exists."""

    UNREADABLE = "unreadable"
    """The stored record cannot be read by this version."""


@dataclass(frozen=True, slots=True)
class Active:
    """
    The id stands for a live session, signed in or anonymous.
    """

    session: Session
    """Its ``user_id`` is ``None`` if nobody has signed in."""

    renewed: SessionId | None = None
    """An id to set in the cookie instead, or ``None`` to leave the cookie alone."""

    persist_for: timedelta | None = None
    """How long a browser may keep *renewed*; ``None``: until it closes."""

    answer_by: datetime | None = None
    """Until when a response that carries *renewed* may start: the end of the grace of this
    request. A later one leaves it out, and the next request brings it again."""

    is_copy: bool = False
    """Whether this was answered from a copy that a near cache holds, and may be as old as its
    bound. Before anything sensitive, ask again with ``from_store=True``."""

    data: Mapping[str, Json] | None = field(default=None, repr=False)
    """The session's data, if they were asked for with ``with_data=True`` and can be read."""


make_active: Final = maker(Active)
"""Make an :class:`Active`, quickly."""


@dataclass(frozen=True, slots=True)
class Inactive:
    """
    The id does not stand for a live session. Only a logout deletes the cookie.
    """

    reason: InactiveReason


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """
    A session was opened. Put ``session_id.reveal()`` into the cookie.
    """

    session_id: SessionId
    session: Session

    persist_for: timedelta | None = None
    """How long a browser may keep the id; ``None``: until it closes."""


@dataclass(frozen=True, slots=True)
class Refused:
    """
    Wrong name or password, or the proof no longer counts. It never says which.
    """


@dataclass(frozen=True, slots=True)
class Throttled:
    """
    Too many attempts. Nothing was verified.
    """

    retry_after: timedelta


@dataclass(frozen=True, slots=True)
class Busy:
    """
    The machine is hashing as many passwords as it may, or the account is being changed. Try again.
    """


@dataclass(frozen=True, slots=True)
class LimitReached:
    """
    The user has as many sessions as the policy allows, and it evicts none.
    """

    limit: int


@dataclass(frozen=True, slots=True)
class Rotated:
    """
    The id was replaced at once; the old one no longer works anywhere.
    """

    session_id: SessionId
    session: Session
    persist_for: timedelta | None = None


@dataclass(frozen=True, slots=True)
class PasswordChanged:
    """
    The new password is in force and every other session of the user has ended.
    """

    kept: Rotated | None
    """The session that changed it, under its new id; ``None`` if it had ended meanwhile."""


@dataclass(frozen=True, slots=True)
class LoggedOut:
    """
    The session is gone. Delete the cookie.
    """

    ended: bool
    """Whether this call ended it, as far as can be known; ``False`` if there was nothing
    left to end."""


@dataclass(frozen=True, slots=True)
class LoggedOutEverywhere:
    """
    Every session of the user has ended, but the one that was to be kept.
    """

    kept: Rotated | None
    """The kept session, under its new id; ``None`` if none was kept."""


@dataclass(frozen=True, slots=True)
class Revoked:
    """
    No session with that handle is left to that user.
    """

    ended: bool
    """Whether this call ended one; ``False`` if the user had none with that handle."""


@dataclass(frozen=True, slots=True)
class DataRead:
    """
    The session's data, as it is now.
    """

    values: Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class DataChanged:
    """
    The change is stored.
    """

    values: Mapping[str, Json]
    """What the changed keys now hold; a removed key is absent."""


@dataclass(frozen=True, slots=True)
class DataTaken:
    """
    The value was removed, and nobody else gets it.
    """

    value: Json


@dataclass(frozen=True, slots=True)
class NothingToTake:
    """
    The key was not there.
    """


@dataclass(frozen=True, slots=True)
class SessionGone:
    """
    The session has ended; its data ended with it and nothing was changed.
    """


AuthenticationOutcome: TypeAlias = Active | Inactive
LoginOutcome: TypeAlias = LoggedIn | Refused | Throttled | Busy | LimitReached
EstablishOutcome: TypeAlias = LoggedIn | Refused | Busy | LimitReached
RotationOutcome: TypeAlias = Rotated | Inactive
ReauthenticationOutcome: TypeAlias = Rotated | Refused | Throttled | Busy | Inactive
PasswordChangeOutcome: TypeAlias = PasswordChanged | Refused | Throttled | Busy | Inactive
