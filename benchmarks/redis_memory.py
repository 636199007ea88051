"""
How many bytes a session takes in Redis at default settings.

Starts a redis-server of its own, fills it, and compares its ``used_memory`` with
what it was before::

    python benchmarks/redis_memory.py [sessions]

Sessions are as sign-in makes them; after a renewal or a long life one has some
bytes more, which now and then cost it the next larger size of the allocator.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import redis

from sessioncore.session import Device, Locator, Session, Subject
from sessioncore_redis import RedisSessionStore

if TYPE_CHECKING:
    from collections.abc import Generator

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
AGENT = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36"
    " (KHTML, like Gecko) Chrome/140.0.0.0 Sa"
)
PATIENCE_SECONDS = 20


@contextlib.contextmanager
def server() -> Generator[Any, None, None]:
    """
    Run a redis-server at default settings, but for its socket and its snapshots.
    """
    program = shutil.which("redis-server")
    if program is None:
        raise SystemExit("redis-server is not installed; on Debian: apt-get install redis-server")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "socket")
        arguments = ["--port", "0", "--unixsocket", str(path), "--dir", folder, "--save", ""]
        process = subprocess.Popen([program, *arguments], stdout=subprocess.DEVNULL)  # noqa: S603
        try:
            deadline = time.monotonic() + PATIENCE_SECONDS
            while not path.exists():
                if process.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit("redis-server does not start")
                time.sleep(0.01)
            with contextlib.closing(redis.Redis(unix_socket_path=str(path))) as client:
                yield client
        finally:
            process.kill()
            process.wait()


def used_memory(client: Any) -> int:
    """
    Return what the server has allocated.
    """
    return int(client.info("memory")["used_memory"])


def bytes_per_session(client: Any, sessions: int, per_user: int, *, with_device: bool) -> float:
    """
    Sign in *sessions* times, and return what each of them takes.
    """
    client.flushall()
    store = RedisSessionStore(client, tag_key=bytes(32))
    draw = Random(1).randbytes  # noqa: S311 - repeatable, and no secret
    before = used_memory(client)
    for user in range(sessions // per_user):
        subject = Subject.user(f"{user:06d}")
        epoch = store.open_epoch(subject, NOW, timedelta(minutes=10))
        for _ in range(per_user):
            device = Device(f"192.0.2.{user % 256}", AGENT) if with_device else Device()
            session = Session(
                locator=Locator(epoch, draw(6)),
                subject=subject,
                policy="default",
                methods=("pwd",),
                created_at=NOW,
                authenticated_at=NOW,
                changed_at=NOW,
                last_seen_at=NOW,
                keep_until=NOW + timedelta(minutes=30),
                family=draw(8),
                current=draw(32),
                device=device,
                stamp=draw(8),
            )
            store.admit(session, (), None, NOW)
    return (used_memory(client) - before) / (sessions // per_user * per_user)


def main() -> None:
    """
    Print the four figures.
    """
    sessions = int(sys.argv[1]) if len(sys.argv) > 1 else 50_000
    with server() as client:
        for with_device in (True, False):
            for per_user in (1, 3):
                figure = bytes_per_session(client, sessions, per_user, with_device=with_device)
                what = "with" if with_device else "without"
                print(f"{what:>7} device, {per_user} per user: {figure:6.1f} bytes per session")


if __name__ == "__main__":
    main()
