"""
A small shop on sessioncore, for the tests in a browser.

One set of pages, written as coroutines, that is served by the WSGI middleware or by the
ASGI one. The stores are those in memory, and the clock stands still until it is moved.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from html import escape
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import parse_qs

from playwright.sync_api import Page

import sessioncore_asgi
import sessioncore_wsgi
from browser.chromium import cookies_for
from browser.sites import AsgiApplication, Site, Sites, cookies_apart
from servers.local import PATIENCE_SECONDS
from sessioncore import (
    Active,
    AsyncAuthService,
    AuthService,
    LoggedIn,
    Policies,
    Policy,
    Rotated,
)
from sessioncore.events import Event
from sessioncore.testing import ManualClock, RecordingEvents
from sessioncore_argon2 import Argon2Parameters, Argon2PasswordHasher
from sessioncore_argon2.aio import AsyncArgon2PasswordHasher
from sessioncore_http import Edge, Interruption, RequestSession, problem_of
from sessioncore_memory import (
    AsyncMemoryCredentialStore,
    AsyncMemorySessionStore,
    MemoryCredentialStore,
    MemorySessionStore,
)

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

T = TypeVar("T")
EventT = TypeVar("EventT", bound=Event)
Headers = list[tuple[str, str]]

PASSWORD: Final = "correct horse"
CHEAP: Final = Argon2Parameters(memory_kib=8, passes=1, weaker_because="tests")
HASHER: Final = Argon2PasswordHasher(CHEAP)

BROWSER: Final = Policy(idle_timeout=timedelta(minutes=30), absolute_timeout=timedelta(hours=12))
REMEMBERED: Final = Policy.remembered()
RENEWAL: Final = timedelta(minutes=15)
"""After which the id is due to be renewed."""

IS_ENDED_EVERY: Final = timedelta(milliseconds=10)
"""How often a WebSocket looks whether its session is live."""

HTML: Final = "text/html; charset=utf-8"
JSON: Final = "application/json"
SVG: Final = "image/svg+xml"

FORM: Final = "<form method=post action='{}'><button>{}</button></form>"


@dataclass(frozen=True)
class Request:
    """
    What the pages need to know of a request.
    """

    method: str
    path: str
    query: str
    origin: str | None
    body: bytes

    @property
    def form(self) -> dict[str, str]:
        return {name: values[-1] for name, values in parse_qs(self.body.decode()).items()}


@dataclass(frozen=True)
class Reply:
    """
    What a page answers.
    """

    text: str
    kind: str = HTML
    status: HTTPStatus = HTTPStatus.OK
    headers: tuple[tuple[str, str], ...] = ()

    @classmethod
    def see(cls, path: str) -> Reply:
        return cls("", status=HTTPStatus.SEE_OTHER, headers=(("Location", path),))

    @property
    def all_headers(self) -> Headers:
        # A length, so that HTTP/1.0 knows whether all has arrived.
        length = str(len(self.text.encode()))
        return [("Content-Type", self.kind), ("Content-Length", length), *self.headers]


@dataclass(frozen=True)
class Seen:
    """
    One exchange, as it was on the wire.
    """

    method: str
    path: str
    cookies: tuple[str, ...] = field(repr=False)
    """The ``Cookie`` headers, as they came."""

    site: str | None
    """``Sec-Fetch-Site``."""

    origin: str | None
    status: int
    headers: Headers = field(repr=False)

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]


def unaltered(headers: Headers) -> Headers:
    return headers


class Shop:
    """
    A shop with the customers alice, bob and mallory, at a site of its own.

    Args:
        site: Where it is.

        readers: The origins whose pages may read what it answers (CORS); "any" for
            whoever asks, which is the mistake that applications make.

        altered: What becomes of headers behind the middleware's back, to show an attack.

        settings: Of the :class:`~sessioncore_http.Edge`.
    """

    def __init__(
        self,
        site: Site,
        *,
        readers: Collection[str] = (),
        altered: Callable[[Headers], Headers] = unaltered,
        **settings: Any,
    ) -> None:
        self.site = site
        self.origin = site.origin
        self.clock = ManualClock()
        self.events = RecordingEvents()
        self.orders: list[str | None] = []
        """Who has ordered."""

        self.seen: list[Seen] = []
        self.held: dict[str, Gate] = {}
        """Requests to stop before they reach the middleware, by their paths."""

        self.held_answers: dict[str, Gate] = {}
        """The same, before their responses start."""

        self._readers = readers
        self._altered = altered
        self._sessions = MemorySessionStore()
        self._credentials = MemoryCredentialStore()
        for name in ("alice", "bob", "mallory"):
            encoded = HASHER.hash(PASSWORD)
            assert isinstance(encoded, str)
            self._credentials.add_user(f"id-of-{name}", name, encoded)
        self.auth = AuthService(
            sessions=self._sessions,
            credentials=self._credentials,
            policy=Policies(BROWSER, REMEMBERED),
            passwords=HASHER,
            events=self.events,
            clock=self.clock,
        )
        self._edge = Edge(
            origins=[site.origin], sign_in_path="/sign-in", step_up_path="/step-up", **settings
        )
        self._six_are_here: Callable[[], Awaitable[object]] = _nobody_meets

    # -- For tests ----------------------------------------------------------------

    def url(self, path: str = "/") -> str:
        return self.site.url(path)

    def told(self, kind: type[EventT]) -> list[EventT]:
        """
        The events of one kind, so far.
        """
        return [event for event in self.events.events if isinstance(event, kind)]

    def seen_at(self, path: str, method: str | None = None) -> list[Seen]:
        """
        What came to a path, and what was answered.
        """
        return [s for s in self.seen if s.path == path and method in {None, s.method}]

    def hold(self, path: str) -> Gate:
        """
        Stop the next request to *path* before the middleware. WSGI only.
        """
        self.held[path] = Gate()
        return self.held[path]

    def hold_answer(self, path: str) -> Gate:
        """
        Stop the next response at *path* before it starts. WSGI only.
        """
        self.held_answers[path] = Gate()
        return self.held_answers[path]

    def is_live(self, session_id: str) -> bool:
        """
        Whether an id is accepted, asked without being a sign of life.
        """
        return isinstance(self.auth.authenticate(session_id, passive=True), Active)

    # -- Pages --------------------------------------------------------------------

    async def _answer(self, request: Request, session: Any) -> Reply:
        match request.method, request.path:
            case "GET", "/":
                return self._page(await session.user_id() or "nobody")
            case "GET", "/static":
                return Reply("<h1>static</h1>")
            case "GET", "/no-referrer":
                form = FORM.format("/order", "Order")
                return Reply(form, headers=(("Referrer-Policy", "no-referrer"),))
            case "GET", "/sign-in":
                return Reply(
                    "<h1>Please sign in</h1><form method=post>"
                    "<input name=username><input name=password type=password>"
                    "<input name=remember type=checkbox value=yes>"
                    "<button>Sign in</button></form>"
                )
            case "POST", "/sign-in":
                policy = REMEMBERED.name if "remember" in request.form else None
                outcome = await session.login(
                    request.form["username"], request.form["password"], policy=policy
                )
                if not isinstance(outcome, LoggedIn):
                    raise Interruption(problem_of(outcome))
                return Reply.see("/")
            case "GET", "/members":
                who = await session.require()
                return self._page(f"Secrets of {who.user_id}")
            case "POST", "/order":
                who = await session.require()
                self.orders.append(who.user_id)
                return Reply.see("/members")
            case "GET", "/safe":
                who = await session.require_fresh()
                return self._page(f"Safe of {who.user_id}")
            case "GET", "/step-up":
                return Reply(
                    "<h1>Please prove it</h1><form method=post>"
                    "<input name=password type=password><button>Prove</button></form>"
                )
            case "POST", "/step-up":
                outcome = await session.reauthenticate(request.form["password"])
                assert isinstance(outcome, Rotated)
                return Reply.see("/safe")
            case "GET", "/devices":
                await session.require()
                own = (await session.session()).handle
                return Reply(
                    "<h1>Devices</h1>"
                    + "".join(
                        f"<form method=post action=/revoke><input type=hidden name=handle "
                        f"value='{one.handle}'><button>Revoke "
                        f"{'this' if one.handle == own else 'that'}</button></form>"
                        for one in await session.sessions()
                    )
                )
            case "POST", "/revoke":
                await session.require()
                await session.revoke(request.form["handle"])
                return Reply.see("/")
            case "POST", "/sign-out":
                await session.logout()
                return Reply.see("/goodbye")
            case "GET", "/goodbye":
                return Reply("<h1>Goodbye</h1>")
            case "POST", "/sign-out-everywhere":
                await session.logout_everywhere()
                return Reply.see("/goodbye")
            case "POST", "/sign-out-others":
                await session.logout_everywhere(keep_this=True)
                return Reply.see("/members")
            case (("GET" | "POST" as method), "/api"):
                user_id = await session.user_id()
                if method == "POST":
                    self.orders.append(user_id)
                return Reply(json.dumps(user_id), JSON, headers=self._cors(request))
            case "OPTIONS", "/api":
                return Reply("", headers=self._cors(request))
            case "GET", "/meet":
                who = await session.require()
                await self._six_are_here()
                return Reply(json.dumps(who.user_id), JSON)
            case "GET", "/picture":
                await session.require()
                await self._six_are_here()
                return Reply("<svg xmlns='http://www.w3.org/2000/svg' width='5' height='5'/>", SVG)
            case "GET", "/album":
                await session.require()
                pictures = "".join(f"<img src=/picture?{n}>" for n in range(6))
                return Reply(f"<h1>Album</h1>{pictures}")
            case _:
                return Reply("", status=HTTPStatus.NOT_FOUND)

    def _page(self, heading: str) -> Reply:
        return Reply(
            f"<h1>{escape(heading)}</h1><a href=/members>Members</a>"
            + FORM.format("/order", "Order")
            + FORM.format("/sign-out", "Sign out")
            + FORM.format("/sign-out-everywhere", "Sign out everywhere")
            + FORM.format("/sign-out-others", "Sign out others")
        )

    def _cors(self, request: Request) -> tuple[tuple[str, str], ...]:
        origin = request.origin
        if origin is None or not (self._readers == "any" or origin in self._readers):
            return ()
        return (
            ("Access-Control-Allow-Origin", origin),
            ("Access-Control-Allow-Credentials", "true"),
            ("Access-Control-Allow-Headers", "content-type"),
            ("Vary", "Origin"),
        )

    # -- WSGI ---------------------------------------------------------------------

    def serve_wsgi(self) -> None:
        """
        Serve it by the WSGI middleware, over HTTP/1.0.
        """
        barrier = threading.Barrier(6, timeout=PATIENCE_SECONDS)

        async def meet() -> object:
            return barrier.wait()

        self._six_are_here = meet
        guarded = sessioncore_wsgi.SessionMiddleware(self._wsgi, self.auth, self._edge)
        self.site.serve_wsgi(self._watched_wsgi(guarded))

    def _wsgi(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        length = int(environ.get("CONTENT_LENGTH") or 0)
        request = Request(
            method=environ["REQUEST_METHOD"],
            path=environ["PATH_INFO"],
            query=environ["QUERY_STRING"],
            origin=environ.get("HTTP_ORIGIN"),
            body=environ["wsgi.input"].read(length),
        )
        reply = _at_once(self._answer(request, _AtOnce(sessioncore_wsgi.session_of(environ))))
        if gate := self.held_answers.pop(request.path, None):
            gate.pass_through()
        start_response(f"{reply.status.value} {reply.status.phrase}", reply.all_headers)
        return [reply.text.encode()]

    def _watched_wsgi(self, application: WSGIApplication) -> WSGIApplication:
        def watched(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            if gate := self.held.pop(environ["PATH_INFO"], None):
                gate.pass_through()

            def start(status: str, headers: Headers, exc_info: Any = None, /) -> Any:
                headers = self._altered(headers)
                self.seen.append(
                    Seen(
                        method=environ["REQUEST_METHOD"],
                        path=environ["PATH_INFO"],
                        cookies=(environ["HTTP_COOKIE"],) if "HTTP_COOKIE" in environ else (),
                        site=environ.get("HTTP_SEC_FETCH_SITE"),
                        origin=environ.get("HTTP_ORIGIN"),
                        status=int(status[:3]),
                        headers=headers,
                    )
                )
                return start_response(status, headers, exc_info)

            return application(environ, start)

        return watched

    # -- ASGI ---------------------------------------------------------------------

    def serve_asgi(self) -> None:
        """
        Serve it by the ASGI middleware, over HTTP/1.1.
        """
        self.site.serve_asgi(self._guarded_asgi())

    def serve_http2(self) -> None:
        """
        Serve it by the ASGI middleware, over HTTP/2, each cookie in a header of its own.
        """
        self.site.serve_http2(cookies_apart(self._guarded_asgi()))

    def _guarded_asgi(self) -> AsgiApplication:
        self._six_are_here = asyncio.Barrier(6).wait
        hasher = AsyncArgon2PasswordHasher(CHEAP)
        auth = AsyncAuthService(
            sessions=AsyncMemorySessionStore(self._sessions),
            credentials=AsyncMemoryCredentialStore(self._credentials),
            policy=Policies(BROWSER, REMEMBERED),
            passwords=hasher,
            events=self.events,
            clock=self.clock,
        )

        async def application(scope: Any, receive: Any, send: Any) -> None:
            match scope["type"]:
                case "lifespan":
                    async with hasher:
                        while (await receive())["type"] != "lifespan.shutdown":
                            await send({"type": "lifespan.startup.complete"})
                    await send({"type": "lifespan.shutdown.complete"})
                case "websocket":
                    await self._converse(sessioncore_asgi.session_of(scope), receive, send)
                case _:
                    await self._answer_asgi(scope, receive, send)

        return self._watched_asgi(sessioncore_asgi.SessionMiddleware(application, auth, self._edge))

    async def _answer_asgi(self, scope: Any, receive: Any, send: Any) -> None:
        body, is_more = b"", True
        while is_more:
            message = await receive()
            body += message.get("body", b"")
            is_more = message.get("more_body", False)
        request = Request(
            method=scope["method"],
            path=scope["path"],
            query=scope["query_string"].decode(),
            origin=_header(scope, b"origin"),
            body=body,
        )
        reply = await self._answer(request, sessioncore_asgi.session_of(scope))
        headers = [(name.encode(), value.encode()) for name, value in reply.all_headers]
        await send(
            {"type": "http.response.start", "status": reply.status.value, "headers": headers}
        )
        await send({"type": "http.response.body", "body": reply.text.encode()})

    async def _converse(self, session: Any, receive: Any, send: Any) -> None:
        # Tells who it is, and goes on until the session ends or the page hangs up.
        await receive()
        who = await session.require()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": who.user_id})
        ended = asyncio.create_task(sessioncore_asgi.until_ended(session, IS_ENDED_EVERY))
        left = asyncio.create_task(receive())
        await asyncio.wait({ended, left}, return_when=asyncio.FIRST_COMPLETED)
        if ended.done():
            await send({"type": "websocket.close", "code": sessioncore_asgi.UNAUTHORIZED})
        for task in (ended, left):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    def _watched_asgi(self, application: AsgiApplication) -> AsgiApplication:
        async def watched(scope: Any, receive: Any, send: Any) -> None:
            async def watching(message: Any) -> None:
                if message["type"] == "http.response.start":
                    headers = self._altered(
                        [(name.decode(), value.decode()) for name, value in message["headers"]]
                    )
                    encoded = [(name.encode(), value.encode()) for name, value in headers]
                    message = {**message, "headers": encoded}
                    self.seen.append(
                        Seen(
                            method=scope["method"],
                            path=scope["path"],
                            cookies=tuple(
                                value.decode()
                                for name, value in scope["headers"]
                                if name == b"cookie"
                            ),
                            site=_header(scope, b"sec-fetch-site"),
                            origin=_header(scope, b"origin"),
                            status=message["status"],
                            headers=headers,
                        )
                    )
                await send(message)

            await application(scope, receive, watching)

        return watched


class Gate:
    """
    Where a request waits until the test lets it pass.
    """

    def __init__(self) -> None:
        self._arrived = threading.Event()
        self._open = threading.Event()

    def pass_through(self) -> None:
        self._arrived.set()
        assert self._open.wait(PATIENCE_SECONDS)

    def wait_for_the_request(self) -> None:
        assert self._arrived.wait(PATIENCE_SECONDS)

    def open(self) -> None:
        self._open.set()


class _AtOnce:
    """
    A session of the WSGI middleware, with methods to be awaited that never wait.
    """

    def __init__(self, session: RequestSession) -> None:
        self._session = session

    def __getattr__(self, name: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        method = getattr(self._session, name)

        async def call(*args: Any, **named: Any) -> Any:
            return method(*args, **named)

        return call


def _at_once(coroutine: Coroutine[Any, Any, T]) -> T:
    try:
        coroutine.send(None)
    except StopIteration as end:
        answer: T = end.value
        return answer
    raise AssertionError("a page waits, and WSGI has nothing to wait with")


async def _nobody_meets() -> None:
    raise AssertionError("the shop is not open")


def _header(scope: Any, name: bytes) -> str | None:
    return next((value.decode() for key, value in scope["headers"] if key == name), None)


# -- What tests do in it ------------------------------------------------------------

Serve = Callable[[Shop], None]
EVERY_WAY: Final[tuple[Serve, ...]] = (Shop.serve_wsgi, Shop.serve_asgi, Shop.serve_http2)
TWO_WAYS: Final[tuple[Serve, ...]] = (Shop.serve_wsgi, Shop.serve_http2)
"""For what does not depend on the way as much: the furthest apart."""

ADDRESS: Final = "https://shop.test"
COOKIE: Final = "__Host-session"


def open_shop(
    sites: Sites, serve: Serve = Shop.serve_wsgi, address: str = ADDRESS, **settings: Any
) -> Shop:
    """
    A shop that answers.
    """
    shop = Shop(sites.at(address), **settings)
    serve(shop)
    return shop


def foreign_page(sites: Sites, address: str, text: str) -> str:
    """
    The address of a page with that text, at a site of its own.
    """

    def page(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", HTML)])
        return [text.encode()]

    site = sites.at(address)
    site.serve_wsgi(page)
    return site.url("/page")


def press(page: Page, button: str) -> None:
    """
    Press a button, and wait for where it leads.
    """
    with page.expect_navigation():
        page.get_by_role("button", name=button, exact=True).first.click()


def sign_in(page: Page, shop: Shop, username: str = "alice", *, remember: bool = False) -> None:
    """
    Sign in by the form.
    """
    page.goto(shop.url("/sign-in"))
    page.fill("[name=username]", username)
    page.fill("[name=password]", PASSWORD)
    if remember:
        page.check("[name=remember]")
    press(page, "Sign in")
    assert heading(page) == f"id-of-{username}"


def ask(page: Page, script: str, argument: object = None) -> Any:
    """
    What a function of a page answers, which does not have for ever: ``evaluate`` would wait.
    """
    return page.evaluate(
        f"""argument => Promise.race([
            ({script})(argument),
            new Promise((_, reject) => setTimeout(reject, {PATIENCE_SECONDS * 1000}, "no answer")),
        ])""",
        argument,
    )


def heading(page: Page) -> str:
    return page.inner_text("h1")


def who(page: Page, shop: Shop) -> str:
    """
    Who the shop takes the browser for, at the next click.
    """
    page.goto(shop.url())
    return heading(page)


def session_id(page: Page, name: str = COOKIE) -> str:
    """
    What is in the session cookie of the site that is shown.
    """
    value: str = cookies_for(page)[name]["value"]
    return value
