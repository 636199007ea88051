"""
One request's session, and what Django's habits add to it.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, Protocol

from attrs import frozen
from django.contrib.sessions.backends.base import UpdateError
from django.contrib.sessions.exceptions import SessionInterrupted
from django.core.exceptions import ImproperlyConfigured
from django.utils.functional import SimpleLazyObject

from sessioncore import Active, Inactive, InactiveReason, LoggedIn, SessionGone, StoreError
from sessioncore_http import Interruption, RequestSession
from sessioncore_http.problems import try_again

if TYPE_CHECKING:
    from django.http import HttpRequest

    from sessioncore import (
        Attempt,
        AuthenticationOutcome,
        AuthService,
        Json,
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


class Ended(UpdateError, SessionInterrupted):
    """
    The session has ended since it was loaded. Django answers 400, whoever lets it through.
    """

    def __init__(self) -> None:
        super().__init__(
            "The request's session was deleted before the request completed. The user may"
            " have logged out in a concurrent request, for example."
        )


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

    __slots__ = ("_attempt", "_data", "failure", "follower", "request", "terms")

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
        """
        Why it is not known whose session this is, or why a page could not be made.

        The middleware answers this instead of the response, for a template may take the
        exception for "nobody". A view that has dealt with it puts ``None`` here.
        """

        self.follower: SessionFollower | None = None
        self.request: HttpRequest | None = None
        """The request, if it came through our middleware."""

        self.terms = Terms()

    def authenticate(
        self, *, passive: bool = False, from_store: bool = False, with_data: bool = True
    ) -> AuthenticationOutcome:
        """
        See :meth:`sessioncore_http.RequestSession.authenticate`.

        Always reads the session's data as well: Django's expiry stands there, and whoever
        asks Django for the user needs them anyway.
        """
        if self._known(from_store=from_store) is not None:
            return super().authenticate(passive=passive)
        with self.noting_failure():
            return self._authenticated(passive=passive, from_store=from_store, with_data=with_data)

    def _authenticated(
        self, *, passive: bool, from_store: bool, with_data: bool
    ) -> AuthenticationOutcome:
        outcome = super().authenticate(passive=passive, from_store=from_store, with_data=with_data)
        if not isinstance(outcome, Active):
            return outcome
        self._outcome = None  # not yet: a read may fail
        data = outcome.data
        if data is None:
            read = self.auth.read_data(outcome.session)
            data = None if isinstance(read, SessionGone) else read.values
        if data is None:
            outcome = Inactive(InactiveReason.UNKNOWN)
        elif self._is_past(data.get(EXPIRES_AT)):
            # Dead by all means: a list of devices must not show it, either.
            with suppress(StoreError):
                self.auth.logout(self._held)
            outcome = Inactive(InactiveReason.IDLE)
        else:
            self._data = data
        self._outcome = outcome
        return outcome

    def data_of(self, session: Session) -> Mapping[str, Json] | None:
        """
        Return the session's data, read no earlier than it was recognised; ``None``: it ended.
        """
        read, self._data = self._data, None
        if read is not None:
            return read
        with self.noting_failure():
            found = self.auth.read_data(session)
        return None if isinstance(found, SessionGone) else found.values

    def recheck(self) -> AuthenticationOutcome:
        """
        See :meth:`sessioncore_http.RequestSession.recheck`.
        """
        outcome = super().recheck()
        if not isinstance(outcome, Active):
            return outcome
        read = self.auth.read_data(outcome.session)
        if isinstance(read, SessionGone):
            return Inactive(InactiveReason.UNKNOWN)
        if self._is_past(read.values.get(EXPIRES_AT)):
            return Inactive(InactiveReason.IDLE)
        return outcome

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

    def keep_from_caches(self) -> None:
        """
        Keep Django's cache from storing the page of this request.

        ``cache_page`` looks at the response before our middleware has written its headers.
        """
        if self.request is not None:
            vars(self.request)["_cache_update_cache"] = False

    def check_own_wish(self) -> None:
        """
        Check that no other site's page has caused what is about to be done.

        Raises:
            Interruption: One has.
        """
        self._write_by_own_wish()

    def note_use(self) -> None:
        """
        Note that the response depends on the cookie.
        """
        self._read()

    @contextmanager
    def noting_failure(self) -> Generator[None, None, None]:
        """
        Note what is raised here as :attr:`failure`, in case somebody swallows it.
        """
        try:
            yield
        except (Interruption, StoreError) as error:
            self.failure = error
            raise
        self.failure = None

    def _is_past(self, expires_at: Json) -> bool:
        if not isinstance(expires_at, int):
            return False
        return expires_at <= self.auth.now().timestamp() * 1_000

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

    def _look(self) -> None:
        super()._look()
        self.keep_from_caches()

    def _ask_for_user_anew(self) -> None:
        # Whom Django's ``login`` and ``logout`` have put there they know to be right.
        user = getattr(self.request, "user", None)
        if self.request is not None and isinstance(user, SimpleLazyObject):
            for name in ("_cached_user", "_acached_user"):
                vars(self.request).pop(name, None)
            vars(self.request)["user"] = SimpleLazyObject(vars(user)["_setupfunc"])

    def _issue(self, opened: LoggedIn | Rotated) -> None:
        super()._issue(opened)
        self._data = None
        self.failure = None
        if self.follower is not None:
            self.follower.follow(self._held, opened.session)
        if isinstance(opened, LoggedIn):
            self._ask_for_user_anew()

    def _forget(self) -> None:
        super()._forget()
        self._data = None
        if self.follower is not None:
            self.follower.follow(None, None)
        self._ask_for_user_anew()


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
