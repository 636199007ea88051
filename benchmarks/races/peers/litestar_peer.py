"""
Litestar's server-side sessions on Redis.
"""

from __future__ import annotations

import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from benchmarks.races.clients import async_client_of
from benchmarks.races.peer import foreign
from benchmarks.races.web import Loop, Order, Visit, WebPeer, serve_async, through_asgi

if TYPE_CHECKING:
    from collections.abc import Generator

    from benchmarks.races.server import Server

PACKAGES = ("litestar",)


class LitestarVisit(Visit):
    """
    A request to Litestar.
    """

    def __init__(self, request: Any) -> None:
        super().__init__(request.session)
        self._request = request

    def sign_out(self) -> None:
        """
        Clear the session, by the request.
        """
        self._request.clear_session()


@contextmanager
def litestar(server: Server, /, **settings: Any) -> Generator[WebPeer, None, None]:
    """
    Start the app. *settings* are of ``ServerSideSessionConfig``.
    """
    library, sessions = foreign("litestar"), foreign("litestar.middleware.session.server_side")
    stores = foreign("litestar.stores.redis")

    async def page(request: Any) -> str:
        return await serve_async(Order.parse(request.url.query), LitestarVisit(request))

    with Loop.running() as loop, loop.entered(async_client_of(server)) as client:
        app = library.Litestar(
            route_handlers=[library.get("/", media_type="text/plain")(page)],
            middleware=[sessions.ServerSideSessionConfig(**settings).middleware],
            stores={"sessions": stores.RedisStore(client)},
            openapi_config=None,
            logging_config=None,
        )
        yield WebPeer(
            through_asgi(loop, app),
            cookie_name="session",
            new_id=lambda: secrets.token_hex(32),
            renews=False,
            has_fresh_id=False,
        )
