"""
The ASGI middleware, before a server that writes down what it is sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from datetime import timedelta
from http import HTTPStatus
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin

from browser.certificate import Certificate
from browser.sites import Sites, cookies_apart
from sessioncore import (
    AsyncAuthService,
    Inactive,
    InactiveReason,
    Locator,
    LoggedIn,
    OutcomeUnknown,
    Session,
    SessionId,
    StoreError,
    StoreUnavailable,
)
from sessioncore_asgi import (
    FORBIDDEN,
    TRY_AGAIN_LATER,
    UNAUTHORIZED,
    SessionMiddleware,
    request_head,
    session_of,
    until_ended,
    while_live,
)
from sessioncore_http import (
    AsyncRequestSession,
    Edge,
    Interruption,
    Problem,
    ResponseStarted,
    SynchronizerToken,
)
from sessioncore_memory import AsyncMemorySessionStore
from web.shop import MINUTE, PASSWORD, POLICY, SECOND, USER_ID, Shop
from web.visitor import COOKIE, SetCookie

ORIGIN = "http://127.0.0.1:8000"
EVIL = "https://evil.example"
EDGE = Edge(origins=[ORIGIN], sign_in_path="/sign-in", step_up_path="/step-up")
PATIENCE_SECONDS = 20.0
"""How long a test waits for what must happen before it fails."""

OFTEN = timedelta(milliseconds=1)

Application = Callable[[Any, Any, Any], Awaitable[None]]
Asking = Callable[[AsyncRequestSession], Awaitable[object]]
Message = Mapping[str, Any]

START: Message = {"type": "http.response.start", "status": 200, "headers": []}


@pytest.fixture
def shop() -> Iterator[Shop]:
    with Shop() as shop:
        yield shop


class Server:
    """
    One request or conversation: what is sent to it, and what the client says.
    """

    def __init__(
        self,
        app: Application,
        *,
        kind: str = "http",
        cookie: str | None = None,
        headers: Mapping[str, str] | None = None,
        **scope: Any,
    ) -> None:
        brought = {} if cookie is None else {"cookie": f"{COOKIE}={cookie}"}
        pairs = brought | dict(headers or {})
        self._app = app
        self.scope: dict[str, Any] = {
            "type": kind,
            "path": "/",
            "query_string": b"",
            "client": ("192.0.2.7", 1234),
            "headers": [(name.encode(), value.encode("latin-1")) for name, value in pairs.items()],
            **({"method": "GET"} if kind == "http" else {}),
            **scope,
        }
        self.sent: list[Message] = []
        self.said: asyncio.Queue[Message] = asyncio.Queue()
        if kind == "websocket":
            self.said.put_nowait({"type": "websocket.connect"})

    async def serve(self) -> Server:
        """
        Call the application and wait for its end.
        """
        async with asyncio.timeout(PATIENCE_SECONDS):
            await self._app(self.scope, self.said.get, self._take)
        return self

    async def _take(self, message: Message) -> None:
        self.sent.append(message)

    @property
    def kinds(self) -> list[str]:
        return [message["type"] for message in self.sent]

    @property
    def start(self) -> Message:
        [message] = [message for message in self.sent if message["type"].endswith("response.start")]
        return message

    @property
    def status(self) -> int:
        status: int = self.start["status"]
        return status

    def all(self, name: str) -> list[str]:
        headers: list[tuple[bytes, bytes]] = self.start["headers"]
        return [value.decode("latin-1") for key, value in headers if key == name.encode()]

    @property
    def cookie(self) -> SetCookie | None:
        parsed = [SetCookie.parse(value) for value in self.all("set-cookie")]
        ours = [cookie for cookie in parsed if cookie.name == COOKIE]
        assert len(ours) <= 1
        return ours[0] if ours else None

    @property
    def text(self) -> str:
        bodies = [m for m in self.sent if m["type"].endswith("response.body")]
        return b"".join(message["body"] for message in bodies).decode()

    @property
    def code(self) -> int:
        assert self.kinds[-1] == "websocket.close"
        code: int = self.sent[-1]["code"]
        return code


def behind(shop: Shop, app: Application, **named: Any) -> Server:
    """
    A request to *app* behind the middleware.
    """
    return Server(SessionMiddleware(app, shop.async_auth, EDGE), **named)


def served(shop: Shop, app: Application, **named: Any) -> Server:
    """
    The same, answered.
    """

    async def serve() -> Server:
        return await behind(shop, app, **named).serve()

    return asyncio.run(serve())


def signed_in(shop: Shop) -> str:
    """
    The cookie of somebody who has just signed in.
    """
    outcome = shop.auth.login("alice", PASSWORD)
    assert isinstance(outcome, LoggedIn)
    shop.journal.forget()
    return outcome.session_id.reveal()


async def sign_in(session: AsyncRequestSession) -> None:
    assert isinstance(await session.login("alice", PASSWORD), LoggedIn)


def is_signed_in_anywhere(shop: Shop) -> bool:
    return bool(shop.auth.sessions_of(USER_ID))


async def nothing(_session: AsyncRequestSession) -> str:
    return ""


def raises(error: BaseException) -> Asking:
    async def ask(_session: AsyncRequestSession) -> object:
        raise error

    return ask


def answers(ask: Asking = nothing, status: int = 200, *headers: tuple[bytes, bytes]) -> Application:
    """
    An application that asks its session for something, and says what it got.
    """

    async def app(scope: Any, _receive: Any, send: Any) -> None:
        body = str(await ask(session_of(scope))).encode()
        own = [(b"content-type", b"text/plain"), *headers]
        await send({"type": "http.response.start", "status": status, "headers": own})
        await send({"type": "http.response.body", "body": body})

    return app


def streams(ask: Asking) -> Application:
    """
    An application that asks once more when its response has started.
    """

    async def app(scope: Any, _receive: Any, send: Any) -> None:
        await send(START)
        await send({"type": "http.response.body", "body": b"part ", "more_body": True})
        body = str(await ask(session_of(scope))).encode()
        await send({"type": "http.response.body", "body": body})

    return app


def teapot(status: HTTPStatus = HTTPStatus.IM_A_TEAPOT) -> Interruption:
    return Interruption(Problem(status=status, code="teapot", title="No", detail="No coffee."))


# -- Nothing is read before somebody asks --------------------------------------------


def test_a_request_that_never_asks_costs_no_call_to_the_store(shop: Shop) -> None:
    cookie = signed_in(shop)
    shop.wait(20 * MINUTE)  # a touch and a renewal are due
    answer = served(shop, answers(), cookie=cookie)
    assert shop.journal.names() == []
    assert answer.start["headers"] == [(b"content-type", b"text/plain")]


def test_a_request_that_asks_costs_one_read_however_often_it_asks(shop: Shop) -> None:
    async def ask(session: AsyncRequestSession) -> object:
        for _ in range(3):
            await session.authenticate()
            await session.user_id()
            await session.require()
            await session.require_fresh()
        return await session.user_id()

    answer = served(shop, answers(ask), cookie=signed_in(shop))
    assert (answer.text, shop.journal.names()) == (USER_ID, ["find"])


def test_tasks_of_one_request_may_ask_at_once(shop: Shop) -> None:
    cookie = signed_in(shop)
    shop.wait(16 * MINUTE)

    async def ask(session: AsyncRequestSession) -> object:
        return set(await asyncio.gather(*(session.user_id() for _ in range(5))))

    answer = served(shop, answers(ask), cookie=cookie)
    assert answer.text == str({USER_ID})
    assert answer.cookie is not None


class DistantSessionStore(AsyncMemorySessionStore):
    """
    Lets other tasks go on while it reads, as a store behind a network does.
    """

    async def find(self, locator: Locator, /) -> Session | None:
        await asyncio.sleep(0)
        found = await super().find(locator)
        await asyncio.sleep(0)
        return found


def on_a_distant_store(shop: Shop, ask: Asking, cookie: str) -> Server:
    auth = AsyncAuthService(
        sessions=DistantSessionStore(shop.sessions), policy=POLICY, clock=shop.clock
    )
    app = SessionMiddleware(answers(ask), auth, EDGE)

    async def serve() -> Server:
        return await Server(app, method="POST", headers=OURS, cookie=cookie).serve()

    return asyncio.run(serve())


def test_tasks_that_ask_at_once_share_one_read(shop: Shop) -> None:
    async def ask(session: AsyncRequestSession) -> object:
        return set(await asyncio.gather(*(session.user_id() for _ in range(5))))

    assert on_a_distant_store(shop, ask, signed_in(shop)).text == str({USER_ID})
    assert shop.journal.names() == ["find"]


def test_a_task_that_asked_before_a_sign_out_does_not_undo_it(shop: Shop) -> None:
    async def ask(session: AsyncRequestSession) -> object:
        asking = asyncio.create_task(session.user_id())
        await asyncio.sleep(0)  # so that it is under way
        await session.logout()
        await asking
        return await session.user_id()

    assert on_a_distant_store(shop, ask, signed_in(shop)).text == "None"


def test_an_application_that_is_mounted_in_another_shares_its_session(shop: Shop) -> None:
    async def ask(session: AsyncRequestSession) -> object:
        await sign_in(session)
        return "signed in"

    inner = SessionMiddleware(answers(ask), shop.async_auth, EDGE)
    answer = served(shop, inner, method="POST", headers=OURS)
    assert (answer.text, answer.cookie is not None) == ("signed in", True)


def test_whoever_asked_gets_an_answer_that_no_cache_keeps(shop: Shop) -> None:
    for cookie in (None, signed_in(shop)):
        answer = served(shop, answers(AsyncRequestSession.user_id), cookie=cookie)
        assert (answer.all("cache-control"), answer.all("vary")) == (["no-store"], ["Cookie"])
        assert answer.cookie is None


def test_who_did_not_pass_the_middleware_has_no_session() -> None:
    with pytest.raises(LookupError, match="did not pass"):
        session_of({"type": "http"})


# -- Messages ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["lifespan", "something.new"])
def test_what_is_no_request_passes_untouched(shop: Shop, kind: str) -> None:
    passed: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        passed.extend((scope, receive, send))

    scope: dict[str, Any] = {"type": kind}

    async def receive() -> dict[str, Any]:
        return {}

    async def send(_message: Message) -> None:
        pass

    asyncio.run(SessionMiddleware(app, shop.async_auth, EDGE)(scope, receive, send))
    assert [id(one) for one in passed] == [id(scope), id(receive), id(send)]
    assert scope == {"type": kind}


def test_only_the_start_of_a_response_is_changed(shop: Shop) -> None:
    # Early hints, server push, trailers, files by path: whatever extensions there are.
    others: list[Message] = [
        {"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload"]},
        {"type": "http.response.push", "path": "/a.css", "headers": []},
        {"type": "http.response.body", "body": b"part", "more_body": True},
        {"type": "http.response.pathsend", "path": "/a"},
        {"type": "http.response.trailers", "headers": [(b"x", b"y")], "more_trailers": False},
    ]

    async def app(scope: Any, _receive: Any, send: Any) -> None:
        for message in others[:2]:
            await send(message)
        await sign_in(session_of(scope))
        await send({**START, "trailers": True})
        for message in others[2:]:
            await send(message)

    answer = served(shop, app)
    assert [m for m in answer.sent if m["type"] != "http.response.start"] == others
    assert answer.start["trailers"] is True
    assert answer.cookie is not None


def test_an_application_that_starts_twice_is_the_servers_business(shop: Shop) -> None:
    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send(START)
        await send(START)

    assert served(shop, app).kinds == ["http.response.start"] * 2


def test_a_start_without_headers_is_one_all_the_same(shop: Shop) -> None:
    async def app(scope: Any, _receive: Any, send: Any) -> None:
        await sign_in(session_of(scope))
        await send({"type": "http.response.start", "status": 200})

    assert served(shop, app).cookie is not None


def test_names_of_headers_are_in_lower_case_and_values_as_they_were(shop: Shop) -> None:
    own = (b"X-Own", "caf\xe9".encode("latin-1"))
    answer = served(shop, answers(AsyncRequestSession.user_id, 200, own))
    assert all(name == name.lower() for name, _ in answer.start["headers"])
    assert answer.all("x-own") == ["caf\xe9"]


def test_the_applications_own_cookie_of_our_name_is_taken_out(shop: Shop) -> None:
    own = (b"Set-Cookie", f"{COOKIE}=planted; Path=/".encode())
    other = (b"set-cookie", b"theme=dark")
    answer = served(shop, answers(sign_in, 200, own, other))
    cookie = answer.cookie
    assert cookie is not None
    assert SessionId.parse(cookie.value) is not None
    assert answer.all("set-cookie")[0] == "theme=dark"


def test_what_was_asked_before_the_start_is_known_after_it(shop: Shop) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await session_of(scope).user_id()
        await streams(AsyncRequestSession.user_id)(scope, receive, send)

    assert served(shop, app, cookie=signed_in(shop)).text == f"part {USER_ID}"
    assert shop.journal.names() == ["find"]


def test_after_the_start_nobody_signs_in(shop: Shop) -> None:
    async def ask(session: AsyncRequestSession) -> object:
        with pytest.raises(ResponseStarted):
            await session.login("alice", PASSWORD)
        with pytest.raises(ResponseStarted):
            await session.user_id()
        return "caught"

    answer = served(shop, streams(ask))
    assert (answer.text, shop.journal.names()) == ("part caught", [])


# -- When something fails ------------------------------------------------------------


async def signs_in_and_fails(session: AsyncRequestSession) -> object:
    await sign_in(session)
    raise RuntimeError("oh")


def test_who_signs_in_and_gets_no_answer_is_not_signed_in(shop: Shop) -> None:
    with pytest.raises(RuntimeError, match="oh"):
        served(shop, answers(signs_in_and_fails))
    assert not is_signed_in_anywhere(shop)


def test_nor_if_the_application_never_starts(shop: Shop) -> None:
    async def app(scope: Any, _receive: Any, _send: Any) -> None:
        await sign_in(session_of(scope))

    assert served(shop, app).sent == []
    assert not is_signed_in_anywhere(shop)


def test_who_signs_in_is_signed_in_though_the_body_fails_later(shop: Shop) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await sign_in(session_of(scope))
        await streams(raises(RuntimeError("oh")))(scope, receive, send)

    with pytest.raises(RuntimeError, match="oh"):
        served(shop, app)
    assert is_signed_in_anywhere(shop)


def test_who_signs_in_and_disconnects_is_not_signed_in(shop: Shop) -> None:
    async def disconnect() -> None:
        reached = asyncio.Event()

        async def ask(session: AsyncRequestSession) -> object:
            await sign_in(session)
            reached.set()
            return await asyncio.Event().wait()

        task = asyncio.create_task(behind(shop, answers(ask)).serve())
        await reached.wait()
        assert is_signed_in_anywhere(shop)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(disconnect())
    assert not is_signed_in_anywhere(shop)


def test_who_signs_in_and_is_then_stopped_gets_the_cookie_with_that_answer(shop: Shop) -> None:
    async def ask(session: AsyncRequestSession) -> object:
        await sign_in(session)
        raise teapot()

    answer = served(shop, answers(ask))
    assert answer.status == 418
    assert answer.cookie is not None
    assert is_signed_in_anywhere(shop)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (StoreUnavailable("down"), '"unavailable"'),
        (OutcomeUnknown("lost"), '"not-confirmed"'),
    ],
)
def test_an_outage_becomes_a_503(shop: Shop, error: Exception, code: str) -> None:
    answer = served(shop, answers(raises(error)))
    assert (answer.status, answer.all("retry-after")) == (503, ["5"])
    assert code in answer.text


def test_an_outage_brings_no_renewed_id(shop: Shop) -> None:
    cookie = signed_in(shop)
    shop.wait(16 * MINUTE)

    async def ask(session: AsyncRequestSession) -> object:
        await session.require()
        raise StoreUnavailable("down")

    assert served(shop, answers(ask), cookie=cookie).cookie is None
    assert served(shop, answers(AsyncRequestSession.user_id), cookie=cookie).cookie is not None


def test_what_is_required_becomes_its_answer(shop: Shop) -> None:
    app = answers(AsyncRequestSession.require)
    assert served(shop, app).status == 401
    window = {"headers": {"accept": "text/html"}, "path": "/a b", "raw_path": b"/a%20b?c=d"}
    answer = served(shop, app, query_string=b"c=d", **window)
    assert answer.status == 303
    assert answer.all("location") == ["/sign-in?next=%2Fa%2520b%3Fc%3Dd"]


@pytest.mark.parametrize("error", [StoreUnavailable("down"), teapot()])
def test_after_the_start_the_server_is_told(shop: Shop, error: Exception) -> None:
    with pytest.raises(type(error)):
        served(shop, streams(raises(error)))


def test_an_application_that_catches_a_refusal_gives_the_answer(shop: Shop) -> None:
    async def ask(session: AsyncRequestSession) -> object:
        with pytest.raises(Interruption):
            await session.require()
        return "its own"

    answer = served(shop, answers(ask, 400))
    assert (answer.status, answer.text) == (400, "its own")
    assert answer.all("cache-control") == ["no-store"]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (BaseExceptionGroup("of a task group", [teapot()]), 418),
        (BaseExceptionGroup("", [BaseExceptionGroup("", [StoreUnavailable("down")])]), 503),
        (BaseExceptionGroup("", [teapot(), StoreUnavailable("down")]), 503),
    ],
)
def test_tasks_that_fail_in_a_group_mean_the_same(
    shop: Shop, error: BaseException, status: int
) -> None:
    assert served(shop, answers(raises(error))).status == status


@pytest.mark.parametrize("other", [RuntimeError("oh"), asyncio.CancelledError()])
def test_a_group_with_something_else_in_it_is_not_ours_to_answer(
    shop: Shop, other: BaseException
) -> None:
    with pytest.raises(BaseExceptionGroup):
        served(shop, answers(raises(BaseExceptionGroup("", [teapot(), other]))))


def test_a_task_group_that_stops_at_a_refusal_is_answered(shop: Shop) -> None:
    async def ask(session: AsyncRequestSession) -> object:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(session.require())
            await asyncio.Event().wait()
        return "never"

    assert served(shop, answers(ask)).status == 401


@pytest.mark.parametrize("error", [StoreUnavailable("down"), teapot()])
def test_the_answer_to_head_has_no_body(shop: Shop, error: Exception) -> None:
    asked = served(shop, answers(raises(error)), method="HEAD")
    got = served(shop, answers(raises(error)))
    assert asked.start == got.start
    assert (asked.text, asked.kinds) == ("", ["http.response.start", "http.response.body"])


# -- Renewal -------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 304, 404])
def test_a_renewed_id_comes_with_whatever_answer(shop: Shop, status: int) -> None:
    cookie = signed_in(shop)
    shop.wait(16 * MINUTE)
    answer = served(shop, answers(AsyncRequestSession.user_id, status), cookie=cookie)
    assert answer.cookie is not None
    assert answer.cookie.value != cookie


def test_requests_of_one_cookie_at_a_renewal_bring_one_id(shop: Shop) -> None:
    cookie = signed_in(shop)
    shop.wait(16 * MINUTE)

    async def at_once() -> list[Server]:
        together = asyncio.Barrier(6)

        async def ask(session: AsyncRequestSession) -> object:
            await together.wait()
            user_id = await session.user_id()
            await together.wait()
            return user_id

        requests = (behind(shop, answers(ask), cookie=cookie).serve() for _ in range(6))
        return await asyncio.gather(*requests)

    results = asyncio.run(at_once())
    assert {answer.text for answer in results} == {USER_ID}
    values = {None if answer.cookie is None else answer.cookie.value for answer in results}
    assert len(values - {None}) == 1


def test_a_renewed_id_is_left_out_when_it_can_do_harm_or_no_good(shop: Shop) -> None:
    def sign_out(held: str) -> None:
        shop.auth.logout(held)

    def wait(_held: str) -> None:
        shop.wait(31 * SECOND)

    def go_down(_held: str) -> None:
        shop.take_store_down()

    for happens in (sign_out, wait, go_down):
        cookie = signed_in(shop)
        shop.wait(16 * MINUTE)

        async def ask(
            session: AsyncRequestSession,
            happens: Callable[[str], None] = happens,
            held: str = cookie,
        ) -> object:
            await session.require()
            happens(held)
            return "done"

        answer = served(shop, answers(ask), cookie=cookie)
        assert (answer.text, answer.cookie) == ("done", None)


# -- What is refused, and what is read of a request ----------------------------------


def test_what_another_site_causes_never_reaches_the_application(shop: Shop) -> None:
    async def app(_scope: Any, _receive: Any, _send: Any) -> None:
        raise AssertionError

    foreign = {"origin": EVIL}
    cookie = signed_in(shop)
    answer = served(shop, app, cookie=cookie, headers=foreign, method="POST")
    assert (answer.status, shop.journal.names()) == (403, [])


def head_of(*headers: tuple[bytes, bytes], **scope: Any) -> Any:
    edge = Edge(origins=[ORIGIN], token=SynchronizerToken())
    plain = {"type": "http", "path": "/", "headers": headers, "method": "GET"}
    return request_head({**plain, **scope}, edge)


def test_cookies_in_several_fields_are_all_read() -> None:
    head = head_of((b"cookie", b"a=1"), (b"Cookie", f"{COOKIE}=x".encode()), (b"cookie", b"b=2"))
    assert head.cookies == ("a=1", f"{COOKIE}=x", "b=2")
    assert EDGE.cookie.presented(head.cookies).text == "x"


def test_a_header_that_is_there_twice_is_no_evidence_of_either() -> None:
    head = head_of((b"origin", ORIGIN.encode()), (b"origin", b"https://evil.example"))
    assert not EDGE.guard.trusts(head.origin)
    assert head_of((b"sec-fetch-site", b"none"), (b"sec-fetch-site", b"none")).fetch_site != "none"


def test_a_head_says_what_the_request_brought() -> None:
    head = head_of(
        (b"x-csrf-token", b"token"),
        (b"user-agent", b"Lynx"),
        (b"accept", b"*/*"),
        (b"sec-fetch-mode", b"cors"),
        client=("::1", 1),
        query_string=b"q=%2F",
        path="/grüße",
    )
    assert (head.token, head.user_agent, head.accept) == ("token", "Lynx", "*/*")
    assert (head.fetch_mode, head.address) == ("cors", "::1")
    assert (head.path, head.target) == ("/grüße", "/gr%C3%BC%C3%9Fe?q=%2F")


def test_servers_may_say_less() -> None:
    head = head_of(client=None, raw_path=b"/a%20b?q=1")
    assert (head.address, head.target, head.token) == (None, "/a%20b", None)


# -- WebSockets ----------------------------------------------------------------------

OURS: Mapping[str, str] = {"origin": ORIGIN}
DENIAL: Mapping[str, Any] = {"websocket.http.response": {}}


def conversation(ask: Asking, *, accept: bool = True) -> Application:
    """
    An application that asks, before or after the handshake, and then closes.
    """

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        if accept:
            await send({"type": "websocket.accept"})
        text = str(await ask(session_of(scope)))
        if not accept:
            await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": text})
        await send({"type": "websocket.close", "code": 1000})

    return app


def talked(shop: Shop, app: Application, **named: Any) -> Server:
    return served(shop, app, **{"kind": "websocket", "headers": OURS, **named})


def test_a_handshake_tells_who_it_is(shop: Shop) -> None:
    for accept in (True, False):
        app = conversation(AsyncRequestSession.user_id, accept=accept)
        answer = talked(shop, app, cookie=signed_in(shop))
        assert answer.kinds == ["websocket.accept", "websocket.send", "websocket.close"]
        assert answer.sent[1]["text"] == USER_ID


def test_a_handshake_brings_no_cookie(shop: Shop) -> None:
    cookie = signed_in(shop)
    shop.wait(16 * MINUTE)

    async def ask(session: AsyncRequestSession) -> object:
        await session.require()
        with pytest.raises(ResponseStarted):
            await session.logout()
        return "done"

    answer = talked(shop, conversation(ask, accept=False), cookie=cookie)
    assert answer.sent[0] == {"type": "websocket.accept"}
    # The renewal waits for the next request.
    assert served(shop, answers(AsyncRequestSession.user_id), cookie=cookie).cookie is not None


def test_an_application_cannot_bring_our_cookie_in_a_handshake_either(shop: Shop) -> None:
    async def app(_scope: Any, receive: Any, send: Any) -> None:
        await receive()
        theirs = (b"set-cookie", b"theme=dark")
        ours = (b"Set-Cookie", COOKIE.encode() + b"=forged")
        await send({"type": "websocket.accept", "headers": [theirs, ours]})
        await send({"type": "websocket.close", "code": 1000})

    (accept, _close) = talked(shop, app).sent
    assert accept["headers"] == [(b"set-cookie", b"theme=dark")]


@pytest.mark.parametrize("extensions", [None, {}, DENIAL])
@pytest.mark.parametrize("headers", [{"origin": EVIL}, {"origin": "null"}, {}])
def test_a_handshake_from_elsewhere_is_refused_before_the_application_is_asked(
    shop: Shop, headers: Mapping[str, str], extensions: Mapping[str, Any] | None
) -> None:
    async def app(_scope: Any, _receive: Any, _send: Any) -> None:
        raise AssertionError

    cookie = signed_in(shop)
    answer = talked(shop, app, cookie=cookie, headers=headers, extensions=extensions)
    assert (answer.kinds, answer.code) == (["websocket.close"], FORBIDDEN)
    assert shop.journal.names() == []


@pytest.mark.parametrize("accept", [True, False])
@pytest.mark.parametrize(
    ("error", "code"),
    [
        (teapot(HTTPStatus.UNAUTHORIZED), UNAUTHORIZED),
        (teapot(HTTPStatus.FORBIDDEN), FORBIDDEN),
        (teapot(HTTPStatus.CONFLICT), TRY_AGAIN_LATER),
        (StoreUnavailable("down"), TRY_AGAIN_LATER),
        (BaseExceptionGroup("of tasks", [StoreUnavailable("down")]), TRY_AGAIN_LATER),
    ],
)
def test_what_stops_a_conversation_is_its_close_code(
    shop: Shop, error: BaseException, code: int, accept: bool
) -> None:
    assert talked(shop, conversation(raises(error), accept=accept)).code == code


def test_an_outage_at_the_handshake_is_a_503_where_the_server_can_say_so(shop: Shop) -> None:
    app = conversation(raises(StoreUnavailable("down")), accept=False)
    answer = talked(shop, app, extensions=DENIAL)
    assert answer.kinds == ["websocket.http.response.start", "websocket.http.response.body"]
    assert (answer.status, answer.all("retry-after")) == (503, ["5"])
    accepted = conversation(raises(StoreUnavailable("down")))
    assert talked(shop, accepted, extensions=DENIAL).code == TRY_AGAIN_LATER


def test_a_conversation_that_was_closed_is_not_closed_again(shop: Shop) -> None:
    async def app(_scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.close", "code": 4000})
        raise StoreUnavailable("down")

    async def serve() -> Server:
        server = behind(shop, app, kind="websocket", headers=OURS)
        with pytest.raises(StoreUnavailable):
            await server.serve()
        return server

    assert asyncio.run(serve()).code == 4000


def test_nobody_is_told_when_the_client_has_gone(shop: Shop) -> None:
    async def app(_scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        assert (await receive())["type"] == "websocket.disconnect"
        raise StoreUnavailable("down")

    async def serve() -> Server:
        server = behind(shop, app, kind="websocket", headers=OURS)
        server.said.put_nowait({"type": "websocket.disconnect", "code": 1001})
        with pytest.raises(StoreUnavailable):
            await server.serve()
        return server

    assert asyncio.run(serve()).kinds == ["websocket.accept"]


def test_other_errors_are_the_servers_business(shop: Shop) -> None:
    with pytest.raises(RuntimeError, match="oh"):
        talked(shop, conversation(raises(RuntimeError("oh"))))


# -- What outlasts a request ---------------------------------------------------------


def test_a_conversation_ends_when_its_session_is_revoked(shop: Shop) -> None:
    cookie = signed_in(shop)

    async def converse() -> Inactive:
        asked = asyncio.Event()
        ended: list[Inactive] = []

        async def app(scope: Any, _receive: Any, send: Any) -> None:
            session = session_of(scope)
            await session.require()
            asked.set()
            ended.append(await until_ended(session, OFTEN))
            await send({"type": "websocket.close", "code": UNAUTHORIZED})

        server = behind(shop, app, kind="websocket", headers=OURS, cookie=cookie)
        task = asyncio.create_task(server.serve())
        await asked.wait()
        shop.auth.logout_everywhere(USER_ID)
        await task
        assert server.code == UNAUTHORIZED
        return ended[0]

    assert asyncio.run(converse()) == Inactive(InactiveReason.UNKNOWN)


def test_a_conversation_is_carried_on_to_its_own_end(shop: Shop) -> None:
    async def talk() -> str:
        return "all said"

    async def ask(session: AsyncRequestSession) -> object:
        await session.require()
        return await while_live(session, talk())

    assert served(shop, answers(ask), cookie=signed_in(shop)).text == "all said"


def test_a_conversation_that_fails_says_so_itself(shop: Shop) -> None:
    async def talk() -> str:
        raise LookupError("lost the thread")

    async def ask(session: AsyncRequestSession) -> object:
        await session.require()
        with pytest.raises(LookupError, match="lost the thread"):
            await while_live(session, talk())
        return "told"

    assert served(shop, answers(ask), cookie=signed_in(shop)).text == "told"


def test_a_conversation_is_broken_off_when_its_session_ends(shop: Shop) -> None:
    cookie = signed_in(shop)
    broken_off: list[bool] = []

    async def converse() -> int | None:
        talking = asyncio.Event()

        async def talk() -> None:
            talking.set()
            try:
                await asyncio.Event().wait()
            finally:
                broken_off.append(True)

        async def app(scope: Any, _receive: Any, _send: Any) -> None:
            session = session_of(scope)
            await session.require()
            await while_live(session, talk(), OFTEN)

        server = behind(shop, app, kind="websocket", headers=OURS, cookie=cookie)
        task = asyncio.create_task(server.serve())
        await talking.wait()
        shop.auth.logout_everywhere(USER_ID)
        await task
        return server.code

    assert asyncio.run(converse()) == UNAUTHORIZED
    assert broken_off == [True]


def test_a_conversation_is_broken_off_when_nobody_can_say_whether_it_has(shop: Shop) -> None:
    async def ask(session: AsyncRequestSession) -> object:
        await session.require()
        shop.take_store_down()
        with pytest.raises(StoreError):
            await while_live(session, asyncio.sleep(3_600), OFTEN)
        return "not known"

    assert served(shop, answers(ask), cookie=signed_in(shop)).text == "not known"


def test_looking_whether_it_has_ended_keeps_no_session_alive(shop: Shop) -> None:
    cookie = signed_in(shop)

    async def ask(session: AsyncRequestSession) -> object:
        await session.require()
        shop.wait(31 * MINUTE)
        return (await until_ended(session, OFTEN)).reason

    assert served(shop, answers(ask), cookie=cookie).text == str(InactiveReason.IDLE)
    assert "replace" not in shop.journal.names()


def test_who_is_nobody_has_ended_at_once(shop: Shop) -> None:
    async def ask(session: AsyncRequestSession) -> object:
        return (await until_ended(session)).reason

    assert served(shop, answers(ask)).text == str(InactiveReason.ABSENT)


def test_whether_it_has_ended_is_not_known_in_an_outage(shop: Shop) -> None:
    async def ask(session: AsyncRequestSession) -> object:
        await session.require()
        shop.take_store_down()
        with pytest.raises(StoreError):
            await until_ended(session, OFTEN)
        return "not known"

    assert served(shop, answers(ask), cookie=signed_in(shop)).text == "not known"


# -- On real servers -----------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate() -> Certificate:
    return Certificate()


@pytest.fixture
def sites(certificate: Certificate) -> Iterator[Sites]:
    with Sites(certificate) as sites:
        yield sites


@pytest.mark.parametrize("apart", [True, False])
def test_over_http_2_cookies_may_come_one_by_one(shop: Shop, sites: Sites, apart: bool) -> None:
    site = sites.at("https://127.0.0.1")
    edge = Edge(origins=[site.origin])
    app = SessionMiddleware(answers(AsyncRequestSession.user_id), shop.async_auth, edge)
    seen: list[int] = []

    async def counting(scope: Any, receive: Any, send: Any) -> None:
        names = [name for name, _ in scope.get("headers", ())]
        seen.append(names.count(b"cookie"))
        await app(scope, receive, send)

    site.serve_http2(cookies_apart(counting) if apart else counting)
    headers = {"Cookie": f"theme=dark; {COOKIE}={signed_in(shop)}; lang=en"}
    with httpx.Client(http2=True, verify=False, trust_env=False) as client:
        answer = client.get(site.url(), headers=headers)
    assert (answer.http_version, answer.text) == ("HTTP/2", USER_ID)
    assert seen[-1] == (3 if apart else 1)


def test_a_websocket_on_a_server(shop: Shop, sites: Sites) -> None:
    site = sites.at("http://127.0.0.1")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            return
        session = session_of(scope)
        await receive()
        await session.require()
        await send({"type": "websocket.accept"})
        await until_ended(session, OFTEN)
        await session.recheck()
        raise teapot(HTTPStatus.UNAUTHORIZED)

    edge = Edge(origins=[site.origin])
    site.serve_asgi(SessionMiddleware(app, shop.async_auth, edge))
    address = site.url().replace("http", "ws", 1)
    cookie = {"Cookie": f"{COOKIE}={signed_in(shop)}"}

    def status(origin: str, headers: Mapping[str, str]) -> int:
        with pytest.raises(InvalidStatus) as refused:
            connect(address, origin=Origin(origin), additional_headers=headers, proxy=None)
        return refused.value.response.status_code

    assert status(site.origin, {}) == 403
    assert status(EVIL, cookie) == 403
    with connect(
        address, origin=Origin(site.origin), additional_headers=cookie, proxy=None
    ) as socket:
        shop.auth.logout_everywhere(USER_ID)
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(PATIENCE_SECONDS)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == UNAUTHORIZED
    shop.take_store_down()
    assert status(site.origin, cookie) == 503
