"""
Stores that are broken on purpose: each must fail the clause that is there for it.

A clause that no broken store fails protects nobody. So every mistake that was
found in libraries, in reviews and in the making of our own stores stands here as
a store that makes it, and for every clause of the contracts there is at least
one such store. A mistake that shows only when calls race is made to show every
time: a :class:`Gap` holds one call between its check and its write until the
other has slipped in.
"""

from __future__ import annotations

import asyncio
import base64
import fnmatch
import hashlib
import itertools
import json
import pickle
import threading
import unicodedata
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    contextmanager,
    nullcontext,
)
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, TypeVar, cast

import attrs
import pytest
from hypothesis import Phase, settings

from sessioncore.ports import (
    Account,
    Admission,
    AsyncSessionStore,
    CredentialStore,
    DataWrite,
    Purged,
    SessionStore,
)
from sessioncore.session import (
    FAMILY_BYTES,
    SECRET_BYTES,
    SLOT_BYTES,
    DataChange,
    Datum,
    Device,
    Epoch,
    Locator,
    Roster,
    Session,
    SessionId,
    Subject,
)
from sessioncore.testing import (
    AsyncSessionStoreContract,
    CredentialStoreContract,
    SeededEntropy,
    SessionStoreContract,
)
from sessioncore_memory import (
    AsyncMemorySessionStore,
    MemoryCredentialStore,
    MemorySessionStore,
)

PATIENCE = 10.0
SessionStoreT = TypeVar("SessionStoreT", bound=MemorySessionStore)
CredentialStoreT = TypeVar("CredentialStoreT", bound=MemoryCredentialStore)

BROKEN: list[tuple[type[MemorySessionStore], str]] = []
BROKEN_CREDENTIALS: list[tuple[type[MemoryCredentialStore], str]] = []


def everything_in(store: MemorySessionStore) -> bytes:
    return pickle.dumps(
        [
            (kept.session, kept.data)
            for each in store._of_epoch.values()
            for kept in each.slots.values()
        ]
    )


def fails(*clauses: str) -> Callable[[type[SessionStoreT]], type[SessionStoreT]]:
    """
    Say which clauses, at the least, must catch a broken session store.
    """

    def note(broken: type[SessionStoreT]) -> type[SessionStoreT]:
        BROKEN.extend((broken, f"test_{clause}") for clause in clauses)
        return broken

    return note


def is_racing() -> bool:
    """
    Whether the caller is one of several at once, and not the clause that sets the stage.
    """
    return threading.current_thread() is not threading.main_thread()


class Gap:
    """
    The time between a check and a write, into which another call slips.
    """

    def __init__(self) -> None:
        self._open = threading.Event()
        self._over = threading.Event()

    def stand(self) -> None:
        """
        Stand in the gap until the other call has been made.
        """
        if is_racing():
            self._open.set()
            self._over.wait(PATIENCE)

    def reach(self) -> None:
        """
        Wait until another call stands in the gap.
        """
        if is_racing():
            self._open.wait(PATIENCE)

    @contextmanager
    def slip_in(self) -> Generator[None]:
        """
        Wait until another call stands in the gap, and then let it go on.
        """
        self.reach()
        yield
        if is_racing():
            self._over.set()


class Rendezvous:
    """
    Where the first racing call waits for a second, so that both are past their checks.
    """

    def __init__(self) -> None:
        self._arrivals = itertools.count(1)
        self._met = threading.Event()

    def wait(self) -> None:
        if is_racing():
            if next(self._arrivals) > 1:
                self._met.set()
            self._met.wait(PATIENCE)


# --- broken open_epoch ----------------------------------------------------------------


@fails("opening_an_epoch_again_gives_the_same_one", "opening_an_epoch_ends_no_session")
class OpensAnotherEpochEveryTime(MemorySessionStore):
    def open_epoch(self, subject: Subject, at: datetime, lives_for: timedelta, /) -> Epoch:
        self.delete_user(subject)
        return super().open_epoch(subject, at, lives_for)


@fails("an_epoch_is_sixteen_bytes")
class HandsOutHexadecimalEpochs(MemorySessionStore):
    def open_epoch(self, subject: Subject, at: datetime, lives_for: timedelta, /) -> Epoch:
        return Epoch(super().open_epoch(subject, at, lives_for).hex().encode())


@fails("an_ended_epoch_never_becomes_current_again")
class DerivesTheEpochFromTheUser(MemorySessionStore):
    def _begin(self, subject: Subject, open_until: datetime) -> Any:
        begun = super()._begin(subject, open_until)
        del self._of_epoch[begun.epoch]
        self._epochs_due.strike(begun.epoch, open_until)
        begun.epoch = Epoch(hashlib.sha256(subject.key).digest()[:16])
        self._of_epoch[begun.epoch] = begun
        self._epochs_due.enter(begun.epoch, open_until)
        return begun


@fails("opening_an_epoch_again_can_only_prolong_its_time")
class ShortensTheEpoch(MemorySessionStore):
    def open_epoch(self, subject: Subject, at: datetime, lives_for: timedelta, /) -> Epoch:
        epoch = super().open_epoch(subject, at, lives_for)
        current = self._of_subject[subject]
        if not current.slots:
            self._epochs_due.strike(epoch, current.open_until)
            self._epochs_due.enter(epoch, at + lives_for)
        current.open_until = at + lives_for
        return epoch


@fails("opening_an_epoch_again_can_only_prolong_its_time", "an_opened_epoch_is_not_lost_to_a_purge")
class NeverProlongsTheEpoch(MemorySessionStore):
    def open_epoch(self, subject: Subject, at: datetime, lives_for: timedelta, /) -> Epoch:
        current = self._of_subject.get(subject)
        return super().open_epoch(subject, at, lives_for) if current is None else current.epoch


class KeyedBy(dict[Any, Any]):
    """
    A dictionary that mistakes one key for another.
    """

    def __init__(self, mistake: Callable[[Any], Any]) -> None:
        self._mistake = mistake

    def get(self, key: Any, default: Any = None) -> Any:
        return super().get(self._mistake(key), default)

    def __getitem__(self, key: Any) -> Any:
        return super().__getitem__(self._mistake(key))

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(self._mistake(key), value)

    def __delitem__(self, key: Any) -> None:
        super().__delitem__(self._mistake(key))

    def __contains__(self, key: Any) -> bool:
        return super().__contains__(self._mistake(key))

    def pop(self, key: Any, *default: Any) -> Any:
        return super().pop(self._mistake(key), *default)


@fails("no_two_subjects_share_anything")
class FoldsTheCaseOfUsers(MemorySessionStore):
    def __init__(self) -> None:
        super().__init__()
        self._of_subject = KeyedBy(lambda subject: subject.key.lower())


@fails("no_two_subjects_share_anything")
class PadsUsersWithSpaces(MemorySessionStore):
    def __init__(self) -> None:
        super().__init__()
        self._of_subject = KeyedBy(lambda subject: subject.key.rstrip(b" "))


@fails("no_two_subjects_share_anything")
class NormalisesUsers(MemorySessionStore):
    def __init__(self) -> None:
        super().__init__()
        self._of_subject = KeyedBy(
            lambda subject: unicodedata.normalize("NFC", subject.key.decode("utf-8", "replace"))
        )


@fails("no_two_subjects_share_anything")
class CutsUsersShort(MemorySessionStore):
    def __init__(self) -> None:
        super().__init__()
        self._of_subject = KeyedBy(lambda subject: subject.key[:191])


@fails("no_two_subjects_share_anything")
class DropsTheKindOfSubject(MemorySessionStore):
    def __init__(self) -> None:
        super().__init__()
        self._of_subject = KeyedBy(lambda subject: subject.key[1:])


@fails("no_two_subjects_of_any_kind_share_anything")
class KeepsOneEpochForAll(MemorySessionStore):
    def __init__(self) -> None:
        super().__init__()
        self._of_subject = KeyedBy(lambda _: None)


@fails("parallel_openings_agree_on_one_epoch")
class OpensWithoutLooking(MemorySessionStore):
    def __init__(self) -> None:
        super().__init__()
        self.rendezvous = Rendezvous()

    def open_epoch(self, subject: Subject, at: datetime, lives_for: timedelta, /) -> Epoch:
        if subject in self._of_subject:
            return super().open_epoch(subject, at, lives_for)
        self.rendezvous.wait()
        with self._lock:
            return self._begin(subject, at + lives_for).epoch


# --- broken find and roster -----------------------------------------------------------


@fails("what_was_never_admitted_is_not_found")
class FindsBySlotAlone(MemorySessionStore):
    def _kept(self, locator: Locator) -> Any:
        for current in self._of_epoch.values():
            if locator.slot in current.slots:
                return current.slots[locator.slot]
        return None


@fails(
    "a_session_whose_epoch_ended_is_not_found",
    "a_locator_of_an_ended_epoch_never_reaches_the_one_that_follows",
    "replace_does_not_bring_back_a_deleted_user",
    "restart_makes_what_is_in_flight_fail",
    "restart_does_not_bring_back_a_deleted_user",
    "data_cannot_be_written_to_an_ended_epoch",
)
class ForgetsToEndTheEpoch(MemorySessionStore):
    """
    The sessions of an ended epoch are listed nowhere, and still found.
    """

    def _end(self, current: Any) -> None:
        super()._end(current)
        self._of_epoch[current.epoch] = current
        for kept in current.slots.values():
            self._sessions_due.enter(kept.session.locator, kept.session.keep_until)


@fails("finding_writes_nothing")
class TouchesWhatItFinds(MemorySessionStore):
    def find(self, locator: Locator, /) -> Session | None:
        found = super().find(locator)
        if found is not None:
            self.replace(found, replace(found, last_seen_at=datetime.now(UTC), stamp=bytes(8)))
        return found


@fails("slots_are_told_apart_byte_by_byte")
class FoldsTheCaseOfSlots(MemorySessionStore):
    def _begin(self, subject: Subject, open_until: datetime) -> Any:
        begun = super()._begin(subject, open_until)
        begun.slots = KeyedBy(lambda slot: slot.lower())
        return begun


@fails("a_store_reads_no_clock")
class ReadsItsOwnClock(MemorySessionStore):
    def find(self, locator: Locator, /) -> Session | None:
        found = super().find(locator)
        return found if found is not None and found.keep_until > datetime.now(UTC) else None


@fails("a_subject_without_an_epoch_has_an_empty_roster_and_version")
class OpensAnEpochToList(MemorySessionStore):
    def roster(self, subject: Subject, /) -> Roster:
        self.open_epoch(subject, datetime.now(UTC), timedelta())
        return super().roster(subject)


@fails("a_deleted_user_has_an_empty_roster_and_version")
class KeepsTheVersionOfTheDeleted(MemorySessionStore):
    def __init__(self) -> None:
        super().__init__()
        self.last: dict[Subject, bytes] = {}

    def roster(self, subject: Subject, /) -> Roster:
        roster = super().roster(subject)
        if roster.version:
            self.last[subject] = roster.version
        return replace(roster, version=self.last.get(subject, b""))

    def delete_user(self, subject: Subject, /) -> int:
        self.roster(subject)
        return super().delete_user(subject)


@fails("the_roster_holds_every_session_of_its_subject_and_no_other")
class ListsOnePage(MemorySessionStore):
    def roster(self, subject: Subject, /) -> Roster:
        roster = super().roster(subject)
        return replace(roster, sessions=roster.sessions[:20])


@fails("reading_the_roster_writes_nothing")
class MovesTheVersionByReading(MemorySessionStore):
    def roster(self, subject: Subject, /) -> Roster:
        current = self._of_subject.get(subject)
        if current is not None:
            current.version = self._next_version()
        return super().roster(subject)


@fails("a_restart_is_seen_whole_or_not_at_all")
class ListsInTwoSteps(MemorySessionStore):
    def __init__(self) -> None:
        super().__init__()
        self.gap = Gap()

    def roster(self, subject: Subject, /) -> Roster:
        names = [session.locator for session in super().roster(subject).sessions]
        self.gap.stand()
        found = [session for name in names if (session := self.find(name)) is not None]
        return Roster(tuple(found), super().roster(subject).version)

    def restart(self, old: Session, new: Session, /) -> Locator | None:
        with self.gap.slip_in():
            return super().restart(old, new)


# --- broken replace -------------------------------------------------------------------


@fails(
    "replace_makes_no_session",
    "replace_does_not_bring_back_a_deleted_session",
    "every_history_of_calls_keeps_to_the_laws",
)
class ReplaceInserts(MemorySessionStore):
    def replace(self, old: Session, new: Session, /) -> bool:
        current = self._of_epoch.get(old.locator.epoch)
        if current is not None and old.locator.slot not in current.slots:
            return self.admit(new, (), None, new.last_seen_at) is Admission.ADMITTED
        return super().replace(old, new)


@fails("replace_does_not_bring_back_a_deleted_user")
class ReplaceInsertsIntoAnyEpoch(MemorySessionStore):
    def replace(self, old: Session, new: Session, /) -> bool:
        if self.find(old.locator) is not None:
            return super().replace(old, new)
        epoch = self.open_epoch(new.subject, new.last_seen_at, timedelta())
        moved = new.moved_to(Locator(epoch, new.locator.slot))
        return self.admit(moved, (), None, new.last_seen_at) is Admission.ADMITTED


@fails(
    "replace_with_an_old_stamp_changes_nothing",
    "replace_compares_stamps_and_nothing_else",
    "replace_does_not_take_a_slot_that_was_given_to_another",
    "replace_repeated_after_another_change_is_refused",
    "every_history_of_calls_keeps_to_the_laws",
)
class ReplaceIgnoresTheStamp(MemorySessionStore):
    def replace(self, old: Session, new: Session, /) -> bool:
        stored = self.find(old.locator)
        return stored is not None and super().replace(stored, new)


@fails("replace_compares_stamps_and_nothing_else")
class ReplaceComparesWholeRecords(MemorySessionStore):
    def replace(self, old: Session, new: Session, /) -> bool:
        return self.find(old.locator) in (old, new) and super().replace(old, new)


@fails(
    "replace_recognises_its_repetition", "a_replacement_that_repeats_itself_at_once_takes_effect"
)
class ReplaceForgetsWhatItDid(MemorySessionStore):
    def replace(self, old: Session, new: Session, /) -> bool:
        stored = self.find(old.locator)
        if stored is not None and stored.stamp == new.stamp:
            return False
        return super().replace(old, new)


@fails("replace_swaps_the_stored_session")
class ReplaceWritesOnlyTheTimes(MemorySessionStore):
    def replace(self, old: Session, new: Session, /) -> bool:
        kept = replace(
            old, last_seen_at=new.last_seen_at, keep_until=new.keep_until, stamp=new.stamp
        )
        return super().replace(old, kept)


@fails("replace_can_empty_every_optional_field")
class ReplaceKeepsWhatIsEmptied(MemorySessionStore):
    def replace(self, old: Session, new: Session, /) -> bool:
        return super().replace(old, replace(new, pending=new.pending or old.pending))


@fails("replace_touches_neither_data_nor_other_sessions")
class ReplaceClearsTheData(MemorySessionStore):
    def replace(self, old: Session, new: Session, /) -> bool:
        replaced = super().replace(old, new)
        if replaced:
            self._of_epoch[new.locator.epoch].slots[new.locator.slot].data = {}
        return replaced


class _ReplaceInTwoSteps(MemorySessionStore):
    def look(self, old: Session, new: Session) -> bool:
        stored = self.find(old.locator)
        return stored is not None and stored.stamp in (old.stamp, new.stamp)

    def put(self, new: Session) -> bool:
        with self._lock:
            kept = self._kept(new.locator)
            if kept is None:
                current = self._of_subject.get(new.subject)
                if current is None:
                    current = self._begin(new.subject, new.keep_until)
                locator = Locator(current.epoch, new.locator.slot)
                current.slots[new.locator.slot] = _kept(new.moved_to(locator))
            else:
                kept.session = new
            return True


@fails("of_racing_replacements_exactly_one_takes_effect")
class ReplaceChecksThenWrites(_ReplaceInTwoSteps):
    def __init__(self) -> None:
        super().__init__()
        self.rendezvous = Rendezvous()

    def replace(self, old: Session, new: Session, /) -> bool:
        if not self.look(old, new):
            return False
        self.rendezvous.wait()
        return self.put(new)


@fails(
    "no_replacement_outlives_the_deletion_of_its_user",
    "no_replacement_outlives_the_deletion_of_its_session",
    "an_expected_deletion_and_a_replacement_exclude_each_other",
    "of_a_racing_restart_and_replacement_exactly_one_takes_effect",
    "no_purge_deletes_what_was_touched_in_time",
)
class ReplaceWritesAfterTheEnd(_ReplaceInTwoSteps):
    def __init__(self) -> None:
        super().__init__()
        self.gap = Gap()

    def replace(self, old: Session, new: Session, /) -> bool:
        if not self.look(old, new):
            return False
        self.gap.stand()
        return self.put(new)

    def delete(self, locator: Locator, expected: Session | None = None, /) -> bool:
        with self.gap.slip_in():
            return super().delete(locator, expected)

    def delete_user(self, subject: Subject, /) -> int:
        with self.gap.slip_in():
            return super().delete_user(subject)

    def restart(self, old: Session, new: Session, /) -> Locator | None:
        with self.gap.slip_in():
            return super().restart(old, new)

    def purge(self, before: datetime, limit: int, /) -> Purged:
        with self.gap.slip_in():
            return super().purge(before, limit)


# --- broken admit ---------------------------------------------------------------------


@fails(
    "admit_with_an_earlier_version_is_a_conflict",
    "an_admission_without_a_version_is_noticed_by_one_with",
    "of_racing_admissions_at_one_version_exactly_one_is_admitted",
    "every_history_of_calls_keeps_to_the_laws",
)
class AdmitIgnoresTheVersion(MemorySessionStore):
    def admit(
        self,
        session: Session,
        evicted: tuple[Locator, ...],
        version: bytes | None,
        at: datetime,
        /,
    ) -> Admission:
        return super().admit(session, evicted, None, at)


@fails("of_racing_admissions_at_one_version_exactly_one_is_admitted")
class AdmitCountsThenInserts(MemorySessionStore):
    def __init__(self) -> None:
        super().__init__()
        self.rendezvous = Rendezvous()

    def admit(
        self,
        session: Session,
        evicted: tuple[Locator, ...],
        version: bytes | None,
        at: datetime,
        /,
    ) -> Admission:
        if version not in (None, self.roster(session.subject).version):
            return Admission.CONFLICT
        self.rendezvous.wait()
        return super().admit(session, evicted, None, at)


@fails(
    "every_admission_moves_the_version",
    "an_admission_without_a_version_is_noticed_by_one_with",
    "every_history_of_calls_keeps_to_the_laws",
)
class AdmitWithoutVersionMovesNone(MemorySessionStore):
    def admit(
        self,
        session: Session,
        evicted: tuple[Locator, ...],
        version: bytes | None,
        at: datetime,
        /,
    ) -> Admission:
        before = self.roster(session.subject).version
        admission = super().admit(session, evicted, version, at)
        if version is None and admission is Admission.ADMITTED:
            self._of_subject[session.subject].version = before
        return admission


@fails("racing_admissions_without_a_version_are_all_admitted")
class AdmitAsksForAVersionOfItsOwn(MemorySessionStore):
    """
    Compares and sets where nothing was to be compared, and does not try again.
    """

    def __init__(self) -> None:
        super().__init__()
        self.rendezvous = Rendezvous()

    def admit(
        self,
        session: Session,
        evicted: tuple[Locator, ...],
        version: bytes | None,
        at: datetime,
        /,
    ) -> Admission:
        if version is None:
            version = self.roster(session.subject).version or None
            self.rendezvous.wait()
        return super().admit(session, evicted, version, at)


@fails("of_racing_admissions_to_one_slot_exactly_one_is_admitted")
class AdmitLooksAtTheSlotThenWrites(MemorySessionStore):
    def __init__(self) -> None:
        super().__init__()
        self.rendezvous = Rendezvous()
        self.writing = threading.Lock()

    def admit(
        self,
        session: Session,
        evicted: tuple[Locator, ...],
        version: bytes | None,
        at: datetime,
        /,
    ) -> Admission:
        if self.find(session.locator) is not None:
            return Admission.CONFLICT
        self.rendezvous.wait()
        with self.writing:
            self.delete(session.locator)
            return super().admit(session, evicted, version, at)


@fails("a_version_does_not_return_when_its_sessions_are_gone")
class TakesTheCountForTheVersion(MemorySessionStore):
    def roster(self, subject: Subject, /) -> Roster:
        roster = super().roster(subject)
        return replace(roster, version=b"%d" % len(roster.sessions) if roster.version else b"")

    def admit(
        self,
        session: Session,
        evicted: tuple[Locator, ...],
        version: bytes | None,
        at: datetime,
        /,
    ) -> Admission:
        roster = super().roster(session.subject)
        if version == b"%d" % len(roster.sessions):
            version = roster.version
        return super().admit(session, evicted, version, at)


@fails("admit_with_the_current_version_is_admitted")
class ReplacesTheVersionOnReturn(MemorySessionStore):
    """
    As a store does whose version is a clock's reading, and not what was compared.
    """

    def admit(
        self,
        session: Session,
        evicted: tuple[Locator, ...],
        version: bytes | None,
        at: datetime,
        /,
    ) -> Admission:
        if version is not None and self.roster(session.subject).sessions:
            version += b"."
        return super().admit(session, evicted, version, at)


@fails(
    "a_slot_is_never_overwritten",
)
class AdmitOverwritesTheSlot(MemorySessionStore):
    def admit(
        self,
        session: Session,
        evicted: tuple[Locator, ...],
        version: bytes | None,
        at: datetime,
        /,
    ) -> Admission:
        if version in (None, self.roster(session.subject).version):
            self.delete(session.locator)
        return super().admit(session, evicted, version, at)


@fails("a_slot_is_never_overwritten", "a_slot_is_not_overwritten_by_evicting_it_either")
class AdmitEvictsBeforeItLooksAtTheSlot(MemorySessionStore):
    def admit(
        self,
        session: Session,
        evicted: tuple[Locator, ...],
        version: bytes | None,
        at: datetime,
        /,
    ) -> Admission:
        if version in (None, self.roster(session.subject).version):
            for locator in evicted:
                self.delete(locator)
        return super().admit(session, evicted, version, at)


@fails("a_stale_admission_changes_nothing", "admit_with_an_earlier_version_is_a_conflict")
class AdmitEvictsFirst(MemorySessionStore):
    def admit(
        self,
        session: Session,
        evicted: tuple[Locator, ...],
        version: bytes | None,
        at: datetime,
        /,
    ) -> Admission:
        for locator in evicted:
            self.delete(locator)
        return super().admit(session, evicted, version, at)


@fails(
    "admit_needs_the_current_epoch_of_the_very_subject",
    "an_ended_epoch_is_stale_whatever_the_version",
    "delete_user_ends_an_epoch_without_sessions",
    "every_history_of_calls_keeps_to_the_laws",
)
class AdmitsIntoEndedEpochs(MemorySessionStore):
    def admit(
        self,
        session: Session,
        evicted: tuple[Locator, ...],
        version: bytes | None,
        at: datetime,
        /,
    ) -> Admission:
        epoch = self.open_epoch(session.subject, at, timedelta())
        moved = session.moved_to(Locator(epoch, session.locator.slot))
        return super().admit(moved, evicted, version, at)


@fails("admit_needs_the_current_epoch_of_the_very_subject")
class AdmitsIntoForeignEpochs(MemorySessionStore):
    def admit(
        self,
        session: Session,
        evicted: tuple[Locator, ...],
        version: bytes | None,
        at: datetime,
        /,
    ) -> Admission:
        current = self._of_epoch.get(session.locator.epoch)
        owner = session.subject if current is None else current.subject
        return super().admit(replace(session, subject=owner), evicted, version, at)


@fails("an_ended_epoch_is_stale_whatever_the_version")
class LooksAtTheVersionFirst(MemorySessionStore):
    def admit(
        self,
        session: Session,
        evicted: tuple[Locator, ...],
        version: bytes | None,
        at: datetime,
        /,
    ) -> Admission:
        if version not in (None, self.roster(session.subject).version):
            return Admission.CONFLICT
        return super().admit(session, evicted, version, at)


@fails("evicted_sessions_are_gone_with_their_data", "many_sessions_can_be_evicted_at_once")
class EvictsOnlyOne(MemorySessionStore):
    def admit(
        self,
        session: Session,
        evicted: tuple[Locator, ...],
        version: bytes | None,
        at: datetime,
        /,
    ) -> Admission:
        return super().admit(session, evicted[:1], version, at)


@fails("what_is_absent_needs_no_eviction")
class ConflictsIfNothingWasEvicted(MemorySessionStore):
    def admit(
        self,
        session: Session,
        evicted: tuple[Locator, ...],
        version: bytes | None,
        at: datetime,
        /,
    ) -> Admission:
        if any(self.find(locator) is None for locator in evicted):
            return Admission.CONFLICT
        return super().admit(session, evicted, version, at)


@fails("admit_drops_nothing_that_has_not_expired")
class AdmitSweepsByTheMinute(MemorySessionStore):
    def admit(
        self,
        session: Session,
        evicted: tuple[Locator, ...],
        version: bytes | None,
        at: datetime,
        /,
    ) -> Admission:
        for listed in self.roster(session.subject).sessions:
            if listed.keep_until < at + timedelta(seconds=1):
                self.delete(listed.locator)
        return super().admit(session, evicted, version, at)


@fails(
    "no_admission_outlives_the_deletion_of_its_user",
    "no_admission_survives_a_restart",
    "an_admission_to_an_epoch_that_is_being_purged_is_stored_or_stale",
)
class AdmitChecksThenInserts(MemorySessionStore):
    """
    Selects the epoch and then inserts, so that the epoch may have ended meanwhile.
    """

    def __init__(self) -> None:
        super().__init__()
        self.gap = Gap()

    def admit(
        self,
        session: Session,
        evicted: tuple[Locator, ...],
        version: bytes | None,
        at: datetime,
        /,
    ) -> Admission:
        current = self._of_subject.get(session.subject)
        if current is None or current.epoch != session.locator.epoch:
            return Admission.STALE
        self.gap.stand()
        with self._lock:
            # A row without its epoch, which the next one to open the epoch adopts.
            current = self._of_subject.get(session.subject) or self._begin(session.subject, at)
            self._insert(current, _kept(session.moved_to(_slot_in(current, session))))
        return Admission.ADMITTED

    def delete_user(self, subject: Subject, /) -> int:
        with self.gap.slip_in():
            return super().delete_user(subject)

    def restart(self, old: Session, new: Session, /) -> Locator | None:
        with self.gap.slip_in():
            return super().restart(old, new)

    def purge(self, before: datetime, limit: int, /) -> Purged:
        with self.gap.slip_in():
            return super().purge(before, limit)


def _kept(session: Session) -> Any:
    store = MemorySessionStore()
    epoch = store.open_epoch(session.subject, session.created_at, timedelta())
    moved = session.moved_to(Locator(epoch, session.locator.slot))
    store.admit(moved, (), None, session.created_at)
    kept = store._kept(moved.locator)
    assert kept is not None
    kept.session = session
    return kept


def _slot_in(current: Any, session: Session) -> Locator:
    return Locator(current.epoch, session.locator.slot)


# --- broken restart -------------------------------------------------------------------


@fails("restart_leaves_one_session_in_a_fresh_epoch", "every_history_of_calls_keeps_to_the_laws")
class RestartKeepsTheOthers(MemorySessionStore):
    def restart(self, old: Session, new: Session, /) -> Locator | None:
        others = [s for s in self.roster(old.subject).sessions if s.locator != old.locator]
        known = self.find(old.locator)
        moved = super().restart(old, new)
        if moved is not None and known is not None:
            for other in others:
                self.admit(
                    other.moved_to(Locator(moved.epoch, other.locator.slot)),
                    (),
                    None,
                    other.last_seen_at,
                )
        return moved


@fails("restart_leaves_one_session_in_a_fresh_epoch")
class RestartStaysInItsEpoch(MemorySessionStore):
    def restart(self, old: Session, new: Session, /) -> Locator | None:
        if not self.delete(old.locator, old):
            return None
        for session in self.roster(old.subject).sessions:
            self.delete(session.locator)
        self.admit(new, (), None, new.last_seen_at)
        return new.locator


@fails(
    "restart_carries_the_data_over",
    "of_racing_restarts_exactly_one_takes_effect",
)
class RestartLosesTheData(MemorySessionStore):
    def restart(self, old: Session, new: Session, /) -> Locator | None:
        moved = super().restart(old, new)
        if moved is not None:
            self._of_epoch[moved.epoch].slots[moved.slot].data = {}
        return moved


@fails("restart_with_an_old_stamp_does_nothing")
class RestartIgnoresTheStamp(MemorySessionStore):
    def restart(self, old: Session, new: Session, /) -> Locator | None:
        return super().restart(self.find(old.locator) or old, new)


@fails("restart_of_a_deleted_session_does_nothing", "restart_does_not_bring_back_a_deleted_user")
class RestartInsertsWhatIsGone(MemorySessionStore):
    def restart(self, old: Session, new: Session, /) -> Locator | None:
        moved = super().restart(old, new)
        if moved is None and self.find(old.locator) is None:
            self.delete_user(old.subject)
            epoch = self.open_epoch(old.subject, old.last_seen_at, timedelta())
            moved = Locator(epoch, new.locator.slot)
            self.admit(new.moved_to(moved), (), None, new.last_seen_at)
        return moved


@fails("restart_recognises_its_repetition", "every_history_of_calls_keeps_to_the_laws")
class RestartForgetsWhatItDid(MemorySessionStore):
    def restart(self, old: Session, new: Session, /) -> Locator | None:
        return super().restart(old, new) if self.find(old.locator) is not None else None


@fails("restart_repeated_when_its_session_has_changed_or_gone_does_nothing")
class RestartRecognisesItselfBySlot(MemorySessionStore):
    def restart(self, old: Session, new: Session, /) -> Locator | None:
        current = self._of_subject.get(old.subject)
        if current is not None and new.locator.slot in current.slots:
            return Locator(current.epoch, new.locator.slot)
        return super().restart(old, new)


@fails("a_restarted_session_is_one_like_any_other", "a_restarted_epoch_is_kept_by_its_session")
class RestartForgetsThatTheEpochIsInUse(MemorySessionStore):
    def restart(self, old: Session, new: Session, /) -> Locator | None:
        moved = super().restart(old, new)
        if moved is not None:
            current = self._of_epoch[moved.epoch]
            self._epochs_due.enter(moved.epoch, current.open_until)
            current.version = b""
        return moved

    def admit(
        self,
        session: Session,
        evicted: tuple[Locator, ...],
        version: bytes | None,
        at: datetime,
        /,
    ) -> Admission:
        if version == b"":
            return Admission.CONFLICT
        return super().admit(session, evicted, version, at)


class _RestartInSteps(MemorySessionStore):
    """
    Does what a domain would do without the operation: delete_user, open_epoch, admit.
    """

    def __init__(self) -> None:
        super().__init__()
        self.gap = Gap()
        self.rendezvous = Rendezvous()

    def holds(self, old: Session) -> bool:
        stored = self.find(old.locator)
        return stored is not None and stored.stamp == old.stamp

    def begin_anew(self, old: Session, new: Session) -> Locator:
        epoch = self.open_epoch(old.subject, old.last_seen_at, timedelta())
        moved = new.moved_to(Locator(epoch, new.locator.slot))
        self.admit(moved, (), None, new.last_seen_at)
        return moved.locator


@fails(
    "no_restart_outlives_the_deletion_of_its_user",
    "of_a_racing_restart_and_deletion_exactly_one_takes_effect",
    "of_a_racing_restart_and_replacement_exactly_one_takes_effect",
)
class RestartChecksThenActs(_RestartInSteps):
    def restart(self, old: Session, new: Session, /) -> Locator | None:
        if not self.holds(old):
            return None
        self.gap.stand()
        super().delete_user(old.subject)
        return self.begin_anew(old, new)

    def replace(self, old: Session, new: Session, /) -> bool:
        with self.gap.slip_in():
            return super().replace(old, new)

    def delete(self, locator: Locator, expected: Session | None = None, /) -> bool:
        with self.gap.slip_in():
            return super().delete(locator, expected)

    def delete_user(self, subject: Subject, /) -> int:
        with self.gap.slip_in():
            return super().delete_user(subject)


@fails("no_restart_outlives_the_deletion_of_its_user", "a_restart_is_seen_whole_or_not_at_all")
class RestartEndsThenBegins(_RestartInSteps):
    def restart(self, old: Session, new: Session, /) -> Locator | None:
        if not self.holds(old):
            return None
        super().delete_user(old.subject)
        self.gap.stand()
        return self.begin_anew(old, new)

    def delete_user(self, subject: Subject, /) -> int:
        with self.gap.slip_in():
            return super().delete_user(subject)

    def roster(self, subject: Subject, /) -> Roster:
        with self.gap.slip_in():
            return super().roster(subject)


@fails("of_racing_restarts_exactly_one_takes_effect")
class RestartsCheckThenAct(_RestartInSteps):
    def restart(self, old: Session, new: Session, /) -> Locator | None:
        if not self.holds(old):
            return None
        self.rendezvous.wait()
        self.delete_user(old.subject)
        return self.begin_anew(old, new)


@fails("a_restart_carries_over_what_was_written_before_it_and_nothing_later")
class RestartCopiesTheDataFirst(_RestartInSteps):
    def restart(self, old: Session, new: Session, /) -> Locator | None:
        data = dict(self.read_data(old.locator) or {})
        self.gap.stand()
        moved = super().restart(old, new)
        if moved is not None:
            self._of_epoch[moved.epoch].slots[moved.slot].data = data
        return moved

    def write_data(self, locator: Locator, change: DataChange, /) -> DataWrite:
        with self.gap.slip_in():
            return super().write_data(locator, change)


# --- broken delete and delete_user ----------------------------------------------------


@attrs.define(eq=False, slots=False)
class _KeepsDataApart(MemorySessionStore):
    """
    Keeps data under the locator, whether or not there is a session, and clears it at no time.
    """

    left: dict[Locator, dict[str, Datum]] = attrs.field(factory=dict[Locator, dict[str, Datum]])

    def remember(self, locators: list[Locator]) -> None:
        for locator in locators:
            kept = self._kept(locator)
            if kept is not None:
                self.left[locator] = kept.data

    def admit(
        self,
        session: Session,
        evicted: tuple[Locator, ...],
        version: bytes | None,
        at: datetime,
        /,
    ) -> Admission:
        admission = super().admit(session, evicted, version, at)
        if admission is Admission.ADMITTED:
            data = self.left.pop(session.locator, {})
            self._of_epoch[session.locator.epoch].slots[session.locator.slot].data = data
        return admission


@fails(
    "delete_removes_the_session_and_its_data",
    "a_slot_can_be_used_again_and_starts_without_data",
    "data_cannot_be_written_to_a_deleted_session",
)
class DeleteLeavesTheData(_KeepsDataApart):
    def delete(self, locator: Locator, expected: Session | None = None, /) -> bool:
        self.remember([locator])
        return super().delete(locator, expected)

    def read_data(self, locator: Locator, /) -> Mapping[str, Datum] | None:
        return super().read_data(locator) or self.left.get(locator, super().read_data(locator))


@fails("a_slot_can_be_used_again_and_starts_without_data")
class DeleteHidesTheData(_KeepsDataApart):
    def delete(self, locator: Locator, expected: Session | None = None, /) -> bool:
        self.remember([locator])
        return super().delete(locator, expected)


@fails("evicted_sessions_are_gone_with_their_data")
class EvictionLeavesTheData(_KeepsDataApart):
    def admit(
        self,
        session: Session,
        evicted: tuple[Locator, ...],
        version: bytes | None,
        at: datetime,
        /,
    ) -> Admission:
        self.remember(list(evicted))
        return super().admit(session, evicted, version, at)


@fails("a_purged_session_leaves_no_data_for_its_slot")
class PurgeLeavesTheData(_KeepsDataApart):
    def purge(self, before: datetime, limit: int, /) -> Purged:
        self.remember([Locator(e, slot) for e, c in self._of_epoch.items() for slot in c.slots])
        return super().purge(before, limit)


@fails("delete_user_leaves_nothing", "no_data_outlives_the_deletion_of_its_user")
class DeleteUserLeavesTheData(_KeepsDataApart):
    def delete_user(self, subject: Subject, /) -> int:
        self.remember([session.locator for session in self.roster(subject).sessions])
        return super().delete_user(subject)

    def read_data(self, locator: Locator, /) -> Mapping[str, Datum] | None:
        found = super().read_data(locator)
        return self.left.get(locator) if found is None else found


@fails(
    "delete_with_an_expectation_deletes_only_what_was_expected",
)
class DeleteIgnoresTheExpectation(MemorySessionStore):
    def delete(self, locator: Locator, expected: Session | None = None, /) -> bool:
        return super().delete(locator)


@fails("deleting_twice_is_a_no_op", "deleting_what_is_absent_is_a_no_op")
class DeleteSaysYes(MemorySessionStore):
    def delete(self, locator: Locator, expected: Session | None = None, /) -> bool:
        super().delete(locator, expected)
        return True


@fails("of_racing_deletions_exactly_one_deletes")
class DeleteLooksThenDeletes(MemorySessionStore):
    def __init__(self) -> None:
        super().__init__()
        self.rendezvous = Rendezvous()

    def delete(self, locator: Locator, expected: Session | None = None, /) -> bool:
        if self.find(locator) is None:
            return False
        self.rendezvous.wait()
        super().delete(locator, expected)
        return True


@fails("deleting_the_last_session_does_not_end_the_epoch")
class DeleteEndsTheEpochWithItsLastSession(MemorySessionStore):
    def delete(self, locator: Locator, expected: Session | None = None, /) -> bool:
        current = self._of_epoch.get(locator.epoch)
        deleted = super().delete(locator, expected)
        if deleted and current is not None and not current.slots:
            self.delete_user(current.subject)
        return deleted


@fails(
    "an_ended_epoch_never_becomes_current_again",
    "delete_user_leaves_nothing",
    "delete_user_ends_an_epoch_without_sessions",
    "no_admission_outlives_the_deletion_of_its_user",
    "every_history_of_calls_keeps_to_the_laws",
)
class DeleteUserKeepsTheEpoch(MemorySessionStore):
    def delete_user(self, subject: Subject, /) -> int:
        sessions = self.roster(subject).sessions
        return sum(self.delete(session.locator) for session in sessions)


@fails("delete_user_leaves_other_subjects_alone")
class DeleteUserDeletesEverybody(MemorySessionStore):
    def delete_user(self, subject: Subject, /) -> int:
        deleted = super().delete_user(subject)
        for other in list(self._of_subject):
            super().delete_user(other)
        return deleted


@fails("delete_user_can_be_repeated")
class DeleteUserCountsTheEpoch(MemorySessionStore):
    def delete_user(self, subject: Subject, /) -> int:
        return max(super().delete_user(subject), 1)


@fails("racing_deletions_of_a_user_count_every_session_once")
class DeleteUserCountsThenDeletes(MemorySessionStore):
    def __init__(self) -> None:
        super().__init__()
        self.rendezvous = Rendezvous()

    def delete_user(self, subject: Subject, /) -> int:
        count = len(self.roster(subject).sessions)
        self.rendezvous.wait()
        super().delete_user(subject)
        return count


@fails("what_is_admitted_while_a_user_is_deleted_is_in_the_epoch_that_follows")
class DeleteUserDeletesTheSessionsLast(MemorySessionStore):
    """
    Ends the epoch and then deletes by user, also what was admitted in between.
    """

    def __init__(self) -> None:
        super().__init__()
        self.gap = Gap()

    def delete_user(self, subject: Subject, /) -> int:
        deleted = super().delete_user(subject)
        self.gap.stand()
        for session in self.roster(subject).sessions:
            self.delete(session.locator)
        return deleted

    def open_epoch(self, subject: Subject, at: datetime, lives_for: timedelta, /) -> Epoch:
        self.gap.reach()
        return super().open_epoch(subject, at, lives_for)

    def admit(
        self,
        session: Session,
        evicted: tuple[Locator, ...],
        version: bytes | None,
        at: datetime,
        /,
    ) -> Admission:
        with self.gap.slip_in():
            return super().admit(session, evicted, version, at)


# --- broken find_with_data ------------------------------------------------------------

Found = tuple[Session, Mapping[str, Datum]] | None


@fails("a_session_is_found_with_its_data")
class FindsWithTheDataOfAll(MemorySessionStore):
    def find_with_data(self, locator: Locator, /) -> Found:
        found = super().find_with_data(locator)
        if found is None:
            return None
        every = [kept.data for kept in self._of_epoch[locator.epoch].slots.values()]
        return found[0], {key: datum for data in every for key, datum in data.items()}


@fails("a_session_is_found_with_its_data")
class FindsWhatWasStoredFirst(MemorySessionStore):
    def __init__(self) -> None:
        super().__init__()
        self.first: dict[Locator, Session] = {}

    def find_with_data(self, locator: Locator, /) -> Found:
        found = super().find_with_data(locator)
        return found and (self.first.setdefault(locator, found[0]), found[1])


@fails("a_session_without_data_is_found_with_none")
class FindsOnlyWhatHasData(MemorySessionStore):
    def find_with_data(self, locator: Locator, /) -> Found:
        found = super().find_with_data(locator)
        return found if found is not None and found[1] else None


@fails("what_is_not_found_is_not_found_with_data_either")
class RemembersWhatItFoundWithData(MemorySessionStore):
    def __init__(self) -> None:
        super().__init__()
        self.found: dict[Locator, Found] = {}

    def write_data(self, locator: Locator, change: DataChange, /) -> DataWrite:
        written = super().write_data(locator, change)
        self.found[locator] = super().find_with_data(locator)
        return written

    def find_with_data(self, locator: Locator, /) -> Found:
        return super().find_with_data(locator) or self.found.get(locator)


@fails("a_session_is_never_found_without_the_data_that_it_had")
class FindsTheSessionAndThenTheData(MemorySessionStore):
    def __init__(self) -> None:
        super().__init__()
        self.gap = Gap()

    def find_with_data(self, locator: Locator, /) -> Found:
        session = self.find(locator)
        self.gap.stand()
        return None if session is None else (session, self.read_data(locator) or {})

    def delete(self, locator: Locator, expected: Session | None = None, /) -> bool:
        with self.gap.slip_in():
            return super().delete(locator, expected)


# --- broken data ----------------------------------------------------------------------


def size_after(store: MemorySessionStore, locator: Locator, change: DataChange) -> int:
    held = store.read_data(locator) or {}
    values = {key: datum.value for key, datum in held.items() if key not in change.remove}
    values.update(change.put)
    return sum(len(key.encode()) + len(value) for key, value in values.items())


@fails("there_is_no_data_without_a_session", "data_cannot_be_written_to_a_deleted_session")
class WritesDataToTheDead(_KeepsDataApart):
    def write_data(self, locator: Locator, change: DataChange, /) -> DataWrite:
        answer = super().write_data(locator, change)
        if answer is DataWrite.GONE:
            left = self.left.setdefault(locator, {})
            left |= {key: Datum(value, change.stamp) for key, value in change.put.items()}
        return answer


@fails("keys_that_a_change_does_not_name_keep_their_values")
class WritesTheWholeData(MemorySessionStore):
    def write_data(self, locator: Locator, change: DataChange, /) -> DataWrite:
        others = frozenset(self.read_data(locator) or ()) - change.put.keys()
        return super().write_data(locator, replace(change, remove=others))


@fails(
    "parallel_changes_of_different_keys_all_survive",
    "guarded_increments_lose_none",
    "of_racing_changes_with_one_guard_exactly_one_is_written",
    "parallel_changes_never_exceed_the_capacity",
)
class LoadsChangesAndSavesTheData(MemorySessionStore):
    """
    What most libraries do.
    """

    def __init__(self) -> None:
        super().__init__()
        self.rendezvous = Rendezvous()
        self.saving = threading.Lock()

    def write_data(self, locator: Locator, change: DataChange, /) -> DataWrite:
        kept = self._kept(locator)
        assert kept is not None
        loaded = kept.data
        self.rendezvous.wait()
        with self.saving:
            kept.data = loaded
            return super().write_data(locator, change)


@fails("removed_keys_are_absent", "any_data_survives")
class RemovesNothing(MemorySessionStore):
    def write_data(self, locator: Locator, change: DataChange, /) -> DataWrite:
        return super().write_data(locator, replace(change, remove=frozenset()))


@fails("a_change_of_data_leaves_the_session_as_it_was")
class CountsDataAsAChangeOfTheSession(MemorySessionStore):
    def write_data(self, locator: Locator, change: DataChange, /) -> DataWrite:
        answer = super().write_data(locator, change)
        kept = self._kept(locator)
        if kept is not None:
            kept.session = replace(kept.session, stamp=change.stamp)
        return answer


@fails("sessions_do_not_share_data")
class KeepsDataByUser(MemorySessionStore):
    def admit(
        self,
        session: Session,
        evicted: tuple[Locator, ...],
        version: bytes | None,
        at: datetime,
        /,
    ) -> Admission:
        admission = super().admit(session, evicted, version, at)
        if admission is Admission.ADMITTED:
            slots = list(self._of_epoch[session.locator.epoch].slots.values())
            slots[-1].data = slots[0].data
        return admission

    def write_data(self, locator: Locator, change: DataChange, /) -> DataWrite:
        kept = self._kept(locator)
        assert kept is not None
        kept.data |= {key: Datum(value, change.stamp) for key, value in change.put.items()}
        return DataWrite.WRITTEN


@fails("a_repeated_change_is_recognised_and_changes_nothing")
class TriesGuardsBeforeTheRepetition(MemorySessionStore):
    def write_data(self, locator: Locator, change: DataChange, /) -> DataWrite:
        held = self.read_data(locator)
        if held is not None:
            for key, stamp in change.expect.items():
                if (held[key].stamp if key in held else None) != stamp:
                    return DataWrite.CONFLICT
        return super().write_data(locator, change)


@fails("a_change_is_a_repetition_only_if_every_put_key_bears_its_stamp")
class RecognisesARepetitionByOneKey(MemorySessionStore):
    def write_data(self, locator: Locator, change: DataChange, /) -> DataWrite:
        held = self.read_data(locator) or {}
        if any(key in held and held[key].stamp == change.stamp for key in change.put):
            return DataWrite.WRITTEN
        return super().write_data(locator, change)


@fails("a_change_that_puts_nothing_is_never_a_repetition", "removed_keys_are_absent")
class TakesNothingPutForARepetition(MemorySessionStore):
    def write_data(self, locator: Locator, change: DataChange, /) -> DataWrite:
        if not change.put and self.find(locator) is not None:
            return DataWrite.WRITTEN
        return super().write_data(locator, change)


@fails(
    "a_guard_holds_only_for_the_expected_stamp",
    "of_racing_changes_with_one_guard_exactly_one_is_written",
    "every_history_of_calls_keeps_to_the_laws",
)
class WritesUnguarded(MemorySessionStore):
    def write_data(self, locator: Locator, change: DataChange, /) -> DataWrite:
        return super().write_data(locator, replace(change, expect={}))


@fails("a_guard_holds_only_for_the_expected_stamp")
class TakesAbsenceForNoGuard(MemorySessionStore):
    def write_data(self, locator: Locator, change: DataChange, /) -> DataWrite:
        expect = {key: stamp for key, stamp in change.expect.items() if stamp is not None}
        return super().write_data(locator, replace(change, expect=expect))


@fails("a_guard_may_be_on_a_key_that_is_removed_or_not_changed")
class GuardsOnlyWhatIsPut(MemorySessionStore):
    def write_data(self, locator: Locator, change: DataChange, /) -> DataWrite:
        expect = {key: stamp for key, stamp in change.expect.items() if key in change.put}
        return super().write_data(locator, replace(change, expect=expect))


@fails("capacity_is_exact", "every_history_of_calls_keeps_to_the_laws")
class GivesOneByteMore(MemorySessionStore):
    def write_data(self, locator: Locator, change: DataChange, /) -> DataWrite:
        return super().write_data(locator, replace(change, capacity=change.capacity + 1))


@fails("capacity_is_exact")
class CountsCharacters(MemorySessionStore):
    def write_data(self, locator: Locator, change: DataChange, /) -> DataWrite:
        spared = sum(len(key.encode()) - len(key) for key in change.put)
        return super().write_data(locator, replace(change, capacity=change.capacity + spared))


@fails("capacity_is_exact")
class CountsOnlyWhatIsPut(MemorySessionStore):
    def write_data(self, locator: Locator, change: DataChange, /) -> DataWrite:
        size = sum(len(key.encode()) + len(value) for key, value in change.put.items())
        unlimited = replace(change, capacity=1 << 30)
        return DataWrite.FULL if size > change.capacity else super().write_data(locator, unlimited)


@fails("what_is_over_capacity_may_shrink_but_not_grow")
class LetsNothingShrink(MemorySessionStore):
    def write_data(self, locator: Locator, change: DataChange, /) -> DataWrite:
        if size_after(self, locator, change) > change.capacity:
            return DataWrite.FULL
        return super().write_data(locator, change)


@fails("a_guard_is_tried_before_the_capacity")
class TriesTheCapacityFirst(MemorySessionStore):
    def write_data(self, locator: Locator, change: DataChange, /) -> DataWrite:
        answer = super().write_data(locator, change)
        if answer is DataWrite.CONFLICT and size_after(self, locator, change) > change.capacity:
            return DataWrite.FULL
        return answer


@fails("difficult_keys_are_told_apart")
class FoldsTheCaseOfKeys(MemorySessionStore):
    def write_data(self, locator: Locator, change: DataChange, /) -> DataWrite:
        put = {key.casefold(): value for key, value in change.put.items()}
        return super().write_data(locator, replace(change, put=put))


@fails("empty_and_big_values_survive", "any_data_survives")
class DropsEmptyValues(MemorySessionStore):
    def read_data(self, locator: Locator, /) -> Mapping[str, Datum] | None:
        data = super().read_data(locator)
        return data and {key: datum for key, datum in data.items() if datum.value}


@fails("empty_and_big_values_survive")
class CutsBigValues(MemorySessionStore):
    def read_data(self, locator: Locator, /) -> Mapping[str, Datum] | None:
        data = super().read_data(locator)
        return data and {
            key: replace(datum, value=datum.value[:65535]) for key, datum in data.items()
        }


@fails("any_data_survives")
class TidiesJson(MemorySessionStore):
    def read_data(self, locator: Locator, /) -> Mapping[str, Datum] | None:
        data = super().read_data(locator)
        return data and {
            key: replace(datum, value=datum.value and json.dumps(json.loads(datum.value)).encode())
            for key, datum in data.items()
        }


@fails("a_change_is_read_whole_or_not_at_all")
class WritesKeyByKey(MemorySessionStore):
    def __init__(self) -> None:
        super().__init__()
        self.gap = Gap()

    def write_data(self, locator: Locator, change: DataChange, /) -> DataWrite:
        for number, (key, value) in enumerate(change.put.items()):
            if number == 1:
                self.gap.stand()
            super().write_data(locator, replace(change, put={key: value}))
        return DataWrite.WRITTEN

    def read_data(self, locator: Locator, /) -> Mapping[str, Datum] | None:
        with self.gap.slip_in():
            return super().read_data(locator)


@fails("a_session_and_its_data_are_replaced_side_by_side")
class SavesTheSessionWithItsData(MemorySessionStore):
    def __init__(self) -> None:
        super().__init__()
        self.gap = Gap()

    def write_data(self, locator: Locator, change: DataChange, /) -> DataWrite:
        kept = self._kept(locator)
        assert kept is not None
        loaded = kept.session
        self.gap.stand()
        kept.session = loaded
        return super().write_data(locator, change)

    def replace(self, old: Session, new: Session, /) -> bool:
        with self.gap.slip_in():
            return super().replace(old, new)


@fails(
    "no_data_outlives_the_deletion_of_its_user",
    "no_data_outlives_the_deletion_of_its_session",
    "no_data_outlives_an_eviction",
)
class WritesDataAfterTheEnd(_KeepsDataApart):
    def __init__(self) -> None:
        super().__init__()
        self.gap = Gap()

    def write_data(self, locator: Locator, change: DataChange, /) -> DataWrite:
        if self.find(locator) is None:
            return DataWrite.GONE
        self.gap.stand()
        self.left[locator] = {key: Datum(value, change.stamp) for key, value in change.put.items()}
        return DataWrite.WRITTEN

    def read_data(self, locator: Locator, /) -> Mapping[str, Datum] | None:
        return self.left.get(locator, super().read_data(locator))

    def admit(
        self,
        session: Session,
        evicted: tuple[Locator, ...],
        version: bytes | None,
        at: datetime,
        /,
    ) -> Admission:
        with self.gap.slip_in():
            return super().admit(session, evicted, version, at)

    def delete(self, locator: Locator, expected: Session | None = None, /) -> bool:
        with self.gap.slip_in():
            return super().delete(locator, expected)

    def delete_user(self, subject: Subject, /) -> int:
        with self.gap.slip_in():
            return super().delete_user(subject)


# --- broken purge ---------------------------------------------------------------------


@fails("purge_removes_exactly_what_is_due", "racing_purges_delete_what_is_due_and_nothing_else")
class PurgesWhatIsStillKept(MemorySessionStore):
    def purge(self, before: datetime, limit: int, /) -> Purged:
        return super().purge(before + timedelta(milliseconds=1), limit)


@fails("purge_removes_exactly_what_is_due", "every_history_of_calls_keeps_to_the_laws")
class PurgesNothing(MemorySessionStore):
    def purge(self, before: datetime, limit: int, /) -> Purged:
        return Purged(sessions=0, epochs=0, more=False)


@fails("purge_stays_within_its_limit_and_comes_to_an_end")
class PurgesEverythingAtOnce(MemorySessionStore):
    def purge(self, before: datetime, limit: int, /) -> Purged:
        return super().purge(before, 1 << 30)


@fails("purge_stays_within_its_limit_and_comes_to_an_end")
class PurgesOneBatch(MemorySessionStore):
    def purge(self, before: datetime, limit: int, /) -> Purged:
        return replace(super().purge(before, limit), more=False)


@fails("purging_an_empty_store_finds_nothing")
class PurgesForEver(MemorySessionStore):
    def purge(self, before: datetime, limit: int, /) -> Purged:
        return replace(super().purge(before, limit), more=True)


@fails("purge_goes_by_the_record_that_is_stored")
class PurgesByTheFirstRecord(MemorySessionStore):
    def replace(self, old: Session, new: Session, /) -> bool:
        replaced = super().replace(old, new)
        if replaced:
            self._sessions_due.strike(new.locator, new.keep_until)
            self._sessions_due.enter(new.locator, old.keep_until)
        return replaced


@fails("purge_counts_nothing_that_was_gone_already")
class PurgeCountsTheDeleted(MemorySessionStore):
    def __init__(self) -> None:
        super().__init__()
        self.deleted = 0

    def delete(self, locator: Locator, expected: Session | None = None, /) -> bool:
        deleted = super().delete(locator, expected)
        self.deleted += deleted
        return deleted

    def purge(self, before: datetime, limit: int, /) -> Purged:
        purged = super().purge(before, limit - self.deleted)
        return replace(purged, sessions=purged.sessions + self.deleted)


class _PurgesEpochs(MemorySessionStore):
    def purge(self, before: datetime, limit: int, /) -> Purged:
        purged = super().purge(before, limit)
        for current in list(self._of_epoch.values()):
            if self.is_due(current, before):
                with self._lock:
                    self._end(current)
        return purged

    def is_due(self, current: Any, before: datetime) -> bool:
        raise NotImplementedError


@fails(
    "purge_leaves_an_epoch_that_must_stay_current",
    "purging_the_last_session_leaves_an_epoch_that_must_stay_current",
    "every_history_of_calls_keeps_to_the_laws",
)
class PurgesOpenEpochs(_PurgesEpochs):
    def is_due(self, current: Any, before: datetime) -> bool:
        return not current.slots


@fails("an_epoch_with_sessions_is_never_purged", "a_restarted_epoch_is_kept_by_its_session")
class PurgesEpochsInUse(_PurgesEpochs):
    def is_due(self, current: Any, before: datetime) -> bool:
        return bool(current.open_until < before)


@fails("an_epoch_that_may_be_purged_is_either_gone_or_current")
class RefusesAPurgedEpochThatItStillHandsOut(MemorySessionStore):
    def __init__(self) -> None:
        super().__init__()
        self.purged: set[Epoch] = set()

    def purge(self, before: datetime, limit: int, /) -> Purged:
        self.purged |= {
            epoch
            for epoch, current in self._of_epoch.items()
            if not current.slots and current.open_until < before
        }
        return Purged(sessions=0, epochs=0, more=False)

    def admit(
        self,
        session: Session,
        evicted: tuple[Locator, ...],
        version: bytes | None,
        at: datetime,
        /,
    ) -> Admission:
        if session.locator.epoch in self.purged:
            return Admission.STALE
        return super().admit(session, evicted, version, at)


@fails("racing_purges_delete_what_is_due_and_nothing_else")
class PurgesCountWhatTheyLookedAt(MemorySessionStore):
    def __init__(self) -> None:
        super().__init__()
        self.rendezvous = Rendezvous()

    def purge(self, before: datetime, limit: int, /) -> Purged:
        due = [
            kept.session.locator
            for current in list(self._of_epoch.values())
            for kept in list(current.slots.values())
            if kept.session.keep_until < before
        ]
        self.rendezvous.wait()
        for locator in due[:limit]:
            self.delete(locator)
        return Purged(sessions=len(due[:limit]), epochs=0, more=len(due) > limit)


@fails(
    "no_purge_deletes_what_was_touched_in_time",
    "no_admission_is_lost_to_a_purge",
    "an_admission_to_an_epoch_that_is_being_purged_is_stored_or_stale",
    "an_admission_beside_the_purge_of_the_last_session_is_not_lost",
    "an_opened_epoch_is_not_lost_to_a_purge",
)
class PurgeLooksThenDeletes(MemorySessionStore):
    def __init__(self) -> None:
        super().__init__()
        self.gap = Gap()

    def purge(self, before: datetime, limit: int, /) -> Purged:
        sessions = [
            kept.session for each in self._of_epoch.values() for kept in each.slots.values()
        ]
        due = [session.locator for session in sessions if session.keep_until < before]
        used = {session.locator.epoch for session in sessions} - {each.epoch for each in due}
        idle = [each for epoch, each in self._of_epoch.items() if epoch not in used]
        self.gap.stand()
        with self._lock:
            for locator in due:
                self._delete(locator)
            for current in idle:
                self._end(current)
        return Purged(sessions=len(due), epochs=len(idle), more=False)

    def open_epoch(self, subject: Subject, at: datetime, lives_for: timedelta, /) -> Epoch:
        with self.gap.slip_in():
            return super().open_epoch(subject, at, lives_for)

    def replace(self, old: Session, new: Session, /) -> bool:
        with self.gap.slip_in():
            return super().replace(old, new)

    def admit(
        self,
        session: Session,
        evicted: tuple[Locator, ...],
        version: bytes | None,
        at: datetime,
        /,
    ) -> Admission:
        with self.gap.slip_in():
            return super().admit(session, evicted, version, at)


# --- stores that change what they are given -------------------------------------------


class _ChangesWhatItIsGiven(MemorySessionStore):
    def changed(self, session: Session) -> Session:
        raise NotImplementedError

    def find(self, locator: Locator, /) -> Session | None:
        found = super().find(locator)
        return found and self.changed(found)


@fails("every_field_of_every_session_survives")
class CutsInstantsToSeconds(_ChangesWhatItIsGiven):
    def changed(self, session: Session) -> Session:
        return replace(session, last_seen_at=session.last_seen_at.replace(microsecond=0))


@fails("every_field_of_every_session_survives")
class AnswersInLocalTime(_ChangesWhatItIsGiven):
    def changed(self, session: Session) -> Session:
        return replace(
            session, created_at=session.created_at.astimezone(timezone(timedelta(hours=2)))
        )


@fails("every_field_of_every_session_survives")
class CutsUserAgents(_ChangesWhatItIsGiven):
    def changed(self, session: Session) -> Session:
        agent = session.device.user_agent
        return replace(session, device=Device(session.device.address, agent and agent[:100]))


@fails("every_field_of_every_session_survives")
class JoinsMethodsWithCommas(_ChangesWhatItIsGiven):
    def changed(self, session: Session) -> Session:
        return replace(session, methods=tuple(",".join(session.methods).split(",")))


@fails("every_field_of_every_session_survives")
class AnswersItsBuffers(_ChangesWhatItIsGiven):
    def changed(self, session: Session) -> Session:
        return replace(session, current=cast("bytes", memoryview(session.current)))


@fails("an_admitted_session_is_found_and_has_no_data")
class AnswersNoDataForNone(MemorySessionStore):
    def read_data(self, locator: Locator, /) -> Mapping[str, Datum] | None:
        return super().read_data(locator) or None


@fails("what_is_stored_reveals_no_session_id")
class KeepsTheIds(MemorySessionStore):
    """
    A store is given no id; this one draws again what the clause has drawn.
    """

    def ids(self) -> Iterator[SessionId]:
        for epoch in self._of_epoch:
            entropy = SeededEntropy(73)
            slot, family = entropy.draw(SLOT_BYTES), entropy.draw(FAMILY_BYTES)
            for _ in range(3):
                yield SessionId(epoch, slot, family, entropy.draw(SECRET_BYTES))

    def dump(self) -> bytes:
        return everything_in(self) + b"".join(each.reveal().encode() for each in self.ids())


@fails("what_is_stored_reveals_no_session_id")
class KeepsTheSecretsInHexadecimal(KeepsTheIds):
    def dump(self) -> bytes:
        octets = [base64.urlsafe_b64decode(each.reveal()) for each in self.ids()]
        return everything_in(self) + b"".join(
            b'"%s"' % each[-24:].hex().encode() for each in octets
        )


@fails("what_is_stored_reveals_no_session_id")
class KeepsTheFamiliesInADocument(KeepsTheIds):
    def dump(self) -> bytes:
        octets = [base64.urlsafe_b64decode(each.reveal()) for each in self.ids()]
        return everything_in(self) + b"".join(
            base64.b64encode(b"?" + each[22:30]) for each in octets
        )


@fails("what_is_stored_reveals_no_session_id")
class DumpsNothing(MemorySessionStore):
    def dump(self) -> bytes:
        return b"see for yourself"


# --- broken for asyncio ---------------------------------------------------------------


class AsyncReplaceChecksThenWrites(AsyncMemorySessionStore):
    """
    Awaits between its check and its write, as everything does that has a connection.
    """

    def __init__(self) -> None:
        super().__init__()
        self.arrived = 0
        self.both = asyncio.Event()

    async def replace(self, old: Session, new: Session, /) -> bool:
        stored = await self.find(old.locator)
        if stored is None or stored.stamp != old.stamp:
            return False
        self.arrived += 1
        if self.arrived == 2:
            self.both.set()
        await asyncio.wait_for(self.both.wait(), PATIENCE)
        stored = await self.find(old.locator)
        return stored is not None and await super().replace(stored, new)


class AsyncLeavesItsAnswerToTheNext(AsyncMemorySessionStore):
    """
    Has one connection, on which the answer to a cancelled call is still to come.
    """

    def __init__(self) -> None:
        super().__init__()
        self.answers: deque[Session | None] = deque()

    async def find(self, locator: Locator, /) -> Session | None:
        self.answers.append(await super().find(locator))
        await asyncio.sleep(0)
        return self.answers.popleft()


# --- broken credential stores ---------------------------------------------------------


def fails_credentials(
    *clauses: str,
) -> Callable[[type[CredentialStoreT]], type[CredentialStoreT]]:
    """
    Say which clauses, at the least, must catch a broken credential store.
    """

    def note(broken: type[CredentialStoreT]) -> type[CredentialStoreT]:
        BROKEN_CREDENTIALS.extend((broken, f"test_{clause}") for clause in clauses)
        return broken

    return note


@fails_credentials("a_user_is_found_by_name", "a_user_id_comes_back_to_the_byte")
class FoldsUserIds(MemoryCredentialStore):
    def find_user(self, username: str, /) -> Account | None:
        found = super().find_user(username)
        return found and Account(found.user_id.strip().upper(), found.role)


@fails_credentials("nobody_is_found_under_a_name_that_nobody_has")
class EndsNamesAtNul(MemoryCredentialStore):
    def find_user(self, username: str, /) -> Account | None:
        return super().find_user(username.partition("\x00")[0])


@fails_credentials("nobody_is_found_under_a_name_that_nobody_has")
class FindsByPattern(MemoryCredentialStore):
    def find_user(self, username: str, /) -> Account | None:
        pattern = username.replace("%", "*").replace("_", "?")
        for name in self._by_name:
            if fnmatch.fnmatchcase(name, pattern):
                return super().find_user(name)
        return None


@fails_credentials("there_is_no_hash_of_an_unknown_user")
class InventsAHash(MemoryCredentialStore):
    def read_hash(self, user_id: str, /) -> str | None:
        return super().read_hash(user_id) or "$argon2id$"


@fails_credentials("there_is_no_hash_of_a_user_without_a_password")
class AnswersAnEmptyHash(MemoryCredentialStore):
    def read_hash(self, user_id: str, /) -> str | None:
        return (super().read_hash(user_id) or "") if user_id in self._by_id else None


@fails_credentials(
    "another_hash_than_the_verified_one_stays",
)
class ReplacesWhateverIsThere(MemoryCredentialStore):
    def replace_hash(self, user_id: str, verified: str, new: str, /) -> bool:
        stored = self.read_hash(user_id)
        return stored is not None and super().replace_hash(user_id, stored, new)


@fails_credentials("another_hash_than_the_verified_one_stays")
class FoldsTheCaseOfHashes(MemoryCredentialStore):
    def replace_hash(self, user_id: str, verified: str, new: str, /) -> bool:
        stored = self.read_hash(user_id)
        if stored is not None and stored.lower() == verified.lower():
            verified = stored
        return super().replace_hash(user_id, verified, new)


@fails_credentials("a_hash_is_replaced_if_it_is_the_one_that_was_verified")
class ReplacesEverybodysHash(MemoryCredentialStore):
    def replace_hash(self, user_id: str, verified: str, new: str, /) -> bool:
        replaced = super().replace_hash(user_id, verified, new)
        for other in self._by_id if replaced else ():
            self.set_hash(other, new)
        return replaced


@fails_credentials("a_long_hash_is_kept_whole")
class CutsHashes(MemoryCredentialStore):
    def replace_hash(self, user_id: str, verified: str, new: str, /) -> bool:
        return super().replace_hash(user_id, verified[:128], new[:128])


@fails_credentials("replacing_a_hash_recognises_its_repetition")
class ForgetsWhatItReplaced(MemoryCredentialStore):
    def replace_hash(self, user_id: str, verified: str, new: str, /) -> bool:
        return self.read_hash(user_id) == verified and super().replace_hash(user_id, verified, new)


@fails_credentials("replacing_a_hash_makes_no_user")
class MakesAUser(MemoryCredentialStore):
    def replace_hash(self, user_id: str, verified: str, new: str, /) -> bool:
        if user_id not in self._by_id:
            self.add_user(user_id, user_id, new)
        return super().replace_hash(user_id, verified, new)


@fails_credentials("of_racing_replacements_of_a_hash_exactly_one_takes_effect")
class ComparesThenSets(MemoryCredentialStore):
    def __init__(self) -> None:
        super().__init__()
        self.rendezvous = Rendezvous()

    def replace_hash(self, user_id: str, verified: str, new: str, /) -> bool:
        if self.read_hash(user_id) != verified:
            return False
        self.rendezvous.wait()
        self.set_hash(user_id, new)
        return True


@fails_credentials("a_written_hash_is_seen_by_every_client_at_once")
class CachesHashes(MemoryCredentialStore):
    """
    Each client remembers what it has read.
    """

    def __init__(self, shared: MemoryCredentialStore | None = None) -> None:
        super().__init__()
        self.shared = shared or MemoryCredentialStore()
        self.cache: dict[str, str | None] = {}

    def add_user(
        self, user_id: str, username: str, password_hash: str | None, role: str | None = None
    ) -> bool:
        return self.shared.add_user(user_id, username, password_hash, role)

    def read_hash(self, user_id: str, /) -> str | None:
        if user_id not in self.cache:
            self.cache[user_id] = self.shared.read_hash(user_id)
        return self.cache[user_id]

    def replace_hash(self, user_id: str, verified: str, new: str, /) -> bool:
        self.cache.pop(user_id, None)
        return self.shared.replace_hash(user_id, verified, new)

    def another_client(self) -> MemoryCredentialStore:
        return CachesHashes(self.shared)


@fails_credentials("a_hash_is_read_whole_while_it_is_replaced")
class WritesTheHashInTwoParts(MemoryCredentialStore):
    def __init__(self) -> None:
        super().__init__()
        self.gap = Gap()

    def replace_hash(self, user_id: str, verified: str, new: str, /) -> bool:
        self.set_hash(user_id, new[:20])
        self.gap.stand()
        self.set_hash(user_id, new)
        return True

    def read_hash(self, user_id: str, /) -> str | None:
        with self.gap.slip_in():
            return super().read_hash(user_id)


# --- the tests ------------------------------------------------------------------------


class BrokenStore(SessionStoreContract):
    # The same histories every time, and shown as they were found.
    properties = settings(
        SessionStoreContract.properties,
        max_examples=300,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
    )

    def __init__(self, broken: type[MemorySessionStore]) -> None:
        self.broken = broken

    def new_store(self) -> AbstractContextManager[SessionStore]:
        return nullcontext(self.broken())

    def dump(self, store: Any) -> bytes | None:
        return store.dump() if hasattr(store, "dump") else everything_in(store)


class BrokenAsyncStore(AsyncSessionStoreContract):
    def __init__(self, broken: Callable[[], AsyncSessionStore]) -> None:
        self.broken = broken

    def new_store(self) -> AbstractAsyncContextManager[AsyncSessionStore]:
        return nullcontext(self.broken())


class BrokenCredentials(CredentialStoreContract):
    def __init__(self, broken: type[MemoryCredentialStore]) -> None:
        self.broken = broken

    def new_store(self) -> AbstractContextManager[CredentialStore]:
        return nullcontext(self.broken())

    def add_user(self, store: Any, user_id: str, username: str, password_hash: str | None) -> None:
        store.add_user(user_id, username, password_hash)

    def open_again(self, store: Any) -> AbstractContextManager[CredentialStore]:
        another = getattr(store, "another_client", lambda: store)
        return nullcontext(another())


def clauses_of(contract: type) -> set[str]:
    return {name for name in dir(contract) if name.startswith("test_")}


def named(value: object) -> str:
    return value.__name__ if isinstance(value, type) else str(value).removeprefix("test_")


@pytest.mark.parametrize(("broken", "clause"), BROKEN, ids=named)
def test_a_broken_store_fails(broken: type[MemorySessionStore], clause: str) -> None:
    with pytest.raises(AssertionError, match=r"sessioncore\.|dump\(\)"):
        getattr(BrokenStore(broken), clause)()


@pytest.mark.parametrize(("broken", "clause"), BROKEN_CREDENTIALS, ids=named)
def test_a_broken_credential_store_fails(broken: type[MemoryCredentialStore], clause: str) -> None:
    with pytest.raises(AssertionError, match=r"sessioncore\."):
        getattr(BrokenCredentials(broken), clause)()


def test_a_store_whose_mistake_is_a_wait_on_the_loop_fails() -> None:
    contract = BrokenAsyncStore(AsyncReplaceChecksThenWrites)
    with pytest.raises(AssertionError, match="at most one takes effect"):
        contract.test_of_racing_replacements_exactly_one_takes_effect()


def test_a_store_that_a_cancelled_call_confuses_fails() -> None:
    contract = BrokenAsyncStore(AsyncLeavesItsAnswerToTheNext)
    with pytest.raises(AssertionError, match="A call that is cancelled"):
        contract.test_a_cancelled_call_leaves_a_store_that_answers_truly()


def test_an_asynchronous_store_is_held_to_the_same_laws() -> None:
    contract = BrokenAsyncStore(lambda: AsyncMemorySessionStore(ReplaceInserts()))
    with pytest.raises(AssertionError, match="There is no upsert"):
        contract.test_replace_makes_no_session()


def test_every_clause_has_a_store_that_it_catches() -> None:
    assert {clause for _, clause in BROKEN} == clauses_of(SessionStoreContract)
    assert {clause for _, clause in BROKEN_CREDENTIALS} == clauses_of(CredentialStoreContract)
