"""
The use cases for asyncio: :mod:`sessioncore.service`, with ``await``.

Written by hand and kept equal by a test that compares the two programs
(ADR-0006). What is added here is :func:`shielded`: a client that disconnects
cancels its task, and a sign-in or password change that stopped half-way would
leave what its user did not ask for.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from sessioncore.attempt import Attempt
from sessioncore.context import LOGIN_WINDOW, TRIES, UPKEEP_TRIES, Context, Doubt
from sessioncore.data import checked_key, checked_keys, decode_value, encode_value
from sessioncore.decisions import (
    Accept,
    Deny,
    Standing,
    copy_suffices,
    decide_absence,
    decide_admission,
    decide_authentication,
    decide_rotation,
    live_sessions,
    missing_from,
    opened,
    renewed_id,
    rotated,
    session_of_family,
    session_with_handle,
    upkeep,
    was_issued,
)
from sessioncore.errors import (
    CorruptRecord,
    DataTooLarge,
    InvalidData,
    OutcomeUnknown,
    PasswordChangedButSessionsLive,
    StoreError,
    StoreUnavailable,
    UnacceptablePassword,
)
from sessioncore.events import EndReason
from sessioncore.outcomes import (
    Active,
    Busy,
    DataChanged,
    DataRead,
    DataTaken,
    Inactive,
    InactiveReason,
    LimitReached,
    LoggedIn,
    LoggedOut,
    LoggedOutEverywhere,
    NothingToTake,
    PasswordChanged,
    Refused,
    Revoked,
    Rotated,
    SessionGone,
    Throttled,
    make_active,
)
from sessioncore.ports import (
    Admission,
    DataWrite,
    PasswordCheck,
    RecallsSessions,
    ThrottleKey,
    ThrottleScope,
)
from sessioncore.session import DataChange, Device, Locator, SessionId, Subject
from sessioncore.throttle import AsyncInProcessLoginThrottle, source_key

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping
    from datetime import datetime, timedelta

    from sessioncore.events import Event
    from sessioncore.outcomes import (
        AuthenticationOutcome,
        EstablishOutcome,
        Json,
        LoginOutcome,
        PasswordChangeOutcome,
        ReauthenticationOutcome,
        RotationOutcome,
    )
    from sessioncore.policy import Policies, Policy
    from sessioncore.ports import (
        AsyncCredentialStore,
        AsyncLoginThrottle,
        AsyncPasswordHasher,
        AsyncSessionStore,
        Clock,
        Entropy,
        EventSink,
        Purged,
        Reservation,
    )
    from sessioncore.session import Epoch, Session

T = TypeVar("T")
P = ParamSpec("P")

# The event loop keeps only weak references to its tasks.
_under_way: set[asyncio.Task[Any]] = set()


def shielded(
    method: Callable[Concatenate[AsyncAuthService, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[AsyncAuthService, P], Coroutine[Any, Any, T]]:
    """
    Let a use case of several writes run to its end though its caller is cancelled.
    """

    @wraps(method)
    async def to_its_end(self: AsyncAuthService, /, *args: P.args, **kwargs: P.kwargs) -> T:
        task = asyncio.get_running_loop().create_task(method(self, *args, **kwargs))
        _under_way.add(task)
        task.add_done_callback(_under_way.discard)
        return await asyncio.shield(task)

    return to_its_end


class AsyncAuthService:
    """
    Server-side sessions: sign in, recognise, renew, step up, sign out.

    One instance serves a whole application, from any number of threads (or, of
    the asynchronous twin, tasks of one event loop). Between calls it remembers
    nothing but the counts of the default throttle.

    Every parameter called *cookie* is the text of the session cookie as the
    client sent it, or ``None``. It is parsed here, and whatever it contains,
    nothing malformed reaches a store.

    Every use case may raise :class:`~sessioncore.errors.StoreUnavailable`, and
    every one that writes :class:`~sessioncore.errors.OutcomeUnknown`: answer
    503 to both. :meth:`authenticate` alone never fails for a write.

    Args:
        sessions: Where sessions live.

        policy: How long they live: one policy, or several with a way to choose.

        credentials: Where users and password hashes live. Leave it out, and
            *passwords* too, if identity is proven by other means.

        passwords: How passwords are hashed.

        throttle: What limits guesses; by default a count in this process.

        events: Who takes notice of what happened; by default nobody.

        clock: What tells the time; by default the system's.

        entropy: What draws random bytes; by default the operating system's.

        login_window: How long a sign-in may take from its start to its end.
    """

    def __init__(
        self,
        *,
        sessions: AsyncSessionStore,
        policy: Policy | Policies,
        credentials: AsyncCredentialStore | None = None,
        passwords: AsyncPasswordHasher | None = None,
        throttle: AsyncLoginThrottle | None = None,
        events: EventSink | None = None,
        clock: Clock | None = None,
        entropy: Entropy | None = None,
        login_window: timedelta = LOGIN_WINDOW,
    ) -> None:
        if (credentials is None) != (passwords is None):
            raise TypeError("credentials and passwords are given together or not at all")
        self._context = Context(policy, clock, entropy, events, login_window)
        self._sessions = sessions
        self._recall = sessions.recall if isinstance(sessions, RecallsSessions) else None
        self._credentials = credentials
        self._passwords = passwords
        self._throttle = throttle or AsyncInProcessLoginThrottle()

    @property
    def lost_events(self) -> int:
        """
        How many events the sink failed to take.
        """
        return self._context.lost_events

    def now(self) -> datetime:
        """
        Return the present by the service's clock, in whole milliseconds.
        """
        return self._context.now()

    def report(self, make: Callable[..., Event], /) -> None:
        """
        Pass on an event of what an adapter noticed, such as two cookies of one name.

        A sink that fails changes nothing for the caller; see :attr:`lost_events`.

        Args:
            make: Makes the event when called with its ``at`` and ``stamp``.
        """
        self._context.report(make)

    # -- Signing in ------------------------------------------------------------

    @shielded
    async def login(
        self,
        username: str,
        password: str,
        *,
        cookie: str | None = None,
        policy: str | None = None,
        device: Device | None = None,
        keep: Collection[str] = (),
    ) -> LoginOutcome:
        """
        Sign a user in with a name and a password.

        Attempts are counted before anything is verified, and the user's epoch is
        opened before the hash is read: if all sessions of the user are ended, or
        the password is changed, while the password is being verified, the
        sign-in is repeated with what holds then (ADR-0009). A name that nobody
        has takes the same work.

        Args:
            username: The name as it was typed.

            password: The password as it was typed, neither cut nor normalised.

            cookie: What the browser holds already. A live session found there
                ends, whoever's it was (ASVS 5 7.2.4).

            policy: The name of the policy to ask for, such as ``"remembered"``.

            device: What to show in session lists. Its address is also what
                attempts are counted by.

            keep: The keys of session data to carry over from the session that
                ends, if it is anonymous or the same user's. Nothing else
                survives a sign-in. A ``data_limit`` that is smaller than what is
                carried holds from the next change on. A value that is taken at
                the same moment may be carried as well: do not name what is good
                once.

        Raises:
            InvalidPolicy: No policy is called *policy*.

            InvalidData: A key in *keep* is not acceptable.
        """
        self._context.policies.require(policy)
        keys = checked_keys(keep)
        reserved: list[Reservation] = []
        try:
            outcome = await self._login(
                username,
                password,
                reserved,
                cookie=cookie,
                policy=policy,
                device=device or Device(),
                keep=keys,
            )
        except StoreError:
            # Nothing was verified, or it was and matched: no guess was made.
            await self._give_back(reserved)
            raise
        if isinstance(outcome, Busy):
            await self._give_back(reserved)
        elif isinstance(outcome, (LoggedIn, LimitReached)):
            await self._give_back(reserved[:-1])
            await self._forget(reserved[-1])
        return outcome

    async def _login(
        self,
        username: str,
        password: str,
        reserved: list[Reservation],
        *,
        cookie: str | None,
        policy: str | None,
        device: Device,
        keep: frozenset[str],
    ) -> LoginOutcome:
        credentials, passwords = self._password_ports()
        source = device.cleaned().address
        if source is not None:
            throttled = await self._reserve(source_key(source), reserved, None, source)
            if throttled is not None:
                return throttled
        account = await credentials.find_user(self._context.presentable(username))
        user_id = account.user_id if account else None
        if account is None:
            key = self._context.name_key(username)
            subject = self._context.decoy(username)
        else:
            key = ThrottleKey(ThrottleScope.ACCOUNT, account.user_id)
            subject = Subject.user(account.user_id)
        throttled = await self._reserve(key, reserved, user_id, source)
        if throttled is not None:
            await self._give_back(reserved)
            return throttled
        held: Session | None = None
        for _ in range(2):
            # This order is the proof that no sign-in with an old password
            # survives: epoch first, hash second, admission in that epoch last.
            epoch = await self._open_epoch(subject)
            encoded = await credentials.read_hash(user_id or self._context.nobody)
            check = await passwords.verify(encoded, password)
            if check is PasswordCheck.BUSY:
                return Busy()
            if account is None or encoded is None or check is PasswordCheck.MISMATCH:
                self._context.refused(user_id, source)
                return Refused()
            if check is PasswordCheck.OUTDATED:
                await self._rehash(account.user_id, encoded, password)
            # Whatever ended the epoch may have moved the session that the
            # browser holds: it is still the one to replace.
            held = held or await self._held(cookie)
            admitted = await self._admit(
                epoch,
                subject,
                self._context.policies.choose(account.user_id, account.role, policy),
                methods=("pwd",),
                device=device,
                held=held,
                cookie=cookie,
                keep=keep,
            )
            if admitted is not None:
                return admitted
        return Busy()

    async def begin(self, user_id: str, *, role: str | None = None) -> Attempt:
        """
        Begin a sign-in whose proof the application checks itself.

        Call this as soon as it is known who claims to sign in, and *before* the
        proof (an OIDC code, a passkey, a one-time code) is checked; then call
        :meth:`establish`. An attempt begun after the check would survive a
        "sign out everywhere" that happened during it (ADR-0009). How often a
        proof may be tried is the application's business, too.

        Args:
            user_id: Who claims to sign in.

            role: What to choose a policy by.

        Raises:
            ValueError: *user_id* is not 1 to 255 bytes of acceptable text.
        """
        subject = Subject.user(user_id)
        opened_at = self._context.now()
        return Attempt(subject, await self._open_epoch(subject), opened_at, role)

    @shielded
    async def establish(
        self,
        attempt: Attempt,
        *,
        methods: tuple[str, ...],
        cookie: str | None = None,
        policy: str | None = None,
        device: Device | None = None,
        keep: Collection[str] = (),
        fresh: bool = True,
    ) -> EstablishOutcome:
        """
        Open the session of a sign-in whose proof has been checked.

        Args:
            attempt: What :meth:`begin` returned. Good once.

            methods: How identity was proven, by RFC 8176 names such as ``hwk``
                or ``otp``; at least one.

            cookie: See :meth:`login`.

            policy: See :meth:`login`.

            device: See :meth:`login`.

            keep: See :meth:`login`.

            fresh: Whether the proof was given just now. ``False`` for a session that is
                taken over from elsewhere: it needs a step-up before anything sensitive.

        Returns:
            ``Refused`` if the login window has passed or the user's sessions
            were ended since the attempt began: begin anew, proof included.

        Raises:
            AttemptSpent: The attempt was established before.

            InvalidPolicy: No policy is called *policy*.

            ValueError: *methods* is empty or cannot be recorded.
        """
        if not methods:
            raise ValueError("methods: at least one")
        methods = self._context.checked_methods(methods)
        keys = checked_keys(keep)
        chosen = self._context.policies.choose(attempt.subject.user_id or "", attempt.role, policy)
        attempt.spend()
        device = device or Device()
        admitted = None
        if attempt.is_open(self._context.login_window, self._context.now()):
            held = await self._held(cookie)
            admitted = await self._admit(
                attempt.epoch,
                attempt.subject,
                chosen,
                methods=methods,
                device=device,
                held=held,
                cookie=cookie,
                keep=keys,
                fresh=fresh,
            )
        if admitted is None:
            self._context.refused(attempt.subject.user_id, device.cleaned().address)
            return Refused()
        return admitted

    @shielded
    async def start_anonymous(
        self, *, policy: str | None = None, device: Device | None = None
    ) -> LoggedIn:
        """
        Open a session for somebody who has not signed in.

        Sign-in with its *cookie* replaces it by a session under a new id, with
        only the data that the sign-in names for keeping. It is a write on
        behalf of a stranger: open one when there is something to remember.

        Raises:
            InvalidPolicy: No policy is called *policy*.
        """
        chosen = self._context.policies.require(policy)
        for _ in range(TRIES):
            subject = self._context.visitor()
            now = self._context.now()
            session_id = self._context.fresh_id(await self._open_epoch(subject))
            session = opened(
                session_id,
                subject,
                policy=chosen,
                now=now,
                methods=(),
                device=device or Device(),
                stamp=self._context.stamp(),
            )
            admission = await self._sessions.admit(session, (), None, now)
            if admission is Admission.ADMITTED:
                self._context.started(session)
                return LoggedIn(session_id, session, self._context.persistence(session))
        raise StoreUnavailable("the store admits no session of a new subject")

    # -- Recognising -----------------------------------------------------------

    async def authenticate(
        self,
        cookie: str | None,
        *,
        arrived_at: datetime | None = None,
        passive: bool = False,
        from_store: bool = False,
        with_data: bool = False,
    ) -> AuthenticationOutcome:
        """
        Say whose session the cookie stands for, if it stands for a live one.

        One read of the store, or none with a near cache. At most one write,
        when being seen or a renewal has to be recorded; if that write fails,
        the session is live all the same and the next request takes care of it.

        Args:
            cookie: The text of the session cookie, or ``None``.

            arrived_at: When the request's headers arrived, by this clock; now,
                if it is not given. Grace is judged by it, so that a request
                that waited for its body is not taken for a late one.

            passive: Do not count this as a sign of life: polling, for example,
                should not keep a session alive.

            from_store: Read the store also where a near cache holds a copy: before
                anything sensitive. See :attr:`Active.is_copy
                <sessioncore.outcomes.Active.is_copy>`.

            with_data: Read the session's data as well, in the same round trip, for
                ``Active.data``. If a value cannot be read there is none, and
                :meth:`read_data` says so.

        Returns:
            ``Active``, with a new id to set if ``renewed`` is not ``None``; or
            ``Inactive``, which says nothing about the cookie: leave it alone.

        Raises:
            StoreUnavailable: The session could not be read. That is an outage,
                and not a logout.
        """
        presented = SessionId.parse(cookie)
        if presented is None:
            return Inactive(decide_absence(cookie))
        now = self._context.now()
        if self._recall is not None and not (from_store or with_data):
            copy = self._recall(presented.locator)
            if copy is not None and copy_suffices(
                copy, presented, self._context.policies, now, passive=passive
            ):
                return make_active(copy, is_copy=True)
        arrived_at = self._context.arrival(arrived_at, now)
        tries = UPKEEP_TRIES
        while True:
            judged = await self._judge(
                presented, now, arrived_at, passive=passive, with_data=with_data
            )
            if isinstance(judged, Inactive):
                return judged
            session, accepted, data = judged
            if not accepted.writes:
                return self._active(session, data, renewed_id(session, presented), arrived_at)
            kept = upkeep(
                session,
                presented,
                accepted,
                policy=self._context.policies.require(session.policy),
                now=now,
                stamp=self._context.stamp(),
                salt=self._context.salt(),
            )
            tries -= 1
            stored = unknown = False
            try:
                stored = await self._sessions.replace(session, kept)
            except OutcomeUnknown:
                unknown, tries = True, 0
            except StoreError:
                tries = 0
            if accepted.standing is Standing.SUCCESSOR and (stored or unknown):
                self._context.renewed(kept)
            if stored:
                return self._active(kept, data, renewed_id(kept, presented), arrived_at)
            if tries == 0:
                # What was read was live. A successor that is not known to be
                # stored is never answered; the next request will bring it.
                self._context.upkeep_skipped(session)
                return self._active(session, data, None, arrived_at)

    def _active(
        self,
        session: Session,
        data: Mapping[str, Json] | None,
        renewed: SessionId | None,
        arrived_at: datetime,
    ) -> Active:
        if renewed is None:
            return make_active(session, data=data)
        answer_by = arrived_at + self._context.policies.require(session.policy).grace
        persist_for = self._context.persistence(session)
        return make_active(session, renewed, persist_for, answer_by, data=data)

    async def recheck(self, session: Session) -> AuthenticationOutcome:
        """
        Say whether a session that was recognised earlier is live still.

        For what outlasts a request: a WebSocket, a stream of events, a long job.
        Never authenticate the cookie of such a handshake again: it is retired by
        and by, and would look like a copied one. One read; it is no sign of life.

        Returns:
            ``Active`` with the session as it is now, and never with a new id; or
            ``Inactive``. A "sign out everywhere" that keeps a session moves it,
            and it has to be recognised anew: here it counts as unknown.

        Raises:
            StoreUnavailable: The session could not be read.
        """
        try:
            now = await self._sessions.find(session.locator)
        except CorruptRecord:
            self._context.unusable(session.locator, InactiveReason.UNREADABLE)
            return Inactive(InactiveReason.UNREADABLE)
        if now is None or now.family != session.family:
            return Inactive(InactiveReason.UNKNOWN)
        expired = self._context.expired(now)
        return Active(now) if expired is None else Inactive(expired)

    async def _judge(
        self,
        presented: SessionId,
        now: datetime,
        arrived_at: datetime,
        *,
        passive: bool,
        with_data: bool = False,
    ) -> tuple[Session, Accept, Mapping[str, Json] | None] | Inactive:
        for _ in range(TRIES):
            data: Mapping[str, Json] | None = None
            try:
                if with_data:
                    session, data = await self._find_with_data(presented.locator)
                else:
                    session = await self._sessions.find(presented.locator)
            except CorruptRecord:
                self._context.unusable(presented.locator, InactiveReason.UNREADABLE)
                return Inactive(InactiveReason.UNREADABLE)
            judgement = decide_authentication(
                session, presented, self._context.policies, now, arrived_at, passive=passive
            )
            if session is None:
                return Inactive(InactiveReason.UNKNOWN)
            if isinstance(judgement, Accept):
                return session, judgement, data
            if judgement.reason is InactiveReason.POLICY_UNKNOWN:
                self._context.unusable(presented.locator, judgement.reason)
            if judgement.reason is not InactiveReason.REUSED or await self._end_reused(
                session, judgement
            ):
                return Inactive(judgement.reason)
        raise StoreUnavailable("the session changes faster than it can be judged")

    async def _find_with_data(
        self, locator: Locator
    ) -> tuple[Session | None, Mapping[str, Json] | None]:
        try:
            found = await self._sessions.find_with_data(locator)
            if found is None:
                return None, None
            session, data = found
            return session, {key: decode_value(datum.value) for key, datum in data.items()}
        except CorruptRecord:
            # A value that cannot be read signs nobody out.
            return await self._sessions.find(locator), None

    async def _end_reused(self, session: Session, judgement: Deny) -> bool:
        # False: somebody changed the session since it was judged. Judge it again.
        ended: bool | None = False
        if judgement.end:
            try:
                ended = await self._sessions.delete(session.locator, session)
            except StoreError:
                ended = None
            if ended is False:
                return False
        self._context.reused(session, ended=ended)
        return True

    def is_fresh(self, session: Session, max_age: timedelta | None = None) -> bool:
        """
        Tell whether identity was proven recently enough for a sensitive operation.

        Args:
            session: What :meth:`authenticate` returned for this request; with a near
                cache, what it returned ``from_store``.

            max_age: How old the proof may be; by default the
                ``reauthentication_age`` of the session's policy.
        """
        policy = self._context.policies.get(session.policy)
        if policy is None:
            return False
        if max_age is None:
            max_age = policy.reauthentication_age
        return session.is_fresh(max_age, self._context.now())

    def reauthentication_age(self, session: Session) -> timedelta:
        """
        Return how old a proof of identity may be by the session's policy.

        Raises:
            InvalidPolicy: There is no such policy any more.
        """
        return self._context.policies.require(session.policy).reauthentication_age

    # -- Changing privilege ----------------------------------------------------

    @shielded
    async def rotate(
        self,
        cookie: str | None,
        *,
        methods: tuple[str, ...] = (),
        arrived_at: datetime | None = None,
    ) -> RotationOutcome:
        """
        Replace the session id at once: call it at every change of privilege.

        The old id and any successor of it stop working with this call. If the
        answer with the new id is lost, the user has to sign in again; that
        cannot be mended, because a thief who holds the old id may be waiting
        for it (ADR-0012).

        Args:
            cookie: The text of the session cookie.

            methods: What the application has just verified, such as
                ``("hwk",)`` for a passkey: recorded, and the session counts as
                freshly authenticated. Without it, an id that renewal has
                already replaced is refused as superseded.

            arrived_at: See :meth:`authenticate`.

        Raises:
            ValueError: *methods* cannot be recorded.
        """
        methods = self._context.checked_methods(methods)
        presented = SessionId.parse(cookie)
        if presented is None:
            return Inactive(decide_absence(cookie))
        for _ in range(TRIES):
            now = self._context.now()
            judged = await self._judge(
                presented, now, self._context.arrival(arrived_at, now), passive=False
            )
            if isinstance(judged, Inactive):
                return judged
            session, accepted, _ = judged
            hindrance = decide_rotation(session, accepted, methods)
            if hindrance is not None:
                return Inactive(hindrance)
            successor = presented.rotated(self._context.secret())
            fresh = rotated(
                session,
                successor,
                policy=self._context.policies.require(session.policy),
                now=now,
                methods=methods,
                stamp=self._context.stamp(),
            )
            if await self._twice(partial(self._sessions.replace, session, fresh)):
                self._context.rotated(fresh, methods)
                return Rotated(successor, fresh, self._context.persistence(fresh))
        raise StoreUnavailable("the session changes faster than it can be rotated")

    @shielded
    async def reauthenticate(
        self, cookie: str | None, password: str, *, arrived_at: datetime | None = None
    ) -> ReauthenticationOutcome:
        """
        Step up: let the user of a live session prove the password again.

        Counted and limited like a sign-in. The id rotates, as in :meth:`rotate`.
        It does not restart the absolute timeout. For other proofs than a
        password, verify them and call :meth:`rotate` with *methods*.
        """
        proven = await self._prove(cookie, password, arrived_at)
        if not isinstance(proven, tuple):
            return proven
        return await self.rotate(cookie, methods=("pwd",), arrived_at=arrived_at)

    @shielded
    async def change_password(
        self,
        cookie: str | None,
        password: str,
        new_password: str,
        *,
        arrived_at: datetime | None = None,
    ) -> PasswordChangeOutcome:
        """
        Change the password of a live session's user, and end all other sessions.

        The hash that was verified is replaced by compare-and-set, so that of two
        changes one is refused. Then the user's epoch is ended and this session
        goes on under a new id in a fresh one. Whatever verified the old password
        before that is in the old epoch, and whatever opens the new epoch reads
        the new hash (ADR-0009).

        Args:
            cookie: The text of the session cookie.

            password: The password so far.

            new_password: The new one. Its quality is the application's business.

            arrived_at: See :meth:`authenticate`.

        Raises:
            UnacceptablePassword: The hasher does not accept *new_password*;
                nothing was changed.

            OutcomeUnknown: The new hash may or may not be in force. All
                sessions were ended, if that could be done.

            PasswordChangedButSessionsLive: The new password is in force, but
                ending the sessions failed. Call :meth:`logout_everywhere`.
        """
        credentials, passwords = self._password_ports()
        # Twice, because a sign-in may upgrade the hash between the steps.
        for _ in range(2):
            proven = await self._prove(cookie, password, arrived_at)
            if not isinstance(proven, tuple):
                return proven
            presented, user_id, verified = proven
            subject = Subject.user(user_id)
            encoded = await passwords.hash(new_password)
            if isinstance(encoded, Busy):
                return encoded
            try:
                replaced = await self._twice(
                    partial(credentials.replace_hash, user_id, verified, encoded)
                )
            except OutcomeUnknown:
                try:
                    await self._end_all(subject)
                except StoreError:
                    self._context.left_live(user_id)
                raise
            if replaced:
                self._context.password_replaced(user_id)
                try:
                    kept = await self._restart(presented, subject, ("pwd",), arrived_at)
                except StoreError as error:
                    self._context.left_live(user_id)
                    raise PasswordChangedButSessionsLive(
                        "the password was changed, but the sessions could not be ended"
                    ) from error
                return PasswordChanged(kept)
        return Busy()

    async def _prove(
        self, cookie: str | None, password: str, arrived_at: datetime | None
    ) -> tuple[SessionId, str, str] | Refused | Throttled | Busy | Inactive:
        credentials, passwords = self._password_ports()
        presented = SessionId.parse(cookie)
        if presented is None:
            return Inactive(decide_absence(cookie))
        now = self._context.now()
        judged = await self._judge(
            presented, now, self._context.arrival(arrived_at, now), passive=True
        )
        if isinstance(judged, Inactive):
            return judged
        session, _, _ = judged
        user_id = session.user_id
        if user_id is None:
            return Inactive(InactiveReason.ANONYMOUS)
        reserved: list[Reservation] = []
        throttled = await self._reserve(
            ThrottleKey(ThrottleScope.ACCOUNT, user_id), reserved, user_id, None
        )
        if throttled is not None:
            return throttled
        try:
            encoded = await credentials.read_hash(user_id)
        except StoreError:
            await self._give_back(reserved)
            raise
        check = await passwords.verify(encoded, password)
        if check is PasswordCheck.BUSY:
            await self._give_back(reserved)
            return Busy()
        if encoded is None or check is PasswordCheck.MISMATCH:
            self._context.refused(user_id, None)
            return Refused()
        await self._forget(reserved[0])
        return presented, user_id, encoded

    # -- Signing out -----------------------------------------------------------

    @shielded
    async def logout(self, cookie: str | None) -> LoggedOut:
        """
        End the session. Delete the cookie, whatever comes back.

        Any id that was issued for the session ends it, also a retired one, but
        none from before a password change or a "sign out everywhere" that kept
        the session: that stands for nothing any more. When this has returned,
        nothing brings the session back, whatever was in flight: a renewal, a
        step-up, or a password change that keeps it.

        Raises:
            StoreUnavailable: The session lives on. Delete the cookie all the
                same, and say that signing out is not confirmed.

            OutcomeUnknown: It may live on; likewise.
        """
        presented = SessionId.parse(cookie)
        if presented is None:
            return LoggedOut(ended=False)
        try:
            session = await self._sessions.find(presented.locator)
        except CorruptRecord:
            # Nothing to compare with. Its user wants it to end, and no guess
            # finds a locator.
            ended = await self._end(presented.locator, None, None, EndReason.LOGOUT)
            return LoggedOut(ended=ended)
        if session is None or not was_issued(session, presented):
            return LoggedOut(ended=False)
        ended = await self._end(session.locator, session.subject, session.family, EndReason.LOGOUT)
        return LoggedOut(ended=ended)

    @shielded
    async def logout_everywhere(
        self, user_id: str, *, keep: str | None = None, arrived_at: datetime | None = None
    ) -> LoggedOutEverywhere:
        """
        End all sessions of a user at once.

        When this has returned, every session that existed before is dead, and
        whatever was in flight (a renewal, a step-up, an attempt that was begun)
        comes to nothing. A ``login`` under way verifies its password anew,
        against the hash that is stored by then.

        Call it also whenever the application itself writes a password, disables
        a user or deletes one: after that is committed.

        Args:
            user_id: Whose sessions.

            keep: The cookie of a session of that user which is to go on under a
                new id. If it does not stand for one any more, or only during its
                grace, no session is kept: better sign this user out too than
                leave in whoever holds an old id. So of two calls with one
                cookie, as by a double click, the second ends everything.

            arrived_at: See :meth:`authenticate`.

        Raises:
            ValueError: *user_id* is not 1 to 255 bytes of acceptable text.
        """
        subject = Subject.user(user_id)
        presented = SessionId.parse(keep)
        if presented is None:
            await self._end_all(subject)
            return LoggedOutEverywhere(None)
        return LoggedOutEverywhere(await self._restart(presented, subject, (), arrived_at))

    async def _end_all(self, subject: Subject) -> None:
        await self._twice(partial(self._sessions.delete_user, subject))
        self._context.all_ended(subject, None)

    async def _restart(
        self,
        presented: SessionId,
        subject: Subject,
        methods: tuple[str, ...],
        arrived_at: datetime | None,
    ) -> Rotated | None:
        # Deleting the user and admitting the survivor anew would let it escape
        # whatever ended it in between; hence one operation of the store.
        for _ in range(TRIES):
            now = self._context.now()
            judged = await self._judge(
                presented, now, self._context.arrival(arrived_at, now), passive=True
            )
            if isinstance(judged, Inactive):
                break
            session, accepted, _ = judged
            if session.subject != subject or decide_rotation(session, accepted, methods):
                break
            # The family goes with the session, so that a logout which found it
            # before the move still knows it afterwards.
            drawn = presented.rotated(self._context.secret()).moved_to(
                Locator(session.locator.epoch, self._context.slot())
            )
            fresh = rotated(
                session,
                drawn,
                policy=self._context.policies.require(session.policy),
                now=now,
                methods=methods,
                stamp=self._context.stamp(),
            )
            moved = await self._twice(
                partial(self._sessions.restart, session, fresh.moved_to(drawn.locator))
            )
            if moved is not None:
                survivor = fresh.moved_to(moved)
                self._context.all_ended(subject, survivor)
                return Rotated(drawn.moved_to(moved), survivor, self._context.persistence(survivor))
        await self._end_all(subject)
        return None

    async def sessions_of(self, user_id: str) -> tuple[Session, ...]:
        """
        Return the live sessions of a user, the one seen last first.

        Show them by :attr:`~sessioncore.session.Session.device` and
        ``last_seen_at``, and name them by their handles.

        Raises:
            ValueError: *user_id* is not 1 to 255 bytes of acceptable text.
        """
        roster = await self._sessions.roster(Subject.user(user_id))
        return live_sessions(roster, self._context.policies, self._context.now())

    @shielded
    async def revoke(self, user_id: str, handle: str) -> Revoked:
        """
        End one session of a user by its public name: "sign out this device".

        Only that user's sessions are searched, so a handle from elsewhere ends
        nothing. A handle survives renewals, but not a password change.

        Raises:
            ValueError: *user_id* is not 1 to 255 bytes of acceptable text.
        """
        subject = Subject.user(user_id)
        roster = await self._sessions.roster(subject)
        named = session_with_handle(roster, handle)
        if named is None:
            return Revoked(ended=False)
        locator, family = named
        return Revoked(ended=await self._end(locator, subject, family, EndReason.REVOKED))

    # -- Session data ----------------------------------------------------------

    async def read_data(self, session: Session) -> DataRead | SessionGone:
        """
        Read the data of a session that was authenticated for this request.

        Raises:
            CorruptRecord: A stored value cannot be read.
        """
        if self._context.live_policy(session) is None:
            return SessionGone()
        data = await self._sessions.read_data(session.locator)
        if data is None:
            return SessionGone()
        return DataRead({key: decode_value(datum.value) for key, datum in data.items()})

    async def change_data(
        self,
        session: Session,
        put: Mapping[str, Json] | None = None,
        remove: Collection[str] = (),
    ) -> DataChanged | SessionGone:
        """
        Put some values and remove others, as one step.

        Keys that are not named keep their values, so parallel changes of
        different keys all survive; of parallel changes of one key the last one
        stands. For a change that depends on the value before, see
        :meth:`update_data`.

        Args:
            session: A session that was authenticated for this request.

            put: JSON-shaped values by key.

            remove: Keys to remove. Absent ones do no harm.

        Raises:
            InvalidData: A key or value is not acceptable; see
                :mod:`sessioncore.data`.

            DataTooLarge: The policy's ``data_limit`` would be exceeded.

            OutcomeUnknown: The change may or may not have been written. It is
                not repeated: that might undo what somebody did since.
        """
        put, removed = put or {}, checked_keys(remove)
        if not put.keys().isdisjoint(removed):
            raise InvalidData("a key is to be put and removed at the same time")
        policy = self._context.live_policy(session)
        if policy is None:
            return SessionGone()
        change = DataChange(
            put={checked_key(key): encode_value(value) for key, value in put.items()},
            remove=removed,
            stamp=self._context.stamp(),
            capacity=policy.data_limit,
        )
        written = self._refuse_full(await self._sessions.write_data(session.locator, change))
        if written is DataWrite.GONE:
            return SessionGone()
        return DataChanged(dict(put))

    async def update_data(
        self,
        session: Session,
        key: str,
        function: Callable[[Json], Json],
        default: Json = None,
    ) -> DataChanged | SessionGone:
        """
        Change one value depending on what it was, safely under concurrency.

        Args:
            session: A session that was authenticated for this request.

            key: Which value.

            function: Computes the new value from the present one. Called again
                whenever somebody else changed the value meanwhile, so it should
                have no effects of its own.

            default: What *function* gets if the key is absent.

        Raises:
            InvalidData: The key or the new value is not acceptable.

            DataTooLarge: The policy's ``data_limit`` would be exceeded.

            OutcomeUnknown: The change may or may not have been written. It is
                not repeated: it might count twice.
        """
        checked_key(key)
        for _ in range(TRIES):
            policy = self._context.live_policy(session)
            if policy is None:
                return SessionGone()
            data = await self._sessions.read_data(session.locator)
            if data is None:
                return SessionGone()
            before = data.get(key)
            value = function(default if before is None else decode_value(before.value))
            change = DataChange(
                put={key: encode_value(value)},
                expect={key: before.stamp if before else None},
                stamp=self._context.stamp(),
                capacity=policy.data_limit,
            )
            written = self._refuse_full(await self._sessions.write_data(session.locator, change))
            if written is DataWrite.GONE:
                return SessionGone()
            if written is DataWrite.WRITTEN:
                return DataChanged({key: value})
        raise StoreUnavailable("the value changes faster than it can be updated")

    async def increment(self, session: Session, key: str, by: int = 1) -> DataChanged | SessionGone:
        """
        Add to a whole number in the session's data; an absent one counts as zero.

        No increment is lost under concurrency and none counts twice; see
        :meth:`update_data`.

        Raises:
            InvalidData: The value is not a whole number.
        """

        def add(value: Json) -> Json:
            if not isinstance(value, int) or isinstance(value, bool):
                raise InvalidData("only a whole number can be incremented")
            return value + by

        return await self.update_data(session, key, add, default=0)

    async def take_data(
        self, session: Session, key: str
    ) -> DataTaken | NothingToTake | SessionGone:
        """
        Remove a value and return it: of parallel callers exactly one gets it.

        For what is good once: a message to show, an attempt, a nonce.

        Raises:
            OutcomeUnknown: It may or may not have been removed. Treat it as
                taken.
        """
        checked_key(key)
        for _ in range(TRIES):
            policy = self._context.live_policy(session)
            if policy is None:
                return SessionGone()
            data = await self._sessions.read_data(session.locator)
            if data is None:
                return SessionGone()
            before = data.get(key)
            if before is None:
                return NothingToTake()
            change = DataChange(
                put={},
                remove=frozenset((key,)),
                expect={key: before.stamp},
                stamp=self._context.stamp(),
                capacity=policy.data_limit,
            )
            written = await self._sessions.write_data(session.locator, change)
            if written is DataWrite.GONE:
                return SessionGone()
            if written is DataWrite.WRITTEN:
                return DataTaken(decode_value(before.value))
        raise StoreUnavailable("the value changes faster than it can be taken")

    @staticmethod
    def _refuse_full(written: DataWrite) -> DataWrite:
        if written is DataWrite.FULL:
            raise DataTooLarge("the session's data would exceed its policy's data_limit")
        return written

    # -- Keeping house ---------------------------------------------------------

    async def purge(self, limit: int = 1_000) -> Purged:
        """
        Delete a batch of what has expired. Run it now and then, on any machine.

        No promise rests on it: what has expired is dead, purged or not. Call it
        again while ``more`` is true.

        Args:
            limit: How many records to delete at most.

        Raises:
            ValueError: *limit* is less than 1.
        """
        if limit < 1:
            raise ValueError("limit: at least 1")
        return await self._sessions.purge(self._context.now(), limit)

    # -- Steps that several use cases share ------------------------------------

    def _password_ports(self) -> tuple[AsyncCredentialStore, AsyncPasswordHasher]:
        if self._credentials is None or self._passwords is None:
            raise TypeError("this service was made without credentials and passwords")
        return self._credentials, self._passwords

    async def _open_epoch(self, subject: Subject) -> Epoch:
        return await self._sessions.open_epoch(
            subject, self._context.now(), self._context.login_window
        )

    async def _reserve(
        self,
        key: ThrottleKey,
        reserved: list[Reservation],
        user_id: str | None,
        source: str | None,
    ) -> Throttled | None:
        reservation = await self._throttle.reserve(key, self._context.now())
        if isinstance(reservation, Throttled):
            self._context.throttled(user_id, source)
            return reservation
        reserved.append(reservation)
        return None

    async def _give_back(self, reserved: list[Reservation]) -> None:
        for reservation in reserved:
            with suppress(StoreError):
                await self._throttle.give_back(reservation)

    async def _forget(self, reservation: Reservation) -> None:
        # A count that could not be reset is too strict, and no reason to fail.
        with suppress(StoreError):
            await self._throttle.reset(reservation)

    async def _rehash(self, user_id: str, verified: str, password: str) -> None:
        # Best effort: an upgrade that fails must not fail the sign-in, and by
        # compare-and-set it cannot overwrite a password changed meanwhile.
        credentials, passwords = self._password_ports()
        with suppress(StoreError, UnacceptablePassword):
            encoded = await passwords.hash(password)
            if not isinstance(encoded, Busy):
                await credentials.replace_hash(user_id, verified, encoded)

    async def _admit(
        self,
        epoch: Epoch,
        subject: Subject,
        policy: Policy,
        *,
        methods: tuple[str, ...],
        device: Device,
        held: Session | None,
        cookie: str | None,
        keep: frozenset[str],
        fresh: bool = True,
    ) -> LoggedIn | LimitReached | Busy | None:
        # None: the epoch has ended; what was verified no longer counts.
        carried = await self._data_to_carry(held, subject, cookie, keep)
        abandoned: list[Locator] = []
        unsure: dict[Locator, tuple[Session, EndReason]] = {}
        with Doubt() as doubt:
            for _ in range(TRIES):
                now = self._context.now()
                roster = await self._sessions.roster(subject)
                # Which of them an admission of unknown fate has ended, if any.
                missing = missing_from(roster, tuple(unsure.values()))
                self._context.these_ended(missing)
                for gone, _reason in missing:
                    del unsure[gone.locator]
                plan = decide_admission(
                    roster,
                    policy,
                    self._context.policies,
                    now,
                    replaced=held.family if held else None,
                    abandoned=abandoned,
                )
                if isinstance(plan, LimitReached):
                    self._context.limit_reached(subject, plan.limit)
                    return plan
                # A fresh slot for every try: one whose fate is unknown may have
                # been admitted and revoked, and must not come back.
                session_id = self._context.fresh_id(epoch)
                session = opened(
                    session_id,
                    subject,
                    policy=policy,
                    now=now,
                    methods=methods,
                    device=device,
                    stamp=self._context.stamp(),
                    fresh=fresh,
                )
                abandoned.append(session.locator)
                try:
                    admission = await self._sessions.admit(
                        session, plan.evicted, roster.version, now
                    )
                except OutcomeUnknown as unknown:
                    doubt.unknown = unknown
                    unsure |= {gone.locator: (gone, reason) for gone, reason in plan.ending}
                    await self._delete(session.locator)
                    continue
                if admission is Admission.STALE:
                    return None
                if admission is Admission.ADMITTED:
                    self._context.these_ended(plan.ending)
                    await self._carry_over(session, carried, held)
                    self._context.started(session)
                    return LoggedIn(session_id, session, self._context.persistence(session))
        return Busy()

    async def _held(self, cookie: str | None) -> Session | None:
        # The session that the browser holds. A retired id is enough for ending
        # what it stood for, as in a logout.
        presented = SessionId.parse(cookie)
        if presented is None:
            return None
        now = self._context.now()
        judged = await self._judge(presented, now, now, passive=True)
        if not isinstance(judged, Inactive):
            return judged[0]
        if judged.reason is not InactiveReason.SUPERSEDED:
            return None
        try:
            session = await self._sessions.find(presented.locator)
        except CorruptRecord:
            return None
        return session if session is not None and was_issued(session, presented) else None

    async def _data_to_carry(
        self,
        held: Session | None,
        subject: Subject,
        cookie: str | None,
        keep: frozenset[str],
    ) -> Mapping[str, bytes]:
        presented = SessionId.parse(cookie)
        if not keep or held is None or presented is None:
            return {}
        if not held.is_anonymous and held.subject != subject:
            return {}
        # A retired id ends what it stood for, but is handed nothing.
        now = self._context.now()
        judgement = decide_authentication(held, presented, self._context.policies, now, now)
        if not isinstance(judgement, Accept):
            return {}
        try:
            data = await self._sessions.read_data(held.locator)
        except CorruptRecord:
            # Nobody can read it, and it must not keep its user from signing in.
            return {}
        return {key: datum.value for key, datum in (data or {}).items() if key in keep}

    async def _carry_over(
        self, session: Session, carried: Mapping[str, bytes], held: Session | None
    ) -> None:
        try:
            if carried:
                size = sum(len(key.encode()) + len(value) for key, value in carried.items())
                change = DataChange(put=carried, stamp=self._context.stamp(), capacity=size)
                # Nobody else knows the session yet, so this may be repeated.
                await self._twice(partial(self._sessions.write_data, session.locator, change))
            if held is None or held.subject == session.subject:
                return
            await self._end(held.locator, held.subject, held.family, EndReason.REPLACED)
        except StoreError:
            # Nobody will learn the id of the session that was just admitted. It has
            # taken the place of others.
            with Doubt(OutcomeUnknown("a session was admitted, and is given up")):
                await self._delete(session.locator)
                raise

    async def _end(
        self,
        locator: Locator,
        subject: Subject | None,
        family: bytes | None,
        reason: EndReason,
    ) -> bool:
        # Ends the session wherever a restart moves it meanwhile.
        with Doubt() as doubt:
            for _ in range(TRIES):
                ended = await self._delete(locator)
                if ended is None:
                    doubt.unknown = OutcomeUnknown("the session may have been ended")
                moved = None
                if ended is not True and subject is not None and family is not None:
                    moved = session_of_family(await self._sessions.roster(subject), family)
                if moved is None:
                    if ended is not False:
                        self._context.ended(locator, subject, reason)
                    return ended is not False
                locator = moved
            raise StoreUnavailable("the session moves faster than it can be ended")

    async def _delete(self, locator: Locator) -> bool | None:
        # None: it is gone, and a call whose answer was lost may have done it.
        # Such a session counts as ended: better told twice than never.
        try:
            return await self._sessions.delete(locator)
        except OutcomeUnknown as unknown:
            again = await self._again(partial(self._sessions.delete, locator), unknown)
            return again or None

    async def _twice(self, call: Callable[[], Awaitable[T]]) -> T:
        # For writes that recognise their own effect, or that may happen twice.
        try:
            return await call()
        except OutcomeUnknown as unknown:
            return await self._again(call, unknown)

    async def _again(self, call: Callable[[], Awaitable[T]], unknown: OutcomeUnknown) -> T:
        with Doubt(unknown):
            return await call()
