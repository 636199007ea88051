"""
Servers that tests start for themselves, as child processes, and stop again.
"""

from .certificates import Certificates
from .local import IN_MEMORY
from .mariadb import MariaDbServer
from .postgresql import PostgresServer
from .proxy import Proxy, Weather
from .redis_cluster import RedisCluster
from .redis_server import RedisServer
from .sentinel import Watched

__all__ = [
    "IN_MEMORY",
    "Certificates",
    "MariaDbServer",
    "PostgresServer",
    "Proxy",
    "RedisCluster",
    "RedisServer",
    "Watched",
    "Weather",
]
