"""
The settings of the edge, what cannot be set, and the head of a request.
"""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from sessioncore import Device
from sessioncore_http import Edge, RequestHead, SessionCookie, UnsafeConfiguration, render

SITE = "https://shop.example"


def test_only_the_origins_have_to_be_said_and_the_rest_is_safe() -> None:
    edge = Edge(origins=[SITE])
    assert edge.cookie == SessionCookie()
    assert edge.guard.trusts(SITE)
    assert not edge.guard.trusted_origins
    assert not edge.exempted_paths
    assert (edge.sign_in_path, edge.step_up_path, edge.token) == (None, None, None)
    assert edge.clear_site_data == ("cache",)
    assert edge.render is render


def test_origins_have_to_be_said() -> None:
    without: Any = Edge
    with pytest.raises(TypeError):
        without()


def test_settings_cannot_be_changed_afterwards() -> None:
    edge: Any = Edge(origins=[SITE])
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        edge.origins = ["https://evil.example"]
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        edge.guard.origins = frozenset()


@pytest.mark.parametrize("setting", ["sign_in_path", "step_up_path"])
@pytest.mark.parametrize(
    "path", ["", "sign-in", "//evil.example", "https://evil.example/", "/\\evil.example", "/a b"]
)
def test_a_page_to_go_to_is_a_path_of_this_site(setting: str, path: str) -> None:
    settings: dict[str, Any] = {setting: path}
    with pytest.raises(UnsafeConfiguration, match=setting):
        Edge(origins=[SITE], **settings)


@pytest.mark.parametrize("types", [["cookies"], ["*"], ["cache", "cookies"], ['"cache"'], "cache"])
def test_browsers_are_not_asked_to_clear_what_belongs_to_others(types: Any) -> None:
    with pytest.raises(UnsafeConfiguration, match="clear_site_data"):
        Edge(origins=[SITE], clear_site_data=types)


def test_an_unsafe_setting_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="origins"):
        Edge(origins=[])


@pytest.mark.parametrize(
    ("method", "is_websocket", "changes_something"),
    [
        ("GET", False, False),
        ("HEAD", False, False),
        ("OPTIONS", False, False),
        ("GET", True, True),
        ("POST", False, True),
        ("TRACE", False, True),
        ("get", False, True),
        ("GETS", False, True),
        ("", False, True),
    ],
)
def test_only_what_is_known_to_change_nothing_changes_nothing(
    method: str, is_websocket: bool, changes_something: bool
) -> None:
    head = RequestHead(method=method, path="/", target="/", is_websocket=is_websocket)
    assert head.changes_something is changes_something


def test_a_head_shows_no_cookie_no_token_and_no_query() -> None:
    head = RequestHead(
        method="GET",
        path="/a",
        target="/a?code=the-code",
        cookies=("__Host-session=the-cookie",),
        token="the-token",
    )
    assert "the-" not in repr(head)


def test_a_head_says_what_a_session_list_shows() -> None:
    head = RequestHead(method="GET", path="/", target="/", address="192.0.2.1", user_agent="Lynx")
    assert head.device == Device(address="192.0.2.1", user_agent="Lynx")
