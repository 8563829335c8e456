"""One run: every part of it, one after another, on one server."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from . import machine
from .children import CONNECTIONS, BenchmarkError, Children
from .figures import Sample, compare
from .goals import judged, judged_memory
from .growing import Growing
from .interleaving import rounds
from .orders import Carry, Floor, Phases, Round, Weigh, Weight
from .pace import Budget, Pace
from .results import Group, Memory, Result, Row
from .variants import NONE, SEALED, Variant, available, fastmcp_is_here

Say = Callable[[str], None]
Backend = Literal["valkey", "memory"]

MEMORY_URL = "memory://"
WARM_UP = 200
"""Tasks that each child runs before any of its is measured; every one of them looks who its caller is."""

WITHOUT_FASTMCP = "FastMCP's own path was left out: it is not installed (pip install 'taskctx[fastmcp]')."
CONDITIONS = (
    "Client, worker and server share the machine.",
    f"Connection pools hold {CONNECTIONS:,}: with redis-py's 100, Docket without taskctx raises at 500 at a time.",
    "max_snapshot_bytes was raised for the contexts of 64 KB.",
)


def run(pace: Pace, say: Say) -> Result:
    """Measure everything.

    Args:
        pace: how much.
        say: told what is being measured.

    Raises:
        BenchmarkError: something could not be measured, or a task saw another caller than its own.
    """
    began = time.monotonic()
    with Children() as children:
        about = machine.describe(children.url)
        campaign = _Campaign(pace, say, children, available())
        campaign.warm_up()
        growing = Growing(pace, say, children)
        groups = [*campaign.paths(), *campaign.floors(), *growing.payloads(), *growing.workers()]
        memory = campaign.memory()
        backlogs, growth = growing.backlogs()
        notes = [*CONDITIONS, *([] if fastmcp_is_here() else [WITHOUT_FASTMCP]), *machine.disturbances(about)]
        return Result(
            machine=about,
            pace=pace.name,
            groups=[*groups, *backlogs],
            memory=memory,
            growth=growth,
            registries=growing.registries(),
            notes=notes,
            seconds=round(time.monotonic() - began, 1),
        )


def warm_up(children: Children, variants: Sequence[Variant], pace: Pace, urls: Sequence[str]) -> None:
    """Start a process for each variant, and have it run tasks on each of these servers."""
    for variant in variants:
        children.of(variant)
    for variant in variants:
        for url in urls:
            order = Round(url=url, tasks=min(WARM_UP, max(pace.tasks.values())), at_a_time=50, look_at=1)
            children.of(variant).ask(order, Phases)


@dataclass(frozen=True, slots=True)
class _Campaign:
    """The variants, side by side."""

    pace: Pace
    say: Say
    children: Children
    variants: tuple[Variant, ...]

    def warm_up(self) -> None:
        self.say("starting a process for each variant")
        warm_up(self.children, self.variants, self.pace, (self.children.url, MEMORY_URL))
        self.children.spans()

    def paths(self) -> list[Group]:
        """Tasks all the way, for each number at a time."""
        budgets: dict[Backend, Budget] = {"valkey": self.pace.valkey, "memory": self.pace.memory}
        return [
            self._path(backend, at_a_time, budget)
            for backend, budget in budgets.items()
            for at_a_time in self.pace.tasks
        ]

    def _path(self, backend: Backend, at_a_time: int, budget: Budget) -> Group:
        self.say(f"tasks on {backend}, {at_a_time} at a time")
        url = self.children.url if backend == "valkey" else MEMORY_URL
        order = Round(url=url, tasks=self.pace.tasks[at_a_time], at_a_time=at_a_time)
        spans: dict[str, list[float]] = {}

        def contender(variant: Variant) -> Callable[[], Sample]:
            def measure() -> Sample:
                sample = self.children.of(variant).ask(order, Phases).sample()
                if variant.sampling is not None:
                    spans.setdefault(variant.name, []).append(self.children.spans() / order.tasks)
                return sample

            return measure

        samples = rounds(budget, {variant.name: contender(variant) for variant in self.variants})
        rows = compare(samples, {variant.name: variant.baseline for variant in self.variants})
        group = Group(
            what="path",
            backend=backend,
            at_a_time=at_a_time,
            rows=[_with_spans(rows[variant.name], variant, spans) for variant in self.variants],
        )
        return judged(group)

    def floors(self) -> list[Group]:
        """Save and restore alone, against SET and GET of as many bytes as are sealed."""
        return [self._floor(at_a_time) for at_a_time in (1, 50)]

    def _floor(self, at_a_time: int) -> Group:
        self.say(f"save and restore alone, {at_a_time} at a time")
        url, operations = self.children.url, self.pace.floor_operations
        size = round(self._weight(SEALED).stored)
        carry = Carry(url=url, operations=operations, at_a_time=at_a_time)
        floor = Floor(url=url, operations=operations, at_a_time=at_a_time, size=size)
        # in the very process that also seals
        contenders: dict[str, Callable[[], Sample]] = {
            "floor": lambda: self.children.of(SEALED).ask(floor, Phases).sample()
        }
        for variant in self._carrying():
            child = self.children.of(variant)
            contenders[variant.name] = lambda child=child: child.ask(carry, Phases).sample()
        baselines: dict[str, str | None] = dict.fromkeys(contenders, "floor") | {"floor": None}
        rows = compare(rounds(self.pace.floor, contenders), baselines)
        return judged(Group(what="floor", backend="valkey", at_a_time=at_a_time, rows=list(rows.values())))

    def memory(self) -> list[Memory]:
        """What pending tasks take in the server."""
        self.say("bytes in the server")
        return [
            judged_memory(Memory(name=variant.name, **self._weight(variant).model_dump()))
            for variant in self._carrying()
        ]

    def _weight(self, variant: Variant) -> Weight:
        order = Weigh(url=self.children.url, tasks=self.pace.stored)
        return self.children.of(variant).ask(order, Weight)

    def _carrying(self) -> list[Variant]:
        """Those that carry a caller, and have no SDK."""
        return [variant for variant in self.variants if variant.kind != NONE.kind and variant.sampling is None]


def _with_spans(row: Row, variant: Variant, spans: dict[str, list[float]]) -> Row:
    if variant.sampling is None:
        return row
    mean = sum(spans[variant.name]) / len(spans[variant.name])
    if variant.sampling == 1 and mean < 1:
        raise BenchmarkError(f"{variant.title}: {mean:.1f} spans of each task arrived at the sink")
    return row.model_copy(update={"spans": mean})
