"""
What a hash may cost: today's parameters, and the floor under them.
"""

from __future__ import annotations

from typing import Final

import attrs
from attrs import validators

# ASVS 5.0, appendix C, "Password Storage Hash Algorithms": the least memory in
# KiB for so many passes. The appendix says p = 1; more lanes are let through,
# because memory and passes, which are what an attacker pays, stay the same.
_FLOOR: Final = ((3, 12 * 1024), (2, 19 * 1024), (1, 46 * 1024))

_LARGEST: Final = 2**32 - 1
"""RFC 9106, section 3.1: memory and passes are 32-bit numbers."""

MOST_LANES: Final = 64
"""Each is a thread. Ours; RFC 9106 allows 2**24 - 1."""


@attrs.frozen(kw_only=True)
class Argon2Parameters:
    """
    How much work one Argon2id hash is.

    The defaults are OWASP's recommendation (Password Storage Cheat Sheet: m=19456,
    t=2, p=1), about 20 milliseconds of one CPU.

    Args:
        memory_kib: Memory in KiB, Argon2's *m*.

        passes: How often the memory is gone through, Argon2's *t*.

        lanes: Threads per hash, Argon2's *p*.

        weaker_because: Why less than the floor of ASVS 5.0 (46 MiB with one pass,
            19 MiB with two, 12 MiB with three or more) is enough here, in words
            for whoever reviews it: ``"tests"``, say. Needed below the floor only.

    Raises:
        ValueError: Argon2 does not work with these numbers, or they are below
            the floor and no reason is given.
    """

    memory_kib: int = attrs.field(default=19_456, validator=validators.instance_of(int))
    passes: int = attrs.field(default=2, validator=validators.instance_of(int))
    lanes: int = attrs.field(default=1, validator=validators.instance_of(int))
    weaker_because: str | None = attrs.field(default=None, eq=False)

    def __attrs_post_init__(self) -> None:
        if not (1 <= self.passes <= _LARGEST and 1 <= self.lanes <= MOST_LANES):
            raise ValueError(
                f"Argon2 takes at least one pass, and 1 to {MOST_LANES} lanes here, "
                f"not {self.passes} and {self.lanes}"
            )
        if not 8 * self.lanes <= self.memory_kib <= _LARGEST:
            raise ValueError(
                f"Argon2 needs at least 8 KiB of memory per lane, not {self.memory_kib} KiB "
                f"for {self.lanes}"
            )
        if self.weaker_because is not None and not self.weaker_because.strip():
            raise ValueError("weaker_because must give a reason in words")
        floor = next(memory for passes, memory in _FLOOR if self.passes >= passes)
        if self.memory_kib < floor and self.weaker_because is None:
            raise ValueError(
                f"{self.memory_kib} KiB with {self.passes} pass(es) is below the floor of "
                f"ASVS 5.0, appendix C, which is {floor} KiB; if that is meant, say why "
                'with weaker_because="..."'
            )
