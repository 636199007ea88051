"""
Sessions for Litestar: a plugin, and guards.

::

    app = Litestar(route_handlers, plugins=[SessionPlugin(auth, edge)])


    @get("/account", guards=[requires_sign_in])
    async def account(request_session: CurrentSession) -> Account:
        session = await request_session.require()
        ...
"""

from sessioncore_asgi import while_live
from sessioncore_litestar.guards import SessionGuard, requires_fresh_proof, requires_sign_in
from sessioncore_litestar.plugin import CurrentSession, SessionPlugin

__all__ = [
    "CurrentSession",
    "SessionGuard",
    "SessionPlugin",
    "requires_fresh_proof",
    "requires_sign_in",
    "while_live",
]
