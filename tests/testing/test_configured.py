"""taskctx configured for a block: what is not given stays, and afterwards all is as before."""

from __future__ import annotations

from collections.abc import Generator
from itertools import permutations
from typing import Any

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry

import taskctx
from taskctx._runtime import current_settings, runtime, use_runtime
from taskctx.operations import Event, Operation
from taskctx.testing import RecordedMetrics, configured, recorded_metrics
from taskctx.testing.spans import recorded_spans


@pytest.fixture(autouse=True)
def put_back(registry: CollectorRegistry) -> Generator[None]:
    """Whatever a test here does."""
    before = runtime()
    yield
    assert runtime() is before


def capture() -> None:
    taskctx.TaskContextSnapshot.capture()


def test_settings_of_a_block() -> None:
    """Those of the block around it stay."""
    with configured(pending_ttl=7) as outer:
        assert current_settings() is outer
        with configured(on_restore_failure="fail"):
            assert (current_settings().pending_ttl, current_settings().on_restore_failure) == (7, "fail")
        assert (current_settings().pending_ttl, current_settings().on_restore_failure) == (7, "continue")


def test_the_environment_and_configure_count_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = CollectorRegistry()
    monkeypatch.setenv("TASKCTX_COMPLETED_TTL", "11")
    before = runtime()
    taskctx.configure(pending_ttl=7, registry=registry)
    with configured(max_snapshot_bytes=512):
        assert (current_settings().pending_ttl, current_settings().completed_ttl) == (7, 11)
        capture()
    assert RecordedMetrics(registry).value("taskctx_captures_total") == 1
    with configured():
        taskctx.configure(pending_ttl=8, registry=CollectorRegistry())
    assert current_settings().pending_ttl == 7
    use_runtime(before)


def test_a_registry_that_has_the_metrics_already() -> None:
    """Such as that of an earlier block: the error says what to give."""
    registry, before = CollectorRegistry(), runtime()
    with configured(registry=registry):
        pass
    with pytest.raises(taskctx.InvalidArgument, match="CollectorRegistry"), configured(registry=registry):
        pytest.fail("it was taken")
    assert runtime() is before


@pytest.mark.parametrize(
    "wrong", [{"registry": 5}, {"tracer_provider": 5}, {"observers": [5]}, {"refresh_token": capture}]
)
def test_a_wrong_argument_changes_nothing(wrong: dict[str, Any]) -> None:
    with pytest.raises(taskctx.InvalidType, match=f"^({next(iter(wrong))}|an observer) "), configured(**wrong):
        pytest.fail("it was taken")


def test_a_bad_setting_changes_nothing() -> None:
    with pytest.raises(taskctx.ConfigurationError, match="pending_ttl"), configured(pending_ttl=0):
        pytest.fail("it was taken")


def test_metrics_of_a_block(registry: CollectorRegistry) -> None:
    """Counted there, and nowhere else; the ones from before go on afterwards."""
    with recorded_metrics() as metrics:
        capture()
        assert metrics.value("taskctx_captures_total") == 1
        assert metrics.value("taskctx_captures_total", outcome="ok", docket_name="") == 1
        assert metrics.value("taskctx_captures_total", outcome="failed") == 0
        assert metrics.value("taskctx_capture_duration_seconds_count") == 1
        assert metrics.value("taskctx_capture_duration_seconds_sum") > 0
        assert metrics.value("taskctx_restores_total", outcome="ok") == 0
    assert RecordedMetrics(registry).value("taskctx_captures_total") == 0
    capture()
    assert RecordedMetrics(registry).value("taskctx_captures_total") == 1


@pytest.mark.parametrize(
    ("name", "labels", "said"),
    [
        ("taskctx_capture_total", {}, "no metric taskctx_capture_total"),
        ("python_info", {}, "no metric"),
        ("taskctx_captures_total", {"result": "ok"}, "no label result"),
    ],
)
def test_a_misspelt_metric_is_not_zero(name: str, labels: dict[str, str], said: str) -> None:
    with recorded_metrics() as metrics:
        capture()
        with pytest.raises(taskctx.InvalidArgument, match=said):
            metrics.value(name, **labels)


def test_spans_of_a_block(span_exporter: InMemorySpanExporter) -> None:
    """Recorded there, and nowhere else; with metrics in either order."""
    with recorded_spans() as spans, recorded_metrics() as metrics, spans.provider.get_tracer("t").start_span("mine"):
        capture()
        assert metrics.value("taskctx_captures_total") == 1
        assert [span.name for span in spans.named("taskctx.capture")] == ["taskctx.capture"]
    assert [span.name for span in spans.finished] == ["taskctx.capture", "mine"]
    assert span_exporter.get_finished_spans() == ()
    capture()
    assert [span.name for span in span_exporter.get_finished_spans()] == ["taskctx.capture"]


def test_a_fixture_switches_on_what_it_records() -> None:
    """``configured`` can switch metrics and spans off, and the recorders switch them on again."""
    with configured(metrics=False, tracing=False):
        assert not {"PrometheusObserver", "TracingObserver"} & {
            type(each).__name__ for each in runtime().observers.observers
        }
        with recorded_metrics() as metrics, recorded_spans() as spans:
            capture()
        assert metrics.value("taskctx_captures_total") == len(spans.finished) == 1


def test_more_observers() -> None:
    """The block's own observers see the operations of the block."""
    names: list[str] = []

    class Watcher:
        def on_start(self, operation: Operation) -> None: ...

        def on_end(self, operation: Operation, state: None) -> None:
            names.append(type(operation).__name__)

        def on_event(self, event: Event) -> None: ...

    with configured(observers=[Watcher()]):
        capture()
    capture()
    assert names == ["Capture"]


def test_blocks_end_in_any_order() -> None:
    """As those of tests at the same time, or of a fixture of a module that a test asks for in its body."""
    before = runtime()
    for order in permutations(range(3)):
        blocks = [configured(pending_ttl=10), configured(completed_ttl=20), configured(pending_ttl=30)]
        for block in blocks:
            block.__enter__()
        open_blocks = [0, 1, 2]
        for number in order:
            blocks[number].__exit__(None, None, None)
            open_blocks.remove(number)
            if 2 in open_blocks:
                assert current_settings().pending_ttl == 30
            if 1 in open_blocks:
                assert current_settings().completed_ttl == 20
        assert runtime() is before
