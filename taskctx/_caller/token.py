"""The access token: its fields, its scope, its expiry."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..errors import InvalidArgument, InvalidType, Reason, SnapshotError

MASKED: Final = '"**********"'
"""What pydantic writes as JSON in place of a SecretStr: a worker would restore the asterisks."""


class AccessToken(BaseModel):
    """An access token, shaped like the MCP SDK's ``mcp.server.auth.provider.AccessToken``.

    Attributes:
        token: the bearer token itself; never shown in ``repr``.
        client_id: the OAuth client that holds it.
        scopes: granted OAuth scopes.
        expires_at: whole seconds since the epoch, or None when it does not expire.
        resource: RFC 8707 resource indicator.
        claims: the token's claims; ``sub`` is part of the task scope.

    Other fields (an issuer's own, or those of a newer SDK) are kept unchanged.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(
        frozen=True, extra="allow", from_attributes=True, hide_input_in_errors=True
    )

    token: str = Field(repr=False)
    client_id: str
    scopes: list[str] = Field(default_factory=list[str])
    expires_at: int | None = Field(default=None, ge=-(2**63), lt=2**63)
    resource: str | None = None
    claims: dict[str, Any] | None = Field(default=None, repr=False)

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        shown = ("client_id", "scopes", "expires_at", "resource")
        return ((name, getattr(self, name)) for name in shown)

    @classmethod
    def coerce(cls, value: object) -> AccessToken:
        """The AccessToken that a worker will restore for ``value``, which is any object with a token's attributes.

        The value goes to JSON and back, so a value without a JSON form is refused here, not when a task is submitted.

        Raises:
            InvalidArgument: the ``client_id`` contains ``|``, so its scope could equal another caller's scope.
            InvalidType: ``value`` lacks a token's attributes; the message names the attributes at fault.
        """
        try:
            return Credential.of(value).token
        finally:
            del value  # error reporters send the locals of every frame that an exception passes


class Credential:
    """A caller's access token, read once: the token, its stored JSON, and its scope.

    ``repr`` shows none of them.
    """

    __slots__ = ("json", "scope", "token")

    def __init__(self, token: AccessToken, json: str) -> None:
        self.token = token
        self.json = json
        self.scope = scope_of(token)

    def present(self) -> Credential:
        """The credential itself, as a :data:`CredentialSource` returns it."""
        return self

    @classmethod
    def of(cls, value: object) -> Credential:
        """The credential of any object with a token's attributes.  Errors are those of :meth:`AccessToken.coerce`."""
        kind = type(value).__name__
        json: str | None = None
        token: AccessToken | None = None
        try:
            # a model's own JSON keeps the fields of subclasses and of newer versions
            value = value if isinstance(value, BaseModel) else AccessToken.model_validate(value)
            json = value.model_dump_json()
            token = AccessToken.model_validate_json(json)
            if "|" in token.client_id:
                raise ambiguous_client()
            if MASKED not in json:
                return cls(token, json if type(value) is AccessToken else token.model_dump_json())
            faults = "a value that is hidden (SecretStr)"
        except ValidationError as error:
            faults = ", ".join(sorted({str(problem["loc"][0]) for problem in error.errors() if problem["loc"]}))
        except InvalidArgument:
            raise
        except ValueError:
            faults = "a value that is not JSON"
        finally:
            # error reporters send the locals of every frame that an exception passes
            del value, json, token
        raise InvalidType(
            f"access_token must have the attributes of taskctx.AccessToken; "
            f"{kind} is at fault in: {faults or 'its type'}"
        )

    @classmethod
    def stored(cls, json: str) -> Credential:
        """The credential in a snapshot's ``access_token_json``.

        Raises:
            SnapshotError: (``malformed``) the text is not an access token's JSON.
        """
        try:
            return cls(AccessToken.model_validate_json(json), json)
        except ValidationError:
            raise SnapshotError(Reason.MALFORMED) from None
        finally:
            del json

    def __repr__(self) -> str:
        return "Credential(...)"


def ambiguous_client() -> InvalidArgument:
    return InvalidArgument(
        "the access token's client_id contains '|', which parts client and subject in a task's scope. Use another "
        "client_id, and give who it is in claims: claims={'sub': ...}"
    )


def nameless_caller() -> InvalidArgument:
    return InvalidArgument(
        "the access token does not say whose it is, so a task with it has no scope: its client_id is empty, and its "
        "claims have no sub. Give it a client_id, or who it is in claims: claims={'sub': ...}"
    )


def scope_of(token: AccessToken) -> str:
    """The authorization scope of a token: ``client_id|sub``, else ``client_id``."""
    subject = (token.claims or {}).get("sub")
    return f"{token.client_id}|{subject}" if subject else token.client_id


def token_scope(token: AccessToken | None) -> str | None:
    """The scope of a token (see :func:`scope_of`); None without a token."""
    return None if token is None else scope_of(token)


def token_from_json(text: str | None) -> AccessToken | None:
    """The token in a snapshot's ``access_token_json``.

    Raises:
        SnapshotError: (``malformed``) the text is not an access token's JSON.
    """
    return None if text is None else Credential.stored(text).token


def is_expired(token: AccessToken, now: float) -> bool:
    """Whether the token is expired at ``now`` (seconds since the epoch), by the rule of the MCP SDK."""
    return token.expires_at is not None and token.expires_at < int(now)


def life_left(token: AccessToken, now: float) -> float | None:
    """Seconds from ``now`` until the token expires, negative after that; None when it does not expire."""
    return None if token.expires_at is None else token.expires_at - now


def bearer(authorization: str | None) -> str | None:
    """The token in an ``Authorization: Bearer …`` header (RFC 6750); None for any other header."""
    scheme, _, credentials = (authorization or "").partition(" ")
    return credentials.strip() or None if scheme.lower() == "bearer" else None
