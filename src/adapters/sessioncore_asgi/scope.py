"""
What an ASGI scope says of a request.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from urllib.parse import quote

from sessioncore_http import AsyncRequestSession, RequestHead

if TYPE_CHECKING:
    from sessioncore_http import Edge

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
ASGIApplication: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

KEY: Final = "sessioncore.session"
"""Where in the scope the request's session is."""


def request_head(scope: Mapping[str, Any], edge: Edge) -> RequestHead:
    """
    Read the head of a request or of a WebSocket's handshake.

    Args:
        scope: Its scope.

        edge: The settings, which name the header of the synchroniser token.
    """
    found: dict[bytes, list[str]] = {}
    for name, value in scope["headers"]:
        found.setdefault(name.lower(), []).append(value.decode("latin-1"))

    def one(name: bytes) -> str | None:
        # A header that is there twice is neither: what no browser sends matches nothing.
        values = found.get(name)
        return None if values is None else ", ".join(values)

    path: str = scope["path"]
    raw: bytes | None = scope.get("raw_path")
    # Some servers put the query into raw_path as well.
    encoded = quote(path) if raw is None else raw.decode("latin-1").partition("?")[0]
    query = scope.get("query_string", b"").decode("latin-1")
    client = scope.get("client")
    token = None if edge.token is None else one(edge.token.header.lower().encode("latin-1"))
    return RequestHead(
        method=scope.get("method", "GET"),
        path=path,
        target=f"{encoded}?{query}" if query else encoded,
        cookies=tuple(found.get(b"cookie", ())),
        origin=one(b"origin"),
        fetch_site=one(b"sec-fetch-site"),
        fetch_mode=one(b"sec-fetch-mode"),
        accept=one(b"accept") or "",
        token=token,
        user_agent=one(b"user-agent"),
        address=client[0] if client else None,
        is_websocket=scope["type"] == "websocket",
    )


def session_of(scope: Mapping[str, Any]) -> AsyncRequestSession:
    """
    Return the session of a request that came through the middleware.

    Raises:
        LookupError: It did not.
    """
    found: AsyncRequestSession | None = scope.get(KEY)
    if found is None:
        raise LookupError("no session here: the request did not pass SessionMiddleware")
    return found
