"""What the parent asks of a child, and what the child answers: one line of JSON each way."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter


class _Line(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Round(_Line):
    """Submit tasks, then have one worker run them, on a docket of their own.

    Attributes:
        url: of the server, or ``memory://``.
        at_a_time: how many submissions, and then how many tasks, are under way at once.
        look_at: every so many-th task looks who its caller is, the first one always.
        payload: bytes of the context to be stored; None for the usual caller's.
    """

    do: Literal["round"] = "round"
    url: str
    tasks: int
    at_a_time: int
    look_at: int = 250
    payload: int | None = None


class Count(_Line):
    """As :class:`Round`, with instructions counted instead of time: slowly, and only some."""

    do: Literal["count"] = "count"
    url: str
    tasks: int
    at_a_time: int


class Carry(_Line):
    """Save and restore contexts, with no Docket task around them."""

    do: Literal["carry"] = "carry"
    url: str
    operations: int
    at_a_time: int


class Floor(_Line):
    """SET and GET values of this size, bare."""

    do: Literal["floor"] = "floor"
    url: str
    operations: int
    at_a_time: int
    size: int


class Weigh(_Line):
    """Submit tasks, and ask the server for the memory of what was stored."""

    do: Literal["weigh"] = "weigh"
    url: str
    tasks: int


class Fill(_Line):
    """Submit tasks in large batches, and leave them there."""

    do: Literal["fill"] = "fill"
    url: str
    docket: str
    tasks: int


class Chunk(_Line):
    """Submit so many tasks behind those that wait already, and run as many."""

    do: Literal["chunk"] = "chunk"
    url: str
    docket: str
    tasks: int
    at_a_time: int


class Drain(_Line):
    """Be one of the workers that run what waits on a docket, until nothing is left."""

    do: Literal["drain"] = "drain"
    url: str
    docket: str
    at_a_time: int


class Drop(_Line):
    """Delete all keys of a docket."""

    do: Literal["drop"] = "drop"
    url: str
    docket: str


class Lookups(_Line):
    """Register servers, and look them up."""

    do: Literal["lookups"] = "lookups"
    entries: int
    lookups: int


AnyOrder = Round | Count | Carry | Floor | Weigh | Fill | Chunk | Drain | Drop | Lookups
Order: TypeAdapter[AnyOrder] = TypeAdapter(Annotated[AnyOrder, Field(discriminator="do")])


class Phase(_Line):
    """Seconds that went by, and seconds that all threads of the process were on a CPU."""

    wall: float
    cpu: float

    def __add__(self, other: Phase) -> Phase:
        return Phase(wall=self.wall + other.wall, cpu=self.cpu + other.cpu)

    def __truediv__(self, number: int) -> Phase:
        return Phase(wall=self.wall / number, cpu=self.cpu / number)


class Phases(_Line):
    """Of a round, for each task: into the server (submit, save, SET) and out of it (drain, restore, GET).

    Attributes:
        looked: how many tasks looked who their caller was; each saw what it was to see.
    """

    into: Phase
    out: Phase
    looked: int = 0

    def sample(self) -> dict[str, float]:
        """Seconds by what they are of: the figures that are compared."""
        phases = {"": self.into + self.out, "into_": self.into, "out_": self.out}
        return {
            f"{name}{clock}": seconds
            for name, phase in phases.items()
            for clock, seconds in (("wall", phase.wall), ("cpu", phase.cpu))
        }


class Counted(_Line):
    """Bytecode instructions of one task, by whose code they are in."""

    instructions: dict[str, float]


class Weight(_Line):
    """Bytes of one pending task, on average.

    Attributes:
        stored: of the value that was stored.
        key: of the server's own, for a key of that length with a TTL.
        usage: what the server says of key and value together (``MEMORY USAGE``).
    """

    stored: float
    key: float
    usage: float


class Filled(_Line):
    """Bytes by which the server grew for each task (``used_memory``)."""

    grown: float


class Drained(_Line):
    """A worker's share.

    Attributes:
        began: when the worker started, by the machine's monotonic clock, which all processes share.
        ended: when it ran its last task; 0 if it ran none.
        cpu: seconds.
    """

    ran: int
    began: float
    ended: float
    cpu: float


class Dropped(_Line):
    """The keys are gone."""


class Looked(_Line):
    """Nanoseconds of a lookup, and bytes that each entry took."""

    nanoseconds: float
    bytes: float
