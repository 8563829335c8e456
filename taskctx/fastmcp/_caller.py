"""Makes the caller of a FastMCP request, read from FastMCP's own getters, the ambient caller."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from .._caller.caller import Caller
from .._caller.token import Credential
from . import _upstream
from ._upstream import line

REQUEST_ID = "x-request-id"


@dataclass(frozen=True, slots=True)
class _RequestCaller(Caller):
    """The caller of a FastMCP request, or a caller that was bound inside of the request."""

    request: object = field(default=None, repr=False, compare=False)


class FastMCPCallers:
    """A :class:`taskctx._caller.caller.CallerSource`: the caller of the request that FastMCP handles.

    An earlier request may have started the session's asyncio tasks, which then inherit the caller that was bound there.
    So inside of a request, a bound caller counts only if it was bound in the same request.
    """

    def bind(self, caller: Caller) -> Caller:
        request = _request()
        if request is None:
            return caller
        return _RequestCaller(
            caller.credential_source,
            caller.headers,
            caller.request_id,
            caller.session_id,
            caller.session,
            caller.server,
            caller.anonymity_is_meant,
            request,
        )

    def resolve(self, bound: Caller) -> Caller:
        request = _request()
        if request is None or (isinstance(bound, _RequestCaller) and bound.request is request):
            return bound
        # read anew: within a request, FastMCP's session and server are known later, and a mounted server is another
        return _caller(request)


class SeenHeaders(Mapping[str, str]):
    """The headers of FastMCP's own getter in a task, read at the first use: most tasks read no header."""

    def __getitem__(self, name: str) -> str:
        return self._seen[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._seen)

    def __len__(self) -> int:
        return len(self._seen)

    @cached_property
    def _seen(self) -> dict[str, str]:
        return _upstream.get_http_headers()


def request_id(headers: Mapping[str, str], message_id: str | int | None) -> str | None:
    """The HTTP request's id where it has one, else the id of the JSON-RPC message, which may be a number."""
    return headers.get(REQUEST_ID) or (None if message_id is None else str(message_id))


def current_credential() -> Credential | None:
    """FastMCP's current access token, as a taskctx credential."""
    token = _upstream.get_access_token()
    return None if token is None else Credential.of(token)


def _request() -> object | None:
    """The request that is handled here; None outside of a request."""
    message = line.current_message()
    return line.current_request() if message is None else message


def _caller(request: object) -> _RequestCaller:
    headers = _upstream.get_http_headers()
    message = line.current_message()
    session_id, server = _session()
    return _RequestCaller(
        credential_source=current_credential,
        headers=headers,
        request_id=request_id(headers, None if message is None else message.request_id),
        session_id=session_id,
        server=server,
        request=request,
    )


def _session() -> tuple[str | None, object]:
    """The session's id and the server; both None where FastMCP has no context (in a custom route of the server)."""
    try:
        here = _upstream.get_context()
    except RuntimeError:
        return None, None
    try:
        return here.session_id, here.fastmcp
    except RuntimeError:
        return None, here.fastmcp
