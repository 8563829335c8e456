"""A server whose processes count together: what prometheus_client's multiprocess mode makes of them is its answer."""

# pyright: reportUnknownVariableType=false

from __future__ import annotations

from prometheus_client import CollectorRegistry, make_asgi_app
from prometheus_client.multiprocess import MultiProcessCollector

import taskctx

registry = CollectorRegistry()
MultiProcessCollector(registry)
taskctx.configure()
app = make_asgi_app(registry)
