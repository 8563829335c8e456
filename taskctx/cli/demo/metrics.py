"""The metrics of the demo's processes, scraped like Prometheus does."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import httpx
from prometheus_client.parser import text_string_to_metric_families

from taskctx.telemetry.names import REGISTRY_LOOKUPS, RESTORE_DURATION, RESTORES

from ..operating import histogram
from ..operating.fleet import Process, Sample
from .cluster import DemoError


def lookups(processes: Sequence[Process]) -> dict[str, dict[str, int]]:
    """The lookups of live objects by registry, and the number of hits."""

    def count(**labels: str) -> int:
        return int(sum(process.total(REGISTRY_LOOKUPS.name, **labels) for process in processes))

    return {
        name: {"hits": count(registry=name, result="hit"), "lookups": count(registry=name)}
        for name in ("session", "server")
    }


def restores(process: Process) -> tuple[int, int]:
    """The number of restores that were ok, and of those that were not."""
    ok = process.total(RESTORES.name, outcome="ok")
    return int(ok), int(process.total(RESTORES.name) - ok)


async def scrape(client: httpx.AsyncClient, url: str) -> Process:
    """The metrics of a process.

    Raises:
        DemoError: the process serves no metrics.
    """
    try:
        response = await client.get(url)
        response.raise_for_status()
    except httpx.HTTPError as error:
        raise DemoError(f"no metrics at {url} ({type(error).__name__})") from None
    families = text_string_to_metric_families(response.text)
    return Process(url, tuple(Sample(it.name, it.labels, it.value) for family in families for it in family.samples))


def quantile(of: float, scrapes: Sequence[Process]) -> float | None:
    """A quantile of the restore durations in seconds, estimated like PromQL's ``histogram_quantile``."""
    merged: defaultdict[float, float] = defaultdict(float)
    for each in scrapes:
        for bound, count in each.by("le", f"{RESTORE_DURATION.name}_bucket").items():
            merged[float(bound)] += count
    return histogram.quantile(of, merged)
