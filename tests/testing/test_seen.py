"""Comparing callers, and saying what differs without saying any credential."""

from __future__ import annotations

from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import replace
from typing import Any

import pytest

import taskctx
from taskctx._caller.carried import stop_carrying
from taskctx.testing import NOBODY, FakeCaller, SeenContext, assert_restored, fake_caller, run_as_worker
from tests.secrets import MARKER, secret

ADA = FakeCaller(
    taskctx.AccessToken(
        token=secret("token"), client_id="app", scopes=["read"], claims={"sub": "ada", "x": secret("x")}
    ),
    {"X-Tenant": secret("tenant"), "Cookie": secret("cookie")},
    "r-1",
    secret("session"),
)


def seen(caller: FakeCaller) -> SeenContext:
    with caller.bound():
        return SeenContext.here()


def message(expected: FakeCaller | SeenContext | taskctx.TaskContextSnapshot, found: SeenContext) -> list[str]:
    """The lines below the first of what a failing comparison says."""
    with pytest.raises(AssertionError) as failed:
        assert_restored(expected, found)
    text = str(failed.value)
    assert MARKER not in text
    return [line.strip() for line in text.splitlines()[1:]]


def test_the_same_caller_is_the_same() -> None:
    """Headers that are never captured do not count, nor does how their names are written."""
    assert_restored(ADA, seen(ADA))
    assert_restored(replace(ADA, headers={"x-TENANT": secret("tenant")}), seen(ADA))
    with ADA.bound():
        assert_restored(ADA)
        assert_restored(taskctx.TaskContextSnapshot.capture())


@pytest.fixture
def locale() -> Iterator[ContextVar[str]]:
    """A carried variable."""
    locale: ContextVar[str] = ContextVar("locale of a fake caller", default="en")
    taskctx.carry(locale, name="locale-of-a-fake-caller", type=str)
    yield locale
    stop_carrying("locale-of-a-fake-caller")


async def test_a_fake_caller_can_have_carried_values(locale: ContextVar[str]) -> None:
    """They are set where it is bound, restored in its tasks and compared; those that it does not name are not."""
    caller = fake_caller("ada", carried={"locale-of-a-fake-caller": "de"})
    with caller.bound():
        assert locale.get() == "de"
    assert locale.get() == "en"

    async def task() -> str:
        return locale.get()

    run = await run_as_worker(task, caller=caller)()
    assert run.result == "de"
    assert run.seen is not None
    assert_restored(caller, run.seen)
    assert_restored(fake_caller("ada"), run.seen)
    other = replace(caller, carried={"locale-of-a-fake-caller": "fr"})
    assert message(other, run.seen) == ["carried: other values (not shown): locale-of-a-fake-caller"]


def test_a_value_that_is_not_carried_is_refused() -> None:
    """Where the caller is bound: the variable may be carried later than the caller is made."""
    with (
        pytest.raises(taskctx.InvalidArgument, match="no variable is carried under the name 'unknown'"),
        fake_caller(carried={"unknown": secret("carried")}).bound(),
    ):
        raise AssertionError("it was bound")
    assert taskctx.get_request_id() is None


def test_what_is_no_caller_is_refused() -> None:
    """A slip in a test says so; an AttributeError would look like a bug of what is tested."""
    compare: Any = assert_restored
    with pytest.raises(taskctx.InvalidType, match=r"compares with a fake_caller\(\.\.\.\), .* not str$"):
        compare(MARKER)
    with pytest.raises(taskctx.InvalidType, match=r"such as run\.seen, not FakeCaller$"):
        compare(NOBODY, NOBODY)


def test_a_body_that_did_not_run_saw_no_caller_at_all() -> None:
    """``run.seen`` is None then, which must not pass for what is seen here."""
    with pytest.raises(AssertionError, match="body did not run"):
        assert_restored(NOBODY, None)


def test_an_anonymous_caller_is_compared_too() -> None:
    assert_restored(NOBODY)
    assert message(ADA, seen(NOBODY)) == [
        "access_token: expected one of scope 'app|ada', seen none",
        "headers: missing: x-tenant",
        "request_id: expected 'r-1', seen None",
        "session_id: expected one, seen none",
    ]
    assert message(NOBODY, seen(ADA)) == [
        "access_token: expected none, seen one of scope 'app|ada'",
        "headers: not expected: x-tenant",
        "request_id: expected None, seen 'r-1'",
        "session_id: expected none, seen one",
    ]


def test_tokens_are_compared_part_by_part() -> None:
    """The message has the values of the parts that are no secret."""
    assert ADA.access_token is not None
    changes = {
        "token": secret("other"),
        "scopes": ["write"],
        "expires_at": 1,
        "claims": {"sub": "ada", "x": secret("y")},
    }
    other = replace(ADA, access_token=ADA.access_token.model_copy(update=changes))
    assert message(ADA, seen(other)) == [
        "access_token.scopes: expected ['read'], seen ['write']",
        "access_token.expires_at: expected None, seen 1",
        "access_token.token: another value (values are not shown)",
        "access_token.claims: other values (not shown): x",
    ]


def test_other_callers_are_others() -> None:
    assert message(fake_caller("bob"), seen(fake_caller("ada"))) == [
        "access_token: expected one of scope 'fake-client|bob', seen one of scope 'fake-client|ada'",
        "access_token.token: another value (values are not shown)",
        "access_token.claims: other values (not shown): sub",
        "headers: other values (not shown): x-tenant",
        "request_id: expected 'fake-request-of-bob', seen 'fake-request-of-ada'",
        "session_id: another value (values are not shown)",
    ]


def test_baggage_and_carried_values_count_where_they_were_seen() -> None:
    """A fake caller says nothing of them."""
    found = replace(seen(ADA), baggage={"baggage": f"tenant={secret('b')}"}, carried={"language": secret("fr")})
    assert_restored(ADA, found)
    assert message(seen(ADA), found) == ["baggage: not expected: baggage", "carried: not expected: language"]
    other = replace(found, baggage={"baggage": f"tenant={secret('c')}"}, carried={})
    assert message(found, other) == ["baggage: other values (not shown): baggage", "carried: missing: language"]
    carrier = {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", **found.baggage}
    snapshot = taskctx.TaskContextSnapshot(trace_context=carrier, carried=dict(found.carried))
    assert_restored(snapshot, replace(seen(NOBODY), baggage=found.baggage, carried=found.carried))
