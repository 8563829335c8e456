"""Readings of all processes: now, and some time ago."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ..operating.fleet import Process, read_endpoints, read_prometheus

WINDOW = 60.0
"""Seconds between the two compared readings; less at the start."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two readings.

    Attributes:
        before: the earlier reading, by instance; empty where there is none: then counts begin at each process's start.
        seconds: the time between the two readings; None where there is no earlier one.
    """

    now: Sequence[Process]
    before: Mapping[str, Process] = field(default_factory=dict[str, Process])
    seconds: float | None = None


class Source(Protocol):
    async def compare(self) -> Comparison:
        """Read again.

        Raises:
            Problem: no process can be read.
        """
        ...


class Endpoints:
    """The processes' own metrics endpoints, with the readings of the last minute."""

    def __init__(self, urls: Sequence[str]) -> None:
        self._urls = urls
        self._readings: deque[tuple[float, list[Process]]] = deque()

    async def compare(self) -> Comparison:
        now, processes = time.monotonic(), await read_endpoints(self._urls)
        while self._readings and now - self._readings[0][0] > WINDOW:
            self._readings.popleft()
        self._readings.append((now, processes))
        then, before = self._readings[0]
        if then == now:
            return Comparison(processes)
        return Comparison(processes, {each.instance: each for each in before if each.down is None}, now - then)


class Prometheus:
    """A Prometheus, which also has the values of a minute ago."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def compare(self) -> Comparison:
        now = await read_prometheus(self._url)
        before = await read_prometheus(self._url, ago=f"{WINDOW:.0f}s")
        return Comparison(now, {each.instance: each for each in before}, WINDOW)
