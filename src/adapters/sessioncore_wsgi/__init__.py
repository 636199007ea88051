"""
Sessions for any WSGI application (PEP 3333).
"""

from sessioncore_wsgi.environ import request_head, session_of
from sessioncore_wsgi.middleware import SessionMiddleware

__all__ = ["SessionMiddleware", "request_head", "session_of"]
