"""
What the examples for ASGI do besides: a WebSocket that says again what it hears.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin

from servers.local import PATIENCE_SECONDS
from sessioncore_asgi import TRY_AGAIN_LATER, UNAUTHORIZED
from web.scenario import EVIL, AsgiScenario, Served
from web.visitor import COOKIE, Visitor

SOON: Final = timedelta(milliseconds=5)
"""How often the examples look whether the session is live still, while they are tested."""


class ConversationScenario(AsgiScenario):
    """
    The scenario, and the steps of the path ``/echo``.
    """

    def test_whoever_is_signed_in_may_talk(self, site: Served) -> None:
        with _talk(site.signed_in()) as socket:
            socket.send("hello")
            assert socket.recv(PATIENCE_SECONDS) == "hello"

    def test_nobody_else_may_talk(self, site: Served) -> None:
        with pytest.raises(InvalidStatus) as refused, _talk(site.visitor()):
            pass
        assert refused.value.response.status_code == 403

    def test_a_page_of_another_site_may_not_talk(self, site: Served) -> None:
        visitor = site.signed_in()
        site.shop.journal.forget()
        with pytest.raises(InvalidStatus) as refused, _talk(visitor, origin=EVIL):
            pass
        assert refused.value.response.status_code == 403
        assert site.shop.journal.names() == []

    def test_revoking_a_device_ends_what_it_talks(self, site: Served) -> None:
        here, there = site.signed_in(), site.signed_in()
        with _talk(there) as socket:
            socket.send("hello")
            assert socket.recv(PATIENCE_SECONDS) == "hello"
            here.submit("/sign-out-others")
            assert _close_code(socket) == UNAUTHORIZED

    def test_an_outage_ends_a_talk_for_now(self, site: Served) -> None:
        with _talk(site.signed_in()) as socket:
            socket.send("hello")
            assert socket.recv(PATIENCE_SECONDS) == "hello"
            site.shop.take_store_down()
            assert _close_code(socket) == TRY_AGAIN_LATER


def _talk(visitor: Visitor, origin: str | None = None) -> ClientConnection:
    headers: Mapping[str, str] = {}
    if visitor.session_id is not None:
        headers = {"Cookie": f"{COOKIE}={visitor.session_id}"}
    return connect(
        visitor.origin.replace("http", "ws", 1) + "/echo",
        origin=Origin(origin or visitor.origin),
        additional_headers=headers,
        proxy=None,
    )


def _close_code(socket: ClientConnection) -> int | None:
    with pytest.raises(ConnectionClosed) as closed:
        socket.recv(PATIENCE_SECONDS)
    frame = closed.value.rcvd
    return None if frame is None else frame.code
