"""
The password hasher for threads.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from threading import BoundedSemaphore
from typing import TypeVar

import attrs

from sessioncore.outcomes import Busy
from sessioncore.ports import PasswordCheck
from sessioncore_argon2._hashing import Hashing, acceptable

T = TypeVar("T")


def _turns_of(hashing: Hashing) -> BoundedSemaphore:
    return BoundedSemaphore(hashing.parallel)


@attrs.frozen(eq=False)
class Argon2PasswordHasher(Hashing):
    """
    :class:`~sessioncore.ports.PasswordHasher` with Argon2id, for threads.

    It takes any number of threads and bounds what they cost: memory is never more
    than ``parallel`` times the larger of *parameters* and the stored hash at
    hand. A caller who finds all places taken hears so at once. ``BUSY`` is also
    the answer when the machine has too little memory left, or no thread: a machine
    that never has enough for *parameters* is always busy.

    Args:
        parameters: How much work new hashes are. A password that matches a hash
            made in any other way is answered ``OUTDATED``.

        parallel: How many hashes at once; by default, as many as there are CPUs
            that this process may use.

        waiting: How many callers more may wait for their turn; by default, eight
            for each of *parallel*.

        memory_ceiling_kib: The most memory that a *stored* hash may ask for; it
            may cost no more than four passes over as much. One beyond that is
            unreadable, so that a planted hash cannot take the machine down.

        argon2: What does the work. Tests put one here that counts or waits.

    Raises:
        ValueError: A bound makes no sense, or *parameters* lie above the ceiling.
    """

    _turns: BoundedSemaphore = attrs.field(
        init=False, repr=False, default=attrs.Factory(_turns_of, takes_self=True)
    )

    def verify(self, encoded: str | None, password: str, /) -> PasswordCheck:
        """
        Compare *password* with a hash.

        Every mismatch takes the work of one hash with today's parameters: also
        when *encoded* is ``None``, unreadable (not Argon2, or above the
        ceiling) or made with cheaper parameters, and when *password* is too
        long or not text. Only a hash made with costlier parameters than today's
        takes longer, and only where memory runs out after the comparison is some
        of it left undone.
        """
        checked = self._run(partial(self._check, encoded, password))
        return PasswordCheck.BUSY if isinstance(checked, Busy) else checked

    def hash(self, password: str, /) -> str | Busy:
        """
        Make a hash with today's parameters.

        Raises:
            UnacceptablePassword: The password takes more than 4096 bytes of
                UTF-8, or holds a lone surrogate.
        """
        return self._run(partial(self._make, acceptable(password)))

    def _run(self, work: Callable[[], T]) -> T | Busy:
        if not self._places.acquire(blocking=False):
            return Busy()
        try:
            with self._turns:
                return work()
        finally:
            self._places.release()
