"""
The Django application: what it brings along is checks, and a command.
"""

from django.apps import AppConfig
from django.core.checks import Tags, register

from sessioncore_django.checks import check_settings


class SessioncoreConfig(AppConfig):
    """
    ``"sessioncore_django"`` in ``INSTALLED_APPS``. It has no tables.
    """

    name = "sessioncore_django"

    def ready(self) -> None:
        """
        Register the checks.
        """
        register(check_settings, Tags.security)
