"""What a process needs and holds on to: noted in its ledger when it gets SIGUSR1."""

from __future__ import annotations

import gc
import resource
import signal
from pathlib import Path
from types import FrameType

from taskctx._caller.registries import servers, sessions
from tests.faults.ledger import Entry, Pen

_PROC = Path("/proc/self")
RESET_PEAK = "5"
"""For ``/proc/PID/clear_refs``."""


def on_signal(pen: Pen) -> None:
    def handler(_signal: int, _frame: FrameType | None) -> None:
        _note(pen)

    signal.signal(signal.SIGUSR1, handler)


def _note(pen: Pen) -> None:
    """Collect garbage, and note what is left: bytes now and at most since the last time, and live registrations."""
    gc.collect()
    pen.write(
        Entry.GAUGED,
        rss=int((_PROC / "statm").read_text().split()[1]) * resource.getpagesize(),
        peak=_peak(),
        registered=len(sessions) + len(servers),
    )
    (_PROC / "clear_refs").write_text(RESET_PEAK)


def _peak() -> int:
    line = next(line for line in (_PROC / "status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024
