"""The same dashboards for those who keep traces in Jaeger: another data source, and another search behind each link.

Jaeger searches one service at a time, so these have a field for the name of the workers' service.
"""

from __future__ import annotations

import json
from typing import Any, cast

from taskctx.telemetry.names import Span

from . import frame
from .model import Dashboard
from .render import to_json as to_json_for_tempo

SERVICE = "worker_service"
"""The variable for the workers' ``service.name`` (``OTEL_SERVICE_NAME``)."""

_SEARCHES = {
    frame.FAILED_TRACES: "taskctx.outcome=failed",
    # Jaeger finds what is so, not what is not: the restores that went well are among them
    frame.TASK_TRACES: "docket.task=${__data.fields.docket_task}",
    frame.REASON_TRACES: "error.type=${__field.labels.reason}",
    frame.DEGRADED_TRACES: "taskctx.outcome=degraded",
}
"""The tags of the spans that each link into Tempo leads to."""

_REPLACED = {
    link.url: frame.explore(
        link.title,
        "${jaeger}",
        queryType="search",
        service=f"${{{SERVICE}}}",
        operation=Span.RESTORE,
        tags=tags,
    ).url
    for link, tags in _SEARCHES.items()
} | {"${tempo:queryparam}": f"${{jaeger:queryparam}}&${{{SERVICE}:queryparam}}"}
"""The part of each link in the dashboards for Tempo, and its replacement for Jaeger."""


def to_json(board: Dashboard) -> str:
    """The dashboard's JSON, the same for the same dashboard."""
    plain = _replaced(json.loads(to_json_for_tempo(board)))
    variables: list[dict[str, Any]] = plain["templating"]["list"]
    (place,) = (number for number, each in enumerate(variables) if each["name"] == "tempo")
    variables[place] |= {"name": "jaeger", "label": "Jaeger", "query": "jaeger"}
    field = {
        "name": SERVICE,
        "label": "Service of the workers, in Jaeger",
        "type": "textbox",
        "query": "reports-worker",
        "skipUrlSync": False,
    }
    variables.insert(place + 1, field)
    return json.dumps(plain, sort_keys=True, indent=2) + "\n"


def _replaced(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _replaced(each) for key, each in cast("dict[str, Any]", value).items()}
    if isinstance(value, list):
        return [_replaced(each) for each in cast("list[Any]", value)]
    if isinstance(value, str):
        for old, new in _REPLACED.items():
            value = value.replace(old, new)
    return value
