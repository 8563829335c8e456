"""The sets of versions that taskctx is tested with, beside constraints.txt: a table."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]

CONTRACTS = (
    "tests/contracts",
    "--ignore=tests/contracts/test_sentry.py",  # needs FastAPI, which needs more than the oldest Starlette
    "tests/upstream/test_docket.py",
    "tests/upstream/test_opentelemetry.py",
    "tests/upstream/test_redis.py",
    "tests/telemetry/test_tracing.py",
    "tests/caller/test_trace_context.py",
)
FASTMCP = (
    "tests/fastmcp",
    "tests/upstream/test_fastmcp.py",
    "tests/upstream/test_fastmcp3.py",
    "tests/upstream/test_fastmcp4.py",
    "tests/cli/test_demo_fastmcp.py",
    "tests/examples/test_fastmcp_server.py",
    "tests/docs/test_programs.py::test_fastmcp",
    "tests/docs/test_programs.py::test_fastmcp_without_its_tasks",
)
MIDDLEWARE = ("tests/upstream/test_mcp.py",)
EVERYTHING = ("tests",)


@dataclass(frozen=True)
class VersionSet:
    """What is installed together, and the tests that it is to pass on both backends.

    Attributes:
        name: of its virtual environment too.
        stands_for: what people have who have it.
        tests: what pytest is given.
        instead: by package or pattern, what is demanded in place of the versions in constraints.txt; empty where pip chooses.
        only_floors: everything that pyproject.toml names is as old as it allows.
        python: its version, where it is not the one that runs.
        extras: of taskctx.
        group: of dependencies, beside the extras.
        also: what is installed beside them.
        warns: its packages warn of each other, or have come to be warned of since.
    """

    name: str
    stands_for: str
    tests: tuple[str, ...] = CONTRACTS
    instead: Mapping[str, str] = field(default_factory=dict[str, str])
    only_floors: bool = False
    python: str | None = None
    extras: tuple[str, ...] = ("demo", "otlp")
    group: str = "test"
    also: tuple[str, ...] = ()
    warns: bool = False

    def constraints(self) -> str:
        """What pip is given as its constraints file."""
        instead = {**self.instead, **(floors(self.extras) if self.only_floors else {})}
        pins = (ROOT / "constraints.txt").read_text().splitlines()
        kept = [pin for pin in pins if not any(fnmatchcase(_name(pin), pattern) for pattern in instead)]
        return "\n".join([*kept, *(f"{name}{demand}" for name, demand in instead.items() if demand), ""])


def floors(extras: tuple[str, ...]) -> dict[str, str]:
    """The oldest version of each package that pyproject.toml allows, of the dependencies and of some extras."""
    return {canonicalize_name(each.name): f"=={_floor(each)}" for each in requirements(extras)}


def requirements(extras: tuple[str, ...]) -> Iterator[Requirement]:
    """What taskctx requires, by itself and with some extras."""
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    optional: dict[str, list[str]] = project["optional-dependencies"]
    for listed in (project["dependencies"], *(optional[extra] for extra in extras)):
        yield from map(Requirement, listed)


def _floor(requirement: Requirement) -> str:
    (floor,) = (each.version for each in requirement.specifier if each.operator in {">=", "=="})
    return floor


def _name(pin: str) -> str:
    return canonicalize_name(pin.partition("==")[0])


FREE_OPENTELEMETRY: Mapping[str, str] = dict.fromkeys(
    ("opentelemetry-*", "googleapis-common-protos", "importlib-metadata", "protobuf", "wrapt"), ""
)

SETS: tuple[VersionSet, ...] = (
    VersionSet("pinned", "constraints.txt: what everything is tested with"),
    VersionSet(
        "oldest",
        "the oldest of everything that is allowed",
        instead={**FREE_OPENTELEMETRY, "pydantic-core": ""},
        only_floors=True,
        warns=True,
    ),
    VersionSet("newest", "whatever pip chooses now", instead={"*": ""}, warns=True),
    VersionSet("pydocket-0.26.2", "the last Docket 0.26", instead={"pydocket": "==0.26.2"}),
    VersionSet("redis-7", "the last redis-py 7", instead={"redis": ">=7,<8"}),
    VersionSet(
        "opentelemetry-1.41",
        "the last OpenTelemetry whose baggage propagator writes more than it reads",
        instead={**FREE_OPENTELEMETRY, "opentelemetry-api": ">=1.41,<1.42"},
        warns=True,
    ),
    VersionSet(
        "opentelemetry-1.44",
        "the last OpenTelemetry that takes no enumerations in lists",
        instead={**FREE_OPENTELEMETRY, "opentelemetry-api": ">=1.44,<1.45"},
        warns=True,
    ),
    VersionSet(
        "fastmcp-3",
        "FastMCP 3.4, whose tasks are a part of it",
        instead={**dict.fromkeys(("fastmcp-*", "mcp*", "certifi", "pydantic-monty*"), ""), "fastmcp": "==3.4.11"},
        group="dev",
        tests=FASTMCP,
    ),
    VersionSet(
        "fastmcp-oldest",
        "the oldest FastMCP 4",
        instead={"fastmcp*": "", "fastmcp-tasks": "==4.0.0"},
        group="dev",
        tests=FASTMCP,
    ),
    VersionSet(
        "fastmcp-newest",
        "the newest FastMCP whose tasks pip finds",
        instead={**dict.fromkeys(("fastmcp*", "mcp*", "certifi", "pydantic-monty*"), ""), "fastmcp-tasks": ">=4.1.4"},
        group="dev",
        tests=FASTMCP,
    ),
    VersionSet(
        "mcp-1", "the MCP SDK's last 1.x", instead={"mcp*": "", "mcp": ">=1.30,<2"}, also=("mcp",), tests=MIDDLEWARE
    ),
    VersionSet("python-3.12", "Python 3.12", python="3.12", group="dev", tests=EVERYTHING),
    VersionSet("python-3.13", "Python 3.13", python="3.13", group="dev", tests=EVERYTHING),
)

BY_NAME: Mapping[str, VersionSet] = {each.name: each for each in SETS}
