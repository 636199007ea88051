"""
Each checker finds what breaks its promise, and nothing else: histories made by hand.

The planted bugs show the same on real ones (test_planted_bugs.py).
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from faults.history import SECOND, Fault, History, Operation, Verdict
from faults.promises import (
    CHECKERS,
    broken,
    copies,
    deaths,
    everywhere,
    guesses,
    limit,
    outages,
    outcomes,
    resurrection,
    revocation,
    successors,
    timeouts,
)
from faults.promises import data as data_promise
from faults.synthetic import (
    FIRST,
    MOVED,
    SECOND_ID,
    an_id,
    copied,
    data,
    done,
    gone,
    history,
    login,
    seen,
)


def breaks(promise: str, found: History) -> bool:
    return any(CHECKERS[promise](found))


def keeps_all(found: History) -> bool:
    return not broken(found)


# -- Dead stays dead -------------------------------------------------------------------


def test_a_session_that_comes_back_is_found() -> None:
    assert breaks(resurrection.PROMISE, history(login(0, 1), gone(2, 3), seen(4, 5)))


def test_what_was_seen_meanwhile_is_no_resurrection() -> None:
    assert not breaks(resurrection.PROMISE, history(login(0, 1), gone(2, 4), seen(3, 5)))


def test_equal_instants_count_as_concurrent() -> None:
    assert not breaks(resurrection.PROMISE, history(login(0, 1), gone(2, 3), seen(3, 4)))


def test_a_session_that_moved_is_not_one_that_came_back() -> None:
    kept = done("logout_everywhere", 2, 3, given={"user": "alice", "id": FIRST}, kept=MOVED)
    assert keeps_all(history(login(0, 1), kept, gone(4, 5), seen(6, 7, MOVED)))


def test_an_end_that_was_told_is_known() -> None:
    evicting = login(2, 3, an_id(1, "other"), events=[("ended", FIRST.place, "evicted")])
    assert breaks(resurrection.PROMISE, history(login(0, 1), evicting, seen(4, 5)))


def test_an_idle_session_that_lives_again_is_found() -> None:
    idle = gone(12, 13, reason="idle")
    assert breaks(resurrection.PROMISE, history(login(0, 1), idle, seen(14, 15)))


def test_a_sign_of_life_in_flight_may_wake_it() -> None:
    idle = gone(12, 13, reason="idle")
    slow = seen(9, 13.5)
    assert not breaks(resurrection.PROMISE, history(login(0, 1), slow, idle, seen(14, 15)))


def test_a_clock_that_is_behind_may_see_it_alive() -> None:
    idle = seen(8, 9, reason="idle", worker="fast.0")
    assert not breaks(resurrection.PROMISE, history(login(0, 1), idle, seen(9.5, 9.6)))


# -- Revocation is final ----------------------------------------------------------------


def test_a_session_seen_after_its_logout_is_found() -> None:
    signed_out = done("logout", 2, 3, given={"id": FIRST}, ended=True)
    assert breaks(revocation.PROMISE, history(login(0, 1), signed_out, seen(4, 5)))


def test_so_is_one_that_moved_meanwhile() -> None:
    signed_out = done("logout", 2, 4, given={"id": FIRST}, ended=True)
    kept = done("logout_everywhere", 2, 5, given={"user": "alice", "id": FIRST}, kept=MOVED)
    found = history(login(0, 1), signed_out, kept, seen(6, 7, MOVED))
    assert breaks(revocation.PROMISE, found)


def test_who_found_nothing_to_end_did_not_end_what_had_moved() -> None:
    kept = done("logout_everywhere", 2, 3, given={"user": "alice", "id": FIRST}, kept=MOVED)
    signed_out = done("logout", 4, 5, given={"id": FIRST}, ended=False)
    assert keeps_all(history(login(0, 1), kept, signed_out, seen(6, 7, MOVED)))


def test_a_logout_of_unknown_fate_promises_nothing() -> None:
    unknown = done("logout", 2, 3, Verdict.UNKNOWN, given={"id": FIRST})
    assert keeps_all(history(login(0, 1), unknown, seen(4, 5)))


def test_a_session_seen_after_its_revocation_is_found() -> None:
    given = {"user": "alice", "place": FIRST.place}
    revoked = done("revoke", 2, 3, given=given, ended=True)
    assert breaks(revocation.PROMISE, history(login(0, 1), revoked, seen(4, 5, SECOND_ID)))


# -- Sign out everywhere is final ---------------------------------------------------------


def test_a_session_that_survives_is_found() -> None:
    ended = done("logout_everywhere", 2, 3, given={"user": "alice"}, kept=None)
    assert breaks(everywhere.PROMISE, history(login(0, 1), ended, seen(4, 5)))


def test_so_is_a_sign_in_whose_hash_was_read_before() -> None:
    ended = done("logout_everywhere", 2, 3, given={"user": "alice"}, kept=None)
    slow = login(0, 4, read=1 * SECOND)
    assert breaks(everywhere.PROMISE, history(slow, ended, seen(5, 6)))


def test_a_sign_in_that_read_the_hash_again_survives() -> None:
    ended = done("logout_everywhere", 2, 3, given={"user": "alice"}, kept=None)
    slow = login(0, 4, read=round(2.5 * SECOND))
    assert keeps_all(history(slow, ended, seen(5, 6)))


def test_an_attempt_begun_before_is_found() -> None:
    begun = done("begin", 0, 1, given={"user": "alice"}, attempt="a")
    ended = done("logout_everywhere", 2, 3, given={"user": "alice"}, kept=None)
    given = {"user": "alice", "attempt": "a", "policy": "default"}
    established = done("establish", 4, 5, given=given, id=FIRST, user="alice", policy="default")
    assert breaks(everywhere.PROMISE, history(begun, ended, established, seen(6, 7)))


def test_the_session_that_was_kept_survives_and_no_other() -> None:
    kept = done("logout_everywhere", 2, 3, given={"user": "alice", "id": FIRST}, kept=MOVED)
    other = an_id(1, "other")
    survivor = history(login(0, 1), login(0, 1, other), kept, seen(4, 5, MOVED))
    assert keeps_all(survivor)
    assert breaks(everywhere.PROMISE, history(*survivor.operations, seen(4, 5, other)))


def test_the_place_it_was_at_is_empty() -> None:
    kept = done("logout_everywhere", 2, 3, given={"user": "alice", "id": FIRST}, kept=MOVED)
    assert breaks(everywhere.PROMISE, history(login(0, 1), kept, seen(4, 5)))


def changed_password(call: float, back: float) -> History:
    given = {"id": MOVED, "user": "alice", "password": "p0", "new": "p1"}
    return history(done("change_password", call, back, given=given, kept=None))


def test_an_old_password_that_opens_is_found() -> None:
    changed = changed_password(2, 3)
    assert breaks(everywhere.PROMISE, history(*changed.operations, login(4, 5)))


def test_a_sign_in_with_it_that_was_in_flight_is_found() -> None:
    changed = changed_password(2, 3)
    slow = login(1, 4, read=round(2.5 * SECOND))
    assert breaks(everywhere.PROMISE, history(*changed.operations, slow, seen(5, 6)))


# -- One successor ---------------------------------------------------------------------


def test_two_successors_are_found() -> None:
    renewals = [seen(2, 3, renewed=an_id(number)) for number in (2, 3)]
    assert breaks(successors.PROMISE, history(login(0, 1), *renewals))


def test_one_successor_answered_twice_is_fine() -> None:
    renewals = [seen(2, 3, renewed=SECOND_ID) for _ in range(2)]
    assert keeps_all(history(login(0, 1), *renewals))


def test_two_rotations_of_one_id_are_found() -> None:
    rotations = [done("rotate", 2, 3, given={"id": FIRST}, id=an_id(n)) for n in (2, 3)]
    assert breaks(successors.PROMISE, history(login(0, 1), *rotations))


def test_an_id_accepted_after_its_grace_is_found() -> None:
    # Grace is two seconds, and another client's clock may be five ahead.
    operations = [login(0, 1), seen(1, 2, renewed=SECOND_ID), seen(3, 4, SECOND_ID)]
    assert keeps_all(history(*operations, seen(10, 10.5)))
    assert breaks(successors.PROMISE, history(*operations, seen(11.5, 12)))


def test_the_id_before_a_rotation_is_found() -> None:
    rotation = done("rotate", 2, 3, given={"id": FIRST}, id=SECOND_ID)
    assert breaks(successors.PROMISE, history(login(0, 1), rotation, seen(4, 5)))


def test_a_successor_drawn_before_a_rotation_is_found() -> None:
    renewal = seen(1.5, 3.5, renewed=SECOND_ID)
    rotation = done("rotate", 2, 3, given={"id": FIRST}, id=an_id(9))
    found = history(login(0, 1), renewal, rotation, seen(4, 5, SECOND_ID))
    assert breaks(successors.PROMISE, found)


# -- The session limit -----------------------------------------------------------------


def test_more_sessions_than_allowed_are_found() -> None:
    ids = [an_id(1, f"life {number}") for number in range(3)]
    logins = [login(0, 1, each) for each in ids]
    sights = [seen(2, 3, each) for each in ids]
    assert breaks(limit.PROMISE, history(*logins, *sights))


def test_sessions_that_were_never_there_together_are_not() -> None:
    ids = [an_id(1, f"life {number}") for number in range(3)]
    logins = [login(number, number + 1, each) for number, each in enumerate(ids)]
    sights = [seen(number + 1.1, number + 1.2, each) for number, each in enumerate(ids)]
    assert not breaks(limit.PROMISE, history(*logins, *sights))


def test_a_list_that_is_too_long_is_found() -> None:
    places = [(f"place {number}", f"life {number}", "default") for number in range(3)]
    listed = done("sessions_of", 2, 3, given={"user": "alice"}, places=places)
    assert breaks(limit.PROMISE, history(listed))


# -- Timeouts --------------------------------------------------------------------------


def test_an_idle_session_that_is_accepted_is_found() -> None:
    assert breaks(timeouts.PROMISE, history(login(0, 1), seen(12, 13)))


def test_any_sign_of_life_in_time_keeps_it() -> None:
    assert keeps_all(history(login(0, 1), seen(6, 7), seen(12, 13)))


def test_a_look_that_is_none_does_not() -> None:
    given = {"id": FIRST, "passive": True}
    looked = done("authenticate", 6, 7, given=given)
    assert breaks(timeouts.PROMISE, history(login(0, 1), looked, seen(12, 13)))


def test_by_a_clock_that_is_ahead_it_is_over_sooner() -> None:
    ahead = seen(7, 8, worker="fast.0")
    assert breaks(timeouts.PROMISE, history(login(0, 1), ahead))


def test_a_session_that_is_too_old_is_found() -> None:
    sights = [seen(at, at + 1) for at in range(5, 70, 5)]
    assert breaks(timeouts.PROMISE, history(login(0, 1), *sights))
    assert not breaks(timeouts.PROMISE, history(login(0, 1), *sights[:11]))


# -- Session data ------------------------------------------------------------------------


def test_a_lost_update_is_found() -> None:
    twice = [data("increment", 2, 3, 1), data("increment", 2, 3, 1)]
    assert breaks(data_promise.PROMISE, history(*twice))


def test_an_increment_that_counts_twice_is_found() -> None:
    found = history(data("increment", 2, 3, 1), data("read_data", 4, 5, values={"count": 2}))
    assert breaks(data_promise.PROMISE, found)


def test_one_of_unknown_fate_may_count_or_not() -> None:
    unknown = data("increment", 2, 3, verdict=Verdict.UNKNOWN)
    for number in (0, 1):
        read = data("read_data", 4, 5, values={"count": number})
        assert not breaks(data_promise.PROMISE, history(unknown, read))


def test_one_that_is_said_not_to_have_happened_must_not() -> None:
    unavailable = data("increment", 2, 3, verdict=Verdict.UNAVAILABLE)
    read = data("read_data", 4, 5, values={"count": 1})
    assert breaks(data_promise.PROMISE, history(unavailable, read))


def test_an_overwritten_value_is_found() -> None:
    puts = [
        data("change_data", at, at + 1, given={"key": "note", "value": value})
        for at, value in ((2, "a"), (4, "b"))
    ]
    stale = data("read_data", 6, 7, values={"note": "a"})
    assert breaks(data_promise.PROMISE, history(*puts, stale))
    fresh = data("read_data", 6, 7, values={"note": "b"})
    assert not breaks(data_promise.PROMISE, history(*puts, fresh))


def test_a_value_of_unknown_fate_may_have_been_put_later() -> None:
    first = data(
        "change_data", 2, 3, None, verdict=Verdict.UNKNOWN, given={"key": "note", "value": "a"}
    )
    second = data("change_data", 4, 5, given={"key": "note", "value": "b"})
    read = data("read_data", 6, 7, values={"note": "a"})
    assert not breaks(data_promise.PROMISE, history(first, second, read))


def test_a_slip_that_is_taken_twice_is_found() -> None:
    slip = data("change_data", 2, 3, given={"key": "slip", "value": "s"})
    takes = [data("take_data", 4, 5, "s"), data("take_data", 4, 5, "s")]
    assert breaks(data_promise.PROMISE, history(slip, *takes))
    assert not breaks(data_promise.PROMISE, history(slip, takes[0]))


def test_a_slip_whose_putting_was_refused_is_found() -> None:
    slip = data("change_data", 2, 3, given={"key": "slip", "value": "s"}, reason="gone")
    assert breaks(data_promise.PROMISE, history(slip, data("take_data", 4, 5, "s")))


def test_an_entry_that_is_missing_in_the_log_is_found() -> None:
    append = data("update_data", 2, 3, ["a"], given={"value": "a"})
    assert breaks(data_promise.PROMISE, history(append, data("read_data", 4, 5, values={})))


def test_a_log_that_was_rewritten_is_found() -> None:
    appends = [
        data("update_data", 2, 4, ["a"], given={"value": "a"}),
        data("update_data", 2, 4, ["b"], given={"value": "b"}),
    ]
    assert breaks(data_promise.PROMISE, history(*appends))


# -- What is reported ----------------------------------------------------------------------


def test_an_unexpected_exception_is_found() -> None:
    crashed = seen(2, 3, verdict=Verdict.CRASHED, reason="RuntimeError")
    assert breaks(outcomes.PROMISE, history(login(0, 1), crashed))


def test_an_outage_that_leaves_doubt_is_found() -> None:
    doubtful = login(0, 1, None, verdict=Verdict.UNAVAILABLE, lost=["admit"])
    assert breaks(outcomes.PROMISE, history(doubtful))


def test_a_right_password_that_is_refused_is_found() -> None:
    assert breaks(outcomes.PROMISE, history(login(0, 1, None, reason="refused")))


def test_unless_it_may_have_been_changed() -> None:
    given = {"id": FIRST, "user": "alice", "password": "p0", "new": "p1"}
    maybe = done("change_password", 0, 1, Verdict.UNKNOWN, given=given)
    assert not breaks(outcomes.PROMISE, history(maybe, login(2, 3, None, reason="refused")))


def test_a_password_that_opens_though_changing_to_it_failed_is_found() -> None:
    given = {"id": FIRST, "user": "alice", "password": "p0", "new": "p1"}
    failed = done("change_password", 0, 1, Verdict.UNAVAILABLE, given=given)
    opened = login(2, 3, given={"password": "p1"})
    assert breaks(outcomes.PROMISE, history(failed, opened))


def test_a_session_that_nobody_was_given_is_found() -> None:
    places = [("nowhere", "stranger", "default")]
    listed = done("sessions_of", 4, 5, given={"user": "alice"}, places=places)
    refused = login(0, 1, None, reason="throttled")
    assert breaks(outcomes.PROMISE, history(refused, listed))
    unknown = login(0, 1, None, verdict=Verdict.UNKNOWN, lost=["admit"])
    assert not breaks(outcomes.PROMISE, history(unknown, listed))


# -- No death without a cause ---------------------------------------------------------------


def test_a_session_that_is_lost_is_found() -> None:
    assert breaks(deaths.PROMISE, history(login(0, 1), gone(2, 3)))


@pytest.mark.parametrize(
    "cause",
    [
        done("logout", 1, None, Verdict.PENDING, given={"id": FIRST}),
        done("logout_everywhere", 1, 2, Verdict.UNKNOWN, given={"user": "alice"}),
        login(1, 2, an_id(1, "other"), events=[("ended", FIRST.place, "evicted")]),
        login(1, 2, an_id(1, "other"), lost=["admit"]),
        seen(1, 2, reason="reused", events=[("reused", FIRST.place, None)]),
        done("revoke", 1, 2, Verdict.UNKNOWN, given={"user": "alice", "place": FIRST.place}),
    ],
    ids=lambda operation: operation.name,
)
def test_whatever_may_have_ended_it_is_a_cause(cause: Operation) -> None:
    operations = history(login(0, 1), cause, gone(2, 3))
    found = [each for each in CHECKERS[deaths.PROMISE](operations) if "is gone" in each.sentence]
    assert not found


def test_a_client_that_noticed_a_retired_id_may_have_died_before_it_told() -> None:
    used = [seen(1, 2, renewed=SECOND_ID), seen(2, 3, SECOND_ID)]
    untold = done("authenticate", 4, None, Verdict.PENDING, given={"id": FIRST, "passive": False})
    lost = gone(5, 6, SECOND_ID)
    assert not breaks(deaths.PROMISE, history(login(0, 1), *used, untold, lost))
    assert breaks(deaths.PROMISE, history(login(0, 1), *used, lost))
    # With the current id nothing can be noticed.
    current = done("authenticate", 4, None, Verdict.PENDING, given={"id": SECOND_ID})
    assert breaks(deaths.PROMISE, history(login(0, 1), *used, current, lost))


def test_a_cause_that_came_later_is_none() -> None:
    signed_out = done("logout", 4, 5, given={"id": FIRST}, ended=False)
    assert breaks(deaths.PROMISE, history(login(0, 1), gone(2, 3), signed_out))


def test_a_sign_in_that_found_it_expired_may_have_ended_it() -> None:
    other = login(12, 13, an_id(1, "other"))
    assert not breaks(deaths.PROMISE, history(login(0, 1), other, gone(14, 15)))


def test_idle_too_soon_is_found() -> None:
    assert breaks(deaths.PROMISE, history(login(0, 1), gone(5, 6, reason="idle")))
    assert not breaks(deaths.PROMISE, history(login(0, 1), gone(11, 12, reason="idle")))


def test_superseded_without_a_successor_is_found() -> None:
    assert breaks(deaths.PROMISE, history(login(0, 1), gone(2, 3, reason="superseded")))
    used = [seen(1, 2, renewed=SECOND_ID), seen(2, 3, SECOND_ID)]
    late = gone(8, 9, reason="superseded")
    assert not breaks(deaths.PROMISE, history(login(0, 1), *used, late))


# -- Outages -------------------------------------------------------------------------------

DOWN = Fault("server killed", 2 * SECOND, 6 * SECOND, down=True)
FULL = Fault(outages.FULL, 2 * SECOND, 6 * SECOND)


def test_an_answer_during_an_outage_is_found() -> None:
    assert breaks(outages.PROMISE, history(login(0, 1), seen(3, 4), faults=(DOWN,)))
    assert breaks(outages.PROMISE, history(login(0, 1), gone(3, 4), faults=(DOWN,)))


@pytest.mark.parametrize(("call", "back"), [(1, 3), (5, 7), (1, 7), (2, 3)])
def test_one_that_may_have_come_before_or_after_is_not(call: int, back: int) -> None:
    assert keeps_all(history(login(0, 1), seen(call, back), faults=(DOWN,)))


def test_a_full_memory_that_keeps_a_session_from_ending_is_found() -> None:
    failed = done("logout", 3, 4, Verdict.UNAVAILABLE, given={"id": FIRST})
    assert breaks(outages.PROMISE, history(login(0, 1), failed, faults=(FULL,)))


# -- Copies --------------------------------------------------------------------------------
# They may be a second old.

SIGNED_OUT = done("logout", 2, 3, given={"id": FIRST}, ended=True)
EVERYWHERE = done("logout_everywhere", 2, 3, given={"user": "alice"}, kept=None)
REVOKED = done("revoke", 2, 3, given={"user": "alice", "place": FIRST.place}, ended=True)
ROTATED = done("rotate", 2, 3, given={"id": FIRST}, id=SECOND_ID)
RENEWED = seen(2, 3, renewed=SECOND_ID)


@pytest.mark.parametrize("end", [SIGNED_OUT, EVERYWHERE, REVOKED, ROTATED, RENEWED])
def test_a_copy_may_be_as_old_as_the_bound_and_no_older(end: Operation) -> None:
    assert keeps_all(history(login(0, 1), end, copied(4, 4.1)))
    assert breaks(copies.PROMISE, history(login(0, 1), end, copied(4.1, 4.2)))


def test_so_may_one_of_a_session_that_was_seen_to_be_gone() -> None:
    evicted = login(2, 3, an_id(1, "other"), events=[("ended", FIRST.place, "evicted")])
    assert keeps_all(history(login(0, 1), evicted, copied(4, 4.1)))
    assert breaks(copies.PROMISE, history(login(0, 1), evicted, copied(4.1, 4.2)))


def test_what_is_no_copy_is_no_older_than_its_call() -> None:
    assert breaks(revocation.PROMISE, history(login(0, 1), SIGNED_OUT, seen(3.1, 3.2)))


@pytest.mark.parametrize(
    "own",
    [
        replace(SIGNED_OUT, got={"ended": True, "events": [("ended", FIRST.place, "logout")]}),
        EVERYWHERE,
    ],
)
def test_who_ended_it_itself_has_no_copy_at_all(own: Operation) -> None:
    here = copied(3.1, 3.2, worker="c0.1")
    known = seen(1, 1.5)
    assert breaks(copies.PROMISE, history(login(0, 1), known, own, here))
    meanwhile = copied(2.9, 3.2, worker="c0.1")
    elsewhere = copied(3.1, 3.2)
    restarted = copied(3.1, 3.2, worker="c0+1.1")
    for fine in (meanwhile, elsewhere, restarted):
        assert keeps_all(history(login(0, 1), known, own, fine))


def test_a_copy_that_answers_in_place_of_the_store_is_found() -> None:
    given = {"id": FIRST, "from_store": True}
    asked = done("authenticate", 2, 3, given=given, copy=True)
    assert breaks(copies.PROMISE, history(login(0, 1), asked))


def test_a_copy_records_no_sign_of_life() -> None:
    assert breaks(timeouts.PROMISE, history(login(0, 1), copied(6, 7), seen(12, 13)))


def test_a_copy_that_outlives_the_timeouts_is_found() -> None:
    assert breaks(timeouts.PROMISE, history(login(0, 1), copied(11.5, 11.6)))


def test_a_copy_may_answer_while_only_the_store_is_out_of_reach() -> None:
    assert keeps_all(history(login(0, 1), copied(5, 5.5), faults=(DOWN,)))


def test_in_silence_it_may_until_the_bound_is_over() -> None:
    silence = replace(DOWN, deaf=True)
    assert keeps_all(history(login(0, 1), copied(3, 3.1), faults=(silence,)))
    assert breaks(outages.PROMISE, history(login(0, 1), copied(3.1, 3.2), faults=(silence,)))
    assert keeps_all(history(login(0, 1), copied(3.1, 6.2), faults=(silence,)))


def test_what_a_copy_saw_was_there_one_bound_before_for_certain() -> None:
    ids = [an_id(1, f"life {number}") for number in range(3)]
    logins = [login(number, number + 0.5, each) for number, each in enumerate(ids)]
    early = [copied(3.4, 3.45, each) for each in ids]
    assert not breaks(limit.PROMISE, history(*logins, *early))
    late = [copied(3.6, 3.65, each) for each in ids]
    assert breaks(limit.PROMISE, history(*logins, *late))


# -- Guess limits ------------------------------------------------------------------------


def _at(seconds: float) -> int:
    return round((seconds + 0.1) * SECOND)


def guessing(*instants: float, worker: str = "c0.0") -> History:
    return history(
        *(
            login(
                at,
                at + 0.2,
                None,
                reason="refused",
                worker=worker,
                given={"password": "wrong"},
                guesses=[(_at(at), False)],
            )
            for at in instants
        )
    )


def test_more_guesses_than_the_limit_lets_through_are_found() -> None:
    assert keeps_all(guessing(0, 0.1, 0.2))
    assert breaks(guesses.PROMISE, guessing(0, 0.1, 0.2, 0.3))


def test_time_lets_more_through() -> None:
    assert keeps_all(guessing(0, 0.1, 0.2, 1.5, 3.5))
    assert breaks(guesses.PROMISE, guessing(0, 0.1, 0.2, 1.5, 1.6))


def test_a_success_in_between_starts_anew() -> None:
    success = login(0.5, 0.6, guesses=[(_at(0.5), True)])
    found = history(*guessing(0, 0.1, 0.2, 1, 1.1, 1.2).operations, success)
    assert keeps_all(found)


def test_one_that_did_not_come_back_may_have_started_anew() -> None:
    found = guessing(0, 0.1, 0.2, 0.3).operations
    lost = replace(login(0.15, 0.16), back=None, verdict=Verdict.PENDING, got={})
    assert keeps_all(history(*found, lost))
    elsewhere = replace(lost, worker="c1.0")
    assert breaks(guesses.PROMISE, history(*found, elsewhere))


def test_each_process_counts_for_itself() -> None:
    others = guessing(0, 0.1, 0.2, worker="c1.0")
    assert keeps_all(history(*guessing(0, 0.1, 0.2).operations, *others.operations))
