"""
Values made quickly are the values that their classes make.
"""

import copy
import inspect
import pickle
from collections.abc import Callable
from dataclasses import FrozenInstanceError, dataclass, field, fields, replace
from datetime import UTC, datetime
from typing import Any

import pytest

from sessioncore.outcomes import Active, make_active
from sessioncore.session import (
    Device,
    Epoch,
    Locator,
    Session,
    Subject,
    make_device,
    make_locator,
    make_session,
)
from sessioncore.values import maker

NOW = datetime(2030, 1, 1, tzinfo=UTC)
LOCATOR = Locator(Epoch(bytes(16)), bytes(6))
RECORD: dict[str, Any] = {
    "locator": LOCATOR,
    "subject": Subject.user("alice"),
    "policy": "default",
    "created_at": NOW,
    "changed_at": NOW,
    "last_seen_at": NOW,
    "keep_until": NOW,
    "family": bytes(8),
    "current": bytes(32),
    "stamp": bytes(8),
}

KINDS = pytest.mark.parametrize(
    ("kind", "make", "arguments", "named"),
    [
        (Session, make_session, (), RECORD),
        (Locator, make_locator, (LOCATOR.epoch, LOCATOR.slot), {}),
        (Device, make_device, ("192.0.2.1",), {"user_agent": "curl"}),
        (Device, make_device, (), {}),
        (Active, make_active, (make_session(**RECORD),), {}),
    ],
    ids=["session", "locator", "device", "no device", "active"],
)


@KINDS
def test_a_value_made_quickly_is_what_its_class_makes(
    kind: type[Any], make: Callable[..., Any], arguments: tuple[Any, ...], named: dict[str, Any]
) -> None:
    made, usual = make(*arguments, **named), kind(*arguments, **named)
    assert type(made) is kind
    assert made == usual
    assert hash(made) == hash(usual)
    assert repr(made) == repr(usual)
    assert replace(made) == usual
    assert copy.deepcopy(made) == pickle.loads(pickle.dumps(made)) == usual


@KINDS
def test_a_value_made_quickly_cannot_be_changed(
    kind: type[Any], make: Callable[..., Any], arguments: tuple[Any, ...], named: dict[str, Any]
) -> None:
    made = make(*arguments, **named)
    for each in fields(kind):
        with pytest.raises(FrozenInstanceError):
            setattr(made, each.name, None)
        with pytest.raises(FrozenInstanceError):
            delattr(made, each.name)


@pytest.mark.parametrize(
    ("kind", "make"),
    [
        (Session, make_session),
        (Locator, make_locator),
        (Device, make_device),
        (Active, make_active),
    ],
)
def test_what_makes_values_quickly_takes_what_their_class_takes(
    kind: type[Any], make: Callable[..., Any]
) -> None:
    def shape(function: Callable[..., Any]) -> list[tuple[str, Any, Any]]:
        parameters = inspect.signature(function).parameters.values()
        return [(each.name, each.kind, each.default) for each in parameters]

    assert shape(make) == shape(kind)


@pytest.mark.parametrize("lost", RECORD)
def test_a_session_made_quickly_lacks_no_field(lost: str) -> None:
    rest = {name: value for name, value in RECORD.items() if name != lost}
    with pytest.raises(TypeError, match=lost):
        make_session(**rest)


@dataclass(frozen=True, slots=True)
class Checked:
    number: int

    def __post_init__(self) -> None:
        raise ValueError


@dataclass(frozen=True, slots=True)
class Fresh:
    numbers: list[int] = field(default_factory=list[int])


@dataclass(frozen=True, slots=True)
class Computed:
    number: int = field(init=False, default=1)


@dataclass(frozen=True, slots=True)
class Heir(Locator):
    more: int


@pytest.mark.parametrize("kind", [Checked, Fresh, Computed, Heir])
def test_what_does_more_than_to_set_its_own_fields_is_not_made_quickly(kind: type[Any]) -> None:
    with pytest.raises(TypeError, match=kind.__name__):
        maker(kind)
