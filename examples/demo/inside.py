"""
What a session id consists of, what the store keeps of it, and that there is no way back.

Read it with the page "Cookie and store", and then src/sessioncore/session.py.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, LiteralString

from sessioncore import Active, Inactive, SessionId
from sessioncore.session import EPOCH_BYTES, FAMILY_BYTES, SECRET_BYTES, SLOT_BYTES

if TYPE_CHECKING:
    from sessioncore import AuthService, Session

SHOWN_BYTES: Final = 2
"""Of each part. Of the secret that leaves 176 bits unsaid."""

_PARTS: Final[tuple[tuple[LiteralString, int, LiteralString], ...]] = (
    ("epoch", EPOCH_BYTES, "the same in all your sessions, until you sign out everywhere"),
    ("slot", SLOT_BYTES, "which of your sessions this is"),
    ("family", FAMILY_BYTES, "stays for the life of this session"),
    ("secret", SECRET_BYTES, "replaced at every renewal"),
)


@dataclass(frozen=True, slots=True)
class Part:
    """
    One part of a session id, as far as a page may show it.
    """

    name: LiteralString
    size: int
    begins: str
    purpose: LiteralString


def beginning(octets: bytes) -> str:
    """
    The first characters of something long, in hexadecimal.
    """
    return f"{octets[:SHOWN_BYTES].hex()}…"


def parts_of(session_id: SessionId) -> list[Part]:
    """
    Take an id apart.
    """
    octets = base64.urlsafe_b64decode(session_id.reveal())
    found: list[Part] = []
    for name, size, purpose in _PARTS:
        found.append(Part(name, size, beginning(octets[:size]), purpose))
        octets = octets[size:]
    return found


def forged(session: Session) -> SessionId:
    """
    Make an id of everything that the store holds, as a thief of the store would.
    """
    locator = session.locator
    return SessionId(locator.epoch, locator.slot, session.family, session.current[:SECRET_BYTES])


def answer_to_forgery(auth: AuthService, session: Session) -> str:
    """
    Present the forged id, and say what came of it. It changes nothing.
    """
    match auth.authenticate(forged(session).reveal(), passive=True):
        case Inactive(reason=reason):
            return reason.value
        case Active():
            raise AssertionError("whoever reads the store can sign in")
