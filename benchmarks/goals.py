"""What the figures are to be."""

from __future__ import annotations

from collections.abc import Iterable

from .results import Goal, Group, Memory, Registry, Row
from .variants import BY_NAME, FASTMCP

PATHS: dict[str, dict[str, float]] = {
    "plain": {"wall": 1.00, "cpu": 1.07},
    "sealed": {"wall": 1.00, "cpu": 1.07},
    "sealed_traced": {"wall": 1.12, "cpu": 1.18},
    "sealed_sampled": {"wall": 1.03, "cpu": 1.10},
}
"""Ratios of the whole path, at 50 and at 500 tasks at a time."""

BUSY = 50
"""From so many at a time on."""

FLOOR = {1: 1.15, 50: 0.5}
"""Of the floor's SET and GET together, by how many at a time: sealed and counted."""

FLAT = 1.05
"""A task behind many others, to one behind few."""

MEMORY = 1.10
"""What the server takes for a snapshot, to the bytes sealed and what any key takes."""

REGISTERED = 400
"""Bytes for each entry of a registry, which is fewer."""

CLOCKS = ("wall", "cpu")


def judged(group: Group) -> Group:
    """The group with the goals of its rows."""
    return group.model_copy(update={"rows": [_with_goals(row, group) for row in group.rows]})


def judged_memory(memory: Memory) -> Memory:
    ours = BY_NAME[memory.name].ours
    return memory.model_copy(update={"goals": [_goal("memory", memory.ratio, MEMORY)] if ours else []})


def judged_registry(registry: Registry) -> Registry:
    goal = Goal(metric="bytes", measured=registry.bytes, limit=REGISTERED, strictly=True)
    return registry.model_copy(update={"goals": [goal]})


def _with_goals(row: Row, group: Group) -> Row:
    return row.model_copy(update={"goals": list(_goals(row, group))})


def _goals(row: Row, group: Group) -> Iterable[Goal]:
    match group.what:
        case "path" if BY_NAME[row.name].ours:
            limits = PATHS[row.name] if group.at_a_time >= BUSY else {}
            yield from (_goal(clock, _ratio(row, clock), limit) for clock, limit in limits.items())
            yield from _ahead_of_fastmcp(row, group)
        case "floor" if row.name == "sealed":
            yield from (_goal(clock, _ratio(row, clock), FLOOR[group.at_a_time]) for clock in CLOCKS)
        case "backlog" if row.against is not None and BY_NAME[group.variant or ""].ours:
            yield from (_goal(clock, _ratio(row, clock), FLAT) for clock in CLOCKS)
        case _:
            pass


def _ahead_of_fastmcp(row: Row, group: Group) -> Iterable[Goal]:
    theirs = group.row(FASTMCP.name)
    if theirs is None:
        return
    for clock in CLOCKS:
        limit = _ratio(theirs, clock)
        yield Goal(metric=clock, measured=_ratio(row, clock), limit=limit, strictly=True, of=FASTMCP.title)


def _goal(metric: str, measured: float, limit: float) -> Goal:
    return Goal(metric=metric, measured=measured, limit=limit)


def _ratio(row: Row, metric: str) -> float:
    ratio = row.costs[metric].ratio
    if ratio is None:
        raise ValueError(f"{row.name} is a baseline")
    return ratio.median
