"""
The rules. Pure functions: facts and the present go in, a decision comes out.

Everything that makes a session live, due, superseded, reused or one too many is
decided in this file and nowhere else; services load, ask here, and commit what
was decided as one compare-and-set (ADR-0003).

Which id is whose
    1.  A family that does not match is a *guess*: unknown, nothing is written.
        A guess learns nothing, not even whether the session has expired.
    2.  A family that matches with a digest that does not was issued once.

Time (ADR-0010, ADR-0011)
    3.  A session is dead when its policy is unknown, when ``absolute_timeout``
        has passed since it was opened, or ``idle_timeout`` since it was last
        seen. Judged at the present, by today's policy.
    4.  Being seen is recorded when ``touch_interval`` has passed.
        ``last_seen_at`` never moves backwards.

Renewal (ADR-0012)
    5.  *Due*: the current id is presented, no successor is pending, and
        ``renewal_interval`` has passed since the last change (so that no
        previous id is in its grace any more: a policy's interval is at least
        twice its grace). A successor is drawn and stored as pending. It is
        answered only once it is stored.
    6.  *Pending*: whoever presents the current id is answered the same successor.
    7.  *Confirmed*: the successor is presented. It becomes current, the id
        before it becomes previous, and ``changed_at`` is now.
    8.  *Grace*: the previous id is accepted if its request arrived less than
        ``grace`` after ``changed_at``; it is answered nothing.
    9.  *Superseded*: an id that was issued once (2) and whose request arrived
        less than twice ``grace`` after ``changed_at`` is refused, and nothing
        else happens.
    10. *Reused*: later than that, it is a copy or comes from the past.

Privilege (ADR-0012)
    11. A rotation puts a fresh random secret in place and forgets pending and
        previous at once. Rule 9 keeps the page's other requests from ending
        the session.
    12. Without a new proof of identity, an id in its grace cannot rotate: it
        never carries a new privilege.

The roster (ADR-0014)
    13. Dead and unreadable sessions are always evicted, and so is the session
        that the browser held before.
    14. The limit counts live sessions under the same policy name.

Copies (ADR-0035)
    15. A copy that a near cache holds speaks only for a current id with nothing else
        going on: nothing pending, nothing previous for twice its ``grace``, nothing due,
        nothing expired. In all other cases the store is asked, so that no copy ever refuses
        or ends anything.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hmac import compare_digest
from typing import TYPE_CHECKING, Final

from sessioncore.events import EndReason
from sessioncore.outcomes import InactiveReason, LimitReached
from sessioncore.policy import OnLimit, OnReuse
from sessioncore.session import Device, Locator, Pending, Session, SessionId

if TYPE_CHECKING:
    from collections.abc import Collection

    from sessioncore.policy import Policies, Policy
    from sessioncore.session import Roster, Subject

MOST_METHODS: Final = 8
"""How many proofs of identity a session remembers."""

COLLECTION_MARGIN: Final = timedelta(minutes=5)
"""How long a record is kept beyond its expiry, so that no store with a clock of
its own discards a session that the domain would still call live."""

_MICROSECOND: Final = timedelta(microseconds=1)


def to_milliseconds(instant: datetime) -> datetime:
    """
    Cut an aware instant to whole milliseconds in UTC, as all stores keep it.

    >>> to_milliseconds(datetime(2026, 1, 1, 12, 0, 0, 123999, tzinfo=UTC)).microsecond
    123000

    Raises:
        ValueError: The instant is naive.
    """
    if instant.tzinfo is None:
        raise ValueError("an instant needs a time zone")
    instant = instant.astimezone(UTC)
    return instant - _MICROSECOND * (instant.microsecond % 1000)


class Standing(enum.Enum):
    """
    Which of a live session's ids was presented.
    """

    CURRENT = "current"
    SUCCESSOR = "successor"
    """The pending one, for the first time (rule 7)."""

    PREVIOUS = "previous"
    """In its grace (rule 8)."""


@dataclass(frozen=True, slots=True)
class Accept:
    """
    The id stands for a live session.
    """

    standing: Standing

    touch: bool = False
    """Being seen is to be recorded (rule 4)."""

    draw: bool = False
    """A successor is to be drawn (rule 5)."""

    @property
    def writes(self) -> bool:
        """
        Whether the record is to be changed. All changes are one ``replace``.
        """
        return self.touch or self.draw or self.standing is Standing.SUCCESSOR


_AS_IT_STANDS: Final = Accept(Standing.CURRENT)


@dataclass(frozen=True, slots=True)
class Deny:
    """
    The id does not stand for a live session.
    """

    reason: InactiveReason

    end: bool = False
    """The session is to be deleted, provided it is still the one that was judged (rule 10)."""


def decide_absence(cookie: str | None) -> InactiveReason:
    """
    Tell why a cookie that is no session id stands for no session.
    """
    return InactiveReason.ABSENT if cookie is None else InactiveReason.MALFORMED


def decide_expiry(session: Session, policy: Policy | None, now: datetime) -> InactiveReason | None:
    """
    Tell why *session* is dead at *now*, or ``None`` if it is live (rule 3).
    """
    if policy is None:
        return InactiveReason.POLICY_UNKNOWN
    if now - session.created_at >= policy.absolute_timeout:
        return InactiveReason.TOO_OLD
    if now - session.last_seen_at >= policy.idle_timeout:
        return InactiveReason.IDLE
    return None


def decide_authentication(
    session: Session | None,
    presented: SessionId,
    policies: Policies,
    now: datetime,
    arrived_at: datetime,
    *,
    passive: bool = False,
) -> Accept | Deny:
    """
    Judge the id that was presented against the record found under its locator.

    Args:
        session: What the store holds there.

        presented: The id.

        policies: Today's.

        now: The present, by which expiry and renewal are judged.

        arrived_at: When the request's headers arrived, by which grace and
            reuse are judged.

        passive: Do not record being seen: the request is not a sign of life.
    """
    if session is None:
        return Deny(InactiveReason.UNKNOWN)
    digest = presented.digest
    is_current = compare_digest(session.current, digest)
    # The digest of an id covers its family, too.
    if not is_current and not was_issued(session, presented):
        return Deny(InactiveReason.UNKNOWN)
    policy = policies.get(session.policy)
    dead = decide_expiry(session, policy, now)
    if dead is not None or policy is None:
        return Deny(dead or InactiveReason.POLICY_UNKNOWN)
    touch = not passive and now - session.last_seen_at >= policy.touch_interval
    if is_current:
        draw = _renewal_is_due(session, policy, now)
        if not touch and not draw:
            return _AS_IT_STANDS
        # A write that happens anyway records being seen for free.
        return Accept(Standing.CURRENT, touch=not passive, draw=draw)
    if session.pending is not None and compare_digest(session.pending.digest, digest):
        return Accept(Standing.SUCCESSOR, touch=not passive)
    age = arrived_at - session.changed_at
    if (
        session.previous is not None
        and compare_digest(session.previous, digest)
        and age < policy.grace
    ):
        return Accept(Standing.PREVIOUS, touch=touch)
    if age < 2 * policy.grace:
        return Deny(InactiveReason.SUPERSEDED)
    return Deny(InactiveReason.REUSED, end=policy.on_reuse is OnReuse.END)


def copy_suffices(
    copy: Session, presented: SessionId, policies: Policies, now: datetime, *, passive: bool = False
) -> bool:
    """
    Tell whether a copy of the record is enough to call *presented* active (rule 15).
    """
    if copy.pending is not None:
        return False
    policy = policies.get(copy.policy)
    if policy is None or (copy.previous is not None and now - copy.changed_at < 2 * policy.grace):
        return False
    judgement = decide_authentication(copy, presented, policies, now, now, passive=passive)
    return isinstance(judgement, Accept) and not judgement.writes


def was_issued(session: Session, presented: SessionId) -> bool:
    """
    Tell whether *presented* was ever issued for *session*, rather than guessed (rule 2).

    That is enough for signing out: whoever holds an id, even a retired one, may
    end what it stood for.
    """
    return compare_digest(session.family, presented.family_digest)


def _renewal_is_due(session: Session, policy: Policy, now: datetime) -> bool:
    if policy.renewal_interval is None or session.pending is not None:
        return False
    return now - session.changed_at >= policy.renewal_interval


def upkeep(
    session: Session,
    presented: SessionId,
    accepted: Accept,
    *,
    policy: Policy,
    now: datetime,
    stamp: bytes,
    salt: bytes,
) -> Session:
    """
    Compute the record that carries out what was accepted (rules 4, 5 and 7).

    Args:
        session: The record that was judged.

        presented: The id that was judged.

        accepted: The judgement.

        policy: The session's policy.

        now: The present.

        stamp: Eight random bytes for this write.

        salt: Sixteen random bytes, used if a successor is to be drawn.
    """
    if accepted.standing is Standing.SUCCESSOR:
        session = replace(
            session,
            current=presented.digest,
            pending=None,
            previous=session.current,
            changed_at=now,
        )
    if accepted.draw:
        session = replace(session, pending=Pending(presented.successor(salt).digest, salt))
    if accepted.touch:
        session = _seen(session, policy, now)
    return replace(session, stamp=stamp)


def _seen(session: Session, policy: Policy, now: datetime) -> Session:
    last_seen_at = max(session.last_seen_at, now)
    return replace(
        session,
        last_seen_at=last_seen_at,
        keep_until=_keep_until(policy, session.created_at, last_seen_at),
    )


def _keep_until(policy: Policy, created_at: datetime, last_seen_at: datetime) -> datetime:
    expiry = min(created_at + policy.absolute_timeout, last_seen_at + policy.idle_timeout)
    return expiry + COLLECTION_MARGIN


def renewed_id(session: Session, presented: SessionId) -> SessionId | None:
    """
    Return the pending successor if *presented* is the current id (rule 6).

    A successor that does not match its stored digest is not answered: the
    browser would swap a good id for one that opens nothing.
    """
    if session.pending is None or not compare_digest(session.current, presented.digest):
        return None
    successor = presented.successor(session.pending.salt)
    return successor if compare_digest(successor.digest, session.pending.digest) else None


def decide_rotation(
    session: Session, accepted: Accept, methods: tuple[str, ...]
) -> InactiveReason | None:
    """
    Tell why the id that was accepted may not be rotated; ``None`` if it may (rule 12).

    Nobody's identity can be proven in an anonymous session: signing in replaces it.
    """
    if methods and session.is_anonymous:
        return InactiveReason.ANONYMOUS
    if not methods and accepted.standing is Standing.PREVIOUS:
        return InactiveReason.SUPERSEDED
    return None


def rotated(
    session: Session,
    successor: SessionId,
    *,
    policy: Policy,
    now: datetime,
    methods: tuple[str, ...],
    stamp: bytes,
) -> Session:
    """
    Compute the record in which only *successor* is valid (rule 11).

    Args:
        session: The record that was judged.

        successor: A fresh random id of the same family.

        policy: The session's policy.

        now: The present.

        methods: What was proven on this occasion; empty if nothing was. A
            session remembers the eight that were first proven last.

        stamp: Eight random bytes for this write.
    """
    proven = tuple(dict.fromkeys(session.methods + methods))[-MOST_METHODS:]
    return replace(
        _seen(session, policy, now),
        methods=proven,
        authenticated_at=now if methods else session.authenticated_at,
        family=successor.family_digest,
        current=successor.digest,
        pending=None,
        previous=None,
        changed_at=now,
        stamp=stamp,
    )


def opened(
    session_id: SessionId,
    subject: Subject,
    *,
    policy: Policy,
    now: datetime,
    methods: tuple[str, ...],
    device: Device,
    stamp: bytes,
    fresh: bool = True,
) -> Session:
    """
    Compute the record of a new session; *fresh* if identity was proven just now.
    """
    return Session(
        locator=session_id.locator,
        subject=subject,
        policy=policy.name,
        methods=methods,
        created_at=now,
        authenticated_at=now if fresh and not subject.is_anonymous else None,
        changed_at=now,
        last_seen_at=now,
        keep_until=_keep_until(policy, now, now),
        family=session_id.family_digest,
        current=session_id.digest,
        device=device.cleaned(),
        stamp=stamp,
    )


@dataclass(frozen=True, slots=True)
class Admit:
    """
    A session may be admitted once these have gone.
    """

    dead: tuple[Locator, ...]
    """Expired, unreadable, or left behind by an earlier try (rule 13)."""

    replaced: tuple[Session, ...]
    """The session that the browser held before."""

    crowded_out: tuple[Session, ...]
    """Live ones that make room."""

    @property
    def ending(self) -> tuple[tuple[Session, EndReason], ...]:
        """
        The living among them, and why each ends.
        """
        return (
            *((session, EndReason.REPLACED) for session in self.replaced),
            *((session, EndReason.EVICTED) for session in self.crowded_out),
        )

    @property
    def evicted(self) -> tuple[Locator, ...]:
        """
        All of them.
        """
        return (*self.dead, *(session.locator for session, _ in self.ending))


def decide_admission(
    roster: Roster,
    policy: Policy,
    policies: Policies,
    now: datetime,
    *,
    replaced: bytes | None = None,
    abandoned: Collection[Locator] = (),
) -> Admit | LimitReached:
    """
    Decide whether a user may have one more session, and which must go for it.

    Args:
        roster: The user's sessions; the decision holds for this version of it.

        policy: The policy of the session to come.

        policies: Today's.

        now: The present.

        replaced: The family of the session that the browser held before, if any.

        abandoned: Slots of earlier tries of the same sign-in whose fate was
            unknown. Nobody holds their ids.
    """
    dead: list[Locator] = list(roster.unreadable)
    held: list[Session] = []
    rivals: list[Session] = []
    for session in roster.sessions:
        if session.locator in abandoned:
            dead.append(session.locator)
        elif session.family == replaced:
            held.append(session)
        elif decide_expiry(session, policies.get(session.policy), now) is not None:
            dead.append(session.locator)
        elif session.policy == policy.name:
            rivals.append(session)
    surplus = len(rivals) + 1 - policy.session_limit
    if surplus <= 0:
        return Admit(tuple(dead), tuple(held), ())
    if policy.on_limit is OnLimit.REJECT:
        return LimitReached(policy.session_limit)
    # The slot breaks ties, so that every server evicts the same ones.
    rivals.sort(
        key=lambda session: (
            session.created_at if policy.on_limit is OnLimit.EVICT_OLDEST else session.last_seen_at,
            session.locator.slot,
        )
    )
    return Admit(tuple(dead), tuple(held), tuple(rivals[:surplus]))


def missing_from(
    roster: Roster, ending: tuple[tuple[Session, EndReason], ...]
) -> tuple[tuple[Session, EndReason], ...]:
    """
    Return those of the sessions that were to end which the roster no longer holds.
    """
    held = {session.locator for session in roster.sessions}
    return tuple((session, reason) for session, reason in ending if session.locator not in held)


def live_sessions(roster: Roster, policies: Policies, now: datetime) -> tuple[Session, ...]:
    """
    Return the live sessions of a roster, the one seen last first.
    """
    living = [
        session
        for session in roster.sessions
        if decide_expiry(session, policies.get(session.policy), now) is None
    ]
    living.sort(key=lambda session: (session.last_seen_at, session.locator.slot), reverse=True)
    return tuple(living)


def session_of_family(roster: Roster, family: bytes) -> Locator | None:
    """
    Find a session by its family, which it keeps wherever it is moved.
    """
    for session in roster.sessions:
        if session.family == family:
            return session.locator
    return None


def session_with_handle(
    roster: Roster, handle: str
) -> tuple[Locator, bytes] | tuple[Locator, None] | None:
    """
    Find a session by its public name; its family comes with it if it can be read.
    """
    for session in roster.sessions:
        if session.handle == handle:
            return session.locator, session.family
    for locator in roster.unreadable:
        if locator.handle == handle:
            return locator, None
    return None
