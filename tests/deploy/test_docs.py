"""docs/deploy.md and the example's README say what is so, as far as that can be tried."""

from __future__ import annotations

import gc
import re
import shlex
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from examples.fastapi_service.app import router
from examples.fastapi_service.settings import ApiSettings
from examples.fastapi_service.store import Kind
from taskctx.cli import app
from tests.deploy.compose import ROOT, SERVICES, load, option

DEPLOY = (ROOT / "docs/deploy.md").read_text()
EXAMPLE = (ROOT / "examples/fastapi_service/README.md").read_text()


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def commands(text: str, program: str) -> list[list[str]]:
    """Command lines, in blocks and in the text, that begin so."""
    lines = [line for block in blocks(text, "sh") for line in block.splitlines()]
    lines += re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL))
    return [shlex.split(line, comments=True) for line in lines if line.startswith(f"{program} ")]


@pytest.mark.parametrize("path", ["docs/deploy.md", "examples/fastapi_service/README.md"])
def test_links_lead_somewhere(path: str) -> None:
    """To files that are there, and to headings of the same file."""
    text = (ROOT / path).read_text()
    anchors = {heading.lower().replace(" ", "-") for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}
    for target in re.findall(r"\]\(([^)]+)\)", text):
        if target.startswith("#"):
            assert target[1:] in anchors
        else:
            assert ((ROOT / path).parent / target.partition("#")[0]).exists(), target


def test_files_that_are_named_are_there() -> None:
    for name in re.findall(r"`((?:deploy|dashboards|otel-collector|examples)/[\w./-]+)`", DEPLOY):
        assert (ROOT / name).exists(), name


def test_compose_commands_name_what_there_is() -> None:
    """Services, profiles and folders of docker-compose.yml."""
    profiles = {profile for each in SERVICES.values() for profile in each.get("profiles", [])}
    found = commands(DEPLOY, "docker compose")
    assert len(found) >= 8
    for _, _, *words in found:
        for flag, name in pairwise(words):
            if flag == "--profile":
                assert name in profiles | {"*"}
            if flag in ("exec", "-f", "--rm"):
                assert name in SERVICES
            if flag == "--scale":
                assert name.partition("=")[0] in SERVICES


def test_ports_are_those_of_compose() -> None:
    services = [*SERVICES.values(), *load("docker-compose.jaeger.yml")["services"].values()]
    ports = [port for each in services for port in each.get("ports", [])]
    published = {re.findall(r":-(\d+)\}", port)[0] for port in ports}
    assert set(re.findall(r"http://127\.0\.0\.1:(\d+)", DEPLOY)) == published
    variables = set(re.findall(r"`([A-Z]+_PORT)`", DEPLOY))
    assert variables == set(re.findall(r"\$\{([A-Z]+_PORT)", yaml.safe_dump(ports)))


def test_kubernetes_runs_what_compose_runs() -> None:
    """The same worker, its ports under the names that the PodMonitor and the probe use."""
    deployment, monitor, annotations = (yaml.safe_load(block) for block in blocks(DEPLOY, "yaml"))
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["args"] == SERVICES["worker-1"]["command"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {name: int(option("worker-1", f"{flag}-port")) for name, flag in _PORTS.items()}
    assert container["livenessProbe"]["httpGet"]["port"] in ports
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    assert endpoint["port"] in ports
    assert annotations["metadata"]["annotations"]["prometheus.io/port"] == str(ports["metrics"])
    user = deployment["spec"]["template"]["spec"]["securityContext"]["runAsUser"]
    assert SERVICES["worker-1"]["user"].startswith(f"{user}:")


def test_python_does_what_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gunicorn's hook takes away the gauges of a process that is gone; the other block hides what was imported from the collector."""
    hook, freeze = blocks(DEPLOY, "python")
    names: dict[str, Any] = {}
    exec(hook, names)
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    gone, alive = tmp_path / "gauge_livesum_7.db", tmp_path / "gauge_livesum_8.db"
    for file in (gone, alive):
        file.touch()
    names["child_exit"](None, SimpleNamespace(pid=7))
    assert [*tmp_path.iterdir()] == [alive]
    try:
        exec(freeze, {})
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()


_PORTS = {"metrics": "metrics", "health": "healthcheck"}


def test_manifests_are_exported_as_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The printed command makes Kubernetes objects of all dashboards and rules."""
    monkeypatch.chdir(tmp_path)
    ((_, *arguments),) = (words for words in commands(DEPLOY, "taskctx") if "manifests" in words)
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    manifests: list[dict[str, Any]] = [yaml.safe_load(path.read_text()) for path in Path("manifests").iterdir()]
    kinds = sorted(each["kind"] for each in manifests)
    assert kinds == ["ConfigMap"] * 4 + ["PrometheusRule"] * 2


def test_the_example_describes_its_own_api() -> None:
    """Every request, kind and setting that there is, and no other."""
    routes: list[Any] = list(router.routes)
    paths = {(str(method), str(route.path).replace("report_id", "id")) for route in routes for method in route.methods}
    documented = set(re.findall(r"^\| `(GET|POST) ([^`]+)`", EXAMPLE, re.MULTILINE))
    assert documented == paths - {("GET", "/internal/account")} | {("GET", "/metrics/")}
    assert set(re.findall(r"^\| `(\w+)` \|", EXAMPLE, re.MULTILINE)) >= {kind.value for kind in Kind}
    named = {
        str(field.validation_alias or f"REPORTS_{name.upper()}") for name, field in ApiSettings.model_fields.items()
    }
    assert named <= set(re.findall(r"`([A-Z_]+)`", EXAMPLE))
