"""
WSGI without a framework: without sessions, with Beaker, and with sessioncore.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.peers.contender import KEY, ORIGIN, SIGN_IN, USER, Contender
from benchmarks.races.peer import foreign
from sessioncore_http import Edge
from sessioncore_wsgi import SessionMiddleware, session_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from sessioncore import AuthService


def _page(user: str, start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8")])
    return [user.encode()]


def bare() -> Contender:
    """
    Make the app that knows of no sessions.
    """

    def app(_environ: Any, start_response: Any) -> list[bytes]:
        return _page(USER, start_response)

    return Contender("bare", app)


def beaker(client: Any) -> Contender:
    """
    Make the app with Beaker.
    """

    def app(environ: Any, start_response: Any) -> list[bytes]:
        session = environ["beaker.session"]
        if environ["PATH_INFO"] == SIGN_IN:
            session[KEY] = USER
            session.save()
        return _page(session.get(KEY, ""), start_response)

    def load(session_id: str) -> Callable[[], object]:
        session = foreign("beaker.session").Session
        # With an id, it is read when it is made.
        return lambda: session({}, id=session_id, use_cookies=False, type="ext:redis", url=client)

    options = {"session.type": "ext:redis", "session.url": client}
    middleware = foreign("beaker.middleware").SessionMiddleware(app, options)
    return Contender("beaker-redis", middleware, load=load)


def sessioncore(name: str, auth: AuthService, cookie: str) -> Contender:
    """
    Make the app with sessioncore.
    """

    def app(environ: Any, start_response: Any) -> list[bytes]:
        return _page(session_of(environ).user_id() or "", start_response)

    edge = Edge(origins=[ORIGIN])
    return Contender(
        name, SessionMiddleware(app, auth, edge), cookie=f"{edge.cookie.name}={cookie}"
    )
