"""
What about servers or a client weakens the promises of a store.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sessioncore_redis.trips import mapping_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import timedelta

    from sessioncore_redis.clients import Settings

INFO: Final = ("INFO",)
SETTINGS: Final = ("appendfsync", "min-replicas-to-write")
"""What CONFIG GET is asked for."""

OLDEST_SERVER: Final = (6, 2)


@dataclass(frozen=True, slots=True)
class Weakness:
    """
    One promise that does not hold as things are set up.
    """

    promise: str
    """What would be promised."""

    finding: str
    """What stands against it."""

    remedy: str
    """What to do about it."""


@dataclass(frozen=True, slots=True)
class Server:
    """
    What was found out about one server, or one primary of a cluster.
    """

    node: str
    """Its name in the cluster; empty if it is alone."""

    info: Mapping[str, str] | None
    """What INFO told; ``None`` if it may not be asked."""

    config: Mapping[str, str]
    """What CONFIG GET told, as far as it may be asked."""

    @classmethod
    def read(cls, node: str, info: Any, config: Sequence[Any]) -> Server:
        """
        Read the replies to :data:`INFO`, and to CONFIG GET of all :data:`SETTINGS`.
        """
        settings = {
            name.decode(): value.decode()
            for reply in config
            if reply is not None
            for name, value in mapping_of(reply).items()
        }
        return cls(node, None if info is None else _lines_of(info), settings)

    def number(self, name: str) -> int:
        """
        Return a number that INFO or CONFIG GET told, or 0.
        """
        told = (self.info or {}).get(name) or self.config.get(name) or ""
        return int(told) if told.isdecimal() else 0


_ENDED_STAYS_ENDED: Final = "An ended session stays ended, whatever happens to the server."
_LIVES_ON: Final = "A session lives until it expires or is ended."
_KNOWN_OR_NAMED: Final = "A call is answered or fails within its deadline."
_CONFIRMED: Final = "The end of a session is confirmed by replicas."


def weaknesses(
    client: Settings,
    servers: Sequence[Server],
    *,
    deadline: timedelta,
    shares_tag_key: bool,
    wait_replicas: int,
) -> tuple[Weakness, ...]:
    """
    Judge what was found out.

    Args:
        client: How the client in use is set up.

        servers: What servers told of themselves.

        deadline: How long an operation may take.

        shares_tag_key: Whether the tag key is kept in Redis.

        wait_replicas: How many replicas should confirm the end of a session.
    """
    # The same is said once of all nodes that it holds for.
    found: dict[Weakness, list[str]] = {}
    for weakness in _of_client(client, deadline.total_seconds()):
        found[weakness] = []
    for server in servers:
        for weakness in _of_server(
            server, shares_tag_key=shares_tag_key, wait_replicas=wait_replicas
        ):
            found.setdefault(weakness, []).append(server.node)
    return tuple(_at(weakness, nodes) for weakness, nodes in found.items())


def _at(weakness: Weakness, nodes: Sequence[str]) -> Weakness:
    named = ", ".join(filter(None, nodes))
    if not named:
        return weakness
    return Weakness(weakness.promise, f"{named}: {weakness.finding}", weakness.remedy)


def _of_client(client: Settings, seconds: float) -> Iterator[Weakness]:
    if not client.for_threads:
        # asyncio can give up whatever the client does.
        return
    if client.connects_again:
        yield Weakness(
            _KNOWN_OR_NAMED,
            "The client repeats attempts to connect by itself, with pauses, and so a call"
            " may fail long after its deadline.",
            "Give it retry=Retry(NoBackoff(), 0), or use connect().",
        )
    for what, limit in (
        ("connecting", client.connect_timeout),
        ("reading", client.read_timeout),
        ("waiting for a connection of its pool", client.waits_for_connection),
        ("asking Sentinels one after the other", client.asks_before),
    ):
        if limit is None:
            finding = f"The client has no time limit for {what}."
        elif limit > seconds:
            finding = f"The client's time limit for {what} is {limit:g} seconds: that is too long."
        else:
            continue
        yield Weakness(
            _KNOWN_OR_NAMED, finding, f"Let it be at most {seconds:g} seconds, or use connect()."
        )


def _of_server(server: Server, *, shares_tag_key: bool, wait_replicas: int) -> Iterator[Weakness]:
    if server.info is None:
        yield Weakness(
            "A weakness of the server is found before it matters.",
            "The server does not let this user ask INFO.",
            "Allow INFO, or have an operator run check().",
        )
        return
    yield from _of_memory(server.info, shares_tag_key=shares_tag_key)
    yield from _of_persistence(server)
    yield from _of_replication(server, wait_replicas)
    version = server.info.get("redis_version", "unknown")
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if numbers < OLDEST_SERVER:
        yield Weakness(
            "Every operation works.",
            f"The server is Redis {version}.",
            "Use Redis 6.2 or newer.",
        )


def _of_memory(info: Mapping[str, str], *, shares_tag_key: bool) -> Iterator[Weakness]:
    policy = info.get("maxmemory_policy", "unknown")
    if policy != "noeviction":
        yield Weakness(
            _LIVES_ON,
            f"The server's maxmemory-policy is {policy}: when memory runs out, people are"
            " signed out and session data is lost.",
            "Set maxmemory-policy noeviction. Sessions can be ended on a full server.",
        )
    if shares_tag_key and policy.startswith("allkeys"):
        yield Weakness(
            "Every process finds every session, to end it.",
            "The tag key is kept in Redis and may be evicted; processes that start"
            " afterwards use another one.",
            "Give every process the same tag_key.",
        )


def _of_persistence(server: Server) -> Iterator[Weakness]:
    fsync = server.config.get("appendfsync", "unknown")
    if not server.number("aof_enabled"):
        yield Weakness(
            _ENDED_STAYS_ENDED,
            "The server keeps no append-only file: after a crash it has no sessions,"
            " or those of its last snapshot, with ended ones among them.",
            "Set appendonly yes.",
        )
    elif fsync != "always":
        yield Weakness(
            _ENDED_STAYS_ENDED,
            f"The server's appendfsync is {fsync}: a power failure may undo what was"
            " ended in the last second or longer.",
            "Set appendfsync always, or accept that.",
        )


def _of_replication(server: Server, wait_replicas: int) -> Iterator[Weakness]:
    replicas = server.number("connected_slaves")
    if server.info is not None and server.info.get("role") == "slave":
        yield Weakness(
            _ENDED_STAYS_ENDED,
            "The server is a replica: it lags behind and takes no writes.",
            "Connect to the primary.",
        )
    elif replicas < wait_replicas:
        yield Weakness(
            _CONFIRMED,
            f"The server has {replicas} replicas, and {wait_replicas} should confirm: no end"
            " of a session will be.",
            "Attach replicas, or ask for fewer with wait_replicas.",
        )
    elif replicas > wait_replicas:
        yield Weakness(
            _ENDED_STAYS_ENDED,
            "The server is replicated: a failover to a replica that has not heard of it may"
            " bring back what was ended just before.",
            "Set wait_replicas to the number of replicas, or accept that.",
        )
    if replicas and not server.number("min-replicas-to-write"):
        yield Weakness(
            _ENDED_STAYS_ENDED,
            "The server takes writes without its replicas: if it is cut off and replaced,"
            " what was ended there meanwhile comes back.",
            "Set min-replicas-to-write to 1 or more.",
        )


def _lines_of(info: Any) -> dict[str, str]:
    # In RESP 3 some versions of redis-py leave in front what kind of text it is.
    text = info.decode("utf-8", "replace").removeprefix("txt:")
    pairs = (line.partition(":") for line in text.splitlines() if not line.startswith("#"))
    return {name: value for name, _, value in pairs}
