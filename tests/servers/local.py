"""
What all servers that tests start need to know of this machine.
"""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

PATIENCE_SECONDS = 20.0
"""After which a server that is not ready is taken for broken."""

IN_MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK | os.X_OK) else None
"""
A folder for temporary files that never reach a disk, where there is one.

For SQLite, which waits for the disk at every commit: no test takes the power away.
"""


def free_port() -> int:
    """
    A loopback port that nobody listens on at the moment.
    """
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def binary(name: str, package: str) -> str:
    """
    Where the program *name* is; says how to get it if it is not there.
    """
    # Debian keeps servers off the path of ordinary users.
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    folders = [*os.get_exec_path(), "/usr/sbin", "/usr/local/sbin", *map(str, versions)]
    path = shutil.which(name, path=os.pathsep.join(folders))
    if path is None:
        raise RuntimeError(f"{name} is not installed; on Debian: apt-get install {package}")
    return path
