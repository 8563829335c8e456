"""``configure``: settings, registry, tracer provider and observers, all at once."""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from threading import Thread
from typing import Any

import pytest
from docket import Docket, Worker
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry, Counter

import taskctx
from taskctx._runtime import current_settings, use_runtime
from taskctx.operations import Event, Operation
from tests.secrets import MARKER


class Watcher:
    """Keeps the names of the operations it sees."""

    def __init__(self) -> None:
        self.ended: list[str] = []
        self.events: list[Event] = []

    def on_start(self, operation: Operation) -> None: ...

    def on_end(self, operation: Operation, state: Any) -> None:
        self.ended.append(type(operation).__name__)

    def on_event(self, event: Event) -> None:
        self.events.append(event)


def families(registry: CollectorRegistry) -> set[str]:
    return {family.name for family in registry.collect() if family.name.startswith("taskctx_")}


def test_configure_answers_with_the_settings_in_force() -> None:
    """``configure`` returns the settings that are in force after it."""
    settings = taskctx.configure(registry=CollectorRegistry(), pending_ttl=60)
    assert settings.pending_ttl == 60
    assert current_settings() is settings


def test_configure_replaces_everything() -> None:
    """Nothing of an earlier call stays: not its settings, its registry, its provider or its observers."""
    first, second = CollectorRegistry(), CollectorRegistry()
    exporter, watcher, provider = InMemorySpanExporter(), Watcher(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    taskctx.configure(
        registry=first, tracer_provider=provider, observers=[watcher], docket_names=["orders"], pending_ttl=60
    )
    taskctx.TaskContextSnapshot.capture()
    assert [span.name for span in exporter.get_finished_spans()] == ["taskctx.capture"]
    assert watcher.ended == ["Capture"]
    assert families(first)

    taskctx.configure(registry=second)
    taskctx.TaskContextSnapshot.capture()
    assert current_settings().pending_ttl == 86_400
    assert families(first) == set()
    assert families(second)
    assert len(exporter.get_finished_spans()) == 1
    assert watcher.ended == ["Capture"]
    labels = {"docket_name": "orders", "outcome": "ok"}
    assert second.get_sample_value("taskctx_restores_total", labels) is None


def test_a_registry_can_be_used_again() -> None:
    """The metrics of the first call made room for those of the second."""
    registry = CollectorRegistry()
    taskctx.configure(registry=registry)
    taskctx.TaskContextSnapshot.capture()
    taskctx.configure(registry=registry)
    labels = {"docket_name": "", "field": "token", "result": "absent"}
    assert registry.get_sample_value("taskctx_capture_fields_total", labels) is None


def test_dockets_named_have_their_series_at_zero() -> None:
    """Before this process uses them."""
    registry = CollectorRegistry()
    taskctx.configure(registry=registry, docket_names=["orders", "mail"])
    for name in ("orders", "mail"):
        labels = {"docket_name": name, "outcome": "ok"}
        assert registry.get_sample_value("taskctx_restores_total", labels) == 0


def test_a_wrong_setting_changes_nothing(registry: CollectorRegistry) -> None:
    """What was in force stays in force."""
    settings = taskctx.configure(registry=registry, pending_ttl=60)
    other = CollectorRegistry()
    with pytest.raises(taskctx.ConfigurationError, match=r"^trace_mode: "):
        taskctx.configure(registry=other, trace_mode="neither")  # type: ignore[arg-type]
    assert current_settings() is settings
    assert families(registry)
    assert not families(other)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "registry": ({"registry": MARKER}, "registry must be a prometheus_client.CollectorRegistry, not str"),
    "no registry": ({"registry": None}, "registry must be a prometheus_client.CollectorRegistry, not NoneType"),
    "provider": ({"tracer_provider": 5}, "tracer_provider must be an opentelemetry.trace.TracerProvider, not int"),
    "observers": ({"observers": 5}, "observers must be a sequence of observers, not int"),
    "an observer": ({"observers": [MARKER]}, "an observer needs the methods .*; str has not all of them"),
    "an observer's class": ({"observers": [Watcher]}, "observers must hold an observer in place of its class, Watcher"),
}


@pytest.mark.parametrize(("arguments", "message"), WRONG.values(), ids=WRONG)
def test_a_wrong_argument_is_named_and_changes_nothing(arguments: dict[str, Any], message: str) -> None:
    """It is not quoted either."""
    registry = CollectorRegistry()
    configure: Any = taskctx.configure
    settings = configure(registry=registry, pending_ttl=60)
    with pytest.raises(taskctx.InvalidType, match=f"^{message}") as refused:
        configure(**arguments)
    assert MARKER not in str(refused.value)
    assert current_settings() is settings
    assert families(registry)


def test_switches() -> None:
    """``metrics=False`` counts nothing; ``tracing=False`` makes no spans."""
    registry, exporter, provider = CollectorRegistry(), InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    taskctx.configure(registry=registry, tracer_provider=provider, metrics=False, tracing=False)
    taskctx.TaskContextSnapshot.capture()
    assert families(registry) == set()
    assert exporter.get_finished_spans() == ()


async def test_a_registry_that_has_our_names_already_is_left_as_it_was(
    docket: Docket, worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    """Tasks run all the same; a warning says that nothing is counted and what to do."""
    registry = CollectorRegistry()
    Counter("taskctx_saves_total", "Somebody else's.", registry=registry)
    with caplog.at_level(logging.WARNING, "taskctx"):
        taskctx.configure(registry=registry)
    (record,) = caplog.records
    assert "taskctx counts nothing in this process" in record.message
    assert families(registry) == {"taskctx_saves"}

    seen: list[str | None] = []

    async def report() -> None:
        seen.append(taskctx.get_request_id())

    with taskctx.bind_caller(request_id="request-1"):
        await taskctx.add(docket, report)()
    await worker.run_until_finished()
    assert seen == ["request-1"]
    assert registry.get_sample_value("taskctx_saves_total") == 0


def test_observers_of_ones_own_stand_beside_ours() -> None:
    """They see what ours see."""
    registry, watcher = CollectorRegistry(), Watcher()
    taskctx.configure(registry=registry, observers=[watcher])
    taskctx.TaskContextSnapshot.capture()
    session = Watcher()
    taskctx.register_task_session("session-1", session)
    assert watcher.ended == ["Capture"]
    assert [type(event).__name__ for event in watcher.events] == ["RegistrySize"]
    labels = {"docket_name": "", "field": "token", "result": "absent"}
    assert registry.get_sample_value("taskctx_capture_fields_total", labels) == 1


def test_a_first_use_in_another_thread_does_not_replace_a_configuration() -> None:
    """One that began before the configuration was in force."""
    use_runtime(None)
    first_use = Thread(target=current_settings)

    def waits() -> bool:
        frame = sys._current_frames().get(first_use.ident or 0)  # pyright: ignore[reportPrivateUsage]
        return frame is not None and frame.f_globals["__name__"] in ("taskctx._runtime", "taskctx._configure")

    class Registry(CollectorRegistry):
        """Is given metrics while ``configure`` is at work."""

        def register(self, collector: Any) -> None:
            super().register(collector)
            first_use.start()
            while first_use.is_alive() and not waits():
                time.sleep(0)

    settings = taskctx.configure(registry=Registry(), pending_ttl=60)
    first_use.join()
    assert current_settings() is settings


LATE = """
import taskctx
from prometheus_client import REGISTRY

labels = {"outcome": "ok"}
try:
    taskctx.TaskContextSnapshot.capture()
except taskctx.ConfigurationError as error:
    print(error)
taskctx.configure(pending_ttl=60)
taskctx.TaskContextSnapshot.capture()
print(REGISTRY.get_sample_value("taskctx_snapshot_ttl_seconds"))
"""


def test_a_wrong_environment_does_not_stop_an_import() -> None:
    """The program may be about to configure otherwise; if it does not, the first use says what is wrong."""
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", LATE],
        env={"TASKCTX_PENDING_TTL": "soon", "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.stderr == ""
    error, ttl = ran.stdout.splitlines()
    assert error.startswith("TASKCTX_PENDING_TTL: ")
    assert "soon" not in error
    assert ttl == "60.0"
