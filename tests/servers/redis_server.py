"""
A redis-server of one's own.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from servers.local import PATIENCE_SECONDS, binary, free_port

if TYPE_CHECKING:
    from collections.abc import Generator
    from types import TracebackType

    from servers.certificates import Certificates

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

        tls: Speak TLS on the port, and nothing else.

        sentinel: Be a Sentinel, which so far watches nothing.

        program: The server; ``valkey-server`` takes the same settings.
    """

    def __init__(
        self,
        *,
        unix_socket: bool = False,
        tls: Certificates | None = None,
        sentinel: bool = False,
        program: str = "redis-server",
        **settings: str,
    ) -> None:
        self.settings = {name.replace("_", "-"): value for name, value in settings.items()}
        """What was asked for, by the names that the server has for it."""
        self._unix_socket = unix_socket
        self._tls = tls
        self._sentinel = sentinel
        self._program = program
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
    def runs(self) -> bool:
        """
        Whether it has been started and not been killed.
        """
        return self._process is not None

    @property
    def log(self) -> str:
        """
        What the server has said.
        """
        return (self.folder / "log").read_text(errors="replace")

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
        if self._tls is not None:
            authority = quote(str(self._tls.authority), safe="")
            return f"rediss://127.0.0.1:{self._port}?ssl_ca_certs={authority}"
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
                "password": self.settings.get("requirepass"),
                **settings,
            },
        )
        with contextlib.closing(client):
            yield client

    def start(self) -> None:
        """
        Start the server, where it was if it ran before, and wait until it is ready.
        """
        program = binary(self._program, self._program)
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
        raise RuntimeError(f"{self._program} does not start:\n{self.log}")

    def kill(self) -> None:
        """
        End the server at once, as a crash would. Without effect if it does not run.
        """
        if self._process is not None:
            self._process.kill()
            self._process.wait(PATIENCE_SECONDS)
            self._process = None

    @contextlib.contextmanager
    def stopped(self) -> Generator[None, None, None]:
        """
        Stop the server as a debugger would: it keeps its connections and answers nobody.
        """
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def restart(self) -> None:
        """
        Kill the server and start it again at the same place.
        """
        self.kill()
        self.start()

    def _arguments(self) -> list[str]:
        if self._sentinel:
            # It keeps what it learns in its file, and refuses to start without one.
            file = self.folder / "sentinel.conf"
            if not file.exists():
                file.write_text(f"port {self._port}\nbind 127.0.0.1\ndir {self.folder}\n")
            return [str(file), "--sentinel"]
        port = str(self._port)
        settings = {
            **({"port": port} if self._tls is None else {"port": "0", "tls-port": port}),
            **({} if self._tls is None else self._tls.settings),
            "bind": "127.0.0.1",
            "dir": str(self.folder),
            "save": "",
            "appendonly": "no",
            **({"unixsocket": str(self.folder / "redis.sock")} if self._unix_socket else {}),
            **self.settings,
        }
        return [part for name, value in settings.items() for part in (f"--{name}", value)]

    def _becomes_ready(self) -> bool:
        deadline = time.monotonic() + PATIENCE_SECONDS
        # Who listens on the port need not be this server: it must be our process.
        with self.client() as client:
            while self.process.poll() is None and time.monotonic() < deadline:
                with contextlib.suppress(redis.RedisError):
                    info = client.info()
                    # It answers this while it reads its files, and nothing else.
                    if info["process_id"] == self.process.pid and not info.get("loading"):
                        return True
                time.sleep(_POLL_SECONDS)
        return False

    def _remove_folder(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self._folder = None
