"""
sessioncore in a Litestar application.

    python -m examples.with_litestar.app

The lines that embed it are those of :func:`create_app`; what comes after are pages, each of
which uses the session of its request in one way. Litestar reads annotations at run time, so
they are not postponed here.
"""

from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from html import escape
from typing import Annotated, Any, Final

import uvicorn
from litestar import HttpMethod, Litestar, MediaType, WebSocket, get, post, route, websocket
from litestar.datastructures import State
from litestar.enums import RequestEncodingType
from litestar.exceptions import WebSocketDisconnect
from litestar.params import Body, FromQuery
from litestar.response import Redirect

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
from sessioncore_litestar import (
    CurrentSession,
    SessionPlugin,
    requires_fresh_proof,
    requires_sign_in,
    while_live,
)
from sessioncore_memory import (
    AsyncMemoryCredentialStore,
    AsyncMemorySessionStore,
    MemoryCredentialStore,
)

HALF_A_MINUTE: Final = timedelta(seconds=30)


def create_app(
    auth: AsyncAuthService, origin: str, *, recheck_every: timedelta = HALF_A_MINUTE
) -> Litestar:
    """
    Give the handlers their sessions by the plugin.

    Args:
        auth: The service.

        origin: Where the pages are, as in the address bar.

        recheck_every: How long a WebSocket may outlive its session.
    """
    edge = Edge(origins=[origin], sign_in_path="/sign-in", step_up_path="/step-up")
    return Litestar(
        HANDLERS,
        plugins=[SessionPlugin(auth, edge)],
        state=State({"recheck_every": recheck_every}),
    )


# -- Who is it? --------------------------------------------------------------------


@route("/", http_method=[HttpMethod.GET, HttpMethod.HEAD], media_type=MediaType.HTML)
async def home(request_session: CurrentSession) -> str:
    """
    Greet whoever comes.
    """
    return f"<p>hello {escape(await request_session.user_id() or 'visitor')}</p>"


@get("/plain", media_type=MediaType.TEXT)
async def plain() -> str:
    """
    Never ask for the session: nothing is read, and any cache may keep it.
    """
    return "plain"


@route("/account", http_method=[HttpMethod.GET, HttpMethod.HEAD], media_type=MediaType.HTML)
async def account(request_session: CurrentSession) -> str:
    """
    Let in whoever is signed in, and nobody else.
    """
    session = await request_session.require()
    return f"<p>account of {escape(str(session.user_id))}</p>"


@get("/api/me", guards=[requires_sign_in])
async def me(request_session: CurrentSession) -> dict[str, str | None]:
    """
    The same for programs, by a guard, which the documents show.
    """
    return {"user_id": await request_session.user_id()}


@get("/secret", guards=[requires_fresh_proof()], media_type=MediaType.HTML, sync_to_thread=False)
def secret() -> str:
    """
    Let in who has proven recently who they are. It need not be asynchronous.
    """
    return "<p>the secret</p>"


# -- Signing in and out ------------------------------------------------------------


@get("/sign-in", media_type=MediaType.HTML)
async def sign_in_page(next: FromQuery[str] = "") -> str:  # noqa: A002 - the name of the field
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


@dataclass
class SignIn:
    """
    What the form sends.
    """

    username: str
    password: str
    next: str = ""
    remember: str | None = None


@post("/sign-in")
async def sign_in(
    data: Annotated[SignIn, Body(media_type=RequestEncodingType.URL_ENCODED)],
    request_session: CurrentSession,
) -> Redirect:
    """
    Sign in, and go where it was meant to go.
    """
    outcome = await request_session.login(
        data.username,
        data.password,
        policy=None if data.remember is None else "remembered",
        keep=["note"],
    )
    if isinstance(outcome, LoggedIn):
        return see_other(safe_target(data.next, "/account"))
    raise Interruption(problem_of(outcome))


@post("/sign-out")
async def sign_out(request_session: CurrentSession) -> Redirect:
    """
    Sign out.
    """
    await request_session.logout()
    return see_other("/")


@get("/step-up", guards=[requires_sign_in], media_type=MediaType.HTML)
async def step_up_page(next: FromQuery[str] = "") -> str:  # noqa: A002 - the name of the field
    """
    Ask for the password again.
    """
    return (
        '<form method="post"><label>Password <input name="password" type="password"></label>'
        f'<input type="hidden" name="next" value="{escape(next)}">'
        "<button>It is me</button></form>"
    )


@dataclass
class StepUp:
    """
    What the form sends.
    """

    password: str
    next: str = ""


@post("/step-up", guards=[requires_sign_in])
async def step_up(
    data: Annotated[StepUp, Body(media_type=RequestEncodingType.URL_ENCODED)],
    request_session: CurrentSession,
) -> Redirect:
    """
    Prove identity again.
    """
    outcome = await request_session.reauthenticate(data.password)
    if isinstance(outcome, (Rotated, Inactive)):
        return see_other(safe_target(data.next, "/account"))
    raise Interruption(problem_of(outcome))


# -- Session data ------------------------------------------------------------------


@get("/note", media_type=MediaType.HTML)
async def note(request_session: CurrentSession) -> str:
    """
    Show what is in the session. A visitor without a session gets none by looking.
    """
    session = await request_session.session()
    found = None if session is None else await request_session.auth.read_data(session)
    text = found.values.get("note", "no note") if isinstance(found, DataRead) else "no note"
    return f"<p>{escape(str(text))}</p>"


@dataclass
class Note:
    """
    What the form sends.
    """

    text: str


@post("/note")
async def write_note(
    data: Annotated[Note, Body(media_type=RequestEncodingType.URL_ENCODED)],
    request_session: CurrentSession,
) -> Redirect:
    """
    Put something into the session, which a visitor gets now.
    """
    session = await request_session.session()
    if session is None:
        session = (await request_session.start_anonymous()).session
    await request_session.auth.change_data(session, {"note": data.text})
    return see_other("/note")


# -- Devices -----------------------------------------------------------------------


@dataclass
class Device:
    """
    One place where the user is signed in.
    """

    handle: str
    this: bool


@get("/devices", guards=[requires_sign_in])
async def devices(request_session: CurrentSession) -> list[Device]:
    """
    List where the user is signed in.
    """
    this = await request_session.require()
    return [
        Device(handle=each.handle, this=each.handle == this.handle)
        for each in await request_session.sessions()
    ]


@dataclass
class Revocation:
    """
    What the form sends.
    """

    handle: str


@post("/devices/revoke", guards=[requires_sign_in])
async def revoke(
    data: Annotated[Revocation, Body(media_type=RequestEncodingType.URL_ENCODED)],
    request_session: CurrentSession,
) -> Redirect:
    """
    Sign one device out.
    """
    await request_session.revoke(data.handle)
    return see_other("/devices")


@post("/sign-out-others", guards=[requires_sign_in])
async def sign_out_others(request_session: CurrentSession) -> Redirect:
    """
    Sign all other devices out.
    """
    await request_session.logout_everywhere(keep_this=True)
    return see_other("/devices")


@post("/sign-out-everywhere", guards=[requires_sign_in])
async def sign_out_everywhere(request_session: CurrentSession) -> Redirect:
    """
    Sign all devices out, this one included.
    """
    await request_session.logout_everywhere()
    return see_other("/")


# -- A conversation ----------------------------------------------------------------


@websocket("/echo", guards=[requires_sign_in])
async def echo(
    socket: WebSocket[Any, Any, Any], request_session: CurrentSession, state: State
) -> None:
    """
    Say again what is heard, until either side or the session ends.
    """
    await socket.accept()
    await while_live(request_session, _talk(socket), state.recheck_every)


async def _talk(socket: WebSocket[Any, Any, Any]) -> None:
    with suppress(WebSocketDisconnect):
        while True:
            await socket.send_text(await socket.receive_text())


HANDLERS: Final = [
    home,
    plain,
    account,
    me,
    secret,
    sign_in_page,
    sign_in,
    sign_out,
    step_up_page,
    step_up,
    note,
    write_note,
    devices,
    revoke,
    sign_out_others,
    sign_out_everywhere,
    echo,
]


def see_other(path: str) -> Redirect:
    """
    Send the browser on, with a GET.
    """
    return Redirect(path, status_code=303)


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
