"""How much is measured."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pace:
    """Counts of a run.

    Attributes:
        rounds: in each of which every variant runs once.
        tasks: of a variant in a round, by how many are under way at a time.
        warm_up: tasks of each variant before the first round.
        operations: contexts that are saved and restored without a task, in a round.
        backlogs: how many tasks wait while others are submitted and run; the first is the baseline.
        entries, lookups: in a registry.
        counted: tasks whose instructions are counted.
        cold: whether connections are opened by the tasks, or before they are measured.
    """

    name: str
    rounds: int
    tasks: dict[int, int]
    warm_up: int
    operations: int
    backlogs: tuple[int, int]
    entries: int
    lookups: int
    counted: int
    cold: bool = False


FULL = Pace("full", 9, {1: 300, 50: 1_500, 500: 1_500}, 300, 2_000, (5_000, 100_000), 10_000, 200_000, 200)
QUICK = Pace("quick", 3, {1: 100, 50: 600, 500: 1_000}, 300, 500, (5_000, 20_000), 10_000, 50_000, 50)
SMOKE = Pace("smoke", 2, {1: 3, 50: 60}, 5, 5, (200, 400), 100, 100, 5)
