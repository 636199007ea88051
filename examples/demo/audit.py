"""
The audit trail: who did what, kept in memory, the latest few hundred.
"""

from __future__ import annotations

from collections import deque
from threading import Lock
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
    SessionRenewed,
    SessionRotated,
    SessionStarted,
    UpkeepSkipped,
)

if TYPE_CHECKING:
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


class AuditTrail:
    """
    An :class:`~sessioncore.ports.EventSink` of bounded size.

    Args:
        entries: How many events it remembers, of all users together.
    """

    def __init__(self, entries: int = _ENTRIES) -> None:
        self._events: deque[Event] = deque(maxlen=entries)
        self._lock = Lock()

    def emit(self, event: Event, /) -> None:
        """
        See :meth:`sessioncore.ports.EventSink.emit`.
        """
        if event.user_id is None:
            return  # strangers must not push out what users want to read
        with self._lock:
            self._events.append(event)

    def latest(self, user_id: str, limit: int) -> list[Event]:
        """
        Return a user's latest events, the newest first.
        """
        with self._lock:
            events = list(self._events)
        mine = [event for event in reversed(events) if event.user_id == user_id]
        return mine[:limit]


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
        case UpkeepSkipped():
            return "A session was recognised, but being seen could not be recorded"
        case _:  # events are an open hierarchy: a new one must not break the page
            return type(event).__name__
