"""
The one Django project of a test process.

Django has one set of settings for a whole process, so whoever tests with Django imports
this module first and shares it::

    import django_project  # before anything that reads Django's settings

    @pytest.fixture(autouse=True)
    def _django() -> Iterator[None]:
        with django_project.empty_database():
            yield

Everything else (``SESSION_ENGINE``, ``MIDDLEWARE``, ``ROOT_URLCONF``, ...) is a test's own
business: ``django.test.override_settings``, as a context manager or a decorator. The
database is a file of SQLite's, so that threads see each other's rows; a thread of a test
ends with ``connections.close_all()``. Passwords are hashed cheaply.
"""

from __future__ import annotations

import atexit
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import django
from django.conf import settings
from django.core.management import call_command
from django.db import connections

_folder = tempfile.TemporaryDirectory(prefix="django-")

SECRET_KEY = "a secret key for tests, of which nobody else knows"

settings.configure(
    ALLOWED_HOSTS=["*"],
    CACHES={"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}},
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": Path(_folder.name) / "database.sqlite3",
            "OPTIONS": {"timeout": 20},
        }
    },
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    INSTALLED_APPS=[
        "django.contrib.admin",
        "django.contrib.contenttypes",
        "django.contrib.auth",
        "django.contrib.messages",
        "django.contrib.sessions",
        "sessioncore_django",
    ],
    MIDDLEWARE=[],
    PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
    ROOT_URLCONF=(),
    SECRET_KEY=SECRET_KEY,
    TEMPLATES=[
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "APP_DIRS": True,
            "OPTIONS": {
                "context_processors": [
                    "django.template.context_processors.request",
                    "django.contrib.auth.context_processors.auth",
                    "django.contrib.messages.context_processors.messages",
                ]
            },
        }
    ],
    USE_TZ=True,
)
django.setup()


@atexit.register
def remove_database() -> None:
    """
    Close the database and remove its folder.
    """
    connections.close_all()
    _folder.cleanup()


@contextmanager
def empty_database() -> Generator[None, None, None]:
    """
    Have Django's tables, without a row, and close the connection afterwards.
    """
    _make_tables()
    call_command("flush", verbosity=0, interactive=False, inhibit_post_migrate=True)
    try:
        yield
    finally:
        connections.close_all()


@cache
def _make_tables() -> None:
    call_command("migrate", verbosity=0, interactive=False)
