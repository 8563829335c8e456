"""How the demo's server knows its callers: Starlette's authentication, with bearer tokens that are verified."""

from __future__ import annotations

from starlette.authentication import AuthCredentials, AuthenticationBackend, AuthenticationError, BaseUser
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse, Response

import taskctx

from .identity import verify


class User(BaseUser):
    """Shaped like the MCP SDK's ``AuthenticatedUser``: an authenticated user who carries the verified token."""

    def __init__(self, access_token: taskctx.AccessToken) -> None:
        self.access_token = access_token

    @property
    def is_authenticated(self) -> bool:
        return True

    @property
    def display_name(self) -> str:
        return self.access_token.client_id


class BearerBackend(AuthenticationBackend):
    """A request without a bearer token is anonymous; one with a token that was not issued here is refused."""

    def __init__(self, signing_key: bytes) -> None:
        self._signing_key = signing_key

    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, BaseUser] | None:
        scheme, _, token = conn.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        claims = verify(self._signing_key, token)
        if claims is None:
            raise AuthenticationError("the bearer token was not issued here")
        scopes = claims["scope"].split()
        access_token = taskctx.AccessToken(
            token=token, client_id=claims["client_id"], scopes=scopes, expires_at=claims["exp"], claims=claims
        )
        return AuthCredentials(scopes), User(access_token)


def refuse(_conn: HTTPConnection, error: AuthenticationError) -> Response:
    return PlainTextResponse(str(error), status_code=401, headers={"www-authenticate": "Bearer"})
