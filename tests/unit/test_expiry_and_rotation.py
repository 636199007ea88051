"""
Expiry, renewal and rotation, whatever comes in whatever order.

Three kinds of proof. A breadth-first search through every order of sending,
arriving, reading, writing, answering, losing and the passing of time, around the
very functions that decide. A browser with a cookie jar that Hypothesis drives
through the service. And events in any order, held against a model of what must be.

The cases of the design review that are played here, each by its own description:

-   the renewal promise and its conditions: exchanges within the grace, answers that
    come too late dropped, clocks that differ, sessions read long after the headers
    arrived; and the counterexamples where a condition is broken;
-   the answer of a successor that was never stored;
-   a right locator with a wrong family is a guess, which ends nothing;
-   a rotation at a change of privilege in the middle of a page's other requests;
-   a stale copy of the record, which ends nothing;
-   timeouts from today's policy, a touch interval within half of the idle timeout,
    a last sighting that never moves backwards, clocks that jump;
-   a thief who comes late, a thief who keeps up (who is not noticed).
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, ClassVar, Final, NamedTuple, TypeAlias

import attrs
import pytest
from exploring import NEW, OLD, ReadableHasher, policy
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from sessioncore import (
    Active,
    AuthService,
    Inactive,
    InactiveReason,
    LoggedIn,
    LoggedOutEverywhere,
    OnReuse,
    PasswordChanged,
    Policies,
    Policy,
    Rotated,
    SessionId,
)
from sessioncore.decisions import (
    Accept,
    Deny,
    decide_authentication,
    decide_expiry,
    opened,
    renewed_id,
    rotated,
    upkeep,
)
from sessioncore.errors import InvalidPolicy
from sessioncore.events import SessionIdReused
from sessioncore.session import Device, Epoch, Locator, Pending, Session, Subject
from sessioncore.testing import ManualClock, RecordingEvents, SeededEntropy
from sessioncore_memory import MemoryCredentialStore, MemorySessionStore

SECOND: Final = timedelta(seconds=1)
START: Final = ManualClock().now()

RULES = settings(max_examples=150, stateful_step_count=40, deadline=None, derandomize=True)


def bypassing_validation(valid: Policy, **figures: object) -> Policy:
    """
    A policy that ``Policy`` refuses to make: to show why it does.
    """
    copy = replace(valid)
    for name, figure in figures.items():
        object.__setattr__(copy, name, figure)
    return copy


# -- The search --------------------------------------------------------------------

Name: TypeAlias = int
"""An id, by the order in which it came up."""


class Record(NamedTuple):
    """
    What the renewal protocol keeps, with names for ids and ticks for instants.
    """

    current: Name
    pending: Name | None
    previous: Name | None
    changed_at: int


class Exchange(NamedTuple):
    """
    One request and its answer, somewhere on their way.
    """

    number: int
    phase: str
    """``sent``, ``arrived``, ``writing``, ``handled``, ``answered``"""

    since: int
    """When this phase began; while it is handled, when its headers arrived."""

    cookie: Name
    steps_up: bool = False
    arrived_at: int = 0
    skew: int = 0
    """By how much the clock of the server it came to is wrong."""

    old: Record | None = None
    new: Record | None = None
    renewed: Name | None = None


class State(NamedTuple):
    time: int
    jar: Name
    record: Record
    sent: int
    step_ups: int
    exchanges: tuple[Exchange, ...]


class LoggedOutByRenewal(AssertionError):
    """
    An honest browser's request was turned away.
    """


@dataclass(kw_only=True)
class Search:
    """
    Every way in which one cookie jar and the protocol can play together.

    Times are ticks of one second. ``find`` and ``replace`` are separate steps.
    """

    grace: int
    renewal_interval: int
    way: int
    """How long a request, an answer, or a call of the store may be on its way."""

    handling: int = 0
    """How long the application may take from the headers to the answer."""

    step_ups: int = 0
    """How many of the requests may step up, which rotates the id."""

    requests: int
    in_flight: int = 3
    ticks: int
    skews: tuple[int, ...] = (0,)
    """By how much the clocks of the servers are wrong."""

    reads_late: bool = False
    """Whether the application reads the session at any time while handling."""

    drops_late_answers: bool = True
    """Whether the HTTP edge drops a renewal when the answer starts after the grace."""

    answers_unstored: bool = False
    """Planted: answers a successor though its ``replace`` did not succeed."""

    forgives: tuple[InactiveReason, ...] = ()
    """What does not count as being logged out."""

    states: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        usual = policy(
            idle_timeout=timedelta(days=1),
            absolute_timeout=timedelta(days=1),
            clock_tolerance=timedelta(0),
        )
        self.policies = Policies(
            bypassing_validation(
                usual,
                grace=self.grace * SECOND,
                renewal_interval=self.renewal_interval * SECOND,
                touch_interval=timedelta(hours=12),
            )
        )
        first = SessionId(Epoch(bytes(16)), bytes(6), bytes(8), bytes(24))
        self._ids: list[SessionId] = [first]
        self._names: dict[bytes, Name] = {first.digest: 0}
        self._made = opened(
            first,
            Subject.user("alice"),
            policy=self.policies.default,
            now=START,
            methods=("pwd",),
            device=Device(),
            stamp=bytes(8),
        )
        self._salts: dict[Name, bytes] = {}
        self._judged: dict[tuple[Any, ...], tuple[Accept | Deny, Record | None, Name | None]] = {}

    def run(self) -> int:
        """
        Search breadth first.

        Returns:
            How many states there are.

        Raises:
            LoggedOutByRenewal: With the shortest way there.
        """
        first = State(0, 0, Record(0, None, None, 0), 0, 0, ())
        came_from: dict[State, tuple[State, str] | None] = {first: None}
        queue = deque([first])
        while queue:
            state = queue.popleft()
            try:
                for what, following in self._following(state):
                    if following not in came_from:
                        came_from[following] = (state, what)
                        queue.append(following)
            except LoggedOutByRenewal as failure:
                self.states = len(came_from)
                way = [str(failure)]
                back = came_from[state]
                while back is not None:
                    way.append(back[1])
                    back = came_from[back[0]]
                raise LoggedOutByRenewal("\n".join(reversed(way))) from None
        self.states = len(came_from)
        print(f"{self.states} states")
        return self.states

    def _following(self, state: State) -> Iterator[tuple[str, State]]:
        time, jar, record, sent, step_ups, exchanges = state
        if not exchanges:
            self._stands(state, jar)
        if sent < self.requests and len(exchanges) < self.in_flight:
            request = Exchange(sent, "sent", time, jar)
            sending = state._replace(sent=sent + 1)
            yield f"{time}: send {sent} with id {jar}", _with(sending, exchanges, request)
            if step_ups < self.step_ups:
                request = request._replace(steps_up=True)
                sending = sending._replace(step_ups=step_ups + 1)
                yield f"{time}: step up {sent} with id {jar}", _with(sending, exchanges, request)
        for each in exchanges:
            others = tuple(other for other in exchanges if other is not each)
            number = each.number
            match each.phase:
                case "sent":
                    for skew in self.skews:
                        here = each._replace(
                            phase="arrived", since=time, arrived_at=time + skew, skew=skew
                        )
                        if self.reads_late:
                            yield f"{time}: {number} arrives", _with(state, others, here)
                        else:
                            yield self._judge(state, others, here)
                case "arrived":
                    yield self._judge(state, others, each)
                case "writing":
                    stored = record == each.old
                    if stored or self.answers_unstored:
                        done = each._replace(
                            phase="handled", since=each.arrived_at - each.skew, old=None, new=None
                        )
                        text = f"{time}: {number} {'stores' if stored else 'fails to store'}"
                        yield text, _with(state, others, done, each.new if stored else None)
                    else:
                        yield self._judge(state, others, each)
                case "handled":
                    late = time - each.since > self.grace and self.drops_late_answers
                    if each.renewed is None or (late and not each.steps_up):
                        # Nothing will come of it: it is as good as at home.
                        yield f"{time}: {number} is answered", _with(state, others)
                    else:
                        back = Exchange(
                            number, "answered", time, 0, each.steps_up, renewed=each.renewed
                        )
                        yield (
                            f"{time}: {number} is answered {each.renewed}",
                            _with(state, others, back),
                        )
                case _:
                    assert each.renewed is not None
                    taken = state._replace(jar=each.renewed)
                    yield f"{time}: the jar takes {each.renewed}", _with(taken, others)
                    if not each.steps_up:  # whose loss cannot be mended
                        yield f"{time}: answer {number} is lost", _with(state, others)
        if time < self.ticks and all(self._may_wait(each, time) for each in exchanges):
            yield f"{time}: time passes", state._replace(time=time + 1)

    def _may_wait(self, each: Exchange, time: int) -> bool:
        by_application = each.phase in {"arrived", "handled"}
        return time - each.since < (self.handling if by_application else self.way)

    def _stands(self, state: State, jar: Name) -> None:
        # Nothing is on its way: what the jar holds must be good.
        for skew in self.skews:
            now = state.time + skew
            judgement, _, _ = self._decide(state.record, jar, now, now, -1, steps_up=False)
            if isinstance(judgement, Deny):
                text = f"{state.time}: the jar holds id {jar}, which is {judgement.reason.name}"
                raise LoggedOutByRenewal(text)

    def _judge(
        self, state: State, others: tuple[Exchange, ...], each: Exchange
    ) -> tuple[str, State]:
        now = state.time + each.skew
        judgement, new, renewed = self._decide(
            state.record, each.cookie, now, each.arrived_at, each.number, steps_up=each.steps_up
        )
        text = f"{state.time}: {each.number} is judged"
        if isinstance(judgement, Deny):
            if judgement.reason not in self.forgives:
                raise LoggedOutByRenewal(f"{text} {judgement.reason.name}")
            return f"{text} {judgement.reason.name}", _with(state, others)
        text += f" {judgement.standing.name}"
        if new is None:
            handled = each._replace(
                phase="handled", since=each.arrived_at - each.skew, renewed=renewed
            )
            return text, _with(state, others, handled)
        since = state.time if each.phase == "arrived" else each.since
        writing = each._replace(
            phase="writing", since=since, old=state.record, new=new, renewed=renewed
        )
        return text, _with(state, others, writing)

    def _decide(
        self,
        record: Record,
        cookie: Name,
        now: int,
        arrived_at: int,
        number: int,
        *,
        steps_up: bool,
    ) -> tuple[Accept | Deny, Record | None, Name | None]:
        # Only differences of instants count: what was decided once holds again.
        age = record.changed_at - now
        key = (record[:3], age, cookie, arrived_at - now, number, steps_up)
        if key not in self._judged:
            self._judged[key] = self._ask(
                record._replace(changed_at=age), cookie, arrived_at - now, number, steps_up=steps_up
            )
        judgement, new, renewed = self._judged[key]
        if new is not None:
            new = new._replace(changed_at=new.changed_at + now)
        return judgement, new, renewed

    def _ask(
        self, record: Record, cookie: Name, arrived: int, number: int, *, steps_up: bool
    ) -> tuple[Accept | Deny, Record | None, Name | None]:
        now = START + timedelta(hours=1)
        pending = record.pending
        session = replace(
            self._made,
            current=self._ids[record.current].digest,
            pending=None
            if pending is None
            else Pending(self._ids[pending].digest, self._salts[pending]),
            previous=None if record.previous is None else self._ids[record.previous].digest,
            changed_at=now + record.changed_at * SECOND,
            last_seen_at=now,
        )
        presented = self._ids[cookie]
        judgement = decide_authentication(
            session, presented, self.policies, now, now + arrived * SECOND
        )
        if isinstance(judgement, Deny):
            return judgement, None, None
        salt = (number + 1).to_bytes(16, "big")
        policy = self.policies.default
        answered: SessionId | None
        if steps_up:
            answered = presented.rotated(hashlib.sha256(salt).digest()[:24])
            kept = rotated(
                session, answered, policy=policy, now=now, methods=("pwd",), stamp=bytes(8)
            )
        elif judgement.writes:
            kept = upkeep(
                session, presented, judgement, policy=policy, now=now, stamp=bytes(8), salt=salt
            )
            answered = renewed_id(kept, presented)
        else:
            return judgement, None, self._name(renewed_id(session, presented))
        name = self._name(answered)
        if name is not None:
            self._salts[name] = salt
        new = Record(
            self._names[kept.current],
            None if kept.pending is None else self._names[kept.pending.digest],
            None if kept.previous is None else self._names[kept.previous],
            (kept.changed_at - now) // SECOND,
        )
        return judgement, new, name

    def _name(self, session_id: SessionId | None) -> Name | None:
        if session_id is None:
            return None
        if session_id.digest not in self._names:
            self._names[session_id.digest] = len(self._ids)
            self._ids.append(session_id)
        return self._names[session_id.digest]


def _with(
    state: State,
    others: tuple[Exchange, ...],
    each: Exchange | None = None,
    record: Record | None = None,
) -> State:
    exchanges = others if each is None else tuple(sorted((*others, each), key=_number))
    return state._replace(exchanges=exchanges, record=record or state.record)


def _number(each: Exchange) -> int:
    return each.number


SUPERSEDED: Final = InactiveReason.SUPERSEDED


@pytest.mark.parametrize(
    ("search", "at_least"),
    [
        (Search(grace=2, renewal_interval=4, way=1, requests=5, ticks=9), 200_000),
        (Search(grace=3, renewal_interval=6, way=2, requests=3, ticks=14), 35_000),
    ],
    ids=["five requests", "three slow requests"],
)
def test_a_browser_whose_requests_keep_within_the_grace_is_never_turned_away(
    search: Search, at_least: int
) -> None:
    assert search.run() >= at_least


def test_nor_if_answers_are_slow_and_late_ones_bring_no_renewal() -> None:
    search = Search(grace=1, renewal_interval=2, way=0, handling=4, requests=5, ticks=6)
    assert search.run() >= 150_000


def test_nor_if_clocks_differ_by_less_than_the_grace_allows() -> None:
    search = Search(grace=3, renewal_interval=6, way=1, requests=4, ticks=10, skews=(0, 1))
    assert search.run() >= 60_000


def test_a_session_that_is_read_late_is_at_worst_superseded() -> None:
    search = Search(
        grace=1,
        renewal_interval=2,
        way=0,
        handling=4,
        reads_late=True,
        requests=4,
        ticks=5,
        forgives=(SUPERSEDED,),
    )
    assert search.run() >= 60_000


def test_a_step_up_amid_other_requests_logs_nobody_out() -> None:
    search = Search(
        grace=3,
        renewal_interval=50,
        way=1,
        requests=4,
        ticks=9,
        step_ups=2,
        forgives=(SUPERSEDED,),
    )
    assert search.run() >= 60_000


@pytest.mark.parametrize(
    ("search", "verdict"),
    [
        (
            Search(grace=1, renewal_interval=1, way=0, handling=2, requests=5, ticks=3),
            "the jar holds",
        ),
        (
            Search(
                grace=1,
                renewal_interval=2,
                way=0,
                handling=3,
                requests=5,
                ticks=5,
                drops_late_answers=False,
            ),
            "the jar holds",
        ),
        (
            Search(
                grace=1,
                renewal_interval=2,
                way=4,
                requests=5,
                ticks=10,
                forgives=(SUPERSEDED,),
            ),
            "REUSED",
        ),
        (
            Search(
                grace=2,
                renewal_interval=4,
                way=1,
                requests=4,
                ticks=10,
                skews=(0, 4),
                forgives=(SUPERSEDED,),
            ),
            "REUSED",
        ),
        (
            Search(grace=2, renewal_interval=4, way=1, requests=5, ticks=10, answers_unstored=True),
            "REUSED",
        ),
        (
            Search(
                grace=1,
                renewal_interval=50,
                way=2,
                requests=5,
                ticks=10,
                step_ups=1,
                forgives=(SUPERSEDED,),
            ),
            "REUSED",
        ),
        (
            # Cannot be mended: a successor's cookie arrives after the rotated one's.
            Search(
                grace=3,
                renewal_interval=6,
                way=1,
                requests=5,
                ticks=8,
                step_ups=1,
                forgives=(SUPERSEDED,),
            ),
            "the jar holds",
        ),
    ],
    ids=[
        "renewal as often as the grace",
        "late answers bring renewals",
        "requests slower than twice the grace",
        "clocks further apart than the grace",
        "successor answered though not stored",
        "page slower than the grace at a step-up",
        "renewal answered after a step-up",
    ],
)
def test_where_a_condition_is_broken_somebody_is_logged_out(search: Search, verdict: str) -> None:
    with pytest.raises(LoggedOutByRenewal, match=verdict):
        search.run()
    assert search.states > 100


# -- What a policy must not say ----------------------------------------------------


@pytest.mark.parametrize(
    "figures",
    [
        {"renewal_interval": timedelta(seconds=20, milliseconds=-1)},
        {"grace": timedelta(seconds=4)},
        {"touch_interval": timedelta(minutes=15, milliseconds=1)},
        {"touch_interval": timedelta(seconds=-1)},
    ],
)
def test_a_policy_refuses_what_would_log_active_users_out(figures: dict[str, timedelta]) -> None:
    with pytest.raises(InvalidPolicy):
        policy(**figures)


def test_a_touch_interval_as_long_as_the_idle_timeout_would_expire_an_active_user() -> None:
    lazy = bypassing_validation(policy(renewal_interval=None), touch_interval=timedelta(minutes=30))
    world = World(lazy)
    cookie = world.sign_in()
    world.clock.advance(timedelta(minutes=29))
    assert isinstance(world.auth.authenticate(cookie.reveal()), Active)
    world.clock.advance(timedelta(minutes=1))
    assert world.auth.authenticate(cookie.reveal()) == Inactive(InactiveReason.IDLE)


# -- A world to play in ------------------------------------------------------------


class World:
    """
    One store, one user, and a service that can be made anew under another policy.
    """

    def __init__(self, *policies: Policy, sessions: MemorySessionStore | None = None) -> None:
        self.clock = ManualClock()
        self.entropy = SeededEntropy(7)
        self.recorded = RecordingEvents()
        self.sessions = sessions or MemorySessionStore()
        self.credentials = MemoryCredentialStore()
        self.credentials.add_user("alice", "alice", ReadableHasher().hash(OLD))
        self.auth = self.serving(*policies)

    def serving(self, *policies: Policy, clock: ManualClock | None = None) -> AuthService:
        return AuthService(
            sessions=self.sessions,
            policy=Policies(*policies),
            credentials=self.credentials,
            passwords=ReadableHasher(),
            events=self.recorded,
            clock=clock or self.clock,
            entropy=self.entropy,
        )

    def sign_in(self, name: str | None = None) -> SessionId:
        outcome = self.auth.establish(self.auth.begin("alice"), methods=("pwd",), policy=name)
        assert isinstance(outcome, LoggedIn)
        return outcome.session_id

    def renewed(self, cookie: SessionId) -> SessionId:
        """
        Let renewal fall due and take the successor.
        """
        self.clock.advance(timedelta(seconds=60))
        outcome = self.auth.authenticate(cookie.reveal())
        assert isinstance(outcome, Active)
        assert outcome.renewed is not None
        return outcome.renewed

    def stored(self, cookie: SessionId) -> Session | None:
        return self.sessions.find(cookie.locator)

    def alarms(self) -> list[bool | None]:
        return [each.ended for each in self.recorded.events if isinstance(each, SessionIdReused)]


# -- Retired ids -------------------------------------------------------------------

durations = st.integers(1, 100_000).map(lambda count: timedelta(milliseconds=count))


@settings(deadline=None, derandomize=True)
@given(grace=st.integers(2, 60_000), more=st.integers(0, 60_000), on_reuse=st.sampled_from(OnReuse))
def test_a_retired_id_is_accepted_superseded_and_reused_on_the_millisecond(
    grace: int, more: int, on_reuse: OnReuse
) -> None:
    millisecond = timedelta(milliseconds=1)
    interval = (2 * grace + more) * millisecond
    figures = policy(
        grace=grace * millisecond,
        renewal_interval=interval,
        clock_tolerance=timedelta(0),
        on_reuse=on_reuse,
    )
    world = World(figures)
    first = world.sign_in()
    world.clock.advance(interval - millisecond)
    early = world.auth.authenticate(first.reveal())
    assert isinstance(early, Active)
    assert early.renewed is None
    world.clock.advance(millisecond)
    due = world.auth.authenticate(first.reveal())
    assert isinstance(due, Active)
    assert due.renewed is not None
    second = due.renewed
    assert isinstance(world.auth.authenticate(second.reveal()), Active)
    confirmed_at = world.clock.now()

    def present(arrived: timedelta) -> object:
        at = confirmed_at + arrived
        outcome = world.auth.authenticate(first.reveal(), arrived_at=at)
        if isinstance(outcome, Active):
            assert outcome.renewed is None, "an id in its grace was answered a successor"
            return "accepted"
        return outcome.reason

    world.clock.advance(2 * grace * millisecond)
    assert present((grace - 1) * millisecond) == "accepted"
    record = world.stored(first)
    assert present(grace * millisecond) is SUPERSEDED
    assert present((2 * grace - 1) * millisecond) is SUPERSEDED
    assert world.stored(first) == record
    assert not world.alarms()
    assert present(2 * grace * millisecond) is InactiveReason.REUSED
    ends = on_reuse is OnReuse.END
    assert world.alarms() == [ends]
    assert (world.stored(first) is None) is ends
    assert isinstance(world.auth.authenticate(second.reveal()), Inactive) is ends


def test_a_request_is_judged_by_when_it_arrived_and_never_by_the_future() -> None:
    world = World(policy())
    first = world.sign_in()
    second = world.renewed(first)
    world.auth.authenticate(second.reveal())
    world.clock.advance(timedelta(minutes=5))
    late = world.clock.now() - timedelta(minutes=5)
    assert isinstance(world.auth.authenticate(first.reveal(), arrived_at=late), Active)
    ahead = world.clock.now() + timedelta(days=1)
    assert world.auth.authenticate(second.reveal(), arrived_at=ahead) != Inactive(SUPERSEDED)
    assert world.auth.authenticate(first.reveal(), arrived_at=ahead) == Inactive(
        InactiveReason.REUSED
    )


def test_a_thief_who_comes_late_is_noticed_and_ended() -> None:
    world = World(policy())
    stolen = world.sign_in()
    mine = world.renewed(stolen)
    world.auth.authenticate(mine.reveal())
    world.clock.advance(timedelta(seconds=20))
    assert world.auth.authenticate(stolen.reveal()) == Inactive(InactiveReason.REUSED)
    assert world.auth.authenticate(mine.reveal()) == Inactive(InactiveReason.UNKNOWN)
    assert world.alarms() == [True]


def test_a_thief_who_keeps_up_is_not_noticed_and_only_the_timeout_ends_it() -> None:
    # The promise is no more than this, and this test says so.
    world = World(policy())
    mine = thiefs = world.sign_in()
    until = world.clock.now() + timedelta(hours=12)
    while world.clock.now() < until:
        for _ in range(2):
            seen = world.auth.authenticate(mine.reveal())
            copied = world.auth.authenticate(thiefs.reveal())
            assert isinstance(seen, Active)
            assert isinstance(copied, Active)
            mine, thiefs = seen.renewed or mine, copied.renewed or thiefs
        world.clock.advance(timedelta(minutes=10))
    assert world.auth.authenticate(thiefs.reveal()) == Inactive(InactiveReason.TOO_OLD)
    assert not world.alarms()


# -- Guesses -----------------------------------------------------------------------


@settings(deadline=None, derandomize=True)
@given(
    tail=st.binary(min_size=32, max_size=32),
    state=st.sampled_from(["fresh", "pending", "confirmed", "rotated", "idle", "too old"]),
)
def test_a_right_locator_with_a_wrong_family_is_a_guess_that_does_nothing(
    tail: bytes, state: str
) -> None:
    world = World(policy())
    cookie = world.sign_in()
    match state:
        case "pending":
            world.renewed(cookie)
        case "confirmed":
            world.auth.authenticate(world.renewed(cookie).reveal())
            world.clock.advance(timedelta(minutes=1))
        case "rotated":
            world.auth.rotate(cookie.reveal())
            world.clock.advance(timedelta(minutes=1))
        case "idle":
            world.clock.advance(timedelta(minutes=30))
        case "too old":
            world.clock.advance(timedelta(hours=12))
        case _:
            pass
    locator = cookie.locator
    guess = SessionId(locator.epoch, locator.slot, tail[:8], tail[8:])
    before, told = world.stored(cookie), len(world.recorded.events)
    unknown = Inactive(InactiveReason.UNKNOWN)
    assert world.auth.authenticate(guess.reveal()) == unknown
    assert world.auth.rotate(guess.reveal(), methods=("hwk",)) == unknown
    assert world.auth.reauthenticate(guess.reveal(), OLD) == unknown
    assert world.auth.change_password(guess.reveal(), OLD, NEW) == unknown
    assert not world.auth.logout(guess.reveal()).ended
    assert world.stored(cookie) == before
    assert len(world.recorded.events) == told


# -- Stale readings ----------------------------------------------------------------


@attrs.define(eq=False)
class Lagging(MemorySessionStore):
    """
    A store whose next readings are from the past, as behind a replica or a cache.
    """

    history: list[Session] = attrs.field(factory=list[Session], init=False)
    lags: list[int] = attrs.field(factory=list[int], init=False)

    def find(self, locator: Locator, /) -> Session | None:
        found = MemorySessionStore.find(self, locator)
        if found is not None and (not self.history or self.history[-1] != found):
            self.history.append(found)
        if self.lags and found is not None:
            lag = self.lags.pop()
            return self.history[max(0, len(self.history) - 1 - lag)]
        return found


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    steps=st.lists(
        st.tuples(st.lists(st.integers(0, 6), max_size=3), st.sampled_from([0, 5, 15, 60, 90])),
        min_size=1,
        max_size=20,
    )
)
def test_a_stale_reading_never_ends_an_honest_session(
    steps: list[tuple[list[int], int]],
) -> None:
    store = Lagging()
    world = World(policy(), sessions=store)
    cookie = world.sign_in()
    for lags, seconds in steps:
        world.clock.advance(seconds * SECOND)
        store.lags[:] = lags
        outcome = world.auth.authenticate(cookie.reveal())
        store.lags.clear()
        assert store.find(cookie.locator) is not None, "a stale reading ended the session"
        assert not world.alarms()
        if isinstance(outcome, Active) and outcome.renewed is not None:
            cookie = outcome.renewed
    assert isinstance(world.auth.authenticate(cookie.reveal()), Active)


# -- A browser ---------------------------------------------------------------------


@dataclass
class OnItsWay:
    """
    A request, and then its answer.
    """

    cookie: SessionId
    sent_at: datetime
    arrived_at: datetime | None = None
    handled: bool = False
    renewed: SessionId | None = None


class Browser(RuleBasedStateMachine):
    """
    One cookie jar with parallel requests, and a network that delays and loses answers.
    """

    GRACE: ClassVar[timedelta] = timedelta(seconds=10)

    store: ClassVar[type[MemorySessionStore]] = MemorySessionStore

    def __init__(self) -> None:
        super().__init__()
        self.figures = policy(
            grace=self.GRACE, renewal_interval=2 * self.GRACE, idle_timeout=timedelta(hours=12)
        )
        self.world = World(self.figures, sessions=self.store())
        self.jar = self.world.sign_in()
        self.under_way: list[OnItsWay] = []
        self.successors: dict[bytes, SessionId] = {}

    @rule()
    def send(self) -> None:
        if len(self.under_way) < 6:
            self.under_way.append(OnItsWay(self.jar, self.world.clock.now()))

    @precondition(lambda self: any(each.arrived_at is None for each in self.under_way))
    @rule(data=st.data())
    def arrive(self, data: st.DataObject) -> None:
        waiting = [each for each in self.under_way if each.arrived_at is None]
        data.draw(st.sampled_from(waiting)).arrived_at = self.world.clock.now()

    @precondition(lambda self: any(each.arrived_at and not each.handled for each in self.under_way))
    @rule(data=st.data(), passive=st.booleans())
    def handle(self, data: st.DataObject, *, passive: bool) -> None:
        waiting = [each for each in self.under_way if each.arrived_at and not each.handled]
        each = data.draw(st.sampled_from(waiting))
        outcome = self.world.auth.authenticate(
            each.cookie.reveal(), arrived_at=each.arrived_at, passive=passive
        )
        assert isinstance(outcome, Active), f"logged out by renewal: {outcome}"
        each.handled, each.renewed = True, outcome.renewed
        if outcome.renewed is not None:
            answered = self.successors.setdefault(outcome.session.current, outcome.renewed)
            assert answered == outcome.renewed, "two successors of one id"

    @precondition(lambda self: any(each.handled for each in self.under_way))
    @rule(data=st.data(), lost=st.booleans())
    def answer(self, data: st.DataObject, *, lost: bool) -> None:
        each = data.draw(st.sampled_from([each for each in self.under_way if each.handled]))
        self.under_way.remove(each)
        assert each.arrived_at is not None
        # What the HTTP edge does: too late, and the next request brings it again.
        too_late = self.world.clock.now() - each.arrived_at > self.GRACE
        if each.renewed is not None and not lost and not too_late:
            self.jar = each.renewed

    @rule(by=st.sampled_from([1, 1_000, 4_000, 9_999, 10_000, 20_000, 45_000]))
    def wait(self, by: int) -> None:
        now = self.world.clock.now()
        # No exchange takes longer than the grace.
        longest = min((each.sent_at + self.GRACE - now for each in self.under_way), default=None)
        wanted = timedelta(milliseconds=by)
        if longest is not None:
            wanted = min(wanted, longest - timedelta(milliseconds=1))
        if wanted > timedelta(0):
            self.world.clock.advance(wanted)

    @invariant()
    def signed_in(self) -> None:
        assert not self.world.alarms()
        session = self.world.stored(self.jar)
        assert session is not None
        now = self.world.clock.now()
        judged = decide_authentication(session, self.jar, Policies(self.figures), now, now)
        assert isinstance(judged, Accept), "the jar holds an id that opens nothing"


TestABrowserWithinTheGraceStaysSignedIn = Browser.TestCase
TestABrowserWithinTheGraceStaysSignedIn.settings = RULES


class ForgetsSuccessors(MemorySessionStore):
    def replace(self, old: Session, new: Session, /) -> bool:
        return super().replace(old, replace(new, pending=None))


class RestartsTheAbsoluteTimeout(MemorySessionStore):
    def replace(self, old: Session, new: Session, /) -> bool:
        return super().replace(old, replace(new, created_at=new.last_seen_at))


class ForgetsSightings(MemorySessionStore):
    def replace(self, old: Session, new: Session, /) -> bool:
        return super().replace(old, replace(new, last_seen_at=old.last_seen_at))


# -- Events in any order -----------------------------------------------------------

POLICIES: Final = (
    policy(),
    policy(idle_timeout=timedelta(minutes=6), absolute_timeout=timedelta(minutes=20)),
    policy(idle_timeout=timedelta(hours=2), absolute_timeout=timedelta(days=2)),
    policy(touch_interval=timedelta(minutes=15)),
    policy(renewal_interval=None),
)

PAUSES: Final = [
    timedelta(milliseconds=1),
    timedelta(seconds=9),
    timedelta(seconds=61),
    timedelta(minutes=4, seconds=59, milliseconds=999),
    timedelta(minutes=16),
    timedelta(minutes=29, seconds=59, milliseconds=999),
    timedelta(minutes=59),
    timedelta(hours=11),
]


class Life(RuleBasedStateMachine):
    """
    One session through everything that can happen to it, beside a model of its times.
    """

    store: ClassVar[type[MemorySessionStore]] = MemorySessionStore

    def __init__(self) -> None:
        super().__init__()
        self.world = World(POLICIES[0], sessions=self.store())
        self.policy = POLICIES[0]
        self.cookie = self.world.sign_in()
        self.created_at = self.seen_at = self.world.clock.now()
        self.retired: list[SessionId] = []
        """Ids from before the last change of privilege."""
        self.answered: list[SessionId] = [self.cookie]
        """Ids since then."""
        self.password = OLD
        self.slack = self.policy.touch_interval
        self.recorded = self._recorded()

    def _recorded(self) -> datetime | None:
        session = self.world.stored(self.cookie)
        return None if session is None else session.last_seen_at

    def _hold_against_the_model(self, *, active: bool) -> None:
        now = self.world.clock.now()
        if now - self.created_at >= self.policy.absolute_timeout:
            assert not active, "it outlived its absolute timeout"
        elif now - self.seen_at >= self.policy.idle_timeout:
            assert not active, "idle expiry came late"
        elif now - self.seen_at < self.policy.idle_timeout - self.slack:
            assert active, "idle expiry came more than a touch interval early"

    def _seen(self, *, exactly: bool) -> None:
        self.seen_at = self.world.clock.now()
        if exactly:
            self.slack = self.policy.touch_interval
        else:
            self.slack = max(self.slack, self.policy.touch_interval)

    def _change_of_privilege(self, successor: SessionId) -> None:
        self.retired += self.answered
        self.answered = [successor]
        self.cookie = successor

    @rule(passive=st.booleans(), takes_renewal=st.booleans())
    def authenticate(self, *, passive: bool, takes_renewal: bool) -> None:
        outcome = self.world.auth.authenticate(self.cookie.reveal(), passive=passive)
        self._hold_against_the_model(active=isinstance(outcome, Active))
        if isinstance(outcome, Active):
            if not passive:
                self._seen(exactly=False)
            if outcome.renewed is not None:
                self.answered.append(outcome.renewed)
                if takes_renewal:
                    self.cookie = outcome.renewed

    @rule(methods=st.sampled_from([(), ("hwk",)]))
    def rotate(self, methods: tuple[str, ...]) -> None:
        outcome = self.world.auth.rotate(self.cookie.reveal(), methods=methods)
        self._hold_against_the_model(active=isinstance(outcome, Rotated))
        if isinstance(outcome, Rotated):
            self._seen(exactly=True)
            self._change_of_privilege(outcome.session_id)

    @rule()
    def step_up(self) -> None:
        outcome = self.world.auth.reauthenticate(self.cookie.reveal(), self.password)
        self._hold_against_the_model(active=isinstance(outcome, Rotated))
        if isinstance(outcome, Rotated):
            self._seen(exactly=True)
            self._change_of_privilege(outcome.session_id)

    @rule()
    def change_password(self) -> None:
        new = NEW if self.password == OLD else OLD
        outcome = self.world.auth.change_password(self.cookie.reveal(), self.password, new)
        self._hold_against_the_model(active=isinstance(outcome, PasswordChanged))
        if isinstance(outcome, PasswordChanged):
            self.password = new
            assert outcome.kept is not None
            self._seen(exactly=True)
            self._change_of_privilege(outcome.kept.session_id)

    @rule()
    def keep_only_this(self) -> None:
        # What is not live is not kept, and then there is nothing left to model.
        if not isinstance(self.world.auth.authenticate(self.cookie.reveal()), Active):
            return
        outcome = self.world.auth.logout_everywhere("alice", keep=self.cookie.reveal())
        assert isinstance(outcome, LoggedOutEverywhere)
        assert outcome.kept is not None
        self._seen(exactly=True)
        self._change_of_privilege(outcome.kept.session_id)

    @rule(by=st.sampled_from(PAUSES))
    def wait(self, by: timedelta) -> None:
        self.world.clock.advance(by)

    @rule(figures=st.sampled_from(POLICIES))
    def change_the_policy(self, figures: Policy) -> None:
        self.policy = figures
        self.world.auth = self.world.serving(figures)

    @precondition(lambda self: self.retired)
    @rule(data=st.data())
    def present_what_a_change_of_privilege_retired(self, data: st.DataObject) -> None:
        session = self.world.stored(self.cookie)
        if session is None:
            return
        retired = data.draw(st.sampled_from(self.retired))
        # While the page's other requests may still be on their way.
        arrived_at = session.changed_at + 2 * self.policy.grace - timedelta(milliseconds=1)
        outcome = self.world.auth.authenticate(retired.reveal(), arrived_at=arrived_at)
        assert isinstance(outcome, Inactive), "an id from before a change of privilege opens it"
        assert outcome.reason is not InactiveReason.REUSED
        assert self.world.stored(self.cookie) == session

    @invariant()
    def last_seen_never_moves_backwards(self) -> None:
        recorded = self._recorded()
        if recorded is not None and self.recorded is not None:
            assert recorded >= self.recorded
        self.recorded = recorded

    @invariant()
    def nothing_is_collected_that_lives(self) -> None:
        session = self.world.stored(self.cookie)
        now = self.world.clock.now()
        if session is not None and session.keep_until < now and self.policy is POLICIES[0]:
            # A longer policy holds for what is collected from the next write on.
            dead = decide_expiry(session, self.policy, now)
            assert dead is not None or session.lives_for < self.policy.idle_timeout


TestASessionNeverOutlivesItsTimeouts = Life.TestCase
TestASessionNeverOutlivesItsTimeouts.settings = RULES


@pytest.mark.parametrize(
    ("machine", "store"),
    [
        (Browser, ForgetsSuccessors),
        (Life, RestartsTheAbsoluteTimeout),
        (Life, ForgetsSightings),
    ],
)
def test_a_store_that_breaks_the_times_is_found(
    machine: type[RuleBasedStateMachine], store: type[MemorySessionStore]
) -> None:
    spoilt = type("Spoilt", (machine,), {"store": store})
    unshrunk = settings(RULES, max_examples=500, database=None, phases=[Phase.generate])
    with pytest.raises(AssertionError):
        run_state_machine_as_test(spoilt, settings=unshrunk)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    events=st.lists(
        st.tuples(
            st.sampled_from(["authenticate", "passive", "rotate", "keep"]),
            st.integers(0, 2),
            st.integers(0, 600),
        ),
        max_size=25,
    )
)
def test_the_last_sighting_never_moves_backwards_though_clocks_disagree(
    events: list[tuple[str, int, int]],
) -> None:
    world = World(policy())
    offsets = [timedelta(0), timedelta(hours=1), timedelta(minutes=-7)]
    clocks = [ManualClock(START + offset) for offset in offsets]
    servers = [world.serving(policy(), clock=clock) for clock in clocks]
    cookie = world.sign_in()
    last = world.stored(cookie)
    assert last is not None
    for what, server, seconds in events:
        for clock in clocks:
            clock.advance(seconds * SECOND)
        auth = servers[server]
        if what == "rotate":
            outcome = auth.rotate(cookie.reveal())
            cookie = outcome.session_id if isinstance(outcome, Rotated) else cookie
        elif what == "keep":
            kept = auth.logout_everywhere("alice", keep=cookie.reveal()).kept
            if kept is None:
                return
            cookie = kept.session_id
        else:
            seen = auth.authenticate(cookie.reveal(), passive=what == "passive")
            if isinstance(seen, Active) and seen.renewed is not None:
                cookie = seen.renewed
        session = world.stored(cookie)
        if session is None:
            return
        assert session.last_seen_at >= last.last_seen_at
        assert session.created_at == last.created_at
        last = session


def test_an_unknown_policy_name_is_a_dead_session_and_comes_back_with_its_policy() -> None:
    world = World(policy("old"), policy("other"))
    cookie = world.sign_in("old")
    renamed = world.serving(policy("new"), policy("other"))
    assert renamed.authenticate(cookie.reveal()) == Inactive(InactiveReason.POLICY_UNKNOWN)
    assert renamed.rotate(cookie.reveal()) == Inactive(InactiveReason.POLICY_UNKNOWN)
    assert isinstance(world.auth.authenticate(cookie.reveal()), Active)


def test_turning_renewal_off_stops_drawing_and_nothing_else() -> None:
    world = World(policy())
    first = world.sign_in()
    second = world.renewed(first)
    off = world.serving(policy(renewal_interval=None))
    again = off.authenticate(first.reveal())
    assert isinstance(again, Active)
    assert again.renewed == second
    assert isinstance(off.authenticate(second.reveal()), Active)
    world.clock.advance(timedelta(minutes=10))
    still = off.authenticate(second.reveal())
    assert isinstance(still, Active)
    assert still.renewed is None
    assert off.authenticate(first.reveal()) == Inactive(InactiveReason.REUSED)


def test_an_id_in_its_grace_is_not_rotated_without_a_new_proof() -> None:
    world = World(policy())
    first = world.sign_in()
    second = world.renewed(first)
    world.auth.authenticate(second.reveal())
    assert world.auth.rotate(first.reveal()) == Inactive(SUPERSEDED)
    assert isinstance(world.auth.authenticate(second.reveal()), Active)
    assert isinstance(world.auth.rotate(first.reveal(), methods=("hwk",)), Rotated)
    assert world.auth.authenticate(second.reveal()) == Inactive(SUPERSEDED)


@pytest.mark.parametrize("standing", ["current", "successor", "previous"])
def test_no_id_from_before_a_change_of_privilege_works_after_it(standing: str) -> None:
    for act in ("rotate", "step up", "change the password", "keep only this"):
        world = World(policy())
        first = world.sign_in()
        second = world.renewed(first)
        ids = [first, second]
        if standing == "previous":
            world.auth.authenticate(second.reveal())
        presented = second if standing == "successor" else first
        if standing == "previous" and act == "keep only this":
            presented = second  # an id in its grace carries no new privilege
        if act == "rotate":
            methods = ("hwk",)
            outcome: object = world.auth.rotate(presented.reveal(), methods=methods)
        elif act == "step up":
            outcome = world.auth.reauthenticate(presented.reveal(), OLD)
        elif act == "change the password":
            outcome = world.auth.change_password(presented.reveal(), OLD, NEW)
        else:
            outcome = world.auth.logout_everywhere("alice", keep=presented.reveal())
        assert isinstance(outcome, Rotated | PasswordChanged | LoggedOutEverywhere)
        kept = outcome if isinstance(outcome, Rotated) else outcome.kept
        assert kept is not None
        successor = kept.session_id
        for later in (timedelta(0), timedelta(seconds=20, milliseconds=-1)):
            world.clock.advance(later)
            for old in ids:
                refused = world.auth.authenticate(old.reveal())
                assert isinstance(refused, Inactive), f"{act} left an old id working"
                assert refused.reason in {SUPERSEDED, InactiveReason.UNKNOWN}
        assert isinstance(world.auth.authenticate(successor.reveal()), Active)
        assert not world.alarms()


def test_proving_again_what_was_proven_fits_into_any_record() -> None:
    world = World(policy())
    attempt = world.auth.begin("alice")
    methods = ("pwd", "otp", "hwk", "sms", "tel", "geo", "pin", "fpt")
    outcome = world.auth.establish(attempt, methods=methods)
    assert isinstance(outcome, LoggedIn)
    stepped_up = world.auth.reauthenticate(outcome.session_id.reveal(), OLD)
    assert isinstance(stepped_up, Rotated)
    assert stepped_up.session.methods == methods
