"""What an error reporter would send of a failure: the locals of every frame, in the form in which reporters write them."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterator, Mapping
from traceback import walk_stack, walk_tb
from types import FrameType
from typing import Any, cast

from tests.secrets import MARKER

DEPTH = 3
"""Containers inside of a local are written out; of other objects there is the ``repr``."""


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """An exception with all that it came from, whether ``from None`` hides it or not, and the members of groups."""
    left, seen = [error], set[int]()
    while left:
        each = left.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        left += [each.__cause__, each.__context__]
        if isinstance(each, BaseExceptionGroup):
            left += cast("tuple[BaseException, ...]", each.exceptions)


def of_ours(frame: FrameType) -> bool:
    """Whether a frame is of taskctx's code."""
    return _package(frame) == "taskctx"


def of_libraries(frame: FrameType) -> bool:
    """Whether a frame is of any code but a test's."""
    return _package(frame) not in {"tests", "__main__"}


def shown(error: BaseException, whose: Callable[[FrameType], bool] = of_ours) -> list[str]:
    """The locals that show a secret, in frames that an exception passed, and those that it came from."""
    frames = [frame for each in chain(error) for frame, _ in walk_tb(each.__traceback__)]
    return [found for frame in frames if whose(frame) for found in shown_in(frame)]


def shown_here(whose: Callable[[FrameType], bool] = of_ours) -> list[str]:
    """The locals that show a secret, in the frames that are running here and now."""
    return [found for frame, _ in walk_stack(inspect.currentframe()) if whose(frame) for found in shown_in(frame)]


def shown_in(frame: FrameType) -> list[str]:
    where = f"{frame.f_globals.get('__name__')}.{frame.f_code.co_qualname}, line {frame.f_lineno}"
    local = dict(frame.f_locals)
    return [f"{name} in {where}" for name, value in local.items() if any(MARKER in text for text in texts(value))]


def texts(value: Any, depth: int = DEPTH) -> Iterator[str]:
    """A local as reporters write it: its ``repr``, and those of what is in a container, whatever its own one hides."""
    yield repr(value)
    if depth and isinstance(value, Mapping):
        for name, each in dict(cast("Mapping[object, object]", value)).items():
            yield from texts(name, depth - 1)
            yield from texts(each, depth - 1)
    elif depth and isinstance(value, (tuple, list, set, frozenset)):
        for each in cast("tuple[object, ...]", value):
            yield from texts(each, depth - 1)


class Reporter(logging.Handler):
    """Reports what is logged, as error reporters do: with the stack that it is logged in, and with its exception.

    Attributes:
        shown: the locals that show a secret.
        errors: the types of the exceptions.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.shown: list[str] = []
        self.errors: list[str] = []
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)
        self.shown += shown_here()
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            self.errors += [type(each).__name__ for each in chain(error)]
            self.shown += shown(error)


def _package(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]
