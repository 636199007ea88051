"""
What the races ask of every library: the protocol against which they are written.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from benchmarks.races.gates import Gate
    from benchmarks.races.server import Server

PASSWORD: Final = "correct horse battery staple"  # noqa: S105 - of users that exist for a race

ANOTHER_PASSWORD: Final = "four random common words"  # noqa: S105 - likewise


class NotOffered(Exception):
    """
    The library has nothing for this, by its documentation.
    """


@dataclass(frozen=True)
class Answer:
    """
    What a browser gets to see of a request.
    """

    status: int
    """As in HTTP. Above 399, the app said that the request came to nothing."""

    user: str = ""
    """Whose session the request was served in; empty if nobody's."""

    text: str = ""
    """The value that was asked for."""

    cookie: str | None = None
    """A session cookie to keep from now on, empty to drop it; ``None`` to leave it alone."""

    proven_again: bool = False
    """Of a sign-in: whether its password was verified more than once."""

    def is_for(self, user: str) -> bool:
        """
        Tell whether the request was served as *user*'s.
        """
        return self.status < 400 and self.user == user


class Peer(Protocol):
    """
    A minimal app on one session library.

    Every method is one request, made with the session cookie that it is given,
    and may be called from any thread. A request that gets a gate stops there.
    """

    @property
    def session_limit(self) -> int:
        """
        How many sessions a user may have.

        Raises:
            NotOffered: As many as anybody wants.
        """
        ...

    def enrol(self) -> str:
        """
        Make a user with the password :data:`PASSWORD`, and return the name.
        """
        ...

    def foreign_id(self) -> str:
        """
        Make up an id that looks like the library's own, and that no server ever issued.
        """
        ...

    def login(
        self,
        user: str,
        cookie: str | None = None,
        *,
        fresh_id: bool = False,
        gate: Gate | None = None,
    ) -> Answer:
        """
        Sign *user* in with :data:`PASSWORD`.

        Args:
            user: Who.

            cookie: What the browser holds already.

            fresh_id: Use what the library documents against session fixation, if
                sign-in does not do that by itself.

            gate: In the view, it stands where the password was verified.
        """
        ...

    def logout(self, cookie: str) -> Answer:
        """
        Sign out in the documented way.
        """
        ...

    def whoami(self, cookie: str, gate: Gate | None = None) -> Answer:
        """
        Read the session, and change nothing.
        """
        ...

    def put(self, cookie: str | None, key: str, value: str, gate: Gate | None = None) -> Answer:
        """
        Read the session, and put a value into its data.
        """
        ...

    def get(self, cookie: str, key: str) -> Answer:
        """
        Return a value from the session's data as text.
        """
        ...

    def increment(self, cookie: str, key: str, gate: Gate | None = None) -> Answer:
        """
        Add one to a number in the session's data, absent or not.
        """
        ...

    def renew(self, cookie: str) -> Answer:
        """
        Be the request in which it is time to replace the session id.
        """
        ...

    def rotate(self, cookie: str) -> Answer:
        """
        Replace the session id because its user has just gained a privilege.
        """
        ...

    def outlast_grace(self) -> None:
        """
        Let the time pass during which a replaced id may still be accepted, if there is any.
        """
        ...

    def change_password(self, user: str, /) -> None:
        """
        Give *user* :data:`ANOTHER_PASSWORD` and end all sessions, as an operator would.
        """
        ...

    def logout_everywhere(self, user: str, /) -> None:
        """
        End all sessions of *user*, whose password stays as it is.
        """
        ...


class OpensPeer(Protocol):
    """
    Starts the app on a server, and stops it in the end.
    """

    def __call__(self, server: Server, /, **settings: Any) -> AbstractContextManager[Peer]:
        """
        Start it with *settings* of the library that differ from its defaults.
        """
        ...


def foreign(module: str) -> Any:
    """
    Import a module of a peer, without types.

    Few of them have any: this is the one door through which they come in.
    """
    return importlib.import_module(module)
