"""What is in the wheel and in the sdist."""

from __future__ import annotations

import subprocess
import tarfile
from pathlib import Path
from zipfile import ZipFile

import pytest

import taskctx
from tests.packaging.conftest import Distributions
from tests.packaging.environment import ROOT
from tests.packaging.release import faults_of, metadata_of

pytestmark = pytest.mark.packaging


def content(wheel: Path) -> dict[str, bytes]:
    with ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def tracked(*folders: str) -> set[str]:
    """The files that git knows of, or would."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", *folders]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return set(listed.stdout.splitlines())


def test_the_wheel_holds_the_package_and_what_it_exports(distributions: Distributions) -> None:
    """Every file of taskctx/ and the plugin of pytest's, the marker for type checkers, dashboards and rules; and no test."""
    found = {name for name in content(distributions.wheel) if ".dist-info/" not in name}
    bundled = {name for name in found if name.startswith("taskctx/_bundled/")}

    assert found - bundled == tracked("taskctx", "pytest_taskctx.py")
    assert "taskctx/py.typed" in found
    assert {name.removeprefix("taskctx/_bundled/") for name in bundled} == {
        name.removeprefix("dashboards/")
        for name in tracked(
            "dashboards/grafana/*.json", "dashboards/grafana-jaeger/*.json", "dashboards/prometheus/*.yaml"
        )
        if not name.startswith("dashboards/prometheus/tests/")
    }


def test_the_sdist_makes_the_same_wheel(distributions: Distributions, wheel_of_the_tree: Path) -> None:
    """Byte for byte: nothing that the wheel needs is missing in the sdist."""
    assert content(distributions.wheel) == content(wheel_of_the_tree)


def test_the_sdist_holds_sources_tests_and_documents(distributions: Distributions) -> None:
    """The sdist has only files that git tracks, tests and docs among them, and no binary file but pictures."""
    with tarfile.open(distributions.sdist) as archive:
        files = {member.name.partition("/")[2]: archive.extractfile(member) for member in archive if member.isfile()}
        texts = {name: file.read() for name, file in files.items() if file}

    assert set(texts) - {"PKG-INFO"} <= tracked()
    assert {"LICENSE", "README.md", "CHANGELOG.md", "tests/conftest.py", "docs/deploy.md"} <= set(texts)
    assert all(name.startswith("docs/pictures/") for name, text in texts.items() if b"\0" in text)


def test_the_metadata_says_what_it_is(distributions: Distributions) -> None:
    """Version, licence with its text, types, and the oldest Python."""
    found = metadata_of(distributions.wheel)
    classifiers = found.get_all("Classifier", [])

    assert (found["Name"], found["Version"]) == ("taskctx", taskctx.__version__)
    assert found["License-Expression"] == "Apache-2.0"
    assert f"taskctx-{taskctx.__version__}.dist-info/licenses/LICENSE" in content(distributions.wheel)
    assert {"Typing :: Typed", "Framework :: AsyncIO", "Programming Language :: Python :: 3.11"} <= set(classifiers)
    assert found["Requires-Python"] == ">=3.11"


def test_an_index_shows_it_well(distributions: Distributions) -> None:
    """Of wheel and sdist alike: the version, and the README with links and pictures that lead somewhere from there."""
    assert [*faults_of(distributions.wheel), *faults_of(distributions.sdist)] == []
