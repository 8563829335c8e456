"""``opentelemetry-instrument python server.py``: the entry point, found and loaded as OpenTelemetry does it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.conftest import BACKEND
from tests.fastmcp.installed import only_4, theirs
from tests.helpers import run_well

pytestmark = pytest.mark.skipif(BACKEND != "memory", reason="has no backend: once is enough")

PROGRAM = f"import {theirs.__name__} as context; print(context.restore_task_snapshot.__module__)"


@pytest.mark.parametrize(
    ("disabled", "whose"), [("", "taskctx.fastmcp._restoration"), ("taskctx_fastmcp", theirs.__name__)]
)
def test_opentelemetry_instrument_needs_no_call(disabled: str, whose: str) -> None:
    """Before the program's first line, unless it is switched off as any other instrumentation."""
    command = [Path(sys.executable).with_name("opentelemetry-instrument"), sys.executable, "-c", PROGRAM]
    environment = {"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": disabled, "OTEL_TRACES_EXPORTER": "none"}
    done = run_well(command, env=os.environ | environment, timeout=120)

    assert done.stdout.splitlines()[-1:] == [whose], done.stderr


OTHERS = """
from fastapi import FastAPI
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
print(FastAPIInstrumentor().is_instrumented_by_opentelemetry)
"""


@only_4
def test_a_fastmcp_that_is_not_known_costs_no_other_instrumentation(tmp_path: Path) -> None:
    """It is left as it is, and one line says so; what the user has beside it is instrumented."""
    # one whose tasks have none of the names that taskctx knows
    (tmp_path / "fastmcp_tasks").mkdir()
    (tmp_path / "fastmcp_tasks/__init__.py").touch()
    command = [Path(sys.executable).with_name("opentelemetry-instrument"), sys.executable, "-c", OTHERS]
    environment = {"PYTHONPATH": str(tmp_path), "OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none"}
    done = run_well(command, env=os.environ | environment, timeout=120)

    assert done.stdout.splitlines()[-1:] == ["True"], done.stderr
    assert "FastMCP is not instrumented by taskctx: " in done.stderr
    assert "Traceback" not in done.stderr
