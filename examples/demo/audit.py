"""
The audit trail: who did what, kept in memory, the latest few hundred. Read it for an event
sink, for events in words, and for how a page waits for the next one.
"""

from __future__ import annotations

import secrets
from collections import deque
from dataclasses import dataclass
from threading import Condition
from typing import TYPE_CHECKING, Final

from examples.demo.devices import described
from sessioncore.events import (
    AllSessionsEnded,
    EndReason,
    LoginRefused,
    LoginThrottled,
    PasswordReplaced,
    SessionEnded,
    SessionIdReused,
    SessionLimitReached,
    SessionRenewed,
    SessionRotated,
    SessionsLeftLive,
    SessionStarted,
    SessionUnusable,
    UpkeepSkipped,
)

if TYPE_CHECKING:
    from datetime import timedelta

    from sessioncore.events import Event

_ENTRIES: Final = 500

_ENDED: Final = {
    EndReason.LOGOUT: "signed out",
    EndReason.REVOKED: "ended from the list of sessions",
    EndReason.EVICTED: "ended to make room for a newer one",
    EndReason.REPLACED: "replaced by a new sign-in in the same browser",
}

_REUSED: Final = {
    True: "The session was ended",
    False: "It was refused",
    None: "It was refused; whether the session was ended is not known",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """
    An event, and its number in this trail.
    """

    number: str
    event: Event


class AuditTrail:
    """
    An :class:`~sessioncore.ports.EventSink` of bounded size.

    Args:
        entries: How many events it remembers, of all users together.
    """

    def __init__(self, entries: int = _ENTRIES) -> None:
        self._entries: deque[Entry] = deque(maxlen=entries)
        self._changed = Condition()
        self._count = 0
        # So that numbers from before a restart are known to be none of this trail's.
        self._run = secrets.token_hex(4)

    def emit(self, event: Event, /) -> None:
        """
        See :meth:`sessioncore.ports.EventSink.emit`.
        """
        if event.user_id is None:
            return  # strangers must not push out what users want to read
        with self._changed:
            self._count += 1
            self._entries.append(Entry(f"{self._run}-{self._count}", event))
            self._changed.notify_all()

    def latest(self, user_id: str, limit: int) -> list[Entry]:
        """
        Return a user's latest events, the newest first.
        """
        with self._changed:
            return self._of(user_id, "")[::-1][:limit]

    def wait_for_news(self, user_id: str, after: str, patience: timedelta) -> list[Entry]:
        """
        Return what happened to a user after an event, the oldest first, once there is any.

        Args:
            user_id: Whose events.

            after: The number of an event; if it is of none that is left, all that are left.

            patience: How long to wait; then the answer is empty.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: self._of(user_id, after), timeout=patience.total_seconds()
            )
            return self._of(user_id, after)

    def _of(self, user_id: str, after: str) -> list[Entry]:
        numbers = [entry.number for entry in self._entries]
        start = numbers.index(after) + 1 if after in numbers else 0
        return [entry for entry in list(self._entries)[start:] if entry.event.user_id == user_id]


def told(event: Event) -> str:
    """
    Say in words what happened. Not escaped: that is the page's business.
    """
    match event:
        case SessionStarted(device=device, policy=policy, methods=methods):
            how = ", ".join(methods) or "nothing"
            return (
                f"Signed in with {described(device.user_agent)} from "
                f"{device.address or 'an unknown address'}; proof: {how}; policy: {policy}"
            )
        case SessionEnded(reason=reason):
            return f"A session was {_ENDED[reason]}"
        case AllSessionsEnded(kept=None):
            return "All sessions were ended"
        case AllSessionsEnded():
            return "All sessions but one were ended"
        case SessionRenewed():
            return "A session id was renewed: the new one was used for the first time"
        case SessionRotated(methods=methods):
            return f"A session id was replaced; newly proven: {', '.join(methods) or 'nothing'}"
        case SessionIdReused(ended=ended):
            return f"A retired session id came back: a copy, or an old state. {_REUSED[ended]}"
        case LoginRefused():
            return "A wrong password was refused"
        case LoginThrottled():
            return "An attempt was turned away before anything was verified"
        case PasswordReplaced():
            return "The password was changed"
        case SessionLimitReached(limit=limit):
            return f"A sign-in was turned away: there are {limit} sessions already"
        case SessionsLeftLive():
            return "The password may have been changed, and sessions could not be ended"
        case SessionUnusable():
            return "A stored session cannot be used any more"
        case UpkeepSkipped():
            return "A session was recognised, but being seen could not be recorded"
        case _:  # events are an open hierarchy: a new one must not break the page
            return type(event).__name__
