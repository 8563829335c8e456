"""Variables that are set for the length of a task and reset at its end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, Self


class Resettable(Protocol):
    """A ``ContextVar``, or an object with its ``set`` and ``reset``."""

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
        """Set a variable; :meth:`run` gives it its earlier value."""
        self.append((variable.reset, variable.set(value)))

    def later(self, step: Callable[[Any], object], argument: Any) -> None:
        """Let :meth:`run` call ``step`` with ``argument``."""
        self.append((step, argument))

    def run(self) -> None:
        """Undo everything, the latest step first.  When a step raises, the other steps still run."""
        try:
            while self:
                step, argument = self.pop()
                step(argument)
        finally:
            if self:
                self.run()
