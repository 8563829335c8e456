"""``make release-check``: builds what is to be uploaded into dist/, and says what is wrong with it."""

from __future__ import annotations

import re
import shutil
import sys
import tarfile
from collections.abc import Iterator
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from typing import Any
from zipfile import ZipFile

from readme_renderer import markdown

import taskctx
from tests.packaging.environment import ROOT, run

DIST = ROOT / "dist"


def main() -> int:
    """Build and look.

    Returns:
        0 if there is nothing to complain about.
    """
    shutil.rmtree(DIST, ignore_errors=True)
    faults = [*faults_of_changelog((ROOT / "CHANGELOG.md").read_text(), taskctx.__version__)]
    for path in built(DIST):
        faults += [f"{path.name}: {fault}" for fault in faults_of(path)]
    print(*faults, f"taskctx {taskctx.__version__} in {DIST.name}; {len(faults)} faults", sep="\n")  # noqa: T201
    return 1 if faults else 0


def built(folder: Path, *options: str) -> list[Path]:
    """What a build leaves in the folder, the sdist first."""
    done = run([sys.executable, "-m", "build", "--outdir", str(folder), *options, str(ROOT)], ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    return sorted(folder.iterdir(), key=lambda path: path.suffix)


def metadata_of(distribution: Path) -> Message:
    """Of a wheel or an sdist."""
    if distribution.suffix == ".whl":
        with ZipFile(distribution) as archive:
            (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
            return message_from_bytes(archive.read(name))
    with tarfile.open(distribution) as archive:
        file = archive.extractfile(f"{distribution.name.removesuffix('.tar.gz')}/PKG-INFO")
        assert file is not None
        return message_from_bytes(file.read())


def faults_of(distribution: Path) -> Iterator[str]:
    """What is wrong with its metadata, as an index would show it."""
    metadata = metadata_of(distribution)
    if metadata["Version"] != taskctx.__version__:
        yield f"its version is {metadata['Version']}, and taskctx's is {taskctx.__version__}"
    if metadata["Description-Content-Type"] != "text/markdown":
        yield "its description is not said to be Markdown"
    description: Any = metadata.get_payload(decode=True)
    shown = markdown.render(description.decode())
    if shown is None:
        yield "its description cannot be shown"
        return
    targets = re.findall(r'(?:href|src)="([^"]*)"', shown)
    if not targets:
        yield "its description has neither links nor pictures"
    yield from (f"{target} leads nowhere from an index" for target in targets if not re.match(r"https?://|#", target))


def faults_of_changelog(changelog: str, version: str) -> Iterator[str]:
    """Its first section with a version is this one's, with its day, and nothing is left above."""
    unreleased, *sections = re.split(r"^## \[(?=\d)", changelog, flags=re.MULTILINE)
    if not sections or not re.match(rf"{re.escape(version)}\] - \d{{4}}-\d\d-\d\d\n", sections[0]):
        yield f"CHANGELOG.md does not begin with a section of {version} and its day"
    if unreleased.partition("## [Unreleased]")[2].strip():
        yield "CHANGELOG.md has changes that are not released"


if __name__ == "__main__":
    sys.exit(main())
