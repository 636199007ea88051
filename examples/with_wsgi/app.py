"""
sessioncore in a plain WSGI application.

    python -m examples.with_wsgi.app

The lines that embed it are those of :func:`create_app`; what comes after are pages, each of
which uses the session of its request in one way.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from html import escape
from http import HTTPStatus
from typing import Final, TypeAlias
from urllib.parse import parse_qsl
from wsgiref.simple_server import make_server
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from sessioncore import AuthService, Busy, Inactive, LoggedIn, Policies, Policy, Rotated
from sessioncore_argon2 import Argon2PasswordHasher
from sessioncore_http import Edge, Interruption, RequestSession, problem_of, safe_target
from sessioncore_memory import MemoryCredentialStore, MemorySessionStore
from sessioncore_wsgi import SessionMiddleware, session_of

FORM_BYTES: Final = 16 * 1024


def create_app(auth: AuthService, origin: str) -> WSGIApplication:
    """
    Put the pages behind the middleware.

    Args:
        auth: The service.

        origin: Where the pages are, as in the address bar.
    """
    edge = Edge(origins=[origin], sign_in_path="/sign-in", step_up_path="/step-up")
    return SessionMiddleware(pages, auth, edge)


# -- Who is it? --------------------------------------------------------------------


def home(request: Request) -> Response:
    """
    Greet whoever comes.
    """
    return Response(f"<p>hello {escape(request.session.user_id() or 'visitor')}</p>")


def plain(_request: Request) -> Response:
    """
    Never ask for the session: nothing is read, and any cache may keep it.
    """
    return Response("plain", "text/plain")


def account(request: Request) -> Response:
    """
    Let in whoever is signed in, and nobody else.
    """
    return Response(f"<p>account of {escape(str(request.session.require().user_id))}</p>")


def me(request: Request) -> Response:
    """
    The same for programs.
    """
    user_id = request.session.require().user_id
    return Response(json.dumps({"user_id": user_id}), "application/json")


def secret(request: Request) -> Response:
    """
    Let in who has proven recently who they are.
    """
    request.session.require_fresh()
    return Response("<p>the secret</p>")


# -- Signing in and out ------------------------------------------------------------


def sign_in_page(request: Request) -> Response:
    """
    Show the form.
    """
    return Response(
        '<form method="post"><label>Name <input name="username"></label>'
        '<label>Password <input name="password" type="password"></label>'
        '<label>Remember me <input name="remember" type="checkbox"></label>'
        f'<input type="hidden" name="next" value="{escape(request.query.get("next", ""))}">'
        "<button>Sign in</button></form>"
    )


def sign_in(request: Request) -> Response:
    """
    Sign in, and go where it was meant to go.
    """
    form = request.form()
    outcome = request.session.login(
        form.get("username", ""),
        form.get("password", ""),
        policy="remembered" if "remember" in form else None,
        keep=["note"],
    )
    if isinstance(outcome, LoggedIn):
        return see_other(safe_target(form.get("next"), "/account"))
    raise Interruption(problem_of(outcome))


def sign_out(request: Request) -> Response:
    """
    Sign out.
    """
    request.session.logout()
    return see_other("/")


def step_up_page(request: Request) -> Response:
    """
    Ask for the password again.
    """
    request.session.require()
    return Response(
        '<form method="post"><label>Password <input name="password" type="password"></label>'
        f'<input type="hidden" name="next" value="{escape(request.query.get("next", ""))}">'
        "<button>It is me</button></form>"
    )


def step_up(request: Request) -> Response:
    """
    Prove identity again.
    """
    form = request.form()
    request.session.require()
    outcome = request.session.reauthenticate(form.get("password", ""))
    if isinstance(outcome, (Rotated, Inactive)):
        return see_other(safe_target(form.get("next"), "/account"))
    raise Interruption(problem_of(outcome))


# -- Session data ------------------------------------------------------------------


def note(request: Request) -> Response:
    """
    Show what is in the session. A visitor without a session gets none by looking.
    """
    session = request.session.session()
    found = None if session is None else request.session.auth.read_data(session)
    text = getattr(found, "values", {}).get("note", "no note")
    return Response(f"<p>{escape(str(text))}</p>")


def write_note(request: Request) -> Response:
    """
    Put something into the session, which a visitor gets now.
    """
    session = request.session.session() or request.session.start_anonymous().session
    request.session.auth.change_data(session, {"note": request.form().get("text", "")})
    return see_other("/note")


# -- Devices -----------------------------------------------------------------------


def devices(request: Request) -> Response:
    """
    List where the user is signed in.
    """
    this = request.session.require()
    listed = [
        {"handle": session.handle, "this": session.handle == this.handle}
        for session in request.session.sessions()
    ]
    return Response(json.dumps(listed), "application/json")


def revoke(request: Request) -> Response:
    """
    Sign one device out.
    """
    request.session.require()
    request.session.revoke(request.form().get("handle", ""))
    return see_other("/devices")


def sign_out_others(request: Request) -> Response:
    """
    Sign all other devices out.
    """
    request.session.require()
    request.session.logout_everywhere(keep_this=True)
    return see_other("/devices")


def sign_out_everywhere(request: Request) -> Response:
    """
    Sign all devices out, this one included.
    """
    request.session.require()
    request.session.logout_everywhere()
    return see_other("/")


# -- Just enough HTTP: a framework brings this -------------------------------------


class Request:
    """
    What a server passed on.
    """

    def __init__(self, environ: WSGIEnvironment) -> None:
        self._environ = environ

    @property
    def session(self) -> RequestSession:
        """
        The session of this request.
        """
        return session_of(self._environ)

    @property
    def query(self) -> Mapping[str, str]:
        """
        The fields of the address.
        """
        return dict(parse_qsl(self._environ.get("QUERY_STRING", "")))

    def form(self) -> Mapping[str, str]:
        """
        Read the form that was posted.
        """
        length = self._environ.get("CONTENT_LENGTH") or ""
        size = int(length) if length.isascii() and length.isdigit() and len(length) < 6 else 0
        content = self._environ["wsgi.input"].read(min(size, FORM_BYTES))
        return dict(parse_qsl(content.decode("ascii", "replace"), keep_blank_values=True))


@dataclass(frozen=True)
class Response:
    """
    What goes back.
    """

    body: str
    content_type: str = "text/html"
    status: HTTPStatus = HTTPStatus.OK
    location: str | None = None


def see_other(path: str) -> Response:
    """
    Send the browser on, with a GET.
    """
    return Response("", status=HTTPStatus.SEE_OTHER, location=path)


Page: TypeAlias = Callable[[Request], Response]

ROUTES: Final[Mapping[tuple[str, str], Page]] = {
    ("GET", "/"): home,
    ("GET", "/plain"): plain,
    ("GET", "/sign-in"): sign_in_page,
    ("POST", "/sign-in"): sign_in,
    ("POST", "/sign-out"): sign_out,
    ("GET", "/account"): account,
    ("GET", "/secret"): secret,
    ("GET", "/step-up"): step_up_page,
    ("POST", "/step-up"): step_up,
    ("GET", "/note"): note,
    ("POST", "/note"): write_note,
    ("GET", "/devices"): devices,
    ("POST", "/devices/revoke"): revoke,
    ("POST", "/sign-out-others"): sign_out_others,
    ("POST", "/sign-out-everywhere"): sign_out_everywhere,
    ("GET", "/api/me"): me,
}


def pages(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """
    Answer a request.
    """
    method: str = environ["REQUEST_METHOD"]
    route = ("GET" if method == "HEAD" else method, environ.get("PATH_INFO") or "/")
    page = ROUTES.get(route)
    if page is None:
        response = Response("not here", "text/plain", HTTPStatus.NOT_FOUND)
    else:
        response = page(Request(environ))
    body = response.body.encode()
    headers = [
        ("Content-Type", f"{response.content_type}; charset=utf-8"),
        ("Content-Length", str(len(body))),
    ]
    if response.location is not None:
        headers.append(("Location", response.location))
    start_response(f"{response.status.value} {response.status.phrase}", headers)
    return [] if method == "HEAD" else [body]


# -- On this computer --------------------------------------------------------------


def main(port: int = 8000) -> None:
    """
    Serve it, with one user, until Ctrl-C.
    """
    passwords = Argon2PasswordHasher()
    encoded = passwords.hash("correct horse battery staple")
    if isinstance(encoded, Busy):
        raise SystemExit("the machine is too busy; please try again")
    credentials = MemoryCredentialStore()
    credentials.add_user("u-1", "alice", encoded)
    auth = AuthService(
        sessions=MemorySessionStore(),
        credentials=credentials,
        passwords=passwords,
        policy=Policies(
            Policy(idle_timeout=timedelta(minutes=30), absolute_timeout=timedelta(hours=12)),
            Policy.remembered(),
        ),
    )
    origin = f"http://127.0.0.1:{port}"
    with make_server("127.0.0.1", port, create_app(auth, origin)) as server:
        print(f"{origin}/  (alice, correct horse battery staple)", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
