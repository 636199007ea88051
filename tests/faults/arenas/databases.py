"""
PostgreSQL and MariaDB, which keep what they have acknowledged.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import psycopg

from faults.arenas.arena import (
    STALENESS,
    Arena,
    FeedProxy,
    feed_troubles,
    silence,
    weather_troubles,
)
from faults.clients import wait_until_stopped
from faults.config import LONGER
from faults.nemesis import AGAINST_CLIENTS, Nemesis, Trouble
from faults.world import World
from servers import MariaDbServer, PostgresServer, Proxy
from sessioncore_sql import new_engine
from sessioncore_sql._feed import PostgresInvalidationFeed

_pymysql: Any = import_module("pymysql")  # it has no types

S = TypeVar("S", PostgresServer, MariaDbServer)


class _Database(Arena, Generic[S]):
    """
    A database server behind a proxy.
    """

    sync_driver: ClassVar[str]
    async_driver: ClassVar[str]
    refusals: ClassVar[tuple[type[Exception], ...]]
    """What a stranger's statements may raise: he meets deadlocks, too."""

    @abstractmethod
    def _new_server(self) -> S:
        """
        A server that has not been started.
        """

    @abstractmethod
    def _end_connections(self) -> None:
        """
        End all connections of clients, as an administrator would.
        """

    @property
    @abstractmethod
    def _wrong_order(self) -> Sequence[str]:
        """
        The statements of a stranger who locks rows in the opposite order.
        """

    def _start(self, stack: ExitStack) -> None:
        self.server: S = stack.enter_context(self._new_server())
        self.proxy = stack.enter_context(Proxy(self.server.port))
        self.scanned.append(self.server.folder)
        sync_url = self.server.url(self.sync_driver, port=self.proxy.port)
        async_url = self.server.url(self.async_driver, port=self.proxy.port)
        self.store |= {
            "sql": sync_url,
            "async": async_url,
            "credentials": sync_url,
            "async credentials": async_url,
        }

    @property
    def troubles(self) -> Mapping[str, Trouble]:
        """
        See :attr:`Arena.troubles`.
        """
        return {
            **AGAINST_CLIENTS,
            **weather_troubles(lambda: self.proxy),
            "kill": self._kill,
            "stop": self._stop,
            "terminate": self._terminate,
            "deadlocks": self._deadlocks,
        }

    def _kill(self, nemesis: Nemesis) -> None:
        self.server.kill()
        with nemesis.writes_down("server killed", down=True, deaf=True):
            nemesis.pause_between(0.0, 0.4)
        self.server.start()

    def _stop(self, nemesis: Nemesis) -> None:
        self.server.stop()
        try:
            wait_until_stopped(self.server.process.pid)
            # Again, for what was born meanwhile.
            self.server.stop()
            for child in _children(self.server.process.pid):
                wait_until_stopped(child)
            with nemesis.writes_down("server stopped", down=True, deaf=True):
                nemesis.pause_between(0.1, 1.2)
        finally:
            self.server.cont()

    def _terminate(self, nemesis: Nemesis) -> None:
        with nemesis.writes_down("connections ended by the administrator"):
            for _ in range(nemesis.chance.randint(1, 3)):
                self._end_connections()
                nemesis.pause_between(0.02, 0.2)

    def _deadlocks(self, nemesis: Nemesis) -> None:
        with nemesis.writes_down("rows locked in the opposite order"):
            for _ in range(nemesis.chance.randint(3, 8)):
                with suppress(*self.refusals):
                    self.server.execute(*self._wrong_order, database=self._database_name)
                nemesis.pause_between(0.0, 0.05)

    @property
    def _database_name(self) -> str:
        return str(self.store["sql"]).rpartition("/")[2]


def _children(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in listed.read_text().split()] if listed.exists() else []


class PostgreSql(_Database[PostgresServer]):
    """
    PostgreSQL, with psycopg for threads and asyncpg for asyncio.
    """

    name = "postgresql"
    times = LONGER
    sync_driver = "psycopg"
    async_driver = "asyncpg"
    refusals = (psycopg.Error,)

    def _new_server(self) -> PostgresServer:
        return PostgresServer(
            fsync="on", full_page_writes="on", synchronous_commit="on", deadlock_timeout="20ms"
        )

    @property
    def troubles(self) -> Mapping[str, Trouble]:
        """
        See :attr:`Arena.troubles`.
        """
        return {
            **super().troubles,
            **feed_troubles(lambda: [self.feed]),
            "silence": silence(lambda: [self.proxy, self.feed]),
            "serialization": self._fail_serializations,
        }

    def _start(self, stack: ExitStack) -> None:
        super()._start(stack)
        self.feed = stack.enter_context(FeedProxy(self.server.port))
        self.store["near"] = {
            "staleness": STALENESS,
            "sql": self.server.url(self.sync_driver, port=self.feed.port),
        }

    def _end_connections(self) -> None:
        self.server.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )

    @property
    def _wrong_order(self) -> Sequence[str]:
        return (
            "SET deadlock_timeout = '10s'",  # so that it is always the other who is given up
            "SET lock_timeout = '1s'",
            "BEGIN",
            "SELECT 1 FROM sessioncore_sessions FOR UPDATE",
            "SELECT pg_sleep(0.03)",
            "SELECT 1 FROM sessioncore_epochs FOR UPDATE",
            "SELECT pg_sleep(0.03)",
            "ROLLBACK",
        )

    def add_users(self, world: World) -> None:
        """
        See :meth:`Arena.add_users`. Makes triggers, too: those that tell near caches, and
        some that do nothing for the time being.
        """
        super().add_users(world)
        engine = new_engine(self._direct_credentials)
        try:
            PostgresInvalidationFeed(engine).install()
        finally:
            engine.dispose()
        self.server.execute(
            _FAILS.format(chance=0.0),
            *(
                f"CREATE TRIGGER fails BEFORE INSERT OR UPDATE OR DELETE ON {table}"
                " FOR EACH ROW EXECUTE FUNCTION fails()"
                for table in ("sessioncore_epochs", "sessioncore_sessions", "sessioncore_data")
            ),
        )

    def _fail_serializations(self, nemesis: Nemesis) -> None:
        with nemesis.writes_down("serialization failures"):
            self.server.execute(_FAILS.format(chance=0.15))
            nemesis.pause_between(0.2, 0.8)
            self.server.execute(_FAILS.format(chance=0.0))


_FAILS = """
CREATE OR REPLACE FUNCTION fails() RETURNS trigger AS $$ BEGIN
  IF random() < {chance} THEN RAISE 'could not serialize' USING ERRCODE = '40001'; END IF;
  RETURN CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
END $$ LANGUAGE plpgsql
"""


class MariaDb(_Database[MariaDbServer]):
    """
    MariaDB, with PyMySQL for threads and asyncmy for asyncio.
    """

    name = "mariadb"
    sync_driver = "pymysql"
    async_driver = "asyncmy"
    refusals = (_pymysql.MySQLError,)

    def _new_server(self) -> MariaDbServer:
        return MariaDbServer(innodb_flush_log_at_trx_commit="1", innodb_flush_method="fsync")

    def _end_connections(self) -> None:
        ids = self.server.execute(
            "SELECT id FROM information_schema.processlist"
            " WHERE db IS NOT NULL AND id <> connection_id()"
        )
        for (number,) in ids:
            with suppress(*self.refusals):
                self.server.execute(f"KILL {number}")

    @property
    def _wrong_order(self) -> Sequence[str]:
        return (
            "CREATE TABLE IF NOT EXISTS strangers (n INT) ENGINE=InnoDB",
            "SET innodb_lock_wait_timeout = 1",
            "BEGIN",
            # Whoever has changed least is given up.
            "INSERT INTO strangers SELECT seq FROM seq_1_to_500",
            "SELECT 1 FROM sessioncore_sessions FOR UPDATE",
            "DO SLEEP(0.03)",
            "SELECT 1 FROM sessioncore_epochs FOR UPDATE",
            "DO SLEEP(0.03)",
            "ROLLBACK",
        )
