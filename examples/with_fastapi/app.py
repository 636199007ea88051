"""
sessioncore in a FastAPI application.

    python -m examples.with_fastapi.app

The lines that embed it are those of :func:`create_app`; what comes after are pages, each of
which uses the session of its request in one way. FastAPI reads annotations at run time, so
they are not postponed here.
"""

from datetime import timedelta
from html import escape
from typing import Annotated, Final

import uvicorn
from fastapi import APIRouter, FastAPI, Form, WebSocket
from fastapi.responses import HTMLResponse, PlainTextResponse, RedirectResponse
from pydantic import BaseModel

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
from sessioncore_fastapi import (
    PROBLEMS,
    CurrentSession,
    FreshlySignedIn,
    SessionMiddleware,
    SignedIn,
    while_live,
)
from sessioncore_http import Edge, Interruption, problem_of, safe_target
from sessioncore_memory import (
    AsyncMemoryCredentialStore,
    AsyncMemorySessionStore,
    MemoryCredentialStore,
)

HALF_A_MINUTE: Final = timedelta(seconds=30)

pages = APIRouter(default_response_class=HTMLResponse, include_in_schema=False)
api = APIRouter(responses=PROBLEMS)


def create_app(
    auth: AsyncAuthService, origin: str, *, recheck_every: timedelta = HALF_A_MINUTE
) -> FastAPI:
    """
    Put the pages behind the middleware.

    Args:
        auth: The service.

        origin: Where the pages are, as in the address bar.

        recheck_every: How long a WebSocket may outlive its session.
    """
    edge = Edge(origins=[origin], sign_in_path="/sign-in", step_up_path="/step-up")
    app = FastAPI()
    app.add_middleware(SessionMiddleware, auth=auth, edge=edge)
    app.include_router(pages)
    app.include_router(api)
    app.state.recheck_every = recheck_every
    return app


# -- Who is it? --------------------------------------------------------------------


@pages.api_route("/", methods=["GET", "HEAD"])
async def home(current: CurrentSession) -> str:
    """
    Greet whoever comes.
    """
    return f"<p>hello {escape(await current.user_id() or 'visitor')}</p>"


@pages.get("/plain", response_class=PlainTextResponse)
async def plain() -> str:
    """
    Never ask for the session: nothing is read, and any cache may keep it.
    """
    return "plain"


@pages.api_route("/account", methods=["GET", "HEAD"])
def account(session: SignedIn) -> str:
    """
    Let in whoever is signed in, and nobody else. It need not be asynchronous.
    """
    return f"<p>account of {escape(str(session.user_id))}</p>"


class Me(BaseModel):
    """
    Who is signed in.
    """

    user_id: str


@api.get("/api/me")
def me(session: SignedIn) -> Me:
    """
    The same for programs.
    """
    return Me(user_id=str(session.user_id))


@pages.get("/secret")
def secret(_session: FreshlySignedIn) -> str:
    """
    Let in who has proven recently who they are.
    """
    return "<p>the secret</p>"


# -- Signing in and out ------------------------------------------------------------


@pages.get("/sign-in")
def sign_in_page(next: str = "") -> str:  # noqa: A002 - the name of the field
    """
    Show the form.
    """
    return (
        '<form method="post"><label>Name <input name="username"></label>'
        '<label>Password <input name="password" type="password"></label>'
        '<label>Remember me <input name="remember" type="checkbox"></label>'
        f'<input type="hidden" name="next" value="{escape(next)}">'
        "<button>Sign in</button></form>"
    )


@pages.post("/sign-in")
async def sign_in(
    current: CurrentSession,
    username: Annotated[str, Form()],
    password: Annotated[str, Form()],
    next: Annotated[str, Form()] = "",  # noqa: A002 - the name of the field
    remember: Annotated[str | None, Form()] = None,
) -> RedirectResponse:
    """
    Sign in, and go where it was meant to go.
    """
    outcome = await current.login(
        username,
        password,
        policy=None if remember is None else "remembered",
        keep=["note"],
    )
    if isinstance(outcome, LoggedIn):
        return see_other(safe_target(next, "/account"))
    raise Interruption(problem_of(outcome))


@pages.post("/sign-out")
async def sign_out(current: CurrentSession) -> RedirectResponse:
    """
    Sign out.
    """
    await current.logout()
    return see_other("/")


@pages.get("/step-up")
def step_up_page(_session: SignedIn, next: str = "") -> str:  # noqa: A002 - the name of the field
    """
    Ask for the password again.
    """
    return (
        '<form method="post"><label>Password <input name="password" type="password"></label>'
        f'<input type="hidden" name="next" value="{escape(next)}">'
        "<button>It is me</button></form>"
    )


@pages.post("/step-up")
async def step_up(
    _session: SignedIn,
    current: CurrentSession,
    password: Annotated[str, Form()],
    next: Annotated[str, Form()] = "",  # noqa: A002 - the name of the field
) -> RedirectResponse:
    """
    Prove identity again.
    """
    outcome = await current.reauthenticate(password)
    if isinstance(outcome, (Rotated, Inactive)):
        return see_other(safe_target(next, "/account"))
    raise Interruption(problem_of(outcome))


# -- Session data ------------------------------------------------------------------


@pages.get("/note")
async def note(current: CurrentSession) -> str:
    """
    Show what is in the session. A visitor without a session gets none by looking.
    """
    session = await current.session()
    found = None if session is None else await current.auth.read_data(session)
    text = found.values.get("note", "no note") if isinstance(found, DataRead) else "no note"
    return f"<p>{escape(str(text))}</p>"


@pages.post("/note")
async def write_note(current: CurrentSession, text: Annotated[str, Form()]) -> RedirectResponse:
    """
    Put something into the session, which a visitor gets now.
    """
    session = await current.session() or (await current.start_anonymous()).session
    await current.auth.change_data(session, {"note": text})
    return see_other("/note")


# -- Devices -----------------------------------------------------------------------


class Device(BaseModel):
    """
    One place where the user is signed in.
    """

    handle: str
    this: bool


@api.get("/devices")
async def devices(this: SignedIn, current: CurrentSession) -> list[Device]:
    """
    List where the user is signed in.
    """
    return [
        Device(handle=each.handle, this=each.handle == this.handle)
        for each in await current.sessions()
    ]


@pages.post("/devices/revoke")
async def revoke(
    _session: SignedIn, current: CurrentSession, handle: Annotated[str, Form()]
) -> RedirectResponse:
    """
    Sign one device out.
    """
    await current.revoke(handle)
    return see_other("/devices")


@pages.post("/sign-out-others")
async def sign_out_others(_session: SignedIn, current: CurrentSession) -> RedirectResponse:
    """
    Sign all other devices out.
    """
    await current.logout_everywhere(keep_this=True)
    return see_other("/devices")


@pages.post("/sign-out-everywhere")
async def sign_out_everywhere(_session: SignedIn, current: CurrentSession) -> RedirectResponse:
    """
    Sign all devices out, this one included.
    """
    await current.logout_everywhere()
    return see_other("/")


# -- A conversation ----------------------------------------------------------------


@pages.websocket("/echo")
async def echo(websocket: WebSocket, _session: SignedIn, current: CurrentSession) -> None:
    """
    Say again what is heard, until either side or the session ends.
    """
    await websocket.accept()
    await while_live(current, _talk(websocket), websocket.app.state.recheck_every)


async def _talk(websocket: WebSocket) -> None:
    async for text in websocket.iter_text():
        await websocket.send_text(text)


def see_other(path: str) -> RedirectResponse:
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
