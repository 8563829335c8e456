"""What code costs, in CPython's bytecode instructions: the same on every machine, however busy."""

from __future__ import annotations

import gc
import sys
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType
from typing import Any


@contextmanager
def counting(part_of: Callable[[FrameType], str | None]) -> Generator[Counter[str]]:
    """Count what functions execute that are called from here on, by what ``part_of`` says each is part of.

    Those of which it says None are not counted, nor those that are under way already.
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

        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return step

    before = sys.gettrace()
    # what is collected meanwhile may end what somebody else left suspended, in these very files
    gc.collect()
    gc.disable()
    sys.settrace(trace)
    try:
        yield counts
    finally:
        sys.settrace(before)
        gc.enable()
