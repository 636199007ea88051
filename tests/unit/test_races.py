"""
Races between use cases: every interleaving of their port calls, and planted bugs.

The cases of the design review that are played here, each by its own description:

-   a sign-in with the old password beside a password change: the epoch is opened
    first, the hash is committed, and a hash of unknown fate ends sessions all the same;
-   "everything but this session" in one step: a restart beside a sign-out everywhere,
    a logout of that very session, a touch, a renewal and another restart;
-   an attempt that begins before the proof is checked;
-   reuse that ends only the record it was judged on, also with a stale copy of it;
-   two password changes, where the one that verified the former hash loses;
-   an admission of unknown fate while the user revokes that device, increments that
    are neither lost nor counted twice, values that are taken once;
-   the limit under two policies in one roster, and with clocks that differ;
-   an answer that repeats ``Stale`` once, and failures that say truly what was written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any

import attrs
import pytest
from exploring import (
    ALICE,
    NEW,
    OLD,
    SOUND,
    STOLEN,
    UNKNOWN,
    Ending,
    Fate,
    Parts,
    Scene,
    Stage,
    UnshieldedAuthService,
    explore,
    policy,
    race,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from sessioncore import (
    Active,
    DataChanged,
    DataTaken,
    Inactive,
    InactiveReason,
    LimitReached,
    LoggedIn,
    LoggedOut,
    LoggedOutEverywhere,
    NothingToTake,
    OnLimit,
    PasswordChanged,
    Refused,
    Revoked,
    Rotated,
    SessionGone,
    SessionId,
)
from sessioncore.decisions import Accept, Standing, decide_expiry
from sessioncore.errors import (
    AttemptSpent,
    OutcomeUnknown,
    PasswordChangedButSessionsLive,
    StoreError,
    StoreUnavailable,
)
from sessioncore.events import (
    AllSessionsEnded,
    SessionEnded,
    SessionIdReused,
    SessionRenewed,
)
from sessioncore.ports import Admission
from sessioncore.session import DataChange, Epoch, Locator, Session, Subject
from sessioncore.testing import ManualClock
from sessioncore_memory import MemoryCredentialStore, MemorySessionStore

MANY = settings(max_examples=150, deadline=None, derandomize=True)


def finds_the_bug(scene: Scene, parts: Parts) -> None:
    """
    The same scene must fail if it is played with a planted bug.
    """
    with pytest.raises(AssertionError, match=r"in schedule \d+:"):
        explore(scene, parts, at_least=1)


def id_in(result: object) -> SessionId | None:
    """
    The session id that a use case answered, if it did.
    """
    match result:
        case LoggedIn(session_id=session_id) | Rotated(session_id=session_id):
            return session_id
        case PasswordChanged(kept=kept) | LoggedOutEverywhere(kept=kept):
            return kept.session_id if kept else None
        case _:
            return None


# -- Parts with planted bugs -------------------------------------------------------


class Through:
    """
    Passes every call on; subclasses spoil one.
    """

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class RestartInThreeSteps(Through):
    async def restart(self, old: Session, new: Session) -> Locator | None:
        if await self.inner.find(old.locator) != old:
            return None
        await self.inner.delete_user(old.subject)
        epoch = await self.inner.open_epoch(old.subject, old.last_seen_at, timedelta(minutes=10))
        moved = Locator(epoch, new.locator.slot)
        await self.inner.admit(new.moved_to(moved), (), None, old.last_seen_at)
        return moved


class RestartsOnlyOnce(Through):
    async def restart(self, old: Session, new: Session) -> Any:
        moved = await self.inner.restart(old, new)
        if moved is None:
            await self.inner.delete_user(old.subject)
        return moved


class AdmitsAnyVersion(Through):
    async def admit(
        self, session: Session, evicted: tuple[Locator, ...], version: object, at: object
    ) -> Any:
        return await self.inner.admit(session, evicted, None, at)


class RepeatsAdmissions(Through):
    async def admit(
        self, session: Session, evicted: tuple[Locator, ...], version: object, at: object
    ) -> Any:
        try:
            return await self.inner.admit(session, evicted, None, at)
        except OutcomeUnknown:
            again = await self.inner.admit(session, evicted, None, at)
            # The slot is taken: by itself, it thinks.
            return Admission.ADMITTED if again is Admission.CONFLICT else again


class DeletesUnconditionally(Through):
    async def delete(self, locator: Locator, expected: object = None) -> Any:
        return await self.inner.delete(locator)


class TakesUnknownForDone(Through):
    async def replace(self, old: Session, new: Session) -> Any:
        try:
            return await self.inner.replace(old, new)
        except OutcomeUnknown:
            return True


class RepeatsDataWrites(Through):
    async def write_data(self, locator: Locator, change: DataChange) -> Any:
        try:
            return await self.inner.write_data(locator, change)
        except OutcomeUnknown:
            data = await self.inner.read_data(locator)
            expect = {key: data[key].stamp if key in data else None for key in change.expect}
            again = DataChange(
                put=change.put,
                remove=change.remove,
                expect=expect,
                stamp=change.stamp[::-1],
                capacity=change.capacity,
            )
            return await self.inner.write_data(locator, again)


class ReplacesUnconditionally(MemorySessionStore):
    def replace(self, old: Session, new: Session, /) -> bool:
        stored = self.find(old.locator)
        return stored is not None and super().replace(stored, new)


class ReplaceRevives(MemorySessionStore):
    def replace(self, old: Session, new: Session, /) -> bool:
        if self.find(old.locator) is None:
            return self.admit(new, (), None, new.last_seen_at) is Admission.ADMITTED
        return super().replace(old, new)


class MovesWithinTheEpoch(ReplaceRevives):
    """
    Ends the sessions one by one, and not the epoch that lets others come back.
    """

    def restart(self, old: Session, new: Session, /) -> Locator | None:
        if self.find(old.locator) != old:
            return None
        for session in self.roster(old.subject).sessions:
            self.delete(session.locator)
        self.admit(new, (), None, new.last_seen_at)
        return new.locator


class KeepsTheEpoch(MemorySessionStore):
    def delete_user(self, subject: Subject, /) -> int:
        sessions = self.roster(subject).sessions
        return sum(self.delete(session.locator) for session in sessions)


class IgnoresGuards(MemorySessionStore):
    def write_data(self, locator: Locator, change: DataChange, /) -> Any:
        unguarded = DataChange(
            put=change.put, remove=change.remove, stamp=change.stamp, capacity=change.capacity
        )
        return super().write_data(locator, unguarded)


@attrs.define(eq=False)
class CommitsLater(MemoryCredentialStore):
    """
    Writes in a transaction of the caller, as an ORM session per request does.
    """

    uncommitted: dict[str, str] = attrs.field(factory=dict[str, str], init=False)

    def replace_hash(self, user_id: str, verified: str, new: str, /) -> bool:
        if self.read_hash(user_id) != verified:
            return False
        self.uncommitted[user_id] = new
        return True

    def commit(self) -> None:
        for user_id, new in self.uncommitted.items():
            self.set_hash(user_id, new)


class OverwritesHashes(MemoryCredentialStore):
    def replace_hash(self, user_id: str, verified: str, new: str, /) -> bool:
        self.set_hash(user_id, new)
        return True


class OpensTheEpochLate(UnshieldedAuthService):
    """
    Opens the epoch when the hash has been read and verified.
    """

    async def _admit(self, epoch: Epoch, subject: Subject, *args: Any, **named: Any) -> Any:
        return await super()._admit(await self._open_epoch(subject), subject, *args, **named)


class ReplacesTheHashLast(UnshieldedAuthService):
    """
    Ends the sessions before the new hash is written.
    """

    async def change_password(
        self, cookie: str | None, password: str, new_password: str, **_: Any
    ) -> Any:
        credentials, passwords = self._password_ports()
        proven = await self._prove(cookie, password, None)
        if not isinstance(proven, tuple):
            return proven
        presented, user_id, verified = proven
        kept = await self._restart(presented, Subject.user(user_id), ("pwd",), None)
        encoded = await passwords.hash(new_password)
        assert isinstance(encoded, str)
        await credentials.replace_hash(user_id, verified, encoded)
        return PasswordChanged(kept)


class ForgetsTheVisitor(UnshieldedAuthService):
    """
    Forgets to delete the anonymous session that a sign-in replaces.
    """

    async def _carry_over(self, session: Session, carried: Any, held: Session | None) -> None:
        await super()._carry_over(session, carried, None)


# -- The driver itself -------------------------------------------------------------


def test_leaving_out_schedules_that_differ_in_nothing_misses_no_outcome() -> None:
    def outcomes(scene: Scene, *, everything: bool) -> tuple[set[tuple[str, ...]], int]:
        seen: set[tuple[str, ...]] = set()

        def watched(stage: Stage) -> Ending:
            ending = scene(stage)

            def note() -> None:
                ending()
                names = [line for line in stage.trace if "is answered" in line]
                states = [str(len(stage.roster())), str(stage.credentials.read_hash("alice"))]
                seen.add((*sorted(names), *states))

            return note

        count = explore(
            watched, Parts(fates={"restart": UNKNOWN}), at_least=2, everything=everything
        )
        return seen, count

    for scene in (
        old_sign_ins_beside_a_password_change(1),
        restart_beside_a_logout(by_password=True),
        restart_beside_requests(renewal_due=True, by_password=False),
    ):
        reduced, few = outcomes(scene, everything=False)
        full, many = outcomes(scene, everything=True)
        assert reduced == full
        assert few < many


# -- Sign-in against password change and sign-out everywhere -----------------------


def old_sign_ins_beside_a_password_change(sign_ins: int) -> Scene:
    def scene(stage: Stage) -> Ending:
        stage.has_alice()
        mine = stage.signed_in()
        auth = stage.service()

        async def user() -> object:
            outcome = await auth.change_password(mine.reveal(), OLD, NEW)
            if isinstance(stage.credentials, CommitsLater):
                await stage.step("commit", stage.credentials.commit)
            return outcome

        stage.actor("user", user())
        for number in range(sign_ins):
            stage.actor(f"thief {number}", auth.login("alice", OLD))

        def ending() -> None:
            changed = stage.result("user")
            assert isinstance(changed, PasswordChanged)
            assert stage.lives(id_in(changed))
            assert not stage.lives(mine)
            assert len(stage.roster()) == 1, "a sign-in with the old password survived"
            for number in range(sign_ins):
                assert not stage.lives(id_in(stage.result(f"thief {number}")))

        return ending

    return scene


def test_no_sign_in_with_the_old_password_survives_its_change() -> None:
    explore(old_sign_ins_beside_a_password_change(1), at_least=10)


def test_no_two_sign_ins_with_the_old_password_survive_its_change() -> None:
    explore(old_sign_ins_beside_a_password_change(2), at_least=100)


@pytest.mark.parametrize(
    "parts",
    [
        Parts(service=OpensTheEpochLate),
        Parts(credentials=CommitsLater),
        Parts(service=ReplacesTheHashLast),
        Parts(sessions=KeepsTheEpoch, sessions_through=RestartInThreeSteps),
    ],
    ids=["epoch opened late", "hash not committed", "hash written last", "epoch kept"],
)
def test_an_old_password_that_survives_is_found(parts: Parts) -> None:
    finds_the_bug(old_sign_ins_beside_a_password_change(1), parts)


def test_a_sign_in_with_the_new_password_is_not_refused_during_the_change() -> None:
    def scene(stage: Stage) -> Ending:
        stage.has_alice()
        mine = stage.signed_in()
        auth = stage.service()
        stage.actor("user", auth.change_password(mine.reveal(), OLD, NEW))

        async def phone() -> object:
            # The user types it there once the application says that it holds.
            def in_force() -> bool:
                return stage.credentials.read_hash("alice") == f"hash of {NEW}"

            return await auth.login("alice", NEW) if await stage.step("look", in_force) else None

        stage.actor("phone", phone())

        def ending() -> None:
            assert isinstance(stage.result("user"), PasswordChanged)
            # Its epoch may have ended under it: then it was repeated in the next one.
            assert isinstance(stage.result("phone"), LoggedIn | None)

        return ending

    explore(scene, at_least=5)


def test_a_rehash_at_sign_in_never_undoes_a_password_change() -> None:
    def scene(stage: Stage) -> Ending:
        stage.has_alice(f"weak hash of {OLD}")
        mine = stage.signed_in()
        auth = stage.service()
        stage.actor("user", auth.change_password(mine.reveal(), OLD, NEW))
        stage.actor("thief", auth.login("alice", OLD))

        def ending() -> None:
            thief = id_in(stage.result("thief"))
            # If the sign-in rewrote the hash first, the change is tried again.
            assert isinstance(stage.result("user"), PasswordChanged)
            assert stage.credentials.read_hash("alice") == f"hash of {NEW}"
            assert not stage.lives(thief)
            assert len(stage.roster()) == 1

        return ending

    explore(scene, at_least=20)
    finds_the_bug(scene, Parts(credentials=OverwritesHashes))


def test_a_password_change_of_unknown_fate_ends_the_sessions_all_the_same() -> None:
    def scene(stage: Stage) -> Ending:
        stage.has_alice()
        mine = stage.signed_in()
        other = stage.signed_in()
        auth = stage.service()
        stage.actor("user", auth.change_password(mine.reveal(), OLD, NEW))
        stage.actor("thief", auth.login("alice", OLD))

        def ending() -> None:
            outcome = stage.result("user")
            in_force = stage.credentials.read_hash("alice")
            thief = stage.lives(id_in(stage.result("thief")))
            if isinstance(outcome, PasswordChanged):
                assert in_force == f"hash of {NEW}"
                assert not thief
            else:
                # Success was not reported. A sign-in with the password that was in
                # force afterwards is right; a session from before is not.
                assert isinstance(outcome, OutcomeUnknown)
            assert not stage.lives(mine)
            assert not stage.lives(other)

        return ending

    for faults, at_least in ((1, 50), (2, 200)):
        explore(scene, Parts(fates={"replace_hash": UNKNOWN}, faults=faults), at_least=at_least)


def test_a_password_change_that_reports_sessions_alive_is_repaired_by_signing_out() -> None:
    def scene(stage: Stage) -> Ending:
        stage.has_alice()
        mine = stage.signed_in()
        auth = stage.service()

        async def user() -> object:
            try:
                return await auth.change_password(mine.reveal(), OLD, NEW)
            except PasswordChangedButSessionsLive:
                return await auth.logout_everywhere("alice")

        stage.actor("user", user())
        stage.actor("thief", auth.login("alice", OLD))

        def ending() -> None:
            assert stage.credentials.read_hash("alice") == f"hash of {NEW}"
            assert not stage.lives(id_in(stage.result("thief")))
            assert not stage.lives(mine)
            kept = id_in(stage.result("user"))
            assert [kept.locator] if kept else [each.locator for each in stage.roster()] == []

        return ending

    fates = (Fate.NOT_SENT, *UNKNOWN)
    explore(scene, Parts(fates={"restart": fates}, faults=2), at_least=50)


def sign_ins_while_the_user_is_disabled(sign_ins: int) -> Scene:
    def scene(stage: Stage) -> Ending:
        stage.has_alice()
        stage.signed_in()
        auth = stage.service()

        async def admin() -> None:
            await stage.step("disable", lambda: stage.credentials.set_hash("alice", None))
            await auth.logout_everywhere("alice")

        stage.actor("admin", admin())
        for number in range(sign_ins):
            stage.actor(f"sign-in {number}", auth.login("alice", OLD))

        def ending() -> None:
            if not isinstance(stage.result("admin"), StoreError):
                assert not stage.roster(), "a session outlives its user"

        return ending

    return scene


def test_no_sign_in_survives_a_sign_out_everywhere_after_the_user_was_disabled() -> None:
    explore(sign_ins_while_the_user_is_disabled(2), at_least=100)


def test_nor_does_one_if_the_sign_out_has_to_be_repeated() -> None:
    parts = Parts(fates={"delete_user": UNKNOWN})
    explore(sign_ins_while_the_user_is_disabled(1), parts, at_least=50)


@pytest.mark.parametrize(
    "parts",
    [Parts(service=OpensTheEpochLate), Parts(sessions=KeepsTheEpoch)],
    ids=["epoch opened late", "epoch kept"],
)
def test_a_sign_in_that_survives_a_sign_out_everywhere_is_found(parts: Parts) -> None:
    finds_the_bug(sign_ins_while_the_user_is_disabled(1), parts)


# -- Sign-in by other proofs -------------------------------------------------------


def passkey_removed_during_sign_in(*, begin_first: bool) -> Scene:
    def scene(stage: Stage) -> Ending:
        stage.has_alice()
        mine = stage.signed_in()
        auth = stage.service()
        passkeys = {"the thief's"}

        async def thief() -> object:
            def verify() -> bool:
                return "the thief's" in passkeys

            if begin_first:
                attempt = await auth.begin("alice")
                proven = await stage.step("verify the passkey", verify)
            else:
                proven = await stage.step("verify the passkey", verify)
                attempt = await auth.begin("alice")
            return await auth.establish(attempt, methods=("hwk",)) if proven else None

        async def user() -> object:
            await stage.step("remove the passkey", passkeys.clear)
            return await auth.logout_everywhere("alice", keep=mine.reveal())

        stage.actor("thief", thief())
        stage.actor("user", user())

        def ending() -> None:
            assert not stage.lives(id_in(stage.result("thief"))), "the thief is still in"
            assert stage.lives(id_in(stage.result("user")))

        return ending

    return scene


def test_no_sign_in_with_a_proof_that_was_withdrawn_survives() -> None:
    explore(passkey_removed_during_sign_in(begin_first=True), at_least=10)


def test_an_attempt_begun_after_its_proof_is_found() -> None:
    finds_the_bug(passkey_removed_during_sign_in(begin_first=False), SOUND)


def established_beside_a_password_change(stage: Stage) -> Ending:
    stage.has_alice()
    mine = stage.signed_in()
    auth = stage.service()

    async def thief() -> object:
        attempt = await auth.begin("alice")
        proof = await stage.step("look", lambda: stage.credentials.read_hash("alice"))
        if proof != f"hash of {OLD}":
            return None
        return await auth.establish(attempt, methods=("otp",))

    stage.actor("thief", thief())
    stage.actor("user", auth.change_password(mine.reveal(), OLD, NEW))

    def ending() -> None:
        assert not stage.lives(id_in(stage.result("thief")))
        assert len(stage.roster()) == 1

    return ending


def test_an_attempt_from_before_a_password_change_comes_to_nothing() -> None:
    explore(established_beside_a_password_change, at_least=10)
    finds_the_bug(established_beside_a_password_change, Parts(service=OpensTheEpochLate))


def test_an_attempt_is_good_once() -> None:
    def scene(stage: Stage) -> Ending:
        attempt = stage.at_once.begin("alice")
        auth = stage.service()
        for name in ("one", "other", "third"):
            stage.actor(name, auth.establish(attempt, methods=("hwk",)))

        def ending() -> None:
            results = [type(stage.result(name)) for name in ("one", "other", "third")]
            assert Counter(results) == {LoggedIn: 1, AttemptSpent: 2}
            assert len(stage.roster()) == 1

        return ending

    explore(scene, at_least=1)


# -- The limit ---------------------------------------------------------------------


def parallel_sign_ins(limit: int, on_limit: OnLimit, sign_ins: int = 3) -> Scene:
    def scene(stage: Stage) -> Ending:
        stage.governed_by(policy(session_limit=limit, on_limit=on_limit))
        auth = stage.service()
        names = [f"sign-in {number}" for number in range(sign_ins)]
        for name in names:
            attempt = stage.at_once.begin("alice")
            stage.actor(name, auth.establish(attempt, methods=("hwk",)))

        def within_the_limit() -> None:
            assert len(stage.roster()) <= limit, "more sessions than the limit"

        stage.always(within_the_limit)

        def ending() -> None:
            results = [stage.result(name) for name in names]
            assert len(stage.roster()) == limit
            got_in = [result for result in results if isinstance(result, LoggedIn)]
            if on_limit is OnLimit.REJECT:
                assert len(got_in) == limit
                assert all(isinstance(each, LoggedIn | LimitReached) for each in results)
            else:
                assert len(got_in) == sign_ins
                assert stage.told(SessionEnded) == sign_ins - limit
            assert sum(stage.lives(each.session_id) for each in got_in) == limit

        return ending

    return scene


@pytest.mark.parametrize("on_limit", list(OnLimit))
@pytest.mark.parametrize("limit", [1, 2])
def test_parallel_sign_ins_never_exceed_the_limit(limit: int, on_limit: OnLimit) -> None:
    explore(parallel_sign_ins(limit, on_limit), at_least=20)


@pytest.mark.parametrize("limit", [1, 2])
def test_a_limit_that_is_exceeded_is_found(limit: int) -> None:
    planted = Parts(sessions_through=AdmitsAnyVersion)
    finds_the_bug(parallel_sign_ins(limit, OnLimit.REJECT), planted)
    finds_the_bug(parallel_sign_ins(limit, OnLimit.EVICT_OLDEST), planted)


def sign_ins_under_two_policies(stage: Stage) -> Ending:
    limits = {"default": 1, "remembered": 2}
    stage.governed_by(*(policy(name, session_limit=limit) for name, limit in limits.items()))
    stage.signed_in()
    stage.signed_in(policy="remembered")
    auth = stage.service()
    for number, name in enumerate(["default", "remembered", "remembered"]):
        attempt = stage.at_once.begin("alice")
        establishing = auth.establish(attempt, methods=("hwk",), policy=name)
        stage.actor(f"sign-in {number}", establishing)

    def within_the_limits() -> None:
        held = Counter(session.policy for session in stage.roster())
        assert all(held[name] <= limit for name, limit in limits.items()), "too many"

    stage.always(within_the_limits)

    def ending() -> None:
        assert len(stage.roster()) == 3
        assert all(isinstance(stage.result(f"sign-in {number}"), LoggedIn) for number in range(3))

    return ending


def test_two_policies_in_one_roster_keep_their_own_limits() -> None:
    explore(sign_ins_under_two_policies, at_least=20)
    finds_the_bug(sign_ins_under_two_policies, Parts(sessions_through=AdmitsAnyVersion))


def test_clocks_that_differ_do_not_add_up_to_more_than_the_limit() -> None:
    def scene(stage: Stage) -> Ending:
        stage.governed_by(policy(session_limit=2))
        seen = [stage.signed_in() for _ in range(2)]
        stage.clock.advance(timedelta(minutes=30, seconds=-1))
        ahead = ManualClock(stage.clock.now() + timedelta(seconds=2))
        slow, fast = stage.service(), stage.service(ahead)
        for name, auth in (("slow", slow), ("fast", fast), ("fast too", fast)):
            stage.actor(name, auth.establish(stage.at_once.begin("alice"), methods=("hwk",)))
        stage.actor("touch", slow.authenticate(seen[0].reveal()))

        def within_the_limit() -> None:
            default = stage.policies.default
            live = [
                session
                for session in stage.roster()
                if decide_expiry(session, default, stage.clock.now()) is None
            ]
            assert len(live) <= 2

        stage.always(within_the_limit)
        return within_the_limit

    explore(scene, at_least=50)


def sign_in_of_unknown_fate_beside_revocation(stage: Stage) -> Ending:
    stage.governed_by(policy(session_limit=2))
    mine = stage.signed_in()
    auth = stage.service()
    stage.actor("phone", auth.establish(stage.at_once.begin("alice"), methods=("hwk",)))
    revoked: list[Locator] = []

    async def user() -> None:
        for session in await auth.sessions_of("alice"):
            if session.locator == mine.locator:
                continue
            answer = await auth.revoke("alice", session.handle)
            assert isinstance(answer, Revoked)
            revoked.append(session.locator)

    stage.actor("user", user())

    def no_more_than_the_limit() -> None:
        assert len(stage.roster()) <= 2, "more sessions than the limit"

    def the_revoked_stay_dead() -> None:
        assert not any(stage.sessions.find(locator) for locator in revoked), "revoked, and alive"

    stage.always(no_more_than_the_limit)
    stage.always(the_revoked_stay_dead)

    def ending() -> None:
        phone = stage.result("phone")
        assert isinstance(phone, LoggedIn)
        known = {mine.locator, phone.session_id.locator}
        assert {session.locator for session in stage.roster()} <= known, "nobody holds its id"
        assert stage.lives(phone.session_id) or phone.session.locator in revoked

    return ending


def test_a_sign_in_of_unknown_fate_does_not_bring_a_revoked_session_back() -> None:
    parts = Parts(fates={"admit": UNKNOWN}, faults=2)
    explore(sign_in_of_unknown_fate_beside_revocation, parts, at_least=50)


def test_a_repeated_admission_is_found() -> None:
    finds_the_bug(
        sign_in_of_unknown_fate_beside_revocation,
        Parts(sessions_through=RepeatsAdmissions, fates={"admit": UNKNOWN}),
    )


@pytest.mark.parametrize("limit", [1, 2])
def test_the_limit_is_exact_with_admissions_of_unknown_fate(limit: int) -> None:
    def scene(stage: Stage) -> Ending:
        stage.governed_by(policy(session_limit=limit))
        auth = stage.service()
        for name in ("one", "other"):
            stage.actor(name, auth.establish(stage.at_once.begin("alice"), methods=("hwk",)))

        def within_the_limit() -> None:
            assert len(stage.roster()) <= limit

        stage.always(within_the_limit)

        def ending() -> None:
            ids = [id_in(stage.result(name)) for name in ("one", "other")]
            assert None not in ids
            assert sum(map(stage.lives, ids)) == len(stage.roster()) == limit

        return ending

    explore(scene, Parts(fates={"admit": UNKNOWN}), at_least=50)


# -- Renewal -----------------------------------------------------------------------


def renewal_is_due(stage: Stage) -> SessionId:
    mine = stage.signed_in()
    stage.clock.advance(timedelta(seconds=60))
    return mine


def renewal_with_parallel_requests(requests: int) -> Scene:
    def scene(stage: Stage) -> Ending:
        mine = renewal_is_due(stage)
        auth = stage.service()
        answered: list[SessionId] = []

        async def request() -> None:
            outcome = await auth.authenticate(mine.reveal())
            assert isinstance(outcome, Active), "logged out by renewal"
            if outcome.renewed is not None:
                answered.append(outcome.renewed)

        async def page() -> None:
            await request()
            if answered:
                outcome = await auth.authenticate(answered[-1].reveal())
                assert isinstance(outcome, Active), "the successor opens nothing"
                assert outcome.renewed is None

        stage.actor("page", page())
        for number in range(requests):
            stage.actor(f"request {number}", request())

        def one_successor() -> None:
            assert len({each.reveal() for each in answered}) <= 1, "two successors"
            assert all(stage.lives(each) for each in answered), "the successor opens nothing"
            assert stage.lives(mine)

        stage.always(one_successor)

        def ending() -> None:
            assert stage.told(SessionRenewed) <= 1

        return ending

    return scene


def test_parallel_requests_get_at_most_one_successor_and_stay_signed_in() -> None:
    explore(renewal_with_parallel_requests(1), at_least=5)
    explore(renewal_with_parallel_requests(2), at_least=50)
    explore(renewal_with_parallel_requests(3), at_least=500)


def test_so_they_do_if_the_store_fails_at_any_write() -> None:
    fates = (Fate.NOT_SENT, *UNKNOWN)
    parts = Parts(fates={"replace": fates}, faults=2)
    explore(renewal_with_parallel_requests(1), parts, at_least=100)


@pytest.mark.parametrize(
    "parts",
    [
        Parts(sessions=ReplacesUnconditionally),
        Parts(sessions_through=TakesUnknownForDone, fates={"replace": UNKNOWN}),
    ],
    ids=["replace does not compare", "answered though not stored"],
)
def test_a_second_or_lost_successor_is_found(parts: Parts) -> None:
    finds_the_bug(renewal_with_parallel_requests(1), parts)


def test_parallel_confirmations_are_one() -> None:
    def scene(stage: Stage) -> Ending:
        mine = renewal_is_due(stage)
        first = stage.at_once.authenticate(mine.reveal())
        assert isinstance(first, Active)
        assert first.renewed is not None
        successor = first.renewed
        auth = stage.service()
        stage.actor("one", auth.authenticate(successor.reveal()))
        stage.actor("other", auth.authenticate(successor.reveal()))
        stage.actor("late", auth.authenticate(mine.reveal()))

        def ending() -> None:
            for name in ("one", "other", "late"):
                assert isinstance(stage.result(name), Active)
            assert stage.told(SessionRenewed) == 1
            judged = stage.judgement(successor)
            assert isinstance(judged, Accept)
            assert judged.standing is Standing.CURRENT

        return ending

    explore(scene, at_least=10)


# -- Everything but this session ---------------------------------------------------

Rival = Callable[[Stage, SessionId], Coroutine[Any, Any, object]]


def keeps_or_changes(
    stage: Stage, mine: SessionId, *, by_password: bool
) -> Coroutine[Any, Any, object]:
    auth = stage.service()
    if by_password:
        return auth.change_password(mine.reveal(), OLD, NEW)
    return auth.logout_everywhere("alice", keep=mine.reveal())


def restart_beside_a_sign_out_everywhere(*, by_password: bool) -> Scene:
    def scene(stage: Stage) -> Ending:
        stage.has_alice()
        mine = stage.signed_in()
        stage.signed_in()
        stage.actor("user", keeps_or_changes(stage, mine, by_password=by_password))
        stage.actor("admin", stage.service().logout_everywhere("alice"))

        def ending() -> None:
            assert isinstance(stage.result("admin"), LoggedOutEverywhere)
            assert not stage.roster(), "a session escaped the sign-out everywhere"

        return ending

    return scene


def restart_beside_a_logout(*, by_password: bool) -> Scene:
    def scene(stage: Stage) -> Ending:
        stage.has_alice()
        mine = stage.signed_in()
        stage.actor("user", keeps_or_changes(stage, mine, by_password=by_password))
        stage.actor("tab", stage.service().logout(mine.reveal()))

        def ending() -> None:
            logout, kept = stage.result("tab"), id_in(stage.result("user"))
            assert not stage.lives(mine) or isinstance(logout, OutcomeUnknown)
            if "tab: find -> Session" in stage.trace and isinstance(logout, LoggedOut):
                assert not stage.roster(), "a logout was undone"
            elif logout == LoggedOut(ended=False):
                # The session had moved on under an id that this tab did not hold.
                assert stage.lives(kept)
                assert len(stage.roster()) == 1

        return ending

    return scene


def restart_beside_a_revocation(*, by_password: bool) -> Scene:
    def scene(stage: Stage) -> Ending:
        stage.has_alice()
        mine = stage.signed_in()
        stage.actor("user", keeps_or_changes(stage, mine, by_password=by_password))
        stage.actor("phone", stage.service().revoke("alice", mine.locator.handle))

        def ending() -> None:
            revoked, kept = stage.result("phone"), id_in(stage.result("user"))
            if revoked == Revoked(ended=True):
                assert not stage.roster(), "a revocation was undone"
            elif revoked == Revoked(ended=False):
                # It had moved on before its handle was looked up.
                assert stage.lives(kept)

        return ending

    return scene


def restart_beside_a_sign_in_in_the_same_browser(*, by_password: bool) -> Scene:
    def scene(stage: Stage) -> Ending:
        stage.has_alice()
        mine = stage.signed_in()
        stage.actor("user", keeps_or_changes(stage, mine, by_password=by_password))
        password = NEW if by_password else OLD
        stage.actor("tab", stage.service().login("alice", password, cookie=mine.reveal()))

        def ending() -> None:
            if "tab: find -> Session" in stage.trace and isinstance(stage.result("tab"), LoggedIn):
                assert len(stage.roster()) <= 1, "the session that was held outlived the sign-in"

        return ending

    return scene


def restart_beside_a_sign_in_of_somebody_else(*, by_password: bool) -> Scene:
    def scene(stage: Stage) -> Ending:
        stage.has_alice()
        mine = stage.signed_in()
        auth = stage.service()
        stage.actor("user", keeps_or_changes(stage, mine, by_password=by_password))

        async def takes_over_the_browser() -> object:
            attempt = await auth.begin("bob")
            return await auth.establish(attempt, methods=("otp",), cookie=mine.reveal())

        stage.actor("tab", takes_over_the_browser())

        def ending() -> None:
            if "tab: find -> Session" in stage.trace and isinstance(stage.result("tab"), LoggedIn):
                assert not stage.roster(), "the session that was held outlived the sign-in"

        return ending

    return scene


@pytest.mark.parametrize("by_password", [False, True])
@pytest.mark.parametrize(
    "rival",
    [
        restart_beside_a_sign_out_everywhere,
        restart_beside_a_logout,
        restart_beside_a_revocation,
        restart_beside_a_sign_in_in_the_same_browser,
        restart_beside_a_sign_in_of_somebody_else,
    ],
)
def test_a_kept_session_does_not_escape_what_ends_it(
    rival: Callable[..., Scene], *, by_password: bool
) -> None:
    scene = rival(by_password=by_password)
    explore(scene, at_least=3)
    writes = {"restart": UNKNOWN, "delete_user": UNKNOWN, "delete": UNKNOWN}
    explore(scene, Parts(fates=writes), at_least=10)
    finds_the_bug(scene, Parts(sessions_through=RestartInThreeSteps))


def test_a_kept_session_and_an_old_password_do_not_escape_together() -> None:
    def scene(stage: Stage) -> Ending:
        stage.has_alice()
        mine = stage.signed_in()
        auth = stage.service()
        stage.actor("user", auth.change_password(mine.reveal(), OLD, NEW))

        async def admin() -> None:
            await stage.step("disable", lambda: stage.credentials.set_hash("alice", None))
            await auth.logout_everywhere("alice")

        stage.actor("admin", admin())
        stage.actor("thief", auth.login("alice", OLD))

        def ending() -> None:
            assert not stage.roster()

        return ending

    explore(scene, at_least=100)
    finds_the_bug(scene, Parts(sessions_through=RestartInThreeSteps))


def restart_beside_requests(*, renewal_due: bool, by_password: bool) -> Scene:
    def scene(stage: Stage) -> Ending:
        stage.has_alice()
        mine = stage.signed_in()
        other = stage.signed_in()
        stage.clock.advance(timedelta(seconds=60 if renewal_due else 59))
        if not renewal_due:
            stage.governed_by(policy(touch_interval=timedelta(seconds=5)))
        auth = stage.service()
        stage.actor("user", keeps_or_changes(stage, mine, by_password=by_password))
        stage.actor("mine", auth.authenticate(mine.reveal()))
        stage.actor("other", auth.authenticate(other.reveal()))

        def ending() -> None:
            kept = id_in(stage.result("user"))
            assert stage.lives(kept), "the session that was to be kept is gone"
            assert len(stage.roster()) == 1
            assert not stage.lives(mine)
            assert not stage.lives(other)
            for name in ("mine", "other"):
                outcome = stage.result(name)
                if isinstance(outcome, Active):
                    renewed = outcome.renewed
                    assert renewed is None or not stage.lives(renewed)
                else:
                    assert outcome == Inactive(InactiveReason.UNKNOWN)

        return ending

    return scene


@pytest.mark.parametrize("by_password", [False, True])
@pytest.mark.parametrize("renewal_due", [False, True])
def test_a_kept_session_outlives_touch_and_renewal_and_no_other_does(
    *, renewal_due: bool, by_password: bool
) -> None:
    scene = restart_beside_requests(renewal_due=renewal_due, by_password=by_password)
    explore(scene, at_least=10)
    finds_the_bug(scene, Parts(sessions=MovesWithinTheEpoch))
    finds_the_bug(scene, Parts(sessions_through=RestartsOnlyOnce))


@pytest.mark.parametrize("same", [True, False])
def test_of_two_that_keep_only_themselves_at_most_one_lives(*, same: bool) -> None:
    def scene(stage: Stage) -> Ending:
        stage.has_alice()
        one = stage.signed_in()
        other = one if same else stage.signed_in()
        auth = stage.service()
        stage.actor("one", auth.logout_everywhere("alice", keep=one.reveal()))
        stage.actor("other", auth.logout_everywhere("alice", keep=other.reveal()))

        def ending() -> None:
            alive = [name for name in ("one", "other") if stage.lives(id_in(stage.result(name)))]
            assert len(stage.roster()) == len(alive) <= 1
            assert not stage.lives(one)
            assert not stage.lives(other)
            assert stage.told(AllSessionsEnded) == 2

        return ending

    explore(scene, at_least=4)
    finds_the_bug(scene, Parts(sessions_through=RestartInThreeSteps))


# -- Logout ------------------------------------------------------------------------


async def touch(stage: Stage, mine: SessionId) -> object:
    return await stage.service().authenticate(mine.reveal())


async def renew_and_confirm(stage: Stage, mine: SessionId) -> object:
    auth = stage.service()
    outcome = await auth.authenticate(mine.reveal())
    if isinstance(outcome, Active) and outcome.renewed is not None:
        return await auth.authenticate(outcome.renewed.reveal())
    return outcome


async def rotate(stage: Stage, mine: SessionId) -> object:
    return await stage.service().rotate(mine.reveal())


async def step_up(stage: Stage, mine: SessionId) -> object:
    return await stage.service().reauthenticate(mine.reveal(), OLD)


async def write_data(stage: Stage, mine: SessionId) -> object:
    auth = stage.service()
    outcome = await auth.authenticate(mine.reveal())
    assert isinstance(outcome, Active | Inactive)
    if isinstance(outcome, Inactive):
        return outcome
    await auth.change_data(outcome.session, {"cart": [1]})
    return await auth.increment(outcome.session, "visits")


def logout_beside(rival: Rival) -> Scene:
    def scene(stage: Stage) -> Ending:
        stage.has_alice()
        mine = renewal_is_due(stage)
        stage.actor("logout", stage.service().logout(mine.reveal()))
        stage.actor("rival", rival(stage, mine))

        def ending() -> None:
            assert stage.result("logout") == LoggedOut(ended=True)
            assert not stage.roster(), "a session came back"
            assert stage.sessions.read_data(mine.locator) is None

        return ending

    return scene


RIVALS = [touch, renew_and_confirm, rotate, step_up, write_data]


@pytest.mark.parametrize("rival", RIVALS)
def test_nothing_brings_a_session_back_after_logout(rival: Rival) -> None:
    explore(logout_beside(rival), at_least=3)


@pytest.mark.parametrize("rival", RIVALS)
def test_nothing_brings_it_back_late(rival: Rival) -> None:
    fates = {"replace": UNKNOWN, "write_data": UNKNOWN}
    scene = logout_beside(rival)
    explore(scene, Parts(fates=fates, faults=2), at_least=10)


@pytest.mark.parametrize("rival", RIVALS[:-1])
def test_a_session_that_comes_back_is_found(rival: Rival) -> None:
    finds_the_bug(logout_beside(rival), Parts(sessions=ReplaceRevives))


# -- Reuse -------------------------------------------------------------------------


def reuse_beside_a_confirmation(stage: Stage) -> Ending:
    first = renewal_is_due(stage)
    auth = stage.at_once
    answers = [auth.authenticate(first.reveal())]
    assert isinstance(answers[0], Active)
    second = answers[0].renewed
    assert second is not None
    auth.authenticate(second.reveal())
    stage.clock.advance(timedelta(seconds=60))
    answers.append(auth.authenticate(second.reveal()))
    assert isinstance(answers[1], Active)
    third = answers[1].renewed
    assert third is not None
    gated = stage.service()
    stage.actor("thief", gated.authenticate(first.reveal()))
    stage.actor("user", gated.authenticate(third.reveal()))
    stage.actor("page", gated.authenticate(second.reveal()))

    def ending() -> None:
        thief = stage.result("thief")
        confirmed = stage.told(SessionRenewed)
        if thief == Inactive(InactiveReason.REUSED):
            # Judged and ended as it was: before the confirmation.
            assert stage.told(SessionIdReused) == 1
            assert not confirmed, "a record was deleted that nobody had judged"
            assert not stage.roster()
        else:
            assert thief == Inactive(InactiveReason.SUPERSEDED)
            assert not stage.told(SessionIdReused)
            assert stage.lives(third)

    return ending


def test_reuse_ends_the_record_it_was_judged_on_and_no_other() -> None:
    explore(reuse_beside_a_confirmation, at_least=10)
    finds_the_bug(reuse_beside_a_confirmation, Parts(sessions_through=DeletesUnconditionally))


@attrs.define(eq=False)
class AnswersOnceFromAReplica(MemorySessionStore):
    """
    The next reading sees what was there before.
    """

    stale: list[Session | None] = attrs.field(factory=list["Session | None"], init=False)

    def find(self, locator: Locator, /) -> Session | None:
        return self.stale.pop() if self.stale else MemorySessionStore.find(self, locator)


def stale_reading(stage: Stage) -> Ending:
    mine = stage.signed_in()
    stage.clock.advance(timedelta(seconds=60))
    assert isinstance(stage.sessions, AnswersOnceFromAReplica)
    before = stage.sessions.find(mine.locator)
    drawn = stage.at_once.authenticate(mine.reveal())
    assert isinstance(drawn, Active)
    assert drawn.renewed is not None
    successor = drawn.renewed
    stage.sessions.stale.append(before)
    auth = stage.service()
    stage.actor("one", auth.authenticate(successor.reveal()))
    stage.actor("other", auth.authenticate(successor.reveal()))

    def ending() -> None:
        assert isinstance(stage.result("one"), Active)
        assert isinstance(stage.result("other"), Active)
        assert stage.lives(successor)
        assert not stage.told(SessionIdReused)

    return ending


def test_a_stale_reading_never_ends_an_honest_session() -> None:
    replica = Parts(sessions=AnswersOnceFromAReplica)
    explore(stale_reading, replica, at_least=2)
    finds_the_bug(
        stale_reading,
        Parts(sessions=AnswersOnceFromAReplica, sessions_through=DeletesUnconditionally),
    )


# -- Two password changes ----------------------------------------------------------


@pytest.mark.parametrize("same_session", [False, True])
def test_of_two_password_changes_the_one_that_verified_the_former_hash_loses(
    *, same_session: bool
) -> None:
    def scene(stage: Stage) -> Ending:
        stage.has_alice()
        mine = stage.signed_in()
        stolen = mine if same_session else stage.signed_in()
        auth = stage.service()
        stage.actor("user", auth.change_password(mine.reveal(), OLD, NEW))
        stage.actor("thief", auth.change_password(stolen.reveal(), OLD, STOLEN))

        def ending() -> None:
            user, thief = stage.result("user"), stage.result("thief")
            changed = [each for each in (user, thief) if isinstance(each, PasswordChanged)]
            assert len(changed) == 1, "both password changes are said to have succeeded"
            winner = NEW if changed[0] is user else STOLEN
            assert stage.credentials.read_hash("alice") == f"hash of {winner}"
            loser = thief if changed[0] is user else user
            assert isinstance(loser, Refused | Inactive)
            assert stage.lives(id_in(changed[0]))
            assert len(stage.roster()) == 1

        return ending

    explore(scene, at_least=5)
    explore(scene, Parts(fates={"replace_hash": (Fate.CALL_LOST, Fate.REPLY_LOST)}), at_least=20)
    finds_the_bug(scene, Parts(credentials=OverwritesHashes))


def test_a_step_up_with_the_old_password_does_not_outlive_its_change() -> None:
    def scene(stage: Stage) -> Ending:
        stage.has_alice()
        mine = stage.signed_in()
        stolen = stage.signed_in()
        auth = stage.service()
        stage.actor("user", auth.change_password(mine.reveal(), OLD, NEW))
        stage.actor("thief", auth.reauthenticate(stolen.reveal(), OLD))

        def ending() -> None:
            assert isinstance(stage.result("user"), PasswordChanged)
            assert not stage.lives(id_in(stage.result("thief")))
            assert len(stage.roster()) == 1

        return ending

    explore(scene, at_least=5)
    finds_the_bug(scene, Parts(sessions=MovesWithinTheEpoch))


# -- Session data ------------------------------------------------------------------


def session_with(stage: Stage, **values: Any) -> Session:
    outcome = stage.at_once.authenticate(stage.signed_in().reveal())
    assert isinstance(outcome, Active)
    stage.at_once.change_data(outcome.session, values)
    return outcome.session


def data_of(stage: Stage, session: Session) -> dict[str, bytes]:
    return {
        key: datum.value for key, datum in (stage.sessions.read_data(session.locator) or {}).items()
    }


def parallel_increments(stage: Stage) -> Ending:
    session = session_with(stage)
    auth = stage.service()
    names = ["one", "other", "third"]
    for name in names:
        stage.actor(name, auth.increment(session, "visits"))

    def ending() -> None:
        results = [stage.result(name) for name in names]
        counted = sum(isinstance(result, DataChanged) for result in results)
        unknown = sum(isinstance(result, OutcomeUnknown) for result in results)
        assert counted + unknown == 3
        total = int(data_of(stage, session).get("visits", b"0"))
        assert counted <= total <= counted + unknown, "an increment was lost or counted twice"

    return ending


def test_no_increment_is_lost_and_none_counts_twice() -> None:
    explore(parallel_increments, at_least=50)


def test_nor_with_increments_of_unknown_fate() -> None:
    explore(parallel_increments, Parts(fates={"write_data": UNKNOWN}, faults=1), at_least=200)


@pytest.mark.parametrize(
    "parts",
    [
        Parts(sessions=IgnoresGuards),
        Parts(sessions_through=RepeatsDataWrites, fates={"write_data": UNKNOWN}),
    ],
    ids=["guards ignored", "repeated"],
)
def test_an_increment_that_is_lost_or_counted_twice_is_found(parts: Parts) -> None:
    finds_the_bug(parallel_increments, parts)


def parallel_takers(stage: Stage) -> Ending:
    session = session_with(stage, message="Welcome", other=1)
    auth = stage.service()
    names = ["one", "other", "third"]
    for name in names:
        stage.actor(name, auth.take_data(session, "message"))

    def ending() -> None:
        results = [stage.result(name) for name in names]
        taken = results.count(DataTaken("Welcome"))
        unknown = sum(isinstance(result, OutcomeUnknown) for result in results)
        assert taken + unknown + results.count(NothingToTake()) == 3
        assert taken <= 1, "taken twice"
        assert taken == 1 or unknown
        assert data_of(stage, session) == {"other": b"1"}

    return ending


def test_a_value_is_taken_exactly_once() -> None:
    explore(parallel_takers, at_least=20)
    finds_the_bug(parallel_takers, Parts(sessions=IgnoresGuards))


def test_a_value_is_taken_at_most_once_if_the_fate_of_taking_is_unknown() -> None:
    fates = (Fate.REPLY_LOST, Fate.LATE)
    explore(parallel_takers, Parts(fates={"write_data": fates}, faults=1), at_least=50)


def test_writers_of_different_keys_both_win() -> None:
    def scene(stage: Stage) -> Ending:
        session = session_with(stage, kept=True)
        auth = stage.service()
        stage.actor("one", auth.change_data(session, {"cart": 1}))
        stage.actor("other", auth.change_data(session, {"language": "fr"}, remove=["kept"]))
        stage.actor("third", auth.increment(session, "visits"))

        def ending() -> None:
            assert data_of(stage, session) == {
                "cart": b"1",
                "language": b'"fr"',
                "visits": b"1",
            }

        return ending

    explore(scene, at_least=6)


def test_a_value_that_was_put_once_is_not_taken_twice() -> None:
    # A nonce: its request is answered late, and repeats what was lost on the way.
    def scene(stage: Stage) -> Ending:
        session = session_with(stage)
        auth = stage.service()
        stage.actor("put", auth.change_data(session, {"nonce": "n"}))

        takings: list[object] = []

        async def take_and_take_again() -> None:
            for _ in range(2):
                takings.append(await auth.take_data(session, "nonce"))  # noqa: PERF401

        stage.actor("take", take_and_take_again())

        def ending() -> None:
            assert takings.count(DataTaken("n")) <= 1, "a value put once was taken twice"

        return ending

    explore(scene, at_least=3)
    explore(scene, Parts(fates={"write_data": (Fate.REPLY_LOST,)}), at_least=6)


# -- From anonymous to signed in ---------------------------------------------------


def anonymous_upgrade(*, signs_out: bool, sign_ins: int = 1) -> Scene:
    def scene(stage: Stage) -> Ending:
        stage.has_alice()
        visit = stage.at_once.start_anonymous()
        stage.at_once.change_data(visit.session, {"cart": 1, "secret": "of the visitor"})
        cookie = visit.session_id.reveal()
        auth = stage.service()
        for number in range(sign_ins):
            signing_in = auth.login("alice", OLD, cookie=cookie, keep=["cart"])
            stage.actor(f"sign-in {number}", signing_in)
        stage.actor("page", auth.change_data(visit.session, {"cart": 2, "late": True}))
        if signs_out:
            stage.actor("tab", auth.logout(cookie))

        def ending() -> None:
            assert stage.sessions.find(visit.session_id.locator) is None, "the visitor lives on"
            assert stage.sessions.read_data(visit.session_id.locator) is None
            assert isinstance(stage.result("page"), DataChanged | SessionGone)
            for number in range(sign_ins):
                signed_in = stage.result(f"sign-in {number}")
                assert isinstance(signed_in, LoggedIn)
                assert stage.lives(signed_in.session_id)
                # Gone before it was read, or as it was at one instant.
                kept = data_of(stage, signed_in.session)
                assert kept in ({}, {"cart": b"1"}, {"cart": b"2"})
            assert len(stage.roster()) == sign_ins

        return ending

    return scene


def test_an_anonymous_session_ends_when_its_visitor_signs_in() -> None:
    explore(anonymous_upgrade(signs_out=False), at_least=5)
    explore(anonymous_upgrade(signs_out=True), at_least=50)
    finds_the_bug(anonymous_upgrade(signs_out=False), Parts(service=ForgetsTheVisitor))


def test_it_ends_when_the_visitor_signs_in_twice_at_once() -> None:
    def scene(stage: Stage) -> Ending:
        stage.has_alice()
        visit = stage.at_once.start_anonymous()
        stage.at_once.change_data(visit.session, {"cart": 1})
        auth = stage.service()
        for name in ("one", "other"):
            attempt = stage.at_once.begin("alice")
            cookie = visit.session_id.reveal()
            signing_in = auth.establish(attempt, methods=("hwk",), cookie=cookie, keep=["cart"])
            stage.actor(name, signing_in)

        def ending() -> None:
            assert stage.sessions.find(visit.session_id.locator) is None
            assert all(stage.lives(id_in(stage.result(name))) for name in ("one", "other"))
            assert stage.told(SessionEnded) == 1

        return ending

    explore(scene, at_least=50)


def test_a_sign_in_that_fails_half_way_leaves_no_session_that_nobody_holds() -> None:
    def scene(stage: Stage) -> Ending:
        stage.has_alice()
        visit = stage.at_once.start_anonymous()
        stage.at_once.change_data(visit.session, {"cart": 1})
        cookie = visit.session_id.reveal()
        auth = stage.service()
        stage.actor("sign-in", auth.login("alice", OLD, cookie=cookie, keep=["cart"]))

        def ending() -> None:
            result = stage.result("sign-in")
            if isinstance(result, LoggedIn):
                assert stage.lives(result.session_id)
                assert stage.sessions.find(visit.session_id.locator) is None
            else:
                assert isinstance(result, StoreError)
                assert not stage.roster(), "nobody will learn the id of this session"

        return ending

    fates = (Fate.NOT_SENT, *UNKNOWN)
    explore(scene, Parts(fates={"admit": fates, "write_data": fates, "delete": fates}), at_least=10)


# -- Failures say truly what was written -------------------------------------------


def says_truly(act: Rival, untouched: Callable[[Stage, SessionId], bool]) -> Scene:
    def scene(stage: Stage) -> Ending:
        stage.has_alice()
        mine = stage.signed_in()
        stage.actor("user", act(stage, mine))

        def ending() -> None:
            if isinstance(stage.result("user"), StoreUnavailable):
                assert untouched(stage, mine), "it said that nothing was written"

        return ending

    return scene


def alive(stage: Stage, mine: SessionId) -> bool:
    return stage.lives(mine)


def password_as_before(stage: Stage, mine: SessionId) -> bool:
    return stage.credentials.read_hash("alice") == f"hash of {OLD}"


def alone(stage: Stage, mine: SessionId) -> bool:
    return stage.lives(mine) and len(stage.sessions.roster(ALICE).sessions) == 1


def no_data(stage: Stage, mine: SessionId) -> bool:
    return not stage.sessions.read_data(mine.locator)


async def log_out(stage: Stage, mine: SessionId) -> object:
    return await stage.service().logout(mine.reveal())


async def log_out_everywhere(stage: Stage, mine: SessionId) -> object:
    return await stage.service().logout_everywhere("alice")


async def keep_only_this(stage: Stage, mine: SessionId) -> object:
    return await stage.service().logout_everywhere("alice", keep=mine.reveal())


async def sign_in_instead(stage: Stage, mine: SessionId) -> object:
    return await stage.service().login("alice", OLD, cookie=mine.reveal())


async def revoke(stage: Stage, mine: SessionId) -> object:
    return await stage.service().revoke("alice", mine.locator.handle)


async def change_password(stage: Stage, mine: SessionId) -> object:
    return await stage.service().change_password(mine.reveal(), OLD, NEW)


async def change_data(stage: Stage, mine: SessionId) -> object:
    session = stage.sessions.find(mine.locator)
    assert session is not None
    return await stage.service().change_data(session, {"cart": 1})


@pytest.mark.parametrize(
    ("act", "untouched"),
    [
        (change_password, password_as_before),
        (log_out, alive),
        (log_out_everywhere, alive),
        (keep_only_this, alive),
        (revoke, alive),
        (rotate, alive),
        (change_data, no_data),
        (sign_in_instead, alone),
    ],
)
def test_who_says_that_nothing_was_written_has_written_nothing(
    act: Rival, untouched: Callable[[Stage, SessionId], bool]
) -> None:
    # A reply is lost, and at the repetition, or at a read that comes after it, the
    # store cannot be reached.
    fates = (Fate.REPLY_LOST, Fate.LATE, Fate.NOT_SENT)
    writes: tuple[str, ...] = (
        "admit",
        "replace_hash",
        "replace",
        "restart",
        "delete",
        "delete_user",
        "write_data",
    )
    reads = ("find", "roster", "read_data")
    meets: dict[str, tuple[Fate, ...]] = {
        **dict.fromkeys(writes, fates),
        **dict.fromkeys(reads, (Fate.NOT_SENT,)),
    }
    explore(says_truly(act, untouched), Parts(fates=meets, faults=2), at_least=4)


@pytest.mark.parametrize("act", [log_out, revoke])
def test_an_end_is_told_at_least_once_though_its_reply_was_lost(act: Rival) -> None:
    def scene(stage: Stage) -> Ending:
        mine = stage.signed_in()
        stage.actor("user", act(stage, mine))

        def ending() -> None:
            if isinstance(stage.result("user"), LoggedOut | Revoked):
                assert not stage.roster()
                assert stage.told(SessionEnded) >= 1, "a session ended and the audit knows nothing"

        return ending

    explore(scene, at_least=1)
    explore(scene, Parts(fates={"delete": UNKNOWN}), at_least=4)


# -- Anything against anything -----------------------------------------------------


async def sign_in_with_the_old_password(stage: Stage, mine: SessionId) -> object:
    return await stage.service().login("alice", OLD)


ANYTHING: list[Rival] = [
    touch,
    renew_and_confirm,
    rotate,
    step_up,
    write_data,
    log_out,
    keep_only_this,
    revoke,
    change_password,
    sign_in_with_the_old_password,
]


def whatever(acts: list[Rival], *, disabled: bool, fates: bool) -> tuple[Scene, Parts]:
    def scene(stage: Stage) -> Ending:
        stage.governed_by(policy(session_limit=2))
        stage.has_alice()
        stage.signed_in()
        mine = renewal_is_due(stage)
        for number, act in enumerate(acts):
            stage.actor(f"{act.__name__} {number}", act(stage, mine))

        async def admin() -> None:
            await stage.step("disable", lambda: stage.credentials.set_hash("alice", None))
            await stage.service().logout_everywhere("alice")

        if disabled:
            stage.actor("admin", admin())

        def within_the_limit() -> None:
            assert len(stage.roster()) <= 2

        stage.always(within_the_limit)

        def ending() -> None:
            results = [(act, stage.result(f"{act.__name__} {n}")) for n, act in enumerate(acts)]
            if disabled and stage.result("admin") is None:
                assert not stage.roster(), "a session outlives its user"
            changed = any(isinstance(result, PasswordChanged) for _, result in results)
            for act, result in results:
                if act is sign_in_with_the_old_password and changed:
                    assert not stage.lives(id_in(result)), "the old password got in"
                if result == LoggedOut(ended=True):
                    assert not stage.lives(mine)

        return ending

    writes: tuple[str, ...] = ("replace", "restart", "write_data", "admit", "delete", "delete_user")
    unknown: dict[str, tuple[Fate, ...]] = {}
    if fates:
        unknown = dict.fromkeys(writes, UNKNOWN)
    return scene, Parts(fates=unknown, faults=2)


@MANY
@given(
    data=st.data(),
    acts=st.lists(st.sampled_from(ANYTHING), min_size=2, max_size=4),
    disabled=st.booleans(),
    fates=st.booleans(),
)
def test_whatever_happens_at_once_the_promises_hold(
    data: st.DataObject, acts: list[Rival], *, disabled: bool, fates: bool
) -> None:
    scene, parts = whatever(acts, disabled=disabled, fates=fates)
    race(scene, data, parts)


@pytest.mark.parametrize(
    ("scene", "parts"),
    [
        (old_sign_ins_beside_a_password_change(2), Parts(service=OpensTheEpochLate)),
        (sign_ins_while_the_user_is_disabled(1), Parts(service=OpensTheEpochLate)),
        (parallel_sign_ins(1, OnLimit.REJECT), Parts(sessions_through=AdmitsAnyVersion)),
        (parallel_increments, Parts(sessions=IgnoresGuards)),
    ],
)
def test_a_random_schedule_finds_planted_bugs_too(scene: Scene, parts: Parts) -> None:
    @settings(max_examples=300, deadline=None, derandomize=True, database=None)
    @given(data=st.data())
    def play(data: st.DataObject) -> None:
        race(scene, data, parts)

    with pytest.raises(AssertionError):
        play()
