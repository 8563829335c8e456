"""The API: order a report, ask how it stands, fetch it.

uvicorn --factory examples.fastapi_service.app:create_app
"""

from __future__ import annotations

import asyncio
import logging
import os
import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from docket import Docket
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request, Response, status
from fastapi.responses import JSONResponse, PlainTextResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from fastapi.telemetry import TelemetryConfig
from prometheus_client import (
    REGISTRY,
    CollectorRegistry,
    make_asgi_app,  # pyright: ignore[reportUnknownVariableType] - it has no return type
)
from prometheus_client.multiprocess import MultiProcessCollector
from pydantic import BaseModel, Field
from redis.exceptions import RedisError
from starlette.types import ASGIApp

import taskctx
from taskctx.asgi import TaskContextMiddleware

from . import auth, logs, tasks, tracing
from .settings import ApiSettings
from .store import Kind, Report, Reports, Status

DIGEST_DELAY = timedelta(seconds=5)
"""How far ahead a digest is scheduled that names no time."""

TELEMETRY: TelemetryConfig = {
    "operation_spans": False,
    "exclude": lambda scope: scope["path"].startswith(("/health", "/metrics")),
}
"""FastAPI makes a span for each request, inside the caller's trace, once a tracer provider is set."""

logger = logging.getLogger(__name__)
router = APIRouter()


def create_app(settings: ApiSettings | None = None) -> FastAPI:
    settings = settings or ApiSettings()
    logs.set_up()
    tracing.set_up("reports-api")
    app = FastAPI(title="Reports", lifespan=_lifespan, telemetry=TELEMETRY)
    app.state.settings = settings
    app.state.docket = Docket(name=settings.docket_name, url=settings.docket_url)
    app.include_router(router)
    app.mount("/metrics", _metrics())
    app.add_middleware(TaskContextMiddleware)
    for unavailable in (taskctx.CaptureError, taskctx.SaveError, taskctx.ScheduleError, RedisError, TimeoutError):
        app.add_exception_handler(unavailable, _unavailable)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncGenerator[None]:
    docket: Docket = app.state.docket
    async with docket:
        # Every API process asks for it and one is scheduled: the key is the same.  The service needs no bearer token to
        # be itself, so nothing in this identity expires.
        itself = taskctx.AccessToken(token="", client_id="reports-service")
        with taskctx.bind_caller(access_token=itself):
            await taskctx.add(docket, tasks.clean_up, key="clean-up")()
        yield


def _docket(request: Request) -> Docket:
    return request.app.state.docket


def _reports(request: Request) -> Reports:
    return Reports(request.app.state.docket)


def _authenticated(
    request: Request,
    response: Response,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(HTTPBearer(auto_error=False))],
) -> taskctx.AccessToken:
    """Name the caller of the request: the client to which the token was issued."""
    settings: ApiSettings = request.app.state.settings
    token = auth.verify(settings.signing_key.get_secret_value(), credentials.credentials) if credentials else None
    if token is None:
        raise HTTPException(status.HTTP_401_UNAUTHORIZED, headers={"WWW-Authenticate": "Bearer"})
    request_id = taskctx.get_request_id() or uuid.uuid4().hex
    response.headers["X-Request-ID"] = request_id
    taskctx.identify(access_token=token, request_id=request_id)
    return token


Caller = Annotated[taskctx.AccessToken, Depends(_authenticated)]
OpenDocket = Annotated[Docket, Depends(_docket)]
AllReports = Annotated[Reports, Depends(_reports)]


class Order(BaseModel):
    """What is asked for.  ``due_in`` is seconds; no longer than a token lives."""

    kind: Kind
    due_in: float | None = Field(default=None, ge=0, le=auth.LIFETIME)

    @property
    def due(self) -> datetime | None:
        if self.due_in is not None:
            return datetime.now(UTC) + timedelta(seconds=self.due_in)
        return datetime.now(UTC) + DIGEST_DELAY if self.kind is Kind.DIGEST else None


class Receipt(BaseModel):
    """A report without its content."""

    id: str
    kind: Kind
    status: Status

    @classmethod
    def of(cls, report: Report) -> Receipt:
        return cls(id=report.id, kind=report.kind, status=report.status)


@router.post("/reports", status_code=status.HTTP_202_ACCEPTED)
async def order(_: Caller, docket: OpenDocket, reports: AllReports, order: Order, response: Response) -> Receipt:
    scope, report_id = _scope(), uuid.uuid4().hex
    # first the report, then the task: a worker may be quicker than this handler
    report = await reports.create(scope, report_id, order.kind)
    try:
        await taskctx.add(docket, tasks.MAKERS[order.kind], when=order.due, key=report_id)()
    except BaseException:
        await reports.remove(scope, report_id)
        raise
    logger.info("report is ordered")
    response.headers["Location"] = f"/reports/{report_id}"
    return Receipt.of(report)


@router.get("/reports/{report_id}")
async def look(_: Caller, reports: AllReports, report_id: str) -> Receipt:
    return Receipt.of(await _own(reports, report_id))


@router.get("/reports/{report_id}/content")
async def download(_: Caller, reports: AllReports, report_id: str) -> PlainTextResponse:
    report = await _own(reports, report_id)
    if report.status is not Status.READY:
        raise HTTPException(status.HTTP_409_CONFLICT, f"the report is {report.status}")
    disposition = f'attachment; filename="{report.kind}.txt"'
    return PlainTextResponse(report.content, headers={"Content-Disposition": disposition})


@router.get("/internal/account")
async def account(token: Caller) -> dict[str, Any]:
    """Another service's, by rights: it is given the caller's token, and so answers for the caller."""
    claims = token.claims or {}
    return {"subject": claims.get("sub"), "client": token.client_id, "request_id": taskctx.get_request_id()}


@router.get("/health")
async def health(docket: OpenDocket) -> dict[str, str]:
    """Whether reports can be ordered now."""
    async with asyncio.timeout(2), docket.redis() as redis:
        await redis.exists(docket.key("health"))
    return {"status": "ok"}


async def _own(reports: Reports, report_id: str) -> Report:
    """The caller's report with this id; another caller's report is not found."""
    report = await reports.get(_scope(), report_id)
    if report is None:
        raise HTTPException(status.HTTP_404_NOT_FOUND, "no such report")
    return report


def _scope() -> str:
    scope = taskctx.get_task_scope()
    if scope is None:
        raise HTTPException(status.HTTP_401_UNAUTHORIZED)
    return scope


def _metrics() -> ASGIApp:
    """``GET /metrics``, of several processes together too.  Keep it from the public, as your proxy can."""
    registry = REGISTRY
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)
    return make_asgi_app(registry)  # pyright: ignore[reportUnknownVariableType] - it has no return type


async def _unavailable(_request: Request, _error: Exception) -> JSONResponse:
    """Redis does not answer: nothing was scheduled, and the caller may try again."""
    content = {"detail": "temporarily unavailable"}
    return JSONResponse(content, status.HTTP_503_SERVICE_UNAVAILABLE, headers={"Retry-After": "5"})
