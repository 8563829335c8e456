"""What the doctor makes of what it read, where a real server or a real fleet would be hard to bring into that state."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from dashboards.alerts import ALERTS
from dashboards.recording import RESTORE_P99
from taskctx._snapshot.snapshot import StoredSnapshot
from taskctx._transport.keyspace import escaped
from taskctx.cli._url import shown
from taskctx.cli.doctor.backend import check_backend
from taskctx.cli.doctor.buckets import check_buckets
from taskctx.cli.doctor.finding import Finding, Severity, not_looked, worst
from taskctx.cli.doctor.fleet import check_fleet, runbook_of
from taskctx.cli.doctor.snapshots import check_snapshots
from taskctx.cli.doctor.stored import Snapshot
from taskctx.cli.doctor.survey import DocketSurvey, Run, Survey
from taskctx.cli.doctor.tasks import check_tasks
from taskctx.cli.doctor.tracing import check_environment, check_traces
from taskctx.cli.doctor.unseen import Workers
from taskctx.cli.doctor.workers import check_workers
from taskctx.cli.operating.fleet import Process, Sample
from taskctx.cli.operating.layout import Kind, TaskRef, is_fastmcps, reader, task_of
from taskctx.cli.operating.words import duration, listed, plain, size
from taskctx.errors import Reason
from taskctx.settings import Settings
from taskctx.telemetry import names

NOW, HOUR = 1_800_000_000.0, 3600.0
ROOT = Path(__file__).parents[2]
TRACE = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
SERVER = {"redis_version": "7.4.0", "role": "master", "used_memory": 1000, "aof_enabled": 1}


def surveyed(*dockets: DocketSurvey, offset: float = 0.0) -> Survey:
    return Survey({"redis": SERVER}, "", offset, NOW, dockets, complete=True)


def bad(findings: list[Finding]) -> list[tuple[str, str]]:
    return [(each.check, each.severity.name) for each in findings if each.severity > Severity.OK]


@pytest.mark.parametrize(
    ("offset", "expected"), [(0.1, []), (-3.0, [("clock", "WARNING")]), (120.0, [("clock", "ERROR")])]
)
def test_clocks_that_differ(offset: float, expected: list[tuple[str, str]]) -> None:
    """By seconds: a warning.  By minutes: an error."""
    assert bad(list(check_backend(surveyed(offset=offset)))) == expected


def test_a_worker_whose_clock_is_ahead() -> None:
    """Its heartbeats come from the future."""
    docket = DocketSurvey("d", heartbeats={"w": NOW + 30})
    (ahead,) = [each for each in check_workers(docket, surveyed(docket)) if each.check == "clock"]
    assert ahead.what == "the clock of worker w is 30 s ahead of the server's"


@pytest.mark.parametrize(
    ("info", "save", "expected"),
    [
        ({"role": "slave"}, "", [("server", "ERROR")]),
        ({"rdb_last_bgsave_status": "err"}, "", [("server", "ERROR")]),
        ({"aof_enabled": 0}, "", [("persistence", "WARNING")]),
        ({"aof_enabled": 0}, "3600 1", []),
        ({"aof_enabled": 0}, None, []),
        ({"maxmemory": 1050}, "", [("memory", "WARNING")]),
        ({"maxmemory": 1050, "errorstat_OOM": {"count": 3}}, "", [("memory", "ERROR")]),
        ({"maxmemory": 900}, "", [("memory", "ERROR")]),
        ({"maxmemory": 900, "mem_not_counted_for_evict": 200}, "", []),
        ({"maxmemory_policy": "allkeys-lru", "maxmemory": 1050}, "", [("eviction", "ERROR")]),
    ],
)
def test_servers(info: dict[str, object], save: str | None, expected: list[tuple[str, str]]) -> None:
    """A replica, one that cannot write, one that keeps nothing, one that is nearly full."""
    survey = Survey({"redis": SERVER | info}, save, 0.0, NOW, (), complete=True)
    assert bad(list(check_backend(survey))) == expected


def snapshot(task_id: str, age: float, ttl: int = 80_000) -> Snapshot:
    return Snapshot(f"d:{task_id}", TaskRef(None, task_id), ttl, 10, record=StoredSnapshot(stored_at=NOW - age))


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (1, "1 task was added without taskctx.add, 1 of which waits: f"),
        (2, "2 tasks were added without taskctx.add, 2 of which wait: f"),
    ],
)
def test_tasks_without_a_context(count: int, expected: str) -> None:
    """They are counted, with the names of the functions; what Docket adds by itself is not among them."""
    runs = [Run(f"cleanup-{number}", None, "queued", NOW, function="f") for number in range(count)]
    docket = DocketSurvey("d", runs=[*runs, Run("automatic", None, "scheduled", NOW, function="automatic")])
    found = [each for each in check_tasks(docket, surveyed(docket), Settings(), HOUR) if each.check == "added"]
    assert [(each.severity.name, each.what) for each in found] == [("WARNING", expected)]


def test_tasks_that_failed_long_ago() -> None:
    """They are left out, and of the others it is said how long ago the last was."""
    failed = Run("anon:1:task:f", TaskRef(None, "1"), "failed", NOW, "w", ended=NOW - 600, context_failed=True)
    docket = DocketSurvey("d", runs=[failed])

    def restores(since: float) -> list[str]:
        return [
            each.what for each in check_tasks(docket, surveyed(docket), Settings(), since) if each.check == "restores"
        ]

    (what,) = restores(HOUR)
    assert what.endswith("; the last 10 min ago")
    assert restores(60) == []


@pytest.mark.parametrize("reason", Reason)
def test_a_reason_leads_to_its_runbook(reason: Reason) -> None:
    """There is such a page, and it has the reason in it."""
    page = (ROOT / "docs" / "runbooks" / f"{runbook_of(reason)}.md").read_text()
    assert reason.value in page or f"{reason.value.partition('_')[0]}_*" in page


def test_a_reason_of_a_newer_taskctx_leads_to_all_of_them() -> None:
    """The doctor may be older than the worker."""
    assert runbook_of("new_reason") == "TaskCtxRestoreErrorBudgetBurn"


def test_what_was_not_looked_at() -> None:
    """Is neither well nor bad: it is no reason for another exit code, and a program can tell."""
    skipped = not_looked("metrics", "not looked at")
    assert skipped.as_json()["severity"] == "skipped"
    assert worst([skipped]) is worst([]) is Severity.OK


def test_orphans() -> None:
    """A snapshot without a record of its task, which is neither done with nor just saved."""
    snapshots = [snapshot("left", 3600), snapshot("new", 1), snapshot("done", 3600, ttl=800), snapshot("run", 3600)]
    docket = DocketSurvey("d", snapshots, [Run("anon:run:task:f", TaskRef(None, "run"), "queued", NOW)])
    found = list(check_snapshots(docket, surveyed(docket), Settings()))
    (orphans,) = [each for each in found if each.check == "orphans"]
    assert orphans.what == "1 snapshot of tasks that Docket knows nothing of any more: d:left"


def test_traces_in_snapshots() -> None:
    """It is well if all snapshots hold a trace, or none does and no exporter is configured; all else is a warning."""

    def judged(*carriers: dict[str, str], **environment: str) -> list[tuple[str, str]]:
        records = [StoredSnapshot(trace_context=carrier) for carrier in carriers]
        docket = DocketSurvey("d", [Snapshot("k", TaskRef(None, "x"), 9, 9, record=record) for record in records])
        return bad(list(check_traces(docket, environment)))

    assert judged(TRACE, TRACE) == judged({}, {}) == judged() == []
    assert judged(TRACE, {}) == [("tracing", "WARNING")]
    assert judged({}, OTEL_EXPORTER_OTLP_ENDPOINT="http://collector:4317") == [("tracing", "WARNING")]


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, 0),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4317", "OTEL_PROPAGATORS": "tracecontext,baggage,b3"}, 0),
        ({"OTEL_SDK_DISABLED": "true", "OTEL_TRACES_SAMPLER": "always_off"}, 1),
        ({"TASKCTX_TRACING": "false"}, 1),
        ({"OTEL_PROPAGATORS": "b3"}, 1),
    ],
)
def test_tracing_in_the_environment(environment: dict[str, str], expected: int) -> None:
    """What switches it off, and what keeps it from being taken up."""
    assert len(list(check_environment(environment))) == expected


def process(instance: str, version: str = "1", *samples: Sample, write: int = 1, read_max: int = 1) -> Process:
    info = Sample(names.BUILD_INFO.name, {"version": version}, 1)
    bounds = {"write": write, "read_min": 1, "read_max": read_max}
    schemas = (Sample(names.SCHEMA_VERSION.name, {"bound": bound}, value) for bound, value in bounds.items())
    return Process(instance, (info, *schemas, *samples))


def failures(count: float) -> Sample:
    return Sample(names.RESTORE_FAILURES.name, {"docket_name": "d", "reason": "missing"}, count)


def test_processes_that_differ() -> None:
    """In their version, and in the schemas that they read."""
    found = list(check_fleet([process("a", "1"), process("b", "2", write=2, read_max=2)], {}, {}))
    assert bad(found) == [("versions", "WARNING"), ("schema", "ERROR")]
    assert "a cannot read schema 2, which others write" in [each.what for each in found]


def keys(*ids: str, sealed: int = 0) -> list[Sample]:
    """A process's keyring, and how much its first key has sealed."""
    info = [
        Sample(names.ENCRYPTION_KEY_INFO.name, {"key_id": each, "role": "secondary" if place else "primary"}, 1)
        for place, each in enumerate(ids)
    ]
    seals = {"operation": "seal", "key_id": ids[0], "outcome": "ok"}
    return [*info, Sample(names.CRYPTO_OPERATIONS.name, seals, sealed)]


def test_a_key_that_sealed_nothing_is_missed_by_nobody() -> None:
    """It comes first on a worker that never submits; what counts is what is sealed, or stored."""
    api, well, odd = (
        process("api", "1", *keys("2026-11", sealed=3)),
        process("well", "1", *keys("2026-11")),
        process("odd", "1", *keys("2026-12")),
    )

    def missing(*stored: str, sealed: bool = True) -> list[str]:
        found = check_fleet([api, well, odd] if sealed else [well, odd], {}, {}, stored)
        return [each.what for each in found if each.check == "keys"]

    on_odd = "is missing on odd"
    assert missing() == missing("2026-11") == [f"the key 2026-11, which others seal with, {on_odd}"]
    assert missing(sealed=False) == []
    assert missing("2026-11", sealed=False) == [f"the key 2026-11, which stored snapshots are sealed with, {on_odd}"]


def restores(count: float) -> Sample:
    return Sample(names.RESTORES.name, {"docket_name": "d", "outcome": "ok"}, count)


@pytest.mark.parametrize(
    ("fastmcp", "processes", "expected"),
    [
        ("ab", [process("api", "1", restores(0)), process("w", "1", restores(2))], "SKIPPED"),
        ("ab", [process("api"), process("w", "1", restores(2))], "SKIPPED"),
        ("ab", [process("api", "1", restores(1)), process("w", "1", restores(2))], "OK"),
        ("ab", [process("w", "1", restores(2))], "WARNING"),
        ("", [process("api", "1", restores(0)), process("w", "1", restores(2))], "WARNING"),
    ],
)
def test_workers_without_a_name(fastmcp: str, processes: list[Process], expected: str) -> None:
    """One of FastMCP's may be idle in a server that is looked at; of others the metrics are nowhere."""
    workers = Workers(frozenset("ab"), frozenset(fastmcp))
    metrics = [each for each in check_fleet(processes, {}, {"d": workers}) if each.check == "metrics"]
    (found,) = [each for each in metrics if "Docket's own metrics" not in each.what]
    assert found.severity.name == expected
    assert ("--metrics-port" in found.do) == (not fastmcp)


def test_failures_of_long_ago_are_not_of_now() -> None:
    """Where a Prometheus knows what the counter was; a counter that began anew counts in full."""
    now = process("a", "1", failures(5))
    assert bad(list(check_fleet([now], {}, {}))) == [("restores", "WARNING")]
    assert bad(list(check_fleet([now], {"a": process("a", "1", failures(5))}, {}))) == []
    (again,) = [each for each in check_fleet([now], {"a": process("a", "1", failures(9))}, {}) if each.why]
    assert again.what == "a: 5 restores were not full in the last 1 h (missing)"
    assert "TaskCtxSnapshotMissing" in again.do


def test_since_when_a_process_counts() -> None:
    """Where no Prometheus remembers, it is said when the process started."""
    started = Sample("process_start_time_seconds", {}, time.time() - 7200)
    (found,) = [each for each in check_fleet([process("a", "1", failures(5), started)], {}, {}) if each.why]
    assert found.what == "a: 5 restores were not full since it started, 2 h ago (missing)"


def test_a_worker_without_dockets_own_metrics() -> None:
    """It restores contexts, and how many tasks began is not known; a FastMCP server's own worker serves none."""
    worker = process("w", "1", restores(2))
    assert bad(list(check_fleet([worker], {}, {}))) == [("metrics", "WARNING")]
    fastmcp = Workers(frozenset("a"), frozenset("a"))
    assert bad(list(check_fleet([worker], {}, {"d": fastmcp}))) == []
    idle = process("w", "1", restores(0))
    assert bad(list(check_fleet([idle], {}, {}))) == []


def test_a_fastmcp_worker_that_is_not_instrumented() -> None:
    """It is told in FastMCP's terms: there is no option that gives it dependencies."""
    started = Sample("docket_tasks_started_total", {"docket_name": "d", "docket_task": "tool:report@"}, 3)
    (found,) = [each for each in check_fleet([process("a", "1", started)], {}, {}) if each.check == "dependencies"]
    assert "taskctx.fastmcp.instrument()" in found.do
    assert "--dependencies" not in found.do


def submissions(submitted: float, *, unmeant: float, meant: float = 0) -> list[Sample]:
    """What a process submitted, and how much of it without a caller."""
    anonymous = names.ANONYMOUS_SUBMISSIONS.name
    return [
        Sample(names.CAPTURES.name, {"docket_name": "d", "outcome": "ok"}, submitted),
        Sample(anonymous, {"docket_name": "d", "meant": "no"}, unmeant),
        Sample(anonymous, {"docket_name": "d", "meant": "yes"}, meant),
    ]


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        (submissions(1_000, unmeant=0), []),
        (submissions(1_000, unmeant=0, meant=400), []),
        (submissions(1_000, unmeant=1_000), []),
        (submissions(1_000, unmeant=600, meant=400), []),
        (submissions(1_000, unmeant=200), [("anonymous", "WARNING")]),
        ([*submissions(1_000, unmeant=1_000), *keys("2026-11")], [("anonymous", "WARNING")]),
        ([*submissions(1_000, unmeant=0, meant=1_000), *keys("2026-11")], []),
    ],
)
def test_submissions_without_a_caller(samples: list[Sample], expected: list[tuple[str, str]]) -> None:
    """A finding where other tasks have callers, or contexts are sealed; none for what is meant."""
    assert bad(list(check_fleet([process("web", "1", *samples)], {}, {}))) == expected


def test_submissions_without_a_caller_long_ago() -> None:
    """Those of the last hour count, where a Prometheus knows what was before."""
    now, before = (process("web", "1", *submissions(total, unmeant=10)) for total in (1_000, 900))
    assert bad(list(check_fleet([now], {"web": before}, {}))) == []
    later = process("web", "1", *submissions(1_100, unmeant=30))
    (found,) = [each for each in check_fleet([later], {"web": now}, {}) if each.why]
    assert found.what == "web submitted 20 of 100 tasks without a caller in the last 1 h"


def test_histograms_without_buckets() -> None:
    """A process that counts restores has them, unless Prometheus does not keep them; the advice names what is silent then."""
    bucket = Sample(f"{names.SNAPSHOT_AGE.name}_bucket", {"le": "1.0"}, 0)
    processes = [process("w", "1", restores(2)), process("v", "1", restores(0), bucket), process("api", "1")]
    (found,) = check_buckets(processes)
    assert found.what == "Prometheus has no buckets of the histograms of w"
    asking = {alert.name for alert in ALERTS if "_bucket" in alert.expr or RESTORE_P99 in alert.expr}
    assert set(re.findall(r"TaskCtx(\w+)", found.why)) == asking


def test_somebody_elses_metrics() -> None:
    """An endpoint without a single series of taskctx's."""
    found = list(check_fleet([Process("a", (Sample("docket_queue_depth", {"docket_name": "d"}, 0),))], {}, {}))
    assert bad(found) == [("metrics", "ERROR")]


@pytest.mark.parametrize(
    ("key", "kind", "docket"),
    [
        ("d:taskctx:task:anon:1:snapshot", Kind.SNAPSHOT, "d"),
        ("{d}:taskctx:task:auth:a%7Cb:1:snapshot", Kind.SNAPSHOT, "d"),
        ("a:b:taskctx:task:anon:1:snapshot", Kind.SNAPSHOT, "a:b"),
        ("d:fastmcp:task:auth:a:x:y:snapshot", Kind.FASTMCP_SNAPSHOT, "d"),
        ("d:runs:anon:1:task:f", Kind.RECORD, "d"),
        ("d:stream", Kind.STREAM, "d"),
        ("d:queue", Kind.QUEUE, "d"),
        ("a:b:other:task:auth:a:1:snapshot", Kind.OTHER_SNAPSHOT, "a:b"),
        ("d:strikes", None, None),
        ("anything", None, None),
    ],
)
def test_which_key_is_what(key: str, kind: Kind | None, docket: str | None) -> None:
    """The reader knows the keys of snapshots, records, streams and queues, with their docket, and no other key."""
    found = reader()(key)
    assert (found and found.kind, found and found.docket) == (kind, docket)


def test_whose_task_a_key_is_of() -> None:
    """Scopes and ids are as the caller has them; FastMCP's tasks are told from ours, and both from others."""
    found = reader()("d:taskctx:task:auth:a%7Cb%3Ac:1%2F2:snapshot")
    assert found is not None
    assert found.task == TaskRef("a|b:c", "1/2") == task_of("auth:a%7Cb%3Ac:1%2F2:task:f")
    assert [is_fastmcps(key) for key in ("auth:a:1:tool:f", "anon:1:task:f", "cleanup")] == [True, False, False]


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.01, "10 ms"), (1, "1 s"), (61, "1 min 1 s"), (3600, "1 h"), (7500, "2 h 5 min"), (86_400 * 2 + 61, "2 d")],
)
def test_durations_in_words(seconds: float, expected: str) -> None:
    """The two largest units."""
    assert duration(seconds) == expected


def test_other_words() -> None:
    """Sizes, names of which there are many, and what must not steer a terminal or a search."""
    assert [size(count) for count in (10, 2048, 5 * 1024**2, 3 * 1024**3)] == ["10 B", "2.0 KiB", "5.0 MiB", "3.0 GiB"]
    assert listed("dcba") == "a, b, c and 1 more"
    assert plain("a\x1b[2Jb\nc é d") == "a\\x1b[2Jb\\nc é d"
    assert escaped("a*[b]") == r"a\*\[b\]"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://u:p@host:6379/0", "host:6379"),
        ("redis+sentinel://u:p@a:1,[::1]:2/main/0", "a:1,[::1]:2"),
        ("unix:///run/redis.sock?password=x", "/run/redis.sock"),
        ("redis://:a/b#c@host/0", "host"),
        ("redis://:a?b@host/0", "..."),
        ("worker-1:9100", "worker-1:9100"),
    ],
)
def test_urls_without_their_passwords(url: str, expected: str) -> None:
    """Host and port, or the path; nothing where it is open what is the password."""
    assert shown(url) == expected


def test_a_restart_resets_all_series_of_a_process() -> None:
    """After a restart the growth is the whole count, also of a series that is higher than before."""

    def counted(**failures: float) -> Process:
        name = names.RESTORE_FAILURES.name
        return Process("one", tuple(Sample(name, {"reason": reason}, count) for reason, count in failures.items()))

    before = counted(missing=5, malformed=3)
    assert counted(missing=7, malformed=4).grown("reason", names.RESTORE_FAILURES.name, before) == {
        "missing": 2,
        "malformed": 1,
    }
    assert counted(missing=7, malformed=1).grown("reason", names.RESTORE_FAILURES.name, before) == {
        "missing": 7,
        "malformed": 1,
    }
