"""
The session stores. Read :class:`MemorySessionStore` to learn how to write one.
"""

from __future__ import annotations

import itertools
import secrets
import threading
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

import attrs

from sessioncore.ports import Admission, DataWrite, Purged
from sessioncore.session import (
    EPOCH_BYTES,
    DataChange,
    Datum,
    Epoch,
    Locator,
    Roster,
    Session,
    Subject,
)
from sessioncore_memory.agenda import Agenda


@attrs.define(eq=False)
class _Kept:
    """
    One session and its data. They are one object, so that they end together.
    """

    session: Session
    data: dict[str, Datum]


@attrs.define(eq=False)
class _CurrentEpoch:
    """
    The current epoch of one subject, with everything in it.
    """

    subject: Subject
    epoch: Epoch
    version: bytes
    open_until: datetime
    slots: dict[bytes, _Kept] = attrs.field(factory=dict[bytes, _Kept])


@attrs.define(eq=False)
class MemorySessionStore:
    """
    A :class:`~sessioncore.ports.SessionStore` for the threads of one process.

    An epoch that was ended is forgotten, so what bears its name is not found:
    that alone keeps the promise of "sign out everywhere". One lock makes every
    operation one step; each holds it for a time that does not depend on how
    many sessions other users have. Only :meth:`find` takes none, so that
    requests do not queue for it: see :meth:`_kept`. Call :meth:`purge` now and
    then, or what has expired stays.
    """

    _of_subject: dict[Subject, _CurrentEpoch] = attrs.field(
        factory=dict[Subject, _CurrentEpoch], init=False, repr=False
    )
    _of_epoch: dict[Epoch, _CurrentEpoch] = attrs.field(
        factory=dict[Epoch, _CurrentEpoch], init=False, repr=False
    )
    _sessions_due: Agenda[Locator] = attrs.field(factory=Agenda[Locator], init=False, repr=False)
    """Every session, by its ``keep_until``."""

    _epochs_due: Agenda[Epoch] = attrs.field(factory=Agenda[Epoch], init=False, repr=False)
    """Every epoch without sessions, by its ``open_until``."""

    # One count for all versions: a version of an ended epoch must not be taken
    # for one of the epoch that follows it.
    _versions: Iterator[int] = attrs.field(factory=itertools.count, init=False, repr=False)
    _lock: threading.Lock = attrs.field(factory=threading.Lock, init=False, repr=False)

    def open_epoch(self, subject: Subject, at: datetime, lives_for: timedelta, /) -> Epoch:
        """
        See :meth:`sessioncore.ports.SessionStore.open_epoch`.
        """
        open_until = at + lives_for
        with self._lock:
            current = self._of_subject.get(subject)
            if current is None:
                current = self._begin(subject, open_until)
            elif current.open_until < open_until:
                if not current.slots:
                    self._epochs_due.strike(current.epoch, current.open_until)
                    self._epochs_due.enter(current.epoch, open_until)
                current.open_until = open_until
            return current.epoch

    def find(self, locator: Locator, /) -> Session | None:
        """
        See :meth:`sessioncore.ports.SessionStore.find`.
        """
        kept = self._kept(locator)
        return None if kept is None else kept.session

    def replace(self, old: Session, new: Session, /) -> bool:
        """
        See :meth:`sessioncore.ports.SessionStore.replace`.
        """
        with self._lock:
            kept = self._kept(old.locator)
            if kept is None:
                return False
            if kept.session.stamp == new.stamp:
                return True
            if kept.session.stamp != old.stamp:
                return False
            self._sessions_due.strike(old.locator, kept.session.keep_until)
            self._sessions_due.enter(new.locator, new.keep_until)
            kept.session = new
            return True

    def roster(self, subject: Subject, /) -> Roster:
        """
        See :meth:`sessioncore.ports.SessionStore.roster`.
        """
        with self._lock:
            current = self._of_subject.get(subject)
            if current is None:
                return Roster(sessions=(), version=b"")
            return Roster(
                sessions=tuple(kept.session for kept in current.slots.values()),
                version=current.version,
            )

    def admit(
        self,
        session: Session,
        evicted: tuple[Locator, ...],
        version: bytes | None,
        at: datetime,  # noqa: ARG002 - a store may drop expired records here; this one has purge
        /,
    ) -> Admission:
        """
        See :meth:`sessioncore.ports.SessionStore.admit`.
        """
        with self._lock:
            current = self._of_subject.get(session.subject)
            if current is None or current.epoch != session.locator.epoch:
                return Admission.STALE
            if version is not None and version != current.version:
                return Admission.CONFLICT
            if session.locator.slot in current.slots:
                return Admission.CONFLICT
            self._insert(current, _Kept(session, data={}), evicted)
            return Admission.ADMITTED

    def restart(self, old: Session, new: Session, /) -> Locator | None:
        """
        See :meth:`sessioncore.ports.SessionStore.restart`.
        """
        with self._lock:
            current = self._of_subject.get(old.subject)
            if current is None:
                return None
            moved = Locator(current.epoch, new.locator.slot)
            repeated = self._kept(moved)
            if repeated is not None and repeated.session.stamp == new.stamp:
                return moved
            kept = self._kept(old.locator)
            if kept is None or kept.session.stamp != old.stamp:
                return None
            self._end(current)
            fresh = self._begin(old.subject, current.open_until)
            moved = Locator(fresh.epoch, new.locator.slot)
            self._insert(fresh, _Kept(new.moved_to(moved), data=kept.data))
            return moved

    def delete(self, locator: Locator, expected: Session | None = None, /) -> bool:
        """
        See :meth:`sessioncore.ports.SessionStore.delete`.
        """
        with self._lock:
            if expected is not None:
                kept = self._kept(locator)
                if kept is None or kept.session.stamp != expected.stamp:
                    return False
            return self._delete(locator)

    def delete_user(self, subject: Subject, /) -> int:
        """
        See :meth:`sessioncore.ports.SessionStore.delete_user`.
        """
        with self._lock:
            current = self._of_subject.get(subject)
            if current is None:
                return 0
            self._end(current)
            return len(current.slots)

    def read_data(self, locator: Locator, /) -> Mapping[str, Datum] | None:
        """
        See :meth:`sessioncore.ports.SessionStore.read_data`.
        """
        with self._lock:
            kept = self._kept(locator)
            return None if kept is None else dict(kept.data)

    def find_with_data(self, locator: Locator, /) -> tuple[Session, Mapping[str, Datum]] | None:
        """
        See :meth:`sessioncore.ports.SessionStore.find_with_data`.
        """
        with self._lock:
            kept = self._kept(locator)
            return None if kept is None else (kept.session, dict(kept.data))

    def write_data(self, locator: Locator, change: DataChange, /) -> DataWrite:
        """
        See :meth:`sessioncore.ports.SessionStore.write_data`.
        """
        with self._lock:
            kept = self._kept(locator)
            if kept is None:
                return DataWrite.GONE
            stamps = {key: datum.stamp for key, datum in kept.data.items()}
            if change.put and all(stamps.get(key) == change.stamp for key in change.put):
                return DataWrite.WRITTEN
            if any(stamps.get(key) != stamp for key, stamp in change.expect.items()):
                return DataWrite.CONFLICT
            put = {key: Datum(value, change.stamp) for key, value in change.put.items()}
            remaining = {key: datum for key, datum in kept.data.items() if key not in change.remove}
            changed = remaining | put
            if max(change.capacity, _size(kept.data)) < _size(changed):
                return DataWrite.FULL
            kept.data = changed
            return DataWrite.WRITTEN

    def purge(self, before: datetime, limit: int, /) -> Purged:
        """
        See :meth:`sessioncore.ports.SessionStore.purge`.
        """
        with self._lock:
            locators = self._sessions_due.take(before, limit)
            for locator in locators:
                self._remove(locator)
            epochs = self._epochs_due.take(before, limit - len(locators))
            for epoch in epochs:
                current = self._of_epoch.pop(epoch)
                del self._of_subject[current.subject]
            return Purged(
                sessions=len(locators),
                epochs=len(epochs),
                more=len(locators) + len(epochs) == limit,
            )

    # Each look here is one step, and each write changes what a look meets in one step
    # as well: so even without the lock, what is found was all stored at one moment.
    def _kept(self, locator: Locator) -> _Kept | None:
        current = self._of_epoch.get(locator.epoch)
        return None if current is None else current.slots.get(locator.slot)

    def _begin(self, subject: Subject, open_until: datetime) -> _CurrentEpoch:
        epoch = Epoch(secrets.token_bytes(EPOCH_BYTES))
        current = _CurrentEpoch(subject, epoch, self._next_version(), open_until)
        self._of_subject[subject] = self._of_epoch[epoch] = current
        self._epochs_due.enter(epoch, open_until)
        return current

    def _end(self, current: _CurrentEpoch) -> None:
        del self._of_subject[current.subject], self._of_epoch[current.epoch]
        for kept in current.slots.values():
            self._sessions_due.strike(kept.session.locator, kept.session.keep_until)
        if not current.slots:
            self._epochs_due.strike(current.epoch, current.open_until)

    def _insert(
        self, current: _CurrentEpoch, kept: _Kept, evicted: tuple[Locator, ...] = ()
    ) -> None:
        if not current.slots:
            self._epochs_due.strike(current.epoch, current.open_until)
        locator = kept.session.locator
        slots = current.slots.copy() if evicted else current.slots
        for each in evicted:
            gone = slots.pop(each.slot, None) if each.epoch == current.epoch else None
            if gone is not None:
                self._sessions_due.strike(each, gone.session.keep_until)
        slots[locator.slot] = kept
        current.slots = slots
        current.version = self._next_version()
        self._sessions_due.enter(locator, kept.session.keep_until)

    def _delete(self, locator: Locator) -> bool:
        kept = self._kept(locator)
        if kept is None:
            return False
        self._sessions_due.strike(locator, kept.session.keep_until)
        self._remove(locator)
        return True

    def _remove(self, locator: Locator) -> None:
        current = self._of_epoch[locator.epoch]
        del current.slots[locator.slot]
        if not current.slots:
            self._epochs_due.enter(current.epoch, current.open_until)

    def _next_version(self) -> bytes:
        return next(self._versions).to_bytes(8, "big")


def _size(data: Mapping[str, Datum]) -> int:
    return sum(len(key.encode()) + len(datum.value) for key, datum in data.items())


@attrs.define(eq=False)
class AsyncMemorySessionStore:
    """
    The same for the tasks of an event loop; threads may share *store* with it.

    Nothing is awaited, because nothing waits: the lock is held for microseconds.
    """

    _store: MemorySessionStore = attrs.field(factory=MemorySessionStore, repr=False)

    async def open_epoch(self, subject: Subject, at: datetime, lives_for: timedelta, /) -> Epoch:
        """
        See :meth:`sessioncore.ports.SessionStore.open_epoch`.
        """
        return self._store.open_epoch(subject, at, lives_for)

    async def find(self, locator: Locator, /) -> Session | None:
        """
        See :meth:`sessioncore.ports.SessionStore.find`.
        """
        return self._store.find(locator)

    async def replace(self, old: Session, new: Session, /) -> bool:
        """
        See :meth:`sessioncore.ports.SessionStore.replace`.
        """
        return self._store.replace(old, new)

    async def roster(self, subject: Subject, /) -> Roster:
        """
        See :meth:`sessioncore.ports.SessionStore.roster`.
        """
        return self._store.roster(subject)

    async def admit(
        self,
        session: Session,
        evicted: tuple[Locator, ...],
        version: bytes | None,
        at: datetime,
        /,
    ) -> Admission:
        """
        See :meth:`sessioncore.ports.SessionStore.admit`.
        """
        return self._store.admit(session, evicted, version, at)

    async def restart(self, old: Session, new: Session, /) -> Locator | None:
        """
        See :meth:`sessioncore.ports.SessionStore.restart`.
        """
        return self._store.restart(old, new)

    async def delete(self, locator: Locator, expected: Session | None = None, /) -> bool:
        """
        See :meth:`sessioncore.ports.SessionStore.delete`.
        """
        return self._store.delete(locator, expected)

    async def delete_user(self, subject: Subject, /) -> int:
        """
        See :meth:`sessioncore.ports.SessionStore.delete_user`.
        """
        return self._store.delete_user(subject)

    async def read_data(self, locator: Locator, /) -> Mapping[str, Datum] | None:
        """
        See :meth:`sessioncore.ports.SessionStore.read_data`.
        """
        return self._store.read_data(locator)

    async def find_with_data(
        self, locator: Locator, /
    ) -> tuple[Session, Mapping[str, Datum]] | None:
        """
        See :meth:`sessioncore.ports.SessionStore.find_with_data`.
        """
        return self._store.find_with_data(locator)

    async def write_data(self, locator: Locator, change: DataChange, /) -> DataWrite:
        """
        See :meth:`sessioncore.ports.SessionStore.write_data`.
        """
        return self._store.write_data(locator, change)

    async def purge(self, before: datetime, limit: int, /) -> Purged:
        """
        See :meth:`sessioncore.ports.SessionStore.purge`.
        """
        return self._store.purge(before, limit)
