"""
One request's session, and what Django's habits add to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol

from attrs import frozen
from django.contrib.sessions.exceptions import SessionInterrupted
from django.core.exceptions import ImproperlyConfigured

from sessioncore import Active, Inactive, InactiveReason, SessionGone, StoreError
from sessioncore_http import Interruption, RequestSession
from sessioncore_http.problems import try_again

if TYPE_CHECKING:
    from django.http import HttpRequest

    from sessioncore import (
        Attempt,
        AuthenticationOutcome,
        AuthService,
        Json,
        LoggedIn,
        Rotated,
        Session,
    )
    from sessioncore_http import Edge, LegacySessions, RequestHead

EXPIRES_AT: Final = "_session_expires_at"
"""The key of session data that says when Django's own expiry is reached: milliseconds."""


class Crossed(Interruption, SessionInterrupted):
    """
    The browser has a newer id than the one it sent: it has to try again.

    Read as if nobody were signed in, the session would be overwritten by the next thing
    that a view puts into it. Without our middleware, Django answers 400.
    """


class SessionFollower(Protocol):
    """
    Is told which session the request has from now on.
    """

    def follow(self, key: str | None, session: Session | None, /) -> None:
        """
        Go on with *session* under the id *key*; ``None``: there is none any more.
        """
        ...


@frozen(kw_only=True)
class Terms:
    """
    How a session is opened for whom ``django.contrib.auth.login`` has named.
    """

    methods: tuple[str, ...] = ("django",)
    """How identity was proven, as far as it is known: ``login`` is told by nobody."""

    policy: str | None = None


class DjangoRequestSession(RequestSession):
    """
    ``request.sessioncore``: a :class:`~sessioncore_http.RequestSession` like any other.

    What it adds: a session that Django's ``set_expiry`` lets expire earlier than its
    policy does is not live here, either.
    """

    __slots__ = ("_attempt", "_data", "failure", "follower", "terms")

    def __init__(
        self,
        auth: AuthService,
        edge: Edge,
        head: RequestHead,
        legacy: LegacySessions | None = None,
    ) -> None:
        super().__init__(auth, edge, head, legacy)
        self._attempt: Attempt | None = None
        self._data: Mapping[str, Json] | None = None
        self.failure: Interruption | StoreError | None = None
        """What kept a page from being made, if that is known."""

        self.follower: SessionFollower | None = None
        self.terms = Terms()

    def authenticate(self, *, passive: bool = False) -> AuthenticationOutcome:
        """
        See :meth:`sessioncore_http.RequestSession.authenticate`.

        Reads the session's data as well: Django's expiry stands there, and whoever asks
        Django for the user needs them anyway.
        """
        if self._outcome is not None:
            return super().authenticate(passive=passive)
        outcome = super().authenticate(passive=passive)
        if not isinstance(outcome, Active):
            return outcome
        self._outcome = None  # not yet: the read may fail
        read = self.auth.read_data(outcome.session)
        if isinstance(read, SessionGone):
            outcome = Inactive(InactiveReason.UNKNOWN)
        elif self._is_past(read.values.get(EXPIRES_AT)):
            # Dead by all means: a list of devices must not show it, either.
            with suppress(StoreError):
                self.auth.logout(self._held)
            outcome = Inactive(InactiveReason.IDLE)
        else:
            self._data = read.values
        self._outcome = outcome
        return outcome

    def data_of(self, session: Session) -> Mapping[str, Json] | None:
        """
        Return the session's data, read no earlier than it was recognised; ``None``: it ended.
        """
        read, self._data = self._data, None
        if read is not None:
            return read
        found = self.auth.read_data(session)
        return None if isinstance(found, SessionGone) else found.values

    @property
    def key(self) -> str | None:
        """
        What Django calls the session key: the text of the id, whatever it is worth.
        """
        self._presented  # noqa: B018 - fills in what is held
        return self._held

    @property
    def holds_something(self) -> bool:
        """
        Whether there is anything to sign out of, as far as can be said without a store.
        """
        return self.key is not None or self._presented.is_ambiguous or self.holds_old_cookie

    @property
    def holds_old_cookie(self) -> bool:
        """
        Whether the request brought a cookie of the library before this one.
        """
        return self._old_cookie() is not None

    def note_use(self) -> None:
        """
        Note that the response depends on the cookie.
        """
        self._read()

    def crossed(self) -> Crossed:
        """
        Return what to raise if the browser has a newer id than the one it sent.
        """
        self.failure = error = Crossed(try_again())
        return error

    def prepare(self, user_id: str) -> None:
        """
        Begin a sign-in that may become that user's, before the proof is checked.
        """
        self._attempt = self.begin(user_id)

    def attempt_of(self, user_id: str) -> Attempt:
        """
        Return the attempt that was begun for the user; begin one now if none was.
        """
        attempt, self._attempt = self._attempt, None
        if attempt is not None and attempt.subject.user_id == user_id:
            return attempt
        return self.begin(user_id)

    def _is_past(self, expires_at: Json) -> bool:
        if not isinstance(expires_at, int):
            return False
        return expires_at <= self.auth.now().timestamp() * 1_000

    def _issue(self, opened: LoggedIn | Rotated) -> None:
        super()._issue(opened)
        self._data = None
        if self.follower is not None:
            self.follower.follow(self._held, opened.session)

    def _forget(self) -> None:
        super()._forget()
        self._data = None
        if self.follower is not None:
            self.follower.follow(None, None)


def session_of(request: HttpRequest) -> DjangoRequestSession:
    """
    Return ``request.sessioncore``, which type checkers do not know of.

    Raises:
        ImproperlyConfigured: The request did not pass our middleware.
    """
    found: DjangoRequestSession | None = getattr(request, "sessioncore", None)
    if found is None:
        raise ImproperlyConfigured(
            "no session here: is sessioncore_django.middleware.SessionMiddleware in MIDDLEWARE,"
            " before what needs it?"
        )
    return found
