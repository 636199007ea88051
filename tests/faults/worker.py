"""
One worker: does whatever the services offer, one thing after the other, at random.

It is one browser, one user, one administrator and one thief at once. It presents its
own and others' ids, mostly the latest, sometimes retired ones, so that renewal,
grace, reuse, expiry and eviction all happen; what it means by a call is its own
business, and checkers do not ask.

The same code drives both services: a use case of the service for threads is called
within a coroutine that never waits.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from datetime import timedelta
from time import monotonic
from typing import Any, Final, cast

from faults.config import DEFAULT, STRICT, USERS
from faults.history import NAME_LENGTH, named
from faults.promises.data import FULL_LOG
from faults.promises.outcomes import WRONG
from faults.record import Recorder
from faults.world import Life, World
from sessioncore.attempt import Attempt
from sessioncore.decisions import decide_expiry
from sessioncore.outcomes import (
    Active,
    Inactive,
    InactiveReason,
    LoggedIn,
    LoggedOut,
    LoggedOutEverywhere,
    PasswordChanged,
    Rotated,
    SessionGone,
)
from sessioncore.policy import Policies
from sessioncore.ports import Clock
from sessioncore.session import Device, Session, SessionId

OFTEN: Final[dict[str, float]] = {"authenticate": 40, "use_data": 16, "sessions_of": 5}
"""What workers do all the time, and how often each in relation to the others."""

SELDOM: Final[dict[str, float]] = {
    "login": 10,
    "establish": 4,
    "logout": 2,
    "logout_everywhere": 0.6,
    "change_password": 1,
    "rotate": 3,
    "reauthenticate": 3,
    "revoke": 1.2,
    "start_anonymous": 2,
    "upgrade": 2,
    "purge": 0.5,
    "guess": 0.3,
}
"""What they do now and then, or sessions would never live for long enough to expire."""

_BURST: Final = 0.3
"""How often one such act follows at once upon another."""

_LATEST: Final = 0.86
_ONE_BEFORE: Final = 0.11
_GUESSES_AT_ONCE: Final = 12


class Worker:
    """
    A worker of one client process.

    Args:
        service: For threads or for asyncio.

        recorder: Writes its history.

        fork: Makes recorders for what it does in parallel.

        world: What it knows of others.

        chance: What it draws from.

        policies: Those of the service.

        clock: That of the service.

        pace: How many seconds pass on average between two of the acts that end or
            begin sessions.

        cancels: Whether its calls can be cancelled half-way.
    """

    def __init__(
        self,
        service: Any,
        recorder: Recorder,
        fork: Callable[[str], Recorder],
        world: World,
        chance: random.Random,
        *,
        policies: Policies,
        clock: Clock,
        pace: float,
        cancels: bool,
    ) -> None:
        self._service = service
        self._recorder = recorder
        self._fork = fork
        self._world = world
        self._chance = chance
        self._policies = policies
        self._clock = clock
        self._cancels = cancels
        self._pace = pace
        self._seldom_at = 0.0

    async def act(self) -> None:
        """
        Do one thing.
        """
        self._world.catch_up()
        acts, now = OFTEN, monotonic()
        if now >= self._seldom_at:
            acts = SELDOM
            if self._chance.random() > _BURST:
                self._seldom_at = now + self._chance.uniform(0.0, 2 * self._pace)
        (act,) = self._chance.choices(list(acts), list(acts.values()))
        await getattr(self, f"_{act}")()

    async def sweep(self) -> None:
        """
        Look once at everything that was ever issued, the latest ids first.
        """
        self._world.catch_up()
        for user in USERS:
            await self._call("sessions_of", {"user": user}, user)
        for life in self._world.everything():
            for text in dict.fromkeys(reversed(life.ids)):
                given = {"id": _name(text), "passive": True}
                outcome = await self._call("authenticate", given, text, passive=True)
                if isinstance(outcome, Active):
                    await self._data("read_data", text, outcome.session)

    # -- Signing in ------------------------------------------------------------

    async def _login(self) -> None:
        user = self._user()
        name, password = self._password(user)
        held = self._world.pick(self._chance) if self._chance.random() < 0.2 else None
        await self._sign_in(user, name, password, held, ())

    async def _upgrade(self) -> None:
        held = self._world.pick(self._chance, anonymous=True)
        if held is not None:
            user = self._user()
            name, password = self._password(user)
            await self._sign_in(user, name, password, held, ("carried",))

    async def _sign_in(
        self, user: str, name: str, password: str, held: Life | None, keep: tuple[str, ...]
    ) -> None:
        policy = self._policy()
        given = {"user": user, "password": name, "policy": policy, "held": _held(held)}
        outcome = await self._call(
            "login",
            given,
            user,
            password,
            cookie=held.latest if held else None,
            policy=policy,
            device=Device(address="192.0.2.7", user_agent="campaign"),
            keep=keep,
        )
        if isinstance(outcome, LoggedIn):
            self._world.tell_id(outcome.session_id, user)
            if self._world.passwords[user][-1][0] != name:
                self._world.tell_password(user, name, password)

    async def _establish(self) -> None:
        known = self._world.attempts
        told: dict[str, Any] | None = self._chance.choice(known) if known else None
        if told is None or self._chance.random() < 0.6:
            user = self._user()
            attempt = secrets.token_hex(4)
            begun = await self._call("begin", {"user": user}, user, more={"attempt": attempt})
            if not isinstance(begun, Attempt):
                return
            told = {"name": attempt, "user": user, "attempt": begun.to_json()}
            self._world.tell_attempt(told)
            if self._chance.random() < 0.5:
                return  # somebody may establish it later
        policy = self._policy()
        given = {"user": told["user"], "attempt": told["name"], "policy": policy}
        outcome = await self._call(
            "establish",
            given,
            Attempt.from_json(told["attempt"]),
            methods=("hwk",),
            policy=policy,
        )
        if isinstance(outcome, LoggedIn):
            self._world.tell_id(outcome.session_id, told["user"])

    async def _start_anonymous(self) -> None:
        outcome = await self._call("start_anonymous", {})
        if isinstance(outcome, LoggedIn):
            self._world.tell_id(outcome.session_id, None)

    async def _guess(self) -> None:
        # Half of the time at one who seldom signs in: a success starts the count anew.
        user = self._user() if self._chance.random() < 0.5 else USERS[-1]
        forks = [self._fork(f"g{number}") for number in range(_GUESSES_AT_ONCE)]
        if self._cancels:
            await asyncio.gather(*(self._one_guess(fork, user) for fork in forks))
            return
        with ThreadPoolExecutor(len(forks)) as pool:
            for fork in forks:
                pool.submit(copy_context().run, asyncio.run, self._one_guess(fork, user))

    async def _one_guess(self, recorder: Recorder, user: str) -> None:
        password = self._wrong_password()

        async def call() -> object:
            return await self._answer(self._service.login(user, password))

        given = {"user": user, "password": WRONG, "policy": DEFAULT}
        await recorder.perform("login", given, call)

    # -- Recognising -----------------------------------------------------------

    async def _authenticate(self) -> None:
        await self._recognised()

    async def _recognised(self) -> tuple[str, Session] | None:
        life = self._world.pick(self._chance)
        if life is None:
            return None
        text = self._id(life)
        how: dict[str, Any] = {
            "passive": self._chance.random() < 0.2,
            "from_store": self._chance.random() < 0.1,
        }
        given = {"id": _name(text), **how}
        outcome = await self._call("authenticate", given, text, **how)
        self._learn(text, outcome)
        if not isinstance(outcome, Active):
            return None
        if outcome.renewed is not None:
            self._world.tell_id(outcome.renewed, outcome.session.user_id)
        self._service.is_fresh(outcome.session)
        return text, outcome.session

    async def _use_data(self) -> None:
        recognised = await self._recognised()
        if recognised is None:
            return
        for _ in range(self._chance.randint(1, 3)):
            use = self._chance.choice(
                ("read_data", "note", "slip", "take_data", "update_data", "increment")
            )
            await self._data(use, *recognised)

    async def _data(self, use: str, text: str, session: Session) -> None:
        value = secrets.token_hex(4)
        given: dict[str, Any] = {"id": _name(text)}

        def append(log: Any) -> Any:
            return [*log, value] if len(log) < FULL_LOG else [*log]

        match use:
            case "read_data":
                arguments: tuple[Any, ...] = ()
            case "note" | "slip":
                given |= {"key": use, "value": value}
                arguments = ({use: value},)
                use = "change_data"
            case "take_data":
                arguments = ("slip",)
            case "update_data":
                given |= {"value": value}
                arguments = ("log", append, [])
            case _:
                arguments = ("count",)
        await self._call(use, given, session, *arguments, more={"stale": session})

    # -- Changing privilege ----------------------------------------------------

    async def _rotate(self) -> None:
        life = self._world.pick(self._chance)
        if life is not None:
            text = self._id(life)
            methods = self._chance.choice([(), ("otp",)])
            given = {"id": _name(text), "methods": methods}
            await self._rotated(text, life, "rotate", given, text, methods=methods)

    async def _reauthenticate(self) -> None:
        life = self._world.pick(self._chance, anonymous=False)
        if life is not None and life.user is not None:
            text = self._id(life)
            name, password = self._password(life.user)
            given = {"id": _name(text), "user": life.user, "password": name}
            await self._rotated(text, life, "reauthenticate", given, text, password)

    async def _rotated(
        self, text: str, life: Life, use: str, given: dict[str, Any], *arguments: Any, **named_: Any
    ) -> None:
        outcome = await self._call(use, given, *arguments, **named_)
        self._learn(text, outcome)
        if isinstance(outcome, Rotated):
            self._world.tell_id(outcome.session_id, life.user)

    async def _change_password(self) -> None:
        life = self._world.pick(self._chance, anonymous=False)
        if life is None or life.user is None:
            return
        text = self._id(life)
        user = life.user
        name, password = self._password(user)
        new_name, new = f"{user}.{secrets.token_hex(3)}", f"pass of {user}: {secrets.token_hex(8)}"
        # Before the call: nobody could tell if this process were killed in it.
        self._world.tell_password(user, new_name, new)
        given = {"id": _name(text), "user": user, "password": name, "new": new_name}
        outcome = await self._call("change_password", given, text, password, new)
        self._learn(text, outcome)
        if not isinstance(outcome, PasswordChanged):
            self._world.tell_password(user, name, password)
        elif outcome.kept is not None:
            self._world.tell_id(outcome.kept.session_id, user)

    # -- Signing out -----------------------------------------------------------

    async def _logout(self) -> None:
        life = self._world.pick(self._chance)
        if life is not None:
            text = self._id(life)
            outcome = await self._call("logout", {"id": _name(text)}, text)
            if isinstance(outcome, LoggedOut):
                self._world.tell_over(text)

    async def _logout_everywhere(self) -> None:
        user = self._user()
        life = self._world.pick(self._chance, anonymous=False)
        keep = self._id(life) if life and life.user == user else None
        given = {"user": user, "id": _name(keep) if keep else None}
        outcome = await self._call("logout_everywhere", given, user, keep=keep)
        if isinstance(outcome, LoggedOutEverywhere) and outcome.kept is not None:
            self._world.tell_id(outcome.kept.session_id, user)

    async def _sessions_of(self) -> None:
        user = self._user()
        await self._call("sessions_of", {"user": user}, user)

    async def _revoke(self) -> None:
        user = self._user()
        listed = await self._call("sessions_of", {"user": user}, user)
        if isinstance(listed, tuple) and listed:
            sessions = cast("tuple[Session, ...]", listed)
            handle = self._chance.choice(sessions).handle
            given = {"user": user, "place": handle[:NAME_LENGTH]}
            await self._call("revoke", given, user, handle)

    async def _purge(self) -> None:
        await self._call("purge", {}, self._chance.choice((1, 10, 1000)))

    # -- What several acts share -----------------------------------------------

    async def _call(
        self,
        use: str,
        given: dict[str, Any],
        *arguments: Any,
        more: dict[str, Any] | None = None,
        **named_: Any,
    ) -> object:
        method = getattr(self._service, use)

        async def call() -> object:
            return await self._answer(method(*arguments, **named_))

        def noted(outcome: object) -> dict[str, Any]:
            noted = dict(more or {})
            session = noted.pop("stale", None)
            if isinstance(outcome, SessionGone):
                noted["stale"] = self._has_expired(session)
            return noted

        goes_away = self._cancels and self._chance.random() < 0.02
        return await self._recorder.perform(
            use,
            given,
            call,
            patience=self._chance.uniform(0.0, 0.02) if goes_away else None,
            more=noted,
        )

    @staticmethod
    async def _answer(answer: Awaitable[object] | object) -> object:
        if isinstance(answer, Awaitable):
            return await cast("Awaitable[object]", answer)
        return answer

    def _has_expired(self, session: Session) -> bool:
        policy = self._policies.get(session.policy)
        # Instants are cut to milliseconds, and the service asked the clock earlier.
        return (
            decide_expiry(session, policy, self._clock.now() + timedelta(milliseconds=2))
            is not None
        )

    def _learn(self, text: str, outcome: object) -> None:
        if isinstance(outcome, Inactive) and outcome.reason is not InactiveReason.SUPERSEDED:
            self._world.tell_over(text)

    def _user(self) -> str:
        # The last one signs in seldom enough never to reach a limit.
        return self._chance.choices(USERS, [5] * (len(USERS) - 1) + [1])[0]

    def _policy(self) -> str:
        return self._chance.choices((DEFAULT, STRICT), (3, 1))[0]

    def _password(self, user: str) -> tuple[str, str]:
        known = self._world.passwords[user]
        draw = self._chance.random()
        if draw < 0.03:
            return WRONG, self._wrong_password()
        return known[-1] if draw < 0.9 else self._chance.choice(known[-3:])

    def _wrong_password(self) -> str:
        text = f"wrong: {secrets.token_hex(8)}"
        self._world.tell_wrong(text)
        return text

    def _id(self, life: Life) -> str:
        draw = self._chance.random()
        if draw < _LATEST or len(life.ids) == 1:
            return life.latest
        if draw < _LATEST + _ONE_BEFORE:
            return life.ids[-2]
        return self._chance.choice(life.ids)


def _name(text: str) -> tuple[str, str, str]:
    session_id = SessionId.parse(text)
    assert session_id is not None
    return named(session_id)


def _held(life: Life | None) -> tuple[str, str, str] | None:
    return None if life is None else _name(life.latest)
