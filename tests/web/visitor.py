"""
A browser, as far as cookies and the headers of requests are concerned, and a program.

The standard library's cookie jar keeps no Secure cookie of plain loopback, which browsers
do (Secure Contexts, section 3.1), and it knows nothing of ``__Host-``.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from servers.local import PATIENCE_SECONDS

COOKIE: Final = "__Host-session"
FIREFOX: Final = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
_REDIRECTS: Final = {301, 302, 303, 307, 308}


@dataclass(frozen=True)
class Answer:
    """
    A response.
    """

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def all(self, name: str) -> list[str]:
        """
        The values of every header of that name.
        """
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def one(self, name: str) -> str | None:
        """
        The value of the only header of that name, or ``None``.
        """
        values = self.all(name)
        assert len(values) <= 1, f"{name} is there {len(values)} times"
        return values[0] if values else None

    def listed(self, name: str) -> set[str]:
        """
        The members of a header that is a list, in lower case.
        """
        members = ",".join(self.all(name)).split(",")
        return {member.strip().lower() for member in members} - {""}

    @property
    def session_cookies(self) -> list[SetCookie]:
        """
        What it does to our cookie.
        """
        parsed = [SetCookie.parse(value) for value in self.all("Set-Cookie")]
        return [cookie for cookie in parsed if cookie.name == COOKIE]

    @property
    def session_cookie(self) -> SetCookie | None:
        """
        The same; it is written once or not at all.
        """
        found = self.session_cookies
        return found[0] if found else None

    def leads_to(self, path: str) -> bool:
        """
        Whether it sends a window on to *path* of the same site, with a GET.
        """
        location = self.one("Location")
        if self.status != 303 or location is None:
            return False
        parts = urlsplit(location)
        return f"{parts.path}?{parts.query}" == path if parts.query else parts.path == path


@dataclass(frozen=True)
class SetCookie:
    """
    A ``Set-Cookie`` header, attributes in lower case.
    """

    name: str
    value: str
    attributes: Mapping[str, str]

    @classmethod
    def parse(cls, text: str) -> SetCookie:
        pair, *attributes = text.split(";")
        name, _, value = pair.partition("=")
        parsed: dict[str, str] = {}
        for attribute in attributes:
            key, _, argument = attribute.strip().partition("=")
            assert key.lower() not in parsed, f"{key} is there twice"
            parsed[key.lower()] = argument
        return cls(name.strip(), value.strip().strip('"'), parsed)

    @property
    def deletes(self) -> bool:
        return int(self.attributes.get("max-age", "1")) <= 0

    @property
    def outlives_browser(self) -> bool:
        return "max-age" in self.attributes or "expires" in self.attributes


class Visitor:
    """
    Somebody with a browser, and a cookie jar in it.

    Whatever comes back is checked: no more than one cookie of ours, which a browser keeps
    under its name; and no cache may keep a response that brings one.

    Args:
        origin: The site, such as ``http://127.0.0.1:8000``.

        user_agent: What the browser says it is.
    """

    def __init__(self, origin: str, user_agent: str = FIREFOX) -> None:
        self.origin = origin
        self.user_agent = user_agent
        self.jar: dict[str, SetCookie] = {}

    @property
    def session_id(self) -> str | None:
        """
        What the session cookie holds.
        """
        cookie = self.jar.get(COOKIE)
        return None if cookie is None else cookie.value

    def hold(self, session_id: str) -> None:
        """
        Put something into the session cookie.
        """
        self.jar[COOKIE] = SetCookie(COOKIE, session_id, {})

    def close(self) -> None:
        """
        Close the browser: what is not to be kept is gone.
        """
        self.jar = {name: cookie for name, cookie in self.jar.items() if cookie.outlives_browser}

    # -- As a window ------------------------------------------------------------

    def visit(self, target: str, method: str = "GET") -> Answer:
        """
        Type an address, or follow a link of the site. Redirects are not followed.
        """
        return self.request(method, target, headers=_of_window("same-origin"))

    def submit(self, target: str, **form: str) -> Answer:
        """
        Post a form of the site. Redirects are not followed.
        """
        headers = _of_window("same-origin") | {"Origin": self.origin}
        return self.post(target, form, headers)

    def sign_in(self, password: str, username: str = "alice", **form: str) -> Answer:
        """
        Send the form of the sign-in page.
        """
        return self.submit("/sign-in", username=username, password=password, **form)

    # -- As a script, or a program ----------------------------------------------

    def fetch(self, target: str) -> Answer:
        """
        Ask as a script of the site does.
        """
        headers = {"Accept": "application/json", "Sec-Fetch-Site": "same-origin"}
        return self.request("GET", target, headers=headers | {"Sec-Fetch-Mode": "cors"})

    # -- In any way -------------------------------------------------------------

    def post(
        self, target: str, form: Mapping[str, str], headers: Mapping[str, str] | None = None
    ) -> Answer:
        """
        Post a form with these headers and no others that say who sent it.
        """
        sent = {"Content-Type": "application/x-www-form-urlencoded", **(headers or {})}
        return self.request("POST", target, urlencode(form).encode(), sent)

    def request(
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """
        Send a request with the cookies of the jar, unless *headers* bring others.
        """
        sent = {"User-Agent": self.user_agent}
        if self.jar:
            sent["Cookie"] = "; ".join(f"{c.name}={c.value}" for c in self.jar.values())
        parts = urlsplit(self.origin)
        connection = http.client.HTTPConnection(
            str(parts.hostname), parts.port, timeout=PATIENCE_SECONDS
        )
        try:
            connection.request(method, target, body, sent | dict(headers or {}))
            response = connection.getresponse()
            answer = Answer(response.status, response.getheaders(), response.read())
        finally:
            connection.close()
        self._take(answer)
        return answer

    def _take(self, answer: Answer) -> None:
        check(answer)
        for text in answer.all("Set-Cookie"):
            cookie = SetCookie.parse(text)
            if cookie.deletes:
                self.jar.pop(cookie.name, None)
            else:
                self.jar[cookie.name] = cookie


def check(answer: Answer) -> None:
    """
    Check what holds for every response there is.
    """
    cookies = answer.session_cookies
    assert len(cookies) <= 1, "more than one cookie of ours in a response"
    for cookie in cookies:
        # Else a browser does not take it (RFC 6265bis, section 5.7).
        attributes = cookie.attributes
        assert "secure" in attributes
        assert attributes["path"] == "/"
        assert "domain" not in attributes
        assert "no-store" in answer.listed("Cache-Control")
        assert answer.listed("Vary") & {"cookie", "*"}


def _of_window(site: str) -> dict[str, str]:
    return {
        "Accept": "text/html,application/xhtml+xml,*/*;q=0.8",
        "Sec-Fetch-Site": site,
        "Sec-Fetch-Mode": "navigate",
    }
