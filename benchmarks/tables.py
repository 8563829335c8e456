"""A result as tables of text, which ``rendering.py`` draws."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .goals import CLOCKS
from .results import Breakdown, Goal, Group, Part, Result, Row, Spread
from .variants import BY_NAME, NONE

NOT_COMPARED = "-"
LEAST = 1
"""Instructions of a task that are worth a line."""

BACKENDS = {"valkey": "Valkey", "memory": "memory://"}


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells; a row of one cell is a heading within the table."""

    title: str
    columns: list[str]
    rows: list[list[str]]


def tables(result: Result) -> list[Table]:
    """All of them."""
    return [_paths(result), _growing(result), _kept(result)]


def summary(result: Result) -> list[Table]:
    """In fewer columns, for the README: the whole path alone, side by side for each number at a time."""
    return [_side_by_side(result, "valkey"), _side_by_side(result, "memory"), _growing(result), _kept(result)]


def _side_by_side(result: Result, backend: str) -> Table:
    paths = [group for group in result.of("path") if group.backend == backend]
    floors = {group.at_a_time: group for group in result.of("floor") if group.backend == backend}
    rows = _pivot(paths)
    if floors:
        rows += [["Save and restore alone; ratios to SET and GET"]]
        rows += _pivot([floors.get(group.at_a_time) for group in paths])
    columns = [f"{group.at_a_time} at a time ({_rounds(group)})" for group in paths]
    return Table(f"{BACKENDS[backend]}: ratios to Docket with no context, traced the same way", ["", *columns], rows)


def _pivot(groups: Sequence[Group | None]) -> list[list[str]]:
    """A row for each name, a column for each group."""
    names = dict.fromkeys(row.name for group in groups if group for row in group.rows)
    return [[_title(name), *(_in_short(group.row(name) if group else None) for group in groups)] for name in names]


def _in_short(row: Row | None) -> str:
    if row is None:
        return ""
    if row.against is None:
        return f"{_microseconds(row)} µs"
    missed = {goal.metric for goal in row.goals if not goal.met}
    return ", ".join(f"{_spread(row.costs[clock].ratio)}{' ✗' if clock in missed else ''}" for clock in CLOCKS)


def _paths(result: Result) -> Table:
    columns = ["", "wall", "CPU", "submit: wall, CPU", "drain: wall, CPU", "µs: wall, CPU", "spans", "goals"]
    rows: list[list[str]] = []
    for group in result.of("path"):
        rows += _section(f"{BACKENDS[group.backend]}, {group.at_a_time} at a time", group, _path)
    for group in result.of("floor"):
        rows += _section(f"Save and restore alone, {group.at_a_time} at a time, to SET and GET", group, _path)
    return Table("Ratios to Docket with no context, traced the same way", columns, rows)


def _growing(result: Result) -> Table:
    rows: list[list[str]] = []
    for group in result.of("backlog"):
        rows += _section(f"{_title(group.variant)}, behind tasks that wait, to the fewest", group, _grown)
    for group in result.of("payload"):
        rows += _section(f"A context of {group.size:,} bytes", group, _grown)
    for group in result.of("workers"):
        rows += _section(f"Drain alone by {_number(group.size, 'worker process', 'es')}, CPU of all", group, _grown)
    title = f"How cost grows: Valkey, {result.of('payload')[0].at_a_time} at a time"
    return Table(title, ["", "wall", "CPU", "µs: wall, CPU", "goals"], rows)


def _section(title: str, group: Group, cells: Callable[[Row], list[str]]) -> list[list[str]]:
    return [[f"{title} ({_rounds(group)})"], *map(cells, group.rows)]


def _path(row: Row) -> list[str]:
    spans = "" if row.spans is None else f"{row.spans:.2f}"
    phases = (_phase(row, "into_"), _phase(row, "out_"))
    return [_title(row.name), *_ratios(row), *phases, _microseconds(row), spans, _goals(row.goals)]


def _grown(row: Row) -> list[str]:
    title = f"{int(row.name):,} waiting" if row.name.isdecimal() else _title(row.name)
    return [title, *_ratios(row), _microseconds(row), _goals(row.goals)]


def _kept(result: Result) -> Table:
    rows: list[list[str]] = [["Bytes in Valkey of one pending task's snapshot"]]
    rows += [
        [
            _title(each.name),
            f"{each.usage:.0f}",
            f"{each.ratio:.2f} of {each.stored:.0f} stored + {each.key:.0f} for a key",
            _goals(each.goals),
        ]
        for each in result.memory
    ]
    rows += [["Bytes by which Valkey grew for each pending task, all told"]]
    rows += [[f"{_title(each.name)}, {each.pending:,} pending", f"{each.bytes:.0f}", "", ""] for each in result.growth]
    rows += [["Registries of live sessions and servers: bytes for each entry, and a look-up"]]
    rows += [
        [
            f"{each.entries:,} entries",
            f"{each.bytes:.0f}",
            f"{each.nanoseconds:.0f} ns ({each.lookups:,} look-ups)",
            _goals(each.goals),
        ]
        for each in result.registries
    ]
    return Table("What is kept", ["", "bytes", "", "goals"], rows)


def breakdown(result: Breakdown) -> list[Table]:
    """Steps side by side for each number at a time, and instructions."""
    columns = [f"{group.at_a_time} at a time ({_rounds(group)})" for group in result.groups]
    steps = [
        [_step(row), *(_added(found) for group in result.groups if (found := group.row(row.name)))]
        for row in result.groups[0].rows
    ]
    return [Table("CPU of a task, in µs", ["", *columns], steps), _instructions(result.parts)]


def _step(row: Row) -> str:
    return _title(row.name) if row.against in (None, NONE.name) else f"{_title(row.name)}: more than that"


def _added(row: Row) -> str:
    cost = row.costs["cpu"]
    if cost.more is None:
        return f"{cost.microseconds.median:.0f}"
    return f"{cost.more.median:+.0f} ({cost.more.low:+.0f}…{cost.more.high:+.0f})"


def _instructions(parts: Sequence[Part]) -> Table:
    columns = [f"{_title(part.name)}, {part.at_a_time} at a time" for part in parts]
    names = [name for name in parts[0].instructions if any(abs(part.instructions[name]) >= LEAST for part in parts)]
    rows = [[name, *(f"{part.instructions[name]:,.0f}" for part in parts)] for name in names]
    rows += [["all", *(f"{sum(part.instructions.values()):,.0f}" for part in parts)]]
    return Table("Bytecode instructions that a task has more", ["", *columns], rows)


def verdict(result: Result) -> str:
    """How many goals are met."""
    goals = result.goals()
    return f"{sum(goal.met for goal in goals)} of {len(goals)} goals are met."


def provenance(result: Result) -> str:
    """The machine, in a sentence, and the run."""
    return f"{machine(result)}, {result.pace} run of {result.seconds:.0f} seconds."


def machine(result: Result | Breakdown) -> str:
    """Where and when."""
    about = result.machine
    versions = ", ".join(f"{name} {version}" for name, version in about.versions.items())
    return f"{about.cpu}, {about.cores} cores, {about.system}; {about.python}; {versions}; {about.date}"


def _title(name: str | None) -> str:
    variant = BY_NAME.get(name or "")
    return "SET and GET, bare" if variant is None else variant.title


def _number(number: int | None, noun: str, plural: str) -> str:
    return f"{number} {noun}{'' if number == 1 else plural}"


def _rounds(group: Group) -> str:
    return _number(group.rows[0].rounds, "round", "s")


def _ratios(row: Row) -> list[str]:
    return [_spread(row.costs[clock].ratio) for clock in CLOCKS]


def _spread(spread: Spread | None) -> str:
    return NOT_COMPARED if spread is None else f"{spread.median:.2f} ({spread.low:.2f}…{spread.high:.2f})"


def _phase(row: Row, phase: str) -> str:
    ratios = (row.costs[f"{phase}{clock}"].ratio for clock in CLOCKS)
    return ", ".join(NOT_COMPARED if ratio is None else f"{ratio.median:.2f}" for ratio in ratios)


def _microseconds(row: Row) -> str:
    return ", ".join(f"{row.costs[clock].microseconds.median:.0f}" for clock in CLOCKS)


def _goals(goals: Sequence[Goal]) -> str:
    """Fixed ones by their limits; "ahead" is of FastMCP's own path in the same group."""
    fixed = ", ".join(
        f"{'<' if each.strictly else '≤'} {each.limit:.4g} {_mark(each)}" for each in goals if not each.of
    )
    ahead = ", ".join(_mark(each) for each in goals if each.of)
    return "; ".join(part for part in (fixed, ahead and f"ahead {ahead}") if part)


def _mark(goal: Goal) -> str:
    return "✓" if goal.met else "✗"
