"""The files and tests that CONTRIBUTING.md names are there."""

from __future__ import annotations

import re
import subprocess

from tests.docs.pages import ROOT

TEXT = (ROOT / "CONTRIBUTING.md").read_text()


def test_files_that_are_named_are_there() -> None:
    """Every path with a folder of ours at its beginning."""
    named = set(re.findall(r"`((?:taskctx|tests|dashboards|docs)/[\w./-]+)`", TEXT)) - {"docs/runbooks/NAME.md"}
    assert len(named) > 20
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


def test_tests_that_are_named_are_there() -> None:
    """Each is a function of a test module."""
    named = set(re.findall(r"`(test_\w+)`", TEXT))
    found = subprocess.run(
        ["git", "grep", "-ohE", r"def test_\w+", "--", "tests"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert len(named) > 10
    assert named <= {line.removeprefix("def ") for line in found.stdout.splitlines()}
