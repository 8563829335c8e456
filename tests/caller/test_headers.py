"""Which headers travel."""

from __future__ import annotations

import pytest

import taskctx
from taskctx._caller.headers import allowed_headers, header_policy
from taskctx.settings import load_settings
from tests import secrets
from tests.secrets import MARKER

CREDENTIALS = [
    "authorization",
    "proxy-authorization",
    "cookie",
    "set-cookie",
    "x-api-key",
    "api-key",
    "x-auth-token",
    "x-auth-user",
    "x-auth-request-access-token",
    "x-amz-security-token",
    "x-csrf-token",
    "x-xsrf-token",
    "x-vault-token",
    "x-client-secret",
    "x-forwarded-authorization",
    "authentication",
    "apikey",
    "x-goog-api-key",
    "ocp-apim-subscription-key",
    "x-access-key",
    "x-functions-key",
    "x-password",
    "x-jwt",
    "x-goog-iap-jwt-assertion",
    "cf-access-jwt-assertion",
    "x-amzn-oidc-data",
    "x-ms-client-principal",
    "x-forwarded-client-cert",
    "dpop",
    "cookie2",
]
HOP_BY_HOP = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "content-length",
    "expect",
]
ORDINARY = ["accept-language", "content-type", "host", "user-agent", "x-forwarded-for", "x-request-id", "x-tenant"]

DEFAULT = header_policy(load_settings().headers_allow, load_settings().headers_deny)


@pytest.mark.parametrize("name", CREDENTIALS + HOP_BY_HOP + ["traceparent", "tracestate", "baggage"])
def test_what_is_never_carried_by_default(name: str) -> None:
    """Credentials, what belongs to one connection, and what is carried as the trace context anyway."""
    assert allowed_headers({name: "value"}, DEFAULT) == {}


@pytest.mark.parametrize("name", ORDINARY)
def test_other_headers_are_carried_by_default(name: str) -> None:
    """Everything else is."""
    assert allowed_headers({name: "value"}, DEFAULT) == {name: "value"}


@pytest.mark.parametrize(
    ("allow", "deny", "carried"),
    [
        (("*",), (), {"x-tenant", "x-team", "accept", "cookie"}),
        ((), (), set[str]()),
        (("x-*",), (), {"x-tenant", "x-team"}),
        (("X-Tenant", "ACCEPT"), (), {"x-tenant", "accept"}),
        (("x-te?m",), (), {"x-team"}),
        (("x-[ab]*",), (), set[str]()),
        (("*",), ("x-*",), {"accept", "cookie"}),
        (("cookie", "x-*"), ("X-TEAM",), {"cookie", "x-tenant"}),
        (("*",), ("*",), set[str]()),
    ],
)
def test_patterns(allow: tuple[str, ...], deny: tuple[str, ...], carried: set[str]) -> None:
    """Shell patterns without regard to case; what is denied is denied, whatever is allowed."""
    policy = header_policy(allow, deny)
    headers = {"x-tenant": "a", "x-team": "b", "accept": "c", "cookie": "d"}
    assert set(allowed_headers(headers, policy)) == carried


def test_a_pattern_matches_a_whole_name() -> None:
    """``host`` is not ``x-forwarded-host``."""
    policy = header_policy(("host",), ())
    assert allowed_headers({"host": "a", "x-forwarded-host": "b", "hostname": "c"}, policy) == {"host": "a"}


def test_the_policy_is_applied_at_capture() -> None:
    """What may not travel never leaves the submitting process."""
    with taskctx.bind_caller(headers={**secrets.headers(), "Accept": "text/html"}):
        snapshot = taskctx.TaskContextSnapshot.capture()
    assert snapshot.http_headers == {"x-tenant": secrets.secret("tenant"), "accept": "text/html"}
    assert f"cookie-{MARKER}" not in snapshot.to_json()
    assert f"bearer-{MARKER}" not in snapshot.to_json()


def test_headers_that_may_not_travel_are_none_at_all() -> None:
    """A snapshot without headers has None, as one captured outside a request."""
    with taskctx.bind_caller(headers={"Cookie": "session=1"}):
        assert taskctx.TaskContextSnapshot.capture().http_headers is None
