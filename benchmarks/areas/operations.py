"""
What happens less often: signing in and out, being seen, renewal, listing, data, purging.

Each is compared with an authenticated request that only reads, on the same store. Time
passes by a clock that is set, and what can be done only once is prepared beforehand.
Signing in is without the hashing of a password, which would hide the rest; that has a
figure of its own. Then the round trips of each, counted on the server; of SQLite,
which has none, the statements.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from itertools import count
from time import perf_counter
from typing import TYPE_CHECKING, Final, TypeVar

from benchmarks.measure import Figure, figure, in_turns
from benchmarks.sessions import POLICY, signed_in
from benchmarks.stores import ATOMIC_STEPS, ROUND_TRIPS, servers, spent
from sessioncore import Active, AuthService, Json, Locator, LoggedIn
from sessioncore.system import SystemEntropy
from sessioncore.testing import ManualClock
from sessioncore_argon2 import Argon2PasswordHasher
from sessioncore_memory import MemoryCredentialStore, MemorySessionStore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.measure import Plan
    from benchmarks.stores import Backend
    from sessioncore import AuthenticationOutcome
    from sessioncore.ports import SessionStore

T = TypeVar("T")

_EVERYWHERE: Final = "logout-everywhere-"
_LISTED: Final = (1, 10, 100)
_PASSWORD: Final = "correct horse battery staple"  # noqa: S105 - nobody's
_CART: Final[dict[str, Json]] = {
    "cart": [{"article": 4711, "quantity": 2}, {"article": 1234, "quantity": 1}]
}

_RENEWAL_INTERVAL: Final = timedelta(minutes=15)
_STILL: Final = replace(POLICY, renewal_interval=_RENEWAL_INTERVAL, session_limit=1_000)
# Touched and touched again, for years and never renewed.
_TOUCHED: Final = replace(_STILL, absolute_timeout=timedelta(days=3650), renewal_interval=None)
_FAR: Final = timedelta(days=1)

_any_number: Final = count()
_draw: Final = SystemEntropy().draw


class Batch:
    """
    Calls of a function that each need something of their own, which is prepared beforehand.

    Args:
        prepare: Makes that many of what is needed.

        call: Is timed on each of them.

        most: How many to prepare at most at a time.
    """

    def __init__(
        self, prepare: Callable[[int], Sequence[T]], call: Callable[[T], object], most: int = 10**9
    ) -> None:
        self._prepare = prepare
        self._call = call
        self._most = most
        self._at_once = 0

    def times(self, seconds: float) -> float:
        """
        See :meth:`benchmarks.measure.Case.times`.
        """
        if not self._at_once:
            self._at_once = max(1, min(self._most, int(seconds / self._timed(1))))
        return self._timed(self._at_once)

    def once(self) -> Callable[[], object]:
        """
        Prepare one call.
        """
        return partial(self._call, *self._prepare(1))

    def _timed(self, times: int) -> float:
        call, prepared = self._call, self._prepare(times)
        started = perf_counter()
        for each in prepared:
            call(each)
        return (perf_counter() - started) / times


def measure(plan: Plan) -> Iterator[Figure]:
    """
    Measure each kind of store, one after the other.
    """
    gc.freeze()
    for backend in servers():
        if backend.name == "redis-unix":
            continue
        with backend:
            with backend.store() as store:
                yield from _purging(plan, backend.name, store)
                yield from _timed(plan, backend.name, store)
            yield from _counted(plan, backend)
    yield from _purging(plan, "memory", MemorySessionStore())
    yield from _timed(plan, "memory", MemorySessionStore())
    yield from _with_passwords(plan)


def _timed(plan: Plan, name: str, store: SessionStore) -> Iterator[Figure]:
    cases = {f"operations/{name}/{what}": case for what, case in _operations(plan, store).items()}
    yield from in_turns(plan, cases, against=f"operations/{name}/authenticate")


def _counted(plan: Plan, backend: Backend) -> Iterator[Figure]:
    with backend.counted() as (store, counts):
        for what, batch in _operations(plan, store).items():
            # The first for what is sent only once, such as the text of a script.
            batch.once()()
            cost = spent(counts, batch.once())
            name = f"operations/{backend.name}/{what}"
            yield Figure(f"{name}/round-trips", cost[ROUND_TRIPS], "")
            if what.startswith(_EVERYWHERE):
                steps = sum(cost[step] for step in ATOMIC_STEPS)
                yield Figure(f"{name}/atomic-steps", steps, "")


def _operations(plan: Plan, store: SessionStore) -> dict[str, Batch]:
    # Each with a clock of its own, so that what is due here is not due there.
    still = AuthService(sessions=store, policy=_STILL, clock=ManualClock())
    touched_at, renewed_at = ManualClock(), ManualClock()
    touched = AuthService(sessions=store, policy=_TOUCHED, clock=touched_at)
    renewed = AuthService(sessions=store, policy=_STILL, clock=renewed_at)
    cookie, session = signed_in(still, _somebody())
    touched_cookie, _ = signed_in(touched, _somebody())

    def touch(cookie: str) -> object:
        touched_at.advance(_TOUCHED.touch_interval)
        return touched.authenticate(cookie)

    def due(times: int) -> list[str]:
        cookies = [signed_in(renewed, user_id)[0] for user_id in _somebodies(times)]
        renewed_at.advance(_RENEWAL_INTERVAL)
        return cookies

    def drawn(times: int) -> list[str]:
        return [_successor(renewed.authenticate(cookie)) for cookie in due(times)]

    def signed_in_now(times: int) -> list[str]:
        return [signed_in(still, user_id)[0] for user_id in _somebodies(times)]

    def crowds(of: int) -> Callable[[int], list[str]]:
        return lambda times: [_crowd(still, store, of) for _ in range(times)]

    seldom = plan.trials
    batches = {
        "authenticate": Batch(_always(cookie), still.authenticate),
        "touch": Batch(_always(touched_cookie), touch),
        "renewal-drawn": Batch(due, renewed.authenticate, seldom),
        "renewal-confirmed": Batch(drawn, renewed.authenticate, seldom),
        "login-without-hashing": Batch(_somebodies, partial(signed_in, still)),
        "logout": Batch(signed_in_now, still.logout, seldom),
        "read-data": Batch(_always(session), still.read_data),
        "change-data": Batch(_always(session), partial(still.change_data, put=_CART)),
    }
    for sessions in _LISTED:
        listed = _crowd(still, store, sessions)
        batches[f"sessions-of-{sessions}"] = Batch(_always(listed), still.sessions_of)
    for sessions in (1, 10, plan.sizes[0]):
        batches[f"{_EVERYWHERE}{sessions}"] = Batch(
            crowds(sessions), still.logout_everywhere, max(1, seldom // sessions)
        )
    return batches


def _always(this: T) -> Callable[[int], list[T]]:
    return lambda times: [this] * times


def _somebody() -> str:
    return f"user-{next(_any_number)}"


def _somebodies(times: int) -> list[str]:
    return [_somebody() for _ in range(times)]


def _successor(outcome: AuthenticationOutcome) -> str:
    assert isinstance(outcome, Active)  # noqa: S101 - else nothing is measured
    assert outcome.renewed is not None  # noqa: S101
    return outcome.renewed.reveal()


def _crowd(auth: AuthService, store: SessionStore, sessions: int) -> str:
    user_id = _somebody()
    _, first = signed_in(auth, user_id)
    for _ in range(sessions - 1):
        locator = Locator(first.locator.epoch, _draw(6))
        store.admit(replace(first, locator=locator, stamp=_draw(8)), (), None, first.created_at)
    return user_id


def _purging(plan: Plan, name: str, store: SessionStore) -> Iterator[Figure]:
    # One session for each user: with its epoch, that is the most work.
    clock, expired = ManualClock(), plan.sizes[0]
    auth = AuthService(sessions=store, policy=POLICY, clock=clock)

    def expire(_: int) -> list[int]:
        for user_id in _somebodies(expired):
            signed_in(auth, user_id)
        clock.advance(_FAR)
        return [expired]

    def purge(batch: int) -> None:
        while auth.purge(batch).more:
            pass

    purging = Batch(expire, purge, 1)
    purging.times(0)
    samples = [purging.times(0) * 1e3 * 1_000 / expired for _ in range(max(1, plan.rounds // 3))]
    yield figure(f"operations/{name}/purge-per-1000", samples, unit="ms")


def _with_passwords(plan: Plan) -> Iterator[Figure]:
    credentials, passwords = MemoryCredentialStore(), Argon2PasswordHasher()
    encoded = passwords.hash(_PASSWORD)
    assert isinstance(encoded, str)  # noqa: S101
    credentials.add_user("user", "user", encoded)
    auth = AuthService(
        sessions=MemorySessionStore(),
        policy=POLICY,
        credentials=credentials,
        passwords=passwords,
    )

    def login(password: str) -> None:
        assert isinstance(auth.login("user", password), LoggedIn)  # noqa: S101

    cases = {"operations/memory/login-argon2id": Batch(_always(_PASSWORD), login)}
    yield from in_turns(plan, cases, unit="ms")
