"""
Who takes part, and with which settings.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from benchmarks.races.peers import (
    aiohttp_peer,
    beaker_peer,
    django_peer,
    flask_peer,
    litestar_peer,
    sessioncore_peer,
    starsessions_peer,
)
from sessioncore import OnLimit

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from benchmarks.races.peer import OpensPeer, Peer
    from benchmarks.races.server import Server


@dataclass(frozen=True)
class Entrant:
    """
    One row of the table.
    """

    name: str
    opens: OpensPeer
    settings: dict[str, Any] = field(default_factory=dict[str, Any])

    def opened_on(self, server: Server) -> AbstractContextManager[Peer]:
        """
        Start its app on *server*, and stop it in the end.
        """
        return self.opens(server, **self.settings)


AT_DEFAULTS: Final = (
    Entrant("Flask-Session", flask_peer.flask_session),
    Entrant("Django `cache`", django_peer.django, {"engine": "cache"}),
    Entrant("Django `cached_db`", django_peer.django, {"engine": "cached_db"}),
    Entrant("Django `db`", django_peer.django, {"engine": "db"}),
    Entrant("starsessions", starsessions_peer.starsessions),
    Entrant("Litestar", litestar_peer.litestar),
    Entrant("aiohttp-session", aiohttp_peer.aiohttp_session),
    Entrant("Beaker", beaker_peer.beaker),
    Entrant("sessioncore", sessioncore_peer.sessioncore),
)
"""Each library with the settings that it has if one changes none."""

WITH_SETTINGS: Final = (
    Entrant(
        "Flask-Session, `SESSION_REFRESH_EACH_REQUEST=False`",
        flask_peer.flask_session,
        {"SESSION_REFRESH_EACH_REQUEST": False},
    ),
    Entrant(
        "Django `cache`, `SESSION_SAVE_EVERY_REQUEST=True`",
        django_peer.django,
        {"engine": "cache", "SESSION_SAVE_EVERY_REQUEST": True},
    ),
    Entrant("Beaker, `secret` set", beaker_peer.beaker, {"secret": "races"}),
    Entrant(
        "Beaker, `save_accessed_time=False`",
        beaker_peer.beaker,
        {"save_accessed_time": False},
    ),
    Entrant(
        "sessioncore, `on_limit=OnLimit.REJECT`",
        sessioncore_peer.sessioncore,
        {"on_limit": OnLimit.REJECT},
    ),
    Entrant(
        "sessioncore, a number read and put back",
        sessioncore_peer.sessioncore,
        {"puts_back": True},
    ),
)
"""Settings, and ways of use, from which one might expect another result."""

PACKAGES: Final = tuple(
    dict.fromkeys(
        package
        for module in (
            flask_peer,
            django_peer,
            starsessions_peer,
            litestar_peer,
            aiohttp_peer,
            beaker_peer,
        )
        for package in module.PACKAGES
    )
)
"""The distributions whose versions decide the results."""
