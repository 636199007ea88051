"""
Prints, after the contract suite has run, which store passed it with which client.

Every class that runs the suite says what it stands for::

    @pytest.mark.store("PostgreSQL", "psycopg")
    class TestPsycopg(SessionStoreContract): ...
"""

from __future__ import annotations

import shutil
from collections import Counter
from importlib.metadata import version
from typing import TYPE_CHECKING, Final, NamedTuple

import pytest

from sessioncore.testing import (
    AsyncCredentialStoreContract,
    AsyncSessionStoreContract,
    CredentialStoreContract,
    SessionStoreContract,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

SUITES: Final[dict[type, tuple[str, str]]] = {
    SessionStoreContract: ("threads", "sessions"),
    AsyncSessionStoreContract: ("asyncio", "sessions"),
    CredentialStoreContract: ("threads", "credentials"),
    AsyncCredentialStoreContract: ("asyncio", "credentials"),
}
NO_CLIENT: Final = "-"
_PROPERTY: Final = "contract"
_HEADINGS: Final = ("store", "client", "calls", "sessions", "credentials")


class Row(NamedTuple):
    """
    What one line of the table is about.
    """

    store: str
    client: str
    calls: str


class Result(NamedTuple):
    """
    What became of one clause.
    """

    row: Row
    suite: str
    passed: bool


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "store(name, client): which store, by which client library, a class of the contract"
        " suite is about; the client is a distribution, or the name of a standard module",
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        owner: type | None = getattr(item, "cls", None)
        found = [SUITES[base] for base in SUITES if owner and issubclass(owner, base)]
        mark = item.get_closest_marker("store")
        if found and mark is None:
            raise pytest.UsageError(f"{item.nodeid}: of which store? Mark its class")
        if found and mark is not None:
            item.user_properties.append((_PROPERTY, "\n".join((*mark.args, *found[0]))))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [
        report
        for outcome in ("passed", "failed", "error", "skipped", "xfailed")
        for report in terminalreporter.stats.get(outcome, ())
        if isinstance(report, pytest.TestReport)
    ]
    results: list[Result] = []
    for report in reports:
        for name, value in report.user_properties:
            if name == _PROPERTY:
                store, client, calls, suite = str(value).split("\n")
                results.append(Result(Row(store, client, calls), suite, report.passed))
    if results:
        terminalreporter.section("the contract: clauses passed")
        for line in table(results):
            terminalreporter.line(line)
        if shutil.which("valkey-server") is None:
            terminalreporter.line("Nothing is said of Valkey: there is no valkey-server here.")


def table(results: Iterable[Result]) -> list[str]:
    """
    Lay out the results, a line for each store, client and way of calling.
    """
    passed: Counter[tuple[Row, str]] = Counter()
    failed: Counter[tuple[Row, str]] = Counter()
    rows: dict[Row, None] = {}
    for result in results:
        rows[result.row] = None
        (passed if result.passed else failed)[result.row, result.suite] += 1

    def cell(row: Row, suite: str) -> str:
        good, bad = passed[row, suite], failed[row, suite]
        if bad:
            return f"{bad} of {good + bad} FAILED"
        return f"all {good}" if good else "-"

    lines = [
        (
            row.store,
            _versioned(row.client),
            row.calls,
            cell(row, "sessions"),
            cell(row, _HEADINGS[4]),
        )
        for row in sorted(rows)
    ]
    widths = [max(map(len, column)) for column in zip(_HEADINGS, *lines, strict=True)]
    return [
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in (_HEADINGS, tuple("-" * width for width in widths), *lines)
    ]


def _versioned(client: str) -> str:
    if client in (NO_CLIENT, "sqlite3"):
        return client
    return f"{client} {version(client)}"
