"""
The sessions that everything is measured with.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from sessioncore import AsyncAuthService, AuthService, LoggedIn, Policy
from sessioncore.session import Device

if TYPE_CHECKING:
    from sessioncore.session import Session

POLICY: Final = Policy(idle_timeout=timedelta(hours=2), absolute_timeout=timedelta(hours=12))
"""Nothing becomes due while it is measured, but where that is what is measured."""

AGENT: Final = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36"
    " (KHTML, like Gecko) Chrome/140.0.0.0 Sa"
)
"""A hundred characters."""

DEVICE: Final = Device("192.0.2.7", AGENT)


def signed_in(auth: AuthService, user_id: str = "user-12345") -> tuple[str, Session]:
    """
    Open a session, and return its cookie and its record.
    """
    attempt = auth.begin(user_id)
    outcome = auth.establish(attempt, methods=("pwd",), device=DEVICE)
    assert isinstance(outcome, LoggedIn)  # noqa: S101 - else nothing is measured
    return outcome.session_id.reveal(), outcome.session


async def signed_in_async(
    auth: AsyncAuthService, user_id: str = "user-12345"
) -> tuple[str, Session]:
    """
    Open a session, and return its cookie and its record.
    """
    attempt = await auth.begin(user_id)
    outcome = await auth.establish(attempt, methods=("pwd",), device=DEVICE)
    assert isinstance(outcome, LoggedIn)  # noqa: S101 - else nothing is measured
    return outcome.session_id.reveal(), outcome.session
