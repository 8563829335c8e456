"""The fuzzed functions: one for each surface that takes bytes from outside.

A target reads any bytes as input of its surface and asserts what must hold whatever they are: nothing is raised but
errors of ours, whose messages are fixed texts; what is accepted survives its own round trip; no caller is left behind.
``test_properties.py`` drives them with Hypothesis, ``__main__.py`` with a coverage-guided fuzzer.
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Callable, Coroutine, Iterable, Iterator
from dataclasses import fields
from typing import Any

from opentelemetry import baggage, context, trace

import taskctx
from taskctx import TaskContextSnapshot
from taskctx._caller.headers import allowed_headers
from taskctx._caller.resets import Resets
from taskctx._caller.trace_context import (
    clear_baggage,
    current_baggage,
    current_trace,
    current_trace_id,
    parent_context,
    span_context,
    use_baggage,
)
from taskctx._runtime import SnapshotCodec, runtime
from taskctx._snapshot.codec import (
    MAGIC,
    PlaintextCodec,
    SealingCodec,
    is_sealed,
    sealing_key_id,
)
from taskctx._snapshot.keys import TaskKeyParts, build_task_key, parse_task_key, snapshot_key
from taskctx._snapshot.snapshot import READABLE_SCHEMAS, StoredSnapshot, parse_stored
from taskctx.asgi import REQUEST_ID, SESSION_ID, TaskContextMiddleware
from taskctx.errors import ConfigurationError, InvalidArgument, Reason, SnapshotError
from taskctx.settings import load_settings
from taskctx.settings.keyring import KEY_BYTES, Keyring, parse_keyring
from tests.fuzz.contract import assert_fixed_text, assert_is_its_reason, attempt, is_utf8, leaving_no_caller, text_of
from tests.fuzz.restoring import restoring

Target = Callable[[bytes], None]
Pair = tuple[bytes, bytes]


# ---- TaskContextSnapshot.from_json ----


_FIELDS = tuple(each.name for each in fields(StoredSnapshot))


def snapshot_json(data: bytes) -> None:
    """A stored snapshot, as bytes and as text; and JSON of any kind in the place of each of its fields."""
    text = text_of(data)
    as_bytes, as_text = _read_snapshot(data), _read_snapshot(text)
    assert as_bytes == as_text or not is_utf8(text), "bytes and text are read differently"
    for name in _FIELDS:
        _read_snapshot(f'{{"{name}": {text}}}')
        _read_snapshot(f'{{"{name}": {{"x": {text}}}}}')


def _read_snapshot(raw: str | bytes) -> str | Reason:
    """What a snapshot is read as, in JSON; or why it is refused."""
    snapshot = attempt(lambda: TaskContextSnapshot.from_json(raw), SnapshotError)
    if isinstance(snapshot, SnapshotError):
        assert_is_its_reason(snapshot, Reason.MALFORMED, Reason.SCHEMA_UNSUPPORTED)
        return snapshot.reason
    written = snapshot.to_json()
    # as text, because a carried NaN is not equal to itself
    assert TaskContextSnapshot.from_json(written).to_json() == written
    stored = attempt(lambda: parse_stored(raw), SnapshotError)
    if isinstance(stored, SnapshotError):
        # what the save stamps on it is no part of the snapshot itself
        assert_is_its_reason(stored, Reason.MALFORMED)
        return written
    assert stored.to_json() == written
    assert snapshot.schema_version in READABLE_SCHEMAS
    assert all(name == name.lower() for name in snapshot.http_headers or ())
    assert all(moment is None or math.isfinite(moment) for moment in (stored.captured_at, stored.stored_at))
    return written


# ---- sealed values ----

PLACE, ELSEWHERE = "docket:taskctx:task:anon:1:snapshot", "docket:taskctx:task:anon:2:snapshot"
KEYS = {"2026-11": bytes(range(KEY_BYTES)), "2026-05": bytes(KEY_BYTES)}
KEYRING_TEXT = ",".join(f"{key_id}:{base64.b64encode(key).decode()}" for key_id, key in KEYS.items())
SEALING = SealingCodec(Keyring(KEYS), accept_plaintext=False)
MIGRATING = SealingCodec(Keyring(KEYS), accept_plaintext=True)


def envelope(data: bytes) -> None:
    """A stored value: as it is, behind beginnings of an envelope, and a genuine one with damage done to it."""
    for beginning in (b"", MAGIC, MAGIC + bytes((len(data) % 256,)), *_HEADERS):
        _open(beginning + data)
    for codec in (SEALING, MIGRATING):
        sealed = codec.encode(data, PLACE)
        assert codec.decode(sealed, PLACE) == data
        assert sealing_key_id(sealed) == codec.known_key_id(sealed) == "2026-11"
        assert _opened(codec, sealed, ELSEWHERE) is Reason.DECRYPT_FAILED
    for damaged in _damaged(SEALING.encode(data, PLACE), data):
        assert isinstance(_opened(SEALING, damaged, PLACE), Reason)


_HEADERS = [MAGIC + bytes((len(key_id),)) + key_id.encode() for key_id in (*KEYS, "2019")]
_REFUSALS = (
    Reason.MALFORMED,
    Reason.SCHEMA_UNSUPPORTED,
    Reason.DECRYPT_FAILED,
    Reason.DECRYPT_UNKNOWN_KEY,
    Reason.PLAINTEXT_REFUSED,
)


def _open(stored: bytes) -> None:
    """A value is read only if it is plain and may be, or was sealed, for this very place."""
    key_id = sealing_key_id(stored)
    assert key_id is None or is_sealed(stored)
    assert SEALING.known_key_id(stored) == (key_id if key_id in KEYS else None)
    plain = _opened(PlaintextCodec(), stored, PLACE)
    assert (plain == stored) == stored.startswith(b"{")
    for codec in (SEALING, MIGRATING):
        if isinstance(_opened(codec, stored, PLACE), Reason):
            continue
        assert key_id in KEYS or (codec is MIGRATING and plain == stored)
        assert not is_sealed(stored) or _opened(codec, stored, ELSEWHERE) is Reason.DECRYPT_FAILED


def _opened(codec: SnapshotCodec, stored: bytes, place: str) -> bytes | Reason:
    """What a value opens to, or why it does not."""
    found = attempt(lambda: codec.decode(stored, place), SnapshotError)
    if not isinstance(found, SnapshotError):
        return found
    assert_is_its_reason(found, *_REFUSALS)
    return found.reason


def _damaged(sealed: bytes, data: bytes) -> Iterator[bytes]:
    """A genuine value altered, cut short and added to, where and how the data says."""
    where, how = int.from_bytes(data[:2]) % len(sealed), (data[2:3] or b"\1")[0] or 1
    yield sealed[:where] + bytes((sealed[where] ^ how,)) + sealed[where + 1 :]
    yield sealed[:where]
    yield sealed[:where] + bytes((how,)) + sealed[where:] if sealed[where] != how else sealed + bytes((how,))
    yield sealed.replace(b"2026-11", b"2026-05", 1)


# ---- task keys ----

_KEY_MESSAGE = re.compile(
    r"the (task scope|task id|task type|component) must "
    r"(not be empty|be text that UTF-8 can hold \(it has a lone surrogate\))"
)


def task_key(data: bytes) -> None:
    """A task key, and scopes and ids (in lines) to make one of."""
    text = text_of(data)
    parts = parse_task_key(text)
    assert parts is None or build_task_key(*parts) == text, "a key has two readings"
    scope, task_id, task_type, component, *_ = (*text.split("\n"), "", "", "", "")
    for owner in (None, scope):
        _build(TaskKeyParts(owner, task_id or "1", task_type or "task", component or "report"))
        _build(TaskKeyParts(owner, task_id, task_type, component))


def _build(parts: TaskKeyParts) -> None:
    """Parts make a key that is read as the same parts, or are refused for a reason that shows."""
    segments = [segment for segment in parts if segment is not None]
    writable = all(segment and is_utf8(segment) for segment in segments)
    key = attempt(lambda: build_task_key(*parts), InvalidArgument)
    assert isinstance(key, str) == writable
    if isinstance(key, InvalidArgument):
        assert_fixed_text(key, _KEY_MESSAGE)
        return
    assert parse_task_key(key) == parts
    assert key.isascii()
    assert key.count(":") == len(segments)
    place = snapshot_key("taskctx", parts.task_scope, parts.task_id)
    assert place.count(":") == len(segments) + 1


# ---- encryption keys ----

_KEYRING_MESSAGE = re.compile(
    r"entry \d+ is not of the form id:BASE64"
    r"|the id of entry \d+ (must be 1 to 64 letters, digits, '\.', '_' or '-'|stands there twice)"
    r"|no key is in it\. To run without keys, leave it unset"
    r"|the key of entry \d+ (is not base64|stands there twice, under two ids|has \d+ bytes, not 32)"
)


def keyring(data: bytes) -> None:
    """The value of ``TASKCTX_ENCRYPTION_KEYS``."""
    text = text_of(data)
    found = attempt(lambda: parse_keyring(text), ValueError)
    if isinstance(found, ValueError):
        assert_fixed_text(found, _KEYRING_MESSAGE)
        refused = attempt(lambda: load_settings(encryption_keys=text), ConfigurationError)
        assert str(refused) == f"encryption_keys: {found}"
        return
    keys = dict(found.keys)
    assert keys
    assert len(set(keys.values())) == len(keys)
    assert all(len(key) == KEY_BYTES for key in keys.values())
    again = ",".join(f"{key_id}:{base64.urlsafe_b64encode(key).decode()}" for key_id, key in keys.items())
    assert list(parse_keyring(again).keys.items()) == list(keys.items())


# ---- the middleware's headers ----


def headers(data: bytes) -> None:
    """A request's headers, in lines of ``name: value`` without any rules."""
    request((name, value) for name, _, value in (line.partition(b": ") for line in data.split(b"\n")))


def request(raw: Iterable[Pair]) -> None:
    """A request with these headers is captured as what it is, and no caller is left behind it."""
    pairs = list(raw)
    captured: list[TaskContextSnapshot] = []

    async def app(scope: object, receive: object, send: object) -> None:
        captured.append(TaskContextSnapshot.capture())
        assert taskctx.get_http_headers() == _joined(pairs)
        assert current_trace_id() in (None, _trace_id(captured[0]))

    with leaving_no_caller():
        run(TaskContextMiddleware(app)({"type": "http", "headers": pairs}, _never, _never))
    (snapshot,) = captured
    joined = _joined(pairs)
    assert snapshot.http_headers == (allowed_headers(joined, runtime().may_travel) or None)
    assert (snapshot.origin_request_id, snapshot.session_id) == (joined.get(REQUEST_ID), joined.get(SESSION_ID))
    assert TaskContextSnapshot.from_json(snapshot.to_json()) == snapshot


def _trace_id(snapshot: TaskContextSnapshot) -> str | None:
    origin = span_context(snapshot.trace_context)
    return None if origin is None else trace.format_trace_id(origin.trace_id)


def _joined(pairs: Iterable[Pair]) -> dict[str, str]:
    """Headers as a getter shows them: the specification, in two lines."""
    values: dict[str, list[str]] = {}
    for name, value in pairs:
        values.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    return {name: ("; " if name == "cookie" else ", ").join(each) for name, each in values.items()}


async def _never(*_: object) -> Any:
    raise AssertionError("the middleware neither reads nor answers")


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run what waits for nothing, without an event loop."""
    try:
        coroutine.send(None)
    except StopIteration:
        return
    raise AssertionError("it waited for something")


# ---- the trace context in a stored snapshot ----

CARRIER = ("traceparent", "tracestate", "baggage")


def carrier(data: bytes) -> None:
    """A snapshot's trace context: its three values in lines."""
    lines = data.decode("utf-8", "replace").split("\n", 2)
    stored = json.dumps({"trace_context": dict(zip(CARRIER, lines, strict=False))})
    found = TaskContextSnapshot.from_json(stored).trace_context
    with leaving_no_caller(), Resets() as resets:
        origin = span_context(found)
        resets.later(context.detach, context.attach(parent_context(found)))
        use_baggage(found, resets)
        now = current_trace()
        assert (origin is None) == (not now)
        assert span_context(now) == origin
        _carry_on(resets)


def _carry_on(resets: Resets) -> None:
    """Baggage that was taken over is carried on as it is; what W3C has no form for (an empty name) is left out."""
    entries = {name: value for name, value in baggage.get_all().items() if name}
    onward = current_baggage(("*",))
    clear_baggage(resets)
    use_baggage(onward.carrier, resets)
    assert onward.dropped or dict(baggage.get_all()) == entries


TARGETS: dict[str, Target] = {
    each.__name__: each for each in (snapshot_json, envelope, task_key, keyring, headers, carrier, restoring)
}
