"""``make compose-check``: README's fault, from the first lost context to the last message at the webhook."""

from __future__ import annotations

import pytest

from taskctx.telemetry.names import RESTORES
from tests.compose.stack import Stack
from tests.stack.prometheus import Prometheus

pytestmark = pytest.mark.compose

ALERT = "TaskCtxRestoreErrorBudgetBurn"
SOON, LATER = 420, 900
"""Seconds within which it fires, and within which it is over: the fault lasts 240 of them."""


def test_a_fault_is_told_and_its_end_too(stack: Stack) -> None:
    """Two minutes of load, contexts lost for four: the critical alert fires at the webhook, and resolves there."""
    stack.up("--force-recreate", "load")
    with stack.client("PROMETHEUS_PORT") as client:
        busy = f'sum(increase({RESTORES.name}{{outcome="ok"}}[2m])) > 300'
        stack.until(lambda: Prometheus(client).query(busy), 400, "there is load", lambda: stack.said("load"))
    before = len(stack.said("alert-log"))

    def told(status: str) -> bool:
        lines = stack.said("alert-log")[before:].splitlines()
        return any(line.startswith(f"{status} {ALERT} ") and "severity=critical" in line for line in lines)

    stack.done("--profile", "fault", "up", "--detach", "fault")
    stack.until(lambda: told("FIRING"), SOON, "the alert fires", lambda: stack.said("alert-log"))
    stack.until(lambda: told("RESOLVED"), LATER, "the alert resolves", lambda: stack.said("alert-log"))
    assert "removed" in stack.said("fault")
