"""
sessioncore for Django.

A session engine and a middleware in the place of Django's, so that ``request.session``,
``django.contrib.auth`` and the admin go on as they are; ``request.sessioncore`` is what
they have no words for. docs/django.md says how it is set up.
"""

from sessioncore_django.decorators import fresh_login_required, login_required
from sessioncore_django.request_session import DjangoRequestSession, session_of

__all__ = ["DjangoRequestSession", "fresh_login_required", "login_required", "session_of"]
