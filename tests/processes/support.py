"""Starting and watching real processes."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from docket import Docket
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from taskctx.cli.processes import Process, Processes
from tests.secrets import MARKER, secret

ROOT = Path(__file__).parents[2]
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"


Start = Callable[..., Process]


class Starter(Processes):
    """Starts programs in the repository, and stops those that still run when its block ends."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, cwd=ROOT)

    def __call__(
        self, command: Sequence[str], *, name: str = "", cwd: Path | None = None, **environment: str
    ) -> Process:
        return self.start(command, {"PYTHONPATH": str(ROOT)} | environment, name=name, cwd=cwd)

    def stop(self) -> None:
        super().stop()
        assert not [each.name for each in self.started if MARKER in each.output], "a secret leaked into a log"


def start_worker(
    start: Start,
    docket: Docket,
    *options: str,
    dependencies: str = "taskctx:worker_dependencies",
    **environment: str,
) -> Process:
    """``docket worker``, as one starts it."""
    command = [sys.executable, "-m", "docket", "worker", "--docket", docket.name, "--url", docket.url]
    command += ["--tasks", "tests.processes.tasks:collection", "--dependencies", dependencies]
    return start([*command, "--logging-level", "DEBUG", *options], **environment)


def caller(name: str = "ada") -> dict[str, Any]:
    """A request and its caller, as JSON."""
    return {
        "token": {
            "token": secret(f"token-{name}"),
            "client_id": name,
            "scopes": ["reports"],
            "expires_at": None,
            "resource": None,
            "claims": {"sub": "me"},
        },
        "headers": {"X-Tenant": secret(f"header-{name}"), "Authorization": secret("bearer")},
        "request_id": f"request-{name}",
        "session_id": secret(f"session-{name}"),
        "locale": f"locale-{name}",
        "trace": {"traceparent": f"00-{TRACE_ID}-b7ad6b7169203331-01", "baggage": f"tenant={secret(name)}"},
    }


def sight_of(caller: dict[str, Any], task_id: str) -> dict[str, Any]:
    """What a task of this caller's must see."""
    return {
        "task_id": task_id,
        "scope": f"{caller['token']['client_id']}|me",
        "token": caller["token"],
        "headers": {"x-tenant": caller["headers"]["X-Tenant"]},
        "request_id": caller["request_id"],
        "session_id": caller["session_id"],
        "tenant": caller["trace"]["baggage"].removeprefix("tenant="),
        "locale": caller["locale"],
        "traces": [TRACE_ID],
    }


NOBODYS_SIGHT: dict[str, Any] = {
    "scope": None,
    "token": None,
    "headers": {},
    "request_id": None,
    "session_id": None,
    "tenant": None,
    "locale": None,
}


def submit(
    docket: Docket,
    task: str,
    *,
    caller: dict[str, Any],
    key: str | None = None,
    delay: float = 0.0,
    dies: bool = False,
) -> subprocess.CompletedProcess[str]:
    """Add a task from a process of its own."""
    request = {"docket": docket.name, "url": docket.url, "task": task, "key": key, "delay": delay, "dies": dies}
    done = subprocess.run(
        [sys.executable, "-m", "tests.processes.submit"],
        cwd=ROOT,
        input=json.dumps(request | {"caller": caller}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert MARKER not in done.stdout + done.stderr, "a secret leaked into a process's output"
    assert dies or done.returncode == 0, done.stderr
    return done


async def reports(docket: Docket) -> list[dict[str, Any]]:
    """What tasks told so far, in order."""
    async with docket.redis() as redis:
        return [json.loads(text) for text in await redis.lrange(docket.key("reports"), 0, -1)]


def scrape(port: int) -> dict[str, Metric]:
    """The ``taskctx_*`` families at a metrics endpoint; none while it does not answer."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            text = answer.read().decode()
    except OSError:
        return {}
    assert MARKER not in text, "a secret leaked into the metrics"
    found = {family.name: family for family in text_string_to_metric_families(text)}
    # the text format shows the time at which a series was made as a family of its own
    return {n: f for n, f in found.items() if n.startswith("taskctx_") and not n.endswith("_created")}


def value(families: dict[str, Metric], sample: str, **labels: str) -> float | None:
    """The value of a sample with (at least) these labels."""
    for family in families.values():
        for each in family.samples:
            if each.name == sample and labels.items() <= each.labels.items():
                return each.value
    return None
