"""The stored JSON of a snapshot: what is read from it, and how it is refused."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taskctx import TaskContextSnapshot
from taskctx._snapshot.capture import SCHEMA_VERSION, Values
from taskctx._snapshot.snapshot import READABLE_SCHEMAS, StoredSnapshot, dump_json, parse_stored, stored_from
from taskctx.errors import CaptureError, InvalidType, Reason, SnapshotError
from tests.secrets import MARKER, secret
from tests.strategies import FLOATS, JSON, SNAPSHOT_FIELDS

STORED = st.builds(
    StoredSnapshot,
    **SNAPSHOT_FIELDS,
    schema_version=st.sampled_from(READABLE_SCHEMAS),
    stored_at=st.none() | FLOATS,
    ttl=st.none() | st.integers(1),
)


@given(STORED)
@settings(deadline=None)
def test_a_stored_snapshot_survives_its_json(snapshot: StoredSnapshot) -> None:
    """Every field, the save's own stamp among them."""
    assert parse_stored(dump_json(Values(asdict(snapshot)))) == snapshot
    assert stored_from(asdict(snapshot)) == snapshot


@given(st.binary() | st.text(st.characters()) | JSON.map(json.dumps))
@settings(deadline=None)
def test_anything_else_is_refused_with_a_reason(raw: str | bytes) -> None:
    """Arbitrary bytes and texts are a SnapshotError, or a snapshot."""
    try:
        snapshot = parse_stored(raw)
    except SnapshotError as error:
        assert error.reason in (Reason.MALFORMED, Reason.SCHEMA_UNSUPPORTED)  # noqa: PT017
        assert error.__suppress_context__  # noqa: PT017
    else:
        assert snapshot.schema_version in READABLE_SCHEMAS


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
        '{"required": "locale"}',
        '{"required": [1]}',
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
        parse_stored(raw)
    assert caught.value.reason is Reason.MALFORMED


@pytest.mark.parametrize("raw", [None, 7, {}, bytearray(b"{}")])
def test_what_is_neither_text_nor_bytes_is_the_callers_mistake(raw: object) -> None:
    """An error of its type, which the message names; nothing is said of a snapshot."""
    with pytest.raises(InvalidType, match=f"not {type(raw).__name__}$"):
        parse_stored(raw)  # type: ignore[arg-type]


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
        "required": ["locale"],
        "anonymity_is_meant": True,
        "stored_at": 1790000000.5,
        "ttl": 86400,
    }
    snapshot = parse_stored(json.dumps(written))
    assert asdict(snapshot) == written | {"required": ("locale",)}
    assert json.loads(dump_json(Values(asdict(snapshot)))) == written
    assert StoredSnapshot().schema_version == 1


def test_every_field_may_be_missing() -> None:
    """What an older taskctx of the same schema did not write has its default."""
    assert parse_stored("{}") == StoredSnapshot()
    assert parse_stored("{}").session_id is None


def test_null_is_as_good_as_missing() -> None:
    """A null field has the same value as a missing field, except ``schema_version``."""
    nulls = dict.fromkeys(asdict(StoredSnapshot()).keys() - {"schema_version"})
    assert parse_stored(json.dumps(nulls)) == stored_from(nulls) == StoredSnapshot()


@pytest.mark.parametrize("version", [SCHEMA_VERSION + 1, 0, -1, 10**30])
def test_a_schema_that_cannot_be_read_is_its_own_reason(version: int) -> None:
    """Whatever else there is: a newer schema may have changed the other fields' types."""
    changed = {"http_headers": [["x-tenant", "acme"]], "captured_at": "2026-11-22"}
    for others in ({}, {"session_id": "s"}, changed):
        assert objections({"schema_version": version, **others}) == {Reason.SCHEMA_UNSUPPORTED}


@pytest.mark.parametrize(
    "fields", [None, [], "{}", {"session_id": 1}, {"schema_version": "2"}, {"schema_version": True}]
)
def test_a_value_that_is_no_snapshot(fields: object) -> None:
    """Such a value is ``malformed``, as text and as parsed JSON."""
    assert objections(fields) == {Reason.MALFORMED}


def objections(fields: object) -> set[Reason]:
    """Why a value is no snapshot: as JSON, and parsed."""
    with pytest.raises(SnapshotError) as of_text:
        parse_stored(json.dumps(fields))
    with pytest.raises(SnapshotError) as of_value:
        stored_from(fields)
    for error in (of_text.value, of_value.value):
        assert error.__suppress_context__ or error.__context__ is None, "pydantic's error may quote the value"
    return {of_text.value.reason, of_value.value.reason}


def test_unknown_fields_are_ignored() -> None:
    """A newer taskctx of the same schema may write more."""
    fields = {"session_id": "s", "novelty": {"x": 1}}
    assert parse_stored(json.dumps(fields)) == stored_from(fields) == StoredSnapshot(session_id="s")


@pytest.mark.parametrize("fields", [{"session_id": "\ud800"}, {"http_headers": {"x-\udfff": "v"}}])
def test_text_that_is_not_utf8_cannot_be_written(fields: dict[str, Any]) -> None:
    """A lone surrogate has no JSON form; the error does not quote it."""
    with pytest.raises(CaptureError, match="not UTF-8") as caught:
        dump_json(Values(fields))
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
        dump_json(Values({"carried": endless}))


def test_a_stored_snapshot_shows_no_secret() -> None:
    """Neither its ``repr`` nor an error about its JSON has a secret."""
    snapshot = StoredSnapshot(
        access_token_json=secret("token"),
        http_headers={"x": secret("header")},
        origin_request_id=secret("request"),
        session_id=secret("session"),
        trace_context={"baggage": secret("baggage")},
        carried={"x": secret("carried")},
    )
    assert MARKER not in repr(snapshot)
    assert MARKER not in str(snapshot)
    wrong = {"http_headers": secret("header")}
    with pytest.raises(SnapshotError) as of_text:
        parse_stored(json.dumps(wrong))
    with pytest.raises(SnapshotError) as of_value:
        stored_from(wrong)
    for error in (of_text.value, of_value.value):
        assert MARKER not in f"{error!r} {error}"
