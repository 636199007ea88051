"""
The ports: what the domain needs from the world, as protocols.

A port's docstrings are its specification; :mod:`sessioncore.testing` checks
them sentence by sentence, as far as one healthy store can show them. Laws 5 and 6,
and what "acknowledged" means on a disk, take faults, which a store's own tests
inject. Each store port stands twice, for threads and for asyncio, with the same
names and the same laws (ADR-0004, ADR-0006).

Laws that every store operation shares:

1.  *Atomic.* An operation happens as one step or not at all, whatever other
    threads, processes and machines do meanwhile.
2.  *Acknowledged is done.* When a write has returned, every later call from any
    process sees it. No replica and no cache answers for it, and no operation
    joins a transaction that the caller has open.
3.  *Clockless.* A store reads no clock to decide anything. Instants come in
    with the records; a time to live is garbage collection and is never shorter
    than the record asks.
4.  *Dead stays dead.* Nothing but :meth:`~SessionStore.admit` and
    :meth:`~SessionStore.restart` makes a session. There is no upsert.
5.  *Known or named.* A call that certainly wrote nothing raises
    :class:`~sessioncore.errors.StoreUnavailable`; a write whose fate is unknown
    raises :class:`~sessioncore.errors.OutcomeUnknown`. No driver exception
    escapes, and neither does any byte of a record in an exception's text.
6.  *In time.* A call answers or raises within the deadline that its store was
    made with, whatever the server and the network do. A deadline that passes
    before anything was sent is :class:`~sessioncore.errors.StoreUnavailable`,
    and for a write that was sent :class:`~sessioncore.errors.OutcomeUnknown`.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime, timedelta

    from sessioncore.events import Event
    from sessioncore.outcomes import Busy, Throttled
    from sessioncore.session import (
        DataChange,
        Datum,
        Epoch,
        Locator,
        Roster,
        Session,
        Subject,
    )


class Clock(Protocol):
    """
    Tells the time.
    """

    def now(self) -> datetime:
        """
        Return the present as an aware datetime. The domain cuts it to milliseconds.
        """
        ...


class Entropy(Protocol):
    """
    Draws random bytes.
    """

    def draw(self, size: int, /) -> bytes:
        """
        Return *size* bytes from a cryptographically secure generator.
        """
        ...


class EventSink(Protocol):
    """
    Takes notice of what happened, for audit.

    Both services call it, from any thread, and it must not wait for anything. An
    exception that it raises changes no outcome: the service counts it in
    ``lost_events``.
    """

    def emit(self, event: Event, /) -> None:
        """
        Take notice of *event*. Delivery is at least once, with ``event.stamp`` as its id.
        """
        ...


class Admission(enum.Enum):
    """
    What became of an attempt to admit a session.
    """

    ADMITTED = "admitted"
    CONFLICT = "conflict"
    """The roster changed, or the slot is taken: read the roster again."""

    STALE = "stale"
    """The epoch is no longer current: what was verified no longer counts."""


class DataWrite(enum.Enum):
    """
    What became of a change of session data.
    """

    WRITTEN = "written"
    CONFLICT = "conflict"
    """A guard did not hold."""

    FULL = "full"
    """It would have exceeded the capacity."""

    GONE = "gone"
    """The session is not there."""


@dataclass(frozen=True, slots=True)
class Purged:
    """
    What one batch of purging removed.
    """

    sessions: int
    epochs: int

    more: bool
    """Whether calling again may remove more."""


class SessionStore(Protocol):
    """
    Where sessions live between requests: an atomic map, grouped by epoch.

    A store judges nothing and knows no policy. There is no ``save``: the domain
    computes the next record and the store compares and sets (ADR-0013).
    Records are compared by their stamps.
    """

    def open_epoch(self, subject: Subject, at: datetime, lives_for: timedelta, /) -> Epoch:
        """
        Return the subject's current epoch, making one if there is none.

        The epoch is 16 bytes that no other subject shares and that never become
        current again once ended. Parallel calls agree on one epoch. Repeating
        is safe.

        Args:
            subject: Whose epoch.

            at: The present.

            lives_for: For how long after *at* the epoch must stay current, even
                without a session, unless it is ended.

        Raises:
            StoreUnavailable: The store did not answer; an epoch without
                sessions may have been left, which is harmless. This is the one
                write that is never *unknown*.

            CorruptRecord: The store holds another subject in this one's place.
        """
        ...

    def find(self, locator: Locator, /) -> Session | None:
        """
        Return the session stored under *locator*. The hot path.

        One round trip; writes nothing. A session whose epoch is not current is
        not found.

        Returns:
            The session, or ``None`` if there is none.

        Raises:
            StoreUnavailable: The store did not answer.

            CorruptRecord: There is a record, but it cannot be read.
        """
        ...

    def replace(self, old: Session, new: Session, /) -> bool:
        """
        Swap *old* for *new*, provided *old* is still what is stored.

        Compared by stamp. Of several parallel calls with the same *old* at most
        one takes effect. Repeating a call that took effect is safe and returns
        ``True`` again as long as *new* is what is stored.

        Args:
            old: The session as the caller last read it.

            new: Its successor, under the same locator, with a stamp of its own.

        Returns:
            Whether *new* is what is now stored. ``False``: it is not; someone
            else changed or deleted the session, or its epoch ended, and this
            call left the store as it was.

        Raises:
            StoreUnavailable: The store did not answer; nothing was written.

            OutcomeUnknown: The store may or may not have taken the swap.
        """
        ...

    def roster(self, subject: Subject, /) -> Roster:
        """
        Return all sessions of the subject's current epoch, with a version.

        One consistent view. Writes nothing. For a subject without an epoch the
        roster is empty and so is its version.

        Raises:
            StoreUnavailable: The store did not answer.

            CorruptRecord: The store holds another subject in this one's place.
        """
        ...

    def admit(
        self,
        session: Session,
        evicted: tuple[Locator, ...],
        version: bytes | None,
        at: datetime,
        /,
    ) -> Admission:
        """
        Insert one session and delete the evicted ones, as one step.

        Never overwrites a slot, not even one among *evicted*. Every admission
        moves the roster's version, one without *version* too. Nothing that is
        absent needs to be evicted.

        Args:
            session: The session, in the epoch in which it was opened.

            evicted: Sessions of the same subject and epoch, to delete with
                their data.

            version: Admit only if the roster still has this version; ``None``
                for any.

            at: The present, by which a store may also drop some records of this
                subject whose ``keep_until`` has passed.

        Returns:
            ``STALE`` if the session's epoch is not its subject's current one
            (or another subject is in this one's place);
            ``CONFLICT`` if the version has moved or the slot is taken. Both
            leave the store as it was.

        Raises:
            StoreUnavailable: The store did not answer; nothing was written.

            OutcomeUnknown: The session may or may not have been admitted. The
                domain deletes the slot and admits a fresh one; an admission is
                never repeated with the same slot, because the session could
                have been revoked meanwhile.
        """
        ...

    def restart(self, old: Session, new: Session, /) -> Locator | None:
        """
        End the subject's epoch and open a fresh one that holds only *new*.

        One atomic step, provided *old* is still what is stored, by stamp. All
        sessions of the ended epoch and their data are gone; *old*'s data becomes
        *new*'s. Repeating a call that took effect is safe and returns the same
        locator as long as *new* is what is stored.

        Args:
            old: The session as the caller last read it.

            new: Its successor, whose locator names *old*'s epoch and a slot of
                its own; it is stored under the fresh epoch with that slot.

        Returns:
            Where *new* is stored now; ``None`` if *old* is changed or gone, and
            then nothing was done.

        Raises:
            StoreUnavailable: The store did not answer; nothing was written.

            OutcomeUnknown: The epoch may or may not have been ended.
        """
        ...

    def delete(self, locator: Locator, expected: Session | None = None, /) -> bool:
        """
        Delete one session with its data. Idempotent; works on unreadable records too.

        Args:
            locator: Which.

            expected: If given, delete only while this is what is stored, by
                stamp.

        Returns:
            Whether this call deleted it. After a repetition this is a lower bound.

        Raises:
            StoreUnavailable: The store did not answer; nothing was deleted.

            OutcomeUnknown: It may or may not have been deleted.
        """
        ...

    def delete_user(self, subject: Subject, /) -> int:
        """
        Delete every session of *subject*, their data and the epoch, as one step.

        Whatever is in flight (an admission, a replacement, a restart, a data
        write) fails afterwards. Idempotent; works on unreadable records, and as
        a deletion even where memory is too full to write.

        Returns:
            How many sessions were deleted; a lower bound after a repetition.

        Raises:
            StoreUnavailable: The store did not answer; nothing was deleted.

            OutcomeUnknown: They may or may not have been deleted.

            CorruptRecord: The store holds another subject in this one's place.
        """
        ...

    def read_data(self, locator: Locator, /) -> Mapping[str, Datum] | None:
        """
        Return the data of one session, or ``None`` if the session is not there.

        Raises:
            StoreUnavailable: The store did not answer.

            CorruptRecord: A stored value cannot be read.
        """
        ...

    def find_with_data(self, locator: Locator, /) -> tuple[Session, Mapping[str, Datum]] | None:
        """
        Return a session together with its data, both as they were at one moment.

        What :meth:`find` and :meth:`read_data` say, in one round trip and under the laws of
        :meth:`find`: for apps that need both on every request.

        Raises:
            StoreUnavailable: The store did not answer.

            CorruptRecord: The record or a stored value cannot be read. The other may be
                sound: ask for it alone.
        """
        ...

    def write_data(self, locator: Locator, change: DataChange, /) -> DataWrite:
        """
        Change the data of one session, key by key, as one step.

        Keys that the change does not name keep their values, so parallel
        changes of different keys all survive. The session's record and stamp do
        not change. Answers are tried in this order:

        - ``GONE``: the session is not there; nothing is kept for it.
        - ``WRITTEN``: every put key already bears the change's stamp (there is
          at least one): a repetition, which changes nothing.
        - ``CONFLICT``: a guard in ``change.expect`` does not hold.
        - ``FULL``: keys and values together would take more than
          ``change.capacity`` bytes, and more than they take now.
        - ``WRITTEN``: the put keys hold their values under the change's stamp
          and the removed keys are absent.

        Raises:
            StoreUnavailable: The store did not answer; nothing was written.

            OutcomeUnknown: The change may or may not have been written.
        """
        ...

    def purge(self, before: datetime, limit: int, /) -> Purged:
        """
        Delete a bounded batch of what nobody needs any more.

        That is: sessions whose ``keep_until`` lies before *before*, with their
        data, and epochs without sessions whose time to stay current has passed.
        Never anything else. Safe to run on many machines at once, and beside
        every other operation.

        Args:
            before: Usually the present.

            limit: How many records to delete at most in this call; at least 1.

        Returns:
            What was deleted, and whether calling again may delete more. Calling
            while there is more deletes all sessions that were due.

        Raises:
            StoreUnavailable: The store did not answer.

            OutcomeUnknown: Part of the batch may have been deleted.
        """
        ...


class AsyncSessionStore(Protocol):
    """
    :class:`SessionStore` for asyncio: the same names and the same laws.

    A call that is cancelled has an unknown outcome, like one whose reply is lost.
    """

    async def open_epoch(self, subject: Subject, at: datetime, lives_for: timedelta, /) -> Epoch:
        """
        See :meth:`SessionStore.open_epoch`.
        """
        ...

    async def find(self, locator: Locator, /) -> Session | None:
        """
        See :meth:`SessionStore.find`.
        """
        ...

    async def replace(self, old: Session, new: Session, /) -> bool:
        """
        See :meth:`SessionStore.replace`.
        """
        ...

    async def roster(self, subject: Subject, /) -> Roster:
        """
        See :meth:`SessionStore.roster`.
        """
        ...

    async def admit(
        self,
        session: Session,
        evicted: tuple[Locator, ...],
        version: bytes | None,
        at: datetime,
        /,
    ) -> Admission:
        """
        See :meth:`SessionStore.admit`.
        """
        ...

    async def restart(self, old: Session, new: Session, /) -> Locator | None:
        """
        See :meth:`SessionStore.restart`.
        """
        ...

    async def delete(self, locator: Locator, expected: Session | None = None, /) -> bool:
        """
        See :meth:`SessionStore.delete`.
        """
        ...

    async def delete_user(self, subject: Subject, /) -> int:
        """
        See :meth:`SessionStore.delete_user`.
        """
        ...

    async def read_data(self, locator: Locator, /) -> Mapping[str, Datum] | None:
        """
        See :meth:`SessionStore.read_data`.
        """
        ...

    async def find_with_data(
        self, locator: Locator, /
    ) -> tuple[Session, Mapping[str, Datum]] | None:
        """
        See :meth:`SessionStore.find_with_data`.
        """
        ...

    async def write_data(self, locator: Locator, change: DataChange, /) -> DataWrite:
        """
        See :meth:`SessionStore.write_data`.
        """
        ...

    async def purge(self, before: datetime, limit: int, /) -> Purged:
        """
        See :meth:`SessionStore.purge`.
        """
        ...


@runtime_checkable
class RecallsSessions(Protocol):
    """
    A session store that keeps copies in this process, and can answer from them.

    Law 2 holds for every operation of such a store: ``find`` reads what is stored.
    This is a question of its own, which only :meth:`AuthService.authenticate
    <sessioncore.service.AuthService.authenticate>` asks, and what it makes of the answer
    is decided by rule 15 of :mod:`sessioncore.decisions`. See :mod:`sessioncore_near_cache`.
    """

    def recall(self, locator: Locator, /) -> Session | None:
        """
        Return a copy of what was stored no longer ago than a stated bound.

        Never waits for anything, so that both services call it.

        Returns:
            ``None`` if there is no copy, or none that is known to be recent enough. That
            says nothing about the session.
        """
        ...


class InvalidationListener(Protocol):
    """
    Who is told by an :class:`InvalidationFeed`. Its methods may be called from any thread.
    """

    heartbeat: float
    """After how many seconds the feed is to prove anew that nothing is missing."""

    patience: float
    """How many seconds such a proof may take before the feed counts as broken."""

    @property
    def has_enough(self) -> bool:
        """
        Whether nobody listens any more: return from :meth:`InvalidationFeed.follow`.
        """
        ...

    def now(self) -> float:
        """
        Return the present, in seconds of the clock by which :meth:`complete` is understood.
        """
        ...

    def changed(self, topic: bytes, /) -> None:
        """
        Something under that topic was written, by whomever.
        """
        ...

    def complete(self, until: float, /) -> None:
        """
        Everything that was written before *until* has been told.
        """
        ...

    def doubtful(self) -> None:
        """
        Something may have been written that was not told.
        """
        ...


class InvalidationFeed(Protocol):
    """
    Tells at once what changes in a store, whoever changes it.

    Laws:

    1.  Once :meth:`follow` has called ``complete`` for the first time, every write that
        changes what an id stands for, or ends a session, is followed by ``changed`` with
        its topic. The mere record of being seen may be left out.
    2.  ``complete(until)`` is called only when every change that the store carried out
        before *until* has been told: for instance because a message of one's own, sent at
        *until* through the same ordered channel, has come back.
    3.  Where that can no longer be said, :meth:`follow` raises or calls ``doubtful``.
    """

    def topic(self, locator: Locator, /) -> bytes:
        """
        Return under which topic changes of that session are told. Maybe others' as well.
        """
        ...

    def follow(self, listener: InvalidationListener, /) -> None:
        """
        Listen and tell, until the listener has enough or the channel breaks. Blocks.

        Raises:
            StoreUnavailable: The channel could not be opened, is broken, or did not
                prove within the listener's ``patience`` that it is not.
        """
        ...


@dataclass(frozen=True, slots=True)
class Account:
    """
    Whom a name that was typed at sign-in belongs to.
    """

    user_id: str

    role: str | None = None
    """For choosing a policy; see :class:`sessioncore.policy.Policies`."""


class CredentialStore(Protocol):
    """
    Where users and their password hashes live; usually the app's own tables.

    That no sign-in which verified an old password survives a password change
    rests on these laws (ADR-0009):

    1.  A hash that :meth:`replace_hash` wrote is committed when it returns, and
        every later :meth:`read_hash` from any process sees it.
    2.  Neither joins a transaction that the caller has open, and neither reads a
        replica or a cache.
    """

    def find_user(self, username: str, /) -> Account | None:
        """
        Return whose name this is, by the app's own rules for spelling.

        Two spellings of one name give one account, whose ``user_id`` counts the
        attempts. ``None`` if nobody has it, and for any text whatsoever.
        """
        ...

    def read_hash(self, user_id: str, /) -> str | None:
        """
        Return the user's password hash, or ``None`` if there is no such user or no password.
        """
        ...

    def replace_hash(self, user_id: str, verified: str, new: str, /) -> bool:
        """
        Write *new*, provided *verified* is still the stored hash.

        Returns:
            Whether *new* is what is now stored; safe to repeat. Of several
            parallel calls with the same *verified* at most one takes effect.

        Raises:
            StoreUnavailable: The store did not answer; nothing was written.

            OutcomeUnknown: The hash may or may not have been replaced.
        """
        ...


class AsyncCredentialStore(Protocol):
    """
    :class:`CredentialStore` for asyncio: the same names and the same laws.
    """

    async def find_user(self, username: str, /) -> Account | None:
        """
        See :meth:`CredentialStore.find_user`.
        """
        ...

    async def read_hash(self, user_id: str, /) -> str | None:
        """
        See :meth:`CredentialStore.read_hash`.
        """
        ...

    async def replace_hash(self, user_id: str, verified: str, new: str, /) -> bool:
        """
        See :meth:`CredentialStore.replace_hash`.
        """
        ...


class PasswordCheck(enum.Enum):
    """
    What verifying a password found.
    """

    MATCH = "match"
    OUTDATED = "outdated"
    """It matches, and the hash should be made anew with today's parameters."""

    MISMATCH = "mismatch"
    BUSY = "busy"
    """Too many are waiting; nothing was verified."""


class PasswordHasher(Protocol):
    """
    Makes and verifies password hashes, no more at once than the machine can bear.

    The password is taken exactly as given: never cut, never normalised.
    """

    def verify(self, encoded: str | None, password: str, /) -> PasswordCheck:
        """
        Compare *password* with a hash.

        A mismatch takes the same work whatever *encoded* is: ``None`` (nobody
        has that name), unreadable, or made with cheaper parameters than today's.
        """
        ...

    def hash(self, password: str, /) -> str | Busy:
        """
        Make a hash with today's parameters.

        Raises:
            UnacceptablePassword: It is not text (a lone surrogate), or too long.
        """
        ...


class AsyncPasswordHasher(Protocol):
    """
    :class:`PasswordHasher` for asyncio; the work is done off the event loop.
    """

    async def verify(self, encoded: str | None, password: str, /) -> PasswordCheck:
        """
        See :meth:`PasswordHasher.verify`.
        """
        ...

    async def hash(self, password: str, /) -> str | Busy:
        """
        See :meth:`PasswordHasher.hash`.
        """
        ...


class ThrottleScope(enum.Enum):
    """
    What attempts are counted by.
    """

    SOURCE = "source"
    """Where they come from."""

    ACCOUNT = "account"
    """The user they are aimed at, by user id."""

    NAME = "name"
    """A name that nobody has, by a keyed hash of it."""


@dataclass(frozen=True, slots=True)
class ThrottleKey:
    """
    What one attempt is counted against.
    """

    scope: ThrottleScope
    value: str


@dataclass(frozen=True, slots=True)
class Reservation:
    """
    An attempt that was counted before anything was verified.
    """

    key: ThrottleKey
    at: datetime


class LoginThrottle(Protocol):
    """
    Limits password guesses: counts first, verifies later.

    An attempt is counted when it is reserved, so that parallel guesses cannot
    outrun the count, and it stays counted unless it is given back or reset.
    """

    def reserve(self, key: ThrottleKey, at: datetime, /) -> Reservation | Throttled:
        """
        Count one attempt, or say how long to wait. A refused attempt is not counted.
        """
        ...

    def give_back(self, reservation: Reservation, /) -> None:
        """
        Uncount an attempt that verified nothing.
        """
        ...

    def reset(self, reservation: Reservation, /) -> None:
        """
        Forget all attempts counted against the key: one succeeded.
        """
        ...


class AsyncLoginThrottle(Protocol):
    """
    :class:`LoginThrottle` for asyncio: the same names and the same laws.
    """

    async def reserve(self, key: ThrottleKey, at: datetime, /) -> Reservation | Throttled:
        """
        See :meth:`LoginThrottle.reserve`.
        """
        ...

    async def give_back(self, reservation: Reservation, /) -> None:
        """
        See :meth:`LoginThrottle.give_back`.
        """
        ...

    async def reset(self, reservation: Reservation, /) -> None:
        """
        See :meth:`LoginThrottle.reset`.
        """
        ...
