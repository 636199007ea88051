"""
The session of the request that is being answered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from flask import session
from werkzeug.local import LocalProxy

from sessioncore_flask.session import FlaskRequestSession, FlaskSession

if TYPE_CHECKING:
    from collections.abc import Callable


_current_object: Final[Callable[[], object]] = cast("Any", session)._get_current_object  # noqa: SLF001 - as Flask's documentation has it done


def request_session() -> FlaskRequestSession:
    """
    Return the request's session.

    Raises:
        RuntimeError: There is no request, or its app was not given to
            :class:`~sessioncore_flask.extension.Sessions`.
    """
    # The proxy itself would look for what it stands for whenever it is touched.
    try:
        found = _current_object()
    except RuntimeError:
        found = None  # there is no request
    if isinstance(found, FlaskSession):
        return found.request_session
    raise RuntimeError("no session here: there is no request, or its app has no Sessions")


if TYPE_CHECKING:
    current_session: FlaskRequestSession
else:
    current_session = LocalProxy(request_session)
