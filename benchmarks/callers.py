"""The callers of the tasks: a token and headers of ordinary length, and a request of its own for each task."""

from __future__ import annotations

import base64
import random
from typing import Any

_random = random.Random(11)  # noqa: S311 - no secret: every run has the same token


def _noise(size: int) -> str:
    return base64.urlsafe_b64encode(_random.randbytes(size)).rstrip(b"=").decode()


TOKEN = f"{_noise(36)}.{_noise(380)}.{_noise(256)}"
"""A token as long as a JWT of an ordinary identity provider."""

CLIENT, SUBJECT = "client-7f3a91", "auth0|64f1c0ffee"
SCOPE = f"{CLIENT}|{SUBJECT}"
EXPIRES = 4_102_444_800
CLAIMS = {"iss": "https://auth.example.com/", "sub": SUBJECT, "aud": ["https://api.example.com"], "exp": EXPIRES}
ACCESS: Any = {
    "token": TOKEN,
    "client_id": CLIENT,
    "scopes": ["openid", "profile"],
    "expires_at": EXPIRES,
    "claims": CLAIMS,
}
"""The access token's fields."""

SESSION = "6f1d2c3b4a5948778695a4b3c2d1e0f0"
REQUEST_ID = "x-request-id"
HEADERS = {
    "host": "api.example.com",
    "user-agent": "python-httpx/0.28.1",
    "accept": "application/json",
    "accept-language": "en-GB,en;q=0.9",
    "accept-encoding": "gzip, deflate, br",
    "content-type": "application/json",
    "content-length": "412",
    "x-forwarded-for": "203.0.113.7, 10.0.3.14",
    "x-forwarded-proto": "https",
    "mcp-session-id": SESSION,
    "mcp-protocol-version": "2025-11-25",
    "x-tenant": "acme",
    "x-plan": "gold",
    "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
}

SIZE = 1_900  # bytes of such a context, about: what a bare SET stores
TTL = 3_600  # seconds that it lives where there is no task


def headers(number: int) -> dict[str, str]:
    return HEADERS | {REQUEST_ID: request_id(number)}


def request_id(number: int) -> str:
    """The id of a request; each task has another."""
    return f"request-{number}"
