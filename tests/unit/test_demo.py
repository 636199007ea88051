"""
The demo, driven as a browser drives it: in process, over a socket, and as a program.
"""

import http.client
import io
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment
from wsgiref.validate import validator

import pytest

from examples.demo.app import BROWSER, POLICIES, REMEMBERED, compose
from examples.demo.audit import AuditTrail, told
from examples.demo.devices import described
from examples.demo.handlers import DemoUser, outage
from examples.demo.middleware import COOKIE_NAME, SessionMiddleware, presented_cookie, visit_of
from examples.demo.server import ADDRESS, listen
from examples.demo.web import Html, html
from sessioncore import OutcomeUnknown, StoreUnavailable
from sessioncore.events import LoginRefused, PasswordReplaced
from sessioncore.ports import PasswordCheck, SessionStore
from sessioncore.session import DataChange, Epoch, Locator, Roster, Session, Subject
from sessioncore.testing import ManualClock
from sessioncore_argon2 import Argon2Parameters, Argon2PasswordHasher
from sessioncore_memory import MemoryCredentialStore, MemorySessionStore

APP = Path(__file__).resolve().parents[2] / "examples" / "demo" / "app.py"

SOON = 30.0
"""How long a test waits for what must happen before it fails."""

HOST = "127.0.0.1:8000"
PASSWORD = DemoUser.PASSWORD
NEW_PASSWORD = "a new and longer one"
CHEAP = Argon2PasswordHasher(Argon2Parameters(memory_kib=8, passes=1, weaker_because="tests"))
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
CHROME = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/142.0.0.0 Safari/537.36"
)
HOSTILE = "<script>alert(1)</script>\"'&amp;"

MEMBERS_PAGES = ["/sessions", "/password", "/safe"]
FORMS = [
    "/counter",
    "/note",
    "/sign-in",
    "/sign-out",
    "/revoke",
    "/sign-out-others",
    "/sign-out-everywhere",
    "/password",
    "/safe",
]


@dataclass(frozen=True)
class Answer:
    status: int
    headers: list[tuple[str, str]]
    text: str

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def one(self, name: str) -> str | None:
        values = self.all(name)
        assert len(values) <= 1
        return values[0] if values else None

    @property
    def cookie(self) -> str | None:
        return self.one("Set-Cookie")


Transport = Callable[[str, str, dict[str, str], bytes], Answer]


def in_process(app: WSGIApplication, *, by_the_book: bool = True) -> Transport:
    checked = validator(app) if by_the_book else app

    def send(method: str, target: str, headers: dict[str, str], body: bytes) -> Answer:
        path, _, query = target.partition("?")
        environ: WSGIEnvironment = {
            "REQUEST_METHOD": method,
            "SCRIPT_NAME": "",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "SERVER_NAME": ADDRESS,
            "SERVER_PORT": "8000",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": "192.0.2.7",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(body),
            "wsgi.errors": io.StringIO(),
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }
        for name, value in headers.items():
            key = name.upper().replace("-", "_")
            key = key if key in {"CONTENT_TYPE", "CONTENT_LENGTH"} else f"HTTP_{key}"
            environ[key] = value
        started: list[tuple[str, list[tuple[str, str]]]] = []

        def start_response(
            status: str, own: list[tuple[str, str]], exc_info: Any = None, /
        ) -> Callable[[bytes], object]:
            started.append((status, own))
            return io.BytesIO().write

        result = checked(environ, start_response)
        content = b"".join(result)
        close = getattr(result, "close", None)
        if close is not None:
            close()
        [(status, own)] = started
        return Answer(int(status.split()[0]), own, content.decode())

    return send


def over_a_socket(host: str, port: int) -> Transport:
    def send(method: str, target: str, headers: dict[str, str], body: bytes) -> Answer:
        connection = http.client.HTTPConnection(host, port, timeout=SOON)
        try:
            connection.request(method, target, body or None, headers)
            response = connection.getresponse()
            return Answer(response.status, response.getheaders(), response.read().decode())
        finally:
            connection.close()

    return send


@dataclass
class Browser:
    """
    One cookie jar. The standard library's own keeps no Secure cookie over HTTP.
    """

    send: Transport
    host: str = HOST
    user_agent: str = FIREFOX
    keeps_cookies: bool = True
    jar: str | None = None
    """The value of our cookie."""

    extra: dict[str, str] = field(default_factory=dict[str, str])

    def request(
        self, method: str, target: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> Answer:
        sent = {"Host": self.host, "User-Agent": self.user_agent} | self.extra
        if self.jar is not None:
            sent["Cookie"] = f"theme=dark; {COOKIE_NAME}={self.jar}"
        answer = self.send(method, target, sent | (headers or {}), body)
        if (cookie := answer.cookie) is not None and self.keeps_cookies:
            name, _, value = cookie.partition(";")[0].partition("=")
            assert name == COOKIE_NAME
            self.jar = value or None
        return answer

    def get(self, target: str) -> Answer:
        return self.request("GET", target)

    def post(self, target: str, **form: str) -> Answer:
        body = urlencode({name.replace("_", "-"): value for name, value in form.items()}).encode()
        headers = {
            "Content-Type": "application/x-www-form-urlencoded",
            "Content-Length": str(len(body)),
            "Origin": f"http://{self.host}",
            "Sec-Fetch-Site": "same-origin",
        }
        return self.request("POST", target, body, headers)

    def submit(self, target: str, **form: str) -> Answer:
        """
        Post a form and go where the answer leads.
        """
        answer = self.post(target, **form)
        assert answer.status == 303, answer.text
        location = answer.one("Location")
        assert location is not None
        return self.get(location.partition("#")[0])

    def sign_in(self, password: str = PASSWORD, **form: str) -> Answer:
        return self.submit("/sign-in", username="demo", password=password, **form)

    @property
    def is_signed_in(self) -> bool:
        answer = self.get("/sessions")
        assert answer.status == 200 or (
            answer.status == 303 and (answer.one("Location") or "").startswith("/sign-in")
        )
        return answer.status == 200


class FragileSessionStore(MemorySessionStore):
    """
    A store that can be taken down.
    """

    fault: Exception | None = None

    def _strike(self) -> None:
        if self.fault is not None:
            raise self.fault

    def open_epoch(self, subject: Subject, at: Any, lives_for: timedelta, /) -> Epoch:
        self._strike()
        return super().open_epoch(subject, at, lives_for)

    def find(self, locator: Locator, /) -> Session | None:
        self._strike()
        return super().find(locator)

    def roster(self, subject: Subject, /) -> Roster:
        self._strike()
        return super().roster(subject)

    def delete(self, locator: Locator, expected: Session | None = None, /) -> bool:
        self._strike()
        return super().delete(locator, expected)


class FragileWrites(MemorySessionStore):
    """
    A store whose answers to writes of data get lost.
    """

    def write_data(self, locator: Locator, change: DataChange, /) -> Any:
        super().write_data(locator, change)
        raise OutcomeUnknown("the answer was lost")


class FragileRestarts(MemorySessionStore):
    """
    A store that is gone when all sessions are to be ended.
    """

    def restart(self, old: Session, new: Session, /) -> Locator | None:
        raise StoreUnavailable("gone")


class BusyHasher:
    def verify(self, encoded: str | None, password: str, /) -> PasswordCheck:
        return PasswordCheck.BUSY

    def hash(self, password: str, /) -> str:
        raise AssertionError


def users() -> MemoryCredentialStore:
    credentials = MemoryCredentialStore()
    encoded = CHEAP.hash(PASSWORD)
    assert isinstance(encoded, str)
    credentials.add_user(DemoUser.USER_ID, DemoUser.USERNAME, encoded)
    return credentials


class Demo:
    def __init__(self, store: SessionStore, passwords: Any = CHEAP) -> None:
        self.clock = ManualClock()
        self.auth, self.app = compose(
            sessions=store,
            credentials=users(),
            passwords=passwords,
            hosts=[HOST, "localhost:8000"],
            clock=self.clock,
        )
        self.send = in_process(self.app)

    def browser(self, user_agent: str = FIREFOX) -> Browser:
        return Browser(self.send, user_agent=user_agent)

    def signed_in(self, user_agent: str = FIREFOX, **form: str) -> Browser:
        browser = self.browser(user_agent)
        assert "Hello, demo" in browser.sign_in(**form).text
        return browser

    def wait(self, seconds: float) -> None:
        self.clock.advance(timedelta(seconds=seconds))


@pytest.fixture
def store() -> FragileSessionStore:
    return FragileSessionStore()


@pytest.fixture
def demo(store: FragileSessionStore) -> Demo:
    return Demo(store)


# -- Signing in ----------------------------------------------------------------


def test_the_sign_in_page_says_the_demo_user_and_password(demo: Demo) -> None:
    page = demo.browser().get("/sign-in")
    assert page.status == 200
    assert "<code>demo</code>" in page.text
    assert f"<code>{PASSWORD}</code>" in page.text


def test_a_signed_in_browser_is_recognised(demo: Demo) -> None:
    browser = demo.browser()
    assert not browser.is_signed_in
    assert "You are signed in." in browser.sign_in().text
    assert browser.is_signed_in
    page = browser.get("/")
    assert "Hello, demo" in page.text
    assert "user-1" in page.text
    assert "Firefox on Linux" in page.text


def test_head_is_get_without_a_body(demo: Demo) -> None:
    answer = demo.signed_in().request("HEAD", "/")
    assert (answer.status, answer.text) == (200, "")


@pytest.mark.parametrize("path", MEMBERS_PAGES)
def test_pages_for_members_send_others_to_sign_in(demo: Demo, path: str) -> None:
    answer = demo.browser().get(path)
    assert (answer.status, answer.one("Location")) == (303, "/sign-in")


@pytest.mark.parametrize("name", ["demo", "nobody", "", "\u0000", "x" * 300])
def test_a_wrong_name_and_a_wrong_password_get_the_same_answer(demo: Demo, name: str) -> None:
    answer = demo.browser().post("/sign-in", username=name, password="wrong")
    assert answer.status == 403
    assert "Wrong name or password." in answer.text
    assert answer.cookie is None
    assert answer.one("Cache-Control") == "no-store"


def test_guessing_is_throttled_and_the_answer_says_for_how_long(demo: Demo) -> None:
    browser = demo.browser()
    for _ in range(5):
        assert browser.post("/sign-in", username="demo", password="wrong").status == 403
    answer = browser.post("/sign-in", username="demo", password=PASSWORD)
    assert answer.status == 429
    assert answer.one("Retry-After") == "1"
    demo.wait(1)
    browser.sign_in()
    assert browser.is_signed_in


def test_stepping_up_is_throttled_like_signing_in(demo: Demo) -> None:
    browser = demo.signed_in()
    for _ in range(5):
        assert browser.post("/safe", password="wrong").status == 403
    assert browser.post("/safe", password=PASSWORD).status == 429


def test_a_busy_machine_says_try_again() -> None:
    browser = Demo(MemorySessionStore(), BusyHasher()).browser()
    answer = browser.post("/sign-in", username="demo", password=PASSWORD)
    assert answer.status == 503
    assert answer.one("Retry-After") == "1"


def test_one_session_too_many_evicts_the_one_seen_least_recently(demo: Demo) -> None:
    browsers: list[Browser] = []
    for _ in range(BROWSER.session_limit + 1):
        browsers.append(demo.signed_in())
        demo.wait(1)
    assert [browser.is_signed_in for browser in browsers] == [False, *[True] * 5]


# -- The cookie ----------------------------------------------------------------

COOKIE = rf"{COOKIE_NAME}=[A-Za-z0-9_-]{{72}}; Path=/; Secure; HttpOnly; SameSite=Lax"
DELETION = f"{COOKIE_NAME}=; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=0"


def test_the_cookie_has_exactly_these_attributes(demo: Demo) -> None:
    answer = demo.browser().post("/sign-in", username="demo", password=PASSWORD)
    assert re.fullmatch(COOKIE, answer.cookie or "")


def test_only_who_asks_for_it_stays_signed_in_when_the_browser_closes(demo: Demo) -> None:
    browser = demo.browser()
    answer = browser.post("/sign-in", username="demo", password=PASSWORD, remember="yes")
    assert re.fullmatch(COOKIE + "; Max-Age=2592000", answer.cookie or "")
    demo.wait(100)
    renewal = browser.get("/")
    assert re.fullmatch(COOKIE + "; Max-Age=2591900", renewal.cookie or "")
    assert REMEMBERED.persistent
    assert not BROWSER.persistent


def test_a_renewal_in_the_last_second_does_not_delete_the_cookie(demo: Demo) -> None:
    browser = demo.signed_in(remember="yes")
    for _ in range(2):
        demo.wait(timedelta(days=13).total_seconds())
        browser.get("/")
    demo.wait(timedelta(days=4).total_seconds() - 0.5)
    assert (browser.get("/").cookie or "").endswith("; Max-Age=1")


@pytest.mark.parametrize(
    ("header", "found"),
    [
        (None, None),
        ("", None),
        (f"{COOKIE_NAME}=a", "a"),
        (f"a=b; {COOKIE_NAME}=a;c=d", "a"),
        (f"{COOKIE_NAME}=a; {COOKIE_NAME}=a", "a"),
        (f"{COOKIE_NAME}=a; {COOKIE_NAME}=b", None),
        (f"{COOKIE_NAME}=a; {COOKIE_NAME}=", None),
        (COOKIE_NAME, None),
        (f"{COOKIE_NAME.lower()}=a", None),
        ("session=a", None),
        (f'{COOKIE_NAME}="a"', '"a"'),
    ],
)
def test_our_cookie_is_found_by_its_exact_name(header: str | None, found: str | None) -> None:
    assert presented_cookie(header) == found


def test_two_different_cookies_of_our_name_are_nobody(demo: Demo) -> None:
    browser, other = demo.signed_in(), demo.signed_in()
    both = {"Cookie": f"{COOKIE_NAME}={browser.jar}; {COOKIE_NAME}={other.jar}"}
    assert browser.request("GET", "/sessions", headers=both).status == 303
    twice = {"Cookie": f"{COOKIE_NAME}={browser.jar}; {COOKIE_NAME}={browser.jar}"}
    assert browser.request("GET", "/sessions", headers=twice).status == 200


@pytest.mark.parametrize("jar", ["", "x", "A" * 72, "A" * 71, "ä" * 72, "A" * 5000])
def test_what_is_no_id_is_ignored_and_left_alone(demo: Demo, jar: str) -> None:
    browser = demo.browser()
    browser.jar = jar.encode().decode("latin-1")
    answer = browser.get("/sessions")
    assert answer.status == 303
    assert answer.cookie is None


def test_the_id_is_on_no_page(demo: Demo) -> None:
    browser = demo.signed_in()
    assert browser.jar is not None
    for path in ["/", *MEMBERS_PAGES]:
        page = browser.get(path).text
        assert browser.jar not in page
        assert not re.search(r"\b[A-Za-z0-9_-]{72}\b", page)


@pytest.mark.parametrize("path", ["/", "/sign-in", *MEMBERS_PAGES])
def test_pages_are_kept_by_no_cache(demo: Demo, path: str) -> None:
    for browser in (demo.signed_in(), demo.browser()):
        answer = browser.get(path)
        assert answer.one("Cache-Control") == "no-store"
        assert answer.one("Vary") == "Cookie"


def test_answers_that_write_a_cookie_are_kept_by_no_cache(demo: Demo) -> None:
    answer = demo.browser().post("/sign-in", username="demo", password=PASSWORD)
    assert answer.one("Cache-Control") == "no-store"
    assert answer.one("Vary") == "Cookie"


@pytest.mark.parametrize("path", ["/style.css", "/icon.svg", "/nowhere"])
def test_what_reads_no_session_writes_no_cookie(demo: Demo, path: str) -> None:
    browser = demo.signed_in()
    demo.wait(25)
    answer = browser.get(path)
    assert answer.cookie is None
    assert answer.one("Vary") is None


def test_a_browser_that_keeps_no_cookie_is_told(demo: Demo) -> None:
    browser = demo.browser()
    browser.keeps_cookies = False
    assert "did not bring the session cookie back" in browser.sign_in().text
    assert 'role="alert"' in browser.submit("/counter").text


# -- Renewal -------------------------------------------------------------------


def fingerprint(page: Answer, which: str) -> str | None:
    found = re.search(rf"<dt>{which}</dt><dd>fingerprint <code>([0-9a-f]{{8}})</code>", page.text)
    return found and found[1]


def test_the_id_is_renewed_and_the_page_shows_that_it_changed(demo: Demo) -> None:
    browser = demo.signed_in()
    first_id, first = browser.jar, browser.get("/")
    assert first.cookie is None
    demo.wait(20)
    announced = browser.get("/")
    assert re.fullmatch(COOKIE, announced.cookie or "")
    assert browser.jar != first_id
    confirmed = browser.get("/")
    assert confirmed.cookie is None
    tags = [fingerprint(page, "Current id") for page in (first, announced, confirmed)]
    assert tags[0] == tags[1] != tags[2]
    assert fingerprint(announced, "Next id") == tags[2]
    assert fingerprint(confirmed, "Previous id") == tags[0]
    assert "the new one was used for the first time" in confirmed.text


def test_parallel_requests_at_renewal_all_succeed(demo: Demo) -> None:
    browser = demo.signed_in()
    old = browser.jar
    demo.wait(20)
    barrier = threading.Barrier(6)

    def load(_: int) -> Answer:
        tab = demo.browser()
        tab.jar = old
        barrier.wait(SOON)
        return tab.get("/sessions")

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(load, range(6)))
    assert {answer.status for answer in answers} == {200}
    [cookie] = {answer.cookie for answer in answers} - {None}
    browser.jar = (cookie or "").partition(";")[0].partition("=")[2]
    assert browser.is_signed_in
    # In its grace the id before still works; nobody is signed out by renewal.
    browser.jar = old
    assert browser.is_signed_in


def test_an_id_that_was_just_retired_is_asked_to_try_again_and_nothing_is_lost(
    demo: Demo,
) -> None:
    browser = demo.signed_in()
    old = browser.jar
    demo.wait(20)
    browser.get("/")
    new = browser.jar
    browser.get("/")
    demo.wait(6)
    browser.jar = old
    for path in ("/", "/sign-in", "/sessions"):
        answer = browser.get(path)
        assert answer.status == 409
        assert answer.cookie is None
    assert browser.post("/counter").status == 409
    browser.jar = new
    assert browser.is_signed_in


def test_a_copied_id_that_comes_late_ends_the_session(demo: Demo) -> None:
    browser, thief = demo.signed_in(), demo.browser()
    thief.jar = browser.jar
    demo.wait(20)
    browser.get("/")
    browser.get("/")
    demo.wait(10)
    assert not thief.is_signed_in
    assert not browser.is_signed_in
    assert "A retired session id came back" in browser.sign_in().text


def nothing() -> None:
    pass


def behind_the_middleware(
    demo: Demo, during: Callable[[], object] = nothing, *, before: Callable[[], object] = nothing
) -> Transport:
    """
    Put something that happens before or after the session is read.
    """

    def slow(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        before()
        outcome = visit_of(environ).authenticate()
        during()
        start_response("200 OK", [("Content-Type", "text/plain")])
        return iter([type(outcome).__name__.encode()])

    return in_process(between(demo, slow))


def between(demo: Demo, app: WSGIApplication) -> WSGIApplication:
    return SessionMiddleware(
        app, auth=demo.auth, policies=POLICIES, clock=demo.clock, outage=outage
    )


def test_a_request_that_had_to_wait_is_judged_by_its_arrival(demo: Demo) -> None:
    browser, tab = demo.signed_in(), demo.browser()
    tab.jar = browser.jar
    demo.wait(20)
    browser.get("/")
    browser.get("/")
    tab.send = behind_the_middleware(demo, before=lambda: demo.wait(6))
    assert tab.get("/").text == "Active"
    assert tab.get("/").text == "Inactive"


def test_an_outage_after_signing_out_still_deletes_the_cookie(demo: Demo) -> None:
    def app(environ: WSGIEnvironment, _start_response: StartResponse) -> Iterator[bytes]:
        visit_of(environ).forget()
        raise StoreUnavailable("down")

    browser = demo.signed_in()
    browser.send = in_process(between(demo, app))
    answer = browser.get("/")
    assert (answer.status, answer.cookie) == (503, DELETION)


def test_an_outage_is_kept_by_no_cache_even_if_no_session_was_read(demo: Demo) -> None:
    def app(_environ: WSGIEnvironment, _start_response: StartResponse) -> Iterator[bytes]:
        raise StoreUnavailable("down")

    answer = Browser(in_process(between(demo, app))).get("/")
    assert (answer.status, answer.one("Cache-Control")) == (503, "no-store")


def test_a_renewal_that_is_ready_in_time_is_sent(demo: Demo) -> None:
    browser = demo.signed_in()
    demo.wait(20)
    browser.send = behind_the_middleware(demo, lambda: demo.wait(5))
    assert browser.get("/").cookie is not None


def test_a_renewal_that_would_come_late_is_dropped_and_the_next_request_brings_it(
    demo: Demo,
) -> None:
    browser = demo.signed_in()
    demo.wait(20)
    browser.send = behind_the_middleware(demo, lambda: demo.wait(5.001))
    late = browser.get("/")
    assert late.cookie is None
    assert late.one("Cache-Control") == "no-store"
    browser.send = demo.send
    assert browser.get("/").cookie is not None


def test_no_cookie_is_written_after_a_logout_elsewhere(demo: Demo) -> None:
    browser, other_tab = demo.signed_in(), demo.browser()
    other_tab.jar = browser.jar
    demo.wait(20)
    browser.send = behind_the_middleware(demo, lambda: other_tab.post("/sign-out"))
    late = browser.get("/")
    assert other_tab.jar is None
    assert late.cookie is None


def test_no_renewal_is_written_when_the_store_goes_down_meanwhile(
    demo: Demo, store: FragileSessionStore
) -> None:
    browser = demo.signed_in()
    demo.wait(20)

    def go_down() -> None:
        store.fault = StoreUnavailable("down")

    browser.send = behind_the_middleware(demo, go_down)
    answer = browser.get("/")
    assert (answer.status, answer.cookie) == (200, None)


# -- Signing out ---------------------------------------------------------------


def test_signing_out_deletes_the_cookie_with_its_attributes_and_ends_the_session(
    demo: Demo,
) -> None:
    browser = demo.signed_in()
    held = browser.jar
    demo.wait(20)  # a renewal is due, and must not be written
    answer = browser.post("/sign-out")
    assert answer.cookie == DELETION
    assert answer.one("Cache-Control") == "no-store"
    assert "You are signed out." in browser.get(answer.one("Location") or "").text
    browser.jar = held
    assert not browser.is_signed_in


def test_a_dead_cookie_is_left_alone(demo: Demo) -> None:
    browser, tab = demo.signed_in(), demo.browser()
    tab.jar = browser.jar
    browser.post("/sign-out")
    for path in ("/", "/sessions", "/sign-in"):
        assert tab.get(path).cookie is None
    assert "has ended" in tab.get("/").text


def test_signing_out_everywhere_ends_all_sessions(demo: Demo) -> None:
    browser, other = demo.signed_in(), demo.signed_in(CHROME)
    answer = browser.post("/sign-out-everywhere")
    assert answer.cookie == DELETION
    assert not browser.is_signed_in
    assert not other.is_signed_in


def test_signing_out_everywhere_else_keeps_this_session_under_a_new_id(demo: Demo) -> None:
    browser, other = demo.signed_in(), demo.signed_in(CHROME)
    browser.submit("/counter")
    held = browser.jar
    page = browser.submit("/sign-out-others")
    assert "Every other session has ended" in page.text
    assert browser.jar != held
    assert browser.is_signed_in
    assert ">1</output>" in browser.get("/").text
    assert not other.is_signed_in
    browser.jar = held
    assert not browser.is_signed_in


# -- My sessions ---------------------------------------------------------------


def handles(page: Answer) -> list[str]:
    return re.findall(r'name="handle" value="([0-9a-f]{32})"', page.text)


def test_the_list_shows_device_address_and_last_seen(demo: Demo) -> None:
    browser = demo.signed_in()
    demo.signed_in(CHROME)
    demo.wait(300)
    page = browser.get("/sessions").text
    assert "Firefox on Linux" in page
    assert "Chrome on Windows" in page
    assert "192.0.2.7" in page
    assert "5 minutes ago" in page


def test_revoking_a_session_signs_its_browser_out_at_the_next_click(demo: Demo) -> None:
    browser, other = demo.signed_in(), demo.signed_in(CHROME)
    [handle] = handles(browser.get("/sessions"))
    assert "That session has ended." in browser.submit("/revoke", handle=handle).text
    assert not other.is_signed_in
    assert browser.is_signed_in
    assert "no such session" in browser.submit("/revoke", handle=handle).text


@pytest.mark.parametrize("handle", ["", "0" * 32, HOSTILE])
def test_revoking_what_is_no_session_of_mine_does_nothing(demo: Demo, handle: str) -> None:
    browser = demo.signed_in()
    assert "no such session" in browser.submit("/revoke", handle=handle).text
    assert browser.is_signed_in


# -- Password and step-up ------------------------------------------------------


def test_changing_the_password_signs_the_other_browser_out(demo: Demo) -> None:
    browser, other = demo.signed_in(), demo.signed_in(CHROME)
    held = browser.jar
    page = browser.submit("/password", password=PASSWORD, new_password=NEW_PASSWORD)
    assert "Your new password is in force" in page.text
    assert browser.jar != held
    assert browser.is_signed_in
    assert not other.is_signed_in
    assert other.post("/sign-in", username="demo", password=PASSWORD).status == 403
    other.sign_in(NEW_PASSWORD)
    assert other.is_signed_in


def test_the_sign_in_page_does_not_claim_a_password_that_was_changed(demo: Demo) -> None:
    demo.signed_in().post("/password", password=PASSWORD, new_password=NEW_PASSWORD)
    page = demo.browser().get("/sign-in").text
    assert PASSWORD not in page
    assert NEW_PASSWORD not in page


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("wrong", NEW_PASSWORD, "is not right"),
        (PASSWORD, "short", "at least 8 characters"),
        (PASSWORD, "x" * 5000, "too long"),
    ],
)
def test_a_password_is_not_changed_without_reason(
    demo: Demo, old: str, new: str, says: str
) -> None:
    browser, other = demo.signed_in(), demo.signed_in()
    answer = browser.post("/password", password=old, new_password=new)
    assert answer.status == 403
    assert says in answer.text
    assert answer.cookie is None
    assert other.is_signed_in


def test_a_changed_password_whose_sessions_live_on_is_not_hidden() -> None:
    browser = Demo(FragileRestarts()).signed_in()
    answer = browser.post("/password", password=PASSWORD, new_password=NEW_PASSWORD)
    assert answer.status == 503
    assert "could not be ended" in answer.text
    assert browser.post("/sign-out-everywhere").status == 303
    assert not browser.is_signed_in


def test_the_safe_is_open_after_signing_in_and_asks_again_later(demo: Demo) -> None:
    browser = demo.signed_in()
    assert "recovery codes" in browser.get("/safe").text
    demo.wait(61)
    page = browser.get("/safe")
    assert "recovery codes" not in page.text
    assert "give your password again" in page.text


def test_stepping_up_opens_the_safe_under_a_new_id(demo: Demo) -> None:
    browser = demo.signed_in()
    demo.wait(61)
    refused = browser.post("/safe", password="wrong")
    assert refused.status == 403
    assert "Wrong password." in refused.text
    held = browser.jar
    assert "recovery codes" in browser.submit("/safe", password=PASSWORD).text
    assert browser.jar != held
    browser.jar = held
    assert browser.get("/safe").status == 409
    demo.wait(11)
    assert not browser.is_signed_in


# -- Visitors ------------------------------------------------------------------


def test_a_visitor_gets_a_session_only_with_something_to_remember(demo: Demo) -> None:
    browser = demo.browser()
    assert browser.get("/").cookie is None
    assert re.fullmatch(COOKIE, browser.post("/counter").cookie or "")
    assert browser.post("/counter").cookie is None
    page = browser.get("/")
    assert ">2</output>" in page.text
    assert "Hello, visitor" in page.text
    assert not browser.is_signed_in


def test_what_a_visitor_left_comes_along_under_a_new_id(demo: Demo) -> None:
    browser = demo.browser()
    browser.submit("/counter")
    browser.submit("/note", note="buy milk")
    visitor = browser.jar
    page = browser.sign_in()
    assert ">1</output>" in page.text
    assert 'value="buy milk"' in page.text
    assert browser.jar != visitor
    browser.jar = visitor
    assert "Hello, visitor" in browser.get("/").text
    assert "buy milk" not in browser.get("/").text


def test_no_count_is_lost_in_parallel(demo: Demo) -> None:
    browser = demo.signed_in()

    def count(_: int) -> int:
        return browser.post("/counter").status

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(count, range(20))) == {303}
    assert ">20</output>" in browser.get("/").text


# -- Who may post --------------------------------------------------------------


@pytest.mark.parametrize("path", FORMS)
@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site", "Origin": f"http://{HOST}"},
        {"Sec-Fetch-Site": "same-site", "Origin": "http://127.0.0.1:9000"},
        {"Sec-Fetch-Site": "", "Origin": f"http://{HOST}"},
        {"Origin": "http://evil.example"},
        {"Origin": f"https://{HOST}"},
        {"Origin": f"http://{HOST}.evil.example"},
        {"Origin": "http://localhost:8000"},
        {"Origin": "null"},
        {},
    ],
)
def test_what_does_not_come_from_our_pages_is_refused(
    demo: Demo, path: str, headers: dict[str, str]
) -> None:
    browser = demo.signed_in()
    body = urlencode({"username": "demo", "password": PASSWORD, "new-password": "x" * 9}).encode()
    form = {
        "Content-Type": "application/x-www-form-urlencoded",
        "Content-Length": str(len(body)),
    }
    answer = browser.request("POST", path, body, form | headers)
    assert answer.status == 403
    assert answer.cookie is None
    page = browser.get("/")
    assert "Hello, demo" in page.text
    assert ">0</output>" in page.text


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": f"http://{HOST}"},
    ],
)
def test_our_own_pages_may_post(demo: Demo, headers: dict[str, str]) -> None:
    assert demo.signed_in().request("POST", "/counter", b"", headers).status == 303


def test_both_names_of_this_computer_are_ours(demo: Demo) -> None:
    browser = demo.browser()
    browser.host = "localhost:8000"
    browser.sign_in()
    assert browser.is_signed_in


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "127.0.0.1:9000", ""])
def test_a_foreign_name_that_points_here_is_refused(demo: Demo, host: str) -> None:
    browser = demo.signed_in()
    browser.host = host
    assert browser.get("/").status == 403


@pytest.mark.parametrize("path", FORMS)
def test_reading_changes_nothing(demo: Demo, path: str) -> None:
    browser, other = demo.signed_in(), demo.signed_in()
    for method in ("GET", "HEAD"):
        assert browser.request(method, path).status in {200, 303, 405}
    assert browser.is_signed_in
    assert other.is_signed_in
    assert ">0</output>" in browser.get("/").text


def test_other_methods_are_refused_with_the_ones_that_work(demo: Demo) -> None:
    answer = demo.signed_in().get("/counter")
    assert (answer.status, answer.one("Allow")) == (405, "POST")
    answer = demo.signed_in().request("OPTIONS", "/safe")
    assert (answer.status, answer.one("Allow")) == (405, "GET, POST, HEAD")


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({"Content-Type": "application/json", "Content-Length": "2"}, b"{}", 415),
        ({}, b"", 415),
        ({"Content-Length": ""}, b"", 411),
        ({"Content-Length": "-1"}, b"", 411),
        ({"Content-Length": "16385"}, b"", 413),
        ({"Content-Length": "9" * 5000}, b"", 413),
        ({"Content-Length": "15"}, b"username=%ff%fe", 400),
        ({"Content-Length": "2"}, "é".encode(), 400),
        ({"Content-Length": "84"}, b"a=1&" * 21, 400),
    ],
)
def test_what_no_form_sends_is_refused(
    demo: Demo, headers: dict[str, str], body: bytes, status: int
) -> None:
    sent = {"Sec-Fetch-Site": "same-origin"}
    if headers and "Content-Type" not in headers:
        sent["Content-Type"] = "application/x-www-form-urlencoded; charset=utf-8"
    browser = Browser(in_process(demo.app, by_the_book=False))
    answer = browser.request("POST", "/sign-in", body, sent | headers)
    assert (answer.status, answer.cookie) == (status, None)


@pytest.mark.parametrize("path", ["/", "/style.css", "/nowhere"])
def test_every_answer_has_the_security_headers(demo: Demo, path: str) -> None:
    browser = demo.browser()
    refused = browser.request("POST", path)
    for answer in (browser.get(path), refused):
        policy = answer.one("Content-Security-Policy") or ""
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.one("X-Content-Type-Options") == "nosniff"
        assert answer.one("Referrer-Policy") == "same-origin"


def test_a_foreign_link_announces_nothing(demo: Demo) -> None:
    browser = demo.signed_in()
    for site, announced in (("same-origin", True), ("cross-site", False), ("same-site", False)):
        page = browser.request("GET", "/?notice=password-changed", headers={"Sec-Fetch-Site": site})
        assert ("new password is in force" in page.text) is announced


# -- Outages -------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/sign-in", *MEMBERS_PAGES])
def test_a_store_that_is_down_is_an_outage_and_nobody_is_signed_out(
    demo: Demo, store: FragileSessionStore, path: str
) -> None:
    browser = demo.signed_in()
    store.fault = StoreUnavailable("down")
    answer = browser.get(path)
    assert answer.status == 503
    assert answer.one("Retry-After") == "5"
    assert answer.one("Cache-Control") == "no-store"
    assert answer.cookie is None
    store.fault = None
    assert browser.is_signed_in


@pytest.mark.parametrize("path", ["/counter", "/revoke", "/sign-in", "/sign-out-everywhere"])
def test_forms_report_an_outage_too(demo: Demo, store: FragileSessionStore, path: str) -> None:
    browser = demo.signed_in()
    store.fault = StoreUnavailable("down")
    answer = browser.post(path, username="demo", password=PASSWORD)
    assert (answer.status, answer.cookie) == (503, None)


def test_signing_out_while_the_store_is_down_deletes_the_cookie_and_is_not_called_done(
    demo: Demo, store: FragileSessionStore
) -> None:
    browser = demo.signed_in()
    store.fault = StoreUnavailable("down")
    answer = browser.post("/sign-out")
    assert answer.status == 503
    assert answer.cookie == DELETION
    assert "may live on" in answer.text


def test_a_write_whose_fate_is_unknown_is_called_so() -> None:
    answer = Demo(FragileWrites()).signed_in().post("/counter")
    assert answer.status == 503
    assert "It is not known whether" in answer.text


# -- What is shown -------------------------------------------------------------


def test_hostile_texts_are_shown_as_text(demo: Demo) -> None:
    browser = demo.signed_in(HOSTILE)
    browser.submit("/note", note=HOSTILE)
    browser.post("/sign-in", username=HOSTILE, password="wrong")
    pages = [browser.get(path).text for path in ("/", "/sessions", f"/?notice={HOSTILE}")]
    pages.append(browser.post("/sign-in", username=HOSTILE, password="wrong").text)
    for page in pages:
        assert "<script" not in page
        assert "alert(1)" not in page.replace("&lt;script&gt;alert(1)", "")
    assert "&lt;script&gt;" in pages[0]
    assert "&quot;&#x27;&amp;amp;" in pages[0]


def test_markup_is_escaped_unless_it_is_ours() -> None:
    assert html("<p>{a}{b}</p>", a="<&\"'>", b=Html("<br>")) == (
        "<p>&lt;&amp;&quot;&#x27;&gt;<br></p>"
    )


@pytest.mark.parametrize(
    ("user_agent", "words"),
    [
        (FIREFOX, "Firefox on Linux"),
        (CHROME, "Chrome on Windows"),
        (CHROME + " Edg/142.0.0.0", "Edge on Windows"),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Version/18.0 Safari/604.1",
            "Safari on iPhone",
        ),
        (
            "Mozilla/5.0 (Linux; Android 15) Chrome/142.0.0.0 Mobile Safari/537.36",
            "Chrome on Android",
        ),
        ("curl/8.5.0", "curl/8.5.0"),
        ("Firefox/1 Linux", "Firefox/1 Linux"),
        ("Mozilla/5.0 (Plan9) Firefox/1", "Mozilla/5.0 (Plan9) Firefox/1"),
        ("", "Unknown device"),
        (None, "Unknown device"),
    ],
)
def test_a_device_is_described_in_words(user_agent: str | None, words: str) -> None:
    assert described(user_agent) == words


def test_the_audit_trail_is_bounded_and_everybody_sees_their_own() -> None:
    trail, now = AuditTrail(entries=3), ManualClock().now()
    for number in range(5):
        trail.emit(LoginRefused(at=now, stamp=str(number), user_id="me"))
    trail.emit(LoginRefused(at=now, stamp="stranger"))
    trail.emit(PasswordReplaced(at=now, stamp="other", user_id="other"))
    assert [event.stamp for event in trail.latest("me", 10)] == ["4", "3"]
    assert [event.stamp for event in trail.latest("me", 1)] == ["4"]
    assert told(trail.latest("other", 1)[0]) == "The password was changed"


def test_what_happens_is_told_on_the_home_page(demo: Demo) -> None:
    browser = demo.signed_in()
    demo.browser().post("/sign-in", username="demo", password="wrong")
    demo.wait(61)
    browser.post("/safe", password=PASSWORD)
    browser.post("/sign-out-others")
    page = browser.get("/").text
    for words in (
        "Signed in with Firefox on Linux from 192.0.2.7",
        "A wrong password was refused",
        "A session id was replaced; newly proven: pwd",
        "All sessions but one were ended",
    ):
        assert words in page


# -- Over a socket -------------------------------------------------------------


@contextmanager
def served() -> Generator[tuple[Demo, Callable[[str], Browser]]]:
    server = listen(0, 0)
    demo = Demo(MemorySessionStore())
    demo.auth, app = compose(
        sessions=MemorySessionStore(),
        credentials=users(),
        passwords=CHEAP,
        hosts=server.hosts,
        clock=demo.clock,
    )
    server.set_app(app)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield (
            demo,
            lambda agent: Browser(
                over_a_socket(ADDRESS, server.server_port), server.hosts[0], agent
            ),
        )
    finally:
        server.shutdown()
        thread.join(SOON)
        server.server_close()


def load_home(tab: Browser) -> int:
    return tab.get("/").status


def test_a_whole_visit_over_a_socket() -> None:
    with served() as (demo, new_browser):
        browser, other = new_browser(FIREFOX), new_browser(CHROME)
        assert PASSWORD in browser.get("/sign-in").text
        assert "Hello, demo" in browser.sign_in().text
        assert browser.is_signed_in
        other.sign_in()

        held = browser.jar
        demo.wait(20)
        tabs = [new_browser(FIREFOX) for _ in range(6)]
        for tab in tabs:
            tab.jar = held
        with ThreadPoolExecutor(6) as pool:
            assert set(pool.map(load_home, tabs)) == {200}
        [renewed] = {tab.jar for tab in tabs}
        assert renewed != held
        browser.jar = renewed
        assert browser.is_signed_in

        [handle] = handles(browser.get("/sessions"))
        browser.submit("/revoke", handle=handle)
        assert not other.is_signed_in
        other.sign_in()
        assert other.is_signed_in

        assert "signed out here and everywhere else" in browser.submit("/sign-out-everywhere").text
        assert browser.jar is None
        assert not browser.is_signed_in
        assert not other.is_signed_in


def test_a_taken_port_is_passed_over_unless_it_was_asked_for() -> None:
    with socket.socket() as taken:
        taken.bind((ADDRESS, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with listen(None, port) as server:
            assert server.server_port not in {0, port}
            assert server.hosts == [
                f"127.0.0.1:{server.server_port}",
                f"localhost:{server.server_port}",
            ]
        with pytest.raises(OSError, match="in use"):
            listen(port, 0)


# -- The program itself --------------------------------------------------------


@contextmanager
def started(database: Path) -> Generator[tuple[subprocess.Popen[str], str]]:
    program = subprocess.Popen(
        [
            sys.executable,
            str(APP),
            "--port=0",
            f"--database={database}",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=database.parent,
    )
    try:
        assert program.stdout is not None
        lines: list[str] = []
        for line in program.stdout:
            lines.append(line)
            if "Ctrl-C" in line:
                break
        printed = "".join(lines)
        assert "demo" in printed
        assert PASSWORD in printed
        found = re.search(r"http://\S+", printed)
        assert found is not None, printed
        yield program, found[0]
    finally:
        if program.poll() is None:
            program.kill()
        program.communicate(timeout=SOON)


def stop(program: subprocess.Popen[str], with_signal: signal.Signals) -> None:
    program.send_signal(with_signal)
    output, errors = program.communicate(timeout=SOON)
    assert "Stopped." in output
    assert errors == ""
    assert program.returncode == 0


def browser_at(url: str) -> Browser:
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    return Browser(over_a_socket(parts.hostname, parts.port), parts.netloc)


def test_the_program_serves_and_remembers_what_it_knew_after_a_restart(tmp_path: Path) -> None:
    database = tmp_path / "new folder" / "demo.db"
    database.parent.mkdir()
    with started(database) as (program, url):
        browser = browser_at(url)
        browser.submit("/counter")
        browser.sign_in()
        browser.submit("/password", password=PASSWORD, new_password=NEW_PASSWORD)
        stop(program, signal.SIGINT)
    with started(database) as (program, url):
        again = browser_at(url)
        again.jar = browser.jar
        assert again.is_signed_in
        assert ">1</output>" in again.get("/").text
        stranger = browser_at(url)
        assert stranger.post("/sign-in", username="demo", password=PASSWORD).status == 403
        assert "Hello, demo" in stranger.sign_in(NEW_PASSWORD).text
        stop(program, signal.SIGTERM)


def test_the_program_says_what_it_cannot_use(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, str(APP), "--port=0", f"--database={tmp_path}"],
        capture_output=True,
        text=True,
        timeout=SOON,
        check=False,
    )
    assert ended.returncode == 1
    assert f"cannot use {tmp_path} as a database" in ended.stderr
    assert "Traceback" not in ended.stderr
