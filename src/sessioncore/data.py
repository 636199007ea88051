"""
Session data: JSON-shaped values under text keys, encoded value by value.

What cannot be said in JSON is refused instead of being bent into it (a tuple
would come back as a list, the key ``1`` as ``"1"``), so that what is read is
what was written. There is no pickle, not even for migration (ADR-0018).
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Final, cast

from sessioncore.errors import CorruptRecord, InvalidData

if TYPE_CHECKING:
    from collections.abc import Collection

    from sessioncore.outcomes import Json

KEY_BYTES: Final = 128
_DEEPEST: Final = 100


def checked_key(key: str) -> str:
    """
    Return *key* if it is acceptable: 1 to 128 bytes of UTF-8 without control characters.

    Raises:
        InvalidData: It is not.
    """
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        raise InvalidData("a key has no surrogates") from None
    if not 1 <= size <= KEY_BYTES:
        raise InvalidData(f"a key has 1 to {KEY_BYTES} bytes of UTF-8")
    if any(character < " " or "\x7f" <= character <= "\x9f" for character in key):
        raise InvalidData("a key has no control characters")
    return key


def checked_keys(keys: Collection[str]) -> frozenset[str]:
    """
    Return *keys* if all of them are acceptable.

    Raises:
        InvalidData: One is not.

        TypeError: *keys* is a single ``str``, which would be taken letter by letter.
    """
    if isinstance(keys, str):
        raise TypeError("several keys, and not one str, are expected")
    return frozenset(checked_key(key) for key in keys)


def encode_value(value: Json) -> bytes:
    """
    Encode one value as compact JSON text.

    >>> encode_value({"items": [1, 2.5, None], "gift": True})
    b'{"items":[1,2.5,null],"gift":true}'

    Raises:
        InvalidData: The value, or something in it, is not JSON-shaped.
    """
    _check(value, 0)
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text.encode()
    except ValueError:  # a lone surrogate, or an integer of thousands of digits
        raise InvalidData("a value of session data cannot be written as JSON") from None


def decode_value(text: bytes) -> Json:
    """
    Decode what :func:`encode_value` returned.

    Raises:
        CorruptRecord: *text* is something else.
    """
    try:
        return cast("Json", json.loads(text, parse_float=_finite, parse_constant=_finite))
    except (ValueError, RecursionError):
        raise CorruptRecord("a value of session data is not JSON") from None


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("JSON has no infinities and no NaN")
    return number


def _check(value: object, depth: int) -> None:
    if depth > _DEEPEST:
        raise InvalidData(f"session data is nested deeper than {_DEEPEST} levels")
    # Exact types: a subclass may hold more than JSON would bring back.
    kind = type(value)
    if value is None or kind in {bool, int, str}:
        return
    if kind is float:
        if not math.isfinite(cast("float", value)):
            raise InvalidData("session data has no infinities and no NaN")
    elif kind is list:
        for item in cast("list[object]", value):
            _check(item, depth + 1)
    elif kind is dict:
        for key, item in cast("dict[object, object]", value).items():
            if type(key) is not str:
                raise InvalidData("a key within session data is not a str")
            _check(item, depth + 1)
    else:
        raise InvalidData(f"session data is JSON-shaped, and {kind.__name__} is not")
