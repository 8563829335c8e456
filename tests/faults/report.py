"""The report: a row for each case, as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import BaseModel


class Row(BaseModel):
    """What became of a case's tasks.

    Attributes:
        case: what was done, in a few words.
        tasks: that somebody meant to submit.
        ran: to the end at least once.
        lost: accepted, and neither run nor refused with a reason.
        wiped: accepted, and lost by the server itself with its queue.
        wrong: runs that saw another caller's context, or part of it.
        anonymous: runs that saw no caller.
        saves_refused: submissions refused before anything was scheduled, by reason.
        restores_failed: attempts at a task that failed or were degraded, by reason.
        seconds: of the case, its processes' start included.
    """

    case: str = ""
    tasks: int
    ran: int
    lost: int
    wiped: int = 0
    wrong: int
    anonymous: int
    saves_refused: dict[str, int]
    restores_failed: dict[str, int]
    seconds: float


HEAD = (
    "case",
    "tasks",
    "ran",
    "lost",
    "wiped with the server",
    "wrong caller",
    "anonymous",
    "saves refused",
    "restores failed",
    "seconds",
)


PAGE = """# What faults do to tasks

`make fault-check` runs tasks on real servers, workers and submitters. Meanwhile it kills, freezes, disconnects or empties them. Every task writes
into a ledger whose context it saw. Each row is a test in [tests/faults](../tests/faults). Encryption keys are configured, so a task whose context
cannot be restored fails instead of running anonymous. Each refusal also appeared in the metrics of its process. The table shows one run, on two
cores.

{table}
- *tasks*: tasks that the test submitted. *ran*: tasks that ran to their end, at least once.
- *lost*: tasks that were accepted, and neither ran nor failed with a reason. *wiped with the server*: tasks of which Docket's own record is gone,
  because the server lost its data.
- *wrong caller*: runs that saw the context of another caller or request, or a part of it. *anonymous*: runs that saw no caller.
- *saves refused*: submissions that raised an error, by reason. The task was not scheduled, and the submitter tried again.
- *restores failed*: attempts that failed or were degraded, by reason. If the task has a `Retry`, a later attempt ran.
"""


def as_page(rows: Sequence[Row]) -> str:
    """The report as a page of the documentation."""
    return PAGE.format(table=as_markdown(rows))


def as_markdown(rows: Sequence[Row]) -> str:
    """The table, in Markdown."""
    lines = [_line(HEAD), _line(["---"] + ["---:"] * 6 + ["---"] * 2 + ["---:"])]
    lines += [_line(_cells(row)) for row in sorted(rows, key=lambda row: row.case)]
    return "\n".join(lines) + "\n"


def _cells(row: Row) -> list[str]:
    counts = [row.tasks, row.ran, row.lost, row.wiped, row.wrong, row.anonymous]
    reasons = [_by_reason(row.saves_refused), _by_reason(row.restores_failed)]
    return [row.case, *(f"{count:,}" for count in counts), *reasons, f"{row.seconds:.0f}"]


def _by_reason(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{reason} {count:,}" for reason, count in sorted(counts.items())) or "-"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
