"""Genuine inputs for each target, made by the code under test: what a coverage-guided run starts from."""

from __future__ import annotations

import json
from dataclasses import fields

from taskctx import AccessToken, TaskContextSnapshot, build_task_key
from taskctx._snapshot.snapshot import StoredSnapshot
from tests.fuzz.restoring import SCOPE
from tests.fuzz.targets import KEYRING_TEXT, PLACE, SEALING

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TRACESTATE = "vendor=1,tenant@system=2"
BAGGAGE = "tenant=acme, region = north;ttl=1;urgent, name=Ad%C3%A4"

_TOKEN = AccessToken(
    token="token", client_id="reports-app", scopes=["a"], expires_at=2**31, claims={"sub": "ada", "roles": [1.5, None]}
).model_dump_json()
_SNAPSHOT = (
    TaskContextSnapshot(
        access_token_json=_TOKEN,
        http_headers={"x-tenant": "acme", "accept": "*/*"},
        origin_request_id="request-1",
        session_id="session-1",
        trace_context={"traceparent": TRACEPARENT, "tracestate": TRACESTATE, "baggage": BAGGAGE},
        carried={"locale": "de", "nested": {"deep": [[[{}]]], "n": -1.5e-7, "big": 10**30}},
        captured_at=1763800000.25,
    )
    .to_json()
    .encode()
)
_STAMPED = json.dumps(json.loads(_SNAPSHOT) | {"stored_at": 1763800000.5, "ttl": 900}).encode()
_HEADERS = f"""host: server
X-Request-Id: request-1
Mcp-Session-Id: session-1
Authorization: Bearer token
Cookie: a=1
cookie: b=2
X-Forwarded-For: 1.1.1.1
x-forwarded-for: 2.2.2.2
x-name: Jürgen
traceparent: {TRACEPARENT}
tracestate: {TRACESTATE}
baggage: {BAGGAGE}""".encode("latin-1")
_LARGE = b"9" * 308
"""The longest number that a float can hold."""

SEEDS: dict[str, list[bytes]] = {
    "snapshot_json": [
        _SNAPSHOT,
        _STAMPED,
        b"{}",
        b'{"schema_version": 2}',
        b'{"http_headers": {"X-Tenant": "acme"}}',
        _LARGE,
        b'{"session_id": "\\ud83d\\ude00"}',
    ],
    "envelope": [_SNAPSHOT, SEALING.encode(_SNAPSHOT, PLACE), SEALING.encode(b"", PLACE), b"{}"],
    "task_key": [
        build_task_key(SCOPE, "monthly", "task", "report").encode(),
        build_task_key(None, "a:b#c/d %", "task", "é").encode(),
        f"{SCOPE}\nmonthly\ntask\nreport".encode(),
    ],
    "keyring": [KEYRING_TEXT.encode(), KEYRING_TEXT.partition(",")[0].rstrip("=").encode()],
    "headers": [_HEADERS, b"a: b\nA: c", f"traceparent: {TRACEPARENT}".encode()],
    "carrier": [f"{TRACEPARENT}\n{TRACESTATE}\n{BAGGAGE}".encode(), f"{TRACEPARENT}\n\n".encode()],
    "restoring": [
        _SNAPSHOT,
        _STAMPED,
        _TOKEN.encode(),
        b'{"x": 1}',
        b'[1, "2"]',
        _LARGE,
        SEALING.encode(_SNAPSHOT, PLACE),
    ],
}

WORDS = [
    *(f'"{name}"' for name in (*(each.name for each in fields(StoredSnapshot)), *AccessToken.model_fields)),
    *("{", "}", "[", "]", ":", ",", '"', "null", "true", "NaN", "-Infinity", "1e400", "1e-400", "1" * 60, "\\ud800"),
    *("traceparent: ", "tracestate: ", "baggage: ", "x-request-id: ", "cookie: ", "\n", " ,", ";", "="),
    *("00-", "%20", "%ff"),
    *("auth:", "anon:", "%3A", "TCX1", "2026-11", "2026-05", "\ud800", "\udfff", "\x00"),
]
"""What inputs are made of, for the fuzzer to put in anywhere."""


def dictionary() -> str:
    """The words in libFuzzer's form."""
    encoded = (word.encode("utf-8", "surrogatepass") for word in WORDS)
    return "".join('"' + "".join(f"\\x{byte:02x}" for byte in word) + '"\n' for word in encoded)
