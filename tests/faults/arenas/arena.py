"""
Where a run takes place: a store's servers, a proxy before them, and what can go wrong.
"""

from __future__ import annotations

import asyncio
import secrets
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar, Self

from faults.config import USERS, USUAL, Times
from faults.hashing import BEFORE, hashed
from faults.nemesis import Nemesis, Trouble
from faults.world import World
from servers import IN_MEMORY, Proxy, Weather
from sessioncore_sql import SqlCredentialStore, SqlSessionStore, new_engine

DEADLINE = 0.5
"""Seconds that one store operation may take: short, so that runs do not wait much."""

STALENESS = 0.3
"""Seconds that an answer of a near cache may be old."""

_FOR_SCHEMAS = timedelta(seconds=20)


class Arena(ABC):
    """
    A store under test. Its servers run within the context.
    """

    name: ClassVar[str]
    """What it is called on the command line."""

    deadline: ClassVar = DEADLINE

    times: ClassVar[Times] = USUAL
    """The figures of the policies, unless a plan says otherwise."""

    excused: ClassVar[Mapping[str, str]] = {}
    """Promises that cannot be kept here, and why."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self.store: dict[str, Any] = {}
        """What clients need to open it; see :mod:`faults.stores`. If ``near`` is among it, some
        of them have a near cache."""
        self.scanned: list[Path] = []
        """The folders of its servers, which are searched for secrets."""

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._start(stack)
            self._stack = stack.pop_all()
        self.store["deadline"] = self.deadline
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @abstractmethod
    def _start(self, stack: ExitStack) -> None:
        """
        Start what is needed, and set :attr:`store` and :attr:`scanned`.
        """

    @property
    @abstractmethod
    def troubles(self) -> Mapping[str, Trouble]:
        """
        What can go wrong here.
        """

    def add_users(self, world: World) -> None:
        """
        Make the tables, and a user for each name, with a password that the world knows.
        """
        engine = new_engine(self._direct_credentials)
        try:
            store = SqlCredentialStore(engine, deadline=_FOR_SCHEMAS)
            store.create_schema()
            if "sql" in self.store:
                SqlSessionStore(engine, deadline=_FOR_SCHEMAS).create_schema()
            for user in USERS:
                password = f"pass of {user}: {secrets.token_hex(8)}"
                store.add_user(user, user, hashed(password, BEFORE))
                world.tell_password(user, f"{user}.0", password)
        finally:
            engine.dispose()

    @property
    def _direct_credentials(self) -> str:
        return str(self.store["credentials"])

    def _credentials_in_a_file(self, stack: ExitStack) -> None:
        folder = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="credentials-", dir=IN_MEMORY))
        )
        self.scanned.append(folder)
        self.store["credentials"] = f"sqlite:///{folder}/users.db"
        self.store["async credentials"] = f"sqlite+aiosqlite:///{folder}/users.db"


class FeedProxy(Proxy):
    """
    A proxy for feeds, which are slow in another way: what comes back is late.
    """

    lateness = 0.0
    """By how many seconds at least."""

    async def _drip(self, chunk: bytes, sink: asyncio.StreamWriter) -> None:
        await asyncio.sleep(self.lateness)
        if not self._swallows(replies=True):
            sink.write(chunk)
            await sink.drain()


def feed_troubles(feed: Callable[[], Sequence[FeedProxy]]) -> Mapping[str, Trouble]:
    """
    What a network does to the channel by which near caches are told.

    Args:
        feed: The proxies before all servers to which feeds may lead.
    """

    def all_become(weather: Weather) -> None:
        for proxy in feed():
            proxy.become(weather)

    def becomes(weather: Weather, kind: str) -> Trouble:
        def trouble(nemesis: Nemesis) -> None:
            all_become(weather)
            try:
                with nemesis.writes_down(kind, deaf=True):
                    nemesis.pause_between(0.5 * STALENESS, 4 * STALENESS)
            finally:
                all_become(Weather.FAIR)

        return trouble

    def cut(nemesis: Nemesis) -> None:
        with nemesis.writes_down("feed reset"):
            for _ in range(nemesis.chance.randint(2, 6)):
                for proxy in feed():
                    proxy.cut()
                nemesis.pause_between(0.0, 0.1)

    def becomes_late(lateness: float) -> None:
        for proxy in feed():
            proxy.lateness = lateness
        all_become(Weather.DRIP)

    def slow(nemesis: Nemesis) -> None:
        becomes_late(nemesis.chance.choice((0.5, 1.2)) * STALENESS)
        try:
            with nemesis.writes_down("feed slow"):
                nemesis.pause_between(2 * STALENESS, 8 * STALENESS)
        finally:
            all_become(Weather.FAIR)

    def late_and_lost(nemesis: Nemesis) -> None:
        becomes_late(0.8 * STALENESS)
        try:
            with nemesis.writes_down("feed late"):
                nemesis.pause_between(STALENESS, 3 * STALENESS)
            all_become(Weather.BLACK_HOLE)
            with nemesis.writes_down("feed lost on the way", deaf=True):
                nemesis.pause(3 * STALENESS)
        finally:
            all_become(Weather.FAIR)

    return {
        "feed cut": cut,
        "feed deaf": becomes(Weather.REPLIES_LOST, "feed unheard"),
        "feed black hole": becomes(Weather.BLACK_HOLE, "feed in a black hole"),
        "feed refusing": becomes(Weather.CUT, "feed down"),
        "feed slow": slow,
        "feed late and lost": late_and_lost,
    }


def silence(proxies: Callable[[], Sequence[Proxy]]) -> Trouble:
    """
    What happens when the whole network is gone, for stores and feeds alike.
    """

    def trouble(nemesis: Nemesis) -> None:
        for proxy in proxies():
            proxy.become(Weather.BLACK_HOLE)
        try:
            with nemesis.writes_down("black hole for stores and feeds", down=True, deaf=True):
                nemesis.pause_between(STALENESS, 4 * STALENESS)
        finally:
            for proxy in proxies():
                proxy.become(Weather.FAIR)

    return trouble


def weather_troubles(proxy: Callable[[], Proxy]) -> Mapping[str, Trouble]:
    """
    What a network before a server does.
    """

    def becomes(weather: Weather, kind: str) -> Trouble:
        def trouble(nemesis: Nemesis) -> None:
            proxy().become(weather)
            try:
                with nemesis.writes_down(kind, down=True):
                    nemesis.pause_between(0.1, 0.9)
            finally:
                proxy().become(Weather.FAIR)

        return trouble

    def lose_replies(nemesis: Nemesis) -> None:
        with nemesis.writes_down("single replies lost"):
            for _ in range(nemesis.chance.randint(3, 12)):
                proxy().lose_next_reply()
                nemesis.pause_between(0.0, 0.05)

    def cut(nemesis: Nemesis) -> None:
        with nemesis.writes_down("connections reset"):
            proxy().cut()

    return {
        "replies": lose_replies,
        "more replies": lose_replies,
        "cut": cut,
        "no replies": becomes(Weather.REPLIES_LOST, "all replies lost"),
        "black hole": becomes(Weather.BLACK_HOLE, "black hole"),
        "refusing": becomes(Weather.CUT, "network down"),
    }
