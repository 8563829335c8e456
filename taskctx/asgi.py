"""ASGI middleware: the caller of each request becomes the ambient caller, whose context ``taskctx.add`` carries.

::

    app.add_middleware(TaskContextMiddleware)

It may stand outside or inside the authentication middleware: the access token is read from the request's scope when
it is asked for, not before.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Iterable, MutableMapping
from contextlib import contextmanager
from typing import Any

from ._caller.caller import Caller, use_caller
from ._caller.token import Credential, bearer
from ._caller.trace_context import use_remote_context
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
    user's identity as ``client_id`` and the granted scopes.  A bearer header that was not verified is no identity.

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
        request = _Request(scope, receive, send)
        # error reporters send the locals of every frame that an exception passes, and a scope has credentials
        del scope, receive, send
        with request.bound(self.server):
            await request.handled_by(self.app)


class _Request:
    """What an application is called with; ``repr`` shows nothing of it, and no method raises with it in a local."""

    __slots__ = ("_headers", "_receive", "_scope", "_send")

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope, self._receive, self._send = scope, receive, send
        self._headers: dict[str, str] = {}

    def handled_by(self, app: ASGIApp) -> Awaitable[None]:
        return app(self._scope, self._receive, self._send)

    @contextmanager
    def bound(self, server: object) -> Generator[None]:
        """Make its caller, trace context and baggage current; a lifespan has none."""
        if self._scope["type"] not in ("http", "websocket"):
            yield
            return
        headers = self._headers = _headers(self._scope.get("headers", ()))
        caller = Caller(
            credential_source=self._credential,
            headers=headers,
            request_id=headers.get(REQUEST_ID),
            session_id=headers.get(SESSION_ID),
            server=server,
        )
        with use_caller(caller), use_remote_context(headers):
            yield

    def _credential(self) -> Credential | None:
        """That of the user who was authenticated.

        Raises:
            InvalidType: the user's token is none, or the user has no name.
        """
        claimed = self._claimed()
        try:
            return None if claimed is None else Credential.of(claimed)
        finally:
            del claimed

    def _claimed(self) -> object:
        """What the token is made of: one that the user holds, or the bearer header of a user that has a name."""
        user = self._scope.get("user")
        token = getattr(user, "access_token", None)
        if token is not None or not getattr(user, "is_authenticated", False):
            return token
        return {
            "token": bearer(self._headers.get("authorization")) or "",
            "client_id": _identity(user),
            "scopes": getattr(self._scope.get("auth"), "scopes", None) or [],
        }


def _headers(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Header names in lower case; repeated headers joined as RFC 9110 (and for cookies RFC 6265) has it."""
    values: dict[str, list[str]] = {}
    for name, value in raw:
        values.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    return {name: ("; " if name == "cookie" else ", ").join(found) for name, found in values.items()}


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
