"""
A front end on another origin: the recipe of docs/http.md, with Starlette and with flask-cors.

What a browser would make of the headers is decided here by the rules of the Fetch
standard, sections 3.2.2 to 3.2.5; that is what "readable" means.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal

import pytest
from flask import Flask, jsonify, request
from flask_cors import CORS
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from browser.sites import Site, Sites
from sessioncore import LoggedIn
from sessioncore_asgi import SessionMiddleware as AsgiSessionMiddleware
from sessioncore_asgi import session_of as session_of_scope
from sessioncore_flask import Sessions, current_session
from sessioncore_http import Edge, SameSite, SessionCookie, UnsafeConfiguration
from sessioncore_wsgi import SessionMiddleware as WsgiSessionMiddleware
from sessioncore_wsgi import session_of
from web.shop import PASSWORD, USER_ID, Shop
from web.visitor import Answer, Visitor

FRONT_END: Final = "https://app.shop.example"
EVIL: Final = "https://evil.example"

Setting = Literal["the recipe", "every origin", "every origin, without credentials"]
SETTINGS: Final[dict[Setting, tuple[list[str], bool]]] = {
    "the recipe": ([FRONT_END], True),
    "every origin": (["*"], True),
    "every origin, without credentials": (["*"], False),
}


def with_starlette(site: Site, shop: Shop, edge: Edge, setting: Setting) -> None:
    async def me(request: Request) -> Response:
        session = await session_of_scope(request.scope).require()
        return JSONResponse({"user_id": session.user_id})

    async def sign_in(request: Request) -> Response:
        fields = await request.json()
        outcome = await session_of_scope(request.scope).login("alice", fields["password"])
        return JSONResponse({"ok": isinstance(outcome, LoggedIn)})

    origins, credentials = SETTINGS[setting]
    app = Starlette(
        routes=[Route("/api/me", me), Route("/api/sign-in", sign_in, methods=["POST"])],
        middleware=[
            Middleware(AsgiSessionMiddleware, auth=shop.async_auth, edge=edge),
            Middleware(
                CORSMiddleware,
                allow_origins=origins,
                allow_credentials=credentials,
                allow_methods=["GET", "POST"],
                allow_headers=["Content-Type"],
                expose_headers=["Retry-After"],
            ),
        ],
    )
    site.serve_asgi(app)


def with_flask_cors(site: Site, shop: Shop, edge: Edge, setting: Setting) -> None:
    app = Flask(__name__)
    app.config["PROPAGATE_EXCEPTIONS"] = True  # to the middleware

    @app.get("/api/me")
    def me() -> Any:
        return jsonify(user_id=session_of(request.environ).require().user_id)

    @app.post("/api/sign-in")
    def sign_in() -> Any:
        fields: Any = request.get_json()
        outcome = session_of(request.environ).login("alice", fields["password"])
        return jsonify(ok=isinstance(outcome, LoggedIn))

    origins, credentials = SETTINGS[setting]
    CORS(
        app,
        origins=origins,
        supports_credentials=credentials,
        methods=["GET", "POST"],
        allow_headers=["Content-Type"],
        expose_headers=["Retry-After"],
    )
    site.serve_wsgi(WsgiSessionMiddleware(app.wsgi_app, shop.auth, edge))


def with_flask(site: Site, shop: Shop, edge: Edge, setting: Setting) -> None:
    app = Flask(__name__)
    Sessions(app, auth=shop.auth, edge=edge)

    @app.get("/api/me")
    def me() -> Any:
        return jsonify(user_id=current_session.require().user_id)

    @app.post("/api/sign-in")
    def sign_in() -> Any:
        fields: Any = request.get_json()
        outcome = current_session.login("alice", fields["password"])
        return jsonify(ok=isinstance(outcome, LoggedIn))

    origins, credentials = SETTINGS[setting]
    CORS(
        app,
        origins=origins,
        supports_credentials=credentials,
        methods=["GET", "POST"],
        allow_headers=["Content-Type"],
        expose_headers=["Retry-After"],
    )
    site.serve_wsgi(app)


Serve = Callable[[Site, Shop, Edge, Setting], None]
LIBRARIES: Final[list[Serve]] = [with_starlette, with_flask_cors, with_flask]


class FrontEnd(Visitor):
    """
    A browser with a page of some origin, whose script calls the site.
    """

    def call(
        self, page: str, target: str, method: str = "GET", body: str | None = None
    ) -> Answer | None:
        """
        Do what ``fetch(target, {credentials: "include", ...})`` does on *page*.

        Returns:
            The answer, or ``None`` if the script gets an error instead of it.
        """
        headers = {"Origin": page, "Sec-Fetch-Mode": "cors", "Accept": "*/*"}
        headers["Sec-Fetch-Site"] = "cross-site" if page == EVIL else "same-site"
        if body is not None:
            asked = {
                **headers,
                "Access-Control-Request-Method": method,
                "Access-Control-Request-Headers": "content-type",
            }
            jar, self.jar = self.jar, {}  # a preflight brings no cookies
            preflight = self.request("OPTIONS", target, headers=asked)
            self.jar = jar
            if not (
                preflight.status in range(200, 300)
                and self.is_readable(preflight, page)
                and "content-type" in preflight.listed("Access-Control-Allow-Headers")
            ):
                return None
            headers["Content-Type"] = "application/json"
        answer = self.request(method, target, None if body is None else body.encode(), headers)
        return answer if self.is_readable(answer, page) else None

    @staticmethod
    def is_readable(answer: Answer, page: str) -> bool:
        """
        Whether a browser lets a page read a response to a request with credentials.
        """
        return (
            answer.one("Access-Control-Allow-Origin") == page
            and answer.one("Access-Control-Allow-Credentials") == "true"
        )


@pytest.fixture(params=LIBRARIES, ids=["starlette", "flask-cors", "flask"])
def library(request: pytest.FixtureRequest) -> Serve:
    found: Serve = request.param
    return found


def start(library: Serve, sites: Sites, shop: Shop, setting: Setting = "the recipe") -> FrontEnd:
    site = sites.at("http://127.0.0.1")
    edge = Edge(origins=[site.origin], trusted_origins=[FRONT_END], sign_in_path="/sign-in")
    library(site, shop, edge, setting)
    shop.journal.forget()
    return FrontEnd(site.origin)


def signed_in(front_end: FrontEnd) -> FrontEnd:
    answer = front_end.call(FRONT_END, "/api/sign-in", "POST", f'{{"password": "{PASSWORD}"}}')
    assert answer is not None
    assert answer.json == {"ok": True}
    assert front_end.session_id is not None
    return front_end


def test_a_trusted_front_end_signs_in_and_reads(library: Serve, sites: Sites, shop: Shop) -> None:
    front_end = signed_in(start(library, sites, shop))
    answer = front_end.call(FRONT_END, "/api/me")
    assert answer is not None
    assert answer.json == {"user_id": USER_ID}
    assert "cookie" in answer.listed("Vary")
    assert answer.listed("Cache-Control") == {"no-store"}


def test_it_reads_also_why_it_was_refused(library: Serve, sites: Sites, shop: Shop) -> None:
    front_end = start(library, sites, shop)
    answer = front_end.call(FRONT_END, "/api/me")
    assert answer is not None
    assert (answer.status, answer.json["code"]) == (401, "sign-in-required")
    signed_in(front_end)
    shop.take_store_down()
    answer = front_end.call(FRONT_END, "/api/me")
    assert answer is not None
    assert (answer.status, answer.json["code"]) == (503, "unavailable")
    assert "retry-after" in answer.listed("Access-Control-Expose-Headers")


@pytest.mark.parametrize("setting", SETTINGS)
def test_another_site_reads_and_does_nothing_whatever_the_library_was_told(
    library: Serve, sites: Sites, shop: Shop, setting: Setting
) -> None:
    front_end = start(library, sites, shop, setting)
    assert shop.auth.sessions_of(USER_ID) == ()
    if setting != "every origin, without credentials":
        signed_in(front_end)
    assert front_end.call(EVIL, "/api/me") is None
    answer = front_end.call(EVIL, "/api/sign-in", "POST", f'{{"password": "{PASSWORD}"}}')
    assert answer is None or answer.status == 403
    # A form needs no preflight.
    before = len(shop.auth.sessions_of(USER_ID))
    posted = front_end.post("/api/sign-in", {"password": PASSWORD}, {"Origin": EVIL})
    assert posted.status == 403
    assert len(shop.auth.sessions_of(USER_ID)) == before


def test_what_is_the_same_for_everybody_may_be_read_by_everybody(
    library: Serve, sites: Sites, shop: Shop
) -> None:
    # Nobody asks for the session of a path that is not there.
    front_end = start(library, sites, shop, "every origin")
    answer = front_end.call(EVIL, "/nowhere")
    assert answer is not None
    assert answer.status == 404


@pytest.mark.parametrize("library", [with_starlette, with_flask_cors], indirect=True)
def test_an_answer_of_the_middleware_names_nobody_whom_it_does_not_trust(
    library: Serve, sites: Sites, shop: Shop
) -> None:
    front_end = start(library, sites, shop, "every origin, without credentials")
    for headers in (
        {"Origin": EVIL},
        {"Origin": "null"},
        {},
        {"Origin": front_end.origin, "Sec-Fetch-Site": "same-origin"},
    ):
        answer = front_end.request("GET", "/api/me", headers=headers)
        assert answer.status == 401
        assert answer.all("Access-Control-Allow-Origin") == []
        assert answer.all("Access-Control-Allow-Credentials") == []


@pytest.mark.parametrize("wildcard", ["*", "null", "https://*.shop.example", "*.shop.example"])
def test_every_origin_is_refused_as_a_trusted_one(wildcard: str) -> None:
    with pytest.raises(UnsafeConfiguration):
        Edge(origins=["https://shop.example"], trusted_origins=[wildcard])


def test_a_front_end_on_another_site_needs_a_cookie_that_is_weaker_with_a_reason() -> None:
    with pytest.raises(UnsafeConfiguration, match="weaker_because"):
        SessionCookie(same_site=SameSite.NONE, partitioned=True)
    cookie = SessionCookie(
        same_site=SameSite.NONE, partitioned=True, weaker_because="embedded in partners' sites"
    )
    assert cookie.deleted() == (
        "__Host-session=; Path=/; Secure; HttpOnly; SameSite=None; Partitioned; Max-Age=0"
    )
