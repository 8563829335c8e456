"""The line of FastMCP that is installed, for the tests."""

from typing import TYPE_CHECKING

import pytest

from taskctx.fastmcp._available import LINE

if TYPE_CHECKING or LINE != 3:
    from .line4 import (
        PATCHED,
        REFUSED,
        WORKER,
        CallError,
        CurrentDocket,
        EncryptedCodec,
        ToolTask,
        add_tasks,
        answer,
        ask_caller,
        call_tool_task,
        from_here,
        run_tool,
        theirs,
        with_own_key,
    )
else:
    from .line3 import (
        PATCHED,
        REFUSED,
        WORKER,
        CallError,
        CurrentDocket,
        EncryptedCodec,
        ToolTask,
        add_tasks,
        answer,
        ask_caller,
        call_tool_task,
        from_here,
        run_tool,
        theirs,
        with_own_key,
    )

__all__ = [
    "LINE",
    "PATCHED",
    "REFUSED",
    "WORKER",
    "CallError",
    "CurrentDocket",
    "EncryptedCodec",
    "ToolTask",
    "add_tasks",
    "answer",
    "ask_caller",
    "call_tool_task",
    "from_here",
    "has_legs",
    "only_3",
    "only_4",
    "run_tool",
    "theirs",
    "with_own_key",
]

only_3 = pytest.mark.skipif(LINE != 3, reason="of FastMCP 3")
only_4 = pytest.mark.skipif(LINE == 3, reason="of FastMCP 4")
has_legs = pytest.mark.skipif(LINE == 3, reason="FastMCP 3 asks the caller while the task runs")
