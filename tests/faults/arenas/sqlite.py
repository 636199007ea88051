"""
A SQLite file, and what its users do to it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from contextlib import ExitStack, closing
from pathlib import Path

from faults.arenas.arena import Arena
from faults.nemesis import AGAINST_CLIENTS, Nemesis, Trouble
from servers import IN_MEMORY
from sessioncore_sql import new_engine


class SqliteFile(Arena):
    """
    A SQLite file that all clients open.
    """

    name = "sqlite"

    def _start(self, stack: ExitStack) -> None:
        folder = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="sqlite-", dir=IN_MEMORY))
        )
        self.scanned.append(folder)
        self.file = folder / "sessions.db"
        self.store["sql"] = self.store["credentials"] = f"sqlite:///{self.file}"
        self.store["async"] = self.store["async credentials"] = f"sqlite+aiosqlite:///{self.file}"

    @property
    def troubles(self) -> Mapping[str, Trouble]:
        """
        See :attr:`Arena.troubles`.
        """
        return {
            **AGAINST_CLIENTS,
            "kill another": AGAINST_CLIENTS["kill client"],
            "lock": self._lock,
        }

    def _lock(self, nemesis: Nemesis) -> None:
        engine = new_engine(f"sqlite:///{self.file}")
        with closing(engine.raw_connection()) as connection:
            cursor = connection.cursor()
            cursor.execute("BEGIN IMMEDIATE")
            with nemesis.writes_down("write lock held by a stranger"):
                nemesis.pause_between(0.05, 2 * self.deadline)
            cursor.execute("ROLLBACK")
        engine.dispose()
