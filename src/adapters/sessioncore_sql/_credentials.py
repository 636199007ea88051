"""
Each operation of the credential store as one program over a connection.

Hashes are compared in Python while the row is locked, never by the database: a
collation that takes upper and lower case for equal would compare and set wrongly.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    Connection,
    bindparam,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy import (
    delete as delete_from,
)

from sessioncore.errors import CorruptRecord
from sessioncore.ports import Account
from sessioncore.session import Subject

from ._codec import Values, as_stored, digest, text
from ._transaction import DUPLICATE, REPEATABLE, autocommit, write
from .tables import NAME_CHARACTERS, credentials

_THE_USER: Final = credentials.c.user_id_hash == bindparam("its_user_id_hash")

_FIND_USER: Final = select(as_stored(credentials.c.user_id), as_stored(credentials.c.role)).where(
    credentials.c.username_hash == bindparam("its_username_hash")
)
_READ_HASH: Final = select(as_stored(credentials.c.password_hash)).where(_THE_USER)
_LOCK_HASH: Final = _READ_HASH.with_for_update()
_WRITE_HASH: Final = update(credentials).where(_THE_USER)
_TAKEN: Final = select(credentials.c.user_id_hash).where(
    or_(_THE_USER, credentials.c.username_hash == bindparam("its_username_hash"))
)
_ADD: Final = insert(credentials)
_REMOVE: Final = delete_from(credentials).where(_THE_USER)


def find_user(connection: Connection, username: str) -> Account | None:
    """
    See :meth:`CredentialStore.find_user`.
    """
    row = autocommit(connection).execute(_FIND_USER, _of_name(username)).first()
    if row is None:
        return None
    user_id, role = row
    return Account(user_id=_text(user_id), role=_optional(role))


def read_hash(connection: Connection, user_id: str) -> str | None:
    """
    See :meth:`CredentialStore.read_hash`.
    """
    row = autocommit(connection).execute(_READ_HASH, _of_user(user_id)).first()
    return None if row is None else _optional(row[0])


def replace_hash(connection: Connection, user_id: str, verified: str, new: str) -> bool:
    """
    See :meth:`CredentialStore.replace_hash`.
    """
    its = _of_user(user_id)

    def work(connection: Connection) -> bool:
        row = connection.execute(_LOCK_HASH, its).first()
        stored = None if row is None else _optional(row[0])
        if stored == verified:
            connection.execute(_WRITE_HASH, {**its, "password_hash": new})
            return True
        return stored == new

    return write(connection, work)


def add_user(
    connection: Connection, user_id: str, username: str, password_hash: str | None, role: str | None
) -> bool:
    """
    See :meth:`SqlCredentialStore.add_user`.
    """
    Subject.user(user_id)  # which knows what a user id may be, and refuses the rest
    if not username.isprintable() or not 1 <= len(username) <= NAME_CHARACTERS:
        raise ValueError(f"a username has 1 to {NAME_CHARACTERS} printable characters")
    its = {**_of_user(user_id), **_of_name(username)}
    row: Values = {
        "user_id_hash": its["its_user_id_hash"],
        "username_hash": its["its_username_hash"],
        "user_id": user_id,
        "username": username,
        "role": role,
        "password_hash": password_hash,
    }

    def work(connection: Connection) -> bool:
        if connection.execute(_TAKEN, its).first() is not None:
            return False
        connection.execute(_ADD, row)
        return True

    return write(connection, work, repeat_after=REPEATABLE | DUPLICATE)


def set_hash(connection: Connection, user_id: str, password_hash: str | None) -> bool:
    """
    See :meth:`SqlCredentialStore.set_hash`.
    """
    values = {**_of_user(user_id), "password_hash": password_hash}

    def work(connection: Connection) -> bool:
        return connection.execute(_WRITE_HASH, values).rowcount > 0

    return write(connection, work)


def remove_user(connection: Connection, user_id: str) -> bool:
    """
    See :meth:`SqlCredentialStore.remove_user`.
    """

    def work(connection: Connection) -> bool:
        return connection.execute(_REMOVE, _of_user(user_id)).rowcount > 0

    return write(connection, work)


def _of_user(user_id: str) -> Values:
    return {"its_user_id_hash": _digest(user_id)}


def _of_name(username: str) -> Values:
    return {"its_username_hash": _digest(username)}


def _digest(name: str) -> bytes:
    # Any text may be typed at sign-in, also what is not encodable.
    return digest(name.encode("utf-8", "surrogatepass"))


def _optional(value: object) -> str | None:
    return None if value is None else _text(value)


def _text(value: object) -> str:
    try:
        return text(value)
    except ValueError:
        pass
    raise CorruptRecord("the row of a user cannot be read")
