"""What every process that the check starts does: write down its spans, and take orders."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

SPANS: Final = "TASKCTX_STACK_SPANS"
"""Environment variable: the file that this process appends its spans to, one JSON object a line."""


def export_spans() -> None:
    """Sample everything, and write each span as it ends."""
    exporter = ConsoleSpanExporter(
        out=Path(os.environ[SPANS]).open("a", encoding="utf-8"),  # noqa: SIM115 - open as long as the process
        formatter=lambda span: (span.to_json(indent=None) or "") + "\n",
    )
    provider = TracerProvider(sampler=ALWAYS_ON)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)


async def orders() -> AsyncIterator[str]:
    """The lines of stdin, up to its end."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async for line in reader:
        yield line.decode().strip()
