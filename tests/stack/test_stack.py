"""``make stack-check``: the stack of docker-compose.yml, end to end, on a collector that is built from its manifest.

One run is played (see :mod:`tests.stack.stack_play`), and every test looks at it afterwards.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from taskctx.telemetry.names import CAPTURES, RESTORES
from tests.deploy.compose import ROOT, SERVICES, mounts
from tests.secrets import MARKER
from tests.stack import stack_leaks as leaks
from tests.stack.programs import orderly_end, program
from tests.stack.prometheus import RULES
from tests.stack.stack_collector import CONFIG
from tests.stack.stack_otlp import Received, failed, points
from tests.stack.stack_play import APP, LOAD, ORDERS, stack_run
from tests.stack.stack_run import CALLS, DURATION, REQUEST, RESTORE, SAVE, Run, restores_by_outcome
from tests.stack.stack_services import WORKERS, committed_rules

pytestmark = pytest.mark.stack

NOT_RUN = {
    "secrets": "it looks whether the others can read what they mount",
    "tempo": "the check's own receiver stands for it",
    "grafana": "nothing here asks it",
}
"""Services with mounts that the check does not start, and why."""

OUTAGES = ("collector hangs", "collector down", "trace receiver down", "prometheus down")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    with orderly_end(), stack_run(tmp_path_factory.mktemp("stack")) as run:
        yield run


# What was run is what is committed


def test_docker_compose_accepts_the_file(tmp_path: Path) -> None:
    """Debian's, which knows the fewest keys; with nothing in .env."""
    (tmp_path / "empty").touch()
    compose = program("docker-compose", install="apt-get install docker-compose")
    command = [
        compose,
        "--env-file",
        str(tmp_path / "empty"),
        "--file",
        str(ROOT / "docker-compose.yml"),
        "config",
        "-q",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_collector_accepts_its_configuration(run: Run) -> None:
    """Its own ``validate``, on the committed file, without a word to say."""
    assert run.validated == ""


def test_what_compose_mounts_is_what_was_run(run: Run) -> None:
    """Every file and folder of ours that a service mounts is there, and was used if that service was started."""
    mounted = {service: {ROOT / source for source in mounts(service).values()} for service in SERVICES}
    for service, sources in mounted.items():
        for source in sources:
            assert source.exists(), source
            assert (source in run.services.used) != (service in NOT_RUN), source
    assert run.services.used <= set().union(*mounted.values())
    assert CONFIG in run.services.used


def test_only_addresses_were_changed(run: Run) -> None:
    """A copy with the stack's addresses put back is the committed file; the collector's was not even copied."""
    assert {path.name for path in run.services.derived} == {"valkey.conf", "prometheus.yml", "alertmanager.yml"}
    for committed, copy in run.services.derived.items():
        assert copy.read_text() != committed.read_text()
        assert run.services.restored(copy.read_text()) == committed.read_text()
    for value in run.services.collector_environment().values():
        assert re.fullmatch(r"(http://)?127\.0\.0\.1(:\d+(/\S*)?)?|\d+", value)


# Requests and tasks


def test_the_load_generator_is_content(run: Run) -> None:
    """Every report was its caller's own."""
    assert run.load_outcome == f"ready: {LOAD}\n"


@pytest.mark.parametrize(
    ("fault", "status"), [("lost", "ready"), ("malformed", "ready"), ("expired", "ready"), ("failing", "failed")]
)
def test_faults_came_about(run: Run, fault: str, status: str) -> None:
    """Reports without a context are made; those that need their caller fail."""
    assert {order.status for order in run.orders[fault]} == {status}


# Traces


def test_every_trace_with_a_lost_context_is_kept(run: Run) -> None:
    """As many as the workers counted, and as many as there were faults."""
    expected = {
        "failed": len(run.orders["lost"] + run.orders["malformed"] + run.orders["failing"]),
        "degraded": len(run.orders["expired"]),
    }
    assert {outcome: run.restores[outcome] for outcome in expected} == expected
    assert {outcome: len(run.restored(outcome)) for outcome in expected} == expected


def test_kept_traces_are_whole(run: Run) -> None:
    """The parent of each failed restore, Docket's span of the task, is there too."""
    ids = {each.span.span_id for each in run.sampled}
    for restore in run.restored("failed") + run.restored("degraded"):
        assert restore.span.parent_span_id in ids


def test_every_trace_with_an_error_is_kept(run: Run) -> None:
    """A task that fails: Docket's span of it has the error, and no word about it."""
    spans = [each for each in run.sampled if each.span.name == "make_account" and failed(each)]
    assert len(spans) == len(run.orders["failing"])
    assert {each.span.status.message for each in run.sampled} == {""}


def test_of_the_rest_a_part_is_kept(run: Run) -> None:
    """About a tenth, by lot: some, and by no means all."""
    kept, made = len(run.restored("ok")), run.restores["ok"]
    assert made >= LOAD
    assert 0 < kept < made / 2


def is_remarkable(trace: list[Received]) -> bool:
    """Whether the collector keeps every such trace: something failed, or it took 5 s."""
    took = max(each.span.end_time_unix_nano for each in trace) - min(each.span.start_time_unix_nano for each in trace)
    return took >= 5e9 or any(failed(each) for each in trace)


def test_the_request_of_a_task_that_is_kept_is_kept(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """But where the task's own trace is kept for what went wrong in it.  How many are kept, of how many, is printed."""
    kept = {each.trace_id for each in run.sampled}
    ordinary = [each for each in run.restored("ok") if each.links and not is_remarkable(run.trace(each.trace_id))]
    leading = [each for each in ordinary if each.links <= kept]
    with capsys.disabled():
        sys.stdout.write(
            f"\n{len(ordinary)} of {run.restores['ok']:.0f} ordinary restores are kept, {len(leading)} with their request\n"
        )
    assert ordinary
    assert leading == ordinary


def test_submission_and_task_are_joined(run: Run) -> None:
    """The restore links to the span in which the request saved the snapshot; the request is the client's trace."""
    expired = {order.trace_id for order in run.orders["expired"]}
    restores = run.restored("degraded")
    assert {trace for restore in restores for trace in restore.links} == expired
    assert not {restore.trace_id for restore in restores} & expired
    for restore in restores:
        (link,) = restore.span.links
        (origin,) = (each for each in run.sampled if each.span.span_id == link.span_id)
        assert (origin.span.name, origin.service, origin.trace_id) == (SAVE, "reports-api", link.trace_id.hex())
        names = {each.span.name for each in run.trace(origin.trace_id)}
        assert {leaks.SPAN_NAME, REQUEST, SAVE} <= names


def test_links_lead_from_dockets_span_too(run: Run) -> None:
    """It is the one that a trace view shows first."""
    spans = {each.span.span_id: each for each in run.sampled}
    for restore in run.restored("degraded"):
        assert spans[restore.span.parent_span_id].links == restore.links


def test_spans_say_who_made_them(run: Run) -> None:
    """Service, instance as compose names them, and the environment that the collector adds."""
    resources = [
        {each.key: each.value.string_value for each in resource.resource.attributes}
        for request in run.traces.requests
        for resource in ExportTraceServiceRequest.FromString(request).resource_spans
    ]
    named = {(each["service.name"], each.get("service.instance.id")) for each in resources}
    assert named >= {("reports-api", "api"), *(("reports-worker", worker) for worker in WORKERS)}
    assert {each["deployment.environment.name"] for each in resources} == {"compose"}


# Credentials


def test_what_was_leaked_did_arrive(run: Run) -> None:
    """Otherwise the next test shows nothing: the spans and metrics that are full of credentials are at the outputs."""
    faults = [order for orders in run.orders.values() for order in orders]
    leaked = [each for each in run.sampled if each.service == leaks.SERVICE]
    assert {order.trace_id for order in faults} <= {each.trace_id for each in leaked}
    (root, *_) = (each for each in leaked if each.span.name == leaks.SPAN_NAME)
    assert set(root.attributes) >= {"app.note", "app.line", "list.0", "map.0", "pairs.0", "bytes.jwt"}
    assert len(root.span.events) == 2
    assert any(each.attributes["span.name"] == leaks.SPAN_NAME for each in run.calls)
    assert run.metrics.names() >= leaks.METRICS


def test_no_credential_is_exported(run: Run) -> None:
    """In no byte of any request that the collector sent; where, if there is."""
    sent = [(ExportTraceServiceRequest, raw) for raw in run.traces.requests]
    sent += [(ExportMetricsServiceRequest, raw) for raw in run.metrics.requests]
    assert sent
    leaking = [(kind, raw) for kind, raw in sent if leaks.has_credential(raw)]
    assert sorted({path for kind, raw in leaking for path in leaks.where(kind.FromString(raw))}) == []
    assert not leaking


def test_links_of_others_are_not_let_through(run: Run) -> None:
    """The collector can neither change nor look into links: a span with links of an unknown instrumentation is dropped.

    It is in the span metrics, and the rest of its trace is kept.
    """
    assert leaks.LINKED_NAME in {each.attributes["span.name"] for each in run.calls}
    assert leaks.LINKED_NAME not in {each.span.name for each in run.traces.spans()}
    assert {"taskctx.restore", "make_summary"} <= {each.span.name for each in run.sampled if each.span.links}


def test_text_around_a_credential_is_kept(run: Run) -> None:
    """What is no credential stays readable: the notes, URLs and names around it."""
    roots = [each for each in run.sampled if each.span.name == leaks.SPAN_NAME]
    texts = {(each.attributes["app.note"], each.attributes["url.full"]) for each in roots}
    assert texts == {("called with **** today", "https://api/reports?****&page=2")}


def test_what_is_no_credential_is_left_alone(run: Run) -> None:
    """In the service's own spans nothing is masked but what its careless callers have in their URLs."""
    ours = [each for each in run.sampled if each.service != leaks.SERVICE]
    masked = {
        (attribute.key, each.service)
        for each in ours
        for attribute in each.span.attributes
        if "****" in str(attribute.value)
    }
    assert masked == {("url.query", "reports-api")}
    assert not [each.span.name for each in ours if "****" in each.span.name]


def test_no_credential_is_in_a_log(run: Run) -> None:
    """No log of any program has a credential."""
    for log in run.services.directory.glob("*.log"):
        text = log.read_bytes()
        assert not leaks.has_credential(text), log.name
        assert run.services.secret("valkey/password").encode() not in text
        assert run.services.secret("signing/key").encode() not in text
        assert MARKER.encode() not in text


# Metrics


def test_span_metrics_count_every_span(run: Run) -> None:
    """Not only the sampled ones: as many restores, by outcome, as the workers counted themselves."""
    assert restores_by_outcome(run.calls) == run.restores
    assert sum(run.restores.values()) > len([each for each in run.sampled if each.span.name == RESTORE])


def test_span_metrics_are_what_prometheus_and_grafana_expect(run: Run) -> None:
    """Cumulative, in seconds, with the dimensions that the data source's links use."""
    metrics = run.metrics.named()
    assert metrics[CALLS].sum.is_monotonic
    assert metrics[CALLS].sum.aggregation_temporality == 2
    assert (metrics[DURATION].unit, metrics[DURATION].histogram.aggregation_temporality) == ("s", 2)
    restores = [each.attributes for each in run.calls if each.attributes["span.name"] == RESTORE]
    for each in restores:
        assert {"docket.name", "docket.task", "taskctx.outcome", "service.name", "status.code"} <= set(each)
    workers = [each.resource for each in run.calls if each.resource["service.name"] == "reports-worker"]
    assert {each["service.instance.id"] for each in workers} == set(WORKERS)


def test_span_metrics_have_the_labels_that_the_readme_lists(run: Run) -> None:
    """No more and no fewer; those of the resource are Prometheus's, and are looked at where there is one that takes OTLP."""
    section = (CONFIG.parent / "README.md").read_text().split("## Labels of span metrics")[1].split("\n## ")[0]
    listed = {
        label for row in re.findall(r"^\| (`.+?) \|", section, re.MULTILINE) for label in row.strip("`").split("`, `")
    }
    seen = {name.replace(".", "_") for each in run.calls for name in each.attributes}
    assert seen | {"job", "instance"} == listed
    if run.otlp_in_prometheus:
        found = run.prometheus.query(CALLS.replace(".", "_") + "_total")
        assert {name for labels, _ in found for name in labels} - {"__name__"} == listed


def test_no_two_writers_have_one_series(run: Run) -> None:
    """Prometheus takes one value for a series at a time."""
    for request in run.metrics.metrics():
        at = [(each.series, each.time) for each in points(request) if each.metric in (CALLS, DURATION)]
        assert len(at) == len(set(at))


def test_our_metrics_are_in_prometheus(run: Run) -> None:
    """Scraped from the API and from each worker, by the committed configuration."""
    captures = run.prometheus.query(CAPTURES.name)
    assert {(labels["job"], labels["instance"]) for labels, _ in captures} >= {
        ("reports-api", run.services.place("api:8000"))
    }
    restores = run.prometheus.query(f'{RESTORES.name}{{outcome="failed"}} > 0')
    assert {labels["job"] for labels, _ in restores} == {"reports-worker"}
    names = run.prometheus.label_values('label_values({job="reports-worker"}, __name__)')
    assert len([name for name in names if name.startswith("taskctx_")]) > 10


def test_everything_is_scraped(run: Run) -> None:
    """Every target that is named in the configuration."""
    targets = run.prometheus.targets()
    jobs = {each["labels"]["job"] for each in targets}
    assert jobs == {"reports-api", "reports-worker", "otel-collector", "prometheus", "alertmanager"}
    assert {each["scrapeUrl"]: each["lastError"] for each in targets} == {each["scrapeUrl"]: "" for each in targets}


def test_the_rules_are_loaded(run: Run) -> None:
    """All of the committed ones, and Prometheus could evaluate each."""
    assert {path.parent for path in RULES} <= run.services.used
    loaded = {(rule["group"], rule["name"]): rule for rule in run.rules()}
    assert set(loaded) == committed_rules()
    assert {rule.get("lastError", "") for rule in loaded.values()} == {""}
    assert {rule["health"] for rule in loaded.values()} == {"ok"}


def test_span_metrics_are_in_prometheus(run: Run) -> None:
    """Over OTLP, where this Prometheus has a receiver; else the check's own has shown what it would have got."""
    if not run.otlp_in_prometheus:
        pytest.skip("this Prometheus is older than 3: it has no OTLP receiver")
    name = CALLS.replace(".", "_") + "_total"
    assert run.prometheus.query(f'{name}{{span_name="{RESTORE}",taskctx_outcome="failed"}}')


def test_alerts_are_told_of(run: Run) -> None:
    """Prometheus knows Alertmanager, which tells the receiver of the stack."""
    answer = run.prometheus.client.get("/api/v1/alertmanagers").raise_for_status().json()["data"]
    assert [each["url"] for each in answer["activeAlertmanagers"]] == [
        f"{run.services.url('alertmanager:9093')}/api/v2/alerts"
    ]
    assert "FIRING StackCheck severity=info: hello" in run.log("alert-log")


# When something is gone


@pytest.mark.parametrize("gone", OUTAGES)
def test_requests_and_tasks_go_on(run: Run, gone: str) -> None:
    """All requests are answered, none of them late, and all reports are made."""
    outage = run.outages[gone]
    assert outage.statuses <= {200, 202, 404}
    assert outage.slow == []
    assert set(outage.reports) == {"ready"}
    assert len(outage.reports) == ORDERS


def test_nothing_piles_up_in_the_service(run: Run) -> None:
    """The API drops spans that the collector does not take, so its memory stays within its queue's limit."""
    before, after = run.memory
    assert after - before < 64 * 2**20


def test_nothing_piles_up_in_the_collector(run: Run) -> None:
    """What waits for the trace receiver waits in a queue with an end."""
    assert 0 < run.queue["size"] <= run.queue["capacity"] <= 1000


@pytest.mark.parametrize("name", APP)
def test_the_log_says_so_and_not_too_often(run: Run, name: str) -> None:
    """A line about exports that fail, from each process, and from the API when they hang; not one for each batch."""
    assert run.said_while_hanging
    assert 1 <= len(run.export_failures[name]) <= 4, run.export_failures[name]


@pytest.mark.parametrize("what", ["collector", "trace receiver", "prometheus"])
def test_what_comes_back_is_used_again(run: Run, what: str) -> None:
    """Without a restart of anything else; a trace that was kept while the trace receiver was down is not lost."""
    assert run.came_back[what]
