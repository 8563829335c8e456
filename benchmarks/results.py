"""What a run found.  ``--json`` prints it as it stands here."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, computed_field


class _Found(BaseModel):
    model_config = ConfigDict(frozen=True)


class Spread(_Found):
    """A median and the quartiles around it."""

    median: float
    low: float
    high: float


class Cost(_Found):
    """Of one task (or one operation).

    Attributes:
        microseconds: what it took.
        ratio: how many times what its baseline took in the same round.
        more: how many microseconds more than that.
    """

    microseconds: Spread
    ratio: Spread | None
    more: Spread | None = None


class Goal(_Found):
    """What a figure is to be, and whether it is.

    Attributes:
        metric: the cost (``wall``, ``cpu``) or the figure that it is for.
        limit: the goal.
        strictly: whether it is to be below, not at most, the limit.
        of: what sets the limit, when it is another figure of the run.
    """

    metric: str
    measured: float
    limit: float
    strictly: bool = False
    of: str | None = None

    @computed_field
    @property
    def met(self) -> bool:
        return self.measured < self.limit if self.strictly else self.measured <= self.limit


class Row(_Found):
    """One thing that was measured, in so many rounds.

    Attributes:
        costs: by ``wall`` and ``cpu``, and those of the way into the server (``into_``: submit, save or SET) and out of
            it (``out_``: drain, restore or GET).
        spans: that arrived at the sink, for each task.
    """

    name: str
    against: str | None
    rounds: int
    costs: dict[str, Cost]
    goals: list[Goal] = []
    spans: float | None = None


class Group(_Found):
    """Rows that are compared with one another.

    Attributes:
        what: ``path`` (tasks, all the way; or the ``steps`` of it), ``floor`` (save and restore alone), ``backlog`` (a
            row for each number of waiting tasks), ``payload``, ``workers`` (the way out alone).
        size: of what grows, for a ``payload`` (bytes) and ``workers`` (processes).
        variant: whose ``backlog`` it is.
    """

    what: Literal["path", "steps", "floor", "backlog", "payload", "workers"]
    backend: Literal["valkey", "memory"]
    at_a_time: int
    size: int | None = None
    variant: str | None = None
    rows: list[Row]

    def row(self, name: str) -> Row | None:
        return next((row for row in self.rows if row.name == name), None)


class Memory(_Found):
    """Bytes in Valkey of one pending task's snapshot, on average.

    Attributes:
        stored: of the value.
        key: that any key of this length with a TTL takes.
        usage: of both together, as the server counts them (``MEMORY USAGE``).
    """

    name: str
    stored: float
    key: float
    usage: float
    goals: list[Goal] = []

    @computed_field
    @property
    def ratio(self) -> float:
        return self.usage / (self.stored + self.key)


class Growth(_Found):
    """Bytes by which the server grew for each of so many pending tasks, all told (``used_memory``)."""

    name: str
    pending: int
    bytes: float


class Registry(_Found):
    """Looking up what is registered."""

    entries: int
    lookups: int
    nanoseconds: float
    bytes: float
    goals: list[Goal] = []


class Machine(_Found):
    """Where it was measured.

    Attributes:
        load: how many processes wanted to run, on average over the minute before.
        versions: of what takes part.
    """

    cpu: str
    cores: int
    system: str
    python: str
    load: float
    versions: dict[str, str]
    date: str


class Result(_Found):
    """Everything.

    Attributes:
        notes: what was left out, and why; what to mind.
    """

    machine: Machine
    pace: str
    seconds: float
    groups: list[Group]
    memory: list[Memory]
    growth: list[Growth]
    registries: list[Registry]
    notes: list[str]

    def of(self, what: str) -> list[Group]:
        return [group for group in self.groups if group.what == what]

    def goals(self) -> list[Goal]:
        """All of them, in the order of the tables."""
        rows = [row for group in self.groups for row in group.rows]
        return [goal for each in (*rows, *self.memory, *self.registries) for goal in each.goals]


class Part(_Found):
    """Bytecode instructions that a task has in somebody's code, more than the same task of its baseline has there."""

    name: str
    against: str
    at_a_time: int
    instructions: dict[str, float]


class Breakdown(_Found):
    """Where the time goes.

    Attributes:
        groups: tasks all the way, at one number at a time each; a row for every step.
        parts: of the last steps.
    """

    machine: Machine
    seconds: float
    groups: list[Group]
    parts: list[Part]
    notes: list[str]
