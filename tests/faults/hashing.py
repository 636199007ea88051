"""
A hasher that costs time and no processor: hashing is not what the campaign is about.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
import time
from typing import Final

from faults.record import notes
from sessioncore.outcomes import Busy
from sessioncore.ports import PasswordCheck

TODAY: Final = "today"
BEFORE: Final = "before"
"""Hashes that were made before are upgraded at the next sign-in."""

_SECONDS: Final = 0.005


class QuickHasher:
    """
    For threads.
    """

    def verify(self, encoded: str | None, password: str, /) -> PasswordCheck:
        """
        See :meth:`sessioncore.ports.PasswordHasher.verify`.
        """
        time.sleep(_SECONDS)
        return verified(encoded, password)

    def hash(self, password: str, /) -> str | Busy:
        """
        See :meth:`sessioncore.ports.PasswordHasher.hash`.
        """
        time.sleep(_SECONDS)
        return hashed(password)


class AsyncQuickHasher:
    """
    For asyncio.
    """

    async def verify(self, encoded: str | None, password: str, /) -> PasswordCheck:
        """
        See :meth:`sessioncore.ports.AsyncPasswordHasher.verify`.
        """
        await asyncio.sleep(_SECONDS)
        return verified(encoded, password)

    async def hash(self, password: str, /) -> str | Busy:
        """
        See :meth:`sessioncore.ports.AsyncPasswordHasher.hash`.
        """
        await asyncio.sleep(_SECONDS)
        return hashed(password)


def hashed(password: str, made: str = TODAY) -> str:
    """
    Make a hash.
    """
    salt = secrets.token_hex(8)
    return f"{made}${salt}${_digest(salt, password)}"


def verified(encoded: str | None, password: str) -> PasswordCheck:
    """
    Compare a password with a hash, and note that it was.
    """
    made, salt, digest = (encoded or "$$").split("$")
    matched = hmac.compare_digest(digest, _digest(salt, password))
    notes.get().guesses.append((time.monotonic_ns(), matched))
    if not matched:
        return PasswordCheck.MISMATCH
    return PasswordCheck.MATCH if made == TODAY else PasswordCheck.OUTDATED


def _digest(salt: str, password: str) -> str:
    return hashlib.sha256(f"{salt}{password}".encode()).hexdigest()
