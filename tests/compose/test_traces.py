"""``make compose-check``: with Jaeger in Tempo's place, a task's trace leads to that of its request."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.compose.stack import Stack
from tests.stack.prometheus import Prometheus
from tests.stack.stack_run import REQUEST, RESTORE, SAVE

pytestmark = pytest.mark.compose

FILES = ("docker-compose.yml", "docker-compose.jaeger.yml")
COUNT, ENOUGH = 300, 10
"""Reports that are ordered; and of their restores, a tenth of which is kept, the fewest that say something."""


def tags(span: dict[str, Any]) -> dict[str, Any]:
    return {tag["key"]: tag["value"] for tag in span["tags"]}


def ordinary(trace: dict[str, Any]) -> bool:
    """Whether nothing in it failed or took long: such a trace is kept by lot."""
    spans = trace["spans"]
    took = max(each["startTime"] + each["duration"] for each in spans) - min(each["startTime"] for each in spans)
    return took < 5e6 and not any(tags(each).get("error") for each in spans)


class Jaeger:
    """What its pages ask."""

    def __init__(self, client: httpx.Client) -> None:
        self.client = client

    def restores(self, outcome: str) -> list[dict[str, Any]]:
        """Traces, by a search as the dashboards' links make it."""
        search = {"service": "reports-worker", "operation": RESTORE, "limit": 1000, "lookback": "1h"}
        found = self.client.get("/api/traces", params=search | {"tags": f'{{"taskctx.outcome":"{outcome}"}}'})
        return found.raise_for_status().json()["data"]

    def spans(self, trace_id: str) -> set[str]:
        """The names of the spans of a trace; none if it is not there."""
        found = self.client.get(f"/api/traces/{trace_id}")
        return (
            set() if found.status_code == 404 else {each["operationName"] for each in found.json()["data"][0]["spans"]}
        )


def test_a_task_leads_to_its_request(another: Callable[..., Stack]) -> None:
    """Of the ordinary restores that are kept, 95 % and more have their request's trace in the store."""
    stack = another(files=FILES)
    stack.done("up", "--detach", seconds=1200)
    stack.until_healthy()
    assert "tempo" not in {each["Config"]["Labels"]["com.docker.compose.service"] for each in stack.containers()}
    assert stack.orders(COUNT) == {"ready": COUNT}
    with stack.client("JAEGER_PORT") as client:
        jaeger = Jaeger(client)

        def origins() -> list[str]:
            """Of each ordinary restore, the trace that its link names."""
            return [
                link["traceID"]
                for trace in jaeger.restores("ok")
                if ordinary(trace)
                for span in trace["spans"]
                if span["operationName"] == RESTORE
                for link in span["references"]
                if link["traceID"] != trace["traceID"]
            ]

        def lost() -> list[str]:
            return [each for each in origins() if not {REQUEST, SAVE} <= jaeger.spans(each)]

        enough = f"{ENOUGH} ordinary restores are kept, and at most a twentieth has lost its request"
        stack.until(
            lambda: len(origins()) >= ENOUGH and len(lost()) <= len(origins()) / 20,
            120,
            enough,
            lambda: (len(origins()), lost()),
        )
    with stack.client("PROMETHEUS_PORT") as client:

        def scraped() -> dict[str, str]:
            targets = Prometheus(client).targets()
            return {each["labels"]["instance"]: each["health"] for each in targets if each["labels"]["job"] == "traces"}

        stack.until(lambda: scraped() == {"jaeger": "up"}, 90, "Jaeger is scraped", scraped)
