"""
What the settings say: which service, which edge.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, cast

from attrs import frozen
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from sessioncore import AsyncAuthService, AuthService
from sessioncore_http import Edge

if TYPE_CHECKING:
    from sessioncore_http import LegacySessions

SETTING: Final = "SESSIONCORE"
_NAMES: Final = frozenset({"AUTH", "EDGE", "LEGACY"})


@frozen(kw_only=True)
class Configuration:
    """
    The setting ``SESSIONCORE``, with its import paths followed.
    """

    auth: AuthService
    """``AUTH``: the service. Django runs what blocks in threads, so it is never the
    asynchronous one."""

    edge: Edge
    """``EDGE``: cookie, origins, sign-in page."""

    legacy: LegacySessions | None
    """``LEGACY``: the old sessions, while they are moved over (docs/migration.md)."""


def configuration() -> Configuration:
    """
    Read the setting ``SESSIONCORE``, now: tests override settings.

    Raises:
        ImproperlyConfigured: Something is missing, or is something else.
    """
    found: object = getattr(settings, SETTING, None)
    if not isinstance(found, Mapping):
        raise ImproperlyConfigured(f"{SETTING}: a dict with AUTH and EDGE")
    named = cast("Mapping[str, Any]", found)
    unknown = named.keys() - _NAMES
    if unknown:
        raise ImproperlyConfigured(f"{SETTING}: {', '.join(sorted(unknown))} is not known")
    auth, edge = _object(named, "AUTH"), _object(named, "EDGE")
    if isinstance(auth, AsyncAuthService):
        raise ImproperlyConfigured(
            f"{SETTING}: AUTH is an AuthService, under ASGI, too: its calls are made in threads"
        )
    if not isinstance(auth, AuthService):
        raise ImproperlyConfigured(f"{SETTING}: AUTH is an AuthService, or the path to one")
    if not isinstance(edge, Edge):
        raise ImproperlyConfigured(f"{SETTING}: EDGE is an Edge, or the path to one")
    return Configuration(auth=auth, edge=edge, legacy=_object(named, "LEGACY"))


def _object(named: Mapping[str, Any], name: str) -> Any:
    found = named.get(name)
    if not isinstance(found, str):
        return found
    try:
        return import_string(found)
    except ImportError as error:
        raise ImproperlyConfigured(f"{SETTING}: {name}: {error}") from error
