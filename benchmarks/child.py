"""A process that runs legs: ``python -m benchmarks.child PROCESS TREE SINK``.

PROCESS says how it is traced, and whether it has FastMCP (``variants.py``); TREE is the folder that taskctx is to be
imported from; SINK is where spans are exported to.  Reads orders from standard input and writes answers to standard
output, a line of JSON each: ``{"answer": ...}``, or ``{"problem": "..."}``.  Ends when its standard input does.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import Callable, Coroutine
from importlib import import_module
from pathlib import Path
from typing import Any

import taskctx

from . import counts
from .legs import Leg
from .paths import Taskctx, WithoutContext
from .variants import BY_NAME, SAMPLING, Variant

WAITING = 1 << 18
"""Spans that may wait to be exported.  The SDK's 2048 would drop some, and what is dropped costs nothing."""

ORDERS: dict[str, Callable[..., Coroutine[Any, Any, object]]] = {
    "tasks": Leg.tasks,
    "fill": Leg.fill,
    "alone": Leg.alone,
    "look_up": Leg.look_up,
    "freeze": Leg.freeze,
    "instructions": counts.instructions,
    "calls": counts.calls,
}


def path_of(variant: Variant) -> WithoutContext:
    options = dict.fromkeys(variant.options, True)
    if variant.path == "fastmcp":  # imported where it is wanted: it need not be installed
        made: WithoutContext = import_module(".fastmcp_path", __package__).FastMCPsOwn(**options)
        return made
    return (Taskctx if variant.path == "taskctx" else WithoutContext)(**options)


def _traced(sampling: float, sink: str) -> Callable[[], object]:
    """Install OpenTelemetry's SDK; returns a function that exports all spans."""
    from opentelemetry import trace  # noqa: PLC0415 - an SDK that is not used is not imported either
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased  # noqa: PLC0415

    provider = TracerProvider(sampler=ParentBased(TraceIdRatioBased(sampling)))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(sink), max_queue_size=WAITING))
    trace.set_tracer_provider(provider)

    return lambda: provider.force_flush(60_000)


def main() -> None:
    process, tree, sink = sys.argv[1:]
    if not Path(taskctx.__file__).is_relative_to(tree):
        raise RuntimeError(f"taskctx was imported from {taskctx.__file__}, not from {tree}")
    logging.disable(logging.WARNING)  # writing the same warning for each task is not what is measured
    flush = _traced(SAMPLING[process], sink) if process in SAMPLING else (lambda: None)
    paths: dict[str, WithoutContext] = {}
    with asyncio.Runner() as runner:
        for line in sys.stdin:
            order: dict[str, Any] = json.loads(line)
            do, variant, url = (order.pop(name) for name in ("do", "variant", "url"))
            try:
                path = paths[variant] = paths.get(variant) or path_of(BY_NAME[variant])
                answer: object = {"answer": runner.run(ORDERS[do](Leg(path, url, flush), **order))}
            except Exception as error:  # noqa: BLE001 - the parent says what it was, and ends the run
                answer = {"problem": f"{type(error).__name__}: {error}"}
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
