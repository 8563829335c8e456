"""Fake callers: plausible, plainly fake, and no two the same."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

import taskctx
from taskctx.testing import NOBODY, FakeCaller, SeenContext, fake_caller
from tests.secrets import MARKER, headers, secret, token


def test_the_block_is_the_callers() -> None:
    """Every getter answers with what it was made of, and with what was there before afterwards."""
    with taskctx.bind_caller(request_id="outer"):
        with fake_caller("bob", scopes=["write"], claims={"team": "blue"}, headers={"X-Tenant": "acme"}).bound():
            token = taskctx.get_access_token()
            assert token is not None
            assert (token.token, token.scopes) == ("fake-token-of-bob", ["write"])
            assert token.claims == {"iss": "https://issuer.invalid", "sub": "bob", "team": "blue"}
            assert taskctx.get_http_headers()["x-tenant"] == "acme"
            assert taskctx.get_http_headers()["authorization"] == "Bearer fake-token-of-bob"
            assert taskctx.get_request_id() == "fake-request-of-bob"
            assert taskctx.get_task_scope() == "fake-client|bob"
        assert taskctx.get_request_id() == "outer"
        assert taskctx.get_access_token() is None


def test_nothing_of_an_enclosing_caller_is_left() -> None:
    """Inside the block, even the parts that the inner caller lacks are not those of the outer caller."""
    with fake_caller("ada").bound(), NOBODY.bound():
        assert taskctx.get_access_token() is None
        assert taskctx.get_http_headers() == {}
        assert taskctx.get_request_id() is None


def test_two_made_alike_are_equal_and_others_share_nothing() -> None:
    """Two calls with the same arguments give equal callers; two subjects have no value in common."""
    ada, bob = fake_caller("ada"), fake_caller("bob")
    assert ada == fake_caller("ada")
    assert ada.scope != bob.scope
    assert (ada.request_id, ada.session_id) != (bob.request_id, bob.session_id)
    assert not set(ada.headers.items()) & set(bob.headers.items()) - {
        ("host", "service.invalid"),
        ("user-agent", "fake-client/1.0"),
    }


def test_an_anonymous_one_has_no_token() -> None:
    """Headers and ids only."""
    anonymous = fake_caller(None)
    assert anonymous.access_token is anonymous.scope is None
    assert anonymous.request_id == "fake-request-of-nobody"
    assert "authorization" not in anonymous.headers


def test_claims_are_such_as_can_travel() -> None:
    with pytest.raises(taskctx.InvalidType, match="JSON"):
        fake_caller(claims={"bad": float("nan"), "worse": object()})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"subject": 5}, "subject must be a string or None, not int"),
        ({"client_id": 5}, "access_token must .* at fault in: client_id"),
        ({"scopes": MARKER}, "access_token must .* at fault in: scopes"),
        ({"expires_at": MARKER}, "access_token must .* at fault in: expires_at"),
        ({"claims": 5}, "claims must be a mapping or None, not int"),
        ({"carried": 5}, "carried must be a mapping or None, not int"),
        ({"headers": 5}, "headers must be a mapping of names to values, not int"),
        ({"headers": {"x-tenant": 5}}, "headers must map strings to strings"),
    ],
)
def test_what_makes_no_caller_is_refused(arguments: dict[str, Any], message: str) -> None:
    """Where it is made, by name."""
    with pytest.raises(taskctx.InvalidType, match=f"^{message}") as refused:
        fake_caller(**arguments)
    assert MARKER not in str(refused.value)


def test_a_repr_shows_no_credential() -> None:
    """pytest prints it when a test fails."""
    caller = FakeCaller(token(), headers(), "r-1", secret("session"))
    with caller.bound():
        seen = SeenContext.here()
    for shown in (repr(caller), repr(replace(caller, request_id="r-2")), repr(seen)):
        assert secret("")[1:] not in shown
    assert "r-1" in repr(caller)
