"""
Flask-Session on Redis.
"""

from __future__ import annotations

import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from benchmarks.races.clients import client_of
from benchmarks.races.peer import foreign
from benchmarks.races.web import Order, Visit, WebPeer, serve, through_wsgi

if TYPE_CHECKING:
    from collections.abc import Generator

    from benchmarks.races.server import Server

PACKAGES = ("Flask-Session", "Flask")


class FlaskVisit(Visit):
    """
    A request to Flask.
    """

    def __init__(self, app: Any, session: Any) -> None:
        super().__init__(session)
        self._app = app

    def fresh_id(self) -> None:
        """
        Regenerate, as the documentation advises after a login.
        """
        self.renew()

    def renew(self) -> None:
        """
        Regenerate, by the session interface.
        """
        self._app.session_interface.regenerate(self.data)


@contextmanager
def flask_session(server: Server, /, **settings: Any) -> Generator[WebPeer, None, None]:
    """
    Start the app. *settings* are of Flask's configuration.
    """
    flask = foreign("flask")
    with client_of(server) as client:
        app = flask.Flask("races")
        app.config.update(SESSION_TYPE="redis", SESSION_REDIS=client, **settings)
        foreign("flask_session").Session(app)

        def page() -> str:
            order = Order.parse(flask.request.query_string.decode())
            return serve(order, FlaskVisit(app, flask.session))

        app.add_url_rule("/", view_func=page)
        yield WebPeer(
            through_wsgi(app),
            cookie_name="session",
            new_id=lambda: secrets.token_urlsafe(32),
            renews=True,
            has_fresh_id=True,
        )
