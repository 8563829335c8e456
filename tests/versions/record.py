"""What was tested and when: a file in the package, for the doctor and the documentation."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from packaging.utils import canonicalize_name

from tests.versions.environment import Counts, Environment
from tests.versions.sets import ROOT, requirements

RECORD = ROOT / "taskctx/cli/doctor/tested.json"

ALSO = ("burner-redis", "fastmcp", "hiredis", "mcp", "opentelemetry-sdk", "python")
"""What is told beside the dependencies."""


def record(environment: Environment, results: Mapping[str, Counts]) -> None:
    """Keep the results of a set in place of its earlier ones."""
    told = {canonicalize_name(each.name) for each in requirements(())} | set(ALSO)
    installed = {name: version for name, version in environment.installed().items() if name in told}
    recorded: dict[str, Any] = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    recorded[environment.of.name] = {
        "stands_for": environment.of.stands_for,
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "versions": dict(sorted(installed.items())),
        "results": {backend: counts._asdict() for backend, counts in results.items()},
    }
    RECORD.write_text(json.dumps(recorded, indent=2) + "\n")
