"""
What both services share: time, randomness, names, policies, and the audit trail.
"""

import base64
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from typing import Any

import pytest
from fakes import (
    ADDRESS,
    HOUR,
    MILLISECOND,
    MINUTE,
    PASSWORD,
    POLICY,
    REMEMBERED,
    SECOND,
    FailingEvents,
    World,
    fails,
    loses_reply,
    world_of,
)
from hypothesis import given
from hypothesis import strategies as st

from sessioncore import (
    Attempt,
    Device,
    InactiveReason,
    InvalidPolicy,
    Policies,
    Policy,
    SessionId,
    StoreError,
    Subject,
)
from sessioncore.context import LOGIN_WINDOW, Context
from sessioncore.decisions import opened
from sessioncore.events import AmbiguousCookie, CrossOriginRefused, EndReason, Event
from sessioncore.ports import EventSink, ThrottleScope
from sessioncore.session import Epoch, Session
from sessioncore.system import SystemClock, SystemEntropy
from sessioncore.testing import ManualClock, RecordingEvents, SeededEntropy

EPOCH = Epoch(bytes(16))


class Surroundings:
    """
    A context with a clock to set and a sink to read.
    """

    def __init__(self, policy: Policy | Policies = POLICY, seed: int = 0) -> None:
        self.clock = ManualClock()
        self.events = RecordingEvents()
        self.context = Context(policy, self.clock, SeededEntropy(seed), self.events, LOGIN_WINDOW)

    def session(self, policy: Policy = POLICY) -> Session:
        return opened(
            self.context.fresh_id(EPOCH),
            Subject.user("u1"),
            policy=policy,
            now=self.context.now(),
            methods=("pwd",),
            device=Device(ADDRESS),
            stamp=self.context.stamp(),
        )


@pytest.fixture
def here() -> Surroundings:
    return Surroundings()


# -- Making --------------------------------------------------------------------


@pytest.mark.parametrize("window", [timedelta(0), -SECOND, timedelta(microseconds=1500)])
def test_a_login_window_is_a_positive_whole_number_of_milliseconds(window: timedelta) -> None:
    with pytest.raises(InvalidPolicy, match="login_window"):
        Context(POLICY, None, None, None, window)


def test_the_shortest_login_window_is_a_millisecond() -> None:
    assert Context(POLICY, None, None, None, MILLISECOND).login_window == MILLISECOND


def test_one_policy_is_enough() -> None:
    assert Context(POLICY, None, None, None, MINUTE).policies.default is POLICY


def test_several_policies_are_taken_as_they_are() -> None:
    policies = Policies(POLICY, REMEMBERED)
    assert Context(policies, None, None, None, MINUTE).policies is policies


# -- Time and randomness -------------------------------------------------------


def test_without_a_clock_the_systems_is_read_in_whole_milliseconds() -> None:
    context = Context(POLICY, None, None, None, MINUTE)
    before = datetime.now(UTC) - MILLISECOND
    now = context.now()
    assert before <= now <= datetime.now(UTC)
    assert now.microsecond % 1000 == 0


def test_the_systems_clock_tells_utc() -> None:
    assert SystemClock().now().tzinfo is UTC


@pytest.mark.parametrize("size", [0, 1, 16, 38])
def test_the_systems_entropy_draws_as_many_bytes_as_asked(size: int) -> None:
    assert len(SystemEntropy().draw(size)) == size


def test_the_systems_entropy_does_not_repeat_itself() -> None:
    assert SystemEntropy().draw(16) != SystemEntropy().draw(16)


def test_a_request_that_says_nothing_arrived_now(here: Surroundings) -> None:
    now = here.context.now()
    assert here.context.arrival(None, now) == now


def test_a_request_arrived_when_it_says_in_whole_milliseconds(here: Surroundings) -> None:
    now = here.context.now()
    told = (now - SECOND + timedelta(microseconds=7)).astimezone(timezone(HOUR))
    assert here.context.arrival(told, now) == now - SECOND


def test_no_request_arrived_later_than_now(here: Surroundings) -> None:
    now = here.context.now()
    assert here.context.arrival(now + SECOND, now) == now


def test_what_is_drawn_has_the_right_size(here: Surroundings) -> None:
    context = here.context
    sizes = [len(drawn) for drawn in (context.stamp(), context.salt(), context.secret())]
    assert sizes == [8, 16, 24]
    assert context.visitor().is_anonymous


def test_two_fresh_ids_share_only_the_epoch(here: Surroundings) -> None:
    one, other = here.context.fresh_id(EPOCH), here.context.fresh_id(EPOCH)
    assert one.locator.epoch == other.locator.epoch == EPOCH
    assert one.locator.slot != other.locator.slot
    assert one.family_digest != other.family_digest
    assert one.digest != other.digest


# -- Names ---------------------------------------------------------------------


@pytest.mark.parametrize("username", ["alice", "é" * 127, "a@b.example", " ", "a" * 255])
def test_a_name_that_can_be_one_is_looked_up_as_typed(here: Surroundings, username: str) -> None:
    assert here.context.presentable(username) == username


@pytest.mark.parametrize("username", ["", "a" * 256, "a\x00b", "a\nb", "\ud800"])
def test_nobodys_name_is_looked_up_for_what_cannot_be_one(
    here: Surroundings, username: str
) -> None:
    assert here.context.presentable(username) == here.context.nobody


def test_nobody_is_called_otherwise_in_every_service() -> None:
    assert Surroundings(seed=1).context.nobody != Surroundings(seed=2).context.nobody


@given(st.text())
def test_any_name_has_one_key_and_one_decoy(username: str) -> None:
    context = Surroundings().context
    key = context.name_key(username)
    assert key == context.name_key(username)
    assert key.scope is ThrottleScope.NAME
    assert len(key.value) == 32
    assert context.decoy(username) == context.decoy(username)
    assert context.decoy(username).user_id is None


def test_the_key_of_a_name_says_nothing_to_who_lacks_the_services_key() -> None:
    one, other = Surroundings(seed=1).context, Surroundings(seed=2).context
    assert one.name_key("alice") != other.name_key("alice")
    assert "alice" not in one.name_key("alice").value


def test_any_number_of_names_share_256_decoys(here: Surroundings) -> None:
    decoys = {here.context.decoy(f"name {number}") for number in range(5000)}
    assert decoys == {Subject.decoy(number) for number in range(256)}


@pytest.mark.parametrize("methods", [(), ("pwd",), ("a" * 32,), tuple("abcdefgh"), ("!", "~")])
def test_up_to_eight_short_methods_can_be_recorded(methods: tuple[str, ...]) -> None:
    assert Context.checked_methods(methods) == methods


@pytest.mark.parametrize(
    "methods", [("",), ("a" * 33,), ("a b",), ("é",), ("a\n",), ("\x7f",), tuple("abcdefghi")]
)
def test_other_methods_are_refused(methods: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="methods: at most 8"):
        Context.checked_methods(methods)


# -- Policies of sessions ------------------------------------------------------


def test_a_live_session_has_its_policy(here: Surroundings) -> None:
    session = here.session()
    here.clock.advance(POLICY.idle_timeout - MILLISECOND)
    assert here.context.live_policy(session) is POLICY


def test_an_expired_session_has_none(here: Surroundings) -> None:
    session = here.session()
    here.clock.advance(POLICY.idle_timeout)
    assert here.context.live_policy(session) is None


def test_a_session_of_a_policy_that_is_gone_has_none(here: Surroundings) -> None:
    assert here.context.live_policy(here.session(REMEMBERED)) is None


def test_a_cookie_goes_when_the_browser_closes_unless_the_policy_is_persistent(
    here: Surroundings,
) -> None:
    assert here.context.persistence(here.session()) is None


def test_a_persistent_cookie_lasts_as_long_as_the_session_can() -> None:
    here = Surroundings(Policies(POLICY, REMEMBERED))
    session = here.session(REMEMBERED)
    here.clock.advance(HOUR)
    assert here.context.persistence(session) == REMEMBERED.absolute_timeout - HOUR


def test_a_cookie_of_a_policy_that_is_gone_goes_when_the_browser_closes(
    here: Surroundings,
) -> None:
    assert here.context.persistence(here.session(REMEMBERED)) is None


def test_why_a_session_is_dead_is_said(here: Surroundings) -> None:
    session = here.session()
    assert here.context.expired(session) is None
    other = here.session(replace(POLICY, name="gone"))
    assert here.context.expired(other) is InactiveReason.POLICY_UNKNOWN
    assert here.context.live_policy(other) is None
    here.clock.advance(POLICY.idle_timeout)
    assert here.context.expired(session) is InactiveReason.IDLE
    assert here.context.live_policy(session) is None


# -- Audit ---------------------------------------------------------------------


def tell_everything(context: Context, session: Session) -> None:
    """
    Tell of everything that there is to tell, with and without what is optional.
    """
    context.started(session)
    context.ended(session.locator, session.subject, EndReason.LOGOUT)
    context.all_ended(session.subject, None)
    context.all_ended(session.subject, session)
    context.renewed(session)
    context.rotated(session, ("otp",))
    context.reused(session, ended=None)
    context.unusable(session.locator, InactiveReason.UNREADABLE)
    context.upkeep_skipped(session)
    context.refused("u1", ADDRESS)
    context.throttled(None, ADDRESS)
    context.password_replaced("u1")
    context.limit_reached(session.subject, 3)
    context.left_live("u1")


def test_without_a_sink_nothing_is_told_and_nothing_lost() -> None:
    context = Context(POLICY, ManualClock(), SeededEntropy(), None, MINUTE)
    tell_everything(context, Surroundings().session())
    assert context.lost_events == 0


def test_a_failing_sink_changes_nothing_and_is_counted(here: Surroundings) -> None:
    context = Context(POLICY, here.clock, SeededEntropy(), FailingEvents(), MINUTE)
    tell_everything(context, here.session())
    assert context.lost_events == 14


def test_what_a_failing_sink_lost_is_counted_from_all_threads(here: Surroundings) -> None:
    context = Context(POLICY, here.clock, SeededEntropy(), FailingEvents(), MINUTE)
    with ThreadPoolExecutor(8) as pool:
        told = [pool.submit(context.refused, None, None) for _ in range(400)]
    assert all(future.exception() is None for future in told)
    assert context.lost_events == 400


class Interrupted(BaseException):
    """
    Not an error of the sink.
    """


class InterruptedEvents:
    def emit(self, _event: Event, /) -> None:
        raise Interrupted


def test_an_interruption_is_not_taken_for_a_failing_sink(here: Surroundings) -> None:
    sink: EventSink = InterruptedEvents()
    context = Context(POLICY, here.clock, SeededEntropy(), sink, MINUTE)
    with pytest.raises(Interrupted):
        context.refused(None, None)


def test_every_event_tells_when_and_has_an_id(here: Surroundings) -> None:
    tell_everything(here.context, here.session())
    assert len(here.events.events) == 14
    for event in here.events.events:
        assert event.at == here.context.now()
        assert len(bytes.fromhex(event.stamp)) == 8


def test_what_was_written_is_told_under_the_stamp_of_the_write(here: Surroundings) -> None:
    session = here.session()
    here.context.started(session)
    here.context.renewed(session)
    here.context.rotated(session, ())
    here.context.all_ended(session.subject, session)
    assert {event.stamp for event in here.events.events} == {session.stamp.hex()}


def test_what_was_written_is_told_at_the_instant_of_the_write(here: Surroundings) -> None:
    session = replace(here.session(), changed_at=here.clock.now() + SECOND)
    here.clock.advance(HOUR)
    here.context.started(session)
    here.context.renewed(session)
    here.context.rotated(session, ())
    told = [event.at for event in here.events.events]
    assert told == [session.created_at, session.changed_at, session.changed_at]


def test_an_adapter_s_event_gets_a_time_and_an_id(here: Surroundings) -> None:
    here.context.report(partial(AmbiguousCookie, source=ADDRESS))
    here.context.report(partial(CrossOriginRefused, source=ADDRESS, rule="a rule"))
    one, other = here.events.events
    assert isinstance(one, AmbiguousCookie)
    assert isinstance(other, CrossOriginRefused)
    assert one.at == other.at == here.clock.now()
    assert (one.source, other.rule) == (ADDRESS, "a rule")
    assert one.stamp != other.stamp
    assert one.user_id is None


def test_an_adapter_s_event_that_is_lost_is_counted() -> None:
    context = Context(POLICY, None, None, FailingEvents(), MINUTE)
    context.report(AmbiguousCookie)
    assert context.lost_events == 1


# -- No secret anywhere --------------------------------------------------------


class Secrets:
    """
    Collects what must not be seen, and looks for it.
    """

    def __init__(self) -> None:
        self._octets: set[bytes] = set()
        self._texts: set[str] = set()

    def add_id(self, session_id: SessionId) -> None:
        octets = session_id_octets(session_id)
        self._octets |= {octets, octets[:22], octets[22:], octets[30:], session_id.digest}

    def add_text(self, text: str) -> None:
        self._texts.add(text)

    def add_session(self, session: Session) -> None:
        self._octets |= {session.current, session.family, session.locator.slot}
        self._octets.add(session.locator.epoch)
        if session.previous is not None:
            self._octets.add(session.previous)
        if session.pending is not None:
            self._octets |= {session.pending.digest, session.pending.salt}

    def seen_in(self, text: str) -> list[str]:
        spellings = set(self._texts)
        for octets in self._octets:
            spellings |= {octets.hex(), octets.hex().upper(), repr(octets)[2:-1]}
            for encode in (base64_of, urlsafe_base64_of):
                # Without what depends on the neighbouring bytes.
                spellings.add(encode(octets).rstrip("=")[:-1])
        return sorted(spelling for spelling in spellings if spelling in text)


def session_id_octets(session_id: SessionId) -> bytes:
    return base64.urlsafe_b64decode(session_id.reveal())


def base64_of(octets: bytes) -> str:
    return base64.b64encode(octets).decode()


def urlsafe_base64_of(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).decode()


@pytest.fixture(params=["threads", "asyncio"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    with world_of(request.param) as made:
        yield made


def test_no_secret_appears_in_any_event_outcome_exception_or_log(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(0)
    secrets, shown = Secrets(), list[str]()
    new_password, wrong_password = "battery staple", "typed in the wrong field"
    for text in (PASSWORD, new_password, wrong_password, "s3cret-name"):
        secrets.add_text(text)

    def note(outcome: Any) -> Any:
        shown.extend((repr(outcome), str(outcome)))
        for part in (outcome, getattr(outcome, "kept", None)):
            session = getattr(part, "session", None)
            if isinstance(session, Session):
                secrets.add_session(session)
            for name in ("session_id", "renewed"):
                session_id = getattr(part, name, None)
                if isinstance(session_id, SessionId):
                    secrets.add_id(session_id)
                    secrets.add_text(session_id.reveal())
        return outcome

    def fail(call: Any, *arguments: Any, **named: Any) -> None:
        with pytest.raises((StoreError, ValueError)) as raised:
            call(*arguments, **named)
        shown.extend(traceback.format_exception(raised.value))

    auth, journal, device = world.auth, world.journal, Device(ADDRESS, "Browser/1")
    visitor = note(auth.start_anonymous(device=device))
    note(auth.change_data(visitor.session, {"cart": [1]}))
    cookie = visitor.session_id.reveal()
    note(auth.login("alice", wrong_password, device=device))
    note(auth.login("s3cret-name", PASSWORD, device=device))
    first = note(auth.login("alice", PASSWORD, cookie=cookie, device=device, keep=["cart"]))
    cookie = first.session_id.reveal()
    world.clock.advance(15 * MINUTE)
    renewed = note(auth.authenticate(cookie)).renewed.reveal()
    note(auth.authenticate(renewed))
    note(auth.authenticate(cookie))
    world.clock.advance(2 * MINUTE)
    journal.next("replace", fails(StoreError("no")), loses_reply)
    note(auth.authenticate(renewed))
    note(auth.authenticate(renewed))
    stepped_up = note(auth.reauthenticate(renewed, PASSWORD)).session_id.reveal()
    rotated = note(auth.rotate(stepped_up, methods=("otp",))).session_id.reveal()
    changed = note(auth.change_password(rotated, PASSWORD, new_password)).kept
    kept = note(auth.logout_everywhere("id-of-alice", keep=changed.session_id.reveal())).kept
    second = note(auth.login("alice", new_password, device=device))
    note(auth.sessions_of("id-of-alice"))
    note(auth.revoke("id-of-alice", second.session.handle))
    note(auth.authenticate(kept.session_id.reveal() + "x"))
    attempt = note(auth.begin("id-of-bob"))
    secrets.add_session(note(auth.establish(attempt, methods=("hwk",))).session)
    world.clock.advance(10 * MINUTE)
    note(auth.authenticate(kept.session_id.rotated(bytes(24)).reveal()))
    for name in ("find", "open_epoch"):
        journal.next(name, fails(StoreError("the store is away")))
    fail(auth.authenticate, kept.session_id.reveal())
    fail(auth.login, "alice", new_password)
    fail(auth.begin, "a\nb")
    fail(Attempt.from_json, attempt.to_json() | {"user_id": 1})
    note(auth.logout(note(auth.login("alice", new_password)).session_id.reveal()))
    shown.extend(repr(event) for event in world.events.events)
    shown.extend(record.getMessage() for record in caplog.records)
    for text in shown:
        assert secrets.seen_in(text) == []
    kinds = set(world.names_of_events())
    assert kinds >= {
        "AllSessionsEnded",
        "LoginRefused",
        "PasswordReplaced",
        "SessionEnded",
        "SessionIdReused",
        "SessionRenewed",
        "SessionRotated",
        "SessionStarted",
        "UpkeepSkipped",
    }


def test_the_search_for_secrets_finds_them_in_every_spelling(here: Surroundings) -> None:
    secrets, session_id = Secrets(), here.context.fresh_id(EPOCH)
    secrets.add_id(session_id)
    octets = session_id_octets(session_id)
    for spelling in (
        session_id.reveal(),
        octets.hex(),
        session_id.digest.hex().upper(),
        repr(octets),
        repr(session_id.digest),
        base64_of(octets[22:]),
        urlsafe_base64_of(session_id.digest),
    ):
        assert secrets.seen_in(f"<{spelling}>")
