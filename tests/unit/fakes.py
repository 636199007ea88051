"""
Fakes that the tests of the domain share.

A :class:`World` is one service with everything around it. The stores in it are
the memory stores behind a :class:`Journal`, which writes every call down and can
be told to let one fail, lose its reply, or be overtaken by somebody else. Both
shells are reached through the same methods, so that one suite tests both.
"""

from __future__ import annotations

import asyncio
import hashlib
import inspect
from collections import defaultdict, deque
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, Final, Literal, NamedTuple, TypeVar, cast

from sessioncore import (
    Active,
    AsyncAuthService,
    AsyncInProcessLoginThrottle,
    AuthService,
    Busy,
    Device,
    Inactive,
    InactiveReason,
    InProcessLoginThrottle,
    Locator,
    LoggedIn,
    OutcomeUnknown,
    Policies,
    Policy,
    Purged,
    Session,
    Subject,
    Throttled,
    UnacceptablePassword,
)
from sessioncore.events import Event
from sessioncore.ports import (
    Account,
    Admission,
    DataWrite,
    EventSink,
    PasswordCheck,
    Reservation,
    ThrottleKey,
)
from sessioncore.session import DataChange, Datum, Epoch, Roster
from sessioncore.testing import ManualClock, RecordingEvents, SeededEntropy
from sessioncore_memory import (
    AsyncMemoryCredentialStore,
    AsyncMemorySessionStore,
    MemoryCredentialStore,
    MemorySessionStore,
)

T = TypeVar("T")
EventT = TypeVar("EventT", bound=Event)

MILLISECOND: Final = timedelta(milliseconds=1)
SECOND: Final = timedelta(seconds=1)
MINUTE: Final = timedelta(minutes=1)
HOUR: Final = timedelta(hours=1)
DAY: Final = timedelta(days=1)

PASSWORD: Final = "correct horse"
ADDRESS: Final = "192.0.2.7"

POLICY: Final = Policy(idle_timeout=30 * MINUTE, absolute_timeout=12 * HOUR, session_limit=3)
REMEMBERED: Final = Policy.remembered()


def expect(kind: type[T], outcome: object) -> T:
    """
    Return *outcome*, which must be a *kind*.
    """
    assert isinstance(outcome, kind), f"expected {kind.__name__}, got {outcome!r}"
    return outcome


# -- Interventions -------------------------------------------------------------

Intervention = Callable[[Callable[[], Any]], Any]
"""What happens in place of a call of a port; it gets the call."""


def fails(error: Exception) -> Intervention:
    """
    The call is not carried out and raises *error*.
    """

    def intervene(_call: Callable[[], Any]) -> Any:
        raise error

    return intervene


def loses_reply(call: Callable[[], Any]) -> Any:
    """
    The call is carried out, and its reply is lost.
    """
    call()
    raise OutcomeUnknown("the reply was lost")


def loses_request(_call: Callable[[], Any]) -> Any:
    """
    The call is not carried out, and nobody knows.
    """
    raise OutcomeUnknown("the request was lost")


def goes_through(call: Callable[[], Any]) -> Any:
    """
    The call is carried out as usual.
    """
    return call()


def answers(value: object) -> Intervention:
    """
    The call is not carried out and returns *value*.
    """
    return lambda _call: value


def overtaken_by(action: Callable[[], object]) -> Intervention:
    """
    Somebody else does something just before the call is carried out.
    """

    def intervene(call: Callable[[], Any]) -> Any:
        action()
        return call()

    return intervene


class Call(NamedTuple):
    """
    One call of a port.
    """

    name: str
    arguments: tuple[Any, ...]


class Journal:
    """
    Writes calls down, in order, and lets interventions happen to them.
    """

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self._once: defaultdict[str, deque[Intervention]] = defaultdict(deque)
        self._always: dict[str, Intervention] = {}

    def next(self, name: str, *interventions: Intervention) -> None:
        """
        Let these happen to the next calls of that name, one to each.
        """
        self._once[name].extend(interventions)

    def always(self, name: str, intervention: Intervention) -> None:
        """
        Let this happen to every call of that name from now on.
        """
        self._always[name] = intervention

    def step(self, name: str, arguments: tuple[Any, ...], call: Callable[[], T]) -> T:
        """
        Write the call down and carry it out, or what is to happen instead.
        """
        self.calls.append(Call(name, arguments))
        if self._once[name]:
            return cast("T", self._once[name].popleft()(call))
        if name in self._always:
            return cast("T", self._always[name](call))
        return call()

    def names(self) -> list[str]:
        """
        The names of the calls so far.
        """
        return [call.name for call in self.calls]

    def count(self, name: str) -> int:
        """
        How many calls of that name there were so far.
        """
        return self.names().count(name)

    def forget(self) -> None:
        """
        Begin a new page.
        """
        self.calls.clear()


# -- Ports behind the journal --------------------------------------------------


class JournalledSessionStore(MemorySessionStore):
    """
    The memory store, behind a journal.
    """

    def __init__(self, journal: Journal) -> None:
        super().__init__()
        self._journal = journal

    def open_epoch(self, subject: Subject, at: datetime, lives_for: timedelta, /) -> Epoch:
        call = super().open_epoch
        return self._journal.step(
            "open_epoch", (subject, at, lives_for), lambda: call(subject, at, lives_for)
        )

    def find(self, locator: Locator, /) -> Session | None:
        call = super().find
        return self._journal.step("find", (locator,), lambda: call(locator))

    def replace(self, old: Session, new: Session, /) -> bool:
        call = super().replace
        return self._journal.step("replace", (old, new), lambda: call(old, new))

    def roster(self, subject: Subject, /) -> Roster:
        call = super().roster
        return self._journal.step("roster", (subject,), lambda: call(subject))

    def admit(
        self,
        session: Session,
        evicted: tuple[Locator, ...],
        version: bytes | None,
        at: datetime,
        /,
    ) -> Admission:
        call = super().admit
        return self._journal.step(
            "admit",
            (session, evicted, version, at),
            lambda: call(session, evicted, version, at),
        )

    def restart(self, old: Session, new: Session, /) -> Locator | None:
        call = super().restart
        return self._journal.step("restart", (old, new), lambda: call(old, new))

    def delete(self, locator: Locator, expected: Session | None = None, /) -> bool:
        call = super().delete
        return self._journal.step("delete", (locator, expected), lambda: call(locator, expected))

    def delete_user(self, subject: Subject, /) -> int:
        call = super().delete_user
        return self._journal.step("delete_user", (subject,), lambda: call(subject))

    def read_data(self, locator: Locator, /) -> Mapping[str, Datum] | None:
        call = super().read_data
        return self._journal.step("read_data", (locator,), lambda: call(locator))

    def find_with_data(self, locator: Locator, /) -> tuple[Session, Mapping[str, Datum]] | None:
        call = super().find_with_data
        return self._journal.step("find_with_data", (locator,), lambda: call(locator))

    def write_data(self, locator: Locator, change: DataChange, /) -> DataWrite:
        call = super().write_data
        return self._journal.step("write_data", (locator, change), lambda: call(locator, change))

    def purge(self, before: datetime, limit: int, /) -> Purged:
        call = super().purge
        return self._journal.step("purge", (before, limit), lambda: call(before, limit))


class JournalledCredentialStore(MemoryCredentialStore):
    """
    The memory store of credentials, behind a journal.
    """

    def __init__(self, journal: Journal) -> None:
        super().__init__()
        self._journal = journal

    def find_user(self, username: str, /) -> Account | None:
        call = super().find_user
        return self._journal.step("find_user", (username,), lambda: call(username))

    def read_hash(self, user_id: str, /) -> str | None:
        call = super().read_hash
        return self._journal.step("read_hash", (user_id,), lambda: call(user_id))

    def replace_hash(self, user_id: str, verified: str, new: str, /) -> bool:
        call = super().replace_hash
        return self._journal.step(
            "replace_hash", (user_id, verified, new), lambda: call(user_id, verified, new)
        )


class JournalledThrottle(InProcessLoginThrottle):
    """
    The throttle of one process, behind a journal.
    """

    def __init__(self, journal: Journal) -> None:
        super().__init__()
        self._journal = journal

    def reserve(self, key: ThrottleKey, at: datetime, /) -> Reservation | Throttled:
        call = super().reserve
        return self._journal.step("reserve", (key, at), lambda: call(key, at))

    def give_back(self, reservation: Reservation, /) -> None:
        call = super().give_back
        self._journal.step("give_back", (reservation,), lambda: call(reservation))

    def reset(self, reservation: Reservation, /) -> None:
        call = super().reset
        self._journal.step("reset", (reservation,), lambda: call(reservation))


class FakePasswordHasher:
    """
    A hasher that costs nothing: the hash names its parameters and a digest.
    """

    def __init__(self, journal: Journal | None = None) -> None:
        self._journal = journal or Journal()
        self.parameters = 1
        """Hashes made with other parameters than these are outdated."""

    def verify(self, encoded: str | None, password: str, /) -> PasswordCheck:
        return self._journal.step(
            "verify", (encoded, password), lambda: self._verified(encoded, password)
        )

    def hash(self, password: str, /) -> str | Busy:
        return self._journal.step(
            "hash", (password,), lambda: self._encoded(self.parameters, password)
        )

    def _verified(self, encoded: str | None, password: str) -> PasswordCheck:
        parameters, _, digest = (encoded or "0$nobody").partition("$")
        if digest != _digest(password):
            return PasswordCheck.MISMATCH
        current = int(parameters) == self.parameters
        return PasswordCheck.MATCH if current else PasswordCheck.OUTDATED

    @staticmethod
    def _encoded(parameters: int, password: str) -> str:
        if not password.isprintable():
            raise UnacceptablePassword("this hasher takes only what can be printed")
        return f"{parameters}${_digest(password)}"


def _digest(password: str) -> str:
    return hashlib.sha256(password.encode(errors="surrogatepass")).hexdigest()


class AsyncFakePasswordHasher:
    """
    The same for asyncio.
    """

    def __init__(self, hasher: FakePasswordHasher) -> None:
        self._hasher = hasher

    async def verify(self, encoded: str | None, password: str, /) -> PasswordCheck:
        return self._hasher.verify(encoded, password)

    async def hash(self, password: str, /) -> str | Busy:
        return self._hasher.hash(password)


class FailingEvents:
    """
    A sink that takes nothing.
    """

    def emit(self, _event: Event, /) -> None:
        raise RuntimeError("the audit trail is full")


# -- Both shells as one --------------------------------------------------------


class Blocking:
    """
    The asynchronous service with methods that run to completion.
    """

    def __init__(self, service: AsyncAuthService, runner: asyncio.Runner) -> None:
        self._service = service
        self._runner = runner

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._service, name)
        if not callable(attribute):
            return attribute

        def call(*arguments: Any, **named: Any) -> Any:
            answer = attribute(*arguments, **named)
            return self._runner.run(answer) if inspect.iscoroutine(answer) else answer

        return call


Shell = Literal["threads", "asyncio"]


class World:
    """
    One service, everything around it, and the users alice and bob.
    """

    def __init__(self, shell: Shell, runner: asyncio.Runner) -> None:
        self._shell = shell
        self._runner = runner
        self.clock = ManualClock()
        self.entropy = SeededEntropy()
        self.events = RecordingEvents()
        self.journal = Journal()
        self.sessions = JournalledSessionStore(self.journal)
        self.credentials = JournalledCredentialStore(self.journal)
        self.throttle = JournalledThrottle(self.journal)
        self.passwords = FakePasswordHasher(self.journal)
        self.add_user("alice")
        self.add_user("bob")
        self.auth = self.service()
        self.journal.forget()

    def add_user(self, name: str, password: str = PASSWORD, role: str | None = None) -> None:
        """
        Add a user called *name*, whose id is ``id-of-`` and the name.
        """
        encoded = expect(str, self.passwords.hash(password))
        self.credentials.add_user(f"id-of-{name}", name, encoded, role)

    def service(
        self,
        policy: Policy | Policies | None = None,
        *,
        events: EventSink | None = None,
        credentials: bool = True,
        login_window: timedelta = 10 * MINUTE,
    ) -> AuthService:
        """
        Make one more service over the same stores, in the shell under test.
        """
        if self._shell == "threads":
            return self.elsewhere(
                policy, events=events, credentials=credentials, login_window=login_window
            )
        service = AsyncAuthService(
            sessions=AsyncMemorySessionStore(self.sessions),
            policy=policy or Policies(POLICY, REMEMBERED),
            credentials=AsyncMemoryCredentialStore(self.credentials) if credentials else None,
            passwords=AsyncFakePasswordHasher(self.passwords) if credentials else None,
            throttle=AsyncInProcessLoginThrottle(self.throttle),
            events=events or self.events,
            clock=self.clock,
            entropy=self.entropy,
            login_window=login_window,
        )
        return cast("AuthService", Blocking(service, self._runner))

    def elsewhere(
        self,
        policy: Policy | Policies | None = None,
        *,
        events: EventSink | None = None,
        credentials: bool = True,
        login_window: timedelta = 10 * MINUTE,
    ) -> AuthService:
        """
        Make a service over the same stores that can be called while another call is under way.
        """
        return AuthService(
            sessions=self.sessions,
            policy=policy or Policies(POLICY, REMEMBERED),
            credentials=self.credentials if credentials else None,
            passwords=self.passwords if credentials else None,
            throttle=self.throttle,
            events=events or self.events,
            clock=self.clock,
            entropy=self.entropy,
            login_window=login_window,
        )

    def login(self, name: str = "alice", **named: Any) -> LoggedIn:
        """
        Sign *name* in, which must succeed.
        """
        return expect(LoggedIn, self.auth.login(name, PASSWORD, **named))

    def cookie(self, name: str = "alice") -> str:
        """
        Sign *name* in and return the cookie.
        """
        return self.login(name).session_id.reveal()

    def active(self, cookie: str, **named: Any) -> Active:
        """
        Present *cookie*, which must be accepted.
        """
        return expect(Active, self.auth.authenticate(cookie, **named))

    def inactive(self, cookie: str | None, **named: Any) -> InactiveReason:
        """
        Present *cookie*, which must not be accepted, and return why.
        """
        return expect(Inactive, self.auth.authenticate(cookie, **named)).reason

    def is_live(self, cookie: str) -> bool:
        """
        Tell whether *cookie* is accepted, without leaving a trace in the journal or the events.
        """
        calls, events = len(self.journal.calls), len(self.events.events)
        outcome = self.auth.authenticate(cookie, passive=True)
        del self.journal.calls[calls:], self.events.events[events:]
        return isinstance(outcome, Active)

    def due(self, cookie: str) -> str:
        """
        Let the renewal of *cookie* fall due, draw its successor, and return that.
        """
        self.clock.advance(15 * MINUTE)
        renewed = self.active(cookie).renewed
        assert renewed is not None
        return renewed.reveal()

    def confirmed(self, cookie: str) -> str:
        """
        Renew *cookie*, present its successor, and return that. The first is in its grace.
        """
        successor = self.due(cookie)
        self.active(successor)
        return successor

    def told(self, kind: type[EventT]) -> list[EventT]:
        """
        The events of one kind so far; those of every kind, if that is ``Event``.
        """
        return [event for event in self.events.events if isinstance(event, kind)]

    def names_of_events(self) -> list[str]:
        """
        The kinds of the events so far.
        """
        return [type(event).__name__ for event in self.events.events]


@contextmanager
def world_of(shell: Shell) -> Generator[World]:
    """
    A world whose service has the given shell.
    """
    with asyncio.Runner() as runner:
        yield World(shell, runner)


def a_device(user_agent: str | None = None) -> Device:
    """
    A device at the usual address.
    """
    return Device(address=ADDRESS, user_agent=user_agent)
