"""
The machine's own Chromium, without a window and without a network.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final, Self

import playwright.sync_api as playwright

from servers.local import PATIENCE_SECONDS

if TYPE_CHECKING:
    from types import TracebackType

    from browser.certificate import Certificate

PROGRAMS: Final = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)
"""Where Chromium may be; the first that is there is taken."""

STARTING_SECONDS: Final = 60.0
"""The first start of a machine reads 300 megabytes from its disk."""

RULES: Final = (
    "MAP *.test 127.0.0.1",
    "MAP localhost 127.0.0.1",
    "MAP * ~NOTFOUND",
    "EXCLUDE 127.0.0.1",
)
"""
How names become addresses: those of the tests are this machine, and others do not exist.
So nothing is looked up, and nothing waits for a network, be there one or not.
"""

ARGUMENTS: Final = (
    "--disable-quic",
    f"--host-resolver-rules={', '.join(RULES)}",
)
"""Beside those of Playwright, which switch off whatever calls home."""

UNWANTED: Final = (
    # What a page shows after "back" is half of what a logout is about.
    "--disable-back-forward-cache",
)
"""Arguments of Playwright that would make this browser unlike those of users."""


class Chromium:
    """
    One process of Chromium, with its files in temporary folders.

    Playwright keeps its event loop in the thread that uses it: until this is left,
    nothing else in that thread can run one (``asyncio.run`` refuses).

    Args:
        certificate: What sites show over HTTPS.
    """

    def __init__(self, certificate: Certificate) -> None:
        self._certificate = certificate
        self._stack = ExitStack()
        self._process: playwright.Browser | None = None
        self.home = ""
        """A folder for what Chromium keeps beside its profile: reports, settings, sockets."""

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.home = stack.enter_context(
                tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True)
            )
            driver = stack.enter_context(playwright.sync_playwright())
            self._process = stack.enter_context(_started(driver, self.home, self._certificate))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process = None
        self._stack.close()

    @property
    def process(self) -> playwright.Browser:
        """
        The running Chromium, in Playwright's words a browser.
        """
        assert self._process is not None, "Chromium does not run"
        return self._process

    def new_browser(self) -> playwright.BrowserContext:
        """
        A browser with cookies, storage, cache and connections of its own.

        It is in the same process as the others, but nothing can tell.
        """
        browser = self.process.new_context()
        browser.set_default_timeout(PATIENCE_SECONDS * 1000)
        return browser


def _started(
    driver: playwright.Playwright, home: str, certificate: Certificate
) -> playwright.Browser:
    known_by = f"--ignore-certificate-errors-spki-list={certificate.public_key_digest}"
    folders = ("HOME", "TMPDIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME")
    is_root = os.geteuid() == 0
    try:
        return driver.chromium.launch(
            executable_path=program(),
            env={**os.environ, **dict.fromkeys(folders, home)},
            # Chromium refuses to run as root within its sandbox.
            chromium_sandbox=not is_root,
            args=[*ARGUMENTS, known_by],
            ignore_default_args=UNWANTED,
            timeout=STARTING_SECONDS * 1000,
        )
    except playwright.Error as error:
        if not is_root:
            error.add_note(
                "If it misses a sandbox: that needs user namespaces, or Debian's chromium-sandbox."
            )
        raise


def program() -> str:
    """
    Where Chromium is; says how to get it if it is not there.
    """
    for name in PROGRAMS:
        if path := shutil.which(name):
            return path
    raise RuntimeError("Chromium is not installed; on Debian: apt-get install chromium")


def cookies_for(page: playwright.Page) -> dict[str, dict[str, Any]]:
    """
    The cookies that would be sent for the address of *page*, as the browser's own tools
    show them, by name.

    Playwright's ``cookies()`` says ``Lax`` of a cookie that has no ``SameSite``, too.
    """
    session: Any = page.context.new_cdp_session(page)  # not completely typed
    cookies: list[dict[str, Any]] = session.send("Network.getCookies")["cookies"]
    session.detach()
    return {cookie["name"]: cookie for cookie in cookies}


def go_back(page: playwright.Page) -> None:
    """
    Press the button "back".

    A page that the browser has kept as it was is shown without being loaded;
    Playwright's ``go_back()`` would wait for that.
    """
    page.go_back(wait_until="commit")
