"""
Sites for the tests of this folder.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from browser.certificate import Certificate
from browser.sites import Sites
from web.shop import Shop
from web.stage import Stage


@pytest.fixture(scope="session")
def certificate() -> Certificate:
    return Certificate()


@pytest.fixture
def sites(certificate: Certificate) -> Iterator[Sites]:
    with Sites(certificate) as sites:
        yield sites


@pytest.fixture(scope="class")
def stage(certificate: Certificate) -> Iterator[Stage]:
    with Sites(certificate) as sites:
        yield Stage(sites.at("http://127.0.0.1"))


@pytest.fixture
def shop() -> Iterator[Shop]:
    with Shop() as shop:
        yield shop
