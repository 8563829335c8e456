"""ASGI middleware: the caller of each request becomes the ambient caller, whose context ``taskctx.add`` carries.

::

    app.add_middleware(TaskContextMiddleware)

It may stand outside or inside the authentication middleware: the access token is read from the request's scope when
it is asked for, not before.
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
"""Where a request's scope has its caller, so that a mounted application's middleware finds it."""

_T = TypeVar("_T")


_BEFORE_ANY_REQUEST: Final = copy_context()
"""What surrounds a server, where it does not say: its own lifespan does."""

_in_servers_hands: Final[ContextVar[bool]] = ContextVar("taskctx_in_servers_hands", default=False)
"""Set while a request receives or sends: a request that begins in this context was begun there, by the server."""


def _handled_by_mcp_sdk() -> RequestCaller | None:
    """Whose request the MCP SDK 1.x handles here, where it does.

    Tools of a session run in the context of the request that opened it, which may be another caller's or have an older
    token.  The request that a tool is called by is in the SDK's own ContextVar.  The SDK 2 has none and needs none.
    """
    handling: ContextVar[Any] | None = getattr(sys.modules.get("mcp.server.lowlevel.server"), "request_ctx", None)
    if handling is None:
        return None
    scope: Scope | None = getattr(getattr(handling.get(None), "request", None), "scope", None)
    caller = None if scope is None else scope.get(_CALLER)
    return caller if isinstance(caller, RequestCaller) else None


current_request.look_first(_handled_by_mcp_sdk)


class TaskContextMiddleware:
    """Binds the caller of each HTTP request and WebSocket: headers, request id, session id and access token.

    The token comes from :func:`taskctx.identify`; or else from ``scope["user"]``, which an authentication middleware
    has verified: the MCP SDK's ``AuthenticatedUser`` carries one; from a user of Starlette's
    ``AuthenticationMiddleware``, or of Django's, one is made, with the user's identity (``get_username()``, ``pk``) as
    ``client_id`` and the granted scopes.  A bearer header that was not verified is no identity.

    Where no OpenTelemetry instrumentation has started a span for the request, the request's own ``traceparent`` and
    ``baggage`` become current, so that traces go on through a server that is not instrumented.

    A request begins in a clean context: where the server started it in that of an earlier one, as uvicorn does on
    asyncio's own event loop, it is handled in the server's own.  A mounted application that has the middleware, too,
    adds its ``server`` and its user to the caller of the request.

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
    """What an application is called with; ``repr`` shows nothing of it, and no method raises with it in a local.

    Attributes:
        has_caller: it is a request or a WebSocket; a lifespan has none.
    """

    __slots__ = ("_headers", "_receive", "_scope", "_send", "has_caller")

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope, self._receive, self._send = scope, receive, send
        self._headers: dict[str, str] = {}
        self.has_caller = scope["type"] in ("http", "websocket")

    @property
    def is_inheriting(self) -> bool:
        """Whether the server began it in an earlier request's context, while that one received or sent something."""
        return _in_servers_hands.get() and _CALLER not in self._scope

    async def handled_by(self, app: ASGIApp, server: object, users: WeakSet[type]) -> None:
        if not self.has_caller:
            await app(self._scope, self._receive, self._send)
            return
        with self._bound(server):
            try:
                await app(self._scope, self._receiving, self._sending)
            finally:
                self._see_user(users)

    def _receiving(self) -> Awaitable[MutableMapping[str, Any]]:
        return _by_the_server(self._receive())

    def _sending(self, message: MutableMapping[str, Any]) -> Awaitable[None]:
        return _by_the_server(self._send(message))

    @contextmanager
    def _bound(self, server: object) -> Generator[None]:
        """Make its caller, trace context and baggage current."""
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

    def _see_user(self, seen: WeakSet[type]) -> None:
        """Tell of a user who cannot be understood, whether anybody has asked who it is or not; once for each type."""
        user: object = self._scope.get("user")
        if user is None or type(user) in seen or self._scope[_CALLER].is_identified:
            return
        # a lazy user may raise what it likes
        with suppress(Exception):
            is_understood = _is_understood(user)
            if is_understood is None:
                return
            seen.add(type(user))
            if not is_understood:
                notify(UserNotUnderstood(type(user).__name__))

    def _credential(self) -> Credential | None:
        """That of the user who was authenticated.

        Raises:
            InvalidArgument: its client's id contains ``|``.
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


async def _by_the_server(call: Awaitable[_T]) -> _T:
    """Await what the server does for a request; whatever it begins meanwhile is none of that request's."""
    token = _in_servers_hands.set(True)
    try:
        return await call
    finally:
        _in_servers_hands.reset(token)


def _headers(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Header names in lower case; repeated headers joined as RFC 9110 (and for cookies RFC 6265) has it."""
    values: dict[str, list[str]] = {}
    for name, value in raw:
        values.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    return {name: ("; " if name == "cookie" else ", ").join(found) for name, found in values.items()}


_NAMES: Final = ("identity", "display_name", "get_username", "pk")
"""Where users have who they are: Starlette's and Django's."""


def _identity(user: object) -> str:
    """Who a user is: what Starlette's or Django's kind of it says."""
    name = _name(user)
    if not name:
        raise InvalidType(
            "scope['user'] is authenticated but has neither an identity nor a display_name, nor a Django user's "
            "get_username() or pk. Call taskctx.identify(access_token=...)"
        )
    return name


def _name(user: object) -> str | None:
    for attribute in _NAMES:
        with suppress(NotImplementedError):  # as the identity of starlette.authentication.SimpleUser
            found: object = getattr(user, attribute, None)
            name = found() if callable(found) else found
            if name:
                return str(name)
    return None


def _is_understood(user: object) -> bool | None:
    """Whether it holds a token or says who it is; None of one that is not authenticated, which has neither."""
    if getattr(user, "access_token", None) is not None:
        return True
    is_authenticated = getattr(user, "is_authenticated", None)
    if is_authenticated is None:
        return False
    return _name(user) is not None if is_authenticated else None
