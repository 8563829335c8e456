"""The stack, as its files say it: parsed once, and asked by the tests."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
BUILT = "taskctx-reports:${COMPOSE_PROJECT_NAME:-local}"


def load(path: str) -> Any:
    return yaml.safe_load((ROOT / path).read_text())


def mounts(service: str) -> dict[str, str]:
    """What is mounted from the repository: path in the container, and ours."""
    pairs = (volume.split(":") for volume in SERVICES[service].get("volumes", []))
    return {target: source for source, target, *_ in pairs if source.startswith(".")}


def volumes(service: str) -> dict[str, str]:
    """The named volumes that a service mounts, with their modes."""
    parts = (volume.split(":") for volume in SERVICES[service].get("volumes", []))
    return {part[0]: part[2] if len(part) > 2 else "rw" for part in parts if not part[0].startswith(".")}


def source_of(service: str, path: str) -> Path:
    """Our file or folder behind a path in a service's container."""
    for target, source in mounts(service).items():
        if path == target or path.startswith(f"{target}/"):
            return ROOT / source / path.removeprefix(target).lstrip("/")
    raise AssertionError(f"{service} mounts nothing at {path}")


def option(service: str, name: str) -> str:
    """The value of ``--name=value`` in a service's command."""
    (value,) = (each.partition("=")[2] for each in SERVICES[service]["command"] if re.match(f"-{{1,2}}{name}=", each))
    return value


def defaults(text: str) -> dict[str, str]:
    """The defaults in ``${env:NAME:-default}`` (the collector's) and ``${NAME:-default}`` (compose's)."""
    return dict(re.findall(r"\$\{(?:env:)?(\w+):-([^}]*)\}", text))
