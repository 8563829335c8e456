"""Every variant does what it is measured for."""

from __future__ import annotations

from collections.abc import Iterator
from types import MappingProxyType
from typing import Any, cast
from uuid import uuid4

import pytest
from redis import Redis

from benchmarks.carrying import run_carry
from benchmarks.children import BenchmarkError, Children
from benchmarks.instructions import run_count
from benchmarks.orders import Carry, Count, Fill, Filled, Floor, Phases, Round, Weigh, Weight
from benchmarks.paths import Taskctx
from benchmarks.rounds import run_round
from benchmarks.stage import Stage
from benchmarks.variants import ALL, NONE, Variant
from tests.conftest import BACKEND

CARRYING = [variant for variant in ALL if variant.kind != "none"]
STORED = {
    "plain": b'{"',
    "sealed": b"TCX1",
    "sealed_traced": b"TCX1",
    "sealed_sampled": b"TCX1",
    "fastmcp": b'{"',
    "fastmcp_encrypted": b"gAAAAA",
    "fastmcp_instrumented": b'{"',
}
"""How each variant's snapshots begin."""

pytestmark = pytest.mark.skipif(BACKEND != "valkey", reason="the variants bring both backends; once is enough")


def named(variant: Variant) -> str:
    return variant.name


@pytest.fixture(scope="module")
def children() -> Iterator[Children]:
    with Children() as children:
        yield children


def server(children: Children) -> Any:
    """A client of the run's server."""
    return cast("Any", Redis).from_url(children.url)


@pytest.mark.parametrize("variant", ALL, ids=named)
def test_every_task_sees_its_caller(children: Children, variant: Variant) -> None:
    """Or nobody, where nobody carries it; on Valkey and in memory, with contexts small and large."""
    for url in (children.url, "memory://"):
        for payload in (None, 512, 65_536):
            order = Round(url=url, tasks=7, at_a_time=3, look_at=1, payload=payload)
            done = children.of(variant).ask(order, Phases)
            assert done.looked == 7
            assert all(seconds > 0 for seconds in done.sample().values())


@pytest.mark.parametrize("variant", CARRYING, ids=named)
def test_what_is_stored_is_sealed_or_not(children: Children, variant: Variant) -> None:
    """As the variant says, one snapshot for each task, none without a TTL."""
    docket = f"bench-{uuid4()}"
    children.of(variant).ask(Fill(url=children.url, docket=docket, tasks=3), Filled)
    with server(children) as redis:
        keys = list(redis.scan_iter(f"{docket}:*:snapshot"))
        values = [redis.get(key) for key in keys]
        assert all(redis.ttl(key) > 0 for key in keys)
    assert len(values) == 3
    assert all(value.startswith(STORED[variant.name]) for value in values)
    assert all((b'"taskctx": {' in value) is variant.instrumented for value in values)


@pytest.mark.parametrize("variant", CARRYING, ids=named)
def test_contexts_are_saved_and_restored_without_a_task(children: Children, variant: Variant) -> None:
    """And weighed in the server: the value, and what any key takes."""
    children.of(variant).ask(Carry(url=children.url, operations=4, at_a_time=2), Phases)
    weight = children.of(variant).ask(Weigh(url=children.url, tasks=2), Weight)
    assert weight.usage > weight.stored > 0
    assert weight.usage > weight.key > 0


@pytest.mark.parametrize("variant", [variant for variant in ALL if variant.sampling == 1], ids=named)
def test_spans_arrive_at_the_sink(children: Children, variant: Variant) -> None:
    """All of them, before the clock stops: Docket's two, and taskctx's three (capture, save, restore)."""
    children.spans()
    children.of(variant).ask(Round(url=children.url, tasks=10, at_a_time=5), Phases)
    assert children.spans() >= (50 if variant.ours else 20)
    assert children.spans() == 0


def test_nothing_is_left_in_the_server(children: Children) -> None:
    """A round takes its keys with it, and so does the floor."""
    with server(children) as redis:
        redis.flushall()
        children.of(NONE).ask(Round(url=children.url, tasks=5, at_a_time=5), Phases)
        children.of(NONE).ask(Floor(url=children.url, operations=5, at_a_time=5, size=100), Phases)
        assert redis.dbsize() == 0


@pytest.mark.parametrize(
    ("run", "order", "wrong"),
    [
        pytest.param(run_round, Round(url="memory://", tasks=4, at_a_time=2, look_at=2), "2 of 2", id="timed"),
        pytest.param(run_count, Count(url="memory://", tasks=4, at_a_time=2), "4 of 4", id="counted"),
    ],
)
async def test_a_round_whose_tasks_see_nobody_counts_for_nothing(run: Any, order: Any, wrong: str) -> None:
    """A variant that lost its callers would be fast."""

    class Forgetful(Taskctx):
        dependencies = MappingProxyType[str, Any]({})

    stage = Stage(Forgetful(encrypted=False), flush=lambda: None)
    with pytest.raises(RuntimeError, match=f"{wrong} tasks saw another caller"):
        await run(stage, order)


async def test_a_restore_that_gives_nobody_counts_for_nothing() -> None:
    """Nor would that be a restore."""

    class Forgetful(Taskctx):
        async def save(self, docket: object, kept: object) -> None:
            """Nothing."""

    stage = Stage(Forgetful(encrypted=False), flush=lambda: None)
    with pytest.raises(RuntimeError, match="another caller was restored"):
        await run_carry(stage, Carry(url="memory://", operations=1, at_a_time=1))


def test_what_a_child_cannot_do_ends_the_run(children: Children) -> None:
    """With the child's name and what it said."""
    with pytest.raises(BenchmarkError, match="child none: NotImplementedError"):
        children.of(NONE).ask(Carry(url=children.url, operations=1, at_a_time=1), Phases)
