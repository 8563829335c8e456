"""Many callers and their requests, each with the context that its task must see."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field
from urllib.parse import quote

from .identity import digest, issue
from .sighting import Context, Kind

NOW, AHEAD, RETRIED, PERPETUAL = Kind
KINDS = (NOW, AHEAD, NOW, RETRIED, NOW, PERPETUAL, NOW, AHEAD, RETRIED, PERPETUAL)
PERPETUAL_RUNS = 3
REQUESTS_EACH = 10


@dataclass(frozen=True, slots=True)
class Request:
    """One request, and the context that its task must see.

    Attributes:
        headers: the sent headers, with credentials and trace context.
        expected: the expected context without the HTTP headers: the HTTP client adds headers of its own.
        failures: how often a retried task fails.
        runs: the (run, attempt) pairs that the task must report.
    """

    number: int
    kind: Kind
    headers: dict[str, str] = field(repr=False)
    expected: Context = field(repr=False)
    failures: int
    runs: frozenset[tuple[int, int]]

    @property
    def trace_id(self) -> str:
        return self.expected.origin_trace or ""


def make_requests(count: int, signing_key: bytes) -> list[Request]:
    """``count`` requests; the callers take turns."""
    callers = [_caller(index, signing_key) for index in range(max(5, count // REQUESTS_EACH))]
    # callers and kinds advance at different strides, so that every caller sends requests of every kind
    return [_request(number, callers[(number + number // len(KINDS)) % len(callers)]) for number in range(count)]


def _caller(index: int, signing_key: bytes) -> tuple[dict[str, str], Context]:
    """The headers of a caller's requests, and the context that its tasks must see; some callers are anonymous."""
    name = f"caller-{index}"
    headers = {"x-tenant": f"tenant-{index % 7}", "x-caller": name, "cookie": f"visit={secrets.token_hex(8)}"}
    known: dict[str, object] = {}
    if index % 3:
        # such a caller's session is a live object in the server
        known["session_id"] = headers["mcp-session-id"] = f"session-{secrets.token_hex(8)}"
    if index % 5:
        client_id = f"app-{index % 4}"
        # a service's own token names no subject
        subject = name if index % 7 else None
        scopes = ["reports:read", f"tenant:{index % 7}"]
        claims = {"client_id": client_id, "scope": " ".join(scopes), "exp": int(time.time()) + 3600}
        # every caller has a different token, also callers with the same client
        claims |= {"jti": secrets.token_hex(8)} | ({"sub": subject} if subject else {})
        token = issue(signing_key, claims)
        headers["authorization"] = f"Bearer {token}"
        known |= {"token": digest(token), "client_id": client_id, "subject": subject, "oauth_scopes": scopes}
        known["task_scope"] = f"{client_id}|{subject}" if subject else client_id
    return headers, Context.model_validate(known)


def _request(number: int, caller: tuple[dict[str, str], Context]) -> Request:
    headers, known = caller
    kind = KINDS[number % len(KINDS)]
    trace_id = secrets.token_hex(16)
    request_id = f"request-{number}-{secrets.token_hex(4)}"
    baggage = {"request": str(number), "caller": f"{headers['x-caller']}, tenant {headers['x-tenant']}"}
    headers = headers | {
        "x-request-id": request_id,
        "x-request-number": str(number),
        "traceparent": f"00-{trace_id}-{secrets.token_hex(8)}-01",
        "baggage": ",".join(f"{name}={quote(value)}" for name, value in baggage.items()),
    }
    expected = known.model_copy(
        update={"task_id": request_id, "request_id": request_id, "baggage": baggage, "origin_trace": trace_id}
    )
    failures = 1 + number // len(KINDS) % 2 if kind is Kind.RETRIED else 0
    attempts = {(1, attempt) for attempt in range(1, failures + 2)}
    runs = {(run, 1) for run in range(1, PERPETUAL_RUNS + 1)} if kind is Kind.PERPETUAL else attempts
    return Request(number, kind, headers, expected, failures, frozenset(runs))
