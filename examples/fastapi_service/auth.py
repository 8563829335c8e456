"""Bearer tokens: JSON Web Tokens (RFC 7519) signed with HMAC-SHA256, by the standard library alone.

It stands for your identity provider and its library: those have public keys, key rotation and revocation, and this
has none.  What to copy is the shape of :func:`verify`: a token comes in, a :class:`taskctx.AccessToken` or nothing
comes out, and nothing is believed before the signature is.

A token for trying things out::

    python -m examples.fastapi_service.auth ada
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import sys
import time
from typing import Any

import taskctx

from .settings import ApiSettings

ALGORITHM = "HS256"
AUDIENCE = "reports"
LIFETIME = 3600


def issue(key: str, subject: str, *, client_id: str = "reports-web", lifetime: int = LIFETIME) -> str:
    """A token for ``subject``, as used through the application ``client_id``."""
    claims = {"aud": AUDIENCE, "client_id": client_id, "sub": subject, "exp": int(time.time()) + lifetime}
    signed = f"{_encode({'alg': ALGORITHM, 'typ': 'JWT'})}.{_encode(claims)}"
    return f"{signed}.{_signature(key, signed)}"


def verify(key: str, token: str) -> taskctx.AccessToken | None:
    """Whose token this is; None when it was not issued with this key, for this service, or is no longer valid."""
    signed, _, signature = token.rpartition(".")
    if not hmac.compare_digest(_signature(key, signed).encode(), signature.encode()):
        return None
    try:
        header, claims = (_decode(part) for part in signed.split("."))
        if header["alg"] != ALGORITHM or claims["aud"] != AUDIENCE or claims["exp"] <= time.time():
            return None
        return taskctx.AccessToken(
            token=token, client_id=claims["client_id"], expires_at=int(claims["exp"]), claims=claims
        )
    except (ValueError, KeyError, TypeError):
        # signed with our key and still no token of ours: another use of the key, or another version
        return None


def _signature(key: str, signed: str) -> str:
    return _base64url(hmac.new(key.encode(), signed.encode(), hashlib.sha256).digest())


def _encode(part: dict[str, Any]) -> str:
    return _base64url(json.dumps(part, separators=(",", ":")).encode())


def _decode(part: str) -> dict[str, Any]:
    try:
        return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except binascii.Error as error:
        raise ValueError("not base64") from error


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


if __name__ == "__main__":
    sys.stdout.write(issue(ApiSettings().signing_key.get_secret_value(), sys.argv[1]) + "\n")
