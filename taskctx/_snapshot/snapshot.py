"""A caller's context at the moment a task was submitted."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from functools import cache
from itertools import compress
from operator import attrgetter
from types import MappingProxyType, TracebackType
from typing import Any, final

from docket import Docket
from docket.dependencies import current_docket

from .._caller.caller import current_caller, lowered
from .._caller.carried import capture_carried
from .._caller.headers import allowed_headers
from .._caller.token import life_left
from .._caller.trace_context import BAGGAGE, TRACEPARENT, current_baggage, current_trace
from .._transport import commands
from .._transport.backend import check_docket, check_open
from .._transport.deadline import BackendError, bounded
from ..errors import Reason, SaveError, SnapshotError
from ..operations import FIELDS, Capture, Field, FieldResult, Outcome, Save
from ..settings import current_settings
from ..telemetry.observe import observe
from .codec import codec_for
from .keys import snapshot_key
from .lifetime import whole_seconds
from .record import SCHEMA_VERSION, Record, dump_json, parse_record


@final
@dataclass(frozen=True, slots=True)
class TaskContextSnapshot:
    """Who asked, as captured when a task was submitted.  ``repr`` shows no credential.

    Attributes:
        access_token_json: the caller's :class:`taskctx.AccessToken` as JSON.
        http_headers: the request's headers that the header policy lets through, names in lower case.
        origin_request_id: the request's id.
        session_id: the session's id.
        trace_context: W3C carrier: ``traceparent``, ``tracestate``, ``baggage``.
        carried: JSON values of the registered ContextVars, by name.
        captured_at: seconds since the epoch, by the submitter's clock.
        schema_version: of the stored form.
    """

    access_token_json: str | None = field(default=None, repr=False)
    http_headers: dict[str, str] | None = field(default=None, repr=False)
    origin_request_id: str | None = field(default=None, repr=False)
    session_id: str | None = field(default=None, repr=False)
    trace_context: dict[str, str] = field(default_factory=dict[str, str], repr=False)
    carried: dict[str, Any] = field(default_factory=dict[str, Any], repr=False)
    captured_at: float | None = None
    schema_version: int = SCHEMA_VERSION

    @classmethod
    def capture(cls) -> TaskContextSnapshot:
        """The context of the current caller, with the current OpenTelemetry trace context and baggage.

        Raises:
            CaptureError: a carried value has no JSON form.
            InvalidType: what the authenticator left as the access token is not one.
        """
        docket = current_docket.get(None)
        return capture_snapshot("" if docket is None else docket.name)

    def to_json(self) -> str:
        """The snapshot as a JSON object whose keys are the field names."""
        return dump_json(_fields_of(self)).decode()

    @classmethod
    def from_json(cls, raw: str | bytes) -> TaskContextSnapshot:
        """The snapshot in a JSON object: fields it does not know are ignored, header names lower-cased.

        Raises:
            SnapshotError: ``malformed``, or ``schema_unsupported`` when a newer taskctx wrote it.
        """
        return snapshot_of(parse_record(raw))

    async def save(self, docket: Docket, task_scope: str | None, task_id: str, ttl_seconds: float | timedelta) -> None:
        """Store the snapshot as one Redis key that lives for ``ttl_seconds``.

        The trace context stored is that of the ``taskctx.save`` span, where there is one.

        Args:
            docket: an open docket.
            task_scope: the authorization scope of the task; None for an anonymous caller.
            task_id: the caller's own id of the task.
            ttl_seconds: seconds, or a timedelta; at least one second.

        Raises:
            InvalidArgument: the TTL is below one second, or an id is empty.
            InvalidType: an argument is of the wrong type.
            SaveError: the snapshot is too large, or the server did not take it.
        """
        check_docket(docket)
        check_open(docket)
        ttl = whole_seconds(ttl_seconds)
        key = docket.key(snapshot_key(current_settings().key_prefix, task_scope, task_id))
        with saving(Save(docket_name=docket.name)) as operation:
            async with bounded():
                value = await stored_form(self, docket, key, ttl, operation)
                await commands.put(docket, key, value, ttl)


def capture_snapshot(docket_name: str) -> TaskContextSnapshot:
    """As :meth:`TaskContextSnapshot.capture`, counted under a docket's name."""
    settings = current_settings()
    with observe(Capture(docket_name=docket_name)) as operation:
        caller, now = current_caller.get(), time.time()
        token = caller.access_token
        baggage = current_baggage(settings.baggage_keys)
        snapshot = TaskContextSnapshot(
            access_token_json=None if token is None else token.model_dump_json(),
            http_headers=allowed_headers(caller.headers, settings) or None,
            origin_request_id=caller.request_id,
            session_id=caller.session_id,
            trace_context=current_trace() | baggage.carrier,
            carried=capture_carried(),
            captured_at=now,
        )
        headers_dropped = len(caller.headers) > len(snapshot.http_headers or ())
        describe_capture(operation, snapshot, headers_dropped=headers_dropped, baggage_dropped=baggage.dropped)
        # a token that is over is captured all the same: the worker judges it, and the task may do without
        operation.credential_ttl = None if token is None else life_left(token, now)
    return snapshot


def snapshot_of(record: Record) -> TaskContextSnapshot:
    """The snapshot in a stored record."""
    headers = record.http_headers
    return TaskContextSnapshot(
        access_token_json=record.access_token_json,
        http_headers=None if headers is None else lowered(headers),
        origin_request_id=record.origin_request_id,
        session_id=record.session_id,
        trace_context=record.trace_context or {},
        carried=record.carried or {},
        captured_at=record.captured_at,
        schema_version=record.schema_version,
    )


def present_fields(snapshot: TaskContextSnapshot) -> tuple[Field, ...]:
    """What a snapshot holds, by name: for telemetry, which must not see the values."""
    trace_context = snapshot.trace_context
    values = (
        snapshot.access_token_json,
        snapshot.http_headers,
        snapshot.session_id,
        snapshot.origin_request_id,
        trace_context.get(TRACEPARENT),
        trace_context.get(BAGGAGE),
        snapshot.carried,
    )
    return tuple(compress(FIELDS, values))


class saving(observe[Save]):  # noqa: N801 - reads as a verb: ``with saving(Save(...)) as operation``
    """Watch a save; whatever keeps it from succeeding becomes a :class:`SaveError`."""

    __slots__ = ()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, traceback)
        if isinstance(error, SnapshotError | BackendError):
            raise SaveError(error.reason) from None


async def stored_form(snapshot: TaskContextSnapshot, docket: Docket, key: str, ttl: int, operation: Save) -> bytes:
    """The bytes to store under ``key``, stamped with the server's time.

    They hold the current trace context, which inside :func:`saving` is that of the save's own span.

    Raises:
        SnapshotError: (``too_large``) they are more than ``max_snapshot_bytes``.
        BackendError: the server's time is not to be had.
    """
    settings = current_settings()
    operation.fields = present_fields(snapshot)
    fields = _fields_of(snapshot)
    if here := current_trace():
        fields["trace_context"] = snapshot.trace_context | here
        if Field.TRACE not in operation.fields:
            operation.fields = (*operation.fields, Field.TRACE)
    fields["stored_at"] = await commands.server_time(docket)
    fields["ttl"] = ttl
    value = codec_for(settings).encode(dump_json(fields), key)
    operation.ttl = operation.ttl or ttl
    operation.sizes.append(len(value))
    if len(value) > settings.max_snapshot_bytes:
        raise SnapshotError(Reason.TOO_LARGE)
    return value


def _fields_of(snapshot: TaskContextSnapshot) -> dict[str, Any]:
    return dict(zip(_FIELD_NAMES, _field_values(snapshot), strict=True))


_FIELD_NAMES = tuple(each.name for each in fields(TaskContextSnapshot))
_field_values = attrgetter(*_FIELD_NAMES)


def describe_capture(
    operation: Capture, snapshot: TaskContextSnapshot, *, headers_dropped: bool, baggage_dropped: bool
) -> None:
    """For each part of the context: was it there, and did all of it come along?  Some can be both."""
    operation.fields, operation.outcome = _results(present_fields(snapshot), headers_dropped, baggage_dropped)


@cache
def _results(
    present: tuple[Field, ...], headers_dropped: bool, baggage_dropped: bool
) -> tuple[Mapping[Field, frozenset[FieldResult]], Outcome]:
    """Of captures that are alike in this, of which there are some hundreds; and their outcome."""
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
    """Partial when a part was there and nothing of it came along; empty when there was nothing at all."""
    if _DROPPED in results:
        return Outcome.PARTIAL
    return Outcome.EMPTY if results == _NOTHING else Outcome.OK
