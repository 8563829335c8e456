"""Registries: do tasks in a server's own process find its live sessions and servers?"""

from __future__ import annotations

from taskctx.telemetry.names import REGISTRY_CAPACITY, REGISTRY_ENTRIES, REGISTRY_EVICTIONS, REGISTRY_LOOKUPS

from .colors import BAD, GOOD, by_registry
from .frame import PROCESS, REGISTRIES, REGISTRY, TO_WORKER
from .model import Dashboard, Panel, Query, Row
from .promql import RANGE, RATE, or_none, rate, ratio, series, sum_by

_SELECTED = (*PROCESS, REGISTRY)
_BY_DESIGN = "Workers in another process miss by design: live objects stay where they live."
_NO_LOOKUPS = "no data: no task looked for a session or server in this time range"
_NO_ENTRIES = "no data: no process exposes taskctx metrics"


def _share(result: str, labels: str, window: str) -> str:
    return ratio(
        sum_by(labels, rate(series(REGISTRY_LOOKUPS, f'result="{result}"', *_SELECTED), window)),
        sum_by(labels, rate(series(REGISTRY_LOOKUPS, *_SELECTED), window)),
    )


_FILL = f"{series(REGISTRY_ENTRIES, *_SELECTED)} / {series(REGISTRY_CAPACITY, *_SELECTED)}"

_HAD_ENTRIES = f"max by (instance, registry) (max_over_time({series(REGISTRY_ENTRIES, *_SELECTED)}[{RANGE}]))"

_NOW = Row(
    "Now",
    (
        Panel(
            "stat",
            "Hit ratio",
            f"Share of lookups that found a live object, over the time range. {_BY_DESIGN} Good: near 1 for the instances of servers with an "
            "embedded worker; choose one above.",
            "percentunit",
            _NO_LOOKUPS,
            (Query(_share("hit", "registry", RANGE), "{{registry}}", instant=True),),
            thresholds=((None, "blue"),),
            decimals=0,
        ),
        Panel(
            "stat",
            "Dead ratio",
            "Share of lookups for objects that had died: clients that left before their task ran. Good: under 20 %. "
            "Above: clients hang up early, or tasks come late; see the age on the overview.",
            "percentunit",
            _NO_LOOKUPS,
            (Query(_share("dead", "registry", RANGE), "{{registry}}", instant=True),),
            thresholds=((None, GOOD), (0.2, BAD)),
            decimals=0,
        ),
        Panel(
            "stat",
            "Registry fill",
            "Entries against capacity, of the fullest process. Good: under 90 %. Above, the oldest entries go: raise "
            "session_registry_size or server_registry_size.",
            "percentunit",
            _NO_ENTRIES,
            (Query(f"max by (registry) ({_FILL})", "{{registry}}", instant=True),),
            thresholds=((None, GOOD), (0.9, BAD)),
            decimals=0,
        ),
    ),
)

_LOOKUPS = Row(
    "Lookups",
    (
        Panel(
            "timeseries",
            "Lookups by result",
            f"hit: found. miss: never registered here. dead: registered here and gone. Good: hits in servers with an embedded worker, few dead. "
            f"{_BY_DESIGN}",
            "ops",
            _NO_LOOKUPS,
            (
                Query(
                    sum_by("registry, result", rate(series(REGISTRY_LOOKUPS, *_SELECTED), RATE)) + " > 0",
                    "{{registry}} {{result}}",
                ),
            ),
            colors=by_registry(hit=GOOD, miss="blue", dead="orange"),
            stacked=True,
            width=12,
        ),
        Panel(
            "timeseries",
            "Hit ratio by instance",
            "Of processes that have registered anything; the others miss by design. Good: near 1.",
            "percentunit",
            _NO_LOOKUPS,
            (
                Query(
                    _share("hit", "instance, registry", RATE) + f"\nand on (instance, registry) ({_HAD_ENTRIES} > 0)",
                    "{{instance}} {{registry}}",
                ),
            ),
            maximum=1,
            width=12,
            links=(TO_WORKER,),
        ),
    ),
)

_ENTRIES = Row(
    "Entries",
    (
        Panel(
            "timeseries",
            "Entries by instance",
            "Live objects registered. Good: follows the number of clients; it must fall when they leave. Ever rising: something keeps "
            "sessions alive.",
            "short",
            _NO_ENTRIES,
            (
                Query(
                    or_none(sum_by("instance, registry", series(REGISTRY_ENTRIES, *_SELECTED)), "instance", *PROCESS),
                    "{{instance}} {{registry}}",
                ),
            ),
            colors=(("none ", GOOD),),
            links=(TO_WORKER,),
        ),
        Panel(
            "timeseries",
            "Fill by instance",
            "Entries against capacity. Good: under 90 %. Above: raise the registry's size, or find what keeps its objects alive.",
            "percentunit",
            _NO_ENTRIES,
            (
                Query(
                    or_none(f"max by (instance, registry) ({_FILL})", "instance", *PROCESS), "{{instance}} {{registry}}"
                ),
            ),
            colors=(("none ", GOOD),),
            thresholds=((None, "transparent"), (0.9, "red")),
            links=(TO_WORKER,),
        ),
        Panel(
            "timeseries",
            "Evictions by cause",
            "dead: the object was collected; that is normal. capacity: the registry was full and the oldest went: raise its size. "
            "removed: the task was not scheduled after all. Good: no capacity.",
            "ops",
            _NO_ENTRIES,
            (
                Query(
                    or_none(
                        sum_by("registry, cause", rate(series(REGISTRY_EVICTIONS, *_SELECTED), RATE)),
                        "registry",
                        *PROCESS,
                    ),
                    "{{registry}} {{cause}}",
                ),
            ),
            colors=(*by_registry(dead="orange", removed="blue", capacity="red"), ("none ", GOOD)),
        ),
    ),
)

DASHBOARD = Dashboard(
    REGISTRIES,
    "taskctx / Registries",
    f"Do tasks find the live sessions and servers of their own process? {_BY_DESIGN}",
    (_NOW, _LOOKUPS, _ENTRIES),
    variables=("job", "instance", "registry"),
)
