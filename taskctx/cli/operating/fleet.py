"""The processes with taskctx, by their metrics: from their own endpoints, or from a Prometheus."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families

from taskctx.telemetry import names

from .._problem import Problem
from .._url import shown_with_path
from .web import ask_prometheus, fetch, metrics_url
from .words import duration

TASKS_STARTED = "docket_tasks_started_total"
QUEUE_DEPTH = "docket_queue_depth"
PROCESS_STARTED = "process_start_time_seconds"
LOOK_BACK = "1d"
"""A process that Prometheus last saw longer ago than this is not reported as missing."""

_BUCKETS = tuple(f"{metric.name}_bucket" for metric in (names.SNAPSHOT_AGE, names.SNAPSHOT_TTL_REMAINING))
_NAMES = (
    names.ANONYMOUS_SUBMISSIONS.name,
    names.BUILD_INFO.name,
    names.CAPTURES.name,
    names.CRYPTO_OPERATIONS.name,
    names.ENCRYPTION_KEY_INFO.name,
    names.RESTORES.name,
    names.RESTORE_FAILURES.name,
    names.SCHEMA_VERSION.name,
    *_BUCKETS,
    TASKS_STARTED,
    QUEUE_DEPTH,
    PROCESS_STARTED,
)


@dataclass(frozen=True, slots=True)
class Sample:
    """One series and its value."""

    name: str
    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True, slots=True)
class Process:
    """One process.

    Attributes:
        instance: the address of its metrics; no other process has the same.
        down: why its metrics cannot be read; None when they can.
    """

    instance: str
    samples: tuple[Sample, ...] = field(default=(), repr=False)
    down: str | None = None

    def find(self, name: str, **labels: str) -> Iterator[Sample]:
        """The process's series with this name and (at least) these labels."""
        wanted = labels.items()
        return (each for each in self.samples if each.name == name and wanted <= each.labels.items())

    def total(self, name: str, **labels: str) -> float:
        return sum(each.value for each in self.find(name, **labels))

    def by(self, label: str, name: str, **labels: str) -> dict[str, float]:
        """Sums of a metric's series, by the values of a label."""
        sums: dict[str, float] = {}
        for each in self.find(name, **labels):
            value = each.labels.get(label, "")
            sums[value] = sums.get(value, 0.0) + each.value
        return sums

    def grown(self, label: str, name: str, before: Process, **labels: str) -> dict[str, float]:
        """The growth of :meth:`by` since ``before``, or since the process's start where ``before`` is empty.

        Where one series is lower than before, the process was started again, and all of its series begin at 0.
        """
        then = before.by(label, name, **labels)
        now = self.by(label, name, **labels)
        if any(count < then.get(value, 0.0) for value, count in now.items()):
            return now
        return {value: count - then.get(value, 0.0) for value, count in now.items()}

    def since(self, before: Process, seconds: float) -> str:
        """The period of :meth:`grown` in words; ``before`` was ``seconds`` ago."""
        if before.samples:
            return f"in the last {duration(seconds)}"
        ago = "" if self.started is None else f", {duration(max(0.0, time.time() - self.started))} ago"
        return f"since it started{ago}"

    @property
    def dockets(self) -> dict[str, bool]:
        """The dockets in the process's metrics; for each, whether the process runs a worker of the docket."""
        known = {each.labels["docket_name"]: False for each in self.samples if "docket_name" in each.labels}
        return {name: self.works_for(name) for name in known}

    def works_for(self, docket: str) -> bool:
        """Whether the metrics show that the process runs a worker of the docket."""
        return (
            any(self.find(QUEUE_DEPTH, docket_name=docket)) or self.total(names.RESTORES.name, docket_name=docket) > 0
        )

    @property
    def started(self) -> float | None:
        """When the process started, in seconds since the epoch; None where its metrics do not say."""
        return next((each.value for each in self.find(PROCESS_STARTED)), None)

    @property
    def has_dockets_metrics(self) -> bool:
        return any(each.name.startswith("docket_") for each in self.samples)

    @property
    def has_buckets(self) -> bool:
        """Whether the process has buckets of histograms; a process that counts restores should have them."""
        return any(each.name in _BUCKETS for each in self.samples)

    @property
    def has_taskctx(self) -> bool:
        return any(self.find(names.BUILD_INFO.name))


async def read_endpoints(urls: Sequence[str]) -> list[Process]:
    """The process behind each metrics endpoint, in the same order.

    Raises:
        Problem: a URL is empty, for example because a shell variable is not set.
    """
    if not all(url.strip() for url in urls):
        raise Problem("--metrics is empty", "Give it an address such as worker-1:9100, or leave it out.")
    return list(await asyncio.gather(*(_read_endpoint(url) for url in urls)))


async def read_prometheus(url: str, *, ago: str = "") -> list[Process]:
    """The processes that a Prometheus scrapes, now or a time ``ago`` (``1h``).

    Raises:
        Problem: Prometheus does not answer.
    """
    offset = f" offset {ago}" if ago else ""
    series, up = await asyncio.gather(
        _query(url, f'{{__name__=~"{"|".join(_NAMES)}"}}{offset}'),
        _query(url, f"up and on (job) last_over_time({names.BUILD_INFO.name}[{LOOK_BACK}])"),
    )
    down = {_instance(sample): "its last scrape failed" for sample in up if sample.value == 0}
    found: dict[str, list[Sample]] = {_instance(sample): [] for sample in up}
    for sample in series:
        found.setdefault(_instance(sample), []).append(sample)
    return [Process(name, tuple(samples), down.get(name)) for name, samples in sorted(found.items())]


async def _read_endpoint(url: str) -> Process:
    # behind one proxy, only the paths of processes differ
    where = shown_with_path(url).rstrip("/").removesuffix("/metrics") or url
    try:
        families = list(text_string_to_metric_families(await fetch(metrics_url(url))))
    except Problem as problem:
        return Process(where, down=str(problem))
    except (ValueError, IndexError, KeyError):
        return Process(where, down="the answer is not in Prometheus's format")
    samples = (Sample(each.name, each.labels, each.value) for family in families for each in family.samples)
    return Process(where, tuple(_ours(samples)))


def _ours(samples: Iterable[Sample]) -> Iterator[Sample]:
    return (each for each in samples if each.name in _NAMES)


async def _query(url: str, expression: str) -> list[Sample]:
    answer = await ask_prometheus(url, "query", query=expression)
    return [
        Sample(each["metric"].get("__name__", ""), each["metric"], float(each["value"][1])) for each in answer["result"]
    ]


def _instance(sample: Sample) -> str:
    """Job and instance, which together identify a target."""
    return f"{sample.labels.get('job', '')}/{sample.labels.get('instance', '')}"
