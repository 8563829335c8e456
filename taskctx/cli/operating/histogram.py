"""Quantiles of histograms, estimated like PromQL's ``histogram_quantile``."""

from __future__ import annotations

from collections.abc import Mapping


def quantile(of: float, buckets: Mapping[float, float]) -> float | None:
    """A quantile, from cumulative counts by upper bound (the last is infinity); None when all counts are 0."""
    bounds = sorted(buckets)
    if not bounds or not buckets[bounds[-1]]:
        return None
    rank = of * buckets[bounds[-1]]
    lower, below = 0.0, 0.0
    for bound in bounds[:-1]:
        if buckets[bound] >= rank:
            inside = buckets[bound] - below
            return lower + (bound - lower) * (rank - below) / inside if inside else bound
        lower, below = bound, buckets[bound]
    # the quantile is above the last finite bound
    return lower
