"""
The near cache: no answer is older than the bound, whatever the feed and others do.
"""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from random import Random
from typing import Any

import pytest
from near_caches import PATIENCE, HandFeed, epoch_of, is_soon, stored_session

from sessioncore.errors import CorruptRecord, OutcomeUnknown, StoreUnavailable
from sessioncore.ports import InvalidationListener, RecallsSessions
from sessioncore.session import Locator, Session, Subject
from sessioncore_memory import AsyncMemorySessionStore, MemorySessionStore
from sessioncore_near_cache import AsyncNearCache, NearCache
from sessioncore_near_cache.copies import Copies, Reading, now

ALICE = Subject.user("alice")
BOB = Subject.user("bob")
BOUND = 1.0
SECOND = timedelta(seconds=1)


class Clock:
    def __init__(self) -> None:
        self.at = 100.0

    def __call__(self) -> float:
        return self.at


class Trial:
    """
    A store that others write to, a feed that is late, and one process with copies.

    What is stored under a locator is a session with a number in its stamp; the history says
    which was stored from when on. Steps are drawn by weight: a search that breaks the feed
    as often as anything else never holds anything.
    """

    def __init__(self, chance: Random) -> None:
        self.chance = chance
        self.clock = Clock()
        self.copies = Copies(HandFeed(), BOUND, capacity=2, clock=self.clock)
        self.copies.complete(self.clock.at)
        self.numbers = 0
        # Three sessions of two users; the first two have one topic.
        epochs = (epoch_of(1), epoch_of(1), epoch_of(2))
        subjects = (ALICE, ALICE, BOB)
        self.locators = [Locator(epoch, bytes([at]) * 6) for at, epoch in enumerate(epochs)]
        self.subjects = dict(zip(self.locators, subjects, strict=True))
        self.history: dict[Locator, list[tuple[float, Session | None]]] = {
            locator: [(0.0, self.next_session(locator))] for locator in self.locators
        }
        # What was told and has not arrived: topics, and when a proof was asked for.
        self.channel: deque[bytes | float] | None = deque()
        self.reads: list[tuple[Reading | None, Session | None]] = []
        self.steps: dict[Callable[[], None], float] = {
            self.time_passes: 10,
            self.somebody_writes: 3,
            self.a_proof_is_asked_for: 12,
            self.the_feed_tells: 16,
            self.the_feed_is_followed_again: 4,
            self.the_feed_breaks: 0.5,
            self.a_read_begins: 12,
            self.a_read_ends: 12,
            self.this_process_ends_a_session: 0.5,
            self.this_process_ends_all_of_a_user: 0.3,
        }

    def run(self, steps: int) -> None:
        for step in self.chance.choices(list(self.steps), list(self.steps.values()), k=steps):
            step()
            self.require_the_bound()

    def next_session(self, locator: Locator) -> Session:
        self.numbers += 1
        stamp = self.numbers.to_bytes(8, "big")
        return stored_session(locator, self.subjects[locator], stamp)

    def write(self, locator: Locator, session: Session | None) -> None:
        self.history[locator].append((self.clock.at, session))
        if self.channel is not None:
            self.channel.append(locator.epoch)

    def time_passes(self) -> None:
        self.clock.at += self.chance.uniform(0.01, 0.6)

    def somebody_writes(self) -> None:
        locator = self.chance.choice(self.locators)
        ends = self.chance.random() < 0.1
        self.write(locator, None if ends else self.next_session(locator))

    def a_proof_is_asked_for(self) -> None:
        if self.channel is not None:
            self.channel.append(self.clock.at)

    def the_feed_tells(self) -> None:
        for _ in range(min(self.chance.randint(1, 5), len(self.channel or ()))):
            assert self.channel is not None
            told = self.channel.popleft()
            if isinstance(told, bytes):
                self.copies.changed(told)
            else:
                self.copies.complete(told)

    def the_feed_breaks(self) -> None:
        self.channel = None
        self.copies.doubtful()

    def the_feed_is_followed_again(self) -> None:
        if self.channel is None:
            self.channel = deque()
            self.copies.complete(self.clock.at)

    def a_read_begins(self) -> None:
        locator = self.chance.choice(self.locators)
        reading = self.copies.begin(locator)
        self.reads.append((reading, self.history[locator][-1][1]))

    def a_read_ends(self) -> None:
        if self.reads:
            self.copies.end(*self.reads.pop(self.chance.randrange(len(self.reads))))

    def this_process_ends_a_session(self) -> None:
        locator = self.chance.choice(self.locators)
        self.write(locator, None)
        self.copies.forget(locator)
        assert self.copies.recall(locator) is None

    def this_process_ends_all_of_a_user(self) -> None:
        subject = self.chance.choice([ALICE, BOB])
        theirs = [each for each in self.locators if self.subjects[each] == subject]
        for locator in theirs:
            self.write(locator, None)
        self.copies.forget_user(subject)
        assert [self.copies.recall(locator) for locator in theirs] == [None] * len(theirs)

    def require_the_bound(self) -> None:
        assert self.copies.statistics().copies <= 2
        for locator in self.locators:
            answer = self.copies.recall(locator)
            if answer is None:
                continue
            ends = [at for at, _ in self.history[locator][1:]] + [self.clock.at]
            spells = zip(self.history[locator], ends, strict=True)
            latest = max(end for (_, stored), end in spells if stored == answer)
            assert latest >= self.clock.at - BOUND


@pytest.mark.parametrize("seed", range(20))
def test_no_answer_is_older_than_the_bound(seed: int) -> None:
    trial = Trial(Random(seed))
    trial.run(steps=600)
    assert trial.copies.statistics().hits > 100


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def copies(clock: Clock) -> Copies:
    made = Copies(HandFeed(), BOUND, capacity=2, clock=clock)
    made.complete(clock.at)
    return made


SESSION = stored_session(Locator(epoch_of(1), b"slot-1"), ALICE)
SIBLING = stored_session(Locator(epoch_of(1), b"slot-2"), ALICE)
OTHER = stored_session(Locator(epoch_of(2), b"slot-1"), BOB)


def hold(copies: Copies, *sessions: Session) -> None:
    for session in sessions:
        copies.end(copies.begin(session.locator), session)


def test_what_was_read_answers(copies: Copies) -> None:
    hold(copies, SESSION)
    assert copies.recall(SESSION.locator) == SESSION


def test_a_copy_answers_until_the_bound_is_over(copies: Copies, clock: Clock) -> None:
    hold(copies, SESSION)
    clock.at += BOUND
    assert copies.recall(SESSION.locator) == SESSION
    clock.at += 0.001
    assert copies.recall(SESSION.locator) is None


def test_every_proof_prolongs_a_copy(copies: Copies, clock: Clock) -> None:
    hold(copies, SESSION)
    for _ in range(5):
        clock.at += BOUND
        copies.complete(clock.at)
        assert copies.recall(SESSION.locator) == SESSION


def test_an_old_proof_does_not_shorten_what_was_read_since(copies: Copies, clock: Clock) -> None:
    copies.complete(clock.at - 0.9)
    hold(copies, SESSION)
    clock.at += 0.9
    assert copies.recall(SESSION.locator) == SESSION


def test_age_counts_from_before_the_read_and_not_from_its_end(copies: Copies, clock: Clock) -> None:
    reading = copies.begin(SESSION.locator)
    clock.at += BOUND
    copies.end(reading, SESSION)
    assert copies.recall(SESSION.locator) == SESSION
    clock.at += 0.001
    assert copies.recall(SESSION.locator) is None


def test_what_is_told_of_is_dropped_with_its_topic_and_nothing_else(copies: Copies) -> None:
    hold(copies, SIBLING, OTHER)
    copies.changed(epoch_of(1))
    assert copies.recall(SIBLING.locator) is None
    assert copies.recall(OTHER.locator) == OTHER


def test_what_was_being_read_when_it_was_told_of_is_not_kept(copies: Copies) -> None:
    reading = copies.begin(SESSION.locator)
    copies.changed(epoch_of(1))
    copies.end(reading, SESSION)
    assert copies.recall(SESSION.locator) is None


def test_what_was_being_read_when_the_feed_broke_is_not_kept(copies: Copies, clock: Clock) -> None:
    reading = copies.begin(SESSION.locator)
    copies.doubtful()
    copies.complete(clock.at)
    copies.end(reading, SESSION)
    assert copies.recall(SESSION.locator) is None


def test_nothing_is_kept_of_a_read_that_began_in_doubt(clock: Clock) -> None:
    copies = Copies(HandFeed(), BOUND, capacity=2, clock=clock)
    reading = copies.begin(SESSION.locator)
    copies.complete(clock.at)
    copies.end(reading, SESSION)
    assert copies.recall(SESSION.locator) is None


def test_a_doubt_drops_everything_at_once(copies: Copies, clock: Clock) -> None:
    hold(copies, SESSION, OTHER)
    copies.doubtful()
    copies.complete(clock.at)
    assert copies.recall(SESSION.locator) is None
    assert copies.recall(OTHER.locator) is None
    assert copies.statistics().copies == 0


def test_reading_that_there_is_none_drops_nothing_and_holds_nothing(copies: Copies) -> None:
    copies.end(copies.begin(SESSION.locator), None)
    assert copies.statistics().copies == 0


def test_the_copy_that_was_kept_first_makes_room(copies: Copies) -> None:
    hold(copies, SESSION, SIBLING, OTHER)
    assert copies.recall(SESSION.locator) is None
    assert copies.recall(SIBLING.locator) == SIBLING
    assert copies.recall(OTHER.locator) == OTHER


def test_reading_again_makes_a_copy_young(copies: Copies) -> None:
    hold(copies, SESSION, SIBLING, SESSION, OTHER)
    assert copies.recall(SESSION.locator) == SESSION
    assert copies.recall(SIBLING.locator) is None


def test_forgetting_a_user_forgets_what_is_being_read(copies: Copies) -> None:
    reading = copies.begin(SESSION.locator)
    copies.forget_user(ALICE)
    copies.end(reading, SESSION)
    assert copies.recall(SESSION.locator) is None


def test_forgetting_a_user_leaves_others_alone(copies: Copies) -> None:
    hold(copies, SESSION, OTHER)
    copies.forget_user(ALICE)
    assert copies.recall(SESSION.locator) is None
    assert copies.recall(OTHER.locator) == OTHER


def test_nothing_remains_of_what_was_dropped(copies: Copies) -> None:
    hold(copies, SESSION, OTHER)
    copies.changed(epoch_of(1))
    copies.forget_user(BOB)
    assert not copies._copies
    assert not copies._by_topic
    assert not copies._by_subject
    assert not copies._readings


def test_hits_misses_and_doubts_are_counted(copies: Copies, clock: Clock) -> None:
    hold(copies, SESSION)
    copies.recall(SESSION.locator)
    copies.recall(OTHER.locator)
    clock.at += 2 * BOUND
    copies.recall(SESSION.locator)
    before = copies.statistics()
    assert (before.hits, before.misses, before.doubts) == (1, 2, 0)
    assert (before.copies, before.is_complete) == (1, False)
    copies.doubtful()
    copies.doubtful()
    copies.recall(SESSION.locator)
    after = copies.statistics()
    assert (after.misses, after.doubts, after.copies, after.is_complete) == (3, 1, 0, False)


def test_a_proof_of_what_is_to_come_proves_no_more_than_the_present(
    copies: Copies, clock: Clock
) -> None:
    hold(copies, SESSION)
    copies.complete(clock.at + 1_000)
    clock.at += BOUND + 0.001
    assert copies.recall(SESSION.locator) is None


def test_a_feed_that_goes_on_after_the_end_proves_nothing(copies: Copies, clock: Clock) -> None:
    copies.has_enough = True
    copies.doubtful()
    copies.complete(clock.at)
    hold(copies, SESSION)
    assert copies.recall(SESSION.locator) is None


def test_statistics_name_the_kind_of_an_error_and_not_its_text(copies: Copies) -> None:
    failure = StoreUnavailable("of no interest")
    failure.__cause__ = ConnectionError("password=secret")
    copies.doubtful(failure)
    assert copies.statistics().failure == "ConnectionError"


def test_time_goes_on() -> None:
    assert now() <= now()


# With a store and a thread


@pytest.fixture
def feed() -> Iterator[HandFeed]:
    made = HandFeed()
    yield made
    made.end()


@pytest.fixture
def store() -> MemorySessionStore:
    return MemorySessionStore()


@pytest.fixture
def near(store: MemorySessionStore, feed: HandFeed) -> Iterator[NearCache]:
    with NearCache(store, feed, max_staleness=30 * SECOND) as made:
        # Whoever reads first starts the thread.
        made.find(SESSION.locator)
        feed.wait_until_followed()
        yield made


def admitted(
    store: MemorySessionStore, subject: Subject = ALICE, slot: bytes = b"slot-1"
) -> Session:
    at = SESSION.created_at
    epoch = store.open_epoch(subject, at, timedelta(minutes=10))
    session = stored_session(Locator(epoch, slot), subject)
    store.admit(session, (), None, at)
    return session


def test_a_near_cache_recalls_sessions(near: NearCache) -> None:
    assert isinstance(near, RecallsSessions)
    assert not isinstance(MemorySessionStore(), RecallsSessions)


def test_what_find_reads_is_recalled(near: NearCache, store: MemorySessionStore) -> None:
    session = admitted(store)
    assert near.recall(session.locator) is None
    assert near.find(session.locator) == session
    assert near.recall(session.locator) == session


def test_find_reads_what_is_stored_whatever_is_held(
    near: NearCache, store: MemorySessionStore
) -> None:
    session = admitted(store)
    near.find(session.locator)
    store.delete(session.locator)
    assert near.recall(session.locator) == session
    assert near.find(session.locator) is None
    changed = admitted(store, slot=b"slot-2")
    near.find(changed.locator)
    newer = replace(changed, stamp=bytes(8))
    store.replace(changed, newer)
    assert near.find(changed.locator) == newer
    assert near.recall(changed.locator) == newer


Ending = Callable[[Any, Session], Any]

ENDINGS: dict[str, Ending] = {
    "delete": lambda near, session: near.delete(session.locator),
    "delete_user": lambda near, session: near.delete_user(session.subject),
    "replace": lambda near, session: near.replace(session, replace(session, stamp=bytes(8))),
    "restart": lambda near, session: near.restart(session, replace(session, stamp=bytes(8))),
    "admit": lambda near, session: near.admit(
        replace(session, locator=Locator(session.locator.epoch, b"slot-9")),
        (session.locator,),
        None,
        session.created_at,
    ),
}


@pytest.mark.parametrize("ending", ENDINGS.values(), ids=ENDINGS)
def test_what_this_process_changes_it_forgets_before_the_call_returns(
    near: NearCache, store: MemorySessionStore, ending: Ending
) -> None:
    session = admitted(store)
    near.find(session.locator)
    ending(near, session)
    assert near.recall(session.locator) is None


class Broken(MemorySessionStore):
    """
    Executes a write, and loses the reply.
    """

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name not in ENDINGS:
            return found

        def lost(*arguments: Any) -> Any:
            found(*arguments)
            raise OutcomeUnknown("the reply was lost")

        return lost


@pytest.mark.parametrize("ending", ENDINGS.values(), ids=ENDINGS)
def test_a_write_of_unknown_outcome_is_forgotten_as_well(feed: HandFeed, ending: Ending) -> None:
    store = Broken()
    with suppress(OutcomeUnknown):
        session = admitted(store)
    (session,) = store.roster(ALICE).sessions
    with NearCache(store, feed, max_staleness=30 * SECOND) as near:
        near.find(session.locator)
        feed.wait_until_followed()
        near.find(session.locator)
        assert near.recall(session.locator) == session
        with pytest.raises(OutcomeUnknown):
            ending(near, session)
        assert near.recall(session.locator) is None


def test_a_read_that_fails_leaves_no_mark(feed: HandFeed) -> None:
    class Damaged(MemorySessionStore):
        def find(self, locator: Locator, /) -> Session | None:
            raise CorruptRecord("damaged")

    with NearCache(Damaged(), feed, max_staleness=30 * SECOND) as near:
        for _ in range(2):
            with pytest.raises(CorruptRecord):
                near.find(SESSION.locator)
            feed.wait_until_followed()
        assert not near._following.copies._readings


def test_the_feed_is_followed_from_the_first_read_on(
    store: MemorySessionStore, feed: HandFeed
) -> None:
    with NearCache(store, feed) as near:
        near.recall(SESSION.locator)
        assert near._following._thread is None
        near.find(SESSION.locator)
        feed.wait_until_followed()


def test_a_feed_that_breaks_is_followed_again(
    near: NearCache, store: MemorySessionStore, feed: HandFeed
) -> None:
    session = admitted(store)
    near.find(session.locator)
    feed.break_off(ConnectionError("the channel"))
    is_soon(lambda: near.statistics().doubts == 1)
    assert near.statistics().failure == "ConnectionError"
    feed.wait_until_followed()
    assert near.recall(session.locator) is None
    near.find(session.locator)
    assert near.recall(session.locator) == session


def test_closing_ends_the_thread_and_all_answers(store: MemorySessionStore, feed: HandFeed) -> None:
    near = NearCache(store, feed, max_staleness=timedelta(seconds=30))
    session = admitted(store)
    near.find(session.locator)
    feed.wait_until_followed()
    near.find(session.locator)
    thread = near._following._thread
    assert thread is not None
    feed.end()
    near.close()
    near.close()
    assert not thread.is_alive()
    assert near.recall(session.locator) is None
    assert near.find(session.locator) == session
    assert near.recall(session.locator) is None


def test_one_that_nobody_holds_any_more_stops_listening(
    store: MemorySessionStore, feed: HandFeed
) -> None:
    near = NearCache(store, feed)
    near.find(SESSION.locator)
    feed.wait_until_followed()
    thread = near._following._thread
    assert thread is not None
    del near
    gc.collect()
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_one_may_be_collected_as_garbage_in_the_midst_of_anything(
    store: MemorySessionStore, feed: HandFeed
) -> None:
    near = NearCache(store, feed)
    near.find(SESSION.locator)
    feed.wait_until_followed()
    copies = near._following.copies
    held = [near]

    def collect_while_the_feed_tells() -> None:
        with copies._lock:
            held.clear()
            gc.collect()

    del near
    collector = threading.Thread(target=collect_while_the_feed_tells, daemon=True)
    collector.start()
    collector.join(PATIENCE)
    assert not collector.is_alive()
    assert copies.has_enough


class BriefFeed(HandFeed):
    """
    Works, and fails at once.
    """

    def __init__(self, failure: BaseException) -> None:
        super().__init__()
        self.failure = failure
        self.followed_at: list[float] = []

    def follow(self, listener: InvalidationListener, /) -> None:
        self.followed_at.append(listener.now())
        listener.complete(listener.now())
        raise self.failure


def test_a_feed_that_works_and_breaks_at_once_is_given_a_rest(store: MemorySessionStore) -> None:
    feed = BriefFeed(ConnectionError())
    with NearCache(store, feed, max_staleness=timedelta(milliseconds=80)) as near:
        near.find(SESSION.locator)
        is_soon(lambda: len(feed.followed_at) > 3)
        heartbeat = near._following.copies.heartbeat
    pauses = [after - before for before, after in pairwise(feed.followed_at)]
    assert min(pauses) >= heartbeat * 0.9


@pytest.mark.parametrize("failure", [SystemExit(), KeyboardInterrupt(), GeneratorExit()])
def test_whatever_a_feed_raises_it_is_followed_again(
    store: MemorySessionStore, failure: BaseException
) -> None:
    feed = BriefFeed(failure)
    with NearCache(store, feed, max_staleness=timedelta(milliseconds=80)) as near:
        near.find(SESSION.locator)
        is_soon(lambda: len(feed.followed_at) > 1)
        assert near.statistics().failure == type(failure).__name__


def test_a_process_that_can_have_no_more_threads_asks_the_store(
    store: MemorySessionStore, feed: HandFeed
) -> None:
    session = admitted(store)
    with NearCache(store, feed, max_staleness=30 * SECOND) as near:
        usual = threading.stack_size(2**46)  # more than there is
        try:
            assert near.find(session.locator) == session
        finally:
            threading.stack_size(usual)
        assert near.statistics().failure == "RuntimeError"
        near.find(session.locator)
        feed.wait_until_followed()


def test_what_is_closed_stays_so_in_a_forked_process(
    near: NearCache, store: MemorySessionStore, feed: HandFeed
) -> None:
    session = admitted(store)
    feed.end()
    near.close()
    pid = os.fork()
    if pid == 0:
        try:
            found = near.find(session.locator)
            os._exit(0 if found == session and near._following._thread is None else 1)
        finally:
            os._exit(2)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def test_a_forked_process_has_copies_and_a_thread_of_its_own(
    near: NearCache, store: MemorySessionStore, feed: HandFeed
) -> None:
    session = admitted(store)
    near.find(session.locator)
    pid = os.fork()
    if pid == 0:
        # Whatever happens here, no test of the parent's must go on in the child.
        try:
            recalled = near.recall(session.locator)
            feed.start_anew()
            near.find(session.locator)
            feed.wait_until_followed()
            near.find(session.locator)
            fine = recalled is None and near.recall(session.locator) == session
            os._exit(0 if fine else 1)
        finally:
            os._exit(2)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert near.recall(session.locator) == session


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_staleness": timedelta(milliseconds=49)},
        {"max_staleness": timedelta(seconds=61)},
        {"capacity": 0},
    ],
    ids=["a bound that is nothing", "a bound that nobody meant", "no room"],
)
@pytest.mark.parametrize(
    ("kind", "store"),
    [(NearCache, MemorySessionStore()), (AsyncNearCache, AsyncMemorySessionStore())],
    ids=["threads", "asyncio"],
)
def test_settings_that_make_no_sense_are_refused(
    kind: Any, store: object, wrong: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        kind(store, HandFeed(), **wrong)


@pytest.mark.parametrize(
    ("kind", "store", "feed", "settings", "named"),
    [
        (NearCache, AsyncMemorySessionStore(), HandFeed(), {}, "store"),
        (AsyncNearCache, MemorySessionStore(), HandFeed(), {}, "store"),
        (NearCache, HandFeed(), MemorySessionStore(), {}, "store"),
        (NearCache, MemorySessionStore(), MemorySessionStore(), {}, "feed"),
        (NearCache, MemorySessionStore(), HandFeed(), {"max_staleness": 1}, "max_staleness"),
    ],
    ids=["a store for asyncio", "one for threads", "swapped", "no feed", "a number"],
)
def test_what_is_not_of_its_type_is_refused(
    kind: Any, store: object, feed: object, settings: dict[str, Any], named: str
) -> None:
    with pytest.raises(TypeError, match=named):
        kind(store, feed, **settings)


def test_its_repr_shows_neither_store_nor_copies(near: NearCache) -> None:
    assert repr(near).startswith("NearCache(max_staleness=")


def test_the_twin_for_asyncio_does_the_same(store: MemorySessionStore, feed: HandFeed) -> None:
    async def scenario() -> None:
        session = admitted(store)
        async with AsyncNearCache(
            AsyncMemorySessionStore(store), feed, max_staleness=30 * SECOND
        ) as near:
            await near.find(session.locator)
            await asyncio.to_thread(feed.wait_until_followed)
            await near.find(session.locator)
            assert near.recall(session.locator) == session
            assert await near.delete(session.locator)
            assert near.recall(session.locator) is None
            feed.end()

    asyncio.run(scenario())


def test_readers_and_a_busy_feed_get_along(
    near: NearCache, store: MemorySessionStore, feed: HandFeed
) -> None:
    sessions = [admitted(store, slot=bytes([at]) * 6) for at in range(8)]
    failures: list[BaseException] = []

    def read() -> None:
        try:
            for _ in range(300):
                for session in sessions:
                    near.find(session.locator)
                    assert near.recall(session.locator) in (session, None)
        except BaseException as error:  # noqa: BLE001 - told to the test's own thread
            failures.append(error)

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    while any(reader.is_alive() for reader in readers):
        near._following.copies.changed(sessions[0].locator.epoch)
        near.delete_user(BOB)
    for reader in readers:
        reader.join()
    assert not failures
    assert not near._following.copies._readings
