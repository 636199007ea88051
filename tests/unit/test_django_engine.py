"""
What Django expects of a session backend, of the engine alone, and what we add to it.

The expectations are those of Django's own tests of its engines, in our words.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import django_project  # noqa: F401  # pyright: ignore[reportUnusedImport]  # configures Django
import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends.base import CreateError, UpdateError
from django.core.management import call_command, load_command_class
from django.core.signing import JSONSerializer
from django.test import override_settings
from fakes import MINUTE, POLICY, Journal, JournalledSessionStore

from sessioncore import Active, AuthService, InvalidData
from sessioncore.testing import ManualClock
from sessioncore_django.engine import SessionStore
from sessioncore_http import Edge, Interruption

EDGE = Edge(origins=["https://shop.test"])
ENGINE = "sessioncore_django.engine"


class World:
    """
    A service whose store calls are written down.
    """

    def __init__(self) -> None:
        self.journal = Journal()
        self.clock = ManualClock()
        self.auth = AuthService(
            sessions=JournalledSessionStore(self.journal), policy=POLICY, clock=self.clock
        )


@pytest.fixture(autouse=True)
def world() -> Iterator[World]:
    world = World()
    with override_settings(
        SESSIONCORE={"AUTH": world.auth, "EDGE": EDGE},
        SESSION_ENGINE=ENGINE,
        SESSION_COOKIE_NAME=EDGE.cookie.name,
    ):
        yield world


class Ask(Protocol):
    """
    Calls a method of a session store, or its asynchronous twin.
    """

    def __call__(self, store: SessionStore, name: str, /, *args: Any, **named: Any) -> Any: ...


def directly(store: SessionStore, name: str, /, *args: Any, **named: Any) -> Any:
    return getattr(store, "__setitem__" if name == "set" else name)(*args, **named)


def awaited(store: SessionStore, name: str, /, *args: Any, **named: Any) -> Any:
    return async_to_sync(getattr(store, "a" + name))(*args, **named)


@pytest.fixture(params=[directly, awaited])
def ask(request: pytest.FixtureRequest) -> Ask:
    asked: Ask = request.param
    return asked


def saved(**data: Any) -> SessionStore:
    store = SessionStore()
    store.update(data)
    store.save()
    return store


def again(store: SessionStore) -> SessionStore:
    """
    The store of another request of the same browser.
    """
    assert store.session_key is not None
    return SessionStore(store.session_key)


def key_of(store: SessionStore) -> str:
    assert store.session_key is not None
    return store.session_key


# -- A dictionary that knows what was done to it -----------------------------------


def test_a_new_store_was_neither_read_nor_changed(world: World) -> None:
    store = SessionStore()
    assert (store.accessed, store.modified, store.is_empty()) == (False, False, True)
    assert world.journal.names() == []


@pytest.mark.parametrize(
    ("name", "arguments", "answer", "modified"),
    [
        ("get", ("absent",), None, False),
        ("get", ("colour", "none"), "red", False),
        ("has_key", ("colour",), True, False),
        ("has_key", ("absent",), False, False),
        ("setdefault", ("colour", "blue"), "red", False),
        ("setdefault", ("size", 7), 7, True),
        ("set", ("size", 7), None, True),
        ("update", ({"size": 7},), None, True),
        ("pop", ("colour",), "red", True),
        ("pop", ("absent", "none"), "none", False),
    ],
)
def test_it_notes_whether_it_was_read_or_changed(
    ask: Ask, name: str, arguments: tuple[Any, ...], answer: Any, *, modified: bool
) -> None:
    store = again(saved(colour="red"))
    assert ask(store, name, *arguments) == answer
    assert (store.accessed, store.modified) == (True, modified)


def test_it_lists_what_is_in_it(ask: Ask) -> None:
    store = again(saved(colour="red"))
    assert list(ask(store, "keys")) == ["colour"]
    assert list(ask(store, "values")) == ["red"]
    assert list(ask(store, "items")) == [("colour", "red")]
    assert store.modified is False


def test_to_take_what_is_absent_is_an_error(ask: Ask) -> None:
    with pytest.raises(KeyError):
        ask(SessionStore(), "pop", "absent")
    with pytest.raises(KeyError):
        del SessionStore()["absent"]


def test_clearing_it_counts_as_a_change() -> None:
    store = again(saved(colour="red"))
    store.clear()
    assert (list(store.items()), store.accessed, store.modified) == ([], True, True)


def test_the_test_cookie_works(ask: Ask) -> None:
    store = SessionStore()
    assert ask(store, "test_cookie_worked") is False
    ask(store, "set_test_cookie")
    store.save()
    assert ask(again(store), "test_cookie_worked") is True
    ask(store, "delete_test_cookie")
    assert ask(store, "test_cookie_worked") is False


# -- Keys ----------------------------------------------------------------------------


def test_what_was_saved_is_loaded_by_its_key(ask: Ask) -> None:
    store = SessionStore()
    ask(store, "set", "colour", "red")
    ask(store, "save")
    assert store["colour"] == "red"
    assert ask(store, "exists", store.session_key) is True
    assert ask(again(store), "load") == {"colour": "red"}


def test_an_empty_session_can_be_saved(ask: Ask) -> None:
    store = SessionStore()
    ask(store, "save")
    assert ask(store, "exists", store.session_key) is True


@pytest.mark.parametrize("key", ["", "1234567", None])
def test_a_key_that_is_too_short_is_none(key: str | None) -> None:
    assert SessionStore(key).session_key is None


def test_a_key_is_read_and_not_written() -> None:
    with pytest.raises(AttributeError):
        saved().session_key = "12345678"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("key", ["someunknownkey", "A" * 72, "1", 'x; __Host-session="y"'])
def test_a_key_that_a_client_made_up_is_never_adopted(ask: Ask, key: str) -> None:
    store = SessionStore(key)
    ask(store, "set", "colour", "red")
    ask(store, "save")
    assert store.session_key not in {None, key}
    assert ask(again(store), "get", "colour") == "red"
    assert ask(store, "exists", key) is False


def test_loading_what_does_not_exist_creates_nothing(ask: Ask, world: World) -> None:
    store = SessionStore("A" * 72)
    assert ask(store, "load") == {}
    assert store.session_key is None
    assert world.journal.names() == ["find_with_data"]


def test_what_exists_is_not_created_once_more(ask: Ask) -> None:
    with pytest.raises(CreateError):
        ask(saved(), "save", must_create=True)
    store = SessionStore()
    store["colour"] = "red"
    ask(store, "save", must_create=True)
    assert again(store)["colour"] == "red"


def test_a_session_can_be_created_before_there_is_anything_in_it(ask: Ask) -> None:
    store = SessionStore()
    ask(store, "create")
    assert store.modified is True
    assert ask(store, "exists", store.session_key) is True


def test_creating_another_one_ends_the_one_before(ask: Ask) -> None:
    store = saved(colour="red")
    before = key_of(store)
    ask(store, "create")
    assert ask(store, "exists", before) is False
    assert again(store)["colour"] == "red"


# -- Ending --------------------------------------------------------------------------


def test_what_was_deleted_does_not_exist(ask: Ask) -> None:
    here, elsewhere = saved(), saved()
    ask(here, "delete")
    ask(here, "delete", elsewhere.session_key)
    for store in (here, elsewhere):
        assert ask(store, "exists", store.session_key) is False
    ask(here, "delete", "1")
    ask(SessionStore(), "delete")


def test_flushing_ends_the_session_and_forgets_everything(ask: Ask) -> None:
    store = saved(colour="red")
    before = key_of(store)
    ask(store, "flush")
    assert ask(store, "exists", before) is False
    assert (store.session_key, list(store.items())) == (None, [])
    assert (store.accessed, store.modified) == (True, True)


def test_flushing_what_is_no_session_asks_no_store(ask: Ask, world: World) -> None:
    store = SessionStore()
    ask(store, "flush")
    assert (store.modified, store.is_empty()) == (True, True)
    assert world.journal.names() == []


def test_a_session_that_has_ended_meanwhile_is_not_brought_back(ask: Ask) -> None:
    store = saved(colour="red")
    ask(again(store), "delete")
    ask(store, "set", "colour", "blue")
    with pytest.raises(UpdateError):
        ask(store, "save")
    assert ask(store, "load") == {}


def test_not_even_if_nothing_has_changed(ask: Ask) -> None:
    store = saved(colour="red")
    ask(again(store), "delete")
    with pytest.raises(UpdateError):
        ask(store, "save")


def test_nor_under_another_key(ask: Ask) -> None:
    store = saved(colour="red")
    ask(again(store), "delete")
    with pytest.raises(UpdateError):
        ask(store, "cycle_key")


def test_a_user_who_was_signed_out_is_not_brought_back_by_whatever_is_called(
    ask: Ask, world: World
) -> None:
    for call in ("save", "create", "cycle_key"):
        store = saved(**{SESSION_KEY: "7"})
        assert store[SESSION_KEY] == "7"
        world.auth.logout_everywhere("7")
        with pytest.raises(UpdateError):
            ask(store, call)
        store.load()
        ask(store, "save")
        assert world.auth.sessions_of("7") == ()
        assert SESSION_KEY not in store


# -- Another key ---------------------------------------------------------------------


def test_cycling_the_key_keeps_the_data_and_kills_the_old_one(ask: Ask) -> None:
    store = saved(a=1, b=2)
    before = key_of(store)
    ask(store, "cycle_key")
    assert ask(store, "exists", before) is False
    assert store.session_key not in {None, before}
    assert list(store.items()) == [("a", 1), ("b", 2)]
    assert again(store).load() == {"a": 1, "b": 2}


def test_the_data_need_not_have_been_read_for_that(ask: Ask) -> None:
    store = again(saved(a=1, b=2))
    ask(store, "cycle_key")
    assert dict(store.items()) == {"a": 1, "b": 2}


def test_cycling_what_is_no_session_yet_opens_none(ask: Ask, world: World) -> None:
    store = SessionStore()
    ask(store, "cycle_key")
    assert (store.session_key, world.journal.names()) == (None, [])


# -- Data ----------------------------------------------------------------------------


def test_requests_that_change_different_keys_do_not_undo_each_other(ask: Ask) -> None:
    store = saved(a=1, b=1, c=1)
    here, there = again(store), again(store)
    assert (here["a"], there["a"]) == (1, 1)
    ask(here, "set", "a", 2)
    ask(there, "set", "b", 2)
    del there["c"]
    ask(here, "save")
    ask(there, "save")
    assert again(store).load() == {"a": 2, "b": 2}


def test_what_did_not_change_is_not_written(world: World) -> None:
    store = again(saved(a=1))
    store["a"] = 1
    world.journal.forget()
    store.save()
    assert "write_data" not in world.journal.names()


def test_a_change_deep_inside_is_written(ask: Ask) -> None:
    store = again(saved(cart={"tea": 1}))
    store["cart"]["tea"] = 2
    ask(store, "save")
    assert again(store)["cart"] == {"tea": 2}


def test_clearing_what_was_not_read_removes_what_is_stored(ask: Ask) -> None:
    store = again(saved(a=1))
    store.clear()
    store["b"] = 2
    ask(store, "save")
    assert again(store).load() == {"b": 2}


def test_what_json_says_otherwise_comes_back_as_it_says() -> None:
    store = saved(pair=(1, 2), table={1: "one"})
    assert store["pair"] == (1, 2)
    assert again(store).load() == {"pair": [1, 2], "table": {"1": "one"}}


@pytest.mark.parametrize(("value", "error"), [(object(), TypeError), (float("nan"), InvalidData)])
def test_what_json_cannot_say_is_refused(world: World, value: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        saved(value=value)
    assert world.journal.names() == []


class Instants(JSONSerializer):
    """
    JSON with instants, as a project may have it.
    """

    def dumps(self, obj: Any) -> bytes:
        return json.dumps(obj, default=lambda instant: {"at": instant.isoformat()}).encode()

    def loads(self, data: bytes) -> Any:
        def revived(found: dict[str, Any]) -> Any:
            return datetime.fromisoformat(found["at"]) if found.keys() == {"at"} else found

        return json.loads(data, object_hook=revived)


def test_the_serializer_of_the_project_is_asked() -> None:
    instant = datetime(2030, 1, 1, tzinfo=UTC)
    with override_settings(SESSION_SERIALIZER=f"{__name__}.Instants"):
        assert again(saved(since=instant))["since"] == instant


def test_records_of_django_are_encoded_as_ever() -> None:
    store = SessionStore()
    assert store.decode(store.encode({"a": 1})) == {"a": 1}


# -- Expiry --------------------------------------------------------------------------


def test_without_an_expiry_of_its_own_it_says_what_the_settings_say(ask: Ask) -> None:
    store = SessionStore()
    for expiry in (None, 0, 10, None):
        ask(store, "set_expiry", expiry)
        with override_settings(SESSION_COOKIE_AGE=77):
            assert ask(store, "get_expiry_age") == (expiry or 77)
        closes = ask(store, "get_expire_at_browser_close")
        assert closes is (expiry == 0)


@pytest.mark.parametrize("expiry", [timedelta(seconds=-10), -10])
def test_what_was_saved_with_an_expiry_in_the_past_is_not_loaded(
    ask: Ask, expiry: timedelta | int
) -> None:
    store = SessionStore()
    store["colour"] = "red"
    ask(store, "set_expiry", expiry)
    ask(store, "save")
    assert ask(again(store), "has_key", "colour") is False


def test_seconds_count_from_the_last_change(ask: Ask, world: World) -> None:
    store = SessionStore()
    ask(store, "set_expiry", 100)
    ask(store, "save")
    world.clock.advance(timedelta(seconds=99))
    again(store).save()
    world.clock.advance(timedelta(seconds=99))
    assert again(store).keys()
    world.clock.advance(timedelta(seconds=1))
    assert not again(store).keys()


def test_an_instant_without_a_zone_is_one_of_the_project(world: World) -> None:
    with override_settings(USE_TZ=False, TIME_ZONE="Asia/Tokyo"):
        store = SessionStore()
        tokyo = timedelta(hours=9)
        store.set_expiry((world.clock.now() + tokyo + MINUTE).replace(tzinfo=None))
        store.save()
        assert again(store).keys()
        world.clock.advance(MINUTE)
        assert not again(store).keys()


def test_an_expiry_that_is_no_time_is_refused() -> None:
    store = SessionStore()
    store["_session_expiry"] = ["soon"]
    with pytest.raises(TypeError, match="an expiry is"):
        store.save()


def test_an_expiry_that_was_reset_is_none(ask: Ask, world: World) -> None:
    store = saved(colour="red")
    ask(store, "set_expiry", 60)
    ask(store, "save")
    ask(store, "set_expiry", None)
    ask(store, "save")
    world.clock.advance(2 * MINUTE)
    assert again(store)["colour"] == "red"


def test_what_expired_for_django_has_ended_for_everybody(world: World) -> None:
    store = saved(**{SESSION_KEY: "7"})
    store.set_expiry(60)
    store.save()
    assert len(world.auth.sessions_of("7")) == 1
    world.clock.advance(MINUTE)
    assert SESSION_KEY not in again(store)
    assert world.auth.sessions_of("7") == ()


def test_no_expiry_is_longer_than_the_policy(world: World) -> None:
    store = saved(colour="red")
    store.set_expiry(timedelta(days=400))
    store.save()
    world.clock.advance(POLICY.idle_timeout)
    assert "colour" not in again(store)


# -- Whose session it is -------------------------------------------------------------


def test_data_that_name_a_user_make_it_that_users_session(ask: Ask, world: World) -> None:
    store = saved(cart=["tea"])
    before = key_of(store)
    ask(store, "set", SESSION_KEY, "7")
    ask(store, "save")
    [session] = world.auth.sessions_of("7")
    assert (session.methods, world.auth.is_fresh(session)) == (("django",), True)
    assert store.session_key not in {None, before}
    assert SessionStore(before).load() == {}
    assert again(store).load() == {"cart": ["tea"], SESSION_KEY: "7"}


def test_another_user_gets_another_session(ask: Ask, world: World) -> None:
    store = saved(**{SESSION_KEY: "7"})
    ask(store, "set", SESSION_KEY, "8")
    ask(store, "save")
    assert world.auth.sessions_of("7") == ()
    assert len(world.auth.sessions_of("8")) == 1


def test_whom_the_data_no_longer_name_is_signed_out(ask: Ask, world: World) -> None:
    store = saved(cart=["tea"], **{SESSION_KEY: "7"})
    before = key_of(store)
    ask(store, "pop", SESSION_KEY)
    ask(store, "save")
    assert world.auth.sessions_of("7") == ()
    assert store.session_key not in {None, before}
    assert again(store).load() == {"cart": ["tea"]}


def test_data_that_name_somebody_else_are_not_believed(world: World) -> None:
    store = saved(colour="red")
    outcome = world.auth.authenticate(store.session_key)
    assert isinstance(outcome, Active)
    world.auth.change_data(outcome.session, {SESSION_KEY: "1"})
    assert dict(again(store).items()) == {"colour": "red"}
    assert world.auth.sessions_of("1") == ()


def test_the_session_limit_holds(world: World) -> None:
    stores: list[SessionStore] = []
    for _ in range(POLICY.session_limit + 1):
        stores.append(saved(**{SESSION_KEY: "7"}))
        world.clock.advance(MINUTE)
    assert len(world.auth.sessions_of("7")) == POLICY.session_limit
    assert SESSION_KEY not in again(stores[0])
    assert SESSION_KEY in again(stores[-1])


# -- A browser that has a newer id -----------------------------------------------------


@pytest.mark.parametrize("call", [SessionStore.keys, SessionStore.save, SessionStore.cycle_key])
def test_a_retired_id_neither_reads_nor_writes(
    world: World, call: Callable[[SessionStore], object]
) -> None:
    store = saved(colour="red")
    before = SessionStore(key_of(store))
    store.cycle_key()
    world.journal.forget()
    with pytest.raises(Interruption) as raised:
        call(before)
    assert raised.value.problem.code == "try-again"
    assert set(world.journal.names()) == {"find_with_data"}


def test_an_id_in_its_grace_reads_and_writes_but_rotates_nothing(world: World) -> None:
    store = saved(colour="red")
    world.clock.advance(15 * MINUTE)
    outcome = world.auth.authenticate(store.session_key)
    assert isinstance(outcome, Active)
    assert outcome.renewed is not None
    assert isinstance(world.auth.authenticate(outcome.renewed.reveal()), Active)
    before = again(store)
    before["colour"] = "blue"
    before.save()
    with pytest.raises(Interruption) as raised:
        before.cycle_key()
    assert raised.value.problem.code == "try-again"
    assert SessionStore(outcome.renewed.reveal())["colour"] == "blue"


# -- Housekeeping --------------------------------------------------------------------


@pytest.mark.parametrize("application", ["django.contrib.sessions", "sessioncore_django"])
def test_clearsessions_deletes_what_has_expired_and_nothing_else(
    world: World, application: str
) -> None:
    for _ in range(3):
        saved(colour="red")
    world.clock.advance(POLICY.absolute_timeout)
    world.clock.advance(timedelta(days=1))
    live = saved(colour="blue")
    call_command(load_command_class(application, "clearsessions"))
    assert world.auth.purge().sessions == 0
    assert again(live)["colour"] == "blue"


def test_so_does_its_asynchronous_twin(world: World) -> None:
    saved()
    world.clock.advance(timedelta(days=2))
    async_to_sync(SessionStore.aclear_expired)()
    assert world.auth.purge().sessions == 0
