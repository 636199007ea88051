"""
A sign-in under way: good once, for a while, and safe to keep in session data.
"""

import base64
import dataclasses
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier
from typing import Any, cast

import pytest
from fakes import MILLISECOND, MINUTE
from hypothesis import given
from hypothesis import strategies as st

from sessioncore import Attempt, AttemptSpent, InvalidData, Json, Subject
from sessioncore.data import decode_value, encode_value
from sessioncore.session import Epoch
from sessioncore.testing.strategies import instants, user_ids

EPOCH = Epoch(bytes(range(240, 256)))
OPENED_AT = datetime(2030, 1, 1, 12, 0, 0, 7000, tzinfo=UTC)


def an_attempt(role: str | None = None) -> Attempt:
    return Attempt(Subject.user("u1"), EPOCH, OPENED_AT, role)


def same(one: Attempt, other: Attempt) -> bool:
    return all(
        getattr(one, name) == getattr(other, name)
        for name in ("subject", "epoch", "opened_at", "role")
    )


# -- Once, and for a while -----------------------------------------------------


def test_an_attempt_is_spent_once() -> None:
    attempt = an_attempt()
    attempt.spend()
    for _ in range(2):
        with pytest.raises(AttemptSpent, match="once"):
            attempt.spend()


@pytest.mark.parametrize("_round", range(20))
def test_of_parallel_callers_exactly_one_spends_it(_round: int) -> None:
    attempt, together = an_attempt(), Barrier(8)

    def spend(_number: int) -> bool:
        together.wait(timeout=30)
        try:
            attempt.spend()
        except AttemptSpent:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(spend, range(8))) == 1


def test_an_attempt_is_open_until_just_before_the_window_has_passed() -> None:
    assert an_attempt().is_open(10 * MINUTE, OPENED_AT + 10 * MINUTE - MILLISECOND)


def test_an_attempt_is_closed_when_the_window_has_passed() -> None:
    assert not an_attempt().is_open(10 * MINUTE, OPENED_AT + 10 * MINUTE)


def test_an_attempt_of_a_clock_that_is_ahead_is_open() -> None:
    assert an_attempt().is_open(MINUTE, OPENED_AT - MINUTE)


# -- To JSON and back ----------------------------------------------------------


def test_an_attempt_is_kept_as_these_figures() -> None:
    assert an_attempt("staff").to_json() == {
        "user_id": "u1",
        "epoch": base64.urlsafe_b64encode(EPOCH).decode(),
        "opened_at": 1_893_499_200_007,
        "role": "staff",
    }


@given(
    user_ids(),
    st.binary(min_size=16, max_size=16),
    instants(),
    st.none() | st.text(st.characters(codec="utf-8")),
)
def test_an_attempt_is_read_back_from_session_data(
    user_id: str, epoch: bytes, opened_at: datetime, role: str | None
) -> None:
    attempt = Attempt(Subject.user(user_id), Epoch(epoch), opened_at, role)
    stored = decode_value(encode_value(cast("Json", attempt.to_json())))
    assert same(Attempt.from_json(stored), attempt)


def test_an_attempt_that_was_read_back_is_open_as_long_as_the_first() -> None:
    restored = Attempt.from_json(cast("Json", an_attempt().to_json()))
    assert restored.is_open(MINUTE, OPENED_AT + MINUTE - MILLISECOND)
    assert not restored.is_open(MINUTE, OPENED_AT + MINUTE)


def test_keys_that_a_later_version_may_add_do_no_harm() -> None:
    assert same(Attempt.from_json({**an_attempt().to_json(), "more": 1}), an_attempt())


@pytest.mark.parametrize("key", ["user_id", "epoch", "opened_at", "role"])
def test_no_key_may_be_missing(key: str) -> None:
    value = an_attempt().to_json()
    del value[key]
    with pytest.raises(InvalidData, match="not an attempt"):
        Attempt.from_json(cast("Json", value))


@pytest.mark.parametrize(
    "change",
    [
        {"user_id": None},
        {"user_id": 1},
        {"user_id": ""},
        {"user_id": "a\nb"},
        {"user_id": "a" * 256},
        {"epoch": None},
        {"epoch": ""},
        {"epoch": "A" * 20 + "=="},
        {"epoch": "A" * 24},
        {"epoch": "A" * 22},
        {"epoch": "!" * 22 + "=="},
        {"epoch": "é" * 22 + "=="},
        {"opened_at": "1"},
        {"opened_at": 1.5},
        {"opened_at": None},
        {"opened_at": 10**17},
        {"opened_at": -(10**17)},
        {"opened_at": 10**30},
        {"opened_at": 10**400},
        {"role": 1},
        {"role": ["staff"]},
    ],
)
def test_what_is_no_attempt_is_refused(change: dict[str, Json]) -> None:
    value: Any = {**an_attempt().to_json(), **change}
    with pytest.raises(InvalidData, match="not an attempt"):
        Attempt.from_json(value)


@pytest.mark.parametrize("value", [None, True, 1, "attempt", [], {}, [["user_id", "u1"]]])
def test_another_value_is_refused(value: Json) -> None:
    with pytest.raises(InvalidData, match="not an attempt"):
        Attempt.from_json(value)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: (
            st.dictionaries(st.sampled_from(["user_id", "epoch", "opened_at", "role"]), inner)
            | st.lists(inner)
        ),
    )
)
def test_any_value_is_an_attempt_or_refused(value: Any) -> None:
    try:
        attempt = Attempt.from_json(value)
    except InvalidData:
        return
    assert len(attempt.epoch) == 16


def test_the_refusal_says_nothing_of_the_value() -> None:
    with pytest.raises(InvalidData) as raised:
        Attempt.from_json({**an_attempt().to_json(), "epoch": "c2VjcmV0"})
    assert "c2VjcmV0" not in str(raised.value)
    assert raised.value.__suppress_context__ or raised.value.__context__ is None


def test_an_attempt_prints_whose_it_is_and_not_its_epoch() -> None:
    shown = repr(an_attempt("staff"))
    assert shown == "Attempt(Subject.user('u1'))"


def test_an_attempt_is_no_dataclass_that_would_be_taken_apart() -> None:
    assert not dataclasses.is_dataclass(an_attempt())
    with pytest.raises(TypeError):
        json.dumps(an_attempt())


def test_a_window_of_any_length_will_do() -> None:
    assert an_attempt().is_open(timedelta.max, OPENED_AT)
