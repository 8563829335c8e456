"""Submitters that are killed the moment they ask Docket to schedule something: a process of its own for each order."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import Any

from docket import Docket

from tests.faults.orders import Order
from tests.faults.submitter import main


class DiesWhenAsked(Docket):
    """By now the context is saved, and nothing is scheduled."""

    def add(self, *_args: Any, **_kwargs: Any) -> Any:
        _die()

    def replace(self, *_args: Any, **_kwargs: Any) -> Any:
        _die()

    async def add_many(self, *_args: Any, **_kwargs: Any) -> Any:
        _die()


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _begin(order: Order) -> int:
    """Fork, which costs no second start of the interpreter; gives the process id."""
    pid = os.fork()
    if not pid:
        asyncio.run(main(order, DiesWhenAsked))
        os._exit(0)
    return pid


if __name__ == "__main__":
    for pid in [_begin(Order.model_validate_json(text)) for text in sys.argv[1:]]:
        _, status = os.waitpid(pid, 0)
        assert os.WIFSIGNALED(status), "a submitter did not die"
        assert os.WTERMSIG(status) == signal.SIGKILL
