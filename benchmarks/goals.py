"""
What is to be reached, each as a quotient of two things measured in one run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks.measure import Figure


@dataclass(frozen=True)
class Goal:
    """
    One bound on one figure.

    Attributes:
        measure: In words, with the unit of the bound.
        figure: The name of the figure.
        bound: What it should be.
        at_most: Whether the bound is an upper one.
        of: Its ``ratio`` (how many times as fast as what it is compared with), its
            ``share`` (how much of that one's time it takes) or its ``value``.
    """

    measure: str
    figure: str
    bound: float
    at_most: bool = False
    of: str = "ratio"

    def measured(self, figures: Mapping[str, Figure]) -> float | None:
        """
        Return what was measured, or ``None`` if it was not.
        """
        found = figures.get(self.figure)
        if found is None:
            return None
        if self.of == "value":
            return found.value
        if found.ratio is None:
            raise ValueError(f"{found.name} is compared with nothing")
        return 1 / found.ratio if self.of == "share" else found.ratio

    def is_met(self, measured: float) -> bool:
        """
        Tell whether that is good enough.
        """
        return measured <= self.bound if self.at_most else measured >= self.bound


GOALS: Final = (
    Goal(
        "core alone, Redis codec: share of a bare GET", "core/redis", 0.15, at_most=True, of="share"
    ),
    Goal("core alone, SQL codec: share of a bare GET", "core/sql", 0.15, at_most=True, of="share"),
)
