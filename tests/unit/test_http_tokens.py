"""
The synchroniser token by itself; with a session around it, see test_http_exchange.py.
"""

from __future__ import annotations

import base64
import itertools
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessioncore import SessionId
from sessioncore.testing import SeededEntropy
from sessioncore_http import SynchronizerToken

TOKEN = SynchronizerToken()
MASK = bytes(range(32))

ENTROPY = SeededEntropy()


def an_id() -> SessionId:
    text = base64.urlsafe_b64encode(ENTROPY.draw(54)).decode()
    found = SessionId.parse(text)
    assert found is not None
    return found


def test_a_token_is_accepted_for_its_session() -> None:
    session_id = an_id()
    assert TOKEN.accepts(session_id, TOKEN.issued(session_id, MASK))


def test_another_session_s_token_is_refused() -> None:
    assert not TOKEN.accepts(an_id(), TOKEN.issued(an_id(), MASK))


def test_a_token_survives_every_renewal_and_rotation() -> None:
    session_id = an_id()
    token = TOKEN.issued(session_id, MASK)
    for successor in (
        session_id.successor(ENTROPY.draw(16)),
        session_id.rotated(ENTROPY.draw(24)),
        session_id.rotated(ENTROPY.draw(24)).successor(ENTROPY.draw(16)),
    ):
        assert successor != session_id
        assert TOKEN.accepts(successor, token)


def test_two_pages_of_a_session_have_tokens_with_nothing_in_common() -> None:
    session_id = an_id()
    one, other = (
        base64.urlsafe_b64decode(TOKEN.issued(session_id, ENTROPY.draw(32)) + "==")
        for _ in range(2)
    )
    assert one[:32] != other[:32]
    assert one[32:] != other[32:]
    assert TOKEN.accepts(session_id, base64.urlsafe_b64encode(one).decode().rstrip("="))
    assert TOKEN.accepts(session_id, base64.urlsafe_b64encode(other).decode().rstrip("="))


def test_a_token_with_any_bit_flipped_is_refused() -> None:
    session_id = an_id()
    octets = base64.urlsafe_b64decode(TOKEN.issued(session_id, MASK) + "==")
    for place, bit in itertools.product(range(64), range(8)):
        flipped = bytearray(octets)
        flipped[place] ^= 1 << bit
        text = base64.urlsafe_b64encode(flipped).decode().rstrip("=")
        assert not TOKEN.accepts(session_id, text)


def test_a_token_has_one_spelling() -> None:
    # The last character has four bits to spare.
    session_id = an_id()
    token = TOKEN.issued(session_id, MASK)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    accepted = [last for last in alphabet if TOKEN.accepts(session_id, token[:-1] + last)]
    assert accepted == [token[-1]]


SPOILT: list[Callable[[str], str]] = [
    lambda _: "",
    lambda token: token[:-1],
    lambda token: token + "A",
    lambda token: token + "==",
    lambda token: token + "\n",
    lambda token: " " + token,
    lambda token: token + ", " + token,
    lambda token: "\uff21" + token[1:],
    lambda token: token * 10_000,
]


@pytest.mark.parametrize("spoil", SPOILT)
def test_what_is_not_exactly_a_token_is_refused(spoil: Callable[[str], str]) -> None:
    session_id = an_id()
    assert not TOKEN.accepts(session_id, spoil(TOKEN.issued(session_id, MASK)))


def test_no_token_is_refused() -> None:
    assert not TOKEN.accepts(an_id(), None)


@given(st.text() | st.from_regex(r"[A-Za-z0-9_-]{85}[AQgw]", fullmatch=True))
def test_no_guess_is_accepted(guess: str) -> None:
    assert not TOKEN.accepts(an_id(), guess)


def test_a_mask_is_as_long_as_the_secret() -> None:
    with pytest.raises(ValueError, match=r"shorter|longer"):
        TOKEN.issued(an_id(), b"short")


def test_a_token_tells_nothing_of_the_session_id() -> None:
    session_id = an_id()
    token = TOKEN.issued(session_id, bytes(32))
    octets = base64.urlsafe_b64decode(token + "==")
    presented = base64.urlsafe_b64decode(session_id.reveal())
    pieces = {presented[at : at + 4] for at in range(len(presented) - 3)}
    assert not any(octets[at : at + 4] in pieces for at in range(len(octets) - 3))
