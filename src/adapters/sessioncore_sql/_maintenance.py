"""
Looking after the tables, by an engine: for deployments, start-up checks and the command.

Whatever changes tables does it here and by this library's own connection: never
inside a transaction of the caller, and never as a side effect of using a store.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from sqlalchemy import Engine
from sqlalchemy.ext.asyncio import AsyncEngine

from ._engine import DEADLINE, PATIENCE
from ._schema import Component, SchemaState, statements
from ._schema import check as check_tables
from ._schema import migrate as migrate_tables
from .aio import AsyncSqlSessionStore
from .stores import SqlSessionStore


def migrate(
    engine: Engine, /, *components: Component, deadline: timedelta = PATIENCE
) -> tuple[str, ...]:
    """
    Bring the tables in a database up to date.

    Migrates every component that is there, one migration after the other, each
    recorded as it is done. Several processes may do so at once: one does the
    work while the others wait. Servers with the library's older versions go on
    working meanwhile and afterwards, as far as each migration says
    (``works_with``), so migrate first and deploy then.

    Args:
        engine: As a store takes it. Its user must be allowed to define tables.

        components: Which ones to make if they are not there; by default the
            sessions, if nothing is.

        deadline: How long all of it may take. Repeating goes on where it ended.

    Returns:
        What was done, a sentence for each step; empty if there was nothing to do.

    Raises:
        SchemaMismatch: There are newer tables with which this library does not
            work, or somebody has changed them. Nothing was done to those.

        StoreUnavailable: The database refused or did not answer. Repeating goes on
            with the first step that is not complete.

        OutcomeUnknown: The last step may or may not be complete. Repeating goes on.

        CorruptRecord: The recorded version cannot be read.
    """
    return Tables(engine, deadline=deadline).migrate(components)


def check_schema(
    engine: Engine, /, *components: Component, deadline: timedelta = DEADLINE
) -> tuple[SchemaState, ...]:
    """
    Say whether the tables in a database fit this library. Changes nothing.

    Args:
        engine: As a store takes it.

        components: Which ones must be there; by default the sessions, if nothing
            is.

        deadline: How long it may take.

    Returns:
        How each component stands that is there, or must be.

    Raises:
        StoreUnavailable: The database did not answer.

        CorruptRecord: The recorded version cannot be read.
    """
    return Tables(engine, deadline=deadline).check(components)


async def async_migrate(
    engine: AsyncEngine, /, *components: Component, deadline: timedelta = PATIENCE
) -> tuple[str, ...]:
    """
    See :func:`migrate`. If the call is cancelled, the step under way is still completed.
    """
    return await AsyncTables(engine, deadline=deadline).migrate(components)


async def async_check_schema(
    engine: AsyncEngine, /, *components: Component, deadline: timedelta = DEADLINE
) -> tuple[SchemaState, ...]:
    """
    See :func:`check_schema`.
    """
    return await AsyncTables(engine, deadline=deadline).check(components)


def pending_statements(engine: Engine, components: Iterable[Component]) -> tuple[str, ...]:
    """
    Return what :func:`migrate` would execute now, as SQL for this database.
    """
    return Tables(engine).statements(components)


async def async_pending_statements(
    engine: AsyncEngine, components: Iterable[Component]
) -> tuple[str, ...]:
    """
    See :func:`pending_statements`.
    """
    return await AsyncTables(engine).statements(components)


class Tables(SqlSessionStore):
    """
    The tables of an engine: a store, for its checks of the engine and its errors.
    """

    def migrate(self, components: Iterable[Component]) -> tuple[str, ...]:
        """
        See :func:`migrate`.
        """
        return self._run(migrate_tables, components)

    def check(self, components: Iterable[Component]) -> tuple[SchemaState, ...]:
        """
        See :func:`check_schema`.
        """
        return self._run(check_tables, components)

    def statements(self, components: Iterable[Component]) -> tuple[str, ...]:
        """
        See :func:`pending_statements`.
        """
        return self._run(statements, components)


class AsyncTables(AsyncSqlSessionStore):
    """
    The same for asyncio.
    """

    async def migrate(self, components: Iterable[Component]) -> tuple[str, ...]:
        """
        See :func:`migrate`.
        """
        return await self._run(migrate_tables, components)

    async def check(self, components: Iterable[Component]) -> tuple[SchemaState, ...]:
        """
        See :func:`check_schema`.
        """
        return await self._run(check_tables, components)

    async def statements(self, components: Iterable[Component]) -> tuple[str, ...]:
        """
        See :func:`pending_statements`.
        """
        return await self._run(statements, components)
