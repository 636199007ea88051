"""
The client processes of a run, as the campaign handles them.
"""

from __future__ import annotations

import dataclasses
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

from faults.config import Config
from servers.local import PATIENCE_SECONDS

TESTS = Path(__file__).parents[1]

_POLL_SECONDS = 0.002


class ClientProcess:
    """
    One client process, which can be held up, stopped, killed and started again.

    Args:
        config: What it is told.

        folder: Where its configuration and its output go.
    """

    def __init__(self, config: Config, folder: Path) -> None:
        self._config = config
        self._folder = folder
        self._starts = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def name(self) -> str:
        """
        What it is called when it is started first.
        """
        return self._config.name

    def start(self) -> None:
        """
        Start it, under another name than before.
        """
        suffix = f"+{self._starts}" if self._starts else ""
        config = dataclasses.replace(self._config, name=f"{self._config.name}{suffix}")
        self._starts += 1
        told = self._folder / f"{config.name}.json"
        config.save(told)
        with (self._folder / f"{config.name}.output").open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "faults.client", str(told)],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(_import_path())},
            )

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """
        The running process.
        """
        assert self._process is not None, "the client was not started"
        return self._process

    def hold(self, seconds: float, writes: int) -> None:
        """
        Have it pause before its next writes.
        """
        stdin = self.process.stdin
        assert stdin is not None
        with suppress(BrokenPipeError):
            stdin.write(f"hold {int(seconds * 1_000)} {writes}\n".encode())
            stdin.flush()

    @contextmanager
    def stopped(self) -> Generator[None]:
        """
        Stop it, wherever it is, and let it go on later.
        """
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """
        End it at once, wherever it is.
        """
        self.process.kill()
        self.process.wait(PATIENCE_SECONDS)
        self.tell_to_end()

    def tell_to_end(self) -> None:
        """
        Let it finish what it is doing, and end.
        """
        stdin = self.process.stdin
        assert stdin is not None
        with suppress(BrokenPipeError):
            stdin.close()

    def wait(self) -> int | None:
        """
        Wait for its end, and return how it ended; ``None`` if it had to be killed.
        """
        try:
            return self.process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            return None


def _import_path() -> list[str]:
    return [str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]


class Clients:
    """
    All client processes of a run. Leaving the context kills those that are left.
    """

    def __init__(self, configs: list[Config], folder: Path) -> None:
        self._all = [ClientProcess(config, folder) for config in configs]

    def __enter__(self) -> Self:
        for client in self._all:
            client.start()
        return self

    def __exit__(self, *_: object) -> None:
        for client in self._all:
            if client.process.poll() is None:
                client.kill()

    def wait_until_they_work(self, histories: Path) -> None:
        """
        Wait until each has written to its history.
        """
        deadline = time.monotonic() + PATIENCE_SECONDS
        waiting = {histories / f"{client.name}.jsonl" for client in self._all}
        while waiting := {path for path in waiting if not path.exists()}:
            if time.monotonic() > deadline:
                raise RuntimeError("the clients do not start")
            time.sleep(_POLL_SECONDS)

    def any(self, chance: random.Random) -> ClientProcess:
        """
        Return one of them.
        """
        return chance.choice(self._all)

    def finish(self) -> list[int | None]:
        """
        Let all of them end, and return how they did.
        """
        for client in self._all:
            client.tell_to_end()
        return [client.wait() for client in self._all]


def wait_until_stopped(pid: int) -> None:
    """
    Wait until a process that was sent SIGSTOP has stopped, or is no more.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while _runs(pid):
        if time.monotonic() > deadline:
            raise RuntimeError(f"process {pid} does not stop")
        time.sleep(_POLL_SECONDS)


def _runs(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    # Behind the name: T is stopped; Z has ended, and its stopped parent does not know.
    return status.rpartition(")")[2].split()[0] not in {"T", "Z", "X"}
