"""Bearer tokens that a server can verify: claims, signed with a key that the demo makes for each run."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any


def issue(key: bytes, claims: dict[str, Any]) -> str:
    """A token that holds ``claims``."""
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"{payload}.{_signature(key, payload)}"


def verify(key: bytes, token: str) -> dict[str, Any] | None:
    """The claims of a token that was issued with this key; None for any other token."""
    payload, _, signature = token.partition(".")
    if not hmac.compare_digest(signature.encode(), _signature(key, payload).encode()):
        return None
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))


def access_token(key: bytes, token: str) -> dict[str, Any] | None:
    """The fields of an ``AccessToken`` (taskctx's or FastMCP's) for a token that was issued with this key."""
    claims = verify(key, token)
    if claims is None:
        return None
    known = {"token": token, "client_id": claims["client_id"], "scopes": claims["scope"].split()}
    return known | {"expires_at": claims["exp"], "claims": claims}


def digest(secret: str) -> str:
    """A digest to compare in place of a secret, so that the secret itself is not sent."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _signature(key: bytes, payload: str) -> str:
    return hmac.new(key, payload.encode(), hashlib.sha256).hexdigest()
