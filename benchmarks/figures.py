"""From seconds in rounds to medians, and to ratios of pairs that were measured in the same round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median, quantiles

from .results import Cost, Row, Spread

Sample = Mapping[str, float]
"""Seconds for each task, by what they are of: ``wall``, ``cpu``, ``into_wall``, ..."""

MICROSECONDS = 1e6


def spread(values: Sequence[float]) -> Spread:
    """The median, and the quartiles around it."""
    low, _, high = quantiles(values, n=4, method="inclusive") if len(values) > 1 else (values[0],) * 3
    return Spread(median=median(values), low=low, high=high)


def compare(rounds: Sequence[Mapping[str, Sample]], baselines: Mapping[str, str | None]) -> dict[str, Row]:
    """A row for each name: what it took, and its ratio to its baseline round by round.

    The median of ratios, not the ratio of medians: what slows the machine down for a while slows down both of a pair.
    """
    return {name: _row(rounds, name, baseline) for name, baseline in baselines.items()}


def _row(rounds: Sequence[Mapping[str, Sample]], name: str, baseline: str | None) -> Row:
    return Row(
        name=name,
        against=baseline,
        rounds=len(rounds),
        costs={
            metric: Cost(
                microseconds=spread([each[name][metric] * MICROSECONDS for each in rounds]),
                ratio=None if baseline is None else spread([_ratio(each, name, baseline, metric) for each in rounds]),
                more=None if baseline is None else spread([_more(each, name, baseline, metric) for each in rounds]),
            )
            for metric in rounds[0][name]
        },
    )


def _ratio(of: Mapping[str, Sample], name: str, baseline: str, metric: str) -> float:
    return of[name][metric] / of[baseline][metric]


def _more(of: Mapping[str, Sample], name: str, baseline: str, metric: str) -> float:
    return (of[name][metric] - of[baseline][metric]) * MICROSECONDS
