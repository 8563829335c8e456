"""From what the variants took in each round to medians, ratios and differences with their quartiles."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

Sample = dict[str, float]
"""Of one task or operation: microseconds (``cpu``, ``wall``, ``submit``, ``drain``), and ``trips``."""

Rounds = Sequence[Mapping[str, Sample]]
"""The sample of each variant, by its name, for each round."""


@dataclass(frozen=True, slots=True)
class Spread:
    """A median and the quartiles around it."""

    median: float
    low: float
    high: float


def spread(values: Iterable[float]) -> Spread:
    """The spread of the finite values; a round without a figure is left out, and without any the spread is ``nan``."""
    found = [value for value in values if math.isfinite(value)]
    if len(found) < 2:  # noqa: PLR2004 - two, for quartiles
        only = found[0] if found else math.nan
        return Spread(only, only, only)
    low, median, high = statistics.quantiles(found, n=4, method="inclusive")
    return Spread(median, low, high)


def taken(rounds: Rounds, name: str, figure: str = "cpu") -> Spread:
    return spread(each[name][figure] for each in rounds)


def ratio(rounds: Rounds, name: str, against: str, figure: str = "cpu") -> Spread:
    """The spread of the ratios of each round: the median of ratios, not the ratio of two medians."""
    return spread(_divided(each[name][figure], each[against][figure]) for each in rounds)


def added(rounds: Rounds, name: str, against: str, figure: str = "cpu") -> Spread:
    """The spread of the differences of two variants in the same round."""
    return spread(each[name][figure] - each[against][figure] for each in rounds)


def ratio_added(rounds: Rounds, new: tuple[str, str], old: tuple[str, str]) -> Spread:
    """The spread of what a new variant adds to its baseline, divided by what an old one adds to its own."""
    pairs = ([each[name]["cpu"] - each[against]["cpu"] for name, against in (new, old)] for each in rounds)
    return spread(_divided(more, before) for more, before in pairs)


def _divided(this: float, by: float) -> float:
    return this / by if by > 0 else math.nan


def in_turn(count: int, blocks: Sequence[Mapping[str, Callable[[], Sample]]]) -> list[dict[str, Sample]]:
    """Run ``count`` rounds; each runs all blocks, and all variants of a block together, in an order of its own."""
    rounds: list[dict[str, Sample]] = []
    for number in range(count):
        order = random.Random(number)  # noqa: S311 - the same orders in every run
        samples: dict[str, Sample] = {}
        for block in order.sample(blocks, len(blocks)):
            samples |= {name: block[name]() for name in order.sample(list(block), len(block))}
        rounds.append(samples)
    return rounds
