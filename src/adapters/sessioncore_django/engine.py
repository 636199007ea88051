"""
The session engine: ``SESSION_ENGINE = "sessioncore_django.engine"``.

What Django expects of a session store, told in terms of sessions that cannot be saved:

*   The session key is the text of a session id. It is a secret; Django's own is, too.
*   ``save`` writes the keys that changed and no others, so requests that change different
    keys do not undo each other. It raises ``UpdateError`` if the session has ended
    meanwhile, and brings nothing back. A key that a client made up is never adopted.
*   Who is signed in is what the *session* says. Data that name a user make the session that
    user's when they are saved: the anonymous one ends, and one under a new id begins, with
    the data. So ``django.contrib.auth.login`` is a sign-in like any other: it counts
    towards the session limit, is listed, and ends with "sign out everywhere". Data that
    name somebody else than the session does are not believed when they are read.
*   ``flush`` is a logout, ``cycle_key`` a rotation.
*   How long a session lives is what its policy says. ``set_expiry`` can make that shorter.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Self

from asgiref.sync import sync_to_async
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.contrib.sessions.backends.base import CreateError, SessionBase
from django.core import signing
from django.dispatch import receiver
from django.utils import timezone

from sessioncore import (
    Active,
    Inactive,
    InactiveReason,
    LoggedIn,
    OutcomeUnknown,
    Rotated,
    SessionGone,
    SessionId,
    StoreUnavailable,
)
from sessioncore.data import encode_value
from sessioncore_django.configuration import configuration
from sessioncore_django.request_session import EXPIRES_AT, DjangoRequestSession, Ended
from sessioncore_http import Interruption, RequestHead, problem_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.http import HttpRequest

    from sessioncore import Json, Session

_AUTH_KEYS: Final = (SESSION_KEY, BACKEND_SESSION_KEY, HASH_SESSION_KEY)
_EXPIRY: Final = "_session_expiry"


class SessionStore(SessionBase):
    """
    ``request.session``, on top of a :class:`DjangoRequestSession`.

    Made with a key alone, as Django's own middleware and its test client make it, it works
    without a request: nothing is then renewed, and nobody writes a cookie but they.
    """

    _session_cache: dict[str, Any]
    _exchange: DjangoRequestSession | None = None

    def __init__(self, session_key: str | None = None) -> None:
        super().__init__(session_key)
        # What is stored of the session that the cache was loaded from, and which one it is.
        self._family: bytes | None = None
        self._owner: str | None = None
        self._stored: dict[str, bytes] = {}
        self._signs_in = False

    @classmethod
    def of(cls, exchange: DjangoRequestSession) -> Self:
        """
        Return the store of a request that came through our middleware.
        """
        store = cls(exchange.key)
        store._exchange = exchange
        exchange.follower = store
        return store

    def follow(self, key: str | None, session: Session | None, /) -> None:
        """
        See :class:`~sessioncore_django.request_session.SessionFollower`.
        """
        if session is None or session.family != self._family:
            # Another session, whose data are others.
            vars(self).pop("_session_cache", None)
            self._stored = {}
            self._family = None
            self._owner = None
            self._signs_in = False
            self.modified = False
        self._session_key = key

    def note_sign_in(self) -> None:
        """
        Note that somebody has proven identity: the next save opens a session for it.
        """
        self._signs_in = True
        held: dict[str, Any] = vars(self).get("_session_cache", {})
        if self._owner is not None and self._owner != _user_id(held):
            # ``login`` forgets what another user's session held, and knows one by its data.
            # Whom ``request.sessioncore`` has signed in has nothing there.
            for key in held.keys() - _AUTH_KEYS:
                del held[key]

    # -- Reading ----------------------------------------------------------------

    # Django has a plain attribute there, which is read and set as this one is.
    @property
    def accessed(self) -> bool:
        """
        Whether the session was asked for, so that the response depends on the cookie.
        """
        return self._accessed

    @accessed.setter
    def accessed(self, value: bool) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        self._accessed = value
        if value:
            self._keep_from_caches()

    @property
    def session_key(self) -> str | None:
        """
        The text of the id. To ask for it is to ask for the session.
        """
        self._accessed = True
        self._keep_from_caches()
        return self._session_key

    def load(self) -> dict[str, Any]:
        """
        Read the data of the live session; empty, and without a key, if there is none.

        Raises:
            Crossed: The browser has a newer id than this.
        """
        session = None if self._session_key is None else self._live()
        data = None if session is None else self._read(session)
        if session is None or data is None:
            self.follow(None, None)
            return {}
        believed = {key: value for key, value in data.items() if key != EXPIRES_AT}
        if believed.get(SESSION_KEY) is not None and str(believed[SESSION_KEY]) != session.user_id:
            for key in _AUTH_KEYS:
                believed.pop(key, None)
        return self._unpacked(believed)

    def exists(self, session_key: str | None) -> bool:
        """
        Tell whether this is the id of a live session. That is no sign of life.
        """
        outcome = self._exchange_of_request.auth.authenticate(
            session_key, passive=True, from_store=True
        )
        return isinstance(outcome, Active)

    # -- Writing ----------------------------------------------------------------

    def create(self) -> None:
        """
        Open a new session: of the user that the data name, or of a visitor.

        A live one goes on under another id instead: a second one of the same user would
        need a proof of its own.

        Raises:
            Ended: The session has ended meanwhile.

            Interruption: It may not be opened: the limit is reached, for example.
        """
        if self._session_key is not None:
            self.keys()  # loads them, and finds whether it is live
        if self._session_key is not None:
            self.cycle_key()
            return
        held: dict[str, Any] | None = vars(self).get("_session_cache")
        self._open(held or {})
        self.modified = True

    def save(self, must_create: bool = False) -> None:  # noqa: FBT001, FBT002 - Django's
        """
        Write what has changed since the data were loaded.

        Raises:
            Ended: The session has ended meanwhile.

            CreateError: It exists, and must not.

            Interruption: A session may not be opened for the user that the data name.
        """
        if must_create and self._session_key is not None and self.exists(self._session_key):
            raise CreateError
        contents = {} if must_create else dict(self.items())  # which loads them
        if must_create or self._session_key is None:
            self.create()
            return
        session = self._live()
        if session is None:
            raise Ended
        if session.family != self._family:
            self._read(session)  # clear() looks at nothing
        named = _user_id(contents)
        if named is None and session.user_id is not None and SESSION_KEY in self._stored:
            # Somebody took the user out of the data. What is left is a visitor's.
            self._exchange_of_request.logout(whoever_asks=True)
            if contents:
                self._open(contents)
            self._session_cache = contents
        elif named is not None and (named != session.user_id or self._signs_in):
            self._open(self._carried(session, named, contents))
        else:
            self._write(session, *self._packed(contents))

    def _carried(self, session: Session, named: str, contents: dict[str, Any]) -> dict[str, Any]:
        # What a session that is left behind held is of nobody's concern any more if it was
        # another user's, or has ended since. What this request has put there goes on.
        is_ours = session.user_id is None or session.user_id == named
        if is_ours and isinstance(self._exchange_of_request.auth.recheck(session), Active):
            return contents
        _, encoded = self._packed(contents)
        return {
            key: value
            for key, value in contents.items()
            if key in _AUTH_KEYS or encoded.get(key) != self._stored.get(key)
        }

    def _open(self, contents: dict[str, Any]) -> None:
        exchange = self._exchange_of_request
        packed, encoded = self._packed(contents)  # before anything is opened: it may be refused
        user_id = _user_id(contents)
        if user_id is None:
            opened = exchange.start_anonymous()
        else:
            terms = exchange.terms
            established = exchange.establish(
                exchange.attempt_of(user_id), methods=terms.methods, policy=terms.policy
            )
            if not isinstance(established, LoggedIn):
                raise Interruption(problem_of(established))
            opened = established
        # All of it: what a visitor's session held goes on in the user's, as Django has it.
        self._signs_in = False
        self._stored = {}
        self._family = opened.session.family
        self._owner = opened.session.user_id
        try:
            self._write(opened.session, packed, encoded)
        except BaseException as error:
            # Answered as a failure, so nobody must be signed in by it.
            exchange.abandon()
            self.follow(None, None)
            if isinstance(error, StoreUnavailable):
                # The session before it has ended: "nothing was done" would not be true.
                raise OutcomeUnknown("the session was opened, and its data not written") from error
            raise
        self._session_cache = contents

    def _write(
        self, session: Session, packed: Mapping[str, Json], encoded: dict[str, bytes]
    ) -> None:
        auth = self._exchange_of_request.auth
        put = {key: packed[key] for key in packed if encoded[key] != self._stored.get(key)}
        removed = self._stored.keys() - packed.keys()
        if put or removed:
            if isinstance(auth.change_data(session, put, removed), SessionGone):
                raise Ended
        elif self.modified and isinstance(auth.recheck(session), Inactive):
            raise Ended
        self._stored = encoded

    def _expires_at(self, expiry: Json) -> int | None:
        # Seconds count from each save, as Django has it. None and 0 say nothing of time.
        if not expiry:
            return None
        if isinstance(expiry, str):
            instant = datetime.fromisoformat(expiry)
            if timezone.is_naive(instant):
                instant = timezone.make_aware(instant)
        elif isinstance(expiry, (int, float)):
            instant = self._exchange_of_request.auth.now() + timedelta(seconds=expiry)
        else:
            raise TypeError("an expiry is a number of seconds or an instant")
        return int(instant.timestamp() * 1_000)

    # -- Ending -----------------------------------------------------------------

    def delete(self, session_key: str | None = None) -> None:
        """
        End the session of that key, or this one.
        """
        self._exchange_of_request.auth.logout(session_key or self._session_key)

    def flush(self) -> None:
        """
        Sign out: end this session and forget its data.
        """
        exchange = self._exchange_of_request
        if exchange.holds_something:
            # Django calls this while it looks for the user: a template may swallow a failure.
            with exchange.noting_failure():
                exchange.logout(whoever_asks=True)
        else:
            self.follow(None, None)
        self.clear()

    async def aflush(self) -> None:
        """
        See :meth:`flush`.
        """
        await sync_to_async(self.flush)()

    def cycle_key(self) -> None:
        """
        Go on under another id, at once; the old one is worth nothing any more.

        Where there is no session yet, the key is drawn when the data are saved.

        Raises:
            Ended: The session has ended meanwhile.
        """
        self.keys()  # loads the data, which go on
        if self._session_key is not None:
            with self._exchange_of_request.noting_failure():  # as in flush
                outcome = self._exchange_of_request.rotate()
            if outcome == Inactive(InactiveReason.SUPERSEDED):
                raise self._exchange_of_request.crossed()
            if not isinstance(outcome, Rotated):
                raise Ended
        self.modified = True

    async def acycle_key(self) -> None:
        """
        See :meth:`cycle_key`.
        """
        await sync_to_async(self.cycle_key)()

    @classmethod
    def clear_expired(cls) -> None:
        """
        Delete what has expired by its policy: ``manage.py clearsessions``.
        """
        auth = configuration().auth
        while auth.purge().more:
            pass

    # -- Below ------------------------------------------------------------------

    @property
    def _exchange_of_request(self) -> DjangoRequestSession:
        if self._exchange is None:
            settings = configuration()
            key = self._session_key
            # Only what is an id can be put into a header, and be anybody's.
            presented = (
                None if SessionId.parse(key) is None else f"{settings.edge.cookie.name}={key}"
            )
            head = RequestHead(
                method="GET",
                path="/",
                target="/",
                cookies=() if presented is None else (presented,),
            )
            self._exchange = DjangoRequestSession(settings.auth, settings.edge, head)
            self._exchange.follower = self
        return self._exchange

    def _keep_from_caches(self) -> None:
        if self._exchange is not None:
            self._exchange.keep_from_caches()

    def _live(self) -> Session | None:
        outcome = self._exchange_of_request.authenticate()
        if outcome == Inactive(InactiveReason.SUPERSEDED):
            raise self._exchange_of_request.crossed()
        return outcome.session if isinstance(outcome, Active) else None

    def _read(self, session: Session) -> Mapping[str, Json] | None:
        data = self._exchange_of_request.data_of(session)
        if data is not None:
            self._family = session.family
            self._owner = session.user_id
            self._stored = {key: encode_value(value) for key, value in data.items()}
        return data

    def _packed(self, contents: dict[str, Any]) -> tuple[dict[str, Json], dict[str, bytes]]:
        # As the project's serializer writes JSON: a tuple becomes a list, for example.
        packed: dict[str, Json] = json.loads(self.serializer().dumps(contents))
        packed.pop(EXPIRES_AT, None)
        expires_at = self._expires_at(packed.get(_EXPIRY))
        if expires_at is not None:
            packed[EXPIRES_AT] = expires_at
        return packed, {key: encode_value(value) for key, value in packed.items()}

    def _unpacked(self, data: Mapping[str, Json]) -> dict[str, Any]:
        if self.serializer is signing.JSONSerializer:
            return dict(data)
        text = json.dumps(data, separators=(",", ":"))
        unpacked: dict[str, Any] = self.serializer().loads(text.encode("ascii"))
        return unpacked


@receiver(user_logged_in, dispatch_uid="sessioncore_django")
def note_sign_in(request: HttpRequest | None = None, **_: object) -> None:
    """
    Take ``django.contrib.auth.login`` for a sign-in also of who was signed in already.
    """
    store = getattr(request, "session", None)
    if isinstance(store, SessionStore):
        store.note_sign_in()


@receiver(user_logged_out, dispatch_uid="sessioncore_django")
def refuse_sign_out(request: HttpRequest | None = None, **_: object) -> None:
    """
    Let no GET of another site's page sign anybody out by ``django.contrib.auth.logout``.

    Here, for ``flush`` cannot tell: Django calls it in any request, to end a session that
    must not go on, and says nothing of it.

    Raises:
        Interruption: Such a page has caused the request.
    """
    session: DjangoRequestSession | None = getattr(request, "sessioncore", None)
    if session is not None:
        session.check_own_wish()


def _user_id(contents: Mapping[str, Any]) -> str | None:
    named = contents.get(SESSION_KEY)
    return None if named is None else str(named)
