"""
One client process: ``python -m faults.client CONFIG``.

Some workers share a service and its stores, as threads or as tasks. Lines on the
standard input tell the process what to do: ``hold MILLISECONDS WRITES`` has it pause
before its next writes; the end of the input ends it.
"""

from __future__ import annotations

import asyncio
import random
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

from faults import stores
from faults.bugs import near_cache_with, planted
from faults.config import ASYNCIO, GUESS_LIMIT, Config, SharedClock, policies
from faults.hashing import AsyncQuickHasher, QuickHasher
from faults.history import Journal
from faults.probes import (
    Brake,
    probed_async_credentials,
    probed_async_sessions,
    probed_credentials,
    probed_sessions,
)
from faults.record import Audit, Recorder
from faults.worker import Worker
from faults.world import World
from sessioncore.aio import AsyncAuthService
from sessioncore.throttle import (
    AsyncInProcessLoginThrottle,
    GuessLimit,
    InProcessLoginThrottle,
)

_PATIENCE_FOR_THE_LAST = 30.0

_RETURNS = 0.25
"""How often those with near caches ask for what was just ended."""


class Client:
    """
    What the workers of one process share.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._journal = Journal(Path(config.histories) / f"{config.name}.jsonl")
        self._clock = SharedClock(config.skew)
        self._policies = policies(config.times)
        self._throttle = InProcessLoginThrottle(
            account=GUESS_LIMIT, source=GuessLimit(free=1_000_000, cap=1_000_000)
        )
        self._brake = Brake()
        self._over = threading.Event()

    def run(self) -> None:
        """
        Work until the standard input ends.
        """
        if not self._config.sweep:
            threading.Thread(target=self._listen, daemon=True).start()
        if self._config.flavour == ASYNCIO:
            asyncio.run(self._run_tasks())
        else:
            self._run_threads()
        self._journal.close()

    def _listen(self) -> None:
        for line in sys.stdin:
            order, *figures = line.split()
            if order == "hold":
                milliseconds, writes = map(int, figures)
                self._brake.hold(milliseconds / 1_000, writes)
        self._over.set()

    def _run_threads(self) -> None:
        near_cache = near_cache_with(self._config.bug)
        with stores.for_threads(self._config.store, near_cache) as (sessions, credentials):
            parts: dict[str, Any] = {
                "sessions": probed_sessions(sessions, self._brake),
                "credentials": probed_credentials(credentials, self._brake),
                "passwords": QuickHasher(),
                "throttle": self._throttle,
                **self._surroundings,
            }
            service = planted(self._config.bug, parts)
            threads = [
                threading.Thread(target=asyncio.run, args=(self._work(worker),))
                for worker in self._workers(service)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

    async def _run_tasks(self) -> None:
        async with stores.for_asyncio(self._config.store) as (sessions, credentials):
            service = AsyncAuthService(
                sessions=probed_async_sessions(sessions, self._brake),
                credentials=probed_async_credentials(credentials, self._brake),
                passwords=AsyncQuickHasher(),
                throttle=AsyncInProcessLoginThrottle(self._throttle),
                **self._surroundings,
            )
            await asyncio.gather(*(self._work(worker) for worker in self._workers(service)))
            # What clients went away from goes on to its end.
            under_way = asyncio.all_tasks() - {asyncio.current_task()}
            if under_way:
                await asyncio.wait(under_way, timeout=_PATIENCE_FOR_THE_LAST)

    @property
    def _surroundings(self) -> dict[str, Any]:
        return {
            "policy": self._policies,
            "events": Audit(),
            "clock": self._clock,
            "login_window": timedelta(seconds=3),
        }

    def _workers(self, service: object) -> Iterator[Worker]:
        for number in range(1 if self._config.sweep else self._config.workers):
            name = f"{self._config.name}.{number}"
            yield Worker(
                service,
                Recorder(self._journal, name),
                self._forks(name),
                self._world(),
                random.Random(f"{self._config.seed}/{name}"),
                policies=self._policies,
                clock=self._clock,
                pace=self._config.pace,
                cancels=self._config.flavour == ASYNCIO,
            )

    def _world(self) -> World:
        returns = _RETURNS if "near" in self._config.store else 0.0
        return World(Path(self._config.private), returns)

    def _forks(self, name: str) -> Callable[[str], Recorder]:
        numbers = count()
        return lambda suffix: Recorder(self._journal, f"{name}.{next(numbers)}{suffix}")

    async def _work(self, worker: Worker) -> None:
        if self._config.sweep:
            await worker.sweep()
            return
        while not self._over.is_set():
            await worker.act()
            await asyncio.sleep(0)


def main() -> None:
    """
    Run the client that the file named on the command line describes.
    """
    Client(Config.load(Path(sys.argv[1]))).run()


if __name__ == "__main__":
    main()
