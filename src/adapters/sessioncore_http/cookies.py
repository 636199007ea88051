"""
The session cookie: how it is found in a request and written into a response.

The standard library's parser is not used. ``http.cookies`` keeps the last of two
cookies with one name without a word, gives up on the whole header at one character it
dislikes, and takes off quotes, so that one cookie has several spellings (ADR-0027).
"""

from __future__ import annotations

import enum
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from attrs import field, frozen

from sessioncore_http.errors import UnsafeConfiguration

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sessioncore import SessionId

# A token by RFC 9110, section 5.6.2, which is what RFC 6265 asks a name to be.
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}", re.ASCII)
# Browsers pass over an attribute of more than 1024 octets (RFC 6265bis, section 5.6).
_PATH: Final = re.compile(r"/[!-:<-~]{0,1023}", re.ASCII)
_DOMAIN: Final = re.compile(r"(?=.{1,253}\Z)[a-z0-9]([a-z0-9.-]*[a-z0-9])?", re.ASCII)

LONGEST: Final = timedelta(days=400)
"""Browsers keep no cookie longer (RFC 6265bis, section 5.5)."""


class SameSite(enum.Enum):
    """
    Whether browsers send the cookie with requests that other sites' pages cause.
    """

    LAX = "Lax"
    """Only when somebody follows a link to this site."""

    STRICT = "Strict"
    """Never; who follows a link from elsewhere looks signed out on the first page."""

    NONE = "None"
    """Always. For a front end on another site, and for nothing else."""


@frozen
class Presented:
    """
    What a request brought of our cookie.
    """

    text: str | None = field(repr=False)
    """Whatever it is, and ``None`` if there is none, or if there are two that differ."""

    is_ambiguous: bool = False
    """Whether there are two that differ: nobody can say whose they are."""


@frozen(kw_only=True)
class SessionCookie:
    """
    The name and the attributes of the session cookie.

    ``HttpOnly`` is always there: no script has any business with it (ASVS 5 3.3.4).

    Raises:
        UnsafeConfiguration: Weaker than the default, and *weaker_because* is empty; or a
            combination that browsers refuse.
    """

    name: str = "__Host-session"
    """The prefix has browsers see to it that the cookie came from this very host over a
    secure connection, and from no subdomain (RFC 6265bis, section 4.1.3; ASVS 5 3.3.3)."""

    same_site: SameSite = SameSite.LAX
    secure: bool = True
    partitioned: bool = False
    """Whether each top-level site has a cookie jar of its own for us (CHIPS). To switch this on
    or off for a site in use, take another *name* as well: browsers keep the cookie from before
    beside the new one, and two that differ are nobody's."""

    path: str = "/"
    domain: str | None = None
    weaker_because: str = ""
    """Why the cookie is weaker than ``__Host-...; Secure; SameSite=Lax; Path=/``."""

    def __attrs_post_init__(self) -> None:
        if _NAME.fullmatch(self.name) is None:
            raise UnsafeConfiguration("name: a token of 1 to 64 ASCII characters")
        if _PATH.fullmatch(self.path) is None:
            raise UnsafeConfiguration(
                "path: at most 1024 visible ASCII characters, / first, and no ;"
            )
        if self.domain is not None and _DOMAIN.fullmatch(self.domain) is None:
            raise UnsafeConfiguration("domain: a host name in lower-case ASCII")
        self._check_what_browsers_refuse()
        if self._weaknesses() and not self.weaker_because.strip():
            raise UnsafeConfiguration(
                f"the session cookie has {', '.join(self._weaknesses())}; say why in weaker_because"
            )

    def _check_what_browsers_refuse(self) -> None:
        name = self.name.lower()  # browsers compare the prefix in any case
        if name.startswith("__host-") and not (
            self.secure and self.path == "/" and self.domain is None
        ):
            raise UnsafeConfiguration("__Host- needs Secure, Path=/ and no Domain")
        if name.startswith(("__secure-", "__http-")) and not self.secure:
            raise UnsafeConfiguration("__Secure- and __Http- need Secure")
        if self.same_site is SameSite.NONE and not self.secure:
            raise UnsafeConfiguration("SameSite=None needs Secure")
        if self.partitioned and not self.secure:
            raise UnsafeConfiguration("Partitioned needs Secure")

    def _weaknesses(self) -> list[str]:
        found = {
            "no prefix __Host-": not self.name.startswith("__Host-"),
            "no Secure": not self.secure,
            "SameSite=None": self.same_site is SameSite.NONE,
            "a Domain": self.domain is not None,
        }
        return [weakness for weakness, is_there in found.items() if is_there]

    def presented(self, headers: Iterable[str]) -> Presented:
        """
        Find this cookie in the ``Cookie`` headers of a request.

        Names are compared exactly: ``__host-session`` is somebody else's. A value is taken
        as it stands, quotes included: whether it is an id is for the service to say.

        >>> SessionCookie().presented(["theme=dark; __Host-session=abc"]).text
        'abc'
        """
        found = _values_of(self.name, headers)
        if len(found) > 1:
            return Presented(None, is_ambiguous=True)
        return Presented(found.pop() if found else None)

    def written(self, session_id: SessionId, persist_for: timedelta | None) -> str:
        """
        Return the value of a ``Set-Cookie`` header that brings *session_id*.

        Args:
            session_id: What to bring.

            persist_for: How long a browser may keep it; ``None``: until it closes.
        """
        cookie = f"{self.name}={session_id.reveal()}; {self._attributes}"
        if persist_for is None:
            return cookie
        # Never zero, which deletes, not even in the session's last second.
        seconds = max(1, int(min(persist_for, LONGEST).total_seconds()))
        return f"{cookie}; Max-Age={seconds}"

    def deleted(self) -> str:
        """
        Return the value of a ``Set-Cookie`` header that takes the cookie away.

        With the attributes that it was written with: another path, domain or partition
        would name another cookie.
        """
        return f"{self.name}=; {self._attributes}; Max-Age=0"

    def is_written_by(self, set_cookie: str) -> bool:
        """
        Tell whether a ``Set-Cookie`` header's value writes a cookie of this name.
        """
        return set_cookie.partition("=")[0].strip(" \t") == self.name

    @property
    def _attributes(self) -> str:
        parts = [f"Path={self.path}"]
        if self.domain is not None:
            parts.append(f"Domain={self.domain}")
        if self.secure:
            parts.append("Secure")
        parts += ["HttpOnly", f"SameSite={self.same_site.value}"]
        if self.partitioned:
            parts.append("Partitioned")
        return "; ".join(parts)


def is_brought(name: str, headers: Iterable[str]) -> bool:
    """
    Tell whether a request brings a cookie of that name, whatever its value.
    """
    return bool(_values_of(name, headers))


def old_cookie(name: str, headers: Iterable[str]) -> str | None:
    """
    Find a cookie of another library; ``None`` if there is none, or if there are two that differ.

    Quotes are taken off, as the libraries that wrote such cookies did.
    """
    found = _values_of(name, headers)
    if len(found) != 1:
        return None
    value = found.pop()
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value


def _values_of(name: str, headers: Iterable[str]) -> set[str]:
    found: set[str] = set()
    for header in headers:
        if name not in header:
            continue
        for pair in header.split(";"):
            one, separator, value = pair.partition("=")
            if separator and one.strip(" \t") == name:
                found.add(value.strip(" \t"))
    return found
