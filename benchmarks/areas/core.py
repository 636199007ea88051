"""
The core alone: what an authenticated request takes beside the wait for its store.

Read the cookie, decode the record as each store keeps it, judge it, and make the
outcome; no I/O. Beside it, a bare GET of redis-py.
"""

from __future__ import annotations

import gc
import tracemalloc
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import redis

from benchmarks.measure import Calls, Figure, in_turns
from benchmarks.sessions import POLICY, signed_in
from servers import RedisServer
from sessioncore import AuthService
from sessioncore_memory import MemorySessionStore
from sessioncore_redis import calls
from sessioncore_redis.layout import RECORD_SUFFIXES, Layout
from sessioncore_redis.records import encode
from sessioncore_sql._codec import decode_session, digest, encode_session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.measure import Plan
    from sessioncore.session import Locator, Session

_REPEATS = 1_000


class _Decoding:
    """
    A store whose every answer is already there, and only has to be decoded.
    """

    def __init__(self, decode: Callable[[Locator], Session | None]) -> None:
        self.find: Final = decode


def measure(plan: Plan) -> Iterator[Figure]:
    """
    Measure the core with each codec, and a bare GET.
    """
    cookie, session = signed_in(AuthService(sessions=MemorySessionStore(), policy=POLICY))
    layout = Layout("sessioncore", bytes(32))
    head = layout.generation(session.locator.epoch) + bytes(8 + 6) + session.subject.key
    pieces: list[bytes | None] = list(encode(session))
    asked = len(calls.find(layout, session.locator)) - 2
    reply = [head, *[None] * (asked - 1)]
    first = asked - len(RECORD_SUFFIXES)
    reply[first : first + len(pieces)] = pieces
    row = _row(session)
    codecs: dict[str, Callable[[Locator], Session | None]] = {
        "memory": lambda _locator: session,
        "redis": lambda locator: calls.found(layout, locator, reply),
        "sql": lambda _locator: decode_session(row),
    }
    services = {
        name: AuthService(sessions=_Decoding(decode), policy=POLICY)  # type: ignore[arg-type]
        for name, decode in codecs.items()
    }
    with RedisServer() as server, redis.Redis(port=server.port) as client:
        client.set("record", b"".join(filter(None, reply)))
        bare: Any = client.get
        yield from in_turns(
            plan,
            {
                "core/bare GET": Calls(lambda: bare("record")),
                **{
                    f"core/{name}": Calls(partial(auth.authenticate, cookie))
                    for name, auth in services.items()
                },
            },
            against="core/bare GET",
        )
    for name, auth in services.items():
        yield Figure(f"core/{name}/allocated", _allocated(auth, cookie), "bytes")


def _row(session: Session) -> tuple[Any, ...]:
    values = encode_session(session)
    key = session.subject.key
    return (session.locator.epoch, digest(key), key, session.locator.slot, *values.values())


def _allocated(auth: AuthService, cookie: str) -> float:
    # What it takes at most at one time, of what it gives back in the end.
    auth.authenticate(cookie)
    gc.collect()
    tracemalloc.start()
    try:
        peaks: list[int] = []
        for _ in range(_REPEATS):
            before = tracemalloc.get_traced_memory()[0]
            tracemalloc.reset_peak()
            auth.authenticate(cookie)
            peaks.append(tracemalloc.get_traced_memory()[1] - before)
    finally:
        tracemalloc.stop()
    return sorted(peaks)[_REPEATS // 2]
