"""
What is answered instead of the application's own answer, and how it looks.
"""

from __future__ import annotations

import json
from datetime import timedelta
from http import HTTPStatus
from typing import Any

import pytest

from sessioncore import (
    Busy,
    CorruptRecord,
    Inactive,
    InactiveReason,
    LimitReached,
    OutcomeUnknown,
    Refused,
    StoreError,
    StoreUnavailable,
    Throttled,
)
from sessioncore.errors import RevocationUnconfirmed
from sessioncore_http import (
    Answer,
    CrossOriginRule,
    Interruption,
    Problem,
    RequestHead,
    outage,
    problem_of,
    render,
)
from sessioncore_http.problems import (
    cross_origin,
    problem_of_inactive,
    sign_in_required,
    step_up_required,
    token_required,
    try_again,
)


def head(method: str = "GET", **values: Any) -> RequestHead:
    given: dict[str, Any] = {"method": method, "path": "/a", "target": "/a?b=1", **values}
    return RequestHead(**given)


WINDOW = head(fetch_mode="navigate")
PROGRAM = head(fetch_mode="cors", accept="application/json")


def read(answer: Answer) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(answer.body)
    return found


# Who is asking


@pytest.mark.parametrize(
    ("asked", "wants_page"),
    [
        ({"fetch_mode": "navigate"}, True),
        ({"fetch_mode": "navigate", "accept": "application/json"}, True),
        ({"fetch_mode": "cors", "accept": "text/html"}, False),
        ({"fetch_mode": "same-origin"}, False),
        ({"fetch_mode": ""}, False),
        ({"accept": "text/html,application/xhtml+xml"}, True),
        ({"accept": "TEXT/HTML"}, True),
        ({"accept": "*/*"}, False),
        ({"accept": "application/json"}, False),
        ({}, False),
    ],
)
def test_a_window_is_told_from_a_program(asked: dict[str, str], wants_page: bool) -> None:
    assert head(**asked).wants_page is wants_page


# Which problem it is


def test_an_api_gets_a_401_with_a_challenge() -> None:
    answer = render(sign_in_required(PROGRAM, "/sign-in"), PROGRAM)
    assert answer.status is HTTPStatus.UNAUTHORIZED
    assert answer.status_line == "401 Unauthorized"
    headers = dict(answer.headers)
    assert headers["Content-Type"] == "application/problem+json"
    assert headers["WWW-Authenticate"] == "Cookie"
    assert headers["Cache-Control"] == "no-store"
    assert headers["Content-Length"] == str(len(answer.body))
    assert "Location" not in headers
    assert read(answer) == {
        "status": 401,
        "code": "sign-in-required",
        "title": "Please sign in",
        "detail": "This needs somebody who is signed in.",
    }


def test_a_window_is_sent_to_the_sign_in_page_and_back() -> None:
    answer = render(sign_in_required(WINDOW, "/sign-in"), WINDOW)
    assert answer == Answer(
        status=HTTPStatus.SEE_OTHER,
        headers=(
            ("Cache-Control", "no-store"),
            ("Location", "/sign-in?next=%2Fa%3Fb%3D1"),
            ("Content-Type", "text/html; charset=utf-8"),
            ("Content-Length", "0"),
        ),
        body=b"",
    )


def test_a_window_without_a_sign_in_page_gets_a_page() -> None:
    answer = render(sign_in_required(WINDOW, None), WINDOW)
    assert answer.status is HTTPStatus.UNAUTHORIZED
    assert dict(answer.headers)["Content-Type"] == "text/html; charset=utf-8"
    assert b"<h1>Please sign in</h1>" in answer.body


def test_a_form_that_was_posted_signed_out_goes_to_the_sign_in_page_and_not_back() -> None:
    posted = head("POST", fetch_mode="navigate")
    answer = render(sign_in_required(posted, "/sign-in"), posted)
    assert answer.status is HTTPStatus.SEE_OTHER
    assert dict(answer.headers)["Location"] == "/sign-in"


def test_a_step_up_says_how_old_the_proof_may_be() -> None:
    problem = step_up_required(PROGRAM, "/prove", timedelta(minutes=5))
    answer = render(problem, PROGRAM)
    assert answer.status is HTTPStatus.UNAUTHORIZED
    assert dict(answer.headers)["WWW-Authenticate"] == (
        'Cookie error="insufficient_user_authentication", max_age=300'
    )
    assert read(answer)["code"] == "step-up-required"
    assert render(step_up_required(WINDOW, None, timedelta(0)), WINDOW).status == 401
    sent = render(step_up_required(WINDOW, "/prove", timedelta(0)), WINDOW)
    assert dict(sent.headers)["Location"] == "/prove?next=%2Fa%3Fb%3D1"


@pytest.mark.parametrize(
    "reason", [reason for reason in InactiveReason if reason is not InactiveReason.SUPERSEDED]
)
def test_whoever_has_no_session_has_to_sign_in(reason: InactiveReason) -> None:
    problem = problem_of_inactive(Inactive(reason), PROGRAM, None)
    assert (problem.status, problem.code) == (401, "sign-in-required")


def test_whoever_has_a_better_cookie_on_its_way_tries_again() -> None:
    problem = problem_of_inactive(Inactive(InactiveReason.SUPERSEDED), WINDOW, "/sign-in")
    assert problem == try_again()
    assert problem.status is HTTPStatus.CONFLICT
    answer = render(problem, PROGRAM)
    assert dict(answer.headers)["Retry-After"] == "1"
    assert "Location" not in dict(answer.headers)


def test_a_window_that_asked_for_a_page_helps_itself_and_one_that_posted_does_not() -> None:
    assert b'http-equiv="refresh" content="1"' in render(try_again(), WINDOW).body
    posted = head("POST", fetch_mode="navigate")
    assert b"refresh" not in render(try_again(), posted).body
    assert b"refresh" not in render(token_required(), WINDOW).body


@pytest.mark.parametrize("error", [StoreUnavailable("away"), CorruptRecord("damaged")])
def test_an_outage_is_a_503_and_nobody_is_signed_out(error: StoreError) -> None:
    for asked in (PROGRAM, WINDOW):
        answer = render(outage(error), asked)
        assert answer.status is HTTPStatus.SERVICE_UNAVAILABLE
        assert dict(answer.headers)["Retry-After"] == "5"
        assert str(error).encode() not in answer.body
    assert read(render(outage(error), PROGRAM))["code"] == "unavailable"


@pytest.mark.parametrize("error", [OutcomeUnknown("lost"), RevocationUnconfirmed("lost")])
def test_what_may_have_taken_effect_is_not_said_to_have_failed(error: StoreError) -> None:
    answer = render(outage(error), PROGRAM)
    assert answer.status is HTTPStatus.SERVICE_UNAVAILABLE
    assert read(answer)["code"] == "not-confirmed"
    assert "Nothing was done" not in read(answer)["detail"]


@pytest.mark.parametrize(
    ("wait", "seconds"),
    [
        (timedelta(seconds=30), "30"),
        (timedelta(seconds=30, milliseconds=1), "31"),
        (timedelta(milliseconds=1), "1"),
        (timedelta(0), "1"),
    ],
)
def test_whoever_is_throttled_is_told_when_to_come_back(wait: timedelta, seconds: str) -> None:
    answer = render(problem_of(Throttled(wait)), PROGRAM)
    assert answer.status is HTTPStatus.TOO_MANY_REQUESTS
    assert dict(answer.headers)["Retry-After"] == seconds
    assert read(answer)["code"] == "throttled"


@pytest.mark.parametrize(
    ("outcome", "status", "code"),
    [(Refused(), 401, "refused"), (Busy(), 503, "busy"), (LimitReached(3), 409, "limit-reached")],
)
def test_every_refusal_has_a_status_and_a_code(outcome: Any, status: int, code: str) -> None:
    problem = problem_of(outcome)
    assert (problem.status, problem.code) == (status, code)
    answer = render(problem, PROGRAM)
    assert ("WWW-Authenticate" in dict(answer.headers)) is (status == 401)
    assert ("Retry-After" in dict(answer.headers)) is (status == 503)


def test_a_refused_sign_in_does_not_say_which_was_wrong() -> None:
    assert read(render(problem_of(Refused()), PROGRAM))["detail"] == (
        "The name or the password is wrong."
    )


@pytest.mark.parametrize("rule", CrossOriginRule)
def test_a_refusal_does_not_say_which_rule_refused(rule: CrossOriginRule) -> None:
    assert cross_origin(rule) == cross_origin(CrossOriginRule.CROSS_ORIGIN)
    assert cross_origin(rule).status is HTTPStatus.FORBIDDEN


def test_a_missing_token_is_a_403() -> None:
    assert (token_required().status, token_required().code) == (403, "token-required")


# How it looks


def test_a_page_shows_what_it_is_given_as_text() -> None:
    problem = Problem(
        status=HTTPStatus.FORBIDDEN, code="x", title="<script>", detail='"&</p><img src=x>'
    )
    body = render(problem, WINDOW).body
    assert b"<script>" not in body
    assert b"<img" not in body
    assert b"&lt;script&gt;" in body


def test_every_401_has_a_challenge_and_no_answer_is_cached() -> None:
    problems = [
        sign_in_required(PROGRAM, None),
        step_up_required(PROGRAM, None, timedelta(0)),
        problem_of(Refused()),
        try_again(),
        token_required(),
        outage(StoreUnavailable("away")),
    ]
    for problem in problems:
        for asked in (PROGRAM, WINDOW):
            headers = dict(render(problem, asked).headers)
            assert headers["Cache-Control"] == "no-store"
            assert "Set-Cookie" not in headers
            assert (problem.status == 401) is ("WWW-Authenticate" in headers)


def test_an_interruption_carries_its_problem_and_says_no_more_than_its_title() -> None:
    problem = try_again()
    interruption = Interruption(problem)
    assert interruption.problem is problem
    assert str(interruption) == problem.title
