"""Where it was measured."""

from __future__ import annotations

import os
import platform
import re
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, cast

from redis import Redis

from .results import Machine

PACKAGES = ("taskctx", "pydocket", "redis", "hiredis", "cryptography", "pydantic", "opentelemetry-sdk", "fastmcp-tasks")
CPUS = Path("/proc/cpuinfo")
IDLE = 0.5
"""A load above this was somebody else's."""


def describe(url: str) -> Machine:
    """The machine, and what runs on it; ``url`` is the Valkey server's."""
    server = cast("Any", Redis).from_url(url)
    about: dict[str, str] = server.info("server")
    server.close()
    valkey = about.get("valkey_version") or about["redis_version"]
    return Machine(
        cpu=_cpu(),
        cores=os.cpu_count() or 1,
        system=f"{platform.system()} {platform.machine()}",
        python=f"{platform.python_implementation()} {platform.python_version()}",
        load=round(os.getloadavg()[0], 2),
        versions={name: found for name in PACKAGES if (found := _version(name))} | {"Valkey": valkey},
        date=datetime.now(UTC).date().isoformat(),
    )


def disturbances(machine: Machine) -> list[str]:
    """What else went on there when the run began, if anything did."""
    if machine.load <= IDLE:
        return []
    return [f"The machine was not idle when the run began: its load was {machine.load}."]


def _cpu() -> str:
    if CPUS.exists() and (found := re.search(r"^model name\s*:\s*(.+)$", CPUS.read_text(), re.MULTILINE)):
        return found[1]
    return platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
