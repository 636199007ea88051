"""
Decorators for endpoints that need somebody who is signed in.
"""

from __future__ import annotations

from functools import wraps
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar, overload

from starlette.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection

from sessioncore_asgi import session_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from datetime import timedelta

    from sessioncore_http import AsyncRequestSession

P = ParamSpec("P")
T = TypeVar("T")


class EndpointDecorator(Protocol):
    """
    Takes an endpoint and returns one that asks for proof first.

    What it returns is always asynchronous. A synchronous endpoint goes on running in a
    thread, as Starlette would have it.
    """

    @overload
    def __call__(
        self, endpoint: Callable[P, Coroutine[Any, Any, T]], /
    ) -> Callable[P, Coroutine[Any, Any, T]]: ...

    @overload
    def __call__(self, endpoint: Callable[P, T], /) -> Callable[P, Coroutine[Any, Any, T]]: ...


@overload
def login_required(
    endpoint: Callable[P, Coroutine[Any, Any, T]], /
) -> Callable[P, Coroutine[Any, Any, T]]: ...


@overload
def login_required(endpoint: Callable[P, T], /) -> Callable[P, Coroutine[Any, Any, T]]: ...


def login_required(endpoint: Callable[..., Any], /) -> Callable[..., Coroutine[Any, Any, Any]]:
    """
    Let only those in who are signed in.

    For functions, and for methods of ``HTTPEndpoint``; for requests and for the handshakes
    of WebSockets. Others are sent to the sign-in page, or get a 401, or the close code 3000.

    Args:
        endpoint: What answers; one of its arguments is the request or the WebSocket.
    """
    return _guarded(endpoint, lambda session: session.require())


@overload
def fresh_login_required(
    endpoint: Callable[P, Coroutine[Any, Any, T]], /
) -> Callable[P, Coroutine[Any, Any, T]]: ...


@overload
def fresh_login_required(endpoint: Callable[P, T], /) -> Callable[P, Coroutine[Any, Any, T]]: ...


@overload
def fresh_login_required(*, max_age: timedelta | None = None) -> EndpointDecorator: ...


def fresh_login_required(
    endpoint: Callable[..., Any] | None = None, /, *, max_age: timedelta | None = None
) -> Callable[..., Any]:
    """
    Let only those in who have proven lately who they are.

    Args:
        endpoint: What answers; leave it out to say a *max_age*.

        max_age: How old the proof may be; by default what the session's policy says.
    """

    def decorate(endpoint: Callable[..., Any], /) -> Callable[..., Coroutine[Any, Any, Any]]:
        return _guarded(endpoint, lambda session: session.require_fresh(max_age))

    return decorate if endpoint is None else decorate(endpoint)


def _guarded(
    endpoint: Callable[..., Any], prove: Callable[[AsyncRequestSession], Awaitable[object]]
) -> Callable[..., Coroutine[Any, Any, Any]]:
    @wraps(endpoint)
    async def guarded(*args: Any, **kwargs: Any) -> Any:
        connections: list[HTTPConnection[Any]] = [
            each for each in (*args, *kwargs.values()) if isinstance(each, HTTPConnection)
        ]
        await prove(session_of(connections[0]))
        if iscoroutinefunction(endpoint):
            return await endpoint(*args, **kwargs)
        return await run_in_threadpool(endpoint, *args, **kwargs)

    return guarded
