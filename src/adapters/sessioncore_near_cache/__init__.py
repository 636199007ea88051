"""
A near cache: sessions are recognised without asking the store, for as long as nothing is told.

For those who cannot afford the hop. It wraps any store, holds copies of records in
this process, and lets them answer while a feed proves that nothing changed. No
answer is older than a bound that you choose; what it costs is on one page,
docs/near-cache.md.
"""

from sessioncore_near_cache.aio import AsyncNearCache
from sessioncore_near_cache.copies import Statistics
from sessioncore_near_cache.store import NearCache

__all__ = ["AsyncNearCache", "NearCache", "Statistics"]
