"""
sessioncore on Redis, through :class:`~sessioncore.AuthService`.

The same requests as the other peers serve, without a web framework around them:
what a handler does with a request's cookie, and the cookie that it answers.
"""

from __future__ import annotations

import hashlib
import hmac
import itertools
import secrets
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Final

from benchmarks.races.gates import Gate, Where, arm, armed
from benchmarks.races.peer import ANOTHER_PASSWORD, PASSWORD, Answer
from sessioncore import (
    Active,
    AuthService,
    DataChanged,
    DataRead,
    LoggedIn,
    OnLimit,
    Policy,
    Rotated,
    SessionId,
)
from sessioncore.ports import PasswordCheck
from sessioncore.session import Epoch
from sessioncore_memory import MemoryCredentialStore
from sessioncore_redis import RedisSessionStore

if TYPE_CHECKING:
    from collections.abc import Generator

    from benchmarks.races.server import Server
    from sessioncore import Json, Session
    from sessioncore.ports import SessionStore

SESSION_LIMIT: Final = 3
_WRITES: Final = frozenset(
    {"replace", "admit", "restart", "delete", "delete_user", "write_data"},
)


class SteppingClock:
    """
    The time, which passes when a race says so.
    """

    def __init__(self) -> None:
        self._now = datetime(2030, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        """
        Return the present.
        """
        return self._now

    def advance(self, duration: timedelta) -> None:
        """
        Let *duration* pass.
        """
        self._now += duration


class HeldSessionStore:
    """
    A store that holds the request's armed gate before it is asked to write.
    """

    def __init__(self, store: SessionStore) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        if name in _WRITES and (gate := armed()) is not None:
            gate.hold()
        return getattr(self._store, name)


@dataclass
class _SignIn:
    """
    The sign-in that a thread has under way.
    """

    gate: Gate | None
    verifications: int = 0


_sign_in: ContextVar[_SignIn | None] = ContextVar("_sign_in", default=None)


class QuickHasher:
    """
    Hashes passwords as fast as it can: for races, which a slow hash does not change.
    """

    def verify(self, encoded: str | None, password: str, /) -> PasswordCheck:
        """
        See :meth:`sessioncore.ports.PasswordHasher.verify`. Holds the sign-in's gate.
        """
        matches = hmac.compare_digest(encoded or "", self.hash(password))
        if matches and (sign_in := _sign_in.get()) is not None:
            sign_in.verifications += 1
            _hold(sign_in.gate)
        return PasswordCheck.MATCH if matches else PasswordCheck.MISMATCH

    def hash(self, password: str, /) -> str:
        """
        See :meth:`sessioncore.ports.PasswordHasher.hash`.
        """
        return hashlib.sha256(password.encode()).hexdigest()


def _hold(gate: Gate | None) -> None:
    # A handler's code ends here, or goes on with what writes.
    if gate is not None and gate.where is Where.VIEW:
        gate.hold()
    else:
        arm(gate)


class SessioncorePeer:
    """
    An app's handlers on sessioncore.

    Args:
        store: Where sessions live.

        on_limit: What the policy does at its session limit.

        puts_back: Increment by reading a value and putting another, as one has
            to elsewhere, and not by ``update_data``.
    """

    _numbers: ClassVar = itertools.count(1)

    def __init__(
        self,
        store: SessionStore,
        *,
        on_limit: OnLimit = OnLimit.EVICT_LEAST_RECENTLY_SEEN,
        puts_back: bool = False,
    ) -> None:
        self._policy = Policy(
            idle_timeout=timedelta(minutes=30),
            absolute_timeout=timedelta(hours=12),
            session_limit=SESSION_LIMIT,
            on_limit=on_limit,
        )
        self._puts_back = puts_back
        self._clock = SteppingClock()
        self._credentials = MemoryCredentialStore()
        self._passwords = QuickHasher()
        held: Any = HeldSessionStore(store)
        self._auth = AuthService(
            sessions=held,
            policy=self._policy,
            credentials=self._credentials,
            passwords=self._passwords,
            clock=self._clock,
        )

    @property
    def session_limit(self) -> int:
        """
        See :attr:`Peer.session_limit`.
        """
        return SESSION_LIMIT

    def enrol(self) -> str:
        """
        See :meth:`Peer.enrol`.
        """
        user = f"user{next(self._numbers)}"
        self._credentials.add_user(user, user, self._passwords.hash(PASSWORD))
        return user

    def foreign_id(self) -> str:
        """
        See :meth:`Peer.foreign_id`.
        """
        draw = secrets.token_bytes
        return SessionId(Epoch(draw(16)), draw(6), draw(8), draw(24)).reveal()

    def login(
        self,
        user: str,
        cookie: str | None = None,
        *,
        fresh_id: bool = False,
        gate: Gate | None = None,
    ) -> Answer:
        """
        See :meth:`Peer.login`. The id is fresh in any case.
        """
        del fresh_id
        sign_in = _SignIn(gate)
        _sign_in.set(sign_in)
        outcome = self._auth.login(user, PASSWORD, cookie=cookie)
        if not isinstance(outcome, LoggedIn):
            return Answer(401)
        return Answer(
            200,
            user,
            cookie=outcome.session_id.reveal(),
            proven_again=sign_in.verifications > 1,
        )

    def logout(self, cookie: str) -> Answer:
        """
        See :meth:`Peer.logout`.
        """
        self._auth.logout(cookie)
        return Answer(200, cookie="")

    def whoami(self, cookie: str, gate: Gate | None = None) -> Answer:
        """
        See :meth:`Peer.whoami`.

        With a gate, it is time to record that the session was seen, and the gate
        stands before that: it is the one write of such a request.
        """
        if gate is not None:
            self._clock.advance(self._policy.touch_interval)
            arm(gate)
        return self._recognise(cookie)[1]

    def put(self, cookie: str | None, key: str, value: str, gate: Gate | None = None) -> Answer:
        """
        See :meth:`Peer.put`.
        """
        session, answer = self._recognise(cookie)
        if session is None:
            started = self._auth.start_anonymous()
            session, answer = started.session, Answer(200, cookie=started.session_id.reveal())
        self._auth.read_data(session)
        _hold(gate)
        changed = isinstance(self._auth.change_data(session, {key: value}), DataChanged)
        return answer if changed else Answer(409)

    def get(self, cookie: str, key: str) -> Answer:
        """
        See :meth:`Peer.get`.
        """
        session, answer = self._recognise(cookie)
        if session is None:
            return answer
        return Answer(200, answer.user, self._value(session, key), answer.cookie)

    def increment(self, cookie: str, key: str, gate: Gate | None = None) -> Answer:
        """
        See :meth:`Peer.increment`.
        """
        session, answer = self._recognise(cookie)
        if session is None:
            return answer

        def add_one(value: Json) -> Json:
            # Called with what was read: the gate stands between that and the write.
            _hold(gate)
            return int(str(value)) + 1

        if self._puts_back:
            number = add_one(self._value(session, key) or "0")
            self._auth.change_data(session, {key: number})
        else:
            self._auth.update_data(session, key, add_one, default=0)
        return answer

    def renew(self, cookie: str) -> Answer:
        """
        See :meth:`Peer.renew`. It does so by itself when its time has come.
        """
        self._clock.advance(self._policy.renewal_interval or timedelta())
        return self._recognise(cookie)[1]

    def rotate(self, cookie: str) -> Answer:
        """
        See :meth:`Peer.rotate`.
        """
        outcome = self._auth.rotate(cookie, methods=("otp",))
        if not isinstance(outcome, Rotated):
            return Answer(401)
        return Answer(200, outcome.session.user_id or "", cookie=outcome.session_id.reveal())

    def outlast_grace(self) -> None:
        """
        See :meth:`Peer.outlast_grace`.
        """
        self._clock.advance(self._policy.grace + timedelta(seconds=1))

    def change_password(self, user: str, /) -> None:
        """
        See :meth:`Peer.change_password`.
        """
        self._credentials.set_hash(user, self._passwords.hash(ANOTHER_PASSWORD))
        self._auth.logout_everywhere(user)

    def logout_everywhere(self, user: str, /) -> None:
        """
        See :meth:`Peer.logout_everywhere`.
        """
        self._auth.logout_everywhere(user)

    def _recognise(self, cookie: str | None) -> tuple[Session | None, Answer]:
        outcome = self._auth.authenticate(cookie)
        if not isinstance(outcome, Active):
            return None, Answer(401)
        renewed = outcome.renewed.reveal() if outcome.renewed else None
        return outcome.session, Answer(200, outcome.session.user_id or "", cookie=renewed)

    def _value(self, session: Session, key: str) -> str:
        match self._auth.read_data(session):
            case DataRead(values=values) if key in values:
                return str(values[key])
            case _:
                return ""


@contextmanager
def sessioncore(server: Server, /, **settings: Any) -> Generator[SessioncorePeer, None, None]:
    """
    Start the app. *settings* are of :class:`SessioncorePeer`.
    """
    with RedisSessionStore.connect(server.url) as store:
        yield SessioncorePeer(store, **settings)
