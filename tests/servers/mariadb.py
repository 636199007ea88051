"""
A MariaDB server of one's own.
"""

from __future__ import annotations

import socket
from contextlib import closing
from importlib import import_module
from typing import Any, ClassVar

from servers.database_server import DatabaseServer
from servers.local import binary

_IMPATIENT_SECONDS = 10

# It has no types.
pymysql: Any = import_module("pymysql")


class MariaDbServer(DatabaseServer):
    """
    A MariaDB server of one's own; see :class:`~servers.database_server.DatabaseServer`.
    """

    name: ClassVar = "mariadb"
    usual_users: ClassVar = ("mysql",)

    def url(self, driver: str, database: str = "test", port: int | None = None) -> str:
        """
        Where SQLAlchemy finds a database, by *driver*; through a proxy if its *port* is given.
        """
        return f"mariadb+{driver}://root@127.0.0.1:{port or self.port}/{database}"

    def execute(self, *statements: str, database: str | None = None) -> list[tuple[object, ...]]:
        """
        See :meth:`DatabaseServer.execute`.
        """
        connection = pymysql.connect(
            # The socket is in our folder, so that it is our server that answers.
            unix_socket=str(self.folder / "mariadb.sock"),
            user="root",
            database=database,
            autocommit=True,
            connect_timeout=_IMPATIENT_SECONDS,
            read_timeout=_IMPATIENT_SECONDS,
        )
        with closing(connection), connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            return list(cursor.fetchall())

    def _preparation(self) -> list[str]:
        return [
            binary("mariadb-install-db", "mariadb-server"),
            "--no-defaults",
            f"--datadir={self.folder / 'data'}",
            "--auth-root-authentication-method=normal",
            "--skip-name-resolve",
            "--force",
        ]

    def _program(self) -> list[str]:
        settings = {
            "datadir": str(self.folder / "data"),
            "socket": str(self.folder / "mariadb.sock"),
            "pid_file": str(self.folder / "pid"),
            "bind_address": "127.0.0.1",
            "port": str(self.port),
            "skip_name_resolve": "1",
            "innodb_flush_log_at_trx_commit": "2",
            "innodb_flush_method": "nosync",
            "innodb_buffer_pool_size": "32M",
            "innodb_log_file_size": "16M",
            "key_buffer_size": "1M",
            "aria_pagecache_buffer_size": "1M",
            "performance_schema": "0",
            "max_connections": "200",
            **self._settings,
        }
        return [
            binary("mariadbd", "mariadb-server"),
            "--no-defaults",
            *(f"--{name.replace('_', '-')}={value}" for name, value in settings.items()),
        ]

    def _answers(self) -> bool:
        # PyMySQL forgets to close a socket that it could not connect.
        try:
            with socket.socket(socket.AF_UNIX) as probe:
                probe.connect(str(self.folder / "mariadb.sock"))
        except OSError:
            return False
        try:
            self.execute("CREATE DATABASE IF NOT EXISTS test CHARACTER SET utf8mb4")
        except pymysql.MySQLError:
            return False
        return True
