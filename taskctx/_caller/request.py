"""The caller of one request.  Any code of the request may name the caller until the request ends."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from threading import Lock
from typing import Final

from ..errors import ConfigurationError, InvalidArgument, TaskContextError
from .caller import ANONYMOUS, UNSET, Caller, CredentialSource, Unset, changed, current_caller, current_request
from .token import Credential

_naming: Final = Lock()
"""Only one thread at a time names a request's caller."""


_FASTMCP_DECIDES: Final = "identify is not for FastMCP's requests: FastMCP says who their caller is. Use bind_caller"


class RequestCaller:
    """Holds the caller of one request, for all threads and asyncio tasks of that request.  ``repr`` shows nothing.

    Attributes:
        caller: the request's caller, as far as it is known by now.
        authenticated: returns the caller's credential where :func:`identify` has not given one.
    """

    __slots__ = ("_identified", "_is_over", "authenticated", "caller")

    def __init__(self, caller: Caller, authenticated: CredentialSource) -> None:
        self.authenticated = authenticated
        self._identified: Credential | Unset | None = UNSET
        self._is_over = False
        self.caller = current_caller.in_form(replace(caller, credential_source=self._credential))

    @property
    def is_identified(self) -> bool:
        """Whether :func:`identify` has named the caller."""
        return self._identified is not UNSET

    def _credential(self) -> Credential | None:
        identified = self._identified
        return self.authenticated() if isinstance(identified, Unset) else identified

    @contextmanager
    def current(self) -> Generator[None]:
        """Make this the current caller from the beginning of the request to its end."""
        request, bound = current_request.set(self), current_caller.set(None)
        try:
            yield
        finally:
            self._is_over = True
            current_caller.reset(bound)
            current_request.reset(request)

    def identify(self, caller: Caller, credential: Credential | Unset | None) -> None:
        """Name the request's caller.

        Raises:
            ConfigurationError: the request is over, or FastMCP decides who its caller is.
            InvalidArgument: the request has another caller already.
        """
        if self._is_over:
            raise ConfigurationError(
                "identify came too late: the request in which this code was started is over. Use bind_caller around "
                "what is left to do"
            )
        if not current_caller.resolves_to(self.caller):
            raise ConfigurationError(_FASTMCP_DECIDES)
        if not isinstance(credential, Unset):
            known = self._identified
            if isinstance(known, Credential) and (credential is None or credential.scope != known.scope):
                raise InvalidArgument(
                    "identify names another caller than before in the same request. The first one stays: use "
                    "bind_caller for code that runs as another caller"
                )
            self._identified = credential
        self.caller = current_caller.in_form(caller)


def identify(
    *,
    access_token: object = UNSET,
    headers: Mapping[str, str] | Unset | None = UNSET,
    request_id: str | Unset | None = UNSET,
    session_id: str | Unset | None = UNSET,
    session: object = UNSET,
    server: object = UNSET,
) -> None:
    """Name the caller of this request, until the request ends.

    Call it in an authentication dependency, a decorator or a handler, inside of
    :class:`taskctx.asgi.TaskContextMiddleware`::

        def authenticated(credentials: Annotated[HTTPAuthorizationCredentials, Depends(HTTPBearer())]) -> None:
            taskctx.identify(access_token=verified(credentials.credentials))

    Any thread or asyncio task of the request may call it.  The caller then holds for the rest of the request, in
    background tasks, streamed bodies and exception handlers too.  (A handler for ``Exception`` runs outside of
    Starlette's middleware: where such a handler submits tasks, wrap the whole application,
    ``TaskContextMiddleware(app)``.)

    The token takes the place of the one that the middleware finds in ``scope["user"]``.  A second call may give the
    same caller a new token; it may not name another caller, nor None.  A block of :func:`taskctx.bind_caller` keeps the
    values that it was given, and the headers, ids and live objects that it found, until the block ends.

    Args:
        access_token: a :class:`taskctx.AccessToken`, or any object with its attributes (the MCP SDK's, FastMCP's).
            Verify the token first: it decides the scope of the tasks that the request submits.
        headers: HTTP headers, in place of the request's own; names are lower-cased.
        request_id: the request's id, in place of ``x-request-id``.
        session_id: the session's id, in place of ``mcp-session-id``.
        session: the live session object, found with :func:`taskctx.get_task_session`.
        server: the live server object, found with :func:`taskctx.get_task_server`.

    Raises:
        ConfigurationError: there is no request here, or it is over, or FastMCP decides who its caller is.
        InvalidArgument: another caller of the request was named before.
        InvalidType: a value has the wrong type.
    """
    try:
        request = current_request.get()
        if not isinstance(request, RequestCaller):
            if not current_caller.resolves_to(ANONYMOUS):
                raise ConfigurationError(_FASTMCP_DECIDES)
            raise ConfigurationError(
                "identify says who the caller of a request is, and there is no request here. Add "
                "taskctx.asgi.TaskContextMiddleware to the application; outside of requests, use bind_caller"
            )
        credential = UNSET
        if access_token is not UNSET:
            credential = None if access_token is None else Credential.of(access_token)
        with _naming:
            request.identify(
                changed(
                    request.caller,
                    headers=headers,
                    request_id=request_id,
                    session_id=session_id,
                    session=session,
                    server=server,
                ),
                credential,
            )
    except TaskContextError as error:
        # error reporters send the locals of every frame that an exception passes
        raise error.with_traceback(None) from None
    finally:
        del access_token, headers, request_id, session_id, session, server
