"""What was put in force for the length of a task, to be taken back at its end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, Self


class Resettable(Protocol):
    """A ``ContextVar``, and what looks like one."""

    def set(self, value: Any, /) -> Any: ...
    def reset(self, token: Any, /) -> None: ...


class Undo:
    """A :class:`contextlib.ExitStack` of callbacks with one argument, at a fraction of its cost."""

    __slots__ = ("_steps",)

    def __init__(self) -> None:
        self._steps: list[tuple[Callable[[Any], object], Any]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.take_back()

    def set(self, variable: Resettable, value: Any) -> None:
        """Give a variable a value; its earlier one comes back."""
        self._steps.append((variable.reset, variable.set(value)))

    def later(self, step: Callable[[Any], object], argument: Any) -> None:
        """Have this called."""
        self._steps.append((step, argument))

    def take_back(self) -> None:
        """Take everything back, the latest first.  A step that raises keeps none of the others from being done."""
        steps = self._steps
        try:
            while steps:
                step, argument = steps.pop()
                step(argument)
        finally:
            if steps:
                self.take_back()
