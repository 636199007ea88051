"""
What falls due when.
"""

from __future__ import annotations

import heapq
import itertools
from datetime import datetime
from typing import Generic, TypeVar

import attrs

KeyT = TypeVar("KeyT")

_PAGE_SECONDS = 60


@attrs.define(eq=False)
class Agenda(Generic[KeyT]):
    """
    Keys by the instant at which they fall due, a minute to a page.

    Entering and striking take the same time however many keys there are, and
    :meth:`take` opens no page that lies in the future. A heap of single keys
    would be shorter, but what is struck from a heap stays in it until it comes
    to the top: a client that signs in and out in a loop would fill it.
    """

    _pages: dict[int, dict[KeyT, datetime]] = attrs.field(
        factory=dict[int, dict[KeyT, datetime]], init=False, repr=False
    )
    _order: list[int] = attrs.field(factory=list[int], init=False, repr=False)
    """A heap of the numbers of all pages, each once."""

    def enter(self, key: KeyT, at: datetime) -> None:
        """
        Note that *key* falls due *at*. It must not be on the agenda.
        """
        number = _page_number(at)
        page = self._pages.get(number)
        if page is None:
            page = self._pages[number] = {}
            heapq.heappush(self._order, number)
        page[key] = at

    def strike(self, key: KeyT, at: datetime) -> None:
        """
        Take back what :meth:`enter` noted.
        """
        number = _page_number(at)
        page = self._pages[number]
        del page[key]
        if not page:
            # The page stays, so that it is in the heap once; a new dict, since
            # one that was full keeps its size.
            self._pages[number] = {}

    def take(self, before: datetime, limit: int) -> list[KeyT]:
        """
        Take up to *limit* keys that fall due before *before* off the agenda, oldest pages first.
        """
        last = _page_number(before)
        taken: list[KeyT] = []
        while self._order and self._order[0] <= last and len(taken) < limit:
            page = self._pages[self._order[0]]
            due = (key for key, at in page.items() if at < before)
            batch = list(itertools.islice(due, limit - len(taken)))
            for key in batch:
                del page[key]
            taken += batch
            if page:
                # Enough were taken, or the rest of this minute lies ahead.
                break
            del self._pages[heapq.heappop(self._order)]
        return taken


def _page_number(at: datetime) -> int:
    return int(at.timestamp()) // _PAGE_SECONDS
