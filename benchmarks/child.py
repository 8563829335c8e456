"""A process that runs one variant: ``python -m benchmarks.child VARIANT [OTLP_ENDPOINT]``.

Reads orders from standard input and writes answers to standard output, a line each: ``{"answer": ...}``, or
``{"problem": "..."}``.  Ends when its standard input does.
"""

from __future__ import annotations

import asyncio
import json
import sys
from importlib import import_module

from prometheus_client import CollectorRegistry
from pydantic import BaseModel

import taskctx

from .carrying import run_carry, run_floor, run_weigh
from .growth import run_chunk, run_drain, run_drop, run_fill, run_lookups
from .orders import AnyOrder, Carry, Chunk, Drain, Drop, Fill, Floor, Lookups, Order, Round, Weigh
from .paths import LARGEST, Path, Taskctx, WithoutContext
from .rounds import run_round
from .stage import Stage
from .variants import BY_NAME, Variant


def main() -> None:
    variant = BY_NAME[sys.argv[1]]
    stage = _stage(variant, *sys.argv[2:3])
    with asyncio.Runner() as runner:
        for line in sys.stdin:
            sys.stdout.write(runner.run(_answered(stage, line)) + "\n")
            sys.stdout.flush()


def _stage(variant: Variant, endpoint: str = "") -> Stage:
    # what only some variants want is imported only there: an SDK that is not used, and FastMCP that is not installed
    if variant.sampling is None:
        return Stage(_path(variant), flush=_nothing)
    tracing = import_module(".tracing", __package__)
    provider = tracing.start(endpoint, variant.sampling)
    return Stage(_path(variant), flush=lambda: tracing.flush(provider))


def _nothing() -> None:
    """There is nothing to send off where nothing is recorded."""


def _path(variant: Variant) -> Path:
    if variant.kind == "none":
        return WithoutContext()
    if variant.kind == "taskctx":
        return Taskctx(encrypted=variant.encrypted)
    if variant.instrumented:
        # before the names that it replaces are imported
        taskctx.configure(registry=CollectorRegistry(), max_snapshot_bytes=LARGEST)
        import_module("taskctx.fastmcp").instrument()
    return import_module(".fastmcp_path", __package__).FastMCPsOwn(encrypted=variant.encrypted)


async def _answered(stage: Stage, line: str) -> str:
    try:
        answer = await _answer(stage, Order.validate_json(line))
    except Exception as error:  # noqa: BLE001 - the parent says what it was, and ends the run
        return json.dumps({"problem": f"{type(error).__name__}: {error}"})
    return json.dumps({"answer": answer.model_dump()})


async def _answer(stage: Stage, order: AnyOrder) -> BaseModel:
    match order:
        case Round():
            return await run_round(stage, order)
        case Carry():
            return await run_carry(stage, order)
        case Floor():
            return await run_floor(stage, order)
        case Weigh():
            return await run_weigh(stage, order)
        case Fill():
            return await run_fill(stage, order)
        case Chunk():
            return await run_chunk(stage, order)
        case Drain():
            return await run_drain(stage, order)
        case Drop():
            return await run_drop(stage, order)
        case Lookups():
            return run_lookups(order)


if __name__ == "__main__":
    main()
