"""
The WSGI middleware: a session for each request, and the headers that follow from it.

WSGI allows headers to be held back until the first part of the body is there, and
servers have to do so. So does this: an application may sign in and out until then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sessioncore import StoreError
from sessioncore_http import Interruption, RequestSession, outage
from sessioncore_wsgi.environ import KEY, request_head

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable
    from types import TracebackType
    from typing import TypeAlias
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from sessioncore import AuthService
    from sessioncore_http import Edge, LegacySessions, Problem

    ExcInfo: TypeAlias = (
        tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None]
    )


class SessionMiddleware:
    """
    Gives every request a :class:`~sessioncore_http.RequestSession`, and refuses foreign ones.

    ``session_of(environ)`` returns it. What its ``require`` methods raise, and failures of
    the store, become responses here, unless the application's framework turns exceptions
    into responses itself; for those there are packages of their own.

    Args:
        app: What answers requests.

        auth: The service.

        edge: The settings.

        legacy: Where the sessions of the library before this one are, while they are moved.
    """

    def __init__(
        self,
        app: WSGIApplication,
        auth: AuthService,
        edge: Edge,
        *,
        legacy: LegacySessions | None = None,
    ) -> None:
        self._app = app
        self._auth = auth
        self._edge = edge
        self._legacy = legacy

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """
        Answer one request.
        """
        head = request_head(environ, self._edge)
        session = RequestSession(self._auth, self._edge, head, self._legacy)
        environ[KEY] = session
        response = _Response(session, start_response)
        refused = session.refusal()
        if refused is not None:
            return response.instead(refused)
        try:
            body = self._app(environ, response.start)
        except Interruption as interruption:
            return response.instead(interruption.problem)
        except StoreError as error:
            return response.instead(outage(error), renew=False)
        except BaseException:
            session.abandon()
            raise
        wrapper = environ.get("wsgi.file_wrapper")
        is_file = isinstance(wrapper, type) and isinstance(body, wrapper)
        if is_file or isinstance(body, (list, tuple)):
            # All there is: nothing can happen to the session any more. And a server knows
            # best what to do with its own wrapper.
            response.begin()
            return body
        return response.following(body)


class _Response:
    """
    A response whose start is held back until the first part of its body.
    """

    def __init__(self, session: RequestSession, start_response: StartResponse) -> None:
        self._session = session
        self._start_response = start_response
        self._arguments: tuple[str, list[tuple[str, str]], ExcInfo | None] | None = None
        self._write: Callable[[bytes], object] | None = None

    def start(
        self, status: str, headers: list[tuple[str, str]], exc_info: ExcInfo | None = None, /
    ) -> Callable[[bytes], object]:
        """
        Take note of what the application wants to start with.
        """
        if self._write is not None:
            # Too late for us. The server knows what to do (PEP 3333, "Error handling").
            return self._start_response(status, headers, exc_info)
        self._arguments = (status, headers, exc_info)
        return self._write_now

    def begin(self, *, renew: bool = True) -> None:
        """
        Start, if the application has said with what.
        """
        if self._arguments is None or self._write is not None:
            return
        status, headers, exc_info = self._arguments
        self._write = self._start_response(
            status, self._session.finish(headers, renew=renew), exc_info
        )

    def instead(self, problem: Problem, *, renew: bool = True) -> list[bytes]:
        """
        Answer a problem, and nothing of what the application said.
        """
        head = self._session.head
        answer = self._session.edge.render(problem, head)
        self._arguments = (answer.status_line, list(answer.headers), None)
        self.begin(renew=renew)
        return [] if head.method == "HEAD" else [answer.body]

    def following(self, body: Iterable[bytes]) -> Generator[bytes, None, None]:
        """
        Pass on a body that is still being made; start with its first part.
        """
        try:
            try:
                for part in body:
                    if part:
                        self.begin()
                    yield part
                self.begin()
            except (Interruption, StoreError) as error:
                if self._write is not None:
                    raise
                if isinstance(error, Interruption):
                    yield from self.instead(error.problem)
                else:
                    yield from self.instead(outage(error), renew=False)
            except BaseException:
                self._session.abandon()
                raise
        finally:
            close: Any = getattr(body, "close", None)
            if close is not None:
                close()

    def _write_now(self, data: bytes, /) -> object:
        # PEP 3333's way for old applications.
        self.begin()
        assert self._write is not None  # noqa: S101 - start() was called, or this is not known
        return self._write(data)
