"""
Policies: every bound from both sides, the presets, and what is said of them.
"""

from dataclasses import FrozenInstanceError, replace
from datetime import timedelta
from typing import Any

import pytest
from fakes import DAY, HOUR, MILLISECOND, MINUTE, SECOND

from sessioncore import InvalidPolicy, OnLimit, OnReuse, Policies, Policy, Standard
from sessioncore.policy import (
    COOKIE_CEILING,
    NIST_AAL1,
    NIST_AAL2,
    NIST_AAL3,
    OWASP_HIGH_VALUE,
    UNREASONED_SESSION_LIMIT,
)

ZERO = timedelta(0)
MICROSECOND = timedelta(microseconds=1)


def a_policy(**fields: Any) -> Policy:
    """
    A policy that is valid with its default figures, but for *fields*.
    """
    usual: dict[str, Any] = {"idle_timeout": 30 * MINUTE, "absolute_timeout": 12 * HOUR}
    return Policy(**(usual | fields))


# -- Defaults ------------------------------------------------------------------


def test_both_timeouts_must_be_given() -> None:
    policy: Any = Policy
    with pytest.raises(TypeError):
        policy(idle_timeout=MINUTE)
    with pytest.raises(TypeError):
        policy(absolute_timeout=HOUR)


def test_the_defaults_are_these() -> None:
    policy = a_policy()
    assert policy == Policy(
        name="default",
        idle_timeout=30 * MINUTE,
        absolute_timeout=12 * HOUR,
        touch_interval=MINUTE,
        renewal_interval=15 * MINUTE,
        grace=30 * SECOND,
        clock_tolerance=5 * SECOND,
        session_limit=100,
        on_limit=OnLimit.EVICT_LEAST_RECENTLY_SEEN,
        limit_reason="",
        reauthentication_age=15 * MINUTE,
        on_reuse=OnReuse.END,
        persistent=False,
        data_limit=65536,
        standard=None,
        deviation="",
    )


def test_a_policy_cannot_be_changed() -> None:
    changeable: Any = a_policy()
    with pytest.raises(FrozenInstanceError):
        changeable.idle_timeout = DAY
    assert not hasattr(changeable, "__dict__")


def test_a_standard_cannot_be_changed() -> None:
    changeable: Any = NIST_AAL1
    with pytest.raises(FrozenInstanceError):
        changeable.absolute_timeout = DAY
    assert not hasattr(changeable, "__dict__")


def test_printing_a_policy_leaves_its_standard_to_explain() -> None:
    assert "standard" not in repr(Policy.nist_aal1())


@pytest.mark.parametrize(
    ("idle_timeout", "touch_interval"),
    [
        (2 * MILLISECOND, MILLISECOND),
        (19 * MILLISECOND, MILLISECOND),
        (20 * MILLISECOND, 2 * MILLISECOND),
        (29 * MILLISECOND, 2 * MILLISECOND),
        (5 * MINUTE, 30 * SECOND),
        (10 * MINUTE - MILLISECOND, MINUTE - MILLISECOND),
        (10 * MINUTE, MINUTE),
        (12 * HOUR, MINUTE),
    ],
)
def test_the_default_touch_interval_is_a_tenth_of_the_idle_timeout_or_a_minute(
    idle_timeout: timedelta, touch_interval: timedelta
) -> None:
    assert a_policy(idle_timeout=idle_timeout).touch_interval == touch_interval


def test_a_touch_interval_that_is_given_stands() -> None:
    assert a_policy(touch_interval=7 * SECOND).touch_interval == 7 * SECOND


# -- Names ---------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a", "a" * 64, "Staff, level 2", " ", "~"])
def test_a_name_is_1_to_64_printable_ascii_characters(name: str) -> None:
    assert a_policy(name=name).name == name


@pytest.mark.parametrize("name", ["", "a" * 65, "é", "a\n", "\x00", "a\x7f", "\N{ROCKET}"])
def test_any_other_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidPolicy, match="name: 1 to 64 printable ASCII characters"):
        a_policy(name=name)


# -- Durations -----------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "idle_timeout",
        "absolute_timeout",
        "touch_interval",
        "grace",
        "reauthentication_age",
        "renewal_interval",
    ],
)
@pytest.mark.parametrize(
    "duration", [-MILLISECOND, -HOUR, MICROSECOND, MINUTE + MICROSECOND, MILLISECOND / 2]
)
def test_a_duration_is_a_positive_whole_number_of_milliseconds(
    name: str, duration: timedelta
) -> None:
    with pytest.raises(InvalidPolicy, match=f"^{name}: a positive whole number of milliseconds"):
        a_policy(**{name: duration})


@pytest.mark.parametrize(
    "name",
    ["idle_timeout", "absolute_timeout", "grace", "reauthentication_age", "renewal_interval"],
)
def test_a_duration_is_not_zero(name: str) -> None:
    with pytest.raises(InvalidPolicy, match=f"^{name}: a positive"):
        a_policy(**{name: ZERO})


def test_the_smallest_durations_are_milliseconds() -> None:
    policy = a_policy(
        idle_timeout=2 * MILLISECOND,
        absolute_timeout=2 * MILLISECOND,
        touch_interval=MILLISECOND,
        grace=MILLISECOND,
        clock_tolerance=ZERO,
        reauthentication_age=MILLISECOND,
        renewal_interval=2 * MILLISECOND,
    )
    assert policy.idle_timeout == 2 * MILLISECOND


@pytest.mark.parametrize("tolerance", [-MILLISECOND, MICROSECOND, SECOND + MICROSECOND])
def test_a_clock_tolerance_is_a_whole_number_of_milliseconds(tolerance: timedelta) -> None:
    with pytest.raises(InvalidPolicy, match="clock_tolerance: a whole number of milliseconds"):
        a_policy(clock_tolerance=tolerance)


@pytest.mark.parametrize("tolerance", [ZERO, MILLISECOND])
def test_a_clock_tolerance_may_be_zero(tolerance: timedelta) -> None:
    assert a_policy(clock_tolerance=tolerance).clock_tolerance == tolerance


def test_the_idle_timeout_may_equal_the_absolute_timeout() -> None:
    assert a_policy(idle_timeout=HOUR, absolute_timeout=HOUR).idle_timeout == HOUR


def test_an_idle_timeout_beyond_the_absolute_timeout_is_refused() -> None:
    with pytest.raises(InvalidPolicy, match="idle_timeout exceeds absolute_timeout"):
        a_policy(idle_timeout=HOUR + MILLISECOND, absolute_timeout=HOUR)


def test_a_touch_interval_may_be_half_of_the_idle_timeout() -> None:
    assert a_policy(idle_timeout=HOUR, touch_interval=HOUR / 2).touch_interval == HOUR / 2


def test_a_touch_interval_beyond_half_of_the_idle_timeout_is_refused() -> None:
    with pytest.raises(InvalidPolicy, match="touch_interval exceeds half of idle_timeout"):
        a_policy(idle_timeout=HOUR, touch_interval=HOUR / 2 + MILLISECOND)


def test_an_idle_timeout_of_one_millisecond_leaves_no_room_for_a_touch() -> None:
    with pytest.raises(InvalidPolicy, match="touch_interval exceeds half of idle_timeout"):
        a_policy(idle_timeout=MILLISECOND)


def test_a_persistent_policy_may_last_as_long_as_browsers_keep_a_cookie() -> None:
    assert timedelta(days=400) == COOKIE_CEILING
    assert a_policy(persistent=True, absolute_timeout=COOKIE_CEILING).persistent


def test_a_persistent_policy_that_outlasts_every_cookie_is_refused() -> None:
    with pytest.raises(InvalidPolicy, match="over 400 days"):
        a_policy(persistent=True, absolute_timeout=COOKIE_CEILING + MILLISECOND)


def test_a_policy_that_is_not_persistent_may_outlast_every_cookie() -> None:
    longer = COOKIE_CEILING + MILLISECOND
    assert a_policy(absolute_timeout=longer).absolute_timeout == longer


# -- Renewal -------------------------------------------------------------------


def test_a_renewal_interval_may_be_twice_the_grace() -> None:
    assert a_policy(grace=MINUTE, renewal_interval=2 * MINUTE).renewal_interval == 2 * MINUTE


def test_a_renewal_interval_below_twice_the_grace_is_refused() -> None:
    with pytest.raises(InvalidPolicy, match="renewal_interval is less than twice the grace"):
        a_policy(grace=MINUTE, renewal_interval=2 * MINUTE - MILLISECOND)


def test_without_renewal_any_grace_will_do() -> None:
    assert a_policy(grace=DAY, renewal_interval=None).renewal_interval is None


def test_a_grace_just_beyond_twice_the_clock_tolerance_is_accepted() -> None:
    grace = 10 * SECOND + MILLISECOND
    assert a_policy(grace=grace, clock_tolerance=5 * SECOND).grace == grace


def test_a_grace_of_twice_the_clock_tolerance_is_refused() -> None:
    with pytest.raises(InvalidPolicy, match="grace does not exceed twice the clock tolerance"):
        a_policy(grace=10 * SECOND, clock_tolerance=5 * SECOND)


def test_a_grace_of_twice_the_clock_tolerance_is_refused_without_renewal_too() -> None:
    # A rotation leaves requests under way as well.
    with pytest.raises(InvalidPolicy, match="grace does not exceed"):
        a_policy(grace=10 * SECOND, clock_tolerance=5 * SECOND, renewal_interval=None)


# -- Limits --------------------------------------------------------------------


def test_a_limit_of_one_session_is_accepted() -> None:
    assert a_policy(session_limit=1).session_limit == 1


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_below_one_session_is_refused(limit: int) -> None:
    with pytest.raises(InvalidPolicy, match="session_limit: at least 1"):
        a_policy(session_limit=limit)


def test_a_limit_of_a_thousand_sessions_needs_no_reason() -> None:
    assert UNREASONED_SESSION_LIMIT == 1000
    assert a_policy(session_limit=1000).limit_reason == ""


def test_a_larger_limit_needs_a_reason() -> None:
    with pytest.raises(InvalidPolicy, match="more than 1000 needs a limit_reason"):
        a_policy(session_limit=1001)


def test_a_larger_limit_with_a_reason_is_accepted() -> None:
    assert a_policy(session_limit=1001, limit_reason="a fleet of kiosks").session_limit == 1001


def test_a_policy_may_allow_no_data() -> None:
    assert a_policy(data_limit=0).data_limit == 0


def test_a_negative_data_limit_is_refused() -> None:
    with pytest.raises(InvalidPolicy, match="data_limit: not negative"):
        a_policy(data_limit=-1)


# -- Standards -----------------------------------------------------------------

STANDARD = Standard("S", "a book", idle_timeout=HOUR, absolute_timeout=DAY)
LAX = Standard("L", "a leaflet", idle_timeout=None, absolute_timeout=DAY)


def test_a_policy_may_go_to_the_bounds_of_its_standard() -> None:
    policy = a_policy(idle_timeout=HOUR, absolute_timeout=DAY, standard=STANDARD)
    assert policy.standard is STANDARD


def test_an_idle_timeout_beyond_the_standard_is_refused() -> None:
    with pytest.raises(InvalidPolicy, match="idle_timeout exceeds the 1:00:00 of S; give a dev"):
        a_policy(idle_timeout=HOUR + MILLISECOND, standard=STANDARD)


def test_an_absolute_timeout_beyond_the_standard_is_refused() -> None:
    with pytest.raises(InvalidPolicy, match=r"absolute_timeout exceeds the 1 day, .* of S; give"):
        a_policy(absolute_timeout=DAY + MILLISECOND, standard=STANDARD)


def test_a_standard_may_leave_the_idle_timeout_open() -> None:
    assert a_policy(idle_timeout=DAY, absolute_timeout=DAY, standard=LAX).standard is LAX


def test_a_standard_that_leaves_the_idle_timeout_open_still_bounds_the_absolute_one() -> None:
    with pytest.raises(InvalidPolicy, match="absolute_timeout exceeds"):
        a_policy(absolute_timeout=DAY + MILLISECOND, standard=LAX)


def test_a_written_reason_permits_a_deviation_from_the_standard() -> None:
    policy = a_policy(
        idle_timeout=2 * DAY, absolute_timeout=9 * DAY, standard=STANDARD, deviation="kiosks"
    )
    assert policy.deviation == "kiosks"


# -- Presets -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("preset", "name", "idle", "absolute", "standard"),
    [
        (Policy.nist_aal1(), "nist-aal1", 14 * DAY, 30 * DAY, NIST_AAL1),
        (Policy.nist_aal2(), "nist-aal2", HOUR, 24 * HOUR, NIST_AAL2),
        (Policy.nist_aal3(), "nist-aal3", 15 * MINUTE, 12 * HOUR, NIST_AAL3),
        (Policy.owasp_high_value(), "owasp-high-value", 5 * MINUTE, 4 * HOUR, OWASP_HIGH_VALUE),
        (Policy.remembered(), "remembered", 14 * DAY, 30 * DAY, NIST_AAL1),
    ],
)
def test_a_preset_keeps_its_standard(
    preset: Policy, name: str, idle: timedelta, absolute: timedelta, standard: Standard
) -> None:
    assert preset.name == name
    assert (preset.idle_timeout, preset.absolute_timeout) == (idle, absolute)
    assert preset.standard is standard
    assert preset.deviation == ""
    assert preset.absolute_timeout <= standard.absolute_timeout
    assert standard.idle_timeout is None or preset.idle_timeout <= standard.idle_timeout


@pytest.mark.parametrize(
    ("standard", "name", "source", "idle", "absolute"),
    [
        (NIST_AAL1, "NIST AAL1", "SP 800-63B-4, section 2.1.3", None, 30 * DAY),
        (NIST_AAL2, "NIST AAL2", "SP 800-63B-4, section 2.2.3", HOUR, 24 * HOUR),
        (NIST_AAL3, "NIST AAL3", "SP 800-63B-4, section 2.3.3", 15 * MINUTE, 12 * HOUR),
        (
            OWASP_HIGH_VALUE,
            "OWASP, high-value application",
            "Session Management Cheat Sheet, Session Expiration",
            5 * MINUTE,
            8 * HOUR,
        ),
    ],
)
def test_a_standard_has_the_figures_of_its_source(
    standard: Standard, name: str, source: str, idle: timedelta | None, absolute: timedelta
) -> None:
    assert standard == Standard(name, source, idle_timeout=idle, absolute_timeout=absolute)


def test_the_strict_presets_are_stricter_in_more_than_timeouts() -> None:
    aal3, high_value = Policy.nist_aal3(), Policy.owasp_high_value()
    assert aal3.reauthentication_age == high_value.reauthentication_age == 5 * MINUTE
    assert high_value.renewal_interval == 5 * MINUTE
    assert high_value.session_limit == 5


def test_only_the_remembered_preset_outlives_the_browser() -> None:
    presets = [
        Policy.nist_aal1(),
        Policy.nist_aal2(),
        Policy.nist_aal3(),
        Policy.owasp_high_value(),
        Policy.remembered(),
    ]
    assert [preset.name for preset in presets if preset.persistent] == ["remembered"]
    assert Policy.remembered().renewal_interval == HOUR


# -- explain() -----------------------------------------------------------------


def test_a_policy_of_a_standard_explains_itself() -> None:
    assert Policy.owasp_high_value().explain().splitlines() == [
        "policy 'owasp-high-value'",
        (
            "  follows: OWASP, high-value application,"
            " Session Management Cheat Sheet, Session Expiration"
        ),
        "  ends after inactivity of: 0:05:00 (at most 0:05:00)",
        "    which may come early by: 0:00:30",
        "  ends in any case after: 4:00:00 (at most 8:00:00)",
        "  session id replaced: every 0:05:00; the previous id works 0:00:30 more",
        "  a retired id that is presented later: end",
        "  live sessions of one user: 5, then evict least recently seen",
        "  proof of identity counts as fresh for: 0:05:00",
        "  survives closing the browser: no",
        "  session data: at most 65536 bytes",
    ]


def test_a_standard_without_an_idle_timeout_is_explained_without_one() -> None:
    lines = Policy.remembered().explain().splitlines()
    assert lines[2] == "  ends after inactivity of: 14 days, 0:00:00"
    assert lines[4] == "  ends in any case after: 30 days, 0:00:00 (at most 30 days, 0:00:00)"
    assert "  survives closing the browser: yes" in lines


def test_a_policy_of_no_standard_with_every_reason_explains_itself() -> None:
    policy = a_policy(
        name="kiosks",
        renewal_interval=None,
        session_limit=5000,
        limit_reason="one user for all kiosks",
        on_limit=OnLimit.REJECT,
        on_reuse=OnReuse.REFUSE,
        deviation="kiosks are never idle",
    )
    assert policy.explain().splitlines() == [
        "policy 'kiosks'",
        "  follows: no standard",
        "  ends after inactivity of: 0:30:00",
        "    which may come early by: 0:01:00",
        "  ends in any case after: 12:00:00",
        "  session id replaced: never",
        "  a retired id that is presented later: refuse",
        "  live sessions of one user: 5000, then reject",
        "  proof of identity counts as fresh for: 0:15:00",
        "  survives closing the browser: no",
        "  session data: at most 65536 bytes",
        "  deviates because: kiosks are never idle",
        "  has a large session limit because: one user for all kiosks",
    ]


# -- Policies ------------------------------------------------------------------

DEFAULT = a_policy()
STAFF = replace(DEFAULT, name="staff")


def test_a_policy_is_found_by_its_name() -> None:
    policies = Policies(DEFAULT, STAFF)
    assert policies.get("default") is DEFAULT
    assert policies.get("staff") is STAFF
    assert policies.get("nobody's") is None


def test_two_policies_of_one_name_are_refused() -> None:
    with pytest.raises(InvalidPolicy, match="two policies share a name"):
        Policies(DEFAULT, STAFF, replace(STAFF, session_limit=1))


def test_a_policy_that_is_required_must_exist() -> None:
    policies = Policies(DEFAULT, STAFF)
    assert policies.require("staff") is STAFF
    with pytest.raises(InvalidPolicy, match="no policy is called 'admins'"):
        policies.require("admins")


def test_requiring_none_gives_the_default() -> None:
    assert Policies(STAFF, DEFAULT).require(None) is STAFF


def test_a_sign_in_gets_what_it_asks_for_unless_somebody_chooses() -> None:
    policies = Policies(DEFAULT, STAFF)
    assert policies.choose("u1", "admin", "staff") is STAFF
    assert policies.choose("u1", "admin", None) is DEFAULT


def test_choosing_takes_the_user_the_role_and_the_request_into_account() -> None:
    asked: list[tuple[str, str | None, str | None]] = []

    def choose(user_id: str, role: str | None, requested: str | None) -> str | None:
        asked.append((user_id, role, requested))
        return "staff" if role == "staff" else None

    policies = Policies(DEFAULT, STAFF, choose=choose)
    assert policies.choose("u1", "staff", "remembered") is STAFF
    assert policies.choose("u2", None, "staff") is DEFAULT
    assert asked == [("u1", "staff", "remembered"), ("u2", None, "staff")]


def test_choosing_a_policy_that_does_not_exist_is_an_error() -> None:
    policies = Policies(DEFAULT, choose=lambda _user_id, _role, _requested: "nobody's")
    with pytest.raises(InvalidPolicy, match="no policy is called"):
        policies.choose("u1", None, None)
