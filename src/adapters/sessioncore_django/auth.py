"""
Together with ``django.contrib.auth``: signing in in the right order, and ``request.user``.
"""

from __future__ import annotations

import hashlib
from functools import partial
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from django.contrib import auth
from django.contrib.auth.backends import BaseBackend
from django.contrib.auth.middleware import AuthenticationMiddleware as DjangoAuthentication
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import ValidationError
from django.utils.functional import SimpleLazyObject

from sessioncore import StoreError
from sessioncore_django.request_session import DjangoRequestSession, Terms, session_of
from sessioncore_http import Interruption

if TYPE_CHECKING:
    from django.contrib.auth.base_user import AbstractBaseUser
    from django.http import HttpRequest


class AttemptBackend(BaseBackend):
    """
    Lets nobody in, and begins the sign-in before the backends after it check the password.

    First in ``AUTHENTICATION_BACKENDS``::

        AUTHENTICATION_BACKENDS = [
            "sessioncore_django.auth.AttemptBackend",
            "django.contrib.auth.backends.ModelBackend",
        ]

    ``django.contrib.auth`` tells nobody of a sign-in before the password is verified. If
    all of the user's sessions are ended at that moment, one that is opened afterwards
    escapes (ADR-0009). With this, it is refused: in Django's own sign-in view, in the
    admin's, and wherever else ``authenticate(request, ...)`` comes before ``login``.
    """

    def authenticate(
        self, request: HttpRequest | None, username: str | None = None, **credentials: Any
    ) -> None:
        """
        Open the epoch of whoever has that name.

        A name that nobody has costs the same: one of a fixed set of epochs is opened.
        """
        session: DjangoRequestSession | None = getattr(request, "sessioncore", None)
        model: Any = auth.get_user_model()
        name = credentials.get(model.USERNAME_FIELD) if username is None else username
        if session is None or name is None:
            return
        try:
            user = model._default_manager.get_by_natural_key(name)  # noqa: SLF001 - as ModelBackend
        except model.DoesNotExist:
            session.prepare(f"nobody {hashlib.sha256(str(name).encode()).digest()[0]}")
        else:
            session.prepare(_user_id(user))


def sign_in(
    request: HttpRequest,
    user: AbstractBaseUser,
    *,
    backend: str | None = None,
    methods: tuple[str, ...] = ("pwd",),
    policy: str | None = None,
) -> None:
    """
    Do what ``django.contrib.auth.login`` does, at once, and with what that cannot say.

    Args:
        request: The request.

        user: What ``authenticate(request, ...)`` returned.

        backend: See ``login``.

        methods: How identity was proven, by RFC 8176 names.

        policy: The name of the policy to ask for, such as ``"remembered"``.

    Raises:
        Interruption: No session was opened: the limit is reached, or the user's sessions
            were ended while the proof was checked.
    """
    session_of(request).terms = Terms(methods=methods, policy=policy)
    auth.login(request, user, backend)
    try:
        request.session.save()
    except Interruption:
        request.session.flush()
        request.user = AnonymousUser()
        raise
    except StoreError:
        request.user = AnonymousUser()
        raise


class AuthenticationMiddleware(DjangoAuthentication):
    """
    ``request.user``, also of a session that ``request.sessioncore`` signed in.

    In the place of Django's middleware with the same name, where users sign in by
    ``request.sessioncore.login`` or ``establish``: their sessions hold nothing of Django's,
    and the user is who the session says, by the backends of the project. Whoever signs in
    by ``django.contrib.auth`` is verified as ever.
    """

    def process_request(self, request: HttpRequest) -> None:
        """
        Put the user there, to be looked for when somebody asks.
        """
        super().process_request(request)
        request.user = SimpleLazyObject(partial(_user, request))  # type: ignore[assignment]
        request.auser = sync_to_async(partial(_user, request))


def _user(request: HttpRequest) -> Any:
    known: dict[str, Any] = vars(request)
    if "_cached_user" not in known:
        known["_cached_user"] = _found(request)
    return known["_cached_user"]


def _found(request: HttpRequest) -> Any:
    user = auth.get_user(request)
    user_id = session_of(request).user_id()
    if user.is_authenticated or user_id is None or auth.SESSION_KEY in request.session:
        return user
    try:
        key = auth.get_user_model()._meta.pk.to_python(user_id)  # noqa: SLF001 - Django's own way
    except ValidationError:
        return user
    found = (backend.get_user(key) for backend in auth.get_backends())
    return next((each for each in found if each is not None), user)


def _user_id(user: AbstractBaseUser) -> str:
    text: str = user._meta.pk.value_to_string(user)  # noqa: SLF001 - as login() does
    return text
