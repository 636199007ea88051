"""
What a WSGI environment says of a request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from sessioncore_http import RequestHead, RequestSession

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sessioncore_http import Edge

KEY: Final = "sessioncore.session"
"""Where in the environment the request's session is."""


def request_head(environ: Mapping[str, Any], edge: Edge) -> RequestHead:
    """
    Read the head of a request.

    Args:
        environ: The environment.

        edge: The settings, which name the header of the synchroniser token.
    """
    cookie = environ.get("HTTP_COOKIE")
    # Both, as ASGI's path: what is exempted is named as browsers name it.
    path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
    query = environ.get("QUERY_STRING", "")
    # PEP 3333 passes decoded bytes on as Latin-1.
    octets = path.encode("latin-1", "replace") or b"/"
    encoded = quote(octets, safe="/!$&'()*+,;=:@~")
    return head_of(
        environ,
        edge,
        path=octets.decode("utf-8", "replace"),
        target=f"{encoded}?{query}" if query else encoded,
        cookies=(cookie,) if cookie else (),
    )


def head_of(
    environ: Mapping[str, Any], edge: Edge, *, path: str, target: str, cookies: tuple[str, ...]
) -> RequestHead:
    """
    Read the head of a request whose path and cookies are known already.

    For frameworks: of what resembles a WSGI environment, such as Django's ``request.META``.

    Args:
        environ: The environment.

        edge: The settings, which name the header of the synchroniser token.

        path: See :class:`~sessioncore_http.RequestHead`.

        target: Likewise.

        cookies: Likewise.
    """
    token = None if edge.token is None else environ.get(_variable(edge.token.header))
    return RequestHead(
        method=environ["REQUEST_METHOD"],
        path=path,
        target=target,
        cookies=cookies,
        origin=environ.get("HTTP_ORIGIN"),
        fetch_site=environ.get("HTTP_SEC_FETCH_SITE"),
        fetch_mode=environ.get("HTTP_SEC_FETCH_MODE"),
        accept=environ.get("HTTP_ACCEPT", ""),
        token=token,
        user_agent=environ.get("HTTP_USER_AGENT"),
        address=environ.get("REMOTE_ADDR"),
        # Some servers hand handshakes to WSGI applications.
        is_websocket=environ["REQUEST_METHOD"] == "GET"
        and environ.get("HTTP_UPGRADE", "").lower() == "websocket",
    )


def session_of(environ: Mapping[str, Any]) -> RequestSession:
    """
    Return the session of a request that came through the middleware.

    Raises:
        LookupError: It did not.
    """
    found: RequestSession | None = environ.get(KEY)
    if found is None:
        raise LookupError("no session here: the request did not pass SessionMiddleware")
    return found


def _variable(header: str) -> str:
    return "HTTP_" + header.upper().replace("-", "_")
