"""The ASGI application that callers send their requests to."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta

from docket import Docket
from docket.execution import Execution
from opentelemetry import context, propagate, trace
from opentelemetry.trace import SpanKind
from prometheus_client import REGISTRY
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

import taskctx
from taskctx.asgi import SESSION_ID, TaskContextMiddleware

from . import tasks
from .authentication import BearerBackend, refuse
from .callers import PERPETUAL_RUNS
from .sighting import Kind

AHEAD = timedelta(milliseconds=400)

tracer: trace.Tracer = trace.get_tracer("taskctx.demo")

Lifespan = Callable[[Starlette], AbstractAsyncContextManager[None]]


def make_app(docket: Docket, signing_key: bytes, lifespan: Lifespan) -> Starlette:
    api = Api(docket)
    app = Starlette(
        routes=[
            Route("/tasks/{kind}", api.submit, methods=["POST"]),
            Route("/reports", api.reports),
            Route("/workers", api.workers),
            Route("/metrics", _metrics),
        ],
        lifespan=lifespan,
    )
    # the one added last stands outermost
    app.add_middleware(AuthenticationMiddleware, backend=BearerBackend(signing_key), on_error=refuse)
    app.add_middleware(TaskContextMiddleware, server=app)
    app.add_middleware(TracingMiddleware)
    return app


class LiveSession:
    """Stands for what a server keeps of a session: something that cannot leave its process."""

    def __init__(self, id: str) -> None:  # noqa: A002
        self.id = id


class Api:
    """The endpoints.  They need an open docket."""

    def __init__(self, docket: Docket) -> None:
        self._docket = docket
        self._sessions: dict[str, LiveSession] = {}

    async def submit(self, request: Request) -> Response:
        """``POST /tasks/{kind}``: the middleware has bound the caller; the live session is this server's to add."""
        number, failures = int(request.query_params["number"]), int(request.query_params["failures"])
        with taskctx.bind_caller(session=self._session(request.headers.get(SESSION_ID))):
            await self._add(Kind(request.path_params["kind"]), number, failures)
        return Response(status_code=202)

    async def reports(self, request: Request) -> Response:
        """``GET /reports``: what tasks have reported, from the one with the index ``since`` on."""
        key, since = tasks.reports_key(self._docket), int(request.query_params["since"])
        async with self._docket.redis() as redis:
            found: list[bytes] = await redis.lrange(key, since, -1)
        return Response(b"[" + b",".join(found) + b"]", media_type="application/json")

    async def workers(self, request: Request) -> Response:
        """``GET /workers``: the names of those that are ready to work."""
        return JSONResponse([worker.name for worker in await self._docket.workers()])

    async def _add(self, kind: Kind, number: int, failures: int) -> Execution:
        docket, key = self._docket, taskctx.get_request_id()
        match kind:
            case Kind.NOW:
                return await taskctx.add(docket, tasks.report_now, key=key)(number)
            case Kind.AHEAD:
                return await taskctx.add(docket, tasks.report_ahead, when=datetime.now(UTC) + AHEAD, key=key)(number)
            case Kind.RETRIED:
                return await taskctx.add(docket, tasks.report_retried, key=key)(number, failures)
            case Kind.PERPETUAL:
                return await taskctx.add(docket, tasks.report_perpetual, key=key)(number, 1, PERPETUAL_RUNS)

    def _session(self, session_id: str | None) -> LiveSession | None:
        return self._sessions.setdefault(session_id, LiveSession(session_id)) if session_id else None


class TracingMiddleware:
    """A span for each submission, inside the caller's trace: what an OpenTelemetry instrumentation would make."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        token = context.attach(propagate.extract(headers))
        try:
            with tracer.start_as_current_span(f"POST {scope['path']}", kind=SpanKind.SERVER):
                await self._app(scope, receive, send)
        finally:
            context.detach(token)


def _metrics(request: Request) -> Response:
    """``GET /metrics``: as ``docket worker --metrics-port`` has it."""
    encode, content_type = choose_encoder(request.headers.get("accept", ""))
    return Response(encode(REGISTRY), headers={"content-type": content_type})
