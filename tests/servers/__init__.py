"""
Servers that tests start for themselves, as child processes, and stop again.
"""

from .proxy import Proxy, Weather
from .redis_server import RedisServer

__all__ = ["Proxy", "RedisServer", "Weather"]
