"""
The plugin: what an application of Litestar's needs for sessions, in one place.
"""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeAlias

from litestar.di import NamedDependency, Provide
from litestar.enums import ScopeType
from litestar.handlers import HTTPRouteHandler
from litestar.middleware import DefineMiddleware
from litestar.openapi.spec import Components, SecurityScheme
from litestar.plugins import InitPlugin, ReceiveRoutePlugin
from litestar.types import Scope

from sessioncore import StoreError
from sessioncore_asgi import SessionMiddleware, session_of
from sessioncore_http import AsyncRequestSession, Interruption
from sessioncore_litestar.guards import SessionGuard

if TYPE_CHECKING:
    from litestar.config.app import AppConfig
    from litestar.routes import BaseRoute

    from sessioncore import AsyncAuthService
    from sessioncore_http import Edge, LegacySessions

SCHEME_NAME: Final = "session"
"""What OpenAPI documents call the cookie."""


CurrentSession: TypeAlias = NamedDependency[AsyncRequestSession]
"""What a handler calls its parameter ``request_session``: not asked for yet."""


class SessionPlugin(InitPlugin, ReceiveRoutePlugin):
    """
    Gives every handler a dependency ``request_session``, and the edge the last word.

    Args:
        auth: The service.

        edge: The settings.

        legacy: Where the sessions of the library before this one are, while they are moved.
    """

    def __init__(
        self, auth: AsyncAuthService, edge: Edge, *, legacy: LegacySessions | None = None
    ) -> None:
        self._edge = edge
        self._middleware = DefineMiddleware(_middleware, auth=auth, edge=edge, legacy=legacy)

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        """
        Add the middleware, the dependency, the way out for exceptions, and the documents.
        """
        app_config.middleware.insert(0, self._middleware)
        app_config.dependencies["request_session"] = Provide(request_session)
        # An application may have handlers of its own for these.
        handlers: dict[Any, Any] = {**app_config.exception_handlers}  # pyright: ignore[reportUnknownMemberType] - Litestar's types are generic over what nobody names
        app_config.exception_handlers = {Interruption: _hand_on, StoreError: _hand_on, **handlers}
        app_config.after_exception.append(_hand_on_of_websockets)  # pyright: ignore[reportUnknownMemberType] - as above
        if app_config.openapi_config is not None:
            described = copy(app_config.openapi_config)
            components = described.components
            described.components = [
                *(components if isinstance(components, list) else [components]),
                Components(
                    security_schemes={
                        SCHEME_NAME: SecurityScheme(
                            type="apiKey", security_scheme_in="cookie", name=self._edge.cookie.name
                        )
                    }
                ),
            ]
            app_config.openapi_config = described
        return app_config

    def receive_route(self, route: BaseRoute) -> None:
        """
        Let the documents show the lock where one of our guards stands.
        """
        for handler in getattr(route, "route_handlers", ()):
            if isinstance(handler, HTTPRouteHandler) and _asks_for_session(handler):
                handler.security = [*(handler.security or ()), {SCHEME_NAME: []}]


async def request_session(scope: Scope) -> AsyncRequestSession:
    """
    Return the session of a request or a WebSocket, not asked for yet.
    """
    return session_of(scope)


def _asks_for_session(handler: Any) -> bool:
    return any(isinstance(guard, SessionGuard) for guard in handler.resolve_guards())


def _middleware(**settings: Any) -> Any:
    # Litestar has types of its own for ASGI.
    return SessionMiddleware(**settings)


def _hand_on(_request: object, error: Exception) -> NoReturn:
    # Litestar would make a 500 of it. Raised again, it comes to the middleware.
    raise error


async def _hand_on_of_websockets(error: Exception, scope: Scope) -> None:
    # Litestar asks no exception handlers for these, and would close with 4500.
    if scope["type"] == ScopeType.WEBSOCKET and isinstance(error, (Interruption, StoreError)):
        raise error
