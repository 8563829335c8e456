"""The collector of ``otel-collector/builder.yaml``: built once with the collector's own builder, then kept."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.processes.support import ROOT
from tests.stack.built import INSTALL_GO, built, kept, run
from tests.stack.programs import program

MANIFEST = ROOT / "otel-collector" / "builder.yaml"
CONFIG = ROOT / "otel-collector" / "config.yaml"
BUILDER = "go.opentelemetry.io/collector/cmd/builder"


def built_collector() -> Path:
    """The program; built now, where this manifest has not been built here before."""
    go = program("go", install=INSTALL_GO)
    manifest = MANIFEST.read_bytes()
    dist: dict[str, Any] = yaml.safe_load(manifest)["dist"]
    place = kept("otelcol", hashlib.sha256(manifest).hexdigest()[:16], dist["name"])
    return built(place, lambda directory: _build(go, directory, dist))


def validate(command: Sequence[str]) -> str:
    """What a collector has to say against its configuration."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout + done.stderr + (f"exit code {done.returncode}" if done.returncode else "")


def _build(go: str, directory: Path, dist: dict[str, Any]) -> Path:
    """Build in ``directory``, with the builder of the distribution's version."""
    run(directory, go, "install", f"{BUILDER}@v{dist['version']}", GOBIN=str(directory))
    shutil.copy(MANIFEST, directory / MANIFEST.name)
    run(directory, str(directory / "builder"), "--config", MANIFEST.name)
    return directory / dist["output_path"] / dist["name"]
