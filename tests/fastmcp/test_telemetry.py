"""Spans, series and lookups are those of any other task."""

from __future__ import annotations

from uuid import uuid4

import pytest
from fastmcp import Client
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry
from prometheus_client.samples import Sample

import taskctx
from taskctx.fastmcp._upstream import docket_of
from tests.fastmcp.conftest import Service, serving
from tests.fastmcp.installed import LINE, run_tool
from tests.fastmcp.server import make_server
from tests.helpers import wait_until


def named(exporter: InMemorySpanExporter, name: str) -> ReadableSpan:
    (span,) = [span for span in exporter.get_finished_spans() if span.name == name]
    return span


def trace_of(span: ReadableSpan) -> int:
    assert span.context is not None
    return span.context.trace_id


def links(span: ReadableSpan) -> set[int]:
    return {link.context.span_id for link in span.links}


async def test_the_tools_task_is_linked_to_its_call(service: Service, span_exporter: InMemorySpanExporter) -> None:
    """Restore links to the save, which is of the client's trace, and Docket's own span has one link into it."""
    await service.run()

    save, restore = named(span_exporter, "taskctx.save"), named(span_exporter, "taskctx.restore")
    assert save.context is not None
    calls = [span for span in span_exporter.get_finished_spans() if span.name.startswith("tools/call")]
    assert {trace_of(span) for span in calls} == {trace_of(save)} == {trace_of(named(span_exporter, "taskctx.capture"))}
    assert save.context.span_id in links(restore)
    assert [link.context.trace_id for link in named(span_exporter, "tool:see@").links] == [trace_of(save)]
    assert restore.attributes is not None
    assert restore.attributes["docket.task"] == "tool:see@"


async def test_the_tools_body_runs_inside_the_calls_trace(
    service: Service, span_exporter: InMemorySpanExporter
) -> None:
    """With ``trace_mode=parent`` the body's span is in the trace of the call."""
    taskctx.configure(registry=CollectorRegistry(), trace_mode="parent")
    seen = await service.run()

    save, process = named(span_exporter, "taskctx.save"), named(span_exporter, "process tool:see@")
    assert process.parent is not None
    assert process.parent.span_id == save.context.span_id  # type: ignore[union-attr]
    assert int(seen["trace"], 16) == trace_of(save)


async def test_series(service: Service, registry: CollectorRegistry) -> None:
    """One capture, one save, one restore, with age, size and TTL."""
    await service.run()

    def value(series: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"taskctx_{series}", {"docket_name": service.docket.name, **labels})

    assert value("captures_total", outcome="ok") == 1
    assert value("saves_total", outcome="ok") == 1
    assert value("restores_total", outcome="ok") == 1
    assert value("trace_contexts_total", result="continued") == 1
    assert value("snapshot_age_seconds_count") == value("snapshot_size_bytes_count") == 1
    assert value("snapshot_ttl_remaining_ratio_bucket", le="0.9") == 0
    assert registry.get_sample_value("taskctx_registry_entries", {"registry": "server"}) == 1
    for part in ("token", "headers", "session_id", "request_id", "trace", "baggage"):
        assert value("capture_fields_total", field=part, result="captured") == 1


async def test_the_servers_worker_has_every_series_at_0(backend_url: str, registry: CollectorRegistry) -> None:
    """As it starts, with the names of its tools."""
    async with serving(make_server(backend_url, f"test-{uuid4()}")) as service:
        assert service.docket
        samples: list[Sample] = [sample for family in registry.collect() for sample in family.samples]
        tasks = {
            sample.labels["docket_task"]: sample.value
            for sample in samples
            if sample.name == "taskctx_task_restore_failures_total"
        }
        assert tasks["tool:see@"] == 0


async def test_the_servers_own_worker_restores(backend_url: str, registry: CollectorRegistry) -> None:
    """The one that FastMCP starts with the server; a lookup of the server is counted."""
    async with serving(make_server(backend_url, f"test-{uuid4()}")) as service:
        async with service.client() as client:
            assert (await run_tool(client, "whose_server")).data == [service.mcp.name] * 2
        assert registry.get_sample_value("taskctx_registry_lookups_total", {"registry": "server", "result": "hit"})


async def test_without_http_there_is_no_token(backend_url: str, registry: CollectorRegistry) -> None:
    """A client in the server's own process is anonymous, and is restored as that."""
    mcp = make_server(backend_url, f"test-{uuid4()}")
    async with Client(mcp) as client:
        seen = (await run_tool(client, "see")).data
        assert (seen["token"], seen["scope"], seen["same_token"], seen["headers"]) == (None, None, True, True)
        docket = docket_of(mcp)
        assert docket is not None
    restored = {"docket_name": docket.name, "outcome": "ok"}
    await wait_until(lambda: registry.get_sample_value("taskctx_restores_total", restored) == 1)


@pytest.mark.parametrize("metrics", [True, False])
async def test_telemetry_can_be_off(service: Service, metrics: bool) -> None:
    """The task is none the wiser."""
    taskctx.configure(registry=CollectorRegistry(), metrics=metrics, tracing=False)
    assert (await service.run())["tenant"] == "acme"


async def test_a_line_about_a_submission_names_its_task(
    service: Service, registry: CollectorRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    """By the tool, and by the id where FastMCP does not say which tool it is; a field has the id."""
    taskctx.configure(registry=registry, max_snapshot_bytes=256)
    task = await service.submit()

    (record,) = [record for record in caplog.records if record.name == "taskctx"]
    assert f"task={task.task_id if LINE == 3 else 'see'})" in record.getMessage()
    assert record.__dict__["taskctx.task_id"] == task.task_id
