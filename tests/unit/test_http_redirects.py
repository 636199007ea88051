"""
Where a browser goes after signing in: back, and nowhere else.
"""

from __future__ import annotations

from urllib.parse import parse_qs, urljoin, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sessioncore_http import RequestHead, safe_target
from sessioncore_http.redirects import LONGEST_TARGET, with_next

HERE = "https://shop.example/sign-in"


def head(target: str, method: str = "GET") -> RequestHead:
    return RequestHead(method=method, path=target.partition("?")[0], target=target)


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/orders",
        "/orders?page=2&sort=-date",
        "/orders/%C3%BC#total",
        "/a//b",
        "/?next=//evil.example",
        "/@evil.example",
        "/.//evil.example",
        "/" + "a" * (LONGEST_TARGET - 1),
    ],
)
def test_a_path_of_this_site_is_gone_back_to(target: str) -> None:
    assert safe_target(target) == target


@pytest.mark.parametrize(
    "target",
    [
        None,
        "",
        "orders",
        "?page=2",
        "#top",
        "//evil.example",
        "///evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "\\/evil.example",
        "/a\\b",
        "https://evil.example",
        "https:evil.example",
        "https:/evil.example",
        "javascript:alert(1)",
        "data:text/html,x",
        "/\t/evil.example",
        "/\n/evil.example",
        "/\r\nSet-Cookie: a=b",
        "\t//evil.example",
        " //evil.example",
        " /orders",
        "/orders ",
        "/orders\n",
        "/\0",
        "/\x7f",
        "/\u2028",
        "/\u00fc",
        "\uff0f\uff0fevil.example",
        "/" + "a" * LONGEST_TARGET,
        "/" * 1_000_000,
    ],
)
def test_anything_else_is_not(target: str | None) -> None:
    assert safe_target(target) == "/"
    assert safe_target(target, "/account") == "/account"


@given(
    st.text() | st.text(alphabet="/\\.:?#@%\t\r\n aevil"),
)
@example("/.//evil.example")
def test_whatever_is_accepted_stays_on_this_host(target: str) -> None:
    found = safe_target(target)
    there = urlsplit(urljoin(HERE, found))
    assert (there.scheme, there.netloc) == ("https", "shop.example")
    assert found.isascii()
    assert found.isprintable()


def test_the_sign_in_page_is_told_where_to_go_back() -> None:
    there = with_next("/sign-in", head("/orders?page=2&q=a%20b"))
    assert there == "/sign-in?next=%2Forders%3Fpage%3D2%26q%3Da%2520b"
    assert parse_qs(urlsplit(there).query) == {"next": ["/orders?page=2&q=a%20b"]}


def test_a_query_that_is_there_is_kept() -> None:
    assert with_next("/sign-in?lang=de", head("/a")) == "/sign-in?lang=de&next=%2Fa"


@pytest.mark.parametrize("method", ["POST", "DELETE", "OPTIONS"])
def test_only_what_was_asked_for_with_get_can_be_gone_back_to(method: str) -> None:
    assert with_next("/sign-in", head("/orders", method)) == "/sign-in"


def test_head_is_asked_like_get() -> None:
    assert with_next("/sign-in", head("/orders", "HEAD")) == "/sign-in?next=%2Forders"


@pytest.mark.parametrize("target", ["//evil.example", "/a b", "*", "", "/" * 3_000])
def test_what_is_not_gone_back_to_is_not_named(target: str) -> None:
    assert with_next("/sign-in", head(target)) == "/sign-in"


@given(st.text(alphabet=[chr(code) for code in range(0x21, 0x7F)], max_size=50))
def test_what_is_named_comes_back_as_it_was(rest: str) -> None:
    target = "/x" + rest.replace("\\", "")
    there = urlsplit(with_next("/sign-in", head(target)))
    assert parse_qs(there.query) == {"next": [target]}
    assert safe_target(parse_qs(there.query)["next"][0]) == target
