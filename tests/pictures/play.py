"""What is to be seen: real processes in good times, with faults, with a killed worker, and in good times again."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from taskctx.cli.processes import free_port
from taskctx.settings.keyring import generate_key
from tests.conftest import running_valkey
from tests.processes.support import Starter
from tests.stack import prometheus as prom
from tests.stack.durations import shortened
from tests.stack.programs import Patience, program
from tests.stack.scenario import CUT_OFF, SERVER, Cluster

SCRAPE = 2
"""Seconds between two scrapes."""

FIVE_MINUTES = 20
"""Seconds that stand for the five minutes of a panel."""

LASTING = {"good": 60, "faults": 60, "killed": 30, "over": 70}
"""Seconds of each state, in their order."""


@dataclass(frozen=True, slots=True)
class Moment:
    """The end of a state, in seconds since the epoch; ``began`` is the beginning of the first."""

    state: str
    began: float
    ended: float


@dataclass(frozen=True, slots=True)
class Play:
    """What was played, and how it is to be read.

    Attributes:
        scrape: seconds between two samples.
        five_minutes: seconds that stand for the five minutes of a panel; None if they are five minutes.
        note: what whoever looks at a picture is told.
    """

    prometheus: str
    moments: tuple[Moment, ...]
    scrape: int
    five_minutes: int | None
    note: str


@contextmanager
def played(directory: Path, workers: int) -> Generator[Play]:
    """Play it with so many workers.  The processes have ended then, and Prometheus still answers.

    One worker lacks an encryption key that the others have; the last one is killed.
    """
    directory.mkdir(parents=True)
    names = [f"worker-{number}" for number in range(1, workers + 1)]
    jobs = {"workers": names, "web": [SERVER, CUT_OFF]}
    ports = {instance: free_port() for instances in jobs.values() for instance in instances}
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    with ExitStack() as stack:
        start = stack.enter_context(Starter(directory))
        targets = {job: {instance: ports[instance] for instance in instances} for job, instances in jobs.items()}
        config = prom.write_config(directory, targets, free_port(), SCRAPE)
        start(prom.command(program("prometheus"), config, port), name="prometheus")
        client = stack.enter_context(httpx.Client(base_url=address))
        with running_valkey() as valkey, Starter(directory) as start_process:
            cluster = Cluster(start_process, directory, valkey.connection_url, ports, environments=_keys(list(ports)))
            cluster.start()
            moments = _play(cluster, prom.Prometheus(client), names[-1], len(ports))
        rules = f"{shortened('5m')} in rules, where an hour is {shortened('1h')}"
        note = f"Five minutes are {FIVE_MINUTES} seconds here, and {rules}."
        yield Play(address, moments, SCRAPE, FIVE_MINUTES, note)


def _keys(instances: list[str]) -> dict[str, dict[str, str]]:
    """The settings of each process; no process seals with the key that one of them lacks."""
    old, new = (f"{year}:{generate_key()}" for year in ("2025", "2026"))
    common = {"TASKCTX_ON_RESTORE_FAILURE": "continue", "TASKCTX_ENCRYPTION_KEYS": f"{old},{new}"}
    return {name: common | ({"TASKCTX_ENCRYPTION_KEYS": old} if name == "worker-2" else {}) for name in instances}


def _play(cluster: Cluster, prometheus: prom.Prometheus, doomed: str, processes: int) -> tuple[Moment, ...]:
    patience = Patience(time.monotonic() + 180)
    if not patience.until(lambda: len(prometheus.query("up == 1")) == processes, at_most=180):
        raise RuntimeError(f"not all processes started; their output: {cluster.output()}")
    began, moments = time.time(), list[Moment]()
    acts = {
        "good": lambda: None,
        "faults": lambda: cluster.order("faults"),
        "killed": lambda: cluster.kill(doomed),
        "over": lambda: (cluster.order("good"), cluster.start_worker(doomed)),
    }
    for state, act in acts.items():
        act()
        time.sleep(LASTING[state])
        moments.append(Moment(state, began, time.time()))
    return tuple(moments)
