"""
The Argon2 hasher: real Argon2 at cheap parameters, work counted instead of timed.
"""

import asyncio
import queue
import re
import sys
import threading
import unicodedata
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from argon2 import Parameters, Type, extract_parameters
from argon2 import PasswordHasher as TheirHasher
from argon2.low_level import hash_secret
from hypothesis import assume, example, given
from hypothesis import strategies as st

from sessioncore.outcomes import Busy
from sessioncore.ports import AsyncPasswordHasher, PasswordCheck, PasswordHasher
from sessioncore_argon2 import (
    Argon2Parameters,
    Argon2PasswordHasher,
    AsyncArgon2PasswordHasher,
)
from sessioncore_argon2._hashing import Argon2, usable_cpus

SOON = 30.0
"""How long a test waits for what must happen before it fails."""

CHEAP = Argon2Parameters(memory_kib=64, passes=2, weaker_because="tests")
TODAY = (64, 2)

MATCH, OUTDATED, MISMATCH, BUSY = PasswordCheck
REAL = Argon2()


class Counting(Argon2):
    """
    Works for real and writes down what that cost: memory in KiB, and passes.
    """

    def __init__(self) -> None:
        self.done: list[tuple[int, int]] = []

    def make(self, secret: bytes, parameters: Parameters, /) -> str:
        made = super().make(secret, parameters)
        self._note(parameters)
        return made

    def matches(self, secret: bytes, encoded: str, /) -> bool:
        answer = super().matches(secret, encoded)
        self._note(extract_parameters(encoded))
        return answer

    def _note(self, parameters: Parameters) -> None:
        self.done.append((parameters.memory_cost, parameters.time_cost))

    def spent(self) -> int:
        return sum(memory_kib * passes for memory_kib, passes in self.done)


class Held(Argon2):
    """
    Starts to make a hash, says so, and goes on when it is let go.
    """

    def __init__(self) -> None:
        self.started = threading.Semaphore(0)
        self._go = threading.Event()
        self._lock = threading.Lock()
        self._now = 0
        self.most_at_once = 0
        self.calls = 0

    def make(self, secret: bytes, parameters: Parameters, /) -> str:
        with self._lock:
            self._now += 1
            self.calls += 1
            self.most_at_once = max(self.most_at_once, self._now)
        self.started.release()
        assert self._go.wait(SOON)
        with self._lock:
            self._now -= 1
        return ""

    def let_go(self) -> None:
        self._go.set()

    @contextmanager
    def let_go_at_the_end(self) -> Generator[None]:
        try:
            yield
        finally:
            self.let_go()


class Broken(Argon2):
    def make(self, secret: bytes, parameters: Parameters, /) -> str:
        raise ZeroDivisionError


def cheap(argon2: Argon2 = REAL, **settings: Any) -> Argon2PasswordHasher:
    return Argon2PasswordHasher(CHEAP, argon2=argon2, **settings)


def cheap_aio(argon2: Argon2 = REAL, **settings: Any) -> AsyncArgon2PasswordHasher:
    return AsyncArgon2PasswordHasher(CHEAP, argon2=argon2, **settings)


def encoded(password: str, memory_kib: int, passes: int, lanes: int = 1, **more: Any) -> str:
    return TheirHasher(passes, memory_kib, lanes, **more).hash(password)


def fresh(password: str) -> str:
    made = cheap().hash(password)
    assert isinstance(made, str)
    return made


# What matches


def test_both_are_password_hashers() -> None:
    threads: PasswordHasher = cheap()
    loop: AsyncPasswordHasher = cheap_aio()
    assert threads.verify(None, "pw") is asyncio.run(loop.verify(None, "pw")) is MISMATCH


def test_a_password_matches_its_own_hash_and_no_other() -> None:
    made = fresh("correct horse")
    assert cheap().verify(made, "correct horse") is MATCH
    assert cheap().verify(made, "correct horsf") is MISMATCH


def test_two_hashes_of_one_password_differ() -> None:
    assert fresh("same") != fresh("same")


def test_new_hashes_say_how_they_were_made() -> None:
    assert fresh("x").startswith("$argon2id$v=19$m=64,t=2,p=1$")


def test_a_match_made_with_other_parameters_is_outdated() -> None:
    for other in (
        encoded("pw", 32, 2),
        encoded("pw", 64, 3),
        encoded("pw", 128, 1),
        encoded("pw", 64, 2, lanes=2),
        encoded("pw", 64, 2, hash_len=16),
        encoded("pw", 64, 2, salt_len=8),
        encoded("pw", 64, 2, type=Type.I),
        hash_secret(b"pw", bytes(16), 2, 64, 1, 32, Type.ID, version=16).decode(),
    ):
        assert cheap().verify(other, "pw") is OUTDATED, other
        assert cheap().verify(other, "qw") is MISMATCH, other


def test_other_argon2_libraries_read_our_hashes() -> None:
    assert TheirHasher().verify(fresh("pässword"), "pässword")


@pytest.mark.parametrize("variant", list(Type))
@pytest.mark.parametrize("version", [16, 19])
def test_hashes_of_other_argon2_libraries_are_read(variant: Type, version: int) -> None:
    theirs = hash_secret(b"pw", b"saltsalt", 1, 64, 2, 24, variant, version).decode()
    assert cheap().verify(theirs, "pw") is OUTDATED
    assert cheap().verify(theirs, "qw") is MISMATCH


def test_a_hash_without_a_version_is_of_version_1_0() -> None:
    theirs = hash_secret(b"pw", b"saltsalt", 1, 64, 1, 32, Type.ID, 16).decode()
    assert cheap().verify(theirs.replace("$v=16", ""), "pw") is OUTDATED


# The password, exactly as given


@given(
    common=st.sampled_from([0, 1, 63, 64, 71, 72, 127, 254, 255, 256, 1023, 4000]),
    one=st.text(max_size=20),
    other=st.text(max_size=20),
)
def test_passwords_that_differ_late_are_different(common: int, one: str, other: str) -> None:
    assume(one != other)
    made = fresh("a" * common + one)
    assert cheap().verify(made, "a" * common + one) is MATCH
    assert cheap().verify(made, "a" * common + other) is MISMATCH


# An e with its accent beside it, Angstrom and Ohm signs, a syllable, a ligature:
# between them they change under each of the four forms.
@given(st.lists(st.sampled_from(["\u00e9", "e\u0301", "\u212b", "\u2126", "가", "ﬁ", "²", "a"])))
def test_passwords_that_differ_in_normalisation_only_are_different(pieces: list[str]) -> None:
    text = "".join(pieces)
    made = fresh(text)
    assert cheap().verify(made, text) is MATCH
    for other in (
        unicodedata.normalize("NFC", text),
        unicodedata.normalize("NFD", text),
        unicodedata.normalize("NFKC", text),
        unicodedata.normalize("NFKD", text),
    ):
        assert cheap().verify(made, other) is (MATCH if other == text else MISMATCH)


@pytest.mark.parametrize("other", ["", "pw ", " pw", "PW", "pw\0", "pw\0x", "\ufeffpw"])
def test_no_space_case_or_zero_byte_is_dropped(other: str) -> None:
    assert cheap().verify(fresh("pw"), other) is MISMATCH
    assert cheap().verify(fresh(other), "pw") is MISMATCH
    assert cheap().verify(fresh(other), other) is MATCH


UNACCEPTABLE = ["x" * 4097, "é" * 2049, "\ud800", "good\udfff"]


@pytest.mark.parametrize("password", ["x" * 4096, "é" * 2048])
def test_a_password_of_4096_bytes_is_accepted(password: str) -> None:
    assert cheap().verify(fresh(password), password) is MATCH


@pytest.mark.parametrize("password", UNACCEPTABLE)
def test_too_long_or_not_text_never_matches(password: str) -> None:
    for made in (fresh(""), fresh("x" * 4096), fresh("good")):
        assert cheap().verify(made, password) is MISMATCH


@pytest.mark.parametrize("password", UNACCEPTABLE)
def test_too_long_or_not_text_is_not_hashed_and_the_error_does_not_show_it(password: str) -> None:
    def in_a_loop(text: str) -> object:
        return asyncio.run(cheap_aio().hash(text))

    for attempt in (cheap().hash, in_a_loop):
        with pytest.raises(ValueError, match="at most 4096 bytes") as caught:
            attempt(password)
        assert password not in str(caught.value)
        # A UnicodeEncodeError behind it would carry the whole password.
        assert caught.value.__context__ is None


# Equal work

UNREADABLE = [
    "",
    "!",
    "x" * 200,
    "$2b$12$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW",
    "pbkdf2_sha256$1000000$salt$aGFzaA==",
    "$argon2id$v=19$m=64,t=2,p=1$c2FsdHNhbHQ",
    "$argon2id$v=19$m=64,t=2,p=1$c2FsdHNhbHQ$",
    "$argon2id$v=19$m=64,t=2,p=1$c2FsdHNhbHQ$" + "A" * 41,  # no length of base64
    "$argon2id$v=19$m=64,t=2,p=1$c2FsdHNhbHQ$" + "A" * 43 + "\n",
    "$argon2id$v=19$m=64,t=2,p=1$c2FsdA$" + "A" * 43,  # a salt of 4 bytes
    "$argon2id$v=19$t=2,m=64,p=1$c2FsdHNhbHQ$" + "A" * 43,
    "$argon2id$v=19$m=8,m=64,t=2,p=1$c2FsdHNhbHQ$" + "A" * 43,
    "$argon2id$v=19$m=64,t=2,p=1_0$c2FsdHNhbHQ$" + "A" * 43,
    "$argon2id$v=19$m=-64,t=-2,p=1$c2FsdHNhbHQ$" + "A" * 43,
    "$argon2x$v=19$m=64,t=2,p=1$c2FsdHNhbHQ$" + "A" * 43,
    "$argon2id$v=19$m=64,t=0,p=1$c2FsdHNhbHQ$" + "A" * 43,
    "$argon2id$v=19$m=-64,t=2,p=1$c2FsdHNhbHQ$" + "A" * 43,
    "$argon2id$v=19$m=٦٤,t=2,p=1$c2FsdHNhbHQ$" + "A" * 43,
    "$argon2id$v=19$m=15,t=2,p=2$c2FsdHNhbHQ$" + "A" * 43,  # less than 8 KiB per lane
    # Readable, and asking for more than the machine is willing to give.
    "$argon2id$v=19$m=4194304,t=1,p=1$c2FsdHNhbHQ$" + "A" * 43,
    "$argon2id$v=19$m=64,t=4294967295,p=1$c2FsdHNhbHQ$" + "A" * 43,
    "$argon2id$v=19$m=8192,t=1,p=255$c2FsdHNhbHQ$" + "A" * 43,
]


@pytest.mark.parametrize("stored", [None, *UNREADABLE])
def test_nobody_and_an_unreadable_hash_cost_what_a_mismatch_costs(stored: str | None) -> None:
    mismatch, unreadable = Counting(), Counting()
    assert cheap(mismatch).verify(fresh("pw"), "other") is MISMATCH
    assert cheap(unreadable).verify(stored, "pw") is MISMATCH
    assert unreadable.done == mismatch.done == [TODAY]


def test_what_argon2_takes_but_no_library_writes_does_not_match() -> None:
    for odd in (
        encoded("pw", 64, 2, hash_len=15),
        encoded("pw", 64, 2, hash_len=65),
        encoded("pw", 64, 2, salt_len=65),
        encoded("pw", 64, 2, hash_len=15) + "\0" + "A" * 23,
        fresh("pw") + "\0",
    ):
        assert TheirHasher().verify(odd, "pw")
        assert cheap().verify(odd, "pw") is MISMATCH, odd


def test_an_unusable_hash_is_not_matched_by_an_empty_password() -> None:
    for stored in (None, *UNREADABLE):
        assert cheap().verify(stored, "") is MISMATCH


@pytest.mark.parametrize("password", UNACCEPTABLE)
def test_an_unacceptable_password_costs_what_a_wrong_one_costs(password: str) -> None:
    for stored in (None, fresh("pw"), fresh(""), encoded("", 32, 1)):
        counting = Counting()
        assert cheap(counting).verify(stored, password) is MISMATCH
        assert counting.spent() == 64 * 2


@pytest.mark.parametrize(
    ("memory_kib", "passes"), [(32, 2), (64, 1), (8, 1), (16, 3), (40, 3), (100, 1)]
)
def test_a_mismatch_with_a_cheaper_hash_makes_up_for_the_missing_work(
    memory_kib: int, passes: int
) -> None:
    counting = Counting()
    assert cheap(counting).verify(encoded("pw", memory_kib, passes), "other") is MISMATCH
    assert counting.spent() == 64 * 2


def test_a_match_with_a_cheaper_hash_does_no_more_than_it_must() -> None:
    counting = Counting()
    assert cheap(counting).verify(encoded("pw", 32, 1), "pw") is OUTDATED
    assert counting.spent() == 32


costs = st.tuples(st.integers(8, 600), st.integers(1, 12))


@given(today=costs, stored=costs)
@example(today=(19_456, 2), stored=(12_288, 3))
@example(today=(12_288, 3), stored=(36_863, 1))
@example(today=(8, 12), stored=(8, 1))
@example(today=(8, 3), stored=(10, 1))
def test_making_up_is_exact_but_for_rounding_and_takes_no_more_memory(
    today: tuple[int, int], stored: tuple[int, int]
) -> None:
    counting = Counting()
    parameters = Argon2Parameters(memory_kib=today[0], passes=today[1], weaker_because="tests")
    hasher = Argon2PasswordHasher(parameters, argon2=counting)
    assert hasher.verify(encoded("pw", *stored), "other") is MISMATCH

    assert counting.done[0] == stored
    expected = max(today[0] * today[1], stored[0] * stored[1])
    # There is no Argon2 below 8 KiB; beyond that, half a KiB per pass is rounded.
    assert abs(counting.spent() - expected) < 8 + today[1]
    assert max(memory_kib for memory_kib, _ in counting.done) <= max(today[0], stored[0])


# The parameters


def test_the_default_is_what_owasp_recommends() -> None:
    made = Argon2PasswordHasher().hash("x")
    assert isinstance(made, str)
    assert made.startswith("$argon2id$v=19$m=19456,t=2,p=1$")


ASVS = [(46 * 1024, 1), (19 * 1024, 2), (12 * 1024, 3)]


@pytest.mark.parametrize(("memory_kib", "passes"), [*ASVS, (12 * 1024, 4), (2**18, 1)])
def test_the_table_of_the_asvs_is_accepted(memory_kib: int, passes: int) -> None:
    Argon2PasswordHasher(Argon2Parameters(memory_kib=memory_kib, passes=passes))


@pytest.mark.parametrize(
    ("memory_kib", "passes"),
    [*((memory - 1, passes) for memory, passes in ASVS), (9 * 1024, 4), (7 * 1024, 5), (8, 1)],
)
def test_less_than_the_table_needs_a_reason(memory_kib: int, passes: int) -> None:
    with pytest.raises(ValueError, match=re.escape("ASVS 5.0, appendix C")):
        Argon2Parameters(memory_kib=memory_kib, passes=passes)
    Argon2Parameters(memory_kib=memory_kib, passes=passes, weaker_because="tests")


@pytest.mark.parametrize("reason", ["", " "])
def test_a_reason_is_given_in_words(reason: str) -> None:
    with pytest.raises(ValueError, match="in words"):
        Argon2Parameters(memory_kib=8, passes=1, weaker_because=reason)


@pytest.mark.parametrize(
    "nonsense",
    [
        {"passes": 0},
        {"passes": 2**32},
        {"lanes": 0},
        {"lanes": 65},
        {"memory_kib": 7},
        {"memory_kib": 2**32},
        {"memory_kib": 31, "lanes": 4},
    ],
)
def test_what_argon2_cannot_do_is_refused_whatever_the_reason(nonsense: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="Argon2"):
        Argon2Parameters(**nonsense, weaker_because="tests")


@pytest.mark.parametrize("wrong", ["64", 64.0, None])
def test_parameters_are_whole_numbers(wrong: Any) -> None:
    with pytest.raises(TypeError):
        Argon2Parameters(memory_kib=wrong)


@pytest.mark.parametrize(
    ("parameters", "ceiling"),
    [
        (Argon2Parameters(memory_kib=2**18 + 1, passes=1), 2**18),
        (Argon2Parameters(memory_kib=2**18, passes=5), 2**18),
        (Argon2Parameters(), 19_455),
    ],
)
def test_what_could_not_be_read_back_is_refused(parameters: Argon2Parameters, ceiling: int) -> None:
    with pytest.raises(ValueError, match="raise memory_ceiling_kib"):
        Argon2PasswordHasher(parameters, memory_ceiling_kib=ceiling)


@pytest.mark.parametrize("bounds", [{"parallel": 0}, {"parallel": -1}, {"waiting": -1}])
def test_a_bound_that_makes_no_sense_is_refused(bounds: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="at least 1 works"):
        cheap(**bounds)


def test_by_default_every_usable_cpu_works_and_eight_callers_wait_for_each() -> None:
    hasher = cheap()
    assert hasher.parallel == usable_cpus() >= 1
    assert hasher.waiting == 8 * hasher.parallel


# No memory left


@contextmanager
def short_of_memory() -> Generator[None]:
    """
    Leave the process 64 MiB more than it has.
    """
    import resource  # noqa: PLC0415 - where there is none, these tests do not run

    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**26, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


needs_limits = pytest.mark.skipif(sys.platform != "linux", reason="Linux keeps to RLIMIT_AS")

MUCH = Argon2Parameters(memory_kib=2**18, passes=1)
MUCH_STORED = "$argon2id$v=19$m=262144,t=1,p=1$c2FsdHNhbHQ$" + "A" * 43


@needs_limits
def test_a_machine_without_memory_is_busy() -> None:
    hasher = Argon2PasswordHasher(MUCH, parallel=1, waiting=0)
    with short_of_memory():
        for stored in (None, "unreadable", MUCH_STORED):
            assert hasher.verify(stored, "pw") is BUSY
            assert cheap().verify(MUCH_STORED, "pw") is BUSY
        assert hasher.hash("pw") == Busy()


@needs_limits
def test_a_guess_that_was_compared_is_never_answered_busy() -> None:
    hasher = Argon2PasswordHasher(MUCH)
    made = fresh("pw")
    with short_of_memory():
        assert hasher.verify(made, "guess") is MISMATCH
        assert hasher.verify(made, "pw") is OUTDATED


# No more at once than the machine can bear: threads


def test_a_flood_is_answered_busy_at_once_and_the_rest_in_turn() -> None:
    held = Held()
    hasher = cheap(held, parallel=2, waiting=3)
    answers: queue.Queue[PasswordCheck] = queue.Queue()

    def sign_in() -> None:
        answers.put(hasher.verify(None, "pw"))

    with ThreadPoolExecutor(20) as callers, held.let_go_at_the_end():
        for _ in range(20):
            callers.submit(sign_in)
        # Nobody's work ends before these have their answer.
        assert [answers.get(timeout=SOON) for _ in range(15)] == [BUSY] * 15
        held.let_go()
        assert [answers.get(timeout=SOON) for _ in range(5)] == [MISMATCH] * 5

    assert held.most_at_once <= 2
    assert held.calls == 5


def test_hashing_and_verifying_share_one_bound() -> None:
    held = Held()
    hasher = cheap(held, parallel=1, waiting=0)
    with ThreadPoolExecutor(1) as caller, held.let_go_at_the_end():
        made = caller.submit(hasher.hash, "pw")
        assert held.started.acquire(timeout=SOON)
        assert hasher.verify(None, "pw") is BUSY
        assert hasher.hash("pw") == Busy()
        held.let_go()
        assert isinstance(made.result(SOON), str)
    assert hasher.verify(None, "pw") is MISMATCH


def test_work_that_fails_gives_its_place_back() -> None:
    hasher = cheap(Broken(), parallel=1, waiting=0)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            hasher.verify(None, "pw")


# No more at once than the machine can bear: asyncio


async def started(held: Held) -> None:
    assert await asyncio.to_thread(held.started.acquire, timeout=SOON)


def places_left(hasher: AsyncArgon2PasswordHasher) -> int:
    taken = 0
    while hasher._places.acquire(blocking=False):
        taken += 1
    hasher._places.release(taken)
    return taken


def test_the_asynchronous_hasher_says_the_same() -> None:
    async def main() -> None:
        async with cheap_aio() as hasher:
            made = await hasher.hash("pw")
            assert isinstance(made, str)
            assert await hasher.verify(made, "pw") is MATCH
            assert await hasher.verify(made, "qw") is MISMATCH
            assert await hasher.verify(None, "pw") is MISMATCH
            assert await hasher.verify(encoded("pw", 32, 2), "pw") is OUTDATED

    asyncio.run(main())


def test_a_flood_leaves_the_loop_free_to_answer_busy() -> None:
    held = Held()

    async def main() -> list[PasswordCheck]:
        async with cheap_aio(held, parallel=2, waiting=3) as hasher:
            with held.let_go_at_the_end():
                callers = [asyncio.ensure_future(hasher.verify(None, "pw")) for _ in range(20)]
                answers = asyncio.as_completed(callers, timeout=SOON)
                first = [await next(answers) for _ in range(15)]
                assert first == [BUSY] * 15
                held.let_go()
                return [await answer for answer in answers]

    assert asyncio.run(main()) == [MISMATCH] * 5
    assert held.most_at_once <= 2
    assert held.calls == 5


def test_a_cancelled_caller_keeps_its_place_until_its_work_has_ended() -> None:
    held = Held()

    async def main() -> None:
        hasher = cheap_aio(held, parallel=1, waiting=0)
        with held.let_go_at_the_end():
            caller = asyncio.ensure_future(hasher.verify(None, "pw"))
            await started(held)
            caller.cancel()
            with pytest.raises(asyncio.CancelledError):
                await caller
            assert await hasher.verify(None, "pw") is BUSY
        await hasher.close()
        assert places_left(hasher) == 1

    asyncio.run(main())


def test_a_caller_cancelled_while_waiting_frees_its_place_and_its_work_is_not_done() -> None:
    held = Held()

    async def main() -> None:
        hasher = cheap_aio(held, parallel=1, waiting=1)
        with held.let_go_at_the_end():
            working = asyncio.ensure_future(hasher.verify(None, "pw"))
            await started(held)
            waiting = asyncio.ensure_future(hasher.verify(None, "pw"))
            # The newcomer is refused after `waiting` has run, so that has its place.
            newcomer = asyncio.ensure_future(hasher.verify(None, "pw"))
            assert await newcomer is BUSY
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert places_left(hasher) == 1
            held.let_go()
            assert await working is MISMATCH
        await hasher.close()
        assert places_left(hasher) == 2
        assert held.calls == 1

    asyncio.run(main())


def test_asynchronous_work_that_fails_gives_its_place_back() -> None:
    async def main() -> None:
        hasher = cheap_aio(Broken(), parallel=1, waiting=1)
        with pytest.raises(ZeroDivisionError):
            await hasher.verify(None, "pw")
        await hasher.close()
        assert places_left(hasher) == 2

    asyncio.run(main())


def test_closing_waits_for_what_was_taken_and_takes_no_more() -> None:
    held = Held()

    async def main() -> None:
        hasher = cheap_aio(held, parallel=1, waiting=1)
        with held.let_go_at_the_end():
            taken = asyncio.ensure_future(hasher.verify(None, "pw"))
            await started(held)
            closing = asyncio.ensure_future(hasher.close())
            held.let_go()
            assert await taken is MISMATCH
            await closing
        await hasher.close()
        with pytest.raises(RuntimeError):
            await hasher.verify(None, "pw")
        assert places_left(hasher) == 2

    asyncio.run(main())


def test_one_hasher_serves_one_loop_after_another() -> None:
    hasher = cheap_aio()
    assert asyncio.run(hasher.verify(None, "pw")) is MISMATCH
    assert asyncio.run(hasher.verify(None, "pw")) is MISMATCH
    asyncio.run(hasher.close())
