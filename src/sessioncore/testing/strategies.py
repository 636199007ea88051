"""
Hypothesis strategies for everything that a store is given.

They go to the limits of what the domain lets through and never beyond.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from hypothesis import strategies as st

from sessioncore.session import (
    ANONYMOUS_BYTES,
    EPOCH_BYTES,
    FAMILY_BYTES,
    SALT_BYTES,
    SLOT_BYTES,
    STAMP_BYTES,
    USER_AGENT_CHARACTERS,
    USER_ID_BYTES,
    Device,
    Epoch,
    Locator,
    Pending,
    Session,
    Subject,
)

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

_EARLIEST: Final = datetime(2000, 1, 1, tzinfo=UTC)
_LATEST: Final = datetime(2200, 1, 1, tzinfo=UTC)
_SHORTEST_KEEP: Final = timedelta(hours=1)
_LONGEST_KEEP: Final = timedelta(days=3650)
_MILLISECOND: Final = timedelta(milliseconds=1)
_DIGEST_BYTES: Final = 32
_DATA_KEY_BYTES: Final = 128

# What sorts, folds, pads, escapes or templates differently from one store to another.
DIFFICULT_TEXTS: Final = (
    "alice",
    "Alice",
    "ALICE",
    "alice ",
    " alice",
    "alice\N{NO-BREAK SPACE}",
    "\N{LATIN CAPITAL LETTER A WITH ACUTE}lice",
    "A\N{COMBINING ACUTE ACCENT}lice",
    "alice\N{ZERO WIDTH SPACE}",
    "\N{ZERO WIDTH NO-BREAK SPACE}alice",
    "\N{FULLWIDTH LATIN SMALL LETTER A}lice",
    "\N{CYRILLIC SMALL LETTER A}lice",
    "al\N{LATIN SMALL LETTER DOTLESS I}ce",
    "al\N{LATIN CAPITAL LETTER I WITH DOT ABOVE}ce",
    "stra\N{LATIN SMALL LETTER SHARP S}e",
    "strasse",
    "STRASSE",
    "\N{LATIN SMALL LIGATURE FI}sh",
    "fish",
    "\N{WOMAN}\N{ZERO WIDTH JOINER}\N{ROCKET}",
    "\N{WOMAN}",
    "\N{LINE SEPARATOR}",
    "\ufffe",
    "\U0010ffff",
    "o'hara",
    "o''hara",
    '"alice"',
    "`alice`",
    "%",
    "%s",
    "%(alice)s",
    "_____",
    "a%",
    "{alice}",
    "{",
    "}",
    "{}",
    "{{alice}}",
    "\\",
    "\\'",
    "\\x00",
    "\\u0000",
    "alice\\",
    "*",
    "?",
    "[a-z]*",
    ":",
    "::",
    ":alice",
    "a:b",
    "a/b",
    "a|b",
    "$1",
    "$alice",
    "@alice",
    "#",
    "--",
    "; --",
    "' OR ''='",
    "/* */",
    "<alice>",
    "&amp;",
    "0",
    "00",
    "0.0",
    "-0",
    "1e1",
    "10",
    "0x0a",
    "null",
    "NULL",
    "None",
    "nil",
    "true",
    "NaN",
    " ",
    "  ",
    "\N{IDEOGRAPHIC SPACE}",
    "__proto__",
)
"""Texts that are all different. Each is acceptable as a user id and as a data key."""


def _text_of_bytes(size: int) -> SearchStrategy[str]:
    characters = st.characters(codec="utf-8", exclude_categories=("Cc", "Cs"))
    return st.text(characters, min_size=1, max_size=size).filter(
        lambda text: len(text.encode()) <= size
    )


def instants() -> SearchStrategy[datetime]:
    """
    Aware instants in UTC, of whole milliseconds, from 2000 to 2200.
    """
    return st.integers(0, (_LATEST - _EARLIEST) // _MILLISECOND).map(
        lambda milliseconds: _EARLIEST + milliseconds * _MILLISECOND
    )


def user_ids() -> SearchStrategy[str]:
    """
    User ids of 1 to 255 bytes, many of them difficult.
    """
    longest = st.sampled_from(
        [
            "a" * USER_ID_BYTES,
            "a" * (USER_ID_BYTES - 1) + "b",
            "a" * (USER_ID_BYTES - 1),
            "\N{LATIN SMALL LETTER E WITH ACUTE}" * (USER_ID_BYTES // 2),
        ]
    )
    return st.one_of(st.sampled_from(DIFFICULT_TEXTS), longest, _text_of_bytes(USER_ID_BYTES))


def subjects() -> SearchStrategy[Subject]:
    """
    Users, anonymous visitors and decoys.
    """
    anonymous = st.binary(min_size=ANONYMOUS_BYTES, max_size=ANONYMOUS_BYTES)
    return st.one_of(
        user_ids().map(Subject.user),
        anonymous.map(Subject.anonymous),
        st.integers(0, 255).map(Subject.decoy),
    )


def devices() -> SearchStrategy[Device]:
    """
    Devices after cleaning: addresses of both families, user agents of up to 200 characters.
    """
    printable = st.characters(codec="utf-8", exclude_categories=["C", "Z"]) | st.just(" ")
    agents = st.one_of(
        st.none(),
        st.text(printable, min_size=1, max_size=USER_AGENT_CHARACTERS),
        st.sampled_from(
            [
                "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
                "\N{ROCKET}" * USER_AGENT_CHARACTERS,
                " " * USER_AGENT_CHARACTERS,
            ]
        ),
    )
    addresses = st.one_of(st.none(), st.ip_addresses().map(str))
    return st.builds(Device, address=addresses, user_agent=agents)


def locators() -> SearchStrategy[Locator]:
    """
    Locators that no store has issued.
    """
    epochs = st.binary(min_size=EPOCH_BYTES, max_size=EPOCH_BYTES).map(Epoch)
    return st.builds(Locator, epochs, st.binary(min_size=SLOT_BYTES, max_size=SLOT_BYTES))


@st.composite
def sessions(
    draw: st.DrawFn, /, *, of: SearchStrategy[Subject] | None = None, **fields: SearchStrategy[Any]
) -> Session:
    """
    Sessions whose every field is anything that the domain may put there.

    Args:
        draw: Given by Hypothesis.

        of: Whose sessions; by default anybody's.

        fields: Strategies to use in place of the usual ones.
    """
    digests = st.binary(min_size=_DIGEST_BYTES, max_size=_DIGEST_BYTES)
    # The services hold these to visible ASCII.
    methods = st.text(
        st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=32
    )
    last_seen_at = draw(instants())
    keep_for = draw(st.timedeltas(_SHORTEST_KEEP, _LONGEST_KEEP)) // _MILLISECOND * _MILLISECOND
    usual: dict[str, SearchStrategy[Any]] = {
        "locator": locators(),
        "subject": subjects() if of is None else of,
        "policy": st.text(
            st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=64
        ),
        "methods": st.lists(methods, max_size=8).map(tuple),
        "created_at": instants(),
        "authenticated_at": st.none() | instants(),
        "changed_at": instants(),
        "last_seen_at": st.just(last_seen_at),
        "keep_until": st.just(last_seen_at + keep_for),
        "family": st.binary(min_size=FAMILY_BYTES, max_size=FAMILY_BYTES),
        "current": digests,
        "pending": st.none()
        | st.builds(Pending, digests, st.binary(min_size=SALT_BYTES, max_size=SALT_BYTES)),
        "previous": st.none() | digests,
        "device": devices(),
        "stamp": st.binary(min_size=STAMP_BYTES, max_size=STAMP_BYTES),
    }
    return draw(st.builds(Session, **(usual | fields)))


def data_keys() -> SearchStrategy[str]:
    """
    Keys of session data, 1 to 128 bytes of UTF-8, many of them difficult.
    """
    longest = st.sampled_from(
        ["k" * _DATA_KEY_BYTES, "\N{ROCKET}" * (_DATA_KEY_BYTES // len("\N{ROCKET}".encode()))]
    )
    return st.one_of(st.sampled_from(DIFFICULT_TEXTS), longest, _text_of_bytes(_DATA_KEY_BYTES))


def data_values() -> SearchStrategy[bytes]:
    """
    Values of session data: JSON text, spelt in ways that a store must not tidy up.
    """
    scalars = (
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False)
        | st.text(st.characters(codec="utf-8"), max_size=50)
    )
    documents = st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
        max_leaves=5,
    )
    return st.one_of(
        st.builds(
            json.dumps, documents, indent=st.sampled_from([None, 1]), ensure_ascii=st.booleans()
        ).map(str.encode),
        st.sampled_from(
            [b"", b"null", b'""', b"0", b"-0.0", b"1e5", b'{"b": 1,  "a": 2, "a": 3}', b"[ ]"]
        ),
    )


def data() -> SearchStrategy[dict[str, bytes]]:
    """
    The data of one session, by key.
    """
    return st.dictionaries(data_keys(), data_values(), max_size=8)
