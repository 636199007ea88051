"""
Sessions at the edge: which cookie was sent, which one goes back, and who may post.

Two plain WSGI middlewares, to be read and copied. The rules:

1.  The cookie is ``__Host-session; Secure; HttpOnly; SameSite=Lax; Path=/``,
    without ``Domain``; with ``Max-Age`` only for those who asked to stay signed in.
2.  A response carries at most one cookie of ours. Only signing out deletes it, and
    what signs out writes no other. A dead cookie is left alone: an answer that
    comes late must not take away what an earlier one has brought.
3.  A renewed id goes out only within the grace of its request, and only if the
    session is still live by then. Else the next request brings it again.
4.  Two different cookies of our name are no cookie: nobody can say whose they are.
5.  A response for which a session was read, or which writes a cookie, is not stored
    by any cache.
6.  A request that may change something comes from our own pages, signing in
    included: with nobody signed in, a foreign page could sign you in as somebody else.
7.  A store that does not answer is an outage. It never looks like being signed out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from examples.demo.web import adding
from sessioncore import (
    Active,
    AuthenticationOutcome,
    AuthService,
    Policies,
    SessionId,
    StoreError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable
    from datetime import datetime, timedelta
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from examples.demo.web import Response
    from sessioncore.ports import Clock

COOKIE_NAME: Final = "__Host-session"
_ATTRIBUTES: Final = "Path=/; Secure; HttpOnly; SameSite=Lax"
_DELETED: Final = f"{COOKIE_NAME}=; {_ATTRIBUTES}; Max-Age=0"

_VISIT: Final = "sessioncore.visit"
_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})

SECURITY_HEADERS: Final = (
    # No script at all, and nothing from elsewhere.
    (
        "Content-Security-Policy",
        (
            "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
            "base-uri 'none'; frame-ancestors 'none'"
        ),
    ),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    # Not "no-referrer": with that, browsers post our own forms with "Origin: null".
    ("Referrer-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)


def presented_cookie(header: str | None) -> str | None:
    """
    Find our cookie in a ``Cookie`` header.

    Returns:
        Its text, whatever it is; ``None`` if there is none, or if there are two
        that differ.

    >>> presented_cookie("theme=dark; __Host-session=abc")
    'abc'
    """
    found: set[str] = set()
    for pair in (header or "").split(";"):
        name, separator, value = pair.strip(" \t").partition("=")
        # Names are compared exactly: "__host-session" is somebody else's.
        if separator and name == COOKIE_NAME:
            found.add(value)
    return found.pop() if len(found) == 1 else None


class Visit:
    """
    One request's session: what the cookie stands for, and what is to become of it.

    Args:
        auth: The service.

        policies: The same that the service has; the grace is read from them.

        clock: The same that the service has.

        cookie: The text of the cookie, or ``None``.
    """

    def __init__(
        self, auth: AuthService, policies: Policies, clock: Clock, cookie: str | None
    ) -> None:
        self._cookie = cookie
        self.arrived_at: Final[datetime] = clock.now()
        self._auth = auth
        self._policies = policies
        self._clock = clock
        self._outcome: AuthenticationOutcome | None = None
        self._issued: tuple[SessionId, timedelta | None] | None = None
        self._forgotten = False
        self._was_read = False

    @property
    def cookie(self) -> str | None:
        """
        The text of the cookie, for the service and nobody else.
        """
        self._was_read = True
        return self._cookie

    def authenticate(self) -> AuthenticationOutcome:
        """
        Say whose session this is. The store is asked once, and only if somebody asks.

        Raises:
            StoreUnavailable: The store did not answer.
        """
        if self._outcome is None:
            self._outcome = self._auth.authenticate(self.cookie, arrived_at=self.arrived_at)
        return self._outcome

    def issue(self, session_id: SessionId, persist_for: timedelta | None) -> None:
        """
        Send a new id: after signing in, stepping up, changing the password.
        """
        self._issued = (session_id, persist_for)

    def forget(self) -> None:
        """
        Delete the cookie: after signing out, and then only.
        """
        self._forgotten = True

    def headers(self) -> list[tuple[str, str]]:
        """
        Return what a response that starts now says about the session.
        """
        return self._headers(self._cookie_to_set())

    def headers_of_outage(self) -> list[tuple[str, str]]:
        """
        The same for the page that reports an outage: it renews nothing.
        """
        self._was_read = True
        return self._headers(_DELETED if self._forgotten else None)

    def _headers(self, cookie: str | None) -> list[tuple[str, str]]:
        headers = [] if cookie is None else [("Set-Cookie", cookie)]
        if cookie is not None or self._was_read:
            headers += [("Cache-Control", "no-store"), ("Vary", "Cookie")]
        return headers

    def _cookie_to_set(self) -> str | None:
        if self._forgotten:
            return _DELETED
        issued = self._issued or self._renewal()
        if issued is None:
            return None
        session_id, persist_for = issued
        cookie = f"{COOKIE_NAME}={session_id.reveal()}; {_ATTRIBUTES}"
        if persist_for is None:
            return cookie
        # Never zero, which deletes, not even in the session's last second.
        return f"{cookie}; Max-Age={max(1, int(persist_for.total_seconds()))}"

    def _renewal(self) -> tuple[SessionId, timedelta | None] | None:
        if not isinstance(self._outcome, Active) or self._outcome.renewed is None:
            return None
        policy = self._policies.get(self._outcome.session.policy)
        if policy is None or self._clock.now() - self.arrived_at > policy.grace:
            return None
        # Somebody may have signed out while this page was made. Asked only when
        # there is a new id to send, which is once in a renewal interval.
        try:
            now = self._auth.authenticate(self.cookie, arrived_at=self.arrived_at, passive=True)
        except StoreError:
            return None
        if not isinstance(now, Active) or now.renewed is None:
            return None
        return now.renewed, now.persist_for


class SessionMiddleware:
    """
    Gives every request a :class:`Visit`, and writes what became of it.

    Args:
        app: What answers requests.

        auth: The service.

        policies: The same that the service has.

        clock: The same that the service has.

        outage: Makes the page for a store that does not answer.
    """

    def __init__(
        self,
        app: WSGIApplication,
        *,
        auth: AuthService,
        policies: Policies,
        clock: Clock,
        outage: Callable[[StoreError], Response],
    ) -> None:
        self._app = app
        self._auth = auth
        self._policies = policies
        self._clock = clock
        self._outage = outage

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """
        Answer one request.
        """
        cookie = presented_cookie(environ.get("HTTP_COOKIE"))
        visit = Visit(self._auth, self._policies, self._clock, cookie)
        environ[_VISIT] = visit

        try:
            return self._app(environ, adding(start_response, visit.headers))
        except StoreError as error:
            page = self._outage(error)
        return page.send(environ, adding(start_response, visit.headers_of_outage))


def visit_of(environ: WSGIEnvironment) -> Visit:
    """
    Return the visit that :class:`SessionMiddleware` put into a request.
    """
    visit = environ[_VISIT]
    assert isinstance(visit, Visit)  # noqa: S101 - a mistake in the composition
    return visit


class OriginGuard:
    """
    Lets only our own pages change something, and adds the security headers.

    Args:
        app: What answers requests.

        hosts: The names under which we are served, with the port. A request for
            another one is refused: a foreign name can be made to point here
            ("DNS rebinding"), and its pages would then count as our own.

        refuse: Makes the page for a request that is refused.
    """

    def __init__(
        self,
        app: WSGIApplication,
        *,
        hosts: Collection[str],
        refuse: Callable[[], Response],
    ) -> None:
        self._app = app
        self._hosts = frozenset(hosts)
        self._refuse = refuse

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """
        Answer one request, or refuse it.
        """
        start = adding(start_response, lambda: SECURITY_HEADERS)
        if self._allows(environ):
            return self._app(environ, start)
        return self._refuse().send(environ, start)

    def _allows(self, environ: WSGIEnvironment) -> bool:
        host = environ.get("HTTP_HOST")
        if host not in self._hosts:
            return False
        if environ["REQUEST_METHOD"] in _SAFE_METHODS:
            return True
        site = environ.get("HTTP_SEC_FETCH_SITE")
        if site is not None:
            # "none": the user did it, from the address bar or a bookmark.
            return site in {"same-origin", "none"}
        # An older browser, or no browser. Without any evidence: no.
        return bool(environ.get("HTTP_ORIGIN") == f"{environ['wsgi.url_scheme']}://{host}")
