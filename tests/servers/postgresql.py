"""
A PostgreSQL server of one's own.
"""

from __future__ import annotations

import signal
import subprocess
from contextlib import suppress
from typing import ClassVar, cast

import psycopg

from servers.database_server import DatabaseServer
from servers.local import PATIENCE_SECONDS, binary

_IMPATIENT_SECONDS = 10


class PostgresServer(DatabaseServer):
    """
    A PostgreSQL server of one's own; see :class:`~servers.database_server.DatabaseServer`.
    """

    name: ClassVar = "postgresql"
    usual_users: ClassVar = ("postgres",)

    def url(self, driver: str, database: str = "postgres", port: int | None = None) -> str:
        """
        Where SQLAlchemy finds a database, by *driver*; through a proxy if its *port* is given.
        """
        return f"postgresql+{driver}://postgres@127.0.0.1:{port or self.port}/{database}"

    def execute(self, *statements: str, database: str | None = None) -> list[tuple[object, ...]]:
        """
        See :meth:`DatabaseServer.execute`.
        """
        with psycopg.connect(
            # The socket is in our folder, so that it is our server that answers.
            host=str(self.folder),
            port=self.port,
            user="postgres",
            dbname=database or "postgres",
            autocommit=True,
            connect_timeout=_IMPATIENT_SECONDS,
        ) as connection:
            cursor = connection.cursor()
            for statement in statements:
                cursor.execute(statement.encode())
            return cast("list[tuple[object, ...]]", cursor.fetchall()) if cursor.description else []

    def _end(self) -> None:
        # One that is killed leaves shared memory behind, and a machine has only so much.
        if self._process is not None:
            self.cont()
            self.process.send_signal(signal.SIGQUIT)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(PATIENCE_SECONDS)
        self.kill()

    def _preparation(self) -> list[str]:
        return [
            binary("initdb", "postgresql"),
            *("--pgdata", str(self.folder / "data")),
            *("--username", "postgres", "--auth", "trust", "--encoding", "UTF8", "--locale", "C"),
            "--no-sync",
        ]

    def _program(self) -> list[str]:
        settings = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(self.folder),
            "fsync": "off",
            "full_page_writes": "off",
            "shared_buffers": "32MB",
            "max_connections": "200",
            "log_min_messages": "fatal",
            **self._settings,
        }
        return [
            binary("postgres", "postgresql"),
            *("-D", str(self.folder / "data"), "-p", str(self.port)),
            *(part for name, value in settings.items() for part in ("-c", f"{name}={value}")),
        ]

    def _answers(self) -> bool:
        try:
            self.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True
