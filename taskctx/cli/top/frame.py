"""One frame: a row for each process, and one for all."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ..operating.words import counted, duration
from .rates import Activity, activities, altogether
from .source import Comparison

UNKNOWN = "-"
LITTLE = 0.1
"""Share of its life below which a snapshot's headroom is worth looking at, as in the bundled alerts."""

COLUMNS = ("restores", "per s", "age p50", "age p99", "left p10")


def frame(comparison: Comparison) -> RenderableType:
    """All processes, with what a column means below."""
    found = activities(comparison)
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column("process", overflow="fold", min_width=len("process"))
    for title in COLUMNS:
        table.add_column(title, justify="right", no_wrap=True, min_width=len(title))
    table.add_column("not restored fully", overflow="fold", min_width=len("restored"))
    for each in found:
        table.add_row(*_row(each, comparison.seconds))
    if len(found) > 1:
        table.add_row(*_row(altogether(found), comparison.seconds), style="bold")
    return Group(_title(found, comparison.seconds), table, _legend())


def _title(found: list[Activity], seconds: float | None) -> Text:
    down = sum(each.down is not None for each in found)
    since = "since each process started" if seconds is None else f"in the last {duration(seconds)}"
    return Text.assemble(
        ("taskctx top", "bold"),
        f"  {counted(len(found), 'process', 'processes')}, ",
        (f"{down} down, " if down else "", "bold red"),
        since,
    )


def _row(each: Activity, seconds: float | None) -> list[str | Text]:
    if each.down is not None:
        return [Text(each.instance, "red"), *[UNKNOWN] * len(COLUMNS), Text(f"down: {each.down}", "red")]
    rate = UNKNOWN if seconds is None else f"{each.restores / seconds:,.1f}"
    ages = (each.age(of) for of in (0.5, 0.99))
    left = each.least_headroom(LITTLE)
    little = left is not None and left < LITTLE
    return [
        Text(each.instance),
        f"{each.restores:,.0f}",
        rate,
        *(UNKNOWN if age is None else duration(age) for age in ages),
        Text(UNKNOWN if left is None else f"{left:.0%}", "yellow" if little else ""),
        _failures(each.failures),
    ]


def _failures(failures: Mapping[str, float]) -> Text:
    listed = sorted(failures.items(), key=lambda failure: -failure[1])
    return Text(", ".join(f"{count:,.0f} {reason}" for reason, count in listed), "red")


def _legend() -> Text:
    return Text("age: from save to restore; left p10: a tenth of the snapshots had less of their life left", "dim")
