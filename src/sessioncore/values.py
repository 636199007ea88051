"""
Frozen values, made quickly.

What the domain hands out cannot be changed, and that has a price: a frozen
dataclass sets each of its fields past its own guard. For the fifteen fields of a
session that takes longer than all that is decided about it (ADR-0034).
"""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Callable

Parameters = ParamSpec("Parameters")
Value = TypeVar("Value")


def maker(kind: Callable[Parameters, Value]) -> Callable[Parameters, Value]:
    """
    Return a function that makes what the frozen, slotted dataclass *kind* makes, only faster.

    It takes what *kind* takes. The fields are set in an object of a class that has
    the same slots and no guard, which then becomes one of *kind*, for good.

    Raises:
        TypeError: *kind* does more than to set its own fields.
    """
    frozen: Any = kind
    positional = [each.name for each in fields(frozen) if not each.kw_only]
    named = [each.name for each in fields(frozen) if each.kw_only]
    if (
        hasattr(frozen, "__post_init__")
        or any(not each.init or each.default_factory is not MISSING for each in fields(frozen))
        or set(frozen.__slots__) != {*positional, *named}
    ):
        raise TypeError(f"{frozen.__name__} does more than to set its own fields")
    source = [
        f"def make({', '.join([*positional, *(['*'] if named else []), *named])}):",
        "    made = unguarded()",
        *(f"    made.{name} = {name}" for name in positional + named),
        "    made.__class__ = frozen",
        "    return made",
    ]
    unguarded = type(frozen.__name__, (), {"__slots__": frozen.__slots__})
    scope: dict[str, Any] = {"unguarded": unguarded, "frozen": frozen}
    # As dataclasses does it: from nothing but the names of the fields.
    exec("\n".join(source), scope)  # noqa: S102
    make: Any = scope["make"]
    make.__defaults__ = frozen.__init__.__defaults__
    make.__kwdefaults__ = frozen.__init__.__kwdefaults__
    return cast("Callable[Parameters, Value]", make)
