"""What a dashboard is made of, as data: rendered by ``render.py``, read by the tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["stat", "timeseries", "heatmap", "table"]
Color = Literal[
    "text",
    "transparent",
    "light-green",
    "green",
    "blue",
    "light-blue",
    "dark-blue",
    "yellow",
    "dark-yellow",
    "orange",
    "light-orange",
    "super-light-orange",
    "semi-dark-orange",
    "dark-orange",
    "red",
    "light-red",
    "super-light-red",
    "dark-red",
    "purple",
    "light-purple",
    "super-light-purple",
    "dark-purple",
]
Thresholds = tuple[tuple[float | None, Color], ...]
"""Colours from a value on; the first is the base colour."""


@dataclass(frozen=True, slots=True)
class Query:
    """A PromQL query.

    Attributes:
        legend: Grafana's legend format, ``{{label}}``.
        instant: one value for the end of the time range, for stats and tables.
        name: what a table's column is called; one without a name is not shown.
    """

    expr: str
    legend: str = ""
    instant: bool = False
    name: str = ""


@dataclass(frozen=True, slots=True)
class Link:
    """Where a click on a value leads."""

    title: str
    url: str


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Attributes:
        name: a label's, or that of a query.
        title: what is written above it instead.
        thresholds: its cells' background by their number.
        words: what is shown for a value, and on which background.
        links: where a click on a cell leads; no other cell looks like a link.
        width: in pixels, where its text needs more than an equal share.
    """

    name: str
    title: str = ""
    thresholds: Thresholds = ()
    words: tuple[tuple[str, str, Color], ...] = ()
    links: tuple[Link, ...] = ()
    width: int | None = None


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel.

    Attributes:
        description: what good looks like, and what to do when it does not.
        unit: one of Grafana's.
        empty: what is shown where there is no data.
        thresholds: of the number of a stat, or lines across a graph.
        links: where a click on a number or a line leads; a table's are its columns'.
        width: of 24 columns, at least.
        colors: of series, by name or by a ``/regular expression/``; the others have colours from Grafana's palette.
        at_least: a value that the axis reaches, more than what is usual for its unit.
        scale: of the axis; ``symlog`` is one that has a zero.
        is_filled: whether there is colour under a line.
        columns: a table's, in this order; those that are too many are out of sight.
        sort: the columns that a table is sorted by, the greatest first where there is a ``-`` before the name.
        nothing: a stat's colour where there is no data, which the thresholds have no opinion on.
    """

    kind: Kind
    title: str
    description: str
    unit: str
    empty: str
    queries: tuple[Query, ...]
    width: int = 8
    height: int = 8
    thresholds: Thresholds = ()
    links: tuple[Link, ...] = ()
    stacked: bool = False
    minimum: float = 0
    maximum: float | None = None
    decimals: int | None = None
    colors: tuple[tuple[str, Color], ...] = ()
    at_least: float | None = None
    scale: Literal["linear", "log", "symlog"] = "linear"
    is_filled: bool = True
    columns: tuple[Column, ...] = ()
    sort: tuple[str, ...] = ()
    nothing: Color = "blue"


@dataclass(frozen=True, slots=True)
class Row:
    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class Variable:
    """A template variable filled from a PromQL ``label_values`` query; several values, all by default."""

    name: str
    label: str
    query: str
    description: str


@dataclass(frozen=True, slots=True)
class Dashboard:
    """One board.

    Attributes:
        variables: those that its panels go by; the others are kept for the way to another board, and not shown.
    """

    uid: str
    title: str
    description: str
    rows: tuple[Row, ...]
    variables: tuple[str, ...]
    time_from: str = "now-6h"

    @property
    def panels(self) -> tuple[Panel, ...]:
        return tuple(panel for row in self.rows for panel in row.panels)
