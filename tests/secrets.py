"""A caller whose every secret carries one marker, so that a leak can be searched for."""

from __future__ import annotations

from taskctx import AccessToken

MARKER = "S3CR3T"


def secret(name: str) -> str:
    return f"{name}-{MARKER}"


def token(client_id: str = "reports-app", sub: str | None = "ada", expires_at: int | None = None) -> AccessToken:
    claims = {"email": secret("email")} | ({"sub": sub} if sub else {})
    return AccessToken(
        token=secret("token"), client_id=client_id, scopes=["reports"], expires_at=expires_at, claims=claims
    )


def headers(**more: str) -> dict[str, str]:
    return {
        "Authorization": f"Bearer {secret('bearer')}",
        "Cookie": f"session={secret('cookie')}",
        "X-Tenant": secret("tenant"),
        **more,
    }
