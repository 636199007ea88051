"""
What the services and the edge make of a near cache: never more than rule 15 allows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, cast

import pytest
from fakes import (
    HOUR,
    MINUTE,
    PASSWORD,
    SECOND,
    Blocking,
    World,
    expect,
    world_of,
)

from sessioncore import (
    Active,
    AsyncAuthService,
    AuthService,
    Inactive,
    InactiveReason,
    LoggedOut,
    PasswordChanged,
    Policy,
    Rotated,
    Session,
)
from sessioncore.session import Locator, Subject
from sessioncore_http import (
    AsyncRequestSession,
    Edge,
    Interruption,
    RequestHead,
    RequestSession,
)
from sessioncore_memory import AsyncMemorySessionStore

ALICE = Subject.user("id-of-alice")
SITE = "https://shop.example"
SERVED = Edge(origins=[SITE])


@dataclass
class Near:
    """
    The world's store, with copies that a test puts there, however old they are.
    """

    world: World
    copies: dict[Locator, Session] = field(default_factory=dict[Locator, Session])

    def __getattr__(self, name: str) -> Any:
        return getattr(self.world.sessions, name)

    def recall(self, locator: Locator, /) -> Session | None:
        return self.copies.get(locator)


class AsyncNear(AsyncMemorySessionStore):
    def recall(self, locator: Locator, /) -> Session | None:
        return cast("Near", self._store).recall(locator)


class Place:
    """
    A service over a near cache, and alice's session with a copy of it.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.near = Near(world)
        named: dict[str, Any] = {
            "policy": Policy(
                idle_timeout=30 * MINUTE,
                absolute_timeout=12 * HOUR,
                touch_interval=MINUTE,
                renewal_interval=15 * MINUTE,
                grace=30 * SECOND,
            ),
            "credentials": world.credentials,
            "passwords": world.passwords,
            "throttle": world.throttle,
            "events": world.events,
            "clock": world.clock,
            "entropy": world.entropy,
        }
        self.auth = AuthService(sessions=cast("Any", self.near), **named)
        if isinstance(world.auth, Blocking):
            self.auth = self.asynchronous(named)
        self.cookie = world.cookie()
        self.session = self.copied()
        world.journal.forget()

    def asynchronous(self, named: dict[str, Any]) -> AuthService:
        inner = cast("Blocking", self.world.auth)
        settings: dict[str, Any] = {
            **named,
            "sessions": AsyncNear(cast("Any", self.near)),
            "credentials": inner._service._credentials,
            "passwords": inner._service._passwords,
            "throttle": inner._service._throttle,
        }
        service = AsyncAuthService(**settings)
        return cast("AuthService", Blocking(service, inner._runner))

    def copied(self) -> Session:
        """
        Copy what is stored now.
        """
        (session,) = self.world.sessions.roster(ALICE).sessions
        self.near.copies = {session.locator: session}
        return session

    def reads(self) -> int:
        return self.world.journal.count("find")

    def request(self, cookie: str | None = None, method: str = "POST") -> RequestSession:
        """
        A request to the edge.
        """
        head = RequestHead(
            method=method,
            path="/orders",
            target="/orders",
            cookies=(f"__Host-session={cookie or self.cookie}",),
            origin=SITE,
            fetch_site="same-origin",
            address="192.0.2.1",
        )
        if not isinstance(self.auth, Blocking):
            return RequestSession(self.auth, SERVED, head)
        session = AsyncRequestSession(self.auth._service, SERVED, head)
        return cast("RequestSession", Blocking(cast("Any", session), self.auth._runner))

    def end(self) -> None:
        """
        End the session from elsewhere, while the copy stays.
        """
        self.world.sessions.delete_user(ALICE)
        self.world.journal.forget()


@pytest.fixture(params=["threads", "asyncio"])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    with world_of(request.param) as world:
        yield Place(world)


UNKNOWN = Inactive(InactiveReason.UNKNOWN)


def test_a_copy_answers_without_the_store(place: Place) -> None:
    assert place.auth.authenticate(place.cookie) == Active(place.session, is_copy=True)
    assert place.world.journal.names() == []


def test_an_answer_of_the_store_is_no_copy(place: Place) -> None:
    place.near.copies.clear()
    assert place.auth.authenticate(place.cookie) == Active(place.session)
    assert place.reads() == 1


def test_whoever_asks_for_the_store_gets_it(place: Place) -> None:
    place.end()
    assert expect(Active, place.auth.authenticate(place.cookie)).is_copy
    assert place.auth.authenticate(place.cookie, from_store=True) == UNKNOWN


def test_another_service_without_a_near_cache_has_none(place: Place) -> None:
    assert place.world.auth.authenticate(place.cookie) == Active(place.session)


@pytest.mark.parametrize("cookie", [None, "", "x" * 71, "é" * 72])
def test_no_copy_is_looked_for_by_what_is_no_id(place: Place, cookie: str | None) -> None:
    assert isinstance(place.auth.authenticate(cookie), Inactive)
    assert place.reads() == 0


def test_a_guess_goes_to_the_store(place: Place) -> None:
    guess = place.cookie[:-4] + ("AAAA" if place.cookie[-4:] != "AAAA" else "BBBB")
    assert isinstance(place.auth.authenticate(guess), Inactive)
    assert place.reads() == 1


def test_a_touch_that_is_due_goes_to_the_store(place: Place) -> None:
    place.world.clock.advance(MINUTE)
    answer = expect(Active, place.auth.authenticate(place.cookie))
    assert not answer.is_copy
    assert answer.session.last_seen_at > place.session.last_seen_at


def test_a_passive_request_needs_no_touch(place: Place) -> None:
    place.world.clock.advance(MINUTE)
    assert expect(Active, place.auth.authenticate(place.cookie, passive=True)).is_copy


def test_a_renewal_that_is_due_goes_to_the_store(place: Place) -> None:
    place.world.clock.advance(15 * MINUTE)
    assert expect(Active, place.auth.authenticate(place.cookie)).renewed is not None


def test_a_session_with_a_pending_successor_goes_to_the_store(place: Place) -> None:
    place.world.clock.advance(15 * MINUTE)
    place.auth.authenticate(place.cookie)
    place.copied()
    assert expect(Active, place.auth.authenticate(place.cookie)).renewed is not None


def test_both_ids_go_to_the_store_while_one_is_in_its_grace(place: Place) -> None:
    place.world.clock.advance(15 * MINUTE)
    renewed = expect(Active, place.auth.authenticate(place.cookie)).renewed
    assert renewed is not None
    place.auth.authenticate(renewed.reveal())
    place.copied()
    assert not expect(Active, place.auth.authenticate(renewed.reveal())).is_copy
    assert not expect(Active, place.auth.authenticate(place.cookie)).is_copy


def test_copies_answer_again_when_the_previous_id_can_no_longer_arrive(place: Place) -> None:
    place.world.clock.advance(15 * MINUTE)
    renewed = expect(Active, place.auth.authenticate(place.cookie)).renewed
    assert renewed is not None
    place.auth.authenticate(renewed.reveal())
    place.world.clock.advance(MINUTE)
    place.auth.authenticate(renewed.reveal())
    place.copied()
    assert expect(Active, place.auth.authenticate(renewed.reveal())).is_copy


@pytest.mark.parametrize("after", [30 * MINUTE, 12 * HOUR])
def test_what_has_expired_goes_to_the_store(place: Place, after: timedelta) -> None:
    place.world.clock.advance(after)
    assert isinstance(place.auth.authenticate(place.cookie, passive=True), Inactive)
    assert place.reads() == 1


def test_a_copy_never_says_reused(place: Place) -> None:
    place.world.clock.advance(15 * MINUTE)
    renewed = expect(Active, place.auth.authenticate(place.cookie)).renewed
    assert renewed is not None
    place.auth.authenticate(renewed.reveal())
    place.copied()
    # The store has forgotten what the copy says, so whoever asks it learns of no reuse.
    place.world.clock.advance(20 * MINUTE)
    place.end()
    assert place.auth.authenticate(place.cookie) == UNKNOWN
    assert not [name for name in place.world.names_of_events() if "Reused" in name]


def test_a_copy_that_is_behind_a_renewal_knows_nothing_of_the_new_id(place: Place) -> None:
    place.world.clock.advance(15 * MINUTE)
    renewed = expect(Active, place.auth.authenticate(place.cookie)).renewed
    assert renewed is not None
    answer = expect(Active, place.auth.authenticate(renewed.reveal()))
    assert not answer.is_copy


def test_what_changes_privilege_reads_the_store(place: Place) -> None:
    place.end()
    assert place.auth.rotate(place.cookie, methods=("otp",)) == UNKNOWN
    assert place.auth.reauthenticate(place.cookie, PASSWORD) == UNKNOWN
    assert place.auth.change_password(place.cookie, PASSWORD, "new password") == UNKNOWN
    assert place.auth.recheck(place.session) == UNKNOWN
    assert place.auth.logout(place.cookie) == LoggedOut(ended=False)
    assert place.auth.sessions_of("id-of-alice") == ()


def test_what_changes_privilege_works_with_a_copy_around(place: Place) -> None:
    assert isinstance(place.auth.reauthenticate(place.cookie, PASSWORD), Rotated)
    cookie = place.world.cookie()
    assert isinstance(
        place.auth.change_password(cookie, PASSWORD, "a new password"), PasswordChanged
    )


# -- The edge ------------------------------------------------------------------


def test_the_edge_answers_by_a_copy(place: Place) -> None:
    assert place.request().user_id() == "id-of-alice"
    assert place.reads() == 0


def test_the_edge_reads_the_store_before_it_calls_a_proof_fresh(place: Place) -> None:
    place.end()
    request = place.request()
    assert request.require().user_id == "id-of-alice"
    with pytest.raises(Interruption):
        request.require_fresh()
    with pytest.raises(Interruption):
        request.require()


def test_the_edge_reads_the_store_once_for_what_is_sensitive(place: Place) -> None:
    request = place.request()
    request.require()
    request.require_fresh()
    request.require_fresh()
    request.require()
    assert place.reads() == 1


Act = Callable[[RequestSession], object]


ACTS: dict[str, Act] = {
    "sessions": lambda request: request.sessions(),
    "revoke": lambda request: request.revoke("the handle of another"),
    "logout_everywhere": lambda request: request.logout_everywhere(),
}


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
def test_the_edge_reads_the_store_before_it_shows_or_ends_other_sessions(
    place: Place, act: Act
) -> None:
    place.end()
    request = place.request()
    assert request.user_id() == "id-of-alice"
    assert act(request) in ((), UNKNOWN)
    assert place.reads() == 1


def test_a_renewed_id_goes_out_only_after_a_look_at_the_store(place: Place) -> None:
    place.world.clock.advance(15 * MINUTE)
    request = place.request()
    request.authenticate()
    place.copied()
    place.end()
    assert not [value for name, value in request.finish(()) if name == "Set-Cookie"]
