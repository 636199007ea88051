"""
Decorators for views that need somebody who is signed in.

They go between ``@app.route`` and the view, on methods of a class-based view, or into its
``decorators``. A view that is asynchronous stays so.
"""

from __future__ import annotations

from functools import wraps
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar, overload

from sessioncore_flask.current import request_session

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta

P = ParamSpec("P")
T = TypeVar("T")


class ViewDecorator(Protocol):
    """
    Takes a view and returns one of the same type.
    """

    def __call__(self, view: Callable[P, T], /) -> Callable[P, T]:
        """
        Put the condition before the view.
        """
        ...


def login_required(view: Callable[P, T], /) -> Callable[P, T]:
    """
    Let only those in who are signed in.

    Others are sent to the sign-in page, or get a 401.
    """
    return _guarded(view, lambda: request_session().require())


@overload
def fresh_login_required(view: Callable[P, T], /) -> Callable[P, T]: ...


@overload
def fresh_login_required(*, max_age: timedelta | None = None) -> ViewDecorator: ...


def fresh_login_required(
    view: Callable[..., Any] | None = None, /, *, max_age: timedelta | None = None
) -> Callable[..., Any]:
    """
    Let only those in who have proven recently who they are.

    With or without parentheses.

    Args:
        view: The view.

        max_age: How old the proof may be; by default what the session's policy says.
    """

    def decorate(view: Callable[P, T], /) -> Callable[P, T]:
        return _guarded(view, lambda: request_session().require_fresh(max_age))

    return decorate if view is None else decorate(view)


def _guarded(view: Callable[P, Any], prove: Callable[[], object]) -> Callable[P, Any]:
    if iscoroutinefunction(view):
        # Flask looks at the function to know how to call it.
        @wraps(view)
        async def guarded_asynchronously(*args: P.args, **kwargs: P.kwargs) -> Any:
            prove()
            return await view(*args, **kwargs)

        return guarded_asynchronously

    @wraps(view)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> Any:
        prove()
        return view(*args, **kwargs)

    return guarded
