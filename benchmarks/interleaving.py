"""Rounds: each has every contender run once, in another order, until the time for it is used up."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping

from .figures import Sample
from .pace import Budget


def rounds(budget: Budget, contenders: Mapping[str, Callable[[], Sample]]) -> list[dict[str, Sample]]:
    """What each contender took in each round."""
    return [_round(number, contenders) for number in numbers(budget)]


def _round(number: int, contenders: Mapping[str, Callable[[], Sample]]) -> dict[str, Sample]:
    # nobody always runs after the same one; the orders are the same in every run
    order = random.Random(number).sample(list(contenders), k=len(contenders))  # noqa: S311 - no secret
    return {name: contenders[name]() for name in order}


def numbers(budget: Budget) -> Iterator[int]:
    """0, 1, 2, ... while another round of average length is within the budget, and at least as many as it says."""
    began, number = time.monotonic(), 0
    while number < budget.rounds or (time.monotonic() - began) * (number + 1) / number <= budget.seconds:
        yield number
        number += 1
