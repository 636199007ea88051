"""
The standard library's WSGI server, with a thread for each connection. Not worth reading, and
not made for a site that others can reach.
"""

from __future__ import annotations

import errno
import sys
from socketserver import TCPServer, ThreadingMixIn
from typing import Any, Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

ADDRESS: Final = "127.0.0.1"
"""Loopback, and nothing else: nobody but this computer can connect."""


class _Handler(WSGIRequestHandler):
    timeout = 30.0
    """Browsers open connections in advance and may never use them."""

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - named by the base
        """
        Say nothing: the terminal shows the address, and errors.
        """


class Server(ThreadingMixIn, WSGIServer):
    """
    A server on a loopback port, made before its application.

    The application has to know its own origin, and so the port, to tell its own
    pages from foreign ones.
    """

    daemon_threads = True

    def server_bind(self) -> None:
        """
        Bind without looking up this computer's name, which can take long.
        """
        TCPServer.server_bind(self)
        self.server_name, self.server_port = ADDRESS, int(self.server_address[1])
        self.setup_environ()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """
        Report errors, but not connections that were just dropped.
        """
        if not isinstance(sys.exception(), (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)

    @property
    def hosts(self) -> list[str]:
        """
        What a ``Host`` header may say, the first being the one to print.
        """
        port = "" if self.server_port == 80 else f":{self.server_port}"
        return [f"{name}{port}" for name in (ADDRESS, "localhost")]


def listen(port: int | None, preferred: int) -> Server:
    """
    Listen on *port*; without one, on the *preferred* port or any that is free.

    Raises:
        OSError: The port is taken.
    """
    try:
        return Server((ADDRESS, preferred if port is None else port), _Handler)
    except OSError as error:
        if port is not None or error.errno != errno.EADDRINUSE:
            raise
        return Server((ADDRESS, 0), _Handler)
