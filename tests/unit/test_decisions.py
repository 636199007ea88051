"""
The rules, by the numbers at the head of :mod:`sessioncore.decisions`.

Every instant is one at which an answer changes, or the millisecond beside it.
"""

from dataclasses import FrozenInstanceError, replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from fakes import DAY, HOUR, MILLISECOND, MINUTE, SECOND
from hypothesis import given
from hypothesis import strategies as st

from sessioncore import (
    Device,
    InactiveReason,
    LimitReached,
    Locator,
    OnLimit,
    OnReuse,
    Policies,
    Policy,
    Session,
    SessionId,
    Subject,
)
from sessioncore.decisions import (
    COLLECTION_MARGIN,
    MOST_METHODS,
    Accept,
    Admit,
    Deny,
    Standing,
    copy_suffices,
    decide_absence,
    decide_admission,
    decide_authentication,
    decide_expiry,
    decide_rotation,
    live_sessions,
    missing_from,
    opened,
    renewed_id,
    rotated,
    session_of_family,
    session_with_handle,
    to_milliseconds,
    upkeep,
    was_issued,
)
from sessioncore.events import EndReason
from sessioncore.session import Epoch, Pending, Roster
from sessioncore.testing import SeededEntropy

ENTROPY = SeededEntropy(11)
OPENED_AT = datetime(2030, 1, 1, 12, tzinfo=UTC)
ALICE = Subject.user("alice")
EPOCH = Epoch(ENTROPY.draw(16))
SLOT, FAMILY, SECRET = ENTROPY.draw(6), ENTROPY.draw(8), ENTROPY.draw(24)
ID = SessionId(EPOCH, SLOT, FAMILY, SECRET)
SALT = ENTROPY.draw(16)
SUCCESSOR = ID.successor(SALT)
STAMP = b"stamp-of"
RETIRED = ID.rotated(bytes(24))
"""An id of the family that matches nothing in the record any more."""

POLICY = Policy(
    idle_timeout=30 * MINUTE,
    absolute_timeout=12 * HOUR,
    touch_interval=MINUTE,
    renewal_interval=15 * MINUTE,
    grace=30 * SECOND,
)
POLICIES = Policies(POLICY)
GRACE = POLICY.grace


def a_session(**fields: Any) -> Session:
    """
    The record of a session that was just opened, but for *fields*.
    """
    session = opened(
        ID,
        ALICE,
        policy=POLICY,
        now=OPENED_AT,
        methods=("pwd",),
        device=Device(),
        stamp=STAMP,
    )
    return replace(session, **fields)


def seen(at: datetime, **fields: Any) -> Session:
    """
    A session that was last seen *at*.
    """
    return a_session(last_seen_at=at, **fields)


def judge(
    session: Session | None,
    presented: SessionId = ID,
    at: timedelta = timedelta(0),
    *,
    arrived: timedelta | None = None,
    policies: Policies = POLICIES,
    passive: bool = False,
) -> Accept | Deny:
    """
    Judge *presented* at an instant counted from the opening.
    """
    return decide_authentication(
        session,
        presented,
        policies,
        OPENED_AT + at,
        OPENED_AT + (at if arrived is None else arrived),
        passive=passive,
    )


# -- Instants ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("microsecond", "cut"), [(0, 0), (999, 0), (1000, 1000), (1999, 1000), (999_999, 999_000)]
)
def test_an_instant_is_cut_to_whole_milliseconds(microsecond: int, cut: int) -> None:
    instant = OPENED_AT.replace(microsecond=microsecond)
    assert to_milliseconds(instant) == OPENED_AT.replace(microsecond=cut)


def test_an_instant_of_another_zone_is_told_in_utc() -> None:
    cut = to_milliseconds(datetime(2030, 1, 1, 14, tzinfo=timezone(2 * HOUR)))
    assert cut == OPENED_AT
    assert cut.tzinfo is UTC


def test_a_naive_instant_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        to_milliseconds(datetime(2030, 1, 1))  # noqa: DTZ001 - that is the point


@given(
    st.datetimes(
        timezones=st.timezones(),
        min_value=datetime(1990, 1, 1),  # noqa: DTZ001 - Hypothesis adds the zone
    )
)
def test_cutting_takes_off_less_than_a_millisecond_and_cutting_twice_nothing(
    instant: datetime,
) -> None:
    cut = to_milliseconds(instant)
    assert timedelta(0) <= instant.astimezone(UTC) - cut < MILLISECOND
    assert to_milliseconds(cut) == cut


# -- What is no id -------------------------------------------------------------


@pytest.mark.parametrize(
    ("cookie", "reason"),
    [
        (None, InactiveReason.ABSENT),
        ("", InactiveReason.MALFORMED),
        ("garbage", InactiveReason.MALFORMED),
    ],
)
def test_only_a_cookie_that_was_not_sent_is_absent(
    cookie: str | None, reason: InactiveReason
) -> None:
    assert decide_absence(cookie) is reason


# -- Rule 1: guesses -----------------------------------------------------------

GUESS = SessionId(EPOCH, ID.locator.slot, bytes(8), bytes(24))


def test_an_id_without_a_session_is_unknown() -> None:
    assert judge(None) == Deny(InactiveReason.UNKNOWN)


def test_a_guess_is_unknown_and_ends_nothing() -> None:
    assert judge(a_session(), GUESS) == Deny(InactiveReason.UNKNOWN, end=False)


def test_a_guess_does_not_learn_that_the_session_has_expired() -> None:
    assert judge(a_session(), GUESS, 99 * DAY) == Deny(InactiveReason.UNKNOWN)


def test_a_guess_does_not_learn_that_the_policy_is_unknown() -> None:
    assert judge(a_session(policy="gone"), GUESS) == Deny(InactiveReason.UNKNOWN)


def test_a_guess_with_the_right_secret_and_another_family_is_a_guess() -> None:
    guess = SessionId(EPOCH, SLOT, bytes(8), SECRET)
    assert judge(a_session(), guess) == Deny(InactiveReason.UNKNOWN)


# -- Rule 2: what was issued once ----------------------------------------------


@pytest.mark.parametrize("presented", [ID, SUCCESSOR, RETIRED])
def test_every_id_of_the_family_was_issued_once(presented: SessionId) -> None:
    assert was_issued(a_session(), presented)


def test_an_id_of_another_family_was_not_issued() -> None:
    assert not was_issued(a_session(), GUESS)


# -- Rule 3: expiry ------------------------------------------------------------


def test_a_session_under_a_policy_that_is_gone_is_dead() -> None:
    assert decide_expiry(a_session(), None, OPENED_AT) is InactiveReason.POLICY_UNKNOWN
    assert judge(a_session(policy="gone")) == Deny(InactiveReason.POLICY_UNKNOWN)


def test_a_session_lives_until_just_before_the_idle_timeout() -> None:
    now = OPENED_AT + POLICY.idle_timeout - MILLISECOND
    assert decide_expiry(a_session(), POLICY, now) is None


def test_a_session_is_dead_at_the_idle_timeout() -> None:
    now = OPENED_AT + POLICY.idle_timeout
    assert decide_expiry(a_session(), POLICY, now) is InactiveReason.IDLE
    assert judge(a_session(), at=POLICY.idle_timeout) == Deny(InactiveReason.IDLE)


def test_the_idle_timeout_counts_from_when_it_was_last_seen() -> None:
    session = seen(OPENED_AT + HOUR)
    last = OPENED_AT + HOUR + POLICY.idle_timeout
    assert decide_expiry(session, POLICY, last - MILLISECOND) is None
    assert decide_expiry(session, POLICY, last) is InactiveReason.IDLE


def test_a_session_that_is_seen_all_the_time_lives_until_just_before_the_absolute_timeout() -> None:
    now = OPENED_AT + POLICY.absolute_timeout - MILLISECOND
    assert decide_expiry(seen(now), POLICY, now) is None


def test_a_session_that_is_seen_all_the_time_is_dead_at_the_absolute_timeout() -> None:
    now = OPENED_AT + POLICY.absolute_timeout
    assert decide_expiry(seen(now), POLICY, now) is InactiveReason.TOO_OLD
    assert judge(seen(now), at=POLICY.absolute_timeout) == Deny(InactiveReason.TOO_OLD)


def test_the_absolute_timeout_is_named_if_both_have_passed() -> None:
    now = OPENED_AT + POLICY.absolute_timeout
    assert decide_expiry(a_session(), POLICY, now) is InactiveReason.TOO_OLD


def test_neither_a_proof_nor_a_renewal_moves_the_absolute_timeout() -> None:
    now = OPENED_AT + POLICY.absolute_timeout
    session = seen(now, authenticated_at=now, changed_at=now)
    assert decide_expiry(session, POLICY, now) is InactiveReason.TOO_OLD


def test_a_shorter_timeout_of_todays_policy_holds_at_once() -> None:
    shorter = Policies(replace(POLICY, idle_timeout=2 * MINUTE))
    assert judge(a_session(), at=2 * MINUTE, policies=shorter) == Deny(InactiveReason.IDLE)


def test_what_the_store_keeps_it_until_decides_nothing() -> None:
    session = a_session(keep_until=OPENED_AT - DAY)
    assert decide_expiry(session, POLICY, OPENED_AT) is None


def test_expiry_is_judged_at_the_present_whenever_the_request_arrived() -> None:
    late = judge(a_session(), at=POLICY.idle_timeout, arrived=timedelta(0))
    assert late == Deny(InactiveReason.IDLE)


def test_only_what_is_reused_is_ended() -> None:
    for denied in (
        judge(None),
        judge(a_session(), at=POLICY.idle_timeout),
        judge(CONFIRMED, RETIRED),
    ):
        assert isinstance(denied, Deny)
        assert denied.end is False


def test_an_expired_session_is_not_reused_but_expired() -> None:
    assert judge(a_session(), RETIRED, POLICY.idle_timeout) == Deny(InactiveReason.IDLE)


# -- Rule 4: being seen --------------------------------------------------------


def test_being_seen_is_not_recorded_before_the_touch_interval() -> None:
    accepted = judge(a_session(), at=MINUTE - MILLISECOND)
    assert accepted == Accept(Standing.CURRENT)


def test_being_seen_is_recorded_at_the_touch_interval() -> None:
    assert judge(a_session(), at=MINUTE) == Accept(Standing.CURRENT, touch=True)


def test_a_request_is_a_sign_of_life_unless_it_is_said_to_be_passive() -> None:
    now = OPENED_AT + MINUTE
    accepted = decide_authentication(a_session(), ID, POLICIES, now, now)
    assert accepted == Accept(Standing.CURRENT, touch=True)


def test_a_passive_request_is_never_recorded() -> None:
    assert judge(a_session(), at=MINUTE, passive=True) == Accept(Standing.CURRENT)


def test_a_session_seen_by_a_clock_that_is_ahead_is_not_touched() -> None:
    assert judge(seen(OPENED_AT + HOUR), at=MINUTE) == Accept(Standing.CURRENT)


@pytest.mark.parametrize(
    ("accepted", "writes"),
    [
        (Accept(Standing.CURRENT), False),
        (Accept(Standing.PREVIOUS), False),
        (Accept(Standing.SUCCESSOR), True),
        (Accept(Standing.CURRENT, touch=True), True),
        (Accept(Standing.CURRENT, draw=True), True),
        (Accept(Standing.PREVIOUS, touch=True), True),
    ],
)
def test_only_what_changes_the_record_is_written(accepted: Accept, writes: bool) -> None:
    assert accepted.writes is writes


def kept_up(
    session: Session, accepted: Accept, at: timedelta, presented: SessionId = ID
) -> Session:
    """
    The record after upkeep, at an instant counted from the opening.
    """
    return upkeep(
        session,
        presented,
        accepted,
        policy=POLICY,
        now=OPENED_AT + at,
        stamp=b"new-one!",
        salt=SALT,
    )


def test_a_touch_records_being_seen_and_nothing_else() -> None:
    session = a_session()
    touched = kept_up(session, Accept(Standing.CURRENT, touch=True), MINUTE)
    assert touched == replace(
        session,
        last_seen_at=OPENED_AT + MINUTE,
        keep_until=OPENED_AT + MINUTE + POLICY.idle_timeout + COLLECTION_MARGIN,
        stamp=b"new-one!",
    )


def test_being_seen_never_moves_backwards() -> None:
    session = seen(OPENED_AT + HOUR)
    touched = kept_up(session, Accept(Standing.CURRENT, touch=True), MINUTE)
    assert touched.last_seen_at == OPENED_AT + HOUR


def test_a_record_is_kept_no_longer_than_the_absolute_timeout_and_a_margin() -> None:
    at = POLICY.absolute_timeout - MINUTE
    touched = kept_up(seen(OPENED_AT + at), Accept(Standing.CURRENT, touch=True), at)
    assert touched.keep_until == OPENED_AT + POLICY.absolute_timeout + timedelta(minutes=5)


@given(st.integers(0, 12 * 60 - 1), st.integers(0, 40))
def test_a_record_that_is_live_is_still_kept(touched_at: int, later: int) -> None:
    session = kept_up(a_session(), Accept(Standing.CURRENT, touch=True), touched_at * MINUTE)
    now = OPENED_AT + (touched_at + later) * MINUTE
    if decide_expiry(session, POLICY, now) is None:
        assert now + COLLECTION_MARGIN < session.keep_until + MILLISECOND
        assert now < session.last_seen_at + session.lives_for


# -- Rule 5: due ---------------------------------------------------------------

DUE = 15 * MINUTE


def test_renewal_is_not_due_before_the_interval() -> None:
    session = seen(OPENED_AT + DUE - MILLISECOND)
    assert judge(session, at=DUE - MILLISECOND) == Accept(Standing.CURRENT)


def test_renewal_is_due_at_the_interval() -> None:
    assert judge(seen(OPENED_AT + DUE), at=DUE) == Accept(Standing.CURRENT, touch=True, draw=True)


def test_a_renewal_records_being_seen_though_no_touch_was_due() -> None:
    accepted = judge(seen(OPENED_AT + DUE - MILLISECOND), at=DUE)
    assert accepted == Accept(Standing.CURRENT, touch=True, draw=True)


def test_a_passive_request_draws_a_successor_without_being_recorded() -> None:
    accepted = judge(a_session(), at=DUE, passive=True)
    assert accepted == Accept(Standing.CURRENT, touch=False, draw=True)


def test_the_interval_counts_from_the_last_change() -> None:
    session = seen(OPENED_AT + DUE, changed_at=OPENED_AT + MILLISECOND)
    assert judge(session, at=DUE) == Accept(Standing.CURRENT)


def test_renewal_is_not_due_while_a_successor_is_pending() -> None:
    session = seen(OPENED_AT + DUE, pending=Pending(SUCCESSOR.digest, SALT))
    assert judge(session, at=DUE) == Accept(Standing.CURRENT)


def test_renewal_is_never_due_if_it_is_turned_off() -> None:
    never = Policies(replace(POLICY, renewal_interval=None))
    session = seen(OPENED_AT + 11 * HOUR)
    assert judge(session, at=11 * HOUR, policies=never) == Accept(Standing.CURRENT)


def test_renewal_is_due_again_though_a_previous_id_remains_after_its_grace() -> None:
    session = seen(OPENED_AT + DUE, previous=RETIRED.digest)
    assert judge(session, at=DUE) == Accept(Standing.CURRENT, touch=True, draw=True)


@given(
    st.integers(1, 100_000),
    st.integers(0, 100_000),
    st.integers(-100_000, 100_000),
)
def test_renewal_is_never_due_while_a_previous_id_is_in_its_grace(
    grace: int, more: int, age: int
) -> None:
    policy = replace(
        POLICY,
        grace=grace * MILLISECOND,
        clock_tolerance=timedelta(0),
        renewal_interval=(2 * grace + more) * MILLISECOND,
    )
    at = min(age, grace - 1) * MILLISECOND
    session = seen(OPENED_AT + at, previous=RETIRED.digest)
    assert judge(session, at=at, policies=Policies(policy)) == Accept(Standing.CURRENT)


def test_due_is_judged_at_the_present_whenever_the_request_arrived() -> None:
    accepted = judge(seen(OPENED_AT + DUE), at=DUE, arrived=timedelta(0))
    assert accepted == Accept(Standing.CURRENT, touch=True, draw=True)


def test_a_draw_stores_the_successors_digest_and_salt_and_keeps_the_id_current() -> None:
    session = a_session()
    drawn = kept_up(session, Accept(Standing.CURRENT, draw=True), DUE)
    assert drawn == replace(session, pending=Pending(SUCCESSOR.digest, SALT), stamp=b"new-one!")


def test_a_draw_and_a_touch_are_one_record() -> None:
    drawn = kept_up(a_session(), Accept(Standing.CURRENT, touch=True, draw=True), DUE)
    assert drawn.pending == Pending(SUCCESSOR.digest, SALT)
    assert drawn.last_seen_at == OPENED_AT + DUE


# -- Rule 6: pending -----------------------------------------------------------

PENDING = Pending(SUCCESSOR.digest, SALT)


def test_whoever_presents_the_current_id_is_answered_the_pending_successor() -> None:
    assert renewed_id(a_session(pending=PENDING), ID) == SUCCESSOR


def test_nothing_is_answered_if_nothing_is_pending() -> None:
    assert renewed_id(a_session(), ID) is None


@pytest.mark.parametrize("presented", [SUCCESSOR, RETIRED, GUESS])
def test_nothing_is_answered_to_any_other_id(presented: SessionId) -> None:
    assert renewed_id(a_session(pending=PENDING), presented) is None


def test_a_successor_that_does_not_match_its_stored_digest_is_not_answered() -> None:
    wrong = Pending(RETIRED.digest, SALT)
    assert renewed_id(a_session(pending=wrong), ID) is None


def test_a_successor_of_another_salt_is_not_answered() -> None:
    wrong = Pending(SUCCESSOR.digest, bytes(16))
    assert renewed_id(a_session(pending=wrong), ID) is None


# -- Rule 7: confirmed ---------------------------------------------------------


def test_a_pending_successor_is_accepted_at_its_first_use() -> None:
    session = a_session(pending=PENDING)
    assert judge(session, SUCCESSOR) == Accept(Standing.SUCCESSOR, touch=True)


def test_a_passive_request_confirms_a_successor_without_being_recorded() -> None:
    session = a_session(pending=PENDING)
    assert judge(session, SUCCESSOR, passive=True) == Accept(Standing.SUCCESSOR, touch=False)


def test_a_pending_successor_is_accepted_however_long_it_took() -> None:
    at = POLICY.idle_timeout - MILLISECOND
    accepted = judge(a_session(pending=PENDING), SUCCESSOR, at)
    assert accepted == Accept(Standing.SUCCESSOR, touch=True)


def test_a_confirmation_makes_the_successor_current_and_the_id_before_it_previous() -> None:
    session = a_session(pending=PENDING, previous=RETIRED.digest)
    confirmed = kept_up(session, Accept(Standing.SUCCESSOR), 16 * MINUTE, SUCCESSOR)
    assert confirmed == replace(
        session,
        current=SUCCESSOR.digest,
        previous=ID.digest,
        pending=None,
        changed_at=OPENED_AT + 16 * MINUTE,
        stamp=b"new-one!",
    )


def test_a_confirmation_that_is_touched_too_is_one_record() -> None:
    session = a_session(pending=PENDING)
    confirmed = kept_up(session, Accept(Standing.SUCCESSOR, touch=True), 16 * MINUTE, SUCCESSOR)
    assert confirmed.current == SUCCESSOR.digest
    assert confirmed.last_seen_at == OPENED_AT + 16 * MINUTE


def test_a_confirmed_successor_is_answered_nothing() -> None:
    session = a_session(pending=PENDING)
    confirmed = kept_up(session, Accept(Standing.SUCCESSOR), 16 * MINUTE, SUCCESSOR)
    assert renewed_id(confirmed, SUCCESSOR) is None


# -- Rules 8 to 10: grace, superseded, reused ----------------------------------

CONFIRMED = a_session(current=SUCCESSOR.digest, previous=ID.digest, last_seen_at=OPENED_AT + MINUTE)
"""Confirmed at the opening, to count from there."""


@pytest.mark.parametrize("age", [-SECOND, timedelta(0), GRACE - MILLISECOND])
def test_the_previous_id_is_accepted_in_its_grace(age: timedelta) -> None:
    assert judge(CONFIRMED, ID, age) == Accept(Standing.PREVIOUS)


def test_the_previous_id_is_touched_in_its_grace() -> None:
    session = replace(CONFIRMED, last_seen_at=OPENED_AT - HOUR / 4)
    assert judge(session, ID, SECOND) == Accept(Standing.PREVIOUS, touch=True)
    assert judge(session, ID, SECOND, passive=True) == Accept(Standing.PREVIOUS)


def test_the_previous_id_is_answered_nothing() -> None:
    assert renewed_id(replace(CONFIRMED, pending=PENDING), ID) is None


@pytest.mark.parametrize("age", [GRACE, 2 * GRACE - MILLISECOND])
def test_the_previous_id_is_superseded_after_its_grace(age: timedelta) -> None:
    assert judge(CONFIRMED, ID, age) == Deny(InactiveReason.SUPERSEDED)


@pytest.mark.parametrize("age", [2 * GRACE, 29 * MINUTE])
def test_the_previous_id_is_reused_after_twice_its_grace(age: timedelta) -> None:
    assert judge(CONFIRMED, ID, age) == Deny(InactiveReason.REUSED, end=True)


@pytest.mark.parametrize("age", [-SECOND, timedelta(0), 2 * GRACE - MILLISECOND])
def test_a_retired_id_is_superseded_at_once(age: timedelta) -> None:
    assert judge(CONFIRMED, RETIRED, age) == Deny(InactiveReason.SUPERSEDED)


@pytest.mark.parametrize("session", [CONFIRMED, a_session(), a_session(pending=PENDING)])
def test_a_retired_id_is_reused_after_twice_the_grace(session: Session) -> None:
    assert judge(session, RETIRED, 2 * GRACE) == Deny(InactiveReason.REUSED, end=True)


def test_a_policy_may_refuse_a_reused_id_without_ending_the_session() -> None:
    lenient = Policies(replace(POLICY, on_reuse=OnReuse.REFUSE))
    denied = judge(CONFIRMED, ID, 2 * GRACE, policies=lenient)
    assert denied == Deny(InactiveReason.REUSED, end=False)


def test_grace_is_judged_when_the_request_arrived() -> None:
    accepted = judge(CONFIRMED, ID, 20 * MINUTE, arrived=GRACE - MILLISECOND)
    assert accepted == Accept(Standing.PREVIOUS, touch=True)


def test_reuse_is_judged_when_the_request_arrived() -> None:
    early = judge(CONFIRMED, RETIRED, 20 * MINUTE, arrived=2 * GRACE - MILLISECOND)
    assert early == Deny(InactiveReason.SUPERSEDED)
    late = judge(CONFIRMED, RETIRED, 20 * MINUTE, arrived=2 * GRACE)
    assert late == Deny(InactiveReason.REUSED, end=True)


def test_a_previous_id_under_renewal_turned_off_still_has_its_grace() -> None:
    never = Policies(replace(POLICY, renewal_interval=None))
    assert judge(CONFIRMED, ID, GRACE - MILLISECOND, policies=never) == Accept(Standing.PREVIOUS)


def test_the_previous_id_is_kept_by_writes_for_requests_that_arrived_in_its_grace() -> None:
    touched = kept_up(CONFIRMED, Accept(Standing.CURRENT, touch=True), 10 * MINUTE)
    assert judge(touched, ID, 11 * MINUTE, arrived=GRACE - MILLISECOND) == Accept(
        Standing.PREVIOUS, touch=True
    )


# -- Rule 15: copies -----------------------------------------------------------


def copy_answers(
    copy: Session,
    presented: SessionId = ID,
    at: timedelta = timedelta(0),
    policies: Policies = POLICIES,
    *,
    passive: bool = False,
) -> bool:
    return copy_suffices(copy, presented, policies, OPENED_AT + at, passive=passive)


def test_a_copy_answers_for_the_current_id() -> None:
    assert copy_answers(a_session())


@pytest.mark.parametrize("presented", [GUESS, RETIRED, SUCCESSOR])
def test_a_copy_answers_for_no_other_id(presented: SessionId) -> None:
    assert not copy_answers(a_session(), presented)


@pytest.mark.parametrize("presented", [ID, SUCCESSOR])
def test_a_copy_with_a_pending_successor_answers_for_nobody(presented: SessionId) -> None:
    assert not copy_answers(a_session(pending=PENDING), presented)


@pytest.mark.parametrize("presented", [ID, SUCCESSOR])
def test_a_copy_with_a_previous_id_that_may_still_arrive_answers_for_nobody(
    presented: SessionId,
) -> None:
    assert not copy_answers(CONFIRMED, presented, 2 * GRACE - MILLISECOND)


def test_a_copy_with_a_previous_id_from_long_ago_answers_for_the_current_one() -> None:
    assert copy_answers(CONFIRMED, SUCCESSOR, 2 * GRACE)
    assert not copy_answers(CONFIRMED, ID, 2 * GRACE)


def test_a_copy_does_not_answer_when_being_seen_is_to_be_recorded() -> None:
    assert copy_answers(a_session(), at=MINUTE - MILLISECOND)
    assert not copy_answers(a_session(), at=MINUTE)
    assert copy_answers(a_session(), at=MINUTE, passive=True)


@pytest.mark.parametrize("passive", [False, True])
def test_a_copy_does_not_answer_when_a_renewal_is_due(*, passive: bool) -> None:
    copy = seen(OPENED_AT + 15 * MINUTE)
    assert copy_answers(copy, at=15 * MINUTE - MILLISECOND, passive=passive)
    assert not copy_answers(copy, at=15 * MINUTE, passive=passive)


def test_a_copy_does_not_answer_for_what_has_expired() -> None:
    assert not copy_answers(a_session(), at=30 * MINUTE, passive=True)
    assert not copy_answers(seen(OPENED_AT + 12 * HOUR), at=12 * HOUR, passive=True)


def test_a_copy_does_not_answer_under_a_policy_that_is_gone() -> None:
    assert not copy_answers(a_session(policy="gone"))


@given(
    st.sampled_from([ID, SUCCESSOR, RETIRED, GUESS]),
    st.booleans(),
    st.booleans(),
    st.timedeltas(timedelta(0), 13 * HOUR),
    st.booleans(),
)
def test_where_a_copy_answers_the_record_itself_would_have_said_the_same(
    presented: SessionId, pending: bool, previous: bool, at: timedelta, passive: bool
) -> None:
    copy = a_session(
        pending=PENDING if pending else None, previous=RETIRED.digest if previous else None
    )
    if copy_answers(copy, presented, at, passive=passive):
        assert judge(copy, presented, at, passive=passive) == Accept(Standing.CURRENT)


# -- Rules 11 and 12: rotation -------------------------------------------------


def rotated_at(session: Session, at: timedelta, *methods: str) -> Session:
    return rotated(
        session,
        RETIRED,
        policy=POLICY,
        now=OPENED_AT + at,
        methods=methods,
        stamp=b"new-one!",
    )


def test_a_rotation_leaves_one_valid_id() -> None:
    session = a_session(pending=PENDING, previous=GUESS.digest)
    assert rotated_at(session, MINUTE) == replace(
        session,
        family=RETIRED.family_digest,
        current=RETIRED.digest,
        pending=None,
        previous=None,
        changed_at=OPENED_AT + MINUTE,
        last_seen_at=OPENED_AT + MINUTE,
        keep_until=OPENED_AT + MINUTE + POLICY.idle_timeout + COLLECTION_MARGIN,
        stamp=b"new-one!",
    )


def test_the_pages_other_requests_are_superseded_after_a_rotation() -> None:
    session = rotated_at(a_session(pending=PENDING), MINUTE)
    for presented in (ID, SUCCESSOR):
        denied = judge(session, presented, MINUTE + 2 * GRACE - MILLISECOND)
        assert denied == Deny(InactiveReason.SUPERSEDED)


def test_a_rotation_with_a_proof_counts_as_fresh() -> None:
    session = rotated_at(a_session(), HOUR, "hwk")
    assert session.authenticated_at == OPENED_AT + HOUR
    assert session.methods == ("pwd", "hwk")


def test_a_rotation_without_a_proof_does_not() -> None:
    session = rotated_at(a_session(), MINUTE)
    assert session.authenticated_at == OPENED_AT
    assert session.methods == ("pwd",)


def test_a_method_that_is_proven_again_is_recorded_once() -> None:
    assert rotated_at(a_session(), MINUTE, "otp", "pwd", "otp").methods == ("pwd", "otp")


def test_a_rotation_does_not_move_the_opening() -> None:
    assert rotated_at(a_session(), HOUR, "pwd").created_at == OPENED_AT


def test_a_rotation_by_a_slow_clock_does_not_move_being_seen_backwards() -> None:
    assert rotated_at(seen(OPENED_AT + HOUR), MINUTE).last_seen_at == OPENED_AT + HOUR


def test_a_rotation_may_bring_another_family() -> None:
    session = rotated(
        a_session(), GUESS, policy=POLICY, now=OPENED_AT, methods=(), stamp=b"new-one!"
    )
    assert was_issued(session, GUESS)
    assert not was_issued(session, ID)


def test_a_session_remembers_the_eight_methods_that_were_first_proven_last() -> None:
    full = a_session(methods=tuple("abcdefgh"))
    assert rotated_at(full, MINUTE, "i").methods == tuple("bcdefghi")
    assert rotated_at(full, MINUTE, *"ijklmnop").methods == tuple("ijklmnop")
    assert rotated_at(full, MINUTE).methods == full.methods


def test_a_method_that_is_proven_again_keeps_its_place_and_pushes_none_out() -> None:
    full = a_session(methods=tuple("abcdefgh"))
    assert rotated_at(full, MINUTE, "a", "c").methods == full.methods
    # Being proven again does not save the first one from the ninth.
    assert rotated_at(full, MINUTE, "a", "i").methods == tuple("bcdefghi")


@given(st.lists(st.lists(st.sampled_from("abcdefghijklmnop"), max_size=MOST_METHODS), max_size=6))
def test_no_session_ever_remembers_a_method_twice_or_a_ninth(occasions: list[list[str]]) -> None:
    session = a_session()
    for methods in occasions:
        session = rotated_at(session, MINUTE, *methods)
        assert len(set(session.methods)) == len(session.methods) <= MOST_METHODS


VISITOR = Subject.anonymous(bytes(16))


@pytest.mark.parametrize(
    ("standing", "methods", "hindrance"),
    [
        (Standing.CURRENT, (), None),
        (Standing.SUCCESSOR, (), None),
        (Standing.PREVIOUS, (), InactiveReason.SUPERSEDED),
        (Standing.CURRENT, ("pwd",), None),
        (Standing.SUCCESSOR, ("pwd",), None),
        (Standing.PREVIOUS, ("pwd",), None),
    ],
)
def test_an_id_in_its_grace_rotates_only_with_a_proof(
    standing: Standing, methods: tuple[str, ...], hindrance: InactiveReason | None
) -> None:
    assert decide_rotation(a_session(), Accept(standing), methods) is hindrance


@pytest.mark.parametrize("standing", Standing)
def test_nobody_proves_identity_in_an_anonymous_session(standing: Standing) -> None:
    hindrance = decide_rotation(a_session(subject=VISITOR), Accept(standing), ("pwd",))
    assert hindrance is InactiveReason.ANONYMOUS


def test_an_anonymous_session_rotates_without_a_proof_as_any_other() -> None:
    session = a_session(subject=VISITOR)
    assert decide_rotation(session, Accept(Standing.CURRENT), ()) is None
    hindrance = decide_rotation(session, Accept(Standing.PREVIOUS), ())
    assert hindrance is InactiveReason.SUPERSEDED


# -- Opening -------------------------------------------------------------------


def test_a_session_is_opened_with_all_instants_at_the_present() -> None:
    session = opened(
        ID,
        ALICE,
        policy=POLICY,
        now=OPENED_AT,
        methods=("pwd", "otp"),
        device=Device("192.0.2.007", "a\nb"),
        stamp=STAMP,
    )
    assert session == Session(
        locator=ID.locator,
        subject=ALICE,
        policy="default",
        methods=("pwd", "otp"),
        created_at=OPENED_AT,
        authenticated_at=OPENED_AT,
        changed_at=OPENED_AT,
        last_seen_at=OPENED_AT,
        keep_until=OPENED_AT + POLICY.idle_timeout + COLLECTION_MARGIN,
        family=ID.family_digest,
        current=ID.digest,
        pending=None,
        previous=None,
        device=Device(None, "ab"),
        stamp=STAMP,
    )


def test_an_anonymous_session_is_opened_without_a_proof() -> None:
    session = opened(
        ID,
        Subject.anonymous(bytes(16)),
        policy=POLICY,
        now=OPENED_AT,
        methods=(),
        device=Device(),
        stamp=STAMP,
    )
    assert session.authenticated_at is None
    assert session.is_anonymous


def test_a_session_that_is_taken_over_is_opened_without_a_proof() -> None:
    session = opened(
        ID,
        ALICE,
        policy=POLICY,
        now=OPENED_AT,
        methods=("migrated",),
        device=Device(),
        stamp=STAMP,
        fresh=False,
    )
    assert session.authenticated_at is None
    assert session.methods == ("migrated",)
    assert not session.is_anonymous


# -- Rules 13 and 14: admission ------------------------------------------------

NOW = OPENED_AT + HOUR
OTHER = replace(POLICY, name="other", session_limit=1)


def member(slot: int, **fields: Any) -> Session:
    """
    A live member of the roster in slot number *slot*.
    """
    locator = Locator(EPOCH, bytes((0, 0, 0, 0, 0, slot)))
    return a_session(**{"locator": locator, "last_seen_at": NOW, **fields})


def limited(limit: int, on_limit: OnLimit = OnLimit.EVICT_LEAST_RECENTLY_SEEN) -> Policy:
    return replace(POLICY, session_limit=limit, on_limit=on_limit)


def admission(
    policy: Policy,
    *sessions: Session,
    unreadable: tuple[Locator, ...] = (),
    replaced: bytes | None = None,
    abandoned: tuple[Locator, ...] = (),
) -> Admit | LimitReached:
    return decide_admission(
        Roster(tuple(sessions), b"version", unreadable),
        policy,
        Policies(policy, OTHER),
        NOW,
        replaced=replaced,
        abandoned=abandoned,
    )


def test_a_first_session_is_admitted() -> None:
    assert admission(limited(1)) == Admit((), (), ())


def test_the_last_session_within_the_limit_is_admitted_without_an_eviction() -> None:
    assert admission(limited(3), member(1), member(2)) == Admit((), (), ())


def test_the_first_session_over_the_limit_evicts_one() -> None:
    one, two = member(1, last_seen_at=NOW - SECOND), member(2)
    assert admission(limited(2), two, one) == Admit((), (), (one,))


def test_a_limit_that_was_lowered_evicts_as_many_as_it_takes() -> None:
    members = [member(slot, last_seen_at=NOW - slot * SECOND) for slot in range(1, 5)]
    decided = admission(limited(2), *members)
    assert decided == Admit((), (), (members[3], members[2], members[1]))


def test_the_one_seen_least_recently_goes() -> None:
    oldest = member(1, created_at=OPENED_AT - HOUR)
    unseen = member(2, last_seen_at=NOW - MILLISECOND)
    assert admission(limited(2), oldest, unseen) == Admit((), (), (unseen,))


def test_the_oldest_goes_if_the_policy_says_so() -> None:
    oldest = member(1, created_at=OPENED_AT - MILLISECOND)
    unseen = member(2, last_seen_at=NOW - MINUTE)
    decided = admission(limited(2, OnLimit.EVICT_OLDEST), unseen, oldest)
    assert decided == Admit((), (), (oldest,))


@pytest.mark.parametrize("on_limit", [OnLimit.EVICT_OLDEST, OnLimit.EVICT_LEAST_RECENTLY_SEEN])
def test_the_slot_breaks_a_tie_whatever_the_order(on_limit: OnLimit) -> None:
    one, two, three = member(1), member(2), member(3)
    for members in ([one, two, three], [three, two, one], [two, three, one]):
        assert admission(limited(3, on_limit), *members) == Admit((), (), (one,))


def test_a_full_roster_is_a_reached_limit_if_the_policy_rejects() -> None:
    decided = admission(limited(2, OnLimit.REJECT), member(1), member(2))
    assert decided == LimitReached(2)


def test_a_roster_with_room_is_no_reached_limit() -> None:
    assert admission(limited(2, OnLimit.REJECT), member(1)) == Admit((), (), ())


@pytest.mark.parametrize(
    "fields",
    [
        {"last_seen_at": NOW - POLICY.idle_timeout},
        {"created_at": NOW - POLICY.absolute_timeout},
        {"policy": "gone"},
    ],
)
def test_a_dead_session_goes_and_does_not_count(fields: dict[str, Any]) -> None:
    dead = member(1, **fields)
    decided = admission(limited(2, OnLimit.REJECT), dead, member(2))
    assert decided == Admit((dead.locator,), (), ())


def test_a_session_that_is_not_quite_dead_counts() -> None:
    dying = member(1, last_seen_at=NOW - POLICY.idle_timeout + MILLISECOND)
    assert admission(limited(1, OnLimit.REJECT), dying) == LimitReached(1)


def test_an_unreadable_session_goes_and_does_not_count() -> None:
    unreadable = (Locator(EPOCH, b"slot-9"),)
    decided = admission(limited(2, OnLimit.REJECT), member(1), unreadable=unreadable)
    assert decided == Admit(unreadable, (), ())


def test_what_an_earlier_try_left_goes_and_does_not_count() -> None:
    left = member(1)
    decided = admission(limited(1, OnLimit.REJECT), left, abandoned=(left.locator,))
    assert decided == Admit((left.locator,), (), ())


def test_what_an_earlier_try_may_have_left_is_evicted_only_if_it_is_there() -> None:
    decided = admission(limited(1), abandoned=(Locator(EPOCH, b"slot-1"),))
    assert decided == Admit((), (), ())


def test_the_session_that_the_browser_held_goes_and_does_not_count() -> None:
    held = member(1, family=b"the held")
    decided = admission(limited(2, OnLimit.REJECT), held, member(2), replaced=held.family)
    assert decided == Admit((), (held,), ())


def test_the_session_that_the_browser_held_goes_whatever_its_policy() -> None:
    held = member(1, policy="other")
    assert admission(limited(2), held, replaced=held.family) == Admit((), (held,), ())


def test_a_session_held_elsewhere_changes_nothing() -> None:
    decided = admission(limited(2), member(1), replaced=b"another.")
    assert decided == Admit((), (), ())


def test_sessions_under_another_policy_do_not_count() -> None:
    others = [member(slot, policy="other") for slot in (1, 2, 3)]
    assert admission(limited(1, OnLimit.REJECT), *others) == Admit((), (), ())
    assert admission(limited(1), *others) == Admit((), (), ())


def test_sessions_under_another_policy_are_not_evicted() -> None:
    other = member(1, policy="other", last_seen_at=NOW - MINUTE)
    mine = member(2)
    assert admission(limited(1), other, mine) == Admit((), (), (mine,))


def test_all_that_go_are_evicted_together() -> None:
    dead = member(1, policy="gone")
    held, crowded_out = member(2, family=b"the held"), member(3)
    unreadable = (Locator(EPOCH, b"slot-9"),)
    decided = admission(
        limited(1), dead, held, crowded_out, unreadable=unreadable, replaced=held.family
    )
    assert decided == Admit((unreadable[0], dead.locator), (held,), (crowded_out,))
    assert isinstance(decided, Admit)
    assert decided.evicted == (
        unreadable[0],
        dead.locator,
        held.locator,
        crowded_out.locator,
    )
    assert decided.ending == ((held, EndReason.REPLACED), (crowded_out, EndReason.EVICTED))


def test_what_is_dead_goes_without_a_reason() -> None:
    decided = Admit((member(1).locator,), (), ())
    assert decided.ending == ()
    assert decided.evicted == (member(1).locator,)


def test_what_was_to_end_and_is_missing_has_ended() -> None:
    gone, there, other = member(1), member(2), member(3)
    ending = ((gone, EndReason.REPLACED), (there, EndReason.EVICTED))
    roster = Roster((other, there), b"")
    assert missing_from(roster, ending) == ((gone, EndReason.REPLACED),)
    assert missing_from(Roster((), b""), ending) == ending
    assert missing_from(Roster((), b""), ()) == ()


def test_what_was_to_end_and_was_written_since_has_not_ended() -> None:
    before = member(1)
    roster = Roster((replace(before, stamp=b"new-one!"),), b"")
    assert missing_from(roster, ((before, EndReason.EVICTED),)) == ()


@pytest.mark.parametrize(
    "decision", [Accept(Standing.CURRENT), Deny(InactiveReason.IDLE), Admit((), (), ())]
)
def test_a_decision_cannot_be_changed(decision: object) -> None:
    changeable: Any = decision
    assert not hasattr(decision, "__dict__")
    for name in changeable.__slots__:
        with pytest.raises(FrozenInstanceError):
            setattr(changeable, name, None)


# -- Looking at a roster -------------------------------------------------------


def test_live_sessions_are_listed_with_the_one_seen_last_first() -> None:
    early, late = member(1, last_seen_at=NOW - MINUTE), member(2)
    roster = Roster((early, late), b"")
    assert live_sessions(roster, POLICIES, NOW) == (late, early)


def test_sessions_seen_at_once_are_listed_in_one_order() -> None:
    one, two = member(1), member(2)
    assert live_sessions(Roster((one, two), b""), POLICIES, NOW) == (two, one)
    assert live_sessions(Roster((two, one), b""), POLICIES, NOW) == (two, one)


def test_dead_and_unreadable_sessions_are_not_listed() -> None:
    idle = member(1, last_seen_at=NOW - POLICY.idle_timeout)
    orphaned = member(2, policy="gone")
    roster = Roster((idle, orphaned), b"", (Locator(EPOCH, b"slot-9"),))
    assert live_sessions(roster, POLICIES, NOW) == ()


def test_a_session_is_found_by_its_handle() -> None:
    one, two = member(1), member(2)
    found = session_with_handle(Roster((one, two), b""), two.handle)
    assert found == (two.locator, two.family)


def test_an_unreadable_session_is_found_by_its_handle() -> None:
    other, locator = Locator(EPOCH, b"slot-8"), Locator(EPOCH, b"slot-9")
    roster = Roster((member(1),), b"", (other, locator))
    assert session_with_handle(roster, locator.handle) == (locator, None)


def test_a_session_is_found_by_its_family_wherever_it_was_moved() -> None:
    other = member(1, family=GUESS.family_digest)
    moved = member(2)
    assert session_of_family(Roster((other, moved), b""), moved.family) == moved.locator


def test_no_session_is_found_by_another_family() -> None:
    roster = Roster((member(1), member(2)), b"", (GUESS.locator,))
    assert session_of_family(roster, GUESS.family_digest) is None
    assert session_of_family(Roster((), b""), ID.family_digest) is None


@pytest.mark.parametrize("handle", ["", "0" * 32, member(3).handle, member(1).handle[:31]])
def test_no_session_is_found_by_any_other_handle(handle: str) -> None:
    assert session_with_handle(Roster((member(1),), b""), handle) is None
