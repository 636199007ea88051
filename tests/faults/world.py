"""
What all clients of a run know: each other's session ids, attempts and passwords.

One file that everybody appends to and everybody reads on from where they stopped, so
that any client may present any id. Somebody who reads a line does so after the call
that it tells of has returned: the order in real time, which checkers rely on anyway.

Everything secret of a run is in this file, and in no other: it lies in a folder
that is not searched for secrets, and tells the search what to look for.
"""

from __future__ import annotations

import json
import os
import random
from collections import defaultdict, deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sessioncore.session import SessionId

_REMEMBERED = 24
"""How many lives each client keeps in mind, so that they are used often."""

_GOING_ON = 0.93


@dataclass(slots=True)
class Life:
    """
    A session, and the ids of it that were issued, the latest last.
    """

    user: str | None
    ids: list[str] = field(default_factory=list[str])
    over: bool = False

    @property
    def latest(self) -> str:
        """
        The id that its browser would present.
        """
        return self.ids[-1]


class World:
    """
    One client's view of what is known. Not thread-safe: each worker has its own.

    Args:
        path: The file that is shared.

        returns: How often one is picked of the few lives that were over last: who holds
            copies may not have noticed.
    """

    def __init__(self, path: Path, returns: float = 0.0) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        self._returns = returns
        self._read = 0
        self._half = b""
        self._lives: dict[bytes, Life] = {}
        self._ended: deque[Life] = deque(maxlen=_REMEMBERED // 4)
        self._recent: deque[Life] = deque(maxlen=2 * _REMEMBERED)
        self.attempts: list[dict[str, Any]] = []
        """The latest, with the names by which histories know them."""

        self.passwords: dict[str, list[tuple[str, str]]] = defaultdict(list)
        """By user: name and text of each that may be in force, the likeliest last."""

    def close(self) -> None:
        """
        Close the file.
        """
        os.close(self._file)

    # -- Telling -----------------------------------------------------------------

    def tell_id(self, session_id: SessionId, user: str | None) -> None:
        """
        Tell of an id that was issued.
        """
        self._tell(about="id", text=session_id.reveal(), user=user)

    def tell_over(self, text: str) -> None:
        """
        Tell that the session of an id is over, so that it is used less.
        """
        self._tell(about="over", text=text)

    def tell_password(self, user: str, name: str, text: str) -> None:
        """
        Tell of a password that is, or may be, in force from now on.
        """
        self._tell(about="password", user=user, name=name, text=text)

    def tell_wrong(self, text: str) -> None:
        """
        Tell of a password that nobody has: it is to be found in no file either.
        """
        self._tell(about="wrong", text=text)

    def tell_attempt(self, attempt: dict[str, Any]) -> None:
        """
        Tell of an attempt that was begun.
        """
        self._tell(about="attempt", attempt=attempt)

    def _tell(self, **line: Any) -> None:
        os.write(self._file, (json.dumps(line) + "\n").encode())

    # -- Hearing -----------------------------------------------------------------

    def catch_up(self) -> None:
        """
        Read what others told since the last time.
        """
        while chunk := os.pread(self._file, 1 << 20, self._read):
            self._read += len(chunk)
            *lines, self._half = (self._half + chunk).split(b"\n")
            for line in lines:
                self._hear(json.loads(line))

    def _hear(self, line: dict[str, Any]) -> None:
        match line["about"]:
            case "id":
                family = _family(line["text"])
                if family not in self._lives:
                    self._lives[family] = Life(line["user"])
                    self._recent.append(self._lives[family])
                self._lives[family].ids.append(line["text"])
            case "over":
                if (known := self._lives.get(_family(line["text"]))) is not None:
                    if not known.over:
                        self._ended.append(known)
                    known.over = True
            case "password":
                self.passwords[line["user"]].append((line["name"], line["text"]))
            case "attempt":
                self.attempts = [*self.attempts[-7:], line["attempt"]]
            case _:
                pass

    def pick(self, chance: random.Random, *, anonymous: bool | None = None) -> Life | None:
        """
        Return a life: mostly a recent one that is not known to be over.
        """
        if anonymous is None and self._ended and chance.random() < self._returns:
            return chance.choice(self._ended)
        known = [
            life for life in self._recent if anonymous is None or (life.user is None) == anonymous
        ]
        going_on = [life for life in known if not life.over]
        if going_on and chance.random() < _GOING_ON:
            return chance.choice(going_on)
        return chance.choice(known) if known else None

    def everything(self) -> list[Life]:
        """
        Return all lives that were ever told of.
        """
        return list(self._lives.values())


def _family(text: str) -> bytes:
    session_id = SessionId.parse(text)
    assert session_id is not None
    return session_id.family_digest


def secrets_in(path: Path) -> tuple[list[str], list[str]]:
    """
    Return all session ids and all passwords that were told.
    """
    ids: list[str] = []
    passwords: list[str] = []
    for text in path.read_text().splitlines():
        line = json.loads(text)
        if line["about"] == "id":
            ids.append(line["text"])
        elif line["about"] in {"password", "wrong"}:
            passwords.append(line["text"])
    return ids, passwords
