"""
The memory stores, in what no contract can know: what they cost and what they keep.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from sessioncore.ports import Account, Admission
from sessioncore.session import Locator, Session
from sessioncore.testing.records import (
    LOGIN_WINDOW,
    NOW,
    a_change,
    a_session,
    a_user,
    open_epoch,
    restarted,
    sign_in,
    successor,
)
from sessioncore_memory import (
    AsyncMemoryCredentialStore,
    AsyncMemorySessionStore,
    MemoryCredentialStore,
    MemorySessionStore,
)
from sessioncore_memory.agenda import Agenda

MINUTE = timedelta(minutes=1)


class CountedInstant(datetime):
    """
    An instant that counts how often any of its kind is compared with another.
    """

    comparisons = 0

    @classmethod
    def of(cls, instant: datetime) -> CountedInstant:
        return cls.fromtimestamp(instant.timestamp(), instant.tzinfo)

    def __lt__(self, other: datetime, /) -> bool:  # type: ignore[override]
        CountedInstant.comparisons += 1
        return super().__lt__(other)

    __hash__ = datetime.__hash__


def entries(agenda: Agenda[Any]) -> int:
    return sum(map(len, agenda._pages.values()))


def all_that_is_kept(store: MemorySessionStore) -> dict[str, int]:
    return {
        "subjects": len(store._of_subject),
        "epochs": len(store._of_epoch),
        "sessions": sum(len(current.slots) for current in store._of_epoch.values()),
        "sessions due": entries(store._sessions_due),
        "epochs due": entries(store._epochs_due),
    }


# --- the agenda -----------------------------------------------------------------------


def test_an_agenda_gives_what_is_due_and_keeps_the_rest() -> None:
    agenda = Agenda[str]()
    for key, minutes in (("third", 3), ("first", 1), ("second", 2)):
        agenda.enter(key, NOW + minutes * MINUTE)
    assert agenda.take(NOW + MINUTE, 9) == []
    assert agenda.take(NOW + 3 * MINUTE, 9) == ["first", "second"]
    assert agenda.take(NOW + 3 * MINUTE, 9) == []
    assert agenda.take(NOW + 4 * MINUTE, 9) == ["third"]


def test_an_agenda_is_exact_within_a_minute() -> None:
    agenda = Agenda[str]()
    agenda.enter("early", NOW + timedelta(seconds=10))
    agenda.enter("late", NOW + timedelta(seconds=11))
    assert agenda.take(NOW + timedelta(seconds=11), 9) == ["early"]
    assert agenda.take(NOW + timedelta(seconds=11, milliseconds=1), 9) == ["late"]


def test_an_agenda_gives_no_more_than_was_asked_for() -> None:
    agenda = Agenda[int]()
    for number in range(10):
        agenda.enter(number, NOW + number * timedelta(seconds=20))
    taken: list[int] = []
    while batch := agenda.take(NOW + 10 * MINUTE, 3):
        assert len(batch) <= 3
        taken += batch
    assert sorted(taken) == list(range(10))


def test_what_was_struck_from_an_agenda_is_never_due() -> None:
    agenda = Agenda[str]()
    agenda.enter("struck", NOW)
    agenda.enter("stays", NOW)
    agenda.strike("struck", NOW)
    agenda.strike("stays", NOW)
    agenda.enter("stays", NOW + MINUTE)
    assert agenda.take(NOW + MINUTE, 9) == []
    assert agenda.take(NOW + 2 * MINUTE, 9) == ["stays"]


def test_an_agenda_keeps_one_page_for_a_minute_however_often_it_empties() -> None:
    agenda = Agenda[str]()
    for _ in range(100):
        agenda.enter("key", NOW)
        agenda.strike("key", NOW)
    assert len(agenda._order) == len(agenda._pages) == 1
    assert agenda.take(NOW + MINUTE, 1) == []
    assert agenda._order == []
    assert agenda._pages == {}


# --- what purge costs -----------------------------------------------------------------


def test_purge_looks_only_at_what_is_due() -> None:
    store = MemorySessionStore()
    for number in range(1000):
        until = CountedInstant.of(NOW + timedelta(days=1) + number * MINUTE)
        sign_in(store, a_user(), keep_until=until)
    due = [
        sign_in(store, a_user(), keep_until=CountedInstant.of(NOW + number * MINUTE))
        for number in range(7)
    ]
    CountedInstant.comparisons = 0
    purged = store.purge(NOW + timedelta(hours=1), 100)
    assert purged.sessions == len(due)
    assert CountedInstant.comparisons == len(due)


def test_purge_with_nothing_due_looks_at_nothing() -> None:
    store = MemorySessionStore()
    for _ in range(100):
        sign_in(store, a_user(), keep_until=CountedInstant.of(NOW + timedelta(days=1)))
    CountedInstant.comparisons = 0
    store.purge(NOW, 100)
    assert CountedInstant.comparisons == 0


def test_purge_stops_looking_when_it_has_enough() -> None:
    store = MemorySessionStore()
    for _ in range(100):
        sign_in(store, a_user(), keep_until=CountedInstant.of(NOW))
    CountedInstant.comparisons = 0
    purged = store.purge(NOW + timedelta(hours=1), 5)
    assert (purged.sessions, purged.more) == (5, True)
    assert CountedInstant.comparisons == 5


# --- what is kept ---------------------------------------------------------------------


def test_touching_a_session_leaves_nothing_behind() -> None:
    store = MemorySessionStore()
    session = sign_in(store, a_user())
    before = all_that_is_kept(store)
    for number in range(1000):
        touched = successor(session, keep_until=NOW + number * timedelta(seconds=7))
        assert store.replace(session, touched)
        session = touched
    assert all_that_is_kept(store) == before


def test_opening_an_epoch_again_leaves_nothing_behind() -> None:
    store = MemorySessionStore()
    user = a_user()
    for number in range(100):
        store.open_epoch(user, NOW + number * MINUTE, LOGIN_WINDOW)
    assert all_that_is_kept(store) == {
        "subjects": 1,
        "epochs": 1,
        "sessions": 0,
        "sessions due": 0,
        "epochs due": 1,
    }


def test_signing_in_and_out_in_a_loop_leaves_nothing_behind() -> None:
    store = MemorySessionStore()
    user = a_user()
    for number in range(100):
        first = sign_in(store, user, keep_until=NOW + number * MINUTE)
        second = a_session(user, first.locator.epoch)
        store.admit(second, (first.locator,), None, NOW)
        moved = store.restart(second, restarted(second))
        assert moved is not None
        if number % 2:
            store.delete(moved)
        else:
            store.delete_user(user)
    store.delete_user(user)
    assert set(all_that_is_kept(store).values()) == {0}


def test_everything_is_purged_in_the_end() -> None:
    store = MemorySessionStore()
    sessions = [sign_in(store, a_user()) for _ in range(10)]
    for session in sessions:
        store.write_data(session.locator, a_change({"key": b"1"}))
        open_epoch(store, a_user())
    store.delete(sessions[0].locator)
    purged = store.purge(NOW + timedelta(days=2), 100)
    assert (purged.sessions, purged.epochs, purged.more) == (9, 20, False)
    assert set(all_that_is_kept(store).values()) == {0}
    assert store._sessions_due._pages == {}
    assert store._epochs_due._pages == {}


def test_an_epoch_is_purged_with_its_last_session() -> None:
    store = MemorySessionStore()
    session = sign_in(store, a_user())
    purged = store.purge(NOW + timedelta(days=2), 100)
    assert (purged.sessions, purged.epochs) == (1, 1)
    assert store.roster(session.subject).version == b""


# --- what is found without the lock ---------------------------------------------------


def test_finding_a_session_waits_for_nobody() -> None:
    store = MemorySessionStore()
    session = sign_in(store, a_user())
    found: list[Session | None] = []
    finding = threading.Thread(target=lambda: found.append(store.find(session.locator)))
    with store._lock:
        finding.start()
        finding.join(10)
        assert found == [session]


def test_whoever_looks_in_the_midst_of_an_admission_finds_everything_as_it_was() -> None:
    store, user = MemorySessionStore(), a_user()
    evicted = [sign_in(store, user).locator for _ in range(3)]
    session = a_session(user, evicted[0].epoch)
    seen: list[list[bool]] = []

    def look() -> list[bool]:
        return [store.find(each) is not None for each in [*evicted, session.locator]]

    class Watched(tuple[Locator, ...]):
        __slots__ = ()

        def __iter__(self) -> Iterator[Locator]:
            for each in super().__iter__():
                seen.append(look())
                yield each
            seen.append(look())

    assert store.admit(session, Watched(evicted), None, NOW) is Admission.ADMITTED
    assert seen == [[True, True, True, False]] * 4
    assert look() == [False, False, False, True]


def test_a_session_of_another_epoch_is_not_evicted() -> None:
    store = MemorySessionStore()
    session, others = sign_in(store, a_user()), sign_in(store, a_user())
    namesake = Locator(others.locator.epoch, session.locator.slot)
    admitted = a_session(session.subject, session.locator.epoch)
    evicted = (namesake, others.locator)
    assert store.admit(admitted, evicted, None, NOW) is Admission.ADMITTED
    assert store.find(session.locator) == session
    assert store.find(others.locator) == others


# --- what is shared -------------------------------------------------------------------


def test_stores_share_nothing() -> None:
    one, other = MemorySessionStore(), MemorySessionStore()
    session = sign_in(one, a_user())
    assert set(all_that_is_kept(other).values()) == {0}
    assert other.find(session.locator) is None
    assert open_epoch(other, session.subject) != session.locator.epoch


def test_a_version_of_an_ended_epoch_is_none_of_the_next() -> None:
    store = MemorySessionStore()
    user = a_user()
    open_epoch(store, user)
    ended = store.roster(user).version
    store.delete_user(user)
    session = a_session(user, open_epoch(store, user))
    assert store.admit(session, (), ended, NOW) is Admission.CONFLICT


def test_what_was_read_does_not_change_the_data() -> None:
    store = MemorySessionStore()
    session = sign_in(store, a_user())
    store.write_data(session.locator, a_change({"key": b"1"}))
    read = store.read_data(session.locator)
    assert read is not None
    store.write_data(session.locator, a_change({"key": b"2"}))
    assert read["key"].value == b"1"


def test_an_asynchronous_store_may_share_a_synchronous_one() -> None:
    store = MemorySessionStore()
    session = sign_in(store, a_user())
    shared, own = AsyncMemorySessionStore(store), AsyncMemorySessionStore()
    assert asyncio.run(shared.find(session.locator)) == session
    assert asyncio.run(own.find(session.locator)) is None


def test_a_store_shows_nothing_of_what_it_keeps() -> None:
    store, credentials = MemorySessionStore(), MemoryCredentialStore()
    sign_in(store, a_user())
    credentials.add_user("1", "alice", "a hash")
    assert repr(store) == "MemorySessionStore()"
    assert repr(AsyncMemorySessionStore(store)) == "AsyncMemorySessionStore()"
    assert repr(credentials) == "MemoryCredentialStore()"
    assert repr(AsyncMemoryCredentialStore(credentials)) == "AsyncMemoryCredentialStore()"


# --- users ----------------------------------------------------------------------------


@pytest.fixture
def users() -> MemoryCredentialStore:
    store = MemoryCredentialStore()
    assert store.add_user("1", "alice", "a hash", role="admin")
    return store


def test_a_user_has_the_role_that_was_given(users: MemoryCredentialStore) -> None:
    assert users.find_user("alice") == Account("1", "admin")


@pytest.mark.parametrize(("user_id", "username"), [("1", "bob"), ("2", "alice")])
def test_no_user_takes_the_place_of_another(
    users: MemoryCredentialStore, user_id: str, username: str
) -> None:
    assert not users.add_user(user_id, username, "another hash")
    assert users.find_user("bob") is None
    assert users.read_hash("1") == "a hash"
    assert users.read_hash("2") is None


def test_a_hash_can_be_set_whatever_it_was(users: MemoryCredentialStore) -> None:
    assert users.set_hash("1", "a new hash")
    assert users.read_hash("1") == "a new hash"
    assert users.set_hash("1", None)
    assert users.read_hash("1") is None
    assert not users.set_hash("2", "a hash")
    assert users.read_hash("2") is None


def test_a_removed_user_is_gone_and_may_come_back(users: MemoryCredentialStore) -> None:
    assert users.remove_user("1")
    assert not users.remove_user("1")
    assert users.find_user("alice") is None
    assert users.read_hash("1") is None
    assert not users.replace_hash("1", "a hash", "a new hash")
    assert users.add_user("2", "alice", None)
    assert users.find_user("alice") == Account("2")


def test_the_asynchronous_store_of_users_does_the_same(users: MemoryCredentialStore) -> None:
    twin = AsyncMemoryCredentialStore(users)

    async def story() -> None:
        assert await twin.add_user("2", "bob", "a hash")
        assert await twin.find_user("bob") == Account("2")
        assert await twin.set_hash("2", "a new hash")
        assert await twin.read_hash("2") == "a new hash"
        assert await twin.remove_user("2")
        assert await twin.find_user("bob") is None

    asyncio.run(story())
