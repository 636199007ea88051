"""
Guards for handlers, controllers and routers that need somebody who is signed in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from attrs import frozen

from sessioncore_asgi import session_of

if TYPE_CHECKING:
    from datetime import timedelta

    from litestar.connection import ASGIConnection
    from litestar.handlers import BaseRouteHandler


@frozen(kw_only=True)
class SessionGuard:
    """
    Lets only those in who can prove who they are.

    Others are sent to the sign-in page, or get a 401, or the close code 3000.
    """

    fresh: bool = False
    """Whether the proof has to be a recent one."""

    max_age: timedelta | None = None
    """How old it may be; by default what the session's policy says."""

    async def __call__(
        self, connection: ASGIConnection[Any, Any, Any, Any], _handler: BaseRouteHandler
    ) -> None:
        """
        Ask for the proof.
        """
        session = session_of(connection.scope)
        if self.fresh:
            await session.require_fresh(self.max_age)
        else:
            await session.require()


requires_sign_in: Final = SessionGuard()
"""Lets only those in who are signed in."""


def requires_fresh_proof(max_age: timedelta | None = None) -> SessionGuard:
    """
    Let only those in who have proven lately who they are.

    Args:
        max_age: How old the proof may be; by default what the session's policy says.
    """
    return SessionGuard(fresh=True, max_age=max_age)
