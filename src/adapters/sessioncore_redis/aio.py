"""
The store for asyncio. :mod:`sessioncore_redis.store` is the same program without ``await``.
"""

from __future__ import annotations

import secrets
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError, ResponseError

from sessioncore.errors import CorruptRecord, OutcomeUnknown, StoreUnavailable
from sessioncore.ports import Purged
from sessioncore_redis import calls, clients, health
from sessioncore_redis.failures import failure
from sessioncore_redis.layout import GENERATION_BYTES, Layout, keys_beside, tag_key_name
from sessioncore_redis.walk import PausedWalk

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping
    from datetime import datetime, timedelta

    from sessioncore.ports import Admission, DataWrite
    from sessioncore.session import DataChange, Datum, Epoch, Locator, Roster, Session, Subject

Answer = TypeVar("Answer")


@attrs.define(eq=False)
class AsyncRedisSessionStore:
    """
    Keeps sessions in Redis 6.2 or newer, or what speaks its protocol and runs its scripts.

    Any number of tasks and processes may share a prefix. See :meth:`check`
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
        TypeError: Something is not of its type, such as a client for threads.

        ValueError: The client decodes or caches, or prefix or tag key is unfit.
    """

    client: redis.asyncio.Redis = attrs.field(repr=False, validator=clients.check_async_client)
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
    @asynccontextmanager
    async def connect(
        cls, url: str, *, prefix: str = "sessioncore", tag_key: bytes | None = None
    ) -> AsyncGenerator[AsyncRedisSessionStore, None]:
        """
        Open a store with a client of its own, and close that in the end.

        The client never repeats a command, and gives up on a server that does
        not answer for two seconds; parameters of the URL override both.

        Args:
            url: Such as ``redis://localhost:6379/0``, ``rediss://...`` or
                ``unix:///path``; see :meth:`redis.asyncio.Redis.from_url`.

            prefix: See :class:`AsyncRedisSessionStore`.

            tag_key: See :class:`AsyncRedisSessionStore`.
        """
        client = clients.untyped(redis.asyncio.Redis).from_url(
            url,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=clients.SOCKET_TIMEOUT,
            socket_connect_timeout=clients.SOCKET_TIMEOUT,
        )
        try:
            yield cls(client, prefix=prefix, tag_key=tag_key)
        finally:
            await client.aclose()

    async def check(self) -> tuple[health.Weakness, ...]:
        """
        Find what about client and server weakens the promises. For start-up and operators.

        Raises:
            StoreUnavailable: The store did not answer.
        """
        info = await self._ask(health.INFO)
        fsync = await self._ask(health.FSYNC)
        return health.weaknesses(
            self.client,
            info,
            fsync and fsync.get("appendfsync"),
            shares_tag_key=self.tag_key is None,
        )

    async def open_epoch(self, subject: Subject, at: datetime, lives_for: timedelta, /) -> Epoch:
        """
        See :meth:`sessioncore.ports.AsyncSessionStore.open_epoch`.
        """
        layout = await self._agreed_layout()
        generation = secrets.token_bytes(GENERATION_BYTES)
        return await self._run(calls.open_epoch(layout, subject, at, lives_for, generation))

    async def find(self, locator: Locator, /) -> Session | None:
        """
        See :meth:`sessioncore.ports.AsyncSessionStore.find`.
        """
        layout = self._layout or await self._agreed_layout()
        return calls.found(layout, locator, await self._send(calls.find(layout, locator)))

    async def replace(self, old: Session, new: Session, /) -> bool:
        """
        See :meth:`sessioncore.ports.AsyncSessionStore.replace`.
        """
        layout = self._layout or await self._agreed_layout()
        return await self._run(calls.replace(layout, old, new))

    async def roster(self, subject: Subject, /) -> Roster:
        """
        See :meth:`sessioncore.ports.AsyncSessionStore.roster`.
        """
        layout = await self._agreed_layout()
        return calls.enrolled(layout, subject, await self._send(calls.roster(layout, subject)))

    async def admit(
        self,
        session: Session,
        evicted: tuple[Locator, ...],
        version: bytes | None,
        at: datetime,
        /,
    ) -> Admission:
        """
        See :meth:`sessioncore.ports.AsyncSessionStore.admit`.
        """
        layout = self._layout or await self._agreed_layout()
        return await self._run(calls.admit(layout, session, evicted, version, at))

    async def restart(self, old: Session, new: Session, /) -> Locator | None:
        """
        See :meth:`sessioncore.ports.AsyncSessionStore.restart`.
        """
        layout = self._layout or await self._agreed_layout()
        generation = secrets.token_bytes(GENERATION_BYTES)
        return await self._run(calls.restart(layout, old, new, generation))

    async def delete(self, locator: Locator, expected: Session | None = None, /) -> bool:
        """
        See :meth:`sessioncore.ports.AsyncSessionStore.delete`.
        """
        layout = self._layout or await self._agreed_layout()
        return await self._run(calls.delete(layout, locator, expected))

    async def delete_user(self, subject: Subject, /) -> int:
        """
        See :meth:`sessioncore.ports.AsyncSessionStore.delete_user`.
        """
        return await self._run(calls.delete_user(await self._agreed_layout(), subject))

    async def read_data(self, locator: Locator, /) -> Mapping[str, Datum] | None:
        """
        See :meth:`sessioncore.ports.AsyncSessionStore.read_data`.
        """
        layout = self._layout or await self._agreed_layout()
        return await self._run(calls.read_data(layout, locator))

    async def write_data(self, locator: Locator, change: DataChange, /) -> DataWrite:
        """
        See :meth:`sessioncore.ports.AsyncSessionStore.write_data`.
        """
        layout = self._layout or await self._agreed_layout()
        return await self._run(calls.write_data(layout, locator, change))

    async def purge(self, before: datetime, limit: int, /) -> Purged:
        """
        See :meth:`sessioncore.ports.AsyncSessionStore.purge`.

        Looks at a bounded number of keys. The next call goes on where this one
        ended, if there are more keys than one call looks at.
        """
        layout = self._layout or await self._agreed_layout()
        walk = self._paused_walk.take()
        sessions = epochs = 0
        try:
            while (limit_left := limit - sessions - epochs) > 0 and not walk.is_over:
                if walk.keys:
                    purged = await self._purge_key(walk.keys[0], before, limit_left)
                    sessions += purged.sessions
                    epochs += purged.epochs
                    if not purged.more:
                        walk.keys.popleft()
                elif walk.is_tired:
                    break
                else:
                    walk.turn(layout, await self._send(walk.page(layout)))
        except StoreUnavailable as error:
            if sessions + epochs:
                raise OutcomeUnknown("a part of the batch was deleted") from error
            raise
        if walk.is_over:
            return Purged(sessions, epochs, more=False)
        self._paused_walk.keep(walk)
        return Purged(sessions, epochs, more=True)

    async def _purge_key(self, key: bytes, before: datetime, limit: int) -> Purged:
        try:
            return await self._run(calls.purge(keys_beside(key), before, limit))
        except CorruptRecord:
            # Something else lies under that key. It is not ours to delete.
            return Purged(0, 0, more=False)

    async def _agreed_layout(self) -> Layout:
        # Asked for again wherever a key is computed from a user, not only once:
        # a server that lost its memory has processes that start anew agree on
        # another tag key.
        if self.tag_key is not None and self._layout is not None:
            return self._layout
        name = tag_key_name(self.prefix)
        stored = await self._send(("GET", name))
        if stored is None:
            await self._send(("SET", name, clients.proposed_tag_key(self._layout), "NX"))
            stored = await self._send(("GET", name))
        if self._layout is None or self._layout.tag_key != stored:
            self._layout = clients.layout_of(self.prefix, stored)
        return self._layout

    async def _ask(self, command: tuple[Any, ...]) -> Any:
        # What an operator may forbid, or a managed service not have.
        try:
            return await self._send(command)
        except StoreUnavailable as error:
            if isinstance(error.__cause__, ResponseError):
                return None
            raise

    async def _send(self, command: tuple[Any, ...]) -> Any:
        try:
            return await self._driver.execute_command(*command)
        except (RedisError, OSError) as error:
            raise failure(error, writes=False, retries=0) from error

    async def _run(self, call: calls.Call[Answer]) -> Answer:
        try:
            try:
                reply = await self._driver.execute_command(*call.by_sha())
            except NoScriptError:
                reply = await self._driver.execute_command(*call.by_text())
        except (RedisError, OSError) as error:
            raise failure(
                error, writes=call.writes, retries=clients.retries_of(self.client)
            ) from error
        return call.read(reply)
