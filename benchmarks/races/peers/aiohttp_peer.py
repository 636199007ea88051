"""
aiohttp-session on Redis.
"""

from __future__ import annotations

import uuid
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

from benchmarks.races.clients import async_client_of
from benchmarks.races.peer import foreign
from benchmarks.races.web import Loop, Order, Visit, WebPeer, serve_async

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator

    from benchmarks.races.server import Server

PACKAGES = ("aiohttp-session", "aiohttp")


class AiohttpVisit(Visit):
    """
    A request to aiohttp.
    """

    def __init__(self, session: Any) -> None:
        super().__init__(session)
        self._session = session

    def fresh_id(self) -> None:
        """
        Nothing is left to do: the session is one that ``new_session`` made.
        """

    def sign_out(self) -> None:
        """
        Invalidate the session.
        """
        self._session.invalidate()


@asynccontextmanager
async def _running(server: Server, settings: dict[str, Any]) -> AsyncGenerator[Any, None]:
    web, utils = foreign("aiohttp.web"), foreign("aiohttp.test_utils")
    library, storages = foreign("aiohttp_session"), foreign("aiohttp_session.redis_storage")

    async def page(request: Any) -> Any:
        order = Order.parse(request.query_string)
        new = order.action == "login" and order.fresh_id
        session = await (library.new_session if new else library.get_session)(request)
        return web.Response(text=await serve_async(order, AiohttpVisit(session)))

    async with async_client_of(server) as client:
        app = web.Application()
        library.setup(app, storages.RedisStorage(client, **settings))
        app.router.add_get("/", page)
        no_cookies = foreign("aiohttp").DummyCookieJar()
        async with utils.TestClient(utils.TestServer(app), cookie_jar=no_cookies) as browser:
            yield browser


@contextmanager
def aiohttp_session(server: Server, /, **settings: Any) -> Generator[WebPeer, None, None]:
    """
    Start the app. *settings* are parameters of ``RedisStorage``.
    """
    with Loop.running() as loop, loop.entered(_running(server, settings)) as browser:

        async def send_async(query: str, cookie: str) -> tuple[int, list[str], str]:
            headers = {"Cookie": cookie} if cookie else {}
            async with browser.get(f"/?{query}", headers=headers) as response:
                set_cookies = response.headers.getall("Set-Cookie", [])
                return int(response.status), set_cookies, await response.text()

        yield WebPeer(
            lambda query, cookie: loop.run(send_async(query, cookie)),
            cookie_name="AIOHTTP_SESSION",
            new_id=lambda: uuid.uuid4().hex,
            renews=False,
            has_fresh_id=True,
        )
