"""
The laws of a session store, searched for counterexamples.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import fields, is_dataclass, replace
from datetime import datetime, timedelta
from typing import ClassVar, Final, cast

from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from sessioncore.ports import Admission, DataWrite
from sessioncore.session import (
    SLOT_BYTES,
    STAMP_BYTES,
    DataChange,
    Datum,
    Epoch,
    Locator,
    Session,
    Subject,
)
from sessioncore.testing.harness import SessionHarness
from sessioncore.testing.laws import session_law as law
from sessioncore.testing.laws import shared_law
from sessioncore.testing.records import (
    LOGIN_WINDOW,
    NOW,
    a_change,
    a_session,
    restarted,
    sign_in,
    successor,
    values,
)
from sessioncore.testing.strategies import data, sessions, subjects
from sessioncore.testing.surroundings import SeededEntropy


class SessionProperties(SessionHarness):
    """
    Clauses that try many sessions, subjects and histories.
    """

    def test_every_field_of_every_session_survives(self) -> None:
        with self.fresh_store() as store:

            @self.properties
            @given(sessions(), sessions(), sessions())
            def survives(first: Session, second: Session, third: Session) -> None:
                assume(len({first.stamp, second.stamp, third.stamp}) == 3)
                subject = first.subject
                store.delete_user(subject)
                epoch = store.open_epoch(subject, first.last_seen_at, LOGIN_WINDOW)
                first = first.moved_to(Locator(epoch, first.locator.slot))
                second = replace(second, subject=subject, locator=first.locator)
                third = replace(third, subject=subject, locator=restarted(first).locator)
                broken = law("find", "Return the session stored under *locator*.")
                admission = store.admit(first, (), None, first.last_seen_at)
                assert admission is Admission.ADMITTED, broken
                assert _exactly(store.find(first.locator), first), broken
                assert _exactly(store.roster(subject).sessions, (first,)), broken
                assert store.replace(first, second), broken
                assert _exactly(store.find(first.locator), second), broken
                moved = store.restart(second, third)
                assert moved is not None, broken
                assert _exactly(store.find(moved), third.moved_to(moved)), broken
                assert _exactly(store.roster(subject).sessions, (third.moved_to(moved),)), broken
                assert store.delete_user(subject) == 1, broken
                assert store.find(moved) is None, broken

            survives()

    def test_any_data_survives(self) -> None:
        with self.fresh_store() as store:
            session = sign_in(store, Subject.user("any data"))

            @self.properties
            @given(data(), data())
            def survives(first: dict[str, bytes], second: dict[str, bytes]) -> None:
                broken = law("write_data", "the put keys hold their values")
                before = values(store, session)
                assert before is not None, broken
                clear = a_change(first, remove=frozenset(before) - frozenset(first))
                assert store.write_data(session.locator, clear) is DataWrite.WRITTEN, broken
                assert values(store, session) == first, broken
                more = a_change(second)
                assert store.write_data(session.locator, more) is DataWrite.WRITTEN, broken
                stored = store.read_data(session.locator)
                expected = {key: Datum(value, clear.stamp) for key, value in first.items()}
                expected |= {key: Datum(value, more.stamp) for key, value in second.items()}
                assert stored is not None, broken
                assert stored.keys() == expected.keys(), broken
                for key, datum in expected.items():
                    assert _exactly(stored[key], datum), broken

            survives()

    def test_no_two_subjects_of_any_kind_share_anything(self) -> None:
        with self.fresh_store() as store:

            @self.properties
            @given(subjects(), subjects())
            def separate(one: Subject, other: Subject) -> None:
                assume(one != other)
                broken = law("open_epoch", "no other subject shares")
                for subject in (one, other):
                    store.delete_user(subject)
                first, second = sign_in(store, one), sign_in(store, other)
                assert first.locator.epoch != second.locator.epoch, broken
                assert store.roster(one).sessions == (first,), broken
                assert store.roster(other).sessions == (second,), broken
                assert store.delete_user(one) == 1, broken
                assert store.find(second.locator) == second, broken
                assert store.delete_user(other) == 1, broken

            separate()

    def test_every_history_of_calls_keeps_to_the_laws(self) -> None:
        class History(_History):
            harness = self

        run_state_machine_as_test(History, settings=self.properties)


def _exactly(found: object, expected: object) -> bool:
    """
    Whether both are equal and of the same types throughout.

    Without the types a ``bytearray`` or an instant of another time zone would pass.
    """
    return found == expected and _types(found) == _types(expected)


def _types(value: object) -> object:
    if isinstance(value, tuple):
        return [_types(item) for item in cast("tuple[object, ...]", value)]
    if is_dataclass(value):
        return type(value), [_types(getattr(value, part.name)) for part in fields(value)]
    if isinstance(value, datetime):
        return datetime, value.utcoffset()
    return type(value)


_SUBJECTS: Final = (Subject.user("alice"), Subject.anonymous(b"ualice\x00ualice\x00al"))
_KEYS: Final = st.sampled_from(["a", "\N{LATIN SMALL LETTER E WITH ACUTE}"])
_GUARDS: Final = st.dictionaries(_KEYS, st.sampled_from(["holds", "absent", "wrong"]), max_size=2)
_DURATIONS: Final = st.sampled_from([timedelta(hours=hours) for hours in (1, 2, 4, 6)])
_PASSED: Final = st.just(LOGIN_WINDOW / 2) | _DURATIONS
_BACK: Final = st.integers(0, 3)
"""How far back to reach among things of the past, the latest first."""


class _History(RuleBasedStateMachine):
    """
    Makes calls in any order, with arguments fresh and stale, and says what each must answer.

    The model is what the laws leave when there is no concurrency: dictionaries.
    """

    epochs_seen: Bundle[Epoch] = Bundle("epochs_seen")
    sessions_seen: Bundle[Session] = Bundle("sessions_seen")
    versions_seen: Bundle[bytes] = Bundle("versions_seen")

    # Drawn from all that were ever seen, most would be dead: half are drawn by how
    # recent they are among those that are not.
    which = _BACK | sessions_seen

    harness: ClassVar[SessionHarness]

    def __init__(self) -> None:
        super().__init__()
        self._opened = ExitStack()
        self.store = self._opened.enter_context(self.harness.fresh_store())
        # Stamps and slots that are the same when Hypothesis replays a history.
        self.entropy = SeededEntropy()
        self.current: dict[Subject, Epoch] = {}
        self.open_until: dict[Epoch, datetime] = {}
        self.sessions: dict[Locator, Session] = {}
        self.data: dict[Locator, dict[str, Datum]] = {}
        self.former_versions: dict[Subject, bytes] = {}
        """Of rosters, before the last admission to each."""
        self.removed: list[Session] = []
        self.issued: set[Epoch] = set()
        self.perhaps_purged: set[Epoch] = set()
        """Epochs that purge was free to remove; a store whose time is real may keep them."""
        self.replacements: list[tuple[Session, Session]] = []
        self.restarts: list[tuple[Session, Session]] = []
        self.changes: list[tuple[Locator, DataChange]] = []

    def teardown(self) -> None:
        self._opened.close()

    # --- epochs -----------------------------------------------------------------------

    @rule(target=epochs_seen, subject=st.sampled_from(_SUBJECTS), lives_for=_DURATIONS)
    def open_epoch(self, subject: Subject, lives_for: timedelta) -> Epoch:
        return self._open_epoch(subject, lives_for)

    @rule(subject=st.sampled_from(_SUBJECTS))
    def delete_user(self, subject: Subject) -> None:
        deleted = self.store.delete_user(subject)
        assert deleted == len(self._sessions_of(subject)), law(
            "delete_user", "How many sessions were deleted"
        )
        self._end(subject)

    @rule(target=versions_seen, subject=st.sampled_from(_SUBJECTS))
    def read_version(self, subject: Subject) -> bytes:
        return self.store.roster(subject).version

    # --- sessions ---------------------------------------------------------------------

    @rule(
        target=sessions_seen,
        subject=st.sampled_from(_SUBJECTS),
        epoch=epochs_seen,
        version=st.none() | versions_seen,
        evicted=st.lists(sessions_seen, max_size=2, unique=True),
        lives_for=_DURATIONS,
    )
    def admit_with_any_arguments(
        self,
        subject: Subject,
        epoch: Epoch,
        version: bytes | None,
        evicted: list[Session],
        lives_for: timedelta,
    ) -> Session:
        session = self._new_session(subject, epoch, lives_for)
        self._admit(session, evicted, version)
        return session

    @rule(
        target=sessions_seen,
        subject=st.sampled_from(_SUBJECTS),
        evicts=st.booleans(),
        roster=st.sampled_from(["not read", "read", "read earlier"]),
        lives_for=_DURATIONS,
    )
    def sign_in(
        self, subject: Subject, lives_for: timedelta, roster: str, *, evicts: bool
    ) -> Session:
        return self._sign_in(subject, lives_for, roster, evicts=evicts)

    @rule(target=sessions_seen, which=which, evicted=st.lists(sessions_seen, max_size=2))
    def admit_to_a_slot_that_is_taken(
        self, which: int | Session, evicted: list[Session]
    ) -> Session:
        session = successor(self._session(which), stamp=self._stamp())
        self._admit(session, evicted, None)
        return session

    # No precondition: what a limited purge deletes first is the store's choice, and
    # Hypothesis has to meet the same choices when it replays a history.
    @rule(target=sessions_seen, back=_BACK)
    def admit_to_a_slot_that_was_freed(self, back: int) -> Session:
        freed = self.removed or [self._session(back)]
        session = successor(freed[-1 - back % len(freed)], stamp=self._stamp())
        self._admit(session, [], None)
        return session

    @rule(target=sessions_seen, which=which, lives_for=_DURATIONS)
    def replace(self, which: int | Session, lives_for: timedelta) -> Session:
        old = self._session(which)
        new = successor(old, stamp=self._stamp(), keep_until=NOW + lives_for)
        self.replacements.append((old, new))
        self._replace(old, new)
        return new

    @precondition(lambda self: bool(cast("_History", self).replacements))
    @rule(back=_BACK)
    def repeat_a_replacement(self, back: int) -> None:
        self._replace(*self.replacements[-1 - back % len(self.replacements)])

    @rule(target=sessions_seen, which=which, lives_for=_DURATIONS)
    def restart(self, which: int | Session, lives_for: timedelta) -> Session:
        old = self._session(which)
        new = successor(
            old,
            locator=Locator(old.locator.epoch, self.entropy.draw(SLOT_BYTES)),
            stamp=self._stamp(),
            keep_until=NOW + lives_for,
        )
        self.restarts.append((old, new))
        moved = self._restart(old, new)
        return new.moved_to(moved or new.locator)

    @precondition(lambda self: bool(cast("_History", self).restarts))
    @rule(back=_BACK)
    def repeat_a_restart(self, back: int) -> None:
        self._restart(*self.restarts[-1 - back % len(self.restarts)])

    @rule(which=which, expects=st.booleans())
    def delete(self, which: int | Session, *, expects: bool) -> None:
        session = self._session(which)
        stored = self.sessions.get(session.locator)
        matches = stored is not None and (not expects or stored.stamp == session.stamp)
        deleted = self.store.delete(session.locator, session if expects else None)
        assert deleted is matches, law("delete", "Whether this call deleted it.")
        if matches:
            self._remove(session.locator)

    # --- data -------------------------------------------------------------------------

    @rule(
        which=which,
        put=st.dictionaries(_KEYS, st.sampled_from([b"", b"1", b"22", b"4444"]), max_size=2),
        remove=st.frozensets(_KEYS, max_size=2),
        guards=_GUARDS,
        capacity=st.just(1000) | st.integers(0, 8) | st.none(),
    )
    def write_data(
        self,
        which: int | Session,
        put: dict[str, bytes],
        remove: frozenset[str],
        guards: dict[str, str],
        capacity: int | None,
    ) -> None:
        session = self._session(which)
        held = self.data.get(session.locator, {})
        if capacity is None:  # one byte too little
            kept = {key: datum for key, datum in held.items() if key not in remove}
            after = kept | {key: Datum(value, b"") for key, value in put.items()}
            capacity = max(_size(after) - 1, 0)
        expect = {
            key: held[key].stamp if guard == "holds" and key in held else None
            for key, guard in guards.items()
        } | {key: self._stamp() for key, guard in guards.items() if guard == "wrong"}
        change = a_change(
            put,
            remove=remove - put.keys(),
            expect=expect,
            capacity=capacity,
            stamp=self._stamp(),
        )
        self.changes.append((session.locator, change))
        self._write(session.locator, change)

    @precondition(lambda self: bool(cast("_History", self).changes))
    @rule(back=_BACK)
    def repeat_a_change_of_data(self, back: int) -> None:
        self._write(*self.changes[-1 - back % len(self.changes)])

    # --- purge ------------------------------------------------------------------------

    @rule(passed=_PASSED, limit=st.sampled_from([1, 2, 100]))
    def purge(self, passed: timedelta, limit: int) -> None:
        before = NOW + passed
        due = [locator for locator, session in self.sessions.items() if session.keep_until < before]
        purged = self.store.purge(before, limit)
        assert purged.sessions + purged.epochs <= limit, law(
            "purge", "How many records to delete at most in this call"
        )
        gone = [locator for locator in due if self.store.find(locator) is None]
        assert len(gone) == purged.sessions, law("purge", "What was deleted")
        assert purged.more or len(gone) == len(due), law(
            "purge", "Calling while there is more deletes all sessions that were due."
        )
        for locator in gone:
            self._remove(locator)
        occupied = {locator.epoch for locator in self.sessions}
        self.perhaps_purged |= {
            epoch
            for epoch in self.current.values()
            if epoch not in occupied and self.open_until[epoch] < before
        }

    # --- what must hold after every call ----------------------------------------------

    @invariant()
    def the_rosters_are_what_was_admitted_and_not_removed(self) -> None:
        for subject in _SUBJECTS:
            roster = self.store.roster(subject)
            broken = law("roster", "Return all sessions of the subject's current epoch")
            expected = self._sessions_of(subject)
            assert len(roster.sessions) == len(expected), broken
            assert set(roster.sessions) == set(expected), broken

    @rule(which=which)
    def look_at_a_session(self, which: int | Session) -> None:
        self._look(self._session(which).locator)

    def _look(self, locator: Locator) -> None:
        assert self.store.find(locator) == self.sessions.get(locator), law(
            "find", "The session, or ``None`` if there is none."
        )
        assert self.store.read_data(locator) == self.data.get(locator), law(
            "read_data", "Return the data of one session"
        )
        both = (self.sessions.get(locator), self.data.get(locator))
        assert (self.store.find_with_data(locator) or (None, None)) == both, law(
            "find_with_data", "What :meth:`find` and :meth:`read_data` say"
        )

    # --- the model --------------------------------------------------------------------

    def _stamp(self) -> bytes:
        return self.entropy.draw(STAMP_BYTES)

    def _session(self, which: int | Session) -> Session:
        if isinstance(which, Session):
            return which
        live = list(self.sessions.values())
        if live:
            return live[-1 - which % len(live)]
        return self._sign_in(_SUBJECTS[0], LOGIN_WINDOW)

    def _sign_in(
        self,
        subject: Subject,
        lives_for: timedelta,
        roster: str = "not read",
        *,
        evicts: bool = False,
    ) -> Session:
        epoch = self._open_epoch(subject, LOGIN_WINDOW)
        session = self._new_session(subject, epoch, lives_for)
        version = self.former_versions.get(subject) if roster == "read earlier" else None
        if roster == "read":
            version = self.store.roster(subject).version
        self._admit(session, self._sessions_of(subject)[:2] if evicts else [], version)
        return session

    def _new_session(self, subject: Subject, epoch: Epoch, lives_for: timedelta) -> Session:
        return a_session(
            subject,
            epoch,
            locator=Locator(epoch, self.entropy.draw(SLOT_BYTES)),
            keep_until=NOW + lives_for,
            stamp=self._stamp(),
        )

    def _sessions_of(self, subject: Subject) -> list[Session]:
        epoch = self.current.get(subject)
        return [session for locator, session in self.sessions.items() if locator.epoch == epoch]

    def _begin(self, subject: Subject, epoch: Epoch, broken: str) -> None:
        assert epoch not in self.issued, broken
        self.issued.add(epoch)
        self.current[subject] = epoch
        self.open_until[epoch] = NOW

    def _end(self, subject: Subject) -> None:
        for session in self._sessions_of(subject):
            self._remove(session.locator)
        self.current.pop(subject, None)

    def _remove(self, locator: Locator) -> None:
        self.removed.append(self.sessions.pop(locator))
        del self.data[locator]

    def _open_epoch(self, subject: Subject, lives_for: timedelta) -> Epoch:
        epoch = self.store.open_epoch(subject, NOW, lives_for)
        current = self.current.get(subject)
        if current in self.perhaps_purged and epoch != current:
            self._end(subject)
            current = None
        if current is None:
            self._begin(subject, epoch, law("open_epoch", "no other subject shares"))
        else:
            assert epoch == current, law("open_epoch", "Return the subject's current epoch")
        self.perhaps_purged.discard(epoch)
        self.open_until[epoch] = max(self.open_until.get(epoch, NOW), NOW + lives_for)
        return epoch

    def _admit(self, session: Session, evicted: list[Session], version: bytes | None) -> None:
        subject, epoch = session.subject, session.locator.epoch
        # Sessions of the same subject and epoch are all that may be evicted.
        # In their order: what is removed first must not depend on a hash.
        leaving = dict.fromkeys(
            other.locator
            for other in evicted
            if (other.subject, other.locator.epoch) == (subject, epoch)
            and other.locator != session.locator
        )
        before = self.store.roster(subject).version
        answer = self.store.admit(session, tuple(leaving), version, NOW)
        current = self.current.get(subject)
        if answer is Admission.STALE and current == epoch and epoch in self.perhaps_purged:
            self._end(subject)
        if self.current.get(subject) != epoch:
            expected = Admission.STALE
        elif version not in (None, before) or session.locator in self.sessions:
            expected = Admission.CONFLICT
        else:
            expected = Admission.ADMITTED
        assert answer is expected, law("admit", "Insert one session and delete the evicted ones")
        if answer is Admission.STALE:
            return
        if answer is Admission.ADMITTED:
            self.former_versions[subject] = before
        self.perhaps_purged.discard(epoch)
        moved = self.store.roster(subject).version != before
        assert moved is (answer is Admission.ADMITTED), law(
            "admit", "Every admission moves the roster's version"
        )
        if answer is Admission.ADMITTED:
            for locator in leaving:
                if locator in self.sessions:
                    self._remove(locator)
            self.sessions[session.locator] = session
            self.data[session.locator] = {}
        for locator in (session.locator, *leaving):
            self._look(locator)

    def _replace(self, old: Session, new: Session) -> None:
        stored = self.sessions.get(old.locator)
        replaced = self.store.replace(old, new)
        expected = stored is not None and stored.stamp in (old.stamp, new.stamp)
        assert replaced is expected, law("replace", "Whether *new* is what is now stored.")
        if expected:
            self.sessions[old.locator] = new

    def _restart(self, old: Session, new: Session) -> Locator | None:
        stored = self.sessions.get(old.locator)
        moved = self.store.restart(old, new)
        if stored is not None and stored.stamp == old.stamp:
            broken = law("restart", "End the subject's epoch and open a fresh one")
            assert moved is not None, broken
            assert moved.slot == new.locator.slot, broken
            kept = self.data[old.locator]
            self._end(old.subject)
            self._begin(old.subject, moved.epoch, broken)
            self.sessions[moved] = new.moved_to(moved)
            self.data[moved] = kept
            return moved
        current = self.current.get(old.subject)
        repeated = None if current is None else Locator(current, new.locator.slot)
        found = None if repeated is None else self.sessions.get(repeated)
        expected = repeated if found is not None and found.stamp == new.stamp else None
        assert moved == expected, law(
            "restart", "returns the same locator as long as *new* is what is stored"
        )
        return moved

    def _write(self, locator: Locator, change: DataChange) -> None:
        answer = self.store.write_data(locator, change)
        held = self.data.get(locator)
        if held is None:
            expected = DataWrite.GONE
        else:
            stamps = {key: datum.stamp for key, datum in held.items()}
            after = {key: datum for key, datum in held.items() if key not in change.remove}
            after |= {key: Datum(value, change.stamp) for key, value in change.put.items()}
            if change.put and all(stamps.get(key) == change.stamp for key in change.put):
                expected, after = DataWrite.WRITTEN, held
            elif any(stamps.get(key) != stamp for key, stamp in change.expect.items()):
                expected = DataWrite.CONFLICT
            elif _size(after) > max(change.capacity, _size(held)):
                expected = DataWrite.FULL
            else:
                expected = DataWrite.WRITTEN
            if expected is DataWrite.WRITTEN:
                self.data[locator] = after
        assert answer is expected, law("write_data", "Answers are tried in this order")
        assert self.store.read_data(locator) == self.data.get(locator), shared_law(
            "An operation happens as one step or not at all"
        )


def _size(data: dict[str, Datum]) -> int:
    return sum(len(key.encode()) + len(datum.value) for key, datum in data.items())
