"""
What is answered instead of the application's own answer, and how it looks.

Programs get problem details (RFC 9457) with a stable ``code``. Browser windows get a
redirect where one leads on, and otherwise a small page.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from datetime import timedelta
from html import escape
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, TypeAlias, assert_never

from attrs import frozen

from sessioncore import (
    Busy,
    Inactive,
    InactiveReason,
    LimitReached,
    OutcomeUnknown,
    Refused,
    StoreError,
    Throttled,
)
from sessioncore_http.redirects import with_next

if TYPE_CHECKING:
    from sessioncore_http.head import RequestHead
    from sessioncore_http.origins import CrossOriginRule

_SOON: Final = timedelta(seconds=1)
_AFTER_AN_OUTAGE: Final = timedelta(seconds=5)


@frozen(kw_only=True)
class Problem:
    """
    Why the request gets another answer than it asked for.
    """

    status: HTTPStatus
    code: str
    """For programs; never changes its meaning."""

    title: str
    detail: str
    location: str | None = None
    """Where a browser window is sent instead, such as the sign-in page."""

    retry_after: timedelta | None = None
    authenticate: str | None = None
    """``WWW-Authenticate``, which a 401 must have (RFC 9110, section 15.5.2)."""


@frozen(kw_only=True)
class Answer:
    """
    A response: status, headers, body. Which cookies go with it is not said here.
    """

    status: HTTPStatus
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @property
    def status_line(self) -> str:
        """
        As WSGI wants it.
        """
        return f"{self.status.value} {self.status.phrase}"


Renderer: TypeAlias = Callable[[Problem, "RequestHead"], Answer]
"""Makes the answer of a problem. An application that wants pages of its own brings one."""


def sign_in_required(head: RequestHead, sign_in_path: str | None) -> Problem:
    """
    Nobody is signed in: to the sign-in page, and back here afterwards.
    """
    return Problem(
        status=HTTPStatus.UNAUTHORIZED,
        code="sign-in-required",
        title="Please sign in",
        detail="This needs somebody who is signed in.",
        location=None if sign_in_path is None else with_next(sign_in_path, head),
        authenticate="Cookie",
    )


def step_up_required(head: RequestHead, step_up_path: str | None, max_age: timedelta) -> Problem:
    """
    The last proof of identity is too old for what is asked (after RFC 9470, section 3).
    """
    seconds = int(max_age.total_seconds())
    return Problem(
        status=HTTPStatus.UNAUTHORIZED,
        code="step-up-required",
        title="Please prove again who you are",
        detail="This needs a proof of identity that is more recent.",
        location=None if step_up_path is None else with_next(step_up_path, head),
        authenticate=f'Cookie error="insufficient_user_authentication", max_age={seconds}',
    )


def try_again() -> Problem:
    """
    The browser has a newer session id than the one it sent. It is no reason to sign in.
    """
    return Problem(
        status=HTTPStatus.CONFLICT,
        code="try-again",
        title="Please try again",
        detail="This request crossed with another one of this browser. Nothing was done.",
        retry_after=_SOON,
    )


def cross_origin(_rule: CrossOriginRule) -> Problem:
    """
    Another site's page caused the request. Which rule refused it is for the log.
    """
    return Problem(
        status=HTTPStatus.FORBIDDEN,
        code="cross-origin",
        title="Not from there",
        detail="Only this site's own pages may ask for this.",
    )


def token_required() -> Problem:
    """
    The synchroniser token is missing, or it is another session's.
    """
    return Problem(
        status=HTTPStatus.FORBIDDEN,
        code="token-required",
        title="This page is out of date",
        detail="Please load it again: what it sent does not belong to this session.",
    )


def outage(error: StoreError) -> Problem:
    """
    The store did not answer, or not with certainty. Never a 401: nobody was signed out.
    """
    if isinstance(error, OutcomeUnknown):
        return not_confirmed()
    return Problem(
        status=HTTPStatus.SERVICE_UNAVAILABLE,
        code="unavailable",
        title="Sessions are not available",
        detail="Nothing was done, and nobody was signed out. Please try again soon.",
        retry_after=_AFTER_AN_OUTAGE,
    )


def not_confirmed() -> Problem:
    """
    It took effect, or a part of it, or nobody knows.
    """
    return Problem(
        status=HTTPStatus.SERVICE_UNAVAILABLE,
        code="not-confirmed",
        title="Not confirmed",
        detail="It is not known whether all of this took effect. Please look, and try again.",
        retry_after=_AFTER_AN_OUTAGE,
    )


def sign_out_not_confirmed() -> Problem:
    """
    The cookie was deleted, but the store did not say that the session has ended.

    It has no ``Retry-After``: whoever tries again has no cookie, and would be told of success.
    """
    return Problem(
        status=HTTPStatus.SERVICE_UNAVAILABLE,
        code="not-confirmed",
        title="Signing out is not confirmed",
        detail=(
            "This browser has forgotten the session, but the session may live on. "
            "Please sign in again soon, and end it there."
        ),
    )


def problem_of(outcome: Refused | Throttled | Busy | LimitReached) -> Problem:
    """
    Say how an API answers a sign-in or a step-up that did not succeed.
    """
    match outcome:
        case Refused():
            return Problem(
                status=HTTPStatus.UNAUTHORIZED,
                code="refused",
                title="Wrong name or password",
                detail="The name or the password is wrong.",
                authenticate="Cookie",
            )
        case Throttled(retry_after=retry_after):
            return Problem(
                status=HTTPStatus.TOO_MANY_REQUESTS,
                code="throttled",
                title="Too many attempts",
                detail="Nothing was tried this time. Please wait.",
                retry_after=retry_after,
            )
        case Busy():
            return Problem(
                status=HTTPStatus.SERVICE_UNAVAILABLE,
                code="busy",
                title="Too busy",
                detail="Too many people are signing in. Please try again.",
                retry_after=_SOON,
            )
        case LimitReached(limit=limit):
            return Problem(
                status=HTTPStatus.CONFLICT,
                code="limit-reached",
                title="Too many sessions",
                detail=f"Only {limit} sessions are allowed. Please sign out somewhere else.",
            )
        case _:
            assert_never(outcome)


def problem_of_inactive(inactive: Inactive, head: RequestHead, sign_in_path: str | None) -> Problem:
    """
    Say what a request is answered whose cookie stands for no live session.
    """
    if inactive.reason is InactiveReason.SUPERSEDED:
        return try_again()
    return sign_in_required(head, sign_in_path)


def render(problem: Problem, head: RequestHead) -> Answer:
    """
    Make the answer of a problem: a redirect or a small page for a window, JSON for a program.
    """
    headers: list[tuple[str, str]] = [("Cache-Control", "no-store")]
    if problem.retry_after is not None:
        # Rounded up: who comes back at that second must not be early.
        seconds = max(1, math.ceil(problem.retry_after.total_seconds()))
        headers.append(("Retry-After", str(seconds)))
    if head.wants_page and problem.location is not None:
        headers.append(("Location", problem.location))
        headers.append(("Content-Type", "text/html; charset=utf-8"))  # as wsgiref.validate wants
        return Answer(status=HTTPStatus.SEE_OTHER, headers=_sized(headers, b""), body=b"")
    if problem.authenticate is not None:
        headers.append(("WWW-Authenticate", problem.authenticate))
    if head.wants_page:
        body = _page(problem, head)
        headers.append(("Content-Type", "text/html; charset=utf-8"))
    else:
        body = json.dumps(
            {
                "status": problem.status.value,
                "code": problem.code,
                "title": problem.title,
                "detail": problem.detail,
            }
        ).encode()
        headers.append(("Content-Type", "application/problem+json"))
    return Answer(status=problem.status, headers=_sized(headers, body), body=body)


def _sized(headers: list[tuple[str, str]], body: bytes) -> tuple[tuple[str, str], ...]:
    return (*headers, ("Content-Length", str(len(body))))


def _page(problem: Problem, head: RequestHead) -> bytes:
    # A window that crossed with another request of its own helps itself, unless it posted
    # something: loading the page again would forget that.
    helps_itself = problem.code == "try-again" and not head.changes_something
    again = '<meta http-equiv="refresh" content="1">' if helps_itself else ""
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"{again}<title>{escape(problem.title)}</title>"
        f"<main><h1>{escape(problem.title)}</h1><p>{escape(problem.detail)}</p></main></html>"
    ).encode()
