"""Where panels lie: in lines of 24 columns without gaps, whatever panels there are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate

from .model import Panel, Row

COLUMNS = 24


@dataclass(frozen=True, slots=True)
class Place:
    """The place of a panel, in columns and rows of Grafana's grid."""

    x: int
    y: int
    width: int
    height: int


def laid_out(rows: Iterable[Row]) -> Iterator[tuple[Row | Panel, Place]]:
    """Each row's title with its panels below it, in order."""
    top = 0
    for row in rows:
        yield row, Place(0, top, COLUMNS, 1)
        top += 1
        for line in _lines(row.panels):
            # a line that is not full is stretched, so that a panel can be added without another's being narrowed
            edges = [
                round(edge * COLUMNS / _width(line)) for edge in accumulate((each.width for each in line), initial=0)
            ]
            height = max(panel.height for panel in line)
            for panel, left, right in zip(line, edges, edges[1:], strict=False):
                yield panel, Place(left, top, right - left, height)
            top += height


def _lines(panels: Iterable[Panel]) -> Iterator[list[Panel]]:
    line: list[Panel] = []
    for panel in panels:
        if line and _width(line) + panel.width > COLUMNS:
            yield line
            line = []
        line.append(panel)
    if line:
        yield line


def _width(line: list[Panel]) -> int:
    return sum(panel.width for panel in line)
