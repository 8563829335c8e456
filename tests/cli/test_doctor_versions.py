"""The doctor says which of the installed versions were tested, and which of them do harm."""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import version

import pytest

from taskctx._upstream import FAULTS
from taskctx.cli.doctor import versions
from taskctx.cli.doctor.finding import Severity
from taskctx.cli.doctor.versions import check_versions


def test_what_is_installed_is_said_to_be_tested_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """A version that was not is no fault by itself: those that were are named beside it."""
    known = {
        "pydocket": frozenset({version("pydocket"), "0.26.0"}),
        "redis": frozenset({"1.0"}),
        "no-such": frozenset({"1"}),
    }
    monkeypatch.setattr(versions, "tested", lambda: known)
    (finding,) = check_versions()
    assert finding.severity is Severity.OK
    expected = (
        f"tested with this taskctx: pydocket {version('pydocket')}; not tested: redis {version('redis')} (1.0 were)"
    )
    assert finding.what == expected


def test_a_version_that_does_harm_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what it does, and what to do about it."""
    fault = next(each for each in FAULTS if each.package == "redis")
    monkeypatch.setattr(versions, "FAULTS", [replace(fault, name="redis:no_such_name")])
    finding, _ = check_versions()
    assert finding.severity is Severity.WARNING
    assert finding.what.startswith(f"redis {version('redis')} hands out connections")
    assert finding.do.startswith("Install another version")


def test_the_pinned_versions_were_tested() -> None:
    """What passed is in the package; what failed in a set does not count."""
    assert version("pydocket") in versions.tested()["pydocket"]
    assert version("redis") in versions.tested()["redis"]
