"""What code does, counted instead of timed: CPython's bytecode instructions, and calls of a package's own functions.

Both are the same on every machine, however busy.  ``tests/test_costs.py`` counts with them too.
"""

from __future__ import annotations

import gc
import inspect
import sys
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any


@contextmanager
def counting(part_of: Callable[[FrameType], str | None]) -> Generator[Counter[str]]:
    """Count the instructions of functions that are called from here on, by what ``part_of`` says a frame is part of.

    Frames of no part (None) are not counted, nor are those that are under way already.
    """
    counts: Counter[str] = Counter()

    def trace(frame: FrameType, _event: str, _argument: object) -> Any:
        part = part_of(frame)
        if part is None:
            return None

        def step(_frame: FrameType, event: str, _argument: object) -> Any:
            if event == "opcode":
                counts[part] += 1
            return step

        # in this order: Python 3.13 looks for the function when it is asked for instructions
        frame.f_trace, frame.f_trace_opcodes, frame.f_trace_lines = step, True, False
        return step

    # Python 3.12 traces no instructions if no frame asks for them by the time that tracing begins
    inspect.currentframe().f_trace_opcodes = True  # pyright: ignore[reportOptionalMemberAccess] - CPython has frames
    with _hooked(sys.settrace, trace, sys.gettrace()):
        yield counts


@contextmanager
def counting_instructions(below: str = "") -> Generator[Callable[[], int]]:
    """Count the instructions in files below a folder, or in all files."""
    with counting(lambda frame: below if frame.f_code.co_filename.startswith(below) else None) as counts:
        yield lambda: counts[below]


@dataclass(slots=True)
class Calls:
    """The files of a package's functions, in the order in which these were called."""

    modules: list[str] = field(default_factory=list[str])

    def figures(self) -> dict[str, int]:
        """``calls``; the ``modules`` they enter; and ``changes``, those into another module than the call before."""
        changes = sum(one != other for one, other in pairwise(["", *self.modules]))
        return {"calls": len(self.modules), "modules": len(set(self.modules)), "changes": changes}

    def take(self) -> Calls:
        """The calls so far, which are forgotten here: what comes next is counted from 0."""
        taken = Calls(self.modules)
        self.modules = []
        return taken


@contextmanager
def counting_calls(package: Path | str) -> Generator[Calls]:
    """Count calls of functions whose code is in files below a package's folder, in this thread.

    A coroutine or a generator counts once, when it starts: its frame is entered anew each time it goes on, but is the
    same frame.
    """
    folder = f"{package}/"
    calls = Calls()
    started: set[FrameType] = set()  # the frames, not their ids: an id is used again once its frame is gone

    def profile(frame: FrameType, event: str, _argument: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(folder) and frame not in started:
            started.add(frame)
            calls.modules.append(frame.f_code.co_filename)

    with _hooked(sys.setprofile, profile, sys.getprofile()):
        yield calls


@contextmanager
def _hooked(install: Callable[[Any], None], hook: Any, before: Any) -> Generator[None]:
    """Without the garbage collector: it may end suspended functions of the files that are counted."""
    gc.collect()
    gc.disable()
    install(hook)
    try:
        yield
    finally:
        install(before)
        gc.enable()
