"""The parts of ``taskctx demo`` that decide: what is compared, what is verified, what is computed."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from docket import Docket
from starlette.applications import Starlette

from taskctx.cli.demo.callers import Request, make_requests
from taskctx.cli.demo.checks import ContextLost, Ledger
from taskctx.cli.demo.identity import digest, issue, verify
from taskctx.cli.demo.metrics import quantile
from taskctx.cli.demo.server import make_app
from taskctx.cli.demo.sighting import SERVER, Context, Kind, Sighting
from taskctx.cli.demo.tracing import Span, build_tree
from taskctx.cli.operating.fleet import Process, Sample
from taskctx.telemetry.names import RESTORE_DURATION
from tests.secrets import MARKER, secret

KEY = b"signing-key"
SENT = Context(
    token=digest(secret("token")),
    client_id=secret("client"),
    subject=secret("subject"),
    oauth_scopes=[secret("scope")],
    task_scope=secret("task-scope"),
    task_id=secret("task"),
    request_id=secret("request"),
    session_id=secret("session"),
    baggage={"tenant": secret("tenant")},
    origin_trace=secret("trace"),
)
HEADERS = {"x-tenant": secret("tenant"), "authorization": secret("bearer"), "cookie": secret("cookie")}
REQUEST = Request(7, Kind.RETRIED, HEADERS, SENT, failures=1, runs=frozenset({(1, 1), (1, 2)}))
CARRIED = {"x-tenant": HEADERS["x-tenant"]}


def ledger() -> Ledger:
    made = Ledger([REQUEST])
    made.sent(REQUEST.number, HEADERS)
    return made


def sighting(attempt: int = 1, worker: str = "worker-2", **changes: Any) -> Sighting:
    """A report that is right but for the changes."""
    context = SENT.model_copy(update={"headers": CARRIED, **changes})
    return Sighting(number=7, attempt=attempt, worker=worker, context=context)


def test_reports_that_agree_make_a_context_intact() -> None:
    """All runs must be in; one that came twice counts once."""
    book = ledger()
    book.seen(sighting(attempt=1))
    book.seen(sighting(attempt=1))
    assert (book.intact, book.runs_seen, book.complete) == (0, 1, False)
    book.seen(sighting(attempt=2))
    assert (book.intact, book.runs_seen, book.complete) == (1, 2, True)


OTHERS: dict[str, Any] = {
    "token": digest(secret("other-token")),
    "oauth_scopes": [secret("other")],
    "headers": {"x-tenant": secret("other")},
    "baggage": {"tenant": secret("other")},
    "origin_linked": False,
    "live_server": True,
}


@pytest.mark.parametrize("name", Context.model_fields)
@pytest.mark.parametrize("lost", [False, True])
def test_any_field_that_differs_is_named(name: str, lost: bool) -> None:
    """Another value, or none; with the request and the worker, and with nothing that was sent or seen."""
    other = Context().model_dump()[name] if lost else OTHERS.get(name, secret("other"))
    if other == sighting().context.model_dump()[name]:
        other = OTHERS.get(name, secret("other"))
    with pytest.raises(ContextLost) as caught:
        ledger().seen(sighting(attempt=2, **{name: other}))
    message = str(caught.value)
    assert message.startswith("request 7 (retried, attempt 2), run by worker-2: ")
    assert f" {name}" in message
    assert " differs: sent " in message
    assert MARKER not in message + repr(REQUEST) + repr(sighting())


@pytest.mark.parametrize("name", ["authorization", "cookie"])
def test_a_credential_among_the_headers_is_a_difference(name: str) -> None:
    """They were sent, and must not arrive."""
    with pytest.raises(ContextLost, match=rf"headers\[{name}\] differs: sent nothing"):
        ledger().seen(sighting(headers=CARRIED | {name: HEADERS[name]}))


def test_live_objects_are_expected_in_the_server_and_nowhere_else() -> None:
    """There, not finding the caller's own session is a difference."""
    ledger().seen(sighting(worker=SERVER, live_session=SENT.session_id, live_server=True))
    with pytest.raises(ContextLost, match="live_session"):
        ledger().seen(sighting(worker=SERVER, live_server=True))


def test_a_run_nobody_asked_for_is_a_difference() -> None:
    """An attempt too many, or a request that was never sent."""
    with pytest.raises(ContextLost, match=r"attempt 3.*not asked for"):
        ledger().seen(sighting(attempt=3))
    with pytest.raises(ContextLost, match="never sent"):
        ledger().seen(sighting().model_copy(update={"number": 8}))


def test_runs_that_stay_away_are_counted() -> None:
    """The first of them is named."""
    book = ledger()
    book.seen(sighting())
    assert str(book.lost()) == "1 task runs never reported, the first of request 7 (retried)"


def test_callers_are_many_and_different() -> None:
    """Of every kind, some anonymous; no two requests share a request id or a trace."""
    requests = make_requests(200, KEY)
    assert {request.kind for request in requests} == set(Kind)
    assert len({request.headers["x-caller"] for request in requests}) == 20
    assert len({request.trace_id for request in requests}) == len({request.expected.task_id for request in requests})
    anonymous = [request for request in requests if "authorization" not in request.headers]
    assert 0 < len(anonymous) < 100
    assert all(request.expected.token is None for request in anonymous)
    assert {request.expected.subject is None for request in requests if request not in anonymous} == {True, False}


def test_only_tokens_that_were_issued_here_are_verified() -> None:
    """Another key, another claim, or no token at all."""
    token = issue(KEY, {"sub": "ada"})
    assert verify(KEY, token) == {"sub": "ada"}
    assert verify(b"another key", token) is None
    assert verify(KEY, issue(b"another key", {"sub": "eve"}).partition(".")[0] + "." + token.partition(".")[2]) is None
    assert verify(KEY, "no token, and not ASCII: é") is None


async def test_the_server_refuses_a_forged_token(docket: Docket) -> None:
    """The server verifies tokens: it answers 401 to a token that another key signed, and schedules nothing."""

    @asynccontextmanager
    async def nothing(_: Starlette) -> AsyncGenerator[None]:
        yield

    transport = httpx.ASGITransport(make_app(docket, KEY, nothing))
    async with httpx.AsyncClient(transport=transport, base_url="http://demo") as client:
        forged = {"authorization": f"Bearer {issue(b'another key', {'client_id': 'eve'})}"}
        answer = await client.post("/tasks/now", params={"number": 1, "failures": 0}, headers=forged)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert (await docket.snapshot()).total_tasks == 0


def test_quantiles_are_those_of_all_processes_together() -> None:
    """Interpolated within a bucket, as PromQL does; the last bound that is known where the bucket has none."""
    infinity = float("inf")
    scrapes = [
        scraped({0.1: 4.0, 0.2: 4.0, infinity: 4.0}),
        scraped({0.1: 0.0, 0.2: 4.0, infinity: 4.0}),
    ]
    assert quantile(0.25, scrapes) == pytest.approx(0.05)
    assert quantile(0.75, scrapes) == pytest.approx(0.15)
    assert quantile(0.99, [scraped({0.1: 1.0, infinity: 100.0})]) == 0.1
    assert quantile(0.5, [scraped({0.1: 0.0, infinity: 0.0})]) is None


def scraped(buckets: dict[float, float]) -> Process:
    """A process with these cumulative counts of restores."""
    name = f"{RESTORE_DURATION.name}_bucket"
    return Process("one", tuple(Sample(name, {"le": str(bound)}, count) for bound, count in buckets.items()))


def test_a_tree_joins_spans_by_parent_and_by_link() -> None:
    """Docket's span is the root of a trace of its own; the last of its links is the one that taskctx added."""
    spans = [
        span("http", "t1", "a", parent="the caller's"),
        span("save", "t1", "b", parent="a"),
        span("task", "t2", "c", links=[("t9", "x"), ("t1", "b")]),
        span("body", "t2", "d", parent="c"),
        span("another request", "t3", "e"),
    ]
    root = build_tree(spans, "t1")
    assert root is not None
    (save,) = root["children"]
    (task,) = save["children"]
    assert [(node["name"], node["joined_by"]) for node in (root, save, task, *task["children"])] == [
        ("http", "parent"),
        ("save", "parent"),
        ("task", "link"),
        ("body", "parent"),
    ]
    assert build_tree(spans, "unknown") is None


def span(
    name: str, trace: str, span_id: str, parent: str | None = None, links: list[tuple[str, str]] | None = None
) -> Span:
    """As OpenTelemetry's SDK writes it."""
    return {
        "process": "p",
        "name": name,
        "kind": "SpanKind.INTERNAL",
        "context": {"trace_id": trace, "span_id": span_id},
        "parent_id": parent,
        "links": [{"context": {"trace_id": to_trace, "span_id": to_span}} for to_trace, to_span in links or ()],
        "start_time": "2026-01-01T00:00:00.000000Z",
        "end_time": "2026-01-01T00:00:00.001000Z",
        "attributes": {},
    }
