"""
What the edge reads of a request: a few headers, and nothing of the body.
"""

from __future__ import annotations

from attrs import field, frozen

from sessioncore import Device

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing (RFC 9110, section 9.2.1), but TRACE, which no application needs."""


@frozen(kw_only=True)
class RequestHead:
    """
    One request, as far as sessions are concerned. Whatever is in it came from the network.
    """

    method: str
    """In capitals, as servers pass it on."""

    path: str
    """Decoded, without the query."""

    target: str = field(repr=False)
    """Path and query as the client sent them, percent-encoded; what ``next`` leads back to."""

    cookies: tuple[str, ...] = field(repr=False, default=())
    """Every ``Cookie`` header. HTTP/2 may split one into many (RFC 9113, section 8.2.3)."""

    origin: str | None = None
    fetch_site: str | None = None
    """``Sec-Fetch-Site``."""

    fetch_mode: str | None = None
    """``Sec-Fetch-Mode``."""

    accept: str = ""
    token: str | None = field(repr=False, default=None)
    """The header in which scripts send the synchroniser token."""

    user_agent: str | None = None
    address: str | None = None
    """Who connected. Behind a proxy it is the proxy, unless the server was told to trust it."""

    is_websocket: bool = False
    """Whether this is the handshake of a WebSocket: a GET that opens a way to change things."""

    @property
    def device(self) -> Device:
        """
        What a session list shows of the client.
        """
        return Device(address=self.address, user_agent=self.user_agent)

    @property
    def changes_something(self) -> bool:
        """
        Whether this request may have effects, so that it matters who caused it.
        """
        return self.is_websocket or self.method not in SAFE_METHODS

    @property
    def wants_page(self) -> bool:
        """
        Whether somebody looks at the answer in a browser window, rather than a program.
        """
        if self.fetch_mode is not None:
            return self.fetch_mode == "navigate"
        return "text/html" in self.accept.lower()
