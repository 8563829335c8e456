"""The metrics that the processes of the demo expose, scraped as Prometheus would."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import httpx
from prometheus_client.parser import text_string_to_metric_families

from taskctx.telemetry.names import REGISTRY_LOOKUPS, RESTORE_DURATION, RESTORES

from ..operating import histogram
from .outcome import Problem

REGISTRIES = ("session", "server")


@dataclass(frozen=True, slots=True)
class Scrape:
    """One process's numbers.

    Attributes:
        restores: by outcome.
        buckets: restore durations: cumulative counts by upper bound.
        lookups: by (registry, result).
    """

    url: str
    restores: Counter[str] = field(default_factory=Counter[str])
    buckets: dict[float, float] = field(default_factory=dict[float, float])
    lookups: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])

    @property
    def not_ok(self) -> int:
        return self.restores["degraded"] + self.restores["failed"]

    def found(self, registry: str) -> tuple[int, int]:
        """Hits, and lookups altogether."""
        lookups = {result: count for (name, result), count in self.lookups.items() if name == registry}
        return lookups.get("hit", 0), sum(lookups.values())


async def scrape(client: httpx.AsyncClient, url: str) -> Scrape:
    """What a metrics endpoint says of restores and registries.

    Raises:
        Problem: there is no such endpoint.
    """
    try:
        response = await client.get(url)
        response.raise_for_status()
    except httpx.HTTPError as error:
        raise Problem(f"no metrics at {url} ({type(error).__name__})") from None
    found = Scrape(url)
    for family in text_string_to_metric_families(response.text):
        for sample in family.samples:
            match sample.name:
                case RESTORES.name:
                    found.restores[sample.labels["outcome"]] += int(sample.value)
                case REGISTRY_LOOKUPS.name:
                    found.lookups[sample.labels["registry"], sample.labels["result"]] += int(sample.value)
                case name if name == f"{RESTORE_DURATION.name}_bucket":
                    found.buckets[float(sample.labels["le"])] = sample.value
                case _:
                    pass
    return found


def quantile(of: float, scrapes: Iterable[Scrape]) -> float | None:
    """A quantile of the restore durations in seconds, as PromQL's ``histogram_quantile`` estimates it."""
    merged: defaultdict[float, float] = defaultdict(float)
    for each in scrapes:
        for bound, count in each.buckets.items():
            merged[bound] += count
    return histogram.quantile(of, merged)


def hit_rate(registry: str, scrapes: Sequence[Scrape]) -> tuple[int, int]:
    """Hits and lookups over all processes."""
    found = [each.found(registry) for each in scrapes]
    return sum(hits for hits, _ in found), sum(lookups for _, lookups in found)
