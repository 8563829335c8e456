"""The snapshot: a caller's context at the moment of a task's submission.  Its model and its JSON."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from datetime import timedelta
from functools import partial
from operator import attrgetter
from typing import Annotated, Any, ClassVar, TypeVar, cast, get_origin

import pydantic_core
from docket import Docket
from docket.dependencies import current_docket
from pydantic import AfterValidator, ConfigDict, Field, GetCoreSchemaHandler, TypeAdapter
from pydantic_core import core_schema

from .._caller.trace_context import current_trace
from .._runtime import Runtime, runtime
from .._transport import commands
from .._transport.connection import Connection, check_docket, check_open, connection_of
from .._transport.deadline import BackendError, Deadline
from ..errors import CaptureError, InvalidType, Reason, SaveError, SnapshotError
from ..operations import Save
from ..telemetry.observe import observe
from .capture import SCHEMA_VERSION, Origin, Values, present_parts
from .keys import snapshot_key
from .lifetime import whole_seconds

READABLE_SCHEMAS = range(1, SCHEMA_VERSION + 1)


class _EmptyForNull:
    """Pydantic metadata: the mapping or tuple may be null in JSON, which means empty."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        kind = get_origin(source)
        null = core_schema.no_info_after_validator_function(lambda _: kind(), core_schema.none_schema())
        return core_schema.union_schema([handler(source), null])


_Name = Annotated[str, AfterValidator(str.lower)]
_Seconds = Annotated[float | None, Field(allow_inf_nan=False)]


@dataclass(frozen=True, slots=True)
class TaskContextSnapshot:
    """A caller's context, captured when a task was submitted.  ``repr`` shows no credential.

    Attributes:
        access_token_json: the caller's :class:`taskctx.AccessToken` as JSON.
        http_headers: the request's headers that the header policy lets through, names in lower case.
        origin_request_id: the request's id.
        session_id: the session's id.
        trace_context: W3C carrier: ``traceparent``, ``tracestate``, ``baggage``.
        carried: JSON values of the registered ContextVars, by name.
        captured_at: seconds since the epoch, by the submitter's clock.
        schema_version: the version of the stored form.
        required: names of the carried values without which the task must not run.
        anonymity_is_meant: the snapshot was captured inside :func:`taskctx.anonymous`.
    """

    # pydantic reads snapshots and coerces nothing; it ignores fields that a newer taskctx may have written
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="ignore", strict=True, hide_input_in_errors=True)

    access_token_json: str | None = field(default=None, repr=False)
    http_headers: dict[_Name, str] | None = field(default=None, repr=False)
    origin_request_id: str | None = field(default=None, repr=False)
    session_id: str | None = field(default=None, repr=False)
    trace_context: Annotated[dict[str, str], _EmptyForNull()] = field(default_factory=dict[str, str], repr=False)
    carried: Annotated[dict[str, Any], _EmptyForNull()] = field(default_factory=dict[str, Any], repr=False)
    captured_at: _Seconds = None
    schema_version: int = SCHEMA_VERSION
    required: Annotated[tuple[str, ...], _EmptyForNull()] = field(default=(), repr=False)
    anonymity_is_meant: bool | None = field(default=None, repr=False)

    @classmethod
    def capture(cls) -> TaskContextSnapshot:
        """The context of the current caller, with the current OpenTelemetry trace context and baggage.

        Raises:
            CaptureError: a carried value has no JSON form, a required value is missing, or there is no caller and
                ``on_anonymous`` is ``refuse``.
            InvalidType: the authenticator's access token lacks the attributes of a token.
        """
        docket, origin = current_docket.get(None), Origin()
        origin.capture("" if docket is None else docket.name)
        return cls(**origin.values)

    def to_json(self) -> str:
        """The snapshot as a JSON object; its keys are the field names.

        Raises:
            CaptureError: a value in the snapshot has no JSON form.
        """
        return dump_json(Values(self._by_name())).decode()

    @classmethod
    def from_json(cls, raw: str | bytes) -> TaskContextSnapshot:
        """The snapshot in a JSON object.  Unknown fields are ignored, and header names become lower case.

        Raises:
            SnapshotError: ``malformed``, or ``schema_unsupported`` when a newer taskctx wrote it.
            InvalidType: ``raw`` is neither text nor bytes.
        """
        try:
            return _parsed(_snapshots, raw)
        finally:
            del raw  # error reporters send the locals of every frame that an exception passes

    async def save(self, docket: Docket, task_scope: str | None, task_id: str, ttl_seconds: float | timedelta) -> None:
        """Store the snapshot as one Redis key that lives for ``ttl_seconds``.

        The stored trace context is that of the ``taskctx.save`` span, where this span exists.

        Args:
            docket: an open docket.
            task_scope: the authorization scope of the task; None for an anonymous caller.
            task_id: the caller's own id for the task.
            ttl_seconds: seconds, or a timedelta; at least one second.

        Raises:
            InvalidArgument: the TTL is below one second, or an id is empty.
            InvalidType: an argument is of the wrong type.
            CaptureError: a value in the snapshot has no JSON form.
            SaveError: the snapshot is too large, or the server did not store it.
        """
        check_docket(docket)
        check_open(docket)
        within, connection, ttl = runtime(), connection_of(docket), whole_seconds(ttl_seconds)
        key = docket.key(snapshot_key(within.settings.key_prefix, task_scope, task_id))
        try:
            return await self._save(
                connection, key, ttl, Save(docket_name=connection.docket_name, task_id=task_id), within
            )
        except (SnapshotError, BackendError) as error:
            failure = SaveError(error.reason, error.cause)
        # raised outside of the except block, so that it has neither that error as its context nor that error's frames
        raise failure

    async def _save(self, connection: Connection, key: str, ttl: int, saving: Save, within: Runtime) -> None:
        with observe(saving, within) as operation:
            here = current_trace()
            operation.ttl = ttl
            operation.fields = present_parts(
                access_token_json=self.access_token_json,
                http_headers=self.http_headers,
                session_id=self.session_id,
                origin_request_id=self.origin_request_id,
                trace_context=self.trace_context | here,
                carried=self.carried,
            )
            with Deadline(connection.timers, within.settings.backend_timeout):
                stamp = {"stored_at": await connection.server_time(), "ttl": ttl}
                values = Values(self._by_name() | {"trace_context": self.trace_context | here} | stamp)
                value = memoryview(within.codec.encode(dump_json(values), key))
                operation.sizes, operation.sealed_with = (len(value),), within.codec.sealing_key_id
                if len(value) > within.settings.max_snapshot_bytes:
                    raise SnapshotError(Reason.TOO_LARGE)
                await commands.put(connection, key, value, ttl)

    def _by_name(self) -> dict[str, Any]:
        return dict(zip(_FIELD_NAMES, _field_values(self), strict=True))


@dataclass(frozen=True, slots=True)
class StoredSnapshot(TaskContextSnapshot):
    """A snapshot with the time and TTL of its save.

    Attributes:
        stored_at: seconds since the epoch by the Redis server's clock, so that a snapshot's age depends on one clock.
        ttl: the key's TTL at its save, in seconds.
    """

    stored_at: _Seconds = None
    ttl: Annotated[int | None, Field(ge=1)] = None


_FIELD_NAMES = tuple(each.name for each in fields(TaskContextSnapshot))
_field_values = attrgetter(*_FIELD_NAMES)
_snapshots = TypeAdapter(TaskContextSnapshot)
_stored_snapshots = TypeAdapter(StoredSnapshot)

Snapshot = TypeVar("Snapshot", bound=TaskContextSnapshot)

_NO_SNAPSHOT = (ValueError, TypeError, RecursionError)
"""The errors for JSON that is no snapshot.  Pydantic raises TypeError for text with lone surrogates."""


def stored_from(values: object) -> StoredSnapshot:
    """The snapshot in a parsed JSON value.

    Raises:
        SnapshotError: see :func:`parse_stored`.
    """
    try:
        # a strict pydantic dataclass accepts a mapping from JSON only
        raw = pydantic_core.to_json(values, inf_nan_mode="constants")
    except _NO_SNAPSHOT:
        raise SnapshotError(Reason.MALFORMED) from None
    return parse_stored(raw)


def dump_json(values: Values) -> bytes:
    """A snapshot's values as JSON.

    Raises:
        CaptureError: one of the values has no JSON form.
    """
    try:
        return pydantic_core.to_json(values.by_name)
    except (ValueError, RecursionError):
        raise CaptureError(
            "the caller's context has no JSON form: a header, an id or a carried value holds text that is not UTF-8, "
            "or an object that is no JSON value"
        ) from None


def _parsed(adapter: TypeAdapter[Snapshot], raw: str | bytes) -> Snapshot:
    if not isinstance(raw, str | bytes):  # pyright: ignore[reportUnnecessaryIsInstance]
        kind = type(raw).__name__
        del raw
        raise InvalidType(f"a snapshot's JSON must be str or bytes, not {kind}")
    try:
        snapshot: Snapshot = adapter.validator.validate_json(raw)  # without the adapter's own frames
    except _NO_SNAPSHOT:
        raise SnapshotError(_objection(_value_in(raw))) from None
    finally:
        del raw  # see from_json
    if snapshot.schema_version not in READABLE_SCHEMAS:
        raise SnapshotError(Reason.SCHEMA_UNSUPPORTED)
    return snapshot


def _objection(values: object) -> Reason:
    """Why a JSON value is no snapshot.  Only the version identifies a newer schema: its field types may differ."""
    version = cast("dict[str, object]", values).get("schema_version") if isinstance(values, dict) else None
    newer = isinstance(version, int) and version not in READABLE_SCHEMAS
    return Reason.SCHEMA_UNSUPPORTED if newer else Reason.MALFORMED


def _value_in(raw: str | bytes) -> object:
    try:
        return pydantic_core.from_json(raw)
    except _NO_SNAPSHOT:
        return None


parse_stored: Callable[[str | bytes], StoredSnapshot] = partial(_parsed, _stored_snapshots)
"""The snapshot in a stored JSON text.  Errors are those of :meth:`TaskContextSnapshot.from_json`."""
