"""Prometheus metrics: what exists, what starts at 0, and what counts where."""
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

import base64
import itertools
import json
import re
import subprocess
import sys
import textwrap
import time
from contextlib import suppress
from contextvars import ContextVar
from pathlib import Path

import docket as docket_package
import pytest
from docket import Docket, Worker
from docket.dependencies import current_docket
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.exposition import generate_latest

import taskctx
from taskctx._caller.carried import stop_carrying
from taskctx._configure import make_observers
from taskctx._snapshot.codec import SealingCodec
from taskctx.errors import Reason
from taskctx.operations import Restore
from taskctx.settings import load_settings
from taskctx.settings.keyring import Keyring
from taskctx.telemetry.metrics import PrometheusObserver
from taskctx.telemetry.names import METRICS
from taskctx.telemetry.observe import docket_seen, observe
from tests import secrets
from tests.telemetry import families

REASONS = {reason.value for reason in Reason}
REGISTRIES = {"session", "server"}
Labels = dict[str, set[str]]

COUNTERS: dict[str, Labels] = {
    "taskctx_captures_total": {"docket_name": {"orders"}, "outcome": {"ok", "partial", "empty", "failed"}},
    "taskctx_anonymous_submissions_total": {"docket_name": {"orders"}, "meant": {"yes", "no"}},
    "taskctx_capture_fields_total": {
        "docket_name": {"orders"},
        "field": {"token", "headers", "session_id", "request_id", "trace", "baggage", "carried"},
        "result": {"captured", "absent", "dropped"},
    },
    "taskctx_saves_total": {"docket_name": {"orders"}, "outcome": {"ok", "skipped", "failed"}},
    "taskctx_save_failures_total": {"docket_name": {"orders"}, "reason": REASONS},
    "taskctx_schedule_failures_total": {
        "docket_name": {"orders"},
        "reason": {"backend_timeout", "backend_error", "malformed", "docket"},
    },
    "taskctx_commands_refused_total": {"docket_name": {"orders"}, "command": {"TIME", "TTL"}},
    "taskctx_restores_total": {"docket_name": {"orders"}, "outcome": {"ok", "degraded", "failed", "skipped"}},
    "taskctx_restore_failures_total": {"docket_name": {"orders"}, "reason": REASONS},
    "taskctx_task_restore_failures_total": {"docket_name": {"orders"}, "docket_task": {"report", "_other"}},
    "taskctx_unrestored_reads_total": {"docket_name": {"orders"}},
    "taskctx_sweeps_total": {"docket_name": {"orders"}, "outcome": {"ok", "failed"}},
    "taskctx_swept_snapshots_total": {"docket_name": {"orders"}},
    "taskctx_registry_lookups_total": {"registry": REGISTRIES, "result": {"hit", "miss", "dead"}},
    "taskctx_registry_evictions_total": {"registry": REGISTRIES, "cause": {"dead", "capacity", "removed"}},
    # seals and opens by key appear with the keyring; only what no key can open is there without one
    "taskctx_crypto_operations_total": {"operation": {"open"}, "key_id": {"unknown"}, "outcome": {"failed"}},
    "taskctx_inherited_contexts_total": {},
    "taskctx_trace_contexts_total": {
        "docket_name": {"orders"},
        "result": {"continued", "unsampled", "absent", "invalid"},
    },
}
LATENCY = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5]
CREDENTIAL_LIFE: list[float] = [0, 30, 60, 300, 900, 1800, 3600, 4 * 3600, 86400]
HISTOGRAMS: dict[str, tuple[Labels, list[float]]] = {
    "taskctx_capture_duration_seconds": (
        {"docket_name": {"orders"}},
        [0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025],
    ),
    "taskctx_save_duration_seconds": ({"docket_name": {"orders"}}, LATENCY),
    "taskctx_restore_duration_seconds": ({"docket_name": {"orders"}}, LATENCY),
    "taskctx_snapshot_size_bytes": ({"docket_name": {"orders"}}, [256, 1024, 4096, 16384, 65536, 262144, 1048576]),
    "taskctx_snapshot_age_seconds": (
        {"docket_name": {"orders"}},
        [0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 3 * 3600, 12 * 3600, 86400, 3 * 86400, 7 * 86400],
    ),
    "taskctx_snapshot_ttl_remaining_ratio": (
        {"docket_name": {"orders"}},
        [0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1],
    ),
    "taskctx_credential_ttl_remaining_seconds": ({"docket_name": {"orders"}}, CREDENTIAL_LIFE),
    "taskctx_credential_ttl_at_capture_seconds": ({"docket_name": {"orders"}}, CREDENTIAL_LIFE),
}
GAUGES: dict[str, dict[tuple[str, ...], float]] = {
    "taskctx_snapshot_size_limit_bytes": {(): 65536},
    "taskctx_snapshot_ttl_seconds": {(): 86400},
    "taskctx_registry_entries": {("session",): 0, ("server",): 0},
    "taskctx_registry_capacity": {("session",): 10000, ("server",): 10000},
    "taskctx_encryption_key_info": {},
    "taskctx_snapshot_schema_version": {("write",): 1, ("read_min",): 1, ("read_max",): 1},
    "taskctx_build_info": {
        (taskctx.__version__, ".".join(map(str, sys.version_info[:3])), docket_package.__version__): 1
    },
}
GAUGE_LABELS = {
    "taskctx_snapshot_size_limit_bytes": (),
    "taskctx_snapshot_ttl_seconds": (),
    "taskctx_registry_entries": ("registry",),
    "taskctx_registry_capacity": ("registry",),
    "taskctx_encryption_key_info": ("key_id", "role"),
    "taskctx_snapshot_schema_version": ("bound",),
    "taskctx_build_info": ("version", "python_version", "docket_version"),
}


@pytest.fixture
def fresh() -> CollectorRegistry:
    """A registry that nothing has been counted in yet; one docket and one task are known."""
    registry = CollectorRegistry()
    taskctx.configure(registry=registry)
    docket_seen("orders", ("report",))
    return registry


def product(labels: Labels) -> set[frozenset[tuple[str, str]]]:
    """Every combination of the labels' values."""
    return {
        frozenset(zip(labels, values, strict=True)) for values in itertools.product(*(labels[name] for name in labels))
    }


def test_there_are_these_families_and_no_others(fresh: CollectorRegistry) -> None:
    """Each of its kind; and ``names.METRICS`` lists them all."""
    found = {name: family.type for name, family in families(fresh).items()}
    expected = (
        dict.fromkeys(COUNTERS, "counter") | dict.fromkeys(HISTOGRAMS, "histogram") | dict.fromkeys(GAUGES, "gauge")
    )
    assert found == expected
    assert {metric.name: metric.kind for metric in METRICS} == expected
    described = {metric.name: metric.description for metric in METRICS}
    assert {name: family.documentation for name, family in families(fresh).items()} == described


@pytest.mark.parametrize("name", COUNTERS)
def test_every_counter_starts_at_zero(name: str, fresh: CollectorRegistry) -> None:
    """In every label set it can have, because ``increase()`` misses a series that is born at 1."""
    samples = [sample for sample in families(fresh)[name].samples if sample.name == name]
    assert {frozenset(sample.labels.items()) for sample in samples} == product(COUNTERS[name])
    assert {sample.value for sample in samples} == {0}


@pytest.mark.parametrize("name", HISTOGRAMS)
def test_every_histogram_starts_at_zero(name: str, fresh: CollectorRegistry) -> None:
    """Every histogram has its buckets from the start, the last one without an upper bound."""
    labels, buckets = HISTOGRAMS[name]
    samples = [sample for sample in families(fresh)[name].samples if not sample.name.endswith("_created")]
    assert {sample.value for sample in samples} == {0}
    counts = [sample for sample in samples if sample.name == f"{name}_count"]
    assert {frozenset(sample.labels.items()) for sample in counts} == product(labels)
    bounds = [float(sample.labels["le"]) for sample in samples if sample.name == f"{name}_bucket"]
    assert bounds == [*buckets, float("inf")]


@pytest.mark.parametrize("name", GAUGES)
def test_every_gauge_has_its_value(name: str, fresh: CollectorRegistry) -> None:
    """Settings, versions, and registries that are empty."""
    samples = families(fresh)[name].samples
    assert {tuple(sample.labels) for sample in samples} <= {GAUGE_LABELS[name]}
    assert {metric.labels for metric in METRICS if metric.name == name} == {GAUGE_LABELS[name]}
    assert {tuple(sample.labels.values()): sample.value for sample in samples} == GAUGES[name]


def test_gauges_show_the_settings() -> None:
    """Those in force."""
    registry = CollectorRegistry()
    taskctx.configure(
        registry=registry, max_snapshot_bytes=1024, pending_ttl=60, session_registry_size=5, server_registry_size=6
    )
    assert registry.get_sample_value("taskctx_snapshot_size_limit_bytes") == 1024
    assert registry.get_sample_value("taskctx_snapshot_ttl_seconds") == 60
    assert registry.get_sample_value("taskctx_registry_capacity", {"registry": "session"}) == 5
    assert registry.get_sample_value("taskctx_registry_capacity", {"registry": "server"}) == 6


async def test_a_worker_that_starts_has_its_tasks_at_zero(
    docket: Docket, worker: Worker, registry: CollectorRegistry
) -> None:
    """Before the first task of each is submitted or run."""

    async def report() -> None: ...

    docket.register(report)
    await worker.run_until_finished()
    assert (
        registry.get_sample_value(
            "taskctx_task_restore_failures_total", {"docket_name": docket.name, "docket_task": "report"}
        )
        == 0
    )
    labels = {"docket_name": docket.name, "outcome": "ok"}
    assert registry.get_sample_value("taskctx_restores_total", labels) == 0
    assert registry.get_sample_value("taskctx_captures_total", labels) == 0


async def test_what_a_task_counts(docket: Docket, worker: Worker, registry: CollectorRegistry) -> None:
    """One capture, one save, one restore, and what was in it."""

    async def report() -> None: ...

    with (
        trace.get_tracer("test").start_as_current_span("request"),
        taskctx.bind_caller(
            access_token=secrets.token(expires_at=4_000_000_000), headers=secrets.headers(), request_id="request-1"
        ),
    ):
        await taskctx.add(docket, report)()
    await worker.run_until_finished()

    value = registry.get_sample_value
    ok = {"docket_name": docket.name, "outcome": "ok"}
    assert value("taskctx_captures_total", ok) == value("taskctx_restores_total", ok) == 1
    assert value("taskctx_saves_total", {"docket_name": docket.name, "outcome": "ok"}) == 1
    captured = {
        (sample.labels["field"], sample.labels["result"])
        for sample in families(registry)["taskctx_capture_fields_total"].samples
        if sample.name.endswith("_total") and sample.value
    }
    assert captured == {
        ("token", "captured"),
        ("headers", "captured"),
        ("headers", "dropped"),
        ("session_id", "absent"),
        ("request_id", "captured"),
        ("trace", "captured"),
        ("baggage", "absent"),
        ("carried", "absent"),
    }
    for name in HISTOGRAMS:
        assert value(f"{name}_count", {"docket_name": docket.name}) == 1, name
    assert value("taskctx_snapshot_ttl_remaining_ratio_bucket", {"docket_name": docket.name, "le": "1.0"}) == 1
    assert value("taskctx_snapshot_ttl_remaining_ratio_bucket", {"docket_name": docket.name, "le": "0.9"}) == 0
    assert value("taskctx_snapshot_age_seconds_bucket", {"docket_name": docket.name, "le": "60.0"}) == 1
    assert value("taskctx_credential_ttl_remaining_seconds_bucket", {"docket_name": docket.name, "le": "86400.0"}) == 0
    assert value("taskctx_trace_contexts_total", {"docket_name": docket.name, "result": "continued"}) == 1


@pytest.mark.parametrize(
    ("headers", "token", "outcome"),
    [({}, None, "empty"), ({"Cookie": "a=1"}, None, "partial"), ({"X-Tenant": "acme", "Cookie": "a=1"}, None, "ok")],
)
def test_the_outcome_of_a_capture(
    headers: dict[str, str], token: object, outcome: str, registry: CollectorRegistry
) -> None:
    """Empty where there is nothing; partial where nothing came along of what there was."""
    taskctx.configure(registry=registry, tracing=False)
    with taskctx.bind_caller(headers=headers, access_token=token):
        taskctx.TaskContextSnapshot.capture()
    assert registry.get_sample_value("taskctx_captures_total", {"docket_name": "", "outcome": outcome}) == 1


@pytest.mark.parametrize(
    ("expires_in", "counted", "over"),
    [(None, 0, 0), (3600, 1, 0), (-60, 1, 1)],
    ids=["without an end", "before its end", "over"],
)
def test_the_life_of_a_token_at_capture(
    expires_in: int | None, counted: float, over: float, registry: CollectorRegistry
) -> None:
    """Of each token that has an end, 0 for one that is over; it is captured all the same."""
    token = secrets.token(expires_at=None if expires_in is None else int(time.time()) + expires_in)
    with taskctx.bind_caller(access_token=token):
        snapshot = taskctx.TaskContextSnapshot.capture()
    assert snapshot.access_token_json == token.model_dump_json()
    value, name = registry.get_sample_value, "taskctx_credential_ttl_at_capture_seconds"
    none = {"docket_name": ""}
    assert (value(f"{name}_count", none) or 0) == counted
    assert (value(f"{name}_bucket", none | {"le": "0.0"}) or 0) == over
    assert (value(f"{name}_bucket", none | {"le": "3600.0"}) or 0) == counted
    assert (value(f"{name}_sum", none) or 0) == (0 if over else pytest.approx(3600 * counted, abs=60))


def test_a_caller_without_a_token_has_no_life_to_count(registry: CollectorRegistry) -> None:
    """The life of a token is counted neither for an anonymous caller nor for a failed capture."""
    docket_seen("", ())
    taskctx.TaskContextSnapshot.capture()
    not_json: ContextVar[object] = ContextVar("not_json")
    taskctx.carry(not_json, name="not_json", type=object)
    changed = not_json.set(object())
    try:
        with (
            taskctx.bind_caller(access_token=secrets.token(expires_at=4_000_000_000)),
            pytest.raises(taskctx.CaptureError),
        ):
            taskctx.TaskContextSnapshot.capture()
    finally:
        not_json.reset(changed)
        stop_carrying("not_json")
    assert registry.get_sample_value("taskctx_credential_ttl_at_capture_seconds_count", {"docket_name": ""}) == 0


async def test_a_batch_is_one_capture(docket: Docket, registry: CollectorRegistry) -> None:
    """The life of its caller's token is counted once."""

    async def report() -> None: ...

    docket.register(report)
    with taskctx.bind_caller(access_token=secrets.token(expires_at=4_000_000_000)):
        await taskctx.add_many(docket, [docket.call(report)() for _ in range(3)])
    assert (
        registry.get_sample_value("taskctx_credential_ttl_at_capture_seconds_count", {"docket_name": docket.name}) == 1
    )
    assert registry.get_sample_value("taskctx_saves_total", {"docket_name": docket.name, "outcome": "ok"}) == 3


async def test_a_lost_context_counts_by_reason_and_task(
    docket: Docket, worker: Worker, registry: CollectorRegistry
) -> None:
    """A task added with one of our keys, but without us."""

    async def report() -> None: ...

    await docket.add(report, key=taskctx.build_task_key(None, "monthly", "task", "report"))()
    await docket.add(report, key="not ours")()
    await worker.run_until_finished()

    value = registry.get_sample_value
    assert value("taskctx_restores_total", {"docket_name": docket.name, "outcome": "failed"}) == 1
    assert value("taskctx_restores_total", {"docket_name": docket.name, "outcome": "skipped"}) == 1
    assert value("taskctx_restore_failures_total", {"docket_name": docket.name, "reason": "missing"}) == 1
    assert value("taskctx_task_restore_failures_total", {"docket_name": docket.name, "docket_task": "report"}) == 1
    assert value("taskctx_restore_duration_seconds_count", {"docket_name": docket.name}) == 1
    assert value("taskctx_trace_contexts_total", {"docket_name": docket.name, "result": "absent"}) == 0


async def test_what_came_over_the_wire_is_no_label(docket: Docket, worker: Worker, registry: CollectorRegistry) -> None:
    """A task name that this worker's docket does not know is counted with the others."""
    with observe(Restore(docket_name=docket.name, docket_task="from the wire")) as operation:
        operation.failed(Reason.MALFORMED)
    value = registry.get_sample_value
    assert value("taskctx_task_restore_failures_total", {"docket_name": docket.name, "docket_task": "_other"}) == 1
    assert (
        value("taskctx_task_restore_failures_total", {"docket_name": docket.name, "docket_task": "from the wire"})
        is None
    )


def test_a_hundred_tasks_have_a_series_of_their_own(registry: CollectorRegistry) -> None:
    """The rest are counted together."""
    tasks = [f"task_{number}" for number in range(105)]
    docket_seen("orders", tasks)
    docket_seen("mail", ["one_more"])
    for task in tasks:
        with observe(Restore(docket_name="orders", docket_task=task)) as operation:
            operation.failed(Reason.MISSING)
    family = families(registry)["taskctx_task_restore_failures_total"]
    counted = {
        (sample.labels["docket_name"], sample.labels["docket_task"]): sample.value
        for sample in family.samples
        if sample.name.endswith("_total")
    }
    first = dict.fromkeys((("orders", task) for task in tasks[:100]), 1)
    assert counted == first | {("orders", "_other"): 5, ("mail", "_other"): 0}


# ---- exemplars ----

EXEMPLAR = re.compile(r"^(taskctx_\w+?)(?:\{.*?\})? \S+ # \{(.*?)\} ", re.MULTILINE)


def exemplars(registry: CollectorRegistry) -> dict[str, str]:
    """Over OpenMetrics, the only way they appear: labels by sample name."""
    return dict(EXEMPLAR.findall(generate_latest(registry).decode()))


async def submit_and_run(docket: Docket, worker: Worker) -> None:
    async def report() -> None: ...

    with taskctx.bind_caller(access_token=secrets.token(expires_at=4_000_000_000)):
        await taskctx.add(docket, report)()
    await docket.add(report, key=taskctx.build_task_key(None, "lost", "task", "report"))()
    await worker.run_until_finished()


async def test_a_sampled_span_is_an_exemplar(docket: Docket, worker: Worker, registry: CollectorRegistry) -> None:
    """On saves, restores and failures, not on captures; short enough for OpenMetrics."""
    await submit_and_run(docket, worker)
    found = exemplars(registry)
    assert found.keys() >= {
        "taskctx_saves_total",
        "taskctx_save_duration_seconds_bucket",
        "taskctx_restores_total",
        "taskctx_restore_failures_total",
        "taskctx_task_restore_failures_total",
        "taskctx_restore_duration_seconds_bucket",
    }
    assert not [name for name in found if "capture" in name]
    for labels in found.values():
        pairs = sorted(re.findall(r'(\w+)="([0-9a-f]+)"', labels))
        assert [(name, len(text)) for name, text in pairs] == [("span_id", 16), ("trace_id", 32)]
        assert sum(len(name) + len(text) for name, text in pairs) <= 128


async def test_a_span_that_is_not_sampled_is_no_exemplar(docket: Docket, worker: Worker) -> None:
    """There would be no trace to look at; all is counted all the same."""
    registry = CollectorRegistry()
    taskctx.configure(registry=registry, tracer_provider=TracerProvider(sampler=ALWAYS_OFF))
    await submit_and_run(docket, worker)
    assert exemplars(registry) == {}
    assert registry.get_sample_value("taskctx_saves_total", {"docket_name": docket.name, "outcome": "ok"}) == 1


async def test_without_tracing_there_are_no_exemplars(docket: Docket) -> None:
    """Where no span is current."""
    registry = CollectorRegistry()
    taskctx.configure(registry=registry, tracing=False)
    await taskctx.TaskContextSnapshot.capture().save(docket, None, "t-1", 60)
    assert exemplars(registry) == {}


@pytest.mark.parametrize(
    ("traceparent", "result"),
    [
        ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "continued"),
        ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03", "continued"),
        ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00", "unsampled"),
        ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-02", "unsampled"),
        ("nonsense", "invalid"),
        (None, "absent"),
    ],
)
async def test_what_a_restored_trace_context_was_worth(
    traceparent: str | None, result: str, docket: Docket, worker: Worker
) -> None:
    """Continuity of traces, counted."""
    registry = CollectorRegistry()
    taskctx.configure(registry=registry, tracing=False)

    async def report() -> None: ...

    carrier = {} if traceparent is None else {"traceparent": traceparent}
    await taskctx.TaskContextSnapshot(trace_context=carrier).save(docket, None, "monthly", 60)
    await docket.add(report, key=taskctx.build_task_key(None, "monthly", "task", "report"))()
    await worker.run_until_finished()
    family = families(registry)["taskctx_trace_contexts_total"]
    counted = {sample.labels["result"] for sample in family.samples if sample.name.endswith("_total") and sample.value}
    assert counted == {result}


# ---- seals and opens ----

NEW, OLD, FOREIGN = bytes(range(32)), b"o" * 32, b"f" * 32
MONTHLY = taskctx.build_task_key(None, "monthly", "task", "report")
JSON = b'{"session_id": "session-1"}'


def sealed(key: str, **keys: bytes) -> bytes:
    return SealingCodec(Keyring(keys), accept_plaintext=False).encode(JSON, key)


async def restored(docket: Docket, key: str, value: bytes) -> None:
    """Restore what is stored there, if it can be opened."""
    async with docket.redis() as redis:
        await redis.set(key, value, ex=60)
    token = current_docket.set(docket)
    try:
        with suppress(taskctx.RestoreError):
            await taskctx.restore_task_snapshot(MONTHLY)
    finally:
        current_docket.reset(token)


def crypto_operations(registry: CollectorRegistry) -> dict[tuple[str, str, str], float]:
    """What was counted, by operation, key id and outcome."""
    return {
        (sample.labels["operation"], sample.labels["key_id"], sample.labels["outcome"]): sample.value
        for sample in families(registry)["taskctx_crypto_operations_total"].samples
        if sample.name.endswith("_total") and sample.value
    }


def configure_with_keys(registry: CollectorRegistry) -> None:
    keys = {"new": NEW, "old": OLD}
    text = ",".join(f"{key_id}:{base64.b64encode(key).decode()}" for key_id, key in keys.items())
    taskctx.configure(registry=registry, encryption_keys=text)


async def test_seals_are_counted_by_key(docket: Docket, registry: CollectorRegistry) -> None:
    """Seals of tasks, of batches and of snapshots that are saved by hand are counted."""

    async def report() -> None: ...

    configure_with_keys(registry)
    docket.register(report)
    await taskctx.add(docket, report)()
    await taskctx.add_many(docket, [docket.call(report)() for _ in range(3)])
    assert crypto_operations(registry) == {("seal", "new", "ok"): 4}
    await taskctx.TaskContextSnapshot().save(docket, None, "monthly", 60)
    assert crypto_operations(registry) == {("seal", "new", "ok"): 5}


async def test_opens_are_counted_by_key(docket: Docket, registry: CollectorRegistry) -> None:
    """An id that is not in the keyring is counted as unknown, whatever it says."""
    configure_with_keys(registry)
    key = docket.key("taskctx:task:anon:monthly:snapshot")
    damaged = bytearray(sealed(key, new=NEW))
    damaged[-1] ^= 1
    for value in (
        sealed(key, new=NEW),
        sealed(key, old=OLD),
        bytes(damaged),
        sealed(key, foreign=FOREIGN),
        JSON,
        b"nothing of ours",
    ):
        await restored(docket, key, value)
    assert crypto_operations(registry) == {
        ("open", "new", "ok"): 1,
        ("open", "old", "ok"): 1,
        ("open", "new", "failed"): 1,
        ("open", "unknown", "failed"): 1,
    }


async def test_without_keys_a_sealed_value_is_counted(docket: Docket, registry: CollectorRegistry) -> None:
    """It counts as sealed with an unknown key."""
    key = docket.key("taskctx:task:anon:monthly:snapshot")
    await restored(docket, key, sealed(key, new=NEW))
    assert crypto_operations(registry) == {("open", "unknown", "failed"): 1}


@pytest.mark.parametrize("with_keys", [True, False], ids=["with keys", "without keys"])
@pytest.mark.parametrize("length", [4, 5, 8, 20, None], ids=lambda length: length or "a key id that is not text")
async def test_a_damaged_envelope_is_counted(
    length: int | None, with_keys: bool, docket: Docket, registry: CollectorRegistry
) -> None:
    """It counts under an unknown key, because the rest of its key id may be any text."""
    if with_keys:
        configure_with_keys(registry)
    key = docket.key("taskctx:task:anon:monthly:snapshot")
    damaged = b"TCX1\x03\xff\xfe\xfd" + bytes(40) if length is None else sealed(key, new=NEW)[:length]
    await restored(docket, key, damaged)
    assert crypto_operations(registry) == {("open", "unknown", "failed"): 1}


# ---- registries that are not ours alone ----


def test_a_registry_takes_one_observer() -> None:
    """A second one leaves the registry as it found it, whichever name is taken."""
    registry = CollectorRegistry()
    first = PrometheusObserver(load_settings(), registry)
    before = set(families(registry))
    with pytest.raises(ValueError, match="Duplicated timeseries"):
        PrometheusObserver(load_settings(), registry)
    assert set(families(registry)) == before
    first.close()
    assert families(registry) == {}
    PrometheusObserver(load_settings(), registry)
    assert set(families(registry)) == before


def test_observers_are_made_without_metrics_where_the_registry_is_taken(caplog: pytest.LogCaptureFixture) -> None:
    """With a warning that says what to do; spans and logs are there all the same."""
    registry = CollectorRegistry()
    PrometheusObserver(load_settings(), registry)
    made = make_observers(load_settings(), registry)
    assert [type(observer).__name__ for observer in made] == ["TracingObserver", "LogObserver"]
    assert "taskctx.configure(registry=...)" in caplog.text


def test_closing_twice_is_nothing() -> None:
    """A second close does nothing."""
    registry = CollectorRegistry()
    observer = PrometheusObserver(load_settings(), registry)
    observer.close()
    observer.close()
    assert families(registry) == {}


# ---- several processes ----

CHILD = """
import asyncio, sys
import docket, taskctx
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

trace.set_tracer_provider(TracerProvider())


async def report() -> None: ...


class Session: ...


async def main(tasks: int) -> None:
    session = Session()
    opened = docket.Docket(name="orders", url="memory://multiprocess")
    async with opened, docket.Worker(opened, dependencies=taskctx.worker_dependencies) as worker:
        with taskctx.bind_caller(request_id="request-1", session_id="session-1", session=session):
            for _ in range(tasks):
                await taskctx.add(opened, report)()
        await opened.add(report, key=taskctx.build_task_key(None, "lost", "task", "report"))()
        await worker.run_until_finished()
    assert taskctx.get_task_session("session-1") is session
    print("done", flush=True)
    sys.stdin.read()  # alive until its metrics were read


asyncio.run(main(int(sys.argv[1])))
"""

PARENT = """
import json, subprocess, sys
import taskctx
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

children = [
    subprocess.Popen([sys.executable, sys.argv[1], tasks], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    for tasks in ("2", "3")
]
for child in children:
    assert child.stdout.readline() == "done\\n"
registry = CollectorRegistry()
MultiProcessCollector(registry)
samples = [
    [sample.name, sample.labels, sample.value]
    for family in registry.collect()
    for sample in family.samples
    if family.name.startswith("taskctx_")
]
generate_latest(registry)
generate_openmetrics(registry)
for child in children:
    child.communicate()
    assert child.returncode == 0
print(json.dumps(samples))
"""


def test_a_directory_that_cannot_be_used_costs_the_metrics_alone(tmp_path: Path) -> None:
    """The import says so; contexts travel all the same."""
    ran = subprocess.run(
        [sys.executable, "-c", "import taskctx; print(taskctx.TaskContextSnapshot.capture().to_json() != '')"],
        env={"PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "missing"), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stdout) == (0, "True\n"), ran.stderr
    assert "PROMETHEUS_MULTIPROC_DIR cannot be used (No such file or directory)" in ran.stderr


def test_several_processes_count_together(tmp_path: Path) -> None:
    """In prometheus_client's multiprocess mode counters are summed, each gauge is there once, and no error is logged."""
    child, parent, values = tmp_path / "child.py", tmp_path / "parent.py", tmp_path / "values"
    child.write_text(textwrap.dedent(CHILD))
    parent.write_text(textwrap.dedent(PARENT))
    values.mkdir()
    ran = subprocess.run(
        [sys.executable, "-W", "error", str(parent), str(child)],
        env={"PROMETHEUS_MULTIPROC_DIR": str(values), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert "Traceback" not in ran.stderr
    assert "telemetry failed" not in ran.stderr
    samples: list[tuple[str, dict[str, str], float]] = json.loads(ran.stdout)

    def value(name: str, **labels: str) -> float:
        (found,) = [number for sample, its, number in samples if sample == name and its == labels]
        return found

    assert value("taskctx_saves_total", docket_name="orders", outcome="ok") == 5
    assert value("taskctx_restores_total", docket_name="orders", outcome="ok") == 5
    assert value("taskctx_restores_total", docket_name="orders", outcome="failed") == 2
    assert value("taskctx_restore_failures_total", docket_name="orders", reason="missing") == 2
    assert value("taskctx_task_restore_failures_total", docket_name="orders", docket_task="report") == 2
    assert value("taskctx_save_duration_seconds_count", docket_name="orders") == 5
    assert value("taskctx_registry_lookups_total", registry="session", result="hit") == 2
    # three processes: the parent has no session
    assert value("taskctx_registry_entries", registry="session") == 2
    assert value("taskctx_registry_capacity", registry="session") == 30_000
    assert value("taskctx_snapshot_size_limit_bytes") == 65_536
    assert value("taskctx_snapshot_schema_version", bound="write") == 1
    assert len([name for name, _, number in samples if name == "taskctx_build_info" and number == 1]) == 1
    assert not [labels for _, labels, _ in samples if "pid" in labels]
