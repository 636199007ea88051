"""
What just happened, as it happens: a stream of server-sent events. Read it for what outlasts a
request: when it ends, and what it may cost.

The rules:

1.  Watching is no sign of life: whoever has a page open and is away idles out all the same.
2.  Nothing is sent before the session was looked at again. What ends it, here or on another
    server, ends the stream with it: at once if this process hears of it, else at the next
    pulse.
3.  A stream has a thread of the server to itself. So there are only so many, each ends by
    itself after a while, and the browser asks again with the number of the last event that
    it has seen.
"""

from __future__ import annotations

import json
from datetime import timedelta
from http import HTTPStatus
from threading import BoundedSemaphore
from time import monotonic
from typing import TYPE_CHECKING, Final

from examples.demo.audit import told
from sessioncore import Active, StoreError
from sessioncore_http import Interruption, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from examples.demo.audit import AuditTrail, Entry
    from sessioncore_http import RequestSession

STREAMS: Final = 40
PULSE: Final = timedelta(seconds=3)
LONGEST: Final = timedelta(minutes=1)
_ASK_AGAIN: Final = timedelta(seconds=1)


class LiveEvents:
    """
    Streams of the audit trail, one for each page that watches.

    Args:
        trail: What is streamed.

        streams: How many at a time.

        pulse: How often each looks whether the session is live and the browser is there.

        longest: How long each may last.
    """

    def __init__(
        self,
        trail: AuditTrail,
        *,
        streams: int = STREAMS,
        pulse: timedelta = PULSE,
        longest: timedelta = LONGEST,
    ) -> None:
        self._trail = trail
        self._free = BoundedSemaphore(streams)
        self._pulse = pulse
        self._longest = longest

    def follow(self, session: RequestSession, user_id: str, after: str) -> Iterator[bytes]:
        """
        Send what happens to a user, from the event *after* on, as long as the session lives.

        Args:
            session: The session of the request; it has been recognised.

            user_id: Who is signed in.

            after: The number of the last event that the page has; from the start if it is
                of no event.

        Raises:
            Interruption: Too many pages watch.
        """
        # In the generator, so that it is given back whatever happens: the middleware holds
        # the start of the response back until the first part, and takes a refusal till then.
        if not self._free.acquire(blocking=False):
            raise Interruption(_TOO_MANY)
        try:
            yield f"retry: {_ASK_AGAIN // timedelta(milliseconds=1)}\n\n".encode()
            ends_at = monotonic() + self._longest.total_seconds()
            while monotonic() < ends_at:
                news = self._trail.wait_for_news(user_id, after, self._pulse)
                if not isinstance(session.recheck(), Active):
                    yield b"event: ended\ndata:\n\n"
                    return
                for entry in news:
                    after = entry.number
                    yield _sent(entry)
                if not news:
                    yield b": still here\n\n"  # fails if nobody listens
        except StoreError:
            # Headers are out, so there is no page to say it on. The browser asks again.
            return
        finally:
            self._free.release()


def _sent(entry: Entry) -> bytes:
    # As JSON, and so in one line, whatever a user agent consists of.
    data = json.dumps({"text": told(entry.event), "at": entry.event.at.isoformat()})
    return f"id: {entry.number}\ndata: {data}\n\n".encode()


_TOO_MANY: Final = Problem(
    status=HTTPStatus.SERVICE_UNAVAILABLE,
    code="too-many-streams",
    title="Too many pages watch",
    detail="Please close some of them, or load this page again later.",
    retry_after=LONGEST,
)
