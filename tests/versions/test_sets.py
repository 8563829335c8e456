"""The sets of versions are what pyproject.toml and constraints.txt say."""

from __future__ import annotations

import re
from itertools import chain

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.versions.sets import BY_NAME, ROOT, SETS, VersionSet, floors, requirements


def pinned(constraints: str) -> dict[str, Requirement]:
    return {canonicalize_name(each.name): each for each in map(Requirement, constraints.splitlines())}


def test_the_oldest_set_has_the_floor_of_everything() -> None:
    """What pyproject.toml allows is tried; and it allows no version by a bound that nothing has tried."""
    demanded = pinned(BY_NAME["oldest"].constraints())
    for required in requirements(("demo", "otlp")):
        (version,) = (each.version for each in demanded[canonicalize_name(required.name)].specifier)
        assert required.specifier.contains(version), required


def test_every_floor_is_one() -> None:
    """Every dependency has a lowest version; without one, pip could install an untested older version."""
    assert set(floors(())) == {canonicalize_name(each.name) for each in requirements(())}


@pytest.mark.parametrize("of", SETS, ids=[each.name for each in SETS])
def test_a_set_differs_from_the_constraints_in_what_it_is_for(of: VersionSet) -> None:
    """All else has the versions that everything is tested with."""
    ours, theirs = pinned((ROOT / "constraints.txt").read_text()), pinned(of.constraints())
    changed = {name for name in chain(ours, theirs) if ours.get(name) != theirs.get(name)}
    assert changed or of.python or of is BY_NAME["pinned"]


def test_the_makefile_runs_sets_that_there_are() -> None:
    """Its targets are named by them."""
    (targets,) = re.findall(r"^(test-.*):.*\n.*tests\.versions \$\(@", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {target.removeprefix("test-") for target in targets.split()} <= set(BY_NAME)
