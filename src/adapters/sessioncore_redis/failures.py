"""
What an error of redis-py means for the call that met it.
"""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, Final

from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
)

from sessioncore.errors import CorruptRecord, OutcomeUnknown, StoreError, StoreUnavailable

if TYPE_CHECKING:
    from types import TracebackType

# A script is refused like this at its first write. Its repetition by the driver
# would not have written: so there was no earlier attempt that did.
_REFUSED_AT_FIRST_WRITE: Final = (OutOfMemoryError, ReadOnlyError)
_CODES_AT_FIRST_WRITE: Final = ("MISCONF", "NOREPLICAS")

# This is refused before a script starts, whatever became of an earlier attempt.
_REFUSED_AT_ONCE: Final = (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    NoPermissionError,
)
_CODES_AT_ONCE: Final = ("BUSY", "NOAUTH", "MASTERDOWN", "CLUSTERDOWN")

_WRONG_TYPE: Final = "WRONGTYPE"


def failure(error: Exception, *, writes: bool, retries: int) -> StoreError:
    """
    Translate an error that redis-py raised.

    Args:
        error: The error, as caught.

        writes: Whether the call would have changed anything.

        retries: How often the client repeats a command by itself. A refusal
            then says nothing of the attempts before it.
    """
    _forget_arguments(error)
    code = str(error).partition(" ")[0]
    if isinstance(error, ResponseError) and code == _WRONG_TYPE:
        return CorruptRecord("something else is stored under a key of this store")
    if not writes or not _may_have_arrived(error.__traceback__):
        return StoreUnavailable("Redis did not answer")
    if isinstance(error, _REFUSED_AT_FIRST_WRITE) or code in _CODES_AT_FIRST_WRITE:
        return StoreUnavailable("Redis refuses to write")
    if (isinstance(error, _REFUSED_AT_ONCE) or code in _CODES_AT_ONCE) and retries == 0:
        return StoreUnavailable("Redis refused the call")
    return OutcomeUnknown("Redis did not say whether it took the call")


def _may_have_arrived(trace: TracebackType | None) -> bool:
    # redis-py takes a connection from the pool, and connects and checks it, before
    # it sends anything for the first time, and never afterwards. Neither type nor
    # text of an error tells that apart, least of all when the client retries.
    return all(frame.f_code.co_name != "get_connection" for frame, _ in traceback.walk_tb(trace))


def _forget_arguments(error: Exception) -> None:
    # A server or proxy that does not know a command quotes the arguments.
    known, quotes, _ = str(error).partition(", with args")
    if quotes:
        error.args = (known,)
