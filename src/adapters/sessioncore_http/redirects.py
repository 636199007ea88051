"""
Where a browser goes after signing in: back to where it was stopped, and nowhere else.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

if TYPE_CHECKING:
    from sessioncore_http.head import RequestHead

LONGEST_TARGET: Final = 2_048
"""Characters; longer ones are left out of the address of the sign-in page."""

# One slash and then not another one, and no backslash, which browsers take for one:
# "//evil.example" and "/\evil.example" lead to another host. Spaces and control characters
# are cut out by browsers before they look, so "/\t/evil.example" does, too.
_SAFE_TARGET: Final = re.compile(r"/(?!/)[!-\[\]-~]*", re.ASCII)


def safe_target(target: str | None, default: str = "/") -> str:
    r"""
    Return *target* if it is a path of this site, and *default* if it is anything else.

    Against open redirects (CWE-601; OWASP Unvalidated Redirects Cheat Sheet): what
    ``next`` says came from the network.

    >>> safe_target("/orders?page=2")
    '/orders?page=2'
    >>> safe_target("//evil.example"), safe_target("/\\evil.example"), safe_target(None)
    ('/', '/', '/')
    """
    if target is None or len(target) > LONGEST_TARGET or _SAFE_TARGET.fullmatch(target) is None:
        return default
    return target


def with_next(path: str, head: RequestHead) -> str:
    """
    Return *path* with a query that says where to go on afterwards.

    Only a page that was asked for with GET can be gone back to.
    """
    if head.method not in {"GET", "HEAD"}:
        return path
    target = safe_target(head.target, "")
    if not target:
        return path
    return f"{path}{'&' if '?' in path else '?'}next={quote(target, safe='')}"
