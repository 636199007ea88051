"""
Sessions that Django's own engines wrote, read through and moved.
"""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import django_project
import pytest
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY, get_user, login
from django.contrib.auth.models import User
from django.contrib.sessions.backends.db import SessionStore as DbSessionStore
from django.contrib.sessions.models import Session
from django.core import signing
from django.core.cache import caches
from django.db import connection, connections, transaction
from django.http import HttpRequest
from django.test import override_settings
from legacy_moves import Move, a_service, found, orders, perform

from sessioncore import DataRead, LoggedIn, SessionCoreError, StoreUnavailable
from sessioncore.testing import ManualClock
from sessioncore.testing.race import race
from sessioncore_django.migration import DjangoSessions
from sessioncore_http.legacy import (
    LegacyMoved,
    LegacyRefusal,
    LegacySession,
    LegacySessions,
    LegacyStoreRefused,
    LoggedOnce,
)

DB = "django.contrib.sessions.backends.db"
CACHED_DB = "django.contrib.sessions.backends.cached_db"
SALT = "django.contrib.sessions.SessionStore"


@pytest.fixture(autouse=True)
def _django() -> Iterator[None]:
    with django_project.empty_database():
        caches["default"].clear()
        yield


@pytest.fixture
def alice() -> User:
    return User.objects.create_user("alice", password="correct horse")


@pytest.fixture
def bob() -> User:
    return User.objects.create_user("bob", password="correct horse")


@pytest.fixture
def notices() -> LoggedOnce:
    return LoggedOnce()


def store_of(engine: str, key: str | None = None) -> Any:
    return import_module(engine).SessionStore(key)


def sign_in(user: User | None, engine: str = DB, **data: Any) -> str:
    """
    Sign in as Django does it, and return the cookie.
    """
    request = HttpRequest()
    request.session = store_of(engine)
    request.session.update(data)
    if user is not None:
        login(request, user)
    request.session.save()
    key = request.session.session_key
    assert key is not None
    return key


def who(cookie: str, engine: str = DB) -> str:
    """
    Ask Django who is signed in.
    """
    request = HttpRequest()
    request.session = store_of(engine, cookie)
    return get_user(request).get_username()


def put(cookie: str, record: str) -> None:
    Session.objects.filter(session_key=cookie).update(session_data=record)


def in_a_thread(call: Callable[[], Any]) -> Callable[[], Any]:
    """
    Give the thread's connection back after the call.
    """

    def run() -> Any:
        try:
            return call()
        finally:
            connections.close_all()

    return run


# -- Reading -------------------------------------------------------------------


@pytest.mark.parametrize("engine", [DB, CACHED_DB])
def test_a_session_names_its_user_and_brings_all_of_its_data(engine: str, alice: User) -> None:
    cookie = sign_in(alice, engine, cart=["tea", 2])
    session = found(DjangoSessions(engine=engine), cookie)
    assert session.user_id == str(alice.pk)
    assert session.data == {
        "cart": ["tea", 2],
        SESSION_KEY: str(alice.pk),
        BACKEND_SESSION_KEY: "django.contrib.auth.backends.ModelBackend",
        HASH_SESSION_KEY: alice.get_session_auth_hash(),
    }


def test_a_session_of_a_visitor_names_nobody_and_brings_its_data() -> None:
    session = found(DjangoSessions(), sign_in(None, cart=["tea"]))
    assert session.user_id is None
    assert session.data == {"cart": ["tea"]}


def test_only_the_keys_that_are_asked_for_are_carried(alice: User) -> None:
    cookie = sign_in(alice, cart=["tea"], colour="red")
    assert found(DjangoSessions(carry={"cart"}), cookie).data == {"cart": ["tea"]}


def test_a_value_that_session_data_cannot_hold_is_left_behind(notices: LoggedOnce) -> None:
    cookie = sign_in(None, good=1, infinite=float("inf"))
    assert found(DjangoSessions(notices=notices), cookie).data == {"good": 1}
    assert notices.counts == {LegacyRefusal.VALUE_LEFT_OUT: 1}


def test_an_expired_session_is_nobody(alice: User) -> None:
    clock = ManualClock()
    cookie = sign_in(alice)
    expiry = Session.objects.get(session_key=cookie).expire_date
    clock.advance(expiry - clock.now() - timedelta(milliseconds=1))
    assert found(DjangoSessions(clock=clock), cookie).user_id == str(alice.pk)
    clock.advance(timedelta(milliseconds=1))
    assert DjangoSessions(clock=clock).find(cookie) is None


def test_expiry_is_judged_as_well_where_times_have_no_zone(alice: User) -> None:
    with override_settings(USE_TZ=False, TIME_ZONE="Asia/Tokyo"):
        cookie = sign_in(alice)
        assert found(DjangoSessions(), cookie).user_id == str(alice.pk)
        Session.objects.update(expire_date=django_now() - timedelta(seconds=1))
        assert DjangoSessions().find(cookie) is None


def django_now() -> Any:
    return import_module("django.utils.timezone").now()


@pytest.mark.parametrize(
    "cookie", ["", "short", "a" * 41, "a" * 31 + "*", "a" * 31 + "\n", "é" * 32]
)
def test_what_cannot_be_a_key_is_not_looked_up(cookie: str) -> None:
    with refusing_queries():
        assert DjangoSessions().find(cookie) is None


def refusing_queries() -> Any:
    def refuse(*_: Any) -> Any:
        raise AssertionError("nothing was to be looked up")

    return connection.execute_wrapper(refuse)


def test_what_is_not_there_is_nobody() -> None:
    assert DjangoSessions().find("a" * 32) is None


class SessionStore(DbSessionStore):
    """
    An engine of somebody's own, as Django's manual shows it: this module names it.
    """


def test_an_engine_that_derives_from_djangos_is_read(alice: User) -> None:
    cookie = sign_in(alice, __name__)
    legacy = DjangoSessions(engine=__name__)
    session = found(legacy, cookie)
    assert session.user_id == str(alice.pk)
    assert legacy.take(session)
    assert legacy.find(cookie) == LegacyMoved()


# -- Verifying -----------------------------------------------------------------


def test_a_password_that_was_changed_counts(alice: User) -> None:
    cookie = sign_in(alice)
    alice.set_password("another")
    alice.save()
    assert DjangoSessions().find(cookie) is None


@pytest.mark.parametrize("change", [{"is_active": False}, None])
def test_a_user_who_is_disabled_or_deleted_is_nobody(
    alice: User, change: dict[str, bool] | None
) -> None:
    cookie = sign_in(alice)
    if change is None:
        alice.delete()
    else:
        User.objects.update(**change)
    assert DjangoSessions().find(cookie) is None


def test_a_backend_that_is_no_longer_configured_signs_nobody_in(alice: User) -> None:
    cookie = sign_in(alice)
    with override_settings(AUTHENTICATION_BACKENDS=[]):
        assert DjangoSessions().find(cookie) is None


def test_an_id_that_no_user_can_have_any_more_is_nobody(alice: User) -> None:
    cookie = sign_in(alice)
    store = store_of(DB, cookie)
    store[SESSION_KEY] = "alice"  # users had names for keys, and have numbers now
    store.save()
    assert DjangoSessions().find(cookie) is None


def test_a_session_of_before_the_secret_key_was_rotated_is_verified(alice: User) -> None:
    cookie = sign_in(alice)
    with override_settings(
        SECRET_KEY="a new one", SECRET_KEY_FALLBACKS=[django_project.SECRET_KEY]
    ):
        session = found(DjangoSessions(), cookie)
        assert session.user_id == str(alice.pk)
        assert session.data[HASH_SESSION_KEY] == alice.get_session_auth_hash()
        assert DjangoSessions().take(session)


def test_a_session_signed_with_an_unknown_key_is_refused(alice: User, notices: LoggedOnce) -> None:
    cookie = sign_in(alice)
    with override_settings(SECRET_KEY="a new one"):
        assert DjangoSessions(notices=notices).find(cookie) is None
    assert notices.counts == {LegacyRefusal.UNVERIFIABLE: 1}


def test_data_signed_for_something_else_is_refused(alice: User, notices: LoggedOnce) -> None:
    cookie = sign_in(alice)
    data = store_of(DB, cookie).load()
    put(cookie, signing.dumps(data, salt="something else", compress=True))
    assert DjangoSessions(notices=notices).find(cookie) is None
    assert notices.counts == {LegacyRefusal.UNVERIFIABLE: 1}


# -- What is refused -----------------------------------------------------------


class Armed:
    """
    Touches a file when it is unpickled.
    """

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.file,))


class PickleSerializer:
    """
    What Django had under this name until version 5.
    """

    def dumps(self, obj: Any) -> bytes:
        return pickle.dumps(obj)

    def loads(self, data: bytes) -> Any:
        return pickle.loads(data)


def test_a_pickled_session_is_refused_and_not_unpickled(
    alice: User, notices: LoggedOnce, tmp_path: Path
) -> None:
    cookie = sign_in(alice)
    file = tmp_path / "touched"
    armed = {SESSION_KEY: str(alice.pk), "armed": Armed(file)}
    record = signing.dumps(armed, salt=SALT, serializer=PickleSerializer, compress=True)
    put(cookie, record)
    legacy = DjangoSessions(notices=notices)
    assert legacy.find(cookie) is None
    assert legacy.end_user(str(alice.pk)) == 0
    assert not file.exists()
    assert notices.counts == {LegacyRefusal.PICKLED: 1}
    signing.loads(record, salt=SALT, serializer=PickleSerializer)
    assert file.exists()


@pytest.mark.parametrize("value", [["a", "list"], None, "text"])
def test_a_record_that_is_no_session_is_refused(
    alice: User, notices: LoggedOnce, value: object
) -> None:
    cookie = sign_in(alice)
    put(cookie, signing.dumps(value, salt=SALT))
    assert DjangoSessions(notices=notices).find(cookie) is None
    assert notices.counts == {LegacyRefusal.UNREADABLE: 1}


@pytest.mark.parametrize(
    ("engine", "reason"),
    [
        ("django.contrib.sessions.backends.cache", "caches pickle"),
        ("django.contrib.sessions.backends.signed_cookies", "the server cannot end it"),
        ("django.contrib.sessions.backends.file", "one of several requests"),
        ("django.contrib.sessions.backends.base", "its sessions are not rows"),
    ],
)
def test_engines_from_which_nothing_can_be_moved_are_refused_with_the_reason(
    engine: str, reason: str
) -> None:
    with pytest.raises(LegacyStoreRefused, match=reason):
        DjangoSessions(engine=engine)


def test_a_serializer_that_may_pickle_is_refused_with_the_reason() -> None:
    with pytest.raises(LegacyStoreRefused, match="unpickling runs"):
        DjangoSessions(serializer=f"{__name__}.PickleSerializer")


# -- Taking --------------------------------------------------------------------


@pytest.mark.parametrize("engine", [DB, CACHED_DB])
def test_a_session_is_taken_once(engine: str, alice: User) -> None:
    legacy = DjangoSessions(engine=engine)
    cookie = sign_in(alice, engine)
    session = found(legacy, cookie)
    assert who(cookie, engine) == "alice"
    assert legacy.take(session)
    assert not legacy.take(session)
    assert who(cookie, engine) == ""


def test_of_parallel_callers_exactly_one_takes_it(alice: User) -> None:
    legacy = DjangoSessions()
    for _ in range(3):
        session = found(legacy, sign_in(alice))
        answers = race([in_a_thread(partial(legacy.take, session))] * 6)
        assert sorted(answers) == [False] * 5 + [True]


def test_a_session_that_was_just_moved_is_known_as_such_for_a_little_while(alice: User) -> None:
    clock = ManualClock()
    legacy = DjangoSessions(clock=clock, moved_for=timedelta(seconds=30))
    cookie = sign_in(alice)
    clock.advance(Session.objects.get().expire_date - clock.now() - timedelta(days=1))
    assert legacy.take(found(legacy, cookie))
    clock.advance(timedelta(seconds=29, milliseconds=999))
    assert legacy.find(cookie) == LegacyMoved()
    clock.advance(timedelta(milliseconds=1))
    assert legacy.find(cookie) is None


def test_what_was_changed_since_it_was_found_is_not_taken(alice: User) -> None:
    legacy = DjangoSessions()
    cookie = sign_in(alice, cart=["tea"])
    session = found(legacy, cookie)
    store = store_of(DB, cookie)
    store["cart"] = ["tea", "milk"]
    store.save()
    assert not legacy.take(session)
    again = found(legacy, cookie)
    assert again.data["cart"] == ["tea", "milk"]
    assert legacy.take(again)


def test_what_has_ended_since_it_was_found_is_not_taken(alice: User) -> None:
    legacy = DjangoSessions()
    cookie = sign_in(alice)
    session = found(legacy, cookie)
    store_of(DB, cookie).flush()
    assert not legacy.take(session)
    assert legacy.find(cookie) is None


def test_whose_password_was_changed_since_it_was_found_is_not_taken(alice: User) -> None:
    legacy = DjangoSessions()
    session = found(legacy, sign_in(alice))
    alice.set_password("another")
    alice.save()
    assert not legacy.take(session)


def test_an_old_server_cannot_write_back_what_was_taken(alice: User) -> None:
    legacy = DjangoSessions()
    cookie = sign_in(alice)
    under_way = store_of(DB, cookie)
    under_way["cart"] = ["tea"]
    assert legacy.take(found(legacy, cookie))
    with pytest.raises(import_module("django.contrib.sessions.backends.base").UpdateError):
        under_way.save()
    assert legacy.find(cookie) == LegacyMoved()


def test_nothing_is_taken_or_ended_within_a_transaction_that_could_undo_it(alice: User) -> None:
    legacy = DjangoSessions()
    session = found(legacy, sign_in(alice))
    for call in (partial(legacy.take, session), partial(legacy.end_user, str(alice.pk))):
        with pytest.raises(RuntimeError, match="durable"), transaction.atomic():
            call()
    assert legacy.take(session)


# -- Moving --------------------------------------------------------------------


def test_six_requests_at_once_end_with_one_session_and_no_sign_in_page(alice: User) -> None:
    auth = a_service()
    legacy = DjangoSessions(carry={"cart"})
    cookie = sign_in(alice, cart=["tea"])
    moves = [Move(auth, legacy, cookie) for _ in range(6)]
    told = race([in_a_thread(move.run) for move in moves])
    assert sorted(told) == ["signed in"] + ["try again"] * 5
    [outcome] = [move.outcome for move in moves if isinstance(move.outcome, LoggedIn)]
    assert auth.read_data(outcome.session) == DataRead({"cart": ["tea"]})
    assert [each.handle for each in auth.sessions_of(str(alice.pk))] == [outcome.session.handle]


def survivors(user: User, steps: Callable[[Any, LegacySessions], Sequence[Any]]) -> list[int]:
    """
    Return how many sessions there are after a move and *steps*, for every order of them.
    """
    counts: list[int] = []
    nothing = Move(a_service(), DjangoSessions(), "").steps
    for order in orders(nothing, steps(None, DjangoSessions())):
        user.set_password("correct horse")
        user.save()
        auth, legacy = a_service(), DjangoSessions()
        move = Move(auth, legacy, sign_in(user))
        perform(move.steps, steps(auth, legacy), order)
        counts.append(len(auth.sessions_of(str(user.pk))))
    return counts


def test_no_move_survives_a_sign_out_everywhere_in_whatever_order_they_happen(alice: User) -> None:
    def everywhere(auth: Any, legacy: LegacySessions) -> Sequence[Any]:
        user_id = str(alice.pk)
        return (lambda: legacy.end_user(user_id), lambda: auth.logout_everywhere(user_id))

    assert survivors(alice, everywhere) == [0] * 15


def test_no_move_survives_a_password_change_in_whatever_order_they_happen(alice: User) -> None:
    # Without end_user: the hash is verified again when the session is taken.
    def change_password() -> None:
        user = User.objects.get(pk=alice.pk)
        user.set_password("another")
        user.save()

    def change(auth: Any, _: LegacySessions) -> Sequence[Any]:
        return (change_password, lambda: auth.logout_everywhere(str(alice.pk)))

    assert survivors(alice, change) == [0] * 15


# -- Sign out everywhere -------------------------------------------------------


@pytest.mark.parametrize("engine", [DB, CACHED_DB])
def test_signing_out_everywhere_ends_the_old_sessions_of_that_user_alone(
    engine: str, alice: User, bob: User
) -> None:
    legacy = DjangoSessions(engine=engine)
    of_alice = [sign_in(alice, engine) for _ in range(3)]
    of_others = [sign_in(bob, engine), sign_in(None, engine, cart=[])]
    assert legacy.end_user(str(alice.pk)) == 3
    assert [legacy.find(cookie) for cookie in of_alice] == [None] * 3
    assert [who(cookie, engine) for cookie in of_alice] == [""] * 3
    assert all(isinstance(legacy.find(cookie), LegacySession) for cookie in of_others)
    assert legacy.end_user(str(alice.pk)) == 0


def test_signing_out_everywhere_reads_more_than_one_portion(alice: User, bob: User) -> None:
    template = Session.objects.get(session_key=sign_in(alice))
    Session.objects.bulk_create(
        Session(f"copy{number:028}", template.session_data, template.expire_date)
        for number in range(1_200)
    )
    cookie = sign_in(bob)
    assert DjangoSessions().end_user(str(alice.pk)) == 1_201
    assert [row.session_key for row in Session.objects.all()] == [cookie]


# -- Outages -------------------------------------------------------------------


def test_an_outage_is_not_a_sign_out_and_shows_no_secret(alice: User) -> None:
    legacy = DjangoSessions()
    cookie = sign_in(alice, note="for her eyes only")
    session = found(legacy, cookie)
    calls: list[Callable[[], Any]] = [
        partial(legacy.find, cookie),
        partial(legacy.take, session),
        partial(legacy.end_user, str(alice.pk)),
    ]
    with unavailable_sessions():
        for call in calls:
            with pytest.raises(SessionCoreError) as raised:
                call()
            shown = "".join(traceback.format_exception(raised.value))
            assert cookie not in shown
            assert "her eyes" not in shown
        for call in (calls[0], calls[2]):
            with pytest.raises(StoreUnavailable):
                call()
    assert legacy.take(session)


def unavailable_sessions() -> Any:
    """
    Have the database refuse whatever is about sessions, as if the table were gone.
    """

    def refuse(execute: Any, statement: str, *rest: Any) -> Any:
        return execute(statement.replace("django_session", "no_such_table"), *rest)

    return connection.execute_wrapper(refuse)


def test_nothing_shows_a_secret(alice: User) -> None:
    legacy = DjangoSessions()
    cookie = sign_in(alice, note="for her eyes only")
    shown = f"{found(legacy, cookie)!r} {legacy!r}"
    assert f"user_id='{alice.pk}'" in shown
    assert cookie not in shown
    assert "her eyes" not in shown


# -- Configuring ---------------------------------------------------------------


def test_the_old_cookie_is_the_one_of_the_settings() -> None:
    with override_settings(
        SESSION_COOKIE_NAME="sid", SESSION_COOKIE_PATH="/app", SESSION_COOKIE_DOMAIN="example.com"
    ):
        legacy: LegacySessions = DjangoSessions()
    assert (legacy.cookie_name, legacy.cookie_path) == ("sid", "/app")
    assert legacy.cookie_domain == "example.com"


def test_one_key_instead_of_several_is_refused() -> None:
    with pytest.raises(TypeError, match="several keys"):
        DjangoSessions(carry="cart")


def test_a_move_that_is_forgotten_at_once_is_refused() -> None:
    with pytest.raises(ValueError, match="moved_for"):
        DjangoSessions(moved_for=timedelta(0))
