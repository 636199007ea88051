"""
Who takes part: an app, and what asks it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final

from benchmarks.sessions import AGENT

USER: Final = "user-12345"
"""Who is signed in."""

KEY: Final = "user_id"
"""Where a library whose session is a mapping keeps that."""

HOME: Final = "/"
"""The page that says who is signed in, and nothing to anybody else."""

SIGN_IN: Final = "/sign-in"
"""Where an app whose sessions are not sessioncore's signs its user in."""

ORIGIN: Final = "https://shop.example"

_HEADERS: Final = {
    "Host": "shop.example",
    "User-Agent": AGENT,
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "Accept-Language": "en-GB,en;q=0.5",
    "Accept-Encoding": "gzip, deflate, br, zstd",
    "Sec-Fetch-Dest": "document",
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-Site": "same-origin",
}


@dataclass(frozen=True)
class Contender:
    """
    An app, and how to read a session without it.

    Attributes:
        name: Of the library and its store; ``bare`` has no sessions.

        app: For WSGI or ASGI.

        cookie: What a browser sends of a session; empty: the app is to sign in.

        load: Given the id in the cookie, makes what reads that session and does no more.
    """

    name: str
    app: Any
    cookie: str = ""
    load: Callable[[str], Callable[[], Any]] | None = None

    def reader(self) -> Callable[[], Any]:
        """
        Return what reads the session of the cookie, and does no more.
        """
        assert self.load is not None  # noqa: S101 - those that have it are asked
        return self.load(self.cookie.partition("=")[2])


@dataclass(frozen=True)
class Reply:
    """
    What an app answered.
    """

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def cookie(self) -> str:
        """
        Return what a browser sends from now on.
        """
        found = [value for name, value in self.headers if name.lower() == "set-cookie"]
        return found[0].partition(";")[0]


def wsgi_request(app: Any, path: str = HOME, cookie: str = "") -> Callable[[], Reply]:
    """
    Make what sends one request to a WSGI app.
    """
    environ: dict[str, Any] = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "SERVER_NAME": "shop.example",
        "SERVER_PORT": "443",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "192.0.2.7",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "https",
        "wsgi.input": BytesIO(),
        "wsgi.errors": BytesIO(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    headers = {**_HEADERS, "Cookie": cookie} if cookie else _HEADERS
    environ |= {f"HTTP_{name.upper().replace('-', '_')}": text for name, text in headers.items()}

    def send() -> Reply:
        started: list[tuple[str, list[tuple[str, str]]]] = []

        def start_response(status: str, headers: list[tuple[str, str]], _error: Any = None) -> None:
            started.append((status, headers))

        body = app(environ.copy(), start_response)
        content = b"".join(body)
        if hasattr(body, "close"):
            body.close()
        status, answered = started[-1]
        return Reply(int(status[:3]), answered, content)

    return send


def asgi_request(app: Any, path: str = HOME, cookie: str = "") -> Callable[[], Awaitable[Reply]]:
    """
    Make what sends one request to an ASGI app.
    """
    headers = {**_HEADERS, "Cookie": cookie} if cookie else _HEADERS
    encoded = [(name.lower().encode(), text.encode()) for name, text in headers.items()]

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def request() -> Reply:
        sent: list[dict[str, Any]] = []

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "https",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": b"",
            "headers": encoded,
            "client": ("192.0.2.7", 49152),
            "server": ("shop.example", 443),
            "state": {},
        }
        await app(scope, receive, send)
        answered = [(name.decode(), text.decode()) for name, text in sent[0]["headers"]]
        content = b"".join(message.get("body", b"") for message in sent[1:])
        return Reply(sent[0]["status"], answered, content)

    return request
