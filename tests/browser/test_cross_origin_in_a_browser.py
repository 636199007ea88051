"""
What pages of other sites can do, and cannot, to somebody who is signed in.

Each attack that is refused has a counterpart that succeeds without the defence in
question: an attack that would not work anyway proves nothing.
"""

from __future__ import annotations

from typing import Any, Final

import pytest
from playwright.sync_api import Page

from browser.chromium import cookies_for
from browser.shop import (
    COOKIE,
    PASSWORD,
    TWO_WAYS,
    Headers,
    Serve,
    Shop,
    ask,
    foreign_page,
    heading,
    open_shop,
    press,
    sign_in,
    who,
)
from browser.sites import Sites
from sessioncore.events import CrossOriginRefused
from sessioncore_http import SameSite, SessionCookie

EVIL: Final = "https://evil.test"
SIBLING: Final = "https://app.shop.test"
"""Of the same site as the shop, so that SameSite does not keep the cookie from going along."""

SENT_ALWAYS: Final = SessionCookie(
    same_site=SameSite.NONE, weaker_because="to show what the guard does without SameSite"
)
UNGUARDED: Final = dict.fromkeys(("/order", "/sign-in", "/api", "/ws"), "to show the attack")

FETCH: Final = """async ([url, how]) => {
    try {
        const response = await fetch(url, {credentials: "include", ...how});
        return [response.type, response.status, await response.text()];
    } catch (error) {
        return error.name;
    }
}"""
NO_OPTIONS: Final[dict[str, str]] = {}
POST: Final = {"method": "POST", "body": "1"}
POST_BLINDLY: Final = {**POST, "mode": "no-cors"}
POST_JSON: Final = {**POST, "headers": {"Content-Type": "application/json"}}

OPEN_SOCKET: Final = """url => new Promise(resolve => {
    const socket = window.socket = new WebSocket(url);
    window.ended = new Promise(end => { socket.onclose = event => end(event.code) });
    socket.onmessage = message => resolve(message.data);
    window.ended.then(code => resolve(`closed: ${code}`));
})"""


def order_form(shop: Shop) -> str:
    return f"<form method=post action='{shop.url('/order')}'><button>Win</button></form>"


def login_form(shop: Shop) -> str:
    return (
        f"<form method=post action='{shop.url('/sign-in')}'><input name=username value=mallory>"
        f"<input name=password value='{PASSWORD}'><button>Win</button></form>"
    )


def rules(shop: Shop) -> list[str]:
    return [event.rule for event in shop.told(CrossOriginRefused)]


def reached(shop: Shop, path: str) -> Any:
    """
    The one request that came to *path*.
    """
    (seen,) = shop.seen_at(path)
    return seen


# -- Forms ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "serve"),
    [(EVIL, Shop.serve_wsgi), (SIBLING, Shop.serve_wsgi), (SIBLING, Shop.serve_http2)],
)
def test_a_form_of_another_origin_does_nothing(
    address: str, serve: Serve, sites: Sites, page: Page
) -> None:
    shop = open_shop(sites, serve)
    sign_in(page, shop)
    page.goto(foreign_page(sites, address, order_form(shop)))
    press(page, "Win")
    assert heading(page) == "Not from there"
    assert shop.orders == []
    assert reached(shop, "/order").status == 403
    # The cookie of who is refused is left alone, and nothing is said of the session.
    assert reached(shop, "/order").all("Set-Cookie") == []
    assert rules(shop) == ["cross origin"]
    assert who(page, shop) == "id-of-alice"


@pytest.mark.parametrize("serve", TWO_WAYS)
def test_a_form_of_its_own_is_let_in(serve: Serve, sites: Sites, page: Page) -> None:
    shop = open_shop(sites, serve)
    sign_in(page, shop)
    press(page, "Order")
    assert heading(page) == "Secrets of id-of-alice"
    assert shop.orders == ["id-of-alice"]
    assert reached(shop, "/order").site == "same-origin"
    assert rules(shop) == []


def test_without_the_guard_a_sibling_could_order(sites: Sites, page: Page) -> None:
    shop = open_shop(sites, exempted_paths=UNGUARDED)
    sign_in(page, shop)
    page.goto(foreign_page(sites, SIBLING, order_form(shop)))
    press(page, "Win")
    assert shop.orders == ["id-of-alice"]


def test_without_the_guard_the_cookie_alone_keeps_another_site_out(
    sites: Sites, page: Page
) -> None:
    shop = open_shop(sites, exempted_paths=UNGUARDED)
    sign_in(page, shop)
    page.goto(foreign_page(sites, EVIL, order_form(shop)))
    press(page, "Win")
    assert heading(page) == "Please sign in"
    assert reached(shop, "/order").cookies == ()
    assert shop.orders == []


def test_without_same_site_the_guard_alone_keeps_another_site_out(sites: Sites, page: Page) -> None:
    shop = open_shop(sites, cookie=SENT_ALWAYS)
    sign_in(page, shop)
    page.goto(foreign_page(sites, EVIL, order_form(shop)))
    press(page, "Win")
    assert COOKIE in reached(shop, "/order").cookies[0]
    assert heading(page) == "Not from there"
    assert shop.orders == []


def test_without_either_another_site_could_order(sites: Sites, page: Page) -> None:
    shop = open_shop(sites, cookie=SENT_ALWAYS, exempted_paths=UNGUARDED)
    sign_in(page, shop)
    page.goto(foreign_page(sites, EVIL, order_form(shop)))
    press(page, "Win")
    assert shop.orders == ["id-of-alice"]


def test_another_site_cannot_sign_somebody_in_as_somebody_else(sites: Sites, page: Page) -> None:
    shop = open_shop(sites)
    page.goto(foreign_page(sites, EVIL, login_form(shop)))
    press(page, "Win")
    assert heading(page) == "Not from there"
    assert cookies_for(page) == {}
    assert who(page, shop) == "nobody"
    assert rules(shop) == ["cross origin"]


def test_without_the_guard_it_could(sites: Sites, page: Page) -> None:
    shop = open_shop(sites, exempted_paths=UNGUARDED)
    page.goto(foreign_page(sites, EVIL, login_form(shop)))
    press(page, "Win")
    assert who(page, shop) == "id-of-mallory"


def test_a_page_that_sends_no_referrer_can_post_to_itself(sites: Sites, page: Page) -> None:
    shop = open_shop(sites)
    sign_in(page, shop)
    page.goto(shop.url("/no-referrer"))
    press(page, "Order")
    assert heading(page) == "Secrets of id-of-alice"
    assert (reached(shop, "/order").origin, reached(shop, "/order").site) == ("null", "same-origin")
    assert shop.orders == ["id-of-alice"]


@pytest.mark.parametrize("address", [EVIL, SIBLING])
def test_a_page_of_another_origin_that_sends_no_referrer_cannot(
    address: str, sites: Sites, page: Page
) -> None:
    shop = open_shop(sites)
    sign_in(page, shop)
    hidden = "<meta name=referrer content=no-referrer>"
    page.goto(foreign_page(sites, address, hidden + order_form(shop)))
    press(page, "Win")
    assert reached(shop, "/order").origin == "null"
    assert heading(page) == "Not from there"
    assert shop.orders == []


def test_a_sandboxed_frame_of_our_own_words_is_somebody_else(sites: Sites, page: Page) -> None:
    # What is uploaded and shown in a sandbox has no origin, wherever it came from.
    shop = open_shop(sites)
    sign_in(page, shop)
    frame = """form => {
        const frame = document.createElement("iframe");
        frame.sandbox = "allow-forms allow-scripts";
        frame.srcdoc = form + "<script>document.forms[0].submit()</script>";
        document.body.append(frame);
    }"""
    page.evaluate(frame, order_form(shop))
    page.frame_locator("iframe").get_by_role("heading", name="Not from there").wait_for()
    assert reached(shop, "/order").status == 403
    assert shop.orders == []


def test_a_name_that_the_site_was_not_told_of_cannot_act(sites: Sites, page: Page) -> None:
    # As after DNS rebinding: the browser takes it for one site, and we know better.
    shop = open_shop(sites, address="http://127.0.0.1")
    elsewhere = shop.site.origin_as("localhost")
    page.goto(f"{elsewhere}/sign-in")
    page.fill("[name=username]", "alice")
    page.fill("[name=password]", PASSWORD)
    press(page, "Sign in")
    assert heading(page) == "Not from there"
    assert rules(shop) == ["Sec-Fetch-Site contradicts Origin"]


# -- Links and what pages embed -----------------------------------------------------


def test_a_link_from_another_site_arrives_signed_in(sites: Sites, page: Page) -> None:
    shop = open_shop(sites)
    sign_in(page, shop)
    page.goto(foreign_page(sites, EVIL, f"<a href='{shop.url('/members')}'>Go</a>"))
    with page.expect_navigation():
        page.click("a")
    assert heading(page) == "Secrets of id-of-alice"
    assert reached(shop, "/members").site == "cross-site"


def test_what_another_site_embeds_is_asked_for_by_nobody(sites: Sites, page: Page) -> None:
    shop = open_shop(sites)
    sign_in(page, shop)
    members = shop.url("/members")
    embedded = f"<iframe src='{members}?1'></iframe><img src='{members}?2'>"
    page.goto(foreign_page(sites, EVIL, f"{embedded}<script src='{members}?3'></script>"))
    assert [seen.cookies for seen in shop.seen_at("/members")] == [()] * 3
    assert sorted(seen.status for seen in shop.seen_at("/members")) == [303, 401, 401]
    assert who(page, shop) == "id-of-alice"


# -- fetch --------------------------------------------------------------------------


@pytest.mark.parametrize("address", [EVIL, SIBLING])
def test_a_fetch_of_another_origin_neither_acts_nor_reads(
    address: str, sites: Sites, page: Page
) -> None:
    shop = open_shop(sites)
    sign_in(page, shop)
    page.goto(foreign_page(sites, address, "<h1>Win</h1>"))
    assert ask(page, FETCH, [shop.url("/api"), NO_OPTIONS]) == "TypeError"
    assert ask(page, FETCH, [shop.url("/api"), POST]) == "TypeError"
    assert ask(page, FETCH, [shop.url("/api"), POST_BLINDLY]) == ["opaque", 0, ""]
    assert ask(page, FETCH, [shop.url("/api"), POST_JSON]) == "TypeError"
    assert shop.orders == []
    assert [seen.status for seen in shop.seen_at("/api")] == [200, 403, 403, 200]
    assert shop.seen_at("/api")[-1].method == "OPTIONS"  # and that was all
    assert rules(shop) == ["cross origin"] * 2


def test_without_the_guard_a_fetch_of_a_sibling_could_order(sites: Sites, page: Page) -> None:
    shop = open_shop(sites, exempted_paths=UNGUARDED)
    sign_in(page, shop)
    page.goto(foreign_page(sites, SIBLING, "<h1>Win</h1>"))
    ask(page, FETCH, [shop.url("/api"), POST_BLINDLY])
    assert shop.orders == ["id-of-alice"]


@pytest.mark.parametrize("serve", TWO_WAYS)
def test_a_front_end_of_a_trusted_origin_acts_and_reads(
    serve: Serve, sites: Sites, page: Page
) -> None:
    front_end = foreign_page(sites, SIBLING, "<h1>Front end</h1>")
    origin = front_end.removesuffix("/page")
    shop = open_shop(sites, serve, trusted_origins=[origin], readers=[origin])
    sign_in(page, shop)
    page.goto(front_end)
    read = ["cors", 200, '"id-of-alice"']
    assert ask(page, FETCH, [shop.url("/api"), NO_OPTIONS]) == read
    assert ask(page, FETCH, [shop.url("/api"), POST]) == read
    assert ask(page, FETCH, [shop.url("/api"), POST_JSON]) == read
    assert shop.orders == ["id-of-alice"] * 2
    assert shop.seen_at("/api", "OPTIONS")[0].cookies == ()


def test_whoever_lets_everybody_read_lets_only_trusted_origins_read(
    sites: Sites, page: Page
) -> None:
    shop = open_shop(sites, readers="any")
    sign_in(page, shop)
    page.goto(foreign_page(sites, SIBLING, "<h1>Win</h1>"))
    assert ask(page, FETCH, [shop.url("/api"), NO_OPTIONS]) == "TypeError"
    assert COOKIE in reached(shop, "/api").cookies[0]
    # What is for everybody is, if nobody is signed in.
    anonymously = {"credentials": "omit"}
    assert ask(page, FETCH, [shop.url("/api"), anonymously]) == ["cors", 200, "null"]


def test_otherwise_a_sibling_could_read(sites: Sites, page: Page) -> None:
    def credentials_allowed(headers: Headers) -> Headers:
        return [*headers, ("Access-Control-Allow-Credentials", "true")]

    shop = open_shop(sites, readers="any", altered=credentials_allowed)
    sign_in(page, shop)
    page.goto(foreign_page(sites, SIBLING, "<h1>Win</h1>"))
    assert ask(page, FETCH, [shop.url("/api"), NO_OPTIONS]) == ["cors", 200, '"id-of-alice"']


# -- WebSockets ---------------------------------------------------------------------


def socket_url(shop: Shop) -> str:
    return shop.url("/ws").replace("http", "ws", 1)


@pytest.mark.parametrize("serve", [Shop.serve_asgi, Shop.serve_http2])
def test_a_websocket_of_its_own_is_let_in_until_the_session_is_revoked(
    serve: Serve, sites: Sites, page: Page
) -> None:
    shop = open_shop(sites, serve)
    sign_in(page, shop)
    assert ask(page, OPEN_SOCKET, socket_url(shop)) == "id-of-alice"
    assert page.evaluate("socket.readyState") == 1
    (session,) = shop.auth.sessions_of("id-of-alice")
    shop.auth.revoke("id-of-alice", session.handle)
    assert ask(page, "() => ended") == 3000


def test_a_websocket_ends_when_another_tab_signs_out(sites: Sites, page: Page) -> None:
    shop = open_shop(sites, Shop.serve_asgi)
    sign_in(page, shop)
    ask(page, OPEN_SOCKET, socket_url(shop))
    other = page.context.new_page()
    assert who(other, shop) == "id-of-alice"
    press(other, "Sign out")
    assert ask(page, "() => ended") == 3000


@pytest.mark.parametrize(
    ("address", "serve"), [(EVIL, Shop.serve_http2), (SIBLING, Shop.serve_asgi)]
)
def test_a_websocket_of_another_origin_is_refused(
    address: str, serve: Serve, sites: Sites, page: Page
) -> None:
    shop = open_shop(sites, serve)
    sign_in(page, shop)
    page.goto(foreign_page(sites, address, "<h1>Win</h1>"))
    assert ask(page, OPEN_SOCKET, socket_url(shop)) == "closed: 1006"
    assert len(rules(shop)) == 1


def test_a_websocket_of_nobody_is_refused(sites: Sites, page: Page) -> None:
    shop = open_shop(sites, Shop.serve_asgi)
    page.goto(shop.url("/static"))
    assert ask(page, OPEN_SOCKET, socket_url(shop)) == "closed: 1006"
    assert rules(shop) == []


def test_without_the_guard_a_sibling_could_listen(sites: Sites, page: Page) -> None:
    shop = open_shop(sites, Shop.serve_asgi, exempted_paths=UNGUARDED)
    sign_in(page, shop)
    page.goto(foreign_page(sites, SIBLING, "<h1>Win</h1>"))
    assert ask(page, OPEN_SOCKET, socket_url(shop)) == "id-of-alice"
