"""
What is measured, one module for each part of it.

Each has a function ``measure(plan)`` that yields its figures, and runs in a
process of its own.
"""

from __future__ import annotations

from typing import Final

AREAS: Final = ("core", "authenticate", "operations", "size", "growth", "peers", "near_cache")
"""The modules, in the order in which they run."""
