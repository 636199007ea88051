"""
Redis: one server, a primary that is switched over, one that fails over, a cluster.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, ClassVar, Final

import redis

from faults.arenas.arena import (
    STALENESS,
    Arena,
    FeedProxy,
    feed_troubles,
    silence,
    weather_troubles,
)
from faults.clients import wait_until_stopped
from faults.config import LONGER
from faults.nemesis import AGAINST_CLIENTS, Nemesis, Trouble
from faults.promises import copies, data, deaths, limit, outcomes, resurrection, successors
from faults.promises.outages import FULL
from servers import Proxy, RedisServer
from servers.local import PATIENCE_SECONDS
from servers.redis_cluster import RedisCluster
from servers.sentinel import Watched

_KEEPS: Final[dict[str, Any]] = {"appendonly": "yes", "appendfsync": "always"}
"""Settings of a server that keeps what it has acknowledged."""

_POLL_SECONDS: Final = 0.01


class OneRedis(Arena):
    """
    One redis-server that keeps what it has acknowledged.
    """

    name = "redis"
    times = LONGER

    def _start(self, stack: ExitStack) -> None:
        self.server = stack.enter_context(RedisServer(**_KEEPS))
        self.proxy = stack.enter_context(Proxy(self.server.port))
        self.feed = stack.enter_context(FeedProxy(self.server.port))
        self.scanned.append(self.server.folder)
        self.store["redis"] = f"redis://127.0.0.1:{self.proxy.port}"
        self.store["near"] = {
            "staleness": STALENESS,
            "redis": f"redis://127.0.0.1:{self.feed.port}",
        }
        self._credentials_in_a_file(stack)

    @property
    def troubles(self) -> Mapping[str, Trouble]:
        """
        See :attr:`Arena.troubles`.
        """
        return {
            **AGAINST_CLIENTS,
            **weather_troubles(lambda: self.proxy),
            **feed_troubles(lambda: [self.feed]),
            "silence": silence(lambda: [self.proxy, self.feed]),
            "kill": self._kill,
            "stop": self._stop,
            "flush": self._flush_scripts,
            "full": self._fill,
        }

    def _kill(self, nemesis: Nemesis) -> None:
        self.server.kill()
        with nemesis.writes_down("server killed", down=True, deaf=True):
            nemesis.pause_between(0.0, 0.5)
        self.server.start()

    def _stop(self, nemesis: Nemesis) -> None:
        with self.server.stopped():
            wait_until_stopped(self.server.process.pid)
            with nemesis.writes_down("server stopped", down=True, deaf=True):
                nemesis.pause_between(0.1, 1.2)

    def _flush_scripts(self, nemesis: Nemesis) -> None:
        with nemesis.writes_down("scripts flushed"), self.server.client() as client:
            for _ in range(nemesis.chance.randint(2, 10)):
                client.script_flush()
                nemesis.pause_between(0.0, 0.05)

    def _fill(self, nemesis: Nemesis) -> None:
        with self.server.client() as client, _full(client), nemesis.writes_down(FULL):
            nemesis.pause_between(0.3, 1.0)


@contextmanager
def _full(client: Any) -> Generator[None]:
    # Below what an empty server takes: whatever needs memory is refused.
    client.config_set("maxmemory", "500kb")
    try:
        yield
    finally:
        client.config_set("maxmemory", "0")


class SwitchedRedis(Arena):
    """
    A primary and a replica that change places, without loss: ``FAILOVER``.

    The server that gives up its place waits until the other has everything. A proxy
    leads all clients to whichever is the primary.
    """

    name = "redis-switchover"

    def _start(self, stack: ExitStack) -> None:
        self.primary, self.replica = (
            stack.enter_context(RedisServer(repl_diskless_sync_delay="0", **_KEEPS))
            for _ in range(2)
        )
        with self.replica.client() as client:
            client.replicaof("127.0.0.1", self.primary.port)
        self.proxy = stack.enter_context(Proxy(self.primary.port))
        self.scanned += [self.primary.folder, self.replica.folder]
        self.store["redis"] = f"redis://127.0.0.1:{self.proxy.port}"
        self._credentials_in_a_file(stack)

    @property
    def troubles(self) -> Mapping[str, Trouble]:
        """
        See :attr:`Arena.troubles`.
        """
        return {
            **AGAINST_CLIENTS,
            **weather_troubles(lambda: self.proxy),
            "switch": self._switch,
            "switch again": self._switch,
            "switch back": self._switch,
        }

    def _switch(self, nemesis: Nemesis) -> None:
        with self.primary.client() as before, self.replica.client() as after:
            _wait_for(lambda: after.info("replication").get("master_link_status") == "up")
            with nemesis.writes_down("replica promoted"):
                before.execute_command("FAILOVER")
                _wait_for(lambda: after.info("replication")["role"] == "master")
                self.proxy.lead_to(self.replica.port)
        self.primary, self.replica = self.replica, self.primary


class FailingOverRedis(Arena):
    """
    A primary with one replica, and Sentinels that promote it when the primary is gone.

    What was acknowledged and not yet copied is lost then. With ``wait_replicas=1``
    that is never a revocation that returned, and no more than that is promised.

    The primary is killed and never just stopped: one that lives on beside its
    successor answers on the connections it has until Sentinels demote it, which takes
    them some ten seconds, and what is asked there is not what is true.
    """

    name = "redis-sentinel"
    times = LONGER
    excused: ClassVar = dict.fromkeys(
        (
            resurrection.PROMISE,
            successors.PROMISE,
            limit.PROMISE,
            data.PROMISE,
            outcomes.PROMISE,
            deaths.PROMISE,
            copies.PROMISE,
        ),
        "a failover forgets what was acknowledged and not copied",
    )

    def _start(self, stack: ExitStack) -> None:
        self.watched = stack.enter_context(Watched(replicas=1, down_after=700, **_KEEPS))
        self.scanned += [server.folder for server in self.watched.servers]
        self.store |= {
            "sentinels": self.watched.addresses,
            "name": Watched.NAME,
            "wait_replicas": 1,
        }
        self.feeds = {
            server.port: stack.enter_context(FeedProxy(server.port))
            for server in self.watched.servers
        }
        self.store["near"] = {
            "staleness": STALENESS,
            "sentinels": self.watched.addresses,
            "name": Watched.NAME,
            "through": [[port, proxy.port] for port, proxy in self.feeds.items()],
        }
        self._credentials_in_a_file(stack)

    @property
    def troubles(self) -> Mapping[str, Trouble]:
        """
        See :attr:`Arena.troubles`.
        """
        return {
            **AGAINST_CLIENTS,
            **feed_troubles(lambda: list(self.feeds.values())),
            "kill": self._kill,
            "kill again": self._kill,
        }

    def _kill(self, nemesis: Nemesis) -> None:
        primary = self.watched.primary
        with nemesis.writes_down("primary killed, replica promoted"):
            primary.kill()
            self.watched.wait_for_another_primary(primary)
        primary.start()
        # Sentinels would do it, eight seconds later.
        _wait_for(lambda: self._follows(primary))
        _wait_for(self._is_healthy)

    def _follows(self, server: RedisServer) -> bool:
        try:
            with server.client() as client:
                client.replicaof("127.0.0.1", self.watched.primary.port)
        except redis.RedisError:
            return False  # it reads its files
        return True

    def _is_healthy(self) -> bool:
        # They may change their mind meanwhile, and end the connections to a server
        # that they demote, also ours.
        try:
            with self.watched.primary.client() as client:
                told = client.info("replication")
        except redis.RedisError:
            return False
        return bool(told["role"] == "master" and told.get("slave0", {}).get("state") == "online")


class ClusteredRedis(Arena):
    """
    A cluster of three primaries, between which slots are moved under load.

    No replicas: what a failover loses is the other arena's subject.
    """

    name = "redis-cluster"

    def _start(self, stack: ExitStack) -> None:
        self.cluster = stack.enter_context(
            RedisCluster(replicas=0, cluster_require_full_coverage="no", **_KEEPS)
        )
        self.scanned += [node.folder for node in self.cluster.nodes]
        self.store |= {"redis": self.cluster.url, "cluster": True}
        self._credentials_in_a_file(stack)

    @property
    def troubles(self) -> Mapping[str, Trouble]:
        """
        See :attr:`Arena.troubles`.
        """
        return {
            **AGAINST_CLIENTS,
            "move": self._move_slots,
            "move more": self._move_slots,
            "kill": self._kill,
            "stop": self._stop,
            "stop all": self._stop_all,
            "cut": self._cut,
        }

    def _move_slots(self, nemesis: Nemesis) -> None:
        with nemesis.writes_down("slots moved"):
            for _ in range(nemesis.chance.randint(2, 6)):
                source, target = nemesis.chance.sample(self.cluster.nodes, 2)
                with source.client() as client:
                    keys = client.keys("*")
                    if not keys:
                        continue
                    slot = client.execute_command("CLUSTER KEYSLOT", nemesis.chance.choice(keys))
                self.cluster.move(slot, target, step=lambda: nemesis.pause_between(0.0, 0.03))
        self.cluster.wait_until_healthy()

    def _kill(self, nemesis: Nemesis) -> None:
        node = nemesis.chance.choice(self.cluster.nodes)
        with nemesis.writes_down("node killed"):
            node.kill()
            nemesis.pause_between(0.0, 0.5)
            node.start()
        self.cluster.wait_until_healthy()

    def _stop(self, nemesis: Nemesis) -> None:
        with nemesis.writes_down("node stopped"):
            with nemesis.chance.choice(self.cluster.nodes).stopped():
                nemesis.pause_between(0.1, 1.5)
            self.cluster.wait_until_healthy()

    def _stop_all(self, nemesis: Nemesis) -> None:
        with ExitStack() as stack:
            for node in self.cluster.nodes:
                stack.enter_context(node.stopped())
                wait_until_stopped(node.process.pid)
            with nemesis.writes_down("all nodes stopped", down=True):
                nemesis.pause_between(0.1, 0.8)
        self.cluster.wait_until_healthy()

    def _cut(self, nemesis: Nemesis) -> None:
        with nemesis.writes_down("connections ended by the administrator"):
            for node in self.cluster.nodes:
                with node.client() as client:
                    client.execute_command("CLIENT KILL", "TYPE", "normal", "SKIPME", "yes")


def _wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError("the servers do not change places")
        time.sleep(_POLL_SECONDS)
