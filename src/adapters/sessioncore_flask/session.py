"""
Flask's ``session``, and the request's session behind it.

The rules:

1.  Nothing is read before the session is looked into. Then its data are read once.
2.  At the end of the request the keys that changed are written, and no others: parallel
    requests that change different keys both win. What changed is found by comparing, so
    ``session["list"].append(...)`` needs no ``modified``.
3.  A visitor gets a session with the first thing that there is to remember, and not before.
4.  Signing in keeps what ``keep`` names, and nothing else, whether it was stored before or
    put by this very request. What is put afterwards belongs to the new session. What was
    only looked at is read anew, and nothing comes from a session of another user, nor from
    one that has ended.
5.  Signing out, and whatever else ends the session, ends the data: what had not been
    written yet is dropped.
6.  A session that ended elsewhere meanwhile takes nothing any more, and no other is opened
    in its place: the request is answered with the problem instead of as it would have been.
7.  A superseded id writes nothing: its browser has a better one, which must not be replaced.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from flask.sessions import SessionMixin

from sessioncore import Active, Inactive, InactiveReason, Json, LoggedIn, SessionGone
from sessioncore.data import checked_key, encode_value
from sessioncore_http import Interruption, RequestSession, ResponseStarted
from sessioncore_http.problems import sign_in_required, try_again

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from flask import Request
    from flask.json.tag import TaggedJSONSerializer

    from sessioncore import (
        Attempt,
        AuthenticationOutcome,
        AuthService,
        EstablishOutcome,
        LoginOutcome,
        Session,
        Subject,
    )
    from sessioncore_http import Edge, LegacySessions, RequestHead


class FlaskRequestSession(RequestSession):
    """
    The session of one request, and the data in it.

    Args:
        auth: The service.

        edge: The settings.

        head: The request, as far as sessions are concerned.

        legacy: See :class:`~sessioncore_flask.extension.Sessions`.

        request: The request. Its form is read only for a synchroniser token.

        serializer: Makes values JSON-shaped, and back.

        permanent_policy: See :class:`~sessioncore_flask.extension.Sessions`.
    """

    __slots__ = ("_request", "data", "reports_outage")

    def __init__(
        self,
        auth: AuthService,
        edge: Edge,
        head: RequestHead,
        legacy: LegacySessions | None = None,
        *,
        request: Request,
        serializer: TaggedJSONSerializer,
        permanent_policy: str | None = None,
    ) -> None:
        super().__init__(auth, edge, head, legacy)
        self._request = request
        self.data = FlaskSession(self, serializer, permanent_policy)
        self.reports_outage = False
        """Whether the response says that the store is down; it renews no id then."""

    @property
    def has_signed_out(self) -> bool:
        """
        Whether this request itself has ended the session.
        """
        return self._signed_out is not None

    def login(
        self,
        username: str,
        password: str,
        *,
        policy: str | None = None,
        keep: Collection[str] = (),
    ) -> LoginOutcome:
        """
        Sign a user in: :meth:`~sessioncore_http.RequestSession.login`.
        """
        unwritten = self.data.unwritten(keep)
        outcome = super().login(username, password, policy=policy, keep=keep)
        if isinstance(outcome, LoggedIn):
            self.data.move(unwritten)
        return outcome

    def establish(
        self,
        attempt: Attempt,
        *,
        methods: tuple[str, ...],
        policy: str | None = None,
        keep: Collection[str] = (),
    ) -> EstablishOutcome:
        """
        End a sign-in by other means: :meth:`~sessioncore_http.RequestSession.establish`.
        """
        unwritten = self.data.unwritten(keep)
        outcome = super().establish(attempt, methods=methods, policy=policy, keep=keep)
        if isinstance(outcome, LoggedIn):
            self.data.move(unwritten)
        return outcome

    def token(self) -> str | None:
        """
        Return the synchroniser token for a form: :meth:`~sessioncore_http.RequestSession.token`.
        """
        # The page is about to belong to a session, so its forms need that one's token.
        self.data.start_if_needed()
        return super().token()

    def check_token(self, token: str | None) -> None:
        """
        Check a synchroniser token; without one, that of the form that was posted.
        """
        if token is None and self.edge.token is not None:
            token = self._request.form.get(self.edge.token.form_field)
        super().check_token(token)


@dataclass(frozen=True, slots=True, repr=False)
class Unwritten:
    """
    What a request has put and removed and not written yet, as far as a sign-in keeps it.
    """

    user_id: str | None = None
    """Whose session it was meant for; ``None``: a visitor's."""

    values: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What was put."""

    removed: frozenset[str] = frozenset()
    """What was removed."""


class FlaskSession(SessionMixin):
    """
    What Flask calls ``session``: the data of the request's session. The rules stand above.

    Args:
        request_session: Whose data these are.

        serializer: Makes values JSON-shaped, and back.

        permanent_policy: What ``permanent = True`` asks for.
    """

    modified = False
    """Whether a key was put or removed. Nothing depends on it."""

    def __init__(
        self,
        request_session: FlaskRequestSession,
        serializer: TaggedJSONSerializer,
        permanent_policy: str | None,
    ) -> None:
        self.request_session = request_session
        self._serializer = serializer
        self._permanent_policy = permanent_policy
        self._permanent: bool | None = None
        self._is_loaded = False
        self._taken: Active | None = None
        self._is_saved = False
        self._subject: Subject | None = None
        self._lost: Subject | None = None
        self._stored: dict[str, Json] = {}
        # What was looked at or put. Only that can have changed.
        self._values: dict[str, Any] = {}
        self._removed: set[str] = set()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"  # reads nothing and shows nothing

    # -- A dictionary -----------------------------------------------------------

    def __getitem__(self, key: str) -> Any:
        self._load()
        if key not in self._values:
            if key in self._removed:
                raise KeyError(key)
            text = json.dumps(self._stored[key])
            self._values[key] = self._serializer.loads(text)
        return self._values[key]

    def __setitem__(self, key: str, value: Any) -> None:
        if not isinstance(cast("object", key), str):
            raise TypeError(f"a key of a session is a str, and not {type(key).__name__}")
        checked_key(key)
        self._prepare_to_change()
        self._values[key] = value
        self._removed.discard(key)
        self.modified = True

    def __delitem__(self, key: str) -> None:
        if key not in self:
            raise KeyError(key)
        self._prepare_to_change()
        del self._values[key]
        self._removed.add(key)
        self.modified = True

    def __iter__(self) -> Iterator[str]:
        # A copy: what is looked at on the way is taken note of.
        return iter(self._keys())

    def __len__(self) -> int:
        return len(self._keys())

    def clear(self) -> None:
        """
        Remove all data. Whoever is signed in stays so: see ``current_session.logout()``.
        """
        if not self:
            return
        self._prepare_to_change()
        self._values.clear()
        self._removed |= self._stored.keys()
        self.modified = True

    def _keys(self) -> list[str]:
        self._load()
        kept = [key for key in self._stored if key not in self._removed]
        return kept + [key for key in self._values if key not in self._stored]

    # -- What else Flask asks of a session --------------------------------------

    # Flask declares an attribute that somebody could set, and nobody does.
    @property
    def new(self) -> bool:  # type: ignore[override]
        """
        Whether there is none yet; the first thing that is put opens one.
        """
        return self.request_session.session() is None

    @property
    def permanent(self) -> bool:
        """
        Whether the session outlives the browser.

        Setting it asks for ``permanent_policy`` if a session is opened for this visitor. It
        opens none by itself, and does not change one that is there: for whoever signs in,
        say it with ``policy``.
        """
        if self._permanent is not None:
            return self._permanent
        session = self.request_session.session()
        return session is not None and session.policy == self._permanent_policy

    @permanent.setter
    def permanent(self, value: bool) -> None:
        self._permanent = bool(value)

    # -- Reading and writing ----------------------------------------------------

    def _load(self) -> None:
        outcome = self.request_session.authenticate(with_data=True)
        session = outcome.session if isinstance(outcome, Active) else None
        subject = None if session is None else session.subject
        if self._is_loaded:
            if subject == self._subject:
                return
            if self._subject is None and session is not None and session.is_anonymous:
                # Opened meanwhile for what is here.
                self._subject = subject
                return
            if session is None and not self.request_session.has_signed_out:
                # A copy had answered, and the store knows better: see rule 6.
                self._lost = self._subject if self._put(self._values) else self._lost
        self._stored = self._data_of(outcome)
        self._values.clear()
        self._removed.clear()
        self._subject = subject
        self._is_loaded = True

    def _data_of(self, outcome: AuthenticationOutcome) -> dict[str, Json]:
        if not isinstance(outcome, Active):
            return {}
        # What came with the answer is good once: it may be changed since.
        if outcome.data is not None and outcome is not self._taken:
            self._taken = outcome
            return dict(outcome.data)
        found = self.request_session.auth.read_data(outcome.session)
        # One that ended a moment ago is empty; whoever writes learns of it.
        return {} if isinstance(found, SessionGone) else dict(found.values)

    def _prepare_to_change(self) -> None:
        if self._is_saved:
            raise ResponseStarted("the session was saved when the response started")
        self._load()
        if self.request_session.authenticate() == Inactive(InactiveReason.SUPERSEDED):
            raise Interruption(try_again())

    def unwritten(self, keep: Collection[str]) -> Unwritten:
        """
        Return what a sign-in that follows may take along, beside what is stored.

        Asks the store once more if there is any such thing, and a session that it was put
        into: that one may have ended since.

        Args:
            keep: The keys whose values are kept.

        Raises:
            TypeError: See :meth:`save`.

            InvalidData: Likewise.

            StoreError: It is not known whether the session is live still.
        """
        if not self._is_loaded:
            return Unwritten()
        self._load()
        put = self._put(keep)
        removed = frozenset(self._removed.intersection(keep))
        if not put and not removed:
            return Unwritten()
        session = self.request_session.session()
        if session is None:
            user_id = None
        elif isinstance(self.request_session.auth.recheck(session), Active):
            user_id = session.user_id
        else:
            return Unwritten()
        return Unwritten(user_id, {key: self._values[key] for key in put}, removed)

    def move(self, unwritten: Unwritten) -> None:
        """
        Go on with the session that has just been signed in to.

        Args:
            unwritten: What follows, unless somebody else has signed in.
        """
        self._is_loaded = False
        self._lost = None
        self._values.clear()
        self._removed.clear()
        if not unwritten.values and not unwritten.removed:
            return
        if unwritten.user_id in {None, self.request_session.user_id()}:
            self._load()
            self._values.update(unwritten.values)
            self._removed.update(unwritten.removed)

    def start_if_needed(self) -> None:
        """
        Open a session for a visitor, if there is something to remember.
        """
        if self._is_loaded:
            self._load()
            if self._values and self._subject is None:
                self._start()

    def _start(self) -> Session:
        policy = self._permanent_policy if self._permanent else None
        opened = self.request_session.start_anonymous(policy=policy)
        self._subject = opened.session.subject
        return opened.session

    def save(self) -> None:
        """
        Write what changed. Whatever comes of it, it is not written again.

        Raises:
            TypeError: A value cannot be said in JSON, nor with a tag.

            InvalidData: Likewise: an infinity, for example.

            DataTooLarge: The policy's ``data_limit`` would be exceeded.

            Interruption: The session has ended meanwhile, and the data went nowhere.

            StoreError: The store did not take them, or it is not known whether it did.
        """
        if not self._is_loaded:
            return
        try:
            self._load()
            self._require_no_loss()
            put = self._put(self._values)
            removed = self._removed & self._stored.keys()
            if put or removed:
                self._write(put, removed)
        except BaseException:
            self._values.clear()
            self._removed.clear()
            raise
        self._stored = {k: v for k, v in self._stored.items() if k not in removed} | put
        self._removed.clear()

    def _put(self, keys: Collection[str]) -> dict[str, Json]:
        encoded: dict[str, Json] = {}
        for key, value in self._values.items():
            if key not in keys:
                continue
            # By way of text, as in a signed cookie: Flask's own JSON provider says what
            # becomes of decimals, enumerations and keys that are no text.
            found: Json = json.loads(self._serializer.dumps(value))
            encode_value(found)
            if key not in self._stored or _canonical(found) != _canonical(self._stored[key]):
                encoded[key] = found
        return encoded

    def _write(self, put: dict[str, Json], removed: set[str]) -> None:
        request_session = self.request_session
        session = request_session.session()
        is_new = session is None
        if session is None:
            session = self._start()
        try:
            written = request_session.auth.change_data(session, put, removed)
        except BaseException:
            if is_new:
                request_session.abandon()
            raise
        if put and isinstance(written, SessionGone):
            raise self._gone(session.subject)

    def _require_no_loss(self) -> None:
        if self._lost is not None:
            raise self._gone(self._lost)

    def _gone(self, subject: Subject) -> Interruption:
        if subject.is_anonymous:
            return Interruption(try_again())
        request_session = self.request_session
        return Interruption(
            sign_in_required(request_session.head, request_session.edge.sign_in_path)
        )

    def close(self) -> None:
        """
        Refuse changes from now on: the response starts.
        """
        self._is_saved = True


def _canonical(value: Json) -> str:
    # Not the values themselves: to Python, 1 and True are the same.
    return json.dumps(value, sort_keys=True)
