"""What code costs, in CPython's bytecode instructions: the same on every machine, however busy."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType
from typing import Any


@contextmanager
def counting_instructions(below: str = "") -> Generator[Callable[[], int]]:
    """Count those that are executed in files below a folder, or in whatever file.

    Those of functions that are under way already are not counted.
    """
    count = 0

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal count
        if not frame.f_code.co_filename.startswith(below):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        count += event == "opcode"
        return trace

    before = sys.gettrace()
    # what is collected meanwhile may end what another test left suspended, in these very files
    gc.collect()
    gc.disable()
    sys.settrace(trace)
    try:
        yield lambda: count
    finally:
        sys.settrace(before)
        gc.enable()
