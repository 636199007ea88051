"""
The session cookie, as a real browser keeps it, shows it to scripts, and sends it back.
"""

from __future__ import annotations

import time
from typing import Final

import pytest
from playwright.sync_api import Page

from browser.chromium import cookies_for
from browser.shop import (
    ADDRESS,
    COOKIE,
    PASSWORD,
    REMEMBERED,
    Serve,
    Shop,
    foreign_page,
    heading,
    open_shop,
    press,
    session_id,
    sign_in,
    who,
)
from browser.sites import Sites
from sessioncore import LoggedIn
from sessioncore.events import AmbiguousCookie
from sessioncore_http import SessionCookie

TRUSTED: Final = (ADDRESS, "https://127.0.0.1", "http://127.0.0.1", "http://localhost")
"""Where browsers keep what begins with ``__Host-``: TLS, and this computer."""

SHARED: Final = SessionCookie(name="session", weaker_because="to show what the prefix is for")


LOOK_ALIKES: Final = (
    "__Host-session={}; Domain=shop.test; Path=/; Secure",
    "__host-session={}; Domain=shop.test; Path=/; Secure",
    "__HOST-SESSION={}; Domain=shop.test; Path=/; Secure",
    "__Secure-session={}; Domain=shop.test; Path=/; Secure",
    "session={}; Domain=shop.test; Path=/; Secure",
    # A cookie without a name is sent as its value, which would look like ours.
    "=__Host-session={}; Domain=shop.test; Path=/; Secure",
    "__Host-session={}",
    # What browsers take for a part of the name and some servers for white space.
    "\u2000__Host-session={}; Domain=shop.test; Path=/; Secure",
    "\u00a0__Host-session={}; Domain=shop.test; Path=/; Secure",
    "\u0085__Host-session={}; Domain=shop.test; Path=/members; Secure",
    # What old parsers take for several cookies (RFC 2109).
    "$Version=1,__Host-session={}; Domain=shop.test; Path=/; Secure",
    'old="1; Domain=shop.test; Path=/; Secure',
)
"""What a page of a subdomain may try to write."""

WRITES: Final = (
    "name => { document.cookie = `${name}=planted; Secure; Path=/` }",
    "name => { document.cookie = `${name}=; Secure; Path=/; Max-Age=0` }",
    "name => { document.cookie = `${name}=planted; Secure; Path=/members` }",
    "name => { document.cookie = `=${name}=planted; Secure; Path=/` }",
    "name => cookieStore.set(name, 'planted').catch(() => null)",
    "name => cookieStore.delete(name).catch(() => null)",
)
"""What a script of the site itself may try."""


def planted(sites: Sites, page: Page, *cookies: str) -> None:
    """
    Have a script of a subdomain write cookies.
    """
    page.goto(foreign_page(sites, "https://app.shop.test", "<h1>a page</h1>"))
    page.evaluate("cookies => { for (const one of cookies) document.cookie = one }", list(cookies))


def id_of_mallory(shop: Shop) -> str:
    """
    The id of a session in which mallory has signed in, elsewhere.
    """
    outcome = shop.auth.login("mallory", PASSWORD)
    assert isinstance(outcome, LoggedIn)
    return outcome.session_id.reveal()


@pytest.mark.parametrize("address", TRUSTED)
def test_the_cookie_is_kept_with_all_its_guards(address: str, sites: Sites, page: Page) -> None:
    shop = open_shop(sites, address=address)
    sign_in(page, shop)
    (cookie,) = cookies_for(page).values()
    assert (cookie["name"], cookie["path"]) == ("__Host-session", "/")
    assert (cookie["secure"], cookie["httpOnly"], cookie["sameSite"]) == (True, True, "Lax")
    assert cookie["domain"] == shop.site.host  # with a leading dot it would be for subdomains
    assert cookie["session"], "it goes when the browser is closed"
    assert "partitionKey" not in cookie
    assert who(page, shop) == "id-of-alice"


@pytest.mark.parametrize("serve", [Shop.serve_asgi, Shop.serve_http2])
def test_the_cookie_is_the_same_however_it_is_served(
    serve: Serve, sites: Sites, page: Page
) -> None:
    shop = open_shop(sites, serve)
    sign_in(page, shop)
    (cookie,) = cookies_for(page).values()
    assert cookie["name"] == COOKIE
    assert (cookie["secure"], cookie["httpOnly"], cookie["sameSite"]) == (True, True, "Lax")
    assert who(page, shop) == "id-of-alice"


def test_a_remembered_session_has_a_cookie_that_expires(sites: Sites, page: Page) -> None:
    shop = open_shop(sites)
    sign_in(page, shop, remember=True)
    (cookie,) = cookies_for(page).values()
    assert not cookie["session"]
    # By the browser's clock, which is not the shop's.
    lives_for = cookie["expires"] - time.time()
    assert abs(lives_for - REMEMBERED.absolute_timeout.total_seconds()) < 3600
    assert (cookie["secure"], cookie["httpOnly"], cookie["sameSite"]) == (True, True, "Lax")


def test_a_partitioned_cookie_belongs_to_the_site_in_the_address_bar(
    sites: Sites, page: Page
) -> None:
    shop = open_shop(sites, cookie=SessionCookie(partitioned=True))
    sign_in(page, shop)
    (cookie,) = cookies_for(page).values()
    assert cookie["partitionKey"]["topLevelSite"] == "https://shop.test"
    assert who(page, shop) == "id-of-alice"
    press(page, "Sign out")
    assert cookies_for(page) == {}


@pytest.mark.parametrize("address", [ADDRESS, "http://127.0.0.1"])
def test_scripts_cannot_read_the_cookie(address: str, sites: Sites, page: Page) -> None:
    shop = open_shop(sites, address=address)
    sign_in(page, shop)
    page.evaluate("document.cookie = 'theme=dark'")
    assert page.evaluate("document.cookie") == "theme=dark"
    assert page.evaluate("async () => (await cookieStore.getAll()).map(c => c.name)") == ["theme"]
    assert page.evaluate("async name => await cookieStore.get(name)", COOKIE) is None


def test_partitioning_the_cookie_of_a_running_site_needs_another_name(
    sites: Sites, page: Page
) -> None:
    # For browsers these are two cookies; the old one would stay and nobody could sign in.
    shop = open_shop(sites, cookie=SessionCookie(partitioned=True))
    page.goto(shop.url("/static"))
    before = f"{COOKIE}={id_of_mallory(shop)}; Path=/; Secure"
    page.evaluate("cookie => { document.cookie = cookie }", before)
    page.goto(shop.url("/sign-in"))
    page.fill("[name=username]", "alice")
    page.fill("[name=password]", PASSWORD)
    press(page, "Sign in")
    assert heading(page) == "nobody"
    assert len(shop.told(AmbiguousCookie)) > 0


def test_scripts_cannot_read_it_from_a_response_either(sites: Sites, page: Page) -> None:
    shop = open_shop(sites)
    page.goto(shop.url("/static"))
    headers = page.evaluate(
        """async body => {
            const how = {method: "POST", body, redirect: "manual", headers:
                {"Content-Type": "application/x-www-form-urlencoded"}};
            await fetch("/sign-in", how);
            return [...(await fetch("/api")).headers.keys()];
        }""",
        f"username=alice&password={PASSWORD}",
    )
    assert shop.seen_at("/sign-in")[0].all("Set-Cookie")
    assert "set-cookie" not in headers
    assert who(page, shop) == "id-of-alice"


def test_scripts_cannot_change_or_delete_the_cookie(sites: Sites, page: Page) -> None:
    shop = open_shop(sites)
    sign_in(page, shop)
    before = session_id(page)
    for write in WRITES:
        page.evaluate(write, COOKIE)
        assert session_id(page) == before, write
    assert who(page, shop) == "id-of-alice"
    assert COOKIE + "=" + before in shop.seen[-1].cookies[0]
    assert shop.told(AmbiguousCookie) == []


def test_five_hundred_cookies_of_a_script_do_not_sign_in_somebody_else(
    sites: Sites, page: Page
) -> None:
    # Browsers throw cookies away when there are too many; then a script may write the name.
    shop = open_shop(sites)
    sign_in(page, shop)
    page.evaluate(
        """name => {
            for (let n = 0; n < 500; n++) document.cookie = `c${n}=1; Secure; Path=/`;
            for (let n = 0; n < 500; n++) document.cookie = `c${n}=; Secure; Path=/; Max-Age=0`;
            document.cookie = `${name}=planted; Secure; Path=/`;
        }""",
        COOKIE,
    )
    assert who(page, shop) in {"id-of-alice", "nobody"}
    sign_in(page, shop)
    (cookie,) = cookies_for(page).values()
    assert cookie["httpOnly"]


@pytest.mark.parametrize("text", ["planted", "id of mallory"])
def test_a_cookie_planted_by_a_script_is_worth_nothing_after_signing_in(
    text: str, sites: Sites, page: Page
) -> None:
    shop = open_shop(sites)
    foreign = id_of_mallory(shop) if text == "id of mallory" else text
    page.goto(shop.url("/static"))
    page.evaluate(
        "([name, id]) => { document.cookie = `${name}=${id}; Secure; Path=/` }", [COOKIE, foreign]
    )
    # Chromium keeps it some time later, but not later than it tells a page of it.
    assert f"{COOKIE}={foreign}" in page.evaluate("document.cookie")
    assert session_id(page) == foreign
    sign_in(page, shop)
    assert session_id(page) != foreign
    assert cookies_for(page)[COOKIE]["httpOnly"]
    assert not shop.is_live(foreign)
    assert who(page, shop) == "id-of-alice"


@pytest.mark.parametrize("signed_in_before", [True, False])
def test_a_subdomain_cannot_disturb_the_session(
    signed_in_before: bool, sites: Sites, page: Page
) -> None:
    shop = open_shop(sites)
    foreign = id_of_mallory(shop)
    if signed_in_before:
        sign_in(page, shop)
    planted(sites, page, *(cookie.format(foreign) for cookie in LOOK_ALIKES))
    if not signed_in_before:
        assert who(page, shop) == "nobody"
        assert "session=" in shop.seen_at("/")[-1].cookies[0], "something did arrive"
        sign_in(page, shop)
    page.goto(shop.url("/members"))
    assert heading(page) == "Secrets of id-of-alice"
    press(page, "Sign out")
    assert who(page, shop) == "nobody"
    assert shop.is_live(foreign), "nor could anybody sign mallory out"
    assert shop.told(AmbiguousCookie) == []


def test_without_the_prefix_a_subdomain_signs_somebody_in_as_somebody_else(
    sites: Sites, page: Page
) -> None:
    shop = open_shop(sites, cookie=SHARED)
    planted(sites, page, f"session={id_of_mallory(shop)}; Domain=shop.test; Path=/; Secure")
    assert who(page, shop) == "id-of-mallory"


def test_two_different_cookies_are_nobody_and_an_event(sites: Sites, page: Page) -> None:
    # With the prefix, no browser lets it come to that.
    shop = open_shop(sites, cookie=SHARED)
    sign_in(page, shop)
    planted(sites, page, f"session={id_of_mallory(shop)}; Domain=shop.test; Path=/; Secure")
    assert shop.told(AmbiguousCookie) == []
    assert who(page, shop) == "nobody"
    page.goto(shop.url("/members"))
    assert heading(page) == "Please sign in"
    arrived = shop.seen_at("/")[-1]
    assert arrived.cookies[0].count("session=") == 2
    assert arrived.all("Set-Cookie") == []
    assert [event.source for event in shop.told(AmbiguousCookie)[:2]] == ["127.0.0.1"] * 2
