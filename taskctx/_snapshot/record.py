"""The JSON in which a snapshot is stored, and what the store stamps on it."""

from __future__ import annotations

from typing import Any, ClassVar, cast

import pydantic_core
from pydantic import BaseModel, ConfigDict, Field

from ..errors import CaptureError, InvalidType, Reason, SnapshotError

SCHEMA_VERSION = 1
"""Written into every snapshot; raised when an older taskctx could not make sense of a new one."""

READABLE_SCHEMAS = range(1, SCHEMA_VERSION + 1)


class Record(BaseModel):
    """A snapshot's fields, with the stamp of the save; what else the JSON holds is ignored.

    Attributes:
        stored_at: seconds since the epoch by the server's clock, so that age needs no two hosts to agree.
        ttl: seconds the key was given then.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="ignore", strict=True, hide_input_in_errors=True)

    access_token_json: str | None = Field(default=None, repr=False)
    http_headers: dict[str, str] | None = Field(default=None, repr=False)
    origin_request_id: str | None = Field(default=None, repr=False)
    session_id: str | None = Field(default=None, repr=False)
    trace_context: dict[str, str] | None = Field(default=None, repr=False)
    carried: dict[str, Any] | None = Field(default=None, repr=False)
    captured_at: float | None = Field(default=None, allow_inf_nan=False)
    schema_version: int = SCHEMA_VERSION
    stored_at: float | None = Field(default=None, allow_inf_nan=False)
    ttl: int | None = Field(default=None, ge=1)


def parse_record(raw: str | bytes) -> Record:
    """The record in a JSON text.

    Raises:
        InvalidType: it is neither text nor bytes.
        SnapshotError: ``malformed``, or ``schema_unsupported`` when it is of a schema this process cannot read.
    """
    if not isinstance(raw, str | bytes):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidType(f"a snapshot's JSON must be str or bytes, not {type(raw).__name__}")
    try:
        return _of_known_schema(Record.model_validate_json(raw))
    except _NOT_A_RECORD:
        raise SnapshotError(_objection(_value_in(raw))) from None


def record_of(fields: object) -> Record:
    """The record in a JSON value that is parsed already.

    Raises:
        SnapshotError: as :func:`parse_record`.
    """
    try:
        return _of_known_schema(Record.model_validate(fields))
    except _NOT_A_RECORD:
        raise SnapshotError(_objection(fields)) from None


_NOT_A_RECORD = (ValueError, TypeError, RecursionError)
"""A TypeError is what pydantic makes of text with lone surrogates."""


def _of_known_schema(record: Record) -> Record:
    if record.schema_version not in READABLE_SCHEMAS:
        raise SnapshotError(Reason.SCHEMA_UNSUPPORTED)
    return record


def _objection(fields: object) -> Reason:
    """To what is no record.  A newer schema, which may have changed the fields' types, is told by its version alone."""
    version = cast("dict[str, object]", fields).get("schema_version") if isinstance(fields, dict) else None
    newer = isinstance(version, int) and version not in READABLE_SCHEMAS
    return Reason.SCHEMA_UNSUPPORTED if newer else Reason.MALFORMED


def _value_in(raw: str | bytes) -> object:
    try:
        return pydantic_core.from_json(raw)
    except _NOT_A_RECORD:
        return None


def dump_json(fields: dict[str, Any]) -> bytes:
    """A record's fields as JSON.

    Raises:
        CaptureError: something in it has no JSON form.
    """
    try:
        return pydantic_core.to_json(fields)
    except (ValueError, RecursionError):
        raise CaptureError(
            "the caller's context has no JSON form: a header, an id or a carried value holds text that is not UTF-8, "
            "or an object that is no JSON value"
        ) from None
