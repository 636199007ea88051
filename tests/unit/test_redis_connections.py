"""
Connections that stay with the store: one per call under way for threads, one for all for asyncio.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from datetime import timedelta
from time import monotonic, process_time
from typing import Any

import pytest
import redis
import redis.asyncio
from redis_sessions import (
    ALICE,
    BOB,
    NOW,
    WINDOW,
    a_change,
    a_session,
    every_operation,
    sign_in,
    touched,
)

from servers import Proxy, RedisServer, Weather
from sessioncore.errors import CorruptRecord, OutcomeUnknown, StoreUnavailable
from sessioncore.ports import Admission
from sessioncore.session import Locator, Session
from sessioncore_redis import AsyncRedisSessionStore, RedisSessionStore, calls
from sessioncore_redis.bounds import BoundedPool
from sessioncore_redis.layout import Layout

TAG_KEY = b"a key for the tests of this page"
LAYOUT = Layout("sessioncore", TAG_KEY)
DEADLINE = timedelta(seconds=0.5)
SLACK_SECONDS = 1.0
PATIENCE_SECONDS = 5.0
MANY = 50

# redis-py gives most methods of its clients no types.
untyped_aio_redis: Any = redis.asyncio.Redis
untyped_connection: Any = redis.Connection
untyped_blocking_pool: Any = redis.BlockingConnectionPool
untyped_aio_connection: Any = redis.asyncio.Connection


@contextmanager
def connections_of(server: RedisServer) -> Generator[Callable[[], int], None, None]:
    """
    Count the connections of everybody but the counter.
    """
    with server.client() as client:
        yield lambda: len(client.client_list(_type="normal")) - 1


def becomes_none(count: Callable[[], int]) -> bool:
    """
    Tell whether there soon are none; a server does not notice in the same moment.
    """
    ends_at = monotonic() + PATIENCE_SECONDS
    while count() and monotonic() < ends_at:
        pass
    return count() == 0


async def signed_in(store: AsyncRedisSessionStore, subject: Any = ALICE) -> Session:
    session = a_session(subject, await store.open_epoch(subject, NOW, WINDOW))
    assert await store.admit(session, (), None, NOW) is Admission.ADMITTED
    return session


async def ended(awaitable: Awaitable[Any]) -> Any:
    """
    Return what it returns or raises, and when.
    """
    try:
        outcome: Any = await awaitable
    except Exception as error:  # noqa: BLE001 - it is returned
        outcome = error
    return outcome, monotonic()


def pipelined(
    test: Callable[[AsyncRedisSessionStore, RedisServer], Awaitable[None]],
    **settings: Any,
) -> None:
    """
    Run *test* on a server of its own and a store whose tasks share a connection.
    """

    async def run(server: RedisServer) -> None:
        patient: dict[str, Any] = {"tag_key": TAG_KEY, "deadline": timedelta(seconds=5), **settings}
        async with AsyncRedisSessionStore.connect(server.url, **patient) as store:
            await test(store, server)

    with RedisServer() as server:
        asyncio.run(run(server))


@asynccontextmanager
async def behind(proxy: Proxy, **settings: Any) -> AsyncGenerator[AsyncRedisSessionStore, None]:
    """
    A store whose tasks share a connection over a network that can fail.
    """
    patient: dict[str, Any] = {"tag_key": TAG_KEY, "deadline": timedelta(seconds=5), **settings}
    url = f"redis://127.0.0.1:{proxy.port}"
    async with AsyncRedisSessionStore.connect(url, **patient) as store:
        yield store


# What both have in common


def test_the_packed_question_is_the_one_that_a_packer_makes() -> None:
    for prefix in ("sessioncore", "x", "a:longer/prefix_of.its-own"):
        layout = Layout(prefix, TAG_KEY)
        session = a_session(ALICE, layout.epoch(layout.tag(ALICE), bytes(6)))
        question = calls.packed_find(layout, session.locator)
        connection = untyped_connection()
        assert [question.command] == connection.pack_command(*calls.find(layout, session.locator))
        assert question.key == calls.find(layout, session.locator)[1]
        call = calls.find_with_data(layout, session.locator)
        named = ("EVALSHA", call.script.sha, 2, *call.keys, *call.arguments)
        assert [call.by_sha()] == connection.pack_command(*named)


def test_keeping_is_yes_or_no() -> None:
    with pytest.raises(TypeError, match="keep_connections"):
        RedisSessionStore(redis.Redis(), keep_connections=1)  # type: ignore[arg-type]


def test_a_client_of_the_callers_has_its_connections_back_after_each_call() -> None:
    with RedisServer() as server, server.client(max_connections=1) as client:
        store = RedisSessionStore(client, tag_key=TAG_KEY)
        every_operation(store)
        client.ping()


def test_an_asynchronous_client_of_the_callers_has_its_connections_back_after_each_call() -> None:
    async def run(server: RedisServer) -> None:
        client = untyped_aio_redis.from_url(server.url, max_connections=1)
        store = AsyncRedisSessionStore(client, tag_key=TAG_KEY)
        await signed_in(store)
        assert await client.ping()
        await client.aclose()

    with RedisServer() as server:
        asyncio.run(run(server))


# Threads


def test_threads_ask_over_as_many_connections_as_there_are_calls_under_way() -> None:
    with (
        RedisServer() as server,
        connections_of(server) as count,
        RedisSessionStore.connect(server.url, tag_key=TAG_KEY) as store,
    ):
        session = sign_in(store)
        for _ in range(20):
            threading.Thread(target=store.find, args=(session.locator,)).start()
            assert store.find(session.locator) == session
        assert count() <= 20
        with ThreadPoolExecutor(2) as pool:
            found = list(pool.map(store.find, [session.locator] * 200))
        assert found == [session] * 200


def test_closing_closes_what_was_kept() -> None:
    with RedisServer() as server, connections_of(server) as count:
        with RedisSessionStore.connect(server.url, tag_key=TAG_KEY) as store:
            store.find(sign_in(store).locator)
            assert count() == 1
        assert becomes_none(count)


def test_a_store_works_on_when_its_client_was_closed() -> None:
    with RedisServer() as server, server.client() as client:
        store = RedisSessionStore(client, tag_key=TAG_KEY, keep_connections=True)
        session = sign_in(store)
        client.close()
        assert store.find(session.locator) == session
        client.close()
        assert store.delete(session.locator)


def test_every_operation_works_on_a_pool_of_one_connection_that_is_kept() -> None:
    with RedisServer() as server, server.client(max_connections=1) as client:
        every_operation(RedisSessionStore(client, tag_key=TAG_KEY, keep_connections=True))


def test_a_pool_whose_connections_others_wait_for_has_them_back_after_each_call() -> None:
    with RedisServer() as server:
        pool = untyped_blocking_pool(port=server.port, max_connections=1, timeout=1)
        store = RedisSessionStore(
            redis.Redis(connection_pool=pool), tag_key=TAG_KEY, keep_connections=True
        )
        every_operation(store)
        connection = pool.get_connection()
        pool.release(connection)
        pool.disconnect()


class Interrupted(redis.CredentialProvider):
    """
    Is interrupted when it is asked first, as anything may be by a signal.
    """

    def __init__(self) -> None:
        self.is_due = True

    def get_credentials(self) -> tuple[str, str]:
        if self.is_due:
            self.is_due = False
            raise KeyboardInterrupt
        return "default", "any"


def test_a_connection_whose_greeting_was_interrupted_is_not_used() -> None:
    with RedisServer() as server:
        pool: Any = BoundedPool(port=server.port, db=1, credential_provider=Interrupted())
        client = redis.Redis(connection_pool=pool)
        store = RedisSessionStore(client, tag_key=TAG_KEY, keep_connections=True)
        nobody = Locator(LAYOUT.epoch(LAYOUT.tag(ALICE), bytes(6)), b"nobody")
        with pytest.raises(KeyboardInterrupt):
            store.find(nobody)
        sign_in(store)
        # Over one that was not greeted it would be another database.
        with server.client() as operator:
            assert operator.dbsize() == 0
        pool.disconnect()


def test_a_child_process_does_not_ask_over_the_connections_of_its_parent() -> None:
    with (
        RedisServer() as server,
        RedisSessionStore.connect(server.url, tag_key=TAG_KEY) as store,
    ):
        session, other = sign_in(store), sign_in(store, BOB)
        store.find(session.locator)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            right = all(store.find(other.locator) == other for _ in range(MANY))
            os.write(writing, b"y" if right else b"n")
            os._exit(0)
        try:
            assert all(store.find(session.locator) == session for _ in range(MANY))
            assert os.read(reading, 1) == b"y"
        finally:
            os.waitpid(child, 0)
            os.close(reading)
            os.close(writing)


def test_a_write_is_never_sent_over_a_kept_connection_that_has_died() -> None:
    with (
        RedisServer() as server,
        Proxy(server.port) as proxy,
        RedisSessionStore.connect(f"redis://127.0.0.1:{proxy.port}", tag_key=TAG_KEY) as store,
    ):
        for _ in range(5):
            session = sign_in(store)
            assert store.find(session.locator) == session
            proxy.cut()
            assert store.delete(session.locator)


def test_a_read_over_kept_connections_that_have_died_is_asked_again() -> None:
    with (
        RedisServer() as server,
        Proxy(server.port) as proxy,
        RedisSessionStore.connect(f"redis://127.0.0.1:{proxy.port}", tag_key=TAG_KEY) as store,
    ):
        session = sign_in(store)
        with ThreadPoolExecutor(4) as pool:
            for _ in range(5):
                assert list(pool.map(store.find, [session.locator] * 20)) == [session] * 20
                proxy.cut()


def test_an_answer_that_came_too_late_is_nobody_elses() -> None:
    with (
        RedisServer() as server,
        RedisSessionStore.connect(server.url, tag_key=TAG_KEY, deadline=DEADLINE) as store,
    ):
        session, other = sign_in(store), sign_in(store, BOB)
        with server.stopped(), pytest.raises(StoreUnavailable):
            store.find(session.locator)
        for _ in range(3):
            assert store.find(other.locator) == other


def test_a_question_longer_than_the_buffers_of_a_socket_is_sent_to_its_end() -> None:
    with (
        RedisServer() as server,
        RedisSessionStore.connect(server.url, tag_key=TAG_KEY) as store,
    ):
        value = b"1" * 20_000_000
        session = sign_in(store)
        change = replace(a_change(long=value), capacity=2 * len(value))
        store.write_data(session.locator, change)
        data = store.read_data(session.locator)
        assert data is not None
        assert data["long"].value == value


def test_a_server_that_takes_nothing_in_is_left_within_the_deadline() -> None:
    with (
        RedisServer() as server,
        RedisSessionStore.connect(server.url, tag_key=TAG_KEY, deadline=DEADLINE) as store,
    ):
        session = sign_in(store)
        store.write_data(session.locator, a_change(a=b"1"))
        change = replace(a_change(long=b"1" * 20_000_000), capacity=30_000_000)
        with server.stopped():
            started = monotonic()
            with pytest.raises(OutcomeUnknown):
                store.write_data(session.locator, change)
            assert monotonic() - started < DEADLINE.total_seconds() + SLACK_SECONDS


# Tasks of one event loop


def test_tasks_share_one_connection_and_everybody_gets_their_own_answer() -> None:
    async def test(store: AsyncRedisSessionStore, server: RedisServer) -> None:
        sessions = [await signed_in(store, subject) for subject in (ALICE, BOB) for _ in range(9)]
        asked = [*sessions, None, *reversed(sessions)] * 5
        nobody = Locator(sessions[0].locator.epoch, b"nobody")
        with connections_of(server) as count:
            found = await asyncio.gather(
                *(store.find(nobody if each is None else each.locator) for each in asked)
            )
            assert count() == 1
        assert found == asked

    pipelined(test)


def test_reads_and_writes_of_many_tasks_go_over_the_same_connection() -> None:
    async def test(store: AsyncRedisSessionStore, server: RedisServer) -> None:
        async def use(number: int) -> None:
            subject = replace(ALICE, key=b"u%d" % number)
            session = await signed_in(store, subject)
            newer = touched(session)
            assert await store.replace(session, newer)
            assert await store.find(session.locator) == newer
            assert await store.delete(session.locator)
            assert await store.find(session.locator) is None

        with connections_of(server) as count:
            await asyncio.gather(*map(use, range(MANY)))
            assert count() == 1

    pipelined(test)


def test_whoever_is_cancelled_leaves_a_gap_and_no_harm() -> None:
    async def test(store: AsyncRedisSessionStore, server: RedisServer) -> None:
        one, other = await signed_in(store), await signed_in(store, BOB)
        with server.stopped():
            tasks = [
                asyncio.create_task(store.find((one if number % 2 else other).locator))
                for number in range(MANY)
            ]
            # They are sent, and wait.
            await asyncio.wait(tasks, timeout=0.05)
            for task in tasks[::3]:
                task.cancel()
            await asyncio.wait(tasks[::3])
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        for number, outcome in enumerate(outcomes):
            if number % 3 == 0:
                assert isinstance(outcome, asyncio.CancelledError)
            else:
                assert outcome == (one if number % 2 else other)
        assert await store.find(other.locator) == other

    pipelined(test)


def test_what_is_cancelled_before_it_is_sent_never_is() -> None:
    async def test(store: AsyncRedisSessionStore, server: RedisServer) -> None:
        session = await signed_in(store)
        deleting = asyncio.create_task(store.delete(session.locator))
        finding = asyncio.create_task(store.find(session.locator))
        # Both are lined up when the loop comes round; then it would send.
        asyncio.get_running_loop().call_soon(deleting.cancel)
        assert await finding == session
        with pytest.raises(asyncio.CancelledError):
            await deleting
        assert await store.find(session.locator) == session

    pipelined(test)


def test_one_whose_time_is_over_does_not_end_the_others() -> None:
    async def test(store: AsyncRedisSessionStore, server: RedisServer) -> None:
        session = await signed_in(store)
        hasty = AsyncRedisSessionStore(store.client, tag_key=TAG_KEY, deadline=DEADLINE)
        # Two stores with deadlines of their own, and what one does to the shared line.
        hasty._way = store._way
        with server.stopped():
            started = monotonic()
            patient = [asyncio.create_task(ended(store.find(session.locator))) for _ in range(9)]
            late = [asyncio.create_task(ended(hasty.find(session.locator))) for _ in range(9)]
            for outcome, at in await asyncio.gather(*late):
                assert isinstance(outcome, StoreUnavailable)
                assert at - started < DEADLINE.total_seconds() + SLACK_SECONDS
            assert not any(task.done() for task in patient)
        assert [outcome for outcome, _ in await asyncio.gather(*patient)] == [session] * 9

    pipelined(test)


def test_nothing_is_done_while_an_answer_is_late_and_another_may_still_come() -> None:
    async def test(store: AsyncRedisSessionStore, server: RedisServer) -> None:
        session = await signed_in(store)
        half = DEADLINE.total_seconds() / 2
        with server.stopped():
            first = asyncio.create_task(ended(store.find(session.locator)))
            await asyncio.wait([first], timeout=half)
            second = asyncio.create_task(ended(store.find(session.locator)))
            await first
            busy = process_time()
            await second
            assert process_time() - busy < half / 5

    pipelined(test, deadline=DEADLINE)


def test_what_cannot_be_packed_fails_alone() -> None:
    async def test(store: AsyncRedisSessionStore, _server: RedisServer) -> None:
        session = await signed_in(store)
        unfit: Any = {"a": True}
        (refused, _), found, deleted = await asyncio.gather(
            ended(store.write_data(session.locator, replace(a_change(), put=unfit))),
            store.find(session.locator),
            store.delete(session.locator),
        )
        assert isinstance(refused, StoreUnavailable)
        assert found == session
        assert deleted

    pipelined(test)


def test_after_a_late_answer_the_next_question_goes_over_another_connection() -> None:
    async def run(server: RedisServer, proxy: Proxy) -> None:
        async with behind(proxy, deadline=DEADLINE) as store:
            session = await signed_in(store)
            proxy.become(Weather.BLACK_HOLE)
            started = monotonic()
            outcomes = await asyncio.gather(
                *(ended(store.find(session.locator)) for _ in range(MANY)),
                *(ended(store.delete(session.locator)) for _ in range(2)),
            )
            for outcome, at in outcomes:
                assert at - started < DEADLINE.total_seconds() + SLACK_SECONDS
                assert isinstance(outcome, (StoreUnavailable, OutcomeUnknown))
            assert [type(outcome) for outcome, _ in outcomes[-2:]] == [OutcomeUnknown] * 2
            proxy.become(Weather.FAIR)
            # The old connection stays in its black hole.
            assert await store.find(session.locator) == session

    with RedisServer() as server, Proxy(server.port) as proxy:
        asyncio.run(run(server, proxy))


def test_what_was_not_taken_in_by_the_deadline_is_not_sent_later() -> None:
    async def test(store: AsyncRedisSessionStore, server: RedisServer) -> None:
        session = await signed_in(store)
        await store.write_data(session.locator, a_change(a=b"1"))
        change = replace(a_change(long=b"1" * 20_000_000), capacity=30_000_000)
        with connections_of(server) as count:
            with server.stopped():
                outcome, _ = await ended(store.write_data(session.locator, change))
                assert isinstance(outcome, OutcomeUnknown)
            assert await asyncio.to_thread(becomes_none, count)
            data = await store.read_data(session.locator)
            assert data is not None
            assert set(data) == {"a"}

    pipelined(test, deadline=DEADLINE)


def test_a_black_hole_that_nobody_waits_for_to_the_end_is_left_all_the_same() -> None:
    async def run(server: RedisServer, proxy: Proxy) -> None:
        async with behind(proxy, deadline=DEADLINE) as store:
            session = await signed_in(store)
            proxy.become(Weather.BLACK_HOLE)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(DEADLINE.total_seconds() / 10):
                    await store.find(session.locator)
            proxy.become(Weather.FAIR)
            ends_at = monotonic() + DEADLINE.total_seconds() + SLACK_SECONDS
            found = None
            while found is None and monotonic() < ends_at:
                found, _ = await ended(store.find(session.locator))
                found = found if isinstance(found, Session) else None
            assert found == session

    with RedisServer() as server, Proxy(server.port) as proxy:
        asyncio.run(run(server, proxy))


def test_a_server_that_dies_fails_those_in_flight_and_is_asked_again_when_it_is_back() -> None:
    async def test(store: AsyncRedisSessionStore, server: RedisServer) -> None:
        session = await signed_in(store)
        # So that the server knows the script.
        await store.delete((await signed_in(store)).locator)
        server.process.send_signal(signal.SIGSTOP)
        reads = [asyncio.create_task(ended(store.find(session.locator))) for _ in range(MANY)]
        writes = [asyncio.create_task(ended(store.delete(session.locator))) for _ in range(MANY)]
        await asyncio.wait([*reads, *writes], timeout=0.05)
        server.kill()
        for outcome, _ in await asyncio.gather(*reads):
            assert isinstance(outcome, StoreUnavailable)
        for outcome, _ in await asyncio.gather(*writes):
            assert isinstance(outcome, OutcomeUnknown)
        outcome, _ = await ended(store.delete(session.locator))
        assert isinstance(outcome, StoreUnavailable)
        server.start()
        assert await store.find((await signed_in(store)).locator) is not None

    pipelined(test)


def test_reads_in_flight_on_a_connection_that_is_cut_are_asked_again_and_writes_are_not() -> None:
    async def run(server: RedisServer, proxy: Proxy) -> None:
        async with behind(proxy) as store:
            one, other = await signed_in(store), await signed_in(store, BOB)
            await store.delete((await signed_in(store)).locator)
            server.process.send_signal(signal.SIGSTOP)
            reads = [asyncio.create_task(store.find(one.locator)) for _ in range(MANY)]
            writing = asyncio.create_task(ended(store.delete(other.locator)))
            await asyncio.wait([*reads, writing], timeout=0.05)
            proxy.cut()
            server.process.send_signal(signal.SIGCONT)
            assert await asyncio.gather(*reads) == [one] * MANY
            outcome, _ = await writing
            assert isinstance(outcome, OutcomeUnknown)

    with RedisServer() as server, Proxy(server.port) as proxy:
        asyncio.run(run(server, proxy))


def test_a_write_after_the_shared_connection_was_cut_is_no_failure() -> None:
    async def run(server: RedisServer, proxy: Proxy) -> None:
        async with behind(proxy) as store:
            for _ in range(5):
                session = await signed_in(store)
                proxy.cut()
                # As an app would, which is not asked in the very moment of a cut.
                await asyncio.wait([asyncio.create_task(asyncio.sleep(0.01))])
                assert await store.delete(session.locator)

    with RedisServer() as server, Proxy(server.port) as proxy:
        asyncio.run(run(server, proxy))


def test_an_error_for_one_leaves_the_others_alone() -> None:
    async def test(store: AsyncRedisSessionStore, server: RedisServer) -> None:
        session, broken = await signed_in(store), await signed_in(store, BOB)
        with server.client() as client, connections_of(server) as count:
            client.set(LAYOUT.sessions_key_of(broken.locator.epoch), "no hash")
            asked = [session, broken] * MANY
            outcomes = await asyncio.gather(
                *(store.find(each.locator) for each in asked), return_exceptions=True
            )
            # Two of them are those that look on.
            assert count() == 2
        assert outcomes[::2] == [session] * MANY
        assert all(isinstance(outcome, CorruptRecord) for outcome in outcomes[1::2])

    pipelined(test)


def test_a_refusal_that_redis_py_takes_for_a_hang_up_is_for_one_only() -> None:
    met: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        met.append(writer)
        refused = True
        while line := await reader.readline():
            if line == b"CLIENT\r\n":
                writer.write(b"+OK\r\n")
            elif line == b"HMGET\r\n":
                nothing = b"*11\r\n" + b"$-1\r\n" * 11
                writer.write(b"-LOADING its data set\r\n" if refused else nothing)
                refused = not refused
        writer.close()

    async def run() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with AsyncRedisSessionStore.connect(
            f"redis://127.0.0.1:{port}?protocol=2", tag_key=TAG_KEY
        ) as store:
            locator = Locator(LAYOUT.epoch(LAYOUT.tag(ALICE), bytes(6)), b"nobody")
            outcomes = [
                outcome
                for outcome, _ in await asyncio.gather(
                    *(ended(store.find(locator)) for _ in range(MANY))
                )
            ]
        assert all(isinstance(outcome, StoreUnavailable) for outcome in outcomes[::2])
        assert outcomes[1::2] == [None] * (MANY // 2)
        assert len(met) == 1
        server.close()
        await server.wait_closed()

    asyncio.run(run())


def test_a_revocation_that_waits_for_replicas_does_not_hold_up_the_others() -> None:
    async def test(store: AsyncRedisSessionStore, server: RedisServer) -> None:
        session, other = await signed_in(store), await signed_in(store, BOB)
        revoking = asyncio.create_task(ended(store.delete(session.locator)))
        while await store.find(session.locator) is not None:
            pass
        assert not revoking.done()
        assert await store.find(other.locator) == other
        assert not revoking.done()
        await revoking

    pipelined(test, wait_replicas=1, deadline=timedelta(seconds=1))


def test_a_store_may_be_used_on_one_loop_after_the_other() -> None:
    with RedisServer() as server, connections_of(server) as count:
        client = untyped_aio_redis.from_url(server.url)
        store = AsyncRedisSessionStore(client, tag_key=TAG_KEY, keep_connections=True)

        async def use() -> None:
            session = await signed_in(store)
            assert await store.find(session.locator) == session
            # What is left open when a loop ends, nobody can close any more.
            await client.aclose()

        for _ in range(3):
            asyncio.run(use())
            assert becomes_none(count)


def test_a_store_is_not_for_two_loops_at_once() -> None:
    async def test(store: AsyncRedisSessionStore, _server: RedisServer) -> None:
        session = await signed_in(store)

        def elsewhere() -> None:
            asyncio.run(store.delete(session.locator))

        with pytest.raises(RuntimeError, match="another event loop"):
            await asyncio.to_thread(elsewhere)
        assert await store.find(session.locator) == session

    pipelined(test)


def test_closing_closes_the_shared_connection_and_leaves_no_task() -> None:
    async def run(server: RedisServer) -> None:
        with connections_of(server) as count:
            async with AsyncRedisSessionStore.connect(server.url, tag_key=TAG_KEY) as store:
                await asyncio.gather(*(signed_in(store) for _ in range(MANY)))
                assert count() == 1
            assert becomes_none(count)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    with RedisServer() as server:
        asyncio.run(run(server))


def test_the_shared_connection_returns_to_its_pool_when_nobody_asks() -> None:
    async def run(server: RedisServer) -> None:
        client = untyped_aio_redis.from_url(server.url, max_connections=1)
        store = AsyncRedisSessionStore(
            client, tag_key=TAG_KEY, keep_connections=True, deadline=DEADLINE
        )
        await signed_in(store)
        ends_at = monotonic() + DEADLINE.total_seconds() + SLACK_SECONDS
        pong = None
        while pong is None:
            assert monotonic() < ends_at
            try:
                pong = await client.ping()
            except redis.ConnectionError:
                await asyncio.sleep(0)
        await client.aclose()

    with RedisServer() as server:
        asyncio.run(run(server))


def test_what_redis_py_does_not_promise_is_there() -> None:
    # The names below redis-py's documented ones that the shared connection relies on.
    async def run(server: RedisServer) -> None:
        connection = untyped_aio_connection(port=server.port)
        await connection.connect()
        assert not connection._reader.at_eof()
        connection._writer.write(b"".join(connection.pack_command("ECHO", "one")))
        assert await connection._parser.read_response() == b"one"
        await connection.disconnect()
        assert connection._writer is None

    with RedisServer() as server:
        asyncio.run(run(server))
        waiting = untyped_connection(port=server.port)
        assert waiting._sock is None
        waiting.connect()
        assert waiting._sock is not None
        waiting.disconnect()
        assert waiting._sock is None
