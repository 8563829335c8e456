"""Operations on keys, and many of them in few commands.

redis-py takes some 10 us of CPU for every command of a pipeline, and 2 us for another key of a script that does the
same to many.  All keys are of one docket, and so of one slot and one node.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from hashlib import sha1
from itertools import islice
from typing import Any, Literal, NamedTuple, Protocol

Value = bytes | memoryview
"""What is stored.  A view is as good as bytes to redis-py, and shows nothing of them where redis-py, or who watches it,
writes a command into an error, a span or a breadcrumb, or error reporters the locals of a frame.
"""

Replies = list[Any]
"""One for each command of an operation; an exception where the server refused it."""


class Pipeline(Protocol):
    """Of redis-py's client, its cluster's, or burner-redis's; the clients themselves have the same methods."""

    def get(self, name: str) -> Any: ...
    def ttl(self, name: str) -> Any: ...
    def set(self, name: str, value: Value, *, ex: int, nx: bool = False) -> Any: ...
    def expire(self, name: str, time: int) -> Any: ...
    def hget(self, name: str, key: str) -> Any: ...
    def execute_command(self, *command: str | Value | int) -> Any: ...
    async def execute(self, raise_on_error: bool = True) -> Replies: ...


class OneByOne:
    """A pipeline of a server in this process (burner-redis), whose own takes ten times as long as its commands."""

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
    """A script, sent by its digest as Docket's are, so that it takes no permission more than Docket's do."""

    __slots__ = ("sha", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = sha1(text.encode()).hexdigest()  # noqa: S324 - the name that Redis gives it


class Kind(NamedTuple):
    """One kind of operation.

    Attributes:
        queue: puts the commands of one operation into a pipeline; gives the last one's answer to await, where it is
            given a client in place of a pipeline.  None where the script is the only way.
        replies: how many commands that are.
        script: does many operations: it gets the keys of all and then the arguments of all, and gives a list of
            replies for each.  None where each is done by its commands.
        alone: the script that ``queue`` sends for one operation.
        extra: a command that the operation can do without, and the place of its reply.
    """

    queue: Callable[[Pipeline, Operation], Any] | None
    replies: int = 1
    script: Script | None = None
    alone: Script | None = None
    extra: tuple[Literal["TTL"], int] | None = None


class Operation(NamedTuple):
    """One operation.  ``apart``: it is done by its commands, whatever else there is to do."""

    kind: Kind
    keys: tuple[str, ...]
    arguments: tuple[str | Value, ...] = ()
    apart: bool = False


class Batch:
    """What travels together: operations as commands, and the replies to them as the replies to each operation."""

    def __init__(self, operations: Sequence[Operation], *, scripts: bool) -> None:
        """``scripts`` says whether the server's scripts know every command that ours are made of."""
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
        """All that it sends."""
        return {*self._scripts, *(alone for place in self._apart if (alone := self._operations[place].kind.alone))}

    def queue(self, pipeline: Pipeline) -> Any:
        """Put all commands into a pipeline; gives the last one's answer to await, where that is a client."""
        answer: Any = None
        for script, places in self._scripts.items():
            operations = [self._operations[place] for place in places]
            # as bytes: redis-py looks longer at a text
            keys = [key.encode() for operation in operations for key in operation.keys]
            arguments = [argument for operation in operations for argument in operation.arguments]
            # a cluster's pipeline has no method for it
            answer = pipeline.execute_command("EVALSHA", script.sha, len(keys), *keys, *arguments)
        for place in self._apart:
            operation = self._operations[place]
            if operation.kind.queue is not None:
                answer = operation.kind.queue(pipeline, operation)
        return answer

    def sorted(self, replies: Replies) -> list[Replies]:
        """The replies to each operation.  A script that was refused was refused to all of its operations.

        Raises:
            ValueError: the server answered more or less than it was asked.
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
