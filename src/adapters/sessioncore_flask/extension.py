"""
The extension: what an app is given.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from flask import current_app
from flask.cli import AppGroup

from sessioncore import StoreError
from sessioncore_flask.current import current_session, request_session
from sessioncore_flask.interface import StoredSessionInterface
from sessioncore_flask.session import FlaskRequestSession
from sessioncore_flask.testing import SameOriginClient
from sessioncore_http import Interruption
from sessioncore_wsgi.environ import KEY

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIEnvironment

    from flask import Flask, Response
    from flask.typing import ResponseReturnValue
    from werkzeug.exceptions import HTTPException

    from sessioncore import AuthService
    from sessioncore_http import Edge, LegacySessions, Problem

NAME = "sessioncore"
"""Where in ``app.extensions`` the extension is."""


class Sessions:
    """
    Keeps Flask's ``session`` on the server, and says who is signed in.

    Foreign requests are refused before anything of the app looks at them, apart from the
    converters of its URLs. What :data:`~sessioncore_flask.current_session` raises becomes a
    response; register handlers for ``Interruption`` and ``StoreError`` to answer otherwise.

    Args:
        app: The app; or call :meth:`init_app` later.

        auth: The service.

        edge: The settings.

        legacy: Where the sessions of the library before this one are, while they are moved.

        permanent_policy: The policy that ``session.permanent = True`` asks for when a
            session is opened for a visitor. By default there is none, and such a session
            ends with the browser like the others.

    Raises:
        RuntimeError: The app has this extension already.
    """

    def __init__(
        self,
        app: Flask | None = None,
        *,
        auth: AuthService,
        edge: Edge,
        legacy: LegacySessions | None = None,
        permanent_policy: str | None = None,
    ) -> None:
        self.auth = auth
        self.edge = edge
        self._legacy = legacy
        self._permanent_policy = permanent_policy
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """
        Set *app* up. Any number of apps may share one of these.
        """
        if NAME in app.extensions:
            raise RuntimeError("the app has this extension already")
        app.extensions[NAME] = self
        app.session_interface = StoredSessionInterface(
            self.auth,
            self.edge,
            legacy=self._legacy,
            permanent_policy=self._permanent_policy,
        )
        # These come before every before_request, and the list is the only way to the front
        # for an extension that is not the first to be set up.
        app.url_value_preprocessors[None].insert(0, _refuse_foreign)
        handlers = app.error_handler_spec[None][None]
        if Interruption not in handlers:
            app.register_error_handler(Interruption, _answer_interruption)
        if StoreError not in handlers:
            app.register_error_handler(StoreError, _answer_outage)
        app.context_processor(self._in_templates)
        app.cli.add_command(_commands(self.auth))
        if app.test_client_class is None:
            app.test_client_class = SameOriginClient
        _answer_handlers(app)
        _abandon_failures(app)

    def _in_templates(self) -> dict[str, Any]:
        names: dict[str, Any] = {"current_session": current_session}
        if self.edge.token is not None:
            names["csrf_token"] = _csrf_token
        return names


def _refuse_foreign(_endpoint: str | None, _values: dict[str, Any] | None) -> None:
    problem = request_session().refusal()
    if problem is not None:
        raise Interruption(problem)


def _answer_interruption(interruption: Interruption) -> Response:
    return _answer(interruption.problem)


def _answer_outage(error: StoreError) -> Response:
    request_session().reports_outage = True
    return _answer(request_session().problem_of(error))


def _answer(problem: Problem) -> Response:
    session = request_session()
    answer = session.edge.render(problem, session.head)
    return current_app.response_class(
        answer.body, status=answer.status.value, headers=list(answer.headers)
    )


def _csrf_token() -> str:
    # Who has no session needs no token.
    return request_session().token() or ""


def _commands(auth: AuthService) -> AppGroup:
    group = AppGroup("sessions", help="Look after the session store.")

    @group.command()
    def purge() -> None:
        """
        Delete what has expired.
        """
        more = True
        while more:
            more = auth.purge().more
        click.echo("What had expired is deleted.")

    return group


def _answer_handlers(app: Flask) -> None:
    handle = app.handle_user_exception

    def handle_user_exception(e: Exception) -> HTTPException | ResponseReturnValue:
        try:
            return handle(e)
        except (Interruption, StoreError) as raised:
            failure = raised
        # A handler's own page needed the session, or there is none for this. Flask asks no
        # handler about what a handler raises.
        if not isinstance(e, (Interruption, StoreError)):
            try:
                return handle(failure)
            except (Interruption, StoreError) as raised:
                failure = raised
        if isinstance(failure, Interruption):
            return _answer_interruption(failure)
        return _answer_outage(failure)

    # Flask has no other place for it.
    app.handle_user_exception = handle_user_exception  # type: ignore[method-assign]


def _abandon_failures(app: Flask) -> None:
    answer = app.wsgi_app

    def wsgi_app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        try:
            return answer(environ, start_response)
        except BaseException:
            # No response, so nobody will learn the id of a session that was just opened.
            session = environ.get(KEY)
            if isinstance(session, FlaskRequestSession):
                session.abandon()
            raise

    # As Flask's documentation has middlewares do it.
    app.wsgi_app = wsgi_app  # type: ignore[method-assign]
