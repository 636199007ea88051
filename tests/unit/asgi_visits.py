"""
Requests to an ASGI application of this process.
"""

from __future__ import annotations

import asyncio

import httpx

from browser.sites import AsgiApplication

ORIGIN = "https://shop.example"


def ask(
    app: AsgiApplication,
    path: str,
    cookie: str | None = None,
    *,
    method: str = "GET",
    accept: str = "application/json",
) -> httpx.Response:
    """
    Send one request as a page of the site does; whatever the application raises is raised.
    """
    headers = {"Accept": accept, "Origin": ORIGIN}
    if cookie is not None:
        headers["Cookie"] = cookie

    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url=ORIGIN) as client:
            return await client.request(method, path, headers=headers)

    return asyncio.run(send())


def sign_in(app: AsgiApplication) -> str:
    """
    Sign the user in at ``/sign-in``, and return the cookie.
    """
    answer = ask(app, "/sign-in", method="POST")
    return answer.headers["Set-Cookie"].partition(";")[0]
