"""
The store for asyncio. :mod:`sessioncore_redis.store` is the same program without ``await``.
"""

from __future__ import annotations

import secrets
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
import redis
import redis.asyncio
from redis.exceptions import NoScriptError, ResponseError

from sessioncore.errors import CorruptRecord, OutcomeUnknown, StoreUnavailable
from sessioncore.ports import Purged
from sessioncore_redis import aio_wire as wire
from sessioncore_redis import calls, clients, health
from sessioncore_redis.failures import DRIVER_ERRORS, failure, unconfirmed
from sessioncore_redis.feed import RedisInvalidationFeed
from sessioncore_redis.layout import GENERATION_BYTES, Layout, keys_beside, tag_key_name
from sessioncore_redis.trips import Question, Trip, mapping_of
from sessioncore_redis.walk import PausedWalk, Walk

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
    for what a server's settings do to the promises, and docs/redis.md for one
    server, Sentinel and Cluster.

    Args:
        client: Your client, which stays yours to close: of one server, of a
            Sentinel's primary (``master_for``), or of a cluster. Its
            ``decode_responses`` is off. Its retries repeat no command of this
            store.

        prefix: What all keys begin with.

        tag_key: 16 to 64 secret random bytes, the same in every process, from
            which users' keys are computed. Another one ends all sessions. By
            default one is drawn and kept in Redis.

        deadline: How long one operation may take, whatever the time limits of
            the client.

        wait_replicas: How many replicas should have confirmed it before the end
            of a session counts: of ``delete``, ``delete_user`` and ``restart``.
            They raise :class:`~sessioncore.errors.RevocationUnconfirmed` if they
            did not within the deadline.

        keep_connections: Whether all tasks share one connection, and send
            together what they ask at the same moment, instead of taking one from
            the client's pool for each call. That is much faster. The tasks of a
            cluster do not.

    Raises:
        TypeError: Something is not of its type, such as a client for threads.

        ValueError: The client decodes, caches or reads from replicas, or
            something else is unfit.
    """

    client: redis.asyncio.Redis | redis.asyncio.RedisCluster = attrs.field(
        repr=False, validator=clients.check_async_client
    )
    prefix: str = attrs.field(default="sessioncore", kw_only=True, validator=clients.check_prefix)
    tag_key: bytes | None = attrs.field(
        default=None, kw_only=True, repr=False, validator=clients.check_tag_key
    )

    deadline: timedelta = attrs.field(
        default=clients.DEADLINE, kw_only=True, validator=clients.check_deadline
    )
    wait_replicas: int = attrs.field(default=0, kw_only=True, validator=clients.check_wait_replicas)

    keep_connections: bool = attrs.field(
        default=False, kw_only=True, validator=clients.check_keep_connections
    )

    _way: wire.Server | wire.Cluster = attrs.field(init=False, repr=False)
    _layout: Layout | None = attrs.field(init=False, default=None, repr=False)
    _paused_walk: PausedWalk = attrs.field(init=False, factory=PausedWalk, repr=False)

    def __attrs_post_init__(self) -> None:
        self._way = wire.way_to(self.client, keep_connections=self.keep_connections)
        if self.tag_key is not None:
            self._layout = Layout(self.prefix, self.tag_key)

    @classmethod
    @asynccontextmanager
    async def connect(
        cls,
        url: str,
        *,
        cluster: bool = False,
        prefix: str = "sessioncore",
        tag_key: bytes | None = None,
        deadline: timedelta = clients.DEADLINE,
        wait_replicas: int = 0,
        keep_connections: bool = True,
    ) -> AsyncGenerator[AsyncRedisSessionStore, None]:
        """
        Open a store with a client of its own, and close that in the end.

        Parameters of the URL override the time limits of its connections.

        Args:
            url: Such as ``redis://localhost:6379/0``, ``rediss://...`` or
                ``unix:///path``; see :meth:`redis.asyncio.Redis.from_url`.

            cluster: Whether the URL is that of a node of a cluster. For threads
                it is asked at once, and if no node answers
                :class:`~sessioncore.errors.StoreUnavailable` is raised.

            prefix: See :class:`AsyncRedisSessionStore`.

            tag_key: See :class:`AsyncRedisSessionStore`.

            deadline: See :class:`AsyncRedisSessionStore`.

            wait_replicas: See :class:`AsyncRedisSessionStore`.

            keep_connections: See :class:`AsyncRedisSessionStore`. The client is this store's
                alone, so by default it does.
        """
        client = clients.new_async_client(url, deadline, cluster=cluster)
        try:
            yield cls(
                client,
                prefix=prefix,
                tag_key=tag_key,
                deadline=deadline,
                wait_replicas=wait_replicas,
                keep_connections=keep_connections,
            )
        finally:
            await client.aclose()

    async def check(self) -> tuple[health.Weakness, ...]:
        """
        Find what about client and servers weakens the promises. For start-up and operators.

        Every question that it asks has the deadline of an operation.

        Raises:
            StoreUnavailable: A server did not answer.
        """
        servers: list[health.Server] = []
        for node in await self._nodes(Trip(self.deadline)):
            info = await self._ask_node(health.INFO, node)
            config = [await self._ask_node(("CONFIG GET", name), node) for name in health.SETTINGS]
            servers.append(health.Server.read(node, info, config))
        return health.weaknesses(
            clients.settings_of(self.client),
            servers,
            deadline=self.deadline,
            shares_tag_key=self.tag_key is None,
            wait_replicas=self.wait_replicas,
        )

    def invalidation_feed(self, client: redis.Redis) -> RedisInvalidationFeed:
        """
        Make the feed of this store, for a near cache: of its prefix.

        Args:
            client: For threads, because the feed is listened to in one, and of the same
                server. It stays yours to close.

        Raises:
            TypeError: Either client is one of a cluster, which is not followed.

            ValueError: The two clients do not lead to the same place.
        """
        clients.check_same_place(self.client, client)
        return RedisInvalidationFeed(client, prefix=self.prefix)

    async def open_epoch(self, subject: Subject, at: datetime, lives_for: timedelta, /) -> Epoch:
        """
        See :meth:`sessioncore.ports.AsyncSessionStore.open_epoch`.
        """
        trip = Trip(self.deadline)
        layout = await self._agreed_layout(trip)
        generation = secrets.token_bytes(GENERATION_BYTES)
        return await self._run(calls.open_epoch(layout, subject, at, lives_for, generation), trip)

    async def find(self, locator: Locator, /) -> Session | None:
        """
        See :meth:`sessioncore.ports.AsyncSessionStore.find`.
        """
        trip = Trip(self.deadline)
        layout = self._layout or await self._agreed_layout(trip)
        question = calls.packed_find(layout, locator)
        return calls.found(layout, locator, await self._ask(question, trip))

    async def replace(self, old: Session, new: Session, /) -> bool:
        """
        See :meth:`sessioncore.ports.AsyncSessionStore.replace`.
        """
        trip = Trip(self.deadline)
        layout = self._layout or await self._agreed_layout(trip)
        return await self._run(calls.replace(layout, old, new), trip)

    async def roster(self, subject: Subject, /) -> Roster:
        """
        See :meth:`sessioncore.ports.AsyncSessionStore.roster`.
        """
        trip = Trip(self.deadline)
        layout = await self._agreed_layout(trip)
        reply = await self._send(calls.roster(layout, subject), trip)
        return calls.enrolled(layout, subject, mapping_of(reply))

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
        trip = Trip(self.deadline)
        layout = self._layout or await self._agreed_layout(trip)
        return await self._run(calls.admit(layout, session, evicted, version, at), trip)

    async def restart(self, old: Session, new: Session, /) -> Locator | None:
        """
        See :meth:`sessioncore.ports.AsyncSessionStore.restart`.
        """
        trip = Trip(self.deadline)
        layout = self._layout or await self._agreed_layout(trip)
        generation = secrets.token_bytes(GENERATION_BYTES)
        return await self._end(calls.restart(layout, old, new, generation), trip)

    async def delete(self, locator: Locator, expected: Session | None = None, /) -> bool:
        """
        See :meth:`sessioncore.ports.AsyncSessionStore.delete`.
        """
        trip = Trip(self.deadline)
        layout = self._layout or await self._agreed_layout(trip)
        return await self._end(calls.delete(layout, locator, expected), trip)

    async def delete_user(self, subject: Subject, /) -> int:
        """
        See :meth:`sessioncore.ports.AsyncSessionStore.delete_user`.
        """
        trip = Trip(self.deadline)
        layout = await self._agreed_layout(trip)
        return await self._end(calls.delete_user(layout, subject), trip)

    async def read_data(self, locator: Locator, /) -> Mapping[str, Datum] | None:
        """
        See :meth:`sessioncore.ports.AsyncSessionStore.read_data`.
        """
        trip = Trip(self.deadline)
        layout = self._layout or await self._agreed_layout(trip)
        return await self._run(calls.read_data(layout, locator), trip)

    async def find_with_data(
        self, locator: Locator, /
    ) -> tuple[Session, Mapping[str, Datum]] | None:
        """
        See :meth:`sessioncore.ports.AsyncSessionStore.find_with_data`.
        """
        trip = Trip(self.deadline)
        layout = self._layout or await self._agreed_layout(trip)
        return await self._run(calls.find_with_data(layout, locator), trip)

    async def write_data(self, locator: Locator, change: DataChange, /) -> DataWrite:
        """
        See :meth:`sessioncore.ports.AsyncSessionStore.write_data`.
        """
        trip = Trip(self.deadline)
        layout = self._layout or await self._agreed_layout(trip)
        return await self._run(calls.write_data(layout, locator, change), trip)

    async def purge(self, before: datetime, limit: int, /) -> Purged:
        """
        See :meth:`sessioncore.ports.AsyncSessionStore.purge`.

        Looks at a bounded number of keys. The next call goes on where this one
        ended, if there are more keys than one call looks at.
        """
        trip = Trip(self.deadline)
        layout = self._layout or await self._agreed_layout(trip)
        walk = self._paused_walk.take()
        sessions = epochs = 0
        try:
            if walk is None:
                walk = Walk(await self._nodes(trip))
            while (limit_left := limit - sessions - epochs) > 0 and not walk.is_over:
                if trip.is_half_over:
                    walk.rest()
                    break
                if walk.keys:
                    purged = await self._purge_key(walk.keys[0], before, limit_left, trip)
                    sessions += purged.sessions
                    epochs += purged.epochs
                    if not purged.more:
                        walk.keys.popleft()
                elif walk.is_tired:
                    break
                else:
                    walk.turn(layout, await self._ask(walk.page(layout), trip))
        except StoreUnavailable as error:
            if sessions + epochs:
                raise OutcomeUnknown("a part of the batch was deleted") from error
            raise
        if walk.is_over:
            return Purged(sessions, epochs, more=False)
        self._paused_walk.keep(walk)
        return Purged(sessions, epochs, more=True)

    async def _purge_key(self, key: bytes, before: datetime, limit: int, trip: Trip) -> Purged:
        try:
            return await self._run(calls.purge(keys_beside(key), before, limit), trip)
        except CorruptRecord:
            # Something else lies under that key. It is not ours to delete.
            return Purged(0, 0, more=False)

    async def _agreed_layout(self, trip: Trip) -> Layout:
        # Asked for again wherever a key is computed from a user, not only once:
        # a server that lost its memory has processes that start anew agree on
        # another tag key.
        if self.tag_key is not None and self._layout is not None:
            return self._layout
        name = tag_key_name(self.prefix).encode()
        stored = await self._send(("GET", name), trip)
        if stored is None:
            await self._send(("SET", name, clients.proposed_tag_key(self._layout), "NX"), trip)
            stored = await self._send(("GET", name), trip)
        if self._layout is None or self._layout.tag_key != stored:
            self._layout = clients.layout_of(self.prefix, stored)
        return self._layout

    async def _nodes(self, trip: Trip) -> tuple[str, ...]:
        try:
            return await self._way.nodes(trip)
        except DRIVER_ERRORS as error:
            raise failure(error, may_have_written=False) from error

    async def _ask_node(self, command: tuple[Any, ...], node: str) -> Any:
        # What an operator may forbid, or a managed service not have.
        try:
            return await self._ask(Question(command, node=node), Trip(self.deadline))
        except StoreUnavailable as error:
            if isinstance(error.__cause__, ResponseError):
                return None
            raise

    async def _send(self, command: tuple[Any, ...], trip: Trip) -> Any:
        return await self._ask(Question(command, key=command[1]), trip)

    async def _ask(self, question: Question, trip: Trip) -> Any:
        try:
            return await self._way.ask(question, trip)
        except DRIVER_ERRORS as error:
            raise failure(error, may_have_written=trip.may_have_written) from error

    async def _end(self, call: calls.Call[Answer], trip: Trip) -> Answer:
        answer = await self._run(call, trip, replicas=self.wait_replicas)
        if trip.confirmed < self.wait_replicas:
            raise unconfirmed(trip, self.wait_replicas)
        return answer

    async def _run(self, call: calls.Call[Answer], trip: Trip, *, replicas: int = 0) -> Answer:
        question = Question(call.by_sha(), key=call.keys[0], writes=call.writes, replicas=replicas)
        try:
            try:
                reply = await self._way.ask(question, trip)
            except NoScriptError:
                reply = await self._way.ask(replace(question, command=call.by_text()), trip)
        except DRIVER_ERRORS as error:
            raise failure(error, may_have_written=trip.may_have_written) from error
        return call.read(reply)
