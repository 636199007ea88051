"""
One request and its cookie: the rules of ``sessioncore_http.exchange``, by their numbers.

Each test runs with the request session for threads and with the one for asyncio, over the
same memory stores. Old sessions are in ``test_http_legacy.py``.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from typing import Any, Final, cast

import pytest
from fakes import (
    ADDRESS,
    HOUR,
    MILLISECOND,
    MINUTE,
    PASSWORD,
    POLICY,
    SECOND,
    Blocking,
    World,
    expect,
    fails,
    loses_reply,
    overtaken_by,
    world_of,
)

from sessioncore import (
    Active,
    AsyncAuthService,
    AuthService,
    CorruptRecord,
    DataRead,
    Inactive,
    InactiveReason,
    LoggedIn,
    LoggedOut,
    LoggedOutEverywhere,
    OutcomeUnknown,
    PasswordChanged,
    Refused,
    Revoked,
    Rotated,
    SessionId,
    StoreError,
    StoreUnavailable,
)
from sessioncore.events import AmbiguousCookie, CrossOriginRefused, Event
from sessioncore_http import (
    AsyncRequestSession,
    Edge,
    Interruption,
    RequestHead,
    RequestSession,
    ResponseStarted,
    SynchronizerToken,
    outage,
)

SITE: Final = "https://shop.example"
FRONT: Final = "https://app.partner.example"
NAME: Final = "__Host-session"
EDGE: Final = Edge(
    origins=[SITE], trusted_origins=[FRONT], sign_in_path="/sign-in", step_up_path="/prove"
)
WITH_TOKEN: Final = Edge(origins=[SITE], token=SynchronizerToken())
CLEARING: Final = Edge(origins=[SITE], clear_site_data=["cache", "storage"])
DELETED: Final = EDGE.cookie.deleted()
UNAVAILABLE: Final = fails(StoreUnavailable("the store is away"))
NEW_PASSWORD: Final = "battery staple"

Headers = list[tuple[str, str]]


@pytest.fixture(params=["threads", "asyncio"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    with world_of(request.param) as made:
        yield made


def ask(
    world: World,
    cookie: str | None = None,
    *,
    edge: Edge = EDGE,
    auth: AuthService | None = None,
    method: str = "POST",
    **head: Any,
) -> RequestSession:
    """
    A request of one of our own pages, in the shell under test.
    """
    values: dict[str, Any] = {
        "method": method,
        "path": "/orders",
        "target": "/orders?page=2",
        "cookies": () if cookie is None else (f"theme=dark; {NAME}={cookie}",),
        "origin": None if method == "GET" else SITE,
        "fetch_site": "same-origin",
        "address": ADDRESS,
        **head,
    }
    service = auth or world.auth
    if not isinstance(service, Blocking):
        return RequestSession(service, edge, RequestHead(**values))
    inner: AsyncAuthService = service._service
    session = AsyncRequestSession(inner, edge, RequestHead(**values))
    return cast("RequestSession", Blocking(cast("Any", session), service._runner))


def ambiguous(world: World, **named: Any) -> RequestSession:
    return ask(world, cookies=(f"{NAME}=a; {NAME}=b",), **named)


def values(headers: Headers, name: str) -> list[str]:
    return [value for key, value in headers if key.lower() == name]


def cookies(headers: Headers) -> list[str]:
    return values(headers, "set-cookie")


def written(headers: Headers) -> str | None:
    """
    The id that a response brings, if it brings one; it has at most one cookie.
    """
    (*found,) = cookies(headers)
    assert len(found) <= 1
    if not found or found == [DELETED]:
        return None
    return found[0].partition(";")[0].removeprefix(f"{NAME}=")


def problem_of(call: Callable[[], object]) -> str:
    """
    The code of the problem that *call* interrupts the request with.
    """
    with pytest.raises(Interruption) as interrupted:
        call()
    return interrupted.value.problem.code


# Rule 1: nothing is read before somebody asks


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_rule_1_a_request_that_never_asks_costs_no_call_and_changes_no_header(
    world: World, method: str
) -> None:
    cookie = world.cookie()
    world.journal.forget()
    headers = [("Content-Type", "text/plain"), ("Cache-Control", "public"), ("Vary", "Accept")]
    session = ask(world, cookie, method=method)
    assert session.refusal() is None
    assert session.finish(headers) == headers
    assert world.journal.names() == []


def test_rule_1_the_store_is_asked_once(world: World) -> None:
    session = ask(world, world.cookie())
    world.journal.forget()
    assert session.user_id() == "id-of-alice"
    assert expect(Active, session.authenticate()).session == session.session() == session.require()
    assert world.journal.names() == ["find"]


def test_rule_1_the_time_of_arrival_is_noted_all_the_same(world: World) -> None:
    session = ask(world)
    arrived_at = world.clock.now()
    world.clock.advance(MINUTE)
    assert session.arrived_at == arrived_at


@pytest.mark.parametrize("cookie", [None, "", "garbage", "é" * 72, "a" * 1_000_000])
def test_rule_1_no_store_is_asked_about_what_is_no_session_id(
    world: World, cookie: str | None
) -> None:
    session = ask(world, cookie)
    reason = expect(Inactive, session.authenticate()).reason
    assert reason is (InactiveReason.ABSENT if cookie is None else InactiveReason.MALFORMED)
    assert (session.session(), session.user_id(), session.sessions()) == (None, None, ())
    session.logout()
    assert world.journal.names() == []


# Rule 2: at most one cookie of ours


def test_rule_2_what_the_application_writes_under_our_name_is_taken_out(world: World) -> None:
    headers = [("Set-Cookie", f"{NAME}=mine"), ("set-cookie", f" {NAME} =; Max-Age=0")]
    others = [("Set-Cookie", "theme=dark"), ("Set-Cookie", f"x={NAME}=1")]
    assert ask(world).finish([*headers, *others]) == others
    session = ask(world)
    login = expect(LoggedIn, session.login("alice", PASSWORD))
    found = cookies(session.finish([*headers, *others]))
    assert found == [*(v for _, v in others), EDGE.cookie.written(login.session_id, None)]


def _handle(session: RequestSession) -> str:
    found = session.session()
    return "nobody's" if found is None else found.handle


ACTIONS: Final[dict[str, Callable[[RequestSession], object]]] = {
    "look": lambda session: session.authenticate(),
    "login": lambda session: session.login("alice", PASSWORD),
    "establish": lambda session: session.establish(session.begin("id-of-bob"), methods=("hwk",)),
    "visit": lambda session: session.start_anonymous(),
    "rotate": lambda session: session.rotate(),
    "prove": lambda session: session.reauthenticate(PASSWORD),
    "logout": lambda session: session.logout(),
    "everywhere": lambda session: session.logout_everywhere(),
    "others": lambda session: session.logout_everywhere(keep_this=True),
    "revoke": lambda session: session.revoke(_handle(session)),
}
OPENS: Final = {"login", "establish", "visit"}
ENDS: Final = {"logout", "everywhere", "revoke"}


def _sequences() -> Iterator[tuple[str, ...]]:
    for length in (1, 2, 3):
        yield from itertools.product(ACTIONS, repeat=length)


def _starts(world: World) -> dict[str, str | None]:
    world.auth.logout_everywhere("id-of-alice")
    world.clock.advance(HOUR)
    dead, due = world.cookie(), world.cookie()
    world.auth.logout(dead)
    world.clock.advance(16 * MINUTE)
    return {"none": None, "dead": dead, "live": world.cookie(), "due": due}


@pytest.mark.parametrize("start", ["none", "dead", "live", "due"])
def test_rules_2_and_3_whatever_an_application_does_in_whatever_order(
    world: World, start: str
) -> None:
    for sequence in _sequences():
        before = _starts(world)[start]
        session = ask(world, before)
        issued: list[SessionId] = []
        for action in sequence:
            outcome = ACTIONS[action](session)
            if isinstance(outcome, LoggedOutEverywhere) and outcome.kept is not None:
                outcome = outcome.kept
            if isinstance(outcome, (LoggedIn, Rotated)):
                issued.append(outcome.session_id)
        headers = session.finish()
        found = cookies(headers)
        assert len(found) <= 1, sequence
        brought = written(headers)
        # A new id that is answered is live, and what is live has been answered.
        live = [one.reveal() for one in issued if world.is_live(one.reveal())]
        if brought is not None:
            assert world.is_live(brought), sequence
        assert live in ([], [brought]), sequence
        # Only signing out deletes, and nothing but a sign-in writes after it.
        last = next((a for a in reversed(sequence) if a in OPENS | ENDS), None)
        if last in OPENS:
            assert brought is not None, sequence
        if "logout" in sequence and not OPENS & set(sequence[sequence.index("logout") :]):
            assert found == [DELETED], sequence
        if not ENDS & set(sequence):
            assert found != [DELETED], sequence
        if before is not None and brought not in {None, before} and not issued:
            assert start == "due", sequence


# Rule 3: only signing out deletes the cookie


@pytest.mark.parametrize("cookie", ["garbage", "A" * 72])
def test_rule_3_a_dead_cookie_is_left_alone(world: World, cookie: str) -> None:
    session = ask(world, cookie)
    assert isinstance(session.authenticate(), Inactive)
    assert isinstance(session.rotate(), Inactive)
    assert isinstance(session.reauthenticate(PASSWORD), Inactive)
    assert isinstance(session.change_password(PASSWORD, NEW_PASSWORD), Inactive)
    assert isinstance(session.logout_everywhere(), Inactive)
    assert isinstance(session.revoke("handle"), Inactive)
    assert cookies(session.finish()) == []


def test_rule_3_signing_out_deletes_the_cookie_and_ends_the_session(world: World) -> None:
    cookie = world.cookie()
    session = ask(world, cookie)
    assert session.logout() == LoggedOut(ended=True)
    assert session.session() is None
    assert cookies(session.finish()) == [DELETED]
    assert not world.is_live(cookie)


def test_rule_3_signing_out_deletes_the_cookie_also_if_the_store_is_away(world: World) -> None:
    session = ask(world, world.cookie(), edge=CLEARING)
    world.journal.always("find", UNAVAILABLE)
    with pytest.raises(StoreUnavailable):
        session.logout()
    headers = session.finish(renew=False)
    assert cookies(headers) == [DELETED]
    assert values(headers, "clear-site-data") == []


def test_rule_3_nothing_is_renewed_after_a_sign_out(world: World) -> None:
    cookie = world.cookie()
    world.clock.advance(16 * MINUTE)
    session = ask(world, cookie)
    assert expect(Active, session.authenticate()).renewed is not None
    session.logout()
    assert cookies(session.finish()) == [DELETED]


def test_rule_3_a_sign_in_after_a_sign_out_writes_its_cookie(world: World) -> None:
    session = ask(world, world.cookie(), edge=CLEARING)
    session.logout()
    login = expect(LoggedIn, session.login("bob", PASSWORD))
    headers = session.finish()
    assert written(headers) == login.session_id.reveal()


def test_rule_3_a_refused_sign_in_changes_nothing(world: World) -> None:
    cookie = world.cookie()
    session = ask(world, cookie)
    assert isinstance(session.login("alice", "wrong"), Refused)
    assert cookies(session.finish()) == []
    assert world.is_live(cookie)


# Rule 4: a renewed id goes out in time, and after a second look


def test_rule_4_a_renewed_id_is_answered_after_a_second_look(world: World) -> None:
    cookie = world.cookie()
    world.clock.advance(16 * MINUTE)
    session = ask(world, cookie)
    renewed = expect(Active, session.authenticate()).renewed
    assert renewed is not None
    world.journal.forget()
    assert written(session.finish()) == renewed.reveal()
    assert world.journal.names() == ["find"]


@pytest.mark.parametrize("took", [POLICY.grace - MILLISECOND, POLICY.grace])
def test_rule_4_it_goes_out_until_the_end_of_the_grace(world: World, took: timedelta) -> None:
    assert written(_answered_after(world, took)) is not None


def test_rule_4_one_that_would_come_late_is_dropped_without_a_look(world: World) -> None:
    world.journal.forget()
    headers = _answered_after(world, POLICY.grace + MILLISECOND)
    assert written(headers) is None
    assert world.journal.count("find") == 1


def _answered_after(world: World, took: timedelta) -> Headers:
    cookie = world.cookie()
    world.clock.advance(16 * MINUTE)
    world.journal.forget()
    session = ask(world, cookie)
    answer_by = expect(Active, session.authenticate()).answer_by
    assert answer_by == session.arrived_at + POLICY.grace
    world.clock.advance(took)
    return session.finish()


def test_rule_4_what_was_dropped_the_next_request_brings(world: World) -> None:
    cookie = world.cookie()
    world.clock.advance(16 * MINUTE)
    slow = ask(world, cookie)
    renewed = expect(Active, slow.authenticate()).renewed
    assert renewed is not None
    world.clock.advance(POLICY.grace + SECOND)
    assert written(slow.finish()) is None
    following = ask(world, cookie)
    following.authenticate()
    assert written(following.finish()) == renewed.reveal()


def test_rule_4_somebody_has_signed_out_meanwhile(world: World) -> None:
    cookie = world.cookie()
    world.clock.advance(16 * MINUTE)
    slow = ask(world, cookie)
    assert expect(Active, slow.authenticate()).renewed is not None
    ask(world, cookie).logout()
    assert cookies(slow.finish()) == []


def test_rule_4_the_renewed_id_has_been_confirmed_meanwhile(world: World) -> None:
    cookie = world.cookie()
    world.clock.advance(16 * MINUTE)
    slow = ask(world, cookie)
    renewed = expect(Active, slow.authenticate()).renewed
    assert renewed is not None
    world.active(renewed.reveal())
    assert cookies(slow.finish()) == []


@pytest.mark.parametrize("error", [StoreUnavailable("away"), OutcomeUnknown("lost")])
def test_rule_4_the_store_goes_away_before_the_second_look(world: World, error: StoreError) -> None:
    cookie = world.cookie()
    world.clock.advance(16 * MINUTE)
    session = ask(world, cookie)
    session.authenticate()
    world.journal.always("find", fails(error))
    headers = session.finish()
    assert cookies(headers) == []
    assert values(headers, "cache-control") == ["no-store"]


def test_rule_4_a_page_that_reports_an_outage_renews_nothing(world: World) -> None:
    cookie = world.cookie()
    world.clock.advance(16 * MINUTE)
    session = ask(world, cookie)
    session.authenticate()
    world.journal.forget()
    assert cookies(session.finish(renew=False)) == []
    assert world.journal.names() == []


def test_rule_4_six_requests_at_once_end_with_one_cookie(world: World) -> None:
    cookie = world.cookie()
    world.clock.advance(16 * MINUTE)
    six = [ask(world, cookie) for _ in range(6)]
    for session in six:
        assert session.user_id() == "id-of-alice"
    assert len({written(session.finish()) for session in six}) == 1


def test_rule_4_a_remembered_cookie_is_renewed_with_its_lifetime(world: World) -> None:
    cookie = world.login(policy="remembered").session_id.reveal()
    world.clock.advance(25 * HOUR)
    session = ask(world, cookie)
    active = expect(Active, session.authenticate())
    assert active.renewed is not None
    assert active.persist_for is not None
    expected = EDGE.cookie.written(active.renewed, active.persist_for)
    assert cookies(session.finish()) == [expected]
    assert "Max-Age=" in expected


# Rule 5: two different cookies are nobody


def test_rule_5_two_different_cookies_are_nobody_and_are_reported_once(world: World) -> None:
    session = ambiguous(world)
    assert session.refusal() is None
    assert session.authenticate() == Inactive(InactiveReason.AMBIGUOUS)
    assert session.authenticate() == Inactive(InactiveReason.AMBIGUOUS)
    assert session.rotate() == Inactive(InactiveReason.AMBIGUOUS)
    assert session.reauthenticate(PASSWORD) == Inactive(InactiveReason.AMBIGUOUS)
    assert session.change_password(PASSWORD, "new") == Inactive(InactiveReason.AMBIGUOUS)
    assert session.recheck() == Inactive(InactiveReason.AMBIGUOUS)
    assert session.session() is None
    assert world.journal.names() == []
    assert [event.source for event in world.told(AmbiguousCookie)] == [ADDRESS]
    headers = session.finish()
    assert cookies(headers) == []
    assert values(headers, "vary") == ["Cookie"]


def test_rule_5_of_two_live_ones_neither_counts(world: World) -> None:
    pair = f"{NAME}={world.cookie()}; {NAME}={world.cookie('bob')}"
    assert ask(world, cookies=(pair,)).user_id() is None


def test_rule_5_whoever_brings_two_may_sign_in_and_out(world: World) -> None:
    session = ambiguous(world)
    assert session.logout() == LoggedOut(ended=False)
    login = expect(LoggedIn, session.login("alice", PASSWORD))
    assert written(session.finish()) == login.session_id.reveal()


def test_rule_5_the_same_cookie_twice_is_one(world: World) -> None:
    cookie = world.cookie()
    session = ask(world, cookies=(f"{NAME}={cookie}", f"{NAME}={cookie}"))
    assert session.user_id() == "id-of-alice"


# Rule 6: no cache keeps it


LOOKING: Final[dict[str, Callable[[RequestSession], object]]] = {
    "authenticate": lambda session: session.authenticate(),
    "token": lambda session: session.token(),
    "check": lambda session: session.check_token(None),
    "logout": lambda session: session.logout(),
    "refused": lambda session: session.login("alice", "wrong"),
    "login": lambda session: session.login("alice", PASSWORD),
}


@pytest.mark.parametrize("look", LOOKING)
def test_rule_6_a_response_that_depends_on_the_session_is_kept_by_no_cache(
    world: World, look: str
) -> None:
    session = ask(world)
    LOOKING[look](session)
    headers = session.finish([("Cache-Control", "public, max-age=60"), ("Vary", "Accept")])
    assert values(headers, "cache-control") == ["no-store"]
    assert values(headers, "vary") == ["Accept, Cookie"]


def test_rule_6_what_caches_between_obey_in_its_stead_is_taken_out(world: World) -> None:
    session = ask(world)
    session.authenticate()
    headers = session.finish(
        [("CDN-Cache-Control", "max-age=60"), ("Surrogate-Control", "max-age=60"), ("ETag", "a")]
    )
    assert headers == [("ETag", "a"), ("Cache-Control", "no-store"), ("Vary", "Cookie")]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (["Accept", "Origin"], "Accept, Origin, Cookie"),
        (["Accept,Origin , "], "Accept, Origin, Cookie"),
        (["cookie"], "cookie"),
        (["Accept, COOKIE"], "Accept, COOKIE"),
        (["*"], "*"),
        (["Cookies"], "Cookies, Cookie"),
    ],
)
def test_rule_6_what_it_depends_on_already_stays(
    world: World, before: list[str], after: str
) -> None:
    session = ask(world)
    session.authenticate()
    headers = session.finish([("vary", value) for value in before])
    assert values(headers, "vary") == [after]


# Rule 7: a response that has started


WRITING: Final[dict[str, Callable[[RequestSession], object]]] = {
    **{name: call for name, call in ACTIONS.items() if name != "look"},
    "begin": lambda session: session.begin("id-of-alice"),
    "change": lambda session: session.change_password(PASSWORD, NEW_PASSWORD),
}


@pytest.mark.parametrize("action", WRITING)
@pytest.mark.parametrize("asked_before", [True, False])
def test_rule_7_nothing_is_done_once_the_response_has_started(
    world: World, action: str, asked_before: bool
) -> None:
    cookie = world.cookie()
    session = ask(world, cookie)
    if asked_before:
        session.authenticate()
    session.finish()
    world.journal.forget()
    with pytest.raises(ResponseStarted):
        WRITING[action](session)
    assert world.journal.names() == []
    assert world.is_live(cookie)


def test_rule_7_whoever_asks_first_after_the_start_is_told(world: World) -> None:
    session = ask(world, world.cookie())
    session.finish()
    world.journal.forget()
    for call in (session.authenticate, session.user_id, session.require, session.recheck):
        with pytest.raises(ResponseStarted, match="not asked for before"):
            call()
    with pytest.raises(ResponseStarted):
        session.token()
    with pytest.raises(ResponseStarted):
        session.check_token("token")
    assert world.journal.names() == []


def test_rule_7_whoever_asked_before_may_ask_again(world: World) -> None:
    session = ask(world, world.cookie())
    assert session.user_id() == "id-of-alice"
    session.finish()
    assert session.user_id() == "id-of-alice"


def test_rule_7_a_stream_that_goes_on_finds_a_sign_out_elsewhere(world: World) -> None:
    cookie = world.cookie()
    session = ask(world, cookie)
    session.authenticate()
    session.finish()
    assert isinstance(session.recheck(), Active)
    ask(world, cookie).logout()
    assert session.recheck() == Inactive(InactiveReason.UNKNOWN)
    assert session.user_id() == "id-of-alice"  # what was said to this request stays said


def test_rule_7_a_stream_is_no_sign_of_life_and_sees_the_session_expire(world: World) -> None:
    session = ask(world, world.cookie())
    session.authenticate()
    session.finish()
    world.journal.forget()
    for _ in range(29):
        world.clock.advance(MINUTE)
        assert expect(Active, session.recheck()).renewed is None
    world.clock.advance(MINUTE)
    assert session.recheck() == Inactive(InactiveReason.IDLE)
    assert set(world.journal.names()) == {"find"}


def test_rule_7_an_outage_at_the_recheck_is_no_sign_out(world: World) -> None:
    session = ask(world, world.cookie())
    session.authenticate()
    world.journal.next("find", UNAVAILABLE, fails(CorruptRecord("damaged")))
    with pytest.raises(StoreUnavailable):
        session.recheck()
    assert session.recheck() == Inactive(InactiveReason.UNREADABLE)
    assert isinstance(session.recheck(), Active)


def test_rule_7_a_recheck_follows_a_rotation_of_the_same_request(world: World) -> None:
    session = ask(world, world.cookie())
    session.rotate()
    assert isinstance(session.recheck(), Active)


def test_rule_7_a_recheck_without_a_session_asks_nobody(world: World) -> None:
    assert ask(world).recheck() == Inactive(InactiveReason.ABSENT)
    assert world.journal.names() == []


# Rule 8: handshakes


@pytest.mark.parametrize("action", WRITING)
def test_rule_8_nothing_that_would_need_a_cookie_is_done_in_a_handshake(
    world: World, action: str
) -> None:
    cookie = world.cookie()
    session = ask(world, cookie, method="GET", origin=SITE, is_websocket=True)
    with pytest.raises(ResponseStarted):
        WRITING[action](session)
    assert world.is_live(cookie)
    assert cookies(session.finish()) == []


def test_rule_8_a_handshake_at_renewal_writes_no_cookie(world: World) -> None:
    cookie = world.cookie()
    world.clock.advance(16 * MINUTE)
    session = ask(world, cookie, method="GET", origin=SITE, is_websocket=True)
    assert expect(Active, session.authenticate()).renewed is not None
    assert cookies(session.finish()) == []
    following = ask(world, cookie)
    following.authenticate()
    assert written(following.finish()) is not None


def test_rule_8_a_handshake_needs_no_token(world: World) -> None:
    session = ask(world, world.cookie(), edge=WITH_TOKEN, origin=SITE, is_websocket=True)
    assert session.user_id() == "id-of-alice"


# Rule 9: who may read the response


CREDENTIALS = ("Access-Control-Allow-Credentials", "true")


@pytest.mark.parametrize("origin", [SITE, FRONT])
def test_rule_9_own_pages_and_trusted_ones_may_read_it(world: World, origin: str) -> None:
    session = ask(world, world.cookie())
    session.authenticate()
    cors = [("Access-Control-Allow-Origin", origin), CREDENTIALS]
    assert session.finish(cors)[:2] == cors


@pytest.mark.parametrize(
    "origin", ["*", "null", "https://evil.example", f"{SITE}.evil.example", f"{SITE}, {FRONT}", ""]
)
def test_rule_9_nobody_else_may_whatever_the_headers_say(world: World, origin: str) -> None:
    session = ask(world, world.cookie())
    session.authenticate()
    headers = session.finish([("access-control-allow-origin", origin), CREDENTIALS])
    assert values(headers, "access-control-allow-credentials") == []
    assert values(headers, "access-control-allow-origin") == [origin]


def test_rule_9_one_untrusted_origin_among_others_is_enough(world: World) -> None:
    session = ask(world, world.cookie())
    session.authenticate()
    allowed = [("Access-Control-Allow-Origin", origin) for origin in (SITE, "*")]
    headers = session.finish([*allowed, CREDENTIALS])
    assert values(headers, "access-control-allow-credentials") == []


def test_rule_9_a_response_of_no_session_is_none_of_our_business(world: World) -> None:
    cors = [("Access-Control-Allow-Origin", "https://evil.example"), CREDENTIALS]
    assert ask(world, world.cookie()).finish(cors) == cors


# Rule 10: at nobody else's wish


OWN_WISH: Final = ("login", "prove", "logout", "everywhere", "others", "revoke", "change")
FOREIGN: Final[list[dict[str, Any]]] = [
    {"fetch_site": "cross-site"},
    {"fetch_site": "same-site"},
    {"fetch_site": None, "origin": "https://evil.example"},
    {"fetch_site": "same-origin", "origin": "https://evil.example"},
]


@pytest.mark.parametrize("action", OWN_WISH)
@pytest.mark.parametrize("foreign", FOREIGN, ids=str)
def test_rule_10_another_site_s_page_gets_nothing_done_by_a_get(
    world: World, action: str, foreign: dict[str, Any]
) -> None:
    cookie = world.cookie()
    session = ask(world, cookie, method="GET", **foreign)
    assert session.refusal() is None
    session.authenticate()
    world.journal.forget()
    assert problem_of(lambda: WRITING[action](session)) == "cross-origin"
    assert world.journal.names() == []
    assert world.is_live(cookie)
    assert len(world.told(CrossOriginRefused)) == 1
    assert cookies(session.finish()) == []


@pytest.mark.parametrize(
    "own", [{}, {"fetch_site": "none"}, {"fetch_site": None}, {"fetch_site": "x", "origin": FRONT}]
)
def test_rule_10_a_link_of_our_own_may_sign_out(world: World, own: dict[str, Any]) -> None:
    # Without TLS there is no Sec-Fetch-Site, and a link brings no Origin.
    cookie = world.cookie()
    assert ask(world, cookie, method="GET", **own).logout() == LoggedOut(ended=True)


@pytest.mark.parametrize("action", ["establish", "rotate", "visit"])
def test_rule_10_who_comes_back_from_an_identity_provider_goes_on(
    world: World, action: str
) -> None:
    session = ask(world, world.cookie(), method="GET", fetch_site="cross-site")
    assert isinstance(WRITING[action](session), (LoggedIn, Rotated))


def test_rule_10_an_application_may_end_a_session_whoever_asks(world: World) -> None:
    cookie = world.cookie()
    session = ask(world, cookie, method="GET", fetch_site="cross-site")
    assert session.logout(whoever_asks=True) == LoggedOut(ended=True)
    assert not world.is_live(cookie)


# Requiring somebody


def test_whoever_is_signed_in_is_let_through(world: World) -> None:
    assert ask(world, world.cookie()).require().user_id == "id-of-alice"


def test_nobody_is_sent_to_sign_in(world: World) -> None:
    session = ask(world, method="GET")
    with pytest.raises(Interruption) as interrupted:
        session.require()
    problem = interrupted.value.problem
    assert (problem.status, problem.code) == (401, "sign-in-required")
    assert problem.location == "/sign-in?next=%2Forders%3Fpage%3D2"


def test_a_visitor_is_nobody_to_whom_it_matters(world: World) -> None:
    session = ask(world)
    session.start_anonymous()
    assert session.session() is not None
    assert session.user_id() is None
    assert problem_of(session.require) == "sign-in-required"
    assert session.logout_everywhere() == Inactive(InactiveReason.ANONYMOUS)
    assert session.revoke("handle") == Inactive(InactiveReason.ANONYMOUS)
    assert session.change_password(PASSWORD, "new") == Inactive(InactiveReason.ANONYMOUS)


def test_an_id_in_its_grace_is_known_and_carries_no_new_privilege(world: World) -> None:
    cookie = world.cookie()
    world.confirmed(cookie)
    session = ask(world, cookie)
    assert session.user_id() == "id-of-alice"
    assert session.rotate() == Inactive(InactiveReason.SUPERSEDED)
    assert cookies(session.finish()) == []


def test_a_superseded_id_is_told_to_try_again_and_not_to_sign_in(world: World) -> None:
    cookie = world.cookie()
    ask(world, cookie).rotate()
    assert problem_of(ask(world, cookie).require) == "try-again"


def test_an_old_proof_has_to_be_given_again(world: World) -> None:
    cookie = world.cookie()
    session = ask(world, cookie)
    assert session.require_fresh() == session.require()
    world.clock.advance(POLICY.reauthentication_age + SECOND)
    with pytest.raises(Interruption) as interrupted:
        ask(world, cookie, method="GET").require_fresh()
    problem = interrupted.value.problem
    assert (problem.status, problem.code) == (401, "step-up-required")
    assert problem.location == "/prove?next=%2Forders%3Fpage%3D2"
    seconds = int(POLICY.reauthentication_age.total_seconds())
    assert problem.authenticate is not None
    assert problem.authenticate.endswith(f"max_age={seconds}")
    again = ask(world, cookie)
    assert isinstance(again.reauthenticate(PASSWORD), Rotated)
    assert again.require_fresh().user_id == "id-of-alice"


@pytest.mark.parametrize("max_age", [timedelta(0), SECOND])
def test_how_old_a_proof_may_be_is_what_the_view_says(world: World, max_age: timedelta) -> None:
    cookie = world.cookie()
    world.clock.advance(2 * SECOND)
    with pytest.raises(Interruption) as interrupted:
        ask(world, cookie).require_fresh(max_age)
    authenticate = interrupted.value.problem.authenticate
    assert authenticate is not None
    assert authenticate.endswith(f"max_age={int(max_age.total_seconds())}")


def test_nobody_is_sent_to_sign_in_before_any_step_up(world: World) -> None:
    assert problem_of(ask(world).require_fresh) == "sign-in-required"


def test_an_outage_is_not_nobody(world: World) -> None:
    session = ask(world, world.cookie())
    world.journal.next("find", UNAVAILABLE)
    with pytest.raises(StoreUnavailable):
        session.require()
    # What was not answered is asked again.
    assert session.require().user_id == "id-of-alice"


# The use cases


def test_signing_in_ends_what_the_browser_held(world: World) -> None:
    held = world.cookie("bob")
    session = ask(world, held)
    login = expect(LoggedIn, session.login("alice", PASSWORD))
    assert not world.is_live(held)
    assert session.user_id() == "id-of-alice"
    assert login.session.device.address == ADDRESS
    assert written(session.finish()) == login.session_id.reveal()


def test_signing_in_carries_what_is_named(world: World) -> None:
    first = ask(world)
    visitor = first.start_anonymous()
    world.auth.change_data(visitor.session, put={"cart": [1], "other": 2})
    session = ask(world, visitor.session_id.reveal())
    login = expect(LoggedIn, session.login("alice", PASSWORD, keep=["cart"]))
    assert world.auth.read_data(login.session) == _data(cart=[1])


def _data(**data: Any) -> object:
    return DataRead(data)


def test_signing_in_by_other_means_names_them(world: World) -> None:
    session = ask(world)
    attempt = session.begin("id-of-alice")
    outcome = expect(LoggedIn, session.establish(attempt, methods=("hwk",), policy="remembered"))
    assert outcome.session.methods == ("hwk",)
    assert "Max-Age=" in cookies(session.finish())[0]


def test_a_sign_in_by_other_means_that_comes_late_writes_nothing(world: World) -> None:
    session = ask(world)
    attempt = session.begin("id-of-alice")
    world.auth.logout_everywhere("id-of-alice")
    assert isinstance(session.establish(attempt, methods=("hwk",)), Refused)
    assert cookies(session.finish()) == []


def test_a_new_password_ends_the_other_sessions_and_keeps_this_one(world: World) -> None:
    other, cookie = world.cookie(), world.cookie()
    session = ask(world, cookie)
    kept = expect(PasswordChanged, session.change_password(PASSWORD, NEW_PASSWORD)).kept
    assert kept is not None
    assert written(session.finish()) == kept.session_id.reveal()
    assert session.user_id() == "id-of-alice"
    assert not world.is_live(other)
    assert not world.is_live(cookie)


def test_a_wrong_password_changes_nothing(world: World) -> None:
    cookie = world.cookie()
    session = ask(world, cookie)
    assert isinstance(session.change_password("wrong", NEW_PASSWORD), Refused)
    assert isinstance(session.reauthenticate("wrong"), Refused)
    assert cookies(session.finish()) == []
    assert world.is_live(cookie)


def test_a_new_password_that_could_keep_no_session_leaves_nobody_signed_in(world: World) -> None:
    cookie = world.cookie()
    session = ask(world, cookie)
    elsewhere = world.elsewhere()
    world.journal.next(
        "replace_hash", overtaken_by(lambda: elsewhere.logout_everywhere("id-of-alice"))
    )
    assert session.change_password(PASSWORD, NEW_PASSWORD) == PasswordChanged(None)
    assert session.user_id() is None
    assert cookies(session.finish()) == []


def test_signing_out_everywhere_deletes_the_cookie(world: World) -> None:
    other, cookie = world.cookie(), world.cookie()
    session = ask(world, cookie, edge=CLEARING)
    assert session.logout_everywhere() == LoggedOutEverywhere(None)
    headers = session.finish()
    assert cookies(headers) == [DELETED]
    assert values(headers, "clear-site-data") == ['"cache", "storage"']
    assert not world.is_live(other)
    assert not world.is_live(cookie)


def test_signing_out_the_others_keeps_this_one_under_a_new_id(world: World) -> None:
    other, cookie = world.cookie(), world.cookie()
    session = ask(world, cookie, edge=CLEARING)
    kept = expect(LoggedOutEverywhere, session.logout_everywhere(keep_this=True)).kept
    assert kept is not None
    headers = session.finish()
    assert written(headers) == kept.session_id.reveal()
    assert values(headers, "clear-site-data") == []
    assert not world.is_live(other)


def test_signing_out_everywhere_deletes_the_cookie_also_if_it_fails(world: World) -> None:
    session = ask(world, world.cookie(), edge=CLEARING)
    world.journal.always("delete_user", UNAVAILABLE)
    with pytest.raises(StoreUnavailable):
        session.logout_everywhere()
    headers = session.finish(renew=False)
    assert cookies(headers) == [DELETED]
    assert values(headers, "clear-site-data") == []


def test_my_devices_are_listed_and_ended_one_by_one(world: World) -> None:
    other, cookie = world.login(), world.cookie()
    session = ask(world, cookie)
    assert {one.handle for one in session.sessions()} == {
        other.session.handle,
        session.require().handle,
    }
    assert session.revoke(other.session.handle) == Revoked(ended=True)
    assert session.revoke("no handle at all") == Revoked(ended=False)
    assert not world.is_live(other.session_id.reveal())
    assert cookies(session.finish()) == []
    assert world.is_live(cookie)


def test_ending_this_device_is_signing_out(world: World) -> None:
    cookie = world.cookie()
    session = ask(world, cookie, edge=CLEARING)
    assert session.revoke(session.require().handle) == Revoked(ended=True)
    headers = session.finish()
    assert cookies(headers) == [DELETED]
    assert values(headers, "clear-site-data") == ['"cache", "storage"']
    assert session.user_id() is None
    assert not world.is_live(cookie)


def test_ending_this_device_deletes_the_cookie_also_if_it_fails(world: World) -> None:
    session = ask(world, world.cookie(), edge=CLEARING)
    handle = session.require().handle
    world.journal.always("delete", UNAVAILABLE)
    with pytest.raises(StoreUnavailable):
        session.revoke(handle)
    headers = session.finish(renew=False)
    assert cookies(headers) == [DELETED]
    assert values(headers, "clear-site-data") == []


# Clear-Site-Data


def test_browsers_are_asked_to_clear_at_a_confirmed_sign_out(world: World) -> None:
    nothing = Edge(origins=[SITE], clear_site_data=())
    for edge, expected in ((CLEARING, ['"cache", "storage"']), (EDGE, ['"cache"']), (nothing, [])):
        session = ask(world, world.cookie(), edge=edge)
        session.logout()
        assert values(session.finish(), "clear-site-data") == expected


def test_an_unknown_outcome_of_a_sign_out_is_not_a_confirmation(world: World) -> None:
    session = ask(world, world.cookie(), edge=CLEARING)
    world.journal.always("delete", loses_reply)
    with pytest.raises(OutcomeUnknown):
        session.logout()
    headers = session.finish(renew=False)
    assert cookies(headers) == [DELETED]
    assert values(headers, "clear-site-data") == []


# What reaches no browser


@pytest.mark.parametrize("action", ["login", "establish", "visit"])
def test_a_session_whose_id_reaches_no_browser_is_ended(world: World, action: str) -> None:
    session = ask(world)
    opened = expect(LoggedIn, WRITING[action](session))
    session.abandon()
    assert not world.is_live(opened.session_id.reveal())
    assert session.session() is None
    assert cookies(session.finish()) == []


def test_abandoning_is_as_far_as_possible(world: World) -> None:
    session = ask(world)
    session.login("alice", PASSWORD)
    world.journal.next("find", UNAVAILABLE)
    session.abandon()
    assert cookies(session.finish()) == []


def test_what_was_answered_is_not_abandoned(world: World) -> None:
    session = ask(world)
    opened = expect(LoggedIn, session.login("alice", PASSWORD))
    session.finish()
    session.abandon()
    assert world.is_live(opened.session_id.reveal())


def test_abandoning_ends_nothing_that_was_there_before(world: World) -> None:
    cookie = world.cookie()
    session = ask(world, cookie)
    session.authenticate()
    session.abandon()
    assert world.is_live(cookie)


def test_a_session_that_another_one_replaces_within_a_request_is_ended(world: World) -> None:
    session = ask(world)
    login = expect(LoggedIn, session.login("alice", PASSWORD))
    visitor = session.start_anonymous()
    assert not world.is_live(login.session_id.reveal())
    assert world.is_live(visitor.session_id.reveal())
    assert written(session.finish()) == visitor.session_id.reveal()


# The synchroniser token


def test_without_the_setting_there_is_no_token_and_none_is_asked_for(world: World) -> None:
    session = ask(world, world.cookie())
    assert session.token() is None
    session.check_token(None)
    assert session.user_id() == "id-of-alice"


def test_without_a_session_there_is_no_token_and_none_is_asked_for(world: World) -> None:
    for cookie in (None, "garbage"):
        session = ask(world, cookie, edge=WITH_TOKEN)
        assert session.token() is None
        session.check_token(None)
        assert isinstance(session.login("alice", PASSWORD), LoggedIn)


def a_token(world: World, cookie: str) -> str:
    token = ask(world, cookie, edge=WITH_TOKEN, method="GET").token()
    assert token is not None
    return token


@pytest.mark.parametrize("action", [*WRITING, "look"])
def test_a_session_is_not_used_to_change_something_without_its_token(
    world: World, action: str
) -> None:
    cookie = world.cookie()
    world.journal.forget()
    foreign = a_token(world, world.cookie("bob"))
    world.journal.forget()
    for token in (None, "", "garbage", foreign):
        session = ask(world, cookie, edge=WITH_TOKEN, token=token)
        call = partial({**WRITING, **ACTIONS}[action], session)
        assert problem_of(call) == "token-required"
        assert values(session.finish(), "vary") == ["Cookie"]
    assert world.journal.names() == []
    assert world.is_live(cookie)


def test_a_token_is_taken_from_the_header(world: World) -> None:
    cookie = world.cookie()
    session = ask(world, cookie, edge=WITH_TOKEN, token=a_token(world, cookie))
    assert session.user_id() == "id-of-alice"


def test_a_token_is_taken_from_a_form(world: World) -> None:
    cookie = world.cookie()
    session = ask(world, cookie, edge=WITH_TOKEN)
    session.check_token(a_token(world, cookie))
    assert session.user_id() == "id-of-alice"
    refused = ask(world, cookie, edge=WITH_TOKEN)
    assert problem_of(lambda: refused.check_token("garbage")) == "token-required"


def test_reading_needs_no_token(world: World) -> None:
    session = ask(world, world.cookie(), edge=WITH_TOKEN, method="GET")
    assert session.user_id() == "id-of-alice"


def test_no_token_costs_a_call_of_the_store(world: World) -> None:
    cookie = world.cookie()
    world.journal.forget()
    session = ask(world, cookie, edge=WITH_TOKEN)
    session.check_token(a_token(world, cookie))
    assert world.journal.names() == []


def test_a_token_survives_renewal_and_step_up(world: World) -> None:
    cookie = world.cookie()
    token = a_token(world, cookie)
    renewed = world.confirmed(cookie)
    session = ask(world, renewed, edge=WITH_TOKEN, token=token)
    stepped_up = expect(Rotated, session.reauthenticate(PASSWORD))
    following = ask(world, stepped_up.session_id.reveal(), edge=WITH_TOKEN, token=token)
    assert following.user_id() == "id-of-alice"


def test_a_token_does_not_survive_signing_in(world: World) -> None:
    visitor = ask(world).start_anonymous().session_id.reveal()
    token = a_token(world, visitor)
    session = ask(world, visitor, edge=WITH_TOKEN, token=token)
    login = expect(LoggedIn, session.login("alice", PASSWORD))
    following = ask(world, login.session_id.reveal(), edge=WITH_TOKEN, token=token)
    assert problem_of(following.authenticate) == "token-required"


def test_the_page_that_follows_a_sign_in_has_the_new_session_s_token(world: World) -> None:
    session = ask(world, edge=WITH_TOKEN)
    login = expect(LoggedIn, session.login("alice", PASSWORD))
    token = session.token()
    assert token is not None
    following = ask(world, login.session_id.reveal(), edge=WITH_TOKEN, token=token)
    assert following.user_id() == "id-of-alice"
    session.logout()
    assert session.token() is None


def test_every_page_has_another_token(world: World) -> None:
    cookie = world.cookie()
    assert len({a_token(world, cookie) for _ in range(5)}) == 5


# What must not be seen


def test_no_event_and_no_repr_shows_a_cookie(world: World) -> None:
    cookie = world.cookie()
    world.events.events.clear()
    twice = ask(world, cookies=(f"{NAME}={cookie}; {NAME}=planted-cookie",))
    twice.authenticate()
    refused = ask(world, cookie, fetch_site="cross-site", origin=f"https://{NAME}.example")
    refused.refusal()
    session = ask(world, cookie, edge=WITH_TOKEN, token="the-token-of-it")
    session.refusal()
    shown = repr([*world.events.events, twice, refused, session, session.head, twice.head])
    for secret in (cookie, cookie[:8], cookie[-8:], "planted-cookie", "the-token-of-it"):
        assert secret not in shown
    assert len(world.told(Event)) == 2
    assert "example" not in repr(world.events.events)


def test_a_request_session_shows_what_was_asked_and_no_more(world: World) -> None:
    head = RequestHead(method="GET", path="/a b", target="/a%20b?secret=1")
    auth = world.elsewhere()
    assert repr(RequestSession(auth, EDGE, head)) == "<RequestSession of GET '/a b'>"


def test_sources_of_events_are_cleaned(world: World) -> None:
    ambiguous(world, address="192.0.2.1\nforged").authenticate()
    ask(world, fetch_site="cross-site", origin=None, address="x" * 10_000).refusal()
    assert [event.source for event in world.told(AmbiguousCookie)] == [None]
    assert [event.source for event in world.told(CrossOriginRefused)] == [None]


def test_a_visitor_s_session_does_not_push_out_an_id_that_is_newer(world: World) -> None:
    retired = world.cookie()
    session = ask(world, retired)
    session.rotate()
    crossing = ask(world, retired)
    assert crossing.authenticate() == Inactive(InactiveReason.SUPERSEDED)
    with pytest.raises(Interruption) as raised:
        crossing.start_anonymous()
    assert raised.value.problem.code == "try-again"
    assert values(crossing.finish(), "set-cookie") == []


def test_what_is_opened_after_a_sign_out_does_not_keep_what_was_seen_before_it(
    world: World,
) -> None:
    session = ask(world, world.cookie(), edge=CLEARING)
    session.logout()
    session.start_anonymous()  # a message to show, say
    assert values(session.finish(), "clear-site-data") == ['"cache", "storage"']


@pytest.mark.parametrize("error", [StoreUnavailable("away"), OutcomeUnknown("no reply")])
def test_a_sign_out_that_meets_an_outage_is_not_confirmed(world: World, error: StoreError) -> None:
    session = ask(world, world.cookie())
    assert session.problem_of(error) == outage(error)
    world.journal.always("delete", fails(error))
    with pytest.raises(type(error)) as raised:
        session.logout()
    problem = session.problem_of(raised.value)
    assert (problem.status, problem.code) == (503, "not-confirmed")
    assert "nobody was signed out" not in problem.detail


def test_nothing_was_done_is_not_said_of_a_request_that_has_signed_in_or_out(world: World) -> None:
    error = StoreUnavailable("away")
    session = ask(world)
    assert session.problem_of(error).code == "unavailable"
    session.login("bob", PASSWORD)
    assert session.problem_of(error).code == "not-confirmed"
    leaving = ask(world, world.cookie())
    leaving.logout()
    assert leaving.problem_of(error).code == "not-confirmed"


def test_whoever_cannot_sign_out_is_not_asked_to_try_again(world: World) -> None:
    session = ask(world, world.cookie())
    world.journal.always("delete", UNAVAILABLE)
    with pytest.raises(StoreError) as raised:
        session.logout()
    assert session.problem_of(raised.value).retry_after is None
