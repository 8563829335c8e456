"""The exposition is byte for byte that of prometheus_client's own classes, in both ways to count."""
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

import subprocess
import sys
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import cast

import prometheus_client
import pytest
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.registry import Collector

from taskctx.errors import Reason
from taskctx.operations import (
    FIELDS,
    Capture,
    DocketSeen,
    Event,
    FieldResult,
    Operation,
    Outcome,
    RegistryEviction,
    RegistryLookup,
    RegistrySize,
    Restore,
    Run,
    Save,
)
from taskctx.settings import load_settings
from taskctx.telemetry.metrics import PrometheusObserver
from taskctx.telemetry.names import METRICS, Metric
from tests.contracts.outcomes import counted

ABSENT, CAPTURED = frozenset({FieldResult.ABSENT}), frozenset({FieldResult.CAPTURED})
IN_PART = frozenset({FieldResult.CAPTURED, FieldResult.DROPPED})
ALL = dict.fromkeys(FIELDS, CAPTURED)
SOME = dict(
    zip(FIELDS, [ABSENT, IN_PART, CAPTURED, ABSENT, CAPTURED, frozenset({FieldResult.DROPPED}), ABSENT], strict=True)
)

SAMPLED, UNSAMPLED = TraceFlags(1), TraceFlags(0)
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

SCRIPT: list[tuple[TraceFlags | None, Operation | Event]] = [
    (None, DocketSeen("orders", ("report", "bill"))),
    (None, Capture(docket_name="orders", fields=ALL, credential_ttl=3600.5, duration=0.00012)),
    (SAMPLED, Capture(docket_name="orders", outcome=Outcome.PARTIAL, fields=SOME, credential_ttl=-5, duration=0.1)),
    (SAMPLED, Capture(docket_name='a "quoted" \\ name\n', fields=ALL)),
    (None, Capture(docket_name="orders", outcome=Outcome.FAILED, reason=Reason.INTERNAL)),
    (SAMPLED, Save(docket_name="orders", sizes=[256, 257, 2_000_000], count=3, duration=0.0005)),
    (SAMPLED, Save(docket_name="orders", outcome=Outcome.FAILED, reason=Reason.TOO_LARGE, duration=7)),
    (UNSAMPLED, Save(docket_name="orders", outcome=Outcome.SKIPPED, duration=0.3)),
    (SAMPLED, Restore(docket_name="orders", outcome=Outcome.SKIPPED)),
    (
        SAMPLED,
        Restore(
            docket_name="orders",
            docket_task="report",
            outcome=Outcome.DEGRADED,
            reason=Reason.MALFORMED,
            age=1e-7,
            ttl=3,
            ttl_remaining=1,
            credential_ttl=-1.0,
            schema_version=1,
            origin={"traceparent": TRACEPARENT},
            duration=1 / 3,
        ),
    ),
    (None, Restore(docket_name="orders", docket_task="unknown", outcome=Outcome.FAILED, reason=Reason.MISSING)),
    (UNSAMPLED, Restore(docket_name="late", age=1e9, ttl=0, ttl_remaining=0, schema_version=1, duration=0.1 + 0.2)),
    (None, DocketSeen("late", ("report", "mail"))),
    (SAMPLED, Restore(docket_name="late", age=0.1, schema_version=1, origin={"traceparent": "nonsense"})),
    (SAMPLED, Save(docket_name="orders", sizes=[300], sealed_with="k1", duration=0.01)),
    (SAMPLED, Save(docket_name="orders", sizes=[300, 400], sealed_with="k1", count=3, duration=0.01)),
    (SAMPLED, Restore(docket_name="late", is_sealed=True, key_id="k0", age=0.1, schema_version=1, duration=0.01)),
    (
        SAMPLED,
        Restore(docket_name="late", is_sealed=True, outcome=Outcome.FAILED, reason=Reason.DECRYPT_UNKNOWN_KEY),
    ),
    (None, RegistryLookup("session", "dead")),
    (None, RegistryEviction("server", "capacity", 7)),
    (None, RegistrySize("server", 3, 10)),
    (SAMPLED, Run(docket_name="orders", docket_task="report", attempt=1)),
]

KEYS = f"k1:{b64encode(bytes(32)).decode()},k0:{b64encode(bytes([1] * 32)).decode()}"


class Clock:
    """Seconds since 1970, that go on when told: those who ask between two operations get the same."""

    def __init__(self) -> None:
        self.now = 1_790_000_000.123456

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "time", clock)
    return clock


def play(registry: CollectorRegistry, clock: Clock, *, several_processes: bool) -> PrometheusObserver:
    """Count the script, twice over."""
    clock.now = 1_790_000_000.123456
    settings = load_settings(encryption_keys=KEYS)
    observer = PrometheusObserver(settings, registry, several_processes=several_processes)
    for number, (flags, happened) in enumerate([*SCRIPT, *SCRIPT], 1):
        clock.now += 1.5
        with nullcontext() if flags is None else trace.use_span(span(number, flags)):
            if isinstance(happened, Operation):
                if observer.wants(type(happened)):
                    observer.on_end(happened, None)
            else:
                observer.on_event(happened)
    return observer


def span(number: int, flags: TraceFlags) -> NonRecordingSpan:
    return NonRecordingSpan(SpanContext(0xABC, number, is_remote=False, trace_flags=flags))


Render = Callable[[Collector], bytes]
RENDERED: dict[str, Render] = {
    "text": generate_latest,
    "openmetrics": generate_openmetrics,
}


@pytest.fixture(params=[True, False], ids=["with _created", "without _created"])
def created(request: pytest.FixtureRequest) -> Generator[bool]:
    """As PROMETHEUS_DISABLE_CREATED_SERIES decides at import."""
    if not request.param:
        prometheus_client.disable_created_metrics()
    yield request.param
    prometheus_client.enable_created_metrics()


@pytest.mark.parametrize("render", RENDERED.values(), ids=RENDERED)
def test_the_same_bytes(render: Render, clock: Clock, created: bool) -> None:
    """Families, samples and labels in the same order, the same text, numbers and exemplars."""
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    play(theirs, clock, several_processes=True)
    play(ours, clock, several_processes=False)
    expected = render(theirs)
    assert (b"_created" in expected) == created
    assert (f'trace_id="{0xABC:032x}"'.encode() in expected) == (render is not generate_latest)
    assert render(ours).decode() == expected.decode()
    assert [*ours.collect()] == [*theirs.collect()]


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_the_same_bytes_of_one_metric(metric: Metric, clock: Clock) -> None:
    """``?name[]=`` of a scrape."""
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    play(theirs, clock, several_processes=True)
    play(ours, clock, several_processes=False)
    for name in (metric.name, f"{metric.name}_bucket", f"{metric.name.removesuffix('_total')}_created"):
        expected: bytes = generate_openmetrics(theirs.restricted_registry([name]))
        assert generate_openmetrics(ours.restricted_registry([name])) == expected
        assert name != metric.name or metric.kind == "histogram" or len(expected.splitlines()) > 3


# ---- names that are taken ----

CLASHING: list[Callable[[CollectorRegistry], object]] = [
    lambda registry: Counter("taskctx_saves", "", registry=registry),
    lambda registry: Gauge("taskctx_saves_created", "", registry=registry),
    lambda registry: Gauge("taskctx_save_duration_seconds_bucket", "", registry=registry),
    lambda registry: Histogram("taskctx_build_info", "", registry=registry),
]


@pytest.mark.parametrize("make", CLASHING)
def test_a_name_that_is_ours_is_refused(make: Callable[[CollectorRegistry], object]) -> None:
    """Until our metrics are gone."""
    registry = CollectorRegistry()
    observer = PrometheusObserver(load_settings(), registry)
    with pytest.raises(ValueError, match="Duplicated timeseries"):
        make(registry)
    observer.close()
    make(registry)


@pytest.mark.parametrize("several_processes", [False, True])
@pytest.mark.parametrize("make", CLASHING)
def test_a_name_that_is_taken_leaves_the_registry_as_it_was(
    make: Callable[[CollectorRegistry], object], several_processes: bool
) -> None:
    """None of our metrics is there."""
    registry = CollectorRegistry()
    make(registry)
    before = generate_latest(registry)
    with pytest.raises(ValueError, match="Duplicated timeseries"):
        PrometheusObserver(load_settings(), registry, several_processes=several_processes)
    assert generate_latest(registry) == before


# ---- threads ----


def fields(registry: CollectorRegistry, field: str, result: str) -> float:
    """Of all dockets together."""
    by_docket = counted(registry, "taskctx_capture_fields_total", "docket_name", field=field, result=result)
    return sum(by_docket.values())


def test_threads_lose_no_count_while_others_read() -> None:
    """Eight count, two read: sums are exact, and none that was read goes down."""
    registry = CollectorRegistry()
    observer = PrometheusObserver(load_settings(), registry)
    counting = threading.Event()
    counting.set()

    def count(thread: int) -> None:
        for number in range(500):
            docket_name = f"docket_{number % 10}"
            observer.on_end(Capture(docket_name=docket_name, fields=(ALL, SOME)[number % 2], duration=1), None)
            observer.on_end(Save(docket_name=docket_name, count=2, sizes=[1_000, 2_000], duration=0.25), None)
            restore = Restore(docket_name=docket_name, is_sealed=True, age=0.5, schema_version=1, duration=0.5)
            observer.on_end(restore, None)
            observer.on_event(RegistryLookup("session", "hit"))

    def read() -> None:
        last: dict[str, float] = {}
        while counting.is_set():
            for family in registry.collect():
                for sample in family.samples:
                    series = f"{sample.name} {sample.labels}"
                    assert sample.value >= last.get(series, 0)
                    last[series] = sample.value

    with ThreadPoolExecutor(10) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        try:
            list(pool.map(count, range(8)))
        finally:
            counting.clear()
        for reader in readers:
            reader.result()

    value = registry.get_sample_value
    for docket_name in (f"docket_{number}" for number in range(10)):
        assert value("taskctx_captures_total", {"docket_name": docket_name, "outcome": "ok"}) == 400
        assert value("taskctx_restores_total", {"docket_name": docket_name, "outcome": "ok"}) == 400
        of = {"docket_name": docket_name}
        assert value("taskctx_capture_duration_seconds_sum", of) == 400
        assert value("taskctx_saves_total", of | {"outcome": "ok"}) == 800
        assert value("taskctx_save_duration_seconds_sum", of) == 100
        assert value("taskctx_snapshot_size_bytes_sum", of) == 1_200_000
        assert value("taskctx_snapshot_size_bytes_count", of) == 800
        assert value("taskctx_snapshot_age_seconds_bucket", of | {"le": "0.5"}) == 400
    assert fields(registry, "token", "captured") == 2_000
    assert fields(registry, "headers", "captured") == 4_000
    assert fields(registry, "headers", "dropped") == 2_000
    assert value("taskctx_registry_lookups_total", {"registry": "session", "result": "hit"}) == 4_000
    opened = {"operation": "open", "key_id": "unknown", "outcome": "ok"}
    assert value("taskctx_crypto_operations_total", opened) == 4_000


def test_a_finalizer_counts_while_its_thread_is_counting() -> None:
    """As garbage is collected anywhere: here while a histogram looks for a value's bucket."""
    registry = CollectorRegistry()
    observer = PrometheusObserver(load_settings(), registry)

    class Value(float):
        def __gt__(self, other: object) -> bool:
            observer.on_event(RegistryEviction("session", "dead"))
            return super().__gt__(cast("float", other))

    observer.on_end(Save(docket_name="orders", duration=Value(0.1)), None)
    evicted = registry.get_sample_value("taskctx_registry_evictions_total", {"registry": "session", "cause": "dead"})
    assert evicted is not None
    assert evicted > 0
    assert registry.get_sample_value("taskctx_save_duration_seconds_sum", {"docket_name": "orders"}) == 0.1


FORKING = """
import os, signal, threading
from prometheus_client import CollectorRegistry
from taskctx.operations import Capture, Save
from taskctx.settings import load_settings
from taskctx.telemetry.metrics import PrometheusObserver

observer = PrometheusObserver(load_settings(), CollectorRegistry())
is_counting, is_forking = threading.Event(), threading.Event()


class Value(float):
    def __gt__(self, other):
        is_counting.set()
        is_forking.wait()
        return super().__gt__(other)


counting = threading.Thread(target=observer.on_end, args=(Save(docket_name="orders", duration=Value(0.1)), None))
counting.start()
is_counting.wait()
os.register_at_fork(before=is_forking.set)
child = os.fork()
if not child:
    signal.alarm(20)
    observer.on_end(Capture(docket_name="orders"), None)
    os._exit(0)
_, status = os.waitpid(child, 0)
counting.join()
observer.on_end(Capture(docket_name="orders"), None)
print(os.waitstatus_to_exitcode(status))
"""


def test_a_process_that_is_forked_while_another_thread_counts_can_count() -> None:
    """Both the child and its parent can count after the fork."""
    ran = subprocess.run([sys.executable, "-W", "ignore", "-c", FORKING], capture_output=True, text=True, check=False)
    assert (ran.stdout, ran.stderr) == ("0\n", "")
