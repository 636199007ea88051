"""
Flask's ``SessionInterface``: where Flask opens sessions and saves them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask.json.tag import TaggedJSONSerializer
from flask.sessions import SessionInterface

from sessioncore import StoreError
from sessioncore_flask.session import FlaskRequestSession, FlaskSession
from sessioncore_http import Interruption
from sessioncore_wsgi import request_head
from sessioncore_wsgi.environ import KEY

if TYPE_CHECKING:
    from flask import Flask, Request, Response
    from flask.sessions import SessionMixin

    from sessioncore import AuthService
    from sessioncore_http import Edge, LegacySessions


class StoredSessionInterface(SessionInterface):
    """
    Opens a session for each request without reading it, and saves what changed.

    Args:
        auth: The service.

        edge: The settings. Those of Flask's that begin with ``SESSION_COOKIE`` have no say.

        legacy: See :class:`~sessioncore_flask.extension.Sessions`.

        permanent_policy: See :class:`~sessioncore_flask.extension.Sessions`.
    """

    def __init__(
        self,
        auth: AuthService,
        edge: Edge,
        *,
        legacy: LegacySessions | None = None,
        permanent_policy: str | None = None,
    ) -> None:
        self.auth = auth
        self.edge = edge
        self.serializer = TaggedJSONSerializer()
        """Makes values JSON-shaped. Further tags can be registered, as in Flask."""

        self._legacy = legacy
        self._permanent_policy = permanent_policy

    def get_cookie_name(self, app: Flask) -> str:  # noqa: ARG002 - Flask's signature
        """
        Return the name of the session cookie.
        """
        return self.edge.cookie.name

    def open_session(self, app: Flask, request: Request) -> FlaskSession:  # noqa: ARG002 - ditto
        """
        Make the session of a request. Asks no store.
        """
        opened = FlaskRequestSession(
            self.auth,
            self.edge,
            request_head(request.environ, self.edge),
            self._legacy,
            request=request,
            serializer=self.serializer,
            permanent_policy=self._permanent_policy,
        )
        request.environ[KEY] = opened
        return opened.data

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        """
        Write what changed, and complete the headers. Flask's last step before the start.
        """
        if not isinstance(session, FlaskSession):
            raise TypeError("the session was opened by another interface")
        request_session = session.request_session
        try:
            session.save()
        except (Interruption, StoreError) as error:
            # Flask would make a 500 of it here.
            _replace(response, app.make_response(app.handle_user_exception(error)))
        session.close()
        headers = request_session.finish(
            list(response.headers), renew=not request_session.reports_outage
        )
        response.headers.clear()
        response.headers.extend(headers)


def _replace(response: Response, other: Response) -> None:
    # Flask goes on with the response that it has.
    close: Any = getattr(response.response, "close", None)
    if close is not None:
        response.call_on_close(close)
    response.call_on_close(other.close)
    response.status = other.status
    response.headers.clear()
    response.headers.extend(other.headers)
    response.direct_passthrough = other.direct_passthrough
    response.response = other.response
