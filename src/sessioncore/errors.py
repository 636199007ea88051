"""
Failures: what went wrong with the machinery, or with the way it was called.

What can be expected of users and clients ("wrong password", "expired") is not
here: those are values, in :mod:`sessioncore.outcomes` (ADR-0015).
"""


class SessionCoreError(Exception):
    """
    The root of everything that sessioncore raises on purpose. Never raised itself.
    """


class StoreError(SessionCoreError):
    """
    A store could not do what it was asked. Never raised itself.
    """


class StoreUnavailable(StoreError):
    """
    The store did not take the call: nothing was written.

    Answer 503, never 401: an outage is not a logout. A time-out after a write
    was sent is not this but :class:`OutcomeUnknown`.
    """


class OutcomeUnknown(StoreError):
    """
    A write was sent and its answer never came: it may or may not have happened.

    Never report it as success. A write that was sent may even take effect later.
    """


class RevocationUnconfirmed(OutcomeUnknown):
    """
    What was ended is gone, but too few replicas have said so: a failover may bring it back.

    Raised only by stores that were asked to wait for replicas. Repeating asks
    again, and ends nothing twice.
    """


class CorruptRecord(StoreError):
    """
    What the store holds is unreadable, newer than this version, or contradicts itself.

    It is never treated as a live session.
    """


class PasswordChangedButSessionsLive(SessionCoreError):
    """
    The new password is in force, but the user's sessions could not be ended.

    Call ``logout_everywhere(user_id)`` until it returns: that is the repair.
    """


class InvalidPolicy(SessionCoreError, ValueError):
    """
    A policy contradicts itself, a standard that it claims, or a limit of the protocol.
    """


class InvalidData(SessionCoreError, ValueError):
    """
    A value is not JSON-shaped, or a key of session data is not acceptable text.
    """


class DataTooLarge(SessionCoreError, ValueError):
    """
    The change would take the session's data over its policy's limit; nothing was changed.
    """


class UnacceptablePassword(SessionCoreError, ValueError):
    """
    No hash can be made of this password: it is too long, or not text.
    """


class AttemptSpent(SessionCoreError):
    """
    The same sign-in attempt was established twice: a mistake in the calling code.
    """
