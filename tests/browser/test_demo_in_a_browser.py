"""
The demo as people meet it: live, without a mouse, without JavaScript, in light and in dark.

What is checked of accessibility is what can be computed; WCAG 2.2 is cited where it asks for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, Final, Literal

import pytest
from playwright.sync_api import BrowserContext, ConsoleMessage, Expect, Page

from browser.chromium import Chromium
from browser.sites import Site, Sites
from examples.demo.app import compose
from examples.demo.handlers import DemoUser
from examples.demo.live import LiveEvents
from servers.local import PATIENCE_SECONDS
from sessioncore.testing import ManualClock
from sessioncore_argon2 import Argon2Parameters, Argon2PasswordHasher
from sessioncore_memory import MemoryCredentialStore, MemorySessionStore

CHEAP = Argon2PasswordHasher(Argon2Parameters(memory_kib=8, passes=1, weaker_because="tests"))

MEMBERS_PAGES: Final = ("/", "/devices", "/events", "/inside", "/safe", "/password", "/step-up")
VISITORS_PAGES: Final = ("/", "/sign-in", "/nowhere")
SCHEMES: Final[tuple[Literal["light", "dark"], ...]] = ("light", "dark")

SOON: Final = PATIENCE_SECONDS * 1000

expect = Expect()  # one of our own: the module's would be patient for everybody
expect.set_options(timeout=SOON)


@dataclass
class Demo:
    site: Site
    clock: ManualClock

    def url(self, path: str) -> str:
        return self.site.url(path)

    def sign_in(self, page: Page) -> None:
        page.goto(self.url("/sign-in"))
        page.get_by_label("Name").fill(DemoUser.USERNAME)
        page.get_by_label("Password").fill(DemoUser.PASSWORD)
        with page.expect_navigation():
            page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Hello, demo")


@pytest.fixture
def demo(sites: Sites) -> Demo:
    users = MemoryCredentialStore()
    encoded = CHEAP.hash(DemoUser.PASSWORD)
    assert isinstance(encoded, str)
    users.add_user(DemoUser.USER_ID, DemoUser.USERNAME, encoded)
    clock = ManualClock()
    site = sites.at("http://127.0.0.1")
    _, app = compose(
        sessions=MemorySessionStore(),
        credentials=users,
        passwords=CHEAP,
        hosts=[site.origin.removeprefix("http://")],
        clock=clock,
        # A pulse that is short enough for a site to close.
        live=partial(LiveEvents, pulse=timedelta(milliseconds=200)),
    )
    site.serve_wsgi(app)
    return Demo(site, clock)


# -- Live ----------------------------------------------------------------------


def test_a_sign_in_elsewhere_arrives_live_and_so_does_its_end(
    demo: Demo, new_browser: Callable[[], BrowserContext]
) -> None:
    mine, theirs = new_browser(), new_browser()
    watching, managing, other = mine.new_page(), mine.new_page(), theirs.new_page()
    demo.sign_in(watching)
    watching.goto(demo.url("/events"))
    expect(watching.get_by_role("status")).to_have_text("Live")
    events = watching.get_by_role("listitem").filter(has=watching.locator("time"))
    expect(events).to_have_count(1)

    demo.sign_in(other)
    expect(events).to_have_count(2)
    expect(events.first).to_contain_text("Signed in with Chrome")
    other.goto(demo.url("/events"))
    expect(other.get_by_role("status")).to_have_text("Live")

    managing.goto(demo.url("/devices"))
    with managing.expect_navigation():
        managing.get_by_role("main").get_by_role("button", name="Sign out Chrome").click()
    expect(managing.get_by_role("status")).to_contain_text("That session has ended.")
    expect(events.first).to_contain_text("ended from the list")
    expect(other.get_by_role("status")).to_contain_text("this session has ended")
    expect(other.get_by_role("listitem").filter(has_text="ended from the list")).to_have_count(0)
    other.get_by_role("link", name="Devices").click()
    expect(other.get_by_role("heading", level=1)).to_have_text("Sign in")


def test_a_page_goes_on_live_when_its_session_moves_to_a_new_id(demo: Demo, page: Page) -> None:
    demo.sign_in(page)
    page.goto(demo.url("/events"))
    expect(page.get_by_role("status")).to_have_text("Live")
    another_tab = page.context.new_page()
    another_tab.goto(demo.url("/password"))
    another_tab.get_by_label("Password so far").fill(DemoUser.PASSWORD)
    another_tab.get_by_label("New password").fill("a new and longer one")
    with another_tab.expect_navigation():
        another_tab.get_by_role("button", name="Change the password").click()
    events = page.get_by_role("listitem").filter(has_text="The password was changed")
    expect(events).to_have_count(1)
    expect(page.get_by_role("status")).to_have_text("Live")


def test_the_change_of_an_id_can_be_watched(demo: Demo, page: Page) -> None:
    demo.sign_in(page)
    page.goto(demo.url("/inside"))
    shown = page.locator(".steps dd").first
    before = shown.inner_text()
    demo.clock.advance(timedelta(seconds=21))
    page.get_by_role("link", name="load this page").click()
    expect(page.get_by_text("This page brings")).to_be_visible()
    brought = page.locator(".steps .new dd").inner_text()
    assert shown.inner_text() == before != brought
    page.get_by_role("link", name="load this page").click()
    expect(page.get_by_text("This page brings")).to_have_count(0)
    assert shown.inner_text() == brought


@contextmanager
def without_javascript(chromium: Chromium) -> Generator[Page]:
    with chromium.process.new_context(java_script_enabled=False) as browser:
        browser.set_default_timeout(SOON)
        yield browser.new_page()


def test_everything_works_without_javascript(demo: Demo, chromium: Chromium) -> None:
    with without_javascript(chromium) as page:
        page.goto(demo.url("/"))
        page.get_by_role("button", name="Count one up").click()
        demo.sign_in(page)
        expect(page.locator("output")).to_have_text("1")
        page.goto(demo.url("/events"))
        expect(page.get_by_role("listitem").filter(has_text="Signed in with")).to_have_count(1)
        demo.clock.advance(timedelta(seconds=61))
        page.get_by_role("link", name="Safe").click()
        page.get_by_role("textbox", name="Password").fill(DemoUser.PASSWORD)
        page.get_by_role("button", name="Go on").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("The safe")
        page.get_by_role("button", name="Sign out").click()
        expect(page.locator(".notice")).to_have_text("You are signed out.")


def test_scripts_get_at_no_cookie_and_may_not_be_written_into_a_page(
    demo: Demo, page: Page
) -> None:
    demo.sign_in(page)
    assert page.evaluate("document.cookie") == ""
    ran = page.evaluate(
        """() => {
            const script = document.createElement("script");
            try { script.textContent = "window.ran = true"; } catch { return "refused"; }
            document.body.append(script);
            return window.ran ?? "refused";
        }"""
    )
    assert ran == "refused"


# -- For everybody -------------------------------------------------------------

FINDINGS: Final = """() => {
    const found = [];
    const say = (what, element) => found.push(`${what}: ${element?.outerHTML?.slice(0, 120)}`);
    const all = (selector) => [...document.querySelectorAll(selector)];
    const text = (element) => element.textContent.trim();
    // 3.1.1, 2.4.2
    if (document.documentElement.lang !== "en") say("no language", document.documentElement);
    if (!document.title.includes(" · ")) say("no title of its own", document.head);
    // 1.3.1, 2.4.1
    if (all("h1").length !== 1) say("not one h1", document.body);
    for (const landmark of ["body > header", "body > header nav[aria-label]", "body > main",
                            "body > footer"]) {
        if (all(landmark).length !== 1) say(`not one ${landmark}`, document.body);
    }
    if (document.body.firstElementChild.getAttribute("href") !== "#main") say("no skip link");
    let level = 0;
    for (const heading of all("h1, h2, h3, h4")) {
        const now = Number(heading.tagName[1]);
        if (now > level + 1) say("a level of headings is left out", heading);
        level = now;
    }
    const ids = all("[id]").map((element) => element.id);
    if (new Set(ids).size !== ids.length) say("an id twice", document.body);
    for (const name of ["aria-labelledby", "aria-describedby"]) {
        for (const element of all(`[${name}]`)) {
            const target = document.getElementById(element.getAttribute(name));
            if (target === null || text(target) === "") say(`${name} of nothing`, element);
        }
    }
    for (const section of all("section")) {
        if (!section.ariaLabel && !section.hasAttribute("aria-labelledby")) {
            say("a section without a name", section);
        }
    }
    // 3.3.2, 4.1.2
    for (const input of all("input:not([type=hidden]):not([aria-hidden])")) {
        if (input.labels.length !== 1 || text(input.labels[0]) === "") say("no label", input);
    }
    for (const element of all("a, button")) {
        if (text(element) === "") say("no words", element);
    }
    for (const image of all("img")) if (!image.hasAttribute("alt")) say("no alt", image);
    for (const button of all("form button")) {
        const names = all("form button").filter((other) => text(other) === text(button));
        const actions = new Set(names.map((other) => new URLSearchParams(
            new FormData(other.form)).toString() + other.form.action));
        if (names.length !== actions.size) say("two buttons for one thing", button);
        if (actions.size > 1) say("one name for two buttons", button);
    }
    // 2.4.3: no order but that of the page.
    for (const element of all("[tabindex]")) {
        if (element.tabIndex > 0) say("a tab order of its own", element);
    }
    // 2.5.8, and more than it asks for
    for (const element of all("button, input:not([type=hidden]):not([aria-hidden]), nav a")) {
        const least = element.type === "checkbox" ? 20 : 40;
        if (element.getBoundingClientRect().height < least) say("too small", element);
    }
    return found;
}"""

LOW_CONTRAST: Final = """() => {
    const found = [];
    const channels = (text) => text.match(/[\\d.]+/g).map(Number);
    const linear = (value) =>
        value <= 10.31475 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4;
    const luminance = ([red, green, blue]) =>
        0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue);
    const ratio = (one, two) => {
        const [light, dark] = [luminance(one), luminance(two)].sort((a, b) => b - a);
        return (light + 0.05) / (dark + 0.05);
    };
    const background = (element) => {
        for (let at = element; at !== null; at = at.parentElement) {
            const colour = channels(getComputedStyle(at).backgroundColor);
            if (colour.length === 3 || colour[3] === 1) return colour;
            if (colour[3] !== 0) throw new Error("half transparent");
        }
        throw new Error("no background");
    };
    const check = (what, element, front, back, least) => {
        const value = ratio(front, back);
        const of = element.outerHTML.slice(0, 90);
        if (value < least) found.push(`${what} ${value.toFixed(2)}: ${of}`);
    };
    let checked = 0;
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) {
        const element = texts.currentNode.parentElement;
        if (texts.currentNode.data.trim() === "" || element.closest(".unseen, script")) continue;
        // 1.4.3, with none of its exceptions for large text
        check("text", element, channels(getComputedStyle(element).color), background(element), 4.5);
        checked += 1;
    }
    const controls = "input:not([type=hidden]):not(.unseen), button";
    for (const element of document.querySelectorAll(controls)) {
        // 1.4.11
        if (element.type === "checkbox") continue;
        const border = channels(getComputedStyle(element).borderTopColor);
        check("border", element, border, background(element.parentElement), 3);
    }
    return [checked, found];
}"""


def every_page(demo: Demo, page: Page) -> Iterator[str]:
    """
    Show the pages one after the other, those of visitors first.
    """
    for path in VISITORS_PAGES:
        page.goto(demo.url(path))
        yield path
    page.goto(demo.url("/sign-in"))
    page.get_by_label("Name").fill("demo")
    page.get_by_label("Password").fill("wrong")
    with page.expect_navigation():
        page.get_by_role("button", name="Sign in").click()
    yield "/sign-in, refused"
    demo.sign_in(page)
    for path in MEMBERS_PAGES:
        page.goto(demo.url(path))
        yield path
    demo.clock.advance(timedelta(seconds=21))
    page.goto(demo.url("/inside"))
    yield "/inside, renewed"
    page.goto(demo.url("/"))
    expect(page.locator("[data-state]")).to_have_text("Live")
    yield "/, live"


def test_pages_say_what_their_parts_are(demo: Demo, page: Page, browser: BrowserContext) -> None:
    second = browser.new_page()
    demo.sign_in(second)  # so that there is a session to sign out
    browser.clear_cookies()
    findings = {path: page.evaluate(FINDINGS) for path in every_page(demo, page)}
    assert {path: found for path, found in findings.items() if found} == {}


def test_what_is_written_can_be_read_in_light_and_in_dark(demo: Demo, page: Page) -> None:
    faint: dict[str, list[str]] = {}
    backgrounds: dict[str, set[str]] = {"light": set(), "dark": set()}
    for path in every_page(demo, page):
        for scheme in SCHEMES:
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            checked, found = page.evaluate(LOW_CONTRAST)
            assert checked > 5
            colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
            backgrounds[scheme].add(colour)
            if found:
                faint[f"{path}, {scheme}"] = found
    assert faint == {}
    for scheme in SCHEMES:
        [colour] = backgrounds[scheme]
        brightest = max(int(value) for value in colour[4:-1].split(","))
        assert (brightest > 128) is (scheme == "light")


def test_nothing_is_wider_than_the_window(demo: Demo, page: Page) -> None:
    # WCAG 1.4.10: at 320 pixels there is one direction to scroll in.
    for path in every_page(demo, page):
        for width in (320, 390, 1200):
            page.set_viewport_size({"width": width, "height": 700})
            wide = page.evaluate("document.documentElement.scrollWidth")
            assert wide <= width, f"{path} at {width}"


def test_a_new_event_moves_only_for_those_who_like_motion(demo: Demo, page: Page) -> None:
    moving: list[str] = []
    demo.sign_in(page)
    for liking in ("no-preference", "reduce"):
        page.emulate_media(reduced_motion="reduce" if liking == "reduce" else "no-preference")
        moving.append(
            page.evaluate(
                """() => {
                    const row = document.createElement("li");
                    row.className = "new";
                    document.querySelector(".events").prepend(row);
                    return getComputedStyle(row).animationName;
                }"""
            )
        )
    assert moving == ["arrive", "none"]


def test_pages_break_no_rule_of_their_own(demo: Demo, page: Page) -> None:
    complaints: list[str] = []

    def listen(message: ConsoleMessage) -> None:
        # Chromium calls it an error of a page, too, that it was refused or not found.
        if message.type in {"error", "warning"} and "the server responded" not in message.text:
            complaints.append(message.text)

    page.on("console", listen)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    for _ in every_page(demo, page):
        pass
    assert complaints == []


# -- With the keyboard alone ---------------------------------------------------

FOCUSED: Final = """() => {
    const element = document.activeElement;
    const style = getComputedStyle(element);
    const box = element.getBoundingClientRect();
    return {
        words: (element.labels?.[0] ?? element).textContent.trim().replace(/\\s+/g, " "),
        outline: style.outlineStyle === "none" ? 0 : parseFloat(style.outlineWidth),
        seen: box.left >= 0 && box.top >= 0 && box.width > 1,
        top: box.top + scrollY,
        isBody: element === document.body,
    };
}"""


def tabbed(page: Page) -> list[dict[str, Any]]:
    """
    Press Tab until the page has been gone through.
    """
    stops: list[dict[str, Any]] = []
    for _ in range(60):
        page.keyboard.press("Tab")
        stop: dict[str, Any] = page.evaluate(FOCUSED)
        if stop["isBody"]:
            return stops
        stops.append(stop)
    raise AssertionError("the keyboard does not get out")


def test_the_keyboard_goes_through_a_page_from_top_to_bottom_and_its_focus_is_seen(
    demo: Demo, page: Page, new_browser: Callable[[], BrowserContext]
) -> None:
    demo.sign_in(new_browser().new_page())
    demo.sign_in(page)
    page.goto(demo.url("/devices"))
    stops = tabbed(page)
    assert [stop["words"].split(" Chrome")[0] for stop in stops] == [
        "Skip to the content",
        "Home",
        "Devices",
        "Events",
        "Cookie and store",
        "Safe",
        "Password",
        "Sign out demo",
        "Sign out",
        "Sign out everywhere else",
        "Sign out everywhere, here too",
    ]
    assert all(stop["outline"] >= 2 and stop["seen"] for stop in stops)
    in_main = [stop["top"] for stop in stops[8:]]
    assert in_main == sorted(in_main)


COUNTED: Final = re.compile(r"#data$")


def test_one_can_sign_in_look_around_and_sign_out_by_keyboard(demo: Demo, page: Page) -> None:
    def press(*keys: str) -> None:
        for key in keys:
            page.keyboard.press(key)

    def expect_title(title: str) -> None:
        expect(page.get_by_role("heading", level=1)).to_have_text(title)

    page.goto(demo.url("/sign-in"))
    press("Tab", "Enter")  # over the navigation
    press("Tab")
    page.keyboard.type(DemoUser.USERNAME)
    press("Tab")
    page.keyboard.type(DemoUser.PASSWORD)
    press("Tab", "Space")
    assert page.get_by_label("Keep me signed in").is_checked()
    with page.expect_navigation():
        press("Tab", "Enter")
    expect_title("Hello, demo")
    press("Tab", "Enter")  # over the navigation again, which is a navigation to browsers
    with page.expect_navigation(url=COUNTED):
        press("Tab", "Enter")
    expect(page.locator("output")).to_have_text("1")
    with page.expect_navigation(url=COUNTED):
        press("Tab", "Enter")  # one is back where one was
    expect(page.locator("output")).to_have_text("2")
    page.goto(demo.url("/devices"))
    press(*["Tab"] * 8)
    with page.expect_navigation():
        press("Enter")
    expect_title("Hello, visitor")
