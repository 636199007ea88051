"""
The WSGI middleware, before a server that keeps to the letter of PEP 3333 and counts.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from datetime import timedelta
from http import HTTPStatus
from typing import Any, cast
from wsgiref.headers import Headers
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment
from wsgiref.util import FileWrapper, setup_testing_defaults
from wsgiref.validate import validator

import pytest

from sessioncore import LoggedIn, OutcomeUnknown, StoreUnavailable
from sessioncore.session import SessionId
from sessioncore_http import (
    Answer,
    Edge,
    Interruption,
    Problem,
    RequestHead,
    RequestSession,
    ResponseStarted,
    safe_target,
)
from sessioncore_wsgi import SessionMiddleware, request_head, session_of
from web.shop import MINUTE, PASSWORD, SECOND, USER_ID, Shop
from web.visitor import COOKIE, SetCookie

ORIGIN = "http://127.0.0.1:8000"
EDGE = Edge(origins=[ORIGIN], sign_in_path="/sign-in", step_up_path="/step-up")

NOTHING: Mapping[str, Any] = {}

Start = tuple[str, list[tuple[str, str]]]


@pytest.fixture
def shop() -> Iterator[Shop]:
    with Shop() as shop:
        yield shop


class Server:
    """
    One request. Headers are sent with the first part of the body that is not empty.
    """

    def __init__(self, app: WSGIApplication, **environ: Any) -> None:
        self._app = app
        self.environ: WSGIEnvironment = {"REMOTE_ADDR": "192.0.2.7", **environ}
        setup_testing_defaults(self.environ)
        self._set: Start | None = None
        self._sent: Start | None = None
        self.parts: list[bytes] = []
        self.body: Iterable[bytes] | None = None

    def ask(self) -> Server:
        """
        Call the application, unless it was called; take everything, and close.
        """
        if self.body is None:
            self.call()
        try:
            for part in self.body or ():
                self._take(part)
            self._send()
        finally:
            self.hang_up()
        return self

    def call(self) -> None:
        """
        Call the application.
        """
        self.body = self._app(self.environ, self.start_response)

    def take_one(self) -> bytes:
        """
        Take one part of the body.
        """
        part = next(cast("Iterator[bytes]", self.body))
        self._take(part)
        return part

    def hang_up(self) -> None:
        """
        Close the body.
        """
        close: Any = getattr(self.body, "close", None)
        if close is not None:
            close()

    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None, /
    ) -> Callable[[bytes], object]:
        if exc_info is not None:
            if self._sent is not None:
                raise exc_info[1]
        else:
            assert self._set is None, "start_response was called twice"
        self._set = (status, headers)
        return self._take

    def _take(self, part: bytes) -> None:
        assert self._set is not None, "a part before start_response"
        if part:
            self._send()
        self.parts.append(part)

    def _send(self) -> None:
        assert self._set is not None, "the application never called start_response"
        self._sent = self._sent or self._set

    @property
    def has_started(self) -> bool:
        return self._set is not None

    @property
    def status(self) -> int:
        assert self._sent is not None
        return int(self._sent[0].split()[0])

    @property
    def headers(self) -> Headers:
        assert self._sent is not None
        return Headers(self._sent[1])

    @property
    def cookie(self) -> SetCookie | None:
        parsed = [SetCookie.parse(value) for value in self.headers.get_all("Set-Cookie")]
        ours = [cookie for cookie in parsed if cookie.name == COOKIE]
        assert len(ours) <= 1
        return ours[0] if ours else None

    @property
    def text(self) -> str:
        return b"".join(self.parts).decode()


def behind(
    shop: Shop,
    app: WSGIApplication,
    edge: Edge = EDGE,
    *,
    cookie: str | None = None,
    environ: Mapping[str, Any] = NOTHING,
) -> Server:
    """
    A request to *app* behind the middleware.
    """
    brought = {} if cookie is None else {"HTTP_COOKIE": f"{COOKIE}={cookie}"}
    return Server(SessionMiddleware(app, shop.auth, edge), **brought, **environ)


def signed_in(shop: Shop) -> str:
    """
    The cookie of somebody who has just signed in.
    """
    outcome = shop.auth.login("alice", PASSWORD)
    assert isinstance(outcome, LoggedIn)
    shop.journal.forget()
    return outcome.session_id.reveal()


def sign_in(environ: WSGIEnvironment) -> None:
    assert isinstance(session_of(environ).login("alice", PASSWORD), LoggedIn)


def is_signed_in_anywhere(shop: Shop) -> bool:
    return bool(shop.auth.sessions_of(USER_ID))


def answers(
    ask: Callable[[RequestSession], object] = lambda _session: "", status: str = "200 OK"
) -> WSGIApplication:
    """
    An application that asks its session for something, and says what it got.
    """

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        body = str(ask(session_of(environ))).encode()
        start_response(status, [("Content-Type", "text/plain")])
        return [body]

    return app


class Body:
    """
    A body that knows whether it was closed.
    """

    def __init__(self, *parts: bytes | Exception) -> None:
        self._parts = iter(parts)
        self.closed = 0

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        part = next(self._parts)
        if isinstance(part, Exception):
            raise part
        return part

    def close(self) -> None:
        self.closed += 1


def returning(body: Iterable[bytes], *, sign: bool = False) -> WSGIApplication:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if sign:
            sign_in(environ)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return body

    return app


# -- Nothing is read before somebody asks --------------------------------------------


def test_a_request_that_never_asks_costs_no_call_to_the_store(shop: Shop) -> None:
    cookie = signed_in(shop)
    shop.wait(20 * MINUTE)  # a touch and a renewal are due
    answer = behind(shop, answers(), cookie=cookie).ask()
    assert shop.journal.names() == []
    assert answer.headers.keys() == ["Content-Type"]


def test_a_request_that_asks_costs_one_read_however_often_it_asks(shop: Shop) -> None:
    def ask(session: RequestSession) -> object:
        for _ in range(3):
            session.authenticate()
            session.user_id()
            session.require()
            session.require_fresh()
        return session.user_id()

    answer = behind(shop, answers(ask), cookie=signed_in(shop)).ask()
    assert (answer.text, shop.journal.names()) == (USER_ID, ["find"])


@pytest.mark.parametrize("cookie", [None, "", "x", "x" * 5000, "\xff"])
def test_no_store_is_asked_about_what_is_no_id(shop: Shop, cookie: str | None) -> None:
    answer = behind(shop, answers(RequestSession.user_id), cookie=cookie).ask()
    assert (answer.text, shop.journal.names()) == ("None", [])


def test_whoever_asked_gets_an_answer_that_no_cache_keeps(shop: Shop) -> None:
    for cookie in (None, signed_in(shop)):
        answer = behind(shop, answers(RequestSession.user_id), cookie=cookie).ask()
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Vary"] == "Cookie"
        assert answer.cookie is None


def test_who_did_not_pass_the_middleware_has_no_session(shop: Shop) -> None:
    with pytest.raises(LookupError, match="did not pass"):
        Server(answers()).ask()


# -- Bodies --------------------------------------------------------------------------


def test_a_generator_may_sign_in_until_its_first_part(shop: Shop) -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Generator[bytes]:
        start_response("200 OK", [])
        sign_in(environ)
        yield b"one"
        yield b"two"

    answer = behind(shop, app)
    answer.call()
    assert not answer.has_started
    assert answer.take_one() == b"one"
    assert answer.cookie is not None
    assert answer.take_one() == b"two"


def test_a_body_without_parts_starts_at_its_end(shop: Shop) -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Generator[bytes]:
        start_response("204 No Content", [])
        sign_in(environ)
        yield from ()

    answer = behind(shop, app).ask()
    assert (answer.status, answer.parts) == (204, [])
    assert answer.cookie is not None


@pytest.mark.parametrize("first", [b"", b"part"])
def test_the_first_part_is_passed_on_at_once_and_after_it_nobody_signs_in(
    shop: Shop, first: bytes
) -> None:
    # PEP 3333: a middleware must not wait for a second part, and no part, an empty one
    # included, may come before start_response.
    caught: list[ResponseStarted] = []

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Generator[bytes]:
        start_response("200 OK", [])
        yield first
        try:
            sign_in(environ)
        except ResponseStarted as error:
            caught.append(error)
        yield b"end"

    answer = behind(shop, app)
    answer.call()
    assert answer.take_one() == first
    assert answer.has_started
    assert answer.take_one() == b"end"
    assert len(caught) == 1
    assert shop.journal.names() == []
    assert answer.cookie is None


def test_what_was_asked_before_the_start_is_known_after_it(shop: Shop) -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Generator[bytes]:
        start_response("200 OK", [])
        session_of(environ).user_id()
        yield b"user "
        yield str(session_of(environ).user_id()).encode()

    assert behind(shop, app, cookie=signed_in(shop)).ask().text == f"user {USER_ID}"
    assert shop.journal.names() == ["find"]


def test_start_response_may_be_called_as_late_as_with_the_first_part(shop: Shop) -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Generator[bytes]:
        sign_in(environ)
        start_response("200 OK", [])
        yield b"late"

    answer = behind(shop, app).ask()
    assert answer.text == "late"
    assert answer.cookie is not None


def test_write_starts_the_response(shop: Shop) -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        write = start_response("200 OK", [])
        sign_in(environ)
        write(b"one ")
        with pytest.raises(ResponseStarted):
            session_of(environ).logout()
        write(b"two ")
        return [b"three"]

    answer = behind(shop, app).ask()
    assert answer.text == "one two three"
    assert answer.cookie is not None
    assert is_signed_in_anywhere(shop)


@pytest.mark.parametrize("body", [[b"one"], (b"one", b"two"), []])
def test_a_body_that_is_complete_is_left_as_it_is(shop: Shop, body: Iterable[bytes]) -> None:
    # The server may then say how long it is, all by itself.
    answer = behind(shop, returning(body, sign=True))
    answer.call()
    assert answer.body is body
    assert answer.ask().cookie is not None


def test_a_file_is_left_to_the_server_in_its_own_wrapper(shop: Shop) -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        sign_in(environ)
        start_response("200 OK", [])
        wrapped: Iterable[bytes] = environ["wsgi.file_wrapper"](io.BytesIO(b"content"))
        return wrapped

    answer = behind(shop, app, environ={"wsgi.file_wrapper": FileWrapper}).ask()
    assert isinstance(answer.body, FileWrapper)
    assert answer.text == "content"
    assert answer.cookie is not None


def test_a_wrapper_of_unknown_type_is_a_body_like_others(shop: Shop) -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [])
        wrapped: Iterable[bytes] = environ["wsgi.file_wrapper"](io.BytesIO(b"content"))
        return wrapped

    answer = behind(shop, app, environ={"wsgi.file_wrapper": iter}).ask()
    assert answer.text == "content"


def test_a_body_is_closed_once(shop: Shop) -> None:
    body = Body(b"one", b"two")
    behind(shop, returning(body)).ask()
    assert body.closed == 1


def test_a_body_that_fails_is_closed(shop: Shop) -> None:
    body = Body(b"one", RuntimeError("oh"))
    with pytest.raises(RuntimeError, match="oh"):
        behind(shop, returning(body)).ask()
    assert body.closed == 1


def test_a_body_that_nobody_wanted_is_closed(shop: Shop) -> None:
    body = Body(b"one")
    answer = behind(shop, returning(body))
    answer.call()
    answer.hang_up()
    assert body.closed == 1


def test_a_file_is_closed_if_its_response_cannot_start(shop: Shop) -> None:
    file = io.BytesIO(b"content")

    def app(_environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [])
        return FileWrapper(file)

    def refuse(*_: object) -> Callable[[bytes], object]:
        raise ConnectionError("gone")

    answer = behind(shop, app, environ={"wsgi.file_wrapper": FileWrapper})
    with pytest.raises(ConnectionError):
        SessionMiddleware(app, shop.auth, EDGE)(answer.environ, refuse)
    assert file.closed


# -- Changing one's mind about the headers -------------------------------------------


def failing_after(first: list[bytes]) -> WSGIApplication:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Generator[bytes]:
        sign_in(environ)
        start_response("200 OK", [("Set-Cookie", f"{COOKIE}=ours; Path=/")])
        yield from first
        try:
            int("x")
        except ValueError:
            own = [("Set-Cookie", f"{COOKIE}=theirs; Path=/"), ("X-Error", "yes")]
            start_response("500 Internal Server Error", own, sys.exc_info())
            yield b"sorry"

    return app


@pytest.mark.parametrize("first", [[], [b""]])
def test_an_application_may_start_anew_while_nothing_is_sent(
    shop: Shop, first: list[bytes]
) -> None:
    answer = behind(shop, failing_after(first)).ask()
    assert (answer.status, answer.text, answer.headers["X-Error"]) == (500, "sorry", "yes")
    cookie = answer.cookie
    assert cookie is not None
    assert SessionId.parse(cookie.value) is not None
    assert answer.headers["Cache-Control"] == "no-store"


def test_it_may_not_once_something_is_sent(shop: Shop) -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        behind(shop, failing_after([b"part"])).ask()


def test_it_may_not_without_an_error(shop: Shop) -> None:
    def app(_environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        start_response("200 OK", [])
        start_response("404 Not Found", [])
        return []

    with pytest.raises(AssertionError, match="twice"):
        behind(shop, app).ask()


# -- When something fails ------------------------------------------------------------


def fails_at_once(environ: WSGIEnvironment, _start: StartResponse) -> Iterable[bytes]:
    sign_in(environ)
    raise RuntimeError("oh")


def fails_when_asked_for_a_part(
    environ: WSGIEnvironment, start_response: StartResponse
) -> Generator[bytes]:
    sign_in(environ)
    start_response("200 OK", [])
    if environ["PATH_INFO"] == "/":
        raise RuntimeError("oh")
    yield b""


def returns_nothing(environ: WSGIEnvironment, start_response: StartResponse) -> Any:
    sign_in(environ)
    start_response("200 OK", [])


def never_starts(environ: WSGIEnvironment, _start: StartResponse) -> Iterable[bytes]:
    sign_in(environ)
    return [b"part"]


def never_starts_a_stream(environ: WSGIEnvironment, _start: StartResponse) -> Iterable[bytes]:
    sign_in(environ)
    return iter([b"part"])


@pytest.mark.parametrize(
    "app",
    [
        fails_at_once,
        fails_when_asked_for_a_part,
        returns_nothing,
        never_starts,
        never_starts_a_stream,
    ],
)
def test_who_signs_in_and_gets_no_answer_is_not_signed_in(shop: Shop, app: WSGIApplication) -> None:
    with pytest.raises((RuntimeError, TypeError, AssertionError)):
        behind(shop, app).ask()
    assert not is_signed_in_anywhere(shop)


def test_who_signs_in_and_hangs_up_before_the_answer_is_not_signed_in(shop: Shop) -> None:
    answer = behind(shop, returning(Body(b"part"), sign=True))
    answer.call()
    assert is_signed_in_anywhere(shop)
    answer.hang_up()
    assert not is_signed_in_anywhere(shop)


def test_who_signs_in_is_signed_in_though_the_body_fails_later(shop: Shop) -> None:
    with pytest.raises(RuntimeError):
        behind(shop, returning(Body(b"part", RuntimeError("oh")), sign=True)).ask()
    assert is_signed_in_anywhere(shop)


def test_who_signs_in_and_is_then_stopped_gets_the_cookie_with_that_answer(shop: Shop) -> None:
    def ask(session: RequestSession) -> object:
        session.login("alice", PASSWORD)
        raise Interruption(_teapot())

    answer = behind(shop, answers(ask)).ask()
    assert answer.status == 418
    assert answer.cookie is not None
    assert is_signed_in_anywhere(shop)


def test_a_page_of_refusals_that_fails_is_a_failure_of_the_application(shop: Shop) -> None:
    def render(_problem: Problem, _head: RequestHead) -> Answer:
        raise RuntimeError("no template")

    def ask(session: RequestSession) -> object:
        session.login("alice", PASSWORD)
        raise Interruption(_teapot())

    with pytest.raises(RuntimeError, match="no template"):
        behind(shop, answers(ask), Edge(origins=[ORIGIN], render=render)).ask()
    assert not is_signed_in_anywhere(shop)


def _teapot() -> Problem:
    return Problem(status=HTTPStatus.IM_A_TEAPOT, code="teapot", title="No", detail="No coffee.")


def streams(first: list[bytes], ask: Callable[[RequestSession], object]) -> WSGIApplication:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Generator[bytes]:
        session = session_of(environ)
        session.authenticate()
        start_response("200 OK", [("X-Own", "yes")])
        yield from first
        yield str(ask(session)).encode()

    return app


def raises(error: Exception) -> Callable[[RequestSession], object]:
    def ask(_session: RequestSession) -> object:
        raise error

    return ask


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (StoreUnavailable("down"), b'"unavailable"'),
        (OutcomeUnknown("lost"), b'"not-confirmed"'),
    ],
)
def test_an_outage_becomes_a_503(shop: Shop, error: Exception, code: bytes) -> None:
    for app in (answers(raises(error)), streams([], raises(error))):
        answer = behind(shop, app).ask()
        assert answer.status == 503
        assert answer.headers["Retry-After"] == "5"
        assert answer.headers["X-Own"] is None
        assert code in answer.text.encode()


def test_an_outage_brings_no_renewed_id(shop: Shop) -> None:
    cookie = signed_in(shop)
    shop.wait(16 * MINUTE)
    app = streams([], raises(StoreUnavailable("down")))
    assert behind(shop, app, cookie=cookie).ask().cookie is None
    assert behind(shop, answers(RequestSession.user_id), cookie=cookie).ask().cookie is not None


def test_what_is_required_becomes_its_answer(shop: Shop) -> None:
    window = {"HTTP_ACCEPT": "text/html", "PATH_INFO": "/a b", "QUERY_STRING": "c=d"}
    for app in (answers(RequestSession.require), streams([], RequestSession.require)):
        program = behind(shop, app).ask()
        assert (program.status, program.headers["X-Own"]) == (401, None)
        answer = behind(shop, app, environ=window).ask()
        assert answer.status == 303
        assert answer.headers["Location"] == "/sign-in?next=%2Fa%2520b%3Fc%3Dd"


@pytest.mark.parametrize("error", [StoreUnavailable("down"), Interruption(_teapot())])
def test_after_the_start_the_server_is_told(shop: Shop, error: Exception) -> None:
    def writes(_environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        start_response("200 OK", [])(b"part")
        raise error

    for app in (writes, streams([b"part"], raises(error))):
        answer = behind(shop, app)
        with pytest.raises(type(error)):
            answer.ask()
        assert answer.text == "part"


def test_an_application_that_catches_a_refusal_gives_the_answer(shop: Shop) -> None:
    def ask(session: RequestSession) -> object:
        with pytest.raises(Interruption):
            session.require()
        return "its own"

    answer = behind(shop, answers(ask, "400 Bad Request")).ask()
    assert (answer.status, answer.text) == (400, "its own")
    assert answer.headers["Cache-Control"] == "no-store"


def test_the_body_of_an_interrupted_stream_is_closed(shop: Shop) -> None:
    body = Body(Interruption(_teapot()))
    assert behind(shop, returning(body)).ask().status == 418
    assert body.closed == 1


@pytest.mark.parametrize("error", [StoreUnavailable("down"), Interruption(_teapot())])
def test_the_answer_to_head_has_no_body(shop: Shop, error: Exception) -> None:
    for app in (answers(raises(error)), streams([], raises(error))):
        asked = behind(shop, app, environ={"REQUEST_METHOD": "HEAD"}).ask()
        got = behind(shop, app).ask()
        assert (asked.status, asked.text) == (got.status, "")
        assert asked.headers.items() == got.headers.items()


# -- Renewal -------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["200 OK", "304 Not Modified", "404 Not Found"])
def test_a_renewed_id_comes_with_whatever_answer(shop: Shop, status: str) -> None:
    cookie = signed_in(shop)
    shop.wait(16 * MINUTE)
    answer = behind(shop, answers(RequestSession.user_id, status), cookie=cookie).ask()
    assert answer.cookie is not None
    assert answer.cookie.value != cookie


def test_requests_of_one_cookie_at_a_renewal_bring_one_id(shop: Shop) -> None:
    cookie = signed_in(shop)
    shop.wait(16 * MINUTE)
    streaming = behind(shop, streams([b"part"], RequestSession.user_id), cookie=cookie)
    streaming.call()
    other = behind(shop, answers(RequestSession.user_id), cookie=cookie).ask()
    streaming.ask()
    assert other.cookie is not None
    assert streaming.cookie == other.cookie
    assert streaming.text == f"part{USER_ID}"


def stops_before_its_first_part(
    environ: WSGIEnvironment, start_response: StartResponse
) -> Iterable[bytes]:
    session_of(environ).user_id()
    start_response("200 OK", [])
    return Body(b"part")


def test_a_renewed_id_is_left_out_when_somebody_has_signed_out_meanwhile(shop: Shop) -> None:
    cookie = signed_in(shop)
    shop.wait(16 * MINUTE)
    slow = behind(shop, stops_before_its_first_part, cookie=cookie)
    slow.call()
    shop.auth.logout(cookie)
    assert slow.take_one() == b"part"
    assert slow.cookie is None


def test_a_renewed_id_is_left_out_when_it_comes_too_late(shop: Shop) -> None:
    cookie = signed_in(shop)
    shop.wait(16 * MINUTE)
    slow = behind(shop, stops_before_its_first_part, cookie=cookie)
    slow.call()
    shop.wait(31 * SECOND)
    slow.take_one()
    assert slow.cookie is None
    assert behind(shop, answers(RequestSession.user_id), cookie=cookie).ask().text == USER_ID


def test_a_renewed_id_is_left_out_in_an_outage_and_the_answer_stands(shop: Shop) -> None:
    cookie = signed_in(shop)
    shop.wait(16 * MINUTE)
    slow = behind(shop, stops_before_its_first_part, cookie=cookie)
    slow.call()
    shop.take_store_down()
    assert slow.take_one() == b"part"
    assert slow.cookie is None


# -- What is refused, and what is read of a request ----------------------------------


def test_what_another_site_causes_never_reaches_the_application(shop: Shop) -> None:
    body = Body(b"part")
    foreign = {"REQUEST_METHOD": "POST", "HTTP_ORIGIN": "https://evil.example"}
    answer = behind(shop, returning(body), cookie=signed_in(shop), environ=foreign).ask()
    assert (answer.status, body.closed, shop.journal.names()) == (403, 0, [])


def test_a_handshake_that_reaches_wsgi_is_no_way_around(shop: Shop) -> None:
    foreign = {"HTTP_UPGRADE": "WebSocket", "HTTP_ORIGIN": "https://evil.example"}
    assert behind(shop, answers(), environ=foreign).ask().status == 403


def head_of(**environ: Any) -> RequestHead:
    setup_testing_defaults(environ)
    return request_head(environ, EDGE)


def test_paths_are_decoded_and_targets_are_as_they_were_sent() -> None:
    latin = "/grüße".encode().decode("latin-1")  # as PEP 3333 has it
    head = head_of(SCRIPT_NAME="/app", PATH_INFO=latin, QUERY_STRING="q=%2F")
    assert head.path == "/app/grüße"
    assert head.target == "/app/gr%C3%BC%C3%9Fe?q=%2F"
    assert safe_target(head.target) == head.target


def test_a_path_that_is_no_utf_8_is_a_path_all_the_same() -> None:
    head = head_of(PATH_INFO="/\xff", QUERY_STRING="")
    assert (head.path, head.target) == ("/\ufffd", "/%FF")


def test_a_head_says_what_the_request_brought() -> None:
    head = head_of(
        HTTP_COOKIE="a=1",
        HTTP_ORIGIN="null",
        HTTP_SEC_FETCH_SITE="none",
        HTTP_SEC_FETCH_MODE="navigate",
        HTTP_ACCEPT="*/*",
        HTTP_USER_AGENT="Lynx",
        REMOTE_ADDR="::1",
        REQUEST_METHOD="PUT",
    )
    assert (head.cookies, head.origin, head.fetch_site) == (("a=1",), "null", "none")
    assert (head.fetch_mode, head.accept, head.user_agent) == ("navigate", "*/*", "Lynx")
    assert (head.address, head.method, head.is_websocket) == ("::1", "PUT", False)


# -- By the book ---------------------------------------------------------------------


def by_the_book(app: WSGIApplication, shop: Shop) -> WSGIApplication:
    return validator(SessionMiddleware(validator(app), shop.auth, EDGE))


def writes(_environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])(b"part")
    return []


def starts_anew(_environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    try:
        int("x")
    except ValueError:
        plain = [("Content-Type", "text/plain")]
        start_response("500 Internal Server Error", plain, sys.exc_info())
    return [b"part"]


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    ("app", "status"),
    [
        (answers(RequestSession.user_id), 200),
        (returning([b"one"]), 200),
        (returning(Body(b"", b"one", b"")), 200),
        (returning(Body()), 200),
        (writes, 200),
        (starts_anew, 500),
        (answers(RequestSession.require), 303),
        (answers(raises(StoreUnavailable("down"))), 503),
        (answers(lambda session: session.login("alice", PASSWORD)), 200),
    ],
)
def test_wsgiref_has_no_complaint(
    shop: Shop, app: WSGIApplication, status: int, method: str
) -> None:
    environ = {"REQUEST_METHOD": method, "HTTP_ACCEPT": "text/html", "CONTENT_LENGTH": "0"}
    answer = Server(by_the_book(app, shop), QUERY_STRING="", **environ)
    answer.environ["wsgi.input"] = io.BytesIO()
    assert answer.ask().status == status


def test_nor_has_it_one_of_a_refusal(shop: Shop) -> None:
    foreign = {"REQUEST_METHOD": "POST", "HTTP_SEC_FETCH_SITE": "cross-site", "QUERY_STRING": ""}
    assert Server(by_the_book(answers(), shop), **foreign).ask().status == 403


def test_grace_is_judged_by_when_a_request_arrived(shop: Shop) -> None:
    # It waits for its body while another one renews the id and confirms it.
    cookie = signed_in(shop)
    shop.wait(16 * MINUTE)
    slow = behind(shop, streams([], RequestSession.user_id), cookie=cookie)
    slow.call()
    renewed = behind(shop, answers(RequestSession.user_id), cookie=cookie).ask().cookie
    assert renewed is not None
    behind(shop, answers(RequestSession.user_id), cookie=renewed.value).ask()
    shop.wait(timedelta(seconds=50))
    assert slow.ask().text == USER_ID


def test_an_application_that_is_mounted_in_another_shares_its_session(shop: Shop) -> None:
    def ask(session: RequestSession) -> object:
        return type(session.login("alice", PASSWORD)).__name__

    inner = SessionMiddleware(answers(ask), shop.auth, EDGE)
    asked = behind(shop, inner, environ={"REQUEST_METHOD": "POST"}).ask()
    assert asked.text == "LoggedIn"
    assert asked.cookie is not None


def test_only_a_get_is_a_handshake() -> None:
    assert head_of(HTTP_UPGRADE="WebSocket").is_websocket
    assert not head_of(HTTP_UPGRADE="WebSocket", REQUEST_METHOD="POST").is_websocket
