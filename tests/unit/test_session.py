"""
What a session is, and the guard around the secret that stands for it.
"""

import base64
import copy
import dataclasses
import hashlib
import hmac
import json
import logging
import pickle
import re
import string
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from sessioncore import Active, Device, Locator, Session, SessionId, Subject
from sessioncore.session import Epoch, Pending, Roster
from sessioncore.testing import SeededEntropy
from sessioncore.testing.records import NOW, a_session

pytest_plugins = ["pytester"]

ENTROPY = SeededEntropy(7)
EPOCH = Epoch(ENTROPY.draw(16))
SLOT = ENTROPY.draw(6)
FAMILY = ENTROPY.draw(8)
SECRET = ENTROPY.draw(24)
ID = SessionId(EPOCH, SLOT, FAMILY, SECRET)
SALT = ENTROPY.draw(16)

ALPHABET = string.ascii_letters + string.digits + "-_"


def octets(size: int) -> st.SearchStrategy[bytes]:
    return st.binary(min_size=size, max_size=size)


def session_ids() -> st.SearchStrategy[SessionId]:
    return st.builds(SessionId, octets(16).map(Epoch), octets(6), octets(8), octets(24))


def leaks(text: str, session_id: SessionId = ID) -> bool:
    """
    Tell whether *text* shows the secret of *session_id* in any usual spelling.
    """
    whole = base64.urlsafe_b64decode(session_id.reveal())
    spellings = {session_id.reveal(), whole.hex(), repr(whole)[2:-1]}
    # Any run of the secret counts, not only the whole of it.
    secret = whole[-24:]
    spellings |= {secret.hex()[:16], base64.urlsafe_b64encode(secret).decode()[:12]}
    spellings |= {repr(secret[:8])[2:-1]}
    return any(spelling in text for spelling in spellings)


# -- The session id: made of parts ---------------------------------------------


def test_an_id_is_its_parts_in_order_in_72_characters() -> None:
    assert base64.urlsafe_b64decode(ID.reveal()) == EPOCH + SLOT + FAMILY + SECRET
    assert len(ID.reveal()) == 72


@pytest.mark.parametrize(
    ("epoch", "slot", "family", "secret"),
    [
        (15, 6, 8, 24),
        (17, 6, 8, 24),
        (16, 5, 8, 24),
        (16, 7, 8, 24),
        (16, 6, 7, 24),
        (16, 6, 9, 24),
        (16, 6, 8, 23),
        (16, 6, 8, 25),
        (15, 7, 8, 24),
    ],
)
def test_a_part_of_the_wrong_length_is_refused(
    epoch: int, slot: int, family: int, secret: int
) -> None:
    with pytest.raises(ValueError, match="wrong length"):
        SessionId(Epoch(bytes(epoch)), bytes(slot), bytes(family), bytes(secret))


def test_an_id_names_its_locator() -> None:
    assert ID.locator == Locator(EPOCH, SLOT)


# -- The session id: parsing ---------------------------------------------------


@given(session_ids())
def test_what_was_revealed_is_parsed_to_the_same_id(session_id: SessionId) -> None:
    parsed = SessionId.parse(session_id.reveal())
    assert parsed == session_id


@given(st.text(ALPHABET, min_size=72, max_size=72))
def test_every_72_characters_of_the_alphabet_are_one_id_with_one_spelling(text: str) -> None:
    parsed = SessionId.parse(text)
    assert parsed is not None
    assert parsed.reveal() == text


@given(st.text(max_size=100))
def test_any_other_text_is_no_id(text: str) -> None:
    assume(re.fullmatch(r"[A-Za-z0-9_\-]{72}", text) is None)
    assert SessionId.parse(text) is None


@given(st.integers(0, 71), st.characters())
def test_one_foreign_character_makes_it_no_id(position: int, character: str) -> None:
    assume(character not in ALPHABET)
    text = ID.reveal()
    assert SessionId.parse(text[:position] + character + text[position + 1 :]) is None


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "A" * 71,
        "A" * 73,
        "A" * 72 + "\n",
        "A" * 71 + "\n",
        "\n" + "A" * 72,
        " " + "A" * 72,
        "A" * 72 + " ",
        "A" * 71 + "=",
        "A" * 70 + "==",
        "A" * 72 + "=",
        "A" * 71 + "+",
        "A" * 71 + "/",
        "A" * 71 + "é",
        "A" * 71 + "\N{FULLWIDTH LATIN CAPITAL LETTER A}",
        "A" * 71 + "\N{ARABIC-INDIC DIGIT ONE}",
        "A" * 71 + "\N{LATIN SMALL LETTER LONG S}",
        "A" * 71 + "\x00",
        "A" * 71 + "\ud800",
        "!" * 72,
    ],
)
def test_malformed_text_is_no_id(text: str | None) -> None:
    assert SessionId.parse(text) is None


def test_bytes_are_no_text_of_an_id() -> None:
    cookie: Any = ID.reveal().encode()
    assert SessionId.parse(cookie) is None


# -- The session id: guarded ---------------------------------------------------


WAYS_OF_PRINTING: list[Callable[[SessionId], str]] = [
    repr,
    str,
    ascii,
    "{}".format,
    "{!r}".format,
    "{:>80}".format,
    "%s".__mod__,
    "%r".__mod__,
    lambda session_id: format(session_id, "x"),
    lambda session_id: repr([session_id]),
    lambda session_id: repr(Active(a_session(Subject.user("u"), EPOCH), renewed=session_id)),
    lambda session_id: json.dumps(session_id, default=str),
    lambda session_id: json.dumps(session_id, default=repr),
]


@pytest.mark.parametrize("show", WAYS_OF_PRINTING)
def test_no_way_of_printing_shows_the_secret(show: Callable[[SessionId], str]) -> None:
    shown = show(ID)
    assert "SessionId(<redacted>)" in shown
    assert not leaks(shown)


WAYS_OF_COPYING: list[Callable[[Any], object]] = [
    copy.copy,
    copy.deepcopy,
    pickle.dumps,
    lambda session_id: pickle.dumps(session_id, protocol=0),
    lambda session_id: session_id.__reduce__(),
    lambda session_id: session_id.__reduce_ex__(2),
    lambda session_id: session_id.__getstate__(),
    lambda session_id: copy.deepcopy({"id": session_id}),
    lambda session_id: dataclasses.asdict(Active(a_session(Subject.user("u"), EPOCH), session_id)),
    lambda session_id: dataclasses.astuple(Active(a_session(Subject.user("u"), EPOCH), session_id)),
    dataclasses.asdict,
    dataclasses.astuple,
    dataclasses.fields,
    vars,
    bytes,
    json.dumps,
    list,
    iter,
]


@pytest.mark.parametrize("take", WAYS_OF_COPYING)
def test_no_way_of_copying_gives_the_secret(take: Callable[[Any], object]) -> None:
    with pytest.raises(TypeError) as raised:
        take(ID)
    assert not leaks(str(raised.value))


def test_an_id_cannot_be_changed() -> None:
    changeable: Any = ID
    with pytest.raises(AttributeError):
        changeable._octets = b""
    with pytest.raises(AttributeError):
        changeable.more = 1
    with pytest.raises(AttributeError):
        del changeable._octets
    assert ID.reveal() == SessionId(EPOCH, SLOT, FAMILY, SECRET).reveal()


def test_logging_an_id_does_not_show_it(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    logging.getLogger("app").warning("a visitor with %s and %r", ID, {"id": ID})
    assert "<redacted>" in caplog.text
    assert not leaks(caplog.text)


def test_a_failed_comparison_in_a_test_does_not_show_it(pytester: pytest.Pytester) -> None:
    other = ID.successor(SALT)
    pytester.makepyfile(
        f"""
        from dataclasses import replace
        from sessioncore import Active, SessionId, Subject
        from sessioncore.session import Epoch
        from sessioncore.testing.records import a_session

        # Taken apart, so that the source lines that pytest prints say nothing.
        ONE = SessionId.parse({ID.reveal()[:36]!r}
            + {ID.reveal()[36:]!r})
        OTHER = SessionId.parse({other.reveal()[:36]!r}
            + {other.reveal()[36:]!r})
        SESSION = a_session(Subject.user("u"), Epoch(bytes(16)))

        def test_ids():
            assert ONE == OTHER

        def test_outcomes():
            assert Active(SESSION, ONE) == Active(SESSION, OTHER)

        def test_lists():
            assert [ONE, 1] == [OTHER, 2]

        def test_mappings():
            assert {{"id": ONE}} == {{"id": OTHER}}
        """
    )
    result = pytester.runpytest_inprocess("-vv", "--showlocals", "-p", "no:cacheprovider")
    result.assert_outcomes(failed=4)
    shown = result.stdout.str() + result.stderr.str()
    assert "<redacted>" in shown
    assert not leaks(shown)
    assert not leaks(shown, other)


# -- The session id: equality --------------------------------------------------


def test_equal_ids_are_equal_and_hash_alike() -> None:
    twin = SessionId(EPOCH, SLOT, FAMILY, SECRET)
    assert twin == ID
    assert {ID: "found"}[twin] == "found"


@pytest.mark.parametrize("position", range(0, 54, 9))
def test_ids_that_differ_anywhere_are_unequal(position: int) -> None:
    whole = bytearray(base64.urlsafe_b64decode(ID.reveal()))
    whole[position] ^= 1
    other = SessionId.parse(base64.urlsafe_b64encode(bytes(whole)).decode())
    assert other is not None
    assert other != ID


def test_an_id_equals_nothing_but_an_id() -> None:
    assert ID.reveal() != ID
    assert base64.urlsafe_b64decode(ID.reveal()) != ID
    assert ID.__eq__("text") is NotImplemented


def test_ids_are_compared_in_constant_time() -> None:
    # That it is constant cannot be measured reliably; that it is this function can be seen.
    assert "compare_digest" in SessionId.__eq__.__code__.co_names


# -- The session id: digests and successors ------------------------------------


def test_the_digest_covers_family_and_secret() -> None:
    assert ID.digest == hashlib.sha256(FAMILY + SECRET).digest()


def test_the_family_digest_is_eight_bytes_of_the_familys() -> None:
    assert ID.family_digest == hashlib.sha256(FAMILY).digest()[:8]


def test_a_successor_is_computed_from_the_secret_and_the_salt() -> None:
    expected = hmac.digest(FAMILY + SECRET, SALT, "sha256")[:24]
    assert ID.successor(SALT) == SessionId(EPOCH, SLOT, FAMILY, expected)


@given(session_ids(), octets(16), octets(16))
def test_whoever_has_the_id_and_the_salt_computes_one_successor(
    session_id: SessionId, salt: bytes, other_salt: bytes
) -> None:
    assume(salt != other_salt)
    assert session_id.successor(salt) == session_id.successor(salt)
    assert session_id.successor(salt) != session_id.successor(other_salt)
    assert session_id.successor(salt) != session_id


@given(session_ids(), octets(16))
def test_a_successor_stays_in_the_family_and_at_the_locator(
    session_id: SessionId, salt: bytes
) -> None:
    successor = session_id.successor(salt)
    assert successor.locator == session_id.locator
    assert successor.family_digest == session_id.family_digest
    assert successor.digest != session_id.digest


def test_a_rotated_id_has_only_another_secret() -> None:
    secret = bytes(range(24))
    assert ID.rotated(secret) == SessionId(EPOCH, SLOT, FAMILY, secret)


def test_a_rotation_refuses_a_secret_of_the_wrong_length() -> None:
    with pytest.raises(ValueError, match="wrong length"):
        ID.rotated(bytes(23))


def test_a_moved_id_has_only_another_locator() -> None:
    locator = Locator(Epoch(bytes(16)), bytes(6))
    assert ID.moved_to(locator) == SessionId(locator.epoch, locator.slot, FAMILY, SECRET)
    assert ID.moved_to(locator).digest == ID.digest


# -- The session id: what else is derived from it ------------------------------


def test_what_is_derived_depends_on_all_that_stays_and_on_the_purpose() -> None:
    expected = hmac.digest(EPOCH + SLOT + FAMILY, b"sessioncore:csrf", "sha256")
    assert ID.derived(b"csrf") == expected
    assert ID.derived(b"other") != expected


def test_what_is_derived_outlives_renewals_and_rotations() -> None:
    assert ID.successor(SALT).derived(b"csrf") == ID.derived(b"csrf")
    assert ID.rotated(bytes(24)).derived(b"csrf") == ID.derived(b"csrf")


def test_another_session_derives_something_else() -> None:
    moved = ID.moved_to(Locator(EPOCH, bytes(6)))
    signed_in = SessionId(EPOCH, SLOT, bytes(8), SECRET)
    derived = {one.derived(b"csrf") for one in (ID, moved, signed_in)}
    assert len(derived) == 3


# -- The locator and the handle ------------------------------------------------


def test_a_locator_is_not_printed() -> None:
    locator = Locator(EPOCH, SLOT)
    assert repr(locator) == str(locator) == "Locator(<redacted>)"


def test_the_handle_is_sixteen_bytes_of_a_digest_of_the_locator() -> None:
    expected = hashlib.sha256(b"handle" + EPOCH + SLOT).digest()[:16]
    assert ID.locator.handle == expected.hex()


def test_the_handle_outlives_renewals_and_rotations() -> None:
    handle = ID.locator.handle
    assert ID.successor(SALT).locator.handle == handle
    assert ID.rotated(bytes(24)).locator.handle == handle


def test_another_locator_has_another_handle() -> None:
    handles = {
        Locator(EPOCH, SLOT).handle,
        Locator(EPOCH, bytes(6)).handle,
        Locator(Epoch(bytes(16)), SLOT).handle,
    }
    assert len(handles) == 3


@given(session_ids())
def test_a_handle_is_no_session_id_and_shows_nothing_of_one(session_id: SessionId) -> None:
    handle = session_id.locator.handle
    assert SessionId.parse(handle) is None
    assert re.fullmatch("[0-9a-f]{32}", handle)
    assert handle not in session_id.reveal()
    assert handle not in base64.urlsafe_b64decode(session_id.reveal()).hex()


# -- Subjects ------------------------------------------------------------------


def subjects() -> st.SearchStrategy[Subject]:
    return st.one_of(
        st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=60).map(
            Subject.user
        ),
        octets(16).map(Subject.anonymous),
        st.integers(0, 255).map(Subject.decoy),
    )


@given(st.binary(max_size=20), octets(16), st.integers(0, 255))
def test_a_user_is_never_a_visitor_or_a_decoy(name: bytes, token: bytes, number: int) -> None:
    others = {Subject.anonymous(token), Subject.decoy(number)}
    for user_id in (name.hex() or "0", "a" + token.hex(), "d", "a", "d\N{SPACE}"):
        assert Subject.user(user_id) not in others


def test_a_user_named_like_another_kinds_key_is_still_a_user() -> None:
    assert Subject.user("a" * 17).key != Subject.anonymous(b"a" * 16).key
    assert Subject.user("d!").key != Subject.decoy(ord("!")).key
    assert Subject.user("d!").user_id == "d!"


@pytest.mark.parametrize("user_id", ["a", "a" * 255, "é" * 127, "\U0001f680" * 63 + "abc"])
def test_a_user_id_has_up_to_255_bytes(user_id: str) -> None:
    assert Subject.user(user_id).user_id == user_id


@pytest.mark.parametrize("user_id", ["", "a" * 256, "é" * 128, "\U0001f680" * 64])
def test_a_user_id_that_is_empty_or_longer_is_refused(user_id: str) -> None:
    with pytest.raises(ValueError, match="1 to 255 bytes"):
        Subject.user(user_id)


@pytest.mark.parametrize(
    "character",
    ["\x00", "\x01", "\t", "\n", "\r", "\x1f", "\x7f", "\x80", "\x85", "\x9f", "\ud800", "\udfff"],
)
def test_a_user_id_with_a_control_character_or_surrogate_is_refused(character: str) -> None:
    for user_id in (character, "a" + character, character + "a"):
        with pytest.raises(ValueError, match="no control characters"):
            Subject.user(user_id)


@pytest.mark.parametrize("character", [" ", "~", "\xa0", "\ud7ff", "\ue000", "\U0010ffff"])
def test_characters_just_outside_the_forbidden_ranges_are_accepted(character: str) -> None:
    assert Subject.user(character).user_id == character


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("alice", "Alice"),
        ("alice", "alice "),
        ("Alice", "Álice"),
        ("\N{LATIN SMALL LETTER E WITH ACUTE}", "e\N{COMBINING ACUTE ACCENT}"),
    ],
)
def test_spellings_are_never_folded(one: str, other: str) -> None:
    assert Subject.user(one) != Subject.user(other)


@pytest.mark.parametrize("size", [0, 15, 17])
def test_a_visitor_is_named_by_16_bytes(size: int) -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        Subject.anonymous(bytes(size))


def test_there_are_256_decoys() -> None:
    assert len({Subject.decoy(number) for number in range(256)}) == 256
    with pytest.raises(OverflowError):
        Subject.decoy(256)


@given(subjects())
def test_a_subject_is_read_back_from_its_key(subject: Subject) -> None:
    assert Subject.of_key(subject.key) == subject


def keys() -> st.SearchStrategy[bytes]:
    """
    Any bytes, many of them beginning like a key.
    """
    kinds = st.sampled_from([b"", b"u", b"a", b"d"])
    return st.tuples(kinds, st.binary(max_size=300)).map(b"".join)


@given(keys())
def test_any_bytes_are_the_key_of_one_subject_or_of_none(key: bytes) -> None:
    try:
        subject = Subject.of_key(key)
    except ValueError:
        return
    assert subject.key == key


@pytest.mark.parametrize(
    "key", [b"", b"u", b"a", b"d", b"x", b"u\xff", b"u\x00", b"a" + bytes(15), b"d\x00\x00", b"U1"]
)
def test_bytes_that_name_nobody_are_refused(key: bytes) -> None:
    with pytest.raises(ValueError):
        Subject.of_key(key)


def test_the_kinds_tell_themselves_apart() -> None:
    user, visitor, decoy = Subject.user("u1"), Subject.anonymous(bytes(16)), Subject.decoy(3)
    assert [subject.user_id for subject in (user, visitor, decoy)] == ["u1", None, None]
    assert [subject.is_anonymous for subject in (user, visitor, decoy)] == [False, True, False]


def test_only_a_users_id_is_printed() -> None:
    assert repr(Subject.user("u1")) == "Subject.user('u1')"
    assert repr(Subject.anonymous(b"0123456789abcdef")) == "Subject(anonymous)"
    assert repr(Subject.decoy(7)) == "Subject(decoy)"


# -- Devices -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "cleaned"),
    [
        (None, None),
        ("192.0.2.7", "192.0.2.7"),
        (" 192.0.2.7\n", "192.0.2.7"),
        ("2001:DB8:0:0:0:0:0:1", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("", None),
        ("unix:", None),
        ("192.0.2.7:443", None),
        ("192.0.2.007", None),
        ("example.com", None),
        ("<script>", None),
    ],
)
def test_an_address_gets_its_canonical_spelling_or_is_dropped(
    address: str | None, cleaned: str | None
) -> None:
    assert Device(address=address).cleaned() == Device(address=cleaned)


@pytest.mark.parametrize(
    ("user_agent", "cleaned"),
    [
        (None, None),
        ("", None),
        ("Mozilla/5.0", "Mozilla/5.0"),
        ("a\r\nb\tc\x00d\x1b[31me", "abcd[31me"),
        ("a\N{RIGHT-TO-LEFT OVERRIDE}b\N{ZERO WIDTH SPACE}c", "abc"),
        ("a\ud800b\ue000c", "abc"),
        ("a\N{LINE SEPARATOR}b\N{PARAGRAPH SEPARATOR}c", "abc"),
        ("\r\n", None),
        ("é ü \N{ROCKET}", "é ü \N{ROCKET}"),
        ("x" * 200, "x" * 200),
        ("x" * 201, "x" * 200),
    ],
)
def test_a_user_agent_loses_what_cannot_be_printed_and_is_cut(
    user_agent: str | None, cleaned: str | None
) -> None:
    assert Device(user_agent=user_agent).cleaned() == Device(user_agent=cleaned)


@given(st.text(st.characters(), max_size=300))
@example("a\N{LINE SEPARATOR}b")
def test_a_cleaned_user_agent_is_one_printable_line(user_agent: str) -> None:
    cleaned = Device(user_agent=user_agent).cleaned().user_agent
    assert cleaned is None or cleaned.splitlines() == [cleaned]


@given(st.text(max_size=300), st.text(max_size=60) | st.ip_addresses().map(str))
def test_cleaning_twice_changes_nothing_more(user_agent: str, address: str) -> None:
    cleaned = Device(address=address, user_agent=user_agent).cleaned()
    assert cleaned.cleaned() == cleaned


# -- Sessions ------------------------------------------------------------------


def test_printing_a_session_shows_no_digest_no_stamp_and_no_locator() -> None:
    session = a_session(
        Subject.user("u1"),
        EPOCH,
        family=ID.family_digest,
        current=ID.digest,
        previous=ID.successor(SALT).digest,
        pending=Pending(ID.rotated(bytes(24)).digest, SALT),
    )
    shown = repr(session)
    pending = session.pending
    assert pending is not None
    hidden = [session.family, session.current, session.previous, session.stamp]
    hidden += [pending.digest, pending.salt, EPOCH, session.locator.slot]
    for octet_string in hidden:
        assert octet_string is not None
        assert repr(octet_string)[2:-1] not in shown
        assert octet_string.hex() not in shown
    assert "'u1'" in shown


def test_a_session_speaks_for_its_subject_and_locator() -> None:
    session = a_session(Subject.user("u1"), EPOCH)
    visitor = a_session(Subject.anonymous(bytes(16)), EPOCH)
    assert (session.user_id, session.is_anonymous) == ("u1", False)
    assert (visitor.user_id, visitor.is_anonymous) == (None, True)
    assert session.handle == session.locator.handle


def test_a_record_is_kept_for_a_duration_counted_from_its_last_write() -> None:
    session = a_session(
        Subject.user("u1"),
        EPOCH,
        last_seen_at=NOW + timedelta(minutes=3),
        keep_until=NOW + timedelta(minutes=10),
    )
    assert session.lives_for == timedelta(minutes=7)


def test_a_proof_is_fresh_up_to_its_age_and_not_beyond() -> None:
    session = a_session(Subject.user("u1"), EPOCH, authenticated_at=NOW)
    age = timedelta(minutes=5)
    assert session.is_fresh(age, NOW + age)
    assert not session.is_fresh(age, NOW + age + timedelta(milliseconds=1))


def test_who_never_proved_anything_is_never_fresh() -> None:
    visitor = a_session(Subject.anonymous(bytes(16)), EPOCH, authenticated_at=None)
    assert not visitor.is_fresh(timedelta(days=1), NOW)


def test_a_moved_session_has_only_another_locator() -> None:
    session = a_session(Subject.user("u1"), EPOCH)
    locator = Locator(Epoch(bytes(16)), bytes(6))
    assert session.moved_to(locator) == dataclasses.replace(session, locator=locator)


def test_a_roster_does_not_print_its_version() -> None:
    session: Session = a_session(Subject.user("u1"), EPOCH)
    assert "version" not in repr(Roster((session,), b"12345678"))
