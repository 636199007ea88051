"""
Sessions for any ASGI application, WebSockets included.
"""

from sessioncore_asgi.middleware import SessionMiddleware
from sessioncore_asgi.scope import request_head, session_of
from sessioncore_asgi.websockets import (
    FORBIDDEN,
    TRY_AGAIN_LATER,
    UNAUTHORIZED,
    until_ended,
    while_live,
)

__all__ = [
    "FORBIDDEN",
    "TRY_AGAIN_LATER",
    "UNAUTHORIZED",
    "SessionMiddleware",
    "request_head",
    "session_of",
    "until_ended",
    "while_live",
]
