"""
The nemesis: injects one fault after the other, and writes down what it did.

It draws from a seed, and goes through all faults of an arena in one random order after
another, so that a run of any length has its share of each. Of two faults the second
begins after the first has ended; what both do to the clients may well overlap.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager

from faults.clients import Clients
from faults.history import Journal

Trouble = Callable[["Nemesis"], None]
"""Injects a fault, waits, and mends it."""


class Nemesis:
    """
    Injects the faults of one run.

    Args:
        journal: Where to write down what was done.

        clients: Those that may be stopped, killed and held up.

        chance: What it draws from.
    """

    def __init__(self, journal: Journal, clients: Clients, chance: random.Random) -> None:
        self._journal = journal
        self._over = threading.Event()
        self.clients = clients
        self.chance = chance

    def rage(
        self, troubles: Mapping[str, Trouble], rest: float, is_over: Callable[[], bool]
    ) -> None:
        """
        Inject faults, with a rest of up to *rest* seconds in between, until it is over.
        """
        order: list[Trouble] = []
        while not is_over():
            self.pause_between(0.3 * rest, rest)
            if not order:
                order = list(troubles.values())
                self.chance.shuffle(order)
            if order:
                order.pop()(self)

    def pause(self, seconds: float) -> None:
        """
        Let so much time pass.
        """
        self._over.wait(max(seconds, 0.0))

    def pause_between(self, least: float, most: float) -> None:
        """
        Let some time pass.
        """
        self.pause(self.chance.uniform(least, most))

    @contextmanager
    def writes_down(self, kind: str, *, down: bool = False, deaf: bool = False) -> Generator[None]:
        """
        Write down a fault that lasts as long as this context.

        Args:
            kind: What it is.

            down: Whether the store answers nobody from the beginning of the
                context to its end.

            deaf: Whether no feed of a near cache hears anything meanwhile.
        """
        start = time.monotonic_ns()
        try:
            yield
        finally:
            stop = time.monotonic_ns()
            self._journal.write(
                line="fault", kind=kind, start=start, stop=stop, down=down, deaf=deaf
            )


def hold_writes(nemesis: Nemesis) -> None:
    """
    Have a client wait between what it has read and what it will write.
    """
    with nemesis.writes_down("client held before its writes"):
        client = nemesis.clients.any(nemesis.chance)
        client.hold(nemesis.chance.uniform(0.05, 0.8), nemesis.chance.randint(1, 6))


def stop_client(nemesis: Nemesis) -> None:
    """
    Stop a client wherever it is, and let it go on.
    """
    client = nemesis.clients.any(nemesis.chance)
    with nemesis.writes_down("client stopped"), client.stopped():
        nemesis.pause_between(0.05, 1.2)


def kill_client(nemesis: Nemesis) -> None:
    """
    Kill a client wherever it is, and start another.
    """
    client = nemesis.clients.any(nemesis.chance)
    with nemesis.writes_down("client killed"):
        client.kill()
        client.start()


AGAINST_CLIENTS: Mapping[str, Trouble] = {
    "hold": hold_writes,
    "stop client": stop_client,
    "kill client": kill_client,
}
"""What can be done on any store."""
