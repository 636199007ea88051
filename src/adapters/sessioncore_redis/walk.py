"""
How a purge finds the keys of all epochs.

A call asks for a bounded number of pages of keys. While one call suffices for all
keys, every call walks from the beginning; so it has seen whatever was due when
it says that there is no more. A longer walk is paused and goes on in the next
call, and has seen whatever was due when it began.

In a cluster it goes from one primary to the next. While slots are moved, a key
may move behind its back; the next walk finds it. What it has found is purged
wherever it is by then. If a primary is lost, so is the walk: the next call
begins anew.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final

from sessioncore_redis.trips import Question

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sessioncore_redis.layout import Layout

PAGES: Final = 10
"""How many pages of keys one call of purge may ask for."""

_KEYS_PER_PAGE: Final = 100


class Walk:
    """
    One walk over all keys. Only one thread or task at a time has it.

    Args:
        nodes: The names of the servers to ask.
    """

    __slots__ = ("_cursor", "_nodes", "_pages", "_resumed", "keys")

    def __init__(self, nodes: Iterable[str]) -> None:
        self.keys: deque[bytes] = deque()
        self._nodes = deque(nodes)
        self._cursor = 0
        self._pages = 0
        self._resumed = False

    @property
    def is_over(self) -> bool:
        """
        Whether all keys have been seen.
        """
        return not self._nodes and not self.keys

    @property
    def is_tired(self) -> bool:
        """
        Whether this call has asked for as many pages as it may.
        """
        return self._pages == PAGES

    @property
    def is_long(self) -> bool:
        """
        Whether one call is not enough for it.
        """
        return self._resumed or self.is_tired

    def rest(self) -> None:
        """
        Get ready for another call.
        """
        self._pages = 0
        self._resumed = True

    def page(self, layout: Layout) -> Question:
        """
        Return the question for the next page of keys.
        """
        scan = ("SCAN", self._cursor, "MATCH", layout.pattern, "COUNT", _KEYS_PER_PAGE)
        return Question(scan, node=self._nodes[0])

    def turn(self, layout: Layout, page: tuple[Any, Sequence[bytes]]) -> None:
        """
        Take a page.
        """
        cursor, keys = page
        self._cursor = int(cursor)
        self._pages += 1
        if self._cursor == 0:
            self._nodes.popleft()
        self.keys.extend(key for key in keys if layout.is_sessions_key(key))


class PausedWalk:
    """
    Keeps a long walk between calls, from any thread. If there are two, one is forgotten.
    """

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        self._kept: deque[Walk] = deque(maxlen=1)

    def take(self) -> Walk | None:
        """
        Return the walk that was kept, if any.
        """
        try:
            return self._kept.pop()
        except IndexError:
            return None

    def keep(self, walk: Walk) -> None:
        """
        Keep *walk* for another call, if it is a long one.
        """
        if walk.is_long:
            walk.rest()
            self._kept.append(walk)
