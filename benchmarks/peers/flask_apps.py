"""
Flask: without sessions, with Flask-Session, and with sessioncore.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import flask

from benchmarks.peers.contender import HOME, KEY, ORIGIN, SIGN_IN, USER, Contender
from benchmarks.races.peer import foreign
from sessioncore_flask import Sessions, current_session
from sessioncore_http import Edge

if TYPE_CHECKING:
    from collections.abc import Callable

    from sessioncore import AuthService


def bare() -> Contender:
    """
    Make the app that knows of no sessions.
    """
    app = flask.Flask("peers")
    app.add_url_rule(HOME, view_func=lambda: USER)
    return Contender("bare", app)


def flask_session(client: Any) -> Contender:
    """
    Make the app with Flask-Session.
    """
    app = flask.Flask("peers")
    app.config["SESSION_TYPE"] = "redis"
    app.config["SESSION_REDIS"] = client
    foreign("flask_session").Session(app)
    interface: Any = app.session_interface

    def sign_in() -> str:
        flask.session[KEY] = USER
        return USER

    def load(session_id: str) -> Callable[[], object]:
        key = f"{interface.key_prefix}{session_id}"
        return lambda: interface._retrieve_session_data(key)  # noqa: SLF001 - the part that reads

    app.add_url_rule(HOME, view_func=lambda: str(flask.session.get(KEY, "")))
    app.add_url_rule(SIGN_IN, view_func=sign_in)
    return Contender("flask-session-redis", app, load=load)


def sessioncore(name: str, auth: AuthService, cookie: str) -> Contender:
    """
    Make the app with sessioncore.
    """
    app = flask.Flask("peers")
    edge = Edge(origins=[ORIGIN])
    Sessions(app, auth=auth, edge=edge)
    app.add_url_rule(HOME, view_func=lambda: current_session.user_id() or "")
    return Contender(name, app, cookie=f"{edge.cookie.name}={cookie}")
