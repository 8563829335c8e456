"""A virtual environment for each set of versions, made anew when what it is made from has changed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree as ET

from packaging.utils import canonicalize_name

from tests.packaging import interpreters
from tests.versions.sets import ROOT, VersionSet

_VERSION = "import platform; print(platform.python_version())"


class Counts(NamedTuple):
    """What came of the tests of a set on one backend."""

    passed: int
    failed: int
    skipped: int

    @classmethod
    def of(cls, report: Path) -> Counts:
        """Out of a report of pytest's in JUnit's form."""
        (suite,) = ET.parse(report).getroot()
        tests, failures, errors, skipped = (
            int(suite.attrib[each]) for each in ("tests", "failures", "errors", "skipped")
        )
        return cls(tests - failures - errors - skipped, failures + errors, skipped)


class Environment:
    """Where a set of versions is installed, in a folder of the checkout that git ignores."""

    def __init__(self, of: VersionSet) -> None:
        self.of = of
        self.folder = ROOT / f".venv-{of.name}"
        self._python = Path(sys.executable) if of.python is None else interpreters.find(of.python)

    @property
    def can_be_had(self) -> bool:
        """Whether its Python is here."""
        return self._python is not None

    def make(self) -> None:
        """Install the set, unless it is."""
        constraints = self.of.constraints()
        made_from = f"{self._python}\n{constraints}\n{(ROOT / 'pyproject.toml').read_text()}"
        stamp, digest = self.folder / ".ready", hashlib.sha256(made_from.encode()).hexdigest()
        if stamp.exists() and stamp.read_text() == digest:
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        _run(str(self._python), "-m", "venv", str(self.folder))
        self._pip("--upgrade", "pip>=25.1")
        demanded = self.folder / "constraints.txt"
        demanded.write_text(constraints)
        extras = ",".join(self.of.extras)
        self._pip("--constraint", str(demanded), "--editable", f".[{extras}]", "--group", self.of.group, *self.of.also)
        stamp.write_text(digest)

    def installed(self) -> dict[str, str]:
        """The version of each package, and of Python."""
        python = str(self.folder / "bin/python")
        listed = json.loads(_run(python, "-m", "pip", "list", "--format", "json", capture=True))
        versions = {canonicalize_name(each["name"]): str(each["version"]) for each in listed}
        return versions | {"python": _run(python, "-c", _VERSION, capture=True).strip()}

    def test(self, backend: str, options: list[str]) -> Counts:
        """Have pytest run the set's tests on a backend."""
        report = ROOT / f"build/versions/{self.of.name}-{backend}.xml"
        report.unlink(missing_ok=True)
        options = [f"--junit-xml={report}", *(["-W", "default"] if self.of.warns else []), *options]
        command = [str(self.folder / "bin/pytest"), *options, *self.of.tests]
        done = subprocess.run(command, cwd=ROOT, env=os.environ | {"TASKCTX_TEST_BACKEND": backend}, check=False)
        return Counts.of(report) if report.exists() else Counts(passed=0, failed=done.returncode, skipped=0)

    def _pip(self, *arguments: str) -> None:
        _run(str(self.folder / "bin/python"), "-m", "pip", "install", "--quiet", *arguments)


def _run(*command: str, capture: bool = False) -> str:
    return (
        subprocess.run(command, cwd=ROOT, check=True, text=True, stdout=subprocess.PIPE if capture else None).stdout
        or ""
    )
