"""What taskctx needs of other packages is looked for once, at import; what is missing is one error."""

from __future__ import annotations

import sys
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import pytest

import taskctx
from taskctx._upstream import FAULTS, NEEDS, Need, require, warn_of
from tests.helpers import run_well


class Lacking:
    """In the place of a class of Docket's that has lost what taskctx needs, in silence."""

    def __init__(self, *_: Any, **__: Any) -> None: ...


@pytest.mark.parametrize(
    ("owner", "name", "purpose"),
    [
        ("docket.Docket", "runs_key", "read whether a task still has a run to come"),
        ("docket.dependencies", "Perpetual", "keep a perpetual task's context until its next run"),
        ("docket.dependencies", "AdmissionBlocked", "keep the context of a task that is held back"),
        ("docket.instrumentation", "MessageSetter", "keep baggage out of Docket's messages"),
        ("docket", "Docket", "tell whether a docket is open"),
        ("uncalled_for.frames", "Frame", "read what a task's body was given"),
    ],
)
def test_what_would_fail_in_silence_is_an_error(
    monkeypatch: pytest.MonkeyPatch, owner: str, name: str, purpose: str
) -> None:
    """It names the package, its version, and what taskctx needs it for."""
    monkeypatch.setattr(f"{owner}.{name}", Lacking)
    if name == "runs_key":
        monkeypatch.delattr(f"{owner}.{name}")
    package = "uncalled-for" if owner.startswith("uncalled") else "pydocket"
    with pytest.raises(taskctx.UnsupportedVersion) as raised:
        require(NEEDS)
    said = str(raised.value)
    assert said.startswith(f"{package} {version(package)} does not have ")
    assert f"as taskctx needs it to {purpose}" in said
    assert f"pip install --upgrade taskctx {package}" in said


def test_all_that_is_missing_is_one_error() -> None:
    """Of packages that are not there at all, too."""
    needs = [Need("redis", "redis:no_such_name", "send"), Need("no-such", "no_such.module:name", "receive"), NEEDS[0]]
    with pytest.raises(taskctx.UnsupportedVersion) as raised:
        require(needs)
    assert str(raised.value).startswith(
        f"redis {version('redis')} does not have redis:no_such_name, as taskctx needs it to send; "
        "no-such, which is not installed, does not have no_such.module:name, as taskctx needs it to receive. "
    )


def test_it_is_asked_before_anything_else_is_imported() -> None:
    """An import that fails is that one error, which ``opentelemetry-instrument`` and ``except ImportError`` know."""
    program = """
import docket.dependencies
del docket.dependencies.AdmissionBlocked
try:
    import taskctx
except ImportError as error:
    print(type(error).__name__, error)
"""
    done = run_well([sys.executable, "-c", program])
    assert done.stdout.startswith(
        f"UnsupportedVersion pydocket {version('pydocket')} does not have docket.dependencies:"
    )


@pytest.mark.parametrize(
    ("package", "found", "is_faulty"),
    [
        ("pydocket", "0.25.2", True),
        ("pydocket", "0.26.0", False),
        ("pydocket", "1.0.0rc1", False),
        ("redis", "8.1.0", True),
        ("redis", "8.0.1", False),
        ("redis", "8.1.1", False),
    ],
)
def test_versions_that_do_harm_are_known(package: str, found: str, is_faulty: bool) -> None:
    """A harmful version is recognized, although pip does not choose it by itself."""
    (fault,) = (each for each in FAULTS if each.package == package)
    assert fault.holds(found) is not is_faulty


def test_a_version_that_does_harm_is_warned_of() -> None:
    """In one sentence of what is installed, what it does and what to do: all else works meanwhile."""
    with pytest.warns(
        RuntimeWarning, match=rf"^redis {version('redis')} hands out .* Install another version; meanwhile"
    ):
        warn_of(replace(each, name="redis:no_such_name") for each in FAULTS if each.package == "redis")
