"""
FastAPI: the dependencies, and what the documents say of them.

The whole of it, over HTTP and WebSockets, is in :mod:`web.test_with_fastapi`.
"""

# FastAPI reads annotations at run time, so they are not postponed here.
import threading
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from functools import partial
from typing import Annotated, Any

import anyio.from_thread
import pytest
from asgi_visits import ask, sign_in
from fastapi import APIRouter, Depends, FastAPI, Request, Response
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint

from sessioncore import LoggedIn, Session, StoreUnavailable
from sessioncore_fastapi import (
    PROBLEMS,
    CurrentSession,
    FreshlySignedIn,
    SessionMiddleware,
    SignedIn,
    fresh,
    signed_in,
)
from sessioncore_http import Edge
from web.shop import MINUTE, PASSWORD, Shop

EDGE = Edge(origins=["https://shop.example"], sign_in_path="/sign-in")


@pytest.fixture
def shop() -> Iterator[Shop]:
    with Shop() as shop:
        yield shop


@pytest.fixture
def app(shop: Shop) -> FastAPI:
    app = FastAPI()
    app.add_middleware(SessionMiddleware, auth=shop.async_auth, edge=EDGE)

    @app.post("/sign-in")
    async def enter(current: CurrentSession) -> None:
        assert isinstance(await current.login("alice", PASSWORD), LoggedIn)

    return app


def operation(app: FastAPI, path: str, method: str = "get") -> dict[str, Any]:
    found: dict[str, Any] = app.openapi()["paths"][path][method]
    return found


class TestDependencies:
    def test_whoever_is_signed_in_is_handed_over(self, app: FastAPI) -> None:
        @app.get("/who")
        async def who(session: SignedIn) -> str | None:
            return session.user_id

        assert ask(app, "/who").json()["code"] == "sign-in-required"
        assert ask(app, "/who", sign_in(app)).json() == "u-1"

    def test_an_operation_in_a_thread_gets_the_session_that_was_found_before(
        self, app: FastAPI
    ) -> None:
        threads: list[int] = []

        @app.get("/who")
        def who(session: SignedIn) -> str | None:
            threads.append(threading.get_ident())
            return session.user_id

        assert ask(app, "/who").status_code == 401
        assert ask(app, "/who", sign_in(app)).json() == "u-1"
        assert len(threads) == 1
        assert threads != [threading.get_ident()]

    def test_an_operation_in_a_thread_may_call_the_session_in_the_loop(self, app: FastAPI) -> None:
        @app.post("/by-thread")
        def enter(current: CurrentSession) -> None:
            outcome = anyio.from_thread.run(partial(current.login, "alice", PASSWORD, keep=["a"]))
            assert isinstance(outcome, LoggedIn)

        answer = ask(app, "/by-thread", method="POST")
        assert answer.headers["Set-Cookie"].startswith("__Host-session=")

    def test_several_dependencies_cost_one_round_trip(self, app: FastAPI, shop: Shop) -> None:
        @app.get("/who")
        async def who(session: SignedIn, fresh: FreshlySignedIn, current: CurrentSession) -> bool:
            return session == fresh == await current.session()

        cookie = sign_in(app)
        shop.journal.forget()
        assert ask(app, "/who", cookie).json() is True
        assert shop.journal.names() == ["find"]

    def test_an_old_proof_is_not_fresh(self, app: FastAPI, shop: Shop) -> None:
        @app.get("/policy")
        async def policy(_session: FreshlySignedIn) -> None: ...

        @app.get("/soon")
        async def soon(_session: Annotated[Session, fresh(timedelta(minutes=5))]) -> None: ...

        cookie = sign_in(app)
        assert [ask(app, path, cookie).status_code for path in ("/policy", "/soon")] == [200, 200]
        shop.wait(6 * MINUTE)
        assert [ask(app, path, cookie).status_code for path in ("/policy", "/soon")] == [200, 401]
        assert ask(app, "/soon", cookie).json()["code"] == "step-up-required"

    def test_a_router_may_ask_for_all_its_operations(self, app: FastAPI) -> None:
        router = APIRouter(dependencies=[signed_in()])

        @router.get("/guarded")
        async def guarded() -> str:
            return "welcome"

        app.include_router(router)
        assert ask(app, "/guarded").status_code == 401
        assert ask(app, "/guarded", sign_in(app)).json() == "welcome"
        assert "security" in operation(app, "/guarded")


class TestExceptions:
    def test_what_an_operation_lets_through_comes_to_the_middleware(self, app: FastAPI) -> None:
        async def tidied() -> AsyncIterator[None]:
            yield

        @app.get("/down", dependencies=[Depends(tidied)])
        def down() -> None:
            raise StoreUnavailable("down, for a test")

        assert ask(app, "/down").json()["code"] == "unavailable"

    def test_a_middleware_with_a_task_group_in_between_does_not_matter(
        self, app: FastAPI, shop: Shop
    ) -> None:
        class InBetween(BaseHTTPMiddleware):
            async def dispatch(
                self, request: Request, call_next: RequestResponseEndpoint
            ) -> Response:
                return await call_next(request)

        sessions = Middleware(SessionMiddleware, auth=shop.async_auth, edge=EDGE)
        behind = FastAPI(middleware=[sessions, Middleware(InBetween)])

        @behind.get("/who")
        async def who(_session: SignedIn) -> None: ...

        cookie = sign_in(app)
        assert ask(behind, "/who", cookie).status_code == 200
        assert ask(behind, "/who").json()["code"] == "sign-in-required"
        shop.take_store_down()
        assert ask(behind, "/who", cookie).json()["code"] == "unavailable"


class TestDocuments:
    def test_the_cookie_is_a_security_scheme(self, app: FastAPI) -> None:
        @app.get("/who")
        async def who(_session: SignedIn) -> None: ...

        @app.get("/secret")
        async def secret(_session: FreshlySignedIn) -> None: ...

        schemes = app.openapi()["components"]["securitySchemes"]
        assert schemes == {"session": {"type": "apiKey", "in": "cookie", "name": "__Host-session"}}
        assert operation(app, "/who")["security"] == [{"session": []}]
        assert operation(app, "/secret")["security"] == [{"session": []}]

    def test_an_operation_that_visitors_may_ask_for_has_no_lock(self, app: FastAPI) -> None:
        assert "security" not in operation(app, "/sign-in", "post")

    def test_the_cookie_may_have_another_name(self, app: FastAPI) -> None:
        @app.get("/who")
        async def who(
            _session: Annotated[Session, signed_in(cookie_name="__Host-shop")],
        ) -> None: ...

        assert app.openapi()["components"]["securitySchemes"]["session"]["name"] == "__Host-shop"

    def test_refusals_and_outages_are_documented(self, app: FastAPI) -> None:
        @app.get("/who", responses=PROBLEMS)
        async def who(_session: SignedIn) -> None: ...

        responses = operation(app, "/who")["responses"]
        assert {"401", "403", "503"} <= responses.keys()
        assert list(responses["401"]["content"]) == ["application/problem+json"]

    def test_what_is_documented_is_what_comes(self, app: FastAPI) -> None:
        @app.get("/who", responses=PROBLEMS)
        async def who(_session: SignedIn) -> None: ...

        documented = operation(app, "/who")["responses"]["401"]["content"]
        answer = ask(app, "/who")
        schema = documented[answer.headers["Content-Type"]]["schema"]
        assert answer.json().keys() == schema["properties"].keys() == set(schema["required"])
