"""ASGI middleware: the caller of each request becomes the ambient caller, whose context ``taskctx.add`` carries.

::

    app.add_middleware(TaskContextMiddleware)

It may stand outside or inside the authentication middleware: the access token is read from the request's scope when
it is asked for, not before.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from contextlib import ExitStack
from typing import Any

from ._ambient import Caller, use_caller
from ._propagation import use_remote_context
from ._token import AccessToken, bearer
from .errors import InvalidType

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

REQUEST_ID = "x-request-id"
SESSION_ID = "mcp-session-id"


class TaskContextMiddleware:
    """Binds the caller of each HTTP request and WebSocket: headers, request id, session id and access token.

    The token comes from ``scope["user"]``, which an authentication middleware has verified: the MCP SDK's
    ``AuthenticatedUser`` carries one; from a user of Starlette's ``AuthenticationMiddleware`` one is made, with the
    user's identity as ``client_id`` and the granted scopes.  A bearer header that nobody verified is no identity.

    Where no OpenTelemetry instrumentation has started a span for the request, the request's own ``traceparent`` and
    ``baggage`` become current, so that traces go on through a server that is not instrumented.

    Args:
        app: the ASGI application.
        server: the server object that tasks in this process can find with :func:`taskctx.get_task_server`.
    """

    def __init__(self, app: ASGIApp, server: object = None) -> None:
        if not callable(app):
            raise InvalidType("TaskContextMiddleware wraps an ASGI application")
        self.app = app
        self.server = server

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = _headers(scope.get("headers", ()))
        caller = Caller(
            token_source=lambda: _token(scope, headers),
            headers=headers,
            request_id=headers.get(REQUEST_ID),
            session_id=headers.get(SESSION_ID),
            server=self.server,
        )
        with ExitStack() as bound:
            bound.enter_context(use_caller(caller))
            bound.enter_context(use_remote_context(headers))
            await self.app(scope, receive, send)


def _headers(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Header names in lower case; repeated headers joined as RFC 9110 (and for cookies RFC 6265) has it."""
    values: dict[str, list[str]] = {}
    for name, value in raw:
        values.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    return {name: ("; " if name == "cookie" else ", ").join(found) for name, found in values.items()}


def _token(scope: Scope, headers: dict[str, str]) -> AccessToken | None:
    user = scope.get("user")
    token = getattr(user, "access_token", None)
    if token is not None:
        return AccessToken.coerce(token)
    if not getattr(user, "is_authenticated", False):
        return None
    return AccessToken.coerce(
        {
            "token": bearer(headers.get("authorization")) or "",
            "client_id": _identity(user),
            "scopes": getattr(scope.get("auth"), "scopes", None) or [],
        }
    )


def _identity(user: object) -> str:
    """Who a Starlette user is: its ``identity``, or the display name where it has none."""
    try:
        identity = getattr(user, "identity", None)
    except NotImplementedError:
        # starlette.authentication.SimpleUser
        identity = None
    name = str(identity or getattr(user, "display_name", "") or "")
    if not name:
        raise InvalidType("scope['user'] is authenticated but has neither an identity nor a display_name")
    return name
