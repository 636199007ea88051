"""
The tools of sessioncore.testing: its stand-ins, its races, its loop and its quotations.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

import sessioncore.testing
from sessioncore import ports
from sessioncore.events import SessionRenewed
from sessioncore.ports import (
    AsyncSessionStore,
    Clock,
    CredentialStore,
    Entropy,
    EventSink,
    SessionStore,
)
from sessioncore.testing import ManualClock, RecordingEvents, SeededEntropy
from sessioncore.testing.async_stores import LoopThread
from sessioncore.testing.race import race, race_of_two
from sessioncore.testing.strategies import DIFFICULT_TEXTS

TESTING = Path(sessioncore.testing.__file__).parent


# --- what is quoted -------------------------------------------------------------------


def one_line(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


MEANT_BY_LAW = {
    "credential": "credential_law",
    "async": "async_session_law",
    "session": "session_law",
}


def quotations() -> Iterator[tuple[str, str, str]]:
    """
    Every law that a clause names: the function it is quoted with, the operation, the sentence.
    """
    for path in sorted(TESTING.glob("*.py")):
        meant = next((name for part, name in MEANT_BY_LAW.items() if part in path.stem), "")
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                name = meant if node.func.id == "law" else node.func.id
                if name.endswith("_law"):
                    words = [ast.literal_eval(argument) for argument in node.args]
                    yield name, words[0] if len(words) == 2 else "", words[-1]


def docstring(name: str, operation: str) -> str:
    if name == "shared_law":
        return one_line(ports.__doc__ or "")
    port = {
        "session_law": SessionStore,
        "async_session_law": AsyncSessionStore,
        "credential_law": CredentialStore,
    }[name]
    return one_line(inspect.getdoc(getattr(port, operation) if operation else port) or "")


def test_every_law_that_a_clause_names_stands_in_the_port() -> None:
    missing = [
        (name, operation, sentence)
        for name, operation, sentence in quotations()
        if sentence not in docstring(name, operation)
    ]
    assert missing == []


def sentences(port: type, operation: str) -> list[str]:
    """
    What a port promises of one operation, but for its errors, which take a broken server.
    """
    text = (inspect.getdoc(getattr(port, operation)) or "").partition("Raises:")[0]
    text = re.sub(r"^(Args|Returns):$|^    \w+:(?= )", "", text, flags=re.MULTILINE)
    return re.findall(r"\S.*?[.;](?=\s|$)", one_line(text))


UNQUOTED = {
    # What a caller owes, or how to read the rest.
    "Whose epoch.",
    "The present.",
    "The hot path.",
    "The session as the caller last read it.",
    "Its successor, under the same locator, with a stamp of its own.",
    "The session, in the epoch in which it was opened.",
    "Its successor, whose locator names *old*'s epoch and a slot of its own;",
    "at least 1.",
    "Which.",
    "Usually the present.",
    "Delete a bounded batch of what nobody needs any more.",
    # What takes an unreadable record, a full server or a repeating driver: the
    # stores' own tests have them.
    "works on unreadable records too.",
    "works on unreadable records, and as a deletion even where memory is too full to write.",
    "After a repetition this is a lower bound.",
    "a lower bound after a repetition.",
}


@pytest.mark.parametrize("port", [SessionStore, CredentialStore])
def test_every_sentence_of_a_store_port_is_some_clause_s_law(port: type) -> None:
    quoted = {
        (operation, sentence)
        for name, operation, sentence in quotations()
        if name == ("session_law" if port is SessionStore else "credential_law")
    }
    operations = [name for name in vars(port) if not name.startswith("_")]
    forgotten = [
        (operation, sentence)
        for operation in operations
        for sentence in sentences(port, operation)
        if sentence not in UNQUOTED
        and not any(
            operation == quoted_operation and (quote in sentence or sentence in quote)
            for quoted_operation, quote in quoted
        )
    ]
    assert forgotten == []


# --- the stand-ins --------------------------------------------------------------------


def test_the_stand_ins_are_what_the_ports_ask_for() -> None:
    clock: Clock = ManualClock()
    entropy: Entropy = SeededEntropy()
    events: EventSink = RecordingEvents()
    assert clock.now().tzinfo is UTC
    assert len(entropy.draw(7)) == 7
    event = SessionRenewed(at=clock.now(), stamp="0" * 16, handle="h")
    events.emit(event)


def test_a_manual_clock_moves_only_when_it_is_told() -> None:
    clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
    assert clock.now() == clock.now()
    assert clock.advance(timedelta(minutes=1)) == datetime(2026, 1, 1, 0, 1, tzinfo=UTC)
    clock.advance(timedelta(minutes=-2))
    assert clock.now() == datetime(2025, 12, 31, 23, 59, tzinfo=UTC)


def test_a_manual_clock_starts_at_an_aware_instant() -> None:
    with pytest.raises(ValueError, match="aware"):
        ManualClock(datetime(2026, 1, 1))  # noqa: DTZ001


def test_seeded_entropy_repeats_itself() -> None:
    one, same, other = SeededEntropy(1), SeededEntropy(1), SeededEntropy(2)
    drawn = [one.draw(8), one.draw(8)]
    assert [same.draw(8), same.draw(8)] == drawn
    assert drawn[0] != drawn[1]
    assert other.draw(8) != drawn[0]


def test_seeded_entropy_draws_for_several_threads_what_it_draws_for_one() -> None:
    together, alone = SeededEntropy(), SeededEntropy()
    drawn = race([lambda: [together.draw(4) for _ in range(50)]] * 4)
    assert {each for draws in drawn for each in draws} == {alone.draw(4) for _ in range(200)}


def test_recorded_events_come_in_order() -> None:
    events = RecordingEvents()
    emitted = [
        SessionRenewed(at=datetime(2026, 1, 1, tzinfo=UTC), stamp=stamp, handle="h")
        for stamp in ("1", "2")
    ]
    for event in emitted:
        events.emit(event)
    assert events.events == emitted


def test_difficult_texts_differ() -> None:
    assert len(set(DIFFICULT_TEXTS)) == len(DIFFICULT_TEXTS)


# --- races ----------------------------------------------------------------------------


def test_racing_calls_are_made_at_once_and_answered_in_order() -> None:
    everybody = threading.Barrier(5)

    def call(number: int) -> int:
        everybody.wait(10)  # passes only if all five are under way
        return number

    assert race(partial(call, number) for number in range(5)) == [0, 1, 2, 3, 4]


def test_what_a_racing_call_raises_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        race_of_two(lambda: 1, lambda: 1 / 0)


# --- the loop -------------------------------------------------------------------------


async def current_task() -> asyncio.Task[object] | None:
    return asyncio.current_task()


def test_a_manager_is_entered_and_left_on_the_loop_in_one_task() -> None:
    tasks: list[asyncio.Task[object] | None] = []

    @asynccontextmanager
    async def managed() -> AsyncGenerator[str]:
        tasks.append(asyncio.current_task())
        yield "value"
        tasks.append(asyncio.current_task())

    with LoopThread() as loop, loop.entered(managed()) as value:
        assert value == "value"
        tasks.append(loop.call(current_task()))
    entered, called, left = tasks
    assert entered is left
    assert called not in {entered, None}


def test_a_manager_that_cannot_be_entered_says_why() -> None:
    @asynccontextmanager
    async def broken() -> AsyncGenerator[None]:
        raise ConnectionRefusedError
        yield

    with LoopThread() as loop, pytest.raises(ConnectionRefusedError), loop.entered(broken()):
        pass


def test_calls_of_several_threads_overlap_on_the_loop() -> None:
    everybody = asyncio.Barrier(3)

    async def call() -> None:
        async with asyncio.timeout(10):
            await everybody.wait()

    with LoopThread() as loop:
        race([lambda: loop.call(call())] * 3)


# --- for a foreign user ---------------------------------------------------------------

FOREIGN = """
from contextlib import nullcontext
from sessioncore.testing import SessionStoreContract
from sessioncore_memory import MemorySessionStore

class Broken(MemorySessionStore):
    def find(self, locator, /):
        return None

class TestBroken(SessionStoreContract):
    def new_store(self):
        return nullcontext(Broken())
"""


def test_a_failure_shows_the_law_and_what_was_compared(tmp_path: Path) -> None:
    (tmp_path / "test_foreign.py").write_text(FOREIGN)
    clause = "test_an_admitted_session_is_found_and_has_no_data"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-k", clause, "test_foreign.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "a law of sessioncore.ports.SessionStore.admit" in done.stdout
    assert "assert None == Session(" in done.stdout
