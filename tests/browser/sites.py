"""
Sites for browsers: WSGI and ASGI applications on loopback ports of this process.

The names are made up and Chromium knows that they are this machine (``RULES`` in
:mod:`browser.chromium`). Ports are free ones: a site knows its origin before it has
an application, because an application may have to know its own.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import sys
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from functools import partial
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any, Final, Protocol, Self, TypeVar
from urllib.parse import urlsplit
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import hypercorn
import hypercorn.asyncio
import uvicorn
from hypercorn.config import Sockets
from websockets.exceptions import InvalidState

from servers.local import PATIENCE_SECONDS

if TYPE_CHECKING:
    from types import TracebackType
    from wsgiref.types import WSGIApplication

    from browser.certificate import Certificate

ADDRESS: Final = "127.0.0.1"
GRACE_SECONDS: Final = 3
"""For requests that are under way when a site closes."""

# Every framework and every server has types of its own for these.
AsgiApplication = Callable[[Any, Any, Any], Awaitable[None]]

T = TypeVar("T")


class Sites:
    """
    The sites of a test. Leaving it closes them all.

    Args:
        certificate: What they show over HTTPS.
    """

    def __init__(self, certificate: Certificate) -> None:
        self._certificate = certificate
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def at(self, address: str) -> Site:
        """
        A site with an origin, and so far without an application.

        Args:
            address: Scheme and host, such as ``"https://shop.test"`` or
                ``"http://localhost"``; a free port is added. Hosts are ``127.0.0.1``,
                ``localhost`` and names under ``.test``, of which Chromium takes
                ``app.shop.test`` and ``api.shop.test`` for the same site, and
                ``shop.test`` and ``evil.test`` for two.
        """
        site = Site(address, self._certificate)
        self._stack.callback(site.close)
        return site


class Site:
    """
    A listening port, and the application that answers on it.
    """

    def __init__(self, address: str, certificate: Certificate) -> None:
        parts = urlsplit(address)
        assert parts.scheme in {"http", "https"}
        assert parts.hostname, "an address is a scheme and a host, such as http://localhost"
        assert parts.netloc == parts.hostname, "the port is drawn"
        self._scheme = parts.scheme
        self.host = parts.hostname
        self._certificate = certificate
        self._socket = socket.create_server((ADDRESS, 0), backlog=100)
        self.port: int = self._socket.getsockname()[1]
        self._server: _Server | None = None

    @property
    def origin(self) -> str:
        """
        Scheme, host and port, as a browser writes them into ``Origin``.
        """
        return self.origin_as(self.host)

    def origin_as(self, host: str) -> str:
        """
        The origin of the same server under another name, such as ``localhost``.
        """
        return f"{self._scheme}://{host}:{self.port}"

    def url(self, path: str = "/") -> str:
        """
        The address of a page.
        """
        return self.origin + path

    def serve_wsgi(self, application: WSGIApplication) -> None:
        """
        Serve *application*, each request in a thread of its own.

        HTTP/1.0 by the standard library: what has no ``Content-Length`` may be streamed.
        """
        self._start(_WsgiServer(self._socket, application, self._tls("http/1.1")))

    def serve_asgi(self, application: AsgiApplication) -> None:
        """
        Serve *application* over HTTP/1.1, by Uvicorn, with its lifespan and WebSockets.
        """
        tls = self._tls("http/1.1")
        self._start(_AsgiServer(partial(_serve_by_uvicorn, self._socket, application, tls)))

    def serve_http2(self, application: AsgiApplication) -> None:
        """
        Serve *application* over HTTP/2, by Hypercorn, with its lifespan and WebSockets.

        Chromium speaks it over HTTPS only. See also :func:`cookies_apart`.
        """
        tls = self._tls("h2")
        assert tls is not None, "browsers speak HTTP/2 over HTTPS only"
        self._start(_AsgiServer(partial(_serve_by_hypercorn, self._socket, application, tls)))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """
        Run *work* in the event loop of the ASGI application, and wait for it.
        """
        assert isinstance(self._server, _AsgiServer), "only an ASGI site has an event loop"
        return self._server.run(work)

    def close(self) -> None:
        """
        End the server with all its connections. Without effect if it is closed.
        """
        server, self._server = self._server, None
        try:
            if server is not None:
                server.stop()
        finally:
            self._socket.close()

    def _tls(self, *protocols: str) -> ssl.SSLContext | None:
        if self._scheme == "http":
            return None
        return self._certificate.settings_of_a_server(*protocols)

    def _start(self, server: _Server) -> None:
        assert self._server is None, "the site has an application"
        self._server = server
        server.start()


def cookies_apart(application: AsgiApplication) -> AsgiApplication:
    """
    Hand cookies to *application* one header each, as Chromium sends them over HTTP/2.

    Hypercorn joins them, as RFC 9113, 8.2.3 wants it; not every server does.
    """

    async def apart(scope: Any, receive: Any, send: Any) -> None:
        if "headers" in scope:
            headers: list[tuple[bytes, bytes]] = []
            for name, value in scope["headers"]:
                values = value.split(b"; ") if name == b"cookie" else [value]
                headers.extend((name, value) for value in values)
            scope = {**scope, "headers": headers}
        await application(scope, receive, send)

    return apart


class _Server(Protocol):
    def start(self) -> None: ...

    def stop(self) -> None: ...


class _WsgiHandler(WSGIRequestHandler):
    # Browsers open connections in advance and may never use them; those that are
    # open in the end are cut by the server.
    def setup(self) -> None:
        if isinstance(self.request, ssl.SSLSocket):
            self.request.do_handshake()
        super().setup()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - named by the base
        pass


class _WsgiServer(ThreadingMixIn, WSGIServer):
    daemon_threads = True  # they are waited for below, but not for ever

    def __init__(
        self, listening: socket.socket, application: WSGIApplication, tls: ssl.SSLContext | None
    ) -> None:
        super().__init__((ADDRESS, 0), _WsgiHandler, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        self.server_name, self.server_port = listening.getsockname()
        self.setup_environ()
        if tls is not None:
            self.base_environ["HTTPS"] = "on"
        self.set_app(application)
        self._tls = tls
        self._connections: dict[threading.Thread, socket.socket] = {}
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,))

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self.shutdown()
        self._thread.join()
        connections = list(self._connections.items())
        for _, connection in connections:
            with suppress(OSError):
                # Not that of SSLSocket, which takes TLS away from the thread that uses it.
                socket.socket.shutdown(connection, socket.SHUT_RDWR)
        for thread, _ in connections:
            thread.join(PATIENCE_SECONDS)
            if thread.is_alive():
                raise RuntimeError("a request does not end although its connection is closed")

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        if self._tls is not None:
            # Others must not wait for the handshake: it is made in the thread.
            connection = self._tls.wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False
            )
        return connection, address

    def process_request(self, request: Any, client_address: Any) -> None:
        thread = threading.Thread(target=self._process, args=(request, client_address), daemon=True)
        self._connections[thread] = request
        thread.start()

    def _process(self, request: Any, client_address: Any) -> None:
        try:
            self.process_request_thread(request, client_address)
        finally:
            del self._connections[threading.current_thread()]

    def handle_error(self, request: Any, client_address: Any) -> None:
        # Dropped connections are no errors; ssl.SSLError is an OSError, too.
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _AsgiServer:
    """
    A server in an event loop in a thread of its own.

    Args:
        serve: Runs the server, calls its first argument once it answers, and ends it
            when the event is set.
    """

    def __init__(
        self, serve: Callable[[Callable[[], None], asyncio.Event], Coroutine[Any, Any, None]]
    ) -> None:
        self._serve = serve
        self._end = asyncio.Event()
        self._ready: Future[asyncio.AbstractEventLoop] = Future()
        self._ended: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()
        self._ready.result(PATIENCE_SECONDS)

    def stop(self) -> None:
        if not self._is_ready:
            return  # which start() has said
        with suppress(RuntimeError):  # of a loop that has ended by itself
            self._loop.call_soon_threadsafe(self._end.set)
        self._ended.result(PATIENCE_SECONDS)
        self._thread.join()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE_SECONDS)

    @property
    def _is_ready(self) -> bool:
        return self._ready.done() and self._ready.exception() is None

    @property
    def _loop(self) -> asyncio.AbstractEventLoop:
        return self._ready.result(0)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve_and_close())
        except Exception as error:  # noqa: BLE001 - whoever starts or stops it is told
            failure = RuntimeError("the server has failed; see what it logged")
            failure.__cause__ = error
            (self._ended if self._is_ready else self._ready).set_exception(failure)
        else:
            self._ended.set_result(None)

    async def _serve_and_close(self) -> None:
        try:
            await self._serve(self._answers, self._end)
        finally:
            # Servers that are told to end do not wait for every client for ever, and asyncio
            # complains, in whatever test runs then, of a transport that nobody has closed.
            open_ones: Any = getattr(asyncio.get_running_loop(), "_transports", {})
            for transport in list(open_ones.values()):
                transport.abort()
            await asyncio.sleep(0)

    def _answers(self) -> None:
        self._ready.set_result(asyncio.get_running_loop())


class _Uvicorn(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, answers: Callable[[], None]) -> None:
        super().__init__(config)
        self._answers = answers

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().startup(sockets)
        except SystemExit as error:
            raise RuntimeError("the application does not start") from error
        self._answers()


async def _serve_by_uvicorn(
    listening: socket.socket,
    application: AsgiApplication,
    tls: ssl.SSLContext | None,
    answers: Callable[[], None],
    end: asyncio.Event,
) -> None:
    def given(*_: Any) -> ssl.SSLContext:
        assert tls is not None
        return tls

    config = uvicorn.Config(
        application,
        http="h11",
        ws="websockets-sansio",
        log_config=None,
        ssl_context_factory=None if tls is None else given,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    server = _Uvicorn(config, answers)

    async def end_when_asked() -> None:
        await end.wait()
        server.should_exit = True

    async with asyncio.TaskGroup() as tasks:
        ending = tasks.create_task(end_when_asked())
        # What Uvicorn raises if a WebSocket is closing already when it closes all of them.
        with suppress(InvalidState):
            await server.serve([listening])
        ending.cancel()


class _HypercornConfig(hypercorn.Config):
    def __init__(
        self, listening: socket.socket, tls: ssl.SSLContext, answers: Callable[[], None]
    ) -> None:
        super().__init__()
        self.errorlog = logging.getLogger("hypercorn.error")
        self.graceful_timeout = GRACE_SECONDS
        self._listening = listening
        self._tls = tls
        self._answers = answers

    @property
    def ssl_enabled(self) -> bool:
        return True

    def create_ssl_context(self) -> ssl.SSLContext:
        return self._tls

    def create_sockets(self) -> Sockets:
        # Called when the application has started; who connects is waiting in the backlog.
        self._answers()
        return Sockets([self._listening], [], [])


async def _serve_by_hypercorn(
    listening: socket.socket,
    application: AsgiApplication,
    tls: ssl.SSLContext,
    answers: Callable[[], None],
    end: asyncio.Event,
) -> None:
    config = _HypercornConfig(listening, tls, answers)
    hypercorn_asyncio: Any = hypercorn.asyncio  # not completely typed
    # Chromium may still be sending when a connection is closed, and Hypercorn minds.
    with suppress(ssl.SSLError):
        await hypercorn_asyncio.serve(application, config, shutdown_trigger=end.wait, mode="asgi")
