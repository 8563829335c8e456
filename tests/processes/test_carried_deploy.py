"""Deploys in which submitters and workers do not agree on what they carry."""

from __future__ import annotations

import sys

import pytest
from docket import Docket

from tests.conftest import BACKEND
from tests.helpers import wait_until
from tests.processes.support import Start, reports

pytestmark = pytest.mark.skipif(BACKEND != "valkey", reason="processes need a server to meet at")


@pytest.mark.parametrize(
    ("submitter", "worker", "runs"),
    [
        ("carried", "required", True),
        ("required", "carried", True),
        ("required", "not carried", False),
        ("required", "one more field", False),
        ("not carried", "required", False),
    ],
)
async def test_a_required_value_is_there_or_the_task_does_not_run(
    docket: Docket, start: Start, *, submitter: str, worker: str, runs: bool
) -> None:
    """Carried first and required afterwards, whichever side is deployed first; else the worker says why it fails."""
    program = "tests.processes.deployed"
    submitting = start([sys.executable, "-m", program, docket.name, docket.url], VERSION=submitter)
    await wait_until(lambda: submitting.ended, timeout=60)
    command = [sys.executable, "-m", "docket", "worker", "--docket", docket.name, "--url", docket.url]
    command += ["--tasks", f"{program}:collection", "--dependencies", "taskctx:worker_dependencies", "--until-finished"]
    working = start(command, VERSION=worker, TASKCTX_ON_RESTORE_FAILURE="fail")
    await wait_until(lambda: working.ended, timeout=60)

    assert await reports(docket) == ([{"scope": "app|ada", "tenant": True}] if runs else [])
    assert ("reason=carried_required" in working.output) != runs
