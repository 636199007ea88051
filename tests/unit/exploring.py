"""
A scheduler that decides whose port call happens next, and no event loop.

Use cases of :class:`~sessioncore.aio.AsyncAuthService` are driven by hand. Each
port call stops at a gate; a *step* lets one actor through, performs its call and
runs it to its next gate. Nothing else can interleave, because a port call is one
step by the laws of the ports. Two drivers choose the steps:

-   :func:`explore` tries every schedule by replaying prefixes of choices, depth
    first. Of schedules that differ only in the order of neighbouring steps that
    do not depend on each other it runs one (sleep sets).
-   :func:`race` lets Hypothesis choose, so that a failing schedule shrinks.

A call may also meet a :class:`Fate`: its reply is lost, or it arrives only later.
Fates are choices like any other, within a budget.

Throttle, hasher and name look-up are let through without a gate: in no scene can
their order matter. ``race`` stops at them too.
"""

from __future__ import annotations

import enum
import hashlib
import inspect
from collections.abc import Callable, Coroutine, Generator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any, Final, TypeAlias, TypeVar, cast

from hypothesis import note
from hypothesis import strategies as st

from sessioncore import AuthService, Policies, Policy, SessionId
from sessioncore.aio import AsyncAuthService
from sessioncore.decisions import Accept, Deny, decide_authentication
from sessioncore.errors import OutcomeUnknown, SessionCoreError, StoreUnavailable
from sessioncore.events import Event
from sessioncore.ports import PasswordCheck
from sessioncore.session import Session, Subject
from sessioncore.testing import ManualClock, RecordingEvents
from sessioncore.throttle import InProcessLoginThrottle
from sessioncore_memory import MemoryCredentialStore, MemorySessionStore

T = TypeVar("T")

ALICE: Final = Subject.user("alice")
OLD, NEW, STOLEN = "old password", "new password", "the thief's password"


class EntropyByActor:
    """
    Draws from one stream per actor, so that what one draws does not depend on the schedule.
    """

    def __init__(self) -> None:
        self.actor = ""
        self._drawn: dict[str, int] = {}

    def draw(self, size: int, /) -> bytes:
        count = self._drawn[self.actor] = self._drawn.get(self.actor, 0) + 1
        return hashlib.shake_256(f"{self.actor}/{count}".encode()).digest(size)


class ReadableHasher:
    """
    A hash that shows its password, quick and without salt.
    """

    def verify(self, encoded: str | None, password: str, /) -> PasswordCheck:
        if encoded == f"weak hash of {password}":
            return PasswordCheck.OUTDATED
        return PasswordCheck.MATCH if encoded == self.hash(password) else PasswordCheck.MISMATCH

    def hash(self, password: str, /) -> str:
        return f"hash of {password}"


class UnshieldedAuthService(AsyncAuthService):
    """
    The service without what shields it from cancellation, which needs an event loop.
    """


for _name, _method in list(vars(AsyncAuthService).items()):
    if inspect.isfunction(_method) and hasattr(_method, "__wrapped__"):
        setattr(UnshieldedAuthService, _name, inspect.unwrap(_method))


class Fate(enum.Enum):
    """
    What becomes of a call.
    """

    ANSWERED = "answered"
    NOT_SENT = "store unavailable, nothing is written"
    CALL_LOST = "outcome unknown, the call is lost"
    REPLY_LOST = "outcome unknown, the call took effect"
    LATE = "outcome unknown, the call is still on its way"


UNKNOWN: Final = (Fate.CALL_LOST, Fate.REPLY_LOST, Fate.LATE)
"""All ways in which an outcome can be unknown."""

_READS: Final = frozenset({"find", "roster", "read_data", "find_user", "read_hash"})
_ORDERLESS: Final = frozenset(
    {"verify", "hash", "find_user", "reserve", "give_back", "reset", "purge"}
)


@dataclass(frozen=True, slots=True)
class Option:
    """
    One thing that may happen next.
    """

    actor: str
    port: str
    name: str
    fate: Fate = Fate.ANSWERED

    def commutes_with(self, other: Option) -> bool:
        """
        Whether the order of the two makes no difference to anything.
        """
        if Fate.ANSWERED is not self.fate or Fate.ANSWERED is not other.fate:
            return False  # they share the budget of faults
        if "app" in {self.port, other.port}:
            return False
        return self.port != other.port or {self.name, other.name} <= _READS


@dataclass(slots=True, eq=False)
class Call:
    """
    A port call that waits at its gate.
    """

    port: str
    name: str
    perform: Callable[[], object]

    def __await__(self) -> Generator[Call, object, object]:
        return (yield self)


@dataclass(slots=True, eq=False)
class _Actor:
    coroutine: Coroutine[Call, object, object]
    waits_at: Call | None = None
    result: object = None
    done: bool = False


@dataclass(frozen=True, kw_only=True)
class Parts:
    """
    What a scene is played with. Tests put parts with a planted bug here.
    """

    service: type[AsyncAuthService] = UnshieldedAuthService
    sessions: Callable[[], MemorySessionStore] = MemorySessionStore
    credentials: Callable[[], MemoryCredentialStore] = MemoryCredentialStore
    sessions_through: Callable[[Any], Any] | None = None
    """Wraps the gated store, for a bug of several port calls."""

    fates: Mapping[str, tuple[Fate, ...]] = field(default_factory=dict[str, tuple[Fate, ...]])
    """Which calls, by name, may meet which fates."""

    faults: int = 1
    """How many calls of one schedule may meet a fate."""


SOUND: Final = Parts()


class Stage:
    """
    One run of a scene: a world made anew, and the actors in it.
    """

    def __init__(self, parts: Parts, *, every_call: bool = False) -> None:
        self.clock = ManualClock()
        self.sessions = parts.sessions()
        self.credentials = parts.credentials()
        self.trace: list[str] = []
        self.policies = Policies(policy())
        self.entropy = EntropyByActor()
        self.recorded = RecordingEvents()
        self._parts = parts
        self._every_call = every_call
        self._faults_left = parts.faults
        self._actors: dict[str, _Actor] = {}
        self._always: list[Callable[[], None]] = []
        self._last = ""

    # -- Setting the scene -----------------------------------------------------

    def governed_by(self, *policies: Policy) -> None:
        """
        Set the policies. Call it before anything else.
        """
        self.policies = Policies(*policies)

    def has_alice(self, password_hash: str = f"hash of {OLD}") -> None:
        """
        Let alice have the old password.
        """
        self.credentials.add_user("alice", "alice", password_hash)

    def service(self, clock: ManualClock | None = None) -> AsyncAuthService:
        """
        A service whose port calls wait for the scheduler.
        """
        sessions: Any = self._gated("store", self.sessions)
        if self._parts.sessions_through is not None:
            sessions = self._parts.sessions_through(sessions)
        return self._parts.service(
            sessions=sessions,
            policy=self.policies,
            credentials=self._gated("credentials", self.credentials),
            passwords=self._gated("hasher", ReadableHasher()),
            throttle=self._gated("throttle", InProcessLoginThrottle()),
            clock=clock or self.clock,
            entropy=self.entropy,
            events=self.recorded,
        )

    def told(self, kind: type[Event]) -> int:
        """
        How many events of a kind the gated services told.
        """
        return sum(isinstance(event, kind) for event in self.recorded.events)

    @property
    def at_once(self) -> AuthService:
        """
        A service without gates, for setting scenes and looking at results.
        """
        return AuthService(
            sessions=self.sessions,
            policy=self.policies,
            credentials=self.credentials,
            passwords=ReadableHasher(),
            clock=self.clock,
            entropy=self.entropy,
        )

    def signed_in(self, user_id: str = "alice", policy: str | None = None) -> SessionId:
        """
        A session that exists before the scene begins.
        """
        auth = self.at_once
        outcome = auth.establish(auth.begin(user_id), methods=("pwd",), policy=policy)
        return cast("SessionId", getattr(outcome, "session_id"))  # noqa: B009

    def actor(self, name: str, coroutine: Coroutine[Any, Any, object]) -> None:
        """
        Let *name* do something while others do other things.
        """
        self._actors[name] = _Actor(coroutine)

    def always(self, check: Callable[[], None]) -> None:
        """
        Check this after every step.
        """
        self._always.append(check)

    async def step(self, what: str, perform: Callable[[], T]) -> T:
        """
        Let an application do something of its own as one step.
        """
        return cast("T", await Call("app", what, perform))

    # -- Looking at what happened ----------------------------------------------

    def result(self, name: str) -> object:
        """
        What the actor's use case returned, or the failure that it raised.
        """
        return self._actors[name].result

    def judgement(self, session_id: SessionId) -> Accept | Deny:
        """
        What today's rules say of an id. Writes nothing.
        """
        now = self.clock.now()
        found = self.sessions.find(session_id.locator)
        return decide_authentication(found, session_id, self.policies, now, now)

    def lives(self, session_id: SessionId | None) -> bool:
        """
        Whether an id stands for a live session.
        """
        return session_id is not None and isinstance(self.judgement(session_id), Accept)

    def roster(self, subject: Subject = ALICE) -> tuple[Session, ...]:
        """
        All stored sessions of a user.
        """
        return self.sessions.roster(subject).sessions

    # -- Being driven ----------------------------------------------------------

    def start(self) -> None:
        """
        Run every actor to its first gate.
        """
        for name in list(self._actors):
            self._resume(name, lambda actor: actor.coroutine.send(None))

    def options(self) -> list[Option]:
        """
        What may happen next; first that nobody interrupts whoever did the last step.
        """
        options: list[Option] = []
        for name in sorted(self._actors, key=lambda name: name != self._last):
            call = self._actors[name].waits_at
            if call is None:
                continue
            options.append(Option(name, call.port, call.name))
            if self._faults_left and "/" not in name:
                fates = self._parts.fates.get(call.name, ())
                options += [Option(name, call.port, call.name, fate) for fate in fates]
        return options

    def take(self, option: Option) -> None:
        """
        Perform one step.
        """
        actor = self._actors[option.actor]
        call = actor.waits_at
        assert call is not None
        self._last = option.actor
        if option.fate is not Fate.ANSWERED:
            self._faults_left -= 1
        result: object = None
        failure: SessionCoreError | None = None
        if option.fate in {Fate.ANSWERED, Fate.REPLY_LOST}:
            try:
                result = call.perform()
            except SessionCoreError as raised:
                failure = raised
        if option.fate is Fate.ANSWERED:
            shown = _shown(result) if failure is None else type(failure).__name__
        else:
            shown = option.fate.value
            failure = (
                StoreUnavailable("planned")
                if option.fate is Fate.NOT_SENT
                else OutcomeUnknown("planned")
            )
        self.trace.append(f"{option.actor}: {call.name} -> {shown}")
        if option.fate is Fate.LATE:
            late = _late(call)
            self._actors[f"{option.actor}/late {call.name} {len(self.trace)}"] = _Actor(
                late, late.send(None)
            )
        if failure is None:
            self._resume(option.actor, lambda actor: actor.coroutine.send(result))
        else:
            self._resume(option.actor, lambda actor: actor.coroutine.throw(failure))
        for check in self._always:
            check()

    def close(self) -> None:
        """
        Abandon the actors that have not come to their end.
        """
        for actor in self._actors.values():
            actor.coroutine.close()

    def _resume(self, name: str, resume: Callable[[_Actor], Call]) -> None:
        actor = self._actors[name]
        self.entropy.actor = name
        actor.waits_at = None
        try:
            actor.waits_at = resume(actor)
        except StopIteration as returned:
            actor.result = returned.value
        except SessionCoreError as failure:
            actor.result = failure
        else:
            return
        finally:
            self.entropy.actor = ""
        actor.done = True
        if "/" not in name:
            self.trace.append(f"{name} is answered {_shown(actor.result)}")

    def _gated(self, port: str, target: object) -> Any:
        return _Gated(port, target, frozenset() if self._every_call else _ORDERLESS)


async def _late(call: Call) -> object:
    return await call


class _Gated:
    """
    An asynchronous face for a port, with a gate before every call.
    """

    def __init__(self, port: str, target: object, free: frozenset[str]) -> None:
        self._port = port
        self._target = target
        self._free = free

    def __getattr__(self, name: str) -> Callable[..., Coroutine[Any, Any, object]]:
        method: Callable[..., object] = getattr(self._target, name)

        async def call(*args: object) -> object:
            if name in self._free:
                return method(*args)
            return await Call(self._port, name, partial(method, *args))

        return call


def _shown(value: object) -> str:
    """
    Say what a call answered, without any byte of it.
    """
    if value is None or isinstance(value, (bool, int)):
        return str(value)
    if isinstance(value, enum.Enum):
        return value.name
    reason = getattr(value, "reason", None)
    return type(value).__name__ + (f"({reason.name})" if isinstance(reason, enum.Enum) else "")


Ending: TypeAlias = Callable[[], None]
"""What must hold when every actor has come to its end."""

Scene: TypeAlias = Callable[[Stage], Ending]


@dataclass(slots=True)
class _Junction:
    options: list[Option]
    asleep: set[Option]
    """Taken before, here or earlier, and everything since commutes with it."""

    taken: Option

    def turn(self) -> bool:
        self.asleep.add(self.taken)
        for option in self.options:
            if option not in self.asleep:
                self.taken = option
                return True
        return False


def explore(
    scene: Scene,
    parts: Parts = SOUND,
    *,
    at_least: int,
    at_most: int = 100_000,
    everything: bool = False,
) -> int:
    """
    Play *scene* in every schedule; with *everything*, also in those that differ in nothing.

    Returns:
        How many schedules were played. Fewer than *at_least* is a failure, so
        that no test passes by exploring nothing; so is more than *at_most*.
    """
    way: list[_Junction] = []
    schedules = 0
    while True:
        stage = Stage(parts)
        try:
            ending = scene(stage)
            stage.start()
            if _follow(stage, way, everything=everything):
                ending()
                schedules += 1
        except AssertionError as failure:
            raise AssertionError(
                f"{failure}\nin schedule {schedules + 1}:\n  " + "\n  ".join(stage.trace)
            ) from failure
        finally:
            stage.close()
        while way and not way[-1].turn():
            way.pop()
        if not way:
            break
        if schedules > at_most:
            raise AssertionError(f"more than {at_most} schedules")
    print(f"{schedules} schedules")
    assert schedules >= at_least, f"only {schedules} schedules were explored"
    return schedules


def _follow(stage: Stage, way: list[_Junction], *, everything: bool) -> bool:
    """
    Go the way to its end and on from there; whether that leads to a new schedule.
    """
    depth = 0
    asleep: set[Option] = set()
    while options := stage.options():
        if depth == len(way):
            awake = [option for option in options if option not in asleep]
            if not awake:
                return False
            way.append(_Junction(options, asleep, awake[0]))
        junction = way[depth]
        stage.take(junction.taken)
        if everything:
            asleep = set()
        else:
            asleep = {each for each in junction.asleep if each.commutes_with(junction.taken)}
        depth += 1
    return True


def race(scene: Scene, data: st.DataObject, parts: Parts = SOUND) -> None:
    """
    Play *scene* once, in a schedule that Hypothesis chooses and can shrink.
    """
    stage = Stage(parts, every_call=True)
    try:
        ending = scene(stage)
        stage.start()
        while options := stage.options():
            # The first option goes on with the same actor: what shrinks has few switches.
            stage.take(options[data.draw(st.integers(0, len(options) - 1))])
        ending()
    except AssertionError:
        note("\n".join(stage.trace))
        raise
    finally:
        with suppress(RuntimeError):
            stage.close()


def policy(name: str = "default", /, **figures: Any) -> Policy:
    """
    A policy in small figures: grace 10 s, renewal every 60 s.
    """
    usual: dict[str, Any] = {
        "idle_timeout": timedelta(minutes=30),
        "absolute_timeout": timedelta(hours=12),
        "renewal_interval": timedelta(seconds=60),
        "grace": timedelta(seconds=10),
        "clock_tolerance": timedelta(seconds=2),
    }
    return Policy(name=name, **(usual | figures))
