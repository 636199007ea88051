"""
A test client that passes for a page of the site itself.
"""

from __future__ import annotations

from typing import Any

from flask.testing import FlaskClient


class SameOriginClient(FlaskClient):
    """
    Flask's test client, which also says what browsers say: who causes its requests.

    Without that, a request that brings the cookie and changes something is refused. To play
    another site's page, pass ``headers={"Sec-Fetch-Site": "cross-site"}``.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.environ_base["HTTP_SEC_FETCH_SITE"] = "same-origin"
