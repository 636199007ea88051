"""
Starlette: without sessions, with starsessions, and with sessioncore.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starsessions import SessionAutoloadMiddleware, SessionMiddleware
from starsessions.serializers import JsonSerializer
from starsessions.session import SessionHandler
from starsessions.stores.redis import RedisStore

from benchmarks.peers.contender import HOME, KEY, ORIGIN, SIGN_IN, USER, Contender
from sessioncore_http import Edge
from sessioncore_starlette import SessionMiddleware as OurMiddleware
from sessioncore_starlette import session_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sessioncore import AsyncAuthService

_LIFETIME: Final = timedelta(days=14)


def bare() -> Contender:
    """
    Make the app that knows of no sessions.
    """

    async def home(_request: Request) -> PlainTextResponse:
        return PlainTextResponse(USER)

    return Contender("bare", Starlette(routes=[Route(HOME, home)]))


def starsessions(client: Any) -> Contender:
    """
    Make the app with starsessions.
    """
    store = RedisStore(connection=client)

    async def home(request: Request) -> PlainTextResponse:
        return PlainTextResponse(request.session.get(KEY, ""))

    async def sign_in(request: Request) -> PlainTextResponse:
        request.session[KEY] = USER
        return PlainTextResponse(USER)

    def load(session_id: str) -> Callable[[], Awaitable[object]]:
        seconds, serializer = int(_LIFETIME.total_seconds()), JsonSerializer()

        def loaded() -> Awaitable[object]:
            connection = HTTPConnection({"type": "http"})
            return SessionHandler(connection, session_id, store, serializer, seconds).load()

        return loaded

    app = Starlette(
        routes=[Route(HOME, home), Route(SIGN_IN, sign_in)],
        middleware=[
            Middleware(SessionMiddleware, store=store, lifetime=_LIFETIME),
            Middleware(SessionAutoloadMiddleware),
        ],
    )
    return Contender("starsessions-redis", app, load=load)


def sessioncore(name: str, auth: AsyncAuthService, cookie: str) -> Contender:
    """
    Make the app with sessioncore.
    """

    async def home(request: Request) -> PlainTextResponse:
        return PlainTextResponse(await session_of(request).user_id() or "")

    edge = Edge(origins=[ORIGIN])
    app = Starlette(
        routes=[Route(HOME, home)],
        middleware=[Middleware(OurMiddleware, auth=auth, edge=edge)],
    )
    return Contender(name, app, cookie=f"{edge.cookie.name}={cookie}")
