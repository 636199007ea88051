"""
sessioncore in a Flask application.

    python -m examples.with_flask.app

The lines that embed it are those of :func:`create_app`; what comes after are views, each of
which uses the session of its request in one way.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from flask import Blueprint, Flask, redirect, render_template_string, request, session
from flask.typing import ResponseReturnValue

from sessioncore import AuthService, Busy, Inactive, LoggedIn, Policies, Policy, Rotated
from sessioncore_argon2 import Argon2PasswordHasher
from sessioncore_flask import Sessions, current_session, fresh_login_required, login_required
from sessioncore_http import Edge, Interruption, problem_of, safe_target
from sessioncore_memory import MemoryCredentialStore, MemorySessionStore

views: Final = Blueprint("views", __name__)


def create_app(auth: AuthService, origin: str) -> Flask:
    """
    Make the application.

    Args:
        auth: The service.

        origin: Where the pages are, as in the address bar.
    """
    app = Flask(__name__)
    edge = Edge(origins=[origin], sign_in_path="/sign-in", step_up_path="/step-up")
    Sessions(app, auth=auth, edge=edge)
    app.register_blueprint(views)
    return app


# -- Who is it? --------------------------------------------------------------------


@views.get("/")
def home() -> str:
    """
    Greet whoever comes.
    """
    return render_template_string("<p>hello {{ current_session.user_id() or 'visitor' }}</p>")


@views.get("/plain")
def plain() -> ResponseReturnValue:
    """
    Never ask for the session: nothing is read, and any cache may keep it.
    """
    return "plain", {"Content-Type": "text/plain"}


@views.get("/account")
@login_required
def account() -> str:
    """
    Let in whoever is signed in, and nobody else.
    """
    return render_template_string("<p>account of {{ current_session.user_id() }}</p>")


@views.get("/api/me")
@login_required
def me() -> dict[str, str | None]:
    """
    The same for programs.
    """
    return {"user_id": current_session.user_id()}


@views.get("/secret")
@fresh_login_required
def secret() -> str:
    """
    Let in who has proven recently who they are.
    """
    return "<p>the secret</p>"


# -- Signing in and out ------------------------------------------------------------


@views.get("/sign-in")
def sign_in_page() -> str:
    """
    Show the form.
    """
    return render_template_string(
        '<form method="post"><label>Name <input name="username"></label>'
        '<label>Password <input name="password" type="password"></label>'
        '<label>Remember me <input name="remember" type="checkbox"></label>'
        '<input type="hidden" name="next" value="{{ request.args.next }}">'
        "<button>Sign in</button></form>"
    )


@views.post("/sign-in")
def sign_in() -> ResponseReturnValue:
    """
    Sign in, and go where it was meant to go.
    """
    outcome = current_session.login(
        request.form.get("username", ""),
        request.form.get("password", ""),
        policy="remembered" if "remember" in request.form else None,
        keep=["note"],
    )
    if isinstance(outcome, LoggedIn):
        return redirect(safe_target(request.form.get("next"), "/account"), 303)
    raise Interruption(problem_of(outcome))


@views.post("/sign-out")
def sign_out() -> ResponseReturnValue:
    """
    Sign out.
    """
    current_session.logout()
    return redirect("/", 303)


@views.get("/step-up")
@login_required
def step_up_page() -> str:
    """
    Ask for the password again.
    """
    return render_template_string(
        '<form method="post"><label>Password <input name="password" type="password"></label>'
        '<input type="hidden" name="next" value="{{ request.args.next }}">'
        "<button>It is me</button></form>"
    )


@views.post("/step-up")
@login_required
def step_up() -> ResponseReturnValue:
    """
    Prove identity again.
    """
    outcome = current_session.reauthenticate(request.form.get("password", ""))
    if isinstance(outcome, (Rotated, Inactive)):
        return redirect(safe_target(request.form.get("next"), "/account"), 303)
    raise Interruption(problem_of(outcome))


# -- Session data ------------------------------------------------------------------


@views.get("/note")
def note() -> str:
    """
    Show what is in the session. A visitor without a session gets none by looking.
    """
    return render_template_string("<p>{{ session.get('note', 'no note') }}</p>")


@views.post("/note")
def write_note() -> ResponseReturnValue:
    """
    Put something into the session, which a visitor gets now.
    """
    session["note"] = request.form.get("text", "")
    return redirect("/note", 303)


# -- Devices -----------------------------------------------------------------------


@views.get("/devices")
@login_required
def devices() -> list[dict[str, str | bool]]:
    """
    List where the user is signed in.
    """
    this = current_session.require()
    return [
        {"handle": each.handle, "this": each.handle == this.handle}
        for each in current_session.sessions()
    ]


@views.post("/devices/revoke")
@login_required
def revoke() -> ResponseReturnValue:
    """
    Sign one device out.
    """
    current_session.revoke(request.form.get("handle", ""))
    return redirect("/devices", 303)


@views.post("/sign-out-others")
@login_required
def sign_out_others() -> ResponseReturnValue:
    """
    Sign all other devices out.
    """
    current_session.logout_everywhere(keep_this=True)
    return redirect("/devices", 303)


@views.post("/sign-out-everywhere")
@login_required
def sign_out_everywhere() -> ResponseReturnValue:
    """
    Sign all devices out, this one included.
    """
    current_session.logout_everywhere()
    return redirect("/", 303)


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
    print(f"{origin}/  (alice, correct horse battery staple)", flush=True)
    create_app(auth, origin).run("127.0.0.1", port)


if __name__ == "__main__":
    main()
