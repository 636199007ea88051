"""
The app that runs on every web framework, and how its requests are made.

It has one page, and the query string says what to do there. What a framework's
own module adds is how its session is read and changed: a :class:`Visit`. Requests
are made in this process through WSGI and ASGI themselves, with no client
between that would hide a cookie or repeat anything.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from http.cookies import SimpleCookie
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast
from urllib.parse import parse_qsl, urlencode
from wsgiref.util import setup_testing_defaults

from benchmarks.races.gates import PATIENCE_SECONDS, Gate, Where, arm
from benchmarks.races.peer import Answer, NotOffered

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator, Iterable, MutableMapping
    from contextlib import AbstractAsyncContextManager

T = TypeVar("T")

USER = "user"
"""The key under which an app without a notion of signing in keeps whose session it is."""


@dataclass(frozen=True)
class Order:
    """
    What a request asks the app to do.
    """

    action: str
    user: str = ""
    key: str = ""
    value: str = ""
    fresh_id: bool = False
    gate: int = 0

    def query(self) -> str:
        """
        Return it as a query string.
        """
        return urlencode({name: value for name, value in asdict(self).items() if value})

    @classmethod
    def parse(cls, query: str) -> Order:
        """
        Read what :meth:`query` returned.
        """
        fields = dict(parse_qsl(query))
        return cls(
            action=fields["action"],
            user=fields.get("user", ""),
            key=fields.get("key", ""),
            value=fields.get("value", ""),
            fresh_id="fresh_id" in fields,
            gate=int(fields.get("gate", "0")),
        )


class Visit:
    """
    A request as the app's code sees it: the session, and what can be done with it.

    For a library whose session is a mapping and nothing else; others override
    what they have a better way for.

    Args:
        data: The session's data.
    """

    def __init__(self, data: MutableMapping[str, Any]) -> None:
        self.data = data

    def user(self) -> str:
        """
        Return whose session it is; empty if nobody's.
        """
        return str(self.data.get(USER, ""))

    def verify(self, user: str) -> None:
        """
        Check the password. For most peers that is the app's own business.
        """

    def sign_in(self, user: str) -> None:
        """
        Make it *user*'s session.
        """
        self.data[USER] = user

    def fresh_id(self) -> None:
        """
        Do what the library documents against session fixation.
        """
        raise NotOffered

    def sign_out(self) -> None:
        """
        End the session.
        """
        self.data.clear()

    def renew(self) -> None:
        """
        Replace the session id and keep the data.
        """
        raise NotOffered

    def changed(self) -> None:
        """
        Say that the data was changed, where a library wants to be told.
        """


def act(order: Order, visit: Visit) -> Generator[None, None, str]:
    """
    Do what *order* says. It yields once: when all was read and nothing was changed.

    Returns:
        The page: whose session it was, and the value that was asked for.
    """
    arm(None)
    user, value = visit.user(), visit.data.get(order.key, "")
    if order.action == "login":
        visit.verify(order.user)
        yield
        if order.fresh_id:
            visit.fresh_id()
        visit.sign_in(order.user)
        user = order.user
    else:
        yield
    match order.action:
        case "logout":
            visit.sign_out()
        case "put":
            visit.data[order.key] = order.value
        case "increment":
            visit.data[order.key] = int(value or 0) + 1
        case "renew":
            visit.renew()
        case _:
            pass
    if order.action not in {"whoami", "get"}:
        visit.changed()
    if (gate := Gate.find(order.gate)) and gate.where is Where.WRITE:
        arm(gate)
    return urlencode({"user": user, "text": value})


def serve(order: Order, visit: Visit) -> str:
    """
    Run :func:`act` in a thread.
    """
    steps = act(order, visit)
    next(steps)
    if (gate := Gate.find(order.gate)) and gate.where is Where.VIEW:
        gate.hold()
    return _last(steps)


async def serve_async(order: Order, visit: Visit) -> str:
    """
    Run :func:`act` in a task.
    """
    steps = act(order, visit)
    next(steps)
    if (gate := Gate.find(order.gate)) and gate.where is Where.VIEW:
        await asyncio.to_thread(gate.hold)
    return _last(steps)


def _last(steps: Generator[None, None, str]) -> str:
    try:
        next(steps)
    except StopIteration as end:
        return cast("str", end.value)
    raise AssertionError("the app's code stops only once")


class WebPeer:
    """
    A peer whose requests go through a web framework.

    Args:
        send: Makes a request with a query string and a ``Cookie`` header, and
            returns status, ``Set-Cookie`` headers and page.

        cookie_name: What the session cookie is called.

        new_id: Makes up an id of the library's own kind.

        renews: Whether the library can replace the id of a session.

        has_fresh_id: Whether it documents something against session fixation.
    """

    _numbers: ClassVar = itertools.count(1)

    def __init__(
        self,
        send: Callable[[str, str], tuple[int, list[str], str]],
        *,
        cookie_name: str,
        new_id: Callable[[], str],
        renews: bool,
        has_fresh_id: bool,
    ) -> None:
        self._send = send
        self._cookie_name = cookie_name
        self._renews = renews
        self._has_fresh_id = has_fresh_id
        self.foreign_id = new_id

    def _request(self, order: Order, cookie: str | None) -> Answer:
        header = f"{self._cookie_name}={cookie}" if cookie else ""
        status, set_cookies, page = self._send(order.query(), header)
        fields = dict(parse_qsl(page)) if status < 400 else {}
        kept = [morsel for text in set_cookies for morsel in self._morsels(text)]
        return Answer(
            status=status,
            user=fields.get("user", ""),
            text=fields.get("text", ""),
            cookie=kept[-1] if kept else None,
        )

    def _morsels(self, text: str) -> Iterable[str]:
        for name, morsel in SimpleCookie(text).items():
            if name == self._cookie_name:
                # Some delete a cookie by a value that stands for none, some by its age.
                is_gone = morsel.value in {"", "''", "null"} or morsel["max-age"] == "0"
                yield "" if is_gone else morsel.value

    @property
    def session_limit(self) -> int:
        """
        See :attr:`Peer.session_limit`.
        """
        raise NotOffered

    def enrol(self) -> str:
        """
        See :meth:`Peer.enrol`.
        """
        return f"user{next(self._numbers)}"

    def login(
        self,
        user: str,
        cookie: str | None = None,
        *,
        fresh_id: bool = False,
        gate: Gate | None = None,
    ) -> Answer:
        """
        See :meth:`Peer.login`.
        """
        if fresh_id and not self._has_fresh_id:
            raise NotOffered
        order = Order("login", user=user, fresh_id=fresh_id, gate=gate.number if gate else 0)
        return self._request(order, cookie)

    def logout(self, cookie: str) -> Answer:
        """
        See :meth:`Peer.logout`.
        """
        return self._request(Order("logout"), cookie)

    def whoami(self, cookie: str, gate: Gate | None = None) -> Answer:
        """
        See :meth:`Peer.whoami`.
        """
        return self._request(Order("whoami", gate=gate.number if gate else 0), cookie)

    def put(self, cookie: str | None, key: str, value: str, gate: Gate | None = None) -> Answer:
        """
        See :meth:`Peer.put`.
        """
        order = Order("put", key=key, value=value, gate=gate.number if gate else 0)
        return self._request(order, cookie)

    def get(self, cookie: str, key: str) -> Answer:
        """
        See :meth:`Peer.get`.
        """
        return self._request(Order("get", key=key), cookie)

    def increment(self, cookie: str, key: str, gate: Gate | None = None) -> Answer:
        """
        See :meth:`Peer.increment`.
        """
        order = Order("increment", key=key, gate=gate.number if gate else 0)
        return self._request(order, cookie)

    def renew(self, cookie: str) -> Answer:
        """
        See :meth:`Peer.renew`.
        """
        if not self._renews:
            raise NotOffered
        return self._request(Order("renew"), cookie)

    def rotate(self, cookie: str) -> Answer:
        """
        See :meth:`Peer.rotate`. No peer has two ways.
        """
        return self.renew(cookie)

    def outlast_grace(self) -> None:
        """
        See :meth:`Peer.outlast_grace`. No peer has any.
        """

    def change_password(self, _user: str, /) -> None:
        """
        See :meth:`Peer.change_password`.
        """
        raise NotOffered

    def logout_everywhere(self, _user: str, /) -> None:
        """
        See :meth:`Peer.logout_everywhere`.
        """
        raise NotOffered


def through_wsgi(app: Any) -> Callable[[str, str], tuple[int, list[str], str]]:
    """
    Return what makes requests to a WSGI app, each in the calling thread.
    """

    def send(query: str, cookie: str) -> tuple[int, list[str], str]:
        environ: dict[str, Any] = {"QUERY_STRING": query, "PATH_INFO": "/"}
        setup_testing_defaults(environ)
        if cookie:
            environ["HTTP_COOKIE"] = cookie
        started: list[tuple[int, list[str]]] = []

        def start_response(status: str, headers: list[tuple[str, str]], _error: Any = None) -> None:
            set_cookies = [value for name, value in headers if name.lower() == "set-cookie"]
            started.append((int(status.split(maxsplit=1)[0]), set_cookies))

        body = app(environ, start_response)
        try:
            page = b"".join(body).decode()
        finally:
            if hasattr(body, "close"):
                body.close()
        return *started[-1], page

    return send


def through_asgi(loop: Loop, app: Any) -> Callable[[str, str], tuple[int, list[str], str]]:
    """
    Return what makes requests to an ASGI app, each in a task of *loop*.
    """

    async def send_async(query: str, cookie: str) -> tuple[int, list[str], str]:
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": "/",
            "raw_path": b"/",
            "root_path": "",
            "query_string": query.encode(),
            "headers": [(b"host", b"testserver"), *([(b"cookie", cookie.encode())] * bool(cookie))],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
            "state": {},
        }
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        await app(scope, receive, send)
        set_cookies = [
            value.decode() for name, value in sent[0]["headers"] if name.lower() == b"set-cookie"
        ]
        page = b"".join(message.get("body", b"") for message in sent[1:])
        return int(sent[0]["status"]), set_cookies, page.decode()

    return lambda query, cookie: loop.run(send_async(query, cookie))


class Loop:
    """
    An event loop in a thread, for apps that live in one.
    """

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        # Held requests stand in its threads; by default there may be too few.
        self._loop.set_default_executor(ThreadPoolExecutor(16))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """
        Run *work* in a task of the loop, and wait for it.
        """
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE_SECONDS)

    @contextmanager
    def entered(self, manager: AbstractAsyncContextManager[T]) -> Generator[T, None, None]:
        """
        Enter *manager* in the loop, and leave it in the end.
        """
        entered = self.run(manager.__aenter__())
        try:
            yield entered
        finally:
            self.run(manager.__aexit__(None, None, None))

    @classmethod
    @contextmanager
    def running(cls) -> Generator[Loop, None, None]:
        """
        Run a loop, and close it in the end.
        """
        loop = cls()
        thread = threading.Thread(target=loop._loop.run_forever, daemon=True)
        thread.start()
        try:
            yield loop
        finally:
            loop.run(loop._loop.shutdown_default_executor())
            loop._loop.call_soon_threadsafe(loop._loop.stop)
            thread.join(PATIENCE_SECONDS)
            loop._loop.close()
