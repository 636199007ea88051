"""
The session of the request that is being answered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import session
from werkzeug.local import LocalProxy

from sessioncore_flask.session import FlaskRequestSession, FlaskSession


def request_session() -> FlaskRequestSession:
    """
    Return the request's session.

    Raises:
        RuntimeError: There is no request, or its app was not given to
            :class:`~sessioncore_flask.extension.Sessions`.
    """
    # A proxy is an instance of what it stands for.
    if isinstance(session, FlaskSession):
        return session.request_session
    raise RuntimeError("no session here: there is no request, or its app has no Sessions")


if TYPE_CHECKING:
    current_session: FlaskRequestSession
else:
    current_session = LocalProxy(request_session)
