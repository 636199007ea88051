"""
How contenders are compared: in turns, with the same question, and counted on the server.
"""

from __future__ import annotations

from dataclasses import replace
from statistics import median
from typing import TYPE_CHECKING, Any, Final, Protocol

from benchmarks.measure import Calls, Figure, Tasks, figure, in_turns
from benchmarks.peers.contender import HOME, SIGN_IN, USER, asgi_request, wsgi_request

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from benchmarks.measure import Case, Plan
    from benchmarks.peers.contender import Contender, Reply
    from servers import PostgresServer

OURS: Final = "sessioncore"
"""What the names of our own contenders begin with."""

_COUNTED_REQUESTS: Final = 20
_WRITES: Final = frozenset({"set", "setex", "psetex", "del", "unlink", "expire"})


class Way(Protocol):
    """
    How an app is asked: by calls that return, or by coroutines.
    """

    def request(self, app: Any, path: str = HOME, cookie: str = "") -> Callable[[], Any]:
        """
        Make what sends one request.
        """
        ...

    def case(self, call: Callable[[], Any]) -> Case:
        """
        Make what can take turns.
        """
        ...

    def result(self, call: Callable[[], Any]) -> Any:
        """
        Do it once.
        """
        ...


class Wsgi:
    """
    Calls that return.
    """

    request = staticmethod(wsgi_request)
    case = Calls

    def result(self, call: Callable[[], Any]) -> Any:
        """
        See :meth:`Way.result`.
        """
        return call()


class Asgi:
    """
    Coroutines, one at a time, in one event loop.
    """

    request = staticmethod(asgi_request)

    def __init__(self, runner: asyncio.Runner) -> None:
        self._runner = runner

    def case(self, call: Callable[[], Any]) -> Case:
        """
        See :meth:`Way.case`.
        """
        return Tasks(self._runner, call)

    def result(self, call: Callable[[], Any]) -> Any:
        """
        See :meth:`Way.result`.
        """
        return self._runner.run(call())


class Asked:
    """
    How often the servers are asked, as they count it themselves.

    Args:
        client: Of the redis-server.

        postgres: The PostgreSQL server, with ``pg_stat_statements`` loaded.
    """

    def __init__(self, client: Any, postgres: PostgresServer) -> None:
        self._client = client
        self._postgres = postgres
        postgres.execute("CREATE EXTENSION pg_stat_statements")

    def by(self, way: Way, call: Callable[[], Any]) -> dict[str, float]:
        """
        Return how many commands or statements one call needs, and how many of them write.

        Those that a script calls are counted as well.
        """
        way.result(call)  # connects
        before = self._so_far()
        for _ in range(_COUNTED_REQUESTS):
            way.result(call)
        now = self._so_far()
        return {kind: (now[kind] - before[kind]) / _COUNTED_REQUESTS for kind in now}

    def _so_far(self) -> dict[str, int]:
        calls = {
            name.removeprefix("cmdstat_"): int(each["calls"])
            for name, each in self._client.info("commandstats").items()
        }
        del calls["info"]
        rows = self._postgres.execute(
            "SELECT coalesce(sum(calls), 0)::int,"
            " coalesce(sum(calls) FILTER (WHERE query !~* '^(select|begin|commit)'), 0)::int"
            " FROM pg_stat_statements WHERE query !~ 'pg_stat_statements'"
        )
        statements, writing = (int(str(count)) for count in rows[0])
        return {
            "commands": sum(calls.values()) + statements,
            "writes": sum(calls.get(name, 0) for name in _WRITES) + writing,
        }


class _Noted:
    """
    A case that keeps its turns, for what matters is what differs within a round.
    """

    def __init__(self, case: Case) -> None:
        self._case = case
        self._turns: list[float] = []

    def times(self, seconds: float) -> float:
        """
        See :meth:`Case.times`.
        """
        self._turns.append(self._case.times(seconds))
        return self._turns[-1]

    def rounds(self) -> list[float]:
        """
        Return the microseconds of each round, without the turn before them that warms up.
        """
        return [turn * 1e6 for turn in self._turns[1:]]


def admitted(contender: Contender, way: Way) -> Contender:
    """
    Sign in where that is not done, and see that the app knows by the cookie who it is.
    """
    if not contender.cookie:
        signed_in: Reply = way.result(way.request(contender.app, SIGN_IN))
        contender = replace(contender, cookie=signed_in.cookie())
    with_it: Reply = way.result(way.request(contender.app, HOME, contender.cookie))
    without: Reply = way.result(way.request(contender.app))
    if with_it.body != USER.encode() or without.body:
        raise AssertionError(f"{contender.name} does not know who is signed in")
    return contender


def requests(
    plan: Plan, name: str, contenders: Sequence[Contender], *, way: Way, asked: Asked
) -> Iterator[Figure]:
    """
    Compare whole requests to apps on one framework, the first of which has no sessions.
    """
    calls = {
        f"peers/{name}/{each.name}": way.request(each.app, HOME, each.cookie) for each in contenders
    }
    bare, *others = calls
    cases = {name: _Noted(way.case(call)) for name, call in calls.items()}
    yield from in_turns(plan, cases, against=bare)
    above: dict[str, list[float]] = {
        name: [a - b for a, b in zip(cases[name].rounds(), cases[bare].rounds(), strict=True)]
        for name in others
    }
    for each, differences in above.items():
        yield figure(f"{each}/above-bare", differences)
        for kind, count in asked.by(way, calls[each]).items():
            yield Figure(f"{each}/{kind}", count, kind)
    yield from _ahead({name: cases[name].rounds() for name in others}, "ahead")
    yield from _ahead(above, "ahead-above-bare")


def reads(
    plan: Plan, name: str, calls: Mapping[str, Callable[[], Any]], *, way: Way
) -> Iterator[Figure]:
    """
    Compare what reads one session and does no more; the first is the bare client library.
    """
    cases = {f"peers/{name}/{each}": _Noted(way.case(call)) for each, call in calls.items()}
    bare, *others = cases
    yield from in_turns(plan, cases, against=bare)
    yield from _ahead({each: cases[each].rounds() for each in others}, "ahead")


def _ahead(rounds: Mapping[str, list[float]], what: str) -> Iterator[Figure]:
    # How many times as fast ours is as the fastest of the others, round by round.
    ours = {name: took for name, took in rounds.items() if OURS in name.rpartition("/")[2]}
    peers = [took for name, took in rounds.items() if name not in ours]
    for name, took in ours.items():
        fastest = [min(turns) for turns in zip(*peers, strict=True)]
        quotients = [there / here for there, here in zip(fastest, took, strict=True)]
        yield Figure(f"{name}/{what}", median(quotients), "times")
