"""``with`` blocks that also decorate functions, async functions among them."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from functools import wraps
from inspect import isasyncgenfunction, iscoroutinefunction, isgeneratorfunction
from types import TracebackType
from typing import Any, Generic, ParamSpec, TypeVar, cast

from ..errors import InvalidType, TaskContextError

P = ParamSpec("P")
T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


class Block(AbstractContextManager[T], Generic[T]):
    """A ``with`` block.  As a decorator it lasts for each call of the function.

    A decorator of :mod:`contextlib` would end before the body of an async function begins.
    """

    __slots__ = ("_args", "_entered", "_kwargs", "_manager")

    def __init__(self, manager: Callable[..., AbstractContextManager[T]], args: Any, kwargs: Any) -> None:
        # attributes, for they show in no repr: error reporters send the locals of every frame that an exception passes
        self._manager, self._args, self._kwargs = manager, args, kwargs

    def __enter__(self) -> T:
        if hasattr(self, "_entered"):
            raise TaskContextError("a block can be entered only once: make another, by the same call, for each `with`")
        self._entered = self._again()
        return self._entered.__enter__()

    def _again(self) -> AbstractContextManager[T]:
        return self._manager(*self._args, **self._kwargs)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        return self._entered.__exit__(kind, error, traceback)

    def __call__(self, function: F) -> F:
        """The function inside of the block.

        Raises:
            InvalidType: the function is a generator: its body runs after the call.
        """
        if isgeneratorfunction(function) or isasyncgenfunction(function):
            raise InvalidType("a block cannot decorate a generator function: write the with block into its body")
        again = self._again

        @wraps(function)
        async def awaited_inside(*args: Any, **kwargs: Any) -> Any:
            with again():
                return await function(*args, **kwargs)

        @wraps(function)
        def called_inside(*args: Any, **kwargs: Any) -> Any:
            with again():
                return function(*args, **kwargs)

        return cast("F", awaited_inside if iscoroutinefunction(function) else called_inside)


def block(generator: Callable[P, Generator[T]]) -> Callable[P, Block[T]]:
    """:func:`contextlib.contextmanager`, whose blocks also decorate async functions."""
    manager = contextmanager(generator)

    @wraps(generator)
    def begin(*args: P.args, **kwargs: P.kwargs) -> Block[T]:
        return Block(manager, args, kwargs)

    return begin
