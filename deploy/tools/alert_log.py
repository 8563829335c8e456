"""Alertmanager's receiver in this stack: it prints a line for each alert that fires or resolves, and notifies no one.

Put your own receiver (mail, chat, a pager) into ``deploy/alertmanager/alertmanager.yml`` in its place.
"""

from __future__ import annotations

import json
import sys
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PORT = 8080
LARGEST = 1 << 20


class Handler(BaseHTTPRequestHandler):
    """``POST /``: Alertmanager's webhook.  ``GET /``: it is alive."""

    timeout = 10

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        if length > LARGEST:
            self._answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            return
        try:
            lines = [_line(alert) for alert in json.loads(self.rfile.read(length))["alerts"]]
        except (ValueError, KeyError, TypeError):
            self._answer(HTTPStatus.BAD_REQUEST)
            return
        sys.stdout.write("".join(f"{line}\n" for line in lines))
        sys.stdout.flush()
        self._answer(HTTPStatus.OK)

    def do_GET(self) -> None:
        self._answer(HTTPStatus.OK)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the standard library's name
        """No access log."""

    def _answer(self, status: HTTPStatus) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()


def _line(alert: dict[str, Any]) -> str:
    labels, annotations = alert["labels"], alert.get("annotations", {})
    shown = " ".join(f"{name}={value}" for name, value in sorted(labels.items()) if name != "alertname")
    return f"{alert['status'].upper()} {labels['alertname']} {shown}: {annotations.get('summary', '')}"


if __name__ == "__main__":
    ThreadingHTTPServer(("0.0.0.0", int(sys.argv[1]) if len(sys.argv) > 1 else PORT), Handler).serve_forever()  # noqa: S104
