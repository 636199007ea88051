"""
Dependencies for operations and WebSockets that have to do with the session.

FastAPI reads the annotations of this module at run time, so nothing is imported for type
checkers only, and they are not postponed.
"""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Annotated, Any, Final, TypeAlias

from fastapi import Depends
from fastapi.openapi.models import APIKey, APIKeyIn
from fastapi.requests import HTTPConnection
from fastapi.security.base import SecurityBase

from sessioncore import Session
from sessioncore_asgi import session_of
from sessioncore_http import AsyncRequestSession, SessionCookie

COOKIE_NAME: Final = SessionCookie().name
SCHEME_NAME: Final = "session"
"""What OpenAPI documents call the cookie."""


class Proof(SecurityBase):
    """
    A dependency that asks for proof, and a security scheme, so that documents show the lock.

    Args:
        cookie_name: The cookie's name, for the documents only.

        prove: Which proof is asked for.
    """

    def __init__(
        self, cookie_name: str, prove: Callable[[AsyncRequestSession], Awaitable[Session]]
    ) -> None:
        self.model = APIKey.model_validate({"in": APIKeyIn.cookie, "name": cookie_name})
        self.scheme_name = SCHEME_NAME
        self._prove = prove

    async def __call__(self, connection: HTTPConnection) -> Session:
        """
        Return the session that proves it, or interrupt the request.
        """
        return await self._prove(session_of(connection))


def signed_in(*, cookie_name: str = COOKIE_NAME) -> Any:
    """
    Depend on the session of whoever is signed in. :data:`SignedIn` is this, by its usual name.

    Args:
        cookie_name: What the documents call the cookie, if the edge's has another name.
    """
    return Depends(Proof(cookie_name, lambda session: session.require()))


def fresh(max_age: timedelta | None = None, *, cookie_name: str = COOKIE_NAME) -> Any:
    """
    Depend on the session of whoever has proven lately who they are.

    Args:
        max_age: How old the proof may be; by default what the session's policy says.

        cookie_name: What the documents call the cookie, if the edge's has another name.
    """
    return Depends(Proof(cookie_name, lambda session: session.require_fresh(max_age)))


async def _of_request(connection: HTTPConnection) -> AsyncRequestSession:
    # Asynchronous, or FastAPI would use a thread for it.
    return session_of(connection)


CurrentSession: TypeAlias = Annotated[AsyncRequestSession, Depends(_of_request)]
"""The request's session, not asked for yet: to sign in and out, and for visitors."""

SignedIn: TypeAlias = Annotated[Session, signed_in()]
"""The session of whoever is signed in. Nobody: the sign-in page, a 401, or close code 3000."""

FreshlySignedIn: TypeAlias = Annotated[Session, fresh()]
"""The same, of whoever has proven lately who they are, as the session's policy says."""
