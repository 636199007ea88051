"""
What OpenAPI documents say of refusals and outages.
"""

from __future__ import annotations

from typing import Any, Final

_SCHEMA: Final = {
    "type": "object",
    "required": ["status", "code", "title", "detail"],
    "properties": {
        "status": {"type": "integer"},
        "code": {"type": "string", "description": "For programs; never changes its meaning."},
        "title": {"type": "string"},
        "detail": {"type": "string"},
    },
}


def _problem(description: str) -> dict[str, Any]:
    content = {"application/problem+json": {"schema": _SCHEMA}}
    return {"description": description, "content": content}


PROBLEMS: Final[dict[int | str, dict[str, Any]]] = {
    401: _problem("Nobody is signed in, or the proof of identity is too old."),
    403: _problem("Another site's page caused the request."),
    503: _problem("Sessions are not available; nobody was signed out."),
}
"""For ``responses=`` of a router or an operation: problem details (RFC 9457)."""
