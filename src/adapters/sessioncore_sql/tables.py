"""
The tables, for operators who query them and apps that manage them with Alembic.

Keys are bytes and never text, because databases disagree about when two texts
are equal: MariaDB's default collation takes ``alice``, ``Alice`` and ``'alice '``
for one. A user is found by the SHA-256 of the subject's key; the readable
columns beside it are for people.

Instants are ``BIGINT`` milliseconds since 1970-01-01 UTC, for databases differ
even more about time. All sessions of one user, last seen first::

    SELECT s.device_address, s.user_agent, s.last_seen_at
    FROM sessioncore_sessions s JOIN sessioncore_epochs e ON e.epoch = s.epoch
    WHERE e.user_id = 'alice' ORDER BY s.last_seen_at DESC;

Reading is free. Writing is the stores' business: to end sessions, call
``logout_everywhere``, or delete the user's row from ``sessioncore_epochs``,
which ends them at once.

``python -m sessioncore_sql migrate`` makes the tables and brings them up to date.
An app that leaves that to Alembic hands it :data:`metadata`, or copies the tables
into its own by ``to_metadata``, and runs ``migrate`` after each upgrade: there is
nothing to alter then, but the version to record. An app that does not has Alembic's
``include_name`` leave out names that begin with ``sessioncore_``; otherwise
autogeneration proposes to drop them.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Column,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.types import TypeEngine

from sessioncore.data import KEY_BYTES
from sessioncore.session import (
    EPOCH_BYTES,
    FAMILY_BYTES,
    SALT_BYTES,
    SLOT_BYTES,
    STAMP_BYTES,
    USER_ID_BYTES,
)

__all__ = ["credentials", "data", "epochs", "metadata", "schema", "sessions"]

DIGEST_BYTES: Final = 32
NAME_CHARACTERS: Final = 255
SUBJECT_KEY_BYTES: Final = 1 + USER_ID_BYTES

# Row locks need InnoDB, and names need all of Unicode.
_MYSQL: Final[dict[str, Any]] = {
    f"{dialect}_{option}": value
    for dialect in ("mysql", "mariadb")
    for option, value in (("engine", "InnoDB"), ("charset", "utf8mb4"))
}


def _exactly(size: int) -> TypeEngine[bytes]:
    return LargeBinary(size).with_variant(mysql.BINARY(size), "mysql", "mariadb")


def _at_most(size: int) -> TypeEngine[bytes]:
    return LargeBinary(size).with_variant(mysql.VARBINARY(size), "mysql", "mariadb")


def _any_size() -> TypeEngine[bytes]:
    return LargeBinary().with_variant(mysql.LONGBLOB(), "mysql", "mariadb")


metadata = MetaData()
"""All tables; hand it to Alembic beside your own."""

schema = Table(
    "sessioncore_schema",
    metadata,
    Column("component", String(32), primary_key=True),
    Column("version", Integer, nullable=False),
    Column("works_with", Integer, comment="the oldest version whose code works; none: this one"),
    comment="Which version of the tables this database has",
    **_MYSQL,
)
"""One row for each component that is there: which version its tables have."""

epochs = Table(
    "sessioncore_epochs",
    metadata,
    Column(
        "subject_key_hash",
        _exactly(DIGEST_BYTES),
        primary_key=True,
        comment="SHA-256 of subject_key",
    ),
    Column("subject_key", _at_most(SUBJECT_KEY_BYTES), nullable=False),
    Column("user_id", String(USER_ID_BYTES), comment="for people; nothing is looked up by it"),
    Column("epoch", _exactly(EPOCH_BYTES), nullable=False),
    Column("version", _exactly(STAMP_BYTES), nullable=False, comment="of the roster"),
    Column(
        "open_until",
        BigInteger,
        nullable=False,
        index=True,
        comment="kept until then even without sessions; milliseconds since 1970 UTC",
    ),
    UniqueConstraint("epoch", name="uq_sessioncore_epochs_epoch"),
    comment="One row for each user who has, or may be about to have, sessions",
    **_MYSQL,
)
"""A session is live only while its epoch is here."""

sessions = Table(
    "sessioncore_sessions",
    metadata,
    Column("epoch", _exactly(EPOCH_BYTES), primary_key=True),
    Column("slot", _exactly(SLOT_BYTES), primary_key=True),
    Column("record", Integer, nullable=False, comment="version of this row's meaning"),
    Column("stamp", _exactly(STAMP_BYTES), nullable=False, comment="of the last write"),
    Column("policy", Text, nullable=False),
    Column("methods", Text, nullable=False, comment="JSON array of RFC 8176 names"),
    Column("created_at", BigInteger, nullable=False, comment="milliseconds since 1970 UTC"),
    Column("authenticated_at", BigInteger, comment="milliseconds since 1970 UTC"),
    Column("changed_at", BigInteger, nullable=False, comment="milliseconds since 1970 UTC"),
    Column("last_seen_at", BigInteger, nullable=False, comment="milliseconds since 1970 UTC"),
    Column(
        "keep_until",
        BigInteger,
        nullable=False,
        index=True,
        comment="deleted by purge after that; milliseconds since 1970 UTC",
    ),
    Column("family_digest", _exactly(FAMILY_BYTES), nullable=False),
    Column("current_digest", _exactly(DIGEST_BYTES), nullable=False),
    Column("pending_digest", _exactly(DIGEST_BYTES)),
    Column("pending_salt", _exactly(SALT_BYTES)),
    Column("previous_digest", _exactly(DIGEST_BYTES)),
    Column("device_address", Text),
    Column("user_agent", Text),
    comment="One row for each session",
    **_MYSQL,
)
"""Holds digests only: nobody can sign in with what is here."""

data = Table(
    "sessioncore_data",
    metadata,
    Column("epoch", _exactly(EPOCH_BYTES), primary_key=True),
    Column("slot", _exactly(SLOT_BYTES), primary_key=True),
    Column("name", _at_most(KEY_BYTES), primary_key=True, comment="UTF-8"),
    Column("value", _any_size(), nullable=False, comment="JSON, UTF-8"),
    Column("stamp", _exactly(STAMP_BYTES), nullable=False, comment="of the last write"),
    comment="What the application keeps in sessions",
    **_MYSQL,
)
"""Rows live and die with their session."""

credentials = Table(
    "sessioncore_credentials",
    metadata,
    Column("user_id_hash", _exactly(DIGEST_BYTES), primary_key=True, comment="SHA-256 of user_id"),
    Column("username_hash", _exactly(DIGEST_BYTES), nullable=False, comment="SHA-256 of username"),
    Column("user_id", String(USER_ID_BYTES), nullable=False),
    Column("username", String(NAME_CHARACTERS), nullable=False),
    Column("role", Text),
    Column("password_hash", Text, comment="none: cannot sign in by password"),
    UniqueConstraint("username_hash", name="uq_sessioncore_credentials_username_hash"),
    comment="Users and their password hashes, for apps without such a table of their own",
    **_MYSQL,
)
"""A reference: most apps have users already and write a credential store over them."""
