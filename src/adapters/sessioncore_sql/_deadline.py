"""
How a call keeps its deadline, whatever the driver does meanwhile.

Drivers for threads wait in C, or in ``poll()``, and most cannot be told for how
long; those for asyncio can be cancelled, and then nobody knows whether
``COMMIT`` was on its way. So neither is asked. When a call is over its deadline,
the *socket* under its connection is shut down. Every driver understands that: it
raises, in the thread or the task that waits, and the error takes the same way
through the transaction as that of a server that died. The rules:

1.  The watchdog has a descriptor of its own for each pooled connection, a
    duplicate. Otherwise a number that the driver has closed, and the system has
    given to somebody else's socket, could be shut down.
2.  A connection belongs to a call from the moment it is made or checked out
    until just before the pool may give it to somebody else.
3.  New connections of threads are made in a thread beside, which is left behind
    when it is too late: name servers and handshakes cannot be cut short.
4.  A call that is over does not begin to commit. So whoever was told that
    nothing was written was told the truth.
"""

from __future__ import annotations

import contextlib
import contextvars
import os
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import ContextVar
from datetime import timedelta
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from sqlalchemy import Connection, Dialect, Engine, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.pool import ConnectionPoolEntry, Pool, PoolProxiedConnection, QueuePool

P = ParamSpec("P")
T = TypeVar("T")
C = TypeVar("C", Connection, ConnectionPoolEntry)

# Reentrant: the garbage collector may close a line while a thread holds it.
_lock = threading.RLock()

_current: Final[ContextVar[Call | None]] = ContextVar("sessioncore_sql_call", default=None)

_LINE: Final = "sessioncore_sql.line"

_KEEPALIVE_SECONDS: Final = 60

_NEVER: Final = float("inf")


class Line:
    """
    A way to cut a connection from outside, owned by the connection's place in the pool.
    """

    __slots__ = ("_descriptor",)

    def __init__(self, descriptor: int) -> None:
        self._descriptor = -1
        self._descriptor = _duplicate(descriptor)

    def __del__(self) -> None:
        self.close()

    def cut(self) -> None:
        """
        Shut the connection's socket down: whoever waits for it is told that it ended.
        """
        with _lock:
            if self._descriptor < 0:
                return
            with contextlib.suppress(OSError):  # it has ended already
                line = socket.socket(fileno=self._descriptor)
                try:
                    line.shutdown(socket.SHUT_RDWR)
                finally:
                    line.detach()

    def close(self) -> None:
        """
        Let go of the connection, which can be closed only then.
        """
        with _lock:
            descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            socket.close(descriptor)


def _duplicate(descriptor: int) -> int:
    # Not os.dup(): on Windows that is for files alone. The family is of no concern.
    return socket.fromfd(descriptor, socket.AF_INET, socket.SOCK_STREAM).detach()


class Call:
    """
    One operation under way: until when, over which line, and how far it has got.

    Args:
        deadline: How long it may take from now.
    """

    __slots__ = ("_expired", "_line", "deadline", "may_be_committed", "until")

    def __init__(self, deadline: timedelta) -> None:
        self.deadline = deadline.total_seconds()
        self.until = time.monotonic() + self.deadline
        self.may_be_committed = False
        """Whether ``COMMIT`` may have been sent, and was not refused."""
        self._expired = False
        self._line: Line | None = None

    @property
    def is_over(self) -> bool:
        """
        Whether its time is over.
        """
        return self._expired or self.remaining <= 0

    @property
    def remaining(self) -> float:
        """
        How many seconds are left.
        """
        return self.until - time.monotonic()

    def use(self, line: Line | None) -> None:
        """
        Go over *line* from now on, or over none.
        """
        with _lock:
            self._line = line
            if self._expired and line is not None:
                line.cut()

    def expire(self) -> None:
        """
        End the call, by cutting its line.
        """
        with _lock:
            self._expired = True
            if self._line is not None:
                self._line.cut()

    def begin_commit(self) -> None:
        """
        Note that ``COMMIT`` is about to be sent.

        Raises:
            TimeoutError: It is too late for that.
        """
        if self.is_over:
            raise TimeoutError("too late to commit")
        self.may_be_committed = True

    def commit_was_refused(self) -> None:
        """
        Note that nothing came of ``COMMIT``.
        """
        self.may_be_committed = False


def current_call() -> Call | None:
    """
    Return the call that this thread or task is busy with.
    """
    return _current.get()


class entered:  # noqa: N801 - it reads as a function
    """
    Make *call* the current one.
    """

    __slots__ = ("_call", "_token")

    def __init__(self, call: Call) -> None:
        self._call = call

    def __enter__(self) -> None:
        self._token = _current.set(self._call)

    def __exit__(self, *_: object) -> None:
        _current.reset(self._token)


class _Watchdog:
    """
    Ends calls of threads that are over their deadlines.

    Its thread sleeps until the first of them could be; a call that ends in time
    does not wake it. Nor does one take a lock: it is added before it is looked
    whether the thread would wake in time, and the thread says that it wakes for
    nobody before it looks who was added. So one of the two sees the other.
    """

    def __init__(self) -> None:
        self._calls: set[Call] = set()
        self._changed = threading.Condition(threading.Lock())
        self._wakes_at = _NEVER
        self._runs = False

    def watch(self, call: Call) -> None:
        self._calls.add(call)
        if call.until < self._wakes_at:
            self._wake()

    def leave(self, call: Call) -> None:
        self._calls.discard(call)

    def _wake(self) -> None:
        with self._changed:
            if not self._runs:
                threading.Thread(
                    target=self._run, name="sessioncore_sql deadlines", daemon=True
                ).start()
                self._runs = True
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._wakes_at = _NEVER
                now = time.monotonic()
                calls = self._calls.copy()
                wakes_at = min((call.until for call in calls), default=_NEVER)
                if wakes_at > now:
                    self._wakes_at = wakes_at
                    self._changed.wait(None if wakes_at == _NEVER else wakes_at - now)
                    continue
            for call in calls:
                if call.until <= now:
                    self._calls.discard(call)
                    call.expire()


_watchdog = _Watchdog()


class watching:  # noqa: N801 - it reads as a function
    """
    Make *call* the current one, and end it by force if it is over its deadline. For threads.
    """

    __slots__ = ("_call", "_token", "_watchdog")

    def __init__(self, call: Call) -> None:
        self._call = call
        self._watchdog = _watchdog

    def __enter__(self) -> None:
        # First what may fail: where no more threads can be started.
        self._watchdog.watch(self._call)
        self._token = _current.set(self._call)

    def __exit__(self, *_: object) -> None:
        self._watchdog.leave(self._call)
        _current.reset(self._token)


def _start_anew() -> None:
    # Threads and held locks do not come along when a process forks.
    global _watchdog, _lock  # noqa: PLW0603
    _watchdog = _Watchdog()
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew)


def in_time(make: Callable[[], T], drop: Callable[[T], object], call: Call) -> T:
    """
    Run *make* in a thread beside, and leave it behind when *call* is over.

    Args:
        make: Takes part in *call*, if that is the current one.

        drop: What becomes of something that was made too late.

        call: For how long to wait.

    Raises:
        TimeoutError: It was not made in time.
    """
    made: Future[T] = Future()
    context = contextvars.copy_context()

    def run() -> None:
        try:
            result = context.run(make)
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            if made.set_running_or_notify_cancel():
                made.set_exception(error)
            return
        if made.set_running_or_notify_cancel():
            made.set_result(result)
        else:
            drop(result)

    threading.Thread(target=run, name="sessioncore_sql connecting", daemon=True).start()
    try:
        return made.result(max(call.remaining, 0))
    except TimeoutError:
        if made.cancel() or made.cancelled():
            # What it is waiting for over there comes to an end, too.
            call.expire()
            raise
        # It came at the last moment, or it failed with a TimeoutError itself.
        return made.result()
    except BaseException:
        # Whoever waits was interrupted, by a signal for example, or it failed.
        if not made.cancel() and made.exception() is None:
            drop(made.result())
        raise


def asks_first(pool: Pool) -> bool:
    """
    Whether *pool* may talk to the server before it hands out a connection.
    """
    # Not public, and not known to be absent: then it may.
    return bool(getattr(pool, "_pre_ping", True))


def checked_out(
    engine: Engine, call: Call, connect: Callable[[], C], close: Callable[[C], object]
) -> C:
    """
    Take a connection from the engine's pool before *call* is over.

    A pool that waits no longer than the call may take is simply asked. Others
    are asked in a thread beside, if no connection is free. (If somebody takes
    that one first, it may be the pool's own time-out that ends the call.)

    Args:
        engine: Whose pool.

        call: For how long.

        connect: Asks the pool.

        close: What becomes of a connection that comes too late.

    Raises:
        TimeoutError: There was none in time.
    """
    pool = engine.pool
    waits = isinstance(pool, QueuePool) and pool.timeout() > call.deadline
    if asks_first(pool) or (waits and isinstance(pool, QueuePool) and pool.checkedin() == 0):
        return in_time(connect, close, call)
    return connect()


def over_its_line(
    connection: Connection,
    call: Call,
    operation: Callable[Concatenate[Connection, P], T],
    /,
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    """
    Run *operation* over *connection*, which is cut if *call* takes too long.
    """
    call.use(line_of(connection.connection))
    return operation(connection, *args, **kwargs)


def line_of(connection: PoolProxiedConnection | ConnectionPoolEntry) -> Line | None:
    """
    Return the line of a connection that is checked out.
    """
    info = connection.info
    if _LINE not in info:  # made before the engine was followed
        info[_LINE] = _line_of(connection.driver_connection)
    line: Line | None = info[_LINE]
    return line


def _line_of(driver: Any) -> Line | None:
    descriptor = _descriptor_of(driver)
    return None if descriptor is None else Line(descriptor)


def _descriptor_of(driver: Any) -> int | None:
    # psycopg, psycopg2, mysqlclient and pg8000 have a method; asyncpg, asyncmy
    # and aiomysql a transport; PyMySQL a socket.
    transport = getattr(driver, "_transport", None) or getattr(
        getattr(driver, "_writer", None), "transport", None
    )
    sources = (
        driver,
        None if transport is None else transport.get_extra_info("socket"),
        getattr(driver, "_sock", None),
    )
    for source in sources:
        fileno = getattr(source, "fileno", None)
        if callable(fileno):
            with contextlib.suppress(OSError, ValueError):
                descriptor = fileno()
                if isinstance(descriptor, int) and descriptor >= 0:
                    return descriptor
    return None


def keep_alive(driver: Any) -> None:
    """
    Have the system test an idle connection, so that nothing on its way forgets it.
    """
    descriptor = _descriptor_of(driver)
    if descriptor is None:
        return
    with socket.socket(fileno=_duplicate(descriptor)) as line:
        if line.family in {socket.AF_INET, socket.AF_INET6}:
            line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if hasattr(socket, "TCP_KEEPIDLE"):
                line.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE_SECONDS)


def follow(engine: Engine) -> None:
    """
    Learn of the engine's connections as they come and go. Repeating is safe.

    What is listened to changes nothing for calls that are not a store's.
    """
    for name, listener in (
        ("do_connect", _on_connecting),
        ("connect", _on_connected),
        ("checkin", _on_return),
        ("close", _on_close),
        ("handle_error", _on_error),
    ):
        if not event.contains(engine, name, listener):
            # Before other listeners: they may talk to the server.
            event.listen(engine, name, listener, insert=True)


def _on_connecting(dialect: Dialect, record: object, args: Any, kwargs: Any) -> Any:
    call = _current.get()
    if call is None or dialect.is_async:
        return None  # as if nobody had listened

    def connect() -> Any:
        # As SQLAlchemy goes on after us: others may add a token, or connect themselves.
        for listener in dialect.dispatch.do_connect:
            if listener is not _on_connecting:
                connection = listener(dialect, record, args, kwargs)
                if connection is not None:
                    return connection
        return dialect.connect(*args, **kwargs)

    return in_time(connect, dialect.do_close, call)


def _on_connected(_connection: object, record: Any) -> None:
    line = _line_of(record.driver_connection)
    record.info[_LINE] = line
    call = _current.get()
    if call is not None:
        call.use(line)


def _on_return(_connection: object, _record: object) -> None:
    call = _current.get()
    if call is not None:
        call.use(None)


def _on_close(_connection: object, record: Any) -> None:
    line: Line | None = record.info.pop(_LINE, None)
    call = _current.get()
    if call is not None:
        # asyncpg waits for the server to hang up. The call lets go of it when it ends.
        call.use(line)
    elif line is not None:
        line.close()


def _on_error(context: ExceptionContext) -> None:
    call = _current.get()
    if call is not None and call.is_over:
        # It was us who ended the connection: the pool's others may be sound.
        context.invalidate_pool_on_disconnect = False
