"""
Sessions of the library before this one, through request sessions: the rules of
``sessioncore_http.legacy``, by their numbers.

The old store is a small one in memory that keeps the laws of the port.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final, cast

import pytest
from fakes import (
    ADDRESS,
    PASSWORD,
    POLICY,
    SECOND,
    Blocking,
    Journal,
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
    DataRead,
    Inactive,
    InactiveReason,
    Json,
    LoggedIn,
    LoggedOut,
    LoggedOutEverywhere,
    OnLimit,
    OutcomeUnknown,
    PasswordChanged,
    PasswordChangedButSessionsLive,
    Revoked,
    Session,
    StoreUnavailable,
)
from sessioncore.testing import ManualClock
from sessioncore_http import (
    AsyncLegacySessions,
    AsyncRequestSession,
    Edge,
    Interruption,
    LegacySessions,
    RequestHead,
    RequestSession,
    ResponseStarted,
    SameSite,
    SessionCookie,
    SynchronizerToken,
    UnsafeConfiguration,
)
from sessioncore_http.legacy import METHOD, LegacyFinding, LegacyMoved, LegacySession

SITE: Final = "https://shop.example"
NAME: Final = "__Host-session"
EDGE: Final = Edge(origins=[SITE], clear_site_data=["cache"])
WITH_TOKEN: Final = Edge(origins=[SITE], token=SynchronizerToken())
DELETED: Final = EDGE.cookie.deleted()
OLD_DELETED: Final = (
    "sid=; Path=/app; Domain=shop.example; Secure; HttpOnly; SameSite=Lax; Max-Age=0"
)
AWAY: Final = fails(StoreUnavailable("the old store is away"))
MOVED_FOR: Final = timedelta(seconds=30)


class OldSessions:
    """
    An old store in memory: keys, records, and marks of what was moved.
    """

    cookie_name = "sid"
    cookie_path = "/app"
    cookie_domain: str | None = "shop.example"

    def __init__(self, clock: ManualClock, journal: Journal) -> None:
        self._clock = clock
        self._journal = journal
        self._records: dict[str, bytes] = {}
        self._moved: dict[str, datetime] = {}

    def put(self, key: str, user_id: str | None, **data: Json) -> None:
        """
        Write a record, as an old server does.
        """
        self._records[key] = json.dumps({"user": user_id, "data": data}).encode()

    def has(self, key: str) -> bool:
        """
        Tell whether there is a record.
        """
        return key in self._records

    def find(self, cookie: str, /) -> LegacyFinding:
        return self._journal.step("old.find", (cookie,), lambda: self._found(cookie))

    def take(self, legacy: LegacySession, /) -> bool:
        return self._journal.step("old.take", (), lambda: self._taken(legacy))

    def end_user(self, user_id: str, /) -> int:
        return self._journal.step("old.end_user", (user_id,), lambda: self._ended(user_id))

    def _found(self, cookie: str) -> LegacyFinding:
        record = self._records.get(cookie)
        if record is None:
            moved = self._moved.get(cookie)
            recently = moved is not None and self._clock.now() < moved + MOVED_FOR
            return LegacyMoved() if recently else None
        read = json.loads(record)
        return LegacySession(user_id=read["user"], data=read["data"], key=cookie, as_read=record)

    def _taken(self, legacy: LegacySession) -> bool:
        if self._records.get(legacy.key) != legacy.as_read:
            return False
        del self._records[legacy.key]
        self._moved[legacy.key] = self._clock.now()
        return True

    def _ended(self, user_id: str) -> int:
        ended = [key for key, text in self._records.items() if json.loads(text)["user"] == user_id]
        for key in ended:
            del self._records[key]
        return len(ended)


@pytest.fixture(params=["threads", "asyncio"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    with world_of(request.param) as made:
        yield made


@pytest.fixture
def old(world: World) -> OldSessions:
    sessions = OldSessions(world.clock, world.journal)
    sessions.put("alices", "id-of-alice", cart=[1, 2])
    return sessions


def ask(
    world: World,
    old: LegacySessions,
    sid: str | None = "alices",
    *,
    cookie: str | None = None,
    edge: Edge = EDGE,
    method: str = "GET",
    **head: Any,
) -> RequestSession:
    """
    A request of one of our own pages, with an old cookie, one of ours, or both.
    """
    brought = [] if sid is None else [f"sid={sid}"]
    brought += [] if cookie is None else [f"{NAME}={cookie}"]
    given: dict[str, Any] = {
        "method": method,
        "path": "/",
        "target": "/",
        "cookies": ("; ".join(brought),),
        "fetch_site": "same-origin",
        "address": ADDRESS,
        **head,
    }
    if not isinstance(world.auth, Blocking):
        return RequestSession(world.auth, edge, RequestHead(**given), old)
    service: AsyncAuthService = world.auth._service
    session = AsyncRequestSession(service, edge, RequestHead(**given), AsyncLegacySessions(old))
    return cast("RequestSession", Blocking(cast("Any", session), world.auth._runner))


def cookies(session: RequestSession, **named: Any) -> list[str]:
    return [value for name, value in session.finish(**named) if name == "Set-Cookie"]


def problem_of(call: Callable[[], object]) -> str:
    with pytest.raises(Interruption) as interrupted:
        call()
    return interrupted.value.problem.code


def issued(cookie: str) -> str:
    assert not cookie.startswith(f"{NAME}=;")
    return cookie.partition(";")[0].removeprefix(f"{NAME}=")


def session_in(session: RequestSession) -> Session:
    found = session.session()
    assert found is not None
    return found


def test_the_old_store_of_these_tests_is_one(world: World, old: OldSessions) -> None:
    found = expect(LegacySession, old.find("alices"))
    old.put("alices", "id-of-alice", cart=[3])
    assert not old.take(found)
    assert old.take(expect(LegacySession, old.find("alices")))
    assert isinstance(old.find("alices"), LegacyMoved)
    world.clock.advance(MOVED_FOR)
    assert old.find("alices") is None


def test_both_cookies_cannot_have_one_name(world: World, old: OldSessions) -> None:
    cookie = SessionCookie(name="sid", weaker_because="a test")
    with pytest.raises(UnsafeConfiguration, match="the name of ours"):
        ask(world, old, edge=Edge(origins=[SITE], cookie=cookie))


# The move


def test_whoever_comes_with_an_old_cookie_is_moved(world: World, old: OldSessions) -> None:
    session = ask(world, old)
    assert session.user_id() == "id-of-alice"
    assert world.auth.read_data(session_in(session)) == DataRead({"cart": [1, 2]})
    ours, deleted = cookies(session)
    assert deleted == OLD_DELETED
    assert world.is_live(issued(ours))
    assert not old.has("alices")
    # And is known by our cookie alone from then on.
    world.journal.forget()
    assert ask(world, old, cookie=issued(ours)).user_id() == "id-of-alice"
    assert world.journal.names() == ["find"]


def test_a_request_that_never_asks_moves_nobody(world: World, old: OldSessions) -> None:
    assert ask(world, old).finish() == []
    assert world.journal.names() == []


@pytest.mark.parametrize("sid", [None, "unknown"])
def test_without_an_old_session_nobody_is_moved(
    world: World, old: OldSessions, sid: str | None
) -> None:
    session = ask(world, old, sid)
    assert session.authenticate() == Inactive(InactiveReason.ABSENT)
    assert cookies(session) == []


def test_rule_1_ours_comes_first_good_or_bad(world: World, old: OldSessions) -> None:
    for cookie in (world.cookie("bob"), "garbage", "", "A" * 72):
        session = ask(world, old, cookie=cookie)
        world.journal.forget()
        assert session.user_id() in {None, "id-of-bob"}
        assert not any(name.startswith("old.") for name in world.journal.names())
    twice = ask(world, old, cookies=(f"{NAME}=a; {NAME}=b; sid=alices",))
    assert twice.authenticate() == Inactive(InactiveReason.AMBIGUOUS)
    assert old.has("alices")


def test_rule_1_two_old_cookies_that_differ_are_none(world: World, old: OldSessions) -> None:
    session = ask(world, old, cookies=("sid=alices; sid=other",))
    assert session.authenticate() == Inactive(InactiveReason.ABSENT)
    assert old.has("alices")


def test_rule_2_the_epoch_is_opened_before_the_proof(world: World, old: OldSessions) -> None:
    ask(world, old).authenticate()
    names = [n for n in world.journal.names() if n in {"old.find", "old.take", "open_epoch"}]
    assert names == ["old.find", "open_epoch", "old.take"]
    assert world.journal.names().index("old.take") < world.journal.names().index("admit")
    assert world.journal.names()[-1] == "write_data"


def test_rule_2_whoever_has_been_signed_out_everywhere_meanwhile_is_not_moved(
    world: World, old: OldSessions
) -> None:
    elsewhere = world.elsewhere()
    world.journal.next("admit", overtaken_by(lambda: elsewhere.logout_everywhere("id-of-alice")))
    session = ask(world, old)
    assert session.user_id() is None
    assert world.auth.sessions_of("id-of-alice") == ()
    assert cookies(session) == []


def test_rule_2_without_the_proof_nobody_is_signed_in(world: World, old: OldSessions) -> None:
    world.journal.next("old.take", overtaken_by(lambda: old.put("alices", "id-of-alice", cart=[9])))
    session = ask(world, old)
    assert session.authenticate() == Inactive(InactiveReason.SUPERSEDED)
    assert problem_of(session.require) == "try-again"
    assert cookies(session) == []
    # What the old server wrote is not lost.
    again = ask(world, old)
    assert world.auth.read_data(session_in(again)) == DataRead({"cart": [9]})


def test_rule_2_whoever_has_no_place_left_is_not_moved(world: World, old: OldSessions) -> None:
    world.auth = world.service(replace(POLICY, session_limit=1, on_limit=OnLimit.REJECT))
    world.login()
    session = ask(world, old)
    assert session.authenticate() == Inactive(InactiveReason.ABSENT)
    assert cookies(session) == []
    # For a little while the old cookie stands for what was moved.
    assert ask(world, old).authenticate() == Inactive(InactiveReason.SUPERSEDED)


def test_rule_2_whoever_has_nothing_to_carry_is_moved(world: World, old: OldSessions) -> None:
    old.put("bobs", "id-of-bob")
    assert ask(world, old, "bobs").user_id() == "id-of-bob"
    assert "write_data" not in world.journal.names()


def test_rule_3_nobody_is_moved_in_a_handshake(world: World, old: OldSessions) -> None:
    session = ask(world, old, is_websocket=True, origin=SITE)
    assert session.authenticate() == Inactive(InactiveReason.ABSENT)
    assert old.has("alices")


def test_rule_3_nobody_is_moved_once_the_response_has_started(
    world: World, old: OldSessions
) -> None:
    session = ask(world, old)
    session.finish()
    with pytest.raises(ResponseStarted):
        session.authenticate()
    late = ask(world, old)
    late.token()  # has been asked for, and not yet looked up
    late.finish()
    assert late.authenticate() == Inactive(InactiveReason.ABSENT)
    assert old.has("alices")


def test_rule_4_a_visitor_with_data_is_moved(world: World, old: OldSessions) -> None:
    old.put("visitors", None, cart=[7])
    session = ask(world, old, "visitors")
    assert session.user_id() is None
    assert world.auth.read_data(session_in(session)) == DataRead({"cart": [7]})
    assert len(cookies(session)) == 2


def test_rule_4_a_visitor_without_data_is_left_to_expire(world: World, old: OldSessions) -> None:
    old.put("visitors", None)
    session = ask(world, old, "visitors")
    assert session.authenticate() == Inactive(InactiveReason.ABSENT)
    assert cookies(session) == []
    assert old.has("visitors")


def test_rule_4_a_visitor_whom_another_request_has_moved_tries_again(
    world: World, old: OldSessions
) -> None:
    old.put("visitors", None, cart=[7])
    world.journal.next("old.take", overtaken_by(lambda: old.put("visitors", None, cart=[8])))
    session = ask(world, old, "visitors")
    assert session.authenticate() == Inactive(InactiveReason.SUPERSEDED)


def test_rule_5_a_moved_session_is_not_fresh(world: World, old: OldSessions) -> None:
    session = ask(world, old)
    moved = session.require()
    assert moved.methods == (METHOD,)
    assert moved.authenticated_at is None
    assert problem_of(session.require_fresh) == "step-up-required"


@pytest.mark.parametrize("other", [None, "id-of-bob"])
def test_rule_6_signing_in_leaves_no_old_session_behind(
    world: World, old: OldSessions, other: str | None
) -> None:
    old.put("another", other, cart=[1])
    session = ask(world, old, "another")
    login = expect(LoggedIn, session.login("alice", PASSWORD))
    assert cookies(session) == [EDGE.cookie.written(login.session_id, None), OLD_DELETED]
    assert not old.has("another")


def test_rule_6_signing_in_deletes_an_old_cookie_that_stands_for_nothing(
    world: World, old: OldSessions
) -> None:
    session = ask(world, old, None)
    session.establish(session.begin("id-of-alice"), methods=("hwk",))
    assert cookies(session)[1:] == [OLD_DELETED]


def test_rule_6_a_visitor_s_new_session_leaves_no_old_one_behind(
    world: World, old: OldSessions
) -> None:
    session = ask(world, old)
    session.start_anonymous()
    assert cookies(session)[1:] == [OLD_DELETED]
    assert not old.has("alices")


def test_rule_6_signing_out_ends_both(world: World, old: OldSessions) -> None:
    cookie = world.cookie("bob")
    session = ask(world, old, cookie=cookie)
    assert session.logout() == LoggedOut(ended=True)
    assert cookies(session) == [DELETED, OLD_DELETED]
    assert not old.has("alices")
    assert not world.is_live(cookie)


def test_rule_6_signing_out_with_an_old_cookie_alone_ends_it(
    world: World, old: OldSessions
) -> None:
    session = ask(world, old)
    session.logout()
    assert not old.has("alices")
    assert cookies(session) == [DELETED, OLD_DELETED]
    assert ask(world, old).user_id() is None


def test_rule_6_who_signs_out_while_another_request_moves_tries_again(
    world: World, old: OldSessions
) -> None:
    moving, leaving = ask(world, old), ask(world, old)
    moving.authenticate()
    assert problem_of(leaving.logout) == "try-again"
    # An answer that comes late must not take away what the other one has brought.
    assert cookies(leaving) == []
    assert leaving.authenticate() == Inactive(InactiveReason.SUPERSEDED)
    assert [value for name, value in leaving.finish() if name == "Clear-Site-Data"] == []
    (ours, _) = cookies(moving)
    again = ask(world, old, cookie=issued(ours))
    assert again.logout() == LoggedOut(ended=True)


def test_rule_6_who_was_moved_by_this_very_request_signs_out(
    world: World, old: OldSessions
) -> None:
    session = ask(world, old)
    session.authenticate()
    assert session.logout() == LoggedOut(ended=True)
    assert session.logout() == LoggedOut(ended=False)
    assert cookies(session) == [DELETED, OLD_DELETED]
    assert world.auth.sessions_of("id-of-alice") == ()


@pytest.mark.parametrize("away", ["old.find", "old.take", "find"])
def test_rule_6_of_two_stores_one_that_is_away_keeps_nothing_alive_in_the_other(
    world: World, old: OldSessions, away: str
) -> None:
    cookie = world.cookie("bob")
    session = ask(world, old, cookie=cookie)
    world.journal.next(away, AWAY)
    with pytest.raises(StoreUnavailable):
        session.logout()
    headers = session.finish(renew=False)
    assert [v for name, v in headers if name == "Set-Cookie"] == [DELETED, OLD_DELETED]
    assert "Clear-Site-Data" not in dict(headers)
    assert world.is_live(cookie) is (away == "find")
    assert old.has("alices") is (away != "find")


def test_rule_6_ending_this_device_leaves_no_old_session_behind(
    world: World, old: OldSessions
) -> None:
    session = ask(world, old, cookie=world.cookie("bob"))
    assert session.revoke(session.require().handle) == Revoked(ended=True)
    assert cookies(session) == [DELETED, OLD_DELETED]
    assert not old.has("alices")


def test_rule_6_signing_out_everywhere_leaves_nobody_else_s_old_session_behind(
    world: World, old: OldSessions
) -> None:
    session = ask(world, old, cookie=world.cookie("bob"))
    assert session.logout_everywhere() == LoggedOutEverywhere(None)
    assert cookies(session) == [DELETED, OLD_DELETED]
    assert not old.has("alices")


def test_rule_7_old_sessions_are_ended_first(world: World, old: OldSessions) -> None:
    session = ask(world, old, None, cookie=world.cookie())
    session.authenticate()
    world.journal.forget()
    session.logout_everywhere()
    assert world.journal.names() == ["old.end_user", "delete_user"]
    assert not old.has("alices")


def test_rule_7_ours_are_ended_also_if_the_old_ones_could_not_be(
    world: World, old: OldSessions
) -> None:
    cookie = world.cookie()
    session = ask(world, old, None, cookie=cookie)
    world.journal.next("old.end_user", AWAY)
    with pytest.raises(StoreUnavailable):
        session.logout_everywhere()
    headers = session.finish(renew=False)
    assert [v for name, v in headers if name == "Set-Cookie"] == [DELETED, OLD_DELETED]
    assert "Clear-Site-Data" not in dict(headers)
    assert not world.is_live(cookie)


def test_rule_7_a_session_that_was_kept_gets_its_id_all_the_same(
    world: World, old: OldSessions
) -> None:
    session = ask(world, old, None, cookie=world.cookie())
    world.journal.next("old.end_user", AWAY)
    with pytest.raises(StoreUnavailable):
        session.logout_everywhere(keep_this=True)
    (ours,) = cookies(session, renew=False)
    assert world.is_live(issued(ours))


def test_rule_7_a_new_password_ends_the_old_sessions_and_then_ours_again(
    world: World, old: OldSessions
) -> None:
    session = ask(world, old, None, cookie=world.cookie())
    session.authenticate()
    world.journal.forget()
    kept = expect(PasswordChanged, session.change_password(PASSWORD, "battery staple")).kept
    assert kept is not None
    names = [n for n in world.journal.names() if n in {"replace_hash", "restart", "old.end_user"}]
    assert names == ["replace_hash", "restart", "old.end_user", "restart"]
    (ours,) = cookies(session)
    # What is returned is what goes on, and not what went on for a moment.
    assert issued(ours) == kept.session_id.reveal()
    assert session.session() == kept.session
    assert world.is_live(issued(ours))


def test_rule_7_a_new_password_whose_old_sessions_live_says_so(
    world: World, old: OldSessions
) -> None:
    session = ask(world, old, None, cookie=world.cookie())
    world.journal.next("old.end_user", AWAY)
    with pytest.raises(PasswordChangedButSessionsLive):
        session.change_password(PASSWORD, "battery staple")
    (ours,) = cookies(session, renew=False)
    assert world.is_live(issued(ours))


def test_rule_7_a_new_password_that_keeps_no_session_ends_all(
    world: World, old: OldSessions
) -> None:
    session = ask(world, old, None, cookie=world.cookie())
    elsewhere = world.elsewhere()
    world.journal.next(
        "replace_hash", overtaken_by(lambda: elsewhere.logout_everywhere("id-of-alice"))
    )
    assert session.change_password(PASSWORD, "battery staple") == PasswordChanged(None)
    assert session.user_id() is None
    assert not old.has("alices")


@pytest.mark.parametrize("away", ["old.find", "old.take", "open_epoch"])
def test_rule_8_an_outage_is_not_nobody_and_the_old_cookie_stays(
    world: World, old: OldSessions, away: str
) -> None:
    session = ask(world, old)
    world.journal.next(away, AWAY)
    with pytest.raises(StoreUnavailable):
        session.require()
    assert cookies(session, renew=False) == []
    assert ask(world, old).user_id() == "id-of-alice"


@pytest.mark.parametrize("away", ["old.find", "old.take"])
def test_rule_8_a_sign_in_that_is_answered_as_an_outage_signs_nobody_in(
    world: World, old: OldSessions, away: str
) -> None:
    session = ask(world, old)
    world.journal.next(away, AWAY)
    with pytest.raises(StoreUnavailable):
        session.login("alice", PASSWORD)
    assert session.user_id() is None
    assert cookies(session, renew=False) == []
    assert world.auth.sessions_of("id-of-alice") == ()


def test_what_may_have_been_taken_counts_as_taken(world: World, old: OldSessions) -> None:
    session = ask(world, old)
    world.journal.next("old.take", loses_reply)
    with pytest.raises(OutcomeUnknown):
        session.authenticate()
    assert ask(world, old).authenticate() == Inactive(InactiveReason.SUPERSEDED)
    world.clock.advance(MOVED_FOR + SECOND)
    assert ask(world, old).authenticate() == Inactive(InactiveReason.ABSENT)


def test_of_six_requests_with_the_old_cookie_one_is_moved(world: World, old: OldSessions) -> None:
    outcomes = [ask(world, old).authenticate() for _ in range(6)]
    assert isinstance(outcomes[0], Active)
    assert set(outcomes[1:]) == {Inactive(InactiveReason.SUPERSEDED)}


def test_data_over_our_limit_is_left_behind_and_the_user_is_not(
    world: World, old: OldSessions
) -> None:
    old.put("alices", "id-of-alice", cart="x" * (POLICY.data_limit + 1))
    session = ask(world, old)
    assert session.user_id() == "id-of-alice"
    assert world.auth.read_data(session_in(session)) == DataRead({})


# Cross-site request forgery


@pytest.mark.parametrize("sid", ["alices", "", "a; sid=b"])
def test_an_old_cookie_without_evidence_is_refused_like_ours(
    world: World, old: OldSessions, sid: str
) -> None:
    session = ask(world, old, sid, method="POST", fetch_site=None)
    refused = session.refusal()
    assert refused is not None
    assert refused.code == "cross-origin"
    assert ask(world, old, None, method="POST", fetch_site=None).refusal() is None


def test_an_old_cookie_is_worth_no_token(world: World, old: OldSessions) -> None:
    posted = ask(world, old, edge=WITH_TOKEN, method="POST")
    assert problem_of(posted.authenticate) == "token-required"
    assert old.has("alices")
    loaded = ask(world, old, edge=WITH_TOKEN)
    assert loaded.user_id() == "id-of-alice"
    assert loaded.token() is not None


def test_an_old_cookie_that_stands_for_nothing_asks_for_no_token(
    world: World, old: OldSessions
) -> None:
    old.put("visitors", None)
    for sid in ("unknown", "visitors"):
        session = ask(world, old, sid, edge=WITH_TOKEN, method="POST")
        assert session.authenticate() == Inactive(InactiveReason.ABSENT)


def test_the_old_cookie_is_deleted_as_browsers_will_have_it(world: World, old: OldSessions) -> None:
    front = SessionCookie(same_site=SameSite.NONE, weaker_because="a front end elsewhere")
    plain = SessionCookie(name="s", secure=False, weaker_because="an intranet")
    old.cookie_domain = None
    for cookie, deleted in (
        (front, "sid=; Path=/app; Secure; HttpOnly; SameSite=None; Max-Age=0"),
        (plain, "sid=; Path=/app; HttpOnly; SameSite=Lax; Max-Age=0"),
    ):
        session = ask(world, old, None, edge=Edge(origins=[SITE], cookie=cookie))
        session.logout()
        assert cookies(session)[1:] == [deleted]


def test_nothing_of_an_old_session_shows_in_a_repr(old: OldSessions) -> None:
    found = old.find("alices")
    assert "alices" not in repr(found)
    assert "cart" not in repr(found)
