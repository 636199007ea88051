"""
Checked by mypy and pyright, and never run: outcomes are closed unions.

A use case that gains an outcome makes these functions a type error, and so it
does in every application that ends its matches with ``assert_never``.
"""

from typing import assert_never, assert_type

from sessioncore import (
    Active,
    AsyncAuthService,
    AuthService,
    Busy,
    DataChanged,
    DataRead,
    DataTaken,
    Inactive,
    InactiveReason,
    LimitReached,
    LoggedIn,
    NothingToTake,
    PasswordChanged,
    Refused,
    Rotated,
    SessionGone,
    SessionId,
    Throttled,
)


def sign_in(auth: AuthService) -> str:
    match auth.login("alice", "secret"):
        case LoggedIn(session_id=session_id):
            assert_type(session_id, SessionId)
            return session_id.reveal()
        case Refused():
            return "wrong name or password"
        case Throttled(retry_after=wait):
            return f"wait {wait}"
        case Busy() | LimitReached():
            return "later"
        case _ as never:
            assert_never(never)


def recognise(auth: AuthService, cookie: str | None) -> str | None:
    match auth.authenticate(cookie):
        case Active(session=session, renewed=renewed):
            assert_type(renewed, SessionId | None)
            return session.user_id
        case Inactive(reason=reason):
            assert_type(reason, InactiveReason)
            return None
        case _ as never:
            assert_never(never)


async def change(auth: AsyncAuthService, cookie: str | None) -> bool:
    match await auth.change_password(cookie, "old", "new"):
        case PasswordChanged(kept=kept):
            assert_type(kept, Rotated | None)
            return kept is not None
        case Refused() | Throttled() | Busy() | Inactive():
            return False
        case _ as never:
            assert_never(never)


async def step_up(auth: AsyncAuthService, cookie: str | None) -> bool:
    match await auth.reauthenticate(cookie, "secret"):
        case Rotated():
            return True
        case Refused() | Throttled() | Busy() | Inactive():
            return False
        case _ as never:
            assert_never(never)


def use_data(auth: AuthService, active: Active) -> None:
    assert_type(auth.read_data(active.session), DataRead | SessionGone)
    assert_type(auth.increment(active.session, "visits"), DataChanged | SessionGone)
    assert_type(auth.take_data(active.session, "notice"), DataTaken | NothingToTake | SessionGone)
