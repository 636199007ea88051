"""
Just enough HTTP for a few pages: a request, a response, HTML that escapes, security headers.

A real application has a framework for this; nothing here knows of sessions. Read it only if
you wonder where something comes from.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, LiteralString
from urllib.parse import parse_qsl

from sessioncore_http import safe_target

if TYPE_CHECKING:
    from types import TracebackType
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    ExcInfo = (
        tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None] | None
    )

FORM_BYTES: Final = 16 * 1024
_FORM_FIELDS: Final = 20


class Html(str):
    """
    Text that is markup already. Everything else is escaped on its way into a page.
    """

    __slots__ = ()


class _Escaping(string.Formatter):
    def format_field(self, value: Any, format_spec: str) -> str:
        return value if isinstance(value, Html) else escape(format(value, format_spec))


_escaping: Final = _Escaping()


def html(template: LiteralString, **values: object) -> Html:
    """
    Fill a template; every value is escaped unless it is :class:`Html`.

    >>> html("<p>{name}</p>", name="<script>")
    '<p>&lt;script&gt;</p>'
    """
    return Html(_escaping.vformat(template, (), values))


def joined(parts: Iterable[Html]) -> Html:
    """
    Join pieces of markup.
    """
    return Html("\n".join(parts))


SECURITY_HEADERS: Final = (
    # Nothing from elsewhere, no script in a page, and no script that makes markup of text.
    (
        "Content-Security-Policy",
        (
            "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
            "img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; "
            "require-trusted-types-for 'script'; trusted-types 'none'"
        ),
    ),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    # Not "no-referrer": with that, browsers post our own forms with "Origin: null".
    ("Referrer-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)


class FrontDoor:
    """
    Knows our own names, and adds the security headers to every response.

    Args:
        app: What answers requests.

        hosts: The names under which we are served, with the port. A request for
            another one is refused: a foreign name can be made to point here
            ("DNS rebinding"), and its pages would then count as our own.

        refusal: The page for a request that is refused.
    """

    def __init__(self, app: WSGIApplication, *, hosts: Collection[str], refusal: Response) -> None:
        self._app = app
        self._hosts = frozenset(hosts)
        self._refusal = refusal

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """
        Answer one request, or refuse it.
        """

        def start(
            status: str, own: list[tuple[str, str]], exc_info: ExcInfo = None, /
        ) -> Callable[[bytes], object]:
            return start_response(status, [*own, *SECURITY_HEADERS], exc_info)

        if environ.get("HTTP_HOST") not in self._hosts:
            return self._refusal.send(environ, start)
        return self._app(environ, start)


@dataclass(frozen=True, slots=True)
class Response:
    """
    What goes back.
    """

    body: Html | str = ""
    status: HTTPStatus = HTTPStatus.OK
    content_type: str = "text/html; charset=utf-8"
    headers: Sequence[tuple[str, str]] = ()

    def send(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """
        Answer a WSGI request with this.
        """
        content = self.body.encode()
        start_response(
            f"{self.status.value} {self.status.phrase}",
            [
                ("Content-Type", self.content_type),
                ("Content-Length", str(len(content))),
                *self.headers,
            ],
        )
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [content]


@dataclass(frozen=True, slots=True)
class Stream:
    """
    What goes back bit by bit, for a script that listens.
    """

    parts: Iterable[bytes]

    def send(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """
        Answer a WSGI request with this.
        """
        start_response(f"{HTTPStatus.OK.value} OK", [("Content-Type", "text/event-stream")])
        return [] if environ["REQUEST_METHOD"] == "HEAD" else self.parts


def see_other(path: str) -> Response:
    """
    Send the browser on to another page of this site, with a GET. Never to another site.
    """
    return Response(status=HTTPStatus.SEE_OTHER, headers=[("Location", safe_target(path))])


class BadRequest(Exception):
    """
    A request that no form of this site sends.

    Args:
        status: What to answer it with.
    """

    def __init__(self, status: HTTPStatus) -> None:
        super().__init__(status.phrase)
        self.status = status


class Request:
    """
    What a WSGI server passed on.
    """

    def __init__(self, environ: WSGIEnvironment) -> None:
        self.environ = environ
        self.method: str = environ["REQUEST_METHOD"]
        self.path: str = environ.get("PATH_INFO") or "/"

    def header(self, name: str) -> str | None:
        """
        Return a header's value, or ``None``.
        """
        value: str | None = self.environ.get("HTTP_" + name.upper().replace("-", "_"))
        # PEP 3333 passes bytes on as Latin-1.
        return value if value is None else value.encode("latin-1").decode("utf-8", "replace")

    @property
    def query(self) -> Mapping[str, str]:
        """
        The query's fields. They choose what is shown, never what is done.
        """
        return dict(parse_qsl(self.environ.get("QUERY_STRING", ""), errors="replace"))

    def form(self) -> Mapping[str, str]:
        """
        Read the form that was posted.

        Raises:
            BadRequest: It is none, too large, or not UTF-8.
        """
        kind: str = self.environ.get("CONTENT_TYPE", "")
        if kind.partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
            raise BadRequest(HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
        length: str = self.environ.get("CONTENT_LENGTH") or ""
        if not (length.isascii() and length.isdigit()):
            raise BadRequest(HTTPStatus.LENGTH_REQUIRED)
        # Digits are counted first: int() takes its time over thousands of them.
        if len(length) > len(str(FORM_BYTES)) or int(length) > FORM_BYTES:
            raise BadRequest(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        content: bytes = self.environ["wsgi.input"].read(int(length))
        try:
            return dict(
                parse_qsl(
                    content.decode("ascii"),
                    keep_blank_values=True,
                    errors="strict",
                    max_num_fields=_FORM_FIELDS,
                )
            )
        except ValueError:
            raise BadRequest(HTTPStatus.BAD_REQUEST) from None
