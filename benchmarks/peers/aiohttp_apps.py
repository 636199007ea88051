"""
aiohttp-session: its store only, for aiohttp's requests need a server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp.test_utils import make_mocked_request
from aiohttp.web import Response
from aiohttp_session import Session
from aiohttp_session.redis_storage import RedisStorage

from benchmarks.peers.contender import HOME, KEY, USER

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


async def loader(client: Any) -> Callable[[], Awaitable[object]]:
    """
    Sign in, and make what reads that session and does no more.
    """
    storage = RedisStorage(client)
    session = Session(None, data=None, new=True)
    session[KEY] = USER
    response = Response()
    await storage.save_session(make_mocked_request("GET", HOME), response, session)
    cookie = f"{storage.cookie_name}={response.cookies[storage.cookie_name].value}"
    request = make_mocked_request("GET", HOME, headers={"Cookie": cookie})
    return lambda: storage.load_session(request)
