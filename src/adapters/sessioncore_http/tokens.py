"""
A synchroniser token: a secret of the session that a form sends along.

Most sites need none: the cross-origin guard does the same with less. It is for those whose
rules ask for one by name (NIST SP 800-63B-4, section 5.1; OWASP CSRF Prevention Cheat
Sheet, "Synchronizer Token Pattern") and for browsers that send neither ``Sec-Fetch-Site``
nor ``Origin``.
"""

from __future__ import annotations

import base64
import hmac
import re
from typing import TYPE_CHECKING, Final

from attrs import frozen

if TYPE_CHECKING:
    from sessioncore import SessionId

MASK_BYTES: Final = 32
# 64 bytes need 86 characters, of which the last has four bits to spare.
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{85}[AQgw]", re.ASCII)


@frozen(kw_only=True)
class SynchronizerToken:
    """
    How the token is made, where it travels, and how it is checked.

    It is derived from the part of the session id that stays for the session's life, so
    nothing is stored for it, it survives renewals and step-ups, and signing in changes it:
    what somebody planted before is worth nothing afterwards (OWASP CSRF Prevention Cheat
    Sheet, "Login Forms").
    """

    header: str = "X-CSRF-Token"
    """The header in which scripts send it."""

    form_field: str = "csrf_token"
    """The hidden field in which forms send it."""

    @staticmethod
    def issued(session_id: SessionId, mask: bytes) -> str:
        """
        Return the token of a session, in one of its 2^256 spellings.

        Args:
            session_id: Any id of the session.

            mask: 32 random bytes, drawn anew for each page: otherwise a compressed response
                could give the token away, bit by bit (BREACH).
        """
        secret = session_id.derived(b"csrf")
        masked = bytes(a ^ b for a, b in zip(mask, secret, strict=True))
        return base64.urlsafe_b64encode(mask + masked).decode("ascii").rstrip("=")

    @staticmethod
    def accepts(session_id: SessionId, token: str | None) -> bool:
        """
        Tell, in constant time, whether *token* is one of that session's.
        """
        if token is None or _TOKEN.fullmatch(token) is None:
            return False
        octets = base64.urlsafe_b64decode(token + "==")
        mask, masked = octets[:MASK_BYTES], octets[MASK_BYTES:]
        secret = bytes(a ^ b for a, b in zip(mask, masked, strict=True))
        return hmac.compare_digest(secret, session_id.derived(b"csrf"))
