"""Capturing: the caller's current context, by the names of a snapshot's fields."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from itertools import compress
from types import MappingProxyType
from typing import Any

from .._caller.caller import ANONYMOUS, Caller, current_caller
from .._caller.carried import capture_carried, carried_variables, required_names
from .._caller.token import ambiguous_client, nameless_caller
from .._caller.trace_context import BAGGAGE, TRACEPARENT, current_baggage, current_trace
from .._runtime import runtime
from ..errors import CaptureError, Reason
from ..operations import FIELDS, Capture, Field, FieldResult, Outcome
from ..telemetry.observe import docket_seen, observe


def present_parts(
    *,
    access_token_json: str | None,
    http_headers: Mapping[str, str] | None,
    session_id: str | None,
    origin_request_id: str | None,
    trace_context: Mapping[str, str],
    carried: Mapping[str, Any],
) -> tuple[Field, ...]:
    """The parts that a snapshot with these values holds, in their order."""
    trace, baggage = trace_context.get(TRACEPARENT), trace_context.get(BAGGAGE)
    values = (access_token_json, http_headers, session_id, origin_request_id, trace, baggage, carried)
    return tuple(compress(FIELDS, values))


@cache
def capture_results(
    present: tuple[Field, ...], *, headers_dropped: bool, baggage_dropped: bool
) -> tuple[Mapping[Field, frozenset[FieldResult]], Outcome]:
    """The results of a capture for each part (captured, dropped, absent; one part may have two), and the outcome.

    There are only some hundreds of combinations, so each is computed once.
    """
    results = dict.fromkeys(FIELDS, _ABSENT) | dict.fromkeys(present, _CAPTURED)
    if headers_dropped:
        results[Field.HEADERS] = _ALSO_DROPPED[results[Field.HEADERS]]
    if baggage_dropped:
        results[Field.BAGGAGE] = _ALSO_DROPPED[results[Field.BAGGAGE]]
    return MappingProxyType(results), _capture_outcome(frozenset(results.values()))


_ABSENT, _CAPTURED = frozenset({FieldResult.ABSENT}), frozenset({FieldResult.CAPTURED})
_DROPPED = frozenset({FieldResult.DROPPED})
_ALSO_DROPPED = {_ABSENT: _DROPPED, _CAPTURED: _CAPTURED | _DROPPED}
_NOTHING = frozenset({_ABSENT})


def _capture_outcome(results: frozenset[frozenset[FieldResult]]) -> Outcome:
    """Partial when a part was dropped as a whole; empty when every part was absent."""
    if _DROPPED in results:
        return Outcome.PARTIAL
    return Outcome.EMPTY if results == _NOTHING else Outcome.OK


SCHEMA_VERSION = 1
"""Written into every snapshot.  Increase it when an older taskctx could not read a new snapshot."""


@dataclass(slots=True, repr=False)
class Values:
    """The values to store, by the names of a snapshot's fields.  ``repr`` shows none of them.

    Error reporters send the locals of every frame that an exception passes, and the content of every dict among them.
    """

    by_name: dict[str, Any]


class Origin:
    """The submitter of a task: the runtime, the caller and its token, each read once, and the captured context.

    Attributes:
        expires_at: when the caller's token expires, in seconds since the epoch; None when it does not.
        scope: the caller's authorization scope; None for an anonymous caller.
        values: the captured context, by the names of a snapshot's fields.
        parts: the names of the parts that the context holds.
    """

    __slots__ = ("caller", "expires_at", "parts", "runtime", "scope", "values")

    baggage = staticmethod(current_baggage)
    """The part of the current baggage that may travel."""

    def __init__(self) -> None:
        self.runtime = runtime()
        self.caller: Caller = ANONYMOUS
        self.expires_at: int | None = None
        self.scope: str | None = None
        self.values: dict[str, Any] = {}
        self.parts: tuple[Field, ...] = ()

    def capture(self, docket_name: str, docket_task: str = "", count: int = 1) -> None:
        """Capture the current caller's context for ``count`` tasks, and count the capture under a docket's name.

        Raises:
            CaptureError: a carried value has no JSON form, a required value is missing, or there is no caller and
                ``on_anonymous`` is ``refuse``.
            InvalidArgument: the access token has a ``|`` in its client_id, or neither a client_id nor a ``sub`` claim.
            InvalidType: the authenticator's access token lacks the attributes of a token.
        """
        if docket_name and docket_name not in self.runtime.observers.dockets_seen:
            docket_seen(docket_name, within=self.runtime)
        with observe(Capture(docket_name=docket_name, docket_task=docket_task, count=count), self.runtime) as operation:
            headers_dropped = self.read_caller()
            if self.values["access_token_json"] is None:
                self._judge_anonymous(operation)
            # code that may raise a foreign error runs before this frame has the caller's values in its locals
            self.values["carried"] = capture_carried() if carried_variables else {}
            if carried_variables and (required := required_names(self.values["carried"])):
                self.values["required"] = required
            values, now = self.values, time.time()
            baggage = self.baggage(self.runtime.settings.baggage_keys)
            values["trace_context"] = current_trace() | baggage.carrier
            values["captured_at"] = now
            values["schema_version"] = SCHEMA_VERSION
            self.parts = present_parts(
                access_token_json=values["access_token_json"],
                http_headers=values["http_headers"],
                session_id=values["session_id"],
                origin_request_id=values["origin_request_id"],
                trace_context=values["trace_context"],
                carried=values["carried"],
            )
            operation.fields, operation.outcome = capture_results(
                self.parts, headers_dropped=headers_dropped, baggage_dropped=baggage.dropped
            )
            # an expired token is captured too: the worker decides about it, and the task may not need it
            operation.credential_ttl = None if self.expires_at is None else self.expires_at - now
            # a log record of the operation has this frame in its stack
            del values, baggage

    def _judge_anonymous(self, operation: Capture) -> None:
        """Apply ``on_anonymous``, unless the caller is anonymous on purpose."""
        operation.is_anonymous, operation.is_meant = True, self.caller.anonymity_is_meant
        if operation.is_meant:
            self.values["anonymity_is_meant"] = True
            return
        policy, reason = self.runtime.settings.on_anonymous, Reason.ANONYMOUS
        if policy == "refuse":
            raise CaptureError(f"there is no caller, and on_anonymous is refuse: {reason.explanation}", reason)
        if policy == "warn":
            operation.reason = reason

    def read_caller(self) -> bool:
        """Read the current caller; returns whether the header policy dropped some of its headers."""
        self.caller = caller = current_caller.get()
        credential = None if caller.credential_source is None else caller.credential_source()
        if credential is not None:
            if "|" in credential.token.client_id:
                # a token of a task that FastMCP itself submitted; every other token was checked before
                raise ambiguous_client()
            if not credential.scope:
                raise nameless_caller()
            self.scope, self.expires_at = credential.scope, credential.token.expires_at
        self.values = {
            "access_token_json": None if credential is None else credential.json,
            # headers.allowed_headers, inlined: this runs for every task
            "http_headers": dict(compress(caller.headers.items(), map(self.runtime.may_travel, caller.headers)))
            or None,
            "origin_request_id": caller.request_id,
            "session_id": caller.session_id,
        }
        return len(self.values["http_headers"] or ()) < len(caller.headers)
