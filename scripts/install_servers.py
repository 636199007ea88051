"""
Make sure that the programs which the tests start are installed: servers and a browser.

    python3 scripts/install_servers.py

The tests start servers of their own, on ports of their own, and a Chromium without a
window and with an empty profile; only the programs must be there. A missing one is
installed where that can be done without asking (see debian.py), and otherwise is a
failure that says what to install: a test run that silently leaves a store out
proves less than it seems to.
"""

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import debian


@dataclass(frozen=True)
class Program:
    names: tuple[str, ...]
    """Any of them will do; the first says what it is."""
    apt: str
    dnf: str
    brew: str

    def is_missing(self) -> bool:
        path = os.pathsep.join(search_path())
        return not any(shutil.which(name, path=path) for name in self.names)


def search_path() -> list[str]:
    """
    Where programs may be: Debian keeps servers off the path of ordinary users.
    """
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return [*os.get_exec_path(), "/usr/sbin", "/usr/local/sbin", *map(str, versions)]


PROGRAMS = (
    Program(("redis-server",), apt="redis-server", dnf="redis", brew="redis"),
    Program(("initdb",), apt="postgresql", dnf="postgresql-server", brew="postgresql"),
    Program(("mariadbd",), apt="mariadb-server", dnf="mariadb-server", brew="mariadb"),
    Program(
        # As in tests/browser/chromium.py.
        (
            "chromium",
            "chromium-browser",
            "google-chrome",
            "/Applications/Chromium.app/Contents/MacOS/Chromium",
            "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
        ),
        apt="chromium",
        dnf="chromium",
        brew="google-chrome",
    ),
)


def main() -> int:
    missing = [program for program in PROGRAMS if program.is_missing()]
    if missing:
        install(*(program.apt for program in missing))
        missing = [program for program in missing if program.is_missing()]
    if not missing:
        return 0
    print(f"The tests need {', '.join(program.names[0] for program in missing)}. To install:")
    print(f"  Debian, Ubuntu:  sudo apt-get install {' '.join(program.apt for program in missing)}")
    print(f"  Fedora:          sudo dnf install {' '.join(program.dnf for program in missing)}")
    print(f"  macOS:           brew install {' '.join(program.brew for program in missing)}")
    return 1


def install(*packages: str) -> None:
    if not debian.install(*packages):
        # One that this distribution does not have must not keep the others away.
        for package in packages:
            debian.install(package)


if __name__ == "__main__":
    sys.exit(main())
