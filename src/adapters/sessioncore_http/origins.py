"""
Who caused a request: one of our own pages, or another site's.

A browser sends our cookie with requests that other sites' pages cause; that is
cross-site request forgery (CWE-352). Browsers also say who caused a request, in
``Sec-Fetch-Site`` and ``Origin``, which no page can forge. The rules, first that applies:

1.  What changes nothing may come from anywhere. A WebSocket handshake is a GET and still
    not of that kind.
2.  An ``Origin`` that is configured, our own or a trusted one, is accepted.
3.  A path that was exempted, with a reason, may be posted to from anywhere.
4.  ``Sec-Fetch-Site: same-origin`` is accepted, unless ``Origin`` names somebody else: then
    our name was made to point elsewhere, or this server is reached by a name that it was
    not told ("DNS rebinding").
5.  ``Sec-Fetch-Site: none`` is accepted: a person did it, from the address bar, say. Not
    with an ``Origin`` of somebody else, which no browser sends.
6.  Any other ``Sec-Fetch-Site``, ``same-site`` included, is refused, and so is one that no
    standard knows.
7.  Without ``Sec-Fetch-Site``, any ``Origin`` that is not configured is refused, ``null`` too.
8.  Without either, the request was caused by no browser of this decade. It is accepted if it
    brings no cookie of ours, and refused if it does.

They hold for signing in, too: else a foreign page could sign somebody in as the attacker.
And what must never be done at another site's wish, such as signing out, is refused under
rules 4 to 7 also where an application does it in answer to a GET (ASVS 5 3.5.3).

The order is that of Go's ``net/http.CrossOriginProtection``, made stricter in two ways:
scheme, host and port are compared with what is *configured* rather than with the ``Host``
header, and rule 8 refuses a cookie without evidence (ADR-0028; OWASP CSRF Prevention Cheat
Sheet, "Fetch Metadata"; ASVS 5 3.5.1 to 3.5.3).
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from attrs import field, frozen

from sessioncore_http.errors import UnsafeConfiguration

if TYPE_CHECKING:
    from sessioncore_http.head import RequestHead

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_ORIGIN: Final = re.compile(
    r"(?P<scheme>https?)://(?P<host>[a-z0-9._-]{1,253}|\[[0-9a-f:.]{2,45}\])(?::(?P<port>[0-9]{1,5}))?",
    re.ASCII,
)
_LOOPBACK: Final = re.compile(r"localhost|.*\.localhost|127(\.[0-9]{1,3}){3}|\[::1\]", re.ASCII)


@frozen
class Origin:
    """
    A scheme, a host and a port (RFC 6454): what browsers keep apart.
    """

    scheme: str
    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Origin | None:
        """
        Read an origin as browsers write it, in lower case and without a path.

        >>> Origin.parse("https://shop.example") == Origin("https", "shop.example", 443)
        True
        >>> Origin.parse("null") is None
        True
        """
        match = _ORIGIN.fullmatch(text)
        if match is None:
            return None
        scheme, host, port = match.group("scheme", "host", "port")
        number = _DEFAULT_PORTS[scheme] if port is None else int(port)
        return cls(scheme, host, number) if 1 <= number <= 65_535 else None

    @property
    def is_loopback(self) -> bool:
        """
        Whether it is this computer, which browsers trust without TLS.
        """
        return _LOOPBACK.fullmatch(self.host) is not None

    def __str__(self) -> str:
        port = "" if self.port == _DEFAULT_PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{self.host}{port}"


class CrossOriginRule(enum.Enum):
    """
    Which rule decided about a request.
    """

    CHANGES_NOTHING = "changes nothing"
    CONFIGURED_ORIGIN = "configured origin"
    EXEMPTED_PATH = "exempted path"
    SAME_ORIGIN = "same origin"
    USER_INITIATED = "user initiated"
    NO_BROWSER = "no browser and no cookie"
    SITE_CONTRADICTS_ORIGIN = "Sec-Fetch-Site contradicts Origin"
    CROSS_ORIGIN = "cross origin"
    FOREIGN_ORIGIN = "foreign origin"
    NO_EVIDENCE = "a cookie, and no evidence of where it comes from"

    @property
    def allows(self) -> bool:
        """
        Whether the request goes on.
        """
        return self in _ALLOWING

    @property
    def proves_another_site(self) -> bool:
        """
        Whether it is known that another site's page caused the request.
        """
        return not self.allows and self is not CrossOriginRule.NO_EVIDENCE


_ALLOWING: Final = frozenset(
    {
        CrossOriginRule.CHANGES_NOTHING,
        CrossOriginRule.CONFIGURED_ORIGIN,
        CrossOriginRule.EXEMPTED_PATH,
        CrossOriginRule.SAME_ORIGIN,
        CrossOriginRule.USER_INITIATED,
        CrossOriginRule.NO_BROWSER,
    }
)


def _origins(texts: Iterable[str]) -> frozenset[Origin]:
    if isinstance(texts, str):
        raise UnsafeConfiguration("origins: several, in a list, and not one str")
    return frozenset(_configured(text) for text in texts)


def _configured(text: str) -> Origin:
    if text.strip() in {"*", "null"}:
        raise UnsafeConfiguration(
            f"origins: {text.strip()!r} would let every site act for whoever is signed in, "
            "and read the answers; name the origins, one by one"
        )
    # As a person writes it: browsers know one spelling only.
    origin = Origin.parse(text.strip().lower().removesuffix("/"))
    if origin is None:
        raise UnsafeConfiguration(
            f"origins: {text!r} is not like https://shop.example or http://127.0.0.1:8000 "
            "(no path, no wildcard, international names in their ASCII form)"
        )
    return origin


def _reasons(exempted: Mapping[str, str]) -> Mapping[str, str]:
    if not isinstance(exempted, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise UnsafeConfiguration("exempted_paths: a reason for each path, as in {path: reason}")
    for path, reason in exempted.items():
        if not path.startswith("/") or not reason.strip():
            raise UnsafeConfiguration(
                f"exempted_paths: {path!r} needs to be a whole path, with a reason"
            )
    return MappingProxyType(dict(exempted))


@frozen(kw_only=True)
class CrossOriginGuard:
    """
    Decides who may cause a request that changes something.

    Raises:
        UnsafeConfiguration: An origin that is none, such as ``*``; no origin at all; a path
            exempted without a reason.
    """

    origins: frozenset[Origin] = field(converter=_origins)
    """Where our own pages are, in the address bar: ``https://shop.example``."""

    trusted_origins: frozenset[Origin] = field(converter=_origins, default=frozenset[Origin]())
    """Where other pages are that may act for whoever is signed in: a front end of its own."""

    exempted_paths: Mapping[str, str] = field(converter=_reasons, factory=dict[str, str])
    """Paths that other sites' pages have to post to, such as the return address of a
    sign-in by SAML, each with the reason. What is posted there must prove itself otherwise."""

    def __attrs_post_init__(self) -> None:
        if not self.origins:
            raise UnsafeConfiguration("origins: at least one, where the pages are")

    def judge(self, head: RequestHead, *, brings_cookie: bool) -> CrossOriginRule:
        """
        Say which rule decides about a request, and so whether it goes on.

        Args:
            head: The request.

            brings_cookie: Whether it brings a cookie of our name, or one of the library
                before this one, whatever its value.
        """
        if not head.changes_something:
            return CrossOriginRule.CHANGES_NOTHING
        return self.judge_change(head, brings_cookie=brings_cookie)

    def judge_change(self, head: RequestHead, *, brings_cookie: bool) -> CrossOriginRule:
        """
        The same for what changes something, whatever the method of the request says.
        """
        if head.origin is not None and self.trusts(head.origin):
            return CrossOriginRule.CONFIGURED_ORIGIN
        if head.path in self.exempted_paths:
            return CrossOriginRule.EXEMPTED_PATH
        # A page under "Referrer-Policy: no-referrer" posts to itself with "null".
        names_another = head.origin not in {None, "null"}
        match head.fetch_site:
            case "same-origin" | "none" if names_another:
                return CrossOriginRule.SITE_CONTRADICTS_ORIGIN
            case "same-origin":
                return CrossOriginRule.SAME_ORIGIN
            case "none":
                return CrossOriginRule.USER_INITIATED
            case str():
                return CrossOriginRule.CROSS_ORIGIN
            case None if head.origin is not None:
                return CrossOriginRule.FOREIGN_ORIGIN
            case None if brings_cookie:
                return CrossOriginRule.NO_EVIDENCE
            case None:
                return CrossOriginRule.NO_BROWSER

    def trusts(self, origin: str) -> bool:
        """
        Tell whether pages of *origin*, the text of a header, may act and read here.
        """
        parsed = Origin.parse(origin)
        return parsed in self.origins or parsed in self.trusted_origins
