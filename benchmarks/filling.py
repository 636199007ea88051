"""
Stores with very many sessions in them, in seconds.

A store writes one user's sessions by itself. What it wrote, :class:`_Template`
takes for a form: every other user gets the same with the names, secrets and
stamps of another put in. So what is measured is what the store would have
written, whatever its format is; that it finds and recognises what was put
there so, is checked.
"""

from __future__ import annotations

import hashlib
import random
import re
import socket
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Protocol

import redis
from sqlalchemy import select

from benchmarks.sessions import AGENT
from sessioncore import Active, AuthService, Policy
from sessioncore.decisions import opened
from sessioncore.ports import Admission
from sessioncore.session import EPOCH_BYTES, Device, Epoch, SessionId, Subject
from sessioncore_redis import RedisSessionStore
from sessioncore_redis.layout import GENERATION_BYTES, Layout
from sessioncore_sql import SqlSessionStore, tables

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Mapping

    from sqlalchemy import Connection, Engine, Table

    from sessioncore.ports import SessionStore
    from sessioncore.session import Session

START: Final = datetime(2030, 1, 1, 12, tzinfo=UTC)
"""When everybody signed in."""

POLICY: Final = Policy(
    idle_timeout=timedelta(hours=2),
    absolute_timeout=timedelta(hours=12),
    touch_interval=timedelta(seconds=1),
    renewal_interval=None,
)
"""Without renewal: it is another operation, and due at times of its own."""

TAG_KEY: Final = bytes(range(32))

_WINDOW: Final = timedelta(minutes=10)
_ADDRESS: Final = "192.0.2.7"
_NO_TIME: Final = timedelta(0)
_NAME: Final = "%07d"
_EXAMPLE: Final = 9_999_999
_AT_ONCE: Final = 500
_CHECKED: Final = 10


_LIKE_ALL: Final = opened(
    SessionId(Epoch(bytes(16)), bytes(6), bytes(8), bytes(24)),
    Subject.user("somebody"),
    policy=POLICY,
    now=START,
    methods=("pwd",),
    device=Device(),
    stamp=bytes(8),
)


@dataclass
class SetClock:
    """
    A clock that stands still until it is set.
    """

    at: datetime = START

    def now(self) -> datetime:
        """
        See :meth:`sessioncore.ports.Clock.now`.
        """
        return self.at


@dataclass(frozen=True)
class Crowd:
    """
    Users who are signed in. What their sessions are, follows from their numbers.

    Attributes:
        per_user: How many sessions each has.
        with_device: Whether addresses and user agents are kept.
        name: How a user's number becomes a user id, all of one length.
    """

    per_user: int = 1
    with_device: bool = True
    name: str = _NAME

    def user_id(self, user: int) -> str:
        """
        Return the user id of that user.
        """
        return self.name % user

    def subject(self, user: int) -> Subject:
        """
        Return whom sessions of that user belong to.
        """
        return Subject.user(self.user_id(user))

    def session_id(self, user: int, which: int, epoch: Epoch) -> SessionId:
        """
        Return the id of one session of that user.
        """
        drawn = self._drawn(user, which)
        return SessionId(epoch, drawn[:6], drawn[6:14], drawn[14:38])

    def session(self, user: int, which: int, epoch: Epoch) -> Session:
        """
        Return the record of one session of that user, as a sign-in makes it.
        """
        session_id = self.session_id(user, which, epoch)
        # Instants and texts of its own, as in life: in memory they take most of the room.
        now, keep_until = START + _NO_TIME, _LIKE_ALL.keep_until + _NO_TIME
        return replace(
            _LIKE_ALL,
            locator=session_id.locator,
            subject=self.subject(user),
            created_at=now,
            authenticated_at=now,
            changed_at=now,
            last_seen_at=now,
            keep_until=keep_until,
            family=session_id.family_digest,
            current=session_id.digest,
            device=Device(_copied(_ADDRESS), _copied(AGENT)) if self.with_device else Device(),
            stamp=self._drawn(user, which)[38:46],
        )

    def epoch(self, user: int) -> Epoch:
        """
        Return an epoch for that user, where a store lets others choose it.
        """
        return Epoch(hashlib.blake2b(b"%d" % user, digest_size=EPOCH_BYTES).digest())

    def secrets(self, user: int) -> list[bytes]:
        """
        Return what differs between the sessions of users: slots, stamps and digests.
        """
        found: list[bytes] = []
        for which in range(self.per_user):
            drawn = self._drawn(user, which)
            family = hashlib.sha256(drawn[6:14]).digest()[:8]
            found += (drawn[:6], drawn[38:46], family, hashlib.sha256(drawn[6:38]).digest())
        return found

    def _drawn(self, user: int, which: int) -> bytes:
        return hashlib.blake2b(b"%d/%d" % (user, which), digest_size=46).digest()


@dataclass
class Filled:
    """
    A store, and who is signed in in it.
    """

    store: SessionStore
    crowd: Crowd
    epoch_of: Callable[[int], Epoch]
    add: Callable[[int, int], None] = field(repr=False)
    """Sign in the users from one number up to another."""

    users: int = 0

    def grow(self, sessions: int) -> None:
        """
        Sign in more users, until there are that many sessions; and check that it worked.
        """
        users = sessions // self.crowd.per_user
        self.add(self.users, users)
        added = range(self.users, users)
        self.users = users
        # By the store's own means, and with the cookie that a user would send.
        auth = AuthService(sessions=self.store, policy=POLICY, clock=SetClock())
        for user in random.sample(added, min(_CHECKED, len(added))):
            epoch = self.epoch_of(user)
            expected = {self.crowd.session(user, n, epoch) for n in range(self.crowd.per_user)}
            as_stored = set(self.store.roster(self.crowd.subject(user)).sessions) == expected
            recognised = isinstance(auth.authenticate(self.cookie(user)), Active)
            if not (as_stored and recognised):
                raise RuntimeError("the store has other sessions than it was filled with")

    def cookie(self, user: int) -> str:
        """
        Return the cookie of that user's first session.
        """
        return self.crowd.session_id(user, 0, self.epoch_of(user)).reveal()

    def session(self, user: int) -> Session:
        """
        Return that user's first session, as it was put there.
        """
        return self.crowd.session(user, 0, self.epoch_of(user))


def in_memory(store: SessionStore, crowd: Crowd) -> Filled:
    """
    Fill a store by its own operations; in memory that is fast enough.
    """

    def epoch_of(user: int) -> Epoch:
        return store.open_epoch(crowd.subject(user), START, _WINDOW)

    def add(first: int, last: int) -> None:
        for user in range(first, last):
            _sign_in(store, crowd, user)

    return Filled(store, crowd, epoch_of, add)


def in_redis(client: redis.Redis, crowd: Crowd) -> Filled:
    """
    Fill Redis with the commands that leave behind what the store's scripts do.
    """
    store = RedisSessionStore(client, tag_key=TAG_KEY)
    layout = Layout(store.prefix, TAG_KEY)

    def generation(user: int) -> bytes:
        return crowd.epoch(user)[:GENERATION_BYTES]

    def epoch_of(user: int) -> Epoch:
        return layout.epoch(layout.tag(crowd.subject(user)), generation(user))

    def names(user: int, generation: bytes) -> list[bytes]:
        subject = crowd.subject(user)
        key = layout.sessions_key(layout.tag(subject))
        return [key, generation, subject.key, *crowd.secrets(user)]

    epoch = _sign_in(store, crowd, _EXAMPLE)
    key = layout.sessions_key(layout.tag(crowd.subject(_EXAMPLE)))
    untyped: Any = client
    fields: Mapping[bytes, bytes] = untyped.hgetall(key)
    lives_for: int = untyped.pttl(key)
    store.delete_user(crowd.subject(_EXAMPLE))
    form = _Template(
        _packed(b"HSET", key, *(part for pair in fields.items() for part in pair))
        + _packed(b"PEXPIRE", key, b"%d" % lives_for),
        names(_EXAMPLE, layout.generation(epoch)),
    )

    def add(first: int, last: int) -> None:
        with _deaf(client) as send:
            for start in range(first, last, _AT_ONCE):
                users = range(start, min(start + _AT_ONCE, last))
                send(b"".join(form.filled(names(user, generation(user))) for user in users))

    return Filled(store, crowd, epoch_of, add)


def in_sql(engine: Engine, crowd: Crowd) -> Filled:
    """
    Fill a database with many rows in each statement.
    """
    store = SqlSessionStore(engine)
    written = _CopiedRows() if engine.dialect.name == "postgresql" else _InsertedRows()

    def names(user: int, epoch: Epoch) -> list[bytes]:
        subject = crowd.subject(user)
        octets = [epoch, hashlib.sha256(subject.key).digest(), subject.key, *crowd.secrets(user)]
        return [*map(written.octets, octets), written.text(crowd.user_id(user))]

    epoch = _sign_in(store, crowd, _EXAMPLE)
    example = names(_EXAMPLE, epoch)
    with engine.connect() as connection:
        forms = [
            (table, _Template(written.rows(connection.execute(select(table)).all()), example))
            for table in (tables.epochs, tables.sessions)
        ]
    store.delete_user(crowd.subject(_EXAMPLE))

    def add(first: int, last: int) -> None:
        with _hasty(engine) as connection:
            for start in range(first, last, _AT_ONCE):
                users = range(start, min(start + _AT_ONCE, last))
                known = [names(user, crowd.epoch(user)) for user in users]
                for table, form in forms:
                    written.insert(connection, table, map(form.filled, known))

    return Filled(store, crowd, crowd.epoch, add)


def _sign_in(store: SessionStore, crowd: Crowd, user: int) -> Epoch:
    epoch = store.open_epoch(crowd.subject(user), START, _WINDOW)
    for which in range(crowd.per_user):
        session = crowd.session(user, which, epoch)
        if store.admit(session, (), None, START) is not Admission.ADMITTED:
            raise RuntimeError("the store is not empty")
    return epoch


class _Template:
    """
    Bytes in which some names stand, and the same with other names.
    """

    def __init__(self, text: bytes, names: Iterable[bytes]) -> None:
        order = list(names)
        parts = re.split(b"(%b)" % b"|".join(map(re.escape, order)), text)
        self._parts: Final = parts
        self._places: Final = [(at, order.index(parts[at])) for at in range(1, len(parts), 2)]

    def filled(self, names: list[bytes]) -> bytes:
        parts = self._parts.copy()
        for at, name in self._places:
            parts[at] = names[name]
        return b"".join(parts)


def _packed(*parts: bytes) -> bytes:
    bulks = (b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)
    return b"*%d\r\n%b" % (len(parts), b"".join(bulks))


class _Send(Protocol):
    def __call__(self, octets: bytes, /) -> object: ...


@contextmanager
def _deaf(client: redis.Redis) -> Generator[_Send, None, None]:
    # A connection on which nothing is answered before the end.
    untyped: Any = client
    where = untyped.get_connection_kwargs()
    with socket.create_connection((where["host"], where["port"])) as connection:
        connection.sendall(b"CLIENT REPLY OFF\r\n")
        yield connection.sendall
        connection.sendall(b"CLIENT REPLY ON\r\n")
        if connection.recv(64) != b"+OK\r\n":
            raise RuntimeError("the server refused what it was sent")


@contextmanager
def _hasty(engine: Engine) -> Generator[Connection, None, None]:
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            # One transaction, with its pages in memory: else each is written many times.
            connection.exec_driver_sql("PRAGMA cache_size=-1000000")
        yield connection
        connection.commit()
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.invalidate()


class _InsertedRows:
    """
    Rows as SQL has them.
    """

    null = b"NULL"
    row = b"(%b)"
    between_rows = b","
    between_values = b","

    def octets(self, value: bytes) -> bytes:
        return b"X'%b'" % value.hex().encode()

    def text(self, value: str) -> bytes:
        return b"'%b'" % value.replace("'", "''").encode()

    def rows(self, rows: Iterable[Iterable[object]]) -> bytes:
        """
        Write rows as they were read.
        """
        return self.between_rows.join(
            self.row % self.between_values.join(map(self._value, row)) for row in rows
        )

    def insert(self, connection: Connection, table: Table, rows: Iterable[bytes]) -> None:
        """
        Put rows that were written so into a table.
        """
        statement = b"INSERT INTO %b VALUES %b"
        texts = statement % (_with_columns(table), self.between_rows.join(rows))
        connection.exec_driver_sql(texts.decode())

    def _value(self, value: object) -> bytes:
        # Only our own example comes here, which has nothing that is to be escaped.
        if value is None:
            return self.null
        if isinstance(value, bytes):
            return self.octets(value)
        return b"%d" % value if isinstance(value, int) else self.text(str(value))


class _CopiedRows(_InsertedRows):
    """
    Rows as PostgreSQL's COPY has them, which takes half the time.
    """

    null = rb"\N"
    row = b"%b\n"
    between_rows = b""
    between_values = b"\t"

    def octets(self, value: bytes) -> bytes:
        return rb"\\x%b" % value.hex().encode()

    def text(self, value: str) -> bytes:
        return value.encode()

    def insert(self, connection: Connection, table: Table, rows: Iterable[bytes]) -> None:
        """
        See :meth:`_InsertedRows.insert`.
        """
        driver: Any = connection.connection.driver_connection
        with driver.cursor().copy(b"COPY %b FROM STDIN" % _with_columns(table)) as copy:
            copy.write(self.between_rows.join(rows))


def _with_columns(table: Table) -> bytes:
    return f"{table.name} ({', '.join(column.name for column in table.columns)})".encode()


def _copied(text: str) -> str:
    # Texts that Python reads from a program are one object, those of requests are many.
    return text.encode().decode()
