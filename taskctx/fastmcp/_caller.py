"""The caller of a FastMCP request, from FastMCP's own getters, as the ambient caller."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cached_property

from .._caller.caller import Caller
from .._caller.token import Credential
from . import _upstream
from ._upstream import line

REQUEST_ID = "x-request-id"


@dataclass(frozen=True, slots=True)
class _RequestCaller(Caller):
    """A caller that was bound in, or is of, a request of FastMCP's."""

    request: object = field(default=None, repr=False, compare=False)


class FastMCPCallers:
    """A :class:`taskctx._caller.caller.CallerSource`: what FastMCP says of the request it handles.

    A session's tasks may have been started by an earlier request and have inherited what was bound there.  So what is
    bound counts inside a request only if it was bound in that very request.
    """

    _latest: ContextVar[_RequestCaller | None] = ContextVar("taskctx_fastmcp_caller", default=None)

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
        latest = self._latest.get()
        if latest is None or latest.request is not request:
            latest = _caller(request)
            self._latest.set(latest)
        return latest


class SeenHeaders(Mapping[str, str]):
    """What FastMCP's own getter gives in a task, asked when it is looked at: most tasks look at no header."""

    def __getitem__(self, name: str) -> str:
        return self._seen[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._seen)

    def __len__(self) -> int:
        return len(self._seen)

    @cached_property
    def _seen(self) -> dict[str, str]:
        return _upstream.get_http_headers()


def request_id(headers: Mapping[str, str], fallback: str | None) -> str | None:
    """The HTTP request's id where it has one, else that of the JSON-RPC message."""
    return headers.get(REQUEST_ID) or fallback


def current_credential() -> Credential | None:
    """FastMCP's current access token, as one of ours."""
    token = _upstream.get_access_token()
    return None if token is None else Credential.of(token)


def _request() -> object | None:
    """The request that is being handled here; None outside of one."""
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
    """The session's id and the server; neither where FastMCP has no context (a route of the server's own)."""
    try:
        here = _upstream.get_context()
    except RuntimeError:
        return None, None
    try:
        return here.session_id, here.fastmcp
    except RuntimeError:
        return None, here.fastmcp
