"""
One request's session, for handlers and views: who is this, sign in, sign out.

:mod:`sessioncore_http.aio` is the same program with ``await``, and a test compares the two
(ADR-0006). The rules stand in :mod:`sessioncore_http.exchange`.
"""

from __future__ import annotations

from contextlib import suppress
from threading import Lock
from typing import TYPE_CHECKING

from sessioncore import (
    Active,
    DataTooLarge,
    Inactive,
    InactiveReason,
    LoggedIn,
    LoggedOut,
    PasswordChanged,
    PasswordChangedButSessionsLive,
    Rotated,
    StoreError,
)
from sessioncore_http.cookies import old_cookie
from sessioncore_http.errors import Interruption
from sessioncore_http.exchange import Exchange
from sessioncore_http.legacy import METHOD, LegacyMoved
from sessioncore_http.problems import (
    problem_of_inactive,
    step_up_required,
    token_required,
    try_again,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from datetime import timedelta

    from sessioncore import (
        Attempt,
        AuthenticationOutcome,
        AuthService,
        EstablishOutcome,
        LoggedOutEverywhere,
        LoginOutcome,
        PasswordChangeOutcome,
        ReauthenticationOutcome,
        Revoked,
        RotationOutcome,
        Session,
    )
    from sessioncore_http.edge import Edge
    from sessioncore_http.head import RequestHead
    from sessioncore_http.legacy import LegacySessions


class RequestSession(Exchange):
    """
    The session of one request, and what is to become of its cookie.

    A middleware or a framework package makes one for each request and calls
    :meth:`refusal` before the application and :meth:`finish` when the response starts.
    Everything in between is for the application. Each use case of
    :class:`~sessioncore.service.AuthService` that has to do with the cookie is here under
    the same name, without the cookie.

    Every method may raise :class:`~sessioncore.errors.StoreError`; middlewares answer it
    with 503. What writes the cookie raises
    :class:`~sessioncore_http.errors.ResponseStarted` once that is too late.

    Args:
        auth: The service.

        edge: The settings.

        head: The request.

        legacy: Where the sessions of the library before this one are, while they are moved.
    """

    __slots__ = ("_asking", "_legacy", "auth")

    def __init__(
        self,
        auth: AuthService,
        edge: Edge,
        head: RequestHead,
        legacy: LegacySessions | None = None,
    ) -> None:
        super().__init__(auth, edge, head, None if legacy is None else legacy.cookie_name)
        self.auth = auth
        self._legacy = legacy
        self._asking = Lock()

    # -- Who is it? -------------------------------------------------------------

    def authenticate(
        self, *, passive: bool = False, from_store: bool = False, with_data: bool = False
    ) -> AuthenticationOutcome:
        """
        Say whose session this is. The store is asked the first time, and never again.

        Args:
            passive: Do not count this as a sign of life: see
                :meth:`~sessioncore.service.AuthService.authenticate`.

            from_store: Ask it once more if a near cache answered so far: before
                anything sensitive.

            with_data: Read the session's data in the same round trip, if nobody has asked
                for the session in this request yet. Later answers have the data of the
                first, or ``None``.
        """
        self._read()
        if (known := self._known(from_store=from_store)) is not None:
            return known
        if self._presented.is_ambiguous:
            self._outcome = Inactive(InactiveReason.AMBIGUOUS)
            return self._outcome
        # Parts of one request that ask at once share one answer.
        with self._asking:
            known = self._known(from_store=from_store)
            if known is None:
                outcome = self.auth.authenticate(
                    self._held,
                    arrived_at=self.arrived_at,
                    passive=passive,
                    from_store=from_store,
                    with_data=with_data,
                )
                if outcome == Inactive(InactiveReason.ABSENT):
                    outcome = self._moved()
                known = self._settled(outcome)
        return known

    def session(self) -> Session | None:
        """
        Return the live session, also if nobody has signed in in it; ``None`` if there is none.
        """
        return self._session_of(self.authenticate())

    def user_id(self) -> str | None:
        """
        Return who is signed in, or ``None``.
        """
        session = self.session()
        return None if session is None else session.user_id

    def require(self) -> Session:
        """
        Return the session of whoever is signed in.

        Raises:
            Interruption: Nobody is: a redirect to the sign-in page, or a 401.
        """
        outcome = self.authenticate()
        if isinstance(outcome, Active):
            if outcome.session.user_id is not None:
                return outcome.session
            outcome = Inactive(InactiveReason.ANONYMOUS)
        raise Interruption(problem_of_inactive(outcome, self.head, self.edge.sign_in_path))

    def require_fresh(self, max_age: timedelta | None = None) -> Session:
        """
        Return the session of whoever is signed in and has proven identity recently.

        Args:
            max_age: How old the proof may be; by default what the session's policy says.

        Raises:
            Interruption: Nobody is signed in, or the proof is too old: a redirect to where
                it can be given again, or a 401.
        """
        self.authenticate(from_store=True)
        session = self.require()
        if self.auth.is_fresh(session, max_age):
            return session
        age = self.auth.reauthentication_age(session) if max_age is None else max_age
        raise Interruption(step_up_required(self.head, self.edge.step_up_path, age))

    def recheck(self) -> AuthenticationOutcome:
        """
        Say whether the session that was recognised is live still.

        For what outlasts the start of its response, such as a stream of events or a
        WebSocket: :meth:`~sessioncore.service.AuthService.recheck`.
        """
        outcome = self.authenticate()
        if isinstance(outcome, Active):
            return self.auth.recheck(outcome.session)
        return outcome

    # -- Signing in -------------------------------------------------------------

    def login(
        self,
        username: str,
        password: str,
        *,
        policy: str | None = None,
        keep: Collection[str] = (),
    ) -> LoginOutcome:
        """
        Sign a user in: :meth:`~sessioncore.service.AuthService.login`.
        """
        self._write_by_own_wish()
        outcome = self.auth.login(
            username,
            password,
            cookie=self._held,
            policy=policy,
            device=self.head.device,
            keep=keep,
        )
        if isinstance(outcome, LoggedIn):
            self._enter(outcome)
        return outcome

    def begin(self, user_id: str, *, role: str | None = None) -> Attempt:
        """
        Begin a sign-in by other means: :meth:`~sessioncore.service.AuthService.begin`.
        """
        self._write()
        return self.auth.begin(user_id, role=role)

    def establish(
        self,
        attempt: Attempt,
        *,
        methods: tuple[str, ...],
        policy: str | None = None,
        keep: Collection[str] = (),
    ) -> EstablishOutcome:
        """
        End a sign-in by other means: :meth:`~sessioncore.service.AuthService.establish`.
        """
        self._write()
        outcome = self.auth.establish(
            attempt,
            methods=methods,
            cookie=self._held,
            policy=policy,
            device=self.head.device,
            keep=keep,
        )
        if isinstance(outcome, LoggedIn):
            self._enter(outcome)
        return outcome

    def start_anonymous(self, *, policy: str | None = None) -> LoggedIn:
        """
        Open a session for a visitor: :meth:`~sessioncore.service.AuthService.start_anonymous`.

        Raises:
            Interruption: The request's cookie was found superseded: try again.
        """
        self._write()
        if self._outcome == Inactive(InactiveReason.SUPERSEDED):
            # The browser has, or is about to get, a newer id, which ours would push out.
            raise Interruption(try_again())
        opened = self.auth.start_anonymous(policy=policy, device=self.head.device)
        # What this request opened before is replaced before any browser got it.
        self.abandon()
        self._enter(opened)
        return opened

    # -- Changing privilege -----------------------------------------------------

    def reauthenticate(self, password: str) -> ReauthenticationOutcome:
        """
        Step up by a password: :meth:`~sessioncore.service.AuthService.reauthenticate`.
        """
        self._write_by_own_wish()
        found = self.authenticate()
        if isinstance(found, Inactive):
            return found
        outcome = self.auth.reauthenticate(self._held, password, arrived_at=self.arrived_at)
        if isinstance(outcome, Rotated):
            self._issue(outcome)
        return outcome

    def rotate(self, *, methods: tuple[str, ...] = ()) -> RotationOutcome:
        """
        Replace the id at a change of privilege: :meth:`~sessioncore.service.AuthService.rotate`.
        """
        self._write()
        found = self.authenticate()
        if isinstance(found, Inactive):
            return found
        outcome = self.auth.rotate(self._held, methods=methods, arrived_at=self.arrived_at)
        if isinstance(outcome, Rotated):
            self._issue(outcome)
        return outcome

    def change_password(self, password: str, new_password: str) -> PasswordChangeOutcome:
        """
        Change the password: :meth:`~sessioncore.service.AuthService.change_password`.
        """
        self._write_by_own_wish()
        found = self.authenticate()
        if isinstance(found, Inactive):
            return found
        outcome = self.auth.change_password(
            self._held, password, new_password, arrived_at=self.arrived_at
        )
        if not isinstance(outcome, PasswordChanged):
            return outcome
        if outcome.kept is None:
            self._outcome = Inactive(InactiveReason.UNKNOWN)
        else:
            self._issue(outcome.kept)
        user_id = found.session.user_id
        if self._legacy is None or user_id is None:
            return outcome
        # The new sessions were ended before the old ones could be: once more.
        try:
            ended = self._end_everywhere(user_id, keep=self._held)
        except StoreError as error:
            raise PasswordChangedButSessionsLive(
                "the password was changed, but the old sessions could not be ended"
            ) from error
        return PasswordChanged(ended.kept)

    # -- Signing out ------------------------------------------------------------

    def logout(self, *, whoever_asks: bool = False) -> LoggedOut:
        """
        End the session and delete the cookie: :meth:`~sessioncore.service.AuthService.logout`.

        The cookie is deleted also if this fails; then say that it is not confirmed.

        Args:
            whoever_asks: Do so also in a GET that another site's page has caused: the
                application has found by itself that the session must not go on.

        Raises:
            Interruption: Another site's page has caused this request; or another request
                is just moving the old session that this one was to end.
        """
        if whoever_asks:
            self._write()
        else:
            self._write_by_own_wish()
        held, alone = self._held, self._held is None and self._signed_out is None
        self._forget()
        self._delete_old_cookie()
        try:
            outcome = self.auth.logout(held)
        finally:
            self._leave_old_session(alone=alone)
        self._confirm()
        return outcome

    def logout_everywhere(self, *, keep_this: bool = False) -> LoggedOutEverywhere | Inactive:
        """
        End all sessions of whoever is signed in.

        See :meth:`~sessioncore.service.AuthService.logout_everywhere`. Whoever administers
        others calls the service itself, with their user id.

        Args:
            keep_this: Let this one go on, under a new id.
        """
        self._write_by_own_wish()
        outcome = self.authenticate(from_store=True)
        if not isinstance(outcome, Active):
            return outcome
        if outcome.session.user_id is None:
            return Inactive(InactiveReason.ANONYMOUS)
        return self._end_everywhere(outcome.session.user_id, keep=self._held if keep_this else None)

    def sessions(self) -> tuple[Session, ...]:
        """
        Return the live sessions of whoever is signed in; none if nobody is.
        """
        self.authenticate(from_store=True)
        user_id = self.user_id()
        return () if user_id is None else self.auth.sessions_of(user_id)

    def revoke(self, handle: str) -> Revoked | Inactive:
        """
        End one session of whoever is signed in: :meth:`~sessioncore.service.AuthService.revoke`.

        If it is this one, the cookie is deleted as well.
        """
        self._write_by_own_wish()
        outcome = self.authenticate(from_store=True)
        if not isinstance(outcome, Active):
            return outcome
        if outcome.session.user_id is None:
            return Inactive(InactiveReason.ANONYMOUS)
        user_id = outcome.session.user_id
        if handle != outcome.session.handle:
            return self.auth.revoke(user_id, handle)
        self._forget()
        self._delete_old_cookie()
        try:
            revoked = self.auth.revoke(user_id, handle)
        finally:
            self._leave_old_session()
        self._confirm()
        return revoked

    def _end_everywhere(self, user_id: str, *, keep: str | None) -> LoggedOutEverywhere:
        # Old sessions first: see sessioncore_http.legacy, rule 7.
        unconfirmed: StoreError | None = None
        if self._legacy is not None:
            try:
                self._legacy.end_user(user_id)
            except StoreError as error:
                unconfirmed = error
        if keep is None:
            self._forget()
            self._delete_old_cookie()
        outcome = self.auth.logout_everywhere(user_id, keep=keep, arrived_at=self.arrived_at)
        if outcome.kept is None:
            self._forget()
            self._leave_old_session()
            if unconfirmed is None:
                self._confirm()
        else:
            self._issue(outcome.kept)
        if unconfirmed is not None:
            raise unconfirmed
        return outcome

    # -- Sessions of the library before this one --------------------------------

    def _moved(self) -> AuthenticationOutcome:
        # See sessioncore_http.legacy, rules 1 to 5.
        absent = Inactive(InactiveReason.ABSENT)
        old = self._old_cookie()
        if self._legacy is None or old is None or self._started or self.head.is_websocket:
            return absent
        found = self._legacy.find(old)
        if found is None:
            return absent
        if isinstance(found, LegacyMoved):
            return Inactive(InactiveReason.SUPERSEDED)
        if found.user_id is None and not found.data:
            return absent
        if self.edge.token is not None and self.head.changes_something:
            # Its pages knew of no token: let this one be loaded again, which moves it.
            raise Interruption(token_required())
        if found.user_id is None:
            if not self._legacy.take(found):
                return Inactive(InactiveReason.SUPERSEDED)
            opened = self.auth.start_anonymous(device=self.head.device)
        else:
            attempt = self.auth.begin(found.user_id)
            if not self._legacy.take(found):
                return Inactive(InactiveReason.SUPERSEDED)
            established = self.auth.establish(
                attempt, methods=(METHOD,), device=self.head.device, fresh=False
            )
            if not isinstance(established, LoggedIn):
                return absent
            opened = established
        self._issue(opened)
        self._delete_old_cookie()
        if found.data:
            # What is over the limit now was not yet over the old library's.
            with suppress(DataTooLarge):
                self.auth.change_data(opened.session, found.data)
        return Active(opened.session)

    def _enter(self, opened: LoggedIn) -> None:
        self._issue(opened)
        try:
            self._leave_old_session()
        except StoreError:
            # Answered as an outage (rule 8), so nobody must be signed in by it.
            self.abandon()
            raise

    def _leave_old_session(self, *, alone: bool = False) -> None:
        # Rule 6: else it would sign somebody in again after the next sign-out.
        if self._legacy is None:
            return
        old = self._old_cookie()
        found = None if old is None else self._legacy.find(old)
        if found is not None:
            taken = not isinstance(found, LegacyMoved) and self._legacy.take(found)
            if alone and not taken:
                self._leave_alone()
                raise Interruption(try_again())
        self._delete_old_cookie()

    def _old_cookie(self) -> str | None:
        if self._legacy is None:
            return None
        return old_cookie(self._legacy.cookie_name, self.head.cookies)

    def _delete_old_cookie(self) -> None:
        if self._legacy is not None:
            self._old_cookie_path = (
                self._legacy.cookie_name,
                self._legacy.cookie_path,
                self._legacy.cookie_domain,
            )

    # -- When the response starts -----------------------------------------------

    def finish(
        self, headers: Iterable[tuple[str, str]] = (), *, renew: bool = True
    ) -> list[tuple[str, str]]:
        """
        Return the headers with which a response that starts now goes out.

        For middlewares, once for each response. Asks the store only if there is a renewed
        id to send, which is once in a renewal interval.

        Args:
            headers: The application's.

            renew: Whether a renewed id may be answered; not by a page that reports an outage.
        """
        renewal: AuthenticationOutcome | None = None
        if renew and self._is_to_be_renewed():
            with suppress(StoreError):
                renewal = self.auth.authenticate(
                    self._held, arrived_at=self.arrived_at, passive=True, from_store=True
                )
        return self._completed(headers, renewal)

    def abandon(self) -> None:
        """
        End the session whose new id can reach no browser any more, as far as possible.

        For middlewares, if the application fails before its response starts.
        """
        session_id = self._take_back()
        if session_id is not None:
            with suppress(StoreError):
                self.auth.logout(session_id.reveal())
