"""
sessioncore for Flask: ``session`` as Flask documents it, kept on the server.

One line moves an app over::

    Sessions(app, auth=auth, edge=Edge(origins=["https://shop.example"], sign_in_path="/sign-in"))

The rules of the cookie stand in :mod:`sessioncore_http.exchange`; what is Flask's own is
told in docs/flask.md. Sessions of Flask-Session can be moved over as well:
:mod:`sessioncore_flask.migration`.
"""

from sessioncore_flask.current import current_session
from sessioncore_flask.decorators import fresh_login_required, login_required
from sessioncore_flask.extension import Sessions
from sessioncore_flask.interface import StoredSessionInterface
from sessioncore_flask.session import FlaskRequestSession, FlaskSession
from sessioncore_flask.testing import SameOriginClient

__all__ = [
    "FlaskRequestSession",
    "FlaskSession",
    "SameOriginClient",
    "Sessions",
    "StoredSessionInterface",
    "current_session",
    "fresh_login_required",
    "login_required",
]
