"""
Who may read an answer that the edge itself makes: our own pages and those of trusted origins.

CORS headers are the application's business, and a library's that it uses inside of the
middleware. But what the middleware answers never passes there, and a front end on another
origin would see a network error where it has to see "please sign in" or "try again".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sessioncore_http.head import RequestHead
    from sessioncore_http.origins import CrossOriginGuard


def readable_across_origins(
    headers: Iterable[tuple[str, str]], head: RequestHead, guard: CrossOriginGuard
) -> list[tuple[str, str]]:
    """
    Return *headers* with those that let a page of a trusted origin read the answer.

    For middlewares, around what :attr:`Edge.render` returns (Fetch, section 3.2.3).

    Args:
        headers: The answer's.

        head: The request.

        guard: Says who is trusted.
    """
    if head.origin is None or head.fetch_site == "same-origin" or not guard.trusts(head.origin):
        return [*headers]
    return [
        *headers,
        ("Access-Control-Allow-Origin", head.origin),
        ("Access-Control-Allow-Credentials", "true"),
        ("Access-Control-Expose-Headers", "Retry-After"),
        ("Vary", "Origin"),
    ]
