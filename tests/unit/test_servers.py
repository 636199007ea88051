"""
The network that fails on demand fails as it says, and no other way.
"""

from __future__ import annotations

import socket
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from servers import Proxy, RedisServer, Weather

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def proxy(server: RedisServer) -> Iterator[Proxy]:
    with Proxy(server.port) as proxy:
        yield proxy


@pytest.fixture
def client(server: RedisServer, proxy: Proxy) -> Iterator[Any]:
    with server.client() as direct:
        direct.delete("counter")
    settings: dict[str, Any] = {"socket_timeout": 0.3, "retry": Retry(NoBackoff(), 0)}
    with redis.Redis(port=proxy.port, **settings) as client:
        yield client


def counter(server: RedisServer) -> int:
    with server.client() as direct:
        return int(direct.get("counter") or 0)


def test_in_fair_weather_everything_arrives(client: Any) -> None:
    client.set("long", "x" * 1_000_000)
    assert client.get("long") == b"x" * 1_000_000


def test_a_lost_reply_is_that_of_a_request_that_was_carried_out(
    server: RedisServer, proxy: Proxy, client: Any
) -> None:
    client.ping()  # so that the next reply is not one to the greeting
    lost = proxy.lose_next_reply()
    with pytest.raises(redis.ConnectionError):
        client.incr("counter")
    assert lost.is_set()
    assert counter(server) == 1
    assert client.incr("counter") == 2


def test_while_replies_are_lost_requests_are_carried_out(
    server: RedisServer, proxy: Proxy, client: Any
) -> None:
    client.ping()
    proxy.become(Weather.REPLIES_LOST)
    with pytest.raises(redis.TimeoutError):
        client.incr("counter")
    assert counter(server) == 1
    proxy.become(Weather.FAIR)
    assert client.incr("counter") == 2


def test_nothing_leaves_a_black_hole(server: RedisServer, proxy: Proxy, client: Any) -> None:
    client.ping()
    proxy.become(Weather.BLACK_HOLE)
    with pytest.raises(redis.TimeoutError):
        client.incr("counter")
    proxy.become(Weather.FAIR)
    assert counter(server) == 0
    assert client.incr("counter") == 1


def test_a_cut_resets_what_is_open_and_what_comes(
    server: RedisServer, proxy: Proxy, client: Any
) -> None:
    client.ping()
    with closing(socket.create_connection(("127.0.0.1", proxy.port))) as held:
        held.sendall(b"PING\r\n")
        assert held.recv(100) == b"+PONG\r\n"
        proxy.become(Weather.CUT)
        with pytest.raises(ConnectionResetError):
            held.recv(100)
    with pytest.raises(redis.ConnectionError):
        client.incr("counter")
    proxy.become(Weather.FAIR)
    assert client.incr("counter") == 1
