"""The committed files, as data."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dashboards.build import HERE, files
from taskctx.telemetry.names import Attribute, Span

ROOT = HERE.parent
RUNBOOKS = ROOT / "docs" / "runbooks"
PROMTOOL_TESTS = sorted((HERE / "prometheus" / "tests").glob("*.yaml"))


def load_dashboards() -> dict[str, dict[str, Any]]:
    """The dashboards by uid."""
    boards = [json.loads(path.read_text()) for path in sorted((HERE / "grafana").glob("*.json"))]
    return {board["uid"]: board for board in boards}


def load_rules(name: str) -> list[dict[str, Any]]:
    """The rules of a file in dashboards/prometheus."""
    groups = yaml.safe_load((HERE / "prometheus" / name).read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


DASHBOARDS = load_dashboards()
RECORDING_RULES = load_rules("taskctx-rules.yaml")
ALERTS = load_rules("taskctx-alerts.yaml")
GENERATED = dict(files())


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel of one dashboard; rows are none."""

    uid: str
    json: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.uid}/{self.json['title']}"

    @property
    def defaults(self) -> dict[str, Any]:
        return self.json["fieldConfig"]["defaults"]

    @property
    def links(self) -> list[dict[str, Any]]:
        """Those of numbers and lines, and those of a table's columns."""
        options = [option for override in self.json["fieldConfig"]["overrides"] for option in override["properties"]]
        return self.defaults.get("links", []) + [
            link for option in options if option["id"] == "links" for link in option["value"]
        ]

    @property
    def colors(self) -> dict[str, str]:
        """Of series, by their name or the pattern that finds them."""
        return {
            override["matcher"]["options"]: option["value"]["fixedColor"]
            for override in self.json["fieldConfig"]["overrides"]
            for option in override["properties"]
            if option["id"] == "color" and option["value"]["mode"] == "fixed"
        }

    @property
    def expressions(self) -> list[str]:
        return [target["expr"] for target in self.json["targets"]]


PANELS = [Panel(uid, panel) for uid, board in DASHBOARDS.items() for panel in board["panels"] if panel["type"] != "row"]


def variables(board: dict[str, Any]) -> set[str]:
    return {variable["name"] for variable in board["templating"]["list"]}


@dataclass(frozen=True, slots=True)
class Runbook:
    path: Path

    @property
    def text(self) -> str:
        return self.path.read_text()

    def blocks(self, language: str) -> list[str]:
        """The fenced blocks in a language."""
        found = re.findall(rf"^( *)```{language}\n(.*?)^\1```$", self.text, re.MULTILINE | re.DOTALL)
        return [re.sub(rf"^{indent}", "", block, flags=re.MULTILINE).strip() for indent, block in found]


BOOKS = {path.stem: Runbook(path) for path in sorted(RUNBOOKS.glob("*.md")) if path.stem != "README"}


def check_traceql(query: str) -> None:
    """Nothing in a TraceQL query is unknown: spans and attributes are ours, and brackets close."""
    assert query.startswith("{")
    assert query.endswith("}")
    assert query.count('"') % 2 == 0
    attributes = set(re.findall(r"\bspan\.([\w.]+)", query))
    assert attributes <= set(Attribute), f"{query}: {attributes - set(Attribute)}"
    names = {each for found in re.findall(r'\bname=~?"([^"]*)"', query) for each in found.split("|")}
    assert names, query
    assert names <= set(Span), f"{query}: {names - set(Span)}"
