"""The current caller: bound, nested, cleared, and that of the code it was bound for alone."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace
from typing import Any

import pytest

import taskctx
from taskctx._caller.caller import ANONYMOUS, Caller, current_caller, use_caller
from taskctx._caller.token import Credential
from taskctx.errors import InvalidType
from tests import secrets
from tests.secrets import MARKER, secret


def ambient() -> tuple[object, ...]:
    caller = current_caller.get()
    return (
        taskctx.get_access_token(),
        taskctx.get_http_headers(),
        taskctx.get_request_id(),
        caller.session_id,
        caller.session,
        caller.server,
    )


NOTHING: tuple[object, ...] = (None, {}, None, None, None, None)


def test_outside_a_request_the_caller_is_anonymous() -> None:
    """None everywhere, and an empty dict for headers."""
    assert ambient() == NOTHING
    assert taskctx.get_task_scope() is None


def test_a_bound_caller_is_the_current_one_in_the_block() -> None:
    """Every getter answers with the bound values inside the block, and with none after it."""
    session, server = object(), object()
    bound = taskctx.bind_caller(
        access_token=secrets.token(),
        headers={"X-Tenant": "acme"},
        request_id="request-1",
        session_id="session-1",
        session=session,
        server=server,
    )
    with bound:
        assert ambient() == (secrets.token(), {"x-tenant": "acme"}, "request-1", "session-1", session, server)
        assert taskctx.get_task_scope() == "reports-app|ada"
    assert ambient() == NOTHING


def test_an_inner_block_adds_to_the_outer_one() -> None:
    """A handler that authenticates by itself keeps what the middleware knows."""
    with taskctx.bind_caller(headers={"X-Tenant": "acme"}, request_id="request-1"):
        with taskctx.bind_caller(access_token=secrets.token(), request_id="request-2"):
            assert ambient()[:3] == (secrets.token(), {"x-tenant": "acme"}, "request-2")
        assert ambient()[:3] == (None, {"x-tenant": "acme"}, "request-1")


def test_none_clears() -> None:
    """What is not given stays; what is given as None goes."""
    outer = taskctx.bind_caller(
        access_token=secrets.token(),
        headers={"X-Tenant": "acme"},
        request_id="request-1",
        session_id="session-1",
        session=object(),
        server=object(),
    )
    with outer:
        with taskctx.bind_caller(access_token=None):
            assert ambient()[:3] == (None, {"x-tenant": "acme"}, "request-1")
            assert taskctx.get_task_scope() is None
        anonymous = taskctx.bind_caller(
            access_token=None, headers=None, request_id=None, session_id=None, session=None, server=None
        )
        with anonymous:
            assert ambient() == NOTHING
        assert taskctx.get_access_token() == secrets.token()


def test_an_exception_ends_the_block_too() -> None:
    """The exception goes on as it is."""
    error = RuntimeError("boom")
    with pytest.raises(RuntimeError) as caught, taskctx.bind_caller(request_id="request-1"):
        raise error
    assert caught.value is error
    assert current_caller.get() is ANONYMOUS


def test_headers_given_out_are_a_copy() -> None:
    """Changing them does not change the caller."""
    given = {"X-Tenant": "acme"}
    with taskctx.bind_caller(headers=given):
        given["X-Tenant"] = "other"
        taskctx.get_http_headers()["x-tenant"] = "other"
        assert taskctx.get_http_headers() == {"x-tenant": "acme"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"access_token": secret("text")},
        {"access_token": SimpleNamespace(token=secret("token"))},
        {"headers": [("x-tenant", secret("tenant"))]},
        {"headers": secret("text")},
        {"headers": {"x-tenant": secret("tenant").encode()}},
        {"headers": {secret("name").encode(): "value"}},
        {"headers": {"x-tenant": None}},
        {"request_id": 7},
        {"request_id": secret("request").encode()},
        {"session_id": 7},
        {"session_id": [secret("session")]},
    ],
)
def test_a_wrong_type_is_refused(wrong: dict[str, Any]) -> None:
    """Before anything is bound, and without a value in the message."""
    with pytest.raises(InvalidType) as caught, taskctx.bind_caller(**wrong):
        raise AssertionError("the block must not run")
    assert MARKER not in str(caught.value)
    assert current_caller.get() is ANONYMOUS


def test_a_wrong_token_names_the_attributes_at_fault() -> None:
    """The error names the type and the attribute, so the author of a server can correct the token."""
    wrong = SimpleNamespace(token=secret("token"), client_id=7)
    with (
        pytest.raises(InvalidType, match="SimpleNamespace is at fault in: client_id"),
        taskctx.bind_caller(access_token=wrong),
    ):
        raise AssertionError("the block must not run")


def test_a_wrong_token_is_not_reported_as_a_bug_of_ours(caplog: pytest.LogCaptureFixture) -> None:
    """An authenticator that leaves no token behind is the application's to mend, and the error says so."""
    caller = Caller(credential_source=lambda: Credential.of(SimpleNamespace(token=secret("token"))))
    with use_caller(caller), pytest.raises(InvalidType, match="is at fault in: client_id"):
        taskctx.TaskContextSnapshot.capture()
    assert "This is a bug" not in caplog.text


@pytest.mark.parametrize(
    ("client_id", "claims", "scope"),
    [
        ("reports-app", {"sub": "ada"}, "reports-app|ada"),
        ("reports-app", {"sub": ""}, "reports-app"),
        ("reports-app", {"sub": None}, "reports-app"),
        ("reports-app", {}, "reports-app"),
        ("reports-app", None, "reports-app"),
        ("reports-app", {"sub": 42}, "reports-app|42"),
        ("a", {"sub": "b|c"}, "a|b|c"),
        ("_", {}, "_"),
    ],
)
def test_the_scope_of_the_current_caller(client_id: str, claims: dict[str, Any] | None, scope: str) -> None:
    """``client_id|sub`` when there is a non-empty subject, else ``client_id``; never encoded."""
    token = SimpleNamespace(token=secret("token"), client_id=client_id, scopes=[], claims=claims)
    with taskctx.bind_caller(access_token=token):
        assert taskctx.get_task_scope() == scope


async def test_concurrent_tasks_see_their_own_caller() -> None:
    """And a task started in a block keeps its caller when the block is over."""
    all_bound = asyncio.Barrier(20)

    async def handle(request_id: str) -> str | None:
        with taskctx.bind_caller(request_id=request_id):
            await all_bound.wait()
            return taskctx.get_request_id()

    ids = [f"request-{number}" for number in range(20)]
    assert await asyncio.gather(*(handle(request_id) for request_id in ids)) == ids

    left = asyncio.Event()

    async def later() -> str | None:
        await left.wait()
        return taskctx.get_request_id()

    with taskctx.bind_caller(request_id="request-1"):
        task = asyncio.create_task(later())
    left.set()
    assert await task == "request-1"


async def test_threads() -> None:
    """``asyncio.to_thread`` takes the caller along; a thread of one's own starts with an anonymous one."""
    seen: list[str | None] = []
    with taskctx.bind_caller(request_id="request-1"):
        assert await asyncio.to_thread(taskctx.get_request_id) == "request-1"
        thread = threading.Thread(target=lambda: seen.append(taskctx.get_request_id()))
        thread.start()
        thread.join()
    assert seen == [None]
