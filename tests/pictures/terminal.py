"""``make terminal-pictures``: what the ``taskctx`` command shows on a terminal, as SVG in docs/pictures.

The demo is run, and one of its tasks inspected.  Then a server and workers play, of which one lacks the submitters' key:
``doctor`` looks at them, and ``top`` after a minute with faults, as another worker was killed.  The numbers, times, ports and ids are those of the run; all else is the
same each time.
"""

from __future__ import annotations

import io
import re
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import redis
from rich.ansi import AnsiDecoder
from rich.console import Console
from rich.terminal_theme import SVG_EXPORT_THEME

from taskctx.cli.processes import Process, free_port
from taskctx.settings.keyring import generate_key
from tests.conftest import running_valkey
from tests.pictures import DOCS
from tests.processes.support import ROOT, Starter
from tests.secrets import MARKER
from tests.stack import prometheus as prom
from tests.stack.programs import Patience, program
from tests.stack.scenario import DOOMED, JOBS, REQUESTS, SERVER, Cluster

COLUMNS = 100
TERMINAL = {"COLUMNS": str(COLUMNS), "FORCE_COLOR": "1", "TERM": "xterm-256color"}
ERASED = "\x1b[2K"
"""Ends what a terminal showed for a while: the bars of the demo's progress."""

WINDOW = 60
"""Seconds that ``taskctx top`` looks back, with a Prometheus."""

FORMAT = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">
<style>
.{unique_id}-matrix {{
  font: {char_height}px/{line_height}px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace;
  white-space: pre;
}}
.{unique_id}-title {{ font: bold 18px system-ui, sans-serif; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal"><rect width="{terminal_width}" height="{terminal_height}"/></clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""
"""Rich's own has a browser load fonts from elsewhere."""


def main() -> None:
    """Write the pictures."""
    with TemporaryDirectory() as folder, Starter(Path(folder)) as start:
        key = generate_key()
        demo, url = _demo(start, {"TASKCTX_ENCRYPTION_KEYS": f"2026-11:{key}"})
        shown = {"demo": demo.output.rpartition(ERASED)[2]}
        task = _a_task(url)
        shown["inspect"] = _taskctx("inspect", task, url=url, TASKCTX_ENCRYPTION_KEYS=f"2026-11:{key}")
        demo.stop()
        shown |= _played(start, Path(folder), key)
    titles = {
        "demo": "taskctx demo --keep",
        "inspect": f"taskctx inspect {task}",
        "doctor": f"taskctx doctor --docket {REQUESTS} --prometheus http://prometheus:9090",
        "top": "taskctx top --prometheus http://prometheus:9090",
    }
    for name, ansi in shown.items():
        for hidden in (MARKER, key, str(ROOT), folder):
            if hidden in ansi:
                raise RuntimeError(f"{name} shows what is nobody's concern")
        (DOCS / f"{name}.svg").write_text(_drawn(ansi, name, titles[name]))


def _demo(start: Starter, environment: dict[str, str]) -> tuple[Process, str]:
    """One that stays, and where its server is."""
    given = TERMINAL | environment
    demo = start([sys.executable, "-m", "taskctx", "demo", "--keep"], name="demo", cwd=ROOT, **given)
    patience = Patience(time.monotonic() + 120)
    if not patience.until(lambda: "Ctrl-C" in demo.output or demo.ended, at_most=120) or demo.ended:
        raise RuntimeError(f"the demo was not done: {demo.last_words}")
    (address,) = re.findall(r"embedded Valkey on (\S+)", demo.output)
    return demo, f"redis://{address}"


def _a_task(url: str) -> str:
    """The id of the first task whose caller has a token with a subject."""
    client: Any = redis.Redis.from_url(url, decode_responses=True)  # pyright: ignore[reportUnknownMemberType]
    with client:
        keys = "\n".join(client.scan_iter())
    tasks = re.finditer(r":auth:[^:]+%7C[^:]+:(request-(\d+)-\w+):snapshot$", keys, re.MULTILINE)
    return min(tasks, key=lambda task: int(task[2]))[1]


def _played(start: Starter, folder: Path, key: str) -> dict[str, str]:
    """What ``doctor`` shows where a worker lacks the submitters' key, and ``top`` as one was killed amid faults."""
    ports = {instance: free_port() for instances in JOBS.values() for instance in instances}
    port = free_port()
    targets = {job: {instance: ports[instance] for instance in instances} for job, instances in JOBS.items()}
    environments = {name: {"TASKCTX_ENCRYPTION_KEYS": f"2026-11:{key}"} for name in ports}
    environments["worker-2"] = {"TASKCTX_ENCRYPTION_KEYS": f"2025-11:{generate_key()}"}
    with ExitStack() as stack:
        valkey = stack.enter_context(running_valkey())
        cluster = Cluster(start, folder, valkey.connection_url, ports, environments=environments)
        cluster.start()
        config = prom.write_config(folder, targets, free_port())
        start(prom.command(program("prometheus"), config, port), name="prometheus")
        address = f"http://127.0.0.1:{port}"
        prometheus = prom.Prometheus(stack.enter_context(httpx.Client(base_url=address)))
        patience = Patience(time.monotonic() + 5 * WINDOW)

        def until(count: int, query: str) -> None:
            if not patience.until(lambda: len(prometheus.query(query)) == count, at_most=3 * WINDOW):
                raise RuntimeError(f"it did not come to {query}; their output: {cluster.output()}")

        until(len(ports), "up == 1")
        until(1, "sum(taskctx_restores_total) > 100")
        looking = ("doctor", "--docket", REQUESTS, "--prometheus", address)
        doctor = _taskctx(*looking, url=valkey.connection_url, **environments[SERVER])
        cluster.order("faults")
        until(len(ports), f"count_over_time(up[{WINDOW}s]) >= {WINDOW}")
        cluster.kill(DOOMED)
        until(1, f'up{{instance="{DOOMED}"}} == 0')
        return {"doctor": doctor, "top": _taskctx("top", "--once", "--prometheus", address)}


def _taskctx(*arguments: str, url: str = "", **environment: str) -> str:
    """What the command prints on a terminal."""
    command = [sys.executable, "-m", "taskctx", *arguments]
    given = {"PYTHONPATH": str(ROOT), "DOCKET_URL": url, **TERMINAL, **environment}
    return subprocess.run(command, env=given, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False).stdout


def _drawn(ansi: str, name: str, title: str) -> str:
    """As SVG: a line too long for the terminal goes on below, as it does there."""
    console = Console(width=COLUMNS, record=True, file=io.StringIO(), highlight=False)
    for line in AnsiDecoder().decode(ansi.strip()):
        line.rstrip()
        console.print(line, overflow="fold")
    return console.export_svg(title=title, theme=SVG_EXPORT_THEME, code_format=FORMAT, unique_id=name)


if __name__ == "__main__":
    main()
