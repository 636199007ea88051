"""
Flask's ``session`` on sessioncore: as Flask documents it, and where it is more than that.

The snippets of Flask's documentation are those of version 3.1, and differ from it only in
where the app, its templates and its client come from.
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import IntEnum
from typing import Any
from uuid import UUID

import msgspec
import pytest
from fakes import expect, fails, loses_reply
from flask import (
    Blueprint,
    Flask,
    Response,
    copy_current_request_context,
    flash,
    get_flashed_messages,
    make_response,
    redirect,
    render_template,
    render_template_string,
    request,
    session,
    stream_with_context,
    url_for,
)
from flask.json.tag import JSONTag
from flask.testing import FlaskClient
from flask.typing import ResponseReturnValue
from flask.views import MethodView, View
from jinja2 import DictLoader
from markupsafe import Markup
from near_caches import HandFeed
from werkzeug.exceptions import NotFound
from werkzeug.test import TestResponse

from sessioncore import (
    AuthService,
    DataTooLarge,
    InvalidData,
    LoggedIn,
    OutcomeUnknown,
    Rotated,
    SessionId,
    StoreError,
    StoreUnavailable,
)
from sessioncore.session import DataChange
from sessioncore_argon2 import Argon2PasswordHasher
from sessioncore_flask import (
    FlaskSession,
    Sessions,
    StoredSessionInterface,
    current_session,
    fresh_login_required,
    login_required,
)
from sessioncore_flask.migration import FlaskSessions
from sessioncore_http import Edge, Interruption, ResponseStarted, SynchronizerToken
from sessioncore_near_cache import NearCache
from web.shop import CHEAP, MINUTE, PASSWORD, POLICY, USER_ID, USERNAME, Shop
from web.visitor import COOKIE, SetCookie

ORIGIN = "http://localhost"
WINDOW = {"Sec-Fetch-Mode": "navigate"}
FOREIGN = {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}


@pytest.fixture
def shop() -> Iterator[Shop]:
    with Shop() as shop:
        yield shop


@pytest.fixture
def edge() -> Edge:
    return Edge(origins=[ORIGIN], sign_in_path="/sign-in", step_up_path="/step-up")


@pytest.fixture
def app(shop: Shop, edge: Edge) -> Flask:
    """
    An app that can sign in and out, and nothing else.
    """
    app = bare()
    Sessions(app, auth=shop.auth, edge=edge, permanent_policy="remembered")
    return app


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


def bare() -> Flask:
    app = Flask(__name__)
    app.testing = True

    @app.post("/sign-in")
    def sign_in() -> str:
        keep = request.form.getlist("keep")
        current_session.login(USERNAME, PASSWORD, keep=keep)
        return "signed in"

    @app.post("/sign-out")
    def sign_out() -> str:
        current_session.logout()
        return "signed out"

    return app


def cookies_of(response: TestResponse) -> list[SetCookie]:
    return [SetCookie.parse(value) for value in response.headers.getlist("Set-Cookie")]


def session_id_of(client: FlaskClient) -> str | None:
    cookie = client.get_cookie(COOKIE)
    return None if cookie is None else cookie.value


def written(shop: Shop) -> list[tuple[set[str], set[str]]]:
    """
    What was put and removed by each write of session data.
    """
    changes = [call.arguments[1] for call in shop.journal.calls if call.name == "write_data"]
    assert all(isinstance(change, DataChange) for change in changes)
    return [(set(change.put), set(change.remove)) for change in changes]


def data_of(client: FlaskClient) -> dict[str, Any]:
    with client.session_transaction() as session:
        return dict(session)


def code_of(response: TestResponse) -> str:
    assert response.content_type == "application/problem+json"
    found = msgspec.json.decode(response.data, type=dict[str, Any])["code"]
    assert isinstance(found, str)
    return found


# -- Flask's documentation -----------------------------------------------------------


def test_the_quickstart_on_sessions(app: Flask) -> None:
    @app.route("/")
    def index() -> str:
        if "username" in session:
            return f"Logged in as {session['username']}"
        return "You are not logged in"

    @app.route("/login", methods=["GET", "POST"])
    def login() -> ResponseReturnValue:
        if request.method == "POST":
            session["username"] = request.form["username"]
            return redirect(url_for("index"))
        return """
            <form method="post">
                <p><input type=text name=username>
                <p><input type=submit value=Login>
            </form>
        """

    @app.route("/logout")
    def logout() -> ResponseReturnValue:
        # remove the username from the session if it's there
        session.pop("username", None)
        return redirect(url_for("index"))

    client = app.test_client()
    assert client.get("/").text == "You are not logged in"
    answer = client.post("/login", data={"username": "flask"}, follow_redirects=True)
    assert answer.text == "Logged in as flask"
    assert app.test_client().get("/").text == "You are not logged in"
    assert client.get("/logout", follow_redirects=True).text == "You are not logged in"


def test_the_pattern_of_message_flashing(app: Flask) -> None:
    layout = """
        {% with messages = get_flashed_messages() %}
          {% if messages %}
            <ul class=flashes>
            {% for message in messages %}
              <li>{{ message }}</li>
            {% endfor %}
            </ul>
          {% endif %}
        {% endwith %}
        {% block body %}{% endblock %}
    """
    app.jinja_env.loader = DictLoader(
        {
            "layout.html": layout,
            "index.html": '{% extends "layout.html" %}',
            "login.html": '{% extends "layout.html" %}{% block body %}{{ error }}{% endblock %}',
        }
    )

    @app.route("/")
    def index() -> str:
        return render_template("index.html")

    @app.route("/login", methods=["GET", "POST"])
    def login() -> ResponseReturnValue:
        error = None
        if request.method == "POST":
            if request.form["username"] != "admin" or request.form["password"] != "secret":
                error = "Invalid credentials"
            else:
                flash("You were successfully logged in")
                return redirect(url_for("index"))
        return render_template("login.html", error=error)

    client = app.test_client()
    wrong = client.post("/login", data={"username": "admin", "password": "wrong"})
    assert "Invalid credentials" in wrong.text
    right = {"username": "admin", "password": "secret"}
    message = "<li>You were successfully logged in</li>"
    assert message in client.post("/login", data=right, follow_redirects=True).text
    assert message not in client.get("/").text


def test_flashed_messages_keep_their_categories(app: Flask) -> None:
    @app.get("/flash")
    def put() -> str:
        flash("first", "error")
        flash("second")
        return ""

    @app.get("/messages")
    def messages() -> list[Any]:
        return [list(message) for message in get_flashed_messages(with_categories=True)]

    client = app.test_client()
    client.get("/flash")
    assert client.get("/messages").json == [["error", "first"], ["message", "second"]]
    assert client.get("/messages").json == []


def an_app_with_users(app: Flask) -> Flask:
    @app.post("/auth/login")
    def login() -> str:
        session["user_id"] = {"flask": 1}[request.form["username"]]
        return ""

    @app.get("/users/me")
    def me() -> dict[str, str]:
        return {"username": {1: "flask"}[session["user_id"]]}

    return app


def test_the_session_can_be_looked_into_after_a_request_of_a_test(app: Flask) -> None:
    client = an_app_with_users(app).test_client()
    with client:
        client.post("/auth/login", data={"username": "flask"})
        # session is still accessible
        assert session["user_id"] == 1

    # session is no longer accessible
    with pytest.raises(RuntimeError):
        session["user_id"]


def test_the_session_can_be_modified_by_a_test(app: Flask) -> None:
    client = an_app_with_users(app).test_client()
    with client.session_transaction() as session:
        # set a user id without going through the login route
        session["user_id"] = 1

    # session is saved now

    response = client.get("/users/me")
    assert response.json == {"username": "flask"}


def test_a_test_that_modifies_the_session_signs_nobody_out(client: FlaskClient) -> None:
    client.post("/sign-in")
    before = session_id_of(client)
    with client.session_transaction() as session:
        session["note"] = "here"
    assert session_id_of(client) == before
    assert data_of(client) == {"note": "here"}


# -- Moving over ---------------------------------------------------------------------


class Colour(IntEnum):
    RED = 1


def an_app_of_flasks_own_sessions() -> Flask:
    app = Flask(__name__)
    app.secret_key = "a secret key"

    @app.before_request
    def make_permanent() -> None:
        session.permanent = True

    @app.get("/count")
    def count() -> str:
        session["visits"] = session.get("visits", 0) + 1
        return str(session["visits"])

    @app.post("/cart")
    def cart() -> str:
        session.setdefault("cart", []).append(request.form["item"])
        session.modified = True
        return repr(session["cart"])

    @app.post("/fill")
    def fill() -> str:
        session.update(
            tuple=(1, (2, [3])),
            bytes=b"\x00\xff",
            markup=Markup("<b>"),
            uuid=UUID(int=7),
            instant=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
            date=date(2026, 1, 2),
            price=Decimal("1.50"),
            colour=Colour.RED,
            nested={"a": {1: "one"}, "t": ()},
            tagged={" t": [1]},
            nothing=None,
        )
        return "filled"

    @app.get("/look")
    def look() -> str:
        return repr(sorted(session.items()))

    @app.post("/change")
    def change() -> str:
        session["nested"] = {"flag": False}
        del session["nothing"]
        found = session.pop("price", "none"), session.pop("price", "none")
        return repr(found)

    @app.post("/enter")
    def enter() -> ResponseReturnValue:
        session.clear()
        session["user"] = request.form["user"]
        flash(f"Welcome, {session['user']}")
        return redirect(url_for("look"))

    @app.get("/leave")
    def leave() -> str:
        session.clear()
        return str(bool(session))

    @app.get("/hello")
    def hello() -> str:
        return render_template_string(
            "{% if session.user %}{{ session.user }}{% else %}nobody{% endif %}"
            "{% for m in get_flashed_messages() %} {{ m }}{% endfor %}"
        )

    return app


def what_an_app_does(app: Flask) -> list[tuple[int, str]]:
    client = app.test_client()
    steps: list[TestResponse] = [
        client.get("/hello"),
        client.get("/count"),
        client.get("/count"),
        client.post("/cart", data={"item": "milk"}),
        client.post("/cart", data={"item": "bread"}),
        client.get("/look"),
        client.post("/fill"),
        client.get("/look"),
        client.post("/change"),
        client.get("/look"),
        client.post("/enter", data={"user": "alice"}),
        client.get("/hello"),
        client.get("/hello"),
        client.get("/count"),
        client.get("/leave"),
        client.get("/hello"),
        client.get("/count"),
    ]
    return [(step.status_code, step.text) for step in steps]


def test_an_app_behaves_the_same_with_the_one_line_and_without(shop: Shop, edge: Edge) -> None:
    before = an_app_of_flasks_own_sessions()
    after = an_app_of_flasks_own_sessions()
    Sessions(after, auth=shop.auth, edge=edge)
    # ``session.permanent`` is no longer among the data.
    expected = [
        (status, text.replace("('_permanent', True), ", ""))
        for status, text in what_an_app_does(before)
    ]
    assert what_an_app_does(after) == expected
    assert {status for status, _ in expected} == {200, 302}


def test_no_secret_key_is_needed(app: Flask, client: FlaskClient) -> None:
    assert app.secret_key is None
    with client.session_transaction() as session:
        session["a"] = 1
    assert data_of(client) == {"a": 1}


def test_sessions_of_flask_session_are_moved(shop: Shop, edge: Edge) -> None:
    class Records:
        def __init__(self) -> None:
            self.all = {
                "session:old": msgspec.msgpack.encode({"_user_id": USER_ID, "note": "kept"})
            }

        def read(self, key: str, /) -> bytes | None:
            return self.all.get(key)

        def swap(self, key: str, old: bytes, new: bytes, keep_for: timedelta, /) -> bool:
            taken = self.all.get(key) == old
            if taken:
                self.all[key] = new
            return taken

        def delete(self, keys: Any, /) -> int:
            return sum(self.all.pop(key, None) is not None for key in keys)

        def pages(self, prefix: str, /) -> Iterator[dict[str, bytes]]:
            yield dict(self.all)

    old = FlaskSessions(records=Records(), user_id=lambda data: data.get("_user_id"))
    app = bare()
    Sessions(app, auth=shop.auth, edge=edge, legacy=old)

    @app.get("/")
    def index() -> str:
        return f"{current_session.user_id()} {session['note']}"

    client = app.test_client()
    client.set_cookie("session", "old")
    assert client.get("/").text == f"{USER_ID} kept"
    assert client.get_cookie("session") is None
    assert client.get("/").text == f"{USER_ID} kept"


# -- Laziness ------------------------------------------------------------------------


def test_a_request_that_never_asks_costs_nothing(app: Flask, shop: Shop) -> None:
    @app.get("/plain")
    def plain() -> str:
        return render_template_string("{{ request.path }}")

    client = app.test_client()
    client.post("/sign-in")
    shop.journal.forget()
    answer = client.get("/plain")
    assert answer.text == "/plain"
    assert shop.journal.names() == []
    assert not {"Vary", "Cache-Control", "Set-Cookie"} & set(answer.headers.keys())


def test_a_template_that_looks_reads_once(app: Flask, shop: Shop) -> None:
    @app.get("/")
    def index() -> str:
        return render_template_string(
            "{{ session.a }}{{ session.b }}{{ session|length }}{{ current_session.user_id() }}"
        )

    client = app.test_client()
    client.post("/sign-in")
    with client.session_transaction() as session:
        session["a"] = "A"
    shop.journal.forget()
    answer = client.get("/")
    assert answer.text == f"A1{USER_ID}"
    assert shop.journal.names() == ["find_with_data"]
    assert answer.headers["Vary"] == "Cookie"
    assert answer.headers["Cache-Control"] == "no-store"


def test_a_visitor_without_a_cookie_costs_nothing(app: Flask, shop: Shop) -> None:
    @app.get("/")
    def index() -> str:
        session.permanent = True
        session.clear()
        session.pop("a", None)
        assert session.new
        return str(len(session) + len(get_flashed_messages()))

    answer = app.test_client().get("/")
    assert answer.text == "0"
    assert shop.journal.names() == []
    assert cookies_of(answer) == []
    assert answer.headers["Vary"] == "Cookie"


def test_its_repr_reads_and_shows_nothing(app: Flask, client: FlaskClient, shop: Shop) -> None:
    with client.session_transaction() as opened:
        opened["a"] = "secret"
    shop.journal.forget()

    @app.get("/")
    def index() -> str:
        return repr(session)

    assert client.get("/").text == "<FlaskSession>"
    assert shop.journal.names() == []


# -- What is written -----------------------------------------------------------------


def test_what_a_mutable_value_holds_may_change_without_notice(app: Flask) -> None:
    @app.get("/")
    def index() -> str:
        session.setdefault("list", []).append(len(session["list"]))
        return repr(session["list"])

    @app.get("/append")
    def append() -> str:
        session["list"].append("x")
        assert not session.modified
        return ""

    client = app.test_client()
    assert client.get("/").text == "[0]"
    client.get("/append")
    assert data_of(client) == {"list": [0, "x"]}


def test_only_what_changed_is_written(app: Flask, shop: Shop, client: FlaskClient) -> None:
    with client.session_transaction() as session:
        session.update(read=[1], same=(1, 2), flag=True, changed=1, gone=1, back=1, untouched=1)
    shop.journal.forget()
    with client.session_transaction() as session:
        assert session["read"] == [1]
        session["same"] = (1, 2)
        session["flag"] = 1  # which to Python is the same
        session["changed"] += 1
        session["added"] = 1
        session["brief"] = 1
        del session["brief"]
        del session["gone"]
        session["back"] = session.pop("back") + 1
    assert written(shop) == [({"flag", "changed", "added", "back"}, {"gone"})]
    assert data_of(client) == {
        "read": [1],
        "same": (1, 2),
        "flag": 1,
        "changed": 2,
        "back": 2,
        "untouched": 1,
        "added": 1,
    }


def test_who_only_reads_writes_nothing(app: Flask, shop: Shop, client: FlaskClient) -> None:
    with client.session_transaction() as session:
        session.update(when=datetime(2026, 1, 1, tzinfo=UTC), nested={"a": (1, b"x")})
    shop.journal.forget()
    data_of(client)
    assert "write_data" not in shop.journal.names()


def test_parallel_requests_that_change_different_keys_both_win(app: Flask) -> None:
    client, meanwhile = app.test_client(), app.test_client()

    @app.get("/first")
    def first() -> str:
        session["a"] = session["a"] + 1
        assert meanwhile.get("/second").status_code == 200
        return ""

    @app.get("/second")
    def second() -> str:
        session["b"] = session["b"] + 1
        return ""

    with client.session_transaction() as opened:
        opened.update(a=1, b=1)
    meanwhile.set_cookie(COOKIE, session_id_of(client) or "")
    client.get("/first")
    assert data_of(client) == {"a": 2, "b": 2}


def test_what_a_worker_counts_is_there(app: Flask, shop: Shop, client: FlaskClient) -> None:
    client.post("/sign-in")
    [signed_in] = shop.auth.sessions_of(USER_ID)
    shop.auth.increment(signed_in, "count", 3)
    assert data_of(client) == {"count": 3}


def test_clearing_takes_the_data_and_leaves_the_session(app: Flask) -> None:
    @app.get("/clear")
    def clear() -> str:
        session.clear()
        return str(dict(session))

    client = app.test_client()
    client.post("/sign-in")
    with client.session_transaction() as opened:
        opened.update(a=1, b=2)
    answer = client.get("/clear")
    assert (answer.text, cookies_of(answer)) == ("{}", [])
    assert data_of(client) == {}
    with client:
        client.post("/sign-in")
        assert current_session.user_id() == USER_ID


def test_responses_of_error_handlers_and_after_request_save_too(app: Flask) -> None:
    app.testing = False

    @app.errorhandler(404)
    def not_found(_error: NotFound) -> ResponseReturnValue:
        session["missed"] = True
        return "not here", 404

    @app.get("/fails")
    def failing() -> str:
        session["tried"] = True
        raise ZeroDivisionError

    @app.after_request
    def after(response: Response) -> Response:
        session["last"] = request.path
        return response

    client = app.test_client()
    assert client.get("/nowhere").status_code == 404
    assert client.get("/fails").status_code == 500
    found = data_of(client)
    assert found == {"missed": True, "tried": True, "last": "/fails"}


# -- Values and keys -----------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        0,
        -1.5,
        "ä\U0001f600",
        [],
        {},
        (),
        (1, ("a", [b"x"])),
        b"\x00\xff",
        Markup("<b>bold</b>"),
        UUID(int=7),
        datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        {"a": [{"b": (1,)}]},
        {" t": [1]},
        {" di": {" t__": 1}},
    ],
    ids=repr,
)
def test_what_is_put_comes_back(client: FlaskClient, value: Any) -> None:
    with client.session_transaction() as session:
        session["value"] = value
    found = data_of(client)["value"]
    assert (found, type(found)) == (value, type(value))


def test_tags_can_be_added(app: Flask, client: FlaskClient) -> None:
    class TagDate(JSONTag):
        key = " date"

        def check(self, value: Any) -> bool:
            return type(value) is date

        def to_json(self, value: Any) -> Any:
            return value.isoformat()

        def to_python(self, value: Any) -> Any:
            return date.fromisoformat(value)

    interface: Any = app.session_interface
    interface.serializer.register(TagDate)
    with client.session_transaction() as session:
        session["day"] = (date(2026, 1, 2),)
    assert data_of(client) == {"day": (date(2026, 1, 2),)}


@pytest.mark.parametrize(
    ("value", "error"),
    [(object(), TypeError), ({1, 2}, TypeError), (float("nan"), InvalidData)],
    ids=["an object", "a set", "no number"],
)
def test_what_cannot_be_said_in_json_is_an_error_as_in_flask(
    app: Flask, shop: Shop, value: Any, error: type[Exception]
) -> None:
    @app.get("/")
    def index() -> str:
        session["value"] = value
        return ""

    client = app.test_client()
    with pytest.raises(error):
        client.get("/")
    assert shop.journal.names() == []


def test_an_error_in_saving_is_a_500_and_keeps_a_sign_in(app: Flask) -> None:
    app.testing = False

    @app.get("/enter")
    def enter() -> str:
        current_session.login(USERNAME, PASSWORD)
        session["value"] = object()
        return "not seen"

    client = app.test_client()
    answer = client.get("/enter")
    assert answer.status_code == 500
    assert "not seen" not in answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    with client.session_transaction() as opened:
        assert isinstance(opened, FlaskSession)
        assert opened.request_session.user_id() == USER_ID
        assert dict(opened) == {}


@pytest.mark.parametrize("key", ["", "a\n", "x" * 129, "\ud800"], ids=ascii)
def test_unacceptable_keys_are_refused_at_once(client: FlaskClient, key: str) -> None:
    with client.session_transaction() as session:
        with pytest.raises(InvalidData):
            session[key] = 1
        assert key not in session


def test_a_key_is_text(client: FlaskClient) -> None:
    with client.session_transaction() as session:
        anything: Any = session
        with pytest.raises(TypeError):
            anything[1] = "one"
        assert 1 not in anything
        with pytest.raises(KeyError):
            del session["absent"]


def test_more_than_the_policy_allows_is_refused_and_opens_nothing(app: Flask, shop: Shop) -> None:
    @app.get("/")
    def index() -> str:
        session["value"] = "x" * 70_000
        return ""

    client = app.test_client()
    with pytest.raises(DataTooLarge):
        client.get("/")
    assert shop.journal.names()[-1] == "delete"
    assert session_id_of(client) is None


# -- A visitor's session -------------------------------------------------------------


def test_the_first_thing_to_remember_opens_a_session(app: Flask, client: FlaskClient) -> None:
    @app.get("/")
    def index() -> str:
        session["a"] = 1
        return ""

    answer = client.get("/")
    [cookie] = cookies_of(answer)
    assert (cookie.name, "max-age" in cookie.attributes) == (COOKIE, False)
    assert len(answer.headers.getlist("Content-Type")) == 1
    assert cookies_of(client.get("/")) == []
    assert data_of(client) == {"a": 1}


def test_a_permanent_one_outlives_the_browser(app: Flask, client: FlaskClient) -> None:
    @app.get("/")
    def index() -> str:
        was = session.permanent
        session.permanent = True
        session["a"] = 1
        return f"{was} {session.permanent}"

    answer = client.get("/")
    [cookie] = cookies_of(answer)
    assert answer.text == "False True"
    assert timedelta(seconds=int(cookie.attributes["max-age"])) > timedelta(days=1)
    assert client.get("/").text == "True True"


def test_without_a_policy_for_it_it_ends_with_the_browser(shop: Shop, edge: Edge) -> None:
    app = bare()
    Sessions(app, auth=shop.auth, edge=edge)

    @app.get("/")
    def index() -> str:
        session.permanent = True
        session["a"] = 1
        return ""

    [cookie] = cookies_of(app.test_client().get("/"))
    assert "max-age" not in cookie.attributes


# -- Signing in and out --------------------------------------------------------------


def put_and_sign_in(app: Flask) -> None:
    @app.get("/put-and-sign-in")
    def put_and_sign_in() -> str:
        session["kept"] = session.get("kept", 0) + 1
        session["dropped"] = 1
        session.pop("removed", None)
        assert isinstance(
            current_session.login(USERNAME, PASSWORD, keep=["kept", "removed"]), LoggedIn
        )
        seen = dict(session)
        session["after"] = 1
        return repr(seen)


def test_signing_in_keeps_what_is_named_and_nothing_else(client: FlaskClient) -> None:
    with client.session_transaction() as session:
        session.update(a=1, b=2)
    client.post("/sign-in", data={"keep": ["a"]})
    assert data_of(client) == {"a": 1}


@pytest.mark.parametrize(
    "stored", [{}, {"kept": 1, "removed": 1, "dropped": 2}], ids=["new", "old"]
)
def test_what_the_same_request_has_put_before_is_no_exception(
    app: Flask, stored: dict[str, int]
) -> None:
    put_and_sign_in(app)
    client = app.test_client()
    with client.session_transaction() as opened:
        opened.update(stored)
    expected = {"kept": 2 if stored else 1}
    assert client.get("/put-and-sign-in").text == repr(expected)
    assert data_of(client) == {**expected, "after": 1}


def test_signing_in_by_other_means_keeps_the_same(app: Flask) -> None:
    @app.get("/enter")
    def enter() -> str:
        session["kept"] = session["dropped"] = 1
        attempt = current_session.begin(USER_ID)
        current_session.establish(attempt, methods=("hwk",), keep=["kept"])
        return repr(dict(session))

    client = app.test_client()
    assert client.get("/enter").text == repr({"kept": 1})
    assert data_of(client) == {"kept": 1}


def sign_in_as_another(app: Flask, shop: Shop) -> None:
    shop.add_user("u-2", "bob")

    @app.post("/become-bob")
    def become_bob() -> str:
        if "put" in request.form:
            session["basket"] = request.form["put"]
        session.get("basket")
        current_session.login("bob", PASSWORD, keep=["basket"])
        assert current_session.user_id() == "u-2"
        return repr(dict(session))


@pytest.mark.parametrize("form", [{}, {"put": "new"}], ids=["read", "put"])
def test_nothing_of_another_users_session_is_kept(
    app: Flask, shop: Shop, form: dict[str, str]
) -> None:
    sign_in_as_another(app, shop)
    client = app.test_client()
    client.post("/sign-in")
    with client.session_transaction() as opened:
        opened["basket"] = "of alice"
    assert client.post("/become-bob", data=form).text == "{}"
    assert data_of(client) == {}


def test_what_was_put_and_signed_out_of_is_not_kept(app: Flask) -> None:
    @app.post("/again")
    def again() -> str:
        session["basket"] = 1
        current_session.logout()
        current_session.login(USERNAME, PASSWORD, keep=["basket"])
        return ""

    client = app.test_client()
    client.post("/sign-in")
    client.post("/again")
    assert data_of(client) == {}


@pytest.mark.parametrize("act", ["read", "put", "remove"])
def test_nothing_of_a_session_that_has_ended_is_kept(app: Flask, shop: Shop, act: str) -> None:
    @app.post("/again")
    def again() -> str:
        session.get("basket")
        if act == "put":
            session["basket"] = "new"
        elif act == "remove":
            del session["basket"]
        shop.auth.logout_everywhere(USER_ID)
        current_session.login(USERNAME, PASSWORD, keep=["basket"])
        return repr(dict(session))

    client = app.test_client()
    client.post("/sign-in")
    with client.session_transaction() as opened:
        opened["basket"] = "old"
    assert client.post("/again").text == "{}"
    assert data_of(client) == {}


def test_what_a_parallel_request_has_put_is_kept_and_not_what_was_read_before(
    app: Flask,
) -> None:
    client = app.test_client()
    other = app.test_client()

    @app.post("/put")
    def put() -> str:
        session["basket"] = "newer"
        return ""

    @app.post("/enter")
    def enter() -> str:
        assert session["basket"] == "old"
        other.post("/put")
        current_session.login(USERNAME, PASSWORD, keep=["basket"])
        return str(session["basket"])

    with client.session_transaction() as opened:
        opened["basket"] = "old"
    other.set_cookie(COOKIE, session_id_of(client) or "")
    assert client.post("/enter").text == "newer"
    assert data_of(client) == {"basket": "newer"}


def test_what_changed_within_a_value_is_kept(app: Flask) -> None:
    @app.post("/enter")
    def enter() -> str:
        session["basket"].append(2)
        current_session.login(USERNAME, PASSWORD, keep=["basket"])
        return ""

    client = app.test_client()
    with client.session_transaction() as opened:
        opened["basket"] = [1]
    client.post("/enter")
    assert data_of(client) == {"basket": [1, 2]}


def test_a_sign_in_that_has_nothing_to_take_along_asks_nothing_more(app: Flask, shop: Shop) -> None:
    @app.post("/enter")
    def enter() -> str:
        session.get("basket")
        shop.journal.forget()
        current_session.login(USERNAME, PASSWORD, keep=["basket"])
        asked.extend(shop.journal.names())
        return ""

    @app.post("/enter-unread")
    def enter_unread() -> str:
        current_session.user_id()
        shop.journal.forget()
        current_session.login(USERNAME, PASSWORD, keep=["basket"])
        asked_unread.extend(shop.journal.names())
        return ""

    asked: list[str] = []
    asked_unread: list[str] = []
    for path in ("/enter", "/enter-unread"):
        client = app.test_client()
        with client.session_transaction() as opened:
            opened["basket"] = 1
        client.post(path)
    assert asked == asked_unread


def test_a_refused_sign_in_leaves_the_data_alone(app: Flask) -> None:
    @app.get("/try")
    def attempt() -> str:
        session["a"] = 1
        current_session.login(USERNAME, "wrong")
        return ""

    client = app.test_client()
    client.get("/try")
    assert data_of(client) == {"a": 1}


def test_signing_out_ends_the_data_and_what_was_not_written_yet(app: Flask) -> None:
    @app.get("/leave")
    def leave() -> str:
        session["late"] = 1
        current_session.logout()
        flash("Goodbye")
        return repr(sorted(session))

    client = app.test_client()
    client.post("/sign-in")
    with client.session_transaction() as opened:
        opened["a"] = 1
    held = session_id_of(client)
    assert client.get("/leave").text == "['_flashes']"
    assert session_id_of(client) not in {None, held}
    assert data_of(client) == {"_flashes": [("message", "Goodbye")]}


def test_signing_out_deletes_the_cookie(app: Flask, client: FlaskClient) -> None:
    client.post("/sign-in")
    [cookie] = cookies_of(client.post("/sign-out"))
    assert cookie.deletes
    assert session_id_of(client) is None


def test_a_new_id_keeps_the_data_and_what_was_not_written_yet(app: Flask) -> None:
    @app.get("/renew")
    def renew() -> str:
        session["b"] = 2
        assert isinstance(current_session.reauthenticate(PASSWORD), Rotated)
        session["c"] = session["a"]
        current_session.logout_everywhere(keep_this=True)
        return repr(dict(session))

    client = app.test_client()
    client.post("/sign-in")
    with client.session_transaction() as opened:
        opened["a"] = 1
    before = session_id_of(client)
    expected = {"a": 1, "b": 2, "c": 1}
    assert client.get("/renew").text == repr(expected)
    assert session_id_of(client) != before
    assert data_of(client) == expected


def test_a_session_that_the_app_opens_takes_what_is_there(app: Flask, shop: Shop) -> None:
    @app.get("/")
    def index() -> str:
        session["a"] = 1
        current_session.start_anonymous()
        return repr(dict(session))

    client = app.test_client()
    assert client.get("/").text == repr({"a": 1})
    assert shop.journal.count("admit") == 1
    assert data_of(client) == {"a": 1}


def test_an_app_with_users_of_its_own_can_renew_the_id(app: Flask) -> None:
    @app.post("/enter")
    def enter() -> str:
        current_session.rotate()
        session["user"] = request.form["user"]
        return ""

    client, other = app.test_client(), app.test_client()
    with client.session_transaction() as opened:
        opened["cart"] = [1]
    planted = session_id_of(client) or ""
    client.post("/enter", data={"user": "alice"})
    assert data_of(client) == {"cart": [1], "user": "alice"}
    other.set_cookie(COOKIE, planted)
    assert data_of(other) == {}
    other.post("/enter", data={"user": "bob"})
    assert data_of(client) == {"cart": [1], "user": "alice"}


# -- Sessions that end meanwhile -----------------------------------------------------


def test_a_session_that_ended_meanwhile_takes_nothing(app: Flask, shop: Shop) -> None:
    @app.get("/put")
    def put() -> str:
        session["a"] = 1
        shop.auth.logout_everywhere(USER_ID)
        return "done"

    client = app.test_client()
    client.post("/sign-in")
    answer = client.get("/put", headers=WINDOW)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/sign-in?next=%2Fput")
    assert cookies_of(answer) == []
    client.post("/sign-in")
    answer = client.get("/put")
    assert (answer.status_code, code_of(answer)) == (401, "sign-in-required")
    assert data_of(client) == {}
    assert shop.auth.sessions_of(USER_ID) == ()


def test_a_visitors_session_that_ended_meanwhile_takes_nothing(app: Flask, shop: Shop) -> None:
    client = app.test_client()

    @app.get("/put")
    def put() -> str:
        session["a"] = 2
        shop.auth.logout(session_id_of(client))
        return "done"

    with client.session_transaction() as opened:
        opened["a"] = 1
    answer = client.get("/put")
    assert (answer.status_code, code_of(answer)) == (409, "try-again")
    assert cookies_of(answer) == []


@pytest.fixture
def near(shop: Shop) -> Iterator[NearCache]:
    feed = HandFeed()
    with NearCache(shop.sessions, feed, max_staleness=MINUTE) as near:
        near.find(expect(SessionId, SessionId.parse("A" * 72)).locator)
        feed.wait_until_followed()
        yield near
        feed.end()


@pytest.fixture
def app_with_copies(shop: Shop, near: NearCache, edge: Edge) -> Flask:
    app = bare()
    auth = AuthService(
        sessions=near,
        credentials=shop.credentials,
        passwords=Argon2PasswordHasher(CHEAP),
        policy=POLICY,
        clock=shop.clock,
    )
    Sessions(app, auth=auth, edge=edge)

    @app.get("/me")
    def me() -> str:
        return str(current_session.user_id())

    @app.get("/put")
    @login_required
    def put() -> str:
        session["a"] = 1
        shown = f"of {len(current_session.sessions())}"
        if "end" in request.args:
            current_session.logout()
        return shown

    return app


def copied(app: Flask) -> FlaskClient:
    """
    A browser that is signed in, by a session with a copy.
    """
    client = app.test_client()
    client.post("/sign-in")
    assert client.get("/me").text == USER_ID
    return client


def test_what_is_put_by_a_copy_goes_where_the_session_is(app_with_copies: Flask) -> None:
    client = copied(app_with_copies)
    assert client.get("/put").text == "of 1"
    assert data_of(client) == {"a": 1}


def test_a_session_of_which_only_a_copy_was_left_takes_nothing(
    app_with_copies: Flask, shop: Shop, near: NearCache
) -> None:
    client = copied(app_with_copies)
    shop.auth.logout_everywhere(USER_ID)
    hits = near.statistics().hits
    answer = client.get("/put")
    assert near.statistics().hits == hits + 1
    assert (answer.status_code, code_of(answer)) == (401, "sign-in-required")
    assert cookies_of(answer) == []


def test_who_signs_out_by_a_copy_loses_what_was_put(app_with_copies: Flask, shop: Shop) -> None:
    client = copied(app_with_copies)
    assert client.get("/put?end").text == "of 1"
    assert data_of(client) == {}
    assert shop.auth.sessions_of(USER_ID) == ()


def test_to_remove_what_is_gone_does_no_harm(app: Flask, shop: Shop) -> None:
    @app.get("/")
    def index() -> str:
        shown = get_flashed_messages()
        shop.auth.logout_everywhere(USER_ID)
        return repr(shown)

    @app.get("/flash")
    def put() -> str:
        flash("hello")
        return ""

    client = app.test_client()
    client.post("/sign-in")
    client.get("/flash")
    assert client.get("/").text == "['hello']"


def test_a_session_that_ends_before_its_data_are_read_is_empty(app: Flask, shop: Shop) -> None:
    @app.get("/")
    def index() -> str:
        assert current_session.user_id() == USER_ID
        shop.auth.logout_everywhere(USER_ID)
        return repr(dict(session))

    client = app.test_client()
    client.post("/sign-in")
    with client.session_transaction() as opened:
        opened["a"] = 1
    assert client.get("/").text == "{}"


def test_a_superseded_id_writes_nothing_and_leaves_the_better_one_alone(
    app: Flask, shop: Shop
) -> None:
    @app.post("/put")
    def put() -> str:
        session["a"] = 1
        return "not reached"

    @app.get("/look")
    def look() -> str:
        return repr(dict(session))

    client = app.test_client()
    client.post("/sign-in")
    retired = session_id_of(client) or ""
    shop.auth.rotate(retired, methods=("pwd",))
    shop.journal.forget()
    answer = client.post("/put")
    assert (answer.status_code, code_of(answer)) == (409, "try-again")
    assert client.get("/look").text == "{}"
    assert cookies_of(answer) == []
    assert set(shop.journal.names()) == {"find_with_data"}


# -- Outages -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("intervention", "code"),
    [(fails(StoreUnavailable("down")), "unavailable"), (loses_reply, "not-confirmed")],
    ids=["refused", "unknown"],
)
def test_data_that_could_not_be_written_are_a_503(
    app: Flask, shop: Shop, intervention: Any, code: str
) -> None:
    closed: list[str] = []

    class Rows:
        def __iter__(self) -> Iterator[str]:
            yield "not seen"

        def close(self) -> None:
            closed.append("rows")

    @app.get("/")
    def index() -> Response:
        session["a"] = 1
        response = Response(Rows(), headers={"X-Mine": "1"})
        response.call_on_close(lambda: closed.append("response"))
        return response

    client = app.test_client()
    client.post("/sign-in")
    shop.journal.next("write_data", intervention)
    answer = client.get("/")
    assert (answer.status_code, code_of(answer)) == (503, code)
    assert "X-Mine" not in answer.headers
    assert answer.headers["Retry-After"] == "5"
    assert shop.journal.count("write_data") == 1
    answer.close()
    assert sorted(closed) == ["response", "rows"]


def test_a_visitors_session_that_stayed_empty_is_given_up(app: Flask, shop: Shop) -> None:
    @app.get("/")
    def index() -> str:
        session["a"] = 1
        return ""

    client = app.test_client()
    shop.journal.next("write_data", fails(StoreUnavailable("down")))
    assert client.get("/").status_code == 503
    assert session_id_of(client) is None
    assert shop.journal.names()[-1] == "delete"


def test_a_page_about_an_outage_renews_nothing(app: Flask, shop: Shop) -> None:
    @app.get("/")
    @login_required
    def index() -> str:
        raise OutcomeUnknown("somewhere else")

    client = app.test_client()
    client.post("/sign-in")
    shop.wait(16 * MINUTE)
    answer = client.get("/")
    assert answer.status_code == 503
    assert cookies_of(answer) == []


# -- What is answered instead --------------------------------------------------------


@pytest.mark.parametrize("early", [True, False], ids=["before", "after"])
def test_handlers_of_the_app_win(shop: Shop, edge: Edge, early: bool) -> None:
    app = bare()

    def interrupted(interruption: Interruption) -> ResponseReturnValue:
        return f"mine: {interruption.problem.code}", 418

    closed: list[str] = []

    def failed(_error: StoreError) -> ResponseReturnValue:
        response = make_response("mine: down", 418)
        response.call_on_close(lambda: closed.append("closed"))
        return response

    def add() -> None:
        app.register_error_handler(Interruption, interrupted)
        app.register_error_handler(StoreError, failed)

    if early:
        add()
    Sessions(app, auth=shop.auth, edge=edge)
    if not early:
        add()

    @app.get("/account")
    @login_required
    def account() -> str:
        return ""

    @app.get("/put")
    def put() -> str:
        session["a"] = 1
        return ""

    client = app.test_client()
    assert client.get("/account").text == "mine: sign-in-required"
    assert client.post("/sign-in", headers=FOREIGN).text == "mine: cross-origin"
    client.get("/put")
    shop.journal.next("find_with_data", fails(StoreUnavailable("down")))
    assert client.get("/put").text == "mine: down"
    closed.clear()
    shop.journal.next("write_data", fails(StoreUnavailable("down")))
    late = app.test_client().get("/put")
    assert (late.status_code, late.text) == (418, "mine: down")
    late.close()
    assert closed == ["closed"]


@pytest.mark.parametrize("own", [False, True], ids=["ours", "the app's"])
def test_an_error_page_that_needs_the_session_is_a_503_in_an_outage(
    app: Flask, shop: Shop, own: bool
) -> None:
    @app.errorhandler(NotFound)
    def missing(_error: NotFound) -> ResponseReturnValue:
        return render_template_string("missing, {{ session['name'] }}"), 404

    if own:

        @app.errorhandler(StoreError)
        def down(_error: StoreError) -> ResponseReturnValue:
            return "mine: down", 503

    client = app.test_client()
    with client.session_transaction() as opened:
        opened["name"] = "alice"
    shop.take_store_down()
    answer = client.get("/nowhere")
    assert answer.status_code == 503
    if own:
        assert answer.text == "mine: down"
    else:
        assert code_of(answer) == "unavailable"
    shop.bring_store_up()
    answer = client.get("/nowhere")
    assert (answer.status_code, answer.text) == (404, "missing, alice")


def test_a_page_about_outages_that_needs_the_session_is_a_503(app: Flask, shop: Shop) -> None:
    @app.errorhandler(StoreError)
    def down(_error: StoreError) -> ResponseReturnValue:
        return render_template_string("sorry, {{ session['name'] }}"), 503

    @app.get("/")
    def index() -> str:
        return str(session["name"])

    client = app.test_client()
    with client.session_transaction() as opened:
        opened["name"] = "alice"
    shop.take_store_down()
    answer = client.get("/")
    assert (answer.status_code, code_of(answer)) == (503, "unavailable")


def test_an_error_page_may_ask_for_somebody_who_is_signed_in(app: Flask) -> None:
    @app.errorhandler(NotFound)
    def missing(_error: NotFound) -> ResponseReturnValue:
        return f"missing, {current_session.require().user_id}", 404

    answer = app.test_client().get("/nowhere")
    assert (answer.status_code, code_of(answer)) == (401, "sign-in-required")


def test_a_handler_for_everything_does_not_hide_the_sign_in_page(app: Flask) -> None:
    @app.errorhandler(Exception)
    def broken(_error: Exception) -> ResponseReturnValue:
        return "broken", 500

    @app.get("/account")
    @login_required
    def account() -> str:
        return ""

    answer = app.test_client().get("/account", headers=WINDOW)
    assert answer.headers["Location"] == "/sign-in?next=%2Faccount"


def test_pages_can_be_the_apps_own(shop: Shop, edge: Edge) -> None:
    app = bare()
    rendered = edge.render

    def render(problem: Any, head: Any) -> Any:
        return replaced(rendered(problem, head), b"my page")

    Sessions(
        app, auth=shop.auth, edge=Edge(origins=[ORIGIN], sign_in_path="/sign-in", render=render)
    )
    answer = app.test_client().post("/sign-out", headers=FOREIGN)
    assert (answer.status_code, answer.data) == (403, b"my page")


def replaced(answer: Any, body: bytes) -> Any:
    headers = tuple((n, v) for n, v in answer.headers if n != "Content-Length")
    return type(answer)(status=answer.status, headers=headers, body=body)


def test_a_foreign_request_is_refused_before_anything_of_the_app_runs(
    shop: Shop, edge: Edge
) -> None:
    app = bare()
    ran: list[str] = []

    def note(where: str) -> Callable[..., None]:
        return lambda *_: ran.append(where)

    app.before_request(note("before_request"))
    app.url_value_preprocessor(note("url_value_preprocessor"))
    Sessions(app, auth=shop.auth, edge=edge)
    blueprint = Blueprint("part", __name__)
    blueprint.before_app_request(note("before_app_request"))
    blueprint.before_request(note("blueprint's before_request"))
    blueprint.app_url_value_preprocessor(note("app_url_value_preprocessor"))
    blueprint.url_value_preprocessor(note("blueprint's url_value_preprocessor"))

    @blueprint.post("/part")
    def part() -> str:
        ran.append("view")
        return ""

    app.register_blueprint(blueprint)
    client = app.test_client()
    for path in ("/part", "/nowhere"):
        answer = client.post(path, headers=FOREIGN)
        assert (answer.status_code, code_of(answer)) == (403, "cross-origin")
    assert ran == []
    assert shop.journal.names() == []
    assert client.post("/part").status_code == 200
    assert len(ran) == 7


def test_a_test_client_is_a_page_of_the_site_unless_it_says_otherwise(
    app: Flask, client: FlaskClient
) -> None:
    assert client.post("/sign-in").status_code == 200
    assert client.post("/sign-out", headers=FOREIGN).status_code == 403
    assert client.post("/sign-out").status_code == 200


def test_a_test_client_of_the_app_is_left_alone(shop: Shop, edge: Edge) -> None:
    class Mine(FlaskClient):
        pass

    app = bare()
    app.test_client_class = Mine
    Sessions(app, auth=shop.auth, edge=edge)
    client = app.test_client()
    assert isinstance(client, Mine)
    client.post("/sign-in")
    assert client.post("/sign-out").status_code == 403


def test_who_fails_without_a_response_leaves_no_session(app: Flask, shop: Shop) -> None:
    @app.get("/enter")
    def enter() -> str:
        current_session.login(USERNAME, PASSWORD)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        app.test_client().get("/enter")
    assert shop.auth.sessions_of(USER_ID) == ()


# -- Decorators ----------------------------------------------------------------------


def test_views_let_in_who_is_signed_in(app: Flask) -> None:
    def view(name: str) -> str:
        return f"account of {name}"

    async def asynchronous(name: str) -> str:
        return f"account of {name} {current_session.user_id()}"

    class Page(View):
        decorators = [login_required]  # noqa: RUF012 - as Flask documents it

        def dispatch_request(self, **names: str) -> str:
            return f"page of {names['name']}"

    class Methods(MethodView):
        @login_required
        def get(self, name: str) -> str:
            return f"method of {name}"

    guarded = login_required(view)
    awaited = login_required(asynchronous)
    a_view: Callable[[str], str] = guarded  # its type is kept, as type checkers see it
    an_awaited: Callable[[str], Awaitable[str]] = awaited
    assert (a_view, an_awaited) == (guarded, awaited)
    app.add_url_rule("/view/<name>", view_func=guarded)
    app.add_url_rule("/async/<name>", view_func=awaited)
    app.add_url_rule("/page/<name>", view_func=Page.as_view("page"))
    app.add_url_rule("/methods/<name>", view_func=Methods.as_view("methods"))
    client = app.test_client()
    paths = ["/view/a", "/async/a", "/page/a", "/methods/a"]
    for path in paths:
        assert code_of(client.get(path)) == "sign-in-required"
        assert client.get(path, headers=WINDOW).status_code == 303
    client.post("/sign-in")
    assert [client.get(path).text for path in paths] == [
        "account of a",
        f"account of a {USER_ID}",
        "page of a",
        "method of a",
    ]
    assert guarded.__name__ == "view"


def test_views_let_in_who_has_proven_it_recently(app: Flask, shop: Shop) -> None:
    def bare(name: str) -> str:
        return name

    def empty(name: str) -> str:
        return name

    def strict(name: str) -> str:
        return name

    async def asynchronous(name: str) -> str:
        return name

    app.add_url_rule("/bare/<name>", view_func=fresh_login_required(bare))
    app.add_url_rule("/empty/<name>", view_func=fresh_login_required()(empty))
    app.add_url_rule("/strict/<name>", view_func=fresh_login_required(max_age=MINUTE)(strict))
    app.add_url_rule("/async/<name>", view_func=fresh_login_required(asynchronous))
    client = app.test_client()
    paths = ["/bare/a", "/empty/a", "/strict/a", "/async/a"]

    def answers() -> list[int]:
        return [client.get(path).status_code for path in paths]

    assert answers() == [401] * 4
    client.post("/sign-in")
    assert answers() == [200] * 4
    shop.wait(2 * MINUTE)
    assert answers() == [200, 200, 401, 200]
    shop.wait(15 * MINUTE)
    assert answers() == [401] * 4
    late = client.get("/bare/a", headers=WINDOW)
    assert late.headers["Location"] == "/step-up?next=%2Fbare%2Fa"
    assert client.get("/strict/a").headers["WWW-Authenticate"].endswith("max_age=60")


# -- Streams, copies and contexts ----------------------------------------------------


def test_a_stream_may_read_what_was_looked_at_before(app: Flask) -> None:
    @app.get("/")
    def index() -> Response:
        session["a"] = 1

        def body() -> Iterator[str]:
            yield "a is "
            yield str(session["a"])

        return Response(stream_with_context(body()))

    client = app.test_client()
    assert client.get("/").text == "a is 1"
    assert data_of(client) == {"a": 1}


@pytest.mark.parametrize("act", ["read", "sign in"])
def test_a_stream_that_looks_for_the_first_time_is_too_late(app: Flask, act: str) -> None:
    @app.get("/")
    def index() -> Response:
        def body() -> Iterator[str]:
            yield "begun"
            if act == "read":
                session.get("a")
            else:
                current_session.login(USERNAME, PASSWORD)

        return Response(stream_with_context(body()))

    with pytest.raises(ResponseStarted):
        app.test_client().get("/").get_data()


def test_a_stream_changes_nothing(app: Flask) -> None:
    @app.get("/")
    def index() -> Response:
        session["a"] = 1

        def body() -> Iterator[str]:
            yield "begun"
            for change in (lambda: session.pop("a"), lambda: session.update(b=1), session.clear):
                with pytest.raises(ResponseStarted):
                    change()
            yield str(dict(session))

        return Response(stream_with_context(body()))

    client = app.test_client()
    assert client.get("/").text == "begun{'a': 1}"
    assert data_of(client) == {"a": 1}


def test_work_in_a_copied_context_sees_the_session(app: Flask, shop: Shop) -> None:
    @app.get("/")
    def index() -> str:
        seen: list[str] = []
        current_session.login(USERNAME, PASSWORD)
        session["a"] = 1

        @copy_current_request_context
        def work() -> None:
            seen.append(f"{session['a']} {current_session.user_id()}")

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        return seen[0]

    client = app.test_client()
    assert client.get("/").text == f"1 {USER_ID}"
    assert len(shop.auth.sessions_of(USER_ID)) == 1
    assert data_of(client) == {"a": 1}


def test_a_context_within_another_has_a_session_of_its_own(app: Flask) -> None:
    with app.test_request_context():
        session["a"] = 1
        with app.test_request_context():
            assert dict(session) == {}
            assert current_session.user_id() is None
        assert dict(session) == {"a": 1}


def test_outside_of_requests_there_is_no_session() -> None:
    with pytest.raises(RuntimeError, match="no session here"):
        current_session.user_id()
    app = Flask(__name__)
    with app.test_request_context(), pytest.raises(RuntimeError, match="no session here"):
        current_session.user_id()


def test_the_session_of_another_interface_is_not_saved(app: Flask, shop: Shop, edge: Edge) -> None:
    other = Flask(__name__)
    other.secret_key = "a secret key"
    interface = StoredSessionInterface(shop.auth, edge)
    with other.test_request_context():
        found: Any = session
        with pytest.raises(TypeError):
            interface.save_session(other, found, make_response(""))


# -- The synchroniser token ----------------------------------------------------------


@pytest.fixture
def guarded(shop: Shop) -> Flask:
    app = bare()
    Sessions(app, auth=shop.auth, edge=Edge(origins=[ORIGIN], token=SynchronizerToken()))

    @app.get("/form")
    def form() -> str:
        return render_template_string("{{ csrf_token() }}")

    @app.post("/note")
    def note() -> str:
        session["note"] = request.form.get("note") or (request.get_json(silent=True) or {})["note"]
        return "noted"

    @app.post("/plain")
    def plain() -> str:
        return str(len(request.stream.read()))

    return app


def test_a_form_of_a_session_needs_its_token(guarded: Flask) -> None:
    client = guarded.test_client()
    assert client.get("/form").text == ""
    assert client.post("/sign-in").status_code == 200
    assert code_of(client.post("/note", data={"note": "x"})) == "token-required"
    wrong = client.post("/note", data={"note": "x", "csrf_token": "A" * 86})
    assert code_of(wrong) == "token-required"
    token = client.get("/form").text
    assert client.post("/note", data={"note": "x", "csrf_token": token}).text == "noted"
    assert data_of(client) == {"note": "x"}


def test_a_script_sends_the_token_in_a_header(guarded: Flask) -> None:
    client = guarded.test_client()
    client.post("/sign-in")
    assert code_of(client.post("/note", json={"note": "x"})) == "token-required"
    headers = {"X-CSRF-Token": client.get("/form").text}
    assert client.post("/note", json={"note": "x"}, headers=headers).text == "noted"


def test_a_form_is_not_read_by_a_view_that_needs_no_session(guarded: Flask) -> None:
    client = guarded.test_client()
    client.post("/sign-in")
    assert client.post("/plain", data={"a": "b"}).text == "3"


def test_a_page_that_opens_a_session_has_that_ones_token(guarded: Flask) -> None:
    @guarded.get("/first")
    def first() -> str:
        flash("hello")
        return render_template_string("{{ csrf_token() }}")

    client = guarded.test_client()
    token = client.get("/first").text
    assert client.post("/note", data={"note": "x", "csrf_token": token}).text == "noted"
    assert data_of(client) == {"note": "x", "_flashes": [("message", "hello")]}


def test_without_tokens_templates_know_none(app: Flask) -> None:
    @app.get("/")
    def index() -> str:
        return render_template_string("{{ csrf_token is defined }}")

    assert app.test_client().get("/").text == "False"


# -- Setting up ----------------------------------------------------------------------


def test_one_extension_may_serve_several_apps(shop: Shop, edge: Edge) -> None:
    sessions = Sessions(auth=shop.auth, edge=edge)
    first, second = bare(), bare()
    sessions.init_app(first)
    sessions.init_app(second)
    assert first.extensions["sessioncore"] is second.extensions["sessioncore"] is sessions
    client, other = first.test_client(), second.test_client()
    client.post("/sign-in")
    other.set_cookie(COOKIE, session_id_of(client) or "")
    with other.session_transaction() as opened:
        assert isinstance(opened, FlaskSession)
        assert opened.request_session.user_id() == USER_ID


def test_an_app_is_set_up_once(app: Flask, shop: Shop, edge: Edge) -> None:
    with pytest.raises(RuntimeError):
        Sessions(app, auth=shop.auth, edge=edge)


def test_the_interface_names_the_cookie(app: Flask) -> None:
    assert app.session_interface.get_cookie_name(app) == COOKIE


def test_a_command_purges_what_has_expired(app: Flask, shop: Shop) -> None:
    client = app.test_client()
    with client.session_transaction() as opened:
        opened["a"] = 1
    shop.wait(timedelta(days=2))
    shop.journal.forget()
    result = app.test_cli_runner().invoke(args=["sessions", "purge"])
    assert result.exit_code == 0, result.output
    assert set(shop.journal.names()) == {"purge"}
    assert shop.auth.purge().sessions == 0
