"""
Starlette: where exceptions go, and what the decorators do.

The whole of it, over HTTP and WebSockets, is in :mod:`web.test_with_starlette`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from datetime import timedelta

import pytest
from asgi_visits import ask, sign_in
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ExceptionHandler

from sessioncore import OutcomeUnknown, StoreUnavailable
from sessioncore_http import Edge
from sessioncore_starlette import (
    SessionMiddleware,
    fresh_login_required,
    login_required,
    session_of,
)
from web.shop import MINUTE, PASSWORD, Shop

EDGE = Edge(origins=["https://shop.example"], sign_in_path="/sign-in")


@pytest.fixture
def shop() -> Iterator[Shop]:
    with Shop() as shop:
        yield shop


class InBetween(BaseHTTPMiddleware):
    """
    Runs what is behind it in a task group of its own.
    """

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        return await call_next(request)


def app_with(
    shop: Shop,
    *routes: Route,
    behind: Sequence[Middleware] = (),
    handlers: dict[type[Exception], ExceptionHandler] | None = None,
) -> Starlette:
    sessions = Middleware(SessionMiddleware, auth=shop.async_auth, edge=EDGE)
    return Starlette(
        routes=[Route("/sign-in", enter, methods=["POST"]), *routes],
        middleware=[sessions, *behind],
        exception_handlers=handlers,
    )


async def enter(request: Request) -> Response:
    await session_of(request).login("alice", PASSWORD)
    return PlainTextResponse("welcome")


async def needs_somebody(request: Request) -> Response:
    await session_of(request).require()
    return PlainTextResponse("welcome")


async def finds_the_store_down(_request: Request) -> Response:
    raise StoreUnavailable("down, for a test")


async def does_not_know(_request: Request) -> Response:
    raise OutcomeUnknown("cut off, for a test")


class TestExceptions:
    @pytest.mark.parametrize("behind", [[], [Middleware(InBetween)]], ids=["alone", "behind"])
    def test_what_an_endpoint_lets_through_comes_to_the_middleware(
        self, shop: Shop, behind: list[Middleware]
    ) -> None:
        app = app_with(
            shop,
            Route("/interrupted", needs_somebody),
            Route("/down", finds_the_store_down),
            Route("/unknown", does_not_know),
            behind=behind,
        )
        for path, status, code in [
            ("/interrupted", 401, "sign-in-required"),
            ("/down", 503, "unavailable"),
            ("/unknown", 503, "not-confirmed"),
        ]:
            answer = ask(app, path)
            assert (answer.status_code, answer.json()["code"]) == (status, code)

    def test_a_handler_for_all_errors_does_not_get_it(self, shop: Shop) -> None:
        seen: list[Exception] = []

        def take(_request: Request, error: Exception) -> Response:
            seen.append(error)
            return PlainTextResponse("an error", 500)

        app = app_with(shop, Route("/down", finds_the_store_down), handlers={Exception: take})
        assert ask(app, "/down").status_code == 503
        assert seen == []

    def test_a_handler_of_the_application_comes_first(self, shop: Shop) -> None:
        def take(_request: Request, _error: Exception) -> Response:
            return PlainTextResponse("our own page", 503)

        handlers: dict[type[Exception], ExceptionHandler] = {StoreUnavailable: take}
        app = app_with(shop, Route("/down", finds_the_store_down), handlers=handlers)
        assert ask(app, "/down").text == "our own page"

    def test_a_sign_in_whose_response_fails_leaves_no_session(self, shop: Shop) -> None:
        async def fails(request: Request) -> Response:
            await session_of(request).login("alice", PASSWORD)
            raise ZeroDivisionError

        app = app_with(shop, Route("/fails", fails, methods=["POST"]))
        with pytest.raises(ZeroDivisionError):
            ask(app, "/fails", method="POST")
        assert shop.auth.sessions_of("u-1") == ()


class TestLoginRequired:
    def test_nobody_gets_past_it(self, shop: Shop) -> None:
        reached: list[str] = []

        @login_required
        async def guarded(request: Request) -> Response:
            reached.append(request.url.path)
            return PlainTextResponse("welcome")

        app = app_with(shop, Route("/guarded", guarded))
        assert ask(app, "/guarded").status_code == 401
        assert reached == []
        assert ask(app, "/guarded", sign_in(app)).text == "welcome"

    def test_a_window_is_sent_to_the_sign_in_page(self, shop: Shop) -> None:
        app = app_with(shop, Route("/guarded", login_required(needs_somebody)))
        answer = ask(app, "/guarded", accept="text/html")
        assert (answer.status_code, answer.headers["Location"]) == (
            303,
            "/sign-in?next=%2Fguarded",
        )

    def test_a_synchronous_endpoint_runs_in_a_thread(self, shop: Shop) -> None:
        threads: list[int] = []

        @login_required
        def guarded(_request: Request) -> Response:
            threads.append(threading.get_ident())
            return PlainTextResponse("welcome")

        app = app_with(shop, Route("/guarded", guarded))
        assert ask(app, "/guarded").status_code == 401
        assert ask(app, "/guarded", sign_in(app)).text == "welcome"
        assert threads != [threading.get_ident()]

    def test_it_guards_a_method_of_an_endpoint_class(self, shop: Shop) -> None:
        class Guarded(HTTPEndpoint):
            @login_required
            async def get(self, _request: Request) -> Response:
                return PlainTextResponse("welcome")

            @login_required
            def post(self, _request: Request) -> Response:
                return PlainTextResponse("thank you")

        app = app_with(shop, Route("/guarded", Guarded))
        cookie = sign_in(app)
        assert ask(app, "/guarded").status_code == 401
        assert ask(app, "/guarded", cookie).text == "welcome"
        assert ask(app, "/guarded", cookie, method="POST").text == "thank you"

    def test_the_endpoint_keeps_its_name(self) -> None:
        assert login_required(needs_somebody).__name__ == "needs_somebody"


class TestFreshLoginRequired:
    def test_an_old_proof_does_not_get_past_it(self, shop: Shop) -> None:
        app = app_with(
            shop,
            Route("/policy", fresh_login_required(needs_somebody)),
            Route("/soon", fresh_login_required(max_age=timedelta(minutes=5))(needs_somebody)),
        )
        cookie = sign_in(app)
        assert [ask(app, path, cookie).status_code for path in ("/policy", "/soon")] == [200, 200]
        shop.wait(6 * MINUTE)
        assert [ask(app, path, cookie).status_code for path in ("/policy", "/soon")] == [200, 401]
        assert ask(app, "/soon", cookie).json()["code"] == "step-up-required"
