"""
Stores that keep everything in this process's memory.

For tests, for small services of one process, and to be read: the contract that
every store owes is nowhere shorter than here. Everything is lost when the
process ends, and a second process would have sessions of its own.
"""

from sessioncore_memory.credentials import AsyncMemoryCredentialStore, MemoryCredentialStore
from sessioncore_memory.sessions import AsyncMemorySessionStore, MemorySessionStore

__all__ = [
    "AsyncMemoryCredentialStore",
    "AsyncMemorySessionStore",
    "MemoryCredentialStore",
    "MemorySessionStore",
]
