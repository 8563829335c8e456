"""Tables for the console, and for the README."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from .results import Breakdown, Result
from .tables import Table, breakdown, machine, provenance, summary, tables, verdict

STEPS_LEGEND = (
    "Medians, and (with quartiles) of what each has more than Docket without context in the same round; "
    "traced, than Docket traced the same way; instrumented, than FastMCP's own path."
)
LEGEND = "Figures are medians (with quartiles): wall, CPU; ✗ marks those that miss their goal."


def show(console: Console, result: Result | Breakdown) -> None:
    """Print everything."""
    if isinstance(result, Breakdown):
        drawn, notes = breakdown(result), (*result.notes, f"{machine(result)}.")
    else:
        drawn, notes = tables(result), (verdict(result), *result.notes, provenance(result))
    for table in drawn:
        console.print(_drawn(table))
        console.print()
    for note in notes:
        console.print(Text(note))


def _drawn(table: Table) -> RichTable:
    drawn = RichTable(title=table.title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for number, column in enumerate(table.columns):
        drawn.add_column(column, justify="right" if number else "left")
    for row in table.rows:
        if len(row) == 1:
            drawn.add_section()
            drawn.add_row(Text(row[0], style="bold"))
        else:
            drawn.add_row(*map(_coloured, row))
    return drawn


def _coloured(cell: str) -> Text:
    return Text(cell, style="red" if "✗" in cell else "")


def markdown(result: Result | Breakdown) -> str:
    """The summary as Markdown, with where it comes from."""
    if isinstance(result, Breakdown):
        return _document(" ".join((f"{machine(result)}.", *result.notes, STEPS_LEGEND)), breakdown(result))
    return _document(" ".join((provenance(result), *result.notes, verdict(result), LEGEND)), summary(result))


def _document(about: str, parts: list[Table]) -> str:
    return "\n\n".join([about, *(f"**{table.title}**\n\n{_pipes(table)}" for table in parts)])


def _pipes(table: Table) -> str:
    width = len(table.columns)
    lines = [_line(table.columns), _line(["---", *["--:"] * (width - 1)])]
    lines += [_line([f"*{row[0]}*", *[""] * (width - 1)] if len(row) == 1 else row) for row in table.rows]
    return "\n".join(lines)


def _line(cells: list[str]) -> str:
    escaped = (cell.replace("|", "\\|") for cell in cells)
    return f"| {' | '.join(escaped)} |"
