"""Counting the instructions of some files."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager

from benchmarks.opcodes import counting


@contextmanager
def counting_instructions(below: str = "") -> Generator[Callable[[], int]]:
    """Count those that are executed in files below a folder, or in whatever file."""
    with counting(lambda frame: below if frame.f_code.co_filename.startswith(below) else None) as counts:
        yield lambda: counts[below]
