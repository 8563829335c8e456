"""Prometheus 3 and its promtool, of the version that docker-compose.yml runs, built of their Go module.

``python -m tests.stack.prometheus_3`` builds them where they are not here yet, and prints the folder that has them.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.deploy.compose import SERVICES
from tests.stack.built import INSTALL_GO, built, kept, run
from tests.stack.programs import program

MODULE = "github.com/prometheus/prometheus"
HOW = "make observe-check PROMETHEUS=3"
"""What builds it."""

TAGS = "remove_all_sd,enable_dns_sd"
"""No service discovery but by DNS, and by what is in the configuration: the others are most of what there is to compile."""


RELEASE: str = SERVICES["prometheus"]["image"].rpartition(":v")[2]


def version() -> str:
    """The module's: 3.14.0 is its v0.314.0."""
    major, minor, patch = RELEASE.split(".")
    return f"v0.{major}{minor:0>2}.{patch}"


FOLDER = kept("prometheus", version())
"""Where ``prometheus`` and ``promtool`` are, once they were built."""


def built_prometheus() -> Path:
    """The folder; built now, where this version has not been built here before."""
    go = program("go", install=INSTALL_GO)
    return built(FOLDER, lambda directory: _build(go, directory))


def _build(go: str, directory: Path) -> Path:
    """In the module itself, because ``go install`` refuses a module that replaces others, as this one does."""
    module = json.loads(run(directory, go, "mod", "download", "-json", f"{MODULE}@{version()}"))["Dir"]
    programs = directory / "programs"
    programs.mkdir()
    command = [go, "build", "-tags", TAGS, "-ldflags", f"-X github.com/prometheus/common/version.Version={RELEASE}"]
    command += ["-o", f"{programs}/", f"{MODULE}/cmd/prometheus", f"{MODULE}/cmd/promtool"]
    # its workspace is of folders that are not in the module
    run(Path(module), *command, GOWORK="off")
    return programs


if __name__ == "__main__":
    try:
        sys.stdout.write(f"{built_prometheus()}\n")
    except pytest.fail.Exception as failed:
        sys.exit(str(failed))
