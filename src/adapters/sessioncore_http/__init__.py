"""
Sessions over HTTP: cookies, cross-origin protection, sign-in flow. No framework, no I/O.

Applications use it through a middleware (:mod:`sessioncore_wsgi`, :mod:`sessioncore_asgi`)
or the package for their framework. Whoever writes another one starts with
:mod:`sessioncore_http.exchange`, where the rules stand.
"""

from sessioncore_http.aio import AsyncLegacySessions, AsyncRequestSession
from sessioncore_http.cookies import SameSite, SessionCookie
from sessioncore_http.edge import Edge
from sessioncore_http.errors import Interruption, ResponseStarted, UnsafeConfiguration
from sessioncore_http.head import RequestHead
from sessioncore_http.legacy import LegacySessions
from sessioncore_http.origins import CrossOriginGuard, CrossOriginRule, Origin
from sessioncore_http.problems import (
    Answer,
    Problem,
    Renderer,
    outage,
    problem_of,
    render,
    sign_in_required,
    try_again,
)
from sessioncore_http.redirects import safe_target
from sessioncore_http.request_session import RequestSession
from sessioncore_http.tokens import SynchronizerToken

__all__ = [
    "Answer",
    "AsyncLegacySessions",
    "AsyncRequestSession",
    "CrossOriginGuard",
    "CrossOriginRule",
    "Edge",
    "Interruption",
    "LegacySessions",
    "Origin",
    "Problem",
    "Renderer",
    "RequestHead",
    "RequestSession",
    "ResponseStarted",
    "SameSite",
    "SessionCookie",
    "SynchronizerToken",
    "UnsafeConfiguration",
    "outage",
    "problem_of",
    "render",
    "safe_target",
    "sign_in_required",
    "try_again",
]
