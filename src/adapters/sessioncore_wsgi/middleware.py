"""
The WSGI middleware: a session for each request, and the headers that follow from it.

WSGI lets an application change its mind about the headers until the first part of the body
is there, and servers hold them back until then. So does this: an application may sign in and
out as long, also in the generator that makes its body (ADR-0029).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sessioncore import StoreError
from sessioncore_http import Interruption, RequestSession
from sessioncore_http.cors import readable_across_origins
from sessioncore_wsgi.environ import KEY, request_head

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
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
        outer: RequestSession | None = environ.get(KEY)
        if outer is not None and outer.edge.cookie.name == self._edge.cookie.name:
            # Behind another one, as of an application that is mounted in another: it goes on
            # with its session, since a response can bring but one cookie of a name.
            return self._app(environ, start_response)
        head = request_head(environ, self._edge)
        session = RequestSession(self._auth, self._edge, head, self._legacy)
        environ[KEY] = session
        response = _Response(session, start_response)
        refused = session.refusal()
        if refused is not None:
            return response.instead(refused)
        try:
            body = self._app(environ, response.start)
            if _is_complete(body, environ):
                response.begin_or_close(body)
                return body
            return _Body(response, body)
        except BaseException as error:  # noqa: BLE001 - raised again, unless it means an answer
            return response.failed(error)


class _Response:
    """
    A response whose start is held back until the first part of its body.
    """

    def __init__(self, session: RequestSession, start_response: StartResponse) -> None:
        self._session = session
        self._start_response = start_response
        self._arguments: tuple[str, list[tuple[str, str]]] | None = None
        self._write: Callable[[bytes], object] | None = None

    def start(
        self, status: str, headers: list[tuple[str, str]], exc_info: ExcInfo | None = None, /
    ) -> Callable[[bytes], object]:
        """
        Take note of what the application wants to start with.
        """
        if self._write is not None:
            # Too late, unless the server has sent nothing yet, which it knows (PEP 3333,
            # "Error Handling"). If so, these headers take the place of the first ones.
            finished = self._session.finish(headers, renew=False)
            return self._start_response(status, finished, exc_info)
        if self._arguments is not None and exc_info is None:
            raise AssertionError("start_response was called twice, and not because of an error")
        self._arguments = (status, headers)
        return self._write_now

    def begin(self, *, renew: bool = True) -> None:
        """
        Start, if the application has said with what.
        """
        if self._arguments is None or self._write is not None:
            return
        status, headers = self._arguments
        self._write = self._start_response(status, self._session.finish(headers, renew=renew))

    def begin_or_close(self, body: Iterable[bytes]) -> None:
        """
        Start a response that is complete; should that fail, nobody else closes its body.
        """
        try:
            self.begin()
        except BaseException:
            _close(body)
            raise
        self.end()

    def instead(self, problem: Problem, *, renew: bool = True) -> list[bytes]:
        """
        Answer a problem, and nothing of what the application said.
        """
        head, edge = self._session.head, self._session.edge
        answer = edge.render(problem, head)
        headers = readable_across_origins(answer.headers, head, edge.guard)
        self._arguments = (answer.status_line, headers)
        self.begin(renew=renew)
        return [] if head.method == "HEAD" else [answer.body]

    def failed(self, error: BaseException) -> list[bytes]:
        """
        Answer what an exception of the application means, or raise it again.
        """
        try:
            if self._write is None and isinstance(error, (Interruption, StoreError)):
                problem = self._session.problem_of(error)
                return self.instead(problem, renew=isinstance(error, Interruption))
            raise error
        finally:
            self.end()

    def end(self) -> None:
        """
        If nothing was started, nobody gets a session id that was to be brought by it.
        """
        self._session.abandon()

    def _write_now(self, data: bytes, /) -> object:
        # PEP 3333's way for old applications.
        self.begin()
        assert self._write is not None  # noqa: S101 - start() was called, or this is not known
        return self._write(data)


class _Body:
    """
    A body that is still being made. Its response starts with its first part, empty or not.

    Not a generator: the server closes it also if it never asked for a part, and then the
    application's body has to be closed just as well (PEP 3333, "Specification Details").
    """

    def __init__(self, response: _Response, body: Iterable[bytes]) -> None:
        self._response = response
        self._body = body
        self._parts = iter(body)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            part = next(self._parts)
        except StopIteration:
            self._response.begin()
            raise
        except BaseException as error:  # noqa: BLE001 - raised again, unless it means an answer
            self._parts = iter(self._response.failed(error))
            return next(self._parts)
        self._response.begin()
        return part

    def close(self) -> None:
        """
        Close the application's body. The server calls this in any case.
        """
        try:
            _close(self._body)
        finally:
            self._response.end()


def _is_complete(body: Iterable[bytes], environ: WSGIEnvironment) -> bool:
    # Nothing can happen to the session any more; and a server knows best what to do with a
    # list of one part, or with its own wrapper around a file.
    wrapper = environ.get("wsgi.file_wrapper")
    is_file = isinstance(wrapper, type) and isinstance(body, wrapper)
    return is_file or isinstance(body, (list, tuple))


def _close(body: Iterable[bytes]) -> None:
    close: Any = getattr(body, "close", None)
    if close is not None:
        close()
