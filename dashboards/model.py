"""What a dashboard is made of, as data: rendered by ``render.py``, read by the tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["stat", "timeseries", "heatmap", "table"]
Color = Literal["green", "yellow", "orange", "red", "blue", "dark-green", "dark-orange", "dark-red", "dark-blue"]


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
class Panel:
    """One panel.

    Attributes:
        description: what good looks like, and what to do when it does not.
        unit: one of Grafana's.
        empty: what is shown where there is no data.
        thresholds: colours from a value on; the first is the base colour.
        width: of 24 columns.
        colors: of series, by name; the others have colours from Grafana's palette.
        at_least: a value that the axis reaches, so that nothing but zeros is not shown against a hundred.
        columns: a table's, the first ones; those that are too many are out of sight.
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
    thresholds: tuple[tuple[float | None, Color], ...] = ()
    links: tuple[Link, ...] = ()
    stacked: bool = False
    maximum: float | None = None
    decimals: int | None = None
    colors: tuple[tuple[str, Color], ...] = ()
    at_least: float | None = None
    columns: tuple[str, ...] = ()
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
    uid: str
    title: str
    description: str
    rows: tuple[Row, ...]
    time_from: str = "now-6h"

    @property
    def panels(self) -> tuple[Panel, ...]:
        return tuple(panel for row in self.rows for panel in row.panels)
