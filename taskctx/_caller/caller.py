"""The current caller, in a request handler and in the tasks that the handler submits.

The caller is one frozen :class:`Caller`, bound by a ``with`` block or held by the request.  So it changes as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextvars import ContextVar, Token
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, Protocol, cast

from docket import Execution
from docket.dependencies import current_execution

from ..errors import InvalidType
from .block import block
from .token import AccessToken, Credential

CredentialSource = Callable[[], Credential | None]
"""Returns the caller's credential at the time of the call: an authenticator may run after the caller was bound."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Everything that is known about a caller.  ``repr`` shows none of it.

    ``anonymity_is_meant`` says that the caller is anonymous on purpose.  It counts only where there is no token.
    """

    credential_source: CredentialSource | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    request_id: str | None = field(default=None, repr=False)
    session_id: str | None = field(default=None, repr=False)
    session: object = field(default=None, repr=False)
    server: object = field(default=None, repr=False)
    anonymity_is_meant: bool = field(default=False, repr=False)


ANONYMOUS: Final = Caller()
MEANT_ANONYMOUS: Final = Caller(anonymity_is_meant=True)


class HoldsCaller(Protocol):
    """A request.  Its caller may be named at any time until the request ends."""

    caller: Caller


class _CurrentRequest:
    """A ContextVar of the request; a framework that runs a request in an earlier one's context is asked first."""

    def __init__(self) -> None:
        self._begun: ContextVar[HoldsCaller | None] = ContextVar("taskctx_request", default=None)
        self._framework_request: Callable[[], HoldsCaller | None] | None = None

    def ask_framework(self, handled: Callable[[], HoldsCaller | None]) -> None:
        """Ask ``handled`` first for the request that the framework handles; it returns None where it does not know."""
        self._framework_request = handled

    def get(self) -> HoldsCaller | None:
        begun = self._begun.get()
        if begun is None or self._framework_request is None:
            return begun
        return self._framework_request() or begun

    def set(self, request: HoldsCaller) -> Token[HoldsCaller | None]:
        return self._begun.set(request)

    def reset(self, token: Token[HoldsCaller | None]) -> None:
        self._begun.reset(token)


current_request: Final = _CurrentRequest()


class CallerSource(Protocol):
    """A framework that stores the caller of its requests itself (FastMCP)."""

    def bind(self, caller: Caller) -> Caller:
        """The caller in the form that is bound here: FastMCP's has the current request, for example."""
        ...

    def resolve(self, bound: Caller) -> Caller:
        """The caller of the code that runs here, where ``bound`` was bound last."""
        ...


_Bound = tuple[Caller | None, Execution | None]
"""A caller, or None for the request's caller; and the Docket execution that bound it, or None outside of a task."""


class _CurrentCaller:
    """The caller that a block bound last, or else the request's; a :class:`CallerSource` may replace either."""

    def __init__(self) -> None:
        self._bound: ContextVar[_Bound] = ContextVar("taskctx_caller", default=(None, None))
        self._source: CallerSource | None = None
        self._was_never_restored: Callable[[], bool] = bool

    def use_source(self, source: CallerSource | None) -> None:
        self._source = source

    def set_lost_check(self, was_never_restored: Callable[[], bool]) -> None:
        """Set the function that says whether a task lost its caller; it is called where the task bound no caller."""
        self._was_never_restored = was_never_restored

    def get(self, *, quietly: bool = False) -> Caller:
        """The caller of the code that runs here.

        Args:
            quietly: for a log line: do not report that the task lost its caller.

        Raises:
            RestoreError: (``not_restored``) the caller of this task was never restored, so the task fails.
        """
        bound, execution = self._bound.get()
        if execution is not current_execution.get(None) and not quietly and self._was_never_restored():
            return ANONYMOUS
        if bound is None:
            request = current_request.get()
            bound = ANONYMOUS if request is None else request.caller
        return bound if self._source is None else self._source.resolve(bound)

    def set(self, caller: Caller | None) -> Token[_Bound]:
        """Bind a caller; None binds the request's caller."""
        # in_form, inlined: this runs several times for every task
        bound = caller if caller is None or self._source is None else self._source.bind(caller)
        return self._bound.set((bound, current_execution.get(None)))

    def reset(self, token: Token[_Bound]) -> None:
        self._bound.reset(token)

    def in_form(self, caller: Caller) -> Caller:
        """The caller in the form that is bound here: FastMCP's has the current request, for example."""
        return caller if self._source is None else self._source.bind(caller)

    def resolves_to(self, bound: Caller) -> bool:
        """Whether ``bound`` would be the current caller here, if it was bound now."""
        return self._source is None or self._source.resolve(bound) is bound


current_caller: Final = _CurrentCaller()


class Unset(Enum):
    """The default of arguments for which None has a meaning of its own."""

    UNSET = "unset"


UNSET: Final = Unset.UNSET


@block
def bind_caller(
    *,
    access_token: object = UNSET,
    headers: Mapping[str, str] | Unset | None = UNSET,
    request_id: str | Unset | None = UNSET,
    session_id: str | Unset | None = UNSET,
    session: object = UNSET,
    server: object = UNSET,
) -> Generator[None]:
    """Bind the current caller for the length of a ``with`` block.

    An argument that is not given keeps the value of the enclosing block or of the middleware; None clears that value.
    So a handler that authenticates by itself adds the token to what the middleware knows::

        with bind_caller(access_token=token):
            await taskctx.add(docket, make_report)(42)

    An authentication dependency calls :func:`taskctx.identify` instead, which needs no block.

    Args:
        access_token: a :class:`taskctx.AccessToken`, or any object with its attributes (the MCP SDK's,
            FastMCP's).  Verify the token first: it decides the task's authorization scope.
        headers: HTTP headers; names are lower-cased.
        request_id: the request's id, ``x-request-id`` as a rule.
        session_id: the session's id, ``mcp-session-id`` as a rule.
        session: the live session object; ``add`` registers it, so that workers in this process find it with
            :func:`taskctx.get_task_session`.  The registry holds a weak reference.
        server: the live server object, found with :func:`taskctx.get_task_server`.

    Raises:
        InvalidType: a value has the wrong type.
    """
    try:
        caller = changed(
            current_caller.get(),
            access_token=access_token,
            headers=headers,
            request_id=request_id,
            session_id=session_id,
            session=session,
            server=server,
        )
    finally:
        # error reporters send the locals of every frame that an exception passes
        del access_token, headers, request_id, session_id, session, server
    token = current_caller.set(caller)
    try:
        yield
    finally:
        current_caller.reset(token)


def changed(
    outer: Caller,
    *,
    access_token: object = UNSET,
    headers: Mapping[str, str] | Unset | None = UNSET,
    request_id: str | Unset | None = UNSET,
    session_id: str | Unset | None = UNSET,
    session: object = UNSET,
    server: object = UNSET,
) -> Caller:
    """A copy of ``outer`` with the given values.  The arguments are those of :func:`bind_caller`."""
    try:
        return Caller(
            credential_source=outer.credential_source if access_token is UNSET else _source_of(access_token),
            headers=outer.headers if isinstance(headers, Unset) else lowered(headers),
            request_id=outer.request_id if isinstance(request_id, Unset) else optional_text("request_id", request_id),
            session_id=outer.session_id if isinstance(session_id, Unset) else optional_text("session_id", session_id),
            session=outer.session if session is UNSET else session,
            server=outer.server if server is UNSET else server,
            anonymity_is_meant=outer.anonymity_is_meant,
        )
    finally:
        del access_token, headers, request_id, session_id, session, server  # see bind_caller


@block
def use_caller(caller: Caller) -> Generator[None]:
    """Make ``caller`` the current caller, as a whole, for the length of a ``with`` block."""
    token = current_caller.set(caller)
    try:
        yield
    finally:
        current_caller.reset(token)


@block
def anonymous() -> Generator[None]:
    """Submit without a caller, on purpose, for the length of a ``with`` block::

        with taskctx.anonymous():
            await taskctx.add(docket, clean_up)()

    The task gets no token, headers, request id or session id; it gets trace context, baggage and carried variables.
    ``on_anonymous`` does not apply to such submissions, nor to those that their tasks make in turn.
    """
    with use_caller(MEANT_ANONYMOUS):
        yield


def get_access_token() -> AccessToken | None:
    """The current caller's access token: in a handler the presented token, in a worker the captured token.

    None for an anonymous caller, and in a task whose token expired while it was queued and was not refreshed.
    """
    credential = _credential()
    return None if credential is None else credential.token


def get_http_headers() -> dict[str, str]:
    """The current caller's HTTP headers, names in lower case; in a worker, those that the header policy let through."""
    return dict(current_caller.get().headers)


def get_request_id() -> str | None:
    """The id of the request that runs the current code, or that submitted the current task."""
    return current_caller.get().request_id


def get_task_scope() -> str | None:
    """The current caller's authorization scope.

    ``client_id|sub`` when the token has a non-empty ``sub`` claim, else ``client_id``; None for an anonymous
    caller.  This is the raw value: taskctx percent-encodes it only in keys.
    """
    credential = _credential()
    return None if credential is None else credential.scope


def _credential() -> Credential | None:
    source = current_caller.get().credential_source
    return None if source is None else source()


def _source_of(access_token: object) -> CredentialSource | None:
    try:
        return None if access_token is None else Credential.of(access_token).present
    finally:
        del access_token


def lowered(headers: Mapping[str, str] | None) -> dict[str, str]:
    """Headers with their names in lower case; empty for None.

    Raises:
        InvalidType: the headers are not a mapping of strings to strings.
    """
    if headers is None:
        return {}
    if not isinstance(cast("object", headers), Mapping):
        kind = type(headers).__name__
        del headers
        raise InvalidType(f"headers must be a mapping of names to values, not {kind}")
    try:
        # str's own methods accept only strings
        return dict(zip(map(str.lower, headers), map(str.__str__, headers.values()), strict=True))
    except (TypeError, ValueError):
        raise InvalidType("headers must map strings to strings") from None
    finally:
        del headers


def optional_text(name: str, value: object) -> str | None:
    """The value unchanged: a string or None.

    Raises:
        InvalidType: the value has another type.
    """
    if value is None or isinstance(value, str):
        return value
    kind = type(value).__name__
    del value
    raise InvalidType(f"{name} must be a string or None, not {kind}")
