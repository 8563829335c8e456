"""What ``make release-check`` says of a changelog."""

from __future__ import annotations

import re

import pytest

from dashboards.frame import RUNBOOKS
from tests.packaging.environment import ROOT
from tests.packaging.release import faults_of_changelog

RELEASED = "# Changelog\n\n## [Unreleased]\n\n## [1.2.0] - 2026-12-01\n\n- A change.\n\n## [1.1.0] - 2026-11-01\n"


def test_a_released_version() -> None:
    """Has a section of its own with its day, and nothing is left above it."""
    assert [*faults_of_changelog(RELEASED, "1.2.0")] == []


@pytest.mark.parametrize(
    ("changelog", "version"),
    [
        (RELEASED, "1.3.0"),
        (RELEASED, "1.1.0"),
        (RELEASED.replace(" - 2026-12-01", ""), "1.2.0"),
        (RELEASED.replace("[Unreleased]\n", "[Unreleased]\n\n- Another.\n"), "1.2.0"),
        ("# Changelog\n\n## [Unreleased]\n", "1.2.0"),
    ],
)
def test_one_that_is_not(changelog: str, version: str) -> None:
    """Of another version, without a day, or with changes that no version has."""
    assert [*faults_of_changelog(changelog, version)]


def test_there_is_one_repository() -> None:
    """Links of the package's page and of alerts lead to the same."""
    text = (ROOT / "pyproject.toml").read_text() + RUNBOOKS
    assert len(set(re.findall(r"github(?:usercontent)?\.com/([\w-]+/[\w-]+)", text))) == 1
