"""
Make sure that the servers which the tests start are installed.

    python3 scripts/install_servers.py

The tests start servers of their own, on ports of their own; only the programs
must be there. A missing one is installed where that can be done without asking
(see debian.py), and otherwise is a failure that says what to install: a test
run that silently leaves a store out proves less than it seems to.
"""

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import debian


@dataclass(frozen=True)
class Server:
    program: str
    apt: str
    dnf: str
    brew: str

    def is_missing(self) -> bool:
        return shutil.which(self.program, path=os.pathsep.join(search_path())) is None


def search_path() -> list[str]:
    """
    Where programs may be: Debian keeps servers off the path of ordinary users.
    """
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return [*os.get_exec_path(), "/usr/sbin", "/usr/local/sbin", *map(str, versions)]


SERVERS = (
    Server("redis-server", apt="redis-server", dnf="redis", brew="redis"),
    Server("initdb", apt="postgresql", dnf="postgresql-server", brew="postgresql"),
    Server("mariadbd", apt="mariadb-server", dnf="mariadb-server", brew="mariadb"),
)


def main() -> int:
    missing = [server for server in SERVERS if server.is_missing()]
    if missing:
        debian.install(*(server.apt for server in missing))
        missing = [server for server in missing if server.is_missing()]
    if not missing:
        return 0
    print(f"The tests need {', '.join(server.program for server in missing)}. To install:")
    print(f"  Debian, Ubuntu:  sudo apt-get install {' '.join(server.apt for server in missing)}")
    print(f"  Fedora:          sudo dnf install {' '.join(server.dnf for server in missing)}")
    print(f"  macOS:           brew install {' '.join(server.brew for server in missing)}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
