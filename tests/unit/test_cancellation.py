"""
Cancellation, which is what a client that disconnects does to its request.

On a real event loop, the caller of a use case is cancelled while the use case waits
at one of its port calls, for every port call that there is. The case of the design
review that is played here: a password change cancelled between its two writes left
the new hash in force and every old session alive, and a cancelled sign-in left a
session that nobody held.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, cast

import pytest
from exploring import ALICE, NEW, OLD, STOLEN, ReadableHasher, UnshieldedAuthService, policy

from sessioncore import AuthService, LoggedIn, SessionId
from sessioncore.aio import AsyncAuthService
from sessioncore.attempt import Attempt
from sessioncore.decisions import Accept, decide_authentication
from sessioncore.errors import StoreUnavailable
from sessioncore.policy import Policies
from sessioncore.session import Subject
from sessioncore.testing import ManualClock, SeededEntropy
from sessioncore.throttle import InProcessLoginThrottle
from sessioncore_memory import MemoryCredentialStore, MemorySessionStore

PATIENCE_SECONDS = 30.0
"""How long a test waits for what must happen before it fails."""


@dataclass
class Turnstile:
    """
    Lets port calls through until the one at which it stops.
    """

    stops_at: int
    after_the_call: bool = False
    calls: int = 0
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    opened: asyncio.Event = field(default_factory=asyncio.Event)

    async def pass_by(self, perform: Callable[[], object]) -> object:
        self.calls += 1
        stops = self.calls - 1 == self.stops_at
        if stops and not self.after_the_call:
            await self._wait()
        result = perform()
        if stops and self.after_the_call:
            await self._wait()
        return result

    async def _wait(self) -> None:
        self.reached.set()
        await self.opened.wait()


class ThroughTheTurnstile:
    """
    An asynchronous face for a port.
    """

    def __init__(self, target: object, turnstile: Turnstile) -> None:
        self._target = target
        self._turnstile = turnstile

    def __getattr__(self, name: str) -> Callable[..., Coroutine[Any, Any, object]]:
        method: Callable[..., object] = getattr(self._target, name)

        async def call(*args: object) -> object:
            return await self._turnstile.pass_by(lambda: method(*args))

        return call


class Scene:
    """
    Alice with two sessions, a visitor with a cart, and a service behind a turnstile.
    """

    def __init__(self, turnstile: Turnstile, kind: type[AsyncAuthService]) -> None:
        self.clock = ManualClock()
        self.sessions = MemorySessionStore()
        self.credentials = MemoryCredentialStore()
        self.credentials.add_user("alice", "alice", ReadableHasher().hash(OLD))
        self.policies = Policies(policy(session_limit=3, touch_interval=timedelta(seconds=5)))
        entropy = SeededEntropy(3)
        self.at_once = AuthService(
            sessions=self.sessions,
            policy=self.policies,
            credentials=self.credentials,
            passwords=ReadableHasher(),
            clock=self.clock,
            entropy=entropy,
        )
        self.mine = self.sign_in()
        self.other = self.sign_in()
        visit = self.at_once.start_anonymous()
        self.at_once.change_data(visit.session, {"cart": 1})
        self.visitor = visit.session_id
        self.attempt: Attempt = self.at_once.begin("alice")

        def through(target: object) -> Any:
            return ThroughTheTurnstile(target, turnstile)

        self.auth = kind(
            sessions=through(self.sessions),
            policy=self.policies,
            credentials=through(self.credentials),
            passwords=through(ReadableHasher()),
            throttle=through(InProcessLoginThrottle()),
            clock=self.clock,
            entropy=entropy,
        )

    def sign_in(self) -> SessionId:
        outcome = self.at_once.establish(self.at_once.begin("alice"), methods=("pwd",))
        assert isinstance(outcome, LoggedIn)
        return outcome.session_id

    def lives(self, session_id: SessionId) -> bool:
        now = self.clock.now()
        found = self.sessions.find(session_id.locator)
        judged = decide_authentication(found, session_id, self.policies, now, now)
        return isinstance(judged, Accept)

    @property
    def roster(self) -> int:
        return len(self.sessions.roster(ALICE).sessions)

    @property
    def password(self) -> str:
        passwords = (OLD, NEW, STOLEN)
        found = self.credentials.read_hash("alice")
        return next(each for each in passwords if ReadableHasher().hash(each) == found)


Act = Callable[[Scene], Coroutine[Any, Any, object]]
Finished = Callable[[Scene], bool]


async def log_in(scene: Scene) -> object:
    return await scene.auth.login("alice", OLD, cookie=scene.visitor.reveal(), keep=["cart"])


async def establish(scene: Scene) -> object:
    cookie = scene.visitor.reveal()
    return await scene.auth.establish(scene.attempt, methods=("hwk",), cookie=cookie, keep=["cart"])


def upgraded(scene: Scene) -> bool:
    """
    One session more, and the visitor's is gone with its data where it belongs.
    """
    carts = [
        scene.sessions.read_data(session.locator)
        for session in scene.sessions.roster(ALICE).sessions
    ]
    return scene.roster == 3 and not scene.lives(scene.visitor) and any(carts)


async def change_password(scene: Scene) -> object:
    return await scene.auth.change_password(scene.mine.reveal(), OLD, NEW)


def password_changed(scene: Scene) -> bool:
    alive = scene.lives(scene.mine) or scene.lives(scene.other)
    return scene.password == NEW and not alive and scene.roster == 1


async def keep_only_this(scene: Scene) -> object:
    return await scene.auth.logout_everywhere("alice", keep=scene.mine.reveal())


def only_one_is_left(scene: Scene) -> bool:
    return scene.roster == 1 and not scene.lives(scene.mine) and not scene.lives(scene.other)


async def log_out_everywhere(scene: Scene) -> object:
    return await scene.auth.logout_everywhere("alice")


def none_is_left(scene: Scene) -> bool:
    return scene.roster == 0


async def rotate(scene: Scene) -> object:
    return await scene.auth.rotate(scene.mine.reveal(), methods=("hwk",))


async def step_up(scene: Scene) -> object:
    return await scene.auth.reauthenticate(scene.mine.reveal(), OLD)


def rotated(scene: Scene) -> bool:
    return scene.roster == 2 and not scene.lives(scene.mine) and scene.lives(scene.other)


async def log_out(scene: Scene) -> object:
    return await scene.auth.logout(scene.mine.reveal())


async def revoke(scene: Scene) -> object:
    return await scene.auth.revoke("alice", scene.mine.locator.handle)


def this_one_ended(scene: Scene) -> bool:
    return scene.roster == 1 and scene.lives(scene.other)


async def until(condition: Callable[[], bool]) -> None:
    """
    Let the loop turn until *condition* holds; after so many turns it never will.
    """
    for _ in range(1_000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("what was waited for never happened")


async def turn_the_loop() -> None:
    """
    Let everything that can run come to where it cannot.
    """
    for _ in range(50):
        await asyncio.sleep(0)


async def cancelled_at(
    call: int, act: Act, kind: type[AsyncAuthService], *, after_the_call: bool = False
) -> Scene | None:
    """
    Cancel the caller of *act* when it waits at one port call.

    Returns:
        How things stand when nothing runs any more; ``None`` if *act* makes
        fewer calls.
    """
    turnstile = Turnstile(call, after_the_call)
    scene = Scene(turnstile, kind)
    caller = asyncio.get_running_loop().create_task(act(scene))
    stopped = asyncio.get_running_loop().create_task(turnstile.reached.wait())
    await asyncio.wait({caller, stopped}, return_when=asyncio.FIRST_COMPLETED)
    if not stopped.done():
        stopped.cancel()
        await caller
        return None
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    turnstile.opened.set()
    return scene


ACTS = [
    (log_in, upgraded, 8),
    (establish, upgraded, 6),
    (change_password, password_changed, 8),
    (keep_only_this, only_one_is_left, 2),
    (log_out_everywhere, none_is_left, 1),
    (rotate, rotated, 2),
    (step_up, rotated, 6),
    (log_out, this_one_ended, 2),
    (revoke, this_one_ended, 2),
]


@pytest.mark.parametrize(("act", "finished", "at_least"), ACTS)
def test_what_was_begun_is_finished_wherever_its_caller_is_cancelled(
    act: Act, finished: Finished, at_least: int
) -> None:
    async def play() -> int:
        for call in range(100):
            scene = await cancelled_at(call, act, AsyncAuthService)
            if scene is None:
                return call
            await until(lambda scene=scene: finished(scene))  # type: ignore[misc]
            await turn_the_loop()
            assert finished(scene), f"half done after a cancellation at call {call}"
        raise AssertionError("it never ends")

    with asyncio.Runner() as runner:
        calls = runner.run(asyncio.wait_for(play(), PATIENCE_SECONDS))
    print(f"{calls} calls")
    assert calls >= at_least


@pytest.mark.parametrize(
    ("act", "finished"), [(log_in, upgraded), (change_password, password_changed)]
)
def test_without_the_shield_something_is_left_half_done(act: Act, finished: Finished) -> None:
    def untouched(scene: Scene) -> bool:
        alive = scene.lives(scene.mine) and scene.lives(scene.other) and scene.lives(scene.visitor)
        return alive and scene.roster == 2 and scene.password == OLD

    async def play() -> list[int]:
        half_done: list[int] = []
        for call in range(100):
            scene = await cancelled_at(call, act, UnshieldedAuthService)
            if scene is None:
                return half_done
            await turn_the_loop()
            if not (finished(scene) or untouched(scene)):
                half_done.append(call)
        raise AssertionError("it never ends")

    with asyncio.Runner() as runner:
        assert runner.run(asyncio.wait_for(play(), PATIENCE_SECONDS))


@pytest.mark.parametrize("after_the_call", [False, True])
@pytest.mark.parametrize("due", ["nothing", "touch", "renewal"])
def test_a_cancelled_authentication_leaves_the_session_as_it_was_or_as_it_should_be(
    due: str, *, after_the_call: bool
) -> None:
    pauses = {"nothing": 0, "touch": 59, "renewal": 61}

    async def authenticate(scene: Scene) -> object:
        scene.clock.advance(timedelta(seconds=pauses[due]))
        return await scene.auth.authenticate(scene.mine.reveal())

    async def play() -> int:
        for call in range(100):
            scene = await cancelled_at(
                call, authenticate, AsyncAuthService, after_the_call=after_the_call
            )
            if scene is None:
                return call
            await turn_the_loop()
            assert scene.lives(scene.mine)
            assert scene.lives(scene.other)
            # The next request goes on from there, and so does the one after it.
            outcome = scene.at_once.authenticate(scene.mine.reveal())
            renewed = getattr(outcome, "renewed", None)
            assert (renewed is not None) is (due == "renewal")
            assert scene.lives(renewed or scene.mine)
        raise AssertionError("it never ends")

    with asyncio.Runner() as runner:
        calls = runner.run(asyncio.wait_for(play(), PATIENCE_SECONDS))
    assert calls == {"nothing": 1, "touch": 2, "renewal": 2}[due]


class CannotDelete(MemorySessionStore):
    def delete_user(self, subject: Subject, /) -> int:
        raise StoreUnavailable("planned")


def test_a_failure_after_the_cancellation_is_told_to_the_event_loop() -> None:
    complaints: list[type] = []

    async def play() -> None:
        asyncio.get_running_loop().set_exception_handler(
            lambda _, complaint: complaints.append(cast("object", complaint["exception"]).__class__)
        )
        turnstile = Turnstile(0)
        scene = Scene(turnstile, AsyncAuthService)
        sessions: Any = ThroughTheTurnstile(CannotDelete(), turnstile)
        auth = AsyncAuthService(sessions=sessions, policy=scene.policies)
        caller = asyncio.get_running_loop().create_task(auth.logout_everywhere("alice"))
        await turnstile.reached.wait()
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        turnstile.opened.set()
        await turn_the_loop()
        gc.collect()

    with asyncio.Runner() as runner:
        runner.run(asyncio.wait_for(play(), PATIENCE_SECONDS))
    # Nobody else would hear of it.
    assert complaints == [StoreUnavailable]
