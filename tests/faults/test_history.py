"""
Histories tell what happened, survive a kill, and hold no secret; files are searched.
"""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from faults.history import Journal, Verdict, named, read, until
from faults.leaks import check
from faults.synthetic import RULES
from sessioncore.session import Epoch, SessionId

AN_ID = SessionId(Epoch(b"e" * 16), b"slot 6", b"family 8", b"secret of 24 octets long")
PASSWORD = "pass of alice: 0123456789abcdef"


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    journal = Journal(tmp_path / "c0.jsonl")
    journal.write(line="rules", rules=RULES.to_json())
    return journal


def call(journal: Journal, number: int, at: int) -> None:
    journal.write(
        line="call", worker="c0.0", number=number, at=at, name="logout", given={"id": named(AN_ID)}
    )


def test_what_is_written_is_read(journal: Journal, tmp_path: Path) -> None:
    call(journal, 0, 5)
    journal.write(line="back", worker="c0.0", number=0, at=7, verdict="ok", got={"ended": True})
    journal.write(line="fault", kind="server killed", start=1, stop=2, down=True)
    history = read(tmp_path)
    (operation,) = history.operations
    assert (operation.call, operation.back, operation.verdict) == (5, 7, Verdict.OK)
    assert operation.presented == named(AN_ID)
    assert history.faults[0].down
    assert history.rules == RULES


def test_a_call_without_a_return_is_pending(journal: Journal, tmp_path: Path) -> None:
    call(journal, 0, 5)
    (operation,) = read(tmp_path).operations
    assert operation.verdict is Verdict.PENDING
    assert operation.end == float("inf")


def test_half_a_line_is_left_out(journal: Journal, tmp_path: Path) -> None:
    call(journal, 0, 5)
    with (tmp_path / "c0.jsonl").open("a") as file:
        file.write('{"line": "back", "worker"')
    assert len(read(tmp_path).operations) == 1


def test_operations_of_all_clients_are_in_the_order_of_their_calls(
    journal: Journal, tmp_path: Path
) -> None:
    other = Journal(tmp_path / "c1.jsonl")
    for number, at in enumerate((5, 9)):
        call(journal, number, at)
    call(other, 0, 7)
    assert [operation.call for operation in read(tmp_path).operations] == [5, 7, 9]


def test_who_had_not_returned_by_then_is_under_way(journal: Journal, tmp_path: Path) -> None:
    for number, at in enumerate((1, 5, 9)):
        call(journal, number, at)
        journal.write(
            line="back", worker="c0.0", number=number, at=at + 2, verdict="ok", got={"ended": True}
        )
    known = until(read(tmp_path), 6)
    assert [operation.verdict for operation in known.operations] == [Verdict.OK, Verdict.PENDING]


def test_renewal_gives_another_name_to_the_id_and_to_nothing_else() -> None:
    before, after = named(AN_ID), named(AN_ID.successor(b"s" * 16))
    assert before.id != after.id
    assert (before.life, before.place) == (after.life, after.place)


def found(folder: Path) -> set[str]:
    return {violation.sentence for violation in check([folder], [AN_ID.reveal()], [PASSWORD])}


OCTETS = base64.urlsafe_b64decode(AN_ID.reveal())


@pytest.mark.parametrize(
    "leak",
    [
        AN_ID.reveal().encode(),
        OCTETS,
        OCTETS[30:],
        OCTETS[22:30],
        OCTETS[30:].hex().encode(),
        OCTETS.hex().upper().encode(),
        base64.b64encode(OCTETS),
        base64.b64encode(b"x" + OCTETS[30:]),
        base64.b64encode(b"xy" + OCTETS[30:] + b"z"),
        PASSWORD.encode(),
        PASSWORD.encode().hex().encode(),
        base64.b64encode(PASSWORD.encode()),
    ],
)
@pytest.mark.parametrize("before", [b"", b"odd"])
def test_a_secret_is_found_however_it_is_spelled(
    leak: bytes, before: bytes, tmp_path: Path
) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "log").write_bytes(bytes(1000) + before + leak + b"\n")
    assert found(tmp_path)


def test_what_may_be_stored_is_none(journal: Journal, tmp_path: Path) -> None:
    call(journal, 0, 5)
    (tmp_path / "data").write_bytes(AN_ID.digest + AN_ID.family_digest + AN_ID.locator.slot)
    assert not found(tmp_path)
