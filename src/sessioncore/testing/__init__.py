"""
The contract that every store owes, as tests to run against one's own store.

Write a subclass with one method, and pytest does the rest::

    from sessioncore.testing import SessionStoreContract


    class TestAcmeSessionStore(SessionStoreContract):
        def new_store(self):
            return AcmeSessionStore.connect("acme://localhost")

Besides the contracts there are the stand-ins for a service's surroundings: a
clock to set, entropy that repeats itself, a sink that remembers. For tests
only; needs the extra ``testing``.
"""

import pytest

# Before the modules are imported: their assertions are what a store's author reads.
pytest.register_assert_rewrite(
    "sessioncore.testing.async_laws",
    "sessioncore.testing.credential_laws",
    "sessioncore.testing.race",
    "sessioncore.testing.records",
    "sessioncore.testing.session_laws",
    "sessioncore.testing.session_properties",
    "sessioncore.testing.session_races",
)

from sessioncore.testing.contracts import (  # noqa: E402
    AsyncCredentialStoreContract,
    AsyncSessionStoreContract,
    CredentialStoreContract,
    SessionStoreContract,
)
from sessioncore.testing.surroundings import (  # noqa: E402
    ManualClock,
    RecordingEvents,
    SeededEntropy,
)

__all__ = [
    "AsyncCredentialStoreContract",
    "AsyncSessionStoreContract",
    "CredentialStoreContract",
    "ManualClock",
    "RecordingEvents",
    "SeededEntropy",
    "SessionStoreContract",
]
