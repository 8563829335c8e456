"""A real Prometheus: how it is configured, and what it can be asked."""

from __future__ import annotations

import math
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

import dashboards
from tests.stack.durations import shorten_rules

Labels = dict[str, str]
INTERVAL = 1
"""Seconds between two scrapes, and between two evaluations of rules without an interval of their own."""

COMMITTED = Path(dashboards.__file__).parent
RULES = sorted(COMMITTED.glob("prometheus/*.yaml"))
"""The committed rule files."""

STANDS_FOR = {
    "$__rate_interval": "10s",
    "$__interval": "5s",
    "$__range": "2m",
    "$__range_s": "120",
    "$job": ".*",
    "$instance": ".*",
    "$docket": ".*",
    "$registry": ".*",
}
"""Grafana's variables, as it fills them in on a page with all values chosen."""

_LABEL_VALUES = re.compile(r"label_values\((?P<selector>.+), (?P<label>\w+)\)")


def with_variables(expr: str) -> str:
    # the longest first, because one may be the beginning of another
    for variable in sorted(STANDS_FOR, key=len, reverse=True):
        expr = expr.replace(variable, STANDS_FOR[variable])
    return expr


def write_config(
    directory: Path,
    targets: Mapping[str, Mapping[str, int]],
    alertmanager_port: int,
    interval: int = INTERVAL,
    scraping: Mapping[str, Mapping[str, object]] | None = None,
) -> Path:
    """Configuration and shortened rules in a folder; ``targets`` are ports by instance by job, ``scraping`` its options."""
    for path in RULES:
        (directory / path.name).write_text(shorten_rules(path.read_text()))
    config: dict[str, Any] = {
        "global": {
            "scrape_interval": f"{interval}s",
            "scrape_timeout": f"{interval}s",
            "evaluation_interval": f"{interval}s",
        },
        "rule_files": [path.name for path in RULES],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{alertmanager_port}"]}]}]},
        "scrape_configs": [
            {
                "job_name": job,
                "static_configs": [
                    {"targets": [f"127.0.0.1:{port}"], "labels": {"instance": instance}}
                    for instance, port in instances.items()
                ],
                **(scraping or {}).get(job, {}),
            }
            for job, instances in targets.items()
        ],
    }
    path = directory / "prometheus.yml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return path


def major(program: str) -> int:
    """The major version of a Prometheus."""
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    found = re.search(r"version (\d+)\.", done.stdout + done.stderr)
    assert found
    return int(found[1])


def command(program: str, config: Path, port: int) -> list[str]:
    return [
        program,
        f"--config.file={config}",
        f"--storage.tsdb.path={config.parent / 'prometheus'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--enable-feature=exemplar-storage",
        "--log.level=warn",
    ]


@dataclass(frozen=True)
class Prometheus:
    """Its HTTP interface."""

    client: httpx.Client

    def ready(self) -> bool:
        return self.client.get("/-/ready").is_success

    def query(self, expr: str, at: float | None = None) -> list[tuple[Labels, float]]:
        """An instant query's series with their values; NaN is none."""
        found = self._get("query", query=expr, **({} if at is None else {"time": at}))
        if found["resultType"] == "scalar":
            return [({}, float(found["result"][1]))]
        return _numbers((each["metric"], each["value"][1]) for each in found["result"])

    def query_range(self, expr: str, start: float, end: float, step: float = INTERVAL) -> list[tuple[Labels, float]]:
        """A range query's series, each with its last value that is a number."""
        found = self._get("query_range", query=expr, start=start, end=end, step=step)
        numbers = [_numbers((each["metric"], value) for _, value in each["values"]) for each in found["result"]]
        return [values[-1] for values in numbers if values]

    def label_values(self, query: str) -> list[str]:
        """What Grafana's ``label_values(selector, label)`` gives."""
        parsed = _LABEL_VALUES.fullmatch(query)
        assert parsed, query
        return self._get(f"label/{parsed['label']}/values", **{"match[]": parsed["selector"]})

    def exemplars(self, selector: str, start: float, end: float) -> list[Labels]:
        """The labels of every exemplar stored for a selector's series."""
        found = self._get("query_exemplars", query=selector, start=start, end=end)
        return [exemplar["labels"] for each in found for exemplar in each["exemplars"]]

    def targets(self) -> list[dict[str, Any]]:
        return self._get("targets")["activeTargets"]

    def firing(self) -> list[Labels]:
        """The labels of the alerts that fire now."""
        return [each["labels"] for each in self._get("alerts")["alerts"] if each["state"] == "firing"]

    def fired(self, start: float, end: float) -> list[Labels]:
        """The labels of all alerts that fired at some moment between two."""
        internal = ("__name__", "alertstate")
        found = self.query_range('ALERTS{alertstate="firing"}', start, end)
        return [{name: text for name, text in labels.items() if name not in internal} for labels, _ in found]

    def _get(self, path: str, **parameters: Any) -> Any:
        response = self.client.get(f"/api/v1/{path}", params=parameters)
        answer = response.json()
        assert answer["status"] == "success", f"{parameters}: {answer.get('error')}"
        return answer["data"]


def _numbers(samples: Any) -> list[tuple[Labels, float]]:
    values = [(labels, float(text)) for labels, text in samples]
    return [(labels, value) for labels, value in values if not math.isnan(value)]
