"""The output while the demo runs: bars on a terminal, a few plain lines elsewhere."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

SHARES = 4
"""The number of lines of plain progress."""


class Screen(Progress):
    """Progress bars that disappear at the end of the demo; without a terminal, plain lines."""

    def __init__(self, console: Console) -> None:
        super().__init__(
            TextColumn("  {task.description:<19}"),
            BarColumn(bar_width=32, complete_style="cyan", finished_style="green"),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._told = 0
        self.add_task("starting server and workers", total=None)
        self._say("starting server and workers")

    def sending(self, requests: int, runs: int) -> None:
        self.remove_task(self.task_ids[0])
        self.add_task("requests sent", total=requests)
        self.add_task("task runs compared", total=runs)
        self._say(f"sending {requests} requests")

    def seen(self, sent: int, seen: int) -> None:
        for task, count in zip(self.task_ids, (sent, seen), strict=True):
            self.update(task, completed=count)
        requests, runs = (int(task.total or 0) for task in self.tasks)
        share = seen * SHARES // runs
        if share > self._told:
            self._told = share
            self._say(f"requests sent {sent}/{requests}, task runs compared {seen}/{runs}")

    def _say(self, text: str) -> None:
        if self.disable:
            self.console.print(text, highlight=False, soft_wrap=True)
