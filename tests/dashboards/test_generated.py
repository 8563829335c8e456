"""What is committed is what the builders give."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dashboards.build import HERE, write

from .artifacts import ALERTS, GENERATED


@pytest.mark.parametrize("path", GENERATED, ids=str)
def test_the_committed_file_is_what_the_builders_give(path: Path) -> None:
    """Change dashboards/*.py, then run ``make dashboards``."""
    assert (HERE / path).read_text() == GENERATED[path], "run `make dashboards`"


@pytest.mark.parametrize("folder", ["grafana", "grafana-jaeger", "prometheus"])
def test_no_other_file_lies_beside_the_generated_ones(folder: str) -> None:
    """A dashboard that was renamed does not stay behind under its old name."""
    committed = {path.relative_to(HERE) for path in (HERE / folder).iterdir() if path.is_file()}
    assert committed == {path for path in GENERATED if path.parts[0] == folder}


@pytest.mark.parametrize("text", ["README.md", "CHANGELOG.md"])
def test_the_number_of_alerts_is_told_as_it_is(text: str) -> None:
    """Several with one name, at other speeds, count as several."""
    (told,) = re.findall(r"\b(\d+) alerts\b", (HERE.parent / text).read_text())
    assert int(told) == len(ALERTS)


def test_write_puts_every_file_into_an_empty_folder(tmp_path: Path) -> None:
    """``python -m dashboards`` needs nothing to be there."""
    write(tmp_path)
    assert {path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()} == set(GENERATED)
