"""
What outlasts a request: a WebSocket, or a stream of events, and the session behind it.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar

from sessioncore import Inactive
from sessioncore_http import Interruption, sign_in_required

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from sessioncore_http import AsyncRequestSession

T = TypeVar("T")

HALF_A_MINUTE: Final = timedelta(seconds=30)
GIVES_WAY_IN: Final = timedelta(seconds=1)
"""How long a conversation that is broken off may take to tidy up."""

UNAUTHORIZED: Final = 3000
"""The close code for "nobody is signed in" (IANA WebSocket Close Code Number Registry)."""

FORBIDDEN: Final = 3003
"""The close code for "not from there" (likewise)."""

TRY_AGAIN_LATER: Final = 1013
"""The close code for an outage (likewise)."""


async def while_live(
    session: AsyncRequestSession,
    conversation: Coroutine[Any, Any, T],
    every: timedelta = HALF_A_MINUTE,
) -> T:
    """
    Carry on a conversation for as long as its session is live, and break it off then.

    The bound on how long a revoked session may talk on is *every*, plus a round trip.

    Args:
        session: The request's session, which has been asked for.

        conversation: What to carry on. It is cancelled if the session ends; if it does not
            give way within a second, it is left behind, with a socket that is closed.

        every: How often the store is asked. One read each time, and no sign of life.

    Returns:
        What *conversation* returned, if it came to its end.

    Raises:
        Interruption: The session has ended. The middleware closes the socket.

        StoreUnavailable: The store did not answer: whether the session is live is not known.
    """
    talking = asyncio.ensure_future(conversation)
    watching = asyncio.ensure_future(until_ended(session, every))
    try:
        await asyncio.wait({talking, watching}, return_when=asyncio.FIRST_COMPLETED)
        if talking.done():
            return talking.result()
        watching.result()  # raises if it is not known
        raise Interruption(sign_in_required(session.head, session.edge.sign_in_path))
    finally:
        talking.cancel()
        watching.cancel()
        done, _ = await asyncio.wait({talking, watching}, timeout=GIVES_WAY_IN.total_seconds())
        for task in done:
            if not task.cancelled():
                task.exception()  # looked at, so that asyncio does not complain


async def until_ended(session: AsyncRequestSession, every: timedelta = HALF_A_MINUTE) -> Inactive:
    """
    Wait until the session has ended: revoked, signed out, or expired. See :func:`while_live`.

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
