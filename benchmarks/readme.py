"""The place in the README that a run fills in."""

from __future__ import annotations

from pathlib import Path

from .children import BenchmarkError

BEGIN = "<!-- make bench: begin -->"
END = "<!-- make bench: end -->"


def fill(path: Path, text: str) -> None:
    """Put a text between the two markers of a file, in place of what is there.

    Raises:
        BenchmarkError: the file has not got them, once each and in order.
    """
    before, begin, rest = path.read_text("utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end) or BEGIN in after or END in after:
        raise BenchmarkError(f"{path} has no place for the table: a line {BEGIN}, and below it a line {END}")
    path.write_text(f"{before}{BEGIN}\n\n{text.strip()}\n\n{END}{after}", "utf-8")


def filled(path: Path) -> str:
    """What stands between the markers."""
    return path.read_text("utf-8").partition(BEGIN)[2].partition(END)[0].strip()
