"""What callers bring and what an application has, each with a word of its own to search for.

Credentials hold ``tests.secrets.MARKER``.  What is no credential holds another one, so that a test can say what is
visible, and that it is all that is.
"""

from __future__ import annotations

import base64
import binascii
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

import taskctx
from tests.processes.read_access.search import WRITINGS
from tests.secrets import secret

SHOWN = "sh0wn"
DOCKET, FOREIGN_DOCKET = f"docket-{SHOWN}", f"foreign-docket-{SHOWN}"
KEY_ID = f"key-id-{SHOWN}"
CARRIED = f"carried-name-{SHOWN}"


def shown(name: str) -> str:
    """Something of no secrecy."""
    return f"{name}-{SHOWN}"


TRAVELS = ("token", "jwt", "claim", "issued", "bearer", "tenant", "session", "baggage", "carried", "mismatched")
"""Credentials and private things that a snapshot holds; beside these, a header in each of WRITINGS."""

LEFT_OUT = ("cookie", "set-cookie", "api-key", "basic", "proxy", "forwarded", "csrf", "too-large")
"""Those that no snapshot holds: headers that the policy denies, and one that is too large."""

PRIVATE = ("request-id", "scopes", "resource", "claim-name", "header-name", "baggage-key", "carried-name")
"""No credentials, but a reader of Redis must not learn them either."""

OPEN = (
    "function",
    "trace-id",
    "task-id",
    "client",
    "sub",
    "argument",
    "result",
    "complaint",
    "trace-state",
    "docket",
    "worker",
    "key-id",
)
"""No credentials, and in clear text somewhere."""

WORDS: Mapping[str, bytes] = {
    **{name: secret(name).encode() for name in (*TRAVELS, *LEFT_OUT)},
    **{f"in {how}": secret(f"as-{how}").encode() for how in WRITINGS},
    **{name: shown(name).encode() for name in (*PRIVATE, *OPEN)},
    "function": b"submit_another",
    "trace-id": b"\1" * 10,
}


@dataclass(frozen=True)
class Caller:
    """A caller that submits tasks, with every kind of secret."""

    name: str

    @property
    def scope(self) -> str:
        return f"{self.name}-{shown('client')}|{self.name}-{shown('sub')}"

    def token(self, expires_at: int | None = None) -> taskctx.AccessToken:
        payload = json.dumps({"email": secret(f"{self.name}-jwt")}).encode()
        jwt = base64.urlsafe_b64encode(payload).decode().rstrip("=")
        return taskctx.AccessToken.model_validate(
            {
                "token": f"{secret(f'{self.name}-token')}.{jwt}.signature",
                "client_id": f"{self.name}-{shown('client')}",
                "scopes": [shown("scopes")],
                "expires_at": int(time.time()) + 3600 if expires_at is None else expires_at,
                "resource": f"https://{shown('resource')}",
                "claims": {
                    "sub": f"{self.name}-{shown('sub')}",
                    shown("claim-name"): secret(f"{self.name}-claim"),
                },
                "issued_with": secret(f"{self.name}-issued"),
            }
        )

    def headers(self) -> dict[str, str]:
        """Of an HTTP request."""
        basic = base64.b64encode(f"{self.name}:{secret(f'{self.name}-basic')}".encode()).decode()
        encoded = {f"x-as-{how}": write(secret(f"as-{how}").encode()).decode() for how, write in WRITINGS.items()}
        return encoded | {
            "authorization": f"Bearer {secret(f'{self.name}-bearer')}",
            "cookie": f"session={secret(f'{self.name}-cookie')}; theme=dark",
            "set-cookie": secret(f"{self.name}-set-cookie"),
            "x-api-key": secret(f"{self.name}-api-key"),
            "x-auth-basic": f"Basic {basic}",
            "proxy-authorization": f"Basic {secret(f'{self.name}-proxy')}",
            "x-forwarded-access-token": secret(f"{self.name}-forwarded"),
            "x-csrf-token": secret(f"{self.name}-csrf"),
            "x-tenant": secret(f"{self.name}-tenant"),
            f"x-{shown('header-name')}": "1",
            "x-request-id": self.request_id,
            "mcp-session-id": self.session_id,
            "baggage": f"{shown('baggage-key')}={quote(self.baggage)}",
            "traceparent": f"00-{self.trace_id}-b7ad6b7169203331-01",
            "tracestate": f"vendor={shown('trace-state')}",
        }

    @property
    def request_id(self) -> str:
        return f"{self.name}-{shown('request-id')}"

    @property
    def session_id(self) -> str:
        return secret(f"{self.name}-session")

    @property
    def baggage(self) -> str:
        return secret(f"{self.name}-baggage")

    @property
    def carried(self) -> dict[str, list[str]]:
        return {"nested": [secret(f"{self.name}-carried")]}

    @property
    def trace_id(self) -> str:
        return binascii.hexlify(self.name.encode().ljust(16, b"\1")).decode()


CALLERS = tuple(Caller(name) for name in ("ada", "bob", "cleo"))


def task_id(name: str) -> str:
    return f"{name}-{shown('task-id')}"
