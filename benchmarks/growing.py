"""How cost grows: with what is stored, with workers, with tasks that wait, with registries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from uuid import uuid4

from .children import Child, Children
from .figures import Sample, compare
from .goals import judged, judged_registry
from .interleaving import rounds
from .orders import Chunk, Drain, Drained, Drop, Dropped, Fill, Filled, Looked, Lookups, Phases, Round
from .pace import Pace
from .results import Group, Growth, Registry
from .variants import FASTMCP_ENCRYPTED, NONE, SEALED, Variant, fastmcp_is_here

AT_A_TIME = 50
WARM_UP = 100


@dataclass(frozen=True, slots=True)
class Growing:
    """Docket without context, and taskctx sealed."""

    pace: Pace
    say: Callable[[str], None]
    children: Children

    def payloads(self) -> list[Group]:
        """Contexts of other sizes."""
        return [self._payload(size) for size in self.pace.payloads]

    def _payload(self, size: int) -> Group:
        self.say(f"a context of {size:,} bytes")
        order = Round(url=self.children.url, tasks=self.pace.payload_tasks, at_a_time=AT_A_TIME, payload=size)
        variants = [NONE, SEALED] + ([FASTMCP_ENCRYPTED] if fastmcp_is_here() else [])
        contenders = {variant.name: _asking(self.children.of(variant), order) for variant in variants}
        rows = compare(rounds(self.pace.payload, contenders), {each.name: each.baseline for each in variants})
        return Group(what="payload", backend="valkey", at_a_time=AT_A_TIME, size=size, rows=list(rows.values()))

    def workers(self) -> list[Group]:
        """Several worker processes share the tasks of one docket."""
        self.say("starting worker processes")
        several = [
            self.children.of(each, number) for number in range(max(self.pace.workers)) for each in (NONE, SEALED)
        ]
        for child in several:
            child.ask(Round(url=self.children.url, tasks=WARM_UP, at_a_time=AT_A_TIME), Phases)
        return [self._workers(number) for number in self.pace.workers]

    def _workers(self, number: int) -> Group:
        self.say(f"{number} worker processes")
        contenders: dict[str, Callable[[], Sample]] = {
            variant.name: lambda variant=variant: self._shared(variant, number) for variant in (NONE, SEALED)
        }
        rows = compare(rounds(self.pace.worker, contenders), {each.name: each.baseline for each in (NONE, SEALED)})
        return Group(what="workers", backend="valkey", at_a_time=AT_A_TIME, size=number, rows=list(rows.values()))

    def _shared(self, variant: Variant, number: int) -> Sample:
        """Time from the first worker's start to the last task, and the CPU time of them all, for each task."""
        url, docket, tasks = self.children.url, f"bench-{uuid4()}", self.pace.worker_tasks
        workers = [self.children.of(variant, each) for each in range(number)]
        workers[0].ask(Fill(url=url, docket=docket, tasks=tasks), Filled)
        for worker in workers:
            worker.send(Drain(url=url, docket=docket, at_a_time=AT_A_TIME))
        shares = [worker.receive(Drained) for worker in workers]
        self._drop(workers[0], docket)
        wall = max(share.ended for share in shares) - min(share.began for share in shares)
        return {"wall": wall / tasks, "cpu": sum(share.cpu for share in shares) / tasks}

    def _drop(self, child: Child, docket: str) -> None:
        child.ask(Drop(url=self.children.url, docket=docket), Dropped)

    def backlogs(self) -> tuple[list[Group], list[Growth]]:
        """Tasks behind many others, and what those take in the server."""
        growth: list[Growth] = []
        return [self._backlog(variant, growth) for variant in (NONE, SEALED)], growth

    def _backlog(self, variant: Variant, growth: list[Growth]) -> Group:
        url, child = self.children.url, self.children.of(variant)
        dockets = {pending: f"bench-{uuid4()}" for pending in self.pace.backlogs}
        contenders: dict[str, Callable[[], Sample]] = {}
        for pending, docket in dockets.items():
            self.say(f"{pending:,} tasks waiting, {variant.title}")
            filled = child.ask(Fill(url=url, docket=docket, tasks=pending), Filled)
            growth.append(Growth(name=variant.name, pending=pending, bytes=filled.grown))
            order = Chunk(url=url, docket=docket, tasks=self.pace.backlog_tasks, at_a_time=AT_A_TIME)
            contenders[str(pending)] = _asking(child, order)
        first, *_ = contenders
        baselines = {name: None if name == first else first for name in contenders}
        rows = list(compare(rounds(self.pace.backlog, contenders), baselines).values())
        for docket in dockets.values():
            self._drop(child, docket)
        return judged(Group(what="backlog", backend="valkey", at_a_time=AT_A_TIME, variant=variant.name, rows=rows))

    def registries(self) -> list[Registry]:
        """Look-ups, counted as always."""
        found: list[Registry] = []
        for entries in self.pace.entries:
            self.say(f"a registry of {entries:,}")
            order = Lookups(entries=entries, lookups=self.pace.lookups)
            looked = self.children.of(SEALED).ask(order, Looked)
            registry = Registry(
                entries=entries, lookups=order.lookups, nanoseconds=looked.nanoseconds, bytes=looked.bytes
            )
            found.append(judged_registry(registry))
        return found


def _asking(child: Child, order: Round | Chunk) -> Callable[[], Sample]:
    return lambda: child.ask(order, Phases).sample()
