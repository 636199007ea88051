"""
What both hashers are configured with, and the work that they do.

A mismatch takes as much work whatever there was to compare with. An answer that
comes early says that nobody has that name, or that its owner has not signed in
since the parameters were raised; one dummy hash hides the first but not the
second (ADR-0017).

Work is counted in KiB gone through, which is what Argon2's time grows with. It is
not quite all: memory is dearer the first time, so that a mismatch made up of two
smaller hashes was measured at 15.9 to 17.0 ms where one hash took 17.0.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import replace
from threading import BoundedSemaphore
from typing import Final

import attrs
from argon2 import Parameters, PasswordHasher, Type, extract_parameters
from argon2.exceptions import (
    HashingError,
    InvalidHashError,
    VerificationError,
    VerifyMismatchError,
)
from argon2.low_level import error_to_str

from sessioncore.errors import UnacceptablePassword
from sessioncore.outcomes import Busy
from sessioncore.ports import PasswordCheck
from sessioncore_argon2.parameters import MOST_LANES, Argon2Parameters

_PASSWORD_BYTES: Final = 4096
"""Longer is refused, never cut: ASVS 5.0 6.2.8 and 6.2.9 ask for at least 64 characters."""

_CEILING_PASSES: Final = 4
"""A stored hash may cost as much as this many passes over the most memory it may ask for."""

_WAITING_PER_TURN: Final = 8
"""So that the last in the queue waits for some 200 milliseconds at the default parameters."""

_KIB_PER_LANE: Final = 8
"""The least that Argon2 works with."""

# ARGON2_MEMORY_ALLOCATION_ERROR and ARGON2_THREAD_FAIL. A hash may be fine and still
# fail with these; every other failure to verify is the hash's own.
_OUT_OF_MEMORY: Final = frozenset({error_to_str(-22), error_to_str(-33)})


class Argon2:
    """
    All work that costs, done by argon2-cffi with the interpreter lock released.

    Both methods raise :exc:`MemoryError` when Argon2 did not get its memory, or a
    thread.
    """

    def make(self, secret: bytes, parameters: Parameters, /) -> str:
        """
        Make an encoded hash with a fresh salt.
        """
        try:
            return PasswordHasher.from_parameters(parameters).hash(secret)
        except HashingError as error:
            # Everything else that Argon2 could object to was checked before.
            raise MemoryError(str(error)) from error

    def matches(self, secret: bytes, encoded: str, /) -> bool:
        """
        Compare.

        Raises:
            InvalidHashError: Argon2 cannot read the hash; nothing was derived.
        """
        try:
            return PasswordHasher().verify(encoded, secret)
        except VerifyMismatchError:
            return False
        except VerificationError as error:
            if str(error) in _OUT_OF_MEMORY:
                raise MemoryError(str(error)) from error
            raise InvalidHashError(str(error)) from error


def acceptable(password: str) -> bytes:
    """
    Return the password exactly as given, in UTF-8: neither cut nor normalised.

    Raises:
        UnacceptablePassword: It is too long or not text (a lone surrogate). The
            error does not show it.
    """
    # No UTF-8 is shorter than its text, so nothing huge is ever encoded.
    if len(password) <= _PASSWORD_BYTES:
        with suppress(UnicodeEncodeError):
            secret = password.encode()
            if len(secret) <= _PASSWORD_BYTES:
                return secret
    raise UnacceptablePassword(f"a password is text of at most {_PASSWORD_BYTES} bytes of UTF-8")


def usable_cpus() -> int:
    """
    Return how many CPUs this process may run on; a container's quota is not seen.
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _queue_for(hashing: Hashing) -> int:
    return _WAITING_PER_TURN * hashing.parallel


def _places_for(hashing: Hashing) -> BoundedSemaphore:
    if hashing.parallel < 1 or hashing.waiting < 0:
        raise ValueError(
            f"at least 1 works and 0 wait, not parallel={hashing.parallel} "
            f"and waiting={hashing.waiting}"
        )
    # Bounded, so that leaving twice is an error and not one place too many.
    return BoundedSemaphore(hashing.parallel + hashing.waiting)


def _cost(parameters: Parameters) -> int:
    return parameters.memory_cost * parameters.time_cost


@attrs.frozen(eq=False)
class Hashing:
    """
    The settings that the two hashers share, and the work they do when its turn comes.

    Whoever wants some done takes a place, or hears at once that there is none.
    """

    parameters: Argon2Parameters = attrs.field(factory=Argon2Parameters)
    parallel: int = attrs.field(factory=usable_cpus, kw_only=True)
    waiting: int = attrs.field(default=attrs.Factory(_queue_for, takes_self=True), kw_only=True)
    memory_ceiling_kib: int = attrs.field(default=256 * 1024, kw_only=True)
    argon2: Argon2 = attrs.field(factory=Argon2, kw_only=True, repr=False)

    _places: BoundedSemaphore = attrs.field(
        init=False, repr=False, default=attrs.Factory(_places_for, takes_self=True)
    )

    def __attrs_post_init__(self) -> None:
        if not self._affords(self._today):
            raise ValueError(
                f"hashes made with {self.parameters} could not be read back: a stored hash may "
                f"ask for {self.memory_ceiling_kib} KiB and {_CEILING_PASSES} passes over as "
                "much; raise memory_ceiling_kib"
            )

    def _make(self, secret: bytes) -> str | Busy:
        try:
            return self.argon2.make(secret, self._today)
        except MemoryError:
            return Busy()

    def _check(self, encoded: str | None, password: str) -> PasswordCheck:
        """
        Compare, with the same work for every mismatch at or below today's cost.
        """
        stored = encoded or ""  # nobody's hash is as unreadable as an empty one
        try:
            secret = acceptable(password)
        except UnacceptablePassword:
            secret = None
        compared: Parameters | None = None
        try:
            with suppress(InvalidHashError):
                known = self._readable(stored)
                matches = self.argon2.matches(secret or b"", stored)
                # `secret` may be empty, and an empty password is as good as any other here.
                if matches and secret is not None:
                    return PasswordCheck.MATCH if known == self._today else PasswordCheck.OUTDATED
                compared = known
            self._make_up_for(compared)
        except MemoryError:
            # Whoever hears BUSY uncounts the attempt: never once a guess was compared.
            return PasswordCheck.MISMATCH if compared else PasswordCheck.BUSY
        return PasswordCheck.MISMATCH

    def _readable(self, encoded: str) -> Parameters:
        """
        Return how a stored hash was made, before anything is spent on it.

        Raises:
            InvalidHashError: It cannot be read, or asks for too much. Argon2 may still
                refuse what is read here, but never reads other numbers in it: for that
                the text must not go on behind a zero byte, where Argon2 stops.
        """
        if not (encoded.isascii() and encoded.isprintable()):
            raise InvalidHashError
        known = extract_parameters(encoded)
        if not self._affords(known):
            raise InvalidHashError
        return known

    def _affords(self, parameters: Parameters) -> bool:
        return (
            parameters.memory_cost <= self.memory_ceiling_kib
            and _cost(parameters) <= self.memory_ceiling_kib * _CEILING_PASSES
            and parameters.parallelism <= MOST_LANES
            # Libraries write 16 bytes of salt and 16 or 32 of digest.
            and parameters.salt_len <= 64
            and 16 <= parameters.hash_len <= 64
        )

    def _make_up_for(self, compared: Parameters | None) -> None:
        """
        Do the work that a mismatch lacks, in today's memory or less.

        Exact to within half a KiB per pass, and to the least that Argon2 works
        with, neither of which a clock can see.
        """
        today = self._today
        least = _KIB_PER_LANE * today.parallelism
        lacking = _cost(today) - (_cost(compared) if compared else 0)
        if lacking >= least:
            passes = -(-lacking // today.memory_cost)
            memory_kib = max(least, round(lacking / passes))
            self.argon2.make(b"", replace(today, memory_cost=memory_kib, time_cost=passes))

    @property
    def _today(self) -> Parameters:
        return Parameters(
            type=Type.ID,
            version=0x13,  # RFC 9106's, and all that PasswordHasher makes
            salt_len=16,
            hash_len=32,
            time_cost=self.parameters.passes,
            memory_cost=self.parameters.memory_kib,
            parallelism=self.parameters.lanes,
        )
