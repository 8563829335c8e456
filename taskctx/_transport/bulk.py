"""Operations of one kind, many of them in one command.

redis-py takes some 10 us of CPU for every command of a pipeline, and 2 us for another key of a script that does the
same to many.  All keys are of one docket, and so of one slot and one node.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, cast

from .lane import Replies


class Pipeline(Protocol):
    """Of redis-py's client, its cluster's, or burner-redis's; the clients themselves have the same methods."""

    def get(self, name: str) -> Any: ...
    def ttl(self, name: str) -> Any: ...
    def set(self, name: str, value: bytes, *, ex: int, nx: bool = False) -> Any: ...
    def expire(self, name: str, time: int) -> Any: ...
    def hget(self, name: str, key: str) -> Any: ...
    def eval(self, script: str, numkeys: int, *keys_and_args: str | bytes) -> Any: ...
    async def execute(self, raise_on_error: bool = True) -> Replies: ...


Command = Callable[[Pipeline], object]
"""Puts one command into a pipeline."""


class Bulk(NamedTuple):
    """One operation, which others can be done together with.

    Attributes:
        script: does it for each of many: the keys of all operations, and the arguments of all, one after another.  It
            gives a list for each.
        commands: do the same for this one; their answers are what the script's list holds.
        apart: it is done by its commands.
    """

    script: str
    keys: tuple[str, ...]
    arguments: tuple[str | bytes, ...]
    commands: tuple[Command, ...]
    apart: bool = False


class Batch:
    """What travels together: as commands, and the replies to them as answers to each."""

    def __init__(self, items: Sequence[Command | Bulk], *, scripts: bool) -> None:
        """``scripts`` says whether the server's scripts know every command that ours are made of."""
        self.commands: list[Command] = []
        self._items = items
        self._places: list[int | list[int]] = []
        """For each command, the item that it is of, or those that it does together."""
        together: dict[str, dict[int, Bulk]] = {}
        for index, item in enumerate(items):
            if not isinstance(item, Bulk):
                self._add(item, index)
            elif scripts and not item.apart:
                together.setdefault(item.script, {})[index] = item
            else:
                self._add_apart(item, index)
        for script, bulks in together.items():
            self._add_together(script, bulks)

    def answers(self, replies: Replies) -> Replies:
        """One for each item: a list for a :class:`Bulk`, or the exception that kept all of them."""
        answers: Replies = [[] if isinstance(item, Bulk) else None for item in self._items]
        for place, reply in zip(self._places, replies, strict=True):
            if isinstance(place, list):
                parts = [reply] * len(place) if isinstance(reply, Exception) else reply
                for index, part in zip(place, parts, strict=True):
                    answers[index] = part
            elif isinstance(self._items[place], Bulk):
                answers[place].append(reply)
            else:
                answers[place] = reply
        return answers

    def _add(self, command: Command, place: int | list[int]) -> None:
        self.commands.append(command)
        self._places.append(place)

    def _add_apart(self, bulk: Bulk, index: int) -> None:
        for command in bulk.commands:
            self._add(command, index)

    def _add_together(self, script: str, bulks: dict[int, Bulk]) -> None:
        if len(bulks) == 1:
            ((index, bulk),) = bulks.items()
            if len(bulk.commands) == 1:
                # a script saves nothing
                self._add_apart(bulk, index)
                return
        keys = [key for bulk in bulks.values() for key in bulk.keys]
        arguments = [argument for bulk in bulks.values() for argument in bulk.arguments]
        self._add(lambda pipeline: pipeline.eval(script, len(keys), *keys, *arguments), list(bulks))


def error_in(answer: object) -> Exception | None:
    """What the server refused, somewhere in an answer."""
    if not isinstance(answer, list):
        return answer if isinstance(answer, Exception) else None
    for part in cast("list[object]", answer):
        if isinstance(part, list | Exception) and (error := error_in(cast("object", part))):
            return error
    return None
