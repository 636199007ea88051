"""
A Django project on sessioncore: middlewares, django.contrib.auth, the admin, test clients.
"""

from __future__ import annotations

import pickle
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from io import BytesIO
from typing import Any

import django_project
import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.contrib import admin, auth
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.decorators import login_required as djangos_login_required
from django.contrib.auth.models import User
from django.contrib.auth.views import LoginView
from django.contrib.sessions.backends.db import SessionStore as DbSessionStore
from django.core.exceptions import ImproperlyConfigured
from django.core.handlers.asgi import ASGIRequest
from django.db import connection, connections, transaction
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.template import RequestContext, Template
from django.test import AsyncClient, Client, RequestFactory, override_settings
from django.urls import path
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.views import View
from django.views.debug import ExceptionReporter
from django.views.decorators.cache import cache_page
from fakes import MINUTE, POLICY, Journal, JournalledSessionStore, fails, goes_through

from sessioncore import (
    Active,
    AuthService,
    Inactive,
    InactiveReason,
    LoggedIn,
    OnLimit,
    Policies,
    Policy,
    StoreError,
    StoreUnavailable,
)
from sessioncore.testing import ManualClock, RecordingEvents
from sessioncore_django import fresh_login_required, login_required, session_of
from sessioncore_django.auth import AttemptBackend, sign_in
from sessioncore_django.engine import SessionStore
from sessioncore_django.middleware import SessionMiddleware
from sessioncore_django.migration import DjangoSessions
from sessioncore_django.reports import ExceptionReporterFilter
from sessioncore_http import Edge, SessionCookie

PASSWORD = "correct horse"
COOKIE = "__Host-session"
HERE = {"Origin": "https://testserver", "Sec-Fetch-Site": "same-origin"}
PAGE = {"Accept": "text/html"}
MIDDLEWARE = "sessioncore_django.middleware.SessionMiddleware"
DJANGOS_MIDDLEWARE = "django.contrib.sessions.middleware.SessionMiddleware"
AUTHENTICATION = "django.contrib.auth.middleware.AuthenticationMiddleware"
OUR_AUTHENTICATION = "sessioncore_django.auth.AuthenticationMiddleware"
MESSAGES = "django.contrib.messages.middleware.MessageMiddleware"
ATTEMPT = "sessioncore_django.auth.AttemptBackend"
MODEL = "django.contrib.auth.backends.ModelBackend"


# -- Views -----------------------------------------------------------------------------


def who(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"hello {request.user.get_username() or 'visitor'}")


async def who_async(request: HttpRequest) -> HttpResponse:
    user = await request.auser()
    count = (await request.session.aget("count", 0)) + 1
    await request.session.aset("count", count)
    return HttpResponse(f"hello {user.get_username() or 'visitor'} {count}")


def plain(_request: HttpRequest) -> HttpResponse:
    return HttpResponse("plain")


def note(request: HttpRequest) -> HttpResponse:
    if request.method == "POST":
        request.session["note"] = request.POST["text"]
    response = HttpResponse(request.session.get("note", "no note"))
    response.status_code = int(request.POST.get("status", 200))
    return response


def visitor(request: HttpRequest) -> HttpResponse:
    return HttpResponse(request.session.get("note", "no note"))


def remembered(request: HttpRequest) -> HttpResponse:
    user = auth.authenticate(request, username="alice", password=request.POST["password"])
    assert isinstance(user, User)
    sign_in(request, user, policy="remembered", methods=("pwd", "otp"))
    return HttpResponse(str(len(session_of(request).sessions())))


def by_passkey(request: HttpRequest) -> HttpResponse:
    attempt = session_of(request).begin(request.POST["user_id"])
    outcome = session_of(request).establish(attempt, methods=("hwk",), keep=("note",))
    return HttpResponse(f"{isinstance(outcome, LoggedIn)} {request.session.get('note')}")


def sign_out(request: HttpRequest) -> HttpResponse:
    auth.logout(request)
    return HttpResponse("bye")


def sign_out_and_say_so(request: HttpRequest) -> HttpResponse:
    auth.logout(request)
    request.session["flash"] = "bye"
    return HttpResponse("bye")


def everywhere(request: HttpRequest) -> HttpResponse:
    session_of(request).logout_everywhere(keep_this="keep" in request.POST)
    return HttpResponse("done")


def change_password(request: HttpRequest) -> HttpResponse:
    user = request.user
    assert isinstance(user, User)
    user.set_password("another")
    user.save()
    auth.update_session_auth_hash(request, user)
    return HttpResponse("done")


def ends_meanwhile(request: HttpRequest) -> HttpResponse:
    request.session["note"] = "late"
    session = session_of(request)
    session.auth.logout(session.key)
    return HttpResponse("done")


def breaks(request: HttpRequest) -> HttpResponse:
    request.session["note"] = "x"
    raise ZeroDivisionError


def unreadable(request: HttpRequest) -> HttpResponse:
    request.session["note"] = object()
    return HttpResponse("done")


def streams(request: HttpRequest) -> StreamingHttpResponse:
    request.session["note"] = "streamed"
    return StreamingHttpResponse(iter([b"one ", b"two"]))


async def streams_async(request: HttpRequest) -> StreamingHttpResponse:
    await request.session.aset("note", "streamed")

    async def parts() -> AsyncIterator[bytes]:
        yield b"one "
        yield b"two"

    return StreamingHttpResponse(parts())


def writes_our_cookie(request: HttpRequest) -> HttpResponse:
    request.session["note"] = "x"
    response = HttpResponse("done")
    response.set_cookie(COOKIE, "planted")
    response.set_cookie("theme", "dark")
    return response


def puts(request: HttpRequest) -> HttpResponse:
    request.session["note"] = request.POST["text"]
    return HttpResponse("done")


def another_user_signs_in(request: HttpRequest) -> HttpResponse:
    request.session["before"] = "of the first user"
    user = auth.authenticate(request, username="alice", password=PASSWORD)
    assert isinstance(user, User)
    auth.login(request, user)
    request.session["after"] = "of the second"
    return HttpResponse("done")


def contents(request: HttpRequest) -> HttpResponse:
    shown = {key: value for key, value in request.session.items() if not key.startswith("_")}
    return JsonResponse(shown)


def ends_and_signs_in(request: HttpRequest) -> HttpResponse:
    request.session.get("note")
    session = session_of(request)
    user_id = session.user_id()
    if user_id is None:
        session.auth.logout(session.key)
    else:
        session.auth.logout_everywhere(user_id)
    user = auth.authenticate(request, username="alice", password=PASSWORD)
    assert isinstance(user, User)
    auth.login(request, user)
    return HttpResponse("done")


def by_template(request: HttpRequest) -> HttpResponse:
    text = "{% if user.is_authenticated and 1 %}in{% else %}out{% endif %}"
    return HttpResponse(Template(text).render(RequestContext(request)))


def contained_by_template(request: HttpRequest) -> HttpResponse:
    text = "{% if 'note' in request.session %}yes{% else %}no{% endif %}"
    return HttpResponse(Template(text).render(RequestContext(request)))


def deals_with_it(request: HttpRequest) -> HttpResponse:
    try:
        name = request.user.get_username()
    except StoreError:
        session_of(request).failure = None
        name = "nobody knows"
    return HttpResponse(name)


def signs_in_at_once(request: HttpRequest) -> HttpResponse:
    user = auth.authenticate(request, username="alice", password=PASSWORD)
    assert isinstance(user, User)
    sign_in(request, user)
    return HttpResponse("done")


def who_before_and_after(request: HttpRequest) -> HttpResponse:
    before = request.user.get_username()
    if request.POST["do"] == "out":
        session_of(request).logout()
    else:
        attempt = session_of(request).begin(request.POST["do"])
        session_of(request).establish(attempt, methods=("hwk",))
    return HttpResponse(f"{before!r} {request.user.get_username()!r}")


def shows_the_key(request: HttpRequest) -> HttpResponse:
    return HttpResponse("known" if request.session.session_key else "unknown")


@login_required
def account(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"account of {session_of(request).user_id()}")


@login_required
async def account_async(request: HttpRequest) -> HttpResponse:
    return HttpResponse("account")


@fresh_login_required
def secret(_request: HttpRequest) -> HttpResponse:
    return HttpResponse("secret")


@fresh_login_required(max_age=MINUTE)
async def top_secret(_request: HttpRequest) -> HttpResponse:
    return HttpResponse("top secret")


@method_decorator(login_required, name="dispatch")
class Account(View):
    def get(self, _request: HttpRequest) -> HttpResponse:
        return HttpResponse("account")


@transaction.non_atomic_requests
def not_atomic(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"note": request.session.get("note"), "user": str(request.user)})


def atomic(request: HttpRequest) -> HttpResponse:
    assert connection.in_atomic_block
    return not_atomic(request)


class FailsBeforeTheView:
    """
    A middleware that asks for the session, and is in the way of what that raises.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.path == "/sync":
            session_of(request).require()
        return self._get_response(request)


urlpatterns = (
    path("", who),
    path("async", who_async),
    path("plain", plain),
    path("note", note),
    path("visitor", visitor),
    path("sign-in", LoginView.as_view(next_page="/", template_name="admin/login.html")),
    path("remembered", remembered),
    path("by-passkey", by_passkey),
    path("sign-out", sign_out),
    path("sign-out-and-say-so", sign_out_and_say_so),
    path("everywhere", everywhere),
    path("change-password", change_password),
    path("ends-meanwhile", ends_meanwhile),
    path("breaks", breaks),
    path("unreadable", unreadable),
    path("streams", streams),
    path("streams-async", streams_async),
    path("writes-our-cookie", writes_our_cookie),
    path("account", account),
    path("puts", puts),
    path("another-user", another_user_signs_in),
    path("contents", contents),
    path("ends-and-signs-in", ends_and_signs_in),
    path("by-template", by_template),
    path("contained-by-template", contained_by_template),
    path("deals-with-it", deals_with_it),
    path("signs-in-at-once", signs_in_at_once),
    path("who-before-and-after", who_before_and_after),
    path("shows-the-key", shows_the_key),
    path("cached", cache_page(60)(who)),
    path("grün", account),
    path("account-async", account_async),
    path("account-class", Account.as_view()),
    path("djangos-account", djangos_login_required(who)),
    path("secret", secret),
    path("top-secret", top_secret),
    path("atomic", atomic),
    path("sync", plain),
    path("admin/", admin.site.urls),
)


# -- The project -----------------------------------------------------------------------


class World:
    """
    A project, the service behind it, and one user.
    """

    def __init__(self) -> None:
        self.journal = Journal()
        self.clock = ManualClock()
        self.events = RecordingEvents()
        self.auth = AuthService(
            sessions=JournalledSessionStore(self.journal),
            policy=Policies(POLICY, Policy.remembered()),
            clock=self.clock,
            events=self.events,
        )
        self.edge = Edge(
            origins=["https://testserver"],
            sign_in_path="/sign-in",
            step_up_path="/step-up",
        )
        self.alice = User.objects.create_superuser("alice", password=PASSWORD)

    @property
    def settings(self) -> dict[str, Any]:
        return {
            "AUTHENTICATION_BACKENDS": [ATTEMPT, MODEL],
            "MIDDLEWARE": [MIDDLEWARE, AUTHENTICATION, MESSAGES],
            "ROOT_URLCONF": urlpatterns,
            "SESSIONCORE": {"AUTH": self.auth, "EDGE": self.edge},
            "SESSION_COOKIE_NAME": self.edge.cookie.name,
            "SESSION_ENGINE": "sessioncore_django.engine",
        }

    def sessions(self) -> int:
        """
        How many live sessions the user has.
        """
        return len(self.auth.sessions_of(str(self.alice.pk)))

    def take_store_down(self) -> None:
        for name in ("find", "find_with_data", "read_data", "open_epoch"):
            self.journal.always(name, fails(StoreUnavailable("down, for a test")))

    def bring_store_up(self) -> None:
        for name in ("find", "find_with_data", "read_data", "open_epoch"):
            self.journal.always(name, goes_through)


@pytest.fixture
def world() -> Iterator[World]:
    with django_project.empty_database():
        world = World()
        with override_settings(**world.settings):
            yield world


@pytest.fixture
def browser(world: World) -> Client:
    return a_browser()


def a_browser() -> Client:
    return Client(raise_request_exception=False, headers={**HERE, **PAGE})


def signs_in(browser: Client, password: str = PASSWORD) -> Any:
    return browser.post("/sign-in", {"username": "alice", "password": password})


def held(browser: Client) -> str | None:
    return browser.cookies[COOKIE].value if COOKIE in browser.cookies else None


def hold(browser: Client, session_id: str | None) -> None:
    assert session_id
    browser.cookies[COOKIE] = session_id


def text_of(response: Any) -> str:
    content: bytes = response.content
    return content.decode()


# -- Laziness and caches -----------------------------------------------------------------


def test_a_page_that_never_asks_costs_nothing_and_says_nothing(
    world: World, browser: Client
) -> None:
    signs_in(browser)
    world.journal.forget()
    response = browser.get("/plain")
    assert (text_of(response), world.journal.names()) == ("plain", [])
    assert not response.cookies
    assert "Vary" not in response
    assert "Cache-Control" not in response


@pytest.mark.parametrize("where", ["/", "/visitor", "/note"])
def test_no_cache_may_keep_what_depends_on_the_session(browser: Client, where: str) -> None:
    for _ in range(2):
        response = browser.get(where)
        assert response["Cache-Control"] == "no-store"
        assert response["Vary"] == "Cookie"
        assert not response.cookies
        signs_in(browser)


# -- django.contrib.auth -------------------------------------------------------------------


def test_djangos_sign_in_view_opens_a_session_of_the_user(world: World, browser: Client) -> None:
    response = signs_in(browser)
    assert (response.status_code, response["Location"]) == (302, "/")
    assert response.cookies[COOKIE].OutputString() == (
        f"{COOKIE}={held(browser)}; Path=/; Secure; HttpOnly; SameSite=Lax"
    )
    assert text_of(browser.get("/")) == "hello alice"
    assert text_of(browser.get("/account")) == f"account of {world.alice.pk}"
    assert browser.get("/secret").status_code == 200
    [session] = world.auth.sessions_of(str(world.alice.pk))
    assert session.device.address == "127.0.0.1"


def test_a_wrong_password_opens_none(world: World, browser: Client) -> None:
    assert signs_in(browser, "wrong").status_code == 200
    assert (held(browser), world.sessions()) == (None, 0)


def test_what_a_visitor_left_is_kept_and_the_visitors_id_is_not(browser: Client) -> None:
    browser.post("/note", {"text": "milk"})
    before = held(browser)
    signs_in(browser)
    assert held(browser) not in {None, before}
    assert text_of(browser.get("/note")) == "milk"
    other = a_browser()
    hold(other, before)
    assert text_of(other.get("/")) == "hello visitor"
    assert text_of(other.get("/note")) == "no note"


def test_whoever_signs_in_once_more_gets_a_fresh_session(world: World, browser: Client) -> None:
    signs_in(browser)
    before = held(browser)
    world.clock.advance(timedelta(minutes=20))
    assert browser.get("/secret")["Location"] == "/step-up?next=%2Fsecret"
    signs_in(browser)
    assert held(browser) != before
    assert browser.get("/secret").status_code == 200
    assert world.sessions() == 1


def test_djangos_sign_out_is_a_logout(world: World, browser: Client) -> None:
    signs_in(browser)
    before = held(browser)
    response = browser.post("/sign-out")
    assert response.cookies[COOKIE].OutputString().endswith("; Max-Age=0")
    assert world.sessions() == 0
    hold(browser, before)
    assert text_of(browser.get("/")) == "hello visitor"


def test_what_is_said_to_whom_signed_out_is_in_a_new_session(browser: Client) -> None:
    signs_in(browser)
    before = held(browser)
    browser.post("/sign-out-and-say-so")
    assert held(browser) not in {"", None, before}
    assert text_of(browser.get("/")) == "hello visitor"
    assert browser.session["flash"] == "bye"


def test_signing_out_everywhere_reaches_djangos_sessions(world: World, browser: Client) -> None:
    other = a_browser()
    signs_in(browser)
    signs_in(other)
    assert world.sessions() == 2
    browser.post("/everywhere", {"keep": "this one"})
    assert text_of(browser.get("/")) == "hello alice"
    assert text_of(other.get("/")) == "hello visitor"
    browser.post("/everywhere")
    assert text_of(browser.get("/")) == "hello visitor"
    assert world.sessions() == 0


def test_a_changed_password_ends_the_other_sessions_at_their_next_click(
    world: World, browser: Client
) -> None:
    other = a_browser()
    signs_in(browser)
    signs_in(other)
    before = held(browser)
    browser.post("/change-password")
    assert held(browser) != before
    assert text_of(browser.get("/")) == "hello alice"
    assert other.get("/account").status_code == 303
    assert world.sessions() == 1


def test_who_was_deactivated_is_nobody(world: World, browser: Client) -> None:
    signs_in(browser)
    world.alice.is_active = False
    world.alice.save()
    assert text_of(browser.get("/")) == "hello visitor"
    for where in ("/account", "/account-class", "/account-async", "/secret"):
        assert browser.get(where)["Location"].startswith("/sign-in?next=")


def test_djangos_own_decorator_works(browser: Client) -> None:
    with override_settings(LOGIN_URL="/sign-in"):
        assert browser.get("/djangos-account")["Location"] == "/sign-in?next=/djangos-account"
        signs_in(browser)
        assert text_of(browser.get("/djangos-account")) == "hello alice"


class EndsTheUsersSessions(ModelBackend):
    """
    Somebody ends all of the user's sessions while the password is being verified.
    """

    def authenticate(self, request: HttpRequest | None, *args: Any, **credentials: Any) -> Any:
        user = super().authenticate(request, *args, **credentials)
        if request is not None and user is not None:
            session_of(request).auth.logout_everywhere(str(user.pk))
        return user


@pytest.mark.parametrize(("first", "status", "sessions"), [([ATTEMPT], 401, 0), ([], 302, 1)])
def test_a_sign_in_under_way_does_not_survive_if_it_was_begun_before_the_proof(
    world: World, browser: Client, first: list[str], status: int, sessions: int
) -> None:
    backends = [*first, f"{__name__}.EndsTheUsersSessions"]
    with override_settings(AUTHENTICATION_BACKENDS=backends):
        assert signs_in(browser).status_code == status
        assert world.sessions() == sessions


def test_a_name_that_nobody_has_costs_the_store_the_same(world: World, browser: Client) -> None:
    world.journal.forget()
    for name in ("alice", "nobody"):
        browser.post("/sign-in", {"username": name, "password": "wrong"})
    assert world.journal.names() == ["open_epoch", "open_epoch"]


def test_a_sign_in_can_name_policy_and_methods_and_takes_effect_at_once(
    world: World, browser: Client
) -> None:
    response = browser.post("/remembered", {"password": PASSWORD})
    assert text_of(response) == "1"
    assert int(response.cookies[COOKIE]["max-age"]) > 24 * 60 * 60
    [session] = world.auth.sessions_of(str(world.alice.pk))
    assert session.methods == ("pwd", "otp")
    assert text_of(browser.get("/")) == "hello alice"


def test_a_sign_in_that_is_refused_leaves_nobody_signed_in(world: World, browser: Client) -> None:
    backends = [ATTEMPT, f"{__name__}.EndsTheUsersSessions"]
    with override_settings(AUTHENTICATION_BACKENDS=backends):
        response = browser.post("/remembered", {"password": PASSWORD})
    assert (response.status_code, world.sessions()) == (401, 0)
    assert text_of(browser.get("/")) == "hello visitor"


def test_a_user_whom_sessioncore_signed_in_is_djangos_user(world: World, browser: Client) -> None:
    middleware = [MIDDLEWARE, OUR_AUTHENTICATION]
    with override_settings(MIDDLEWARE=middleware):
        browser.post("/note", {"text": "milk"})
        answer = browser.post("/by-passkey", {"user_id": str(world.alice.pk)})
        assert text_of(answer) == "True milk"
        assert text_of(browser.get("/")) == "hello alice"
        assert text_of(browser.get("/async")) == "hello alice 1"
        assert text_of(browser.get("/account")) == f"account of {world.alice.pk}"
        browser.post("/sign-out")
        assert text_of(browser.get("/")) == "hello visitor"
        signs_in(browser)
        assert text_of(browser.get("/")) == "hello alice"


@pytest.mark.parametrize("user_id", ["999", "no number"])
def test_whom_the_project_does_not_know_is_nobody(browser: Client, user_id: str) -> None:
    with override_settings(MIDDLEWARE=[MIDDLEWARE, OUR_AUTHENTICATION]):
        browser.post("/by-passkey", {"user_id": user_id})
        assert text_of(browser.get("/")) == "hello visitor"
        assert browser.get("/account").status_code == 303


def test_the_limit_of_sessions_is_told(world: World) -> None:
    strict = AuthService(
        sessions=JournalledSessionStore(Journal()),
        policy=replace(POLICY, session_limit=1, on_limit=OnLimit.REJECT),
    )
    with override_settings(SESSIONCORE={"AUTH": strict, "EDGE": world.edge}):
        assert signs_in(a_browser()).status_code == 302
        assert signs_in(a_browser()).status_code == 409


# -- The admin -----------------------------------------------------------------------------


def test_the_admin_lets_in_and_out(world: World, browser: Client) -> None:
    assert browser.get("/admin/")["Location"] == "/admin/login/?next=/admin/"
    assert "password" in text_of(browser.get("/admin/login/"))
    form = {"username": "alice", "password": PASSWORD, "next": "/admin/"}
    assert browser.post("/admin/login/", form)["Location"] == "/admin/"
    assert "Site administration" in text_of(browser.get("/admin/"))
    assert world.sessions() == 1
    assert browser.post("/admin/logout/").status_code == 200
    assert world.sessions() == 0
    assert browser.get("/admin/").status_code == 302


def test_the_admins_own_checks_are_content(world: World) -> None:
    assert admin.checks.check_dependencies() == []


# -- Test clients --------------------------------------------------------------------------


@pytest.mark.parametrize("middleware", [MIDDLEWARE, DJANGOS_MIDDLEWARE])
def test_djangos_test_client_signs_in_and_out(world: World, middleware: str) -> None:
    client = Client()
    with override_settings(MIDDLEWARE=[middleware, AUTHENTICATION]):
        assert not client.login(username="alice", password="wrong")
        assert client.login(username="alice", password=PASSWORD)
        assert text_of(client.get("/")) == "hello alice"
        client.logout()
        assert text_of(client.get("/")) == "hello visitor"
        client.force_login(world.alice, backend=MODEL)
        assert text_of(client.get("/")) == "hello alice"
        assert world.sessions() == 1


@pytest.mark.parametrize("middleware", [MIDDLEWARE, DJANGOS_MIDDLEWARE])
def test_djangos_test_client_reads_and_writes_the_session(world: World, middleware: str) -> None:
    client = Client()
    with override_settings(MIDDLEWARE=[middleware, AUTHENTICATION]):
        session = client.session
        session["note"] = "milk"
        session.save()
        assert text_of(client.get("/visitor")) == "milk"
        client.post("/note", {"text": "tea"})
        assert client.session["note"] == "tea"


def test_the_asynchronous_client_does_so_too(world: World) -> None:
    async def drive() -> None:
        client = AsyncClient()
        await sync_to_async(client.force_login)(world.alice, backend=MODEL)
        for count in (1, 2):
            assert text_of(await client.get("/async")) == f"hello alice {count}"
        assert text_of(await client.get("/")) == "hello alice"
        assert text_of(await client.get("/account-async")) == "account"
        response: Any = await client.get("/streams-async")
        assert [part async for part in response.streaming_content] == [b"one ", b"two"]
        assert text_of(await client.get("/visitor")) == "streamed"
        world.clock.advance(2 * MINUTE)
        assert text_of(await client.get("/secret")) == "secret"
        assert (await client.get("/top-secret")).status_code == 401

    async_to_sync(drive)()


# -- Responses -----------------------------------------------------------------------------


def test_a_stream_carries_the_cookie_and_is_saved_before_it_starts(browser: Client) -> None:
    response = browser.get("/streams")
    assert COOKIE in response.cookies
    assert list(response) == [b"one ", b"two"]
    assert text_of(browser.get("/visitor")) == "streamed"


def test_nobody_else_writes_our_cookie(browser: Client) -> None:
    response = browser.get("/writes-our-cookie")
    assert response.cookies["theme"].value == "dark"
    assert response.cookies[COOKIE].value not in {"", "planted"}
    assert text_of(browser.get("/visitor")) == "x"


def test_attributes_that_django_does_not_know_are_written_too(world: World) -> None:
    edge = Edge(
        origins=["https://testserver"],
        cookie=SessionCookie(partitioned=True),
    )
    with override_settings(SESSIONCORE={"AUTH": world.auth, "EDGE": edge}):
        response = a_browser().get("/streams")
        assert response.cookies[COOKIE].OutputString().endswith("; SameSite=Lax; Partitioned")


def test_a_session_that_ended_meanwhile_is_not_brought_back(world: World, browser: Client) -> None:
    signs_in(browser)
    response = browser.get("/ends-meanwhile")
    assert (response.status_code, world.sessions()) == (400, 0)
    assert not response.cookies
    assert text_of(browser.get("/visitor")) == "no note"


@pytest.mark.parametrize("status", [500, 503])
def test_what_failed_is_not_saved(browser: Client, status: int) -> None:
    response = browser.post("/note", {"text": "milk", "status": status})
    assert (response.status_code, held(browser)) == (status, None)
    assert browser.get("/breaks").status_code == 500
    assert text_of(browser.get("/visitor")) == "no note"


def test_nothing_shows_the_id(browser: Client) -> None:
    response = browser.get("/streams")
    session_id = held(browser)
    assert session_id
    request = response.wsgi_request
    for shown in (response.cookies[COOKIE], response, session_of(request), request.session):
        assert session_id not in repr(shown)


def test_what_cannot_be_saved_opens_no_session(world: World, browser: Client) -> None:
    world.journal.forget()
    assert browser.get("/unreadable").status_code == 500
    assert (held(browser), world.journal.names()) == (None, [])


def test_a_renewed_id_is_answered_once_and_then_confirmed(world: World, browser: Client) -> None:
    signs_in(browser)
    before = held(browser)
    world.clock.advance(timedelta(minutes=20))
    assert text_of(browser.get("/")) == "hello alice"
    assert held(browser) != before
    assert not browser.get("/").cookies
    assert world.sessions() == 1


def test_a_retired_id_is_told_to_try_again_and_overwrites_nothing(
    world: World, browser: Client
) -> None:
    signs_in(browser)
    before = held(browser)
    browser.post("/change-password")
    hold(browser, before)
    for response in (
        browser.get("/"),
        browser.post("/note", {"text": "late"}),
        browser.get("/account"),
    ):
        assert (response.status_code, len(response.cookies)) == (409, 0)
    assert world.sessions() == 1


def test_without_our_middleware_django_refuses_it(world: World, browser: Client) -> None:
    signs_in(browser)
    before = held(browser)
    browser.post("/change-password")
    with override_settings(MIDDLEWARE=[DJANGOS_MIDDLEWARE, AUTHENTICATION]):
        other = a_browser()
        hold(other, before)
        response = other.post("/note", {"text": "late"})
    assert (response.status_code, len(response.cookies)) == (400, 0)
    assert world.sessions() == 1


def test_whoever_is_not_let_in_is_told_in_the_way_of_who_asks(world: World) -> None:
    program, window = Client(), a_browser()
    for where in ("/account", "/account-async", "/account-class", "/secret", "/top-secret"):
        assert program.get(where).json()["code"] == "sign-in-required"
        assert window.get(where)["Location"] == f"/sign-in?next=%2F{where[1:]}"
    assert window.head("/account").content == b""


def test_where_to_go_back_to_is_what_was_asked_for(world: World) -> None:
    response = a_browser().get("/gr%C3%BCn?tea=gr%C3%BCn&page=2")
    assert response["Location"] == "/sign-in?next=%2Fgr%25C3%25BCn%3Ftea%3Dgr%25C3%25BCn%26page%3D2"


def test_what_another_site_causes_is_refused_and_not_done(world: World, browser: Client) -> None:
    signs_in(browser)
    lured = Client(enforce_csrf_checks=True, headers=PAGE)
    hold(lured, held(browser))
    world.journal.forget()
    foreign = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    for where in ("/note", "/sign-out", "/sign-in"):
        response = lured.post(where, {"text": "theirs"}, headers=foreign)
        assert (response.status_code, len(response.cookies)) == (403, 0)
    assert world.journal.names() == []
    assert lured.post("/note", {"text": "mine"}, headers=HERE).status_code == 200
    assert text_of(browser.get("/visitor")) == "mine"


def test_an_outage_is_a_503_and_signs_nobody_out(world: World, browser: Client) -> None:
    signs_in(browser)
    world.take_store_down()
    for where in ("/", "/async", "/account", "/account-async", "/visitor"):
        response = browser.get(where)
        assert (response.status_code, len(response.cookies)) == (503, 0)
        assert response["Retry-After"] == "5"
    world.bring_store_up()
    assert text_of(browser.get("/")) == "hello alice"


def test_so_is_one_that_another_middleware_meets(world: World, browser: Client) -> None:
    middleware = [MIDDLEWARE, f"{__name__}.FailsBeforeTheView", AUTHENTICATION]
    with override_settings(MIDDLEWARE=middleware):
        assert browser.get("/sync").status_code == 303
        signs_in(browser)
        assert browser.get("/sync").status_code == 200
        world.take_store_down()
        assert browser.get("/sync").status_code == 503


def test_signing_out_in_an_outage_is_not_confirmed_but_the_cookie_goes(
    world: World, browser: Client
) -> None:
    signs_in(browser)
    with override_settings(MIDDLEWARE=[MIDDLEWARE]):  # auth.logout asks for request.user, if any
        other = a_browser()
        hold(other, held(browser))
        world.take_store_down()
        response = other.post("/sign-out")
    assert (response.status_code, held(other)) == (503, "")


def test_every_cookie_header_is_read_where_http_2_has_split_them() -> None:
    world_edge = Edge(origins=["https://testserver"])
    service = AuthService(sessions=JournalledSessionStore(Journal()), policy=POLICY)
    opened = service.start_anonymous()
    seen: list[str | None] = []

    def view(request: HttpRequest) -> HttpResponse:
        seen.append(session_of(request).key)
        return HttpResponse()

    scope = {
        "type": "http",
        "method": "GET",
        "path": "/",
        "query_string": b"",
        "headers": [
            (b"cookie", b"theme=dark"),
            (b"cookie", f"{COOKIE}={opened.session_id.reveal()}".encode()),
        ],
    }
    with override_settings(
        SESSIONCORE={"AUTH": service, "EDGE": world_edge},
        SESSION_ENGINE="sessioncore_django.engine",
    ):
        SessionMiddleware(view)(ASGIRequest(scope, BytesIO()))
    assert seen == [opened.session_id.reveal()]


# -- Another user's data ---------------------------------------------------------------------


def test_another_users_data_do_not_go_to_whom_django_signs_in(browser: Client) -> None:
    with override_settings(MIDDLEWARE=[MIDDLEWARE, OUR_AUTHENTICATION]):
        browser.post("/by-passkey", {"user_id": "4711"})
        browser.post("/puts", {"text": "of the first user"})
        assert text_of(browser.post("/another-user")) == "done"
        assert text_of(browser.get("/")) == "hello alice"
        assert browser.get("/contents").json() == {"after": "of the second"}


def test_nor_if_only_the_data_name_the_other_user(world: World, browser: Client) -> None:
    browser.post("/by-passkey", {"user_id": "4711"})
    browser.post("/puts", {"text": "of the first user"})
    with override_settings(SESSION_SERIALIZER="django.core.signing.JSONSerializer"):
        store = SessionStore(held(browser))
        store[auth.SESSION_KEY] = str(world.alice.pk)
        store["after"] = "of the second"
        store.save()
    assert dict(SessionStore(store.session_key)) == {
        auth.SESSION_KEY: str(world.alice.pk),
        "after": "of the second",
    }


def test_what_a_session_held_that_has_ended_does_not_come_back(
    world: World, browser: Client
) -> None:
    signs_in(browser)
    browser.post("/puts", {"text": "of the session that ended"})
    assert text_of(browser.post("/ends-and-signs-in")) == "done"
    assert text_of(browser.get("/")) == "hello alice"
    assert browser.get("/contents").json() == {}


def test_a_visitors_session_that_ends_before_the_sign_in_is_answered_400(
    world: World, browser: Client
) -> None:
    browser.post("/note", {"text": "of a visitor"})
    assert browser.post("/ends-and-signs-in").status_code == 400
    assert world.sessions() == 0


# -- What a template makes of an outage --------------------------------------------------------


@pytest.mark.parametrize("where", ["/by-template", "/contained-by-template"])
def test_a_template_that_swallows_an_outage_is_not_believed(
    world: World, browser: Client, where: str
) -> None:
    signs_in(browser)
    world.take_store_down()
    assert browser.get(where).status_code == 503
    world.bring_store_up()
    assert browser.get(where).status_code == 200


@pytest.mark.parametrize("where", ["/by-template", "/contained-by-template"])
def test_nor_is_one_that_swallows_that_the_browser_has_a_newer_id(
    browser: Client, where: str
) -> None:
    signs_in(browser)
    before = held(browser)
    browser.post("/change-password")
    hold(browser, before)
    assert browser.get(where).status_code == 409


def test_nor_is_one_that_swallows_that_a_sign_out_is_not_confirmed(
    world: World, browser: Client
) -> None:
    signs_in(browser)
    world.alice.set_password("another")
    world.alice.save()
    world.journal.always("delete", fails(StoreUnavailable("down, for a test")))
    response = browser.get("/by-template")
    assert (response.status_code, held(browser)) == (503, "")


def test_a_view_can_say_that_it_has_dealt_with_an_outage(world: World, browser: Client) -> None:
    signs_in(browser)
    world.take_store_down()
    response = browser.get("/deals-with-it")
    assert (response.status_code, text_of(response)) == (200, "nobody knows")


@pytest.mark.parametrize("where", ["/sign-in", "/signs-in-at-once"])
def test_a_sign_in_whose_data_cannot_be_written_signs_nobody_in(
    world: World, browser: Client, where: str
) -> None:
    browser.post("/note", {"text": "of a visitor"})
    before = held(browser)
    world.journal.always("write_data", fails(StoreUnavailable("down, for a test")))
    response = browser.post(where, {"username": "alice", "password": PASSWORD})
    assert (response.status_code, held(browser)) == (503, before)
    assert "Not confirmed" in text_of(response)
    world.journal.always("write_data", goes_through)
    assert world.sessions() == 0


# -- What others may see -------------------------------------------------------------------------


def test_djangos_cache_keeps_no_page_of_a_session(browser: Client) -> None:
    signs_in(browser)
    assert text_of(browser.get("/cached")) == "hello alice"
    assert text_of(a_browser().get("/cached")) == "hello visitor"
    assert text_of(browser.get("/cached")) == "hello alice"


def test_whoever_asks_for_the_key_alone_asks_for_the_session(browser: Client) -> None:
    signs_in(browser)
    response = browser.get("/shows-the-key")
    assert (response["Cache-Control"], response["Vary"]) == ("no-store", "Cookie")


def test_a_jar_of_cookies_does_not_show_the_id_and_survives_pickling(browser: Client) -> None:
    cookies = signs_in(browser).cookies
    assert held(browser)
    assert str(held(browser)) not in repr(cookies)
    copied = pickle.loads(pickle.dumps(cookies))
    assert copied.output() == cookies.output()


def begins_a_sign_in(request: HttpRequest) -> None:
    AttemptBackend().authenticate(request, username="alice", password=PASSWORD)


def ends_the_session(request: HttpRequest) -> None:
    session_of(request).logout()


@pytest.mark.parametrize("debug", [True, False])
@pytest.mark.parametrize("does", [begins_a_sign_in, ends_the_session])
def test_an_error_report_shows_neither_id_nor_password(
    world: World, browser: Client, does: Callable[[HttpRequest], None], *, debug: bool
) -> None:
    signs_in(browser)
    for name in ("find", "find_with_data", "open_epoch"):
        world.journal.always(name, fails(StoreUnavailable("down, for a test")))
    request = RequestFactory().get("/", headers={"Cookie": f"{COOKIE}={held(browser)}"})

    def view(request: HttpRequest) -> HttpResponse:
        does(request)
        return HttpResponse()

    reports: list[str] = []
    with override_settings(DEBUG=debug):
        try:
            SessionMiddleware(view)(request)
        except StoreUnavailable as error:
            reporter = ExceptionReporter(request, type(error), error, error.__traceback__)
            reporter.filter = ExceptionReporterFilter()
            reports = [reporter.get_traceback_html(), reporter.get_traceback_text()]
    assert len(reports) == 2
    for report in reports:
        assert "down, for a test" in report
        assert str(held(browser)) not in report
        assert PASSWORD not in report


# -- What the same request sees ------------------------------------------------------------------


@pytest.mark.parametrize("authentication", [AUTHENTICATION, OUR_AUTHENTICATION])
def test_whom_the_request_has_signed_out_is_no_longer_its_user(
    browser: Client, authentication: str
) -> None:
    signs_in(browser)
    with override_settings(MIDDLEWARE=[MIDDLEWARE, authentication]):
        assert text_of(browser.post("/who-before-and-after", {"do": "out"})) == "'alice' ''"


def test_whom_the_request_has_signed_in_is_its_user(world: World, browser: Client) -> None:
    with override_settings(MIDDLEWARE=[MIDDLEWARE, OUR_AUTHENTICATION]):
        response = browser.post("/who-before-and-after", {"do": str(world.alice.pk)})
    assert text_of(response) == "'' 'alice'"


def test_no_get_of_another_sites_page_signs_out(world: World, browser: Client) -> None:
    signs_in(browser)
    lured = Client(headers=PAGE)
    hold(lured, held(browser))
    foreign = {"Sec-Fetch-Site": "cross-site"}
    assert lured.get("/sign-out", headers=foreign).status_code == 403
    assert world.sessions() == 1
    assert lured.get("/sign-out", headers={"Sec-Fetch-Site": "same-origin"}).status_code == 200
    assert world.sessions() == 0


def test_a_changed_password_ends_the_session_in_such_a_get_too(
    world: World, browser: Client
) -> None:
    signs_in(browser)
    world.alice.set_password("another")
    world.alice.save()
    lured = Client(headers=PAGE)
    hold(lured, held(browser))
    assert text_of(lured.get("/", headers={"Sec-Fetch-Site": "cross-site"})) == "hello visitor"
    assert world.sessions() == 0


def test_a_second_look_knows_of_set_expiry(world: World, browser: Client) -> None:
    signs_in(browser)
    session = browser.session
    session.set_expiry(60)
    session.save()
    request = RequestFactory().get("/", headers={"Cookie": f"{COOKIE}={held(browser)}"})
    seen: list[object] = []

    def view(request: HttpRequest) -> HttpResponse:
        seen.append(session_of(request).recheck())
        world.clock.advance(MINUTE)
        seen.append(session_of(request).recheck())
        return HttpResponse()

    SessionMiddleware(view)(request)
    assert isinstance(seen[0], Active)
    assert seen[1] == Inactive(InactiveReason.IDLE)


# -- What Django lets expire -----------------------------------------------------------------


def test_whom_set_expiry_has_signed_out_is_not_let_in(world: World, browser: Client) -> None:
    signs_in(browser)
    session = browser.session
    session.set_expiry(60)
    session.save()
    assert browser.get("/account").status_code == 200
    world.clock.advance(MINUTE)
    with override_settings(MIDDLEWARE=[MIDDLEWARE]):
        assert browser.get("/account").status_code == 303
    assert world.sessions() == 0


def test_save_every_request_lets_seconds_count_from_the_last_one(
    world: World, browser: Client
) -> None:
    signs_in(browser)
    session = browser.session
    session.set_expiry(60)
    session.save()
    with override_settings(SESSION_SAVE_EVERY_REQUEST=True):
        for _ in range(3):
            world.clock.advance(timedelta(seconds=59))
            assert browser.get("/account").status_code == 200


# -- Mistakes ------------------------------------------------------------------------------


def test_without_the_middleware_there_is_no_session() -> None:
    with pytest.raises(ImproperlyConfigured, match="MIDDLEWARE"):
        session_of(RequestFactory().get("/"))


def test_another_engine_is_refused() -> None:
    with (
        override_settings(SESSION_ENGINE="django.contrib.sessions.backends.db"),
        pytest.raises(ImproperlyConfigured, match="SESSION_ENGINE"),
    ):
        SessionMiddleware(plain)


def test_an_engine_of_the_project_that_derives_from_ours_is_used(world: World) -> None:
    with override_settings(SESSION_ENGINE=__name__):
        assert isinstance(SessionMiddleware(plain)._engine(), SessionStore)


# -- Old sessions ----------------------------------------------------------------------------


@contextmanager
def atomic_requests() -> Generator[None, None, None]:
    connections.settings["default"]["ATOMIC_REQUESTS"] = True
    try:
        yield
    finally:
        connections.settings["default"]["ATOMIC_REQUESTS"] = False


def an_old_session(user: User | None, **data: Any) -> str:
    request = HttpRequest()
    request.session = DbSessionStore()
    request.session.update(data)
    if user is not None:
        auth.login(request, user, backend=MODEL)
    request.session.save()
    assert request.session.session_key is not None
    return request.session.session_key


@pytest.fixture
def moving(world: World) -> Iterator[None]:
    legacy = DjangoSessions(cookie_name="sessionid", clock=ManualClock(timezone.now()))
    configured = {"AUTH": world.auth, "EDGE": world.edge, "LEGACY": legacy}
    with override_settings(SESSIONCORE=configured):
        yield


@pytest.mark.usefixtures("moving")
def test_an_old_session_is_moved_before_the_transaction_of_the_view(
    world: World, browser: Client
) -> None:
    browser.cookies["sessionid"] = an_old_session(world.alice, note="milk")
    with atomic_requests():
        response = browser.get("/atomic")
    assert response.json() == {"note": "milk", "user": "alice"}
    deleted = response.cookies["sessionid"].OutputString()
    assert deleted.startswith("sessionid=; Path=/; ")
    assert deleted.endswith("; Max-Age=0")
    assert held(browser)
    assert world.sessions() == 1
    assert text_of(browser.get("/")) == "hello alice"
    assert browser.get("/secret")["Location"] == "/step-up?next=%2Fsecret"


@pytest.mark.usefixtures("moving")
def test_a_copy_of_the_old_cookie_is_told_to_try_again(world: World, browser: Client) -> None:
    old = an_old_session(world.alice)
    browser.cookies["sessionid"] = old
    assert text_of(browser.get("/")) == "hello alice"
    other = a_browser()
    other.cookies["sessionid"] = old
    response = other.get("/")
    assert (response.status_code, len(response.cookies)) == (409, 0)


@pytest.mark.usefixtures("moving")
def test_an_old_session_ends_with_the_sign_out(world: World, browser: Client) -> None:
    browser.cookies["sessionid"] = an_old_session(world.alice)
    assert browser.post("/sign-out").status_code == 200
    assert world.sessions() == 0
    assert browser.cookies["sessionid"].value == ""


@pytest.mark.usefixtures("moving")
def test_a_visitor_without_an_old_cookie_costs_nothing(world: World, browser: Client) -> None:
    world.journal.forget()
    response = browser.get("/plain")
    assert "Vary" not in response
    assert world.journal.names() == []


@pytest.mark.usefixtures("moving")
def test_an_outage_while_moving_is_a_503(world: World, browser: Client) -> None:
    browser.cookies["sessionid"] = an_old_session(world.alice)
    world.take_store_down()
    response = browser.get("/plain")
    assert (response.status_code, len(response.cookies)) == (503, 0)
    world.bring_store_up()
    assert text_of(browser.get("/")) == "hello alice"
