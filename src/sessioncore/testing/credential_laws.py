"""
The laws of a credential store.
"""

from __future__ import annotations

import secrets
from functools import partial

from sessioncore.testing.harness import CredentialHarness
from sessioncore.testing.laws import credential_law as law
from sessioncore.testing.race import race, race_of_two

_HASH = "$argon2id$v=19$m=47104,t=1,p=1$c29tZSBzYWx0$"

_NOBODY = (
    "",
    " ",
    "nobody",
    "\x00",
    "alice\x00",
    "\x1b[2J",
    "\ud800",
    "alice\udfff",
    "\ufffe",
    "\U0010ffff",
    "x" * 10_000,
    "\N{ROCKET}" * 10_000,
    "' OR ''='",
    '"; DROP TABLE users; --',
    "\\",
    "%",
    "_____",
    "*",
    "{alice}",
    "%(alice)s",
    "$ne",
    "\r\n",
    "None",
)


class CredentialLaws(CredentialHarness):
    """
    Clauses about finding users, and reading and replacing their hashes.
    """

    def test_a_user_is_found_by_name(self) -> None:
        with self.fresh_store() as store:
            alice, bob = _new_id(), _new_id()
            self.with_user(store, alice, "alice", _new_hash())
            self.with_user(store, bob, "bob", _new_hash())
            for name, user_id in (("alice", alice), ("bob", bob)):
                account = store.find_user(name)
                broken = law("find_user", "Return whose name this is")
                assert account is not None, broken
                assert account.user_id == user_id, broken

    def test_nobody_is_found_under_a_name_that_nobody_has(self) -> None:
        with self.fresh_store() as store:
            self.with_user(store, _new_id(), "alice", _new_hash())
            for name in _NOBODY:
                assert store.find_user(name) is None, law(
                    "find_user", "``None`` if nobody has it, and for any text whatsoever."
                )

    def test_a_user_id_comes_back_to_the_byte(self) -> None:
        with self.fresh_store() as store:
            user_ids = (
                "A" * 255,
                " Alice ",
                "A\N{COMBINING ACUTE ACCENT}lice",
                "\N{ROCKET}" * 63,
                "o'hara%s{}\\",
                "00",
            )
            for number, user_id in enumerate(user_ids):
                encoded = _new_hash()
                self.with_user(store, user_id, f"name{number}", encoded)
                account = store.find_user(f"name{number}")
                broken = law("find_user", "whose ``user_id`` counts the attempts")
                assert account is not None, broken
                assert account.user_id == user_id, broken
                assert store.read_hash(account.user_id) == encoded, law(
                    "read_hash", "Return the user's password hash"
                )

    def test_there_is_no_hash_of_an_unknown_user(self) -> None:
        with self.fresh_store() as store:
            self.with_user(store, _new_id(), "alice", _new_hash())
            for user_id in (_new_id(), "x" * 255, "\N{ROCKET}", "%", "'"):
                assert store.read_hash(user_id) is None, law(
                    "read_hash", "or ``None`` if there is no such user or no password"
                )

    def test_there_is_no_hash_of_a_user_without_a_password(self) -> None:
        with self.fresh_store() as store:
            user_id = _new_id()
            self.with_user(store, user_id, "alice", None)
            assert store.find_user("alice") is not None, law(
                "find_user", "Return whose name this is"
            )
            broken = law("read_hash", "or ``None`` if there is no such user or no password")
            assert store.read_hash(user_id) is None, broken
            assert store.replace_hash(user_id, _new_hash(), _new_hash()) is False, broken
            assert store.read_hash(user_id) is None, broken

    def test_a_hash_is_replaced_if_it_is_the_one_that_was_verified(self) -> None:
        with self.fresh_store() as store:
            user_id, old, new = _new_id(), _new_hash(), _new_hash()
            bystander, other = _new_id(), _new_hash()
            self.with_user(store, user_id, "alice", old)
            self.with_user(store, bystander, "bob", other)
            broken = law(
                "replace_hash", "Write *new*, provided *verified* is still the stored hash."
            )
            assert store.replace_hash(user_id, old, new) is True, broken
            assert store.read_hash(user_id) == new, broken
            assert store.read_hash(bystander) == other, broken

    def test_another_hash_than_the_verified_one_stays(self) -> None:
        with self.fresh_store() as store:
            user_id, stored = _new_id(), _new_hash()
            self.with_user(store, user_id, "alice", stored)
            broken = law(
                "replace_hash", "Write *new*, provided *verified* is still the stored hash."
            )
            for verified in (_new_hash(), stored.swapcase(), stored + " ", stored[:-1], ""):
                assert store.replace_hash(user_id, verified, _new_hash()) is False, broken
                assert store.read_hash(user_id) == stored, broken

    def test_a_long_hash_is_kept_whole(self) -> None:
        with self.fresh_store() as store:
            user_id, old = _new_id(), _new_hash()
            long = _new_hash() + "x" * 150
            self.with_user(store, user_id, "alice", old)
            broken = law("replace_hash", "Whether *new* is what is now stored")
            assert store.replace_hash(user_id, old, long) is True, broken
            assert store.read_hash(user_id) == long, broken
            assert store.replace_hash(user_id, long[:-1], old) is False, broken

    def test_replacing_a_hash_recognises_its_repetition(self) -> None:
        with self.fresh_store() as store:
            user_id, old, new = _new_id(), _new_hash(), _new_hash()
            self.with_user(store, user_id, "alice", old)
            for _ in range(3):
                broken = law("replace_hash", "Whether *new* is what is now stored; safe to repeat.")
                assert store.replace_hash(user_id, old, new) is True, broken
                assert store.read_hash(user_id) == new, broken
            later = _new_hash()
            broken = law("replace_hash", "Whether *new* is what is now stored; safe to repeat.")
            assert store.replace_hash(user_id, new, later) is True, broken
            assert store.replace_hash(user_id, old, new) is False, broken
            assert store.read_hash(user_id) == later, broken

    def test_replacing_a_hash_makes_no_user(self) -> None:
        with self.fresh_store() as store:
            user_id = _new_id()
            broken = law("replace_hash", "Whether *new* is what is now stored")
            assert store.replace_hash(user_id, _new_hash(), _new_hash()) is False, broken
            assert store.read_hash(user_id) is None, broken

    def test_of_racing_replacements_of_a_hash_exactly_one_takes_effect(self) -> None:
        with self.fresh_store() as store, self.second_client(store) as other:
            clients = (store, other)
            user_id, stored = _new_id(), _new_hash()
            self.with_user(store, user_id, "alice", stored)
            for _ in self.rounds():
                new = [_new_hash() for _ in range(self.racers)]
                answers = race(
                    partial(clients[number % 2].replace_hash, user_id, stored, encoded)
                    for number, encoded in enumerate(new)
                )
                broken = law(
                    "replace_hash", "Of several parallel calls with the same *verified* at most one"
                )
                assert answers.count(True) == 1, broken
                stored = new[answers.index(True)]
                for client in clients:
                    assert client.read_hash(user_id) == stored, broken

    def test_a_written_hash_is_seen_by_every_client_at_once(self) -> None:
        with self.fresh_store() as store, self.second_client(store) as other:
            user_id, stored = _new_id(), _new_hash()
            self.with_user(store, user_id, "alice", stored)
            writer, reader = store, other
            broken = law("", "every later :meth:`read_hash` from any process sees it")
            for _ in range(10):
                # The reader has read before, so that a cache or an open snapshot would show.
                assert reader.read_hash(user_id) == stored, broken
                new = _new_hash()
                assert writer.replace_hash(user_id, stored, new), broken
                assert reader.read_hash(user_id) == new, broken
                stored, writer, reader = new, reader, writer

    def test_a_hash_is_read_whole_while_it_is_replaced(self) -> None:
        with self.fresh_store() as store, self.second_client(store) as other:
            user_id, stored = _new_id(), _new_hash()
            self.with_user(store, user_id, "alice", stored)
            for _ in self.rounds():
                new = _new_hash()
                _, read = race_of_two(
                    partial(store.replace_hash, user_id, stored, new),
                    partial(other.read_hash, user_id),
                )
                assert read in (stored, new), law("read_hash", "Return the user's password hash")
                stored = new


def _new_id() -> str:
    return f"id-{secrets.token_hex(8)}"


def _new_hash() -> str:
    return _HASH + secrets.token_urlsafe(32)
