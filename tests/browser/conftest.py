"""
Browsers and sites for the tests of this folder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from playwright.sync_api import BrowserContext, Page

from browser.certificate import Certificate
from browser.chromium import Chromium
from browser.sites import Sites


@pytest.fixture(scope="session")
def certificate() -> Certificate:
    return Certificate()


@pytest.fixture(scope="module")
def chromium(certificate: Certificate) -> Iterator[Chromium]:
    # Not for the session: other modules of this process need an event loop of their own.
    with Chromium(certificate) as chromium:
        yield chromium


@pytest.fixture
def sites(certificate: Certificate) -> Iterator[Sites]:
    with Sites(certificate) as sites:
        yield sites


@pytest.fixture
def new_browser(chromium: Chromium, sites: Sites) -> Iterator[Callable[[], BrowserContext]]:
    # It needs no sites; but browsers hang up first, so that no server waits for them.
    with ExitStack() as stack:
        yield lambda: stack.enter_context(chromium.new_browser())


@pytest.fixture
def browser(new_browser: Callable[[], BrowserContext]) -> BrowserContext:
    return new_browser()


@pytest.fixture
def page(browser: BrowserContext) -> Page:
    return browser.new_page()
