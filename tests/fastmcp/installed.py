"""The line of FastMCP that is installed, for the tests: what both lines' modules have, by the same names."""

from typing import TYPE_CHECKING

import pytest

from taskctx._upstream.fastmcp import LINE

if TYPE_CHECKING or LINE != 3:
    from .line4 import *  # noqa: F403 - each says in __all__ what it gives
else:
    from .line3 import *  # noqa: F403

only_3 = pytest.mark.skipif(LINE != 3, reason="of FastMCP 3")
only_4 = pytest.mark.skipif(LINE == 3, reason="of FastMCP 4")
has_legs = pytest.mark.skipif(LINE == 3, reason="FastMCP 3 asks the caller while the task runs")
