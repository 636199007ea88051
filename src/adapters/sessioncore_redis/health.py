"""
What about a server or a client weakens the promises of a store.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sessioncore_redis.clients import AnyClient, specimen_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

INFO = ("INFO",)
FSYNC = ("CONFIG GET", "appendfsync")
OLDEST_SERVER = (6, 2)


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


_ENDED_STAYS_ENDED = "An ended session stays ended, whatever happens to the server."
_LIVES_ON = "A session lives until it expires or is ended."
_KNOWN_OR_NAMED = "A call that wrote nothing says so, and soon."


def weaknesses(
    client: AnyClient,
    info: Mapping[str, Any] | None,
    fsync: str | None,
    *,
    shares_tag_key: bool,
) -> tuple[Weakness, ...]:
    """
    Judge what was found out.

    Args:
        client: The client in use.

        info: What INFO told, or ``None`` if it may not be asked.

        fsync: The setting ``appendfsync``, or ``None`` if it may not be asked.

        shares_tag_key: Whether the tag key is kept in Redis.
    """
    found = list(_of_client(client))
    if info is None:
        found.append(
            Weakness(
                "A weakness of the server is found before it matters.",
                "The server does not let this user ask INFO.",
                "Allow INFO, or have an operator run check().",
            )
        )
    else:
        found += _of_memory(info, shares_tag_key=shares_tag_key)
        found += _of_persistence(info, fsync)
        found += _of_replication(info)
    return tuple(found)


def _of_client(client: AnyClient) -> Iterator[Weakness]:
    specimen = specimen_of(client)
    if specimen.retry.get_retries() != 0:
        yield Weakness(
            _KNOWN_OR_NAMED,
            "The client repeats commands by itself: it answers late, after a refusal"
            " it cannot tell whether an earlier attempt was taken, and a change of"
            " session data may take effect twice.",
            "Give it retry=Retry(NoBackoff(), 0), or use connect().",
        )
    if specimen.socket_timeout is None or specimen.socket_connect_timeout is None:
        yield Weakness(
            _KNOWN_OR_NAMED,
            "The client has no time limit of its own for connecting or reading.",
            "Give it socket_timeout and socket_connect_timeout, or use connect().",
        )
    if getattr(client.connection_pool, "is_master", True) is False:
        yield Weakness(
            _ENDED_STAYS_ENDED,
            "The client reads from replicas, which lag behind.",
            "Use master_for() and not slave_for().",
        )


def _of_memory(info: Mapping[str, Any], *, shares_tag_key: bool) -> Iterator[Weakness]:
    policy = info.get("maxmemory_policy", "unknown")
    if policy != "noeviction":
        yield Weakness(
            _LIVES_ON,
            f"The server's maxmemory-policy is {policy}: when memory runs out, people are"
            " signed out and session data is lost.",
            "Set maxmemory-policy noeviction. Sessions can be ended on a full server.",
        )
    if shares_tag_key and str(policy).startswith("allkeys"):
        yield Weakness(
            "Every process finds every session, to end it.",
            "The tag key is kept in Redis and may be evicted; processes that start"
            " afterwards use another one.",
            "Give every process the same tag_key.",
        )


def _of_persistence(info: Mapping[str, Any], fsync: str | None) -> Iterator[Weakness]:
    if not info.get("aof_enabled"):
        yield Weakness(
            _ENDED_STAYS_ENDED,
            "The server keeps no append-only file: after a crash it has no sessions,"
            " or those of its last snapshot, with ended ones among them.",
            "Set appendonly yes.",
        )
    elif fsync != "always":
        setting = "unknown" if fsync is None else fsync
        yield Weakness(
            _ENDED_STAYS_ENDED,
            f"The server's appendfsync is {setting}: a power failure may undo what was"
            " ended in the last second or longer.",
            "Set appendfsync always, or accept that.",
        )


def _of_replication(info: Mapping[str, Any]) -> Iterator[Weakness]:
    if info.get("role") == "slave":
        yield Weakness(
            _ENDED_STAYS_ENDED,
            "The server is a replica: it lags behind and takes no writes.",
            "Connect to the primary.",
        )
    if info.get("connected_slaves") or info.get("cluster_enabled"):
        yield Weakness(
            _ENDED_STAYS_ENDED,
            "The server is replicated: a failover may bring back what was ended just before.",
            "Accept that, and set min-replicas-to-write to bound it.",
        )
    version = str(info.get("redis_version", "unknown"))
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if numbers < OLDEST_SERVER:
        yield Weakness(
            "Every operation works.",
            f"The server is Redis {version}.",
            "Use Redis 6.2 or newer.",
        )
