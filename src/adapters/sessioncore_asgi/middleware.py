"""
The ASGI middleware: a session for each request, and the headers that follow from it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sessioncore import StoreError
from sessioncore_asgi.scope import KEY, request_head
from sessioncore_asgi.websockets import FORBIDDEN, TRY_AGAIN_LATER, UNAUTHORIZED
from sessioncore_http import AsyncLegacySessions, AsyncRequestSession, Interruption, outage

if TYPE_CHECKING:
    from sessioncore import AsyncAuthService
    from sessioncore_asgi.scope import ASGIApplication, Message, Receive, Scope, Send
    from sessioncore_http import Edge, LegacySessions, Problem


class SessionMiddleware:
    """
    Gives every request a :class:`~sessioncore_http.AsyncRequestSession`; refuses foreign ones.

    ``session_of(scope)`` returns it. Requests and the handshakes of WebSockets pass through
    it; lifespan and whatever else there is does so untouched. What the ``require`` methods
    raise, and failures of the store, become responses here, or close the socket.

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
        except (Interruption, StoreError) as error:
            if started:
                raise
            if isinstance(error, Interruption):
                await _send(error.problem, session, send)
            else:
                await _send(outage(error), session, send, renew=False)
        except BaseException:
            if not started:
                await session.abandon()
            raise

    async def _converse(
        self, session: AsyncRequestSession, scope: Scope, receive: Receive, send: Send
    ) -> None:
        if session.refusal() is not None:
            await receive()  # the handshake, which has to be taken before it is refused
            await send({"type": "websocket.close", "code": FORBIDDEN})
            return
        closed = False

        async def watch(message: Message) -> None:
            nonlocal closed
            closed = closed or message["type"] == "websocket.close"
            await send(message)

        try:
            await self._app(scope, receive, watch)
        except (Interruption, StoreError) as error:
            if closed:
                raise
            code = UNAUTHORIZED if isinstance(error, Interruption) else TRY_AGAIN_LATER
            await send({"type": "websocket.close", "code": code})


async def _send(
    problem: Problem, session: AsyncRequestSession, send: Send, *, renew: bool = True
) -> None:
    answer = session.edge.render(problem, session.head)
    headers = await session.finish(answer.headers, renew=renew)
    await send(
        {
            "type": "http.response.start",
            "status": answer.status.value,
            "headers": _encoded(headers),
        }
    )
    body = b"" if session.head.method == "HEAD" else answer.body
    await send({"type": "http.response.body", "body": body})


def _encoded(headers: list[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    # ASGI wants names in lower case.
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
