"""
Which stores a URL names. Read it for how each store is opened, checked and closed.

Whoever embeds the library has one store and needs two of these lines; the demo has them
all, so that one can try them.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import urlsplit

from sqlalchemy import URL, make_url
from sqlalchemy.exc import SQLAlchemyError

from sessioncore import StoreError
from sessioncore.ports import CredentialStore, SessionStore
from sessioncore_memory import MemoryCredentialStore, MemorySessionStore
from sessioncore_redis import RedisSessionStore
from sessioncore_sql import SqlCredentialStore, SqlSessionStore, new_engine

if TYPE_CHECKING:
    from pathlib import Path

# Plain schemes, with the driver that `make demo` installs.
_DRIVERS: Final = {
    "postgresql": "postgresql+psycopg",
    "postgres": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mysql+pymysql": "mysql+pymysql",
    "mariadb": "mariadb+pymysql",
    "mariadb+pymysql": "mariadb+pymysql",
}
_REDIS: Final = frozenset({"redis", "rediss"})

KNOWN: Final = (
    "memory://",
    "sqlite:///FILE",
    "redis://HOST:PORT/0",
    "postgresql://USER@HOST/DATABASE",
    "mysql://USER@HOST/DATABASE",
)


_HINT: Final = " Is it running there, and are user, password and database right?"


class UserStore(CredentialStore, Protocol):
    """
    A credential store to which the demo can add its user.
    """

    def add_user(self, user_id: str, username: str, password_hash: str | None) -> bool:
        """
        Add a user, and say whether there was none of that id or name before.
        """
        ...


@dataclass(frozen=True, slots=True)
class Stores:
    """
    Where sessions live and where users live, ready to be used.
    """

    sessions: SessionStore
    credentials: UserStore
    description: str
    """For people; without a password."""


class UnusableStore(Exception):
    """
    The store cannot be used. Its message is one line, and never says a password.
    """


@contextmanager
def opened(url: str | None, database: Path) -> Generator[Stores]:
    """
    Open the stores that *url* names; close them in the end.

    Args:
        url: One of :data:`KNOWN`; ``None`` for SQLite in *database*.

        database: The SQLite file for what the URL's store does not keep: everything by
            default, and the users if sessions are in Redis.

    Raises:
        UnusableStore: It is no such URL, its driver is missing, or nobody answers there.

        OSError: There can be no folder for *database*.
    """
    scheme = "" if url is None else url.partition(":")[0].lower()
    if url is None:
        with _sql(_file(database), f"SQLite, {database}") as stores:
            yield stores
    elif scheme == "memory":
        users = MemoryCredentialStore()
        yield Stores(MemorySessionStore(), users, "this process's memory")
    elif scheme in _REDIS:
        with (
            _sql(_file(database), f"SQLite, {database}") as stores,
            _redis(url, _shown(url)) as sessions,
        ):
            yield Stores(
                sessions, stores.credentials, f"{_shown(url)}; the user is in {stores.description}"
            )
    elif scheme == "sqlite":
        parsed = _parsed(url)
        if parsed.query or parsed.database in {None, "", ":memory:"}:
            raise UnusableStore(
                "SQLite: name a file, as in sqlite:///sessions.db, or take memory://"
            )
        with _sql(parsed, f"SQLite, {parsed.database}") as stores:
            yield stores
    elif scheme in _DRIVERS:
        parsed = _parsed(url).set(drivername=_DRIVERS[scheme])
        with _sql(parsed, _shown(url)) as stores:
            yield stores
    else:
        # Not quoted: whatever it is, a password may be in it.
        raise UnusableStore(f"not a store that the demo knows; it knows {', '.join(KNOWN)}")


@contextmanager
def _redis(url: str, name: str) -> Generator[RedisSessionStore]:
    with ExitStack() as stack:
        with _told(name):
            sessions = stack.enter_context(RedisSessionStore.connect(url))
            # It has connected to nothing yet; and what this finds is worth a look.
            for weakness in sessions.check():
                print(f"Mind: {weakness.finding}")
        yield sessions


@contextmanager
def _sql(url: URL, name: str) -> Generator[Stores]:
    with _told(name):
        engine = new_engine(url)
    try:
        with _told(name):
            sessions, credentials = SqlSessionStore(engine), SqlCredentialStore(engine)
            sessions.create_schema()
            credentials.create_schema()
        yield Stores(sessions, credentials, name)
    finally:
        engine.dispose()


@contextmanager
def _told(name: str) -> Generator[None]:
    # Only messages that are known to quote no URL are passed on.
    try:
        yield
    except StoreError as error:
        raise UnusableStore(f"{name}: {error}.{_HINT if ' at ' in name else ''}") from None
    except ImportError as error:
        raise UnusableStore(f"{name}: the driver {error.name} is not installed") from None
    except (ValueError, TypeError, SQLAlchemyError):
        raise UnusableStore(f"{name}: not a URL that can be used") from None


def _file(database: Path) -> URL:
    database.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return URL.create("sqlite", database=str(database))


def _parsed(url: str) -> URL:
    try:
        return make_url(url)
    except (ValueError, SQLAlchemyError):
        raise UnusableStore("not the URL of a database") from None


def _shown(url: str) -> str:
    # Kind, host and port. A password that was not escaped makes parsers take parts of it
    # for something else: then the kind alone.
    kind = url.partition(":")[0].lower()
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return kind
    if host is None or "@" in parts.path + parts.query + parts.fragment:
        return kind
    return f"{kind} at {host}" if port is None else f"{kind} at {host}:{port}"
