"""A server that begins a request in the context of an earlier one: three callers on one connection of a real uvicorn.

uvicorn does that on asyncio's own event loop when bodies are large, and on any loop when a client pipelines.
"""

from __future__ import annotations

import asyncio
import json
import logging
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import fastapi
import httpx
import pytest
from docket import Docket, Worker
from fastmcp import FastMCP
from opentelemetry import baggage, context, trace
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

import taskctx
from taskctx.asgi import TaskContextMiddleware
from tests.secrets import secret
from tests.serving import serving
from tests.test_asgi import Backend

LEAKY: ContextVar[str | None] = ContextVar("leaky", default=None)
"""A ContextVar of the application that a handler sets and never resets."""

SMALL, LARGE = 10, 300_000
PARSERS = ("h11", "httptools")


@dataclass(frozen=True)
class Asker:
    """One of the callers; ``trace_id`` and ``tenant`` are None where it sends no such header."""

    name: str
    trace_id: str | None = None
    tenant: str | None = None

    @property
    def headers(self) -> dict[str, str]:
        found = {"Authorization": f"Bearer {secret(self.name)}", "X-Request-ID": f"r-{self.name}"}
        if self.trace_id:
            found |= {"traceparent": f"00-{self.trace_id}-b7ad6b7169203331-01"}
        if self.tenant:
            found |= {"baggage": f"tenant={self.tenant}"}
        return found if self.name != "anonymous" else {"X-Request-ID": "r-anonymous"}

    @property
    def sight(self) -> dict[str, Any]:
        """What a handler and a task of its see."""
        scope = None if self.name == "anonymous" else self.name
        return {
            "scope": scope,
            "request_id": f"r-{self.name}",
            "trace_id": self.trace_id,
            "tenant": self.tenant,
            "leaky": None,
        }


ASKERS = (
    Asker("ada", "0af7651916cd43dd8448eb211c80319c", "acme"),
    Asker("bob", "11111111111111111111111111111111", "globex"),
    Asker("anonymous"),
)


def trace_id() -> str | None:
    span = trace.get_current_span().get_span_context()
    return trace.format_trace_id(span.trace_id) if span.is_valid else None


def look() -> dict[str, Any]:
    return {
        "scope": taskctx.get_task_scope(),
        "request_id": taskctx.get_request_id(),
        "trace_id": trace_id(),
        "tenant": baggage.get_baggage("tenant"),
        "leaky": LEAKY.get(),
    }


def identify(request: Request) -> None:
    """As an authentication dependency does."""
    name = request.headers.get("authorization", "").removeprefix("Bearer ").partition("-")[0]
    if name:
        taskctx.identify(access_token=taskctx.AccessToken(token=secret(name), client_id=name))


class Service:
    """Says what its handler sees, and has a task that says what it saw (its trace is linked, so it has one of its own)."""

    def __init__(self, docket: Docket) -> None:
        self.docket = docket
        self.in_tasks: dict[str | None, dict[str, Any]] = {}

    async def task(self) -> None:
        self.in_tasks[taskctx.get_request_id()] = look()

    async def handler(self, request: Request) -> Response:
        identify(request)
        seen = look()
        await request.body()
        LEAKY.set(seen["request_id"])
        await taskctx.add(self.docket, self.task)()
        return JSONResponse(seen)

    def starlette(self) -> Starlette:
        return Starlette(routes=[Route("/", self.handler, methods=["POST"])], middleware=[OURS])

    def fastapi(self) -> fastapi.FastAPI:
        app = fastapi.FastAPI()
        app.add_middleware(TaskContextMiddleware)
        app.post("/", response_model=None)(self.handler)
        return app


OURS = Middleware(TaskContextMiddleware)


def request_of(asker: Asker, size: int) -> bytes:
    lines = ["POST / HTTP/1.1", "Host: server", f"Content-Length: {size}"]
    return "\r\n".join([*lines, *(f"{name}: {value}" for name, value in asker.headers.items()), "", ""]).encode() + (
        b"x" * size
    )


async def ask_in_turn(address: str, size: int) -> list[dict[str, Any]]:
    """All three on one connection, as through a proxy."""
    async with httpx.AsyncClient(base_url=address, limits=httpx.Limits(max_connections=1)) as http:
        return [(await http.post("/", headers=asker.headers, content=b"x" * size)).json() for asker in ASKERS]


async def ask_pipelined(address: str, size: int) -> list[dict[str, Any]]:
    """All three at once, on one connection."""
    url = urlsplit(address)
    reader, writer = await asyncio.open_connection(url.hostname, url.port)
    writer.write(b"".join(request_of(asker, size) for asker in ASKERS))
    answers: list[dict[str, Any]] = []
    for _ in ASKERS:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.partition("content-length: ")[2].split()[0])
        answers.append(json.loads(await reader.readexactly(length)))
    writer.close()
    return answers


def inherited(registry: CollectorRegistry) -> float | None:
    return registry.get_sample_value("taskctx_inherited_contexts_total")


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize("size", [SMALL, LARGE])
@pytest.mark.parametrize("ask", [ask_in_turn, ask_pipelined])
async def test_callers_on_one_connection_have_nothing_of_each_other(
    docket: Docket, worker: Worker, registry: CollectorRegistry, parser: str, size: int, ask: Any
) -> None:
    """Neither their handlers nor their tasks: no token, id, trace, baggage or ContextVar."""
    service = Service(docket)
    async with serving(service.starlette(), http=parser, loop="none") as address:
        answers = await ask(address, size)
    await worker.run_until_finished()
    assert answers == [asker.sight for asker in ASKERS]
    for asker in ASKERS:
        seen = service.in_tasks[asker.sight["request_id"]]
        assert (seen["scope"], seen["tenant"]) == (asker.sight["scope"], asker.tenant)
    assert inherited(registry) == (0 if (ask, size) == (ask_in_turn, SMALL) else 2)


async def test_it_is_said_once_in_the_log(docket: Docket, caplog: pytest.LogCaptureFixture) -> None:
    """The log has one line, with the option that uvicorn needs."""
    caplog.set_level(logging.WARNING, "taskctx")
    async with serving(Service(docket).starlette(), http="h11", loop="none") as address:
        await ask_in_turn(address, LARGE)
    (line,) = [record.getMessage() for record in caplog.records if record.name == "taskctx"]
    assert "--reset-contextvars" in line


async def test_uvicorns_own_remedy_leaves_nothing_to_do(docket: Docket, registry: CollectorRegistry) -> None:
    """``--reset-contextvars``, which the log line advises."""
    async with serving(Service(docket).starlette(), http="h11", loop="none", reset_contextvars=True) as address:
        answers = await ask_in_turn(address, LARGE) + await ask_pipelined(address, SMALL)
    assert answers == [asker.sight for asker in ASKERS] * 2
    assert inherited(registry) == 0


async def test_what_the_server_was_started_with_is_there(docket: Docket) -> None:
    """The clean context is the server's own: a ContextVar set before it started is seen in every request."""
    token = LEAKY.set("the server's")
    try:
        async with serving(Service(docket).starlette(), http="h11", loop="none") as address:
            answers = await ask_in_turn(address, LARGE)
    finally:
        LEAKY.reset(token)
    assert [answer["leaky"] for answer in answers] == ["the server's"] * 3


@pytest.mark.parametrize("parser", PARSERS)
async def test_opentelemetrys_instrumentation_of_fastapi(docket: Docket, worker: Worker, parser: str) -> None:
    """It stands outside and hangs an inherited request below the earlier one's trace; tasks have their own request's."""
    service = Service(docket)
    app = service.fastapi()
    FastAPIInstrumentor.instrument_app(app)
    async with serving(app, http=parser, loop="none") as address:
        answers = await ask_in_turn(address, LARGE)
    await worker.run_until_finished()
    ada, bob, anonymous = answers
    assert [answer["scope"] for answer in answers] == ["ada", "bob", None]
    assert (ada["trace_id"], bob["trace_id"]) == (ASKERS[0].trace_id, ASKERS[1].trace_id)
    assert anonymous["trace_id"] not in (ada["trace_id"], bob["trace_id"])
    assert [answer["tenant"] for answer in answers] == ["acme", "globex", None]
    assert [service.in_tasks[answer["request_id"]]["tenant"] for answer in answers] == ["acme", "globex", None]


@pytest.mark.parametrize("size", [SMALL, LARGE])
@pytest.mark.parametrize("parser", PARSERS)
async def test_fastmcp_mounted_under_the_middleware(docket: Docket, worker: Worker, parser: str, size: int) -> None:
    """Its tools have their own request's caller, and so have their tasks."""
    service = Service(docket)
    server = FastMCP("reports")

    @server.tool
    async def order(body: str) -> dict[str, Any]:  # pyright: ignore[reportUnusedFunction]
        seen = look()
        LEAKY.set(seen["request_id"])
        await taskctx.add(docket, service.task)()
        return seen

    mounted = server.http_app(path="/", stateless_http=True, json_response=True)
    app = Starlette(
        routes=[Mount("/mcp", mounted)],
        middleware=[OURS, Middleware(AuthenticationMiddleware, backend=Backend())],
        lifespan=lambda _: mounted.lifespan(mounted),  # type: ignore[arg-type]
    )
    call = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": "order", "arguments": {"body": "x" * size}},
    }
    answers: list[dict[str, Any]] = []
    async with (
        serving(app, http=parser, loop="none") as address,
        httpx.AsyncClient(base_url=address, limits=httpx.Limits(max_connections=1)) as http,
    ):
        for asker in ASKERS:
            headers = asker.headers | {"Accept": "application/json, text/event-stream"}
            answer = await http.post("/mcp/", headers=headers, json=call)
            answers.append(answer.json()["result"]["structuredContent"])
    await worker.run_until_finished()
    for asker, answer in zip(ASKERS, answers, strict=True):
        in_task = service.in_tasks[asker.sight["request_id"]]
        for name in ("scope", "request_id", "tenant", "leaky"):
            assert (answer[name], in_task[name]) == (asker.sight[name], asker.sight[name]), name


async def test_an_application_that_calls_another_is_no_inheritance(docket: Docket, registry: CollectorRegistry) -> None:
    """In its own process, as FastMCP's ``from_fastapi`` does: a request of its own, in the caller's trace and ContextVars."""
    inner = Service(docket).starlette()

    async def outer(request: Request) -> Response:
        identify(request)
        await request.body()
        LEAKY.set("outer")
        async with httpx.AsyncClient(transport=httpx.ASGITransport(inner), base_url="http://inner") as http:
            answer = await http.post("/")
        return JSONResponse([answer.json(), taskctx.get_task_scope()])

    app = Starlette(routes=[Route("/", outer, methods=["POST"])], middleware=[OURS])
    async with serving(app, http="h11", loop="none") as address, httpx.AsyncClient(base_url=address) as http:
        ada = ASKERS[0]
        seen, scope = (await http.post("/", headers=ada.headers, content=b"x" * LARGE)).json()
    assert (seen["scope"], seen["request_id"], scope) == (None, None, "ada")
    assert (seen["trace_id"], seen["tenant"], seen["leaky"]) == (ada.trace_id, "acme", "outer")
    assert inherited(registry) == 0


async def test_a_remote_span_is_not_taken_for_the_servers_own() -> None:
    """A request with a trace of its own sees nothing of a remote trace and baggage around the server."""
    around = trace.set_span_in_context(
        trace.NonRecordingSpan(trace.SpanContext(1, 2, is_remote=True, trace_flags=trace.TraceFlags(1))),
        baggage.set_baggage("other", "other"),
    )
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((trace_id(), dict(baggage.get_all())))

    ada = ASKERS[0]
    headers = [(name.lower().encode(), value.encode()) for name, value in ada.headers.items()]
    token = context.attach(around)
    try:
        await TaskContextMiddleware(app)({"type": "http", "headers": headers}, app, app)  # type: ignore[arg-type]
    finally:
        context.detach(token)
    assert seen == [(ada.trace_id, {"tenant": "acme"})]


async def test_without_the_middleware_a_server_hands_contexts_on(docket: Docket) -> None:
    """Should this fail, uvicorn or asyncio has mended it: see what of this can go."""
    seen: list[str | None] = []

    async def handler(request: Request) -> Response:
        seen.append(LEAKY.get())
        LEAKY.set(request.headers["x-request-id"])
        await request.body()
        return JSONResponse(None)

    app = Starlette(routes=[Route("/", handler, methods=["POST"])])
    async with serving(app, http="h11", loop="none") as address:
        await ask_in_turn(address, LARGE)
    assert seen == [None, "r-ada", "r-bob"]
