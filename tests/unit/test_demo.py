"""
The demo, driven as a browser drives it: in process, over a socket, and as a program.

What cookies and cross-origin requests are subject to is tested with the packages that see to
it; here is what the demo makes of them. How it looks and feels is tested in
``tests/browser/test_demo_in_a_browser.py``.
"""

import base64
import http.client
import io
import os
import queue
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
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit
from wsgiref.types import WSGIApplication, WSGIEnvironment
from wsgiref.validate import validator

import pytest
from databases import Database

from examples.demo.app import BROWSER, STORE_VARIABLE, compose, ensure_demo_user
from examples.demo.audit import AuditTrail, told
from examples.demo.devices import described
from examples.demo.handlers import DemoUser
from examples.demo.inside import SHOWN_BYTES, answer_to_forgery, forged
from examples.demo.live import LiveEvents
from examples.demo.server import ADDRESS, listen
from examples.demo.stores import Stores, UnusableStore, opened
from examples.demo.web import Html, html
from servers import RedisServer
from servers.local import free_port
from sessioncore import Active, OutcomeUnknown, SessionId, StoreUnavailable
from sessioncore.events import (
    EndReason,
    Event,
    LoginRefused,
    PasswordReplaced,
    SessionEnded,
    SessionLimitReached,
    SessionsLeftLive,
    SessionUnusable,
    UpkeepSkipped,
)
from sessioncore.outcomes import InactiveReason
from sessioncore.ports import PasswordCheck, SessionStore
from sessioncore.session import DataChange, Epoch, Locator, Roster, Session, Subject
from sessioncore.testing import ManualClock
from sessioncore_argon2 import Argon2Parameters, Argon2PasswordHasher
from sessioncore_http import SessionCookie
from sessioncore_memory import MemoryCredentialStore, MemorySessionStore

APP = Path(__file__).resolve().parents[2] / "examples" / "demo" / "app.py"

SOON = 30.0
"""How long a test waits for what must happen before it fails."""

HOST = "127.0.0.1:8000"
PASSWORD = DemoUser.PASSWORD
COOKIE_NAME = SessionCookie().name
NEW_PASSWORD = "a new and longer one"
CHEAP = Argon2PasswordHasher(Argon2Parameters(memory_kib=8, passes=1, weaker_because="tests"))
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
CHROME = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/142.0.0.0 Safari/537.36"
)
HOSTILE = "<script>alert(1)</script>\"'&amp;"

MEMBERS_PAGES = ["/devices", "/events", "/inside", "/password", "/safe"]


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


def environ_of(method: str, target: str, headers: dict[str, str], body: bytes) -> WSGIEnvironment:
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
    return environ


class Started:
    """
    A response under way.
    """

    def __init__(self, app: WSGIApplication, environ: WSGIEnvironment) -> None:
        self._heads: list[tuple[str, list[tuple[str, str]]]] = []
        self._body: Any = app(environ, self._start)
        self._parts = iter(self._body)

    def _start(
        self, status: str, own: list[tuple[str, str]], exc_info: Any = None, /
    ) -> Callable[[bytes], object]:
        self._heads.append((status, own))
        return io.BytesIO().write

    def __next__(self) -> str:
        part: bytes = next(self._parts)
        return part.decode()

    def close(self) -> None:
        close = getattr(self._body, "close", None)
        if close is not None:
            close()

    def answer(self) -> Answer:
        content = b"".join(self._parts)
        self.close()
        [(status, own)] = self._heads
        return Answer(int(status.split()[0]), own, content.decode())


def in_process(app: WSGIApplication, *, by_the_book: bool = True) -> Transport:
    checked = validator(app) if by_the_book else app

    def send(method: str, target: str, headers: dict[str, str], body: bytes) -> Answer:
        return Started(checked, environ_of(method, target, headers, body)).answer()

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

    def headers(self) -> dict[str, str]:
        window = {"Accept": "text/html,*/*;q=0.8", "Sec-Fetch-Mode": "navigate"}
        sent = {"Host": self.host, "User-Agent": self.user_agent} | window | self.extra
        if self.jar is not None:
            sent["Cookie"] = f"theme=dark; {COOKIE_NAME}={self.jar}"
        return sent

    def request(
        self, method: str, target: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> Answer:
        answer = self.send(method, target, self.headers() | (headers or {}), body)
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
        answer = self.get("/devices")
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


class LostSignOuts(MemorySessionStore):
    """
    A store whose answers to sign-outs get lost.
    """

    def delete(self, locator: Locator, expected: Session | None = None, /) -> bool:
        super().delete(locator, expected)
        raise OutcomeUnknown("the answer was lost")


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
    def __init__(self, store: SessionStore, passwords: Any = CHEAP, **live: Any) -> None:
        self.clock = ManualClock()
        # No patience: whoever asks a stream for more gets what there is.
        settings: dict[str, Any] = {"pulse": timedelta(0), **live}
        self.auth, self.app = compose(
            sessions=store,
            credentials=users(),
            passwords=passwords,
            hosts=[HOST, "localhost:8000"],
            clock=self.clock,
            live=partial(LiveEvents, **settings),
        )
        self.send = in_process(self.app)

    def browser(self, user_agent: str = FIREFOX) -> Browser:
        return Browser(self.send, user_agent=user_agent)

    def signed_in(self, user_agent: str = FIREFOX, **form: str) -> Browser:
        browser = self.browser(user_agent)
        assert "Hello, demo" in browser.sign_in(**form).text
        return browser

    @contextmanager
    def stream(
        self, browser: Browser, after: str = "", method: str = "GET", **headers: str
    ) -> Generator[Started]:
        sent = (
            browser.headers()
            | SCRIPT
            | {name.replace("_", "-"): value for name, value in headers.items()}
        )
        target = f"/events/stream?{urlencode({'after': after})}"
        started = Started(self.app, environ_of(method, target, sent, b""))
        try:
            yield started
        finally:
            started.close()

    def wait(self, seconds: float) -> None:
        self.clock.advance(timedelta(seconds=seconds))


SCRIPT = {"Accept": "text/event-stream", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Site": "same-origin"}
"""What browsers send for an EventSource."""


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
    browser = demo.browser()
    answer = browser.get(path)
    location = answer.one("Location") or ""
    assert (answer.status, location) == (303, f"/sign-in?{urlencode({'next': path})}")
    assert f'name="next" value="{path}"' in browser.get(location).text
    sent_on = browser.post("/sign-in", username="demo", password=PASSWORD, next=path)
    assert (sent_on.status, sent_on.one("Location")) == (303, path)
    assert browser.get(path).status == 200


@pytest.mark.parametrize("target", ["https://evil.example", "//evil.example", "/\\evil.example"])
def test_signing_in_leads_to_no_other_site(demo: Demo, target: str) -> None:
    browser = demo.browser()
    answer = browser.post("/sign-in", username="demo", password=PASSWORD, next=target)
    assert answer.one("Location") == "/"
    again = browser.get(f"/sign-in?{urlencode({'next': target})}")
    assert again.one("Location") == "/"


@pytest.mark.parametrize("name", ["demo", "nobody", "", "\u0000", "x" * 300])
def test_a_wrong_name_and_a_wrong_password_get_the_same_answer(demo: Demo, name: str) -> None:
    answer = demo.browser().post("/sign-in", username=name, password="wrong")
    assert answer.status == 401
    assert answer.one("WWW-Authenticate") == "Cookie"
    assert "Wrong name or password." in answer.text
    assert answer.cookie is None
    assert answer.one("Cache-Control") == "no-store"


def test_guessing_is_throttled_and_the_page_says_for_how_long(demo: Demo) -> None:
    browser = demo.browser()
    for _ in range(5):
        assert browser.post("/sign-in", username="demo", password="wrong").status == 401
    demo.wait(1)
    assert browser.post("/sign-in", username="demo", password="wrong").status == 401
    answer = browser.post("/sign-in", username="demo", password=PASSWORD)
    assert answer.status == 429
    seconds = int(answer.one("Retry-After") or "")
    assert seconds > 1
    assert f"Please wait {seconds} seconds, then try again." in answer.text
    assert "sessioncore demo" in answer.text
    demo.wait(seconds)
    browser.sign_in()
    assert browser.is_signed_in


def test_stepping_up_is_throttled_like_signing_in(demo: Demo) -> None:
    browser = demo.signed_in()
    for _ in range(5):
        assert browser.post("/step-up", password="wrong").status == 401
    answer = browser.post("/step-up", password=PASSWORD)
    assert answer.status == 429
    assert "Please wait 1 second," in answer.text


def test_a_busy_machine_says_try_again() -> None:
    browser = Demo(MemorySessionStore(), BusyHasher()).browser()
    answer = browser.post("/sign-in", username="demo", password=PASSWORD)
    assert answer.status == 503
    assert answer.one("Retry-After") == "1"
    assert "sessioncore demo" in answer.text


def test_one_session_too_many_evicts_the_one_seen_least_recently(demo: Demo) -> None:
    browsers: list[Browser] = []
    for _ in range(BROWSER.session_limit + 1):
        browsers.append(demo.signed_in())
        demo.wait(1)
    assert [browser.is_signed_in for browser in browsers] == [False, *[True] * 5]


def test_only_who_asks_for_it_stays_signed_in_when_the_browser_closes(demo: Demo) -> None:
    answer = demo.browser().post("/sign-in", username="demo", password=PASSWORD)
    assert "Max-Age" not in (answer.cookie or "Max-Age")
    answer = demo.browser().post("/sign-in", username="demo", password=PASSWORD, remember="yes")
    assert (answer.cookie or "").endswith("; Max-Age=2592000")


@pytest.mark.parametrize("path", ["/style.css", "/live.js", "/icon.svg", "/nowhere"])
def test_what_asks_for_no_session_writes_no_cookie(demo: Demo, path: str) -> None:
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


# -- Cookie and store ----------------------------------------------------------


def secret_of(jar: str | None) -> str:
    assert jar is not None
    return base64.urlsafe_b64decode(jar)[30:].hex()


def shown(page: Answer, what: str) -> str | None:
    found = re.search(rf"<dt>{what}</dt>\s*<dd><code>([0-9a-f]+)…</code>", page.text)
    return found and found[1]


def test_the_id_is_renewed_and_the_page_shows_that_it_changed(demo: Demo) -> None:
    browser = demo.signed_in()
    first_id, first = browser.jar, browser.get("/inside")
    assert first.cookie is None
    demo.wait(20)
    announced = browser.get("/inside")
    assert browser.jar != first_id
    confirmed = browser.get("/inside")
    assert confirmed.cookie is None
    secrets = [secret_of(first_id)[:4], secret_of(browser.jar)[:4]]
    assert shown(first, "Your browser sent") == secrets[0]
    assert shown(announced, "Your browser sent") == secrets[0]
    assert shown(announced, "This page brings") == secrets[1]
    assert shown(confirmed, "Your browser sent") == secrets[1]
    assert shown(confirmed, "This page brings") is None
    digests = [shown(page, "current") for page in (first, announced, confirmed)]
    assert digests[0] == digests[1] != digests[2]
    assert shown(announced, "pending") == digests[2]
    assert shown(confirmed, "previous") == digests[0]
    assert "the new one was used for the first time" in browser.get("/").text


def test_the_page_shows_what_the_cookie_has_in_common_with_the_record(demo: Demo) -> None:
    browser = demo.signed_in()
    presented = SessionId.parse(browser.jar)
    assert presented is not None
    page = browser.get("/inside")
    assert shown(page, "epoch") == shown(page, "filed under")
    assert shown(page, "current") == presented.digest[:SHOWN_BYTES].hex()
    assert shown(page, "family") != presented.family_digest[:SHOWN_BYTES].hex()
    assert "is what the store has" in page.text


def test_no_page_says_more_of_an_id_than_the_beginnings_of_its_parts(demo: Demo) -> None:
    browser = demo.signed_in()
    ids: list[str] = []
    pages: list[Answer] = []
    for _ in range(3):
        ids.append(browser.jar or "")
        pages += [browser.get(path) for path in ("/", *MEMBERS_PAGES)]
        demo.wait(20)
    assert len(set(ids)) > 1
    for jar in ids:
        presented = SessionId.parse(jar)
        assert presented is not None
        octets = base64.urlsafe_b64decode(jar)
        # Of every part and every digest, no four bytes in a row; three could be chance.
        hidden = [octets[start : start + 4] for start in range(51)]
        hidden += [presented.digest[start : start + 4] for start in range(29)]
        hidden += [presented.family_digest[start : start + 4] for start in range(5)]
        for page in pages:
            assert not any(four.hex() in page.text for four in hidden)
            assert not any(jar[start : start + 8] in page.text for start in range(64))


def test_what_the_store_holds_is_no_id(demo: Demo) -> None:
    browser = demo.signed_in()
    assert "refused (unknown)" in browser.get("/inside").text
    outcome = demo.auth.authenticate(browser.jar)
    assert isinstance(outcome, Active)
    assert forged(outcome.session).locator == outcome.session.locator
    assert answer_to_forgery(demo.auth, outcome.session) == InactiveReason.UNKNOWN.value
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
    for path in ("/", "/sign-in", "/devices"):
        answer = browser.get(path)
        assert answer.status == 409
        assert answer.cookie is None
        assert '<meta http-equiv="refresh" content="1">' in answer.text
        assert f'href="{path}">Load this page again</a>' in answer.text
    posted = browser.post("/counter")
    assert posted.status == 409
    assert "refresh" not in posted.text
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


# -- Signing out ---------------------------------------------------------------


def test_signing_out_ends_the_session_and_not_only_the_cookie(demo: Demo) -> None:
    browser = demo.signed_in()
    held = browser.jar
    page = browser.submit("/sign-out")
    assert "You are signed out." in page.text
    assert browser.jar is None
    browser.jar = held
    assert not browser.is_signed_in


def test_who_comes_with_a_dead_cookie_is_told_that_the_session_has_ended(demo: Demo) -> None:
    browser, tab = demo.signed_in(), demo.browser()
    tab.jar = browser.jar
    browser.post("/sign-out")
    location = tab.get("/devices").one("Location") or ""
    page = tab.get(location)
    assert "has ended. Please sign in again." in page.text
    assert page.cookie is None


@pytest.mark.parametrize("lost", [True, False])
def test_a_sign_out_whose_answer_is_lost_is_not_called_done(lost: bool) -> None:
    store = LostSignOuts() if lost else FragileSessionStore()
    browser = Demo(store).signed_in()
    if isinstance(store, FragileSessionStore):
        store.fault = StoreUnavailable("down")
    answer = browser.post("/sign-out")
    assert answer.status == 503
    assert "Sign-out not confirmed" in answer.text
    assert "may live on" in answer.text
    assert browser.jar is None


def test_signing_out_everywhere_ends_all_sessions(demo: Demo) -> None:
    browser, other = demo.signed_in(), demo.signed_in(CHROME)
    page = browser.submit("/sign-out-everywhere")
    assert "signed out here and everywhere else" in page.text
    assert browser.jar is None
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


# -- My devices ----------------------------------------------------------------


def handles(page: Answer) -> list[str]:
    return re.findall(r'name="handle" value="([0-9a-f]{32})"', page.text)


def test_the_list_shows_device_address_and_last_seen(demo: Demo) -> None:
    browser = demo.signed_in()
    demo.signed_in(CHROME)
    demo.wait(300)
    page = browser.get("/devices").text
    assert page.count("This browser</p>") == 1
    assert page.index("Firefox on Linux") < page.index("This browser</p>")
    assert page.index("This browser</p>") < page.index("Chrome on Windows")
    assert "and in 1 other browser." in page
    assert "Chrome on Windows" in page
    assert "192.0.2.7" in page
    assert "5 minutes ago" in page


def test_who_is_signed_in_nowhere_else_is_told_so(demo: Demo) -> None:
    page = demo.signed_in().get("/devices").text
    assert "You are signed in nowhere else." in page
    assert "Sign out everywhere else" not in page


def test_one_may_revoke_the_session_that_one_has(demo: Demo) -> None:
    browser, other = demo.signed_in(), demo.signed_in()
    [mine] = handles(other.get("/devices"))
    assert browser.post("/devices/revoke", handle=mine).status == 303
    assert browser.jar is None
    assert not browser.is_signed_in


def test_revoking_a_session_signs_its_browser_out_at_the_next_click(demo: Demo) -> None:
    browser, other = demo.signed_in(), demo.signed_in(CHROME)
    [handle] = handles(browser.get("/devices"))
    assert "That session has ended." in browser.submit("/devices/revoke", handle=handle).text
    assert not other.is_signed_in
    assert browser.is_signed_in
    assert "no such session" in browser.submit("/devices/revoke", handle=handle).text


@pytest.mark.parametrize("handle", ["", "0" * 32, HOSTILE])
def test_revoking_what_is_no_session_of_mine_does_nothing(demo: Demo, handle: str) -> None:
    browser = demo.signed_in()
    assert "no such session" in browser.submit("/devices/revoke", handle=handle).text
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
    assert other.post("/sign-in", username="demo", password=PASSWORD).status == 401
    other.sign_in(NEW_PASSWORD)
    assert other.is_signed_in


def test_the_sign_in_page_does_not_claim_a_password_that_was_changed(demo: Demo) -> None:
    demo.signed_in().post("/password", password=PASSWORD, new_password=NEW_PASSWORD)
    page = demo.browser().get("/sign-in").text
    assert PASSWORD not in page
    assert NEW_PASSWORD not in page


@pytest.mark.parametrize(
    ("old", "new", "status", "says"),
    [
        ("wrong", NEW_PASSWORD, 401, "is not right"),
        (PASSWORD, "short", 422, "at least 8 characters"),
        (PASSWORD, "x" * 5000, 422, "too long"),
    ],
)
def test_a_password_is_not_changed_without_reason(
    demo: Demo, old: str, new: str, status: int, says: str
) -> None:
    browser, other = demo.signed_in(), demo.signed_in()
    answer = browser.post("/password", password=old, new_password=new)
    assert answer.status == status
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
    answer = browser.get("/safe")
    assert (answer.status, answer.one("Location")) == (303, "/step-up?next=%2Fsafe")
    assert "recovery codes" not in answer.text
    page = browser.get("/step-up?next=%2Fsafe").text
    assert "give your password again" in page
    assert 'name="next" value="/safe"' in page


def test_stepping_up_opens_the_safe_under_a_new_id(demo: Demo) -> None:
    browser = demo.signed_in()
    demo.wait(61)
    refused = browser.post("/step-up", password="wrong", next="/safe")
    assert refused.status == 401
    assert "Wrong password." in refused.text
    assert 'name="next" value="/safe"' in refused.text
    held = browser.jar
    assert "recovery codes" in browser.submit("/step-up", password=PASSWORD, next="/safe").text
    assert browser.jar != held
    browser.jar = held
    assert browser.get("/safe").status == 409
    demo.wait(11)
    assert not browser.is_signed_in


def test_stepping_up_leads_to_no_other_site(demo: Demo) -> None:
    answer = demo.signed_in().post("/step-up", password=PASSWORD, next="//evil.example")
    assert answer.one("Location") == "/"


# -- Visitors ------------------------------------------------------------------


def test_a_visitor_gets_a_session_only_with_something_to_remember(demo: Demo) -> None:
    browser = demo.browser()
    assert browser.get("/").cookie is None
    assert browser.post("/counter").cookie is not None
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


# -- What just happened --------------------------------------------------------


def numbers(parts: str) -> list[str]:
    return re.findall(r"^id: (\S+)$", parts, re.MULTILINE)


def shown_last(page: Answer) -> str:
    found = re.search(r'data-after="([0-9a-f]+-[0-9]+)"', page.text)
    assert found is not None
    return found[1]


def test_what_happens_is_told_without_any_script(demo: Demo) -> None:
    browser = demo.signed_in()
    demo.browser().post("/sign-in", username="demo", password="wrong")
    demo.wait(61)
    browser.post("/step-up", password=PASSWORD)
    browser.post("/sign-out-others")
    for path in ("/", "/events"):
        page = browser.get(path).text
        for words in (
            "Signed in with Firefox on Linux from 192.0.2.7",
            "A wrong password was refused",
            "A session id was replaced; newly proven: pwd",
            "All sessions but one were ended",
        ):
            assert words in page


def test_an_event_arrives_while_the_page_is_open(demo: Demo) -> None:
    browser = demo.signed_in()
    after = shown_last(browser.get("/events"))
    with demo.stream(browser, after) as stream:
        assert next(stream) == "retry: 1000\n\n"
        assert next(stream) == ": still here\n\n"
        demo.signed_in(CHROME)
        assert "Signed in with Chrome on Windows" in next(stream)
        assert next(stream) == ": still here\n\n"


def test_a_stream_is_told_apart_from_pages_and_kept_by_no_cache(demo: Demo) -> None:
    browser = demo.signed_in()
    with demo.stream(browser, method="HEAD") as stream:
        answer = stream.answer()
    assert (answer.status, answer.text) == (200, "")
    assert answer.one("Content-Type") == "text/event-stream"
    assert answer.one("Cache-Control") == "no-store"


def test_a_stream_goes_on_after_the_last_event_that_the_browser_has_seen(demo: Demo) -> None:
    browser = demo.signed_in()
    first = shown_last(browser.get("/events"))
    demo.browser().post("/sign-in", username="demo", password="wrong")
    second = shown_last(browser.get("/events"))
    demo.signed_in(CHROME)
    with demo.stream(browser, first) as stream:
        next(stream)
        assert numbers(next(stream)) == [second]
        [third] = numbers(next(stream))
    with demo.stream(browser, first, Last_Event_ID=second) as stream:
        next(stream)
        assert numbers(next(stream)) == [third]


def test_a_stream_says_nothing_more_once_its_session_has_ended(demo: Demo) -> None:
    browser, other = demo.signed_in(), demo.signed_in(CHROME)
    [handle] = handles(other.get("/devices"))
    with demo.stream(browser, shown_last(browser.get("/events"))) as stream:
        next(stream)
        other.submit("/devices/revoke", handle=handle)
        assert next(stream) == "event: ended\ndata:\n\n"
        with pytest.raises(StopIteration):
            next(stream)


def test_watching_is_no_sign_of_life(demo: Demo) -> None:
    browser = demo.signed_in()
    for _ in range(2):
        demo.wait(BROWSER.idle_timeout.total_seconds() / 2 - 1)
        with demo.stream(browser) as stream:
            next(stream)
            assert "Signed in" in next(stream)
    demo.wait(3)
    with demo.stream(browser) as stream:
        assert stream.answer().status == 401
    assert not browser.is_signed_in


def test_nobody_watches_without_signing_in(demo: Demo) -> None:
    with demo.stream(demo.browser()) as stream:
        answer = stream.answer()
    assert answer.status == 401
    assert answer.one("Content-Type") == "application/problem+json"
    visitor = demo.browser()
    visitor.post("/counter")
    with demo.stream(visitor) as stream:
        assert stream.answer().status == 401


def test_streams_are_bounded_in_number_and_one_that_is_closed_makes_room() -> None:
    demo = Demo(MemorySessionStore(), streams=1)
    browser = demo.signed_in()
    for _ in range(2):
        with demo.stream(browser) as stream:
            next(stream)
            with demo.stream(browser) as another:
                answer = another.answer()
            assert answer.status == 503
            assert answer.one("Retry-After") == "60"


def test_streams_are_bounded_in_time() -> None:
    demo = Demo(MemorySessionStore(), longest=timedelta(0))
    with demo.stream(demo.signed_in()) as stream:
        assert stream.answer().text == "retry: 1000\n\n"


def test_a_stream_whose_store_goes_down_ends_without_a_word(
    demo: Demo, store: FragileSessionStore
) -> None:
    browser = demo.signed_in()
    with demo.stream(browser) as stream:
        next(stream)
        store.fault = StoreUnavailable("down")
        with pytest.raises(StopIteration):
            next(stream)
    store.fault = None
    assert browser.is_signed_in


def test_what_a_stranger_calls_his_browser_stays_within_one_line_of_a_stream(demo: Demo) -> None:
    browser = demo.signed_in()
    after = shown_last(browser.get("/events"))
    demo.signed_in(HOSTILE + "\u2028event: ended")
    with demo.stream(browser, after) as stream:
        next(stream)
        number, data, *rest = next(stream).splitlines()
    assert number.startswith("id: ")
    assert data.startswith('data: {"text": "Signed in with <script>')
    assert rest == [""]


def test_the_audit_trail_is_bounded_and_everybody_sees_their_own() -> None:
    trail, now = AuditTrail(entries=3), ManualClock().now()
    for number in range(5):
        trail.emit(LoginRefused(at=now, stamp=str(number), user_id="me"))
    trail.emit(LoginRefused(at=now, stamp="stranger"))
    trail.emit(PasswordReplaced(at=now, stamp="other", user_id="other"))
    assert [entry.event.stamp for entry in trail.latest("me", 10)] == ["4", "3"]
    assert [entry.event.stamp for entry in trail.latest("me", 1)] == ["4"]
    assert told(trail.latest("other", 1)[0].event) == "The password was changed"


def test_who_waits_for_news_is_woken_by_them() -> None:
    trail, now = AuditTrail(), ManualClock().now()
    found: queue.Queue[list[str]] = queue.Queue()

    def wait() -> None:
        news = trail.wait_for_news("me", "", timedelta(days=1))
        found.put([entry.event.stamp for entry in news])

    threading.Thread(target=wait, daemon=True).start()
    trail.emit(LoginRefused(at=now, stamp="theirs", user_id="other"))
    trail.emit(LoginRefused(at=now, stamp="mine", user_id="me"))
    assert found.get(timeout=SOON) == ["mine"]


def test_a_number_of_another_run_is_taken_for_none() -> None:
    first, second, now = AuditTrail(), AuditTrail(), ManualClock().now()
    for trail in (first, second):
        trail.emit(LoginRefused(at=now, stamp="one", user_id="me"))
    [entry] = first.latest("me", 1)
    assert first.wait_for_news("me", entry.number, timedelta(0)) == []
    assert len(second.wait_for_news("me", entry.number, timedelta(0))) == 1


NOW = ManualClock().now()


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (SessionLimitReached(at=NOW, stamp="", limit=5), "there are 5 sessions already"),
        (SessionsLeftLive(at=NOW, stamp=""), "could not be ended"),
        (
            SessionUnusable(at=NOW, stamp="", handle="", reason=InactiveReason.POLICY_UNKNOWN),
            "cannot be used",
        ),
        (UpkeepSkipped(at=NOW, stamp="", handle=""), "could not be recorded"),
        *(
            (SessionEnded(at=NOW, stamp="", handle="", reason=reason), "A session was ")
            for reason in EndReason
        ),
        (Event(at=NOW, stamp=""), "Event"),
    ],
)
def test_every_event_has_its_words(event: Event, words: str) -> None:
    assert words in told(event)


# -- Who may ask for what ------------------------------------------------------


@pytest.mark.parametrize("path", ["/counter", "/sign-in", "/sign-out", "/devices/revoke"])
def test_what_another_site_sends_is_refused_in_the_look_of_this_one(demo: Demo, path: str) -> None:
    browser = demo.signed_in()
    answer = browser.request(
        "POST", path, b"", {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}
    )
    assert answer.status == 403
    assert "Not from there" in answer.text
    assert "sessioncore demo" in answer.text
    assert browser.is_signed_in


def test_both_names_of_this_computer_are_ours(demo: Demo) -> None:
    browser = demo.browser()
    browser.host = "localhost:8000"
    browser.sign_in()
    assert browser.is_signed_in


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "127.0.0.1:9000", ""])
def test_a_foreign_name_that_points_here_is_refused(demo: Demo, host: str) -> None:
    browser = demo.signed_in()
    browser.host = host
    answer = browser.get("/")
    assert answer.status == 421
    assert "sessioncore demo" in answer.text


def test_other_methods_are_refused_with_the_ones_that_work(demo: Demo) -> None:
    answer = demo.signed_in().get("/counter")
    assert (answer.status, answer.one("Allow")) == (405, "POST")
    answer = demo.signed_in().request("OPTIONS", "/password")
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


@pytest.mark.parametrize("path", ["/", "/style.css", "/nowhere", "/devices"])
def test_every_answer_has_the_security_headers(demo: Demo, path: str) -> None:
    browser = demo.browser()
    foreign = browser.request("POST", path, headers={"Sec-Fetch-Site": "cross-site"})
    misled = browser.request("GET", path, headers={"Host": "evil.example"})
    for answer in (browser.get(path), foreign, misled):
        policy = answer.one("Content-Security-Policy") or ""
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
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
    assert "sessioncore demo" in answer.text
    assert "Load this page again" in answer.text
    assert answer.one("Retry-After") == "5"
    assert answer.one("Cache-Control") == "no-store"
    assert answer.cookie is None
    store.fault = None
    assert browser.is_signed_in


@pytest.mark.parametrize(
    "path", ["/counter", "/devices/revoke", "/sign-in", "/sign-out-everywhere"]
)
def test_forms_report_an_outage_too(demo: Demo, store: FragileSessionStore, path: str) -> None:
    browser = demo.signed_in()
    store.fault = StoreUnavailable("down")
    answer = browser.post(path, username="demo", password=PASSWORD)
    assert (answer.status, answer.cookie) == (503, None)


def test_a_write_whose_fate_is_unknown_is_called_so() -> None:
    answer = Demo(FragileWrites()).signed_in().post("/counter")
    assert answer.status == 503
    assert "<h1>Not confirmed</h1>" in answer.text
    assert "It is not known whether" in answer.text


# -- What is shown -------------------------------------------------------------


def test_hostile_texts_are_shown_as_text(demo: Demo) -> None:
    browser = demo.signed_in(HOSTILE)
    browser.submit("/note", note=HOSTILE)
    browser.post("/sign-in", username=HOSTILE, password="wrong")
    pages = [
        browser.get(path).text
        for path in ("/", "/devices", "/events", "/inside", f"/?notice={HOSTILE}")
    ]
    pages.append(demo.browser().get(f"/sign-in?next={HOSTILE}").text)
    pages.append(browser.post("/sign-in", username=HOSTILE, password="wrong").text)
    for page in pages:
        assert page.count("<script") == 1  # ours
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


# -- Over a socket -------------------------------------------------------------


@contextmanager
def served() -> Generator[tuple[ManualClock, Callable[[str], Browser]]]:
    server = listen(0, 0)
    clock = ManualClock()
    _, app = compose(
        sessions=MemorySessionStore(),
        credentials=users(),
        passwords=CHEAP,
        hosts=server.hosts,
        clock=clock,
    )
    server.set_app(app)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield (
            clock,
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
    with served() as (clock, new_browser):
        browser, other = new_browser(FIREFOX), new_browser(CHROME)
        assert PASSWORD in browser.get("/sign-in").text
        assert "Hello, demo" in browser.sign_in().text
        assert browser.is_signed_in
        other.sign_in()

        held = browser.jar
        clock.advance(timedelta(seconds=20))
        tabs = [new_browser(FIREFOX) for _ in range(6)]
        for tab in tabs:
            tab.jar = held
        with ThreadPoolExecutor(6) as pool:
            assert set(pool.map(load_home, tabs)) == {200}
        [renewed] = {tab.jar for tab in tabs}
        assert renewed != held
        browser.jar = renewed
        assert browser.is_signed_in

        [handle] = handles(browser.get("/devices"))
        browser.submit("/devices/revoke", handle=handle)
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


# -- Stores --------------------------------------------------------------------


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


def sign_in_and_out(stores: Stores) -> None:
    ensure_demo_user(stores.credentials, CHEAP)
    ensure_demo_user(stores.credentials, CHEAP)  # the second start
    _, app = compose(
        sessions=stores.sessions,
        credentials=stores.credentials,
        passwords=CHEAP,
        hosts=[HOST],
        clock=ManualClock(),
    )
    browser = Browser(in_process(app))
    browser.submit("/counter")
    assert "Hello, demo" in browser.sign_in().text
    assert ">1</output>" in browser.get("/").text
    assert "refused (unknown)" in browser.get("/inside").text
    assert "You are signed out." in browser.submit("/sign-out").text
    assert not browser.is_signed_in


@pytest.mark.parametrize("named", [True, False])
def test_the_demo_runs_on_sqlite(tmp_path: Path, named: bool) -> None:
    file = tmp_path / "demo.db"
    url = f"sqlite:///{file}" if named else None
    with opened(url, tmp_path / "demo.db") as stores:
        sign_in_and_out(stores)
        assert str(file) in stores.description
    assert file.exists()


def test_the_demo_runs_in_memory_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with opened("memory://", tmp_path / "demo.db") as stores:
        sign_in_and_out(stores)
    assert list(tmp_path.iterdir()) == []


def test_the_demo_runs_on_redis_with_its_user_in_sqlite(tmp_path: Path, redis: RedisServer) -> None:
    file = tmp_path / "demo.db"
    with opened(f"{redis.url}/0", file) as stores:
        sign_in_and_out(stores)
        assert f"redis at 127.0.0.1:{redis.port}" in stores.description
        assert stores.credentials.find_user(DemoUser.USERNAME) is not None
    with opened(None, file) as stores:
        assert stores.credentials.find_user(DemoUser.USERNAME) is not None


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_the_demo_runs_on_postgresql(tmp_path: Path, on_postgresql: Database, scheme: str) -> None:
    url = f"{scheme}:{on_postgresql.url.partition(':')[2]}"
    with opened(url, tmp_path / "demo.db") as stores:
        sign_in_and_out(stores)
    assert list(tmp_path.iterdir()) == []
    assert on_postgresql.query("SELECT count(*) FROM sessioncore_credentials") == [(1,)]


SECRET = "s3cret-Word"


@pytest.mark.parametrize(
    ("url", "says"),
    [
        (f"redis://:{SECRET}@127.0.0.1:{{port}}/0", "redis at 127.0.0.1:{port}: "),
        (f"redis://:{SECRET}@127.0.0.1:nowhere/0", "redis: not a URL that can be used"),
        (f"redis://:{SECRET}/x@127.0.0.1:{{port}}/0", "redis: not a URL that can be used"),
        (f"redis://127.0.0.1:{{port}}/0?password={SECRET}&no=1", "not a URL that can be used"),
        (f"postgresql://me:{SECRET}@127.0.0.1:{{port}}/db", "postgresql at 127.0.0.1:{port}: "),
        (f"postgresql://me:{SECRET}@127.0.0.1:nowhere/db", "not the URL of a database"),
        (f"postgresql://me:{SECRET}/x@127.0.0.1:{{port}}/db", "postgresql: "),
        (f"mysql://me:{SECRET}@127.0.0.1:{{port}}/db", "mysql at 127.0.0.1:{port}: "),
        (f"mariadb://me:{SECRET}@127.0.0.1:{{port}}/db", "mariadb at 127.0.0.1:{port}: "),
        ("sqlite:////nowhere/at/all.db", "SQLite, /nowhere/at/all.db: "),
        ("sqlite://", "SQLite: name a file"),
        (f"postgresql+asyncpg://me:{SECRET}@127.0.0.1/db", "not a store that the demo knows"),
        (f"ftp://me:{SECRET}@127.0.0.1/", "not a store that the demo knows"),
        (SECRET, "not a store that the demo knows"),
    ],
)
def test_a_store_that_cannot_be_used_is_named_in_one_line_without_a_password(
    tmp_path: Path, url: str, says: str
) -> None:
    port = str(free_port())
    with (
        pytest.raises(UnusableStore) as caught,
        opened(url.replace("{port}", port), tmp_path / "demo.db"),
    ):
        pass
    told_in = str(caught.value)
    assert says.replace("{port}", port) in told_in
    assert SECRET not in told_in
    assert "\n" not in told_in
    assert caught.value.__cause__ is None


def test_a_wrong_password_of_a_store_is_not_repeated(tmp_path: Path) -> None:
    with (
        RedisServer(requirepass="right") as server,
        pytest.raises(UnusableStore) as caught,
        opened(f"redis://:{SECRET}@127.0.0.1:{server.port}/0", tmp_path / "demo.db"),
    ):
        pass
    assert "password" in str(caught.value)
    assert SECRET not in str(caught.value)


# -- The program itself --------------------------------------------------------


@contextmanager
def started(
    *arguments: str, folder: Path, store: str | None = None
) -> Generator[tuple[subprocess.Popen[str], str]]:
    environment = {key: value for key, value in os.environ.items() if key != STORE_VARIABLE}
    if store is not None:
        environment[STORE_VARIABLE] = store
    program = subprocess.Popen(
        [sys.executable, str(APP), "--port=0", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env=environment,
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
    with started(f"--database={database}", folder=tmp_path) as (program, url):
        browser = browser_at(url)
        browser.submit("/counter")
        browser.sign_in()
        browser.submit("/password", password=PASSWORD, new_password=NEW_PASSWORD)
        stop(program, signal.SIGINT)
    with started(f"--database={database}", folder=tmp_path) as (program, url):
        again = browser_at(url)
        again.jar = browser.jar
        assert again.is_signed_in
        assert ">1</output>" in again.get("/").text
        stranger = browser_at(url)
        assert stranger.post("/sign-in", username="demo", password=PASSWORD).status == 401
        assert "Hello, demo" in stranger.sign_in(NEW_PASSWORD).text
        stop(program, signal.SIGTERM)


def test_the_program_takes_the_store_from_its_environment(tmp_path: Path) -> None:
    with started(f"--database={tmp_path / 'demo.db'}", folder=tmp_path, store="memory://") as (
        program,
        url,
    ):
        assert "Hello, demo" in browser_at(url).sign_in().text
        stop(program, signal.SIGTERM)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("what", ["store", "file", "folder"])
def test_the_program_says_in_one_line_what_it_cannot_use(tmp_path: Path, what: str) -> None:
    (tmp_path / "no folder").touch()
    argument, says = {
        "store": (
            f"--store=postgresql://me:{SECRET}@127.0.0.1:{free_port()}/db",
            "The demo cannot use this store. postgresql at 127.0.0.1:",
        ),
        "file": (f"--database={tmp_path}", "The demo cannot use this store. SQLite, "),
        "folder": (f"--database={tmp_path}/no folder/demo.db", "The demo cannot use "),
    }[what]
    ended = subprocess.run(
        [sys.executable, str(APP), "--port=0", argument],
        capture_output=True,
        text=True,
        timeout=SOON,
        check=False,
        cwd=tmp_path,
        env={key: value for key, value in os.environ.items() if key != STORE_VARIABLE},
    )
    assert ended.returncode == 1
    assert ended.stderr.startswith(says)
    assert ended.stderr.count("\n") == 1
    assert SECRET not in ended.stderr + ended.stdout


MAKEFILE = Path(__file__).resolve().parents[2] / "Makefile"
STORE_URLS = [
    "redis://:p$w&x'y\"z`q,#@127.0.0.1:1/0",
    "redis://:$(HOME)$$@127.0.0.1/0; echo 'x",
]


def what_make_passes(folder: Path, *arguments: str, **variables: str) -> str:
    """
    The store that ``make demo`` hands over, to another program than the demo.
    """
    text = MAKEFILE.read_text("utf-8")
    [line] = [line for line in text.splitlines() if line.startswith("demo: export")]
    (folder / "Makefile").write_text(f"{line}\ndemo:\n\t@printenv {STORE_VARIABLE}\n")
    # The tests may have been started by make, too.
    own = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFL"))}
    ended = subprocess.run(
        ["make", "demo", *arguments],
        stdout=subprocess.PIPE,
        text=True,
        timeout=SOON,
        check=False,
        cwd=folder,
        env={key: value for key, value in own.items() if "STORE" not in key} | variables,
    )
    return ended.stdout


@pytest.mark.parametrize("url", STORE_URLS)
def test_make_passes_a_store_as_it_was_written(tmp_path: Path, url: str) -> None:
    assert what_make_passes(tmp_path, f"STORE={url}") == f"{url}\n"


def test_make_leaves_a_store_of_the_environment_alone(tmp_path: Path) -> None:
    [url, other] = STORE_URLS
    assert what_make_passes(tmp_path, **{STORE_VARIABLE: url}) == f"{url}\n"
    assert what_make_passes(tmp_path, f"STORE={other}", **{STORE_VARIABLE: url}) == f"{other}\n"
    assert what_make_passes(tmp_path) == "\n"
