"""
Policies: how long sessions live, how often ids change, how many a user may have.

A policy is validated when it is made. Sessions record its *name*; its figures
are read anew at every decision, so a shorter timeout holds at once (ADR-0010).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from sessioncore.errors import InvalidPolicy

if TYPE_CHECKING:
    from collections.abc import Callable

_ZERO: Final = timedelta(0)
_MILLISECOND: Final = timedelta(milliseconds=1)

COOKIE_CEILING: Final = timedelta(days=400)
"""Browsers keep no cookie longer (RFC 6265bis, section 5.5)."""

UNREASONED_SESSION_LIMIT: Final = 1_000
"""A roster of this size is still read in milliseconds; a larger limit needs a reason."""


class OnLimit(enum.Enum):
    """
    What happens when a user who has all the sessions a policy allows signs in again.
    """

    REJECT = "reject"
    EVICT_OLDEST = "evict oldest"
    EVICT_LEAST_RECENTLY_SEEN = "evict least recently seen"


class OnReuse(enum.Enum):
    """
    What happens to a session whose retired id is presented.
    """

    END = "end"
    """It ends: somebody holds a copy."""

    REFUSE = "refuse"
    """The id is refused and the session goes on. For stores that may lose acknowledged
    writes, where a forgotten renewal looks like reuse."""


@dataclass(frozen=True, slots=True)
class Standard:
    """
    What a standard allows at most.
    """

    name: str
    source: str
    idle_timeout: timedelta | None
    absolute_timeout: timedelta


NIST_AAL1: Final = Standard(
    "NIST AAL1",
    "SP 800-63B-4, section 2.1.3",
    idle_timeout=None,
    absolute_timeout=timedelta(days=30),
)
NIST_AAL2: Final = Standard(
    "NIST AAL2",
    "SP 800-63B-4, section 2.2.3",
    idle_timeout=timedelta(hours=1),
    absolute_timeout=timedelta(hours=24),
)
NIST_AAL3: Final = Standard(
    "NIST AAL3",
    "SP 800-63B-4, section 2.3.3",
    idle_timeout=timedelta(minutes=15),
    absolute_timeout=timedelta(hours=12),
)
OWASP_HIGH_VALUE: Final = Standard(
    "OWASP, high-value application",
    "Session Management Cheat Sheet, Session Expiration",
    idle_timeout=timedelta(minutes=5),
    absolute_timeout=timedelta(hours=8),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """
    The rules for one kind of session.

    Raises:
        InvalidPolicy: Figures that contradict each other, the renewal protocol,
            or the standard that the policy claims to follow.
    """

    name: str = "default"
    """What sessions record. Renaming a policy ends its sessions."""

    idle_timeout: timedelta
    """A session ends when it was not seen for this long (OWASP, ASVS 5 7.3.1)."""

    absolute_timeout: timedelta
    """A session ends this long after it was opened, whatever happens (ASVS 5 7.3.2)."""

    touch_interval: timedelta = _ZERO
    """Being seen is recorded at most this often, so idle expiry may come this much early.
    Zero stands for the default: a tenth of the idle timeout, at most one minute."""

    renewal_interval: timedelta | None = timedelta(minutes=15)
    """How often a session id is replaced (OWASP "renewal timeout"); ``None`` for never."""

    grace: timedelta = timedelta(seconds=30)
    """How long the previous id is accepted after its successor was first used: more than
    the longest way of a request plus twice the clock tolerance."""

    clock_tolerance: timedelta = timedelta(seconds=5)
    """How far the clocks of the app's servers may be apart."""

    session_limit: int = 100
    """How many live sessions under this policy one user may have (ASVS 5 7.1.2)."""

    on_limit: OnLimit = OnLimit.EVICT_LEAST_RECENTLY_SEEN
    """What a further sign-in does."""

    limit_reason: str = ""
    """Why a limit above 1,000 is needed; such a roster takes long to read."""

    reauthentication_age: timedelta = timedelta(minutes=15)
    """How old a proof of identity may be for a sensitive operation (ASVS 5 7.5.1)."""

    on_reuse: OnReuse = OnReuse.END
    """What the presentation of a retired id does."""

    persistent: bool = False
    """Whether browsers keep the cookie when they close ("remember me")."""

    data_limit: int = 64 * 1024
    """Bytes that the keys and values of a session's data may take together."""

    standard: Standard | None = field(default=None, repr=False)
    """A standard whose bounds this policy keeps."""

    deviation: str = ""
    """Why the standard's bounds are not kept (ASVS 5 7.1.1 asks for a written reason)."""

    def __post_init__(self) -> None:
        if self.touch_interval == _ZERO:
            object.__setattr__(self, "touch_interval", self._default_touch_interval())
        self._check_name()
        self._check_durations()
        self._check_renewal()
        self._check_limits()
        self._check_standard()

    def _default_touch_interval(self) -> timedelta:
        tenth = self.idle_timeout // (10 * _MILLISECOND) * _MILLISECOND
        return max(_MILLISECOND, min(timedelta(minutes=1), tenth))

    def _check_name(self) -> None:
        if not (1 <= len(self.name) <= 64 and self.name.isascii() and self.name.isprintable()):
            raise InvalidPolicy("name: 1 to 64 printable ASCII characters")

    def _check_durations(self) -> None:
        durations = {
            "idle_timeout": self.idle_timeout,
            "absolute_timeout": self.absolute_timeout,
            "touch_interval": self.touch_interval,
            "grace": self.grace,
            "reauthentication_age": self.reauthentication_age,
        }
        if self.renewal_interval is not None:
            durations["renewal_interval"] = self.renewal_interval
        for name, duration in durations.items():
            if duration <= _ZERO or duration % _MILLISECOND:
                raise InvalidPolicy(f"{name}: a positive whole number of milliseconds")
        if self.clock_tolerance < _ZERO or self.clock_tolerance % _MILLISECOND:
            raise InvalidPolicy("clock_tolerance: a whole number of milliseconds, or zero")
        if self.idle_timeout > self.absolute_timeout:
            raise InvalidPolicy("idle_timeout exceeds absolute_timeout and would never be reached")
        if self.touch_interval * 2 > self.idle_timeout:
            # Else somebody who is active all the time could idle out.
            raise InvalidPolicy("touch_interval exceeds half of idle_timeout")
        if self.persistent and self.absolute_timeout > COOKIE_CEILING:
            raise InvalidPolicy("absolute_timeout: browsers keep no cookie for over 400 days")

    def _check_renewal(self) -> None:
        # Both bounds were found by exhaustive search of the protocol (ADR-0012).
        if self.renewal_interval is not None and self.renewal_interval < 2 * self.grace:
            raise InvalidPolicy("renewal_interval is less than twice the grace")
        if self.grace <= 2 * self.clock_tolerance:
            raise InvalidPolicy("grace does not exceed twice the clock tolerance")

    def _check_limits(self) -> None:
        if self.session_limit < 1:
            raise InvalidPolicy("session_limit: at least 1")
        if self.session_limit > UNREASONED_SESSION_LIMIT and not self.limit_reason:
            raise InvalidPolicy(
                f"session_limit: more than {UNREASONED_SESSION_LIMIT} needs a limit_reason"
            )
        if self.data_limit < 0:
            raise InvalidPolicy("data_limit: not negative")

    def _check_standard(self) -> None:
        if self.standard is None or self.deviation:
            return
        bound = self.standard.idle_timeout
        if bound is not None and self.idle_timeout > bound:
            raise InvalidPolicy(
                f"idle_timeout exceeds the {bound} of {self.standard.name}; give a deviation"
            )
        if self.absolute_timeout > self.standard.absolute_timeout:
            raise InvalidPolicy(
                f"absolute_timeout exceeds the {self.standard.absolute_timeout} of"
                f" {self.standard.name}; give a deviation"
            )

    @classmethod
    def nist_aal1(cls) -> Policy:
        """
        NIST SP 800-63B-4, AAL1: reauthenticate at least every 30 days.

        NIST asks for no idle timeout here; two weeks are this library's choice.
        """
        return cls(
            name="nist-aal1",
            idle_timeout=timedelta(days=14),
            absolute_timeout=timedelta(days=30),
            standard=NIST_AAL1,
        )

    @classmethod
    def nist_aal2(cls) -> Policy:
        """
        NIST SP 800-63B-4, AAL2: at most 24 hours, and one hour of inactivity.
        """
        return cls(
            name="nist-aal2",
            idle_timeout=timedelta(hours=1),
            absolute_timeout=timedelta(hours=24),
            standard=NIST_AAL2,
        )

    @classmethod
    def nist_aal3(cls) -> Policy:
        """
        NIST SP 800-63B-4, AAL3: at most 12 hours, and 15 minutes of inactivity.
        """
        return cls(
            name="nist-aal3",
            idle_timeout=timedelta(minutes=15),
            absolute_timeout=timedelta(hours=12),
            reauthentication_age=timedelta(minutes=5),
            standard=NIST_AAL3,
        )

    @classmethod
    def owasp_high_value(cls) -> Policy:
        """
        OWASP's shorter figures: 2 to 5 minutes idle, 4 to 8 hours in all.
        """
        return cls(
            name="owasp-high-value",
            idle_timeout=timedelta(minutes=5),
            absolute_timeout=timedelta(hours=4),
            renewal_interval=timedelta(minutes=5),
            session_limit=5,
            reauthentication_age=timedelta(minutes=5),
            standard=OWASP_HIGH_VALUE,
        )

    @classmethod
    def remembered(cls) -> Policy:
        """
        "Remember me", as a second policy beside the usual one.

        The bounds are NIST AAL1's. The cookie outlives the browser, which NIST
        SP 800-63B-4, section 5.1 advises against: offer it, do not impose it.
        """
        return cls(
            name="remembered",
            idle_timeout=timedelta(days=14),
            absolute_timeout=timedelta(days=30),
            renewal_interval=timedelta(hours=1),
            persistent=True,
            standard=NIST_AAL1,
        )

    def explain(self) -> str:
        """
        Say in words what this policy does, and where its bounds come from.

        For a security review: ASVS 5 7.1.1 and 7.1.2 ask for this to be documented.
        """
        bounds = self.standard
        idle = f" (at most {bounds.idle_timeout})" if bounds and bounds.idle_timeout else ""
        absolute = f" (at most {bounds.absolute_timeout})" if bounds else ""
        renewal = (
            "never"
            if self.renewal_interval is None
            else f"every {self.renewal_interval}; the previous id works {self.grace} more"
        )
        lines = [
            f"policy {self.name!r}",
            f"  follows: {bounds.name}, {bounds.source}" if bounds else "  follows: no standard",
            f"  ends after inactivity of: {self.idle_timeout}{idle}",
            f"    which may come early by: {self.touch_interval}",
            f"  ends in any case after: {self.absolute_timeout}{absolute}",
            f"  session id replaced: {renewal}",
            f"  a retired id that is presented later: {self.on_reuse.value}",
            f"  live sessions of one user: {self.session_limit}, then {self.on_limit.value}",
            f"  proof of identity counts as fresh for: {self.reauthentication_age}",
            f"  survives closing the browser: {'yes' if self.persistent else 'no'}",
            f"  session data: at most {self.data_limit} bytes",
        ]
        if self.deviation:
            lines.append(f"  deviates because: {self.deviation}")
        if self.limit_reason:
            lines.append(f"  has a large session limit because: {self.limit_reason}")
        return "\n".join(lines)


def _as_requested(_user_id: str, _role: str | None, requested: str | None) -> str | None:
    return requested


class Policies:
    """
    The policies of an application, and which of them a sign-in gets.

    Args:
        default: The policy of whoever gets no other.

        others: Further ones, each with a name of its own.

        choose: Called at every sign-in with the user id, the role that the
            credential store gave the account, and the name that the caller of
            ``login`` asked for; returns a policy's name, or ``None`` for the
            default. By default the caller gets what it asked for. It must not
            wait for anything.

    Raises:
        InvalidPolicy: Two policies share a name.
    """

    __slots__ = ("_by_name", "_choose", "default")

    def __init__(
        self,
        default: Policy,
        *others: Policy,
        choose: Callable[[str, str | None, str | None], str | None] = _as_requested,
    ) -> None:
        self.default = default
        self._by_name = {policy.name: policy for policy in (default, *others)}
        self._choose = choose
        if len(self._by_name) != 1 + len(others):
            raise InvalidPolicy("two policies share a name")

    def get(self, name: str) -> Policy | None:
        """
        Return the policy with that name, or ``None``: its sessions are dead.
        """
        return self._by_name.get(name)

    def require(self, name: str | None) -> Policy:
        """
        Return the policy with that name, or the default for ``None``.

        Raises:
            InvalidPolicy: There is none: a mistake in the calling code.
        """
        if name is None:
            return self.default
        if (policy := self._by_name.get(name)) is None:
            raise InvalidPolicy(f"no policy is called {name!r}")
        return policy

    def choose(self, user_id: str, role: str | None, requested: str | None) -> Policy:
        """
        Return the policy for one sign-in.

        Raises:
            InvalidPolicy: The ``choose`` function named one that does not exist.
        """
        return self.require(self._choose(user_id, role, requested))
