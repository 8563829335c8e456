"""The collector of ``otel-collector/builder.yaml``: built once with the collector's own builder, then kept."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.processes.support import ROOT
from tests.stack.programs import program

MANIFEST = ROOT / "otel-collector" / "builder.yaml"
CONFIG = ROOT / "otel-collector" / "config.yaml"
BUILDER = "go.opentelemetry.io/collector/cmd/builder"
INSTALL_GO = "get Go 1.25 or later from https://go.dev/dl"
BUILD_SECONDS = 1800
"""How long a step of a build may take: it downloads and compiles some hundred modules on whatever machine this is."""


def built_collector() -> Path:
    """The program; built now, where this manifest has not been built here before."""
    go = program("go", install=INSTALL_GO)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "taskctx" / "otelcol"
    manifest = MANIFEST.read_bytes()
    dist: dict[str, Any] = yaml.safe_load(manifest)["dist"]
    built = cache / hashlib.sha256(manifest).hexdigest()[:16] / dist["name"]
    cache.mkdir(parents=True, exist_ok=True)
    with _one_at_a_time(cache / "lock"):
        if not built.exists():
            with tempfile.TemporaryDirectory(prefix="build-", dir=cache) as directory:
                new = _build(go, Path(directory), dist)
                built.parent.mkdir(exist_ok=True)
                # at once or not at all: what is there is whole
                new.replace(built)
    return built


def validate(command: Sequence[str]) -> str:
    """What a collector has to say against its configuration."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout + done.stderr + (f"exit code {done.returncode}" if done.returncode else "")


def _build(go: str, directory: Path, dist: dict[str, Any]) -> Path:
    """Build in ``directory``, with the builder of the distribution's version."""
    _run(directory, go, "install", f"{BUILDER}@v{dist['version']}", GOBIN=str(directory))
    shutil.copy(MANIFEST, directory / MANIFEST.name)
    _run(directory, str(directory / "builder"), "--config", MANIFEST.name)
    return directory / dist["output_path"] / dist["name"]


def _run(directory: Path, *command: str, **environment: str) -> None:
    done = subprocess.run(
        command,
        cwd=directory,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=BUILD_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        pytest.fail(f"the collector was not built: {' '.join(command)}\n{done.stdout}{done.stderr}", pytrace=False)


@contextmanager
def _one_at_a_time(lock: Path) -> Generator[None]:
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
