"""
sessioncore in a Starlette application.

    python -m examples.with_starlette.app

The lines that embed it are those of :func:`create_app`; what comes after are pages, each of
which uses the session of its request in one way.
"""

from __future__ import annotations

from datetime import timedelta
from html import escape
from typing import Final

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import (
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
)
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from sessioncore import (
    AsyncAuthService,
    Busy,
    DataRead,
    Inactive,
    LoggedIn,
    Policies,
    Policy,
    Rotated,
)
from sessioncore_argon2 import Argon2PasswordHasher, AsyncArgon2PasswordHasher
from sessioncore_http import Edge, Interruption, problem_of, safe_target
from sessioncore_memory import (
    AsyncMemoryCredentialStore,
    AsyncMemorySessionStore,
    MemoryCredentialStore,
)
from sessioncore_starlette import (
    SessionMiddleware,
    fresh_login_required,
    login_required,
    session_of,
    while_live,
)

HALF_A_MINUTE: Final = timedelta(seconds=30)


def create_app(
    auth: AsyncAuthService, origin: str, *, recheck_every: timedelta = HALF_A_MINUTE
) -> Starlette:
    """
    Put the pages behind the middleware.

    Args:
        auth: The service.

        origin: Where the pages are, as in the address bar.

        recheck_every: How long a WebSocket may outlive its session.
    """
    edge = Edge(origins=[origin], sign_in_path="/sign-in", step_up_path="/step-up")
    app = Starlette(routes=ROUTES, middleware=[Middleware(SessionMiddleware, auth=auth, edge=edge)])
    app.state.recheck_every = recheck_every
    return app


# -- Who is it? --------------------------------------------------------------------


async def home(request: Request) -> Response:
    """
    Greet whoever comes.
    """
    return HTMLResponse(f"<p>hello {escape(await session_of(request).user_id() or 'visitor')}</p>")


async def plain(_request: Request) -> Response:
    """
    Never ask for the session: nothing is read, and any cache may keep it.
    """
    return PlainTextResponse("plain")


async def account(request: Request) -> Response:
    """
    Let in whoever is signed in, and nobody else.
    """
    session = await session_of(request).require()
    return HTMLResponse(f"<p>account of {escape(str(session.user_id))}</p>")


async def me(request: Request) -> Response:
    """
    The same for programs.
    """
    session = await session_of(request).require()
    return JSONResponse({"user_id": session.user_id})


@fresh_login_required
def secret(_request: Request) -> Response:
    """
    Let in who has proven recently who they are. It need not be asynchronous.
    """
    return HTMLResponse("<p>the secret</p>")


# -- Signing in and out ------------------------------------------------------------


async def sign_in_page(request: Request) -> Response:
    """
    Show the form.
    """
    return HTMLResponse(
        '<form method="post"><label>Name <input name="username"></label>'
        '<label>Password <input name="password" type="password"></label>'
        '<label>Remember me <input name="remember" type="checkbox"></label>'
        f'<input type="hidden" name="next" value="{escape(request.query_params.get("next", ""))}">'
        "<button>Sign in</button></form>"
    )


async def sign_in(request: Request) -> Response:
    """
    Sign in, and go where it was meant to go.
    """
    form = await request.form()
    outcome = await session_of(request).login(
        str(form.get("username", "")),
        str(form.get("password", "")),
        policy="remembered" if "remember" in form else None,
        keep=["note"],
    )
    if isinstance(outcome, LoggedIn):
        return see_other(safe_target(str(form.get("next", "")), "/account"))
    raise Interruption(problem_of(outcome))


async def sign_out(request: Request) -> Response:
    """
    Sign out.
    """
    await session_of(request).logout()
    return see_other("/")


@login_required
async def step_up_page(request: Request) -> Response:
    """
    Ask for the password again.
    """
    return HTMLResponse(
        '<form method="post"><label>Password <input name="password" type="password"></label>'
        f'<input type="hidden" name="next" value="{escape(request.query_params.get("next", ""))}">'
        "<button>It is me</button></form>"
    )


@login_required
async def step_up(request: Request) -> Response:
    """
    Prove identity again.
    """
    form = await request.form()
    outcome = await session_of(request).reauthenticate(str(form.get("password", "")))
    if isinstance(outcome, (Rotated, Inactive)):
        return see_other(safe_target(str(form.get("next", "")), "/account"))
    raise Interruption(problem_of(outcome))


# -- Session data ------------------------------------------------------------------


async def note(request: Request) -> Response:
    """
    Show what is in the session. A visitor without a session gets none by looking.
    """
    current = session_of(request)
    session = await current.session()
    found = None if session is None else await current.auth.read_data(session)
    text = found.values.get("note", "no note") if isinstance(found, DataRead) else "no note"
    return HTMLResponse(f"<p>{escape(str(text))}</p>")


async def write_note(request: Request) -> Response:
    """
    Put something into the session, which a visitor gets now.
    """
    form = await request.form()
    current = session_of(request)
    session = await current.session() or (await current.start_anonymous()).session
    await current.auth.change_data(session, {"note": str(form.get("text", ""))})
    return see_other("/note")


# -- Devices -----------------------------------------------------------------------


async def devices(request: Request) -> Response:
    """
    List where the user is signed in.
    """
    this = await session_of(request).require()
    listed = await session_of(request).sessions()
    return JSONResponse(
        [{"handle": each.handle, "this": each.handle == this.handle} for each in listed]
    )


@login_required
async def revoke(request: Request) -> Response:
    """
    Sign one device out.
    """
    form = await request.form()
    await session_of(request).revoke(str(form.get("handle", "")))
    return see_other("/devices")


@login_required
async def sign_out_others(request: Request) -> Response:
    """
    Sign all other devices out.
    """
    await session_of(request).logout_everywhere(keep_this=True)
    return see_other("/devices")


@login_required
async def sign_out_everywhere(request: Request) -> Response:
    """
    Sign all devices out, this one included.
    """
    await session_of(request).logout_everywhere()
    return see_other("/")


# -- A conversation ----------------------------------------------------------------


@login_required
async def echo(websocket: WebSocket) -> None:
    """
    Say again what is heard, until either side or the session ends.
    """
    session = session_of(websocket)
    await websocket.accept()
    await while_live(session, _talk(websocket), websocket.app.state.recheck_every)


async def _talk(websocket: WebSocket) -> None:
    async for text in websocket.iter_text():
        await websocket.send_text(text)


ROUTES: Final = [
    Route("/", home),
    Route("/plain", plain),
    Route("/sign-in", sign_in_page),
    Route("/sign-in", sign_in, methods=["POST"]),
    Route("/sign-out", sign_out, methods=["POST"]),
    Route("/account", account),
    Route("/secret", secret),
    Route("/step-up", step_up_page),
    Route("/step-up", step_up, methods=["POST"]),
    Route("/note", note),
    Route("/note", write_note, methods=["POST"]),
    Route("/devices", devices),
    Route("/devices/revoke", revoke, methods=["POST"]),
    Route("/sign-out-others", sign_out_others, methods=["POST"]),
    Route("/sign-out-everywhere", sign_out_everywhere, methods=["POST"]),
    Route("/api/me", me),
    WebSocketRoute("/echo", echo),
]


def see_other(path: str) -> Response:
    """
    Send the browser on, with a GET.
    """
    return RedirectResponse(path, status_code=303)


# -- On this computer --------------------------------------------------------------


def main(port: int = 8000) -> None:
    """
    Serve it, with one user, until Ctrl-C.
    """
    encoded = Argon2PasswordHasher().hash("correct horse battery staple")
    if isinstance(encoded, Busy):
        raise SystemExit("the machine is too busy; please try again")
    users = MemoryCredentialStore()
    users.add_user("u-1", "alice", encoded)
    auth = AsyncAuthService(
        sessions=AsyncMemorySessionStore(),
        credentials=AsyncMemoryCredentialStore(users),
        passwords=AsyncArgon2PasswordHasher(),
        policy=Policies(
            Policy(idle_timeout=timedelta(minutes=30), absolute_timeout=timedelta(hours=12)),
            Policy.remembered(),
        ),
    )
    origin = f"http://127.0.0.1:{port}"
    print(f"{origin}/  (alice, correct horse battery staple)", flush=True)
    uvicorn.run(create_app(auth, origin), host="127.0.0.1", port=port, log_level="warning")


if __name__ == "__main__":
    main()
