"""
What an operation asks of a server, and how far it has come. Shared by both stores.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import (
    AskError,
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    ClusterDownError,
    MovedError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as LostConnection

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import timedelta

PAUSE_SECONDS: Final = 0.02
"""How long to wait before a question is repeated that the server put off."""

REFRESH_SECONDS: Final = 1.0
"""How old a map of a cluster must be to be drawn anew because of a redirection."""

KEPT_SECONDS: Final = 1.0
"""How long a store keeps a connection before its pool looks after it again."""

CONFIRMATION_SHARE: Final = 0.9
"""How much of the time that is left may be spent on waiting for a confirmation."""

_HASTY_REDIRECTIONS: Final = 4
_ENOUGH_SHARE: Final = 0.25
_WAIT_SHARE: Final = 0.8
_MARK_MILLISECONDS: Final = 1000

# In Redis 7.0, WAIT speaks of all that was written before the connection's last
# command; since 7.2, and in Valkey, of what the connection itself has written. A
# revocation that is repeated deletes nothing any more. So that WAIT speaks of the
# first one all the same, something is written: first deleted, which a full server
# allows, and then put.
_MARK: Final = "redis.call('UNLINK', KEYS[1]) return redis.call('SET', KEYS[1], '', 'PX', ARGV[1])"


@dataclass(slots=True)
class Question:
    """
    One command, and where it is to go.
    """

    command: tuple[Any, ...] | bytes = field(repr=False)
    """Its parts, or all of it as it goes over the wire."""

    key: bytes = field(default=b"", repr=False)
    """A key that it needs, by which a cluster finds the node."""

    node: str | None = None
    """The node that is asked, if it is about a node and not about a key."""

    writes: bool = False
    """Whether it matters if it took effect when its reply is lost."""

    replicas: int = 0
    """How many replicas should have what it wrote, before the answer counts."""

    def packed_by(self, connection: Any) -> Sequence[bytes]:
        """
        Return the command as it goes over the wire.
        """
        if isinstance(self.command, bytes):
            return (self.command,)
        packed: Sequence[bytes] = connection.pack_command(*self.command)
        return packed

    def confirmation(self, milliseconds: int) -> tuple[tuple[Any, ...], ...]:
        """
        Return the commands that wait for the replicas, on the same connection.
        """
        mark = ("EVAL", _MARK, 1, self.key + b":w", _MARK_MILLISECONDS)
        return mark, ("WAIT", self.replicas, milliseconds)


class Trip:
    """
    One operation under way: how long it may still take, and what may have come of it.
    """

    # Of the class until they change, for few do.
    may_have_written = False
    """Whether a write was sent and neither answered nor refused."""
    redirections = 0
    confirmed = 0
    """How many replicas have what was written."""

    def __init__(self, deadline: timedelta) -> None:
        self.starts_at: Final = monotonic()
        self.ends_at: Final = self.starts_at + deadline.total_seconds()

    @property
    def seconds_left(self) -> float:
        """
        How long it may still take; negative if it is late.
        """
        return self.ends_at - monotonic()

    def require_time(self) -> None:
        """
        Raise ``TimeoutError`` if it is late: before anything is sent, not after.
        """
        if self.ends_at <= monotonic():
            raise TimeoutError("the time for this operation is over")

    @property
    def is_half_over(self) -> bool:
        """
        Whether nothing further should be begun that can as well be done another time.
        """
        return monotonic() > (self.starts_at + self.ends_at) / 2

    def pause_before(self, refusal: Exception) -> float | None:
        """
        Return how long to wait before the refused question is sent again; ``None`` for never.

        What was refused is known not to be written. A last attempt without time
        for its answer would only spoil that.
        """
        self.redirections += 1
        redirected = isinstance(refusal, (MovedError, AskError))
        pause = 0.0 if redirected and self.redirections <= _HASTY_REDIRECTIONS else PAUSE_SECONDS
        enough = (self.ends_at - self.starts_at) * _ENOUGH_SHARE
        return None if self.seconds_left < pause + enough else pause

    def milliseconds_to_wait(self, socket_timeout: float | None) -> int:
        """
        Return how long a server may wait for replicas, so that its answer still comes in time.
        """
        seconds = self.seconds_left if socket_timeout is None else socket_timeout
        # Not 0, which would be for ever.
        return max(1, int(min(self.seconds_left, seconds) * _WAIT_SHARE * 1000))

    def note_confirmation(self, replies: Sequence[Any]) -> None:
        """
        Take the replies to :meth:`Question.confirmation`.
        """
        marked, confirmed = replies
        if not isinstance(marked, ResponseError) and not isinstance(confirmed, ResponseError):
            self.confirmed = confirmed


def may_be_repeated(error: Exception) -> bool:
    """
    Tell whether a read that failed like this deserves a fresh connection.

    A connection that had rested in the pool may have died there. A server that is
    slow or says no is no better for being asked again.
    """
    if isinstance(error, RedisError):
        refusals = (AuthenticationError, AuthorizationError, BusyLoadingError)
        return isinstance(error, LostConnection) and not isinstance(error, refusals)
    return isinstance(error, OSError) and not isinstance(error, TimeoutError)


def tells_of_change(error: Exception) -> bool:
    """
    Tell whether *error* suggests that a cluster is no longer as it was.
    """
    return not isinstance(error, ResponseError) or isinstance(
        error, (ClusterDownError, ReadOnlyError)
    )


def mapping_of(reply: dict[bytes, bytes] | list[bytes]) -> Mapping[bytes, bytes]:
    """
    Return the fields of a reply: RESP 3 has mappings, RESP 2 has lists.
    """
    if isinstance(reply, dict):
        return reply
    return dict(zip(reply[::2], reply[1::2], strict=True))
