"""What is shown while the demo runs: bars on a terminal, a few plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

SHARES = 4
"""Lines in which plain progress is told."""


class Bars:
    """For a terminal; gone when the demo is over."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("  {task.description:<19}"),
            BarColumn(bar_width=32, complete_style="cyan", finished_style="green"),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )
        self._tasks: tuple[TaskID, TaskID] | None = None
        self._starting: TaskID | None = None

    def step(self, text: str) -> None:
        self._starting = self._progress.add_task(text, total=None)

    def begin(self, requests: int, runs: int) -> None:
        if self._starting is not None:
            self._progress.remove_task(self._starting)
        self._tasks = (
            self._progress.add_task("requests sent", total=requests),
            self._progress.add_task("task runs compared", total=runs),
        )

    def progress(self, sent: int, seen: int) -> None:
        for task, count in zip(self._tasks or (), (sent, seen), strict=False):
            self._progress.update(task, completed=count)

    @contextmanager
    def shown(self) -> Generator[Bars]:
        with self._progress:
            yield self


class Lines:
    """For a log file or a pipe."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._requests = self._runs = self._told = 0

    def step(self, text: str) -> None:
        self._say(text)

    def begin(self, requests: int, runs: int) -> None:
        self._requests, self._runs = requests, runs
        self._say(f"sending {requests} requests")

    def progress(self, sent: int, seen: int) -> None:
        share = seen * SHARES // max(1, self._runs)
        if share > self._told:
            self._told = share
            self._say(f"requests sent {sent}/{self._requests}, task runs compared {seen}/{self._runs}")

    def _say(self, text: str) -> None:
        self._console.print(text, highlight=False, soft_wrap=True)

    @contextmanager
    def shown(self) -> Generator[Lines]:
        yield self


def progress_on(console: Console) -> Bars | Lines:
    return Bars(console) if console.is_terminal else Lines(console)
