"""How much is measured: the whole in ten minutes, ``--quick`` in two, ``--smoke`` to see that it works."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Budget:
    """Rounds are begun until the seconds are used up, but there are at least so many."""

    seconds: float
    rounds: int


@dataclass(frozen=True, slots=True)
class Pace:
    """Counts and seconds of each part of a run.

    Attributes:
        tasks: how many tasks a round has, by how many are under way at a time.
        valkey, memory: the budget of the tasks' whole path, for each of these numbers at a time.
        steps: the budget of a breakdown, for each of these numbers at a time.
        counted: tasks whose instructions are counted in a breakdown.
        floor_operations: saves, and restores, of a round against bare SET and GET.
        floor: the budget of that, for each number at a time.
        stored: snapshots whose memory is measured.
        backlogs: how many tasks wait while others are submitted and run; the first is the baseline.
        backlog_tasks: how many are submitted and run in a round.
        payloads: sizes of the stored context, in bytes.
        payload_tasks: how many tasks a round has.
        workers: numbers of worker processes.
        worker_tasks: how many tasks they share in a round.
        entries: of a registry that is looked up.
        lookups: in each of them.
    """

    name: str
    tasks: dict[int, int]
    valkey: Budget
    memory: Budget
    steps: Budget
    counted: int
    floor_operations: int
    floor: Budget
    stored: int
    backlogs: tuple[int, ...]
    backlog_tasks: int
    backlog: Budget
    payloads: tuple[int, ...]
    payload_tasks: int
    payload: Budget
    workers: tuple[int, ...]
    worker_tasks: int
    worker: Budget
    entries: tuple[int, ...]
    lookups: int


PAYLOADS = (512, 4_096, 16_384, 65_536)
ENTRIES = (10, 100, 1_000, 10_000)

FULL = Pace(
    name="full",
    tasks={1: 150, 50: 1_000, 500: 1_000},
    valkey=Budget(65, 7),
    memory=Budget(25, 3),
    steps=Budget(60, 7),
    counted=200,
    floor_operations=2_000,
    floor=Budget(15, 7),
    stored=500,
    backlogs=(1_000, 10_000, 100_000),
    backlog_tasks=1_000,
    backlog=Budget(25, 5),
    payloads=PAYLOADS,
    payload_tasks=500,
    payload=Budget(12, 5),
    workers=(1, 2, 4),
    worker_tasks=3_000,
    worker=Budget(15, 3),
    entries=ENTRIES,
    lookups=1_000_000,
)

QUICK = Pace(
    name="quick",
    tasks={1: 40, 50: 400, 500: 500},
    valkey=Budget(13, 3),
    memory=Budget(4, 1),
    steps=Budget(12, 3),
    counted=50,
    floor_operations=500,
    floor=Budget(3, 3),
    stored=100,
    backlogs=(1_000, 10_000),
    backlog_tasks=500,
    backlog=Budget(6, 3),
    payloads=PAYLOADS,
    payload_tasks=200,
    payload=Budget(3, 2),
    workers=(1, 2, 4),
    worker_tasks=1_000,
    worker=Budget(3, 2),
    entries=ENTRIES,
    lookups=100_000,
)

SMOKE = Pace(
    name="smoke",
    tasks={1: 3, 50: 60},
    valkey=Budget(0, 2),
    memory=Budget(0, 1),
    steps=Budget(0, 2),
    counted=5,
    floor_operations=5,
    floor=Budget(0, 2),
    stored=5,
    backlogs=(10, 20),
    backlog_tasks=5,
    backlog=Budget(0, 1),
    payloads=(512, 65_536),
    payload_tasks=3,
    payload=Budget(0, 1),
    workers=(1, 2),
    worker_tasks=20,
    worker=Budget(0, 1),
    entries=(10, 100),
    lookups=100,
)
