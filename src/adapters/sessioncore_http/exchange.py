"""
What one request does to the cookie: the rules, without a framework and without I/O.

The rules:

1.  Nothing is read before somebody asks. A request that never asks for its session costs
    no call to the store, and its response says nothing of cookies (ADR-0029).
2.  A response carries at most one cookie of ours. What the application itself writes under
    our name is taken out.
3.  Only signing out deletes the cookie, and after it nothing else is written but by a
    sign-in of the same request. A dead cookie is left alone: an answer that comes late
    must not take away what an earlier one has brought.
4.  A renewed id goes out only in a response that starts within the grace of its request
    (``Active.answer_by``), and only if a second look says that the session is live by then:
    somebody may have signed out in another request meanwhile. Else the next request brings
    it again.
5.  Two different cookies of our name are nobody. They are reported, and no store is asked.
6.  A response is kept by no cache (``Cache-Control: no-store``) and depends on the cookie
    (``Vary: Cookie``) if a session was asked for or the cookie written (OWASP Session
    Management Cheat Sheet, "Web Content Caching"; CVE-2023-30861).
7.  Once a response has started, its headers cannot be changed. What would have to change
    them raises, before anything is done.
8.  The handshake of a WebSocket writes no cookie.
9.  A response that was made for whoever is signed in may be read by our own pages and by
    trusted origins, and by no others, whatever its CORS headers say.
10. Signing in by password, signing out and whatever asks for a password is done at nobody
    else's wish. A GET that another site's page has demonstrably caused is refused there as
    a POST would be (ASVS 5 3.5.3). A sign-in or step-up that ends at another site, and
    comes back by a GET, goes on: ``establish`` and ``rotate``.
11. Where a near cache answered, the store is asked once more before anything sensitive: where
    a fresh proof of identity is required, before other sessions are shown or ended, and before
    a renewed id goes out.

:class:`Exchange` is the part that waits for nothing. :mod:`sessioncore_http.request_session`
and :mod:`sessioncore_http.aio` put the calls to the service around it.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from sessioncore import Active, Inactive, InactiveReason, SessionId
from sessioncore.events import AmbiguousCookie, CrossOriginRefused
from sessioncore.system import SystemEntropy
from sessioncore_http.cookies import is_brought
from sessioncore_http.errors import Interruption, ResponseStarted, UnsafeConfiguration
from sessioncore_http.problems import (
    cross_origin,
    not_confirmed,
    outage,
    sign_out_not_confirmed,
    token_required,
)
from sessioncore_http.tokens import MASK_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime, timedelta

    from sessioncore import (
        AsyncAuthService,
        AuthenticationOutcome,
        AuthService,
        LoggedIn,
        Rotated,
        Session,
        StoreError,
    )
    from sessioncore_http.cookies import Presented
    from sessioncore_http.edge import Edge
    from sessioncore_http.head import RequestHead
    from sessioncore_http.origins import CrossOriginRule
    from sessioncore_http.problems import Problem

_entropy: Final = SystemEntropy()


class Exchange:
    """
    One request, and what becomes of its cookie. Not for several threads at once.

    Args:
        auth: The service. Only what waits for nothing is asked of it here.

        edge: The settings.

        head: The request.

        old_name: The cookie of the library before this one, while its sessions are moved.

    Raises:
        UnsafeConfiguration: Both cookies have one name.
    """

    __slots__ = (
        "_answers_to",
        "_clears",
        "_found",
        "_held",
        "_issued",
        "_old_cookie_path",
        "_old_name",
        "_outcome",
        "_signed_out",
        "_started",
        "_token_is_checked",
        "_touched",
        "arrived_at",
        "edge",
        "head",
    )

    arrived_at: datetime
    """When the request's headers arrived, by the service's clock."""

    def __init__(
        self,
        auth: AuthService | AsyncAuthService,
        edge: Edge,
        head: RequestHead,
        old_name: str | None = None,
    ) -> None:
        if old_name == edge.cookie.name:
            raise UnsafeConfiguration("the old session cookie has the name of ours")
        self.edge = edge
        self.head = head
        self.arrived_at = auth.now()
        self._answers_to = auth
        self._clears = False
        self._found: Presented | None = None
        self._held: str | None = None
        self._outcome: AuthenticationOutcome | None = None
        self._issued: tuple[SessionId, timedelta | None] | None = None
        self._old_name = old_name
        self._old_cookie_path: tuple[str, str, str | None] | None = None
        self._signed_out: bool | None = None
        self._started = False
        self._touched = False
        self._token_is_checked = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.head.method} {self.head.path!r}>"

    # -- Before the application -------------------------------------------------

    def refusal(self) -> Problem | None:
        """
        Say what to answer instead of asking the application, or ``None`` to go on.

        For middlewares, first of all. Needs no store.
        """
        if not self.head.changes_something:
            return None
        rule = self.edge.guard.judge(self.head, brings_cookie=self._brings_cookie)
        return None if rule.allows else self._refused(rule)

    def problem_of(self, error: Interruption | StoreError) -> Problem:
        """
        Say what to answer for what the application let through.

        For middlewares. A sign-out that met an outage is not confirmed: the cookie is deleted
        all the same, so that to try again would end nothing. Nor may "nothing was done" be
        said of a request that had signed in or out before it met one.
        """
        if isinstance(error, Interruption):
            return error.problem
        if self._signed_out is False:
            return sign_out_not_confirmed()
        if self._signed_out or self._issued is not None:
            return not_confirmed()
        return outage(error)

    # -- The synchroniser token -------------------------------------------------

    def token(self) -> str | None:
        """
        Return the synchroniser token for a form of this session; ``None`` without a session.
        """
        self._read()
        presented = SessionId.parse(self._held)
        if self.edge.token is None or presented is None:
            return None
        return self.edge.token.issued(presented, _entropy.draw(MASK_BYTES))

    def check_token(self, token: str | None) -> None:
        """
        Check the token that a form brought, before the session is used.

        Needed only for forms: the header in which scripts send it is looked at anyway.

        Raises:
            Interruption: It is missing, or not this session's.
        """
        self._look()
        presented = SessionId.parse(self._held)
        if self.edge.token is None or presented is None:
            return
        if not self.edge.token.accepts(presented, token):
            raise Interruption(token_required())
        self._token_is_checked = True

    # -- For the shells ---------------------------------------------------------

    @property
    def _presented(self) -> Presented:
        if self._found is None:
            self._found = self.edge.cookie.presented(self.head.cookies)
            self._held = self._found.text
            if self._found.is_ambiguous:
                source = self.head.device.cleaned().address
                self._answers_to.report(partial(AmbiguousCookie, source=source))
        return self._found

    @property
    def _brings_cookie(self) -> bool:
        # An old session's cookie is as good as ours: it becomes one (rule 8 of the guard).
        presented = self._presented
        if presented.is_ambiguous or presented.text is not None:
            return True
        return self._old_name is not None and is_brought(self._old_name, self.head.cookies)

    def _refused(self, rule: CrossOriginRule) -> Problem:
        source = self.head.device.cleaned().address
        self._answers_to.report(partial(CrossOriginRefused, source=source, rule=rule.value))
        return cross_origin(rule)

    def _look(self) -> None:
        # From here on, the response depends on the cookie.
        if not self._touched:
            if self._started:
                raise ResponseStarted("the session was not asked for before the response started")
            self._presented  # noqa: B018 - fills in what is held
            self._touched = True

    def _read(self) -> None:
        # Somebody asks for the session.
        self._look()
        if (
            self.edge.token is not None
            and not self._token_is_checked
            and self.head.changes_something
            and not self.head.is_websocket
        ):
            self.check_token(self.head.token)

    def _write(self) -> None:
        # Somebody is about to do what changes the cookie.
        if self._started or self.head.is_websocket:
            raise ResponseStarted("the response has started: it can carry no cookie any more")
        self._read()

    def _write_by_own_wish(self) -> None:
        # The same for what no other site may have done, not by a GET either (rule 10).
        if not self.head.changes_something:
            rule = self.edge.guard.judge_change(self.head, brings_cookie=self._brings_cookie)
            if rule.proves_another_site:
                raise Interruption(self._refused(rule))
        self._write()

    def _issue(self, opened: LoggedIn | Rotated) -> None:
        self._issued = (opened.session_id, opened.persist_for)
        self._held = opened.session_id.reveal()
        self._outcome = Active(opened.session)
        self._signed_out = None
        # Whoever got it in this request need not prove to know it.
        self._token_is_checked = True

    def _forget(self) -> None:
        self._issued = None
        self._held = None
        self._outcome = Inactive(InactiveReason.ABSENT)
        self._signed_out = False

    def _confirm(self) -> None:
        # The store says so. Whatever this request opens now, what was seen before is to go.
        self._signed_out = True
        self._clears = True

    def _leave_alone(self) -> None:
        # Another request has just moved what was to be ended: no cookie is touched.
        self._signed_out = None
        self._old_cookie_path = None
        self._outcome = Inactive(InactiveReason.SUPERSEDED)

    def _take_back(self) -> SessionId | None:
        # What was issued reaches no browser any more.
        if self._issued is None or self._started:
            return None
        session_id, _ = self._issued
        self._issued = None
        self._held = None
        self._outcome = Inactive(InactiveReason.UNKNOWN)
        return session_id

    def _is_to_be_renewed(self) -> bool:
        # Whether a renewed id is there to be answered, in time (rule 4).
        return (
            isinstance(self._outcome, Active)
            and self._outcome.renewed is not None
            and self._outcome.answer_by is not None
            and self._issued is None
            and not self._started
            and not self.head.is_websocket
            and self._answers_to.now() <= self._outcome.answer_by
        )

    def _completed(
        self, headers: Iterable[tuple[str, str]], renewal: AuthenticationOutcome | None
    ) -> list[tuple[str, str]]:
        # The headers of a response that starts now (rules 2, 3, 6 and 9).
        self._started = True
        cookie = self._cookie_to_write(renewal)
        kept = [
            (name, value)
            for name, value in headers
            if name.lower() != "set-cookie" or not self.edge.cookie.is_written_by(value)
        ]
        if cookie is not None:
            kept.append(("Set-Cookie", cookie))
        if self._old_cookie_path is not None:
            kept.append(("Set-Cookie", self._old_cookie_deleted(*self._old_cookie_path)))
        if self._clears and self.edge.clear_site_data:
            types = ", ".join(f'"{kind}"' for kind in self.edge.clear_site_data)
            kept.append(("Clear-Site-Data", types))
        if cookie is not None or self._touched:
            kept = self._readable_by_trusted_only(uncacheable(kept))
        return kept

    def _cookie_to_write(self, renewal: AuthenticationOutcome | None) -> str | None:
        if self.head.is_websocket:
            return None
        if self._issued is not None:
            return self.edge.cookie.written(*self._issued)
        if self._signed_out is not None:
            return self.edge.cookie.deleted()
        if isinstance(renewal, Active) and renewal.renewed is not None:
            return self.edge.cookie.written(renewal.renewed, renewal.persist_for)
        return None

    def _old_cookie_deleted(self, name: str, path: str, domain: str | None) -> str:
        # Browsers ignore a deletion that lacks what the name's prefix asks for, and, in an
        # answer to a page of another site, one that lacks SameSite=None.
        ours = self.edge.cookie
        parts = [f"{name}=", f"Path={path}"]
        if domain is not None:
            parts.append(f"Domain={domain}")
        if ours.secure:
            parts.append("Secure")
        return "; ".join([*parts, "HttpOnly", f"SameSite={ours.same_site.value}", "Max-Age=0"])

    def _readable_by_trusted_only(self, headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
        allowed = [v for name, v in headers if name.lower() == "access-control-allow-origin"]
        if all(self.edge.guard.trusts(origin) for origin in allowed):
            return headers
        # Without it, browsers keep the response from the page that asked (Fetch, section
        # 3.2.3); and "*" together with it they refuse by themselves.
        return [
            (name, value)
            for name, value in headers
            if name.lower() != "access-control-allow-credentials"
        ]

    def _known(self, *, from_store: bool) -> AuthenticationOutcome | None:
        # Before anything sensitive, what a copy said will not do (rule 11).
        found = self._outcome
        if from_store and isinstance(found, Active) and found.is_copy:
            return None
        return found

    def _settled(self, outcome: AuthenticationOutcome) -> AuthenticationOutcome:
        # What signed in or out while the store was asked knows better.
        if (known := self._known(from_store=True)) is not None:
            return known
        self._outcome = outcome
        return outcome

    def _session_of(self, outcome: AuthenticationOutcome) -> Session | None:
        return outcome.session if isinstance(outcome, Active) else None


_ABOUT_CACHES: Final = frozenset(
    {"edge-control", "expires", "pragma", "surrogate-control", "x-accel-expires"}
)


def uncacheable(headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """
    Return *headers* of a response that no cache may keep, and that depends on the cookie.
    """
    kept: list[tuple[str, str]] = []
    varies: list[str] = []
    for name, value in headers:
        lower = name.lower()
        if lower == "vary":
            varies += [field.strip() for field in value.split(",") if field.strip()]
        # Caches between obey a field of their own rather than the general one (RFC 9213).
        elif lower not in _ABOUT_CACHES and not lower.endswith("cache-control"):
            kept.append((name, value))
    if "*" not in varies and "cookie" not in {field.lower() for field in varies}:
        varies.append("Cookie")
    return [*kept, ("Cache-Control", "no-store"), ("Vary", ", ".join(varies))]
