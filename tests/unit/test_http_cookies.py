"""
The session cookie: what is written, what is refused, and what is found in a request.
"""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessioncore import SessionId
from sessioncore_http import Edge, SameSite, SessionCookie, UnsafeConfiguration
from sessioncore_http.cookies import LONGEST, is_brought, old_cookie

ID = SessionId.parse("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1")
assert ID is not None
TEXT = ID.reveal()
NAME = "__Host-session"
SECOND = timedelta(seconds=1)
WEAK = "a test of what is weak"


def an_id() -> SessionId:
    assert ID is not None
    return ID


def parts(set_cookie: str) -> list[str]:
    return set_cookie.split("; ")


# What is written


def test_the_default_cookie_is_a_session_cookie_of_this_very_host() -> None:
    assert SessionCookie().written(an_id(), None) == (
        f"__Host-session={TEXT}; Path=/; Secure; HttpOnly; SameSite=Lax"
    )


def test_a_cookie_to_be_remembered_says_for_how_long() -> None:
    assert SessionCookie().written(an_id(), timedelta(days=30)) == (
        f"__Host-session={TEXT}; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=2592000"
    )


def test_the_default_cookie_is_deleted_with_the_same_attributes() -> None:
    assert SessionCookie().deleted() == (
        "__Host-session=; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=0"
    )


def test_every_option_has_its_place() -> None:
    cookie = SessionCookie(
        name="__Secure-sid",
        same_site=SameSite.NONE,
        partitioned=True,
        path="/shop",
        domain="shop.example",
        weaker_because=WEAK,
    )
    assert cookie.written(an_id(), SECOND) == (
        f"__Secure-sid={TEXT}; Path=/shop; Domain=shop.example; Secure; HttpOnly; "
        "SameSite=None; Partitioned; Max-Age=1"
    )
    assert cookie.deleted() == (
        "__Secure-sid=; Path=/shop; Domain=shop.example; Secure; HttpOnly; "
        "SameSite=None; Partitioned; Max-Age=0"
    )


def test_strict_and_partitioned_are_not_weaker_and_need_no_reason() -> None:
    cookie = SessionCookie(same_site=SameSite.STRICT, partitioned=True)
    assert cookie.written(an_id(), None) == (
        f"__Host-session={TEXT}; Path=/; Secure; HttpOnly; SameSite=Strict; Partitioned"
    )


@pytest.mark.parametrize(
    ("persist_for", "seconds"),
    [
        (timedelta(days=-1), 1),
        (timedelta(0), 1),
        (timedelta(microseconds=1), 1),
        (timedelta(milliseconds=999), 1),
        (SECOND, 1),
        (timedelta(milliseconds=1_999), 1),
        (2 * SECOND, 2),
        (timedelta(days=400) - SECOND, 34_559_999),
        (timedelta(days=400), 34_560_000),
        (timedelta(days=400) + SECOND, 34_560_000),
        (timedelta.max, 34_560_000),
    ],
)
def test_max_age_is_never_zero_and_at_most_400_days(persist_for: timedelta, seconds: int) -> None:
    assert parts(SessionCookie().written(an_id(), persist_for))[-1] == f"Max-Age={seconds}"


@given(st.timedeltas())
def test_a_cookie_that_is_written_is_never_one_that_is_deleted(persist_for: timedelta) -> None:
    name, _, seconds = parts(SessionCookie().written(an_id(), persist_for))[-1].partition("=")
    assert name == "Max-Age"
    assert 1 <= int(seconds) <= LONGEST.total_seconds()


# What is refused


@pytest.mark.parametrize(
    "weaker",
    [
        {"name": "session"},
        {"name": "__Secure-session"},
        {"name": "__host-session"},  # servers compare the prefix exactly
        {"name": "__HOST-session"},
        {"name": "__Http-session"},
        {"name": "session", "secure": False},
        {"same_site": SameSite.NONE},
        {"name": "session", "domain": "shop.example"},
        {"name": "session", "path": "/shop"},
    ],
    ids=str,
)
def test_what_is_weaker_than_the_default_needs_a_reason(weaker: dict[str, Any]) -> None:
    with pytest.raises(UnsafeConfiguration, match="say why in weaker_because"):
        SessionCookie(**weaker)
    with pytest.raises(UnsafeConfiguration, match="say why in weaker_because"):
        SessionCookie(**weaker, weaker_because=" \t\n")
    assert SessionCookie(**weaker, weaker_because=WEAK).weaker_because == WEAK


def test_the_refusal_names_every_weakness() -> None:
    with pytest.raises(UnsafeConfiguration) as refused:
        SessionCookie(name="s", secure=False, domain="shop.example")
    assert str(refused.value) == (
        "the session cookie has no prefix __Host-, no Secure, a Domain; say why in weaker_because"
    )


@pytest.mark.parametrize(
    "refused",
    [
        {"name": "__Host-s", "secure": False},
        {"name": "__Host-s", "path": "/shop"},
        {"name": "__Host-s", "domain": "shop.example"},
        {"name": "__host-s", "path": "/shop"},  # browsers compare it in any case
        {"name": "__HOST-s", "domain": "shop.example"},
        {"name": "__Host-Http-s", "path": "/shop"},
        {"name": "__Secure-s", "secure": False},
        {"name": "__SECURE-s", "secure": False},
        {"name": "__Http-s", "secure": False},
        {"name": "s", "secure": False, "same_site": SameSite.NONE},
        {"name": "s", "secure": False, "partitioned": True},
    ],
    ids=str,
)
def test_no_reason_helps_where_browsers_refuse(refused: dict[str, Any]) -> None:
    with pytest.raises(UnsafeConfiguration, match="need"):
        SessionCookie(**refused, weaker_because=WEAK)


@pytest.mark.parametrize(
    "name",
    ["", " s", "s s", "s=", "s;", "s,", '"s"', "s\n", "s\0", "sé", "s(", "s/", "s@", "s" * 65],
)
def test_a_name_is_a_token(name: str) -> None:
    with pytest.raises(UnsafeConfiguration, match="name"):
        SessionCookie(name=name, weaker_because=WEAK)


@pytest.mark.parametrize(
    "path", ["", "shop", "/;", "/a; Domain=x", "/ ", "/\n", "/é", "/" + "a" * 1_024]
)
def test_a_path_cannot_smuggle_attributes_in_and_is_one_that_browsers_read(path: str) -> None:
    with pytest.raises(UnsafeConfiguration, match="path"):
        SessionCookie(name="s", path=path, weaker_because=WEAK)


@pytest.mark.parametrize(
    "domain",
    [
        *("", ".shop.example", "shop.example.", "Shop.example", "a;b", "a b", "a\n"),
        *("ä.example", "a" * 254),
    ],
)
def test_a_domain_is_a_host_name(domain: str) -> None:
    with pytest.raises(UnsafeConfiguration, match="domain"):
        SessionCookie(name="s", domain=domain, weaker_because=WEAK)


def configurations() -> list[SessionCookie]:
    """
    Every cookie that can be configured, of a choice of every attribute.
    """
    found: list[SessionCookie] = []
    for name, same_site, secure, partitioned, path, domain in itertools.product(
        ["__Host-session", "__Host-Http-s", "__Secure-s", "__Http-s", "__host-s", "session"],
        SameSite,
        [True, False],
        [True, False],
        ["/", "/shop", "/" + "a" * 1_023],
        [None, "shop.example"],
    ):
        try:
            found.append(
                SessionCookie(
                    name=name,
                    same_site=same_site,
                    secure=secure,
                    partitioned=partitioned,
                    path=path,
                    domain=domain,
                    weaker_because=WEAK,
                )
            )
        except UnsafeConfiguration:
            continue
    return found


def test_every_configuration_deletes_what_it_writes() -> None:
    assert len(configurations()) > 100
    for cookie in configurations():
        name, *attributes = parts(cookie.written(an_id(), None))
        assert name == f"{cookie.name}={TEXT}"
        assert parts(cookie.deleted()) == [f"{cookie.name}=", *attributes, "Max-Age=0"]


def test_every_configuration_is_http_only_explicit_and_small_enough_for_browsers() -> None:
    for cookie in configurations():
        written = cookie.written(an_id(), LONGEST)
        name, *attributes = parts(written)
        assert "HttpOnly" in attributes
        assert f"SameSite={cookie.same_site.value}" in attributes
        assert ("Secure" in attributes) is cookie.secure
        # RFC 6265bis, section 5.6: name and value, and each attribute.
        assert len(name) <= 4_096
        assert all(len(attribute.partition("=")[2]) <= 1_024 for attribute in attributes)
        assert written.isascii()
        assert written.isprintable()


def test_every_configuration_finds_what_it_wrote() -> None:
    for cookie in configurations():
        brought = cookie.written(an_id(), None).partition(";")[0]
        assert cookie.presented([f"a=b; {brought}; c=d"]).text == TEXT


# What the edge refuses of a cookie


def test_a_secure_cookie_is_refused_for_a_site_without_tls() -> None:
    with pytest.raises(UnsafeConfiguration, match="browsers keep no Secure cookie"):
        Edge(origins=["http://shop.example"])
    plain = SessionCookie(name="s", secure=False, weaker_because="an intranet without TLS")
    assert Edge(origins=["http://shop.example"], cookie=plain).cookie is plain


@pytest.mark.parametrize(
    "origin",
    ["http://localhost:8000", "http://127.0.0.1", "http://[::1]:8000", "http://a.localhost"],
)
def test_a_secure_cookie_is_kept_by_this_computer_without_tls(origin: str) -> None:
    assert Edge(origins=[origin]).cookie.secure


@pytest.mark.parametrize("origin", ["https://shop.example", "https://www.shop.example"])
def test_a_cookie_of_a_domain_is_for_the_hosts_below_it(origin: str) -> None:
    assert Edge(origins=[origin], cookie=_of_the_domain()).guard.trusts(origin)


@pytest.mark.parametrize("origin", ["https://myshop.example", "https://example", "https://a.test"])
def test_a_cookie_for_another_domain_than_the_site_s_is_refused(origin: str) -> None:
    with pytest.raises(UnsafeConfiguration, match="browsers take no cookie for"):
        Edge(origins=["https://shop.example", origin], cookie=_of_the_domain())


def _of_the_domain() -> SessionCookie:
    return SessionCookie(name="__Secure-s", domain="shop.example", weaker_because=WEAK)


# What is found


@pytest.mark.parametrize(
    ("headers", "text"),
    [
        ([], None),
        ([""], None),
        ([";;; ;"], None),
        ([NAME], None),
        ([f"{NAME}="], ""),
        ([f"{NAME}=abc"], "abc"),
        ([f"a=b; {NAME}=abc; c=d"], "abc"),
        ([f"a=b;{NAME}=abc;c=d"], "abc"),
        ([f" \t{NAME} \t=\t abc \t"], "abc"),
        ([f"{NAME}=a=b=c"], "a=b=c"),
        # Quotes are part of the value: one cookie has one spelling.
        ([f'{NAME}="abc"'], '"abc"'),
        ([f'{NAME}="a; b"'], '"a'),
        # What http.cookies gives up on hides nothing behind it.
        ([f"a[]=1; b={{}}; c; =d; é=f; {NAME}=abc"], "abc"),
        ([f"{NAME}=\xe9\u20ac"], "\xe9\u20ac"),
        ([f"{NAME}=a\0b"], "a\0b"),
        ([f"{NAME}=\xa0abc\x0b"], "\xa0abc\x0b"),
        # HTTP/2 splits the header.
        (["a=b", f"{NAME}=abc", "c=d"], "abc"),
        # A duplicate that agrees is no contradiction.
        ([f"{NAME}=abc; {NAME}=abc"], "abc"),
        ([f"{NAME}=abc", f"{NAME} = abc"], "abc"),
        # Look-alikes are somebody else's.
        (["__host-session=abc"], None),
        (["__HOST-SESSION=abc"], None),
        (["__Host-Session=abc"], None),
        (["__Host-session2=abc; x__Host-session=abc; __Host-sessio=n"], None),
        (["session=abc; __Secure-session=abc"], None),
        ([f"$Version=1; {NAME}=abc; $Path=/"], "abc"),
        (["\u200b__Host-session=abc; \xa0__Host-session=abc"], None),
        (["\x0b__Host-session=abc"], None),
        (["\r\n__Host-session=abc"], None),
        (["__Host-s\xadession=abc; __Host\u2010session=abc"], None),
        # A cookie without a name, which browsers send like this, is not one with our name.
        ([f"=; =={NAME}=abc"], None),
        # Behind a comma it is part of another one's value. (RFC 2965 had such headers.)
        ([f"a=b, {NAME}=abc"], None),
        ([f"a=b,{NAME}=abc; {NAME}=def"], "def"),
    ],
    ids=repr,
)
def test_a_cookie_is_found_by_its_exact_name(headers: list[str], text: str | None) -> None:
    presented = SessionCookie().presented(headers)
    assert presented.text == text
    assert not presented.is_ambiguous


@pytest.mark.parametrize(
    "headers",
    [
        [f"{NAME}=a; {NAME}=b"],
        [f"{NAME}=a", f"{NAME}=b"],
        [f"{NAME}=a; x=y; {NAME}=a; {NAME}=A"],
        [f"{NAME}=; {NAME}=a"],
        [f'{NAME}="a"; {NAME}=a'],
        [f"{NAME}={TEXT}; {NAME}={TEXT},"],
    ],
    ids=repr,
)
def test_two_that_differ_are_ambiguous_and_neither_is_taken(headers: list[str]) -> None:
    presented = SessionCookie().presented(headers)
    assert presented.is_ambiguous
    assert presented.text is None


def test_what_is_found_does_not_show_in_its_repr() -> None:
    assert "abc" not in repr(SessionCookie().presented([f"{NAME}=abc"]))


@pytest.mark.parametrize(
    "header",
    [
        "a" * 1_000_000,
        ";" * 1_000_000,
        "=" * 1_000_000,
        f"{NAME};" * 70_000,
        f"{NAME}=a;" * 60_000,
        " " * 1_000_000 + f";{NAME}=a",
    ],
    ids=["letters", "semicolons", "equal signs", "bare names", "one cookie", "blanks"],
)
def test_a_megabyte_is_read_like_anything_else(header: str) -> None:
    assert SessionCookie().presented([header]).text in {None, "a"}


def test_a_megabyte_of_different_cookies_is_ambiguous() -> None:
    header = ";".join(f"{NAME}={number}" for number in range(45_000))
    assert SessionCookie().presented([header]).is_ambiguous


def test_a_value_of_a_megabyte_is_no_session_id() -> None:
    found = SessionCookie().presented([f"{NAME}={TEXT * 15_000}"])
    assert SessionId.parse(found.text) is None


# What an application writes under our name


@pytest.mark.parametrize(
    "set_cookie",
    [f"{NAME}=a", f"{NAME}=", f" {NAME} =a; Path=/x", f"\t{NAME}\t= a=b", f"{NAME}=; Max-Age=0"],
)
def test_a_cookie_of_our_name_is_recognised(set_cookie: str) -> None:
    assert SessionCookie().is_written_by(set_cookie)


@pytest.mark.parametrize(
    "set_cookie", ["", "a=b", f"a={NAME}=b", f"{NAME}2=a", f"x{NAME}=a", "__host-session=a"]
)
def test_a_cookie_of_another_name_is_left_alone(set_cookie: str) -> None:
    assert not SessionCookie().is_written_by(set_cookie)


# The cookie of another library


@pytest.mark.parametrize(
    ("headers", "value"),
    [
        ([], None),
        (["session=abc"], "abc"),
        (['session="a.b-c"'], "a.b-c"),
        (['session="'], '"'),
        (['session="abc'], '"abc'),
        (["session=abc; session=abc"], "abc"),
        (["session=abc; session=def"], None),
        (["Session=abc"], None),
    ],
    ids=repr,
)
def test_an_old_cookie_is_found_without_its_quotes(headers: list[str], value: str | None) -> None:
    assert old_cookie("session", headers) == value


def test_an_old_cookie_is_brought_whatever_it_is() -> None:
    assert is_brought("session", ["a=b; session="])
    assert is_brought("session", ["session=a; session=b"])
    assert not is_brought("session", ["xsession=a; session"])
