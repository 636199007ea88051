"""
The system's clock and random generator: the only impure module of the domain.
"""

import secrets
from datetime import UTC, datetime


class SystemClock:
    """
    The clock of this machine.
    """

    def now(self) -> datetime:
        """
        Return the present in UTC.
        """
        return datetime.now(UTC)


class SystemEntropy:
    """
    The operating system's random generator.
    """

    def draw(self, size: int, /) -> bytes:
        """
        Return *size* bytes from :mod:`secrets`.
        """
        return secrets.token_bytes(size)
