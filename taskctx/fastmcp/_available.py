"""The line of FastMCP that is installed, by the modules that are there.  Imported before anything that needs it."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Final

from ..errors import ConfigurationError

PACKAGES: Final = ("fastmcp-slim", "fastmcp", "fastmcp-tasks")
"""What FastMCP is installed as; its code is in the first and the last."""

TASKS_OF_3: Final = "fastmcp.server.tasks.context"
TASKS_OF_4: Final = "fastmcp_tasks.context"


class UnsupportedFastMCP(ConfigurationError, ImportError):
    """Also an ImportError: for one of those ``opentelemetry-instrument`` leaves out a single instrumentation."""


def found() -> dict[str, str]:
    """The versions of what is installed of FastMCP, by package."""
    versions: dict[str, str] = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions


def sentence(problem: str, remedy: str) -> str:
    """What is installed and why that will not do, what is needed, and what works meanwhile."""
    installed = ", ".join(f"{package} {number}" for package, number in found().items()) or "nothing"
    return (
        f"taskctx.fastmcp needs FastMCP 3.4 or later with its tasks, but {problem} (installed: {installed}): {remedy}; "
        "until then nothing of FastMCP is instrumented, and all else of taskctx works"
    )


def installed_line() -> int:
    """The major line of FastMCP whose tasks are here: 3, or 4 and what came after it.

    Raises:
        ModuleNotFoundError: FastMCP is not installed, or not its tasks.
        UnsupportedFastMCP: tasks of two lines are.
    """
    of_3, of_4 = is_there(TASKS_OF_3), is_there(TASKS_OF_4)
    if of_3 and of_4:
        problem = "FastMCP 3 and the tasks of FastMCP 4 are in one environment"
        raise UnsupportedFastMCP(sentence(problem, "pip uninstall fastmcp-tasks, or pip install 'fastmcp[tasks]>=4'"))
    if not of_3 and not of_4:
        raise ModuleNotFoundError(
            sentence("there are none", "pip install 'taskctx[fastmcp]'"), name=TASKS_OF_4.partition(".")[0]
        )
    return 3 if of_3 else 4


def is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        # the package that it would be in
        return False


LINE: Final = installed_line()
FASTMCP_VERSION: Final = next(iter(found().values()), "unknown")
