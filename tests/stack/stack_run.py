"""What the run of the stack leaves to look at; :mod:`tests.stack.stack_play` plays it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from tests.examples.otlp import Received
from tests.stack import stack_otlp as otlp
from tests.stack.prometheus import Prometheus
from tests.stack.stack_orders import Order
from tests.stack.stack_services import Services

RESTORE, SAVE, REQUEST = "taskctx.restore", "taskctx.save", "POST /reports"
CALLS, DURATION = "traces.span.metrics.calls", "traces.span.metrics.duration"
SLOW = 2.0
"""Seconds: no request takes as long, with or without a collector; they normally take milliseconds."""


@dataclass
class Outage:
    """What it was like while something was gone.

    Attributes:
        requests: seconds that each request took.
        statuses: what they were answered with.
        reports: how the reports ended.
    """

    requests: list[float] = field(default_factory=list[float])
    statuses: set[int] = field(default_factory=set[int])
    reports: list[str] = field(default_factory=list[str])

    @property
    def slow(self) -> list[float]:
        return [seconds for seconds in self.requests if seconds > SLOW]


@dataclass
class Run:
    """What was started, and what came of it.

    Attributes:
        validated: what the collector's ``validate`` said to the configuration; nothing, if it is well.
        otlp_in_prometheus: whether this Prometheus has an OTLP receiver.
        load_outcome: the load generator's last words.
        orders: those that a fault was made for, by the fault.
        restores: by outcome, as the workers counted them, before the outages.
        calls: the span metrics of that moment.
        sampled: the spans at the sampled output by then.
        outages: by what was gone.
        memory: bytes that the API had before and after the flood.
        said_while_hanging: how many log lines about exports the API had, before the collector was killed.
        export_failures: those lines after that, by process.
        queue: how full the collector's queue was, and how full it can be, as the trace receiver was gone.
        came_back: whether what was gone was used again.
    """

    services: Services
    traces: otlp.TraceReceiver
    metrics: otlp.MetricReceiver
    prometheus: Prometheus
    otlp_in_prometheus: bool
    validated: str
    load_outcome: str = ""
    orders: dict[str, list[Order]] = field(default_factory=dict[str, list[Order]])
    restores: dict[str, float] = field(default_factory=dict[str, float])
    calls: list[otlp.Point] = field(default_factory=list[otlp.Point])
    sampled: list[Received] = field(default_factory=list[Received])
    outages: dict[str, Outage] = field(default_factory=dict[str, Outage])
    memory: tuple[int, int] = (0, 0)
    said_while_hanging: int = 0
    export_failures: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    queue: dict[str, float] = field(default_factory=dict[str, float])
    came_back: dict[str, bool] = field(default_factory=dict[str, bool])

    def log(self, name: str) -> str:
        return (self.services.directory / f"{name}.log").read_text(errors="replace")

    def messages(self, name: str) -> list[str]:
        """Of a process that logs a JSON object a line."""
        complete = self.log(name).rpartition("\n")[0].splitlines()
        return [json.loads(line)["message"] for line in complete if line.startswith("{")]

    def restored(self, outcome: str) -> list[Received]:
        """The restores with this outcome that are at the sampled output."""
        return restores_among(self.sampled, outcome)

    def trace(self, trace_id: str) -> list[Received]:
        return [each for each in self.sampled if each.trace_id == trace_id]

    def rules(self) -> list[dict[str, Any]]:
        """What Prometheus has loaded, each with its group's name."""
        groups = self.prometheus.client.get("/api/v1/rules").raise_for_status().json()["data"]["groups"]
        return [rule | {"group": group["name"]} for group in groups for rule in group["rules"]]


def restores_among(spans: Iterable[Received], outcome: str) -> list[Received]:
    return [each for each in spans if each.span.name == RESTORE and each.attributes.get("taskctx.outcome") == outcome]


def restores_by_outcome(calls: Iterable[otlp.Point]) -> dict[str, float]:
    """How many there were, by the span metrics."""
    counted: dict[str, float] = {}
    for point in calls:
        if point.attributes["span.name"] == RESTORE:
            outcome = point.attributes["taskctx.outcome"]
            counted[outcome] = counted.get(outcome, 0) + point.value
    return counted
