"""
Sessions for Starlette: the ASGI middleware, and decorators for endpoints.

::

    app = Starlette(routes=routes, middleware=[Middleware(SessionMiddleware, auth=auth, edge=edge)])


    @login_required
    async def account(request: Request) -> Response:
        session = await session_of(request).require()
        ...

Exception handlers are not needed. What an endpoint lets through, Starlette hands on to the
middleware, which answers it.
"""

from sessioncore_asgi import SessionMiddleware, session_of, while_live
from sessioncore_starlette.decorators import fresh_login_required, login_required

__all__ = [
    "SessionMiddleware",
    "fresh_login_required",
    "login_required",
    "session_of",
    "while_live",
]
