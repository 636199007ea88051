"""
Server-side sessions: a pure domain core, with stores as adapters.

Everything an application needs is here; everything a store's author needs is in
:mod:`sessioncore.ports` and :mod:`sessioncore.testing`.
"""

from sessioncore.aio import AsyncAuthService as AsyncAuthService
from sessioncore.attempt import Attempt as Attempt
from sessioncore.errors import AttemptSpent as AttemptSpent
from sessioncore.errors import CorruptRecord as CorruptRecord
from sessioncore.errors import DataTooLarge as DataTooLarge
from sessioncore.errors import InvalidData as InvalidData
from sessioncore.errors import InvalidPolicy as InvalidPolicy
from sessioncore.errors import OutcomeUnknown as OutcomeUnknown
from sessioncore.errors import (
    PasswordChangedButSessionsLive as PasswordChangedButSessionsLive,
)
from sessioncore.errors import SessionCoreError as SessionCoreError
from sessioncore.errors import StoreError as StoreError
from sessioncore.errors import StoreUnavailable as StoreUnavailable
from sessioncore.errors import UnacceptablePassword as UnacceptablePassword
from sessioncore.outcomes import Active as Active
from sessioncore.outcomes import AuthenticationOutcome as AuthenticationOutcome
from sessioncore.outcomes import Busy as Busy
from sessioncore.outcomes import DataChanged as DataChanged
from sessioncore.outcomes import DataRead as DataRead
from sessioncore.outcomes import DataTaken as DataTaken
from sessioncore.outcomes import EstablishOutcome as EstablishOutcome
from sessioncore.outcomes import Inactive as Inactive
from sessioncore.outcomes import InactiveReason as InactiveReason
from sessioncore.outcomes import Json as Json
from sessioncore.outcomes import LimitReached as LimitReached
from sessioncore.outcomes import LoggedIn as LoggedIn
from sessioncore.outcomes import LoggedOut as LoggedOut
from sessioncore.outcomes import LoggedOutEverywhere as LoggedOutEverywhere
from sessioncore.outcomes import LoginOutcome as LoginOutcome
from sessioncore.outcomes import NothingToTake as NothingToTake
from sessioncore.outcomes import PasswordChanged as PasswordChanged
from sessioncore.outcomes import PasswordChangeOutcome as PasswordChangeOutcome
from sessioncore.outcomes import ReauthenticationOutcome as ReauthenticationOutcome
from sessioncore.outcomes import Refused as Refused
from sessioncore.outcomes import Revoked as Revoked
from sessioncore.outcomes import Rotated as Rotated
from sessioncore.outcomes import RotationOutcome as RotationOutcome
from sessioncore.outcomes import SessionGone as SessionGone
from sessioncore.outcomes import Throttled as Throttled
from sessioncore.policy import OnLimit as OnLimit
from sessioncore.policy import OnReuse as OnReuse
from sessioncore.policy import Policies as Policies
from sessioncore.policy import Policy as Policy
from sessioncore.policy import Standard as Standard
from sessioncore.ports import Purged as Purged
from sessioncore.service import AuthService as AuthService
from sessioncore.session import Device as Device
from sessioncore.session import Locator as Locator
from sessioncore.session import Session as Session
from sessioncore.session import SessionId as SessionId
from sessioncore.session import Subject as Subject
from sessioncore.system import SystemClock as SystemClock
from sessioncore.throttle import AsyncInProcessLoginThrottle as AsyncInProcessLoginThrottle
from sessioncore.throttle import GuessLimit as GuessLimit
from sessioncore.throttle import InProcessLoginThrottle as InProcessLoginThrottle
