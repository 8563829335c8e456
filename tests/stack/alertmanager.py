"""A real Alertmanager, and the webhook that it notifies."""

from __future__ import annotations

import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import yaml

GROUP_WAIT = 2
"""Seconds before a first notification: time for the critical alert that mutes it."""


def write_config(directory: Path, webhook_url: str) -> Path:
    """Every alert to the webhook, one by one; critical mutes warning on the same docket.

    Where the docket's name is absent from both, ``equal`` alone would hold too: hence the matchers for it.
    """
    config = {
        "route": {
            "receiver": "webhook",
            "group_by": ["..."],
            "group_wait": f"{GROUP_WAIT}s",
            "group_interval": "1s",
            "repeat_interval": "1h",
        },
        "receivers": [{"name": "webhook", "webhook_configs": [{"url": webhook_url, "send_resolved": True}]}],
        "inhibit_rules": [
            {
                "source_matchers": ['severity="critical"', 'docket_name!=""'],
                "target_matchers": ['severity="warning"', 'docket_name!=""'],
                "equal": ["docket_name"],
            }
        ],
    }
    path = directory / "alertmanager.yml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return path


def command(program: str, config: Path, port: int) -> list[str]:
    return [
        program,
        f"--config.file={config}",
        f"--storage.path={config.parent / 'alertmanager'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
        "--log.level=warn",
    ]


@dataclass(frozen=True)
class Alertmanager:
    """Its HTTP interface."""

    client: httpx.Client

    def ready(self) -> bool:
        return self.client.get("/-/ready").is_success

    def muted(self) -> list[dict[str, str]]:
        """The labels of the alerts that another one inhibits now."""
        alerts = self.client.get("/api/v2/alerts").raise_for_status().json()
        return [alert["labels"] for alert in alerts if alert["status"]["inhibitedBy"]]


@dataclass
class Webhook:
    """What came in, in order: alerts as Alertmanager sends them, with ``status``, ``labels`` and ``annotations``."""

    url: str = ""
    alerts: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    def firing(self) -> list[dict[str, str]]:
        """The labels of the alerts that were sent as firing so far."""
        return [alert["labels"] for alert in list(self.alerts) if alert["status"] == "firing"]

    def unresolved(self) -> list[dict[str, str]]:
        """The labels of the alerts whose last message was that they fire."""
        last = {tuple(sorted(alert["labels"].items())): alert for alert in list(self.alerts)}
        return [alert["labels"] for alert in last.values() if alert["status"] == "firing"]


@contextmanager
def running_webhook() -> Generator[Webhook]:
    """A webhook on a free port of this process."""
    webhook = Webhook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            webhook.alerts.extend(json.loads(body)["alerts"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's name
            """Nothing on the console."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        webhook.url = f"http://127.0.0.1:{server.server_port}/"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield webhook
        finally:
            server.shutdown()
            thread.join()
