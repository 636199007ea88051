"""
A sign-in under way, for apps that verify identity by other means than a password.
"""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from sessioncore.errors import AttemptSpent, InvalidData
from sessioncore.session import EPOCH_BYTES, Epoch, Subject

if TYPE_CHECKING:
    from sessioncore.outcomes import Json

_START = datetime(1970, 1, 1, tzinfo=UTC)


class Attempt:
    """
    What a sign-in holds from before the proof of identity was checked.

    It holds the user's epoch. If all sessions of the user are ended while the
    proof is being checked, the epoch is no longer current and the attempt comes
    to nothing: that is why it begins *before* the check (ADR-0009).

    Good once, and for the service's ``login_window``. A sign-in of several
    requests keeps :meth:`to_json` in the data of an anonymous session and takes
    it out again with ``take_data``, which hands it to one request only.
    """

    __slots__ = ("_unspent", "epoch", "opened_at", "role", "subject")

    def __init__(
        self, subject: Subject, epoch: Epoch, opened_at: datetime, role: str | None = None
    ) -> None:
        self.subject = subject
        self.epoch = epoch
        self.opened_at = opened_at
        self.role = role
        self._unspent = [True]

    def spend(self) -> None:
        """
        Use the attempt up. Of parallel callers exactly one succeeds.

        Raises:
            AttemptSpent: It was used before.
        """
        try:
            # A pop is atomic, and a lock would make this module impure.
            self._unspent.pop()
        except IndexError:
            raise AttemptSpent("an attempt can be established once") from None

    def is_open(self, window: timedelta, now: datetime) -> bool:
        """
        Tell whether *window* has not passed since the attempt began.
        """
        return now - self.opened_at < window

    def to_json(self) -> dict[str, Json]:
        """
        Return a value to keep in session data. It holds no secret.
        """
        return {
            "user_id": self.subject.user_id,
            "epoch": base64.urlsafe_b64encode(self.epoch).decode("ascii"),
            "opened_at": (self.opened_at - _START) // timedelta(milliseconds=1),
            "role": self.role,
        }

    @classmethod
    def from_json(cls, value: Json) -> Attempt:
        """
        Read back what :meth:`to_json` returned.

        Raises:
            InvalidData: *value* is something else.
        """
        match value:
            case {
                "user_id": str(user_id),
                "epoch": str(epoch_text),
                "opened_at": int(milliseconds),
                "role": str() | None as role,
            }:
                pass
            case _:
                raise InvalidData("not an attempt")
        try:
            subject = Subject.user(user_id)
            epoch = base64.b64decode(epoch_text, altchars=b"-_", validate=True)
            opened_at = _START + timedelta(milliseconds=milliseconds)
        except (ValueError, OverflowError):
            raise InvalidData("not an attempt") from None
        if len(epoch) != EPOCH_BYTES:
            raise InvalidData("not an attempt")
        return cls(subject, Epoch(epoch), opened_at, role)

    def __repr__(self) -> str:
        return f"Attempt({self.subject!r})"
