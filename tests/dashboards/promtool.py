"""The promtools that are here: the installed one, and Prometheus 3's where that was built."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from tests.stack import prometheus_3

PROMTOOLS = {"installed": shutil.which("promtool"), "3": shutil.which("promtool", path=str(prometheus_3.FOLDER))}
"""The one on the PATH, Debian's 2.42 as a rule; and Prometheus 3's, whose windows do not have their first moment."""

MISSING = {
    "installed": "promtool is not on the PATH (Debian and Ubuntu: apt-get install prometheus)",
    "3": f"Prometheus 3's promtool has not been built here: {prometheus_3.HOW}, which takes Go",
}
with_each_promtool = pytest.mark.parametrize(
    "promtool",
    [
        pytest.param(path, id=name, marks=pytest.mark.skipif(path is None, reason=MISSING[name]))
        for name, path in PROMTOOLS.items()
    ],
)


def run(promtool: str, *arguments: object) -> None:
    """It has nothing to say against them."""
    result = subprocess.run([promtool, *map(str, arguments)], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
