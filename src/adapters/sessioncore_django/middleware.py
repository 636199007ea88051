"""
The middleware, in the place of ``django.contrib.sessions.middleware.SessionMiddleware``.

It derives from that one, for Django's own checks ask for it. What Django does to the
cookie it does not: :mod:`sessioncore_http.exchange` says what happens there.

Under ASGI its two steps run in a thread, as those of Django's middlewares do, and so does
whatever a session is asked for: the service blocks, like Django's database.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from http.cookies import CookieError, Morsel
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.contrib.sessions.middleware import SessionMiddleware as DjangoSessionMiddleware
from django.core.exceptions import ImproperlyConfigured
from django.core.handlers.asgi import ASGIRequest
from django.core.signals import got_request_exception
from django.dispatch import receiver
from django.http import HttpResponse

from sessioncore import Inactive, InactiveReason, StoreError
from sessioncore_django.configuration import configuration
from sessioncore_django.engine import SessionStore
from sessioncore_django.request_session import DjangoRequestSession
from sessioncore_http import Interruption
from sessioncore_wsgi.environ import head_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Container

    from django.http import HttpRequest
    from django.http.response import HttpResponseBase

    from sessioncore_http import Edge, RequestHead


class SessionMiddleware(DjangoSessionMiddleware):
    """
    Ties ``request.session`` and ``request.sessioncore`` to the request, and refuses foreign ones.

    Before all that asks for a session, and outside of ``ATOMIC_REQUESTS``: old sessions are
    moved here. What the ``require`` methods raise, and failures of the store, become
    responses, also if another middleware was the one to ask.
    """

    def __init__(
        self, get_response: Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]]
    ) -> None:
        super().__init__(get_response)
        engine: type[Any] = self.SessionStore
        if not issubclass(engine, SessionStore):
            raise ImproperlyConfigured("SESSION_ENGINE: sessioncore_django.engine, or one like it")
        self._engine: type[SessionStore] = engine

    def process_request(self, request: HttpRequest) -> HttpResponseBase | None:  # type: ignore[override]  # the stubs allow no response
        """
        Make the session, without looking at it; refuse what another site's page caused.
        """
        configured = configuration()
        head = _head(request, configured.edge)
        session = DjangoRequestSession(configured.auth, configured.edge, head, configured.legacy)
        session.request = request
        vars(request)["sessioncore"] = session
        request.session = self._engine.of(session)
        # Set by Django's test client, whose requests no page causes.
        is_a_test = getattr(request, "_dont_enforce_csrf_checks", False)
        refused = None if is_a_test else session.refusal()
        if refused is not None:
            return _answer(session, Interruption(refused))
        if session.key is None and session.holds_old_cookie:
            # Here, and not when a view asks: its transaction could undo it.
            try:
                if session.authenticate() == Inactive(InactiveReason.SUPERSEDED):
                    raise session.crossed()
            except (Interruption, StoreError) as error:
                return _answer(session, error)
        return None

    def process_exception(
        self, request: HttpRequest, exception: Exception
    ) -> HttpResponseBase | None:
        """
        Answer what a view raised, if it is ours.
        """
        session = _session(request)
        if session is None or not isinstance(exception, (Interruption, StoreError)):
            return None
        return _answer(session, exception)

    def process_response(  # type: ignore[override]  # the stubs know of no streaming ones
        self, request: HttpRequest, response: HttpResponseBase
    ) -> HttpResponseBase:
        """
        Save what has changed, and write the headers that follow from it.
        """
        session = _session(request)
        if session is None:
            return response
        try:
            if session.failure is not None:
                response = _answer(session, session.failure)
            else:
                response = self._saved(request, session, response)
        except BaseException:
            session.abandon()
            raise
        renew = response.status_code != 503
        before = list(response.items())
        _write(response, session, before, session.finish(before, renew=renew))
        return response

    @staticmethod
    def _saved(
        request: HttpRequest, session: DjangoRequestSession, response: HttpResponseBase
    ) -> HttpResponseBase:
        store = request.session
        try:
            if store.accessed:
                session.note_use()
            is_due = store.modified or settings.SESSION_SAVE_EVERY_REQUEST
            if is_due and response.status_code < 500 and not store.is_empty():
                store.save()
        except (Interruption, StoreError) as error:
            return _answer(session, error)
        return response


@receiver(got_request_exception, dispatch_uid="sessioncore_django")
def note_failure(request: HttpRequest | None = None, **_: object) -> None:
    """
    Note why Django is about to answer 500: exceptions of middlewares pass by no other.
    """
    error = sys.exc_info()[1]
    session = None if request is None else _session(request)
    if session is not None and isinstance(error, (Interruption, StoreError)):
        session.failure = error


def _session(request: HttpRequest) -> DjangoRequestSession | None:
    return getattr(request, "sessioncore", None)


def _head(request: HttpRequest, edge: Edge) -> RequestHead:
    # Django has decoded the path, and joins Cookie headers with commas.
    if isinstance(request, ASGIRequest):
        headers: list[tuple[bytes, bytes]] = request.scope["headers"]
        cookies = [value.decode("latin-1") for name, value in headers if name == b"cookie"]
    else:
        cookies = [request.META.get("HTTP_COOKIE", "")]
    return head_of(
        request.META,
        edge,
        path=request.path,
        target=request.get_full_path(),
        cookies=tuple(filter(None, cookies)),
    )


def _answer(session: DjangoRequestSession, error: Interruption | StoreError) -> HttpResponse:
    session.failure = None  # answered herewith
    answer = session.edge.render(session.problem_of(error), session.head)
    body = b"" if session.head.method == "HEAD" else answer.body
    return HttpResponse(body, status=answer.status.value, headers=dict(answer.headers))


def _write(
    response: HttpResponseBase,
    session: DjangoRequestSession,
    before: list[tuple[str, str]],
    after: list[tuple[str, str]],
) -> None:
    response.cookies.pop(session.edge.cookie.name, None)
    if after[: len(before)] == before:
        # As a rule there are only some more. To Django, headers are much work.
        after = after[len(before) :]
    else:
        for name, _ in before:
            del response[name]
    for name, value in after:
        if name.lower() == "set-cookie":
            morsel = _AsWritten(value)
            response.cookies[morsel.key] = morsel
        else:
            response[name] = value


class _AsWritten(Morsel[str]):
    """
    A cookie as the edge wrote it, where Django and its test client look for cookies.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        pair, *attributes = text.split("; ")
        name, _, value = pair.partition("=")
        self.set(name, _Hidden(value), value)
        for attribute in attributes:
            key, _, setting = attribute.partition("=")
            with suppress(CookieError):  # Partitioned, which older versions of Python lack
                self[key.lower()] = setting or True
        self._text = text

    def __repr__(self) -> str:
        return f"<the cookie {self.key}>"

    def __reduce__(self) -> tuple[type[_AsWritten], tuple[str]]:
        return type(self), (self._text,)

    def OutputString(self, attrs: Container[str] | None = None) -> str:  # noqa: N802 - the base's
        """
        Return the value of the ``Set-Cookie`` header.
        """
        return self._text if attrs is None else super().OutputString(attrs)


class _Hidden(str):
    """
    A text that is not shown where a jar of cookies is.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "<hidden>"
