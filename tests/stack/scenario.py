"""The run that is observed: good traffic, then faults, then a killed worker, then good traffic again."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from taskctx.cli.processes import free_port
from tests.conftest import running_valkey
from tests.processes.support import ROOT, Process, Starter
from tests.stack import alertmanager as am
from tests.stack import child
from tests.stack import prometheus as prom
from tests.stack.programs import Patience, program
from tests.stack.prometheus import Labels
from tests.stack.server import NIGHTLY, REQUESTS
from tests.stack.spans import read_spans, seconds_of

LIMIT = 150
"""Seconds that the run may take."""

WORKERS = ("worker-1", "worker-2", "worker-3")
DOOMED = WORKERS[-1]
SERVER, CUT_OFF = "server", "cut-off"
JOBS = {"workers": WORKERS, "web": (SERVER, CUT_OFF)}


def _alert(name: str, severity: str, **labels: str) -> Labels:
    return {"alertname": f"TaskCtx{name}", "severity": severity, **labels}


def _burn(severity: str, long: str, short: str) -> Labels:
    windows = {"long_window": long, "short_window": short}
    return _alert("RestoreErrorBudgetBurn", severity, job="workers", docket_name=REQUESTS, **windows)


NOTIFIED: tuple[Labels, ...] = (
    # snapshots lost and damaged
    _burn("critical", "1h", "5m"),
    _burn("critical", "6h", "30m"),
    _alert("SnapshotUnreadable", "critical", job="workers", docket_name=REQUESTS, reason="malformed"),
    _alert("SnapshotMissing", "warning", job="web", docket_name=NIGHTLY),
    # tokens that expire in the queue
    _alert("CredentialExpiring", "warning", job="workers"),
    # a submitter that cannot reach the server
    _alert("SaveErrors", "critical", job="web"),
    # sessions that died
    _alert("RegistryDeadEntries", "info", job="web", instance=SERVER, registry="session"),
)
"""The alerts that the faults cause and that Alertmanager sends."""

MUTED: tuple[Labels, ...] = (
    _burn("warning", "1d", "2h"),
    _burn("warning", "3d", "6h"),
    _alert("SnapshotMissing", "warning", job="workers", docket_name=REQUESTS),
)
"""What the faults deserve too, and a critical alert on the same docket says better."""

TARGET_DOWN = _alert("TargetDown", "critical", job="workers", instance=DOOMED)
"""What a killed worker deserves."""

SLOW_RESTORE = 0.25
"""Seconds, as in RestoreSlow."""


@dataclass
class Run:
    """What was started, and what was seen of it when.  Times are seconds since the epoch.

    Attributes:
        endpoints: URLs of the processes' metrics, by instance.
        muted: what Alertmanager held back as the faults had done their worst, ...
        notified: ... and what it had told of by then.
    """

    directory: Path
    prometheus: prom.Prometheus
    alertmanager: am.Alertmanager
    webhook: am.Webhook
    endpoints: Mapping[str, str]
    began: float = 0.0
    faults_from: float = 0.0
    faults_until: float = 0.0
    ended: float = 0.0
    muted: tuple[Labels, ...] = ()
    notified: tuple[Labels, ...] = ()
    came_to_rest: bool = False

    def unresolved(self) -> list[Labels]:
        """What fires now, or is not over for all that the webhook knows."""
        return self.prometheus.firing() + self.webhook.unresolved()

    def without_slowness(self, alerts: Sequence[Labels]) -> list[Labels]:
        """The alerts that are not about a machine that has too much to do.

        In seven seconds instead of five minutes, one slow restore is the slowest hundredth.  No fault of the check's
        makes restores slow; but if they were, which their spans tell, RestoreSlow is right about it.
        """
        restore_slow = [alert for alert in alerts if alert["alertname"] == "TaskCtxRestoreSlow"]
        jobs = self._jobs_with_slow_restores() if restore_slow else set[str]()
        return [alert for alert in alerts if alert not in restore_slow or alert["job"] not in jobs]

    def _jobs_with_slow_restores(self) -> set[str]:
        return {
            job
            for job, instances in JOBS.items()
            for instance in instances
            for span in read_spans(self.directory / f"{instance}.spans")
            if span["name"] == "taskctx.restore" and seconds_of(span) > SLOW_RESTORE
        }

    @property
    def trace_ids(self) -> set[str]:
        """The traces that spans were exported of."""
        spans = [span for path in self.directory.glob("*.spans") for span in read_spans(path)]
        return {span["context"]["trace_id"].removeprefix("0x") for span in spans}

    @property
    def spans(self) -> str:
        """What was exported of spans, as text."""
        return "".join(path.read_text() for path in self.directory.glob("*.spans"))

    @property
    def logs(self) -> str:
        return "".join(path.read_text(errors="replace") for path in self.directory.glob("*.log"))


@contextmanager
def observed_run(directory: Path) -> Generator[Run]:
    """Play it all.  What did not come about is seen in the tests; here nothing is asserted but that things start."""
    patience = Patience(time.monotonic() + LIMIT)
    programs = program("prometheus"), program("prometheus-alertmanager", "alertmanager")
    with ExitStack() as stack:
        valkey = stack.enter_context(running_valkey())
        start = stack.enter_context(Starter(directory))
        webhook = stack.enter_context(am.running_webhook())
        ports = {instance: free_port() for instances in JOBS.values() for instance in instances}
        cluster = Cluster(start, directory, valkey.connection_url, ports)
        cluster.start()
        endpoints = {instance: f"http://127.0.0.1:{port}/metrics" for instance, port in ports.items()}
        client = stack.enter_context(httpx.Client())
        _must(patience, lambda: all(client.get(url).is_success for url in endpoints.values()), "the processes", cluster)
        prometheus_port, alertmanager_port = free_port(), free_port()
        targets = {job: {instance: ports[instance] for instance in instances} for job, instances in JOBS.items()}
        alertmanager_config = am.write_config(directory, webhook.url)
        config = prom.write_config(directory, targets, alertmanager_port)
        start(prom.command(programs[0], config, prometheus_port), name="prometheus")
        start(am.command(programs[1], alertmanager_config, alertmanager_port), name="alertmanager")
        run = Run(
            directory,
            prom.Prometheus(stack.enter_context(httpx.Client(base_url=f"http://127.0.0.1:{prometheus_port}"))),
            am.Alertmanager(stack.enter_context(httpx.Client(base_url=f"http://127.0.0.1:{alertmanager_port}"))),
            webhook,
            endpoints,
        )
        _must(patience, lambda: run.prometheus.ready() and run.alertmanager.ready(), "the servers", cluster)
        _play(run, cluster, patience)
        yield run


def _must(patience: Patience, condition: Callable[[], object], what: str, cluster: Cluster) -> None:
    if not patience.until(condition, at_most=30):
        raise RuntimeError(f"{what} did not start; their output: {cluster.output()}")


def _play(run: Run, cluster: Cluster, patience: Patience) -> None:
    run.began = time.time()
    patience.until(lambda: _scrapes(run) >= 10, at_most=30)

    run.faults_from = time.time()
    cluster.order("faults")
    patience.until(lambda: _all_came(run), at_most=60)
    run.muted, run.notified = tuple(run.alertmanager.muted()), tuple(run.webhook.firing())
    run.faults_until = time.time()

    cluster.kill(DOOMED)
    patience.until(lambda: TARGET_DOWN in run.webhook.firing(), at_most=20)

    cluster.order("good")
    cluster.start_worker(DOOMED)
    run.came_to_rest = patience.until(lambda: not run.without_slowness(run.unresolved()), at_most=60)
    run.ended = time.time()


def _scrapes(run: Run) -> float:
    """How often the least scraped process was, while all are up."""
    found = run.prometheus.query("count_over_time(up[5m]) and up == 1")
    return min(value for _, value in found) if len(found) == len(run.endpoints) else 0


def _all_came(run: Run) -> bool:
    fired = run.prometheus.fired(run.faults_from, time.time())
    return _within(NOTIFIED + MUTED, fired) and _within(NOTIFIED, run.webhook.firing())


def _within(some: Iterable[Labels], among: list[Labels]) -> bool:
    return all(each in among for each in some)


class Cluster:
    """The processes under observation."""

    def __init__(
        self,
        starter: Starter,
        directory: Path,
        url: str,
        ports: Mapping[str, int],
        *,
        environments: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        """``ports`` and ``environments`` are by instance; all that are neither server nor cut off are workers."""
        self._starter, self._directory, self._url, self._ports = starter, directory, url, ports
        self._environments = environments or {}
        self._running: dict[str, Process] = {}

    def start(self) -> None:
        for worker in self._ports.keys() - {SERVER, CUT_OFF}:
            self.start_worker(worker)
        self._start(SERVER, "tests.stack.server", url=self._url)
        # where nobody listens
        self._start(CUT_OFF, "tests.stack.cut_off", url=f"redis://127.0.0.1:{free_port()}")

    def start_worker(self, name: str) -> None:
        options = {
            "--docket": REQUESTS,
            "--url": self._url,
            "--name": name,
            "--tasks": "tests.stack.worker:collection",
            "--dependencies": "taskctx:worker_dependencies",
            "--metrics-port": str(self._ports[name]),
            "--logging-level": "WARNING",
        }
        self._start(name, "docket", "worker", *(word for option in options.items() for word in option), url=self._url)

    def _start(self, name: str, *arguments: str, url: str) -> None:
        environment = {
            "DOCKET_URL": url,
            "METRICS_PORT": str(self._ports[name]),
            child.SPANS: str(self._directory / f"{name}.spans"),
            **self._environments.get(name, {}),
        }
        self._running[name] = self._starter([sys.executable, "-m", *arguments], name=name, cwd=ROOT, **environment)

    def order(self, line: str) -> None:
        for name in (SERVER, CUT_OFF):
            self._running[name].order(line)

    def kill(self, name: str) -> None:
        self._running[name].kill()

    def output(self) -> str:
        return "\n".join(path.read_text(errors="replace") for path in self._directory.glob("*.log"))
