"""The access token: which objects are one, its scope, its expiry."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Annotated, Any

import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taskctx import AccessToken, InvalidArgument, InvalidType, bind_caller
from taskctx._caller.token import bearer, is_expired, life_left, token_from_json, token_scope
from taskctx.errors import Reason, SnapshotError
from tests import secrets
from tests.secrets import MARKER, secret

TEXT = st.text(st.characters(exclude_categories=("Cs",)))


class McpToken(pydantic.BaseModel):
    """Shaped like the MCP SDK's ``mcp.server.auth.provider.AccessToken``."""

    token: str
    client_id: str
    scopes: list[str]
    expires_at: int | None = None
    resource: str | None = None
    claims: dict[str, Any] | None = None


class FastMcpToken(McpToken):
    """A subclass with a field of its own, as FastMCP's."""

    upstream_issuer: str


@dataclass
class PlainToken:
    """A token class of the application."""

    token: str
    client_id: str
    scopes: list[str] = field(default_factory=list[str])
    expires_at: int | None = None


def test_an_access_token_stays_what_it_is() -> None:
    """Going to JSON and back changes nothing that a token may hold."""
    token = secrets.token(expires_at=2_000_000_000)
    assert AccessToken.coerce(token) == token


def test_an_object_with_the_attributes_is_a_token() -> None:
    """Attributes that have defaults may be missing."""
    token = AccessToken.coerce(PlainToken(secret("token"), "reports-app", ["reports"], 2_000_000_000))
    assert token == AccessToken(
        token=secret("token"), client_id="reports-app", scopes=["reports"], expires_at=2_000_000_000
    )


def test_a_model_keeps_the_fields_it_has_beyond_ours() -> None:
    """A newer SDK's or a subclass's fields come along."""
    theirs = FastMcpToken(
        token=secret("token"),
        client_id="reports-app",
        scopes=["reports"],
        claims={"sub": "ada"},
        upstream_issuer="https://issuer.example",
    )
    token = AccessToken.coerce(theirs)
    assert token.model_dump() == theirs.model_dump()
    assert token_from_json(token.model_dump_json()) == token


def test_a_model_is_taken_as_its_own_json() -> None:
    """A model of another shape may be written so that it fits."""

    class Dated(pydantic.BaseModel):
        token: str
        client_id: str
        expires_at: Annotated[datetime, pydantic.PlainSerializer(lambda at: int(at.timestamp()), when_used="json")]

    theirs = Dated(token=secret("token"), client_id="reports-app", expires_at=datetime(2026, 11, 22, tzinfo=UTC))
    assert AccessToken.coerce(theirs).expires_at == int(theirs.expires_at.timestamp())


def test_a_token_cannot_be_changed() -> None:
    """Its scope was taken from it, and is part of the task's key."""
    token = secrets.token()
    with pytest.raises(pydantic.ValidationError):
        token.client_id = "another"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("value", "faults"),
    [
        (secret("text"), "its type"),
        (7, "its type"),
        (SimpleNamespace(), "client_id, token"),
        (SimpleNamespace(token=secret("token")), "client_id"),
        (SimpleNamespace(token=secret("token"), client_id=None), "client_id"),
        (SimpleNamespace(token=b"\xff" + secret("token").encode(), client_id="reports-app"), "token"),
        (SimpleNamespace(token=secret("token"), client_id="reports-app", scopes=secret("scope")), "scopes"),
        (SimpleNamespace(token=secret("token"), client_id="reports-app", expires_at=secret("x")), "expires_at"),
        (SimpleNamespace(token=secret("token"), client_id="reports-app", claims=[secret("claim")]), "claims"),
        (SimpleNamespace(token=secret("token"), client_id="reports-app", scopes=["reports", 7]), "scopes"),
        (SimpleNamespace(token=secret("token"), client_id="reports-app", claims={7: secret("claim")}), "claims"),
        (
            SimpleNamespace(token=7, client_id=7, scopes=7, expires_at="soon", resource=7, claims=7),
            "claims, client_id, expires_at, resource, scopes, token",
        ),
    ],
)
def test_what_is_no_token_is_refused_by_attribute(value: object, faults: str) -> None:
    """The message names the type and the attributes at fault, never a value."""
    with pytest.raises(InvalidType) as caught:
        AccessToken.coerce(value)
    assert str(caught.value).endswith(f"{type(value).__name__} is at fault in: {faults}")
    assert MARKER not in str(caught.value)
    assert caught.value.__context__ is None


def test_a_token_whose_attribute_raises_is_refused_by_attribute() -> None:
    """The attribute's own error may quote the token; ours does not."""

    class Broken:
        client_id = "reports-app"

        @property
        def token(self) -> str:
            raise ValueError(secret("token"))

    with pytest.raises(InvalidType, match="Broken is at fault in: token") as caught:
        AccessToken.coerce(Broken())
    assert MARKER not in str(caught.value)


class HiddenToken(pydantic.BaseModel):
    token: pydantic.SecretStr
    client_id: str


def test_a_model_that_hides_its_token_is_refused() -> None:
    """Pydantic writes asterisks in the token's place, and these would be restored."""
    theirs = HiddenToken(token=pydantic.SecretStr(secret("token")), client_id="reports-app")
    with pytest.raises(InvalidType, match=r"HiddenToken is at fault in: a value that is hidden \(SecretStr\)$"):
        AccessToken.coerce(theirs)


def test_a_model_that_has_no_json_is_refused() -> None:
    """A claim that JSON cannot hold could not be carried."""
    theirs = McpToken(token=secret("token"), client_id="reports-app", scopes=[], claims={"raw": b"\xff"})
    with pytest.raises(InvalidType) as caught:
        AccessToken.coerce(theirs)
    assert MARKER not in str(caught.value)


@pytest.mark.parametrize("value", [object(), b"\xff", "\ud800", {"deep": [object()]}], ids=type)
@pytest.mark.parametrize("make", [SimpleNamespace, dict, AccessToken])
def test_a_token_that_has_no_json_is_refused(make: Any, value: object) -> None:
    """Where it is bound, and not by pydantic when it is captured."""
    theirs = make(token=secret("token"), client_id="reports-app", claims={"raw": value})
    with pytest.raises(InvalidType, match=r"is at fault in: a value that is not JSON$"):
        AccessToken.coerce(theirs)


@pytest.mark.parametrize("subject", [datetime(2026, 11, 22, tzinfo=UTC), b"ada"])
def test_a_token_is_bound_as_it_will_be_restored(subject: object) -> None:
    """Its scope decides the task's key, and is compared with that again in the worker."""
    token = AccessToken.coerce(SimpleNamespace(token="t", client_id="reports-app", claims={"sub": subject}))
    assert token_scope(token_from_json(token.model_dump_json())) == token_scope(token)


def test_a_token_shows_no_secret() -> None:
    """Its repr has the client, the scopes and the expiry; not the token, the claims or an issuer's own fields."""
    token = AccessToken.model_validate({**secrets.token().model_dump(), "refresh_token": secret("refresh")})
    for shown in (repr(token), str(token), f"{token}", repr([token])):
        assert "reports-app" in shown
        assert MARKER not in shown


def test_a_wrong_token_shows_no_secret() -> None:
    """Pydantic's own error does not quote the input."""
    with pytest.raises(pydantic.ValidationError) as caught:
        AccessToken(token=secret("token"), client_id=[secret("client")])  # type: ignore[arg-type]
    assert MARKER not in str(caught.value)
    assert MARKER not in repr(caught.value)


@pytest.mark.parametrize(
    ("claims", "scope"),
    [
        (None, "reports-app"),
        ({}, "reports-app"),
        ({"sub": None}, "reports-app"),
        ({"sub": ""}, "reports-app"),
        ({"sub": "ada"}, "reports-app|ada"),
        ({"sub": 42}, "reports-app|42"),
        ({"sub": "a|b:c#d"}, "reports-app|a|b:c#d"),
        ({"subject": "ada"}, "reports-app"),
    ],
)
def test_the_scope_of_a_token(claims: dict[str, Any] | None, scope: str) -> None:
    """``client_id|sub`` when there is a subject, else ``client_id``; raw."""
    assert token_scope(AccessToken(token="t", client_id="reports-app", claims=claims)) == scope


def test_an_anonymous_caller_has_no_scope() -> None:
    """None is an anonymous caller's."""
    assert token_scope(None) is None


@given(
    st.builds(
        AccessToken,
        token=TEXT,
        client_id=TEXT,
        scopes=st.lists(TEXT, max_size=3),
        expires_at=st.none() | st.integers(-(2**63), 2**63 - 1),
        resource=st.none() | TEXT,
        claims=st.none() | st.dictionaries(TEXT, st.none() | TEXT | st.integers() | st.booleans(), max_size=4),
    )
)
@settings(deadline=None)
def test_a_token_survives_its_json(token: AccessToken) -> None:
    """The token and its scope are the same after going to JSON and back."""
    restored = token_from_json(token.model_dump_json())
    assert restored == token
    assert token_scope(restored) == token_scope(token)


def test_no_json_is_no_token() -> None:
    """An anonymous caller's snapshot holds none."""
    assert token_from_json(None) is None


@pytest.mark.parametrize("text", ["", "null", "[]", '{"token": "t"}', '{"token": 1, "client_id": "c"}', "S3CR3T"])
def test_a_stored_token_that_is_none_is_malformed(text: str) -> None:
    """The reason is all that the error says."""
    with pytest.raises(SnapshotError) as caught:
        token_from_json(text)
    assert caught.value.reason is Reason.MALFORMED
    assert caught.value.__suppress_context__
    assert MARKER not in str(caught.value)


@pytest.mark.parametrize(
    ("expires_at", "now", "expired"),
    [
        (None, 1e12, False),
        (1000, 999.0, False),
        (1000, 1000.0, False),
        (1000, 1000.99, False),
        (1000, 1001.0, True),
        (0, 1.0, True),
    ],
)
def test_when_a_token_is_past(expires_at: int | None, now: float, expired: bool) -> None:
    """The rule is that of the MCP SDK's bearer check: ``expires_at < int(now)``."""
    assert is_expired(AccessToken(token="t", client_id="c", expires_at=expires_at), now) is expired


@pytest.mark.parametrize("expires_at", [-(2**63), 0, 2**63 - 1])
def test_an_expiry_of_64_bits_is_one(expires_at: int) -> None:
    """Times beyond reason are the issuer's affair, as long as one can reckon with them."""
    token = AccessToken.coerce(SimpleNamespace(token="t", client_id="c", expires_at=expires_at))
    assert token_from_json(token.model_dump_json()) == token
    assert life_left(token, 0.0) == float(expires_at)


@pytest.mark.parametrize("expires_at", [-(2**63) - 1, 2**63, 10**400])
def test_an_expiry_beyond_64_bits_is_none(expires_at: int) -> None:
    """Not when it is bound, and not when it was stored: nothing could be reckoned with it."""
    with pytest.raises(InvalidType, match=r"at fault in: expires_at$"):
        AccessToken.coerce(SimpleNamespace(token="t", client_id="c", expires_at=expires_at))
    with pytest.raises(SnapshotError) as caught:
        token_from_json(f'{{"token": "t", "client_id": "c", "expires_at": {expires_at}}}')
    assert caught.value.reason is Reason.MALFORMED


@pytest.mark.parametrize(
    ("expires_at", "now", "left"), [(None, 1e12, None), (1000, 400.5, 599.5), (1000, 1000.0, 0.0), (1000, 1001.5, -1.5)]
)
def test_what_is_left_of_a_tokens_life(expires_at: int | None, now: float, left: float | None) -> None:
    """Seconds, negative when it is past."""
    assert life_left(AccessToken(token="t", client_id="c", expires_at=expires_at), now) == left


@pytest.mark.parametrize(
    ("header", "token"),
    [
        (None, None),
        ("", None),
        ("Bearer", None),
        ("Bearer ", None),
        ("Bearer abc", "abc"),
        ("bearer  abc ", "abc"),
        ("BEARER a b", "a b"),
        ("Basic abc", None),
        ("Bearerabc", None),
    ],
)
def test_the_token_of_an_authorization_header(header: str | None, token: str | None) -> None:
    """RFC 6750; the scheme's case does not matter."""
    assert bearer(header) == token


@pytest.mark.parametrize("client_id", ["a|b", "|", "a|"])
def test_a_client_whose_scope_could_be_anothers_is_refused(client_id: str) -> None:
    """``a|b`` alone would be the scope of client ``a`` with subject ``b``; the message quotes no value."""
    theirs = SimpleNamespace(token=secret("token"), client_id=client_id, claims={"secret": secret("claim")})

    def bind(token: object) -> None:
        with bind_caller(access_token=token):
            raise AssertionError("it was bound")

    for refuse in (AccessToken.coerce, bind):
        with pytest.raises(InvalidArgument, match=r"client_id contains '\|'.*claims=\{'sub'") as caught:
            refuse(theirs)
        assert MARKER not in str(caught.value)


def test_a_subject_may_hold_what_a_client_may_not() -> None:
    """The first bar parts the two."""
    token = AccessToken.coerce(SimpleNamespace(token="t", client_id="a", claims={"sub": "auth0|7"}))
    assert token_scope(token) == "a|auth0|7"
