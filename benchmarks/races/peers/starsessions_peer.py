"""
starsessions on Redis, under Starlette.
"""

from __future__ import annotations

import secrets
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from benchmarks.races.clients import async_client_of
from benchmarks.races.peer import foreign
from benchmarks.races.web import Loop, Order, Visit, WebPeer, serve_async, through_asgi

if TYPE_CHECKING:
    from collections.abc import Generator

    from benchmarks.races.server import Server

PACKAGES = ("starsessions", "starlette")


class StarsessionsVisit(Visit):
    """
    A request to Starlette.
    """

    def __init__(self, request: Any) -> None:
        super().__init__(request.session)
        self._request = request

    def fresh_id(self) -> None:
        """
        Regenerate the id, as the documentation advises after a login.
        """
        self.renew()

    def renew(self) -> None:
        """
        Regenerate the id.
        """
        foreign("starsessions").regenerate_session_id(self._request)


@contextmanager
def starsessions(server: Server, /, **settings: Any) -> Generator[WebPeer, None, None]:
    """
    Start the app. *settings* are parameters of starsessions' middleware.
    """
    applications, library = foreign("starlette.applications"), foreign("starsessions")
    middleware, responses = foreign("starlette.middleware"), foreign("starlette.responses")
    routing, stores = foreign("starlette.routing"), foreign("starsessions.stores.redis")

    async def page(request: Any) -> Any:
        text = await serve_async(Order.parse(request.url.query), StarsessionsVisit(request))
        return responses.PlainTextResponse(text)

    with Loop.running() as loop, loop.entered(async_client_of(server)) as client:
        options = {"lifetime": timedelta(days=14), **settings}
        store = stores.RedisStore(connection=client)
        app = applications.Starlette(
            routes=[routing.Route("/", page)],
            middleware=[
                middleware.Middleware(library.SessionMiddleware, store=store, **options),
                middleware.Middleware(library.SessionAutoloadMiddleware),
            ],
        )
        yield WebPeer(
            through_asgi(loop, app),
            cookie_name="session",
            new_id=lambda: secrets.token_hex(16),
            renews=True,
            has_fresh_id=True,
        )
