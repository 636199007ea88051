"""
What people would use instead: whole requests on each framework, and reading alone.

A request asks who is signed in, and changes nothing. Its app is called through WSGI or
ASGI in this process, and beside it stands the same app without sessions: what a library
costs is what is above that. What each asks of its server, the server counts.
"""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import psycopg
import redis
import redis.asyncio

from benchmarks.peers import (
    aiohttp_apps,
    django_apps,
    flask_apps,
    litestar_apps,
    starlette_apps,
    wsgi_apps,
)
from benchmarks.peers.contender import USER
from benchmarks.peers.contest import Asgi, Asked, Wsgi, admitted, reads, requests
from benchmarks.sessions import POLICY, signed_in, signed_in_async
from servers import PostgresServer, RedisServer
from sessioncore import AsyncAuthService, AuthService
from sessioncore_redis import AsyncRedisSessionStore, RedisSessionStore
from sessioncore_sql import SqlSessionStore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.measure import Figure, Plan

_ON_REDIS: Final = "sessioncore-redis"
_ON_POSTGRESQL: Final = "sessioncore-postgresql"

_RECORD: Final = bytes(200)
_ROW: Final = "SELECT session_data FROM django_session WHERE session_key = %s"


def measure(plan: Plan) -> Iterator[Figure]:
    """
    Measure apps for threads, and then those for asyncio.
    """
    with (
        RedisServer() as server,
        PostgresServer(shared_preload_libraries="pg_stat_statements") as postgres,
        server.client() as client,
    ):
        client.set("record", _RECORD)
        asked = Asked(client, postgres)
        yield from _for_threads(plan, server, postgres, asked)
        yield from _for_asyncio(plan, server, asked)


def _for_threads(
    plan: Plan, server: RedisServer, postgres: PostgresServer, asked: Asked
) -> Iterator[Figure]:
    way = Wsgi()
    with ExitStack() as stack:
        client: Any = stack.enter_context(redis.Redis(port=server.port))
        store = stack.enter_context(RedisSessionStore.connect(server.url))
        auth = AuthService(sessions=store, policy=POLICY)
        cookie, _ = signed_in(auth, USER)

        flask = admitted(flask_apps.flask_session(client), way)
        ours = admitted(flask_apps.sessioncore(_ON_REDIS, auth, cookie), way)
        yield from requests(plan, "flask", [flask_apps.bare(), flask, ours], way=way, asked=asked)

        beaker = admitted(wsgi_apps.beaker(client), way)
        ours = admitted(wsgi_apps.sessioncore(_ON_REDIS, auth, cookie), way)
        yield from requests(plan, "wsgi", [wsgi_apps.bare(), beaker, ours], way=way, asked=asked)

        django_apps.configure(server, postgres)
        stack.callback(django_apps.close)
        bare = django_apps.bare()
        cache = admitted(django_apps.with_engine("cache", "cache-redis"), way)
        cached_db = admitted(django_apps.with_engine("cached_db", "cached_db-redis"), way)
        with django_apps.sessioncore(_ON_REDIS, auth, cookie) as ours:
            contenders = [bare, cache, cached_db, admitted(ours, way)]
            yield from requests(plan, "django-redis", contenders, way=way, asked=asked)

        on_redis: dict[str, Any] = {
            "bare-get": lambda: client.get("record"),
            **{each.name: each.reader() for each in (flask, beaker, cache)},
            _ON_REDIS: partial(auth.authenticate, cookie),
        }
        yield from reads(plan, "store-redis", on_redis, way=way)

        sql_store = stack.enter_context(SqlSessionStore.connect(postgres.url("psycopg")))
        sql_auth = AuthService(sessions=sql_store, policy=POLICY)
        sql_cookie, _ = signed_in(sql_auth, USER)
        db = admitted(django_apps.with_engine("db", "db-postgresql"), way)
        with django_apps.sessioncore(_ON_POSTGRESQL, sql_auth, sql_cookie) as ours:
            contenders = [bare, db, admitted(ours, way)]
            yield from requests(plan, "django-postgresql", contenders, way=way, asked=asked)

        connection = stack.enter_context(
            psycopg.connect(host="127.0.0.1", port=postgres.port, user="postgres", autocommit=True)
        )
        key = (db.cookie.partition("=")[2],)
        on_postgresql: dict[str, Any] = {
            "bare-select": lambda: connection.execute(_ROW, key, prepare=True).fetchone(),
            db.name: db.reader(),
            _ON_POSTGRESQL: partial(sql_auth.authenticate, sql_cookie),
        }
        yield from reads(plan, "store-postgresql", on_postgresql, way=way)


def _for_asyncio(plan: Plan, server: RedisServer, asked: Asked) -> Iterator[Figure]:
    with asyncio.Runner() as runner:
        way = Asgi(runner)
        # Not as a context manager: figures are told between what the loop does.
        client: Any = redis.asyncio.Redis(port=server.port)
        connected = AsyncRedisSessionStore.connect(server.url)
        store = runner.run(connected.__aenter__())
        try:
            auth = AsyncAuthService(sessions=store, policy=POLICY)
            cookie, _ = runner.run(signed_in_async(auth, USER))

            starsessions = admitted(starlette_apps.starsessions(client), way)
            ours = admitted(starlette_apps.sessioncore(_ON_REDIS, auth, cookie), way)
            contenders = [starlette_apps.bare(), starsessions, ours]
            yield from requests(plan, "starlette", contenders, way=way, asked=asked)

            litestar = admitted(litestar_apps.litestar(client), way)
            ours = admitted(litestar_apps.sessioncore(_ON_REDIS, auth, cookie), way)
            contenders = [litestar_apps.bare(), litestar, ours]
            yield from requests(plan, "litestar", contenders, way=way, asked=asked)

            on_redis: dict[str, Any] = {
                "bare-get": lambda: client.get("record"),
                **{each.name: each.reader() for each in (starsessions, litestar)},
                "aiohttp-session-redis": runner.run(aiohttp_apps.loader(client)),
                _ON_REDIS: partial(auth.authenticate, cookie),
            }
            yield from reads(plan, "store-redis-asyncio", on_redis, way=way)
        finally:
            runner.run(connected.__aexit__(None, None, None))
            runner.run(client.aclose())
