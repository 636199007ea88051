"""
Server-side sessions: a pure domain core, with stores as adapters.

Everything an application needs is here; everything a store's author needs is in
:mod:`sessioncore.ports` and :mod:`sessioncore.testing`.
"""

from sessioncore.aio import AsyncAuthService
from sessioncore.attempt import Attempt
from sessioncore.errors import (
    AttemptSpent,
    CorruptRecord,
    DataTooLarge,
    InvalidData,
    InvalidPolicy,
    OutcomeUnknown,
    PasswordChangedButSessionsLive,
    RevocationUnconfirmed,
    SessionCoreError,
    StoreError,
    StoreUnavailable,
    UnacceptablePassword,
)
from sessioncore.outcomes import (
    Active,
    AuthenticationOutcome,
    Busy,
    DataChanged,
    DataRead,
    DataTaken,
    EstablishOutcome,
    Inactive,
    InactiveReason,
    Json,
    LimitReached,
    LoggedIn,
    LoggedOut,
    LoggedOutEverywhere,
    LoginOutcome,
    NothingToTake,
    PasswordChanged,
    PasswordChangeOutcome,
    ReauthenticationOutcome,
    Refused,
    Revoked,
    Rotated,
    RotationOutcome,
    SessionGone,
    Throttled,
)
from sessioncore.policy import OnLimit, OnReuse, Policies, Policy, Standard
from sessioncore.ports import Purged
from sessioncore.purger import AsyncPurger, Purger
from sessioncore.service import AuthService
from sessioncore.session import Device, Locator, Session, SessionId, Subject
from sessioncore.system import SystemClock
from sessioncore.throttle import AsyncInProcessLoginThrottle, GuessLimit, InProcessLoginThrottle

__all__ = [
    "Active",
    "AsyncAuthService",
    "AsyncInProcessLoginThrottle",
    "AsyncPurger",
    "Attempt",
    "AttemptSpent",
    "AuthService",
    "AuthenticationOutcome",
    "Busy",
    "CorruptRecord",
    "DataChanged",
    "DataRead",
    "DataTaken",
    "DataTooLarge",
    "Device",
    "EstablishOutcome",
    "GuessLimit",
    "InProcessLoginThrottle",
    "Inactive",
    "InactiveReason",
    "InvalidData",
    "InvalidPolicy",
    "Json",
    "LimitReached",
    "Locator",
    "LoggedIn",
    "LoggedOut",
    "LoggedOutEverywhere",
    "LoginOutcome",
    "NothingToTake",
    "OnLimit",
    "OnReuse",
    "OutcomeUnknown",
    "PasswordChangeOutcome",
    "PasswordChanged",
    "PasswordChangedButSessionsLive",
    "Policies",
    "Policy",
    "Purged",
    "Purger",
    "ReauthenticationOutcome",
    "Refused",
    "RevocationUnconfirmed",
    "Revoked",
    "Rotated",
    "RotationOutcome",
    "Session",
    "SessionCoreError",
    "SessionGone",
    "SessionId",
    "Standard",
    "StoreError",
    "StoreUnavailable",
    "Subject",
    "SystemClock",
    "Throttled",
    "UnacceptablePassword",
]
