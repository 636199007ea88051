"""
The races, each written once against the protocol that all peers serve.

A race answers what became of the promise that it tests: :data:`SAFE`, or a few
words on how it was broken. Nothing in it is random but ids.
"""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from benchmarks.races.gates import Held, Where
from benchmarks.races.peer import Answer, NotOffered, Peer

if TYPE_CHECKING:
    from collections.abc import Callable

SAFE: Final = "safe"
NOT_OFFERED: Final = "not offered"
SIGNED_IN_AGAIN: Final = "signed in again"
LOST: Final = "lost"
ADOPTED: Final = "adopted"
ID_KEPT: Final = "id kept"
EXCEEDED: Final = "exceeded"
SURVIVES: Final = "survives"
PROVEN_AGAIN: Final = "proven again"
REFUSED: Final = "requests refused"
SIGNED_OUT: Final = "signed out"
OLD_ID_LIVES: Final = "old id stays valid"

LOGINS_AT_ONCE: Final = 5
"""As many as sessioncore's guess limits let pass for one account at the same moment."""


@dataclass(frozen=True)
class Race:
    """
    One race.
    """

    key: str
    title: str
    question: str
    run: Callable[[Peer], str]


@dataclass(frozen=True)
class Result:
    """
    How often a race had which outcome.
    """

    outcomes: Counter[str]

    @property
    def is_certain(self) -> bool:
        """
        Whether all trials had the same outcome, as they should.
        """
        return len(self.outcomes) == 1

    def __str__(self) -> str:
        if set(self.outcomes) == {NOT_OFFERED}:
            return NOT_OFFERED
        trials = self.outcomes.total()
        parts = (f"{what} {times}/{trials}" for what, times in self.outcomes.most_common())
        return "; ".join(parts)


def measure(peer: Peer, race: Race, trials: int) -> Result:
    """
    Run a race *trials* times; what is not offered is asked for only once.
    """
    outcomes: Counter[str] = Counter()
    for _ in range(trials):
        try:
            outcomes[race.run(peer)] += 1
        except NotOffered:
            return Result(Counter([NOT_OFFERED]))
    return Result(outcomes)


def expect(condition: bool, otherwise: str) -> None:  # noqa: FBT001 - reads like an assertion
    """
    See that the peer does what it should when nothing races.

    Raises:
        RuntimeError: It does not, so that the race would mean nothing.
    """
    if not condition:
        raise RuntimeError(otherwise)


def signed_in(peer: Peer, user: str) -> str:
    """
    Sign a new browser in, and return its cookie.
    """
    cookie = peer.login(user).cookie or ""
    expect(peer.whoami(cookie).is_for(user), "the sign-in signed nobody in")
    return cookie


def logout_beside(peer: Peer, late: Callable[[str], Held[Answer]]) -> str:
    """
    Sign out while a request, already under way, stands at its gate.
    """
    user = peer.enrol()
    cookie = signed_in(peer, user)
    with late(cookie) as request:
        peer.logout(cookie)
        expect(not peer.whoami(cookie).is_for(user), "the logout signed nobody out")
        answer = request.finish()
    # The browser may have the cookie that it had, or what came with the late answer.
    held = {cookie, answer.cookie or cookie}
    return SIGNED_IN_AGAIN if any(peer.whoami(text).is_for(user) for text in held) else SAFE


def logout_beside_writer(peer: Peer) -> str:
    """
    The late request stands in the app's code, and changes data afterwards.
    """
    return logout_beside(peer, lambda cookie: Held(Where.VIEW, partial(peer.put, cookie, "k", "v")))


def logout_beside_reader(peer: Peer) -> str:
    """
    The late request stands in the app's code, and changes nothing.
    """
    return logout_beside(peer, lambda cookie: Held(Where.VIEW, partial(peer.whoami, cookie)))


def logout_beside_write(peer: Peer) -> str:
    """
    The late request has left the app's code, and stands before its first write.
    """
    return logout_beside(
        peer, lambda cookie: Held(Where.WRITE, partial(peer.put, cookie, "k", "v"))
    )


def two_keys(peer: Peer) -> str:
    """
    Two requests have read the session; each puts a key of its own.
    """
    cookie = signed_in(peer, peer.enrol())
    requests = [
        Held(Where.VIEW, partial(peer.put, cookie, key, "here")) for key in ("first", "second")
    ]
    for request in requests:
        request.finish()
    found = [peer.get(cookie, key).text for key in ("first", "second")]
    return SAFE if found == ["here", "here"] else LOST


def two_increments(peer: Peer) -> str:
    """
    Two requests have read a number; each adds one.
    """
    cookie = signed_in(peer, peer.enrol())
    requests = [Held(Where.VIEW, partial(peer.increment, cookie, "number")) for _ in range(2)]
    for request in requests:
        request.finish()
    return SAFE if peer.get(cookie, "number").text == "2" else LOST


def foreign_id(peer: Peer) -> str:
    """
    A browser signs in with an id in its cookie that somebody else made up.
    """
    user, made_up = peer.enrol(), peer.foreign_id()
    expect(peer.login(user, made_up).is_for(user), "the sign-in signed nobody in")
    return ADOPTED if peer.whoami(made_up).is_for(user) else SAFE


def id_from_before(peer: Peer) -> str:
    """
    A browser signs in with an anonymous session's id, which somebody else knows.
    """
    return _id_from_before(peer, _id_of_visitor(peer), fresh_id=False)


def id_from_before_with_care(peer: Peer) -> str:
    """
    Both kinds of id, and the app does what the library documents against it.
    """
    known = (peer.foreign_id(), _id_of_visitor(peer))
    outcomes = {_id_from_before(peer, text, fresh_id=True) for text in known}
    return ID_KEPT if ID_KEPT in outcomes else SAFE


def _id_from_before(peer: Peer, known: str, *, fresh_id: bool) -> str:
    user = peer.enrol()
    answer = peer.login(user, known, fresh_id=fresh_id)
    expect(peer.whoami(answer.cookie or known).is_for(user), "the sign-in signed nobody in")
    return ID_KEPT if peer.whoami(known).is_for(user) else SAFE


def _id_of_visitor(peer: Peer) -> str:
    known = peer.put(None, "basket", "full").cookie or ""
    expect(peer.get(known, "basket").text == "full", "the visitor has no session")
    return known


def logins_at_the_limit(peer: Peer) -> str:
    """
    A user who may have one more session signs in five times at once.
    """
    limit, user = peer.session_limit, peer.enrol()
    cookies = [signed_in(peer, user) for _ in range(limit - 1)]
    with ExitStack() as standing:
        # All have counted the user's sessions before any of them adds one.
        logins = [
            standing.enter_context(Held(Where.WRITE, lambda gate: peer.login(user, gate=gate)))
            for _ in range(LOGINS_AT_ONCE)
        ]
        for login in logins:
            cookies += filter(None, [login.finish().cookie])
            if sum(peer.whoami(cookie).is_for(user) for cookie in cookies) > limit:
                return EXCEEDED
    return SAFE


def password_change_beside_login(peer: Peer) -> str:
    """
    The password changes while a login stands that has verified the old one.
    """
    return _everywhere(peer, peer.change_password)


def logout_everywhere_beside_login(peer: Peer) -> str:
    """
    All sessions are ended while a login stands that has verified the password.
    """
    return _everywhere(peer, peer.logout_everywhere)


def _everywhere(peer: Peer, end: Callable[[str], None]) -> str:
    user = peer.enrol()
    cookies = [signed_in(peer, user) for _ in range(2)]
    with Held(Where.VIEW, lambda gate: peer.login(user, gate=gate)) as login:
        end(user)
        answer = login.finish()
    if any(peer.whoami(cookie).is_for(user) for cookie in cookies):
        return SURVIVES
    if not answer.cookie or not peer.whoami(answer.cookie).is_for(user):
        return SAFE
    return PROVEN_AGAIN if answer.proven_again else SURVIVES


def renewal(peer: Peer) -> str:
    """
    The id is renewed by one of six requests that a page makes at once.
    """
    return _six_requests(peer, peer.renew)


def rotation(peer: Peer) -> str:
    """
    The id is replaced at a gain of privilege in one of six requests.
    """
    return _six_requests(peer, peer.rotate)


def _six_requests(peer: Peer, replace: Callable[[str], Answer]) -> str:
    user = peer.enrol()
    old = signed_in(peer, user)
    with ExitStack() as standing:
        # Three were served before and are still running, two arrive afterwards.
        early = [
            standing.enter_context(Held(Where.VIEW, partial(peer.put, old, key, "v")))
            for key in ("first", "second", "third")
        ]
        answers = [replace(old), peer.whoami(old), peer.whoami(old)]
        answers += [request.finish() for request in early]
    # The browser does with its cookie what each answer says, as they come.
    browser = old
    for answer in answers:
        browser = browser if answer.cookie is None else answer.cookie
    broken: list[str] = []
    if not all(answer.is_for(user) for answer in answers):
        broken.append(REFUSED)
    if not peer.whoami(browser).is_for(user):
        broken.append(SIGNED_OUT)
    peer.outlast_grace()
    if peer.whoami(old).is_for(user):
        broken.append(OLD_ID_LIVES)
    return ", ".join(broken) or SAFE


RACES: Final = (
    Race(
        "1a",
        "logout beside a writer",
        "A request that has read the session changes data after the logout: is it alive again?",
        logout_beside_writer,
    ),
    Race(
        "1b",
        "logout beside a reader",
        "The same with a request that changes nothing.",
        logout_beside_reader,
    ),
    Race(
        "1c",
        "logout just before a write",
        "The same with a request whose next step is its first write to the store.",
        logout_beside_write,
    ),
    Race(
        "2",
        "two keys at once",
        "Two requests have read the session and put different keys: are both there?",
        two_keys,
    ),
    Race(
        "3a",
        "made-up id at sign-in",
        "A browser signs in with an id that somebody else made up: is that id signed in?",
        foreign_id,
    ),
    Race(
        "3b",
        "id from before sign-in",
        "A browser signs in with the id of its anonymous session: is that id signed in?",
        id_from_before,
    ),
    Race(
        "3c",
        "both, with care",
        "Both, if the app does what the library documents against session fixation.",
        id_from_before_with_care,
    ),
    Race(
        "4",
        "logins at the limit",
        "Five logins at once of a user who may have one more session: are there more than allowed?",
        logins_at_the_limit,
    ),
    Race(
        "5a",
        "password change beside a login",
        "The password changes while a login stands that verified the old one: does any live on?",
        password_change_beside_login,
    ),
    Race(
        "5b",
        "sign-out everywhere beside a login",
        "All sessions end while a login stands that verified the password: does any live on?",
        logout_everywhere_beside_login,
    ),
    Race(
        "6",
        "two increments at once",
        "Two requests have read a number and add one to it: is one of them lost?",
        two_increments,
    ),
    Race(
        "7a",
        "renewal beside six requests",
        "The id is renewed in one of six parallel requests: is anybody refused or signed out?",
        renewal,
    ),
    Race(
        "7b",
        "rotation beside six requests",
        "The same when the id is replaced because the user has gained a privilege.",
        rotation,
    ),
)
