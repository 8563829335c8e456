"""``make compose-check``: README's stack on a real engine, from nothing to nothing.

The tests share one stack.  One that changes it leaves it healthy.
"""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest

from taskctx.telemetry.names import RESTORES
from tests.compose.stack import ENDS, PORTS, PROFILES, Stack
from tests.deploy.compose import load
from tests.stack.prometheus import Prometheus
from tests.stack.stack_services import WORKERS, committed_rules

pytestmark = pytest.mark.compose

PUBLISHED = set(PORTS) - {"JAEGER_PORT"}

KILLED = 137
"""The exit code of a container that did not end within its grace."""

COUNT = 60
"""Reports whose callers are looked at."""


def prometheus(client: httpx.Client) -> Prometheus:
    return Prometheus(client)


# Up


def test_it_is_up_from_nothing(stack: Stack) -> None:
    """Every service is healthy, and the secrets are made up."""
    assert stack.unwell() == {}
    assert re.fullmatch("[0-9a-f]{64}", stack.secret("grafana/admin-password"))


def test_no_container_has_rights(stack: Stack) -> None:
    """No process of a container is root's, has a capability or can get one."""
    running = [each for each in stack.containers() if each["State"]["Status"] == "running"]
    assert {each["Config"]["Labels"]["com.docker.compose.service"] for each in running} >= stack.expected() - ENDS
    for each in running:
        status = stack.engine.command("cat", f"/proc/{each['State']['Pid']}/status")
        found = dict(re.findall(r"^(\w+):\s+(.+)$", stack.output(status), re.MULTILINE))
        assert "0" not in found["Uid"].split(), each["Name"]
        assert (found["CapEff"], found["CapBnd"], found["NoNewPrivs"]) == ("0" * 16, "0" * 16, "1"), each["Name"]


def test_ports_are_of_this_machine_alone(stack: Stack) -> None:
    """What is published is published on 127.0.0.1."""
    published = [
        binding
        for each in stack.containers()
        for bindings in each["HostConfig"]["PortBindings"].values()
        for binding in bindings
    ]
    assert {binding["HostIp"] for binding in published} == {"127.0.0.1"}
    assert {binding["HostPort"] for binding in published} == {
        value for name, value in stack.settings.items() if name in PUBLISHED
    }


def test_prometheus_scrapes_all_of_it(stack: Stack) -> None:
    """Every target of the configuration is up."""
    expected = {
        (job["job_name"], target)
        for job in load("deploy/prometheus/prometheus.yml")["scrape_configs"]
        for static in job.get("static_configs", [])
        for target in static["targets"]
    } | {("traces", "tempo")}
    with stack.client("PROMETHEUS_PORT") as client:

        def seen() -> dict[tuple[str, str], str]:
            targets = prometheus(client).targets()
            return {(each["labels"]["job"], each["labels"]["instance"]): each["health"] for each in targets}

        stack.until(lambda: seen() == dict.fromkeys(expected, "up"), 90, "all targets are up", seen)


def test_prometheus_has_all_rules(stack: Stack) -> None:
    """Each was evaluated without an error."""
    with stack.client("PROMETHEUS_PORT") as client:

        def rules() -> dict[tuple[str, str], str]:
            groups: list[dict[str, Any]] = client.get("/api/v1/rules").raise_for_status().json()["data"]["groups"]
            return {(group["name"], rule["name"]): rule["health"] for group in groups for rule in group["rules"]}

        stack.until(lambda: rules() == dict.fromkeys(committed_rules(), "ok"), 90, "all rules are evaluated", rules)


# Requests and tasks


def test_every_report_is_its_callers(stack: Stack) -> None:
    """Made as the caller who ordered it, with the request's id and headers."""
    assert stack.orders(COUNT) == {"ready": COUNT}


def test_the_workers_share_the_work(stack: Stack) -> None:
    """Each of the three restores contexts."""
    with stack.client("PROMETHEUS_PORT") as client:

        def restored() -> set[str]:
            found = prometheus(client).query(f'sum by (instance) ({RESTORES.name}{{outcome="ok"}}) > 0')
            return {labels["instance"].partition(":")[0] for labels, _ in found}

        stack.until(lambda: restored() >= set(WORKERS), 90, "each worker has restored contexts", restored)


# Down


def test_it_goes_in_order_and_leaves_nothing(stack: Stack) -> None:
    """``stop`` kills nothing; ``down`` keeps the volumes alone, and with ``--volumes`` nothing."""
    stack.done(*PROFILES, "stop")
    killed = [each for each in stack.containers() if each["State"]["ExitCode"] == KILLED]
    assert not killed, [stack.logs(each, "--timestamps", "--tail", "50") for each in killed]
    stack.done(*PROFILES, "down")
    assert set(stack.left()) == {"volumes"}
    stack.done(*PROFILES, "down", "--volumes")
    assert stack.left() == {}
    stack.up()
