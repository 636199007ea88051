"""
The use cases, in both shells: every outcome, every order of calls, every failure.

Each test runs against the service for threads and against the one for asyncio,
over the same memory stores; see :mod:`fakes`.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from functools import partial
from threading import Barrier
from typing import Any

import pytest
from fakes import (
    ADDRESS,
    DAY,
    HOUR,
    MILLISECOND,
    MINUTE,
    PASSWORD,
    POLICY,
    REMEMBERED,
    SECOND,
    FailingEvents,
    Intervention,
    World,
    a_device,
    answers,
    expect,
    fails,
    goes_through,
    loses_reply,
    loses_request,
    overtaken_by,
    world_of,
)

from sessioncore import (
    Active,
    Attempt,
    AttemptSpent,
    AuthService,
    Busy,
    CorruptRecord,
    DataChanged,
    DataRead,
    DataTaken,
    DataTooLarge,
    Device,
    Inactive,
    InactiveReason,
    InvalidData,
    InvalidPolicy,
    Json,
    LimitReached,
    LoggedIn,
    LoggedOut,
    LoggedOutEverywhere,
    NothingToTake,
    OnLimit,
    OnReuse,
    OutcomeUnknown,
    PasswordChanged,
    PasswordChangedButSessionsLive,
    Policies,
    Policy,
    Purged,
    Refused,
    Revoked,
    Rotated,
    Session,
    SessionGone,
    SessionId,
    StoreUnavailable,
    Subject,
    Throttled,
    UnacceptablePassword,
)
from sessioncore.context import TRIES, UPKEEP_TRIES
from sessioncore.events import (
    AllSessionsEnded,
    AmbiguousCookie,
    EndReason,
    Event,
    LoginRefused,
    LoginThrottled,
    PasswordReplaced,
    SessionEnded,
    SessionIdReused,
    SessionLimitReached,
    SessionRenewed,
    SessionRotated,
    SessionsLeftLive,
    SessionStarted,
    SessionUnusable,
    UpkeepSkipped,
)
from sessioncore.ports import Admission, DataWrite, PasswordCheck, ThrottleScope
from sessioncore.session import DataChange, Roster

ALICE = Subject.user("id-of-alice")
BOB = Subject.user("id-of-bob")
GRACE = POLICY.grace
NEW_PASSWORD = "battery staple"
UNAVAILABLE = fails(StoreUnavailable("the store is away"))
CORRUPT = fails(CorruptRecord("the record is damaged"))
STALE = answers(Admission.STALE)
CONFLICT = answers(Admission.CONFLICT)


@pytest.fixture(params=["threads", "asyncio"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    with world_of(request.param) as made:
        yield made


def stored(world: World, subject: Subject = ALICE) -> tuple[Session, ...]:
    """
    The subject's stored sessions, read behind the journal's back.
    """
    calls = len(world.journal.calls)
    sessions = world.sessions.roster(subject).sessions
    del world.journal.calls[calls:]
    return sessions


def counted(world: World, scope: ThrottleScope) -> int:
    """
    How many attempts are counted in that scope.
    """
    return sum(tally.count for tally in world.throttle._tallies[scope].values())


def altered(cookie: str) -> str:
    """
    A guess at *cookie*'s session: the locator is right, the rest is made up.
    """
    presented = SessionId.parse(cookie)
    assert presented is not None
    locator = presented.locator
    return SessionId(locator.epoch, locator.slot, bytes(8), bytes(24)).reveal()


def retired(cookie: str) -> str:
    """
    An id of *cookie*'s session that matches nothing any more.
    """
    presented = SessionId.parse(cookie)
    assert presented is not None
    return presented.rotated(bytes(24)).reveal()


def kept_by(outcome: object) -> Rotated:
    """
    What goes on after a password change or after signing out everywhere, which must be something.
    """
    assert isinstance(outcome, (PasswordChanged, LoggedOutEverywhere)), repr(outcome)
    return expect(Rotated, outcome.kept)


def upgrade_hash(world: World) -> None:
    """
    Store another hash of alice's password, as a sign-in does that finds an outdated one.
    """
    outdate_hashes(world)
    verified = world.credentials.read_hash("id-of-alice")
    encoded = expect(str, world.passwords.hash(PASSWORD))
    assert world.credentials.replace_hash("id-of-alice", verified or "", encoded)


def outdate_hashes(world: World) -> None:
    """
    Raise the hasher's parameters, so that all hashes so far are outdated.
    """
    world.passwords.parameters += 1


# -- Making a service ----------------------------------------------------------


def test_credentials_and_passwords_are_given_together(world: World) -> None:
    with pytest.raises(TypeError, match="together"):
        AuthService(sessions=world.sessions, policy=POLICY, credentials=world.credentials)
    with pytest.raises(TypeError, match="together"):
        AuthService(sessions=world.sessions, policy=POLICY, passwords=world.passwords)


def test_a_service_without_credentials_knows_no_passwords(world: World) -> None:
    cookie = world.cookie()
    auth = world.service(credentials=False)
    calls: list[Callable[[], object]] = [
        lambda: auth.login("alice", PASSWORD),
        lambda: auth.reauthenticate(cookie, PASSWORD),
        lambda: auth.change_password(cookie, PASSWORD, NEW_PASSWORD),
    ]
    for call in calls:
        with pytest.raises(TypeError, match="without credentials"):
            call()


def test_a_service_without_credentials_does_everything_else(world: World) -> None:
    auth = world.service(credentials=False)
    begun = auth.begin("id-of-alice")
    cookie = expect(LoggedIn, auth.establish(begun, methods=("hwk",))).session_id.reveal()
    assert isinstance(auth.authenticate(cookie), Active)
    assert auth.logout(cookie) == LoggedOut(ended=True)


def test_without_a_throttle_and_surroundings_the_defaults_are_used() -> None:
    with world_of("threads") as world:
        auth = AuthService(
            sessions=world.sessions,
            policy=POLICY,
            credentials=world.credentials,
            passwords=world.passwords,
        )
        outcome = expect(LoggedIn, auth.login("alice", PASSWORD))
        assert isinstance(auth.authenticate(outcome.session_id.reveal()), Active)


def test_what_a_failing_sink_lost_is_counted_and_changes_no_outcome(world: World) -> None:
    auth = world.service(events=FailingEvents())
    cookie = expect(LoggedIn, auth.login("alice", PASSWORD)).session_id.reveal()
    assert auth.login("alice", "wrong") == Refused()
    assert auth.logout(cookie) == LoggedOut(ended=True)
    assert auth.lost_events == 3


def test_the_present_is_the_clock_s(world: World) -> None:
    assert world.auth.now() == world.clock.now()
    world.clock.advance(SECOND)
    assert world.auth.now() == world.clock.now()


def test_an_adapter_may_report_what_it_noticed(world: World) -> None:
    world.auth.report(partial(AmbiguousCookie, source=ADDRESS))
    (event,) = world.told(Event)
    assert isinstance(event, AmbiguousCookie)
    assert (event.at, event.source) == (world.clock.now(), ADDRESS)


def test_a_report_that_nobody_takes_is_counted_and_changes_nothing(world: World) -> None:
    auth = world.service(events=FailingEvents())
    auth.report(AmbiguousCookie)
    assert auth.lost_events == 1


# -- login ---------------------------------------------------------------------


def test_the_right_password_signs_in(world: World) -> None:
    outcome = world.login(device=Device(ADDRESS, "Browser/1"))
    session = outcome.session
    assert session.user_id == "id-of-alice"
    assert session.methods == ("pwd",)
    assert session.policy == "default"
    assert session.created_at == session.authenticated_at == world.clock.now()
    assert session.device == Device(ADDRESS, "Browser/1")
    assert outcome.persist_for is None
    assert world.active(outcome.session_id.reveal()).session == session
    assert stored(world) == (session,)


def test_signing_in_is_told_once(world: World) -> None:
    session = world.login(device=a_device()).session
    assert world.told(Event) == [
        SessionStarted(
            at=session.created_at,
            stamp=session.stamp.hex(),
            user_id="id-of-alice",
            handle=session.handle,
            policy="default",
            methods=("pwd",),
            device=a_device(),
        )
    ]


def test_every_sign_in_gets_an_id_of_its_own(world: World) -> None:
    ids = [world.login().session_id for _ in range(3)]
    assert len({session_id.locator.slot for session_id in ids}) == 3
    assert len({session_id.family_digest for session_id in ids}) == 3
    assert len({session_id.locator.epoch for session_id in ids}) == 1


def test_a_wrong_password_is_refused(world: World) -> None:
    assert world.auth.login("alice", "wrong", device=a_device()) == Refused()
    (event,) = world.told(Event)
    assert isinstance(event, LoginRefused)
    assert (event.user_id, event.source) == ("id-of-alice", ADDRESS)
    assert stored(world) == ()


def test_a_name_that_nobody_has_is_refused(world: World) -> None:
    assert world.auth.login("mallory", PASSWORD) == Refused()
    (event,) = world.told(Event)
    assert isinstance(event, LoginRefused)
    assert (event.user_id, event.source) == (None, None)


@pytest.mark.parametrize("username", ["", "a\x00", "\ud800", "a" * 256, "alice\n"])
def test_what_cannot_be_a_name_is_refused_and_never_looked_up(world: World, username: str) -> None:
    assert world.auth.login(username, PASSWORD) == Refused()
    looked_up = [call.arguments[0] for call in world.journal.calls if call.name == "find_user"]
    assert len(looked_up) == 1
    assert looked_up[0] != username


def test_a_user_without_a_password_is_refused(world: World) -> None:
    world.credentials.add_user("id-of-carol", "carol", None)
    assert world.auth.login("carol", "") == Refused()


def test_no_answer_of_the_hasher_signs_nobody_in(world: World) -> None:
    world.credentials.add_user("id-of-carol", "carol", None)
    world.journal.always("verify", answers(PasswordCheck.MATCH))
    assert world.auth.login("mallory", PASSWORD) == Refused()
    assert world.auth.login("carol", PASSWORD) == Refused()


WORK = ["reserve", "find_user", "reserve", "open_epoch", "read_hash", "verify"]


@pytest.mark.parametrize("username", ["alice", "mallory", "carol", "a\x00"])
def test_a_refused_sign_in_makes_the_same_calls_whoevers_name_it_is(
    world: World, username: str
) -> None:
    world.credentials.add_user("id-of-carol", "carol", None)
    assert world.auth.login(username, "wrong", device=a_device()) == Refused()
    assert world.journal.names() == WORK
    assert world.names_of_events() == ["LoginRefused"]


def test_an_epoch_is_opened_before_the_hash_is_read_and_the_session_admitted_last(
    world: World,
) -> None:
    world.login(device=a_device())
    assert world.journal.names() == [*WORK, "roster", "admit", "give_back", "reset"]


def test_an_epoch_is_opened_for_the_login_window(world: World) -> None:
    world.auth = world.service(login_window=3 * MINUTE)
    world.login()
    (opening,) = (call for call in world.journal.calls if call.name == "open_epoch")
    assert opening.arguments == (ALICE, world.clock.now(), 3 * MINUTE)


def test_a_hasher_that_is_busy_verifies_nobody(world: World) -> None:
    world.journal.always("verify", answers(PasswordCheck.BUSY))
    assert world.auth.login("alice", PASSWORD) == Busy()
    assert world.auth.login("mallory", PASSWORD) == Busy()
    assert world.told(Event) == []


def test_a_policy_that_does_not_exist_is_an_error_before_anything_is_counted(world: World) -> None:
    with pytest.raises(InvalidPolicy):
        world.auth.login("alice", PASSWORD, policy="nobody's")
    assert world.journal.calls == []


def test_a_sign_in_may_ask_for_a_policy(world: World) -> None:
    outcome = world.login(policy="remembered")
    assert outcome.session.policy == "remembered"
    assert outcome.persist_for == REMEMBERED.absolute_timeout


def test_the_application_chooses_the_policy_by_user_role_and_request(world: World) -> None:
    asked: list[tuple[str, str | None, str | None]] = []

    def choose(user_id: str, role: str | None, requested: str | None) -> str | None:
        asked.append((user_id, role, requested))
        return None if role == "staff" else requested

    world.add_user("carol", role="staff")
    auth = world.service(Policies(POLICY, REMEMBERED, choose=choose))
    outcome = expect(LoggedIn, auth.login("carol", PASSWORD, policy="remembered"))
    assert outcome.session.policy == "default"
    assert asked == [("id-of-carol", "staff", "remembered")]


# -- login: reservations -------------------------------------------------------


def test_an_account_is_throttled_after_its_free_attempts(world: World) -> None:
    for _ in range(5):
        world.auth.login("alice", "wrong")
    assert world.auth.login("alice", PASSWORD, device=a_device()) == Throttled(SECOND)
    event = world.told(Event)[-1]
    assert isinstance(event, LoginThrottled)
    assert (event.user_id, event.source) == ("id-of-alice", ADDRESS)


def test_nothing_is_verified_when_throttled(world: World) -> None:
    for _ in range(5):
        world.auth.login("alice", "wrong")
    world.journal.forget()
    world.auth.login("alice", PASSWORD)
    assert world.journal.names() == ["find_user", "reserve"]


def test_a_name_that_nobody_has_is_throttled_alike(world: World) -> None:
    for _ in range(5):
        world.auth.login("mallory", "wrong")
    assert world.auth.login("mallory", "wrong") == Throttled(SECOND)
    assert world.auth.login("mallory2", "wrong") == Refused()


def test_a_source_is_throttled_before_any_name_is_looked_up(world: World) -> None:
    for number in range(50):
        world.auth.login(f"name {number}", "wrong", device=a_device())
    world.journal.forget()
    assert world.auth.login("alice", PASSWORD, device=a_device()) == Throttled(SECOND)
    assert world.journal.names() == ["reserve"]
    event = world.told(Event)[-1]
    assert isinstance(event, LoginThrottled)
    assert (event.user_id, event.source) == (None, ADDRESS)


def test_spellings_of_one_account_share_its_attempts(world: World) -> None:
    account = world.credentials.find_user("alice")
    world.journal.always("find_user", answers(account))
    for spelling in ("alice", "ALICE", "Alice ", "álice", "aLice"):
        assert world.auth.login(spelling, "wrong") == Refused()
    assert world.auth.login("alicE", PASSWORD) == Throttled(SECOND)


def test_an_account_that_is_throttled_does_not_count_against_the_source(world: World) -> None:
    for _ in range(5):
        world.auth.login("alice", "wrong", device=a_device())
    assert isinstance(world.auth.login("alice", PASSWORD, device=a_device()), Throttled)
    assert counted(world, ThrottleScope.SOURCE) == 5


def test_a_source_that_is_no_address_is_not_counted(world: World) -> None:
    world.auth.login("alice", "wrong", device=Device(address="proxy"))
    assert counted(world, ThrottleScope.SOURCE) == 0


def test_a_refused_sign_in_stays_counted(world: World) -> None:
    world.auth.login("alice", "wrong", device=a_device())
    assert counted(world, ThrottleScope.ACCOUNT) == 1
    assert counted(world, ThrottleScope.SOURCE) == 1


def test_a_success_resets_the_account_and_gives_the_source_its_attempt_back(world: World) -> None:
    for _ in range(3):
        world.auth.login("alice", "wrong", device=a_device())
    world.login(device=a_device())
    assert counted(world, ThrottleScope.ACCOUNT) == 0
    assert counted(world, ThrottleScope.SOURCE) == 3


def test_reaching_the_limit_resets_too(world: World) -> None:
    world.auth = world.service(replace(POLICY, session_limit=1, on_limit=OnLimit.REJECT))
    world.login()
    world.auth.login("alice", "wrong", device=a_device())
    assert world.auth.login("alice", PASSWORD, device=a_device()) == LimitReached(1)
    assert counted(world, ThrottleScope.ACCOUNT) == 0
    assert counted(world, ThrottleScope.SOURCE) == 1


def test_reaching_the_limit_is_told_of(world: World) -> None:
    world.auth = world.service(replace(POLICY, session_limit=2, on_limit=OnLimit.REJECT))
    world.login()
    world.login()
    assert world.auth.login("alice", PASSWORD) == LimitReached(2)
    assert world.names_of_events() == ["SessionStarted", "SessionStarted", "SessionLimitReached"]
    (event,) = world.told(SessionLimitReached)
    assert (event.user_id, event.limit) == ("id-of-alice", 2)
    assert event.at == world.clock.now()


@pytest.mark.parametrize("name", ["give_back", "reset"])
def test_a_throttle_that_cannot_forget_an_attempt_fails_no_sign_in(world: World, name: str) -> None:
    world.journal.always(name, UNAVAILABLE)
    outcome = world.login(device=a_device())
    assert world.is_live(outcome.session_id.reveal())
    assert world.journal.names().count(name) == 1


def test_a_throttle_that_cannot_give_an_attempt_back_hides_no_outage(world: World) -> None:
    world.journal.always("give_back", fails(StoreUnavailable("the throttle is away")))
    world.journal.next("read_hash", UNAVAILABLE)
    with pytest.raises(StoreUnavailable, match="the store is away"):
        world.auth.login("alice", PASSWORD, device=a_device())
    assert world.journal.count("give_back") == 2


def test_without_a_throttle_that_counts_nobody_signs_in(world: World) -> None:
    world.journal.next("reserve", goes_through, UNAVAILABLE)
    with pytest.raises(StoreUnavailable):
        world.auth.login("alice", PASSWORD, device=a_device())
    assert counted(world, ThrottleScope.SOURCE) == 0
    assert "verify" not in world.journal.names()


@pytest.mark.parametrize(
    ("name", "intervention"),
    [("verify", answers(PasswordCheck.BUSY)), ("admit", STALE), ("admit", CONFLICT)],
)
def test_a_busy_sign_in_is_not_counted(world: World, name: str, intervention: Intervention) -> None:
    world.journal.always(name, intervention)
    assert world.auth.login("alice", PASSWORD, device=a_device()) == Busy()
    assert counted(world, ThrottleScope.ACCOUNT) == 0
    assert counted(world, ThrottleScope.SOURCE) == 0


@pytest.mark.parametrize(
    ("username", "name"),
    [
        ("alice", "find_user"),
        ("alice", "open_epoch"),
        ("alice", "read_hash"),
        ("alice", "roster"),
        ("alice", "admit"),
        ("mallory", "find_user"),
        ("mallory", "open_epoch"),
        ("mallory", "read_hash"),
    ],
)
def test_a_sign_in_that_fails_for_a_store_is_not_counted(
    world: World, username: str, name: str
) -> None:
    world.journal.always(name, UNAVAILABLE)
    with pytest.raises(StoreUnavailable):
        world.auth.login(username, PASSWORD, device=a_device())
    assert {counted(world, scope) for scope in ThrottleScope} == {0}


def test_a_wrong_password_after_a_stale_admission_stays_counted(world: World) -> None:
    def change_password() -> None:
        world.credentials.set_hash("id-of-alice", "1$another")
        world.sessions.delete_user(ALICE)

    world.journal.next("admit", overtaken_by(change_password))
    assert world.auth.login("alice", PASSWORD) == Refused()
    assert counted(world, ThrottleScope.ACCOUNT) == 1


# -- login: names that nobody has ----------------------------------------------


def test_invented_names_leave_at_most_256_epochs_of_decoys(world: World) -> None:
    for number in range(700):
        assert world.auth.login(f"name {number}", "wrong") == Refused()
    subjects = set(world.sessions._of_subject)
    assert len(subjects) <= 256
    assert all(not subject.is_anonymous and subject.user_id is None for subject in subjects)


def test_epochs_of_decoys_are_purged_like_any_other(world: World) -> None:
    for number in range(20):
        world.auth.login(f"name {number}", "wrong")
    world.clock.advance(HOUR)
    world.auth.purge()
    assert world.sessions._of_subject == {}


def test_a_decoy_is_one_for_one_name(world: World) -> None:
    for _ in range(2):
        world.auth.login("mallory", "wrong")
    openings = [call.arguments[0] for call in world.journal.calls if call.name == "open_epoch"]
    assert openings[0] == openings[1]


# -- login: hashes with older parameters ---------------------------------------


def test_an_outdated_hash_is_made_anew(world: World) -> None:
    outdate_hashes(world)
    world.login()
    assert (world.credentials.read_hash("id-of-alice") or "").startswith("2$")
    world.journal.forget()
    world.login()
    assert "hash" not in world.journal.names()


def test_a_wrong_password_makes_no_hash_anew(world: World) -> None:
    outdate_hashes(world)
    world.auth.login("alice", "wrong")
    assert "hash" not in world.journal.names()


def test_a_hash_made_anew_never_overwrites_a_password_changed_meanwhile(world: World) -> None:
    outdate_hashes(world)
    another = expect(str, world.passwords.hash(NEW_PASSWORD))
    world.journal.next(
        "replace_hash", overtaken_by(lambda: world.credentials.set_hash("id-of-alice", another))
    )
    world.login()
    assert world.credentials.read_hash("id-of-alice") == another


@pytest.mark.parametrize("intervention", [UNAVAILABLE, loses_reply, loses_request, CORRUPT])
def test_a_hash_that_cannot_be_written_does_not_fail_the_sign_in(
    world: World, intervention: Intervention
) -> None:
    outdate_hashes(world)
    world.journal.next("replace_hash", intervention)
    world.login()
    assert world.journal.count("replace_hash") == 1


def test_a_hasher_that_is_busy_does_not_fail_the_sign_in_that_it_verified(world: World) -> None:
    outdate_hashes(world)
    world.journal.next("hash", answers(Busy()))
    world.login()
    assert "replace_hash" not in world.journal.names()


def test_a_hasher_that_accepts_the_password_no_longer_does_not_fail_the_sign_in(
    world: World,
) -> None:
    # Its limits may have become stricter since the outdated hash was made.
    outdate_hashes(world)
    world.journal.next("hash", fails(UnacceptablePassword("the password is too long")))
    world.login()
    assert "replace_hash" not in world.journal.names()


# -- login: over what the browser holds already --------------------------------


def test_signing_in_over_an_own_live_session_evicts_it(world: World) -> None:
    before = world.login()
    after = world.login(cookie=before.session_id.reveal())
    assert stored(world) == (after.session,)
    assert world.told(SessionEnded) == [
        SessionEnded(
            at=world.clock.now(),
            stamp=world.told(SessionEnded)[0].stamp,
            user_id="id-of-alice",
            handle=before.session.handle,
            reason=EndReason.REPLACED,
        )
    ]


def test_signing_in_over_an_own_live_session_does_not_use_up_the_limit(world: World) -> None:
    world.auth = world.service(replace(POLICY, session_limit=2, on_limit=OnLimit.REJECT))
    other = world.cookie()
    held = world.cookie()
    assert world.auth.login("alice", PASSWORD) == LimitReached(2)
    world.login(cookie=held)
    assert world.is_live(other)


def test_the_session_held_goes_in_the_step_that_admits_the_new_one(world: World) -> None:
    held = world.login()
    world.journal.forget()
    world.login(cookie=held.session_id.reveal())
    (admission,) = (call for call in world.journal.calls if call.name == "admit")
    assert admission.arguments[1] == (held.session.locator,)
    assert "delete" not in world.journal.names()


def test_signing_in_over_another_users_session_deletes_it(world: World) -> None:
    bobs = world.login("bob")
    world.auth.change_data(bobs.session, {"cart": 1})
    alices = world.login(cookie=bobs.session_id.reveal(), keep=["cart"])
    assert stored(world, BOB) == ()
    assert world.auth.read_data(alices.session) == DataRead({})
    (event,) = world.told(SessionEnded)
    assert event == replace(event, user_id="id-of-bob", handle=bobs.session.handle)


def test_signing_in_over_an_anonymous_session_ends_it(world: World) -> None:
    visitor = world.auth.start_anonymous()
    world.login(cookie=visitor.session_id.reveal())
    assert world.inactive(visitor.session_id.reveal()) is InactiveReason.UNKNOWN
    (event,) = world.told(SessionEnded)
    assert event == replace(
        event, user_id=None, handle=visitor.session.handle, reason=EndReason.REPLACED
    )


def test_signing_in_over_an_anonymous_session_keeps_nothing_of_its_id(world: World) -> None:
    visitor = world.auth.start_anonymous()
    session_id = world.login(cookie=visitor.session_id.reveal()).session_id
    assert session_id.locator.epoch != visitor.session_id.locator.epoch
    assert session_id.locator.slot != visitor.session_id.locator.slot
    assert session_id.family_digest != visitor.session_id.family_digest


def test_signing_in_over_an_anonymous_session_carries_only_the_data_that_was_named(
    world: World,
) -> None:
    visitor = world.auth.start_anonymous()
    world.auth.change_data(
        visitor.session, {"cart": ["tea"], "locale": "fr", "csrf_token": "planted", "user_id": "x"}
    )
    cookie = visitor.session_id.reveal()
    session = world.login(cookie=cookie, keep=["cart", "locale", "absent"]).session
    assert world.auth.read_data(session) == DataRead({"cart": ["tea"], "locale": "fr"})


def test_a_csrf_token_planted_before_the_sign_in_does_not_survive_it(world: World) -> None:
    visitor = world.auth.start_anonymous()
    world.auth.change_data(visitor.session, {"csrf_token": "planted"})
    session = world.login(cookie=visitor.session_id.reveal()).session
    assert world.auth.read_data(session) == DataRead({})


def test_signing_in_over_an_own_session_carries_the_data_that_was_named(world: World) -> None:
    held = world.login()
    world.auth.change_data(held.session, {"cart": [1], "other": 2})
    session = world.login(cookie=held.session_id.reveal(), keep={"cart"}).session
    assert world.auth.read_data(session) == DataRead({"cart": [1]})


def test_no_data_is_read_if_none_is_to_be_kept(world: World) -> None:
    cookie = world.cookie()
    world.journal.forget()
    world.login(cookie=cookie)
    assert "read_data" not in world.journal.names()


def test_data_that_ended_with_its_session_is_not_carried(world: World) -> None:
    held = world.login()
    world.auth.change_data(held.session, {"cart": 1})
    elsewhere = world.elsewhere()
    world.journal.next(
        "read_data", overtaken_by(lambda: elsewhere.logout(held.session_id.reveal()))
    )
    session = world.login(cookie=held.session_id.reveal(), keep=["cart"]).session
    assert world.auth.read_data(session) == DataRead({})


def test_data_that_nobody_can_read_does_not_keep_its_user_from_signing_in(world: World) -> None:
    held = world.login()
    world.auth.change_data(held.session, {"cart": 1})
    world.journal.next("read_data", CORRUPT)
    session = world.login(cookie=held.session_id.reveal(), keep=["cart"]).session
    assert world.auth.read_data(session) == DataRead({})


def test_data_that_cannot_be_reached_is_an_outage_of_the_sign_in(world: World) -> None:
    held = world.login()
    world.journal.next("read_data", UNAVAILABLE)
    with pytest.raises(StoreUnavailable):
        world.auth.login("alice", PASSWORD, cookie=held.session_id.reveal(), keep=["cart"])
    assert stored(world) == (held.session,)


@pytest.mark.parametrize("intervention", [loses_reply, loses_request])
def test_carried_data_is_written_again_if_its_fate_is_unknown(
    world: World, intervention: Intervention
) -> None:
    visitor = world.auth.start_anonymous()
    world.auth.change_data(visitor.session, {"cart": 1})
    world.journal.next("write_data", intervention)
    session = world.login(cookie=visitor.session_id.reveal(), keep=["cart"]).session
    assert world.auth.read_data(session) == DataRead({"cart": 1})
    assert world.names_of_events().count("SessionStarted") == 2


def test_carried_data_whose_fate_stays_unknown_leaves_no_session(world: World) -> None:
    visitor = world.auth.start_anonymous()
    world.auth.change_data(visitor.session, {"cart": 1})
    world.journal.next("write_data", loses_reply, UNAVAILABLE)
    with pytest.raises(OutcomeUnknown):
        world.auth.login("alice", PASSWORD, cookie=visitor.session_id.reveal(), keep=["cart"])
    assert stored(world) == ()
    assert world.is_live(visitor.session_id.reveal())


def test_more_data_than_the_policy_allows_is_carried_all_the_same(world: World) -> None:
    auth = world.service(Policies(replace(POLICY, data_limit=4), REMEMBERED))
    visitor = world.auth.start_anonymous(policy="remembered")
    world.auth.change_data(visitor.session, {"cart": "as long as it is"})
    cookie = visitor.session_id.reveal()
    outcome = expect(LoggedIn, auth.login("alice", PASSWORD, cookie=cookie, keep=["cart"]))
    assert auth.read_data(outcome.session) == DataRead({"cart": "as long as it is"})


SIGN_INS_THAT_KEEP: list[Callable[[World, Any], object]] = [
    lambda world, keep: world.auth.login("alice", PASSWORD, keep=keep),
    lambda world, keep: world.auth.establish(
        world.auth.begin("id-of-alice"), methods=("hwk",), keep=keep
    ),
]


@pytest.mark.parametrize("sign_in", SIGN_INS_THAT_KEEP)
def test_one_text_is_not_taken_for_several_keys_to_keep(
    world: World, sign_in: Callable[[World, Any], object]
) -> None:
    with pytest.raises(TypeError, match="not one str"):
        sign_in(world, "cart")
    assert set(world.journal.names()) <= {"open_epoch"}


@pytest.mark.parametrize("sign_in", SIGN_INS_THAT_KEEP)
@pytest.mark.parametrize("key", ["", "a\n", "k" * 129, "\ud800"])
def test_a_key_that_cannot_be_one_is_not_kept_and_nothing_is_counted(
    world: World, sign_in: Callable[[World, Any], object], key: str
) -> None:
    with pytest.raises(InvalidData):
        sign_in(world, ["cart", key])
    assert set(world.journal.names()) <= {"open_epoch"}


def test_keys_that_cannot_be_kept_do_not_spend_the_attempt(world: World) -> None:
    attempt = world.auth.begin("id-of-alice")
    with pytest.raises(InvalidData):
        world.auth.establish(attempt, methods=("hwk",), keep=[""])
    with pytest.raises(TypeError):
        world.auth.establish(attempt, methods=("hwk",), keep="cart")
    assert isinstance(world.auth.establish(attempt, methods=("hwk",)), LoggedIn)


@pytest.mark.parametrize("cookie", [None, "", "garbage", "A" * 72])
def test_a_cookie_that_stands_for_nothing_changes_no_sign_in(
    world: World, cookie: str | None
) -> None:
    world.login(cookie=cookie, keep=["cart"])
    assert len(stored(world)) == 1


def test_signing_in_over_an_expired_session_replaces_nothing(world: World) -> None:
    held = world.login()
    world.clock.advance(POLICY.idle_timeout)
    session = world.login(cookie=held.session_id.reveal()).session
    assert stored(world) == (session,)
    assert world.told(SessionEnded) == []


def test_signing_in_with_an_id_in_its_grace_still_ends_its_session(world: World) -> None:
    cookie = world.cookie()
    world.confirmed(cookie)
    session = world.login(cookie=cookie).session
    assert stored(world) == (session,)


def test_signing_in_with_a_superseded_id_ends_its_session_and_carries_nothing(
    world: World,
) -> None:
    cookie = world.cookie()
    rotated = expect(Rotated, world.auth.rotate(cookie))
    world.auth.change_data(rotated.session, {"cart": 1})
    session = world.login(cookie=cookie, keep=["cart"]).session
    assert stored(world) == (session,)
    assert world.auth.read_data(session) == DataRead({})
    (event,) = world.told(SessionEnded)
    assert event == replace(event, handle=rotated.session.handle, reason=EndReason.REPLACED)


def test_signing_in_with_a_superseded_id_of_another_user_ends_its_session(world: World) -> None:
    bobs = world.cookie("bob")
    world.auth.rotate(bobs)
    world.login(cookie=bobs)
    assert stored(world, BOB) == ()


def test_signing_in_with_a_guess_ends_nothing(world: World) -> None:
    bobs = world.cookie("bob")
    world.login(cookie=altered(bobs))
    assert world.is_live(bobs)


def test_a_superseded_id_whose_session_ends_meanwhile_changes_no_sign_in(world: World) -> None:
    bobs = world.cookie("bob")
    world.auth.rotate(bobs)
    elsewhere = world.elsewhere()
    world.journal.next("find", goes_through, overtaken_by(lambda: elsewhere.logout(bobs)))
    world.login(cookie=bobs)
    assert [event.reason for event in world.told(SessionEnded)] == [EndReason.LOGOUT]


def test_a_superseded_id_whose_session_becomes_unreadable_changes_no_sign_in(
    world: World,
) -> None:
    cookie = world.cookie("bob")
    world.auth.rotate(cookie)
    world.journal.next("find", goes_through, CORRUPT)
    world.login(cookie=cookie)


def test_looking_at_what_the_browser_holds_touches_nothing(world: World) -> None:
    cookie = world.cookie("bob")
    world.clock.advance(20 * MINUTE)
    world.journal.forget()
    world.login(cookie=cookie)
    assert "replace" not in world.journal.names()


@pytest.mark.parametrize("name", ["write_data", "delete"])
def test_a_sign_in_that_cannot_finish_leaves_no_session_and_tells_of_none(
    world: World, name: str
) -> None:
    visitor = world.auth.start_anonymous()
    world.auth.change_data(visitor.session, {"cart": 1})
    world.journal.next(name, UNAVAILABLE)
    # Not StoreUnavailable: a session was admitted, maybe in place of another.
    with pytest.raises(OutcomeUnknown):
        world.auth.login("alice", PASSWORD, cookie=visitor.session_id.reveal(), keep=["cart"])
    assert stored(world) == ()
    assert world.is_live(visitor.session_id.reveal())
    assert world.names_of_events() == ["SessionStarted"]
    (event,) = world.told(SessionStarted)
    assert event.user_id is None


def test_a_session_is_told_of_after_what_it_replaced(world: World) -> None:
    visitor = world.auth.start_anonymous()
    world.login(cookie=visitor.session_id.reveal())
    assert world.names_of_events() == ["SessionStarted", "SessionEnded", "SessionStarted"]


def test_a_session_that_was_revoked_at_once_carries_nothing(world: World) -> None:
    visitor = world.auth.start_anonymous()
    world.auth.change_data(visitor.session, {"cart": 1})
    world.journal.next("write_data", overtaken_by(lambda: world.sessions.delete_user(ALICE)))
    outcome = world.login(cookie=visitor.session_id.reveal(), keep=["cart"])
    assert world.auth.read_data(outcome.session) == SessionGone()


def test_a_session_held_that_ended_meanwhile_is_not_told_of(world: World) -> None:
    bobs = world.cookie("bob")
    elsewhere = world.elsewhere()
    world.journal.next("admit", overtaken_by(lambda: elsewhere.logout(bobs)))
    world.login(cookie=bobs)
    reasons = [event.reason for event in world.told(SessionEnded)]
    assert reasons == [EndReason.LOGOUT]


@pytest.mark.parametrize("intervention", [loses_reply, loses_request])
def test_a_lost_reply_while_ending_what_was_held_is_asked_again(
    world: World, intervention: Intervention
) -> None:
    bobs = world.cookie("bob")
    world.journal.next("delete", intervention)
    world.login(cookie=bobs)
    assert stored(world, BOB) == ()
    assert world.names_of_events().count("SessionEnded") == 1


# -- login: races and unknown outcomes -----------------------------------------


def test_the_limit_evicts_the_session_seen_least_recently(world: World) -> None:
    cookies = [world.cookie() for _ in range(3)]
    world.clock.advance(2 * MINUTE)
    for cookie in (cookies[0], cookies[2]):
        world.active(cookie)
    fourth = world.cookie()
    assert [world.is_live(cookie) for cookie in (*cookies, fourth)] == [True, False, True, True]
    (event,) = world.told(SessionEnded)
    assert event == replace(event, reason=EndReason.EVICTED, user_id="id-of-alice")


def test_the_limit_rejects_if_the_policy_says_so(world: World) -> None:
    world.auth = world.service(replace(POLICY, session_limit=2, on_limit=OnLimit.REJECT))
    cookies = [world.cookie(), world.cookie()]
    assert world.auth.login("alice", PASSWORD) == LimitReached(2)
    assert all(map(world.is_live, cookies))


def test_dead_sessions_are_evicted_without_being_told_of(world: World) -> None:
    world.cookie()
    world.clock.advance(POLICY.idle_timeout)
    session = world.login().session
    assert stored(world) == (session,)
    assert world.told(SessionEnded) == []


def test_a_roster_that_changed_is_read_again(world: World) -> None:
    elsewhere = world.elsewhere(replace(POLICY, session_limit=1))
    world.auth = world.service(replace(POLICY, session_limit=1))
    world.journal.next("admit", overtaken_by(lambda: elsewhere.login("alice", PASSWORD)))
    session = world.login().session
    assert stored(world) == (session,)


def test_a_roster_that_never_stands_still_is_busy(world: World) -> None:
    world.journal.always("admit", CONFLICT)
    assert world.auth.login("alice", PASSWORD) == Busy()
    assert world.journal.count("admit") == TRIES


def test_every_try_has_a_fresh_slot_and_secret(world: World) -> None:
    world.journal.next("admit", CONFLICT, CONFLICT)
    world.login()
    tries = [call.arguments[0] for call in world.journal.calls if call.name == "admit"]
    assert len({session.locator.slot for session in tries}) == 3
    assert len({session.current for session in tries}) == 3
    assert len({session.stamp for session in tries}) == 3


def test_a_sign_in_overtaken_by_sign_out_everywhere_is_repeated_once(world: World) -> None:
    world.journal.next("admit", overtaken_by(lambda: world.sessions.delete_user(ALICE)))
    session = world.login().session
    assert stored(world) == (session,)
    for name in ("open_epoch", "read_hash", "verify"):
        assert world.journal.count(name) == 2
    assert world.journal.count("reserve") == 1


def test_a_sign_in_overtaken_twice_is_busy(world: World) -> None:
    overtake = overtaken_by(lambda: world.sessions.delete_user(ALICE))
    world.journal.next("admit", overtake, overtake)
    assert world.auth.login("alice", PASSWORD) == Busy()
    assert stored(world) == ()
    assert world.journal.count("open_epoch") == 2


def test_a_sign_in_with_the_old_password_does_not_survive_its_change(world: World) -> None:
    elsewhere = world.elsewhere()
    cookie = world.cookie()
    world.journal.next(
        "verify",
        overtaken_by(lambda: elsewhere.change_password(cookie, PASSWORD, NEW_PASSWORD)),
    )
    world.journal.next("verify", goes_through)
    assert world.auth.login("alice", PASSWORD) == Refused()
    assert len(stored(world)) == 1


def test_a_sign_in_whose_password_was_reset_while_it_verified_comes_to_nothing(
    world: World,
) -> None:
    another = expect(str, world.passwords.hash(NEW_PASSWORD))

    def reset() -> None:
        world.credentials.set_hash("id-of-alice", another)
        world.elsewhere().logout_everywhere("id-of-alice")

    world.journal.next("admit", overtaken_by(reset))
    assert world.auth.login("alice", PASSWORD) == Refused()
    assert stored(world) == ()


@pytest.mark.parametrize("intervention", [loses_reply, loses_request])
def test_an_admission_whose_fate_is_unknown_is_undone_and_tried_with_a_fresh_slot(
    world: World, intervention: Intervention
) -> None:
    world.journal.next("admit", intervention)
    outcome = world.login()
    assert stored(world) == (outcome.session,)
    tries = [call.arguments[0] for call in world.journal.calls if call.name == "admit"]
    deleted = [call.arguments[0] for call in world.journal.calls if call.name == "delete"]
    assert deleted == [tries[0].locator]
    assert tries[0].locator != tries[1].locator
    assert world.names_of_events() == ["SessionStarted"]


def test_a_session_that_went_for_an_admission_of_unknown_fate_is_told_of(world: World) -> None:
    held = world.login()
    world.journal.next("admit", loses_reply)
    world.login(cookie=held.session_id.reveal())
    assert not world.is_live(held.session_id.reveal())
    (event,) = world.told(SessionEnded)
    assert (event.handle, event.reason) == (held.session.handle, EndReason.REPLACED)


def test_a_session_that_was_crowded_out_by_an_admission_of_unknown_fate_is_told_of(
    world: World,
) -> None:
    first = world.login()
    for _ in range(2):
        world.login()
    world.journal.next("admit", loses_reply)
    world.login()
    assert not world.is_live(first.session_id.reveal())
    (event,) = world.told(SessionEnded)
    assert (event.handle, event.reason) == (first.session.handle, EndReason.EVICTED)


def test_a_session_that_survived_an_admission_of_unknown_fate_is_told_of_once(
    world: World,
) -> None:
    held = world.login()
    world.journal.next("admit", loses_request)
    world.login(cookie=held.session_id.reveal())
    assert [event.handle for event in world.told(SessionEnded)] == [held.session.handle]


@pytest.mark.parametrize(
    "interventions",
    [
        (loses_request, loses_reply),
        (loses_reply, loses_request),
        (loses_request, loses_request, loses_reply),
        (loses_request, CONFLICT, loses_reply),
    ],
)
def test_a_session_that_went_for_one_of_several_unknown_admissions_is_told_of_once(
    world: World, interventions: tuple[Intervention, ...]
) -> None:
    held = world.login()
    world.journal.next("admit", *interventions)
    world.login(cookie=held.session_id.reveal())
    assert [event.handle for event in world.told(SessionEnded)] == [held.session.handle]


def test_a_session_that_goes_late_for_an_admission_of_unknown_fate_is_told_of(
    world: World,
) -> None:
    held = world.login()
    late: list[Callable[[], object]] = []

    def delayed(call: Callable[[], Any]) -> Any:
        late.append(call)
        raise OutcomeUnknown("it is still on its way")

    def arrive() -> None:
        late.pop()()

    world.journal.next("admit", delayed, overtaken_by(arrive))
    outcome = world.login(cookie=held.session_id.reveal())
    assert stored(world) == (outcome.session,)
    assert [event.handle for event in world.told(SessionEnded)] == [held.session.handle]


def test_an_admission_that_takes_effect_late_is_evicted_by_the_next_try(world: World) -> None:
    late: list[Callable[[], object]] = []

    def delayed(call: Callable[[], Any]) -> Any:
        late.append(call)
        raise OutcomeUnknown("it is still on its way")

    def arrive() -> None:
        late.pop()()

    world.journal.next("admit", delayed)
    world.journal.next("roster", goes_through, overtaken_by(arrive))
    outcome = world.login()
    assert stored(world) == (outcome.session,)
    assert late == []


def test_an_admission_that_cannot_be_undone_is_raised(world: World) -> None:
    world.journal.next("admit", loses_reply)
    world.journal.next("delete", UNAVAILABLE)
    with pytest.raises(OutcomeUnknown):
        world.auth.login("alice", PASSWORD)
    assert world.told(Event) == []


@pytest.mark.parametrize("name", ["roster", "admit"])
def test_after_an_admission_of_unknown_fate_nobody_says_that_nothing_was_written(
    world: World, name: str
) -> None:
    if name == "admit":
        world.journal.next("admit", loses_reply, UNAVAILABLE)
    else:
        world.journal.next("admit", loses_reply)
        world.journal.next("roster", goes_through, UNAVAILABLE)
    with pytest.raises(OutcomeUnknown):
        world.auth.login("alice", PASSWORD)


def test_after_an_end_of_unknown_fate_nobody_says_that_nothing_was_written(world: World) -> None:
    cookie = world.cookie()
    world.journal.next("delete", loses_reply)
    world.journal.next("roster", UNAVAILABLE)
    with pytest.raises(OutcomeUnknown):
        world.auth.logout(cookie)
    assert not world.is_live(cookie)


def test_an_admission_whose_undoing_stays_unknown_is_raised_as_such(world: World) -> None:
    world.journal.next("admit", loses_reply)
    world.journal.next("delete", loses_request, UNAVAILABLE)
    with pytest.raises(OutcomeUnknown):
        world.auth.login("alice", PASSWORD)


def test_an_admission_that_was_undone_with_an_unknown_outcome_is_undone_again(
    world: World,
) -> None:
    world.journal.next("admit", loses_reply)
    world.journal.next("delete", loses_request)
    outcome = world.login()
    assert stored(world) == (outcome.session,)


# -- begin and establish -------------------------------------------------------


def test_a_proof_of_another_kind_signs_in(world: World) -> None:
    attempt = world.auth.begin("id-of-alice")
    outcome = world.auth.establish(attempt, methods=("hwk", "pin"), device=a_device())
    session = expect(LoggedIn, outcome).session
    assert session.user_id == "id-of-alice"
    assert session.methods == ("hwk", "pin")
    assert session.device == a_device()
    assert world.names_of_events() == ["SessionStarted"]


def test_an_attempt_holds_the_epoch_from_before_the_proof(world: World) -> None:
    attempt = world.auth.begin("id-of-alice")
    assert world.journal.names() == ["open_epoch"]
    assert attempt.epoch == world.login().session.locator.epoch
    assert attempt.opened_at == world.clock.now()


def test_nobody_can_begin_who_is_no_user(world: World) -> None:
    with pytest.raises(ValueError, match="user id"):
        world.auth.begin("")
    assert world.journal.calls == []


def test_an_attempt_is_established_once(world: World) -> None:
    attempt = world.auth.begin("id-of-alice")
    world.auth.establish(attempt, methods=("hwk",))
    with pytest.raises(AttemptSpent):
        world.auth.establish(attempt, methods=("hwk",))
    assert len(stored(world)) == 1


def test_an_attempt_is_good_until_just_before_the_login_window_has_passed(world: World) -> None:
    attempt = world.auth.begin("id-of-alice")
    world.clock.advance(10 * MINUTE - MILLISECOND)
    assert isinstance(world.auth.establish(attempt, methods=("hwk",)), LoggedIn)


def test_an_attempt_is_refused_when_the_login_window_has_passed(world: World) -> None:
    attempt = world.auth.begin("id-of-alice")
    world.clock.advance(10 * MINUTE)
    outcome = world.auth.establish(attempt, methods=("hwk",), device=a_device())
    assert outcome == Refused()
    (event,) = world.told(Event)
    assert isinstance(event, LoginRefused)
    assert (event.user_id, event.source) == ("id-of-alice", ADDRESS)
    assert stored(world) == ()


def test_an_attempt_is_refused_when_the_users_sessions_were_ended_since(world: World) -> None:
    attempt = world.auth.begin("id-of-alice")
    world.auth.logout_everywhere("id-of-alice")
    assert world.auth.establish(attempt, methods=("hwk",)) == Refused()
    assert stored(world) == ()
    assert world.names_of_events() == ["AllSessionsEnded", "LoginRefused"]


def test_an_attempt_is_refused_though_somebody_has_begun_since(world: World) -> None:
    attempt = world.auth.begin("id-of-alice")
    world.auth.logout_everywhere("id-of-alice")
    world.login()
    assert world.auth.establish(attempt, methods=("hwk",)) == Refused()


@pytest.mark.parametrize(
    ("methods", "text"), [((), "at least one"), (("a b",), "visible ASCII"), (("a",) * 9, "8")]
)
def test_what_cannot_be_recorded_does_not_spend_the_attempt(
    world: World, methods: tuple[str, ...], text: str
) -> None:
    attempt = world.auth.begin("id-of-alice")
    with pytest.raises(ValueError, match=text):
        world.auth.establish(attempt, methods=methods)
    assert isinstance(world.auth.establish(attempt, methods=("hwk",)), LoggedIn)


def test_a_policy_that_does_not_exist_does_not_spend_the_attempt(world: World) -> None:
    attempt = world.auth.begin("id-of-alice")
    with pytest.raises(InvalidPolicy):
        world.auth.establish(attempt, methods=("hwk",), policy="nobody's")
    assert isinstance(world.auth.establish(attempt, methods=("hwk",)), LoggedIn)


def test_the_policy_is_chosen_by_the_role_of_the_attempt(world: World) -> None:
    def choose(_user_id: str, role: str | None, _requested: str | None) -> str | None:
        return "remembered" if role == "reader" else None

    auth = world.service(Policies(POLICY, REMEMBERED, choose=choose))
    for role, policy in (("reader", "remembered"), ("staff", "default"), (None, "default")):
        attempt = auth.begin("id-of-alice", role=role)
        outcome = expect(LoggedIn, auth.establish(attempt, methods=("hwk",)))
        assert outcome.session.policy == policy


def test_establishing_over_an_anonymous_session_replaces_it(world: World) -> None:
    visitor = world.auth.start_anonymous()
    world.auth.change_data(visitor.session, {"cart": 1, "csrf": "planted"})
    attempt = world.auth.begin("id-of-alice")
    outcome = world.auth.establish(
        attempt, methods=("hwk",), cookie=visitor.session_id.reveal(), keep=["cart"]
    )
    session = expect(LoggedIn, outcome).session
    assert world.auth.read_data(session) == DataRead({"cart": 1})
    assert not world.is_live(visitor.session_id.reveal())


def test_establishing_may_reach_the_limit(world: World) -> None:
    auth = world.service(replace(POLICY, session_limit=1, on_limit=OnLimit.REJECT))
    world.login()
    attempt = auth.begin("id-of-alice")
    assert auth.establish(attempt, methods=("hwk",)) == LimitReached(1)
    assert [event.limit for event in world.told(SessionLimitReached)] == [1]


def test_establishing_may_be_busy(world: World) -> None:
    attempt = world.auth.begin("id-of-alice")
    world.journal.always("admit", CONFLICT)
    assert world.auth.establish(attempt, methods=("hwk",)) == Busy()


def test_an_attempt_kept_in_session_data_is_taken_out_once(world: World) -> None:
    visitor = world.auth.start_anonymous()
    attempt = world.auth.begin("id-of-alice", role="staff")
    value: Any = attempt.to_json()
    world.auth.change_data(visitor.session, {"attempt": value})
    taken = expect(DataTaken, world.auth.take_data(visitor.session, "attempt"))
    assert world.auth.take_data(visitor.session, "attempt") == NothingToTake()
    outcome = world.auth.establish(Attempt.from_json(taken.value), methods=("pwd", "otp"))
    assert expect(LoggedIn, outcome).session.methods == ("pwd", "otp")


def test_a_session_that_is_taken_over_needs_a_proof_before_anything_sensitive(
    world: World,
) -> None:
    attempt = world.auth.begin("id-of-alice")
    outcome = world.auth.establish(attempt, methods=("migrated",), fresh=False)
    session = expect(LoggedIn, outcome).session
    assert session.authenticated_at is None
    assert session.methods == ("migrated",)
    assert not world.auth.is_fresh(session)
    assert not world.auth.is_fresh(session, 1_000 * DAY)
    proven = world.auth.reauthenticate(expect(LoggedIn, outcome).session_id.reveal(), PASSWORD)
    assert world.auth.is_fresh(expect(Rotated, proven).session)


# -- start_anonymous -----------------------------------------------------------


def test_an_anonymous_session_belongs_to_nobody(world: World) -> None:
    outcome = world.auth.start_anonymous(device=a_device())
    session = world.active(outcome.session_id.reveal()).session
    assert session == outcome.session
    assert (session.user_id, session.is_anonymous) == (None, True)
    assert (session.methods, session.authenticated_at) == ((), None)
    assert session.device == a_device()
    assert world.names_of_events() == ["SessionStarted"]


def test_every_anonymous_session_has_an_epoch_of_its_own(world: World) -> None:
    epochs = {world.auth.start_anonymous().session.locator.epoch for _ in range(3)}
    assert len(epochs) == 3


def test_an_anonymous_session_may_ask_for_a_policy(world: World) -> None:
    outcome = world.auth.start_anonymous(policy="remembered")
    assert outcome.session.policy == "remembered"
    assert outcome.persist_for == REMEMBERED.absolute_timeout


def test_an_anonymous_session_needs_a_policy_that_exists(world: World) -> None:
    with pytest.raises(InvalidPolicy):
        world.auth.start_anonymous(policy="nobody's")
    assert world.journal.calls == []


@pytest.mark.parametrize("intervention", [STALE, CONFLICT])
def test_an_anonymous_session_that_was_not_admitted_is_tried_again(
    world: World, intervention: Intervention
) -> None:
    world.journal.next("admit", intervention)
    outcome = world.auth.start_anonymous()
    assert world.is_live(outcome.session_id.reveal())
    subjects = {call.arguments[0] for call in world.journal.calls if call.name == "open_epoch"}
    assert len(subjects) == 2


def test_a_store_that_admits_no_anonymous_session_is_unavailable(world: World) -> None:
    world.journal.always("admit", CONFLICT)
    with pytest.raises(StoreUnavailable):
        world.auth.start_anonymous()
    assert world.journal.count("admit") == TRIES


def test_an_anonymous_session_whose_fate_is_unknown_is_raised(world: World) -> None:
    world.journal.next("admit", loses_reply)
    with pytest.raises(OutcomeUnknown):
        world.auth.start_anonymous()
    assert world.told(Event) == []


# -- authenticate: who is this -------------------------------------------------


def test_no_cookie_is_absent_and_no_store_is_asked(world: World) -> None:
    assert world.inactive(None) is InactiveReason.ABSENT
    assert world.journal.calls == []


@pytest.mark.parametrize("cookie", ["x", "A" * 71, "A" * 72 + "\n", "é" * 72, "A" * 71 + "+"])
def test_malformed_text_never_reaches_the_store(world: World, cookie: str) -> None:
    assert world.inactive(cookie) is InactiveReason.MALFORMED
    assert world.auth.rotate(cookie) == Inactive(InactiveReason.MALFORMED)
    assert world.auth.reauthenticate(cookie, PASSWORD) == Inactive(InactiveReason.MALFORMED)
    changed = world.auth.change_password(cookie, PASSWORD, NEW_PASSWORD)
    assert changed == Inactive(InactiveReason.MALFORMED)
    assert world.auth.logout(cookie) == LoggedOut(ended=False)
    assert world.journal.calls == []


def test_without_a_cookie_nothing_can_be_changed(world: World) -> None:
    assert world.auth.rotate(None) == Inactive(InactiveReason.ABSENT)
    assert world.auth.reauthenticate(None, PASSWORD) == Inactive(InactiveReason.ABSENT)
    changed = world.auth.change_password(None, PASSWORD, NEW_PASSWORD)
    assert changed == Inactive(InactiveReason.ABSENT)
    assert world.auth.logout(None) == LoggedOut(ended=False)
    assert world.journal.calls == []


def test_an_empty_cookie_is_called_alike_by_every_use_case(world: World) -> None:
    reasons = {
        world.inactive(""),
        expect(Inactive, world.auth.rotate("")).reason,
        expect(Inactive, world.auth.reauthenticate("", PASSWORD)).reason,
        expect(Inactive, world.auth.change_password("", PASSWORD, NEW_PASSWORD)).reason,
    }
    assert len(reasons) == 1


def test_an_id_that_was_never_issued_is_unknown_and_never_adopted(world: World) -> None:
    assert world.inactive("A" * 72) is InactiveReason.UNKNOWN
    assert world.journal.names() == ["find"]
    assert world.sessions._of_subject == {}


def test_a_guess_at_a_session_is_unknown_and_changes_nothing(world: World) -> None:
    cookie = world.cookie()
    world.clock.advance(20 * MINUTE)
    world.journal.forget()
    assert world.inactive(altered(cookie)) is InactiveReason.UNKNOWN
    assert world.journal.names() == ["find"]
    assert world.names_of_events() == ["SessionStarted"]
    assert world.is_live(cookie)


def test_a_session_is_idle_at_its_timeout_and_not_before(world: World) -> None:
    cookie = world.cookie()
    world.clock.advance(POLICY.idle_timeout - MILLISECOND)
    assert world.is_live(cookie)
    world.clock.advance(MILLISECOND)
    assert world.inactive(cookie) is InactiveReason.IDLE


def test_a_session_that_is_used_all_the_time_gets_too_old(world: World) -> None:
    auth = world.service(replace(POLICY, renewal_interval=None))
    cookie = world.cookie()
    for _ in range(47):
        world.clock.advance(15 * MINUTE)
        assert isinstance(auth.authenticate(cookie), Active)
    world.clock.advance(15 * MINUTE)
    assert auth.authenticate(cookie) == Inactive(InactiveReason.TOO_OLD)


def test_a_session_of_a_policy_that_is_gone_is_dead_and_told_of(world: World) -> None:
    session = world.login(policy="remembered")
    world.auth = world.service(POLICY)
    cookie = session.session_id.reveal()
    assert world.inactive(cookie) is InactiveReason.POLICY_UNKNOWN
    event = world.told(SessionUnusable)[-1]
    assert event.handle == session.session.handle
    assert event.reason is InactiveReason.POLICY_UNKNOWN


def test_an_unreadable_session_is_not_live_and_told_of(world: World) -> None:
    session = world.login()
    world.journal.always("find", CORRUPT)
    assert world.inactive(session.session_id.reveal()) is InactiveReason.UNREADABLE
    (event,) = world.told(SessionUnusable)
    assert event.handle == session.session.handle
    assert event.reason is InactiveReason.UNREADABLE


def test_an_outage_is_not_a_logout(world: World) -> None:
    cookie = world.cookie()
    world.journal.next("find", UNAVAILABLE)
    with pytest.raises(StoreUnavailable):
        world.auth.authenticate(cookie)
    assert world.is_live(cookie)


def test_nothing_that_is_inactive_writes(world: World) -> None:
    cookie = world.cookie()
    world.clock.advance(POLICY.idle_timeout)
    world.journal.forget()
    world.inactive(cookie)
    world.inactive(retired(cookie))
    world.inactive(altered(cookie))
    assert set(world.journal.names()) == {"find"}


# -- authenticate: being seen --------------------------------------------------


def test_a_request_is_one_find_if_nothing_is_to_be_recorded(world: World) -> None:
    cookie = world.cookie()
    world.clock.advance(MINUTE - MILLISECOND)
    world.journal.forget()
    assert world.active(cookie).renewed is None
    assert world.journal.names() == ["find"]


def test_being_seen_is_one_replace_more(world: World) -> None:
    cookie = world.cookie()
    world.clock.advance(MINUTE)
    world.journal.forget()
    active = world.active(cookie)
    assert world.journal.names() == ["find", "replace"]
    assert active.session.last_seen_at == world.clock.now()
    assert stored(world) == (active.session,)


def test_a_passive_request_is_no_sign_of_life(world: World) -> None:
    cookie = world.cookie()
    world.clock.advance(14 * MINUTE)
    world.journal.forget()
    world.active(cookie, passive=True)
    assert world.journal.names() == ["find"]


def test_polling_does_not_keep_a_session_alive(world: World) -> None:
    auth = world.service(replace(POLICY, renewal_interval=None))
    cookie = world.cookie()
    for _ in range(29):
        world.clock.advance(MINUTE)
        assert isinstance(auth.authenticate(cookie, passive=True), Active)
    world.clock.advance(MINUTE)
    assert auth.authenticate(cookie) == Inactive(InactiveReason.IDLE)


# -- authenticate: renewal -----------------------------------------------------


def test_a_renewal_that_is_due_is_answered_once_it_is_stored(world: World) -> None:
    cookie = world.cookie()
    world.clock.advance(15 * MINUTE)
    world.journal.forget()
    active = world.active(cookie)
    assert world.journal.names() == ["find", "replace"]
    assert active.renewed is not None
    pending = stored(world)[0].pending
    assert pending is not None
    assert pending.digest == active.renewed.digest
    assert active.persist_for is None


def test_a_renewal_is_a_touch_too_in_one_replace(world: World) -> None:
    cookie = world.cookie()
    world.due(cookie)
    assert stored(world)[0].last_seen_at == world.clock.now()


def test_every_request_with_the_current_id_is_answered_one_successor(world: World) -> None:
    cookie = world.cookie()
    successor = world.due(cookie)
    world.journal.forget()
    for _ in range(3):
        active = world.active(cookie)
        assert active.renewed is not None
        assert active.renewed.reveal() == successor
    assert world.journal.names() == ["find"] * 3


def test_a_persistent_cookie_is_renewed_for_what_is_left(world: World) -> None:
    cookie = world.login(policy="remembered").session_id.reveal()
    world.clock.advance(HOUR)
    active = world.active(cookie)
    assert active.renewed is not None
    assert active.persist_for == REMEMBERED.absolute_timeout - HOUR
    assert world.active(active.renewed.reveal()).persist_for is None


def test_a_successor_is_confirmed_by_its_first_use_and_told_of_once(world: World) -> None:
    cookie = world.cookie()
    successor = world.due(cookie)
    world.journal.forget()
    first = world.active(successor)
    assert first.renewed is None
    assert world.journal.names() == ["find", "replace"]
    world.active(successor)
    assert world.told(SessionRenewed) == [
        SessionRenewed(
            at=first.session.changed_at,
            stamp=first.session.stamp.hex(),
            user_id="id-of-alice",
            handle=first.session.handle,
        )
    ]


def test_the_previous_id_is_accepted_in_its_grace_and_answered_nothing(world: World) -> None:
    cookie = world.cookie()
    world.confirmed(cookie)
    world.clock.advance(GRACE - MILLISECOND)
    assert world.active(cookie).renewed is None


def test_the_previous_id_is_superseded_after_its_grace(world: World) -> None:
    cookie = world.cookie()
    successor = world.confirmed(cookie)
    world.clock.advance(GRACE)
    events = world.names_of_events()
    world.journal.forget()
    assert world.inactive(cookie) is InactiveReason.SUPERSEDED
    assert world.journal.names() == ["find"]
    assert world.names_of_events() == events
    assert world.is_live(successor)


def test_a_request_is_judged_by_when_it_arrived(world: World) -> None:
    cookie = world.cookie()
    world.confirmed(cookie)
    arrived_at = world.clock.now() + GRACE - MILLISECOND
    world.clock.advance(3 * GRACE)
    world.active(cookie, arrived_at=arrived_at)
    late = arrived_at + MILLISECOND
    assert world.inactive(cookie, arrived_at=late) is InactiveReason.SUPERSEDED


def test_an_upload_that_takes_minutes_is_no_late_request(world: World) -> None:
    cookie = world.cookie()
    arrived_at = world.clock.now() + 15 * MINUTE
    successor = world.confirmed(cookie)
    for _ in range(10):
        world.clock.advance(MINUTE)
        world.active(successor)
    world.active(cookie, arrived_at=arrived_at)


def test_a_request_that_says_it_arrived_later_than_now_arrived_now(world: World) -> None:
    cookie = world.cookie()
    world.confirmed(cookie)
    world.active(cookie, arrived_at=world.clock.now() + DAY)


def test_a_reused_id_ends_the_session(world: World) -> None:
    cookie = world.cookie()
    successor = world.confirmed(cookie)
    world.clock.advance(2 * GRACE)
    session = stored(world)[0]
    world.journal.forget()
    assert world.inactive(cookie) is InactiveReason.REUSED
    assert world.journal.names() == ["find", "delete"]
    assert world.inactive(successor) is InactiveReason.UNKNOWN
    (event,) = world.told(SessionIdReused)
    assert (event.handle, event.user_id) == (session.handle, "id-of-alice")
    assert event.ended is True


def test_a_reused_id_is_only_refused_if_the_policy_says_so(world: World) -> None:
    world.auth = world.service(replace(POLICY, on_reuse=OnReuse.REFUSE))
    cookie = world.cookie()
    successor = world.confirmed(cookie)
    world.clock.advance(2 * GRACE)
    world.journal.forget()
    assert world.inactive(cookie) is InactiveReason.REUSED
    assert world.journal.names() == ["find"]
    assert world.is_live(successor)
    (event,) = world.told(SessionIdReused)
    assert event.ended is False


def test_a_reused_id_ends_only_the_record_it_was_judged_on(world: World) -> None:
    cookie = world.cookie()
    successor = world.confirmed(cookie)
    world.clock.advance(2 * GRACE)
    elsewhere = world.elsewhere()
    world.journal.next("delete", overtaken_by(lambda: elsewhere.rotate(successor)))
    assert world.inactive(cookie) is InactiveReason.SUPERSEDED
    assert len(stored(world)) == 1
    assert world.told(SessionIdReused) == []


def test_a_session_that_changes_faster_than_it_can_be_ended_is_an_outage(world: World) -> None:
    cookie = world.cookie()
    world.confirmed(cookie)
    world.clock.advance(2 * GRACE)
    world.journal.always("delete", answers(value=False))
    with pytest.raises(StoreUnavailable):
        world.auth.authenticate(cookie)
    assert world.journal.count("delete") == TRIES


@pytest.mark.parametrize("intervention", [UNAVAILABLE, loses_reply, loses_request])
def test_a_reused_id_is_refused_though_the_session_could_not_be_ended(
    world: World, intervention: Intervention
) -> None:
    cookie = world.cookie()
    world.confirmed(cookie)
    world.clock.advance(2 * GRACE)
    world.journal.next("delete", intervention)
    assert world.inactive(cookie) is InactiveReason.REUSED
    (event,) = world.told(SessionIdReused)
    assert event.ended is None


# -- authenticate: lost races and failing writes -------------------------------


def test_a_touch_that_lost_its_race_is_judged_again(world: World) -> None:
    cookie = world.cookie()
    world.clock.advance(MINUTE)
    elsewhere = world.elsewhere()
    world.journal.next("replace", overtaken_by(lambda: elsewhere.authenticate(cookie)))
    world.active(cookie)
    assert world.journal.count("find") == 3
    assert world.told(UpkeepSkipped) == []


def test_parallel_renewals_end_at_one_successor(world: World) -> None:
    cookie = world.cookie()
    world.clock.advance(15 * MINUTE)
    answered: list[Active] = []
    elsewhere = world.elsewhere()

    def renew_first() -> None:
        answered.append(expect(Active, elsewhere.authenticate(cookie)))

    world.journal.next("replace", overtaken_by(renew_first))
    answered.append(world.active(cookie))
    assert answered[0].renewed == answered[1].renewed is not None


def test_a_successor_that_two_requests_present_is_confirmed_and_told_of_once(world: World) -> None:
    successor = world.due(world.cookie())
    elsewhere = world.elsewhere()
    world.journal.next("replace", overtaken_by(lambda: elsewhere.authenticate(successor)))
    world.active(successor)
    assert len(world.told(SessionRenewed)) == 1


def test_a_session_that_is_ended_during_a_touch_is_not_answered_as_live(world: World) -> None:
    cookie = world.cookie()
    world.clock.advance(MINUTE)
    elsewhere = world.elsewhere()
    world.journal.next("replace", overtaken_by(lambda: elsewhere.logout(cookie)))
    assert world.inactive(cookie) is InactiveReason.UNKNOWN


def test_upkeep_that_always_loses_is_left_to_the_next_request(world: World) -> None:
    cookie = world.cookie()
    world.clock.advance(15 * MINUTE)
    world.journal.always("replace", answers(value=False))
    active = world.active(cookie)
    assert active.renewed is None
    assert world.journal.count("replace") == UPKEEP_TRIES
    assert world.journal.count("find") == UPKEEP_TRIES
    assert len(world.told(UpkeepSkipped)) == 1


@pytest.mark.parametrize("intervention", [UNAVAILABLE, loses_request, loses_reply, CORRUPT])
def test_upkeep_that_fails_answers_the_session_without_a_successor(
    world: World, intervention: Intervention
) -> None:
    session = world.login()
    cookie = session.session_id.reveal()
    world.clock.advance(15 * MINUTE)
    world.journal.next("replace", intervention)
    world.journal.forget()
    assert world.active(cookie) == Active(session.session)
    assert world.journal.names() == ["find", "replace"]
    (event,) = world.told(UpkeepSkipped)
    assert (event.handle, event.user_id) == (session.session.handle, "id-of-alice")


@pytest.mark.parametrize("intervention", [UNAVAILABLE, loses_request, loses_reply])
def test_the_next_request_takes_care_of_what_was_left(
    world: World, intervention: Intervention
) -> None:
    cookie = world.cookie()
    world.clock.advance(15 * MINUTE)
    world.journal.next("replace", intervention)
    world.active(cookie)
    active = world.active(cookie)
    assert active.renewed is not None
    assert world.is_live(active.renewed.reveal())


@pytest.mark.parametrize(
    ("intervention", "told"),
    [(UNAVAILABLE, 0), (CORRUPT, 0), (loses_request, 1), (loses_reply, 1)],
)
def test_a_confirmation_that_fails_answers_the_session_and_is_told_of_if_it_may_have_happened(
    world: World, intervention: Intervention, told: int
) -> None:
    successor = world.due(world.cookie())
    world.journal.next("replace", intervention)
    assert world.active(successor).renewed is None
    assert len(world.told(SessionRenewed)) == told
    assert len(world.told(UpkeepSkipped)) == 1
    assert world.is_live(successor)


def test_a_confirmation_whose_reply_was_lost_is_told_of_with_the_stamp_that_was_stored(
    world: World,
) -> None:
    successor = world.due(world.cookie())
    world.journal.next("replace", loses_reply)
    world.active(successor)
    world.active(successor)
    (event,) = world.told(SessionRenewed)
    assert event.stamp == stored(world)[0].stamp.hex()


def test_a_touch_whose_fate_is_unknown_is_not_told_of_as_a_renewal(world: World) -> None:
    cookie = world.cookie()
    world.clock.advance(15 * MINUTE)
    world.journal.next("replace", loses_reply)
    world.active(cookie)
    assert world.told(SessionRenewed) == []


# -- authenticate: until when a renewal may be answered ------------------------


def test_a_renewal_may_be_answered_during_the_grace_of_its_request(world: World) -> None:
    cookie = world.cookie()
    world.clock.advance(15 * MINUTE)
    arrived_at = world.clock.now() - 2 * SECOND
    drawn = world.active(cookie, arrived_at=arrived_at)
    again = world.active(cookie, arrived_at=arrived_at)
    assert drawn.renewed == again.renewed is not None
    assert drawn.answer_by == again.answer_by == arrived_at + GRACE


def test_where_nothing_is_renewed_nothing_is_to_be_answered(world: World) -> None:
    assert world.active(world.cookie()).answer_by is None


def test_a_renewal_that_was_not_stored_is_not_to_be_answered(world: World) -> None:
    cookie = world.cookie()
    world.clock.advance(15 * MINUTE)
    world.journal.always("replace", UNAVAILABLE)
    assert world.active(cookie).answer_by is None


# -- recheck -------------------------------------------------------------------


def test_a_live_session_is_still_live_and_has_no_new_id(world: World) -> None:
    cookie = world.cookie()
    session = world.active(cookie).session
    world.clock.advance(15 * MINUTE)
    world.journal.forget()
    assert world.auth.recheck(session) == Active(session)
    assert world.journal.names() == ["find"]


def test_a_recheck_tells_what_the_session_is_now(world: World) -> None:
    cookie = world.cookie()
    session = world.active(cookie).session
    successor = world.confirmed(cookie)
    assert expect(Active, world.auth.recheck(session)).session == world.active(successor).session


def test_a_recheck_is_no_sign_of_life(world: World) -> None:
    session = world.login().session
    world.clock.advance(POLICY.idle_timeout - MILLISECOND)
    assert isinstance(world.auth.recheck(session), Active)
    world.clock.advance(MILLISECOND)
    assert world.auth.recheck(session) == Inactive(InactiveReason.IDLE)


@pytest.mark.parametrize("end", ["logout", "revoke", "everywhere", "others"])
def test_a_recheck_notices_every_way_to_end_a_session(world: World, end: str) -> None:
    login = world.login()
    cookie = login.session_id.reveal()
    if end == "logout":
        world.auth.logout(cookie)
    elif end == "revoke":
        world.auth.revoke("id-of-alice", login.session.handle)
    else:
        world.auth.logout_everywhere("id-of-alice", keep=cookie if end == "others" else None)
    assert world.auth.recheck(login.session) == Inactive(InactiveReason.UNKNOWN)


def test_another_session_at_the_same_place_is_not_taken_for_it(world: World) -> None:
    session = world.login().session
    world.journal.next("find", answers(replace(session, family=bytes(8))))
    assert world.auth.recheck(session) == Inactive(InactiveReason.UNKNOWN)


def test_a_recheck_under_a_policy_that_is_gone_finds_no_live_session(world: World) -> None:
    session = world.login(policy="remembered").session
    gone = world.service(POLICY).recheck(session)
    assert gone == Inactive(InactiveReason.POLICY_UNKNOWN)


def test_a_recheck_of_what_cannot_be_read_says_so(world: World) -> None:
    session = world.login().session
    world.journal.next("find", CORRUPT)
    assert world.auth.recheck(session) == Inactive(InactiveReason.UNREADABLE)
    (event,) = world.told(SessionUnusable)
    assert (event.handle, event.reason) == (session.handle, InactiveReason.UNREADABLE)


def test_a_recheck_during_an_outage_is_no_sign_out(world: World) -> None:
    session = world.login().session
    world.journal.next("find", UNAVAILABLE)
    with pytest.raises(StoreUnavailable):
        world.auth.recheck(session)


# -- is_fresh ------------------------------------------------------------------


def test_a_proof_is_fresh_for_as_long_as_the_policy_says(world: World) -> None:
    session = world.login().session
    world.clock.advance(15 * MINUTE)
    assert world.auth.is_fresh(session)
    world.clock.advance(MILLISECOND)
    assert not world.auth.is_fresh(session)


def test_a_proof_is_fresh_for_as_long_as_the_caller_says(world: World) -> None:
    session = world.login().session
    world.clock.advance(MINUTE)
    assert world.auth.is_fresh(session, MINUTE)
    assert not world.auth.is_fresh(session, MINUTE - MILLISECOND)


def test_a_caller_may_ask_for_a_proof_of_this_very_instant(world: World) -> None:
    session = world.login().session
    assert world.auth.is_fresh(session, timedelta(0))
    world.clock.advance(MILLISECOND)
    assert not world.auth.is_fresh(session, timedelta(0))


def test_nothing_is_fresh_under_a_policy_that_is_gone(world: World) -> None:
    session = world.login(policy="remembered").session
    assert not world.service(POLICY).is_fresh(session)


def test_an_anonymous_session_is_never_fresh(world: World) -> None:
    assert not world.auth.is_fresh(world.auth.start_anonymous().session)


def test_how_old_a_proof_may_be_is_the_policy_s(world: World) -> None:
    session = world.login().session
    assert world.auth.reauthentication_age(session) == POLICY.reauthentication_age
    remembered = world.login(policy="remembered").session
    assert world.auth.reauthentication_age(remembered) == REMEMBERED.reauthentication_age
    with pytest.raises(InvalidPolicy):
        world.service(POLICY).reauthentication_age(remembered)


# -- rotate --------------------------------------------------------------------


def test_a_rotation_replaces_the_id_at_once(world: World) -> None:
    cookie = world.cookie()
    world.clock.advance(SECOND)
    outcome = expect(Rotated, world.auth.rotate(cookie))
    assert world.active(outcome.session_id.reveal()).session == outcome.session
    assert world.inactive(cookie) is InactiveReason.SUPERSEDED
    assert outcome.persist_for is None
    (event,) = world.told(SessionRotated)
    assert event == SessionRotated(
        at=world.clock.now(),
        stamp=outcome.session.stamp.hex(),
        user_id="id-of-alice",
        handle=outcome.session.handle,
        methods=(),
    )


def test_a_rotation_keeps_the_session_and_its_handle(world: World) -> None:
    before = world.login()
    outcome = expect(Rotated, world.auth.rotate(before.session_id.reveal()))
    assert outcome.session.locator == before.session.locator
    assert outcome.session.created_at == before.session.created_at
    assert outcome.session_id.family_digest == before.session_id.family_digest


def test_a_rotation_draws_a_secret_that_nobody_can_compute(world: World) -> None:
    cookie = world.cookie()
    successor = world.due(cookie)
    outcome = expect(Rotated, world.auth.rotate(cookie))
    assert outcome.session_id.reveal() != successor
    assert world.inactive(successor) is InactiveReason.SUPERSEDED
    assert outcome.session.pending is None


def test_a_rotation_without_a_proof_is_not_fresh(world: World) -> None:
    cookie = world.cookie()
    world.clock.advance(MINUTE)
    session = expect(Rotated, world.auth.rotate(cookie)).session
    assert not world.auth.is_fresh(session, SECOND)


def test_a_rotation_with_a_proof_records_it(world: World) -> None:
    cookie = world.cookie()
    world.clock.advance(MINUTE)
    session = expect(Rotated, world.auth.rotate(cookie, methods=("otp",))).session
    assert session.methods == ("pwd", "otp")
    assert world.auth.is_fresh(session, SECOND)
    (event,) = world.told(SessionRotated)
    assert event.methods == ("otp",)


def test_a_persistent_session_is_rotated_for_what_is_left(world: World) -> None:
    cookie = world.login(policy="remembered").session_id.reveal()
    world.clock.advance(HOUR)
    outcome = expect(Rotated, world.auth.rotate(cookie))
    assert outcome.persist_for == REMEMBERED.absolute_timeout - HOUR


def test_an_id_in_its_grace_does_not_rotate_without_a_proof(world: World) -> None:
    cookie = world.cookie()
    successor = world.confirmed(cookie)
    assert world.auth.rotate(cookie) == Inactive(InactiveReason.SUPERSEDED)
    assert world.is_live(successor)


def test_an_id_in_its_grace_rotates_with_a_proof(world: World) -> None:
    cookie = world.cookie()
    successor = world.confirmed(cookie)
    outcome = expect(Rotated, world.auth.rotate(cookie, methods=("otp",)))
    assert world.is_live(outcome.session_id.reveal())
    assert world.inactive(successor) is InactiveReason.SUPERSEDED


def test_grace_is_judged_by_when_the_rotating_request_arrived(world: World) -> None:
    cookie = world.cookie()
    world.confirmed(cookie)
    arrived_at = world.clock.now()
    world.clock.advance(GRACE)
    late = world.auth.rotate(cookie, methods=("otp",))
    assert late == Inactive(InactiveReason.SUPERSEDED)
    assert isinstance(world.auth.rotate(cookie, methods=("otp",), arrived_at=arrived_at), Rotated)


@pytest.mark.parametrize("methods", [("a b",), ("",), ("x",) * 9])
def test_methods_that_cannot_be_recorded_rotate_nothing(
    world: World, methods: tuple[str, ...]
) -> None:
    cookie = world.cookie()
    with pytest.raises(ValueError, match="methods"):
        world.auth.rotate(cookie, methods=methods)
    assert world.is_live(cookie)


def test_a_session_remembers_the_eight_methods_that_were_first_proven_last(world: World) -> None:
    cookie = world.cookie()
    full = expect(Rotated, world.auth.rotate(cookie, methods=tuple("abcdefg")))
    assert full.session.methods == ("pwd", *"abcdefg")
    ninth = expect(Rotated, world.auth.rotate(full.session_id.reveal(), methods=("h",)))
    assert ninth.session.methods == tuple("abcdefgh")
    again = expect(Rotated, world.auth.reauthenticate(ninth.session_id.reveal(), PASSWORD))
    assert again.session.methods == (*"bcdefgh", "pwd")
    assert world.active(again.session_id.reveal()).session == again.session


def test_nobodys_identity_is_proven_in_an_anonymous_session(world: World) -> None:
    visitor = world.auth.start_anonymous()
    cookie = visitor.session_id.reveal()
    assert world.auth.rotate(cookie, methods=("otp",)) == Inactive(InactiveReason.ANONYMOUS)
    assert world.active(cookie).session == visitor.session
    assert world.told(SessionRotated) == []


def test_an_anonymous_session_rotates_without_a_proof(world: World) -> None:
    cookie = world.auth.start_anonymous().session_id.reveal()
    outcome = expect(Rotated, world.auth.rotate(cookie))
    assert (outcome.session.methods, outcome.session.authenticated_at) == ((), None)
    assert world.is_live(outcome.session_id.reveal())
    assert world.inactive(cookie) is InactiveReason.SUPERSEDED


def test_a_method_that_is_proven_again_takes_no_more_room(world: World) -> None:
    cookie = world.cookie()
    outcome = expect(Rotated, world.auth.rotate(cookie, methods=tuple("abcdefg")))
    again = world.auth.reauthenticate(outcome.session_id.reveal(), PASSWORD)
    assert expect(Rotated, again).session.methods == outcome.session.methods


def test_what_is_not_live_does_not_rotate(world: World) -> None:
    cookie = world.cookie()
    assert world.auth.rotate("A" * 72) == Inactive(InactiveReason.UNKNOWN)
    assert world.auth.rotate(altered(cookie)) == Inactive(InactiveReason.UNKNOWN)
    world.clock.advance(POLICY.idle_timeout)
    assert world.auth.rotate(cookie) == Inactive(InactiveReason.IDLE)


def test_a_rotation_that_lost_its_race_is_judged_again(world: World) -> None:
    cookie = world.cookie()
    world.clock.advance(MINUTE)
    elsewhere = world.elsewhere()
    world.journal.next("replace", overtaken_by(lambda: elsewhere.authenticate(cookie)))
    outcome = expect(Rotated, world.auth.rotate(cookie))
    assert world.is_live(outcome.session_id.reveal())


def test_of_two_rotations_one_is_superseded(world: World) -> None:
    cookie = world.cookie()
    elsewhere = world.elsewhere()
    world.journal.next("replace", overtaken_by(lambda: elsewhere.rotate(cookie)))
    assert world.auth.rotate(cookie) == Inactive(InactiveReason.SUPERSEDED)
    assert len(world.told(SessionRotated)) == 1


def test_a_rotation_that_always_loses_is_an_outage(world: World) -> None:
    cookie = world.cookie()
    world.journal.always("replace", answers(value=False))
    with pytest.raises(StoreUnavailable):
        world.auth.rotate(cookie)
    assert world.journal.count("replace") == TRIES


@pytest.mark.parametrize("intervention", [loses_reply, loses_request])
def test_a_rotation_whose_fate_is_unknown_is_asked_again(
    world: World, intervention: Intervention
) -> None:
    cookie = world.cookie()
    world.journal.next("replace", intervention)
    outcome = expect(Rotated, world.auth.rotate(cookie))
    assert world.is_live(outcome.session_id.reveal())
    assert len(world.told(SessionRotated)) == 1


@pytest.mark.parametrize("interventions", [(loses_reply, loses_reply), (loses_request,) * 2])
def test_a_rotation_whose_fate_stays_unknown_is_raised(
    world: World, interventions: tuple[Intervention, ...]
) -> None:
    cookie = world.cookie()
    world.journal.next("replace", *interventions)
    with pytest.raises(OutcomeUnknown):
        world.auth.rotate(cookie)
    assert world.told(SessionRotated) == []


def test_a_rotation_that_the_store_did_not_take_is_raised(world: World) -> None:
    cookie = world.cookie()
    world.journal.next("replace", UNAVAILABLE)
    with pytest.raises(StoreUnavailable):
        world.auth.rotate(cookie)
    assert world.is_live(cookie)


@pytest.mark.parametrize("first", [loses_reply, loses_request])
def test_a_write_whose_fate_is_unknown_stays_so_though_the_store_is_away_when_asked_again(
    world: World, first: Intervention
) -> None:
    cookie = world.cookie()
    world.journal.next("replace", first, UNAVAILABLE)
    with pytest.raises(OutcomeUnknown) as raised:
        world.auth.rotate(cookie)
    assert isinstance(raised.value.__cause__, StoreUnavailable)


def test_a_write_whose_fate_is_unknown_is_not_asked_for_a_third_time(world: World) -> None:
    cookie = world.cookie()
    world.journal.always("replace", loses_request)
    with pytest.raises(OutcomeUnknown):
        world.auth.rotate(cookie)
    assert world.journal.count("replace") == 2


# -- reauthenticate ------------------------------------------------------------


def test_proving_the_password_again_rotates_and_is_fresh(world: World) -> None:
    cookie = world.cookie()
    world.clock.advance(10 * MINUTE)
    outcome = expect(Rotated, world.auth.reauthenticate(cookie, PASSWORD))
    assert world.auth.is_fresh(outcome.session, SECOND)
    assert outcome.session.methods == ("pwd",)
    assert world.inactive(cookie) is InactiveReason.SUPERSEDED


def test_proving_the_password_again_does_not_restart_the_absolute_timeout(world: World) -> None:
    cookie = world.cookie()
    created_at = world.clock.now()
    world.clock.advance(10 * MINUTE)
    outcome = expect(Rotated, world.auth.reauthenticate(cookie, PASSWORD))
    assert outcome.session.created_at == created_at


def test_a_wrong_password_proves_nothing(world: World) -> None:
    cookie = world.cookie()
    assert world.auth.reauthenticate(cookie, "wrong") == Refused()
    assert world.is_live(cookie)
    (event,) = world.told(LoginRefused)
    assert event.user_id == "id-of-alice"


def test_proving_is_throttled_like_signing_in(world: World) -> None:
    cookie = world.cookie()
    for _ in range(5):
        assert world.auth.reauthenticate(cookie, "wrong") == Refused()
    assert world.auth.reauthenticate(cookie, PASSWORD) == Throttled(SECOND)
    assert isinstance(world.told(Event)[-1], LoginThrottled)
    assert isinstance(world.auth.login("alice", PASSWORD), Throttled)


def test_a_proof_resets_the_count(world: World) -> None:
    cookie = world.cookie()
    for _ in range(4):
        world.auth.reauthenticate(cookie, "wrong")
    assert isinstance(world.auth.reauthenticate(cookie, PASSWORD), Rotated)
    assert counted(world, ThrottleScope.ACCOUNT) == 0


def test_a_hasher_that_is_busy_proves_nothing_and_is_not_counted(world: World) -> None:
    cookie = world.cookie()
    world.journal.next("verify", answers(PasswordCheck.BUSY))
    assert world.auth.reauthenticate(cookie, PASSWORD) == Busy()
    assert counted(world, ThrottleScope.ACCOUNT) == 0


def test_a_hash_that_cannot_be_read_is_raised_and_not_counted(world: World) -> None:
    cookie = world.cookie()
    world.journal.next("read_hash", UNAVAILABLE)
    with pytest.raises(StoreUnavailable):
        world.auth.reauthenticate(cookie, PASSWORD)
    assert counted(world, ThrottleScope.ACCOUNT) == 0


@pytest.mark.parametrize("name", ["give_back", "reset"])
def test_a_throttle_that_cannot_forget_an_attempt_fails_no_proof(world: World, name: str) -> None:
    cookie = world.cookie()
    world.journal.always(name, UNAVAILABLE)
    world.journal.next("verify", answers(PasswordCheck.BUSY))
    assert world.auth.reauthenticate(cookie, PASSWORD) == Busy()
    assert isinstance(world.auth.reauthenticate(cookie, PASSWORD), Rotated)


def test_an_outdated_hash_proves_too(world: World) -> None:
    cookie = world.cookie()
    outdate_hashes(world)
    assert isinstance(world.auth.reauthenticate(cookie, PASSWORD), Rotated)


def test_a_user_who_is_gone_proves_nothing(world: World) -> None:
    cookie = world.cookie()
    world.credentials.remove_user("id-of-alice")
    world.journal.always("verify", answers(PasswordCheck.MATCH))
    assert world.auth.reauthenticate(cookie, PASSWORD) == Refused()


def test_an_anonymous_visitor_has_no_password(world: World) -> None:
    cookie = world.auth.start_anonymous().session_id.reveal()
    proven = world.auth.reauthenticate(cookie, PASSWORD)
    assert proven == Inactive(InactiveReason.ANONYMOUS)
    assert "reserve" not in world.journal.names()
    assert world.told(LoginRefused) == []
    assert world.is_live(cookie)


def test_what_is_not_live_proves_nothing(world: World) -> None:
    cookie = world.cookie()
    assert world.auth.reauthenticate("A" * 72, PASSWORD) == Inactive(InactiveReason.UNKNOWN)
    world.clock.advance(POLICY.idle_timeout)
    world.journal.forget()
    assert world.auth.reauthenticate(cookie, PASSWORD) == Inactive(InactiveReason.IDLE)
    assert world.journal.names() == ["find"]


def test_an_id_in_its_grace_may_prove_the_password(world: World) -> None:
    cookie = world.cookie()
    world.confirmed(cookie)
    assert isinstance(world.auth.reauthenticate(cookie, PASSWORD), Rotated)


def test_grace_is_judged_by_when_the_proving_request_arrived(world: World) -> None:
    cookie = world.cookie()
    world.confirmed(cookie)
    arrived_at = world.clock.now()
    world.clock.advance(GRACE)
    late = world.auth.reauthenticate(cookie, PASSWORD)
    assert late == Inactive(InactiveReason.SUPERSEDED)
    proven = world.auth.reauthenticate(cookie, PASSWORD, arrived_at=arrived_at)
    assert isinstance(proven, Rotated)


# -- change_password -----------------------------------------------------------


def test_a_changed_password_is_in_force(world: World) -> None:
    cookie = world.cookie()
    assert isinstance(world.auth.change_password(cookie, PASSWORD, NEW_PASSWORD), PasswordChanged)
    assert world.auth.login("alice", PASSWORD) == Refused()
    assert isinstance(world.auth.login("alice", NEW_PASSWORD), LoggedIn)


def test_a_changed_password_ends_all_other_sessions(world: World) -> None:
    cookie, other, bobs = world.cookie(), world.cookie(), world.cookie("bob")
    kept = kept_by(world.auth.change_password(cookie, PASSWORD, NEW_PASSWORD))
    assert stored(world) == (kept.session,)
    assert world.inactive(other) is InactiveReason.UNKNOWN
    assert world.is_live(bobs)


def test_the_session_goes_on_under_a_new_id_in_a_fresh_epoch(world: World) -> None:
    before = world.login()
    world.auth.change_data(before.session, {"cart": 1})
    world.clock.advance(MINUTE)
    cookie = before.session_id.reveal()
    outcome = kept_by(world.auth.change_password(cookie, PASSWORD, NEW_PASSWORD))
    assert world.active(outcome.session_id.reveal()).session == outcome.session
    assert world.inactive(cookie) is InactiveReason.UNKNOWN
    assert outcome.session.locator.epoch != before.session.locator.epoch
    assert outcome.session.locator.slot != before.session.locator.slot
    assert outcome.session_id.family_digest == before.session_id.family_digest
    assert outcome.session_id.digest != before.session_id.digest
    assert outcome.session.created_at == before.session.created_at
    assert world.auth.is_fresh(outcome.session, SECOND)
    assert world.auth.read_data(outcome.session) == DataRead({"cart": 1})
    assert outcome.persist_for is None


def test_a_changed_password_is_told_of(world: World) -> None:
    cookie = world.cookie()
    outcome = kept_by(world.auth.change_password(cookie, PASSWORD, NEW_PASSWORD))
    (replaced,) = world.told(PasswordReplaced)
    assert replaced.user_id == "id-of-alice"
    assert world.told(AllSessionsEnded) == [
        AllSessionsEnded(
            at=world.clock.now(),
            stamp=outcome.session.stamp.hex(),
            user_id="id-of-alice",
            kept=outcome.session.handle,
        )
    ]


def test_a_persistent_session_goes_on_for_what_is_left(world: World) -> None:
    cookie = world.login(policy="remembered").session_id.reveal()
    world.clock.advance(HOUR)
    outcome = kept_by(world.auth.change_password(cookie, PASSWORD, NEW_PASSWORD))
    assert outcome.persist_for == REMEMBERED.absolute_timeout - HOUR


def test_the_hash_is_replaced_before_the_epoch_is_ended(world: World) -> None:
    cookie = world.cookie()
    world.journal.forget()
    world.auth.change_password(cookie, PASSWORD, NEW_PASSWORD)
    assert world.journal.names() == [
        "find",
        "reserve",
        "read_hash",
        "verify",
        "reset",
        "hash",
        "replace_hash",
        "find",
        "restart",
    ]


def test_a_wrong_password_changes_nothing(world: World) -> None:
    cookie = world.cookie()
    assert world.auth.change_password(cookie, "wrong", NEW_PASSWORD) == Refused()
    assert isinstance(world.auth.login("alice", PASSWORD), LoggedIn)


def test_changing_is_throttled(world: World) -> None:
    cookie = world.cookie()
    for _ in range(5):
        world.auth.change_password(cookie, "wrong", NEW_PASSWORD)
    assert world.auth.change_password(cookie, PASSWORD, NEW_PASSWORD) == Throttled(SECOND)


@pytest.mark.parametrize("name", ["verify", "hash"])
def test_a_hasher_that_is_busy_changes_nothing(world: World, name: str) -> None:
    cookie = world.cookie()
    world.journal.next(name, answers(PasswordCheck.BUSY if name == "verify" else Busy()))
    assert world.auth.change_password(cookie, PASSWORD, NEW_PASSWORD) == Busy()
    assert isinstance(world.auth.login("alice", PASSWORD), LoggedIn)


def test_a_new_password_that_the_hasher_refuses_changes_nothing(world: World) -> None:
    cookie = world.cookie()
    with pytest.raises(UnacceptablePassword):
        world.auth.change_password(cookie, PASSWORD, "\ud800")
    assert world.is_live(cookie)
    assert "replace_hash" not in world.journal.names()
    assert isinstance(world.auth.login("alice", PASSWORD), LoggedIn)


def test_a_refused_new_password_may_be_caught_as_a_value_error(world: World) -> None:
    cookie = world.cookie()
    with pytest.raises(ValueError, match="printed"):
        world.auth.change_password(cookie, PASSWORD, "\n")


def test_of_two_changes_one_comes_to_nothing(world: World) -> None:
    cookie, thiefs = world.cookie(), world.cookie()
    elsewhere = world.elsewhere()
    world.journal.next(
        "replace_hash",
        overtaken_by(lambda: elsewhere.change_password(cookie, PASSWORD, NEW_PASSWORD)),
    )
    outcome = world.auth.change_password(thiefs, PASSWORD, "thief's")
    assert outcome == Inactive(InactiveReason.UNKNOWN)
    assert isinstance(world.auth.login("alice", NEW_PASSWORD), LoggedIn)
    assert len(world.told(PasswordReplaced)) == 1
    assert world.inactive(thiefs) is InactiveReason.UNKNOWN


def test_a_hash_that_was_replaced_elsewhere_meanwhile_is_verified_anew_and_refuses(
    world: World,
) -> None:
    # An application that sets a password and has not yet ended the sessions.
    cookie = world.cookie()
    another = expect(str, world.passwords.hash(NEW_PASSWORD))
    world.journal.next(
        "replace_hash", overtaken_by(lambda: world.credentials.set_hash("id-of-alice", another))
    )
    assert world.auth.change_password(cookie, PASSWORD, "mine") == Refused()
    assert world.credentials.read_hash("id-of-alice") == another
    assert world.told(PasswordReplaced) == []
    assert counted(world, ThrottleScope.ACCOUNT) == 1


def test_a_hash_that_a_sign_in_upgraded_meanwhile_is_verified_anew_and_replaced(
    world: World,
) -> None:
    cookie = world.cookie()
    world.journal.forget()
    world.journal.next("replace_hash", overtaken_by(lambda: upgrade_hash(world)))
    kept = kept_by(world.auth.change_password(cookie, PASSWORD, NEW_PASSWORD))
    assert stored(world) == (kept.session,)
    assert world.journal.count("verify") == 2
    assert world.journal.count("restart") == 1
    assert len(world.told(PasswordReplaced)) == 1
    assert world.auth.login("alice", PASSWORD) == Refused()
    assert isinstance(world.auth.login("alice", NEW_PASSWORD), LoggedIn)


def test_a_hash_that_is_upgraded_again_and_again_is_busy_and_changes_nothing(
    world: World,
) -> None:
    cookie = world.cookie()
    upgrade = overtaken_by(lambda: upgrade_hash(world))
    # Each upgrade is a replacement itself, and takes its turn in the journal.
    world.journal.next("replace_hash", upgrade, goes_through, upgrade, goes_through)
    assert world.auth.change_password(cookie, PASSWORD, NEW_PASSWORD) == Busy()
    assert world.journal.count("verify") == 3
    assert "restart" not in world.journal.names()
    assert world.told(PasswordReplaced) == []
    assert world.is_live(cookie)
    assert counted(world, ThrottleScope.ACCOUNT) == 0
    assert isinstance(world.auth.login("alice", PASSWORD), LoggedIn)


def test_a_session_that_ended_while_the_hash_was_upgraded_changes_no_password(
    world: World,
) -> None:
    cookie = world.cookie()
    elsewhere = world.elsewhere()

    def upgrade_and_sign_out() -> None:
        upgrade_hash(world)
        elsewhere.logout(cookie)

    world.journal.next("replace_hash", overtaken_by(upgrade_and_sign_out))
    outcome = world.auth.change_password(cookie, PASSWORD, NEW_PASSWORD)
    assert outcome == Inactive(InactiveReason.UNKNOWN)
    assert isinstance(world.auth.login("alice", PASSWORD), LoggedIn)


def test_a_replaced_hash_whose_reply_was_lost_is_asked_for_again(world: World) -> None:
    cookie = world.cookie()
    world.journal.next("replace_hash", loses_reply)
    assert isinstance(world.auth.change_password(cookie, PASSWORD, NEW_PASSWORD), PasswordChanged)
    assert world.journal.count("replace_hash") == 2


def test_a_hash_whose_fate_stays_unknown_ends_all_sessions_and_is_raised(world: World) -> None:
    cookie, other = world.cookie(), world.cookie()
    world.journal.next("replace_hash", loses_reply, loses_reply)
    with pytest.raises(OutcomeUnknown):
        world.auth.change_password(cookie, PASSWORD, NEW_PASSWORD)
    assert not world.is_live(cookie)
    assert not world.is_live(other)
    assert world.told(PasswordReplaced) == []


def test_a_hash_whose_fate_is_unknown_while_the_store_is_away_ends_all_sessions(
    world: World,
) -> None:
    # The first call may have replaced the hash, so that the second cannot say that nothing did.
    cookie = world.cookie()
    world.journal.next("replace_hash", loses_reply, UNAVAILABLE)
    with pytest.raises(OutcomeUnknown):
        world.auth.change_password(cookie, PASSWORD, NEW_PASSWORD)
    assert stored(world) == ()
    assert world.told(SessionsLeftLive) == []


@pytest.mark.parametrize("intervention", [UNAVAILABLE, loses_request])
def test_a_hash_whose_fate_is_unknown_is_raised_as_such_though_no_session_could_be_ended(
    world: World, intervention: Intervention
) -> None:
    cookie = world.cookie()
    world.journal.next("replace_hash", loses_reply, loses_reply)
    world.journal.always("delete_user", intervention)
    with pytest.raises(OutcomeUnknown):
        world.auth.change_password(cookie, PASSWORD, NEW_PASSWORD)
    (event,) = world.told(SessionsLeftLive)
    assert (event.user_id, event.at) == ("id-of-alice", world.clock.now())
    assert world.told(AllSessionsEnded) == []
    assert world.is_live(cookie)


def test_sessions_that_were_ended_for_a_hash_of_unknown_fate_are_told_of(world: World) -> None:
    cookie = world.cookie()
    world.journal.next("replace_hash", loses_request, loses_request)
    with pytest.raises(OutcomeUnknown):
        world.auth.change_password(cookie, PASSWORD, NEW_PASSWORD)
    assert len(world.told(AllSessionsEnded)) == 1


def test_a_hash_that_was_certainly_not_replaced_ends_nothing(world: World) -> None:
    cookie = world.cookie()
    world.journal.next("replace_hash", UNAVAILABLE)
    with pytest.raises(StoreUnavailable):
        world.auth.change_password(cookie, PASSWORD, NEW_PASSWORD)
    assert world.is_live(cookie)


@pytest.mark.parametrize("name", ["find", "restart"])
def test_sessions_that_cannot_be_ended_after_the_change_are_named(world: World, name: str) -> None:
    cookie = world.cookie()
    interventions = [goes_through, UNAVAILABLE] if name == "find" else [UNAVAILABLE]
    world.journal.next(name, *interventions)
    with pytest.raises(PasswordChangedButSessionsLive) as raised:
        world.auth.change_password(cookie, PASSWORD, NEW_PASSWORD)
    assert isinstance(raised.value.__cause__, StoreUnavailable)
    assert [event.user_id for event in world.told(SessionsLeftLive)] == ["id-of-alice"]
    assert len(world.told(PasswordReplaced)) == 1
    assert world.told(AllSessionsEnded) == []
    assert isinstance(world.auth.login("alice", NEW_PASSWORD), LoggedIn)
    world.auth.logout_everywhere("id-of-alice")
    assert not world.is_live(cookie)


@pytest.mark.parametrize("second", [loses_reply, loses_request, UNAVAILABLE])
def test_sessions_whose_end_stays_unknown_after_the_change_are_named(
    world: World, second: Intervention
) -> None:
    cookie = world.cookie()
    world.journal.next("restart", loses_request, second)
    with pytest.raises(PasswordChangedButSessionsLive) as raised:
        world.auth.change_password(cookie, PASSWORD, NEW_PASSWORD)
    assert isinstance(raised.value.__cause__, OutcomeUnknown)
    assert len(world.told(SessionsLeftLive)) == 1


@pytest.mark.parametrize("intervention", [loses_reply, loses_request])
def test_a_restart_whose_fate_is_unknown_is_asked_for_again(
    world: World, intervention: Intervention
) -> None:
    cookie = world.cookie()
    world.journal.next("restart", intervention)
    outcome = kept_by(world.auth.change_password(cookie, PASSWORD, NEW_PASSWORD))
    assert world.is_live(outcome.session_id.reveal())
    assert len(world.told(AllSessionsEnded)) == 1


def test_a_restart_that_lost_its_race_is_judged_again(world: World) -> None:
    cookie = world.cookie()
    world.clock.advance(MINUTE)
    elsewhere = world.elsewhere()
    world.journal.next("restart", overtaken_by(lambda: elsewhere.authenticate(cookie)))
    kept_by(world.auth.change_password(cookie, PASSWORD, NEW_PASSWORD))
    assert world.journal.count("restart") == 2


def test_a_session_that_ended_meanwhile_does_not_come_back(world: World) -> None:
    cookie, other = world.cookie(), world.cookie()
    elsewhere = world.elsewhere()
    world.journal.next("restart", overtaken_by(lambda: elsewhere.logout(cookie)))
    outcome = world.auth.change_password(cookie, PASSWORD, NEW_PASSWORD)
    assert outcome == PasswordChanged(None)
    assert stored(world) == ()
    assert not world.is_live(other)
    (event,) = world.told(AllSessionsEnded)
    assert event.kept is None


def test_sign_out_everywhere_during_a_change_is_not_undone(world: World) -> None:
    cookie = world.cookie()
    elsewhere = world.elsewhere()
    world.journal.next("restart", overtaken_by(lambda: elsewhere.logout_everywhere("id-of-alice")))
    outcome = world.auth.change_password(cookie, PASSWORD, NEW_PASSWORD)
    assert outcome == PasswordChanged(None)
    assert stored(world) == ()


def test_a_session_that_changes_faster_than_it_can_be_kept_is_not_kept(world: World) -> None:
    cookie = world.cookie()
    world.journal.always("restart", answers(None))
    outcome = world.auth.change_password(cookie, PASSWORD, NEW_PASSWORD)
    assert outcome == PasswordChanged(None)
    assert world.journal.count("restart") == TRIES
    assert stored(world) == ()


def test_an_id_in_its_grace_may_change_the_password_and_goes_on(world: World) -> None:
    cookie = world.cookie()
    successor = world.confirmed(cookie)
    outcome = kept_by(world.auth.change_password(cookie, PASSWORD, NEW_PASSWORD))
    assert world.is_live(outcome.session_id.reveal())
    assert not world.is_live(successor)


def test_an_anonymous_visitor_changes_no_password(world: World) -> None:
    cookie = world.auth.start_anonymous().session_id.reveal()
    outcome = world.auth.change_password(cookie, PASSWORD, NEW_PASSWORD)
    assert outcome == Inactive(InactiveReason.ANONYMOUS)
    assert "reserve" not in world.journal.names()
    assert world.is_live(cookie)


def test_a_session_that_changed_its_password_remembers_the_last_eight_methods(
    world: World,
) -> None:
    attempt = world.auth.begin("id-of-alice")
    outcome = expect(LoggedIn, world.auth.establish(attempt, methods=tuple("abcdefgh")))
    changed = world.auth.change_password(outcome.session_id.reveal(), PASSWORD, NEW_PASSWORD)
    assert kept_by(changed).session.methods == (*"bcdefgh", "pwd")


# -- logout --------------------------------------------------------------------


def test_a_session_that_was_signed_out_is_gone(world: World) -> None:
    outcome = world.login()
    world.auth.change_data(outcome.session, {"cart": 1})
    cookie = outcome.session_id.reveal()
    assert world.auth.logout(cookie) == LoggedOut(ended=True)
    assert world.inactive(cookie) is InactiveReason.UNKNOWN
    assert world.auth.read_data(outcome.session) == SessionGone()
    assert world.told(SessionEnded) == [
        SessionEnded(
            at=world.clock.now(),
            stamp=world.told(SessionEnded)[0].stamp,
            user_id="id-of-alice",
            handle=outcome.session.handle,
            reason=EndReason.LOGOUT,
        )
    ]


def test_signing_out_leaves_the_users_other_sessions(world: World) -> None:
    cookie, other = world.cookie(), world.cookie()
    world.auth.logout(cookie)
    assert world.is_live(other)


def test_signing_out_twice_ends_nothing_more(world: World) -> None:
    cookie = world.cookie()
    world.auth.logout(cookie)
    assert world.auth.logout(cookie) == LoggedOut(ended=False)
    assert len(world.told(SessionEnded)) == 1


def test_the_pending_successor_signs_out(world: World) -> None:
    successor = world.due(world.cookie())
    assert world.auth.logout(successor) == LoggedOut(ended=True)


def test_the_previous_id_signs_out(world: World) -> None:
    cookie = world.cookie()
    successor = world.confirmed(cookie)
    world.clock.advance(5 * MINUTE)
    assert world.auth.logout(cookie) == LoggedOut(ended=True)
    assert not world.is_live(successor)


def test_a_retired_id_signs_out(world: World) -> None:
    cookie = world.cookie()
    rotated = expect(Rotated, world.auth.rotate(cookie)).session_id.reveal()
    assert world.auth.logout(cookie) == LoggedOut(ended=True)
    assert not world.is_live(rotated)


def test_a_guess_signs_nobody_out(world: World) -> None:
    cookie = world.cookie()
    assert world.auth.logout(altered(cookie)) == LoggedOut(ended=False)
    assert world.auth.logout("A" * 72) == LoggedOut(ended=False)
    assert world.is_live(cookie)
    assert world.told(SessionEnded) == []


def test_an_expired_session_can_be_signed_out(world: World) -> None:
    cookie = world.cookie()
    world.clock.advance(DAY)
    assert world.auth.logout(cookie) == LoggedOut(ended=True)
    assert stored(world) == ()


def test_an_unreadable_session_can_be_signed_out(world: World) -> None:
    # Whether the id was issued or guessed cannot be told, but no guess finds a locator.
    outcome = world.login()
    world.journal.forget()
    world.journal.next("find", CORRUPT)
    assert world.auth.logout(outcome.session_id.reveal()) == LoggedOut(ended=True)
    assert world.journal.names() == ["find", "delete"]
    assert stored(world) == ()
    (event,) = world.told(SessionEnded)
    assert event == replace(
        event, user_id=None, handle=outcome.session.handle, reason=EndReason.LOGOUT
    )


def test_an_unreadable_session_that_ended_meanwhile_is_not_told_of(world: World) -> None:
    outcome = world.login()
    locator = outcome.session.locator
    world.journal.next("find", CORRUPT)
    world.journal.next("delete", overtaken_by(lambda: world.sessions.delete(locator)))
    assert world.auth.logout(outcome.session_id.reveal()) == LoggedOut(ended=False)
    assert world.told(SessionEnded) == []


MOVES: list[Callable[[AuthService, str], object]] = [
    lambda auth, cookie: auth.change_password(cookie, PASSWORD, NEW_PASSWORD),
    lambda auth, cookie: auth.logout_everywhere("id-of-alice", keep=cookie),
]


@pytest.mark.parametrize("move", MOVES)
def test_signing_out_follows_a_session_that_was_moved_meanwhile(
    world: World, move: Callable[[AuthService, str], object]
) -> None:
    cookie = world.cookie()
    elsewhere = world.elsewhere()
    moved: list[Rotated] = []
    world.journal.next(
        "delete", overtaken_by(lambda: moved.append(kept_by(move(elsewhere, cookie))))
    )
    assert world.auth.logout(cookie) == LoggedOut(ended=True)
    assert stored(world) == ()
    (event,) = world.told(SessionEnded)
    assert event == replace(
        event,
        user_id="id-of-alice",
        handle=moved[0].session.handle,
        reason=EndReason.LOGOUT,
    )


@pytest.mark.parametrize("intervention", [loses_reply, loses_request])
def test_signing_out_follows_a_session_though_replies_are_lost(
    world: World, intervention: Intervention
) -> None:
    cookie = world.cookie()
    elsewhere = world.elsewhere()
    world.journal.next(
        "delete",
        overtaken_by(lambda: elsewhere.logout_everywhere("id-of-alice", keep=cookie)),
        intervention,
    )
    assert world.auth.logout(cookie) == LoggedOut(ended=True)
    assert stored(world) == ()


def test_signing_out_follows_a_session_as_often_as_it_was_moved(world: World) -> None:
    cookies = [world.cookie()]
    elsewhere = world.elsewhere()

    def move() -> None:
        outcome = elsewhere.logout_everywhere("id-of-alice", keep=cookies[-1])
        cookies.append(kept_by(outcome).session_id.reveal())

    world.journal.next("delete", *[overtaken_by(move)] * 3)
    assert world.auth.logout(cookies[0]) == LoggedOut(ended=True)
    assert stored(world) == ()
    assert len(cookies) == 4


def test_signing_out_does_not_follow_to_another_session_of_the_user(world: World) -> None:
    cookie, other = world.cookie(), world.cookie()
    elsewhere = world.elsewhere()
    world.journal.next("delete", overtaken_by(lambda: elsewhere.logout(cookie)))
    assert world.auth.logout(cookie) == LoggedOut(ended=False)
    assert world.is_live(other)
    assert len(world.told(SessionEnded)) == 1


def test_an_anonymous_session_that_ended_meanwhile_is_not_signed_out_again(world: World) -> None:
    visitor = world.auth.start_anonymous()
    cookie, locator = visitor.session_id.reveal(), visitor.session.locator
    world.journal.next("delete", overtaken_by(lambda: world.sessions.delete(locator)))
    assert world.auth.logout(cookie) == LoggedOut(ended=False)
    assert world.told(SessionEnded) == []


def test_a_session_that_moves_faster_than_it_can_be_ended_is_an_outage(world: World) -> None:
    cookie = world.cookie()
    world.journal.always("delete", answers(value=False))
    with pytest.raises(StoreUnavailable):
        world.auth.logout(cookie)
    assert world.journal.count("delete") == TRIES
    assert world.told(SessionEnded) == []


def test_signing_out_is_not_reported_as_done_if_nobody_can_tell_where_the_session_went(
    world: World,
) -> None:
    cookie = world.cookie()
    elsewhere = world.elsewhere()
    world.journal.next(
        "delete",
        overtaken_by(lambda: elsewhere.logout_everywhere("id-of-alice", keep=cookie)),
    )
    world.journal.next("roster", UNAVAILABLE)
    with pytest.raises(StoreUnavailable):
        world.auth.logout(cookie)
    assert world.told(SessionEnded) == []


@pytest.mark.parametrize("name", ["find", "delete"])
def test_signing_out_without_a_store_is_never_reported_as_done(world: World, name: str) -> None:
    cookie = world.cookie()
    world.journal.next(name, UNAVAILABLE)
    with pytest.raises(StoreUnavailable):
        world.auth.logout(cookie)
    assert world.told(SessionEnded) == []
    assert world.is_live(cookie)


@pytest.mark.parametrize("intervention", [loses_reply, loses_request])
def test_signing_out_with_an_unknown_outcome_is_repeated(
    world: World, intervention: Intervention
) -> None:
    cookie = world.cookie()
    world.journal.next("delete", intervention)
    assert world.auth.logout(cookie) == LoggedOut(ended=True)
    assert not world.is_live(cookie)


@pytest.mark.parametrize("intervention", [loses_reply, loses_request])
def test_signing_out_is_told_of_though_the_first_reply_was_lost(
    world: World, intervention: Intervention
) -> None:
    cookie = world.cookie()
    world.journal.next("delete", intervention)
    world.auth.logout(cookie)
    assert len(world.told(SessionEnded)) == 1


@pytest.mark.parametrize("second", [loses_request, UNAVAILABLE])
def test_signing_out_whose_fate_stays_unknown_is_raised(world: World, second: Intervention) -> None:
    cookie = world.cookie()
    world.journal.next("delete", loses_request, second)
    with pytest.raises(OutcomeUnknown):
        world.auth.logout(cookie)
    assert world.told(SessionEnded) == []


IN_FLIGHT: list[Callable[[AuthService, str], object]] = [
    lambda auth, cookie: auth.authenticate(cookie),
    lambda auth, cookie: auth.rotate(cookie),
    lambda auth, cookie: auth.reauthenticate(cookie, PASSWORD),
]


@pytest.mark.parametrize("in_flight", IN_FLIGHT)
def test_nothing_in_flight_brings_a_signed_out_session_back(
    world: World, in_flight: Callable[[AuthService, str], object]
) -> None:
    cookie = world.cookie()
    world.clock.advance(15 * MINUTE)
    elsewhere = world.elsewhere()
    world.journal.next("replace", overtaken_by(lambda: elsewhere.logout(cookie)))
    assert in_flight(world.auth, cookie) == Inactive(InactiveReason.UNKNOWN)
    assert stored(world) == ()


# -- logout_everywhere ---------------------------------------------------------


def test_signing_out_everywhere_ends_all_sessions_of_one_user(world: World) -> None:
    cookies = [world.cookie() for _ in range(3)]
    bobs = world.cookie("bob")
    assert world.auth.logout_everywhere("id-of-alice") == LoggedOutEverywhere(None)
    assert not any(map(world.is_live, cookies))
    assert world.is_live(bobs)
    (event,) = world.told(AllSessionsEnded)
    assert (event.user_id, event.kept) == ("id-of-alice", None)


def test_signing_out_everywhere_is_one_step_of_the_store(world: World) -> None:
    world.cookie()
    world.journal.forget()
    world.auth.logout_everywhere("id-of-alice")
    assert world.journal.names() == ["delete_user"]


def test_signing_out_everywhere_may_keep_one_session_under_a_new_id(world: World) -> None:
    kept, other = world.login(), world.cookie()
    world.auth.change_data(kept.session, {"cart": 1})
    cookie = kept.session_id.reveal()
    outcome = kept_by(world.auth.logout_everywhere("id-of-alice", keep=cookie))
    assert stored(world) == (outcome.session,)
    assert world.is_live(outcome.session_id.reveal())
    assert world.inactive(cookie) is InactiveReason.UNKNOWN
    assert world.inactive(other) is InactiveReason.UNKNOWN
    assert world.auth.read_data(outcome.session) == DataRead({"cart": 1})
    assert outcome.session.authenticated_at == kept.session.authenticated_at
    (event,) = world.told(AllSessionsEnded)
    assert event.kept == outcome.session.handle


def test_a_persistent_session_is_kept_for_what_is_left(world: World) -> None:
    cookie = world.login(policy="remembered").session_id.reveal()
    world.clock.advance(HOUR)
    outcome = kept_by(world.auth.logout_everywhere("id-of-alice", keep=cookie))
    assert outcome.persist_for == REMEMBERED.absolute_timeout - HOUR


@pytest.mark.parametrize("keep", ["", "garbage", "A" * 72])
def test_a_cookie_that_stands_for_nothing_keeps_nothing(world: World, keep: str) -> None:
    cookie = world.cookie()
    outcome = world.auth.logout_everywhere("id-of-alice", keep=keep)
    assert outcome == LoggedOutEverywhere(None)
    assert not world.is_live(cookie)


def test_an_expired_session_is_not_kept(world: World) -> None:
    cookie = world.cookie()
    world.clock.advance(POLICY.idle_timeout)
    outcome = world.auth.logout_everywhere("id-of-alice", keep=cookie)
    assert outcome == LoggedOutEverywhere(None)
    assert stored(world) == ()


def test_another_users_session_is_not_kept_and_not_ended(world: World) -> None:
    alices, bobs = world.cookie(), world.cookie("bob")
    outcome = world.auth.logout_everywhere("id-of-alice", keep=bobs)
    assert outcome == LoggedOutEverywhere(None)
    assert not world.is_live(alices)
    assert world.is_live(bobs)


def test_an_anonymous_session_is_not_kept_and_not_ended(world: World) -> None:
    alices, visitors = world.cookie(), world.auth.start_anonymous().session_id.reveal()
    outcome = world.auth.logout_everywhere("id-of-alice", keep=visitors)
    assert outcome == LoggedOutEverywhere(None)
    assert not world.is_live(alices)
    assert world.is_live(visitors)


def test_a_pending_successor_keeps_its_session(world: World) -> None:
    successor = world.due(world.cookie())
    kept = kept_by(world.auth.logout_everywhere("id-of-alice", keep=successor))
    assert world.is_live(kept.session_id.reveal())
    assert kept.session.pending is None


def test_of_two_calls_with_one_cookie_the_second_ends_everything(world: World) -> None:
    cookie = world.cookie()
    kept = kept_by(world.auth.logout_everywhere("id-of-alice", keep=cookie))
    again = world.auth.logout_everywhere("id-of-alice", keep=cookie)
    assert again == LoggedOutEverywhere(None)
    assert not world.is_live(kept.session_id.reveal())


def test_an_id_from_before_the_move_is_unknown_and_ends_nothing(world: World) -> None:
    cookie = world.cookie()
    kept = kept_by(world.auth.logout_everywhere("id-of-alice", keep=cookie))
    world.clock.advance(2 * GRACE)
    assert world.inactive(cookie) is InactiveReason.UNKNOWN
    assert world.is_live(kept.session_id.reveal())


def test_an_id_in_its_grace_keeps_nothing(world: World) -> None:
    cookie = world.cookie()
    successor = world.confirmed(cookie)
    outcome = world.auth.logout_everywhere("id-of-alice", keep=cookie)
    assert outcome == LoggedOutEverywhere(None)
    assert not world.is_live(successor)


def test_an_id_in_its_grace_keeps_nothing_though_its_request_arrived_in_time(
    world: World,
) -> None:
    cookie = world.cookie()
    world.confirmed(cookie)
    arrived_at = world.clock.now()
    world.clock.advance(HOUR / 4)
    outcome = world.auth.logout_everywhere("id-of-alice", keep=cookie, arrived_at=arrived_at)
    assert outcome == LoggedOutEverywhere(None)
    assert world.told(SessionIdReused) == []


def test_a_reused_id_keeps_nothing(world: World) -> None:
    cookie = world.cookie()
    world.confirmed(cookie)
    world.clock.advance(2 * GRACE)
    outcome = world.auth.logout_everywhere("id-of-alice", keep=cookie)
    assert outcome == LoggedOutEverywhere(None)
    assert len(world.told(SessionIdReused)) == 1
    assert stored(world) == ()


def test_an_unreadable_session_is_ended_and_not_kept(world: World) -> None:
    cookie = world.cookie()
    world.journal.next("find", CORRUPT)
    outcome = world.auth.logout_everywhere("id-of-alice", keep=cookie)
    assert outcome == LoggedOutEverywhere(None)
    assert stored(world) == ()


def test_signing_out_everywhere_without_a_store_is_never_reported_as_done(world: World) -> None:
    cookie = world.cookie()
    for name, keep in (("delete_user", None), ("find", cookie), ("restart", cookie)):
        world.journal.next(name, UNAVAILABLE)
        with pytest.raises(StoreUnavailable):
            world.auth.logout_everywhere("id-of-alice", keep=keep)
    assert world.told(AllSessionsEnded) == []
    assert world.is_live(cookie)


@pytest.mark.parametrize("intervention", [loses_reply, loses_request])
def test_signing_out_everywhere_with_an_unknown_outcome_is_repeated(
    world: World, intervention: Intervention
) -> None:
    world.cookie()
    world.journal.next("delete_user", intervention)
    world.auth.logout_everywhere("id-of-alice")
    assert stored(world) == ()
    assert len(world.told(AllSessionsEnded)) == 1


@pytest.mark.parametrize("user_id", ["", "a\n", "x" * 256])
def test_whoever_is_no_user_has_no_sessions(world: World, user_id: str) -> None:
    calls: list[Callable[[], object]] = [
        lambda: world.auth.logout_everywhere(user_id),
        lambda: world.auth.sessions_of(user_id),
        lambda: world.auth.revoke(user_id, "0" * 32),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="user id"):
            call()
    assert world.journal.calls == []


# -- sessions_of and revoke ----------------------------------------------------


def test_live_sessions_are_listed_with_the_one_seen_last_first(world: World) -> None:
    cookies = [world.cookie() for _ in range(3)]
    for cookie in (cookies[2], cookies[0], cookies[1]):
        world.clock.advance(MINUTE)
        world.active(cookie)
    world.cookie("bob")
    presented = [SessionId.parse(cookie) for cookie in (cookies[1], cookies[0], cookies[2])]
    handles = [session.handle for session in world.auth.sessions_of("id-of-alice")]
    assert handles == [session_id.locator.handle for session_id in presented if session_id]


def test_dead_sessions_are_not_listed(world: World) -> None:
    world.login(policy="remembered")
    world.cookie()
    world.clock.advance(POLICY.idle_timeout)
    assert [session.policy for session in world.auth.sessions_of("id-of-alice")] == ["remembered"]
    assert world.service(POLICY).sessions_of("id-of-alice") == ()


def test_a_user_without_sessions_has_an_empty_list(world: World) -> None:
    assert world.auth.sessions_of("id-of-alice") == ()


def test_a_user_revokes_a_session_by_its_handle(world: World) -> None:
    mine, other = world.login(), world.login()
    handle = other.session.handle
    assert world.auth.revoke("id-of-alice", handle) == Revoked(ended=True)
    assert not world.is_live(other.session_id.reveal())
    assert world.is_live(mine.session_id.reveal())
    (event,) = world.told(SessionEnded)
    assert event == replace(event, handle=handle, reason=EndReason.REVOKED, user_id="id-of-alice")


def test_a_handle_survives_renewal_and_rotation(world: World) -> None:
    outcome = world.login()
    successor = world.confirmed(outcome.session_id.reveal())
    world.auth.rotate(successor)
    revoked = world.auth.revoke("id-of-alice", outcome.session.handle)
    assert revoked == Revoked(ended=True)


def test_another_users_handle_ends_nothing(world: World) -> None:
    bobs = world.login("bob")
    revoked = world.auth.revoke("id-of-alice", bobs.session.handle)
    assert revoked == Revoked(ended=False)
    assert world.is_live(bobs.session_id.reveal())
    assert world.told(SessionEnded) == []


@pytest.mark.parametrize("handle", ["", "0" * 32, "garbage"])
def test_a_handle_of_no_session_ends_nothing(world: World, handle: str) -> None:
    world.cookie()
    assert world.auth.revoke("id-of-alice", handle) == Revoked(ended=False)


def test_a_handle_is_no_cookie(world: World) -> None:
    assert world.inactive(world.login().session.handle) is InactiveReason.MALFORMED


def test_an_unreadable_session_can_be_revoked(world: World) -> None:
    outcome = world.login()
    roster = Roster((), b"", (outcome.session.locator,))
    world.journal.next("roster", answers(roster))
    revoked = world.auth.revoke("id-of-alice", outcome.session.handle)
    assert revoked == Revoked(ended=True)
    assert stored(world) == ()


def test_a_session_that_ended_meanwhile_is_revoked_without_being_told_of(world: World) -> None:
    outcome = world.login()
    locator = outcome.session.locator
    world.journal.next("delete", overtaken_by(lambda: world.sessions.delete(locator)))
    revoked = world.auth.revoke("id-of-alice", outcome.session.handle)
    assert revoked == Revoked(ended=False)
    assert world.told(SessionEnded) == []


@pytest.mark.parametrize("intervention", [loses_reply, loses_request])
def test_revoking_with_a_lost_reply_is_repeated_and_told_of(
    world: World, intervention: Intervention
) -> None:
    outcome = world.login()
    world.journal.next("delete", intervention)
    assert world.auth.revoke("id-of-alice", outcome.session.handle) == Revoked(ended=True)
    assert stored(world) == ()
    assert [event.reason for event in world.told(SessionEnded)] == [EndReason.REVOKED]


def test_revoking_whose_fate_stays_unknown_is_raised(world: World) -> None:
    outcome = world.login()
    world.journal.next("delete", loses_reply, UNAVAILABLE)
    with pytest.raises(OutcomeUnknown):
        world.auth.revoke("id-of-alice", outcome.session.handle)


@pytest.mark.parametrize("name", ["roster", "delete"])
def test_revoking_without_a_store_is_never_reported_as_done(world: World, name: str) -> None:
    outcome = world.login()
    world.journal.next(name, UNAVAILABLE)
    with pytest.raises(StoreUnavailable):
        world.auth.revoke("id-of-alice", outcome.session.handle)


# -- Session data --------------------------------------------------------------


def data_of(world: World, session: Session) -> dict[str, Json]:
    return dict(expect(DataRead, world.auth.read_data(session)).values)


def test_a_new_session_has_no_data(world: World) -> None:
    assert world.auth.read_data(world.login().session) == DataRead({})


def test_values_are_put_and_removed_in_one_step(world: World) -> None:
    session = world.login().session
    world.auth.change_data(session, {"a": 1, "b": [None, True, 2.5, "é"]})
    world.journal.forget()
    changed = world.auth.change_data(session, {"c": {"d": "e"}}, remove=["a", "absent"])
    assert changed == DataChanged({"c": {"d": "e"}})
    assert world.journal.names() == ["write_data"]
    assert data_of(world, session) == {"b": [None, True, 2.5, "é"], "c": {"d": "e"}}


def test_removing_only_is_a_change_too(world: World) -> None:
    session = world.login().session
    world.auth.change_data(session, {"a": 1})
    assert world.auth.change_data(session, remove={"a"}) == DataChanged({})
    assert data_of(world, session) == {}


def test_changes_of_different_keys_all_survive(world: World) -> None:
    session = world.login().session
    elsewhere = world.elsewhere()
    world.journal.next("write_data", overtaken_by(lambda: elsewhere.change_data(session, {"b": 2})))
    world.auth.change_data(session, {"a": 1})
    assert data_of(world, session) == {"a": 1, "b": 2}


def test_a_key_cannot_be_put_and_removed_at_once(world: World) -> None:
    session = world.login().session
    with pytest.raises(InvalidData, match="at the same time"):
        world.auth.change_data(session, {"a": 1}, remove=["a"])


def test_one_text_is_not_taken_for_several_keys_to_remove(world: World) -> None:
    session = world.login().session
    world.auth.change_data(session, {"a": 1, "b": 2})
    with pytest.raises(TypeError, match="not one str"):
        world.auth.change_data(session, remove="ab")
    assert data_of(world, session) == {"a": 1, "b": 2}


NO_JSON: Any = {1}

UNACCEPTABLE_CHANGES: list[Callable[[AuthService, Session], object]] = [
    lambda auth, session: auth.change_data(session, {"": 1}),
    lambda auth, session: auth.change_data(session, {"a": NO_JSON}),
    lambda auth, session: auth.change_data(session, remove=["\n"]),
    lambda auth, session: auth.update_data(session, "", lambda value: value),
    lambda auth, session: auth.update_data(session, "a", lambda _value: NO_JSON),
    lambda auth, session: auth.take_data(session, "k" * 129),
]


@pytest.mark.parametrize("change", UNACCEPTABLE_CHANGES)
def test_data_that_is_not_acceptable_is_refused_and_never_written(
    world: World, change: Callable[[AuthService, Session], object]
) -> None:
    session = world.login().session
    with pytest.raises(InvalidData):
        change(world.auth, session)
    assert "write_data" not in world.journal.names()


def test_data_may_fill_the_limit_and_not_exceed_it(world: World) -> None:
    auth = world.service(replace(POLICY, data_limit=10))
    session = world.login().session
    assert auth.change_data(session, {"key": "12345"}) == DataChanged({"key": "12345"})
    with pytest.raises(DataTooLarge):
        auth.change_data(session, {"key": "123456"})
    with pytest.raises(DataTooLarge):
        auth.update_data(session, "key", lambda _value: "123456")
    assert data_of(world, session) == {"key": "12345"}


def test_a_value_is_updated_depending_on_what_it_was(world: World) -> None:
    session = world.login().session
    world.auth.change_data(session, {"list": [1]})
    changed = world.auth.update_data(session, "list", lambda value: [value, 2])
    assert changed == DataChanged({"list": [[1], 2]})
    assert data_of(world, session) == {"list": [[1], 2]}


def test_an_absent_value_is_updated_from_the_default(world: World) -> None:
    session = world.login().session
    world.auth.update_data(session, "a", lambda value: [value])
    world.auth.update_data(session, "b", lambda value: [value], default="x")
    assert data_of(world, session) == {"a": [None], "b": ["x"]}


def test_an_update_that_was_overtaken_is_computed_again(world: World) -> None:
    session = world.login().session
    elsewhere = world.elsewhere()
    world.journal.next(
        "write_data", overtaken_by(lambda: elsewhere.increment(session, "count", 10))
    )
    assert world.auth.increment(session, "count") == DataChanged({"count": 11})


def test_an_update_that_is_always_overtaken_is_an_outage(world: World) -> None:
    session = world.login().session
    world.journal.always("write_data", answers(DataWrite.CONFLICT))
    with pytest.raises(StoreUnavailable):
        world.auth.increment(session, "count")
    assert world.journal.count("write_data") == TRIES


def test_an_update_whose_fate_is_unknown_is_raised_and_not_repeated(world: World) -> None:
    session = world.login().session
    world.journal.next("write_data", loses_reply)
    with pytest.raises(OutcomeUnknown):
        world.auth.increment(session, "count")
    assert data_of(world, session) == {"count": 1}


def test_an_absent_number_counts_from_zero(world: World) -> None:
    session = world.login().session
    assert world.auth.increment(session, "count") == DataChanged({"count": 1})
    assert world.auth.increment(session, "count", -3) == DataChanged({"count": -2})


@pytest.mark.parametrize("value", ["1", 1.0, True, None, [1]])
def test_only_a_whole_number_is_incremented(world: World, value: Json) -> None:
    session = world.login().session
    world.auth.change_data(session, {"count": value})
    with pytest.raises(InvalidData, match="whole number"):
        world.auth.increment(session, "count")


def test_a_value_is_taken_once(world: World) -> None:
    session = world.login().session
    world.auth.change_data(session, {"message": "hello", "other": 1})
    assert world.auth.take_data(session, "message") == DataTaken("hello")
    assert world.auth.take_data(session, "message") == NothingToTake()
    assert data_of(world, session) == {"other": 1}


def test_of_two_takers_one_gets_it(world: World) -> None:
    session = world.login().session
    world.auth.change_data(session, {"message": "hello"})
    elsewhere = world.elsewhere()
    taken: list[object] = []
    world.journal.next(
        "write_data", overtaken_by(lambda: taken.append(elsewhere.take_data(session, "message")))
    )
    assert world.auth.take_data(session, "message") == NothingToTake()
    assert taken == [DataTaken("hello")]


def test_a_value_that_was_changed_meanwhile_is_taken_as_it_is(world: World) -> None:
    session = world.login().session
    world.auth.change_data(session, {"message": "old"})
    elsewhere = world.elsewhere()
    world.journal.next(
        "write_data", overtaken_by(lambda: elsewhere.change_data(session, {"message": "new"}))
    )
    assert world.auth.take_data(session, "message") == DataTaken("new")


def test_a_value_that_always_changes_cannot_be_taken(world: World) -> None:
    session = world.login().session
    world.auth.change_data(session, {"message": "hello"})
    world.journal.always("write_data", answers(DataWrite.CONFLICT))
    with pytest.raises(StoreUnavailable):
        world.auth.take_data(session, "message")


def test_a_value_whose_taking_has_an_unknown_outcome_is_nobodys(world: World) -> None:
    session = world.login().session
    world.auth.change_data(session, {"message": "hello"})
    world.journal.next("write_data", loses_reply)
    with pytest.raises(OutcomeUnknown):
        world.auth.take_data(session, "message")
    assert world.auth.take_data(session, "message") == NothingToTake()


@pytest.mark.parametrize(("intervention", "left"), [(loses_reply, {"a": 1}), (loses_request, {})])
def test_a_change_whose_fate_is_unknown_is_raised_and_not_repeated(
    world: World, intervention: Intervention, left: dict[str, Json]
) -> None:
    # To repeat it might undo what somebody else did since.
    session = world.login().session
    world.journal.next("write_data", intervention)
    with pytest.raises(OutcomeUnknown):
        world.auth.change_data(session, {"a": 1})
    assert world.journal.count("write_data") == 1
    assert data_of(world, session) == left


USES_OF_DATA: list[Callable[[AuthService, Session], object]] = [
    lambda auth, session: auth.read_data(session),
    lambda auth, session: auth.change_data(session, {"a": 1}),
    lambda auth, session: auth.change_data(session, remove=["a"]),
    lambda auth, session: auth.update_data(session, "a", lambda value: value),
    lambda auth, session: auth.increment(session, "a"),
    lambda auth, session: auth.take_data(session, "a"),
]


@pytest.mark.parametrize("use", USES_OF_DATA)
def test_a_session_that_was_ended_has_no_data(
    world: World, use: Callable[[AuthService, Session], object]
) -> None:
    outcome = world.login()
    world.auth.change_data(outcome.session, {"a": 1})
    world.auth.logout(outcome.session_id.reveal())
    assert use(world.auth, outcome.session) == SessionGone()
    assert world.auth.read_data(outcome.session) == SessionGone()


@pytest.mark.parametrize("use", USES_OF_DATA)
def test_a_session_that_expired_has_no_data_and_no_store_is_asked(
    world: World, use: Callable[[AuthService, Session], object]
) -> None:
    outcome = world.login()
    world.clock.advance(POLICY.idle_timeout)
    world.journal.forget()
    assert use(world.auth, outcome.session) == SessionGone()
    assert world.journal.calls == []


@pytest.mark.parametrize("use", USES_OF_DATA[3:])
def test_a_session_that_ends_between_reading_and_writing_gets_no_data(
    world: World, use: Callable[[AuthService, Session], object]
) -> None:
    outcome = world.login()
    world.auth.change_data(outcome.session, {"a": 1})
    elsewhere = world.elsewhere()
    world.journal.next(
        "write_data", overtaken_by(lambda: elsewhere.logout(outcome.session_id.reveal()))
    )
    assert use(world.auth, outcome.session) == SessionGone()
    assert world.auth.read_data(outcome.session) == SessionGone()


@pytest.mark.parametrize("use", USES_OF_DATA)
def test_data_without_a_store_is_an_outage(
    world: World, use: Callable[[AuthService, Session], object]
) -> None:
    session = world.login().session
    world.journal.always("read_data", UNAVAILABLE)
    world.journal.always("write_data", UNAVAILABLE)
    with pytest.raises(StoreUnavailable):
        use(world.auth, session)


def test_a_value_that_cannot_be_read_is_a_corrupt_record(world: World) -> None:
    session = world.login().session
    world.auth.change_data(session, {"a": 1})
    data = world.sessions.read_data(session.locator)
    assert data is not None
    damaged = {"a": replace(data["a"], value=b"{")}
    for use in (USES_OF_DATA[0], USES_OF_DATA[3]):
        world.journal.next("read_data", answers(damaged))
        with pytest.raises(CorruptRecord):
            use(world.auth, session)


# -- purge ---------------------------------------------------------------------


def test_what_has_expired_is_purged_in_batches(world: World) -> None:
    for _ in range(3):
        world.cookie()
    world.clock.advance(DAY)
    live = world.cookie("bob")
    assert world.auth.purge(2) == Purged(sessions=2, epochs=0, more=True)
    assert world.auth.purge(10) == Purged(sessions=1, epochs=1, more=False)
    assert world.is_live(live)


def test_purging_asks_the_store_for_what_was_due_before_now(world: World) -> None:
    world.auth.purge()
    assert [call.arguments for call in world.journal.calls] == [(world.clock.now(), 1000)]


@pytest.mark.parametrize("limit", [0, -1])
def test_a_batch_is_at_least_one(world: World, limit: int) -> None:
    with pytest.raises(ValueError, match="limit: at least 1"):
        world.auth.purge(limit)
    assert world.journal.calls == []


# -- Threads -------------------------------------------------------------------


def in_parallel(call: Callable[[], object], times: int = 8) -> list[object]:
    """
    Call from that many threads at once.
    """
    together = Barrier(times)

    def wait_and_call(_number: int) -> object:
        together.wait(timeout=30)
        return call()

    with ThreadPoolExecutor(times) as pool:
        return list(pool.map(wait_and_call, range(times)))


@pytest.fixture
def threads() -> Iterator[World]:
    with world_of("threads") as made:
        yield made


def test_parallel_sign_ins_never_exceed_the_limit(threads: World) -> None:
    attempts = [threads.auth.begin("id-of-alice") for _ in range(8)]
    outcomes = in_parallel(lambda: threads.auth.establish(attempts.pop(), methods=("hwk",)))
    assert all(isinstance(outcome, LoggedIn) for outcome in outcomes)
    assert len(stored(threads)) == POLICY.session_limit
    assert len(threads.told(SessionStarted)) == 8
    assert len(threads.told(SessionEnded)) == 8 - POLICY.session_limit


def test_parallel_requests_with_a_due_id_are_answered_one_successor(threads: World) -> None:
    cookie = threads.cookie()
    threads.clock.advance(15 * MINUTE)
    outcomes = in_parallel(lambda: threads.auth.authenticate(cookie))
    assert len({expect(Active, outcome).renewed for outcome in outcomes}) == 1


def test_parallel_requests_with_a_successor_confirm_it_once(threads: World) -> None:
    successor = threads.due(threads.cookie())
    outcomes = in_parallel(lambda: threads.auth.authenticate(successor))
    assert all(isinstance(outcome, Active) for outcome in outcomes)
    assert len(threads.told(SessionRenewed)) == 1


def test_a_reused_id_that_comes_in_parallel_ends_its_session_once(threads: World) -> None:
    cookie = threads.cookie()
    threads.confirmed(cookie)
    threads.clock.advance(2 * GRACE)
    outcomes = in_parallel(lambda: threads.auth.authenticate(cookie))
    reasons = [expect(Inactive, outcome).reason for outcome in outcomes]
    assert set(reasons) <= {InactiveReason.REUSED, InactiveReason.UNKNOWN}
    assert reasons.count(InactiveReason.REUSED) == len(threads.told(SessionIdReused)) == 1


def test_no_parallel_increment_is_lost(threads: World) -> None:
    session = threads.login().session
    in_parallel(lambda: [threads.auth.increment(session, "count") for _ in range(5)])
    assert data_of(threads, session) == {"count": 40}


def test_of_parallel_takers_exactly_one_gets_it(threads: World) -> None:
    session = threads.login().session
    threads.auth.change_data(session, {"nonce": 1})
    outcomes = in_parallel(lambda: threads.auth.take_data(session, "nonce"))
    assert outcomes.count(DataTaken(1)) == 1
    assert outcomes.count(NothingToTake()) == 7


# -- A day in the life ---------------------------------------------------------


def test_a_browser_that_follows_every_answer_is_never_signed_out(world: World) -> None:
    cookie = world.cookie()
    for _ in range(60):
        world.clock.advance(7 * MINUTE)
        renewed = world.active(cookie).renewed
        cookie = renewed.reveal() if renewed else cookie
    assert len(world.told(SessionRenewed)) == 15
    assert world.told(SessionIdReused) == []
    assert world.told(UpkeepSkipped) == []


def test_a_copy_of_the_cookie_that_comes_late_ends_the_session(world: World) -> None:
    stolen = cookie = world.cookie()
    for _ in range(4):
        world.clock.advance(8 * MINUTE)
        renewed = world.active(cookie).renewed
        cookie = renewed.reveal() if renewed else cookie
    assert world.inactive(stolen) is InactiveReason.REUSED
    assert world.inactive(cookie) is InactiveReason.UNKNOWN


def test_a_policy_is_used_as_it_is_today(world: World) -> None:
    cookie = world.cookie()
    stricter = Policy(idle_timeout=2 * MINUTE, absolute_timeout=HOUR)
    world.clock.advance(2 * MINUTE)
    world.auth = world.service(stricter)
    assert world.inactive(cookie) is InactiveReason.IDLE


# -- A session with its data ---------------------------------------------------


def test_a_session_and_its_data_take_one_round_trip(world: World) -> None:
    outcome = world.login()
    world.auth.change_data(outcome.session, {"cart": [1, 2], "theme": "dark"})
    world.journal.forget()
    active = world.active(outcome.session_id.reveal(), with_data=True)
    assert active.session == outcome.session
    assert active.data == {"cart": [1, 2], "theme": "dark"}
    assert world.journal.names() == ["find_with_data"]


def test_a_session_without_data_has_none_and_not_nothing(world: World) -> None:
    assert world.active(world.cookie(), with_data=True).data == {}


def test_no_data_are_read_for_whoever_does_not_ask(world: World) -> None:
    outcome = world.login()
    world.auth.change_data(outcome.session, {"cart": [1]})
    world.journal.forget()
    assert world.active(outcome.session_id.reveal()).data is None
    assert world.journal.names() == ["find"]


def test_data_come_with_what_is_recorded_and_renewed_on_the_way(world: World) -> None:
    outcome = world.login()
    world.auth.change_data(outcome.session, {"cart": [1]})
    world.clock.advance(15 * MINUTE)
    world.journal.forget()
    active = world.active(outcome.session_id.reveal(), with_data=True)
    assert active.renewed is not None
    assert active.data == {"cart": [1]}
    assert world.journal.names() == ["find_with_data", "replace"]


def test_data_are_read_anew_with_the_record(world: World) -> None:
    outcome = world.login()
    cookie = outcome.session_id.reveal()
    elsewhere = world.elsewhere()

    def overtake() -> None:
        elsewhere.change_data(outcome.session, {"cart": [2]})
        elsewhere.authenticate(cookie)

    world.auth.change_data(outcome.session, {"cart": [1]})
    world.clock.advance(MINUTE)
    world.journal.next("replace", overtaken_by(overtake))
    assert world.active(cookie, with_data=True).data == {"cart": [2]}


def test_a_session_that_is_gone_is_unknown_with_data_too(world: World) -> None:
    cookie = world.cookie()
    world.auth.logout(cookie)
    assert world.inactive(cookie, with_data=True) is InactiveReason.UNKNOWN


def test_nobody_gets_data_of_a_session_that_is_not_theirs(world: World) -> None:
    cookie = world.cookie()
    guess = cookie[:-4] + ("AAAA" if cookie[-4:] != "AAAA" else "BBBB")
    assert isinstance(world.auth.authenticate(guess, with_data=True), Inactive)
    assert world.inactive(None, with_data=True) is InactiveReason.ABSENT


@pytest.mark.parametrize("where", ["in the store", "in its text"])
def test_a_value_that_cannot_be_read_signs_nobody_out(world: World, where: str) -> None:
    outcome = world.login()
    if where == "in the store":
        world.journal.next("find_with_data", CORRUPT)
    else:
        change = DataChange(put={"cart": b"no JSON"}, stamp=b"a-stamp!", capacity=10_000)
        world.sessions.write_data(outcome.session.locator, change)
    active = world.active(outcome.session_id.reveal(), with_data=True)
    assert active.session == outcome.session
    assert active.data is None


def test_a_record_that_cannot_be_read_is_unreadable_with_data_too(world: World) -> None:
    cookie = world.cookie()
    world.journal.next("find_with_data", CORRUPT)
    world.journal.next("find", CORRUPT)
    assert world.inactive(cookie, with_data=True) is InactiveReason.UNREADABLE


def test_an_outage_is_one_with_data_too(world: World) -> None:
    cookie = world.cookie()
    world.journal.next("find_with_data", UNAVAILABLE)
    with pytest.raises(StoreUnavailable):
        world.auth.authenticate(cookie, with_data=True)


def test_data_are_not_shown_by_an_outcomes_repr(world: World) -> None:
    outcome = world.login()
    world.auth.change_data(outcome.session, {"cart": "a secret"})
    assert "a secret" not in repr(world.active(outcome.session_id.reveal(), with_data=True))
