"""What the processes exported of spans, read by the check."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any


def read_spans(path: Path) -> list[dict[str, Any]]:
    """The spans in a file; a line that a killed process did not finish is none."""
    lines = path.read_text().splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def seconds_of(span: dict[str, Any]) -> float:
    """How long it lasted."""
    start, end = (datetime.fromisoformat(span[name]) for name in ("start_time", "end_time"))
    return (end - start).total_seconds()
