"""
The laws of a session store that one caller alone can check.

The clauses stand in the order of the port's operations.
"""

from __future__ import annotations

import base64
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest

from sessioncore.ports import Admission, DataWrite
from sessioncore.session import (
    EPOCH_BYTES,
    FAMILY_BYTES,
    SECRET_BYTES,
    SLOT_BYTES,
    Device,
    Epoch,
    Locator,
    Pending,
    SessionId,
    Subject,
)
from sessioncore.testing.harness import SessionHarness
from sessioncore.testing.laws import session_law as law
from sessioncore.testing.laws import shared_law
from sessioncore.testing.records import (
    LIFETIME,
    LOGIN_WINDOW,
    MILLISECOND,
    NOW,
    a_change,
    a_session,
    a_user,
    new_stamp,
    open_epoch,
    purge_all,
    restarted,
    sign_in,
    successor,
    values,
)
from sessioncore.testing.strategies import DIFFICULT_TEXTS
from sessioncore.testing.surroundings import SeededEntropy

_LATER: Final = NOW + timedelta(minutes=5)
_AFTER_LOGIN: Final = NOW + LOGIN_WINDOW + MILLISECOND
_LONG_AFTER: Final = NOW + LIFETIME + timedelta(days=1)

_SIMILAR_SLOTS: Final = (
    b"\x00\x00\x00\x00\x00\x00",
    b"\x00\x00\x00\x00\x00\x01",
    b"\x01\x00\x00\x00\x00\x00",
    b"slot01",
    b"SLOT01",
    b"slot0 ",
    b"slot  ",
    b" slot ",
    b"slot\x00\x00",
    b"\x00\x00slot",
    b"\xc3\x81lot\x00",
    b"A\xcc\x81lot",
    b"\xff\xff\xff\xff\xff\xff",
    b"\xff\xfe\xfd\xfc\xfb\xfa",
    b"%s%s%s",
    b"\\\\\\\\\\\\",
    b"'\"'\"'\"",
    b"\r\n\r\n\r\n",
    b"123456",
    b"::::::",
)

_DIFFICULT_SUBJECTS: Final = (
    *map(Subject.user, DIFFICULT_TEXTS),
    Subject.user("a" * 255),
    Subject.user("a" * 254 + "b"),
    Subject.user("a" * 254),
    Subject.user("\N{ROCKET}" * 63),
    Subject.user("\N{ROCKET}" * 62 + "\N{WOMAN}"),
    # What would be equal if the kind were dropped, or not the first thing to count.
    Subject.user("0123456789abcdef"),
    Subject.user("a0123456789abcdef"),
    Subject.anonymous(b"0123456789abcdef"),
    Subject.anonymous(b"\x00" * 16),
    Subject.anonymous(b"\x00" * 15 + b"\x01"),
    Subject.anonymous(b"\xff" * 16),
    Subject.user("a"),
    Subject.user("d"),
    Subject.user("u"),
    Subject.user("da"),
    Subject.decoy(ord("a")),
    Subject.decoy(0),
    Subject.decoy(255),
)


class SessionLaws(SessionHarness):
    """
    Clauses that one caller alone can check.
    """

    # --- open_epoch -----------------------------------------------------------------

    def test_an_epoch_is_sixteen_bytes(self) -> None:
        with self.fresh_store() as store:
            epoch = open_epoch(store, a_user())
            broken = law("open_epoch", "The epoch is 16 bytes")
            assert type(epoch) is bytes, broken
            assert len(epoch) == EPOCH_BYTES, broken

    def test_opening_an_epoch_again_gives_the_same_one(self) -> None:
        with self.fresh_store() as store:
            user = a_user()
            epoch = store.open_epoch(user, NOW, LOGIN_WINDOW)
            for at, lives_for in (
                (NOW, LOGIN_WINDOW),
                (NOW, timedelta(minutes=1)),
                (_LATER, timedelta(days=1)),
                (NOW - timedelta(days=1), LOGIN_WINDOW),
            ):
                assert store.open_epoch(user, at, lives_for) == epoch, law(
                    "open_epoch", "Return the subject's current epoch, making one if there is none."
                )

    def test_opening_an_epoch_ends_no_session(self) -> None:
        with self.fresh_store() as store:
            session = sign_in(store, a_user())
            open_epoch(store, session.subject)
            broken = law("open_epoch", "Repeating is safe.")
            assert store.find(session.locator) == session, broken
            assert store.roster(session.subject).sessions == (session,), broken

    def test_an_ended_epoch_never_becomes_current_again(self) -> None:
        with self.fresh_store() as store:
            user = a_user()
            seen: set[Epoch] = set()
            for _ in range(8):
                epoch = open_epoch(store, user)
                assert epoch not in seen, law("open_epoch", "never become current again once ended")
                seen.add(epoch)
                store.delete_user(user)
                assert store.admit(a_session(user, epoch), (), None, NOW) is Admission.STALE, law(
                    "delete_user", "Whatever is in flight"
                )

    def test_no_two_subjects_share_anything(self) -> None:
        with self.fresh_store() as store:
            broken = law("open_epoch", "no other subject shares")
            sessions = [sign_in(store, subject) for subject in _DIFFICULT_SUBJECTS]
            assert len({session.locator.epoch for session in sessions}) == len(sessions), broken
            for session in sessions:
                assert store.roster(session.subject).sessions == (session,), broken
                assert store.find(session.locator) == session, broken
            remaining = sessions.copy()
            while remaining:
                ended = remaining.pop(0)
                assert store.delete_user(ended.subject) == 1, broken
                for other in remaining[:3] + remaining[-1:]:
                    assert store.find(other.locator) == other, broken
            for session in sessions:
                assert store.find(session.locator) is None, broken

    # --- find -----------------------------------------------------------------------

    def test_what_was_never_admitted_is_not_found(self) -> None:
        with self.fresh_store() as store:
            session = sign_in(store, a_user())
            absent = (
                Locator(session.locator.epoch, bytes(SLOT_BYTES)),
                Locator(Epoch(bytes(EPOCH_BYTES)), session.locator.slot),
                Locator(Epoch(b"\xff" * EPOCH_BYTES), b"\xff" * SLOT_BYTES),
                Locator(open_epoch(store, a_user()), session.locator.slot),
            )
            for locator in absent:
                assert store.find(locator) is None, law(
                    "find", "The session, or ``None`` if there is none."
                )

    def test_finding_writes_nothing(self) -> None:
        with self.fresh_store() as store:
            session = sign_in(store, a_user())
            before = store.roster(session.subject)
            absent = a_session(session.subject, session.locator.epoch)
            store.find(session.locator)
            store.find(absent.locator)
            assert store.roster(session.subject) == before, law(
                "find", "One round trip; writes nothing."
            )

    def test_a_session_whose_epoch_ended_is_not_found(self) -> None:
        with self.fresh_store() as store:
            session = sign_in(store, a_user())
            store.delete_user(session.subject)
            broken = law("find", "A session whose epoch is not current is not found.")
            assert store.find(session.locator) is None, broken
            open_epoch(store, session.subject)
            assert store.find(session.locator) is None, broken

    def test_slots_are_told_apart_byte_by_byte(self) -> None:
        with self.fresh_store() as store:
            user = a_user()
            epoch = open_epoch(store, user)
            sessions = [
                sign_in(store, user, locator=Locator(epoch, slot)) for slot in _SIMILAR_SLOTS
            ]
            broken = law("find", "Return the session stored under *locator*.")
            for session in sessions:
                assert store.find(session.locator) == session, broken
            for session in sessions:
                assert store.delete(session.locator), broken
                assert store.find(session.locator) is None, broken

    def test_a_locator_of_an_ended_epoch_never_reaches_the_one_that_follows(self) -> None:
        with self.fresh_store() as store:
            ended = sign_in(store, a_user())
            store.delete_user(ended.subject)
            epoch = open_epoch(store, ended.subject)
            live = sign_in(store, ended.subject, locator=Locator(epoch, ended.locator.slot))
            store.write_data(live.locator, a_change({"key": b"1"}))
            broken = law("find", "A session whose epoch is not current is not found.")
            assert store.find(ended.locator) is None, broken
            assert store.read_data(ended.locator) is None, broken
            assert not store.replace(ended, successor(ended)), broken
            assert store.restart(ended, restarted(ended)) is None, broken
            assert store.write_data(ended.locator, a_change({"key": b"2"})) is DataWrite.GONE, (
                broken
            )
            assert not store.delete(ended.locator), broken
            assert not store.delete(ended.locator, ended), broken
            assert store.find(live.locator) == live, broken
            assert values(store, live) == {"key": b"1"}, broken

    def test_a_store_reads_no_clock(self) -> None:
        broken = shared_law("A store reads no clock to decide anything.")
        for year in (2001, 2190):
            at = datetime(year, 5, 17, 3, 30, tzinfo=UTC)
            user = a_user()
            with self.fresh_store() as store:
                epoch = store.open_epoch(user, at, LOGIN_WINDOW)
                session = a_session(
                    user,
                    epoch,
                    created_at=at,
                    authenticated_at=at,
                    changed_at=at,
                    last_seen_at=at,
                    keep_until=at + LIFETIME,
                )
                assert store.admit(session, (), None, at) is Admission.ADMITTED, broken
                assert store.find(session.locator) == session, broken
                touched = successor(
                    session, last_seen_at=at + LIFETIME / 2, keep_until=at + LIFETIME * 2
                )
                assert store.replace(session, touched), broken
                assert store.roster(user).sessions == (touched,), broken
                assert store.open_epoch(user, at, LOGIN_WINDOW) == epoch, broken
                assert store.purge(at, 100).sessions == 0, broken
                assert store.find(touched.locator) == touched, broken

    # --- replace --------------------------------------------------------------------

    def test_replace_swaps_the_stored_session(self) -> None:
        with self.fresh_store() as store:
            old = sign_in(store, a_user())
            new = successor(
                old,
                methods=("pwd", "otp"),
                last_seen_at=_LATER,
                changed_at=_LATER,
                current=bytes(32),
                previous=old.current,
                pending=Pending(b"p" * 32, b"s" * 16),
                device=Device("203.0.113.7", "Browser"),
            )
            broken = law("replace", "Whether *new* is what is now stored.")
            assert store.replace(old, new) is True, broken
            assert store.find(old.locator) == new, broken
            assert store.roster(old.subject).sessions == (new,), broken

    def test_replace_can_empty_every_optional_field(self) -> None:
        with self.fresh_store() as store:
            old = sign_in(
                store,
                a_user(),
                pending=Pending(b"p" * 32, b"s" * 16),
                previous=b"v" * 32,
                device=Device("2001:db8::1", "Browser"),
            )
            new = successor(
                old,
                methods=(),
                authenticated_at=None,
                pending=None,
                previous=None,
                device=Device(),
            )
            broken = law("replace", "Swap *old* for *new*, provided *old* is still what is stored.")
            assert store.find(old.locator) == old, broken
            assert store.replace(old, new), broken
            assert store.find(old.locator) == new, broken

    def test_replace_with_an_old_stamp_changes_nothing(self) -> None:
        with self.fresh_store() as store:
            first = sign_in(store, a_user())
            second = successor(first)
            store.replace(first, second)
            broken = law("replace", "``False``: it is not")
            assert store.replace(first, successor(first, methods=("otp",))) is False, broken
            broken = law("replace", "this call left the store as it was")
            assert store.find(first.locator) == second, broken

    def test_replace_compares_stamps_and_nothing_else(self) -> None:
        with self.fresh_store() as store:
            stored = sign_in(store, a_user())
            broken = law("replace", "Compared by stamp.")
            equal_but_for_the_stamp = replace(stored, stamp=new_stamp())
            assert not store.replace(equal_but_for_the_stamp, successor(stored)), broken
            assert store.find(stored.locator) == stored, broken
            same_stamp = replace(stored, methods=("otp",), last_seen_at=_LATER)
            new = successor(stored)
            assert store.replace(same_stamp, new), broken
            assert store.find(stored.locator) == new, broken

    def test_replace_makes_no_session(self) -> None:
        with self.fresh_store() as store:
            user = a_user()
            absent = a_session(user, open_epoch(store, user))
            broken = shared_law("There is no upsert.")
            assert store.replace(absent, successor(absent)) is False, broken
            assert store.find(absent.locator) is None, broken
            assert store.roster(user).sessions == (), broken
            unknown_epoch = a_session(user, Epoch(bytes(EPOCH_BYTES)))
            assert store.replace(unknown_epoch, successor(unknown_epoch)) is False, broken
            assert store.find(unknown_epoch.locator) is None, broken

    def test_replace_does_not_bring_back_a_deleted_session(self) -> None:
        with self.fresh_store() as store:
            old = sign_in(store, a_user())
            store.delete(old.locator)
            broken = shared_law("*Dead stays dead.*")
            assert store.replace(old, successor(old)) is False, broken
            assert store.find(old.locator) is None, broken
            assert store.roster(old.subject).sessions == (), broken
            assert store.read_data(old.locator) is None, broken

    def test_replace_does_not_bring_back_a_deleted_user(self) -> None:
        with self.fresh_store() as store:
            old = sign_in(store, a_user())
            store.delete_user(old.subject)
            broken = law("delete_user", "Whatever is in flight")
            assert store.replace(old, successor(old)) is False, broken
            assert store.find(old.locator) is None, broken
            assert store.roster(old.subject).sessions == (), broken
            open_epoch(store, old.subject)
            assert store.replace(old, successor(old)) is False, broken
            assert store.find(old.locator) is None, broken
            assert store.roster(old.subject).sessions == (), broken

    def test_replace_does_not_take_a_slot_that_was_given_to_another(self) -> None:
        with self.fresh_store() as store:
            old = sign_in(store, a_user())
            store.delete(old.locator)
            other = sign_in(store, old.subject, locator=old.locator)
            broken = law("replace", "Compared by stamp.")
            assert store.replace(old, successor(old)) is False, broken
            assert store.find(old.locator) == other, broken

    def test_replace_recognises_its_repetition(self) -> None:
        with self.fresh_store() as store:
            old = sign_in(store, a_user())
            new = successor(old)
            broken = law("replace", "Repeating a call that took effect is safe")
            for _ in range(3):
                assert store.replace(old, new) is True, broken
                assert store.find(old.locator) == new, broken

    def test_replace_repeated_after_another_change_is_refused(self) -> None:
        with self.fresh_store() as store:
            first = sign_in(store, a_user())
            second = successor(first)
            third = successor(second)
            broken = law("replace", "Repeating a call that took effect is safe")
            assert store.replace(first, second), broken
            assert store.replace(second, third), broken
            assert store.replace(first, second) is False, broken
            assert store.find(first.locator) == third, broken

    def test_replace_touches_neither_data_nor_other_sessions(self) -> None:
        with self.fresh_store() as store:
            old = sign_in(store, a_user())
            other = sign_in(store, old.subject)
            store.write_data(old.locator, a_change({"key": b"1"}))
            new = successor(old)
            broken = law("replace", "Swap *old* for *new*, provided *old* is still what is stored.")
            assert store.replace(old, new), broken
            assert values(store, new) == {"key": b"1"}, broken
            assert store.find(other.locator) == other, broken
            assert set(store.roster(old.subject).sessions) == {new, other}, broken

    # --- roster ---------------------------------------------------------------------

    def test_a_subject_without_an_epoch_has_an_empty_roster_and_version(self) -> None:
        with self.fresh_store() as store:
            user = a_user()
            for _ in range(2):
                roster = store.roster(user)
                broken = law(
                    "roster",
                    "For a subject without an epoch the roster is empty and so is its version.",
                )
                assert roster.sessions == (), broken
                assert roster.version == b"", broken
                assert roster.unreadable == (), broken

    def test_the_roster_holds_every_session_of_its_subject_and_no_other(self) -> None:
        with self.fresh_store() as store:
            user, neighbour = a_user(), a_user()
            others = {sign_in(store, neighbour) for _ in range(3)}
            sessions = {sign_in(store, user) for _ in range(25)}
            roster = store.roster(user)
            broken = law("roster", "Return all sessions of the subject's current epoch")
            assert len(roster.sessions) == len(sessions), broken
            assert set(roster.sessions) == sessions, broken
            assert roster.unreadable == (), broken
            assert set(store.roster(neighbour).sessions) == others, broken

    def test_reading_the_roster_writes_nothing(self) -> None:
        with self.fresh_store() as store:
            session = sign_in(store, a_user())
            broken = law("roster", "Writes nothing.")
            first, second = store.roster(session.subject), store.roster(session.subject)
            assert first.version == second.version, broken
            assert store.find(session.locator) == session, broken

    def test_a_deleted_user_has_an_empty_roster_and_version(self) -> None:
        with self.fresh_store() as store:
            session = sign_in(store, a_user())
            store.delete_user(session.subject)
            roster = store.roster(session.subject)
            broken = law(
                "roster",
                "For a subject without an epoch the roster is empty and so is its version.",
            )
            assert roster.sessions == (), broken
            assert roster.version == b"", broken

    # --- admit ----------------------------------------------------------------------

    def test_an_admitted_session_is_found_and_has_no_data(self) -> None:
        with self.fresh_store() as store:
            user = a_user()
            session = a_session(user, open_epoch(store, user))
            broken = law("admit", "Insert one session")
            assert store.admit(session, (), None, NOW) is Admission.ADMITTED, broken
            assert store.find(session.locator) == session, broken
            assert store.roster(user).sessions == (session,), broken
            assert store.read_data(session.locator) == {}, broken

    def test_admit_needs_the_current_epoch_of_the_very_subject(self) -> None:
        with self.fresh_store() as store:
            user, neighbour = a_user(), a_user()
            ended = open_epoch(store, user)
            store.delete_user(user)
            broken = law(
                "admit", "``STALE`` if the session's epoch is not its subject's current one"
            )
            unopened = a_session(user, ended)
            assert store.admit(unopened, (), None, NOW) is Admission.STALE, broken
            assert store.roster(user).version == b"", broken
            open_epoch(store, user)
            foreign = open_epoch(store, neighbour)
            for epoch in (ended, foreign, Epoch(bytes(EPOCH_BYTES))):
                session = a_session(user, epoch)
                assert store.admit(session, (), None, NOW) is Admission.STALE, broken
                assert store.find(session.locator) is None, broken
                assert store.read_data(session.locator) is None, broken
            assert store.roster(user).sessions == (), broken
            assert store.roster(neighbour).sessions == (), broken

    def test_a_stale_admission_changes_nothing(self) -> None:
        with self.fresh_store() as store:
            user = a_user()
            ended = open_epoch(store, user)
            store.delete_user(user)
            live = sign_in(store, user)
            before = store.roster(user)
            broken = law("admit", "leave the store as it was")
            session = a_session(user, ended)
            for version in (None, before.version):
                answer = store.admit(session, (live.locator,), version, NOW)
                assert answer is Admission.STALE, broken
                assert store.roster(user) == before, broken
                assert store.find(live.locator) == live, broken

    def test_an_ended_epoch_is_stale_whatever_the_version(self) -> None:
        with self.fresh_store() as store:
            session = sign_in(store, a_user())
            version = store.roster(session.subject).version
            late = a_session(session.subject, session.locator.epoch)
            store.delete_user(session.subject)
            broken = law(
                "admit", "``STALE`` if the session's epoch is not its subject's current one"
            )
            assert store.admit(late, (), version, NOW) is Admission.STALE, broken
            sign_in(store, session.subject)
            assert store.admit(late, (), version, NOW) is Admission.STALE, broken
            assert store.find(late.locator) is None, broken

    def test_a_slot_is_never_overwritten(self) -> None:
        with self.fresh_store() as store:
            stored = sign_in(store, a_user())
            other = sign_in(store, stored.subject)
            store.write_data(stored.locator, a_change({"key": b"1"}))
            before = store.roster(stored.subject)
            rival = a_session(stored.subject, stored.locator.epoch, locator=stored.locator)
            broken = law("admit", "Never overwrites a slot")
            for version in (None, before.version):
                answer = store.admit(rival, (other.locator,), version, NOW)
                assert answer is Admission.CONFLICT, broken
                assert store.find(stored.locator) == stored, broken
                assert store.find(other.locator) == other, broken
                assert values(store, stored) == {"key": b"1"}, broken
                after = store.roster(stored.subject)
                assert set(after.sessions) == set(before.sessions), broken
                assert after.version == before.version, broken

    def test_a_slot_is_not_overwritten_by_evicting_it_either(self) -> None:
        with self.fresh_store() as store:
            stored = sign_in(store, a_user())
            other = sign_in(store, stored.subject)
            rival = a_session(stored.subject, stored.locator.epoch, locator=stored.locator)
            broken = law("admit", "Never overwrites a slot, not even one among *evicted*.")
            for version in (None, store.roster(stored.subject).version):
                evicted = (other.locator, stored.locator)
                assert store.admit(rival, evicted, version, NOW) is Admission.CONFLICT, broken
                assert set(store.roster(stored.subject).sessions) == {stored, other}, broken

    def test_admit_with_the_current_version_is_admitted(self) -> None:
        with self.fresh_store() as store:
            user = a_user()
            epoch = open_epoch(store, user)
            for _ in range(3):
                version = store.roster(user).version
                session = a_session(user, epoch)
                answer = store.admit(session, (), version, NOW)
                assert answer is Admission.ADMITTED, law(
                    "admit", "Admit only if the roster still has this version"
                )

    def test_admit_with_an_earlier_version_is_a_conflict(self) -> None:
        with self.fresh_store() as store:
            first = sign_in(store, a_user())
            user, epoch = first.subject, first.locator.epoch
            version = store.roster(user).version
            second = sign_in(store, user)
            before = store.roster(user)
            late = a_session(user, epoch)
            answer = store.admit(late, (first.locator,), version, NOW)
            broken = law("admit", "``CONFLICT`` if the version has moved or the slot is taken.")
            assert answer is Admission.CONFLICT, broken
            assert store.find(late.locator) is None, broken
            assert store.find(first.locator) == first, broken
            after = store.roster(user)
            assert set(after.sessions) == {first, second}, broken
            assert after.version == before.version, broken

    def test_every_admission_moves_the_version(self) -> None:
        with self.fresh_store() as store:
            user = a_user()
            epoch = open_epoch(store, user)
            versions = [store.roster(user).version]
            for number in range(8):
                asked = versions[-1] if number % 2 else None
                session = a_session(user, epoch)
                broken = law("admit", "Every admission moves the roster's version")
                assert store.admit(session, (), asked, NOW) is Admission.ADMITTED, broken
                versions.append(store.roster(user).version)
                assert len(set(versions)) == len(versions), broken

    def test_an_admission_without_a_version_is_noticed_by_one_with(self) -> None:
        with self.fresh_store() as store:
            user = a_user()
            epoch = open_epoch(store, user)
            version = store.roster(user).version
            sign_in(store, user)
            late = a_session(user, epoch)
            assert store.admit(late, (), version, NOW) is Admission.CONFLICT, law(
                "admit", "Every admission moves the roster's version"
            )

    def test_a_version_does_not_return_when_its_sessions_are_gone(self) -> None:
        with self.fresh_store() as store:
            user = a_user()
            epoch = open_epoch(store, user)
            version = store.roster(user).version
            store.delete(sign_in(store, user).locator)
            late = a_session(user, epoch)
            assert store.admit(late, (), version, NOW) is Admission.CONFLICT, law(
                "admit", "Every admission moves the roster's version"
            )

    def test_evicted_sessions_are_gone_with_their_data(self) -> None:
        with self.fresh_store() as store:
            user = a_user()
            evicted = [sign_in(store, user) for _ in range(3)]
            kept = sign_in(store, user)
            for session in (*evicted, kept):
                store.write_data(session.locator, a_change({"key": b"1"}))
            new = a_session(user, kept.locator.epoch)
            locators = tuple(session.locator for session in evicted)
            version = store.roster(user).version
            broken = law("admit", "Insert one session and delete the evicted ones, as one step.")
            assert store.admit(new, locators, version, NOW) is Admission.ADMITTED, broken
            assert set(store.roster(user).sessions) == {kept, new}, broken
            assert values(store, kept) == {"key": b"1"}, broken
            assert values(store, new) == {}, broken
            broken = law("admit", "to delete with their data")
            for session in evicted:
                assert store.find(session.locator) is None, broken
                assert store.read_data(session.locator) is None, broken
                assert not store.replace(session, successor(session)), broken
                again = sign_in(store, user, locator=session.locator)
                assert values(store, again) == {}, broken

    def test_what_is_absent_needs_no_eviction(self) -> None:
        with self.fresh_store() as store:
            ended = sign_in(store, a_user())
            user = ended.subject
            store.delete_user(user)
            live = sign_in(store, user)
            epoch = live.locator.epoch
            absent = (a_session(user, epoch).locator, ended.locator)
            session = a_session(user, epoch)
            broken = law("admit", "Nothing that is absent needs to be evicted.")
            version = store.roster(user).version
            assert store.admit(session, absent, version, NOW) is Admission.ADMITTED, broken
            assert set(store.roster(user).sessions) == {live, session}, broken

    def test_many_sessions_can_be_evicted_at_once(self) -> None:
        with self.fresh_store() as store:
            user = a_user()
            locators = tuple(sign_in(store, user).locator for _ in range(120))
            session = a_session(user, locators[0].epoch)
            broken = law("admit", "Insert one session and delete the evicted ones, as one step.")
            assert store.admit(session, locators, None, NOW) is Admission.ADMITTED, broken
            assert store.roster(user).sessions == (session,), broken

    def test_a_slot_can_be_used_again_and_starts_without_data(self) -> None:
        with self.fresh_store() as store:
            first = sign_in(store, a_user())
            store.write_data(first.locator, a_change({"key": b"1"}))
            store.delete(first.locator)
            again = a_session(first.subject, first.locator.epoch, locator=first.locator)
            broken = law("delete", "Delete one session with its data.")
            assert store.admit(again, (), None, NOW) is Admission.ADMITTED, broken
            assert values(store, again) == {}, broken

    def test_admit_drops_nothing_that_has_not_expired(self) -> None:
        with self.fresh_store() as store:
            user = a_user()
            at = NOW + timedelta(hours=2)
            kept = {
                sign_in(store, user, keep_until=at + MILLISECOND * margin)
                for margin in range(1, 30)
            }
            store.open_epoch(user, at, LOGIN_WINDOW)
            new = a_session(user, next(iter(kept)).locator.epoch, last_seen_at=at)
            broken = law(
                "admit", "drop some records of this subject whose ``keep_until`` has passed"
            )
            assert store.admit(new, (), None, at) is Admission.ADMITTED, broken
            assert set(store.roster(user).sessions) == {*kept, new}, broken

    # --- restart --------------------------------------------------------------------

    def test_restart_leaves_one_session_in_a_fresh_epoch(self) -> None:
        with self.fresh_store() as store:
            old = sign_in(store, a_user())
            others = [sign_in(store, old.subject) for _ in range(3)]
            bystander = sign_in(store, a_user())
            for session in (*others, bystander):
                store.write_data(session.locator, a_change({"key": b"1"}))
            new = restarted(old, methods=("pwd", "otp"))
            moved = store.restart(old, new)
            broken = law(
                "restart", "End the subject's epoch and open a fresh one that holds only *new*."
            )
            assert moved is not None, broken
            assert moved.epoch != old.locator.epoch, broken
            stored = law("restart", "it is stored under the fresh epoch with that slot")
            assert moved.slot == new.locator.slot, stored
            assert store.find(moved) == new.moved_to(moved), stored
            assert store.roster(old.subject).sessions == (new.moved_to(moved),), broken
            assert open_epoch(store, old.subject) == moved.epoch, broken
            broken = law("restart", "All sessions of the ended epoch and their data are gone")
            for session in (old, *others, new):
                assert store.find(session.locator) is None, broken
                assert store.read_data(session.locator) is None, broken
            assert store.find(bystander.locator) == bystander, broken
            assert values(store, bystander) == {"key": b"1"}, broken

    def test_restart_carries_the_data_over(self) -> None:
        with self.fresh_store() as store:
            old = sign_in(store, a_user())
            other = sign_in(store, old.subject)
            store.write_data(old.locator, a_change({"kept": b"1", "b": b""}))
            store.write_data(other.locator, a_change({"lost": b"1"}))
            data = store.read_data(old.locator)
            moved = store.restart(old, restarted(old))
            broken = law("restart", "*old*'s data becomes *new*'s")
            assert moved is not None, broken
            assert store.read_data(moved) == data, broken
            guarded = a_change({"kept": b"2"}, expect={"kept": data["kept"].stamp} if data else {})
            assert store.write_data(moved, guarded) is DataWrite.WRITTEN, broken

    def test_restart_makes_what_is_in_flight_fail(self) -> None:
        with self.fresh_store() as store:
            old = sign_in(store, a_user())
            other = sign_in(store, old.subject)
            late = a_session(old.subject, old.locator.epoch)
            moved = store.restart(old, restarted(old))
            broken = law("restart", "All sessions of the ended epoch and their data are gone")
            assert moved is not None, broken
            assert store.admit(late, (), None, NOW) is Admission.STALE, broken
            for session in (old, other):
                assert not store.replace(session, successor(session)), broken
                assert not store.delete(session.locator), broken
                change = a_change({"key": b"1"})
                assert store.write_data(session.locator, change) is DataWrite.GONE, broken
                assert store.restart(session, restarted(session)) is None, broken
            assert [session.locator for session in store.roster(old.subject).sessions] == [moved], (
                broken
            )

    def test_restart_with_an_old_stamp_does_nothing(self) -> None:
        with self.fresh_store() as store:
            old = sign_in(store, a_user())
            other = sign_in(store, old.subject)
            current = successor(old)
            store.replace(old, current)
            store.write_data(other.locator, a_change({"key": b"1"}))
            before = store.roster(old.subject)
            broken = law("restart", "``None`` if *old* is changed or gone")
            assert store.restart(old, restarted(old)) is None, broken
            after = store.roster(old.subject)
            assert set(after.sessions) == {current, other} == set(before.sessions), broken
            assert after.version == before.version, broken
            assert values(store, other) == {"key": b"1"}, broken
            assert open_epoch(store, old.subject) == old.locator.epoch, broken

    def test_restart_of_a_deleted_session_does_nothing(self) -> None:
        with self.fresh_store() as store:
            old = sign_in(store, a_user())
            other = sign_in(store, old.subject)
            store.delete(old.locator)
            broken = law("restart", "``None`` if *old* is changed or gone")
            assert store.restart(old, restarted(old)) is None, broken
            assert store.roster(old.subject).sessions == (other,), broken
            assert open_epoch(store, old.subject) == old.locator.epoch, broken

    def test_restart_does_not_bring_back_a_deleted_user(self) -> None:
        with self.fresh_store() as store:
            old = sign_in(store, a_user())
            store.delete_user(old.subject)
            broken = law("delete_user", "Whatever is in flight")
            assert store.restart(old, restarted(old)) is None, broken
            assert store.roster(old.subject).sessions == (), broken
            live = sign_in(store, old.subject)
            assert store.restart(old, restarted(old)) is None, broken
            assert store.roster(old.subject).sessions == (live,), broken

    def test_restart_recognises_its_repetition(self) -> None:
        with self.fresh_store() as store:
            old = sign_in(store, a_user())
            store.write_data(old.locator, a_change({"key": b"1"}))
            new = restarted(old)
            moved = store.restart(old, new)
            broken = law("restart", "returns the same locator as long as *new* is what is stored")
            assert moved is not None, broken
            later = sign_in(store, old.subject)
            store.write_data(moved, a_change({"key": b"2"}))
            for _ in range(2):
                assert store.restart(old, new) == moved, broken
                assert set(store.roster(old.subject).sessions) == {new.moved_to(moved), later}, (
                    broken
                )
                assert values(store, new.moved_to(moved)) == {"key": b"2"}, broken

    def test_restart_repeated_when_its_session_has_changed_or_gone_does_nothing(self) -> None:
        with self.fresh_store() as store:
            old = sign_in(store, a_user())
            new = restarted(old)
            moved = store.restart(old, new)
            broken = law("restart", "``None`` if *old* is changed or gone")
            assert moved is not None, broken
            other = sign_in(store, old.subject)
            stored = new.moved_to(moved)
            touched = successor(stored)
            assert store.replace(stored, touched), broken
            assert store.restart(old, new) is None, broken
            assert set(store.roster(old.subject).sessions) == {touched, other}, broken
            store.delete(moved)
            assert store.restart(old, new) is None, broken
            assert store.roster(old.subject).sessions == (other,), broken

    def test_a_restarted_session_is_one_like_any_other(self) -> None:
        with self.fresh_store() as store:
            old = sign_in(store, a_user())
            new = restarted(old)
            moved = store.restart(old, new)
            broken = law("restart", "Where *new* is stored now")
            assert moved is not None, broken
            stored = new.moved_to(moved)
            touched = successor(stored)
            assert store.replace(stored, touched), broken
            version = store.roster(old.subject).version
            another = a_session(old.subject, moved.epoch)
            answer = store.admit(another, (), version, NOW)
            assert answer is Admission.ADMITTED, broken
            assert store.write_data(moved, a_change({"key": b"1"})) is DataWrite.WRITTEN, broken
            again = store.restart(touched, restarted(touched))
            assert again is not None, broken
            assert again.epoch not in {old.locator.epoch, moved.epoch}, broken
            assert store.read_data(moved) is None, broken
            assert store.delete_user(old.subject) == 1, broken
            assert store.find(again) is None, broken

    # --- delete ---------------------------------------------------------------------

    def test_delete_removes_the_session_and_its_data(self) -> None:
        with self.fresh_store() as store:
            session = sign_in(store, a_user())
            other = sign_in(store, session.subject)
            for each in (session, other):
                store.write_data(each.locator, a_change({"key": b"1"}))
            broken = law("delete", "Delete one session with its data.")
            assert store.delete(session.locator) is True, broken
            assert store.find(session.locator) is None, broken
            assert store.read_data(session.locator) is None, broken
            assert store.roster(session.subject).sessions == (other,), broken
            assert values(store, other) == {"key": b"1"}, broken

    def test_deleting_twice_is_a_no_op(self) -> None:
        with self.fresh_store() as store:
            session = sign_in(store, a_user())
            store.delete(session.locator)
            broken = law("delete", "Idempotent")
            assert store.delete(session.locator) is False, broken
            assert store.delete(session.locator, session) is False, broken

    def test_deleting_what_is_absent_is_a_no_op(self) -> None:
        with self.fresh_store() as store:
            session = sign_in(store, a_user())
            broken = law("delete", "Whether this call deleted it.")
            absent = a_session(session.subject, session.locator.epoch)
            assert store.delete(absent.locator) is False, broken
            assert store.delete(absent.locator, absent) is False, broken
            unknown = Locator(Epoch(bytes(EPOCH_BYTES)), session.locator.slot)
            assert store.delete(unknown) is False, broken
            assert store.find(session.locator) == session, broken

    def test_delete_with_an_expectation_deletes_only_what_was_expected(self) -> None:
        with self.fresh_store() as store:
            first = sign_in(store, a_user())
            second = successor(first)
            store.replace(first, second)
            store.write_data(first.locator, a_change({"key": b"1"}))
            broken = law("delete", "delete only while this is what is stored")
            assert store.delete(first.locator, first) is False, broken
            assert store.find(first.locator) == second, broken
            assert values(store, second) == {"key": b"1"}, broken
            assert store.delete(first.locator, second) is True, broken
            assert store.find(first.locator) is None, broken
            assert store.read_data(first.locator) is None, broken

    def test_deleting_the_last_session_does_not_end_the_epoch(self) -> None:
        with self.fresh_store() as store:
            session = sign_in(store, a_user())
            store.delete(session.locator)
            broken = law("open_epoch", "even without a session, unless it is ended")
            assert open_epoch(store, session.subject) == session.locator.epoch, broken
            late = a_session(session.subject, session.locator.epoch)
            assert store.admit(late, (), None, NOW) is Admission.ADMITTED, broken

    # --- delete_user ----------------------------------------------------------------

    def test_delete_user_leaves_nothing(self) -> None:
        with self.fresh_store() as store:
            user = a_user()
            sessions = [sign_in(store, user) for _ in range(5)]
            for session in sessions:
                store.write_data(session.locator, a_change({"key": b"1"}))
            broken = law(
                "delete_user", "Delete every session of *subject*, their data and the epoch"
            )
            assert store.delete_user(user) == len(sessions), broken
            for session in sessions:
                assert store.find(session.locator) is None, broken
                assert store.read_data(session.locator) is None, broken
            epoch = open_epoch(store, user)
            assert epoch != sessions[0].locator.epoch, broken
            assert store.roster(user).sessions == (), broken
            for session in sessions:
                again = sign_in(store, user, locator=Locator(epoch, session.locator.slot))
                assert values(store, again) == {}, broken

    def test_delete_user_leaves_other_subjects_alone(self) -> None:
        with self.fresh_store() as store:
            session, other = sign_in(store, a_user()), sign_in(store, a_user())
            store.write_data(other.locator, a_change({"key": b"1"}))
            before = store.roster(other.subject)
            store.delete_user(session.subject)
            broken = law("delete_user", "Delete every session of *subject*")
            assert store.roster(other.subject) == before, broken
            assert values(store, other) == {"key": b"1"}, broken

    def test_delete_user_can_be_repeated(self) -> None:
        with self.fresh_store() as store:
            session = sign_in(store, a_user())
            broken = law("delete_user", "Idempotent")
            assert store.delete_user(session.subject) == 1, broken
            assert store.delete_user(session.subject) == 0, broken
            assert store.delete_user(a_user()) == 0, broken

    def test_delete_user_ends_an_epoch_without_sessions(self) -> None:
        with self.fresh_store() as store:
            user = a_user()
            epoch = open_epoch(store, user)
            broken = law("delete_user", "Whatever is in flight")
            assert store.delete_user(user) == 0, broken
            assert store.admit(a_session(user, epoch), (), None, NOW) is Admission.STALE, broken
            assert open_epoch(store, user) != epoch, broken

    # --- find_with_data ---------------------------------------------------------------

    def test_a_session_is_found_with_its_data(self) -> None:
        with self.fresh_store() as store:
            session = sign_in(store, a_user(), device=Device("192.0.2.1", "agent"))
            other = sign_in(store, session.subject)
            store.write_data(session.locator, a_change({"key": b"1", "empty": b""}))
            store.write_data(other.locator, a_change({"key": b"2"}))
            broken = law("find_with_data", "Return a session together with its data")
            data = store.read_data(session.locator)
            assert data, broken
            assert store.find_with_data(session.locator) == (session, data), broken
            newer = successor(session, methods=("otp",))
            store.replace(session, newer)
            assert store.find_with_data(session.locator) == (newer, data), broken

    def test_a_session_without_data_is_found_with_none(self) -> None:
        with self.fresh_store() as store:
            session = sign_in(store, a_user())
            assert store.find_with_data(session.locator) == (session, {}), law(
                "find_with_data", "What :meth:`find` and :meth:`read_data` say"
            )

    def test_what_is_not_found_is_not_found_with_data_either(self) -> None:
        with self.fresh_store() as store:
            user = a_user()
            absent = a_session(user, open_epoch(store, user))
            unknown = a_session(user, Epoch(bytes(EPOCH_BYTES)))
            deleted, ended = sign_in(store, user), sign_in(store, a_user())
            for session in (deleted, ended):
                store.write_data(session.locator, a_change({"key": b"1"}))
            store.delete(deleted.locator)
            store.delete_user(ended.subject)
            for session in (absent, unknown, deleted, ended):
                assert store.find_with_data(session.locator) is None, law(
                    "find_with_data", "What :meth:`find` and :meth:`read_data` say"
                )

    # --- read_data and write_data -----------------------------------------------------

    def test_there_is_no_data_without_a_session(self) -> None:
        with self.fresh_store() as store:
            user = a_user()
            absent = a_session(user, open_epoch(store, user))
            unknown = a_session(user, Epoch(bytes(EPOCH_BYTES)))
            for session in (absent, unknown):
                assert store.read_data(session.locator) is None, law(
                    "read_data", "or ``None`` if the session is not there"
                )
                change = a_change({"key": b"1"})
                assert store.write_data(session.locator, change) is DataWrite.GONE, law(
                    "write_data", "``GONE``: the session is not there; nothing is kept for it."
                )
            late = sign_in(store, user, locator=absent.locator)
            assert values(store, late) == {}, law(
                "write_data", "``GONE``: the session is not there; nothing is kept for it."
            )

    def test_data_cannot_be_written_to_a_deleted_session(self) -> None:
        with self.fresh_store() as store:
            session = sign_in(store, a_user())
            written = a_change({"key": b"1"})
            store.write_data(session.locator, written)
            store.delete(session.locator)
            broken = law(
                "write_data", "``GONE``: the session is not there; nothing is kept for it."
            )
            # The repetition of an earlier change too: GONE comes first.
            for change in (written, a_change({"key": b"2"}), a_change(remove=frozenset({"key"}))):
                assert store.write_data(session.locator, change) is DataWrite.GONE, broken
                assert store.read_data(session.locator) is None, broken
            again = sign_in(store, session.subject, locator=session.locator)
            assert values(store, again) == {}, broken

    def test_data_cannot_be_written_to_an_ended_epoch(self) -> None:
        with self.fresh_store() as store:
            session = sign_in(store, a_user())
            store.delete_user(session.subject)
            broken = law(
                "write_data", "``GONE``: the session is not there; nothing is kept for it."
            )
            assert store.write_data(session.locator, a_change({"key": b"1"})) is DataWrite.GONE, (
                broken
            )
            assert store.read_data(session.locator) is None, broken

    def test_keys_that_a_change_does_not_name_keep_their_values(self) -> None:
        with self.fresh_store() as store:
            session = sign_in(store, a_user())
            first = a_change({"a": b"1", "b": b"2"})
            second = a_change({"b": b"3", "c": b"4"}, remove=frozenset({"absent"}))
            broken = law("write_data", "Keys that the change does not name keep their values")
            for change in (first, second):
                assert store.write_data(session.locator, change) is DataWrite.WRITTEN, broken
            data = store.read_data(session.locator)
            assert data is not None, broken
            assert {key: (datum.value, datum.stamp) for key, datum in data.items()} == {
                "a": (b"1", first.stamp),
                "b": (b"3", second.stamp),
                "c": (b"4", second.stamp),
            }, broken

    def test_removed_keys_are_absent(self) -> None:
        with self.fresh_store() as store:
            session = sign_in(store, a_user())
            store.write_data(session.locator, a_change({"a": b"1", "b": b"2", "c": b"3"}))
            change = a_change({"d": b"4"}, remove=frozenset({"a", "b"}))
            broken = law("write_data", "the removed keys are absent")
            assert store.write_data(session.locator, change) is DataWrite.WRITTEN, broken
            assert values(store, session) == {"c": b"3", "d": b"4"}, broken
            rest = a_change(remove=frozenset({"c", "d"}))
            assert store.write_data(session.locator, rest) is DataWrite.WRITTEN, broken
            assert values(store, session) == {}, broken

    def test_a_change_of_data_leaves_the_session_as_it_was(self) -> None:
        with self.fresh_store() as store:
            session = sign_in(store, a_user())
            store.write_data(session.locator, a_change({"key": b"1"}))
            broken = law("write_data", "The session's record and stamp do not change.")
            assert store.find(session.locator) == session, broken
            assert store.roster(session.subject).sessions == (session,), broken
            assert store.replace(session, successor(session)), broken

    def test_sessions_do_not_share_data(self) -> None:
        with self.fresh_store() as store:
            sessions = [sign_in(store, a_user())]
            sessions += [sign_in(store, sessions[0].subject), sign_in(store, a_user())]
            for number, session in enumerate(sessions):
                store.write_data(session.locator, a_change({"key": b"%d" % number}))
            for number, session in enumerate(sessions):
                assert values(store, session) == {"key": b"%d" % number}, law(
                    "write_data", "Change the data of one session"
                )

    def test_a_repeated_change_is_recognised_and_changes_nothing(self) -> None:
        with self.fresh_store() as store:
            session = sign_in(store, a_user())
            store.write_data(session.locator, a_change({"old": b"1"}))
            change = a_change(
                {"a": b"1", "b": b"2"}, remove=frozenset({"old"}), expect={"a": None, "b": None}
            )
            broken = law("write_data", "every put key already bears the change's stamp")
            assert store.write_data(session.locator, change) is DataWrite.WRITTEN, broken
            store.write_data(session.locator, a_change({"old": b"3"}))
            # Neither its guards nor its capacity would let it pass a second time.
            for again in (change, replace(change, capacity=0)):
                assert store.write_data(session.locator, again) is DataWrite.WRITTEN, broken
                assert values(store, session) == {"a": b"1", "b": b"2", "old": b"3"}, broken

    def test_a_change_is_a_repetition_only_if_every_put_key_bears_its_stamp(self) -> None:
        with self.fresh_store() as store:
            session = sign_in(store, a_user())
            change = a_change({"a": b"1", "b": b"2"})
            store.write_data(session.locator, change)
            other = a_change({"b": b"3"})
            store.write_data(session.locator, other)
            broken = law("write_data", "every put key already bears the change's stamp")
            guarded = replace(change, expect={"b": None})
            assert store.write_data(session.locator, guarded) is DataWrite.CONFLICT, broken
            assert values(store, session) == {"a": b"1", "b": b"3"}, broken
            assert store.write_data(session.locator, change) is DataWrite.WRITTEN, broken
            assert values(store, session) == {"a": b"1", "b": b"2"}, broken

    def test_a_change_that_puts_nothing_is_never_a_repetition(self) -> None:
        with self.fresh_store() as store:
            session = sign_in(store, a_user())
            store.write_data(session.locator, a_change({"a": b"1"}))
            broken = law("write_data", "there is at least one")
            guarded = a_change(remove=frozenset({"a"}), expect={"a": new_stamp()})
            assert store.write_data(session.locator, guarded) is DataWrite.CONFLICT, broken
            assert values(store, session) == {"a": b"1"}, broken

    def test_a_guard_holds_only_for_the_expected_stamp(self) -> None:
        with self.fresh_store() as store:
            session = sign_in(store, a_user())
            first = a_change({"a": b"1"})
            store.write_data(session.locator, first)
            broken = law("write_data", "``CONFLICT``: a guard in ``change.expect`` does not hold.")
            for expect in (
                {"a": new_stamp()},
                {"a": None},
                {"b": first.stamp},
                {"a": first.stamp, "b": first.stamp},
                {"a": None, "b": None},
            ):
                change = a_change({"a": b"2", "c": b"3"}, remove=frozenset({"b"}), expect=expect)
                assert store.write_data(session.locator, change) is DataWrite.CONFLICT, broken
                assert values(store, session) == {"a": b"1"}, broken
            change = a_change({"a": b"2", "c": b"3"}, expect={"a": first.stamp, "b": None})
            assert store.write_data(session.locator, change) is DataWrite.WRITTEN, broken
            assert values(store, session) == {"a": b"2", "c": b"3"}, broken

    def test_a_guard_may_be_on_a_key_that_is_removed_or_not_changed(self) -> None:
        with self.fresh_store() as store:
            session = sign_in(store, a_user())
            first = a_change({"a": b"1", "b": b"2"})
            store.write_data(session.locator, first)
            broken = law("write_data", "``CONFLICT``: a guard in ``change.expect`` does not hold.")
            take = a_change(remove=frozenset({"a"}), expect={"a": first.stamp})
            assert store.write_data(session.locator, take) is DataWrite.WRITTEN, broken
            assert store.write_data(session.locator, take) is DataWrite.CONFLICT, broken
            bystander = a_change({"c": b"3"}, expect={"b": first.stamp})
            assert store.write_data(session.locator, bystander) is DataWrite.WRITTEN, broken
            assert values(store, session) == {"b": b"2", "c": b"3"}, broken

    def test_capacity_is_exact(self) -> None:
        with self.fresh_store() as store:
            broken = law(
                "write_data",
                "keys and values together would take more than ``change.capacity`` bytes",
            )
            session = sign_in(store, a_user())
            # Two characters, four bytes; then one and five: ten bytes in all.
            data = {"\N{LATIN SMALL LETTER E WITH ACUTE}" * 2: b"", "k": b"12345"}
            full = a_change(data, capacity=9)
            assert store.write_data(session.locator, full) is DataWrite.FULL, broken
            assert values(store, session) == {}, broken
            fits = a_change(data, capacity=10)
            assert store.write_data(session.locator, fits) is DataWrite.WRITTEN, broken
            for more in ({"k": b"123456"}, {"x": b""}):
                change = a_change(more, capacity=10)
                assert store.write_data(session.locator, change) is DataWrite.FULL, broken
                assert values(store, session) == data, broken
            # What is overwritten or removed by the same change does not count.
            overwrite = a_change({"k": b"54321"}, capacity=10)
            assert store.write_data(session.locator, overwrite) is DataWrite.WRITTEN, broken
            swap = a_change({"xy": b"1234"}, remove=frozenset({"k"}), capacity=10)
            assert store.write_data(session.locator, swap) is DataWrite.WRITTEN, broken
            assert (
                store.write_data(session.locator, a_change({"z": b""}, capacity=10))
                is DataWrite.FULL
            ), broken
            assert (
                store.write_data(session.locator, a_change({"z": b""}, capacity=11))
                is DataWrite.WRITTEN
            ), broken

    def test_what_is_over_capacity_may_shrink_but_not_grow(self) -> None:
        with self.fresh_store() as store:
            session = sign_in(store, a_user())
            store.write_data(session.locator, a_change({"a": b"1" * 50, "b": b"2" * 50}))
            broken = law("write_data", "and more than they take now")
            grows = a_change({"a": b"1" * 51}, capacity=10)
            assert store.write_data(session.locator, grows) is DataWrite.FULL, broken
            stays = a_change({"a": b"3" * 50}, capacity=10)
            assert store.write_data(session.locator, stays) is DataWrite.WRITTEN, broken
            shrinks = a_change({"a": b"4" * 49}, capacity=10)
            assert store.write_data(session.locator, shrinks) is DataWrite.WRITTEN, broken
            removes = a_change(remove=frozenset({"b"}), capacity=0)
            assert store.write_data(session.locator, removes) is DataWrite.WRITTEN, broken
            assert values(store, session) == {"a": b"4" * 49}, broken

    def test_a_guard_is_tried_before_the_capacity(self) -> None:
        with self.fresh_store() as store:
            session = sign_in(store, a_user())
            change = a_change({"a": b"1"}, expect={"a": new_stamp()}, capacity=0)
            assert store.write_data(session.locator, change) is DataWrite.CONFLICT, law(
                "write_data", "Answers are tried in this order"
            )

    def test_difficult_keys_are_told_apart(self) -> None:
        with self.fresh_store() as store:
            session = sign_in(store, a_user())
            keys = (*DIFFICULT_TEXTS, "k" * 128, "k" * 127, "\N{ROCKET}" * 32)
            written = {key: b"%d" % number for number, key in enumerate(keys)}
            broken = law("write_data", "the put keys hold their values under the change's stamp")
            assert store.write_data(session.locator, a_change(written)) is DataWrite.WRITTEN, broken
            assert values(store, session) == written, broken
            for key in keys:
                change = a_change(remove=frozenset({key}))
                assert store.write_data(session.locator, change) is DataWrite.WRITTEN, broken
                del written[key]
            assert values(store, session) == written == {}, broken

    def test_empty_and_big_values_survive(self) -> None:
        with self.fresh_store() as store:
            session = sign_in(store, a_user())
            written = {
                "empty": b"",
                "big": b'"' + b"\xc3\xa9" * (1 << 15) + b'"',
                "quoted": b'"\\u0000 \\\\ \' %s {}"',
            }
            broken = law("write_data", "the put keys hold their values under the change's stamp")
            assert store.write_data(session.locator, a_change(written)) is DataWrite.WRITTEN, broken
            assert values(store, session) == written, broken

    # --- purge ----------------------------------------------------------------------

    def test_purge_removes_exactly_what_is_due(self) -> None:
        with self.fresh_store() as store:
            before = NOW + timedelta(hours=3)
            user = a_user()
            due = [
                sign_in(store, user, keep_until=before - MILLISECOND),
                sign_in(store, user, keep_until=before - timedelta(hours=1)),
                sign_in(store, a_user(), keep_until=before - timedelta(seconds=1)),
            ]
            kept = [
                sign_in(store, user, keep_until=before),
                sign_in(store, user, keep_until=before + MILLISECOND),
                sign_in(store, a_user(), keep_until=before + timedelta(days=9)),
            ]
            for session in (*due, *kept):
                store.write_data(session.locator, a_change({"key": b"1"}))
            broken = law("purge", "sessions whose ``keep_until`` lies before *before*")
            assert purge_all(store, before, 100) == len(due), broken
            for session in due:
                assert store.find(session.locator) is None, broken
                assert store.read_data(session.locator) is None, broken
                assert not store.replace(session, successor(session)), broken
            for session in kept:
                assert store.find(session.locator) == session, broken
                assert values(store, session) == {"key": b"1"}, broken
            assert set(store.roster(user).sessions) == set(kept[:2]), broken
            assert purge_all(store, before, 100) == 0, broken

    def test_a_purged_session_leaves_no_data_for_its_slot(self) -> None:
        with self.fresh_store() as store:
            session = sign_in(store, a_user())
            sign_in(store, session.subject, keep_until=_LONG_AFTER + LIFETIME)
            store.write_data(session.locator, a_change({"key": b"1"}))
            broken = law("purge", "with their data")
            assert purge_all(store, _LONG_AFTER, 100) == 1, broken
            again = sign_in(store, session.subject, locator=session.locator)
            assert values(store, again) == {}, broken

    def test_purge_stays_within_its_limit_and_comes_to_an_end(self) -> None:
        with self.fresh_store() as store:
            users = [a_user() for _ in range(4)]
            due = [sign_in(store, user) for user in users for _ in range(4)]
            kept = sign_in(store, users[0], keep_until=_LONG_AFTER)
            broken = law("purge", "Calling while there is more deletes all sessions that were due.")
            assert purge_all(store, _LONG_AFTER, 3) == len(due), broken
            for session in due:
                assert store.find(session.locator) is None, broken
            assert store.find(kept.locator) == kept, broken

    def test_purge_goes_by_the_record_that_is_stored(self) -> None:
        with self.fresh_store() as store:
            touched, shortened = sign_in(store, a_user()), sign_in(store, a_user())
            longer = successor(touched, keep_until=_LONG_AFTER)
            shorter = successor(shortened, keep_until=NOW + timedelta(hours=1))
            store.replace(touched, longer)
            store.replace(shortened, shorter)
            broken = law("purge", "sessions whose ``keep_until`` lies before *before*")
            assert purge_all(store, NOW + timedelta(hours=2), 100) == 1, broken
            assert store.find(shorter.locator) is None, broken
            assert purge_all(store, _LONG_AFTER, 100) == 0, broken
            assert store.find(longer.locator) == longer, broken
            assert purge_all(store, _LONG_AFTER + MILLISECOND, 100) == 1, broken

    def test_purge_counts_nothing_that_was_gone_already(self) -> None:
        with self.fresh_store() as store:
            user = a_user()
            evicted, deleted = sign_in(store, user), sign_in(store, user)
            store.admit(
                a_session(user, evicted.locator.epoch, keep_until=_LONG_AFTER),
                (evicted.locator,),
                None,
                NOW,
            )
            store.delete(deleted.locator)
            store.delete_user(sign_in(store, a_user()).subject)
            old = sign_in(store, a_user())
            moved = store.restart(old, restarted(old, keep_until=_LONG_AFTER))
            broken = law("purge", "What was deleted")
            assert purge_all(store, _LONG_AFTER, 100) == 0, broken
            assert moved is not None, broken
            assert store.find(moved) is not None, broken
            assert purge_all(store, _LONG_AFTER + MILLISECOND, 100) == 2, broken
            assert store.find(moved) is None, broken

    def test_purge_leaves_an_epoch_that_must_stay_current(self) -> None:
        with self.fresh_store() as store:
            user = a_user()
            epoch = open_epoch(store, user)
            purge_all(store, NOW + LOGIN_WINDOW, 100)
            session = a_session(user, epoch)
            assert store.admit(session, (), None, NOW) is Admission.ADMITTED, law(
                "purge", "epochs without sessions whose time to stay current has passed"
            )

    def test_purging_the_last_session_leaves_an_epoch_that_must_stay_current(self) -> None:
        with self.fresh_store() as store:
            session = sign_in(store, a_user())
            store.open_epoch(session.subject, _LONG_AFTER, LOGIN_WINDOW)
            broken = law("purge", "epochs without sessions whose time to stay current has passed")
            assert purge_all(store, _LONG_AFTER + LOGIN_WINDOW, 100) == 1, broken
            late = a_session(session.subject, session.locator.epoch)
            assert store.admit(late, (), None, NOW) is Admission.ADMITTED, broken

    def test_opening_an_epoch_again_can_only_prolong_its_time(self) -> None:
        with self.fresh_store() as store:
            longer, twice = a_user(), a_user()
            epochs = {
                longer: store.open_epoch(longer, NOW, timedelta(hours=2)),
                twice: store.open_epoch(twice, NOW, LOGIN_WINDOW),
            }
            store.open_epoch(longer, NOW, timedelta(minutes=1))
            store.open_epoch(twice, NOW + timedelta(hours=1), timedelta(hours=1))
            purge_all(store, NOW + timedelta(hours=2), 100)
            for user, epoch in epochs.items():
                session = a_session(user, epoch)
                assert store.admit(session, (), None, NOW) is Admission.ADMITTED, law(
                    "open_epoch", "For how long after *at* the epoch must stay current"
                )

    def test_an_epoch_with_sessions_is_never_purged(self) -> None:
        with self.fresh_store() as store:
            session = sign_in(store, a_user(), keep_until=_LONG_AFTER)
            purge_all(store, _LONG_AFTER, 100)
            broken = law("purge", "epochs without sessions whose time to stay current has passed")
            assert store.find(session.locator) == session, broken
            assert open_epoch(store, session.subject) == session.locator.epoch, broken
            another = a_session(session.subject, session.locator.epoch)
            assert store.admit(another, (), None, NOW) is Admission.ADMITTED, broken

    def test_a_restarted_epoch_is_kept_by_its_session(self) -> None:
        with self.fresh_store() as store:
            old = sign_in(store, a_user())
            new = restarted(old, keep_until=_LONG_AFTER)
            moved = store.restart(old, new)
            purge_all(store, _LONG_AFTER, 100)
            broken = law("purge", "epochs without sessions whose time to stay current has passed")
            assert moved is not None, broken
            assert store.find(moved) == new.moved_to(moved), broken

    def test_an_epoch_that_may_be_purged_is_either_gone_or_current(self) -> None:
        with self.fresh_store() as store:
            # A store whose time to live is a real one may keep it longer.
            user = a_user()
            epoch = open_epoch(store, user)
            store.delete(sign_in(store, user).locator)
            purge_all(store, _AFTER_LOGIN, 100)
            session = a_session(user, epoch)
            answer = store.admit(session, (), None, NOW)
            broken = law("purge", "epochs without sessions whose time to stay current has passed")
            if answer is Admission.ADMITTED:
                assert store.find(session.locator) == session, broken
                assert open_epoch(store, user) == epoch, broken
            else:
                assert answer is Admission.STALE, broken
                assert store.find(session.locator) is None, broken
                assert open_epoch(store, user) != epoch, broken

    def test_purging_an_empty_store_finds_nothing(self) -> None:
        with self.fresh_store() as store:
            assert purge_all(store, _LONG_AFTER, 1) == 0, law("purge", "Never anything else.")

    # --- secrecy --------------------------------------------------------------------

    def test_what_is_stored_reveals_no_session_id(self) -> None:
        with self.fresh_store() as store:
            user = a_user()
            epoch = open_epoch(store, user)
            entropy = SeededEntropy(73)
            slot, family = entropy.draw(SLOT_BYTES), entropy.draw(FAMILY_BYTES)
            first, second, third = (
                SessionId(epoch, slot, family, entropy.draw(SECRET_BYTES)) for _ in range(3)
            )
            session = a_session(
                user,
                epoch,
                locator=first.locator,
                family=first.family_digest,
                current=first.digest,
            )
            store.admit(session, (), None, NOW)
            renewed = successor(
                session,
                previous=first.digest,
                current=second.digest,
                pending=Pending(third.digest, bytes(16)),
            )
            store.replace(session, renewed)
            store.write_data(renewed.locator, a_change({"key": b"1"}))
            held = self.everything_in(store)
            if held is None:
                pytest.skip("not examined: the subclass gives no dump()")
            assert any(
                spelling in held
                for shown in ((user.user_id or "").encode(), renewed.stamp, renewed.current)
                for spelling in _spellings(shown)
            ), "dump() shows nothing of a session that is stored: it must return every byte"
            for session_id in (first, second, third):
                text = session_id.reveal()
                octets = base64.urlsafe_b64decode(text)
                secret_part = octets[-SECRET_BYTES:]
                family_part = octets[-SECRET_BYTES - FAMILY_BYTES : -SECRET_BYTES]
                for secret in (text.encode(), octets, secret_part, family_part):
                    for spelling in _spellings(secret):
                        assert spelling not in held, (
                            "the store keeps a part of a session id: see sessioncore.session,"
                            ' "The bearer secret lives in SessionId and nowhere else."'
                        )


def _spellings(octets: bytes) -> list[bytes]:
    """
    *octets* as they are, in hexadecimal and in base64 wherever they may start.
    """
    spellings = [octets, octets.hex().encode(), octets.hex().upper().encode()]
    for lead in range(3):
        encoded = base64.b64encode(bytes(lead) + octets)
        # Only the characters that hold no bit of what stands before or after.
        inner = encoded[(8 * lead + 5) // 6 : 8 * (lead + len(octets)) // 6]
        spellings += [inner, inner.translate(bytes.maketrans(b"+/", b"-_"))]
    return spellings
