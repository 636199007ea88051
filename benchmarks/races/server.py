"""
The one redis-server that all peers share.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import redis

if TYPE_CHECKING:
    from collections.abc import Generator

PATIENCE_SECONDS: Final = 20.0
_PORTS_TRIED: Final = 5


@dataclass(frozen=True)
class Server:
    """
    A server that runs, and keeps nothing on disk.
    """

    port: int
    version: str

    @property
    def url(self) -> str:
        """
        Where clients find it.
        """
        return f"redis://127.0.0.1:{self.port}"


@contextmanager
def running_server() -> Generator[Server, None, None]:
    """
    Start a redis-server on a free port of the loopback, and kill it in the end.
    """
    program = shutil.which("redis-server")
    if program is None:
        raise SystemExit("redis-server is not installed; on Debian: apt-get install redis-server")
    with tempfile.TemporaryDirectory(prefix="races-") as folder:
        # Somebody else may take the port before the server does.
        for _ in range(_PORTS_TRIED):
            port = _free_port()
            options = {"port": str(port), "bind": "127.0.0.1", "dir": folder, "save": ""}
            arguments = [part for name, text in options.items() for part in (f"--{name}", text)]
            process = subprocess.Popen(  # noqa: S603 - the program that was found above
                [program, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
            )
            try:
                if version := _version_when_ready(process, port):
                    yield Server(port, version)
                    return
            finally:
                process.kill()
                process.wait(PATIENCE_SECONDS)
    raise SystemExit("redis-server does not start")


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _version_when_ready(process: subprocess.Popen[bytes], port: int) -> str | None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    # redis-py gives this method no types.
    client: Any = redis.Redis(port=port)
    with closing(client):
        while process.poll() is None and time.monotonic() < deadline:
            with suppress(redis.RedisError):
                info = client.info("server")
                # Who listens on the port need not be this server.
                return str(info["redis_version"]) if info["process_id"] == process.pid else None
            time.sleep(0.01)
    return None
