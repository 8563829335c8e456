"""The metrics that the processes of the demo expose, scraped as Prometheus would."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import httpx
from prometheus_client.parser import text_string_to_metric_families

from taskctx.telemetry.names import REGISTRY_LOOKUPS, RESTORE_DURATION, RESTORES

from ..operating import histogram
from ..operating.fleet import Process, Sample
from .checks import ContextLost
from .cluster import Member, Problem

REGISTRIES = ("session", "server")


class Scrape(Process):
    """One process's numbers; ``instance`` is where they were scraped."""

    @property
    def ok(self) -> int:
        """Restores that were."""
        return int(self.total(RESTORES.name, outcome="ok"))

    @property
    def not_ok(self) -> int:
        """Restores that were not."""
        return int(self.total(RESTORES.name)) - self.ok

    @property
    def lookups(self) -> dict[str, dict[str, int]]:
        """Lookups altogether, and hits, by registry."""
        hits = self.by("registry", REGISTRY_LOOKUPS.name, result="hit")
        lookups = self.by("registry", REGISTRY_LOOKUPS.name)
        return {name: {"hits": int(hits.get(name, 0)), "lookups": int(lookups.get(name, 0))} for name in REGISTRIES}


async def scrape(client: httpx.AsyncClient, member: Member) -> Scrape:
    """What the metrics of a process say.

    Raises:
        Problem: it serves none.
        ContextLost: not all restores were ok.
    """
    url = member.metrics_url
    try:
        response = await client.get(url)
        response.raise_for_status()
    except httpx.HTTPError as error:
        raise Problem(f"no metrics at {url} ({type(error).__name__})") from None
    families = text_string_to_metric_families(response.text)
    samples = (Sample(each.name, each.labels, each.value) for family in families for each in family.samples)
    found = Scrape(url, tuple(samples))
    if found.not_ok:
        raise ContextLost(f"{member.name} counted {found.not_ok} restores that were not ok")
    return found


def quantile(of: float, scrapes: Iterable[Scrape]) -> float | None:
    """A quantile of the restore durations in seconds, as PromQL's ``histogram_quantile`` estimates it."""
    merged: defaultdict[float, float] = defaultdict(float)
    for each in scrapes:
        for bound, count in each.by("le", f"{RESTORE_DURATION.name}_bucket").items():
            merged[float(bound)] += count
    return histogram.quantile(of, merged)
