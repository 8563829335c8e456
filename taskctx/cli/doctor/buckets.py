"""Histograms that Prometheus does not store in the form that the alerts and dashboards need."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from taskctx.telemetry import names

from ..operating.fleet import Process
from ..operating.words import listed
from .finding import Finding, Severity


def check_buckets(scraped: Sequence[Process]) -> Iterator[Finding]:
    """Judge the processes as Prometheus shows them: a process that counts restores must have histogram buckets too."""
    without = [each.instance for each in scraped if any(each.find(names.RESTORES.name)) and not each.has_buckets]
    if without:
        yield Finding(
            "prometheus",
            Severity.WARNING,
            f"Prometheus has no buckets of the histograms of {listed(without)}",
            "TaskCtxRestoreSlow, TaskCtxCredentialExpiring and TaskCtxSnapshotTTLHeadroomLow never fire for them, and "
            "panels of latency, age, size and life left are empty.",
            "Where its configuration has convert_classic_histograms_to_nhcb, set always_scrape_classic_histograms as "
            "well; else look for what drops series that end in _bucket.",
        )
