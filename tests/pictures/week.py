"""A week as a dashboard has it to show: what a play's processes expose, counted over seven days and nights.

No process runs for a week here.  The series are those of a play; their counts grow by day and rest by night, start anew
with a deployment each noon, and fail for two hours of the fifth day.  In the last hour every alert fires.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from dashboards.alerts import ALERTS
from taskctx.cli.processes import free_port
from tests.dashboards.promtool import run
from tests.pictures.play import Moment, Play
from tests.processes.support import Starter
from tests.stack import prometheus as prom
from tests.stack.programs import Patience, program
from tests.stack.prometheus import COMMITTED, RULES, Labels

HOUR, DAY = 3600, 86_400
WEEK = 7 * DAY
SCRAPE = 150
"""Seconds between two samples."""

TIMES = range(0, WEEK + 1, SCRAPE)
"""Of the samples, in seconds since the week began."""

LOAD = 200
"""A week has so many times what the play counted."""

INCIDENT = (4 * DAY + 10 * HOUR, 4 * DAY + 12 * HOUR)
"""When things fail, in seconds since the week began."""

_COUNTS = re.compile(r".*_(total|bucket|count|sum)")
_FAILURE = re.compile(r"degraded|failed|expired|dead")


@contextmanager
def lived_through(directory: Path, play: Play) -> Generator[Play]:
    """A Prometheus that has a week of what is in this one."""
    directory.mkdir(parents=True)
    ended = time.time() // SCRAPE * SCRAPE
    moment = Moment("week", ended - WEEK, ended)
    with httpx.Client(base_url=play.prometheus) as client:
        seen = prom.Prometheus(client).query(f'{{__name__=~"{"|".join(_shown())}"}}', play.moments[-1].ended)
    text = directory / "week.om"
    with text.open("w") as file:
        file.writelines(_exposition(seen, moment))
    data = directory / "prometheus"
    promtool = program("promtool")
    run(promtool, "tsdb", "create-blocks-from", "--max-block-duration=168h", "openmetrics", text, data)
    text.unlink()
    with _running(directory) as address:
        times = (f"--start={moment.began:.0f}", f"--end={ended:.0f}", f"--eval-interval={SCRAPE}s")
        rules = [path for path in RULES if "rules" in path.name]
        run(promtool, "tsdb", "create-blocks-from", "rules", f"--url={address}", *times, f"--output-dir={data}", *rules)
    with _running(directory) as address:
        yield Play(address, (moment,), SCRAPE, None, "A week made of what a play of minutes counted.")


def _shown() -> list[str]:
    """The names of the series that dashboards and rules read."""
    text = "".join(path.read_text() for path in (*RULES, *COMMITTED.glob("grafana/*.json")))
    return sorted({*re.findall(r"\b(?:taskctx|docket)_[a-z_]+", text), "up"})


def _exposition(seen: list[tuple[Labels, float]], moment: Moment) -> Iterator[str]:
    """In OpenMetrics' format."""
    for labels, value in seen:
        name = labels["__name__"]
        prefix = name + _labels(labels)
        counted = _FAILING if _FAILURE.search(prefix) else _GROWING
        factors = counted if _COUNTS.fullmatch(name) else _CONSTANT
        for after, factor in zip(TIMES, factors, strict=True):
            yield f"{prefix} {value * factor:g} {moment.began + after:.0f}\n"
    for alert in ALERTS:
        labels = {
            "alertname": f"TaskCtx{alert.name}",
            "alertstate": "firing",
            "severity": alert.severity,
            "job": "workers",
        }
        for after in range(WEEK - HOUR, WEEK + 1, SCRAPE):
            yield f"ALERTS{_labels(labels)} 1 {moment.began + after:.0f}\n"
    yield "# EOF\n"


def _labels(labels: Labels) -> str:
    pairs = [f'{name}="{text}"' for name, text in labels.items() if name != "__name__"]
    return "{" + ",".join(pairs) + "}"


def _grown(after: float) -> float:
    """What was counted since the week began, of what the play counted: by day much, by night little."""
    return LOAD * (after - 0.9 * DAY / math.tau * math.sin(math.tau * after / DAY)) / WEEK


def _failed(after: float) -> float:
    began, ended = INCIDENT
    return LOAD / 7 * min(1.0, max(0.0, (after - began) / (ended - began)))


def _since_noon(counted: list[float]) -> list[float]:
    """As counters are that begin at 0 with the deployment of each noon."""
    noons = [0.0]
    for at, (after, value) in enumerate(zip(TIMES, counted, strict=True)):
        noons.append(value if at and after % DAY == DAY // 2 else noons[-1])
    return [value - noon for value, noon in zip(counted, noons[1:], strict=True)]


_GROWING = _since_noon([_grown(after) for after in TIMES])
_FAILING = _since_noon([_failed(after) for after in TIMES])
_CONSTANT = [1.0] * len(TIMES)


@contextmanager
def _running(directory: Path) -> Generator[str]:
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    config = directory / "prometheus.yml"
    config.write_text("global: {}\n")
    with Starter(directory) as start, httpx.Client(base_url=address) as client:
        start(prom.command(program("prometheus"), config, port), name="prometheus")
        if not Patience(time.monotonic() + 60).until(prom.Prometheus(client).ready, at_most=60):
            raise RuntimeError("Prometheus did not start")
        yield address
