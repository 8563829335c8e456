"""Processes that count together, some of which are gone: their counters stay, and their gauges do not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from taskctx.cli.processes import free_port
from tests.conftest import BACKEND
from tests.helpers import wait_until
from tests.processes.support import ROOT, Starter, scrape

pytestmark = pytest.mark.skipif(BACKEND != "valkey", reason="nothing of it is a backend's: once is enough")

REGISTERED = "import sys, taskctx; taskctx.configure(); print(flush=True); sys.stdin.read()"
"""A process that has gauges, for as long as its stdin is open."""


@pytest.fixture
def counted(tmp_path: Path) -> Path:
    """Where processes count together."""
    counted = tmp_path / "counted"
    counted.mkdir()
    return counted


def files_of(counted: Path, kind: str) -> set[int]:
    """The processes that have a file of this kind."""
    pids = [path.stem.rpartition("_")[2] for path in counted.glob(f"{kind}_*.db")]
    return {int(pid) for pid in pids if pid.isdecimal()}


def capacity(port: int) -> float | None:
    """The capacity of all living processes' session registries; None while the endpoint does not answer."""
    family = scrape(port).get("taskctx_registry_capacity")
    samples = [] if family is None else family.samples
    return next((sample.value for sample in samples if sample.labels["registry"] == "session"), None)


async def test_a_worker_of_uvicorns_that_was_killed_leaves_no_gauge(start: Starter, counted: Path) -> None:
    """The one that takes its place clears its gauges away, and is not counted beside it."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "tests.processes.metrics_app:app"]
    server = start([*command, "--workers", "2", "--port", str(port)], PROMETHEUS_MULTIPROC_DIR=str(counted))
    await server.ready(lambda: capacity(port) == 20_000)
    before = files_of(counted, "gauge_livesum")
    assert len(before) == 2
    killed = min(before)

    os.kill(killed, signal.SIGKILL)
    await server.ready(lambda: files_of(counted, "gauge_livesum") - before)
    await wait_until(lambda: capacity(port) == 20_000)

    living = files_of(counted, "gauge_livesum")
    assert killed not in living
    assert len(living) == 2
    assert files_of(counted, "gauge_livemax") == living
    assert files_of(counted, "counter") == {*living, killed}


@pytest.mark.parametrize("variable", ["PROMETHEUS_MULTIPROC_DIR", "prometheus_multiproc_dir"])
def test_living_processes_keep_their_gauges(counted: Path, variable: str) -> None:
    """So do gauges that are to outlive their process, and what is no process's file; several may clear at once."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), variable: str(counted)}

    def started() -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", REGISTERED]
        return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ready(process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        assert process.stdout.readline()

    living, *dead = several = [started() for _ in range(4)]
    for process in several:
        ready(process)
    for process in dead:
        process.communicate()
    kept = counted / f"gauge_all_{dead[0].pid}.db"
    foreign = counted / "gauge_livesum_of-nobody.db"
    for path in (kept, foreign):
        path.touch()

    starting = [started() for _ in range(4)]
    try:
        for process in starting:
            ready(process)
        pids = {process.pid for process in (living, *starting)}
        assert files_of(counted, "gauge_livesum") == files_of(counted, "gauge_livemax") == pids
        assert files_of(counted, "counter") == pids | {process.pid for process in dead}
        assert kept.exists()
        assert foreign.exists()
    finally:
        for process in (living, *starting):
            process.communicate()
    assert [process.returncode for process in (*several, *starting)] == [0] * 8
