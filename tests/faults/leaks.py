"""
No secret is in any file.

Searches whole folders (a server's data, logs and journals, the output of all clients,
the histories) for every session id and password of a run: as text, as bytes, in
hexadecimal, in both alphabets of base64. Of an id, its secret and its family are
searched for, each alone, and so is the whole.
"""

from __future__ import annotations

import base64
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from faults.promises.violation import Violation
from sessioncore.session import EPOCH_BYTES, FAMILY_BYTES, SLOT_BYTES

PROMISE = "no secret in any file"

_WORD = 8
"""Bytes that are compared at once. Nothing shorter is searched for."""

_FAMILY_AT = EPOCH_BYTES + SLOT_BYTES
_SECRET_AT = _FAMILY_AT + FAMILY_BYTES


def check(
    folders: Iterable[Path], ids: Iterable[str], passwords: Iterable[str]
) -> Iterator[Violation]:
    """
    Find secrets in the files below *folders*.
    """
    needles = _Needles(_spellings(ids, passwords))
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not path.is_symlink():
                yield from (
                    Violation(PROMISE, f"{what} in {path.name}")
                    for what in sorted(needles.in_bytes(path.read_bytes()))
                )


def _spellings(ids: Iterable[str], passwords: Iterable[str]) -> Iterator[tuple[bytes, str]]:
    for text in ids:
        octets = base64.urlsafe_b64decode(text)
        for part, what in (
            (octets[_SECRET_AT:], "the secret of a session id"),
            (octets[_FAMILY_AT:_SECRET_AT], "the family of a session id"),
            (octets[_FAMILY_AT:], "a session id"),
        ):
            yield from _encoded(part, what)
    for password in set(passwords):
        yield from _encoded(password.encode(), "a password")


def _encoded(octets: bytes, what: str) -> Iterator[tuple[bytes, str]]:
    yield octets, what
    yield octets.hex().encode(), f"{what}, in hexadecimal"
    yield octets.hex().upper().encode(), f"{what}, in hexadecimal"
    for before in range(3):
        # Within a longer text, base64 may begin at any of three places. What
        # depends on the neighbours is left out.
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            text = encode(bytes(before) + octets).rstrip(b"=")
            if (len(octets) + before) % 3:
                text = text[:-1]
            if before:
                text = text[before + 1 :]
            if len(text) >= _WORD:
                yield text, f"{what}, in base64"


class _Needles:
    """
    Many byte strings to be found at once.

    The first eight bytes of each, as a number, are in one set. A file is read as
    numbers at each of eight offsets, and Python's sets do the rest.
    """

    def __init__(self, needles: Iterable[tuple[bytes, str]]) -> None:
        self._by_word: dict[int, dict[bytes, str]] = defaultdict(dict)
        for needle, what in needles:
            word = memoryview(needle[:_WORD]).cast("Q")[0]
            self._by_word[word][needle] = what
        self._words = set(self._by_word)

    def in_bytes(self, hay: bytes) -> set[str]:
        """
        Return what all is found in *hay*.
        """
        found = set[str]()
        view = memoryview(hay)
        for offset in range(_WORD):
            usable = (len(hay) - offset) // _WORD * _WORD
            numbers = view[offset : offset + max(usable, 0)].cast("Q")
            for word in self._words.intersection(numbers):
                found |= {what for needle, what in self._by_word[word].items() if needle in hay}
        return found
