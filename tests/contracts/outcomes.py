"""What became of tasks and their contexts, as everybody can see it: results, metrics, spans and log lines."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

from typing import Any

import pytest
from docket import Docket
from docket.execution import Execution
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry

from tests.conftest import make_worker
from tests.helpers import BYSTANDER


async def work(docket: Docket, **options: Any) -> None:
    """Run a worker among a bystander's context until nothing is left to do."""
    with BYSTANDER.bound():
        async with make_worker(docket, **options) as worker:
            await worker.run_until_finished()


async def failure_of(execution: Execution) -> ExceptionGroup[Exception]:
    """What Docket stored of a failed task, as its submitter gets it."""
    await execution.sync()
    with pytest.raises(ExceptionGroup) as caught:
        await execution.get_result()
    return caught.value


def restores(registry: CollectorRegistry, docket: Docket) -> dict[str, float]:
    """Counted restores by outcome, those that happened."""
    return counted(registry, "taskctx_restores_total", "outcome", docket_name=docket.name)


def failures(registry: CollectorRegistry, docket: Docket) -> dict[str, float]:
    return counted(registry, "taskctx_restore_failures_total", "reason", docket_name=docket.name)


def counted(registry: CollectorRegistry, name: str, by: str, **labels: str) -> dict[str, float]:
    samples = [sample for family in registry.collect() for sample in family.samples if sample.name == name]
    ours = [sample for sample in samples if labels.items() <= sample.labels.items()]
    return {sample.labels[by]: sample.value for sample in ours if sample.value}


def restore_span(exporter: InMemorySpanExporter) -> ReadableSpan:
    [span] = [span for span in exporter.get_finished_spans() if span.name == "taskctx.restore"]
    return span


def our_lines(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str, str]]:
    """Level, reason and text of what taskctx logged."""
    records = [record for record in caplog.records if record.name == "taskctx"]
    return [(record.levelname, record.__dict__["error.type"], record.getMessage()) for record in records]
