"""
A redis-server of one's own.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from servers.local import PATIENCE_SECONDS, binary, free_port

if TYPE_CHECKING:
    from collections.abc import Generator
    from types import TracebackType

_POLL_SECONDS = 0.01
_PORTS_TRIED = 5


class RedisServer:
    """
    A redis-server of one's own, with its files in a temporary folder.

    Nothing is written to disk unless *settings* ask for it.

    Args:
        settings: Further lines of configuration, such as ``maxmemory="5mb"``;
            an underscore stands for a dash.

        unix_socket: Listen on a socket in the folder and on no port.
    """

    def __init__(self, *, unix_socket: bool = False, **settings: str) -> None:
        self._settings = {name.replace("_", "-"): value for name, value in settings.items()}
        self._unix_socket = unix_socket
        self._port = 0
        self._folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._folder = Path(tempfile.mkdtemp(prefix="redis-"))
        try:
            self.start()
        except BaseException:
            self._remove_folder()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()
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
    def port(self) -> int:
        """
        The loopback port it listens on; 0 if it has a socket instead.
        """
        return 0 if self._unix_socket else self._port

    @property
    def url(self) -> str:
        """
        Where clients find it.
        """
        if self._unix_socket:
            return f"unix://{self.folder / 'redis.sock'}"
        return f"redis://127.0.0.1:{self._port}"

    @contextlib.contextmanager
    def client(self, **settings: Any) -> Generator[Any, None, None]:
        """
        A client that repeats nothing, closed in the end. It is a ``redis.Redis``.
        """
        # redis-py gives most methods of its clients no types.
        client_class: Any = redis.Redis
        client = client_class.from_url(
            self.url,
            **{
                "retry": Retry(NoBackoff(), 0),
                "socket_timeout": 5,
                "password": self._settings.get("requirepass"),
                **settings,
            },
        )
        with contextlib.closing(client):
            yield client

    def start(self) -> None:
        """
        Start the server, where it was if it ran before, and wait until it is ready.
        """
        program = binary("redis-server", "redis-server")
        for attempt in range(_PORTS_TRIED):
            if not self._unix_socket and not self._port:
                self._port = free_port()
            with (self.folder / "log").open("ab") as log:
                self._process = subprocess.Popen(
                    [program, *self._arguments()], stdin=subprocess.DEVNULL, stdout=log, stderr=log
                )
            if self._becomes_ready():
                return
            self.kill()
            # Someone else may have taken the port meanwhile.
            if attempt + 1 < _PORTS_TRIED:
                self._port = 0
        raise RuntimeError(f"redis-server does not start:\n{(self.folder / 'log').read_text()}")

    def kill(self) -> None:
        """
        End the server at once, as a crash would. Without effect if it does not run.
        """
        if self._process is not None:
            self._process.kill()
            self._process.wait(PATIENCE_SECONDS)
            self._process = None

    def restart(self) -> None:
        """
        Kill the server and start it again at the same place.
        """
        self.kill()
        self.start()

    def _arguments(self) -> list[str]:
        settings = {
            "port": str(self._port),
            "bind": "127.0.0.1",
            "dir": str(self.folder),
            "save": "",
            "appendonly": "no",
            **({"unixsocket": str(self.folder / "redis.sock")} if self._unix_socket else {}),
            **self._settings,
        }
        return [part for name, value in settings.items() for part in (f"--{name}", value)]

    def _becomes_ready(self) -> bool:
        deadline = time.monotonic() + PATIENCE_SECONDS
        # Who listens on the port need not be this server: it must be our process.
        with self.client() as client:
            while self.process.poll() is None and time.monotonic() < deadline:
                with contextlib.suppress(redis.RedisError):
                    if client.info("server")["process_id"] == self.process.pid:
                        return True
                time.sleep(_POLL_SECONDS)
        return False

    def _remove_folder(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self._folder = None
