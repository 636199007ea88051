"""
What an error of redis-py means for the call that met it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from redis.exceptions import (
    AskError,
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    ClusterCrossSlotError,
    ClusterDownError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
    ResponseError,
    TryAgainError,
)

from sessioncore.errors import (
    CorruptRecord,
    OutcomeUnknown,
    RevocationUnconfirmed,
    StoreError,
    StoreUnavailable,
)

if TYPE_CHECKING:
    from sessioncore_redis.trips import Trip

DRIVER_ERRORS: Final = (RedisError, RedisClusterException, OSError)
"""What redis-py raises, and what shines through it."""

CLOSED_BY_ANOTHER: Final = (AttributeError, RuntimeError)
"""
What redis-py raises when a connection is closed while it is in use.

Versions before 8 do that themselves when they draw the map of a cluster anew.
"""

# A server refuses like this before it runs anything, or at a script's first write.
_REFUSALS: Final = (
    AskError,  # and so MovedError
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    ClusterCrossSlotError,
    ClusterDownError,  # and so MasterDownError
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    TryAgainError,
)
_REFUSING_CODES: Final = (
    *("ASK", "BUSY", "CLUSTERDOWN", "CROSSSLOT", "LOADING", "MASTERDOWN"),
    *("MISCONF", "MOVED", "NOAUTH", "NOREPLICAS", "TRYAGAIN"),
)

_WRONG_TYPE: Final = "WRONGTYPE"


def failure(error: Exception, *, may_have_written: bool) -> StoreError:
    """
    Translate an error that redis-py raised.

    Args:
        error: The error, as caught.

        may_have_written: Whether a write was sent for which this was the answer,
            or the end of waiting for one.
    """
    _forget_arguments(error)
    if isinstance(error, ResponseError) and _code_of(error) == _WRONG_TYPE:
        return CorruptRecord("something else is stored under a key of this store")
    if is_refusal(error):
        return StoreUnavailable("Redis refused the call")
    if not may_have_written:
        return StoreUnavailable("Redis did not answer")
    return OutcomeUnknown("Redis did not say whether it took the call")


def is_refusal(error: BaseException) -> bool:
    """
    Tell whether *error* is the word of a server that it has written nothing.
    """
    if isinstance(error, NoPermissionError):
        # Inside a script it may have come after a write.
        return "@user_script" not in str(error)
    # A connection to a primary that Sentinel found says it in its own words.
    return (
        isinstance(error, _REFUSALS)
        or isinstance(error.__context__, ReadOnlyError)
        or (isinstance(error, ResponseError) and _code_of(error) in _REFUSING_CODES)
    )


def unconfirmed(trip: Trip, replicas: int) -> RevocationUnconfirmed:
    """
    Say how many replicas have what a revocation wrote.
    """
    return RevocationUnconfirmed(f"{trip.confirmed} of {replicas} replicas have confirmed it")


def _code_of(error: Exception) -> str:
    return str(error).partition(" ")[0]


def _forget_arguments(error: Exception) -> None:
    # A server or proxy that does not know a command quotes the arguments.
    known, quotes, _ = str(error).partition(", with args")
    if quotes:
        error.args = (known,)
