"""One frame: a row for each process, and a row for all processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.text import Text

from ..operating.words import counted, duration, plain
from .rates import Activity, activities, altogether
from .source import Comparison

UNKNOWN = "-"
LITTLE = 0.1
"""A snapshot with a smaller share of its TTL left is highlighted; the bundled alerts use the same share."""

COLUMNS = ("restores", "per s", "age p50", "age p99", "left p10")
GAP = "  "


@dataclass(frozen=True, slots=True)
class Row:
    """The row of a process.

    Attributes:
        numbers: one number for each of ``COLUMNS``.
        note: the failed and degraded restores, or why the process is down.
    """

    name: Text
    numbers: Sequence[Text]
    note: Text
    style: str = ""


HEADING = Row(Text("process"), [Text(title) for title in COLUMNS], Text("not restored fully"), "dim")


@dataclass(frozen=True, slots=True)
class Rows:
    """The table of rows.  No text is cut: in a narrow terminal, notes, and then names, get lines of their own."""

    rows: Sequence[Row]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        numbers = (row.numbers for row in self.rows)
        widths = [max(number.cell_len for number in column) for column in zip(*numbers, strict=True)]
        room = options.max_width - sum(len(GAP) + width for width in widths)
        name = max(row.name.cell_len for row in self.rows)
        note = max(row.note.cell_len for row in self.rows)
        for row in self.rows:
            line = Text(style=row.style)
            if name <= room:
                line.append_text(row.name).pad_right(name - row.name.cell_len)
            else:
                yield Text.assemble(row.name, style=row.style, overflow="fold")
            for number, width in zip(row.numbers, widths, strict=True):
                line.append(GAP).append(" " * (width - number.cell_len)).append_text(number)
            if name + len(GAP) + note <= room:
                yield line.append(GAP).append_text(row.note)
            else:
                yield line
                if row.note:
                    yield Padding(Text.assemble(row.note, style=row.style), (0, 0, 0, len(GAP)))


def frame(comparison: Comparison) -> RenderableType:
    """All processes, with a legend of the columns below."""
    found = activities(comparison)
    rows = [HEADING, *(_row(each, comparison.seconds) for each in found)]
    if len(found) > 1:
        rows.append(_row(altogether(found), comparison.seconds, style="bold"))
    return Group(_title(found, comparison.seconds), Rows(rows), _legend())


def _title(found: list[Activity], seconds: float | None) -> Text:
    down = sum(each.down is not None for each in found)
    since = "since each process started" if seconds is None else f"in the last {duration(seconds)}"
    return Text.assemble(
        ("taskctx top", "bold"),
        f"  {counted(len(found), 'process', 'processes')}, ",
        (f"{down} down, " if down else "", "bold red"),
        since,
    )


def _row(each: Activity, seconds: float | None, style: str = "") -> Row:
    if each.down is not None:
        unknown = [Text(UNKNOWN)] * len(COLUMNS)
        return Row(Text(plain(each.instance), "red"), unknown, Text(f"down: {plain(each.down)}", "red"))
    rate = UNKNOWN if seconds is None else f"{each.restores / seconds:,.1f}"
    ages = (each.age(of) for of in (0.5, 0.99))
    left = each.least_headroom(LITTLE)
    little = left is not None and left < LITTLE
    numbers = [
        Text(f"{each.restores:,.0f}"),
        Text(rate),
        *(Text(UNKNOWN if age is None else duration(age)) for age in ages),
        Text(UNKNOWN if left is None else f"{left:.0%}", "yellow" if little else ""),
    ]
    return Row(Text(plain(each.instance)), numbers, _failures(each.failures), style)


def _failures(failures: Mapping[str, float]) -> Text:
    listed = sorted(failures.items(), key=lambda failure: -failure[1])
    return Text(", ".join(f"{count:,.0f} {plain(reason)}" for reason, count in listed), "red")


def _legend() -> Text:
    return Text("age: from save to restore; left p10: a tenth of the snapshots had less of their life left", "dim")
