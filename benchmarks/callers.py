"""Whose tasks they are: a caller with a token of ordinary length and a browser's headers."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cache

SUBJECT = "ada"
TOKEN = "t" * 200
SCOPES = ("reports", "profile")
CLIENT = "reports-app"
ISSUER = "https://issuer.example"
SESSION = "session-1"
LIFETIME = 24 * 3_600
"""Seconds that the token is good for."""

HEADERS = {
    "host": "reports.example",
    "accept": "*/*",
    "user-agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)",
    "x-tenant": "acme",
}
REQUEST_ID = "x-request-id"
FILLER = "x-filler"
_UNFILLED = 420
"""Bytes of the JSON around a caller of a given size: about the least that there can be."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What a task sees of its caller."""

    subject: str | None
    request_id: str | None


NOBODY = Sight(None, None)


def request_id(number: int) -> str:
    """Each task comes of a request of its own, so that no two may be taken for one another."""
    return f"request-{number}"


def expected(number: int) -> Sight:
    return Sight(SUBJECT, request_id(number))


def headers(number: int, payload: int | None) -> dict[str, str]:
    """The headers of a request.  With a payload they are filled up, so that the context has about so many bytes."""
    if payload is None:
        return HEADERS | {REQUEST_ID: request_id(number)}
    return {REQUEST_ID: request_id(number), FILLER: "x" * max(0, payload - _UNFILLED)}


def token(payload: int | None) -> str:
    return TOKEN if payload is None else TOKEN[:20]


@cache
def expires_at() -> int:
    return int(time.time()) + LIFETIME


def claims() -> dict[str, str]:
    return {"sub": SUBJECT, "iss": ISSUER}
