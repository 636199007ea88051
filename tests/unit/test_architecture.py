"""
What the domain may import and call (ADR-0003, ADR-0005), and the shape of its ports (ADR-0004).

The layers and the adapters' independence are import-linter's, in pyproject.toml.
"""

import ast
import inspect
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sessioncore import ports

DOMAIN = Path(__file__).parents[2] / "src" / "sessioncore"
SOURCES = [
    path
    for path in sorted(DOMAIN.rglob("*.py"))
    if path.relative_to(DOMAIN).parts[0] != "testing"  # needs pytest, by an extra
]
ALLOWED = sys.stdlib_module_names | {"sessioncore"}


def imported_by(source: str) -> Iterator[str]:
    """
    Return the top-level names that *source* imports, wherever in it, for types too.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "sessioncore" if node.level else (node.module or "").partition(".")[0]


def clocks_read_by(source: str) -> Iterator[str]:
    """
    Return the calls that ask Python's own classes for the time.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and node.attr in {"now", "utcnow", "today"}:
            owner = ast.unparse(node.value).rpartition(".")[2]
            if owner in {"datetime", "date"}:
                yield ast.unparse(node)


def test_the_domain_has_modules() -> None:
    assert {"decisions.py", "service.py", "system.py"} <= {path.name for path in SOURCES}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_the_domain_imports_the_standard_library_and_itself(path: Path) -> None:
    assert set(imported_by(path.read_text())) <= ALLOWED


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_only_the_system_module_reads_a_clock(path: Path) -> None:
    assert path.name == "system.py" or not list(clocks_read_by(path.read_text()))


@pytest.mark.parametrize(
    "source",
    [
        "import attrs",
        "import os, attrs.validators",
        "from attrs.validators import ge",
        "def late():\n    from attrs import frozen",
        "if TYPE_CHECKING:\n    import attrs",
        "try:\n    import attrs\nexcept ImportError:\n    attrs = None",
    ],
)
def test_an_import_is_found_wherever_it_hides(source: str) -> None:
    assert not set(imported_by(source)) <= ALLOWED


@pytest.mark.parametrize(
    "source",
    ["datetime.now(UTC)", "datetime.datetime.utcnow()", "date.today()", "f = datetime.now"],
)
def test_a_clock_is_found_however_it_is_read(source: str) -> None:
    assert list(clocks_read_by(source))


def test_an_injected_clock_is_no_offence() -> None:
    assert not list(clocks_read_by("self._clock.now()"))


# -- Ports ---------------------------------------------------------------------

SINGLE = {
    *("Clock", "Entropy", "EventSink", "RecallsSessions"),
    *("InvalidationFeed", "InvalidationListener"),
}
"""Ports that never wait, and those of a thread beside, so that one serves both services."""

TWICE = {"SessionStore", "CredentialStore", "PasswordHasher", "LoginThrottle"}
"""Ports that stand twice, for threads and for asyncio."""

OPERATIONS = {
    "open_epoch",
    "find",
    "replace",
    "roster",
    "admit",
    "restart",
    "delete",
    "delete_user",
    "read_data",
    "find_with_data",
    "write_data",
    "purge",
}
"""What a session store does. Nothing here overwrites unseen (ADR-0013)."""


def methods_of(port: type[Any]) -> dict[str, Callable[..., Any]]:
    """
    Return the public methods that *port* itself defines.
    """
    return {
        name: method
        for name, method in vars(port).items()
        if inspect.isfunction(method) and not name.startswith("_")
    }


def loose_parameters(port: type[Any]) -> list[str]:
    """
    Return the parameters by whose names somebody could call: adapters may name them as they like.
    """
    return [
        f"{name}({parameter.name})"
        for name, method in methods_of(port).items()
        for parameter in list(inspect.signature(method).parameters.values())[1:]
        if parameter.kind is not inspect.Parameter.POSITIONAL_ONLY
    ]


def drift(port: type[Any], twin: type[Any]) -> dict[str, list[Any]]:
    """
    Return the methods in which two ports differ, with the signatures of both.
    """
    here, there = (
        {name: inspect.signature(method) for name, method in methods_of(each).items()}
        for each in (port, twin)
    )
    return {
        name: [here.get(name), there.get(name)]
        for name in {**here, **there}
        if here.get(name) != there.get(name)
    }


def port_called(name: str) -> type[Any]:
    port: type[Any] = getattr(ports, name)
    return port


PROTOCOLS = {
    name: port
    for name, port in inspect.getmembers(ports, inspect.isclass)
    if port.__module__ == ports.__name__ and getattr(port, "_is_protocol", False)
}


def test_these_are_the_ports_and_each_is_a_protocol() -> None:
    assert set(PROTOCOLS) == SINGLE | TWICE | {f"Async{name}" for name in TWICE}


@pytest.mark.parametrize("port", PROTOCOLS.values(), ids=PROTOCOLS)
def test_a_port_is_called_by_position(port: type[Any]) -> None:
    assert methods_of(port)
    assert loose_parameters(port) == []


@pytest.mark.parametrize("name", ["SessionStore", "AsyncSessionStore"])
def test_a_session_store_has_these_operations_and_no_other(name: str) -> None:
    public = {each for each in vars(port_called(name)) if not each.startswith("_")}
    assert public == OPERATIONS


@pytest.mark.parametrize("name", sorted(TWICE))
def test_a_port_and_its_asynchronous_twin_have_the_same_methods(name: str) -> None:
    port, twin = port_called(name), port_called(f"Async{name}")
    assert drift(port, twin) == {}
    assert not any(map(inspect.iscoroutinefunction, methods_of(port).values()))
    assert all(map(inspect.iscoroutinefunction, methods_of(twin).values()))


@pytest.mark.parametrize("name", sorted(SINGLE | TWICE))
def test_every_method_of_a_port_says_what_it_owes(name: str) -> None:
    port = port_called(name)
    silent = [
        each for each, method in methods_of(port).items() if not (method.__doc__ or "").strip()
    ]
    assert silent == []
    assert (port.__doc__ or "").strip()


@pytest.mark.parametrize("name", sorted(TWICE))
def test_every_method_of_an_asynchronous_twin_names_the_one_whose_law_it_keeps(name: str) -> None:
    for each, method in methods_of(port_called(f"Async{name}")).items():
        assert f":meth:`{name}.{each}`" in (method.__doc__ or "")


class Exemplary:
    def find(self, key: str, /) -> None: ...


class Named:
    def find(self, key: str) -> None: ...


class KeywordOnly:
    def find(self, /, *, key: str) -> None: ...


class Renamed:
    def find(self, name: str, /) -> None: ...


class Wider:
    def find(self, key: str, /) -> None: ...
    def save(self, key: str, /) -> None: ...


def test_a_parameter_that_can_be_named_is_found() -> None:
    assert loose_parameters(Exemplary) == []
    assert loose_parameters(Named) == loose_parameters(KeywordOnly) == ["find(key)"]


@pytest.mark.parametrize("twin", [Named, KeywordOnly, Renamed, Wider])
def test_a_twin_that_differs_is_found(twin: type[Any]) -> None:
    assert drift(Exemplary, Exemplary) == {}
    assert len(drift(Exemplary, twin)) == 1
