"""
What becomes of a browser's cookie when its session id is renewed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import pytest
from playwright.sync_api import BrowserContext, Page

from browser.chromium import cookies_for
from browser.shop import (
    BROWSER,
    COOKIE,
    EVERY_WAY,
    RENEWAL,
    TWO_WAYS,
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
from sessioncore.events import SessionEnded, SessionIdReused, SessionRenewed

FETCH_SIX: Final = """() => Promise.all([1, 2, 3, 4, 5, 6].map(async n => {
    const response = await fetch(`/meet?${n}`);
    return [response.status, await response.json()];
}))"""


def ids_brought(shop: Shop, path: str) -> set[str]:
    """
    The ids that the responses at *path* brought.
    """
    cookies = [value for seen in shop.seen_at(path) for value in seen.all("Set-Cookie")]
    return {value.partition(";")[0].removeprefix(f"{COOKIE}=") for value in cookies}


def test_a_renewed_id_replaces_the_one_before(sites: Sites, page: Page) -> None:
    shop = open_shop(sites)
    sign_in(page, shop)
    before = session_id(page)
    assert who(page, shop) == "id-of-alice"
    assert session_id(page) == before, "nothing is due"
    shop.clock.advance(RENEWAL)
    assert who(page, shop) == "id-of-alice"
    (cookie,) = cookies_for(page).values()
    assert cookie["value"] != before
    assert (cookie["secure"], cookie["httpOnly"], cookie["sameSite"]) == (True, True, "Lax")
    assert cookie["session"]


def six_fetched(page: Page, _shop: Shop) -> None:
    assert ask(page, FETCH_SIX) == [[200, "id-of-alice"]] * 6


def six_shown(page: Page, _shop: Shop) -> None:
    page.evaluate(
        """() => {
            for (let n = 0; n < 6; n++) {
                const picture = new Image();
                picture.src = `/picture?${n}`;
                document.body.append(picture);
            }
        }"""
    )
    ask(page, "() => Promise.all([...document.images].map(picture => picture.decode()))")


@pytest.mark.parametrize("serve", EVERY_WAY)
@pytest.mark.parametrize(
    ("load_six", "path"), [(six_fetched, "/meet"), (six_shown, "/picture")], ids=["fetch", "images"]
)
def test_six_requests_at_renewal_succeed_and_end_with_one_cookie(
    load_six: Callable[[Page, Shop], None], path: str, serve: Serve, sites: Sites, page: Page
) -> None:
    shop = open_shop(sites, serve)
    sign_in(page, shop)
    page.evaluate("document.cookie = 'theme=dark; Secure'")  # over HTTP/2 cookies come apart
    before = session_id(page)
    shop.clock.advance(RENEWAL)
    load_six(page, shop)
    six = shop.seen_at(path)
    assert [seen.status for seen in six] == [200] * 6
    assert all(f"{COOKIE}={before}" in "; ".join(seen.cookies) for seen in six)
    assert all(len(seen.cookies) == (2 if serve is Shop.serve_http2 else 1) for seen in six)
    after = session_id(page)
    assert ids_brought(shop, path) == {after}
    assert all(len(seen.all("Set-Cookie")) <= 1 for seen in six)
    assert after != before

    # Until the new one is used, both are good; afterwards the old one is for the grace.
    assert who(page, shop) == "id-of-alice"
    assert session_id(page) == after
    assert len(shop.told(SessionRenewed)) == 1
    assert shop.is_live(before)
    assert shop.is_live(after)
    shop.clock.advance(BROWSER.grace)
    assert who(page, shop) == "id-of-alice"
    shop.clock.advance(BROWSER.grace)
    assert not shop.is_live(before)


def test_a_thief_who_brings_an_old_id_ends_the_session(
    sites: Sites, page: Page, new_browser: Callable[[], BrowserContext]
) -> None:
    shop = open_shop(sites)
    sign_in(page, shop)
    thief = new_browser()
    thief.add_cookies([{"name": COOKIE, "value": session_id(page), "url": shop.origin}])
    shop.clock.advance(RENEWAL)
    assert who(page, shop) == "id-of-alice"
    assert who(page, shop) == "id-of-alice"
    shop.clock.advance(2 * BROWSER.grace)
    assert who(page, shop) == "id-of-alice"
    assert shop.told(SessionIdReused) == []
    assert who(thief.new_page(), shop) == "nobody"
    assert [event.ended for event in shop.told(SessionIdReused)] == [True]
    assert who(page, shop) == "nobody"


@pytest.mark.parametrize("serve", TWO_WAYS)
def test_a_renewal_in_one_tab_does_not_sign_out_the_other(
    serve: Serve, sites: Sites, page: Page
) -> None:
    shop = open_shop(sites, serve)
    sign_in(page, shop)
    other = page.context.new_page()
    other.goto(shop.url("/members"))
    for _ in range(3):
        shop.clock.advance(RENEWAL)
        page.goto(shop.url("/members"))
        other.click("a")
        assert heading(other) == heading(page) == "Secrets of id-of-alice"
    press(other, "Order")
    assert shop.orders == ["id-of-alice"]
    assert shop.told(SessionEnded) == []
    assert len(shop.told(SessionRenewed)) == 3


def test_a_request_that_was_under_way_during_the_renewal_succeeds(sites: Sites, page: Page) -> None:
    shop = open_shop(sites)
    sign_in(page, shop)
    shop.clock.advance(RENEWAL)
    gate = shop.hold("/api")
    page.evaluate("() => { window.late = fetch('/api').then(r => r.json()) }")
    gate.wait_for_the_request()
    other = page.context.new_page()
    assert who(other, shop) == "id-of-alice"
    assert who(other, shop) == "id-of-alice"
    after = session_id(other)
    gate.open()
    assert ask(page, "() => late") == "id-of-alice"
    assert session_id(page) == after
    assert who(page, shop) == "id-of-alice"


def test_a_remembered_cookie_never_outlives_its_session(sites: Sites, page: Page) -> None:
    shop = open_shop(sites)
    sign_in(page, shop, remember=True)
    before = cookies_for(page)[COOKIE]
    shop.clock.advance(RENEWAL * 40)
    assert who(page, shop) == "id-of-alice"
    after = cookies_for(page)[COOKIE]
    assert after["value"] != before["value"]
    # The browser's clock has not moved, the shop's has, by ten hours.
    assert 9 * 3600 < before["expires"] - after["expires"] < 11 * 3600
