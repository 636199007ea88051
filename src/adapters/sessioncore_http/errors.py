"""
What goes wrong at the edge, apart from failures of a store.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sessioncore import SessionCoreError

if TYPE_CHECKING:
    from sessioncore_http.problems import Problem


class UnsafeConfiguration(SessionCoreError, ValueError):
    """
    A setting would weaken what the edge promises, and no reason was given for it.
    """


class ResponseStarted(SessionCoreError):
    """
    The response has started, so no cookie can be written any more; nothing was done.

    Ask for the session, sign in and sign out before the first part of the body is sent.
    """


class Interruption(SessionCoreError):
    """
    The request gets another answer than the application's own.

    Raised by the ``require`` methods and turned into a response by whichever middleware
    or framework package is in use, so that a view needs no branch for it.

    Args:
        problem: What to answer.
    """

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.title)
        self.problem = problem
