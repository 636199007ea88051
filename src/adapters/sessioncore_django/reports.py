"""
What Django's error reports may show of us.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.views.debug import SafeExceptionReporterFilter

if TYPE_CHECKING:
    from collections.abc import ItemsView
    from types import FrameType

    from django.http import HttpRequest


class ExceptionReporterFilter(SafeExceptionReporterFilter):
    """
    Hides the variables of our frames, where ids and passwords are, also with ``DEBUG``.

    In the settings: ``DEFAULT_EXCEPTION_REPORTER_FILTER =
    "sessioncore_django.reports.ExceptionReporterFilter"``. It hides what Django's hides,
    too. What the variables of a project's own view hold is for ``sensitive_variables``.
    """

    def get_traceback_frame_variables(
        self, request: HttpRequest | None, tb_frame: FrameType
    ) -> ItemsView[str, Any]:
        """
        Return the variables of a frame as a report may show them.
        """
        package, _, _ = str(tb_frame.f_globals.get("__name__", "")).partition(".")
        if package == "sessioncore" or package.startswith("sessioncore_"):
            return dict.fromkeys(tb_frame.f_locals, self.cleansed_substitute).items()
        shown: ItemsView[str, Any] = super().get_traceback_frame_variables(request, tb_frame)
        return shown
