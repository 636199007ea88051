"""
What a checker finds.
"""

from __future__ import annotations

from dataclasses import dataclass

from faults.history import Operation


@dataclass(frozen=True, slots=True)
class Violation:
    """
    A promise that was broken, and the operations that show it.
    """

    promise: str
    """The checker's name."""

    sentence: str
    evidence: tuple[Operation, ...] = ()

    def __str__(self) -> str:
        shown = "".join(f"\n    {operation}" for operation in self.evidence)
        return f"{self.promise}: {self.sentence}{shown}"
