"""
The store for threads. :mod:`sessioncore_redis.aio` is the same program with ``await``.
"""

from __future__ import annotations

import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
import redis
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError, ResponseError
from redis.retry import Retry

from sessioncore.errors import CorruptRecord, OutcomeUnknown, StoreUnavailable
from sessioncore.ports import Purged
from sessioncore_redis import calls, clients, health
from sessioncore_redis.failures import failure
from sessioncore_redis.layout import GENERATION_BYTES, Layout, keys_beside, tag_key_name
from sessioncore_redis.walk import PausedWalk

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping
    from datetime import datetime, timedelta

    from sessioncore.ports import Admission, DataWrite
    from sessioncore.session import DataChange, Datum, Epoch, Locator, Roster, Session, Subject

Answer = TypeVar("Answer")


@attrs.define(eq=False)
class RedisSessionStore:
    """
    Keeps sessions in Redis 6.2 or newer, or what speaks its protocol and runs its scripts.

    Any number of threads and processes may share a prefix. See :meth:`check`
    for what a server's settings do to the promises.

    Args:
        client: Your client, which stays yours to close. Its ``decode_responses``
            is off, and so should be its retries: redis-py repeats commands by
            default, whether they may be repeated or not. Sessions stay right
            even so; a value taken from session data may be lost or come back,
            and an increment may count twice. See :meth:`check`.

        prefix: What all keys begin with.

        tag_key: 16 to 64 secret random bytes, the same in every process, from
            which users' keys are computed. Another one ends all sessions. By
            default one is drawn and kept in Redis.

    Raises:
        TypeError: Something is not of its type, such as an asynchronous client.

        ValueError: The client decodes or caches, or prefix or tag key is unfit.
    """

    client: redis.Redis = attrs.field(repr=False, validator=clients.check_sync_client)
    prefix: str = attrs.field(default="sessioncore", kw_only=True, validator=clients.check_prefix)
    tag_key: bytes | None = attrs.field(
        default=None, kw_only=True, repr=False, validator=clients.check_tag_key
    )

    _driver: Any = attrs.field(init=False, repr=False)
    _layout: Layout | None = attrs.field(init=False, default=None, repr=False)
    _paused_walk: PausedWalk = attrs.field(init=False, factory=PausedWalk, repr=False)

    def __attrs_post_init__(self) -> None:
        self._driver = clients.untyped(self.client)
        if self.tag_key is not None:
            self._layout = Layout(self.prefix, self.tag_key)

    @classmethod
    @contextmanager
    def connect(
        cls, url: str, *, prefix: str = "sessioncore", tag_key: bytes | None = None
    ) -> Generator[RedisSessionStore, None, None]:
        """
        Open a store with a client of its own, and close that in the end.

        The client never repeats a command, and gives up on a server that does
        not answer for two seconds; parameters of the URL override both.

        Args:
            url: Such as ``redis://localhost:6379/0``, ``rediss://...`` or
                ``unix:///path``; see :meth:`redis.Redis.from_url`.

            prefix: See :class:`RedisSessionStore`.

            tag_key: See :class:`RedisSessionStore`.
        """
        client = clients.untyped(redis.Redis).from_url(
            url,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=clients.SOCKET_TIMEOUT,
            socket_connect_timeout=clients.SOCKET_TIMEOUT,
        )
        try:
            yield cls(client, prefix=prefix, tag_key=tag_key)
        finally:
            client.close()

    def check(self) -> tuple[health.Weakness, ...]:
        """
        Find what about client and server weakens the promises. For start-up and operators.

        Raises:
            StoreUnavailable: The store did not answer.
        """
        info = self._ask(health.INFO)
        fsync = self._ask(health.FSYNC)
        return health.weaknesses(
            self.client,
            info,
            fsync and fsync.get("appendfsync"),
            shares_tag_key=self.tag_key is None,
        )

    def open_epoch(self, subject: Subject, at: datetime, lives_for: timedelta, /) -> Epoch:
        """
        See :meth:`sessioncore.ports.SessionStore.open_epoch`.
        """
        layout = self._agreed_layout()
        generation = secrets.token_bytes(GENERATION_BYTES)
        return self._run(calls.open_epoch(layout, subject, at, lives_for, generation))

    def find(self, locator: Locator, /) -> Session | None:
        """
        See :meth:`sessioncore.ports.SessionStore.find`.
        """
        layout = self._layout or self._agreed_layout()
        return calls.found(layout, locator, self._send(calls.find(layout, locator)))

    def replace(self, old: Session, new: Session, /) -> bool:
        """
        See :meth:`sessioncore.ports.SessionStore.replace`.
        """
        layout = self._layout or self._agreed_layout()
        return self._run(calls.replace(layout, old, new))

    def roster(self, subject: Subject, /) -> Roster:
        """
        See :meth:`sessioncore.ports.SessionStore.roster`.
        """
        layout = self._agreed_layout()
        return calls.enrolled(layout, subject, self._send(calls.roster(layout, subject)))

    def admit(
        self,
        session: Session,
        evicted: tuple[Locator, ...],
        version: bytes | None,
        at: datetime,
        /,
    ) -> Admission:
        """
        See :meth:`sessioncore.ports.SessionStore.admit`.
        """
        layout = self._layout or self._agreed_layout()
        return self._run(calls.admit(layout, session, evicted, version, at))

    def restart(self, old: Session, new: Session, /) -> Locator | None:
        """
        See :meth:`sessioncore.ports.SessionStore.restart`.
        """
        layout = self._layout or self._agreed_layout()
        generation = secrets.token_bytes(GENERATION_BYTES)
        return self._run(calls.restart(layout, old, new, generation))

    def delete(self, locator: Locator, expected: Session | None = None, /) -> bool:
        """
        See :meth:`sessioncore.ports.SessionStore.delete`.
        """
        layout = self._layout or self._agreed_layout()
        return self._run(calls.delete(layout, locator, expected))

    def delete_user(self, subject: Subject, /) -> int:
        """
        See :meth:`sessioncore.ports.SessionStore.delete_user`.
        """
        return self._run(calls.delete_user(self._agreed_layout(), subject))

    def read_data(self, locator: Locator, /) -> Mapping[str, Datum] | None:
        """
        See :meth:`sessioncore.ports.SessionStore.read_data`.
        """
        layout = self._layout or self._agreed_layout()
        return self._run(calls.read_data(layout, locator))

    def write_data(self, locator: Locator, change: DataChange, /) -> DataWrite:
        """
        See :meth:`sessioncore.ports.SessionStore.write_data`.
        """
        layout = self._layout or self._agreed_layout()
        return self._run(calls.write_data(layout, locator, change))

    def purge(self, before: datetime, limit: int, /) -> Purged:
        """
        See :meth:`sessioncore.ports.SessionStore.purge`.

        Looks at a bounded number of keys. The next call goes on where this one
        ended, if there are more keys than one call looks at.
        """
        layout = self._layout or self._agreed_layout()
        walk = self._paused_walk.take()
        sessions = epochs = 0
        try:
            while (limit_left := limit - sessions - epochs) > 0 and not walk.is_over:
                if walk.keys:
                    purged = self._purge_key(walk.keys[0], before, limit_left)
                    sessions += purged.sessions
                    epochs += purged.epochs
                    if not purged.more:
                        walk.keys.popleft()
                elif walk.is_tired:
                    break
                else:
                    walk.turn(layout, self._send(walk.page(layout)))
        except StoreUnavailable as error:
            if sessions + epochs:
                raise OutcomeUnknown("a part of the batch was deleted") from error
            raise
        if walk.is_over:
            return Purged(sessions, epochs, more=False)
        self._paused_walk.keep(walk)
        return Purged(sessions, epochs, more=True)

    def _purge_key(self, key: bytes, before: datetime, limit: int) -> Purged:
        try:
            return self._run(calls.purge(keys_beside(key), before, limit))
        except CorruptRecord:
            # Something else lies under that key. It is not ours to delete.
            return Purged(0, 0, more=False)

    def _agreed_layout(self) -> Layout:
        # Asked for again wherever a key is computed from a user, not only once:
        # a server that lost its memory has processes that start anew agree on
        # another tag key.
        if self.tag_key is not None and self._layout is not None:
            return self._layout
        name = tag_key_name(self.prefix)
        stored = self._send(("GET", name))
        if stored is None:
            self._send(("SET", name, clients.proposed_tag_key(self._layout), "NX"))
            stored = self._send(("GET", name))
        if self._layout is None or self._layout.tag_key != stored:
            self._layout = clients.layout_of(self.prefix, stored)
        return self._layout

    def _ask(self, command: tuple[Any, ...]) -> Any:
        # What an operator may forbid, or a managed service not have.
        try:
            return self._send(command)
        except StoreUnavailable as error:
            if isinstance(error.__cause__, ResponseError):
                return None
            raise

    def _send(self, command: tuple[Any, ...]) -> Any:
        try:
            return self._driver.execute_command(*command)
        except (RedisError, OSError) as error:
            raise failure(error, writes=False, retries=0) from error

    def _run(self, call: calls.Call[Answer]) -> Answer:
        try:
            try:
                reply = self._driver.execute_command(*call.by_sha())
            except NoScriptError:
                reply = self._driver.execute_command(*call.by_text())
        except (RedisError, OSError) as error:
            raise failure(
                error, writes=call.writes, retries=clients.retries_of(self.client)
            ) from error
        return call.read(reply)
