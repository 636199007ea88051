"""
Making the tables, and knowing which version of them is there.
"""

from __future__ import annotations

import enum
from typing import Final

from sqlalchemy import Connection, bindparam, insert, select

from sessioncore.errors import CorruptRecord

from ._transaction import DUPLICATE, REPEATABLE, write
from .tables import credentials, data, epochs, metadata, schema, sessions

SCHEMA_VERSION: Final = 1

_INSTALLED: Final = select(schema.c.version).where(schema.c.component == bindparam("component"))
_INSTALL: Final = insert(schema)


class Component(enum.Enum):
    """
    What an app may have, each by itself.
    """

    SESSIONS = "sessions"
    CREDENTIALS = "credentials"


_TABLES: Final = {
    Component.SESSIONS: (epochs, sessions, data),
    Component.CREDENTIALS: (credentials,),
}


def create(connection: Connection, component: Component) -> None:
    """
    Make the tables of *component* where they are missing.

    Raises:
        CorruptRecord: They are there in a version that this library does not know.
    """
    its = {"component": component.value}

    def work(connection: Connection) -> None:
        metadata.create_all(connection, tables=[schema, *_TABLES[component]])
        version = connection.execute(_INSTALLED, its).scalar()
        if version is None:
            connection.execute(_INSTALL, {**its, "version": SCHEMA_VERSION})
        elif version != SCHEMA_VERSION:
            raise CorruptRecord("the tables have a version that this library does not know")

    write(connection, work, repeat_after=REPEATABLE | DUPLICATE)
