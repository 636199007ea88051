"""
Litestar: where exceptions go, the guards, and what the documents say of them.

The whole of it, over HTTP and WebSockets, is in :mod:`web.test_with_litestar`.
"""

# Litestar reads annotations at run time, so they are not postponed here.
import logging
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from asgi_visits import ORIGIN, ask, sign_in
from litestar import Litestar, Request, Response, Router, get, post
from litestar.config.cors import CORSConfig
from litestar.middleware.logging import LoggingMiddlewareConfig
from litestar.openapi import OpenAPIConfig
from litestar.openapi.spec import Components, SecurityScheme

from sessioncore import LoggedIn, OutcomeUnknown, StoreError, StoreUnavailable
from sessioncore_http import Edge, UnsafeConfiguration
from sessioncore_litestar import (
    CurrentSession,
    SessionPlugin,
    requires_fresh_proof,
    requires_sign_in,
)
from web.shop import MINUTE, PASSWORD, Shop


@pytest.fixture
def shop() -> Iterator[Shop]:
    with Shop() as shop:
        yield shop


@post("/sign-in")
async def enter(request_session: CurrentSession) -> None:
    assert isinstance(await request_session.login("alice", PASSWORD), LoggedIn)


@get("/needs")
async def needs_somebody(request_session: CurrentSession) -> str | None:
    return (await request_session.require()).user_id


@get("/down")
async def finds_the_store_down() -> None:
    raise StoreUnavailable("down, for a test")


@get("/unknown")
async def does_not_know() -> None:
    raise OutcomeUnknown("cut off, for a test")


@get("/guarded", guards=[requires_sign_in])
async def guarded() -> str:
    return "welcome"


def app_with(shop: Shop, *handlers: Any, **settings: Any) -> Litestar:
    edge = Edge(origins=["https://shop.example"], sign_in_path="/sign-in")
    return Litestar([enter, *handlers], plugins=[SessionPlugin(shop.async_auth, edge)], **settings)


def document(app: Litestar) -> dict[str, Any]:
    return app.openapi_schema.to_schema()


class TestExceptions:
    @pytest.mark.parametrize(
        ("path", "status", "code"),
        [
            ("/needs", 401, "sign-in-required"),
            ("/guarded", 401, "sign-in-required"),
            ("/down", 503, "unavailable"),
            ("/unknown", 503, "not-confirmed"),
        ],
    )
    def test_what_a_handler_lets_through_comes_to_the_middleware(
        self, shop: Shop, path: str, status: int, code: str
    ) -> None:
        app = app_with(shop, needs_somebody, guarded, finds_the_store_down, does_not_know)
        answer = ask(app, path)
        assert (answer.status_code, answer.json()["code"]) == (status, code)

    def test_an_exception_handler_of_the_application_comes_first(self, shop: Shop) -> None:
        def take(_request: Request[Any, Any, Any], _error: StoreError) -> Response[str]:
            return Response("our own page", status_code=503)

        app = app_with(shop, finds_the_store_down, exception_handlers={StoreError: take})
        assert ask(app, "/down").text == "our own page"

    def test_a_handler_for_every_500_does_not_get_it(self, shop: Shop) -> None:
        def take(_request: Request[Any, Any, Any], _error: Exception) -> Response[str]:
            return Response("an error", status_code=500)

        app = app_with(shop, finds_the_store_down, exception_handlers={500: take})
        assert ask(app, "/down").json()["code"] == "unavailable"

    def test_hooks_of_the_application_see_it(self, shop: Shop) -> None:
        seen: list[Exception] = []

        async def see(error: Exception, _scope: Any) -> None:
            seen.append(error)

        app = app_with(shop, finds_the_store_down, after_exception=[see])
        assert ask(app, "/down").status_code == 503
        assert [type(error) for error in seen] == [StoreUnavailable]


class TestGuards:
    def test_nobody_gets_past_it(self, shop: Shop) -> None:
        app = app_with(shop, guarded)
        assert ask(app, "/guarded").status_code == 401
        assert ask(app, "/guarded", sign_in(app)).text == "welcome"

    def test_a_window_is_sent_to_the_sign_in_page(self, shop: Shop) -> None:
        answer = ask(app_with(shop, guarded), "/guarded", accept="text/html")
        assert (answer.status_code, answer.headers["Location"]) == (
            303,
            "/sign-in?next=%2Fguarded",
        )

    def test_a_router_may_ask_for_all_its_handlers(self, shop: Shop) -> None:
        @get("/")
        async def inner() -> str:
            return "welcome"

        app = app_with(shop, Router("/inner", route_handlers=[inner], guards=[requires_sign_in]))
        assert ask(app, "/inner").status_code == 401
        assert ask(app, "/inner", sign_in(app)).text == "welcome"

    def test_an_old_proof_is_not_fresh(self, shop: Shop) -> None:
        @get("/policy", guards=[requires_fresh_proof()])
        async def policy() -> None: ...

        @get("/soon", guards=[requires_fresh_proof(timedelta(minutes=5))])
        async def soon() -> None: ...

        app = app_with(shop, policy, soon)
        cookie = sign_in(app)
        assert [ask(app, path, cookie).status_code for path in ("/policy", "/soon")] == [200, 200]
        shop.wait(6 * MINUTE)
        assert [ask(app, path, cookie).status_code for path in ("/policy", "/soon")] == [200, 401]
        assert ask(app, "/soon", cookie).json()["code"] == "step-up-required"

    def test_guard_and_handler_cost_one_round_trip(self, shop: Shop) -> None:
        @get("/who", guards=[requires_sign_in])
        async def who(request_session: CurrentSession) -> str | None:
            return await request_session.user_id()

        app = app_with(shop, who)
        cookie = sign_in(app)
        shop.journal.forget()
        assert ask(app, "/who", cookie).text == "u-1"
        assert shop.journal.names() == ["find"]


class TestDocuments:
    def test_the_cookie_is_a_security_scheme(self, shop: Shop) -> None:
        schemes = document(app_with(shop, guarded))["components"]["securitySchemes"]
        assert schemes == {"session": {"type": "apiKey", "in": "cookie", "name": "__Host-session"}}

    def test_the_lock_is_where_a_guard_of_ours_stands(self, shop: Shop) -> None:
        paths = document(app_with(shop, guarded, needs_somebody))["paths"]
        assert paths["/guarded"]["get"]["security"] == [{"session": []}]
        assert "security" not in paths["/needs"]["get"]

    @pytest.mark.parametrize("as_list", [True, False])
    def test_what_the_application_describes_is_kept(self, shop: Shop, as_list: bool) -> None:
        theirs = Components(security_schemes={"key": SecurityScheme(type="http", scheme="basic")})
        components: Any = [theirs] if as_list else theirs
        config = OpenAPIConfig(title="Shop", version="1", components=components)
        described = document(app_with(shop, guarded, openapi_config=config))
        assert described["info"]["title"] == "Shop"
        assert described["components"]["securitySchemes"].keys() == {"session", "key"}

    def test_an_application_need_not_describe_itself(self, shop: Shop) -> None:
        app = app_with(shop, guarded, openapi_config=None)
        assert ask(app, "/guarded", sign_in(app)).text == "welcome"


class TestCors:
    def test_credentials_for_every_origin_are_refused(self, shop: Shop) -> None:
        with pytest.raises(UnsafeConfiguration, match=r"cors_config.*'\*'"):
            app_with(shop, cors_config=CORSConfig(allow_origins=["*"], allow_credentials=True))

    @pytest.mark.parametrize(
        "origin", ["https://evil.example", "https://*.shop.example", "http://shop.example"]
    )
    def test_credentials_for_an_origin_that_is_not_trusted_are_refused(
        self, shop: Shop, origin: str
    ) -> None:
        cors = CORSConfig(allow_origins=["https://shop.example", origin], allow_credentials=True)
        with pytest.raises(UnsafeConfiguration, match="trusted_origins"):
            app_with(shop, cors_config=cors)

    def test_a_pattern_of_origins_is_refused_with_credentials(self, shop: Shop) -> None:
        cors = CORSConfig(
            allow_origins=["https://shop.example"],
            allow_origin_regex=r"https://.*shop\.example",
            allow_credentials=True,
        )
        with pytest.raises(UnsafeConfiguration, match="allow_origin_regex"):
            app_with(shop, cors_config=cors)

    def test_a_trusted_origin_may_read_with_credentials(self, shop: Shop) -> None:
        front_end = "https://app.shop.example"
        edge = Edge(origins=["https://shop.example"], trusted_origins=[front_end])
        app = Litestar(
            [enter, guarded],
            plugins=[SessionPlugin(shop.async_auth, edge)],
            cors_config=CORSConfig(allow_origins=[front_end, ORIGIN], allow_credentials=True),
        )
        answer = ask(app, "/guarded", sign_in(app))
        assert answer.text == "welcome"
        assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
        assert answer.headers["Access-Control-Allow-Credentials"] == "true"

    def test_every_origin_may_read_without_credentials(self, shop: Shop) -> None:
        app = app_with(shop, guarded, cors_config=CORSConfig(allow_origins=["*"]))
        answer = ask(app, "/guarded", sign_in(app))
        assert answer.text == "welcome"
        assert "Access-Control-Allow-Credentials" not in answer.headers


def logger_called(name: str | None = None) -> Any:
    # Litestar has a protocol of its own for loggers.
    return logging.getLogger(name)


class TestLogs:
    def test_requests_are_logged_without_ids(
        self, shop: Shop, caplog: pytest.LogCaptureFixture
    ) -> None:
        config = LoggingMiddlewareConfig(request_cookies_to_obfuscate={"other"})
        app = app_with(shop, guarded, middleware=[config.middleware], logging_config=None)
        app.get_logger = logger_called
        with caplog.at_level(logging.INFO):
            cookie = sign_in(app)
            assert ask(app, "/guarded", f"{cookie}; other=hidden; theme=dark").text == "welcome"
        name, _, session_id = cookie.partition("=")
        assert f'"{name}":"*****"' in caplog.text
        assert '"theme":"dark"' in caplog.text
        assert session_id not in caplog.text
        assert "hidden" not in caplog.text

    def test_the_configuration_that_was_given_is_left_as_it_is(self, shop: Shop) -> None:
        config = LoggingMiddlewareConfig()
        app_with(shop, guarded, middleware=[config.middleware])
        assert config == LoggingMiddlewareConfig()
