"""
What every example does, whatever its framework: one scenario, over real HTTP.

See :mod:`web` for how an example passes it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Barrier
from typing import Final
from wsgiref.types import WSGIApplication

import pytest

from browser.sites import AsgiApplication, Site, Sites
from sessioncore import AsyncAuthService, AuthService
from sessioncore.events import AmbiguousCookie, CrossOriginRefused
from web.shop import MINUTE, PASSWORD, SECOND, USER_ID, Shop
from web.stage import Stage
from web.visitor import COOKIE, Answer, Visitor

ATTRIBUTES: Final = {"path": "/", "secure": "", "httponly": "", "samesite": "Lax"}
EVIL: Final = "https://evil.example"

FOREIGN: Final = {
    "a page of another site": {"Sec-Fetch-Site": "cross-site", "Origin": EVIL},
    "a page of another site, without an origin": {"Sec-Fetch-Site": "cross-site"},
    "a page of a sibling": {"Sec-Fetch-Site": "same-site", "Origin": "https://evil.test"},
    "an old browser": {"Origin": EVIL},
    "a sandboxed frame": {"Sec-Fetch-Site": "cross-site", "Origin": "null"},
    "nobody knows who": {},
}
"""Who causes a request that brings the cookie along, and must not."""

PARALLEL: Final = 6


@dataclass
class Served:
    """
    An application that answers, and the service behind it.
    """

    origin: str
    shop: Shop

    def visitor(self, user_agent: str = "Firefox") -> Visitor:
        """
        Somebody who comes for the first time.
        """
        return Visitor(self.origin, user_agent)

    def signed_in(self, user_agent: str = "Firefox") -> Visitor:
        """
        The user, just signed in.
        """
        visitor = self.visitor(user_agent)
        assert visitor.sign_in(PASSWORD).leads_to("/account")
        return visitor


class Scenario(ABC):
    """
    The steps. Subclass :class:`WsgiScenario` or :class:`AsgiScenario`, not this.
    """

    @abstractmethod
    def _serve(self, site: Site, shop: Shop) -> None: ...

    @pytest.fixture
    def site(self, sites: Sites, shop: Shop) -> Served:
        site = sites.at("http://127.0.0.1")
        self._serve(site, shop)
        shop.journal.forget()
        return Served(site.origin, shop)

    # -- Nobody ------------------------------------------------------------------

    def test_a_visitor_is_nobody_and_gets_no_cookie(self, site: Served) -> None:
        visitor = site.visitor()
        answer = visitor.visit("/")
        assert (answer.status, "hello visitor" in answer.text) == (200, True)
        assert visitor.jar == {}
        assert site.shop.journal.names() == []

    def test_a_page_that_never_asks_costs_nothing_and_says_nothing(self, site: Served) -> None:
        visitor = site.signed_in()
        site.shop.wait(16 * MINUTE)  # a renewal is due, for whoever asks
        site.shop.journal.forget()
        answer = visitor.visit("/plain")
        assert (answer.status, answer.text.strip()) == (200, "plain")
        assert site.shop.journal.names() == []
        assert "cookie" not in answer.listed("Vary")
        assert "no-store" not in answer.listed("Cache-Control")
        assert answer.all("Set-Cookie") == []

    def test_a_page_that_asks_reads_the_session_once(self, site: Served) -> None:
        visitor = site.signed_in()
        site.shop.journal.forget()
        assert visitor.visit("/account").status == 200
        # With Django, which keeps the expiry there, together with its data.
        assert [name for name in site.shop.journal.names() if name.startswith("find")] in (
            ["find"],
            ["find_with_data"],
        )

    @pytest.mark.parametrize("path", ["/", "/account", "/note", "/devices", "/api/me"])
    def test_no_cache_may_keep_what_depends_on_who_asks(self, site: Served, path: str) -> None:
        for visitor in (site.visitor(), site.signed_in()):
            answer = visitor.visit(path)
            assert answer.listed("Cache-Control") == {"no-store"}
            assert "cookie" in answer.listed("Vary")

    def test_a_window_is_sent_to_the_sign_in_page_and_back(self, site: Served) -> None:
        visitor = site.visitor()
        assert visitor.visit("/account").leads_to("/sign-in?next=%2Faccount")
        page = visitor.visit("/sign-in?next=%2Faccount")
        assert (page.status, "<form" in page.text) == (200, True)
        assert 'name="next"' in page.text
        assert visitor.sign_in(PASSWORD, next="/account?tab=2").leads_to("/account?tab=2")

    def test_a_program_gets_a_401(self, site: Served) -> None:
        for path in ("/api/me", "/account"):
            _is_problem(site.visitor().fetch(path), 401, "sign-in-required")

    # -- Signing in --------------------------------------------------------------

    def test_a_wrong_password_is_refused(self, site: Served) -> None:
        visitor = site.visitor()
        answer = visitor.sign_in("wrong")
        assert answer.status == 401
        assert visitor.session_id is None
        assert visitor.sign_in(PASSWORD, username="nobody").status == 401
        assert "hello visitor" in visitor.visit("/").text

    def test_the_right_password_signs_in(self, site: Served) -> None:
        visitor = site.visitor()
        assert visitor.sign_in(PASSWORD).leads_to("/account")
        assert "account of u-1" in visitor.visit("/account").text
        assert "hello u-1" in visitor.visit("/").text
        assert visitor.fetch("/api/me").json == {"user_id": USER_ID}

    def test_the_cookie_has_these_attributes_and_no_others(self, site: Served) -> None:
        cookie = site.visitor().sign_in(PASSWORD).session_cookie
        assert cookie is not None
        assert cookie.attributes == ATTRIBUTES

    def test_it_ends_with_the_browser_unless_it_is_to_be_remembered(self, site: Served) -> None:
        here, there = site.visitor(), site.visitor()
        assert here.sign_in(PASSWORD).status == 303
        remembered = there.sign_in(PASSWORD, remember="on").session_cookie
        assert remembered is not None
        assert int(remembered.attributes["max-age"]) > 24 * 60 * 60
        assert remembered.attributes.keys() == {*ATTRIBUTES, "max-age"}
        here.close()
        there.close()
        assert "hello visitor" in here.visit("/").text
        assert "hello u-1" in there.visit("/").text

    @pytest.mark.parametrize(
        "target",
        ["//evil.example", "/\\evil.example", "/\t/evil.example", f"{EVIL}/", "javascript:alert()"],
    )
    def test_nobody_is_led_to_another_site(self, site: Served, target: str) -> None:
        visitor = site.visitor()
        assert visitor.sign_in(PASSWORD, next=target).leads_to("/account")
        location = visitor.submit("/step-up", password=PASSWORD, next=target).one("Location")
        assert location is not None
        assert location.removeprefix(site.origin).startswith("/")
        assert "evil" not in location

    def test_an_id_from_before_the_sign_in_is_worth_nothing_after_it(self, site: Served) -> None:
        attacker, victim = site.visitor(), site.visitor()
        attacker.submit("/note", text="mine")
        planted = attacker.session_id
        assert planted is not None
        victim.hold(planted)
        victim.sign_in(PASSWORD)
        assert victim.session_id not in {None, planted}
        assert "hello visitor" in attacker.visit("/").text
        assert attacker.visit("/account").status == 303
        assert "account of u-1" in victim.visit("/account").text

    def test_an_invented_id_is_never_adopted(self, site: Served) -> None:
        visitor = site.signed_in()
        assert visitor.session_id is not None
        # Of another family, or it would pass for a retired id, whose browser has a better one.
        other_family = "AAAA" if visitor.session_id[36] != "A" else "BBBB"
        invented = visitor.session_id[:36] + other_family + visitor.session_id[40:]
        other = site.visitor()
        for text in (invented, "invented", "x" * 4000):
            other.hold(text)
            assert "hello visitor" in other.visit("/").text
            assert other.submit("/note", text="here").status == 303
            assert other.session_id not in {None, text}
            assert "here" in other.visit("/note").text

    def test_two_cookies_of_our_name_are_nobody(self, site: Served) -> None:
        visitor = site.signed_in()
        site.shop.journal.forget()
        both = {"Cookie": f"{COOKIE}={visitor.session_id}; {COOKIE}=other"}
        for cookie in (both, {"Cookie": f"{COOKIE}=other; {COOKIE}={visitor.session_id}"}):
            answer = visitor.request("GET", "/", headers=cookie)
            assert (answer.status, "hello visitor" in answer.text) == (200, True)
        assert site.shop.journal.names() == []
        assert [type(event) for event in site.shop.events.events][-2:] == [AmbiguousCookie] * 2

    def test_guessing_is_slowed_down(self, site: Served) -> None:
        visitor = site.visitor()
        answers = [visitor.sign_in("wrong").status for _ in range(5)]
        assert answers == [401] * 5
        throttled = visitor.sign_in(PASSWORD)
        assert (throttled.status, throttled.one("Retry-After")) == (429, "1")
        site.shop.wait(SECOND)
        assert visitor.sign_in(PASSWORD).leads_to("/account")

    # -- Session data ------------------------------------------------------------

    def test_a_note_of_a_visitor_survives_the_sign_in(self, site: Served) -> None:
        visitor = site.visitor()
        assert "no note" in visitor.visit("/note").text
        assert visitor.session_id is None
        assert visitor.submit("/note", text="buy milk").leads_to("/note")
        anonymous = visitor.session_id
        assert anonymous is not None
        assert "buy milk" in visitor.visit("/note").text
        assert "hello visitor" in visitor.visit("/").text
        visitor.sign_in(PASSWORD)
        assert visitor.session_id != anonymous
        assert "buy milk" in visitor.visit("/note").text

    def test_a_note_ends_with_its_session(self, site: Served) -> None:
        visitor = site.signed_in()
        visitor.submit("/note", text="buy milk")
        assert "no note" in site.signed_in().visit("/note").text
        visitor.submit("/sign-out")
        assert "no note" in visitor.visit("/note").text

    # -- Proving identity again --------------------------------------------------

    def test_what_needs_a_fresh_proof_asks_for_it(self, site: Served) -> None:
        visitor = site.signed_in()
        assert "the secret" in visitor.visit("/secret").text
        site.shop.wait(16 * MINUTE)
        assert visitor.visit("/secret").leads_to("/step-up?next=%2Fsecret")
        _is_problem(visitor.fetch("/secret"), 401, "step-up-required")
        assert visitor.visit("/account").status == 200
        page = visitor.visit("/step-up?next=%2Fsecret")
        assert (page.status, "<form" in page.text) == (200, True)
        assert visitor.submit("/step-up", password="wrong", next="/secret").status == 401
        assert visitor.visit("/secret").status == 303
        before = visitor.session_id
        assert before is not None
        answer = visitor.submit("/step-up", password=PASSWORD, next="/secret")
        assert answer.leads_to("/secret")
        assert visitor.session_id not in {None, before}
        assert "the secret" in visitor.visit("/secret").text
        thief = site.visitor()
        thief.hold(before)
        assert thief.visit("/account").status != 200

    def test_whoever_is_not_signed_in_signs_in_first(self, site: Served) -> None:
        assert site.visitor().visit("/secret").leads_to("/sign-in?next=%2Fsecret")
        _is_problem(site.visitor().fetch("/secret"), 401, "sign-in-required")

    # -- Devices -----------------------------------------------------------------

    def test_the_list_of_devices_marks_this_one(self, site: Served) -> None:
        here, _there = site.signed_in(), site.signed_in()
        listed = here.fetch("/devices").json
        assert [device.keys() for device in listed] == [{"handle", "this"}] * 2
        assert sorted(device["this"] for device in listed) == [False, True]
        site.visitor().sign_in("wrong")
        _is_problem(site.visitor().fetch("/devices"), 401, "sign-in-required")

    def test_a_device_that_is_revoked_is_out_at_its_next_click(self, site: Served) -> None:
        here, there = site.signed_in(), site.signed_in()
        assert here.submit("/devices/revoke", handle=_other(here)).leads_to("/devices")
        assert there.visit("/account").leads_to("/sign-in?next=%2Faccount")
        assert here.visit("/account").status == 200
        assert len(here.fetch("/devices").json) == 1

    def test_a_handle_of_somebody_else_ends_nothing(self, site: Served) -> None:
        site.shop.add_user("u-2", "bob")
        here, bob = site.signed_in(), site.visitor()
        assert bob.sign_in(PASSWORD, username="bob").status == 303
        handle = bob.fetch("/devices").json[0]["handle"]
        here.submit("/devices/revoke", handle=handle)
        assert bob.visit("/account").status == 200

    def test_signing_out_the_others_keeps_this_one(self, site: Served) -> None:
        here, there = site.signed_in(), site.signed_in()
        before = here.session_id
        assert here.submit("/sign-out-others").leads_to("/devices")
        assert here.session_id not in {None, before}
        assert there.visit("/account").status == 303
        assert here.visit("/account").status == 200
        assert [device["this"] for device in here.fetch("/devices").json] == [True]

    def test_signing_out_everywhere_keeps_none(self, site: Served) -> None:
        here, there = site.signed_in(), site.signed_in()
        answer = here.submit("/sign-out-everywhere")
        assert answer.leads_to("/")
        assert answer.session_cookie is not None
        assert answer.session_cookie.deletes
        for visitor in (here, there):
            assert visitor.visit("/account").status == 303

    # -- Signing out -------------------------------------------------------------

    def test_after_signing_out_the_cookie_is_gone_and_dead(self, site: Served) -> None:
        visitor = site.signed_in()
        held = visitor.session_id
        assert held is not None
        answer = visitor.submit("/sign-out")
        assert answer.leads_to("/")
        cookie = answer.session_cookie
        assert cookie is not None
        assert (cookie.value, dict(cookie.attributes)) == ("", {**ATTRIBUTES, "max-age": "0"})
        assert visitor.session_id is None
        assert "hello visitor" in visitor.visit("/").text
        visitor.hold(held)
        assert visitor.visit("/account").leads_to("/sign-in?next=%2Faccount")

    def test_a_dead_cookie_is_left_alone(self, site: Served) -> None:
        visitor = site.signed_in()
        site.shop.wait(31 * MINUTE)
        for answer in (visitor.visit("/"), visitor.visit("/account"), visitor.fetch("/api/me")):
            assert answer.session_cookie is None

    def test_whoever_is_idle_for_too_long_is_signed_out(self, site: Served) -> None:
        visitor = site.signed_in()
        site.shop.wait(29 * MINUTE)
        assert visitor.visit("/account").status == 200
        site.shop.wait(29 * MINUTE)
        assert visitor.visit("/account").status == 200
        site.shop.wait(31 * MINUTE)
        assert visitor.visit("/account").status == 303

    # -- Renewal -----------------------------------------------------------------

    def test_six_requests_at_a_renewal_all_succeed_and_end_with_one_cookie(
        self, site: Served
    ) -> None:
        visitor = site.signed_in()
        before = visitor.session_id
        assert before is not None
        site.shop.wait(16 * MINUTE)
        answers = _at_once(lambda: _with_cookie(site, before).visit("/account"))
        assert [answer.status for answer in answers] == [200] * PARALLEL
        issued = [answer.session_cookie for answer in answers]
        new = {cookie.value for cookie in issued if cookie is not None}
        assert len(new) == 1
        assert before not in new
        assert all(dict(c.attributes) == ATTRIBUTES for c in issued if c is not None)
        visitor.hold(new.pop())
        assert visitor.visit("/account").session_cookie is None
        late = _with_cookie(site, before)
        assert late.visit("/account").status == 200  # in its grace
        site.shop.wait(45 * SECOND)
        _is_problem(late.fetch("/account"), 409, "try-again")
        assert visitor.visit("/account").status == 200

    def test_a_copied_cookie_that_comes_back_later_ends_the_session(self, site: Served) -> None:
        visitor = site.signed_in()
        copied = visitor.session_id
        assert copied is not None
        site.shop.wait(16 * MINUTE)
        visitor.visit("/account")
        visitor.visit("/account")
        assert visitor.session_id not in {None, copied}
        site.shop.wait(5 * MINUTE)
        assert visitor.visit("/account").status == 200
        assert _with_cookie(site, copied).visit("/account").status == 303
        assert visitor.visit("/account").status == 303

    # -- Requests that other sites cause -----------------------------------------

    @pytest.mark.parametrize("source", FOREIGN)
    def test_what_another_site_causes_is_refused_and_not_done(
        self, site: Served, source: str
    ) -> None:
        visitor = site.signed_in()
        visitor.submit("/note", text="mine")
        site.shop.journal.forget()
        headers = FOREIGN[source]
        for path, form in [
            ("/note", {"text": "theirs"}),
            ("/sign-out", {}),
            ("/sign-out-everywhere", {}),
            ("/sign-in", {"username": "alice", "password": PASSWORD}),
        ]:
            answer = visitor.post(path, form, headers)
            assert (answer.status, answer.session_cookie) == (403, None)
        assert site.shop.journal.names() == []
        assert "mine" in visitor.visit("/note").text
        told = [e for e in site.shop.events.events if isinstance(e, CrossOriginRefused)]
        assert len(told) == 4

    def test_another_site_signs_nobody_in(self, site: Served) -> None:
        visitor = site.visitor()
        form = {"username": "alice", "password": PASSWORD}
        foreign = {"Sec-Fetch-Site": "cross-site", "Origin": EVIL}
        _is_problem(visitor.post("/sign-in", form, foreign), 403, "cross-origin")
        assert visitor.session_id is None

    def test_a_program_without_a_cookie_may_post(self, site: Served) -> None:
        visitor = site.visitor()
        assert visitor.post("/sign-in", {"username": "alice", "password": PASSWORD}).status == 303

    def test_a_link_from_elsewhere_leads_to_a_page(self, site: Served) -> None:
        visitor = site.signed_in()
        answer = visitor.request("GET", "/account", headers={"Sec-Fetch-Site": "cross-site"})
        assert answer.status == 200

    # -- Outages -----------------------------------------------------------------

    def test_an_outage_is_a_503_and_signs_nobody_out(self, site: Served) -> None:
        visitor = site.signed_in()
        site.shop.take_store_down()
        for path in ("/", "/account", "/secret", "/devices", "/note"):
            answer = visitor.visit(path)
            assert (path, answer.status) == (path, 503)
            assert answer.session_cookie is None
            assert answer.one("Retry-After") is not None
            assert answer.listed("Cache-Control") == {"no-store"}
        _is_problem(visitor.fetch("/api/me"), 503, "unavailable")
        assert visitor.submit("/note", text="lost").status == 503
        assert site.visitor().sign_in(PASSWORD).status == 503
        assert visitor.visit("/plain").status == 200
        site.shop.bring_store_up()
        assert visitor.visit("/account").status == 200

    def test_signing_out_in_an_outage_is_not_confirmed_but_the_cookie_goes(
        self, site: Served
    ) -> None:
        visitor = site.signed_in()
        site.shop.take_store_down()
        assert visitor.submit("/sign-out").status == 503
        assert visitor.session_id is None

    # -- HEAD --------------------------------------------------------------------

    @pytest.mark.parametrize("path", ["/", "/account"])
    def test_head_is_get_without_a_body(self, site: Served, path: str) -> None:
        for visitor in (site.visitor(), site.signed_in()):
            got, asked = visitor.visit(path), visitor.visit(path, "HEAD")
            assert (asked.status, asked.body) == (got.status, b"")
            for name in ("Cache-Control", "Vary", "Location", "Content-Type"):
                assert asked.all(name) == got.all(name)


class WsgiScenario(Scenario):
    """
    For WSGI applications: in threads, over HTTP/1.0.
    """

    @abstractmethod
    def create_app(self, auth: AuthService, origin: str) -> WSGIApplication:
        """
        Make the application.
        """

    def _serve(self, site: Site, shop: Shop) -> None:
        site.serve_wsgi(self.create_app(shop.auth, site.origin))


class AsgiScenario(Scenario):
    """
    For ASGI applications: in an event loop, by Uvicorn.
    """

    @abstractmethod
    def create_app(self, auth: AsyncAuthService, origin: str) -> AsgiApplication:
        """
        Make the application.
        """

    @pytest.fixture
    def site(self, stage: Stage, shop: Shop) -> Served:
        stage.app = self.create_app(shop.async_auth, stage.origin)
        shop.journal.forget()
        return Served(stage.origin, shop)

    def test_its_lifespan_is_the_servers(self, sites: Sites, shop: Shop) -> None:
        site = sites.at("http://127.0.0.1")
        self._serve(site, shop)
        assert "hello u-1" in Served(site.origin, shop).signed_in().visit("/").text

    def _serve(self, site: Site, shop: Shop) -> None:
        site.serve_asgi(self.create_app(shop.async_auth, site.origin))


def _is_problem(answer: Answer, status: int, code: str) -> None:
    assert answer.status == status
    assert (answer.one("Content-Type") or "").partition(";")[0] == "application/problem+json"
    assert (answer.json["status"], answer.json["code"]) == (status, code)
    if status == 401:
        assert answer.one("WWW-Authenticate") is not None


def _with_cookie(site: Served, session_id: str) -> Visitor:
    visitor = site.visitor()
    visitor.hold(session_id)
    return visitor


def _other(visitor: Visitor) -> str:
    [handle] = [d["handle"] for d in visitor.fetch("/devices").json if not d["this"]]
    assert isinstance(handle, str)
    return handle


def _at_once(ask: Callable[[], Answer]) -> list[Answer]:
    barrier = Barrier(PARALLEL)

    def one(_number: int) -> Answer:
        barrier.wait()
        return ask()

    with ThreadPoolExecutor(PARALLEL) as threads:
        return list(threads.map(one, range(PARALLEL)))
