"""Fake callers for tests, with plausible values."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

from .. import AccessToken, InvalidArgument, InvalidType, bind_caller
from .._caller.block import block
from .._caller.caller import lowered, optional_text
from .._caller.carried import carried_variables
from .._caller.resets import Resets
from .._caller.token import token_scope

END_OF_CENTURY: Final = 4_102_444_800
"""2100-01-01, in seconds since the epoch; a constant, so that two callers with the same arguments are equal."""


@dataclass(frozen=True, slots=True)
class FakeCaller:
    """A caller that submits tasks in a test; :func:`fake_caller` makes one.  ``repr`` shows no credential.

    To vary a caller, use :func:`dataclasses.replace`.

    Attributes:
        access_token: the caller's token; None for an anonymous caller.
        headers: the HTTP headers of a request, with credentials.
        request_id: the request's id.
        session_id: the session's id.
        carried: the values of carried ContextVars, by the names under which they are carried.
    """

    access_token: AccessToken | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    request_id: str | None = None
    session_id: str | None = field(default=None, repr=False)
    carried: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False)

    @property
    def scope(self) -> str | None:
        """The caller's authorization scope, as :func:`taskctx.get_task_scope` returns it."""
        return token_scope(self.access_token)

    @block
    def bound(self) -> Generator[None]:
        """Make this the current caller for the length of a ``with`` block; an enclosing caller's values do not apply.

        Raises:
            InvalidArgument: ``carried`` has a name that no variable is carried under.
        """
        with (
            Resets() as resets,
            bind_caller(
                access_token=self.access_token,
                headers=self.headers,
                request_id=self.request_id,
                session_id=self.session_id,
                session=None,
                server=None,
            ),
        ):
            for name, value in self.carried.items():
                if name not in carried_variables:
                    raise InvalidArgument(f"no variable is carried under the name {name!r}; call taskctx.carry before")
                resets.set(carried_variables[name].var, value)
            yield


NOBODY: Final = FakeCaller()
"""The caller that a task sees when its context was lost: no token, no headers, no ids."""


def fake_caller(
    subject: str | None = "ada",
    *,
    client_id: str = "fake-client",
    scopes: Sequence[str] = ("reports:read",),
    claims: Mapping[str, Any] | None = None,
    expires_at: int | None = END_OF_CENTURY,
    headers: Mapping[str, str] | None = None,
    carried: Mapping[str, Any] | None = None,
) -> FakeCaller:
    """A caller with plausible values that are visibly fake::

        with fake_caller("ada").bound():
            await taskctx.add(docket, make_report)(42)

    Args:
        subject: the token's ``sub`` claim, and part of all other values, so that two callers have different values.
            None makes an anonymous caller, with headers and ids but without a token.
        client_id: the OAuth client; the scope is ``client_id|subject``.
        scopes: OAuth scopes.
        claims: more claims of the token.
        expires_at: when the token expires, in whole seconds since the epoch: 1 for an expired token, None for a token
            that never expires.
        headers: more headers; they replace the fake ones.
        carried: the values of carried ContextVars in the request, by the names under which they are carried.

    Raises:
        InvalidType: an argument has the wrong type, or a claim has no JSON form.
    """
    name = optional_text("subject", subject) or "nobody"
    token = None
    if subject is not None:
        token = AccessToken.coerce(
            {
                "token": f"fake-token-of-{name}",
                "client_id": client_id,
                "scopes": scopes,
                "expires_at": expires_at,
                "claims": {"iss": "https://issuer.invalid", "sub": name} | _mapping("claims", claims),
            }
        )
    credentials = {} if token is None else {"authorization": f"Bearer {token.token}"}
    plain = {"host": "service.invalid", "user-agent": "fake-client/1.0", "x-tenant": f"fake-tenant-of-{name}"}
    return FakeCaller(
        access_token=token,
        headers=plain | credentials | lowered(headers),
        request_id=f"fake-request-of-{name}",
        session_id=f"fake-session-of-{name}",
        carried=_mapping("carried", carried),
    )


def _mapping(name: str, value: object) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise InvalidType(f"{name} must be a mapping or None, not {type(value).__name__}")
    return dict(cast("Mapping[str, Any]", value))
