"""
"Firefox on Linux": a user agent in words. Only ever shown, never relied on. Read it
if your list of devices should not show raw user agents.
"""

from __future__ import annotations

from typing import Final

# The first that matches wins: browsers name those whose pages they want to get,
# and so Edge also says Chrome, and Chrome also says Safari.
_BROWSERS: Final = (
    ("Edg/", "Edge"),
    ("EdgiOS/", "Edge"),
    ("EdgA/", "Edge"),
    ("OPR/", "Opera"),
    ("SamsungBrowser/", "Samsung Internet"),
    ("Firefox/", "Firefox"),
    ("FxiOS/", "Firefox"),
    ("CriOS/", "Chrome"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
)
_SYSTEMS: Final = (
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("CrOS", "ChromeOS"),
    ("Windows", "Windows"),
    ("Macintosh", "macOS"),
    ("Linux", "Linux"),
)


def described(user_agent: str | None) -> str:
    """
    Say in a few words what kind of browser this is; if in doubt, the text itself.

    >>> described("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0")
    'Firefox on Linux'
    >>> described("curl/8.5.0")
    'curl/8.5.0'
    """
    if not user_agent:
        return "Unknown device"
    browser = next((name for mark, name in _BROWSERS if mark in user_agent), None)
    system = next((name for mark, name in _SYSTEMS if mark in user_agent), None)
    # Browsers begin with "Mozilla/5.0", all of them; what does not is something else.
    if not user_agent.startswith("Mozilla/5.0 (") or browser is None or system is None:
        return user_agent
    return f"{browser} on {system}"
