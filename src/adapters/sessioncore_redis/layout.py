"""
Where things are in Redis: keys, epochs, fields.

Everything of one subject is in two hashes of one cluster slot: ``prefix:{tag}``
with its epoch and sessions, ``prefix:{tag}:d`` with their data. The tag is a
keyed hash of the subject: computed, so that a user's key is found from the user;
keyed, because it is in every cookie and must not say who that is.

An epoch is ``tag (10) | generation (6)``. The stored generation appears in it
masked with the tag key. So under another tag key no session is found, as no
user's key would be: sessions that could not be revoked do not exist.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from sessioncore.session import EPOCH_BYTES, STAMP_BYTES, Epoch, Subject
from sessioncore_redis.records import MOST_PIECES, PIECE_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable

TAG_KEY_BYTES: Final = 32
GENERATION_BYTES: Final = 6
_TAG_BYTES: Final = EPOCH_BYTES - GENERATION_BYTES

HEAD: Final = b"e"
"""The field with generation (6), roster version (8), open until (6) and the subject."""

SUBJECT_FIELDS: Final = (b"1", b"2", b"3", b"4")
"""The fields with what the head has no room for of a long subject."""

RECORD_SUFFIXES: Final = tuple(b"%d" % piece if piece else b"" for piece in range(MOST_PIECES))
"""What follows the slot in the names of the fields with the pieces of a record."""

ADDITION_SUFFIX: Final = b"x"
"""
What follows the slot in the name of a field that a later version may have beside a record.

This version never reads what is in it. It leaves the field where it is, moves it
with its session, and deletes it with its session (ADR-0019).
"""

_VERSION: Final = slice(GENERATION_BYTES, GENERATION_BYTES + STAMP_BYTES)
_HEAD_BYTES: Final = GENERATION_BYTES + STAMP_BYTES + 6
_SUBJECT_IN_HEAD: Final = PIECE_BYTES - _HEAD_BYTES


_TAG_IN_KEY: Final = re.compile(rb"[A-Za-z0-9_-]{14}\}")


def keys_beside(sessions: bytes) -> tuple[bytes, bytes]:
    """
    Return the keys of both hashes, given that of the sessions.
    """
    return sessions, sessions + b":d"


def tag_key_name(prefix: str) -> str:
    """
    Return the key under which processes share a tag key.
    """
    return f"{prefix}:tag-key"


@dataclass(frozen=True, slots=True)
class Head:
    """
    What the head says.
    """

    generation: bytes
    version: bytes
    subject: bytes

    @classmethod
    def read(cls, head: bytes, others: Iterable[bytes | None]) -> Head:
        """
        Read a head, with the other pieces of a long subject.
        """
        generation, subject = generation_and_subject(head, others)
        return cls(generation, head[_VERSION], subject)


def generation_and_subject(head: bytes, others: Iterable[bytes | None]) -> tuple[bytes, bytes]:
    """
    Read from a head what every request needs, with the other pieces of a long subject.
    """
    subject = head[_HEAD_BYTES:]
    if len(subject) == _SUBJECT_IN_HEAD:
        subject += b"".join(filter(None, others))
    return head[:GENERATION_BYTES], subject


@dataclass(frozen=True, slots=True)
class Layout:
    """
    The names of things under one prefix and one tag key.
    """

    prefix: str
    tag_key: bytes = field(repr=False)

    pattern: bytes = field(init=False, repr=False)
    """What SCAN matches the keys of epochs with, and maybe others."""

    _start: bytes = field(init=False, repr=False)
    _mask: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        mask = hashlib.blake2b(key=self.tag_key, digest_size=GENERATION_BYTES, person=b"mask")
        start = self.prefix.encode("ascii") + b":{"
        object.__setattr__(self, "pattern", start + b"*}")
        object.__setattr__(self, "_start", start)
        object.__setattr__(self, "_mask", int.from_bytes(mask.digest(), "big"))

    def tag(self, subject: Subject) -> bytes:
        """
        Return the tag of *subject*.
        """
        keyed = hashlib.blake2b(
            subject.key, key=self.tag_key, digest_size=_TAG_BYTES, person=b"tag"
        )
        return keyed.digest()

    def epoch(self, tag: bytes, generation: bytes) -> Epoch:
        """
        Make the epoch that has *generation* under *tag*.
        """
        return Epoch(tag + self._masked(generation))

    def generation(self, epoch: Epoch) -> bytes:
        """
        Return the stored generation that *epoch* claims.
        """
        return self._masked(epoch[_TAG_BYTES:])

    def sessions_key(self, tag: bytes) -> bytes:
        """
        Return the key of the hash with an epoch and its sessions.
        """
        # Ten bytes end in two padding characters, and only they do.
        return self._start + base64.urlsafe_b64encode(tag)[:-2] + b"}"

    def sessions_key_of(self, epoch: Epoch) -> bytes:
        """
        Return the key of the hash with *epoch* and its sessions.
        """
        return self.sessions_key(epoch[:_TAG_BYTES])

    def is_sessions_key(self, key: bytes) -> bool:
        """
        Tell whether *key* may be that of an epoch under this prefix.
        """
        return _TAG_IN_KEY.fullmatch(key.removeprefix(self._start)) is not None

    def keys(self, tag: bytes) -> tuple[bytes, bytes]:
        """
        Return the keys of both hashes, sessions and data.
        """
        return keys_beside(self.sessions_key(tag))

    def keys_of(self, epoch: Epoch) -> tuple[bytes, bytes]:
        """
        Return the keys of both hashes of *epoch*.
        """
        return self.keys(epoch[:_TAG_BYTES])

    def _masked(self, generation: bytes) -> bytes:
        masked = int.from_bytes(generation, "big") ^ self._mask
        return masked.to_bytes(GENERATION_BYTES, "big")
