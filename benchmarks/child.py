"""A process that runs one variant: ``python -m benchmarks.child VARIANT [OTLP_ENDPOINT]``.

Reads orders from standard input and writes answers to standard output, a line each: ``{"answer": ...}``, or
``{"problem": "..."}``.  Ends when its standard input does.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
from collections.abc import Awaitable, Callable
from importlib import import_module
from typing import Any

from prometheus_client import CollectorRegistry
from pydantic import BaseModel

import taskctx

from .carrying import run_carry, run_floor, run_weigh
from .growth import run_chunk, run_drain, run_drop, run_fill, run_lookups
from .instructions import run_count
from .orders import Carry, Chunk, Count, Drain, Drop, Fill, Floor, Lookups, Order, Round, Weigh
from .paths import LARGEST, Path, Taskctx, WithoutContext
from .rounds import run_round
from .stage import Stage
from .steps import STEPS
from .variants import BY_NAME, Variant


def main() -> None:
    variant = BY_NAME[sys.argv[1]]
    stage = _stage(variant, *sys.argv[2:3])
    if variant.frozen:
        gc.collect()
        gc.freeze()
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
        return Taskctx(encrypted=variant.encrypted, metrics=variant.metrics)
    if variant.kind == "step":
        return STEPS[variant.name]()
    if variant.instrumented:
        # before the names that it replaces are imported
        taskctx.configure(registry=CollectorRegistry(), max_snapshot_bytes=LARGEST)
        import_module("taskctx.fastmcp").instrument()
    return import_module(".fastmcp_path", __package__).FastMCPsOwn(encrypted=variant.encrypted)


async def _answered(stage: Stage, line: str) -> str:
    try:
        order = Order.validate_json(line)
        answer = await _RUN[type(order)](stage, order)
    except Exception as error:  # noqa: BLE001 - the parent says what it was, and ends the run
        return json.dumps({"problem": f"{type(error).__name__}: {error}"})
    return json.dumps({"answer": answer.model_dump()})


_RUN: dict[type[BaseModel], Callable[[Stage, Any], Awaitable[BaseModel]]] = {
    Round: run_round,
    Count: run_count,
    Carry: run_carry,
    Floor: run_floor,
    Weigh: run_weigh,
    Fill: run_fill,
    Chunk: run_chunk,
    Drain: run_drain,
    Drop: run_drop,
    Lookups: run_lookups,
}


if __name__ == "__main__":
    main()
