"""``make compose-check`` where it cannot run."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.compose.engine import NONE
from tests.deploy.compose import ROOT


def test_without_an_engine_it_says_what_to_do() -> None:
    """Without an engine the check fails with one line that says what to do."""
    environment = {name: value for name, value in os.environ.items() if name != "ENGINE"} | {"PATH": "/nowhere"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.compose"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"compose-check: {NONE}\n")
