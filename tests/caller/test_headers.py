"""Which headers travel."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry

import taskctx
from taskctx._caller.headers import allowed_headers, header_policy
from taskctx.settings import ENVIRONMENT_PREFIX, load_settings
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
    "token",
    "x-csrftoken",
    "x-client-secret",
    "secret",
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
    "client-cert",
    "client-cert-chain",
    "x-amzn-mtls-clientcert-leaf",
    "x-arr-clientcert",
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

DEFAULT = header_policy(load_settings().headers_allow, load_settings().denied_headers)


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


@pytest.mark.parametrize(
    ("settings", "captured"),
    [
        ({}, {"x-internal", "x-tenant"}),
        ({"headers_deny": ""}, {"x-internal", "x-tenant"}),
        ({"headers_deny": "x-internal"}, {"x-tenant"}),
        ({"headers_deny": "X-Internal", "headers_allow": "*"}, {"x-tenant"}),
        ({"headers_deny_defaults": "false"}, {"authorization", "cookie", "x-internal", "x-tenant"}),
        ({"headers_deny_defaults": "false", "headers_deny": "cookie"}, {"authorization", "x-internal", "x-tenant"}),
        ({"headers_allow": ""}, set[str]()),
        ({"headers_allow": "", "headers_deny_defaults": "false"}, set[str]()),
    ],
)
def test_what_is_denied_is_denied_beside_the_built_in_list(
    settings: dict[str, str], captured: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One header more to deny lets no credential through; the list is switched off by name, and no header allowed is none."""
    for name, value in settings.items():
        monkeypatch.setenv(f"{ENVIRONMENT_PREFIX}{name.upper()}", value)
    taskctx.configure(registry=CollectorRegistry())
    names = ("Authorization", "Cookie", "X-Internal", "X-Tenant")
    with taskctx.bind_caller(headers=dict.fromkeys(names, secrets.secret("header"))):
        assert set(taskctx.TaskContextSnapshot.capture().http_headers or ()) == captured


def test_headers_that_may_not_travel_are_none_at_all() -> None:
    """A snapshot without headers has None, as one captured outside a request."""
    with taskctx.bind_caller(headers={"Cookie": "session=1"}):
        assert taskctx.TaskContextSnapshot.capture().http_headers is None
