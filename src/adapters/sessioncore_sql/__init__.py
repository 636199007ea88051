"""
Stores over SQL databases, by SQLAlchemy Core, for threads and for asyncio.

SQLite for one machine, PostgreSQL and MariaDB or MySQL for many. The tables are
in :mod:`sessioncore_sql.tables`; no other module here is imported by name.
"""

from . import tables
from ._engine import new_async_engine, new_engine
from .aio import AsyncSqlCredentialStore, AsyncSqlSessionStore
from .stores import SqlCredentialStore, SqlSessionStore

__all__ = [
    "AsyncSqlCredentialStore",
    "AsyncSqlSessionStore",
    "SqlCredentialStore",
    "SqlSessionStore",
    "new_async_engine",
    "new_engine",
    "tables",
]
