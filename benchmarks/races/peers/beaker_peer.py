"""
Beaker on Redis.
"""

from __future__ import annotations

import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from benchmarks.races.clients import client_of
from benchmarks.races.peer import foreign
from benchmarks.races.web import Order, Visit, WebPeer, serve, through_wsgi

if TYPE_CHECKING:
    from collections.abc import Generator

    from benchmarks.races.server import Server

PACKAGES = ("Beaker",)


class BeakerVisit(Visit):
    """
    A request with a Beaker session.
    """

    def __init__(self, session: Any) -> None:
        super().__init__(session)
        self._session = session

    def fresh_id(self) -> None:
        """
        Regenerate the id, as the documentation advises.
        """
        self._session.regenerate_id()

    def sign_out(self) -> None:
        """
        Delete the session.
        """
        self._session.delete()

    def renew(self) -> None:
        """
        Regenerate the id.
        """
        self._session.regenerate_id()

    def changed(self) -> None:
        """
        Save, without which nothing is kept.
        """
        self._session.save()


@contextmanager
def beaker(server: Server, /, **settings: Any) -> Generator[WebPeer, None, None]:
    """
    Start the app. *settings* are options of Beaker's sessions.
    """

    def app(environ: Any, start_response: Any) -> list[bytes]:
        order = Order.parse(environ["QUERY_STRING"])
        text = serve(order, BeakerVisit(environ["beaker.session"]))
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [text.encode()]

    with client_of(server) as client:
        options = {"session.type": "ext:redis", "session.url": client}
        options |= {f"session.{name}": value for name, value in settings.items()}
        yield WebPeer(
            through_wsgi(foreign("beaker.middleware").SessionMiddleware(app, options)),
            cookie_name="beaker.session.id",
            new_id=lambda: uuid.uuid4().hex,
            renews=True,
            has_fresh_id=True,
        )
