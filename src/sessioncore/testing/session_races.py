"""
The laws of a session store that only show when calls are made at once.

A clause cannot know which call came first. It checks what must hold whatever
the order was, and that the answers fit one order.
"""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partial

from sessioncore.ports import Admission, DataWrite, SessionStore
from sessioncore.session import Session, Subject
from sessioncore.testing.harness import SessionHarness
from sessioncore.testing.laws import session_law as law
from sessioncore.testing.laws import shared_law
from sessioncore.testing.race import race, race_of_two
from sessioncore.testing.records import (
    CAPACITY,
    LIFETIME,
    LOGIN_WINDOW,
    MILLISECOND,
    NOW,
    a_change,
    a_session,
    a_user,
    open_epoch,
    purge_all,
    restarted,
    sign_in,
    successor,
    values,
)


class SessionRaces(SessionHarness):
    """
    Clauses about calls that are made at once, through two clients.
    """

    @contextmanager
    def _two_clients(self) -> Generator[tuple[SessionStore, SessionStore]]:
        with self.fresh_store() as store, self.second_client(store) as other:
            yield store, other

    def _turns(self, clients: tuple[SessionStore, SessionStore]) -> Iterator[SessionStore]:
        """
        The client of each racer: they take turns.
        """
        return itertools.islice(itertools.cycle(clients), self.racers)

    # --- one operation against itself -------------------------------------------------

    def test_parallel_openings_agree_on_one_epoch(self) -> None:
        with self._two_clients() as clients:
            for _ in self.rounds():
                user = a_user()
                epochs = race(partial(open_epoch, client, user) for client in self._turns(clients))
                assert len(set(epochs)) == 1, law(
                    "open_epoch", "Parallel calls agree on one epoch."
                )
                session = a_session(user, epochs[0])
                assert clients[0].admit(session, (), None, NOW) is Admission.ADMITTED, law(
                    "open_epoch", "Parallel calls agree on one epoch."
                )

    def test_of_racing_replacements_exactly_one_takes_effect(self) -> None:
        with self._two_clients() as clients:
            for _ in self.rounds():
                old = sign_in(clients[0], a_user())
                new = [successor(old, methods=(f"m{number}",)) for number in range(self.racers)]
                answers = race(
                    partial(client.replace, old, each)
                    for client, each in zip(self._turns(clients), new, strict=True)
                )
                broken = law(
                    "replace",
                    "Of several parallel calls with the same *old* at most one takes effect.",
                )
                assert answers.count(True) == 1, broken
                winner = new[answers.index(True)]
                for client in clients:
                    assert client.find(old.locator) == winner, broken

    def test_a_replacement_that_repeats_itself_at_once_takes_effect(self) -> None:
        with self._two_clients() as clients:
            for _ in self.rounds():
                old = sign_in(clients[0], a_user())
                new = successor(old)
                answers = race(partial(client.replace, old, new) for client in self._turns(clients))
                broken = law("replace", "Repeating a call that took effect is safe")
                assert all(answers), broken
                assert clients[0].find(old.locator) == new, broken

    def test_of_racing_admissions_at_one_version_exactly_one_is_admitted(self) -> None:
        with self._two_clients() as clients:
            for _ in self.rounds():
                first = sign_in(clients[0], a_user())
                user = first.subject
                version = clients[0].roster(user).version
                new = [a_session(user, first.locator.epoch) for _ in range(self.racers)]
                answers = race(
                    partial(client.admit, each, (first.locator,), version, NOW)
                    for client, each in zip(self._turns(clients), new, strict=True)
                )
                broken = law("admit", "Admit only if the roster still has this version")
                assert answers.count(Admission.ADMITTED) == 1, broken
                assert answers.count(Admission.CONFLICT) == len(new) - 1, broken
                winner = new[answers.index(Admission.ADMITTED)]
                assert clients[1].roster(user).sessions == (winner,), broken

    def test_of_racing_admissions_to_one_slot_exactly_one_is_admitted(self) -> None:
        with self._two_clients() as clients:
            for _ in self.rounds():
                user = a_user()
                first = a_session(user, open_epoch(clients[0], user))
                new = [successor(first) for _ in range(self.racers)]
                answers = race(
                    partial(client.admit, each, (), None, NOW)
                    for client, each in zip(self._turns(clients), new, strict=True)
                )
                broken = law("admit", "Never overwrites a slot")
                assert answers.count(Admission.ADMITTED) == 1, broken
                assert answers.count(Admission.CONFLICT) == len(new) - 1, broken
                winner = new[answers.index(Admission.ADMITTED)]
                assert clients[1].find(first.locator) == winner, broken

    def test_racing_admissions_without_a_version_are_all_admitted(self) -> None:
        with self._two_clients() as clients:
            for _ in self.rounds():
                user = a_user()
                epoch = open_epoch(clients[0], user)
                version = clients[0].roster(user).version
                new = [a_session(user, epoch) for _ in range(self.racers)]
                answers = race(
                    partial(client.admit, each, (), None, NOW)
                    for client, each in zip(self._turns(clients), new, strict=True)
                )
                assert set(answers) == {Admission.ADMITTED}, law("admit", "``None`` for any")
                broken = law("admit", "Every admission moves the roster's version")
                roster = clients[1].roster(user)
                assert set(roster.sessions) == set(new), broken
                assert roster.version != version, broken
                late = a_session(user, epoch)
                assert clients[0].admit(late, (), version, NOW) is Admission.CONFLICT, broken

    def test_of_racing_deletions_exactly_one_deletes(self) -> None:
        with self._two_clients() as clients:
            for _ in self.rounds():
                session = sign_in(clients[0], a_user())
                answers = race(
                    partial(client.delete, session.locator, session if number % 3 else None)
                    for number, client in enumerate(self._turns(clients))
                )
                assert answers.count(True) == 1, law("delete", "Whether this call deleted it.")

    def test_racing_deletions_of_a_user_count_every_session_once(self) -> None:
        with self._two_clients() as clients:
            for _ in self.rounds():
                user = a_user()
                sessions = [sign_in(clients[0], user) for _ in range(3)]
                counts = race(partial(client.delete_user, user) for client in self._turns(clients))
                assert sum(counts) == len(sessions), law(
                    "delete_user", "How many sessions were deleted"
                )
                assert clients[1].roster(user).sessions == (), law("delete_user", "as one step")

    def test_of_racing_restarts_exactly_one_takes_effect(self) -> None:
        with self._two_clients() as clients:
            for _ in self.rounds():
                old = sign_in(clients[0], a_user())
                clients[0].write_data(old.locator, a_change({"key": b"1"}))
                new = [restarted(old) for _ in range(self.racers)]
                answers = race(
                    partial(client.restart, old, each)
                    for client, each in zip(self._turns(clients), new, strict=True)
                )
                broken = law("restart", "One atomic step, provided *old* is still what is stored")
                effective = [
                    (session, moved)
                    for session, moved in zip(new, answers, strict=True)
                    if moved is not None
                ]
                assert len(effective) == 1, broken
                winner = effective[0][0].moved_to(effective[0][1])
                assert clients[1].roster(old.subject).sessions == (winner,), broken
                assert values(clients[1], winner) == {"key": b"1"}, broken

    # --- the end of a user against everything -----------------------------------------

    def test_no_admission_outlives_the_deletion_of_its_user(self) -> None:
        with self._two_clients() as (store, other):
            for _ in self.rounds():
                user = a_user()
                epoch = open_epoch(store, user)
                sessions = [a_session(user, epoch) for _ in range(3)]
                race(
                    [partial(store.delete_user, user)]
                    + [partial(other.admit, session, (), None, NOW) for session in sessions]
                )
                self._assert_ended(store, other, sessions)

    def test_no_replacement_outlives_the_deletion_of_its_user(self) -> None:
        with self._two_clients() as (store, other):
            for _ in self.rounds():
                old = sign_in(store, a_user())
                race_of_two(
                    partial(store.delete_user, old.subject),
                    partial(other.replace, old, successor(old)),
                )
                self._assert_ended(store, other, [old])

    def test_no_restart_outlives_the_deletion_of_its_user(self) -> None:
        with self._two_clients() as (store, other):
            for _ in self.rounds():
                old = sign_in(store, a_user())
                new = restarted(old)
                deleted, moved = race_of_two(
                    partial(store.delete_user, old.subject), partial(other.restart, old, new)
                )
                self._assert_ended(store, other, [old, new])
                broken = law("delete_user", "Whatever is in flight")
                assert deleted == 1, broken
                if moved is not None:
                    self._assert_ended(store, other, [new.moved_to(moved)])

    def test_no_data_outlives_the_deletion_of_its_user(self) -> None:
        with self._two_clients() as (store, other):
            for _ in self.rounds():
                session = sign_in(store, a_user())
                race_of_two(
                    partial(store.delete_user, session.subject),
                    partial(other.write_data, session.locator, a_change({"key": b"1"})),
                )
                self._assert_ended(store, other, [session])

    def test_what_is_admitted_while_a_user_is_deleted_is_in_the_epoch_that_follows(self) -> None:
        with self._two_clients() as (store, other):
            for _ in self.rounds():
                ended = sign_in(store, a_user())
                user = ended.subject

                _, session = race_of_two(
                    partial(store.delete_user, user), partial(_try_to_sign_in, other, user)
                )
                broken = law("delete_user", "as one step")
                assert store.find(ended.locator) is None, broken
                current = open_epoch(store, user)
                if session is not None:
                    found = store.find(session.locator)
                    assert (found == session) is (current == session.locator.epoch), broken

    def _assert_ended(
        self, store: SessionStore, other: SessionStore, sessions: Sequence[Session]
    ) -> None:
        broken = law("delete_user", "Whatever is in flight")
        user = sessions[0].subject
        for client in (store, other):
            assert client.roster(user).sessions == (), broken
            for session in sessions:
                assert client.find(session.locator) is None, broken
                assert client.read_data(session.locator) is None, broken
        # Nor does anything lie in wait for the epoch that follows.
        epoch = open_epoch(store, user)
        for session in sessions:
            assert epoch != session.locator.epoch, broken
            assert store.find(session.locator) is None, broken
        assert store.roster(user).sessions == (), broken

    # --- the end of an epoch by restart -----------------------------------------------

    def test_no_admission_survives_a_restart(self) -> None:
        with self._two_clients() as (store, other):
            for _ in self.rounds():
                old = sign_in(store, a_user())
                new = restarted(old)
                late = a_session(old.subject, old.locator.epoch)
                moved, _ = race_of_two(
                    partial(store.restart, old, new), partial(other.admit, late, (), None, NOW)
                )
                broken = law("restart", "All sessions of the ended epoch and their data are gone")
                assert moved is not None, broken
                assert store.find(late.locator) is None, broken
                assert other.roster(old.subject).sessions == (new.moved_to(moved),), broken

    def test_of_a_racing_restart_and_replacement_exactly_one_takes_effect(self) -> None:
        with self._two_clients() as (store, other):
            for _ in self.rounds():
                old = sign_in(store, a_user())
                bystander = sign_in(store, old.subject)
                new, touched = restarted(old), successor(old)
                moved, replaced = race_of_two(
                    partial(store.restart, old, new), partial(other.replace, old, touched)
                )
                broken = law("restart", "One atomic step, provided *old* is still what is stored")
                assert replaced is (moved is None), broken
                expected = {touched, bystander} if moved is None else {new.moved_to(moved)}
                assert set(other.roster(old.subject).sessions) == expected, broken

    def test_of_a_racing_restart_and_deletion_exactly_one_takes_effect(self) -> None:
        with self._two_clients() as (store, other):
            for _ in self.rounds():
                old = sign_in(store, a_user())
                new = restarted(old)
                moved, deleted = race_of_two(
                    partial(store.restart, old, new), partial(other.delete, old.locator)
                )
                broken = law("restart", "One atomic step, provided *old* is still what is stored")
                assert deleted is (moved is None), broken
                expected = () if moved is None else (new.moved_to(moved),)
                assert other.roster(old.subject).sessions == expected, broken

    def test_a_restart_carries_over_what_was_written_before_it_and_nothing_later(self) -> None:
        with self._two_clients() as (store, other):
            for _ in self.rounds():
                old = sign_in(store, a_user())
                moved, written = race_of_two(
                    partial(store.restart, old, restarted(old)),
                    partial(other.write_data, old.locator, a_change({"key": b"1"})),
                )
                broken = law("restart", "*old*'s data becomes *new*'s")
                assert moved is not None, broken
                data = store.read_data(moved)
                assert data is not None, broken
                assert ("key" in data) is (written is DataWrite.WRITTEN), broken
                assert store.read_data(old.locator) is None, broken

    def test_a_restart_is_seen_whole_or_not_at_all(self) -> None:
        with self._two_clients() as (store, other):
            for _ in self.rounds():
                old = sign_in(store, a_user())
                bystander = sign_in(store, old.subject)
                new = restarted(old)
                moved, roster = race_of_two(
                    partial(store.restart, old, new), partial(other.roster, old.subject)
                )
                broken = law("roster", "One consistent view.")
                assert moved is not None, broken
                assert set(roster.sessions) in ({old, bystander}, {new.moved_to(moved)}), broken

    # --- the end of one session -------------------------------------------------------

    def test_no_data_outlives_the_deletion_of_its_session(self) -> None:
        with self._two_clients() as (store, other):
            for _ in self.rounds():
                session = sign_in(store, a_user())
                race_of_two(
                    partial(store.delete, session.locator),
                    partial(other.write_data, session.locator, a_change({"key": b"1"})),
                )
                broken = law(
                    "write_data", "``GONE``: the session is not there; nothing is kept for it."
                )
                assert store.read_data(session.locator) is None, broken
                again = sign_in(store, session.subject, locator=session.locator)
                assert values(other, again) == {}, broken

    def test_no_replacement_outlives_the_deletion_of_its_session(self) -> None:
        with self._two_clients() as (store, other):
            for _ in self.rounds():
                old = sign_in(store, a_user())
                deleted, _ = race_of_two(
                    partial(store.delete, old.locator), partial(other.replace, old, successor(old))
                )
                broken = shared_law("*Dead stays dead.*")
                assert deleted, broken
                assert other.find(old.locator) is None, broken
                assert other.roster(old.subject).sessions == (), broken

    def test_an_expected_deletion_and_a_replacement_exclude_each_other(self) -> None:
        with self._two_clients() as (store, other):
            for _ in self.rounds():
                old = sign_in(store, a_user())
                new = successor(old)
                deleted, replaced = race_of_two(
                    partial(store.delete, old.locator, old), partial(other.replace, old, new)
                )
                broken = law("delete", "delete only while this is what is stored")
                assert deleted is not replaced, broken
                assert store.find(old.locator) == (new if replaced else None), broken

    def test_no_data_outlives_an_eviction(self) -> None:
        with self._two_clients() as (store, other):
            for _ in self.rounds():
                evicted = sign_in(store, a_user())
                new = a_session(evicted.subject, evicted.locator.epoch)
                race_of_two(
                    partial(store.admit, new, (evicted.locator,), None, NOW),
                    partial(other.write_data, evicted.locator, a_change({"key": b"1"})),
                )
                broken = law("admit", "to delete with their data")
                assert store.read_data(evicted.locator) is None, broken
                again = sign_in(store, evicted.subject, locator=evicted.locator)
                assert values(other, again) == {}, broken

    # --- find_with_data ---------------------------------------------------------------

    def test_a_session_is_never_found_without_the_data_that_it_had(self) -> None:
        with self._two_clients() as (store, other):
            for _ in self.rounds():
                session = sign_in(store, a_user())
                store.write_data(session.locator, a_change({"key": b"1"}))
                found, _ = race_of_two(
                    partial(store.find_with_data, session.locator),
                    partial(other.delete, session.locator),
                )
                broken = law("find_with_data", "both as they were at one moment")
                assert found is None or (found[0] == session and "key" in found[1]), broken

    # --- data -------------------------------------------------------------------------

    def test_guarded_increments_lose_none(self) -> None:
        with self._two_clients() as clients:
            session = sign_in(clients[0], a_user())
            counts = race(
                partial(_increment, client, session, 5, 5 * self.racers)
                for client in self._turns(clients)
            )
            total = sum(counts)
            assert values(clients[0], session) == {"n": b"%d" % total}, law(
                "write_data", "``CONFLICT``: a guard in ``change.expect`` does not hold."
            )

    def test_of_racing_changes_with_one_guard_exactly_one_is_written(self) -> None:
        with self._two_clients() as clients:
            for _ in self.rounds():
                session = sign_in(clients[0], a_user())
                changes = [
                    a_change({"key": b"%d" % number}, expect={"key": None})
                    for number in range(self.racers)
                ]
                answers = race(
                    partial(client.write_data, session.locator, change)
                    for client, change in zip(self._turns(clients), changes, strict=True)
                )
                broken = law("write_data", "as one step")
                assert answers.count(DataWrite.WRITTEN) == 1, broken
                assert answers.count(DataWrite.CONFLICT) == len(changes) - 1, broken
                winner = answers.index(DataWrite.WRITTEN)
                assert values(clients[1], session) == {"key": b"%d" % winner}, broken

    def test_parallel_changes_of_different_keys_all_survive(self) -> None:
        with self._two_clients() as clients:
            for _ in self.rounds():
                session = sign_in(clients[0], a_user())
                answers = race(
                    partial(
                        client.write_data, session.locator, a_change({f"k{number}": b"%d" % number})
                    )
                    for number, client in enumerate(self._turns(clients))
                )
                broken = law("write_data", "parallel changes of different keys all survive")
                assert set(answers) == {DataWrite.WRITTEN}, broken
                assert values(clients[1], session) == {
                    f"k{number}": b"%d" % number for number in range(self.racers)
                }, broken

    def test_parallel_changes_never_exceed_the_capacity(self) -> None:
        with self._two_clients() as clients:
            for _ in self.rounds():
                session = sign_in(clients[0], a_user())
                room = 2
                changes = [
                    a_change({f"k{number:02}": b"1234567"}, capacity=10 * room)
                    for number in range(self.racers)
                ]
                answers = race(
                    partial(client.write_data, session.locator, change)
                    for client, change in zip(self._turns(clients), changes, strict=True)
                )
                broken = law("write_data", "as one step")
                assert answers.count(DataWrite.WRITTEN) == room, broken
                assert answers.count(DataWrite.FULL) == self.racers - room, broken
                held = values(clients[1], session)
                assert held is not None, broken
                assert len(held) == room, broken

    def test_a_change_is_read_whole_or_not_at_all(self) -> None:
        with self._two_clients() as (store, other):
            for _ in self.rounds():
                session = sign_in(store, a_user())
                first = a_change({f"k{number}": b"1" for number in range(10)})
                second = a_change({f"k{number}": b"2" for number in range(10)})
                store.write_data(session.locator, first)
                _, data = race_of_two(
                    partial(store.write_data, session.locator, second),
                    partial(other.read_data, session.locator),
                )
                broken = shared_law("An operation happens as one step or not at all")
                assert data is not None, broken
                assert {datum.stamp for datum in data.values()} in (
                    {first.stamp},
                    {second.stamp},
                ), broken
                assert len(data) == len(first.put), broken

    def test_a_session_and_its_data_are_replaced_side_by_side(self) -> None:
        with self._two_clients() as (store, other):
            for _ in self.rounds():
                old = sign_in(store, a_user())
                new = successor(old)
                replaced, written = race_of_two(
                    partial(store.replace, old, new),
                    partial(
                        other.write_data, old.locator, a_change({"key": b"1"}, capacity=CAPACITY)
                    ),
                )
                broken = law("write_data", "The session's record and stamp do not change.")
                assert replaced, broken
                assert written is DataWrite.WRITTEN, broken
                assert store.find(old.locator) == new, broken
                assert values(store, new) == {"key": b"1"}, broken

    # --- purge ------------------------------------------------------------------------

    def test_racing_purges_delete_what_is_due_and_nothing_else(self) -> None:
        with self._two_clients() as clients:
            before = NOW + timedelta(hours=1)
            for _ in self.rounds():
                users = [a_user() for _ in range(3)]
                due = [
                    sign_in(clients[0], user, keep_until=before - MILLISECOND)
                    for user in users
                    for _ in range(3)
                ]
                live = [sign_in(clients[0], user, keep_until=before) for user in users]

                deleted = sum(
                    race(partial(purge_all, client, before, 2) for client in self._turns(clients))
                )
                # A store may leave to the others what they are about to delete.
                deleted += purge_all(clients[0], before, 2)
                broken = law("purge", "Safe to run on many machines at once")
                assert deleted == len(due), broken
                for session in due:
                    assert clients[0].find(session.locator) is None, broken
                for session in live:
                    assert clients[1].find(session.locator) == session, broken

    def test_no_purge_deletes_what_was_touched_in_time(self) -> None:
        with self._two_clients() as (store, other):
            before = NOW + timedelta(hours=1)
            for _ in self.rounds():
                old = sign_in(store, a_user(), keep_until=before - MILLISECOND)
                touched = successor(old, keep_until=before)
                purged, replaced = race_of_two(
                    partial(store.purge, before, 100), partial(other.replace, old, touched)
                )
                broken = law("purge", "beside every other operation")
                assert store.find(old.locator) == (touched if replaced else None), broken
                assert purged.sessions == (0 if replaced else 1), broken

    def test_no_admission_is_lost_to_a_purge(self) -> None:
        with self._two_clients() as (store, other):
            for _ in self.rounds():
                user = a_user()
                epoch = open_epoch(store, user)
                session = a_session(user, epoch)
                _, admission = race_of_two(
                    partial(store.purge, NOW + LOGIN_WINDOW, 100),
                    partial(other.admit, session, (), None, NOW),
                )
                broken = law("purge", "beside every other operation")
                assert admission is Admission.ADMITTED, broken
                assert store.find(session.locator) == session, broken
                assert open_epoch(store, user) == epoch, broken

    def test_an_admission_to_an_epoch_that_is_being_purged_is_stored_or_stale(self) -> None:
        with self._two_clients() as (store, other):
            for _ in self.rounds():
                user = a_user()
                epoch = open_epoch(store, user)
                session = a_session(user, epoch)
                _, admission = race_of_two(
                    partial(store.purge, NOW + LOGIN_WINDOW + MILLISECOND, 100),
                    partial(other.admit, session, (), None, NOW),
                )
                broken = law("purge", "beside every other operation")
                admitted = admission is Admission.ADMITTED
                assert admitted or admission is Admission.STALE, broken
                for client in (store, other):
                    assert client.find(session.locator) == (session if admitted else None), broken
                assert (open_epoch(store, user) == epoch) is admitted, broken

    def test_an_admission_beside_the_purge_of_the_last_session_is_not_lost(self) -> None:
        with self._two_clients() as (store, other):
            before = NOW + LIFETIME
            for _ in self.rounds():
                due = sign_in(store, a_user(), keep_until=before - MILLISECOND)
                session = a_session(due.subject, due.locator.epoch, keep_until=before)
                _, admission = race_of_two(
                    partial(store.purge, before, 100),
                    partial(other.admit, session, (), None, NOW),
                )
                broken = law("purge", "beside every other operation")
                admitted = admission is Admission.ADMITTED
                assert store.find(session.locator) == (session if admitted else None), broken
                assert store.find(due.locator) is None, broken

    def test_an_opened_epoch_is_not_lost_to_a_purge(self) -> None:
        with self._two_clients() as (store, other):
            before = NOW + LOGIN_WINDOW + MILLISECOND
            for _ in self.rounds():
                user = a_user()
                open_epoch(store, user)
                _, epoch = race_of_two(
                    partial(store.purge, before, 100),
                    partial(other.open_epoch, user, before, LOGIN_WINDOW),
                )
                session = a_session(user, epoch)
                assert store.admit(session, (), None, before) is Admission.ADMITTED, law(
                    "open_epoch", "For how long after *at* the epoch must stay current"
                )


def _try_to_sign_in(store: SessionStore, subject: Subject) -> Session | None:
    session = a_session(subject, open_epoch(store, subject))
    admission = store.admit(session, (), None, NOW)
    return session if admission is Admission.ADMITTED else None


def _increment(store: SessionStore, session: Session, times: int, patience: int) -> int:
    """
    Count up *times* times by guarded writes.

    A conflict means that another got in, so there are no more of them than
    *patience*, the number of increments by all.
    """
    conflicts = done = 0
    while done < times:
        data = store.read_data(session.locator)
        assert data is not None, law("read_data", "Return the data of one session")
        counter = data.get("n")
        change = a_change(
            {"n": b"%d" % (1 if counter is None else int(counter.value) + 1)},
            expect={"n": None if counter is None else counter.stamp},
        )
        if store.write_data(session.locator, change) is DataWrite.WRITTEN:
            done += 1
        else:
            conflicts += 1
            assert conflicts <= patience, law(
                "write_data", "``CONFLICT``: a guard in ``change.expect`` does not hold."
            )
    return done
