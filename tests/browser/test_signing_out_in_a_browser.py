"""
Two tabs, two browsers, the button "back": who is signed in after what.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Final

import pytest
from playwright.sync_api import BrowserContext, Page

from browser.chromium import cookies_for, go_back
from browser.shop import (
    ADDRESS,
    COOKIE,
    PASSWORD,
    TWO_WAYS,
    Headers,
    Serve,
    Shop,
    ask,
    heading,
    open_shop,
    press,
    session_id,
    sign_in,
    who,
)
from browser.sites import Sites

ADDRESSES: Final = (ADDRESS, "http://127.0.0.1", "http://localhost")


def shown(page: Page, text: str) -> None:
    """
    Wait for a heading. What Chromium has kept is shown without being loaded.
    """
    page.get_by_role("heading", name=text, exact=True).wait_for()


def without_no_store(headers: Headers) -> Headers:
    return [(name, value) for name, value in headers if name.lower() != "cache-control"]


# -- The button "back" ----------------------------------------------------------------


@pytest.mark.parametrize("address", ADDRESSES)
def test_back_after_signing_out_shows_nothing(address: str, sites: Sites, page: Page) -> None:
    shop = open_shop(sites, address=address)
    sign_in(page, shop)
    page.goto(shop.url("/members"))
    press(page, "Sign out")
    assert heading(page) == "Goodbye"
    assert cookies_for(page) == {}
    go_back(page)
    shown(page, "Please sign in")
    assert "alice" not in page.content()


def test_back_after_signing_out_in_another_tab_shows_nothing(sites: Sites, page: Page) -> None:
    shop = open_shop(sites, Shop.serve_http2)
    sign_in(page, shop)
    page.goto(shop.url("/members"))
    page.goto(shop.url("/static"))
    other = page.context.new_page()
    assert who(other, shop) == "id-of-alice"
    press(other, "Sign out")
    go_back(page)
    shown(page, "Please sign in")


@pytest.mark.parametrize("address", [ADDRESS, "http://127.0.0.1"])
def test_without_no_store_back_would_show_the_page(address: str, sites: Sites, page: Page) -> None:
    shop = open_shop(sites, address=address, altered=without_no_store, clear_site_data=())
    sign_in(page, shop)
    page.goto(shop.url("/members"))
    press(page, "Sign out")
    go_back(page)
    shown(page, "Secrets of id-of-alice")


@pytest.mark.parametrize(("cleared", "text"), [((), "id-of-alice"), (("cache",), "nobody")])
def test_the_page_that_signing_in_led_to_needs_a_cleared_cache_to_be_forgotten(
    cleared: tuple[str, ...], text: str, sites: Sites, page: Page
) -> None:
    # Chromium shows what came in the redirect that brought the cookie again, no-store or
    # not, although the cookie is gone. It forgets it if it is asked to clear its cache.
    shop = open_shop(sites, clear_site_data=cleared)
    sign_in(page, shop)
    page.evaluate("window.left = true")
    page.goto(shop.url("/members"))
    press(page, "Sign out")
    go_back(page)
    shown(page, "Please sign in")
    go_back(page)
    shown(page, text)
    assert bool(page.evaluate("window.left")) is (not cleared)


def test_a_page_that_another_redirect_led_to_is_forgotten(sites: Sites, page: Page) -> None:
    shop = open_shop(sites)
    sign_in(page, shop)
    press(page, "Order")
    assert heading(page) == "Secrets of id-of-alice"
    page.goto(shop.url("/static"))
    page.evaluate("() => fetch('/sign-out', {method: 'POST'})")
    go_back(page)
    shown(page, "Please sign in")


def test_back_after_being_signed_out_elsewhere_shows_the_page_as_it_was_left(
    sites: Sites, page: Page
) -> None:
    # A dead cookie is left alone, so Chromium knows of no reason to forget the page. What
    # it shows is all there is: whatever is clicked there is asked for anew.
    shop = open_shop(sites)
    sign_in(page, shop)
    page.goto(shop.url("/static"))
    page.goto(shop.url("/members"))
    shop.auth.logout_everywhere("id-of-alice")
    page.goto(shop.url("/devices"))
    assert heading(page) == "Please sign in"
    go_back(page)
    shown(page, "Secrets of id-of-alice")
    press(page, "Order")
    assert heading(page) == "Please sign in"
    assert shop.orders == []


def test_what_is_to_be_cleared_at_signing_out_is_cleared(sites: Sites, page: Page) -> None:
    shop = open_shop(sites, clear_site_data=["cache", "storage"])
    sign_in(page, shop)
    page.evaluate("localStorage.setItem('draft', 'of alice'); document.cookie = 'theme=dark'")
    press(page, "Sign out")
    assert heading(page) == "Goodbye"
    (signed_out,) = shop.seen_at("/sign-out")
    assert signed_out.all("Clear-Site-Data") == ['"cache", "storage"']
    assert page.evaluate("localStorage.getItem('draft')") is None
    assert list(cookies_for(page)) == ["theme"], "ours is deleted, and no other"
    sign_in(page, shop)


# -- Two tabs of one browser ------------------------------------------------------------


@pytest.mark.parametrize("serve", TWO_WAYS)
def test_two_tabs_are_signed_in_and_out_together(serve: Serve, sites: Sites, page: Page) -> None:
    shop = open_shop(sites, serve)
    other = page.context.new_page()
    assert who(other, shop) == "nobody"
    sign_in(page, shop)
    assert heading(other) == "nobody"
    other.click("a")
    assert heading(other) == "Secrets of id-of-alice"
    press(page, "Sign out")
    assert heading(other) == "Secrets of id-of-alice"
    other.click("a")
    other.wait_for_url("**/sign-in?next=%2Fmembers")
    assert heading(other) == "Please sign in"


def test_what_a_signed_out_tab_sends_does_nothing(sites: Sites, page: Page) -> None:
    shop = open_shop(sites)
    sign_in(page, shop)
    other = page.context.new_page()
    other.goto(shop.url("/members"))
    press(page, "Sign out")
    press(other, "Order")
    assert heading(other) == "Please sign in"
    assert shop.orders == []


def test_signing_in_as_somebody_else_ends_the_session_before(sites: Sites, page: Page) -> None:
    shop = open_shop(sites)
    sign_in(page, shop)
    before = session_id(page)
    other = page.context.new_page()
    sign_in(other, shop, "bob")
    assert not shop.is_live(before)
    assert who(page, shop) == "id-of-bob"


def test_a_response_that_comes_after_signing_out_brings_nothing_back(
    sites: Sites, page: Page
) -> None:
    shop = open_shop(sites)
    sign_in(page, shop)
    shop.clock.advance(timedelta(minutes=15))  # so that the answer would bring a new id
    gate = shop.hold_answer("/members")
    other = page.context.new_page()
    other.goto(shop.url("/static"))
    other.evaluate("() => { window.late = fetch('/members').then(r => r.status) }")
    gate.wait_for_the_request()
    press(page, "Sign out")
    gate.open()
    assert ask(other, "() => late") == 200  # it was asked for in time
    (late,) = shop.seen_at("/members")
    assert COOKIE in late.cookies[0]
    assert late.all("Set-Cookie") == []
    assert cookies_for(page) == {}
    assert who(page, shop) == "nobody"


# -- Two browsers -------------------------------------------------------------------------


@pytest.mark.parametrize("serve", TWO_WAYS)
def test_revoking_from_another_browser_takes_effect_on_the_next_click(
    serve: Serve, sites: Sites, page: Page, new_browser: Callable[[], BrowserContext]
) -> None:
    shop = open_shop(sites, serve)
    sign_in(page, shop)
    elsewhere = new_browser().new_page()
    sign_in(elsewhere, shop)
    elsewhere.goto(shop.url("/devices"))
    press(elsewhere, "Revoke that")
    assert heading(elsewhere) == "id-of-alice"
    press(page, "Order")
    assert heading(page) == "Please sign in"
    assert shop.orders == []
    elsewhere.goto(shop.url("/devices"))
    assert elsewhere.get_by_role("button").all_inner_texts() == ["Revoke this"]


def test_revoking_oneself_deletes_the_cookie(sites: Sites, page: Page) -> None:
    shop = open_shop(sites)
    sign_in(page, shop)
    page.goto(shop.url("/devices"))
    press(page, "Revoke this")
    assert heading(page) == "nobody"
    assert cookies_for(page) == {}


@pytest.mark.parametrize("button", ["Sign out everywhere", "Sign out others"])
def test_signing_out_everywhere_takes_effect_on_the_next_click(
    button: str, sites: Sites, page: Page, new_browser: Callable[[], BrowserContext]
) -> None:
    shop = open_shop(sites)
    sign_in(page, shop)
    elsewhere = new_browser().new_page()
    sign_in(elsewhere, shop)
    before = session_id(elsewhere)
    press(elsewhere, button)
    page.click("a")
    page.wait_for_url("**/sign-in?*")
    assert heading(page) == "Please sign in"
    assert not shop.is_live(before)
    if button == "Sign out others":
        assert heading(elsewhere) == "Secrets of id-of-alice"
        assert session_id(elsewhere) != before
    else:
        assert heading(elsewhere) == "Goodbye"
        assert cookies_for(elsewhere) == {}


# -- Stepping up ----------------------------------------------------------------------------


def test_stepping_up_changes_the_cookie_at_once_and_other_tabs_go_on(
    sites: Sites, page: Page
) -> None:
    shop = open_shop(sites)
    sign_in(page, shop)
    shop.clock.advance(timedelta(minutes=16))
    other = page.context.new_page()
    other.goto(shop.url("/members"))
    before = session_id(page)
    page.goto(shop.url("/safe"))
    assert heading(page) == "Please prove it"
    page.fill("[name=password]", PASSWORD)
    press(page, "Prove")
    assert heading(page) == "Safe of id-of-alice"
    assert session_id(page) != before
    assert cookies_for(page)[COOKIE]["httpOnly"]
    other.click("a")
    assert heading(other) == "Secrets of id-of-alice"
    press(other, "Order")
    assert shop.orders == ["id-of-alice"]
    assert not shop.is_live(before)


def test_a_page_that_crossed_with_a_step_up_helps_itself(sites: Sites, page: Page) -> None:
    shop = open_shop(sites)
    sign_in(page, shop)
    other = page.context.new_page()
    gate = shop.hold("/members")
    other.goto(shop.url("/static"))
    other.evaluate("() => { setTimeout(() => { location = '/members' }) }")
    gate.wait_for_the_request()
    page.goto(shop.url("/step-up"))
    page.fill("[name=password]", PASSWORD)
    press(page, "Prove")
    gate.open()
    other.get_by_role("heading", name="Secrets of id-of-alice").wait_for()
    assert [seen.status for seen in shop.seen_at("/members")] == [409, 200]
    assert who(page, shop) == "id-of-alice"
