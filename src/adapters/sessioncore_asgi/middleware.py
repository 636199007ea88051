"""
The ASGI middleware: a session for each request, and the headers that follow from it.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final, cast

from sessioncore import StoreError
from sessioncore_asgi.scope import KEY, request_head
from sessioncore_asgi.websockets import FORBIDDEN, TRY_AGAIN_LATER, UNAUTHORIZED
from sessioncore_http import AsyncLegacySessions, AsyncRequestSession, Interruption
from sessioncore_http.cors import readable_across_origins

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sessioncore import AsyncAuthService
    from sessioncore_asgi.scope import ASGIApplication, Message, Receive, Scope, Send
    from sessioncore_http import Edge, LegacySessions, Problem

_CLOSE_CODES: Final = {HTTPStatus.UNAUTHORIZED: UNAUTHORIZED, HTTPStatus.FORBIDDEN: FORBIDDEN}


class SessionMiddleware:
    """
    Gives every request a :class:`~sessioncore_http.AsyncRequestSession`; refuses foreign ones.

    ``session_of(scope)`` returns it. Requests and the handshakes of WebSockets pass through
    it; lifespan and whatever else there is does so untouched. What the ``require`` methods
    raise, and failures of the store, become responses here, or close the socket; also if
    they come in an exception group, with nothing else in it.

    Args:
        app: What answers requests.

        auth: The service.

        edge: The settings.

        legacy: Where the sessions of the library before this one are, while they are moved.
    """

    def __init__(
        self,
        app: ASGIApplication,
        auth: AsyncAuthService,
        edge: Edge,
        *,
        legacy: LegacySessions | None = None,
    ) -> None:
        self._app = app
        self._auth = auth
        self._edge = edge
        self._legacy = None if legacy is None else AsyncLegacySessions(legacy)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """
        Answer one request, or carry one conversation.
        """
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        outer: AsyncRequestSession | None = scope.get(KEY)
        if outer is not None and outer.edge.cookie.name == self._edge.cookie.name:
            # Behind another one, as of an application that is mounted in another: it goes on
            # with its session, since a response can bring but one cookie of a name.
            await self._app(scope, receive, send)
            return
        head = request_head(scope, self._edge)
        session = AsyncRequestSession(self._auth, self._edge, head, self._legacy)
        scope[KEY] = session
        if scope["type"] == "http":
            await self._answer(session, scope, receive, send)
        else:
            await self._converse(session, scope, receive, send)

    async def _answer(
        self, session: AsyncRequestSession, scope: Scope, receive: Receive, send: Send
    ) -> None:
        started = False

        async def start(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                headers = [
                    (name.decode("latin-1"), value.decode("latin-1"))
                    for name, value in message.get("headers", ())
                ]
                finished = await session.finish(headers)
                message = {**message, "headers": _encoded(finished)}
                started = True
            await send(message)

        refused = session.refusal()
        if refused is not None:
            await _send(refused, session, send)
            return
        try:
            await self._app(scope, receive, start)
        except BaseException as error:
            meant = _meant(error)
            if started or meant is None:
                raise
            renew = isinstance(meant, Interruption)
            await _send(session.problem_of(meant), session, send, renew=renew)
        finally:
            # If nothing was started, nobody gets a session id that was to be brought by it.
            await session.abandon()

    async def _converse(
        self, session: AsyncRequestSession, scope: Scope, receive: Receive, send: Send
    ) -> None:
        is_accepted = is_over = False

        async def watch(message: Message) -> None:
            nonlocal is_accepted, is_over
            kind = message["type"]
            is_accepted = is_accepted or kind == "websocket.accept"
            if kind == "websocket.accept" and message.get("headers"):
                # A handshake brings no cookie of ours, not the application's either.
                message = {**message, "headers": _without_ours(message["headers"], session)}
            is_over = is_over or kind in {"websocket.close", "websocket.http.response.start"}
            await send(message)

        async def hear() -> Message:
            nonlocal is_over
            message = await receive()
            is_over = is_over or message["type"] == "websocket.disconnect"
            return message

        async def end(problem: Problem) -> None:
            # Servers answer 403 to a handshake that is closed. Clients take that for final,
            # and an outage is not; most servers have a way to say so.
            can_answer = "websocket.http.response" in (scope.get("extensions") or {})
            is_outage = problem.status >= HTTPStatus.INTERNAL_SERVER_ERROR
            if is_outage and can_answer and not is_accepted:
                await _send(problem, session, send, kind="websocket.http.response")
            else:
                code = _CLOSE_CODES.get(problem.status, TRY_AGAIN_LATER)
                await send({"type": "websocket.close", "code": code})

        refused = session.refusal()
        if refused is not None:
            await receive()  # the handshake, which has to be taken before it is refused
            await end(refused)
            return
        try:
            await self._app(scope, hear, watch)
        except BaseException as error:
            meant = _meant(error)
            if is_over or meant is None:
                raise
            await end(session.problem_of(meant))


def _without_ours(
    headers: Iterable[tuple[bytes, bytes]], session: AsyncRequestSession
) -> list[tuple[bytes, bytes]]:
    cookie = session.edge.cookie
    return [
        (name, value)
        for name, value in headers
        if name.lower() != b"set-cookie" or not cookie.is_written_by(value.decode("latin-1"))
    ]


def _meant(error: BaseException) -> Interruption | StoreError | None:
    # What tasks of one request raise comes in groups. An outage outweighs a refusal, which
    # may be due to it; anything else outweighs both, and is not ours to answer.
    if isinstance(error, (Interruption, StoreError)):
        return error
    if not isinstance(error, BaseExceptionGroup):
        return None
    # isinstance() says that it is a group, but not of what.
    group = cast("BaseExceptionGroup[BaseException]", error)
    found: list[Interruption | StoreError] = []
    for one in group.exceptions:
        meant = _meant(one)
        if meant is None:
            return None
        found.append(meant)
    return min(found, key=lambda one: isinstance(one, Interruption))


async def _send(
    problem: Problem,
    session: AsyncRequestSession,
    send: Send,
    *,
    renew: bool = True,
    kind: str = "http.response",
) -> None:
    head, edge = session.head, session.edge
    answer = edge.render(problem, head)
    readable = readable_across_origins(answer.headers, head, edge.guard)
    headers = await session.finish(readable, renew=renew)
    await send(
        {
            "type": f"{kind}.start",
            "status": answer.status.value,
            "headers": _encoded(headers),
        }
    )
    body = b"" if head.method == "HEAD" else answer.body
    await send({"type": f"{kind}.body", "body": body})


def _encoded(headers: list[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    # ASGI wants names in lower case.
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
