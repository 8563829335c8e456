"""SLO: thirty days of the promise that tasks know their callers."""

from __future__ import annotations

from dataclasses import replace

from taskctx.telemetry.names import RESTORES

from .alerts import BUDGET, FLOOR, OBJECTIVE
from .colors import BAD, GOOD, WORSE
from .frame import DOCKET, FAILED_TRACES, JOB, OVERVIEW, SLO, to_dashboard
from .model import Dashboard, Panel, Query, Row
from .promql import increase, ratio, series, sum_by
from .recording import COUNTED, FAILED, error_ratio, restores

_NO_RESTORES = "no data: no restores in this time range"
_NO_RESTORES_IN_30_DAYS = "no data: no restores in 30 days"
_LEAST = -1
"""The lowest remaining budget that is drawn: a lower value would make the rest of the graph unreadable."""
_BURNS = (("1h", "5m", 14.4), ("6h", "30m", 6.0), ("1d", "2h", 3.0), ("3d", "6h", 1.0))


def _failed_share(window: str) -> str:
    return ratio(
        sum_by("docket_name", increase(series(RESTORES, FAILED, JOB, DOCKET), window)),
        sum_by("docket_name", increase(series(RESTORES, COUNTED, JOB, DOCKET), window)),
    )


_BUDGET_LEFT = Query(f"clamp_min(1 - ({_failed_share('30d')}) / {BUDGET:g}, {_LEAST})", "{{docket_name}}")


def _burn(long: str, short: str, factor: float) -> Panel:
    return Panel(
        "timeseries",
        f"Burn rate {long} / {short}",
        f"Error ratio over the budget, in a long and a short window. Good: under 1. TaskCtxRestoreErrorBudgetBurn fires when both are above "
        f"{factor:g} with at least {FLOOR} restores in the long one; the short one makes it stop soon after the failures stop.",
        "short",
        _NO_RESTORES,
        tuple(
            Query(
                f"max by (docket_name) ({series(error_ratio(window), JOB, DOCKET)}) / {BUDGET:g}",
                "{{docket_name}} " + window,
            )
            for window in (long, short)
        ),
        width=6,
        thresholds=((None, "transparent"), (factor, "red")),
        at_least=100,
        scale="symlog",
        is_filled=False,
        links=(FAILED_TRACES,),
    )


DASHBOARD = Dashboard(
    SLO,
    "taskctx / SLO",
    f"{OBJECTIVE:.1%} of restores do not fail, over 30 days.",
    (
        Row(
            "30 days",
            (
                Panel(
                    "stat",
                    "Restores that did not fail",
                    f"Over 30 days, by docket. Good: {OBJECTIVE:.1%} or more. Degraded restores (an expired token) count as good: the task knew "
                    "whose it was. Red: the promise is broken; the overview says by what.",
                    "percentunit",
                    _NO_RESTORES_IN_30_DAYS,
                    (Query(f"1 - {_failed_share('30d')}", "{{docket_name}}", instant=True),),
                    width=6,
                    thresholds=((None, BAD), (OBJECTIVE, GOOD)),
                    links=(to_dashboard("Overview", OVERVIEW),),
                    decimals=3,
                ),
                Panel(
                    "stat",
                    "Error budget left",
                    "Of the 0.1 % that may fail in 30 days. Good: above 50 %. At 0: no more risk this month. -100 % is the least that is shown.",
                    "percentunit",
                    _NO_RESTORES_IN_30_DAYS,
                    (replace(_BUDGET_LEFT, instant=True),),
                    width=6,
                    thresholds=((None, BAD), (0.0, WORSE), (0.5, GOOD)),
                    decimals=1,
                ),
                Panel(
                    "timeseries",
                    "Error budget over time",
                    "What was left of the 30-day budget at each moment. Good: a slow slope. A cliff: an incident; its time leads to the overview. -100 % is the least that is shown.",
                    "percentunit",
                    _NO_RESTORES_IN_30_DAYS,
                    (_BUDGET_LEFT,),
                    width=12,
                    thresholds=((None, "transparent"), (0.0, "red")),
                    minimum=_LEAST,
                    maximum=1,
                    is_filled=False,
                    links=(to_dashboard("Overview", OVERVIEW),),
                ),
            ),
        ),
        Row("Burn rates", tuple(_burn(*burn) for burn in _BURNS)),
        Row(
            "Volume",
            (
                Panel(
                    "timeseries",
                    "Restores in the last hour",
                    f"What the ratios are of. Good: follows your traffic, and is above {FLOOR}. An alert does not fire with fewer than {FLOOR} in its window: "
                    "a share of so few says nothing.",
                    "short",
                    _NO_RESTORES,
                    (Query(sum_by("docket_name", series(restores("1h"), JOB, DOCKET)), "{{docket_name}}"),),
                    width=24,
                    height=6,
                ),
            ),
        ),
    ),
    variables=("job", "docket"),
    time_from="now-7d",
)
