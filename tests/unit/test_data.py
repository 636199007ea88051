"""
Session data: what is written is what is read, and anything else is refused.
"""

import math
from collections import OrderedDict
from enum import IntEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessioncore import CorruptRecord, InvalidData, Json
from sessioncore.data import checked_key, checked_keys, decode_value, encode_value


class Colour(IntEnum):
    RED = 1


class Name(str):
    __slots__ = ()


def texts() -> st.SearchStrategy[str]:
    return st.text(st.characters(codec="utf-8"), max_size=20)


def json_values() -> st.SearchStrategy[Json]:
    scalars = (
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | texts()
    )
    return st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts(), inner, max_size=4),
        max_leaves=20,
    )


def nested(depth: int) -> Json:
    """
    A list in *depth* lists.
    """
    value: Json = []
    for _ in range(depth):
        value = [value]
    return value


# -- Keys ----------------------------------------------------------------------


@pytest.mark.parametrize("key", ["a", "k" * 128, "é" * 64, " ", "~", "\xa0", "a.b:c/d"])
def test_a_key_is_1_to_128_bytes_of_text(key: str) -> None:
    assert checked_key(key) == key


@pytest.mark.parametrize("key", ["", "k" * 129, "é" * 64 + "k"])
def test_a_key_that_is_empty_or_longer_is_refused(key: str) -> None:
    with pytest.raises(InvalidData, match="1 to 128 bytes"):
        checked_key(key)


@pytest.mark.parametrize("character", ["\x00", "\n", "\x1f", "\x7f", "\x80", "\x9f"])
def test_a_key_with_a_control_character_is_refused(character: str) -> None:
    with pytest.raises(InvalidData, match="no control characters"):
        checked_key("a" + character + "b")


def test_a_key_with_a_surrogate_is_refused() -> None:
    with pytest.raises(InvalidData, match="no surrogates"):
        checked_key("a\ud800")


@pytest.mark.parametrize("keys", [(), ["a", "b", "a"], {"a"}, frozenset({"b"}), {"a": 1}])
def test_several_keys_may_come_in_any_collection(keys: Any) -> None:
    assert checked_keys(keys) == frozenset(keys)


@pytest.mark.parametrize("keys", ["", "cart", Name("cart")])
def test_one_text_is_not_taken_for_several_keys(keys: str) -> None:
    with pytest.raises(TypeError, match="not one str"):
        checked_keys(keys)


def test_of_several_keys_each_has_to_be_acceptable() -> None:
    with pytest.raises(InvalidData, match="1 to 128 bytes"):
        checked_keys(["a", ""])


# -- Values --------------------------------------------------------------------


@given(json_values())
def test_what_was_encoded_is_decoded_to_the_same(value: Json) -> None:
    decoded = decode_value(encode_value(value))
    assert decoded == value
    # Comparison alone would let 1, 1.0 and True pass for each other.
    assert repr(decoded) == repr(value)


def test_values_are_compact_text_in_utf_8() -> None:
    assert encode_value({"b": [1, 2.5, None, True], "a": "é"}) == (
        b'{"b":[1,2.5,null,true],"a":"\xc3\xa9"}'
    )


@pytest.mark.parametrize(
    "value",
    [
        (1, 2),
        {1, 2},
        b"bytes",
        object(),
        Colour.RED,
        Name("x"),
        OrderedDict[str, int](a=1),
        1j,
        [(1,)],
        {"a": {"b": {1}}},
    ],
)
def test_what_json_would_bend_is_refused(value: Any) -> None:
    with pytest.raises(InvalidData, match="session data is JSON-shaped, and"):
        encode_value(value)


def test_a_refusal_names_the_type_and_not_the_value() -> None:
    with pytest.raises(InvalidData) as raised:
        encode_value({"card": b"4111 1111"})  # type: ignore[dict-item] # pyright: ignore[reportArgumentType]
    assert "bytes" in str(raised.value)
    assert "4111" not in str(raised.value)


@pytest.mark.parametrize("key", [1, None, True, 1.5, Name("x")])
def test_a_key_within_a_value_is_exactly_text(key: Any) -> None:
    with pytest.raises(InvalidData, match="a key within session data is not a str"):
        encode_value({key: 1})


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_numbers_that_json_has_no_text_for_are_refused(value: float) -> None:
    with pytest.raises(InvalidData, match="no infinities and no NaN"):
        encode_value([value])


@pytest.mark.parametrize("value", ["\ud800", {"\udfff": 1}, [["\ud800"]]])
def test_a_lone_surrogate_is_refused(value: Json) -> None:
    with pytest.raises(InvalidData, match="cannot be written as JSON"):
        encode_value(value)


def test_an_integer_of_thousands_of_digits_is_refused() -> None:
    with pytest.raises(InvalidData, match="cannot be written as JSON"):
        encode_value(10**5000)


def test_a_hundred_levels_are_accepted() -> None:
    assert decode_value(encode_value(nested(100))) == nested(100)


def test_a_hundred_and_one_levels_are_refused() -> None:
    with pytest.raises(InvalidData, match="nested deeper than 100 levels"):
        encode_value(nested(101))


def test_a_value_that_holds_itself_is_refused() -> None:
    value: list[Any] = []
    value.append({"again": value})
    with pytest.raises(InvalidData, match="nested deeper"):
        encode_value(value)


@pytest.mark.parametrize("text", [b"", b"{", b"nul", b"'a'", b"\xff", b"[1,]", b"[" * 100_000])
def test_what_is_no_json_is_a_corrupt_record(text: bytes) -> None:
    with pytest.raises(CorruptRecord, match="is not JSON"):
        decode_value(text)


@pytest.mark.parametrize("text", [b"NaN", b"[Infinity]", b'{"a":-Infinity}', b"1e999"])
def test_a_number_that_cannot_have_been_encoded_is_a_corrupt_record(text: bytes) -> None:
    with pytest.raises(CorruptRecord):
        decode_value(text)
