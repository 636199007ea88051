"""
The plugin: what an application of Litestar's needs for sessions, in one place.
"""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeAlias

from litestar.di import NamedDependency, Provide
from litestar.enums import ScopeType
from litestar.handlers import HTTPRouteHandler
from litestar.middleware import DefineMiddleware
from litestar.middleware.logging import LoggingMiddlewareConfig
from litestar.openapi.spec import Components, SecurityScheme
from litestar.plugins import InitPlugin, ReceiveRoutePlugin
from litestar.types import Scope

from sessioncore import StoreError
from sessioncore_asgi import SessionMiddleware, session_of
from sessioncore_http import AsyncRequestSession, Interruption, UnsafeConfiguration
from sessioncore_litestar.guards import SessionGuard

if TYPE_CHECKING:
    from litestar.config.app import AppConfig
    from litestar.config.cors import CORSConfig
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

    Litestar's own CORS stands outside of every middleware, where the edge cannot look at what
    it writes; so its configuration is checked when the application starts. And what logs
    requests, among the application's middleware, is told to leave out the cookie.

    Args:
        auth: The service.

        edge: The settings.

        legacy: Where the sessions of the library before this one are, while they are moved.
    """

    def __init__(
        self, auth: AsyncAuthService, edge: Edge, *, legacy: LegacySessions | None = None
    ) -> None:
        self._edge = edge
        self._cookies = {edge.cookie.name}
        if legacy is not None:
            self._cookies.add(legacy.cookie_name)
        self._middleware = DefineMiddleware(_middleware, auth=auth, edge=edge, legacy=legacy)

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        """
        Add the middleware, the dependency, the way out for exceptions, and the documents.

        Raises:
            UnsafeConfiguration: ``cors_config`` gives credentials to origins that the edge
                does not trust.
        """
        if app_config.cors_config is not None:
            _check_cors(app_config.cors_config, self._edge)
        app_config.middleware = [
            self._middleware,
            *(_without_ids(middleware, self._cookies) for middleware in app_config.middleware),
        ]
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


def _check_cors(config: CORSConfig, edge: Edge) -> None:
    # Whom it allows may read what is answered to whoever is signed in (rule 9 of
    # sessioncore_http.exchange).
    if not config.allow_credentials:
        return
    if config.allow_origin_regex is not None:
        raise UnsafeConfiguration(
            "cors_config: allow_origin_regex together with allow_credentials cannot be checked; "
            "name the origins, one by one"
        )
    for origin in config.allow_origins:
        if not edge.guard.trusts(origin):
            raise UnsafeConfiguration(
                f"cors_config: with allow_credentials, pages of {origin!r} could read what is "
                "answered to whoever is signed in; name the origins, and name them in the "
                "edge's trusted_origins, too"
            )


def _without_ids(middleware: Any, cookies: set[str]) -> Any:
    # Litestar leaves out a cookie called "session" only, and headers not at all.
    if not isinstance(middleware, DefineMiddleware):
        return middleware
    config = middleware.kwargs.get("config")
    if not isinstance(config, LoggingMiddlewareConfig):
        return middleware
    complete = replace(
        config,
        request_cookies_to_obfuscate={*config.request_cookies_to_obfuscate, *cookies},
        request_headers_to_obfuscate={*config.request_headers_to_obfuscate, "Cookie"},
        response_cookies_to_obfuscate={*config.response_cookies_to_obfuscate, *cookies},
    )
    settings = {**middleware.kwargs, "config": complete}
    return DefineMiddleware(middleware.middleware, *middleware.args, **settings)


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
