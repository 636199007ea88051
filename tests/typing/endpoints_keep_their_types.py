"""
Checked by mypy and pyright, and never run: what the framework packages do to types.
"""

from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Annotated, Any, assert_type

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.websockets import WebSocket

from sessioncore import Session
from sessioncore_fastapi import CurrentSession, FreshlySignedIn, SignedIn, fresh
from sessioncore_http import AsyncRequestSession
from sessioncore_litestar import CurrentSession as LitestarSession
from sessioncore_starlette import fresh_login_required, login_required, session_of


@login_required
async def asynchronous(request: Request) -> JSONResponse:
    assert_type(session_of(request), AsyncRequestSession)
    return JSONResponse({})


@login_required
def synchronous(_request: Request) -> Response:
    return Response()


@fresh_login_required
def fresh_now(_request: Request) -> Response:
    return Response()


@fresh_login_required(max_age=timedelta(minutes=5))
async def conversation(websocket: WebSocket) -> None:
    await websocket.accept()


async def call(request: Request, websocket: WebSocket) -> None:
    assert_type(await asynchronous(request), JSONResponse)
    assert_type(await synchronous(request), Response)
    assert_type(await fresh_now(request), Response)
    conversing: Callable[[WebSocket], Coroutine[Any, Any, None]] = conversation
    await conversing(websocket)


async def of_fastapi(
    current: CurrentSession,
    session: SignedIn,
    proven: FreshlySignedIn,
    lately: Annotated[Session, fresh(timedelta(minutes=5))],
) -> None:
    assert_type(current, AsyncRequestSession)
    assert_type(session, Session)
    assert_type(proven, Session)
    assert_type(lately, Session)


async def of_litestar(request_session: LitestarSession) -> None:
    assert_type(request_session, AsyncRequestSession)
