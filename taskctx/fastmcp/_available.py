"""FastMCP is installed, in a version whose private names are known here.  Imported before anything that needs it."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from ..errors import ConfigurationError

SUPPORTED = re.compile(r"4\.[01]\.\d+(\.post\d+)?(\+.*)?")
"""Tested are 4.0.0 and the newest of 4.1; see tests/upstream/test_fastmcp.py for what a newer one must still have."""


def require_supported(package: str) -> str:
    """The version of one of FastMCP's packages.

    Raises:
        ConfigurationError: it is not one that taskctx.fastmcp knows.
        ModuleNotFoundError: it is not installed.
    """
    try:
        found = version(package)
    except PackageNotFoundError:
        raise ModuleNotFoundError(
            f"taskctx.fastmcp needs {package}: pip install 'taskctx[fastmcp]'", name=package.replace("-", "_")
        ) from None
    if not SUPPORTED.fullmatch(found):
        raise ConfigurationError(
            f"taskctx.fastmcp supports FastMCP 4.0 and 4.1, but {package} {found} is installed: nothing is instrumented"
        )
    return found


FASTMCP_VERSION: Final = require_supported("fastmcp-tasks")
require_supported("fastmcp-slim")
