"""
The two services are one program, and so are the two request sessions and the two
near caches (ADR-0006).

Both are written by hand. Here their syntax trees are compared, class by class
and method by method, docstrings included, after dropping what asyncio adds:
``async`` and ``await``, the prefix ``Async`` of a name, ``Awaitable[...]`` around a
type, and the decorator ``shielded``. Imports and other helpers of the two modules may differ.
"""

import ast
import difflib
import re
from pathlib import Path
from typing import Any

import pytest

SOURCES = Path(__file__).parents[2] / "src"
DOMAIN = SOURCES / "sessioncore"
EDGE = SOURCES / "adapters" / "sessioncore_http"
NEAR_CACHE = SOURCES / "adapters" / "sessioncore_near_cache"

PREFIX = re.compile(r"\bAsync(?=[A-Z])")
ONLY_ASYNC = {"shielded"}


class WithoutAsync(ast.NodeTransformer):
    """
    Turns asynchronous code into what it would be without asyncio.
    """

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> Any:
        return self.visit(ast.FunctionDef(**vars(node)))

    def visit_AsyncWith(self, node: ast.AsyncWith) -> Any:
        return self.visit(ast.With(**vars(node)))

    def visit_AsyncFor(self, node: ast.AsyncFor) -> Any:
        return self.visit(ast.For(**vars(node)))

    def visit_comprehension(self, node: ast.comprehension) -> ast.AST:
        node.is_async = 0
        return self.generic_visit(node)

    def visit_Await(self, node: ast.Await) -> Any:
        return self.visit(node.value)

    def visit_Subscript(self, node: ast.Subscript) -> Any:
        if ast.unparse(node.value) == "Awaitable":
            return self.visit(node.slice)
        return self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.decorator_list = [
            decorator
            for decorator in node.decorator_list
            if ast.unparse(decorator) not in ONLY_ASYNC
        ]
        return self.generic_visit(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        node.name = PREFIX.sub("", node.name)
        return self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> ast.AST:
        node.id = PREFIX.sub("", node.id)
        return node

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        node.attr = PREFIX.sub("", node.attr)
        return self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        if isinstance(node.value, str):
            node.value = PREFIX.sub("", node.value)
        return node


def classes_of(source: str) -> dict[str, str]:
    """
    Return every class of *source*, without asyncio, as text in one form.
    """
    tree = WithoutAsync().visit(ast.parse(source))
    return {node.name: ast.unparse(node) for node in tree.body if isinstance(node, ast.ClassDef)}


def differences(threads: str, loop: str) -> str:
    """
    Return how the classes of two modules differ, as a readable diff; empty if they do not.
    """
    one, other = classes_of(threads), classes_of(loop)
    return "\n".join(
        line
        for name in {**one, **other}
        for line in difflib.unified_diff(
            one.get(name, "").splitlines(),
            other.get(name, "").splitlines(),
            f"{name} for threads",
            f"{name} for asyncio",
            n=5,
            lineterm="",
        )
    )


def test_the_two_services_are_one_program() -> None:
    threads = (DOMAIN / "service.py").read_text()
    loop = (DOMAIN / "aio.py").read_text()
    assert "AuthService" in classes_of(threads)
    found = differences(threads, loop)
    assert not found, f"service.py and aio.py have drifted apart:\n{found}"


def test_the_two_request_sessions_are_one_program() -> None:
    threads = (EDGE / "request_session.py").read_text()
    loop = (EDGE / "aio.py").read_text()
    # What asks the blocking libraries of old sessions in threads has no twin.
    assert set(classes_of(threads)) == {"RequestSession"}
    assert set(classes_of(loop)) == {"RequestSession", "LegacySessions"}
    # Each names its own service's module.
    loop = loop.replace("sessioncore.aio.Async", "sessioncore.service.Async")
    found = differences(threads, only(loop, "AsyncRequestSession"))
    assert not found, f"request_session.py and aio.py have drifted apart:\n{found}"


def test_the_two_near_caches_are_one_program() -> None:
    threads = (NEAR_CACHE / "store.py").read_text()
    loop = (NEAR_CACHE / "aio.py").read_text()
    assert set(classes_of(threads)) == {"NearCache"}
    loop = loop.replace("sessioncore.aio.Async", "sessioncore.service.Async")
    loop = loop.replace("store_for_tasks", "store_for_threads")
    # Whoever closes one waits for its thread, but no event loop does.
    loop = loop.replace("asyncio.to_thread(self._following.close)", "self._following.close()")
    found = differences(
        threads, loop.replace("__aenter__", "__enter__").replace("__aexit__", "__exit__")
    )
    assert not found, f"store.py and aio.py have drifted apart:\n{found}"


def only(source: str, name: str) -> str:
    """
    Return one class of *source*.
    """
    (found,) = (
        node
        for node in ast.parse(source).body
        if isinstance(node, ast.ClassDef) and node.name == name
    )
    return ast.unparse(found)


# The comparison itself

THREADS = '''
import time

class Service:
    """
    Signs in with :class:`Hasher`.
    """

    store: Store

    def login(self, name: str, retry: Callable[[], T], hasher: ports.Hasher) -> str | None:
        """
        Sign in.
        """
        with self.lock:
            for each in self.store.all():
                if self.matches(name, each):
                    return [one.name for one in each]
        return None
'''

LOOP = '''
import asyncio

def shielded(method): ...

class AsyncService:
    """
    Signs in with :class:`AsyncHasher`.
    """

    store: AsyncStore

    @shielded
    async def login(
        self, name: str, retry: Callable[[], Awaitable[T]], hasher: ports.AsyncHasher
    ) -> str | None:
        """
        Sign in.
        """
        async with self.lock:
            async for each in self.store.all():
                if await self.matches(name, each):
                    # A comment is not part of the program.
                    return [one.name async for one in each]
        return None
'''


def test_what_asyncio_adds_is_no_difference() -> None:
    assert differences(THREADS, LOOP) == ""


@pytest.mark.parametrize(
    ("here", "there"),
    [
        ("self.matches(name, each)", "self.matches(each, name)"),
        ("Sign in.", "Sign in again."),
        ("Signs in with", "Signs on with"),
        ("store: AsyncStore", "store: AsyncStock"),
        ("name: str,", "name: bytes,"),
        ("Awaitable[T]", "Awaitable[S]"),
        ("self.lock", "self.locks"),
        ("return None", "return"),
        ("@shielded", "@shielded\n    @cached"),
        ("async def login", "async def log_in"),
        ("class AsyncService", "class AsyncServices"),
        ("def shielded(method): ...", "class More: ..."),
    ],
)
def test_one_changed_word_is_a_difference(here: str, there: str) -> None:
    assert LOOP.count(here) == 1
    assert differences(THREADS, LOOP.replace(here, there))


def test_a_difference_is_shown_with_both_versions() -> None:
    found = differences(THREADS, LOOP.replace("await self.matches(name, each)", "name in each"))
    assert "-                if self.matches(name, each):" in found
    assert "+                if name in each:" in found


def test_a_method_that_only_one_has_is_a_difference() -> None:
    assert differences(THREADS, LOOP + "\n    async def more(self): ...\n")
