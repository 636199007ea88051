"""
Django's sessions and its sign-in, on three of its session engines.

The cache is Redis. The database, which the users are in as well, is an SQLite
file. Passwords are hashed as Django's own tests do it, because a slow hash
changes no race.
"""

from __future__ import annotations

import functools
import logging
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks.races.clients import HeldConnection
from benchmarks.races.gates import armed
from benchmarks.races.peer import ANOTHER_PASSWORD, PASSWORD, foreign
from benchmarks.races.web import Order, Visit, WebPeer, serve, through_wsgi

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from benchmarks.races.server import Server

PACKAGES = ("Django",)

_KEY_CHARACTERS: Final = "abcdefghijklmnopqrstuvwxyz0123456789"
_KEY_LENGTH: Final = 32


class DjangoVisit(Visit):
    """
    A request to Django.
    """

    def __init__(self, request: Any) -> None:
        super().__init__(request.session)
        self._request = request
        self._verified: Any = None
        self._auth = foreign("django.contrib.auth")

    def user(self) -> str:
        """
        Ask Django's authentication.
        """
        return str(self._request.user.get_username())

    def verify(self, user: str) -> None:
        """
        Check the password.
        """
        self._verified = self._auth.authenticate(self._request, username=user, password=PASSWORD)

    def sign_in(self, user: str) -> None:
        """
        Log in whom :meth:`verify` found.
        """
        if self._verified.get_username() != user:
            raise RuntimeError("somebody else was verified")
        self._auth.login(self._request, self._verified)

    def fresh_id(self) -> None:
        """
        Nothing is left to do: ``login`` does it.
        """

    def sign_out(self) -> None:
        """
        Log out.
        """
        self._auth.logout(self._request)

    def renew(self) -> None:
        """
        Cycle the key.
        """
        self._request.session.cycle_key()


class DjangoPeer(WebPeer):
    """
    The app on Django, whose users are rows.
    """

    def enrol(self) -> str:
        """
        See :meth:`Peer.enrol`.
        """
        user = super().enrol()
        self._users().create_user(user, password=PASSWORD)
        return user

    def change_password(self, user: str, /) -> None:
        """
        See :meth:`Peer.change_password`. That ends all sessions, by the hash kept in each.
        """
        account = self._users().get_by_natural_key(user)
        account.set_password(ANOTHER_PASSWORD)
        account.save()

    @staticmethod
    def _users() -> Any:
        return foreign("django.contrib.auth").get_user_model().objects


def hold_before_sql(get_response: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """
    Middleware that holds a request's armed gate before it updates a row.
    """

    def execute(call: Any, sql: str, params: Any, many: bool, context: Any) -> Any:  # noqa: FBT001 - Django's signature
        if sql.startswith("UPDATE") and (gate := armed()) is not None:
            gate.hold()
        return call(sql, params, many, context)

    def respond(request: Any) -> Any:
        with foreign("django.db").connection.execute_wrapper(execute):
            return get_response(request)

    return respond


def _page(request: Any) -> Any:
    text = serve(Order.parse(request.META["QUERY_STRING"]), DjangoVisit(request))
    return foreign("django.http").HttpResponse(text, content_type="text/plain")


@functools.cache
def _configured() -> tempfile.TemporaryDirectory[str]:
    # Django has one configuration per process, and so there is one database. What
    # is returned removes its folder when the process ends.
    folder = tempfile.TemporaryDirectory(prefix="races-", ignore_cleanup_errors=True)
    foreign("django.conf").settings.configure(
        SECRET_KEY="races",  # noqa: S106 - of an app that lives for a minute
        ALLOWED_HOSTS=["*"],
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": str(Path(folder.name, "db.sqlite3")),
            }
        },
        DEFAULT_AUTO_FIELD="django.db.models.AutoField",
        INSTALLED_APPS=[
            "django.contrib.contenttypes",
            "django.contrib.auth",
            "django.contrib.sessions",
        ],
        PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
        ROOT_URLCONF=(foreign("django.urls").path("", _page),),
    )
    logging.getLogger("django").addHandler(logging.NullHandler())
    logging.getLogger("django").propagate = False
    foreign("django").setup()
    foreign("django.core.management").call_command("migrate", verbosity=0)
    return folder


@contextmanager
def django(
    server: Server, /, engine: str = "cache", **settings: Any
) -> Generator[WebPeer, None, None]:
    """
    Start the app on a session engine. *settings* are Django's.
    """
    _configured()
    middleware = [
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ]
    if engine == "db":
        middleware.insert(0, f"{__name__}.hold_before_sql")
    overridden = foreign("django.test").override_settings(
        CACHES={
            "default": {
                "BACKEND": "django.core.cache.backends.redis.RedisCache",
                "LOCATION": server.url,
                "OPTIONS": {"connection_class": HeldConnection},
            }
        },
        MIDDLEWARE=middleware,
        SESSION_ENGINE=f"django.contrib.sessions.backends.{engine}",
        **settings,
    )
    with overridden:
        yield DjangoPeer(
            through_wsgi(foreign("django.core.handlers.wsgi").WSGIHandler()),
            cookie_name="sessionid",
            new_id=lambda: foreign("django.utils.crypto").get_random_string(
                _KEY_LENGTH, _KEY_CHARACTERS
            ),
            renews=True,
            has_fresh_id=True,
        )
        foreign("django.core.cache").caches.close_all()
        foreign("django.db").connections.close_all()
