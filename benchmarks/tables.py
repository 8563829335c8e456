"""The tables, in Markdown: each is measured and written down."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any
from uuid import uuid4

from .campaign import AT_A_TIME, named, say, tasks, turn
from .children import Children
from .figures import Rounds, Sample, Spread, added, in_turn, ratio, ratio_added, taken
from .pace import Pace
from .variants import BY_NAME, COUNTED, INSTRUMENTED, NONE, OLD, PLAIN, SEALED, SUMMARY, THIS, Variant

COST, README = "docs/cost.md", "README.md"

Variants = Sequence[Variant]
Texts = dict[str, str]  # by the page that each is for


def everything(children: Children, pace: Pace, variants: Variants) -> Texts:
    """All tables for docs/cost.md, and the table for the README."""
    found = tasks(children, pace, variants)
    columns = ("", "CPU, µs", "more CPU, µs", "submitting", "running", "CPU, ratio", "wall, ratio", "round trips")
    parts = [
        f"**Tasks, {at_a_time} at a time**\n\n{_table(columns, (_costs(rounds, each) for each in variants))}"
        for at_a_time, rounds in found.items()
    ]
    parts += [_alone(children, pace), _backlogs(children, pace), _registry(children, pace)]
    short = [
        (each.title, *(f"{_cost(rounds, each)} µs, {_trips(rounds, each)}" for rounds in found.values()))
        for each in SUMMARY
        if each in variants
    ]
    return {COST: "\n\n".join(parts), README: _table(_at(found, "CPU and round trips of a task"), short)}


def _costs(rounds: Rounds, variant: Variant) -> Sequence[str]:
    """The figures of each variant, and the difference from its baseline."""
    name, base = variant.name, variant.against
    cpu = f"{taken(rounds, name).median:,.0f}"
    phases = (_cost(rounds, variant, phase) for phase in ("submit", "drain"))
    ratios = (_ratio(ratio(rounds, name, base, clock)) if base else "" for clock in ("cpu", "wall"))
    return (variant.title, cpu, _more(rounds, variant) if base else "", *phases, *ratios, _trips(rounds, variant))


def _cost(rounds: Rounds, variant: Variant, figure: str = "cpu") -> str:
    if variant.against:
        return f"{added(rounds, variant.name, variant.against, figure).median:+,.0f}"
    return f"{taken(rounds, variant.name, figure).median:,.0f}"


def _more(rounds: Rounds, variant: Variant) -> str:
    if variant.against:
        return _signed(added(rounds, variant.name, variant.against))
    return f"{taken(rounds, variant.name).median:,.0f}"


def _trips(rounds: Rounds, variant: Variant) -> str:
    if variant.against:
        return f"{added(rounds, variant.name, variant.against, 'trips').median:+.1f}"
    return f"{taken(rounds, variant.name, 'trips').median:.1f}"


def _alone(children: Children, pace: Pace) -> str:
    """Save and restore, compared with SET and GET of as many bytes."""
    rows: dict[str, list[str]] = {"none": ["SET and GET"], "plain": [PLAIN.title], "sealed": [SEALED.title]}
    for at_a_time in (1, AT_A_TIME):
        say(f"save and restore without a task, {at_a_time} at a time")
        order: dict[str, Any] = {"operations": pace.operations, "at_a_time": at_a_time}
        rounds = in_turn(pace.rounds, [{name: turn(children, BY_NAME[name], "alone", **order) for name in rows}])
        for name, row in rows.items():
            ratios = "" if name == "none" else f", {_ratio(ratio(rounds, name, 'none'))}"
            row.append(f"{taken(rounds, name).median:,.0f} µs{ratios}")
    heading = "**Save and restore without a task: CPU, beside SET and GET**"
    return f"{heading}\n\n{_table(_at((1, AT_A_TIME)), rows.values())}"


def _backlogs(children: Children, pace: Pace) -> str:
    """Tasks behind few and behind many others that wait."""
    turns: dict[str, Callable[[], Sample]] = {}
    rows: dict[str, list[str]] = {}
    for variant in (NONE, SEALED):
        for waiting in pace.backlogs:
            title, name = f"{variant.title}, behind {waiting:,}", f"bench-{uuid4()}"
            say(f"tasks: {title}")
            size = children.ask(variant, "fill", tasks=waiting, name=name)["bytes"]
            rows[title] = [title, f"{size:,.0f}"]
            order: dict[str, Any] = {"tasks": pace.tasks[AT_A_TIME], "at_a_time": AT_A_TIME, "name": name}
            turns[title] = turn(children, variant, "tasks", **order)
    rounds = in_turn(pace.rounds, [turns])
    few, many = (f"behind {waiting:,}" for waiting in pace.backlogs)
    for title, row in rows.items():
        fewer = title.replace(many, few)
        row += [f"{taken(rounds, title).median:,.0f}", "" if fewer == title else _ratio(ratio(rounds, title, fewer))]
    columns = ("", "bytes in the server for each that waits", "CPU, µs", "ratio")
    return f"**Tasks behind others that wait**\n\n{_table(columns, rows.values())}"


def _registry(children: Children, pace: Pace) -> str:
    say("a registry of live servers")
    found = children.ask(NONE, "look_up", entries=pace.entries, lookups=pace.lookups)
    size = f"A registry of {pace.entries:,} live servers takes {found['bytes']:.0f} bytes for each"
    return f"{size}; a look-up takes {found['nanoseconds']:,.0f} ns."


def against(children: Children, pace: Pace, variants: Variants, revision: str) -> Texts:
    """The cost of a context in this tree and in another revision."""
    children.add_revision(revision)
    rows: list[Sequence[str]] = []
    for at_a_time, rounds in tasks(children, pace, variants, (THIS, OLD)).items():
        for each in variants:
            if each.path != "taskctx" and each is not INSTRUMENTED:
                continue
            new, old = ((named(each, tree), named(BY_NAME[each.against], tree)) for tree in (THIS, OLD))
            more = (_signed(added(rounds, *pair)) for pair in (old, new))
            ratios = (ratio(rounds, *pair, clock) for pair in (old, new) for clock in ("cpu", "wall"))
            share = _ratio(ratio_added(rounds, new, old))
            title = f"{each.title}, {at_a_time} at a time"
            rows.append((title, *more, share, *(f"{found.median:.2f}" for found in ratios)))
    trees = (revision, "this")
    columns = [f"{tree} adds, µs of CPU" for tree in trees]
    columns += ["this to that", *(f"{tree}, {clock} ratio" for tree in trees for clock in ("CPU", "wall"))]
    return {COST: _table(["", *columns], rows)}


def where(children: Children, pace: Pace, variants: Variants) -> Texts:
    """The steps from Docket to taskctx side by side, and whose bytecode instructions are added."""
    steps = tasks(children, pace, variants)
    rows = [(each.title, *(_more(rounds, each) for rounds in steps.values())) for each in variants]
    more: dict[str, dict[str, float]] = {}
    for at_a_time in (1, AT_A_TIME):
        for variant in (each for each in COUNTED if each in variants):
            say(f"instructions of {variant.title}, {at_a_time} at a time")
            with_it, without = (
                children.ask(each, "instructions", tasks=pace.counted, at_a_time=at_a_time)
                for each in (variant, BY_NAME[variant.against])
            )
            column = {part: with_it[part] - without[part] for part in with_it}
            more[f"{variant.title}, {at_a_time} at a time"] = {**column, "all": sum(column.values())}
    parts = dict.fromkeys(part for column in more.values() for part in column)
    counted = [(part, *(f"{column[part]:,.0f}" for column in more.values())) for part in parts]
    first = "**CPU of a task, in µs, and what others have more than Docket traced the same way**"
    second = "**Bytecode instructions that a task has more**"
    return {COST: "\n\n".join((first, _table(_at(steps), rows), second, _table(("", *more), counted)))}


def calls(children: Children) -> Texts:
    """Calls of taskctx's own functions for one task."""
    rows = [
        (f"{variant.title}: {phase}", *(str(figures[name]) for name in ("calls", "modules", "changes")))
        for variant in (PLAIN, SEALED)
        for phase, figures in children.ask(variant, "calls").items()
    ]
    return {COST: _table(("", "calls of ours", "modules entered", "changes of module"), rows)}


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """All columns but the first are figures."""
    rule = ["---", *["--:"] * (len(columns) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (columns, rule, *rows))


def _at(groups: Iterable[int], first: str = "") -> Sequence[str]:
    return (first, *(f"{at_a_time} at a time" for at_a_time in groups))


def _ratio(found: Spread) -> str:
    return f"{found.median:.2f} ({found.low:.2f}…{found.high:.2f})"


def _signed(found: Spread) -> str:
    return f"{found.median:+,.0f} ({found.low:+,.0f}…{found.high:+,.0f})"


def fill(text: str, name: str, table: str) -> str | None:
    """The text with a table between its two markers of this name; None if it has not got them, once each, in order."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, begun, rest = text.partition(begin)
    _, ended, after = rest.partition(end)
    whole = begun and ended and begin not in after and end not in after
    return f"{before}{begin}\n\n{table.strip()}\n\n{end}{after}" if whole else None
