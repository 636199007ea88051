"""
What both services share and nobody waits for: time, randomness, policies, audit.

The use cases themselves stand in :mod:`sessioncore.service` and, for asyncio, in
:mod:`sessioncore.aio`. Whatever does not differ between the two is here.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from datetime import datetime, timedelta
from threading import Lock
from typing import TYPE_CHECKING, Final, Self

from sessioncore.decisions import MOST_METHODS, decide_expiry, to_milliseconds
from sessioncore.errors import InvalidPolicy, OutcomeUnknown, StoreUnavailable
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
from sessioncore.policy import Policies, Policy
from sessioncore.ports import ThrottleKey, ThrottleScope
from sessioncore.session import (
    FAMILY_BYTES,
    SALT_BYTES,
    SECRET_BYTES,
    SLOT_BYTES,
    STAMP_BYTES,
    Locator,
    SessionId,
    Subject,
)
from sessioncore.system import SystemClock, SystemEntropy

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from sessioncore.events import Event
    from sessioncore.outcomes import InactiveReason
    from sessioncore.ports import Clock, Entropy, EventSink
    from sessioncore.session import Epoch, Session

LOGIN_WINDOW: Final = timedelta(minutes=10)
"""How long a sign-in may take from its start to its admission."""

TRIES: Final = 32
"""How often a compare-and-set that lost a race is judged and tried again. Every
loss means that another one won: of six parallel requests none loses more than
five times, so this bound is reached only if something is broken (ADR-0012)."""

UPKEEP_TRIES: Final = 8
"""The same for touch and renewal, which may be left to the next request."""


_METHOD: Final = re.compile(r"[!-~]{1,32}", re.ASCII)


class Doubt:
    """
    Within it, nobody says that nothing was written once a write of unknown fate was sent.

    A use case makes several calls, and a store that is down for the last of them
    knows nothing of the first. So once there is a doubt, ``StoreUnavailable``
    becomes ``OutcomeUnknown`` (ADR-0016).
    """

    __slots__ = ("unknown",)

    def __init__(self, unknown: OutcomeUnknown | None = None) -> None:
        self.unknown = unknown

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.unknown is not None and isinstance(error, StoreUnavailable):
            raise self.unknown from error


class Context:
    """
    The surroundings of one service.
    """

    def __init__(
        self,
        policy: Policy | Policies,
        clock: Clock | None,
        entropy: Entropy | None,
        events: EventSink | None,
        login_window: timedelta,
    ) -> None:
        if login_window <= timedelta(0) or login_window % timedelta(milliseconds=1):
            raise InvalidPolicy("login_window: a positive whole number of milliseconds")
        self.policies = policy if isinstance(policy, Policies) else Policies(policy)
        self.login_window = login_window
        self._clock = clock or SystemClock()
        self._entropy = entropy or SystemEntropy()
        self._events = events
        self._name_key = self._entropy.draw(32)
        # A user id that nobody has, to be looked up where there is no user, so
        # that an unknown name costs the same calls as a known one.
        self.nobody = self._entropy.draw(16).hex()
        self.lost_events = 0
        self._lost_events_lock = Lock()

    # -- Time and randomness ---------------------------------------------------

    def now(self) -> datetime:
        """
        Return the present in whole milliseconds.
        """
        return to_milliseconds(self._clock.now())

    def arrival(self, arrived_at: datetime | None, now: datetime) -> datetime:
        """
        Return when a request arrived: as told, but never later than now.
        """
        return now if arrived_at is None else min(to_milliseconds(arrived_at), now)

    def stamp(self) -> bytes:
        """
        Draw a stamp for one write.
        """
        return self._entropy.draw(STAMP_BYTES)

    def salt(self) -> bytes:
        """
        Draw a salt for one renewal.
        """
        return self._entropy.draw(SALT_BYTES)

    def secret(self) -> bytes:
        """
        Draw a secret for one rotation.
        """
        return self._entropy.draw(SECRET_BYTES)

    def slot(self) -> bytes:
        """
        Draw a slot for one session.
        """
        return self._entropy.draw(SLOT_BYTES)

    def fresh_id(self, epoch: Epoch) -> SessionId:
        """
        Draw the id of a new session.
        """
        drawn = self._entropy.draw(SLOT_BYTES + FAMILY_BYTES + SECRET_BYTES)
        slot, family = drawn[:SLOT_BYTES], drawn[SLOT_BYTES : SLOT_BYTES + FAMILY_BYTES]
        return SessionId(epoch, slot, family, drawn[SLOT_BYTES + FAMILY_BYTES :])

    def visitor(self) -> Subject:
        """
        Draw an anonymous subject.
        """
        return Subject.anonymous(self._entropy.draw(16))

    # -- Names and policies ----------------------------------------------------

    def presentable(self, username: str) -> str:
        """
        Return the name to look up: *username*, or nobody's if it cannot be a name.

        Databases disagree over NUL, control characters and lone surrogates.
        """
        try:
            Subject.user(username)
        except ValueError:
            return self.nobody
        return username

    def name_key(self, username: str) -> ThrottleKey:
        """
        Return what attempts under a name that nobody has are counted by.
        """
        return ThrottleKey(ThrottleScope.NAME, self._name_digest(username).hex())

    def decoy(self, username: str) -> Subject:
        """
        Return the decoy whose epoch is opened for a name that nobody has.
        """
        return Subject.decoy(self._name_digest(username)[0])

    def _name_digest(self, username: str) -> bytes:
        text = username.encode(errors="surrogatepass")
        return hmac.digest(self._name_key, hashlib.sha256(text).digest(), "sha256")[:16]

    def live_policy(self, session: Session) -> Policy | None:
        """
        Return the session's policy, or ``None`` if the session has expired.
        """
        return None if self.expired(session) else self.policies.get(session.policy)

    def expired(self, session: Session) -> InactiveReason | None:
        """
        Return why *session* is dead by now, or ``None`` if it is live.
        """
        return decide_expiry(session, self.policies.get(session.policy), self.now())

    def persistence(self, session: Session) -> timedelta | None:
        """
        Return how long a browser may keep an id of *session*; ``None``: until it closes.
        """
        policy = self.policies.get(session.policy)
        if policy is None or not policy.persistent:
            return None
        return session.created_at + policy.absolute_timeout - self.now()

    @staticmethod
    def checked_methods(methods: tuple[str, ...]) -> tuple[str, ...]:
        """
        Return *methods* if they can be recorded.

        Raises:
            ValueError: More than eight, or one that is not 1 to 32 visible
                ASCII characters.
        """
        if len(methods) > MOST_METHODS or any(
            _METHOD.fullmatch(method) is None for method in methods
        ):
            raise ValueError("methods: at most 8, each of 1 to 32 visible ASCII characters")
        return methods

    # -- Audit -----------------------------------------------------------------

    def tell(self, event: Event) -> None:
        """
        Pass an event on. A failing sink changes no outcome; it is counted.
        """
        if self._events is None:
            return
        try:
            self._events.emit(event)
        except Exception:  # noqa: BLE001 - an audit trail must not sign anybody out
            with self._lost_events_lock:
                self.lost_events += 1

    def report(self, make: Callable[..., Event]) -> None:
        """
        An adapter noticed something.
        """
        self.tell(make(at=self.now(), stamp=self.stamp().hex()))

    def started(self, session: Session) -> None:
        """
        A session was opened.
        """
        self.tell(
            SessionStarted(
                at=session.created_at,
                stamp=session.stamp.hex(),
                user_id=session.user_id,
                handle=session.handle,
                policy=session.policy,
                methods=session.methods,
                device=session.device,
            )
        )

    def ended(self, locator: Locator, subject: Subject | None, reason: EndReason) -> None:
        """
        One session was ended.

        A session ends once, so its handle makes the event's id: told twice,
        because a reply was lost, it is still one event.
        """
        name = hashlib.sha256(b"ended" + locator.handle.encode()).digest()
        self.tell(
            SessionEnded(
                at=self.now(),
                stamp=name[:STAMP_BYTES].hex(),
                user_id=subject.user_id if subject else None,
                handle=locator.handle,
                reason=reason,
            )
        )

    def these_ended(self, ending: tuple[tuple[Session, EndReason], ...]) -> None:
        """
        Some sessions of one user were ended together, each for its reason.
        """
        for session, reason in ending:
            self.ended(session.locator, session.subject, reason)

    def all_ended(self, subject: Subject, kept: Session | None) -> None:
        """
        All sessions of a user were ended, but possibly one.
        """
        self.tell(
            AllSessionsEnded(
                at=self.now(),
                stamp=(kept.stamp if kept else self.stamp()).hex(),
                user_id=subject.user_id,
                kept=kept.handle if kept else None,
            )
        )

    def renewed(self, session: Session) -> None:
        """
        A successor was confirmed.
        """
        self.tell(
            SessionRenewed(
                at=session.changed_at,
                stamp=session.stamp.hex(),
                user_id=session.user_id,
                handle=session.handle,
            )
        )

    def rotated(self, session: Session, methods: tuple[str, ...]) -> None:
        """
        An id was replaced at a change of privilege.
        """
        self.tell(
            SessionRotated(
                at=session.changed_at,
                stamp=session.stamp.hex(),
                user_id=session.user_id,
                handle=session.handle,
                methods=methods,
            )
        )

    def reused(self, session: Session, *, ended: bool | None) -> None:
        """
        A retired id was presented.
        """
        self.tell(
            SessionIdReused(
                at=self.now(),
                stamp=self.stamp().hex(),
                user_id=session.user_id,
                handle=session.handle,
                ended=ended,
            )
        )

    def unusable(self, locator: Locator, reason: InactiveReason) -> None:
        """
        A stored session cannot be used.
        """
        self.tell(
            SessionUnusable(
                at=self.now(), stamp=self.stamp().hex(), handle=locator.handle, reason=reason
            )
        )

    def upkeep_skipped(self, session: Session) -> None:
        """
        Touch or renewal of a live session could not be stored.
        """
        self.tell(
            UpkeepSkipped(
                at=self.now(),
                stamp=self.stamp().hex(),
                user_id=session.user_id,
                handle=session.handle,
            )
        )

    def refused(self, user_id: str | None, source: str | None) -> None:
        """
        A proof of identity was refused.
        """
        self.tell(
            LoginRefused(at=self.now(), stamp=self.stamp().hex(), user_id=user_id, source=source)
        )

    def throttled(self, user_id: str | None, source: str | None) -> None:
        """
        An attempt was turned away.
        """
        self.tell(
            LoginThrottled(at=self.now(), stamp=self.stamp().hex(), user_id=user_id, source=source)
        )

    def limit_reached(self, subject: Subject, limit: int) -> None:
        """
        A user who proved identity may have no further session.
        """
        self.tell(
            SessionLimitReached(
                at=self.now(), stamp=self.stamp().hex(), user_id=subject.user_id, limit=limit
            )
        )

    def left_live(self, user_id: str) -> None:
        """
        Sessions could not be ended after a password was replaced.
        """
        self.tell(SessionsLeftLive(at=self.now(), stamp=self.stamp().hex(), user_id=user_id))

    def password_replaced(self, user_id: str) -> None:
        """
        A user changed the password.
        """
        self.tell(PasswordReplaced(at=self.now(), stamp=self.stamp().hex(), user_id=user_id))
