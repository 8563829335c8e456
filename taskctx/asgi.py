"""ASGI middleware: the caller of each request becomes the ambient caller, and ``taskctx.add`` carries its context.

::

    app.add_middleware(TaskContextMiddleware)

The middleware may be outside or inside of the authentication middleware: it reads the access token from the request's
scope only when code asks for the token.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Generator, Iterable, MutableMapping
from contextlib import contextmanager, nullcontext, suppress
from contextvars import ContextVar, copy_context
from typing import Any, Final, TypeVar
from weakref import WeakSet

from ._caller.caller import Caller, bind_caller, current_request
from ._caller.request import RequestCaller
from ._caller.token import Credential, bearer
from ._caller.trace_context import use_remote_context
from .errors import InvalidType
from .operations import ContextInherited, UserNotUnderstood
from .telemetry.observe import notify

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

REQUEST_ID = "x-request-id"
SESSION_ID = "mcp-session-id"

_CALLER = "taskctx.caller"
"""The scope's key for the request's caller, which the middleware of a mounted application reads."""

_T = TypeVar("_T")


_BEFORE_ANY_REQUEST: Final = copy_context()
"""The clean context for requests before the server sends a lifespan scope, whose context is then used."""

_in_server_call: Final[ContextVar[bool]] = ContextVar("taskctx_in_server_call", default=False)
"""True while a request receives or sends: the server began a request that begins in this context there."""


def _handled_by_mcp_sdk() -> RequestCaller | None:
    """The caller of the request that the MCP SDK 1.x handles here; None outside of such a request.

    The SDK runs a session's tools in the context of the request that opened the session, which may have another caller
    or an older token.  The SDK's own ContextVar holds the request that calls the tool.  SDK 2 does not need this.
    """
    handling: ContextVar[Any] | None = getattr(sys.modules.get("mcp.server.lowlevel.server"), "request_ctx", None)
    if handling is None:
        return None
    scope: Scope | None = getattr(getattr(handling.get(None), "request", None), "scope", None)
    caller = None if scope is None else scope.get(_CALLER)
    return caller if isinstance(caller, RequestCaller) else None


current_request.ask_framework(_handled_by_mcp_sdk)


class TaskContextMiddleware:
    """Binds the caller of each HTTP request and WebSocket: headers, request id, session id and access token.

    The token comes from :func:`taskctx.identify`, or else from ``scope["user"]``, which an authentication middleware
    has verified.  The MCP SDK's ``AuthenticatedUser`` holds a token.  For a user of Starlette's
    ``AuthenticationMiddleware`` or of Django, the middleware makes a token, with the user's identity
    (``get_username()``, ``pk``) as ``client_id`` and with the granted scopes.  A bearer header that was not verified
    identifies no caller.

    Where no OpenTelemetry instrumentation has started a span for the request, the request's own ``traceparent`` and
    ``baggage`` become current, so that traces continue through a server without instrumentation.

    Each request begins in a clean context: when the server starts a request in the context of an earlier one (uvicorn
    does on asyncio's own event loop), the middleware handles it in the server's own context.  When a mounted
    application has the middleware too, it adds its ``server`` and its user to the caller of the request.

    Args:
        app: the ASGI application.
        server: the server object that tasks in this process can find with :func:`taskctx.get_task_server`.
    """

    def __init__(self, app: ASGIApp, server: object = None) -> None:
        if not callable(app):
            raise InvalidType("TaskContextMiddleware wraps an ASGI application")
        self.app = app
        self.server = server
        self._surroundings = _BEFORE_ANY_REQUEST
        self._users: WeakSet[type] = WeakSet()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = _Request(scope, receive, send)
        # error reporters send the locals of every frame that an exception passes, and a scope has credentials
        del scope, receive, send
        if not request.has_caller:
            self._surroundings = copy_context()
        elif request.is_inheriting:
            notify(ContextInherited())
            clean = self._surroundings.copy()
            await asyncio.create_task(request.handled_by(self.app, self.server, self._users), context=clean)
            return
        await request.handled_by(self.app, self.server, self._users)


class _Request:
    """The three arguments of an ASGI call.  ``repr`` shows none of them, and no exception has them in a local.

    Attributes:
        has_caller: True for an HTTP request or a WebSocket, False for a lifespan.
    """

    __slots__ = ("_headers", "_receive", "_scope", "_send", "has_caller")

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope, self._receive, self._send = scope, receive, send
        self._headers: dict[str, str] = {}
        self.has_caller = scope["type"] in ("http", "websocket")

    @property
    def is_inheriting(self) -> bool:
        """Whether the server began this request in an earlier request's context, while that one received or sent."""
        return _in_server_call.get() and _CALLER not in self._scope

    async def handled_by(self, app: ASGIApp, server: object, users: WeakSet[type]) -> None:
        if not self.has_caller:
            await app(self._scope, self._receive, self._send)
            return
        with self._bound(server):
            try:
                await app(self._scope, self._receiving, self._sending)
            finally:
                self._report_unknown_user(users)

    def _receiving(self) -> Awaitable[MutableMapping[str, Any]]:
        return _server_call(self._receive())

    def _sending(self, message: MutableMapping[str, Any]) -> Awaitable[None]:
        return _server_call(self._send(message))

    @contextmanager
    def _bound(self, server: object) -> Generator[None]:
        """Make the request's caller, trace context and baggage current."""
        headers = self._headers = _headers(self._scope.get("headers", ()))
        caller = self._scope.get(_CALLER)
        if isinstance(caller, RequestCaller):
            caller.authenticated = self._credential
            with nullcontext() if server is None else bind_caller(server=server):
                yield
            return
        known = Caller(
            headers=headers,
            request_id=headers.get(REQUEST_ID),
            session_id=headers.get(SESSION_ID),
            server=server,
        )
        caller = self._scope[_CALLER] = RequestCaller(known, self._credential)
        with caller.current(), use_remote_context(headers):
            yield

    def _report_unknown_user(self, seen: WeakSet[type]) -> None:
        """Report a user of an unknown type, once for each type, even if no code asked for the caller."""
        user: object = self._scope.get("user")
        if user is None or type(user) in seen or self._scope[_CALLER].is_identified:
            return
        # a lazy user object may raise any exception
        with suppress(Exception):
            is_understood = _is_understood(user)
            if is_understood is None:
                return
            seen.add(type(user))
            if not is_understood:
                notify(UserNotUnderstood(type(user).__name__))

    def _credential(self) -> Credential | None:
        """The credential of the authenticated user.

        Raises:
            InvalidArgument: the token's ``client_id`` contains ``|``.
            InvalidType: the user's token lacks the attributes of a token, or the user has no name.
        """
        claimed = self._claimed()
        try:
            return None if claimed is None else Credential.of(claimed)
        finally:
            del claimed

    def _claimed(self) -> object:
        """The user's own token; or the fields of one, from the bearer header and the user's name."""
        user = self._scope.get("user")
        token = getattr(user, "access_token", None)
        if token is not None or not _said(user, "is_authenticated"):
            return token
        return {
            "token": bearer(self._headers.get("authorization")) or "",
            "client_id": _identity(user),
            "scopes": getattr(self._scope.get("auth"), "scopes", None) or [],
        }


async def _server_call(call: Awaitable[_T]) -> _T:
    """Await the server's ``receive`` or ``send``; a request that the server begins meanwhile is a separate one."""
    token = _in_server_call.set(True)
    try:
        return await call
    finally:
        _in_server_call.reset(token)


def _headers(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Headers with their names in lower case; repeated headers are joined by RFC 9110 (cookies by RFC 6265)."""
    values: dict[str, list[str]] = {}
    for name, value in raw:
        values.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    return {name: ("; " if name == "cookie" else ", ").join(found) for name, found in values.items()}


_NAMES: Final = ("identity", "display_name", "get_username", "pk")
"""The attributes with a user's name in Starlette and Django."""


def _identity(user: object) -> str:
    """The name of a Starlette or Django user."""
    name = _name(user)
    if not name:
        raise InvalidType(
            "scope['user'] is authenticated but has neither an identity nor a display_name, nor a Django user's "
            "get_username() or pk. Call taskctx.identify(access_token=...)"
        )
    return name


def _name(user: object) -> str | None:
    for attribute in _NAMES:
        with suppress(NotImplementedError):  # raised by the identity of starlette.authentication.SimpleUser
            name = _said(user, attribute)
            if name:
                return str(name)
    return None


def _is_understood(user: object) -> bool | None:
    """Whether a user has a token or a name; None for a user that is not authenticated, which needs neither."""
    if getattr(user, "access_token", None) is not None:
        return True
    is_authenticated = _said(user, "is_authenticated")
    if is_authenticated is None:
        return False
    return _name(user) is not None if is_authenticated else None


def _said(user: object, attribute: str) -> object:
    """An attribute of a user, or the answer of a method; None where the user has neither."""
    found: object = getattr(user, attribute, None)
    return found() if callable(found) else found
