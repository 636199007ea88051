"""
Litestar: without sessions, with its own on the server, and with sessioncore.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from litestar import Litestar, Request, get
from litestar.middleware.session.server_side import (
    ServerSideSessionBackend,
    ServerSideSessionConfig,
)
from litestar.stores.redis import RedisStore

from benchmarks.peers.contender import HOME, KEY, ORIGIN, SIGN_IN, USER, Contender
from sessioncore_http import Edge
from sessioncore_litestar import CurrentSession, SessionPlugin

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sessioncore import AsyncAuthService


def _app(*handlers: Any, **settings: Any) -> Litestar:
    return Litestar([*handlers], openapi_config=None, logging_config=None, **settings)


def bare() -> Contender:
    """
    Make the app that knows of no sessions.
    """

    @get(HOME, media_type="text/plain")
    async def home(request: Request[Any, Any, Any]) -> str:  # noqa: ARG001 - the others take one
        return USER

    return Contender("bare", _app(home))


def litestar(client: Any) -> Contender:
    """
    Make the app with Litestar's sessions.
    """
    config = ServerSideSessionConfig()
    store = RedisStore(client)

    @get(HOME, media_type="text/plain")
    async def home(request: Request[Any, Any, Any]) -> str:
        return str(request.session.get(KEY, ""))

    @get(SIGN_IN, media_type="text/plain")
    async def sign_in(request: Request[Any, Any, Any]) -> str:
        request.session[KEY] = USER
        return USER

    def load(session_id: str) -> Callable[[], Awaitable[object]]:
        backend: Any = ServerSideSessionBackend(config)

        async def loaded() -> object:
            return backend.deserialize_data(await backend.get(session_id, store))

        return loaded

    app = _app(home, sign_in, middleware=[config.middleware], stores={"sessions": store})
    return Contender("litestar-redis", app, load=load)


def sessioncore(name: str, auth: AsyncAuthService, cookie: str) -> Contender:
    """
    Make the app with sessioncore.
    """

    @get(HOME, media_type="text/plain")
    async def home(request_session: CurrentSession) -> str:
        return await request_session.user_id() or ""

    edge = Edge(origins=[ORIGIN])
    app = _app(home, plugins=[SessionPlugin(auth, edge)])
    return Contender(name, app, cookie=f"{edge.cookie.name}={cookie}")
