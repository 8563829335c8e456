"""The run: the stack without containers, requests, faults, credentials in spans, and then outages."""

from __future__ import annotations

import re
import secrets as randomness
import signal
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from redis import Redis

from taskctx.telemetry.names import RESTORES
from tests.processes.support import Process, Starter
from tests.stack import stack_leaks as leaks
from tests.stack import stack_otlp as otlp
from tests.stack.programs import Patience, program
from tests.stack.prometheus import Prometheus, major
from tests.stack.stack_collector import built_collector, validate
from tests.stack.stack_orders import Caller, Order
from tests.stack.stack_run import CALLS, Outage, Run, restores_among, restores_by_outcome
from tests.stack.stack_services import WORKERS, Services

LIMIT = 400
"""Seconds that the run may take, without building the collector."""

LOAD = 200
"""Reports that the load generator orders."""

ORDERS = 40
"""Reports that are ordered in each outage."""

FLOOD = 3000
"""Requests while the collector hangs: their spans are more than the exporter's queue takes."""

APP = ("api", *WORKERS)


@dataclass(frozen=True)
class Programs:
    """What must be installed, or is built."""

    prometheus: str
    alertmanager: str
    collector: Path

    @property
    def prometheus_takes_otlp(self) -> bool:
        """As of version 3, by the option that docker-compose.yml uses."""
        return major(self.prometheus) >= 3


@contextmanager
def stack_run(directory: Path) -> Generator[Run]:
    """Play it all.  Nothing is asserted here but that things start; what did not come about is seen in the tests."""
    programs = Programs(program("prometheus"), program("prometheus-alertmanager", "alertmanager"), built_collector())
    patience = Patience(time.monotonic() + LIMIT)
    with ExitStack() as stack:
        services = Services(directory, stack.enter_context(Starter(directory)))
        services.write_secrets()
        takes_otlp = programs.prometheus_takes_otlp
        run = Run(
            services,
            otlp.TraceReceiver(services.place("tempo:4317")),
            otlp.MetricReceiver(services.port("tempo:3200"), services.url("prometheus:9090") if takes_otlp else ""),
            Prometheus(stack.enter_context(httpx.Client(base_url=services.url("prometheus:9090"), timeout=10))),
            takes_otlp,
            validate(services.collector(programs.collector, "validate")),
        )
        for receiver in (run.traces, run.metrics):
            stack.callback(receiver.stop)
            receiver.start()
        caller = Caller(
            stack.enter_context(httpx.Client(base_url=services.url("api:8000"), timeout=30)),
            stack.enter_context(Redis.from_url(services.secret("valkey/url"))),  # pyright: ignore[reportUnknownMemberType]
            services.secret("signing/key"),
            patience,
        )
        _Play(run, caller, programs).play()
        yield run


class _Play:
    def __init__(self, run: Run, caller: Caller, programs: Programs) -> None:
        self.run, self.caller, self.programs = run, caller, programs
        self.services, self.patience = run.services, caller.patience
        self.running: dict[str, Process] = {}

    def play(self) -> None:
        self._start()
        self._alert()
        load = self.services.start_load("--rate=25", f"--count={LOAD}")
        self._make_faults()
        self._leak()
        load.popen.wait(120)
        self.run.load_outcome = self.run.log("load")
        self._look()
        self._without_collector()
        self._without_trace_receiver()
        self._without_prometheus()

    # The stack

    def _start(self) -> None:
        services = self.services
        self.running["valkey"] = services.start_valkey()
        self._must("valkey", self.patience.until(self.caller.redis_answers, at_most=40))
        self.running["alert-log"] = services.start_alert_log()
        self.running["alertmanager"] = services.start_alertmanager(self.programs.alertmanager)
        self._start_prometheus()
        self._start_collector()
        self.running["api"] = services.start_api()
        self.running |= {worker: services.start_worker(worker) for worker in WORKERS}
        urls = {
            "api": f"{services.url('api:8000')}/health",
            **{worker: f"{services.url(f'{worker}:9100')}/metrics" for worker in WORKERS},
            "otel-collector": services.url("otel-collector:13133"),
            "prometheus": f"{services.url('prometheus:9090')}/-/ready",
            "alertmanager": f"{services.url('alertmanager:9093')}/-/ready",
        }
        for name, url in urls.items():
            self._must(name, self._answers(url))

    def _start_prometheus(self) -> None:
        prometheus = self.services.start_prometheus(self.programs.prometheus, otlp=self.run.otlp_in_prometheus)
        self.running["prometheus"] = prometheus

    def _start_collector(self) -> None:
        self.running["otel-collector"] = self.services.start_collector(self.programs.collector)

    def _answers(self, url: str) -> bool:
        return self.patience.until(lambda: self.caller.api.get(url).is_success, at_most=40)

    def _must(self, name: str, started: object) -> None:
        if not started:
            raise RuntimeError(f"{name} did not start; its output: {self.run.log(name)}")

    # Faults and leaks

    def _make_faults(self) -> None:
        """Each with a client's span in the same trace, that is full of credentials and has an error."""
        order = self.caller.order
        orders = self.run.orders = {
            "lost": [order("digest", due_in=3) for _ in range(4)],
            "malformed": [order("digest", due_in=3) for _ in range(4)],
            "failing": [order("account", due_in=3) for _ in range(3)],
            "expired": [order("summary", lifetime=2, due_in=5) for _ in range(4)],
        }
        for each in orders["lost"] + orders["failing"]:
            self.caller.lose(each)
        for each in orders["malformed"]:
            self.caller.damage(each)
        for each in (each for several in orders.values() for each in several):
            self._leak_in(each.trace_id)
        for each in (each for several in orders.values() for each in several):
            each.status = self.caller.concluded(each.report_id)

    def _leak_in(self, trace_id: str) -> None:
        otlp.send(self.services.place("otel-collector:4317"), otlp.TRACES, leaks.leaky_trace(trace_id))

    def _leak(self) -> None:
        """Over HTTP too, and in metrics."""
        otlp.send_http(self.services.url("otel-collector:4318"), leaks.leaky_trace(randomness.token_hex(16)))
        otlp.send(self.services.place("otel-collector:4317"), otlp.METRICS, leaks.leaky_metrics())

    def _alert(self) -> None:
        """Send an alert to Alertmanager, which must report it."""
        alert = {"labels": {"alertname": "StackCheck", "severity": "info"}, "annotations": {"summary": "hello"}}
        url = f"{self.services.url('alertmanager:9093')}/api/v2/alerts"
        self.caller.api.post(url, json=[alert]).raise_for_status()

    # What came of it

    def _look(self) -> None:
        """Wait until everything has arrived, then keep what there is."""
        run, until = self.run, self.patience.until
        # the service's own clean-up goes on meanwhile: so what is waited for is a moment at which both say the same
        until(lambda: self._counted() == restores_by_outcome(run.metrics.totals(CALLS)), at_most=60)
        run.restores, run.calls = self._counted(), run.metrics.totals(CALLS)
        until(lambda: all(self._at_the_output(outcome) for outcome in ("failed", "degraded")), at_most=40)
        until(lambda: run.metrics.names() >= leaks.METRICS, at_most=40)
        run.sampled = run.traces.spans()
        until(self._all_scraped, at_most=40)

    def _counted(self) -> dict[str, float]:
        """The workers' own counters."""
        counted: dict[str, float] = {}
        for worker in WORKERS:
            for family in self._metrics(f"{worker}:9100"):
                for sample in family.samples:
                    if sample.name == RESTORES.name and sample.value:
                        outcome = sample.labels["outcome"]
                        counted[outcome] = counted.get(outcome, 0) + sample.value
        return counted

    def _metrics(self, address: str) -> list[Metric]:
        text = self.caller.api.get(f"{self.services.url(address)}/metrics").raise_for_status().text
        return list(text_string_to_metric_families(text))

    def _at_the_output(self, outcome: str) -> bool:
        return len(restores_among(self.run.traces.spans(), outcome)) == self.run.restores.get(outcome)

    def _all_scraped(self) -> bool:
        counted = {labels["instance"] for labels, _ in self.run.prometheus.query(RESTORES.name)}
        return counted >= {self.services.place(f"{worker}:9100") for worker in WORKERS}

    # Outages

    def _without_collector(self) -> None:
        """First it hangs, then it is gone, then it comes back."""
        self.running["otel-collector"].popen.send_signal(signal.SIGSTOP)
        before = self._api_memory()
        hanging = self._use("collector hangs")
        self._flood(hanging)
        self.run.memory = before, self._api_memory()
        self.patience.until(lambda: self._said("api"), at_most=30)
        self.run.said_while_hanging = len(self._said("api"))

        self.running["otel-collector"].kill()
        self._use("collector down")
        self.patience.until(lambda: all(self._said(name) for name in APP), at_most=40)
        self.run.export_failures = {name: self._said(name) for name in APP}

        self._start_collector()
        if self._answers(self.services.url("otel-collector:13133")):
            order = self._traced_order()
            self.run.came_back["collector"] = self.patience.until(lambda: self._arrived(order), at_most=60)

    def _without_trace_receiver(self) -> None:
        """What the collector keeps is sent when it is there again."""
        self.run.traces.stop()
        order = self._traced_order()
        self._use("trace receiver down")
        self.patience.until(lambda: self._queue("size") > 0, at_most=40)
        self.run.queue = {name: self._queue(name) for name in ("size", "capacity")}

        self.run.traces.start()
        self.run.came_back["trace receiver"] = self.patience.until(lambda: self._arrived(order), at_most=60)

    def _without_prometheus(self) -> None:
        self.running["prometheus"].kill()
        self.run.metrics.stop()
        self._use("prometheus down")

        seen = len(self.run.metrics.requests)
        self.run.metrics.start()
        self._start_prometheus()
        self.run.came_back["prometheus"] = self.patience.until(
            lambda: len(self.run.metrics.requests) > seen and self._is_whole(), at_most=90
        )

    def _is_whole(self) -> bool:
        """Prometheus has scraped everything and evaluated every rule."""
        return (
            self.run.prometheus.ready()
            and all(target["health"] == "up" for target in self.run.prometheus.targets())
            and all(rule["health"] == "ok" for rule in self.run.rules())
        )

    def _traced_order(self) -> Order:
        """One whose trace is kept, for the error that its client had."""
        order = self.caller.order("summary")
        self._leak_in(order.trace_id)
        return order

    def _arrived(self, order: Order) -> bool:
        spans = self.run.traces.spans()
        return any((each.trace_id, each.service) == (order.trace_id, "reports-api") for each in spans)

    def _use(self, gone: str) -> Outage:
        """Orders from eight callers at a time, until their reports are ready."""
        outage = self.run.outages[gone] = Outage()

        def order(_: int) -> str:
            return self._timed(outage, "POST", "/reports", json={"kind": "summary"}).json()["id"]

        with ThreadPoolExecutor(8) as pool:
            ids = list(pool.map(order, range(ORDERS)))
        outage.reports = [self.caller.concluded(report_id) for report_id in ids]
        return outage

    def _flood(self, outage: Outage) -> None:
        def look(_: int) -> None:
            self._timed(outage, "GET", "/reports/none")

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(look, range(FLOOD)))

    def _timed(self, outage: Outage, method: str, path: str, **arguments: Any) -> httpx.Response:
        def note(seconds: float, status: int) -> None:
            outage.requests.append(seconds)
            outage.statuses.add(status)

        return self.caller.timed(note, method, path, **arguments)

    def _api_memory(self) -> int:
        status = Path(f"/proc/{self.running['api'].popen.pid}/status").read_text()
        (kilobytes,) = re.findall(r"VmRSS:\s+(\d+) kB", status)
        return int(kilobytes) * 1024

    def _said(self, name: str) -> list[str]:
        """A process's log lines about exports."""
        return [message for message in self.run.messages(name) if "export" in message]

    def _queue(self, what: str) -> float:
        """Of the collector's, for the trace receiver: its ``size`` or its ``capacity``."""
        return sum(
            sample.value
            for family in self._metrics("otel-collector:8888")
            for sample in family.samples
            if sample.name == f"otelcol_exporter_queue_{what}" and sample.labels["exporter"].startswith("otlp_grpc")
        )
