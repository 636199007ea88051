"""
Sessions for FastAPI: the ASGI middleware, and dependencies with types.

::

    app.add_middleware(SessionMiddleware, auth=auth, edge=edge)


    @app.get("/account")
    async def account(session: SignedIn) -> Account: ...


    @app.post("/payments")
    async def pay(session: Annotated[Session, fresh(timedelta(minutes=5))]) -> Receipt: ...

Exception handlers are not needed. What an operation or a dependency lets through, FastAPI
hands on to the middleware, which answers it.
"""

from sessioncore_asgi import SessionMiddleware, session_of, while_live
from sessioncore_fastapi.dependencies import (
    CurrentSession,
    FreshlySignedIn,
    SignedIn,
    fresh,
    signed_in,
)
from sessioncore_fastapi.responses import PROBLEMS

__all__ = [
    "PROBLEMS",
    "CurrentSession",
    "FreshlySignedIn",
    "SessionMiddleware",
    "SignedIn",
    "fresh",
    "session_of",
    "signed_in",
    "while_live",
]
