"""What was set for the length of a task, to be reset at its end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, Self


class Resettable(Protocol):
    """A ``ContextVar``, and what looks like one."""

    def set(self, value: Any, /) -> Any: ...
    def reset(self, token: Any, /) -> None: ...


class Resets(list[tuple[Callable[[Any], object], Any]]):
    """A :class:`contextlib.ExitStack` of callbacks with one argument, at a fraction of its cost."""

    __slots__ = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.run()

    def set(self, variable: Resettable, value: Any) -> None:
        """Give a variable a value; its earlier one comes back."""
        self.append((variable.reset, variable.set(value)))

    def later(self, step: Callable[[Any], object], argument: Any) -> None:
        """Have this called."""
        self.append((step, argument))

    def run(self) -> None:
        """Reset everything, the latest first.  A step that raises keeps none of the others from being done."""
        try:
            while self:
                step, argument = self.pop()
                step(argument)
        finally:
            if self:
                self.run()
