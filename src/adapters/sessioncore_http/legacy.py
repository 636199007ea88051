"""
Sessions of the library that was in use before, moved over when their browsers come back.

On the day of the switch browsers hold cookies of the old library. Whoever comes with one
is moved: the old session is taken out of its store, and a session of ours opened in its
place. This module is the port to the old store; :mod:`sessioncore_flask.migration` and
:mod:`sessioncore_django.migration` implement it, and what follows is how the edge has to
use it (ADR-0030).

The rules:

1.  **Ours first.** The old cookie is looked at only if the request brings no cookie of
    ours at all, good or bad. Else an old cookie could bring back who has signed out, and
    whoever can plant a cookie could exchange a session. Two old cookies that differ are
    none: nobody can say which is meant.
2.  **The epoch before the proof.** ``find``, then ``begin`` for the user that it names,
    then ``take``, then ``establish``, then the data is written. What ``find`` says is only
    whose epoch to open; ``take`` is the proof, and nobody is signed in without it.
3.  **A response that can still carry cookies.** Nothing is taken once the response has
    started, nor in a handshake that can set no cookie. One response sets ours and deletes
    the old one, by its name, path and domain.
4.  **Nobody signed in.** An old session of a visitor is taken too, if it has data to carry:
    ``take``, ``start_anonymous``, data. Without data it is left to expire.
5.  **Not fresh.** Nobody proved anything in that request. The session that it opens must
    not pass for one in which identity was proven just now, or an old cookie would be worth
    a password. Its method is :data:`METHOD`.
6.  **Nothing is left behind.** Whatever writes or deletes our cookie (signing in, signing
    out) deletes the old cookie in the same response and, if the request brought it, ends
    what it stands for: ``find``, ``take``. Else it would sign somebody in again after the
    next sign-out. Who signs out with an old cookie alone, and finds that another request
    has just moved it, is told "try again" and not "signed out", and no cookie is touched:
    the session that came of it is in an answer under way.
7.  **Sign out everywhere**: ``end_user`` first, ``logout_everywhere`` second, also if the
    first failed; then raise its error (and still write the id of a session that was kept).
    Where something has to come before, such as the commit of a new password, both come
    after it. ``change_password`` ends the new sessions by itself, too early, so after it:
    ``end_user``, and ``logout_everywhere`` that keeps the session under the id just drawn.
    If that fails, it is ``PasswordChangedButSessionsLive``. Admin tools and workers owe
    the same.
8.  **Outages.** What the old store raises is answered as an outage of ours: 503, the old
    cookie stays, and nobody is told that they are not signed in. A sign-in that is answered
    so signs nobody in. Signing out deletes both cookies all the same, and ends what it can.
9.  **As good as ours.** Where the cross-origin guard asks whether a request brings a cookie,
    an old one counts. Where a synchroniser token is asked for, nobody is moved by a request
    that changes something: the pages of the old library knew of no token.

Why that order. Let *B* be ``begin``, *T* ``take``, *X* ``end_user`` and *D* the end of the
epoch. A move does B before T; a "sign out everywhere" does X before D. If T comes after X,
there is nothing to take. If T comes before X, so does B, and X comes before D: the epoch
of B is the one that D ends, and ``establish`` finds it gone or its session is deleted with
it. With D before X there is a third case: B and T between them, in an epoch that nobody
ends. To call both twice adds nothing to this. An implementation that has a proof which can
be withdrawn without X (Django: a hash of the password) checks it again in ``take``, after
B, so that it is in the place of the password hash of ADR-0009.

Six requests at once. A browser sends six with the old cookie alone. Each may find the
session; one takes it. The others get ``False``, or, if they looked later, a
:class:`LegacyMoved`: the record leaves a mark behind for a little while, the ``moved_for``
of its store. Both mean what ``InactiveReason.SUPERSEDED`` means: nothing is wrong, an
answer with a better cookie is on its way, try again; no sign-in page, no cookie touched.
They are not let in: the new id is known to one request only, and is stored nowhere. After
``moved_for`` the old cookie is nobody's.

No data is lost on the way. ``take`` succeeds only if the record still is what ``find``
read, so an old server that wrote meanwhile wins, and the next request starts over.

What is not promised:

*   If the answer is lost after ``take``, the user has to sign in again, after at most
    ``moved_for`` of "try again". To take later, when our cookie comes back, would leave
    the old session good beside the new one, and open one for each of the six requests.
*   The same if ``establish`` answers ``Busy`` or ``LimitReached``. Nothing is put back: that
    would be a save (ADR-0013), and undo a sign-out that came between.
*   Who has a copy of an old cookie is as good as its owner, as before. The first of them
    is moved and the other signed out.
*   An old cookie has no ``__Host-`` prefix: a neighbouring subdomain can plant one, as
    before. So let the migration end, at the latest when the last old session expires.
*   How old an old session is, nobody knows: the absolute timeout starts at the move.
*   Old sessions that have not come back are in no list of devices.
*   Servers that still run the old code know nothing of all this. Most libraries write a
    session back that was deleted while a request was under way. Stop them first.
"""

from __future__ import annotations

import enum
import logging
import threading
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from sessioncore import InvalidData, SessionCoreError, Subject
from sessioncore.data import checked_key, encode_value

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from sessioncore import Json

METHOD: Final = "migrated"
"""What a moved session names as the method by which its user proved identity: an older one."""

MOVED_FOR: Final = timedelta(seconds=30)
"""How long it is remembered that an old session was moved: as long as a policy's grace."""


@dataclass(frozen=True, slots=True)
class LegacySession:
    """
    A live session of the old library, as it was read.
    """

    user_id: str | None
    """Whom it says is signed in, as a user id of ours; ``None`` if nobody is."""

    data: Mapping[str, Json] = field(repr=False)
    """What to carry over; acceptable to our stores value by value, but for its total size."""

    key: str = field(repr=False)
    """How the old store knows it. A credential, or as good as one."""

    as_read: bytes = field(repr=False)
    """The record itself, or a digest of it: what has to be there still when it is taken."""


@dataclass(frozen=True, slots=True)
class LegacyMoved:
    """
    The old session was moved a moment ago, and an answer with our cookie is on its way.
    """


LegacyFinding: TypeAlias = LegacySession | LegacyMoved | None


class LegacySessions(Protocol):
    """
    The sessions of the old library, to be taken one by one.

    Any number of threads and processes may call at the same time. Calls block: from
    asyncio, make them in a thread. They are never part of a transaction of the caller's.
    """

    @property
    def cookie_name(self) -> str:
        """
        The name of the old cookie, which is not the name of ours.
        """
        ...

    @property
    def cookie_path(self) -> str:
        """
        The path that the old cookie was set with; needed to delete it.
        """
        ...

    @property
    def cookie_domain(self) -> str | None:
        """
        The domain that the old cookie was set with, if any; needed to delete it.
        """
        ...

    def find(self, cookie: str, /) -> LegacyFinding:
        """
        Read the session that an old cookie stands for. Writes nothing.

        Args:
            cookie: Its text as the client sent it. What cannot be a key is never
                looked up.

        Returns:
            ``None`` if it stands for nothing: absent, expired, malformed, not
            verifiable, unreadable, or pickled. What an operator should know of
            is passed to the :class:`LegacyNotices`.

        Raises:
            StoreUnavailable: The old store did not answer.
        """
        ...

    def take(self, legacy: LegacySession, /) -> bool:
        """
        Take a session out of the old store, provided that it still is what was found.

        Returns:
            Whether this call took it: ``True`` for exactly one of parallel callers.
            ``False`` if it was taken, ended or changed since, or if what proved it
            no longer holds.

        Raises:
            StoreUnavailable: The old store did not answer; nothing was taken.

            OutcomeUnknown: It may or may not have been taken. Treat it as taken.
        """
        ...

    def end_user(self, user_id: str, /) -> int:
        """
        End all old sessions of one user.

        Old libraries keep no index of a user's sessions, so this reads every one
        there is. Repeating it is safe. A session that an old server starts, renames or
        writes back meanwhile may be missed.

        Returns:
            How many were ended, if nothing had to be repeated.

        Raises:
            StoreUnavailable: The old store did not answer; some may be ended.

            OutcomeUnknown: Likewise.
        """
        ...


class LegacyStoreRefused(SessionCoreError, ValueError):
    """
    Sessions cannot be moved from a store of this kind; the message says why.
    """


class LegacyRefusal(enum.Enum):
    """
    Why an old session, or a part of one, is not carried over. For operators.
    """

    PICKLED = (
        "a pickled session was refused: unpickling runs whatever code the record asks for,"
        " so that writing to the session store would be enough to take over the server"
    )
    UNREADABLE = "a session that is neither JSON nor MessagePack was refused"
    UNVERIFIABLE = (
        "a session whose signature does not verify was refused: is the secret key, or its"
        " predecessor among the fallbacks, the one that it was signed with?"
    )
    USER_ID_UNUSABLE = (
        "a session was refused whose user id is not 1 to 255 bytes of text without control"
        " characters"
    )
    VALUE_LEFT_OUT = "a value of a session was left behind: session data cannot hold it"


class LegacyNotices(Protocol):
    """
    Takes notice of what is not carried over.
    """

    def __call__(self, refusal: LegacyRefusal, /) -> None:
        """
        Note one case. Called for every one of them, from any thread; should not raise.
        """
        ...


class LoggedOnce:
    """
    Logs the first case of each kind as a warning, and counts all of them.

    The log would otherwise have a line for every request of every browser that holds
    such a cookie. A kind is all that is said: nothing here comes from a record.
    """

    def __init__(self, logger: logging.Logger | None = None) -> None:
        self._logger = logger or logging.getLogger(__name__)
        self._counts: Counter[LegacyRefusal] = Counter()
        self._lock = threading.Lock()

    def __call__(self, refusal: LegacyRefusal, /) -> None:
        """
        Count one case, and log it if it is the first of its kind.
        """
        with self._lock:
            self._counts[refusal] += 1
            is_first = self._counts[refusal] == 1
        if is_first:
            self._logger.warning("%s; further cases are counted and not logged", refusal.value)

    @property
    def counts(self) -> Mapping[LegacyRefusal, int]:
        """
        How many cases of each kind there were in this process.
        """
        with self._lock:
            return dict(self._counts)


def is_user_id(text: str) -> bool:
    """
    Tell whether *text* can be a user id of ours.
    """
    try:
        Subject.user(text)
    except ValueError:
        return False
    return True


def acceptable(
    data: Mapping[Any, Any],
    notices: LegacyNotices,
    convert: Callable[[Any], Any] = lambda value: value,
) -> dict[str, Json]:
    """
    Return the part of *data* that our stores take, and note what is left out.

    Args:
        data: Keys and values of an old session.

        notices: Told of every key that is not carried over.

        convert: Makes a value JSON-shaped. What it returns is looked at, whatever it is.
    """
    kept: dict[str, Json] = {}
    for key, value in data.items():
        try:
            converted: Json = convert(value)
            encode_value(converted)
            kept[checked_key(key)] = converted
        except (InvalidData, AttributeError, TypeError, ValueError, OverflowError, RecursionError):
            notices(LegacyRefusal.VALUE_LEFT_OUT)
    return kept


def refusal_of(record: bytes) -> LegacyRefusal:
    """
    Tell why a record that is neither JSON nor MessagePack was refused.

    Only its first bytes and its last are looked at: to see more would be to unpickle it.
    """
    has_protocol = record[:1] == b"\x80" and record[1:2] in {b"\x02", b"\x03", b"\x04", b"\x05"}
    is_old = record.startswith((b"(d", b"}"))
    pickled = record.endswith(b".") and (has_protocol or is_old)
    return LegacyRefusal.PICKLED if pickled else LegacyRefusal.UNREADABLE
