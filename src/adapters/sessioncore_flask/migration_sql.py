"""
Records of Flask-Session in a table of SQLAlchemy's.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, TypeVar

import attrs
import sqlalchemy as sql
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from sessioncore.errors import OutcomeUnknown, StoreUnavailable
from sessioncore.system import SystemClock

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping
    from datetime import timedelta

    from sessioncore.ports import Clock

T = TypeVar("T")

_PAGE: Final = 1_000


@attrs.define(eq=False)
class SqlFlaskSessionRecords:
    """
    Records in a table, as ``SESSION_TYPE = "sqlalchemy"`` has them.

    Args:
        engine: The database's, such as ``db.engine`` of Flask-SQLAlchemy. Connections are
            drawn for each call, so nothing here is part of the app's transactions.

        table: ``SESSION_SQLALCHEMY_TABLE``.

        schema: ``SESSION_SQLALCHEMY_SCHEMA``.

        clock: What expiry is judged by.
    """

    engine: sql.Engine = attrs.field(repr=False)
    table: str = attrs.field(default="sessions", kw_only=True)
    schema: str | None = attrs.field(default=None, kw_only=True)
    clock: Clock = attrs.field(factory=SystemClock, kw_only=True, repr=False)

    def read(self, key: str, /) -> bytes | None:
        """
        See :meth:`sessioncore_flask.migration.FlaskSessionRecords.read`.
        """
        rows = self._rows()
        found = self._read(
            sql.select(rows.c.session_id, rows.c.data).where(
                rows.c.session_id == key, rows.c.expiry > self._now()
            )
        )
        # Some databases compare without regard to case.
        return next((data for session_id, data in found if session_id == key), None)

    def swap(self, key: str, old: bytes, new: bytes, keep_for: timedelta, /) -> bool:
        """
        See :meth:`sessioncore_flask.migration.FlaskSessionRecords.swap`.
        """
        rows = self._rows()
        there = rows.c.session_id == key
        values = {"data": new, "expiry": self._now() + keep_for}

        def work(connection: sql.Connection) -> bool:
            update = rows.update().where(there, rows.c.data == old).values(values)
            if connection.execute(update).rowcount:
                return True
            # Its own new record is what a repetition finds if the first reply was lost.
            return connection.scalar(sql.select(rows.c.data).where(there)) == new

        return self._write(work)

    def delete(self, keys: Collection[str], /) -> int:
        """
        See :meth:`sessioncore_flask.migration.FlaskSessionRecords.delete`.
        """
        if not keys:
            return 0
        rows = self._rows()
        delete = rows.delete().where(rows.c.session_id.in_(keys))
        return self._write(lambda connection: connection.execute(delete).rowcount)

    def pages(self, prefix: str, /) -> Iterator[Mapping[str, bytes]]:
        """
        See :meth:`sessioncore_flask.migration.FlaskSessionRecords.pages`.

        In the order of the keys, of which the table has an index.
        """
        rows = self._rows()
        query = (
            sql.select(rows.c.session_id, rows.c.data)
            .where(
                rows.c.expiry > self._now(), rows.c.session_id.startswith(prefix, autoescape=True)
            )
            .order_by(rows.c.session_id)
            .limit(_PAGE)
        )
        found = self._read(query)
        while found:
            yield dict(found)
            last, _ = found[-1]
            found = self._read(query.where(rows.c.session_id > last))

    def _rows(self) -> sql.Table:
        # As Flask-Session defines it, but for its number, which nothing here needs.
        return sql.Table(
            self.table,
            sql.MetaData(schema=self.schema),
            sql.Column("session_id", sql.String(255)),
            sql.Column("data", sql.LargeBinary),
            sql.Column("expiry", sql.DateTime),
        )

    def _now(self) -> datetime:
        # The column is in UTC, and does not say so.
        return self.clock.now().astimezone(UTC).replace(tzinfo=None)

    def _read(self, query: sql.Executable) -> list[tuple[str, bytes]]:
        try:
            with self.engine.connect() as connection:
                return [(row.session_id, row.data) for row in connection.execute(query)]
        except (SQLAlchemyError, OSError) as error:
            kind = type(error).__name__
        # Not as its cause: errors of SQLAlchemy show the parameters.
        raise StoreUnavailable(f"the database of the old sessions did not answer ({kind})")

    def _write(self, work: Callable[[sql.Connection], T]) -> T:
        may_have_written = False
        kind = ""
        for _ in range(2):
            try:
                with self.engine.begin() as connection:
                    return work(connection)
            except (SQLAlchemyError, OSError) as error:
                kind = type(error).__name__
                if not (isinstance(error, DBAPIError) and error.connection_invalidated):
                    break  # a refusal, and the transaction was rolled back
                may_have_written = True
        if may_have_written:
            raise OutcomeUnknown(f"the database did not say whether it committed ({kind})")
        raise StoreUnavailable(f"the database of the old sessions refused the call ({kind})")
