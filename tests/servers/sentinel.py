"""
A primary with replicas, and the Sentinels that watch over them.
"""

from __future__ import annotations

import contextlib
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import redis

from servers.local import PATIENCE_SECONDS
from servers.redis_server import RedisServer

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

_POLL_SECONDS = 0.01


class Watched:
    """
    A primary with replicas, and the Sentinels that watch over them.

    Args:
        replicas: How many servers copy the primary.

        sentinels: How many watch; all but one must agree that it is down.

        down_after: After how many milliseconds of silence a server is down.

        settings: Further lines of configuration of the servers; see :class:`RedisServer`.
    """

    NAME = "sessions"
    """What the Sentinels call the primary."""

    def __init__(
        self, *, replicas: int = 2, sentinels: int = 3, down_after: int = 300, **settings: Any
    ) -> None:
        self._sentinels_wanted = sentinels
        self._down_after = down_after
        self._stack = contextlib.ExitStack()
        self.servers = [
            RedisServer(repl_diskless_sync_delay="0", **settings) for _ in range(1 + replicas)
        ]
        """All servers: the first is the primary in the beginning."""
        self.sentinels: list[RedisServer] = []

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            for server in self.servers:
                stack.enter_context(server)
            for server in self.servers[1:]:
                with server.client() as client:
                    client.replicaof("127.0.0.1", self.servers[0].port)
            for _ in range(self._sentinels_wanted):
                self.sentinels.append(stack.enter_context(RedisServer(sentinel=True)))
            for sentinel in self.sentinels:
                with sentinel.client() as client:
                    self._watch(client)
            self.wait_until_healthy()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """
        Where clients find the Sentinels.
        """
        return [("127.0.0.1", sentinel.port) for sentinel in self.sentinels]

    @property
    def primary(self) -> RedisServer:
        """
        The server that the Sentinels take for the primary.
        """
        with self.sentinels[0].client() as client:
            port = _port_of_primary(client)
        return next(server for server in self.servers if server.port == port)

    def fail_over(self) -> None:
        """
        Have another server made the primary, though this one is well, and wait for it.
        """
        before = self.primary
        with self.sentinels[0].client() as client:
            _wait_for(lambda: _accepts(client, "SENTINEL FAILOVER", Watched.NAME))
        self.wait_for_another_primary(before)

    def wait_for_another_primary(self, before: RedisServer) -> None:
        """
        Wait until all Sentinels name another primary than *before*, and it agrees.
        """
        for sentinel in self.sentinels:
            with sentinel.client() as client:
                _wait_for(partial(_names_another, client, before.port))
        with self.primary.client() as client:
            _wait_for(lambda: client.info("replication")["role"] == "master")

    def wait_until_healthy(self) -> None:
        """
        Wait until every server follows, and every Sentinel knows all the others.
        """
        known = {
            "num-slaves": len(self.servers) - 1,
            "num-other-sentinels": len(self.sentinels) - 1,
        }
        with self.primary.client() as client:
            _wait_for(lambda: _online_replicas(client) == known["num-slaves"])
        for sentinel in self.sentinels:
            with sentinel.client() as client:
                _wait_for(partial(_knows, client, known))

    def _watch(self, client: Any) -> None:
        quorum = max(1, self._sentinels_wanted - 1)
        port = self.servers[0].port
        client.execute_command("SENTINEL MONITOR", Watched.NAME, "127.0.0.1", port, quorum)
        for option, value in (
            ("down-after-milliseconds", self._down_after),
            ("failover-timeout", 3000),
            ("parallel-syncs", len(self.servers)),
        ):
            client.execute_command("SENTINEL SET", Watched.NAME, option, value)


def _port_of_primary(client: Any) -> int:
    return int(client.execute_command("SENTINEL GET-MASTER-ADDR-BY-NAME", Watched.NAME)[1])


def _names_another(client: Any, port: int) -> bool:
    return _port_of_primary(client) != port


def _knows(client: Any, known: dict[str, int]) -> bool:
    told = client.execute_command("SENTINEL MASTER", Watched.NAME)
    return all(int(told[name]) == number for name, number in known.items())


def _online_replicas(client: Any) -> int:
    told = client.info("replication")
    return sum(told.get(f"slave{n}", {}).get("state") == "online" for n in range(10))


def _accepts(client: Any, *command: Any) -> bool:
    try:
        client.execute_command(*command)
    except redis.ResponseError:
        return False
    return True


def _wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError("the Sentinels do not come to an agreement")
        time.sleep(_POLL_SECONDS)
