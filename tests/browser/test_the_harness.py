"""
What the tests of this folder rest on: browsers, sites, and what arrives there.
"""

from __future__ import annotations

import asyncio
import html
import json
import threading
from collections.abc import Callable, Iterable, Iterator
from socketserver import BaseRequestHandler, ThreadingTCPServer
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, quote

import h2.config
import h2.connection
import h2.events
import pytest
from playwright.sync_api import BrowserContext, Error, Page

from browser.certificate import Certificate
from browser.chromium import cookies_for, go_back
from browser.sites import ADDRESS, AsgiApplication, Site, Sites, cookies_apart
from servers.local import PATIENCE_SECONDS

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

TRUSTED: Final = (
    "http://127.0.0.1",
    "http://localhost",
    "https://127.0.0.1",
    "https://shop.test",
)
"""Where browsers accept and send Secure cookies."""

GUARDED_COOKIE: Final = "__Host-a=1; Path=/; Secure; HttpOnly; SameSite=Strict"
OTHER_COOKIE: Final = "b=2"


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """
    Sets cookies, shows a form, or says what has arrived.
    """
    headers = [("Content-Type", "text/html")]
    match environ["PATH_INFO"]:
        case "/cookies":
            headers += [("Set-Cookie", GUARDED_COOKIE), ("Set-Cookie", OTHER_COOKIE)]
            body = "<h1>Have some</h1>"
        case "/form":
            (target,) = parse_qs(environ["QUERY_STRING"])["to"]
            body = f"<form method=post action='{html.escape(target)}'><button>Send</button></form>"
        case "/arrived":
            headers = [("Content-Type", "application/json")]
            body = json.dumps({name: str(value) for name, value in environ.items()})
        case "/private":
            headers += [("Cache-Control", "no-store")]
            body = "<h1>/private</h1>"
        case path:
            body = f"<h1>{html.escape(path)}</h1>"
    start_response("200 OK", headers)
    return [body.encode()]


async def asgi_application(scope: Any, receive: Any, send: Any) -> None:
    """
    The same in short, and a WebSocket that says what its handshake was.
    """
    cookies = [value.decode() for name, value in scope.get("headers", ()) if name == b"cookie"]
    what = json.dumps({"version": scope.get("http_version"), "cookies": cookies})
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
    elif scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": what})
        await receive()
    else:
        headers = [
            (b"content-type", b"text/html"),
            (b"set-cookie", GUARDED_COOKIE.encode()),
            (b"set-cookie", OTHER_COOKIE.encode()),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": what.encode()})


def what_is_shown(page: Page) -> Any:
    return json.loads(page.inner_text("body"))


@pytest.mark.parametrize("address", ["http://shop.test", "https://evil.test"])
def test_a_page_loads(address: str, sites: Sites, page: Page) -> None:
    site = sites.at(address)
    site.serve_wsgi(application)
    page.goto(site.url("/page"))
    assert page.inner_text("h1") == "/page"
    assert page.evaluate("origin") == site.origin


@pytest.mark.parametrize("address", TRUSTED)
def test_a_guarded_cookie_is_kept_as_it_was_set(address: str, sites: Sites, page: Page) -> None:
    site = sites.at(address)
    site.serve_wsgi(application)
    page.goto(site.url("/cookies"))
    guarded, other = map(cookies_for(page).get, ("__Host-a", "b"))
    assert guarded is not None
    assert (guarded["value"], guarded["path"], guarded["domain"]) == ("1", "/", site.host)
    assert (guarded["secure"], guarded["httpOnly"], guarded["session"]) == (True, True, True)
    assert guarded["sameSite"] == "Strict"
    assert other is not None
    assert (other["secure"], other["httpOnly"]) == (False, False)
    assert "sameSite" not in other
    assert page.evaluate("document.cookie") == "b=2"
    page.goto(site.url("/arrived"))
    assert what_is_shown(page)["HTTP_COOKIE"] == "__Host-a=1; b=2"


def test_a_guarded_cookie_is_refused_over_a_plain_network(sites: Sites, page: Page) -> None:
    site = sites.at("http://shop.test")
    site.serve_wsgi(application)
    page.goto(site.url("/cookies"))
    assert list(cookies_for(page)) == ["b"]


@pytest.mark.parametrize(
    ("sender", "receiver", "relation"),
    [
        ("https://evil.test", "https://shop.test", "cross-site"),
        ("https://app.shop.test", "https://api.shop.test", "same-site"),
        ("https://shop.test", "https://shop.test", "same-site"),  # on another port
        ("http://localhost", "http://localhost", "same-site"),
        ("http://127.0.0.1", "http://localhost", "cross-site"),
        ("http://shop.test", "https://shop.test", "cross-site"),  # the scheme counts
    ],
)
def test_a_form_from_elsewhere_says_from_where(
    sender: str, receiver: str, relation: str, sites: Sites, page: Page
) -> None:
    there, here = sites.at(sender), sites.at(receiver)
    there.serve_wsgi(application)
    here.serve_wsgi(application)
    page.goto(there.url(f"/form?to={quote(here.url('/arrived'))}"))
    with page.expect_navigation():
        page.click("button")
    assert what_is_shown(page)["HTTP_SEC_FETCH_SITE"] == relation
    assert what_is_shown(page)["HTTP_ORIGIN"] == there.origin


@pytest.mark.parametrize("address", ["http://127.0.0.1", "https://shop.test"])
def test_a_form_of_its_own_is_of_the_same_origin(address: str, sites: Sites, page: Page) -> None:
    site = sites.at(address)
    site.serve_wsgi(application)
    page.goto(site.url("/form?to=/arrived"))
    with page.expect_navigation():
        page.click("button")
    assert what_is_shown(page)["REQUEST_METHOD"] == "POST"
    assert f"{what_is_shown(page)['wsgi.url_scheme']}://{site.host}" == address
    assert what_is_shown(page)["HTTP_SEC_FETCH_SITE"] == "same-origin"
    assert what_is_shown(page)["HTTP_ORIGIN"] == site.origin


def test_one_server_can_have_two_names(sites: Sites, page: Page) -> None:
    site = sites.at("http://127.0.0.1")
    site.serve_wsgi(application)
    page.goto(site.origin_as("localhost") + "/arrived")
    assert what_is_shown(page)["HTTP_HOST"] == f"localhost:{site.port}"


def test_names_that_no_test_made_up_do_not_exist(page: Page) -> None:
    with pytest.raises(Error, match="ERR_NAME_NOT_RESOLVED"):
        page.goto("http://example.com/")


def test_browsers_share_no_cookies(sites: Sites, new_browser: Callable[[], BrowserContext]) -> None:
    site = sites.at("https://shop.test")
    site.serve_wsgi(application)
    first, second = new_browser().new_page(), new_browser().new_page()
    first.goto(site.url("/cookies"))
    second.goto(site.url("/page"))
    assert sorted(cookies_for(first)) == ["__Host-a", "b"]
    assert cookies_for(second) == {}


@pytest.mark.parametrize("address", ["http://127.0.0.1", "https://shop.test"])
def test_six_requests_of_a_page_are_handled_at_once(address: str, sites: Sites, page: Page) -> None:
    all_here = threading.Barrier(6, timeout=PATIENCE_SECONDS)

    def meeting(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/meet":
            all_here.wait()
        start_response("200 OK", [("Content-Type", "text/html")])
        return [b"met"]

    site = sites.at(address)
    site.serve_wsgi(meeting)
    page.goto(site.url("/page"))
    answers = page.evaluate(
        """() => Promise.all(
            [1, 2, 3, 4, 5, 6].map(async n => (await fetch(`/meet?${n}`)).text())
        )"""
    )
    assert answers == ["met"] * 6


@pytest.mark.parametrize("address", ["http://127.0.0.1", "https://shop.test"])
def test_a_stream_arrives_piece_by_piece(address: str, sites: Sites, page: Page) -> None:
    has_read = threading.Event()

    def pieces() -> Iterator[bytes]:
        yield b"one,"
        assert has_read.wait(PATIENCE_SECONDS)
        yield b"two"

    def streaming(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/html")])
        return pieces() if environ["PATH_INFO"] == "/stream" else []

    site = sites.at(address)
    site.serve_wsgi(streaming)
    page.goto(site.url())
    first = page.evaluate(
        """async () => {
            window.reader = (await fetch("/stream")).body.getReader();
            return new TextDecoder().decode((await reader.read()).value);
        }"""
    )
    assert first == "one,"
    has_read.set()
    assert page.evaluate("async () => new TextDecoder().decode((await reader.read()).value)") == (
        "two"
    )


@pytest.mark.parametrize(
    ("path", "meanwhile", "is_as_it_was"),
    [
        ("/page", "/next", True),
        ("/page", "/cookies", True),
        ("/private", "/next", True),
        ("/private", "/cookies", False),  # the only ones that make Chromium forget a page
    ],
)
def test_back_shows_a_page_as_it_was_left(
    path: str, meanwhile: str, is_as_it_was: bool, sites: Sites, page: Page
) -> None:
    site = sites.at("https://shop.test")
    site.serve_wsgi(application)
    page.goto(site.url(path))
    page.evaluate("window.left = true")
    page.goto(site.url(meanwhile))
    go_back(page)
    assert page.inner_text("h1") == path
    assert bool(page.evaluate("window.left")) is is_as_it_was


@pytest.mark.parametrize("address", ["http://127.0.0.1", "https://shop.test"])
def test_an_asgi_application_is_served_over_http_1(address: str, sites: Sites, page: Page) -> None:
    site = sites.at(address)
    site.serve_asgi(asgi_application)
    page.goto(site.url())
    page.goto(site.url())
    assert what_is_shown(page) == {"version": "1.1", "cookies": ["__Host-a=1; b=2"]}


@pytest.mark.parametrize("address", ["https://127.0.0.1", "https://shop.test"])
def test_an_asgi_application_is_served_over_http_2(address: str, sites: Sites, page: Page) -> None:
    site = sites.at(address)
    site.serve_http2(asgi_application)
    page.goto(site.url())
    page.goto(site.url())
    assert what_is_shown(page) == {"version": "2", "cookies": ["__Host-a=1; b=2"]}


def test_over_http_2_cookies_can_come_one_by_one(sites: Sites, page: Page) -> None:
    site = sites.at("https://shop.test")
    site.serve_http2(cookies_apart(asgi_application))
    page.goto(site.url())
    page.goto(site.url())
    assert what_is_shown(page) == {"version": "2", "cookies": ["__Host-a=1", "b=2"]}


def test_that_is_how_chromium_sends_them(certificate: Certificate, page: Page) -> None:
    tls = certificate.settings_of_a_server("h2")
    settings = h2.config.H2Configuration(client_side=False, normalize_inbound_headers=False)
    requests: list[list[tuple[bytes, bytes]]] = []

    class Handler(BaseRequestHandler):
        def handle(self) -> None:
            with tls.wrap_socket(self.request, server_side=True) as connection:
                protocol = h2.connection.H2Connection(settings)
                protocol.initiate_connection()
                connection.sendall(protocol.data_to_send())
                while received := connection.recv(65535):
                    for event in protocol.receive_data(received):
                        if isinstance(event, h2.events.RequestReceived):
                            requests.append(
                                [(bytes(name), bytes(value)) for name, value in event.headers]
                            )
                            protocol.send_headers(event.stream_id, [(":status", "200")])
                            protocol.send_data(event.stream_id, b"", end_stream=True)
                    connection.sendall(protocol.data_to_send())

    with ThreadingTCPServer((ADDRESS, 0), Handler) as server:
        server.daemon_threads = True  # they end when the browser hangs up
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        origin = f"https://shop.test:{server.server_address[1]}"
        page.context.add_cookies(
            [{"name": name, "value": "1", "url": origin} for name in ("a", "b", "c")]
        )
        try:
            page.goto(origin)
        finally:
            server.shutdown()
            thread.join()
    cookies = [value for name, value in requests[0] if name == b"cookie"]
    assert cookies == [b"a=1", b"b=1", b"c=1"]


@pytest.mark.parametrize(
    ("address", "serve", "version"),
    [
        ("http://127.0.0.1", Site.serve_asgi, "1.1"),
        ("https://shop.test", Site.serve_asgi, "1.1"),
        ("https://shop.test", Site.serve_http2, "2"),
    ],
)
def test_a_websocket_opens_and_brings_the_cookies(
    address: str,
    serve: Callable[[Site, AsgiApplication], None],
    version: str,
    sites: Sites,
    page: Page,
) -> None:
    site = sites.at(address)
    serve(site, asgi_application)
    page.goto(site.url())
    told = page.evaluate(
        """() => new Promise((resolve, reject) => {
            const socket = new WebSocket(origin.replace("http", "ws"));
            socket.onmessage = (message) => { socket.close(); resolve(message.data); };
            socket.onerror = reject;
        })"""
    )
    assert json.loads(told) == {"version": version, "cookies": ["__Host-a=1; b=2"]}


@pytest.mark.parametrize("serve", [Site.serve_asgi, Site.serve_http2])
def test_a_test_can_work_in_the_event_loop_of_its_application(
    serve: Callable[[Site, AsgiApplication], None], sites: Sites, page: Page
) -> None:
    loops: list[asyncio.AbstractEventLoop] = []

    async def remembering(scope: Any, receive: Any, send: Any) -> None:
        loops.append(asyncio.get_running_loop())
        await asgi_application(scope, receive, send)

    async def its_own() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    site = sites.at("https://shop.test")
    serve(site, remembering)
    page.goto(site.url())
    assert {site.run(its_own())} == set(loops)


@pytest.mark.parametrize("serve", [Site.serve_asgi, Site.serve_http2])
def test_an_application_that_does_not_start_is_an_error(
    serve: Callable[[Site, AsgiApplication], None], sites: Sites
) -> None:
    async def failing(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "as the test wants it"})

    with pytest.raises(RuntimeError, match="the server has failed"):
        serve(sites.at("https://shop.test"), failing)
