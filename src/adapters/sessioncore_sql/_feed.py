"""
What changes in PostgreSQL, told by PostgreSQL: for a near cache.

Triggers name the epoch of every session that ends, and of every one whose ids change
meaning, to whoever listens (``LISTEN`` and ``NOTIFY``); what merely records that a session
was seen they leave out. Notifications come in the order of commits. So the proof that
nothing is missing is a notification to oneself: whatever was committed before it was sent
comes before it.
"""

from __future__ import annotations

import re
import secrets
import selectors
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final

import attrs
from sqlalchemy import Engine

from sessioncore.errors import StoreUnavailable

from ._transaction import faults, write

if TYPE_CHECKING:
    from sessioncore.ports import InvalidationListener
    from sessioncore.session import Locator

_CHANNEL: Final = "sessioncore_sessions"

_EVERYTHING: Final = b"*"
_TOPIC: Final = re.compile(rb"[0-9a-f]{32}")

# What an id stands for. All else of a session is copied as often as it is read.
_MEANING: Final = (
    *("epoch", "slot", "record", "policy", "methods", "created_at", "authenticated_at"),
    *("changed_at", "family_digest", "current_digest", "pending_digest", "pending_salt"),
    *("previous_digest", "device_address", "user_agent"),
)

_FUNCTION: Final = f"""
CREATE OR REPLACE FUNCTION sessioncore_tell() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        PERFORM pg_notify('{_CHANNEL}', '{_EVERYTHING.decode()}');
    ELSE
        PERFORM pg_notify('{_CHANNEL}', encode(OLD.epoch, 'hex'));
    END IF;
    RETURN NULL;
END
$$"""


def _trigger(table: str, name: str, when: str, condition: str = "") -> tuple[str, str]:
    each = "STATEMENT" if when == "TRUNCATE" else "ROW"
    what = f"AFTER {when} ON {table} FOR EACH {each} {condition}"
    return (
        f"CREATE OR REPLACE TRIGGER sessioncore_{name} {what} EXECUTE FUNCTION sessioncore_tell()",
        # Also for who has switched off triggers for himself (session_replication_role).
        f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER sessioncore_{name}",
    )


def _changed(*columns: str) -> str:
    old, new = (", ".join(f"{row}.{column}" for column in columns) for row in ("OLD", "NEW"))
    return f"WHEN (ROW({old}) IS DISTINCT FROM ROW({new}))"


_TRIGGERS: Final = (
    *_trigger("sessioncore_epochs", "epoch_changed", "UPDATE", _changed("epoch")),
    *_trigger("sessioncore_epochs", "epoch_ended", "DELETE"),
    *_trigger("sessioncore_epochs", "epochs_ended", "TRUNCATE"),
    *_trigger("sessioncore_sessions", "session_changed", "UPDATE", _changed(*_MEANING)),
    *_trigger("sessioncore_sessions", "session_ended", "DELETE"),
    *_trigger("sessioncore_sessions", "sessions_ended", "TRUNCATE"),
)

# Readers do not wait for it; writers do, and whoever installs at the same time. The tables
# are locked in the order in which writers lock their rows.
_INSTALL: Final = ";\n".join(
    (
        "LOCK TABLE sessioncore_epochs, sessioncore_sessions IN SHARE ROW EXCLUSIVE MODE",
        _FUNCTION,
        *_TRIGGERS,
    )
)

# Without its triggers a table changes and nobody is told. So there is no proof without them,
# nor if they were away meanwhile: then a row about them was written anew, by which its xmin
# tells. None at all, if one is missing.
_INSTALLED: Final = f"""
SELECT string_agg(concat_ws('/', oid, xmin), ' ' ORDER BY oid) FROM pg_trigger
WHERE starts_with(tgname, 'sessioncore_') AND tgenabled = 'A'
AND tgrelid IN (to_regclass('sessioncore_sessions'), to_regclass('sessioncore_epochs'))
HAVING count(*) = {len(_TRIGGERS) // 2}"""  # noqa: S608 - nothing in it comes from elsewhere


def _check_engine(_feed: object, field: attrs.Attribute[Any], engine: object) -> None:
    if not isinstance(engine, Engine):
        raise TypeError(f"{field.name}: an Engine of SQLAlchemy, for threads")
    if engine.dialect.name != "postgresql" or engine.dialect.driver != "psycopg":
        raise ValueError(f"{field.name}: of PostgreSQL, by psycopg")


@attrs.frozen(eq=False)
class PostgresInvalidationFeed:
    """
    Tells what changes in the sessions of a PostgreSQL database.

    For stores for threads and for asyncio alike, whatever their driver: it is listened to in
    a thread. It keeps one connection of its own. :meth:`install` once, before the first is
    used. Not through a pooler that shares connections between transactions: there nothing
    is ever heard, so that the store answers everything.

    With it, every write that ends a session or changes its ids sends a notification, and
    PostgreSQL commits such transactions one after the other.

    Args:
        engine: For threads, with psycopg; it stays yours to dispose of.

    Raises:
        TypeError: *engine* is none, or one for asyncio.

        ValueError: It is of another database or driver.
    """

    engine: Engine = attrs.field(repr=False, validator=_check_engine)

    def install(self) -> None:
        """
        Make the triggers that tell, as the owner of the tables, in the schema where they are.

        Repeating is safe, also while servers work on the tables. The triggers go with these.
        To be rid of them: ``DROP FUNCTION sessioncore_tell CASCADE``.

        Raises:
            StoreUnavailable: That did not work: the tables are missing, or it is not allowed.

            OutcomeUnknown: They may or may not have been made.
        """
        try:
            with self.engine.connect() as connection:
                # One transaction: a writer sees all triggers or none.
                write(connection, lambda it: it.exec_driver_sql(_INSTALL).close())
        except faults(self.engine.dialect):
            pass
        else:
            return
        # Raised here: what the driver says may quote its settings.
        raise StoreUnavailable("the triggers were not made")

    def topic(self, locator: Locator, /) -> bytes:
        """
        See :meth:`sessioncore.ports.InvalidationFeed.topic`.
        """
        return locator.epoch

    def follow(self, listener: InvalidationListener, /) -> None:
        """
        See :meth:`sessioncore.ports.InvalidationFeed.follow`.
        """
        try:
            pooled = self.engine.raw_connection()
            driver: Any = pooled.driver_connection
            pooled.detach()
            with closing(driver):
                _Channel(driver.pgconn, listener).follow()
        except faults(self.engine.dialect) as error:
            kind = type(error).__name__
        else:
            return
        raise StoreUnavailable(f"PostgreSQL does not tell of changes: {kind}")


class _Channel:
    # Over libpq itself, which never waits: nobody could be told to wait no longer.

    def __init__(self, libpq: Any, listener: InvalidationListener) -> None:
        self._libpq = libpq
        self._listener = listener
        # For us alone, and nobody else can tell which.
        self._own = f"sessioncore_{secrets.token_hex(8)}"
        self._heard_ourselves = False
        self._triggers: bytes | None = None
        self._selector = selectors.DefaultSelector()

    def follow(self) -> None:
        with self._selector:
            self._selector.register(self._libpq.socket, selectors.EVENT_READ)
            self._ask(f"LISTEN {_CHANNEL}")
            self._ask(f"LISTEN {self._own}")
            while not self._listener.has_enough:
                self._beat()

    def _beat(self) -> None:
        listener = self._listener
        since = listener.now()
        late = since + listener.patience
        self._heard_ourselves = False
        self._check(self._ask(f"SELECT pg_notify('{self._own}', ''), ({_INSTALLED})"))
        while not self._heard_ourselves:
            self._wait_until(late)
            self._tell()
        listener.complete(since)
        ends_at = since + listener.heartbeat
        while (left := ends_at - listener.now()) > 0:
            if self._selector.select(left):
                self._libpq.consume_input()
                self._tell()

    def _check(self, triggers: bytes | None) -> None:
        if triggers is None:
            raise StoreUnavailable("the triggers that tell of changes are missing")
        if self._triggers not in {None, triggers}:
            raise StoreUnavailable("the triggers that tell of changes were changed")
        self._triggers = triggers

    def _ask(self, statement: str) -> bytes | None:
        # Returns the last value of the last row.
        value: bytes | None = None
        late = self._listener.now() + self._listener.patience
        libpq = self._libpq
        libpq.send_query(statement.encode())
        while True:
            # Before each of them: it would wait in C otherwise, and let nobody else run.
            while libpq.is_busy():
                self._wait_until(late)
            result = libpq.get_result()
            if result is None:
                break
            if result.error_message:
                # Its text may quote settings.
                raise StoreUnavailable("PostgreSQL refused to tell of changes")
            if result.ntuples:
                value = result.get_value(result.ntuples - 1, result.nfields - 1)
        self._tell()
        return value

    def _wait_until(self, late: float) -> None:
        left = late - self._listener.now()
        if left <= 0 or not self._selector.select(left):
            raise StoreUnavailable("PostgreSQL did not answer in time")
        self._libpq.consume_input()

    def _tell(self) -> None:
        while (told := self._libpq.notifies()) is not None:
            if told.relname.decode() == self._own:
                self._heard_ourselves = True
            elif _TOPIC.fullmatch(told.extra):
                self._listener.changed(bytes.fromhex(told.extra.decode()))
            else:  # all of them; or who knows what somebody else says on this channel
                self._listener.doubtful()
