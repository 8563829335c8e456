"""Checks of the installed versions: whether taskctx was tested with them, and whether they are harmful."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import Any

from taskctx._upstream import FAULTS, is_met, version_of

from .finding import Finding, Severity, ok


def check_versions() -> Iterator[Finding]:
    """Check the installed versions.  Run the doctor in the environment of a server or worker for this."""
    for fault in FAULTS:
        if not is_met(fault):
            what, _, do = fault.purpose.partition(". ")
            yield Finding("versions", Severity.WARNING, f"{fault.package} {version_of(fault.package)} {what}", what, do)
    known = tested()
    installed = {package: found for package in known if (found := _installed(package)) is not None}
    yes = [f"{package} {found}" for package, found in installed.items() if found in known[package]]
    no = [
        f"{package} {found} ({', '.join(sorted(known[package]))} were)"
        for package, found in installed.items()
        if found not in known[package]
    ]
    said = [f"tested with this taskctx: {', '.join(yes)}" if yes else "", f"not tested: {', '.join(no)}" if no else ""]
    yield ok("versions", "; ".join(filter(None, said)))


@cache
def tested() -> dict[str, frozenset[str]]:
    """The versions that passed the tests (``make compat``), by package."""
    sets: dict[str, Any] = json.loads(files("taskctx.cli.doctor").joinpath("tested.json").read_text())
    passed = [each["versions"] for each in sets.values() if not any(one["failed"] for one in each["results"].values())]
    packages = sorted({package for versions in passed for package in versions})
    return {package: frozenset(each[package] for each in passed if package in each) for package in packages}


def _installed(package: str) -> str | None:
    return platform.python_version() if package == "python" else version_of(package)
