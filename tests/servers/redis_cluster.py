"""
A Redis Cluster of one's own.
"""

from __future__ import annotations

import contextlib
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import redis

from servers.local import PATIENCE_SECONDS, free_port
from servers.redis_server import RedisServer

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from types import TracebackType

SLOTS = 16384
_POLL_SECONDS = 0.01


class RedisCluster:
    """
    A Redis Cluster of one's own.

    Args:
        primaries: How many nodes share the slots, in equal parts.

        replicas: How many nodes copy each of them.

        spare: How many further primaries have no slots.

        node_timeout: After how many milliseconds of silence a node is given up.

        program: The server.

        settings: Further lines of configuration of every node; see :class:`RedisServer`.
    """

    def __init__(
        self,
        *,
        primaries: int = 3,
        replicas: int = 1,
        spare: int = 0,
        node_timeout: int = 1000,
        program: str = "redis-server",
        **settings: Any,
    ) -> None:
        self._parts = primaries
        self._replicas = replicas
        self._spare = spare
        self._settings: dict[str, Any] = {
            "cluster_enabled": "yes",
            "cluster_node_timeout": str(node_timeout),
            "repl_diskless_sync_delay": "0",
            # A node stays what it is, whatever slots it has.
            "cluster_allow_replica_migration": "no",
            **settings,
        }
        self._program = program
        self._stack = contextlib.ExitStack()
        self.nodes: list[RedisServer] = []
        """All servers: first those that are primaries in the beginning."""

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            for _ in range(self._parts * (1 + self._replicas) + self._spare):
                server = RedisServer(
                    program=self._program, cluster_port=str(free_port()), **self._settings
                )
                self.nodes.append(stack.enter_context(server))
            self._join()
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
    def url(self) -> str:
        """
        Where clients find one of the nodes.
        """
        return self.nodes[0].url

    @contextlib.contextmanager
    def client(self, **settings: Any) -> Generator[Any, None, None]:
        """
        A client of the whole, closed in the end. It is a ``redis.RedisCluster``.
        """
        client_class: Any = redis.RedisCluster
        with contextlib.closing(client_class.from_url(self.url, **settings)) as client:
            yield client

    def primary_of(self, slot: int) -> RedisServer:
        """
        The server that has *slot* by its own word; others learn of it later.
        """
        for server in self.nodes:
            with contextlib.suppress(redis.RedisError), server.client() as client:
                for start, end, primary, *_ in _raw(client, "CLUSTER", "SLOTS"):
                    if start <= slot <= end and primary[1] == server.port:
                        return server
        raise RuntimeError(f"nobody has slot {slot}")

    def primaries(self) -> list[RedisServer]:
        """
        The servers that are primaries now.
        """
        return [server for server in self.nodes if _role(server) == "master"]

    def move(self, slot: int, target: RedisServer, *, step: Callable[[], None]) -> None:
        """
        Move one slot with its keys, as ``redis-cli --cluster reshard`` does.

        Args:
            slot: Which.

            target: Where to.

            step: Called between any two steps, while the slot is in between.
        """
        source = self.primary_of(slot)
        with source.client() as giver, target.client() as taker:
            ids = [_raw(client, "CLUSTER", "MYID").decode() for client in (giver, taker)]
            _raw(taker, "CLUSTER", "SETSLOT", slot, "IMPORTING", ids[0])
            step()
            _raw(giver, "CLUSTER", "SETSLOT", slot, "MIGRATING", ids[1])
            step()
            while keys := _raw(giver, "CLUSTER", "GETKEYSINSLOT", slot, 1):
                _raw(giver, "MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys)
                step()
            for client in (taker, giver):
                _raw(client, "CLUSTER", "SETSLOT", slot, "NODE", ids[1])
                step()

    def wait_until_healthy(self) -> None:
        """
        Wait until every running node sees all slots served, and every replica follows.
        """
        for server in self.nodes:
            if server.runs:
                with server.client() as client:
                    _wait_for(partial(_is_healthy, client), server)

    def _join(self) -> None:
        heads = self.nodes[: self._parts]
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(server.client()) for server in self.nodes]
            for number, client in enumerate(clients):
                _raw(client, "CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            for number, client in enumerate(clients[: self._parts]):
                bounds = [SLOTS * part // self._parts for part in (number, number + 1)]
                _raw(client, "CLUSTER", "ADDSLOTSRANGE", bounds[0], bounds[1] - 1)
            for client in clients[1:]:
                bus = self._bus_port(self.nodes[0])
                _raw(client, "CLUSTER", "MEET", "127.0.0.1", heads[0].port, bus)
            for server, client in zip(self.nodes, clients, strict=True):
                _wait_for(partial(self._knows_all, client), server)
            copies = clients[self._parts : self._parts * (1 + self._replicas)]
            for number, client in enumerate(copies):
                of = clients[number % self._parts]
                _raw(client, "CLUSTER", "REPLICATE", _raw(of, "CLUSTER", "MYID"))
        self.wait_until_healthy()

    def _knows_all(self, client: Any) -> bool:
        lines = _raw(client, "CLUSTER", "NODES").decode().splitlines()
        return len(lines) == len(self.nodes) and not any("handshake" in line for line in lines)

    def _bus_port(self, server: RedisServer) -> int:
        return int(server.settings["cluster-port"])


def _is_healthy(client: Any) -> bool:
    with contextlib.suppress(redis.BusyLoadingError):
        return _serves_all_slots(client)
    return False


def _serves_all_slots(client: Any) -> bool:
    if b"cluster_state:ok" not in _raw(client, "CLUSTER", "INFO"):
        return False
    if _raw(client, "CLUSTER", "INFO").split(b"cluster_slots_ok:")[1].split(b"\r")[0] != b"16384":
        return False
    replication = client.info("replication")
    return bool(replication["role"] == "master" or replication["master_link_status"] == "up")


def _role(server: RedisServer) -> str | None:
    if not server.runs:
        return None
    with server.client() as client:
        return str(client.info("replication")["role"])


def _raw(client: Any, *command: Any) -> Any:
    # Without redis-py's views of what a reply should look like.
    connection = client.connection_pool.get_connection()
    try:
        connection.send_command(*command)
        return connection.read_response()
    finally:
        client.connection_pool.release(connection)


def _wait_for(condition: Callable[[], bool], server: RedisServer) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"the cluster does not come up:\n{server.log}")
        time.sleep(_POLL_SECONDS)
