"""
What only the service for asyncio has: tasks that interleave, and callers who leave.

That it does the same as its twin is tested in :mod:`test_service`, which
runs every scenario in both shells.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar

import pytest
from fakes import (
    MINUTE,
    PASSWORD,
    POLICY,
    AsyncFakePasswordHasher,
    FakePasswordHasher,
    expect,
)

from sessioncore import (
    Active,
    AsyncAuthService,
    DataRead,
    DataTaken,
    LoggedIn,
    LoggedOut,
    NothingToTake,
    PasswordChanged,
    Refused,
    Rotated,
    Session,
    StoreUnavailable,
    Subject,
)
from sessioncore.aio import _under_way, shielded  # pyright: ignore[reportPrivateUsage]
from sessioncore.events import SessionRenewed
from sessioncore.ports import Admission, AsyncPasswordHasher, DataWrite
from sessioncore.session import DataChange, Datum, Epoch, Locator, Roster
from sessioncore.testing import ManualClock, RecordingEvents, SeededEntropy
from sessioncore_memory import AsyncMemoryCredentialStore, AsyncMemorySessionStore

T = TypeVar("T")

ALICE = Subject.user("id-of-alice")


class Turn:
    """
    Lets every other task of the loop run once.
    """

    def __await__(self) -> Generator[None, None, None]:
        yield


class Gate:
    """
    Holds whoever passes, once it is closed, and tells that somebody is there.
    """

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.opened = asyncio.Event()
        self.opened.set()

    def close(self) -> None:
        self.opened.clear()

    async def wait(self) -> None:
        self.reached.set()
        await self.opened.wait()


class InterleavingSessionStore(AsyncMemorySessionStore):
    """
    A store that lets other tasks run before and after every call, and has gates.
    """

    def __init__(self) -> None:
        super().__init__()
        self.gates: dict[str, Gate] = {}

    async def _in_turn(self, name: str, call: Callable[[], Awaitable[T]]) -> T:
        await Turn()
        if name in self.gates:
            await self.gates[name].wait()
        answer = await call()
        await Turn()
        return answer

    def gate(self, name: str) -> Gate:
        """
        Put a closed gate before every call of that name.
        """
        gate = self.gates[name] = Gate()
        gate.close()
        return gate

    async def open_epoch(self, subject: Subject, at: datetime, lives_for: timedelta, /) -> Epoch:
        return await self._in_turn(
            "open_epoch", partial(super().open_epoch, subject, at, lives_for)
        )

    async def find(self, locator: Locator, /) -> Session | None:
        return await self._in_turn("find", partial(super().find, locator))

    async def replace(self, old: Session, new: Session, /) -> bool:
        return await self._in_turn("replace", partial(super().replace, old, new))

    async def roster(self, subject: Subject, /) -> Roster:
        return await self._in_turn("roster", partial(super().roster, subject))

    async def admit(
        self,
        session: Session,
        evicted: tuple[Locator, ...],
        version: bytes | None,
        at: datetime,
        /,
    ) -> Admission:
        return await self._in_turn("admit", partial(super().admit, session, evicted, version, at))

    async def restart(self, old: Session, new: Session, /) -> Locator | None:
        return await self._in_turn("restart", partial(super().restart, old, new))

    async def delete(self, locator: Locator, expected: Session | None = None, /) -> bool:
        return await self._in_turn("delete", partial(super().delete, locator, expected))

    async def delete_user(self, subject: Subject, /) -> int:
        return await self._in_turn("delete_user", partial(super().delete_user, subject))

    async def read_data(self, locator: Locator, /) -> Mapping[str, Datum] | None:
        return await self._in_turn("read_data", partial(super().read_data, locator))

    async def write_data(self, locator: Locator, change: DataChange, /) -> DataWrite:
        return await self._in_turn("write_data", partial(super().write_data, locator, change))


class AsyncWorld:
    """
    One asynchronous service and what surrounds it. To be made within the loop.
    """

    def __init__(self, hasher: AsyncPasswordHasher, credentials: AsyncMemoryCredentialStore):
        self.clock = ManualClock()
        self.events = RecordingEvents()
        self.sessions = InterleavingSessionStore()
        self.auth = AsyncAuthService(
            sessions=self.sessions,
            policy=POLICY,
            credentials=credentials,
            passwords=hasher,
            events=self.events,
            clock=self.clock,
            entropy=SeededEntropy(),
        )

    async def login(self) -> LoggedIn:
        return expect(LoggedIn, await self.auth.login("alice", PASSWORD))

    async def stored(self) -> tuple[Session, ...]:
        return (await self.sessions.roster(ALICE)).sessions


def run(scenario: Callable[[AsyncWorld], Coroutine[Any, Any, None]]) -> None:
    """
    Run *scenario* in a loop and a world of its own, and leave no task behind.
    """

    async def main() -> None:
        hasher, credentials = FakePasswordHasher(), AsyncMemoryCredentialStore()
        await credentials.add_user("id-of-alice", "alice", expect(str, hasher.hash(PASSWORD)))
        await scenario(AsyncWorld(AsyncFakePasswordHasher(hasher), credentials))
        await asyncio.gather(*_under_way)

    asyncio.run(asyncio.wait_for(main(), timeout=30))
    assert _under_way == set()


async def leave(caller: Coroutine[Any, Any, object], gate: Gate) -> None:
    """
    Begin a call, and cancel its caller when it has come to the gate; then open that.
    """
    task = asyncio.ensure_future(caller)
    await gate.reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    gate.opened.set()


# -- Making a service ----------------------------------------------------------


def test_credentials_and_passwords_are_given_together() -> None:
    with pytest.raises(TypeError, match="together"):
        AsyncAuthService(
            sessions=AsyncMemorySessionStore(),
            policy=POLICY,
            credentials=AsyncMemoryCredentialStore(),
        )
    with pytest.raises(TypeError, match="together"):
        AsyncAuthService(
            sessions=AsyncMemorySessionStore(),
            policy=POLICY,
            passwords=AsyncFakePasswordHasher(FakePasswordHasher()),
        )


def test_without_a_throttle_and_surroundings_the_defaults_are_used() -> None:
    async def scenario() -> None:
        auth = AsyncAuthService(sessions=AsyncMemorySessionStore(), policy=POLICY)
        cookie = (await auth.start_anonymous()).session_id.reveal()
        assert isinstance(await auth.authenticate(cookie), Active)

    asyncio.run(scenario())


# -- Callers who leave ---------------------------------------------------------


def test_use_cases_of_several_writes_are_shielded_and_others_are_not() -> None:
    methods = {
        name: hasattr(method, "__wrapped__")
        for name, method in vars(AsyncAuthService).items()
        if inspect.iscoroutinefunction(method) and not name.startswith("_")
    }
    assert {name for name, is_shielded in methods.items() if is_shielded} == {
        "login",
        "establish",
        "start_anonymous",
        "rotate",
        "reauthenticate",
        "change_password",
        "logout",
        "logout_everywhere",
        "revoke",
    }


def test_a_shielded_use_case_keeps_its_name_and_its_docstring() -> None:
    assert AsyncAuthService.login.__name__ == "login"
    assert "Sign a user in" in (AsyncAuthService.login.__doc__ or "")
    assert shielded.__doc__


@pytest.mark.parametrize("name", ["open_epoch", "roster", "admit"])
def test_a_sign_in_whose_caller_leaves_runs_to_its_end(name: str) -> None:
    async def scenario(world: AsyncWorld) -> None:
        await leave(world.auth.login("alice", PASSWORD), world.sessions.gate(name))
        await asyncio.gather(*_under_way)
        assert len(await world.stored()) == 1

    run(scenario)


def test_a_password_change_whose_caller_leaves_ends_the_sessions_all_the_same() -> None:
    async def scenario(world: AsyncWorld) -> None:
        first, second = await world.login(), await world.login()
        cookie = first.session_id.reveal()
        await leave(
            world.auth.change_password(cookie, PASSWORD, "new"), world.sessions.gate("restart")
        )
        await asyncio.gather(*_under_way)
        (survivor,) = await world.stored()
        assert survivor.locator not in {first.session.locator, second.session.locator}
        assert await world.auth.login("alice", PASSWORD) == Refused()

    run(scenario)


def test_a_sign_in_over_another_session_whose_caller_leaves_ends_that() -> None:
    async def scenario(world: AsyncWorld) -> None:
        visitor = await world.auth.start_anonymous()
        await leave(
            world.auth.login("alice", PASSWORD, cookie=visitor.session_id.reveal()),
            world.sessions.gate("delete"),
        )
        await asyncio.gather(*_under_way)
        assert await world.sessions.find(visitor.session.locator) is None
        assert len(await world.stored()) == 1

    run(scenario)


@pytest.mark.parametrize("name", ["find", "delete"])
def test_a_logout_whose_caller_leaves_runs_to_its_end(name: str) -> None:
    async def scenario(world: AsyncWorld) -> None:
        outcome = await world.login()
        gate = world.sessions.gate(name)
        await leave(world.auth.logout(outcome.session_id.reveal()), gate)
        await asyncio.gather(*_under_way)
        assert await world.stored() == ()

    run(scenario)


def test_recognising_stops_when_its_caller_leaves() -> None:
    async def scenario(world: AsyncWorld) -> None:
        outcome = await world.login()
        gate = world.sessions.gate("find")
        await leave(world.auth.authenticate(outcome.session_id.reveal()), gate)
        assert _under_way == set()
        assert isinstance(await world.auth.authenticate(outcome.session_id.reveal()), Active)

    run(scenario)


def test_an_error_of_a_use_case_whose_caller_left_disturbs_nobody() -> None:
    class Unavailable(InterleavingSessionStore):
        async def delete_user(self, _subject: Subject, /) -> int:
            await self.gates["delete_user"].wait()
            raise StoreUnavailable("the store is away")

    async def scenario() -> None:
        complaints: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(
            lambda _loop, complaint: complaints.append(complaint)
        )
        sessions = Unavailable()
        gate = sessions.gate("delete_user")
        auth = AsyncAuthService(sessions=sessions, policy=POLICY)
        await leave(auth.logout_everywhere("id-of-alice"), gate)
        results = await asyncio.gather(*_under_way, return_exceptions=True)
        assert [type(result) for result in results] == [StoreUnavailable]
        assert complaints == []

    asyncio.run(scenario())


def test_an_error_of_a_shielded_use_case_reaches_its_caller() -> None:
    class Unavailable(AsyncMemorySessionStore):
        async def delete_user(self, _subject: Subject, /) -> int:
            raise StoreUnavailable("the store is away")

    async def scenario() -> None:
        auth = AsyncAuthService(sessions=Unavailable(), policy=POLICY)
        with pytest.raises(StoreUnavailable):
            await auth.logout_everywhere("id-of-alice")

    asyncio.run(scenario())


# -- Tasks that interleave -----------------------------------------------------


def test_parallel_sign_ins_never_exceed_the_limit() -> None:
    async def scenario(world: AsyncWorld) -> None:
        attempts = [await world.auth.begin("id-of-alice") for _ in range(8)]
        outcomes = await asyncio.gather(
            *(world.auth.establish(attempt, methods=("hwk",)) for attempt in attempts)
        )
        assert all(isinstance(outcome, LoggedIn) for outcome in outcomes)
        assert len(await world.stored()) == POLICY.session_limit

    run(scenario)


def test_parallel_requests_with_a_due_id_are_answered_one_successor() -> None:
    async def scenario(world: AsyncWorld) -> None:
        cookie = (await world.login()).session_id.reveal()
        world.clock.advance(15 * MINUTE)
        outcomes = await asyncio.gather(*(world.auth.authenticate(cookie) for _ in range(6)))
        successors = {expect(Active, outcome).renewed for outcome in outcomes}
        assert len(successors) == 1
        (successor,) = successors
        assert successor is not None
        confirming = (world.auth.authenticate(successor.reveal()) for _ in range(6))
        assert all(isinstance(outcome, Active) for outcome in await asyncio.gather(*confirming))
        renewals = [event for event in world.events.events if isinstance(event, SessionRenewed)]
        assert len(renewals) == 1

    run(scenario)


def test_no_parallel_increment_is_lost() -> None:
    async def scenario(world: AsyncWorld) -> None:
        session = (await world.login()).session
        await asyncio.gather(*(world.auth.increment(session, "count") for _ in range(12)))
        assert await world.auth.read_data(session) == DataRead({"count": 12})

    run(scenario)


def test_of_parallel_takers_exactly_one_gets_it() -> None:
    async def scenario(world: AsyncWorld) -> None:
        session = (await world.login()).session
        await world.auth.change_data(session, {"nonce": 1})
        outcomes = await asyncio.gather(*(world.auth.take_data(session, "nonce") for _ in range(6)))
        assert outcomes.count(DataTaken(1)) == 1
        assert outcomes.count(NothingToTake()) == 5

    run(scenario)


def test_of_parallel_password_changes_one_is_in_force_and_its_session_goes_on() -> None:
    async def scenario(world: AsyncWorld) -> None:
        cookies = [(await world.login()).session_id.reveal() for _ in range(3)]
        outcomes = await asyncio.gather(
            *(
                world.auth.change_password(cookie, PASSWORD, f"new {number}")
                for number, cookie in enumerate(cookies)
            )
        )
        (changed,) = (outcome for outcome in outcomes if isinstance(outcome, PasswordChanged))
        kept = expect(Rotated, changed.kept)
        assert await world.stored() == (kept.session,)
        assert isinstance(await world.auth.authenticate(kept.session_id.reveal()), Active)
        signed_in = [await world.auth.login("alice", f"new {number}") for number in range(3)]
        assert [type(outcome) for outcome in signed_in].count(LoggedIn) == 1

    run(scenario)


def test_a_logout_that_a_password_change_overtook_ends_the_session_that_went_on() -> None:
    async def scenario(world: AsyncWorld) -> None:
        cookie = (await world.login()).session_id.reveal()
        gate = world.sessions.gate("delete")
        logout = asyncio.ensure_future(world.auth.logout(cookie))
        await gate.reached.wait()
        changed = await world.auth.change_password(cookie, PASSWORD, "new")
        assert len(await world.stored()) == 1
        gate.opened.set()
        assert await logout == LoggedOut(ended=True)
        assert await world.stored() == ()
        kept = expect(Rotated, expect(PasswordChanged, changed).kept)
        assert not isinstance(await world.auth.authenticate(kept.session_id.reveal()), Active)

    run(scenario)
