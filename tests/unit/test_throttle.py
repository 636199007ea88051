"""
The default throttle: counted first, verified later, and never without bounds.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from threading import Barrier
from typing import Any

import pytest
from fakes import DAY, HOUR, MILLISECOND, SECOND, expect
from hypothesis import given
from hypothesis import strategies as st

from sessioncore import (
    AsyncInProcessLoginThrottle,
    GuessLimit,
    InProcessLoginThrottle,
    Throttled,
)
from sessioncore.ports import Reservation, ThrottleKey, ThrottleScope
from sessioncore.testing import ManualClock
from sessioncore.throttle import source_key

ALICE = ThrottleKey(ThrottleScope.ACCOUNT, "alice")
BOB = ThrottleKey(ThrottleScope.ACCOUNT, "bob")
NOW = ManualClock().now()

TIGHT = GuessLimit(
    free=3,
    first_delay=SECOND,
    longest_delay=4 * SECOND,
    cap=8,
    closed_for=HOUR,
    forget_after=2 * HOUR,
)


def reserved(
    throttle: InProcessLoginThrottle, at: datetime = NOW, key: ThrottleKey = ALICE
) -> Reservation:
    return expect(Reservation, throttle.reserve(key, at))


def wait_for(
    throttle: InProcessLoginThrottle, at: datetime = NOW, key: ThrottleKey = ALICE
) -> timedelta:
    return expect(Throttled, throttle.reserve(key, at)).retry_after


def used_up(limit: GuessLimit = TIGHT) -> InProcessLoginThrottle:
    """
    A throttle under which alice has no free attempt left.
    """
    throttle = InProcessLoginThrottle(account=limit)
    for _ in range(limit.free):
        reserved(throttle)
    return throttle


# -- Limits --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "delay"),
    [
        (0, 0 * SECOND),
        (1, 0 * SECOND),
        (2, 0 * SECOND),
        (3, SECOND),
        (4, 2 * SECOND),
        (5, 4 * SECOND),
        (6, 4 * SECOND),
        (7, 4 * SECOND),
        (8, HOUR),
        (9, HOUR),
        (10**6, HOUR),
    ],
)
def test_each_attempt_waits_twice_as_long_up_to_a_ceiling_and_a_cap(
    count: int, delay: timedelta
) -> None:
    assert TIGHT.delay_after(count) == delay


def test_the_default_delays_are_these() -> None:
    limit = GuessLimit()
    delays = [limit.delay_after(count) for count in (4, 5, 6, 14, 15, 99, 100)]
    seconds = [0, 1, 2, 512, 900, 900, 86_400]
    assert delays == [second * SECOND for second in seconds]


@given(st.integers(0, 10**9))
def test_a_delay_is_never_shorter_than_the_one_before(count: int) -> None:
    limit = GuessLimit(cap=10**9)
    assert timedelta(0) <= limit.delay_after(count) <= limit.delay_after(count + 1) <= DAY


@pytest.mark.parametrize(
    "fields",
    [
        {"free": 1, "cap": 1},
        {"free": 8},
        {"first_delay": timedelta(microseconds=1)},
        {"first_delay": 4 * SECOND},
        {"longest_delay": HOUR},
        {"closed_for": 4 * SECOND},
        {"forget_after": HOUR + MILLISECOND},
    ],
)
def test_figures_at_the_edge_are_accepted(fields: dict[str, Any]) -> None:
    assert replace(TIGHT, **fields) != TIGHT


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"free": 0}, "free: from 1 to cap"),
        ({"free": 9}, "free: from 1 to cap"),
        ({"cap": 2}, "free: from 1 to cap"),
        ({"first_delay": timedelta(0)}, "delays: positive"),
        ({"first_delay": 4 * SECOND + MILLISECOND}, "delays: positive"),
        ({"longest_delay": HOUR + MILLISECOND}, "delays: positive"),
        ({"longest_delay": HOUR, "closed_for": HOUR - MILLISECOND}, "delays: positive"),
        ({"forget_after": HOUR}, "forget_after: more than closed_for"),
        ({"closed_for": 2 * HOUR}, "forget_after: more than closed_for"),
    ],
)
def test_figures_beyond_the_edge_are_refused(fields: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        replace(TIGHT, **fields)


def test_a_table_has_room_for_somebody() -> None:
    with pytest.raises(ValueError, match="entries: at least 1"):
        InProcessLoginThrottle(entries=0)


# -- Reserving -----------------------------------------------------------------


def test_the_free_attempts_need_no_waiting() -> None:
    throttle = InProcessLoginThrottle(account=TIGHT)
    assert [reserved(throttle) for _ in range(3)] == [Reservation(ALICE, NOW)] * 3


def test_an_attempt_after_the_free_ones_waits() -> None:
    assert wait_for(used_up()) == SECOND


def test_the_answer_says_how_long_is_left_to_wait() -> None:
    assert wait_for(used_up(), NOW + 300 * MILLISECOND) == 700 * MILLISECOND


def test_waiting_is_over_after_the_delay_and_not_before() -> None:
    throttle = used_up()
    assert wait_for(throttle, NOW + SECOND - MILLISECOND) == MILLISECOND
    assert reserved(throttle, NOW + SECOND).at == NOW + SECOND


def test_an_attempt_that_was_turned_away_is_not_counted() -> None:
    throttle = used_up()
    for _ in range(50):
        wait_for(throttle)
    reserved(throttle, NOW + SECOND)
    assert wait_for(throttle, NOW + SECOND) == 2 * SECOND


def test_who_waits_as_told_is_let_through_once_each_time_until_the_cap() -> None:
    throttle = used_up()
    at, waits = NOW, list[timedelta]()
    for _ in range(5):
        waits.append(wait_for(throttle, at))
        at += waits[-1]
        reserved(throttle, at)
    assert waits == [SECOND, 2 * SECOND, 4 * SECOND, 4 * SECOND, 4 * SECOND]
    assert wait_for(throttle, at) == HOUR


def test_beyond_the_cap_there_is_one_attempt_in_each_closing() -> None:
    throttle, at = InProcessLoginThrottle(account=TIGHT), NOW
    for count in range(8):
        at += TIGHT.delay_after(count)
        reserved(throttle, at)
    for _ in range(3):
        assert wait_for(throttle, at) == HOUR
        at += HOUR
        reserved(throttle, at)


def test_by_default_too_there_is_one_attempt_in_each_closing_beyond_the_cap() -> None:
    limit, throttle, at = GuessLimit(), InProcessLoginThrottle(), NOW
    for count in range(limit.cap):
        at += limit.delay_after(count)
        reserved(throttle, at)
    at += wait_for(throttle, at)
    reserved(throttle, at)
    assert wait_for(throttle, at) == limit.closed_for


def test_by_default_a_key_is_remembered_for_a_week() -> None:
    throttle = InProcessLoginThrottle()
    for _ in range(5):
        reserved(throttle)
    last = NOW + 7 * DAY - MILLISECOND
    reserved(throttle, last)
    assert wait_for(throttle, last) == 2 * SECOND
    for _ in range(5):
        reserved(throttle, last + 7 * DAY)


def test_a_key_that_was_left_alone_starts_anew() -> None:
    throttle = used_up()
    reserved(throttle, NOW + SECOND)
    later = NOW + SECOND + TIGHT.forget_after
    for _ in range(3):
        reserved(throttle, later)
    assert wait_for(throttle, later) == SECOND


def test_a_key_is_remembered_until_then() -> None:
    throttle = used_up()
    later = NOW + TIGHT.forget_after - MILLISECOND
    reserved(throttle, later)
    assert wait_for(throttle, later) == 2 * SECOND


def test_keys_are_counted_apart() -> None:
    throttle = used_up()
    assert reserved(throttle, key=BOB) == Reservation(BOB, NOW)


def test_scopes_are_counted_apart() -> None:
    throttle = used_up()
    for scope in (ThrottleScope.NAME, ThrottleScope.SOURCE):
        assert reserved(throttle, key=ThrottleKey(scope, "alice")).key.scope is scope


@pytest.mark.parametrize(
    ("scope", "free"),
    [(ThrottleScope.ACCOUNT, 3), (ThrottleScope.NAME, 3), (ThrottleScope.SOURCE, 7)],
)
def test_a_name_that_nobody_has_is_limited_like_an_account(scope: ThrottleScope, free: int) -> None:
    throttle = InProcessLoginThrottle(account=TIGHT, source=replace(TIGHT, free=7))
    key = ThrottleKey(scope, "x")
    for _ in range(free):
        reserved(throttle, key=key)
    assert wait_for(throttle, key=key) == SECOND


def test_by_default_a_source_has_more_free_attempts_than_an_account() -> None:
    throttle = InProcessLoginThrottle()
    counts: list[int] = []
    for scope in (ThrottleScope.ACCOUNT, ThrottleScope.NAME, ThrottleScope.SOURCE):
        answers = [throttle.reserve(ThrottleKey(scope, "x"), NOW) for _ in range(60)]
        counts.append(sum(isinstance(answer, Reservation) for answer in answers))
    assert counts == [5, 5, 50]


def test_a_free_attempt_needs_no_waiting_though_its_instant_is_older() -> None:
    # Two threads read the clock in one order and take the lock in the other.
    throttle = InProcessLoginThrottle(account=TIGHT)
    reserved(throttle, NOW + MILLISECOND)
    assert reserved(throttle, NOW) == Reservation(ALICE, NOW)


def test_an_older_instant_shortens_nobodys_wait() -> None:
    throttle = InProcessLoginThrottle(account=TIGHT)
    for at in (NOW, NOW, NOW + SECOND):
        reserved(throttle, at)
    throttle.reserve(ALICE, NOW)
    assert wait_for(throttle, NOW + SECOND) == SECOND


# -- Giving back and resetting -------------------------------------------------


def test_an_attempt_that_was_given_back_is_not_counted() -> None:
    throttle = InProcessLoginThrottle(account=TIGHT)
    throttle.give_back(reserved(throttle))
    for _ in range(3):
        reserved(throttle)
    assert wait_for(throttle) == SECOND


def test_giving_one_back_leaves_the_others_counted() -> None:
    throttle = InProcessLoginThrottle(account=TIGHT)
    reserved(throttle)
    throttle.give_back(reserved(throttle))
    reserved(throttle)
    reserved(throttle)
    assert wait_for(throttle) == SECOND


def test_who_waited_and_was_given_back_need_not_wait_again() -> None:
    throttle = used_up()
    throttle.give_back(reserved(throttle, NOW + SECOND))
    assert reserved(throttle, NOW + SECOND).at == NOW + SECOND


def test_giving_an_earlier_attempt_back_shortens_nobodys_wait() -> None:
    throttle = used_up()
    earlier = reserved(throttle, NOW + SECOND)
    reserved(throttle, NOW + 3 * SECOND)
    throttle.give_back(earlier)
    assert wait_for(throttle, NOW + 3 * SECOND) == 2 * SECOND


def test_giving_back_what_was_forgotten_is_a_no_op() -> None:
    throttle = InProcessLoginThrottle(account=TIGHT)
    reservation = reserved(throttle)
    throttle.reset(reservation)
    throttle.give_back(reservation)
    for _ in range(3):
        reserved(throttle)
    assert wait_for(throttle) == SECOND


def test_a_success_forgets_all_attempts() -> None:
    throttle = InProcessLoginThrottle(account=TIGHT)
    reserved(throttle)
    reserved(throttle)
    throttle.reset(reserved(throttle))
    for _ in range(3):
        reserved(throttle)


def test_a_success_forgets_nobody_elses_attempts() -> None:
    throttle = used_up()
    throttle.reset(reserved(throttle, key=BOB))
    assert wait_for(throttle) == SECOND


def test_resetting_twice_is_a_no_op() -> None:
    throttle = InProcessLoginThrottle()
    reservation = reserved(throttle)
    throttle.reset(reservation)
    throttle.reset(reservation)
    assert reserved(throttle) == reservation


# -- Bounds --------------------------------------------------------------------


def name(number: int) -> ThrottleKey:
    return ThrottleKey(ThrottleScope.NAME, str(number))


def kept(throttle: InProcessLoginThrottle) -> dict[ThrottleScope, int]:
    return {scope: len(tallies) for scope, tallies in throttle._tallies.items()}


def test_a_table_never_grows_beyond_its_bound() -> None:
    throttle = InProcessLoginThrottle(entries=10)
    for number in range(1000):
        reserved(throttle, key=name(number))
    assert kept(throttle)[ThrottleScope.NAME] == 10


def test_a_full_table_forgets_what_was_left_alone_longest() -> None:
    throttle = InProcessLoginThrottle(account=TIGHT, entries=2)
    for number in (1, 2, 1, 1, 3):
        reserved(throttle, key=name(number))
    assert wait_for(throttle, key=name(1)) == SECOND
    for _ in range(3):
        reserved(throttle, key=name(2))


def test_inventing_names_pushes_no_account_out() -> None:
    throttle = InProcessLoginThrottle(account=TIGHT, entries=3)
    for _ in range(3):
        reserved(throttle)
    for number in range(1000):
        reserved(throttle, key=name(number))
    assert wait_for(throttle) == SECOND


def test_what_was_given_back_or_reset_takes_no_room() -> None:
    throttle = InProcessLoginThrottle()
    throttle.give_back(reserved(throttle))
    throttle.reset(reserved(throttle, key=BOB))
    assert set(kept(throttle).values()) == {0}


# -- Threads -------------------------------------------------------------------


@pytest.mark.parametrize("round_number", range(5))
def test_parallel_guesses_never_exceed_the_free_attempts(round_number: int) -> None:
    throttle = InProcessLoginThrottle(account=TIGHT)
    at = NOW + round_number * SECOND
    together = Barrier(8)

    def guess(_number: int) -> list[Reservation | Throttled]:
        together.wait(timeout=30)
        return [throttle.reserve(ALICE, at) for _ in range(20)]

    with ThreadPoolExecutor(8) as pool:
        answers = [answer for part in pool.map(guess, range(8)) for answer in part]
    assert sum(isinstance(answer, Reservation) for answer in answers) == TIGHT.free


def test_parallel_reservations_that_are_given_back_leave_nothing() -> None:
    throttle = InProcessLoginThrottle(account=TIGHT)

    def attempt(_number: int) -> None:
        for _ in range(100):
            answer = throttle.reserve(ALICE, NOW)
            if isinstance(answer, Reservation):
                throttle.give_back(answer)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(attempt, range(8)))
    assert set(kept(throttle).values()) == {0}


# -- The asynchronous twin -----------------------------------------------------


def test_the_asynchronous_twin_counts_alike() -> None:
    async def scenario() -> None:
        throttle = AsyncInProcessLoginThrottle(InProcessLoginThrottle(account=TIGHT))
        reservations = [await throttle.reserve(ALICE, NOW) for _ in range(4)]
        assert reservations == [Reservation(ALICE, NOW)] * 3 + [Throttled(SECOND)]
        await throttle.give_back(Reservation(ALICE, NOW))
        assert await throttle.reserve(ALICE, NOW) == Reservation(ALICE, NOW)
        await throttle.reset(Reservation(ALICE, NOW))
        for _ in range(3):
            assert await throttle.reserve(ALICE, NOW) == Reservation(ALICE, NOW)

    asyncio.run(scenario())


def test_the_asynchronous_twin_has_counts_of_its_own_by_default() -> None:
    async def scenario() -> None:
        one, other = AsyncInProcessLoginThrottle(), AsyncInProcessLoginThrottle()
        for _ in range(5):
            await one.reserve(ALICE, NOW)
        assert await one.reserve(ALICE, NOW) == Throttled(SECOND)
        assert await other.reserve(ALICE, NOW) == Reservation(ALICE, NOW)

    asyncio.run(scenario())


# -- Sources -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("192.0.2.7", "192.0.2.7"),
        (" 192.0.2.7 ", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("::FFFF:C000:0207", "192.0.2.7"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:DB8:0:0:ffff:ffff:ffff:ffff", "2001:db8::/64"),
        ("2001:db8:0:1::1", "2001:db8:0:1::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("fe80::2%eth1", "fe80::/64"),
        ("proxy-7", "proxy-7"),
        ("192.0.2.007", "192.0.2.007"),
        ("", ""),
        ("x" * 65, "x" * 64),
    ],
)
def test_a_source_counts_by_its_canonical_spelling(source: str, value: str) -> None:
    assert source_key(source) == ThrottleKey(ThrottleScope.SOURCE, value)


@given(st.ip_addresses(v=6), st.sampled_from([str.upper, str.lower]))
def test_all_spellings_of_an_address_are_one_source(
    address: Any, spell: Callable[[str], str]
) -> None:
    assert source_key(spell(address.exploded)) == source_key(address.compressed)


@given(st.text())
def test_any_text_is_a_source_of_bounded_length(source: str) -> None:
    assert len(source_key(source).value) <= 64
