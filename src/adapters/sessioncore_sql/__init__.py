"""
Stores over SQL databases, by SQLAlchemy Core, for threads and for asyncio.

SQLite for one machine, PostgreSQL and MariaDB or MySQL for many. The tables are
in :mod:`sessioncore_sql.tables`; no other module here is imported by name.

The tables have versions. A store makes missing tables and never changes any: that
is done by ``python -m sessioncore_sql migrate``, or :func:`migrate`, before servers
with a new version of this library start.
"""

from . import tables
from ._engine import new_async_engine, new_engine
from ._feed import PostgresInvalidationFeed
from ._maintenance import async_check_schema, async_migrate, check_schema, migrate
from ._schema import Component, SchemaMismatch, SchemaState, Standing
from .aio import AsyncSqlCredentialStore, AsyncSqlSessionStore
from .stores import SqlCredentialStore, SqlSessionStore

__all__ = [
    "AsyncSqlCredentialStore",
    "AsyncSqlSessionStore",
    "Component",
    "PostgresInvalidationFeed",
    "SchemaMismatch",
    "SchemaState",
    "SqlCredentialStore",
    "SqlSessionStore",
    "Standing",
    "async_check_schema",
    "async_migrate",
    "check_schema",
    "migrate",
    "new_async_engine",
    "new_engine",
    "tables",
]
