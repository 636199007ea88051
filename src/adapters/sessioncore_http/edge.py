"""
The settings of the edge, in one place.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Final

from attrs import Factory, field, frozen

from sessioncore_http.cookies import SessionCookie
from sessioncore_http.errors import UnsafeConfiguration
from sessioncore_http.origins import CrossOriginGuard
from sessioncore_http.problems import Renderer, render
from sessioncore_http.redirects import safe_target
from sessioncore_http.tokens import SynchronizerToken

if TYPE_CHECKING:
    from typing import Any

    from attrs import Attribute

CLEARABLE: Final = frozenset({"cache", "storage", "executionContexts"})
"""What a sign-out may ask browsers to clear. Not ``cookies``: those of other applications
on the same domain would go, too, and ours is deleted by name."""


def _own_path(_edge: Edge, attribute: Attribute[Any], path: str | None) -> None:
    if path is not None and not safe_target(path, ""):
        raise UnsafeConfiguration(f"{attribute.name}: a path of this site, such as /sign-in")


def _clearable(_edge: Edge, attribute: Attribute[Any], types: Collection[str]) -> None:
    if isinstance(types, str) or not CLEARABLE.issuperset(types):
        raise UnsafeConfiguration(f"{attribute.name}: any of {', '.join(sorted(CLEARABLE))}")


@frozen(kw_only=True)
class Edge:
    """
    How HTTP requests and responses carry sessions. Safe by default; only *origins* is needed.

    >>> Edge(origins=["https://shop.example"], sign_in_path="/sign-in").cookie.name
    '__Host-session'

    Raises:
        UnsafeConfiguration: A setting is weaker than it may be, or contradicts another one
            or what browsers do.
    """

    origins: Collection[str]
    """Where the site's own pages are, as in the address bar: ``https://shop.example``."""

    trusted_origins: Collection[str] = ()
    """See :attr:`CrossOriginGuard.trusted_origins`."""

    exempted_paths: Mapping[str, str] = field(factory=dict[str, str])
    """See :attr:`CrossOriginGuard.exempted_paths`."""

    cookie: SessionCookie = field(factory=SessionCookie)
    """The session cookie's name and attributes."""

    sign_in_path: str | None = field(default=None, validator=_own_path)
    """Where windows go that need somebody who is signed in; ``None``: they get a 401."""

    step_up_path: str | None = field(default=None, validator=_own_path)
    """Where windows go that need a recent proof of identity; ``None``: they get a 401."""

    clear_site_data: Collection[str] = field(default=("cache",), validator=_clearable)
    """What browsers are asked to clear at a confirmed sign-out (``Clear-Site-Data``, ASVS 5
    14.3.1): ``cache``, ``storage``; empty for nothing. Without ``cache``, "back" may show the
    page that signing in led to, ``no-store`` or not: Chromium 156 keeps it in memory."""

    token: SynchronizerToken | None = None
    """Asks for a synchroniser token as well, wherever a session is used to change something."""

    render: Renderer = render
    """Makes the pages and the JSON of refusals and outages."""

    guard: CrossOriginGuard = field(
        init=False,
        default=Factory(
            lambda edge: CrossOriginGuard(
                origins=edge.origins,
                trusted_origins=edge.trusted_origins,
                exempted_paths=edge.exempted_paths,
            ),
            takes_self=True,
        ),
    )
    """Decides who may cause requests that change something, by the settings above."""

    def __attrs_post_init__(self) -> None:
        domain = self.cookie.domain
        for origin in self.guard.origins:
            if self.cookie.secure and origin.scheme == "http" and not origin.is_loopback:
                raise UnsafeConfiguration(
                    f"browsers keep no Secure cookie of {origin}: serve it over https, or say "
                    "in the cookie's weaker_because why it cannot be Secure"
                )
            if domain is not None and not f".{origin.host}".endswith(f".{domain}"):
                raise UnsafeConfiguration(f"browsers take no cookie for {domain} from {origin}")
        for origin in self.guard.trusted_origins:
            if self.cookie.secure and origin.scheme == "http" and not origin.is_loopback:
                raise UnsafeConfiguration(
                    f"trusted_origins: whoever is in the network can write the pages of {origin}"
                )
