"""The stored JSON: what is read from it, and how it is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from taskctx import TaskContextSnapshot
from taskctx._snapshot.record import READABLE_SCHEMAS, SCHEMA_VERSION, Record, dump_json, parse_record, record_of
from taskctx.errors import CaptureError, InvalidType, Reason, SnapshotError
from tests.secrets import MARKER, secret
from tests.strategies import FLOATS, JSON, TEXT, TEXTS

RECORDS = st.builds(
    Record,
    access_token_json=st.none() | TEXT,
    http_headers=st.none() | TEXTS,
    origin_request_id=st.none() | TEXT,
    session_id=st.none() | TEXT,
    trace_context=st.none() | TEXTS,
    carried=st.none() | st.dictionaries(TEXT, JSON, max_size=4),
    captured_at=st.none() | FLOATS,
    schema_version=st.sampled_from(READABLE_SCHEMAS),
    stored_at=st.none() | FLOATS,
    ttl=st.none() | st.integers(1),
)


@given(RECORDS)
@settings(deadline=None)
def test_a_record_survives_its_json(record: Record) -> None:
    """Every field, the save's own stamp among them."""
    assert parse_record(dump_json(record.model_dump())) == record


@given(st.binary() | st.text(st.characters()) | JSON.map(json.dumps))
@settings(deadline=None)
def test_anything_else_is_refused_with_a_reason(raw: str | bytes) -> None:
    """Arbitrary bytes and texts are a SnapshotError, or a record."""
    try:
        record = parse_record(raw)
    except SnapshotError as error:
        assert error.reason in (Reason.MALFORMED, Reason.SCHEMA_UNSUPPORTED)  # noqa: PT017
        assert error.__suppress_context__  # noqa: PT017
    else:
        assert record.schema_version in READABLE_SCHEMAS


@pytest.mark.parametrize(
    "raw",
    [
        "",
        b"",
        "null",
        "[]",
        '"text"',
        "{",
        "{}}",
        b"\xff{}",
        '{"http_headers": "text"}',
        '{"http_headers": {"x": 1}}',
        '{"carried": []}',
        '{"session_id": 7}',
        '{"captured_at": "now"}',
        '{"captured_at": NaN}',
        '{"captured_at": -Infinity}',
        '{"stored_at": NaN}',
        '{"stored_at": Infinity}',
        '{"ttl": 1.5}',
        '{"ttl": 0}',
        '{"ttl": -1}',
        '{"schema_version": "1"}',
        '{"schema_version": null}',
        '{"schema_version": 1.5}',
        '{"schema_version": true}',
        '{"session_id": "\\ud800"}',
        '{"session_id": "\ud800"}',
        "\ud800",
        '{"carried": {"deep": ' + "[" * 10_000 + "]" * 10_000 + "}}",
    ],
)
def test_what_is_malformed(raw: str | bytes) -> None:
    """Text that is no JSON object, and fields of wrong types: nothing is coerced."""
    with pytest.raises(SnapshotError) as caught:
        parse_record(raw)
    assert caught.value.reason is Reason.MALFORMED


@pytest.mark.parametrize("raw", [None, 7, {}, bytearray(b"{}")])
def test_what_is_neither_text_nor_bytes_is_the_callers_mistake(raw: object) -> None:
    """An error of its type, which the message names; nothing is said of a snapshot."""
    with pytest.raises(InvalidType, match=f"not {type(raw).__name__}$"):
        parse_record(raw)  # type: ignore[arg-type]


def test_the_form_of_schema_1() -> None:
    """Workers of other versions read it: what changes it so that they cannot raises SCHEMA_VERSION."""
    written = {
        "access_token_json": '{"token":"t","client_id":"reports-app"}',
        "http_headers": {"x-tenant": "acme"},
        "origin_request_id": "request-1",
        "session_id": "session-1",
        "trace_context": {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
        "carried": {"locale": "en"},
        "captured_at": 1790000000.25,
        "schema_version": 1,
        "stored_at": 1790000000.5,
        "ttl": 86400,
    }
    record = parse_record(json.dumps(written))
    assert record.model_dump() == written
    assert json.loads(dump_json(record.model_dump())) == written
    assert Record().schema_version == 1


def test_every_field_may_be_missing() -> None:
    """What an older taskctx of the same schema did not write has its default."""
    assert parse_record("{}") == Record()
    assert parse_record("{}").session_id is None


@pytest.mark.parametrize("version", [SCHEMA_VERSION + 1, 0, -1, 10**30])
def test_a_schema_that_cannot_be_read_is_its_own_reason(version: int) -> None:
    """Whatever else the record holds: a newer schema may have changed the other fields' types."""
    changed = {"http_headers": [["x-tenant", "acme"]], "captured_at": "2026-11-22"}
    for others in ({}, {"session_id": "s"}, changed):
        assert objections({"schema_version": version, **others}) == {Reason.SCHEMA_UNSUPPORTED}


@pytest.mark.parametrize(
    "fields", [None, [], "{}", {"session_id": 1}, {"schema_version": "2"}, {"schema_version": True}]
)
def test_a_value_that_is_no_record(fields: object) -> None:
    """As JSON or parsed: ``malformed``."""
    assert objections(fields) == {Reason.MALFORMED}


def objections(fields: object) -> set[Reason]:
    """Why a value is no record: as JSON, and parsed."""
    with pytest.raises(SnapshotError) as of_text:
        parse_record(json.dumps(fields))
    with pytest.raises(SnapshotError) as of_value:
        record_of(fields)
    for error in (of_text.value, of_value.value):
        assert error.__suppress_context__ or error.__context__ is None, "pydantic's error may quote the record"
    return {of_text.value.reason, of_value.value.reason}


def test_unknown_fields_are_ignored() -> None:
    """A newer taskctx of the same schema may write more."""
    fields = {"session_id": "s", "novelty": {"x": 1}}
    assert parse_record(json.dumps(fields)) == record_of(fields) == Record(session_id="s")


@pytest.mark.parametrize("fields", [{"session_id": "\ud800"}, {"http_headers": {"x-\udfff": "v"}}])
def test_text_that_is_not_utf8_cannot_be_written(fields: dict[str, Any]) -> None:
    """A lone surrogate has no JSON form; the error does not quote it."""
    with pytest.raises(CaptureError, match="not UTF-8") as caught:
        dump_json(fields)
    assert caught.value.__suppress_context__


def test_an_object_cannot_be_written() -> None:
    """What was put into a snapshot by hand has not been through ``carry``."""
    with pytest.raises(CaptureError, match="an object that is no JSON value"):
        TaskContextSnapshot(carried={"x": object()}).to_json()


def test_a_value_without_end_cannot_be_written() -> None:
    """A structure that holds itself is an error of ours, not a RecursionError."""
    endless: dict[str, Any] = {}
    endless["self"] = endless
    with pytest.raises(CaptureError):
        dump_json({"carried": endless})


def test_a_record_shows_no_secret() -> None:
    """Neither its repr nor any error about its fields or its JSON does."""
    record = Record(
        access_token_json=secret("token"),
        http_headers={"x": secret("header")},
        origin_request_id=secret("request"),
        session_id=secret("session"),
        trace_context={"baggage": secret("baggage")},
        carried={"x": secret("carried")},
    )
    assert MARKER not in repr(record)
    assert MARKER not in str(record)
    with pytest.raises(SnapshotError) as caught:
        parse_record(json.dumps({"http_headers": secret("header")}))
    assert MARKER not in f"{caught.value!r} {caught.value}"
    with pytest.raises(ValidationError) as refused:
        Record(http_headers=secret("header"))  # type: ignore[arg-type]
    assert MARKER not in f"{refused.value!r} {refused.value}"
