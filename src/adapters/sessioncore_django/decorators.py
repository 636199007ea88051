"""
Who may see a view.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, TypeVar, overload

from asgiref.sync import iscoroutinefunction, sync_to_async

from sessioncore_django.request_session import session_of
from sessioncore_http import Interruption
from sessioncore_http.problems import sign_in_required

if TYPE_CHECKING:
    from datetime import timedelta

    from django.http import HttpRequest

ViewT = TypeVar("ViewT", bound=Callable[..., Any])


def login_required(view: ViewT) -> ViewT:
    """
    Let in whoever is signed in; send a window to the sign-in page, and tell a program 401.

    Works on plain views and on ``async`` ones. If the project has ``request.user``, that has
    to be somebody, too: Django no longer knows who was deactivated, or changed the password.
    """
    return _guarded(view, partial(_require, fresh=False, max_age=None))


@overload
def fresh_login_required(view: ViewT, /) -> ViewT: ...
@overload
def fresh_login_required(*, max_age: timedelta | None = None) -> Callable[[ViewT], ViewT]: ...
def fresh_login_required(
    view: ViewT | None = None, /, *, max_age: timedelta | None = None
) -> ViewT | Callable[[ViewT], ViewT]:
    """
    Let in who has proven identity recently; send a window to the step-up page otherwise.

    Args:
        view: What is protected, where this stands without arguments.

        max_age: How old the proof may be; by default what the session's policy says.
    """
    check = partial(_require, fresh=True, max_age=max_age)
    if view is None:
        return partial(_guarded, check=check)
    return _guarded(view, check)


def _guarded(view: ViewT, check: Callable[[HttpRequest], None]) -> ViewT:
    @wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        check(request)
        return view(request, *args, **kwargs)

    @wraps(view)
    async def guarded_async(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        await sync_to_async(check)(request)
        return await view(request, *args, **kwargs)

    # Of asgiref: it knows class-based views, too.
    is_async = iscoroutinefunction(view)  # pyright: ignore[reportDeprecated]
    wrapped: Any = guarded_async if is_async else guarded
    return wrapped  # type: ignore[no-any-return]


def _require(request: HttpRequest, *, fresh: bool, max_age: timedelta | None) -> None:
    session = session_of(request)
    # Django first: it may find that the session must end.
    user = getattr(request, "user", None)
    is_known = user is None or user.is_authenticated
    if fresh:
        session.require_fresh(max_age)
    else:
        session.require()
    if not is_known:
        raise Interruption(sign_in_required(session.head, session.edge.sign_in_path))
