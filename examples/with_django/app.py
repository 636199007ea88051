"""
sessioncore in a Django project.

    python -m examples.with_django.app

The lines that embed it are those of :func:`settings_of`; they would stand in the project's
``settings.py``. The pages are in :mod:`examples.with_django.views`, and each uses the
session of its request in one way.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit
from wsgiref.simple_server import make_server
from wsgiref.types import WSGIApplication

from django.conf import settings
from django.core.wsgi import get_wsgi_application

from sessioncore import AuthService, Busy, Policies, Policy
from sessioncore_argon2 import Argon2PasswordHasher
from sessioncore_http import Edge
from sessioncore_memory import MemoryCredentialStore, MemorySessionStore


def settings_of(auth: AuthService, origin: str) -> dict[str, Any]:
    """
    Return the settings: what sessioncore needs, and what Django needs anyway.

    Args:
        auth: The service. In a project of its own it would be named by its import path.

        origin: Where the pages are, as in the address bar.
    """
    edge = Edge(origins=[origin], sign_in_path="/sign-in", step_up_path="/step-up")
    return {
        "INSTALLED_APPS": ["sessioncore_django"],
        "MIDDLEWARE": ["sessioncore_django.middleware.SessionMiddleware"],
        "SESSION_ENGINE": "sessioncore_django.engine",
        "SESSION_COOKIE_NAME": edge.cookie.name,
        "SESSIONCORE": {"AUTH": auth, "EDGE": edge},
        "DEFAULT_EXCEPTION_REPORTER_FILTER": "sessioncore_django.reports.ExceptionReporterFilter",
        # The rest has nothing to do with sessions.
        "ALLOWED_HOSTS": [urlsplit(origin).hostname],
        "ROOT_URLCONF": "examples.with_django.views",
        "SECRET_KEY": "nothing in this example is signed with it",
    }


def create_app(auth: AuthService, origin: str) -> WSGIApplication:
    """
    Make the application. Django has one set of settings for a process, so this does, too.
    """
    if not settings.configured:
        settings.configure(**settings_of(auth, origin))
    return get_wsgi_application()


# -- On this computer --------------------------------------------------------------


def main(port: int = 8000) -> None:
    """
    Serve it, with one user, until Ctrl-C.
    """
    passwords = Argon2PasswordHasher()
    encoded = passwords.hash("correct horse battery staple")
    if isinstance(encoded, Busy):
        raise SystemExit("the machine is too busy; please try again")
    credentials = MemoryCredentialStore()
    credentials.add_user("u-1", "alice", encoded)
    auth = AuthService(
        sessions=MemorySessionStore(),
        credentials=credentials,
        passwords=passwords,
        policy=Policies(
            Policy(idle_timeout=timedelta(minutes=30), absolute_timeout=timedelta(hours=12)),
            Policy.remembered(),
        ),
    )
    origin = f"http://127.0.0.1:{port}"
    with make_server("127.0.0.1", port, create_app(auth, origin)) as server:
        print(f"{origin}/  (alice, correct horse battery staple)", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
