"""
One server for the ASGI applications of many tests.
"""

from __future__ import annotations

from typing import Any

from browser.sites import AsgiApplication, Site


class Stage:
    """
    A server on which one application after another is put.

    Uvicorn takes a fifth of a second to end, which is longer than most steps.
    """

    def __init__(self, site: Site) -> None:
        self.origin = site.origin
        self.app: AsgiApplication | None = None
        site.serve_asgi(self)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            assert self.app is not None
            await self.app(scope, receive, send)
            return
        for _ in ("startup", "shutdown"):
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
