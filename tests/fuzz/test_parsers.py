"""
Every parser of what comes from outside, given whatever there is.

In the normal run each is tried a hundred times; ``make fuzz`` tries harder. Records that
Redis holds are damaged in ``test_redis_adapter.py``, and data values in ``test_data.py``.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

import pytest
from fakes import World, world_of
from hypothesis import given
from hypothesis import strategies as st

from sessioncore import (
    Active,
    CorruptRecord,
    Inactive,
    InactiveReason,
    Session,
    SessionId,
)
from sessioncore.session import Datum
from sessioncore.testing.strategies import sessions
from sessioncore_asgi import request_head as head_of_scope
from sessioncore_http import (
    CrossOriginRule,
    Edge,
    Interruption,
    Origin,
    RequestHead,
    RequestSession,
    SessionCookie,
    SynchronizerToken,
    render,
    safe_target,
)
from sessioncore_http.cookies import is_brought, old_cookie
from sessioncore_sql._codec import (  # pyright: ignore[reportPrivateUsage]
    decode_datum,
    decode_session,
    digest,
    encode_session,
)
from sessioncore_wsgi import request_head as head_of_environ

NAME: Final = "__Host-session"
SITE: Final = "https://shop.example"
FRONT: Final = "https://app.partner.example:8443"
EDGE: Final = Edge(
    origins=[SITE],
    trusted_origins=[FRONT],
    exempted_paths={"/saml": "the identity provider posts to it"},
    sign_in_path="/sign-in",
    token=SynchronizerToken(),
)
MEGABYTE: Final = 1_000_000

ids = st.from_regex(r"[A-Za-z0-9_-]{72}", fullmatch=True)
latin = st.text(alphabet=st.characters(max_codepoint=255), max_size=40)
cookie_headers = st.lists(
    st.lists(
        st.sampled_from(
            [
                *(NAME, "__host-session", "__HOST-SESSION", "__Host-Session", "__Host-sessio"),
                *("session", "=", "==", ";", "; ", ",", '"', "\\", " ", "\t", "\n", "\0", "$"),
                *("a", "abc", "%3B", "\xa0", "\u200b", "é", "€", "Path=/", "A" * 72),
            ]
        )
        | ids
        | st.text(max_size=5),
        max_size=20,
    ).map("".join),
    max_size=4,
)
origin_texts = (
    st.none()
    | st.lists(
        st.sampled_from(
            [
                *("https", "http", "ws", "null", "*", "://", ":", "/", "//", "@", "#", "?", ","),
                *("shop.example", "SHOP.example", "evil.example", "[::1]", "127.0.0.1", "."),
                *("443", "8443", "0", "65536", "\u0664", " ", "\n", "\0", "%00", "é"),
            ]
        ),
        max_size=6,
    ).map("".join)
    | st.sampled_from([SITE, FRONT, "null", "https://evil.example"])
    | st.text(max_size=30)
)
sites = st.none() | st.sampled_from(["same-origin", "same-site", "cross-site", "none"]) | latin
methods = st.sampled_from(["GET", "HEAD", "OPTIONS", "POST", "DELETE", "TRACE"]) | latin
targets = st.lists(
    st.sampled_from(
        [
            *"/\\.:?#@%&=;,~ \t\r\n\0\v",
            *("//", "/\\", "..", "%2F", "%5C", "evil.example", "http:", "https://"),
            *("javascript:", "\u2028", "\uff0f", "\u3002", "é", "orders"),
        ]
    )
    | st.text(max_size=3),
    max_size=12,
).map("".join)


@contextmanager
def a_world() -> Generator[World]:
    # One for each example: a fixture would be shared by all of them.
    with world_of("threads") as made:
        yield made


# Cookies


@given(cookie_headers)
def test_a_cookie_header_is_read_as_a_simple_search_would(headers: list[str]) -> None:
    pattern = re.compile(rf"(?:^|;)[ \t]*{NAME}[ \t]*=([^;]*)")
    found = {value.strip(" \t") for header in headers for value in pattern.findall(header)}
    presented = SessionCookie().presented(headers)
    assert presented.is_ambiguous is (len(found) > 1)
    assert presented.text == (found.pop() if len(found) == 1 else None)
    assert is_brought(NAME, headers) is (presented.is_ambiguous or presented.text is not None)
    old = old_cookie(NAME, headers)
    assert old is None or presented.text in {old, f'"{old}"'}


@given(cookie_headers)
def test_no_store_is_asked_before_there_is_one_session_id(headers: list[str]) -> None:
    presented = SessionCookie().presented(headers)
    head = RequestHead(method="GET", path="/", target="/", cookies=tuple(headers))
    with a_world() as world:
        session = RequestSession(world.auth, EDGE, head)
        outcome = session.authenticate()
        calls = world.journal.names()
    assert isinstance(outcome, Inactive)
    if SessionId.parse(presented.text) is not None:
        assert calls == ["find"]
        assert outcome.reason is InactiveReason.UNKNOWN
        return
    assert calls == []
    if presented.is_ambiguous:
        assert outcome.reason is InactiveReason.AMBIGUOUS
    elif presented.text is None:
        assert outcome.reason is InactiveReason.ABSENT
    else:
        assert outcome.reason is InactiveReason.MALFORMED


@given(st.data())
def test_a_live_cookie_is_recognised_among_whatever_else(data: st.DataObject) -> None:
    headers = data.draw(cookie_headers)
    with a_world() as world:
        cookie = world.cookie()
        place = data.draw(st.integers(0, len(headers)))
        headers.insert(place, f"{NAME}={cookie}")
        head = RequestHead(method="GET", path="/", target="/", cookies=tuple(headers))
        outcome = RequestSession(world.auth, EDGE, head).authenticate()
        others = {
            text
            for header in headers
            if (text := SessionCookie().presented([header]).text) is not None
        }
        if isinstance(outcome, Active):
            assert others == {cookie}
            assert outcome.session.user_id == "id-of-alice"
        else:
            assert outcome == Inactive(InactiveReason.AMBIGUOUS)


@given(st.text() | ids | ids.map(lambda text: text + "=") | ids.map(lambda text: text[:-1]))
def test_a_text_is_one_session_id_or_none(text: str) -> None:
    parsed = SessionId.parse(text)
    assert parsed is None or parsed.reveal() == text
    assert (parsed is not None) is (re.fullmatch(r"[A-Za-z0-9_-]{72}", text) is not None)


# Who caused it


@given(origin_texts)
def test_an_origin_is_what_its_url_says_or_none(text: str | None) -> None:
    parsed = None if text is None else Origin.parse(text)
    if parsed is None:
        return
    assert text is not None
    assert Origin.parse(str(parsed)) == parsed
    url = urlsplit(text)
    assert (url.scheme, url.path, url.query, url.fragment) == (parsed.scheme, "", "", "")
    assert url.hostname == parsed.host.strip("[]")
    assert url.username is url.password is None
    assert (url.port or {"http": 80, "https": 443}[url.scheme]) == parsed.port


@given(
    method=methods,
    site=sites,
    origin=origin_texts,
    path=st.sampled_from(["/", "/saml", "/saml/"]) | latin,
    brings_cookie=st.booleans(),
    is_websocket=st.booleans(),
)
def test_what_goes_on_has_a_reason(
    method: str,
    site: str | None,
    origin: str | None,
    path: str,
    *,
    brings_cookie: bool,
    is_websocket: bool,
) -> None:
    head = RequestHead(
        method=method,
        path=path,
        target="/",
        origin=origin,
        fetch_site=site,
        is_websocket=is_websocket,
    )
    rule = EDGE.guard.judge(head, brings_cookie=brings_cookie)
    assert isinstance(rule, CrossOriginRule)
    reasons = (
        method in {"GET", "HEAD", "OPTIONS"} and not is_websocket,
        origin is not None and Origin.parse(origin) in EDGE.guard.origins,
        origin is not None and Origin.parse(origin) in EDGE.guard.trusted_origins,
        path == "/saml",
        site in {"same-origin", "none"} and origin in {None, "null"},
        site is None and origin is None and not brings_cookie,
    )
    assert rule.allows is any(reasons)


# Where to go


@given(targets)
def test_a_target_that_is_accepted_leads_nowhere_else(target: str) -> None:
    found = safe_target(target, "/fallback")
    # As browsers read it: tabs and line breaks are cut out, and a backslash is a slash.
    cleaned = re.sub(r"[\t\r\n]", "", found.strip("".join(map(chr, range(33))))).replace("\\", "/")
    assert cleaned == found
    there = urlsplit(urljoin(f"{SITE}/sign-in", cleaned))
    assert f"{there.scheme}://{there.netloc}" == SITE
    assert found in {target, "/fallback"}


# The token


@given(ids, st.text() | st.from_regex(r"[A-Za-z0-9_-]{85}[AQgw]", fullmatch=True) | st.none())
def test_no_text_is_a_token_by_chance(text: str, token: str | None) -> None:
    session_id = SessionId.parse(text)
    assert session_id is not None
    assert not SynchronizerToken.accepts(session_id, token)


# Heads of requests


environs = st.fixed_dictionaries(
    {"REQUEST_METHOD": methods},
    optional=dict.fromkeys(
        (
            *("SCRIPT_NAME", "PATH_INFO", "QUERY_STRING", "REMOTE_ADDR", "HTTP_COOKIE"),
            *("HTTP_ORIGIN", "HTTP_SEC_FETCH_SITE", "HTTP_SEC_FETCH_MODE", "HTTP_ACCEPT"),
            *("HTTP_X_CSRF_TOKEN", "HTTP_USER_AGENT", "HTTP_UPGRADE"),
        ),
        latin,
    ),
)
header_names = st.sampled_from(
    [
        *(b"cookie", b"Cookie", b"origin", b"sec-fetch-site", b"sec-fetch-mode", b"accept"),
        *(b"x-csrf-token", b"user-agent", b"upgrade"),
    ]
)
scopes = st.fixed_dictionaries(
    {
        "type": st.sampled_from(["http", "websocket"]),
        "path": st.text(max_size=20),
        "headers": st.lists(
            st.tuples(header_names | st.binary(max_size=10), st.binary(max_size=40)), max_size=8
        ),
    },
    optional={
        "method": methods,
        "raw_path": st.none() | st.binary(max_size=20),
        "query_string": st.binary(max_size=20),
        "client": st.none() | st.tuples(st.text(max_size=20), st.integers(0, 65_535)),
    },
)


def answered(head: RequestHead) -> None:
    """
    Put a request through all that is done with its head, and look at what is answered.
    """
    with a_world() as world:
        session = RequestSession(world.auth, EDGE, head)
        problem = session.refusal()
        if problem is None:
            with pytest.raises(Interruption) as interrupted:
                session.require()
            problem = interrupted.value.problem
        answer = render(problem, head)
        headers = session.finish(answer.headers)
        assert answer.status in {303, 401, 403}
        assert SessionId.parse(session.edge.cookie.presented(head.cookies).text) or (
            world.journal.names() == []
        )
    for name, value in headers:
        assert name.isascii()
        assert value.isascii()
        assert value.isprintable()
    for name, value in headers:
        if name == "Location":
            assert value == "/sign-in" or value.startswith("/sign-in?next=%2F")


@given(environs)
def test_any_environment_of_wsgi_gets_one_of_the_documented_answers(
    environ: dict[str, Any],
) -> None:
    head = head_of_environ(environ, EDGE)
    assert head.method == environ["REQUEST_METHOD"]
    answered(head)


@given(scopes)
def test_any_scope_of_asgi_gets_one_of_the_documented_answers(scope: dict[str, Any]) -> None:
    head = head_of_scope(scope, EDGE)
    assert head.is_websocket is (scope["type"] == "websocket")
    answered(head)


# Stored records


whatever = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats()
    | st.binary(max_size=40)
    | st.text(max_size=20)
    | st.sampled_from(["[]", "[1]", "{}", '["a", 1]', "[" * 20_000, "NaN", '["\\ud800"]', b"[]"])
)


def row_of(session: Session) -> list[Any]:
    """
    What the database answers for a session.
    """
    key = session.subject.key
    columns = encode_session(session)
    return [bytes(session.locator.epoch), digest(key), key, session.locator.slot, *columns.values()]


@given(sessions())
def test_a_row_says_what_was_written(session: Session) -> None:
    assert decode_session(row_of(session)) == session


@given(sessions(), st.lists(st.tuples(st.integers(0, 19), whatever), min_size=1, max_size=3))
def test_a_damaged_row_is_a_session_or_corrupt(
    session: Session, damages: list[tuple[int, Any]]
) -> None:
    row = row_of(session)
    for column, value in damages:
        row[column] = value
    with suppress(CorruptRecord):
        assert isinstance(decode_session(row), Session)


@given(st.lists(whatever, min_size=20, max_size=20))
def test_any_row_is_a_session_or_corrupt(row: list[Any]) -> None:
    with suppress(CorruptRecord):
        assert isinstance(decode_session(row), Session)


@given(whatever, whatever, whatever)
def test_any_row_of_data_is_a_datum_or_corrupt(name: Any, value: Any, stamp: Any) -> None:
    with suppress(CorruptRecord):
        read, datum = decode_datum(name, value, stamp)
        assert isinstance(read, str)
        assert isinstance(datum, Datum)


# A megabyte. Whoever took longer for twice as much would not come back from these.


@pytest.mark.parametrize(
    "text",
    [
        "a" * MEGABYTE,
        "A" * MEGABYTE,
        "/" * MEGABYTE,
        "/" + "a" * MEGABYTE,
        ";" * MEGABYTE,
        f"{NAME}=a; " * (MEGABYTE // 18),
        "https://" + "a." * (MEGABYTE // 2),
        "https://[" + ":" * MEGABYTE,
        "a, " * (MEGABYTE // 3),
        '"' * MEGABYTE,
        " " * MEGABYTE + "/",
        "\t" * MEGABYTE,
    ],
    ids=lambda text: text[:9].strip() or repr(text[0]),
)
def test_a_megabyte_of_anything_is_parsed_like_a_line(text: str) -> None:
    environ = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": text,
        **dict.fromkeys(
            ["HTTP_COOKIE", "HTTP_ORIGIN", "HTTP_SEC_FETCH_SITE", "HTTP_X_CSRF_TOKEN"], text
        ),
        **dict.fromkeys(["HTTP_ACCEPT", "HTTP_USER_AGENT", "QUERY_STRING", "REMOTE_ADDR"], text),
    }
    answered(head_of_environ(environ, EDGE))
    octets = text.encode()
    names = [b"cookie", b"origin", b"sec-fetch-site", b"x-csrf-token", b"accept", b"user-agent"]
    answered(
        head_of_scope(
            {
                "type": "http",
                "method": "GET",
                "path": text,
                "query_string": octets,
                "headers": [(name, octets) for name in names],
                "client": (text, 1),
            },
            EDGE,
        )
    )
    assert SessionId.parse(text) is None
    assert Origin.parse(text) is None
    assert safe_target(text) == "/"
