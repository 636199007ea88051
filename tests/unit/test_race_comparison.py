"""
The comparison in benchmarks/races, as far as it can be checked without the other libraries.

What it says of sessioncore is measured here again. That the races find what they
look for is shown on a session layer that loads and saves a whole mapping, has no
other means, and trusts every id.
"""

from __future__ import annotations

import re
import secrets
from collections import Counter
from http.cookies import SimpleCookie
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.races.entrants import AT_DEFAULTS, PACKAGES, WITH_SETTINGS, Entrant
from benchmarks.races.gates import Gate, Held, Where, armed
from benchmarks.races.peer import Answer
from benchmarks.races.races import (
    ADOPTED,
    EXCEEDED,
    ID_KEPT,
    LOST,
    NOT_OFFERED,
    OLD_ID_LIVES,
    PROVEN_AGAIN,
    RACES,
    REFUSED,
    SAFE,
    SIGNED_IN_AGAIN,
    SURVIVES,
    Result,
    measure,
)
from benchmarks.races.report import header, row
from benchmarks.races.server import Server, running_server
from benchmarks.races.web import Order, Visit, WebPeer, serve, through_wsgi

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.races.peer import Peer

ROOT = Path(__file__).parents[2]
README = (ROOT / "benchmarks" / "races" / "README.md").read_text()

# Where sessioncore is not plainly safe, the README says why.
OF_SESSIONCORE = {race.key: SAFE for race in RACES} | {"5b": PROVEN_AGAIN, "7b": REFUSED}
OF_PUTTING_BACK = OF_SESSIONCORE | {"6": LOST}

ENTRANTS = {entrant.name: entrant for entrant in (*AT_DEFAULTS, *WITH_SETTINGS)}
OURS = [name for name in ENTRANTS if name.startswith("sessioncore")]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running_server() as server:
        yield server


def outcomes_of(peer: Peer, trials: int = 1) -> dict[str, str]:
    results = {race.key: measure(peer, race, trials) for race in RACES}
    return {key: ", ".join(result.outcomes) for key, result in results.items()}


def expected_of(entrant: Entrant) -> dict[str, str]:
    return OF_PUTTING_BACK if "puts_back" in entrant.settings else OF_SESSIONCORE


def cells_of(name: str) -> list[str]:
    found = re.findall(rf"^\| {re.escape(name)} \| (.*) \|$", README, re.MULTILINE)
    assert len(found) == 1, f"{len(found)} rows of {name} in the README"
    return str(found[0]).split(" | ")


# -- sessioncore's own rows ----------------------------------------------------------


@pytest.mark.parametrize("name", OURS)
def test_sessioncore_does_in_every_race_what_the_comparison_says(name: str, server: Server) -> None:
    with ENTRANTS[name].opened_on(server) as peer:
        assert outcomes_of(peer) == expected_of(ENTRANTS[name])


# -- A session layer that has every weakness -----------------------------------------


class TrustingVisit(Visit):
    def fresh_id(self) -> None:
        # It believes that a flag helps.
        self.data["fresh"] = "yes"

    def renew(self) -> None:
        self.data["id"] = secrets.token_hex(8)


def trusting_app() -> Any:
    saved: dict[str, dict[str, Any]] = {}

    def app(environ: Any, start_response: Any) -> list[bytes]:
        cookies = SimpleCookie(environ.get("HTTP_COOKIE", ""))
        session_id = cookies["id"].value if "id" in cookies else secrets.token_hex(8)
        data = dict(saved.get(session_id, {}))
        text = serve(Order.parse(environ["QUERY_STRING"]), TrustingVisit(data))
        session_id = data.pop("id", session_id)
        if (gate := armed()) is not None:
            gate.hold()
        saved[session_id] = data
        start_response("200 OK", [("Set-Cookie", f"id={session_id}")])
        return [text.encode()]

    return app


class TrustingPeer(WebPeer):
    """
    It counts before it adds, and ends the sessions that it remembers.
    """

    def __init__(self) -> None:
        super().__init__(
            through_wsgi(trusting_app()),
            cookie_name="id",
            new_id=lambda: secrets.token_hex(8),
            renews=True,
            has_fresh_id=True,
        )
        self.given: dict[str, list[str]] = {}

    @property
    def session_limit(self) -> int:
        return 3

    def login(
        self,
        user: str,
        cookie: str | None = None,
        *,
        fresh_id: bool = False,
        gate: Gate | None = None,
    ) -> Answer:
        if len(self.given.get(user, [])) >= self.session_limit:
            return Answer(403)
        answer = super().login(user, cookie, fresh_id=fresh_id, gate=gate)
        self.given.setdefault(user, []).append(answer.cookie or "")
        return answer

    def change_password(self, user: str, /) -> None:
        self.logout_everywhere(user)

    def logout_everywhere(self, user: str, /) -> None:
        for cookie in self.given.pop(user, []):
            self.logout(cookie)


def test_every_race_finds_the_weakness_that_it_looks_for() -> None:
    assert outcomes_of(TrustingPeer()) == {
        "1a": SIGNED_IN_AGAIN,
        "1b": SIGNED_IN_AGAIN,
        "1c": SIGNED_IN_AGAIN,
        "2": LOST,
        "3a": ADOPTED,
        "3b": ID_KEPT,
        "3c": ID_KEPT,
        "4": EXCEEDED,
        "5a": SURVIVES,
        "5b": SURVIVES,
        "6": LOST,
        "7a": OLD_ID_LIVES,
        "7b": OLD_ID_LIVES,
    }


def test_what_a_library_does_not_have_is_not_offered() -> None:
    peer = WebPeer(
        through_wsgi(trusting_app()),
        cookie_name="id",
        new_id=lambda: secrets.token_hex(8),
        renews=False,
        has_fresh_id=False,
    )
    outcomes = outcomes_of(peer, trials=3)
    lacking = {key for key, outcome in outcomes.items() if outcome == NOT_OFFERED}
    assert lacking == {"3c", "4", "5a", "5b", "7a", "7b"}


def test_a_race_whose_request_never_reaches_its_gate_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="without reaching its gate"):
        Held(Where.VIEW, lambda _gate: "done")


def test_a_request_that_fails_before_its_gate_tells_why() -> None:
    with pytest.raises(ZeroDivisionError):
        Held(Where.VIEW, lambda gate: 1 // (gate.number - gate.number))


# -- The table -----------------------------------------------------------------------


def test_a_row_has_a_cell_for_every_race() -> None:
    results = {race.key: Result(Counter({SAFE: 20})) for race in RACES}
    columns = header()[0].count("|")
    assert header()[1].count("|") == row("somebody", results).count("|") == columns
    assert columns == len(RACES) + 2


def test_a_cell_says_how_often_what_happened() -> None:
    assert str(Result(Counter({LOST: 20}))) == "lost 20/20"
    assert str(Result(Counter({LOST: 19, SAFE: 1}))) == "lost 19/20; safe 1/20"
    assert str(Result(Counter({NOT_OFFERED: 1}))) == "not offered"


def test_outcomes_that_differ_are_not_certain() -> None:
    assert Result(Counter({LOST: 20})).is_certain
    assert not Result(Counter({LOST: 19, SAFE: 1})).is_certain


@pytest.mark.parametrize("name", ENTRANTS)
def test_the_readme_has_the_row_of_every_entrant(name: str) -> None:
    assert len(cells_of(name)) == len(RACES)


def test_the_readme_has_the_columns_of_the_races() -> None:
    assert README.count("\n".join(header())) == 2


@pytest.mark.parametrize("race", RACES, ids=lambda race: race.key)
def test_the_readme_says_what_each_race_does(race: Any) -> None:
    assert f"**{race.key}, {race.title}.**" in README


@pytest.mark.parametrize("name", OURS)
def test_the_readme_shows_of_sessioncore_what_was_measured(name: str) -> None:
    expected = expected_of(ENTRANTS[name])
    assert cells_of(name) == [f"{expected[race.key]} 20/20" for race in RACES]


# -- What is compared ----------------------------------------------------------------


def pins() -> dict[str, str]:
    lines = (ROOT / "requirements" / "constraints.txt").read_text().splitlines()
    found = [line.partition("==") for line in lines if line and not line.startswith("#")]
    assert all(name and equals and version for name, equals, version in found)
    return {name.lower(): version for name, _, version in found}


def test_everything_that_is_compared_is_pinned() -> None:
    assert {package.lower() for package in PACKAGES} <= pins().keys()


def test_the_readme_names_the_versions_that_are_pinned() -> None:
    pinned = pins()
    for package in PACKAGES:
        assert f"{package} {pinned[package.lower()]}" in " ".join(README.split())
