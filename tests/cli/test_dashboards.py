"""``taskctx dashboards``, from a checkout and from an installed wheel."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from taskctx.cli import app
from tests.conftest import BACKEND

ROOT = Path(__file__).parents[2]
BOARDS = {"taskctx-overview", "taskctx-workers", "taskctx-registries", "taskctx-slo"}
RULES = {"taskctx-rules", "taskctx-alerts"}

runner = CliRunner()


def test_list_names_what_is_bundled() -> None:
    """Four dashboards and two files of rules, each with what it is."""
    listed = runner.invoke(app, ["dashboards", "list"], env={"COLUMNS": "200"})
    assert listed.exit_code == 0
    for name in BOARDS:
        assert f"grafana/{name}.json" in listed.output
    for name in RULES:
        assert f"prometheus/{name}.yaml" in listed.output
    assert "taskctx / Overview" in listed.output


def test_export_writes_the_committed_files(tmp_path: Path) -> None:
    """Byte for byte, where nothing else is asked for."""
    exported = runner.invoke(app, ["dashboards", "export", str(tmp_path)])
    assert exported.exit_code == 0
    written = {path.relative_to(tmp_path): path.read_text() for path in tmp_path.rglob("*.*") if path.is_file()}
    assert {path.stem for path in written} == BOARDS | RULES
    for path, content in written.items():
        assert content == (ROOT / "dashboards" / path).read_text()


def test_export_puts_in_ones_own_grafana(tmp_path: Path) -> None:
    """The links of the exported alerts lead to the given Grafana."""
    runner.invoke(app, ["dashboards", "export", str(tmp_path), "--grafana-url", "https://grafana.example/"])
    alerts = (tmp_path / "prometheus" / "taskctx-alerts.yaml").read_text()
    assert "https://grafana.example/d/taskctx-overview" in alerts
    assert "localhost" not in alerts


NO_ADDRESS = ["nonsense", "", "grafana:3000", "ftp://grafana", "http://", "http://[", 'http://a"b']
NOT_FOR_LINKS = ["http://a/{{b}}", "http://me:password@a", "http://a/?b=c", "http://a/#b", "http://a/\udcff"]


@pytest.mark.parametrize("url", [*NO_ADDRESS, *NOT_FOR_LINKS])
def test_what_is_no_address_is_refused(url: str, tmp_path: Path) -> None:
    """Nothing is written: its links would lead nowhere, show a password, or be a template that Prometheus refuses."""
    exported = runner.invoke(app, ["dashboards", "export", str(tmp_path), "--grafana-url", url])
    assert exported.exit_code == 2
    assert exported.output.startswith(
        "--grafana-url is no address of a web server.\nOne looks like http://localhost:3000, "
    )
    assert list(tmp_path.iterdir()) == []


def test_export_for_kubernetes(tmp_path: Path) -> None:
    """ConfigMaps for Grafana's sidecar, PrometheusRules for the operator, with the same content."""
    exported = runner.invoke(app, ["dashboards", "export", str(tmp_path), "--format", "kubernetes"])
    assert exported.exit_code == 0
    manifests = {path.stem: yaml.safe_load(path.read_text()) for path in tmp_path.iterdir()}
    assert set(manifests) == BOARDS | RULES
    for name in BOARDS:
        assert manifests[name]["kind"] == "ConfigMap"
        assert manifests[name]["metadata"]["labels"] == {"grafana_dashboard": "1"}
        board = (ROOT / "dashboards" / "grafana" / f"{name}.json").read_text()
        assert json.loads(manifests[name]["data"][f"{name}.json"]) == json.loads(board)
    for name in RULES:
        rules = yaml.safe_load((ROOT / "dashboards" / "prometheus" / f"{name}.yaml").read_text())
        assert manifests[name]["apiVersion"] == "monitoring.coreos.com/v1"
        assert manifests[name]["kind"] == "PrometheusRule"
        assert manifests[name]["spec"] == rules


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    """The command writes a sentence, no traceback, and exits with 2."""
    (tmp_path / "file").write_text("")
    exported = runner.invoke(app, ["dashboards", "export", str(tmp_path / "file")])
    assert exported.exit_code == 2
    assert "cannot write" in exported.output
    assert "Traceback" not in exported.output


@pytest.mark.skipif(BACKEND != "memory", reason="no backend is involved: once is enough")
def test_the_wheel_carries_them(tmp_path: Path) -> None:
    """A plain installation has the files, without the checkout and without any extra."""
    built = tmp_path / "wheel"
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(built), str(ROOT)],
        check=True,
        capture_output=True,
    )
    (wheel,) = built.glob("taskctx-*.whl")
    home = tmp_path / "venv"
    venv.create(home, with_pip=False, system_site_packages=False)
    site = next((home / "lib").glob("python*/site-packages"))
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site), str(wheel)],
        check=True,
        capture_output=True,
    )
    # taskctx from the wheel, what it depends on from this environment
    dependencies = next(path for path in sys.path if path.endswith("site-packages"))
    environment = os.environ | {"PYTHONPATH": f"{site}:{dependencies}"}
    shown = subprocess.run(
        [str(home / "bin" / "python"), "-c", "import taskctx; from taskctx.cli import main; print(taskctx.__file__); main()",
         "dashboards", "export", str(tmp_path / "out")],
        env=environment, cwd=tmp_path, check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert shown.stdout.startswith(str(site))
    assert {path.stem for path in (tmp_path / "out").rglob("*.*") if path.is_file()} == BOARDS | RULES
