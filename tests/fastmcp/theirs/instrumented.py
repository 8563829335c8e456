"""A pytest plugin for FastMCP's own tests: ``instrument()`` is active in them, and at the end it has been at work.

In a folder of its own, because its name must not be below ``tests``: FastMCP's tests are a package of that name too.
"""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry

import taskctx
from taskctx.fastmcp import instrument
from taskctx.fastmcp._upstream import line

REGISTRY = CollectorRegistry()

taskctx.configure(registry=REGISTRY)
instrument()
INSTRUMENTED = line.context.restore_task_snapshot


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Whatever passed without us says nothing: contexts were captured, saved and restored by ours."""
    assert line.context.restore_task_snapshot is INSTRUMENTED, "instrument() was undone"
    counted = {sample.name: sample.value for family in REGISTRY.collect() for sample in family.samples if sample.value}
    for operation in ("captures", "saves", "restores"):
        assert f"taskctx_{operation}_total" in counted, f"no {operation} of FastMCP's were ours"
