"""Operations on keys; many operations need few commands.

redis-py takes some 10 us of CPU for every command of a pipeline, but only 2 us for another key of one script.  All
keys belong to one docket, and so to one slot and one node.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from hashlib import sha1
from itertools import islice
from typing import Any, Literal, NamedTuple, Protocol

Value = bytes | memoryview
"""A value to store.  redis-py accepts a memoryview like bytes, and the view hides the content where redis-py, an
instrumentation or an error reporter writes a command or a local variable into an error, a span or a report.
"""

Replies = list[Any]
"""One reply for each command of an operation; an exception where the server refused the command."""


class Pipeline(Protocol):
    """A pipeline of redis-py, of its cluster client, or of burner-redis; the clients have the same methods."""

    def get(self, name: str) -> Any: ...
    def ttl(self, name: str) -> Any: ...
    def set(self, name: str, value: Value, *, ex: int, nx: bool = False) -> Any: ...
    def expire(self, name: str, time: int) -> Any: ...
    def hget(self, name: str, key: str) -> Any: ...
    def execute_command(self, *command: str | Value | int) -> Any: ...
    async def execute(self, raise_on_error: bool = True) -> Replies: ...


class OneByOne:
    """A pipeline for burner-redis, the in-process server: its own pipeline is ten times slower than its commands."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._commands: list[Callable[[], Awaitable[Any]]] = []

    def __getattr__(self, command: str) -> Callable[..., None]:
        def queue(*arguments: Any, **options: Any) -> None:
            self._commands.append(partial(getattr(self._client, command), *arguments, **options))

        return queue

    def execute_command(self, command: str, *arguments: Any) -> None:
        getattr(self, command.lower())(*arguments)

    async def execute(self, raise_on_error: bool = True) -> Replies:
        replies: Replies = []
        for command in self._commands:
            try:
                replies.append(await command())
            except Exception as refused:
                if raise_on_error:
                    raise
                replies.append(refused)
        return replies


class Script:
    """A script that is sent by its digest, like Docket's scripts, so it needs no permission that Docket does not."""

    __slots__ = ("sha", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = sha1(text.encode()).hexdigest()  # noqa: S324 - Redis names a script by its SHA-1


class Kind(NamedTuple):
    """One kind of operation.

    Attributes:
        queue: puts the commands of one operation into a pipeline.  Given a client in place of a pipeline, it returns
            the last command's awaitable.  None where only the script does the operation.
        replies: the number of these commands.
        script: does many operations: it takes the keys of all operations and then their arguments, and returns a list
            of replies for each operation.  None where only the commands do the operation.
        alone: the script that ``queue`` sends for one operation.
        extra: an optional command of the operation, and the index of its reply.
    """

    queue: Callable[[Pipeline, Operation], Any] | None
    replies: int = 1
    script: Script | None = None
    alone: Script | None = None
    extra: tuple[Literal["TTL"], int] | None = None


class Operation(NamedTuple):
    """One operation.  ``apart``: do it by its own commands, not in the script of a batch."""

    kind: Kind
    keys: tuple[str, ...]
    arguments: tuple[str | Value, ...] = ()
    apart: bool = False


class Batch:
    """Operations that are sent together: makes commands of operations, and sorts the replies by operation."""

    def __init__(self, operations: Sequence[Operation], *, scripts: bool) -> None:
        """``scripts``: whether the server's scripts support every command of taskctx's scripts."""
        self._operations = operations
        self._scripts: dict[Script, list[int]] = {}
        self._apart: list[int] = []
        for place, operation in enumerate(operations):
            kind = operation.kind
            if kind.script is not None and (kind.queue is None or (scripts and not operation.apart)):
                self._scripts.setdefault(kind.script, []).append(place)
            else:
                self._apart.append(place)
        self._commands: int = len(self._scripts) + sum(operations[place].kind.replies for place in self._apart)

    @property
    def is_one_command(self) -> bool:
        return self._commands == 1

    @property
    def any_key(self) -> str:
        return self._operations[0].keys[0]

    @property
    def scripts(self) -> set[Script]:
        """All scripts that the batch sends."""
        return {*self._scripts, *(alone for place in self._apart if (alone := self._operations[place].kind.alone))}

    def queue(self, pipeline: Pipeline) -> Any:
        """Put all commands into a pipeline.  Given a client in its place, returns the last command's awaitable."""
        answer: Any = None
        for script, places in self._scripts.items():
            operations = [self._operations[place] for place in places]
            # as bytes: redis-py is slower with text
            keys = [key.encode() for operation in operations for key in operation.keys]
            arguments = [argument for operation in operations for argument in operation.arguments]
            # a cluster's pipeline has no evalsha method
            answer = pipeline.execute_command("EVALSHA", script.sha, len(keys), *keys, *arguments)
        for place in self._apart:
            operation = self._operations[place]
            if operation.kind.queue is not None:
                answer = operation.kind.queue(pipeline, operation)
        return answer

    def sorted(self, replies: Replies) -> list[Replies]:
        """The replies to each operation.  The refusal of a script is the reply to all of its operations.

        Raises:
            ValueError: the number of replies is not the number of commands.
        """
        found: dict[int, Replies] = {}
        left = iter(replies)
        for places in self._scripts.values():
            reply = next(left, None)
            each: Replies = [[reply]] * len(places) if isinstance(reply, Exception) else reply or []
            found.update(zip(places, each, strict=True))
        for place in self._apart:
            found[place] = list(islice(left, self._operations[place].kind.replies))
        if len(replies) != self._commands:
            raise ValueError("the server did not answer what it was asked")
        return [found[place] for place in range(len(self._operations))]
