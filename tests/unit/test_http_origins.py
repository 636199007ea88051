"""
Who caused a request: the whole matrix, and what can be configured.

The matrix is written out below, in the words of ADR-0028, which shows the same table. The
test that walks it looks every case up in that text, and so shares no line with the code.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from fakes import World, world_of

from sessioncore import AuthService
from sessioncore.events import CrossOriginRefused
from sessioncore_http import (
    CrossOriginGuard,
    CrossOriginRule,
    Edge,
    Origin,
    RequestHead,
    RequestSession,
    UnsafeConfiguration,
)

RECORD = Path(__file__).parents[2] / "docs" / "adr" / "0028-who-caused-a-request.md"

OWN, TRUSTED = "https://shop.example", "https://app.partner.example:8443"
EXEMPTED = "/saml/return"

MATRIX = """\
| `Sec-Fetch-Site` | no `Origin` | configured | `null` | any other |
|---|---|---|---|---|
| `same-origin` | same origin | configured origin | same origin | **contradicts** |
| `none` | user initiated | configured origin | user initiated | **contradicts** |
| `same-site` | **cross origin** | configured origin | **cross origin** | **cross origin** |
| `cross-site` | **cross origin** | configured origin | **cross origin** | **cross origin** |
| anything else | **cross origin** | configured origin | **cross origin** | **cross origin** |
| absent, no cookie | no browser | configured origin | **foreign origin** | **foreign origin** |
| absent, a cookie | **no evidence** | configured origin | **foreign origin** | **foreign origin** |
"""

# The words of the table, and whether the request goes on.
RULES = {
    "same origin": (CrossOriginRule.SAME_ORIGIN, True),
    "configured origin": (CrossOriginRule.CONFIGURED_ORIGIN, True),
    "user initiated": (CrossOriginRule.USER_INITIATED, True),
    "no browser": (CrossOriginRule.NO_BROWSER, True),
    "**contradicts**": (CrossOriginRule.SITE_CONTRADICTS_ORIGIN, False),
    "**cross origin**": (CrossOriginRule.CROSS_ORIGIN, False),
    "**foreign origin**": (CrossOriginRule.FOREIGN_ORIGIN, False),
    "**no evidence**": (CrossOriginRule.NO_EVIDENCE, False),
}

SAFE = ("GET", "HEAD", "OPTIONS")
UNSAFE = ("POST", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "PROPFIND", "post", "get", "")
HANDSHAKE = "handshake of a WebSocket"

SITES: Mapping[str | None, str] = {
    "same-origin": "`same-origin`",
    "none": "`none`",
    "same-site": "`same-site`",
    "cross-site": "`cross-site`",
    "": "anything else",
    "same_origin": "anything else",
    "Same-Origin": "anything else",
    "same-origin ": "anything else",
    "same-origin, same-origin": "anything else",
    "same-origin, cross-site": "anything else",
    None: "absent",
}

ORIGINS: Mapping[str | None, str] = {
    None: "no `Origin`",
    OWN: "configured",
    TRUSTED: "configured",
    "null": "`null`",
    "https://evil.example": "any other",
    "https://shop.example:8443": "any other",  # own host, other port
    "http://shop.example": "any other",  # other scheme
    "HTTPS://SHOP.EXAMPLE": "any other",  # no browser writes it so
    "https://shop.example/": "any other",  # trailing garbage
    "https://shop.example.evil.example": "any other",
    "https://shop.example, https://evil.example": "any other",  # there were two
    "": "any other",
}

COOKIES: Mapping[str, tuple[tuple[str, ...], bool]] = {
    "no cookie": (("theme=dark",), False),
    "a cookie": (("__Host-session=whatever",), True),
    "an ambiguous cookie": (("__Host-session=a; __Host-session=b",), True),
}

PATHS: Mapping[str, bool] = {"/orders": False, EXEMPTED: True, EXEMPTED + "/": False}


class Case(NamedTuple):
    """
    One request that could come.
    """

    method: str
    site: str | None
    origin: str | None
    cookie: str
    path: str

    @property
    def head(self) -> RequestHead:
        return RequestHead(
            method="GET" if self.method == HANDSHAKE else self.method,
            path=self.path,
            target=self.path,
            cookies=COOKIES[self.cookie][0],
            origin=self.origin,
            fetch_site=self.site,
            is_websocket=self.method == HANDSHAKE,
        )


def cases() -> Iterator[Case]:
    """
    The whole product.
    """
    for values in itertools.product((*SAFE, *UNSAFE, HANDSHAKE), SITES, ORIGINS, COOKIES, PATHS):
        yield Case(*values)


def table() -> Mapping[str, Mapping[str, str]]:
    """
    The matrix: what is written where a row and a column meet.
    """
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in MATRIX.splitlines()]
    (_, *columns), _, *lines = rows
    return {name: dict(zip(columns, cells, strict=True)) for name, *cells in lines}


def expected(case: Case) -> tuple[CrossOriginRule, bool]:
    """
    What the record says about one request.
    """
    if case.method in SAFE:
        return CrossOriginRule.CHANGES_NOTHING, True
    row = SITES[case.site]
    if row == "absent":
        row += ", a cookie" if COOKIES[case.cookie][1] else ", no cookie"
    rule = RULES[table()[row][ORIGINS[case.origin]]]
    if PATHS[case.path] and rule[0] is not CrossOriginRule.CONFIGURED_ORIGIN:
        return CrossOriginRule.EXEMPTED_PATH, True
    return rule


def an_edge(**settings: Any) -> Edge:
    given: dict[str, Any] = {
        "origins": [OWN],
        "trusted_origins": [TRUSTED],
        "exempted_paths": {EXEMPTED: "the identity provider posts to it"},
        **settings,
    }
    return Edge(**given)


@pytest.fixture
def world() -> Iterator[World]:
    with world_of("threads") as made:
        yield made


def refused_by(auth: AuthService, head: RequestHead) -> bool:
    return RequestSession(auth, an_edge(), head).refusal() is not None


# The matrix


def test_every_request_there_can_be_is_decided_as_the_matrix_says() -> None:
    guard = an_edge().guard
    decided = {
        case: guard.judge(case.head, brings_cookie=COOKIES[case.cookie][1]) for case in cases()
    }
    assert len(decided) == 14 * 11 * 12 * 3 * 3
    wrong = {case: rule for case, rule in decided.items() if rule is not expected(case)[0]}
    assert wrong == {}
    assert set(decided.values()) == set(CrossOriginRule)


def test_every_request_is_refused_or_let_through_as_the_matrix_says(world: World) -> None:
    edge = an_edge()
    for case in cases():
        world.events.events.clear()
        problem = RequestSession(world.auth, edge, case.head).refusal()
        rule, goes_on = expected(case)
        assert (problem is None) is goes_on, case
        assert [event.rule for event in world.told(CrossOriginRefused)] == (
            [] if goes_on else [rule.value]
        )
    assert world.journal.names() == []


def test_the_record_shows_this_matrix() -> None:
    assert MATRIX in RECORD.read_text()


def test_every_rule_is_in_the_matrix_or_precedes_it() -> None:
    before = {CrossOriginRule.CHANGES_NOTHING, CrossOriginRule.EXEMPTED_PATH}
    assert {rule for rule, _ in RULES.values()} | before == set(CrossOriginRule)
    for rule, allows in RULES.values():
        assert rule.allows is allows


# Some of it by name


def test_another_site_s_form_is_refused_also_without_a_cookie(world: World) -> None:
    # Else it could sign somebody in, as the attacker.
    head = Case("POST", "cross-site", "https://evil.example", "no cookie", "/sign-in").head
    assert refused_by(world.auth, head)


def test_a_neighbouring_subdomain_is_another_site(world: World) -> None:
    for origin in ("https://blog.shop.example", None):
        assert refused_by(world.auth, Case("POST", "same-site", origin, "a cookie", "/").head)


def test_a_page_that_our_name_was_made_to_point_at_is_refused(world: World) -> None:
    # DNS rebinding: for the browser it is one origin, and it is none of ours.
    case = Case("POST", "same-origin", "http://evil.example", "no cookie", "/")
    assert refused_by(world.auth, case.head)


def test_a_page_that_keeps_its_referrer_to_itself_may_post_to_itself(world: World) -> None:
    assert not refused_by(world.auth, Case("POST", "same-origin", "null", "a cookie", "/").head)


def test_a_program_without_a_cookie_may_post(world: World) -> None:
    assert not refused_by(world.auth, Case("POST", None, None, "no cookie", "/").head)


def test_a_websocket_of_another_site_is_refused_though_it_is_a_get(world: World) -> None:
    case = Case(HANDSHAKE, None, "https://evil.example", "a cookie", "/")
    assert refused_by(world.auth, case.head)
    assert not refused_by(world.auth, case._replace(origin=OWN).head)


def test_a_refusal_names_neither_the_origin_nor_the_rule_to_the_outside(world: World) -> None:
    head = Case("POST", "cross-site", "https://evil.example", "a cookie", "/").head
    problem = RequestSession(world.auth, an_edge(), head).refusal()
    assert problem is not None
    assert problem.status == 403
    assert "evil" not in repr(problem)
    assert CrossOriginRule.CROSS_ORIGIN.value not in repr(problem)


@pytest.mark.parametrize(
    "rule",
    [
        CrossOriginRule.SITE_CONTRADICTS_ORIGIN,
        CrossOriginRule.CROSS_ORIGIN,
        CrossOriginRule.FOREIGN_ORIGIN,
    ],
)
def test_three_rules_prove_another_site(rule: CrossOriginRule) -> None:
    assert rule.proves_another_site


def test_no_evidence_proves_nothing() -> None:
    proving = {rule for rule in CrossOriginRule if rule.proves_another_site}
    assert len(proving) == 3
    assert CrossOriginRule.NO_EVIDENCE not in proving


# Origins


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("https://shop.example", Origin("https", "shop.example", 443)),
        ("http://shop.example", Origin("http", "shop.example", 80)),
        ("https://shop.example:8443", Origin("https", "shop.example", 8443)),
        ("http://127.0.0.1:8000", Origin("http", "127.0.0.1", 8000)),
        ("http://[::1]:8000", Origin("http", "[::1]", 8000)),
        ("https://xn--bcher-kva.example", Origin("https", "xn--bcher-kva.example", 443)),
        ("https://a:65535", Origin("https", "a", 65_535)),
    ],
)
def test_an_origin_is_read_as_browsers_write_it(text: str, origin: Origin) -> None:
    assert Origin.parse(text) == origin
    assert str(origin) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "*",
        "shop.example",
        "//shop.example",
        "ftp://shop.example",
        "https:/shop.example",
        "https://",
        "https://:443",
        "https://shop.example:",
        "https://shop.example:0",
        "https://shop.example:65536",
        "https://shop.example:443443",
        "https://shop.example:-1",
        "https://shop.example:4\u0664",
        "https://shop.example/",
        "https://shop.example\n",
        " https://shop.example",
        "https://shop.example ",
        "https://user@shop.example",
        "https://shop.example#",
        "https://shop.example?",
        "https://shop\\.example",
        "https://Shop.example",
        "https://b\u00fccher.example",
        "https://shop.example https://evil.example",
        "https://[::1",
        "https://::1",
        "https://" + "a" * 254,
    ],
)
def test_what_browsers_never_write_is_no_origin(text: str) -> None:
    assert Origin.parse(text) is None


@pytest.mark.parametrize(
    ("origin", "is_loopback"),
    [
        ("http://localhost", True),
        ("http://shop.localhost:8000", True),
        ("http://127.0.0.1", True),
        ("http://127.1.2.3", True),
        ("http://[::1]", True),
        ("http://localhost.evil.example", False),
        ("http://mylocalhost", False),
        ("http://127.0.0.1.evil.example", False),
        ("http://128.0.0.1", False),
    ],
)
def test_only_this_computer_is_loopback(origin: str, is_loopback: bool) -> None:
    parsed = Origin.parse(origin)
    assert parsed is not None
    assert parsed.is_loopback is is_loopback


# What can be configured


@pytest.mark.parametrize("setting", ["origins", "trusted_origins"])
@pytest.mark.parametrize("everybody", ["*", "null", " * "])
def test_everybody_cannot_be_trusted(setting: str, everybody: str) -> None:
    with pytest.raises(UnsafeConfiguration, match="would let every site act"):
        an_edge(**{setting: [OWN, everybody]})


@pytest.mark.parametrize("setting", ["origins", "trusted_origins"])
@pytest.mark.parametrize(
    "text", ["shop.example", "https://*.example", "https://shop.example/path", "", "https://ü.de"]
)
def test_what_is_no_origin_cannot_be_configured(setting: str, text: str) -> None:
    with pytest.raises(UnsafeConfiguration, match="is not like https://"):
        an_edge(**{setting: [text]})


@pytest.mark.parametrize("setting", ["origins", "trusted_origins"])
def test_a_text_is_not_taken_for_a_list_of_its_letters(setting: str) -> None:
    with pytest.raises(UnsafeConfiguration, match="not one str"):
        an_edge(**{setting: OWN})


def test_a_site_has_at_least_one_origin() -> None:
    with pytest.raises(UnsafeConfiguration, match="at least one"):
        an_edge(origins=[])


def test_an_origin_may_be_configured_as_people_write_it() -> None:
    guard = CrossOriginGuard(origins=[" HTTPS://Shop.Example:443/ "])
    assert guard.trusts(OWN)


@pytest.mark.parametrize(
    "paths", [{"saml": "a reason"}, {"/saml": ""}, {"/saml": " "}, ["/saml"], "/saml"]
)
def test_a_path_is_exempted_whole_and_with_a_reason(paths: dict[str, str]) -> None:
    with pytest.raises(
        UnsafeConfiguration, match=r"a whole path, with a reason|a reason for each path"
    ):
        an_edge(exempted_paths=paths)


def test_exempted_paths_cannot_be_added_later() -> None:
    paths = {EXEMPTED: "the identity provider posts to it"}
    guard = an_edge(exempted_paths=paths).guard
    paths["/"] = "an afterthought"
    assert dict(guard.exempted_paths) == {EXEMPTED: "the identity provider posts to it"}
    unchangeable: Any = guard.exempted_paths
    with pytest.raises(TypeError):
        unchangeable["/"] = "an afterthought"


def test_pages_that_anybody_in_the_network_can_write_cannot_be_trusted() -> None:
    with pytest.raises(UnsafeConfiguration, match="whoever is in the network"):
        an_edge(trusted_origins=["http://front.example"])
    local = "http://localhost:3000"
    assert an_edge(trusted_origins=[local]).guard.trusts(local)
