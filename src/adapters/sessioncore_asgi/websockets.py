"""
What outlasts a request: a WebSocket, or a stream of events, and the session behind it.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from sessioncore import Inactive

if TYPE_CHECKING:
    from sessioncore_http import AsyncRequestSession

UNAUTHORIZED: Final = 3000
"""The close code for "nobody is signed in" (IANA WebSocket Close Code Number Registry)."""

FORBIDDEN: Final = 3003
"""The close code for "not from there" (likewise)."""

TRY_AGAIN_LATER: Final = 1013
"""The close code for an outage (likewise)."""


async def until_ended(
    session: AsyncRequestSession, every: timedelta = timedelta(seconds=30)
) -> Inactive:
    """
    Wait until the session has ended: revoked, signed out, or expired.

    Run it beside the conversation, in a task, and close the socket when it returns. The
    bound on how long a revoked session may talk on is *every*, plus a round trip.

    Args:
        session: The request's session, which has been asked for.

        every: How often the store is asked. One read each time, and no sign of life.

    Raises:
        StoreUnavailable: The store did not answer: whether the session is live is not known.
    """
    while True:
        outcome = await session.recheck()
        if isinstance(outcome, Inactive):
            return outcome
        await asyncio.sleep(every.total_seconds())
