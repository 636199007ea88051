"""
What the servers of SQL databases that tests start have in common.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

from servers.local import PATIENCE_SECONDS, free_port

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

_POLL_SECONDS = 0.01
_PORTS_TRIED = 5


class DatabaseServer:
    """
    A database server of one's own, with its files in a temporary folder.

    What it has acknowledged survives that it is killed, and not that the power
    fails, unless *settings* ask for it. It never runs as root: root starts it as
    the first of its usual users that there is.

    Args:
        settings: Further settings by name, such as ``log_statement="all"``.
    """

    name: ClassVar[str]
    usual_users: ClassVar[Sequence[str]]

    def __init__(self, **settings: str) -> None:
        self._settings = settings
        self._user = _ordinary_user(self.usual_users)
        self._folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0
        """The loopback port it listens on."""

    def __enter__(self) -> Self:
        self._folder = Path(tempfile.mkdtemp(prefix=f"{self.name}-"))
        try:
            if self._user is not None:
                shutil.chown(self.folder, self._user)
            self._run(self._preparation())
            self.start()
        except BaseException:
            self.kill()
            self._remove_folder()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()
        self._remove_folder()

    @property
    def folder(self) -> Path:
        """
        Where the server keeps its files.
        """
        assert self._folder is not None, "the server is not entered"
        return self._folder

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """
        The running server.
        """
        assert self._process is not None, "the server does not run"
        return self._process

    @property
    def log(self) -> str:
        """
        All that the server has written to its log.
        """
        return (self.folder / "log").read_text("utf-8", "replace")

    def start(self) -> None:
        """
        Start the server, where it was if it ran before, and wait until it is ready.
        """
        ran_before = self.port != 0
        for attempt in range(_PORTS_TRIED):
            self.port = self.port or free_port()
            with (self.folder / "log").open("ab") as log:
                self._process = subprocess.Popen(
                    self._program(),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=self.folder,
                    env=self._environment(),
                    user=self._user,
                )
            if self._becomes_ready():
                return
            self.kill()
            # Someone else may have taken the port meanwhile.
            if not ran_before and attempt + 1 < _PORTS_TRIED:
                self.port = 0
        raise RuntimeError(f"{self.name} does not start:\n{self.log}")

    def kill(self) -> None:
        """
        End the server at once, as a crash would. Without effect if it does not run.
        """
        if self._process is not None:
            children = self._signal(signal.SIGKILL)
            self._process.wait(PATIENCE_SECONDS)
            self._process = None
            _wait_for_the_end_of(children)

    def restart(self) -> None:
        """
        Kill the server and start it again at the same place.
        """
        self.kill()
        self.start()

    def stop(self) -> None:
        """
        Freeze the server with all its processes: it holds its connections and answers none.
        """
        self._signal(signal.SIGSTOP)

    def cont(self) -> None:
        """
        Let a stopped server go on.
        """
        self._signal(signal.SIGCONT)

    def execute(self, *statements: str, database: str | None = None) -> list[tuple[object, ...]]:
        """
        Run statements as the administrator, and return the rows of the last one.
        """
        raise NotImplementedError

    def _end(self) -> None:
        """
        End the server for good, in whatever state it is.
        """
        self.kill()

    def _preparation(self) -> list[str]:
        raise NotImplementedError

    def _program(self) -> list[str]:
        raise NotImplementedError

    def _answers(self) -> bool:
        raise NotImplementedError

    def _run(self, command: list[str]) -> None:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            cwd=self.folder,
            env=self._environment(),
            user=self._user,
            check=False,
        )
        if done.returncode:
            output = (done.stdout + done.stderr).decode("utf-8", "replace")
            raise RuntimeError(f"{command[0]} failed:\n{output}")

    def _environment(self) -> dict[str, str]:
        # A MariaDB server that starts removes what others have in their common folder.
        return {**os.environ, "TMPDIR": str(self.folder)}

    def _becomes_ready(self) -> bool:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.process.poll() is None and time.monotonic() < deadline:
            if self._answers():
                return True
            time.sleep(_POLL_SECONDS)
        return False

    def _signal(self, number: signal.Signals) -> list[int]:
        server = self.process
        # A server that is stopped starts no further processes.
        if number != signal.SIGCONT:
            server.send_signal(signal.SIGSTOP)
        children = _children(server.pid)
        for pid in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        server.send_signal(number)
        return children

    def _remove_folder(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self._folder = None


def _ordinary_user(names: Sequence[str]) -> str | None:
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in (*names, "nobody") if name in known)


def _children(pid: int) -> list[int]:
    try:
        listed = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:  # it has ended, or this is no Linux
        return []
    return [int(child) for child in listed.split()]


def _wait_for_the_end_of(pids: Sequence[int]) -> None:
    # PostgreSQL does not start while a process of its predecessor holds its memory.
    deadline = time.monotonic() + PATIENCE_SECONDS
    while any(map(_runs, pids)) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"  # has ended, and nobody has asked how
