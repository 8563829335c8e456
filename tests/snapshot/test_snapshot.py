"""The snapshot: what is captured, its JSON, and how it is saved."""

from __future__ import annotations

import json
import math
import time
from dataclasses import FrozenInstanceError, fields
from datetime import timedelta
from typing import Any

import pytest
from docket import Docket
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry import baggage, context, trace

import taskctx
from taskctx import TaskContextSnapshot
from taskctx._caller.caller import Caller
from taskctx._caller.token import Credential, token_from_json
from taskctx._snapshot.capture import SCHEMA_VERSION
from taskctx.errors import InvalidType, Reason, SaveError, SnapshotError
from tests import secrets
from tests.conftest import our_keys
from tests.secrets import MARKER, secret
from tests.strategies import JSON, SNAPSHOT_FIELDS, TEXT, TEXTS

SNAPSHOTS = st.builds(
    TaskContextSnapshot,
    **SNAPSHOT_FIELDS,
    schema_version=st.just(SCHEMA_VERSION),
)
FIELD_NAMES = [
    "access_token_json",
    "http_headers",
    "origin_request_id",
    "session_id",
    "trace_context",
    "carried",
    "captured_at",
    "schema_version",
    "required",
    "anonymity_is_meant",
]


@given(SNAPSHOTS)
@settings(deadline=None)
def test_a_snapshot_survives_its_json(snapshot: TaskContextSnapshot) -> None:
    """Every field does, as text and as bytes."""
    text = snapshot.to_json()
    assert TaskContextSnapshot.from_json(text) == snapshot
    assert TaskContextSnapshot.from_json(text.encode()) == snapshot


@given(SNAPSHOTS, st.dictionaries(TEXT.filter(lambda name: name not in FIELD_NAMES), JSON, max_size=4))
@settings(deadline=None)
def test_unknown_fields_are_ignored(snapshot: TaskContextSnapshot, more: dict[str, Any]) -> None:
    """A newer taskctx of the same schema may write more."""
    text = json.dumps(more | json.loads(snapshot.to_json()))
    assert TaskContextSnapshot.from_json(text) == snapshot


@given(TEXTS)
@settings(deadline=None)
def test_header_names_are_lowered_on_load(headers: dict[str, str]) -> None:
    """The names in a stored snapshot become lower case, even if another program wrote it."""
    loaded = TaskContextSnapshot.from_json(json.dumps({"http_headers": headers}))
    assert loaded.http_headers == {name.lower(): value for name, value in headers.items()}


@given(st.binary() | st.text(st.characters()) | JSON.map(json.dumps))
@settings(deadline=None)
def test_anything_else_is_refused_as_a_snapshot(raw: str | bytes) -> None:
    """Arbitrary bytes and texts are a SnapshotError and nothing else, or a snapshot."""
    try:
        snapshot = TaskContextSnapshot.from_json(raw)
    except SnapshotError as error:
        assert error.reason in (Reason.MALFORMED, Reason.SCHEMA_UNSUPPORTED)  # noqa: PT017
    else:
        assert TaskContextSnapshot.from_json(snapshot.to_json()) == snapshot


@pytest.mark.parametrize("raw", ["\ud800", '{"session_id": "\ud800"}'])
def test_text_that_is_not_utf_8_is_malformed(raw: str) -> None:
    """Lone surrogates can stand in a Python string, and in nothing that was stored."""
    with pytest.raises(SnapshotError, match="malformed"):
        TaskContextSnapshot.from_json(raw)


@pytest.mark.parametrize("raw", [None, 5, {}, ["{}"]])
def test_what_is_no_text_is_of_the_wrong_type(raw: Any) -> None:
    """A mistake of the program's, not damage to what is stored."""
    with pytest.raises(InvalidType):
        TaskContextSnapshot.from_json(raw)


def test_the_json_has_the_field_names_as_its_keys() -> None:
    """The keys of the JSON are the names of the fields, which therefore must not change."""
    assert [field.name for field in fields(TaskContextSnapshot)] == FIELD_NAMES
    assert list(json.loads(TaskContextSnapshot().to_json())) == FIELD_NAMES


def test_a_newer_schema_is_its_own_reason() -> None:
    """A newer schema is ``schema_unsupported``, even if it changed the types of other fields."""
    newer = {"schema_version": SCHEMA_VERSION + 1, "http_headers": [["x-tenant", "acme"]], "carried": "none"}
    with pytest.raises(SnapshotError) as caught:
        TaskContextSnapshot.from_json(json.dumps(newer))
    assert caught.value.reason is Reason.SCHEMA_UNSUPPORTED


def test_the_json_that_fastmcp_writes_can_be_read() -> None:
    """Four fields, no schema version."""
    written = {
        "access_token_json": '{"token": "t", "client_id": "reports-app", "scopes": []}',
        "http_headers": {"X-Tenant": "acme"},
        "origin_request_id": "7",
        "session_id": None,
    }
    snapshot = TaskContextSnapshot.from_json(json.dumps(written))
    assert snapshot == TaskContextSnapshot(
        access_token_json=written["access_token_json"],  # type: ignore[arg-type]
        http_headers={"x-tenant": "acme"},
        origin_request_id="7",
    )
    token = token_from_json(snapshot.access_token_json)
    assert token is not None
    assert token.client_id == "reports-app"


def test_a_snapshot_shows_no_secret() -> None:
    """The ``repr`` of a snapshot has no secret of its caller."""
    snapshot = TaskContextSnapshot(
        access_token_json=secret("token"),
        http_headers={"x": secret("header")},
        origin_request_id=secret("request"),
        session_id=secret("session"),
        trace_context={"baggage": secret("baggage")},
        carried={"x": secret("carried")},
        captured_at=1.5,
    )
    assert repr(snapshot) == f"TaskContextSnapshot(captured_at=1.5, schema_version={SCHEMA_VERSION})"
    assert MARKER not in str(snapshot)
    caller = Caller(
        credential_source=lambda: Credential.of(secrets.token()),
        headers={"x": secret("header")},
        request_id=secret("request"),
        session_id=secret("session"),
        session=secret("live session"),
        server=secret("live server"),
    )
    assert repr(caller) == "Caller()"


def test_a_snapshot_cannot_be_changed() -> None:
    """It is frozen."""
    with pytest.raises(FrozenInstanceError):
        TaskContextSnapshot().session_id = "other"  # type: ignore[misc]


def test_capture_takes_everything_of_the_ambient_caller() -> None:
    """Token, headers, ids, trace, baggage, and the time."""
    before = time.time()
    caller = taskctx.bind_caller(
        access_token=secrets.token(),
        headers={"X-Tenant": secret("tenant")},
        request_id="request-1",
        session_id=secret("session"),
    )
    attached = context.attach(baggage.set_baggage("tenant", secret("baggage")))
    try:
        with caller, trace.get_tracer("test").start_as_current_span("request") as span:
            snapshot = TaskContextSnapshot.capture()
    finally:
        context.detach(attached)

    assert token_from_json(snapshot.access_token_json) == secrets.token()
    assert snapshot.http_headers == {"x-tenant": secret("tenant")}
    assert snapshot.origin_request_id == "request-1"
    assert snapshot.session_id == secret("session")
    assert snapshot.trace_context.keys() == {"traceparent", "baggage"}
    assert format(span.get_span_context().trace_id, "032x") in snapshot.trace_context["traceparent"]
    assert snapshot.trace_context["baggage"] == f"tenant={secret('baggage')}"
    assert snapshot.carried == {}
    assert snapshot.captured_at is not None
    assert before <= snapshot.captured_at <= time.time()
    assert snapshot.schema_version == SCHEMA_VERSION


def test_the_snapshot_of_an_anonymous_caller_is_empty() -> None:
    """Outside a request there is only the time."""
    taskctx.configure(tracing=False)
    snapshot = TaskContextSnapshot.capture()
    assert snapshot == TaskContextSnapshot(captured_at=snapshot.captured_at)


@pytest.mark.parametrize(
    ("keys", "carried"),
    [
        (("*",), {"tenant", "team", "Region"}),
        ((), set[str]()),
        (("tenant",), {"tenant"}),
        (("te*",), {"tenant", "team"}),
        (("REGION", "t?am"), {"Region", "team"}),
    ],
)
def test_which_baggage_is_captured(keys: tuple[str, ...], carried: set[str]) -> None:
    """Patterns of the ``baggage_keys`` setting, without regard to case."""
    taskctx.configure(baggage_keys=keys)
    current = context.Context()
    for key in ("tenant", "team", "Region"):
        current = baggage.set_baggage(key, "value", current)
    attached = context.attach(current)
    try:
        stored = TaskContextSnapshot.capture().trace_context.get("baggage", "")
    finally:
        context.detach(attached)
    assert {entry.partition("=")[0] for entry in stored.split(",") if entry} == carried


async def test_save_stores_one_key_that_expires(docket: Docket) -> None:
    """Its value is the snapshot's JSON."""
    snapshot = TaskContextSnapshot(session_id="session-1")
    await snapshot.save(docket, "reports-app|ada", "a:b", 60)
    (key,) = await our_keys(docket)
    assert key == docket.key("taskctx:task:auth:reports-app%7Cada:a%3Ab:snapshot")
    async with docket.redis() as redis:
        assert 58 <= await redis.ttl(key) <= 60
        stored = await redis.get(key) or b""
    assert TaskContextSnapshot.from_json(stored).session_id == "session-1"


async def test_save_takes_a_key_prefix(docket: Docket) -> None:
    """The ``key_prefix`` setting is the key's first segment, behind the docket's own."""
    taskctx.configure(key_prefix="acme.ctx")
    await TaskContextSnapshot().save(docket, None, "monthly", 60)
    async with docket.redis() as redis:
        assert await redis.exists(docket.key("acme.ctx:task:anon:monthly:snapshot"))


@pytest.mark.parametrize(
    ("ttl", "seconds"),
    [(1, 1), (1.0, 1), (59.2, 60), (60, 60), (timedelta(seconds=1), 1), (timedelta(minutes=1), 60)],
)
async def test_a_ttl_is_seconds_or_a_timedelta(docket: Docket, ttl: float | timedelta, seconds: int) -> None:
    """Fractions are rounded up, so that no key goes early."""
    await TaskContextSnapshot().save(docket, None, "monthly", ttl)
    (key,) = await our_keys(docket)
    async with docket.redis() as redis:
        assert seconds - 1 <= await redis.ttl(key) <= seconds


@pytest.mark.parametrize(
    "ttl",
    [
        0,
        -1,
        0.5,
        0.999,
        math.nan,
        math.inf,
        -math.inf,
        2**31,
        1e300,
        timedelta(0),
        timedelta(seconds=-1),
        timedelta.max,
    ],
)
async def test_a_ttl_that_no_key_can_have_is_refused(docket: Docket, ttl: float | timedelta) -> None:
    """Below a second it is a ValueError, and nothing is written."""
    with pytest.raises(taskctx.InvalidArgument, match="a TTL must be between 1 and"):
        await TaskContextSnapshot().save(docket, None, "monthly", ttl)
    assert await our_keys(docket) == []


@pytest.mark.parametrize("ttl", [None, True, False, "60", b"60", [60]])
async def test_a_ttl_of_another_type_is_refused(docket: Docket, ttl: Any) -> None:
    """A TTL must be a number or a timedelta; True is neither."""
    with pytest.raises(taskctx.InvalidType, match="a TTL must be seconds or a timedelta"):
        await TaskContextSnapshot().save(docket, None, "monthly", ttl)
    assert await our_keys(docket) == []


@pytest.mark.parametrize(("scope", "task_id"), [("", "monthly"), (None, ""), ("ada", "")])
async def test_an_empty_id_is_refused(docket: Docket, scope: str | None, task_id: str) -> None:
    """Nothing is written."""
    with pytest.raises(taskctx.InvalidArgument, match="must not be empty"):
        await TaskContextSnapshot().save(docket, scope, task_id, 60)
    assert await our_keys(docket) == []


@pytest.mark.parametrize(("scope", "task_id"), [(7, "monthly"), (None, None), (None, 7), (b"ada", "monthly")])
async def test_an_id_of_another_type_is_refused(docket: Docket, scope: Any, task_id: Any) -> None:
    """Nothing is written."""
    with pytest.raises(taskctx.InvalidType, match="must be a string"):
        await TaskContextSnapshot().save(docket, scope, task_id, 60)
    assert await our_keys(docket) == []


async def test_a_snapshot_that_is_too_large_is_refused(docket: Docket) -> None:
    """The error says why and not what; nothing is written."""
    taskctx.configure(max_snapshot_bytes=1024)
    snapshot = TaskContextSnapshot(http_headers={"x-large": secret("x" * 1024)})
    with pytest.raises(SaveError, match="too_large") as caught:
        await snapshot.save(docket, None, "monthly", 60)
    assert caught.value.reason is Reason.TOO_LARGE
    assert MARKER not in str(caught.value)
    assert await our_keys(docket) == []


async def test_a_save_error_stands_alone(docket: Docket) -> None:
    """A traceback of it shows nothing of what was on its way before."""
    taskctx.configure(max_snapshot_bytes=256)
    with pytest.raises(SaveError) as caught:
        await TaskContextSnapshot(session_id="x" * 256).save(docket, None, "monthly", 60)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None or caught.value.__suppress_context__


async def test_the_size_limit_is_that_of_the_stored_bytes(docket: Docket) -> None:
    """Exactly the limit passes; one byte more does not."""
    taskctx.configure(tracing=False)
    await TaskContextSnapshot(session_id="x" * 300).save(docket, None, "monthly", 60)
    (key,) = await our_keys(docket)
    async with docket.redis() as redis:
        # the stamp of the save is a float, whose digits vary
        largest = len(await redis.get(key) or b"") + 2
    taskctx.configure(tracing=False, max_snapshot_bytes=largest)
    await TaskContextSnapshot(session_id="x" * 300).save(docket, None, "monthly", 60)
    with pytest.raises(SaveError):
        await TaskContextSnapshot(session_id="x" * 310).save(docket, None, "monthly", 60)


async def test_a_refused_save_leaves_an_earlier_one_in_force(docket: Docket) -> None:
    """Nothing is half-written."""
    await TaskContextSnapshot(session_id="first").save(docket, None, "monthly", 60)
    with pytest.raises(taskctx.CaptureError):
        await TaskContextSnapshot(session_id="\ud800").save(docket, None, "monthly", 60)
    (key,) = await our_keys(docket)
    async with docket.redis() as redis:
        assert TaskContextSnapshot.from_json(await redis.get(key) or b"").session_id == "first"
